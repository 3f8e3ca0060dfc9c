/* yamux against a remote that breaks rules, floods, or falls silent. */
#include "tests/unit/yamux_wire.h"

#define INITIAL FAB_YAMUX_WINDOW_INITIAL
#define SECOND  UINT64_C(1000000)

static const struct fab_yamux_config listener = {.hash_seed = 3};

/* The session has ended with `rc`: both streams told, one GoAway left, nothing more taken. */
static void check_ended(struct wire *w, enum fab_rc rc, uint32_t code)
{
    struct fab_yamux_stream *s;
    assert_int_equal(fab_yamux_streams(w->y), 0);
    assert_true(fab_yamux_over(w->y));
    assert_int_equal(wire_head(w, PING, SYN, 0, 1), rc);
    assert_int_equal(fab_yamux_tick(w->y, w->now), rc);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_EINTERRUPTED);
    assert_true(fab_yamux_deadline(w->y) == UINT64_MAX);
    wire_flush(w);
    wire_expect(w, AWAY, 0, 0, code);
    wire_expect_end(w);
    assert_false(fab_yamux_wants_output(w->y));
}

static struct wire *session_with_two_streams(void)
{
    struct wire *w = wire_new(listener);
    struct fab_yamux_stream *mine;
    wire_greet(w, 1000);
    assert_int_equal(fab_yamux_open(w->y, NULL, &mine), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, SYN, 1, 0), FAB_OK);
    w->to_pull = 100;
    fab_yamux_stream_wake(mine); /* waits, and must not be sent after the end */
    w->log_len = 0;
    return w;
}

static void violations_end_the_session(void **state)
{
    (void)state;
    static const struct {
        unsigned type, flags;
        uint32_t id, len;
    } bad[] = {
        {WINDOW, SYN, 4, 0},           /* parity */
        {DATA, SYN, 4, 0},             /* parity */
        {WINDOW, SYN, 0, 0},           /* the session is not a stream */
        {WINDOW, SYN, 1, 0},           /* open already */
        {DATA, SYN, 1, 5},             /* open already */
        {WINDOW, SYN, 2, 0},           /* ours */
        {4, 0, 0, 0},                  /* type */
        {255, 0, 1, 0},                /* type */
        {DATA, 0, 1, INITIAL + 1},     /* beyond the window */
        {DATA, 0, 2, INITIAL + 1},     /* beyond the window */
        {DATA, SYN, 3, INITIAL + 1},   /* beyond the window, at once */
        {DATA, 0, 1, UINT32_MAX},      /* beyond every window */
        {DATA, 0, 99, (16u << 20) + 1} /* beyond every window, unknown stream */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wire *w = session_with_two_streams();
        assert_int_equal(wire_head(w, bad[i].type, bad[i].flags, bad[i].id, bad[i].len),
                         FAB_EFORMAT);
        assert_int_equal(w->counts['r'], 2);
        assert_int_equal(w->counts['c'], 2);
        check_ended(w, FAB_EFORMAT, FAB_YAMUX_AWAY_PROTOCOL);
        wire_free(w);
    }
    for (unsigned version = 1; version < 256; version++) {
        struct wire *w = session_with_two_streams();
        uint8_t head[12];
        frame_put(head, PING, SYN, 0, 0);
        head[0] = (uint8_t)version;
        assert_int_equal(fab_yamux_input(w->y, head, 12, w->now), FAB_EFORMAT);
        check_ended(w, FAB_EFORMAT, FAB_YAMUX_AWAY_PROTOCOL);
        wire_free(w);
    }
}

static void the_listener_parity_holds_for_dialers(void **state)
{
    (void)state;
    struct fab_yamux_config config = {.dialler = true};
    struct wire *w = wire_new(config);
    assert_int_equal(wire_head(w, WINDOW, SYN, 2, 0), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, SYN, 3, 0), FAB_EFORMAT);
    wire_free(w);
    w = wire_new(config);
    assert_int_equal(wire_head(w, WINDOW, SYN, 0, 0), FAB_EFORMAT);
    wire_free(w);
}

static void oddities_are_let_pass(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    assert_int_equal(wire_head(w, DATA, 0, 77, 1000000), FAB_OK); /* never opened */
    assert_int_equal(wire_payload(w, 999999), FAB_OK);
    assert_int_equal(wire_payload(w, 1), FAB_OK);
    assert_int_equal(wire_head(w, DATA, FIN, 0, 3), FAB_OK);
    assert_int_equal(wire_payload(w, 3), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, 0, 77, 5), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, FIN, 78, 5), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, RST, 79, 5), FAB_OK);
    assert_int_equal(wire_head(w, PING, ACK, 0, 4711), FAB_OK); /* unasked */
    assert_int_equal(wire_head(w, PING, 0, 0, 4711), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, 0xfff0, 1, 0), FAB_OK); /* unknown flags */
    assert_int_equal(wire_head(w, WINDOW, FIN | ACK, 1, 0), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, FIN, 1, 0), FAB_OK); /* twice */
    assert_int_equal(wire_head(w, DATA, FIN, 1, 10), FAB_OK);  /* after the end */
    assert_int_equal(wire_payload(w, 10), FAB_OK);
    assert_int_equal(w->counts['d'], 0);
    assert_int_equal(w->counts['e'], 1);
    assert_int_equal(fab_yamux_rtt_us(w->y), 1000);
    assert_int_equal(fab_yamux_streams(w->y), 2);
    wire_free(w);
}

static void pings_are_answered_in_order_and_limited(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    wire_flush(w);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < FAB_YAMUX_PONGS_MAX; i++)
            assert_int_equal(wire_head(w, PING, SYN, 0, i * 3), FAB_OK);
        wire_flush(w);
        for (uint32_t i = 0; i < FAB_YAMUX_PONGS_MAX; i++)
            wire_expect(w, PING, ACK, 0, i * 3);
        wire_expect_end(w);
    }
    for (uint32_t i = 0; i < FAB_YAMUX_PONGS_MAX; i++)
        assert_int_equal(wire_head(w, PING, SYN, 0, i), FAB_OK);
    assert_int_equal(wire_head(w, PING, SYN, 0, 99), FAB_ELIMIT);
    check_ended(w, FAB_ELIMIT, FAB_YAMUX_AWAY_INTERNAL);
    wire_free(w);
}

static void only_the_pong_that_was_asked_for_counts(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    assert_int_equal(wire_head(w, PING, ACK, 0, 0), FAB_OK); /* before the ping was sent */
    assert_int_equal(fab_yamux_rtt_us(w->y), 0);
    wire_flush(w);
    w->now += 500;
    assert_int_equal(wire_head(w, PING, ACK, 0, 1), FAB_OK); /* another value */
    assert_int_equal(fab_yamux_rtt_us(w->y), 0);
    w->now += 500;
    assert_int_equal(wire_head(w, PING, ACK, 0, 0), FAB_OK);
    assert_int_equal(fab_yamux_rtt_us(w->y), 1000);
    w->now += 500;
    assert_int_equal(wire_head(w, PING, ACK, 0, 0), FAB_OK); /* twice */
    assert_int_equal(fab_yamux_rtt_us(w->y), 1000);
    wire_free(w);
}

static void syn_flood_keeps_the_limit(void **state)
{
    (void)state;
    struct fab_yamux_config config = {.inbound_max = 500, .hash_seed = 5};
    struct wire *w = wire_new(config);
    wire_greet(w, 1000);
    w->quiet = true;
    uint32_t refused = 0, accepted = 0;
    struct frame f;
    for (uint32_t i = 0; i < 50000; i++) {
        assert_int_equal(wire_head(w, WINDOW, SYN, 2 * i + 1, 0), FAB_OK);
        assert_true(fab_yamux_streams(w->y) <= 500);
        if (i % 1000 != 999)
            continue;
        wire_flush(w);
        while (wire_next(w, &f)) {
            if (f.flags == ACK) {
                accepted++;
                continue;
            }
            assert_int_equal(f.flags, RST);
            assert_int_equal(f.len, FAB_YAMUX_RESOURCE_LIMIT);
            refused++;
        }
    }
    assert_int_equal(accepted, 500);
    assert_int_equal(refused, 49500);
    assert_int_equal(w->counts['i'], 500);
    /* Place again after one has gone. */
    assert_int_equal(wire_head(w, WINDOW, RST, 1, 0), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, SYN, 200001, 0), FAB_OK);
    assert_int_equal(w->counts['i'], 501);
    for (uint32_t i = 0; i < 50000; i++)
        assert_int_equal(wire_head(w, WINDOW, RST, 2 * i + 1, 0), FAB_OK);
    assert_int_equal(fab_yamux_streams(w->y), 1);
    wire_free(w);
}

static void refusals_that_nobody_reads_end_the_session(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    w->quiet = true;
    w->answer = FAB_ELIMIT;
    enum fab_rc rc = FAB_OK;
    uint32_t sent = 0;
    for (; sent < 2 * FAB_YAMUX_REFUSALS_MAX && rc == FAB_OK; sent++)
        rc = wire_head(w, WINDOW, SYN, 2 * sent + 3, 0);
    assert_int_equal(rc, FAB_ELIMIT);
    assert_int_equal(sent, FAB_YAMUX_REFUSALS_MAX + 1);
    check_ended(w, FAB_ELIMIT, FAB_YAMUX_AWAY_INTERNAL);
    wire_free(w);
}

/* Streams whose reset we could not send count against the remote's limit. */
static void hook_reset_again(struct wire *w, struct fab_yamux_stream *s)
{
    w->hook = hook_reset_again;
    fab_yamux_stream_reset(s, 1);
}

static void resets_that_nobody_reads_are_bounded(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    w->quiet = true;
    w->hook_at = 'i';
    w->hook = hook_reset_again;
    enum fab_rc rc = FAB_OK;
    uint32_t sent = 0;
    for (; sent < 5000 && rc == FAB_OK; sent++) {
        rc = wire_head(w, WINDOW, SYN, 2 * sent + 3, 0);
        assert_true(fab_yamux_streams(w->y) <= 1025);
    }
    assert_int_equal(rc, FAB_ELIMIT);
    assert_int_equal(sent, 1023 + FAB_YAMUX_REFUSALS_MAX + 1);
    w->hook = NULL;
    wire_free(w);
}

static void rapid_resets_leave_nothing(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    w->quiet = true;
    wire_greet(w, 1000);
    static uint8_t in[50000 * 24];
    for (uint32_t i = 0; i < 50000; i++) {
        frame_put(in + i * 24, WINDOW, SYN, 2 * i + 1, 0);
        frame_put(in + i * 24 + 12, WINDOW, RST, 2 * i + 1, 0);
    }
    assert_int_equal(fab_yamux_input(w->y, in, sizeof in, w->now), FAB_OK);
    assert_int_equal(w->counts['c'], 50000);
    assert_int_equal(fab_yamux_streams(w->y), 0);
    wire_flush(w);
    wire_expect_end(w);
    wire_free(w);
}

static void window_update_flood_adds_up(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    assert_int_equal(wire_head(w, WINDOW, SYN, 1, 0), FAB_OK);
    struct fab_yamux_stream *s = w->last;
    wire_flush(w);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(wire_head(w, WINDOW, 0, 1, i % 2 ? UINT32_MAX : 0), FAB_OK);
    assert_true(fab_yamux_stream_send_window(s) == INITIAL + 50000ull * UINT32_MAX);
    assert_false(fab_yamux_wants_output(w->y));
    wire_free(w);
}

static void a_silent_remote_is_dropped_at_forty_seconds(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    wire_flush(w);
    uint64_t last = w->now;
    assert_int_equal(fab_yamux_deadline(w->y), last - 1000 + 30 * SECOND); /* from the birth */
    w->now = fab_yamux_deadline(w->y) - 1;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
    assert_false(fab_yamux_wants_output(w->y));
    w->now++;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
    wire_flush(w);
    wire_expect(w, PING, SYN, 0, 1);
    wire_expect_end(w);
    assert_int_equal(fab_yamux_deadline(w->y), last + 40 * SECOND);
    w->now = last + 40 * SECOND - 1;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
    /* Half a header is no sign of life. */
    assert_int_equal(fab_yamux_input(w->y, (const uint8_t[]){0, 2, 0}, 3, w->now), FAB_OK);
    w->now++;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_ETIMEOUT);
    assert_int_equal(w->counts['r'], 2);
    assert_int_equal(w->counts['c'], 2);
    check_ended(w, FAB_ETIMEOUT, FAB_YAMUX_AWAY_INTERNAL);
    wire_free(w);
}

static void a_remote_that_never_speaks_is_dropped(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    uint64_t birth = w->now;
    wire_flush(w);
    while (w->now = fab_yamux_deadline(w->y), fab_yamux_tick(w->y, w->now) == FAB_OK)
        wire_flush(w);
    assert_int_equal(w->now, birth + 40 * SECOND);
    wire_free(w);
}

static void any_frame_keeps_a_session(void **state)
{
    (void)state;
    /* Pongs alone, then anything but pongs: an hour each. */
    for (int pongs = 0; pongs < 2; pongs++) {
        struct wire *w = session_with_two_streams();
        struct frame f;
        uint64_t end = w->now + 3600 * SECOND, others = w->now;
        unsigned pings = 0;
        wire_flush(w);
        while (w->now < end) {
            uint64_t next = fab_yamux_deadline(w->y);
            assert_true(next > w->now);
            if (!pongs && others < next)
                next = others;
            w->now = next;
            if (!pongs && w->now == others) {
                assert_int_equal(wire_head(w, WINDOW, 0, 77, 0), FAB_OK);
                others += 39 * SECOND;
            }
            assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
            wire_flush(w);
            while (wire_next(w, &f)) {
                assert_int_equal(f.type, PING);
                pings++;
                w->now += 20000;
                if (pongs)
                    assert_int_equal(wire_head(w, PING, ACK, 0, f.len), FAB_OK);
            }
        }
        assert_true(pongs ? pings == 120 : pings >= 85 && pings <= 120);
        if (pongs)
            assert_in_range(fab_yamux_rtt_us(w->y), 19990, 20010); /* smoothed */
        wire_free(w);
    }
}

static void a_jump_of_the_clock_leaves_ten_seconds(void **state)
{
    (void)state;
    struct wire *w = session_with_two_streams();
    wire_flush(w);
    w->now += 1000 * SECOND;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
    assert_int_equal(fab_yamux_deadline(w->y), w->now + 10 * SECOND);
    w->now += 10 * SECOND - 1;
    assert_int_equal(wire_head(w, PING, ACK, 0, 1), FAB_OK);
    w->now++;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
    wire_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(violations_end_the_session),
        cmocka_unit_test(the_listener_parity_holds_for_dialers),
        cmocka_unit_test(oddities_are_let_pass),
        cmocka_unit_test(pings_are_answered_in_order_and_limited),
        cmocka_unit_test(only_the_pong_that_was_asked_for_counts),
        cmocka_unit_test(syn_flood_keeps_the_limit),
        cmocka_unit_test(refusals_that_nobody_reads_end_the_session),
        cmocka_unit_test(resets_that_nobody_reads_are_bounded),
        cmocka_unit_test(rapid_resets_leave_nothing),
        cmocka_unit_test(window_update_flood_adds_up),
        cmocka_unit_test(a_silent_remote_is_dropped_at_forty_seconds),
        cmocka_unit_test(a_remote_that_never_speaks_is_dropped),
        cmocka_unit_test(any_frame_keeps_a_session),
        cmocka_unit_test(a_jump_of_the_clock_leaves_ten_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
