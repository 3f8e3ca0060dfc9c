/* The one writer: blocks come in from any thread, a thread of the ingest writes them in large
 * transactions.
 *
 * The happy path: open takes a put lease and starts the writer; submitted blocks queue up; the
 * writer opens a transaction for the first, copies blocks in until the transaction is large or
 * nothing comes for a moment, and commits (data synced, the meta page not: a crash may lose the
 * last transactions, never the store's integrity). Commit joins the writer and records pins and
 * roots in one last, fully synced transaction, which makes everything before it durable too.
 * Failures: the first one sticks, later blocks are handed back unwritten. An ingest that does not
 * commit takes back the blocks that it alone brought; it knows them from a log in an unlinked file.
 * One that is killed leaves unpinned blocks whose lease has lapsed, for the next collection. */
#include "storage/base/fd.h"
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS        3 /* an open transaction without new blocks is committed after this */
#define COPIES_MAX     (8u << 20) /* bytes that fab_ingest_put may have in flight */
#define LOG_BUFFER     (64u << 10)
#define EXTENT_SHARE   4 /* an extent's bytes are in the file already; the sync is what they cost */
#define PAGE_COST      4096 /* what a block costs in a transaction beyond its bytes */
#define TAKE_BACK_STEP 1024 /* blocks taken back in one transaction */

struct fab_ingest {
    struct fab_store *store;
    uint32_t ws;
    struct fab_lease *lease;
    uint64_t owner;  /* the lease's id, stamped on every block */
    uint64_t pinned; /* the store's count of pins when the ingest began */
    pthread_t thread;

    pthread_mutex_t mutex;
    pthread_cond_t work, room;
    struct fab_ingest_block *head, *tail;
    bool closing;
    size_t copies;
    _Atomic int failed; /* enum fab_rc */

    /* The writer's own until it has ended. */
    struct fab_err err;
    MDB_txn *txn;
    struct fab_ingest_block *held; /* the transaction has them, and they are not written yet */
    struct store_change change;
    size_t txn_bytes;
    bool collected; /* garbage, because the disk is short */
    bool raised;    /* the lease names the generation that this ingest opened */
    bool joined;    /* the writer has ended; the owner's own */
    int log_fd;
    struct fab_buf log;
    struct fab_ingest_stats stats;
};

/* ---- the log of new blocks: length and multihash of each ---- */

static enum fab_rc log_flush(struct fab_ingest *in)
{
    if (fab_fd_write(in->log_fd, fab_buf_slice(&in->log)) != FAB_OK)
        return fab_err_errno(&in->err, errno, "store %s: cannot write the ingest's log",
                             in->store->dir);
    fab_buf_reset(&in->log);
    return FAB_OK;
}

static enum fab_rc log_block(struct fab_ingest *in, struct fab_slice mh)
{
    if (in->log.len + mh.n + 1 > LOG_BUFFER)
        FAB_TRY(log_flush(in));
    FAB_TRY(fab_buf_byte(&in->log, (uint8_t)mh.n));
    return fab_buf_append(&in->log, mh.p, mh.n);
}

static int log_open(struct fab_store *store)
{
    return openat(store->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* ---- the writer thread ---- */

/* On a disk that is nearly full, what killed puts left behind makes room, once per ingest. */
static enum fab_rc collect_garbage(struct fab_ingest *in)
{
    if (in->collected || !store_disk_short(in->store))
        return FAB_OK;
    in->collected = true;
    struct fab_gc_options options = {.keep_bytes = UINT64_MAX};
    enum fab_rc rc = fab_gc(in->store, in->ws, &options, NULL, &in->err);
    if (rc != FAB_EBUSY && rc != FAB_ENOSPC)
        return rc;
    in->err =
        (struct fab_err){0}; /* another one runs, or it is too late: the write itself will tell */
    return FAB_OK;
}

static enum fab_rc txn_begin(struct fab_ingest *in)
{
    FAB_TRY(collect_garbage(in));
    FAB_TRY(store_write_begin(in->store, MDB_NOMETASYNC, &in->txn, &in->err));
    enum fab_rc rc = store_change_begin(in->store, in->txn, in->ws, &in->change);
    if (rc != FAB_OK) {
        store_write_abort(in->store, in->txn);
        in->txn = NULL;
        return fab_err_set(&in->err, rc, "store %s: cannot read the workspace: %s", in->store->dir,
                           fab_rc_text(rc));
    }
    in->txn_bytes = 0;
    /* The first transaction opens a generation of its own, so that what came before can be
     * collected while this ingest runs (it may need the room). */
    if (!in->raised)
        in->change.gen++;
    return FAB_OK;
}

static enum fab_rc txn_end(struct fab_ingest *in)
{
    FAB_TRY(log_flush(in));
    if (!in->raised)
        FAB_TRY(store_meta_put(in->store, in->txn, "gen", 8, in->change.gen));
    return store_change_end(&in->change);
}

static enum fab_rc txn_commit(struct fab_ingest *in)
{
    if (!in->txn)
        return FAB_OK;
    enum fab_rc rc = txn_end(in);
    MDB_txn *txn = in->txn;
    in->txn = NULL;
    if (rc == FAB_OK) {
        FAB_TRY(store_write_commit(in->store, txn, &in->err));
        if (!in->raised)
            in->raised = store_lease_raise(in->lease, in->change.gen);
        return FAB_OK;
    }
    store_change_drop(&in->change);
    store_write_abort(in->store, txn);
    return fab_err_set(&in->err, rc, "store %s: cannot write: %s", in->store->dir, fab_rc_text(rc));
}

static enum fab_rc quota_error(struct fab_ingest *in, uint64_t need)
{
    struct fab_workspace_info info = in->change.ws;
    uint64_t quota = in->store->quota, used = in->change.used_bytes;
    bool workspace = info.quota && info.bytes + need > info.quota;
    return fab_err_set(
        &in->err, FAB_EQUOTA,
        "%s%s is full: %llu of %llu bytes are used and %llu more are needed; unpin what is "
        "not wanted and run 'fabric gc', or raise the quota in fabric.conf",
        workspace ? "workspace " : "the store", workspace ? info.name : "",
        (unsigned long long)(workspace ? info.bytes : used),
        (unsigned long long)(workspace ? info.quota : quota), (unsigned long long)need);
}

/* The first of what comes is left in the page cache. */
static enum fab_rc into_txn(struct fab_ingest *in, const struct fab_ingest_block *block,
                            bool *fresh)
{
    in->change.past_cache = in->stats.new_bytes + block->data.n > in->store->cached;
    return store_block_write(&in->change, &block->cid, block->data, in->owner, fresh);
}

static enum fab_rc write_block(struct fab_ingest *in, const struct fab_ingest_block *block)
{
    bool fresh;
    if (fab_cid_mh_code(&block->cid) == FAB_MH_IDENTITY)
        return FAB_OK; /* its bytes are in every CID that names it */
    if (!in->txn)
        FAB_TRY(txn_begin(in));
    enum fab_rc rc = into_txn(in, block, &fresh);
    if (rc == FAB_EQUOTA) {
        FAB_TRY(txn_commit(in));
        FAB_TRY(store_make_room(in->store, in->ws, block->data.n, &in->err));
        FAB_TRY(txn_begin(in));
        rc = into_txn(in, block, &fresh);
        if (rc == FAB_EQUOTA)
            return quota_error(in, block->data.n);
    }
    if (rc != FAB_OK)
        return fab_err_set(&in->err, rc, "store %s: cannot write a block: %s", in->store->dir,
                           fab_rc_text(rc));
    in->stats.blocks++;
    in->stats.bytes += block->data.n;
    if (fresh) {
        in->stats.new_blocks++;
        in->stats.new_bytes += block->data.n;
        FAB_TRY(log_block(in, fab_cid_mh(&block->cid)));
        in->txn_bytes += block->data.n / (block->data.n < STORE_EXTENT_MIN ? 1 : EXTENT_SHARE);
    }
    in->txn_bytes += PAGE_COST;
    size_t batch = in->store->memory_fs ? STORE_BATCH_MEMORY : STORE_BATCH_DISK;
    return in->txn_bytes >= batch ? txn_commit(in) : FAB_OK;
}

static void fail(struct fab_ingest *in, enum fab_rc rc)
{
    if (in->txn) {
        store_change_drop(&in->change);
        store_write_abort(in->store, in->txn);
        in->txn = NULL;
    }
    if (in->err.rc == FAB_OK)
        fab_err_set(&in->err, rc, "store %s: cannot write: %s", in->store->dir, fab_rc_text(rc));
    in->failed = (int)rc;
    pthread_mutex_lock(&in->mutex);
    pthread_cond_broadcast(&in->room);
    pthread_mutex_unlock(&in->mutex);
}

/* The blocks that wait, or NULL when the ingest closes; commits when nothing comes for a while. */
static struct fab_ingest_block *next_blocks(struct fab_ingest *in)
{
    pthread_mutex_lock(&in->mutex);
    while (!in->head && !in->closing) {
        if (!in->txn) {
            pthread_cond_wait(&in->work, &in->mutex);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += IDLE_MS * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (pthread_cond_timedwait(&in->work, &in->mutex, &until) != ETIMEDOUT || in->head)
            continue;
        pthread_mutex_unlock(&in->mutex);
        enum fab_rc rc = txn_commit(in);
        if (rc != FAB_OK)
            fail(in, rc);
        pthread_mutex_lock(&in->mutex);
    }
    struct fab_ingest_block *list = in->head;
    in->head = in->tail = NULL;
    pthread_mutex_unlock(&in->mutex);
    return list;
}

static void give_back(struct fab_ingest *in)
{
    while (in->held) {
        struct fab_ingest_block *block = in->held;
        in->held = block->next;
        block->done(block);
    }
}

/* Write what has come. Large blocks that come together are written together. */
static void write_blocks(struct fab_ingest *in, struct fab_ingest_block *list)
{
    while (list) {
        struct fab_ingest_block *block = list;
        list = block->next;
        enum fab_rc rc = in->failed ? FAB_OK : write_block(in, block);
        block->next = in->held;
        in->held = block;
        if (rc == FAB_OK && !list && in->txn)
            rc = store_extents_flush(in->store);
        if (rc != FAB_OK)
            fail(in, rc);
        if (!in->txn || !store_extents_pending(in->store))
            give_back(in);
    }
}

static void *writer(void *arg)
{
    struct fab_ingest *in = arg;
    struct fab_ingest_block *block;
    while ((block = next_blocks(in)))
        write_blocks(in, block);
    enum fab_rc rc = in->failed ? FAB_OK : txn_commit(in);
    if (rc != FAB_OK)
        fail(in, rc);
    return NULL;
}

/* ---- the interface ---- */

static enum fab_rc meta_read(struct fab_store *store, uint64_t *gen, uint64_t *pinned)
{
    MDB_txn *txn;
    *pinned = 0;
    FAB_TRY(store_read_begin(store, &txn));
    enum fab_rc rc = store_meta_get(store, txn, "gen", 8, gen);
    if (rc == FAB_OK && store_meta_get(store, txn, "pinned", 8, pinned) == FAB_EFORMAT)
        rc = FAB_EFORMAT;
    store_read_end(store, txn);
    return rc;
}

static void ingest_free(struct fab_ingest *in)
{
    fab_lease_release(in->lease);
    if (in->log_fd >= 0)
        close(in->log_fd);
    fab_buf_fini(&in->log);
    pthread_cond_destroy(&in->room);
    pthread_cond_destroy(&in->work);
    pthread_mutex_destroy(&in->mutex);
    free(in);
}

enum fab_rc fab_ingest_open(struct fab_store *store, uint32_t ws, struct fab_ingest **out,
                            struct fab_err *err)
{
    struct fab_ingest *in = calloc(1, sizeof *in);
    if (!in)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    in->store = store;
    in->ws = ws;
    fab_buf_init(&in->log, LOG_BUFFER);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->work, &attr);
    pthread_cond_init(&in->room, NULL);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&in->mutex, NULL);
    in->log_fd = log_open(store);
    struct lease_info info = {.kind = LEASE_PUT, .ws = ws};
    enum fab_rc rc;
    if (in->log_fd < 0) {
        rc = fab_err_errno(err, errno, "store %s: cannot make a temporary file", store->dir);
    } else if ((rc = meta_read(store, &info.gen, &in->pinned)) != FAB_OK) {
        fab_err_set(err, rc, "store %s: cannot read its state: %s", store->dir, fab_rc_text(rc));
    } else if ((rc = store_lease_take(store, &info, &in->lease, err)) == FAB_OK) {
        in->owner = store_lease_id(in->lease);
        if (pthread_create(&in->thread, NULL, writer, in) != 0)
            rc = fab_err_set(err, FAB_ENOMEM, "cannot start a thread");
    }
    if (rc != FAB_OK) {
        ingest_free(in);
        return rc;
    }
    *out = in;
    return FAB_OK;
}

void fab_ingest_submit(struct fab_ingest *in, struct fab_ingest_block *block)
{
    block->next = NULL;
    pthread_mutex_lock(&in->mutex);
    if (in->tail)
        in->tail->next = block;
    else
        in->head = block;
    in->tail = block;
    pthread_cond_signal(&in->work);
    pthread_mutex_unlock(&in->mutex);
}

enum fab_rc fab_ingest_failed(struct fab_ingest *in)
{
    return (enum fab_rc)in->failed;
}

struct copy {
    struct fab_ingest_block block; /* first */
    struct fab_ingest *ingest;
    uint8_t bytes[];
};

static void copy_done(struct fab_ingest_block *block)
{
    struct copy *copy = (struct copy *)block;
    struct fab_ingest *in = copy->ingest;
    pthread_mutex_lock(&in->mutex);
    in->copies -= copy->block.data.n;
    pthread_cond_broadcast(&in->room);
    pthread_mutex_unlock(&in->mutex);
    free(copy);
}

enum fab_rc fab_ingest_put(struct fab_ingest *in, const struct fab_cid *cid, struct fab_slice data)
{
    if (data.n > FAB_BLOCK_MAX)
        return FAB_ELIMIT;
    struct copy *copy = malloc(sizeof *copy + data.n);
    if (!copy)
        return FAB_ENOMEM;
    if (data.n)
        memcpy(copy->bytes, data.p, data.n);
    copy->block = (struct fab_ingest_block){
        .cid = *cid, .data = fab_slice(copy->bytes, data.n), .done = copy_done};
    copy->ingest = in;
    pthread_mutex_lock(&in->mutex);
    while (in->copies > COPIES_MAX && !in->failed)
        pthread_cond_wait(&in->room, &in->mutex);
    in->copies += data.n;
    pthread_mutex_unlock(&in->mutex);
    fab_ingest_submit(in, &copy->block);
    return fab_ingest_failed(in);
}

static enum fab_rc sink_put(void *ctx, const struct fab_cid *cid, struct fab_slice data)
{
    return fab_ingest_put(ctx, cid, data);
}

struct fab_block_sink fab_ingest_sink(struct fab_ingest *in)
{
    return (struct fab_block_sink){.ctx = in, .put = sink_put};
}

static void join(struct fab_ingest *in)
{
    if (in->joined)
        return;
    in->joined = true;
    pthread_mutex_lock(&in->mutex);
    in->closing = true;
    pthread_cond_signal(&in->work);
    pthread_mutex_unlock(&in->mutex);
    pthread_join(in->thread, NULL);
}

static enum fab_rc write_roots(struct fab_ingest *in, MDB_txn *txn,
                               const struct fab_ingest_root *roots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (roots[i].pin)
            FAB_TRY(store_pin_put(in->store, txn, in->ws, &roots[i].cid, FAB_PIN_RECURSIVE,
                                  roots[i].name));
        else
            FAB_TRY(store_root_put(in->store, txn, in->ws, &roots[i].cid, time(NULL)));
    }
    /* A transaction without changes is not synced, but the ones before it have to be. */
    uint64_t commits = 0;
    enum fab_rc rc = store_meta_get(in->store, txn, "commits", 8, &commits);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    return store_meta_put(in->store, txn, "commits", 8, commits + 1);
}

enum fab_rc fab_ingest_finish(struct fab_ingest *in, struct fab_err *err)
{
    join(in);
    enum fab_rc rc = fab_ingest_failed(in);
    if (rc != FAB_OK && err)
        *err = in->err;
    return rc;
}

static void take_back(struct fab_ingest *in);

enum fab_rc fab_ingest_commit(struct fab_ingest *in, const struct fab_ingest_root *roots, size_t n,
                              struct fab_ingest_stats *stats, struct fab_err *err)
{
    join(in);
    enum fab_rc rc = fab_ingest_failed(in);
    MDB_txn *txn;
    if (rc == FAB_OK)
        rc = store_write_begin(in->store, 0, &txn, &in->err);
    if (rc == FAB_OK) {
        rc = write_roots(in, txn, roots, n);
        if (rc == FAB_OK) {
            rc = store_write_commit(in->store, txn, &in->err);
        } else {
            store_write_abort(in->store, txn);
            fab_err_set(&in->err, rc, "cannot record the pin: %s", fab_rc_text(rc));
        }
    }
    if (rc != FAB_OK) {
        if (err)
            *err = in->err;
        take_back(in);
        ingest_free(in);
        return rc;
    }
    if (stats)
        *stats = in->stats;
    struct fab_store *store = in->store;
    uint32_t ws = in->ws;
    ingest_free(in);
    /* The put is done and durable; that eviction could not run now is no failure of it. */
    enum fab_rc evicted FAB_UNUSED = store_make_room(store, ws, 0, NULL);
    return FAB_OK;
}

void fab_ingest_abort(struct fab_ingest *in)
{
    if (!in)
        return;
    join(in);
    take_back(in);
    ingest_free(in);
}

/* ---- taking back ---- */

struct others {
    uint32_t ws;
    bool found;
};

static enum fab_rc see_lease(void *arg, const struct lease_info *info)
{
    struct others *others = arg;
    if (info->kind == LEASE_ROOT && info->ws == others->ws)
        others->found = true;
    return FAB_OK;
}

/* Could a pin or a lease that came after this ingest began reach its blocks? */
static enum fab_rc disturbed(struct fab_ingest *in, MDB_txn *txn, bool *out)
{
    uint64_t pinned = 0;
    enum fab_rc rc = store_meta_get(in->store, txn, "pinned", 8, &pinned);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    struct others others = {.ws = in->ws};
    FAB_TRY(store_lease_each(in->store, see_lease, &others));
    *out = pinned != in->pinned || others.found;
    return FAB_OK;
}

static enum fab_rc mark_all(struct fab_ingest *in, struct store_mark **mark)
{
    if (!*mark)
        FAB_TRY(store_mark_new(in->store, in->ws, NULL, mark, NULL));
    FAB_TRY(store_mark_pins(*mark));
    return store_mark_leases(*mark);
}

/* One transaction: remove those of the logged blocks that are still only ours. `again`: mark first.
 */
static enum fab_rc take_back_step(struct fab_ingest *in, struct fab_slice log,
                                  struct store_mark *mark, uint64_t marked_at, bool *again)
{
    MDB_txn *txn;
    struct store_change change;
    uint64_t pinned = 0;
    FAB_TRY(store_write_begin(in->store, 0, &txn, NULL));
    enum fab_rc rc = store_change_begin(in->store, txn, in->ws, &change);
    *again = false;
    if (rc == FAB_OK && mark) {
        rc = store_mark_leases_behind(mark, again);
        if (rc == FAB_OK && store_meta_get(in->store, txn, "pinned", 8, &pinned) == FAB_OK)
            *again |= pinned != marked_at;
    } else if (rc == FAB_OK) {
        rc = disturbed(in, txn, again);
    }
    struct fab_reader r = fab_reader(log);
    while (rc == FAB_OK && !*again && fab_reader_left(&r)) {
        uint8_t n;
        struct fab_slice mh;
        struct store_entry entry;
        FAB_UNUSED enum fab_rc whole = fab_read_u8(&r, &n);
        if (fab_read_bytes(&r, n, &mh) != FAB_OK)
            break;
        enum fab_rc found = store_entry_get(in->store, txn, in->ws, mh, &entry);
        if (found == FAB_OK && entry.owner == in->owner && !(mark && store_mark_has(mark, mh)))
            rc = store_block_delete(&change, mh, entry.size);
    }
    if (rc == FAB_OK && !*again)
        rc = store_change_end(&change);
    if (rc == FAB_OK && !*again)
        return store_write_commit(in->store, txn, NULL);
    store_change_drop(&change);
    store_write_abort(in->store, txn);
    return rc;
}

static enum fab_rc pinned_now(struct fab_ingest *in, uint64_t *out)
{
    uint64_t gen;
    return meta_read(in->store, &gen, out);
}

static enum fab_rc take_back_blocks(struct fab_ingest *in, struct fab_slice log,
                                    struct store_mark **mark, uint64_t *marked_at)
{
    for (;;) {
        bool again;
        FAB_TRY(take_back_step(in, log, *mark, *marked_at, &again));
        if (!again)
            return FAB_OK;
        FAB_TRY(pinned_now(in, marked_at));
        FAB_TRY(mark_all(in, mark));
    }
}

/* LMDB reuses the pages that a transaction freed only in the second one after it, since the first
 * could still fall back on the state before. One more makes them usable for whoever comes next,
 * also on a full disk. */
static void settle(struct fab_ingest *in)
{
    MDB_txn *txn;
    if (store_disk_short(in->store) && store_extents_give_back(in->store) == FAB_OK)
        return;
    if (store_write_begin(in->store, 0, &txn, NULL) != FAB_OK)
        return;
    if (write_roots(in, txn, NULL, 0) != FAB_OK)
        store_write_abort(in->store, txn);
    else if (store_write_commit(in->store, txn, NULL) != FAB_OK)
        return; /* the pages stay free all the same */
}

/* Best effort by nature: what cannot be taken back now, the next collection takes. */
static void take_back(struct fab_ingest *in)
{
    struct fab_buf chunk;
    fab_buf_init(&chunk, TAKE_BACK_STEP * (FAB_MH_MAX + 1));
    struct store_mark *mark = NULL;
    uint64_t marked_at = 0;
    enum fab_rc rc = log_flush(in);
    off_t at = 0;
    while (rc == FAB_OK && (rc = fab_buf_reserve(&chunk, LOG_BUFFER)) == FAB_OK) {
        ssize_t n = pread(in->log_fd, chunk.data, LOG_BUFFER, at);
        if (n <= 0)
            break;
        size_t whole = 0; /* bytes of complete records */
        while (whole < (size_t)n && whole + 1 + chunk.data[whole] <= (size_t)n)
            whole += 1 + chunk.data[whole];
        if (whole == 0)
            break;
        rc = take_back_blocks(in, fab_slice(chunk.data, whole), &mark, &marked_at);
        at += (off_t)whole;
    }
    store_mark_free(mark);
    if (rc == FAB_OK && at > 0)
        settle(in);
    fab_buf_fini(&chunk);
}
