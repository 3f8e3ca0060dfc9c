#include "storage/files/pin_tree.h"

#include "storage/dag/walk.h"
#include "storage/files/source.h"
#include "storage/files/watch.h"

#define TREE_BLOCKS_MAX (16u << 20) /* of one walk; about 50 bytes of memory each */

struct check {
    struct source source;
    struct watch watch;
    struct fab_tree_stats stats;
};

static enum fab_rc count(struct check *check, uint64_t bytes)
{
    check->stats.blocks++;
    check->stats.bytes += bytes;
    check->watch.now.items++;
    check->watch.now.bytes += bytes;
    source_breathe(&check->source);
    return watch_tick(&check->watch);
}

static enum fab_rc on_missing(void *arg, const struct fab_cid *cid)
{
    struct check *check = arg;
    if (check->stats.missing < FAB_TREE_MISSING_MAX)
        check->stats.first_missing[check->stats.missing] = *cid;
    check->stats.missing++;
    return watch_tick(&check->watch);
}

static enum fab_rc on_block(void *arg, const struct fab_cid *cid, struct fab_slice data)
{
    (void)cid;
    return count(arg, data.n);
}

static enum fab_rc on_raw(void *arg, const struct fab_cid *cid)
{
    struct check *check = arg;
    uint64_t size;
    enum fab_rc rc = source_size(&check->source, cid, &size);
    if (rc == FAB_ENOENT)
        return on_missing(check, cid);
    return rc == FAB_OK ? count(check, size) : rc;
}

static enum fab_rc missing_err(const struct fab_cid *cid, const struct fab_tree_stats *stats,
                               struct fab_err *err)
{
    char root[FAB_CID_TEXT_MAX], first[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, root);
    fab_cid_text(&stats->first_missing[0], first);
    return fab_err_set(
        err, FAB_ENOENT,
        "%s is not whole: %llu of its blocks are missing, the first is %s; fetch or import "
        "them first",
        root, (unsigned long long)stats->missing, first);
}

static enum fab_rc walk(struct check *check, const struct fab_cid *cid)
{
    struct fab_visited_set *seen;
    FAB_TRY(fab_visited_set_new(TREE_BLOCKS_MAX, &seen));
    struct fab_block_source table = source_table(&check->source);
    struct fab_walk dag = {.source = &table,
                           .visited = fab_visited_set_table(seen),
                           .arg = check,
                           .block = on_block,
                           .raw = on_raw,
                           .missing = on_missing};
    enum fab_rc rc = fab_walk_dag(&dag, cid);
    source_rest(&check->source);
    fab_visited_set_free(seen);
    return rc;
}

/* With a lease on `cid` held by the caller. */
static enum fab_rc tree_check(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                              const struct fab_watch *watch, struct fab_tree_stats *out,
                              struct fab_err *err)
{
    struct check check = {0};
    char text[FAB_CID_TEXT_MAX];
    if (err)
        err->msg[0] = '\0';
    source_init(&check.source, store, ws, false);
    watch_init(&check.watch, watch);
    enum fab_rc rc = walk(&check, cid);
    if (rc != FAB_OK) {
        fab_cid_text(cid, text);
        return source_err(&check.source, rc, text, err);
    }
    if (out)
        *out = check.stats;
    if (check.stats.missing)
        return missing_err(cid, &check.stats, err);
    watch_end(&check.watch);
    return FAB_OK;
}

enum fab_rc fab_tree_check(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                           const struct fab_watch *watch, struct fab_tree_stats *out,
                           struct fab_err *err)
{
    struct fab_lease *lease;
    FAB_TRY(fab_lease_root(store, ws, cid, &lease, err));
    enum fab_rc rc = tree_check(store, ws, cid, watch, out, err);
    fab_lease_release(lease);
    return rc;
}

static enum fab_rc block_check(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                               struct fab_tree_stats *out, struct fab_err *err)
{
    struct fab_tree_stats stats = {0};
    struct source source;
    source_init(&source, store, ws, false);
    enum fab_rc rc = source_size(&source, cid, &stats.bytes);
    source_rest(&source);
    stats.blocks = rc == FAB_OK;
    if (rc == FAB_ENOENT) {
        stats.missing = 1;
        stats.first_missing[0] = *cid;
        missing_err(cid, &stats, err);
    }
    if (out)
        *out = stats;
    return rc;
}

enum fab_rc fab_pin_tree(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                         enum fab_pin_mode mode, const char *name, const struct fab_watch *watch,
                         struct fab_tree_stats *out, struct fab_err *err)
{
    struct fab_lease *lease;
    FAB_TRY(fab_lease_root(store, ws, cid, &lease, err));
    enum fab_rc rc = mode == FAB_PIN_DIRECT ? block_check(store, ws, cid, out, err)
                                            : tree_check(store, ws, cid, watch, out, err);
    if (rc == FAB_OK)
        rc = fab_pin_add(store, ws, cid, mode, name, err);
    fab_lease_release(lease);
    return rc;
}

static enum fab_rc hold_whole(struct fab_store *store, uint32_t ws, const struct fab_cid *root,
                              const struct fab_watch *watch, struct fab_lease **out,
                              struct fab_err *err)
{
    FAB_TRY(fab_lease_root(store, ws, root, out, err));
    return tree_check(store, ws, root, watch, NULL, err);
}

enum fab_rc fab_pin_commit(struct fab_store *store, uint32_t ws, struct fab_ingest *ingest,
                           const struct fab_ingest_root *roots, size_t n, bool keep,
                           const struct fab_watch *watch, struct fab_ingest_stats *stats,
                           struct fab_err *err)
{
    struct fab_lease *leases[FAB_PIN_COMMIT_MAX] = {NULL};
    enum fab_rc rc = fab_ingest_finish(ingest, err);
    if (rc == FAB_OK && n > FAB_PIN_COMMIT_MAX)
        rc = fab_err_set(err, FAB_ELIMIT,
                         "%zu roots are too many to be pinned at once, %d are possible; do without "
                         "the pins and make those that you need",
                         n, FAB_PIN_COMMIT_MAX);
    for (size_t i = 0; rc == FAB_OK && i < n; i++)
        if (roots[i].pin)
            rc = hold_whole(store, ws, &roots[i].cid, watch, &leases[i], err);
    if (rc == FAB_OK) {
        rc = fab_ingest_commit(ingest, roots, n, stats, err);
        ingest = NULL;
    }
    for (size_t i = 0; i < FAB_PIN_COMMIT_MAX; i++)
        fab_lease_release(leases[i]);
    if (ingest && keep && fab_ingest_failed(ingest) == FAB_OK) {
        FAB_UNUSED enum fab_rc kept = fab_ingest_commit(ingest, NULL, 0, NULL, NULL);
        ingest = NULL;
    }
    fab_ingest_abort(ingest); /* after the leases, which would keep what is to go */
    return rc;
}
