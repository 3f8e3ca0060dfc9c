/* The daemon's life: open, listen, tick, and end in order: no new connections, fetches are
 * cancelled and their blocks written, connections say GoAway and close, the loop drains. */
#include "fabric/node/internal.h"

#include "fabric/loop/signal.h"
#include "storage/multiformats/multiaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The loop goes before the pool and the store's writers, which would take its processor whenever
 * they have something to do: a byte is then moved from cache to cache, and every peer waits. On two
 * processors this is a fifth of a transfer's time. */
#define POOL_NICE 5
#define TICK_US   (250u * 1000u)
#define RELOAD_US (1000u * 1000u)
#define STOP_US   (10u * 1000000u) /* to write what fetches have got */
#define LINGER_US (2u * 1000000u)  /* for peers to take leave */

static void on_tick(void *arg);

/* ---- listening ---- */

static enum fab_rc listen_on(struct fab_node *node, const char *text, struct fab_err *err)
{
    struct fab_buf multiaddr;
    struct fab_address address;
    fab_buf_init(&multiaddr, FAB_MULTIADDR_MAX);
    enum fab_rc rc = fab_multiaddr_from_text(text, strlen(text), &multiaddr);
    if (rc == FAB_OK)
        rc = address_of_multiaddr(fab_buf_slice(&multiaddr), &address);
    fab_buf_fini(&multiaddr);
    if (rc != FAB_OK)
        return fab_err_set(err, FAB_EINVAL,
                           "'%s' cannot be listened on: write /ip4/ADDRESS/tcp/PORT or "
                           "/ip6/ADDRESS/tcp/PORT",
                           text);
    FAB_TRY(fab_listener_new(node->loop, &address, node_accept, node,
                             &node->listeners[node->n_listeners], err));
    node->n_listeners++;
    return FAB_OK;
}

/* "WORKSPACE MULTIADDR": dialled until it is there. */
static enum fab_rc add_static_peer(struct fab_node *node, const char *text, struct fab_err *err)
{
    const char *space = strchr(text, ' ');
    struct fab_buf multiaddr;
    struct fab_slice id;
    struct fab_peer_id peer_id;
    char name[FAB_WORKSPACE_NAME_MAX + 1];
    fab_buf_init(&multiaddr, FAB_MULTIADDR_MAX);
    size_t n = space ? (size_t)(space - text) : 0;
    bool ok = space && n > 0 && n < sizeof name &&
              fab_multiaddr_from_text(space + 1, strlen(space + 1), &multiaddr) == FAB_OK &&
              fab_multiaddr_find(fab_buf_slice(&multiaddr), FAB_MA_P2P, &id) == FAB_OK &&
              fab_peer_id_from_bytes(id, &peer_id) == FAB_OK;
    struct node_workspace *ws = NULL;
    if (ok) {
        memcpy(name, text, n);
        name[n] = '\0';
        ws = workspace_by_name(node, name);
    }
    struct node_peer *peer = ws ? peer_get(ws, &peer_id) : NULL;
    if (peer) {
        peer->wanted = true;
        peer_add_address(peer, fab_buf_slice(&multiaddr));
    }
    fab_buf_fini(&multiaddr);
    if (!ok)
        return fab_err_set(err, FAB_EINVAL,
                           "peer '%s': write WORKSPACE /ip4/ADDRESS/tcp/PORT/p2p/PEERID", text);
    if (!ws)
        return fab_err_set(err, FAB_ENOENT, "peer '%s': there is no such workspace here", text);
    return FAB_OK;
}

/* ---- the end ---- */

static void stop_now(struct fab_node *node)
{
    fab_timer_stop(&node->tick);
    for (size_t i = 0; i < node->n_listeners; i++)
        fab_listener_close(node->listeners[i]);
    node->n_listeners = 0;
    fab_api_free(node->api);
    node->api = NULL;
    fab_loop_stop(node->loop);
}

static bool fetching(const struct fab_node *node)
{
    for (const struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        if (ws->fetches)
            return true;
    return false;
}

void node_shutdown(struct fab_node *node)
{
    if (node->stopping)
        return;
    node->stopping = true;
    node->stop_by_us = fab_loop_now_us() + STOP_US;
    fab_log("stopping", "links=%zu", node->n_links);
    mdns_stop(node);
    fab_notify("STOPPING=1");
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        for (struct node_fetch *fetch = ws->fetches; fetch; fetch = fetch_next(fetch))
            fetch_cancel(fetch);
    for (struct node_link *link = node->links; link; link = link->next) {
        fab_conn_go_away(link->conn);
        link_close(link, "shutdown");
    }
    fab_timer_start(&node->tick, fab_loop_now_us());
}

static void on_signal(void *arg, int signo)
{
    struct fab_node *node = arg;
    if (signo == SIGHUP)
        workspaces_reload(node);
    else
        node_shutdown(node);
}

/* ---- time ---- */

static void on_tick(void *arg)
{
    struct fab_node *node = arg;
    uint64_t now = fab_loop_now_us();
    if (node->stopping && ((!fetching(node) && !node->links) || now >= node->stop_by_us ||
                           (!fetching(node) && now >= node->stop_by_us - STOP_US + LINGER_US))) {
        stop_now(node);
        return;
    }
    if (!node->stopping) {
        if (now - node->reloaded_us >= RELOAD_US) {
            node->reloaded_us = now;
            workspaces_reload(node);
        }
        exchange_tick(node, now);
        peers_tick(node, now);
    }
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next) {
        bitswap_tick(ws, now);
        fetches_tick(ws, now);
    }
    fab_timer_start(&node->tick, now + (node->stopping ? TICK_US / 10 : TICK_US));
}

/* ---- life ---- */

/* One daemon per home: the lock is held until the process ends. */
static enum fab_rc lock_home(struct fab_node *node, struct fab_err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/fabricd.lock", node->home) < 0)
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    enum fab_rc rc = FAB_OK;
    node->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock < 0)
        rc = fab_err_errno(err, errno, "%s cannot be opened", path);
    else if (flock(node->lock, LOCK_EX | LOCK_NB) != 0)
        rc = fab_err_set(err, FAB_EBUSY, "a fabricd runs on %s already; see `fabric status`",
                         node->home);
    free(path);
    return rc;
}

enum fab_rc fab_node_new(const struct fab_node_config *config, struct fab_node **out,
                         struct fab_err *err)
{
    struct fab_node *node = calloc(1, sizeof *node);
    char *socket_path = NULL;
    enum fab_rc rc = FAB_ENOMEM;
    if (!node || sodium_init() < 0)
        goto out;
    node->lock = -1;
    node->store = config->store;
    node->home = strdup(config->home);
    node->windows.max = NODE_GROWN_MAX;
    node->started_us = fab_loop_now_us();
    if (!node->home || asprintf(&socket_path, "%s/%s", config->home, FAB_NODE_SOCKET) < 0)
        goto out;
    rc = lock_home(node, err);
    if (rc == FAB_OK)
        rc = fab_loop_new(&node->loop);
    if (rc == FAB_OK)
        rc = fab_pool_new(0, FAB_WORK_CAPACITY, POOL_NICE, &node->pool);
    if (rc != FAB_OK)
        goto out;
    fab_timer_init(&node->tick, node->loop, on_tick, node);
    rc =
        fab_api_new(node->loop, socket_path, node_routes, node_routes_count, node, &node->api, err);
    if (rc == FAB_OK)
        rc = fab_identity_open(config->home, &node->identity, err);
    if (rc == FAB_OK)
        rc = fab_keyring_new(node->store, node->identity, &node->keyring, err);
    if (rc != FAB_OK)
        goto out;
    workspaces_reload(node);
    if (config->n_listen > NODE_LISTEN_MAX) {
        rc = fab_err_set(err, FAB_ELIMIT, "more than %d addresses to listen on", NODE_LISTEN_MAX);
        goto out;
    }
    for (size_t i = 0; i < config->n_listen && rc == FAB_OK; i++)
        rc = listen_on(node, config->listen[i], err);
    for (size_t i = 0; i < config->n_peers && rc == FAB_OK; i++)
        rc = add_static_peer(node, config->peers[i], err);
    if (rc == FAB_OK && config->mdns)
        mdns_start(node);
    if (rc == FAB_OK && fab_loop_signals(node->loop, on_signal, node) != FAB_OK)
        rc = fab_err_set(err, FAB_EIO, "signals cannot be caught");
out:
    free(socket_path);
    if (rc != FAB_OK) {
        if (err && err->rc == FAB_OK)
            fab_err_set(err, rc, "the daemon cannot start: %s", fab_rc_text(rc));
        fab_node_free(node);
        return rc;
    }
    *out = node;
    return FAB_OK;
}

static void log_listening(const struct fab_node *node)
{
    char text[FAB_PEER_ID_TEXT_MAX], address[FAB_ADDRESS_TEXT];
    fab_peer_id_text(fab_key_peer_id(node->identity), text);
    for (size_t i = 0; i < node->n_listeners; i++)
        fab_log("listening", "address=%s peer=%s workspaces=%zu",
                fab_address_text(fab_listener_address(node->listeners[i]), address), text,
                node->n_keys);
}

void fab_node_run(struct fab_node *node, void (*ready)(void *arg), void *arg)
{
    log_listening(node);
    fab_notify("READY=1");
    if (ready)
        ready(arg);
    fab_timer_start(&node->tick, fab_loop_now_us());
    fab_loop_run(node->loop);
    for (struct node_link *link = node->links; link; link = link->next)
        if (link->tcp)
            fab_tcp_close(link->tcp);
    if (fab_loop_drain(node->loop, STOP_US) != FAB_OK)
        fab_log("stop_incomplete", "links=%zu", node->n_links);
    fab_log("stopped", "uptime_s=%llu",
            (unsigned long long)((fab_loop_now_us() - node->started_us) / 1000000));
}

void fab_node_free(struct fab_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n_listeners; i++)
        fab_listener_close(node->listeners[i]);
    fab_api_free(node->api);
    if (node->loop && node->links)
        fab_log("stop_incomplete", "links=%zu", node->n_links);
    mdns_stop(node);
    /* What is under way in the pool uses the rest. If it does not end (another process holds the
     * store's write lock, say), it can only be left behind by ending the process. */
    if (node->loop && fab_loop_drain(node->loop, STOP_US) != FAB_OK) {
        fab_log("stop_incomplete", "links=%zu", node->n_links);
        _exit(EXIT_FAILURE);
    }
    workspaces_free(node);
    fab_buf_fini(&node->own_record);
    fab_buf_fini(&node->own_addresses);
    fab_keyring_free(node->keyring);
    fab_key_free(node->identity);
    if (node->loop && fab_loop_drain(node->loop, STOP_US) != FAB_OK)
        fab_log("stop_incomplete", "links=%zu", node->n_links);
    fab_pool_free(node->pool);
    fab_loop_free(node->loop);
    if (node->lock >= 0)
        close(node->lock);
    free(node->home);
    free(node);
}
