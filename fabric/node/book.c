/* The peer book: where the peers of a workspace were reached.
 *
 * Table "book": workspace, peer's multihash -> version u8, seen u64, number u8, and as often:
 * length u16, a binary multiaddr (all big-endian). It is a memory, not a record: an entry that
 * cannot be read is passed over and written anew when its peer is met again. */
#include "fabric/node/keyring_internal.h"

#include "storage/multiformats/multiaddr.h"

#include <stdlib.h>

#define VERSION     1
#define VALUE_MAX   (10 + FAB_BOOK_ADDRESSES * (2 + FAB_MULTIADDR_MAX))
#define SEEN_MAX    ((int64_t)1 << 40) /* seconds; what is later is no time that we wrote */
#define NEW_SECONDS 3600               /* `seen` alone is written at most this often */

/* All but the peer, borrowed from `value`. FAB_EFORMAT. */
static enum fab_rc decode(struct fab_slice value, struct fab_book_entry *out)
{
    struct fab_reader r = fab_reader(value);
    uint8_t version, n;
    uint64_t seen;
    FAB_TRY(fab_read_u8(&r, &version));
    FAB_TRY(fab_read_be(&r, 8, &seen));
    FAB_TRY(fab_read_u8(&r, &n));
    if (version != VERSION || seen > (uint64_t)SEEN_MAX || n > FAB_BOOK_ADDRESSES)
        return FAB_EFORMAT;
    out->seen = (int64_t)seen;
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        uint64_t len;
        FAB_TRY(fab_read_be(&r, 2, &len));
        FAB_TRY(fab_read_bytes(&r, (size_t)len, &out->addresses[i]));
        if (fab_multiaddr_check(out->addresses[i]) != FAB_OK)
            return FAB_EFORMAT;
    }
    return fab_reader_left(&r) == 0 ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc encode(const struct fab_book_entry *entry, struct fab_buf *out)
{
    FAB_TRY(fab_buf_byte(out, VERSION));
    FAB_TRY(fab_buf_be(out, 8, (uint64_t)entry->seen));
    FAB_TRY(fab_buf_byte(out, (uint8_t)entry->n));
    for (size_t i = 0; i < entry->n; i++) {
        FAB_TRY(fab_buf_be(out, 2, entry->addresses[i].n));
        FAB_TRY(fab_buf_append(out, entry->addresses[i].p, entry->addresses[i].n));
    }
    return FAB_OK;
}

static bool has(const struct fab_book_entry *entry, struct fab_slice address)
{
    for (size_t i = 0; i < entry->n; i++)
        if (fab_slice_eq(entry->addresses[i], address))
            return true;
    return false;
}

static void add_addresses(struct fab_book_entry *to, const struct fab_book_entry *from)
{
    for (size_t i = 0; i < from->n && to->n < FAB_BOOK_ADDRESSES; i++)
        if (!has(to, from->addresses[i]))
            to->addresses[to->n++] = from->addresses[i];
}

/* Would writing change nothing but `seen`, by little? */
static bool known(const struct fab_book_entry *old, const struct fab_book_entry *entry)
{
    for (size_t i = 0; i < entry->n; i++)
        if (!has(old, entry->addresses[i]))
            return false;
    int64_t apart = entry->seen - old->seen;
    return apart > -NEW_SECONDS && apart < NEW_SECONDS;
}

static enum fab_rc check(const struct fab_book_entry *entry)
{
    if (entry->n > FAB_BOOK_ADDRESSES || entry->seen < 0 || entry->seen > SEEN_MAX)
        return FAB_EINVAL;
    for (size_t i = 0; i < entry->n; i++)
        if (fab_multiaddr_check(entry->addresses[i]) != FAB_OK)
            return FAB_EINVAL;
    return FAB_OK;
}

/* ---- the limit ---- */

struct oldest {
    size_t n; /* peers in the book */
    int64_t seen;
    size_t key_n; /* 0: none yet */
    uint8_t key[PEER_KEY_SIZE];
};

static enum fab_rc find_oldest(void *arg, struct fab_slice key, struct fab_slice value)
{
    struct oldest *oldest = arg;
    struct fab_book_entry entry = {0};
    if (key.n > PEER_KEY_SIZE)
        return FAB_OK; /* none of ours */
    if (decode(value, &entry) != FAB_OK)
        entry.seen = -1; /* goes first */
    oldest->n++;
    if (oldest->key_n > 0 && entry.seen >= oldest->seen)
        return FAB_OK;
    oldest->seen = entry.seen;
    oldest->key_n = key.n;
    memcpy(oldest->key, key.p, key.n);
    return FAB_OK;
}

/* ---- putting ---- */

static enum fab_rc write_entry(struct fab_store *store, struct fab_slice key,
                               const struct oldest *oldest, struct fab_slice value)
{
    struct fab_store_batch *batch;
    enum fab_rc rc = FAB_OK;
    FAB_TRY(fab_batch_begin(store, &batch, NULL));
    if (oldest->n >= FAB_BOOK_PEERS)
        rc = fab_batch_delete(batch, TABLE_BOOK, fab_slice(oldest->key, oldest->key_n));
    if (rc == FAB_OK || rc == FAB_ENOENT)
        rc = fab_batch_put(batch, TABLE_BOOK, key, value);
    if (rc == FAB_OK)
        return fab_batch_commit(batch, NULL);
    fab_batch_abort(batch);
    return rc;
}

enum fab_rc fab_book_put(struct fab_store *store, uint32_t ws, const struct fab_book_entry *entry)
{
    struct fab_buf old_bytes, new_bytes;
    struct fab_book_entry old = {0}, merged = {.seen = entry->seen};
    struct oldest oldest = {0};
    struct fab_slice key;
    uint8_t bytes[PEER_KEY_SIZE], prefix[WS_KEY_SIZE];
    FAB_TRY(check(entry));
    FAB_TRY(peer_key(ws, &entry->peer, bytes, &key));
    fab_buf_init(&old_bytes, VALUE_MAX);
    fab_buf_init(&new_bytes, VALUE_MAX);
    enum fab_rc rc = fab_table_get(store, TABLE_BOOK, key, &old_bytes);
    if (rc == FAB_OK && decode(fab_buf_slice(&old_bytes), &old) == FAB_OK) {
        if (known(&old, entry))
            goto out;
    } else if (rc == FAB_OK || rc == FAB_ELIMIT) {
        old = (struct fab_book_entry){0};
    } else if (rc == FAB_ENOENT) {
        rc = fab_table_each(store, TABLE_BOOK, ws_key(ws, prefix), false, find_oldest, &oldest);
        if (rc != FAB_OK)
            goto out;
    } else {
        goto out;
    }
    add_addresses(&merged, entry);
    add_addresses(&merged, &old);
    rc = encode(&merged, &new_bytes);
    if (rc == FAB_OK)
        rc = write_entry(store, key, &oldest, fab_buf_slice(&new_bytes));
out:
    fab_buf_fini(&old_bytes);
    fab_buf_fini(&new_bytes);
    return rc;
}

/* ---- reading ---- */

struct each {
    enum fab_rc (*fn)(void *arg, const struct fab_book_entry *entry);
    void *arg;
};

static enum fab_rc on_row(void *arg, struct fab_slice key, struct fab_slice value)
{
    const struct each *each = arg;
    struct fab_book_entry entry = {0};
    if (peer_of_key(key, &entry.peer) != FAB_OK || decode(value, &entry) != FAB_OK)
        return FAB_OK;
    return each->fn(each->arg, &entry);
}

enum fab_rc fab_book_each(struct fab_store *store, uint32_t ws,
                          enum fab_rc (*fn)(void *arg, const struct fab_book_entry *entry),
                          void *arg)
{
    struct each each = {fn, arg};
    uint8_t key[WS_KEY_SIZE];
    return fab_table_each(store, TABLE_BOOK, ws_key(ws, key), false, on_row, &each);
}
