#include "storage/dag/dir_reader.h"
#include "storage/dag/file_reader.h"
#include "storage/files/get_job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fab_rc tick(struct get_job *job)
{
    job->watch.now.bytes = atomic_load(&job->bytes);
    job->watch.now.items = atomic_load(&job->files);
    FAB_TRY(watch_tick(&job->watch));
    if (!atomic_load_explicit(&job->stop, memory_order_relaxed))
        return FAB_OK;
    pthread_mutex_lock(&job->mutex);
    enum fab_rc rc = job->rc;
    pthread_mutex_unlock(&job->mutex);
    return rc;
}

static enum fab_rc twice(struct get_job *job, const struct get_node *dir, const char *name,
                         const char *what)
{
    if (errno == EEXIST && dir->parent)
        return get_fail(job, FAB_EFORMAT, 0, dir, name, "a name that comes twice");
    return get_fail(job, FAB_EIO, errno, dir, name, what);
}

/* ---- files of many leaves ---- */

struct leaves {
    struct get_job *job;
    struct get_node *file;
};

static enum fab_rc on_leaf(void *arg, uint64_t offset, const struct fab_cid *leaf, uint64_t payload)
{
    struct leaves *l = arg;
    struct get_job *job = l->job;
    source_breathe(&job->source);
    FAB_TRY(tick(job));
    if (payload == 0)
        return FAB_OK;
    if (get_known_zero(job, leaf, payload)) {
        if (get_count(job, payload) == FAB_OK)
            return FAB_OK;
        return get_fail(job, FAB_ELIMIT, 0, l->file->parent, l->file->name,
                        "more bytes than the limit allows");
    }
    struct get_item item = {
        .node = l->file, .cid = *leaf, .known = true, .payload = payload, .offset = offset};
    return get_queue(job, &item, NULL);
}

static enum fab_rc large_file(struct get_job *job, struct get_node *dir, const char *name,
                              const struct fab_cid *cid)
{
    struct fab_unixfs_attr attr = job->info.attr;
    uint64_t size = job->info.size;
    if (job->options->max_bytes && size > job->options->max_bytes)
        return get_fail(job, FAB_ELIMIT, 0, dir, name, "more bytes than the limit allows");
    if (size > INT64_MAX)
        return get_fail(job, FAB_ELIMIT, 0, dir, name, "more bytes than any file system can hold");
    FAB_TRY(get_fds_wait(job));
    int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return twice(job, dir, name, "make");
    struct leaves leaves = {.job = job};
    FAB_TRY(get_node_new(job, dir, name, fd, false, &attr, &leaves.file));
    enum fab_rc rc = FAB_OK;
    if (ftruncate(fd, (off_t)size) != 0)
        rc = get_fail(job, FAB_EIO, errno, dir, name, "write");
    if (rc == FAB_OK) {
        struct fab_block_source table = source_table(&job->source);
        rc = fab_file_leaves(&table, cid, 0, UINT64_MAX, on_leaf, &leaves);
        if (rc != FAB_OK && !atomic_load(&job->stop) && rc != FAB_EINTERRUPTED)
            rc = get_fail_source(job, rc, &job->source, dir, name);
    }
    atomic_fetch_add(&job->files, 1);
    get_node_drop(job, leaves.file);
    return rc;
}

/* ---- symlinks ---- */

static enum fab_rc symlink_make(struct get_job *job, struct get_node *dir, const char *name)
{
    const struct fab_unixfs_attr *attr = &job->info.attr;
    if (symlinkat(job->info.target, dir->fd, name) != 0)
        return twice(job, dir, name, "make");
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {.tv_sec = attr->mtime, .tv_nsec = (long)attr->mtime_nsec}};
    if (attr->has_mtime && utimensat(dir->fd, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        return get_fail(job, FAB_EIO, errno, dir, name, "set the time of");
    job->stats.symlinks++;
    return FAB_OK;
}

/* ---- directories ---- */

struct entries {
    struct get_job *job;
    struct get_node *dir;
};

static enum fab_rc on_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                            uint64_t tsize)
{
    (void)tsize;
    struct entries *e = arg;
    struct get_job *job = e->job;
    char text[TREE_NAME_MAX + 1];
    source_breathe(&job->source);
    FAB_TRY(tick(job));
    const char *fault = tree_name_fault(name);
    if (fault)
        return get_fail(job, FAB_EFORMAT, 0, e->dir->parent, e->dir->name, fault);
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return get_entry(job, e->dir, text, cid);
}

static enum fab_rc directory(struct get_job *job, struct get_node *parent, const char *name,
                             const struct fab_cid *cid)
{
    struct fab_unixfs_attr attr = job->info.attr;
    if (job->depth >= FAB_DEPTH_MAX)
        return get_fail(job, FAB_ELIMIT, 0, parent, name, "too many directories inside each other");
    FAB_TRY(get_fds_wait(job));
    if (mkdirat(parent->fd, name, 0777) != 0)
        return twice(job, parent, name, "make");
    int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return get_fail(job, FAB_EIO, errno, parent, name, "open");
    struct entries e = {.job = job};
    FAB_TRY(get_node_new(job, parent, name, fd, true, &attr, &e.dir));
    struct fab_block_source table = source_table(&job->source);
    job->depth++;
    enum fab_rc rc = fab_dir_each(&table, cid, on_entry, &e);
    job->depth--;
    if (rc != FAB_OK && !atomic_load(&job->stop) && rc != FAB_EINTERRUPTED)
        rc = get_fail_source(job, rc, &job->source, parent, name);
    job->stats.directories++;
    get_node_drop(job, e.dir);
    return rc;
}

enum fab_rc get_entry(struct get_job *job, struct get_node *dir, const char *name,
                      const struct fab_cid *cid)
{
    struct get_item item = {.node = dir, .cid = *cid};
    if (cid->codec == FAB_CODEC_RAW)
        return get_queue(job, &item, name);
    struct fab_block_source table = source_table(&job->source);
    enum fab_rc rc = fab_node_stat(&table, cid, &job->info);
    if (rc != FAB_OK)
        return get_fail_source(job, rc, &job->source, dir, name);
    if (!dir->parent) /* the root; a directory's total is a claim, good enough to watch */
        job->watch.now.total_bytes =
            job->info.links && job->info.kind != FAB_NODE_FILE ? job->info.tsize : job->info.size;
    switch (job->info.kind) {
    case FAB_NODE_RAW:
        return get_queue(job, &item, name);
    case FAB_NODE_FILE:
        if (job->info.links)
            return large_file(job, dir, name, cid);
        item.known = true;
        item.payload = job->info.size;
        item.attr = job->info.attr;
        return get_queue(job, &item, name);
    case FAB_NODE_DIRECTORY:
    case FAB_NODE_HAMT:
        return directory(job, dir, name, cid);
    case FAB_NODE_SYMLINK:
        return symlink_make(job, dir, name);
    case FAB_NODE_OTHER:
        break;
    }
    return get_fail(job, FAB_EUNSUPPORTED, 0, dir, name,
                    "a block that is no file, directory or symlink (not UnixFS)");
}
