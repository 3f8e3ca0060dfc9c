#include "tests/sim/sim_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_US (2 * SIM_SECOND)

/* ---- the connection's bytes and time ---- */

static void conn_unref(struct sim_conn *c)
{
    if (--c->pending == 0 && !c->conn)
        free(c);
}

static void conn_event(struct sim_conn *c, uint64_t when, void (*fn)(void *arg))
{
    c->pending++;
    sim_at(c->node->world->net, when, fn, c);
}

/* Not from inside an event of the connection. */
static void conn_destroy(struct sim_conn *c, bool silently)
{
    struct sim_node *node = c->node;
    if (!c->conn)
        return;
    if (c->link)
        sim_link_leave(c->link, c->side, silently);
    c->link = NULL;
    c->closing = true;
    c->pending++;
    fab_conn_free(c->conn);
    c->conn = NULL;
    if (c->ready)
        sim_swap_gone(c);
    *(c->prev ? &c->prev->next : &node->conns) = c->next;
    if (c->next)
        c->next->prev = c->prev;
    if (c->member && c->target < SIM_TARGETS)
        c->member->dial_us[c->target] =
            sim_now(node->world->net) + SIM_SECOND + sim_random(node->world->net, 4 * SIM_SECOND);
    node->world->open_conns--;
    conn_unref(c);
}

static void close_event(void *arg)
{
    struct sim_conn *c = arg;
    conn_destroy(c, false);
    conn_unref(c);
}

static void conn_close(struct sim_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    conn_event(c, 0, close_event);
}

static void conn_failed(struct sim_conn *c, enum fab_rc rc)
{
    struct sim_world *w = c->node->world;
    /* Nobody here breaks the rules but outsiders, and those only the first one. */
    if (rc == FAB_EACCES)
        w->refused++;
    else if (rc == FAB_ETIMEOUT)
        w->timeouts++;
    else if (rc != FAB_EINTERRUPTED)
        sim_fail(w->net, "node %zu: connection ended with %s", c->node->index, fab_rc_text(rc));
    if (c->remote != SIZE_MAX && rc == FAB_EACCES)
        SIM_CHECK(w->net, c->node->outsider || w->nodes[c->remote].outsider);
    conn_close(c);
}

static void timer_event(void *arg);

static void conn_rearm(struct sim_conn *c)
{
    uint64_t deadline = fab_conn_deadline(c->conn);
    if (deadline == UINT64_MAX || (c->timer_us && c->timer_us <= deadline))
        return;
    c->timer_us = deadline;
    conn_event(c, deadline, timer_event);
}

static void timer_event(void *arg)
{
    struct sim_conn *c = arg;
    uint64_t now = sim_now(c->node->world->net);
    if (c->conn && !c->closing && c->timer_us && c->timer_us <= now) {
        c->timer_us = 0;
        enum fab_rc rc = fab_conn_tick(c->conn, now);
        if (rc != FAB_OK)
            conn_failed(c, rc);
        else
            conn_rearm(c);
    }
    conn_unref(c);
}

static void pump_event(void *arg)
{
    struct sim_conn *c = arg;
    struct sim_net *net = c->node->world->net;
    uint8_t bytes[32 << 10];
    c->pump_waits = false;
    while (c->conn && c->link) {
        size_t room = sim_link_room(c->link, c->side);
        if (room < 4096)
            break; /* writable comes */
        size_t n = fab_conn_output(c->conn, bytes, room < sizeof bytes ? room : sizeof bytes,
                                   sim_now(net));
        if (n == 0)
            break;
        sim_link_send(c->link, c->side, bytes, n);
    }
    if (c->conn && !c->closing)
        conn_rearm(c);
    conn_unref(c);
}

static void on_wake(void *ctx)
{
    struct sim_conn *c = ctx;
    if (c->pump_waits || !c->link)
        return;
    c->pump_waits = true;
    conn_event(c, 0, pump_event);
}

static void side_input(void *arg, uint8_t *p, size_t n)
{
    struct sim_conn *c = arg;
    if (c->closing)
        return;
    /* TCP cuts where it likes. */
    for (size_t at = 0; at < n && !c->closing;) {
        size_t k = sim_random(c->node->world->net, 4) ? n - at
                                                      : 1 + sim_random(c->node->world->net, n - at);
        enum fab_rc rc = fab_conn_input(c->conn, p + at, k, sim_now(c->node->world->net));
        if (rc != FAB_OK)
            conn_failed(c, rc);
        at += k;
    }
    if (!c->closing)
        conn_rearm(c);
}

static void side_cut(void *arg)
{
    struct sim_conn *c = arg;
    c->node->world->cuts++;
    conn_close(c);
}

/* ---- its events ---- */

static size_t on_keys(void *ctx, const uint8_t *const **keys, uint64_t *version)
{
    struct sim_conn *c = ctx;
    *keys = c->node->keys;
    *version = 1;
    return c->node->n_members;
}

static enum fab_rc on_keyed(void *ctx, size_t index)
{
    struct sim_conn *c = ctx;
    c->member = &c->node->members[index];
    return FAB_OK;
}

static enum fab_rc on_secured(void *ctx, const struct fab_peer_id *peer, struct fab_slice key)
{
    struct sim_conn *c = ctx;
    struct sim_world *w = c->node->world;
    (void)key;
    for (size_t i = 0; i < w->n_nodes && c->remote == SIZE_MAX; i++)
        if (fab_peer_id_eq(peer, fab_key_peer_id(w->nodes[i].identity)))
            c->remote = i;
    SIM_CHECK(w->net, c->remote != SIZE_MAX && c->remote != c->node->index);
    if (!w->spaces[c->member->space].admitted[c->remote] && !c->node->outsider)
        return FAB_EACCES;
    c->admitted = true;
    return FAB_OK;
}

static void on_ready(void *ctx)
{
    struct sim_conn *c = ctx;
    SIM_CHECK(c->node->world->net, c->admitted && !c->ready && c->member);
    c->ready = true;
    c->node->world->readies++;
    sim_swap_ready(c);
}

static const struct fab_protocol *on_protocol(void *ctx, struct fab_slice name)
{
    struct sim_conn *c = ctx;
    SIM_CHECK(c->node->world->net, c->ready);
    return sim_protocol(c, name);
}

static const struct fab_conn_events conn_events = {on_keys,  on_keyed,    on_secured,
                                                   on_ready, on_protocol, on_wake};

/* ---- nodes ---- */

static struct sim_conn *conn_new(struct sim_node *node, struct sim_member *m, size_t target)
{
    struct sim_world *w = node->world;
    struct sim_conn *c = calloc(1, sizeof *c);
    SIM_CHECK(w->net, c);
    c->node = node;
    c->member = m;
    c->remote = SIZE_MAX;
    c->target = target;
    c->side = m ? 0 : 1;
    struct fab_conn_config config = {
        .dialer = m != NULL,
        .identity = node->identity,
        .key = m ? m->key : NULL,
        .expect = m ? fab_key_peer_id(w->nodes[m->targets[target]].identity) : NULL,
        .budget = &node->windows,
        .events = &conn_events,
        .ctx = c};
    for (size_t i = 0; i < sizeof config.random; i++)
        config.random[i] = (uint8_t)sim_random(w->net, 256);
    c->next = node->conns;
    if (c->next)
        c->next->prev = c;
    node->conns = c;
    SIM_CHECK(w->net, fab_conn_new(&config, sim_now(w->net), &c->conn) == FAB_OK);
    w->conns++;
    if (++w->open_conns > w->open_max)
        w->open_max = w->open_conns;
    return c;
}

static void dial(struct sim_member *m, size_t target)
{
    struct sim_node *node = m->node;
    struct sim_world *w = node->world;
    struct sim_node *remote = &w->nodes[m->targets[target]];
    m->dial_us[target] = sim_now(w->net) + SIM_SECOND + sim_random(w->net, 5 * SIM_SECOND);
    if (remote == node || !remote->up || !sim_reaches(w->net, node->index, remote->index))
        return;
    m->dial_us[target] = UINT64_MAX; /* until it is gone */
    struct sim_conn *a = conn_new(node, m, target), *b = conn_new(remote, NULL, SIM_TARGETS);
    struct sim_side at_a = {a, side_input, on_wake, side_cut};
    struct sim_side at_b = {b, side_input, on_wake, side_cut};
    a->link = b->link = sim_link_new(w->net, node->index, remote->index, &at_a, &at_b);
    on_wake(a);
    on_wake(b);
    conn_rearm(a);
    conn_rearm(b);
}

static void tick_event(void *arg)
{
    struct sim_node *node = arg;
    struct sim_world *w = node->world;
    node->ticks = node->up;
    if (!node->up)
        return;
    for (unsigned j = 0; j < node->n_members; j++) {
        struct sim_member *m = &node->members[j];
        for (size_t t = 0; t < SIM_TARGETS; t++)
            if (m->dial_us[t] <= sim_now(w->net) && m->want != SIM_NONE && !m->complete)
                dial(m, t);
        sim_swap_tick(m);
    }
    sim_at(w->net, sim_now(w->net) + TICK_US, tick_event, node);
}

void sim_node_up(struct sim_node *node)
{
    struct sim_world *w = node->world;
    if (node->up)
        return;
    node->up = true;
    for (unsigned j = 0; j < node->n_members; j++) {
        memset(node->members[j].dial_us, 0, sizeof node->members[j].dial_us);
        sim_swap_open(&node->members[j]);
    }
    if (!node->ticks)
        sim_at(w->net, sim_now(w->net) + sim_random(w->net, TICK_US), tick_event, node);
    node->ticks = true;
}

void sim_node_down(struct sim_node *node, bool silently)
{
    if (!node->up)
        return;
    node->up = false;
    while (node->conns)
        conn_destroy(node->conns, silently);
    for (unsigned j = 0; j < node->n_members; j++)
        sim_swap_close(&node->members[j]);
    SIM_CHECK(node->world->net, node->windows.used == 0);
}

void sim_node_check(const struct sim_node *node)
{
    const struct sim_world *w = node->world;
    SIM_CHECK(w->net, node->windows.used <= node->windows.max);
    for (const struct sim_conn *c = node->conns; c; c = c->next) {
        SIM_CHECK(w->net, fab_conn_streams(c->conn) <= 300);
        SIM_CHECK(w->net, c->ready || fab_conn_streams(c->conn) == 0);
        if (c->ready) {
            SIM_CHECK(w->net, !w->nodes[c->remote].outsider || node->outsider);
            sim_swap_check(c);
        }
    }
    for (unsigned j = 0; j < node->n_members; j++)
        for (uint32_t i = 0; i < w->n_blocks; i++)
            SIM_CHECK(w->net,
                      !node->members[j].has[i] || w->blocks[i].space == node->members[j].space);
}

void sim_node_print(const struct sim_node *node)
{
    for (unsigned j = 0; j < node->n_members; j++) {
        const struct sim_member *m = &node->members[j];
        struct fab_fetch_state s;
        if (m->want == SIM_NONE || m->complete || !m->fetch || node->outsider)
            continue;
        fab_fetch_state(m->fetch, &s);
        fprintf(stderr,
                "node %zu, workspace %u, root %u%s: look %zu wanted %zu asked %zu nobody %zu, "
                "received %llu;",
                node->index, m->space, (unsigned)(node->index / SIM_SPACES % SIM_ROOTS),
                node->dagsync ? ", dagsync" : "", s.look, s.wanted, s.asked, s.nobody,
                (unsigned long long)s.received);
        for (const struct sim_conn *c = node->conns; c; c = c->next)
            if (c->member == m)
                sim_swap_print(c);
        fprintf(stderr, "\n");
    }
}
