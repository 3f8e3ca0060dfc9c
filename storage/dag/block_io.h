/* How DAG code reaches blocks: two tables of functions that a higher layer (the store, a test, the
 * network) registers. The dag folder itself does no input or output. */
#ifndef FAB_DAG_BLOCK_IO_H
#define FAB_DAG_BLOCK_IO_H

#include "storage/multiformats/cid.h"

struct fab_block_source {
    void *ctx;
    /* The block's bytes, borrowed: valid until the owner of the source refreshes or closes it.
     * FAB_ENOENT when it is not there. Identity CIDs are answered by the caller's helper below. */
    enum fab_rc (*get)(void *ctx, const struct fab_cid *cid, struct fab_slice *out);
};

struct fab_block_sink {
    void *ctx;
    /* Take a block whose CID is already known to be right. The bytes are copied before it returns.
     */
    enum fab_rc (*put)(void *ctx, const struct fab_cid *cid, struct fab_slice data);
};

/* source->get, but an identity CID gives the bytes inside `cid` (borrowed from `cid`). */
FAB_MUST enum fab_rc fab_block_get(const struct fab_block_source *source, const struct fab_cid *cid,
                                   struct fab_slice *out);

#define FAB_BLOCK_MAX (2u << 20) /* bytes of the largest block that is made or accepted */
#define FAB_DEPTH_MAX 128        /* levels of the deepest DAG that is walked */

#endif
