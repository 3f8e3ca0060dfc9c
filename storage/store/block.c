/* Blocks inside a write transaction: visibility, stamps, bytes and counters. */
#include "storage/store/internal.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_BYTES 20 /* gen, owner, size */

void store_entry_parse(MDB_val value, struct store_entry *out)
{
    const uint8_t *p = value.mv_data;
    if (value.mv_size != ENTRY_BYTES) {
        *out = (struct store_entry){0};
        return;
    }
    *out = (struct store_entry){.gen = store_le_get(p, 8),
                                .owner = store_le_get(p + 8, 8),
                                .size = (uint32_t)store_le_get(p + 16, 4)};
}

enum fab_rc store_entry_get(struct fab_store *store, MDB_txn *txn, uint32_t ws, struct fab_slice mh,
                            struct store_entry *out)
{
    struct store_key key;
    store_key_ws(&key, ws, mh);
    MDB_val k = store_key_val(&key), value;
    int rc = mdb_get(txn, store->dbi[DBI_SPACE], &k, &value);
    if (rc)
        return store_rc(rc);
    store_entry_parse(value, out);
    return FAB_OK;
}

static void entry_bytes(const struct store_entry *entry, uint8_t out[ENTRY_BYTES])
{
    store_le_put(out, 8, entry->gen);
    store_le_put(out + 8, 8, entry->owner);
    store_le_put(out + 16, 4, entry->size);
}

static enum fab_rc counter(struct store_change *change, const char *name, uint64_t *out)
{
    *out = 0;
    enum fab_rc rc = store_meta_get(change->store, change->txn, name, 8, out);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

enum fab_rc store_change_begin(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                               struct store_change *out)
{
    *out = (struct store_change){.store = store, .txn = txn};
    FAB_TRY(store_ws_load(store, txn, ws, &out->ws));
    FAB_TRY(store_meta_get(store, txn, "gen", 8, &out->gen));
    FAB_TRY(counter(out, "bytes", &out->used_bytes));
    return counter(out, "blocks", &out->used_blocks);
}

void store_change_drop(struct store_change *change)
{
    free(change->others);
    change->others = NULL;
}

enum fab_rc store_change_end(struct store_change *change)
{
    store_change_drop(change);
    FAB_TRY(store_ws_save(change->store, change->txn, &change->ws));
    FAB_TRY(store_meta_put(change->store, change->txn, "bytes", 8, change->used_bytes));
    return store_meta_put(change->store, change->txn, "blocks", 8, change->used_blocks);
}

static bool over(uint64_t quota, uint64_t used, uint64_t more)
{
    return quota && (used > quota || more > quota - used);
}

/* The block is visible already: stamp it, so that no collection that runs takes it. One that two
 * puts have brought belongs to none, so that neither takes it back while the other needs it. */
static enum fab_rc restamp(struct store_change *change, MDB_val key, MDB_val value, uint64_t owner)
{
    struct store_entry entry;
    store_entry_parse(value, &entry);
    uint64_t whose = entry.owner == owner ? owner : 0;
    if (entry.gen == change->gen && entry.owner == whose)
        return FAB_OK;
    entry.gen = change->gen;
    entry.owner = whose;
    uint8_t bytes[ENTRY_BYTES];
    entry_bytes(&entry, bytes);
    value = (MDB_val){.mv_size = sizeof bytes, .mv_data = bytes};
    return store_rc(mdb_put(change->txn, change->store->dbi[DBI_SPACE], &key, &value, 0));
}

/* Into `blocks`. FAB_EEXIST. */
static enum fab_rc inline_write(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                                struct fab_slice data)
{
    MDB_val key = store_val(mh), room = {.mv_size = data.n};
    int rc = mdb_put(txn, store->dbi[DBI_BLOCKS], &key, &room, MDB_NOOVERWRITE | MDB_RESERVE);
    if (rc == MDB_SUCCESS && data.n)
        memcpy(room.mv_data, data.p, data.n);
    return store_rc(rc);
}

static enum fab_rc inline_get(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                              struct fab_slice *out)
{
    MDB_val key = store_val(mh), value;
    int rc = mdb_get(txn, store->dbi[DBI_BLOCKS], &key, &value);
    if (rc == MDB_SUCCESS)
        *out = store_slice(value);
    return store_rc(rc);
}

static enum fab_rc bytes_write(struct store_change *change, struct fab_slice mh,
                               struct fab_slice data)
{
    struct fab_store *store = change->store;
    MDB_txn *txn = change->txn;
    struct fab_slice old;
    if (data.n < STORE_EXTENT_MIN)
        return inline_write(store, txn, mh, data);
    if (store->inline_blocks) {
        enum fab_rc rc = inline_get(store, txn, mh, &old);
        if (rc != FAB_ENOENT)
            return rc == FAB_OK ? FAB_EEXIST : rc;
    }
    return store_extent_write(store, txn, mh, data, change->past_cache);
}

enum fab_rc store_block_bytes(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                              uint32_t size, struct fab_slice *out)
{
    if (size >= STORE_EXTENT_MIN) {
        enum fab_rc rc = store_extent_get(store, txn, mh, out);
        if (rc != FAB_ENOENT || !store->inline_blocks)
            return rc;
    }
    return inline_get(store, txn, mh, out);
}

static enum fab_rc bytes_delete(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                                uint32_t size)
{
    if (size >= STORE_EXTENT_MIN) {
        enum fab_rc rc = store_extent_delete(store, txn, mh);
        if (rc != FAB_ENOENT || !store->inline_blocks)
            return rc;
    }
    MDB_val key = store_val(mh);
    return store_rc(mdb_del(txn, store->dbi[DBI_BLOCKS], &key, NULL));
}

enum fab_rc store_block_write(struct store_change *change, const struct fab_cid *cid,
                              struct fab_slice data, uint64_t owner, bool *fresh)
{
    struct fab_store *store = change->store;
    struct store_key key;
    if (store_ws_leaving(&change->ws))
        return FAB_ENOENT;
    store_key_ws(&key, change->ws.id, fab_cid_mh(cid));
    struct store_entry entry = {.gen = change->gen, .owner = owner, .size = (uint32_t)data.n};
    uint8_t bytes[ENTRY_BYTES];
    entry_bytes(&entry, bytes);
    MDB_val k = store_key_val(&key), v = {.mv_size = sizeof bytes, .mv_data = bytes};

    *fresh = false;
    bool full = over(change->ws.quota, change->ws.bytes, data.n) ||
                over(store->quota, change->used_bytes, data.n);
    int rc = full ? mdb_get(change->txn, store->dbi[DBI_SPACE], &k, &v)
                  : mdb_put(change->txn, store->dbi[DBI_SPACE], &k, &v, MDB_NOOVERWRITE);
    if (full && rc == MDB_NOTFOUND)
        return FAB_EQUOTA;
    if (full ? rc == MDB_SUCCESS : rc == MDB_KEYEXIST)
        return restamp(change, k, v, owner);
    if (rc)
        return store_rc(rc);

    enum fab_rc wrote = bytes_write(change, fab_cid_mh(cid), data);
    if (wrote == FAB_OK) {
        change->used_bytes += data.n;
        change->used_blocks++;
    } else if (wrote != FAB_EEXIST) { /* there for another workspace is fine */
        return wrote;
    }
    change->ws.bytes += data.n;
    change->ws.blocks++;
    *fresh = true;
    return FAB_OK;
}

static enum fab_rc load_others(struct store_change *change)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(change->txn, change->store->dbi[DBI_WS], &cursor);
    if (rc)
        return store_rc(rc);
    enum fab_rc result = FAB_OK;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct fab_reader r = fab_reader(store_slice(key));
        uint64_t id;
        if (fab_read_be(&r, 4, &id) != FAB_OK || id == change->ws.id)
            continue;
        uint32_t *p = realloc(change->others, (change->others_n + 1) * sizeof *p);
        if (!p) {
            result = FAB_ENOMEM;
            break;
        }
        change->others = p;
        change->others[change->others_n++] = (uint32_t)id;
    }
    mdb_cursor_close(cursor);
    if (result == FAB_OK && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    change->others_loaded = result == FAB_OK;
    return result;
}

/* Does another workspace see the block? */
static enum fab_rc shared(struct store_change *change, struct fab_slice mh, bool *out)
{
    if (!change->others_loaded)
        FAB_TRY(load_others(change));
    *out = false;
    for (size_t i = 0; i < change->others_n && !*out; i++) {
        struct store_entry entry;
        enum fab_rc rc = store_entry_get(change->store, change->txn, change->others[i], mh, &entry);
        if (rc != FAB_OK && rc != FAB_ENOENT)
            return rc;
        *out = rc == FAB_OK;
    }
    return FAB_OK;
}

enum fab_rc store_block_delete(struct store_change *change, struct fab_slice mh, uint32_t size)
{
    struct store_key key;
    store_key_ws(&key, change->ws.id, mh);
    MDB_val k = store_key_val(&key);
    bool kept;
    FAB_TRY(shared(change, mh, &kept));
    int rc = mdb_del(change->txn, change->store->dbi[DBI_SPACE], &k, NULL);
    if (rc)
        return store_rc(rc);
    change->ws.bytes -= size;
    change->ws.blocks--;
    if (kept)
        return FAB_OK;
    mh = fab_slice(key.bytes + 4, key.n - 4); /* it may lie in a page that just changed */
    FAB_TRY(bytes_delete(change->store, change->txn, mh, size));
    change->used_bytes -= size;
    change->used_blocks--;
    return FAB_OK;
}
