/* Against the multiplexer. What breaks its rules ends the session on the offending frame. */
#include "tests/integration/rogue/modes.h"

#include "fabric/swarm/identify.h"
#include "fabric/swarm/ping.h"
#include "fabric/swarm/yamux.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 200.0
#define BATCH   1000

static struct peer p;

static bool streams_50000(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf b;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&b, 1u << 20);
    for (uint32_t i = 0; i < 50000 && !p.w.ended; i++) {
        frame_put(&b, WINDOW, SYN, 101 + 2 * i, 0, NULL, 0);
        if (i % BATCH == BATCH - 1) {
            wire_plain(&p.w, b.data, b.len);
            fab_buf_reset(&b);
            peer_pump(&p, 5, NULL, NULL);
        }
    }
    fab_buf_fini(&b);
    peer_pump(&p, 500, NULL, NULL);
    int held = 50000 - (int)p.resets;
    printf("%d of 50000 held, ", held);
    return lives(&p, "the rest reset") && held <= 1762;
}

/* No answer is ever read: the refusals pile up. */
static bool streams_unread(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf b;
    uint32_t i = 0;
    (void)cid;
    connect_or_end(&p, t);
    peer_pump(&p, 100, NULL, NULL);
    fab_buf_init(&b, 1u << 20);
    for (; i < 50000; i++) {
        frame_put(&b, WINDOW, SYN, 101 + 2 * i, 0, NULL, 0);
        if (i % BATCH == BATCH - 1) {
            if (!wire_plain(&p.w, b.data, b.len))
                break;
            fab_buf_reset(&b);
        }
    }
    fab_buf_fini(&b);
    printf("%u sent; ", i);
    return true;
}

static bool window_overflow(const struct target *t, const struct fab_cid *cid)
{
    size_t n = FAB_YAMUX_WINDOW_INITIAL + 1;
    uint8_t *zeros = calloc(1, n);
    (void)cid;
    if (!zeros)
        broken("out of memory");
    connect_or_end(&p, t);
    wire_put_frame(&p.w, WINDOW, SYN, 1, 0, NULL, 0);
    wire_put_frame(&p.w, DATA, 0, 1, (uint32_t)n, zeros, n);
    free(zeros);
    return closes(&p.w, AT_ONCE, 0);
}

static bool bad_frame(const struct target *t, uint8_t version, uint8_t type, uint32_t length)
{
    uint8_t head[12] = {version,         type, 0, 0, 0, 0, 0, 1, (uint8_t)(length >> 24), 0xff,
                        (uint8_t)length, 0};
    connect_or_end(&p, t);
    wire_put_frame(&p.w, WINDOW, SYN, 1, 0, NULL, 0);
    wire_plain(&p.w, head, sizeof head);
    return closes(&p.w, AT_ONCE, 0);
}

static bool huge_frame(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return bad_frame(t, 0, DATA, 0xffffffff);
}

static bool wrong_version(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return bad_frame(t, 1, DATA, 0);
}

static bool wrong_type(const struct target *t, const struct fab_cid *cid)
{
    (void)cid;
    return bad_frame(t, 0, 9, 0);
}

static bool ping_flood(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf b;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&b, 4u << 20);
    for (uint32_t i = 0; i < 200000 && !p.w.ended; i++) {
        frame_put(&b, PING, SYN, 0, i, NULL, 0);
        if (i % BATCH == BATCH - 1) {
            wire_plain(&p.w, b.data, b.len);
            fab_buf_reset(&b);
        }
    }
    fab_buf_fini(&b);
    peer_pump(&p, 1000, NULL, NULL);
    printf("%llu of 200000 answered, %s; ", (unsigned long long)p.pongs,
           p.w.ended ? "then closed" : "connection lives");
    return true;
}

static bool reset_flood(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf b;
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&b, 4u << 20);
    for (uint32_t i = 0; i < 100000 && !p.w.ended; i++) {
        uint32_t id = 101 + 2 * i;
        struct fab_buf hello;
        fab_buf_init(&hello, 128);
        hello_put(&hello, FAB_IDENTIFY_PROTOCOL);
        frame_put(&b, DATA, SYN, id, (uint32_t)hello.len, hello.data, hello.len);
        fab_buf_fini(&hello);
        frame_put(&b, WINDOW, RST, id, 0, NULL, 0);
        if (i % BATCH == BATCH - 1) {
            wire_plain(&p.w, b.data, b.len);
            fab_buf_reset(&b);
            peer_pump(&p, 1, NULL, NULL);
        }
    }
    fab_buf_fini(&b);
    return lives(&p, "100000 opened and reset");
}

/* Frames for streams that were never opened are swallowed. */
static bool unknown_streams(const struct target *t, const struct fab_cid *cid)
{
    struct fab_buf b;
    static const uint8_t bytes[100];
    (void)cid;
    connect_or_end(&p, t);
    fab_buf_init(&b, 4u << 20);
    for (uint32_t i = 0; i < 100000 && !p.w.ended; i++) {
        frame_put(&b, i % 2 ? DATA : WINDOW, 0, 101 + 2 * i, sizeof bytes, bytes,
                  i % 2 ? sizeof bytes : 0);
        if (i % BATCH == BATCH - 1) {
            wire_plain(&p.w, b.data, b.len);
            fab_buf_reset(&b);
        }
    }
    fab_buf_fini(&b);
    return lives(&p, "100000 frames swallowed");
}

static bool ping_streams(const struct target *t, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_PING_SIZE] = {1};
    struct stream *s[5];
    int served = 0, reset = 0;
    (void)cid;
    connect_or_end(&p, t);
    for (int i = 0; i < 5; i++)
        s[i] = peer_open(&p, FAB_PING_PROTOCOL, bytes, sizeof bytes, false);
    peer_pump(&p, 500, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        served += s[i]->in.len == FAB_PING_SIZE;
        reset += s[i]->reset;
    }
    printf("%d of 5 served, %d reset, ", served, reset);
    return lives(&p, "") && served == FAB_PING_STREAMS_MAX && reset == 5 - served;
}

/* Names that the node does not speak: it answers na, and the stream ends within 10 s. */
static bool silent_streams(const struct target *t, const struct fab_cid *cid)
{
    double start = now_ms();
    (void)cid;
    connect_or_end(&p, t);
    for (uint32_t i = 0; i < 500; i++)
        wire_put_frame(&p.w, WINDOW, SYN, 101 + 2 * i, 0, NULL, 0);
    while (p.resets < 500 && now_ms() - start < 15000 && !p.w.ended)
        peer_pump(&p, 100, NULL, NULL);
    printf("%llu of 500 reset after %.1f s, ", (unsigned long long)p.resets,
           (now_ms() - start) / 1e3);
    return lives(&p, "") && p.resets == 500;
}

const struct mode yamux_modes[] = {
    {"streams-50000", streams_50000},     {"streams-unread", streams_unread},
    {"silent-streams", silent_streams},   {"window-overflow", window_overflow},
    {"huge-frame", huge_frame},           {"wrong-version", wrong_version},
    {"wrong-type", wrong_type},           {"ping-flood", ping_flood},
    {"ping-streams", ping_streams},       {"reset-flood", reset_flood},
    {"unknown-streams", unknown_streams}, {NULL, NULL},
};
