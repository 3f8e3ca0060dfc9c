/* Leases: what says to a collection "somebody is at work here".
 *
 * A lease is a small file in leases/, held under flock by its owner; a dead process's lock is gone,
 * so its lease lapses by itself, whatever killed it, and after a crash of the machine all have
 * lapsed. The file is written and locked under a hidden name and then renamed, so a visible lease
 * is a locked one. After the rename the owner waits for the write transaction that may be running:
 * any later step of a collection sees the lease. */
#include "storage/store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#define LEASE_BYTES_MAX (8 + 1 + 4 + FAB_CID_MAX)

struct fab_lease {
    struct fab_store *store;
    uint64_t id;
    int fd;
    char name[32]; /* leases/ID */
};

uint64_t store_lease_id(const struct fab_lease *lease)
{
    return lease->id;
}

static size_t encode(const struct lease_info *info, uint8_t out[LEASE_BYTES_MAX])
{
    store_le_put(out, 8, info->gen);
    out[8] = (uint8_t)info->kind;
    store_le_put(out + 9, 4, info->ws);
    return 13 + (info->kind == LEASE_ROOT ? fab_cid_bytes(&info->root, out + 13) : 0);
}

static enum fab_rc decode(struct fab_slice s, struct lease_info *out)
{
    struct fab_reader r = fab_reader(s);
    uint64_t ws;
    uint8_t kind;
    FAB_TRY(fab_read_le(&r, 8, &out->gen));
    FAB_TRY(fab_read_u8(&r, &kind));
    FAB_TRY(fab_read_le(&r, 4, &ws));
    if (kind != LEASE_PUT && kind != LEASE_ROOT)
        return FAB_EFORMAT;
    out->kind = (enum lease_kind)kind;
    out->ws = (uint32_t)ws;
    return kind == LEASE_ROOT ? fab_cid_read(&r, &out->root) : FAB_OK;
}

enum fab_rc store_lease_take(struct fab_store *store, const struct lease_info *info,
                             struct fab_lease **out, struct fab_err *err)
{
    struct fab_lease *lease = calloc(1, sizeof *lease);
    if (!lease)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    lease->store = store;
    lease->fd = -1;
    uint8_t bytes[LEASE_BYTES_MAX];
    size_t n = encode(info, bytes);
    if (getrandom(&lease->id, sizeof lease->id, 0) != (ssize_t)sizeof lease->id)
        goto failed;
    snprintf(lease->name, sizeof lease->name, "leases/%016" PRIx64, lease->id);
    lease->fd = openat(store->dirfd, "leases", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (lease->fd < 0)
        goto failed;
    char self[32]; /* linkat(2): how an unnamed file gets its name without privileges */
    snprintf(self, sizeof self, "/proc/self/fd/%d", lease->fd);
    if (flock(lease->fd, LOCK_EX | LOCK_NB) != 0 || write(lease->fd, bytes, n) != (ssize_t)n ||
        linkat(AT_FDCWD, self, store->dirfd, lease->name, AT_SYMLINK_FOLLOW) != 0)
        goto failed;
    *out = lease;
    return FAB_OK;
failed:;
    enum fab_rc rc = fab_err_errno(err, errno, "store %s: cannot take a lease", store->dir);
    if (lease->fd >= 0)
        close(lease->fd);
    free(lease);
    return rc == FAB_OK ? FAB_EIO : rc;
}

bool store_lease_raise(struct fab_lease *lease, uint64_t gen)
{
    uint8_t bytes[8];
    store_le_put(bytes, 8, gen);
    return pwrite(lease->fd, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes;
}

void fab_lease_release(struct fab_lease *lease)
{
    if (!lease)
        return;
    unlinkat(lease->store->dirfd, lease->name, 0);
    close(lease->fd);
    free(lease);
}

/* Read one lease file. FAB_ENOENT when it is gone, or its owner is dead: then it is removed. A
 * lease that lives and cannot be read is an error: to overlook it would cost its owner his blocks.
 */
static enum fab_rc read_lease(int dir, const char *name, struct lease_info *out)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fab_rc_errno(errno);
    uint8_t bytes[LEASE_BYTES_MAX];
    enum fab_rc rc;
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        unlinkat(dir, name, 0);
        rc = FAB_ENOENT;
    } else if (errno != EWOULDBLOCK) {
        rc = fab_rc_errno(errno);
    } else {
        ssize_t n = pread(fd, bytes, sizeof bytes, 0);
        rc = n < 0 ? fab_rc_errno(errno) : decode(fab_slice(bytes, (size_t)n), out);
    }
    close(fd);
    out->id = strtoull(name, NULL, 16);
    return rc;
}

enum fab_rc store_lease_each(struct fab_store *store,
                             enum fab_rc (*fn)(void *arg, const struct lease_info *info), void *arg)
{
    int fd = openat(store->dirfd, "leases", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return fab_rc_errno(errno);
    }
    enum fab_rc rc = FAB_OK;
    struct dirent *entry;
    while (rc == FAB_OK && (errno = 0, entry = readdir(dir))) {
        struct lease_info info;
        if (entry->d_name[0] == '.')
            continue;
        rc = read_lease(dirfd(dir), entry->d_name, &info);
        if (rc == FAB_OK)
            rc = fn(arg, &info);
        else if (rc == FAB_ENOENT)
            rc = FAB_OK;
    }
    if (rc == FAB_OK && !entry && errno)
        rc = fab_rc_errno(errno);
    closedir(dir);
    return rc;
}

#define USE_SECONDS 3600 /* a root's use is written at most this often */

/* Note that an unpinned root was used, when the last note is old. */
static enum fab_rc note_use(struct fab_store *store, uint32_t ws, const struct fab_cid *root,
                            struct fab_err *err)
{
    MDB_txn *txn;
    struct store_key key;
    int64_t now = time(NULL), last = now;
    store_key_cid(&key, ws, root);
    MDB_val k = store_key_val(&key), value;
    FAB_TRY(store_read_begin(store, &txn));
    int rc = mdb_get(txn, store->dbi[DBI_ROOTS], &k, &value);
    if (rc == MDB_SUCCESS && value.mv_size == 8)
        last = (int64_t)store_le_get(value.mv_data, 8);
    store_read_end(store, txn);
    if (now - last < USE_SECONDS)
        return FAB_OK;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    enum fab_rc result = store_root_put(store, txn, ws, root, now);
    if (result == FAB_OK)
        return store_write_commit(store, txn, err);
    store_write_abort(store, txn);
    return fab_err_set(err, result, "cannot note the use of a root: %s", fab_rc_text(result));
}

enum fab_rc fab_lease_root(struct fab_store *store, uint32_t ws, const struct fab_cid *root,
                           struct fab_lease **out, struct fab_err *err)
{
    struct lease_info info = {.kind = LEASE_ROOT, .ws = ws, .root = *root};
    struct fab_lease *lease;
    FAB_TRY(store_lease_take(store, &info, &lease, err));
    enum fab_rc rc = store_write_barrier(store);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "store %s: cannot take a lease: %s", store->dir, fab_rc_text(rc));
    else
        rc = note_use(store, ws, root, err);
    if (rc != FAB_OK) {
        fab_lease_release(lease);
        return rc;
    }
    *out = lease;
    return FAB_OK;
}
