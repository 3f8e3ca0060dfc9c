/* Reading UnixFS directories, basic and HAMT-sharded.
 *
 * The reader walks its own copy of each block, so a callback may refresh the source. Depth, fanout,
 * bitfield, link prefixes and every name's place in the HAMT are checked: FAB_EFORMAT. */
#ifndef FAB_DAG_DIR_READER_H
#define FAB_DAG_DIR_READER_H

#include "storage/dag/block_io.h"

/* One entry. `name` (may hold any bytes, also '/' or NUL or nothing: the caller decides what it
 * accepts) and `cid` are valid in the call. Another code than FAB_OK stops and is given back. */
typedef enum fab_rc (*fab_dir_fn)(void *arg, struct fab_slice name, const struct fab_cid *cid,
                                  uint64_t tsize);

/* Every entry: in block order for a basic directory, in hash order for a HAMT. FAB_EINVAL: `dir` is
 * not a directory. Names that come twice in a basic directory are all given. */
FAB_MUST enum fab_rc fab_dir_each(const struct fab_block_source *source, const struct fab_cid *dir,
                                  fab_dir_fn fn, void *arg);

/* The entry called `name`: the first of that name in a basic directory; by hash path in a HAMT,
 * reading one block per level. FAB_ENOENT when there is none or a block on the way is missing,
 * which `missing` (may be NULL) tells apart: it is set on FAB_ENOENT only. `tsize` may be NULL. */
FAB_MUST enum fab_rc fab_dir_find(const struct fab_block_source *source, const struct fab_cid *dir,
                                  struct fab_slice name, bool *missing, struct fab_cid *out,
                                  uint64_t *tsize);

#endif
