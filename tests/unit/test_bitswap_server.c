/* The serving side: answers, order, limits, remembered wants, cancels, budgets, fairness. */
#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/bitswap_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)
#define BLOCKS          64

static const uint8_t key[FAB_BITSWAP_KEY_BYTES] = "0123456789abcdef";

/* Block i is `size[i]` bytes that begin with i; `have` says whether the store has it. */
struct store {
    uint8_t *data[BLOCKS];
    size_t size[BLOCKS];
    bool have[BLOCKS];
    struct fab_cid cid[BLOCKS];
    enum fab_rc rc; /* of every read, if not FAB_OK */
    unsigned gets;
};

static enum fab_rc store_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct store *st = ctx;
    st->gets++;
    if (st->rc != FAB_OK)
        return st->rc;
    for (unsigned i = 0; i < BLOCKS; i++)
        if (st->have[i] && fab_slice_eq(fab_cid_mh(&st->cid[i]), fab_cid_mh(cid))) {
            *out = fab_slice(st->data[i], st->size[i]);
            return FAB_OK;
        }
    return FAB_ENOENT;
}

static void set_block(struct store *st, unsigned i, size_t size)
{
    free(st->data[i]);
    st->data[i] = calloc(1, size ? size : 1);
    assert_non_null(st->data[i]);
    if (size)
        st->data[i][0] = (uint8_t)(i + 1);
    st->size[i] = size;
    st->have[i] = true;
    assert_ok(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(st->data[i], size), &st->cid[i]));
}

struct world {
    struct store store;
    struct fab_block_source source;
    struct fab_bitswap_server *server;
    struct fab_bitswap_server_peer *peer;
    struct fab_buf entries, message;
};

static void world_init(struct world *w, const struct fab_bitswap_server_config *config)
{
    memset(w, 0, sizeof *w);
    for (unsigned i = 0; i < BLOCKS; i++)
        set_block(&w->store, i, 2000);
    w->source = (struct fab_block_source){&w->store, store_get};
    assert_ok(fab_bitswap_server_new(config, key, &w->server));
    assert_ok(fab_bitswap_server_peer_add(w->server, w, &w->peer));
    assert_ptr_equal(fab_bitswap_server_peer_user(w->peer), w);
    fab_buf_init(&w->entries, 16 << 20);
    fab_buf_init(&w->message, 16 << 20);
}

static void world_fini(struct world *w)
{
    fab_bitswap_server_free(w->server);
    for (unsigned i = 0; i < BLOCKS; i++)
        free(w->store.data[i]);
    fab_buf_fini(&w->entries);
    fab_buf_fini(&w->message);
}

static void add(struct world *w, enum fab_bitswap_kind kind, const struct fab_cid *cid,
                int32_t priority, bool dont)
{
    assert_ok(fab_bitswap_entry_append(&w->entries, kind, cid, priority, dont));
}

/* Send what was added, as one message. */
static void send_to(struct world *w, struct fab_bitswap_server_peer *peer, bool full)
{
    struct fab_bitswap_stream s;
    struct fab_slice message;
    fab_buf_reset(&w->message);
    assert_ok(fab_bitswap_write_wants(&w->message, fab_buf_slice(&w->entries), full));
    fab_buf_reset(&w->entries);
    fab_bitswap_stream_init(&s);
    struct fab_slice in = fab_buf_slice(&w->message);
    while (in.n) {
        bool whole;
        assert_ok(fab_bitswap_stream_read(&s, &in, &whole, &message));
        assert_true(whole);
        assert_ok(fab_bitswap_server_message(w->server, peer, message));
    }
    fab_bitswap_stream_fini(&s);
}

static void send(struct world *w, bool full)
{
    send_to(w, w->peer, full);
}

struct reply {
    unsigned blocks, haves, donts;
    int first_block; /* the number of the block that came first; -1: none */
    size_t bytes;
};

static struct reply read_reply(struct fab_slice delimited)
{
    struct reply r = {.first_block = -1, .bytes = delimited.n};
    struct fab_bitswap_stream s;
    struct fab_slice message;
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    bool whole;
    if (!delimited.n)
        return r;
    fab_bitswap_stream_init(&s);
    assert_ok(fab_bitswap_stream_read(&s, &delimited, &whole, &message));
    assert_true(whole);
    assert_int_equal(delimited.n, 0);
    fab_bitswap_iter_init(&it, message);
    while (fab_bitswap_iter_next(&it, &item) == FAB_OK) {
        r.haves += item.kind == FAB_BITSWAP_HAVE;
        r.donts += item.kind == FAB_BITSWAP_DONT_HAVE;
        if (item.kind == FAB_BITSWAP_BLOCK && r.blocks++ == 0 && item.data.n)
            r.first_block = item.data.p[0] - 1;
    }
    fab_bitswap_stream_fini(&s);
    return r;
}

/* One job of the peer, run and sent. */
static struct reply serve(struct world *w)
{
    struct fab_bitswap_job *job;
    assert_ptr_equal(fab_bitswap_server_next_peer(w->server), w->peer);
    assert_ok(fab_bitswap_server_take(w->server, w->peer, &job));
    assert_ok(fab_bitswap_job_run(job, &w->source));
    fab_bitswap_job_done(w->server, job);
    assert_ptr_equal(fab_bitswap_job_peer(job), w->peer);
    struct reply r = read_reply(fab_bitswap_job_bytes(job));
    fab_bitswap_server_sent(w->server, w->peer, r.bytes);
    fab_bitswap_job_free(job);
    return r;
}

static void assert_idle(struct world *w)
{
    struct fab_bitswap_job *job;
    assert_null(fab_bitswap_server_next_peer(w->server));
    assert_int_equal(fab_bitswap_server_take(w->server, w->peer, &job), FAB_ENOENT);
}

static void test_answers(void **state)
{
    (void)state;
    struct world w;
    struct reply r;
    world_init(&w, NULL);
    assert_idle(&w);
    set_block(&w.store, 1, 1024);
    set_block(&w.store, 2, 1025);
    set_block(&w.store, 3, 0); /* an empty block is served */
    w.store.have[4] = w.store.have[5] = false;
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[0], 1, true);
    add(&w, FAB_BITSWAP_WANT_HAVE, &w.store.cid[1], 1, true); /* small: the block */
    add(&w, FAB_BITSWAP_WANT_HAVE, &w.store.cid[2], 1, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[3], 1, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[4], 1, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[5], 1, false); /* did not ask to be told */
    send(&w, false);
    r = serve(&w);
    assert_int_equal(r.blocks, 3);
    assert_int_equal(r.haves, 1);
    assert_int_equal(r.donts, 1);
    assert_idle(&w);
    struct fab_bitswap_server_stats stats;
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.wants, 6);
    assert_int_equal(stats.blocks, 3);
    assert_int_equal(stats.block_bytes, 3024);
    assert_int_equal(stats.haves, 1);
    assert_int_equal(stats.dont_haves, 1);
    assert_int_equal(stats.remembered, 2);
    assert_int_equal(fab_bitswap_server_peer_served(w.peer), r.bytes);

    /* Remembered: unasked when it comes, also the one that had asked for no DONT_HAVE. */
    fab_bitswap_server_added(w.server, &w.store.cid[0]);
    assert_idle(&w);
    w.store.have[4] = w.store.have[5] = true;
    struct fab_cid other = w.store.cid[4];
    other.codec = FAB_CODEC_DAG_PB; /* by multihash */
    fab_bitswap_server_added(w.server, &other);
    r = serve(&w);
    assert_int_equal(r.blocks, 1);
    assert_int_equal(r.first_block, 4);
    fab_bitswap_server_added(w.server, &w.store.cid[5]);
    r = serve(&w);
    assert_int_equal(r.first_block, 5);
    fab_bitswap_server_added(w.server, &w.store.cid[5]); /* once */
    assert_idle(&w);
    world_fini(&w);
}

static void test_order(void **state)
{
    (void)state;
    struct fab_bitswap_server_config config = {.job_wants = 1};
    struct world w;
    world_init(&w, &config);
    static const int32_t priority[] = {5, -1, 5, 100, 0, INT32_MIN, INT32_MAX};
    static const int order[] = {6, 3, 0, 2, 4, 1, 5};
    for (unsigned i = 0; i < 7; i++)
        add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i], priority[i], true);
    send(&w, false);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(serve(&w).first_block, order[i]);
    assert_idle(&w);
    /* A want asked again takes its new priority, and its answer is given once. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[1], 1, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[2], 2, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[1], 3, true);
    send(&w, false);
    assert_int_equal(serve(&w).first_block, 1);
    assert_int_equal(serve(&w).first_block, 2);
    assert_idle(&w);
    world_fini(&w);
}

static void test_cancel_and_full(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, NULL);
    for (unsigned i = 0; i < 4; i++)
        add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i], 1, true);
    add(&w, FAB_BITSWAP_CANCEL, &w.store.cid[1], 0, false);
    add(&w, FAB_BITSWAP_CANCEL, &w.store.cid[9], 0, false); /* never wanted */
    send(&w, false);
    assert_int_equal(serve(&w).blocks, 3);
    /* A remembered want goes with a cancel, and with a full wantlist. */
    for (unsigned i = 0; i < 3; i++) {
        w.store.have[i] = false;
        add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i], 1, true);
    }
    send(&w, false);
    assert_int_equal(serve(&w).donts, 3);
    add(&w, FAB_BITSWAP_CANCEL, &w.store.cid[0], 0, false);
    send(&w, false);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[2], 1, true);
    send(&w, true);
    struct fab_bitswap_server_stats stats;
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.remembered, 0);
    assert_int_equal(serve(&w).donts, 1);
    for (unsigned i = 0; i < 3; i++) {
        w.store.have[i] = true;
        fab_bitswap_server_added(w.server, &w.store.cid[i]);
    }
    struct reply r = serve(&w);
    assert_int_equal(r.blocks, 1);
    assert_int_equal(r.first_block, 2);
    /* Full and empty: nothing is wanted any more. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[2], 1, true);
    send(&w, false);
    send(&w, true);
    assert_idle(&w);
    world_fini(&w);
}

/* What comes while a job runs. */
static void test_while_running(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_job *job;
    struct fab_bitswap_server_stats stats;
    world_init(&w, NULL);
    for (unsigned i = 0; i < 4; i++)
        w.store.have[i] = false;
    for (unsigned i = 0; i < 4; i++)
        add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i], 1, true);
    add(&w, FAB_BITSWAP_WANT_HAVE, &w.store.cid[4], 1, true);
    send(&w, false);
    assert_ok(fab_bitswap_server_take(w.server, w.peer, &job));
    assert_ok(fab_bitswap_job_run(job, &w.source));
    /* Block 0 comes after the worker looked; 1 is cancelled; 2 is cancelled and wanted again; of 4
     * the block is wanted now. */
    w.store.have[0] = true;
    fab_bitswap_server_added(w.server, &w.store.cid[0]);
    add(&w, FAB_BITSWAP_CANCEL, &w.store.cid[1], 0, false);
    add(&w, FAB_BITSWAP_CANCEL, &w.store.cid[2], 0, false);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[2], 1, true);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[4], 1, true);
    send(&w, false);
    fab_bitswap_job_done(w.server, job);
    struct reply r = read_reply(fab_bitswap_job_bytes(job));
    assert_int_equal(r.donts, 4);
    assert_int_equal(r.haves, 1);
    fab_bitswap_server_sent(w.server, w.peer, r.bytes);
    fab_bitswap_job_free(job);
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.remembered, 1);
    r = serve(&w);
    assert_int_equal(r.blocks, 2);
    assert_int_equal(r.donts, 1);
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.remembered, 2); /* 2 and 3 */
    assert_idle(&w);

    /* A job that was never run: its wants are ready again. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[7], 1, true);
    send(&w, false);
    assert_ok(fab_bitswap_server_take(w.server, w.peer, &job));
    assert_idle(&w);
    fab_bitswap_job_done(w.server, job);
    assert_int_equal(fab_bitswap_job_bytes(job).n, 0);
    fab_bitswap_job_free(job);
    assert_int_equal(serve(&w).first_block, 7);

    /* A full wantlist, and the peer's end, while a job runs. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[8], 1, true);
    send(&w, false);
    assert_ok(fab_bitswap_server_take(w.server, w.peer, &job));
    send(&w, true);
    fab_bitswap_server_peer_remove(w.server, w.peer);
    assert_ok(fab_bitswap_job_run(job, &w.source));
    fab_bitswap_job_done(w.server, job);
    assert_null(fab_bitswap_job_peer(job));
    fab_bitswap_job_free(job);
    assert_null(fab_bitswap_server_next_peer(w.server));
    world_fini(&w);
}

/* The peer ends while its answer waits to be sent: nobody is told of its bytes any more. */
static void test_unsent(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_job *job;
    world_init(&w, NULL);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[8], 1, true);
    send(&w, false);
    assert_ok(fab_bitswap_server_take(w.server, w.peer, &job));
    assert_ok(fab_bitswap_job_run(job, &w.source));
    fab_bitswap_job_done(w.server, job);
    assert_true(fab_bitswap_job_bytes(job).n > 0);
    assert_ptr_equal(fab_bitswap_job_peer(job), w.peer);
    fab_bitswap_server_peer_remove(w.server, w.peer);
    assert_null(fab_bitswap_job_peer(job));
    fab_bitswap_job_free(job);
    assert_null(fab_bitswap_server_next_peer(w.server));
    world_fini(&w);
}

static struct fab_cid numbered(uint32_t n)
{
    struct fab_cid cid = {.codec = FAB_CODEC_RAW, .version = 1, .mh_len = 34, .mh = {0x12, 0x20}};
    memcpy(cid.mh + 2, &n, 4);
    return cid;
}

static void test_flood(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_server_stats stats;
    world_init(&w, NULL);
    for (uint32_t i = 0; i < 100000; i++) {
        struct fab_cid cid = numbered(i);
        add(&w, FAB_BITSWAP_WANT_BLOCK, &cid, 1, true);
    }
    send(&w, false);
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.wants, 1024);
    assert_int_equal(stats.refused, 100000 - 1024);
    unsigned donts = 0;
    size_t bytes = 0;
    while (fab_bitswap_server_next_peer(w.server)) {
        struct reply r = serve(&w);
        donts += r.donts;
        bytes += r.bytes;
    }
    assert_in_range(donts, 1024 + 5000, 1024 + 10000); /* the rest gets no answer */
    assert_in_range(bytes, 0, 1 << 20);
    assert_int_equal(w.store.gets, 1024);

    /* The peer is still served: remembered wants make room, oldest first. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[0], 1, true);
    send(&w, false);
    assert_int_equal(serve(&w).blocks, 1);
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.remembered, 1023);
    struct fab_cid oldest = numbered(0), kept = numbered(1);
    fab_bitswap_server_added(w.server, &oldest);
    assert_idle(&w);
    fab_bitswap_server_added(w.server, &kept);
    assert_ptr_equal(fab_bitswap_server_next_peer(w.server), w.peer);

    /* The same multihash under many codecs makes no long chains. */
    send(&w, true);
    for (uint32_t i = 0; i < 1000; i++) {
        struct fab_cid cid = numbered(7);
        cid.codec = i;
        add(&w, FAB_BITSWAP_WANT_BLOCK, &cid, 1, false);
    }
    send(&w, false);
    assert_int_equal(serve(&w).donts, 0);
    fab_bitswap_server_stats(w.server, &stats);
    assert_int_equal(stats.remembered, 4);
    world_fini(&w);
}

static void test_budget(void **state)
{
    (void)state;
    struct fab_bitswap_server_config config = {.message_target = 100 << 10,
                                               .outstanding_max = 300 << 10};
    struct world w;
    struct fab_bitswap_job *jobs[8];
    world_init(&w, &config);
    for (unsigned i = 0; i < BLOCKS; i++) {
        set_block(&w.store, i, 40 << 10);
        add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i], (int32_t)(BLOCKS - i), true);
    }
    send(&w, false);
    /* A message is closed at the target: three blocks; with the third message the budget is full.
     */
    unsigned count = 0, blocks = 0;
    size_t outstanding = 0;
    while (fab_bitswap_server_next_peer(w.server)) {
        assert_true(count < 8);
        assert_ok(fab_bitswap_server_take(w.server, w.peer, &jobs[count]));
        assert_ok(fab_bitswap_job_run(jobs[count], &w.source));
        fab_bitswap_job_done(w.server, jobs[count]);
        struct reply r = read_reply(fab_bitswap_job_bytes(jobs[count]));
        assert_int_equal(r.blocks, 3);
        assert_int_equal(r.first_block, blocks);
        blocks += r.blocks;
        outstanding += r.bytes;
        count++;
    }
    assert_int_equal(count, 2);
    fab_bitswap_server_sent(w.server, w.peer, outstanding);
    while (count)
        fab_bitswap_job_free(jobs[--count]);
    while (fab_bitswap_server_next_peer(w.server))
        blocks += serve(&w).blocks;
    assert_int_equal(blocks, BLOCKS);

    /* A block of 3 MiB fits into one message. */
    set_block(&w.store, 0, 3 << 20);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[0], 1, true);
    send(&w, false);
    struct reply r = serve(&w);
    assert_int_equal(r.blocks, 1);
    assert_true(r.bytes <= FAB_BITSWAP_MESSAGE_MAX + 4);
    /* What fits into none is not there. */
    set_block(&w.store, 0, FAB_BITSWAP_MESSAGE_MAX);
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[0], 1, true);
    send(&w, false);
    assert_int_equal(serve(&w).donts, 1);
    world_fini(&w);
}

/* Of three peers that want a lot, one joins late and one wants little: bytes are shared evenly. */
static void test_fair(void **state)
{
    (void)state;
    struct fab_bitswap_server_config config = {
        .message_target = 8 << 10, .outstanding_max = 8 << 10, .job_wants = 4};
    struct world w;
    struct fab_bitswap_server_peer *peers[3];
    world_init(&w, &config);
    peers[0] = w.peer;
    for (unsigned i = 1; i < 3; i++)
        assert_ok(fab_bitswap_server_peer_add(w.server, NULL, &peers[i]));
    unsigned turns[3] = {0};
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned p = 0; p < 3; p++)
            if ((p == 0 || (p == 1 && round >= 150) || (p == 2 && round % 10 == 0))) {
                for (unsigned i = 0; i < 8; i++)
                    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[i + 8 * p], 1, true);
                send_to(&w, peers[p], p != 2);
            }
        struct fab_bitswap_job *job;
        struct fab_bitswap_server_peer *peer = fab_bitswap_server_next_peer(w.server);
        assert_non_null(peer);
        assert_ok(fab_bitswap_server_take(w.server, peer, &job));
        assert_ok(fab_bitswap_job_run(job, &w.source));
        fab_bitswap_job_done(w.server, job);
        fab_bitswap_server_sent(w.server, peer, fab_bitswap_job_bytes(job).n);
        fab_bitswap_job_free(job);
        turns[peer == peers[1] ? 1 : peer == peers[2] ? 2 : 0]++;
    }
    assert_int_equal(turns[2], 60);
    /* Peer 1 got no turns for the time before it came. */
    assert_in_range(turns[1], 50, 70);
    assert_in_range(turns[0], 170, 190);
    world_fini(&w);
}

static void test_errors(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_job *job;
    world_init(&w, NULL);
    /* A malformed entry after a good one: nothing is taken. */
    add(&w, FAB_BITSWAP_WANT_BLOCK, &w.store.cid[0], 1, true);
    assert_ok(fab_bitswap_write_wants(&w.message, fab_buf_slice(&w.entries), false));
    assert_ok(fab_buf_append(&w.message, "\x0a\x02\x0a\x00", 4));
    assert_int_equal(fab_bitswap_server_message(w.server, w.peer,
                                                fab_slice(w.message.data + 1, w.message.len - 1)),
                     FAB_EFORMAT);
    assert_idle(&w);
    /* The store fails: the error is told, the peer gets DONT_HAVE, and there is no endless loop. */
    w.store.rc = FAB_EIO;
    send(&w, false);
    assert_ok(fab_bitswap_server_take(w.server, w.peer, &job));
    assert_int_equal(fab_bitswap_job_run(job, &w.source), FAB_EIO);
    fab_bitswap_job_done(w.server, job);
    assert_int_equal(read_reply(fab_bitswap_job_bytes(job)).donts, 1);
    fab_bitswap_server_sent(w.server, w.peer, fab_bitswap_job_bytes(job).n);
    fab_bitswap_job_free(job);
    assert_idle(&w);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),         cmocka_unit_test(test_order),
        cmocka_unit_test(test_cancel_and_full), cmocka_unit_test(test_while_running),
        cmocka_unit_test(test_unsent),          cmocka_unit_test(test_flood),
        cmocka_unit_test(test_budget),          cmocka_unit_test(test_fair),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
