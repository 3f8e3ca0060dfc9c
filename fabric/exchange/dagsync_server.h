/* The server of one /fabric/dagsync/1 stream (docs/protocols/dagsync.md): it streams the blocks of
 * the DAGs that the asker names, parents first, each once, within the asker's credit.
 *
 * Two threads share it. The loop thread feeds what arrives; a worker reads the store and fills a
 * buffer. They meet only in fab_dagsync_server_apply:
 *
 *     on the loop, bytes arrived:   input(server, bytes)                 also while a fill runs
 *     on the loop, no fill runs:    apply(server); if state is WORK: start a fill on a worker
 *     on a worker:                  fill(server, source, out, target)
 *     on the loop, fill has ended:  write `out` to the stream; apply; look at state again
 *
 * apply must come after a fill has ended and before what it filled is sent, or at latest before the
 * next fill starts. Memory: fab_dagsync_server_memory, at most FAB_DAGSYNC_SERVER_MEMORY whatever
 * the DAGs look like; plus, while a fill runs, what decoding one block takes. */
#ifndef FAB_EXCHANGE_DAGSYNC_SERVER_H
#define FAB_EXCHANGE_DAGSYNC_SERVER_H

#include "fabric/exchange/dagsync_message.h"

#define FAB_DAGSYNC_SEEN_MAX      393216u /* blocks remembered as sent; more may be sent again */
#define FAB_DAGSYNC_PRUNES_MAX    4096u   /* PRUNEs remembered; more are passed over */
#define FAB_DAGSYNC_SERVER_MEMORY ((size_t)8 << 20)
#define FAB_DAGSYNC_KEY           16 /* bytes */

enum fab_dagsync_state {
    FAB_DAGSYNC_WORK,     /* a fill would bring something */
    FAB_DAGSYNC_WAIT,     /* out of credit: for CREDIT (or PRUNE) to arrive */
    FAB_DAGSYNC_IDLE,     /* every item has ended: for REQUEST or the end of the stream */
    FAB_DAGSYNC_FINISHED, /* the asker has ended, and nothing more can be sent: send FIN */
};

struct fab_dagsync_server;

/* `key`: random bytes, copied (the sets of seen blocks are keyed by them). FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_dagsync_server_new(const uint8_t key[FAB_DAGSYNC_KEY],
                                            struct fab_dagsync_server **out);
/* NULL is allowed. Loop thread, no fill running. */
void fab_dagsync_server_free(struct fab_dagsync_server *server);

/* Feed bytes of the stream, cut anywhere. Loop thread; may run beside a fill. All are consumed.
 * FAB_EFORMAT, FAB_ELIMIT (more asked than FAB_DAGSYNC_ITEMS_MAX and FAB_DAGSYNC_ASK_MAX allow,
 * more credit than FAB_DAGSYNC_CREDIT_MAX) and FAB_ENOMEM: reset the stream, then free. */
FAB_MUST enum fab_rc fab_dagsync_server_input(struct fab_dagsync_server *server,
                                              struct fab_slice bytes);
/* The asker's FIN: no input follows. FAB_EFORMAT within a message. As input. */
FAB_MUST enum fab_rc fab_dagsync_server_input_end(struct fab_dagsync_server *server);

/* Hand what arrived over to the walk, and learn what it has ended. Loop thread, no fill running.
 * FAB_ENOMEM, FAB_ELIMIT (more credit than FAB_DAGSYNC_CREDIT_MAX): reset the stream. */
FAB_MUST enum fab_rc fab_dagsync_server_apply(struct fab_dagsync_server *server);
/* What to do next, as of the last apply. Loop thread, no fill running. */
enum fab_dagsync_state fab_dagsync_server_state(const struct fab_dagsync_server *server);

/* Append whole messages to `out` until about `target` bytes were added (passed by one message at
 * most), the credit or the items end, or much was read without bringing anything. `out` must have
 * room for target + FAB_DAGSYNC_FRAME_MAX + 512 bytes more. Any thread, one fill at a time;
 * `source` is borrowed for the call and nothing that it gave is kept. Blocks of `source` are taken
 * to be right (they were hashed when they were stored). FAB_ENOMEM, FAB_ELIMIT (`out` is too
 * small): reset the stream; what `out` holds is whole messages, but the items cannot go on. A
 * source's other errors end the item, not the stream. */
FAB_MUST enum fab_rc fab_dagsync_server_fill(struct fab_dagsync_server *server,
                                             const struct fab_block_source *source,
                                             struct fab_buf *out, size_t target);

/* Bytes of memory held now. Loop thread, no fill running. */
size_t fab_dagsync_server_memory(const struct fab_dagsync_server *server);
/* Blocks and bytes of blocks sent, for statistics. Loop thread, no fill running. */
void fab_dagsync_server_sent(const struct fab_dagsync_server *server, uint64_t *blocks,
                             uint64_t *bytes);

#endif
