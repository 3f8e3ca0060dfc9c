/* What the files of storage/store share: the environment, its tables, transactions and the gate.
 * docs/store.md describes the tables. */
#ifndef FAB_STORE_INTERNAL_H
#define FAB_STORE_INTERNAL_H

#include "storage/store/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <time.h>

#define STORE_FORMAT     2u
#define STORE_EXTENT_MIN (8u << 10) /* bytes of a block from which it lies in blocks.dat */
#define STORE_KEY_MAX    511
#define STORE_BATCH_DISK                                                                           \
    (32u << 20) /* bytes of blocks in one write transaction of an ingest: few syncs */
#define STORE_BATCH_MEMORY                                                                         \
    (12u << 20) /* the same where a sync costs nothing: pages stay in the CPU's cache */
#define STORE_HEADROOM   (256u << 20) /* free map bytes demanded when a write transaction begins */
#define STORE_HIGH_WATER 90u          /* percent of a quota, unless configured */

enum store_dbi {
    DBI_META,
    DBI_WS,
    DBI_BLOCKS,
    DBI_SPACE,
    DBI_PINS,
    DBI_PINLOG,
    DBI_ROOTS,
    DBI_TABLES,
    DBI_EXTENTS,
    DBI_HOLES,
    DBI_FITS,
    DBI_FREED,
    DBI_N
};

struct fab_store {
    char *dir;
    int dirfd;   /* of dir */
    int open_fd; /* shared lock while open; compaction takes it alone */
    int turn_fd; /* turnstile before LMDB's writer lock, so that writers alternate */
    MDB_env *env;
    MDB_dbi dbi[DBI_N];
    struct store_extents *extents;
    bool inline_blocks; /* format 1 has written large blocks into `blocks` */
    uint64_t map_bytes;
    uint64_t cached; /* bytes of one ingest that go through the page cache */
    uint64_t quota;  /* bytes, 0: none */
    unsigned high_water;
    bool memory_fs;              /* nothing is synced there */
    pthread_mutex_t write_mutex; /* one write transaction per process at a time */

    /* The gate: LMDB's map may only be changed while this process has no transaction. */
    pthread_mutex_t gate_mutex;
    pthread_cond_t gate_cond;
    unsigned gate_active;  /* transactions open */
    unsigned gate_pending; /* threads that wait to change the map */
    bool gate_closed;      /* the map is being changed */
};

enum fab_rc store_rc(int mdb_rc);
/* A message for a failed LMDB call on this store. */
enum fab_rc store_err(struct fab_err *err, const struct fab_store *store, int mdb_rc,
                      const char *what);

/* ---- environment (env.c) ---- */
enum fab_rc store_env_open(struct fab_store *store, struct fab_err *err);
void store_env_close(struct fab_store *store);
/* After a close: open it again with its tables. The gate is closed. */
enum fab_rc store_env_reopen(struct fab_store *store, struct fab_err *err);

/* ---- gate and transactions (txn.c) ---- */
void store_gate_enter(struct fab_store *store, bool yield);
void store_gate_leave(struct fab_store *store);
/* Wait until no transaction is open in this process and keep others out, until store_gate_open. */
void store_gate_close(struct fab_store *store);
void store_gate_open(struct fab_store *store);

enum fab_rc store_read_begin(struct fab_store *store, MDB_txn **out);
void store_read_end(struct fab_store *store, MDB_txn *txn);

/* A write transaction with at least STORE_HEADROOM bytes of map left. `flags`: 0 or MDB_NOMETASYNC.
 */
enum fab_rc store_write_begin(struct fab_store *store, unsigned flags, MDB_txn **out,
                              struct fab_err *err);
enum fab_rc store_write_commit(struct fab_store *store, MDB_txn *txn, struct fab_err *err);
void store_write_abort(struct fab_store *store, MDB_txn *txn);
/* Fewer bytes are free on the disk than a few transactions write. */
bool store_disk_short(const struct fab_store *store);
/* Returns when every write transaction that was open when it was called has ended. */
enum fab_rc store_write_barrier(struct fab_store *store);

/* ---- values (value.c) ---- */
static inline MDB_val store_val(struct fab_slice s)
{
    return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}

static inline struct fab_slice store_slice(MDB_val v)
{
    return fab_slice(v.mv_data, v.mv_size);
}

struct store_key {
    uint8_t bytes[STORE_KEY_MAX];
    size_t n;
};
/* ws (big-endian) and the rest; the rest is at most FAB_CID_MAX bytes. */
void store_key_ws(struct store_key *key, uint32_t ws, struct fab_slice rest);
void store_key_cid(struct store_key *key, uint32_t ws, const struct fab_cid *cid);
MDB_val store_key_val(struct store_key *key);

void store_le_put(uint8_t *p, unsigned bytes, uint64_t v);
uint64_t store_le_get(const uint8_t *p, unsigned bytes);

enum fab_rc store_meta_get(struct fab_store *store, MDB_txn *txn, const char *name, unsigned bytes,
                           uint64_t *out);
enum fab_rc store_meta_put(struct fab_store *store, MDB_txn *txn, const char *name, unsigned bytes,
                           uint64_t v);

/* ---- workspaces (workspace.c) ---- */
enum fab_rc store_ws_load(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                          struct fab_workspace_info *out);
enum fab_rc store_ws_save(struct fab_store *store, MDB_txn *txn,
                          const struct fab_workspace_info *info);
enum fab_rc store_ws_make(struct fab_store *store, MDB_txn *txn, const char *name,
                          struct fab_workspace_info *out);
/* Was removed, and is only still there because what it saw has to go first. */
static inline bool store_ws_leaving(const struct fab_workspace_info *info)
{
    return info->name[0] == 0;
}
/* FAB_ENOENT when the workspace is not there or leaves: nothing may be written into it. */
enum fab_rc store_ws_check(struct fab_store *store, MDB_txn *txn, uint32_t ws);
/* One that leaves; FAB_ENOENT. */
enum fab_rc store_ws_next_leaving(struct fab_store *store, MDB_txn *txn, uint32_t *out);

/* ---- blocks (block.c): one write transaction's changes, counted once at its end ---- */
struct store_entry {
    uint64_t gen, owner;
    uint32_t size;
};

struct store_change {
    struct fab_store *store;
    MDB_txn *txn;
    struct fab_workspace_info ws;
    uint64_t gen, used_bytes, used_blocks;
    uint32_t *others; /* ids of the other workspaces, loaded for the first removal */
    size_t others_n;
    bool others_loaded;
    bool past_cache; /* large blocks that come now: see store_extent_write */
};
enum fab_rc store_change_begin(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                               struct store_change *out);
/* Write the counters back. */
enum fab_rc store_change_end(struct store_change *change);
void store_change_drop(struct store_change *change);
/* Make the block visible and stamp it. *fresh: the workspace did not see it before. The data as in
 * store_extent_write. FAB_EQUOTA. */
enum fab_rc store_block_write(struct store_change *change, const struct fab_cid *cid,
                              struct fab_slice data, uint64_t owner, bool *fresh);
/* Take it from the workspace, the bytes with the last entry. */
enum fab_rc store_block_delete(struct store_change *change, struct fab_slice mh, uint32_t size);
enum fab_rc store_entry_get(struct fab_store *store, MDB_txn *txn, uint32_t ws, struct fab_slice mh,
                            struct store_entry *out);
void store_entry_parse(MDB_val value, struct store_entry *out);

/* The bytes of a block that has an entry of that size; valid as long as the transaction. */
enum fab_rc store_block_bytes(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                              uint32_t size, struct fab_slice *out);

/* ---- blocks from STORE_EXTENT_MIN bytes on (extent.c) ---- */
struct store_extents;
enum fab_rc store_extents_open(struct fab_store *store, struct fab_err *err);
void store_extents_close(struct fab_store *store);
/* FAB_EEXIST when it is there. `past_cache`: past the page cache, if that can be; the data then has
 * to stay until store_extents_flush, or until the transaction ends. */
enum fab_rc store_extent_write(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                               struct fab_slice data, bool past_cache);
/* In place; valid as long as the transaction. FAB_ENOENT; FAB_ENOMEM: no address space. */
enum fab_rc store_extent_get(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                             struct fab_slice *out);
/* Share its first `n` bytes with a file, as fab_view_clone. FAB_ENOENT. */
enum fab_rc store_extent_clone(struct fab_store *store, MDB_txn *txn, struct fab_slice mh,
                               uint64_t n, int fd, uint64_t offset);
enum fab_rc store_extent_delete(struct fab_store *store, MDB_txn *txn, struct fab_slice mh);
/* Write the blocks that wait for more to be written with; afterwards nobody needs their data. */
enum fab_rc store_extents_flush(struct fab_store *store);
/* Whether there are any. */
bool store_extents_pending(const struct fab_store *store);
/* Before a commit: all of that, and it is on the disk. Gives an errno, 0 for success. */
int store_extents_sync(struct fab_store *store);
/* The transaction is about to be aborted: what it appended is cut off. */
void store_extents_abort(struct fab_store *store);
/* It has ended. */
void store_extents_forget(struct fab_store *store);
/* Bytes of the file that the next writes use again; bytes that the file takes of the disk. */
enum fab_rc store_extents_free(struct fab_store *store, MDB_txn *txn, uint64_t *out);
enum fab_rc store_extents_size(const struct fab_store *store, uint64_t *out);
/* Cut off what lies behind the end: a transaction that did not commit has written it. */
enum fab_rc store_extents_cut(struct fab_store *store);
/* Give what is free in the file back to the disk, as far as no reader's snapshot needs it. In
 * transactions of its own. */
enum fab_rc store_extents_give_back(struct fab_store *store);

/* ---- pins inside a transaction (pin.c) ---- */
enum fab_rc store_pin_put(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                          const struct fab_cid *cid, enum fab_pin_mode mode, const char *name);
enum fab_rc store_pin_delete(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                             const struct fab_cid *cid);
enum fab_rc store_root_put(struct fab_store *store, MDB_txn *txn, uint32_t ws,
                           const struct fab_cid *cid, int64_t now);

/* ---- leases (lease.c) ---- */
enum lease_kind { LEASE_PUT = 1, LEASE_ROOT = 2 };
struct lease_info {
    uint64_t id, gen;
    enum lease_kind kind;
    uint32_t ws;
    struct fab_cid root;
};
enum fab_rc store_lease_take(struct fab_store *store, const struct lease_info *info,
                             struct fab_lease **out, struct fab_err *err);
uint64_t store_lease_id(const struct fab_lease *lease);
/* Everything that the lease's owner stamped carries `gen` or a newer one: older blocks need no
 * protection for its sake. False when it could not be written; the lease then protects more. */
bool store_lease_raise(struct fab_lease *lease, uint64_t gen);
/* Every live lease; dead ones are removed. `fn` gets each once. An error when one lives and cannot
 * be read: whoever removes blocks must not go on then. */
enum fab_rc store_lease_each(struct fab_store *store,
                             enum fab_rc (*fn)(void *arg, const struct lease_info *info),
                             void *arg);

/* ---- collection's helpers (gc.c) ---- */
/* Evict and collect so that `need` more bytes fit the quotas; best effort, waits for a running
 * collection. Without `need`: only when a quota's high-water mark is passed. */
enum fab_rc store_make_room(struct fab_store *store, uint32_t ws, uint64_t need,
                            struct fab_err *err);

/* ---- marking (mark.c): the blocks that roots reach, kept on disk ---- */
struct store_mark;
enum fab_rc store_mark_new(struct fab_store *store, uint32_t ws, const atomic_bool *cancel,
                           struct store_mark **out, struct fab_err *err);
void store_mark_free(struct store_mark *mark);
/* Everything under `root` that is there (only the root's own block with `direct`), counted under
 * the current epoch. */
enum fab_rc store_mark_root(struct store_mark *mark, const struct fab_cid *root, bool direct);
/* All pins, and the roots of live leases that were not marked yet. */
enum fab_rc store_mark_pins(struct store_mark *mark);
enum fab_rc store_mark_leases(struct store_mark *mark);
/* The pins that were logged since the last call. */
enum fab_rc store_mark_pinlog(struct store_mark *mark);
/* Inside a write transaction of the store: is there a lease that is not marked yet? For whoever
 * counts the pins himself: pins are logged for the collection that runs only. */
enum fab_rc store_mark_leases_behind(struct store_mark *mark, bool *out);
/* The same, or a pin that the collection has not marked yet? */
enum fab_rc store_mark_behind(struct store_mark *mark, MDB_txn *txn, bool *out);
/* Begin another epoch; blocks that only a dropped epoch reached count as unmarked. One may be
 * dropped. */
void store_mark_epoch(struct store_mark *mark);
void store_mark_drop_epoch(struct store_mark *mark);
bool store_mark_has(struct store_mark *mark, struct fab_slice mh);
void store_mark_totals(const struct store_mark *mark, uint64_t *blocks, uint64_t *bytes);

static inline double store_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
