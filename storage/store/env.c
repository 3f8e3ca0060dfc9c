/* Opening, closing and describing the environment. */
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAP_MAX      (1ull << 40) /* 1 TiB of address space */
#define MAP_MIN      (1ull << 20)
#define CACHED_SHARE 16 /* of the memory, for what one ingest leaves in the page cache */

/* File systems whose maps and locks are not coherent between hosts (linux/magic.h, statfs(2)). */
static const char *network_fs(long type)
{
    switch ((unsigned long)type & 0xffffffffu) {
    case 0x6969:
        return "NFS";
    case 0x517b:
    case 0xff534d42:
    case 0xfe534d42:
        return "SMB";
    case 0x01021997:
        return "9p";
    case 0x5346414f:
    case 0x6b414653:
        return "AFS";
    case 0x00c36400:
        return "Ceph";
    case 0x65735546:
        return "FUSE";
    case 0x73757245:
        return "Coda";
    case 0x47504653:
        return "GPFS";
    case 0x0bd00bd0:
        return "Lustre";
    default:
        return NULL;
    }
}

static enum fab_rc check_fs(struct fab_store *store, struct fab_err *err)
{
    struct statfs fs;
    if (fstatfs(store->dirfd, &fs) != 0)
        return fab_err_errno(err, errno, "store %s: cannot stat the file system", store->dir);
    const char *name = network_fs((long)fs.f_type);
    if (name)
        return fab_err_set(
            err, FAB_EUNSUPPORTED,
            "store %s: a store cannot lie on a %s file system, whose memory maps are not "
            "coherent; choose a local directory with --home",
            store->dir, name);
    store->memory_fs = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
    return FAB_OK;
}

static enum fab_rc open_file(struct fab_store *store, const char *name, int *out,
                             struct fab_err *err)
{
    *out = openat(store->dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*out < 0)
        return fab_err_errno(err, errno, "store %s: cannot open %s", store->dir, name);
    return FAB_OK;
}

/* Map as much address space as there is, down to MAP_MIN. */
enum fab_rc store_env_open(struct fab_store *store, struct fab_err *err)
{
    for (uint64_t map = store->map_bytes;; map /= 2) {
        int rc = mdb_env_create(&store->env);
        if (rc)
            return store_err(err, store, rc, "cannot open");
        mdb_env_set_maxdbs(store->env, DBI_N);
        mdb_env_set_maxreaders(store->env, 1024);
        rc = mdb_env_set_mapsize(store->env, map);
        if (!rc)
            rc = mdb_env_open(store->env, store->dir, MDB_NOTLS, 0600);
        mdb_filehandle_t fd;
        /* LMDB leaves this one open for whatever is executed. */
        if (!rc && mdb_env_get_fd(store->env, &fd) == 0)
            (void)!fcntl(fd, F_SETFD, FD_CLOEXEC);
        if (!rc)
            return FAB_OK;
        mdb_env_close(store->env);
        store->env = NULL;
        if (rc != ENOMEM || map / 2 < MAP_MIN)
            return store_err(err, store, rc, "cannot open");
    }
}

void store_env_close(struct fab_store *store)
{
    if (store->env)
        mdb_env_close(store->env);
    store->env = NULL;
}

static const char *const dbi_name[DBI_N] = {"meta",  "ws",     "blocks",  "space", "pins", "pinlog",
                                            "roots", "tables", "extents", "holes", "fits", "freed"};

static int open_tables(struct fab_store *store, MDB_txn *txn, unsigned flags)
{
    for (unsigned i = 0; i < DBI_N; i++) {
        int rc = mdb_dbi_open(txn, dbi_name[i], flags, &store->dbi[i]);
        if (rc)
            return rc;
    }
    return MDB_SUCCESS;
}

static enum fab_rc state_error(const struct fab_store *store, enum fab_rc rc, struct fab_err *err)
{
    return fab_err_set(err, rc, "store %s: cannot read its state: %s", store->dir, fab_rc_text(rc));
}

static enum fab_rc check_format(const struct fab_store *store, uint64_t format, struct fab_err *err)
{
    if (format <= STORE_FORMAT)
        return FAB_OK;
    return fab_err_set(err, FAB_EUNSUPPORTED,
                       "store %s: format %llu is newer than this program's %u; use a newer fabric",
                       store->dir, (unsigned long long)format, STORE_FORMAT);
}

/* Whether format 1 has left large blocks among the small ones. */
static enum fab_rc read_inline(struct fab_store *store, MDB_txn *txn)
{
    uint64_t inlined = 0;
    enum fab_rc rc = store_meta_get(store, txn, "inline", 4, &inlined);
    store->inline_blocks = inlined != 0;
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

static enum fab_rc make_tables(struct fab_store *store, struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    int mrc = open_tables(store, txn, MDB_CREATE);
    if (mrc) {
        store_write_abort(store, txn);
        return store_err(err, store, mrc, "cannot make the tables");
    }
    uint64_t format;
    enum fab_rc rc = store_meta_get(store, txn, "format", 4, &format);
    if (rc == FAB_OK && check_format(store, format, err) != FAB_OK) {
        store_write_abort(store, txn);
        return FAB_EUNSUPPORTED;
    }
    if (rc == FAB_ENOENT) {
        struct fab_workspace_info local;
        rc = store_meta_put(store, txn, "format", 4, STORE_FORMAT);
        if (rc == FAB_OK)
            rc = store_meta_put(store, txn, "gen", 8, 1);
        if (rc == FAB_OK)
            rc = store_ws_make(store, txn, FAB_WORKSPACE_LOCAL, &local);
    } else if (rc == FAB_OK && format < STORE_FORMAT) {
        /* Format 1 had every block in `blocks`: those stay there, and are still found. */
        rc = store_meta_put(store, txn, "format", 4, STORE_FORMAT);
        if (rc == FAB_OK)
            rc = store_meta_put(store, txn, "inline", 4, 1);
    }
    if (rc == FAB_OK)
        rc = read_inline(store, txn);
    if (rc != FAB_OK) {
        store_write_abort(store, txn);
        return fab_err_set(err, rc, "store %s: cannot make the tables: %s", store->dir,
                           fab_rc_text(rc));
    }
    FAB_TRY(store_write_commit(store, txn, err));
    if (!store->memory_fs &&
        fsync(store->dirfd) != 0) /* the files' names, too, are there to stay */
        return fab_err_errno(err, errno, "store %s: cannot sync the directory", store->dir);
    return FAB_OK;
}

/* The tables are there in all but the first open, which then costs no write transaction. */
static enum fab_rc find_tables(struct fab_store *store, struct fab_err *err)
{
    MDB_txn *txn;
    enum fab_rc rc = store_read_begin(store, &txn);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "store %s: cannot begin to read: %s", store->dir,
                           fab_rc_text(rc));
    int mrc = open_tables(store, txn, 0);
    uint64_t format = 0;
    if (mrc == MDB_SUCCESS)
        rc = store_meta_get(store, txn, "format", 4, &format);
    if (mrc == MDB_SUCCESS && rc == FAB_OK) {
        rc = read_inline(store, txn);
        mrc = mdb_txn_commit(txn); /* keeps the table handles */
        store_gate_leave(store);
        if (mrc)
            return store_err(err, store, mrc, "cannot open the tables");
        return rc == FAB_OK ? check_format(store, format, err) : state_error(store, rc, err);
    }
    store_read_end(store, txn);
    if (mrc != MDB_NOTFOUND && mrc != MDB_SUCCESS)
        return store_err(err, store, mrc, "cannot open the tables");
    if (mrc == MDB_SUCCESS && rc != FAB_ENOENT)
        return state_error(store, rc, err);
    return make_tables(store, err);
}

enum fab_rc store_env_reopen(struct fab_store *store, struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_env_open(store, err));
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc == MDB_SUCCESS && (rc = open_tables(store, txn, 0)) != MDB_SUCCESS)
        mdb_txn_abort(txn);
    else if (rc == MDB_SUCCESS)
        rc = mdb_txn_commit(txn);
    return rc ? store_err(err, store, rc, "cannot open the tables") : FAB_OK;
}

static enum fab_rc lock_open(struct fab_store *store, struct fab_err *err)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    while (fcntl(store->open_fd, F_OFD_SETLKW, &lock) != 0)
        if (errno != EINTR)
            return fab_err_errno(err, errno, "store %s: cannot lock", store->dir);
    return FAB_OK;
}

static enum fab_rc open_dir(struct fab_store *store, bool create, struct fab_err *err)
{
    if (create && mkdir(store->dir, 0700) != 0 && errno != EEXIST)
        return fab_err_errno(err, errno, "cannot make the store %s", store->dir);
    store->dirfd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->dirfd < 0)
        return fab_err_errno(err, errno, "cannot open the store %s", store->dir);
    if (!create && faccessat(store->dirfd, "data.mdb", F_OK, 0) != 0)
        return fab_err_set(err, FAB_ENOENT, "there is no store in %s", store->dir);
    if (mkdirat(store->dirfd, "leases", 0700) != 0 && errno != EEXIST)
        return fab_err_errno(err, errno, "store %s: cannot make leases", store->dir);
    return FAB_OK;
}

enum fab_rc fab_store_open(const char *dir, const struct fab_store_options *options,
                           struct fab_store **out, struct fab_err *err)
{
    static const struct fab_store_options none;
    if (!options)
        options = &none;
    struct fab_store *store = calloc(1, sizeof *store);
    if (!store)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    store->dirfd = store->open_fd = store->turn_fd = -1;
    store->map_bytes = options->map_bytes ? options->map_bytes : MAP_MAX;
    store->cached = options->cached ? options->cached
                                    : (uint64_t)sysconf(_SC_PHYS_PAGES) *
                                          (uint64_t)sysconf(_SC_PAGESIZE) / CACHED_SHARE;
    store->quota = options->quota_bytes;
    store->high_water = options->high_water ? options->high_water : STORE_HIGH_WATER;
    pthread_mutex_init(&store->write_mutex, NULL);
    pthread_mutex_init(&store->gate_mutex, NULL);
    pthread_cond_init(&store->gate_cond, NULL);
    enum fab_rc rc = FAB_ENOMEM;
    store->dir = strdup(dir);
    if (store->dir)
        rc = open_dir(store, !options->no_create, err);
    else
        fab_err_set(err, rc, "out of memory");
    if (rc == FAB_OK)
        rc = check_fs(store, err);
    if (rc == FAB_OK)
        rc = open_file(store, "open.lock", &store->open_fd, err);
    if (rc == FAB_OK)
        rc = open_file(store, "turn.lock", &store->turn_fd, err);
    if (rc == FAB_OK)
        rc = lock_open(store, err);
    if (rc == FAB_OK)
        rc = store_extents_open(store, err);
    if (rc == FAB_OK)
        rc = store_env_open(store, err);
    if (rc == FAB_OK) {
        int dead;
        mdb_reader_check(store->env, &dead);
        rc = find_tables(store, err);
    }
    if (rc != FAB_OK) {
        fab_store_close(store);
        return rc;
    }
    *out = store;
    return FAB_OK;
}

void fab_store_close(struct fab_store *store)
{
    if (!store)
        return;
    store_env_close(store);
    store_extents_close(store);
    if (store->turn_fd >= 0)
        close(store->turn_fd);
    if (store->open_fd >= 0)
        close(store->open_fd);
    if (store->dirfd >= 0)
        close(store->dirfd);
    pthread_cond_destroy(&store->gate_cond);
    pthread_mutex_destroy(&store->gate_mutex);
    pthread_mutex_destroy(&store->write_mutex);
    free(store->dir);
    free(store);
}

/* Pages on the free list: table 0 maps a transaction to a counted array of page numbers. */
static enum fab_rc free_pages(MDB_txn *txn, uint64_t *out)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc)
        return store_rc(rc);
    uint64_t pages = 0;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        size_t n;
        if (value.mv_size < sizeof n)
            continue;
        memcpy(&n, value.mv_data, sizeof n);
        pages += n;
    }
    mdb_cursor_close(cursor);
    *out = pages;
    return rc == MDB_NOTFOUND ? FAB_OK : store_rc(rc);
}

static enum fab_rc read_info(struct fab_store *store, MDB_txn *txn, struct fab_store_info *info)
{
    uint64_t format = 0, pages = 0;
    FAB_TRY(store_meta_get(store, txn, "format", 4, &format));
    enum fab_rc rc = store_meta_get(store, txn, "bytes", 8, &info->bytes);
    if (rc == FAB_OK)
        rc = store_meta_get(store, txn, "blocks", 8, &info->blocks);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    FAB_TRY(free_pages(txn, &pages));
    MDB_stat stat;
    mdb_env_stat(store->env, &stat);
    FAB_TRY(store_extents_free(store, txn, &info->free_bytes));
    info->free_bytes += pages * stat.ms_psize;
    info->format = (unsigned)format;
    info->quota = store->quota;
    return FAB_OK;
}

enum fab_rc fab_store_info(struct fab_store *store, struct fab_store_info *out, struct fab_err *err)
{
    struct fab_store_info info = {0};
    MDB_txn *txn;
    enum fab_rc rc = store_read_begin(store, &txn);
    if (rc == FAB_OK) {
        rc = read_info(store, txn, &info);
        store_read_end(store, txn);
    }
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "store %s: cannot read its state: %s", store->dir,
                           fab_rc_text(rc));
    struct stat st;
    struct statvfs fs;
    if (fstatat(store->dirfd, "data.mdb", &st, 0) != 0 || fstatvfs(store->dirfd, &fs) != 0)
        return fab_err_errno(err, errno, "store %s: cannot stat data.mdb", store->dir);
    rc = store_extents_size(store, &info.file_bytes);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "store %s: cannot stat blocks.dat: %s", store->dir,
                           fab_rc_text(rc));
    info.file_bytes += (uint64_t)st.st_blocks * 512;
    info.disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    *out = info;
    return FAB_OK;
}

uint64_t fab_store_version(struct fab_store *store)
{
    MDB_envinfo info;
    store_gate_enter(store, false);
    mdb_env_info(store->env, &info);
    store_gate_leave(store);
    return info.me_last_txnid;
}
