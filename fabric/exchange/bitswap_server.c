/* The life of a want: READY in its peer's heap (highest priority first, then oldest) → TAKEN by a
 * job → answered and forgotten, or, when the store lacks the block, REMEMBERED → READY again when
 * the block comes.
 *
 *      message           take               job_done: answered
 *   ──────────▶ READY ──────────▶ TAKEN ──────────────────────▶ (gone)
 *                 ▲                 │ job_done: missing
 *                 │ added           ▼
 *                 └──────────── REMEMBERED ──▶ (gone) cancelled, replaced by `full`, pushed out
 *
 * What happens to a want while a job has it (a cancel, a stronger want, the block's arrival, its
 * peer's end) is noted in the want and settled in job_done; a job that ran cannot be unsaid. The
 * worker sees only the job: copies of CIDs, no pointers that it follows. */
#include "fabric/exchange/bitswap_server.h"

#include "fabric/exchange/bitswap_index.h"
#include "fabric/exchange/bitswap_message.h"

#include <stdlib.h>
#include <string.h>

#define WANTS_MAX       1024
#define JOB_WANTS       512
#define MESSAGE_TARGET  ((size_t)1 << 20)
#define TARGET_MAX      ((size_t)2 << 20)
#define OUTSTANDING_MAX ((size_t)4 << 20)
#define TOTAL_MAX       ((size_t)64 << 20)
#define HAVE_TO_BLOCK   1024
#define OVERHEAD_MAX    256                 /* bytes around one block in a message */
#define SAME_MAX        4                   /* wants of a peer for the same multihash */
#define REFUSALS_MAX    ((size_t)256 << 10) /* bytes of CIDs that wait for their DONT_HAVE */

enum want_state { WANT_READY, WANT_TAKEN, WANT_REMEMBERED };

struct want {
    struct fab_bitswap_node node;         /* first: the index gives these */
    struct fab_bitswap_server_peer *peer; /* NULL: gone while a job has the want */
    struct want *prev, *next;             /* in the peer's list of its state, but READY */
    uint64_t order;                       /* of asking */
    size_t heap_at;                       /* READY: where in the peer's heap */
    int32_t priority;
    enum want_state state;
    bool block, send_dont_have;
    bool cancelled; /* TAKEN: free it in job_done */
    bool again;     /* TAKEN: ask the store again, something has changed */
    uint8_t cid_len;
    uint8_t cid[];
};

struct want_list {
    struct want *first, *last;
};

struct fab_bitswap_server_peer {
    struct fab_bitswap_server_peer *prev, *next;
    void *user;
    struct want **heap; /* READY */
    size_t ready, heap_cap;
    struct want_list taken, remembered;
    size_t wants;           /* in all states */
    struct fab_buf refused; /* CIDs over the limit: a length byte and the CID */
    size_t outstanding;     /* bytes reserved by running jobs, and composed but not sent */
    uint64_t served;        /* bytes composed */
    uint64_t turn; /* the same plus what is reserved, raised when it comes out of idleness */
    struct fab_bitswap_job *jobs; /* that run, or whose answers are not freed yet */
    unsigned running;
};

struct fab_bitswap_server {
    struct fab_bitswap_server_config config;
    struct fab_bitswap_index index; /* all wants, by multihash */
    struct fab_bitswap_server_peer *peers;
    uint64_t order, turn;
    size_t outstanding;
    struct fab_bitswap_server_stats stats;
};

enum answer { ANSWER_NONE, ANSWER_MISSING, ANSWER_BLOCK, ANSWER_HAVE };

struct job_want {
    struct want *want; /* for job_done, not for the worker */
    struct fab_cid cid;
    bool block, send_dont_have;
    enum answer answer;
};

struct fab_bitswap_job {
    struct fab_bitswap_server_peer *peer;
    struct fab_bitswap_job *prev, *next; /* of the peer, until job_done */
    size_t target, have_to_block, reserved;
    struct fab_buf refused, out;
    struct fab_slice message;
    enum fab_rc source_rc;
    uint64_t block_bytes, dont_haves;
    size_t count;
    struct job_want wants[];
};

/* ---- lists and the heap ---- */

static void list_push(struct want_list *list, struct want *w)
{
    w->next = NULL;
    w->prev = list->last;
    if (list->last)
        list->last->next = w;
    else
        list->first = w;
    list->last = w;
}

static void list_remove(struct want_list *list, struct want *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        list->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        list->last = w->prev;
    w->prev = w->next = NULL;
}

static bool before(const struct want *a, const struct want *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->order < b->order;
}

static void heap_set(struct fab_bitswap_server_peer *peer, size_t at, struct want *w)
{
    peer->heap[at] = w;
    w->heap_at = at;
}

static void heap_settle(struct fab_bitswap_server_peer *peer, size_t at, struct want *w)
{
    for (; at > 0 && before(w, peer->heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap_set(peer, at, peer->heap[(at - 1) / 2]);
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < peer->ready && before(peer->heap[child + 1], peer->heap[child]))
            child++;
        if (child >= peer->ready || !before(peer->heap[child], w))
            break;
        heap_set(peer, at, peer->heap[child]);
        at = child;
    }
    heap_set(peer, at, w);
}

/* The heap has room for every want of the peer: want_new saw to that. */
static void heap_push(struct fab_bitswap_server_peer *peer, struct want *w)
{
    w->state = WANT_READY;
    peer->ready++;
    heap_set(peer, peer->ready - 1, w);
    heap_settle(peer, peer->ready - 1, w);
}

static void heap_remove(struct fab_bitswap_server_peer *peer, struct want *w)
{
    struct want *last = peer->heap[--peer->ready];
    if (last != w)
        heap_settle(peer, w->heap_at, last);
}

static enum fab_rc heap_reserve(struct fab_bitswap_server_peer *peer, size_t n)
{
    if (n <= peer->heap_cap)
        return FAB_OK;
    size_t cap = peer->heap_cap ? 2 * peer->heap_cap : 16;
    struct want **heap = realloc(peer->heap, cap * sizeof(struct want *));
    if (!heap)
        return FAB_ENOMEM;
    peer->heap = heap;
    peer->heap_cap = cap;
    return FAB_OK;
}

/* ---- wants ---- */

static struct fab_slice want_mh(const struct want *w, struct fab_cid *cid)
{
    /* It was written by fab_cid_bytes. */
    return fab_cid_parse(fab_slice(w->cid, w->cid_len), cid) == FAB_OK ? fab_cid_mh(cid)
                                                                       : fab_slice(NULL, 0);
}

static struct want *want_find(const struct fab_bitswap_server *server,
                              const struct fab_bitswap_server_peer *peer, struct fab_slice cid,
                              uint64_t hash, unsigned *same)
{
    *same = 0;
    struct fab_bitswap_node *node = fab_bitswap_index_find(&server->index, hash);
    for (; node; node = fab_bitswap_index_again(node)) {
        struct want *w = (struct want *)node;
        if (w->peer != peer)
            continue;
        if (fab_slice_eq(fab_slice(w->cid, w->cid_len), cid))
            return w;
        ++*same;
    }
    return NULL;
}

static enum fab_rc want_new(struct fab_bitswap_server *server, struct fab_bitswap_server_peer *peer,
                            struct fab_slice cid, uint64_t hash, struct want **out)
{
    FAB_TRY(heap_reserve(peer, peer->wants + 1));
    struct want *w = calloc(1, sizeof *w + cid.n);
    if (!w)
        return FAB_ENOMEM;
    w->node.hash = hash;
    w->peer = peer;
    w->order = server->order++;
    w->cid_len = (uint8_t)cid.n;
    memcpy(w->cid, cid.p, cid.n);
    fab_bitswap_index_add(&server->index, &w->node);
    peer->wants++;
    *out = w;
    return FAB_OK;
}

static void want_remember(struct fab_bitswap_server *server, struct want *w)
{
    w->state = WANT_REMEMBERED;
    list_push(&w->peer->remembered, w);
    server->stats.remembered++;
}

static void want_recall(struct fab_bitswap_server *server, struct want *w)
{
    list_remove(&w->peer->remembered, w);
    server->stats.remembered--;
}

static void want_unlink(struct fab_bitswap_server *server, struct want *w)
{
    fab_bitswap_index_remove(&server->index, &w->node);
    w->peer->wants--;
}

/* Forget the want; one that a job has is freed when the job is done. */
static void want_drop(struct fab_bitswap_server *server, struct want *w)
{
    want_unlink(server, w);
    switch (w->state) {
    case WANT_READY:
        heap_remove(w->peer, w);
        break;
    case WANT_REMEMBERED:
        want_recall(server, w);
        break;
    case WANT_TAKEN:
        list_remove(&w->peer->taken, w);
        w->cancelled = true;
        w->peer = NULL;
        return;
    }
    free(w);
}

/* The peer has work again: it does not get the turns that it had no use for. */
static void peer_wake(struct fab_bitswap_server *server, struct fab_bitswap_server_peer *peer)
{
    if (!peer->ready && !peer->refused.len && !peer->running && peer->turn < server->turn)
        peer->turn = server->turn;
}

static void want_ready(struct fab_bitswap_server *server, struct want *w)
{
    peer_wake(server, w->peer);
    heap_push(w->peer, w);
}

/* ---- messages ---- */

static void refuse(struct fab_bitswap_server *server, struct fab_bitswap_server_peer *peer,
                   struct fab_slice cid, bool send_dont_have)
{
    server->stats.refused++;
    if (!send_dont_have || fab_buf_reserve(&peer->refused, 1 + cid.n) != FAB_OK)
        return;
    peer_wake(server, peer);
    peer->refused.data[peer->refused.len++] = (uint8_t)cid.n;
    memcpy(peer->refused.data + peer->refused.len, cid.p, cid.n);
    peer->refused.len += cid.n;
}

static void want_update(struct fab_bitswap_server *server, struct want *w,
                        const struct fab_bitswap_item *item)
{
    bool stronger = item->kind == FAB_BITSWAP_WANT_BLOCK && !w->block;
    w->block |= stronger;
    w->send_dont_have |= item->send_dont_have;
    w->priority = item->priority;
    switch (w->state) {
    case WANT_READY:
        heap_settle(w->peer, w->heap_at, w);
        break;
    case WANT_REMEMBERED: /* asked anew, answered anew */
        want_recall(server, w);
        want_ready(server, w);
        break;
    case WANT_TAKEN:
        w->again |= stronger;
        break;
    }
}

static enum fab_rc take_want(struct fab_bitswap_server *server,
                             struct fab_bitswap_server_peer *peer,
                             const struct fab_bitswap_item *item)
{
    uint8_t bytes[FAB_CID_MAX];
    struct fab_slice cid = fab_slice(bytes, fab_cid_bytes(&item->cid, bytes));
    uint64_t hash = fab_bitswap_index_hash(&server->index, fab_cid_mh(&item->cid));
    unsigned same;
    struct want *w = want_find(server, peer, cid, hash, &same);
    if (item->kind == FAB_BITSWAP_CANCEL) {
        if (w)
            want_drop(server, w);
        return FAB_OK;
    }
    if (w) {
        want_update(server, w, item);
        return FAB_OK;
    }
    bool many = same >= SAME_MAX; /* they would make every search longer */
    if (many || peer->wants >= server->config.wants_max) {
        if (many || !peer->remembered.first) {
            refuse(server, peer, cid, item->send_dont_have);
            return FAB_OK;
        }
        want_drop(server, peer->remembered.first);
    }
    FAB_TRY(want_new(server, peer, cid, hash, &w));
    server->stats.wants++;
    w->block = item->kind == FAB_BITSWAP_WANT_BLOCK;
    w->send_dont_have = item->send_dont_have;
    w->priority = item->priority;
    want_ready(server, w);
    return FAB_OK;
}

static void forget_wants(struct fab_bitswap_server *server, struct fab_bitswap_server_peer *peer)
{
    while (peer->ready)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it was freed */
        want_drop(server, peer->heap[peer->ready - 1]);
    while (peer->taken.first)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it was freed */
        want_drop(server, peer->taken.first);
    while (peer->remembered.first)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it was freed */
        want_drop(server, peer->remembered.first);
    fab_buf_reset(&peer->refused);
}

enum fab_rc fab_bitswap_server_message(struct fab_bitswap_server *server,
                                       struct fab_bitswap_server_peer *peer,
                                       struct fab_slice message)
{
    struct fab_bitswap_summary sum;
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    enum fab_rc rc;
    FAB_TRY(fab_bitswap_message_check(message, &sum));
    if (sum.full)
        forget_wants(server, peer);
    fab_bitswap_iter_init(&it, message);
    while ((rc = fab_bitswap_iter_next(&it, &item)) == FAB_OK)
        if (item.kind <= FAB_BITSWAP_CANCEL)
            FAB_TRY(take_want(server, peer, &item));
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

void fab_bitswap_server_added(struct fab_bitswap_server *server, const struct fab_cid *cid)
{
    uint64_t hash;
    struct fab_cid other;
    if (server->index.count == 0)
        return;
    hash = fab_bitswap_index_hash(&server->index, fab_cid_mh(cid));
    struct fab_bitswap_node *node = fab_bitswap_index_find(&server->index, hash);
    for (; node; node = fab_bitswap_index_again(node)) {
        struct want *w = (struct want *)node;
        if (!fab_slice_eq(want_mh(w, &other), fab_cid_mh(cid)))
            continue;
        if (w->state == WANT_REMEMBERED) {
            want_recall(server, w);
            want_ready(server, w);
        } else if (w->state == WANT_TAKEN) {
            w->again = true;
        }
    }
}

void fab_bitswap_server_retry(struct fab_bitswap_server *server)
{
    for (struct fab_bitswap_server_peer *peer = server->peers; peer; peer = peer->next) {
        while (peer->remembered.first) {
            struct want *w = peer->remembered.first;
            want_recall(server, w);
            w->send_dont_have = false; /* it was told when the want came */
            want_ready(server, w);
        }
    }
}

/* ---- jobs ---- */

static bool servable(const struct fab_bitswap_server *server,
                     const struct fab_bitswap_server_peer *peer)
{
    size_t target = server->config.message_target;
    return (peer->ready || peer->refused.len) &&
           peer->outstanding + target <= server->config.outstanding_max &&
           server->outstanding + target <= server->config.total_max;
}

struct fab_bitswap_server_peer *fab_bitswap_server_next_peer(struct fab_bitswap_server *server)
{
    struct fab_bitswap_server_peer *best = NULL;
    for (struct fab_bitswap_server_peer *peer = server->peers; peer; peer = peer->next)
        if (servable(server, peer) && (!best || peer->turn < best->turn))
            best = peer;
    return best;
}

enum fab_rc fab_bitswap_server_take(struct fab_bitswap_server *server,
                                    struct fab_bitswap_server_peer *peer,
                                    struct fab_bitswap_job **out)
{
    if (!servable(server, peer))
        return FAB_ENOENT;
    size_t count = peer->ready < server->config.job_wants ? peer->ready : server->config.job_wants;
    struct fab_bitswap_job *job = calloc(1, sizeof *job + count * sizeof job->wants[0]);
    if (!job)
        return FAB_ENOMEM;
    for (; job->count < count; job->count++) {
        struct job_want *jw = &job->wants[job->count];
        struct want *w = peer->heap[0];
        heap_remove(peer, w);
        w->state = WANT_TAKEN;
        w->again = false;
        list_push(&peer->taken, w);
        jw->want = w;
        jw->block = w->block;
        jw->send_dont_have = w->send_dont_have;
        want_mh(w, &jw->cid);
    }
    job->peer = peer;
    job->target = server->config.message_target;
    job->have_to_block = server->config.have_to_block;
    job->reserved = job->target;
    fab_buf_init(&job->out, FAB_BITSWAP_MESSAGE_MAX + FAB_BITSWAP_LENGTH_MAX);
    job->refused = peer->refused;
    fab_buf_init(&peer->refused, REFUSALS_MAX);
    job->next = peer->jobs;
    if (job->next)
        job->next->prev = job;
    peer->jobs = job;
    peer->running++;
    if (server->turn < peer->turn)
        server->turn = peer->turn;
    peer->outstanding += job->reserved;
    peer->turn += job->reserved;
    server->outstanding += job->reserved;
    *out = job;
    return FAB_OK;
}

static enum fab_rc write_refusals(struct fab_bitswap_job *job, struct fab_bitswap_writer *w)
{
    struct fab_reader r = fab_reader(fab_buf_slice(&job->refused));
    struct fab_slice bytes;
    struct fab_cid cid;
    uint8_t n;
    while (fab_reader_left(&r)) {
        FAB_TRY(fab_read_u8(&r, &n));
        FAB_TRY(fab_read_bytes(&r, n, &bytes));
        FAB_TRY(fab_cid_parse(bytes, &cid));
        FAB_TRY(fab_bitswap_writer_presence(w, &cid, false));
        job->dont_haves++;
    }
    return FAB_OK;
}

/* One want. FAB_ELIMIT: the message is full, and the want is left for the next one. */
static enum fab_rc answer(struct fab_bitswap_job *job, struct job_want *jw,
                          const struct fab_block_source *source, struct fab_bitswap_writer *w)
{
    struct fab_slice data;
    enum fab_rc rc = source->get(source->ctx, &jw->cid, &data);
    if (rc != FAB_OK && rc != FAB_ENOENT)
        job->source_rc = rc;
    /* What fits into no message cannot be given. */
    if (rc != FAB_OK || data.n > FAB_BITSWAP_MESSAGE_MAX - OVERHEAD_MAX) {
        if (jw->send_dont_have) {
            FAB_TRY(fab_bitswap_writer_presence(w, &jw->cid, false));
            job->dont_haves++;
        }
        jw->answer = ANSWER_MISSING;
        return FAB_OK;
    }
    if (!jw->block && data.n > job->have_to_block) {
        FAB_TRY(fab_bitswap_writer_presence(w, &jw->cid, true));
        jw->answer = ANSWER_HAVE;
        return FAB_OK;
    }
    FAB_TRY(fab_bitswap_writer_block(w, &jw->cid, data));
    job->block_bytes += data.n;
    jw->answer = ANSWER_BLOCK;
    return FAB_OK;
}

enum fab_rc fab_bitswap_job_run(struct fab_bitswap_job *job, const struct fab_block_source *source)
{
    struct fab_bitswap_writer w;
    enum fab_rc rc;
    FAB_TRY(fab_bitswap_writer_begin(&w, &job->out));
    size_t nothing = fab_bitswap_writer_size(&w);
    rc = write_refusals(job, &w);
    for (size_t i = 0; rc == FAB_OK && i < job->count; i++) {
        if (fab_bitswap_writer_size(&w) >= job->target)
            break;
        rc = answer(job, &job->wants[i], source, &w);
    }
    if (fab_bitswap_writer_size(&w) > nothing)
        fab_bitswap_writer_end(&w, &job->message);
    return rc == FAB_ELIMIT || rc == FAB_OK ? job->source_rc : rc;
}

static void settle(struct fab_bitswap_server *server, const struct job_want *jw)
{
    struct want *w = jw->want;
    bool served = jw->answer == ANSWER_BLOCK || (jw->answer == ANSWER_HAVE && !w->block);
    server->stats.blocks += jw->answer == ANSWER_BLOCK;
    server->stats.haves += jw->answer == ANSWER_HAVE;
    if (w->cancelled) {
        free(w);
        return;
    }
    list_remove(&w->peer->taken, w);
    if (served) {
        want_unlink(server, w);
        free(w);
    } else if (jw->answer == ANSWER_MISSING && !w->again) {
        want_remember(server, w);
    } else {
        want_ready(server, w);
    }
}

void fab_bitswap_job_done(struct fab_bitswap_server *server, struct fab_bitswap_job *job)
{
    struct fab_bitswap_server_peer *peer = job->peer;
    for (size_t i = 0; i < job->count; i++)
        settle(server, &job->wants[i]);
    server->stats.block_bytes += job->block_bytes;
    server->stats.dont_haves += job->dont_haves;
    if (!peer)
        return;
    peer->running--;
    size_t n = job->message.n;
    peer->outstanding = peer->outstanding + n - job->reserved;
    peer->turn = peer->turn + n - job->reserved;
    peer->served += n;
    server->outstanding = server->outstanding + n - job->reserved;
}

struct fab_bitswap_server_peer *fab_bitswap_job_peer(const struct fab_bitswap_job *job)
{
    return job->peer;
}

struct fab_slice fab_bitswap_job_bytes(const struct fab_bitswap_job *job)
{
    return job->message;
}

void fab_bitswap_job_free(struct fab_bitswap_job *job)
{
    if (!job)
        return;
    if (job->peer) { /* until now, so that the removal of the peer finds it */
        if (job->prev)
            job->prev->next = job->next;
        else
            job->peer->jobs = job->next;
        if (job->next)
            job->next->prev = job->prev;
    }
    fab_buf_fini(&job->refused);
    fab_buf_fini(&job->out);
    free(job);
}

void fab_bitswap_server_sent(struct fab_bitswap_server *server,
                             struct fab_bitswap_server_peer *peer, size_t n)
{
    if (n > peer->outstanding)
        n = peer->outstanding;
    peer->outstanding -= n;
    server->outstanding -= n;
}

/* ---- server and peers ---- */

static size_t or_default(size_t v, size_t otherwise)
{
    return v ? v : otherwise;
}

enum fab_rc fab_bitswap_server_new(const struct fab_bitswap_server_config *config,
                                   const uint8_t key[FAB_BITSWAP_KEY_BYTES],
                                   struct fab_bitswap_server **out)
{
    struct fab_bitswap_server *server = calloc(1, sizeof *server);
    if (!server)
        return FAB_ENOMEM;
    struct fab_bitswap_server_config *c = &server->config;
    if (config)
        *c = *config;
    c->wants_max = or_default(c->wants_max, WANTS_MAX);
    c->job_wants = or_default(c->job_wants, JOB_WANTS);
    c->message_target = or_default(c->message_target, MESSAGE_TARGET);
    if (c->message_target > TARGET_MAX)
        c->message_target = TARGET_MAX;
    c->outstanding_max = or_default(c->outstanding_max, OUTSTANDING_MAX);
    if (c->outstanding_max < c->message_target)
        c->outstanding_max = c->message_target;
    c->total_max = or_default(c->total_max, TOTAL_MAX);
    if (c->total_max < c->outstanding_max)
        c->total_max = c->outstanding_max;
    c->have_to_block = or_default(c->have_to_block, HAVE_TO_BLOCK);
    if (fab_bitswap_index_init(&server->index, key) != FAB_OK) {
        free(server);
        return FAB_ENOMEM;
    }
    *out = server;
    return FAB_OK;
}

void fab_bitswap_server_free(struct fab_bitswap_server *server)
{
    if (!server)
        return;
    while (server->peers)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it was freed */
        fab_bitswap_server_peer_remove(server, server->peers);
    fab_bitswap_index_fini(&server->index);
    free(server);
}

enum fab_rc fab_bitswap_server_peer_add(struct fab_bitswap_server *server, void *user,
                                        struct fab_bitswap_server_peer **out)
{
    struct fab_bitswap_server_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        return FAB_ENOMEM;
    peer->user = user;
    peer->turn = server->turn;
    fab_buf_init(&peer->refused, REFUSALS_MAX);
    peer->next = server->peers;
    if (peer->next)
        peer->next->prev = peer;
    server->peers = peer;
    server->stats.peers++;
    *out = peer;
    return FAB_OK;
}

void fab_bitswap_server_peer_remove(struct fab_bitswap_server *server,
                                    struct fab_bitswap_server_peer *peer)
{
    forget_wants(server, peer);
    for (struct fab_bitswap_job *job = peer->jobs, *next; job; job = next) {
        next = job->next;
        job->peer = NULL;
        job->prev = job->next = NULL;
    }
    server->outstanding -= peer->outstanding;
    if (peer->prev)
        peer->prev->next = peer->next;
    else
        server->peers = peer->next;
    if (peer->next)
        peer->next->prev = peer->prev;
    server->stats.peers--;
    fab_buf_fini(&peer->refused);
    free(peer->heap);
    free(peer);
}

void *fab_bitswap_server_peer_user(const struct fab_bitswap_server_peer *peer)
{
    return peer->user;
}

uint64_t fab_bitswap_server_peer_served(const struct fab_bitswap_server_peer *peer)
{
    return peer->served;
}

void fab_bitswap_server_stats(const struct fab_bitswap_server *server,
                              struct fab_bitswap_server_stats *out)
{
    *out = server->stats;
}
