/* Reading UnixFS files: sizes, leaves for parallel export, and sequential bytes.
 *
 * Hostile DAGs cost bounded memory: FAB_DEPTH_MAX levels, one copied block per level, and a subtree
 * that contributes no byte to the range is not entered. Nothing borrowed from the source is held
 * while a callback runs, except the slice that the callback gets: a callback may refresh the source
 * (its slice then ends). */
#ifndef FAB_DAG_FILE_READER_H
#define FAB_DAG_FILE_READER_H

#include "storage/dag/block_io.h"

/* Bytes of the file's content. Reads the root block only. FAB_EINVAL: not a file (a directory, a
 * symlink, another codec). FAB_EFORMAT, FAB_ENOENT, and what the source gives. */
FAB_MUST enum fab_rc fab_file_size(const struct fab_block_source *source,
                                   const struct fab_cid *root, uint64_t *out);

/* One leaf: `payload` bytes of content at `file_offset`. Leaves at the edges of the range are given
 * whole. `leaf` is valid in the call. Another code than FAB_OK stops the walk and is given back. */
typedef enum fab_rc (*fab_file_leaf_fn)(void *arg, uint64_t file_offset, const struct fab_cid *leaf,
                                        uint64_t payload);

/* Every leaf that overlaps [offset, offset + length), in file order; `length` may be UINT64_MAX.
 * Raw leaves are not fetched, so whether their bytes are there and have the claimed size is for the
 * caller to see with fab_file_payload. An inner node that carries bytes itself is given as a leaf
 * too. */
FAB_MUST enum fab_rc fab_file_leaves(const struct fab_block_source *source,
                                     const struct fab_cid *root, uint64_t offset, uint64_t length,
                                     fab_file_leaf_fn fn, void *arg);

/* The content bytes in the block of a leaf (raw or UnixFS), borrowed from `block`. FAB_EFORMAT when
 * they are not exactly `expected` bytes. Pure: any thread. */
FAB_MUST enum fab_rc fab_file_payload(const struct fab_cid *leaf, struct fab_slice block,
                                      uint64_t expected, struct fab_slice *out);

/* Bytes at `file_offset`, never empty, at most one leaf's worth; valid until `fn` returns or
 * refreshes the source. */
typedef enum fab_rc (*fab_file_data_fn)(void *arg, uint64_t file_offset, struct fab_slice data);

/* Every byte of [offset, offset + length) that the file has, in order, cut exactly to the range. */
FAB_MUST enum fab_rc fab_file_read(const struct fab_block_source *source,
                                   const struct fab_cid *root, uint64_t offset, uint64_t length,
                                   fab_file_data_fn fn, void *arg);

#endif
