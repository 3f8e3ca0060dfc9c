/* Is a DAG whole, and pinning what is. */
#ifndef FAB_FILES_PIN_TREE_H
#define FAB_FILES_PIN_TREE_H

#include "storage/files/progress.h"
#include "storage/store/store.h"

#define FAB_TREE_MISSING_MAX 8

struct fab_tree_stats {
    uint64_t blocks, bytes; /* that are there, each once */
    uint64_t missing;       /* distinct blocks that are not */
    struct fab_cid
        first_missing[FAB_TREE_MISSING_MAX]; /* min(missing, FAB_TREE_MISSING_MAX) of them */
};

/* Walk everything under `cid` in the workspace under a root lease. FAB_OK when it is whole;
 * FAB_ENOENT when blocks are missing, and `out` (may be NULL) is filled in both cases. FAB_EFORMAT,
 * FAB_EUNSUPPORTED, FAB_ELIMIT, FAB_EINTERRUPTED as the walk; then `out` is undefined. `watch` may
 * be NULL. */
FAB_MUST enum fab_rc fab_tree_check(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                    const struct fab_watch *watch, struct fab_tree_stats *out,
                                    struct fab_err *err);

/* Pin `cid` durably once it is known to be there: recursive, its whole DAG (as fab_tree_check);
 * direct, the one block. `name` NULL: keep or none. `out` as in fab_tree_check. */
FAB_MUST enum fab_rc fab_pin_tree(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                  enum fab_pin_mode mode, const char *name,
                                  const struct fab_watch *watch, struct fab_tree_stats *out,
                                  struct fab_err *err);

#define FAB_PIN_COMMIT_MAX 256 /* roots: each has a lease, and so a descriptor, for the time */

/* fab_ingest_commit, once everything below the roots that are to be pinned is known to be there, be
 * it that the ingest brought it or found it: leases keep that from the look to the pins. Without
 * FAB_OK nothing was pinned, and what the ingest alone brought is gone again, or with `keep` stays
 * without a pin. FAB_ELIMIT over FAB_PIN_COMMIT_MAX roots. `watch` and `stats` may be NULL. */
FAB_MUST enum fab_rc fab_pin_commit(struct fab_store *store, uint32_t ws, struct fab_ingest *ingest,
                                    const struct fab_ingest_root *roots, size_t n, bool keep,
                                    const struct fab_watch *watch, struct fab_ingest_stats *stats,
                                    struct fab_err *err);

#endif
