/* What sim_node.c (connections) and sim_swap.c (streams and fetches) share. */
#ifndef FAB_SIM_NODE_H
#define FAB_SIM_NODE_H

#include "tests/sim/sim_world.h"

struct sim_stream;

struct sim_conn {
    struct sim_node *node;
    struct sim_member *member; /* NULL: the key is not chosen yet */
    struct sim_conn *prev, *next;
    struct sim_link *link; /* NULL: left */
    unsigned side;
    struct fab_conn *conn; /* NULL: gone */
    size_t remote;         /* the node, once it is proven; SIZE_MAX before */
    size_t target;         /* of the member's targets, that it was dialled for; SIM_TARGETS: none */
    bool admitted, ready, closing, pump_waits;
    unsigned pending; /* events that know it */
    uint64_t timer_us;
    bool both_dagsync;
    struct sim_stream *ask, *wants;
    struct fab_bitswap_server_peer *server_peer;
    struct fab_bitswap_client_peer *client_peer;
};

/* ---- sim_swap.c ---- */

const struct fab_protocol *sim_protocol(const struct sim_conn *c, struct fab_slice name);
void sim_swap_open(struct sim_member *m);  /* the node has started */
void sim_swap_close(struct sim_member *m); /* after its connections */
void sim_swap_ready(struct sim_conn *c);
void sim_swap_gone(struct sim_conn *c); /* its streams are closed */
/* Go on, soon. */
void sim_swap_pump(struct sim_member *m);
/* Every two seconds: what is stuck is tried again. */
void sim_swap_tick(struct sim_member *m);
void sim_swap_check(const struct sim_conn *c);
void sim_swap_print(const struct sim_conn *c); /* on stderr */

#endif
