/* Who is admitted to a workspace besides holding its key: its mode, and its list of peers.
 *
 * Table "admitmode": workspace -> version u8, mode u8; without an entry the key is enough.
 * Table "admitted": workspace -> version u8, number of peers u32; workspace, peer's multihash ->
 * version u8. The number is changed in the transaction that changes the list, so the limit holds
 * for several processes too. */
#include "fabric/node/keyring_internal.h"

#define VERSION 1

enum fab_rc fab_admission_get(struct fab_store *store, uint32_t ws, enum fab_admission *out)
{
    struct fab_buf value;
    uint8_t key[WS_KEY_SIZE];
    fab_buf_init(&value, 2);
    enum fab_rc rc = fab_table_get(store, TABLE_ADMISSION, ws_key(ws, key), &value);
    if (rc == FAB_ENOENT) {
        *out = FAB_ADMIT_KEY;
        rc = FAB_OK;
    } else if (rc == FAB_OK && value.len == 2 && value.data[0] == VERSION &&
               value.data[1] <= FAB_ADMIT_LIST) {
        *out = (enum fab_admission)value.data[1];
    } else if (rc == FAB_OK || rc == FAB_ELIMIT) {
        rc = FAB_EFORMAT;
    }
    fab_buf_fini(&value);
    return rc;
}

static enum fab_rc finish(struct fab_store_batch *batch, enum fab_rc rc, const char *what,
                          struct fab_err *err)
{
    if (rc == FAB_OK)
        return fab_batch_commit(batch, err);
    fab_batch_abort(batch);
    return fab_err_set(err, rc, "%s: %s", what, fab_rc_text(rc));
}

enum fab_rc fab_admission_set(struct fab_store *store, uint32_t ws, enum fab_admission mode,
                              struct fab_err *err)
{
    struct fab_store_batch *batch;
    const uint8_t value[2] = {VERSION, (uint8_t)mode};
    uint8_t key[WS_KEY_SIZE];
    if (mode != FAB_ADMIT_KEY && mode != FAB_ADMIT_LIST)
        return fab_err_set(err, FAB_EINVAL, "there is no such admission");
    FAB_TRY(fab_batch_begin(store, &batch, err));
    enum fab_rc rc =
        fab_batch_put(batch, TABLE_ADMISSION, ws_key(ws, key), fab_slice(value, sizeof value));
    return finish(batch, rc, "the admission cannot be written", err);
}

/* ---- the list ---- */

static enum fab_rc count_get(struct fab_store_batch *batch, uint32_t ws, uint64_t *out)
{
    uint8_t key[WS_KEY_SIZE], version;
    struct fab_slice value;
    enum fab_rc rc = fab_batch_get(batch, TABLE_ADMITTED, ws_key(ws, key), &value);
    *out = 0;
    if (rc != FAB_OK)
        return rc == FAB_ENOENT ? FAB_OK : rc;
    struct fab_reader r = fab_reader(value);
    if (value.n != 5 || fab_read_u8(&r, &version) != FAB_OK || version != VERSION)
        return FAB_EFORMAT;
    return fab_read_be(&r, 4, out);
}

static enum fab_rc count_put(struct fab_store_batch *batch, uint32_t ws, uint64_t count)
{
    uint8_t key[WS_KEY_SIZE], value[5] = {VERSION};
    be_put(value + 1, 4, count);
    return fab_batch_put(batch, TABLE_ADMITTED, ws_key(ws, key), fab_slice(value, sizeof value));
}

/* FAB_EEXIST, FAB_ELIMIT. */
static enum fab_rc add(struct fab_store_batch *batch, uint32_t ws, struct fab_slice key)
{
    const uint8_t value[1] = {VERSION};
    struct fab_slice old;
    uint64_t count;
    enum fab_rc rc = fab_batch_get(batch, TABLE_ADMITTED, key, &old);
    if (rc != FAB_ENOENT)
        return rc == FAB_OK ? FAB_EEXIST : rc;
    FAB_TRY(count_get(batch, ws, &count));
    if (count >= FAB_ADMITTED_MAX)
        return FAB_ELIMIT;
    FAB_TRY(count_put(batch, ws, count + 1));
    return fab_batch_put(batch, TABLE_ADMITTED, key, fab_slice(value, sizeof value));
}

/* FAB_ENOENT. */
static enum fab_rc take_off(struct fab_store_batch *batch, uint32_t ws, struct fab_slice key)
{
    uint64_t count;
    FAB_TRY(fab_batch_delete(batch, TABLE_ADMITTED, key));
    FAB_TRY(count_get(batch, ws, &count));
    return count_put(batch, ws, count > 0 ? count - 1 : 0);
}

/* What a change of the list begins with. */
struct list_change {
    struct fab_store_batch *batch;
    struct fab_slice key; /* borrows `bytes` */
    uint8_t bytes[PEER_KEY_SIZE];
    char text[FAB_PEER_ID_TEXT_MAX];
};

static enum fab_rc begin(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                         struct list_change *out, struct fab_err *err)
{
    if (peer_key(ws, peer, out->bytes, &out->key) != FAB_OK)
        return fab_err_set(err, FAB_EINVAL, "this is no peer");
    fab_peer_id_text(peer, out->text);
    return fab_batch_begin(store, &out->batch, err);
}

enum fab_rc fab_admit(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                      struct fab_err *err)
{
    struct list_change change;
    FAB_TRY(begin(store, ws, peer, &change, err));
    enum fab_rc rc = add(change.batch, ws, change.key);
    if (rc == FAB_EEXIST || rc == FAB_ELIMIT)
        fab_batch_abort(change.batch);
    if (rc == FAB_EEXIST)
        return fab_err_set(err, rc, "%s is admitted already", change.text);
    if (rc == FAB_ELIMIT)
        return fab_err_set(err, rc,
                           "%s cannot be admitted: the workspace's list is full with %d peers; "
                           "expel some",
                           change.text, FAB_ADMITTED_MAX);
    return finish(change.batch, rc, "the peer cannot be admitted", err);
}

enum fab_rc fab_expel(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                      struct fab_err *err)
{
    struct list_change change;
    FAB_TRY(begin(store, ws, peer, &change, err));
    enum fab_rc rc = take_off(change.batch, ws, change.key);
    if (rc == FAB_ENOENT) {
        fab_batch_abort(change.batch);
        return fab_err_set(err, rc, "%s is not on the workspace's list", change.text);
    }
    return finish(change.batch, rc, "the peer cannot be expelled", err);
}

enum fab_rc fab_admitted(struct fab_store *store, uint32_t ws, const struct fab_peer_id *peer,
                         bool *out)
{
    struct fab_slice key;
    struct fab_buf value;
    uint8_t bytes[PEER_KEY_SIZE];
    FAB_TRY(peer_key(ws, peer, bytes, &key));
    fab_buf_init(&value, 1);
    enum fab_rc rc = fab_table_get(store, TABLE_ADMITTED, key, &value);
    if (rc == FAB_ELIMIT || (rc == FAB_OK && (value.len != 1 || value.data[0] != VERSION)))
        rc = FAB_EFORMAT;
    if (rc == FAB_OK || rc == FAB_ENOENT) {
        *out = rc == FAB_OK;
        rc = FAB_OK;
    }
    fab_buf_fini(&value);
    return rc;
}

struct each {
    enum fab_rc (*fn)(void *arg, const struct fab_peer_id *peer);
    void *arg;
};

static enum fab_rc on_row(void *arg, struct fab_slice key, struct fab_slice value)
{
    const struct each *each = arg;
    struct fab_peer_id peer;
    if (key.n == WS_KEY_SIZE)
        return FAB_OK; /* the number */
    FAB_TRY(peer_of_key(key, &peer));
    if (value.n != 1 || value.p[0] != VERSION)
        return FAB_EFORMAT;
    return each->fn(each->arg, &peer);
}

enum fab_rc fab_admitted_each(struct fab_store *store, uint32_t ws,
                              enum fab_rc (*fn)(void *arg, const struct fab_peer_id *peer),
                              void *arg)
{
    struct each each = {fn, arg};
    uint8_t key[WS_KEY_SIZE];
    return fab_table_each(store, TABLE_ADMITTED, ws_key(ws, key), false, on_row, &each);
}
