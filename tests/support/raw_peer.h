/* A peer that does the handshake of a private swarm by hand, so that whatever is behind it may be
 * sent to a struct fab_conn: no early muxers, wrong frames, any bytes. Aborts where the connection
 * does not answer as it should; for tests and fuzz targets. */
#ifndef FAB_TESTS_RAW_PEER_H
#define FAB_TESTS_RAW_PEER_H

#include "fabric/swarm/conn.h"
#include "fabric/swarm/multistream.h"
#include "fabric/swarm/noise.h"
#include "fabric/swarm/pnet.h"

#include <stdlib.h>
#include <string.h>

#define RAW_MUST(x)                                                                                \
    do {                                                                                           \
        if (!(x))                                                                                  \
            abort();                                                                               \
    } while (0)

struct raw_peer {
    bool dialer;                    /* this side */
    bool early;                     /* offers /yamux/1.0.0 in the Noise handshake */
    const uint8_t *key;             /* the swarm's */
    const struct fab_key *identity; /* ours */
    struct fab_conn *conn;          /* the other side */
    uint64_t now_us;
    enum fab_rc rc; /* what the other side's input gave first that was not FAB_OK */
    struct fab_pnet_cipher reader, writer;
    struct fab_noise *noise;
    struct fab_multistream ms;
    size_t received;      /* bytes of the wire */
    struct fab_buf in;    /* decrypted by pnet, not looked at */
    struct fab_buf plain; /* opened by Noise, not looked at */
};

static inline int raw_match(void *ctx, struct fab_slice name)
{
    const char *only = *(const char *const *)ctx;
    return fab_slice_eq(name, fab_slice(only, strlen(only))) ? 0 : -1;
}

/* To the connection as it is, in memory of its own. */
static inline enum fab_rc raw_wire(struct raw_peer *r, const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    RAW_MUST(copy);
    if (n)
        memcpy(copy, p, n);
    enum fab_rc rc = fab_conn_input(r->conn, copy, n, r->now_us);
    free(copy);
    if (r->rc == FAB_OK)
        r->rc = rc;
    return rc;
}

/* Through pnet. */
static inline enum fab_rc raw_write(struct raw_peer *r, struct fab_slice s)
{
    uint8_t *copy = malloc(s.n ? s.n : 1);
    RAW_MUST(copy);
    if (s.n)
        memcpy(copy, s.p, s.n);
    fab_pnet_cipher_xor(&r->writer, copy, s.n);
    enum fab_rc rc = raw_wire(r, copy, s.n);
    free(copy);
    return rc;
}

/* Through Noise and pnet, in one frame. */
static inline enum fab_rc raw_send(struct raw_peer *r, const void *p, size_t n)
{
    uint8_t *frame = malloc(FAB_NOISE_HEAD + n + FAB_NOISE_TAG);
    RAW_MUST(frame);
    if (n)
        memcpy(frame + FAB_NOISE_HEAD, p, n);
    RAW_MUST(fab_noise_seal(r->noise, frame, n) == FAB_OK);
    enum fab_rc rc = raw_write(r, fab_slice(frame, FAB_NOISE_HEAD + n + FAB_NOISE_TAG));
    free(frame);
    return rc;
}

static inline void raw_take(struct fab_buf *b, size_t n)
{
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

/* All that the connection has to say, to `in`. */
static inline void raw_read(struct raw_peer *r)
{
    uint8_t buf[FAB_CONN_OUTPUT_MIN * 4];
    size_t n;
    while ((n = fab_conn_output(r->conn, buf, sizeof buf, r->now_us)) > 0) {
        uint8_t *p = buf;
        if (r->received == 0) {
            RAW_MUST(n >= FAB_PNET_NONCE_SIZE);
            fab_pnet_cipher_init(&r->reader, r->key, p);
            p += FAB_PNET_NONCE_SIZE;
        }
        r->received += n;
        n -= (size_t)(p - buf);
        fab_pnet_cipher_xor(&r->reader, p, n);
        RAW_MUST(fab_buf_append(&r->in, p, n) == FAB_OK);
    }
}

/* The next frame's body in `in`; false: it is not whole. */
static inline bool raw_frame(struct raw_peer *r, size_t *size)
{
    if (r->in.len < FAB_NOISE_HEAD)
        return false;
    *size = (size_t)r->in.data[0] << 8 | r->in.data[1];
    return r->in.len >= FAB_NOISE_HEAD + *size;
}

/* All that the connection has to say, opened, to `plain`. */
static inline void raw_open(struct raw_peer *r)
{
    size_t size;
    raw_read(r);
    while (raw_frame(r, &size)) {
        struct fab_slice plain;
        RAW_MUST(fab_noise_open(r->noise, r->in.data + FAB_NOISE_HEAD, size, &plain) == FAB_OK);
        RAW_MUST(fab_buf_append(&r->plain, plain.p, plain.n) == FAB_OK);
        raw_take(&r->in, FAB_NOISE_HEAD + size);
    }
}

static inline void raw_init(struct raw_peer *r, struct fab_conn *conn, bool dialer, bool early,
                            const uint8_t *key, const struct fab_key *identity, uint64_t now_us)
{
    static const char *const muxers[] = {FAB_YAMUX_PROTOCOL};
    static const uint8_t secrets[2][FAB_NOISE_SECRET] = {{41, 1, 2}, {42, 3, 4}};
    uint8_t nonce[FAB_PNET_NONCE_SIZE];
    memset(nonce, dialer ? 7 : 8, sizeof nonce);
    memset(r, 0, sizeof *r);
    r->conn = conn;
    r->dialer = dialer;
    r->early = early;
    r->key = key;
    r->identity = identity;
    r->now_us = now_us;
    fab_buf_init(&r->in, 1 << 26);
    fab_buf_init(&r->plain, 1 << 26);
    struct fab_noise_config config = {.role = dialer ? FAB_NOISE_INITIATOR : FAB_NOISE_RESPONDER,
                                      .key = identity,
                                      .static_secret = secrets[0],
                                      .ephemeral_secret = secrets[1],
                                      .muxers = muxers,
                                      .n_muxers = early ? 1 : 0};
    RAW_MUST(fab_noise_new(&config, &r->noise) == FAB_OK);
    fab_pnet_cipher_init(&r->writer, key, nonce);
    (void)raw_wire(r, nonce, sizeof nonce);
}

static inline void raw_fini(struct raw_peer *r)
{
    fab_noise_free(r->noise);
    fab_buf_fini(&r->in);
    fab_buf_fini(&r->plain);
}

/* multistream for one name, over pnet or (sealed) over Noise. */
static inline bool raw_negotiate(struct raw_peer *r, const char *name, bool sealed)
{
    const char *names[] = {name};
    struct fab_buf *in = sealed ? &r->plain : &r->in, out;
    fab_buf_init(&out, 4096);
    if (r->dialer)
        RAW_MUST(fab_multistream_dial(&r->ms, names, 1) == FAB_OK);
    else
        fab_multistream_listen(&r->ms, raw_match, names);
    RAW_MUST(fab_multistream_start(&r->ms, &out) == FAB_OK);
    for (unsigned i = 0; !r->ms.done && r->rc == FAB_OK && i < 4; i++) {
        if (out.len > 0)
            (void)(sealed ? raw_send(r, out.data, out.len) : raw_write(r, fab_buf_slice(&out)));
        fab_buf_reset(&out);
        sealed ? raw_open(r) : raw_read(r);
        struct fab_reader reader = fab_reader(fab_buf_slice(in));
        if (fab_multistream_input(&r->ms, &reader, &out) != FAB_OK)
            break;
        raw_take(in, in->len - fab_reader_left(&reader));
    }
    if (out.len > 0)
        (void)(sealed ? raw_send(r, out.data, out.len) : raw_write(r, fab_buf_slice(&out)));
    fab_buf_fini(&out);
    return r->ms.done;
}

/* Up to a ready connection on both sides; else look at `rc`. */
static inline bool raw_handshake(struct raw_peer *r)
{
    struct fab_buf out;
    size_t size;
    if (!raw_negotiate(r, FAB_NOISE_PROTOCOL, false))
        return false;
    fab_buf_init(&out, 1 << 16);
    if (r->dialer)
        RAW_MUST(fab_noise_start(r->noise, &out) == FAB_OK);
    for (unsigned i = 0; !fab_noise_ready(r->noise) && r->rc == FAB_OK && i < 4; i++) {
        if (out.len > 0)
            (void)raw_write(r, fab_buf_slice(&out));
        fab_buf_reset(&out);
        raw_read(r);
        if (!raw_frame(r, &size))
            break;
        if (fab_noise_handshake(r->noise, fab_slice(r->in.data + FAB_NOISE_HEAD, size), &out) !=
            FAB_OK)
            break;
        raw_take(&r->in, FAB_NOISE_HEAD + size);
    }
    if (out.len > 0)
        (void)raw_write(r, fab_buf_slice(&out));
    fab_buf_fini(&out);
    if (r->rc != FAB_OK || !fab_noise_ready(r->noise))
        return false;
    return r->early || (raw_negotiate(r, FAB_YAMUX_PROTOCOL, true) && r->rc == FAB_OK);
}

#endif
