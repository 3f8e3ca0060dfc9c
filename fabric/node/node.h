/* The node: one daemon's swarm. It listens, dials, and serves every workspace that has a swarm key,
 * on one port, with one identity; it fetches DAGs from peers for commands and jobs.
 *
 * Everything runs on the thread that calls fab_node_run; reading and writing the store runs in a
 * pool. The store may be used by other processes meanwhile: workspaces, keys and admissions that
 * they add are taken up within a second. */
#ifndef FAB_NODE_NODE_H
#define FAB_NODE_NODE_H

#include "storage/store/store.h"

#define FAB_NODE_SOCKET "fabricd.sock" /* in the home */

struct fab_node;

struct fab_node_config {
    const char *home;          /* absolute; has the store */
    struct fab_store *store;   /* borrowed */
    const char *const *listen; /* multiaddrs: /ip4/A/tcp/P or /ip6/A/tcp/P, 1 or more */
    size_t n_listen;
    const char *const *peers; /* "WORKSPACE MULTIADDR" with /p2p: dialled again and again */
    size_t n_peers;
    bool mdns; /* find peers on the local network, and be found */
};

/* Open identity and keys, listen, serve the API on HOME/fabricd.sock. FAB_EBUSY: another fabricd
 * runs on this home. */
FAB_MUST enum fab_rc fab_node_new(const struct fab_node_config *config, struct fab_node **out,
                                  struct fab_err *err);
/* Run until SIGINT, SIGTERM or the API's shutdown; then close everything in order. `ready` is
 * called once when all is listening (may be NULL). */
void fab_node_run(struct fab_node *node, void (*ready)(void *arg), void *arg);
void fab_node_free(struct fab_node *node); /* NULL is allowed */

#endif
