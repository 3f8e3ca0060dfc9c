#include "scheduler/exec/attempt_dir.h"

#include "scheduler/exec/cgroup.h"
#include "scheduler/exec/dirs.h"
#include "scheduler/exec/members.h"
#include "storage/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define END_PAUSE_MIN 1000000L   /* nanoseconds */
#define END_PAUSE_MAX 600000000L /* about a second in all */

static bool write_file(const struct fab_attempt_dir *dir, const char *name, struct fab_slice bytes)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", dir->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = fab_fd_write(fd, bytes) == FAB_OK;
    return close(fd) == 0 && ok;
}

/* How many bytes; 0 where there is no such file. */
static size_t read_file(const struct fab_attempt_dir *dir, const char *name, uint8_t *out,
                        size_t room)
{
    char path[PATH_MAX + 16];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", dir->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0;
    if (fab_fd_read(fd, out, room, &n) != FAB_OK)
        n = 0;
    close(fd);
    return n;
}

static void set_cgroup(struct fab_attempt_dir *dir, const char *cgroups)
{
    snprintf(dir->cgroup, sizeof dir->cgroup, "%s/fabric-%s", cgroups, dir->id);
}

/* The file `cgroup` says below which group an attempt's own lies, where that is not the top. */
static void read_cgroup(struct fab_attempt_dir *dir)
{
    uint8_t text[FAB_CGROUP_PATH_MAX] = "";
    text[read_file(dir, "cgroup", text, sizeof text - 1)] = '\0';
    set_cgroup(dir, (const char *)text);
}

enum fab_rc fab_attempt_dir_note(const struct fab_attempt_dir *dir, struct fab_slice note,
                                 struct fab_err *err)
{
    if (note.n > FAB_ATTEMPT_NOTE_MAX)
        return fab_err_set(err, FAB_ELIMIT, "the note of an attempt is too long");
    if (!write_file(dir, "note", note))
        return fab_err_errno(err, errno, "cannot write to %s", dir->path);
    return FAB_OK;
}

void fab_attempt_pidfile(const char *path, const char *id, char out[PATH_MAX])
{
    const char *folders[] = {getenv("XDG_RUNTIME_DIR"), "/run", "/dev/shm"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct statfs fs;
        if (folders[i] && folders[i][0] == '/' && statfs(folders[i], &fs) == 0 &&
            fs.f_type == TMPFS_MAGIC && access(folders[i], W_OK | X_OK) == 0 &&
            snprintf(out, PATH_MAX, "%s/fabric-%s.pid", folders[i], id) < PATH_MAX)
            return;
    }
    if (snprintf(out, PATH_MAX, "%s/pid", path) >= PATH_MAX)
        out[0] = '\0';
}

static int open_lock(const char *path, int operation)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, operation) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Between mkdir and flock a new folder looks like a dead one: both sides hold this lock meanwhile.
 */
static int gate(const char *home)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/jobs/.lock", home) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open_lock(path, LOCK_EX);
}

static enum fab_rc make_parent(const char *home, struct fab_err *err)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/jobs", home) >= sizeof path)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return fab_err_errno(err, errno, "cannot make %s", path);
    return FAB_OK;
}

enum fab_rc fab_attempt_dir_make(const char *home, const char *id, const char *cgroups,
                                 struct fab_attempt_dir *out, struct fab_err *err)
{
    char path[PATH_MAX];
    struct fab_attempt_dir dir = {.lock = -1};
    if ((size_t)snprintf(dir.path, sizeof dir.path, "%s/jobs/%s", home, id) >= sizeof dir.path ||
        (size_t)snprintf(path, sizeof path, "%s/lock", dir.path) >= sizeof path ||
        strlen(id) > FAB_ATTEMPT_ID_MAX)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    snprintf(dir.id, sizeof dir.id, "%s", id);
    set_cgroup(&dir, cgroups);
    FAB_TRY(make_parent(home, err));
    int held = gate(home);
    if (held < 0)
        return fab_err_errno(err, errno, "cannot lock %s/jobs", home);
    enum fab_rc rc = FAB_OK;
    if (mkdir(dir.path, 0700) != 0)
        rc = fab_err_errno(err, errno, "cannot make %s", dir.path);
    else if ((dir.lock = open_lock(path, LOCK_EX | LOCK_NB)) < 0)
        rc = fab_err_errno(err, errno, "cannot lock %s", dir.path);
    else if (cgroups[0] && !write_file(&dir, "cgroup", fab_slice(cgroups, strlen(cgroups))))
        rc = fab_err_errno(err, errno, "cannot write to %s", dir.path);
    close(held);
    if (rc == FAB_OK)
        *out = dir;
    return rc;
}

void fab_attempt_dir_strip(const struct fab_attempt_dir *dir)
{
    static const char *const names[] = {"state", "rootfs", "tmp", "exit", "config.json", NULL};
    char path[PATH_MAX + 16];
    (void)!fab_cgroup_remove(dir->cgroup);
    for (size_t i = 0; names[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir->path, names[i]);
        (void)!fab_dir_remove(path, NULL);
    }
}

bool fab_attempt_end(const struct fab_attempt_dir *dir)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/stdout", dir->path);
    int log = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool ended = log < 0 && errno == ENOENT; /* nobody was started yet */
    for (long pause = END_PAUSE_MIN; log >= 0 && pause <= END_PAUSE_MAX; pause *= 2) {
        size_t killed = fab_members_kill(log, strrchr(dir->cgroup, '/'), dir->path);
        ended = killed == 0 && flock(log, LOCK_EX | LOCK_NB) == 0;
        if (ended)
            break;
        nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
    }
    if (log >= 0)
        close(log);
    if (ended) {
        fab_attempt_pidfile(dir->path, dir->id, path);
        unlink(path);
    }
    return ended;
}

enum fab_rc fab_attempt_dir_remove(struct fab_attempt_dir *dir, struct fab_err *err)
{
    enum fab_rc rc = fab_cgroup_remove(dir->cgroup)
                         ? fab_dir_remove(dir->path, err)
                         : fab_err_set(err, FAB_EBUSY,
                                       "processes of job %s do not end; the next job command tries "
                                       "again",
                                       dir->id);
    if (dir->lock >= 0)
        close(dir->lock);
    dir->lock = -1;
    return rc;
}

/* Lock the attempt `id` if its owner is dead; -1 if he lives or the folder is not one. */
static int lock_dead(const char *home, const char *id)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/jobs/%s/lock", home, id) >= sizeof path)
        return -1;
    return open_lock(path, LOCK_EX | LOCK_NB);
}

enum fab_rc fab_attempt_dir_each(const char *home, void (*fn)(void *arg, const char *id), void *arg,
                                 struct fab_err *err)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/jobs", home) >= sizeof path)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    DIR *dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? FAB_OK : fab_err_errno(err, errno, "cannot read %s", path);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.' || e->d_type != DT_DIR)
            continue;
        int fd = lock_dead(home, e->d_name);
        if (fd < 0 && errno == EWOULDBLOCK)
            fn(arg, e->d_name);
        if (fd >= 0)
            close(fd);
    }
    closedir(dir);
    return FAB_OK;
}

void fab_attempt_reap(const char *home,
                      void (*found)(void *arg, const char *id, struct fab_slice note), void *arg)
{
    uint8_t note[FAB_ATTEMPT_NOTE_MAX];
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/jobs", home) >= sizeof path)
        return;
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        struct fab_attempt_dir dead = {.lock = -1};
        if (e->d_name[0] == '.' || e->d_type != DT_DIR || strlen(e->d_name) > FAB_ATTEMPT_ID_MAX)
            continue;
        int held = gate(home);
        if (held < 0)
            break;
        dead.lock = lock_dead(home, e->d_name);
        close(held);
        if (dead.lock < 0)
            continue;
        memcpy(dead.id, e->d_name, strlen(e->d_name) + 1);
        if ((size_t)snprintf(dead.path, sizeof dead.path, "%s/%s", path, e->d_name) <
            sizeof dead.path) {
            read_cgroup(&dead);
            if (fab_attempt_end(&dead)) {
                size_t n = read_file(&dead, "note", note, sizeof note);
                if (found)
                    found(arg, e->d_name, fab_slice(note, n));
                (void)!fab_attempt_dir_remove(&dead, NULL); /* the next command tries again */
            }
        }
        if (dead.lock >= 0)
            close(dead.lock);
    }
    closedir(dir);
}
