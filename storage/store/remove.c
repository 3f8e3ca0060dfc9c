/* Removing single blocks by name: by the user's wish, and because their bytes are rotten. */
#include "storage/store/internal.h"

#include <stdlib.h>

static enum fab_rc mark_fully(struct store_mark *mark)
{
    FAB_TRY(store_mark_pins(mark));
    return store_mark_leases(mark);
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
        rc = store_mark_behind(mark, txn, again);
    if (rc == FAB_OK && store_meta_get(store, txn, "pinned", 8, &now) == FAB_EFORMAT)
        rc = FAB_EFORMAT;
    *again |= now != pinned;
    if (rc == FAB_OK && !*again)
        rc = store_entry_get(store, txn, ws, fab_cid_mh(cid), &entry);
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

struct ids {
    uint32_t *id;
    size_t n;
};

static enum fab_rc collect_id(void *arg, const struct fab_workspace_info *info)
{
    struct ids *ids = arg;
    uint32_t *p = realloc(ids->id, (ids->n + 1) * sizeof *p);
    if (!p)
        return FAB_ENOMEM;
    ids->id = p;
    ids->id[ids->n++] = info->id;
    return FAB_OK;
}

enum fab_rc fab_block_drop_rotten(struct fab_store *store, struct fab_slice mh, struct fab_err *err)
{
    struct ids ids = {0};
    enum fab_rc rc = fab_workspace_list(store, collect_id, &ids);
    for (size_t i = 0; i < ids.n && rc == FAB_OK; i++) {
        MDB_txn *txn;
        struct store_change change;
        struct store_entry entry;
        rc = store_write_begin(store, 0, &txn, err);
        if (rc != FAB_OK)
            break;
        rc = store_change_begin(store, txn, ids.id[i], &change);
        if (rc == FAB_OK)
            rc = store_entry_get(store, txn, ids.id[i], mh, &entry);
        if (rc == FAB_OK)
            rc = store_block_delete(&change, mh, entry.size);
        if (rc == FAB_OK)
            rc = store_change_end(&change);
        if (rc == FAB_OK) {
            rc = store_write_commit(store, txn, err);
        } else {
            store_change_drop(&change);
            store_write_abort(store, txn);
            rc = rc == FAB_ENOENT ? FAB_OK : rc;
        }
    }
    free(ids.id);
    return rc == FAB_OK ? rc
                        : fab_err_set(err, rc, "cannot drop a rotten block: %s", fab_rc_text(rc));
}
