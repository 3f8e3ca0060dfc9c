/* identify, identify push and ping on the streams of a link.
 *
 * As soon as a link is ready we ask the peer who it is; what it speaks decides how blocks are asked
 * for. One that does not answer within five seconds counts as identified and speaking nothing. Its
 * addresses go to the peer book. Whoever asks us gets one message. */
#include "fabric/swarm/identify.h"
#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/dagsync_message.h"
#include "fabric/node/internal.h"
#include "fabric/swarm/peer_exchange.h"
#include "fabric/swarm/ping.h"
#include "storage/multiformats/multiaddr.h"

#include <stdlib.h>
#include <string.h>

#define OWN_ADDRESSES_MAX 16u /* that are told */

struct asking {
    struct node_link *link;
    struct fab_stream *stream;
    struct fab_identify_reader reader;
    struct fab_timer timer;
};

struct telling {
    struct outbuf out;
};

struct echo {
    struct node_link *link;
    struct fab_stream *stream;
    struct fab_buf bytes; /* on their way back */
    struct fab_timer timer;
    bool ended;
};

/* ---- reading what a peer says ---- */

static void take(struct node_peer *peer, const struct fab_identify *id)
{
    size_t n =
        id->agent_version.n < sizeof peer->agent - 1 ? id->agent_version.n : sizeof peer->agent - 1;
    if (n > 0)
        memcpy(peer->agent, id->agent_version.p, n);
    peer->agent[n] = '\0';
    peer->speaks_dagsync = fab_identify_speaks(id, FAB_DAGSYNC_PROTOCOL);
    peer->speaks_bitswap = fab_identify_speaks(id, FAB_BITSWAP_PROTOCOL);
    peer->speaks_peers = fab_identify_speaks(id, FAB_PEERS_PROTOCOL);
    for (size_t i = id->n_listen; i-- > 0;)
        peer_add_address(peer, id->listen[i]);
}

static void ask_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct asking *asking = user;
    fab_stream_consumed(stream, n);
    if (fab_identify_reader_feed(&asking->reader, fab_slice(p, n)) != FAB_OK)
        fab_stream_reset(stream, FAB_STREAM_CANCELLED);
}

static void ask_end(void *user, struct fab_stream *stream)
{
    struct asking *asking = user;
    struct fab_identify id;
    struct node_peer *peer = asking->link->peer;
    (void)stream;
    if (!peer || fab_identify_reader_finish(&asking->reader, &id) != FAB_OK)
        return;
    take(peer, &id);
    if (id.signed_peer_record.n > 0 &&
        exchange_record(asking->link, id.signed_peer_record) != FAB_OK)
        fab_log_limited(&peer->ws->node->refused_log, "peer_record_refused", "workspace=%s",
                        peer->ws->name);
}

static size_t ask_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    (void)user;
    (void)stream;
    (void)p;
    (void)cap;
    *fin = true;
    return 0;
}

static void ask_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct asking *asking = user;
    struct node_peer *peer = asking->link->peer;
    (void)stream;
    (void)why;
    fab_timer_stop(&asking->timer);
    fab_identify_reader_fini(&asking->reader);
    struct node_link *link = asking->link;
    free(asking);
    if (!peer)
        return;
    peer_identified(peer);
    link_answered(link);
}

static void ask_late(void *arg)
{
    fab_stream_reset(((struct asking *)arg)->stream, FAB_STREAM_CANCELLED);
}

static const struct fab_stream_events ask_events = {
    .input = ask_input, .end = ask_end, .output = ask_output, .closed = ask_closed};

static struct asking *asking_new(struct node_link *link)
{
    struct asking *asking = calloc(1, sizeof *asking);
    if (!asking)
        return NULL;
    asking->link = link;
    fab_identify_reader_init(&asking->reader);
    fab_timer_init(&asking->timer, link->node->loop, ask_late, asking);
    fab_timer_start(&asking->timer, fab_loop_now_us() + FAB_IDENTIFY_TIMEOUT_US);
    return asking;
}

void identify_start(struct node_link *link)
{
    static const char *const names[] = {FAB_IDENTIFY_PROTOCOL};
    struct asking *asking = asking_new(link);
    if (asking &&
        fab_conn_open(link->conn, names, 1, &ask_events, asking, &asking->stream) == FAB_OK)
        return;
    if (asking)
        fab_timer_stop(&asking->timer);
    free(asking);
    link_close(link, "identify_cannot_be_asked");
}

/* A push is read as an answer is. */
static enum fab_rc push_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct asking *asking = asking_new(stream_link(stream));
    (void)ctx;
    if (!asking)
        return FAB_ENOMEM;
    asking->stream = stream;
    *user = asking;
    return FAB_OK;
}

const struct fab_protocol identify_push_protocol = {
    .name = FAB_IDENTIFY_PUSH_PROTOCOL, .events = &ask_events, .accept = push_accept};

/* ---- saying who we are ---- */

/* Behind what is there already, the node's other addresses (peer_exchange.c keeps them). */
static void add_own_addresses(const struct fab_node *node, struct fab_identify *id)
{
    struct fab_reader r = fab_reader(fab_buf_slice(&node->own_addresses));
    struct fab_multiaddr_part part;
    while (fab_reader_left(&r) > 0 && id->n_listen < OWN_ADDRESSES_MAX) {
        const uint8_t *from = r.p;
        for (int ip_and_tcp = 0; ip_and_tcp < 2; ip_and_tcp++)
            if (fab_multiaddr_next(&r, &part) != FAB_OK)
                return;
        struct fab_slice one = fab_slice(from, (size_t)(r.p - from));
        bool known = false;
        for (size_t i = 0; i < id->n_listen; i++)
            known |= fab_slice_eq(id->listen[i], one);
        if (!known)
            id->listen[id->n_listen++] = one;
    }
}

static enum fab_rc describe(struct node_link *link, struct fab_buf *out)
{
    const char *names[FAB_IDENTIFY_PROTOCOLS_MAX];
    struct fab_buf listen[NODE_LISTEN_MAX], observed;
    struct fab_identify id = {
        .public_key = fab_key_public_proto(link->node->identity),
        .agent_version = fab_slice("fabric/" FABRIC_VERSION, strlen("fabric/" FABRIC_VERSION)),
    };
    id.n_protocols = protocol_names(names, FAB_IDENTIFY_PROTOCOLS_MAX);
    for (size_t i = 0; i < id.n_protocols; i++)
        id.protocols[i] = fab_slice(names[i], strlen(names[i]));
    /* A listener on all addresses is reached at the one that this peer is talking to. */
    size_t n = 0;
    for (size_t i = 0; i < link->node->n_listeners; i++) {
        struct fab_address address = *fab_listener_address(link->node->listeners[i]);
        size_t length;
        const uint8_t *ip = fab_address_bytes(&address, &length);
        static const uint8_t zero[16];
        const struct fab_address *local = fab_tcp_local(link->tcp);
        size_t local_length;
        const uint8_t *local_ip = fab_address_bytes(local, &local_length);
        if (memcmp(ip, zero, length) == 0) {
            if (local_length != length ||
                fab_address_ip(local_ip, length, fab_address_port(&address), &address) != FAB_OK)
                continue;
        }
        fab_buf_init(&listen[n], NODE_ADDRESS_MAX);
        if (address_to_multiaddr(&address, &listen[n]) == FAB_OK) {
            id.listen[id.n_listen++] = fab_buf_slice(&listen[n]);
            n++;
        } else {
            fab_buf_fini(&listen[n]);
        }
    }
    add_own_addresses(link->node, &id);
    fab_buf_init(&observed, NODE_ADDRESS_MAX);
    if (address_to_multiaddr(&link->remote, &observed) == FAB_OK)
        id.observed = fab_buf_slice(&observed);
    enum fab_rc rc = fab_identify_write(&id, out);
    for (size_t i = 0; i < n; i++)
        fab_buf_fini(&listen[i]);
    fab_buf_fini(&observed);
    return rc;
}

static void tell_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    (void)user;
    (void)p;
    fab_stream_consumed(stream, n); /* nothing is expected; what comes is passed over */
}

static size_t tell_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    (void)stream;
    return outbuf_pull(&((struct telling *)user)->out, p, cap, fin);
}

static void tell_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct telling *telling = user;
    (void)stream;
    (void)why;
    fab_buf_fini(&telling->out.buf);
    free(telling);
}

static const struct fab_stream_events tell_events = {
    .input = tell_input, .output = tell_output, .closed = tell_closed};

static enum fab_rc telling_new(struct node_link *link, struct telling **out)
{
    struct telling *telling = calloc(1, sizeof *telling);
    if (!telling)
        return FAB_ENOMEM;
    fab_buf_init(&telling->out.buf, FAB_IDENTIFY_WRITE_MAX);
    telling->out.fin = true;
    enum fab_rc rc = describe(link, &telling->out.buf);
    if (rc != FAB_OK) {
        tell_closed(telling, NULL, rc);
        return rc;
    }
    *out = telling;
    return FAB_OK;
}

static enum fab_rc tell_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct telling *telling;
    (void)ctx;
    FAB_TRY(telling_new(stream_link(stream), &telling));
    *user = telling;
    return FAB_OK;
}

void identify_push_all(struct fab_node *node)
{
    static const char *const names[] = {FAB_IDENTIFY_PUSH_PROTOCOL};
    struct telling *telling;
    struct fab_stream *stream;
    for (struct node_link *link = node->links; link; link = link->next) {
        if (link->closing || !link->peer || !fab_conn_is_ready(link->conn) ||
            telling_new(link, &telling) != FAB_OK)
            continue;
        enum fab_rc rc = fab_conn_open(link->conn, names, 1, &tell_events, telling, &stream);
        if (rc != FAB_OK)
            tell_closed(telling, NULL, rc);
    }
}

const struct fab_protocol identify_protocol = {
    .name = FAB_IDENTIFY_PROTOCOL, .events = &tell_events, .accept = tell_accept};

/* ---- ping ---- */

static void echo_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct echo *echo = user;
    if (fab_buf_append(&echo->bytes, p, n) != FAB_OK) {
        fab_stream_reset(stream, FAB_STREAM_RESOURCE);
        return;
    }
    fab_timer_start(&echo->timer, fab_loop_now_us() + FAB_PING_IDLE_US);
    fab_stream_wake(stream);
}

static void echo_end(void *user, struct fab_stream *stream)
{
    ((struct echo *)user)->ended = true;
    fab_stream_wake(stream);
}

static size_t echo_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    struct echo *echo = user;
    size_t n = echo->bytes.len < cap ? echo->bytes.len : cap;
    if (n > 0) {
        memcpy(p, echo->bytes.data, n);
        memmove(echo->bytes.data, echo->bytes.data + n, echo->bytes.len - n);
        echo->bytes.len -= n;
        fab_stream_consumed(stream, n);
    }
    *fin = echo->ended && echo->bytes.len == 0;
    return n;
}

static void echo_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct echo *echo = user;
    (void)stream;
    (void)why;
    echo->link->pings--;
    fab_timer_stop(&echo->timer);
    fab_buf_fini(&echo->bytes);
    free(echo);
}

static void echo_idle(void *arg)
{
    fab_stream_reset(((struct echo *)arg)->stream, FAB_STREAM_CANCELLED);
}

static const struct fab_stream_events echo_events = {
    .input = echo_input, .end = echo_end, .output = echo_output, .closed = echo_closed};

static enum fab_rc echo_accept(void *ctx, struct fab_stream *stream, void **user)
{
    struct node_link *link = stream_link(stream);
    struct echo *echo;
    (void)ctx;
    if (link->pings >= FAB_PING_STREAMS_MAX)
        return FAB_ELIMIT;
    if (!(echo = calloc(1, sizeof *echo)))
        return FAB_ENOMEM;
    link->pings++;
    echo->link = link;
    echo->stream = stream;
    fab_buf_init(&echo->bytes, 16 * FAB_PING_SIZE);
    fab_timer_init(&echo->timer, link->node->loop, echo_idle, echo);
    fab_timer_start(&echo->timer, fab_loop_now_us() + FAB_PING_IDLE_US);
    *user = echo;
    return FAB_OK;
}

const struct fab_protocol ping_protocol = {
    .name = FAB_PING_PROTOCOL, .events = &echo_events, .accept = echo_accept};
