/* A connection to a peer of a private swarm, without the socket: bytes of the wire in, bytes of the
 * wire out, streams above.
 *
 *   wire - pnet - multistream /noise - Noise XX - multistream /yamux (or early) - yamux - streams
 *
 * A listener does not know the workspace before the dialer's first bytes chose one of its keys.
 * Nothing but our nonce is sent before that, and no stream exists before the peer is admitted.
 * libp2p specs: pnet, connections, noise, yamux. */
#ifndef FAB_SWARM_CONN_H
#define FAB_SWARM_CONN_H

#include "fabric/swarm/stream.h"
#include "fabric/swarm/yamux.h"

#define FAB_CONN_HANDSHAKE_US (10u * 1000000u) /* from creation to readiness */
#define FAB_CONN_STREAM_US    (10u * 1000000u) /* negotiation of one stream */

/* What the connection tells its owner. `ctx` is the owner's. None may free the connection. */
struct fab_conn_events {
    /* Listener: the swarm keys to try (1 to FAB_PNET_KEYS_MAX pointers to 32 bytes), borrowed until
     * the next call of this or `keyed`. Called while the dialer's first bytes arrive. *version is
     * another number when the list is another. Number 0 of keys: nobody can come in. */
    size_t (*keys)(void *ctx, const uint8_t *const **keys, uint64_t *version);
    /* Listener: key number `index` is the dialer's. Another code than FAB_OK closes. */
    enum fab_rc (*keyed)(void *ctx, size_t index);
    /* The peer has proven who it is. Another code than FAB_OK closes. */
    enum fab_rc (*secured)(void *ctx, const struct fab_peer_id *peer, struct fab_slice public_key);
    /* Streams may be opened from here on. */
    void (*ready)(void *ctx);
    /* What `name` means when the peer opens it; NULL: unknown. Borrowed for the connection's life.
     */
    const struct fab_protocol *(*protocol)(void *ctx, struct fab_slice name);
    /* fab_conn_output has something. Called outside of fab_conn_output only. */
    void (*wake)(void *ctx);
};

struct fab_conn_config {
    bool dialer;
    const struct fab_key *identity;       /* borrowed for the connection's life */
    const uint8_t *key;                   /* dialer: the swarm key, 32 bytes; copied */
    const struct fab_peer_id *expect;     /* dialer: who must answer; NULL: anybody */
    uint8_t random[24 + 64 + 8];          /* fresh: pnet nonce, Noise secrets, hash seed */
    uint32_t stream_window_max;           /* bytes; 0: 16 MiB */
    uint32_t streams_max;                 /* that the peer may have open; 0: 1024 */
    struct fab_yamux_budget *budget;      /* of grown windows, shared by connections; may be NULL */
    const struct fab_conn_events *events; /* borrowed for the connection's life */
    void *ctx;
};

FAB_MUST enum fab_rc fab_conn_new(const struct fab_conn_config *config, uint64_t now_us,
                                  struct fab_conn **out);
/* Every open stream gets its `closed`. NULL is allowed. Not from inside an event. */
void fab_conn_free(struct fab_conn *conn);

/* `n` bytes from the wire, decrypted in place. Another code than FAB_OK: send what fab_conn_output
 * still gives, and close. FAB_EACCES: no key fits, wrong peer, or not admitted. FAB_EUNSUPPORTED:
 * no common protocol. FAB_EFORMAT, FAB_ELIMIT: the peer broke the rules. */
FAB_MUST enum fab_rc fab_conn_input(struct fab_conn *conn, uint8_t *p, size_t n, uint64_t now_us);
/* Fill `p` for the wire; 0: nothing now. `cap` is at least FAB_CONN_OUTPUT_MIN. */
#define FAB_CONN_OUTPUT_MIN 1024u
size_t fab_conn_output(struct fab_conn *conn, uint8_t *p, size_t cap, uint64_t now_us);
/* When fab_conn_tick wants to be called, at the latest. */
uint64_t fab_conn_deadline(const struct fab_conn *conn);
/* FAB_ETIMEOUT: the handshake took too long, or the peer is silent. */
FAB_MUST enum fab_rc fab_conn_tick(struct fab_conn *conn, uint64_t now_us);

/* Open a stream that speaks the first of `names` that the peer takes. With one name, bytes may
 * follow the proposal at once. `names` is borrowed for the stream's life. FAB_ENOMEM, FAB_ELIMIT
 * (too many unanswered), FAB_EINTERRUPTED (not ready, or going away); no event then. */
FAB_MUST enum fab_rc fab_conn_open(struct fab_conn *conn, const char *const *names, size_t n,
                                   const struct fab_stream_events *events, void *user,
                                   struct fab_stream **out);
/* Tell the peer that nothing new is wanted: a yamux GoAway. */
void fab_conn_go_away(struct fab_conn *conn);

bool fab_conn_is_ready(const struct fab_conn *conn);
/* Valid once secured. */
const struct fab_peer_id *fab_conn_peer(const struct fab_conn *conn);
struct fab_slice fab_conn_public_key(const struct fab_conn *conn);
/* Round trip in microseconds; 0: not known yet. */
uint64_t fab_conn_rtt_us(const struct fab_conn *conn);
/* Open streams, both directions. */
size_t fab_conn_streams(const struct fab_conn *conn);
void *fab_conn_ctx(const struct fab_conn *conn);

#endif
