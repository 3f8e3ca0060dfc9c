#include "storage/dag/hamt.h"

#include "storage/dag/dag_pb.h"

#include <string.h>

#define LEVELS_MAX 21 /* 64 bits, 3 at a time */
#define PREFIX_MAX 3  /* hexadecimal digits of FAB_HAMT_FANOUT_MAX - 1 */

static const char hex[] = "0123456789ABCDEF";

enum fab_rc fab_hamt_shape(uint64_t fanout, struct fab_hamt_shape *out)
{
    struct fab_hamt_shape shape = {0};
    if (fanout < 8 || fanout > FAB_HAMT_FANOUT_MAX || (fanout & (fanout - 1)) != 0)
        return FAB_EFORMAT;
    shape.fanout = (unsigned)fanout;
    while (1u << shape.bits < shape.fanout)
        shape.bits++;
    shape.prefix = (shape.bits + 3) / 4;
    shape.levels = 64 / shape.bits;
    *out = shape;
    return FAB_OK;
}

unsigned fab_hamt_bucket(const struct fab_hamt_shape *shape, uint64_t hash, unsigned level)
{
    return (unsigned)(hash >> (64 - shape->bits * (level + 1))) & (shape->fanout - 1);
}

bool fab_hamt_bit(struct fab_slice bitfield, unsigned bucket)
{
    size_t from_end = bucket / 8;
    return from_end < bitfield.n && (bitfield.p[bitfield.n - 1 - from_end] >> (bucket % 8) & 1);
}

enum fab_rc fab_hamt_prefix_read(const struct fab_hamt_shape *shape, struct fab_slice name,
                                 unsigned *bucket)
{
    unsigned v = 0;
    if (name.n < shape->prefix)
        return FAB_EFORMAT;
    for (unsigned i = 0; i < shape->prefix; i++) {
        const char *digit = name.p[i] ? strchr(hex, name.p[i]) : NULL;
        if (!digit)
            return FAB_EFORMAT;
        v = v << 4 | (unsigned)(digit - hex);
    }
    if (v >= shape->fanout)
        return FAB_EFORMAT;
    *bucket = v;
    return FAB_OK;
}

/* ---- encoding ---- */

struct build {
    const struct fab_profile *profile;
    const struct fab_block_sink *sink;
    struct fab_hamt_shape shape;
    struct fab_buf blocks[LEVELS_MAX]; /* the links so far of the shard of each level */
    struct fab_buf name;
};

static enum fab_rc link_append(struct build *b, unsigned level, unsigned bucket,
                               struct fab_slice name, struct fab_slice cid, uint64_t tsize)
{
    char prefix[PREFIX_MAX];
    for (unsigned i = 0; i < b->shape.prefix; i++)
        prefix[i] = hex[bucket >> 4 * (b->shape.prefix - 1 - i) & 0xf];
    fab_buf_reset(&b->name);
    FAB_TRY(fab_buf_append(&b->name, prefix, b->shape.prefix));
    FAB_TRY(fab_buf_append(&b->name, name.p, name.n));
    struct fab_pb_link link = {.cid = cid,
                               .name = fab_buf_slice(&b->name),
                               .tsize = tsize,
                               .has_name = true,
                               .has_tsize = true};
    return fab_pb_append_link(&b->blocks[level], &link);
}

static enum fab_rc shard_close(struct build *b, unsigned level, const uint8_t *bitfield,
                               const struct fab_unixfs_attr *attr, struct fab_cid *cid,
                               uint64_t *tsize)
{
    struct fab_buf *block = &b->blocks[level];
    size_t bytes = b->shape.fanout / 8;
    size_t zeros = 0;
    while (zeros < bytes && bitfield[zeros] == 0)
        zeros++;
    struct fab_unixfs node = {.type = FAB_UNIXFS_HAMT,
                              .has_data = true,
                              .data = fab_slice(bitfield + zeros, bytes - zeros),
                              .has_hash_type = true,
                              .hash_type = FAB_UNIXFS_HASH_MURMUR3,
                              .has_fanout = true,
                              .fanout = b->shape.fanout};
    if (attr)
        node.attr = *attr;
    FAB_TRY(fab_unixfs_encode_field(&node, NULL, block));
    FAB_TRY(fab_cid_of(b->profile->cid_version, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256,
                       fab_buf_slice(block), cid));
    if (b->sink->put)
        FAB_TRY(b->sink->put(b->sink->ctx, cid, fab_buf_slice(block)));
    *tsize += block->len;
    return FAB_OK;
}

/* One shard of entries that agree in the hash bits of all levels above. Recursion ends at
 * shape.levels. */
static enum fab_rc shard_build(struct build *b, unsigned level,
                               const struct fab_hamt_entry *entries, size_t count,
                               const struct fab_unixfs_attr *attr, struct fab_cid *cid,
                               uint64_t *tsize)
{
    uint8_t bitfield[FAB_HAMT_BITFIELD_MAX] = {0};
    uint64_t total = 0;
    if (level == b->shape.levels)
        return FAB_ELIMIT;
    fab_buf_reset(&b->blocks[level]);
    for (size_t i = 0; i < count;) {
        unsigned bucket = fab_hamt_bucket(&b->shape, entries[i].hash, level);
        size_t end = i + 1;
        while (end < count && fab_hamt_bucket(&b->shape, entries[end].hash, level) == bucket)
            end++;
        bitfield[b->shape.fanout / 8 - 1 - bucket / 8] |= (uint8_t)(1u << bucket % 8);
        const struct fab_hamt_entry *e = &entries[i];
        if (end - i == 1) {
            FAB_TRY(link_append(b, level, bucket, fab_slice(e->bytes, e->name_len),
                                fab_slice(e->bytes + e->name_len, e->cid_len), e->tsize));
            total += e->tsize;
        } else {
            struct fab_cid child;
            uint64_t child_tsize;
            uint8_t bytes[FAB_CID_MAX];
            FAB_TRY(shard_build(b, level + 1, e, end - i, NULL, &child, &child_tsize));
            FAB_TRY(link_append(b, level, bucket, fab_slice(NULL, 0),
                                fab_slice(bytes, fab_cid_bytes(&child, bytes)), child_tsize));
            total += child_tsize;
        }
        i = end;
    }
    FAB_TRY(shard_close(b, level, bitfield, attr, cid, &total));
    *tsize = total;
    return FAB_OK;
}

enum fab_rc fab_hamt_build(const struct fab_profile *profile, const struct fab_hamt_entry *entries,
                           size_t count, const struct fab_unixfs_attr *attr,
                           const struct fab_block_sink *sink, struct fab_dag_entry *out)
{
    struct build b = {.profile = profile, .sink = sink};
    struct fab_dag_entry entry = {.size = count};
    FAB_TRY(fab_hamt_shape(profile->hamt_fanout, &b.shape));
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        fab_buf_init(&b.blocks[i], FAB_BLOCK_MAX);
    fab_buf_init(&b.name, PREFIX_MAX + UINT16_MAX);
    enum fab_rc rc = shard_build(&b, 0, entries, count, attr, &entry.cid, &entry.tsize);
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        fab_buf_fini(&b.blocks[i]);
    fab_buf_fini(&b.name);
    if (rc == FAB_OK)
        *out = entry;
    return rc;
}
