/* Blocks too large for the pages of a B-tree: extents of `blocks.dat`, whole pages of 4 KiB each.
 *
 * The file holds bytes and nothing else; where a block lies, and what is free, stands in tables
 * that change in the same transaction as everything else. So a write is one pwrite into room that
 * no committed state uses, and then a row; it counts when the transaction does, whose commit syncs
 * the file first. A block is read in place, through maps of 256 MiB (a segment, whose border no
 * extent crosses) that are made when they are first needed.
 *
 *     end of the file ─┐
 *     holes ───────────┴─▶ a block ──delete──▶ freed ──ripe──▶ holes (or the file's end moves back)
 *
 * What a transaction frees is ripe when no reader's snapshot is older, and when no crash can lead
 * back behind it: a commit syncs the data, not its own meta page, so the state after transaction N
 * is sure to stay only when N + 1 has been committed too. These are LMDB's own rules for its pages.
 *
 * Room is taken from the smallest hole that is large enough, and neighbours are joined again. */
#include "storage/store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE          FAB_CLONE_UNIT
#define SEGMENT       ((uint64_t)256 << 20)
#define SEGMENT_PAGES (SEGMENT / PAGE)
#define SEGMENTS      65536u /* 16 TiB; about as many maps as Linux allows a process */
#define RIPEN_AT_ONCE 1024u  /* rows in one transaction: a few milliseconds */
#define NUDGE_BYTES   (8u << 20)
#define PUNCH_MIN     16u /* pages */
#define ROW           12  /* an extent's row: its page u64, its bytes u32 */

struct store_extents {
    int fd;
    bool dirty;    /* the open transaction has written */
    bool appended; /* and has moved the end on, from `end` */
    uint64_t end;
    size_t nudged;         /* bytes written since the disk was told to begin */
    uint64_t ripened;      /* the transaction in which this was done last */
    _Atomic uint64_t size; /* of the file, when a reader looked last */
    _Atomic(uint8_t *) segment[SEGMENTS];
};

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
    store->extents = ext;
    return FAB_OK;
}

void store_extents_close(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    if (!ext)
        return;
    for (size_t i = 0; i < SEGMENTS; i++) {
        uint8_t *map = atomic_load(&ext->segment[i]);
        if (map)
            munmap(map, SEGMENT);
    }
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
    if (i >= SEGMENTS)
        return FAB_ELIMIT;
    *out = atomic_load_explicit(&ext->segment[i], memory_order_acquire);
    if (*out)
        return FAB_OK;
    uint8_t *map = mmap(NULL, SEGMENT, PROT_READ, MAP_SHARED, ext->fd, (off_t)(i * SEGMENT));
    if (map == MAP_FAILED)
        return fab_rc_errno(errno);
    if (atomic_compare_exchange_strong(&ext->segment[i], out, map))
        *out = map;
    else
        munmap(map, SEGMENT); /* another thread was faster */
    return FAB_OK;
}

/* ---- rows ---- */

static uint64_t be_get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static void be_put(uint8_t *p, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static int put(struct fab_store *store, MDB_txn *txn, enum store_dbi table, const uint8_t *key,
               size_t key_n, const void *value, size_t value_n)
{
    MDB_val k = {key_n, (void *)(uintptr_t)key}, v = {value_n, (void *)(uintptr_t)value};
    return mdb_put(txn, store->dbi[table], &k, &v, 0);
}

static int del(struct fab_store *store, MDB_txn *txn, enum store_dbi table, const uint8_t *key,
               size_t n)
{
    MDB_val k = {n, (void *)(uintptr_t)key};
    return mdb_del(txn, store->dbi[table], &k, NULL);
}

static uint64_t pages_of(size_t bytes)
{
    return ((uint64_t)bytes + PAGE - 1) / PAGE;
}

static enum fab_rc end_get(struct fab_store *store, MDB_txn *txn, uint64_t *out)
{
    *out = 0;
    enum fab_rc rc = store_meta_get(store, txn, "end", 8, out);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

/* ---- holes: `holes` by place, `fits` by size ---- */

struct hole {
    uint64_t page, pages;
};

static void fits_key(uint8_t key[12], const struct hole *hole)
{
    be_put(key, 4, hole->pages);
    be_put(key + 4, 8, hole->page);
}

static enum fab_rc hole_put(struct fab_store *store, MDB_txn *txn, const struct hole *hole)
{
    uint8_t place[8], fits[12], pages[4];
    be_put(place, 8, hole->page);
    store_le_put(pages, 4, hole->pages);
    fits_key(fits, hole);
    int rc = put(store, txn, DBI_HOLES, place, sizeof place, pages, sizeof pages);
    if (!rc)
        rc = put(store, txn, DBI_FITS, fits, sizeof fits, "", 0);
    return store_rc(rc);
}

static enum fab_rc hole_del(struct fab_store *store, MDB_txn *txn, const struct hole *hole)
{
    uint8_t place[8], fits[12];
    be_put(place, 8, hole->page);
    fits_key(fits, hole);
    int rc = del(store, txn, DBI_HOLES, place, sizeof place);
    if (!rc)
        rc = del(store, txn, DBI_FITS, fits, sizeof fits);
    return store_rc(rc);
}

static bool hole_read(MDB_val key, MDB_val value, struct hole *out)
{
    if (key.mv_size != 8 || value.mv_size != 4)
        return false;
    *out = (struct hole){be_get(key.mv_data, 8), store_le_get(value.mv_data, 4)};
    return true;
}

/* The holes right before and right behind the place, in its segment; pages 0: none. */
static enum fab_rc neighbours(struct fab_store *store, MDB_txn *txn, const struct hole *at,
                              struct hole *before, struct hole *behind)
{
    MDB_cursor *cursor;
    uint8_t place[8];
    struct hole found;
    be_put(place, 8, at->page);
    *before = *behind = (struct hole){0};
    int rc = mdb_cursor_open(txn, store->dbi[DBI_HOLES], &cursor);
    if (rc)
        return store_rc(rc);
    MDB_val key = {sizeof place, place}, value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS && hole_read(key, value, &found) && found.page == at->page + at->pages &&
        found.page % SEGMENT_PAGES != 0)
        *behind = found;
    if (rc == MDB_SUCCESS || rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (rc == MDB_SUCCESS && hole_read(key, value, &found) &&
        found.page + found.pages == at->page && at->page % SEGMENT_PAGES != 0)
        *before = found;
    mdb_cursor_close(cursor);
    return rc == MDB_SUCCESS || rc == MDB_NOTFOUND ? FAB_OK : store_rc(rc);
}

/* The pages are free: joined to the holes beside them. */
static enum fab_rc hole_add(struct fab_store *store, MDB_txn *txn, struct hole hole)
{
    struct hole before, behind;
    FAB_TRY(neighbours(store, txn, &hole, &before, &behind));
    if (before.pages) {
        FAB_TRY(hole_del(store, txn, &before));
        hole.page = before.page;
        hole.pages += before.pages;
    }
    if (behind.pages) {
        FAB_TRY(hole_del(store, txn, &behind));
        hole.pages += behind.pages;
    }
    return hole_put(store, txn, &hole);
}

/* The hole that ends at the page. FAB_ENOENT. */
static enum fab_rc hole_before(struct fab_store *store, MDB_txn *txn, uint64_t end,
                               struct hole *out)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, store->dbi[DBI_HOLES], &cursor);
    if (rc)
        return store_rc(rc);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    bool found = rc == MDB_SUCCESS && hole_read(key, value, out) && out->page + out->pages == end;
    mdb_cursor_close(cursor);
    return rc == MDB_SUCCESS && !found ? FAB_ENOENT : store_rc(rc);
}

/* What is free at the end of the file is no hole: the end moves back, and the disk has it again. */
static enum fab_rc trim_end(struct fab_store *store, MDB_txn *txn)
{
    uint64_t end, was;
    struct hole last;
    enum fab_rc rc;
    FAB_TRY(end_get(store, txn, &end));
    for (was = end; (rc = hole_before(store, txn, end, &last)) == FAB_OK; end = last.page)
        FAB_TRY(hole_del(store, txn, &last));
    if (rc != FAB_ENOENT || end == was)
        return rc == FAB_ENOENT ? FAB_OK : rc;
    FAB_TRY(store_meta_put(store, txn, "end", 8, end));
    (void)!ftruncate(store->extents->fd, (off_t)(end * PAGE)); /* else it stays longer: no harm */
    return FAB_OK;
}

/* ---- what was freed ---- */

struct oldest {
    uint64_t txn;
};

/* A line of LMDB's table of readers: process, thread, snapshot or "-". */
static int see_reader(const char *line, void *arg)
{
    struct oldest *oldest = arg;
    char id[32];
    if (sscanf(line, "%*s %*s %31s", id) != 1 || id[0] < '0' || id[0] > '9')
        return 0;
    uint64_t txn = strtoull(id, NULL, 10);
    if (txn < oldest->txn)
        oldest->txn = txn;
    return 0;
}

/* One row of `freed` that is ripe, taken from the table. FAB_ENOENT. A compaction, which nobody
 * else can be beside, begins LMDB's numbers anew: what has a number still to come is from before
 * it. */
static enum fab_rc take_ripe(MDB_cursor *cursor, uint64_t now, uint64_t until, struct hole *out)
{
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (!rc && key.mv_size == 16 && be_get(key.mv_data, 8) > until)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc)
        return store_rc(rc);
    if (key.mv_size != 16 || value.mv_size != 4)
        return FAB_EFORMAT;
    uint64_t freed = be_get(key.mv_data, 8);
    if (freed > until && freed <= now)
        return FAB_ENOENT;
    *out = (struct hole){be_get((uint8_t *)key.mv_data + 8, 8), store_le_get(value.mv_data, 4)};
    return store_rc(mdb_cursor_del(cursor, 0));
}

/* Move what is ripe to the holes, once in a transaction and not more than a few milliseconds'
 * worth.
 */
static enum fab_rc ripen(struct fab_store *store, MDB_txn *txn)
{
    struct store_extents *ext = store->extents;
    uint64_t now = mdb_txn_id(txn);
    MDB_cursor *cursor;
    MDB_stat stat;
    if (ext->ripened == now || now < 2)
        return FAB_OK;
    ext->ripened = now;
    int rc = mdb_stat(txn, store->dbi[DBI_FREED], &stat);
    if (rc || stat.ms_entries == 0)
        return store_rc(rc);
    struct oldest oldest = {.txn = now - 2};
    rc = mdb_reader_list(store->env, see_reader, &oldest);
    if (rc < 0)
        return store_rc(rc);
    rc = mdb_cursor_open(txn, store->dbi[DBI_FREED], &cursor);
    if (rc)
        return store_rc(rc);
    enum fab_rc result = FAB_OK;
    struct hole hole;
    unsigned taken = 0;
    for (; taken < RIPEN_AT_ONCE && result == FAB_OK; taken++) {
        result = take_ripe(cursor, now, oldest.txn, &hole);
        if (result == FAB_OK)
            result = hole_add(store, txn, hole);
    }
    mdb_cursor_close(cursor);
    if (result != FAB_OK && result != FAB_ENOENT)
        return result;
    return taken > 0 ? trim_end(store, txn) : FAB_OK;
}

/* ---- room ---- */

/* The smallest hole of at least so many pages. FAB_ENOENT. */
static enum fab_rc hole_find(struct fab_store *store, MDB_txn *txn, uint64_t pages,
                             struct hole *out)
{
    MDB_cursor *cursor;
    uint8_t least[12];
    fits_key(least, &(struct hole){.pages = pages});
    int rc = mdb_cursor_open(txn, store->dbi[DBI_FITS], &cursor);
    if (rc)
        return store_rc(rc);
    MDB_val key = {sizeof least, least}, value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    bool right = key.mv_size == sizeof least;
    if (rc == MDB_SUCCESS && right)
        *out = (struct hole){be_get((uint8_t *)key.mv_data + 4, 8), be_get(key.mv_data, 4)};
    mdb_cursor_close(cursor);
    return rc == MDB_SUCCESS && !right ? FAB_EFORMAT : store_rc(rc);
}

static enum fab_rc allocate(struct fab_store *store, MDB_txn *txn, uint64_t pages, uint64_t *out)
{
    struct hole hole;
    FAB_TRY(ripen(store, txn));
    enum fab_rc rc = hole_find(store, txn, pages, &hole);
    if (rc == FAB_OK) {
        FAB_TRY(hole_del(store, txn, &hole));
        *out = hole.page;
        if (hole.pages == pages)
            return FAB_OK;
        hole.page += pages;
        hole.pages -= pages;
        return hole_put(store, txn, &hole);
    }
    if (rc != FAB_ENOENT)
        return rc;
    uint64_t end;
    FAB_TRY(end_get(store, txn, &end));
    if (!store->extents->appended)
        store->extents->end = end;
    store->extents->appended = true;
    uint64_t left = SEGMENT_PAGES - end % SEGMENT_PAGES;
    if (left < pages) {
        FAB_TRY(hole_add(store, txn, (struct hole){end, left}));
        end += left;
    }
    if (end + pages > SEGMENTS * SEGMENT_PAGES)
        return FAB_ENOSPC;
    *out = end;
    return store_meta_put(store, txn, "end", 8, end + pages);
}

/* ---- blocks ---- */

/* Whole pages: to write a part of one that is not in memory, the kernel would have to read it. */
static enum fab_rc write_at(struct fab_store *store, struct fab_slice data, uint64_t page)
{
    static const uint8_t zeros[PAGE];
    struct store_extents *ext = store->extents;
    size_t whole = pages_of(data.n) * PAGE, done = 0;
    ext->dirty = true;
    while (done < whole) {
        size_t left = done < data.n ? data.n - done : 0;
        struct iovec parts[2] = {{(void *)(uintptr_t)(data.p + data.n - left), left},
                                 {(void *)(uintptr_t)zeros, left ? whole - data.n : whole - done}};
        ssize_t n = pwritev(ext->fd, parts, 2, (off_t)(page * PAGE + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fab_rc_errno(errno);
        done += (size_t)n;
    }
    ext->nudged += data.n;
    if (!store->memory_fs && ext->nudged >= NUDGE_BYTES) {
        /* So that the disk works while the next blocks come. A hint: the commit syncs. */
        (void)!sync_file_range(ext->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        ext->nudged = 0;
    }
    return FAB_OK;
}

enum fab_rc store_extent_write(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                               struct fab_slice data)
{
    MDB_val key = store_val(mh), value;
    uint64_t page;
    int rc = mdb_get(txn, store->dbi[DBI_EXTENTS], &key, &value);
    if (rc != MDB_NOTFOUND)
        return rc ? store_rc(rc) : FAB_EEXIST;
    FAB_TRY(allocate(store, txn, pages_of(data.n), &page));
    FAB_TRY(write_at(store, data, page));
    uint8_t row[ROW];
    store_le_put(row, 8, page);
    store_le_put(row + 8, 4, data.n);
    return store_rc(put(store, txn, DBI_EXTENTS, mh.p, mh.n, row, sizeof row));
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
    if (*page % SEGMENT_PAGES + pages_of(*bytes) > SEGMENT_PAGES ||
        *page >= SEGMENTS * SEGMENT_PAGES || !reaches(store->extents, *page * PAGE + *bytes))
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
    FAB_TRY(segment(store->extents, page / SEGMENT_PAGES, &map));
    *out = fab_slice(map + page % SEGMENT_PAGES * PAGE, bytes);
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
                                     .src_offset = page * PAGE,
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
    uint8_t key[16], pages[4];
    FAB_TRY(row_get(store, txn, mh, &page, &bytes));
    FAB_TRY(store_rc(del(store, txn, DBI_EXTENTS, mh.p, mh.n)));
    be_put(key, 8, mdb_txn_id(txn));
    be_put(key + 8, 8, page);
    store_le_put(pages, 4, pages_of(bytes));
    return store_rc(put(store, txn, DBI_FREED, key, sizeof key, pages, sizeof pages));
}

/* ---- the whole file ---- */

void store_extents_forget(struct fab_store *store)
{
    store->extents->dirty = store->extents->appended = false;
    store->extents->ripened = 0;
}

void store_extents_abort(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    if (ext->appended) /* on a full disk others need the room */
        (void)!ftruncate(ext->fd, (off_t)(ext->end * PAGE));
    store_extents_forget(store);
}

int store_extents_sync(struct fab_store *store)
{
    struct store_extents *ext = store->extents;
    int rc = 0;
    if (ext->dirty && !store->memory_fs)
        while ((rc = fdatasync(ext->fd) == 0 ? 0 : errno) == EINTR)
            ;
    return rc;
}

static enum fab_rc each(struct fab_store *store, MDB_txn *txn, enum store_dbi table,
                        void (*fn)(void *arg, uint64_t page, uint64_t pages), void *arg)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, store->dbi[table], &cursor);
    if (rc)
        return store_rc(rc);
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS)
        if (key.mv_size >= 8 && value.mv_size == 4)
            fn(arg, be_get((uint8_t *)key.mv_data + key.mv_size - 8, 8),
               store_le_get(value.mv_data, 4));
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? FAB_OK : store_rc(rc);
}

static void add_pages(void *arg, uint64_t page, uint64_t pages)
{
    (void)page;
    *(uint64_t *)arg += pages * PAGE;
}

enum fab_rc store_extents_free(struct fab_store *store, MDB_txn *txn, uint64_t *out)
{
    *out = 0;
    FAB_TRY(each(store, txn, DBI_HOLES, add_pages, out));
    return each(store, txn, DBI_FREED, add_pages, out);
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
        (void)!fallocate(ext->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE),
                         (off_t)(pages * PAGE));
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
    enum fab_rc rc = ripen(store, txn);
    if (rc == FAB_OK)
        rc = store_rc(mdb_stat(txn, store->dbi[DBI_FREED], &stat));
    if (rc == FAB_OK && last)
        rc = each(store, txn, DBI_HOLES, punch, store->extents);
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
    enum fab_rc rc = end_get(store, txn, &end);
    if (rc == FAB_OK && fstat(store->extents->fd, &st) != 0)
        rc = fab_rc_errno(errno);
    if (rc == FAB_OK && (uint64_t)st.st_size > end * PAGE &&
        ftruncate(store->extents->fd, (off_t)(end * PAGE)) != 0)
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
