/* A connection: the handshake in any split and against any key, admission, and time. Streams are in
 * test_conn_stream.c. */
#include "tests/support/conn_fixture.h"
#include "tests/support/raw_peer.h"

#include <malloc.h>

#define SECOND ((uint64_t)1000000)

/* ---- the handshake ---- */

static void assert_met(struct pair *p)
{
    assert_ok(p->a.rc);
    assert_ok(p->b.rc);
    assert_int_equal(p->a.ready, 1);
    assert_int_equal(p->b.ready, 1);
    assert_true(fab_peer_id_eq(&p->a.secured, fab_key_peer_id(identities[1])));
    assert_true(fab_peer_id_eq(&p->b.secured, fab_key_peer_id(identities[0])));
    assert_true(fab_peer_id_eq(fab_conn_peer(p->a.conn), &p->a.secured));
    assert_true(fab_peer_id_eq(fab_conn_peer(p->b.conn), &p->b.secured));
    assert_true(fab_slice_eq(fab_conn_public_key(p->b.conn), fab_key_public_proto(identities[0])));
}

static void test_handshake_in_every_split(void **state)
{
    (void)state;
    for (size_t split = 1; split <= 300; split++) {
        struct pair *p = pair_new(split);
        p->split = split;
        pair_connect(p);
        assert_null(fab_conn_peer(p->a.conn));
        pair_run(p);
        assert_met(p);
        pair_free(p);
    }
}

static void test_handshake_with_small_outputs(void **state)
{
    (void)state;
    for (size_t cap = FAB_CONN_OUTPUT_MIN; cap < FAB_CONN_OUTPUT_MIN + 20; cap++) {
        struct pair *p = pair_new(cap);
        p->cap = cap;
        pair_connect(p);
        pair_run(p);
        assert_met(p);
        pair_free(p);
    }
}

/* Both nonces go out at once; a listener says nothing more before the dialer's header. */
static void test_listener_is_silent(void **state)
{
    (void)state;
    struct pair *p = pair_new(1);
    pair_connect(p);
    assert_int_equal(side_write(p, &p->b, 1 << 16), 24);
    assert_true(side_write(p, &p->a, 1 << 16) > 44);
    side_deliver(p, &p->a, 43); /* all of the header but its last byte */
    assert_int_equal(side_write(p, &p->b, 1 << 16), 0);
    assert_int_equal(p->b.keyed, SIZE_MAX);
    side_deliver(p, &p->a, 1);
    assert_int_equal(p->b.keyed, 0);
    assert_int_equal(side_write(p, &p->b, 1 << 16), 20); /* our header */
    pair_run(p);
    assert_met(p);
    pair_free(p);
}

static void test_wrong_key(void **state)
{
    (void)state;
    struct pair *p = pair_new(2);
    uint8_t other[32];
    memset(other, 0x99, sizeof other);
    for (size_t i = 0; i < KEYS; i++)
        p->b.keys[i] = other;
    p->b.n_keys = KEYS;
    pair_connect(p);
    side_write(p, &p->a, 1 << 16);
    side_write(p, &p->b, 1 << 16);
    size_t taken = 0;
    while (p->b.rc == FAB_OK && p->a.wire.len > 0) {
        side_deliver(p, &p->a, 1);
        taken++;
    }
    assert_int_equal(p->b.rc, FAB_EACCES);
    assert_int_equal(taken, 25); /* at the first byte, but for one nonce in 256; seeded */
    assert_int_equal(fab_conn_output(p->b.conn, (uint8_t[2048]){0}, 2048, p->now), 0);
    assert_int_equal(p->b.written, 24);
    uint8_t byte = 0;
    assert_int_equal(fab_conn_input(p->b.conn, &byte, 1, p->now), FAB_EINTERRUPTED);
    assert_int_equal(p->b.keyed, SIZE_MAX);
    pair_free(p);
}

static void test_no_key_at_all(void **state)
{
    (void)state;
    struct pair *p = pair_new(3);
    p->b.n_keys = 0;
    pair_connect(p);
    pair_run(p);
    assert_int_equal(p->b.rc, FAB_EACCES);
    assert_int_equal(p->b.written, 24);
    pair_free(p);
}

/* A dialer that is answered with another key: its multistream sees garbage. */
static void test_dialer_meets_wrong_key(void **state)
{
    (void)state;
    struct pair *p = pair_new(4);
    pair_connect(p);
    uint8_t bytes[44];
    memset(bytes, 0xab, sizeof bytes);
    assert_int_equal(fab_conn_input(p->a.conn, bytes, sizeof bytes, p->now), FAB_EFORMAT);
    assert_false(fab_conn_is_ready(p->a.conn));
    pair_free(p);
}

static void test_key_is_chosen(void **state)
{
    (void)state;
    for (size_t at = 0; at < KEYS; at++) {
        struct pair *p = pair_new(10 + at);
        for (size_t i = 0; i < KEYS; i++)
            p->b.keys[i] = swarm_keys[(i + KEYS - at) % KEYS]; /* ours stands at `at` */
        p->b.n_keys = KEYS;
        p->split = 1 + at;
        pair_connect(p);
        pair_run(p);
        assert_met(p);
        assert_int_equal(p->b.keyed, at);
        pair_free(p);
    }
}

static void test_keys_change_meanwhile(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < 44; cut++) {
        struct pair *p = pair_new(20 + cut);
        p->b.keys[0] = swarm_keys[1];
        p->b.keys[1] = swarm_keys[0];
        p->b.n_keys = 2;
        pair_connect(p);
        side_write(p, &p->a, 1 << 16);
        side_deliver(p, &p->a, cut);
        assert_ok(p->b.rc);
        p->b.keys[0] = swarm_keys[2]; /* ours moves to the third place */
        p->b.keys[1] = swarm_keys[3];
        p->b.keys[2] = swarm_keys[0];
        p->b.n_keys = 3;
        p->b.keys_version++;
        pair_run(p);
        assert_met(p);
        assert_int_equal(p->b.keyed, 2);
        pair_free(p);
    }
    /* It may also be gone. */
    struct pair *p = pair_new(99);
    pair_connect(p);
    side_write(p, &p->a, 1 << 16);
    side_deliver(p, &p->a, 30);
    p->b.keys[0] = swarm_keys[1];
    p->b.keys_version++;
    side_deliver(p, &p->a, 1);
    assert_int_equal(p->b.rc, FAB_EACCES);
    pair_free(p);
}

static void test_keyed_refuses(void **state)
{
    (void)state;
    struct pair *p = pair_new(5);
    p->b.keyed_rc = FAB_EBUSY;
    pair_connect(p);
    pair_run(p);
    assert_int_equal(p->b.rc, FAB_EBUSY);
    assert_int_equal(p->b.written, 24);
    pair_free(p);
}

static void test_expect(void **state)
{
    (void)state;
    for (unsigned right = 0; right < 2; right++) {
        struct pair *p = pair_new(30);
        struct fab_conn_config a = pair_config(p, true), b = pair_config(p, false);
        a.expect = fab_key_peer_id(identities[right ? 1 : 2]);
        assert_ok(fab_conn_new(&a, p->now, &p->a.conn));
        assert_ok(fab_conn_new(&b, p->now, &p->b.conn));
        pair_run(p);
        if (right) {
            assert_met(p);
        } else {
            assert_int_equal(p->a.rc, FAB_EACCES);
            assert_int_equal(p->a.secured.len, 0);
            assert_int_equal(p->b.secured.len, 0); /* who we are was not told */
            assert_true(fab_peer_id_eq(fab_conn_peer(p->a.conn), fab_key_peer_id(identities[1])));
        }
        pair_free(p);
    }
}

static void test_not_admitted(void **state)
{
    (void)state;
    struct pair *p = pair_new(31);
    p->b.secured_rc = FAB_EACCES;
    pair_connect(p);
    pair_run(p);
    assert_int_equal(p->b.rc, FAB_EACCES);
    assert_int_equal(p->b.ready, 0);
    assert_false(fab_conn_is_ready(p->b.conn));
    pair_free(p);
    /* A dialer that does not admit the listener does not tell it who it is. */
    p = pair_new(32);
    p->a.secured_rc = FAB_EACCES;
    pair_connect(p);
    pair_run(p);
    assert_int_equal(p->a.rc, FAB_EACCES);
    assert_int_equal(p->a.ready, 0);
    assert_int_equal(p->b.secured.len, 0);
    struct fab_stream *stream;
    assert_int_equal(fab_conn_open(p->a.conn, test_1, 1, &flow_events, NULL, &stream),
                     FAB_EINTERRUPTED);
    pair_free(p);
}

static void test_not_before_ready(void **state)
{
    (void)state;
    struct pair *p = pair_new(33);
    struct fab_stream *stream;
    pair_connect(p);
    assert_int_equal(fab_conn_open(p->a.conn, test_1, 1, &flow_events, NULL, &stream),
                     FAB_EINTERRUPTED);
    assert_int_equal(fab_conn_streams(p->a.conn), 0);
    fab_conn_go_away(p->a.conn);
    pair_run(p);
    assert_met(p);
    pair_free(p);
}

/* ---- against a peer by hand ---- */

static const uint8_t ping[12] = {0, 2, 0, 1, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78};

static void raw_meets(bool dialer, bool early)
{
    struct pair *p = pair_new(40);
    struct side *s = dialer ? &p->b : &p->a;
    struct fab_conn_config config = pair_config(p, !dialer);
    struct raw_peer r;
    assert_ok(fab_conn_new(&config, p->now, &s->conn));
    raw_init(&r, s->conn, dialer, early, swarm_keys[0], identities[2], p->now);
    assert_true(raw_handshake(&r));
    assert_int_equal(fab_noise_muxer(r.noise), early ? 0 : -1);
    assert_int_equal(s->ready, 1);
    assert_ok(raw_send(&r, ping, 5)); /* a frame of yamux in two of Noise */
    assert_ok(raw_send(&r, NULL, 0));
    assert_ok(raw_send(&r, ping + 5, 7));
    raw_open(&r);
    bool ponged = false;
    for (size_t i = 0; i + 12 <= r.plain.len; i += 12)
        ponged |= r.plain.data[i + 1] == 2 && r.plain.data[i + 3] == 2 &&
                  memcmp(r.plain.data + i + 8, ping + 8, 4) == 0;
    assert_true(ponged);
    raw_fini(&r);
    pair_free(p);
}

static void test_muxer_fallback(void **state)
{
    (void)state;
    raw_meets(true, true);
    raw_meets(true, false);
    raw_meets(false, true);
    raw_meets(false, false);
}

static void test_no_common_protocol(void **state)
{
    (void)state;
    /* As listener, `na` to security protocols that we do not speak. */
    struct pair *p = pair_new(41);
    struct fab_conn_config config = pair_config(p, false);
    struct raw_peer r;
    assert_ok(fab_conn_new(&config, p->now, &p->b.conn));
    raw_init(&r, p->b.conn, true, true, swarm_keys[0], identities[2], p->now);
    assert_false(raw_negotiate(&r, "/tls/1.0.0", false));
    assert_int_equal(r.rc, FAB_OK);
    raw_fini(&r);
    pair_free(p);
    /* As dialer, FAB_EUNSUPPORTED. */
    p = pair_new(42);
    config = pair_config(p, true);
    assert_ok(fab_conn_new(&config, p->now, &p->a.conn));
    raw_init(&r, p->a.conn, false, true, swarm_keys[0], identities[2], p->now);
    assert_false(raw_negotiate(&r, "/tls/1.0.0", false));
    assert_int_equal(r.rc, FAB_EUNSUPPORTED);
    raw_fini(&r);
    pair_free(p);
}

/* What a stranger with the swarm key may make us hold ends at a handshake message. */
static void test_long_frame_before_noise(void **state)
{
    (void)state;
    for (unsigned together = 0; together < 2; together++) {
        struct pair *p = pair_new(43);
        struct fab_conn_config config = pair_config(p, false);
        struct raw_peer r;
        uint8_t head[8] = {0x10, 0x01};
        assert_ok(fab_conn_new(&config, p->now, &p->b.conn));
        raw_init(&r, p->b.conn, true, true, swarm_keys[0], identities[2], p->now);
        assert_true(raw_negotiate(&r, FAB_NOISE_PROTOCOL, false));
        if (together) {
            assert_int_equal(raw_write(&r, fab_slice(head, 8)), FAB_ELIMIT);
        } else {
            assert_ok(raw_write(&r, fab_slice(head, 1)));
            assert_int_equal(raw_write(&r, fab_slice(head + 1, 1)), FAB_ELIMIT);
        }
        raw_fini(&r);
        pair_free(p);
    }
}

static void test_tampered_frame(void **state)
{
    (void)state;
    struct pair *p = pair_ready(44);
    struct flow *f = flow_open(&p->a, test_1, 1);
    f->to_send = 1000;
    fab_stream_wake(f->stream);
    side_write(p, &p->a, 1 << 16);
    p->a.wire.data[p->a.wire.len / 2] ^= 1;
    pair_run(p);
    assert_int_equal(p->b.rc, FAB_EFORMAT);
    assert_int_equal(p->b.n_flows, 0); /* nothing of that frame was used */
    assert_false(fab_conn_is_ready(p->b.conn));
    assert_int_equal(fab_conn_tick(p->b.conn, p->now), FAB_EINTERRUPTED);
    pair_free(p);
}

/* ---- time ---- */

static void test_handshake_timeout(void **state)
{
    (void)state;
    struct pair *p = pair_new(50);
    pair_connect(p);
    side_write(p, &p->a, 1 << 16);
    side_deliver(p, &p->a, 50);
    assert_int_equal(fab_conn_deadline(p->a.conn), p->now + FAB_CONN_HANDSHAKE_US);
    assert_int_equal(fab_conn_deadline(p->b.conn), p->now + FAB_CONN_HANDSHAKE_US);
    pair_tick(p, FAB_CONN_HANDSHAKE_US - 1);
    assert_ok(p->a.rc);
    assert_ok(p->b.rc);
    pair_tick(p, 1);
    assert_int_equal(p->a.rc, FAB_ETIMEOUT);
    assert_int_equal(p->b.rc, FAB_ETIMEOUT);
    pair_free(p);
}

static void test_silence(void **state)
{
    (void)state;
    struct pair *p = pair_ready(51);
    struct flow *f = flow_open(&p->a, test_1, 1);
    /* An hour with nothing but pings. */
    for (unsigned i = 0; i < 360; i++) {
        pair_tick(p, 10 * SECOND);
        pair_run(p);
    }
    assert_ok(p->a.rc);
    assert_ok(p->b.rc);
    assert_int_equal(f->closed, 0);
    assert_true(fab_conn_rtt_us(p->a.conn) > 0);
    /* Then the wire is cut. */
    uint64_t start = p->now;
    while (p->a.rc == FAB_OK && p->now < start + 100 * SECOND) {
        uint64_t deadline = fab_conn_deadline(p->a.conn);
        assert_true(deadline > p->now);
        p->now = deadline;
        p->a.rc = fab_conn_tick(p->a.conn, p->now);
        side_write(p, &p->a, 1 << 16);
        fab_buf_reset(&p->a.wire);
    }
    assert_int_equal(p->a.rc, FAB_ETIMEOUT);
    assert_true(p->now - start >= 30 * SECOND && p->now - start <= 50 * SECOND);
    assert_int_equal(f->closed, 1);
    assert_int_equal(f->why, FAB_EINTERRUPTED);
    assert_false(fab_conn_is_ready(p->a.conn));
    pair_free(p);
}

static void test_go_away(void **state)
{
    (void)state;
    struct pair *p = pair_ready(52);
    struct flow *f = flow_open(&p->a, test_1, 1);
    struct fab_stream *stream;
    pair_run(p);
    fab_conn_go_away(p->b.conn);
    pair_run(p);
    assert_false(fab_conn_is_ready(p->a.conn));
    assert_int_equal(fab_conn_open(p->a.conn, test_1, 1, &flow_events, NULL, &stream),
                     FAB_EINTERRUPTED);
    assert_int_equal(fab_conn_open(p->b.conn, test_1, 1, &flow_events, NULL, &stream),
                     FAB_EINTERRUPTED);
    f->to_send = 5000; /* what is open goes on */
    fab_stream_wake(f->stream);
    pair_run(p);
    assert_int_equal(p->b.flows[0].received, 5000);
    pair_free(p);
}

/* ---- memory ---- */

static size_t heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void test_idle_memory(void **state)
{
    (void)state;
    enum { PAIRS = 50 };
    struct pair *pairs[PAIRS];
    size_t before = heap(), owners = 0;
    for (unsigned i = 0; i < PAIRS; i++) {
        size_t here = heap();
        pairs[i] = pair_new(60 + i);
        owners += heap() - here;
        pair_connect(pairs[i]);
        pair_run(pairs[i]);
        fab_buf_fini(&pairs[i]->a.wire);
        fab_buf_fini(&pairs[i]->b.wire);
    }
    size_t each = (heap() - before - owners) / (2 * PAIRS);
    if (heap() > 0) { /* a sanitizer's allocator does not say */
        print_message("an idle connection holds %zu bytes\n", each);
        assert_in_range(each, 500, 6000);
    }
    for (unsigned i = 0; i < PAIRS; i++)
        pair_free(pairs[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_in_every_split),
        cmocka_unit_test(test_handshake_with_small_outputs),
        cmocka_unit_test(test_listener_is_silent),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_no_key_at_all),
        cmocka_unit_test(test_dialer_meets_wrong_key),
        cmocka_unit_test(test_key_is_chosen),
        cmocka_unit_test(test_keys_change_meanwhile),
        cmocka_unit_test(test_keyed_refuses),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_not_admitted),
        cmocka_unit_test(test_not_before_ready),
        cmocka_unit_test(test_muxer_fallback),
        cmocka_unit_test(test_no_common_protocol),
        cmocka_unit_test(test_long_frame_before_noise),
        cmocka_unit_test(test_tampered_frame),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_go_away),
        cmocka_unit_test(test_idle_memory),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
