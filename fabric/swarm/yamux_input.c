/* Received bytes to events.
 *
 * Happy path: twelve bytes are gathered, judged as soon as they are whole, and then the payload of
 * a Data frame is handed on as it comes. Whatever a callback does in between shows in the session:
 * in_stream is NULL once that stream is gone (the rest of the frame is swallowed), `failed` is set
 * once the session is over (the rest of the input is). Failures: a broken rule ends the session
 * with GoAway 1, a flood with GoAway 2. */
#include "fabric/swarm/yamux_internal.h"

#include <stdlib.h>
#include <string.h>

static void remote_fin(struct fab_yamux_stream *s)
{
    struct fab_yamux *y = s->y;
    if (s->flags & S_FIN_RECEIVED)
        return;
    s->flags |= S_FIN_RECEIVED;
    s->flags &= ~(uint32_t)S_UPDATE_DUE;
    if (!(s->flags & S_ANY_DUE))
        link_remove(&s->control);
    y->events.end(y->events.ctx, s);
    if ((s->flags & S_FIN_SENT) && !(s->flags & S_GONE))
        yamux_stream_die(s);
}

static void payload_end(struct fab_yamux *y)
{
    struct fab_yamux_stream *s = y->in_stream;
    y->in_stream = NULL;
    if (s && y->in_fin)
        remote_fin(s);
}

static enum fab_rc refuse(struct fab_yamux *y, uint32_t id)
{
    if (y->refusal_count == FAB_YAMUX_REFUSALS_MAX)
        return FAB_ELIMIT;
    if (!y->refusals)
        y->refusals = malloc(FAB_YAMUX_REFUSALS_MAX * sizeof *y->refusals);
    if (!y->refusals)
        return FAB_ENOMEM;
    unsigned at = (y->refusal_next + y->refusal_count) % FAB_YAMUX_REFUSALS_MAX;
    y->refusals[at] = id;
    y->refusal_count++;
    return FAB_OK;
}

/* *out is NULL when the stream was refused, or is gone again. */
static enum fab_rc accept_stream(struct fab_yamux *y, uint32_t id, struct fab_yamux_stream **out)
{
    *out = NULL;
    if (y->local_away || y->inbound >= y->config.inbound_max)
        return refuse(y, id);
    struct fab_yamux_stream *s = yamux_stream_new(y, id, S_INBOUND);
    if (!s)
        return refuse(y, id);
    yamux_stream_due(s, S_ACK_DUE);
    enum fab_rc rc = y->events.incoming(y->events.ctx, s);
    if (rc != FAB_OK) {
        yamux_stream_drop(s);
        return y->failed == FAB_OK ? refuse(y, id) : FAB_OK;
    }
    if (!(s->flags & S_GONE))
        *out = s;
    return FAB_OK;
}

static enum fab_rc on_stream_frame(struct fab_yamux *y, unsigned type, unsigned flags, uint32_t id,
                                   uint32_t len)
{
    bool is_data = type == TYPE_DATA;
    if (is_data && len > y->config.stream_window_max)
        return FAB_EFORMAT;
    y->in_left = is_data ? len : 0;
    y->in_stream = NULL;
    struct fab_yamux_stream *s = yamux_stream_find(y, id);
    if (flags & FLAG_SYN) {
        bool odd = id & 1;
        if (s || id == 0 || odd == y->config.dialler)
            return FAB_EFORMAT;
        if (is_data && len > FAB_YAMUX_WINDOW_INITIAL)
            return FAB_EFORMAT;
        FAB_TRY(accept_stream(y, id, &s));
    }
    if (!s || y->failed != FAB_OK)
        return FAB_OK;
    yamux_stream_acked(s);
    if (flags & FLAG_RST) {
        yamux_stream_die(s);
        y->events.reset(y->events.ctx, s, is_data ? FAB_YAMUX_NO_ERROR : len);
        return FAB_OK;
    }
    if (!is_data) {
        s->send_window += len;
        yamux_stream_sort(s);
        if (flags & FLAG_FIN)
            remote_fin(s);
        return FAB_OK;
    }
    if (len > s->recv_left)
        return FAB_EFORMAT;
    s->recv_left -= len;
    if (s->flags & S_FIN_RECEIVED)
        return FAB_OK;
    s->recv_held += len;
    y->in_stream = s;
    y->in_fin = (flags & FLAG_FIN) != 0;
    if (len == 0)
        payload_end(y);
    return FAB_OK;
}

static enum fab_rc on_ping(struct fab_yamux *y, unsigned flags, uint32_t value)
{
    if (flags & FLAG_SYN) {
        if (y->pong_count == FAB_YAMUX_PONGS_MAX)
            return FAB_ELIMIT;
        y->pongs[y->pong_count++] = value;
        return FAB_OK;
    }
    if (!y->ping_waiting || y->ping_due || value != y->ping_value)
        return FAB_OK;
    y->ping_waiting = false;
    uint64_t sample = y->now_us - y->ping_sent_us;
    if (sample == 0)
        sample = 1;
    y->rtt_us = y->rtt_us ? (y->rtt_us + sample + 1) / 2 : sample;
    return FAB_OK;
}

static enum fab_rc on_frame(struct fab_yamux *y)
{
    struct fab_reader r = fab_reader(fab_slice(y->head, sizeof y->head));
    uint64_t version, type, flags, id, len;
    FAB_TRY(fab_read_be(&r, 1, &version));
    FAB_TRY(fab_read_be(&r, 1, &type));
    FAB_TRY(fab_read_be(&r, 2, &flags));
    FAB_TRY(fab_read_be(&r, 4, &id));
    FAB_TRY(fab_read_be(&r, 4, &len));
    if (version != 0)
        return FAB_EFORMAT;
    y->last_frame_us = y->now_us;
    switch (type) {
    case TYPE_DATA:
    case TYPE_WINDOW:
        return on_stream_frame(y, (unsigned)type, (unsigned)flags, (uint32_t)id, (uint32_t)len);
    case TYPE_PING:
        return on_ping(y, (unsigned)flags, (uint32_t)len);
    case TYPE_GO_AWAY:
        if (len != FAB_YAMUX_AWAY_NORMAL)
            return FAB_EINTERRUPTED;
        y->remote_away = true;
        return FAB_OK;
    default:
        return FAB_EFORMAT;
    }
}

static void end_session(struct fab_yamux *y, enum fab_rc rc)
{
    uint32_t code = rc == FAB_EFORMAT ? FAB_YAMUX_AWAY_PROTOCOL : FAB_YAMUX_AWAY_INTERNAL;
    yamux_fail(y, rc, rc != FAB_EINTERRUPTED, code);
}

enum fab_rc fab_yamux_input(struct fab_yamux *y, const uint8_t *p, size_t n, uint64_t now_us)
{
    if (y->depth > 0)
        return FAB_EBUSY;
    if (y->failed != FAB_OK)
        return y->failed;
    yamux_enter(y, now_us);
    while (n > 0 && y->failed == FAB_OK) {
        size_t take;
        if (y->in_left > 0) {
            take = n < y->in_left ? n : y->in_left;
            y->in_left -= (uint32_t)take;
            y->last_frame_us = y->now_us;
            if (y->in_stream)
                y->events.data(y->events.ctx, y->in_stream, p, take);
            if (y->in_left == 0 && y->failed == FAB_OK)
                payload_end(y);
        } else {
            take = sizeof y->head - y->head_len;
            if (take > n)
                take = n;
            memcpy(y->head + y->head_len, p, take);
            y->head_len += (unsigned)take;
            if (y->head_len == sizeof y->head) {
                y->head_len = 0;
                enum fab_rc rc = on_frame(y);
                if (rc != FAB_OK)
                    end_session(y, rc);
            }
        }
        p += take;
        n -= take;
        yamux_reap(y);
    }
    enum fab_rc rc = y->failed;
    yamux_leave(y);
    return rc;
}
