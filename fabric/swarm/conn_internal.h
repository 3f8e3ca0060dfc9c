/* What conn.c (the wire side) and conn_stream.c (the stream side) share. */
#ifndef FAB_SWARM_CONN_INTERNAL_H
#define FAB_SWARM_CONN_INTERNAL_H

#include "fabric/swarm/conn.h"
#include "fabric/swarm/multistream.h"
#include "fabric/swarm/noise.h"
#include "fabric/swarm/pnet.h"

enum conn_stage {
    STAGE_NONCE,    /* the remote's nonce is not whole; a listener: nor is the header */
    STAGE_SECURITY, /* multistream for /noise */
    STAGE_NOISE,    /* handshake messages */
    STAGE_MUXER,    /* multistream for /yamux/1.0.0 inside Noise, if it was not chosen early */
    STAGE_STREAMS,
    STAGE_ENDED,
};

struct fab_conn {
    enum conn_stage stage;
    bool dialer, in_output;
    const struct fab_conn_events *events;
    void *ctx;
    const struct fab_key *identity;
    struct fab_yamux_config yamux_config;
    uint64_t now_us, handshake_until_us;

    uint8_t nonce[FAB_PNET_NONCE_SIZE]; /* ours */
    bool nonce_sent, can_write;         /* can_write: `writer` is keyed */
    struct fab_pnet_cipher reader, writer;
    union {
        struct fab_pnet_select select; /* listener */
        struct {
            uint8_t bytes[FAB_PNET_NONCE_SIZE];
            uint8_t n;
            uint8_t key[FAB_SWARM_KEY_SIZE];
        } dial;
    } pnet;
    uint64_t keys_version;

    struct fab_multistream negotiation; /* of security, then of the muxer */
    struct fab_noise *noise;
    struct fab_buf partial;   /* the beginning of a Noise frame whose end has not come */
    struct fab_buf out;       /* handshake bytes that are not sealed */
    struct fab_buf muxer_out; /* of STAGE_MUXER; sealed when sent */

    struct fab_yamux *yamux;
    struct fab_stream *oldest,
        *newest; /* streams that negotiate, in the order of their deadlines */
    uint8_t noise_secrets[2 * FAB_NOISE_SECRET];
    struct fab_peer_id expect; /* len 0: anybody */
};

extern const struct fab_yamux_events fab_conn_yamux_events;

/* Reset the streams whose negotiation has lasted too long. */
void fab_conn_streams_tick(struct fab_conn *conn);
uint64_t fab_conn_streams_deadline(const struct fab_conn *conn);

static inline void conn_wake(struct fab_conn *conn)
{
    if (!conn->in_output)
        conn->events->wake(conn->ctx);
}

#endif
