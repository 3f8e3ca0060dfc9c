/* A depth-first walk over a whole DAG, each block once.
 *
 * What has been seen is kept by the caller (struct fab_visited), so that a large walk may keep it
 * on disk. Nothing borrowed from the source is held while a callback runs, except the data that the
 * callback gets. */
#ifndef FAB_DAG_WALK_H
#define FAB_DAG_WALK_H

#include "storage/dag/block_io.h"

/* A set of blocks. Its key should tell codecs apart (the same bytes as raw have no links); versions
 * not. */
struct fab_visited {
    void *ctx;
    /* Add `cid`; *fresh says whether it was not there before. */
    enum fab_rc (*add)(void *ctx, const struct fab_cid *cid, bool *fresh);
};

struct fab_walk {
    const struct fab_block_source *source; /* borrowed until fab_walk_dag returns */
    struct fab_visited visited;
    void *arg;
    /* Each block once, a parent before its children, children in block order. May refresh the
     * source. NULL: not wanted. Another code than FAB_OK stops the walk and is given back; so for
     * all three. */
    enum fab_rc (*block)(void *arg, const struct fab_cid *cid, struct fab_slice data);
    /* If not NULL: called instead of fetching (and instead of `block`) for raw blocks, which have
     * no links. */
    enum fab_rc (*raw)(void *arg, const struct fab_cid *cid);
    /* A block that the source does not have. NULL: the walk ends with FAB_ENOENT. */
    enum fab_rc (*missing)(void *arg, const struct fab_cid *cid);
    /* Blocks of a codec without known links are given to `block` and not entered, if true; else
     * FAB_EUNSUPPORTED. */
    bool allow_unknown;
};

/* Walk everything under `root`. FAB_ELIMIT below FAB_DEPTH_MAX levels; FAB_EFORMAT for a malformed
 * block. */
FAB_MUST enum fab_rc fab_walk_dag(const struct fab_walk *walk, const struct fab_cid *root);

/* A visited set in memory: about 50 bytes per block; FAB_ELIMIT after `max` blocks. */
struct fab_visited_set;
FAB_MUST enum fab_rc fab_visited_set_new(size_t max, struct fab_visited_set **out);
void fab_visited_set_free(struct fab_visited_set *set); /* NULL is allowed */
size_t fab_visited_set_count(const struct fab_visited_set *set);
struct fab_visited fab_visited_set_table(struct fab_visited_set *set);

#endif
