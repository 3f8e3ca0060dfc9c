/* Files as balanced Merkle DAGs: leaves come in file order, inner nodes go to a sink as they fill.
 *
 * Hashing of leaves is the caller's, on as many threads as it likes (fab_file_leaf); the builder
 * itself is a sequential core with at most depth x width links in memory. */
#ifndef FAB_DAG_FILE_BUILDER_H
#define FAB_DAG_FILE_BUILDER_H

#include "storage/dag/block_io.h"
#include "storage/dag/profile.h"
#include "storage/dag/unixfs.h"

/* A finished DAG, as a directory links to it. */
struct fab_dag_entry {
    struct fab_cid cid;
    uint64_t tsize; /* bytes of all its blocks, counted once per link */
    uint64_t
        size; /* file: payload bytes; directory: number of entries; symlink: bytes of the target */
};

struct fab_leaf {
    struct fab_cid cid;
    struct fab_slice block; /* borrowed: the payload itself (raw), or the scratch buffer */
    uint64_t payload;       /* bytes of file content in it */
    uint64_t tsize;         /* bytes of the block */
};

/* Whether leaves of a file with these attributes (may be NULL) are raw blocks: mode and mtime need
 * a dag-pb root, and Kubo then gives up raw leaves for the whole file. */
bool fab_file_raw_leaves(const struct fab_profile *profile, const struct fab_unixfs_attr *attr);

/* Make one leaf of `payload` (at most FAB_CHUNK_MAX bytes: FAB_ELIMIT) and hash it. `scratch` is
 * reset and used only for leaves that are not raw; its maximum must be FAB_BLOCK_MAX; a raw leaf
 * borrows `payload`. Pure: any thread. */
FAB_MUST enum fab_rc fab_file_leaf(const struct fab_profile *profile, bool raw,
                                   struct fab_slice payload, struct fab_buf *scratch,
                                   struct fab_leaf *out);

struct fab_file_builder;

/* `profile` is borrowed until free; `sink` and `attr` (may be NULL) are copied. A sink whose put is
 * NULL takes nothing (only the CID is wanted). */
FAB_MUST enum fab_rc fab_file_builder_new(const struct fab_profile *profile,
                                          const struct fab_unixfs_attr *attr,
                                          const struct fab_block_sink *sink,
                                          struct fab_file_builder **out);
void fab_file_builder_free(struct fab_file_builder *builder); /* NULL is allowed */

/* The next leaf in file order. Its block is not given to the sink: the caller has put it, or will.
 * Of the leaf only cid, payload and tsize are read, but with attributes the block of the first leaf
 * too (a file of one leaf is that leaf with the attributes in it), which must be valid in that
 * call. */
FAB_MUST enum fab_rc fab_file_builder_add(struct fab_file_builder *builder,
                                          const struct fab_leaf *leaf);

/* Finish the file. No leaf at all makes the empty file (one empty leaf, given to the sink). The
 * file's root goes to the sink unless it is the only leaf, unchanged. The builder is then only good
 * for free. */
FAB_MUST enum fab_rc fab_file_builder_finish(struct fab_file_builder *builder,
                                             struct fab_dag_entry *out);

#endif
