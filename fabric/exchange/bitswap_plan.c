/* What is asked of whom.
 *
 * Happy path: the first wants of a session find no peer known to have them, so all are asked; one
 * answers, and from then on wants go straight to the peers that answer, each to the one that is
 * expected to be done first, many at once: a window that grows with every block that comes.
 *
 * Failures: a peer that says DONT_HAVE is passed over for that want, and after 16 in a row no
 * longer taken for one that has the DAG. A peer that owes blocks and is silent for its timeout is
 * stalled: its wants move on and it gets none until it speaks or has been left alone for as long,
 * each time longer. A peer that sends something but no wanted block for 12 timeouts is stalled too.
 * An entry that a peer seems to have lost (it answers what was asked much later) moves on alone. */
#include "fabric/exchange/bitswap_client_state.h"

#include <limits.h>

#define ENTRIES_MAX 1000 /* at a peer; Kubo keeps 1024 */
#define HAVES_MAX   448
#define PROBING_MAX 256 /* wants asked of all peers at once */
#define WINDOW_MIN  16
#define OUT_FULL    ((size_t)128 << 10) /* a peer that does not take its messages gets no more */
#define STUCK_MAX   64
#define TURN_WANTS  32
#define TIMEOUT_MAX (60 * UINT64_C(1000000))
#define RETRY_GAP   UINT64_C(1000000)
#define RETRY_WANTS 256
#define NO_ANSWER   12 /* timeouts */
#define LOST        3  /* timeouts */

/* ---- states ---- */

static struct fab_bitswap_client_peer *peer_of(const struct fab_bitswap_client *client,
                                               uint64_t mask)
{
    return client->peers[__builtin_ctzll(mask)];
}

void fab_bitswap_plan_leave(struct fab_bitswap_client *client, struct want *w)
{
    switch (w->state) {
    case WANT_NONE:
        break;
    case WANT_PENDING:
        fab_want_list_remove(&w->owner->pending, w);
        break;
    case WANT_ASKED:
        fab_want_list_remove(&w->peer->asked, w);
        w->peer->inflight--;
        w->peer = NULL;
        break;
    case WANT_WAITING:
        fab_want_list_remove(&client->waiting, w);
        break;
    case WANT_MISSING:
        fab_want_list_remove(&client->missing, w);
        client->stats.missing--;
        for (struct interest *i = w->interests; i; i = i->next)
            i->session->missing--;
        break;
    }
    w->state = WANT_NONE;
    if (w->probing)
        client->probing--;
    w->probing = false;
}

void fab_bitswap_plan_pend(struct fab_bitswap_client *client, struct want *w, bool front)
{
    fab_bitswap_plan_leave(client, w);
    w->state = WANT_PENDING;
    fab_want_list_push(&w->owner->pending, w, front);
}

static void wait_for_answers(struct fab_bitswap_client *client, struct want *w, uint64_t now_us)
{
    fab_bitswap_plan_leave(client, w);
    w->state = WANT_WAITING;
    w->at = now_us + client->config.timeout_us;
    w->probing = true;
    client->probing++;
    fab_want_list_push(&client->waiting, w, false);
}

static void miss(struct fab_bitswap_client *client, struct want *w, uint64_t now_us)
{
    fab_bitswap_plan_leave(client, w);
    w->state = WANT_MISSING;
    w->at = now_us + client->config.retry_us;
    client->stats.missing++;
    for (struct interest *i = w->interests; i; i = i->next)
        i->session->missing++;
    fab_want_list_push(&client->missing, w, false);
}

/* ---- entries ---- */

void fab_bitswap_plan_unask(struct want *w, struct fab_bitswap_client_peer *peer, bool cancel)
{
    if (!(w->asked & peer->bit))
        return;
    w->asked &= ~peer->bit;
    peer->entries--;
    if (w->dont & peer->bit)
        peer->remembered--;
    /* When it cannot be said, the peer may send a block that is no longer wanted. */
    if (cancel && fab_bitswap_entry_append(&peer->out, FAB_BITSWAP_CANCEL, &w->cid, 0, false))
        return;
}

static bool ask(struct fab_bitswap_client *client, struct want *w,
                struct fab_bitswap_client_peer *peer, enum fab_bitswap_kind kind)
{
    /* Falling, so that a peer serves in the order of asking. */
    int32_t priority = INT32_MAX - 1 - (int32_t)(client->sequence++ & 0x3fffffff);
    if (fab_bitswap_entry_append(&peer->out, kind, &w->cid, priority, true) != FAB_OK)
        return false;
    if (!(w->asked & peer->bit)) {
        w->asked |= peer->bit;
        peer->entries++;
    }
    return true;
}

static bool ask_block(struct fab_bitswap_client *client, struct want *w,
                      struct fab_bitswap_client_peer *peer, uint64_t now_us)
{
    if (!ask(client, w, peer, FAB_BITSWAP_WANT_BLOCK))
        return false;
    fab_bitswap_plan_leave(client, w);
    w->state = WANT_ASKED;
    w->peer = peer;
    w->at = now_us;
    if (peer->inflight++ == 0)
        peer->busy_since = now_us;
    fab_want_list_push(&peer->asked, w, false);
    return true;
}

/* ---- choice ---- */

static bool room_for_entry(const struct fab_bitswap_client_peer *peer)
{
    return peer->entries < ENTRIES_MAX && peer->out.len < OUT_FULL;
}

static bool room_for_block(const struct fab_bitswap_client *client,
                           const struct fab_bitswap_client_peer *peer)
{
    size_t limit = client->config.peer_bytes_max / (client->block_bytes ? client->block_bytes : 1);
    if (limit < WINDOW_MIN)
        limit = WINDOW_MIN;
    if (limit > client->config.peer_wants_max)
        limit = client->config.peer_wants_max;
    return peer->inflight < limit && peer->inflight < peer->window && room_for_entry(peer);
}

/* The peer of `mask` with room that is expected to be done first; NULL: none has room. */
static struct fab_bitswap_client_peer *best(const struct fab_bitswap_client *client, uint64_t mask)
{
    struct fab_bitswap_client_peer *found = NULL;
    uint64_t found_cost = 0;
    for (; mask; mask &= mask - 1) {
        struct fab_bitswap_client_peer *peer = peer_of(client, mask);
        uint64_t cost = (peer->inflight + 1) * (peer->service + 1);
        if (room_for_block(client, peer) && (!found || cost < found_cost)) {
            found = peer;
            found_cost = cost;
        }
    }
    return found;
}

/* Ask all of `fresh`. False: there was no room for anything. */
static bool probe(struct fab_bitswap_client *client, struct want *w, uint64_t fresh,
                  uint64_t now_us)
{
    if (client->probing >= PROBING_MAX)
        return false;
    struct fab_bitswap_client_peer *first = best(client, fresh);
    bool asked = false;
    for (uint64_t rest = fresh; rest; rest &= rest - 1) {
        struct fab_bitswap_client_peer *peer = peer_of(client, rest);
        if (peer != first && peer->entries - peer->inflight < HAVES_MAX && room_for_entry(peer))
            asked |= ask(client, w, peer, FAB_BITSWAP_WANT_HAVE);
    }
    if (first && ask_block(client, w, first, now_us)) {
        w->probing = true;
        client->probing++;
        return true;
    }
    if (asked)
        wait_for_answers(client, w, now_us);
    return asked;
}

/* Decide about a pending want. False: it has to wait for room. */
static bool step(struct fab_bitswap_client *client, struct want *w, uint64_t now_us)
{
    uint64_t peers = client->live & ~w->dont & ~w->slow;
    uint64_t good = peers & (w->have | w->owner->good);
    if (good) {
        struct fab_bitswap_client_peer *peer = best(client, good);
        return peer && ask_block(client, w, peer, now_us);
    }
    uint64_t fresh = peers & ~w->asked;
    if (fresh)
        return probe(client, w, fresh, now_us);
    if (peers)
        wait_for_answers(client, w, now_us);
    else
        miss(client, w, now_us);
    return true;
}

static bool any_room(const struct fab_bitswap_client *client)
{
    for (uint64_t mask = client->live; mask; mask &= mask - 1)
        if (room_for_block(client, peer_of(client, mask)))
            return true;
    return !client->live; /* then everything is missing */
}

/* Another session is the first to be asked for. */
static void rotate(struct fab_bitswap_client *client)
{
    struct fab_bitswap_session *first = client->sessions, *last = first;
    if (!first || !first->next)
        return;
    while (last->next)
        last = last->next;
    client->sessions = first->next;
    client->sessions->prev = NULL;
    last->next = first;
    first->prev = last;
    first->next = NULL;
}

void fab_bitswap_plan_pump(struct fab_bitswap_client *client, uint64_t now_us)
{
    bool moved = true;
    rotate(client);
    while (moved) {
        moved = false;
        for (struct fab_bitswap_session *s = client->sessions; s; s = s->next) {
            size_t stuck = 0, turn = 0;
            if (s->pending.first && !any_room(client))
                return;
            for (struct want *w = s->pending.first, *next; w; w = next) {
                next = w->next;
                if (turn == TURN_WANTS || stuck == STUCK_MAX)
                    break;
                if (step(client, w, now_us))
                    turn++;
                else
                    stuck++;
            }
            moved |= turn > 0;
        }
    }
}

/* ---- time ---- */

void fab_bitswap_plan_abandon(struct fab_bitswap_client *client,
                              struct fab_bitswap_client_peer *peer, bool slow)
{
    while (peer->asked.last) {
        struct want *w = peer->asked.last;
        if (slow) {
            w->slow |= peer->bit;
            client->stats.timeouts++;
        }
        fab_bitswap_plan_pend(client, w, true);
    }
}

static void stall(struct fab_bitswap_client *client, struct fab_bitswap_client_peer *peer,
                  uint64_t now_us)
{
    fab_bitswap_plan_abandon(client, peer, true);
    for (struct fab_bitswap_session *s = client->sessions; s; s = s->next)
        s->good &= ~peer->bit;
    peer->stalled = true;
    client->live &= ~peer->bit;
    peer->window = WINDOW_MIN;
    peer->revive_at = now_us + peer->timeout;
    peer->timeout *= 2;
    if (peer->timeout > TIMEOUT_MAX)
        peer->timeout =
            client->config.timeout_us > TIMEOUT_MAX ? client->config.timeout_us : TIMEOUT_MAX;
}

void fab_bitswap_plan_revive(struct fab_bitswap_client *client,
                             struct fab_bitswap_client_peer *peer)
{
    if (!peer->stalled || peer->bad)
        return;
    peer->stalled = false;
    client->live |= peer->bit;
    for (struct want *w = client->missing.first, *next; w; w = next) {
        next = w->next;
        if (!(w->slow & peer->bit))
            continue;
        fab_bitswap_plan_unask(w, peer, false);
        w->slow &= ~peer->bit;
        fab_bitswap_plan_pend(client, w, false);
    }
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the peer is given up if nothing comes. */
static uint64_t stall_time(const struct fab_bitswap_client_peer *peer)
{
    return earlier(later(peer->progress, peer->busy_since) + peer->timeout,
                   later(peer->answer, peer->busy_since) + NO_ANSWER * peer->timeout);
}

/* When the oldest want-block is taken for lost; UINT64_MAX: there is no sign of that. */
static uint64_t lost_time(const struct fab_bitswap_client_peer *peer)
{
    const struct want *w = peer->asked.first;
    return peer->answered_ask > w->at + peer->timeout ? w->at + LOST * peer->timeout : UINT64_MAX;
}

static void tick_peer(struct fab_bitswap_client *client, struct fab_bitswap_client_peer *peer,
                      uint64_t now_us)
{
    if (peer->stalled) {
        if (now_us >= peer->revive_at)
            fab_bitswap_plan_revive(client, peer);
        return;
    }
    while (peer->asked.first && lost_time(peer) <= now_us) {
        peer->asked.first->slow |= peer->bit;
        client->stats.timeouts++;
        fab_bitswap_plan_pend(client, peer->asked.first, true);
    }
    if (peer->asked.first && stall_time(peer) <= now_us)
        stall(client, peer, now_us);
}

/* Nobody answered a want that all were asked for. Peers that have said nothing at all since are
 * stalled, so that not every want has to wait for them. */
static void give_up_waiting(struct fab_bitswap_client *client, struct want *w, uint64_t now_us)
{
    uint64_t since = w->at - client->config.timeout_us;
    uint64_t silent = w->asked & client->live & ~w->dont & ~w->have;
    client->stats.timeouts++;
    w->slow |= w->asked;
    fab_bitswap_plan_pend(client, w, true);
    for (; silent; silent &= silent - 1)
        if (peer_of(client, silent)->progress < since)
            stall(client, peer_of(client, silent), now_us);
}

/* Everything is asked again, of everybody. */
static void retry(struct fab_bitswap_client *client, struct want *w)
{
    for (uint64_t mask = w->asked; mask; mask &= mask - 1)
        fab_bitswap_plan_unask(w, peer_of(client, mask), false);
    w->dont = w->slow = 0;
    fab_bitswap_plan_pend(client, w, false);
}

void fab_bitswap_client_tick(struct fab_bitswap_client *client, uint64_t now_us)
{
    for (unsigned i = 0; i < FAB_BITSWAP_CLIENT_PEERS_MAX; i++)
        if (client->peers[i])
            tick_peer(client, client->peers[i], now_us);
    while (client->waiting.first && client->waiting.first->at <= now_us)
        give_up_waiting(client, client->waiting.first, now_us);
    if (now_us < client->next_retry)
        return;
    for (size_t n = 0; client->missing.first && client->missing.first->at <= now_us; n++) {
        client->next_retry = now_us + RETRY_GAP;
        if (n == RETRY_WANTS)
            break;
        retry(client, client->missing.first);
    }
}

uint64_t fab_bitswap_client_deadline(const struct fab_bitswap_client *client)
{
    uint64_t at = UINT64_MAX;
    for (unsigned i = 0; i < FAB_BITSWAP_CLIENT_PEERS_MAX; i++) {
        const struct fab_bitswap_client_peer *peer = client->peers[i];
        if (!peer)
            continue;
        if (peer->stalled && !peer->bad)
            at = earlier(at, peer->revive_at);
        if (peer->asked.first)
            at = earlier(at, earlier(stall_time(peer), lost_time(peer)));
    }
    if (client->waiting.first)
        at = earlier(at, client->waiting.first->at);
    if (client->missing.first)
        at = earlier(at, later(client->missing.first->at, client->next_retry));
    return at;
}
