#include "storage/dag/car.h"
#include "storage/files/car_io.h"
#include "storage/files/lane.h"
#include "storage/files/pin_tree.h"
#include "storage/files/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (1u << 20)

struct import {
    struct fab_store *store;
    uint32_t ws;
    const struct fab_car_import_options *options;
    struct watch watch;
    struct fab_err *err;
    struct fab_ingest *ingest;
    struct lane *lane;
    struct fab_car_reader *reader;
    const struct fab_cid *roots; /* the reader's */
    size_t root_count;
    struct fab_car_stats stats;

    pthread_mutex_t mutex;
    enum fab_rc rc; /* of the first bad block */
    struct fab_cid bad;
    atomic_bool failed;
};

static void work_check(struct lane_item *item)
{
    struct import *im = item->owner;
    if (atomic_load_explicit(&im->failed, memory_order_relaxed))
        return;
    enum fab_rc rc = fab_cid_check(&item->block.cid, item->block.data);
    if (rc == FAB_OK) {
        if (fab_cid_mh_code(&item->block.cid) != FAB_MH_IDENTITY)
            lane_item_submit(item);
        return;
    }
    pthread_mutex_lock(&im->mutex);
    if (im->rc == FAB_OK) {
        im->rc = rc;
        im->bad = item->block.cid;
    }
    pthread_mutex_unlock(&im->mutex);
    atomic_store(&im->failed, true);
}

/* The failure of a worker or of the writer. */
static enum fab_rc import_failed(struct import *im)
{
    char text[FAB_CID_TEXT_MAX];
    if (!atomic_load(&im->failed))
        return fab_ingest_failed(im->ingest);
    pthread_mutex_lock(&im->mutex);
    enum fab_rc rc = im->rc;
    fab_cid_text(&im->bad, text);
    pthread_mutex_unlock(&im->mutex);
    if (rc == FAB_EUNSUPPORTED)
        return fab_err_set(im->err, rc,
                           "block %s of the archive has a hash function that cannot be "
                           "checked here",
                           text);
    return fab_err_set(im->err, rc,
                       "block %s of the archive does not have its hash: the archive is "
                       "damaged",
                       text);
}

static enum fab_rc take_block(struct import *im, const struct fab_car_event *event)
{
    struct lane_item *item;
    while (!(item = lane_take(im->lane, event->data.n))) {
        FAB_TRY(watch_tick(&im->watch));
        lane_wait_free(im->lane);
    }
    if (event->data.n)
        memcpy(item->p, event->data.p, event->data.n);
    item->owner = im;
    item->work = work_check;
    item->block.cid = event->cid;
    item->block.data = fab_slice(item->p, event->data.n);
    lane_item_collect(item); /* what comes of it, the worker notes */
    im->stats.blocks++;
    im->stats.bytes += event->data.n;
    im->watch.now.items++;
    return FAB_OK;
}

static enum fab_rc feed(struct import *im, struct fab_slice input)
{
    for (;;) {
        struct fab_car_event event;
        FAB_TRY(fab_car_reader_next(im->reader, &input, &event, im->err));
        if (event.kind == FAB_CAR_MORE)
            return FAB_OK;
        if (event.kind == FAB_CAR_BLOCK) {
            FAB_TRY(take_block(im, &event));
        } else {
            im->roots = event.roots;
            im->root_count = im->stats.roots = event.root_count;
        }
    }
}

static enum fab_rc read_all(struct import *im, int fd, uint8_t *buffer)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fab_err_errno(im->err, errno, "cannot read the archive");
    bool regular = S_ISREG(st.st_mode);
    if (regular)
        im->watch.now.total_bytes = (uint64_t)st.st_size;
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        FAB_TRY(watch_tick(&im->watch));
        FAB_TRY(import_failed(im));
        if (!regular && poll(&ready, 1, 100) <= 0) /* nothing yet, or a signal */
            continue;
        ssize_t n = read(fd, buffer, READ_BYTES);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return fab_err_errno(im->err, errno, "cannot read the archive");
        if (n == 0)
            return fab_car_reader_finish(im->reader, im->err);
        im->watch.now.bytes += (uint64_t)n;
        FAB_TRY(feed(im, fab_slice(buffer, (size_t)n)));
    }
}

static enum fab_rc import_open(struct import *im)
{
    FAB_TRY(fab_car_reader_new(&im->reader));
    FAB_TRY(fab_ingest_open(im->store, im->ws, &im->ingest, im->err));
    return lane_new(im->ingest, FAB_BLOCK_MAX, &im->lane);
}

/* Everything becomes durable, with the roots: pinned, and then they must be whole, or not. */
static enum fab_rc commit(struct import *im)
{
    struct fab_ingest_stats stats;
    size_t n = im->root_count;
    struct fab_ingest_root *roots = calloc(n ? n : 1, sizeof roots[0]);
    if (!roots)
        return FAB_ENOMEM;
    for (size_t i = 0; i < n; i++)
        roots[i] = (struct fab_ingest_root){
            .cid = im->roots[i], .pin = !im->options->no_pin, .name = im->options->name};
    const struct fab_watch quiet = {.cancel = im->options->watch.cancel};
    enum fab_rc rc = im->options->no_pin ? fab_ingest_commit(im->ingest, roots, n, &stats, im->err)
                                         : fab_pin_commit(im->store, im->ws, im->ingest, roots, n,
                                                          false, &quiet, &stats, im->err);
    im->ingest = NULL;
    free(roots);
    if (rc == FAB_OK) {
        im->stats.new_blocks = stats.new_blocks;
        im->stats.new_bytes = stats.new_bytes;
    }
    return rc;
}

static enum fab_rc import(struct import *im, int fd)
{
    uint8_t *buffer = malloc(READ_BYTES);
    enum fab_rc rc = buffer ? import_open(im) : FAB_ENOMEM;
    if (rc == FAB_OK)
        rc = read_all(im, fd, buffer);
    if (rc != FAB_OK)
        atomic_store(&im->failed, true); /* skip what is left; import_failed is not asked again */
    if (im->lane)
        lane_stop(im->lane);
    if (rc == FAB_OK)
        rc = import_failed(im);
    if (rc == FAB_OK)
        rc = commit(im);
    else if (im->ingest && rc == fab_ingest_failed(im->ingest) && im->err->msg[0] == '\0')
        rc = commit(im); /* fails as well, and has the message */
    free(buffer);
    return rc;
}

enum fab_rc fab_car_import(struct fab_store *store, uint32_t ws, int fd,
                           const struct fab_car_import_options *options,
                           void (*root)(void *arg, const struct fab_cid *cid), void *arg,
                           struct fab_car_stats *stats, struct fab_err *err)
{
    static const struct fab_car_import_options defaults;
    struct fab_err local;
    struct import im = {.store = store, .ws = ws, .options = options ? options : &defaults};
    im.err = err ? err : &local;
    im.err->rc = FAB_OK;
    im.err->msg[0] = '\0';
    watch_init(&im.watch, &im.options->watch);
    pthread_mutex_init(&im.mutex, NULL);
    enum fab_rc rc = import(&im, fd);
    if (rc == FAB_OK) {
        watch_end(&im.watch);
        if (stats)
            *stats = im.stats;
        for (size_t i = 0; root && i < im.root_count; i++)
            root(arg, &im.roots[i]);
    } else if (im.err->msg[0] == '\0') {
        fab_err_set(im.err, rc, "cannot import the archive: %s", fab_rc_text(rc));
    }
    fab_ingest_abort(im.ingest);
    lane_free(im.lane);
    fab_car_reader_free(im.reader);
    pthread_mutex_destroy(&im.mutex);
    return rc;
}
