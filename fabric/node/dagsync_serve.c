/* Serving /fabric/dagsync/1: one server core per stream, filled in the pool while the loop sends
 * what was filled before.
 *
 *     input ──▶ core ──apply──▶ fill (pool) ──▶ ready ──▶ sending ──output──▶ wire
 *
 * Two buffers: one is filled while the other is sent. A peer has a few streams at once; beyond that
 * a stream is reset, and the peer asks again later. What the buffers of one connection may hold is
 * bounded: a stream that finds no room waits until another one's bytes have gone. One on which
 * nothing comes or goes for a minute is reset. */
#include "fabric/exchange/dagsync_server.h"
#include "fabric/node/internal.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FILL_TARGET      (512u << 10)
#define PEER_STREAMS_MAX 16u
#define FILL_RESERVE     ((size_t)FILL_TARGET + (1u << 20)) /* until a fill's size is known */
#define LINK_FILLED_MAX  (6 * FILL_RESERVE)
#define ORPHANS_MAX      256 /* fills of the node whose streams are gone */
#define IDLE_US          (60u * 1000000u)

struct serve {
    struct fab_node *node;
    struct node_link *link;    /* NULL: the connection is gone too */
    struct fab_stream *stream; /* NULL: it is gone, only the fill is waited for */
    struct serve *next_orphan;
    struct fab_store *store;
    uint32_t ws;
    struct fab_dagsync_server *core;
    struct fab_work work;
    bool filling, broken;
    atomic_bool gone; /* nobody waits for the fill: it need not begin */
    struct fab_buf filled;
    struct outbuf sending;
    enum fab_rc fill_rc;
    size_t charged; /* of link->filled */
    struct serve *next_starved;
    bool starved;
    struct fab_timer timer;
};

static void serve_go_on(struct serve *serve);
static void wake_starved(struct node_link *link);

/* ---- streams that end while a fill runs ---- */

/* The fill, and what it holds, stays charged to the connection: else one that opens and resets
 * streams could have any number of them under way. */
static void orphan_add(struct serve *serve)
{
    serve->next_orphan = serve->link->orphans;
    serve->link->orphans = serve;
    serve->node->serve_orphans++;
}

static void orphan_end(struct serve *serve)
{
    serve->node->serve_orphans--;
    if (!serve->link)
        return;
    struct serve **at = &serve->link->orphans;
    while (*at != serve)
        at = &(*at)->next_orphan;
    *at = serve->next_orphan;
    serve->link->serving--;
    serve->link->filled -= serve->charged;
    wake_starved(serve->link);
}

void dagsync_link_gone(struct node_link *link)
{
    for (struct serve *serve = link->orphans; serve; serve = serve->next_orphan)
        serve->link = NULL;
    link->orphans = NULL;
}

static void serve_free(struct serve *serve)
{
    fab_dagsync_server_free(serve->core);
    fab_buf_fini(&serve->filled);
    fab_buf_fini(&serve->sending.buf);
    free(serve);
}

/* ---- the connection's room ---- */

static void charge(struct serve *serve, size_t n)
{
    serve->link->filled += n - serve->charged;
    serve->charged = n;
}

static void starved_remove(struct serve *serve)
{
    struct serve **at = &serve->link->starved;
    while (*at && *at != serve)
        at = &(*at)->next_starved;
    if (*at)
        *at = serve->next_starved;
    serve->starved = false;
}

static void wake_starved(struct node_link *link)
{
    while (link->tcp && link->starved && link->filled + FILL_RESERVE <= LINK_FILLED_MAX) {
        struct serve *next = link->starved;
        starved_remove(next);
        serve_go_on(next);
    }
}

/* Charge what the stream holds now; if that is less than before, others may go on. */
static void recharge(struct serve *serve)
{
    size_t before = serve->charged;
    charge(serve, serve->filled.len + serve->sending.buf.len);
    if (serve->charged < before)
        wake_starved(serve->link);
}

/* A stream that waits holds no memory. */
static void drop_buffers(struct serve *serve)
{
    fab_buf_fini(&serve->filled);
    if (serve->sending.buf.len == 0)
        fab_buf_fini(&serve->sending.buf);
}

static bool room(struct serve *serve)
{
    struct node_link *link = serve->link;
    if (link->filled + FILL_RESERVE > LINK_FILLED_MAX) {
        if (!serve->starved) {
            struct serve **at = &link->starved;
            while (*at)
                at = &(*at)->next_starved;
            serve->next_starved = NULL;
            *at = serve;
            serve->starved = true;
            drop_buffers(serve);
        }
        return false;
    }
    charge(serve, serve->charged + FILL_RESERVE);
    return true;
}

static void alive(struct serve *serve)
{
    fab_timer_start(&serve->timer, fab_loop_now_us() + IDLE_US);
}

static void idle(void *arg)
{
    struct serve *serve = arg;
    bool waits_for_us = serve->starved && serve->sending.buf.len == 0;
    if (serve->filling || waits_for_us) {
        alive(serve);
        return;
    }
    serve->broken = true;
    fab_stream_reset(serve->stream, FAB_STREAM_CANCELLED);
}

/* ---- filling ---- */

static void fill_run(struct fab_work *work)
{
    struct serve *serve = (struct serve *)((char *)work - offsetof(struct serve, work));
    struct fab_view *view;
    serve->fill_rc = FAB_OK;
    if (atomic_load(&serve->gone))
        return;
    serve->fill_rc = fab_view_open(serve->store, serve->ws, &view, NULL);
    if (serve->fill_rc != FAB_OK)
        return;
    struct fab_block_source source = fab_view_source(view);
    serve->fill_rc = fab_dagsync_server_fill(serve->core, &source, &serve->filled, FILL_TARGET);
    fab_view_close(view);
}

/* Start a fill if there is work and a buffer for it; end our half when all is said. */
static void serve_go_on(struct serve *serve)
{
    if (serve->broken || serve->filling || serve->starved || serve->filled.len > 0)
        return;
    if (fab_dagsync_server_apply(serve->core) != FAB_OK) {
        serve->broken = true;
        fab_stream_reset(serve->stream, FAB_STREAM_RESOURCE);
        return;
    }
    switch (fab_dagsync_server_state(serve->core)) {
    case FAB_DAGSYNC_WORK:
        if (!room(serve))
            return;
        serve->filling = true;
        fab_work_start(&serve->work, serve->link->node->loop, serve->link->node->pool);
        return;
    case FAB_DAGSYNC_FINISHED:
        serve->sending.fin = true;
        fab_stream_wake(serve->stream);
        return;
    default: /* nothing to do before more arrives */
        drop_buffers(serve);
        return;
    }
}

/* What was filled is sent when the buffer before it has gone. */
static void serve_swap(struct serve *serve)
{
    if (serve->filling || serve->filled.len == 0 || serve->sending.buf.len > 0)
        return;
    struct fab_buf empty = serve->sending.buf;
    serve->sending.buf = serve->filled;
    serve->filled = empty;
    fab_stream_wake(serve->stream);
}

static void fill_done(struct fab_work *work)
{
    struct serve *serve = (struct serve *)((char *)work - offsetof(struct serve, work));
    serve->filling = false;
    if (!serve->stream) {
        orphan_end(serve);
        serve_free(serve);
        return;
    }
    if (serve->fill_rc != FAB_OK) {
        fab_log("dagsync_serve_failed", "why=\"%s\"", fab_rc_text(serve->fill_rc));
        serve->broken = true;
        recharge(serve);
        fab_stream_reset(serve->stream, FAB_STREAM_RESOURCE);
        return;
    }
    recharge(serve);
    if (serve->filled.len > 0)
        serve_swap(serve);
    serve_go_on(serve);
}

/* ---- the stream ---- */

static void serve_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct serve *serve = user;
    fab_stream_consumed(stream, n);
    if (serve->broken)
        return;
    alive(serve);
    if (fab_dagsync_server_input(serve->core, fab_slice(p, n)) != FAB_OK) {
        serve->broken = true;
        fab_stream_reset(stream, FAB_STREAM_RESOURCE);
        return;
    }
    serve_go_on(serve);
}

static void serve_end(void *user, struct fab_stream *stream)
{
    struct serve *serve = user;
    if (serve->broken)
        return;
    if (fab_dagsync_server_input_end(serve->core) != FAB_OK) {
        serve->broken = true;
        fab_stream_reset(stream, FAB_STREAM_RESOURCE);
        return;
    }
    serve_go_on(serve);
}

static size_t serve_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    struct serve *serve = user;
    (void)stream;
    size_t n = outbuf_pull(&serve->sending, p, cap, fin);
    if (serve->link->peer)
        serve->link->peer->sent += n;
    if (n > 0)
        alive(serve);
    if (serve->sending.buf.len == 0 && !*fin) {
        if (!serve->filling)
            recharge(serve);
        serve_swap(serve);
        serve_go_on(serve);
    }
    return n;
}

static void serve_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct serve *serve = user;
    (void)stream;
    (void)why;
    fab_timer_stop(&serve->timer);
    if (serve->starved)
        starved_remove(serve);
    serve->stream = NULL;
    serve->broken = true;
    fab_buf_fini(&serve->sending.buf);
    if (!serve->filling)
        fab_buf_fini(&serve->filled);
    serve->sending.sent = 0;
    if (serve->filling) {
        atomic_store(&serve->gone, true);
        orphan_add(serve);
        return;
    }
    serve->link->serving--;
    serve->link->filled -= serve->charged;
    wake_starved(serve->link);
    serve_free(serve);
}

static const struct fab_stream_events serve_events = {
    .input = serve_input, .end = serve_end, .output = serve_output, .closed = serve_closed};

static enum fab_rc serve_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct node_link *link = stream_link(stream);
    (void)ctx;
    if (link->serving >= PEER_STREAMS_MAX || link->node->serve_orphans >= ORPHANS_MAX ||
        link->node->stopping)
        return FAB_ELIMIT;
    struct serve *serve = calloc(1, sizeof *serve);
    if (!serve)
        return FAB_ENOMEM;
    uint8_t key[FAB_DAGSYNC_KEY];
    randombytes_buf(key, sizeof key);
    fab_buf_init(&serve->filled, FILL_TARGET + FAB_DAGSYNC_FRAME_MAX + 512);
    fab_buf_init(&serve->sending.buf, FILL_TARGET + FAB_DAGSYNC_FRAME_MAX + 512);
    enum fab_rc rc = fab_dagsync_server_new(key, &serve->core);
    if (rc != FAB_OK) {
        serve_free(serve);
        return rc;
    }
    serve->node = link->node;
    serve->link = link;
    serve->stream = stream;
    serve->store = link->node->store;
    serve->ws = link->ws->id;
    serve->work.run = fill_run;
    serve->work.done = fill_done;
    fab_timer_init(&serve->timer, link->node->loop, idle, serve);
    alive(serve);
    link->serving++;
    *user = serve;
    return FAB_OK;
}

const struct fab_protocol dagsync_protocol = {
    .name = FAB_DAGSYNC_PROTOCOL, .events = &serve_events, .accept = serve_accept};
