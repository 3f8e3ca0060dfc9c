#include "storage/files/put_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *put_path(const struct put_dir *dir, const char *name, char *out, size_t size)
{
    size_t at = size - 1;
    out[at] = '\0';
    for (const char *part = name;; part = dir->name, dir = dir->parent) {
        size_t n = strlen(part);
        while (n > 1 && part[n - 1] == '/' && dir->parent == NULL)
            n--;
        size_t slash = out[at] != '\0' && part[n - 1] != '/';
        if (n + slash + 3 > at) {
            memcpy(out + at - 3, "...", 3);
            return out + at - 3;
        }
        if (slash)
            out[--at] = '/';
        at -= n;
        memcpy(out + at, part, n);
        if (!dir->parent)
            return out + at;
    }
}

enum fab_rc put_fail(struct put_job *job, const struct put_dir *dir, const char *name,
                     enum fab_rc rc, int error, const char *what)
{
    char buf[768];
    const char *path = put_path(dir, name, buf, sizeof buf);
    if (error)
        return fab_err_errno(job->err, error, "%s %s", what, path);
    return fab_err_set(job->err, rc, "%s %s: %s", what, path, fab_rc_text(rc));
}

enum fab_rc put_file_new(struct put_job *job, const char *name, struct put_file **out)
{
    struct put_file *file = calloc(1, sizeof *file);
    char *copy = strdup(name);
    if (!file || !copy) {
        free(file);
        free(copy);
        return FAB_ENOMEM;
    }
    file->fd = -1;
    file->name = copy;
    file->next = job->files;
    if (file->next)
        file->next->prev = file;
    job->files = file;
    *out = file;
    return FAB_OK;
}

void put_file_free(struct put_job *job, struct put_file *file)
{
    if (file->prev)
        file->prev->next = file->next;
    else
        job->files = file->next;
    if (file->next)
        file->next->prev = file->prev;
    if (file->close_fd) {
        close(file->fd);
        job->fds--;
    }
    fab_file_builder_free(file->builder);
    free(file->name);
    free(file);
}

enum fab_rc put_dir_new(struct put_job *job, struct put_dir **out)
{
    struct put_dir *dir = calloc(1, sizeof *dir);
    if (!dir)
        return FAB_ENOMEM;
    dir->fd = -1;
    dir->next = job->dirs;
    if (dir->next)
        dir->next->prev = dir;
    job->dirs = dir;
    *out = dir;
    return FAB_OK;
}

void put_dir_free(struct put_job *job, struct put_dir *dir)
{
    if (dir->prev)
        dir->prev->next = dir->next;
    else
        job->dirs = dir->next;
    if (dir->next)
        dir->next->prev = dir->prev;
    if (dir->fd >= 0) {
        close(dir->fd);
        job->fds--;
    }
    fab_dir_builder_free(dir->builder);
    free(dir->name);
    free(dir);
}

enum fab_rc put_deliver(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                        const struct fab_dag_entry *entry)
{
    if (dir->parent) {
        enum fab_rc rc = fab_dir_builder_add(dir->builder, fab_slice(name, strlen(name)),
                                             &entry->cid, entry->tsize);
        return rc == FAB_OK ? rc : put_fail(job, dir, name, rc, 0, "cannot add");
    }
    job->results[arg].cid = entry->cid;
    job->results[arg].dag_bytes = entry->tsize;
    return FAB_OK;
}

static const char *step_name(const struct put_step *step)
{
    return step->file ? step->file->name : step->name;
}

static enum fab_rc file_done(struct put_job *job, struct put_step *step,
                             const struct fab_dag_entry *entry)
{
    job->results[step->arg].files++;
    job->watch.now.items++;
    return put_deliver(job, step->dir, step_name(step), step->arg, entry);
}

static enum fab_rc changed(struct put_job *job, const struct put_step *step)
{
    char buf[768];
    return fab_err_set(job->err, FAB_ECHANGED,
                       "%s changed while it was read; put it again when nothing writes to it",
                       put_path(step->dir, step_name(step), buf, sizeof buf));
}

static void count_bytes(struct put_job *job, size_t arg, uint64_t n)
{
    job->results[arg].bytes += n;
    job->watch.now.bytes += n;
}

static struct fab_leaf item_leaf(const struct lane_item *item)
{
    return (struct fab_leaf){.cid = item->block.cid,
                             .block = item->block.data,
                             .payload = item->len,
                             .tsize = item->block.data.n};
}

static enum fab_rc item_fail(struct put_job *job, const struct put_step *step)
{
    const struct lane_item *item = step->item;
    if (item->rc == FAB_ECHANGED)
        return changed(job, step);
    return put_fail(job, step->dir, step_name(step), item->rc, item->error, "cannot read");
}

static enum fab_rc do_whole(struct put_job *job, struct put_step *step)
{
    struct lane_item *item = step->item;
    if (item->rc != FAB_OK)
        return item_fail(job, step);
    struct fab_leaf leaf = item_leaf(item);
    struct fab_dag_entry entry = {.cid = leaf.cid, .tsize = leaf.tsize, .size = leaf.payload};
    struct fab_unixfs_attr attr;
    put_attr(job, &item->st, &attr);
    count_bytes(job, step->arg, leaf.payload);
    if (leaf.payload && !fab_unixfs_attr_any(&attr))
        return file_done(job, step, &entry);

    struct fab_file_builder *builder;
    FAB_TRY(fab_file_builder_new(job->profile, &attr, &job->sink, &builder));
    enum fab_rc rc = leaf.payload ? fab_file_builder_add(builder, &leaf) : FAB_OK;
    if (rc == FAB_OK)
        rc = fab_file_builder_finish(builder, &entry);
    fab_file_builder_free(builder);
    return rc == FAB_OK ? file_done(job, step, &entry) : rc;
}

static enum fab_rc do_chunk(struct put_job *job, struct put_step *step)
{
    struct lane_item *item = step->item;
    if (item->rc != FAB_OK)
        return item_fail(job, step);
    struct fab_leaf leaf = item_leaf(item);
    count_bytes(job, step->arg, leaf.payload);
    return fab_file_builder_add(step->file->builder, &leaf);
}

static enum fab_rc zero_leaf(struct put_job *job, size_t len, bool raw, struct fab_leaf **out)
{
    for (unsigned i = 0; i < 2; i++)
        if (job->zero[i].bytes && job->zero[i].len == len && job->zero[i].raw == raw) {
            *out = &job->zero[i].leaf;
            return FAB_OK;
        }
    struct put_zero *zero = &job->zero[job->zero_next++ % 2];
    free(zero->bytes);
    fab_buf_fini(&zero->block);
    fab_buf_init(&zero->block, FAB_BLOCK_MAX);
    zero->len = len;
    zero->raw = raw;
    zero->bytes = calloc(1, len);
    if (!zero->bytes)
        return FAB_ENOMEM;
    FAB_TRY(
        fab_file_leaf(job->profile, raw, fab_slice(zero->bytes, len), &zero->block, &zero->leaf));
    if (job->sink.put)
        FAB_TRY(job->sink.put(job->sink.ctx, &zero->leaf.cid, zero->leaf.block));
    *out = &zero->leaf;
    return FAB_OK;
}

static enum fab_rc do_zero(struct put_job *job, struct put_step *step)
{
    struct fab_leaf *leaf;
    FAB_TRY(zero_leaf(job, (size_t)step->len, step->file->raw, &leaf));
    count_bytes(job, step->arg, step->len);
    return fab_file_builder_add(step->file->builder, leaf);
}

static enum fab_rc do_end(struct put_job *job, struct put_step *step)
{
    struct put_file *file = step->file;
    struct stat now;
    if (file->check) {
        if (fstat(file->fd, &now) != 0)
            return put_fail(job, step->dir, file->name, FAB_EIO, EIO, "cannot read");
        if (now.st_size != file->before.st_size ||
            now.st_mtim.tv_sec != file->before.st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != file->before.st_mtim.tv_nsec)
            return changed(job, step);
    }
    struct fab_dag_entry entry;
    FAB_TRY(fab_file_builder_finish(file->builder, &entry));
    return file_done(job, step, &entry);
}

static enum fab_rc do_leave(struct put_job *job, struct put_step *step)
{
    struct put_dir *dir = step->dir;
    struct fab_dag_entry entry;
    FAB_TRY(fab_dir_builder_finish(dir->builder, &dir->attr, &job->sink, &entry));
    job->results[dir->arg].directories++;
    return put_deliver(job, dir->parent, dir->name, dir->arg, &entry);
}

static enum fab_rc step_do(struct put_job *job, struct put_step *step)
{
    switch (step->kind) {
    case PUT_WHOLE:
        return do_whole(job, step);
    case PUT_CHUNK:
        return do_chunk(job, step);
    case PUT_ZERO:
        return do_zero(job, step);
    case PUT_END:
        return do_end(job, step);
    case PUT_LEAVE:
        return do_leave(job, step);
    }
    return FAB_EINVAL;
}

static void step_fini(struct put_job *job, struct put_step *step)
{
    if (step->item)
        lane_item_collect(step->item);
    if (step->kind == PUT_END)
        put_file_free(job, step->file);
    if (step->kind == PUT_LEAVE)
        put_dir_free(job, step->dir);
    free(step->name);
}

static enum fab_rc step_next(struct put_job *job)
{
    struct put_step step = job->steps[job->head];
    job->head = (job->head + 1) % PUT_STEPS;
    job->count--;
    if (step.item)
        lane_item_wait(step.item);
    enum fab_rc rc = step_do(job, &step);
    step_fini(job, &step);
    return rc == FAB_OK ? watch_tick(&job->watch) : rc;
}

enum fab_rc put_take_ready(struct put_job *job)
{
    while (job->count) {
        struct lane_item *item = job->steps[job->head].item;
        if (item && !lane_item_ready(item))
            break;
        FAB_TRY(step_next(job));
    }
    return job->ingest ? fab_ingest_failed(job->ingest) : FAB_OK;
}

enum fab_rc put_catch_up(struct put_job *job)
{
    FAB_TRY(step_next(job));
    return put_take_ready(job);
}

enum fab_rc put_drain(struct put_job *job)
{
    lane_flush(job->lane);
    while (job->count)
        FAB_TRY(put_catch_up(job));
    return FAB_OK;
}

void put_drop(struct put_job *job)
{
    for (; job->count; job->count--) {
        free(job->steps[job->head].name);
        job->head = (job->head + 1) % PUT_STEPS;
    }
    /* Each takes itself out of the list, which the analyzer does not follow. */
    while (job->files)
        put_file_free(job, job->files); /* NOLINT(clang-analyzer-unix.Malloc) */
    while (job->dirs)
        put_dir_free(job, job->dirs); /* NOLINT(clang-analyzer-unix.Malloc) */
    for (unsigned i = 0; i < 2; i++) {
        free(job->zero[i].bytes);
        fab_buf_fini(&job->zero[i].block);
    }
}

enum fab_rc put_step_add(struct put_job *job, const struct put_step *step)
{
    enum fab_rc rc = FAB_OK;
    if (job->count == PUT_STEPS)
        rc = put_catch_up(job);
    if (rc != FAB_OK) {
        if (step->item)
            lane_item_wait(step->item); /* its work reads the name */
        free(step->name);
        return rc;
    }
    job->steps[(job->head + job->count++) % PUT_STEPS] = *step;
    return FAB_OK;
}

enum fab_rc put_take(struct put_job *job, size_t len, struct lane_item **out)
{
    for (;;) {
        FAB_TRY(watch_tick(&job->watch));
        struct lane_item *item = lane_take(job->lane, len);
        if (item) {
            item->owner = job;
            *out = item;
            return FAB_OK;
        }
        if (job->count)
            FAB_TRY(put_catch_up(job));
        else
            lane_wait_free(job->lane);
    }
}

enum fab_rc put_fd_add(struct put_job *job)
{
    while (job->fds >= PUT_FDS_MAX && job->count)
        FAB_TRY(put_catch_up(job));
    job->fds++;
    return FAB_OK;
}
