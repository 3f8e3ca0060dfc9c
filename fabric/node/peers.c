/* The peers of a workspace: connections come and go, addresses are kept and dialled again with
 * backoff. Two connections with one peer become one: both ends keep the one that the peer with the
 * smaller ID dialled. */
#include "fabric/node/internal.h"

#include "storage/multiformats/multiaddr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PEERS_MAX     1024                  /* of one workspace */
#define LINKS_MAX     (2 * NODE_PEER_LINKS) /* of one peer, dialled from both ends */
#define DIALS_AT_ONCE 3u                    /* addresses of one peer */
#define BOOKINGS_MAX  4                     /* at once */
/* Of connections that nothing comes or goes on, from peers that are no nodes of ours: beyond so
 * many the oldest end, until so many are left; but none before it is so old. */
#define IDLE_HIGH      96
#define IDLE_LOW       32
#define IDLE_GRACE_US  (20u * 1000000u)
#define BACKOFF_MIN_US (500u * 1000u)
#define BACKOFF_MAX_US (60u * 1000000u)
#define IDLE_US        (5u * 1000000u) /* of a superfluous connection, before it ends */

struct node_peer *peer_find(struct node_workspace *ws, const struct fab_peer_id *id)
{
    for (struct node_peer *peer = ws->peers; peer; peer = peer->next)
        if (fab_peer_id_eq(&peer->id, id))
            return peer;
    return NULL;
}

static void peer_free(struct node_peer *peer)
{
    struct node_peer **at = &peer->ws->peers;
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    for (struct node_link *link = peer->ws->node->links; link; link = link->next)
        if (link->dialled == peer)
            link->dialled = NULL;
    free(peer);
}

struct node_peer *peer_get(struct node_workspace *ws, const struct fab_peer_id *id)
{
    struct node_peer *peer = peer_find(ws, id);
    if (peer)
        return peer;
    unsigned count = 0;
    struct node_peer *worst = NULL;
    for (peer = ws->peers; peer; peer = peer->next) {
        count++;
        if (!peer->links && !peer->wanted && (!worst || peer->failures > worst->failures))
            worst = peer;
    }
    /* Addresses that somebody made up give way to who is there. */
    if (count >= PEERS_MAX && worst)
        peer_free(worst);
    else if (count >= PEERS_MAX)
        return NULL;
    if (!(peer = calloc(1, sizeof *peer)))
        return NULL;
    peer->ws = ws;
    peer->id = *id;
    peer->next = ws->peers;
    ws->peers = peer;
    return peer;
}

void peer_forget(struct node_peer *peer)
{
    if (!peer->links)
        peer_free(peer);
}

void peers_free(struct node_workspace *ws)
{
    while (ws->peers)
        peer_free(ws->peers);
}

/* ---- addresses ---- */

enum fab_rc address_of_multiaddr(struct fab_slice multiaddr, struct fab_address *out)
{
    struct fab_reader r = fab_reader(multiaddr);
    struct fab_multiaddr_part ip, tcp;
    FAB_TRY(fab_multiaddr_next(&r, &ip));
    if (ip.code != FAB_MA_IP4 && ip.code != FAB_MA_IP6)
        return FAB_EUNSUPPORTED;
    FAB_TRY(fab_multiaddr_next(&r, &tcp));
    if (tcp.code != FAB_MA_TCP)
        return FAB_EUNSUPPORTED;
    struct fab_multiaddr_part rest;
    enum fab_rc rc = fab_multiaddr_next(&r, &rest);
    if (rc == FAB_OK && rest.code != FAB_MA_P2P) /* ws, tls, a relay: not plain TCP */
        return FAB_EUNSUPPORTED;
    return fab_address_ip(ip.value.p, ip.value.n, (uint16_t)(tcp.value.p[0] << 8 | tcp.value.p[1]),
                          out);
}

enum fab_rc address_to_multiaddr(const struct fab_address *address, struct fab_buf *out)
{
    char text[FAB_ADDRESS_TEXT + 32], ip[INET6_ADDRSTRLEN];
    size_t n;
    const uint8_t *bytes = fab_address_bytes(address, &n);
    if (n == 0 || !inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, ip, sizeof ip))
        return FAB_EINVAL;
    int len = snprintf(text, sizeof text, "/ip%d/%s/tcp/%u", n == 4 ? 4 : 6, ip,
                       fab_address_port(address));
    return fab_multiaddr_from_text(text, (size_t)len, out);
}

void peer_add_address(struct node_peer *peer, struct fab_slice multiaddr)
{
    struct fab_address address;
    struct fab_buf plain;
    if (address_of_multiaddr(multiaddr, &address) != FAB_OK ||
        address_is_link_local6(&address)) /* means nothing without its interface */
        return;
    fab_buf_init(&plain, NODE_ADDRESS_MAX);
    if (address_to_multiaddr(&address, &plain) == FAB_OK) {
        struct node_address entry = {.n = (uint8_t)plain.len};
        memcpy(entry.bytes, plain.data, plain.len);
        unsigned i = 0;
        while (i < peer->n_addresses &&
               (peer->addresses[i].n != entry.n ||
                memcmp(peer->addresses[i].bytes, entry.bytes, entry.n) != 0))
            i++;
        if (i == peer->n_addresses && i < NODE_PEER_ADDRESSES)
            peer->n_addresses++;
        else if (i == NODE_PEER_ADDRESSES)
            i--;
        memmove(&peer->addresses[1], &peer->addresses[0], i * sizeof entry);
        peer->addresses[0] = entry;
    }
    fab_buf_fini(&plain);
}

/* ---- the book: written in the pool, since another process may be writing to the store ---- */

struct booking {
    struct fab_work work;
    struct fab_node *node;
    uint32_t ws;
    struct fab_book_entry entry;
    struct node_address addresses[NODE_PEER_ADDRESSES];
    enum fab_rc rc;
};

static void booking_run(struct fab_work *work)
{
    struct booking *booking = (struct booking *)((char *)work - offsetof(struct booking, work));
    booking->rc = fab_book_put(booking->node->store, booking->ws, &booking->entry);
}

static void booking_done(struct fab_work *work)
{
    struct booking *booking = (struct booking *)((char *)work - offsetof(struct booking, work));
    booking->node->bookings--;
    if (booking->rc != FAB_OK)
        fab_log("peer_book_failed", "why=\"%s\"", fab_rc_text(booking->rc));
    free(booking);
}

static void book(struct node_peer *peer)
{
    if (peer->n_addresses == 0 || peer->ws->node->bookings >= BOOKINGS_MAX)
        return;
    struct booking *booking = calloc(1, sizeof *booking);
    if (!booking)
        return;
    booking->node = peer->ws->node;
    booking->node->bookings++;
    booking->ws = peer->ws->id;
    memcpy(booking->addresses, peer->addresses, sizeof booking->addresses);
    booking->entry =
        (struct fab_book_entry){.peer = peer->id, .seen = time(NULL), .n = peer->n_addresses};
    for (unsigned i = 0; i < peer->n_addresses; i++)
        booking->entry.addresses[i] =
            fab_slice(booking->addresses[i].bytes, booking->addresses[i].n);
    booking->work.run = booking_run;
    booking->work.done = booking_done;
    fab_work_start(&booking->work, peer->ws->node->loop, peer->ws->node->pool);
}

/* ---- connections ---- */

/* The one of two connections that both ends keep. */
static bool keeps(const struct node_link *link)
{
    bool ours_first = fab_peer_id_cmp(fab_key_peer_id(link->node->identity), &link->peer->id) < 0;
    return link->dialer == ours_first;
}

/* Dials under way. */
static unsigned dials(const struct node_peer *peer)
{
    unsigned n = 0;
    for (const struct node_link *link = peer->ws->node->links; link; link = link->next)
        n += link->dialled == peer && !link->peer;
    return n;
}

/* One address after the other, a quarter of a second apart, without waiting for the first to fail
 * (RFC 8305): an address that does not answer costs no more than that. */
static bool may_dial(const struct node_peer *peer)
{
    unsigned max = peer->n_addresses < DIALS_AT_ONCE ? peer->n_addresses : DIALS_AT_ONCE;
    return dials(peer) < max;
}

/* One has won. */
static void end_other_dials(const struct node_link *winner)
{
    for (struct node_link *link = winner->node->links; link; link = link->next) {
        if (link == winner || link->dialled != winner->peer || link->peer)
            continue;
        link->dialled = NULL;
        link->extra = true;
        link_close(link, "superfluous");
    }
}

void peer_link_ready(struct node_link *link)
{
    struct node_peer *peer = peer_get(link->ws, fab_conn_peer(link->conn));
    if (!peer) {
        link_close(link, "too_many_peers");
        return;
    }
    unsigned count = 0;
    for (const struct node_link *other = peer->links; other; other = other->peer_next)
        count++;
    if (count >= LINKS_MAX) {
        link_close(link, "too_many_connections");
        return;
    }
    link->peer = peer;
    peer->next_dial_us = 0;
    peer->learned = false;
    end_other_dials(link);
    /* The first is the one in use; a second of the same direction replaces a dead one soon enough.
     */
    if (peer->links && !link->extra && keeps(link) && !keeps(peer->links)) {
        link->peer_next = peer->links;
        peer->links = link;
    } else {
        struct node_link **at = &peer->links;
        while (*at)
            at = &(*at)->peer_next;
        *at = link;
    }
    if (link->dialer) {
        struct fab_buf address;
        fab_buf_init(&address, NODE_ADDRESS_MAX);
        if (address_to_multiaddr(&link->remote, &address) == FAB_OK)
            peer_add_address(peer, fab_buf_slice(&address));
        fab_buf_fini(&address);
    }
}

static void dial_failed(struct node_peer *peer)
{
    uint64_t wait = BACKOFF_MIN_US;
    peer->failures++;
    for (unsigned i = 1; i < peer->failures && wait < BACKOFF_MAX_US; i++)
        wait *= 2;
    peer->next_dial_us = fab_loop_now_us() + wait;
}

void peer_link_gone(struct node_link *link)
{
    struct node_peer *peer = link->peer;
    if (link->dialled && !peer)
        dial_failed(link->dialled);
    if (!peer)
        return;
    struct node_link **at = &peer->links;
    while (*at != link)
        at = &(*at)->peer_next;
    *at = link->peer_next;
    link->peer = NULL;
    fetches_link_gone(link);
    exchange_link_gone(peer, link);
    if (peer->links)
        return;
    fetches_peer_gone(peer);
    bitswap_peer_gone(peer);
    if (peer->identified)
        peer->next_dial_us = fab_loop_now_us() + BACKOFF_MIN_US;
    else
        dial_failed(peer); /* it does not admit us, or is no peer at all */
    peer->identified = peer->speaks_bitswap = peer->speaks_dagsync = false;
    if (peer->n_addresses == 0)
        peer_free(peer);
}

void peer_identified(struct node_peer *peer)
{
    bool first = !peer->identified;
    peer->identified = true;
    if (first) {
        peer->failures = 0; /* not before: it may refuse us right after the handshake */
        peer->unbooked = peer->n_addresses > 0;
    }
    bool gained = peer->speaks_bitswap && !peer->bitswap; /* a push may tell of more */
    if (gained)
        bitswap_peer_ready(peer);
    if (first || gained)
        fetches_peer_ready(peer);
    if (first)
        exchange_peer_ready(peer);
}

/* ---- dialling ---- */

static void peer_dial(struct node_peer *peer)
{
    struct fab_address address;
    /* Another one after each failure. */
    unsigned which = (peer->failures + dials(peer)) % peer->n_addresses;
    const struct node_address *a = &peer->addresses[which];
    enum fab_rc rc = address_of_multiaddr(fab_slice(a->bytes, a->n), &address);
    if (rc == FAB_OK)
        rc = workspace_admits(peer->ws, &peer->id);
    if (rc == FAB_OK)
        rc = node_dial(peer->ws, &address, &peer->id, peer, NULL, NULL);
    if (rc != FAB_OK)
        peer->next_dial_us = fab_loop_now_us() + BACKOFF_MAX_US;
}

/* Of several connections with one peer the superfluous ones end when nothing runs on them. */
static void trim(struct node_peer *peer, uint64_t now_us)
{
    struct node_link *link = peer->links->peer_next;
    for (struct node_link *next; link; link = next) {
        next = link->peer_next;
        if (fab_conn_streams(link->conn) > 0 || link->busy_us == 0)
            link->busy_us = now_us;
        bool superfluous = link->extra || (!keeps(link) && keeps(peer->links));
        if (!link->closing && superfluous && now_us - link->busy_us > IDLE_US)
            link_close(link, "superfluous");
    }
}

/* Whether one more peer is dialled that nobody asked for: a workspace is a full mesh up to
 * NODE_MESH_MAX peers. */
static bool mesh_open(const struct node_workspace *ws, unsigned connected)
{
    unsigned dials = 0;
    for (const struct node_link *link = ws->node->links; link; link = link->next)
        dials += link->ws == ws && link->dialer && !link->peer;
    return connected < NODE_MESH_MAX && dials < NODE_DIALS_MAX;
}

static bool idle(const struct node_link *link, uint64_t now_us)
{
    const struct node_peer *peer = link->peer;
    return peer && !link->dialer && !link->closing && !peer->wanted && !peer->speaks_dagsync &&
           peer->sent == 0 && peer->received == 0 && now_us - link->opened_us > IDLE_GRACE_US &&
           fab_conn_streams(link->conn) == 0;
}

/* The newest come first in the list, so those are kept. */
static void trim_idle(struct fab_node *node, uint64_t now_us)
{
    unsigned count = 0, kept = 0;
    for (const struct node_link *link = node->links; link; link = link->next)
        count += idle(link, now_us);
    if (count <= IDLE_HIGH)
        return;
    for (struct node_link *link = node->links; link; link = link->next)
        if (idle(link, now_us) && ++kept > IDLE_LOW)
            link_close(link, "idle");
}

void peers_tick(struct fab_node *node, uint64_t now_us)
{
    trim_idle(node, now_us);
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next) {
        unsigned connected = 0;
        for (const struct node_peer *peer = ws->peers; peer; peer = peer->next)
            connected += peer->links != NULL;
        for (struct node_peer *peer = ws->peers; peer; peer = peer->next) {
            if (peer->unbooked)
                book(peer);
            if (peer->links)
                trim(peer, now_us);
            else if (ws->n_epochs > 0 && peer->n_addresses > 0 && now_us >= peer->next_dial_us &&
                     may_dial(peer) && (peer->wanted || mesh_open(ws, connected)))
                peer_dial(peer);
        }
    }
}
