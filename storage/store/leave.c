/* Removing a workspace.
 *
 * The first transaction takes its name, durably: from then on nobody finds it, and nothing is
 * written into it any more. What it saw then goes in small transactions, like a collection's, and
 * its own record with the last one, when nothing else is left. A process that is killed in between
 * leaves a workspace without a name, which the next removal or collection goes on with; its number
 * is never given to another. */
#include "storage/store/internal.h"

#include <string.h>

#define STEP_SECONDS 0.01 /* a transaction removes for this long, then commits */

static enum fab_rc see_lease(void *arg, const struct lease_info *info)
{
    const uint32_t *ws = arg;
    return info->ws == *ws ? FAB_EBUSY : FAB_OK;
}

static enum fab_rc take_name(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                             struct fab_workspace_info *info)
{
    FAB_TRY(store_ws_load(store, txn, ws, info));
    if (strcmp(info->name, FAB_WORKSPACE_LOCAL) == 0)
        return FAB_EINVAL;
    if (store_ws_leaving(info))
        return FAB_ENOENT;
    FAB_TRY(store_lease_each(store, see_lease, &ws));
    struct fab_workspace_info leaving = *info;
    memset(leaving.name, 0, sizeof leaving.name);
    return store_ws_save(store, txn, &leaving);
}

enum fab_rc fab_workspace_remove(struct fab_store *store, uint32_t ws, struct fab_err *err)
{
    MDB_txn *txn;
    struct fab_workspace_info info = {0};
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    enum fab_rc rc = take_name(store, txn, ws, &info);
    if (rc == FAB_OK)
        return store_write_commit(store, txn, err);
    store_write_abort(store, txn);
    if (rc == FAB_EINVAL)
        return fab_err_set(err, rc, "the workspace '%s' cannot be removed", FAB_WORKSPACE_LOCAL);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "there is no such workspace any more");
    if (rc == FAB_EBUSY)
        return fab_err_set(err, rc,
                           "work is running in the workspace '%s'; wait for it to end, or stop it",
                           info.name);
    return fab_err_set(err, rc, "the workspace cannot be removed: %s", fab_rc_text(rc));
}

/* ---- what it saw ---- */

/* The first key of a table that is `from` or behind it, copied. FAB_ENOENT. */
static enum fab_rc seek(const struct store_change *change, enum store_dbi dbi,
                        const struct store_key *from, struct store_key *out)
{
    MDB_cursor *cursor;
    struct store_key at = *from;
    MDB_val key = store_key_val(&at), value;
    FAB_TRY(store_rc(mdb_cursor_open(change->txn, change->store->dbi[dbi], &cursor)));
    enum fab_rc rc = store_rc(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
    if (rc == FAB_OK) {
        memcpy(out->bytes, key.mv_data, key.mv_size);
        out->n = key.mv_size;
    }
    mdb_cursor_close(cursor);
    return rc;
}

static bool begins(const struct store_key *key, const struct store_key *prefix)
{
    return key->n >= prefix->n && memcmp(key->bytes, prefix->bytes, prefix->n) == 0;
}

/* The first key that begins with `prefix`. FAB_ENOENT. */
static enum fab_rc first(const struct store_change *change, enum store_dbi dbi,
                         const struct store_key *prefix, struct store_key *out)
{
    FAB_TRY(seek(change, dbi, prefix, out));
    return begins(out, prefix) ? FAB_OK : FAB_ENOENT;
}

static enum fab_rc remove_key(const struct store_change *change, enum store_dbi dbi,
                              struct store_key *key)
{
    MDB_val k = store_key_val(key);
    return store_rc(mdb_del(change->txn, change->store->dbi[dbi], &k, NULL));
}

/* FAB_ENOENT when none is left, here and below. */
static enum fab_rc remove_block(struct store_change *change, const struct store_key *ws)
{
    struct store_key key;
    struct store_entry entry;
    FAB_TRY(first(change, DBI_SPACE, ws, &key));
    struct fab_slice mh = fab_slice(key.bytes + ws->n, key.n - ws->n);
    FAB_TRY(store_entry_get(change->store, change->txn, change->ws.id, mh, &entry));
    return store_block_delete(change, mh, entry.size);
}

/* A pin or a root. */
static enum fab_rc remove_row(const struct store_change *change, enum store_dbi dbi,
                              const struct store_key *ws)
{
    struct store_key key;
    FAB_TRY(first(change, dbi, ws, &key));
    return remove_key(change, dbi, &key);
}

/* A record of a higher layer, from whatever table has one. */
static enum fab_rc remove_record(const struct store_change *change, const struct store_key *ws)
{
    struct store_key at = {.bytes = {1}, .n = 1}, key; /* before every name, which are letters */
    for (;;) {
        FAB_TRY(seek(change, DBI_TABLES, &at, &key));
        const uint8_t *zero = memchr(key.bytes, 0, key.n);
        if (!zero)
            return FAB_EFORMAT;
        size_t name = (size_t)(zero - key.bytes);
        if (name + 1 + ws->n > sizeof key.bytes)
            return FAB_EFORMAT;
        struct store_key own = key;
        memcpy(own.bytes + name + 1, ws->bytes, ws->n);
        own.n = name + 1 + ws->n;
        enum fab_rc rc = first(change, DBI_TABLES, &own, &key);
        if (rc == FAB_OK)
            return remove_key(change, DBI_TABLES, &key);
        if (rc != FAB_ENOENT)
            return rc;
        at = own;
        at.bytes[name] = 1; /* behind all of this table, before the next */
        at.n = name + 1;
    }
}

static enum fab_rc remove_one(struct store_change *change, const struct store_key *ws)
{
    enum fab_rc rc = remove_block(change, ws);
    if (rc == FAB_ENOENT)
        rc = remove_row(change, DBI_PINS, ws);
    if (rc == FAB_ENOENT)
        rc = remove_row(change, DBI_ROOTS, ws);
    return rc == FAB_ENOENT ? remove_record(change, ws) : rc;
}

/* One transaction. *done: nothing was left, and the workspace's own record is gone too. */
static enum fab_rc step(struct fab_store *store, uint32_t ws, bool *done, struct fab_err *err)
{
    MDB_txn *txn;
    struct store_change change;
    struct store_key prefix;
    size_t n = 0;
    FAB_TRY(store_write_begin(store, MDB_NOMETASYNC, &txn, err));
    double began = store_now();
    store_key_ws(&prefix, ws, fab_slice(NULL, 0));
    enum fab_rc rc = store_change_begin(store, txn, ws, &change);
    bool there = rc == FAB_OK;
    while (rc == FAB_OK) {
        rc = remove_one(&change, &prefix);
        n += rc == FAB_OK;
        if (store_now() - began > STEP_SECONDS)
            break;
    }
    *done = rc == FAB_ENOENT && n == 0;
    if (rc == FAB_ENOENT)
        rc = FAB_OK;
    if (rc == FAB_OK && there && !*done)
        rc = store_change_end(&change);
    else
        store_change_drop(&change);
    if (rc == FAB_OK && there && *done)
        rc = remove_key(&change, DBI_WS, &prefix);
    if (rc == FAB_OK && there)
        return store_write_commit(store, txn, err);
    store_write_abort(store, txn);
    return rc == FAB_OK
               ? FAB_OK
               : fab_err_set(err, rc, "a removed workspace cannot be cleared: %s", fab_rc_text(rc));
}

enum fab_rc fab_workspace_sweep(struct fab_store *store, const atomic_bool *cancel,
                                struct fab_err *err)
{
    uint32_t ws = 0;
    for (;;) {
        MDB_txn *txn;
        FAB_TRY(store_read_begin(store, &txn));
        enum fab_rc rc = store_ws_next_leaving(store, txn, &ws);
        store_read_end(store, txn);
        if (rc == FAB_ENOENT)
            return FAB_OK;
        if (rc != FAB_OK)
            return fab_err_set(err, rc, "cannot read the workspaces: %s", fab_rc_text(rc));
        for (bool done = false; !done;) {
            if (cancel && atomic_load(cancel))
                return fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
            FAB_TRY(step(store, ws, &done, err));
        }
    }
}
