/* What is due, to frames.
 *
 * Happy path: while there is room, the next control frame, and when there is none, the next Data
 * frame: its payload is pulled straight behind the place of its header. Streams take turns of
 * YAMUX_QUANTUM bytes; a longer frame is paid for by missing turns. Since control goes first, a SYN
 * always precedes its data; since FIN is a control frame that is due only after the last pull, it
 * always follows it. FIN travels on its own as Go has it: a Go reader that meets FIN and payload in
 * one frame may see the end before the payload. Failures: after the session has ended only its
 * GoAway is left; a stream that is reset while it is pulled loses those bytes. */
#include "fabric/swarm/yamux_internal.h"

#include <string.h>

#define DATA_ROOM_MIN      256 /* behind other frames: else better alone in the next call */
#define SPURIOUS_WAKES_MAX 16

static size_t put_header(uint8_t *p, unsigned type, unsigned flags, uint32_t id, uint32_t len)
{
    p[0] = 0;
    p[1] = (uint8_t)type;
    p[2] = (uint8_t)(flags >> 8);
    p[3] = (uint8_t)flags;
    for (unsigned i = 0; i < 4; i++) {
        p[4 + i] = (uint8_t)(id >> (24 - 8 * i));
        p[8 + i] = (uint8_t)(len >> (24 - 8 * i));
    }
    return FAB_YAMUX_HEADER;
}

static bool control_waits(const struct fab_yamux *y)
{
    return y->go_away_due || y->pong_count > 0 || y->ping_due || y->refusal_count > 0 ||
           !link_alone(&y->control);
}

static size_t put_stream_control(struct fab_yamux_stream *s, uint8_t *p)
{
    if (s->flags & S_RST_DUE) {
        yamux_stream_die(s);
        return put_header(p, TYPE_WINDOW, FLAG_RST, s->id, s->reset_code);
    }
    unsigned flags = 0;
    uint32_t delta = s->flags & S_UPDATE_DUE ? yamux_stream_reopen(s) : 0;
    if (s->flags & S_SYN_DUE)
        flags |= FLAG_SYN;
    if (s->flags & S_ACK_DUE)
        flags |= FLAG_ACK;
    if (s->flags & S_FIN_DUE) {
        flags |= FLAG_FIN;
        s->flags |= S_FIN_SENT;
    }
    s->flags &= ~(uint32_t)S_ANY_DUE;
    link_remove(&s->control);
    if ((s->flags & S_FIN_SENT) && (s->flags & S_FIN_RECEIVED))
        yamux_stream_die(s);
    return put_header(p, TYPE_WINDOW, flags, s->id, delta);
}

/* Room for a header is there. 0: nothing is due. */
static size_t put_control(struct fab_yamux *y, uint8_t *p)
{
    if (y->pong_count > 0) {
        uint32_t value = y->pongs[0];
        y->pong_count--;
        memmove(y->pongs, y->pongs + 1, y->pong_count * sizeof *y->pongs);
        return put_header(p, TYPE_PING, FLAG_ACK, 0, value);
    }
    if (y->ping_due) {
        y->ping_due = false;
        y->ping_sent_us = y->now_us;
        return put_header(p, TYPE_PING, FLAG_SYN, 0, y->ping_value);
    }
    if (y->refusal_count > 0) {
        uint32_t id = y->refusals[y->refusal_next];
        y->refusal_next = (y->refusal_next + 1) % FAB_YAMUX_REFUSALS_MAX;
        y->refusal_count--;
        return put_header(p, TYPE_WINDOW, FLAG_RST, id, FAB_YAMUX_RESOURCE_LIMIT);
    }
    if (!link_alone(&y->control))
        return put_stream_control(YAMUX_STREAM_OF(y->control.next, control), p);
    if (y->go_away_due) {
        y->go_away_due = false;
        return put_header(p, TYPE_GO_AWAY, 0, 0, y->go_away_code);
    }
    return 0;
}

/* One pull of the stream whose turn it is, into `room` bytes, more than a header. */
static size_t put_data(struct fab_yamux *y, uint8_t *p, size_t room, unsigned *spurious)
{
    struct fab_yamux_stream *s = YAMUX_STREAM_OF(y->ready.next, ready);
    while (s->deficit <= 0) {
        s->deficit += YAMUX_QUANTUM;
        link_remove(&s->ready);
        link_append(&y->ready, &s->ready);
        s = YAMUX_STREAM_OF(y->ready.next, ready);
    }
    size_t cap = room - FAB_YAMUX_HEADER;
    if (cap > FAB_YAMUX_FRAME_MAX)
        cap = FAB_YAMUX_FRAME_MAX;
    if (cap > s->send_window)
        cap = (size_t)s->send_window;
    bool fin = false;
    s->flags &= ~(uint32_t)S_WOKEN;
    y->pulling = true;
    size_t got = y->events.pull(y->events.ctx, s, p + FAB_YAMUX_HEADER, cap, &fin);
    y->pulling = false;
    if (got > cap)
        got = cap;
    if (y->failed != FAB_OK || (s->flags & S_GONE))
        return 0;
    s->send_window -= got;
    s->deficit -= (int32_t)got;
    if (fin && !(s->flags & S_WRITE_OVER))
        yamux_stream_due(s, S_FIN_DUE);
    if (got > 0) {
        s->flags |= S_WOKEN;
    } else if (s->flags & S_WOKEN) {
        s->deficit = 0;
        ++*spurious;
    }
    yamux_stream_sort(s);
    return got > 0 ? put_header(p, TYPE_DATA, 0, s->id, (uint32_t)got) + got : 0;
}

size_t fab_yamux_output(struct fab_yamux *y, uint8_t *p, size_t cap, uint64_t now_us)
{
    size_t n = 0;
    if (y->pulling)
        return 0;
    yamux_enter(y, now_us);
    for (unsigned spurious = 0; spurious < SPURIOUS_WAKES_MAX;) {
        size_t room = cap - n;
        if (control_waits(y)) {
            if (room < FAB_YAMUX_HEADER)
                break;
            n += put_control(y, p + n);
            continue;
        }
        if (y->failed != FAB_OK || link_alone(&y->ready) || room <= FAB_YAMUX_HEADER ||
            (n > 0 && room < DATA_ROOM_MIN))
            break;
        n += put_data(y, p + n, room, &spurious);
    }
    yamux_reap(y);
    if (y->doomed)
        n = 0;
    yamux_leave(y);
    return n;
}

bool fab_yamux_wants_output(const struct fab_yamux *y)
{
    return control_waits(y) || !link_alone(&y->ready) || !link_alone(&y->dying);
}
