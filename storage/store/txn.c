/* The gate and the transactions.
 *
 * LMDB wants its map left alone while a process has a transaction open, so every transaction enters
 * the gate and a change of the map (growth, following another process's growth, compaction) closes
 * it. LMDB's writer lock is not fair: a process that commits and begins again at once keeps others
 * out. So writers queue on a turnstile file first: whoever waits for LMDB's lock holds the
 * turnstile, and the one that just committed has to queue behind it. */
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FULL_DISK (4u << 20) /* fewer free bytes than this: the disk is full */

void store_gate_enter(struct fab_store *store, bool yield)
{
    pthread_mutex_lock(&store->gate_mutex);
    while (store->gate_closed || (store->gate_pending && (yield || store->gate_active == 0)))
        pthread_cond_wait(&store->gate_cond, &store->gate_mutex);
    store->gate_active++;
    pthread_mutex_unlock(&store->gate_mutex);
}

void store_gate_leave(struct fab_store *store)
{
    pthread_mutex_lock(&store->gate_mutex);
    if (--store->gate_active == 0)
        pthread_cond_broadcast(&store->gate_cond);
    pthread_mutex_unlock(&store->gate_mutex);
}

void store_gate_close(struct fab_store *store)
{
    pthread_mutex_lock(&store->gate_mutex);
    store->gate_pending++;
    while (store->gate_active || store->gate_closed)
        pthread_cond_wait(&store->gate_cond, &store->gate_mutex);
    store->gate_pending--;
    store->gate_closed = true;
    pthread_mutex_unlock(&store->gate_mutex);
}

void store_gate_open(struct fab_store *store)
{
    pthread_mutex_lock(&store->gate_mutex);
    store->gate_closed = false;
    pthread_cond_broadcast(&store->gate_cond);
    pthread_mutex_unlock(&store->gate_mutex);
}

/* Take the size that another process gave the map. */
static int follow_map(struct fab_store *store)
{
    store_gate_close(store);
    int rc = mdb_env_set_mapsize(store->env, 0);
    store_gate_open(store);
    return rc;
}

enum fab_rc store_read_begin(struct fab_store *store, MDB_txn **out)
{
    for (;;) {
        store_gate_enter(store, false);
        int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, out);
        if (rc == MDB_SUCCESS)
            return FAB_OK;
        store_gate_leave(store);
        if (rc == MDB_READERS_FULL) {
            int dead = 0;
            if (mdb_reader_check(store->env, &dead) == MDB_SUCCESS && dead > 0)
                continue;
        }
        if (rc != MDB_MAP_RESIZED)
            return store_rc(rc);
        rc = follow_map(store);
        if (rc)
            return store_rc(rc);
    }
}

void store_read_end(struct fab_store *store, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    store_gate_leave(store);
}

static int turnstile(struct fab_store *store, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    while (fcntl(store->turn_fd, F_OFD_SETLKW, &lock) != 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

static int writer_begin(struct fab_store *store, unsigned flags, MDB_txn **out)
{
    int rc = turnstile(store, F_WRLCK);
    if (rc)
        return rc;
    rc = mdb_txn_begin(store->env, NULL, flags, out);
    int unlocked = turnstile(store, F_UNLCK);
    if (rc == MDB_SUCCESS && unlocked) {
        mdb_txn_abort(*out);
        rc = unlocked;
    }
    return rc;
}

/* Map bytes beyond the last page in use. */
static uint64_t headroom(struct fab_store *store, uint64_t *map)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(store->env, &info);
    mdb_env_stat(store->env, &stat);
    *map = info.me_mapsize;
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    return used < info.me_mapsize ? info.me_mapsize - used : 0;
}

static int grow(struct fab_store *store, uint64_t map)
{
    uint64_t want =
        map * 2 > map + 2 * (uint64_t)STORE_HEADROOM ? map * 2 : map + 2 * (uint64_t)STORE_HEADROOM;
    store_gate_close(store);
    int rc = mdb_env_set_mapsize(store->env, want);
    if (rc == ENOMEM)
        rc = mdb_env_set_mapsize(store->env, map + 2 * (uint64_t)STORE_HEADROOM);
    if (rc && mdb_env_set_mapsize(store->env, map) != MDB_SUCCESS)
        rc = MDB_PANIC; /* not even the old map fits any more */
    store_gate_open(store);
    return rc;
}

enum fab_rc store_write_begin(struct fab_store *store, unsigned flags, MDB_txn **out,
                              struct fab_err *err)
{
    pthread_mutex_lock(&store->write_mutex);
    int rc;
    for (;;) {
        store_gate_enter(store, false);
        rc = writer_begin(store, flags, out);
        if (rc == MDB_MAP_RESIZED) {
            store_gate_leave(store);
            rc = follow_map(store);
            if (rc == MDB_SUCCESS)
                continue;
            break;
        }
        if (rc != MDB_SUCCESS) {
            store_gate_leave(store);
            break;
        }
        uint64_t map;
        if (headroom(store, &map) >= STORE_HEADROOM)
            return FAB_OK; /* write_mutex and gate are held until commit or abort */
        mdb_txn_abort(*out);
        store_gate_leave(store);
        rc = grow(store, map);
        if (rc == ENOMEM) {
            pthread_mutex_unlock(&store->write_mutex);
            return fab_err_set(err, FAB_ENOSPC,
                               "store %s: the address space is used up (map of %llu bytes); raise "
                               "the limit of virtual memory (ulimit -v)",
                               store->dir, (unsigned long long)map);
        }
        if (rc)
            break;
    }
    pthread_mutex_unlock(&store->write_mutex);
    return store_err(err, store, rc, "cannot begin to write");
}

static bool disk_below(const struct fab_store *store, uint64_t bytes)
{
    struct statvfs fs;
    return fstatvfs(store->dirfd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < bytes;
}

bool store_disk_short(const struct fab_store *store)
{
    return disk_below(store, 2 * (uint64_t)STORE_BATCH_DISK);
}

/* LMDB reports a write that was cut short by a full disk as EIO. */
static int name_full_disk(const struct fab_store *store, int rc)
{
    return rc == EIO && disk_below(store, FULL_DISK) ? ENOSPC : rc;
}

enum fab_rc store_write_commit(struct fab_store *store, MDB_txn *txn, struct fab_err *err)
{
    int rc = store_extents_sync(store);
    if (rc) {
        store_extents_abort(store);
        mdb_txn_abort(txn);
    } else {
        rc = mdb_txn_commit(txn);
        store_extents_forget(store);
    }
    rc = name_full_disk(store, rc);
    store_gate_leave(store);
    pthread_mutex_unlock(&store->write_mutex);
    if (rc == ENOSPC)
        (void)!store_extents_cut(
            store); /* the commit failed, and what it appended is still there */
    return rc ? store_err(err, store, rc, "cannot write") : FAB_OK;
}

void store_write_abort(struct fab_store *store, MDB_txn *txn)
{
    store_extents_abort(store);
    mdb_txn_abort(txn);
    store_gate_leave(store);
    pthread_mutex_unlock(&store->write_mutex);
}

enum fab_rc store_write_barrier(struct fab_store *store)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, NULL));
    store_write_abort(store, txn);
    return FAB_OK;
}
