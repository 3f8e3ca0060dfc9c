#include "storage/files/lane.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LINE 64 /* of the CPU's cache */

struct lane_batch {
    struct fab_task task;
    struct lane *lane;
    struct lane_batch *next_free;
    uint8_t *buffer;
    size_t used;
    unsigned n;
    bool ready;       /* under the lane's mutex */
    atomic_uint held; /* items not collected, and items not given back */
    struct lane_item item[LANE_ITEMS];
};

struct scratch {
    struct fab_buf buf;
    struct scratch *next;
};

struct lane {
    struct fab_ingest *ingest;
    struct fab_pool *pool;
    size_t capacity, batch_count;
    uint8_t *memory;
    size_t memory_bytes;
    struct lane_batch *filling;
    struct lane_batch *batch;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct lane_batch *free_list;
    struct scratch *scratch_free;
    struct scratch *scratch;
};

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* An item is held twice: until it is collected, and until it is given back. The last hold frees the
 * batch; while it is being filled, items that have not run keep it. */
static void batch_drop(struct lane_batch *batch, unsigned n)
{
    if (atomic_fetch_sub(&batch->held, n) != n)
        return;
    struct lane *lane = batch->lane;
    pthread_mutex_lock(&lane->mutex);
    batch->next_free = lane->free_list;
    lane->free_list = batch;
    pthread_cond_signal(&lane->changed);
    pthread_mutex_unlock(&lane->mutex);
}

static void block_done(struct fab_ingest_block *block)
{
    struct lane_item *item = (struct lane_item *)block;
    batch_drop(item->batch, 1);
}

static void batch_run(struct fab_task *task)
{
    struct lane_batch *batch = (struct lane_batch *)task;
    struct lane *lane = batch->lane;
    unsigned n = batch->n, drop = 1;
    for (unsigned i = 0; i < n; i++) {
        batch->item[i].work(&batch->item[i]);
        if (!batch->item[i].submitted)
            drop++;
    }
    pthread_mutex_lock(&lane->mutex);
    batch->ready = true;
    pthread_cond_signal(&lane->changed);
    pthread_mutex_unlock(&lane->mutex);
    batch_drop(batch, drop);
}

enum fab_rc lane_new(struct fab_ingest *ingest, size_t chunk_max, struct lane **out)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return FAB_ENOMEM;
    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->changed, NULL);
    lane->ingest = ingest;
    lane->capacity = chunk_max > LANE_BUFFER ? chunk_max : LANE_BUFFER;
    lane->capacity = round_up(lane->capacity + LANE_SLACK, FAB_STORE_PAGE);
    lane->batch_count = LANE_BYTES / lane->capacity;
    if (fab_pool_new(0, lane->batch_count, 0, &lane->pool) != FAB_OK)
        goto fail;
    unsigned threads = fab_pool_threads(lane->pool);
    lane->batch = calloc(lane->batch_count, sizeof lane->batch[0]);
    lane->scratch = calloc(threads, sizeof lane->scratch[0]);
    lane->memory_bytes = lane->batch_count * lane->capacity;
    void *memory =
        mmap(NULL, lane->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lane->memory = memory == MAP_FAILED ? NULL : memory;
    if (lane->memory) /* a wish: what is in one piece, a disk takes in one piece */
        (void)madvise(lane->memory, lane->memory_bytes, MADV_HUGEPAGE);
    if (!lane->batch || !lane->scratch || !lane->memory)
        goto fail;
    for (size_t i = lane->batch_count; i-- > 0;) {
        struct lane_batch *batch = &lane->batch[i];
        batch->lane = lane;
        batch->task.run = batch_run;
        batch->buffer = lane->memory + i * lane->capacity;
        batch->next_free = lane->free_list;
        lane->free_list = batch;
    }
    for (unsigned i = 0; i < threads; i++) {
        fab_buf_init(&lane->scratch[i].buf, FAB_BLOCK_MAX);
        lane->scratch[i].next = lane->scratch_free;
        lane->scratch_free = &lane->scratch[i];
    }
    *out = lane;
    return FAB_OK;
fail:
    lane_stop(lane);
    lane_free(lane);
    return FAB_ENOMEM;
}

void lane_stop(struct lane *lane)
{
    lane_flush(lane);
    if (lane->pool && lane->scratch) {
        unsigned threads = fab_pool_threads(lane->pool);
        fab_pool_free(lane->pool);
        for (unsigned i = 0; i < threads; i++)
            fab_buf_fini(&lane->scratch[i].buf);
    } else {
        fab_pool_free(lane->pool);
    }
    lane->pool = NULL;
}

void lane_free(struct lane *lane)
{
    if (!lane)
        return;
    if (lane->memory)
        munmap(lane->memory, lane->memory_bytes);
    free(lane->scratch);
    free(lane->batch);
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->mutex);
    free(lane);
}

void lane_flush(struct lane *lane)
{
    struct lane_batch *batch = lane->filling;
    if (!batch)
        return;
    lane->filling = NULL;
    atomic_fetch_add(&batch->held, 1); /* by its task */
    fab_pool_submit(lane->pool, &batch->task);
}

static struct lane_batch *batch_open(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    struct lane_batch *batch = lane->free_list;
    if (batch)
        lane->free_list = batch->next_free;
    pthread_mutex_unlock(&lane->mutex);
    if (batch) {
        batch->used = 0;
        batch->n = 0;
        batch->ready = false;
    }
    return batch;
}

struct lane_item *lane_take(struct lane *lane, size_t len)
{
    size_t align = len < LANE_PAGED ? LINE : FAB_STORE_PAGE,
           room = round_up(len + LANE_OVERHEAD, LINE);
    struct lane_batch *batch = lane->filling;
    if (batch && (batch->n == LANE_ITEMS || lane->capacity < round_up(batch->used, align) + room)) {
        lane_flush(lane);
        batch = NULL;
    }
    if (!batch) {
        batch = batch_open(lane);
        if (!batch)
            return NULL;
        lane->filling = batch;
    }
    batch->used = round_up(batch->used, align);
    struct lane_item *item = &batch->item[batch->n++];
    *item = (struct lane_item){.batch = batch, .p = batch->buffer + batch->used, .len = len};
    item->room = room;
    batch->used += room;
    atomic_fetch_add(&batch->held, 2);
    return item;
}

void lane_wait_free(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    while (!lane->free_list)
        pthread_cond_wait(&lane->changed, &lane->mutex);
    pthread_mutex_unlock(&lane->mutex);
}

bool lane_item_ready(struct lane_item *item)
{
    struct lane *lane = item->batch->lane;
    if (lane->filling == item->batch)
        return false;
    pthread_mutex_lock(&lane->mutex);
    bool ready = item->batch->ready;
    pthread_mutex_unlock(&lane->mutex);
    return ready;
}

void lane_item_wait(struct lane_item *item)
{
    struct lane *lane = item->batch->lane;
    if (lane->filling == item->batch)
        lane_flush(lane);
    pthread_mutex_lock(&lane->mutex);
    while (!item->batch->ready)
        pthread_cond_wait(&lane->changed, &lane->mutex);
    pthread_mutex_unlock(&lane->mutex);
}

void lane_item_collect(struct lane_item *item)
{
    batch_drop(item->batch, 1);
}

void lane_item_submit(struct lane_item *item)
{
    struct lane *lane = item->batch->lane;
    if (!lane->ingest)
        return;
    item->submitted = true;
    item->block.done = block_done;
    fab_ingest_submit(lane->ingest, &item->block);
}

struct fab_buf *lane_scratch(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    struct scratch *s = lane->scratch_free;
    lane->scratch_free = s->next;
    pthread_mutex_unlock(&lane->mutex);
    return &s->buf;
}

void lane_scratch_back(struct lane *lane, struct fab_buf *scratch)
{
    struct scratch *s = (struct scratch *)scratch;
    pthread_mutex_lock(&lane->mutex);
    s->next = lane->scratch_free;
    lane->scratch_free = s;
    pthread_mutex_unlock(&lane->mutex);
}

struct lane *lane_of(const struct lane_item *item)
{
    return item->batch->lane;
}
