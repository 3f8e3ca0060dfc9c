/* A tiny DAG in fuzz input: blocks one after the other, each a length (two bytes, little endian)
 * and its bytes. The first byte of a link's digest, modulo the number of blocks, says which block
 * it leads to. So a mutation of one block leaves the links whole, and cycles, which hashes rule
 * out, come for free. */
#ifndef FAB_TESTS_BUNDLE_H
#define FAB_TESTS_BUNDLE_H

#include "storage/dag/block_io.h"

#include <stdlib.h>
#include <string.h>

#define BUNDLE_BLOCKS_MAX 64

struct bundle {
    struct fab_slice blocks[BUNDLE_BLOCKS_MAX];
    size_t count;
    uint64_t gets;
    uint8_t *last; /* the block given last, alone in its memory, and gone with the next */
};

static inline void bundle_parse(struct bundle *b, const uint8_t *data, size_t n)
{
    memset(b, 0, sizeof *b);
    while (n >= 2 && b->count < BUNDLE_BLOCKS_MAX) {
        size_t len = data[0] | (size_t)data[1] << 8;
        data += 2;
        n -= 2;
        if (len > n)
            len = n;
        b->blocks[b->count++] = fab_slice(data, len);
        data += len;
        n -= len;
    }
}

static inline enum fab_rc bundle_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct bundle *b = ctx;
    struct fab_slice digest = fab_cid_digest(cid);
    b->gets++;
    if (b->count == 0 || digest.n == 0 || digest.p[0] == 0xff)
        return FAB_ENOENT;
    struct fab_slice s = b->blocks[digest.p[0] % b->count];
    free(b->last);
    b->last = malloc(s.n ? s.n : 1);
    if (!b->last)
        abort();
    if (s.n)
        memcpy(b->last, s.p, s.n);
    *out = fab_slice(b->last, s.n);
    return FAB_OK;
}

static inline struct fab_cid bundle_root(uint64_t codec)
{
    struct fab_cid cid = {.codec = codec, .version = 1, .mh_len = 34, .mh = {0x12, 0x20}};
    return cid;
}

static inline void bundle_fini(struct bundle *b)
{
    free(b->last);
}

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

#endif
