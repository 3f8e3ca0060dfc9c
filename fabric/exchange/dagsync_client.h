/* The asker of one /fabric/dagsync/1 stream (docs/protocols/dagsync.md): it frames what is asked,
 * and takes the answer apart into batches that a worker can check and store while the next one
 * fills. It does not decide what is missing, and trusts no block: see struct fab_dagsync_event.
 *
 * All functions run on the loop thread, but fab_dagsync_batch_free, which is any thread's. What is
 * to be sent is appended to the caller's buffer, whole messages or nothing, and must be sent in
 * that order; an error leaves the state as it was. The caller ends its side of the stream (FIN)
 * when all that it wants has ended. Memory: one batch that fills, one spare, and about 20 KiB; a
 * batch that was taken is the caller's. */
#ifndef FAB_EXCHANGE_DAGSYNC_CLIENT_H
#define FAB_EXCHANGE_DAGSYNC_CLIENT_H

#include "fabric/exchange/dagsync_message.h"

#define FAB_DAGSYNC_BATCH        ((1u << 20) + (128u << 10)) /* bytes of a batch; more if one block is */
#define FAB_DAGSYNC_BATCH_EVENTS 2048u

/* One message of the server. In the order of the stream: parents before their children, what an
 * item brings before its end.
 *
 * The receiver of FAB_DAGSYNC_BLOCK still has to: check the hash (fab_cid_check), and that the
 * block belongs to what was asked, which is so when its CID (codec and multihash; the version may
 * differ) is an open item's, or is linked from a block accepted before on this stream or held
 * already. A server that sends anything else, or a block twice below FAB_DAGSYNC_SEEN_MAX blocks,
 * breaks the protocol. */
struct fab_dagsync_event {
    enum fab_dagsync_type type; /* BLOCK, MISSING, ITEM_DONE, ERROR or DONE */
    uint8_t code;               /* ERROR: enum fab_dagsync_error, or one not known here */
    struct fab_cid cid;         /* BLOCK, MISSING */
    struct fab_slice bytes;     /* BLOCK: the block; ERROR: text that the peer chose, any bytes.
                                   Borrowed from the batch */
    uint64_t number;            /* ITEM_DONE, ERROR: the item's index, counted from 0 over the
                                   stream in the order of asking; DONE: items ended */
};

struct fab_dagsync_batch {
    const struct fab_dagsync_event *events;
    size_t count;
    uint64_t cost;   /* bytes of credit used by the batch: what to give back once it is stored */
    uint64_t blocks; /* events that are BLOCK */
    bool done;       /* the last event is a DONE for everything that was asked until it arrived */
};

struct fab_dagsync_client;

FAB_MUST enum fab_rc fab_dagsync_client_new(struct fab_dagsync_client **out);
void fab_dagsync_client_free(struct fab_dagsync_client *client); /* NULL is allowed */

/* ---- asking ---- */

/* Append a REQUEST with the first items of `items` that may be open now; *taken says how many (0:
 * nothing is appended; ask again after an item has ended). The first item of a stream has index 0.
 * FAB_EINVAL for an item that breaks a limit; FAB_ELIMIT when `out` is full, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_dagsync_client_ask(struct fab_dagsync_client *client,
                                            const struct fab_dagsync_item *items, size_t count,
                                            struct fab_buf *out, size_t *taken);
/* Give `bytes` more of credit (0: nothing is appended); without any the server sends no block. The
 * server may go past the credit by one message. FAB_EINVAL beyond FAB_DAGSYNC_CREDIT_MAX. */
FAB_MUST enum fab_rc fab_dagsync_client_credit(struct fab_dagsync_client *client, uint64_t bytes,
                                               struct fab_buf *out);
/* Say that `cid` and what is below it need not be sent. A hint: blocks on their way still come. */
FAB_MUST enum fab_rc fab_dagsync_client_prune(struct fab_dagsync_client *client,
                                              const struct fab_cid *cid, struct fab_buf *out);

/* Items asked so far, and those of them that have not ended. */
uint64_t fab_dagsync_client_asked(const struct fab_dagsync_client *client);
uint64_t fab_dagsync_client_open(const struct fab_dagsync_client *client);
/* Credit given and not used; 0 when the server went past it. */
uint64_t fab_dagsync_client_credit_left(const struct fab_dagsync_client *client);

/* ---- the answer ---- */

/* Feed bytes of the stream, cut anywhere, copying them once. *used says how many were taken: fewer
 * than given only when the batch is full (then fab_dagsync_client_take and feed the rest).
 * FAB_EFORMAT: the server broke the protocol (a bad message, a block without credit or over
 * FAB_BLOCK_MAX, an item's end out of order): reset the stream; batches filled until then may still
 * be taken. FAB_ENOMEM. Both are final. */
FAB_MUST enum fab_rc fab_dagsync_client_input(struct fab_dagsync_client *client,
                                              struct fab_slice bytes, size_t *used);
/* The server's FIN. FAB_EFORMAT within a message or with items open. */
FAB_MUST enum fab_rc fab_dagsync_client_input_end(struct fab_dagsync_client *client);

/* Whether the batch that fills should be taken now: it is full, or everything asked has ended. */
bool fab_dagsync_client_ready(const struct fab_dagsync_client *client);
/* Whether there is any whole event to take (when a worker is idle, a batch need not be full). */
bool fab_dagsync_client_pending(const struct fab_dagsync_client *client);
/* Take the events so far; *out is the caller's, NULL when there are none. A message that is half
 * here moves on into the next batch, which copies its bytes again: taking only what is ready avoids
 * that. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_dagsync_client_take(struct fab_dagsync_client *client,
                                             struct fab_dagsync_batch **out);
/* Give a batch back, to be filled again (one is kept as spare); NULL is allowed. */
void fab_dagsync_client_recycle(struct fab_dagsync_client *client, struct fab_dagsync_batch *batch);
/* Free a batch: any thread, also after the client is gone. NULL is allowed. */
void fab_dagsync_batch_free(struct fab_dagsync_batch *batch);

#endif
