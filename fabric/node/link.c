/* One connection: a socket below, a fab_conn above, and what becomes of both.
 *
 * Happy path, inbound: accepted, the dialer's first bytes choose the workspace (keyed), Noise
 * proves the peer, who must be admitted (secured), streams may begin (ready): the link joins its
 * peer. Outbound the workspace is known from the start; where the newest key is refused, the one
 * before it is tried, since the other end may not have the new one yet. Whatever fails on the way
 * closes the link, with one line in the log; a stranger cannot make more than ten lines a second.
 */
#include "fabric/node/internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_US    (5u * 1000000u)
#define IP_HANDSHAKES 32  /* inbound, not finished, from one address */
#define IP_LINKS      512 /* from and to one address */

static void link_rearm(struct node_link *link)
{
    uint64_t deadline = fab_conn_deadline(link->conn);
    if (!fab_timer_armed(&link->timer) || deadline < link->timer.at_us)
        fab_timer_start(&link->timer, deadline);
}

static void handshake_over(struct node_link *link)
{
    if (link->handshake)
        link->node->n_handshakes--;
    link->handshake = false;
}

static void settle(struct node_link *link, enum fab_rc rc)
{
    void (*settled)(void *, enum fab_rc, struct node_peer *) = link->settled;
    link->settled = NULL;
    if (settled)
        settled(link->settled_arg, rc, link->peer);
}

static const char *link_workspace(const struct node_link *link)
{
    return link->ws ? link->ws->name : "-";
}

/* What the remote did, in a word or two. */
static const char *rule_text(const struct node_link *link, enum fab_rc rc)
{
    switch (rc) {
    case FAB_EACCES:
        return !link->ws      ? "no_key_fits"
               : link->dialer ? "wrong_peer_or_not_admitted"
                              : "not_admitted";
    case FAB_EUNSUPPORTED:
        return "no_common_protocol";
    case FAB_EFORMAT:
        return link->dialer && !link->peer ? "wrong_key_or_malformed" : "malformed";
    case FAB_ELIMIT:
        return "over_a_limit";
    case FAB_ETIMEOUT:
        return "silent";
    case FAB_EINTERRUPTED:
        return "ended";
    default:
        return fab_rc_text(rc);
    }
}

void link_close(struct node_link *link, const char *why)
{
    if (!link->why)
        link->why = why;
    if (link->closing)
        return;
    link->closing = true;
    fab_tcp_finish(link->tcp);
}

static void link_broken(struct node_link *link, enum fab_rc rc)
{
    if (rc == FAB_EACCES && link->settled)
        settle(link, FAB_EACCES);
    link_close(link, rule_text(link, rc));
}

/* ---- events of the connection ---- */

static size_t on_keys(void *ctx, const uint8_t *const **keys, uint64_t *version)
{
    struct node_link *link = ctx;
    *keys = link->node->keys;
    *version = link->node->keys_version;
    return link->node->n_keys;
}

static enum fab_rc on_keyed(void *ctx, size_t index)
{
    struct node_link *link = ctx;
    link->ws = link->node->key_owners[index].ws;
    link->epoch = link->node->key_owners[index].epoch;
    return FAB_OK;
}

static enum fab_rc on_secured(void *ctx, const struct fab_peer_id *peer,
                              struct fab_slice public_key)
{
    struct node_link *link = ctx;
    (void)public_key;
    if (fab_peer_id_eq(peer, fab_key_peer_id(link->node->identity)))
        return FAB_EACCES;
    return workspace_admits(link->ws, peer);
}

static void on_ready(void *ctx)
{
    struct node_link *link = ctx;
    char text[FAB_PEER_ID_TEXT_MAX], address[FAB_ADDRESS_TEXT];
    handshake_over(link);
    peer_link_ready(link);
    if (!link->peer)
        return;
    fab_peer_id_text(&link->peer->id, text);
    fab_log("peer_connected", "workspace=%s peer=%s address=%s direction=%s", link_workspace(link),
            text, fab_address_text(&link->remote, address), link->dialer ? "out" : "in");
    if (link->extra) {
        fetches_link_ready(link);
        settle(link, FAB_OK);
    } else {
        identify_start(link);
    }
}

void link_answered(struct node_link *link)
{
    settle(link, FAB_OK);
}

static const struct fab_protocol *on_protocol(void *ctx, struct fab_slice name)
{
    (void)ctx;
    return protocol_find(name);
}

static void on_wake(void *ctx)
{
    struct node_link *link = ctx;
    if (link->tcp)
        fab_tcp_wake(link->tcp);
}

static const struct fab_conn_events conn_events = {
    .keys = on_keys,
    .keyed = on_keyed,
    .secured = on_secured,
    .ready = on_ready,
    .protocol = on_protocol,
    .wake = on_wake,
};

/* ---- events of the socket ---- */

static void on_opened(void *arg)
{
    struct node_link *link = arg;
    link->reached = true;
    fab_tcp_wake(link->tcp);
}

static void on_input(void *arg, uint8_t *p, size_t n)
{
    struct node_link *link = arg;
    enum fab_rc rc = fab_conn_input(link->conn, p, n, fab_loop_now_us());
    if (rc != FAB_OK)
        link_broken(link, rc);
    else
        link_rearm(link);
}

static size_t on_output(void *arg, uint8_t *p, size_t cap)
{
    struct node_link *link = arg;
    size_t n = fab_conn_output(link->conn, p, cap, fab_loop_now_us());
    link_rearm(link); /* a stream's negotiation may have begun */
    return n;
}

static void on_timer(void *arg)
{
    struct node_link *link = arg;
    enum fab_rc rc = fab_conn_tick(link->conn, fab_loop_now_us());
    if (rc != FAB_OK)
        link_broken(link, rc);
    else
        link_rearm(link);
}

static void log_closed(const struct node_link *link, const char *why)
{
    char text[FAB_PEER_ID_TEXT_MAX], address[FAB_ADDRESS_TEXT];
    fab_address_text(&link->remote, address);
    if (link->peer) {
        fab_peer_id_text(&link->peer->id, text);
        fab_log("peer_disconnected", "workspace=%s peer=%s address=%s why=%s", link_workspace(link),
                text, address, why);
    } else if (!link->dialer) {
        fab_log_limited(&link->node->refused_log, "connection_refused",
                        "workspace=%s address=%s why=%s", link_workspace(link), address, why);
    } else if (!link->extra && (!link->dialled || link->dialled->failures == 0)) {
        fab_log("dial_failed", "workspace=%s address=%s why=%s", link_workspace(link), address,
                why);
    }
}

static void link_free(struct node_link *link)
{
    struct fab_node *node = link->node;
    handshake_over(link);
    fab_timer_stop(&link->timer);
    *(link->prev ? &link->prev->next : &node->links) = link->next;
    if (link->next)
        link->next->prev = link->prev;
    node->n_links--;
    fab_conn_free(link->conn);
    dagsync_link_gone(link);
    free(link);
}

static enum fab_rc dial(struct node_workspace *ws, const struct fab_address *to,
                        const struct fab_peer_id *expect, bool older, struct node_link **out);

/* The end of a dial that came to nothing may have been for the key: once more, with the older. */
static bool dial_older(struct node_link *link)
{
    struct node_link *next;
    if (!link->dialer || link->older || !link->reached || fab_conn_peer(link->conn) ||
        link->ws->n_epochs < 2 || link->node->stopping ||
        dial(link->ws, &link->remote, link->expect.len ? &link->expect : NULL, true, &next) !=
            FAB_OK)
        return false;
    next->dialled = link->dialled;
    next->extra = link->extra;
    next->settled = link->settled;
    next->settled_arg = link->settled_arg;
    link_free(link);
    return true;
}

static void on_closed(void *arg, enum fab_tcp_reason reason)
{
    struct node_link *link = arg;
    link->tcp = NULL;
    if (dial_older(link))
        return;
    static const char *const texts[] = {
        [FAB_TCP_CLOSED] = "closed",   [FAB_TCP_EOF] = "closed_by_peer",
        [FAB_TCP_RESET] = "reset",     [FAB_TCP_REFUSED] = "refused",
        [FAB_TCP_TIMEOUT] = "timeout", [FAB_TCP_FAILED] = "failed",
    };
    log_closed(link, link->why ? link->why : texts[reason]);
    settle(link, reason == FAB_TCP_REFUSED   ? FAB_ENOENT
                 : reason == FAB_TCP_TIMEOUT ? FAB_ETIMEOUT
                                             : FAB_EIO);
    peer_link_gone(link);
    link_free(link);
}

static const struct fab_tcp_ops tcp_ops = {
    .opened = on_opened,
    .input = on_input,
    .output = on_output,
    .closed = on_closed,
};

/* ---- beginning ---- */

static struct node_link *link_new(struct fab_node *node, struct node_workspace *ws,
                                  const struct fab_peer_id *expect, bool older)
{
    struct node_link *link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    link->node = node;
    link->ws = ws;
    link->dialer = ws != NULL;
    link->epoch = ws ? ws->epochs[older].number : 0;
    link->opened_us = fab_loop_now_us();
    struct fab_conn_config config = {
        .dialer = link->dialer,
        .identity = node->identity,
        .key = ws ? ws->epochs[older].key : NULL,
        .expect = expect,
        .stream_window_max = 32u << 20,
        .budget = &node->windows,
        .events = &conn_events,
        .ctx = link,
    };
    randombytes_buf(config.random, sizeof config.random);
    enum fab_rc rc = fab_conn_new(&config, link->opened_us, &link->conn);
    sodium_memzero(config.random, sizeof config.random);
    if (rc != FAB_OK) {
        free(link);
        return NULL;
    }
    fab_timer_init(&link->timer, node->loop, on_timer, link);
    link->next = node->links;
    if (link->next)
        link->next->prev = link;
    node->links = link;
    node->n_links++;
    return link;
}

static bool same_host(const struct fab_address *a, const struct fab_address *b)
{
    size_t n, m;
    const uint8_t *x = fab_address_bytes(a, &n), *y = fab_address_bytes(b, &m);
    return n == m && n > 0 && memcmp(x, y, n) == 0;
}

/* Whether one more connection from there is too much. */
static bool crowded(const struct fab_node *node, const struct fab_address *from)
{
    unsigned handshakes = 0, links = 0;
    if (node->n_links >= NODE_LINKS_MAX || node->n_handshakes >= NODE_HANDSHAKES_MAX)
        return true;
    for (const struct node_link *link = node->links; link; link = link->next) {
        if (!same_host(&link->remote, from))
            continue;
        links++;
        handshakes += link->handshake;
    }
    return handshakes >= IP_HANDSHAKES || links >= IP_LINKS;
}

void node_accept(void *arg, struct fab_tcp *tcp)
{
    struct fab_node *node = arg;
    struct node_link *link;
    bool full = crowded(node, fab_tcp_peer(tcp));
    if (full) {
        char address[FAB_ADDRESS_TEXT];
        fab_log_limited(&node->refused_log, "connection_refused",
                        "workspace=- address=%s why=too_many_connections",
                        fab_address_text(fab_tcp_peer(tcp), address));
    }
    if (node->stopping || full || !(link = link_new(node, NULL, NULL, false))) {
        fab_tcp_close(tcp);
        return;
    }
    link->handshake = true;
    node->n_handshakes++;
    link->tcp = tcp;
    link->remote = *fab_tcp_peer(tcp);
    fab_tcp_start(tcp, &tcp_ops, link);
    link_rearm(link);
}

static enum fab_rc dial(struct node_workspace *ws, const struct fab_address *to,
                        const struct fab_peer_id *expect, bool older, struct node_link **out)
{
    if (ws->n_epochs == 0 || ws->node->n_links >= NODE_LINKS_MAX)
        return FAB_ELIMIT;
    struct node_link *link = link_new(ws->node, ws, expect, older);
    if (!link)
        return FAB_ENOMEM;
    link->remote = *to;
    link->older = older;
    if (expect)
        link->expect = *expect;
    enum fab_rc rc = fab_tcp_connect(ws->node->loop, to, CONNECT_US, &tcp_ops, link, &link->tcp);
    if (rc != FAB_OK) {
        link_free(link);
        return rc;
    }
    link_rearm(link);
    *out = link;
    return FAB_OK;
}

enum fab_rc node_dial(struct node_workspace *ws, const struct fab_address *to,
                      const struct fab_peer_id *expect, struct node_peer *dialled,
                      void (*settled)(void *arg, enum fab_rc rc, struct node_peer *peer), void *arg)
{
    struct node_link *link;
    FAB_TRY(dial(ws, to, expect, false, &link));
    link->dialled = dialled;
    link->settled = settled;
    link->settled_arg = arg;
    return FAB_OK;
}

enum fab_rc node_dial_extra(struct node_peer *peer,
                            void (*settled)(void *arg, enum fab_rc rc, struct node_peer *peer),
                            void *arg)
{
    struct fab_address address;
    struct node_link *link;
    /* Where it is connected to now, if we dialled; else an address that it told. */
    if (peer->links && peer->links->dialer)
        address = peer->links->remote;
    else if (peer->n_addresses > 0)
        FAB_TRY(address_of_multiaddr(fab_slice(peer->addresses[0].bytes, peer->addresses[0].n),
                                     &address));
    else
        return FAB_ENOENT;
    FAB_TRY(dial(peer->ws, &address, &peer->id, false, &link));
    link->extra = true;
    link->settled = settled;
    link->settled_arg = arg;
    return FAB_OK;
}

struct fab_conn *peer_conn(const struct node_peer *peer)
{
    for (const struct node_link *link = peer->links; link; link = link->peer_next)
        if (!link->closing && fab_conn_is_ready(link->conn))
            return link->conn;
    return NULL;
}

struct node_link *stream_link(struct fab_stream *stream)
{
    return fab_conn_ctx(fab_stream_conn(stream));
}
