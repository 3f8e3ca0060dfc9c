#include "scheduler/ledger/cache.h"

#include "scheduler/exec/dirs.h"
#include "storage/files/get.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX_MAX 8

static enum fab_rc make_folder(const char *home, char out[PATH_MAX], struct fab_err *err)
{
    static const char *const parts[] = {"cache", "cache/in", NULL};
    for (size_t i = 0; parts[i]; i++) {
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", home, parts[i]) >= PATH_MAX)
            return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
        if (mkdir(out, 0700) != 0 && errno != EEXIST)
            return fab_err_errno(err, errno, "cannot make %s", out);
    }
    return FAB_OK;
}

/* Lock `path` and be sure that it is still the file of that name: eviction removes it. */
static int lock_file(const char *path, int operation)
{
    for (;;) {
        struct stat mine, named;
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -1;
        if (flock(fd, operation) != 0) { /* EINTR too: whoever is interrupted waits no longer */
            int kept = errno;
            close(fd);
            errno = kept;
            return -1;
        }
        if (fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_ino == named.st_ino &&
            mine.st_dev == named.st_dev)
            return fd;
        close(fd);
    }
}

static enum fab_rc not_locked(const char *path, struct fab_err *err)
{
    if (errno == EINTR)
        return fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
    return fab_err_errno(err, errno, "cannot lock %s", path);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Mount points that an image may lack, as empty files. */
static void complete_image(const char *path)
{
    static const char *const files[] = {"hosts", "resolv.conf", NULL};
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return;
    if (mkdirat(root, "etc", 0755) != 0 && errno != EEXIST)
        goto out;
    int etc = openat(root, "etc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (etc < 0)
        goto out;
    for (size_t i = 0; files[i]; i++) {
        int fd = openat(etc, files[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0)
            close(fd);
    }
    close(etc);
out:
    close(root);
}

static enum fab_rc materialise(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                               const struct fab_cache_options *options, const char *path, int lock,
                               struct fab_err *err)
{
    char fresh[PATH_MAX + SUFFIX_MAX], text[32];
    struct stat st;
    uint64_t bytes = 0;
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FAB_TRY(fab_dir_remove(fresh, err)); /* of a process that was killed here */
    struct fab_get_options get = {.dest = fresh, .watch = {.cancel = options->cancel}};
    FAB_TRY(fab_get(store, ws, cid, &get, NULL, err));
    enum fab_rc rc = FAB_OK;
    if (lstat(fresh, &st) != 0)
        rc = fab_err_errno(err, errno, "cannot look at %s", fresh);
    else if (S_ISLNK(st.st_mode))
        rc = fab_err_set(err, FAB_EUNSUPPORTED,
                         "a symlink cannot be mounted into a job: name what it points to");
    if (rc == FAB_OK && options->image && S_ISDIR(st.st_mode))
        complete_image(fresh);
    if (rc == FAB_OK)
        rc = fab_dir_seal(fresh, options->owner, err);
    if (rc == FAB_OK && rename(fresh, path) != 0)
        rc = fab_err_errno(err, errno, "cannot rename %s", fresh);
    if (rc != FAB_OK) {
        (void)!fab_dir_remove(fresh, NULL);
        return rc;
    }
    if (S_ISDIR(st.st_mode))
        (void)!fab_dir_usage(path, &bytes);
    else
        bytes = (uint64_t)st.st_blocks * 512;
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)bytes);
    if (ftruncate(lock, 0) != 0 || pwrite(lock, text, (size_t)n, 0) != n)
        return FAB_OK; /* it then counts as empty when space is looked for */
    return FAB_OK;
}

enum fab_rc fab_cache_hold(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                           const struct fab_cache_options *options, struct fab_cached *out,
                           struct fab_err *err)
{
    char folder[PATH_MAX], text[FAB_CID_TEXT_MAX], lock_path[PATH_MAX + SUFFIX_MAX];
    struct fab_cached held = {.lock = -1};
    FAB_TRY(make_folder(options->home, folder, err));
    fab_cid_text(cid, text);
    if ((size_t)snprintf(held.path, sizeof held.path, "%s/%u-%s%s%s", folder, ws, text,
                         options->image ? ".image" : "",
                         options->owner ? ".job" : "") >= sizeof held.path - SUFFIX_MAX)
        return fab_err_set(err, FAB_EINVAL, "the home's path is too long");
    snprintf(lock_path, sizeof lock_path, "%s.lock", held.path);

    bool made = false;
    for (;;) {
        held.lock = lock_file(lock_path, LOCK_SH);
        if (held.lock < 0)
            return not_locked(lock_path, err);
        if (is_there(held.path))
            break;
        close(held.lock);
        held.lock = lock_file(lock_path, LOCK_EX);
        if (held.lock < 0)
            return not_locked(lock_path, err);
        enum fab_rc rc = FAB_OK;
        if (!is_there(held.path)) {
            rc = materialise(store, ws, cid, options, held.path, held.lock, err);
            made = true;
        }
        close(held.lock); /* between this and the shared lock it may be evicted again */
        FAB_TRY(rc);
    }
    (void)futimens(held.lock, NULL);
    *out = held;
    if (made)
        fab_cache_evict(options->home, options->budget);
    return FAB_OK;
}

void fab_cache_release(struct fab_cached *cached)
{
    if (cached->lock >= 0)
        close(cached->lock);
    cached->lock = -1;
}

/* ---- eviction ---- */

struct entry {
    char name[256];
    struct timespec used;
    uint64_t bytes;
};

static int older_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}

static bool read_entry(int folder, const char *name, struct entry *out)
{
    size_t n = strlen(name);
    char text[32] = "";
    struct stat st;
    if (n < 6 || n >= sizeof out->name || strcmp(name + n - 5, ".lock") != 0)
        return false;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &st) == 0 && read(fd, text, sizeof text - 1) >= 0;
    close(fd);
    memcpy(out->name, name, n - 5);
    out->name[n - 5] = '\0';
    out->used = st.st_mtim;
    out->bytes = strtoull(text, NULL, 10);
    return ok;
}

static bool evict_one(const char *folder, const struct entry *entry)
{
    char path[PATH_MAX + SUFFIX_MAX], old[PATH_MAX + 2 * SUFFIX_MAX];
    char lock_path[PATH_MAX + 2 * SUFFIX_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->name) >= PATH_MAX)
        return false;
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    int fd = lock_file(lock_path, LOCK_EX | LOCK_NB);
    if (fd < 0)
        return false;
    /* Half a tree must never stand under its name. */
    snprintf(old, sizeof old, "%s.new", path);
    bool gone = (rename(path, old) == 0 || errno == ENOENT) && fab_dir_remove(old, NULL) == FAB_OK;
    if (gone)
        unlink(lock_path);
    close(fd);
    return gone;
}

void fab_cache_evict(const char *home, uint64_t budget)
{
    char folder[PATH_MAX];
    struct entry *list = NULL;
    size_t n = 0, room = 0;
    uint64_t sum = 0;
    if ((size_t)snprintf(folder, sizeof folder, "%s/cache/in", home) >= sizeof folder)
        return;
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (n == room) {
            struct entry *more = realloc(list, (room + 64) * sizeof *list);
            if (!more)
                break;
            list = more;
            room += 64;
        }
        if (read_entry(dirfd(dir), e->d_name, &list[n]))
            sum += list[n++].bytes;
    }
    closedir(dir);
    if (n)
        qsort(list, n, sizeof *list, older_first);
    for (size_t i = 0; i < n && sum > budget; i++)
        if (evict_one(folder, &list[i]))
            sum -= list[i].bytes;
    free(list);
}
