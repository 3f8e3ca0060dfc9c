/* The ways to misbehave. Each says on stdout, in one line, what became of it. */
#ifndef ROGUE_MODES_H
#define ROGUE_MODES_H

#include "tests/integration/rogue/peer.h"

struct mode {
    const char *name;
    /* `cid`: a block that the node has, or is about to ask for. False: the node bore what it must
     * not. */
    bool (*run)(const struct target *t, const struct fab_cid *cid);
};

extern const struct mode handshake_modes[], yamux_modes[], protocol_modes[], source_modes[];

/* The node closes within `limit_ms`, having sent at most `bytes_max` (0: any). Says so. */
bool closes(struct wire *w, double limit_ms, uint64_t bytes_max);
/* The connection answers a ping. Says `what`, and that. */
bool lives(struct peer *p, const char *what);
/* As peer_connect; ends the program when the node refuses. */
void connect_or_end(struct peer *p, const struct target *t);

#endif
