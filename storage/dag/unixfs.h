/* The UnixFS protobuf that lies in the Data field of a dag-pb node (specs.ipfs.tech/unixfs). */
#ifndef FAB_DAG_UNIXFS_H
#define FAB_DAG_UNIXFS_H

#include "storage/base/bytes.h"

enum fab_unixfs_type {
    FAB_UNIXFS_RAW = 0,
    FAB_UNIXFS_DIRECTORY = 1,
    FAB_UNIXFS_FILE = 2,
    FAB_UNIXFS_METADATA = 3,
    FAB_UNIXFS_SYMLINK = 4,
    FAB_UNIXFS_HAMT = 5,
};

#define FAB_UNIXFS_HASH_MURMUR3 0x22
#define FAB_UNIXFS_MODE_MASK                                                                       \
    07777u /* the bits of mode that are kept: permissions, suid, sgid, sticky */
#define FAB_UNIXFS_SYMLINK_MAX 4096u /* bytes of the longest target that is made */

/* What is kept of a file's metadata, on request only. */
struct fab_unixfs_attr {
    bool has_mode, has_mtime;
    uint32_t mode;       /* within FAB_UNIXFS_MODE_MASK; 0 is not written, as in Kubo */
    int64_t mtime;       /* seconds since 1970, may be negative */
    uint32_t mtime_nsec; /* below 10^9 */
};

static inline bool fab_unixfs_attr_any(const struct fab_unixfs_attr *attr)
{
    return attr && (attr->has_mode || attr->has_mtime);
}

/* A decoded node. Slices are borrowed from the bytes that were decoded. */
struct fab_unixfs {
    enum fab_unixfs_type type;
    bool has_data, has_filesize, has_hash_type, has_fanout;
    struct fab_slice data; /* file bytes, symlink target or HAMT bitfield */
    uint64_t filesize;     /* as claimed; 0 when absent */
    uint64_t sizes_count;  /* number of blocksizes */
    uint64_t sizes_sum;    /* their sum; decoding refuses a sum over UINT64_MAX */
    uint64_t hash_type, fanout;
    struct fab_unixfs_attr attr;
    struct fab_slice whole; /* the bytes that were decoded, for the iterator */
};

/* Decode exactly `s`. Packed blocksizes are read too; a field that comes twice takes its last
 * value, unknown fields are passed over (proto2). An mtime without seconds, or with 10^9
 * nanoseconds or more, counts as absent, as in Kubo. FAB_EFORMAT: malformed, no Type, unknown Type,
 * blocksizes whose sum passes UINT64_MAX. */
FAB_MUST enum fab_rc fab_unixfs_decode(struct fab_slice s, struct fab_unixfs *out);

/* Go through the blocksizes in order. */
struct fab_unixfs_sizes {
    struct fab_reader fields, packed;
};
void fab_unixfs_sizes_init(struct fab_unixfs_sizes *it, const struct fab_unixfs *node);
/* False after the last. */
bool fab_unixfs_sizes_next(struct fab_unixfs_sizes *it, uint64_t *out);

/* Append the protobuf of `node` (type, data, filesize, blocksizes, hash type, fanout, attributes)
 * as the canonical encoders write it: ascending fields, blocksizes unpacked. `sizes` holds
 * node->sizes_count values and may be NULL when that is 0; sizes_sum and whole are not read.
 * FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_unixfs_encode(const struct fab_unixfs *node, const uint64_t *sizes,
                                       struct fab_buf *out);

/* Append the dag-pb Data field that holds fab_unixfs_encode's bytes: what stands after the links of
 * a node, or alone as the whole block of a node without links. */
FAB_MUST enum fab_rc fab_unixfs_encode_field(const struct fab_unixfs *node, const uint64_t *sizes,
                                             struct fab_buf *out);
/* The number of bytes that fab_unixfs_encode_field appends. */
size_t fab_unixfs_field_size(const struct fab_unixfs *node, const uint64_t *sizes);

/* Append the dag-pb block of a symlink to `target` (1 to FAB_UNIXFS_SYMLINK_MAX bytes, no NUL:
 * FAB_EINVAL). `attr` may be NULL; of it only mtime is written, as Kubo does. */
FAB_MUST enum fab_rc fab_unixfs_symlink(struct fab_slice target, const struct fab_unixfs_attr *attr,
                                        struct fab_buf *out);

#endif
