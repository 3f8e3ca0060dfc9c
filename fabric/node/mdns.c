/* Finding peers on the local network (fabric/swarm/mdns.h).
 *
 * Happy path: at start or with a new key, after 1, 3, 7 and 15 seconds, and then about once a
 * minute we ask and announce on every interface that does multicast; whoever hears the question
 * announces itself. An announcement that one of our swarm keys opens names a peer, which is dialled
 * where the announcement came from, unless we are connected with it.
 *
 * Everybody on the network can send us anything here: packets from elsewhere than the interface's
 * own network are ignored, and what they may cause is counted (packets, answers, dials; per second,
 * per source, per peer). Where the port or multicast is not to be had we go on without. */
#include "fabric/swarm/mdns.h"
#include "fabric/loop/udp.h"
#include "fabric/node/internal.h"

#include <netinet/in.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INTERFACES     64 /* addresses */
#define PERIOD_US      (60u * 1000000u)
#define JITTER_US      (10u * 1000000u)
#define HEARD_US       (30u * 1000000u) /* somebody else has asked: the answers came to us too */
#define AGAIN_US       (2u * 1000000u)  /* between two announcements on an interface */
#define ANSWER_MIN_US  20000u
#define ANSWER_SPAN_US 100000u
#define PACKETS_MAX    200 /* read in a second */
#define SOURCES_MAX    64
#define SOURCE_DIALS   10 /* in a minute */
#define ALL_DIALS      60
#define MINUTE_US      (60u * 1000000u)
#define PEERS_MAX      128
#define REDIAL_US      (10u * 1000000u)
#define YIELD_US       (2u * 1000000u)   /* the peer that comes second in order waits so long */
#define STALE_US       (180u * 1000000u) /* then a peer's first sighting is a first one again */

enum { V4, V6 };

/* What happened on one interface, with one family. */
struct side {
    unsigned index; /* of the interface; 0: free */
    int family;     /* V4, V6 */
    uint64_t announced_us, heard_us;
    bool answer;
};

struct sighted {
    struct node_workspace *ws; /* NULL: free */
    struct fab_peer_id peer;
    uint64_t first_us, last_us, dialled_us;
};

struct source {
    struct fab_address address;
    uint64_t since_us;
    unsigned dials;
};

struct node_mdns {
    struct fab_node *node;
    struct fab_udp *udp[2];
    struct fab_address group[2];
    struct node_interface interfaces[INTERFACES];
    size_t n_interfaces;
    struct side sides[INTERFACES];
    struct fab_timer round, answer;
    unsigned rounds;
    uint8_t secret[32]; /* what nonces and covers come from */
    struct sighted sighted[PEERS_MAX];
    struct source sources[SOURCES_MAX];
    uint64_t minute_us, second_us;
    unsigned dials, packets;
};

/* ---- interfaces ---- */

static int family_of(const struct fab_address *address)
{
    return address->any.sa_family == AF_INET6 ? V6 : V4;
}

static struct side *side_of(struct node_mdns *mdns, unsigned index, int family)
{
    struct side *unused = NULL;
    for (size_t i = 0; i < INTERFACES; i++) {
        struct side *side = &mdns->sides[i];
        if (side->index == index && side->family == family)
            return side;
        if (!unused && side->index == 0)
            unused = side;
    }
    if (unused)
        *unused = (struct side){.index = index, .family = family};
    return unused;
}

static bool is_there(const struct node_mdns *mdns, const struct side *side)
{
    for (size_t i = 0; i < mdns->n_interfaces; i++)
        if (mdns->interfaces[i].multicast && mdns->interfaces[i].index == side->index &&
            family_of(&mdns->interfaces[i].address) == side->family)
            return true;
    return false;
}

/* Look at the interfaces again; join where we have not. */
static void interfaces_refresh(struct node_mdns *mdns)
{
    mdns->n_interfaces = interfaces_read(mdns->interfaces, INTERFACES);
    for (size_t i = 0; i < INTERFACES; i++)
        if (mdns->sides[i].index && !is_there(mdns, &mdns->sides[i]))
            mdns->sides[i] = (struct side){.index = 0};
    for (size_t i = 0; i < mdns->n_interfaces; i++) {
        const struct node_interface *interface = &mdns->interfaces[i];
        int family = family_of(&interface->address);
        if (interface->multicast && mdns->udp[family] &&
            fab_udp_join(mdns->udp[family], &mdns->group[family], interface->index) == FAB_OK)
            side_of(mdns, interface->index, family);
    }
}

/* Whether an address is on the network of the interface that its packet came in on. */
static bool is_near(const struct node_mdns *mdns, const struct fab_address *from, unsigned index)
{
    for (size_t i = 0; i < mdns->n_interfaces; i++)
        if (mdns->interfaces[i].index == index && interface_reaches(&mdns->interfaces[i], from))
            return true;
    return false;
}

/* The port of a listener that can be reached over this side; 0: none. */
static uint16_t side_port(const struct node_mdns *mdns, const struct side *side)
{
    for (size_t i = 0; i < mdns->node->n_listeners; i++) {
        const struct fab_address *at = fab_listener_address(mdns->node->listeners[i]);
        if (family_of(at) != side->family)
            continue;
        if (address_is_any(at))
            return fab_address_port(at);
        for (size_t j = 0; j < mdns->n_interfaces; j++)
            if (mdns->interfaces[j].index == side->index &&
                address_same_host(&mdns->interfaces[j].address, at))
                return fab_address_port(at);
    }
    return 0;
}

/* ---- announcing ---- */

static uint32_t slot_now(void)
{
    return (uint32_t)(time(NULL) / FAB_MDNS_SLOT_S);
}

/* Of the announcement number `group` in a time slot. */
static void nonce_of(const struct node_mdns *mdns, uint32_t slot, size_t group,
                     uint8_t out[FAB_MDNS_NONCE])
{
    uint8_t hash[crypto_generichash_BYTES];
    const uint8_t message[] = {(uint8_t)(slot >> 24), (uint8_t)(slot >> 16), (uint8_t)(slot >> 8),
                               (uint8_t)slot, (uint8_t)group};
    crypto_generichash(hash, sizeof hash, message, sizeof message, mdns->secret,
                       sizeof mdns->secret);
    memcpy(out, hash, FAB_MDNS_NONCE);
}

static size_t groups(const struct fab_node *node)
{
    return (node->n_keys + FAB_MDNS_ENTRIES_MAX - 1) / FAB_MDNS_ENTRIES_MAX;
}

static void send_group(struct node_mdns *mdns, const struct side *side, size_t group, uint16_t port)
{
    const struct fab_node *node = mdns->node;
    struct fab_mdns_announcement a = {.slot = slot_now(), .port = port};
    struct fab_buf packet;
    nonce_of(mdns, a.slot, group, a.nonce);
    for (size_t i = group * FAB_MDNS_ENTRIES_MAX; i < node->n_keys; i++)
        if (fab_mdns_seal(&a, node->keys[i], fab_key_peer_id(node->identity)) != FAB_OK)
            break;
    fab_mdns_cover(&a, mdns->secret);
    fab_buf_init(&packet, FAB_MDNS_PACKET_MAX);
    /* What is not sent now is sent with the next round. */
    if (fab_mdns_announce(&a, &packet) == FAB_OK &&
        fab_udp_send(mdns->udp[side->family], packet.data, packet.len, &mdns->group[side->family],
                     side->index) != FAB_OK)
        fab_buf_reset(&packet);
    fab_buf_fini(&packet);
}

static void send_announcements(struct node_mdns *mdns, struct side *side)
{
    uint16_t port = side_port(mdns, side);
    side->answer = false;
    side->announced_us = fab_loop_now_us();
    for (size_t i = 0; port && i < groups(mdns->node); i++)
        send_group(mdns, side, i, port);
}

static void send_query(struct node_mdns *mdns, const struct side *side)
{
    struct fab_buf packet;
    fab_buf_init(&packet, FAB_MDNS_PACKET_MAX);
    if (fab_mdns_query(&packet) == FAB_OK &&
        fab_udp_send(mdns->udp[side->family], packet.data, packet.len, &mdns->group[side->family],
                     side->index) != FAB_OK)
        fab_buf_reset(&packet);
    fab_buf_fini(&packet);
}

static void on_round(void *arg)
{
    struct node_mdns *mdns = arg;
    uint64_t now = fab_loop_now_us(), wait;
    bool starting = mdns->rounds < 5;
    interfaces_refresh(mdns);
    for (size_t i = 0; i < INTERFACES && mdns->node->n_keys > 0; i++) {
        struct side *side = &mdns->sides[i];
        if (side->index == 0)
            continue;
        if (starting || now - side->heard_us >= HEARD_US)
            send_query(mdns, side);
        send_announcements(mdns, side);
    }
    if (mdns->rounds < 4)
        wait = 1000000ull << mdns->rounds;
    else
        wait = PERIOD_US - JITTER_US + randombytes_uniform(2 * JITTER_US);
    if (starting)
        mdns->rounds++;
    fab_timer_start(&mdns->round, now + wait);
}

static void on_answer(void *arg)
{
    struct node_mdns *mdns = arg;
    for (size_t i = 0; i < INTERFACES; i++)
        if (mdns->sides[i].index && mdns->sides[i].answer)
            send_announcements(mdns, &mdns->sides[i]);
}

static void take_query(struct node_mdns *mdns, unsigned index, int family, uint64_t now_us)
{
    struct side *side = side_of(mdns, index, family);
    if (!side)
        return;
    side->heard_us = now_us;
    if (side->answer || now_us - side->announced_us < AGAIN_US)
        return;
    side->answer = true;
    if (!fab_timer_armed(&mdns->answer))
        fab_timer_start(&mdns->answer,
                        now_us + ANSWER_MIN_US + randombytes_uniform(ANSWER_SPAN_US));
}

/* ---- sightings ---- */

static bool is_own(const struct node_mdns *mdns, const struct fab_mdns_announcement *a)
{
    for (size_t i = 0; i < groups(mdns->node); i++) {
        uint8_t nonce[FAB_MDNS_NONCE];
        nonce_of(mdns, a->slot, i, nonce);
        if (memcmp(nonce, a->nonce, sizeof nonce) == 0)
            return true;
    }
    return false;
}

static struct sighted *sighted_of(struct node_mdns *mdns, struct node_workspace *ws,
                                  const struct fab_peer_id *peer, uint64_t now_us)
{
    struct sighted *oldest = &mdns->sighted[0];
    for (size_t i = 0; i < PEERS_MAX; i++) {
        struct sighted *s = &mdns->sighted[i];
        if (s->ws == ws && fab_peer_id_eq(&s->peer, peer)) {
            if (now_us - s->last_us > STALE_US)
                s->first_us = now_us;
            s->last_us = now_us;
            return s;
        }
        if (s->last_us < oldest->last_us)
            oldest = s;
    }
    *oldest = (struct sighted){.ws = ws, .peer = *peer, .first_us = now_us, .last_us = now_us};
    return oldest;
}

/* Count a dial that this source causes; false: one too many. */
static bool source_allows(struct node_mdns *mdns, const struct fab_address *from, uint64_t now_us)
{
    struct source *at = &mdns->sources[0];
    if (now_us - mdns->minute_us >= MINUTE_US) {
        mdns->minute_us = now_us;
        mdns->dials = 0;
    }
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        struct source *s = &mdns->sources[i];
        if (address_same_host(&s->address, from)) {
            at = s;
            break;
        }
        if (s->since_us < at->since_us)
            at = s;
    }
    if (!address_same_host(&at->address, from) || now_us - at->since_us >= MINUTE_US)
        *at = (struct source){.address = *from, .since_us = now_us};
    if (at->dials >= SOURCE_DIALS || mdns->dials >= ALL_DIALS)
        return false;
    at->dials++;
    mdns->dials++;
    return true;
}

static bool wants(struct node_workspace *ws, const struct fab_peer_id *id)
{
    unsigned connected = 0;
    for (const struct node_peer *peer = ws->peers; peer; peer = peer->next) {
        connected += peer->links != NULL;
        if (peer->links && fab_peer_id_eq(&peer->id, id))
            return false;
    }
    return connected < NODE_MESH_MAX && workspace_admits(ws, id) == FAB_OK;
}

static void take_peer(struct node_mdns *mdns, struct node_workspace *ws,
                      const struct fab_peer_id *id, const struct fab_address *from, uint16_t port,
                      uint64_t now_us)
{
    char text[FAB_PEER_ID_TEXT_MAX], where[FAB_ADDRESS_TEXT];
    const struct fab_peer_id *self = fab_key_peer_id(mdns->node->identity);
    if (fab_peer_id_eq(id, self) || !wants(ws, id))
        return;
    struct sighted *s = sighted_of(mdns, ws, id, now_us);
    /* Both see each other at the same time; one dials, the other only when that has not helped. */
    if (fab_peer_id_cmp(self, id) > 0 && now_us - s->first_us < YIELD_US)
        return;
    if ((s->dialled_us && now_us - s->dialled_us < REDIAL_US) || !source_allows(mdns, from, now_us))
        return;
    struct fab_address to = *from;
    if (to.any.sa_family == AF_INET6)
        to.v6.sin6_port = htons(port);
    else
        to.v4.sin_port = htons(port);
    s->dialled_us = now_us;
    enum fab_rc rc = node_dial(ws, &to, id, peer_find(ws, id), NULL, NULL);
    fab_peer_id_text(id, text);
    fab_log("mdns_found", "workspace=%s peer=%s address=%s dial=\"%s\"", ws->name, text,
            fab_address_text(&to, where), fab_rc_text(rc));
}

static void take_announcement(struct node_mdns *mdns, const struct fab_mdns_announcement *a,
                              const struct fab_address *from, uint64_t now_us)
{
    const struct fab_node *node = mdns->node;
    uint32_t now = slot_now(), off = a->slot > now ? a->slot - now : now - a->slot;
    if (off > FAB_MDNS_SLOTS_OFF || is_own(mdns, a))
        return;
    for (size_t i = 0; i < node->n_keys; i++) {
        struct fab_peer_id id;
        const struct node_key *owner = &node->key_owners[i];
        if (fab_mdns_open(a, node->keys[i], &id) != FAB_OK)
            continue;
        /* Dials use the newest key. Who has only an older one dials us. */
        if (owner->ws->n_epochs > 0 && owner->epoch == owner->ws->epochs[0].number)
            take_peer(mdns, owner->ws, &id, from, a->port, now_us);
    }
}

static void on_packet(void *arg, uint8_t *p, size_t n, const struct fab_address *from,
                      unsigned interface)
{
    struct node_mdns *mdns = arg;
    struct fab_mdns_packet packet;
    uint64_t now = fab_loop_now_us();
    if (now - mdns->second_us >= 1000000) {
        mdns->second_us = now;
        mdns->packets = 0;
    }
    if (mdns->node->stopping || mdns->packets++ >= PACKETS_MAX || interface == 0 ||
        fab_address_port(from) != FAB_MDNS_PORT || !is_near(mdns, from, interface) ||
        fab_mdns_parse(fab_slice(p, n), &packet) != FAB_OK)
        return;
    if (packet.query)
        take_query(mdns, interface, family_of(from), now);
    for (size_t i = 0; i < packet.n; i++)
        take_announcement(mdns, &packet.seen[i], from, now);
}

/* ---- life ---- */

static enum fab_rc open_family(struct node_mdns *mdns, int family)
{
    static const uint8_t groups_ip[2][16] = {
        [V4] = {224, 0, 0, 251}, [V6] = {0xff, 0x02, [15] = 0xfb}};
    static const uint8_t any[16];
    size_t n = family == V4 ? 4 : 16;
    struct fab_address at;
    FAB_TRY(fab_address_ip(groups_ip[family], n, FAB_MDNS_PORT, &mdns->group[family]));
    FAB_TRY(fab_address_ip(any, n, FAB_MDNS_PORT, &at));
    return fab_udp_new(mdns->node->loop, &at, on_packet, mdns, &mdns->udp[family]);
}

void mdns_start(struct fab_node *node)
{
    struct node_mdns *mdns = calloc(1, sizeof *mdns);
    if (!mdns) {
        fab_log("mdns_off", "why=\"%s\"", fab_rc_text(FAB_ENOMEM));
        return;
    }
    mdns->node = node;
    fab_timer_init(&mdns->round, node->loop, on_round, mdns);
    fab_timer_init(&mdns->answer, node->loop, on_answer, mdns);
    enum fab_rc v4 = open_family(mdns, V4), v6 = open_family(mdns, V6);
    if (v4 != FAB_OK && v6 != FAB_OK) {
        fab_log("mdns_off", "why=\"%s\"", fab_rc_text(v4));
        free(mdns);
        return;
    }
    randombytes_buf(mdns->secret, sizeof mdns->secret);
    node->mdns = mdns;
    fab_timer_start(&mdns->round, fab_loop_now_us());
}

void mdns_keys_changed(struct fab_node *node)
{
    if (!node->mdns)
        return;
    node->mdns->rounds = 0;
    fab_timer_start(&node->mdns->round, fab_loop_now_us());
}

void mdns_stop(struct fab_node *node)
{
    struct node_mdns *mdns = node->mdns;
    node->mdns = NULL;
    if (!mdns)
        return;
    fab_timer_stop(&mdns->round);
    fab_timer_stop(&mdns->answer);
    fab_udp_close(mdns->udp[V4]);
    fab_udp_close(mdns->udp[V6]);
    sodium_memzero(mdns->secret, sizeof mdns->secret);
    free(mdns);
}
