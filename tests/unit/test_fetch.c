/* The fetch core against simulated peers: dagsync-like ones that stream subtrees, bitswap-like ones
 * that send single blocks; a made-up universe of blocks whose CIDs hold their numbers. */
#include "fabric/exchange/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)
#define NODES           4096
#define LINKS           32
#define PEERS           6
#define NOTHING         UINT32_MAX

/* ---- the universe ---- */

struct node {
    uint32_t links[LINKS];
    unsigned n;
    bool raw;
};

struct universe {
    struct node nodes[NODES];
    uint32_t count;
};

static uint64_t rng_next(uint64_t *x)
{
    *x += 0x9e3779b97f4a7c15u;
    uint64_t z = (*x ^ *x >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t rng_below(uint64_t *x, uint64_t n)
{
    return (uint32_t)(rng_next(x) % n);
}

static struct fab_cid cid_of(const struct universe *u, uint32_t node)
{
    struct fab_cid cid = {.codec = u->nodes[node].raw ? FAB_CODEC_RAW : FAB_CODEC_DAG_PB,
                          .version = 1,
                          .mh_len = 34,
                          .mh = {0x12, 0x20}};
    memcpy(cid.mh + 2, &node, sizeof node);
    return cid;
}

static uint32_t node_of(const struct fab_cid *cid)
{
    uint32_t node;
    memcpy(&node, cid->mh + 2, sizeof node);
    return node;
}

/* Every node is below the root; `extra` links more are shared ones. */
static void universe_random(struct universe *u, uint32_t count, unsigned extra, uint64_t *rng)
{
    memset(u, 0, sizeof *u);
    u->count = count;
    for (uint32_t i = 1; i < count; i++) {
        struct node *parent;
        do
            parent = &u->nodes[rng_below(rng, i)];
        while (parent->n == LINKS);
        parent->links[parent->n++] = i;
    }
    for (unsigned i = 0; i < extra; i++) {
        uint32_t to = 1 + rng_below(rng, count - 1);
        struct node *from = &u->nodes[rng_below(rng, to)];
        if (from->n < LINKS)
            from->links[from->n++] = to;
    }
    for (uint32_t i = 1; i < count; i++)
        u->nodes[i].raw = u->nodes[i].n == 0;
}

/* A file of 16 x 16 x 8 leaves, say. */
static void universe_tree(struct universe *u, unsigned fanout, uint32_t count)
{
    memset(u, 0, sizeof *u);
    u->count = count;
    for (uint32_t i = 1; i < count; i++) {
        struct node *parent = &u->nodes[(i - 1) / fanout];
        parent->links[parent->n++] = i;
    }
    for (uint32_t i = 1; i < count; i++)
        u->nodes[i].raw = u->nodes[i].n == 0;
}

/* ---- peers ---- */

enum event_type { BLOCK, MISSING, DONE };

struct event {
    enum event_type type;
    uint32_t node;
    uint64_t asked; /* DONE: items asked until then */
};

struct frame {
    uint32_t node;
    unsigned next;
};

struct peer {
    bool used, streams;
    unsigned number;
    bool has[NODES], sent[NODES], pruned[NODES];
    uint32_t *items;
    size_t items_at, items_count, items_cap;
    struct frame stack[NODES];
    size_t depth;
    struct event *events;
    size_t events_at, events_count, events_cap;
    uint64_t asked; /* items, as the fetcher sees them */
    bool done_sent;
    uint64_t blocks, useless;
};

static void peer_event(struct peer *p, enum event_type type, uint32_t node)
{
    if (p->events_count == p->events_cap) {
        p->events_cap = p->events_cap ? 2 * p->events_cap : 64;
        p->events = realloc(p->events, p->events_cap * sizeof *p->events);
        assert_non_null(p->events);
    }
    p->events[p->events_count++] = (struct event){type, node, p->items_count};
}

static void peer_ask(struct peer *p, uint32_t node)
{
    if (p->items_count == p->items_cap) {
        p->items_cap = p->items_cap ? 2 * p->items_cap : 64;
        p->items = realloc(p->items, p->items_cap * sizeof *p->items);
        assert_non_null(p->items);
    }
    p->items[p->items_count++] = node;
    p->pruned[node] = false;
    p->asked++;
    p->done_sent = false;
}

/* As a dagsync server: what is pruned while it is on the stack is left at once. */
static void peer_prune(struct peer *p, uint32_t node)
{
    p->pruned[node] = true;
    for (size_t i = 0; i < p->depth; i++)
        if (p->stack[i].node == node)
            p->depth = i;
}

static bool peer_visit(struct peer *p, uint32_t node)
{
    if (p->pruned[node] || p->sent[node])
        return false;
    if (!p->has[node]) {
        peer_event(p, MISSING, node);
        return true;
    }
    p->sent[node] = true;
    p->blocks++;
    peer_event(p, BLOCK, node);
    if (p->streams)
        p->stack[p->depth++] = (struct frame){node, 0};
    return true;
}

/* Until one message is out, or nothing is left to do (false). */
static bool peer_work(const struct universe *u, struct peer *p)
{
    for (;;) {
        if (p->depth > 0) {
            struct frame *top = &p->stack[p->depth - 1];
            const struct node *node = &u->nodes[top->node];
            if (top->next == node->n)
                p->depth--;
            else if (peer_visit(p, node->links[top->next++]))
                return true;
        } else if (p->items_at < p->items_count) {
            uint32_t item = p->items[p->items_at++];
            if (!p->streams)
                p->sent[item] = false;
            if (peer_visit(p, item))
                return true;
        } else if (!p->done_sent && p->streams) {
            p->done_sent = true;
            peer_event(p, DONE, 0);
            return true;
        } else {
            return false;
        }
    }
}

/* ---- the owner of a fetch ---- */

struct world {
    struct universe u;
    struct fab_fetch *fetch;
    bool store[NODES], here[NODES]; /* now; before the fetch */
    struct peer peers[PEERS];
    uint64_t rng, received, duplicates, released;
    uint64_t again; /* held, but came before they were looked up or pruned */
    size_t assign_max;
    size_t lag; /* events that stay on their way while there are so few */
    bool eager; /* ask of whoever has nothing to do, at once */
};

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->rng = seed;
    w->assign_max = 64;
    return w;
}

static void world_begin(struct world *w, const struct fab_fetch_config *config)
{
    static const uint8_t key[FAB_FETCH_KEY] = {1, 2, 3};
    struct fab_cid root = cid_of(&w->u, 0);
    memcpy(w->here, w->store, sizeof w->here);
    assert_ok(fab_fetch_new(config, key, &root, &w->fetch));
}

static struct peer *world_peer(struct world *w, unsigned i, bool streams)
{
    struct peer *p = &w->peers[i];
    assert_false(p->used);
    free(p->items);
    free(p->events);
    memset(p, 0, sizeof *p);
    p->used = true;
    p->streams = streams;
    assert_ok(fab_fetch_peer_add(w->fetch, streams, &p->number));
    return p;
}

static void has_all(const struct world *w, struct peer *p)
{
    for (uint32_t i = 0; i < w->u.count; i++)
        p->has[i] = true;
}

static void world_drop(struct world *w, struct peer *p)
{
    fab_fetch_peer_remove(w->fetch, p->number);
    p->used = false;
}

static void world_free(struct world *w)
{
    fab_fetch_free(w->fetch);
    for (unsigned i = 0; i < PEERS; i++) {
        free(w->peers[i].items);
        free(w->peers[i].events);
    }
    free(w);
}

static size_t links_of(const struct world *w, uint32_t node, struct fab_fetch_link links[LINKS])
{
    const struct node *n = &w->u.nodes[node];
    for (unsigned i = 0; i < n->n; i++) {
        links[i].cid = cid_of(&w->u, n->links[i]);
        links[i].held = w->store[n->links[i]];
    }
    return n->n;
}

static void look(struct world *w)
{
    struct fab_cid cids[8];
    struct fab_fetch_link links[LINKS];
    size_t n = fab_fetch_take_look(w->fetch, cids, 1 + rng_below(&w->rng, 8));
    for (size_t i = 0; i < n; i++) {
        uint32_t node = node_of(&cids[i]);
        if (w->store[node])
            assert_ok(fab_fetch_found(w->fetch, &cids[i], links, links_of(w, node, links)));
        else
            fab_fetch_absent(w->fetch, &cids[i]);
    }
}

static void prune(void *arg, unsigned number, const struct fab_cid *cid)
{
    struct world *w = arg;
    for (unsigned i = 0; i < PEERS; i++)
        if (w->peers[i].used && w->peers[i].number == number) {
            assert_true(w->peers[i].streams);
            peer_prune(&w->peers[i], node_of(cid));
            return;
        }
    fail_msg("pruned at a peer that is not there");
}

static void assign(struct world *w, struct peer *p)
{
    struct fab_cid cids[256];
    size_t n = fab_fetch_assign(w->fetch, p->number, cids, w->assign_max, prune, w);
    assert_true(n <= w->assign_max);
    for (size_t i = 0; i < n; i++)
        peer_ask(p, node_of(&cids[i]));
}

static void take(struct world *w, struct peer *p)
{
    struct event e = p->events[p->events_at++];
    struct fab_cid cid = cid_of(&w->u, e.node);
    struct fab_fetch_link links[LINKS];
    bool accepted;
    switch (e.type) {
    case BLOCK:;
        bool wants = fab_fetch_wants(w->fetch, &cid), seen = fab_fetch_seen(w->fetch, &cid);
        assert_ok(fab_fetch_block(w->fetch, p->number, &cid, links, links_of(w, e.node, links),
                                  prune, w, &accepted));
        assert_int_equal(accepted, wants);
        if (!accepted) { /* an honest peer is never taken for another one */
            assert_true(seen || w->store[e.node]);
            p->useless++;
            w->duplicates++;
            break;
        }
        assert_true(!w->store[e.node] || w->here[e.node]); /* nothing twice */
        *(w->store[e.node] ? &w->again : &w->received) += 1;
        w->store[e.node] = true;
        assert_false(fab_fetch_wants(w->fetch, &cid));
        assert_true(fab_fetch_seen(w->fetch, &cid));
        break;
    case MISSING:
        fab_fetch_missing(w->fetch, p->number, &cid);
        break;
    case DONE:
        if (e.asked == p->asked)
            w->released += fab_fetch_peer_release(w->fetch, p->number);
        break;
    }
}

/* One random thing; false when nothing at all can happen. */
static bool step(struct world *w)
{
    struct fab_fetch_state s;
    fab_fetch_state(w->fetch, &s);
    if (s.look > 0 && rng_below(&w->rng, 2))
        look(w);
    bool any = s.look > 0;
    unsigned first = rng_below(&w->rng, PEERS);
    for (unsigned k = 0; k < PEERS; k++) {
        struct peer *p = &w->peers[(first + k) % PEERS];
        if (!p->used)
            continue;
        if (w->eager ? fab_fetch_peer_asked(w->fetch, p->number) == 0 : rng_below(&w->rng, 3) == 0)
            assign(w, p);
        bool worked = peer_work(&w->u, p);
        any |= worked;
        if (p->events_at < p->events_count) {
            any = true;
            if (!worked || p->events_count - p->events_at > w->lag)
                take(w, p);
        }
    }
    return any;
}

/* Until done or stuck. */
static void run(struct world *w)
{
    unsigned idle = 0;
    for (unsigned steps = 0; !fab_fetch_done(w->fetch); steps++) {
        assert_true(steps < 2000000);
        if (step(w))
            idle = 0;
        else if (++idle > 100) /* everybody had its turn to be asked */
            break;
    }
}

static void assert_whole(const struct world *w)
{
    struct fab_fetch_state s;
    assert_true(fab_fetch_done(w->fetch));
    assert_false(fab_fetch_stuck(w->fetch));
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.look + s.wanted + s.asked + s.nobody, 0);
    for (uint32_t i = 0; i < w->u.count; i++)
        assert_true(w->store[i]);
    assert_int_equal(s.received, w->received + w->again);
}

/* ---- tests ---- */

static void test_mixtures(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *w = world_new(seed);
        uint32_t count = 1 + rng_below(&w->rng, 600);
        universe_random(&w->u, count, count > 1 ? rng_below(&w->rng, count) : 0, &w->rng);
        unsigned held = rng_below(&w->rng, 4) * 30; /* percent; the root too */
        for (uint32_t i = 0; i < count; i++)
            w->store[i] = rng_below(&w->rng, 100) < held;
        uint64_t lacking = 0;
        for (uint32_t i = 0; i < count; i++)
            lacking += !w->store[i];
        world_begin(w, NULL);
        w->lag = rng_below(&w->rng, 20);
        w->eager = rng_below(&w->rng, 2);
        w->assign_max = 1 + rng_below(&w->rng, 100);
        unsigned peers = 1 + rng_below(&w->rng, PEERS);
        for (unsigned i = 0; i < peers; i++) {
            struct peer *p = world_peer(w, i, rng_below(&w->rng, 2));
            for (uint32_t j = 0; j < count; j++)
                p->has[j] = rng_below(&w->rng, 100) < 40;
        }
        for (uint32_t j = 0; j < count; j++) /* somebody has it */
            w->peers[rng_below(&w->rng, peers)].has[j] = true;
        run(w);
        assert_whole(w);
        assert_int_equal(w->received, lacking);
        world_free(w);
    }
}

static void test_one_streaming_peer_sends_nothing_twice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(seed);
        universe_random(&w->u, 800, 400, &w->rng);
        world_begin(w, NULL);
        has_all(w, world_peer(w, 0, true));
        run(w);
        assert_whole(w);
        assert_int_equal(w->duplicates, 0);
        assert_int_equal(w->released, 0);
        assert_int_equal(w->peers[0].asked, 1); /* the root: no round trip per level */
        world_free(w);
    }
}

static void test_only_what_is_linked(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct fab_fetch_link links[LINKS];
    bool accepted;
    universe_tree(&w->u, 4, 100);
    world_begin(w, NULL);
    struct peer *p = world_peer(w, 0, true);
    look(w);
    assign(w, p);
    struct fab_cid child = cid_of(&w->u, 1), root = cid_of(&w->u, 0), grand = cid_of(&w->u, 5);
    assert_false(fab_fetch_wants(w->fetch, &child)); /* its parent has not come */
    assert_ok(fab_fetch_block(w->fetch, p->number, &child, links, links_of(w, 1, links), prune, w,
                              &accepted));
    assert_false(accepted);
    assert_false(fab_fetch_seen(w->fetch, &child));
    assert_ok(fab_fetch_block(w->fetch, p->number, &root, links, links_of(w, 0, links), prune, w,
                              &accepted));
    assert_true(accepted);
    assert_true(fab_fetch_wants(w->fetch, &child));
    assert_false(fab_fetch_wants(w->fetch, &grand));
    /* The same bytes under another codec are not what was linked; another version is. */
    struct fab_cid other = child;
    other.codec = FAB_CODEC_DAG_CBOR;
    assert_false(fab_fetch_wants(w->fetch, &other));
    other = child;
    other.version = 0;
    assert_true(fab_fetch_wants(w->fetch, &other));
    /* What came cannot come again. */
    assert_ok(fab_fetch_block(w->fetch, p->number, &root, links, links_of(w, 0, links), prune, w,
                              &accepted));
    assert_false(accepted);
    assert_true(fab_fetch_seen(w->fetch, &root));
    world_free(w);
}

static void test_three_holders_share(void **state)
{
    (void)state;
    for (size_t lag = 0; lag <= 64; lag += 16) {
        struct world *w = world_new(7);
        universe_tree(&w->u, 16, 4000);
        world_begin(w, NULL);
        w->lag = lag;
        w->eager = true;
        for (unsigned i = 0; i < 3; i++)
            has_all(w, world_peer(w, i, true));
        run(w);
        assert_whole(w);
        for (unsigned i = 0; i < 3; i++)
            assert_in_range(w->peers[i].blocks - w->peers[i].useless, 4000 / 6, 4000 / 2);
        assert_in_range(w->duplicates, 0, 4000 / 10);
        world_free(w);
    }
}

/* A peer that comes late takes over half of what is left. */
static void test_a_second_holder_comes(void **state)
{
    (void)state;
    struct world *w = world_new(8);
    universe_tree(&w->u, 16, 4000);
    world_begin(w, NULL);
    w->eager = true;
    w->lag = 10;
    has_all(w, world_peer(w, 0, true));
    while (w->received < 1000)
        step(w);
    has_all(w, world_peer(w, 1, true));
    run(w);
    assert_whole(w);
    assert_in_range(w->peers[1].blocks - w->peers[1].useless, 1000, 2000);
    world_free(w);
}

static void test_missing_here_not_there(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 4; mix++) {
        struct world *w = world_new(20 + mix);
        universe_random(&w->u, 500, 100, &w->rng);
        world_begin(w, NULL);
        for (unsigned i = 0; i < 2; i++) {
            struct peer *p = world_peer(w, i, mix >> i & 1);
            for (uint32_t j = 0; j < 500; j++)
                p->has[j] = j % 2 == i;
        }
        run(w);
        assert_whole(w);
        world_free(w);
    }
}

static void test_nobody_has_it(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 4; mix++) {
        struct world *w = world_new(30 + mix);
        struct fab_cid list[8];
        universe_tree(&w->u, 4, 300);
        world_begin(w, NULL);
        for (unsigned i = 0; i < 2; i++) {
            struct peer *p = world_peer(w, i, mix >> i & 1);
            has_all(w, p);
            p->has[17] = p->has[299] = false;
        }
        run(w);
        assert_false(fab_fetch_done(w->fetch));
        assert_true(fab_fetch_stuck(w->fetch));
        assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 8), 2);
        assert_int_equal(node_of(&list[0]) + node_of(&list[1]), 17 + 299);
        assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 1), 1);
        struct fab_fetch_state s;
        fab_fetch_state(w->fetch, &s);
        assert_int_equal(s.nobody, 2);
        /* A third one has both, and what is below the first. */
        has_all(w, world_peer(w, 2, mix & 1));
        assert_false(fab_fetch_stuck(w->fetch));
        run(w);
        assert_whole(w);
        world_free(w);
    }
}

static void test_without_any_peer(void **state)
{
    (void)state;
    struct world *w = world_new(40);
    struct fab_cid list[4];
    universe_tree(&w->u, 4, 50);
    for (uint32_t i = 0; i < 50; i++)
        w->store[i] = i != 3;
    world_begin(w, NULL);
    run(w);
    assert_true(fab_fetch_stuck(w->fetch));
    assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 4), 1);
    assert_int_equal(node_of(&list[0]), 3);
    has_all(w, world_peer(w, 0, true));
    run(w);
    assert_whole(w);
    assert_int_equal(w->received, 1);
    assert_int_equal(w->peers[0].blocks, 1); /* what is held below it was pruned, or not asked */
    world_free(w);
}

static void test_all_is_here(void **state)
{
    (void)state;
    struct world *w = world_new(41);
    universe_random(&w->u, 1000, 2000, &w->rng);
    for (uint32_t i = 0; i < 1000; i++)
        w->store[i] = true;
    world_begin(w, NULL);
    run(w);
    assert_whole(w);
    assert_int_equal(w->received, 0);
    world_free(w);
}

/* Inner blocks that are held while blocks below them are not; nothing that is held is sent. */
static void test_holes_below_held_blocks(void **state)
{
    (void)state;
    for (unsigned streams = 0; streams < 2; streams++) {
        struct world *w = world_new(50);
        uint64_t lacking = 0;
        universe_tree(&w->u, 5, 1000);
        for (uint32_t i = 1; i < 1000; i++)
            w->store[i] = i % 3 != 0;
        for (uint32_t i = 0; i < 1000; i++)
            lacking += !w->store[i];
        world_begin(w, NULL);
        has_all(w, world_peer(w, 0, streams));
        run(w);
        assert_whole(w);
        assert_int_equal(w->received, lacking);
        if (!streams)
            assert_int_equal(w->peers[0].blocks, lacking);
        world_free(w);
    }
}

static void test_resume(void **state)
{
    (void)state;
    struct world *w = world_new(60);
    universe_random(&w->u, 900, 300, &w->rng);
    for (unsigned round = 0;; round++) {
        assert_true(round < 12);
        world_begin(w, NULL);
        w->received = w->again = 0;
        has_all(w, world_peer(w, 0, round % 2));
        for (unsigned i = 0; i < 400 && !fab_fetch_done(w->fetch); i++)
            step(w);
        if (fab_fetch_done(w->fetch))
            break;
        fab_fetch_free(w->fetch);
        w->peers[0].used = false;
    }
    assert_whole(w);
    world_free(w);
}

static void test_peer_removed_meanwhile(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = world_new(seed);
        universe_random(&w->u, 600, 200, &w->rng);
        world_begin(w, NULL);
        w->lag = rng_below(&w->rng, 10);
        for (unsigned i = 0; i < 3; i++)
            has_all(w, world_peer(w, i, rng_below(&w->rng, 2)));
        while (!fab_fetch_done(w->fetch)) {
            for (unsigned i = rng_below(&w->rng, 60); i > 0 && !fab_fetch_done(w->fetch); i--)
                step(w);
            unsigned i = rng_below(&w->rng, 3);
            if (w->peers[i].used)
                world_drop(w, &w->peers[i]);
            else
                has_all(w, world_peer(w, i, rng_below(&w->rng, 2)));
        }
        assert_whole(w);
        world_free(w);
    }
}

/* All wants stand again, whether others lack them or not. */
static void test_remove_with_many_wants(void **state)
{
    (void)state;
    struct world *w = world_new(70);
    struct fab_cid cids[8];
    struct fab_fetch_state s;
    universe_tree(&w->u, 30, 31);
    w->store[0] = true;
    world_begin(w, NULL);
    struct peer *p = world_peer(w, 0, false), *q = world_peer(w, 1, false);
    while (fab_fetch_state(w->fetch, &s), s.look > 0)
        look(w);
    assert_int_equal(s.wanted, 30);
    assert_int_equal(fab_fetch_assign(w->fetch, p->number, cids, 8, NULL, NULL), 8);
    for (unsigned i = 0; i < 4; i++)
        fab_fetch_missing(w->fetch, p->number, &cids[i]);
    assert_int_equal(fab_fetch_peer_asked(w->fetch, p->number), 4);
    world_drop(w, q); /* what p lacks, now nobody has */
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.nobody, 4);
    assert_int_equal(s.wanted, 22);
    assert_int_equal(fab_fetch_peer_release(w->fetch, p->number), 4);
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.wanted, 26);
    world_drop(w, p);
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.wanted + s.nobody, 30);
    assert_true(fab_fetch_stuck(w->fetch));
    assert_int_equal(fab_fetch_assign(w->fetch, p->number, cids, 8, NULL, NULL), 0);
    assert_int_equal(fab_fetch_peer_release(w->fetch, p->number), 0);
    world_free(w);
}

static void test_root_only(void **state)
{
    (void)state;
    for (unsigned held = 0; held < 2; held++) {
        struct world *w = world_new(80);
        struct fab_fetch_config config = {.follow = FAB_FETCH_NONE};
        universe_tree(&w->u, 4, 50);
        w->store[0] = held;
        world_begin(w, &config);
        struct peer *p = world_peer(w, 0, false);
        has_all(w, p);
        run(w);
        assert_true(fab_fetch_done(w->fetch));
        assert_int_equal(w->received, !held);
        assert_int_equal(p->blocks, !held);
        world_free(w);
    }
}

/* One peer walks: what it sends along the links is taken, what it leaves out is not waited for. */
static void test_offered(void **state)
{
    (void)state;
    struct world *w = world_new(85);
    struct fab_fetch_config config = {.follow = FAB_FETCH_OFFERED};
    struct fab_fetch_link links[LINKS];
    struct fab_cid cids[8], stranger = cid_of(&w->u, 900);
    unsigned peer, other;
    bool accepted;
    universe_tree(&w->u, 4, 300);
    struct fab_cid root = cid_of(&w->u, 0);
    assert_ok(fab_fetch_new(&config, (const uint8_t[FAB_FETCH_KEY]){1}, &root, &w->fetch));
    assert_int_equal(fab_fetch_take_look(w->fetch, cids, 8), 0); /* the peer is to read it */
    assert_ok(fab_fetch_peer_add(w->fetch, true, &peer));
    assert_int_equal(fab_fetch_assign(w->fetch, peer, cids, 8, NULL, NULL), 1);
    static const uint32_t way[] = {0, 2, 10};
    for (unsigned i = 0; i < 3; i++) {
        struct fab_cid cid = cid_of(&w->u, way[i]);
        const struct node *node = &w->u.nodes[way[i]];
        for (unsigned k = 0; k < node->n; k++)
            links[k] = (struct fab_fetch_link){.cid = cid_of(&w->u, node->links[k])};
        assert_int_equal(fab_fetch_done(w->fetch), i > 0);
        assert_ok(fab_fetch_block(w->fetch, peer, &stranger, NULL, 0, NULL, NULL, &accepted));
        assert_false(accepted);
        assert_ok(fab_fetch_block(w->fetch, peer, &cid, links, node->n, NULL, NULL, &accepted));
        assert_true(accepted);
        assert_ok(fab_fetch_block(w->fetch, peer, &cid, links, node->n, NULL, NULL, &accepted));
        assert_false(accepted); /* once */
    }
    assert_true(fab_fetch_done(w->fetch));
    assert_false(fab_fetch_stuck(w->fetch));
    fab_fetch_missing(w->fetch, peer, &links[0].cid); /* no reason to ask somebody else */
    assert_ok(fab_fetch_peer_add(w->fetch, true, &other));
    assert_int_equal(fab_fetch_assign(w->fetch, other, cids, 8, NULL, NULL), 0);
    assert_int_equal(fab_fetch_peer_asked(w->fetch, peer), 0);
    fab_fetch_peer_remove(w->fetch, peer);
    assert_true(fab_fetch_done(w->fetch));
    world_free(w);
}

static unsigned pruned;
static void count_prune(void *arg, unsigned peer, const struct fab_cid *cid)
{
    (void)arg, (void)peer, (void)cid;
    pruned++;
}

/* What is held below an offered block: a leaf need not be sent, an inner block's leaves must be. */
static void test_offered_held(void **state)
{
    (void)state;
    struct world *w = world_new(86);
    struct fab_fetch_config config = {.follow = FAB_FETCH_OFFERED};
    struct fab_cid cids[8];
    unsigned peer;
    bool accepted;
    universe_tree(&w->u, 4, 20); /* 1 to 4 are inner, 5 and more are leaves */
    struct fab_cid root = cid_of(&w->u, 0), inner = cid_of(&w->u, 1), leaf = cid_of(&w->u, 5);
    struct fab_fetch_link links[] = {{.cid = inner, .held = true}, {.cid = leaf, .held = true}};
    assert_ok(fab_fetch_new(&config, (const uint8_t[FAB_FETCH_KEY]){1}, &root, &w->fetch));
    assert_ok(fab_fetch_peer_add(w->fetch, true, &peer));
    assert_int_equal(fab_fetch_assign(w->fetch, peer, cids, 8, NULL, NULL), 1);
    pruned = 0;
    assert_ok(fab_fetch_block(w->fetch, peer, &root, links, 2, count_prune, NULL, &accepted));
    assert_int_equal(pruned, 1);
    assert_ok(fab_fetch_block(w->fetch, peer, &leaf, NULL, 0, count_prune, NULL, &accepted));
    assert_false(accepted);
    assert_ok(fab_fetch_block(w->fetch, peer, &inner, NULL, 0, count_prune, NULL, &accepted));
    assert_true(accepted);
    world_free(w);
}

static void test_several_roots(void **state)
{
    (void)state;
    static const struct fab_fetch_config config = {.follow = FAB_FETCH_NONE};
    struct world *w = world_new(50);
    universe_tree(&w->u, 4, 300);
    w->store[7] = true;
    world_begin(w, &config);
    for (uint32_t i = 1; i < 10; i++) {
        struct fab_cid cid = cid_of(&w->u, i);
        assert_ok(fab_fetch_add(w->fetch, &cid));
        assert_ok(fab_fetch_add(w->fetch, &cid)); /* once more changes nothing */
    }
    has_all(w, world_peer(w, 0, false));
    run(w);
    assert_true(fab_fetch_done(w->fetch));
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(w->store[i], i < 10);
    assert_int_equal(w->received, 9); /* without the one that was here */
    world_free(w);
}

static void test_limits(void **state)
{
    (void)state;
    /* Peers. */
    struct world *w = world_new(90);
    unsigned number;
    universe_tree(&w->u, 30, 60);
    w->store[0] = true;
    struct fab_fetch_config config = {.wants_max = 20};
    world_begin(w, &config);
    for (unsigned i = 0; i < FAB_FETCH_PEERS_MAX; i++) {
        assert_ok(fab_fetch_peer_add(w->fetch, i % 2, &number));
        assert_int_equal(number, i);
    }
    assert_int_equal(fab_fetch_peer_add(w->fetch, true, &number), FAB_ELIMIT);
    fab_fetch_peer_remove(w->fetch, 5);
    assert_ok(fab_fetch_peer_add(w->fetch, true, &number));
    assert_int_equal(number, 5);
    /* Wants. */
    struct fab_cid root;
    struct fab_fetch_link links[LINKS];
    assert_int_equal(fab_fetch_take_look(w->fetch, &root, 1), 1);
    assert_int_equal(fab_fetch_found(w->fetch, &root, links, links_of(w, 0, links)), FAB_ELIMIT);
    world_free(w);
    /* What came is forgotten beyond seen_max: shared blocks may come twice, and all arrive. */
    w = world_new(91);
    config = (struct fab_fetch_config){.seen_max = 10};
    universe_random(&w->u, 300, 300, &w->rng);
    world_begin(w, &config);
    for (uint32_t i = 0; i < 300; i++)
        w->here[i] = true; /* twice is no fault here */
    has_all(w, world_peer(w, 0, false));
    for (unsigned steps = 0; !fab_fetch_done(w->fetch) && steps < 100000; steps++) {
        struct fab_cid cid;
        bool accepted;
        look(w);
        if (fab_fetch_assign(w->fetch, 0, &cid, 1, NULL, NULL) == 0)
            continue;
        assert_ok(fab_fetch_block(w->fetch, 0, &cid, links, links_of(w, node_of(&cid), links), NULL,
                                  NULL, &accepted));
        assert_true(accepted);
        w->store[node_of(&cid)] = true;
    }
    for (uint32_t i = 0; i < 300; i++)
        assert_true(w->store[i]);
    assert_true(fab_fetch_done(w->fetch));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_one_streaming_peer_sends_nothing_twice),
        cmocka_unit_test(test_only_what_is_linked),
        cmocka_unit_test(test_three_holders_share),
        cmocka_unit_test(test_a_second_holder_comes),
        cmocka_unit_test(test_missing_here_not_there),
        cmocka_unit_test(test_nobody_has_it),
        cmocka_unit_test(test_without_any_peer),
        cmocka_unit_test(test_all_is_here),
        cmocka_unit_test(test_holes_below_held_blocks),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_peer_removed_meanwhile),
        cmocka_unit_test(test_remove_with_many_wants),
        cmocka_unit_test(test_root_only),
        cmocka_unit_test(test_offered),
        cmocka_unit_test(test_offered_held),
        cmocka_unit_test(test_several_roots),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
