/* Keys, small values, and what LMDB's codes mean to us. */
#include "storage/store/internal.h"

#include <string.h>

enum fab_rc store_rc(int mdb_rc)
{
    switch (mdb_rc) {
    case MDB_SUCCESS:
        return FAB_OK;
    case MDB_NOTFOUND:
        return FAB_ENOENT;
    case MDB_KEYEXIST:
        return FAB_EEXIST;
    case MDB_MAP_FULL:
        return FAB_ENOSPC;
    case MDB_TXN_FULL:
        return FAB_ELIMIT;
    case MDB_READERS_FULL:
        return FAB_EBUSY;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return FAB_EFORMAT;
    case MDB_BAD_VALSIZE:
        return FAB_EINVAL;
    default:
        return mdb_rc < 0 ? FAB_EIO : fab_rc_errno(mdb_rc);
    }
}

enum fab_rc store_err(struct fab_err *err, const struct fab_store *store, int mdb_rc,
                      const char *what)
{
    enum fab_rc rc = store_rc(mdb_rc);
    const char *cure = rc == FAB_ENOSPC    ? "; free some disk space or run 'fabric gc'"
                       : rc == FAB_EFORMAT ? "; the store is damaged, restore it from a copy"
                       : rc == FAB_EBUSY   ? "; too many processes read the store"
                                           : "";
    return fab_err_set(err, rc, "store %s: %s: %s%s", store->dir, what, mdb_strerror(mdb_rc), cure);
}

void store_key_ws(struct store_key *key, uint32_t ws, struct fab_slice rest)
{
    for (unsigned i = 0; i < 4; i++)
        key->bytes[i] = (uint8_t)(ws >> (24 - 8 * i));
    if (rest.n)
        memcpy(key->bytes + 4, rest.p, rest.n);
    key->n = 4 + rest.n;
}

void store_key_cid(struct store_key *key, uint32_t ws, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_CID_MAX];
    size_t n = fab_cid_bytes(cid, bytes);
    store_key_ws(key, ws, fab_slice(bytes, n));
}

MDB_val store_key_val(struct store_key *key)
{
    return (MDB_val){.mv_size = key->n, .mv_data = key->bytes};
}

void store_le_put(uint8_t *p, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

uint64_t store_le_get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

enum fab_rc store_meta_get(struct fab_store *store, MDB_txn *txn, const char *name, unsigned bytes,
                           uint64_t *out)
{
    MDB_val key = store_val(fab_slice(name, strlen(name))), value;
    int rc = mdb_get(txn, store->dbi[DBI_META], &key, &value);
    if (rc)
        return store_rc(rc);
    if (value.mv_size != bytes)
        return FAB_EFORMAT;
    *out = store_le_get(value.mv_data, bytes);
    return FAB_OK;
}

enum fab_rc store_meta_put(struct fab_store *store, MDB_txn *txn, const char *name, unsigned bytes,
                           uint64_t v)
{
    uint8_t tmp[8];
    store_le_put(tmp, bytes, v);
    MDB_val key = store_val(fab_slice(name, strlen(name)));
    MDB_val value = {.mv_size = bytes, .mv_data = tmp};
    return store_rc(mdb_put(txn, store->dbi[DBI_META], &key, &value, 0));
}
