/* Streams of a connection: multistream first, then the protocol's own bytes.
 *
 * Outbound: header and proposal go out with the first frame; with one name only, the protocol's
 * bytes follow at once (lazy negotiation). Inbound: our header and answer are written before
 * anything else, even for a stream that is refused, since Go waits for them when it closes. A
 * stream whose negotiation is not done in time is reset. */
#include "fabric/swarm/conn_internal.h"

#include <stdlib.h>
#include <string.h>

#define NEGOTIATION_OUT_MAX 8192 /* bytes of answers not pulled yet */

struct negotiation {
    struct fab_multistream ms;
    struct fab_buf out;
    uint64_t until_us;
    bool answered; /* multistream is through; only `out` waits */
};

struct fab_stream {
    struct fab_conn *conn;
    struct fab_yamux_stream *yamux;
    const struct fab_stream_events *events; /* NULL: inbound, not agreed on yet */
    void *user;
    struct negotiation *negotiation;  /* NULL when it is over and all of it was sent */
    struct fab_stream *older, *newer; /* while linked: its deadline is watched */
    bool linked, lazy, ended, fin_sent;
    bool broken; /* reset, by either side: nothing follows but `closed` */
    enum fab_rc why;
};

/* Called where conn->now_us is the present: in an event of the wire. */
static void link_last(struct fab_stream *stream)
{
    struct fab_conn *conn = stream->conn;
    stream->negotiation->until_us = conn->now_us + FAB_CONN_STREAM_US;
    stream->older = conn->newest;
    stream->newer = NULL;
    *(conn->newest ? &conn->newest->newer : &conn->oldest) = stream;
    conn->newest = stream;
    stream->linked = true;
}

static void unlink_stream(struct fab_stream *stream)
{
    struct fab_conn *conn = stream->conn;
    if (!stream->linked)
        return;
    *(stream->older ? &stream->older->newer : &conn->oldest) = stream->newer;
    *(stream->newer ? &stream->newer->older : &conn->newest) = stream->older;
    stream->linked = false;
}

static void negotiation_free(struct fab_stream *stream)
{
    unlink_stream(stream);
    if (!stream->negotiation)
        return;
    fab_buf_fini(&stream->negotiation->out);
    free(stream->negotiation);
    stream->negotiation = NULL;
}

static struct fab_stream *stream_new(struct fab_conn *conn)
{
    struct fab_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->conn = conn;
    stream->why = FAB_EINTERRUPTED;
    stream->negotiation = calloc(1, sizeof *stream->negotiation);
    if (!stream->negotiation) {
        free(stream);
        return NULL;
    }
    fab_buf_init(&stream->negotiation->out, NEGOTIATION_OUT_MAX);
    return stream;
}

static void stream_free(struct fab_stream *stream)
{
    negotiation_free(stream);
    free(stream);
}

/* ---- negotiation ---- */

struct match {
    struct fab_conn *conn;
    const struct fab_protocol *protocol;
};

static int match_protocol(void *ctx, struct fab_slice name)
{
    struct match *match = ctx;
    match->protocol = match->conn->events->protocol(match->conn->ctx, name);
    return match->protocol ? 0 : -1;
}

/* ---- events of yamux ---- */

static enum fab_rc incoming(void *ctx, struct fab_yamux_stream *yamux)
{
    struct fab_conn *conn = ctx;
    struct fab_stream *stream = stream_new(conn);
    if (!stream)
        return FAB_ENOMEM;
    fab_multistream_listen(&stream->negotiation->ms, match_protocol, NULL);
    stream->yamux = yamux;
    fab_yamux_stream_set_user(yamux, stream);
    enum fab_rc rc = fab_multistream_start(&stream->negotiation->ms, &stream->negotiation->out);
    if (rc != FAB_OK) {
        stream_free(stream);
        return rc;
    }
    link_last(stream);
    fab_yamux_stream_wake(yamux);
    return FAB_OK;
}

/* Whatever the protocol's owner is told from here on, `closed` is among it. */
static enum fab_rc agreed(struct fab_stream *stream, const struct fab_protocol *protocol)
{
    if (protocol) {
        if (protocol->accept(protocol->ctx, stream, &stream->user) != FAB_OK)
            return FAB_EBUSY;
        stream->events = protocol->events;
    }
    unlink_stream(stream);
    stream->negotiation->answered = true;
    if (stream->negotiation->out.len == 0)
        negotiation_free(stream);
    return FAB_OK;
}

/* Bytes of the negotiation; what is behind them stays in `in`. */
static enum fab_rc negotiate(struct fab_stream *stream, struct fab_reader *in)
{
    struct negotiation *n = stream->negotiation;
    struct match match = {stream->conn, NULL};
    bool inbound = fab_yamux_stream_inbound(stream->yamux);
    if (inbound)
        n->ms.ctx = &match; /* which lives during this call only */
    const uint8_t *before = in->p;
    enum fab_rc rc = fab_multistream_input(&n->ms, in, &n->out);
    fab_yamux_stream_consumed(stream->yamux, (size_t)(in->p - before));
    if (rc == FAB_OK && n->ms.done)
        rc = agreed(stream, match.protocol);
    if (rc == FAB_ENOENT)
        stream->why = FAB_EUNSUPPORTED;
    return rc;
}

static void data(void *ctx, struct fab_yamux_stream *yamux, const uint8_t *p, size_t n)
{
    struct fab_stream *stream = fab_yamux_stream_user(yamux);
    struct fab_reader in = fab_reader(fab_slice(p, n));
    (void)ctx;
    if (stream->negotiation && !stream->negotiation->answered) {
        enum fab_rc rc = negotiate(stream, &in);
        if (rc != FAB_OK) {
            fab_yamux_stream_reset(yamux, rc == FAB_EBUSY ? FAB_YAMUX_RESOURCE_LIMIT
                                                          : FAB_YAMUX_NEGOTIATION_FAILED);
            return;
        }
        fab_yamux_stream_wake(yamux); /* an answer to be sent, or the turn of the protocol */
    }
    if (fab_reader_left(&in) > 0 && !stream->broken)
        stream->events->input(stream->user, stream, in.p, fab_reader_left(&in));
}

static void end(void *ctx, struct fab_yamux_stream *yamux)
{
    struct fab_stream *stream = fab_yamux_stream_user(yamux);
    (void)ctx;
    stream->ended = true;
    if (stream->negotiation && !stream->negotiation->answered)
        fab_yamux_stream_reset(yamux, FAB_YAMUX_NEGOTIATION_FAILED);
    else if (stream->events->end && !stream->broken)
        stream->events->end(stream->user, stream);
}

/* Bytes that follow a refused proposal make the refuser (Go's, and ours) reset the stream before
 * its answer is written: the code is then all that says so. */
static void reset(void *ctx, struct fab_yamux_stream *yamux, uint32_t code)
{
    struct fab_stream *stream = fab_yamux_stream_user(yamux);
    (void)ctx;
    stream->broken = true;
    const struct negotiation *n = stream->negotiation;
    if (code == FAB_YAMUX_NEGOTIATION_FAILED && n && !n->answered && n->until_us && n->out.len == 0)
        stream->why = FAB_EUNSUPPORTED;
}

static size_t pull(void *ctx, struct fab_yamux_stream *yamux, uint8_t *p, size_t cap, bool *fin)
{
    struct fab_stream *stream = fab_yamux_stream_user(yamux);
    struct negotiation *n = stream->negotiation;
    size_t done = 0;
    (void)ctx;
    if (n) {
        if (n->until_us == 0) /* ours, and on its way only now */
            link_last(stream);
        done = n->out.len < cap ? n->out.len : cap;
        if (done > 0)
            memcpy(p, n->out.data, done);
        if (done < n->out.len) {
            memmove(n->out.data, n->out.data + done, n->out.len - done);
            n->out.len -= done;
            fab_yamux_stream_wake(yamux);
            return done;
        }
        n->out.len = 0;
        if (n->answered)
            negotiation_free(stream);
        else if (!stream->lazy)
            return done;
    }
    if (done < cap && stream->events->output) {
        done += stream->events->output(stream->user, stream, p + done, cap - done, fin);
        stream->fin_sent |= *fin;
    } else if (done == cap) {
        fab_yamux_stream_wake(yamux);
    }
    return done;
}

static void closed(void *ctx, struct fab_yamux_stream *yamux)
{
    struct fab_stream *stream = fab_yamux_stream_user(yamux);
    (void)ctx;
    if (stream->ended && stream->fin_sent && !stream->broken)
        stream->why = FAB_OK;
    if (stream->events)
        stream->events->closed(stream->user, stream, stream->why);
    stream_free(stream);
}

const struct fab_yamux_events fab_conn_yamux_events = {
    .incoming = incoming,
    .data = data,
    .end = end,
    .reset = reset,
    .pull = pull,
    .closed = closed,
};

/* ---- calls of the owner ---- */

enum fab_rc fab_conn_open(struct fab_conn *conn, const char *const *names, size_t n,
                          const struct fab_stream_events *events, void *user,
                          struct fab_stream **out)
{
    if (!fab_conn_is_ready(conn))
        return FAB_EINTERRUPTED;
    struct fab_stream *stream = stream_new(conn);
    if (!stream)
        return FAB_ENOMEM;
    stream->events = events;
    stream->user = user;
    stream->lazy = n == 1;
    enum fab_rc rc = fab_multistream_dial(&stream->negotiation->ms, names, n);
    if (rc == FAB_OK)
        rc = fab_multistream_start(&stream->negotiation->ms, &stream->negotiation->out);
    if (rc == FAB_OK)
        rc = fab_yamux_open(conn->yamux, stream, &stream->yamux);
    if (rc != FAB_OK) {
        stream_free(stream);
        return rc == FAB_EBUSY ? FAB_ELIMIT : rc;
    }
    fab_stream_wake(stream);
    *out = stream;
    return FAB_OK;
}

void fab_stream_wake(struct fab_stream *stream)
{
    fab_yamux_stream_wake(stream->yamux);
    conn_wake(stream->conn);
}

void fab_stream_consumed(struct fab_stream *stream, size_t n)
{
    fab_yamux_stream_consumed(stream->yamux, n);
    if (fab_yamux_wants_output(stream->conn->yamux))
        conn_wake(stream->conn);
}

void fab_stream_reset(struct fab_stream *stream, uint32_t code)
{
    stream->broken = true;
    fab_yamux_stream_reset(stream->yamux, code);
    conn_wake(stream->conn);
}

struct fab_conn *fab_stream_conn(struct fab_stream *stream)
{
    return stream->conn;
}

void fab_conn_streams_tick(struct fab_conn *conn)
{
    while (conn->oldest && conn->oldest->negotiation->until_us <= conn->now_us) {
        struct fab_stream *stream = conn->oldest;
        unlink_stream(stream);
        fab_yamux_stream_reset(stream->yamux, FAB_YAMUX_NO_ERROR); /* slow is not unsupported */
    }
}

uint64_t fab_conn_streams_deadline(const struct fab_conn *conn)
{
    return conn->oldest ? conn->oldest->negotiation->until_us : UINT64_MAX;
}
