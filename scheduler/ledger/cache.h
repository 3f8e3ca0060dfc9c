/* Content on disk for jobs: each input and image once per CID, shared by all that run, never
 * copied.
 *
 * HOME/cache/in/WS-CID is the tree, sealed read-only; HOME/cache/in/WS-CID.lock is held shared by
 * every job that has it mounted and exclusively by whoever makes or evicts it. The lock file's time
 * is the last use, its text the bytes on disk. A tree appears under its name only when it is whole.
 * WS is the workspace's id, which is never used again: no job reads what only another workspace
 * has. */
#ifndef FAB_LEDGER_CACHE_H
#define FAB_LEDGER_CACHE_H

#include "storage/store/store.h"

#include <limits.h>

struct fab_cached {
    char path[PATH_MAX]; /* of the file or directory */
    int lock;            /* held shared until fab_cache_release; -1 for none */
};

struct fab_cache_options {
    const char *home;
    unsigned owner;  /* user id that must own the content, 0 for this process's own */
    bool image;      /* a root file system: /etc/hosts and /etc/resolv.conf are made if missing */
    uint64_t budget; /* bytes that unused content may occupy */
    const atomic_bool *cancel; /* may be NULL */
};

/* Write `cid` out unless it is there, and hold it. Two processes that want the same one wait for
 * each other. Errors as fab_get; a symlink is FAB_EUNSUPPORTED. */
FAB_MUST enum fab_rc fab_cache_hold(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                    const struct fab_cache_options *options, struct fab_cached *out,
                                    struct fab_err *err);
void fab_cache_release(struct fab_cached *cached);

/* Remove what nobody holds, oldest-used first, until the rest is within the budget. */
void fab_cache_evict(const char *home, uint64_t budget);

#endif
