/* The daemon's API (docs/protocols/api.md), on the Unix socket in the home. */
#include "fabric/node/internal.h"

#include "storage/multiformats/multiaddr.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- who and where we are ---- */

static void append_address(json_t *list, const struct fab_address *address, const char *peer)
{
    struct fab_buf binary, text;
    fab_buf_init(&binary, NODE_ADDRESS_MAX);
    fab_buf_init(&text, FAB_MULTIADDR_TEXT_MAX);
    if (address_to_multiaddr(address, &binary) == FAB_OK &&
        fab_multiaddr_to_text(fab_buf_slice(&binary), &text) == FAB_OK)
        json_array_append_new(
            list, json_sprintf("%.*s/p2p/%s", (int)text.len, (const char *)text.data, peer));
    fab_buf_fini(&binary);
    fab_buf_fini(&text);
}

/* A listener on all addresses is given as each address that the machine has. */
static void append_listener(json_t *list, const struct fab_address *at, const char *peer)
{
    static const uint8_t zero[16];
    size_t n;
    const uint8_t *ip = fab_address_bytes(at, &n);
    struct ifaddrs *all = NULL;
    if (memcmp(ip, zero, n) != 0 || getifaddrs(&all) != 0) {
        append_address(list, at, peer);
        return;
    }
    for (struct ifaddrs *one = all; one; one = one->ifa_next) {
        struct fab_address address = {0};
        if (!one->ifa_addr || one->ifa_addr->sa_family != at->any.sa_family)
            continue;
        if (n == 4)
            memcpy(&address.v4, one->ifa_addr, sizeof address.v4);
        else
            memcpy(&address.v6, one->ifa_addr, sizeof address.v6);
        size_t length;
        const uint8_t *bytes = fab_address_bytes(&address, &length);
        if (fab_address_ip(bytes, length, fab_address_port(at), &address) == FAB_OK &&
            !(length == 16 && bytes[0] == 0xfe && bytes[1] == 0x80)) /* needs a zone to be used */
            append_address(list, &address, peer);
    }
    freeifaddrs(all);
}

static json_t *identity_json(const struct fab_node *node)
{
    char peer[FAB_PEER_ID_TEXT_MAX];
    json_t *addresses = json_array();
    fab_peer_id_text(fab_key_peer_id(node->identity), peer);
    for (size_t i = 0; i < node->n_listeners; i++)
        append_listener(addresses, fab_listener_address(node->listeners[i]), peer);
    return json_pack("{s:s, s:s, s:o}", "peer_id", peer, "agent", "fabric/" FABRIC_VERSION,
                     "addresses", addresses);
}

static void get_id(void *arg, struct fab_api_request *request)
{
    fab_api_json(request, 200, identity_json(arg));
}

static json_t *workspace_json(const struct node_workspace *ws)
{
    int connected = 0, known = 0, fetches = 0;
    for (const struct node_peer *peer = ws->peers; peer; peer = peer->next) {
        known++;
        connected += peer->links != NULL;
    }
    for (struct node_fetch *fetch = ws->fetches; fetch; fetch = fetch_next(fetch))
        fetches++;
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:s}", "name", ws->name, "epochs",
                     (int)ws->n_epochs, "peers", connected, "known_peers", known, "fetches",
                     fetches, "admit", ws->admission == FAB_ADMIT_LIST ? "list" : "key");
}

static void get_status(void *arg, struct fab_api_request *request)
{
    struct fab_node *node = arg;
    json_t *status = identity_json(node), *workspaces = json_array();
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        json_array_append_new(workspaces, workspace_json(ws));
    json_object_set_new(status, "workspaces", workspaces);
    json_object_set_new(status, "connections", json_integer((json_int_t)node->n_links));
    json_object_set_new(
        status, "uptime",
        json_integer((json_int_t)((fab_loop_now_us() - node->started_us) / 1000000)));
    json_object_set_new(status, "home", json_string(node->home));
    json_object_set_new(status, "pid", json_integer(getpid()));
    fab_api_json(request, 200, status);
}

/* ---- workspaces ---- */

static struct node_workspace *asked_workspace(struct fab_node *node,
                                              struct fab_api_request *request)
{
    const char *name = fab_api_param(request, "workspace");
    struct node_workspace *ws = workspace_by_name(node, name);
    if (!ws) {
        workspaces_reload(node); /* it may have been made a moment ago */
        ws = workspace_by_name(node, name);
    }
    char message[256];
    if (!ws) {
        snprintf(message, sizeof message, "there is no workspace %.63s here", name);
        fab_api_error(request, FAB_ENOENT, message);
        return NULL;
    }
    if (ws->n_epochs == 0)
        workspaces_reload(node);
    if (ws->n_epochs == 0) {
        snprintf(message, sizeof message,
                 "workspace %s has no swarm key, so it has no peers; see `fabric workspace create` "
                 "and `fabric workspace import-key`",
                 ws->name);
        fab_api_error_status(request, 409, "no_key", message);
        return NULL;
    }
    return ws;
}

static json_t *peer_json(const struct node_peer *peer)
{
    char text[FAB_PEER_ID_TEXT_MAX], address[FAB_ADDRESS_TEXT];
    json_t *links = json_array();
    const struct fab_conn *conn = peer_conn(peer);
    fab_peer_id_text(&peer->id, text);
    for (const struct node_link *link = peer->links; link; link = link->peer_next)
        json_array_append_new(links, json_pack("{s:s, s:s}", "address",
                                               fab_address_text(&link->remote, address),
                                               "direction", link->dialer ? "out" : "in"));
    json_t *addresses = json_array();
    for (unsigned i = 0; i < peer->n_addresses; i++) {
        struct fab_address known;
        if (address_of_multiaddr(fab_slice(peer->addresses[i].bytes, peer->addresses[i].n),
                                 &known) == FAB_OK)
            append_address(addresses, &known, text);
    }
    return json_pack("{s:s, s:b, s:o, s:o, s:s, s:b, s:b, s:I, s:I, s:f}", "peer_id", text,
                     "connected", conn != NULL, "connections", links, "addresses", addresses,
                     "agent", peer->agent, "dagsync", peer->speaks_dagsync, "bitswap",
                     peer->speaks_bitswap, "received", (json_int_t)peer->received, "sent",
                     (json_int_t)peer->sent, "rtt",
                     conn ? (double)fab_conn_rtt_us(conn) / 1e6 : 0.0);
}

static void get_peers(void *arg, struct fab_api_request *request)
{
    struct node_workspace *ws = asked_workspace(arg, request);
    if (!ws)
        return;
    json_t *list = json_array();
    bool all = fab_api_query(request, "all") != NULL;
    for (struct node_peer *peer = ws->peers; peer; peer = peer->next)
        if (all || peer->links)
            json_array_append_new(list, peer_json(peer));
    fab_api_json(request, 200, list);
}

/* ---- connect ---- */

#define CONNECT_ATTEMPTS 4u
#define CONNECT_AGAIN_US (300u * 1000u)

struct connecting {
    struct fab_node *node;
    struct fab_api_request *request; /* NULL: the client has gone */
    char workspace[FAB_WORKSPACE_NAME_MAX + 1];
    char text[256];
    struct fab_address address;
    struct fab_peer_id expect; /* len 0: anybody */
    struct fab_timer again;
    unsigned attempts;
};

static void connect_gone(void *arg)
{
    struct connecting *connecting = arg;
    connecting->request = NULL;
    if (!fab_timer_armed(&connecting->again))
        return; /* a dial is under way: its end frees */
    fab_timer_stop(&connecting->again);
    free(connecting);
}

static void connect_answer(struct connecting *connecting, enum fab_rc rc,
                           const struct fab_peer_id *peer)
{
    char message[512], text[FAB_PEER_ID_TEXT_MAX];
    if (connecting->request && rc == FAB_OK) {
        fab_peer_id_text(peer, text);
        fab_api_json(connecting->request, 200, json_pack("{s:s}", "peer_id", text));
    } else if (connecting->request) {
        snprintf(message, sizeof message, "%s cannot be reached: %s", connecting->text,
                 rc == FAB_ENOENT     ? "nobody listens there"
                 : rc == FAB_ETIMEOUT ? "no answer in time"
                 : rc == FAB_EACCES   ? "another peer answered than the address names"
                                      : "the peer closed; is it in the same workspace, with the "
                                        "same swarm key, and does it admit this node?");
        fab_api_error(connecting->request, rc, message);
    }
    free(connecting);
}

/* The peer may have dialled us at the same moment, and one of the two connections was closed; or it
 * was busy. So a peer that closes is tried again. */
static void connect_settled(void *arg, enum fab_rc rc, struct node_peer *peer)
{
    struct connecting *connecting = arg;
    if (rc == FAB_OK && peer)
        connect_answer(connecting, FAB_OK, &peer->id);
    else if (rc != FAB_EIO || !connecting->request || connecting->attempts >= CONNECT_ATTEMPTS ||
             connecting->node->stopping)
        connect_answer(connecting, rc == FAB_OK ? FAB_EIO : rc, NULL);
    else
        fab_timer_start(&connecting->again, fab_loop_now_us() + CONNECT_AGAIN_US);
}

static void connect_try(void *arg)
{
    struct connecting *connecting = arg;
    struct node_workspace *ws = workspace_by_name(connecting->node, connecting->workspace);
    bool known = connecting->expect.len > 0;
    struct node_peer *peer = ws && known ? peer_find(ws, &connecting->expect) : NULL;
    connecting->attempts++;
    if (peer && peer_conn(peer)) {
        connect_answer(connecting, FAB_OK, &peer->id);
        return;
    }
    enum fab_rc rc = ws ? node_dial(ws, &connecting->address, known ? &connecting->expect : NULL,
                                    NULL, connect_settled, connecting)
                        : FAB_EIO;
    if (rc != FAB_OK)
        connect_answer(connecting, rc, NULL);
}

static void post_connect(void *arg, struct fab_api_request *request)
{
    struct node_workspace *ws = asked_workspace(arg, request);
    const char *text = fab_api_query(request, "address");
    struct fab_buf multiaddr;
    struct fab_slice id;
    char message[512];
    if (!ws)
        return;
    struct connecting *connecting = calloc(1, sizeof *connecting);
    if (!connecting) {
        fab_api_error(request, FAB_ENOMEM, "out of memory");
        return;
    }
    fab_buf_init(&multiaddr, FAB_MULTIADDR_MAX);
    enum fab_rc rc = text ? fab_multiaddr_from_text(text, strlen(text), &multiaddr) : FAB_EINVAL;
    if (rc == FAB_OK && fab_multiaddr_find(fab_buf_slice(&multiaddr), FAB_MA_P2P, &id) == FAB_OK)
        rc = fab_peer_id_from_bytes(id, &connecting->expect);
    if (rc == FAB_OK)
        rc = address_of_multiaddr(fab_buf_slice(&multiaddr), &connecting->address);
    fab_buf_fini(&multiaddr);
    if (rc != FAB_OK) {
        snprintf(message, sizeof message,
                 "'%.200s' cannot be dialled: write /ip4/ADDRESS/tcp/PORT, with /p2p/PEERID behind "
                 "it if only that peer will do",
                 text ? text : "");
        free(connecting);
        fab_api_error(request, FAB_EINVAL, message);
        return;
    }
    connecting->node = arg;
    connecting->request = request;
    snprintf(connecting->workspace, sizeof connecting->workspace, "%s", ws->name);
    snprintf(connecting->text, sizeof connecting->text, "%s", text);
    fab_timer_init(&connecting->again, connecting->node->loop, connect_try, connecting);
    fab_timer_start(&connecting->again, fab_loop_now_us());
    fab_api_later(request, connect_gone, connecting);
}

/* ---- fetch ---- */

struct fetching {
    struct fab_api_stream *stream; /* NULL: the client has gone */
    struct node_fetch *fetch;      /* NULL: ended */
    uint64_t told_us;
};

#define TELL_US        (100u * 1000u)
#define FETCH_CIDS_MAX 64

static json_t *progress_json(const struct fetch_progress *p)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:i}", "blocks", (json_int_t)p->blocks, "bytes",
                     (json_int_t)p->bytes, "found", (json_int_t)p->found, "wanted",
                     (json_int_t)p->wanted, "peers", (int)p->peers);
}

static void fetch_told(void *arg, const struct fetch_progress *progress)
{
    struct fetching *fetching = arg;
    uint64_t now = fab_loop_now_us();
    if (!fetching->stream || now - fetching->told_us < TELL_US)
        return;
    fetching->told_us = now;
    /* A line that does not fit is left out: the next one says more. */
    enum fab_rc rc = fab_api_stream_json(fetching->stream, progress_json(progress));
    (void)rc;
}

static void fetch_done(void *arg, const struct fab_err *err, const struct fetch_progress *progress,
                       const struct fab_cid *missing, size_t n_missing)
{
    struct fetching *fetching = arg;
    fetching->fetch = NULL;
    if (!fetching->stream) {
        free(fetching);
        return;
    }
    json_t *last = progress_json(progress);
    json_t *list = json_array();
    for (size_t i = 0; i < n_missing; i++) {
        char text[FAB_CID_TEXT_MAX];
        fab_cid_text(&missing[i], text);
        json_array_append_new(list, json_string(text));
    }
    if (n_missing > 0)
        json_object_set_new(last, "missing", list);
    else
        json_decref(list);
    if (err->rc == FAB_OK)
        json_object_set_new(last, "done", json_true());
    enum fab_rc rc = fab_api_stream_json(fetching->stream, last);
    (void)rc;
    fab_api_stream_end(fetching->stream, err->rc == FAB_OK ? NULL : err);
    free(fetching);
}

static void fetch_gone(void *arg)
{
    struct fetching *fetching = arg;
    fetching->stream = NULL;
    if (fetching->fetch)
        fetch_cancel(fetching->fetch);
    else
        free(fetching);
}

static const struct fab_api_stream_ops fetch_stream_ops = {.gone = fetch_gone};

/* CIDs with commas between them; how many, 0 when one is none or they are too many. */
static size_t read_cids(const char *text, struct fab_cid out[FETCH_CIDS_MAX])
{
    for (size_t n = 0; n < FETCH_CIDS_MAX; n++) {
        size_t length = strcspn(text, ",");
        if (fab_cid_from_text(text, length, &out[n]) != FAB_OK)
            return 0;
        if (text[length] == '\0')
            return n + 1;
        text += length + 1;
    }
    return 0;
}

/* A number of the query; `out` stays as it is when it is not there. False: answered, and refused.
 */
static bool query_number(struct fab_api_request *request, const char *name, uint64_t min,
                         uint64_t max, uint64_t *out)
{
    const char *text = fab_api_query(request, name);
    char *end;
    if (!text)
        return true;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value < min || value > max) {
        char why[128];
        snprintf(why, sizeof why, "?%s= is a number from %llu to %llu", name,
                 (unsigned long long)min, (unsigned long long)max);
        fab_api_error(request, FAB_EINVAL, why);
        return false;
    }
    *out = value;
    return true;
}

/* What the query of a fetch asks for, into `fetch` and `cids`, which it borrows from the request.
 * False: answered, and refused. */
static bool fetch_query(struct fab_api_request *request, struct fetch_request *fetch,
                        struct fab_cid cids[FETCH_CIDS_MAX])
{
    const char *cid = fab_api_query(request, "cid"), *name = fab_api_query(request, "name");
    uint64_t seconds = 0;
    size_t n = cid ? read_cids(cid, cids) : 0;
    fetch->path = fab_api_query(request, "path");
    fetch->pin = fab_api_query(request, "pin") != NULL;
    if (!query_number(request, "from", 0, FAB_DAGSYNC_RANGE_END - 1, &fetch->from) ||
        !query_number(request, "to", 1, FAB_DAGSYNC_RANGE_END, &fetch->to) ||
        !query_number(request, "patience", 1, 86400, &seconds))
        return false;
    bool single = fab_api_query(request, "root-only") != NULL, part = fetch->path || fetch->to > 0;
    const char *why = NULL;
    if (n == 0 || (n > 1 && !single))
        why = "?cid= is not a CID, or with root-only up to 64 with commas between them";
    else if (part && (single || fetch->pin))
        why = "a part (?path=, ?from=, ?to=) is neither pinned nor root-only";
    else if (fetch->path && strlen(fetch->path) > FAB_DAGSYNC_PATH_MAX)
        why = "?path= is too long";
    else if (fetch->from > 0 && fetch->from >= fetch->to)
        why = "?from= is not below ?to=";
    else if (name && strlen(name) > FAB_PIN_NAME_MAX)
        why = "?name= is too long";
    if (why) {
        fab_api_error(request, FAB_EINVAL, why);
        return false;
    }
    fetch->follow = part ? FAB_FETCH_OFFERED : single ? FAB_FETCH_NONE : FAB_FETCH_ALL;
    fetch->patience_us = seconds * 1000000u;
    fetch->root = cids[0];
    fetch->more = cids + 1;
    fetch->n_more = n - 1;
    if (name)
        memcpy(fetch->name, name, strlen(name) + 1);
    return true;
}

static void post_fetch(void *arg, struct fab_api_request *request)
{
    struct node_workspace *ws = asked_workspace(arg, request);
    struct fetch_request fetch = {.progress = fetch_told, .done = fetch_done};
    struct fab_err err = {0};
    struct fab_cid cids[FETCH_CIDS_MAX];
    if (!ws || !fetch_query(request, &fetch, cids))
        return;
    struct fetching *fetching = calloc(1, sizeof *fetching);
    if (!fetching) {
        fab_api_error(request, FAB_ENOMEM, "out of memory");
        return;
    }
    fetch.arg = fetching;
    if (fetch_start(ws, &fetch, &fetching->fetch, &err) != FAB_OK) {
        free(fetching);
        fab_api_error(request, err.rc, err.msg);
        return;
    }
    if (fab_api_stream_start(request, &fetch_stream_ops, fetching, &fetching->stream) != FAB_OK) {
        fetching->stream = NULL;
        fetch_cancel(fetching->fetch);
        fab_api_error(request, FAB_ENOMEM, "out of memory");
    }
}

/* ---- the daemon ---- */

static void post_reload(void *arg, struct fab_api_request *request)
{
    workspaces_reload(arg);
    fab_api_empty(request);
}

static void post_shutdown(void *arg, struct fab_api_request *request)
{
    fab_api_empty(request);
    node_shutdown(arg);
}

const struct fab_api_route node_routes[] = {
    {"GET", "/api/v1/id", get_id},
    {"GET", "/api/v1/status", get_status},
    {"GET", "/api/v1/workspaces/{workspace}/peers", get_peers},
    {"POST", "/api/v1/workspaces/{workspace}/connect", post_connect},
    {"POST", "/api/v1/workspaces/{workspace}/fetch", post_fetch},
    {"POST", "/api/v1/reload", post_reload},
    {"POST", "/api/v1/shutdown", post_shutdown},
};
const size_t node_routes_count = sizeof node_routes / sizeof *node_routes;
