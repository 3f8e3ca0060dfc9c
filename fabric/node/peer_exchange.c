/* Telling the peers of a workspace about each other, on /fabric/peers/1 (fabric/swarm/
 * peer_exchange.h).
 *
 * Happy path: a connection stands and identify has said that the peer speaks it; the side that
 * dialled opens a stream, both write their own record and those of peers that they are connected
 * to, and end. What is new to us goes to the peers of the workspace, and peers_tick dials it. Later
 * a stream is opened again when there is something that the peer was not told, at most every five
 * seconds.
 *
 * A stream that lasts too long, or holds what is not a valid record, is reset; then the peer counts
 * as not told. Nobody can make us remember more than LEARNED_MAX peers that we never reached, and
 * such a one is forgotten after some failures. */
#include "fabric/swarm/peer_exchange.h"
#include "fabric/node/internal.h"
#include "storage/multiformats/multiaddr.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TELL_US       (5u * 1000000u) /* between two streams to one peer */
#define HEAR_US       (1u * 1000000u) /* between two streams from one peer */
#define HOUSEKEEP_US  (5u * 1000000u)
#define LEARNED_MAX   256 /* peers of a workspace, beyond which none is added */
#define FAILURES_MAX  10  /* in a row, of one that was never reached */
#define OWN_MAX       16  /* addresses in our own record */
#define INTERFACES    64
#define OWN_BYTES_MAX 1024

struct exchange {
    struct node_link *link;
    struct fab_stream *stream;
    struct fab_peers_reader reader;
    struct outbuf out;
    struct fab_timer timer;
    uint64_t mark_before, seq_before; /* for when it fails */
    bool ours;                        /* we opened it */
    bool broken;
};

/* ---- our own record ---- */

struct own {
    struct fab_buf bytes; /* all addresses, one after the other */
    struct {
        size_t at, n;
    } list[OWN_MAX];
    size_t n;
};

static void own_add(struct own *own, const struct fab_address *address)
{
    size_t at = own->bytes.len;
    if (own->n == OWN_MAX || address_to_multiaddr(address, &own->bytes) != FAB_OK)
        return;
    own->list[own->n].at = at;
    own->list[own->n++].n = own->bytes.len - at;
}

/* A listener on all addresses has those of the interfaces; the loopback ones when there are no
 * others. */
static size_t own_add_all(struct own *own, const struct fab_address *listener,
                          const struct node_interface *interfaces, size_t n, bool loopback)
{
    size_t before = own->n;
    for (size_t i = 0; i < n; i++) {
        struct fab_address address = interfaces[i].address;
        size_t length;
        const uint8_t *ip = fab_address_bytes(&address, &length);
        if (address.any.sa_family == listener->any.sa_family &&
            address_is_loopback(&address) == loopback && !address_is_link_local6(&address) &&
            fab_address_ip(ip, length, fab_address_port(listener), &address) == FAB_OK)
            own_add(own, &address);
    }
    return own->n - before;
}

static void own_collect(const struct fab_node *node, struct own *own)
{
    struct node_interface interfaces[INTERFACES];
    size_t n = interfaces_read(interfaces, INTERFACES);
    for (size_t i = 0; i < node->n_listeners; i++) {
        const struct fab_address *address = fab_listener_address(node->listeners[i]);
        if (!address_is_any(address))
            own_add(own, address);
        else if (own_add_all(own, address, interfaces, n, false) == 0)
            own_add_all(own, address, interfaces, n, true);
    }
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Sign again when the addresses have changed. */
static void own_refresh(struct fab_node *node)
{
    struct own own = {.n = 0};
    struct fab_slice addresses[OWN_MAX];
    fab_buf_init(&own.bytes, OWN_BYTES_MAX);
    own_collect(node, &own);
    if (node->own_seq > 0 &&
        fab_slice_eq(fab_buf_slice(&own.bytes), fab_buf_slice(&node->own_addresses)))
        goto out;
    for (size_t i = 0; i < own.n; i++)
        addresses[i] = fab_slice(own.bytes.data + own.list[i].at, own.list[i].n);
    uint64_t now = wall_ms(), seq = node->own_seq < now ? now : node->own_seq + 1;
    fab_buf_fini(&node->own_record);
    fab_buf_init(&node->own_record, FAB_PEERS_RECORD_MAX);
    if (fab_signed_record_encode(node->identity, seq, addresses, own.n, &node->own_record) !=
        FAB_OK) {
        fab_log("own_record_failed", "addresses=%zu", own.n);
        goto out;
    }
    bool changed = node->own_seq > 0;
    node->own_seq = seq;
    struct fab_buf before = node->own_addresses;
    node->own_addresses = own.bytes;
    own.bytes = before;
    if (changed)
        identify_push_all(node);
out:
    fab_buf_fini(&own.bytes);
}

/* ---- what a peer tells ---- */

/* Whether a peer may be dialled there. Loopback addresses are those of the host that told. */
static bool is_usable(struct fab_slice multiaddr, const struct node_link *link)
{
    struct fab_address address;
    struct fab_slice relay;
    size_t n;
    if (address_of_multiaddr(multiaddr, &address) != FAB_OK ||
        fab_multiaddr_find(multiaddr, FAB_MA_P2P_CIRCUIT, &relay) == FAB_OK)
        return false;
    const uint8_t *ip = fab_address_bytes(&address, &n);
    if (n == 0 || fab_address_port(&address) == 0 || address_is_any(&address) ||
        address_is_link_local6(&address))
        return false;
    if (n == 4 ? ip[0] >= 224 : ip[0] == 0xff) /* multicast, reserved, broadcast */
        return false;
    return !address_is_loopback(&address) || address_is_loopback(&link->remote) ||
           (link->tcp && address_same_host(&link->remote, fab_tcp_local(link->tcp)));
}

static size_t count_peers(const struct node_workspace *ws)
{
    size_t n = 0;
    for (const struct node_peer *peer = ws->peers; peer; peer = peer->next)
        n++;
    return n;
}

static void learn(struct node_workspace *ws, const struct node_link *link,
                  const struct fab_signed_record *record)
{
    struct fab_slice usable[NODE_PEER_ADDRESSES];
    size_t n = 0;
    for (size_t i = 0; i < record->addr_count && n < NODE_PEER_ADDRESSES; i++)
        if (is_usable(record->addrs[i], link))
            usable[n++] = record->addrs[i];
    struct node_peer *peer = peer_find(ws, &record->peer);
    if (!peer && n > 0) {
        if (count_peers(ws) < LEARNED_MAX)
            peer = peer_get(ws, &record->peer);
        if (!peer) {
            fab_peer_records_remove(ws->records, &record->peer);
            return;
        }
        peer->learned = true;
    }
    while (peer && n > 0)
        peer_add_address(peer, usable[--n]);
}

enum fab_rc exchange_record(struct node_link *link, struct fab_slice envelope)
{
    struct node_workspace *ws = link->ws;
    struct fab_signed_record record;
    uint64_t now = fab_loop_now_us();
    if (!link->peer || fab_slice_eq(envelope, fab_buf_slice(&ws->node->own_record)))
        return FAB_OK;
    if (!ws->records)
        FAB_TRY(fab_peer_records_new(FAB_PEERS_HELD_MAX, &ws->records));
    enum fab_rc rc = fab_peer_records_check(ws->records, envelope, &record);
    if (rc != FAB_OK)
        return rc == FAB_EEXIST || rc == FAB_EUNSUPPORTED ? FAB_OK : rc;
    if (fab_peer_id_eq(&record.peer, fab_key_peer_id(ws->node->identity)) ||
        workspace_admits(ws, &record.peer) != FAB_OK ||
        fab_peer_records_put(ws->records, envelope, &record, now) != FAB_OK)
        return FAB_OK;
    if (fab_peer_id_eq(&record.peer, &link->peer->id))
        fab_peer_records_touch(ws->records, &record.peer, now);
    learn(ws, link, &record);
    return FAB_OK;
}

/* ---- what a peer is told ---- */

static void touch_connected(struct node_workspace *ws, uint64_t now_us)
{
    for (const struct node_peer *peer = ws->peers; peer && ws->records; peer = peer->next)
        if (peer->links)
            fab_peer_records_touch(ws->records, &peer->id, now_us);
}

/* Everything that the peer was not told; nothing is possible. */
static enum fab_rc compose(struct node_peer *peer, struct fab_buf *out)
{
    struct node_workspace *ws = peer->ws;
    struct fab_node *node = ws->node;
    size_t n;
    if (node->own_seq == 0)
        own_refresh(node);
    if (node->own_seq != peer->told_seq && node->own_record.len > 0)
        FAB_TRY(fab_peers_append(out, fab_buf_slice(&node->own_record)));
    if (ws->records)
        FAB_TRY(fab_peer_records_tell(ws->records, &peer->told_mark, &peer->id, fab_loop_now_us(),
                                      out, &n));
    peer->told_seq = node->own_seq;
    peer->told_us = fab_loop_now_us();
    return FAB_OK;
}

/* ---- streams ---- */

static void take(void *arg, struct fab_slice envelope)
{
    struct exchange *exchange = arg;
    enum fab_rc rc = exchange->broken ? FAB_OK : exchange_record(exchange->link, envelope);
    if (rc == FAB_OK || rc == FAB_ENOMEM)
        return;
    exchange->broken = true;
    fab_log_limited(&exchange->link->node->refused_log, "peer_record_refused",
                    "workspace=%s why=\"%s\"", exchange->link->ws->name, fab_rc_text(rc));
}

static void exchange_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct exchange *exchange = user;
    fab_stream_consumed(stream, n);
    if (exchange->broken)
        return;
    if (fab_peers_reader_feed(&exchange->reader, fab_slice(p, n), take, exchange) != FAB_OK)
        exchange->broken = true;
    if (exchange->broken)
        fab_stream_reset(stream, FAB_STREAM_CANCELLED);
}

static size_t exchange_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap,
                              bool *fin)
{
    (void)stream;
    return outbuf_pull(&((struct exchange *)user)->out, p, cap, fin);
}

static void exchange_free(struct exchange *exchange)
{
    fab_timer_stop(&exchange->timer);
    fab_peers_reader_fini(&exchange->reader);
    fab_buf_fini(&exchange->out.buf);
    free(exchange);
}

static void exchange_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct exchange *exchange = user;
    struct node_peer *peer = exchange->link->peer;
    (void)stream;
    if (peer && exchange->ours)
        peer->telling = NULL;
    if (peer && why == FAB_EUNSUPPORTED)
        peer->speaks_peers = false;
    if (peer && why != FAB_OK) {
        if (peer->told_mark > exchange->mark_before)
            peer->told_mark = exchange->mark_before;
        peer->told_seq = exchange->seq_before;
    }
    exchange_free(exchange);
}

static void exchange_late(void *arg)
{
    fab_stream_reset(((struct exchange *)arg)->stream, FAB_STREAM_CANCELLED);
}

static const struct fab_stream_events exchange_events = {
    .input = exchange_input, .output = exchange_output, .closed = exchange_closed};

static struct exchange *exchange_new(struct node_link *link)
{
    struct exchange *exchange = calloc(1, sizeof *exchange);
    struct node_peer *peer = link->peer;
    if (!exchange)
        return NULL;
    exchange->link = link;
    exchange->mark_before = peer->told_mark;
    exchange->seq_before = peer->told_seq;
    exchange->out.fin = true;
    fab_buf_init(&exchange->out.buf, FAB_PEERS_HALF_MAX);
    fab_peers_reader_init(&exchange->reader);
    fab_timer_init(&exchange->timer, link->node->loop, exchange_late, exchange);
    if (compose(peer, &exchange->out.buf) != FAB_OK) {
        exchange_free(exchange);
        return NULL;
    }
    return exchange;
}

static enum fab_rc exchange_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct node_link *link = stream_link(stream);
    struct node_peer *peer = link->peer;
    uint64_t now = fab_loop_now_us();
    (void)ctx;
    if (!peer || link->node->stopping || now - peer->heard_us < HEAR_US)
        return FAB_ELIMIT;
    touch_connected(peer->ws, now);
    struct exchange *exchange = exchange_new(link);
    if (!exchange)
        return FAB_ENOMEM;
    peer->heard_us = now;
    exchange->stream = stream;
    fab_timer_start(&exchange->timer, now + FAB_PEERS_TIMEOUT_US);
    *user = exchange;
    return FAB_OK;
}

const struct fab_protocol peer_exchange_protocol = {
    .name = FAB_PEERS_PROTOCOL, .events = &exchange_events, .accept = exchange_accept};

/* Open a stream if there is anything to tell. */
static void tell(struct node_peer *peer, uint64_t now_us)
{
    static const char *const names[] = {FAB_PEERS_PROTOCOL};
    struct fab_conn *conn = peer_conn(peer);
    struct exchange *exchange = conn ? exchange_new(fab_conn_ctx(conn)) : NULL;
    if (!exchange)
        return;
    if (exchange->out.buf.len == 0) {
        exchange_free(exchange);
        return;
    }
    exchange->ours = true;
    peer->telling = exchange->link;
    if (fab_conn_open(conn, names, 1, &exchange_events, exchange, &exchange->stream) != FAB_OK) {
        peer->telling = NULL;
        peer->told_mark = exchange->mark_before;
        peer->told_seq = exchange->seq_before;
        exchange_free(exchange);
        return;
    }
    fab_timer_start(&exchange->timer, now_us + FAB_PEERS_TIMEOUT_US);
}

/* ---- events ---- */

void exchange_peer_ready(struct node_peer *peer)
{
    uint64_t now = fab_loop_now_us();
    if (peer->ws->records)
        fab_peer_records_touch(peer->ws->records, &peer->id, now);
    if (!peer->speaks_peers)
        return;
    if (peer->links && peer->links->dialer)
        tell(peer, now);
    else if (peer->told_us == 0)
        peer->told_us = now; /* it opens; if it does not, we do later */
}

void exchange_link_gone(struct node_peer *peer, const struct node_link *link)
{
    if (peer->telling == link) { /* whether it arrived is not known */
        peer->telling = NULL;
        peer->told_mark = peer->told_seq = 0;
    }
    if (peer->links)
        return;
    if (peer->ws->records)
        fab_peer_records_touch(peer->ws->records, &peer->id, fab_loop_now_us());
    peer->speaks_peers = false;
    peer->told_us = peer->told_mark = peer->told_seq = peer->heard_us = 0;
}

static void forget_unreachable(struct node_workspace *ws)
{
    struct node_peer *next;
    for (struct node_peer *peer = ws->peers; peer; peer = next) {
        next = peer->next;
        if (!peer->learned || peer->wanted || peer->links || peer->failures < FAILURES_MAX)
            continue;
        if (ws->records)
            fab_peer_records_remove(ws->records, &peer->id);
        peer_forget(peer);
    }
}

void exchange_tick(struct fab_node *node, uint64_t now_us)
{
    bool housekeep = now_us - node->exchanged_us >= HOUSEKEEP_US;
    if (housekeep) {
        node->exchanged_us = now_us;
        own_refresh(node);
    }
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next) {
        if (housekeep) {
            forget_unreachable(ws);
            touch_connected(ws, now_us);
        }
        for (struct node_peer *peer = ws->peers; peer; peer = peer->next)
            if (peer->speaks_peers && peer->identified && !peer->telling &&
                now_us - peer->told_us >= TELL_US)
                tell(peer, now_us);
    }
}

void exchange_workspace_free(struct node_workspace *ws)
{
    fab_peer_records_free(ws->records);
    ws->records = NULL;
}
