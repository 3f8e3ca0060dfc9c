#include "scheduler/ledger/unpack.h"

#include "scheduler/exec/dirs.h"
#include "storage/files/archive_lib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES_MAX 4000000
#define READ_BLOCK  65536
#define WHITEOUT    ".wh."
#define OPAQUE      ".wh..wh..opq"

/* ---- the folder ---- */

/* Locked is what a process works in; a lock needs no number of a process, which in a container is
 * the same for each. */
static int lock_folder(const char *path, int operation)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && flock(fd, operation) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void remove_dead(const char *parent)
{
    DIR *dir = opendir(parent);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[FAB_UNPACK_PATH_MAX];
        if (strncmp(e->d_name, "image-", 6) != 0 ||
            (size_t)snprintf(path, sizeof path, "%s/%s", parent, e->d_name) >= sizeof path)
            continue;
        int fd = lock_folder(path, LOCK_EX | LOCK_NB);
        if (fd < 0)
            continue;
        (void)!fab_dir_remove(path, NULL);
        close(fd);
    }
    closedir(dir);
}

enum fab_rc fab_unpack_folder_make(const char *home, struct fab_unpack_folder *out,
                                   struct fab_err *err)
{
    char parent[FAB_UNPACK_PATH_MAX];
    out->lock = -1;
    if ((size_t)snprintf(parent, sizeof parent, "%s/tmp", home) >= sizeof parent ||
        (size_t)snprintf(out->path, sizeof out->path, "%s/tmp/image-XXXXXX", home) >=
            sizeof out->path - NAME_MAX)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    if (mkdir(parent, 0700) != 0 && errno != EEXIST)
        return fab_err_errno(err, errno, "cannot make %s", parent);
    /* Nobody looks for dead ones between a folder's making and its lock. */
    int gate = lock_folder(parent, LOCK_EX);
    if (gate < 0)
        return fab_err_errno(err, errno, "cannot lock %s", parent);
    remove_dead(parent);
    enum fab_rc rc = FAB_OK;
    if (!mkdtemp(out->path))
        rc = fab_err_errno(err, errno, "cannot make a folder in %s", parent);
    else if ((out->lock = lock_folder(out->path, LOCK_EX | LOCK_NB)) < 0)
        rc = fab_err_errno(err, errno, "cannot lock %s", out->path);
    close(gate);
    return rc;
}

void fab_unpack_folder_remove(struct fab_unpack_folder *folder)
{
    (void)!fab_dir_remove(folder->path, NULL);
    close(folder->lock);
    folder->lock = -1;
}

/* ---- paths ---- */

int fab_unpack_open(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* "./a//b/" to "a/b". False for names that are refused. "" is the folder itself. */
static bool clean_path(const char *name, char out[PATH_MAX])
{
    size_t n = 0;
    if (name[0] == '/')
        return false;
    while (*name) {
        size_t part = strcspn(name, "/");
        bool dot = part == 1 && name[0] == '.';
        if (part == 2 && name[0] == '.' && name[1] == '.')
            return false;
        if (part && !dot) {
            if (part > NAME_MAX || n + part + 2 > PATH_MAX)
                return false;
            if (n)
                out[n++] = '/';
            memcpy(out + n, name, part);
            n += part;
        }
        name += part;
        name += *name == '/';
    }
    out[n] = '\0';
    return true;
}

/* Open the folder `path`, one part after the other, making what is missing with `make`: an entry
 * may come before its folder's own. -1 with errno. */
static int open_folder(const struct fab_unpack *u, char *path, bool make)
{
    int fd = fab_unpack_open(u->root, ".", O_RDONLY | O_DIRECTORY);
    char *part = path;
    while (fd >= 0 && *part) {
        size_t n = strcspn(part, "/");
        char kept = part[n];
        part[n] = '\0';
        int next = fab_unpack_open(u->root, path, O_RDONLY | O_DIRECTORY);
        if (next < 0 && errno == ENOENT && make && mkdirat(fd, part, 0755) == 0)
            next = fab_unpack_open(u->root, path, O_RDONLY | O_DIRECTORY);
        int err = errno;
        part[n] = kept;
        close(fd);
        errno = err;
        fd = next;
        part += n;
        part += *part == '/';
    }
    return fd;
}

/* The folder that holds `path`, and in `*base` the last part. -1 with errno. */
static int open_parent(const struct fab_unpack *u, char *path, const char **base, bool make)
{
    char *slash = strrchr(path, '/');
    *base = slash ? slash + 1 : path;
    if (!slash)
        return fab_unpack_open(u->root, ".", O_RDONLY | O_DIRECTORY);
    *slash = '\0';
    int fd = open_folder(u, path, make);
    *slash = '/';
    return fd;
}

/* Take away whatever has the name. */
static int clear(int at, const char *name)
{
    char path[64 + NAME_MAX];
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", at, name);
    return fab_dir_remove(path, NULL) == FAB_OK ? 0 : -1;
}

static int clear_all(int at)
{
    DIR *dir = fdopendir(dup(at));
    int failed = 0;
    if (!dir)
        return -1;
    rewinddir(dir);
    for (struct dirent *e; !failed && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            failed = clear(at, e->d_name);
    closedir(dir);
    return failed;
}

/* ---- entries ---- */

struct reader {
    const struct fab_archive_lib *lib;
    struct archive *archive;
};

static const char *said(const struct reader *a, const char *otherwise)
{
    const char *text = a->lib->archive_error_string(a->archive);
    return text ? text : otherwise;
}

static enum fab_rc failed(const struct fab_unpack *u, const char *path, struct fab_err *err)
{
    return fab_err_errno(err, errno, "cannot unpack %s of %s", path, u->label);
}

static enum fab_rc refuse(const struct fab_unpack *u, const char *name, struct fab_err *err)
{
    return fab_err_set(err, FAB_EFORMAT, "%s has an entry that leads out of it: '%s'", u->label,
                       name);
}

static enum fab_rc write_file(struct fab_unpack *u, const struct reader *a, struct archive_entry *e,
                              int at, const char *name, const char *path, struct fab_err *err)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(u, path, err);
    enum fab_rc rc = FAB_OK;
    const void *bytes;
    size_t n;
    la_int64_t offset;
    int got;
    while (rc == FAB_OK && (got = a->lib->archive_read_data_block(a->archive, &bytes, &n,
                                                                  &offset)) != ARCHIVE_EOF) {
        if (got < ARCHIVE_WARN) {
            rc = fab_err_set(err, FAB_EFORMAT, "%s is damaged at %s: %s", u->label, path,
                             said(a, "no reason given"));
        } else if (n > u->max_bytes) {
            rc = fab_err_set(err, FAB_ELIMIT, "%s is larger than the free disk space allows",
                             u->label);
        } else if (u->cancel && atomic_load(u->cancel)) {
            rc = fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
        } else if (pwrite(fd, bytes, n, (off_t)offset) != (ssize_t)n) {
            rc = failed(u, path, err);
        } else {
            u->max_bytes -= n;
            u->stats->bytes += n;
        }
    }
    struct stat st;
    off_t size = (off_t)a->lib->archive_entry_size(e); /* a hole at the end has no bytes */
    if (rc == FAB_OK && (fstat(fd, &st) != 0 || (st.st_size < size && ftruncate(fd, size) != 0) ||
                         fchmod(fd, (a->lib->archive_entry_perm(e) & 0777) | 0400) != 0))
        rc = failed(u, path, err);
    close(fd);
    u->stats->files++;
    return rc;
}

static enum fab_rc make_folder(struct fab_unpack *u, int at, const char *name, mode_t mode,
                               const char *path, struct fab_err *err)
{
    struct stat st;
    bool there = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISDIR(st.st_mode) && unlinkat(at, name, 0) != 0)
        return failed(u, path, err);
    if ((!there || !S_ISDIR(st.st_mode)) && mkdirat(at, name, 0700) != 0)
        return failed(u, path, err);
    if (fchmodat(at, name, (mode & 0777) | 0700, 0) != 0)
        return failed(u, path, err);
    return FAB_OK;
}

static enum fab_rc make_link(struct fab_unpack *u, int at, const char *name, const char *target,
                             const char *path, struct fab_err *err)
{
    char to[PATH_MAX];
    const char *base;
    if (!clean_path(target, to) || !*to)
        return refuse(u, target, err);
    int from = open_parent(u, to, &base, false);
    if (from < 0)
        return failed(u, path, err);
    int bad = linkat(from, base, at, name, 0);
    int kept = errno;
    close(from);
    errno = kept;
    return bad ? failed(u, path, err) : FAB_OK;
}

static enum fab_rc add_entry(struct fab_unpack *u, const struct reader *a, struct archive_entry *e,
                             char *path, struct fab_err *err)
{
    const char *name, *link = a->lib->archive_entry_hardlink(e),
                      *target = a->lib->archive_entry_symlink(e);
    mode_t mode = a->lib->archive_entry_perm(e);
    unsigned type = a->lib->archive_entry_filetype(e);
    bool special = !link && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK;
    if (special) {
        u->stats->skipped++;
        return FAB_OK;
    }
    int at = open_parent(u, path, &name, true);
    if (at < 0)
        return failed(u, path, err);
    enum fab_rc rc = FAB_OK;
    bool folder = !link && type == AE_IFDIR;
    /* A hard link to itself would be cleared before it is read. */
    if (!folder && clear(at, name) != 0)
        rc = failed(u, path, err);
    else if (link)
        rc = make_link(u, at, name, link, path, err);
    else if (folder)
        rc = make_folder(u, at, name, mode, path, err);
    else if (type == AE_IFREG)
        rc = write_file(u, a, e, at, name, path, err);
    else if (!target || symlinkat(target, at, name) != 0)
        rc = failed(u, path, err);
    close(at);
    return rc;
}

static enum fab_rc take_away(struct fab_unpack *u, char *path, struct fab_err *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *gone = name + strlen(WHITEOUT);
    bool opaque = strcmp(name, OPAQUE) == 0;
    if (!opaque && (!*gone || strcmp(gone, ".") == 0 || strcmp(gone, "..") == 0))
        return refuse(u, name, err);
    int at = open_parent(u, path, &name, false);
    if (at < 0)
        return errno == ENOENT || errno == ENOTDIR ? FAB_OK : failed(u, path, err);
    enum fab_rc rc = FAB_OK;
    if (opaque ? clear_all(at) : clear(at, gone))
        rc = failed(u, path, err);
    close(at);
    return rc;
}

static bool is_whiteout(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strncmp(name, WHITEOUT, strlen(WHITEOUT)) == 0;
}

/* Whiteouts mean the layers below, wherever they stand in this one: they have a pass of their own.
 */
static enum fab_rc one_pass(struct fab_unpack *u, int fd, bool whiteouts, struct fab_err *err)
{
    struct reader a;
    struct archive_entry *e;
    FAB_TRY(fab_archive_lib(&a.lib, err));
    a.archive = a.lib->archive_read_new();
    enum fab_rc rc = FAB_OK;
    if (!a.archive)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    if (lseek(fd, 0, SEEK_SET) < 0 ||
        a.lib->archive_read_support_filter_all(a.archive) < ARCHIVE_WARN ||
        a.lib->archive_read_support_format_tar(a.archive) != ARCHIVE_OK ||
        a.lib->archive_read_support_format_empty(a.archive) != ARCHIVE_OK ||
        a.lib->archive_read_open_fd(a.archive, fd, READ_BLOCK) != ARCHIVE_OK) {
        rc = fab_err_set(err, FAB_EFORMAT, "%s is not a tar archive: %s", u->label,
                         said(&a, "cannot be read"));
        a.lib->archive_read_free(a.archive);
        return rc;
    }
    for (size_t n = 0; rc == FAB_OK; n++) {
        char path[PATH_MAX];
        int got = a.lib->archive_read_next_header(a.archive, &e);
        if (got == ARCHIVE_EOF)
            break;
        const char *name = got < ARCHIVE_WARN ? NULL : a.lib->archive_entry_pathname(e);
        if (!name)
            rc = fab_err_set(err, FAB_EFORMAT, "%s is not a whole tar archive: %s", u->label,
                             said(&a, "a bad name"));
        else if (n == ENTRIES_MAX)
            rc = fab_err_set(err, FAB_ELIMIT, "%s has too many entries", u->label);
        else if (!clean_path(name, path))
            rc = refuse(u, name, err);
        else if (!*path)
            continue;
        else if (u->layer && is_whiteout(path))
            rc = whiteouts ? take_away(u, path, err) : FAB_OK;
        else if (!whiteouts)
            rc = add_entry(u, &a, e, path, err);
    }
    a.lib->archive_read_free(a.archive);
    return rc;
}

enum fab_rc fab_unpack_tar(struct fab_unpack *u, int fd, struct fab_err *err)
{
    if (u->layer)
        FAB_TRY(one_pass(u, fd, true, err));
    return one_pass(u, fd, false, err);
}
