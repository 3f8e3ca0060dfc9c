#include "storage/files/verify.h"

#include "storage/base/pool.h"
#include "storage/files/source.h"
#include "storage/files/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define VERIFY_ITEMS   128
#define VERIFY_BYTES   (4u << 20) /* of the blocks of one batch */
#define VERIFY_BATCHES 16

enum verdict { VERDICT_GONE, VERDICT_GOOD, VERDICT_ROTTEN, VERDICT_UNKNOWN };

struct verify_item {
    struct fab_cid cid; /* as raw: only the multihash counts */
    uint64_t size;
    enum verdict verdict;
};

struct verify;

struct verify_batch {
    struct fab_task task;
    struct verify *verify;
    bool done; /* under the mutex */
    unsigned n;
    uint64_t bytes;
    enum fab_rc rc;
    struct verify_item item[VERIFY_ITEMS];
};

/* The batches are a ring: filled at the front, judged at the back, in order. */
struct verify {
    struct fab_store *store;
    uint32_t ws;
    const struct fab_verify_options *options;
    void (*bad)(void *arg, struct fab_slice mh, uint64_t size);
    void *arg;
    struct watch watch;
    struct fab_verify_stats stats;
    struct fab_err *err;
    struct fab_pool *pool;
    struct verify_batch *batch;
    unsigned head, count;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

static void item_check(struct source *source, struct verify_item *item, enum fab_rc *failure)
{
    struct fab_slice data;
    enum fab_rc rc = source_block(source, &item->cid, &data);
    item->verdict = VERDICT_GONE;
    if (rc == FAB_ENOENT)
        return;
    if (rc == FAB_EFORMAT) /* where its bytes should be the file ends */
        rc = FAB_EHASH;
    if (rc == FAB_OK)
        rc = fab_cid_check(&item->cid, data);
    if (rc == FAB_OK)
        item->verdict = VERDICT_GOOD;
    else if (rc == FAB_EHASH)
        item->verdict = VERDICT_ROTTEN;
    else if (rc == FAB_EUNSUPPORTED)
        item->verdict = VERDICT_UNKNOWN;
    else
        *failure = rc;
}

static void batch_run(struct fab_task *task)
{
    struct verify_batch *batch = (struct verify_batch *)task;
    struct verify *v = batch->verify;
    struct source source;
    source_init(&source, v->store, v->ws, false);
    for (unsigned i = 0; i < batch->n; i++)
        item_check(&source, &batch->item[i], &batch->rc);
    source_rest(&source);
    pthread_mutex_lock(&v->mutex);
    batch->done = true;
    pthread_cond_signal(&v->changed);
    pthread_mutex_unlock(&v->mutex);
}

static enum fab_rc judge(struct verify *v, const struct verify_item *item)
{
    if (item->verdict == VERDICT_GONE)
        return FAB_OK;
    if (item->verdict == VERDICT_UNKNOWN) {
        v->stats.unknown++;
        return FAB_OK;
    }
    v->stats.blocks++;
    v->stats.bytes += item->size;
    v->watch.now.items++;
    v->watch.now.bytes += item->size;
    if (item->verdict == VERDICT_GOOD)
        return FAB_OK;
    v->stats.rotten++;
    if (v->bad)
        v->bad(v->arg, fab_cid_mh(&item->cid), item->size);
    if (!v->options->repair)
        return FAB_OK;
    enum fab_rc rc = fab_block_drop_rotten(v->store, fab_cid_mh(&item->cid), v->err);
    if (rc == FAB_OK)
        v->stats.dropped++;
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

/* Wait for the oldest batch and judge it. */
static enum fab_rc batch_end(struct verify *v)
{
    struct verify_batch *batch = &v->batch[v->head];
    pthread_mutex_lock(&v->mutex);
    while (!batch->done)
        pthread_cond_wait(&v->changed, &v->mutex);
    pthread_mutex_unlock(&v->mutex);
    v->head = (v->head + 1) % VERIFY_BATCHES;
    v->count--;
    FAB_TRY(batch->rc);
    for (unsigned i = 0; i < batch->n; i++)
        FAB_TRY(judge(v, &batch->item[i]));
    return watch_tick(&v->watch);
}

/* FAB_ELIMIT ends the listing when the batch is full. */
static enum fab_rc on_block(void *arg, struct fab_slice mh, uint64_t size)
{
    struct verify_batch *batch = arg;
    if (mh.n > FAB_MH_MAX)
        return FAB_EFORMAT;
    struct verify_item *item = &batch->item[batch->n++];
    item->cid = (struct fab_cid){.version = 1, .codec = FAB_CODEC_RAW, .mh_len = (uint8_t)mh.n};
    memcpy(item->cid.mh, mh.p, mh.n);
    item->size = size;
    batch->bytes += size;
    return batch->n == VERIFY_ITEMS || batch->bytes >= VERIFY_BYTES ? FAB_ELIMIT : FAB_OK;
}

/* List the next blocks after `last` in a short snapshot, and let the workers have them. */
static enum fab_rc batch_begin(struct verify *v, struct fab_cid *last, bool *end)
{
    struct verify_batch *batch = &v->batch[(v->head + v->count) % VERIFY_BATCHES];
    struct fab_view *view;
    batch->verify = v;
    batch->task.run = batch_run;
    batch->n = 0;
    batch->bytes = 0;
    batch->done = false;
    batch->rc = FAB_OK;
    FAB_TRY(fab_view_open(v->store, v->ws, &view, v->err));
    enum fab_rc rc = fab_view_each(view, fab_slice(last->mh, last->mh_len), on_block, batch);
    fab_view_close(view);
    *end = rc == FAB_OK;
    if (rc != FAB_OK && rc != FAB_ELIMIT)
        return rc;
    if (batch->n == 0)
        return FAB_OK;
    *last = batch->item[batch->n - 1].cid;
    v->count++;
    fab_pool_submit(v->pool, &batch->task);
    return FAB_OK;
}

static enum fab_rc verify_all(struct verify *v)
{
    struct fab_cid last = {0};
    bool end = false;
    while (!end) {
        while (v->count == VERIFY_BATCHES)
            FAB_TRY(batch_end(v));
        FAB_TRY(batch_begin(v, &last, &end));
        FAB_TRY(watch_tick(&v->watch));
    }
    while (v->count)
        FAB_TRY(batch_end(v));
    return FAB_OK;
}

static enum fab_rc on_workspace(void *arg, const struct fab_workspace_info *info)
{
    struct verify *v = arg;
    if (info->id == v->ws)
        v->watch.now.total_bytes = info->bytes;
    return FAB_OK;
}

enum fab_rc fab_verify(struct fab_store *store, uint32_t ws,
                       const struct fab_verify_options *options,
                       void (*bad)(void *arg, struct fab_slice mh, uint64_t size), void *arg,
                       struct fab_verify_stats *stats, struct fab_err *err)
{
    static const struct fab_verify_options defaults;
    struct fab_err local;
    struct verify v = {.store = store, .ws = ws, .bad = bad, .arg = arg};
    v.options = options ? options : &defaults;
    v.err = err ? err : &local;
    v.err->rc = FAB_OK;
    v.err->msg[0] = '\0';
    watch_init(&v.watch, &v.options->watch);
    pthread_mutex_init(&v.mutex, NULL);
    pthread_cond_init(&v.changed, NULL);
    v.batch = calloc(VERIFY_BATCHES, sizeof v.batch[0]);
    enum fab_rc rc = v.batch ? fab_pool_new(0, VERIFY_BATCHES, 0, &v.pool) : FAB_ENOMEM;
    if (rc == FAB_OK)
        rc = fab_workspace_list(store, on_workspace, &v);
    if (rc == FAB_OK)
        rc = verify_all(&v);
    fab_pool_free(v.pool);
    if (rc == FAB_OK) {
        watch_end(&v.watch);
        if (stats)
            *stats = v.stats;
    } else if (v.err->msg[0] == '\0') {
        fab_err_set(v.err, rc, "cannot verify the store: %s", fab_rc_text(rc));
    }
    free(v.batch);
    pthread_cond_destroy(&v.changed);
    pthread_mutex_destroy(&v.mutex);
    return rc;
}
