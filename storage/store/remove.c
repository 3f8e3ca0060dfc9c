/* Removing single blocks by name: by the user's wish, and because their bytes are rotten. */
#include "storage/store/internal.h"

#include <stdlib.h>

static enum fab_rc mark_fully(struct store_mark *mark)
{
    FAB_TRY(store_mark_pins(mark));
    return store_mark_leases(mark);
}

struct user {
    uint32_t ws;
    uint64_t gen; /* of the block's stamp */
};

/* A put that runs may have stamped the block, or found it there, and pin it later. */
static enum fab_rc uses_it(void *arg, const struct lease_info *info)
{
    const struct user *user = arg;
    bool may = info->kind == LEASE_PUT && info->ws == user->ws && info->gen <= user->gen;
    return may ? FAB_EBUSY : FAB_OK;
}

/* One try: *pinned counts pins ever made when the marks were complete. */
static enum fab_rc remove_once(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                               struct store_mark *mark, uint64_t pinned, bool *again,
                               struct fab_err *err)
{
    MDB_txn *txn;
    struct store_change change;
    struct store_entry entry;
    uint64_t now = 0;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    enum fab_rc rc = store_change_begin(store, txn, ws, &change);
    if (rc == FAB_OK)
        rc = store_mark_leases_behind(mark, again);
    if (rc == FAB_OK && store_meta_get(store, txn, "pinned", 8, &now) == FAB_EFORMAT)
        rc = FAB_EFORMAT;
    *again |= now != pinned;
    if (rc == FAB_OK && !*again)
        rc = store_entry_get(store, txn, ws, fab_cid_mh(cid), &entry);
    if (rc == FAB_OK && !*again)
        rc = store_lease_each(store, uses_it, &(struct user){ws, entry.gen});
    if (rc == FAB_OK && !*again)
        rc = store_mark_has(mark, fab_cid_mh(cid))
                 ? FAB_EBUSY
                 : store_block_delete(&change, fab_cid_mh(cid), entry.size);
    if (rc == FAB_OK && !*again)
        rc = store_change_end(&change);
    if (rc == FAB_OK && !*again)
        return store_write_commit(store, txn, err);
    store_change_drop(&change);
    store_write_abort(store, txn);
    return rc;
}

static enum fab_rc pins_made(struct fab_store *store, uint64_t *out)
{
    MDB_txn *txn;
    *out = 0;
    FAB_TRY(store_read_begin(store, &txn));
    enum fab_rc rc = store_meta_get(store, txn, "pinned", 8, out);
    store_read_end(store, txn);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

enum fab_rc fab_block_remove(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                             struct fab_err *err)
{
    struct store_mark *mark;
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    FAB_TRY(store_mark_new(store, ws, NULL, &mark, err));
    enum fab_rc rc;
    bool again = true;
    while (again) {
        uint64_t pinned;
        again = false;
        rc = pins_made(store, &pinned);
        if (rc == FAB_OK)
            rc = mark_fully(mark);
        if (rc == FAB_OK)
            rc = remove_once(store, ws, cid, mark, pinned, &again, err);
        if (rc != FAB_OK)
            break;
    }
    store_mark_free(mark);
    if (rc == FAB_EBUSY)
        return fab_err_set(err, rc, "%s is needed by a pin or by running work; unpin it first",
                           text);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "%s is not in this workspace", text);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "cannot remove %s: %s", text, fab_rc_text(rc));
    return FAB_OK;
}

/* ---- rotten ones ---- */

struct ids {
    uint32_t *id;
    size_t n;
};

/* All workspaces, those that are leaving too: their entries hold the bytes as well. */
static enum fab_rc all_ids(struct fab_store *store, MDB_txn *txn, struct ids *out)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    FAB_TRY(store_rc(mdb_cursor_open(txn, store->dbi[DBI_WS], &cursor)));
    enum fab_rc rc = FAB_OK;
    while (rc == FAB_OK &&
           (rc = store_rc(mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) == FAB_OK) {
        struct fab_reader r = fab_reader(store_slice(key));
        uint64_t id;
        if (fab_read_be(&r, 4, &id) != FAB_OK)
            continue;
        uint32_t *p = realloc(out->id, (out->n + 1) * sizeof *p);
        if (!p) {
            rc = FAB_ENOMEM;
            break;
        }
        out->id = p;
        out->id[out->n++] = (uint32_t)id;
    }
    mdb_cursor_close(cursor);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

static enum fab_rc drop_in(struct fab_store *store, MDB_txn *txn, uint32_t ws, struct fab_slice mh)
{
    struct store_change change;
    struct store_entry entry;
    enum fab_rc rc = store_change_begin(store, txn, ws, &change);
    if (rc == FAB_OK)
        rc = store_entry_get(store, txn, ws, mh, &entry);
    if (rc == FAB_ENOENT) {
        store_change_drop(&change);
        return FAB_OK;
    }
    if (rc == FAB_OK)
        rc = store_block_delete(&change, mh, entry.size);
    if (rc == FAB_OK)
        return store_change_end(&change);
    store_change_drop(&change);
    return rc;
}

/* One transaction: in between a put could find the bytes in one workspace and rely on them. */
enum fab_rc fab_block_drop_rotten(struct fab_store *store, struct fab_slice mh, struct fab_err *err)
{
    struct ids ids = {0};
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    enum fab_rc rc = all_ids(store, txn, &ids);
    for (size_t i = 0; i < ids.n && rc == FAB_OK; i++)
        rc = drop_in(store, txn, ids.id[i], mh);
    free(ids.id);
    if (rc == FAB_OK)
        return store_write_commit(store, txn, err);
    store_write_abort(store, txn);
    return fab_err_set(err, rc, "cannot drop a rotten block: %s", fab_rc_text(rc));
}
