/* The content-addressed store: one LMDB environment, and a file of large blocks, in a directory
 * that several processes share.
 *
 * Bytes are stored once, by multihash. Who may see a block is separate: the `space` table maps
 * (workspace, multihash), and every read goes through a view of one workspace. docs/store.md
 * describes the format and its promises. A struct fab_store may be used by any thread; the other
 * objects here belong to one thread at a time. A store must not be used across fork(). */
#ifndef FAB_STORE_STORE_H
#define FAB_STORE_STORE_H

#include "storage/dag/block_io.h"

#include <stdatomic.h>
#include <stdint.h>

struct fab_store;

struct fab_store_options {
    uint64_t map_bytes;   /* address space to begin with; 0: 1 TiB, halved until it fits */
    uint64_t quota_bytes; /* hard limit of block bytes in the whole store; 0: none */
    unsigned high_water;  /* percent of a quota above which unpinned roots go; 0: 90 */
    uint64_t cached;      /* bytes of one ingest that go through the page cache, the rest goes past
                             it; 0: a sixteenth of the machine's memory */
    bool no_create;       /* FAB_ENOENT when there is no store yet */
};

/* Open, or make (mode 0700), the store in `dir`. Refuses network file systems (FAB_EUNSUPPORTED)
 * and a newer format; clears dead readers and dead leases. `options` may be NULL. Opening one
 * directory twice in one process is an error of the caller (LMDB forbids it). */
FAB_MUST enum fab_rc fab_store_open(const char *dir, const struct fab_store_options *options,
                                    struct fab_store **out, struct fab_err *err);
void fab_store_close(struct fab_store *store);
/* A number that is another one after every write, by whichever process. Any thread; cheap. */
uint64_t fab_store_version(struct fab_store *store);

/* ---- workspaces ---- */

#define FAB_WORKSPACE_NAME_MAX 63
#define FAB_WORKSPACE_LOCAL    "local" /* exists from the start */

struct fab_workspace_info {
    uint32_t id;
    char name[FAB_WORKSPACE_NAME_MAX + 1];
    uint64_t bytes, blocks; /* what it sees, charged in full */
    uint64_t quota;         /* bytes; 0: none but the store's */
};

/* Names are 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit. With `create`, make it. */
FAB_MUST enum fab_rc fab_workspace_find(struct fab_store *store, const char *name, bool create,
                                        struct fab_workspace_info *out, struct fab_err *err);
FAB_MUST enum fab_rc
fab_workspace_list(struct fab_store *store,
                   enum fab_rc (*fn)(void *arg, const struct fab_workspace_info *info), void *arg);
/* 0 removes the quota. A quota below what is used is allowed: writes then fail. */
FAB_MUST enum fab_rc fab_workspace_set_quota(struct fab_store *store, uint32_t ws, uint64_t bytes,
                                             struct fab_err *err);

/* Take the workspace's name, durably: it is gone for everybody, and what it saw goes with the next
 * fab_workspace_sweep or collection, with its pins, its roots, and the records of higher layers
 * whose keys begin with its id. Ids are not given again. FAB_EINVAL for the local one, FAB_ENOENT,
 * FAB_EBUSY while a lease lives in it. */
FAB_MUST enum fab_rc fab_workspace_remove(struct fab_store *store, uint32_t ws,
                                          struct fab_err *err);
/* Clear what removed workspaces left, in small write transactions beside everything else; blocks
 * that no other workspace sees go. `cancel` may be NULL; FAB_EINTERRUPTED leaves the rest for the
 * next time. */
FAB_MUST enum fab_rc fab_workspace_sweep(struct fab_store *store, const atomic_bool *cancel,
                                         struct fab_err *err);

struct fab_store_info {
    uint64_t bytes, blocks; /* block bytes and blocks in the store, each once */
    uint64_t quota;         /* bytes, 0: none */
    uint64_t file_bytes;    /* what data.mdb and blocks.dat occupy on disk */
    uint64_t free_bytes;    /* of that, what the next writes reuse */
    uint64_t disk_free;     /* bytes free on the file system for this user */
    unsigned format;
};
FAB_MUST enum fab_rc fab_store_info(struct fab_store *store, struct fab_store_info *out,
                                    struct fab_err *err);
/* ---- reading: a view is one snapshot of one workspace ---- */

struct fab_view;

FAB_MUST enum fab_rc fab_view_open(struct fab_store *store, uint32_t ws, struct fab_view **out,
                                   struct fab_err *err);
void fab_view_close(struct fab_view *view);
/* Move to the newest snapshot; every slice got from the view becomes invalid. Long readers call
 * this every few hundred milliseconds, since pages that a snapshot can see are not reused. */
FAB_MUST enum fab_rc fab_view_refresh(struct fab_view *view);
/* Bytes in the map, valid until refresh or close. FAB_ENOENT if this workspace does not see the
 * block. Identity CIDs are not answered here (use fab_block_get on fab_view_source). */
FAB_MUST enum fab_rc fab_view_get(struct fab_view *view, const struct fab_cid *cid,
                                  struct fab_slice *out);
/* What large blocks begin on, in the store's file; where theirs does too, files can share it, and
 * memory is written without a copy. */
#define FAB_STORE_PAGE 4096u
/* Let the file `fd` have the block's first bytes at `offset` without a copy: its pages and the
 * store's become one until either changes (ioctl_ficlonerange(2)). `n` and `offset` are multiples
 * of FAB_STORE_PAGE, `n` at most the block's size. FAB_ENOENT: not there, or stored without
 * pages of its own; FAB_EUNSUPPORTED: another file system, or one that cannot. */
FAB_MUST enum fab_rc fab_view_clone(struct fab_view *view, const struct fab_cid *cid, uint64_t n,
                                    int fd, uint64_t offset);
/* The size without touching the bytes. */
FAB_MUST enum fab_rc fab_view_size(struct fab_view *view, const struct fab_cid *cid, uint64_t *out);
struct fab_block_source fab_view_source(struct fab_view *view);
/* Every block of the workspace in multihash order, beginning at `after` (exclusive; n 0: the
 * start). */
FAB_MUST enum fab_rc fab_view_each(struct fab_view *view, struct fab_slice after,
                                   enum fab_rc (*fn)(void *arg, struct fab_slice mh, uint64_t size),
                                   void *arg);

/* ---- pins ---- */

enum fab_pin_mode { FAB_PIN_RECURSIVE = 1, FAB_PIN_DIRECT = 2 };

#define FAB_PIN_NAME_MAX 255

struct fab_pin {
    struct fab_cid cid;
    enum fab_pin_mode mode;
    int64_t created; /* seconds since 1970 */
    char name[FAB_PIN_NAME_MAX + 1];
};

/* Record the pin durably. The caller has walked the DAG under a root lease and knows that it is
 * whole. A pin that exists is replaced (a recursive one is never weakened to direct; a NULL name
 * keeps the old). */
FAB_MUST enum fab_rc fab_pin_add(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                 enum fab_pin_mode mode, const char *name, struct fab_err *err);
/* FAB_ENOENT when there is no such pin. */
FAB_MUST enum fab_rc fab_pin_remove(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                    struct fab_err *err);
FAB_MUST enum fab_rc fab_pin_get(struct fab_store *store, uint32_t ws, const struct fab_cid *cid,
                                 struct fab_pin *out);
FAB_MUST enum fab_rc fab_pin_list(struct fab_store *store, uint32_t ws,
                                  enum fab_rc (*fn)(void *arg, const struct fab_pin *pin),
                                  void *arg);

/* ---- leases: what keeps blocks from collection while work goes on ---- */

struct fab_lease;

/* Keep everything under `root` (what of it is there) until released or until this process dies.
 * Taken before the DAG is walked. Also records that the root was used (at most once an hour is
 * written). */
FAB_MUST enum fab_rc fab_lease_root(struct fab_store *store, uint32_t ws,
                                    const struct fab_cid *root, struct fab_lease **out,
                                    struct fab_err *err);
void fab_lease_release(struct fab_lease *lease); /* NULL is allowed */

/* ---- writing: an ingest is one put, import or fetch ---- */

struct fab_ingest;

/* Start a writer thread and take a put lease. */
FAB_MUST enum fab_rc fab_ingest_open(struct fab_store *store, uint32_t ws, struct fab_ingest **out,
                                     struct fab_err *err);

/* A block on its way into the store. Owned by the caller until `done` is called on the writer
 * thread, which happens exactly once per submitted block, also after a failure. */
struct fab_ingest_block {
    struct fab_cid cid;    /* known to match the bytes */
    struct fab_slice data; /* one of 128 KiB or more best is whole FAB_STORE_PAGEs, from one on */
    void (*done)(struct fab_ingest_block *block);
    struct fab_ingest_block *next; /* the ingest's */
};
/* Queue a block; any thread, never blocks. Memory in flight is bounded by the caller, who has a
 * fixed number of buffers. */
void fab_ingest_submit(struct fab_ingest *ingest, struct fab_ingest_block *block);

/* Copy and queue one block of at most FAB_BLOCK_MAX bytes; blocks while the copies in flight exceed
 * 8 MiB. Gives the sticky failure of earlier writes. For internal nodes and single blocks. */
FAB_MUST enum fab_rc fab_ingest_put(struct fab_ingest *ingest, const struct fab_cid *cid,
                                    struct fab_slice data);
struct fab_block_sink fab_ingest_sink(struct fab_ingest *ingest);
/* The sticky failure so far, FAB_OK if none. Any thread. */
enum fab_rc fab_ingest_failed(struct fab_ingest *ingest);

struct fab_ingest_stats {
    uint64_t blocks, bytes;         /* submitted */
    uint64_t new_blocks, new_bytes; /* not seen by the workspace before */
};

struct fab_ingest_root {
    struct fab_cid cid;
    bool pin;         /* else it is remembered as an unpinned root, evicted oldest-used first */
    const char *name; /* of the pin; NULL for none */
};

/* Write everything that was submitted, so that views opened from now on have it; nothing more may
 * be submitted, and the ingest still has to be committed or aborted. For what looks at the content
 * before it pins it. Gives the sticky failure. */
FAB_MUST enum fab_rc fab_ingest_finish(struct fab_ingest *ingest, struct fab_err *err);

/* Write everything, then in one durable transaction the pins and roots; end the lease and free the
 * ingest in every case. Without FAB_OK nothing was pinned and the blocks that this ingest alone
 * brought are gone again. `stats` may be NULL. */
FAB_MUST enum fab_rc fab_ingest_commit(struct fab_ingest *ingest,
                                       const struct fab_ingest_root *roots, size_t n,
                                       struct fab_ingest_stats *stats, struct fab_err *err);
/* Take back the blocks that this ingest alone brought; free. NULL is allowed. */
void fab_ingest_abort(struct fab_ingest *ingest);

/* ---- collection ---- */

struct fab_gc_options {
    bool dry_run;
    /* Unpinned roots are kept, newest-used first, while what is kept stays within this many bytes;
     * 0 keeps none (what `fabric gc` does). */
    uint64_t keep_bytes;
    const atomic_bool *cancel; /* may be NULL; ends with FAB_EINTERRUPTED between small steps */
    void (*progress)(void *arg, const char *phase, uint64_t done, uint64_t total);
    void *arg;
};

struct fab_gc_stats {
    uint64_t marked_blocks, removed_blocks, removed_bytes;
    double mark_seconds, sweep_seconds, longest_txn_seconds;
};

/* Mark from pins and live leases in short read transactions, sweep in small write transactions,
 * beside everything else that runs. FAB_EBUSY when another collection runs. */
FAB_MUST enum fab_rc fab_gc(struct fab_store *store, uint32_t ws,
                            const struct fab_gc_options *options, struct fab_gc_stats *out,
                            struct fab_err *err);
/* Rewrite data.mdb without its free pages, and give the free parts of blocks.dat back. Demands that
 * no other process has the store open (FAB_EBUSY). The store stays open. */
FAB_MUST enum fab_rc fab_store_compact(struct fab_store *store, struct fab_err *err);

/* Remove one block from the workspace. FAB_EBUSY when a pin or lease reaches it. */
FAB_MUST enum fab_rc fab_block_remove(struct fab_store *store, uint32_t ws,
                                      const struct fab_cid *cid, struct fab_err *err);
/* Remove a block whose bytes are rotten from every workspace, whatever pins it. */
FAB_MUST enum fab_rc fab_block_drop_rotten(struct fab_store *store, struct fab_slice mh,
                                           struct fab_err *err);

/* ---- records of higher layers (jobs, memo): small ordered tables in the same environment ---- */

struct fab_store_batch; /* one write transaction */

FAB_MUST enum fab_rc fab_batch_begin(struct fab_store *store, struct fab_store_batch **out,
                                     struct fab_err *err);
/* `table` is 1 to 31 letters; keys 1 to 400 bytes; values up to 64 KiB. The keys of a workspace's
 * own records begin with its id (u32 big-endian), so that they go with it; other keys must not look
 * like that. */
FAB_MUST enum fab_rc fab_batch_put(struct fab_store_batch *batch, const char *table,
                                   struct fab_slice key, struct fab_slice value);
FAB_MUST enum fab_rc fab_batch_delete(struct fab_store_batch *batch, const char *table,
                                      struct fab_slice key);
/* Read inside the transaction; borrowed until the batch's next write or end. */
FAB_MUST enum fab_rc fab_batch_get(struct fab_store_batch *batch, const char *table,
                                   struct fab_slice key, struct fab_slice *out);
FAB_MUST enum fab_rc fab_batch_pin(struct fab_store_batch *batch, uint32_t ws,
                                   const struct fab_cid *cid, enum fab_pin_mode mode,
                                   const char *name);
FAB_MUST enum fab_rc fab_batch_unpin(struct fab_store_batch *batch, uint32_t ws,
                                     const struct fab_cid *cid);
/* Durable on FAB_OK; freed in every case. */
FAB_MUST enum fab_rc fab_batch_commit(struct fab_store_batch *batch, struct fab_err *err);
void fab_batch_abort(struct fab_store_batch *batch);

/* Copy one value out into `out` (appended). FAB_ENOENT. */
FAB_MUST enum fab_rc fab_table_get(struct fab_store *store, const char *table, struct fab_slice key,
                                   struct fab_buf *out);
/* Keys beginning with `prefix`, ascending, or descending with `reverse`; the slices are valid
 * during the call; another code than FAB_OK stops and is given back. */
FAB_MUST enum fab_rc
fab_table_each(struct fab_store *store, const char *table, struct fab_slice prefix, bool reverse,
               enum fab_rc (*fn)(void *arg, struct fab_slice key, struct fab_slice value),
               void *arg);

#endif
