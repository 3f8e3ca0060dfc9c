/* Marking: which blocks do pins, leases and roots reach?
 *
 * The set of marked blocks and the overflow of the work list lie in a temporary LMDB environment
 * beside the store (mark-ID/, locked by its owner, never synced), so memory stays bounded however
 * large the store is. The store itself is read in short transactions. Each mark remembers the epoch
 * that made it, so that one root too many can be dropped again (eviction).
 *
 * The set says of a multihash which epoch marked it first, and for each codec with links which one
 * followed them: the same bytes may be a leaf here, a file's content there and a node elsewhere. A
 * block that is not there is marked and not walked, since it may come. */
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
#define WALKS        3 /* codecs with links */

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

/* Make mark-ID/ and lock it. Another collection that looks for dead ones may take it away before it
 * is locked: then another is made. An errno. */
static int make_dir(struct store_mark *mark)
{
    for (;;) {
        uint32_t id;
        struct stat st;
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            return errno;
        snprintf(mark->name, sizeof mark->name, "mark-%08x", id);
        if (mkdirat(mark->store->dirfd, mark->name, 0700) != 0) {
            mark->name[0] = '\0';
            return errno;
        }
        int fd = openat(mark->store->dirfd, mark->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool gone = fd < 0 && errno == ENOENT;
        if (fd < 0 && !gone)
            return errno;
        if (!gone)
            gone = flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &st) != 0 || st.st_nlink == 0;
        if (!gone) {
            mark->lock_fd = fd;
            return 0;
        }
        if (fd >= 0)
            close(fd);
    }
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
    char *path = NULL;
    int rc = mark->stack ? make_dir(mark) : ENOMEM;
    if (!rc && asprintf(&path, "%s/%s", store->dir, mark->name) < 0) {
        path = NULL;
        rc = ENOMEM;
    }
    if (!rc)
        rc = env_open(mark, path);
    if (!rc)
        rc = mdb_txn_begin(mark->env, NULL, 0, &mark->txn);
    if (!rc)
        rc = mdb_dbi_open(mark->txn, "seen", MDB_CREATE, &mark->seen);
    if (!rc)
        rc = mdb_dbi_open(mark->txn, "todo", MDB_CREATE, &mark->todo);
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

struct seen {
    uint32_t first;         /* the epoch that marked it */
    uint32_t walked[WALKS]; /* the epoch that followed its links as a node of this codec; 0: none */
};

#define SEEN_BYTES (4 * (1 + WALKS))

static void seen_read(MDB_val value, struct seen *out)
{
    const uint8_t *p = value.mv_data;
    out->first = (uint32_t)store_le_get(p, 4);
    for (size_t i = 0; i < WALKS; i++)
        out->walked[i] = (uint32_t)store_le_get(p + 4 + 4 * i, 4);
}

/* `flags` of mdb_put. With MDB_NOOVERWRITE, *seen becomes what is there, if it is. */
static int seen_write(struct store_mark *mark, struct fab_slice mh, struct seen *seen,
                      unsigned flags)
{
    uint8_t bytes[SEEN_BYTES];
    store_le_put(bytes, 4, seen->first);
    for (size_t i = 0; i < WALKS; i++)
        store_le_put(bytes + 4 + 4 * i, 4, seen->walked[i]);
    MDB_val key = store_val(mh), value = {.mv_size = sizeof bytes, .mv_data = bytes};
    int rc = mdb_put(mark->txn, mark->seen, &key, &value, flags);
    if (rc == MDB_KEYEXIST)
        seen_read(value, seen);
    return rc;
}

static bool holds(const struct store_mark *mark, uint32_t epoch)
{
    return epoch && epoch != mark->dropped;
}

/* Mark a block; *out is what is known of it then. */
static enum fab_rc mark_block(struct store_mark *mark, struct fab_slice mh, struct seen *out)
{
    *out = (struct seen){.first = mark->epoch};
    int rc = seen_write(mark, mh, out, MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST) {
        if (holds(mark, out->first))
            return FAB_OK;
        out->first = mark->epoch;
        rc = seen_write(mark, mh, out, 0);
    }
    if (rc)
        return store_rc(rc);
    struct store_entry entry;
    enum fab_rc there = store_entry_get(mark->store, mark->read, mark->ws, mh, &entry);
    if (there != FAB_OK && there != FAB_ENOENT)
        return there;
    if (there == FAB_OK) {
        mark->epoch_blocks++;
        mark->epoch_bytes += entry.size;
    }
    return op_done(mark);
}

bool store_mark_has(struct store_mark *mark, struct fab_slice mh)
{
    struct seen seen;
    MDB_val key = store_val(mh), value;
    if (mdb_get(mark->txn, mark->seen, &key, &value) != MDB_SUCCESS)
        return false;
    seen_read(value, &seen);
    return holds(mark, seen.first);
}

/* The place of a codec in `walked`, WALKS for those without links. */
static size_t walk_of(uint64_t codec)
{
    switch (codec) {
    case FAB_CODEC_DAG_PB:
        return 0;
    case FAB_CODEC_DAG_CBOR:
        return 1;
    case FAB_CODEC_DAG_JSON:
        return 2;
    default:
        return WALKS;
    }
}

static enum fab_rc see_link(void *arg, const struct fab_cid *link)
{
    struct store_mark *mark = arg;
    struct seen seen;
    mark->link_rc = walk_of(link->codec) == WALKS ? mark_block(mark, fab_cid_mh(link), &seen)
                                                  : push(mark, link);
    return mark->link_rc;
}

/* FAB_ENOENT when the block is not there. */
static enum fab_rc block_bytes(struct store_mark *mark, const struct fab_cid *cid,
                               struct fab_slice *out)
{
    struct store_entry entry;
    if (fab_cid_mh_code(cid) == FAB_MH_IDENTITY) {
        *out = fab_cid_digest(cid);
        return FAB_OK;
    }
    FAB_TRY(store_entry_get(mark->store, mark->read, mark->ws, fab_cid_mh(cid), &entry));
    return store_block_bytes(mark->store, mark->read, fab_cid_mh(cid), entry.size, out);
}

static enum fab_rc visit(struct store_mark *mark, const struct fab_cid *cid)
{
    struct seen seen;
    struct fab_slice data;
    size_t walk = walk_of(cid->codec);
    FAB_TRY(read_fresh(mark));
    FAB_TRY(mark_block(mark, fab_cid_mh(cid), &seen));
    if (walk == WALKS || holds(mark, seen.walked[walk]))
        return FAB_OK;
    enum fab_rc rc = block_bytes(mark, cid, &data);
    if (rc != FAB_OK) /* missing, or its bytes are: nothing below it can be known now */
        return rc == FAB_ENOENT || rc == FAB_EFORMAT ? FAB_OK : rc;
    seen.walked[walk] = mark->epoch;
    FAB_TRY(store_rc(seen_write(mark, fab_cid_mh(cid), &seen, 0)));
    rc = fab_dag_links(cid->codec, data, see_link, mark);
    /* Our own failure, not the block's: marks that are not complete must not be used. */
    if (mark->link_rc != FAB_OK)
        return mark->link_rc;
    bool unreadable = rc == FAB_EFORMAT || rc == FAB_EUNSUPPORTED || rc == FAB_ELIMIT;
    return unreadable ? FAB_OK : rc; /* then it is a leaf: nothing can be whole below it */
}

enum fab_rc store_mark_root(struct store_mark *mark, const struct fab_cid *root, bool direct)
{
    struct seen seen;
    enum fab_rc rc = read_fresh(mark);
    if (rc == FAB_OK)
        rc = direct ? mark_block(mark, fab_cid_mh(root), &seen) : push(mark, root);
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

enum fab_rc store_mark_leases_behind(struct store_mark *mark, bool *out)
{
    enum fab_rc rc = store_lease_each(mark->store, lease_behind, mark);
    *out = rc == FAB_EEXIST;
    return rc == FAB_EEXIST ? FAB_OK : rc;
}

enum fab_rc store_mark_behind(struct store_mark *mark, MDB_txn *txn, bool *out)
{
    uint64_t seq;
    MDB_val value;
    enum fab_rc rc = pinlog_next(mark, txn, &seq, &value);
    if (rc == FAB_ENOENT)
        return store_mark_leases_behind(mark, out);
    *out = rc == FAB_OK;
    return rc;
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
