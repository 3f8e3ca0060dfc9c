/* Re-hash what the store holds. */
#ifndef FAB_FILES_VERIFY_H
#define FAB_FILES_VERIFY_H

#include "storage/files/progress.h"
#include "storage/store/store.h"

struct fab_verify_options {
    bool repair; /* drop rotten blocks, from every workspace */
    struct fab_watch watch;
};

struct fab_verify_stats {
    uint64_t blocks, bytes; /* checked */
    uint64_t rotten;        /* do not have their hash */
    uint64_t dropped;       /* of those, removed (repair) */
    uint64_t unknown;       /* hashed by a function that this build does not compute: not checked */
};

/* Hash every block of the workspace in worker threads. `bad` (may be NULL) is called on the calling
 * thread per rotten block, with its multihash (borrowed for the call) and size. FAB_OK when the
 * walk came to its end: stats->rotten tells the verdict. Memory is bounded; blocks that come or go
 * meanwhile may be missed. */
FAB_MUST enum fab_rc fab_verify(struct fab_store *store, uint32_t ws,
                                const struct fab_verify_options *options,
                                void (*bad)(void *arg, struct fab_slice mh, uint64_t size),
                                void *arg, struct fab_verify_stats *stats, struct fab_err *err);

#endif
