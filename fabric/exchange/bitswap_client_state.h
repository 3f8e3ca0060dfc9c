/* What the files of the bitswap client share; for them only. bitswap_client.c keeps sessions, peers
 * and wants and takes messages; bitswap_plan.c decides what is asked of whom, and when to give up.
 *
 * A want is in one of four lists:
 *
 *             ┌────── DONT_HAVE, silence, peer lost ───────┐
 *             ▼                                            │
 *   want ─▶ PENDING ── a peer that should have it ───▶ ASKED (want-block) ──▶ got
 *             │ ▲ ▲                                        ▲
 *             │ │ └── HAVE, DONT_HAVE, silence ── WAITING  │ the best of them
 *             │ │                                  ▲       │
 *             │ │                                  └───────┴── nobody known: all are asked
 *             │ └── retry, new peer ── MISSING
 *             └── everybody said no ─────▶
 */
#ifndef FAB_EXCHANGE_BITSWAP_CLIENT_STATE_H
#define FAB_EXCHANGE_BITSWAP_CLIENT_STATE_H

#include "fabric/exchange/bitswap_client.h"
#include "fabric/exchange/bitswap_index.h"

#define FAB_BITSWAP_RECENT 8192 /* multihashes of blocks that came or were cancelled lately */

enum want_state { WANT_NONE, WANT_PENDING, WANT_ASKED, WANT_WAITING, WANT_MISSING };

struct interest {
    struct interest *next;                        /* of the want */
    struct interest *session_prev, *session_next; /* of the session */
    struct fab_bitswap_session *session;
    struct want *want;
    uint64_t codec;
    uint8_t version;
};

struct want {
    struct fab_bitswap_node node;      /* first: the index gives these */
    struct want *prev, *next;          /* in the list of its state */
    struct interest *interests;        /* never empty */
    struct fab_bitswap_session *owner; /* whose pending list it is in: that of the first interest */
    struct fab_bitswap_client_peer *peer; /* ASKED */
    uint64_t at; /* ASKED: since; WAITING: given up then; MISSING: tried again then */
    /* One bit per peer: an entry of ours stands there; it said HAVE; it said DONT_HAVE; it took too
     * long. */
    uint64_t asked, have, dont, slow;
    enum want_state state;
    bool probing;       /* asked of all, counted in client->probing */
    struct fab_cid cid; /* as it is asked for */
};

struct want_list {
    struct want *first, *last;
};

struct fab_bitswap_client_peer {
    void *user;
    uint64_t bit;
    struct fab_buf out; /* entries to be sent */
    bool offered;       /* by next_output, and not taken since */
    bool full;          /* the next message replaces what the peer knows of us */
    bool stalled, bad;
    struct want_list asked;     /* want-blocks, oldest first */
    size_t inflight;            /* their number */
    size_t entries, remembered; /* entries of ours there; those it said DONT_HAVE to */
    size_t window;              /* want-blocks that it may be asked for at once */
    uint64_t timeout, revive_at;
    uint64_t busy_since;       /* inflight is not 0 since then */
    uint64_t progress, answer; /* when bytes, and a wanted block, came last */
    uint64_t answered_ask;     /* when the block that came last had been asked for */
    uint64_t service;          /* microseconds per block, smoothed */
    uint64_t right, wrong;
    unsigned wrong_run;
};

struct fab_bitswap_session {
    struct fab_bitswap_client *client;
    struct fab_bitswap_session *prev, *next;
    void *user;
    struct interest *interests;
    struct want_list pending;
    size_t wants, missing;
    uint64_t good; /* peers that said HAVE or gave blocks, and not DONT_HAVE many times since */
    uint8_t dont_run[FAB_BITSWAP_CLIENT_PEERS_MAX];
};

struct fab_bitswap_client {
    struct fab_bitswap_client_config config;
    struct fab_bitswap_client_events events;
    struct fab_bitswap_index index;
    struct fab_bitswap_client_peer *peers[FAB_BITSWAP_CLIENT_PEERS_MAX];
    uint64_t live; /* peers that may be asked */
    struct fab_bitswap_session *sessions;
    struct want_list waiting, missing; /* by time */
    uint64_t next_retry;
    size_t probing;
    size_t block_bytes; /* of a block, smoothed */
    uint32_t sequence;
    unsigned next_peer;
    struct fab_bitswap_client_stats stats;
    uint64_t recent[FAB_BITSWAP_RECENT];
};

static inline void fab_want_list_push(struct want_list *list, struct want *w, bool front)
{
    struct want *prev = front ? NULL : list->last, *next = front ? list->first : NULL;
    w->prev = prev;
    w->next = next;
    *(prev ? &prev->next : &list->first) = w;
    *(next ? &next->prev : &list->last) = w;
}

static inline void fab_want_list_remove(struct want_list *list, struct want *w)
{
    *(w->prev ? &w->prev->next : &list->first) = w->next;
    *(w->next ? &w->next->prev : &list->last) = w->prev;
    w->prev = w->next = NULL;
}

/* bitswap_plan.c */

/* Take the want out of the list of its state. */
void fab_bitswap_plan_leave(struct fab_bitswap_client *client, struct want *w);
/* Make it PENDING, first or last in its owner's list. */
void fab_bitswap_plan_pend(struct fab_bitswap_client *client, struct want *w, bool front);
/* Our entry at the peer is gone, or is to be cancelled. */
void fab_bitswap_plan_unask(struct want *w, struct fab_bitswap_client_peer *peer, bool cancel);
/* A stalled peer may be asked again. */
void fab_bitswap_plan_revive(struct fab_bitswap_client *client,
                             struct fab_bitswap_client_peer *peer);
/* Its want-blocks go elsewhere. */
void fab_bitswap_plan_abandon(struct fab_bitswap_client *client,
                              struct fab_bitswap_client_peer *peer, bool slow);
/* Ask for what is pending, as far as there is room. */
void fab_bitswap_plan_pump(struct fab_bitswap_client *client, uint64_t now_us);

#endif
