#include "storage/files/put_job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES_BYTES (64u << 10)
#define NAMES_MAX     (1u << 30) /* bytes of the names of one directory */

/* The names in a directory, sorted, one after the other with their NULs. */
struct names {
    char *bytes;
    size_t used, room;
    uint32_t *at;
    size_t n, slots;
};

static void names_fini(struct names *names)
{
    free(names->bytes);
    free(names->at);
}

static enum fab_rc names_add(struct names *names, const char *name)
{
    size_t n = strlen(name) + 1;
    if (names->used + n > NAMES_MAX)
        return FAB_ELIMIT;
    if (names->used + n > names->room) {
        size_t room = (names->used + n) * 2 + 1024;
        char *bytes = realloc(names->bytes, room);
        if (!bytes)
            return FAB_ENOMEM;
        names->bytes = bytes;
        names->room = room;
    }
    if (names->n == names->slots) {
        size_t slots = names->slots ? names->slots * 2 : 64;
        uint32_t *at = realloc(names->at, slots * sizeof *at);
        if (!at)
            return FAB_ENOMEM;
        names->at = at;
        names->slots = slots;
    }
    names->at[names->n++] = (uint32_t)names->used;
    memcpy(names->bytes + names->used, name, n);
    names->used += n;
    return FAB_OK;
}

static int name_order(const void *a, const void *b, void *bytes)
{
    const char *base = bytes;
    return strcmp(base + *(const uint32_t *)a, base + *(const uint32_t *)b);
}

static enum fab_rc names_read(struct put_job *job, struct put_dir *dir, struct names *names)
{
    if (!job->entries)
        job->entries = malloc(ENTRIES_BYTES);
    if (!job->entries)
        return FAB_ENOMEM;
    for (;;) {
        FAB_TRY(watch_tick(&job->watch));
        ssize_t n = getdents64(dir->fd, job->entries, ENTRIES_BYTES);
        if (n < 0)
            return put_fail(job, dir->parent, dir->name, FAB_EIO, errno, "cannot list");
        if (n == 0)
            break;
        for (ssize_t at = 0; at < n;) {
            struct dirent64 *entry = (struct dirent64 *)(job->entries + at);
            at += entry->d_reclen;
            const char *name = entry->d_name;
            if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
                continue;
            if (name[0] == '.' && !job->options->hidden) {
                job->results[dir->arg].hidden_skipped++;
                continue;
            }
            FAB_TRY(names_add(names, name));
        }
    }
    if (names->n > 1)
        qsort_r(names->at, names->n, sizeof names->at[0], name_order, names->bytes);
    return FAB_OK;
}

static enum fab_rc dir_open(struct put_job *job, struct put_dir *dir)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    FAB_TRY(put_fd_add(job));
    dir->fd = openat(dir->parent->fd, dir->name, flags);
    if (dir->fd < 0 && errno == EMFILE) {
        FAB_TRY(put_drain(job));
        dir->fd = openat(dir->parent->fd, dir->name, flags);
    }
    if (dir->fd >= 0)
        return FAB_OK;
    job->fds--;
    return put_fail(job, dir->parent, dir->name, FAB_EIO, errno, "cannot open directory");
}

static enum fab_rc put_directory(struct put_job *job, struct put_dir *parent, const char *name,
                                 size_t arg, unsigned depth)
{
    if (depth >= FAB_PUT_DEPTH_MAX) {
        char buf[768];
        return fab_err_set(job->err, FAB_ELIMIT,
                           "%s lies more than %d directories deep; put its parts on their own",
                           put_path(parent, name, buf, sizeof buf), FAB_PUT_DEPTH_MAX);
    }
    struct put_dir *dir;
    FAB_TRY(put_dir_new(job, &dir));
    dir->parent = parent;
    dir->arg = arg;
    dir->name = strdup(name);
    if (!dir->name)
        return FAB_ENOMEM;
    FAB_TRY(dir_open(job, dir));
    struct stat st;
    if (job->options->preserve || job->options->modes) {
        if (fstat(dir->fd, &st) != 0)
            return put_fail(job, parent, name, FAB_EIO, errno, "cannot read");
        put_attr(job, &st, &dir->attr);
    }
    FAB_TRY(fab_dir_builder_new(job->profile, 0, &dir->builder));

    struct names names = {0};
    enum fab_rc rc = names_read(job, dir, &names);
    for (size_t i = 0; rc == FAB_OK && i < names.n; i++)
        rc = put_entry(job, dir, names.bytes + names.at[i], arg, depth + 1);
    names_fini(&names);
    return rc == FAB_OK ? put_step_add(job, &(struct put_step){.kind = PUT_LEAVE, .dir = dir}) : rc;
}

static enum fab_rc put_symlink(struct put_job *job, struct put_dir *dir, const char *name,
                               size_t arg, const struct stat *st)
{
    char target[FAB_UNIXFS_SYMLINK_MAX + 1];
    ssize_t n = readlinkat(dir->fd, name, target, sizeof target);
    if (n < 0)
        return put_fail(job, dir, name, FAB_EIO, errno, "cannot read symlink");
    struct fab_unixfs_attr attr;
    put_attr(job, st, &attr);
    attr.has_mode = false; /* a symlink has none that could be set */
    struct fab_buf block;
    fab_buf_init(&block, FAB_BLOCK_MAX);
    struct fab_dag_entry entry = {.size = (uint64_t)n};
    enum fab_rc rc = fab_unixfs_symlink(fab_slice(target, (size_t)n), &attr, &block);
    if (rc == FAB_OK)
        rc = fab_cid_of(job->profile->cid_version, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256,
                        fab_buf_slice(&block), &entry.cid);
    if (rc == FAB_OK && job->sink.put)
        rc = job->sink.put(job->sink.ctx, &entry.cid, fab_buf_slice(&block));
    entry.tsize = block.len;
    fab_buf_fini(&block);
    if (rc == FAB_EINVAL || rc == FAB_ELIMIT)
        return put_fail(job, dir, name, rc, 0, "cannot put symlink");
    FAB_TRY(rc);
    job->results[arg].symlinks++;
    return put_deliver(job, dir, name, arg, &entry);
}

enum fab_rc put_entry(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                      unsigned depth)
{
    struct stat st;
    FAB_TRY(watch_tick(&job->watch));
    if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return put_fail(job, dir, name, FAB_EIO, errno, "cannot read");
    if (S_ISREG(st.st_mode))
        return put_regular(job, dir, name, arg, &st);
    if (S_ISDIR(st.st_mode))
        return put_directory(job, dir, name, arg, depth);
    if (S_ISLNK(st.st_mode))
        return put_symlink(job, dir, name, arg, &st);
    char buf[768];
    const char *kind = S_ISFIFO(st.st_mode)   ? "a fifo"
                       : S_ISSOCK(st.st_mode) ? "a socket"
                                              : "a device";
    return fab_err_set(job->err, FAB_EUNSUPPORTED,
                       "%s is %s; only files, directories and symlinks can be put",
                       put_path(dir, name, buf, sizeof buf), kind);
}
