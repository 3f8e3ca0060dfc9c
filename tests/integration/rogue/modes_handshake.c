/* Before there is a connection: whoever holds no key, and whoever holds it and does not shake
 * hands. Kubo's limit for all of it is 15 seconds. */
#include "tests/integration/rogue/modes.h"

#include "fabric/swarm/multistream.h"
#include "fabric/swarm/noise_payload.h"
#include "fabric/swarm/noise_xx.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define AT_ONCE      200.0
#define LIMIT        15000.0
#define ONLY_NONCE   24u
#define NONCE_HEADER (24u + 20u)

static struct wire w;

static bool wrong_key(const struct target *t, const struct fab_cid *cid)
{
    struct target other = *t;
    (void)cid;
    other.key[0] ^= 1;
    wire_open(&w, &other);
    wire_send(&w, FAB_MULTISTREAM_HEADER, FAB_MULTISTREAM_HEADER_SIZE);
    return closes(&w, AT_ONCE, ONLY_NONCE);
}

static bool half_open(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    wire_open(&w, t);
    return closes(&w, LIMIT, ONLY_NONCE);
}

static bool byte_a_second(const struct target *t, const struct fab_cid *cid)
{
    double start = now_ms(), took = -1;
    (void)cid;
    wire_open(&w, t);
    for (int i = 0; i < 20 && !w.ended; i++) {
        if (!wire_send(&w, &FAB_MULTISTREAM_HEADER[i], 1))
            break;
        took = wire_await_close(&w, 1000);
    }
    printf("closed after %.0f ms, %llu bytes said; ", now_ms() - start,
           (unsigned long long)w.received);
    return took >= 0 && now_ms() - start <= LIMIT && w.received <= NONCE_HEADER;
}

/* Once the key has been proven. */
static void greet_with(const struct target *t, const void *p, size_t n)
{
    wire_open(&w, t);
    wire_send(&w, FAB_MULTISTREAM_HEADER, FAB_MULTISTREAM_HEADER_SIZE);
    wire_send(&w, p, n);
}

static bool garbage(const struct target *t, const struct fab_cid *cid)
{
    uint8_t bytes[4096];
    (void)cid;
    memset(bytes, 0x81, sizeof bytes);
    greet_with(t, bytes, sizeof bytes);
    return closes(&w, AT_ONCE, 0);
}

static bool long_line(const struct target *t, const struct fab_cid *cid)
{
    uint8_t line[2 + 1025] = {0x81, 0x08};
    (void)cid;
    memset(line + 2, 'a', sizeof line - 2);
    line[sizeof line - 1] = '\n';
    greet_with(t, line, sizeof line);
    return closes(&w, AT_ONCE, 0);
}

static bool many_names(const struct target *t, const struct fab_cid *cid)
{
    char names[5000 * 8];
    (void)cid;
    for (int i = 0; i < 5000; i++)
        memcpy(names + 8 * i, "\x07/tls/1\n", 8);
    greet_with(t, names, sizeof names);
    return closes(&w, LIMIT, 0);
}

static bool huge_noise(const struct target *t, const struct fab_cid *cid)
{
    uint8_t frame[2 + 65535] = {0xff, 0xff};
    (void)cid;
    wire_open(&w, t);
    wire_greet(&w);
    wire_send(&w, frame, sizeof frame);
    return closes(&w, AT_ONCE, 0);
}

/* Noise by hand, up to a payload that is not ours to send. */
static void third_message(const struct target *t, bool bad_key)
{
    struct fab_noise_xx xx;
    struct fab_buf message, payload, out;
    struct fab_slice second;
    uint8_t s[32], e[32], text[24 + 32], sig[FAB_KEY_SIG_SIZE];
    uint8_t key[FAB_KEY_PUBLIC_SIZE];
    fab_buf_init(&message, 4096);
    fab_buf_init(&payload, 4096);
    fab_buf_init(&out, 8192);
    wire_open(&w, t);
    if (!wire_greet(&w))
        broken("no handshake");
    randombytes_buf(s, sizeof s);
    randombytes_buf(e, sizeof e);
    fab_noise_xx_init(&xx, true, s, e, fab_slice("", 0));
    must(fab_noise_xx_write(&xx, fab_slice("", 0), &message));
    must(fab_buf_be(&out, 2, message.len));
    must(fab_buf_append(&out, message.data, message.len));
    wire_send(&w, out.data, out.len);
    if (!wire_message(&w, &second))
        broken("no second message");
    must(fab_noise_xx_read(&xx, second, &payload));
    fab_buf_reset(&payload);
    memcpy(text, "noise-libp2p-static-key:", 24);
    memcpy(text + 24, xx.s_public, 32);
    fab_key_sign(w.identity, fab_slice(text, sizeof text), sig);
    memcpy(key, fab_key_public_proto(w.identity).p, sizeof key);
    if (bad_key)
        key[5] ^= 1; /* of another key: the signature is not its own */
    else
        sig[10] ^= 1;
    struct fab_noise_payload said = {.identity_key = fab_slice(key, sizeof key),
                                     .identity_sig = fab_slice(sig, sizeof sig)};
    must(fab_noise_payload_encode(&said, &payload));
    fab_buf_reset(&message);
    fab_buf_reset(&out);
    must(fab_noise_xx_write(&xx, fab_buf_slice(&payload), &message));
    must(fab_buf_be(&out, 2, message.len));
    must(fab_buf_append(&out, message.data, message.len));
    wire_send(&w, out.data, out.len);
    fab_buf_fini(&message);
    fab_buf_fini(&payload);
    fab_buf_fini(&out);
}

static bool bad_signature(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    third_message(t, false);
    return closes(&w, AT_ONCE, 0);
}

static bool bad_payload_key(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    third_message(t, true);
    return closes(&w, AT_ONCE, 0);
}

/* ---- many ---- */

static bool wrong_keys_1000(const struct target *t, const struct fab_cid *cid)
{
    double worst = 0;
    int kept = 0;
    struct target other = *t;
    (void)cid;
    for (int i = 0; i < 1000; i++) {
        randombytes_buf(other.key, sizeof other.key);
        if (wire_open(&w, &other))
            wire_send(&w, FAB_MULTISTREAM_HEADER, FAB_MULTISTREAM_HEADER_SIZE);
        double took = wire_await_close(&w, AT_ONCE);
        kept += took < 0 || w.received > ONLY_NONCE;
        worst = took > worst ? took : worst;
        wire_close(&w);
    }
    printf("1000 tried, all closed, the last within %.1f ms; ", worst);
    return kept == 0;
}

/* They hold handshakes open: as many as a stranger may have, and no more. */
static bool half_open_500(const struct target *t, const struct fab_cid *cid)
{
    static struct wire many[500];
    int closed = 0, late = 0;
    (void)cid;
    double start = now_ms();
    for (int i = 0; i < 500; i++)
        if (!wire_open(&many[i], t))
            many[i].ended = true;
    sleep_ms(300);
    for (int i = 0; i < 500; i++)
        closed += wire_await_close(&many[i], 1) >= 0;
    for (int i = 0; i < 500; i++)
        late += wire_await_close(&many[i], start + LIMIT - now_ms()) < 0;
    printf("%d of 500 refused at once, the rest closed after %.1f s; ", closed,
           (now_ms() - start) / 1e3);
    return late == 0;
}

/* Whoever holds the key may connect; who then says nothing is not kept for ever. */
static bool idle_200(const struct target *t, const struct fab_cid *cid)
{
    static struct peer idle[200];
    int at_once = 0, left = 0;
    (void)cid;
    for (int i = 0; i < 200; i++) {
        if (!peer_connect(&idle[i], t))
            idle[i].w.ended = true;
        peer_pump(&idle[i], 20, NULL, NULL);
    }
    for (double until = now_ms() + 40000; now_ms() < until;) {
        left = 0;
        for (int i = 0; i < 200; i++) {
            if (!idle[i].w.ended)
                peer_pump(&idle[i], 0, NULL, NULL);
            left += !idle[i].w.ended;
        }
        if (at_once == 0)
            at_once = left;
        if (left <= 96)
            break;
        sleep_ms(200);
    }
    printf("%d of 200 connected, %d left; ", at_once, left);
    return left <= 96;
}

/* One identity, many connections. */
static bool same_peer_100(const struct target *t, const struct fab_cid *cid)
{
    static struct peer many[100];
    struct fab_buf seed;
    int left = 0;
    (void)cid;
    fab_buf_init(&seed, 128);
    connect_or_end(&many[0], t);
    must(fab_key_proto(many[0].w.identity, &seed));
    for (int i = 1; i < 100; i++) {
        struct wire *one = &many[i].w;
        if (wire_open(one, t)) {
            fab_key_free(one->identity);
            must(fab_key_from_proto(fab_buf_slice(&seed), &one->identity));
            if (!wire_greet(one) || !wire_secure(one))
                one->ended = true;
        }
        peer_pump(&many[i], 20, NULL, NULL);
    }
    fab_buf_fini(&seed);
    for (double until = now_ms() + 5000; now_ms() < until; sleep_ms(100)) {
        left = 0;
        for (int i = 0; i < 100; i++) {
            if (!many[i].w.ended)
                peer_pump(&many[i], 0, NULL, NULL);
            left += !many[i].w.ended;
        }
    }
    printf("%d of 100 connections of one peer left; ", left);
    return left > 0 && left <= 16;
}

const struct mode handshake_modes[] = {
    {"wrong-key", wrong_key},
    {"half-open", half_open},
    {"byte-a-second", byte_a_second},
    {"garbage", garbage},
    {"long-line", long_line},
    {"many-names", many_names},
    {"huge-noise", huge_noise},
    {"bad-signature", bad_signature},
    {"bad-payload-key", bad_payload_key},
    {"wrong-keys-1000", wrong_keys_1000},
    {"half-open-500", half_open_500},
    {"same-peer-100", same_peer_100},
    {"idle-200", idle_200},
    {NULL, NULL},
};
