/* What a peer says on streams: enough to be served, and to serve, as the modes want it. */
#ifndef ROGUE_PEER_H
#define ROGUE_PEER_H

#include "storage/multiformats/cid.h"
#include "tests/integration/rogue/wire.h"

#define STREAMS_MAX 512

struct stream {
    uint32_t id; /* 0: a free slot */
    bool ours;
    bool agreed, reset, ended;
    uint32_t code;     /* of the reset */
    int64_t window;    /* bytes that we may still send */
    char name[64];     /* of the protocol */
    struct fab_buf in; /* what came, behind the negotiation */
};

struct peer {
    struct wire w;
    uint32_t next_id;
    struct stream streams[STREAMS_MAX];
    const char *speaks[8]; /* what identify lists, NULL at the end */
    unsigned identifies;   /* messages in the answer to identify; 0: one */
    bool greedy;           /* never gives window back */
    uint64_t resets, pongs, frames;
    /* A stream of the node's, or one of ours, has more in `in`, or has ended. */
    void (*on_stream)(struct peer *peer, struct stream *stream);
    void *arg;
};

/* The whole handshake. False: refused. */
bool peer_connect(struct peer *p, const struct target *t);
void peer_close(struct peer *p);
/* Take what comes, until `done` says so (NULL: never), or in time. 1 done, 0 time, -1 closed. */
int peer_pump(struct peer *p, double timeout_ms, bool (*done)(struct peer *p, void *arg),
              void *arg);
/* Open a stream with the protocol and its first bytes. */
struct stream *peer_open(struct peer *p, const char *protocol, const void *bytes, size_t n,
                         bool fin);
/* As the window allows; meanwhile what comes is taken. False: the stream or the connection ended.
 */
bool peer_say(struct peer *p, struct stream *s, const void *bytes, size_t n);
void stream_forget(struct stream *s);
/* The connection lives: a ping comes back. Milliseconds; -1: it does not. */
double peer_alive(struct peer *p);
/* multistream's header and one name. */
void hello_put(struct fab_buf *b, const char *protocol);

/* Ask for one block, by dagsync or by bitswap. Milliseconds until it has come whole; -1: it has not
 * in `timeout_ms`; -2: the node says that it has it not. */
double ask_dagsync(struct peer *p, const struct fab_cid *cid, double timeout_ms);
double ask_bitswap(struct peer *p, const struct fab_cid *cid, double timeout_ms);

#endif
