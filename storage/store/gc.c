/* Collection: mark, then sweep, beside everything else.
 *
 * The happy path: one write transaction opens a new generation G and asks for new pins to be
 * logged. Every put that runs then has a lease whose generation is at most G, and stamps what it
 * touches with the current one; so with T the oldest generation of a live put lease (G if there is
 * none), a block whose stamp is T or newer belongs to a put that may still need it and stays. Of
 * the older ones, those go that no pin and no leased root reaches. T is fixed for the whole
 * collection: a put that ends meanwhile has pinned what it stamped, and is not looked at again.
 * Each sweep transaction first asks whether a pin or a root lease came that is not marked yet; then
 * it steps aside, marks that, and begins again. A collection that is killed leaves nothing but a
 * work directory that the next one removes, and a log of pins that the next one clears. */
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCAN_STEP     4096 /* entries read for one sweep transaction */
#define SWEEP_SECONDS 0.01 /* a sweep transaction removes for this long, then commits */

struct gc {
    struct fab_store *store;
    uint32_t ws;
    const struct fab_gc_options *options;
    struct fab_gc_stats stats;
    struct fab_err *err;
    struct store_mark *mark;
    uint64_t threshold; /* T */
    uint64_t total;     /* blocks of the workspace, for progress */
    uint64_t scanned;
};

static bool cancelled(const struct gc *gc)
{
    return gc->options->cancel && atomic_load(gc->options->cancel);
}

static void report(const struct gc *gc, const char *phase, uint64_t done)
{
    if (gc->options->progress)
        gc->options->progress(gc->options->arg, phase, done, gc->total);
}

/* ---- the beginning ---- */

static enum fab_rc open_generation(struct gc *gc)
{
    MDB_txn *txn;
    uint64_t gen;
    if (gc->options->dry_run) {
        FAB_TRY(store_read_begin(gc->store, &txn));
        enum fab_rc rc = store_meta_get(gc->store, txn, "gen", 8, &gen);
        store_read_end(gc->store, txn);
        gc->threshold = gen + 1;
        return rc;
    }
    FAB_TRY(store_write_begin(gc->store, 0, &txn, gc->err));
    enum fab_rc rc = store_meta_get(gc->store, txn, "gen", 8, &gen);
    if (rc == FAB_OK)
        rc = store_meta_put(gc->store, txn, "gen", 8, gen + 1);
    if (rc == FAB_OK)
        rc = store_meta_put(gc->store, txn, "collecting", 8, gen + 1);
    if (rc == FAB_OK)
        rc = store_rc(mdb_drop(txn, gc->store->dbi[DBI_PINLOG], 0));
    if (rc != FAB_OK) {
        store_write_abort(gc->store, txn);
        return rc;
    }
    gc->threshold = gen + 1;
    return store_write_commit(gc->store, txn, gc->err);
}

static enum fab_rc oldest_put(void *arg, const struct lease_info *info)
{
    struct gc *gc = arg;
    if (info->kind == LEASE_PUT && info->ws == gc->ws && info->gen < gc->threshold)
        gc->threshold = info->gen;
    return FAB_OK;
}

/* ---- marking ---- */

struct root {
    struct fab_cid cid;
    int64_t used;
};

static int newest_first(const void *a, const void *b)
{
    int64_t x = ((const struct root *)a)->used, y = ((const struct root *)b)->used;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* The unpinned roots of the workspace, newest-used first. Owned by the caller. */
static enum fab_rc load_roots(struct gc *gc, struct root **out, size_t *n)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    struct root *roots = NULL;
    size_t count = 0, cap = 0;
    FAB_TRY(store_read_begin(gc->store, &txn));
    int rc = mdb_cursor_open(txn, gc->store->dbi[DBI_ROOTS], &cursor);
    if (rc) {
        store_read_end(gc->store, txn);
        return store_rc(rc);
    }
    struct store_key from;
    store_key_ws(&from, gc->ws, fab_slice(NULL, 0));
    MDB_val key = store_key_val(&from), value;
    enum fab_rc result = FAB_OK;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         rc == MDB_SUCCESS && result == FAB_OK;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size <= 4 || memcmp(key.mv_data, from.bytes, 4) != 0)
            break;
        if (count == cap) {
            cap = cap ? cap * 2 : 64;
            struct root *p = realloc(roots, cap * sizeof *p);
            if (!p) {
                result = FAB_ENOMEM;
                break;
            }
            roots = p;
        }
        roots[count].used = value.mv_size == 8 ? (int64_t)store_le_get(value.mv_data, 8) : 0;
        result = fab_cid_parse(fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4),
                               &roots[count].cid);
        count++;
    }
    mdb_cursor_close(cursor);
    store_read_end(gc->store, txn);
    if (result == FAB_OK && rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    if (result != FAB_OK) {
        free(roots);
        return result;
    }
    if (count)
        qsort(roots, count, sizeof *roots, newest_first);
    *out = roots;
    *n = count;
    return FAB_OK;
}

/* Keep unpinned roots, newest-used first, until the budget is used up. */
static enum fab_rc mark_roots(struct gc *gc)
{
    struct root *roots = NULL;
    size_t n = 0;
    if (gc->options->keep_bytes == 0)
        return FAB_OK;
    FAB_TRY(load_roots(gc, &roots, &n));
    enum fab_rc rc = FAB_OK;
    for (size_t i = 0; i < n && rc == FAB_OK; i++) {
        uint64_t blocks, bytes;
        store_mark_epoch(gc->mark);
        rc = store_mark_root(gc->mark, &roots[i].cid, false);
        store_mark_totals(gc->mark, &blocks, &bytes);
        if (rc == FAB_OK && bytes > gc->options->keep_bytes) {
            store_mark_drop_epoch(gc->mark);
            break;
        }
    }
    store_mark_epoch(gc->mark);
    free(roots);
    return rc;
}

static enum fab_rc mark_all(struct gc *gc)
{
    double began = store_now();
    report(gc, "marking", 0);
    FAB_TRY(store_mark_new(gc->store, gc->ws, gc->options->cancel, &gc->mark, gc->err));
    FAB_TRY(store_lease_each(gc->store, oldest_put, gc));
    FAB_TRY(store_mark_pins(gc->mark));
    FAB_TRY(store_mark_leases(gc->mark));
    FAB_TRY(mark_roots(gc));
    gc->stats.mark_seconds = store_now() - began;
    uint64_t bytes;
    store_mark_totals(gc->mark, &gc->stats.marked_blocks, &bytes);
    return FAB_OK;
}

/* ---- sweeping ---- */

struct candidates {
    struct gc *gc;
    uint8_t *mh; /* SCAN_STEP entries of FAB_MH_MAX + 1 bytes: length and multihash */
    size_t n;
    size_t scanned;
    struct store_key last; /* where the scan stopped */
    bool end;
};

static uint8_t *candidate(const struct candidates *c, size_t i)
{
    return c->mh + i * (FAB_MH_MAX + 1);
}

/* Read the next SCAN_STEP entries and keep those that would go. */
static enum fab_rc scan(struct candidates *c)
{
    struct gc *gc = c->gc;
    MDB_txn *txn;
    MDB_cursor *cursor;
    FAB_TRY(store_read_begin(gc->store, &txn));
    int rc = mdb_cursor_open(txn, gc->store->dbi[DBI_SPACE], &cursor);
    if (rc) {
        store_read_end(gc->store, txn);
        return store_rc(rc);
    }
    struct store_key from = c->last;
    MDB_val key = store_key_val(&from), value;
    c->n = c->scanned = 0;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         rc == MDB_SUCCESS && c->scanned < SCAN_STEP;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size <= 4 || memcmp(key.mv_data, from.bytes, 4) != 0) {
            rc = MDB_NOTFOUND;
            break;
        }
        if (key.mv_size == from.n && memcmp(key.mv_data, from.bytes, from.n) == 0)
            continue;
        struct store_entry entry;
        struct fab_slice mh = fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4);
        store_entry_parse(value, &entry);
        c->scanned++;
        memcpy(c->last.bytes, key.mv_data, key.mv_size);
        c->last.n = key.mv_size;
        if (mh.n > FAB_MH_MAX || entry.gen >= gc->threshold || store_mark_has(gc->mark, mh))
            continue;
        uint8_t *slot = candidate(c, c->n++);
        slot[0] = (uint8_t)mh.n;
        memcpy(slot + 1, mh.p, mh.n);
        if (gc->options->dry_run) {
            gc->stats.removed_blocks++;
            gc->stats.removed_bytes += entry.size;
        }
    }
    mdb_cursor_close(cursor);
    store_read_end(gc->store, txn);
    c->end = rc == MDB_NOTFOUND;
    return rc == MDB_SUCCESS || rc == MDB_NOTFOUND ? FAB_OK : store_rc(rc);
}

/* Remove candidates from *at on, for SWEEP_SECONDS at most. `behind`: nothing was done, mark first.
 */
static enum fab_rc sweep_txn(struct candidates *c, size_t *at, bool *behind)
{
    struct gc *gc = c->gc;
    MDB_txn *txn;
    struct store_change change;
    FAB_TRY(store_write_begin(gc->store, MDB_NOMETASYNC, &txn, gc->err));
    double began = store_now();
    enum fab_rc rc = store_change_begin(gc->store, txn, gc->ws, &change);
    if (rc == FAB_OK)
        rc = store_mark_behind(gc->mark, txn, behind);
    size_t i = *at;
    uint64_t blocks = 0, bytes = 0;
    for (; rc == FAB_OK && !*behind && i < c->n; i++) {
        struct store_entry entry;
        struct fab_slice mh = fab_slice(candidate(c, i) + 1, candidate(c, i)[0]);
        enum fab_rc found = store_entry_get(gc->store, txn, gc->ws, mh, &entry);
        if (found == FAB_ENOENT ||
            (found == FAB_OK && (entry.gen >= gc->threshold || store_mark_has(gc->mark, mh))))
            continue; /* gone, stamped by a put, or marked since the scan */
        rc = found == FAB_OK ? store_block_delete(&change, mh, entry.size) : found;
        blocks++;
        bytes += entry.size;
        if (store_now() - began > SWEEP_SECONDS) {
            i++;
            break;
        }
    }
    if (rc == FAB_OK && !*behind)
        rc = store_change_end(&change);
    if (rc != FAB_OK || *behind) {
        store_change_drop(&change);
        store_write_abort(gc->store, txn);
        return rc;
    }
    FAB_TRY(store_write_commit(gc->store, txn, gc->err));
    double took = store_now() - began;
    if (took > gc->stats.longest_txn_seconds)
        gc->stats.longest_txn_seconds = took;
    gc->stats.removed_blocks += blocks;
    gc->stats.removed_bytes += bytes;
    *at = i;
    return FAB_OK;
}

static enum fab_rc sweep_step(struct candidates *c)
{
    for (size_t at = 0; at < c->n;) {
        bool behind = false;
        if (cancelled(c->gc))
            return FAB_EINTERRUPTED;
        FAB_TRY(sweep_txn(c, &at, &behind));
        if (!behind)
            continue;
        FAB_TRY(store_mark_pinlog(c->gc->mark));
        FAB_TRY(store_mark_leases(c->gc->mark));
    }
    return FAB_OK;
}

static enum fab_rc sweep(struct gc *gc)
{
    double began = store_now();
    struct candidates c = {.gc = gc, .mh = malloc((size_t)SCAN_STEP * (FAB_MH_MAX + 1))};
    if (!c.mh)
        return FAB_ENOMEM;
    store_key_ws(&c.last, gc->ws, fab_slice(NULL, 0));
    enum fab_rc rc = FAB_OK;
    while (rc == FAB_OK && !c.end) {
        rc = cancelled(gc) ? FAB_EINTERRUPTED : scan(&c);
        if (rc == FAB_OK && !gc->options->dry_run)
            rc = sweep_step(&c);
        gc->scanned += c.scanned;
        report(gc, "sweeping", gc->scanned);
    }
    free(c.mh);
    gc->stats.sweep_seconds = store_now() - began;
    return rc;
}

/* ---- the end ---- */

/* One that a put brought meanwhile stays, as its blocks do. */
static bool root_stays(struct gc *gc, MDB_txn *txn, const struct fab_cid *root)
{
    struct store_entry entry;
    return store_mark_has(gc->mark, fab_cid_mh(root)) ||
           (store_entry_get(gc->store, txn, gc->ws, fab_cid_mh(root), &entry) == FAB_OK &&
            entry.gen >= gc->threshold);
}

/* Forget the unpinned roots that went, end the log of pins, make it all durable. After a failure
 * (`so_far`) only the log ends. */
static enum fab_rc close_generation(struct gc *gc, enum fab_rc so_far)
{
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    FAB_TRY(store_write_begin(gc->store, 0, &txn, gc->err));
    enum fab_rc rc = store_meta_put(gc->store, txn, "collecting", 8, 0);
    if (rc == FAB_OK)
        rc = store_rc(mdb_drop(txn, gc->store->dbi[DBI_PINLOG], 0));
    if (rc == FAB_OK && so_far == FAB_OK) {
        rc = store_rc(mdb_cursor_open(txn, gc->store->dbi[DBI_ROOTS], &cursor));
        struct store_key from;
        store_key_ws(&from, gc->ws, fab_slice(NULL, 0));
        MDB_val key = store_key_val(&from), value;
        int mrc = rc == FAB_OK ? mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) : MDB_NOTFOUND;
        while (rc == FAB_OK && mrc == MDB_SUCCESS && key.mv_size > 4 &&
               memcmp(key.mv_data, from.bytes, 4) == 0) {
            struct fab_cid cid;
            rc = fab_cid_parse(fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4), &cid);
            if (rc == FAB_OK && !root_stays(gc, txn, &cid))
                rc = store_rc(mdb_cursor_del(cursor, 0));
            mrc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
        if (cursor)
            mdb_cursor_close(cursor);
    }
    if (rc == FAB_OK)
        return store_write_commit(gc->store, txn, gc->err);
    store_write_abort(gc->store, txn);
    return rc;
}

static enum fab_rc run(struct gc *gc)
{
    struct fab_workspace_info info;
    MDB_txn *txn;
    FAB_TRY(store_read_begin(gc->store, &txn));
    enum fab_rc rc = store_ws_load(gc->store, txn, gc->ws, &info);
    store_read_end(gc->store, txn);
    if (rc != FAB_OK)
        return rc;
    gc->total = info.blocks;
    if (!gc->options->dry_run)
        FAB_TRY(fab_workspace_sweep(gc->store, gc->options->cancel, gc->err));
    FAB_TRY(open_generation(gc));
    rc = mark_all(gc);
    if (rc == FAB_OK)
        rc = sweep(gc);
    if (!gc->options->dry_run) {
        enum fab_rc closed = close_generation(gc, rc);
        if (rc == FAB_OK)
            rc = closed;
    }
    return rc;
}

enum fab_rc fab_gc(struct fab_store *store, uint32_t ws, const struct fab_gc_options *options,
                   struct fab_gc_stats *out, struct fab_err *err)
{
    struct fab_err inner = {0};
    struct gc gc = {.store = store, .ws = ws, .options = options, .err = &inner};
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int fd = openat(store->dirfd, "gc.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fab_err_errno(err, errno, "store %s: cannot open gc.lock", store->dir);
    enum fab_rc rc;
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        rc = fab_err_set(err, FAB_EBUSY, "another collection is running; wait for it to end");
    } else {
        rc = run(&gc);
        store_mark_free(gc.mark);
        /* Blocks in data.mdb cannot use the room in blocks.dat on a disk that is full. */
        bool removed = rc == FAB_OK && !options->dry_run;
        if (removed && gc.stats.removed_blocks > 0 && store_disk_short(store))
            rc = store_extents_give_back(store);
        if (removed && rc == FAB_OK)
            rc = store_extents_cut(store);
        if (rc == FAB_EINTERRUPTED)
            fab_err_set(err, rc,
                        "the collection was interrupted; nothing that is pinned was touched");
        else if (rc != FAB_OK && inner.rc == FAB_OK)
            fab_err_set(err, rc, "the collection failed: %s", fab_rc_text(rc));
        else if (rc != FAB_OK && err)
            *err = inner;
    }
    close(fd);
    if (rc == FAB_OK && out)
        *out = gc.stats;
    return rc;
}

/* ---- room for a put ---- */

#define BUSY_TRIES 600
#define BUSY_NS    100000000 /* 0.1 s */

static enum fab_rc collect_keeping(struct fab_store *store, uint32_t ws, uint64_t keep,
                                   struct fab_err *err)
{
    struct fab_gc_options options = {.keep_bytes = keep ? keep : 1};
    for (unsigned i = 0;; i++) {
        enum fab_rc rc = fab_gc(store, ws, &options, NULL, err);
        if (rc != FAB_EBUSY || i == BUSY_TRIES)
            return rc;
        struct timespec pause = {.tv_nsec = BUSY_NS};
        nanosleep(&pause, NULL);
    }
}

/* Bytes that may stay so that `need` more leave the quota below its high-water mark, with a tenth
 * to spare. */
static uint64_t target(uint64_t quota, unsigned high_water, uint64_t need)
{
    unsigned low = high_water > 10 ? high_water - 10 : high_water;
    uint64_t keep = quota / 100 * low;
    return keep > need ? keep - need : 0;
}

static bool above(const struct fab_store *store, uint64_t quota, uint64_t used, uint64_t need)
{
    if (!quota)
        return false;
    return need ? used + need > quota : used > quota / 100 * store->high_water;
}

enum fab_rc store_make_room(struct fab_store *store, uint32_t ws, uint64_t need,
                            struct fab_err *err)
{
    MDB_txn *txn;
    struct fab_workspace_info info;
    uint64_t used = 0;
    FAB_TRY(store_read_begin(store, &txn));
    enum fab_rc rc = store_ws_load(store, txn, ws, &info);
    if (rc == FAB_OK)
        rc = store_meta_get(store, txn, "bytes", 8, &used);
    store_read_end(store, txn);
    if (rc == FAB_ENOENT)
        return FAB_OK; /* nothing was ever stored */
    FAB_TRY(rc);
    uint64_t keep = UINT64_MAX;
    if (above(store, info.quota, info.bytes, need))
        keep = target(info.quota, store->high_water, need);
    if (above(store, store->quota, used, need)) {
        uint64_t all = target(store->quota, store->high_water, need);
        uint64_t excess = used > all ? used - all : 0;
        uint64_t own = info.bytes > excess ? info.bytes - excess : 0;
        keep = own < keep ? own : keep;
    }
    return keep == UINT64_MAX ? FAB_OK : collect_keeping(store, ws, keep, err);
}
