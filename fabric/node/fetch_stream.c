/* Asking one dagsync peer for what one fetch lacks.
 *
 * A stream is opened when the core has something for the peer, and kept while there is more. What
 * arrives goes in batches to the pool; checked batches are taken in the order of arrival, since a
 * block counts only when a block before it (or the request) names it. Credit is given back when the
 * store has written a batch: that is the backpressure.
 *
 * A stream ends when everything asked has been answered; then what was asked and did not come (it
 * was sent before, or left out) is wanted again, on a new stream. A peer that makes no progress for
 * ten seconds rests for a while; one that sends a wrong block is asked for nothing more. */
#include "fabric/node/fetch_internal.h"

#include <stdlib.h>
#include <string.h>

#define ITEMS_OPEN_MAX 1024u
#define ITEMS_AT_ONCE  256u
#define COMMANDS_MAX   (1u << 20)
#define CREDIT_MIN     (2u << 20)
#define CREDIT_MAX     (32u << 20)
#define STALL_US       (10u * 1000000u)
#define PROGRESS_BYTES (16u << 10)
#define GIVEN_UP       100u /* failures */
#define GROW_US        (400u * 1000u)
#define GROWN_TICKS    5u /* looks at eight connections before they are judged */
#define GROW_RTT_US    2000u
#define GROW_WANTS     8u
#define REST_US        (5u * 1000000u)

static void take_checked(struct source *source);
static void batch_checked(struct block_batch *batch);

struct fab_conn *source_conn(const struct source *source)
{
    if (!source->peer)
        return NULL;
    if (!source->link)
        return peer_conn(source->peer);
    return !source->link->closing && fab_conn_is_ready(source->link->conn) ? source->link->conn
                                                                           : NULL;
}

/* ---- batches ---- */

/* What one stream may have under way: a fair share of what the node allows. */
static uint64_t credit_share(const struct fab_node *node)
{
    uint64_t streams = 1;
    for (const struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        for (const struct node_fetch *fetch = ws->fetches; fetch; fetch = fetch->next)
            for (const struct source *source = fetch->sources; source; source = source->next)
                streams += source->stream && fab_dagsync_client_open(source->client) > 0;
    uint64_t share = NODE_CREDIT_MAX / streams;
    return share < CREDIT_MIN ? CREDIT_MIN : share > CREDIT_MAX ? CREDIT_MAX : share;
}

/* Give the stream what it lacks of its share. */
static enum fab_rc top_up(struct source *source)
{
    uint64_t share = credit_share(source->fetch->ws->node);
    if (source->credit >= share)
        return FAB_OK;
    FAB_TRY(fab_dagsync_client_credit(source->client, share - source->credit, &source->out.buf));
    source->credit = share;
    return FAB_OK;
}

static void batch_released(struct block_batch *batch)
{
    struct source *source = batch->owner;
    struct node_fetch *fetch = source->fetch;
    fetch->batches--;
    source->unstored -= batch->cost;
    source->credit -= source->credit < batch->cost ? source->credit : batch->cost;
    if (source->stream && !source->finishing) {
        if (top_up(source) != FAB_OK)
            source_drop_stream(source);
        else
            fab_stream_wake(source->stream);
    }
    fetch_step_later(fetch);
}

static void order_check(struct source *source, struct fab_dagsync_batch *dagsync)
{
    struct node_fetch *fetch = source->fetch;
    struct block_batch *batch = batch_new(fetch->ws, dagsync->blocks);
    if (!batch) {
        fab_dagsync_batch_free(dagsync);
        fetch_fail(fetch, FAB_ENOMEM, "out of memory");
        return;
    }
    for (size_t i = 0; i < dagsync->count; i++)
        if (dagsync->events[i].type == FAB_DAGSYNC_BLOCK)
            batch->blocks[batch->n++] = (struct batch_block){
                .cid = dagsync->events[i].cid, .has_cid = true, .data = dagsync->events[i].bytes};
    batch->dagsync = dagsync;
    batch->cost = dagsync->cost;
    batch->owner = source;
    batch->checked = batch_checked;
    batch->released = batch_released;
    *(source->last ? &source->last->next : &source->first) = batch;
    source->last = batch;
    source->checking++;
    source->unstored += batch->cost;
    fetch->batches++;
    batch_check(batch, fetch->ws->node);
}

/* The pool has nothing of this source left to do: what has come meanwhile need not wait until the
 * batch is full. (It might never be: the credit may be used up.) */
static void take_pending(struct source *source)
{
    struct fab_dagsync_batch *batch = NULL;
    if (source->checking > 0 || !source->stream || source->finishing ||
        !fab_dagsync_client_pending(source->client))
        return;
    if (fab_dagsync_client_take(source->client, &batch) != FAB_OK)
        fetch_fail(source->fetch, FAB_ENOMEM, "out of memory");
    else if (batch)
        order_check(source, batch);
}

static void batch_checked(struct block_batch *batch)
{
    struct source *source = batch->owner;
    source->checking--;
    take_pending(source);
    take_checked(source);
    fetch_step_later(source->fetch);
}

static void wrong_block(struct source *source, const struct fab_cid *cid)
{
    char peer[FAB_PEER_ID_TEXT_MAX], text[FAB_CID_TEXT_MAX];
    fab_peer_id_text(&source->peer->id, peer);
    fab_cid_text(cid, text);
    fab_log("wrong_block", "workspace=%s peer=%s cid=%s", source->fetch->ws->name, peer, text);
    for (struct source *other = source->fetch->sources; other; other = other->next) {
        if (other->peer != source->peer)
            continue;
        other->failures = GIVEN_UP; /* for as long as this fetch lasts */
        source_drop_stream(other);
    }
}

/* The messages of one checked batch, in order. */
static enum fab_rc take_events(struct source *source, struct block_batch *batch)
{
    struct node_fetch *fetch = source->fetch;
    const struct fab_dagsync_batch *dagsync = batch->dagsync;
    size_t at = 0;
    FAB_TRY(batch->rc);
    for (size_t i = 0; i < dagsync->count && source->peer; i++) {
        const struct fab_dagsync_event *event = &dagsync->events[i];
        bool accepted = false;
        if (event->type == FAB_DAGSYNC_MISSING)
            for (struct source *same = fetch->sources; same; same = same->next)
                if (same->peer == source->peer)
                    fab_fetch_missing(fetch->core, same->number, &event->cid);
        if (event->type != FAB_DAGSYNC_BLOCK)
            continue;
        if (!batch->blocks[at].good) {
            wrong_block(source, &event->cid);
            return FAB_OK;
        }
        FAB_TRY(fetch_take_block(fetch, source->number, batch, at++, fetch_prune, &accepted));
        if (accepted)
            source->peer->received += event->bytes.n;
    }
    if (dagsync->count > 0)
        source->progress_us = fab_loop_now_us();
    return FAB_OK;
}

static void take_checked(struct source *source)
{
    while (source->first && source->first->is_checked) {
        struct block_batch *batch = source->first;
        struct node_fetch *fetch = source->fetch;
        source->first = batch->next;
        if (!source->first)
            source->last = NULL;
        if (!fetch->ending) {
            enum fab_rc rc = take_events(source, batch);
            if (rc != FAB_OK)
                fetch_fail(fetch, rc, "received blocks cannot be taken: %s", fab_rc_text(rc));
        }
        batch_unref(batch);
    }
    /* All that was asked is answered. What is still asked of the peer did not come: it is asked
     * anew, on another stream, since on one a block is sent once. */
    if (source->stream && !source->finishing && !source->first && source->peer &&
        fab_dagsync_client_asked(source->client) > 0 &&
        fab_dagsync_client_open(source->client) == 0 &&
        !fab_dagsync_client_pending(source->client) &&
        fab_fetch_peer_asked(source->fetch->core, source->number) > 0) {
        source->finishing = true;
        source->out.fin = true;
        fab_fetch_peer_release(source->fetch->core, source->number);
        fab_stream_wake(source->stream);
    }
}

/* ---- the stream ---- */

static void asker_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct source *source = user;
    fab_stream_consumed(stream, n);
    source->received += n;
    if (source->received - source->mark >= PROGRESS_BYTES) {
        source->mark = source->received;
        source->progress_us = fab_loop_now_us();
    }
    while (n > 0 && source->stream) {
        size_t used = 0;
        struct fab_dagsync_batch *batch = NULL;
        enum fab_rc rc = fab_dagsync_client_input(source->client, fab_slice(p, n), &used);
        p += used;
        n -= used;
        if (rc == FAB_OK &&
            (fab_dagsync_client_ready(source->client) || (source->checking == 0 && n == 0)))
            rc = fab_dagsync_client_take(source->client, &batch);
        if (rc != FAB_OK) {
            char peer[FAB_PEER_ID_TEXT_MAX];
            fab_peer_id_text(&source->peer->id, peer);
            fab_log("dagsync_malformed", "workspace=%s peer=%s", source->fetch->ws->name, peer);
            source->failures++;
            source_drop_stream(source);
            return;
        }
        if (batch)
            order_check(source, batch);
        else if (used == 0)
            return;
    }
}

static void asker_end(void *user, struct fab_stream *stream)
{
    struct source *source = user;
    (void)stream;
    if (fab_dagsync_client_input_end(source->client) != FAB_OK)
        source_drop_stream(source);
}

static size_t asker_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap, bool *fin)
{
    (void)stream;
    return outbuf_pull(&((struct source *)user)->out, p, cap, fin);
}

static void asker_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct source *source = user;
    (void)stream;
    bool owed = fab_dagsync_client_open(source->client) > 0;
    source->credit = source->unstored; /* what was given and not used is void */
    source->stream = NULL;
    fab_dagsync_client_free(source->client);
    source->client = NULL;
    fab_buf_fini(&source->out.buf);
    if (source->peer && !source->fetch->ending) {
        if (why != FAB_OK && owed && !source->finishing) {
            source->failures++;
            source->rest_until_us = fab_loop_now_us() + REST_US * source->failures;
        }
        fab_fetch_peer_release(source->fetch->core, source->number);
    }
    fetch_step_later(source->fetch);
}

static const struct fab_stream_events asker_events = {
    .input = asker_input, .end = asker_end, .output = asker_output, .closed = asker_closed};

void source_drop_stream(struct source *source)
{
    if (!source->stream || source->finishing)
        return;
    source->finishing = true;
    fab_fetch_peer_release(source->fetch->core, source->number);
    source->rest_until_us = fab_loop_now_us() + REST_US * (source->failures + 1);
    fab_stream_reset(source->stream, FAB_STREAM_CANCELLED);
}

static enum fab_rc open_stream(struct source *source)
{
    static const char *const names[] = {FAB_DAGSYNC_PROTOCOL};
    struct fab_conn *conn = source_conn(source);
    if (!conn)
        return FAB_EINTERRUPTED;
    FAB_TRY(fab_dagsync_client_new(&source->client));
    memset(&source->out, 0, sizeof source->out);
    fab_buf_init(&source->out.buf, COMMANDS_MAX);
    uint64_t before = source->credit;
    enum fab_rc rc = top_up(source);
    if (rc == FAB_OK)
        rc = fab_conn_open(conn, names, 1, &asker_events, source, &source->stream);
    if (rc != FAB_OK) {
        fab_dagsync_client_free(source->client);
        source->client = NULL;
        fab_buf_fini(&source->out.buf);
        source->credit = before;
        return rc;
    }
    source->finishing = false;
    source->mark = source->received;
    source->progress_us = fab_loop_now_us();
    return FAB_OK;
}

bool source_is_sending(const struct source *source)
{
    return source->stream && !source->finishing &&
           (source->first || fab_dagsync_client_open(source->client) > 0 ||
            fab_dagsync_client_pending(source->client));
}

static struct fab_dagsync_item item_of(const struct fetch_request *request,
                                       const struct fab_cid *cid)
{
    struct fab_dagsync_item item = {.cid = *cid, .scope = FAB_DAGSYNC_ROOT};
    if (request->follow == FAB_FETCH_ALL)
        item.scope = FAB_DAGSYNC_ALL;
    if (request->follow != FAB_FETCH_OFFERED)
        return item;
    if (request->path)
        item.path = fab_slice(request->path, strlen(request->path));
    if (request->to > 0) {
        item.scope = FAB_DAGSYNC_RANGE;
        item.from = request->from;
        item.to = request->to < FAB_DAGSYNC_RANGE_END ? request->to : FAB_DAGSYNC_RANGE_END;
    }
    return item;
}

void source_assign(struct source *source, uint64_t now_us)
{
    struct fab_cid cids[ITEMS_AT_ONCE];
    struct fab_dagsync_item items[ITEMS_AT_ONCE];
    if (!source->peer || source->finishing || now_us < source->rest_until_us ||
        source->failures >= GIVEN_UP || !source_conn(source))
        return;
    while (!source->stream || fab_dagsync_client_open(source->client) < ITEMS_OPEN_MAX) {
        size_t taken = 0, n = fab_fetch_assign(source->fetch->core, source->number, cids,
                                               ITEMS_AT_ONCE, fetch_prune, source->fetch);
        if (n == 0)
            return;
        for (size_t i = 0; i < n; i++)
            items[i] = item_of(&source->fetch->request, &cids[i]);
        enum fab_rc rc = source->stream ? FAB_OK : open_stream(source);
        if (rc == FAB_OK)
            rc = fab_dagsync_client_ask(source->client, items, n, &source->out.buf, &taken);
        if (rc != FAB_OK || taken < n) {
            source->failures++;
            source->rest_until_us = now_us + REST_US;
            fab_fetch_peer_release(source->fetch->core, source->number);
            source_drop_stream(source);
            return;
        }
        fab_stream_wake(source->stream);
    }
}

void source_prune(struct source *source, const struct fab_cid *cid)
{
    /* A hint: without room for it the peer just sends more than it needs to. */
    if (source->stream && !source->finishing && source->out.buf.len < COMMANDS_MAX / 2 &&
        fab_dagsync_client_prune(source->client, cid, &source->out.buf) == FAB_OK)
        fab_stream_wake(source->stream);
}

/* ---- more connections ---- */

static void extra_settled(void *arg, enum fab_rc rc, struct node_peer *peer)
{
    (void)arg;
    (void)rc;
    if (peer && peer->extra_dials > 0)
        peer->extra_dials--;
}

/* The connections of a distant peer are doubled, up to eight, while what is left would take more
 * than a second: on a line where loss or the congestion control keeps one connection below what the
 * line carries, several bring more. Where eight bring hardly more than one did, that is remembered,
 * and the next fetch stays with one. Not on a local network, where the processors are the limit. */
static void grow(struct source *source, uint64_t now_us)
{
    struct node_peer *peer = source->peer;
    struct fab_conn *conn = source_conn(source);
    unsigned links = 0;
    uint64_t bytes = 0, asked = 0;
    if (source->link || !conn || peer->one_fills || now_us - source->grow_us < GROW_US)
        return;
    for (const struct node_link *link = peer->links; link; link = link->peer_next)
        links += !link->closing;
    for (const struct source *other = source->fetch->sources; other; other = other->next) {
        if (other->peer == peer) {
            bytes += other->received;
            asked += fab_fetch_peer_asked(source->fetch->core, other->number);
        }
    }
    uint64_t elapsed = now_us - source->grow_us, before = source->grow_bytes;
    bool first = source->grow_us == 0;
    source->grow_us = now_us;
    source->grow_bytes = bytes;
    if (first || peer->extra_dials > 0)
        return;
    uint64_t rate = (bytes - before) * 1000000u / elapsed;
    if (links == 1)
        source->grow_rate = rate;
    if (links >= NODE_PEER_LINKS) {
        source->grown_ticks++;
        if (source->grown_ticks == GROWN_TICKS && rate < source->grow_rate + source->grow_rate / 5)
            peer->one_fills = true;
        return;
    }
    uint64_t blocks = source->fetch->progress.blocks + 1;
    uint64_t left = asked * (source->fetch->progress.bytes / blocks);
    if (fab_conn_rtt_us(conn) < GROW_RTT_US || asked < GROW_WANTS || left < rate)
        return;
    for (unsigned more = links; more > 0 && links < NODE_PEER_LINKS; more--, links++) {
        if (node_dial_extra(peer, extra_settled, NULL) != FAB_OK) {
            peer->one_fills = true;
            return;
        }
        peer->extra_dials++;
    }
}

void source_tick(struct source *source, uint64_t now_us)
{
    if (source->stream && !source->finishing)
        grow(source, now_us);
    if (!source->stream || source->finishing || source->checking > 0 || source->first)
        return;
    bool owes = fab_fetch_peer_asked(source->fetch->core, source->number) > 0 ||
                (source->fetch->request.follow == FAB_FETCH_OFFERED && source_is_sending(source));
    if (now_us - source->progress_us < STALL_US || !owes)
        return;
    char peer[FAB_PEER_ID_TEXT_MAX];
    fab_peer_id_text(&source->peer->id, peer);
    fab_log("peer_stalled", "workspace=%s peer=%s", source->fetch->ws->name, peer);
    source->failures++;
    source_drop_stream(source);
}
