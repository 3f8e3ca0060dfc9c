/* Records of higher layers: one LMDB table whose keys begin with the caller's table name and a
 * zero. */
#include "storage/store/internal.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_NAME_MAX 31
#define TABLE_KEY_MAX  400
#define TABLE_VALUE    (64u << 10)

struct fab_store_batch {
    struct fab_store *store;
    MDB_txn *txn;
};

static enum fab_rc make_key(struct store_key *out, const char *table, struct fab_slice key)
{
    size_t n = strlen(table);
    if (n == 0 || n > TABLE_NAME_MAX || key.n > TABLE_KEY_MAX)
        return FAB_EINVAL;
    memcpy(out->bytes, table, n + 1);
    if (key.n)
        memcpy(out->bytes + n + 1, key.p, key.n);
    out->n = n + 1 + key.n;
    return FAB_OK;
}

enum fab_rc fab_batch_begin(struct fab_store *store, struct fab_store_batch **out,
                            struct fab_err *err)
{
    struct fab_store_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    batch->store = store;
    enum fab_rc rc = store_write_begin(store, 0, &batch->txn, err);
    if (rc != FAB_OK) {
        free(batch);
        return rc;
    }
    *out = batch;
    return FAB_OK;
}

enum fab_rc fab_batch_put(struct fab_store_batch *batch, const char *table, struct fab_slice key,
                          struct fab_slice value)
{
    struct store_key full;
    if (key.n == 0 || value.n > TABLE_VALUE)
        return FAB_EINVAL;
    FAB_TRY(make_key(&full, table, key));
    MDB_val k = store_key_val(&full), v = store_val(value);
    return store_rc(mdb_put(batch->txn, batch->store->dbi[DBI_TABLES], &k, &v, 0));
}

enum fab_rc fab_batch_delete(struct fab_store_batch *batch, const char *table, struct fab_slice key)
{
    struct store_key full;
    FAB_TRY(make_key(&full, table, key));
    MDB_val k = store_key_val(&full);
    return store_rc(mdb_del(batch->txn, batch->store->dbi[DBI_TABLES], &k, NULL));
}

enum fab_rc fab_batch_get(struct fab_store_batch *batch, const char *table, struct fab_slice key,
                          struct fab_slice *out)
{
    struct store_key full;
    FAB_TRY(make_key(&full, table, key));
    MDB_val k = store_key_val(&full), v;
    int rc = mdb_get(batch->txn, batch->store->dbi[DBI_TABLES], &k, &v);
    if (rc)
        return store_rc(rc);
    *out = store_slice(v);
    return FAB_OK;
}

enum fab_rc fab_batch_pin(struct fab_store_batch *batch, uint32_t ws, const struct fab_cid *cid,
                          enum fab_pin_mode mode, const char *name)
{
    return store_pin_put(batch->store, batch->txn, ws, cid, mode, name);
}

enum fab_rc fab_batch_unpin(struct fab_store_batch *batch, uint32_t ws, const struct fab_cid *cid)
{
    return store_pin_delete(batch->store, batch->txn, ws, cid);
}

enum fab_rc fab_batch_commit(struct fab_store_batch *batch, struct fab_err *err)
{
    enum fab_rc rc = store_write_commit(batch->store, batch->txn, err);
    free(batch);
    return rc;
}

void fab_batch_abort(struct fab_store_batch *batch)
{
    if (!batch)
        return;
    store_write_abort(batch->store, batch->txn);
    free(batch);
}

enum fab_rc fab_table_get(struct fab_store *store, const char *table, struct fab_slice key,
                          struct fab_buf *out)
{
    struct store_key full;
    MDB_txn *txn;
    FAB_TRY(make_key(&full, table, key));
    MDB_val k = store_key_val(&full), v;
    FAB_TRY(store_read_begin(store, &txn));
    int rc = mdb_get(txn, store->dbi[DBI_TABLES], &k, &v);
    enum fab_rc result = rc ? store_rc(rc) : fab_buf_append(out, v.mv_data, v.mv_size);
    store_read_end(store, txn);
    return result;
}

/* Put the cursor on the last key that begins with `from`, or past the front. */
static int seek_last(MDB_cursor *cursor, const struct store_key *from, MDB_val *key, MDB_val *value)
{
    struct store_key next = *from; /* the first key after all that begin with `from` */
    while (next.n && next.bytes[next.n - 1] == 0xff)
        next.n--;
    if (next.n == 0)
        return mdb_cursor_get(cursor, key, value, MDB_LAST);
    next.bytes[next.n - 1]++;
    *key = store_key_val(&next);
    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    return mdb_cursor_get(cursor, key, value, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}

enum fab_rc
fab_table_each(struct fab_store *store, const char *table, struct fab_slice prefix, bool reverse,
               enum fab_rc (*fn)(void *arg, struct fab_slice key, struct fab_slice value),
               void *arg)
{
    struct store_key from;
    MDB_txn *txn;
    MDB_cursor *cursor;
    FAB_TRY(make_key(&from, table, prefix));
    FAB_TRY(store_read_begin(store, &txn));
    int rc = mdb_cursor_open(txn, store->dbi[DBI_TABLES], &cursor);
    if (rc) {
        store_read_end(store, txn);
        return store_rc(rc);
    }
    size_t skip = strlen(table) + 1;
    MDB_val key = store_key_val(&from), value;
    rc = reverse ? seek_last(cursor, &from, &key, &value)
                 : mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    enum fab_rc result = FAB_OK;
    while (rc == MDB_SUCCESS && key.mv_size >= from.n &&
           memcmp(key.mv_data, from.bytes, from.n) == 0) {
        result = fn(arg, fab_slice((const uint8_t *)key.mv_data + skip, key.mv_size - skip),
                    store_slice(value));
        if (result != FAB_OK)
            break;
        rc = mdb_cursor_get(cursor, &key, &value, reverse ? MDB_PREV : MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    store_read_end(store, txn);
    if (result == FAB_OK && rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    return result;
}
