/* What tests of DAG code share: blocks in memory, deterministic bytes, and a whole file in one
 * call. */
#ifndef FAB_TESTS_DAG_FIXTURE_H
#define FAB_TESTS_DAG_FIXTURE_H

#include "storage/dag/chunker.h"
#include "storage/dag/file_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)

/* ---- blocks in memory ---- */

struct mem_block {
    struct fab_cid cid;
    uint8_t *data;
    size_t n;
};

struct mem_blocks {
    struct mem_block *blocks;
    size_t count, cap;
    size_t gets;
    bool volatile_slices; /* get copies to one buffer, so that the slice before dies, as after a
                             refresh */
    uint8_t *last;
};

static inline struct mem_block *mem_find(const struct mem_blocks *m, const struct fab_cid *cid)
{
    for (size_t i = 0; i < m->count; i++)
        if (fab_slice_eq(fab_cid_mh(&m->blocks[i].cid), fab_cid_mh(cid)))
            return &m->blocks[i];
    return NULL;
}

static inline enum fab_rc mem_put(void *ctx, const struct fab_cid *cid, struct fab_slice data)
{
    struct mem_blocks *m = ctx;
    assert_ok(fab_cid_check(cid, data));
    if (mem_find(m, cid))
        return FAB_OK;
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 64;
        m->blocks = realloc(m->blocks, m->cap * sizeof *m->blocks);
        assert_non_null(m->blocks);
    }
    struct mem_block *b = &m->blocks[m->count++];
    b->cid = *cid;
    b->n = data.n;
    b->data = malloc(data.n ? data.n : 1);
    assert_non_null(b->data);
    if (data.n)
        memcpy(b->data, data.p, data.n);
    return FAB_OK;
}

static inline enum fab_rc mem_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct mem_blocks *m = ctx;
    struct mem_block *b = mem_find(m, cid);
    m->gets++;
    if (!b)
        return FAB_ENOENT;
    *out = fab_slice(b->data, b->n);
    if (m->volatile_slices) {
        free(m->last);
        m->last = malloc(b->n ? b->n : 1);
        assert_non_null(m->last);
        memcpy(m->last, b->data, b->n);
        out->p = m->last;
    }
    return FAB_OK;
}

static inline void mem_drop(struct mem_blocks *m, const struct fab_cid *cid)
{
    struct mem_block *b = mem_find(m, cid);
    assert_non_null(b);
    free(b->data);
    *b = m->blocks[--m->count];
}

static inline void mem_fini(struct mem_blocks *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->blocks[i].data);
    free(m->blocks);
    free(m->last);
    memset(m, 0, sizeof *m);
}

static inline struct fab_block_sink mem_sink(struct mem_blocks *m)
{
    return (struct fab_block_sink){m, mem_put};
}

static inline struct fab_block_source mem_source(struct mem_blocks *m)
{
    return (struct fab_block_source){m, mem_get};
}

/* ---- bytes from a seed: the ChaCha20 keystream (IETF) under SHA-256(seed), nonce and counter 0
 * ---- */

struct seeded {
    uint8_t key[32];
    uint64_t pos; /* a multiple of 64 before every call but the last */
};

static inline void seeded_init(struct seeded *s, const char *seed)
{
    crypto_hash_sha256(s->key, (const uint8_t *)seed, strlen(seed));
    s->pos = 0;
}

static inline void seeded_bytes(struct seeded *s, uint8_t *out, size_t n)
{
    static const uint8_t nonce[12];
    assert_int_equal(s->pos % 64, 0);
    memset(out, 0, n);
    crypto_stream_chacha20_ietf_xor_ic(out, out, n, nonce, (uint32_t)(s->pos / 64), s->key);
    s->pos += n;
}

/* ---- a file from bytes that `next` makes ---- */

struct source_bytes {
    /* Fill at most n bytes; fewer at the end only. */
    size_t (*fill)(void *arg, uint8_t *out, size_t n);
    void *arg;
};

struct slice_fill {
    struct fab_slice left;
};

static inline size_t slice_fill(void *arg, uint8_t *out, size_t n)
{
    struct slice_fill *s = arg;
    if (n > s->left.n)
        n = s->left.n;
    if (n)
        memcpy(out, s->left.p, n);
    s->left = fab_slice(s->left.p + n, s->left.n - n);
    return n;
}

struct seeded_fill {
    struct seeded seeded;
    uint64_t left;
};

static inline size_t seeded_fill(void *arg, uint8_t *out, size_t n)
{
    struct seeded_fill *s = arg;
    if (n > s->left)
        n = (size_t)s->left;
    seeded_bytes(&s->seeded, out, n);
    s->left -= n;
    return n;
}

/* Import everything that `bytes` gives. `blocks` may be NULL (only the CID is wanted). */
static inline struct fab_dag_entry import_bytes(const struct fab_profile *profile,
                                                const struct fab_chunker *chunker,
                                                const struct fab_unixfs_attr *attr,
                                                struct mem_blocks *blocks,
                                                struct source_bytes bytes)
{
    struct fab_block_sink sink = {0};
    struct fab_file_builder *builder;
    struct fab_dag_entry entry;
    struct fab_buf scratch;
    bool raw = fab_file_raw_leaves(profile, attr);
    size_t cap = 2 * ((chunker->max + 63) / 64 * 64), len = 0;
    uint8_t *buf = malloc(cap);
    assert_non_null(buf);
    if (blocks)
        sink = mem_sink(blocks);
    fab_buf_init(&scratch, FAB_BLOCK_MAX);
    assert_ok(fab_file_builder_new(profile, attr, &sink, &builder));
    for (bool eof = false; !eof || len > 0;) {
        size_t room = (cap - len) / 64 * 64;
        if (!eof && len < chunker->max) {
            size_t got = bytes.fill(bytes.arg, buf + len, room);
            eof = got < room;
            len += got;
        }
        size_t at = 0, n;
        while ((n = fab_chunker_next(chunker, fab_slice(buf + at, len - at), eof)) > 0) {
            struct fab_leaf leaf;
            assert_ok(fab_file_leaf(profile, raw, fab_slice(buf + at, n), &scratch, &leaf));
            if (blocks)
                assert_ok(mem_put(blocks, &leaf.cid, leaf.block));
            assert_ok(fab_file_builder_add(builder, &leaf));
            at += n;
        }
        memmove(buf, buf + at, len - at);
        len -= at;
    }
    assert_ok(fab_file_builder_finish(builder, &entry));
    fab_file_builder_free(builder);
    fab_buf_fini(&scratch);
    free(buf);
    return entry;
}

static inline struct fab_dag_entry import_slice(const struct fab_profile *profile,
                                                const struct fab_unixfs_attr *attr,
                                                struct mem_blocks *blocks, struct fab_slice s)
{
    struct slice_fill fill = {s};
    struct fab_chunker chunker = fab_chunker_size(profile->chunk_size);
    return import_bytes(profile, &chunker, attr, blocks, (struct source_bytes){slice_fill, &fill});
}

static inline struct fab_dag_entry import_seeded(const struct fab_profile *profile,
                                                 const struct fab_chunker *chunker,
                                                 const char *seed, uint64_t size)
{
    struct seeded_fill fill = {.left = size};
    seeded_init(&fill.seeded, seed);
    return import_bytes(profile, chunker, NULL, NULL, (struct source_bytes){seeded_fill, &fill});
}

static inline void assert_cid(const struct fab_cid *cid, const char *expected)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    assert_string_equal(text, expected);
}

static inline struct fab_cid cid_from(const char *text)
{
    struct fab_cid cid;
    assert_ok(fab_cid_from_text(text, strlen(text), &cid));
    return cid;
}

#endif
