#include "storage/files/put_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static bool same_file(const struct stat *a, const struct stat *b)
{
    return S_ISREG(b->st_mode) && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Up to n bytes from `offset`; fewer only at the end of the file. */
static ssize_t pread_full(int fd, uint8_t *p, size_t n, uint64_t offset)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, p + got, n - got, (off_t)(offset + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

/* ---- on the workers ---- */

static bool work_stopped(struct lane_item *item)
{
    struct put_job *job = item->owner;
    if (!atomic_load_explicit(&job->stop, memory_order_relaxed))
        return false;
    item->rc = FAB_EINTERRUPTED;
    return true;
}

static void work_error(struct lane_item *item, int error)
{
    item->error = error;
    item->rc = fab_rc_errno(error);
}

/* The payload lies in the slot; make the leaf there. */
static void work_leaf(struct lane_item *item, bool raw, bool submit)
{
    struct put_job *job = item->owner;
    struct lane *lane = lane_of(item);
    struct fab_slice payload = fab_slice(item->p, item->len);
    struct fab_leaf leaf;
    struct fab_buf none;
    fab_buf_init(&none, FAB_BLOCK_MAX);
    if (raw) {
        item->rc = fab_file_leaf(job->profile, true, payload, &none, &leaf);
        if (item->rc != FAB_OK)
            return;
    } else {
        struct fab_buf *scratch = lane_scratch(lane);
        item->rc = fab_file_leaf(job->profile, false, payload, scratch, &leaf);
        if (item->rc == FAB_OK && leaf.block.n > item->room)
            item->rc = FAB_ELIMIT;
        if (item->rc == FAB_OK)
            memcpy(item->p, leaf.block.p, leaf.block.n);
        lane_scratch_back(lane, scratch);
        if (item->rc != FAB_OK)
            return;
    }
    item->block.cid = leaf.cid;
    item->block.data = fab_slice(item->p, (size_t)leaf.tsize);
    if (submit)
        lane_item_submit(item);
}

/* A file of one chunk: open, read, look whether it is still the same, hash. */
static void work_whole(struct lane_item *item)
{
    struct put_job *job = item->owner;
    const struct put_dir *dir = item->dir;
    if (work_stopped(item))
        return;
    int fd = openat(dir->fd, item->name, OPEN_FLAGS);
    if (fd < 0) {
        work_error(item, errno);
        return;
    }
    struct stat now;
    /* One byte more is asked for, so that a file that grew, or lies about its size, is seen. */
    ssize_t got = pread_full(fd, item->p, item->len + 1, 0);
    if (got < 0 || fstat(fd, &now) != 0)
        work_error(item, errno);
    else if ((size_t)got != item->len || !same_file(&item->st, &now))
        item->rc = FAB_ECHANGED;
    close(fd);
    if (item->rc != FAB_OK || item->len == 0)
        return;
    struct fab_unixfs_attr attr;
    put_attr(job, &item->st, &attr);
    /* With attributes the builder makes the leaf again, so this one is not wanted in the store. */
    work_leaf(item, fab_file_raw_leaves(job->profile, &attr), !fab_unixfs_attr_any(&attr));
}

static void work_chunk(struct lane_item *item)
{
    const struct put_file *file = item->file;
    if (work_stopped(item))
        return;
    ssize_t got = pread_full(file->fd, item->p, item->len, item->offset);
    if (got < 0)
        work_error(item, errno);
    else if ((size_t)got != item->len)
        item->rc = FAB_ECHANGED;
    else
        work_leaf(item, file->raw, true);
}

static void work_bytes(struct lane_item *item)
{
    const struct put_file *file = item->file;
    if (!work_stopped(item))
        work_leaf(item, file->raw, true);
}

static void work_nothing(struct lane_item *item)
{
    (void)item;
}

/* ---- on the calling thread ---- */

void put_attr(const struct put_job *job, const struct stat *st, struct fab_unixfs_attr *out)
{
    *out = (struct fab_unixfs_attr){0};
    if (!job->options->preserve && !job->options->modes)
        return;
    out->has_mode = true;
    out->has_mtime = job->options->preserve;
    out->mode = st->st_mode & FAB_UNIXFS_MODE_MASK;
    if (out->has_mtime) {
        out->mtime = st->st_mtim.tv_sec;
        out->mtime_nsec = (uint32_t)st->st_mtim.tv_nsec;
    }
}

static enum fab_rc whole(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                         const struct stat *st)
{
    struct lane_item *item;
    char *copy = strdup(name);
    if (!copy)
        return FAB_ENOMEM;
    enum fab_rc rc = put_take(job, (size_t)st->st_size, &item);
    if (rc != FAB_OK) {
        free(copy);
        return rc;
    }
    item->work = work_whole;
    item->dir = dir;
    item->name = copy;
    item->st = *st;
    return put_step_add(
        job,
        &(struct put_step){.kind = PUT_WHOLE, .dir = dir, .name = copy, .arg = arg, .item = item});
}

static enum fab_rc chunk_add(struct put_job *job, struct put_dir *dir, size_t arg,
                             struct put_file *file, struct lane_item *item,
                             void (*work)(struct lane_item *))
{
    item->work = work;
    item->file = file;
    return put_step_add(
        job,
        &(struct put_step){.kind = PUT_CHUNK, .dir = dir, .arg = arg, .item = item, .file = file});
}

/* Chunks of one size: the workers read them. Holes are not read. */
static enum fab_rc fixed(struct put_job *job, struct put_dir *dir, size_t arg,
                         struct put_file *file)
{
    uint64_t size = (uint64_t)file->before.st_size, data = 0;
    bool sparse = (uint64_t)file->before.st_blocks * 512 < size;
    for (uint64_t at = 0; at < size;) {
        uint64_t len = size - at < job->chunker.avg ? size - at : job->chunker.avg;
        if (sparse && data <= at) {
            off_t next = lseek(file->fd, (off_t)at, SEEK_DATA);
            data = next >= 0 ? (uint64_t)next : errno == ENXIO ? size : at;
            sparse = next >= 0 || errno == ENXIO;
        }
        if (sparse && data >= at + len) {
            FAB_TRY(put_step_add(
                job, &(struct put_step){
                         .kind = PUT_ZERO, .dir = dir, .arg = arg, .file = file, .len = len}));
        } else {
            struct lane_item *item;
            FAB_TRY(put_take(job, (size_t)len, &item));
            item->offset = at;
            FAB_TRY(chunk_add(job, dir, arg, file, item, work_chunk));
        }
        at += len;
    }
    return FAB_OK;
}

/* Fill p with n bytes, fewer only at the end. A pipe is waited for in short turns, so that a cancel
 * is seen. */
static enum fab_rc read_input(struct put_job *job, const struct put_dir *dir,
                              const struct put_file *file, uint8_t *p, size_t n, size_t *out)
{
    size_t got = 0;
    while (got < n) {
        FAB_TRY(watch_tick(&job->watch));
        struct pollfd ready = {.fd = file->fd, .events = POLLIN};
        if (!file->check && poll(&ready, 1, 100) <= 0) { /* nothing yet, or a signal */
            FAB_TRY(put_take_ready(job));
            continue;
        }
        ssize_t r = read(file->fd, p + got, n - got);
        if (r < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (r < 0)
            return put_fail(job, dir, file->name, FAB_EIO, errno, "cannot read");
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *out = got;
    return FAB_OK;
}

/* Chunks of one size from a descriptor that can only be read in order. */
static enum fab_rc stream_fixed(struct put_job *job, struct put_dir *dir, size_t arg,
                                struct put_file *file)
{
    for (;;) {
        struct lane_item *item;
        size_t got = 0;
        FAB_TRY(put_take(job, job->chunker.avg, &item));
        item->work = work_nothing; /* it runs whatever happens below */
        enum fab_rc rc = read_input(job, dir, file, item->p, job->chunker.avg, &got);
        if (rc != FAB_OK || got == 0) {
            lane_item_collect(item);
            return rc;
        }
        item->len = got;
        FAB_TRY(chunk_add(job, dir, arg, file, item, work_bytes));
        if (got < job->chunker.avg)
            return FAB_OK;
    }
}

/* Chunks cut by content: this thread reads and cuts, the workers hash. */
static enum fab_rc stream_cut(struct put_job *job, struct put_dir *dir, size_t arg,
                              struct put_file *file)
{
    size_t room = 2 * job->chunker.max + (1u << 20), begin = 0, end = 0;
    bool eof = false;
    if (!job->window)
        job->window = malloc(room);
    if (!job->window)
        return FAB_ENOMEM;
    for (;;) {
        if (!eof && end - begin < job->chunker.max) {
            size_t got;
            memmove(job->window, job->window + begin, end - begin);
            end -= begin;
            begin = 0;
            FAB_TRY(read_input(job, dir, file, job->window + end, room - end, &got));
            eof = got < room - end;
            end += got;
        }
        if (begin == end)
            return FAB_OK;
        size_t view = end - begin < job->chunker.max ? end - begin : job->chunker.max;
        size_t cut = fab_chunker_next(&job->chunker, fab_slice(job->window + begin, view),
                                      eof && view == end - begin);
        if (cut == 0 || cut > view)
            return FAB_ELIMIT;
        struct lane_item *item;
        FAB_TRY(put_take(job, cut, &item));
        memcpy(item->p, job->window + begin, cut);
        FAB_TRY(chunk_add(job, dir, arg, file, item, work_bytes));
        begin += cut;
    }
}

static enum fab_rc file_open(struct put_job *job, struct put_dir *dir, const char *name,
                             struct put_file *file)
{
    FAB_TRY(put_fd_add(job));
    file->fd = openat(dir->fd, name, OPEN_FLAGS);
    if (file->fd < 0 && errno == EMFILE) {
        FAB_TRY(put_drain(job));
        file->fd = openat(dir->fd, name, OPEN_FLAGS);
    }
    if (file->fd < 0) {
        job->fds--;
        return put_fail(job, dir, name, FAB_EIO, errno, "cannot read");
    }
    file->close_fd = true;
    return FAB_OK;
}

enum fab_rc put_regular(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                        const struct stat *st)
{
    bool by_size = job->chunker.kind == FAB_CHUNKER_SIZE;
    if ((uint64_t)st->st_size < job->chunker.min + (by_size ? 1 : 0))
        return whole(job, dir, name, arg, st);

    struct put_file *file;
    FAB_TRY(put_file_new(job, name, &file));
    FAB_TRY(file_open(job, dir, name, file));
    struct stat now;
    if (fstat(file->fd, &now) != 0)
        return put_fail(job, dir, name, FAB_EIO, errno, "cannot read");
    if (!same_file(st, &now))
        return put_fail(job, dir, name, FAB_ECHANGED, 0, "cannot read");
    file->before = *st;
    file->check = true;
    struct fab_unixfs_attr attr;
    put_attr(job, st, &attr);
    file->raw = fab_file_raw_leaves(job->profile, &attr);
    FAB_TRY(fab_file_builder_new(job->profile, &attr, &job->sink, &file->builder));
    posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    FAB_TRY(by_size ? fixed(job, dir, arg, file) : stream_cut(job, dir, arg, file));
    return put_step_add(job,
                        &(struct put_step){.kind = PUT_END, .dir = dir, .arg = arg, .file = file});
}

enum fab_rc put_stream(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                       int fd)
{
    struct put_file *file;
    FAB_TRY(put_file_new(job, name, &file));
    file->fd = fd;
    if (fstat(fd, &file->before) != 0)
        return put_fail(job, dir, name, FAB_EIO, errno, "cannot read");
    if (S_ISDIR(file->before.st_mode))
        return put_fail(job, dir, name, FAB_EIO, EISDIR, "cannot read");
    file->check = S_ISREG(file->before.st_mode);
    if (S_ISFIFO(file->before.st_mode))
        (void)fcntl(fd, F_SETPIPE_SZ, 1 << 20); /* only a wish */
    file->raw = fab_file_raw_leaves(job->profile, NULL);
    FAB_TRY(fab_file_builder_new(job->profile, NULL, &job->sink, &file->builder));
    FAB_TRY(job->chunker.kind == FAB_CHUNKER_SIZE ? stream_fixed(job, dir, arg, file)
                                                  : stream_cut(job, dir, arg, file));
    return put_step_add(job,
                        &(struct put_step){.kind = PUT_END, .dir = dir, .arg = arg, .file = file});
}
