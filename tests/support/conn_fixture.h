/* Two connections back to back in memory: the wire between them, and streams that record what
 * happened to them. */
#ifndef FAB_TESTS_CONN_FIXTURE_H
#define FAB_TESTS_CONN_FIXTURE_H

#include "fabric/swarm/conn.h"
#include "fabric/swarm/pnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)
#define KEYS            4 /* swarm keys and identities that tests use */

static uint8_t swarm_keys[KEYS][32];
static struct fab_key *identities[KEYS];

static inline uint64_t rng_next(uint64_t *x)
{
    *x += 0x9e3779b97f4a7c15u;
    uint64_t z = (*x ^ *x >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t rng_below(uint64_t *x, uint64_t n)
{
    return rng_next(x) % n;
}

struct side;

/* One end of a stream, and what it is to do. */
struct flow {
    struct side *side;
    struct fab_stream *stream; /* NULL after closed */
    uint64_t to_send, sent, received, held;
    unsigned salt; /* of what is sent; also its first byte */
    unsigned their_salt;
    bool fin;  /* end our half behind to_send */
    bool keep; /* do not consume */
    bool ended;
    unsigned closed;
    enum fab_rc why;
    /* What happens inside events; all may be NULL. */
    void (*in_input)(struct flow *f);
    void (*in_output)(struct flow *f);
    void (*in_end)(struct flow *f);
    void (*in_closed)(struct flow *f);
};

#define FLOWS 640

struct side {
    struct fab_conn *conn;
    struct side *other;
    bool dialer;
    const uint8_t *keys[KEYS];
    size_t n_keys;
    uint64_t keys_version;
    size_t keyed; /* index; SIZE_MAX before */
    enum fab_rc keyed_rc, secured_rc, accept_rc;
    struct fab_peer_id secured;
    unsigned ready, wakes, asked_keys;
    struct fab_buf wire; /* written by this side, not delivered */
    size_t written;      /* in all */
    enum fab_rc rc;      /* of input or tick */
    struct flow flows[FLOWS];
    size_t n_flows;
    void (*in_ready)(struct side *s);
    enum fab_rc (*in_accept)(struct flow *f);
    struct flow model; /* what an accepted stream does */
    bool admitted;     /* `secured` gave FAB_OK */
};

struct pair {
    struct side a, b; /* dialer, listener */
    uint64_t now, rng;
    size_t cap;   /* of outputs; 0: random */
    size_t split; /* of inputs; 0: random up to split_max */
    size_t split_max;
};

/* ---- streams ---- */

static inline uint8_t flow_byte(unsigned salt, uint64_t at)
{
    return at == 0 ? (uint8_t)salt
                   : (uint8_t)((at + (at >> 7) * 13 + (at >> 15) * 101) * 167 + salt * 59);
}

static inline struct flow *flow_new(struct side *s)
{
    assert_true(s->n_flows < FLOWS);
    struct flow *f = &s->flows[s->n_flows++];
    memset(f, 0, sizeof *f);
    f->side = s;
    return f;
}

static inline void flow_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct flow *f = user;
    assert_ptr_equal(f->stream, stream);
    assert_true(n > 0 && f->closed == 0 && !f->ended);
    assert_true(f->side->admitted);
    if (f->received == 0)
        f->their_salt = p[0];
    for (size_t i = 0; i < n; i++)
        if (p[i] != flow_byte(f->their_salt, f->received + i))
            fail_msg("wrong byte at %llu", (unsigned long long)(f->received + i));
    f->received += n;
    if (f->keep)
        f->held += n;
    else
        fab_stream_consumed(stream, n);
    if (f->in_input)
        f->in_input(f);
}

static inline void flow_end(void *user, struct fab_stream *stream)
{
    struct flow *f = user;
    assert_ptr_equal(f->stream, stream);
    assert_false(f->ended || f->closed);
    f->ended = true;
    if (f->in_end)
        f->in_end(f);
}

static inline size_t flow_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap,
                                 bool *fin)
{
    struct flow *f = user;
    assert_true(cap > 0 && f->closed == 0);
    assert_false(*fin);
    assert_true(f->side->admitted);
    assert_ptr_equal(f->stream, stream);
    size_t n = f->to_send - f->sent < cap ? (size_t)(f->to_send - f->sent) : cap;
    for (size_t i = 0; i < n; i++)
        p[i] = flow_byte(f->salt, f->sent + i);
    f->sent += n;
    *fin = f->fin && f->sent == f->to_send;
    if (f->in_output)
        f->in_output(f);
    return n;
}

static inline void flow_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct flow *f = user;
    assert_ptr_equal(f->stream, stream);
    assert_int_equal(f->closed, 0);
    f->closed++;
    f->why = why;
    if (f->in_closed)
        f->in_closed(f);
    f->stream = NULL;
}

static const struct fab_stream_events flow_events = {flow_input, flow_end, flow_output,
                                                     flow_closed};

static inline enum fab_rc flow_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct side *s = fab_conn_ctx(fab_stream_conn(stream));
    (void)ctx;
    if (s->accept_rc != FAB_OK)
        return s->accept_rc;
    struct flow *f = flow_new(s);
    *f = s->model;
    f->side = s;
    f->stream = stream;
    *user = f;
    return s->in_accept ? s->in_accept(f) : FAB_OK;
}

static const struct fab_protocol flow_protocols[] = {
    {"/test/1", NULL, &flow_events, flow_accept},
    {"/test/2", NULL, &flow_events, flow_accept},
};
static const char *const test_1[] = {"/test/1"};

/* ---- sides ---- */

static inline size_t side_keys(void *ctx, const uint8_t *const **keys, uint64_t *version)
{
    struct side *s = ctx;
    s->asked_keys++;
    *keys = s->keys;
    *version = s->keys_version;
    return s->n_keys;
}

static inline enum fab_rc side_keyed(void *ctx, size_t index)
{
    struct side *s = ctx;
    assert_true(index < s->n_keys);
    s->keyed = index;
    return s->keyed_rc;
}

static inline enum fab_rc side_secured(void *ctx, const struct fab_peer_id *peer,
                                       struct fab_slice public_key)
{
    struct side *s = ctx;
    struct fab_peer_id of_key;
    assert_int_equal(s->ready, 0);
    assert_ok(fab_peer_id_of_public(public_key, &of_key));
    assert_true(fab_peer_id_eq(peer, &of_key));
    s->secured = *peer;
    s->admitted = s->secured_rc == FAB_OK;
    return s->secured_rc;
}

static inline void side_ready(void *ctx)
{
    struct side *s = ctx;
    assert_true(s->admitted);
    s->ready++;
    if (s->in_ready)
        s->in_ready(s);
}

static inline const struct fab_protocol *side_protocol(void *ctx, struct fab_slice name)
{
    assert_true(((struct side *)ctx)->admitted);
    for (size_t i = 0; i < 2; i++)
        if (fab_slice_eq(name, fab_slice(flow_protocols[i].name, strlen(flow_protocols[i].name))))
            return &flow_protocols[i];
    return NULL;
}

static inline void side_wake(void *ctx)
{
    ((struct side *)ctx)->wakes++;
}

static const struct fab_conn_events side_events = {side_keys,  side_keyed,    side_secured,
                                                   side_ready, side_protocol, side_wake};

/* `a` dials with swarm key 0 and identity 0; `b` listens with keys 0 to n_keys - 1, identity 1. */
static inline struct fab_conn_config pair_config(struct pair *p, bool dialer)
{
    struct fab_conn_config config = {
        .dialer = dialer,
        .identity = identities[dialer ? 0 : 1],
        .key = dialer ? swarm_keys[0] : NULL,
        .events = &side_events,
        .ctx = dialer ? &p->a : &p->b,
    };
    for (size_t i = 0; i < sizeof config.random; i++)
        config.random[i] = (uint8_t)rng_next(&p->rng);
    return config;
}

/* Everything but the connections. */
static inline struct pair *pair_new(uint64_t seed)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->rng = seed;
    p->now = 1000000;
    p->cap = 65536;
    p->split_max = 5000;
    p->a.other = &p->b;
    p->b.other = &p->a;
    p->a.dialer = true;
    for (size_t i = 0; i < KEYS; i++)
        p->b.keys[i] = swarm_keys[i];
    p->b.n_keys = 1;
    p->a.keyed = p->b.keyed = SIZE_MAX;
    fab_buf_init(&p->a.wire, 64 << 20);
    fab_buf_init(&p->b.wire, 64 << 20);
    return p;
}

static inline void pair_connect(struct pair *p)
{
    struct fab_conn_config a = pair_config(p, true), b = pair_config(p, false);
    assert_ok(fab_conn_new(&a, p->now, &p->a.conn));
    assert_ok(fab_conn_new(&b, p->now, &p->b.conn));
}

static inline void pair_free(struct pair *p)
{
    for (struct side *s = &p->a;; s = &p->b) {
        fab_conn_free(s->conn);
        fab_buf_fini(&s->wire);
        for (size_t i = 0; i < s->n_flows; i++)
            assert_int_equal(s->flows[i].closed, 1);
        if (s == &p->b)
            break;
    }
    free(p);
}

/* What `s` has to say goes to its wire, within `max` bytes. */
static inline size_t side_write(struct pair *p, struct side *s, size_t max)
{
    size_t total = 0;
    while (total < max) {
        size_t cap = p->cap ? p->cap : FAB_CONN_OUTPUT_MIN + rng_below(&p->rng, 70000);
        assert_ok(fab_buf_reserve(&s->wire, cap));
        unsigned wakes = s->wakes;
        size_t n = fab_conn_output(s->conn, s->wire.data + s->wire.len, cap, p->now);
        assert_int_equal(s->wakes, wakes);
        assert_true(n <= cap);
        if (n == 0)
            break;
        s->wire.len += n;
        s->written += n;
        total += n;
    }
    return total;
}

/* The other side takes `n` bytes of what `s` wrote, from memory of exactly that size. */
static inline void side_deliver(struct pair *p, struct side *s, size_t n)
{
    uint8_t *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, s->wire.data, n);
    memmove(s->wire.data, s->wire.data + n, s->wire.len - n);
    s->wire.len -= n;
    if (s->other->rc == FAB_OK)
        s->other->rc = fab_conn_input(s->other->conn, copy, n, p->now);
    free(copy);
}

static inline void side_deliver_all(struct pair *p, struct side *s)
{
    /* In one copy, so that a large wire is not moved for every piece. */
    size_t len = s->wire.len, at = 0;
    uint8_t *all = s->wire.data;
    s->wire.data = NULL;
    s->wire.len = s->wire.cap = 0;
    while (at < len) {
        size_t n = p->split ? p->split : 1 + rng_below(&p->rng, p->split_max);
        if (n > len - at)
            n = len - at;
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, all + at, n);
        if (s->other->rc == FAB_OK)
            s->other->rc = fab_conn_input(s->other->conn, copy, n, p->now);
        free(copy);
        at += n;
    }
    free(all);
}

/* Until neither has anything to say, or one has failed. Time stands still. */
static inline void pair_run(struct pair *p)
{
    for (;;) {
        size_t n = side_write(p, &p->a, 1 << 20) + side_write(p, &p->b, 1 << 20);
        n += p->a.wire.len + p->b.wire.len;
        if (n == 0)
            break;
        side_deliver_all(p, &p->a);
        side_deliver_all(p, &p->b);
    }
}

static inline void pair_tick(struct pair *p, uint64_t by)
{
    p->now += by;
    if (p->a.rc == FAB_OK)
        p->a.rc = fab_conn_tick(p->a.conn, p->now);
    if (p->b.rc == FAB_OK)
        p->b.rc = fab_conn_tick(p->b.conn, p->now);
}

/* A ready pair. */
static inline struct pair *pair_ready(uint64_t seed)
{
    struct pair *p = pair_new(seed);
    pair_connect(p);
    pair_run(p);
    assert_ok(p->a.rc);
    assert_ok(p->b.rc);
    assert_true(fab_conn_is_ready(p->a.conn) && fab_conn_is_ready(p->b.conn));
    return p;
}

static inline struct flow *flow_open(struct side *s, const char *const *names, size_t n)
{
    struct flow *f = flow_new(s);
    f->salt = (unsigned)s->n_flows;
    assert_ok(fab_conn_open(s->conn, names, n, &flow_events, f, &f->stream));
    return f;
}

static inline int fixture_setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t seed[FAB_KEY_SEED_SIZE];
        memset(seed, (int)(i + 1), sizeof seed);
        if (fab_key_from_seed(seed, &identities[i]) != FAB_OK)
            return -1;
        memset(swarm_keys[i], (int)(0x50 + i), sizeof swarm_keys[i]);
    }
    return 0;
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KEYS; i++)
        fab_key_free(identities[i]);
    return 0;
}

#endif
