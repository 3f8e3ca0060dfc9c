/* One stream: the table by id, its life, its windows, and the calls of its owner.
 *
 * Happy path: new puts it into the table; wake, consumed and finish note what is due and put it
 * into the ring that the output works off; when both sides have said FIN it dies, which takes it
 * out of the table and gives its grown window back, and `closed` and the memory follow as soon as
 * no event is running. Failures: a reset takes it out of the table at once, so that what is still
 * on its way counts as unknown, and keeps it only until the RST is written. */
#include "fabric/swarm/yamux_internal.h"

#include <stdlib.h>

#define BUCKET_BITS_MAX 20

_Static_assert(sizeof(struct fab_yamux_stream) <= 160, "an idle stream stays small");

/* Multiplication by a secret odd number spreads the ids that a peer chooses. */
static size_t bucket_of(const struct fab_yamux *y, uint32_t id)
{
    uint64_t mix = (y->config.hash_seed | 1) * 0x9e3779b97f4a7c15u * id;
    return (size_t)(mix >> (64 - y->bucket_bits));
}

static void table_put(struct fab_yamux *y, struct fab_yamux_stream *s)
{
    struct fab_yamux_stream **bucket = &y->buckets[bucket_of(y, s->id)];
    s->chain = *bucket;
    *bucket = s;
}

/* Without memory the chains only get longer. */
static void table_widen(struct fab_yamux *y)
{
    size_t old_count = (size_t)1 << y->bucket_bits;
    if (y->in_table < old_count || y->bucket_bits == BUCKET_BITS_MAX)
        return;
    struct fab_yamux_stream **old = y->buckets, **wide;
    wide = calloc(2 * old_count, sizeof(struct fab_yamux_stream *));
    if (!wide)
        return;
    y->buckets = wide;
    y->bucket_bits++;
    for (size_t i = 0; i < old_count; i++) {
        for (struct fab_yamux_stream *s = old[i], *next; s; s = next) {
            next = s->chain;
            table_put(y, s);
        }
    }
    free(old);
}

struct fab_yamux_stream *yamux_stream_find(const struct fab_yamux *y, uint32_t id)
{
    struct fab_yamux_stream *s = y->buckets[bucket_of(y, id)];
    while (s && s->id != id)
        s = s->chain;
    return s;
}

struct fab_yamux_stream *yamux_stream_new(struct fab_yamux *y, uint32_t id, uint32_t flags)
{
    struct fab_yamux_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->y = y;
    s->id = id;
    s->flags = flags;
    s->send_window = s->recv_target = s->recv_left = FAB_YAMUX_WINDOW_INITIAL;
    s->epoch_us = y->now_us;
    link_init(&s->ready);
    link_init(&s->control);
    table_widen(y);
    table_put(y, s);
    y->in_table++;
    y->streams++;
    if (flags & S_INBOUND)
        y->inbound++;
    else
        y->outbound++;
    if (flags & S_UNACKED)
        y->unacked++;
    return s;
}

/* Out of the table: nothing more is received or pulled. */
static void detach(struct fab_yamux_stream *s)
{
    struct fab_yamux *y = s->y;
    if (s->flags & S_GONE)
        return;
    struct fab_yamux_stream **at = &y->buckets[bucket_of(y, s->id)];
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    y->in_table--;
    if (y->in_stream == s)
        y->in_stream = NULL;
    yamux_stream_acked(s);
    uint32_t grown = s->recv_target - FAB_YAMUX_WINDOW_INITIAL;
    y->grown -= grown;
    if (y->config.shared)
        y->config.shared->used -= grown;
    link_remove(&s->ready);
    link_remove(&s->control);
}

void yamux_stream_drop(struct fab_yamux_stream *s)
{
    struct fab_yamux *y = s->y;
    detach(s);
    link_remove(&s->control);
    y->streams--;
    if (s->flags & S_INBOUND)
        y->inbound--;
    else
        y->outbound--;
    free(s);
}

void yamux_stream_die(struct fab_yamux_stream *s)
{
    if (s->flags & S_DEAD)
        return;
    detach(s);
    s->flags |= S_DEAD;
    link_remove(&s->control);
    link_append(&s->y->dying, &s->control);
}

void yamux_stream_acked(struct fab_yamux_stream *s)
{
    if (s->flags & S_UNACKED)
        s->y->unacked--;
    s->flags &= ~(uint32_t)S_UNACKED;
}

void yamux_stream_due(struct fab_yamux_stream *s, uint32_t flags)
{
    s->flags |= flags;
    if (link_alone(&s->control))
        link_append(&s->y->control, &s->control);
}

void yamux_stream_sort(struct fab_yamux_stream *s)
{
    bool ready = (s->flags & S_WOKEN) && !(s->flags & S_WRITE_OVER) && s->send_window > 0;
    if (ready && link_alone(&s->ready)) {
        s->deficit = YAMUX_QUANTUM;
        link_append(&s->y->ready, &s->ready);
    } else if (!ready) {
        link_remove(&s->ready);
    }
}

static void grow(struct fab_yamux_stream *s)
{
    struct fab_yamux *y = s->y;
    struct fab_yamux_budget *shared = y->config.shared;
    uint64_t add = y->config.stream_window_max - s->recv_target;
    if (add > s->recv_target)
        add = s->recv_target;
    if (add > y->config.session_grown_max - y->grown)
        add = y->config.session_grown_max - y->grown;
    if (shared) {
        uint64_t left = shared->max > shared->used ? shared->max - shared->used : 0;
        if (add > left)
            add = left;
        shared->used += add;
    }
    s->recv_target += (uint32_t)add;
    y->grown += add;
}

uint32_t yamux_stream_reopen(struct fab_yamux_stream *s)
{
    struct fab_yamux *y = s->y;
    if (y->rtt_us > 0 && y->now_us - s->epoch_us < 4 * y->rtt_us)
        grow(s);
    s->epoch_us = y->now_us;
    uint32_t delta = s->recv_target - s->recv_left - s->recv_held;
    s->recv_left += delta;
    return delta;
}

enum fab_rc fab_yamux_open(struct fab_yamux *y, void *user, struct fab_yamux_stream **out)
{
    if (fab_yamux_leaving(y))
        return FAB_EINTERRUPTED;
    if (y->outbound >= y->config.outbound_max || y->next_id > UINT32_MAX - 2)
        return FAB_ELIMIT;
    if (y->unacked >= FAB_YAMUX_BACKLOG)
        return FAB_EBUSY;
    struct fab_yamux_stream *s = yamux_stream_new(y, y->next_id, S_UNACKED);
    if (!s)
        return FAB_ENOMEM;
    y->next_id += 2;
    s->user = user;
    yamux_stream_due(s, S_SYN_DUE);
    *out = s;
    return FAB_OK;
}

void fab_yamux_stream_wake(struct fab_yamux_stream *s)
{
    s->flags |= S_WOKEN;
    yamux_stream_sort(s);
}

void fab_yamux_stream_consumed(struct fab_yamux_stream *s, size_t n)
{
    uint32_t coming = s->y->in_stream == s ? s->y->in_left : 0;
    uint32_t received = s->recv_held - coming;
    s->recv_held -= n < received ? (uint32_t)n : received;
    if (s->flags & (S_GONE | S_FIN_RECEIVED))
        return;
    if (s->recv_target - s->recv_left - s->recv_held >= s->recv_target / 2)
        yamux_stream_due(s, S_UPDATE_DUE);
}

void fab_yamux_stream_finish(struct fab_yamux_stream *s)
{
    if (s->flags & S_WRITE_OVER)
        return;
    yamux_stream_due(s, S_FIN_DUE);
    yamux_stream_sort(s);
}

void fab_yamux_stream_reset(struct fab_yamux_stream *s, uint32_t code)
{
    if (s->flags & S_GONE)
        return;
    if (s->flags & S_SYN_DUE) { /* the remote never heard of it */
        yamux_stream_die(s);
        return;
    }
    detach(s);
    s->reset_code = code;
    yamux_stream_due(s, S_RST_DUE);
}

void *fab_yamux_stream_user(const struct fab_yamux_stream *s)
{
    return s->user;
}

void fab_yamux_stream_set_user(struct fab_yamux_stream *s, void *user)
{
    s->user = user;
}

struct fab_yamux *fab_yamux_stream_session(const struct fab_yamux_stream *s)
{
    return s->y;
}

uint32_t fab_yamux_stream_id(const struct fab_yamux_stream *s)
{
    return s->id;
}

bool fab_yamux_stream_inbound(const struct fab_yamux_stream *s)
{
    return (s->flags & S_INBOUND) != 0;
}

uint32_t fab_yamux_stream_window(const struct fab_yamux_stream *s)
{
    return s->recv_target;
}

uint64_t fab_yamux_stream_send_window(const struct fab_yamux_stream *s)
{
    return s->send_window;
}
