#include "storage/dag/file_reader.h"
#include "storage/files/get_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- failures ---- */

/* "a/b/name" below the destination, its end if it does not fit. */
static const char *path_of(const struct get_node *dir, const char *name, char *out, size_t size)
{
    size_t at = size - 1;
    out[at] = '\0';
    for (const char *part = name;; part = dir->name, dir = dir->parent) {
        if (!dir->parent) /* under a temporary name: call it by what it will be */
            return out[at] ? out + at : "the root";
        size_t n = strlen(part), slash = out[at] != '\0';
        if (n + slash + 3 > at) {
            memcpy(out + at - 3, "...", 3);
            return out + at - 3;
        }
        if (slash)
            out[--at] = '/';
        at -= n;
        memcpy(out + at, part, n);
    }
}

static bool fail_first(struct get_job *job, enum fab_rc rc)
{
    bool first = job->rc == FAB_OK;
    if (first)
        job->rc = rc;
    atomic_store(&job->stop, true);
    return first;
}

enum fab_rc get_fail(struct get_job *job, enum fab_rc rc, int error, const struct get_node *dir,
                     const char *name, const char *what)
{
    char buf[640];
    const char *path = path_of(dir, name, buf, sizeof buf);
    if (error)
        rc = fab_rc_errno(error);
    pthread_mutex_lock(&job->mutex);
    if (fail_first(job, rc)) {
        if (error)
            fab_err_errno(job->err, error, "%s: cannot %s %s", job->options->dest, what, path);
        else
            fab_err_set(job->err, rc, "%s: %s has %s", job->options->dest, path, what);
    }
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

enum fab_rc get_fail_source(struct get_job *job, enum fab_rc rc, const struct source *source,
                            const struct get_node *dir, const char *name)
{
    char buf[640];
    const char *path = path_of(dir, name, buf, sizeof buf);
    pthread_mutex_lock(&job->mutex);
    if (fail_first(job, rc))
        source_err(source, rc, path, job->err);
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

/* ---- nodes ---- */

enum fab_rc get_set_attr(int fd, const struct fab_unixfs_attr *attr)
{
    if (attr->has_mode && fchmod(fd, attr->mode & 0777) != 0)
        return fab_rc_errno(errno);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = attr->mtime, .tv_nsec = (long)attr->mtime_nsec}};
    if (attr->has_mtime && futimens(fd, times) != 0)
        return fab_rc_errno(errno);
    return FAB_OK;
}

enum fab_rc get_node_new(struct get_job *job, struct get_node *parent, const char *name, int fd,
                         bool directory, const struct fab_unixfs_attr *attr, struct get_node **out)
{
    size_t n = strlen(name) + 1;
    struct get_node *node = malloc(sizeof *node + n);
    if (!node) {
        close(fd);
        return FAB_ENOMEM;
    }
    *node = (struct get_node){.parent = parent, .fd = fd, .directory = directory};
    memcpy(node->name, name, n);
    atomic_init(&node->holds, 1);
    if (attr)
        node->attr = *attr;
    if (parent)
        atomic_fetch_add(&parent->holds, 1);
    atomic_fetch_add(&job->fds, 1);
    *out = node;
    return FAB_OK;
}

void get_node_drop(struct get_job *job, struct get_node *node)
{
    while (node && atomic_fetch_sub(&node->holds, 1) == 1) {
        struct get_node *parent = node->parent;
        if (!atomic_load(&job->stop) && parent) {
            if (get_set_attr(node->fd, &node->attr) != FAB_OK)
                get_fail(job, FAB_EIO, errno, parent, node->name, "set mode and time of");
        }
        if (close(node->fd) != 0 && parent && !atomic_load(&job->stop))
            get_fail(job, FAB_EIO, errno, parent, node->name, "write");
        atomic_fetch_sub(&job->fds, 1);
        free(node);
        node = parent;
    }
}

enum fab_rc get_count(struct get_job *job, uint64_t bytes)
{
    uint64_t max = job->options->max_bytes;
    uint64_t before = atomic_fetch_add(&job->bytes, bytes);
    return max && (before > max || bytes > max - before) ? FAB_ELIMIT : FAB_OK;
}

/* ---- on the workers ---- */

static bool is_zero(struct fab_slice data)
{
    return data.n >= GET_HOLE_MIN && data.p[0] == 0 && data.p[data.n - 1] == 0 &&
           data.p[data.n / 2] == 0 && memcmp(data.p, data.p + 1, data.n - 1) == 0;
}

bool get_known_zero(struct get_job *job, const struct fab_cid *cid, uint64_t n)
{
    pthread_mutex_lock(&job->mutex);
    bool known = job->zero_known && job->zero_n == n && fab_cid_eq(&job->zero, cid);
    pthread_mutex_unlock(&job->mutex);
    return known;
}

static void note_zero(struct get_job *job, const struct fab_cid *cid, uint64_t n)
{
    pthread_mutex_lock(&job->mutex);
    job->zero_known = true;
    job->zero = *cid;
    job->zero_n = n;
    pthread_mutex_unlock(&job->mutex);
}

/* errno, or 0. */
static int write_at(int fd, struct fab_slice data, uint64_t offset)
{
    while (data.n) {
        ssize_t n = pwrite(fd, data.p, data.n, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data = fab_slice(data.p + n, data.n - (size_t)n);
        offset += (uint64_t)n;
    }
    return 0;
}

/* Can whole pages of it be shared with the store's file, as far as is known? */
static bool shareable(struct get_job *job, const struct get_item *item, size_t n)
{
    return n >= GET_SHARE_MIN && item->offset % FAB_STORE_PAGE == 0 &&
           item->cid.codec == FAB_CODEC_RAW && !atomic_load(&job->no_share);
}

/* How many bytes need not be copied. If something else is wrong, writing them will find it. */
static size_t share(struct get_job *job, struct source *source, const struct get_item *item, int fd,
                    size_t n)
{
    n -= n % FAB_STORE_PAGE;
    if (!shareable(job, item, n))
        return 0;
    enum fab_rc rc = source_clone(source, &item->cid, n, fd, item->offset);
    if (rc == FAB_OK)
        return n;
    if (rc == FAB_EUNSUPPORTED)
        atomic_store(&job->no_share, true);
    return 0;
}

/* The CID of `n` zeros, as `like`; of the last length that was asked for it is known. */
static bool is_cid_of_zeros(struct get_job *job, const struct fab_cid *like, size_t n)
{
    struct fab_cid cid;
    pthread_mutex_lock(&job->mutex);
    if (job->zeros_n != n || fab_cid_mh_code(&job->zeros) != fab_cid_mh_code(like)) {
        uint8_t *zeros = calloc(1, n);
        job->zeros_n = 0;
        if (zeros && fab_cid_of(1, FAB_CODEC_RAW, fab_cid_mh_code(like), fab_slice(zeros, n),
                                &job->zeros) == FAB_OK)
            job->zeros_n = n;
        free(zeros);
    }
    bool known = job->zeros_n == n;
    cid = job->zeros;
    pthread_mutex_unlock(&job->mutex);
    return known && fab_cid_eq(&cid, like);
}

/* What can be shared is not looked at, since that may bring it in from the disk. (An odd length is
 * a file's end, or a content-defined chunk, each with a length of its own.) */
static bool is_hole(struct get_job *job, const struct get_item *item, struct fab_slice data)
{
    if (data.n % FAB_STORE_PAGE == 0 && shareable(job, item, data.n))
        return is_cid_of_zeros(job, &item->cid, data.n);
    return is_zero(data);
}

/* errno, or 0. */
static int write_data(struct get_job *job, struct source *source, const struct get_item *item,
                      int fd, struct fab_slice data)
{
    size_t shared = share(job, source, item, fd, data.n);
    if (shared)
        data = fab_slice(data.p + shared, data.n - shared);
    return write_at(fd, data, item->offset + shared);
}

static enum fab_rc do_leaf(struct get_job *job, struct source *source, struct get_item *item,
                           struct fab_slice data)
{
    if (is_hole(job, item, data)) {
        note_zero(job, &item->cid, data.n); /* the file has its length already */
        return FAB_OK;
    }
    int error = write_data(job, source, item, item->node->fd, data);
    return error ? get_fail(job, FAB_EIO, error, item->node->parent, item->node->name, "write")
                 : FAB_OK;
}

static enum fab_rc do_whole(struct get_job *job, struct source *source, struct get_item *item,
                            struct fab_slice data)
{
    int fd = openat(item->node->fd, item->name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return get_fail(job, FAB_EFORMAT, 0, item->node, item->name, "a name that comes twice");
    if (fd < 0)
        return get_fail(job, FAB_EIO, errno, item->node, item->name, "make");
    int error = 0;
    if (!is_hole(job, item, data))
        error = write_data(job, source, item, fd, data);
    else if (ftruncate(fd, (off_t)data.n) != 0)
        error = errno;
    if (!error && get_set_attr(fd, &item->attr) != FAB_OK)
        error = errno;
    if (close(fd) != 0 && !error)
        error = errno;
    atomic_fetch_add(&job->files, 1);
    return error ? get_fail(job, FAB_EIO, error, item->node, item->name, "write") : FAB_OK;
}

static void item_do(struct get_job *job, struct source *source, struct get_item *item)
{
    const struct get_node *dir = item->name ? item->node : item->node->parent;
    const char *name = item->name ? item->name : item->node->name;
    struct fab_slice block, data;
    enum fab_rc rc = source_block(source, &item->cid, &block);
    if (rc == FAB_OK)
        rc = fab_file_payload(&item->cid, block, item->known ? item->payload : block.n, &data);
    if (rc != FAB_OK) {
        get_fail_source(job, rc, source, dir, name);
        return;
    }
    rc = item->name ? do_whole(job, source, item, data) : do_leaf(job, source, item, data);
    if (rc == FAB_OK && get_count(job, data.n) != FAB_OK)
        get_fail(job, FAB_ELIMIT, 0, dir, name, "more bytes than the limit allows");
}

static void batch_run(struct fab_task *task)
{
    struct get_batch *batch = (struct get_batch *)task;
    struct get_job *job = batch->job;
    struct source source;
    source_init(&source, job->store, job->ws, job->options->verify);
    for (unsigned i = 0; i < batch->n; i++) {
        if (!atomic_load_explicit(&job->stop, memory_order_relaxed))
            item_do(job, &source, &batch->item[i]);
        get_node_drop(job, batch->item[i].node);
        source_breathe(&source);
    }
    source_rest(&source);
    pthread_mutex_lock(&job->mutex);
    batch->next_free = job->free_list;
    job->free_list = batch;
    job->busy--;
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->mutex);
}

/* ---- on the calling thread ---- */

enum fab_rc get_workers_start(struct get_job *job)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&job->mutex, NULL);
    job->batch = calloc(GET_BATCHES, sizeof job->batch[0]);
    if (!job->batch)
        return FAB_ENOMEM;
    for (unsigned i = 0; i < GET_BATCHES; i++) {
        job->batch[i].job = job;
        job->batch[i].task.run = batch_run;
        job->batch[i].next_free = job->free_list;
        job->free_list = &job->batch[i];
    }
    return fab_pool_new(0, GET_BATCHES, 0, &job->pool);
}

static void flush(struct get_job *job)
{
    struct get_batch *batch = job->filling;
    if (!batch)
        return;
    job->filling = NULL;
    pthread_mutex_lock(&job->mutex);
    job->busy++;
    pthread_mutex_unlock(&job->mutex);
    fab_pool_submit(job->pool, &batch->task);
}

void get_workers_stop(struct get_job *job)
{
    if (job->pool)
        flush(job);
    fab_pool_free(job->pool);
    free(job->batch);
    pthread_cond_destroy(&job->changed);
    pthread_mutex_destroy(&job->mutex);
}

/* Wait for a batch to come back, with the view let go, and an eye on the user. The mutex is held.
 */
static enum fab_rc wait_batch(struct get_job *job)
{
    struct timespec until;
    source_rest(&job->source);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 50000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&job->changed, &job->mutex, &until);
    pthread_mutex_unlock(&job->mutex);
    job->watch.now.bytes = atomic_load(&job->bytes);
    job->watch.now.items = atomic_load(&job->files);
    enum fab_rc rc = watch_tick(&job->watch);
    pthread_mutex_lock(&job->mutex);
    return rc == FAB_OK ? job->rc : rc;
}

static enum fab_rc batch_open(struct get_job *job)
{
    enum fab_rc rc = FAB_OK;
    pthread_mutex_lock(&job->mutex);
    while (rc == FAB_OK && !job->free_list)
        rc = wait_batch(job);
    struct get_batch *batch = rc == FAB_OK ? job->free_list : NULL;
    if (batch)
        job->free_list = batch->next_free;
    pthread_mutex_unlock(&job->mutex);
    if (!batch)
        return rc;
    batch->n = 0;
    batch->bytes = 0;
    batch->names_used = 0;
    job->filling = batch;
    return FAB_OK;
}

enum fab_rc get_queue(struct get_job *job, const struct get_item *item, const char *name)
{
    size_t name_bytes = name ? strlen(name) + 1 : 0;
    struct get_batch *batch = job->filling;
    if (batch && (batch->n == GET_ITEMS || batch->bytes >= GET_BATCH_BYTES ||
                  GET_NAMES - batch->names_used < name_bytes)) {
        flush(job);
        batch = NULL;
    }
    if (!batch) {
        FAB_TRY(batch_open(job));
        batch = job->filling;
    }
    struct get_item *slot = &batch->item[batch->n++];
    *slot = *item;
    if (name) {
        memcpy(batch->names + batch->names_used, name, name_bytes);
        slot->name = batch->names + batch->names_used;
        batch->names_used += name_bytes;
    }
    batch->bytes += item->payload;
    atomic_fetch_add(&item->node->holds, 1);
    return FAB_OK;
}

enum fab_rc get_fds_wait(struct get_job *job)
{
    if (atomic_load(&job->fds) < GET_FDS_MAX)
        return FAB_OK;
    flush(job);
    enum fab_rc rc = FAB_OK;
    pthread_mutex_lock(&job->mutex);
    while (rc == FAB_OK && atomic_load(&job->fds) >= GET_FDS_MAX && job->busy)
        rc = wait_batch(job);
    pthread_mutex_unlock(&job->mutex);
    return rc;
}
