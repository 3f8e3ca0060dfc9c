/* Marking: which blocks do pins, leases and roots reach?
 *
 * The set of marked blocks and the overflow of the work list lie in a temporary LMDB environment
 * beside the store (mark-ID/, locked by its owner, never synced), so memory stays bounded however
 * large the store is. The store itself is read in short transactions. Each mark remembers the epoch
 * that made it, so that one root too many can be dropped again (eviction).
 *
 * A block is marked "walked" when its links were followed, and plainly when only a direct pin holds
 * it. */
#include "storage/store/internal.h"

#include "storage/dag/links.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK_MAX    4096 /* CIDs of the work list in memory; the rest is on disk */
#define OPS_MAX      4000 /* operations per transaction of the temporary environment */
#define READ_SECONDS 0.1  /* age at which the read transaction is renewed */
#define PINS_STEP    256
#define WALKED       1u

struct store_mark {
    struct fab_store *store;
    uint32_t ws;
    const atomic_bool *cancel;
    char name[32]; /* mark-ID, below the store's directory */
    int lock_fd;

    MDB_env *env;
    MDB_dbi seen, todo;
    MDB_txn *txn;
    unsigned ops;

    MDB_txn *read;
    double read_began;

    struct fab_cid *stack;
    size_t depth;
    uint64_t spilled;    /* CIDs in `todo` */
    enum fab_rc link_rc; /* how marking a link went, kept apart from how reading its block went */

    uint32_t epoch, dropped; /* dropped: 0 for none */
    uint64_t blocks, bytes, epoch_blocks, epoch_bytes;

    uint64_t *leases; /* ids that were marked */
    size_t leases_n;
    uint64_t pinlog_at;
};

/* ---- the temporary environment ---- */

static void remove_dir(int dirfd, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/data.mdb", name);
    unlinkat(dirfd, path, 0);
    snprintf(path, sizeof path, "%s/lock.mdb", name);
    unlinkat(dirfd, path, 0);
    unlinkat(dirfd, name, AT_REMOVEDIR);
}

/* What collections that were killed left behind. */
static void remove_dead(struct fab_store *store)
{
    int fd = openat(store->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, "mark-", 5) != 0 || strlen(entry->d_name) > 31)
            continue;
        int lock = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (lock < 0)
            continue;
        if (flock(lock, LOCK_EX | LOCK_NB) == 0)
            remove_dir(dirfd(dir), entry->d_name);
        close(lock);
    }
    closedir(dir);
}

static int env_open(struct store_mark *mark, const char *path)
{
    for (uint64_t map = 1ull << 40;; map /= 2) {
        int rc = mdb_env_create(&mark->env);
        if (rc)
            return rc;
        mdb_env_set_maxdbs(mark->env, 2);
        mdb_env_set_mapsize(mark->env, map);
        rc = mdb_env_open(mark->env, path, MDB_NOTLS | MDB_NOSYNC | MDB_NOLOCK, 0600);
        if (rc == MDB_SUCCESS)
            return rc;
        mdb_env_close(mark->env);
        mark->env = NULL;
        if (rc != ENOMEM || map < (64u << 20))
            return rc;
    }
}

static int txn_renew(struct store_mark *mark)
{
    int rc = MDB_SUCCESS;
    if (mark->txn)
        rc = mdb_txn_commit(mark->txn);
    mark->txn = NULL;
    mark->ops = 0;
    return rc ? rc : mdb_txn_begin(mark->env, NULL, 0, &mark->txn);
}

static enum fab_rc op_done(struct store_mark *mark)
{
    if (++mark->ops < OPS_MAX)
        return FAB_OK;
    return store_rc(txn_renew(mark));
}

enum fab_rc store_mark_new(struct fab_store *store, uint32_t ws, const atomic_bool *cancel,
                           struct store_mark **out, struct fab_err *err)
{
    struct store_mark *mark = calloc(1, sizeof *mark);
    if (!mark)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    *mark =
        (struct store_mark){.store = store, .ws = ws, .cancel = cancel, .lock_fd = -1, .epoch = 1};
    remove_dead(store);
    mark->stack = calloc(STACK_MAX, sizeof *mark->stack);
    uint32_t id;
    char *path = NULL;
    int rc = ENOMEM;
    if (!mark->stack || getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
        goto out;
    snprintf(mark->name, sizeof mark->name, "mark-%08x", id);
    rc = mkdirat(store->dirfd, mark->name, 0700) == 0 ? MDB_SUCCESS : errno;
    if (rc)
        goto out;
    mark->lock_fd = openat(store->dirfd, mark->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = mark->lock_fd >= 0 && flock(mark->lock_fd, LOCK_EX | LOCK_NB) == 0 ? MDB_SUCCESS : errno;
    if (rc)
        goto out;
    rc = asprintf(&path, "%s/%s", store->dir, mark->name) < 0 ? ENOMEM : MDB_SUCCESS;
    if (rc) {
        path = NULL;
        goto out;
    }
    rc = env_open(mark, path);
    if (!rc)
        rc = mdb_txn_begin(mark->env, NULL, 0, &mark->txn);
    if (!rc)
        rc = mdb_dbi_open(mark->txn, "seen", MDB_CREATE, &mark->seen);
    if (!rc)
        rc = mdb_dbi_open(mark->txn, "todo", MDB_CREATE, &mark->todo);
out:
    free(path);
    if (rc) {
        store_err(err, store, rc, "cannot make the collection's work file");
        store_mark_free(mark);
        return store_rc(rc);
    }
    *out = mark;
    return FAB_OK;
}

void store_mark_free(struct store_mark *mark)
{
    if (!mark)
        return;
    if (mark->read)
        store_read_end(mark->store, mark->read);
    if (mark->txn)
        mdb_txn_abort(mark->txn);
    if (mark->env)
        mdb_env_close(mark->env);
    if (mark->name[0])
        remove_dir(mark->store->dirfd, mark->name);
    if (mark->lock_fd >= 0)
        close(mark->lock_fd);
    free(mark->leases);
    free(mark->stack);
    free(mark);
}

/* ---- the read transaction: open while marking, at most READ_SECONDS old, closed between calls
 * ---- */

static enum fab_rc read_fresh(struct store_mark *mark)
{
    if (mark->cancel && atomic_load(mark->cancel))
        return FAB_EINTERRUPTED;
    double now = store_now();
    if (mark->read && now - mark->read_began < READ_SECONDS)
        return FAB_OK;
    if (mark->read)
        store_read_end(mark->store, mark->read);
    mark->read = NULL;
    mark->read_began = now;
    return store_read_begin(mark->store, &mark->read);
}

static void read_close(struct store_mark *mark)
{
    if (mark->read)
        store_read_end(mark->store, mark->read);
    mark->read = NULL;
}

/* ---- the work list ---- */

static enum fab_rc spill(struct store_mark *mark)
{
    for (size_t i = 0; i < mark->depth; i++) {
        uint8_t seq[8], bytes[FAB_CID_MAX];
        store_le_put(seq, 8, __builtin_bswap64(++mark->spilled));
        size_t n = fab_cid_bytes(&mark->stack[i], bytes);
        MDB_val key = {.mv_size = sizeof seq, .mv_data = seq},
                value = {.mv_size = n, .mv_data = bytes};
        FAB_TRY(store_rc(mdb_put(mark->txn, mark->todo, &key, &value, MDB_APPEND)));
        FAB_TRY(op_done(mark));
    }
    mark->depth = 0;
    return FAB_OK;
}

static enum fab_rc push(struct store_mark *mark, const struct fab_cid *cid)
{
    if (mark->depth == STACK_MAX)
        FAB_TRY(spill(mark));
    mark->stack[mark->depth++] = *cid;
    return FAB_OK;
}

/* FAB_ENOENT when the list is empty. */
static enum fab_rc pop(struct store_mark *mark, struct fab_cid *out)
{
    if (mark->depth) {
        *out = mark->stack[--mark->depth];
        return FAB_OK;
    }
    if (mark->spilled == 0)
        return FAB_ENOENT;
    uint8_t seq[8];
    store_le_put(seq, 8, __builtin_bswap64(mark->spilled));
    MDB_val key = {.mv_size = sizeof seq, .mv_data = seq}, value;
    FAB_TRY(store_rc(mdb_get(mark->txn, mark->todo, &key, &value)));
    FAB_TRY(fab_cid_parse(store_slice(value), out));
    key = (MDB_val){.mv_size = sizeof seq, .mv_data = seq};
    FAB_TRY(store_rc(mdb_del(mark->txn, mark->todo, &key, NULL)));
    mark->spilled--;
    return op_done(mark);
}

/* ---- the set ---- */

/* Mark a block. *fresh: its links are to be followed now. */
static enum fab_rc mark_block(struct store_mark *mark, struct fab_slice mh, bool walk, bool *fresh)
{
    uint8_t bytes[4];
    uint32_t flag = mark->epoch << 1 | (walk ? WALKED : 0);
    store_le_put(bytes, 4, flag);
    MDB_val key = store_val(mh), value = {.mv_size = sizeof bytes, .mv_data = bytes};
    int rc = mdb_put(mark->txn, mark->seen, &key, &value, MDB_NOOVERWRITE);
    bool counted = true;
    if (rc == MDB_KEYEXIST) {
        uint32_t old = (uint32_t)store_le_get(value.mv_data, 4);
        bool lost = mark->dropped && old >> 1 == mark->dropped;
        *fresh = lost || (walk && !(old & WALKED));
        if (!*fresh)
            return FAB_OK;
        counted = lost;
        value = (MDB_val){.mv_size = sizeof bytes, .mv_data = bytes};
        rc = mdb_put(mark->txn, mark->seen, &key, &value, 0);
    }
    if (rc)
        return store_rc(rc);
    struct store_entry entry;
    enum fab_rc there = store_entry_get(mark->store, mark->read, mark->ws, mh, &entry);
    if (there != FAB_OK && there != FAB_ENOENT)
        return there;
    if (there == FAB_OK && counted) {
        mark->epoch_blocks++;
        mark->epoch_bytes += entry.size;
    }
    *fresh = true;
    return op_done(mark);
}

bool store_mark_has(struct store_mark *mark, struct fab_slice mh)
{
    MDB_val key = store_val(mh), value;
    if (mdb_get(mark->txn, mark->seen, &key, &value) != MDB_SUCCESS)
        return false;
    return !mark->dropped || store_le_get(value.mv_data, 4) >> 1 != mark->dropped;
}

static bool is_leaf(uint64_t codec)
{
    return codec != FAB_CODEC_DAG_PB && codec != FAB_CODEC_DAG_CBOR && codec != FAB_CODEC_DAG_JSON;
}

static enum fab_rc see_link(void *arg, const struct fab_cid *link)
{
    struct store_mark *mark = arg;
    bool fresh;
    mark->link_rc =
        is_leaf(link->codec) ? mark_block(mark, fab_cid_mh(link), true, &fresh) : push(mark, link);
    return mark->link_rc;
}

static enum fab_rc visit(struct store_mark *mark, const struct fab_cid *cid)
{
    bool fresh;
    FAB_TRY(read_fresh(mark));
    FAB_TRY(mark_block(mark, fab_cid_mh(cid), true, &fresh));
    if (!fresh || is_leaf(cid->codec))
        return FAB_OK;
    struct fab_slice data;
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY) {
        data = fab_cid_digest(cid);
    } else {
        struct store_entry entry;
        enum fab_rc there =
            store_entry_get(mark->store, mark->read, mark->ws, fab_cid_mh(cid), &entry);
        if (there != FAB_OK) /* missing: nothing below it can be known */
            return there == FAB_ENOENT ? FAB_OK : there;
        there = store_block_bytes(mark->store, mark->read, fab_cid_mh(cid), entry.size, &data);
        if (there != FAB_OK)
            return there == FAB_ENOENT ? FAB_OK : there;
    }
    enum fab_rc rc = fab_dag_links(cid->codec, data, see_link, mark);
    /* Our own failure, not the block's: marks that are not complete must not be used. */
    if (mark->link_rc != FAB_OK)
        return mark->link_rc;
    bool unreadable = rc == FAB_EFORMAT || rc == FAB_EUNSUPPORTED || rc == FAB_ELIMIT;
    return unreadable ? FAB_OK : rc; /* then it is a leaf: nothing can be whole below it */
}

enum fab_rc store_mark_root(struct store_mark *mark, const struct fab_cid *root, bool direct)
{
    bool fresh;
    enum fab_rc rc = read_fresh(mark);
    if (rc == FAB_OK)
        rc = direct ? mark_block(mark, fab_cid_mh(root), false, &fresh) : push(mark, root);
    struct fab_cid cid;
    while (rc == FAB_OK && (rc = pop(mark, &cid)) == FAB_OK)
        rc = visit(mark, &cid);
    read_close(mark);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

/* ---- where marking begins ---- */

/* Up to PINS_STEP pins after *at; FAB_ENOENT when there are none left. */
static enum fab_rc pins_after(struct store_mark *mark, struct store_key *at, struct fab_cid *cids,
                              bool *direct, size_t *n)
{
    MDB_cursor *cursor;
    FAB_TRY(read_fresh(mark));
    int rc = mdb_cursor_open(mark->read, mark->store->dbi[DBI_PINS], &cursor);
    if (rc)
        return store_rc(rc);
    MDB_val key = store_key_val(at), value;
    struct store_key from = *at;
    enum fab_rc result = FAB_OK;
    *n = 0;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         rc == MDB_SUCCESS && *n < PINS_STEP; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size <= 4 || memcmp(key.mv_data, from.bytes, 4) != 0)
            break;
        if (key.mv_size == from.n && memcmp(key.mv_data, from.bytes, from.n) == 0)
            continue;
        result =
            fab_cid_parse(fab_slice((const uint8_t *)key.mv_data + 4, key.mv_size - 4), &cids[*n]);
        if (result != FAB_OK)
            break;
        direct[(*n)++] = value.mv_size > 8 && ((const uint8_t *)value.mv_data)[8] == FAB_PIN_DIRECT;
        memcpy(at->bytes, key.mv_data, key.mv_size);
        at->n = key.mv_size;
    }
    mdb_cursor_close(cursor);
    if (result != FAB_OK)
        return result;
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return store_rc(rc);
    return *n ? FAB_OK : FAB_ENOENT;
}

enum fab_rc store_mark_pins(struct store_mark *mark)
{
    struct fab_cid *cids = calloc(PINS_STEP, sizeof *cids);
    bool direct[PINS_STEP];
    if (!cids)
        return FAB_ENOMEM;
    struct store_key at;
    size_t n = 0;
    store_key_ws(&at, mark->ws, fab_slice(NULL, 0));
    enum fab_rc rc;
    while ((rc = pins_after(mark, &at, cids, direct, &n)) == FAB_OK)
        for (size_t i = 0; i < n && rc == FAB_OK; i++)
            if ((rc = store_mark_root(mark, &cids[i], direct[i])) != FAB_OK)
                goto out;
out:
    read_close(mark);
    free(cids);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

static bool lease_known(const struct store_mark *mark, uint64_t id)
{
    for (size_t i = 0; i < mark->leases_n; i++)
        if (mark->leases[i] == id)
            return true;
    return false;
}

static enum fab_rc mark_lease(void *arg, const struct lease_info *info)
{
    struct store_mark *mark = arg;
    if (info->kind != LEASE_ROOT || info->ws != mark->ws || lease_known(mark, info->id))
        return FAB_OK;
    uint64_t *p = realloc(mark->leases, (mark->leases_n + 1) * sizeof *p);
    if (!p)
        return FAB_ENOMEM;
    mark->leases = p;
    FAB_TRY(store_mark_root(mark, &info->root, false));
    mark->leases[mark->leases_n++] = info->id;
    return FAB_OK;
}

enum fab_rc store_mark_leases(struct store_mark *mark)
{
    return store_lease_each(mark->store, mark_lease, mark);
}

/* The first logged pin after mark->pinlog_at. */
static enum fab_rc pinlog_next(struct store_mark *mark, MDB_txn *txn, uint64_t *seq, MDB_val *value)
{
    MDB_cursor *cursor;
    uint8_t from[8];
    store_le_put(from, 8, __builtin_bswap64(mark->pinlog_at + 1));
    MDB_val key = {.mv_size = sizeof from, .mv_data = from};
    FAB_TRY(store_rc(mdb_cursor_open(txn, mark->store->dbi[DBI_PINLOG], &cursor)));
    enum fab_rc rc = store_rc(mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE));
    if (rc == FAB_OK) {
        struct fab_reader r = fab_reader(store_slice(key));
        rc = fab_read_be(&r, 8, seq);
    }
    mdb_cursor_close(cursor);
    return rc;
}

enum fab_rc store_mark_pinlog(struct store_mark *mark)
{
    for (;;) {
        MDB_val value;
        uint64_t seq, ws = 0;
        struct fab_cid cid;
        read_close(mark);
        FAB_TRY(read_fresh(mark));
        enum fab_rc rc = pinlog_next(mark, mark->read, &seq, &value);
        if (rc == FAB_OK) {
            struct fab_reader r = fab_reader(store_slice(value));
            rc = fab_read_be(&r, 4, &ws);
            if (rc == FAB_OK)
                rc = fab_cid_read(&r, &cid);
        }
        if (rc == FAB_OK && ws == mark->ws)
            rc = store_mark_root(mark, &cid, false);
        if (rc == FAB_OK)
            mark->pinlog_at = seq;
        read_close(mark);
        if (rc != FAB_OK)
            return rc == FAB_ENOENT ? FAB_OK : rc;
    }
}

static enum fab_rc lease_behind(void *arg, const struct lease_info *info)
{
    const struct store_mark *mark = arg;
    if (info->kind == LEASE_ROOT && info->ws == mark->ws && !lease_known(mark, info->id))
        return FAB_EEXIST;
    return FAB_OK;
}

enum fab_rc store_mark_behind(struct store_mark *mark, MDB_txn *txn, bool *out)
{
    uint64_t seq;
    MDB_val value;
    enum fab_rc rc = pinlog_next(mark, txn, &seq, &value);
    if (rc == FAB_ENOENT)
        rc = store_lease_each(mark->store, lease_behind, mark);
    else if (rc == FAB_OK)
        rc = FAB_EEXIST;
    if (rc != FAB_OK && rc != FAB_EEXIST)
        return rc;
    *out = rc == FAB_EEXIST;
    return FAB_OK;
}

void store_mark_epoch(struct store_mark *mark)
{
    mark->blocks += mark->epoch_blocks;
    mark->bytes += mark->epoch_bytes;
    mark->epoch_blocks = mark->epoch_bytes = 0;
    mark->epoch++;
}

void store_mark_drop_epoch(struct store_mark *mark)
{
    mark->dropped = mark->epoch++;
    mark->epoch_blocks = mark->epoch_bytes = 0;
}

void store_mark_totals(const struct store_mark *mark, uint64_t *blocks, uint64_t *bytes)
{
    *blocks = mark->blocks + mark->epoch_blocks;
    *bytes = mark->bytes + mark->epoch_bytes;
}
