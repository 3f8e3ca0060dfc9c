/* Fetching one DAG: which blocks are lacking, and who is asked for which.
 *
 * A core: no I/O, no store, no protocol. The owner looks blocks up in its store, carries requests
 * to peers, hashes what arrives, and reports; this file keeps the set of wanted blocks. Only the
 * root and what is linked from blocks that were reported is ever wanted, so a peer that sends
 * anything else is found out, and what is wanted is at most the frontier of the walk, not the DAG.
 *
 *     look ──found──▶ (its links: look, or wanted if known to be absent)
 *       └──absent─▶ wanted ──assign──▶ asked of a peer ──block──▶ gone, its links come
 *                      ▲                  ├─missing──▶ wanted, not of that peer again
 *                      └──────────────────┘            (nobody left to ask: listed, see stuck)
 *
 * A peer that streams whole subtrees (dagsync) stays the one asked for what is below a block that
 * it sent. When another such peer has hardly anything to do, it takes from the far end of
 * somebody's wants until both have as many; the first is told to leave them out (pruned). Bitswap
 * peers stand behind one peer number, since bitswap_client.h spreads wants among them itself.
 *
 * One thread. Memory: about 130 bytes per wanted block, at most `wants_max` of them, and 8 to 16
 * bytes for each block that came, at most `seen_max` (beyond it, shared blocks may come twice). */
#ifndef FAB_EXCHANGE_FETCH_H
#define FAB_EXCHANGE_FETCH_H

#include "storage/dag/block_io.h"

#define FAB_FETCH_PEERS_MAX 64
#define FAB_FETCH_KEY       16 /* random bytes that key the hash tables */

struct fab_fetch;

/* Which links of a block that came are wanted. */
enum fab_fetch_follow {
    FAB_FETCH_ALL,  /* every one */
    FAB_FETCH_NONE, /* none: the roots alone */
    /* None, but any of them may come: a peer that walks a path, or a part of a file, knows which
     * are needed. The roots are not looked up, since it is the peer that has to read them. */
    FAB_FETCH_OFFERED,
};

struct fab_fetch_config {
    size_t wants_max; /* 0: 4 Mi */
    size_t seen_max;  /* 0: 4 Mi */
    enum fab_fetch_follow follow;
};

/* Begin with `root`, to be looked up first. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_fetch_new(const struct fab_fetch_config *config,
                                   const uint8_t key[FAB_FETCH_KEY], const struct fab_cid *root,
                                   struct fab_fetch **out);
void fab_fetch_free(struct fab_fetch *fetch); /* NULL is allowed */
/* One more root, to be looked up too; nothing when it is wanted already. FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_fetch_add(struct fab_fetch *fetch, const struct fab_cid *root);

/* A link of a block that was found or received. */
struct fab_fetch_link {
    struct fab_cid cid;
    bool held; /* the store has this block (what is below it may be lacking) */
};

/* ---- what the store has ---- */

/* Take up to `max` blocks to be looked up; each is to be reported by found or absent. */
size_t fab_fetch_take_look(struct fab_fetch *fetch, struct fab_cid *out, size_t max);
/* The store has it; these are its links, without identity CIDs. FAB_ELIMIT (wants_max), FAB_ENOMEM:
 * the fetch cannot go on. */
FAB_MUST enum fab_rc fab_fetch_found(struct fab_fetch *fetch, const struct fab_cid *cid,
                                     const struct fab_fetch_link *links, size_t n);
void fab_fetch_absent(struct fab_fetch *fetch, const struct fab_cid *cid);

/* ---- peers ---- */

/* A peer that may be asked; *out is its number, below FAB_FETCH_PEERS_MAX. `streams`: it sends the
 * subtree of what it is asked for. FAB_ELIMIT. */
FAB_MUST enum fab_rc fab_fetch_peer_add(struct fab_fetch *fetch, bool streams, unsigned *out);
/* It may have now what it lacked before: it is asked for everything that is wanted once more. */
void fab_fetch_peer_again(struct fab_fetch *fetch, unsigned peer);
/* It is gone: what was asked of it is wanted again. Its number may be given to another one. */
void fab_fetch_peer_remove(struct fab_fetch *fetch, unsigned peer);
/* What was asked of it is wanted again, and may be asked of it again too (its request has ended
 * without these, or it is slow). Gives how many. */
size_t fab_fetch_peer_release(struct fab_fetch *fetch, unsigned peer);

/* Give the peer up to `max` wants that it was not asked for before. 0: there is nothing for it. A
 * block that is `held` below a streaming peer's subtree, and what is taken from another peer here,
 * is reported to `prune` (with the peer that should leave it out), which may be NULL. */
typedef void (*fab_fetch_prune_fn)(void *arg, unsigned peer, const struct fab_cid *cid);
size_t fab_fetch_assign(struct fab_fetch *fetch, unsigned peer, struct fab_cid *out, size_t max,
                        fab_fetch_prune_fn prune, void *arg);

/* A block from the peer, its hash checked, with its links. *accepted: it was wanted; store it. Not
 * accepted: drop it. Its links are asked of the streaming peer that was asked for it, else of the
 * peer if it streams; those that are held, and so need
 * not be sent, are reported to `prune`. Errors as fab_fetch_found. */
FAB_MUST enum fab_rc fab_fetch_block(struct fab_fetch *fetch, unsigned peer,
                                     const struct fab_cid *cid, const struct fab_fetch_link *links,
                                     size_t n, fab_fetch_prune_fn prune, void *arg, bool *accepted);
/* Whether the block is wanted now, whoever sends it. */
bool fab_fetch_wants(const struct fab_fetch *fetch, const struct fab_cid *cid);
/* Whether the block came already in this fetch (so that a second one is no offence). */
bool fab_fetch_seen(const struct fab_fetch *fetch, const struct fab_cid *cid);
/* The peer does not have it. */
void fab_fetch_missing(struct fab_fetch *fetch, unsigned peer, const struct fab_cid *cid);

/* ---- how far it is ---- */

struct fab_fetch_state {
    size_t look;   /* to be looked up, or being */
    size_t wanted; /* to be asked for */
    size_t asked;
    size_t nobody; /* wants that every peer lacks */
    uint64_t found, received;
};
void fab_fetch_state(const struct fab_fetch *fetch, struct fab_fetch_state *out);
/* Everything that is wanted is there (with FAB_FETCH_OFFERED more may come). */
bool fab_fetch_done(const struct fab_fetch *fetch);
/* Nothing is under way, and what is wanted nobody has. */
bool fab_fetch_stuck(const struct fab_fetch *fetch);
/* Wants asked of the peer. */
size_t fab_fetch_peer_asked(const struct fab_fetch *fetch, unsigned peer);
/* The first wants that nobody has; gives how many were written. */
size_t fab_fetch_list_nobody(const struct fab_fetch *fetch, struct fab_cid *out, size_t max);

#endif
