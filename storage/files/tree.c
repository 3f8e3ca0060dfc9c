#include "storage/files/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

const char *tree_name_fault(struct fab_slice name)
{
    if (name.n == 0)
        return "an empty name";
    if (memchr(name.p, '/', name.n))
        return "a name with a slash";
    if (memchr(name.p, '\0', name.n))
        return "a name with a NUL";
    if ((name.n == 1 && name.p[0] == '.') || (name.n == 2 && memcmp(name.p, "..", 2) == 0))
        return "the name . or ..";
    if (name.n > TREE_NAME_MAX)
        return "a name longer than 255 bytes";
    return NULL;
}

enum fab_rc tree_open_parent(const char *path, int *dirfd, char name[TREE_NAME_MAX + 1],
                             struct fab_err *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    const char *fault = tree_name_fault(fab_slice(path + begin, n - begin));
    if (fault || begin >= PATH_MAX)
        return fab_err_set(err, FAB_EINVAL, "'%s' cannot be the path of a result: give it a name",
                           path);
    char parent[PATH_MAX] = ".";
    if (begin > 0) {
        memcpy(parent, path, begin);
        parent[begin] = '\0';
    }
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fab_err_errno(err, errno, "cannot write to the directory %s", parent);
    memcpy(name, path + begin, n - begin);
    name[n - begin] = '\0';
    *dirfd = fd;
    return FAB_OK;
}

void tree_temp_name(char out[TREE_TEMP_SIZE])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t r[6] = {0};
    /* Six bytes never block or fall short; should they, O_EXCL still refuses a name that is taken.
     */
    ssize_t got FAB_UNUSED = getrandom(r, sizeof r, 0);
    memcpy(out, ".fabric-get-", 12);
    for (unsigned i = 0; i < 6; i++)
        out[12 + i] = letters[r[i] % 32];
    out[18] = '\0';
}

/* Empty the directory; subdirectories that cannot be entered are made accessible first, they are
 * ours. */
static enum fab_rc empty_directory(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fab_rc_errno(errno);
    struct stat st;
    if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
        (void)!fchmod(fd, (st.st_mode & 07777) | 0700); /* if it fails, unlinkat tells */
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return FAB_ENOMEM;
    }
    enum fab_rc rc = FAB_OK;
    struct dirent *entry;
    while (rc == FAB_OK && (entry = readdir(dir))) {
        const char *child = entry->d_name;
        if (strcmp(child, ".") != 0 && strcmp(child, "..") != 0)
            rc = tree_remove(fd, child);
    }
    closedir(dir);
    return rc;
}

enum fab_rc tree_remove(int dirfd, const char *name)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return FAB_OK;
    if (errno != EISDIR && errno != EPERM)
        return fab_rc_errno(errno);
    FAB_TRY(empty_directory(dirfd, name));
    return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 ? FAB_OK : fab_rc_errno(errno);
}

static enum fab_rc exists(const char *path, struct fab_err *err)
{
    return fab_err_set(err, FAB_EEXIST, "%s exists already; give another path or --force", path);
}

/* Put `temp` in the place of what is there, then remove that. */
static enum fab_rc replace(int dirfd, const char *temp, const char *name, const char *path,
                           struct fab_err *err)
{
    char old[TREE_TEMP_SIZE];
    if (renameat(dirfd, temp, dirfd, name) == 0)
        return FAB_OK;
    if (errno != EISDIR && errno != ENOTDIR && errno != ENOTEMPTY && errno != EEXIST)
        return fab_err_errno(err, errno, "cannot replace %s", path);
    if (renameat2(dirfd, temp, dirfd, name, RENAME_EXCHANGE) == 0) {
        memcpy(old, temp, strlen(temp) + 1);
    } else {
        tree_temp_name(old);
        if (renameat(dirfd, name, dirfd, old) != 0)
            return fab_err_errno(err, errno, "cannot replace %s", path);
        if (renameat(dirfd, temp, dirfd, name) != 0) {
            int saved = errno;
            (void)!renameat(dirfd, old, dirfd, name); /* back, as far as it goes */
            return fab_err_errno(err, saved, "cannot replace %s", path);
        }
    }
    if (tree_remove(dirfd, old) != FAB_OK)
        return fab_err_errno(err, errno, "%s is in place, but what was there is left as %s", path,
                             old);
    return FAB_OK;
}

enum fab_rc tree_publish(int dirfd, const char *temp, const char *name, bool force,
                         const char *path, struct fab_err *err)
{
    struct stat st;
    if (renameat2(dirfd, temp, dirfd, name, RENAME_NOREPLACE) == 0)
        return FAB_OK;
    if (errno == EEXIST)
        return force ? replace(dirfd, temp, name, path, err) : exists(path, err);
    if (errno != EINVAL && errno != ENOSYS)
        return fab_err_errno(err, errno, "cannot make %s", path);
    /* A file system without RENAME_NOREPLACE. */
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return force ? replace(dirfd, temp, name, path, err) : exists(path, err);
    if (renameat(dirfd, temp, dirfd, name) != 0)
        return fab_err_errno(err, errno, "cannot make %s", path);
    return FAB_OK;
}
