/* Two yamux sessions back to back, in virtual time: bulk transfer and window growth, fairness, and
 * a seeded model that checks every byte. */
#include "fabric/swarm/yamux.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB       ((uint64_t)1 << 20)
#define INITIAL   FAB_YAMUX_WINDOW_INITIAL
#define CHUNK_MAX 70000

static uint64_t rng_next(uint64_t *x)
{
    *x += 0x9e3779b97f4a7c15u;
    uint64_t z = (*x ^ *x >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rng_below(uint64_t *x, uint64_t n)
{
    return rng_next(x) % n;
}

/* The byte at `at` of what `from` sends on stream `id`. */
static uint8_t content(uint32_t id, unsigned from, uint64_t at)
{
    return (uint8_t)(id * 31 + from * 101 + at + (at >> 8) * 7 + (at >> 16) * 13);
}

struct chunk {
    struct chunk *next;
    uint64_t due;
    size_t n;
    uint8_t bytes[];
};

struct side;

/* One end of a stream. */
struct end {
    struct end *prev, *next;
    struct side *side;
    struct fab_yamux_stream *s;
    uint32_t id;
    uint64_t to_send; /* may be pulled so far, in total */
    uint64_t sent, received, held;
    bool finishing, fin_given, got_end, was_reset;
    size_t pull_max; /* 0: any */
};

struct side {
    struct fab_yamux *y;
    struct pair *pair;
    unsigned number;
    struct chunk *first, **last; /* on their way to this side */
    uint64_t last_due;
    struct end ends; /* ring */
    size_t live;
    bool auto_consume;
    uint64_t received;
};

struct pair {
    struct side sides[2];
    uint64_t now, rng;
    uint64_t delay;
    /* What each side had sent when it finished, by id; UINT64_MAX: it did not. */
    uint64_t totals[2][8192];
    bool broken[8192]; /* some side reset it */
    uint64_t ended, resets, opened;
    bool ending; /* sessions are being freed */
};

static struct end *end_new(struct side *side, struct fab_yamux_stream *s)
{
    struct end *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->side = side;
    e->s = s;
    e->id = fab_yamux_stream_id(s);
    assert_true(e->id < 8192);
    side->pair->totals[side->number][e->id] = UINT64_MAX;
    e->prev = side->ends.prev;
    e->next = &side->ends;
    e->prev->next = e->next->prev = e;
    side->live++;
    fab_yamux_stream_set_user(s, e);
    return e;
}

static enum fab_rc on_incoming(void *ctx, struct fab_yamux_stream *s)
{
    end_new(ctx, s);
    return FAB_OK;
}

static void on_data(void *ctx, struct fab_yamux_stream *s, const uint8_t *p, size_t n)
{
    struct side *side = ctx;
    struct end *e = fab_yamux_stream_user(s);
    assert_false(e->got_end || e->was_reset);
    for (size_t i = 0; i<n; i += n> 4096 ? 61 : 1)
        assert_int_equal(p[i], content(e->id, 1 - side->number, e->received + i));
    e->received += n;
    side->received += n;
    if (side->auto_consume)
        fab_yamux_stream_consumed(s, n);
    else
        e->held += n;
}

static void on_end(void *ctx, struct fab_yamux_stream *s)
{
    struct side *side = ctx;
    struct end *e = fab_yamux_stream_user(s);
    assert_false(e->got_end || e->was_reset);
    e->got_end = true;
    assert_true(e->received == side->pair->totals[1 - side->number][e->id]);
    side->pair->ended++;
}

static void on_reset(void *ctx, struct fab_yamux_stream *s, uint32_t code)
{
    struct side *side = ctx;
    struct end *e = fab_yamux_stream_user(s);
    assert_false(e->was_reset);
    e->was_reset = true;
    if (code == FAB_YAMUX_SESSION_ENDED)
        assert_true(side->pair->ending);
    else
        assert_true(side->pair->broken[e->id] && code == e->id);
    side->pair->resets++;
}

static size_t on_pull(void *ctx, struct fab_yamux_stream *s, uint8_t *p, size_t cap, bool *fin)
{
    struct side *side = ctx;
    struct end *e = fab_yamux_stream_user(s);
    assert_true(cap > 0 && !e->fin_given && !e->was_reset);
    size_t n = e->pull_max && e->pull_max < cap ? e->pull_max : cap;
    if (n > e->to_send - e->sent)
        n = (size_t)(e->to_send - e->sent);
    for (size_t i = 0; i < n; i++)
        p[i] = content(e->id, side->number, e->sent + i);
    e->sent += n;
    if (e->finishing && e->sent == e->to_send) {
        *fin = e->fin_given = true;
        side->pair->totals[side->number][e->id] = e->sent;
    }
    return n;
}

static void on_closed(void *ctx, struct fab_yamux_stream *s)
{
    struct side *side = ctx;
    struct end *e = fab_yamux_stream_user(s);
    struct pair *pair = side->pair;
    assert_true((e->got_end && e->fin_given) || e->was_reset || pair->broken[e->id]);
    e->prev->next = e->next;
    e->next->prev = e->prev;
    side->live--;
    free(e);
}

static struct pair *pair_new(const struct fab_yamux_config *config, uint64_t delay, uint64_t seed)
{
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    pair->now = 1000000;
    pair->delay = delay;
    pair->rng = seed;
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &pair->sides[i];
        struct fab_yamux_config c = *config;
        struct fab_yamux_events events = {side,     on_incoming, on_data,  on_end,
                                          on_reset, on_pull,     on_closed};
        c.dialler = i == 0;
        c.hash_seed = seed + i;
        side->pair = pair;
        side->number = i;
        side->last = &side->first;
        side->ends.prev = side->ends.next = &side->ends;
        assert_int_equal(fab_yamux_new(&c, &events, pair->now, &side->y), FAB_OK);
    }
    return pair;
}

static void pair_free(struct pair *pair)
{
    pair->ending = true;
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &pair->sides[i];
        fab_yamux_free(side->y);
        assert_int_equal(side->live, 0);
        while (side->first) {
            struct chunk *c = side->first;
            side->first = c->next;
            free(c);
        }
    }
    free(pair);
}

static struct end *pair_open(struct pair *pair, unsigned number)
{
    struct fab_yamux_stream *s;
    struct side *side = &pair->sides[number];
    if (fab_yamux_open(side->y, NULL, &s) != FAB_OK)
        return NULL;
    pair->opened++;
    return end_new(side, s);
}

/* Side `number` writes at most `cap` bytes onto the link. */
static size_t side_send(struct pair *pair, unsigned number, size_t cap)
{
    struct side *to = &pair->sides[1 - number];
    size_t sum = 0;
    while (sum < cap) {
        size_t room = cap - sum < CHUNK_MAX ? cap - sum : CHUNK_MAX;
        struct chunk *c = malloc(sizeof *c + room);
        assert_non_null(c);
        c->n = fab_yamux_output(pair->sides[number].y, c->bytes, room, pair->now);
        assert_true(c->n <= room);
        if (c->n == 0) {
            free(c);
            break;
        }
        c->next = NULL;
        c->due = pair->now + pair->delay;
        *to->last = c;
        to->last = &c->next;
        sum += c->n;
    }
    return sum;
}

/* What is due arrives, cut at random if `cut`. */
static bool side_receive(struct pair *pair, unsigned number, bool cut)
{
    struct side *side = &pair->sides[number];
    bool any = false;
    while (side->first && side->first->due <= pair->now) {
        struct chunk *c = side->first;
        for (size_t at = 0; at < c->n;) {
            size_t n = c->n - at;
            if (cut)
                n = 1 + (size_t)rng_below(&pair->rng, rng_below(&pair->rng, 3) ? n
                                                      : n < 15                 ? n
                                                                               : 15);
            assert_int_equal(fab_yamux_input(side->y, c->bytes + at, n, pair->now), FAB_OK);
            at += n;
        }
        side->first = c->next;
        if (!side->first)
            side->last = &side->first;
        free(c);
        any = true;
    }
    return any;
}

/* One step of a link that carries `rate` bytes per millisecond each way. */
static void pair_step(struct pair *pair, size_t rate)
{
    for (unsigned i = 0; i < 2; i++) {
        side_receive(pair, i, false);
        assert_int_equal(fab_yamux_tick(pair->sides[i].y, pair->now), FAB_OK);
    }
    side_send(pair, 0, rate);
    side_send(pair, 1, rate);
    pair->now += 1000;
}

/* Milliseconds that `total` bytes take from side 0 to side 1 on one stream; *window is the
 * receiver's in the end, *grown_max the most that was ever grown. */
static unsigned transfer(const struct fab_yamux_config *config, uint64_t delay, size_t rate,
                         uint64_t total, uint32_t *window, uint64_t *grown_max)
{
    struct pair *pair = pair_new(config, delay, 1);
    pair->sides[1].auto_consume = true;
    for (unsigned i = 0; i < 100; i++) /* the pings */
        pair_step(pair, rate);
    assert_in_range(fab_yamux_rtt_us(pair->sides[1].y), 2 * delay, 2 * delay + 2000);
    struct end *e = pair_open(pair, 0);
    assert_non_null(e);
    uint32_t id = e->id;
    e->to_send = total;
    e->finishing = true;
    fab_yamux_stream_wake(e->s);
    unsigned ms = 0;
    *grown_max = 0;
    for (; pair->sides[1].received < total; ms++) {
        assert_true(ms < 1000000);
        pair_step(pair, rate);
        uint64_t grown = fab_yamux_grown(pair->sides[1].y);
        if (grown > *grown_max)
            *grown_max = grown;
        if (pair->sides[1].live)
            *window = fab_yamux_stream_window(pair->sides[1].ends.next->s);
    }
    for (unsigned i = 0; i < 100; i++)
        pair_step(pair, rate);
    assert_int_equal(pair->ended, 1);
    struct end *back = pair->sides[1].ends.next;
    assert_int_equal(back->id, id);
    assert_true(back->got_end);
    back->finishing = true;
    fab_yamux_stream_wake(back->s);
    for (unsigned i = 0; i < 100; i++)
        pair_step(pair, rate);
    assert_int_equal(fab_yamux_streams(pair->sides[0].y), 0);
    assert_int_equal(fab_yamux_streams(pair->sides[1].y), 0);
    assert_int_equal(fab_yamux_grown(pair->sides[1].y), 0);
    pair_free(pair);
    return ms;
}

/* 1 Gbit/s and 40 ms: 5 MB are on their way. */
#define RATE  125000
#define DELAY 20000
#define BDP   (RATE * 40)

static void windows_grow_to_the_bandwidth_delay_product(void **state)
{
    (void)state;
    struct fab_yamux_config config = {0};
    uint32_t window = 0;
    uint64_t grown;
    unsigned ms = transfer(&config, DELAY, RATE, 100 * MIB, &window, &grown);
    assert_true(window >= BDP && window <= 16 * MIB);
    assert_true(grown <= 16 * MIB);
    assert_true(ms < 1300); /* 839 at the full rate; 16,800 with the initial window */
}

static void windows_stay_where_the_round_trip_is_short(void **state)
{
    (void)state;
    struct fab_yamux_config config = {0};
    uint32_t window = 0;
    uint64_t grown;
    /* 10 MB/s and 2 ms: 20 kB are on their way, the initial window is plenty. */
    (void)transfer(&config, 1000, 10000, 10 * MIB, &window, &grown);
    assert_int_equal(window, INITIAL);
    assert_int_equal(grown, 0);
}

static void budgets_stop_growth_and_nothing_else(void **state)
{
    (void)state;
    uint32_t window = 0;
    uint64_t grown;
    struct fab_yamux_config by_session = {.session_grown_max = MIB};
    unsigned ms = transfer(&by_session, DELAY, RATE, 20 * MIB, &window, &grown);
    assert_int_equal(grown, MIB);
    assert_int_equal(window, INITIAL + MIB);
    assert_in_range(ms, 500, 1200); /* 1.25 MiB per 40 ms */

    struct fab_yamux_budget budget = {.used = 300000, .max = 1000000};
    struct fab_yamux_config by_shared = {.shared = &budget};
    (void)transfer(&by_shared, DELAY, RATE, 20 * MIB, &window, &grown);
    assert_int_equal(grown, 700000);
    assert_int_equal(budget.used, 300000);

    budget.max = 200000; /* lowered below what is used */
    (void)transfer(&by_shared, DELAY, RATE, 5 * MIB, &window, &grown);
    assert_int_equal(grown, 0);
    assert_int_equal(budget.used, 300000);

    struct fab_yamux_config by_stream = {.stream_window_max = 600000};
    (void)transfer(&by_stream, DELAY, RATE, 20 * MIB, &window, &grown);
    assert_int_equal(window, 600000);
    assert_int_equal(grown, 600000 - INITIAL);
}

/* Streams that are freed with their session give the shared budget back as well. */
static void a_freed_session_returns_its_budget(void **state)
{
    (void)state;
    struct fab_yamux_budget budget = {.max = 64 * MIB};
    struct fab_yamux_config config = {.shared = &budget};
    struct pair *pair = pair_new(&config, DELAY, 1);
    pair->sides[1].auto_consume = true;
    for (unsigned i = 0; i < 3; i++) {
        struct end *e = pair_open(pair, 0);
        e->to_send = 1000 * MIB;
        fab_yamux_stream_wake(e->s);
    }
    for (unsigned ms = 0; ms < 400; ms++)
        pair_step(pair, RATE);
    assert_true(budget.used > MIB);
    assert_true(budget.used == fab_yamux_grown(pair->sides[1].y));
    pair_free(pair);
    assert_int_equal(budget.used, 0);
}

/* A receiver that does not consume stops its own stream, and no other. */
static void backpressure_is_per_stream(void **state)
{
    (void)state;
    struct fab_yamux_config config = {0};
    struct pair *pair = pair_new(&config, 1000, 1);
    struct end *slow = pair_open(pair, 0), *fast = pair_open(pair, 0);
    slow->to_send = fast->to_send = 4 * MIB;
    fab_yamux_stream_wake(slow->s);
    fab_yamux_stream_wake(fast->s);
    for (unsigned ms = 0; ms < 2000; ms++) {
        pair_step(pair, RATE);
        struct side *r = &pair->sides[1];
        for (struct end *e = r->ends.next; e != &r->ends; e = e->next) {
            if (e->id == fast->id) {
                fab_yamux_stream_consumed(e->s, (size_t)e->held);
                e->held = 0;
            }
        }
    }
    assert_int_equal(fast->sent, 4 * MIB);
    assert_int_equal(slow->sent, INITIAL);
    pair_free(pair);
}

/* Streams that always have something share the link evenly, however much a pull gives. */
static void ready_streams_share_by_bytes(void **state)
{
    (void)state;
    static const size_t rooms[] = {500, 4096, 16384, 65519, 125000};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        struct fab_yamux_config config = {0};
        struct pair *pair = pair_new(&config, 1000, 1);
        pair->sides[1].auto_consume = true;
        struct end *e[3];
        for (unsigned k = 0; k < 3; k++) {
            e[k] = pair_open(pair, 0);
            e[k]->to_send = 1000 * MIB;
            e[k]->pull_max = k == 0 ? 0 : k == 1 ? 1000 : 7;
            fab_yamux_stream_wake(e[k]->s);
        }
        unsigned steps = (unsigned)(3000000 / rooms[i]);
        for (unsigned ms = 0; ms < steps; ms++)
            pair_step(pair, rooms[i]);
        uint64_t low = e[0]->sent, high = e[0]->sent;
        for (unsigned k = 1; k < 3; k++) {
            low = e[k]->sent < low ? e[k]->sent : low;
            high = e[k]->sent > high ? e[k]->sent : high;
        }
        assert_true(low > 300000);
        assert_true(high - low <= 2 * 65536);
        pair_free(pair);
    }
}

/* A short answer does not wait behind the whole of a long one. */
static void a_late_small_stream_overtakes(void **state)
{
    (void)state;
    struct fab_yamux_config config = {0};
    struct pair *pair = pair_new(&config, 1000, 1);
    pair->sides[1].auto_consume = true;
    struct end *big = pair_open(pair, 0);
    big->to_send = 1000 * MIB;
    fab_yamux_stream_wake(big->s);
    for (unsigned ms = 0; ms < 50; ms++)
        pair_step(pair, 10000);
    struct end *small = pair_open(pair, 0);
    small->to_send = 100;
    fab_yamux_stream_wake(small->s);
    uint64_t before = big->sent;
    while (small->sent < 100)
        pair_step(pair, 10000);
    assert_true(big->sent - before <= 2 * 65536);
    pair_free(pair);
}

static struct end *some_end(struct pair *pair, unsigned number)
{
    struct side *side = &pair->sides[number];
    if (side->live == 0)
        return NULL;
    struct end *e = side->ends.next;
    for (uint64_t k = rng_below(&pair->rng, side->live); k > 0; k--)
        e = e->next;
    return e;
}

static void model_step(struct pair *pair)
{
    unsigned number = (unsigned)rng_below(&pair->rng, 2);
    struct side *side = &pair->sides[number];
    struct end *e = some_end(pair, number);
    switch (rng_below(&pair->rng, 12)) {
    case 0:
        if (pair->opened < 3000 && side->live < 60)
            (void)pair_open(pair, number);
        break;
    case 1:
    case 2:
        if (e && !e->finishing)
            e->to_send += rng_below(&pair->rng, rng_below(&pair->rng, 8) ? 3000 : 600000);
        if (e)
            fab_yamux_stream_wake(e->s);
        break;
    case 3:
        if (e && rng_below(&pair->rng, 3) == 0) {
            e->finishing = true;
            fab_yamux_stream_wake(e->s);
        }
        break;
    case 4:
    case 5:
        if (e) {
            uint64_t n = rng_below(&pair->rng, e->held + 1);
            fab_yamux_stream_consumed(e->s, (size_t)n);
            e->held -= n;
        }
        break;
    case 6:
        if (e && rng_below(&pair->rng, 30) == 0 && !pair->broken[e->id]) {
            pair->broken[e->id] = true;
            fab_yamux_stream_reset(e->s, e->id);
        }
        break;
    case 7:
    case 8:
        side_send(pair, number, 12 + (size_t)rng_below(&pair->rng, 90000));
        break;
    case 9:
    case 10:
        side_receive(pair, number, true);
        break;
    default:
        pair->now += rng_below(&pair->rng, 3000);
        assert_int_equal(fab_yamux_tick(side->y, pair->now), FAB_OK);
    }
}

/* Everybody consumes and finishes, until nothing is left. */
static void model_drain(struct pair *pair)
{
    for (unsigned round = 0; round < 20000; round++) {
        if (pair->sides[0].live + pair->sides[1].live == 0)
            return;
        for (unsigned i = 0; i < 2; i++) {
            struct side *side = &pair->sides[i];
            for (struct end *e = side->ends.next; e != &side->ends; e = e->next) {
                fab_yamux_stream_consumed(e->s, (size_t)e->held);
                e->held = 0;
                e->finishing = true;
                fab_yamux_stream_wake(e->s);
            }
            side_send(pair, i, 200000);
        }
        pair->now += 1000;
        side_receive(pair, 0, true);
        side_receive(pair, 1, true);
    }
    fail_msg("streams were left over");
}

static void random_model_delivers_every_byte(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct fab_yamux_budget budget = {.max = seed % 2 ? 2 * MIB : 100 * MIB};
        struct fab_yamux_config config = {.session_grown_max = seed % 3 ? 8 * MIB : 500000,
                                          .shared = &budget};
        struct pair *pair = pair_new(&config, seed % 4 * 700, seed);
        for (unsigned i = 0; i < 20000; i++) {
            model_step(pair);
            assert_true(budget.used <= budget.max);
            assert_true(budget.used ==
                        fab_yamux_grown(pair->sides[0].y) + fab_yamux_grown(pair->sides[1].y));
            for (unsigned k = 0; k < 2; k++) {
                assert_true(fab_yamux_grown(pair->sides[k].y) <= config.session_grown_max);
                assert_int_equal(fab_yamux_streams(pair->sides[k].y), pair->sides[k].live);
            }
        }
        if (seed % 4 == 0) { /* the session ends in the middle */
            pair_free(pair);
            assert_int_equal(budget.used, 0);
            continue;
        }
        model_drain(pair);
        assert_true(pair->opened > 100 && pair->ended > 100 && pair->resets > 10);
        assert_int_equal(fab_yamux_streams(pair->sides[0].y), 0);
        assert_int_equal(fab_yamux_streams(pair->sides[1].y), 0);
        assert_int_equal(budget.used, 0);
        pair_free(pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_grow_to_the_bandwidth_delay_product),
        cmocka_unit_test(windows_stay_where_the_round_trip_is_short),
        cmocka_unit_test(budgets_stop_growth_and_nothing_else),
        cmocka_unit_test(a_freed_session_returns_its_budget),
        cmocka_unit_test(backpressure_is_per_stream),
        cmocka_unit_test(ready_streams_share_by_bytes),
        cmocka_unit_test(a_late_small_stream_overtakes),
        cmocka_unit_test(random_model_delivers_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
