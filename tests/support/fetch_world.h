/* A made-up universe of blocks whose CIDs hold their numbers, simulated peers (dagsync-like ones
 * that stream subtrees, bitswap-like ones that send single blocks), and the owner of a fetch. A
 * test includes this once, behind cmocka.h. */
#ifndef FAB_TESTS_FETCH_WORLD_H
#define FAB_TESTS_FETCH_WORLD_H

#include "fabric/exchange/fetch.h"

#include <stdlib.h>
#include <string.h>

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

#endif
