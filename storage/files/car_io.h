/* CAR archives (CARv1 out, CARv1 and CARv2 in) between descriptors and the store. */
#ifndef FAB_FILES_CAR_IO_H
#define FAB_FILES_CAR_IO_H

#include "storage/files/progress.h"
#include "storage/store/store.h"

struct fab_car_stats {
    uint64_t blocks, bytes;         /* in the archive */
    uint64_t new_blocks, new_bytes; /* import: not seen by the workspace before */
    uint64_t roots;
};

/* Write one CARv1 with `roots` in its header and every block under them once, depth first in link
 * order, to `fd`. Root leases are held. `watch` and `stats` may be NULL. FAB_ENOENT (a block is
 * missing: its CID), FAB_EIO (writing), FAB_EFORMAT, FAB_EUNSUPPORTED (a codec whose links are not
 * known), FAB_EINTERRUPTED. Without FAB_OK the stream is cut short. */
FAB_MUST enum fab_rc fab_car_export(struct fab_store *store, uint32_t ws,
                                    const struct fab_cid *roots, size_t n, int fd,
                                    const struct fab_watch *watch, struct fab_car_stats *stats,
                                    struct fab_err *err);

struct fab_car_import_options {
    bool no_pin;      /* keep the roots without a pin; they may then be incomplete */
    const char *name; /* of the pins; NULL for none */
    struct fab_watch watch;
};

/* Read one CAR from `fd` to its end in one ingest. Every block is hashed and checked. When all is
 * durable, unless no_pin, each root's whole DAG must be in the workspace (from this archive or
 * before) and is pinned; then `root` (may be NULL) is called per root of the header, in order.
 * Failures of the archive leave nothing: FAB_EHASH (the block's CID), FAB_EFORMAT, FAB_ELIMIT (a
 * section or header beyond the limits), FAB_EUNSUPPORTED (hash function, codec), FAB_EQUOTA,
 * FAB_ENOSPC, FAB_EIO, FAB_EINTERRUPTED. FAB_ENOENT: a root's DAG lacks blocks; the message says
 * which, how many, and the first. The blocks that came then stay for a later import, unpinned,
 * until a collection takes them; roots before that one are pinned. */
FAB_MUST enum fab_rc fab_car_import(struct fab_store *store, uint32_t ws, int fd,
                                    const struct fab_car_import_options *options,
                                    void (*root)(void *arg, const struct fab_cid *cid), void *arg,
                                    struct fab_car_stats *stats, struct fab_err *err);

#endif
