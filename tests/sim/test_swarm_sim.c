/* Whole swarms in virtual time: a thousand nodes in several workspaces fetch from each other over
 * lossy links, while nodes leave (with or without a word) and come back and the network is split
 * and healed; some nodes have no right to be there. At every moment the rules of sim_node_check
 * hold; in the end every wanted DAG is there, byte for byte, and outsiders have nothing.
 *
 * FABRIC_SIM_SEED=N runs that seed alone; FABRIC_SIM_NODES=N another number of nodes. */
#include "tests/sim/sim_world.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CHURN_UNTIL (60 * SIM_SECOND)
#define LIMIT       (1200 * SIM_SECOND)
#define CHECK_EVERY 5000
#define STILL_MAX   100 /* checks during which time may stand still */
#define NODES_MIN   120
/* Bytes: of a connection over which a fetch asks (two batches of dagsync, and what is on its way),
 * of one that is idle, and of a node (the bitswap clients of two workspaces). */
#define BUSY_MEMORY (3u << 20)
#define IDLE_MEMORY (32u << 10)
#define NODE_MEMORY (160u << 10)

static void return_event(void *arg)
{
    struct sim_node *node = arg;
    if (!node->world->over)
        sim_node_up(node);
}

static void churn_event(void *arg)
{
    struct sim_world *w = arg;
    uint64_t now = sim_now(w->net);
    if (now > CHURN_UNTIL || w->over)
        return;
    struct sim_node *node = &w->nodes[sim_random(w->net, w->n_nodes)];
    if (node->up) {
        sim_node_down(node, sim_random(w->net, 3) == 0);
        sim_at(w->net, now + SIM_SECOND + sim_random(w->net, 20 * SIM_SECOND), return_event, node);
    }
    sim_at(w->net, now + sim_random(w->net, 400 * SIM_SECOND / w->n_nodes), churn_event, w);
}

static void split_event(void *arg)
{
    struct sim_world *w = arg;
    for (size_t i = 0; i < w->n_nodes; i++)
        sim_partition(w->net, i, (unsigned)sim_random(w->net, 3));
}

static void heal_event(void *arg)
{
    struct sim_world *w = arg;
    for (size_t i = 0; i < w->n_nodes; i++)
        sim_partition(w->net, i, 0);
}

static void start_event(void *arg)
{
    sim_node_up(arg);
}

static size_t heap(void)
{
    struct mallinfo2 info = mallinfo2(); /* a sanitizer's allocator says 0 */
    return info.uordblks + info.hblkhd;
}

/* Gives a number that sums up what happened. */
static uint64_t run(uint64_t seed, size_t nodes)
{
    if (nodes < NODES_MIN)
        nodes = NODES_MIN;
    size_t wanting, complete;
    clock_t began = clock();
    printf("FABRIC_SIM_SEED=%llu, %zu nodes: ", (unsigned long long)seed, nodes);
    fflush(stdout);
    struct sim_world *w = sim_world_new(seed, nodes);
    for (size_t i = 0; i < nodes; i++)
        sim_at(w->net, SIM_SECOND + sim_random(w->net, 5 * SIM_SECOND), start_event, &w->nodes[i]);
    sim_at(w->net, 3 * SIM_SECOND, churn_event, w);
    sim_at(w->net, 6 * SIM_SECOND, split_event, w); /* shorter and longer than a peer's patience */
    sim_at(w->net, 16 * SIM_SECOND, heal_event, w);
    sim_at(w->net, 25 * SIM_SECOND, split_event, w);
    sim_at(w->net, 70 * SIM_SECOND, heal_event, w);
    size_t before = heap(), peak = 0;
    uint64_t done_us = UINT64_MAX, last_us = 0;
    unsigned still = 0;
    for (uint64_t i = 1;; i++) {
        bool any = sim_step(w->net);
        if (i % CHECK_EVERY && any)
            continue;
        for (size_t n = 0; n < nodes; n++)
            sim_node_check(&w->nodes[n]);
        still = sim_now(w->net) == last_us ? still + 1 : 0;
        last_us = sim_now(w->net);
        if (still > STILL_MAX)
            sim_fail(w->net, "time stands still");
        size_t held = heap() - before;
        peak = held > peak ? held : peak;
        SIM_CHECK(w->net, held <= w->open_conns * BUSY_MEMORY + nodes * NODE_MEMORY);
        sim_world_progress(w, &wanting, &complete);
        if (complete < wanting || sim_now(w->net) < CHURN_UNTIL + 30 * SIM_SECOND)
            done_us = UINT64_MAX;
        else if (done_us == UINT64_MAX)
            done_us = sim_now(w->net);
        if (done_us != UINT64_MAX && sim_now(w->net) > done_us + 15 * SIM_SECOND)
            break; /* the last streams have ended too */
        if (any && sim_now(w->net) <= LIMIT)
            continue;
        for (size_t n = 0; n < nodes; n++)
            sim_node_print(&w->nodes[n]);
        sim_fail(w->net, "%zu of %zu fetches are complete", complete, wanting);
    }
    for (size_t i = 0; i < nodes; i++)
        for (unsigned j = 0; j < w->nodes[i].n_members; j++) {
            const struct sim_member *m = &w->nodes[i].members[j];
            if (m->want == SIM_NONE)
                continue;
            SIM_CHECK(w->net, w->nodes[i].outsider ? m->blocks == 0 : sim_member_whole(m));
        }
    SIM_CHECK(w->net, heap() - before <= w->open_conns * IDLE_MEMORY + nodes * NODE_MEMORY);
    SIM_CHECK(w->net, nodes < 1000 || (wanting > nodes / 2 && w->refused > 0 && w->cuts > 0));
    printf("%zu fetches, %llu blocks, %llu duplicates, %llu again, %llu restarts; %llu connections "
           "(%zu at once, %llu refused, %llu timed out), %llu events, %zu KiB, %.0f s in %.1f s\n",
           complete, (unsigned long long)w->received, (unsigned long long)w->duplicates,
           (unsigned long long)w->again, (unsigned long long)w->restarts,
           (unsigned long long)w->conns / 2, w->open_max / 2, (unsigned long long)w->refused,
           (unsigned long long)w->timeouts, (unsigned long long)sim_events(w->net), peak >> 10,
           (double)sim_now(w->net) / 1e6, (double)(clock() - began) / CLOCKS_PER_SEC);
    uint64_t sum = sim_events(w->net) * 31 + sim_now(w->net) * 17 + w->duplicates * 7 + w->cuts;
    w->over = true;
    sim_world_free(w);
    return sum;
}

int main(void)
{
    const char *seed = getenv("FABRIC_SIM_SEED"), *nodes_text = getenv("FABRIC_SIM_NODES");
    size_t nodes = nodes_text ? strtoul(nodes_text, NULL, 10) : 1000;
    if (seed) {
        run(strtoull(seed, NULL, 10), nodes);
        return 0;
    }
    run(1, nodes);
    if (run(2, nodes / 8) != run(2, nodes / 8)) {
        fprintf(stderr, "the same seed gave two different runs\n");
        return 1;
    }
    for (uint64_t fixed = 3; fixed <= 5; fixed++)
        run(fixed, nodes / 5);
    run((uint64_t)time(NULL), nodes / 5);
    return 0;
}
