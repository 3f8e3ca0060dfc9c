/* A connection fed by a hostile peer: any bytes at all, or any bytes behind a genuine handshake, so
 * that yamux, multistream and streams are reached.
 *
 * Input: a byte (1: we dial; 2: behind the handshake; 4: early muxer; 8: without pnet's key right;
 * 16: streams are reset and opened inside events; the rest: the seed of the cuts), then the bytes
 * of the peer. */
#include "tests/support/raw_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define CHECK   RAW_MUST
#define STREAMS 64

struct stream {
    struct fab_stream *stream;
    bool used, closed, end;
    uint64_t received, to_echo;
};

struct owner {
    struct fab_conn *conn;
    const uint8_t *keys[2];
    bool secured, ready, wild, over;
    struct stream streams[STREAMS];
    unsigned used;
};

static const char *const names[] = {"/fuzz/1", "/fuzz/2"};

static struct owner *owner_of(struct fab_stream *stream)
{
    return fab_conn_ctx(fab_stream_conn(stream));
}

static const struct fab_stream_events events;

static void open_one(struct owner *o, size_t n_names)
{
    if (o->used == STREAMS)
        return;
    struct stream *s = &o->streams[o->used];
    if (fab_conn_open(o->conn, names, n_names, &events, s, &s->stream) == FAB_OK) {
        CHECK(!o->over);
        s->used = true;
        s->to_echo = 100;
        o->used++;
    }
}

static void on_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct stream *s = user;
    struct owner *o = owner_of(stream);
    volatile uint8_t sum = 0;
    CHECK(o->ready && s->used && !s->closed && !s->end && n > 0);
    for (size_t i = 0; i < n; i++)
        sum = (uint8_t)(sum + p[i]);
    s->received += n;
    s->to_echo += n;
    if (p[0] != 'h')
        fab_stream_consumed(stream, n);
    if (o->wild && p[0] == 'r')
        fab_stream_reset(stream, FAB_STREAM_CANCELLED);
    if (o->wild && p[0] == 'o')
        open_one(o, 1 + n % 2);
    fab_stream_wake(stream);
}

static void on_end(void *user, struct fab_stream *stream)
{
    struct stream *s = user;
    CHECK(owner_of(stream)->ready && !s->closed && !s->end);
    s->end = true;
    fab_stream_wake(stream);
}

static size_t on_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    struct stream *s = user;
    CHECK(owner_of(stream)->ready && !s->closed && cap > 0);
    size_t n = s->to_echo < cap ? (size_t)s->to_echo : cap;
    memset(p, 'e', n);
    s->to_echo -= n;
    *fin = s->end && s->to_echo == 0;
    if (owner_of(stream)->wild && n == 7)
        fab_stream_reset(stream, FAB_STREAM_RESOURCE);
    return n;
}

static void on_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct stream *s = user;
    CHECK(s->used && !s->closed);
    CHECK(why == FAB_OK || why == FAB_EUNSUPPORTED || why == FAB_EINTERRUPTED);
    s->closed = true;
    if (owner_of(stream)->wild)
        open_one(owner_of(stream), 1);
}

static const struct fab_stream_events events = {on_input, on_end, on_output, on_closed};

static enum fab_rc on_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct owner *o = owner_of(stream);
    (void)ctx;
    CHECK(o->ready);
    if (o->used == STREAMS)
        return FAB_ELIMIT;
    struct stream *s = &o->streams[o->used++];
    s->used = true;
    s->stream = stream;
    *user = s;
    if (o->wild && o->used % 5 == 0)
        fab_stream_reset(stream, FAB_STREAM_CANCELLED);
    return FAB_OK;
}

static const struct fab_protocol protocol = {"/fuzz/1", NULL, &events, on_accept};

static size_t on_keys(void *ctx, const uint8_t *const **keys, uint64_t *version)
{
    struct owner *o = ctx;
    *keys = o->keys;
    *version = 1;
    return 2;
}

static enum fab_rc on_keyed(void *ctx, size_t index)
{
    (void)ctx;
    CHECK(index < 2);
    return FAB_OK;
}

static enum fab_rc on_secured(void *ctx, const struct fab_peer_id *peer, struct fab_slice key)
{
    struct owner *o = ctx;
    CHECK(!o->secured && peer->len > 0 && key.n > 0);
    o->secured = true;
    return FAB_OK;
}

static void on_ready(void *ctx)
{
    struct owner *o = ctx;
    CHECK(o->secured && !o->ready);
    o->ready = true;
    open_one(o, 1);
    open_one(o, 2);
}

static const struct fab_protocol *on_protocol(void *ctx, struct fab_slice name)
{
    CHECK(((struct owner *)ctx)->ready);
    return fab_slice_eq(name, fab_slice(protocol.name, strlen(protocol.name))) ? &protocol : NULL;
}

static void on_wake(void *ctx)
{
    (void)ctx;
}

static const struct fab_conn_events conn_events = {on_keys,  on_keyed,    on_secured,
                                                   on_ready, on_protocol, on_wake};

static size_t cut(uint32_t *seed, size_t left)
{
    *seed = *seed * 1103515245u + 12345u;
    size_t n = 1 + (*seed >> 16) % 90;
    return n < left ? n : left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct fab_key *identities[2];
    static const uint8_t seeds[2][FAB_KEY_SEED_SIZE] = {{1}, {2}};
    static const uint8_t swarm[2][32] = {{3}, {4}};
    struct owner o = {.keys = {swarm[0], swarm[1]}};
    struct raw_peer r;
    if (n == 0 || n > 20000)
        return 0;
    for (unsigned i = 0; i < 2 && !identities[i]; i++)
        CHECK(fab_key_from_seed(seeds[i], &identities[i]) == FAB_OK);
    uint8_t mode = data[0];
    uint32_t cuts = mode;
    struct fab_conn_config config = {.dialer = mode & 1,
                                     .identity = identities[0],
                                     .key = swarm[1],
                                     .random = {9, 8, 7},
                                     .streams_max = 40,
                                     .events = &conn_events,
                                     .ctx = &o};
    memset(config.random + 24, 5, 72);
    o.wild = mode & 16;
    CHECK(fab_conn_new(&config, 1, &o.conn) == FAB_OK);
    raw_init(&r, o.conn, !(mode & 1), mode & 4, swarm[mode & 8 ? 0 : 1], identities[1], 1);
    bool behind = mode & 2;
    if (behind && raw_handshake(&r))
        CHECK(o.ready);
    behind = behind && o.ready;
    enum fab_rc rc = r.rc;
    for (size_t at = 1; at < n && rc == FAB_OK;) {
        size_t k = cut(&cuts, n - at);
        rc = behind      ? raw_send(&r, data + at, k)
             : mode & 32 ? raw_write(&r, fab_slice(data + at, k))
                         : raw_wire(&r, data + at, k);
        at += k;
        if (behind)
            raw_open(&r);
        else
            raw_read(&r);
        r.now_us += 200000;
        if (rc == FAB_OK)
            rc = fab_conn_tick(o.conn, r.now_us);
        CHECK(fab_conn_streams(o.conn) <= 40 + STREAMS);
        fab_buf_reset(&r.plain);
        if (!behind)
            fab_buf_reset(&r.in);
    }
    CHECK(behind || !o.ready); /* nobody gets in by chance */
    if (rc != FAB_OK) {
        CHECK(!fab_conn_is_ready(o.conn));
        o.over = true;
        uint8_t out[4096];
        for (unsigned i = 0; fab_conn_output(o.conn, out, sizeof out, r.now_us) > 0; i++)
            CHECK(i < 100); /* it comes to an end */
    }
    raw_fini(&r);
    o.over = true;
    fab_conn_free(o.conn);
    for (unsigned i = 0; i < o.used; i++)
        CHECK(o.streams[i].closed);
    return 0;
}
