/* Workspaces: a name, what they see, and how much they may. */
#include "storage/store/internal.h"

#include <string.h>

#define WS_FIXED 24 /* bytes, blocks, quota */

static void parse(uint32_t id, MDB_val value, struct fab_workspace_info *out)
{
    const uint8_t *p = value.mv_data;
    *out = (struct fab_workspace_info){.id = id,
                                       .bytes = store_le_get(p, 8),
                                       .blocks = store_le_get(p + 8, 8),
                                       .quota = store_le_get(p + 16, 8)};
    size_t n = value.mv_size - WS_FIXED;
    memcpy(out->name, p + WS_FIXED, n < sizeof out->name ? n : sizeof out->name - 1);
}

enum fab_rc store_ws_load(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                          struct fab_workspace_info *out)
{
    struct store_key key;
    store_key_ws(&key, ws, fab_slice(NULL, 0));
    MDB_val k = store_key_val(&key), value;
    int rc = mdb_get(txn, store->dbi[DBI_WS], &k, &value);
    if (rc)
        return store_rc(rc);
    if (value.mv_size < WS_FIXED)
        return FAB_EFORMAT;
    parse(ws, value, out);
    return FAB_OK;
}

enum fab_rc store_ws_save(struct fab_store *store, MDB_txn *txn,
                          const struct fab_workspace_info *info)
{
    uint8_t bytes[WS_FIXED + FAB_WORKSPACE_NAME_MAX];
    size_t n = strlen(info->name);
    store_le_put(bytes, 8, info->bytes);
    store_le_put(bytes + 8, 8, info->blocks);
    store_le_put(bytes + 16, 8, info->quota);
    memcpy(bytes + WS_FIXED, info->name, n);
    struct store_key key;
    store_key_ws(&key, info->id, fab_slice(NULL, 0));
    MDB_val k = store_key_val(&key), value = {.mv_size = WS_FIXED + n, .mv_data = bytes};
    return store_rc(mdb_put(txn, store->dbi[DBI_WS], &k, &value, 0));
}

enum fab_rc store_ws_make(struct fab_store *store, MDB_txn *txn, const char *name,
                          struct fab_workspace_info *out)
{
    uint64_t id = 1;
    enum fab_rc rc = store_meta_get(store, txn, "next_ws", 4, &id);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    struct fab_workspace_info info = {.id = (uint32_t)id};
    memcpy(info.name, name, strlen(name));
    FAB_TRY(store_ws_save(store, txn, &info));
    FAB_TRY(store_meta_put(store, txn, "next_ws", 4, id + 1));
    *out = info;
    return FAB_OK;
}

enum fab_rc store_ws_check(struct fab_store *store, MDB_txn *txn, uint32_t ws)
{
    struct fab_workspace_info info;
    FAB_TRY(store_ws_load(store, txn, ws, &info));
    return store_ws_leaving(&info) ? FAB_ENOENT : FAB_OK;
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > FAB_WORKSPACE_NAME_MAX || name[0] == '.' || name[0] == '_' || name[0] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* Every workspace, also those that are leaving. */
static enum fab_rc each(struct fab_store *store, MDB_txn *txn,
                        enum fab_rc (*fn)(void *arg, const struct fab_workspace_info *info),
                        void *arg)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, store->dbi[DBI_WS], &cursor);
    if (rc)
        return store_rc(rc);
    enum fab_rc result = FAB_OK;
    while (result == FAB_OK &&
           (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
        struct fab_workspace_info info;
        struct fab_reader r = fab_reader(store_slice(key));
        uint64_t id;
        if (fab_read_be(&r, 4, &id) != FAB_OK || value.mv_size < WS_FIXED) {
            result = FAB_EFORMAT;
            break;
        }
        parse((uint32_t)id, value, &info);
        result = fn(arg, &info);
    }
    mdb_cursor_close(cursor);
    if (result == FAB_OK && rc != MDB_NOTFOUND)
        result = store_rc(rc);
    return result;
}

struct find {
    const char *name;
    struct fab_workspace_info *out;
};

static enum fab_rc match(void *arg, const struct fab_workspace_info *info)
{
    struct find *find = arg;
    if (strcmp(info->name, find->name) != 0)
        return FAB_OK;
    *find->out = *info;
    return FAB_EEXIST; /* found: stop */
}

static enum fab_rc match_leaving(void *arg, const struct fab_workspace_info *info)
{
    uint32_t *out = arg;
    if (!store_ws_leaving(info))
        return FAB_OK;
    *out = info->id;
    return FAB_EEXIST;
}

enum fab_rc store_ws_next_leaving(struct fab_store *store, MDB_txn *txn, uint32_t *out)
{
    enum fab_rc rc = each(store, txn, match_leaving, out);
    return rc == FAB_EEXIST ? FAB_OK : rc == FAB_OK ? FAB_ENOENT : rc;
}

struct listing {
    enum fab_rc (*fn)(void *arg, const struct fab_workspace_info *info);
    void *arg;
};

static enum fab_rc list_named(void *arg, const struct fab_workspace_info *info)
{
    const struct listing *listing = arg;
    return store_ws_leaving(info) ? FAB_OK : listing->fn(listing->arg, info);
}

enum fab_rc fab_workspace_list(struct fab_store *store,
                               enum fab_rc (*fn)(void *arg, const struct fab_workspace_info *info),
                               void *arg)
{
    MDB_txn *txn;
    struct listing listing = {fn, arg};
    FAB_TRY(store_read_begin(store, &txn));
    enum fab_rc rc = each(store, txn, list_named, &listing);
    store_read_end(store, txn);
    return rc;
}

static enum fab_rc make(struct fab_store *store, const char *name, struct fab_workspace_info *out,
                        struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    struct find find = {.name = name, .out = out};
    enum fab_rc rc = each(store, txn, match, &find);
    if (rc == FAB_OK)
        rc = store_ws_make(store, txn, name, out);
    else if (rc == FAB_EEXIST) {
        store_write_abort(store, txn); /* another process was first */
        return FAB_OK;
    }
    if (rc != FAB_OK) {
        store_write_abort(store, txn);
        return fab_err_set(err, rc, "cannot make the workspace '%s': %s", name, fab_rc_text(rc));
    }
    return store_write_commit(store, txn, err);
}

enum fab_rc fab_workspace_find(struct fab_store *store, const char *name, bool create,
                               struct fab_workspace_info *out, struct fab_err *err)
{
    if (!name_ok(name))
        return fab_err_set(
            err, FAB_EINVAL,
            "'%s' is not a workspace name: 1 to %d of a-z 0-9 . _ - beginning with a "
            "letter or digit",
            name, FAB_WORKSPACE_NAME_MAX);
    struct find find = {.name = name, .out = out};
    enum fab_rc rc = fab_workspace_list(store, match, &find);
    if (rc == FAB_EEXIST)
        return FAB_OK;
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "cannot read the workspaces: %s", fab_rc_text(rc));
    if (!create)
        return fab_err_set(err, FAB_ENOENT, "there is no workspace '%s'", name);
    return make(store, name, out, err);
}

enum fab_rc fab_workspace_set_quota(struct fab_store *store, uint32_t ws, uint64_t bytes,
                                    struct fab_err *err)
{
    MDB_txn *txn;
    FAB_TRY(store_write_begin(store, 0, &txn, err));
    struct fab_workspace_info info;
    enum fab_rc rc = store_ws_load(store, txn, ws, &info);
    if (rc == FAB_OK && info.quota == bytes) {
        store_write_abort(store, txn);
        return FAB_OK;
    }
    if (rc == FAB_OK) {
        info.quota = bytes;
        rc = store_ws_save(store, txn, &info);
    }
    if (rc != FAB_OK) {
        store_write_abort(store, txn);
        return fab_err_set(err, rc, "cannot set the quota: %s", fab_rc_text(rc));
    }
    return store_write_commit(store, txn, err);
}
