/* Every want is in one hash table and on one list: to be looked up, being looked up, wanted, asked
 * of peer P, offered, or nobody's. A block's links take its place on its list, in order, so that
 * each list stays in the order of the DAG, depth first, and whoever streams is asked for what comes
 * next. */
#include "fabric/exchange/fetch.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define STEAL_LOW                                                                                  \
    4u               /* wants left of one's own when more are taken, so that its line stays full   \
                      */
#define STEAL_MIN 8u /* more than its own that another must have */
#define STEAL_MAX 1024u /* wants moved from one peer to another at a time */

/* OFFERED: not wanted, but taken if it comes. ASKED + peer number. */
enum { LOOK, LOOKING, WANTED, NOBODY, OFFERED, ASKED };
#define LISTS (ASKED + FAB_FETCH_PEERS_MAX)

struct want {
    struct want *prev, *next; /* of its list */
    struct want *chain;       /* of its bucket */
    uint64_t hash, tried;     /* tried: a bit per peer that was asked and does not have it */
    uint64_t codec;
    uint8_t list, version, mh_len;
    uint8_t mh[];
};

struct list {
    struct want *first, *last;
    size_t count;
};

struct fab_fetch {
    struct fab_fetch_config config;
    uint8_t key[crypto_shorthash_KEYBYTES];
    struct list lists[LISTS];
    uint64_t peers, streams; /* a bit per number */
    struct want **buckets;
    size_t bucket_count, wants;
    uint64_t *seen; /* open addressing; 0 is empty */
    size_t seen_cap, seen_count;
    uint64_t found, received;
};

static bool is_peer(const struct fab_fetch *fetch, unsigned peer)
{
    return peer < FAB_FETCH_PEERS_MAX && (fetch->peers >> peer & 1);
}

/* ---- the table ---- */

/* Codec and multihash: the version does not matter (the same bytes, the same links). */
static uint64_t hash_of(const struct fab_fetch *fetch, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_MH_MAX + sizeof cid->codec];
    uint64_t hash;
    memcpy(bytes, &cid->codec, sizeof cid->codec);
    memcpy(bytes + sizeof cid->codec, cid->mh, cid->mh_len);
    crypto_shorthash((unsigned char *)&hash, bytes, sizeof cid->codec + cid->mh_len, fetch->key);
    return hash ? hash : 1;
}

static struct want *find(const struct fab_fetch *fetch, const struct fab_cid *cid, uint64_t hash)
{
    struct want *w = fetch->buckets[hash & (fetch->bucket_count - 1)];
    while (w && (w->hash != hash || w->codec != cid->codec || w->mh_len != cid->mh_len ||
                 memcmp(w->mh, cid->mh, cid->mh_len) != 0))
        w = w->chain;
    return w;
}

static enum fab_rc grow(struct fab_fetch *fetch)
{
    size_t count = fetch->bucket_count * 2;
    struct want **buckets = calloc(count, sizeof(struct want *));
    if (!buckets)
        return FAB_ENOMEM;
    for (size_t i = 0; i < fetch->bucket_count; i++) {
        for (struct want *w = fetch->buckets[i], *next; w; w = next) {
            next = w->chain;
            w->chain = buckets[w->hash & (count - 1)];
            buckets[w->hash & (count - 1)] = w;
        }
    }
    free(fetch->buckets);
    fetch->buckets = buckets;
    fetch->bucket_count = count;
    return FAB_OK;
}

static void cid_of(const struct want *w, struct fab_cid *out)
{
    memset(out, 0, sizeof *out);
    out->codec = w->codec;
    out->version = w->version;
    out->mh_len = w->mh_len;
    memcpy(out->mh, w->mh, w->mh_len);
}

/* ---- the lists ---- */

static void list_remove(struct fab_fetch *fetch, struct want *w)
{
    struct list *list = &fetch->lists[w->list];
    *(w->prev ? &w->prev->next : &list->first) = w->next;
    *(w->next ? &w->next->prev : &list->last) = w->prev;
    list->count--;
}

/* Behind `after`, which is on that list; NULL: first. */
static void list_insert(struct fab_fetch *fetch, unsigned which, struct want *after, struct want *w)
{
    struct list *list = &fetch->lists[which];
    w->list = (uint8_t)which;
    w->prev = after;
    w->next = after ? after->next : list->first;
    *(w->next ? &w->next->prev : &list->last) = w;
    *(after ? &after->next : &list->first) = w;
    list->count++;
}

static void move(struct fab_fetch *fetch, struct want *w, unsigned which)
{
    list_remove(fetch, w);
    list_insert(fetch, which, fetch->lists[which].last, w);
}

static void want_drop(struct fab_fetch *fetch, struct want *w)
{
    struct want **at = &fetch->buckets[w->hash & (fetch->bucket_count - 1)];
    while (*at != w)
        at = &(*at)->chain;
    *at = w->chain;
    list_remove(fetch, w);
    fetch->wants--;
    free(w);
}

/* ---- what came ---- */

static bool seen_has(const struct fab_fetch *fetch, uint64_t hash)
{
    size_t i = hash & (fetch->seen_cap - 1);
    for (; fetch->seen[i] != 0; i = (i + 1) & (fetch->seen_cap - 1))
        if (fetch->seen[i] == hash)
            return true;
    return false;
}

static void seen_place(uint64_t *table, size_t cap, uint64_t hash)
{
    size_t i = hash & (cap - 1);
    while (table[i] != 0 && table[i] != hash)
        i = (i + 1) & (cap - 1);
    table[i] = hash;
}

/* Full, or without memory, it only forgets: a shared block may come twice then. */
static void seen_add(struct fab_fetch *fetch, uint64_t hash)
{
    if (fetch->seen_count >= fetch->config.seen_max)
        return;
    if (fetch->seen_count * 2 >= fetch->seen_cap) {
        size_t cap = fetch->seen_cap * 2;
        uint64_t *table = calloc(cap, sizeof *table);
        if (!table)
            return;
        for (size_t i = 0; i < fetch->seen_cap; i++)
            if (fetch->seen[i] != 0)
                seen_place(table, cap, fetch->seen[i]);
        free(fetch->seen);
        fetch->seen = table;
        fetch->seen_cap = cap;
    }
    seen_place(fetch->seen, fetch->seen_cap, hash);
    fetch->seen_count++;
}

/* ---- wants ---- */

static enum fab_rc want_new(struct fab_fetch *fetch, const struct fab_cid *cid, uint64_t hash,
                            struct want **out)
{
    if (fetch->wants >= fetch->config.wants_max)
        return FAB_ELIMIT;
    if (fetch->wants >= fetch->bucket_count)
        FAB_TRY(grow(fetch));
    struct want *w = calloc(1, sizeof *w + cid->mh_len);
    if (!w)
        return FAB_ENOMEM;
    w->hash = hash;
    w->codec = cid->codec;
    w->version = cid->version;
    w->mh_len = cid->mh_len;
    memcpy(w->mh, cid->mh, cid->mh_len);
    w->chain = fetch->buckets[hash & (fetch->bucket_count - 1)];
    fetch->buckets[hash & (fetch->bucket_count - 1)] = w;
    fetch->wants++;
    *out = w;
    return FAB_OK;
}

static bool offered(const struct fab_fetch *fetch)
{
    return fetch->config.follow == FAB_FETCH_OFFERED;
}

static bool needs_nothing(const struct fab_fetch_link *link)
{
    return link->held && link->cid.codec == FAB_CODEC_RAW;
}

/* The links of a block that is no longer a want: they take the place behind `after` on its list
 * `which` where nothing has to be looked up, else they go to be looked up. */
static enum fab_rc expand(struct fab_fetch *fetch, const struct fab_fetch_link *links, size_t n,
                          unsigned which, struct want *after, fab_fetch_prune_fn prune, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        const struct fab_fetch_link *link = &links[i];
        uint64_t hash = hash_of(fetch, &link->cid);
        struct want *w;
        /* To prune is to leave out all that is below, too. */
        if (link->held && which >= ASKED && prune && (!offered(fetch) || needs_nothing(link)))
            prune(arg, which - ASKED, &link->cid);
        if (needs_nothing(link) || seen_has(fetch, hash) || find(fetch, &link->cid, hash))
            continue;
        FAB_TRY(want_new(fetch, &link->cid, hash, &w));
        if (offered(fetch)) {
            list_insert(fetch, OFFERED, fetch->lists[OFFERED].last, w);
        } else if (link->held) {
            list_insert(fetch, LOOK, fetch->lists[LOOK].last, w);
        } else {
            list_insert(fetch, which, after, w);
            after = w;
        }
    }
    return FAB_OK;
}

/* Where a want stands that lost its peer: NOBODY when all that are there lack it. */
static void want_again(struct fab_fetch *fetch, struct want *w)
{
    move(fetch, w, fetch->peers && (fetch->peers & ~w->tried) == 0 ? NOBODY : WANTED);
}

/* ---- life ---- */

enum fab_rc fab_fetch_new(const struct fab_fetch_config *config, const uint8_t key[FAB_FETCH_KEY],
                          const struct fab_cid *root, struct fab_fetch **out)
{
    struct fab_fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch)
        return FAB_ENOMEM;
    if (config)
        fetch->config = *config;
    if (fetch->config.wants_max == 0)
        fetch->config.wants_max = 4u << 20;
    if (fetch->config.seen_max == 0)
        fetch->config.seen_max = 4u << 20;
    memcpy(fetch->key, key, sizeof fetch->key);
    fetch->bucket_count = 64;
    fetch->seen_cap = 64;
    fetch->buckets = calloc(fetch->bucket_count, sizeof(struct want *));
    fetch->seen = calloc(fetch->seen_cap, sizeof *fetch->seen);
    if (!fetch->buckets || !fetch->seen || fab_fetch_add(fetch, root) != FAB_OK) {
        fab_fetch_free(fetch);
        return FAB_ENOMEM;
    }
    *out = fetch;
    return FAB_OK;
}

enum fab_rc fab_fetch_add(struct fab_fetch *fetch, const struct fab_cid *root)
{
    uint64_t hash = hash_of(fetch, root);
    struct want *w;
    if (find(fetch, root, hash))
        return FAB_OK;
    FAB_TRY(want_new(fetch, root, hash, &w));
    unsigned which = offered(fetch) ? WANTED : LOOK;
    list_insert(fetch, which, fetch->lists[which].last, w);
    return FAB_OK;
}

void fab_fetch_free(struct fab_fetch *fetch)
{
    if (!fetch)
        return;
    for (unsigned i = 0; i < LISTS; i++) {
        for (struct want *w = fetch->lists[i].first, *next; w; w = next) {
            next = w->next;
            free(w);
        }
    }
    free(fetch->buckets);
    free(fetch->seen);
    free(fetch);
}

/* ---- the store ---- */

size_t fab_fetch_take_look(struct fab_fetch *fetch, struct fab_cid *out, size_t max)
{
    size_t n = 0;
    for (; n < max && fetch->lists[LOOK].first; n++) {
        struct want *w = fetch->lists[LOOK].first;
        cid_of(w, &out[n]);
        move(fetch, w, LOOKING);
    }
    return n;
}

enum fab_rc fab_fetch_found(struct fab_fetch *fetch, const struct fab_cid *cid,
                            const struct fab_fetch_link *links, size_t n)
{
    uint64_t hash = hash_of(fetch, cid);
    struct want *w = find(fetch, cid, hash);
    if (!w)
        return FAB_OK;
    want_drop(fetch, w);
    seen_add(fetch, hash);
    fetch->found++;
    if (fetch->config.follow == FAB_FETCH_NONE)
        return FAB_OK;
    return expand(fetch, links, n, WANTED, fetch->lists[WANTED].last, NULL, NULL);
}

void fab_fetch_absent(struct fab_fetch *fetch, const struct fab_cid *cid)
{
    struct want *w = find(fetch, cid, hash_of(fetch, cid));
    if (w && w->list == LOOKING)
        want_again(fetch, w);
}

/* ---- peers ---- */

enum fab_rc fab_fetch_peer_add(struct fab_fetch *fetch, bool streams, unsigned *out)
{
    unsigned peer = 0;
    while (peer < FAB_FETCH_PEERS_MAX && is_peer(fetch, peer))
        peer++;
    if (peer == FAB_FETCH_PEERS_MAX)
        return FAB_ELIMIT;
    uint64_t bit = (uint64_t)1 << peer;
    fetch->peers |= bit;
    fetch->streams = streams ? fetch->streams | bit : fetch->streams & ~bit;
    fab_fetch_peer_again(fetch, peer);
    *out = peer;
    return FAB_OK;
}

void fab_fetch_peer_again(struct fab_fetch *fetch, unsigned peer)
{
    if (!is_peer(fetch, peer))
        return;
    for (unsigned i = 0; i < LISTS; i++)
        for (struct want *w = fetch->lists[i].first; w; w = w->next)
            w->tried &= ~((uint64_t)1 << peer);
    while (fetch->lists[NOBODY].first)
        move(fetch, fetch->lists[NOBODY].first, WANTED);
}

size_t fab_fetch_peer_release(struct fab_fetch *fetch, unsigned peer)
{
    size_t n = 0;
    if (!is_peer(fetch, peer))
        return 0;
    for (; fetch->lists[ASKED + peer].first; n++)
        want_again(fetch, fetch->lists[ASKED + peer].first);
    return n;
}

void fab_fetch_peer_remove(struct fab_fetch *fetch, unsigned peer)
{
    if (!is_peer(fetch, peer))
        return;
    fetch->peers &= ~((uint64_t)1 << peer);
    while (fetch->lists[ASKED + peer].first)
        want_again(fetch, fetch->lists[ASKED + peer].first);
    for (struct want *w = fetch->lists[WANTED].first, *next; w; w = next) {
        next = w->next;
        if (fetch->peers && (fetch->peers & ~w->tried) == 0)
            move(fetch, w, NOBODY);
    }
}

/* The far half of what the busiest streaming peer still has to send. */
static size_t steal(struct fab_fetch *fetch, unsigned peer, struct fab_cid *out, size_t max,
                    fab_fetch_prune_fn prune, void *arg)
{
    unsigned victim = FAB_FETCH_PEERS_MAX;
    for (unsigned i = 0; i < FAB_FETCH_PEERS_MAX; i++)
        if (i != peer && is_peer(fetch, i) && (fetch->streams >> i & 1) &&
            (victim == FAB_FETCH_PEERS_MAX ||
             fetch->lists[ASKED + i].count > fetch->lists[ASKED + victim].count))
            victim = i;
    if (victim == FAB_FETCH_PEERS_MAX || !prune)
        return 0;
    size_t own = fetch->lists[ASKED + peer].count, theirs = fetch->lists[ASKED + victim].count;
    if (theirs < own + STEAL_MIN) /* what is left of it is on its way */
        return 0;
    size_t half = (theirs - own) / 2;
    size_t want = half < max ? half : max, n = 0;
    if (want > STEAL_MAX)
        want = STEAL_MAX;
    struct want *w = fetch->lists[ASKED + victim].last, *end = fetch->lists[ASKED + peer].last;
    for (size_t looked = 0; w && n < want && looked < half; looked++) {
        struct want *prev = w->prev;
        if (!(w->tried >> peer & 1)) {
            cid_of(w, &out[n++]);
            prune(arg, victim, &out[n - 1]);
            list_remove(fetch, w);
            list_insert(fetch, ASKED + peer, end, w); /* from behind: the order is kept */
        }
        w = prev;
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct fab_cid swap = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = swap;
    }
    return n;
}

size_t fab_fetch_assign(struct fab_fetch *fetch, unsigned peer, struct fab_cid *out, size_t max,
                        fab_fetch_prune_fn prune, void *arg)
{
    size_t n = 0;
    if (!is_peer(fetch, peer))
        return 0;
    for (struct want *w = fetch->lists[WANTED].first, *next; w && n < max; w = next) {
        next = w->next;
        if (w->tried >> peer & 1)
            continue;
        cid_of(w, &out[n++]);
        move(fetch, w, ASKED + peer);
    }
    if (n == 0 && fetch->lists[ASKED + peer].count <= STEAL_LOW && (fetch->streams >> peer & 1))
        n = steal(fetch, peer, out, max, prune, arg);
    return n;
}

enum fab_rc fab_fetch_block(struct fab_fetch *fetch, unsigned peer, const struct fab_cid *cid,
                            const struct fab_fetch_link *links, size_t n, fab_fetch_prune_fn prune,
                            void *arg, bool *accepted)
{
    uint64_t hash = hash_of(fetch, cid);
    struct want *w = find(fetch, cid, hash);
    *accepted = w != NULL;
    if (!w)
        return FAB_OK;
    /* Whoever streams and was asked for it sends what is below it, even if another one was faster
     * with the block itself (and was told to leave it out, as a steal does). */
    bool streams = is_peer(fetch, peer) && (fetch->streams >> peer & 1) != 0;
    unsigned which = streams ? ASKED + peer : WANTED;
    if (w->list >= ASKED && (fetch->streams >> (w->list - ASKED) & 1))
        which = w->list;
    struct want *after = w->list == which ? w->prev
                         : which >= ASKED ? NULL
                                          : fetch->lists[WANTED].last;
    want_drop(fetch, w);
    seen_add(fetch, hash);
    fetch->received++;
    if (fetch->config.follow == FAB_FETCH_NONE)
        return FAB_OK;
    return expand(fetch, links, n, which, after, prune, arg);
}

bool fab_fetch_wants(const struct fab_fetch *fetch, const struct fab_cid *cid)
{
    return find(fetch, cid, hash_of(fetch, cid)) != NULL;
}

bool fab_fetch_seen(const struct fab_fetch *fetch, const struct fab_cid *cid)
{
    return seen_has(fetch, hash_of(fetch, cid));
}

void fab_fetch_missing(struct fab_fetch *fetch, unsigned peer, const struct fab_cid *cid)
{
    struct want *w = find(fetch, cid, hash_of(fetch, cid));
    if (!w || !is_peer(fetch, peer))
        return;
    w->tried |= (uint64_t)1 << peer;
    if (w->list == ASKED + peer || w->list == WANTED)
        want_again(fetch, w);
}

/* ---- state ---- */

void fab_fetch_state(const struct fab_fetch *fetch, struct fab_fetch_state *out)
{
    *out = (struct fab_fetch_state){
        .look = fetch->lists[LOOK].count + fetch->lists[LOOKING].count,
        .wanted = fetch->lists[WANTED].count,
        .nobody = fetch->lists[NOBODY].count,
        .found = fetch->found,
        .received = fetch->received,
    };
    for (unsigned i = 0; i < FAB_FETCH_PEERS_MAX; i++)
        out->asked += fetch->lists[ASKED + i].count;
}

bool fab_fetch_done(const struct fab_fetch *fetch)
{
    return fetch->wants == fetch->lists[OFFERED].count;
}

bool fab_fetch_stuck(const struct fab_fetch *fetch)
{
    struct fab_fetch_state state;
    fab_fetch_state(fetch, &state);
    return !fab_fetch_done(fetch) && state.look == 0 && state.asked == 0 &&
           (state.wanted == 0 || fetch->peers == 0);
}

size_t fab_fetch_peer_asked(const struct fab_fetch *fetch, unsigned peer)
{
    return peer < FAB_FETCH_PEERS_MAX ? fetch->lists[ASKED + peer].count : 0;
}

size_t fab_fetch_list_nobody(const struct fab_fetch *fetch, struct fab_cid *out, size_t max)
{
    size_t n = 0;
    for (struct want *w = fetch->lists[NOBODY].first; w && n < max; w = w->next)
        cid_of(w, &out[n++]);
    for (struct want *w = fetch->lists[WANTED].first; w && n < max; w = w->next)
        cid_of(w, &out[n++]);
    return n;
}
