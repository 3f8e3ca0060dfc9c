/* A fetch: everything under a root that the workspace lacks, from whoever has it.
 *
 * The core (exchange/fetch.h) knows what is wanted; here it is bound to the store and to the peers.
 * What the store holds is looked up in the pool, level by level, so a fetch that was interrupted
 * goes on where it was. Each peer that speaks dagsync is a source; those that speak only bitswap
 * are asked through one session. What comes is written by one ingest; when nothing is lacking, the
 * root is recorded (and pinned, if asked) in the last commit.
 *
 * A fetch ends with an error when it cannot write, when it is cancelled, or when nothing has come
 * for as long as its patience: then it says what nobody has. What came stays in the store,
 * unpinned, until a collection; the next fetch finds it there. */
#include "fabric/node/fetch_internal.h"
#include "storage/files/pin_tree.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AT_ONCE  64u
#define LOOKS_MAX     4u
#define SESSION_WANTS 4096u
#define PATIENCE_US   (30u * 1000000u)
#define STUCK_US      (1u * 1000000u)
#define SILENCE_US    (10u * 1000000u)
#define ALONE_US      (3u * 1000000u)
#define FETCHES_MAX   256u

struct look {
    struct fab_work work;
    struct node_fetch *fetch;
    size_t n;
    struct fab_cid cids[LOOK_AT_ONCE];
    enum { ABSENT, EMPTY, HERE } how[LOOK_AT_ONCE];
    size_t link[LOOK_AT_ONCE + 1]; /* where each one's links begin */
    struct link_list list;
    enum fab_rc rc;
};

static void step(struct fab_defer *defer);

/* ---- what the store has ---- */

static void look_run(struct fab_work *work)
{
    struct look *look = (struct look *)((char *)work - offsetof(struct look, work));
    struct node_fetch *fetch = look->fetch;
    look->rc = fab_view_open(fetch->ws->node->store, fetch->ws->id, &look->list.view, NULL);
    if (look->rc != FAB_OK)
        return;
    struct fab_block_source source = fab_view_source(look->list.view);
    for (size_t i = 0; i < look->n && look->rc == FAB_OK; i++) {
        struct fab_slice data;
        enum fab_rc rc = fab_block_get(&source, &look->cids[i], &data);
        look->link[i] = look->list.n;
        look->how[i] = rc == FAB_OK ? HERE : ABSENT;
        if (rc == FAB_OK)
            look->rc = links_of(&look->list, look->cids[i].codec, data);
        else if (rc != FAB_ENOENT)
            look->rc = rc;
        else if (fab_bitswap_is_empty_block(&look->cids[i]))
            look->how[i] = EMPTY;
    }
    look->link[look->n] = look->list.n;
    fab_view_close(look->list.view);
}

static enum fab_rc looked_one(struct look *look, size_t i)
{
    struct node_fetch *fetch = look->fetch;
    if (look->how[i] == ABSENT) {
        fab_fetch_absent(fetch->core, &look->cids[i]);
        return FAB_OK;
    }
    if (look->how[i] == EMPTY) /* its bytes are known */
        FAB_TRY(fab_ingest_put(fetch->ingest, &look->cids[i], fab_slice("", 0)));
    return fab_fetch_found(fetch->core, &look->cids[i], look->list.links + look->link[i],
                           look->link[i + 1] - look->link[i]);
}

static void look_done(struct fab_work *work)
{
    struct look *look = (struct look *)((char *)work - offsetof(struct look, work));
    struct node_fetch *fetch = look->fetch;
    fetch->looks--;
    if (!fetch->ending) {
        enum fab_rc rc = look->rc;
        for (size_t i = 0; i < look->n && rc == FAB_OK; i++)
            rc = looked_one(look, i);
        if (rc == FAB_EFORMAT)
            fetch_fail(fetch, rc, "a block in the store is malformed; see `fabric verify`");
        else if (rc != FAB_OK)
            fetch_fail(fetch, rc, "the store cannot be read: %s", fab_rc_text(rc));
        fetch->last_progress_us = fab_loop_now_us();
    }
    free(look->list.links);
    free(look);
    fetch_step_later(fetch);
}

static void start_looks(struct node_fetch *fetch)
{
    while (fetch->looks < LOOKS_MAX) {
        struct look *look = calloc(1, sizeof *look);
        if (!look) {
            fetch_fail(fetch, FAB_ENOMEM, "out of memory");
            return;
        }
        look->n = fab_fetch_take_look(fetch->core, look->cids, LOOK_AT_ONCE);
        if (look->n == 0) {
            free(look);
            return;
        }
        look->fetch = fetch;
        look->work.run = look_run;
        look->work.done = look_done;
        fetch->looks++;
        fab_work_start(&look->work, fetch->ws->node->loop, fetch->ws->node->pool);
    }
}

/* ---- blocks ---- */

enum fab_rc fetch_take_block(struct node_fetch *fetch, unsigned number, struct block_batch *batch,
                             size_t i, fab_fetch_prune_fn prune, bool *accepted)
{
    const struct batch_block *block = &batch->blocks[i];
    FAB_TRY(fab_fetch_block(fetch->core, number, &block->cid, batch->links + block->link,
                            block->links, prune, fetch, accepted));
    if (!*accepted)
        return FAB_OK;
    FAB_TRY(batch_store(batch, i, fetch->ingest));
    fetch->progress.blocks++;
    fetch->progress.bytes += block->data.n;
    fetch->last_progress_us = fab_loop_now_us();
    return FAB_OK;
}

static struct source *source_of(struct node_fetch *fetch, unsigned number)
{
    struct source *source = fetch->sources;
    while (source && (!source->peer || source->number != number))
        source = source->next;
    return source;
}

void fetch_prune(void *arg, unsigned number, const struct fab_cid *cid)
{
    struct source *source = source_of(arg, number);
    if (source)
        source_prune(source, cid);
}

/* ---- peers ---- */

static void add_source(struct node_fetch *fetch, struct node_peer *peer, struct node_link *link)
{
    for (struct source *source = fetch->sources; source; source = source->next)
        if (source->peer == peer && source->link == link)
            return;
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        return;
    if (fab_fetch_peer_add(fetch->core, true, &source->number) != FAB_OK) {
        free(source);
        return;
    }
    source->fetch = fetch;
    source->peer = peer;
    source->link = link;
    source->next = fetch->sources;
    fetch->sources = source;
}

static void source_gone(struct source *source)
{
    if (!source->fetch->ending)
        fab_fetch_peer_remove(source->fetch->core, source->number);
    source->peer = NULL;
    source->link = NULL;
}

/* The bitswap peers as one. Another one that comes may have what the others lack: the session
 * stays, since a want that follows its own cancel is lost on Kubo. */
static void add_session(struct node_fetch *fetch)
{
    if (fetch->session) {
        fab_fetch_peer_again(fetch->core, fetch->session_number);
        return;
    }
    if (bitswap_peers(fetch->ws) == 0 ||
        fab_fetch_peer_add(fetch->core, false, &fetch->session_number) != FAB_OK)
        return;
    if (bitswap_session_open(fetch->ws, fetch, &fetch->session) != FAB_OK) {
        fab_fetch_peer_remove(fetch->core, fetch->session_number);
        fetch->session = NULL;
    }
}

static void end_session(struct node_fetch *fetch)
{
    fab_fetch_peer_remove(fetch->core, fetch->session_number);
    fab_bitswap_session_free(fetch->session);
    fetch->session = NULL;
}

static void use_peer(struct node_fetch *fetch, struct node_peer *peer)
{
    if (fetch->opening || fetch->ending || !peer->identified)
        return;
    if (peer->speaks_dagsync)
        add_source(fetch, peer, NULL);
    else if (peer->speaks_bitswap)
        add_session(fetch);
}

void fetches_peer_ready(struct node_peer *peer)
{
    for (struct node_fetch *fetch = peer->ws->fetches; fetch; fetch = fetch->next) {
        use_peer(fetch, peer);
        fetch_step_later(fetch);
    }
}

void fetches_peer_gone(struct node_peer *peer)
{
    for (struct node_fetch *fetch = peer->ws->fetches; fetch; fetch = fetch->next) {
        for (struct source *source = fetch->sources; source; source = source->next)
            if (source->peer == peer)
                source_gone(source);
        fetch_step_later(fetch);
    }
}

void fetches_link_ready(struct node_link *link)
{
    for (struct node_fetch *fetch = link->ws->fetches; fetch; fetch = fetch->next) {
        if (!fetch->opening && !fetch->ending && link->peer->speaks_dagsync)
            add_source(fetch, link->peer, link);
        fetch_step_later(fetch);
    }
}

void fetches_link_gone(struct node_link *link)
{
    if (!link->ws)
        return;
    for (struct node_fetch *fetch = link->ws->fetches; fetch; fetch = fetch->next)
        for (struct source *source = fetch->sources; source; source = source->next)
            if (source->link == link && source->peer)
                source_gone(source);
}

static void missing_of_session(void *arg, const struct fab_cid *cid)
{
    struct node_fetch *fetch = arg;
    fab_fetch_missing(fetch->core, fetch->session_number, cid);
}

/* An empty block is not asked for by bitswap, since Kubo serves none: its bytes are known. */
static void make_empty(struct node_fetch *fetch, const struct fab_cid *cid)
{
    bool accepted = false;
    enum fab_rc rc =
        fab_fetch_block(fetch->core, fetch->session_number, cid, NULL, 0, NULL, NULL, &accepted);
    if (rc == FAB_OK && accepted)
        rc = fab_ingest_put(fetch->ingest, cid, fab_slice("", 0));
    if (rc != FAB_OK)
        fetch_fail(fetch, rc, "an empty block cannot be written: %s", fab_rc_text(rc));
}

static void assign_session(struct node_fetch *fetch)
{
    struct fab_cid cids[256];
    if (fetch->session && bitswap_peers(fetch->ws) == 0)
        end_session(fetch);
    if (!fetch->session)
        return;
    if (fab_bitswap_session_missing(fetch->session) > 0)
        fab_bitswap_session_list_missing(fetch->session, missing_of_session, fetch);
    while (fab_bitswap_session_wants(fetch->session) < SESSION_WANTS) {
        size_t n = fab_fetch_assign(fetch->core, fetch->session_number, cids, 256, NULL, NULL);
        for (size_t i = 0; i < n; i++) {
            enum fab_rc rc = fab_bitswap_session_want(fetch->session, &cids[i]);
            if (rc == FAB_EINVAL && fab_bitswap_is_empty_block(&cids[i]))
                make_empty(fetch, &cids[i]);
            else if (rc != FAB_OK && rc != FAB_EEXIST)
                fab_fetch_missing(fetch->core, fetch->session_number, &cids[i]);
        }
        if (n == 0)
            break;
    }
    bitswap_kick(fetch->ws);
}

/* ---- the end ---- */

static void fetch_free(struct node_fetch *fetch)
{
    free(fetch->path);
    struct node_fetch **at = &fetch->ws->fetches;
    while (*at != fetch)
        at = &(*at)->next;
    *at = fetch->next;
    while (fetch->sources) {
        struct source *source = fetch->sources;
        fetch->sources = source->next;
        free(source);
    }
    fab_loop_cancel(&fetch->step);
    fab_lease_release(fetch->lease);
    fab_fetch_free(fetch->core);
    free(fetch);
}

void fetch_fail(struct node_fetch *fetch, enum fab_rc rc, const char *fmt, ...)
{
    if (fetch->err.rc != FAB_OK)
        return;
    va_list args;
    char text[512];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fab_err_set(&fetch->err, rc, "%s", text);
    fetch_step_later(fetch);
}

static void commit_run(struct fab_work *work)
{
    struct node_fetch *fetch =
        (struct node_fetch *)((char *)work - offsetof(struct node_fetch, work));
    bool whole = fetch->err.rc == FAB_OK && fetch->request.follow == FAB_FETCH_ALL;
    struct fab_ingest_root root = {
        .cid = fetch->request.root,
        .pin = fetch->request.pin,
        .name = fetch->request.name[0] ? fetch->request.name : NULL,
    };
    struct fab_err err = {0};
    if (!fetch->ingest)
        return;
    /* What was here at the look may have been collected since. */
    fetch->commit_rc = whole && root.pin
                           ? fab_pin_commit(fetch->ws->node->store, fetch->ws->id, fetch->ingest,
                                            &root, 1, true, NULL, NULL, &err)
                           : fab_ingest_commit(fetch->ingest, &root, whole ? 1 : 0, NULL, &err);
    if (fetch->commit_rc != FAB_OK && fetch->err.rc == FAB_OK)
        fetch->err = err;
}

static void commit_done(struct fab_work *work)
{
    struct node_fetch *fetch =
        (struct node_fetch *)((char *)work - offsetof(struct node_fetch, work));
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(&fetch->request.root, text);
    fab_log("fetch_ended", "workspace=%s cid=%s blocks=%llu bytes=%llu error=\"%s\"",
            fetch->ws->name, text, (unsigned long long)fetch->progress.blocks,
            (unsigned long long)fetch->progress.bytes, fetch->err.msg);
    fetch->request.done(fetch->request.arg, &fetch->err, &fetch->progress, fetch->missing,
                        fetch->n_missing);
    fetch_free(fetch);
}

/* Nothing more is asked; when what is under way has come back, the rest is written. */
static void end(struct node_fetch *fetch)
{
    if (!fetch->ending) {
        fetch->ending = true;
        if (fetch->err.rc != FAB_OK)
            fetch->n_missing = fab_fetch_list_nobody(
                fetch->core, fetch->missing, sizeof fetch->missing / sizeof *fetch->missing);
        for (struct source *source = fetch->sources; source; source = source->next)
            if (source->stream && !source->finishing)
                fab_stream_reset(source->stream, FAB_STREAM_CANCELLED);
        fab_bitswap_session_free(fetch->session);
        fetch->session = NULL;
    }
    for (struct source *source = fetch->sources; source; source = source->next)
        if (source->stream)
            return;
    if (fetch->looks > 0 || fetch->batches > 0 || fetch->told)
        return;
    fetch->told = true;
    fetch->work.run = commit_run;
    fetch->work.done = commit_done;
    fab_work_start(&fetch->work, fetch->ws->node->loop, fetch->ws->node->pool);
}

static void report(struct node_fetch *fetch)
{
    struct fab_fetch_state state;
    fab_fetch_state(fetch->core, &state);
    fetch->progress.found = state.found;
    fetch->progress.wanted = state.wanted + state.asked + state.nobody + state.look;
    fetch->progress.peers = 0;
    for (struct source *source = fetch->sources; source; source = source->next)
        if (source->peer && fab_fetch_peer_asked(fetch->core, source->number) > 0)
            fetch->progress.peers++;
    if (fetch->session && fab_fetch_peer_asked(fetch->core, fetch->session_number) > 0)
        fetch->progress.peers += bitswap_peers(fetch->ws);
    if (fetch->request.progress)
        fetch->request.progress(fetch->request.arg, &fetch->progress);
}

/* Nothing is lacking, and nobody is about to send what was only offered. */
static bool finished(const struct node_fetch *fetch)
{
    bool sending = false;
    if (fetch->request.follow == FAB_FETCH_OFFERED)
        for (const struct source *source = fetch->sources; source; source = source->next)
            sending |= source_is_sending(source);
    return fab_fetch_done(fetch->core) && !sending;
}

static void step(struct fab_defer *defer)
{
    struct node_fetch *fetch =
        (struct node_fetch *)((char *)defer - offsetof(struct node_fetch, step));
    if (fetch->told || fetch->opening)
        return;
    enum fab_rc rc = fetch->ingest ? fab_ingest_failed(fetch->ingest) : FAB_OK;
    if (rc != FAB_OK)
        fetch_fail(fetch, rc, "the store cannot be written: %s", fab_rc_text(rc));
    if (fetch->err.rc == FAB_OK && !fab_fetch_done(fetch->core)) {
        uint64_t now = fab_loop_now_us();
        start_looks(fetch);
        for (struct source *source = fetch->sources; source; source = source->next)
            source_assign(source, now);
        assign_session(fetch);
        report(fetch);
    }
    if (fetch->err.rc != FAB_OK || finished(fetch))
        end(fetch);
}

void fetch_step_later(struct node_fetch *fetch)
{
    fab_loop_defer(fetch->ws->node->loop, &fetch->step);
}

void fetch_cancel(struct node_fetch *fetch)
{
    fetch->request.progress = NULL;
    fetch_fail(fetch, FAB_EINTERRUPTED, "interrupted; what has come is kept until the next gc");
}

struct node_fetch *fetch_next(const struct node_fetch *fetch)
{
    return fetch->next;
}

/* Nobody to ask, and nobody who could be dialled: no use in waiting long. */
static bool hopeless(const struct node_workspace *ws)
{
    for (const struct node_peer *peer = ws->peers; peer; peer = peer->next)
        if (peer->links || peer->n_addresses > 0)
            return false;
    return true;
}

/* How long to wait when nothing is under way and what is wanted nobody has: a moment if every peer
 * that could be reached has said so; longer where one may only be slow (bitswap says nothing of
 * that) or is being dialled. */
static uint64_t stuck_patience(const struct node_fetch *fetch)
{
    if (hopeless(fetch->ws))
        return ALONE_US;
    if (fetch->session)
        return SILENCE_US;
    for (const struct node_peer *peer = fetch->ws->peers; peer; peer = peer->next)
        if (!peer->links ? peer->failures == 0 : !peer->identified)
            return ALONE_US;
    return STUCK_US;
}

static void give_up(struct node_fetch *fetch)
{
    struct fab_fetch_state state;
    fab_fetch_state(fetch->core, &state);
    bool alone = bitswap_peers(fetch->ws) == 0;
    for (struct source *source = fetch->sources; source; source = source->next)
        alone &= source->peer == NULL;
    size_t lacking = state.wanted + state.asked + state.nobody;
    const char *are = lacking == 1 ? "block is" : "blocks are";
    if (alone)
        fetch_fail(fetch, FAB_ENOENT,
                   "%zu %s not here, and no peer of workspace %s is connected; see `fabric peers`",
                   lacking, are, fetch->ws->name);
    else
        fetch_fail(fetch, FAB_ENOENT, "%zu %s not here, and no connected peer gives %s", lacking,
                   are, lacking == 1 ? "it" : "them");
}

void fetches_tick(struct node_workspace *ws, uint64_t now_us)
{
    for (struct node_fetch *fetch = ws->fetches; fetch; fetch = fetch->next) {
        if (fetch->opening || fetch->ending || fetch->err.rc != FAB_OK)
            continue;
        for (struct source *source = fetch->sources; source; source = source->next)
            source_tick(source, now_us);
        uint64_t patience = fetch->request.patience_us ? fetch->request.patience_us : PATIENCE_US;
        if (fab_fetch_stuck(fetch->core) && patience > stuck_patience(fetch))
            patience = stuck_patience(fetch);
        if (!fab_fetch_done(fetch->core) && fetch->looks == 0 && fetch->batches == 0 &&
            now_us - fetch->last_progress_us > patience)
            give_up(fetch);
        fetch_step_later(fetch);
    }
}

/* ---- the beginning ---- */

/* The lease and the writer come from the pool: they may wait for another process's transaction. */
static void open_run(struct fab_work *work)
{
    struct node_fetch *fetch =
        (struct node_fetch *)((char *)work - offsetof(struct node_fetch, work));
    struct fab_store *store = fetch->ws->node->store;
    struct fab_err err = {0};
    enum fab_rc rc =
        fab_lease_root(store, fetch->ws->id, &fetch->request.root, &fetch->lease, &err);
    if (rc == FAB_OK)
        rc = fab_ingest_open(store, fetch->ws->id, &fetch->ingest, &err);
    if (rc != FAB_OK)
        fetch->open_err = err;
}

static void open_done(struct fab_work *work)
{
    struct node_fetch *fetch =
        (struct node_fetch *)((char *)work - offsetof(struct node_fetch, work));
    fetch->opening = false;
    if (fetch->open_err.rc != FAB_OK && fetch->err.rc == FAB_OK)
        fetch->err = fetch->open_err;
    fetch->last_progress_us = fab_loop_now_us();
    for (struct node_peer *peer = fetch->ws->peers; peer; peer = peer->next) {
        if (peer->links)
            use_peer(fetch, peer);
        for (struct node_link *link = peer->links; link; link = link->peer_next)
            if (link->extra && peer->speaks_dagsync)
                add_source(fetch, peer, link);
    }
    fetch_step_later(fetch);
}

enum fab_rc fetch_start(struct node_workspace *ws, const struct fetch_request *request,
                        struct node_fetch **out, struct fab_err *err)
{
    unsigned count = 0;
    uint8_t key[FAB_FETCH_KEY];
    struct fab_fetch_config config = {.follow = request->follow};
    for (struct node_fetch *other = ws->fetches; other; other = other->next)
        count++;
    if (count >= FETCHES_MAX || ws->node->stopping)
        return fab_err_set(err, FAB_EBUSY, "too many fetches are under way; try again later");
    struct node_fetch *fetch = calloc(1, sizeof *fetch);
    randombytes_buf(key, sizeof key);
    enum fab_rc rc = fetch ? fab_fetch_new(&config, key, &request->root, &fetch->core) : FAB_ENOMEM;
    for (size_t i = 0; rc == FAB_OK && i < request->n_more; i++)
        rc = fab_fetch_add(fetch->core, &request->more[i]);
    if (rc == FAB_OK && request->path && !(fetch->path = strdup(request->path)))
        rc = FAB_ENOMEM;
    if (rc != FAB_OK) {
        if (fetch)
            fab_fetch_free(fetch->core);
        free(fetch);
        return fab_err_set(err, rc, "a fetch cannot be started: %s", fab_rc_text(rc));
    }
    fetch->ws = ws;
    fetch->request = *request;
    fetch->request.more = NULL;
    fetch->request.path = fetch->path;
    fetch->step.run = step;
    fetch->next = ws->fetches;
    ws->fetches = fetch;
    fetch->opening = true;
    fetch->work.run = open_run;
    fetch->work.done = open_done;
    fab_work_start(&fetch->work, ws->node->loop, ws->node->pool);
    *out = fetch;
    return FAB_OK;
}
