/* Any bytes into a session, whole and in pieces: the same payload and ends either way, no stream
 * left over, output that is whole frames, bounded memory. Streams answer what they receive, so
 * events call back into the session. */
#include "fabric/swarm/yamux.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct sum {
    struct fab_yamux *y;
    uint64_t incoming, bytes, ends, resets, closed, mix, accepted;
    enum fab_rc rc;
};

static enum fab_rc on_incoming(void *ctx, struct fab_yamux_stream *s)
{
    struct sum *sum = ctx;
    sum->incoming++;
    if (fab_yamux_stream_id(s) % 13 == 0)
        return FAB_ELIMIT;
    sum->accepted++;
    if (fab_yamux_stream_id(s) % 17 == 0)
        fab_yamux_stream_reset(s, 1);
    return FAB_OK;
}

static void on_data(void *ctx, struct fab_yamux_stream *s, const uint8_t *p, size_t n)
{
    struct sum *sum = ctx;
    CHECK(n > 0);
    for (size_t i = 0; i < n; i++)
        sum->mix = sum->mix * 31 + p[i];
    sum->bytes += n;
    if (fab_yamux_stream_id(s) % 3 == 0)
        fab_yamux_stream_consumed(s, n);
    fab_yamux_stream_wake(s);
}

static void on_end(void *ctx, struct fab_yamux_stream *s)
{
    struct sum *sum = ctx;
    sum->ends++;
    if (fab_yamux_stream_id(s) % 5 == 0)
        fab_yamux_stream_finish(s);
}

static void on_reset(void *ctx, struct fab_yamux_stream *s, uint32_t code)
{
    struct sum *sum = ctx;
    (void)code;
    sum->resets++;
    fab_yamux_stream_wake(s);
    fab_yamux_stream_reset(s, 3);
}

static size_t on_pull(void *ctx, struct fab_yamux_stream *s, uint8_t *p, size_t cap, bool *fin)
{
    (void)ctx;
    CHECK(cap > 0);
    p[0] = 'x';
    *fin = fab_yamux_stream_id(s) % 7 == 0;
    return fab_yamux_stream_id(s) % 2;
}

static void on_closed(void *ctx, struct fab_yamux_stream *s)
{
    struct sum *sum = ctx;
    sum->closed++;
    (void)fab_yamux_stream_id(s);
    struct fab_yamux_stream *another;
    if (sum->closed % 8 == 1 && fab_yamux_open(sum->y, NULL, &another) == FAB_OK)
        sum->accepted++;
}

/* Whole frames only. */
static void check_output(const uint8_t *p, size_t n)
{
    while (n > 0) {
        CHECK(n >= FAB_YAMUX_HEADER && p[0] == 0 && p[1] <= 3);
        size_t len = 0;
        if (p[1] == 0)
            len = (size_t)p[8] << 24 | (size_t)p[9] << 16 | (size_t)p[10] << 8 | p[11];
        CHECK(n - FAB_YAMUX_HEADER >= len);
        p += FAB_YAMUX_HEADER + len;
        n -= FAB_YAMUX_HEADER + len;
    }
}

static struct sum run(const uint8_t *data, size_t n, size_t step, size_t room)
{
    struct sum sum = {0};
    struct fab_yamux_config config = {.inbound_max = 50, .dialler = n % 2};
    struct fab_yamux_events events = {&sum,     on_incoming, on_data,  on_end,
                                      on_reset, on_pull,     on_closed};
    CHECK(fab_yamux_new(&config, &events, 1, &sum.y) == FAB_OK);
    struct fab_yamux_stream *mine;
    for (unsigned i = 0; i < 3; i++) {
        CHECK(fab_yamux_open(sum.y, NULL, &mine) == FAB_OK);
        sum.accepted++;
    }
    uint64_t now = 1;
    uint8_t out[300];
    for (size_t at = 0; sum.rc == FAB_OK && at < n; at += step) {
        /* A copy, so that reading past its end is seen. */
        size_t take = step < n - at ? step : n - at;
        uint8_t *copy = malloc(take);
        CHECK(copy);
        memcpy(copy, data + at, take);
        sum.rc = fab_yamux_input(sum.y, copy, take, now);
        free(copy);
        if (room > 0) {
            now += 50000;
            for (unsigned i = 0; i < 5; i++)
                check_output(out, fab_yamux_output(sum.y, out, room, now));
            enum fab_rc rc = fab_yamux_tick(sum.y, now);
            CHECK(sum.rc == FAB_OK || rc == sum.rc);
        }
    }
    CHECK(fab_yamux_inbound(sum.y) <= 50);
    CHECK(sum.rc == FAB_OK || fab_yamux_streams(sum.y) == 0);
    fab_yamux_free(sum.y);
    CHECK(sum.closed == sum.accepted);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sum whole = run(data, n, n ? n : 1, 0);
    static const size_t steps[] = {1, 7, 64};
    for (size_t i = 0; i < 3; i++) {
        struct sum s = run(data, n, steps[i], 0);
        CHECK(s.rc == whole.rc && s.incoming == whole.incoming && s.bytes == whole.bytes);
        CHECK(s.mix == whole.mix && s.ends == whole.ends && s.resets == whole.resets);
        CHECK(s.closed == whole.closed);
    }
    (void)run(data, n, 12, 300);
    (void)run(data, n, 40, 13);
    return 0;
}
