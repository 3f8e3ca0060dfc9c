/* The asking side of Bitswap for one workspace: sessions want blocks, peers are asked for them. A
 * core: bytes, events and the time in; bytes and blocks out. Loop thread only.
 *
 * Every session asks all peers of the client. Two sessions that want the same bytes (the same
 * multihash, whatever codec) share one want.
 *
 *   peer_add(…); session_new(…); session_want(cid) as the walk finds them
 *   while ((peer = next_output(now)))  output(peer, buf) → write to the peer's want stream
 *   a response message arrives: message(peer, bytes) → events.candidate(prefix, data) for each
 * block worker: cid = hash(prefix, data); loop: block(peer, cid, len) → events.got for each session
 *   a timer at deadline(): tick(now)
 *
 * A want goes to one peer as want-block: one that said HAVE or gave the session blocks, the one
 * expected to be done first. While no such peer is known, all are asked: the best by want-block,
 * the others by want-have. DONT_HAVE, silence, or wrong blocks move it on. What no peer has is
 * missing: it is listed, and asked for again from time to time and when a peer is added.
 *
 * An empty block and an identity CID are not asked for (Kubo never serves the first): the caller
 * makes them, see fab_bitswap_is_empty_block. */
#ifndef FAB_EXCHANGE_BITSWAP_CLIENT_H
#define FAB_EXCHANGE_BITSWAP_CLIENT_H

#include "fabric/exchange/bitswap_message.h"

#define FAB_BITSWAP_CLIENT_PEERS_MAX 64 /* peers at once */

struct fab_bitswap_client;
struct fab_bitswap_client_peer;
struct fab_bitswap_session;

struct fab_bitswap_client_config {
    size_t wants_max;      /* wants in all; 0: 131,072 */
    size_t peer_wants_max; /* want-blocks outstanding per peer; 0: 512, at most 512 */
    size_t peer_bytes_max; /* bytes expected from a peer at once; 0: 32 MiB; at least 16 blocks are
                            * asked for whatever their size */
    uint64_t timeout_us;   /* without a byte from a peer that owes us blocks; 0: 10 s */
    uint64_t retry_us;     /* between attempts for missing blocks; 0: 15 s */
};

/* Called from within the functions named. They may want and cancel, but free no session, remove no
 * peer, and not call the client's message, block, tick or output again. */
struct fab_bitswap_client_events {
    void *arg;
    /* From fab_bitswap_client_message: hash these bytes on a worker and report them with
     * fab_bitswap_client_block. `data` is borrowed from the message. */
    void (*candidate)(void *arg, struct fab_bitswap_client_peer *peer,
                      const struct fab_bitswap_prefix *prefix, struct fab_slice data);
    /* From fab_bitswap_client_block, once for each session that wanted it: `cid` as that session
     * asked. The want is over. */
    void (*got)(void *arg, void *session_user, const struct fab_cid *cid);
};

struct fab_bitswap_client_stats {
    uint64_t blocks, bytes;         /* wanted blocks received */
    uint64_t duplicates, dup_bytes; /* blocks that had come already, or were cancelled */
    uint64_t unwanted;              /* blocks that nobody had asked for: wrong blocks */
    uint64_t timeouts;              /* wants taken from a silent peer */
    size_t wants, missing, peers;   /* now */
};

/* `key`: random bytes. `config` may be NULL; it and `events` are copied. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_client_new(const struct fab_bitswap_client_config *config,
                                            const struct fab_bitswap_client_events *events,
                                            const uint8_t key[16], struct fab_bitswap_client **out);
/* Frees sessions and peers too. NULL is allowed. */
void fab_bitswap_client_free(struct fab_bitswap_client *client);

/* ---- peers ---- */

/* A connected peer that speaks bitswap; `user` is the caller's. FAB_ELIMIT beyond
 * FAB_BITSWAP_CLIENT_PEERS_MAX, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_client_peer_add(struct fab_bitswap_client *client, void *user,
                                                 uint64_t now_us,
                                                 struct fab_bitswap_client_peer **out);
/* Its wants go to the other peers. Blocks of it that are still being hashed may be reported with
 * peer NULL. */
void fab_bitswap_client_peer_remove(struct fab_bitswap_client *client,
                                    struct fab_bitswap_client_peer *peer);
void *fab_bitswap_client_peer_user(const struct fab_bitswap_client_peer *peer);
/* The peer sent wrong blocks only, several times: it is asked for nothing more, and the caller may
 * drop it. */
bool fab_bitswap_client_peer_bad(const struct fab_bitswap_client_peer *peer);
/* The want stream to the peer was lost or refused: what was asked on it will be asked again. */
void fab_bitswap_client_peer_lost(struct fab_bitswap_client *client,
                                  struct fab_bitswap_client_peer *peer);

/* ---- sessions ---- */

FAB_MUST enum fab_rc fab_bitswap_session_new(struct fab_bitswap_client *client, void *user,
                                             struct fab_bitswap_session **out);
/* Cancels its wants. NULL is allowed. */
void fab_bitswap_session_free(struct fab_bitswap_session *session);

/* Want a block. FAB_EEXIST when the session wants it already (by multihash); FAB_EINVAL for an
 * empty block or an identity CID; FAB_EUNSUPPORTED for a hash function that this build does not
 * compute; FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_bitswap_session_want(struct fab_bitswap_session *session,
                                              const struct fab_cid *cid);
/* No longer. Not wanted: no effect. */
void fab_bitswap_session_cancel(struct fab_bitswap_session *session, const struct fab_cid *cid);

/* Wants of the session, and those among them that no peer has. */
size_t fab_bitswap_session_wants(const struct fab_bitswap_session *session);
size_t fab_bitswap_session_missing(const struct fab_bitswap_session *session);
/* Call `each` for every missing want; it may not change the client. */
void fab_bitswap_session_list_missing(const struct fab_bitswap_session *session,
                                      void (*each)(void *arg, const struct fab_cid *cid),
                                      void *arg);

/* Whether the CID is that of a block of 0 bytes (identity or a hash of nothing), whose bytes are
 * thus known. */
bool fab_bitswap_is_empty_block(const struct fab_cid *cid);

/* ---- bytes and time ---- */

/* Decide what to ask of whom, and give a peer that has bytes to send; NULL: none. A peer is given
 * once and then not again until its output has been taken, now or when its stream can take it. */
struct fab_bitswap_client_peer *fab_bitswap_client_next_output(struct fab_bitswap_client *client,
                                                               uint64_t now_us);
/* Append the peer's delimited message(s), below 256 KiB, to `out`. What does not fit stays:
 * FAB_ELIMIT, FAB_ENOMEM, and then `out` is as it was. */
FAB_MUST enum fab_rc fab_bitswap_client_output(struct fab_bitswap_client *client,
                                               struct fab_bitswap_client_peer *peer,
                                               struct fab_buf *out);

/* Bytes of an unfinished message came from the peer: it is alive. */
void fab_bitswap_client_progress(struct fab_bitswap_client *client,
                                 struct fab_bitswap_client_peer *peer, uint64_t now_us);

/* One message of the peer (without its length prefix): presences are taken, blocks given to
 * events.candidate; wants in it are left to the server. Blocks from a peer that was asked for
 * nothing are dropped. FAB_EFORMAT (nothing was taken; reset the stream). */
FAB_MUST enum fab_rc fab_bitswap_client_message(struct fab_bitswap_client *client,
                                                struct fab_bitswap_client_peer *peer,
                                                struct fab_slice message, uint64_t now_us);

/* A block from the peer (NULL: it is gone) with this CID, computed from its bytes, of `len` bytes.
 * True when it was wanted: store it (events.got has been called). False: drop it; a block that is
 * not a duplicate is charged to the peer. */
bool fab_bitswap_client_block(struct fab_bitswap_client *client,
                              struct fab_bitswap_client_peer *peer, const struct fab_cid *cid,
                              size_t len, uint64_t now_us);

/* Time has passed. */
void fab_bitswap_client_tick(struct fab_bitswap_client *client, uint64_t now_us);
/* When tick wants to be called next; UINT64_MAX: not at all. */
uint64_t fab_bitswap_client_deadline(const struct fab_bitswap_client *client);

void fab_bitswap_client_stats(const struct fab_bitswap_client *client,
                              struct fab_bitswap_client_stats *out);

#endif
