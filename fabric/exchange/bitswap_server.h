/* The serving side of Bitswap for one workspace: what peers want, whose turn it is, and the
 * responses. A core: no I/O, no clock. Everything here is for the loop thread, except
 * fab_bitswap_job_run, which reads blocks and belongs on a worker.
 *
 *   loop:    message() → … next_peer() → take() → job
 *   worker:  job_run(job, source)
 *   loop:    job_done(job); write job_bytes(job) to the peer (a new stream); sent(peer, n);
 * job_free
 *
 * Budgets: wants per peer (1024, as Kubo), bytes composed and not yet sent per peer and in all. A
 * want that the store cannot serve is answered with DONT_HAVE if the peer asked for that, and
 * remembered until the block comes (added), a cancel, or a full wantlist without it. Wants beyond
 * the limit push out remembered ones, oldest first; else they get DONT_HAVE if asked for (a bounded
 * number of them) or no answer. Empty blocks are served. */
#ifndef FAB_EXCHANGE_BITSWAP_SERVER_H
#define FAB_EXCHANGE_BITSWAP_SERVER_H

#include "storage/dag/block_io.h"

#define FAB_BITSWAP_KEY_BYTES 16 /* random bytes that key a hash table */

struct fab_bitswap_server;
struct fab_bitswap_server_peer;
struct fab_bitswap_job;

struct fab_bitswap_server_config {
    size_t wants_max;       /* entries per peer; 0: 1024 */
    size_t job_wants;       /* wants in one job; 0: 512 */
    size_t message_target;  /* payload bytes after which a message is closed; 0: 1 MiB. Clipped to
                             * 2 MiB */
    size_t outstanding_max; /* bytes per peer taken and not yet sent; 0: 4 MiB. At least
                             * message_target */
    size_t total_max;       /* the same for all peers together; 0: 64 MiB */
    size_t have_to_block;   /* a want-have for a block up to this size gets the block; 0: 1024 */
};

struct fab_bitswap_server_stats {
    uint64_t wants, refused;                         /* entries taken; entries over the limit */
    uint64_t blocks, block_bytes, haves, dont_haves; /* answers composed */
    size_t peers, remembered;                        /* now */
};

/* `key`: random bytes. `config` may be NULL and is copied. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_server_new(const struct fab_bitswap_server_config *config,
                                            const uint8_t key[FAB_BITSWAP_KEY_BYTES],
                                            struct fab_bitswap_server **out);
/* All jobs have been given to job_done before. NULL is allowed. */
void fab_bitswap_server_free(struct fab_bitswap_server *server);

/* A peer that may want something; `user` is the caller's. The handle is valid until
 * fab_bitswap_server_peer_remove, which forgets its wants; its running jobs go on, and are still
 * given to job_done. */
FAB_MUST enum fab_rc fab_bitswap_server_peer_add(struct fab_bitswap_server *server, void *user,
                                                 struct fab_bitswap_server_peer **out);
void fab_bitswap_server_peer_remove(struct fab_bitswap_server *server,
                                    struct fab_bitswap_server_peer *peer);
void *fab_bitswap_server_peer_user(const struct fab_bitswap_server_peer *peer);
/* Bytes sent to the peer so far. */
uint64_t fab_bitswap_server_peer_served(const struct fab_bitswap_server_peer *peer);

/* One message of the peer (without its length prefix): its wantlist is taken, blocks and presences
 * in it are left to the client. FAB_EFORMAT (nothing was taken; reset the stream), FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_server_message(struct fab_bitswap_server *server,
                                                struct fab_bitswap_server_peer *peer,
                                                struct fab_slice message);

/* The block has come into the workspace: remembered wants for its multihash are ready. Cheap when
 * nobody wants it. */
void fab_bitswap_server_added(struct fab_bitswap_server *server, const struct fab_cid *cid);

/* The store has changed in a way that nobody described (another process wrote to it): every
 * remembered want is looked up once more, without another DONT_HAVE. */
void fab_bitswap_server_retry(struct fab_bitswap_server *server);

/* The peer to serve next: one that has work and is within its budget, the least served first. NULL:
 * nothing can be done now; ask again after message, added, job_done, sent or peer_remove. */
struct fab_bitswap_server_peer *fab_bitswap_server_next_peer(struct fab_bitswap_server *server);

/* The peer's best wants as a job, owned by the caller until fab_bitswap_job_free. FAB_ENOENT when
 * the peer has no work or no budget; FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_server_take(struct fab_bitswap_server *server,
                                             struct fab_bitswap_server_peer *peer,
                                             struct fab_bitswap_job **out);

/* On a worker thread: read what the job wants from `source` and compose one message. Touches only
 * the job. A block that the source fails to give is answered as if it were not there; the last such
 * error is given back for the log. FAB_ENOMEM: part of the job waits for a later one. The job goes
 * to job_done in every case. */
FAB_MUST enum fab_rc fab_bitswap_job_run(struct fab_bitswap_job *job,
                                         const struct fab_block_source *source);

/* Account for what the job did (or did not, when it was never run: its wants are then ready again).
 * Exactly once for every taken job. */
void fab_bitswap_job_done(struct fab_bitswap_server *server, struct fab_bitswap_job *job);

/* Right after job_done: whom the bytes are for; NULL when the peer has been removed. */
struct fab_bitswap_server_peer *fab_bitswap_job_peer(const struct fab_bitswap_job *job);
/* The delimited message, to be written on a stream of its own; empty when there is nothing to say
 * (then no stream is opened). Borrowed from the job. */
struct fab_slice fab_bitswap_job_bytes(const struct fab_bitswap_job *job);
/* NULL is allowed. After job_done. */
void fab_bitswap_job_free(struct fab_bitswap_job *job);

/* `n` bytes of finished jobs have been written to the peer, or given up (its stream was reset). In
 * all as many as fab_bitswap_job_bytes gave. Not after peer_remove. */
void fab_bitswap_server_sent(struct fab_bitswap_server *server,
                             struct fab_bitswap_server_peer *peer, size_t n);

void fab_bitswap_server_stats(const struct fab_bitswap_server *server,
                              struct fab_bitswap_server_stats *out);

#endif
