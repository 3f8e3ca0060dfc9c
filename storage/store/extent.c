/* Blocks too large for the pages of a B-tree: extents of `blocks.dat`, whole pages of 4 KiB each.
 *
 * The file holds bytes and nothing else; where a block lies, and what is free (room.c), stands in
 * tables that change in the same transaction as everything else. So a write is bytes into room that
 * no committed state uses (bytes.c), and a row; it counts when the transaction does, whose commit
 * syncs the file first. A block is read in place, through maps of 256 MiB (a segment, whose border
 * no extent crosses) that are made when they are first needed. */
#include "storage/store/room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUNCH_MIN 16u /* pages */
#define ROW       12  /* an extent's row: its page u64, its bytes u32 */

/* ---- life ---- */

enum fab_rc store_extents_open(struct fab_store *store, struct fab_err *err)
{
    struct store_extents *ext = calloc(1, sizeof *ext);
    if (!ext)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    ext->fd = openat(store->dirfd, "blocks.dat", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (ext->fd < 0) {
        int error = errno;
        free(ext);
        return fab_err_errno(err, error, "store %s: cannot open blocks.dat", store->dir);
    }
    /* Not every file system has it; then everything goes through the page cache. */
    ext->direct_fd =
        store->memory_fs ? -1 : openat(store->dirfd, "blocks.dat", O_WRONLY | O_DIRECT | O_CLOEXEC);
    store->extents = ext;
    return FAB_OK;
}

void store_extents_close(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    if (!ext)
        return;
    for (size_t i = 0; i < EXTENT_SEGMENTS; i++) {
        uint8_t *map = atomic_load(&ext->segment[i]);
        if (map)
            munmap(map, EXTENT_SEGMENT);
    }
    if (ext->direct_fd >= 0)
        close(ext->direct_fd);
    close(ext->fd);
    free(ext);
    store->extents = NULL;
}

/* Is the file at least so long? Whatever a snapshot needs stays, so an old answer still holds. Not
 * so where somebody has restored data.mdb alone; a read behind the end would end the process. */
static bool reaches(struct store_extents *ext, uint64_t bytes)
{
    struct stat st;
    if (bytes <= atomic_load_explicit(&ext->size, memory_order_relaxed))
        return true;
    if (fstat(ext->fd, &st) != 0)
        return false;
    atomic_store_explicit(&ext->size, (uint64_t)st.st_size, memory_order_relaxed);
    return bytes <= (uint64_t)st.st_size;
}

/* The file is longer than what is mapped of it, or shorter: only pages that are there are touched.
 */
static enum fab_rc segment(struct store_extents *ext, uint64_t i, uint8_t **out)
{
    if (i >= EXTENT_SEGMENTS)
        return FAB_ELIMIT;
    *out = atomic_load_explicit(&ext->segment[i], memory_order_acquire);
    if (*out)
        return FAB_OK;
    uint8_t *map =
        mmap(NULL, EXTENT_SEGMENT, PROT_READ, MAP_SHARED, ext->fd, (off_t)(i * EXTENT_SEGMENT));
    if (map == MAP_FAILED)
        return fab_rc_errno(errno);
    if (atomic_compare_exchange_strong(&ext->segment[i], out, map))
        *out = map;
    else
        munmap(map, EXTENT_SEGMENT); /* another thread was faster */
    return FAB_OK;
}

/* ---- blocks ---- */

enum fab_rc store_extent_write(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                               struct fab_slice data, bool past_cache)
{
    MDB_val key = store_val(mh), value;
    uint64_t page;
    int rc = mdb_get(txn, store->dbi[DBI_EXTENTS], &key, &value);
    if (rc != MDB_NOTFOUND)
        return rc ? store_rc(rc) : FAB_EEXIST;
    FAB_TRY(store_room_take(store, txn, store_pages_of(data.n), &page));
    FAB_TRY(store_bytes_write(store, data, page, past_cache));
    uint8_t row[ROW];
    store_le_put(row, 8, page);
    store_le_put(row + 8, 4, data.n);
    value = (MDB_val){sizeof row, row};
    return store_rc(mdb_put(txn, store->dbi[DBI_EXTENTS], &key, &value, 0));
}

static enum fab_rc row_get(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                           uint64_t *page, uint32_t *bytes)
{
    MDB_val key = store_val(mh), value;
    int rc = mdb_get(txn, store->dbi[DBI_EXTENTS], &key, &value);
    if (rc)
        return store_rc(rc);
    if (value.mv_size != ROW)
        return FAB_EFORMAT;
    *page = store_le_get(value.mv_data, 8);
    *bytes = (uint32_t)store_le_get((uint8_t *)value.mv_data + 8, 4);
    return FAB_OK;
}

/* Where a block lies, which the file has. */
static enum fab_rc find(struct fab_store *store, MDB_txn *txn, struct fab_slice mh, uint64_t *page,
                        uint32_t *bytes)
{
    FAB_TRY(row_get(store, txn, mh, page, bytes));
    if (*page % EXTENT_SEGMENT_PAGES + store_pages_of(*bytes) > EXTENT_SEGMENT_PAGES ||
        *page >= EXTENT_SEGMENTS * EXTENT_SEGMENT_PAGES ||
        !reaches(store->extents, *page * EXTENT_PAGE + *bytes))
        return FAB_EFORMAT;
    return FAB_OK;
}

enum fab_rc store_extent_get(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                             struct fab_slice *out)
{
    uint64_t page;
    uint32_t bytes;
    uint8_t *map;
    FAB_TRY(find(store, txn, mh, &page, &bytes));
    FAB_TRY(segment(store->extents, page / EXTENT_SEGMENT_PAGES, &map));
    *out = fab_slice(map + page % EXTENT_SEGMENT_PAGES * EXTENT_PAGE, bytes);
    return FAB_OK;
}

enum fab_rc store_extent_clone(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                               uint64_t n, int fd, uint64_t offset)
{
    uint64_t page;
    uint32_t bytes;
    FAB_TRY(find(store, txn, mh, &page, &bytes));
    if (n > bytes)
        return FAB_EINVAL;
    struct file_clone_range range = {.src_fd = store->extents->fd,
                                     .src_offset = page * EXTENT_PAGE,
                                     .src_length = n,
                                     .dest_offset = offset};
    while (ioctl(fd, FICLONERANGE, &range) != 0)
        if (errno != EINTR)
            return errno == ENOSPC || errno == EDQUOT ? FAB_ENOSPC : FAB_EUNSUPPORTED;
    return FAB_OK;
}

enum fab_rc store_extent_delete(struct fab_store *store, MDB_txn *txn, struct fab_slice mh)
{
    uint64_t page;
    uint32_t bytes;
    MDB_val key = store_val(mh);
    FAB_TRY(row_get(store, txn, mh, &page, &bytes));
    FAB_TRY(store_rc(mdb_del(txn, store->dbi[DBI_EXTENTS], &key, NULL)));
    return store_room_free(store, txn, page, store_pages_of(bytes));
}

/* ---- the whole file ---- */

static void add_pages(void *arg, uint64_t page, uint64_t pages)
{
    (void)page;
    *(uint64_t *)arg += pages * EXTENT_PAGE;
}

enum fab_rc store_extents_free(struct fab_store *store, MDB_txn *txn, uint64_t *out)
{
    *out = 0;
    FAB_TRY(store_room_each(store, txn, DBI_HOLES, add_pages, out));
    return store_room_each(store, txn, DBI_FREED, add_pages, out);
}

enum fab_rc store_extents_size(const struct fab_store *store, uint64_t *out)
{
    struct stat st;
    if (fstat(store->extents->fd, &st) != 0)
        return fab_rc_errno(errno);
    *out = (uint64_t)st.st_blocks * 512;
    return FAB_OK;
}

static void punch(void *arg, uint64_t page, uint64_t pages)
{
    const struct store_extents *ext = arg;
    if (pages >= PUNCH_MIN) /* a file system that cannot keeps the room, for our next blocks */
        (void)!fallocate(ext->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)(page * EXTENT_PAGE), (off_t)(pages * EXTENT_PAGE));
}

/* A transaction without changes is none, and would not let anything ripen. */
static enum fab_rc count_commit(struct fab_store *store, MDB_txn *txn)
{
    uint64_t commits = 0;
    enum fab_rc rc = store_meta_get(store, txn, "commits", 8, &commits);
    return rc == FAB_OK || rc == FAB_ENOENT ? store_meta_put(store, txn, "commits", 8, commits + 1)
                                            : rc;
}

static enum fab_rc give_back_step(struct fab_store *store, bool last, bool *more)
{
    MDB_txn *txn;
    MDB_stat stat = {0};
    FAB_TRY(store_write_begin(store, 0, &txn, NULL));
    enum fab_rc rc = store_room_ripen(store, txn);
    if (rc == FAB_OK)
        rc = store_rc(mdb_stat(txn, store->dbi[DBI_FREED], &stat));
    if (rc == FAB_OK && last)
        rc = store_room_each(store, txn, DBI_HOLES, punch, store->extents);
    if (rc == FAB_OK)
        rc = count_commit(store, txn);
    *more = stat.ms_entries > 0;
    if (rc == FAB_OK)
        return store_write_commit(store, txn, NULL);
    store_write_abort(store, txn);
    return rc;
}

enum fab_rc store_extents_cut(struct fab_store *store)
{
    MDB_txn *txn;
    struct stat st;
    uint64_t end;
    FAB_TRY(store_write_begin(store, 0, &txn, NULL)); /* nobody writes meanwhile */
    enum fab_rc rc = store_room_end(store, txn, &end);
    if (rc == FAB_OK && fstat(store->extents->fd, &st) != 0)
        rc = fab_rc_errno(errno);
    if (rc == FAB_OK && (uint64_t)st.st_size > end * EXTENT_PAGE &&
        ftruncate(store->extents->fd, (off_t)(end * EXTENT_PAGE)) != 0)
        rc = fab_rc_errno(errno);
    store_write_abort(store, txn);
    return rc;
}

enum fab_rc store_extents_give_back(struct fab_store *store)
{
    bool more = true;
    /* Two commits make the newest ripe; then as many as it takes, unless a reader holds on. */
    for (unsigned i = 0; i < 2; i++)
        FAB_TRY(give_back_step(store, false, &more));
    MDB_stat stat;
    for (uint64_t before = UINT64_MAX; more;) {
        MDB_txn *txn;
        FAB_TRY(give_back_step(store, false, &more));
        FAB_TRY(store_read_begin(store, &txn));
        int rc = mdb_stat(txn, store->dbi[DBI_FREED], &stat);
        store_read_end(store, txn);
        if (rc || stat.ms_entries >= before)
            break;
        before = stat.ms_entries;
    }
    return give_back_step(store, true, &more);
}
