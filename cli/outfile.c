#include "cli/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fab_rc open_temp(struct fab_outfile *file, struct fab_err *err)
{
    const char *slash = strrchr(file->path, '/');
    int dir = slash ? (int)(slash - file->path) + 1 : 0;
    size_t n = (size_t)dir + 64;
    file->temp = malloc(n);
    if (!file->temp)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    for (unsigned i = 0; i < 1000 && file->fd < 0; i++) {
        snprintf(file->temp, n, "%.*s.fabric-%ld-%u.tmp", dir, file->path, (long)getpid(), i);
        /* Not mkstemp: the result has the mode that the umask gives. */
        file->fd = open(file->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd < 0 && errno != EEXIST)
            break;
    }
    if (file->fd >= 0)
        return FAB_OK;
    enum fab_rc rc = fab_err_errno(err, errno, "%s cannot be written", file->path);
    free(file->temp);
    file->temp = NULL;
    return rc;
}

static enum fab_rc open_path(struct fab_outfile *file, struct fab_err *err)
{
    struct stat st;
    bool there = stat(file->path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return fab_err_set(err, FAB_EEXIST, "%s is a directory; name a file", file->path);
    if (there && !S_ISREG(st.st_mode)) {
        file->fd = open(file->path, O_WRONLY | O_CLOEXEC);
        return file->fd < 0 ? fab_err_errno(err, errno, "%s cannot be written", file->path)
                            : FAB_OK;
    }
    if (there && !file->force)
        return fab_err_set(err, FAB_EEXIST, "%s exists; give --force to replace it", file->path);
    return open_temp(file, err);
}

enum fab_rc fab_outfile_open(const char *path, bool force, struct fab_outfile *out,
                             struct fab_err *err)
{
    struct fab_outfile file = {.fd = -1, .force = force};
    if (!strcmp(path, "-")) {
        if (isatty(STDOUT_FILENO))
            return fab_err_set(err, FAB_EINVAL,
                               "binary data does not go to a terminal; give -o FILE or a pipe");
        fflush(stdout);
        file.fd = STDOUT_FILENO;
        *out = file;
        return FAB_OK;
    }
    file.path = strdup(path);
    enum fab_rc rc =
        file.path ? open_path(&file, err) : fab_err_set(err, FAB_ENOMEM, "out of memory");
    if (rc != FAB_OK) {
        free(file.path);
        return rc;
    }
    *out = file;
    return FAB_OK;
}

static enum fab_rc give_name(struct fab_outfile *file, struct fab_err *err)
{
    if (fsync(file->fd))
        return fab_err_errno(err, errno, "%s cannot be written", file->path);
    if (file->force ? rename(file->temp, file->path) == 0
                    : renameat2(AT_FDCWD, file->temp, AT_FDCWD, file->path, RENAME_NOREPLACE) == 0)
        return FAB_OK;
    /* Some file systems know no RENAME_NOREPLACE. */
    if (!file->force && errno == EINVAL && link(file->temp, file->path) == 0)
        return FAB_OK;
    return fab_err_errno(err, errno, "%s cannot be given its name", file->path);
}

enum fab_rc fab_outfile_commit(struct fab_outfile *file, struct fab_err *err)
{
    enum fab_rc rc = FAB_OK;
    if (file->temp)
        rc = give_name(file, err);
    else if (file->path && close(file->fd))
        rc = fab_err_errno(err, errno, "%s cannot be written", file->path);
    if (!file->temp)
        file->fd = -1;
    fab_outfile_abort(file);
    return rc;
}

void fab_outfile_abort(struct fab_outfile *file)
{
    if (file->fd >= 0 && file->path)
        close(file->fd);
    if (file->temp)
        unlink(file->temp);
    free(file->temp);
    free(file->path);
    *file = (struct fab_outfile){.fd = -1};
}
