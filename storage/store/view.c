/* Reading: a snapshot of one workspace. */
#include "storage/store/internal.h"

#include <stdlib.h>
#include <string.h>

struct fab_view {
    struct fab_store *store;
    MDB_txn *txn;
    uint32_t ws;
};

enum fab_rc fab_view_open(struct fab_store *store, uint32_t ws, struct fab_view **out,
                          struct fab_err *err)
{
    struct fab_view *view = calloc(1, sizeof *view);
    if (!view)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    view->store = store;
    view->ws = ws;
    enum fab_rc rc = store_read_begin(store, &view->txn);
    if (rc != FAB_OK) {
        free(view);
        return fab_err_set(err, rc, "store %s: cannot begin to read: %s", store->dir,
                           fab_rc_text(rc));
    }
    *out = view;
    return FAB_OK;
}

void fab_view_close(struct fab_view *view)
{
    if (!view)
        return;
    if (view->txn)
        store_read_end(view->store, view->txn);
    free(view);
}

enum fab_rc fab_view_refresh(struct fab_view *view)
{
    if (view->txn)
        store_read_end(view->store, view->txn);
    view->txn = NULL;
    store_gate_enter(view->store, true); /* let a thread that waits to change the map go first */
    store_gate_leave(view->store);
    return store_read_begin(view->store, &view->txn);
}

enum fab_rc fab_view_size(struct fab_view *view, const struct fab_cid *cid, uint64_t *out)
{
    struct store_entry entry;
    if (!view->txn)
        return FAB_EIO;
    FAB_TRY(store_entry_get(view->store, view->txn, view->ws, fab_cid_mh(cid), &entry));
    *out = entry.size;
    return FAB_OK;
}

enum fab_rc fab_view_get(struct fab_view *view, const struct fab_cid *cid, struct fab_slice *out)
{
    struct store_entry entry;
    if (!view->txn)
        return FAB_EIO;
    FAB_TRY(store_entry_get(view->store, view->txn, view->ws, fab_cid_mh(cid), &entry));
    return store_block_bytes(view->store, view->txn, fab_cid_mh(cid), entry.size, out);
}

enum fab_rc fab_view_clone(struct fab_view *view, const struct fab_cid *cid, uint64_t n, int fd,
                           uint64_t offset)
{
    struct store_entry entry;
    if (!view->txn)
        return FAB_EIO;
    FAB_TRY(store_entry_get(view->store, view->txn, view->ws, fab_cid_mh(cid), &entry));
    return store_extent_clone(view->store, view->txn, fab_cid_mh(cid), n, fd, offset);
}

static enum fab_rc source_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    return fab_view_get(ctx, cid, out);
}

struct fab_block_source fab_view_source(struct fab_view *view)
{
    return (struct fab_block_source){.ctx = view, .get = source_get};
}

enum fab_rc fab_view_each(struct fab_view *view, struct fab_slice after,
                          enum fab_rc (*fn)(void *arg, struct fab_slice mh, uint64_t size),
                          void *arg)
{
    MDB_cursor *cursor;
    if (!view->txn)
        return FAB_EIO;
    int rc = mdb_cursor_open(view->txn, view->store->dbi[DBI_SPACE], &cursor);
    if (rc)
        return store_rc(rc);
    struct store_key from;
    store_key_ws(&from, view->ws, after);
    MDB_val key = store_key_val(&from), value;
    enum fab_rc result = FAB_OK;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == MDB_SUCCESS;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size <= 4 || memcmp(key.mv_data, from.bytes, 4) != 0)
            break;
        if (after.n && key.mv_size == from.n && memcmp(key.mv_data, from.bytes, from.n) == 0)
            continue;
        struct store_entry entry;
        store_entry_parse(value, &entry);
        result = fn(arg, fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4), entry.size);
        if (result != FAB_OK)
            break;
    }
    mdb_cursor_close(cursor);
    if (result == FAB_OK && rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    return result;
}
