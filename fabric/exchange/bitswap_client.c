/* Sessions, peers, wants, and the messages of peers. What is asked of whom is decided in
 * bitswap_plan.c; the states of a want are drawn in bitswap_client_state.h.
 *
 * A block does not say which want it answers: its CID follows from its bytes. So it goes out to be
 * hashed, and comes back as a CID. A wrong block is thus one that nobody wants. Blocks that come
 * twice, or after a cancel, are honest: their multihashes are remembered for a while. */
#include "fabric/exchange/bitswap_client_state.h"

#include "storage/multiformats/multihash.h"

#include <stdlib.h>
#include <string.h>

#define WANTS_MAX      ((size_t)128 << 10)
#define PEER_WANTS_MAX 512
#define PEER_BYTES_MAX ((size_t)32 << 20)
#define TIMEOUT        UINT64_C(10000000)
#define RETRY          UINT64_C(15000000)
#define OUT_MAX        ((size_t)256 << 10)
#define WINDOW_FIRST   64
#define SERVICE_FIRST  1000 /* microseconds per block, before anything is known */
#define BLOCK_FIRST    ((size_t)64 << 10)
#define WRONG_RUN_MAX  4
#define WRONG_MAX      64
#define DONT_HAVE_RUN  16
#define REMEMBERED_MAX 256

/* ---- the client ---- */

enum fab_rc fab_bitswap_client_new(const struct fab_bitswap_client_config *config,
                                   const struct fab_bitswap_client_events *events,
                                   const uint8_t key[16], struct fab_bitswap_client **out)
{
    struct fab_bitswap_client *client = calloc(1, sizeof *client);
    if (!client)
        return FAB_ENOMEM;
    struct fab_bitswap_client_config *c = &client->config;
    if (config)
        *c = *config;
    if (!c->wants_max)
        c->wants_max = WANTS_MAX;
    if (!c->peer_wants_max || c->peer_wants_max > PEER_WANTS_MAX)
        c->peer_wants_max = PEER_WANTS_MAX;
    if (!c->peer_bytes_max)
        c->peer_bytes_max = PEER_BYTES_MAX;
    if (!c->timeout_us)
        c->timeout_us = TIMEOUT;
    if (!c->retry_us)
        c->retry_us = RETRY;
    client->events = *events;
    client->block_bytes = BLOCK_FIRST;
    if (fab_bitswap_index_init(&client->index, key) != FAB_OK) {
        free(client);
        return FAB_ENOMEM;
    }
    *out = client;
    return FAB_OK;
}

void fab_bitswap_client_free(struct fab_bitswap_client *client)
{
    if (!client)
        return;
    while (client->sessions)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it was freed */
        fab_bitswap_session_free(client->sessions);
    for (unsigned i = 0; i < FAB_BITSWAP_CLIENT_PEERS_MAX; i++)
        if (client->peers[i])
            fab_bitswap_client_peer_remove(client, client->peers[i]);
    fab_bitswap_index_fini(&client->index);
    free(client);
}

void fab_bitswap_client_stats(const struct fab_bitswap_client *client,
                              struct fab_bitswap_client_stats *out)
{
    *out = client->stats;
}

/* ---- peers ---- */

enum fab_rc fab_bitswap_client_peer_add(struct fab_bitswap_client *client, void *user,
                                        uint64_t now_us, struct fab_bitswap_client_peer **out)
{
    unsigned i = 0;
    while (i < FAB_BITSWAP_CLIENT_PEERS_MAX && client->peers[i])
        i++;
    if (i == FAB_BITSWAP_CLIENT_PEERS_MAX)
        return FAB_ELIMIT;
    struct fab_bitswap_client_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return FAB_ENOMEM;
    peer->user = user;
    peer->bit = UINT64_C(1) << i;
    peer->full = true;
    peer->progress = peer->answer = now_us;
    peer->timeout = client->config.timeout_us;
    peer->service = SERVICE_FIRST;
    peer->window =
        WINDOW_FIRST < client->config.peer_wants_max ? WINDOW_FIRST : client->config.peer_wants_max;
    fab_buf_init(&peer->out, OUT_MAX);
    client->peers[i] = peer;
    client->live |= peer->bit;
    client->stats.peers++;
    while (client->missing.first)
        fab_bitswap_plan_pend(client, client->missing.first, false);
    *out = peer;
    return FAB_OK;
}

/* No want is asked of the peer any more; those that waited for it are decided anew. `gone`: nor
 * does anything that it said count. */
static void forget_peer(struct fab_bitswap_client *client, struct fab_bitswap_client_peer *peer,
                        bool gone)
{
    fab_bitswap_plan_abandon(client, peer, false);
    for (size_t slot = 0; slot < client->index.slot_count; slot++)
        for (struct fab_bitswap_node *n = client->index.slots[slot]; n; n = n->next) {
            struct want *w = (struct want *)n;
            bool waited = w->state == WANT_WAITING && (w->asked & peer->bit);
            fab_bitswap_plan_unask(w, peer, false);
            if (gone) {
                w->have &= ~peer->bit;
                w->dont &= ~peer->bit;
            }
            w->slow &= ~peer->bit;
            if (waited)
                fab_bitswap_plan_pend(client, w, true);
        }
    fab_buf_reset(&peer->out);
    peer->offered = false;
    peer->full = true;
}

void fab_bitswap_client_peer_remove(struct fab_bitswap_client *client,
                                    struct fab_bitswap_client_peer *peer)
{
    unsigned i = (unsigned)__builtin_ctzll(peer->bit);
    client->live &= ~peer->bit;
    forget_peer(client, peer, true);
    for (struct fab_bitswap_session *s = client->sessions; s; s = s->next) {
        s->good &= ~peer->bit;
        s->dont_run[i] = 0;
    }
    client->peers[i] = NULL;
    client->stats.peers--;
    fab_buf_fini(&peer->out);
    free(peer);
}

void fab_bitswap_client_peer_lost(struct fab_bitswap_client *client,
                                  struct fab_bitswap_client_peer *peer)
{
    forget_peer(client, peer, false);
}

void *fab_bitswap_client_peer_user(const struct fab_bitswap_client_peer *peer)
{
    return peer->user;
}

bool fab_bitswap_client_peer_bad(const struct fab_bitswap_client_peer *peer)
{
    return peer->bad;
}

/* ---- wants ---- */

static struct want *find(const struct fab_bitswap_client *client, struct fab_slice mh,
                         uint64_t hash)
{
    struct fab_bitswap_node *node = fab_bitswap_index_find(&client->index, hash);
    for (; node; node = fab_bitswap_index_again(node))
        if (fab_slice_eq(fab_cid_mh(&((struct want *)node)->cid), mh))
            return (struct want *)node;
    return NULL;
}

static struct want *find_cid(const struct fab_bitswap_client *client, const struct fab_cid *cid)
{
    struct fab_slice mh = fab_cid_mh(cid);
    return find(client, mh, fab_bitswap_index_hash(&client->index, mh));
}

static uint64_t *recent_slot(struct fab_bitswap_client *client, uint64_t hash)
{
    return &client->recent[(hash >> 32) % FAB_BITSWAP_RECENT];
}

/* Nobody wants it any more: cancel it at everyone but `giver`, and take it out of every list and
 * the index. Its interests stay. */
static void retire(struct fab_bitswap_client *client, struct want *w,
                   const struct fab_bitswap_client_peer *giver)
{
    /* Even if nobody is asked now: a peer that was given up as silent may still answer. */
    *recent_slot(client, w->node.hash) = w->node.hash;
    for (uint64_t mask = w->asked; mask; mask &= mask - 1) {
        struct fab_bitswap_client_peer *peer = client->peers[__builtin_ctzll(mask)];
        fab_bitswap_plan_unask(w, peer, peer != giver);
    }
    fab_bitswap_plan_leave(client, w);
    fab_bitswap_index_remove(&client->index, &w->node);
    client->stats.wants--;
}

static void interest_unlink(struct interest *i)
{
    struct fab_bitswap_session *s = i->session;
    *(i->session_prev ? &i->session_prev->session_next : &s->interests) = i->session_next;
    if (i->session_next)
        i->session_next->session_prev = i->session_prev;
    s->wants--;
}

static void interest_add(struct interest *i, struct fab_bitswap_session *s, struct want *w)
{
    i->session = s;
    i->want = w;
    i->next = w->interests;
    w->interests = i;
    i->session_prev = NULL;
    i->session_next = s->interests;
    if (s->interests)
        s->interests->session_prev = i;
    s->interests = i;
    s->wants++;
    s->missing += w->state == WANT_MISSING;
}

static void interest_drop(struct fab_bitswap_client *client, struct interest *i)
{
    struct want *w = i->want;
    struct interest **at = &w->interests;
    if (!w->interests->next) {
        retire(client, w, NULL);
        interest_unlink(i);
        free(i);
        free(w);
        return;
    }
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    if (w->state == WANT_MISSING)
        i->session->missing--;
    interest_unlink(i);
    if (w->owner == i->session) {
        bool pending = w->state == WANT_PENDING;
        if (pending)
            fab_bitswap_plan_leave(client, w);
        w->owner = w->interests->session;
        if (pending)
            fab_bitswap_plan_pend(client, w, false);
    }
    free(i);
}

/* ---- sessions ---- */

enum fab_rc fab_bitswap_session_new(struct fab_bitswap_client *client, void *user,
                                    struct fab_bitswap_session **out)
{
    struct fab_bitswap_session *s = calloc(1, sizeof *s);
    if (!s)
        return FAB_ENOMEM;
    s->client = client;
    s->user = user;
    s->next = client->sessions;
    if (s->next)
        s->next->prev = s;
    client->sessions = s;
    *out = s;
    return FAB_OK;
}

void fab_bitswap_session_free(struct fab_bitswap_session *session)
{
    if (!session)
        return;
    while (session->interests)
        interest_drop(session->client, session->interests);
    *(session->prev ? &session->prev->next : &session->client->sessions) = session->next;
    if (session->next)
        session->next->prev = session->prev;
    free(session);
}

static struct interest *interest_of(const struct fab_bitswap_session *session, const struct want *w)
{
    struct interest *i = w ? w->interests : NULL;
    while (i && i->session != session)
        i = i->next;
    return i;
}

bool fab_bitswap_is_empty_block(const struct fab_cid *cid)
{
    uint8_t nothing[FAB_DIGEST_MAX];
    size_t n;
    return fab_mh_digest(fab_cid_mh_code(cid), fab_slice(NULL, 0), nothing, &n) == FAB_OK &&
           fab_slice_eq(fab_cid_digest(cid), fab_slice(nothing, n));
}

/* Whether the bytes can be checked when they come. */
static enum fab_rc askable(const struct fab_cid *cid)
{
    uint8_t nothing[FAB_DIGEST_MAX];
    size_t n;
    uint64_t code = fab_cid_mh_code(cid);
    struct fab_slice digest = fab_cid_digest(cid);
    if (code == FAB_MH_IDENTITY)
        return FAB_EINVAL;
    FAB_TRY(fab_mh_digest(code, fab_slice(NULL, 0), nothing, &n));
    if (digest.n != n)
        return FAB_EUNSUPPORTED;
    return memcmp(digest.p, nothing, n) ? FAB_OK : FAB_EINVAL;
}

static enum fab_rc want_new(struct fab_bitswap_client *client, const struct fab_cid *cid,
                            uint64_t hash, struct want **out)
{
    if (client->index.count >= client->config.wants_max)
        return FAB_ELIMIT;
    struct want *w = calloc(1, sizeof *w);
    if (!w)
        return FAB_ENOMEM;
    w->cid = *cid;
    w->node.hash = hash;
    *out = w;
    return FAB_OK;
}

enum fab_rc fab_bitswap_session_want(struct fab_bitswap_session *session, const struct fab_cid *cid)
{
    struct fab_bitswap_client *client = session->client;
    FAB_TRY(askable(cid));
    uint64_t hash = fab_bitswap_index_hash(&client->index, fab_cid_mh(cid));
    struct want *w = find(client, fab_cid_mh(cid), hash);
    bool fresh = !w;
    if (interest_of(session, w))
        return FAB_EEXIST;
    struct interest *i = calloc(1, sizeof *i);
    if (!i)
        return FAB_ENOMEM;
    enum fab_rc rc = fresh ? want_new(client, cid, hash, &w) : FAB_OK;
    if (rc != FAB_OK) {
        free(i);
        return rc;
    }
    i->codec = cid->codec;
    i->version = cid->version;
    interest_add(i, session, w);
    if (fresh) {
        w->owner = session;
        fab_bitswap_index_add(&client->index, &w->node);
        client->stats.wants++;
        fab_bitswap_plan_pend(client, w, false);
    }
    return FAB_OK;
}

void fab_bitswap_session_cancel(struct fab_bitswap_session *session, const struct fab_cid *cid)
{
    struct interest *i = interest_of(session, find_cid(session->client, cid));
    if (i)
        interest_drop(session->client, i);
}

size_t fab_bitswap_session_wants(const struct fab_bitswap_session *session)
{
    return session->wants;
}

size_t fab_bitswap_session_missing(const struct fab_bitswap_session *session)
{
    return session->missing;
}

static struct fab_cid cid_as_asked(const struct interest *i)
{
    struct fab_cid cid = i->want->cid;
    cid.codec = i->codec;
    cid.version = i->version;
    return cid;
}

void fab_bitswap_session_list_missing(const struct fab_bitswap_session *session,
                                      void (*each)(void *arg, const struct fab_cid *cid), void *arg)
{
    for (const struct interest *i = session->interests; i; i = i->session_next)
        if (i->want->state == WANT_MISSING) {
            struct fab_cid cid = cid_as_asked(i);
            each(arg, &cid);
        }
}

/* ---- output ---- */

struct fab_bitswap_client_peer *fab_bitswap_client_next_output(struct fab_bitswap_client *client,
                                                               uint64_t now_us)
{
    fab_bitswap_plan_pump(client, now_us);
    for (unsigned n = 0; n < FAB_BITSWAP_CLIENT_PEERS_MAX; n++) {
        struct fab_bitswap_client_peer *peer = client->peers[client->next_peer];
        client->next_peer = (client->next_peer + 1) % FAB_BITSWAP_CLIENT_PEERS_MAX;
        if (peer && peer->out.len && !peer->offered) {
            peer->offered = true;
            return peer;
        }
    }
    return NULL;
}

enum fab_rc fab_bitswap_client_output(struct fab_bitswap_client *client FAB_UNUSED,
                                      struct fab_bitswap_client_peer *peer, struct fab_buf *out)
{
    if (peer->out.len) {
        FAB_TRY(fab_bitswap_write_wants(out, fab_buf_slice(&peer->out), peer->full));
        fab_buf_reset(&peer->out);
        peer->full = false;
    }
    peer->offered = false;
    return FAB_OK;
}

/* ---- input ---- */

void fab_bitswap_client_progress(struct fab_bitswap_client *client,
                                 struct fab_bitswap_client_peer *peer, uint64_t now_us)
{
    peer->progress = now_us;
    fab_bitswap_plan_revive(client, peer);
}

/* Sessions that want it learn whether the peer has their DAG. */
static void note(struct want *w, const struct fab_bitswap_client_peer *peer, bool has)
{
    unsigned at = (unsigned)__builtin_ctzll(peer->bit);
    for (struct interest *i = w->interests; i; i = i->next) {
        uint8_t *run = &i->session->dont_run[at];
        if (has) {
            *run = 0;
            i->session->good |= peer->bit;
        } else if (++*run >= DONT_HAVE_RUN) {
            *run = 0;
            i->session->good &= ~peer->bit;
        }
    }
}

static void take_have(struct fab_bitswap_client *client, struct want *w,
                      struct fab_bitswap_client_peer *peer)
{
    /* Its want-have is settled there; a want-block is not. */
    if (w->state != WANT_ASKED || w->peer != peer)
        fab_bitswap_plan_unask(w, peer, false);
    w->have |= peer->bit;
    w->dont &= ~peer->bit;
    w->slow &= ~peer->bit;
    note(w, peer, true);
    if (w->state == WANT_WAITING || w->state == WANT_MISSING)
        fab_bitswap_plan_pend(client, w, true);
}

static void take_dont_have(struct fab_bitswap_client *client, struct want *w,
                           struct fab_bitswap_client_peer *peer)
{
    if (!(w->asked & peer->bit) || (w->dont & peer->bit))
        return;
    w->dont |= peer->bit;
    w->have &= ~peer->bit;
    peer->remembered++;
    /* It will tell when the block comes, unless our entries there would crowd out others. */
    if (peer->remembered > REMEMBERED_MAX)
        fab_bitswap_plan_unask(w, peer, true);
    note(w, peer, false);
    if (w->state == WANT_WAITING || (w->state == WANT_ASKED && w->peer == peer))
        fab_bitswap_plan_pend(client, w, true);
}

enum fab_rc fab_bitswap_client_message(struct fab_bitswap_client *client,
                                       struct fab_bitswap_client_peer *peer,
                                       struct fab_slice message, uint64_t now_us)
{
    struct fab_bitswap_summary sum;
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    enum fab_rc rc;
    FAB_TRY(fab_bitswap_message_check(message, &sum));
    if (peer->bad || (sum.blocks == 0 && sum.presences == 0))
        return FAB_OK; /* its wants do not show that it answers ours */
    fab_bitswap_client_progress(client, peer, now_us);
    fab_bitswap_iter_init(&it, message);
    while ((rc = fab_bitswap_iter_next(&it, &item)) == FAB_OK) {
        struct want *w;
        if (item.kind == FAB_BITSWAP_BLOCK) {
            if (peer->entries)
                client->events.candidate(client->events.arg, peer, &item.prefix, item.data);
            else
                client->stats.unwanted++;
        } else if (item.kind >= FAB_BITSWAP_HAVE && (w = find_cid(client, &item.cid))) {
            if (item.kind == FAB_BITSWAP_HAVE)
                take_have(client, w, peer);
            else
                take_dont_have(client, w, peer);
        }
    }
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

static void charge(struct fab_bitswap_client *client, struct fab_bitswap_client_peer *peer)
{
    unsigned at = (unsigned)__builtin_ctzll(peer->bit);
    peer->wrong++;
    for (struct fab_bitswap_session *s = client->sessions; s; s = s->next) {
        s->good &= ~peer->bit;
        s->dont_run[at] = 0;
    }
    /* It was meant as the answer to something, most likely to what was asked first. */
    if (peer->asked.first) {
        peer->asked.first->slow |= peer->bit;
        peer->asked.first->have &= ~peer->bit;
        fab_bitswap_plan_pend(client, peer->asked.first, true);
    }
    if (++peer->wrong_run < WRONG_RUN_MAX && (peer->wrong < WRONG_MAX || peer->wrong < peer->right))
        return;
    peer->bad = true;
    client->live &= ~peer->bit;
    forget_peer(client, peer, true);
}

/* The peer gave what was wanted: it is trusted with more. */
static void credit(struct fab_bitswap_client *client, struct fab_bitswap_client_peer *peer,
                   struct want *w, uint64_t now_us)
{
    peer->right++;
    peer->wrong_run = 0;
    peer->timeout = client->config.timeout_us;
    if (w->peer == peer) {
        uint64_t since = peer->answer > peer->busy_since ? peer->answer : peer->busy_since;
        uint64_t took = now_us - since;
        peer->service = (31 * peer->service + took) / 32;
        peer->answered_ask = w->at;
        if (peer->window < client->config.peer_wants_max)
            peer->window++;
    }
    peer->answer = now_us;
    note(w, peer, true);
}

bool fab_bitswap_client_block(struct fab_bitswap_client *client,
                              struct fab_bitswap_client_peer *peer, const struct fab_cid *cid,
                              size_t len, uint64_t now_us)
{
    struct fab_slice mh = fab_cid_mh(cid);
    uint64_t hash = fab_bitswap_index_hash(&client->index, mh);
    struct want *w = find(client, mh, hash);
    if (!w) {
        if (*recent_slot(client, hash) == hash) {
            client->stats.duplicates++;
            client->stats.dup_bytes += len;
        } else {
            client->stats.unwanted++;
            if (peer && !peer->bad)
                charge(client, peer);
        }
        return false;
    }
    client->stats.blocks++;
    client->stats.bytes += len;
    client->block_bytes = (31 * client->block_bytes + len) / 32;
    if (peer)
        credit(client, peer, w, now_us);
    retire(client, w, peer);
    for (struct interest *i = w->interests; i; i = i->next)
        interest_unlink(i);
    for (struct interest *i = w->interests, *next; i; i = next) {
        struct fab_cid asked = cid_as_asked(i);
        next = i->next;
        client->events.got(client->events.arg, i->session->user, &asked);
        free(i);
    }
    free(w);
    return true;
}
