/* Streams of a connection: negotiation, half-close, resets, events from inside events, bulk. */
#include "tests/support/conn_fixture.h"
#include "tests/support/raw_peer.h"

#define SECOND ((uint64_t)1000000)
#define MIB    ((uint64_t)1 << 20)

static const char *const unknown[] = {"/nobody/1"};
static const char *const unknown_then_2[] = {"/nobody/1", "/nobody/2", "/test/2"};
static const char *const only_unknown[] = {"/nobody/1", "/nobody/2"};

/* ---- negotiation ---- */

static void test_request_and_answer(void **state)
{
    (void)state;
    struct pair *p = pair_ready(1);
    p->b.model = (struct flow){.to_send = 70000, .fin = true, .salt = 77};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 50000;
    f->fin = true;
    pair_run(p);
    assert_int_equal(p->b.n_flows, 1);
    struct flow *g = &p->b.flows[0];
    assert_int_equal(f->received, 70000);
    assert_int_equal(g->received, 50000);
    assert_int_equal(f->closed + g->closed, 2);
    assert_ok(f->why);
    assert_ok(g->why);
    assert_int_equal(fab_conn_streams(p->a.conn) + fab_conn_streams(p->b.conn), 0);
    pair_free(p);
}

/* The protocol's first bytes travel with the proposal: half a round trip, then the answer. */
static void test_lazy(void **state)
{
    (void)state;
    struct pair *p = pair_ready(2);
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 100;
    side_write(p, &p->a, 1 << 16);
    side_deliver_all(p, &p->a);
    assert_int_equal(p->b.n_flows, 1);
    assert_int_equal(p->b.flows[0].received, 100);
    /* With several names nothing is sent before the answer. */
    struct flow *h = flow_open(&p->a, unknown_then_2, 3);
    h->to_send = 100;
    side_write(p, &p->a, 1 << 16);
    side_deliver_all(p, &p->a);
    assert_int_equal(h->sent, 0);
    pair_run(p);
    assert_int_equal(p->b.n_flows, 2);
    assert_int_equal(p->b.flows[1].received, 100);
    pair_free(p);
}

static void test_listener_opens_too(void **state)
{
    (void)state;
    struct pair *p = pair_ready(3);
    struct flow *f = flow_open(&p->b, unknown_then_2, 3);
    f->to_send = 12345;
    pair_run(p);
    assert_int_equal(p->a.flows[0].received, 12345);
    pair_free(p);
}

static void test_refused(void **state)
{
    (void)state;
    struct pair *p = pair_ready(4);
    struct flow *f = flow_open(&p->a, unknown, 1);      /* `na` */
    struct flow *g = flow_open(&p->a, only_unknown, 2); /* `na` twice */
    struct flow *h = flow_open(&p->a, unknown, 1);      /* our bytes spoil its negotiation */
    h->to_send = 1000;
    pair_run(p);
    for (struct flow *each = f; each <= h; each++) {
        assert_int_equal(each->closed, 1);
        assert_int_equal(each->why, FAB_EUNSUPPORTED);
        assert_int_equal(each->received, 0);
    }
    (void)g;
    assert_int_equal(p->b.n_flows, 0);
    assert_int_equal(fab_conn_streams(p->b.conn), 0);
    assert_ok(p->a.rc);
    assert_ok(p->b.rc);
    struct flow *again = flow_open(&p->a, test_1, 1);
    again->to_send = 10;
    pair_run(p);
    assert_int_equal(p->b.flows[0].received, 10);
    pair_free(p);
}

static void test_bad_names(void **state)
{
    (void)state;
    struct pair *p = pair_ready(5);
    struct fab_stream *stream;
    static const char *const empty[] = {""};
    assert_int_equal(fab_conn_open(p->a.conn, empty, 1, &flow_events, NULL, &stream), FAB_EINVAL);
    assert_int_equal(fab_conn_open(p->a.conn, test_1, 0, &flow_events, NULL, &stream), FAB_EINVAL);
    assert_int_equal(fab_conn_streams(p->a.conn), 0);
    pair_free(p);
}

static void test_accept_refuses(void **state)
{
    (void)state;
    struct pair *p = pair_ready(6);
    p->b.accept_rc = FAB_EQUOTA;
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 100;
    pair_run(p);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->why, FAB_EINTERRUPTED);
    assert_int_equal(p->b.n_flows, 0);
    assert_int_equal(fab_conn_streams(p->b.conn), 0);
    pair_free(p);
}

static void test_too_many_unanswered(void **state)
{
    (void)state;
    struct pair *p = pair_ready(7);
    struct fab_stream *stream;
    for (unsigned i = 0; i < FAB_YAMUX_BACKLOG; i++)
        flow_open(&p->a, test_1, 1);
    assert_int_equal(fab_conn_open(p->a.conn, test_1, 1, &flow_events, NULL, &stream), FAB_ELIMIT);
    pair_run(p);
    flow_open(&p->a, test_1, 1);
    pair_free(p);
}

static void test_streams_max(void **state)
{
    (void)state;
    struct pair *p = pair_new(8);
    struct fab_conn_config a = pair_config(p, true), b = pair_config(p, false);
    b.streams_max = 3;
    assert_ok(fab_conn_new(&a, p->now, &p->a.conn));
    assert_ok(fab_conn_new(&b, p->now, &p->b.conn));
    pair_run(p);
    for (unsigned i = 0; i < 5; i++)
        flow_open(&p->a, test_1, 1);
    pair_run(p);
    assert_int_equal(p->b.n_flows, 3);
    assert_int_equal(fab_conn_streams(p->a.conn), 3);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(p->a.flows[i].closed, i >= 3);
    pair_free(p);
}

/* ---- half-close and resets ---- */

static void answer_at_end(struct flow *f)
{
    f->to_send = 3 * f->received;
    f->fin = true;
    fab_stream_wake(f->stream);
}

static void test_half_close(void **state)
{
    (void)state;
    struct pair *p = pair_ready(10);
    p->b.model = (struct flow){.in_end = answer_at_end, .salt = 9};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 400000; /* more than a window */
    f->fin = true;
    pair_run(p);
    assert_int_equal(f->received, 1200000);
    assert_true(f->closed && p->b.flows[0].closed);
    assert_ok(f->why);
    assert_ok(p->b.flows[0].why);
    pair_free(p);
}

/* An end without a byte. */
static void test_empty_stream(void **state)
{
    (void)state;
    struct pair *p = pair_ready(11);
    p->b.model = (struct flow){.in_end = answer_at_end};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->fin = true;
    pair_run(p);
    assert_int_equal(p->b.n_flows, 1);
    assert_true(f->closed && f->ended && p->b.flows[0].closed);
    assert_ok(f->why);
    pair_free(p);
}

static void test_resets(void **state)
{
    (void)state;
    for (unsigned by_opener = 0; by_opener < 2; by_opener++) {
        struct pair *p = pair_ready(12);
        struct flow *f = flow_open(&p->a, test_1, 1);
        f->to_send = 1000;
        pair_run(p);
        struct flow *g = &p->b.flows[0];
        fab_stream_reset((by_opener ? f : g)->stream, FAB_STREAM_CANCELLED);
        pair_run(p);
        assert_true(f->closed && g->closed);
        assert_int_equal(f->why, FAB_EINTERRUPTED);
        assert_int_equal(g->why, FAB_EINTERRUPTED);
        assert_false(f->ended || g->ended);
        assert_int_equal(fab_conn_streams(p->a.conn) + fab_conn_streams(p->b.conn), 0);
        assert_ok(p->a.rc);
        assert_ok(p->b.rc);
        pair_free(p);
    }
}

/* Reset although both have said their last word, and before the other side ever heard of it. */
static void test_reset_early_and_late(void **state)
{
    (void)state;
    struct pair *p = pair_ready(13);
    struct flow *f = flow_open(&p->a, test_1, 1);
    fab_stream_reset(f->stream, FAB_STREAM_CANCELLED);
    pair_run(p);
    assert_int_equal(f->closed, 1);
    assert_int_equal(p->b.n_flows, 0);
    f = flow_open(&p->a, test_1, 1);
    f->to_send = 10;
    f->fin = true;
    side_write(p, &p->a, 1 << 16);
    side_deliver_all(p, &p->a);
    assert_true(p->b.flows[0].ended);
    fab_stream_reset(f->stream, FAB_STREAM_CANCELLED);
    pair_run(p);
    assert_int_equal(f->why, FAB_EINTERRUPTED);
    assert_int_equal(p->b.flows[0].why, FAB_EINTERRUPTED);
    pair_free(p);
}

/* ---- events from inside events ---- */

static void reset_self(struct flow *f)
{
    fab_stream_reset(f->stream, FAB_STREAM_CANCELLED);
}

static void open_another(struct flow *f)
{
    struct flow *g = flow_new(f->side);
    g->to_send = 500;
    g->salt = 5;
    enum fab_rc rc = fab_conn_open(f->side->conn, test_1, 1, &flow_events, g, &g->stream);
    if (rc != FAB_OK)
        f->side->n_flows--;
}

static void reset_and_open(struct flow *f)
{
    reset_self(f);
    open_another(f);
}

static void consume_and_wake_all(struct flow *f)
{
    for (size_t i = 0; i < f->side->n_flows; i++) {
        struct flow *g = &f->side->flows[i];
        if (!g->stream)
            continue;
        fab_stream_consumed(g->stream, (size_t)g->held);
        g->held = 0;
        fab_stream_wake(g->stream);
    }
}

static enum fab_rc accept_resets(struct flow *f)
{
    reset_self(f);
    return FAB_OK;
}

static enum fab_rc accept_opens(struct flow *f)
{
    if (f->side->n_flows < 10)
        open_another(f);
    fab_stream_wake(f->stream);
    return FAB_OK;
}

static void ready_opens(struct side *s)
{
    struct flow *f = flow_open(s, test_1, 1);
    f->to_send = 300;
    f->fin = true;
}

static void test_ready_opens(void **state)
{
    (void)state;
    struct pair *p = pair_new(20);
    p->a.in_ready = p->b.in_ready = ready_opens;
    pair_connect(p);
    pair_run(p);
    assert_int_equal(p->a.n_flows, 2);
    assert_int_equal(p->b.n_flows, 2);
    assert_int_equal(p->a.flows[0].received + p->a.flows[1].received, 300);
    pair_free(p);
}

static void test_reset_inside_events(void **state)
{
    (void)state;
    for (unsigned where = 0; where < 5; where++) {
        struct pair *p = pair_ready(21 + where);
        p->b.model.in_input = where == 0 ? reset_self : NULL;
        p->b.model.in_end = where == 1 ? reset_self : NULL;
        p->b.model.in_output = where == 2 ? reset_self : NULL;
        p->b.in_accept = where == 3 ? accept_resets : NULL;
        p->b.model.in_input = where == 4 ? reset_and_open : p->b.model.in_input;
        struct flow *f = flow_open(&p->a, test_1, 1);
        f->to_send = 100;
        f->fin = true;
        pair_run(p);
        struct flow *g = &p->b.flows[0];
        assert_int_equal(f->closed, 1);
        assert_int_equal(g->closed, 1);
        assert_int_equal(f->why, FAB_EINTERRUPTED);
        if (where == 3)
            assert_false(g->received || g->ended); /* nothing but closed after a reset */
        if (where == 4)
            assert_int_equal(p->a.flows[1].received, 500);
        assert_ok(p->a.rc);
        assert_ok(p->b.rc);
        pair_free(p);
    }
}

static void test_open_inside_events(void **state)
{
    (void)state;
    struct pair *p = pair_ready(30);
    p->b.in_accept = accept_opens;
    p->a.in_accept = accept_opens;
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 100;
    f->fin = true;
    pair_run(p);
    assert_true(p->a.n_flows >= 10 && p->b.n_flows >= 10);
    for (size_t i = 0; i < p->a.n_flows; i++)
        assert_true(p->a.flows[i].received == 500 || p->a.flows[i].sent > 0);
    pair_free(p);
}

/* `closed` runs at the very end of an output that had nothing to write; what it opens is written
 * all the same. */
static void test_open_inside_closed(void **state)
{
    (void)state;
    struct pair *p = pair_ready(31);
    pair_run(p);
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->in_closed = open_another;
    fab_stream_reset(f->stream, FAB_STREAM_CANCELLED);
    assert_true(side_write(p, &p->a, 1 << 16) > 0);
    pair_run(p);
    assert_int_equal(p->b.n_flows, 1);
    assert_int_equal(p->b.flows[0].received, 500);
    pair_free(p);
}

static void test_consume_inside_events(void **state)
{
    (void)state;
    struct pair *p = pair_ready(32);
    p->b.model = (struct flow){.keep = true, .to_send = 900000, .in_input = consume_and_wake_all};
    p->b.model.in_output = consume_and_wake_all;
    for (unsigned i = 0; i < 3; i++) {
        struct flow *f = flow_open(&p->a, test_1, 1);
        f->to_send = 800000;
        f->keep = true;
        f->in_input = f->in_output = consume_and_wake_all;
    }
    pair_run(p);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(p->a.flows[i].received, 900000);
        assert_int_equal(p->b.flows[i].received, 800000);
    }
    pair_free(p);
}

/* Each open stream is closed exactly once; inside it nothing can be opened any more. */
static void test_free_with_open_streams(void **state)
{
    (void)state;
    struct pair *p = pair_ready(33);
    struct flow *last = NULL;
    for (unsigned i = 0; i < 20; i++) {
        struct flow *f = last = flow_open(&p->a, i % 3 ? test_1 : unknown_then_2, i % 3 ? 1 : 3);
        f->to_send = i * 1000;
        f->in_closed = i % 2 ? open_another : NULL;
        if (i == 10)
            pair_run(p);
    }
    fab_stream_reset(last->stream, FAB_STREAM_RESOURCE);
    size_t before = p->a.n_flows;
    fab_conn_free(p->a.conn);
    p->a.conn = NULL;
    assert_int_equal(p->a.n_flows, before);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(p->a.flows[i].closed, 1);
        assert_int_equal(p->a.flows[i].why, FAB_EINTERRUPTED);
    }
    pair_free(p);
}

/* ---- time ---- */

/* A peer that acknowledges nothing. */
static void test_negotiation_timeout(void **state)
{
    (void)state;
    struct pair *p = pair_ready(40);
    /* After a long quiet time, so that a deadline must not count from the last event. */
    for (unsigned i = 0; i < 3; i++) {
        pair_tick(p, 5 * SECOND);
        pair_run(p);
    }
    p->now += 14 * SECOND;
    struct flow *f = flow_open(&p->a, test_1, 1);
    side_write(p, &p->a, 1 << 16);
    pair_tick(p, 0);
    assert_int_equal(f->closed, 0);
    assert_int_equal(fab_conn_deadline(p->a.conn) <= p->now + FAB_CONN_STREAM_US, 1);
    p->now += FAB_CONN_STREAM_US - 1;
    assert_ok(fab_conn_tick(p->a.conn, p->now));
    side_write(p, &p->a, 1 << 16);
    assert_int_equal(f->closed, 0);
    p->now += 1;
    unsigned wakes = p->a.wakes;
    assert_ok(fab_conn_tick(p->a.conn, p->now));
    assert_true(p->a.wakes > wakes);
    side_write(p, &p->a, 1 << 16);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->why, FAB_EINTERRUPTED);
    assert_true(fab_conn_is_ready(p->a.conn));
    pair_free(p);
}

/* The other side, whose opener never proposes anything: by hand. */
static void test_inbound_negotiation_timeout(void **state)
{
    (void)state;
    static const uint8_t syn[] = {0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0};
    struct pair *p = pair_new(41);
    struct fab_conn_config config = pair_config(p, false);
    struct raw_peer r;
    assert_ok(fab_conn_new(&config, p->now, &p->b.conn));
    raw_init(&r, p->b.conn, true, true, swarm_keys[0], identities[2], p->now);
    assert_true(raw_handshake(&r));
    p->now = r.now_us += 5 * SECOND;
    assert_ok(raw_send(&r, syn, sizeof syn));
    raw_open(&r);
    assert_int_equal(fab_conn_streams(p->b.conn), 1);
    assert_int_equal(fab_conn_deadline(p->b.conn), p->now + FAB_CONN_STREAM_US);
    assert_ok(fab_conn_tick(p->b.conn, p->now + FAB_CONN_STREAM_US - 1));
    assert_int_equal(fab_conn_streams(p->b.conn), 1);
    fab_buf_reset(&r.plain);
    r.now_us += FAB_CONN_STREAM_US;
    assert_ok(fab_conn_tick(p->b.conn, r.now_us));
    raw_open(&r);
    assert_int_equal(fab_conn_streams(p->b.conn), 0);
    static const uint8_t rst[] = {0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0};
    assert_true(r.plain.len >= 12);
    assert_memory_equal(r.plain.data + r.plain.len - 12, rst, 12);
    raw_fini(&r);
    pair_free(p);
}

/* Everything in one Noise frame and in frames of one byte: proposal and data, cut anywhere. */
static void test_negotiation_cut_anywhere(void **state)
{
    (void)state;
    static const char bytes[] = "\x13/multistream/1.0.0\n\x0a/nobody/1\n\x08/test/1\nA";
    for (size_t cut = 1; cut < sizeof bytes - 1; cut++) {
        struct pair *p = pair_new(42);
        struct fab_conn_config config = pair_config(p, false);
        struct raw_peer r;
        assert_ok(fab_conn_new(&config, p->now, &p->b.conn));
        raw_init(&r, p->b.conn, true, true, swarm_keys[0], identities[2], p->now);
        assert_true(raw_handshake(&r));
        for (size_t at = 0; at < sizeof bytes - 1; at += cut) {
            size_t n = sizeof bytes - 1 - at < cut ? sizeof bytes - 1 - at : cut;
            uint8_t frame[12 + sizeof bytes] = {0, 0, 0, at ? 0 : 1, 0, 0,
                                                0, 1, 0, 0,          0, (uint8_t)n};
            memcpy(frame + 12, bytes + at, n);
            assert_ok(raw_send(&r, frame, 12 + n));
        }
        raw_open(&r);
        assert_int_equal(p->b.n_flows, 1);
        assert_int_equal(p->b.flows[0].received, 1);
        static const char answer[] = "\x13/multistream/1.0.0\n\x03na\n\x08/test/1\n";
        assert_non_null(memmem(r.plain.data, r.plain.len, answer, sizeof answer - 1));
        raw_fini(&r);
        pair_free(p);
    }
}

/* ---- bulk ---- */

static void test_bulk_both_ways(void **state)
{
    (void)state;
    struct pair *p = pair_ready(50);
    p->cap = 0;
    p->split_max = 100000;
    p->b.model = (struct flow){.to_send = 20 * MIB, .fin = true, .salt = 200};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 20 * MIB;
    f->fin = true;
    pair_run(p);
    struct flow *g = &p->b.flows[0];
    assert_int_equal(f->received, 20 * MIB);
    assert_int_equal(g->received, 20 * MIB);
    assert_true(f->closed && g->closed);
    assert_ok(f->why);
    assert_ok(g->why);
    /* Headers, tags and windows cost little. */
    assert_true(p->a.written < 20 * MIB + 20 * MIB / 50);
    pair_free(p);
}

/* The same through the smallest outputs and tiny pieces. */
static void test_bulk_small(void **state)
{
    (void)state;
    struct pair *p = pair_ready(51);
    p->cap = FAB_CONN_OUTPUT_MIN;
    p->split_max = 50;
    p->b.model = (struct flow){.to_send = MIB, .fin = true, .salt = 3};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = MIB;
    f->fin = true;
    pair_run(p);
    assert_int_equal(f->received, MIB);
    assert_int_equal(p->b.flows[0].received, MIB);
    assert_ok(f->why);
    pair_free(p);
}

static void test_backpressure(void **state)
{
    (void)state;
    struct pair *p = pair_ready(52);
    p->b.model = (struct flow){.keep = true};
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 4 * MIB;
    pair_run(p);
    struct flow *g = &p->b.flows[0];
    assert_int_equal(g->received + 20 + 9, FAB_YAMUX_WINDOW_INITIAL); /* less the negotiation */
    fab_stream_consumed(g->stream, 200000);
    pair_run(p);
    assert_true(g->received > FAB_YAMUX_WINDOW_INITIAL && g->received < 4 * MIB);
    g->keep = false;
    fab_stream_consumed(g->stream, (size_t)g->received);
    pair_run(p);
    assert_int_equal(g->received, 4 * MIB);
    pair_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_answer),
        cmocka_unit_test(test_lazy),
        cmocka_unit_test(test_listener_opens_too),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_accept_refuses),
        cmocka_unit_test(test_too_many_unanswered),
        cmocka_unit_test(test_streams_max),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_empty_stream),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_reset_early_and_late),
        cmocka_unit_test(test_ready_opens),
        cmocka_unit_test(test_reset_inside_events),
        cmocka_unit_test(test_open_inside_events),
        cmocka_unit_test(test_open_inside_closed),
        cmocka_unit_test(test_consume_inside_events),
        cmocka_unit_test(test_free_with_open_streams),
        cmocka_unit_test(test_negotiation_timeout),
        cmocka_unit_test(test_inbound_negotiation_timeout),
        cmocka_unit_test(test_negotiation_cut_anywhere),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_bulk_small),
        cmocka_unit_test(test_backpressure),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
