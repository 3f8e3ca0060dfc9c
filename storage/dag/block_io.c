#include "storage/dag/block_io.h"

enum fab_rc fab_block_get(const struct fab_block_source *source, const struct fab_cid *cid,
                          struct fab_slice *out)
{
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY) {
        *out = fab_cid_digest(cid);
        return FAB_OK;
    }
    return source->get(source->ctx, cid, out);
}
