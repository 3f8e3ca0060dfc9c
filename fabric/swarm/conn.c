/* The story of a connection.
 *
 * Dialer: our nonce, then (keyed with the one swarm key) the multistream header and /noise at once,
 * without waiting. When the remote's 24 bytes have come the reading side is keyed too, and its
 * header and answer are read. Listener: our nonce at once, and nothing else until the dialer's
 * nonce and header have chosen a key; then our header and the answer.
 *
 * Noise XX follows on the bare stream, in frames of its own. With /yamux/1.0.0 in both early lists
 * the muxer is there when Noise is; else multistream runs once more inside Noise frames. Then all
 * that comes is opened in place and given to yamux, and all that yamux has is written, sealed and
 * XORed in place in the caller's buffer: a byte of payload is copied once in and once out.
 *
 * Failures: whatever breaks a rule ends the connection with one code; nothing is said to the remote
 * but what yamux says (GoAway). Until streams exist there is one deadline for everything. */
#include "fabric/swarm/conn_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_OUT_MAX (8u << 10)
#define FRAME_ROOM        (FAB_NOISE_HEAD + FAB_NOISE_TAG)

static const char *const security_names[] = {FAB_NOISE_PROTOCOL};
static const char *const muxer_names[] = {FAB_YAMUX_PROTOCOL};

static int only_name(const char *name, struct fab_slice asked)
{
    return fab_slice_eq(asked, fab_slice(name, strlen(name))) ? 0 : -1;
}

static int match_security(void *ctx, struct fab_slice name)
{
    (void)ctx;
    return only_name(FAB_NOISE_PROTOCOL, name);
}

static int match_muxer(void *ctx, struct fab_slice name)
{
    (void)ctx;
    return only_name(FAB_YAMUX_PROTOCOL, name);
}

static enum fab_rc negotiate(struct fab_conn *conn, const char *const *names,
                             fab_multistream_match *match, struct fab_buf *out)
{
    if (conn->dialer)
        FAB_TRY(fab_multistream_dial(&conn->negotiation, names, 1));
    else
        fab_multistream_listen(&conn->negotiation, match, NULL);
    return fab_multistream_start(&conn->negotiation, out);
}

/* ---- stages; each consumes what is its own from `in` ---- */

static enum fab_rc start_security(struct fab_conn *conn, const uint8_t *key)
{
    fab_pnet_cipher_init(&conn->writer, key, conn->nonce);
    conn->can_write = true;
    return negotiate(conn, security_names, match_security, &conn->out);
}

static enum fab_rc dialer_nonce(struct fab_conn *conn, struct fab_reader *in)
{
    size_t want = FAB_PNET_NONCE_SIZE - conn->pnet.dial.n;
    size_t n = fab_reader_left(in) < want ? fab_reader_left(in) : want;
    memcpy(conn->pnet.dial.bytes + conn->pnet.dial.n, in->p, n);
    conn->pnet.dial.n += (uint8_t)n;
    in->p += n;
    if (n < want)
        return FAB_OK;
    fab_pnet_cipher_init(&conn->reader, conn->pnet.dial.key, conn->pnet.dial.bytes);
    sodium_memzero(&conn->pnet, sizeof conn->pnet);
    conn->stage = STAGE_SECURITY;
    return FAB_OK;
}

static enum fab_rc listener_nonce(struct fab_conn *conn, struct fab_reader *in)
{
    const uint8_t *const *keys = NULL;
    uint64_t version = 0;
    size_t n = conn->events->keys(conn->ctx, &keys, &version);
    if (n == 0)
        return FAB_EACCES;
    if (version != conn->keys_version)
        fab_pnet_select_restart(&conn->pnet.select);
    conn->keys_version = version;
    size_t index;
    enum fab_rc rc = fab_pnet_select_input(&conn->pnet.select, keys, n, in, &index);
    if (rc == FAB_EBUSY)
        return FAB_OK;
    if (rc != FAB_OK)
        return rc == FAB_ENOENT ? FAB_EACCES : rc;
    fab_pnet_select_cipher(&conn->pnet.select, keys[index], &conn->reader);
    FAB_TRY(start_security(conn, keys[index]));
    conn->can_write = false; /* a dialer that is turned away here has seen our nonce only */
    FAB_TRY(conn->events->keyed(conn->ctx, index));
    conn->can_write = true;
    conn->stage = STAGE_SECURITY;
    struct fab_reader header =
        fab_reader(fab_slice(FAB_MULTISTREAM_HEADER, FAB_MULTISTREAM_HEADER_SIZE));
    return fab_multistream_input(&conn->negotiation, &header, &conn->out);
}

static enum fab_rc start_noise(struct fab_conn *conn)
{
    struct fab_noise_config config = {
        .role = conn->dialer ? FAB_NOISE_INITIATOR : FAB_NOISE_RESPONDER,
        .key = conn->identity,
        .static_secret = conn->noise_secrets,
        .ephemeral_secret = conn->noise_secrets + FAB_NOISE_SECRET,
        .muxers = muxer_names,
        .n_muxers = 1,
        .expected = conn->expect.len ? &conn->expect : NULL,
    };
    FAB_TRY(fab_noise_new(&config, &conn->noise));
    sodium_memzero(conn->noise_secrets, sizeof conn->noise_secrets);
    conn->stage = STAGE_NOISE;
    return conn->dialer ? fab_noise_start(conn->noise, &conn->out) : FAB_OK;
}

static enum fab_rc security(struct fab_conn *conn, struct fab_reader *in)
{
    enum fab_rc rc = fab_multistream_input(&conn->negotiation, in, &conn->out);
    if (rc != FAB_OK)
        return rc == FAB_ENOENT ? FAB_EUNSUPPORTED : rc;
    return conn->negotiation.done ? start_noise(conn) : FAB_OK;
}

static enum fab_rc start_streams(struct fab_conn *conn)
{
    conn->stage = STAGE_STREAMS;
    struct fab_yamux_events events = fab_conn_yamux_events;
    events.ctx = conn;
    FAB_TRY(fab_yamux_new(&conn->yamux_config, &events, conn->now_us, &conn->yamux));
    conn->events->ready(conn->ctx);
    return FAB_OK;
}

static enum fab_rc noise_message(struct fab_conn *conn, struct fab_slice message)
{
    bool knew = fab_noise_remote(conn->noise) != NULL;
    FAB_TRY(fab_noise_handshake(conn->noise, message, &conn->out));
    const struct fab_peer_id *peer = fab_noise_remote(conn->noise);
    if (peer && !knew) {
        enum fab_rc rc = conn->events->secured(conn->ctx, peer, fab_noise_remote_key(conn->noise));
        if (rc != FAB_OK) {
            fab_buf_fini(&conn->out); /* message 3 would tell it who we are */
            return rc;
        }
    }
    if (!fab_noise_ready(conn->noise))
        return FAB_OK;
    if (fab_noise_muxer(conn->noise) >= 0)
        return start_streams(conn);
    conn->stage = STAGE_MUXER;
    return negotiate(conn, muxer_names, match_muxer, &conn->muxer_out);
}

/* One whole frame's body, in place. */
static enum fab_rc frame(struct fab_conn *conn, uint8_t *body, size_t n)
{
    if (!fab_noise_ready(conn->noise))
        return noise_message(conn, fab_slice(body, n));
    struct fab_slice plain;
    FAB_TRY(fab_noise_open(conn->noise, body, n, &plain));
    if (conn->stage == STAGE_MUXER) {
        struct fab_reader in = fab_reader(plain);
        enum fab_rc rc = fab_multistream_input(&conn->negotiation, &in, &conn->muxer_out);
        if (rc != FAB_OK)
            return rc == FAB_ENOENT ? FAB_EUNSUPPORTED : rc;
        if (!conn->negotiation.done)
            return FAB_OK;
        FAB_TRY(start_streams(conn));
        plain = fab_slice(in.p, fab_reader_left(&in));
    }
    return plain.n ? fab_yamux_input(conn->yamux, plain.p, plain.n, conn->now_us) : FAB_OK;
}

/* Bytes of the frame that begins with these n, as far as they tell. */
static size_t frame_size(const uint8_t *p, size_t n)
{
    return n < FAB_NOISE_HEAD ? FAB_NOISE_HEAD : FAB_NOISE_HEAD + ((size_t)p[0] << 8 | p[1]);
}

/* A stranger gets no buffer for more than a handshake message. */
static enum fab_rc frame_check(const struct fab_conn *conn, size_t size)
{
    return !fab_noise_ready(conn->noise) && size > FAB_NOISE_HEAD + FAB_NOISE_HANDSHAKE_MAX
               ? FAB_ELIMIT
               : FAB_OK;
}

/* Noise frames: whole ones are opened where they lie; the beginning of one waits in `partial`. */
static enum fab_rc frames(struct fab_conn *conn, uint8_t *p, size_t n)
{
    struct fab_buf *partial = &conn->partial;
    while (n > 0) {
        if (partial->len > 0 || n < FAB_NOISE_HEAD) {
            size_t need = frame_size(partial->data, partial->len);
            size_t take = need - partial->len < n ? need - partial->len : n;
            FAB_TRY(fab_buf_append(partial, p, take));
            p += take;
            n -= take;
            need = frame_size(partial->data, partial->len);
            FAB_TRY(frame_check(conn, need));
            if (partial->len < need)
                continue;
            size_t body = partial->len - FAB_NOISE_HEAD;
            partial->len = 0;
            FAB_TRY(frame(conn, partial->data + FAB_NOISE_HEAD, body));
            continue;
        }
        size_t size = frame_size(p, n);
        FAB_TRY(frame_check(conn, size));
        if (n < size) {
            FAB_TRY(fab_buf_reserve(partial, size));
            return fab_buf_append(partial, p, n);
        }
        FAB_TRY(frame(conn, p + FAB_NOISE_HEAD, size - FAB_NOISE_HEAD));
        p += size;
        n -= size;
    }
    if (partial->len == 0) /* an idle connection holds no buffer */
        fab_buf_fini(partial);
    return FAB_OK;
}

static enum fab_rc input(struct fab_conn *conn, uint8_t *p, size_t n)
{
    struct fab_reader in = fab_reader(fab_slice(p, n));
    if (conn->stage == STAGE_NONCE)
        FAB_TRY(conn->dialer ? dialer_nonce(conn, &in) : listener_nonce(conn, &in));
    n = fab_reader_left(&in);
    p += in.p - p;
    if (conn->stage == STAGE_NONCE || n == 0)
        return FAB_OK;
    fab_pnet_cipher_xor(&conn->reader, p, n);
    if (conn->stage == STAGE_SECURITY) {
        FAB_TRY(security(conn, &in));
        p += in.p - p;
        n = fab_reader_left(&in);
    }
    return conn->stage == STAGE_SECURITY ? FAB_OK : frames(conn, p, n);
}

enum fab_rc fab_conn_input(struct fab_conn *conn, uint8_t *p, size_t n, uint64_t now_us)
{
    if (conn->stage == STAGE_ENDED)
        return FAB_EINTERRUPTED;
    conn->now_us = now_us;
    enum fab_rc rc = input(conn, p, n);
    if (rc != FAB_OK)
        conn->stage = STAGE_ENDED;
    conn_wake(conn);
    return rc;
}

/* ---- output ---- */

/* Move the beginning of `from` to `p`. */
static size_t drain(struct fab_buf *from, uint8_t *p, size_t cap)
{
    size_t n = from->len < cap ? from->len : cap;
    if (n == 0)
        return 0;
    memcpy(p, from->data, n);
    memmove(from->data, from->data + n, from->len - n);
    from->len -= n;
    if (from->len == 0)
        fab_buf_fini(from);
    return n;
}

static size_t sealed(struct fab_conn *conn, uint8_t *p, size_t cap)
{
    size_t done = 0;
    while (cap - done > FRAME_ROOM + FAB_YAMUX_HEADER) {
        size_t room = cap - done - FRAME_ROOM;
        if (room > FAB_NOISE_PLAIN_MAX)
            room = FAB_NOISE_PLAIN_MAX;
        uint8_t *plain = p + done + FAB_NOISE_HEAD;
        size_t n = drain(&conn->muxer_out, plain, room);
        /* Twice: `closed`, which may open a stream, runs when the first has nothing to write. */
        for (unsigned i = 0; n == 0 && i < 2 && conn->yamux; i++)
            n = fab_yamux_output(conn->yamux, plain, room, conn->now_us);
        if (n == 0)
            break;
        if (fab_noise_seal(conn->noise, p + done, n) != FAB_OK) {
            conn->stage = STAGE_ENDED; /* nothing of this frame has left; tick reports it */
            break;
        }
        done += n + FRAME_ROOM;
    }
    return done;
}

size_t fab_conn_output(struct fab_conn *conn, uint8_t *p, size_t cap, uint64_t now_us)
{
    size_t done = 0;
    conn->now_us = now_us;
    if (!conn->nonce_sent && cap >= FAB_PNET_NONCE_SIZE) {
        memcpy(p, conn->nonce, FAB_PNET_NONCE_SIZE);
        conn->nonce_sent = true;
        done = FAB_PNET_NONCE_SIZE;
    }
    if (!conn->nonce_sent || !conn->can_write)
        return done;
    conn->in_output = true;
    size_t clear = done;
    done += drain(&conn->out, p + done, cap - done);
    if (conn->out.len == 0 && conn->noise && fab_noise_ready(conn->noise))
        done += sealed(conn, p + done, cap - done);
    conn->in_output = false;
    fab_pnet_cipher_xor(&conn->writer, p + clear, done - clear);
    return done;
}

/* ---- life ---- */

enum fab_rc fab_conn_new(const struct fab_conn_config *config, uint64_t now_us,
                         struct fab_conn **out)
{
    struct fab_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return FAB_ENOMEM;
    conn->dialer = config->dialer;
    conn->events = config->events;
    conn->ctx = config->ctx;
    conn->identity = config->identity;
    conn->now_us = now_us;
    conn->handshake_until_us = now_us + FAB_CONN_HANDSHAKE_US;
    const uint8_t *random = config->random;
    memcpy(conn->nonce, random, sizeof conn->nonce);
    random += sizeof conn->nonce;
    memcpy(conn->noise_secrets, random, sizeof conn->noise_secrets);
    random += sizeof conn->noise_secrets;
    conn->yamux_config = (struct fab_yamux_config){
        .dialler = config->dialer,
        .inbound_max = config->streams_max,
        .stream_window_max = config->stream_window_max,
        .shared = config->budget,
    };
    memcpy(&conn->yamux_config.hash_seed, random, sizeof conn->yamux_config.hash_seed);
    fab_buf_init(&conn->partial, FAB_NOISE_HEAD + FAB_NOISE_MESSAGE_MAX);
    fab_buf_init(&conn->out, HANDSHAKE_OUT_MAX);
    fab_buf_init(&conn->muxer_out, HANDSHAKE_OUT_MAX);
    enum fab_rc rc = FAB_OK;
    if (conn->dialer) {
        if (config->expect)
            conn->expect = *config->expect;
        memcpy(conn->pnet.dial.key, config->key, sizeof conn->pnet.dial.key);
        rc = start_security(conn, config->key);
    } else {
        fab_pnet_select_init(&conn->pnet.select);
    }
    if (rc != FAB_OK) {
        fab_conn_free(conn);
        return rc;
    }
    *out = conn;
    return FAB_OK;
}

void fab_conn_free(struct fab_conn *conn)
{
    if (!conn)
        return;
    conn->stage = STAGE_ENDED;
    conn->in_output = true; /* nobody is to be woken any more */
    fab_yamux_free(conn->yamux);
    fab_noise_free(conn->noise);
    fab_pnet_cipher_fini(&conn->reader);
    fab_pnet_cipher_fini(&conn->writer);
    fab_buf_fini(&conn->partial);
    fab_buf_fini(&conn->out);
    fab_buf_fini(&conn->muxer_out);
    sodium_memzero(conn, sizeof *conn);
    free(conn);
}

uint64_t fab_conn_deadline(const struct fab_conn *conn)
{
    if (conn->stage == STAGE_ENDED)
        return conn->now_us;
    if (!conn->yamux)
        return conn->handshake_until_us;
    uint64_t yamux = fab_yamux_deadline(conn->yamux);
    uint64_t streams = fab_conn_streams_deadline(conn);
    return yamux < streams ? yamux : streams;
}

enum fab_rc fab_conn_tick(struct fab_conn *conn, uint64_t now_us)
{
    conn->now_us = now_us;
    if (conn->stage == STAGE_ENDED)
        return FAB_EINTERRUPTED;
    if (!conn->yamux)
        return now_us >= conn->handshake_until_us ? FAB_ETIMEOUT : FAB_OK;
    fab_conn_streams_tick(conn);
    enum fab_rc rc = fab_yamux_tick(conn->yamux, now_us);
    if (rc != FAB_OK)
        conn->stage = STAGE_ENDED;
    if (fab_yamux_wants_output(conn->yamux))
        conn_wake(conn);
    return rc;
}

void fab_conn_go_away(struct fab_conn *conn)
{
    if (!conn->yamux)
        return;
    fab_yamux_go_away(conn->yamux, FAB_YAMUX_AWAY_NORMAL);
    conn_wake(conn);
}

bool fab_conn_is_ready(const struct fab_conn *conn)
{
    return conn->stage == STAGE_STREAMS && !fab_yamux_leaving(conn->yamux);
}

const struct fab_peer_id *fab_conn_peer(const struct fab_conn *conn)
{
    return conn->noise ? fab_noise_remote(conn->noise) : NULL;
}

struct fab_slice fab_conn_public_key(const struct fab_conn *conn)
{
    return conn->noise ? fab_noise_remote_key(conn->noise) : fab_slice(NULL, 0);
}

uint64_t fab_conn_rtt_us(const struct fab_conn *conn)
{
    return conn->yamux ? fab_yamux_rtt_us(conn->yamux) : 0;
}

size_t fab_conn_streams(const struct fab_conn *conn)
{
    return conn->yamux ? fab_yamux_streams(conn->yamux) : 0;
}

void *fab_conn_ctx(const struct fab_conn *conn)
{
    return conn->ctx;
}
