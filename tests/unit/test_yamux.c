/* yamux streams against a hand-written remote: openings, payload, windows, ends, re-entrancy. */
#include "tests/unit/yamux_wire.h"

#define INITIAL FAB_YAMUX_WINDOW_INITIAL

static const struct fab_yamux_config dialler = {.dialler = true, .hash_seed = 7};
static const struct fab_yamux_config listener = {.hash_seed = 9};

static void opens_with_syn_and_counts_ids_by_two(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) {
        struct wire *w = wire_new(d ? dialler : listener);
        wire_greet(w, 1000);
        assert_int_equal(fab_yamux_rtt_us(w->y), 1000);
        struct fab_yamux_stream *a, *b;
        int mine;
        assert_int_equal(fab_yamux_open(w->y, &mine, &a), FAB_OK);
        assert_int_equal(fab_yamux_open(w->y, NULL, &b), FAB_OK);
        assert_ptr_equal(fab_yamux_stream_user(a), &mine);
        assert_ptr_equal(fab_yamux_stream_session(a), w->y);
        assert_false(fab_yamux_stream_inbound(a));
        assert_true(fab_yamux_wants_output(w->y));
        wire_flush(w);
        wire_expect(w, WINDOW, SYN, d ? 1 : 2, 0);
        wire_expect(w, WINDOW, SYN, d ? 3 : 4, 0);
        wire_expect_end(w);
        assert_false(fab_yamux_wants_output(w->y));
        assert_int_equal(fab_yamux_streams(w->y), 2);
        assert_int_equal(fab_yamux_inbound(w->y), 0);
        wire_free(w);
    }
}

static void bad_configurations(void **state)
{
    (void)state;
    struct wire w;
    struct fab_yamux *y;
    struct fab_yamux_events events = wire_events(&w);
    struct fab_yamux_config small = {.stream_window_max = INITIAL - 1};
    struct fab_yamux_config large = {.stream_window_max = (1u << 30) + 1};
    assert_int_equal(fab_yamux_new(&small, &events, 0, &y), FAB_EINVAL);
    assert_int_equal(fab_yamux_new(&large, &events, 0, &y), FAB_EINVAL);
    events.pull = NULL;
    assert_int_equal(fab_yamux_new(&dialler, &events, 0, &y), FAB_EINVAL);
    fab_yamux_free(NULL);
}

static void takes_streams_by_window_update_or_data(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    assert_int_equal(wire_head(w, WINDOW, SYN, 1, 0), FAB_OK);
    wire_log_is(w, "i1");
    assert_int_equal(wire_head(w, DATA, SYN | FIN, 5, 3), FAB_OK);
    wire_log_is(w, "i5");
    assert_int_equal(wire_payload(w, 3), FAB_OK);
    wire_log_is(w, "d5:3 e5");
    assert_int_equal(wire_head(w, DATA, SYN | FIN, 7, 0), FAB_OK);
    wire_log_is(w, "i7 e7");
    wire_flush(w);
    wire_expect(w, WINDOW, ACK, 1, 0);
    wire_expect(w, WINDOW, ACK, 5, 0);
    wire_expect(w, WINDOW, ACK, 7, 0);
    wire_expect_end(w);
    assert_int_equal(fab_yamux_inbound(w->y), 3);
    wire_free(w);
}

/* The same frames, cut at every place, and byte by byte. */
static void any_split_gives_the_same_events(void **state)
{
    (void)state;
    uint8_t in[12 * 5 + 20];
    memset(in, 'x', sizeof in);
    frame_put(in, WINDOW, SYN, 1, 0);
    frame_put(in + 12, DATA, 0, 1, 20);
    frame_put(in + 44, PING, SYN, 0, 77);
    frame_put(in + 56, WINDOW, FIN, 1, 5);
    frame_put(in + 68, WINDOW, RST, 1, 0x1001);
    for (size_t cut = 0; cut <= sizeof in; cut++) {
        struct wire *w = wire_new(listener);
        wire_greet(w, 1000);
        if (cut == 0) {
            for (size_t i = 0; i < sizeof in; i++)
                assert_int_equal(fab_yamux_input(w->y, in + i, 1, w->now), FAB_OK);
            assert_int_equal(w->counts['d'], 20);
        } else {
            assert_int_equal(fab_yamux_input(w->y, in, cut, w->now), FAB_OK);
            assert_int_equal(fab_yamux_input(w->y, in + cut, sizeof in - cut, w->now), FAB_OK);
            assert_int_equal(w->counts['d'], cut > 24 && cut < 44 ? 2 : 1);
        }
        assert_int_equal(w->data_bytes, 20);
        assert_int_equal(w->counts['i'], 1);
        assert_int_equal(w->counts['e'], 1);
        assert_int_equal(w->counts['r'], 1);
        assert_int_equal(w->counts['c'], 1);
        assert_int_equal(fab_yamux_streams(w->y), 0);
        wire_flush(w);
        wire_expect(w, PING, ACK, 0, 77);
        wire_expect_end(w);
        wire_free(w);
    }
}

static void window_is_reopened_from_half_on(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1); /* an epoch of four microseconds: no growth */
    assert_int_equal(wire_head(w, WINDOW, SYN, 1, 0), FAB_OK);
    struct fab_yamux_stream *s = w->last;
    wire_flush(w);
    w->now += 1000;
    assert_int_equal(wire_head(w, DATA, 0, 1, INITIAL), FAB_OK);
    assert_int_equal(wire_payload(w, INITIAL), FAB_OK);
    fab_yamux_stream_consumed(s, INITIAL / 2 - 1);
    wire_flush(w);
    wire_expect_end(w);
    fab_yamux_stream_consumed(s, 1);
    wire_flush(w);
    wire_expect(w, WINDOW, 0, 1, INITIAL / 2);
    wire_expect_end(w);
    assert_int_equal(fab_yamux_stream_window(s), INITIAL);
    /* More than there is counts as all; what a frame only announces cannot be consumed. */
    w->now += 1000;
    assert_int_equal(wire_head(w, DATA, 0, 1, 100), FAB_OK);
    assert_int_equal(wire_payload(w, 40), FAB_OK);
    fab_yamux_stream_consumed(s, SIZE_MAX);
    wire_flush(w);
    wire_expect(w, WINDOW, 0, 1, INITIAL / 2 + 40);
    assert_int_equal(wire_payload(w, 60), FAB_OK);
    assert_int_equal(wire_head(w, DATA, 0, 1, INITIAL - 60), FAB_OK);
    assert_int_equal(wire_payload(w, INITIAL - 60), FAB_OK);
    assert_int_equal(wire_head(w, DATA, 0, 1, 1), FAB_EFORMAT);
    wire_free(w);
}

static void send_window_holds_data_but_not_the_end(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s;
    struct frame f;
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    w->to_pull = INITIAL + 100;
    fab_yamux_stream_wake(s);
    wire_flush(w);
    wire_expect(w, WINDOW, SYN, 1, 0);
    size_t sum = 0;
    while (wire_next(w, &f)) {
        assert_int_equal(f.type, DATA);
        assert_true(f.len > 0 && f.len <= FAB_YAMUX_FRAME_MAX);
        assert_int_equal(f.flags, 0);
        sum += f.len;
    }
    assert_int_equal(sum, INITIAL);
    assert_int_equal(fab_yamux_stream_send_window(s), 0);
    assert_false(fab_yamux_wants_output(w->y));
    assert_int_equal(wire_head(w, WINDOW, ACK, 1, 60), FAB_OK);
    wire_flush(w);
    wire_expect(w, DATA, 0, 1, 60);
    wire_expect_end(w);
    fab_yamux_stream_finish(s);
    wire_flush(w);
    wire_expect(w, WINDOW, FIN, 1, 0);
    assert_int_equal(wire_head(w, WINDOW, 0, 1, 1000), FAB_OK);
    fab_yamux_stream_wake(s);
    wire_flush(w);
    wire_expect_end(w);
    assert_int_equal(w->to_pull, 40);
    wire_free(w);
}

static void pull_rests_until_woken(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s;
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    wire_flush(w);
    assert_int_equal(w->counts['p'], 0);
    fab_yamux_stream_wake(s);
    wire_flush(w);
    assert_int_equal(w->counts['p'], 1);
    wire_expect_end(w);
    wire_flush(w);
    assert_int_equal(w->counts['p'], 1);
    w->to_pull = 10;
    w->then_fin = true;
    fab_yamux_stream_wake(s);
    wire_flush(w);
    wire_expect(w, DATA, 0, 1, 10); /* the end travels alone */
    wire_expect(w, WINDOW, FIN, 1, 0);
    wire_expect_end(w);
    assert_int_equal(w->counts['p'], 2);
    wire_log_is(w, "");
    assert_int_equal(wire_head(w, DATA, FIN, 1, 2), FAB_OK);
    assert_int_equal(wire_payload(w, 2), FAB_OK);
    wire_log_is(w, "d1:2 e1 c1");
    assert_int_equal(fab_yamux_streams(w->y), 0);
    wire_free(w);
}

static void frames_fit_the_room(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    struct fab_yamux_stream *s;
    uint8_t p[2000];
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    w->to_pull = 100000;
    fab_yamux_stream_wake(s);
    assert_int_equal(fab_yamux_output(w->y, p, 11, w->now), 0);
    assert_int_equal(fab_yamux_output(w->y, p, 12, w->now), 12); /* ping */
    assert_int_equal(fab_yamux_output(w->y, p, 12, w->now), 12); /* SYN */
    assert_int_equal(fab_yamux_output(w->y, p, 12, w->now), 0);  /* no data fits */
    assert_true(fab_yamux_wants_output(w->y));
    assert_int_equal(fab_yamux_output(w->y, p, 13, w->now), 13);
    assert_int_equal(fab_yamux_output(w->y, p, sizeof p, w->now), sizeof p);
    assert_int_equal(w->to_pull, 100000 - 1 - (sizeof p - 12));
    wire_free(w);
}

static void unacknowledged_streams_are_limited(void **state)
{
    (void)state;
    struct fab_yamux_config config = dialler;
    config.outbound_max = 300;
    struct wire *w = wire_new(config);
    struct fab_yamux_stream *s = NULL;
    w->quiet = true;
    for (unsigned i = 0; i < FAB_YAMUX_BACKLOG; i++)
        assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_EBUSY);
    wire_flush(w);
    assert_int_equal(wire_head(w, WINDOW, ACK, 1, 0), FAB_OK);
    assert_int_equal(wire_head(w, WINDOW, ACK, 1, 0), FAB_OK); /* counts once */
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_EBUSY);
    fab_yamux_stream_reset(s, 0);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_EBUSY);
    assert_int_equal(wire_head(w, WINDOW, RST, 3, 0), FAB_OK);
    for (uint32_t i = 5; fab_yamux_streams(w->y) < 300; i += 2) {
        assert_int_equal(wire_head(w, WINDOW, ACK, i, 0), FAB_OK);
        assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    }
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_ELIMIT);
    wire_free(w);
}

/* A stream brought into each state that it can have. */
enum {
    FRESH,
    ANNOUNCED,
    ACKED,
    SENDING,
    FIN_SENT,
    FIN_GOT,
    IN_FRESH,
    IN_OPEN,
    IN_FIN_SENT,
    IN_FIN_GOT,
    STATES
};

static struct fab_yamux_stream *stream_in(struct wire *w, int st)
{
    struct fab_yamux_stream *s;
    uint32_t id = 1;
    if (st >= IN_FRESH) {
        id = 2;
        assert_int_equal(wire_head(w, WINDOW, SYN, id, 0), FAB_OK);
        s = w->last;
    } else {
        assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    }
    if (st == FRESH || st == IN_FRESH)
        return s;
    wire_flush(w);
    if (st == ANNOUNCED || st == IN_OPEN)
        return s;
    if (st < IN_FRESH)
        assert_int_equal(wire_head(w, WINDOW, ACK, id, 0), FAB_OK);
    if (st == SENDING) {
        w->to_pull = 2 * INITIAL;
        fab_yamux_stream_wake(s);
        wire_flush(w);
    }
    if (st == FIN_SENT || st == IN_FIN_SENT) {
        fab_yamux_stream_finish(s);
        wire_flush(w);
    }
    if (st == FIN_GOT || st == IN_FIN_GOT)
        assert_int_equal(wire_head(w, WINDOW, FIN, id, 0), FAB_OK);
    return s;
}

static void check_own_reset(int st)
{
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s = stream_in(w, st);
    uint32_t id = fab_yamux_stream_id(s);
    w->log_len = 0;
    w->log[0] = 0;
    fab_yamux_stream_reset(s, 0x1001);
    fab_yamux_stream_reset(s, 5);
    fab_yamux_stream_wake(s);
    fab_yamux_stream_finish(s);
    fab_yamux_stream_consumed(s, 1);
    wire_log_is(w, ""); /* nothing runs inside the call */
    assert_int_equal(fab_yamux_streams(w->y), 1);
    assert_true(fab_yamux_wants_output(w->y));
    /* What is still on its way is swallowed. */
    if (st != FRESH) {
        assert_int_equal(wire_head(w, WINDOW, 0, id, 10), FAB_OK);
        assert_int_equal(wire_head(w, DATA, FIN, id, 10), FAB_OK);
        assert_int_equal(wire_payload(w, 10), FAB_OK);
        wire_log_is(w, "");
    }
    wire_flush(w);
    wire_log_is(w, id == 1 ? "c1" : "c2");
    if (st != FRESH)
        wire_expect(w, WINDOW, RST, id, 0x1001);
    wire_expect_end(w);
    assert_int_equal(fab_yamux_streams(w->y), 0);
    wire_free(w);
}

static void check_remote_reset(int st)
{
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s = stream_in(w, st);
    uint32_t id = fab_yamux_stream_id(s);
    wire_flush(w);
    w->log_len = 0;
    w->log[0] = 0;
    if (st % 2) {
        assert_int_equal(wire_head(w, WINDOW, RST, id, 0x1002), FAB_OK);
        wire_log_is(w, id == 1 ? "r1:4098 c1" : "r2:4098 c2");
    } else { /* on a Data frame there is no code, and the payload is swallowed */
        assert_int_equal(wire_head(w, DATA, RST, id, 7), FAB_OK);
        assert_int_equal(wire_payload(w, 7), FAB_OK);
        wire_log_is(w, id == 1 ? "r1:0 c1" : "r2:0 c2");
    }
    assert_int_equal(fab_yamux_streams(w->y), 0);
    assert_int_equal(wire_head(w, WINDOW, RST, id, 0), FAB_OK); /* unknown by now */
    wire_flush(w);
    wire_expect_end(w);
    wire_free(w);
}

static void check_free(int st)
{
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    (void)stream_in(w, st);
    w->log_len = 0;
    w->log[0] = 0;
    fab_yamux_free(w->y);
    w->y = NULL;
    wire_log_is(w, st < IN_FRESH ? "r1:4294967295 c1" : "r2:4294967295 c2");
    wire_free(w);
}

static void own_reset_in_every_state(void **state)
{
    (void)state;
    for (int st = 0; st < STATES; st++)
        check_own_reset(st);
}

static void remote_reset_in_every_state(void **state)
{
    (void)state;
    for (int st = 0; st < STATES; st++)
        check_remote_reset(st);
}

static void free_in_every_state(void **state)
{
    (void)state;
    for (int st = 0; st < STATES; st++)
        check_free(st);
}

/* Things to do inside an event. */
static void hook_reset(struct wire *w, struct fab_yamux_stream *s)
{
    (void)w;
    fab_yamux_stream_reset(s, 9);
}

static void hook_finish(struct wire *w, struct fab_yamux_stream *s)
{
    (void)w;
    fab_yamux_stream_finish(s);
}

static void hook_open(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    struct fab_yamux_stream *mine;
    assert_int_equal(fab_yamux_open(w->y, NULL, &mine), FAB_OK);
    w->opened++;
    fab_yamux_stream_wake(mine);
}

static void hook_output(struct wire *w, struct fab_yamux_stream *s)
{
    fab_yamux_stream_consumed(s, SIZE_MAX);
    wire_flush(w);
}

static void hook_no_output(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    uint8_t p[100];
    assert_int_equal(fab_yamux_output(w->y, p, sizeof p, w->now), 0);
}

static void hook_input(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    assert_int_equal(wire_head(w, PING, SYN, 0, 1), FAB_EBUSY);
}

static void hook_tick(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    assert_int_equal(fab_yamux_tick(w->y, w->now), FAB_OK);
}

static void hook_free(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    fab_yamux_free(w->y);
}

static void hook_away(struct wire *w, struct fab_yamux_stream *s)
{
    (void)s;
    fab_yamux_go_away(w->y, FAB_YAMUX_AWAY_NORMAL);
}

/* One run through all events, with `hook` in the first event of `kind`. */
static void check_hook(char kind, void (*hook)(struct wire *, struct fab_yamux_stream *))
{
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    w->quiet = true;
    w->hook_at = kind;
    w->hook = hook;
    bool frees = hook == hook_free;
    uint8_t in[12 * 4 + 50] = {0};
    frame_put(in, WINDOW, SYN, 1, 0);
    frame_put(in + 12, DATA, FIN, 1, 50);
    frame_put(in + 74, WINDOW, SYN, 3, 0);
    frame_put(in + 86, WINDOW, RST, 3, 0);
    enum fab_rc rc = fab_yamux_input(w->y, in, 40, w->now);
    if (rc == FAB_OK)
        rc = fab_yamux_input(w->y, in + 40, sizeof in - 40, w->now);
    if (rc == FAB_OK) {
        w->to_pull = 1000;
        w->then_fin = true;
        struct fab_yamux_stream *mine;
        if (fab_yamux_open(w->y, NULL, &mine) == FAB_OK) {
            w->opened++;
            fab_yamux_stream_wake(mine);
        }
        wire_flush(w);
    }
    assert_null(w->hook); /* it ran */
    assert_int_equal(rc, frees && kind != 'p' ? FAB_EINTERRUPTED : FAB_OK);
    if (frees)
        w->y = NULL;
    fab_yamux_free(w->y);
    assert_int_equal(w->counts['c'], w->opened);
    free(w);
}

static void every_call_inside_every_event(void **state)
{
    (void)state;
    static const char kinds[] = "iderpc";
    for (size_t i = 0; i < sizeof kinds - 1; i++) {
        check_hook(kinds[i], hook_reset);
        check_hook(kinds[i], hook_finish);
        check_hook(kinds[i], hook_open);
        check_hook(kinds[i], kinds[i] == 'p' ? hook_no_output : hook_output);
        check_hook(kinds[i], hook_input);
        check_hook(kinds[i], hook_tick);
        check_hook(kinds[i], hook_free);
        check_hook(kinds[i], hook_away);
    }
}

static void a_reset_inside_data_swallows_the_rest(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    assert_int_equal(wire_head(w, DATA, SYN | FIN, 1, 100), FAB_OK);
    w->hook_at = 'd';
    w->hook = hook_reset;
    assert_int_equal(wire_payload(w, 30), FAB_OK);
    assert_int_equal(wire_payload(w, 70), FAB_OK);
    wire_log_is(w, "i1 d1:30");
    wire_flush(w);
    wire_log_is(w, "c1");
    wire_expect(w, WINDOW, RST, 1, 9);
    wire_expect_end(w);
    wire_free(w);
}

static void a_reset_inside_pull_loses_those_bytes(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s;
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    w->to_pull = 10;
    w->hook_at = 'p';
    w->hook = hook_reset;
    fab_yamux_stream_wake(s);
    wire_flush(w);
    wire_expect(w, WINDOW, SYN, 1, 0);
    wire_expect(w, WINDOW, RST, 1, 9);
    wire_expect_end(w);
    wire_log_is(w, "c1");
    wire_free(w);
}

static void hook_reset_and_output(struct wire *w, struct fab_yamux_stream *s)
{
    fab_yamux_stream_reset(s, 9);
    wire_flush(w);
    wire_expect(w, WINDOW, ACK, 3, 0);
    wire_expect(w, WINDOW, RST, 1, 9);
    assert_int_equal(w->counts['c'], 0); /* not yet: `s` is still in use here */
    assert_int_equal(fab_yamux_stream_id(s), 1);
}

static void closed_waits_for_the_outermost_call(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    assert_int_equal(wire_head(w, WINDOW, SYN, 3, 0), FAB_OK);
    assert_int_equal(wire_head(w, DATA, SYN, 1, 2), FAB_OK);
    w->hook_at = 'd';
    w->hook = hook_reset_and_output;
    assert_int_equal(wire_payload(w, 2), FAB_OK);
    assert_null(w->hook);
    wire_log_is(w, "i3 i1 d1:2 c1");
    wire_free(w);
}

static void hook_wake(struct wire *w, struct fab_yamux_stream *s)
{
    w->hook = hook_wake;
    fab_yamux_stream_wake(s);
}

static void waking_inside_an_empty_pull_ends(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s;
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    w->hook_at = 'p';
    w->hook = hook_wake;
    fab_yamux_stream_wake(s);
    wire_flush(w);
    assert_true(fab_yamux_wants_output(w->y)); /* not forgotten */
    w->hook = NULL;
    w->to_pull = 3;
    wire_flush(w);
    wire_expect(w, DATA, 0, 1, 3);
    wire_free(w);
}

static void refused_streams_get_a_reset(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    w->answer = FAB_ELIMIT;
    assert_int_equal(wire_head(w, DATA, SYN, 1, 4), FAB_OK);
    assert_int_equal(wire_payload(w, 4), FAB_OK);
    wire_log_is(w, "i1");
    assert_int_equal(fab_yamux_streams(w->y), 0);
    wire_flush(w);
    wire_expect(w, WINDOW, RST, 1, FAB_YAMUX_RESOURCE_LIMIT);
    wire_expect_end(w);
    wire_log_is(w, "");
    /* Refused after it was used and reset inside the event. */
    w->hook_at = 'i';
    w->hook = hook_reset;
    assert_int_equal(wire_head(w, WINDOW, SYN, 3, 0), FAB_OK);
    assert_int_equal(fab_yamux_streams(w->y), 0);
    wire_flush(w);
    wire_expect(w, WINDOW, RST, 3, FAB_YAMUX_RESOURCE_LIMIT);
    wire_expect_end(w);
    wire_free(w);
}

static void go_away_from_the_remote(void **state)
{
    (void)state;
    struct wire *w = wire_new(dialler);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s, *t;
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
    assert_false(fab_yamux_leaving(w->y));
    assert_int_equal(wire_head(w, AWAY, 0, 0, 0), FAB_OK);
    assert_true(fab_yamux_leaving(w->y));
    assert_false(fab_yamux_over(w->y));
    assert_int_equal(fab_yamux_open(w->y, NULL, &t), FAB_EINTERRUPTED);
    w->to_pull = 5;
    w->then_fin = true;
    fab_yamux_stream_wake(s);
    wire_flush(w);
    wire_expect(w, WINDOW, SYN, 1, 0);
    wire_expect(w, DATA, 0, 1, 5);
    wire_expect(w, WINDOW, FIN, 1, 0);
    assert_int_equal(wire_head(w, WINDOW, FIN, 1, 0), FAB_OK);
    wire_log_is(w, "e1 c1");
    assert_true(fab_yamux_over(w->y));
    wire_free(w);

    for (uint32_t code = 1; code <= 2; code++) {
        w = wire_new(dialler);
        wire_greet(w, 1000);
        assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_OK);
        assert_int_equal(wire_head(w, AWAY, 0, 0, code), FAB_EINTERRUPTED);
        wire_log_is(w, "r1:4294967295 c1");
        assert_true(fab_yamux_over(w->y));
        wire_flush(w);
        wire_expect_end(w);
        wire_free(w);
    }
}

static void own_go_away(void **state)
{
    (void)state;
    struct wire *w = wire_new(listener);
    wire_greet(w, 1000);
    struct fab_yamux_stream *s;
    assert_int_equal(wire_head(w, WINDOW, SYN, 1, 0), FAB_OK);
    fab_yamux_go_away(w->y, FAB_YAMUX_AWAY_NORMAL);
    fab_yamux_go_away(w->y, FAB_YAMUX_AWAY_INTERNAL);
    assert_int_equal(fab_yamux_open(w->y, NULL, &s), FAB_EINTERRUPTED);
    assert_int_equal(wire_head(w, WINDOW, SYN, 3, 0), FAB_OK);
    wire_flush(w);
    wire_expect(w, WINDOW, RST, 3, FAB_YAMUX_RESOURCE_LIMIT);
    wire_expect(w, WINDOW, ACK, 1, 0);
    wire_expect(w, AWAY, 0, 0, FAB_YAMUX_AWAY_NORMAL);
    wire_expect_end(w);
    assert_false(fab_yamux_over(w->y));
    fab_yamux_stream_reset(w->last, 0);
    wire_flush(w);
    assert_true(fab_yamux_over(w->y));
    wire_log_is(w, "i1 c1");
    wire_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_with_syn_and_counts_ids_by_two),
        cmocka_unit_test(bad_configurations),
        cmocka_unit_test(takes_streams_by_window_update_or_data),
        cmocka_unit_test(any_split_gives_the_same_events),
        cmocka_unit_test(window_is_reopened_from_half_on),
        cmocka_unit_test(send_window_holds_data_but_not_the_end),
        cmocka_unit_test(pull_rests_until_woken),
        cmocka_unit_test(frames_fit_the_room),
        cmocka_unit_test(unacknowledged_streams_are_limited),
        cmocka_unit_test(own_reset_in_every_state),
        cmocka_unit_test(remote_reset_in_every_state),
        cmocka_unit_test(free_in_every_state),
        cmocka_unit_test(every_call_inside_every_event),
        cmocka_unit_test(a_reset_inside_data_swallows_the_rest),
        cmocka_unit_test(a_reset_inside_pull_loses_those_bytes),
        cmocka_unit_test(closed_waits_for_the_outermost_call),
        cmocka_unit_test(waking_inside_an_empty_pull_ends),
        cmocka_unit_test(refused_streams_get_a_reset),
        cmocka_unit_test(go_away_from_the_remote),
        cmocka_unit_test(own_go_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
