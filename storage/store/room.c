/* What is free in blocks.dat, in tables that change with everything else.
 *
 *     end of the file ─┐
 *     holes ───────────┴─▶ a block ──delete──▶ freed ──ripe──▶ holes (or the file's end moves back)
 *
 * What a transaction frees is ripe when no reader's snapshot is older, and when no crash can lead
 * back behind it: a commit syncs the data, not its own meta page, so the state after transaction N
 * is sure to stay only when N + 1 has been committed too. These are LMDB's own rules for its pages.
 *
 * Room is taken from the smallest hole that is large enough, and neighbours are joined again. */
#include "storage/store/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RIPEN_AT_ONCE 1024u /* rows in one transaction: a few milliseconds */

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

enum fab_rc store_room_end(struct fab_store *store, MDB_txn *txn, uint64_t *out)
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
        found.page % EXTENT_SEGMENT_PAGES != 0)
        *behind = found;
    if (rc == MDB_SUCCESS || rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, &value, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    if (rc == MDB_SUCCESS && hole_read(key, value, &found) &&
        found.page + found.pages == at->page && at->page % EXTENT_SEGMENT_PAGES != 0)
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
    FAB_TRY(store_room_end(store, txn, &end));
    for (was = end; (rc = hole_before(store, txn, end, &last)) == FAB_OK; end = last.page)
        FAB_TRY(hole_del(store, txn, &last));
    if (rc != FAB_ENOENT || end == was)
        return rc == FAB_ENOENT ? FAB_OK : rc;
    FAB_TRY(store_meta_put(store, txn, "end", 8, end));
    (void)!ftruncate(store->extents->fd,
                     (off_t)(end * EXTENT_PAGE)); /* else it stays longer: no harm */
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
enum fab_rc store_room_ripen(struct fab_store *store, MDB_txn *txn)
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

enum fab_rc store_room_take(struct fab_store *store, MDB_txn *txn, uint64_t pages, uint64_t *out)
{
    struct hole hole;
    FAB_TRY(store_room_ripen(store, txn));
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
    FAB_TRY(store_room_end(store, txn, &end));
    if (!store->extents->appended)
        store->extents->end = end;
    store->extents->appended = true;
    uint64_t left = EXTENT_SEGMENT_PAGES - end % EXTENT_SEGMENT_PAGES;
    if (left < pages) {
        FAB_TRY(hole_add(store, txn, (struct hole){end, left}));
        end += left;
    }
    if (end + pages > EXTENT_SEGMENTS * EXTENT_SEGMENT_PAGES)
        return FAB_ENOSPC;
    *out = end;
    return store_meta_put(store, txn, "end", 8, end + pages);
}

/* ---- freeing ---- */

enum fab_rc store_room_free(struct fab_store *store, MDB_txn *txn, uint64_t page, uint64_t pages)
{
    uint8_t key[16], value[4];
    be_put(key, 8, mdb_txn_id(txn));
    be_put(key + 8, 8, page);
    store_le_put(value, 4, pages);
    return store_rc(put(store, txn, DBI_FREED, key, sizeof key, value, sizeof value));
}

/* ---- looking ---- */

enum fab_rc store_room_each(struct fab_store *store, MDB_txn *txn, enum store_dbi table,
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
