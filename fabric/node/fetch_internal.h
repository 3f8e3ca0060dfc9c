/* What the files of fetching share: batches of received blocks (batch.c), the asker's dagsync
 * streams (fetch_stream.c), and the fetch itself (fetcher.c). Bitswap (bitswap.c) makes batches
 * too.
 */
#ifndef FAB_NODE_FETCH_INTERNAL_H
#define FAB_NODE_FETCH_INTERNAL_H

#include "fabric/exchange/bitswap_client.h"
#include "fabric/exchange/dagsync_client.h"
#include "fabric/exchange/fetch.h"
#include "fabric/node/internal.h"

#include <stdatomic.h>

/* ---- batch.c: blocks that came together, checked in the pool ---- */

struct batch_block {
    struct fab_cid cid;
    struct fab_bitswap_prefix prefix; /* has_cid false: `cid` is computed from the bytes */
    bool has_cid;
    struct fab_slice data;
    bool good;          /* the hash fits, and it decodes */
    size_t link, links; /* of batch->links: the first, and how many */
};

struct block_batch {
    struct fab_work work;
    struct fab_store *store;
    uint32_t ws;
    struct batch_block *blocks; /* owned */
    size_t n;
    struct fab_fetch_link *links; /* owned; without identity CIDs */
    size_t n_links, cap_links;
    enum fab_rc rc; /* of the check as a whole: no memory, or the store cannot be read */

    struct fab_dagsync_batch *dagsync; /* owns the bytes, or */
    uint8_t *bytes;                    /* these do */

    /* The rest belongs to who ordered it. */
    void (*checked)(struct block_batch *batch);  /* loop thread, after the check */
    void (*released)(struct block_batch *batch); /* loop thread, when the last reference has gone,
                                                    before it is freed; may be NULL */
    void *owner;
    struct block_batch *next;
    bool is_checked;
    uint64_t cost;
    struct fab_loop *loop;
    struct fab_post post;
    atomic_uint refs;
};

/* An empty batch of up to `n` blocks with one reference. NULL: no memory. */
struct block_batch *batch_new(struct node_workspace *ws, size_t n);
/* Check it in the pool: hashes, links, and which of the linked blocks the store holds. */
void batch_check(struct block_batch *batch, struct fab_node *node);
/* Give one block to an ingest, which holds a reference until it is written. */
enum fab_rc batch_store(struct block_batch *batch, size_t i, struct fab_ingest *ingest);
/* Any thread. */
void batch_unref(struct block_batch *batch);

/* Links of one block with what the view holds; appends. Pool thread. FAB_EFORMAT, FAB_ENOMEM. */
struct link_list {
    struct fab_fetch_link *links;
    size_t n, cap;
    struct fab_view *view;
};
FAB_MUST enum fab_rc links_of(struct link_list *list, uint64_t codec, struct fab_slice data);

/* ---- a fetch ---- */

struct source; /* one dagsync peer of one fetch */

struct node_fetch {
    struct node_workspace *ws;
    struct node_fetch *next;
    struct fetch_request request;
    char *path; /* of the request; owned */
    struct fab_fetch *core;
    struct fab_ingest *ingest;
    struct fab_lease *lease;
    struct source *sources;
    struct fab_bitswap_session *session; /* NULL: no peer speaks bitswap only */
    unsigned session_number;             /* its number in the core */
    struct fetch_progress progress;
    uint64_t last_progress_us;
    unsigned looks;   /* lookups under way */
    unsigned batches; /* that were ordered and not released */
    bool opening, ending, told;
    struct fab_err err, open_err; /* open_err: of the pool's thread, until open_done */
    struct fab_work work;         /* the opening, then the commit */
    struct fab_defer step;
    enum fab_rc commit_rc;
    struct fab_cid missing[8];
    size_t n_missing;
};

struct source {
    struct node_fetch *fetch;
    struct source *next;
    struct node_peer *peer; /* NULL: gone, only batches are waited for */
    struct node_link *link; /* of the peer's extra connections; NULL: the one in use */
    unsigned number;        /* in the core; valid while peer is */
    struct fab_stream *stream;
    struct fab_dagsync_client *client; /* as long as the stream */
    struct outbuf out;
    struct block_batch *first, *last; /* in the order of arrival, being checked */
    unsigned checking;
    uint64_t credit;         /* bytes that may come and that came and are not stored */
    uint64_t unstored;       /* the latter */
    uint64_t received, mark; /* bytes; at the last progress */
    uint64_t progress_us, rest_until_us;
    unsigned failures;
    bool finishing;
    /* Whether more connections would bring more; of the source without a link. */
    uint64_t grow_us, grow_bytes; /* when it was looked at last, and the bytes then */
    uint64_t grow_rate;           /* bytes a second of one connection */
    unsigned grown_ticks;
};

/* Look at everything again soon: assign, end. */
void fetch_step_later(struct node_fetch *fetch);
void fetch_fail(struct node_fetch *fetch, enum fab_rc rc, const char *fmt, ...) FAB_PRINTF(3, 4);
/* A checked block for this fetch; stores it when it was wanted. *accepted. */
FAB_MUST enum fab_rc fetch_take_block(struct node_fetch *fetch, unsigned number,
                                      struct block_batch *batch, size_t i, fab_fetch_prune_fn prune,
                                      bool *accepted);
/* For the core: the peer `number` should leave the block out. `arg` is the fetch. */
void fetch_prune(void *arg, unsigned number, const struct fab_cid *cid);

/* ---- fetch_stream.c ---- */

/* Ask the source for what the core has for it. */
void source_assign(struct source *source, uint64_t now_us);
void source_prune(struct source *source, const struct fab_cid *cid);
/* Give up on its stream and on what was asked on it. */
void source_drop_stream(struct source *source);
void source_tick(struct source *source, uint64_t now_us);
/* It has something to answer yet, or an answer that was not taken. */
bool source_is_sending(const struct source *source);
/* The connection that it asks on; NULL. */
struct fab_conn *source_conn(const struct source *source);

/* ---- bitswap.c ---- */

FAB_MUST enum fab_rc bitswap_session_open(struct node_workspace *ws, struct node_fetch *fetch,
                                          struct fab_bitswap_session **out);
/* Peers that speak bitswap and not dagsync, connected now. */
unsigned bitswap_peers(const struct node_workspace *ws);
/* Send what the client has to say. */
void bitswap_kick(struct node_workspace *ws);

#endif
