/* The swarm keys in the store, sealed.
 *
 * Table "swarmkey": key = workspace u32, 0xffffffff - epoch u32 (both big-endian, so the newest
 * comes first); value = version u8, created u64, replaced u64, nonce, sealed key. Each entry is
 * sealed under a key of its own, which BLAKE2b makes of the ring's key and of all that stands in
 * the clear, so no entry can be moved or dated otherwise without being noticed.
 *
 * Adding reads the epochs in a snapshot, then writes in a transaction that first makes sure that
 * the newest is still the same; if another process was faster it begins again. Epochs that are
 * retired by then are deleted there. Any failure leaves the keys as they were. */
#include "fabric/node/keyring_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define VERSION    1
#define CLEAR_SIZE 17 /* version, created, replaced */
#define BOX_SIZE   (FAB_SWARM_KEY_SIZE + crypto_secretbox_MACBYTES)
#define VALUE_SIZE (CLEAR_SIZE + crypto_secretbox_NONCEBYTES + BOX_SIZE)
#define KEY_SIZE   8
#define TIME_MAX   ((int64_t)1 << 40) /* seconds; what is later is no time that we wrote */
#define TRIES      100

static const unsigned char personal[crypto_generichash_blake2b_PERSONALBYTES] = {
    'f', 'a', 'b', 'r', 'i', 'c', ' ', 'k', 'e', 'y', 'r', 'i', 'n', 'g', ' ', '1'};

struct fab_keyring { /* in sodium_malloc memory */
    struct fab_store *store;
    uint8_t key[32];
};

enum fab_rc fab_keyring_new(struct fab_store *store, const struct fab_key *identity,
                            struct fab_keyring **out, struct fab_err *err)
{
    struct fab_buf proto;
    if (sodium_init() < 0)
        return fab_err_set(err, FAB_EIO, "libsodium cannot start");
    struct fab_keyring *ring = sodium_malloc(sizeof *ring);
    if (!ring)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    fab_buf_init(&proto, FAB_KEY_PROTO_SIZE);
    enum fab_rc rc = fab_key_proto(identity, &proto);
    if (rc == FAB_OK) {
        ring->store = store;
        (void)crypto_generichash_blake2b_salt_personal(ring->key, sizeof ring->key, proto.data,
                                                       proto.len, NULL, 0, NULL, personal);
        sodium_mprotect_readonly(ring);
        *out = ring;
    } else {
        sodium_free(ring);
        fab_err_set(err, rc, "the identity cannot be used: %s", fab_rc_text(rc));
    }
    if (proto.data)
        sodium_memzero(proto.data, proto.cap);
    fab_buf_fini(&proto);
    return rc;
}

void fab_keyring_free(struct fab_keyring *ring)
{
    if (ring)
        sodium_free(ring);
}

/* ---- one entry ---- */

static void entry_key(uint32_t ws, uint32_t number, uint8_t out[KEY_SIZE])
{
    be_put(out, 4, ws);
    be_put(out + 4, 4, UINT32_MAX - number);
}

/* The key that seals one entry; the caller wipes it. */
static void entry_seal(const struct fab_keyring *ring, const uint8_t key[KEY_SIZE],
                       const uint8_t clear[CLEAR_SIZE], uint8_t out[crypto_secretbox_KEYBYTES])
{
    uint8_t text[KEY_SIZE + CLEAR_SIZE];
    memcpy(text, key, KEY_SIZE);
    memcpy(text + KEY_SIZE, clear, CLEAR_SIZE);
    (void)crypto_generichash_blake2b_salt_personal(out, crypto_secretbox_KEYBYTES, text,
                                                   sizeof text, ring->key, sizeof ring->key, NULL,
                                                   personal);
}

static void encode(const struct fab_keyring *ring, const uint8_t key[KEY_SIZE],
                   const struct fab_epoch *epoch, uint8_t out[VALUE_SIZE])
{
    uint8_t seal[crypto_secretbox_KEYBYTES];
    uint8_t *nonce = out + CLEAR_SIZE, *box = nonce + crypto_secretbox_NONCEBYTES;
    out[0] = VERSION;
    be_put(out + 1, 8, (uint64_t)epoch->created);
    be_put(out + 9, 8, (uint64_t)epoch->replaced);
    entry_seal(ring, key, out, seal);
    randombytes_buf(nonce, crypto_secretbox_NONCEBYTES);
    (void)crypto_secretbox_easy(box, epoch->key, sizeof epoch->key, nonce, seal);
    sodium_memzero(seal, sizeof seal);
}

static enum fab_rc read_time(struct fab_reader *r, int64_t *out)
{
    uint64_t v;
    FAB_TRY(fab_read_be(r, 8, &v));
    if (v > (uint64_t)TIME_MAX)
        return FAB_EFORMAT;
    *out = (int64_t)v;
    return FAB_OK;
}

/* FAB_EFORMAT; FAB_EACCES when the seal does not open. */
static enum fab_rc decode(const struct fab_keyring *ring, struct fab_slice key,
                          struct fab_slice value, struct fab_epoch *out)
{
    struct fab_reader r = fab_reader(key);
    struct fab_slice nonce, box;
    uint64_t ws, inverse;
    uint8_t version, seal[crypto_secretbox_KEYBYTES];
    if (key.n != KEY_SIZE || value.n != VALUE_SIZE)
        return FAB_EFORMAT;
    FAB_TRY(fab_read_be(&r, 4, &ws));
    FAB_TRY(fab_read_be(&r, 4, &inverse));
    r = fab_reader(value);
    FAB_TRY(fab_read_u8(&r, &version));
    FAB_TRY(read_time(&r, &out->created));
    FAB_TRY(read_time(&r, &out->replaced));
    FAB_TRY(fab_read_bytes(&r, crypto_secretbox_NONCEBYTES, &nonce));
    FAB_TRY(fab_read_bytes(&r, BOX_SIZE, &box));
    out->number = UINT32_MAX - (uint32_t)inverse;
    if (version != VERSION || out->number == 0)
        return FAB_EFORMAT;
    entry_seal(ring, key.p, value.p, seal);
    int opened = crypto_secretbox_open_easy(out->key, box.p, box.n, nonce.p, seal);
    sodium_memzero(seal, sizeof seal);
    return opened == 0 ? FAB_OK : FAB_EACCES;
}

static bool retired(const struct fab_epoch *epoch, int64_t now)
{
    return epoch->replaced > 0 && now >= epoch->replaced + FAB_KEY_GRACE_S;
}

/* ---- all of a workspace ---- */

struct rows { /* in sodium_malloc memory */
    const struct fab_keyring *ring;
    size_t n;
    struct fab_epoch epoch[FAB_KEY_EPOCHS_MAX]; /* newest first; retired ones too */
};

static enum fab_rc add_row(void *arg, struct fab_slice key, struct fab_slice value)
{
    struct rows *rows = arg;
    if (rows->n == FAB_KEY_EPOCHS_MAX)
        return FAB_EFORMAT; /* no addition leaves more */
    struct fab_epoch *epoch = &rows->epoch[rows->n];
    FAB_TRY(decode(rows->ring, key, value, epoch));
    if ((rows->n == 0) != (epoch->replaced == 0)) /* only the newest was not replaced */
        return FAB_EFORMAT;
    rows->n++;
    return FAB_OK;
}

static enum fab_rc load(const struct fab_keyring *ring, uint32_t ws, struct rows *rows,
                        struct fab_err *err)
{
    uint8_t prefix[WS_KEY_SIZE];
    rows->ring = ring;
    rows->n = 0;
    enum fab_rc rc =
        fab_table_each(ring->store, TABLE_KEYS, ws_key(ws, prefix), false, add_row, rows);
    if (rc == FAB_EACCES)
        return fab_err_set(err, rc,
                           "a swarm key of the workspace does not open with this home's identity; "
                           "restore the file 'identity' of the home from a copy");
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "the swarm keys of the workspace cannot be read: %s",
                           fab_rc_text(rc));
    return FAB_OK;
}

enum fab_rc fab_keyring_epochs(struct fab_keyring *ring, uint32_t ws, int64_t now,
                               struct fab_epoch out[FAB_KEY_EPOCHS_MAX], size_t *n,
                               struct fab_err *err)
{
    struct rows *rows = sodium_malloc(sizeof *rows);
    if (!rows)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    enum fab_rc rc = load(ring, ws, rows, err);
    size_t count = 0;
    for (size_t i = 0; rc == FAB_OK && i < rows->n; i++)
        if (!retired(&rows->epoch[i], now))
            out[count++] = rows->epoch[i];
    sodium_free(rows);
    if (rc == FAB_OK)
        *n = count;
    return rc;
}

/* ---- adding ---- */

static enum fab_rc put_epoch(const struct fab_keyring *ring, struct fab_store_batch *batch,
                             uint32_t ws, const struct fab_epoch *epoch)
{
    uint8_t key[KEY_SIZE], value[VALUE_SIZE];
    entry_key(ws, epoch->number, key);
    encode(ring, key, epoch, value);
    return fab_batch_put(batch, TABLE_KEYS, fab_slice(key, sizeof key),
                         fab_slice(value, sizeof value));
}

static enum fab_rc delete_epoch(struct fab_store_batch *batch, uint32_t ws, uint32_t number)
{
    uint8_t key[KEY_SIZE];
    entry_key(ws, number, key);
    enum fab_rc rc = fab_batch_delete(batch, TABLE_KEYS, fab_slice(key, sizeof key));
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

static enum fab_rc has_epoch(struct fab_store_batch *batch, uint32_t ws, uint32_t number, bool *out)
{
    uint8_t key[KEY_SIZE];
    struct fab_slice value;
    entry_key(ws, number, key);
    enum fab_rc rc = fab_batch_get(batch, TABLE_KEYS, fab_slice(key, sizeof key), &value);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return rc;
    *out = rc == FAB_OK;
    return FAB_OK;
}

/* Is what was read still all there is? Epochs only ever follow each other. */
static enum fab_rc unchanged(struct fab_store_batch *batch, uint32_t ws, uint32_t newest, bool *out)
{
    bool there = true, more;
    if (newest > 0)
        FAB_TRY(has_epoch(batch, ws, newest, &there));
    FAB_TRY(has_epoch(batch, ws, newest + 1, &more));
    *out = there && !more;
    return FAB_OK;
}

static bool same_key(const struct fab_epoch *epoch, const uint8_t key[FAB_SWARM_KEY_SIZE])
{
    return sodium_memcmp(epoch->key, key, FAB_SWARM_KEY_SIZE) == 0;
}

/* Inside the transaction. `next` is the new epoch; the rows are what was read before. */
static enum fab_rc write_epochs(const struct rows *rows, struct fab_store_batch *batch, uint32_t ws,
                                const struct fab_epoch *next)
{
    for (size_t i = 0; i < rows->n; i++) {
        struct fab_epoch row = rows->epoch[i];
        enum fab_rc rc = FAB_OK;
        if (retired(&row, next->created) || same_key(&row, next->key)) {
            rc = delete_epoch(batch, ws, row.number);
        } else if (i == 0) {
            row.replaced = next->created;
            rc = put_epoch(rows->ring, batch, ws, &row);
        }
        sodium_memzero(&row, sizeof row);
        FAB_TRY(rc);
    }
    return put_epoch(rows->ring, batch, ws, next);
}

/* FAB_EEXIST, FAB_ELIMIT. */
static enum fab_rc may_add(const struct rows *rows, const struct fab_epoch *next,
                           struct fab_err *err)
{
    size_t kept = 0;
    if (rows->n > 0 && same_key(&rows->epoch[0], next->key))
        return fab_err_set(err, FAB_EEXIST, "the key is the workspace's newest already");
    for (size_t i = 0; i < rows->n; i++)
        kept += !retired(&rows->epoch[i], next->created) && !same_key(&rows->epoch[i], next->key);
    if (kept >= FAB_KEY_EPOCHS_MAX)
        return fab_err_set(err, FAB_ELIMIT,
                           "the workspace has %d keys that are still taken; wait until the oldest "
                           "is %d days out of use",
                           FAB_KEY_EPOCHS_MAX, FAB_KEY_GRACE_S / 86400);
    if (rows->n > 0 && rows->epoch[0].number >= UINT32_MAX - 1)
        return fab_err_set(err, FAB_ELIMIT, "the workspace had too many keys; make a new one");
    return FAB_OK;
}

/* One try; *done stays false when another process changed the keys meanwhile. */
static enum fab_rc add_once(struct fab_keyring *ring, uint32_t ws, struct rows *rows,
                            struct fab_epoch *next, bool *done, struct fab_err *err)
{
    struct fab_store_batch *batch;
    FAB_TRY(load(ring, ws, rows, err));
    FAB_TRY(may_add(rows, next, err));
    uint32_t newest = rows->n > 0 ? rows->epoch[0].number : 0;
    next->number = newest + 1;
    FAB_TRY(fab_batch_begin(ring->store, &batch, err));
    enum fab_rc rc = unchanged(batch, ws, newest, done);
    if (rc == FAB_OK && *done)
        rc = write_epochs(rows, batch, ws, next);
    if (rc == FAB_OK && *done)
        return fab_batch_commit(batch, err);
    fab_batch_abort(batch);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "the swarm key cannot be written: %s", fab_rc_text(rc));
    return rc;
}

enum fab_rc fab_keyring_add(struct fab_keyring *ring, uint32_t ws,
                            const uint8_t key[FAB_SWARM_KEY_SIZE], int64_t now, uint32_t *number,
                            struct fab_err *err)
{
    bool done = false;
    if (now <= 0 || now > TIME_MAX)
        return fab_err_set(err, FAB_EINVAL, "the clock of this machine is wrong; set it");
    struct rows *rows = sodium_malloc(sizeof *rows);
    if (!rows)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    struct fab_epoch next = {.created = now};
    memcpy(next.key, key, sizeof next.key);
    enum fab_rc rc = FAB_OK;
    for (unsigned i = 0; rc == FAB_OK && !done && i < TRIES; i++)
        rc = add_once(ring, ws, rows, &next, &done, err);
    if (rc == FAB_OK && !done)
        rc = fab_err_set(err, FAB_EBUSY, "other processes change the keys all the time; try again");
    if (rc == FAB_OK && number)
        *number = next.number;
    sodium_memzero(&next, sizeof next);
    sodium_free(rows);
    return rc;
}

/* ---- forgetting ---- */

#define FORGET_MAX (1u << 20) /* bytes of keys in one transaction */

static enum fab_rc gather(void *arg, struct fab_slice key, struct fab_slice value)
{
    struct fab_buf *keys = arg;
    (void)value;
    FAB_TRY(fab_buf_be(keys, 2, key.n));
    return fab_buf_append(keys, key.p, key.n);
}

static enum fab_rc delete_all(struct fab_store_batch *batch, const char *table,
                              struct fab_slice keys)
{
    struct fab_reader r = fab_reader(keys);
    while (fab_reader_left(&r) > 0) {
        uint64_t n;
        struct fab_slice key;
        FAB_TRY(fab_read_be(&r, 2, &n));
        FAB_TRY(fab_read_bytes(&r, (size_t)n, &key));
        enum fab_rc rc = fab_batch_delete(batch, table, key);
        if (rc != FAB_OK && rc != FAB_ENOENT)
            return rc;
    }
    return FAB_OK;
}

static enum fab_rc forget_table(struct fab_store *store, const char *table, uint32_t ws,
                                struct fab_err *err)
{
    struct fab_store_batch *batch;
    struct fab_buf keys;
    uint8_t prefix[WS_KEY_SIZE];
    fab_buf_init(&keys, FORGET_MAX);
    enum fab_rc rc = fab_table_each(store, table, ws_key(ws, prefix), false, gather, &keys);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "the workspace's table %s cannot be read: %s", table, fab_rc_text(rc));
    if (rc != FAB_OK || keys.len == 0)
        goto out;
    rc = fab_batch_begin(store, &batch, err);
    if (rc != FAB_OK)
        goto out;
    rc = delete_all(batch, table, fab_buf_slice(&keys));
    if (rc == FAB_OK) {
        rc = fab_batch_commit(batch, err);
    } else {
        fab_batch_abort(batch);
        fab_err_set(err, rc, "the workspace's table %s cannot be cleared: %s", table,
                    fab_rc_text(rc));
    }
out:
    fab_buf_fini(&keys);
    return rc;
}

enum fab_rc fab_keyring_forget(struct fab_keyring *ring, uint32_t ws, struct fab_err *err)
{
    static const char *const tables[] = {TABLE_KEYS, TABLE_ADMITTED, TABLE_ADMISSION, TABLE_BOOK};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        FAB_TRY(forget_table(ring->store, tables[i], ws, err));
    return FAB_OK;
}
