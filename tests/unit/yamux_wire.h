/* A yamux session under test with a hand-written remote: frames in, frames out, and a log of its
 * events. */
#ifndef FAB_TESTS_YAMUX_WIRE_H
#define FAB_TESTS_YAMUX_WIRE_H

#include "fabric/swarm/yamux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DATA, WINDOW, PING, AWAY };
enum { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

struct frame {
    unsigned version, type, flags;
    uint32_t id, len;
    const uint8_t *payload;
};

struct wire {
    struct fab_yamux *y;
    struct fab_yamux_stream *last; /* of the last event */
    char log[4096];                /* "i1 d1:5 e1 r1:4098 c1": incoming, data, end, reset, closed */
    size_t log_len;
    bool quiet;           /* do not log */
    uint64_t counts[128]; /* events by letter */
    uint64_t data_bytes;
    uint64_t opened; /* streams accepted, or opened by the test; each must be closed once */
    size_t to_pull;  /* bytes that streams have to give, together */
    bool then_fin;
    enum fab_rc answer; /* to incoming */
    /* Run inside the event `hook_at` ('i', 'd', 'e', 'r', 'p', 'c'), once. */
    char hook_at;
    void (*hook)(struct wire *w, struct fab_yamux_stream *s);
    uint64_t now;
    uint8_t out[1 << 20];
    size_t out_len, out_at;
};

static inline void wire_event(struct wire *w, char kind, struct fab_yamux_stream *s,
                              unsigned long value)
{
    w->counts[(unsigned char)kind]++;
    w->last = s;
    if (!w->quiet && kind != 'p') {
        char text[64];
        int n = snprintf(text, sizeof text, "%u", fab_yamux_stream_id(s));
        if (kind == 'd' || kind == 'r')
            n += snprintf(text + n, sizeof text - (size_t)n, ":%lu", value);
        assert_true(w->log_len + (size_t)n + 2 < sizeof w->log);
        if (w->log_len)
            w->log[w->log_len++] = ' ';
        w->log[w->log_len++] = kind;
        memcpy(w->log + w->log_len, text, (size_t)n + 1);
        w->log_len += (size_t)n;
    }
    if (w->hook && w->hook_at == kind) {
        void (*hook)(struct wire *, struct fab_yamux_stream *) = w->hook;
        w->hook = NULL;
        hook(w, s);
    }
}

static inline enum fab_rc wire_incoming(void *ctx, struct fab_yamux_stream *s)
{
    struct wire *w = ctx;
    assert_true(fab_yamux_stream_inbound(s));
    if (w->answer == FAB_OK)
        w->opened++;
    wire_event(w, 'i', s, 0);
    return w->answer;
}

static inline void wire_data(void *ctx, struct fab_yamux_stream *s, const uint8_t *p, size_t n)
{
    struct wire *w = ctx;
    assert_true(n > 0 && p);
    w->data_bytes += n;
    wire_event(w, 'd', s, n);
}

static inline void wire_end(void *ctx, struct fab_yamux_stream *s)
{
    wire_event(ctx, 'e', s, 0);
}

static inline void wire_reset(void *ctx, struct fab_yamux_stream *s, uint32_t code)
{
    wire_event(ctx, 'r', s, code);
}

static inline size_t wire_pull(void *ctx, struct fab_yamux_stream *s, uint8_t *p, size_t cap,
                               bool *fin)
{
    struct wire *w = ctx;
    assert_true(cap > 0);
    size_t n = cap < w->to_pull ? cap : w->to_pull;
    memset(p, 'x', n);
    w->to_pull -= n;
    *fin = w->then_fin && w->to_pull == 0;
    wire_event(w, 'p', s, n);
    return n;
}

static inline void wire_closed(void *ctx, struct fab_yamux_stream *s)
{
    wire_event(ctx, 'c', s, 0);
}

static inline struct fab_yamux_events wire_events(struct wire *w)
{
    return (struct fab_yamux_events){w,          wire_incoming, wire_data,  wire_end,
                                     wire_reset, wire_pull,     wire_closed};
}

static inline struct wire *wire_new(struct fab_yamux_config config)
{
    struct wire *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->now = 1000000;
    struct fab_yamux_events events = wire_events(w);
    assert_int_equal(fab_yamux_new(&config, &events, w->now, &w->y), FAB_OK);
    return w;
}

static inline void wire_free(struct wire *w)
{
    fab_yamux_free(w->y);
    free(w);
}

static inline void frame_put(uint8_t p[12], unsigned type, unsigned flags, uint32_t id,
                             uint32_t len)
{
    uint8_t head[12] = {0,
                        (uint8_t)type,
                        (uint8_t)(flags >> 8),
                        (uint8_t)flags,
                        (uint8_t)(id >> 24),
                        (uint8_t)(id >> 16),
                        (uint8_t)(id >> 8),
                        (uint8_t)id,
                        (uint8_t)(len >> 24),
                        (uint8_t)(len >> 16),
                        (uint8_t)(len >> 8),
                        (uint8_t)len};
    memcpy(p, head, sizeof head);
}

/* The remote sends a header. */
static inline enum fab_rc wire_head(struct wire *w, unsigned type, unsigned flags, uint32_t id,
                                    uint32_t len)
{
    uint8_t head[12];
    frame_put(head, type, flags, id, len);
    return fab_yamux_input(w->y, head, sizeof head, w->now);
}

/* The remote sends n bytes of payload. */
static inline enum fab_rc wire_payload(struct wire *w, size_t n)
{
    static const uint8_t zeros[65536];
    enum fab_rc rc = FAB_OK;
    while (n > 0 && rc == FAB_OK) {
        size_t take = n < sizeof zeros ? n : sizeof zeros;
        rc = fab_yamux_input(w->y, zeros, take, w->now);
        n -= take;
    }
    return rc;
}

/* Everything that the session has to send, into w->out. */
static inline void wire_flush(struct wire *w)
{
    w->out_len = w->out_at = 0;
    size_t n;
    while ((n = fab_yamux_output(w->y, w->out + w->out_len, sizeof w->out - w->out_len, w->now)) >
           0)
        w->out_len += n;
}

/* The next frame of what was flushed; false at its end. */
static inline bool wire_next(struct wire *w, struct frame *f)
{
    if (w->out_at == w->out_len)
        return false;
    const uint8_t *p = w->out + w->out_at;
    assert_true(w->out_len - w->out_at >= 12);
    f->version = p[0];
    f->type = p[1];
    f->flags = (unsigned)p[2] << 8 | p[3];
    f->id = (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7];
    f->len = (uint32_t)p[8] << 24 | (uint32_t)p[9] << 16 | (uint32_t)p[10] << 8 | p[11];
    f->payload = p + 12;
    w->out_at += 12;
    assert_int_equal(f->version, 0);
    assert_true(f->type <= AWAY);
    if (f->type == DATA) {
        assert_true(w->out_len - w->out_at >= f->len);
        w->out_at += f->len;
    }
    return true;
}

static inline void wire_expect_at(struct wire *w, unsigned type, unsigned flags, uint32_t id,
                                  uint32_t len, const char *file, int line)
{
    struct frame f;
    if (!wire_next(w, &f) || f.type != type || f.flags != flags || f.id != id || f.len != len) {
        print_error("expected frame %u %u %u %u\n", type, flags, id, len);
        _fail(file, line);
    }
}

#define wire_expect(w, type, flags, id, len)                                                       \
    wire_expect_at(w, type, flags, id, len, __FILE__, __LINE__)

#define wire_expect_end(w) assert_true((w)->out_at == (w)->out_len)

/* The first ping is sent and answered after `rtt` microseconds. */
static inline void wire_greet(struct wire *w, uint64_t rtt)
{
    wire_flush(w);
    wire_expect(w, PING, SYN, 0, 0);
    wire_expect_end(w);
    w->now += rtt;
    assert_int_equal(wire_head(w, PING, ACK, 0, 0), FAB_OK);
}

static inline void wire_log_is(struct wire *w, const char *expected)
{
    assert_string_equal(w->log, expected);
    w->log[0] = 0;
    w->log_len = 0;
}

#endif
