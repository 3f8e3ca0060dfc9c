/* A session: its birth, time and end.
 *
 * Happy path: new queues a ping; the answer gives the round-trip time, on which the growth of
 * windows rests; every 30 s another ping does both that and the keepalive. go_away stops new
 * streams, the old ones finish, the owner sees fab_yamux_over and frees.
 *
 * Failures: yamux_fail is the only way to end a session before its time. It marks it, drops what
 * was queued, ends each stream with `reset`, and leaves a GoAway for the last output. The dead are
 * only collected where no event is running, so callbacks may do what they like. */
#include "fabric/swarm/yamux_internal.h"

#include <stdlib.h>

#define SECOND            ((uint64_t)1000000)
#define PING_EVERY_US     (30 * SECOND)
#define PING_PATIENCE_US  (10 * SECOND)
#define SILENCE_MAX_US    (40 * SECOND)
#define INBOUND_DEFAULT   1024
#define OUTBOUND_DEFAULT  4096
#define STREAM_MAX        ((uint32_t)1 << 30)
#define STREAM_DEFAULT    ((uint32_t)16 << 20)
#define GROWN_DEFAULT     ((uint64_t)64 << 20)
#define BUCKET_BITS_START 4

enum fab_rc fab_yamux_new(const struct fab_yamux_config *config,
                          const struct fab_yamux_events *events, uint64_t now_us,
                          struct fab_yamux **out)
{
    if (!events->incoming || !events->data || !events->end || !events->reset || !events->pull ||
        !events->closed)
        return FAB_EINVAL;
    struct fab_yamux_config c = *config;
    if (c.inbound_max == 0)
        c.inbound_max = INBOUND_DEFAULT;
    if (c.outbound_max == 0)
        c.outbound_max = OUTBOUND_DEFAULT;
    if (c.stream_window_max == 0)
        c.stream_window_max = STREAM_DEFAULT;
    if (c.session_grown_max == 0)
        c.session_grown_max = GROWN_DEFAULT;
    if (c.stream_window_max < FAB_YAMUX_WINDOW_INITIAL || c.stream_window_max > STREAM_MAX)
        return FAB_EINVAL;
    struct fab_yamux *y = calloc(1, sizeof *y);
    if (!y)
        return FAB_ENOMEM;
    y->bucket_bits = BUCKET_BITS_START;
    y->buckets = calloc((size_t)1 << y->bucket_bits, sizeof(struct fab_yamux_stream *));
    if (!y->buckets) {
        free(y);
        return FAB_ENOMEM;
    }
    y->config = c;
    y->events = *events;
    y->next_id = c.dialler ? 1 : 2;
    link_init(&y->ready);
    link_init(&y->control);
    link_init(&y->dying);
    y->now_us = y->last_frame_us = y->ping_queued_us = now_us;
    y->ping_next_us = now_us + PING_EVERY_US;
    y->ping_due = y->ping_waiting = true;
    *out = y;
    return FAB_OK;
}

static void end_streams(struct fab_yamux *y)
{
    for (size_t i = 0; i < (size_t)1 << y->bucket_bits; i++) {
        while (y->buckets[i]) {
            struct fab_yamux_stream *s = y->buckets[i];
            yamux_stream_die(s);
            y->events.reset(y->events.ctx, s, FAB_YAMUX_SESSION_ENDED);
        }
    }
    while (!link_alone(&y->control)) /* those of which only our RST was missing */
        yamux_stream_die(YAMUX_STREAM_OF(y->control.next, control));
}

void yamux_fail(struct fab_yamux *y, enum fab_rc rc, bool say, uint32_t code)
{
    if (y->failed != FAB_OK)
        return;
    y->failed = rc;
    y->pong_count = y->refusal_count = 0;
    y->ping_due = y->ping_waiting = false;
    y->go_away_due = say;
    y->go_away_code = code;
    end_streams(y);
}

void yamux_reap(struct fab_yamux *y)
{
    if (y->depth != 1)
        return;
    while (!link_alone(&y->dying)) {
        struct fab_yamux_stream *s = YAMUX_STREAM_OF(y->dying.next, control);
        link_remove(&s->control);
        y->streams--;
        if (s->flags & S_INBOUND)
            y->inbound--;
        else
            y->outbound--;
        y->events.closed(y->events.ctx, s);
        free(s);
    }
}

static void destroy(struct fab_yamux *y)
{
    y->depth = 1;
    y->failed = FAB_EINTERRUPTED;
    end_streams(y);
    yamux_reap(y);
    free(y->refusals);
    free(y->buckets);
    free(y);
}

void yamux_enter(struct fab_yamux *y, uint64_t now_us)
{
    y->depth++;
    if (now_us > y->now_us)
        y->now_us = now_us;
}

void yamux_leave(struct fab_yamux *y)
{
    yamux_reap(y);
    y->depth--;
    if (y->depth == 0 && y->doomed)
        destroy(y);
}

void fab_yamux_free(struct fab_yamux *y)
{
    if (!y)
        return;
    if (y->depth == 0) {
        destroy(y);
        return;
    }
    y->doomed = true;
    y->failed = FAB_EINTERRUPTED;
    y->go_away_due = false;
}

/* The answer of the ping that waits counts against the remote only if nothing at all came since. */
static bool silent(const struct fab_yamux *y)
{
    return y->ping_waiting && y->last_frame_us <= y->ping_queued_us;
}

uint64_t fab_yamux_deadline(const struct fab_yamux *y)
{
    if (y->failed != FAB_OK)
        return UINT64_MAX;
    if (!silent(y))
        return y->ping_next_us;
    uint64_t quiet = y->last_frame_us + SILENCE_MAX_US;
    uint64_t patience = y->ping_queued_us + PING_PATIENCE_US;
    return quiet > patience ? quiet : patience;
}

enum fab_rc fab_yamux_tick(struct fab_yamux *y, uint64_t now_us)
{
    if (y->failed != FAB_OK)
        return y->failed;
    yamux_enter(y, now_us);
    if (y->now_us >= fab_yamux_deadline(y)) {
        if (silent(y)) {
            yamux_fail(y, FAB_ETIMEOUT, true, FAB_YAMUX_AWAY_INTERNAL);
        } else {
            y->ping_value++;
            y->ping_due = y->ping_waiting = true;
            y->ping_queued_us = y->now_us;
            y->ping_next_us = y->now_us + PING_EVERY_US;
        }
    }
    yamux_reap(y);
    enum fab_rc rc = y->failed;
    yamux_leave(y);
    return rc;
}

void fab_yamux_go_away(struct fab_yamux *y, uint32_t code)
{
    if (y->failed != FAB_OK || y->local_away)
        return;
    y->local_away = y->go_away_due = true;
    y->go_away_code = code;
}

bool fab_yamux_leaving(const struct fab_yamux *y)
{
    return y->failed != FAB_OK || y->local_away || y->remote_away;
}

bool fab_yamux_over(const struct fab_yamux *y)
{
    return y->failed != FAB_OK || ((y->local_away || y->remote_away) && y->streams == 0);
}

uint64_t fab_yamux_rtt_us(const struct fab_yamux *y)
{
    return y->rtt_us;
}

size_t fab_yamux_streams(const struct fab_yamux *y)
{
    return y->streams;
}

size_t fab_yamux_inbound(const struct fab_yamux *y)
{
    return y->inbound;
}

uint64_t fab_yamux_grown(const struct fab_yamux *y)
{
    return y->grown;
}
