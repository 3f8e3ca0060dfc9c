/* Pins, and the unpinned roots that eviction takes oldest-used first. */
#include "storage/store/internal.h"

#include <stdlib.h>
#include <string.h>

#define PIN_FIXED 9 /* created i64, mode u8 */

static void parse(MDB_val value, struct fab_pin *out)
{
    const uint8_t *p = value.mv_data;
    out->created = (int64_t)store_le_get(p, 8);
    out->mode = p[8] == FAB_PIN_DIRECT ? FAB_PIN_DIRECT : FAB_PIN_RECURSIVE;
    size_t n = value.mv_size - PIN_FIXED;
    if (n > FAB_PIN_NAME_MAX)
        n = FAB_PIN_NAME_MAX;
    memcpy(out->name, p + PIN_FIXED, n);
    out->name[n] = 0;
}

static enum fab_rc get(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                       const struct fab_cid *cid, struct fab_pin *out)
{
    struct store_key key;
    store_key_cid(&key, ws, cid);
    MDB_val k = store_key_val(&key), value;
    int rc = mdb_get(txn, store->dbi[DBI_PINS], &k, &value);
    if (rc)
        return store_rc(rc);
    if (value.mv_size < PIN_FIXED)
        return FAB_EFORMAT;
    out->cid = *cid;
    parse(value, out);
    return FAB_OK;
}

/* While a collection runs, it has to hear of every new pin. */
static enum fab_rc log_pin(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                           const struct fab_cid *cid)
{
    uint64_t collecting = 0;
    enum fab_rc found = store_meta_get(store, txn, "collecting", 8, &collecting);
    if (found != FAB_OK && found != FAB_ENOENT)
        return found;
    if (!collecting)
        return FAB_OK;
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, store->dbi[DBI_PINLOG], &cursor);
    if (rc)
        return store_rc(rc);
    uint64_t seq = 0;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == MDB_SUCCESS) {
        struct fab_reader r = fab_reader(store_slice(key));
        if (fab_read_be(&r, 8, &seq) != FAB_OK)
            seq = 0;
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return store_rc(rc);
    uint8_t bytes[8];
    seq++;
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(seq >> (56 - 8 * i));
    struct store_key entry;
    store_key_cid(&entry, ws, cid);
    key = (MDB_val){.mv_size = sizeof bytes, .mv_data = bytes};
    value = store_key_val(&entry);
    return store_rc(mdb_put(txn, store->dbi[DBI_PINLOG], &key, &value, 0));
}

enum fab_rc store_pin_put(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                          const struct fab_cid *cid, enum fab_pin_mode mode, const char *name)
{
    struct fab_pin old = {0};
    FAB_TRY(store_ws_check(store, txn, ws));
    enum fab_rc rc = get(store, txn, ws, cid, &old);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    if (rc == FAB_OK && old.mode == FAB_PIN_RECURSIVE)
        mode = FAB_PIN_RECURSIVE;
    if (!name)
        name = old.name;
    size_t n = strlen(name);
    if (n > FAB_PIN_NAME_MAX)
        return FAB_EINVAL;
    uint8_t bytes[PIN_FIXED + FAB_PIN_NAME_MAX];
    store_le_put(bytes, 8, (uint64_t)(rc == FAB_OK ? old.created : (int64_t)time(NULL)));
    bytes[8] = (uint8_t)mode;
    memcpy(bytes + PIN_FIXED, name, n);
    struct store_key key;
    store_key_cid(&key, ws, cid);
    MDB_val k = store_key_val(&key), value = {.mv_size = PIN_FIXED + n, .mv_data = bytes};
    FAB_TRY(store_rc(mdb_put(txn, store->dbi[DBI_PINS], &k, &value, 0)));
    int del = mdb_del(txn, store->dbi[DBI_ROOTS], &k, NULL);
    if (del != MDB_SUCCESS && del != MDB_NOTFOUND)
        return store_rc(del);
    uint64_t count = 0;
    rc = store_meta_get(store, txn, "pinned", 8, &count);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    FAB_TRY(store_meta_put(store, txn, "pinned", 8, count + 1));
    return log_pin(store, txn, ws, cid);
}

enum fab_rc store_pin_delete(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                             const struct fab_cid *cid)
{
    struct store_key key;
    store_key_cid(&key, ws, cid);
    MDB_val k = store_key_val(&key);
    return store_rc(mdb_del(txn, store->dbi[DBI_PINS], &k, NULL));
}

enum fab_rc store_root_put(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                           const struct fab_cid *cid, int64_t now)
{
    struct fab_pin pin;
    FAB_TRY(store_ws_check(store, txn, ws));
    enum fab_rc rc = get(store, txn, ws, cid, &pin);
    if (rc != FAB_ENOENT)
        return rc; /* pinned: nothing to remember */
    uint8_t bytes[8];
    store_le_put(bytes, 8, (uint64_t)now);
    struct store_key key;
    store_key_cid(&key, ws, cid);
    MDB_val k = store_key_val(&key), value = {.mv_size = sizeof bytes, .mv_data = bytes};
    return store_rc(mdb_put(txn, store->dbi[DBI_ROOTS], &k, &value, 0));
}

static enum fab_rc finish(struct fab_store *store, MDB_txn *txn, enum fab_rc rc, const char *what,
                          struct fab_err *err)
{
    if (rc == FAB_OK)
        return store_write_commit(store, txn, err);
    store_write_abort(store, txn);
    return fab_err_set(err, rc, "%s: %s", what, fab_rc_text(rc));
}

enum fab_rc fab_pin_add(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                        enum fab_pin_mode mode, const char *name, struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    return finish(store, txn, store_pin_put(store, txn, ws, cid, mode, name),
                  "cannot record the pin", err);
}

enum fab_rc fab_pin_remove(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                           struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    enum fab_rc rc = store_pin_delete(store, txn, ws, cid);
    if (rc == FAB_OK)
        rc = store_root_put(store, txn, ws, cid, time(NULL));
    if (rc == FAB_ENOENT) {
        char text[FAB_CID_TEXT_MAX];
        fab_cid_text(cid, text);
        store_write_abort(store, txn);
        return fab_err_set(err, rc, "%s is not pinned in this workspace", text);
    }
    return finish(store, txn, rc, "cannot remove the pin", err);
}

enum fab_rc fab_pin_get(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                        struct fab_pin *out)
{
    MDB_txn *txn;
    FAB_TRY(store_read_begin(store, &txn));
    enum fab_rc rc = get(store, txn, ws, cid, out);
    store_read_end(store, txn);
    return rc;
}

enum fab_rc fab_pin_list(struct fab_store *store, uint32_t ws,
                         enum fab_rc (*fn)(void *arg, const struct fab_pin *pin), void *arg)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    FAB_TRY(store_read_begin(store, &txn));
    int rc = mdb_cursor_open(txn, store->dbi[DBI_PINS], &cursor);
    if (rc) {
        store_read_end(store, txn);
        return store_rc(rc);
    }
    struct store_key from;
    store_key_ws(&from, ws, fab_slice(NULL, 0));
    MDB_val key = store_key_val(&from), value;
    enum fab_rc result = FAB_OK;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         rc == MDB_SUCCESS && result == FAB_OK;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size <= 4 || memcmp(key.mv_data, from.bytes, 4) != 0)
            break;
        struct fab_pin pin;
        if (value.mv_size < PIN_FIXED)
            result = FAB_EFORMAT;
        else
            result = fab_cid_parse(fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4),
                                   &pin.cid);
        if (result != FAB_OK)
            break;
        parse(value, &pin);
        result = fn(arg, &pin);
    }
    mdb_cursor_close(cursor);
    store_read_end(store, txn);
    if (result == FAB_OK && rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    return result;
}
