#include "scheduler/exec/dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIFT_DEPTH 32 /* deeper folders are moved up before they are emptied */

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Give the owner the rights `need` to what has this name, and a handle on it (O_PATH); -1 with
 * errno. The job may live and put a symlink in its place at any moment: what is changed is what the
 * handle is on. */
static int unlock(int at, const char *name, mode_t need)
{
    struct stat st;
    char path[32];
    int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) == 0 && !S_ISLNK(st.st_mode) && (st.st_mode & need) != need)
        (void)!chmod(path, (st.st_mode & 07777) | need);
    return fd;
}

/* A folder as a stream. Its owner gets the rights `need` where he lacks them, and in any case what
 * it takes to open it. */
static DIR *open_dir(int at, const char *name, mode_t need)
{
    struct stat st;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool locked = fd < 0 ? errno == EACCES : fstat(fd, &st) == 0 && (st.st_mode & need) != need;
    if (locked) {
        if (fd >= 0)
            close(fd);
        int handle = unlock(at, name, need | 0500);
        fd = handle < 0 ? -1 : openat(handle, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int kept = errno;
        if (handle >= 0)
            close(handle);
        errno = kept;
    }
    if (fd < 0)
        return NULL;
    DIR *dir = fdopendir(fd);
    if (!dir)
        close(fd);
    return dir;
}

/* ---- removing ---- */

struct remover {
    int top; /* the folder that is being emptied */
    unsigned lifted;
};

static int remove_entry(struct remover *r, int at, const char *name, unsigned depth);

static int empty_dir(struct remover *r, int at, const char *name, unsigned depth)
{
    DIR *dir = open_dir(at, name, 0700);
    if (!dir)
        return -1;
    int failed = 0;
    for (struct dirent *e; (e = readdir(dir));)
        if (!is_dot(e->d_name) && remove_entry(r, dirfd(dir), e->d_name, depth + 1) != 0) {
            failed = -1;
            break;
        }
    int kept = errno;
    closedir(dir);
    errno = kept;
    return failed;
}

static int remove_entry(struct remover *r, int at, const char *name, unsigned depth)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    if (unlinkat(at, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST && errno != EACCES)
        return -1;
    if (depth >= LIFT_DEPTH) {
        char up[40];
        snprintf(up, sizeof up, ".lifted-%d-%u", (int)getpid(), r->lifted++);
        int handle = unlock(at, name, 0700); /* its "..", which changes, is written too */
        if (handle >= 0)
            close(handle);
        return renameat(at, name, r->top, up);
    }
    if (empty_dir(r, at, name, depth) != 0)
        return -1;
    return unlinkat(at, name, AT_REMOVEDIR);
}

enum fab_rc fab_dir_remove(const char *path, struct fab_err *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return FAB_OK;
    DIR *dir = open_dir(AT_FDCWD, path, 0700);
    if (!dir)
        return errno == ENOENT ? FAB_OK : fab_err_errno(err, errno, "cannot remove %s", path);
    struct remover r = {.top = dirfd(dir)};
    int failed = 0;
    unsigned before;
    do {
        before = r.lifted;
        rewinddir(dir);
        for (struct dirent *e; !failed && (e = readdir(dir));)
            if (!is_dot(e->d_name))
                failed = remove_entry(&r, r.top, e->d_name, 0);
    } while (!failed && r.lifted != before);
    int kept = errno;
    closedir(dir);
    if (!failed && rmdir(path) == 0)
        return FAB_OK;
    return fab_err_errno(err, failed ? kept : errno, "cannot remove %s", path);
}

/* ---- measuring ---- */

static enum fab_rc usage_below(int at, const char *name, unsigned depth, uint64_t *sum)
{
    if (depth > FAB_DIR_DEPTH_MAX)
        return FAB_ELIMIT;
    /* Root reads what is locked; another user would not see what his job hides. */
    DIR *dir = open_dir(at, name, geteuid() == 0 ? 0 : 0500);
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? FAB_OK : FAB_ELIMIT;
    enum fab_rc rc = FAB_OK;
    for (struct dirent *e; rc == FAB_OK && (e = readdir(dir));) {
        struct stat st;
        if (is_dot(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        uint64_t bytes = (uint64_t)st.st_blocks * 512;
        *sum += !S_ISDIR(st.st_mode) && st.st_nlink > 1 ? bytes / st.st_nlink : bytes;
        if (S_ISDIR(st.st_mode))
            rc = usage_below(dirfd(dir), e->d_name, depth + 1, sum);
    }
    closedir(dir);
    return rc;
}

enum fab_rc fab_dir_usage(const char *path, uint64_t *out)
{
    uint64_t sum = 0;
    FAB_TRY(usage_below(AT_FDCWD, path, 0, &sum));
    *out = sum;
    return FAB_OK;
}

/* ---- sealing ---- */

static int seal_one(int at, const char *name, const struct stat *st, unsigned owner)
{
    if (owner && fchownat(at, name, owner, owner, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    if (S_ISLNK(st->st_mode))
        return 0;
    mode_t mode = S_ISDIR(st->st_mode) ? 0555 : (st->st_mode & 0100 ? 0555 : 0444);
    return fchmodat(at, name, mode, 0);
}

static int seal_below(int at, const char *name, unsigned depth, unsigned owner)
{
    if (depth > FAB_DIR_DEPTH_MAX) {
        errno = ELOOP;
        return -1;
    }
    DIR *dir = open_dir(at, name, 0700);
    if (!dir)
        return -1;
    int failed = 0;
    for (struct dirent *e; !failed && (e = readdir(dir));) {
        struct stat st;
        if (is_dot(e->d_name))
            continue;
        failed = fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW);
        if (!failed && S_ISDIR(st.st_mode))
            failed = seal_below(dirfd(dir), e->d_name, depth + 1, owner);
        if (!failed)
            failed = seal_one(dirfd(dir), e->d_name, &st, owner);
    }
    int kept = errno;
    closedir(dir);
    errno = kept;
    return failed;
}

enum fab_rc fab_dir_seal(const char *path, unsigned owner, struct fab_err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return fab_err_errno(err, errno, "cannot look at %s", path);
    if (S_ISDIR(st.st_mode) && seal_below(AT_FDCWD, path, 0, owner) != 0)
        return fab_err_errno(err, errno, "cannot make %s read-only", path);
    if (seal_one(AT_FDCWD, path, &st, owner) != 0)
        return fab_err_errno(err, errno, "cannot make %s read-only", path);
    return FAB_OK;
}

/* ---- opening up ---- */

static enum fab_rc readable_below(int at, const char *name, unsigned depth)
{
    if (depth > FAB_DIR_DEPTH_MAX)
        return FAB_ELIMIT;
    DIR *dir = open_dir(at, name, 0700);
    if (!dir)
        return FAB_OK;
    enum fab_rc rc = FAB_OK;
    for (struct dirent *e; rc == FAB_OK && (e = readdir(dir));) {
        struct stat st;
        if (is_dot(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode) && !(st.st_mode & 0400)) {
            int handle = unlock(dirfd(dir), e->d_name, 0400);
            if (handle >= 0)
                close(handle);
        }
        if (S_ISDIR(st.st_mode))
            rc = readable_below(dirfd(dir), e->d_name, depth + 1);
    }
    closedir(dir);
    return rc;
}

enum fab_rc fab_dir_readable(const char *path)
{
    return readable_below(AT_FDCWD, path, 0);
}

/* ---- special files ---- */

static enum fab_rc drop_below(int at, const char *name, unsigned depth, size_t *dropped)
{
    if (depth > FAB_DIR_DEPTH_MAX)
        return FAB_ELIMIT;
    DIR *dir = open_dir(at, name, 0);
    if (!dir)
        return FAB_OK;
    enum fab_rc rc = FAB_OK;
    for (struct dirent *e; rc == FAB_OK && (e = readdir(dir));) {
        struct stat st;
        if (is_dot(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISDIR(st.st_mode))
            rc = drop_below(dirfd(dir), e->d_name, depth + 1, dropped);
        else if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) &&
                 unlinkat(dirfd(dir), e->d_name, 0) == 0)
            (*dropped)++;
    }
    closedir(dir);
    return rc;
}

enum fab_rc fab_dir_drop_special(const char *path, size_t *dropped)
{
    *dropped = 0;
    return drop_below(AT_FDCWD, path, 0, dropped);
}
