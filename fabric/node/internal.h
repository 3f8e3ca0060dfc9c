/* What the files of this folder share.
 *
 *   node ─┬─ workspace ─┬─ peer ─── link (TCP + fab_conn), the first is the one in use
 *         │             ├─ bitswap (bitswap.c)
 *         │             └─ fetch (fetcher.c)
 *         └─ link that has no workspace yet (a handshake)
 *
 * A peer exists while it has a link or an address to dial. Loop thread throughout, except where a
 * function says that it runs in the pool. */
#ifndef FAB_NODE_INTERNAL_H
#define FAB_NODE_INTERNAL_H

#include "fabric/api/api.h"
#include "fabric/exchange/dagsync_message.h"
#include "fabric/exchange/fetch.h"
#include "fabric/loop/tcp.h"
#include "fabric/loop/timer.h"
#include "fabric/loop/work.h"
#include "fabric/node/keyring.h"
#include "fabric/node/log.h"
#include "fabric/node/node.h"
#include "fabric/swarm/conn.h"
#include "fabric/swarm/pnet.h"

#define NODE_LISTEN_MAX     8
#define NODE_LINKS_MAX      4096          /* connections, handshakes included */
#define NODE_HANDSHAKES_MAX 256           /* of them inbound and without a proven peer */
#define NODE_GROWN_MAX      (96ull << 20) /* bytes of grown receive windows, all connections */
#define NODE_CREDIT_MAX     (96ull << 20) /* bytes that all fetches together have asked for */
#define NODE_ADDRESS_MAX    128           /* bytes of a binary multiaddr that is dialled */
#define NODE_PEER_ADDRESSES 8
#define NODE_COLLECTED_MAX                                                                         \
    (64u << 20)            /* bytes of bitswap messages that are not whole, all peers              \
                            */
#define NODE_PEER_LINKS 8  /* connections with one of our own nodes */
#define NODE_MESH_MAX   64 /* connected peers of a workspace, beyond which we dial no more */
#define NODE_DIALS_MAX  16 /* of one workspace at once */

struct node_workspace;
struct node_peer;
struct node_bitswap; /* bitswap.c */
struct node_fetch;   /* fetcher.c */
struct bitswap_peer; /* bitswap.c */
struct serve;        /* dagsync_serve.c */
struct node_mdns;    /* mdns.c */
struct fab_peer_records;

/* One connection. */
struct node_link {
    struct fab_node *node;
    struct node_link *prev, *next; /* node->links */
    struct node_link *peer_next;   /* peer->links */
    struct node_workspace *ws;     /* NULL: the key is not chosen yet */
    struct node_peer *peer;        /* NULL: not ready yet */
    struct node_peer *dialled;     /* the peer whose address this dials; NULL: inbound, unknown */
    struct fab_tcp *tcp;           /* NULL after closed */
    struct fab_conn *conn;
    struct fab_timer timer;
    struct fab_address remote;
    bool dialer, handshake, closing;
    bool reached;              /* TCP is connected */
    bool older;                /* dialled with the epoch before the newest */
    uint32_t epoch;            /* the number of its swarm key, once `ws` is known */
    struct fab_peer_id expect; /* who must answer; len 0: anybody */
    bool extra;            /* one more to a peer that one connection does not bring enough from */
    uint64_t busy_us;      /* when a stream was last seen on it */
    const char *why;       /* static; of the closing */
    uint8_t pings;         /* inbound ping streams */
    unsigned serving;      /* inbound dagsync streams */
    size_t collected;      /* bytes of bitswap messages that are not whole yet */
    size_t filled;         /* bytes that its dagsync streams hold, or may fill now */
    struct serve *starved; /* streams that wait for room in `filled` */
    struct serve *orphans; /* streams that are gone, whose fills still run */
    uint64_t opened_us;
    void (*settled)(void *arg, enum fab_rc rc, struct node_peer *peer); /* of a dial; or NULL */
    void *settled_arg;
};

struct node_address {
    uint8_t n;
    uint8_t bytes[NODE_ADDRESS_MAX]; /* binary multiaddr, ip and tcp, no /p2p */
};

/* One peer of one workspace. */
struct node_peer {
    struct node_workspace *ws;
    struct node_peer *next; /* ws->peers */
    struct fab_peer_id id;
    struct node_link *links;
    struct node_address addresses[NODE_PEER_ADDRESSES];
    unsigned n_addresses;
    bool wanted;     /* configured, or of our own: dialled again when it is lost */
    bool identified; /* its identify has come (or failed) */
    bool unbooked;   /* what is known of it is not in the book yet */
    bool speaks_dagsync, speaks_bitswap, speaks_peers;
    bool learned; /* told by others, and never reached */
    /* Of peer_exchange.c. */
    struct node_link *telling; /* a stream of ours is open on it */
    uint64_t told_us, told_mark, told_seq, heard_us;
    char agent[64];
    unsigned failures;     /* dials in a row */
    unsigned extra_dials;  /* under way */
    bool one_fills;        /* more connections bring nothing */
    uint64_t next_dial_us; /* with backoff */
    struct bitswap_peer *bitswap;
    uint64_t received, sent; /* payload bytes of blocks */
};

struct node_workspace {
    struct fab_node *node;
    struct node_workspace *next;
    uint32_t id;
    char name[FAB_WORKSPACE_NAME_MAX + 1];
    struct fab_epoch epochs[FAB_KEY_EPOCHS_MAX]; /* newest first */
    size_t n_epochs;
    enum fab_admission admission;
    struct node_peer *peers;
    struct node_bitswap *bitswap;
    struct node_fetch *fetches;
    struct fab_peer_records *records; /* NULL: none yet */
    bool here;                        /* of reload */
};

struct node_key {
    struct node_workspace *ws;
    uint32_t epoch;
};

struct fab_node {
    char *home;
    int lock; /* of the home; -1: none */
    struct fab_store *store;
    struct fab_key *identity;
    struct fab_keyring *keyring;
    struct fab_loop *loop;
    struct fab_pool *pool;
    struct fab_api *api;
    struct fab_listener *listeners[NODE_LISTEN_MAX];
    size_t n_listeners;
    struct node_link *links;
    size_t n_links, n_handshakes;
    struct node_workspace *workspaces;
    /* What inbound connections try, in step with each other. */
    const uint8_t *keys[FAB_PNET_KEYS_MAX];
    struct node_key key_owners[FAB_PNET_KEYS_MAX];
    size_t n_keys;
    uint64_t keys_version;
    struct fab_yamux_budget windows;
    unsigned serve_orphans; /* of dagsync_serve.c */
    struct fab_timer tick;
    bool stopping;
    uint64_t started_us, stop_by_us, reloaded_us;
    struct fab_log_limit refused_log;
    size_t collected;       /* of NODE_COLLECTED_MAX */
    unsigned bookings;      /* under way in the pool */
    struct node_mdns *mdns; /* NULL: off */
    /* Of peer_exchange.c: our signed record, and the addresses in it. */
    struct fab_buf own_record, own_addresses;
    uint64_t own_seq, exchanged_us;
};

/* ---- link.c ---- */

void node_accept(void *arg, struct fab_tcp *tcp); /* arg: the node */
/* Dial one address of a workspace's peer. `expect` NULL: whoever answers. `settled` is called
 * exactly once, never before this returns, and not at all unless FAB_OK. */
FAB_MUST enum fab_rc node_dial(struct node_workspace *ws, const struct fab_address *to,
                               const struct fab_peer_id *expect, struct node_peer *dialled,
                               void (*settled)(void *arg, enum fab_rc rc, struct node_peer *peer),
                               void *arg);
/* The same to a peer that is connected: one more connection (struct node_link, extra). */
FAB_MUST enum fab_rc
node_dial_extra(struct node_peer *peer,
                void (*settled)(void *arg, enum fab_rc rc, struct node_peer *peer), void *arg);
/* The peer has answered on a stream, so it has admitted us: the dial is settled. */
void link_answered(struct node_link *link);
/* End it; `why` is static, for the log. */
void link_close(struct node_link *link, const char *why);
/* The usable connection to the peer; NULL. */
struct fab_conn *peer_conn(const struct node_peer *peer);

/* ---- peers.c ---- */

struct node_peer *peer_find(struct node_workspace *ws, const struct fab_peer_id *id);
/* Find or make. NULL: no memory, or too many. */
struct node_peer *peer_get(struct node_workspace *ws, const struct fab_peer_id *id);
/* A link is ready: it becomes the peer's, or is closed as superfluous. */
void peer_link_ready(struct node_link *link);
void peer_link_gone(struct node_link *link);
/* Its identify has come: it may be asked for blocks. */
void peer_identified(struct node_peer *peer);
/* Remember an address, ip and tcp (a /p2p behind it is cut off). */
void peer_add_address(struct node_peer *peer, struct fab_slice multiaddr);
/* Dial what is due. */
void peers_tick(struct fab_node *node, uint64_t now_us);
void peers_free(struct node_workspace *ws);
/* One that has no link. */
void peer_forget(struct node_peer *peer);
/* Read the ip and tcp of a binary multiaddr. FAB_EUNSUPPORTED for anything else. */
FAB_MUST enum fab_rc address_of_multiaddr(struct fab_slice multiaddr, struct fab_address *out);
/* The reverse; appends. */
FAB_MUST enum fab_rc address_to_multiaddr(const struct fab_address *address, struct fab_buf *out);

/* ---- workspaces.c ---- */

/* Read workspaces, keys and admission from the store again. */
void workspaces_reload(struct fab_node *node);
struct node_workspace *workspace_by_name(struct fab_node *node, const char *name);
FAB_MUST enum fab_rc workspace_admits(struct node_workspace *ws, const struct fab_peer_id *peer);
void workspaces_free(struct fab_node *node);

/* ---- protocols ---- */

/* The protocol that an inbound stream asks for, for this link's workspace. */
const struct fab_protocol *protocol_find(struct fab_slice name);
/* The names of all of them; gives their number. */
size_t protocol_names(const char **out, size_t max);
void identify_start(struct node_link *link); /* identify.c: ask the peer who it is */
/* identify.c: our addresses have changed; tell every connected peer. */
void identify_push_all(struct fab_node *node);
extern const struct fab_protocol identify_protocol, identify_push_protocol, ping_protocol;
extern const struct fab_protocol dagsync_protocol; /* dagsync_serve.c */
/* The connection is freed, its streams are gone: what it still has under way is nobody's. */
void dagsync_link_gone(struct node_link *link);
extern const struct fab_protocol bitswap_protocol; /* bitswap.c */

/* The link of an inbound stream. */
struct node_link *stream_link(struct fab_stream *stream);

/* Bytes on their way out of one stream. */
struct outbuf {
    struct fab_buf buf;
    size_t sent;
    bool fin; /* nothing will be added: our half ends behind the last byte */
};
/* For a stream's `output`. */
size_t outbuf_pull(struct outbuf *out, uint8_t *p, size_t cap, bool *fin);

/* ---- bitswap.c ---- */

FAB_MUST enum fab_rc bitswap_new(struct node_workspace *ws);
void bitswap_free(struct node_workspace *ws);
void bitswap_peer_ready(struct node_peer *peer); /* identified and speaks bitswap */
void bitswap_peer_gone(struct node_peer *peer);
void bitswap_tick(struct node_workspace *ws, uint64_t now_us);

/* ---- fetcher.c ---- */

struct fetch_progress {
    uint64_t blocks, bytes; /* received */
    uint64_t found;         /* were here already */
    uint64_t wanted;        /* known to be lacking now */
    unsigned peers;         /* that are asked */
};

struct fetch_request {
    struct fab_cid root;
    const struct fab_cid *more; /* single blocks beside the root, with FAB_FETCH_NONE; borrowed
                                   until fetch_start returns */
    size_t n_more;
    /* FAB_FETCH_OFFERED: what one peer sends of `path` below the root, and of the bytes [from, to)
     * of what is there; that all came is for the asker to see. */
    enum fab_fetch_follow follow;
    const char *path;  /* borrowed until fetch_start returns; NULL: the root itself */
    uint64_t from, to; /* to 0: no bytes, the block alone */
    bool pin;
    char name[FAB_PIN_NAME_MAX + 1]; /* of the pin; "" none */
    uint64_t patience_us;            /* without progress; 0: 30 s */
    /* Loop thread. `progress` may be called often; `done` exactly once, never before fetch_start
     * returned; nothing after it. */
    void (*progress)(void *arg, const struct fetch_progress *progress);
    void (*done)(void *arg, const struct fab_err *err, const struct fetch_progress *progress,
                 const struct fab_cid *missing, size_t n_missing);
    void *arg;
};

FAB_MUST enum fab_rc fetch_start(struct node_workspace *ws, const struct fetch_request *request,
                                 struct node_fetch **out, struct fab_err *err);
/* End it; what came stays in the store, unpinned. `done` comes with FAB_EINTERRUPTED. */
void fetch_cancel(struct node_fetch *fetch);
struct node_fetch *fetch_next(const struct node_fetch *fetch);
void fetches_peer_ready(struct node_peer *peer);
void fetches_peer_gone(struct node_peer *peer);
/* An extra link may be used, or has gone. */
void fetches_link_ready(struct node_link *link);
void fetches_link_gone(struct node_link *link);
void fetches_tick(struct node_workspace *ws, uint64_t now_us);

/* ---- peer_exchange.c ---- */

extern const struct fab_protocol peer_exchange_protocol;
void exchange_peer_ready(struct node_peer *peer); /* identified */
void exchange_link_gone(struct node_peer *peer, const struct node_link *link);
/* A signed record that came over this link. Another code than FAB_OK: it breaks a rule. */
FAB_MUST enum fab_rc exchange_record(struct node_link *link, struct fab_slice envelope);
void exchange_tick(struct fab_node *node, uint64_t now_us);
void exchange_workspace_free(struct node_workspace *ws);

/* ---- mdns.c ---- */

/* Find peers on the local network, and be found. What is not possible here is logged once. */
void mdns_start(struct fab_node *node);
void mdns_stop(struct fab_node *node);
/* There are other keys than before: announce again. */
void mdns_keys_changed(struct fab_node *node);

/* ---- interfaces.c ---- */

/* One address of one network interface that is up. */
struct node_interface {
    unsigned index;
    bool loopback, multicast;
    unsigned prefix; /* bits */
    struct fab_address address;
};
/* Gives their number. */
size_t interfaces_read(struct node_interface *out, size_t max);
/* Whether the address is in the interface's own network. */
bool interface_reaches(const struct node_interface *interface, const struct fab_address *address);
bool address_is_any(const struct fab_address *address);
bool address_is_loopback(const struct fab_address *address);
bool address_is_link_local6(const struct fab_address *address);
bool address_same_host(const struct fab_address *a, const struct fab_address *b);

/* ---- routes.c ---- */

extern const struct fab_api_route node_routes[];
extern const size_t node_routes_count;
void node_shutdown(struct fab_node *node);

#endif
