/* HAMT-sharded directories (UnixFS HAMTShard): the arithmetic that builder and reader share, and
 * the encoder.
 *
 * A name's place is the 64-bit murmur3 of its bytes, of which each level consumes log2(fanout)
 * bits, the most significant first. A link's name is the bucket in upper-case hexadecimal, as wide
 * as fanout - 1, followed by the entry's name; the prefix alone leads to the shard of the next
 * level. */
#ifndef FAB_DAG_HAMT_H
#define FAB_DAG_HAMT_H

#include "storage/dag/file_builder.h"

#define FAB_HAMT_FANOUT_MAX   1024u
#define FAB_HAMT_BITFIELD_MAX (FAB_HAMT_FANOUT_MAX / 8)

struct fab_hamt_shape {
    unsigned fanout;
    unsigned bits;   /* of the hash, per level */
    unsigned prefix; /* hexadecimal digits before each name */
    unsigned levels; /* 64 / bits: no shard lies deeper */
};

/* FAB_EFORMAT unless `fanout` is a power of two, from 8 to FAB_HAMT_FANOUT_MAX. */
FAB_MUST enum fab_rc fab_hamt_shape(uint64_t fanout, struct fab_hamt_shape *out);
/* The bucket of `hash` at `level` (0: root), which is below shape->levels. */
unsigned fab_hamt_bucket(const struct fab_hamt_shape *shape, uint64_t hash, unsigned level);
/* Whether the bit of `bucket` is set: the bitfield is big-endian, its leading zero bytes are left
 * out. */
bool fab_hamt_bit(struct fab_slice bitfield, unsigned bucket);
/* Read the prefix of a link's name. FAB_EFORMAT unless it is canonical and names a bucket. */
FAB_MUST enum fab_rc fab_hamt_prefix_read(const struct fab_hamt_shape *shape, struct fab_slice name,
                                          unsigned *bucket);

struct fab_hamt_entry {
    uint64_t hash; /* fab_murmur3_64 of the name */
    uint64_t tsize;
    const uint8_t *bytes; /* the name, then the binary CID */
    uint16_t name_len;
    uint8_t cid_len;
};

/* Encode `count` (at least 1) entries with different names, sorted by hash, as a HAMT with the
 * profile's fanout; blocks go to the sink, the root, which alone carries `attr` (may be NULL),
 * last. FAB_ELIMIT when two names have the same hash. out->size is `count`. */
FAB_MUST enum fab_rc fab_hamt_build(const struct fab_profile *profile,
                                    const struct fab_hamt_entry *entries, size_t count,
                                    const struct fab_unixfs_attr *attr,
                                    const struct fab_block_sink *sink, struct fab_dag_entry *out);

#endif
