#include "tests/sim/sim_net.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event {
    uint64_t when, order;
    void (*fn)(void *arg);
    void *arg;
};

struct sim_net {
    uint64_t seed, rng, now, order;
    struct event *heap;
    size_t count, cap;
    uint64_t ran;
    unsigned *groups;
};

struct segment {
    struct segment *next;
    uint64_t due;
    size_t n;
    bool fin;
    uint8_t bytes[];
};

struct direction {
    struct sim_link *link;
    struct segment *first, **last;
    uint64_t busy_us, last_due; /* the line is busy until; the last segment arrives */
    size_t flying;
    bool scheduled, full;
};

struct sim_link {
    struct sim_net *net;
    size_t nodes[2];
    struct sim_side sides[2];
    struct direction ways[2]; /* from side i */
    uint64_t latency, bytes_per_second;
    unsigned loss; /* of 1000 segments */
    bool left[2];
    unsigned pending; /* events that know it */
};

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory\n");
        abort();
    }
    return p;
}

struct sim_net *sim_net_new(uint64_t seed, size_t nodes)
{
    struct sim_net *net = must(calloc(1, sizeof *net));
    net->seed = net->rng = seed;
    net->now = SIM_SECOND;
    net->groups = must(calloc(nodes ? nodes : 1, sizeof *net->groups));
    return net;
}

void sim_net_free(struct sim_net *net)
{
    while (sim_step(net))
        ;
    free(net->heap);
    free(net->groups);
    free(net);
}

uint64_t sim_now(const struct sim_net *net)
{
    return net->now;
}

uint64_t sim_seed(const struct sim_net *net)
{
    return net->seed;
}

uint64_t sim_events(const struct sim_net *net)
{
    return net->ran;
}

uint64_t sim_random(struct sim_net *net, uint64_t below)
{
    net->rng += 0x9e3779b97f4a7c15u;
    uint64_t z = (net->rng ^ net->rng >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

void sim_fail(const struct sim_net *net, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr,
            "FABRIC_SIM_SEED=%llu failed at %.3f s, event %llu: ", (unsigned long long)net->seed,
            (double)net->now / 1e6, (unsigned long long)net->ran);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

/* ---- the queue ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->when != b->when ? a->when < b->when : a->order < b->order;
}

void sim_at(struct sim_net *net, uint64_t when_us, void (*fn)(void *arg), void *arg)
{
    if (net->count == net->cap) {
        net->cap = net->cap ? 2 * net->cap : 1024;
        net->heap = must(realloc(net->heap, net->cap * sizeof *net->heap));
    }
    struct event e = {when_us > net->now ? when_us : net->now, net->order++, fn, arg};
    size_t i = net->count++;
    for (; i > 0 && before(&e, &net->heap[(i - 1) / 2]); i = (i - 1) / 2)
        net->heap[i] = net->heap[(i - 1) / 2];
    net->heap[i] = e;
}

bool sim_step(struct sim_net *net)
{
    if (net->count == 0)
        return false;
    struct event top = net->heap[0], last = net->heap[--net->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < net->count; i = child) {
        if (child + 1 < net->count && before(&net->heap[child + 1], &net->heap[child]))
            child++;
        if (!before(&net->heap[child], &last))
            break;
        net->heap[i] = net->heap[child];
    }
    net->heap[i] = last;
    net->now = top.when;
    net->ran++;
    top.fn(top.arg);
    return true;
}

/* ---- links ---- */

void sim_partition(struct sim_net *net, size_t node, unsigned group)
{
    net->groups[node] = group;
}

bool sim_reaches(const struct sim_net *net, size_t a, size_t b)
{
    return net->groups[a] == net->groups[b];
}

struct sim_link *sim_link_new(struct sim_net *net, size_t a, size_t b, const struct sim_side *at_a,
                              const struct sim_side *at_b)
{
    struct sim_link *link = must(calloc(1, sizeof *link));
    link->net = net;
    link->nodes[0] = a;
    link->nodes[1] = b;
    link->sides[0] = *at_a;
    link->sides[1] = *at_b;
    link->latency = 100 + sim_random(net, sim_random(net, 4) ? 2 * SIM_MS : 80 * SIM_MS);
    link->bytes_per_second = (uint64_t)100000 << sim_random(net, 11); /* 0.1 to 100 MB/s */
    link->loss = sim_random(net, 3) ? 0 : (unsigned)sim_random(net, 30);
    for (unsigned i = 0; i < 2; i++) {
        link->ways[i].link = link;
        link->ways[i].last = &link->ways[i].first;
    }
    return link;
}

static void link_release(struct sim_link *link)
{
    if (link->pending > 0 || !link->left[0] || !link->left[1])
        return;
    for (unsigned i = 0; i < 2; i++) {
        for (struct segment *s = link->ways[i].first, *next; s; s = next) {
            next = s->next;
            free(s);
        }
    }
    free(link);
}

static void way_schedule(struct direction *way, uint64_t when);

static void way_arrive(void *arg)
{
    struct direction *way = arg;
    struct sim_link *link = way->link;
    struct sim_net *net = link->net;
    unsigned from = way == &link->ways[1], to = 1 - from;
    way->scheduled = false;
    struct segment *s = way->first;
    if (s && !link->left[to] && !sim_reaches(net, link->nodes[0], link->nodes[1])) {
        way_schedule(way, net->now + 200 * SIM_MS + sim_random(net, 300 * SIM_MS));
    } else if (s) {
        way->first = s->next;
        if (!way->first)
            way->last = &way->first;
        way->flying -= s->n;
        if (!link->left[to]) {
            if (s->fin)
                link->sides[to].cut(link->sides[to].arg);
            else
                link->sides[to].input(link->sides[to].arg, s->bytes, s->n);
        }
        free(s);
        if (way->first)
            way_schedule(way, way->first->due);
        if (way->full && !link->left[from]) {
            way->full = false;
            link->sides[from].writable(link->sides[from].arg);
        }
    }
    link->pending--;
    link_release(link);
}

static void way_schedule(struct direction *way, uint64_t when)
{
    if (way->scheduled)
        return;
    way->scheduled = true;
    way->link->pending++;
    sim_at(way->link->net, when, way_arrive, way);
}

static void way_append(struct direction *way, const uint8_t *p, size_t n, bool fin)
{
    struct sim_link *link = way->link;
    struct sim_net *net = link->net;
    struct segment *s = must(malloc(sizeof *s + n));
    if (n)
        memcpy(s->bytes, p, n);
    s->n = n;
    s->fin = fin;
    s->next = NULL;
    if (way->busy_us < net->now)
        way->busy_us = net->now;
    way->busy_us += n * SIM_SECOND / link->bytes_per_second;
    s->due = way->busy_us + link->latency;
    if (sim_random(net, 1000) < link->loss)
        s->due += 2 * link->latency + 200 * SIM_MS; /* sent again after a time-out */
    if (s->due < way->last_due)
        s->due = way->last_due;
    way->last_due = s->due;
    way->flying += n;
    *way->last = s;
    way->last = &s->next;
    way_schedule(way, s->due);
}

size_t sim_link_room(const struct sim_link *link, unsigned side)
{
    size_t flying = link->ways[side].flying;
    return flying < SIM_LINK_ROOM ? SIM_LINK_ROOM - flying : 0;
}

void sim_link_send(struct sim_link *link, unsigned side, const uint8_t *p, size_t n)
{
    if (link->left[1 - side])
        return; /* into the void, until the sender learns of it */
    way_append(&link->ways[side], p, n, false);
    link->ways[side].full = sim_link_room(link, side) < SIM_LINK_ROOM / 2;
}

void sim_link_leave(struct sim_link *link, unsigned side, bool silently)
{
    link->left[side] = true;
    if (!silently && !link->left[1 - side])
        way_append(&link->ways[side], NULL, 0, true);
    link_release(link);
}
