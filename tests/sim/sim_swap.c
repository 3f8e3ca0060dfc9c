/* A thin driver over the exchange cores. Between two nodes of which both speak dagsync a fetch asks
 * by it, else by bitswap. A stream is one of: the asker's and the server's side of dagsync, our
 * wants, and a bitswap message of either direction. */
#include "tests/sim/sim_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT     (256u << 10)
#define ASSIGN_MAX 32u
#define ASSIGN_LOW 3u /* wants left when more are asked for */
#define FILL       (16u << 10)

enum kind { ASK, SERVE, WANTS, MESSAGES, ANSWER };

struct sim_stream {
    enum kind kind;
    struct sim_conn *c;
    struct fab_stream *stream;
    struct fab_buf out;
    size_t at;
    bool fin;
    bool orphan; /* ASK: its fetch is over */
    unsigned number;
    struct fab_dagsync_client *client;
    struct fab_dagsync_server *server;
    struct fab_bitswap_stream reader;
};

static const char *const dagsync_names[] = {FAB_DAGSYNC_PROTOCOL};
static const char *const bitswap_names[] = {FAB_BITSWAP_PROTOCOL};
static const struct fab_stream_events events;

static struct sim_net *net_of(const struct sim_conn *c)
{
    return c->node->world->net;
}

static uint64_t member_now(const struct sim_member *m)
{
    return sim_now(m->node->world->net);
}

/* What m has; and nothing of another workspace can be asked out of it. */
static enum fab_rc member_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct sim_member *m = ctx;
    struct sim_world *w = m->node->world;
    uint32_t i = sim_block_find(w, cid);
    if (i == SIM_NONE || !m->has[i])
        return FAB_ENOENT;
    SIM_CHECK(w->net, w->blocks[i].space == m->space);
    *out = fab_slice(w->blocks[i].data, w->blocks[i].n);
    return FAB_OK;
}

static size_t links_of(const struct sim_member *m, uint32_t block,
                       struct fab_fetch_link links[SIM_LINKS])
{
    const struct sim_world *w = m->node->world;
    const struct sim_block *b = &w->blocks[block];
    for (unsigned i = 0; i < b->n_links; i++) {
        links[i].cid = w->blocks[b->links[i]].cid;
        links[i].held = m->has[b->links[i]];
    }
    return b->n_links;
}

static struct sim_stream *stream_new(struct sim_conn *c, enum kind kind)
{
    struct sim_stream *s = calloc(1, sizeof *s);
    SIM_CHECK(net_of(c), s);
    s->c = c;
    s->kind = kind;
    fab_buf_init(&s->out, 8u << 20);
    fab_bitswap_stream_init(&s->reader);
    return s;
}

static void stream_free(struct sim_stream *s)
{
    fab_dagsync_client_free(s->client);
    fab_dagsync_server_free(s->server);
    fab_bitswap_stream_fini(&s->reader);
    fab_buf_fini(&s->out);
    free(s);
}

static struct sim_stream *stream_open(struct sim_conn *c, enum kind kind)
{
    struct sim_stream *s = stream_new(c, kind);
    bool dagsync = kind == ASK;
    if (!c->ready || c->closing || !c->conn ||
        fab_conn_open(c->conn, dagsync ? dagsync_names : bitswap_names, 1, &events, s,
                      &s->stream) != FAB_OK) {
        stream_free(s);
        return NULL;
    }
    return s;
}

/* ---- blocks that come ---- */

static void prune(void *arg, unsigned number, const struct fab_cid *cid)
{
    struct sim_member *m = arg;
    for (struct sim_conn *c = m->node->conns; c; c = c->next) {
        if (c->member != m || !c->ask || c->ask->number != number)
            continue;
        SIM_CHECK(net_of(c), fab_dagsync_client_prune(c->ask->client, cid, &c->ask->out) == FAB_OK);
        fab_stream_wake(c->ask->stream);
        return;
    }
    sim_fail(m->node->world->net, "pruned at nobody");
}

static void block_came(struct sim_member *m, unsigned number, const struct fab_cid *cid,
                       struct fab_slice data)
{
    struct sim_world *w = m->node->world;
    struct fab_fetch_link links[SIM_LINKS];
    uint32_t i = sim_block_find(w, cid);
    bool accepted;
    SIM_CHECK(w->net, fab_cid_check(cid, data) == FAB_OK);
    SIM_CHECK(w->net, i != SIM_NONE);
    SIM_CHECK(w->net, w->blocks[i].space == m->space);
    SIM_CHECK(w->net, fab_slice_eq(data, fab_slice(w->blocks[i].data, w->blocks[i].n)));
    SIM_CHECK(w->net, fab_fetch_block(m->fetch, number, cid, links, links_of(m, i, links), prune, m,
                                      &accepted) == FAB_OK);
    if (!accepted) {
        SIM_CHECK(w->net, fab_fetch_seen(m->fetch, cid) || m->has[i]); /* nobody cheats here */
        w->duplicates++;
        return;
    }
    if (m->has[i]) {
        w->again++;
        return;
    }
    m->has[i] = 1;
    m->blocks++;
    w->received++;
    fab_bitswap_server_added(m->server, cid);
    fab_bitswap_session_cancel(m->session, cid);
}

/* ---- dagsync ---- */

static void ask_take(struct sim_stream *s)
{
    struct sim_member *m = s->c->member;
    struct fab_dagsync_batch *batch;
    SIM_CHECK(net_of(s->c), fab_dagsync_client_take(s->client, &batch) == FAB_OK);
    if (!batch)
        return;
    for (size_t i = 0; i < batch->count && !s->orphan; i++) {
        const struct fab_dagsync_event *e = &batch->events[i];
        SIM_CHECK(net_of(s->c), e->type != FAB_DAGSYNC_ERROR);
        if (e->type == FAB_DAGSYNC_BLOCK)
            block_came(m, s->number, &e->cid, e->bytes);
        else if (e->type == FAB_DAGSYNC_MISSING)
            fab_fetch_missing(m->fetch, s->number, &e->cid);
    }
    if (!s->orphan && batch->done && fab_dagsync_client_open(s->client) == 0)
        fab_fetch_peer_release(m->fetch, s->number);
    SIM_CHECK(net_of(s->c), fab_dagsync_client_credit(s->client, batch->cost, &s->out) == FAB_OK);
    fab_dagsync_client_recycle(s->client, batch);
    fab_stream_wake(s->stream);
}

static void ask_input(struct sim_stream *s, struct fab_slice in)
{
    while (in.n > 0) {
        size_t used;
        SIM_CHECK(net_of(s->c), fab_dagsync_client_input(s->client, in, &used) == FAB_OK);
        in = fab_slice(in.p + used, in.n - used);
        if (in.n > 0 || fab_dagsync_client_ready(s->client) ||
            (fab_dagsync_client_pending(s->client) &&
             (fab_dagsync_client_credit_left(s->client) < CREDIT / 2 ||
              sim_random(net_of(s->c), 4) == 0)))
            ask_take(s);
    }
    sim_swap_pump(s->c->member);
}

static void ask_assign(struct sim_conn *c)
{
    struct sim_member *m = c->member;
    struct fab_cid cids[ASSIGN_MAX];
    struct fab_dagsync_item items[ASSIGN_MAX];
    size_t taken;
    if (!c->ask) {
        struct sim_stream *s = stream_open(c, ASK);
        if (!s)
            return;
        SIM_CHECK(net_of(c), fab_dagsync_client_new(&s->client) == FAB_OK);
        SIM_CHECK(net_of(c), fab_dagsync_client_credit(s->client, CREDIT, &s->out) == FAB_OK);
        SIM_CHECK(net_of(c), fab_fetch_peer_add(m->fetch, true, &s->number) == FAB_OK);
        c->ask = s;
    }
    if (fab_fetch_peer_asked(m->fetch, c->ask->number) > ASSIGN_LOW ||
        fab_dagsync_client_open(c->ask->client) > 4 * ASSIGN_MAX)
        return;
    size_t n = fab_fetch_assign(m->fetch, c->ask->number, cids, ASSIGN_MAX, prune, m);
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        items[i] = (struct fab_dagsync_item){.cid = cids[i], .scope = FAB_DAGSYNC_ALL};
    SIM_CHECK(net_of(c),
              fab_dagsync_client_ask(c->ask->client, items, n, &c->ask->out, &taken) == FAB_OK);
    SIM_CHECK(net_of(c), taken == n);
    fab_stream_wake(c->ask->stream);
}

static void serve_fill(struct sim_stream *s)
{
    struct fab_block_source source = {s->c->member, member_get};
    fab_buf_reset(&s->out);
    s->at = 0;
    SIM_CHECK(net_of(s->c), fab_dagsync_server_apply(s->server) == FAB_OK);
    while (s->out.len == 0 && fab_dagsync_server_state(s->server) == FAB_DAGSYNC_WORK) {
        SIM_CHECK(net_of(s->c),
                  fab_dagsync_server_fill(s->server, &source, &s->out, FILL) == FAB_OK);
        SIM_CHECK(net_of(s->c), fab_dagsync_server_apply(s->server) == FAB_OK);
    }
    SIM_CHECK(net_of(s->c), s->out.len <= FILL + FAB_DAGSYNC_FRAME_MAX);
    SIM_CHECK(net_of(s->c), fab_dagsync_server_memory(s->server) <= FAB_DAGSYNC_SERVER_MEMORY);
    s->fin = s->out.len == 0 && fab_dagsync_server_state(s->server) == FAB_DAGSYNC_FINISHED;
}

/* ---- bitswap ---- */

struct candidate {
    struct fab_bitswap_prefix prefix;
    struct fab_slice data;
};

struct candidates {
    struct candidate *all;
    size_t count, cap;
};

static void on_candidate(void *arg, struct fab_bitswap_client_peer *peer,
                         const struct fab_bitswap_prefix *prefix, struct fab_slice data)
{
    struct sim_member *m = arg;
    struct candidates *list = m->candidates;
    (void)peer;
    if (list->count == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 16;
        list->all = realloc(list->all, list->cap * sizeof *list->all);
        SIM_CHECK(m->node->world->net, list->all);
    }
    list->all[list->count++] = (struct candidate){*prefix, data};
}

static void on_got(void *arg, void *session_user, const struct fab_cid *cid)
{
    (void)arg;
    (void)session_user;
    (void)cid;
}

static void message_came(struct sim_conn *c, struct fab_slice message)
{
    struct sim_member *m = c->member;
    struct candidates list = {0};
    if (!c->server_peer)
        return;
    SIM_CHECK(net_of(c), fab_bitswap_server_message(m->server, c->server_peer, message) == FAB_OK);
    m->candidates = &list;
    SIM_CHECK(net_of(c), fab_bitswap_client_message(m->client, c->client_peer, message,
                                                    member_now(m)) == FAB_OK);
    for (size_t i = 0; i < list.count; i++) {
        struct fab_cid cid;
        SIM_CHECK(net_of(c),
                  fab_bitswap_prefix_cid(&list.all[i].prefix, list.all[i].data, &cid) == FAB_OK);
        if (fab_bitswap_client_block(m->client, c->client_peer, &cid, list.all[i].data.n,
                                     member_now(m)))
            block_came(m, m->bitswap, &cid, list.all[i].data);
        else
            c->node->world->duplicates++;
    }
    free(list.all);
    SIM_CHECK(net_of(c), !fab_bitswap_client_peer_bad(c->client_peer));
}

static void answer_give_up(struct sim_stream *s)
{
    if (s->c->server_peer && s->at < s->out.len)
        fab_bitswap_server_sent(s->c->member->server, s->c->server_peer, s->out.len - s->at);
}

static void bitswap_serve(struct sim_member *m)
{
    struct sim_net *net = m->node->world->net;
    struct fab_block_source source = {m, member_get};
    struct fab_bitswap_server_peer *peer;
    while ((peer = fab_bitswap_server_next_peer(m->server))) {
        struct sim_conn *c = fab_bitswap_server_peer_user(peer);
        struct fab_bitswap_job *job;
        SIM_CHECK(net, fab_bitswap_server_take(m->server, peer, &job) == FAB_OK);
        SIM_CHECK(net, fab_bitswap_job_run(job, &source) == FAB_OK);
        fab_bitswap_job_done(m->server, job);
        struct fab_slice bytes = fab_bitswap_job_bytes(job);
        struct sim_stream *s = bytes.n ? stream_open(c, ANSWER) : NULL;
        if (s) {
            SIM_CHECK(net, fab_buf_append(&s->out, bytes.p, bytes.n) == FAB_OK);
            s->fin = true;
            fab_stream_wake(s->stream);
        } else if (bytes.n) {
            fab_bitswap_server_sent(m->server, peer, bytes.n);
        }
        fab_bitswap_job_free(job);
    }
}

static void bitswap_ask(struct sim_member *m)
{
    struct sim_net *net = m->node->world->net;
    struct fab_bitswap_client_peer *peer;
    while ((peer = fab_bitswap_client_next_output(m->client, member_now(m)))) {
        struct sim_conn *c = fab_bitswap_client_peer_user(peer);
        struct fab_buf out;
        fab_buf_init(&out, 1u << 20);
        SIM_CHECK(net, fab_bitswap_client_output(m->client, peer, &out) == FAB_OK);
        if (!c->wants)
            c->wants = stream_open(c, WANTS);
        if (c->wants) {
            SIM_CHECK(net, fab_buf_append(&c->wants->out, out.data, out.len) == FAB_OK);
            fab_stream_wake(c->wants->stream);
        }
        fab_buf_fini(&out);
    }
}

static void timer_event(void *arg)
{
    struct sim_member *m = arg;
    if (!m->timer_us || m->timer_us > member_now(m))
        return;
    m->timer_us = 0;
    if (!m->client)
        return;
    fab_bitswap_client_tick(m->client, member_now(m));
    sim_swap_pump(m);
}

static void bitswap_rearm(struct sim_member *m)
{
    uint64_t deadline = fab_bitswap_client_deadline(m->client);
    if (deadline == UINT64_MAX || (m->timer_us && m->timer_us <= deadline))
        return;
    m->timer_us = deadline > member_now(m) ? deadline : member_now(m) + 1;
    sim_at(m->node->world->net, m->timer_us, timer_event, m);
}

static void bitswap_assign(struct sim_member *m)
{
    struct fab_cid cids[ASSIGN_MAX];
    struct fab_bitswap_client_stats stats;
    fab_bitswap_client_stats(m->client, &stats);
    if (!m->with_bitswap && stats.peers > 0) {
        SIM_CHECK(m->node->world->net, fab_fetch_peer_add(m->fetch, false, &m->bitswap) == FAB_OK);
        m->with_bitswap = true;
    }
    if (!m->with_bitswap)
        return;
    size_t n = fab_fetch_assign(m->fetch, m->bitswap, cids, ASSIGN_MAX, NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        enum fab_rc rc = fab_bitswap_session_want(m->session, &cids[i]);
        SIM_CHECK(m->node->world->net, rc == FAB_OK || rc == FAB_EEXIST);
    }
}

static void missing_at_bitswap(void *arg, const struct fab_cid *cid)
{
    struct sim_member *m = arg;
    fab_fetch_missing(m->fetch, m->bitswap, cid);
}

/* ---- the fetch ---- */

static void fetch_begin(struct sim_member *m)
{
    struct sim_world *w = m->node->world;
    uint8_t key[FAB_FETCH_KEY] = {(uint8_t)sim_random(w->net, 256)};
    SIM_CHECK(w->net, fab_fetch_new(NULL, key, &w->blocks[m->want].cid, &m->fetch) == FAB_OK);
    SIM_CHECK(w->net, fab_bitswap_session_new(m->client, m, &m->session) == FAB_OK);
    m->with_bitswap = false;
}

static void fetch_end(struct sim_member *m)
{
    for (struct sim_conn *c = m->node->conns; c; c = c->next) {
        if (c->member != m || !c->ask)
            continue;
        c->ask->orphan = c->ask->fin = true;
        fab_stream_wake(c->ask->stream);
        c->ask = NULL;
    }
    fab_bitswap_session_free(m->session);
    fab_fetch_free(m->fetch);
    m->session = NULL;
    m->fetch = NULL;
}

static void fetch_look(struct sim_member *m)
{
    struct sim_world *w = m->node->world;
    struct fab_cid cid;
    struct fab_fetch_link links[SIM_LINKS];
    while (fab_fetch_take_look(m->fetch, &cid, 1) == 1) {
        uint32_t i = sim_block_find(w, &cid);
        SIM_CHECK(w->net, i != SIM_NONE);
        if (m->has[i])
            SIM_CHECK(w->net,
                      fab_fetch_found(m->fetch, &cid, links, links_of(m, i, links)) == FAB_OK);
        else
            fab_fetch_absent(m->fetch, &cid);
    }
}

static void pump_event(void *arg)
{
    struct sim_member *m = arg;
    m->pump_waits = false;
    if (!m->node->up)
        return;
    if (m->fetch) {
        fetch_look(m);
        for (struct sim_conn *c = m->node->conns; c; c = c->next)
            if (c->member == m && c->ready && !c->closing && c->both_dagsync)
                ask_assign(c);
        bitswap_assign(m);
        if (fab_fetch_done(m->fetch)) {
            SIM_CHECK(m->node->world->net, sim_member_whole(m));
            m->complete = true;
            fetch_end(m);
        }
    }
    bitswap_ask(m);
    if (m->fetch && m->with_bitswap)
        fab_bitswap_session_list_missing(m->session, missing_at_bitswap, m);
    bitswap_serve(m);
    bitswap_rearm(m);
}

void sim_swap_pump(struct sim_member *m)
{
    if (m->pump_waits)
        return;
    m->pump_waits = true;
    sim_at(m->node->world->net, 0, pump_event, m);
}

void sim_swap_tick(struct sim_member *m)
{
    if (m->fetch && fab_fetch_stuck(m->fetch)) { /* somebody may have got it meanwhile */
        for (struct sim_conn *c = m->node->conns; c; c = c->next)
            if (c->member == m && c->ask)
                fab_stream_reset(c->ask->stream, FAB_STREAM_CANCELLED);
        if (m->with_bitswap)
            fab_fetch_peer_remove(m->fetch, m->bitswap);
        m->with_bitswap = false;
        m->node->world->restarts++;
    }
    sim_swap_pump(m);
}

void sim_swap_open(struct sim_member *m)
{
    struct sim_net *net = m->node->world->net;
    uint8_t key[16] = {(uint8_t)sim_random(net, 256), 1};
    struct fab_bitswap_client_events client_events = {m, on_candidate, on_got};
    SIM_CHECK(net, fab_bitswap_server_new(NULL, key, &m->server) == FAB_OK);
    SIM_CHECK(net, fab_bitswap_client_new(NULL, &client_events, key, &m->client) == FAB_OK);
    m->timer_us = 0;
    if (m->want != SIM_NONE && !m->complete)
        fetch_begin(m);
}

void sim_swap_close(struct sim_member *m)
{
    if (m->fetch)
        fetch_end(m);
    fab_bitswap_client_free(m->client);
    fab_bitswap_server_free(m->server);
    m->client = NULL;
    m->server = NULL;
}

/* ---- streams ---- */

static void on_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct sim_stream *s = user;
    struct sim_conn *c = s->c;
    struct fab_slice in = fab_slice(p, n), message;
    bool whole;
    SIM_CHECK(net_of(c), c->ready && c->admitted && c->member);
    SIM_CHECK(net_of(c), c->node->outsider || !c->node->world->nodes[c->remote].outsider);
    switch (s->kind) {
    case ASK:
        ask_input(s, in);
        break;
    case SERVE:
        SIM_CHECK(net_of(c), fab_dagsync_server_input(s->server, in) == FAB_OK);
        fab_stream_wake(stream);
        break;
    default:
        while (in.n > 0) {
            SIM_CHECK(net_of(c),
                      fab_bitswap_stream_read(&s->reader, &in, &whole, &message) == FAB_OK);
            if (whole)
                message_came(c, message);
            else if (c->client_peer)
                fab_bitswap_client_progress(c->member->client, c->client_peer,
                                            member_now(c->member));
        }
        sim_swap_pump(c->member);
    }
    fab_stream_consumed(stream, n);
}

static void on_end(void *user, struct fab_stream *stream)
{
    struct sim_stream *s = user;
    if (s->kind == ASK && !s->orphan)
        sim_fail(net_of(s->c), "the server ended a stream that is wanted");
    if (s->kind == SERVE)
        SIM_CHECK(net_of(s->c), fab_dagsync_server_input_end(s->server) == FAB_OK);
    else
        s->fin = true;
    fab_stream_wake(stream);
}

static size_t on_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    struct sim_stream *s = user;
    (void)stream;
    SIM_CHECK(net_of(s->c), s->c->ready && s->c->admitted);
    if (s->kind == SERVE && s->at == s->out.len)
        serve_fill(s);
    size_t n = s->out.len - s->at < cap ? s->out.len - s->at : cap;
    if (n > 0)
        memcpy(p, s->out.data + s->at, n);
    s->at += n;
    if (s->kind == ANSWER && n > 0 && s->c->server_peer) {
        fab_bitswap_server_sent(s->c->member->server, s->c->server_peer, n);
        sim_swap_pump(s->c->member);
    }
    if (s->at == s->out.len) {
        *fin = s->fin;
        fab_buf_reset(&s->out);
        s->at = 0;
    }
    return n;
}

static void on_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct sim_stream *s = user;
    struct sim_conn *c = s->c;
    (void)stream;
    SIM_CHECK(net_of(c), why == FAB_OK || why == FAB_EINTERRUPTED);
    if (s->kind == ASK && !s->orphan) {
        fab_fetch_peer_remove(c->member->fetch, s->number);
        c->ask = NULL;
    }
    if (s->kind == WANTS) {
        c->wants = NULL;
        if (c->client_peer)
            fab_bitswap_client_peer_lost(c->member->client, c->client_peer);
    }
    if (s->kind == ANSWER)
        answer_give_up(s);
    sim_swap_pump(c->member);
    stream_free(s);
}

static const struct fab_stream_events events = {on_input, on_end, on_output, on_closed};

static enum fab_rc accept_dagsync(void *ctx, struct fab_stream *stream, void **user)
{
    struct sim_conn *c = fab_conn_ctx(fab_stream_conn(stream));
    uint8_t key[FAB_DAGSYNC_KEY] = {(uint8_t)sim_random(net_of(c), 256)};
    struct sim_stream *s = stream_new(c, SERVE);
    (void)ctx;
    SIM_CHECK(net_of(c), fab_dagsync_server_new(key, &s->server) == FAB_OK);
    s->stream = stream;
    *user = s;
    return FAB_OK;
}

static enum fab_rc accept_bitswap(void *ctx, struct fab_stream *stream, void **user)
{
    struct sim_stream *s = stream_new(fab_conn_ctx(fab_stream_conn(stream)), MESSAGES);
    (void)ctx;
    s->stream = stream;
    *user = s;
    return FAB_OK;
}

const struct fab_protocol *sim_protocol(const struct sim_conn *c, struct fab_slice name)
{
    static const struct fab_protocol dagsync = {FAB_DAGSYNC_PROTOCOL, NULL, &events,
                                                accept_dagsync};
    static const struct fab_protocol bitswap = {FAB_BITSWAP_PROTOCOL, NULL, &events,
                                                accept_bitswap};
    if (fab_slice_eq(name, fab_slice(dagsync.name, strlen(dagsync.name))))
        return c->node->dagsync ? &dagsync : NULL;
    return fab_slice_eq(name, fab_slice(bitswap.name, strlen(bitswap.name))) ? &bitswap : NULL;
}

void sim_swap_ready(struct sim_conn *c)
{
    struct sim_member *m = c->member;
    c->both_dagsync = c->node->dagsync && c->node->world->nodes[c->remote].dagsync;
    if (!c->both_dagsync) {
        SIM_CHECK(net_of(c), fab_bitswap_server_peer_add(m->server, c, &c->server_peer) == FAB_OK);
        if (fab_bitswap_client_peer_add(m->client, c, member_now(m), &c->client_peer) != FAB_OK) {
            fab_bitswap_server_peer_remove(m->server, c->server_peer);
            c->server_peer = NULL;
        }
    }
    sim_swap_pump(m);
}

void sim_swap_gone(struct sim_conn *c)
{
    struct sim_member *m = c->member;
    SIM_CHECK(net_of(c), !c->ask && !c->wants); /* each stream was closed */
    if (c->server_peer)
        fab_bitswap_server_peer_remove(m->server, c->server_peer);
    if (c->client_peer)
        fab_bitswap_client_peer_remove(m->client, c->client_peer);
    c->server_peer = NULL;
    c->client_peer = NULL;
    sim_swap_pump(m);
}

void sim_swap_check(const struct sim_conn *c)
{
    if (c->ask)
        SIM_CHECK(net_of(c), c->ask->out.len <= 64u << 10);
    if (c->wants)
        SIM_CHECK(net_of(c), c->wants->out.len <= 1u << 20);
}

void sim_swap_print(const struct sim_conn *c)
{
    fprintf(stderr, " %s%zu", c->side ? "<" : ">", c->remote);
    if (!c->ready)
        fprintf(stderr, " (not ready)");
    else if (!c->both_dagsync)
        fprintf(stderr, " bitswap");
    else if (c->ask)
        fprintf(stderr, " (asked %zu, items %llu of %llu, credit %llu, unsent %zu)",
                fab_fetch_peer_asked(c->member->fetch, c->ask->number),
                (unsigned long long)fab_dagsync_client_open(c->ask->client),
                (unsigned long long)fab_dagsync_client_asked(c->ask->client),
                (unsigned long long)fab_dagsync_client_credit_left(c->ask->client),
                c->ask->out.len - c->ask->at);
}
