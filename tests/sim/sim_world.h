/* What a simulated swarm consists of: a catalogue of blocks, the workspaces that they belong to,
 * and nodes. */
#ifndef FAB_SIM_WORLD_H
#define FAB_SIM_WORLD_H

#include "fabric/exchange/bitswap_client.h"
#include "fabric/exchange/bitswap_server.h"
#include "fabric/exchange/dagsync_client.h"
#include "fabric/exchange/dagsync_server.h"
#include "fabric/exchange/fetch.h"
#include "fabric/swarm/conn.h"
#include "tests/sim/sim_net.h"

#define SIM_NONE    UINT32_MAX
#define SIM_SPACES  6
#define SIM_ROOTS   3 /* of a workspace */
#define SIM_LINKS   9
#define SIM_TARGETS 3 /* peers that a node keeps a connection to, per workspace */
#define SIM_WINDOWS ((uint64_t)2 << 20)

struct sim_block {
    struct fab_cid cid;
    uint8_t *data;
    size_t n;
    unsigned space;
    uint32_t links[SIM_LINKS];
    unsigned n_links;
};

struct sim_space {
    uint8_t key[32];
    uint32_t roots[SIM_ROOTS];
    uint8_t *admitted; /* a flag per node */
};

struct candidates;
struct sim_conn;
struct sim_node;

/* A node's part in one workspace. */
struct sim_member {
    struct sim_node *node;
    unsigned space;
    const uint8_t *key;
    uint8_t *has;  /* a flag per block of the catalogue; survives the node's restarts */
    uint32_t want; /* the root, or SIM_NONE */
    bool complete;
    size_t targets[SIM_TARGETS];
    uint64_t dial_us[SIM_TARGETS]; /* not before */
    struct fab_fetch *fetch;
    struct fab_bitswap_server *server;
    struct fab_bitswap_client *client;
    struct fab_bitswap_session *session;
    bool with_bitswap; /* bitswap stands in the fetch as peer `bitswap` */
    unsigned bitswap;
    struct candidates *candidates; /* while a message is read */
    bool pump_waits;
    uint64_t timer_us; /* when bitswap's timer rings; 0: it does not */
    uint64_t blocks;   /* received */
};

struct sim_node {
    struct sim_world *world;
    size_t index;
    struct fab_key *identity;
    bool up, dagsync; /* dagsync: speaks it, and so do both ends where it is used */
    bool ticks;
    bool outsider; /* has no right to be in: a wrong key, or it is not admitted */
    struct sim_member members[2];
    unsigned n_members;
    const uint8_t *keys[2];
    struct sim_conn *conns;
    struct fab_yamux_budget windows;
};

struct sim_world {
    struct sim_net *net;
    struct sim_block *blocks;
    uint32_t n_blocks, cap_blocks;
    uint32_t *table; /* of block numbers + 1 */
    size_t table_cap;
    struct sim_space spaces[SIM_SPACES];
    struct sim_node *nodes;
    size_t n_nodes;
    bool over; /* it is about to be freed */
    uint64_t conns, readies, refused, cuts, timeouts, received, duplicates, again, restarts;
    size_t open_conns, open_max;
};

/* ---- sim_world.c ---- */

struct sim_world *sim_world_new(uint64_t seed, size_t nodes);
void sim_world_free(struct sim_world *w);
/* SIM_NONE: not in the catalogue. */
uint32_t sim_block_find(const struct sim_world *w, const struct fab_cid *cid);
/* Whether the member has everything below its root. */
bool sim_member_whole(const struct sim_member *m);
/* Members with a right to what they want, and how many of them have it. */
void sim_world_progress(const struct sim_world *w, size_t *wanting, size_t *complete);

/* ---- sim_node.c ---- */

/* Say on stderr how the fetches stand that are not complete. */
void sim_node_print(const struct sim_node *node);

void sim_node_up(struct sim_node *node);
/* `silently`: nobody is told. */
void sim_node_down(struct sim_node *node, bool silently);
/* Rules that hold at every moment. */
void sim_node_check(const struct sim_node *node);

#endif
