/* Bitswap on the streams of a workspace's links, for Kubo and Helia.
 *
 * Inbound streams carry messages, which go to the server (their wants) and to the client (their
 * blocks). Each peer has one outbound stream for our wants, opened when there are any and again
 * when it was lost. A response of the server is one message on a stream of its own, as boxo does
 * it. The server's reading and the hashing of received blocks run in the pool. */
#include "fabric/exchange/bitswap_server.h"
#include "fabric/node/fetch_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX      8u
#define RETRY_US      (1000u * 1000u)
#define GREET_US      (10u * 1000000u)
#define WANTS_OUT_MAX (1u << 20)
#define COLLECTED_MAX (14u << 20)       /* bytes of unfinished messages of one connection */
#define MESSAGE_US    (120u * 1000000u) /* from a message's first byte to its last */
#define ANSWER_MIN_US (10u * 1000000u)  /* for an answer to be taken, whatever its size */
#define ANSWER_US     (2u * 1000000u)   /* and beyond that */
#define ANSWER_RATE   12500u            /* bytes per second that a slow peer must take */

struct node_bitswap {
    struct node_workspace *ws;
    struct fab_bitswap_server *server;
    struct fab_bitswap_client *client;
    struct bitswap_peer *peers;
    unsigned jobs;
    struct fab_defer kick;
    uint64_t store_version, retried_us; /* when remembered wants were looked up last */
    struct block_batch *current;        /* the block that `got` is about */
    size_t current_i;
};

struct bitswap_peer {
    struct node_bitswap *bitswap;
    struct bitswap_peer *next;
    struct node_peer *peer; /* NULL: gone, only batches are waited for */
    struct fab_bitswap_server_peer *server;
    struct fab_bitswap_client_peer *client;
    struct fab_stream *wants; /* our want stream */
    struct outbuf out;
    unsigned batches;
    bool greet; /* we reset a stream of it, and it said nothing since */
    uint64_t greeted_us;
};

struct inbound {
    struct node_link *link;
    struct fab_stream *stream;
    struct fab_bitswap_stream reader;
    struct fab_timer timer; /* while a message is unfinished */
    size_t collected;       /* its bytes */
};

struct serving {
    struct fab_work work;
    struct node_bitswap *bitswap;
    struct fab_store *store;
    uint32_t ws;
    struct fab_bitswap_job *job;
    struct node_link *link;
    struct fab_stream *stream;
    struct fab_timer timer;
    size_t sent, reported;
};

/* ---- serving ---- */

/* Tell the server what has gone, or will not go. */
static void report_sent(struct serving *serving, size_t upto)
{
    struct fab_bitswap_server_peer *peer = fab_bitswap_job_peer(serving->job);
    if (peer && upto > serving->reported)
        fab_bitswap_server_sent(serving->bitswap->server, peer, upto - serving->reported);
    serving->reported = upto;
}

static void job_end(struct serving *serving)
{
    if (!serving->job)
        return;
    report_sent(serving, fab_bitswap_job_bytes(serving->job).n);
    fab_bitswap_job_free(serving->job);
    serving->job = NULL;
}

static void serving_free(struct serving *serving)
{
    job_end(serving);
    free(serving);
}

static void answer_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    (void)user;
    (void)p;
    fab_stream_consumed(stream, n);
}

static size_t answer_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap,
                            bool *fin)
{
    struct serving *serving = user;
    (void)stream;
    if (!serving->job)
        return 0;
    struct fab_slice bytes = fab_bitswap_job_bytes(serving->job);
    size_t n = bytes.n - serving->sent < cap ? bytes.n - serving->sent : cap;
    memcpy(p, bytes.p + serving->sent, n);
    serving->sent += n;
    if (serving->link->peer)
        serving->link->peer->sent += n;
    *fin = serving->sent == bytes.n;
    report_sent(serving, serving->sent);
    if (*fin) /* the peer may take its time to end its half */
        job_end(serving);
    fab_loop_defer(serving->link->node->loop, &serving->bitswap->kick);
    return n;
}

static void answer_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct serving *serving = user;
    struct node_bitswap *bitswap = serving->bitswap;
    (void)stream;
    (void)why;
    fab_timer_stop(&serving->timer);
    serving_free(serving);
    fab_loop_defer(bitswap->ws->node->loop, &bitswap->kick);
}

static const struct fab_stream_events answer_events = {
    .input = answer_input, .output = answer_output, .closed = answer_closed};

/* Whoever does not read what it asked for holds room that others wait for. */
static void answer_late(void *arg)
{
    fab_stream_reset(((struct serving *)arg)->stream, FAB_STREAM_CANCELLED);
}

static void answer_started(struct serving *serving, size_t n)
{
    struct fab_node *node = serving->link->node;
    uint64_t limit = ANSWER_US + (uint64_t)n * 1000000u / ANSWER_RATE;
    fab_timer_init(&serving->timer, node->loop, answer_late, serving);
    fab_timer_start(&serving->timer,
                    fab_loop_now_us() + (limit > ANSWER_MIN_US ? limit : ANSWER_MIN_US));
}

static const char *const bitswap_names[] = {FAB_BITSWAP_PROTOCOL};

static void serving_run(struct fab_work *work)
{
    struct serving *serving = (struct serving *)((char *)work - offsetof(struct serving, work));
    struct fab_view *view;
    if (fab_view_open(serving->store, serving->ws, &view, NULL) != FAB_OK)
        return;
    struct fab_block_source source = fab_view_source(view);
    enum fab_rc rc = fab_bitswap_job_run(serving->job, &source);
    (void)rc; /* what was not answered is asked for again by a later job */
    fab_view_close(view);
}

static void serving_done(struct fab_work *work)
{
    struct serving *serving = (struct serving *)((char *)work - offsetof(struct serving, work));
    struct node_bitswap *bitswap = serving->bitswap;
    bitswap->jobs--;
    fab_bitswap_job_done(bitswap->server, serving->job);
    struct fab_bitswap_server_peer *to = fab_bitswap_job_peer(serving->job);
    struct bitswap_peer *peer = to ? fab_bitswap_server_peer_user(to) : NULL;
    struct fab_conn *conn = peer && peer->peer ? peer_conn(peer->peer) : NULL;
    size_t n = fab_bitswap_job_bytes(serving->job).n;
    if (conn)
        serving->link = fab_conn_ctx(conn);
    if (n == 0 || !conn ||
        fab_conn_open(conn, bitswap_names, 1, &answer_events, serving, &serving->stream) != FAB_OK)
        serving_free(serving);
    else
        answer_started(serving, n);
    fab_loop_defer(bitswap->ws->node->loop, &bitswap->kick);
}

static void serve(struct node_bitswap *bitswap)
{
    struct fab_node *node = bitswap->ws->node;
    while (bitswap->jobs < JOBS_MAX) {
        struct fab_bitswap_server_peer *peer = fab_bitswap_server_next_peer(bitswap->server);
        struct serving *serving = peer ? calloc(1, sizeof *serving) : NULL;
        if (!serving)
            return;
        if (fab_bitswap_server_take(bitswap->server, peer, &serving->job) != FAB_OK) {
            free(serving);
            return;
        }
        serving->bitswap = bitswap;
        serving->store = node->store;
        serving->ws = bitswap->ws->id;
        serving->work.run = serving_run;
        serving->work.done = serving_done;
        bitswap->jobs++;
        fab_work_start(&serving->work, node->loop, node->pool);
    }
}

/* ---- our wants ---- */

static size_t wants_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    struct bitswap_peer *peer = user;
    (void)stream;
    size_t n = outbuf_pull(&peer->out, p, cap, fin);
    if (peer->out.buf.len == 0)
        fab_loop_defer(peer->bitswap->ws->node->loop, &peer->bitswap->kick);
    return n;
}

static void bitswap_peer_free_if_gone(struct bitswap_peer *peer)
{
    if (peer->peer || peer->wants || peer->batches > 0)
        return;
    struct bitswap_peer **at = &peer->bitswap->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    free(peer);
}

static void wants_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct bitswap_peer *peer = user;
    (void)stream;
    (void)why;
    peer->wants = NULL;
    fab_buf_fini(&peer->out.buf);
    if (peer->client)
        fab_bitswap_client_peer_lost(peer->bitswap->client, peer->client);
    fab_loop_defer(peer->bitswap->ws->node->loop, &peer->bitswap->kick);
    bitswap_peer_free_if_gone(peer);
}

static const struct fab_stream_events wants_events = {
    .input = answer_input, .output = wants_output, .closed = wants_closed};

static bool open_wants(struct bitswap_peer *peer)
{
    struct fab_conn *conn = peer->peer ? peer_conn(peer->peer) : NULL;
    if (peer->wants)
        return true;
    if (!conn)
        return false;
    memset(&peer->out, 0, sizeof peer->out);
    fab_buf_init(&peer->out.buf, WANTS_OUT_MAX);
    return fab_conn_open(conn, bitswap_names, 1, &wants_events, peer, &peer->wants) == FAB_OK;
}

/* Kubo asks whoever refused a stream of it for nothing more until it hears from them. When it
 * notices is unknown (it may be at its next want), so it is greeted until it speaks. */
static void greet(struct bitswap_peer *peer, uint64_t now_us)
{
    static const uint8_t empty[] = {2, 0x0a, 0}; /* a message with an empty wantlist */
    if (!peer->greet || now_us - peer->greeted_us < GREET_US || !open_wants(peer) ||
        fab_buf_append(&peer->out.buf, empty, sizeof empty) != FAB_OK)
        return;
    peer->greeted_us = now_us;
    fab_stream_wake(peer->wants);
}

void bitswap_kick(struct node_workspace *ws)
{
    struct node_bitswap *bitswap = ws->bitswap;
    struct fab_bitswap_client_peer *to;
    serve(bitswap);
    while ((to = fab_bitswap_client_next_output(bitswap->client, fab_loop_now_us()))) {
        struct bitswap_peer *peer = fab_bitswap_client_peer_user(to);
        if (!open_wants(peer) ||
            fab_bitswap_client_output(bitswap->client, to, &peer->out.buf) != FAB_OK)
            return; /* on the next tick, or when the buffer has drained */
        fab_stream_wake(peer->wants);
    }
}

static void kick_run(struct fab_defer *defer)
{
    struct node_bitswap *bitswap =
        (struct node_bitswap *)((char *)defer - offsetof(struct node_bitswap, kick));
    bitswap_kick(bitswap->ws);
}

/* ---- what comes ---- */

static void on_candidate(void *arg, struct fab_bitswap_client_peer *client,
                         const struct fab_bitswap_prefix *prefix, struct fab_slice data)
{
    struct node_bitswap *bitswap = arg;
    struct block_batch *batch = bitswap->current;
    (void)client;
    batch->blocks[batch->n++] = (struct batch_block){.prefix = *prefix, .data = data};
}

static void on_got(void *arg, void *session_user, const struct fab_cid *cid)
{
    struct node_bitswap *bitswap = arg;
    struct node_fetch *fetch = session_user;
    bool accepted;
    (void)cid;
    enum fab_rc rc = fetch_take_block(fetch, fetch->session_number, bitswap->current,
                                      bitswap->current_i, fetch_prune, &accepted);
    if (rc != FAB_OK)
        fetch_fail(fetch, rc, "received blocks cannot be taken: %s", fab_rc_text(rc));
    fetch_step_later(fetch);
}

static void batch_checked(struct block_batch *batch)
{
    struct bitswap_peer *peer = batch->owner;
    struct node_bitswap *bitswap = peer->bitswap;
    bitswap->current = batch;
    for (size_t i = 0; i < batch->n && batch->rc == FAB_OK; i++) {
        struct batch_block *block = &batch->blocks[i];
        bitswap->current_i = i;
        if (fab_bitswap_client_block(bitswap->client, peer->client, &block->cid, block->data.n,
                                     fab_loop_now_us()) &&
            peer->peer)
            peer->peer->received += block->data.n;
    }
    bitswap->current = NULL;
    peer->batches--;
    batch_unref(batch);
    fab_loop_defer(bitswap->ws->node->loop, &bitswap->kick);
    bitswap_peer_free_if_gone(peer);
}

static enum fab_rc take_blocks(struct bitswap_peer *peer, struct fab_slice message,
                               const struct fab_bitswap_summary *summary)
{
    struct node_bitswap *bitswap = peer->bitswap;
    struct block_batch *batch = batch_new(bitswap->ws, summary->blocks);
    uint8_t *bytes = malloc(message.n);
    if (!batch || !bytes) {
        free(bytes);
        if (batch)
            batch_unref(batch);
        return FAB_ENOMEM;
    }
    memcpy(bytes, message.p, message.n);
    batch->bytes = bytes;
    batch->owner = peer;
    batch->checked = batch_checked;
    bitswap->current = batch;
    enum fab_rc rc = fab_bitswap_client_message(bitswap->client, peer->client,
                                                fab_slice(bytes, message.n), fab_loop_now_us());
    bitswap->current = NULL;
    if (rc != FAB_OK || batch->n == 0) {
        batch_unref(batch);
        return rc;
    }
    peer->batches++;
    batch_check(batch, bitswap->ws->node);
    return FAB_OK;
}

static enum fab_rc take_message(struct node_link *link, struct fab_slice message)
{
    struct fab_bitswap_summary summary;
    FAB_TRY(fab_bitswap_message_check(message, &summary));
    if (!link->peer)
        return FAB_OK;
    if (!link->peer->bitswap)
        bitswap_peer_ready(link->peer); /* it speaks, whatever identify says */
    struct bitswap_peer *peer = link->peer->bitswap;
    if (!peer)
        return FAB_ENOMEM;
    FAB_TRY(fab_bitswap_server_message(peer->bitswap->server, peer->server, message));
    if (!peer->client) /* there are too many peers to ask this one, so it has nothing to answer */
        summary.blocks = summary.presences = 0;
    if (summary.blocks > 0)
        FAB_TRY(take_blocks(peer, message, &summary));
    else if (summary.presences > 0)
        FAB_TRY(fab_bitswap_client_message(peer->bitswap->client, peer->client, message,
                                           fab_loop_now_us()));
    fab_loop_defer(link->node->loop, &peer->bitswap->kick);
    for (struct node_fetch *fetch = link->ws->fetches; summary.presences > 0 && fetch;
         fetch = fetch->next)
        fetch_step_later(fetch);
    return FAB_OK;
}

/* What is unfinished is charged to the connection and to the node. False: there is no room. */
static bool inbound_charge(struct inbound *inbound)
{
    struct node_link *link = inbound->link;
    bool idle = fab_bitswap_stream_idle(&inbound->reader);
    size_t now = idle || inbound->reader.given ? 0 : inbound->reader.collected.len;
    link->collected += now - inbound->collected;
    link->node->collected += now - inbound->collected;
    inbound->collected = now;
    if (idle)
        fab_timer_stop(&inbound->timer);
    else if (!fab_timer_armed(&inbound->timer))
        fab_timer_start(&inbound->timer, fab_loop_now_us() + MESSAGE_US);
    return link->collected <= COLLECTED_MAX && link->node->collected <= NODE_COLLECTED_MAX;
}

static void refuse(struct inbound *inbound, uint32_t code)
{
    struct bitswap_peer *peer = inbound->link->peer ? inbound->link->peer->bitswap : NULL;
    if (peer)
        peer->greet = true;
    fab_stream_reset(inbound->stream, code);
}

static void inbound_late(void *arg)
{
    refuse(arg, FAB_STREAM_CANCELLED);
}

static void inbound_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct inbound *inbound = user;
    struct fab_slice in = fab_slice(p, n);
    struct bitswap_peer *peer = inbound->link->peer ? inbound->link->peer->bitswap : NULL;
    fab_stream_consumed(stream, n);
    if (peer && peer->client)
        fab_bitswap_client_progress(peer->bitswap->client, peer->client, fab_loop_now_us());
    while (in.n > 0) {
        bool whole = false;
        struct fab_slice message = {0};
        enum fab_rc rc = fab_bitswap_stream_read(&inbound->reader, &in, &whole, &message);
        if (whole)
            fab_timer_stop(&inbound->timer);
        if (rc == FAB_OK && whole)
            rc = take_message(inbound->link, message);
        if (rc == FAB_OK && whole && peer)
            peer->greet = false;
        if (rc != FAB_OK) {
            refuse(inbound, FAB_STREAM_RESOURCE);
            return;
        }
    }
    if (fab_bitswap_stream_idle(&inbound->reader)) /* a stream between messages holds no memory */
        fab_buf_fini(&inbound->reader.collected);
    if (!inbound_charge(inbound)) {
        fab_log_limited(&inbound->link->node->refused_log, "bitswap_over_limit",
                        "workspace=%s why=unfinished_messages", inbound->link->ws->name);
        refuse(inbound, FAB_STREAM_RESOURCE);
    }
}

static size_t inbound_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap,
                             bool *fin)
{
    (void)user;
    (void)stream;
    (void)p;
    (void)cap;
    *fin = true; /* nothing is ever said on it */
    return 0;
}

static void inbound_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct inbound *inbound = user;
    (void)stream;
    (void)why;
    fab_timer_stop(&inbound->timer);
    inbound->link->collected -= inbound->collected;
    inbound->link->node->collected -= inbound->collected;
    fab_bitswap_stream_fini(&inbound->reader);
    free(inbound);
}

static const struct fab_stream_events inbound_events = {
    .input = inbound_input, .output = inbound_output, .closed = inbound_closed};

static enum fab_rc inbound_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct inbound *inbound = calloc(1, sizeof *inbound);
    (void)ctx;
    if (!inbound)
        return FAB_ENOMEM;
    inbound->link = stream_link(stream);
    inbound->stream = stream;
    fab_timer_init(&inbound->timer, inbound->link->node->loop, inbound_late, inbound);
    fab_bitswap_stream_init(&inbound->reader);
    *user = inbound;
    return FAB_OK;
}

const struct fab_protocol bitswap_protocol = {
    .name = FAB_BITSWAP_PROTOCOL, .events = &inbound_events, .accept = inbound_accept};

/* ---- peers and sessions ---- */

void bitswap_peer_ready(struct node_peer *node_peer)
{
    struct node_bitswap *bitswap = node_peer->ws->bitswap;
    if (node_peer->bitswap)
        return;
    struct bitswap_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return;
    peer->bitswap = bitswap;
    peer->peer = node_peer;
    if (fab_bitswap_server_peer_add(bitswap->server, peer, &peer->server) != FAB_OK) {
        free(peer);
        return;
    }
    /* Beyond the client's limit a peer is served and not asked. */
    if (fab_bitswap_client_peer_add(bitswap->client, peer, fab_loop_now_us(), &peer->client) !=
        FAB_OK)
        peer->client = NULL;
    peer->next = bitswap->peers;
    bitswap->peers = peer;
    node_peer->bitswap = peer;
}

void bitswap_peer_gone(struct node_peer *node_peer)
{
    struct bitswap_peer *peer = node_peer->bitswap;
    if (!peer)
        return;
    node_peer->bitswap = NULL;
    fab_bitswap_server_peer_remove(peer->bitswap->server, peer->server);
    if (peer->client)
        fab_bitswap_client_peer_remove(peer->bitswap->client, peer->client);
    peer->server = NULL;
    peer->client = NULL;
    peer->peer = NULL;
    bitswap_peer_free_if_gone(peer);
}

enum fab_rc bitswap_session_open(struct node_workspace *ws, struct node_fetch *fetch,
                                 struct fab_bitswap_session **out)
{
    return fab_bitswap_session_new(ws->bitswap->client, fetch, out);
}

unsigned bitswap_peers(const struct node_workspace *ws)
{
    unsigned n = 0;
    for (const struct bitswap_peer *peer = ws->bitswap->peers; peer; peer = peer->next)
        n += peer->client && peer->peer && !peer->peer->speaks_dagsync;
    return n;
}

/* Commands write to the store too: what a peer wanted in vain may have come. */
static void retry(struct node_bitswap *bitswap, uint64_t now_us)
{
    struct fab_bitswap_server_stats stats;
    if (now_us - bitswap->retried_us < RETRY_US)
        return;
    bitswap->retried_us = now_us;
    uint64_t version = fab_store_version(bitswap->ws->node->store);
    if (version == bitswap->store_version)
        return;
    bitswap->store_version = version;
    fab_bitswap_server_stats(bitswap->server, &stats);
    if (stats.remembered > 0)
        fab_bitswap_server_retry(bitswap->server);
}

void bitswap_tick(struct node_workspace *ws, uint64_t now_us)
{
    struct node_bitswap *bitswap = ws->bitswap;
    retry(bitswap, now_us);
    if (fab_bitswap_client_deadline(bitswap->client) <= now_us)
        fab_bitswap_client_tick(bitswap->client, now_us);
    for (struct bitswap_peer *peer = bitswap->peers; peer; peer = peer->next)
        greet(peer, now_us);
    bitswap_kick(ws);
}

/* ---- life ---- */

enum fab_rc bitswap_new(struct node_workspace *ws)
{
    struct node_bitswap *bitswap = calloc(1, sizeof *bitswap);
    uint8_t key[FAB_BITSWAP_KEY_BYTES];
    if (!bitswap)
        return FAB_ENOMEM;
    bitswap->ws = ws;
    bitswap->kick.run = kick_run;
    struct fab_bitswap_client_events events = {
        .arg = bitswap, .candidate = on_candidate, .got = on_got};
    randombytes_buf(key, sizeof key);
    enum fab_rc rc = fab_bitswap_server_new(NULL, key, &bitswap->server);
    if (rc == FAB_OK)
        rc = fab_bitswap_client_new(NULL, &events, key, &bitswap->client);
    if (rc != FAB_OK) {
        fab_bitswap_server_free(bitswap->server);
        free(bitswap);
        return rc;
    }
    ws->bitswap = bitswap;
    return FAB_OK;
}

void bitswap_free(struct node_workspace *ws)
{
    struct node_bitswap *bitswap = ws->bitswap;
    if (!bitswap)
        return;
    fab_loop_cancel(&bitswap->kick);
    fab_bitswap_client_free(bitswap->client);
    fab_bitswap_server_free(bitswap->server);
    free(bitswap);
    ws->bitswap = NULL;
}
