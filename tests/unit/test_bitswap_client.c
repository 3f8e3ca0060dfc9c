/* The asking side against our own servers in virtual time: honest ones, ones that lack blocks,
 * stall, or lie; and rule by rule against messages made by hand. */
#include "fabric/exchange/bitswap_client.h"
#include "fabric/exchange/bitswap_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(expr) assert_int_equal((expr), FAB_OK)
#define BLOCKS          4000
#define FANOUT          8
#define BLOCK_BYTES     3000
#define SERVERS         4
#define SECOND          UINT64_C(1000000)

static const uint8_t key[16] = "0123456789abcdef";

/* ---- blocks: number i lies in the first bytes of block i; a tree with FANOUT children ---- */

static uint8_t block_data[BLOCKS][BLOCK_BYTES];
static struct fab_cid block_cid[BLOCKS];

static void make_blocks(void)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        memcpy(block_data[i], &i, 4);
        assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256,
                             fab_slice(block_data[i], BLOCK_BYTES), &block_cid[i]));
    }
}

static int by_mh(const void *a, const void *b)
{
    return fab_slice_cmp(fab_cid_mh(&block_cid[*(const uint32_t *)a]),
                         fab_cid_mh(&block_cid[*(const uint32_t *)b]));
}

static uint32_t sorted[BLOCKS];

static int find_block(const struct fab_cid *cid)
{
    uint32_t lo = 0, hi = BLOCKS;
    if (sorted[0] == sorted[1]) {
        for (uint32_t i = 0; i < BLOCKS; i++)
            sorted[i] = i;
        qsort(sorted, BLOCKS, sizeof sorted[0], by_mh);
    }
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = fab_slice_cmp(fab_cid_mh(&block_cid[sorted[mid]]), fab_cid_mh(cid));
        if (c == 0)
            return (int)sorted[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

/* ---- the world ---- */

enum manner { HONEST, LACKS, STALLS, LIES };

struct world;

struct event {
    struct event *next;
    uint64_t at;
    bool to_server;
    unsigned server;
    size_t n;
    uint8_t bytes[];
};

struct server {
    struct world *world;
    enum manner manner;
    uint64_t stalls_until;
    unsigned lacks; /* of every 4 blocks */
    struct fab_bitswap_server *core;
    struct fab_bitswap_server_peer *client; /* at the server */
    struct fab_bitswap_client_peer *peer;   /* at the client */
    uint64_t line_free;                     /* when the line to the client is */
    uint8_t lie[BLOCK_BYTES];
    size_t wants; /* entries sent to it */
};

struct candidate {
    struct candidate *next;
    struct fab_bitswap_client_peer *peer;
    struct fab_cid cid;
    size_t len;
};

struct world {
    uint64_t now;
    struct event *events;
    struct server servers[SERVERS];
    unsigned server_count;
    struct fab_bitswap_client *client;
    struct fab_bitswap_session *session;
    struct candidate *candidates, **candidates_end;
    unsigned got[BLOCKS], got_count, candidate_count;
    uint64_t latency, rate; /* microseconds one way; bytes per second */
    bool walk;              /* a block that came makes its children wanted */
};

static enum fab_rc server_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    struct server *s = ctx;
    int i = find_block(cid);
    if (i < 0 || (unsigned)i % 4 < s->lacks)
        return FAB_ENOENT;
    *out = fab_slice(block_data[i], BLOCK_BYTES);
    if (s->manner == LIES) {
        memcpy(s->lie, block_data[i], BLOCK_BYTES);
        s->lie[BLOCK_BYTES - 1] ^= 1;
        *out = fab_slice(s->lie, BLOCK_BYTES);
    }
    return FAB_OK;
}

static void candidate(void *arg, struct fab_bitswap_client_peer *peer,
                      const struct fab_bitswap_prefix *prefix, struct fab_slice data)
{
    struct world *w = arg;
    struct candidate *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->peer = peer;
    c->len = data.n;
    assert_ok(fab_bitswap_prefix_cid(prefix, data, &c->cid));
    *w->candidates_end = c;
    w->candidates_end = &c->next;
    w->candidate_count++;
}

static void got(void *arg, void *user, const struct fab_cid *cid)
{
    struct world *w = arg;
    int i = find_block(cid);
    assert_true(i >= 0);
    assert_ptr_equal(user, w);
    w->got[i]++;
    w->got_count++;
    for (unsigned c = 1; w->walk && c <= FANOUT; c++)
        if ((unsigned)i * FANOUT + c < BLOCKS)
            assert_ok(fab_bitswap_session_want(w->session, &block_cid[(unsigned)i * FANOUT + c]));
}

static void world_init(struct world *w, const enum manner *manners, unsigned count)
{
    const struct fab_bitswap_client_events events = {w, candidate, got};
    memset(w, 0, sizeof *w);
    w->now = 1000 * SECOND;
    w->latency = 20000;
    w->rate = 100000000;
    w->candidates_end = &w->candidates;
    assert_ok(fab_bitswap_client_new(NULL, &events, key, &w->client));
    assert_ok(fab_bitswap_session_new(w->client, w, &w->session));
    w->server_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct server *s = &w->servers[i];
        s->world = w;
        s->manner = manners[i];
        s->lacks = manners[i] == LACKS ? 2 : 0;
        s->stalls_until = manners[i] == STALLS ? UINT64_MAX : 0;
        assert_ok(fab_bitswap_server_new(NULL, key, &s->core));
        assert_ok(fab_bitswap_server_peer_add(s->core, s, &s->client));
        assert_ok(fab_bitswap_client_peer_add(w->client, s, w->now, &s->peer));
    }
}

static void world_fini(struct world *w)
{
    while (w->events) {
        struct event *next = w->events->next;
        free(w->events);
        w->events = next;
    }
    for (unsigned i = 0; i < w->server_count; i++)
        fab_bitswap_server_free(w->servers[i].core);
    assert_null(w->candidates);
    fab_bitswap_client_free(w->client);
}

static void post(struct world *w, uint64_t at, bool to_server, unsigned server,
                 struct fab_slice bytes)
{
    struct event *e = malloc(sizeof *e + bytes.n), **slot = &w->events;
    assert_non_null(e);
    *e = (struct event){NULL, at, to_server, server, bytes.n};
    memcpy(e->bytes, bytes.p, bytes.n);
    while (*slot && (*slot)->at <= at)
        slot = &(*slot)->next;
    e->next = *slot;
    *slot = e;
}

static void serve(struct world *w, struct server *s)
{
    const struct fab_block_source source = {s, server_get};
    while (fab_bitswap_server_next_peer(s->core)) {
        struct fab_bitswap_job *job;
        assert_ok(fab_bitswap_server_take(s->core, s->client, &job));
        assert_ok(fab_bitswap_job_run(job, &source));
        fab_bitswap_job_done(s->core, job);
        struct fab_slice bytes = fab_bitswap_job_bytes(job);
        if (bytes.n) {
            if (s->line_free < w->now)
                s->line_free = w->now;
            s->line_free += bytes.n * SECOND / w->rate;
            post(w, s->line_free + w->latency, false, (unsigned)(s - w->servers), bytes);
            fab_bitswap_server_sent(s->core, s->client, bytes.n);
        }
        fab_bitswap_job_free(job);
    }
}

static void verify(struct world *w)
{
    while (w->candidates) {
        struct candidate *c = w->candidates;
        w->candidates = c->next;
        if (!w->candidates)
            w->candidates_end = &w->candidates;
        fab_bitswap_client_block(w->client, c->peer, &c->cid, c->len, w->now);
        free(c);
    }
}

static struct fab_slice undelimited(struct fab_slice bytes)
{
    struct fab_bitswap_stream stream;
    struct fab_slice message;
    bool whole;
    fab_bitswap_stream_init(&stream);
    assert_ok(fab_bitswap_stream_read(&stream, &bytes, &whole, &message));
    assert_true(whole);
    assert_int_equal(bytes.n, 0);
    fab_bitswap_stream_fini(&stream);
    return message;
}

static void deliver(struct world *w, struct event *e)
{
    struct server *s = &w->servers[e->server];
    struct fab_slice message = undelimited(fab_slice(e->bytes, e->n));
    if (!e->to_server) {
        if (s->peer)
            assert_ok(fab_bitswap_client_message(w->client, s->peer, message, w->now));
        verify(w);
        return;
    }
    if (w->now < s->stalls_until)
        return;
    assert_ok(fab_bitswap_server_message(s->core, s->client, message));
    serve(w, s);
}

static void flush(struct world *w)
{
    struct fab_bitswap_client_peer *peer;
    while ((peer = fab_bitswap_client_next_output(w->client, w->now))) {
        struct server *s = fab_bitswap_client_peer_user(peer);
        struct fab_bitswap_summary sum;
        struct fab_buf out;
        fab_buf_init(&out, 1 << 20);
        assert_ok(fab_bitswap_client_output(w->client, peer, &out));
        assert_true(out.len > 0);
        assert_ok(fab_bitswap_message_check(undelimited(fab_buf_slice(&out)), &sum));
        s->wants += sum.wants;
        post(w, w->now + w->latency, true, (unsigned)(s - w->servers), fab_buf_slice(&out));
        fab_buf_fini(&out);
    }
}

/* Until `until`, or until nothing is wanted. */
static void run(struct world *w, uint64_t until)
{
    unsigned idle = 0;
    for (;;) {
        flush(w);
        uint64_t deadline = fab_bitswap_client_deadline(w->client);
        uint64_t next = w->events && w->events->at < deadline ? w->events->at : deadline;
        if (next > until || fab_bitswap_session_wants(w->session) == 0)
            break;
        assert_true(++idle < 1000 || next > w->now); /* no deadline that stays */
        if (next > w->now) {
            w->now = next;
            idle = 0;
        }
        if (w->events && w->events->at <= w->now) {
            struct event *e = w->events;
            w->events = e->next;
            deliver(w, e);
            free(e);
        } else {
            fab_bitswap_client_tick(w->client, w->now);
        }
    }
    if (fab_bitswap_session_wants(w->session) && until > w->now)
        w->now = until;
}

static void assert_all(const struct world *w)
{
    assert_int_equal(w->got_count, BLOCKS);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(w->got[i], 1);
    assert_int_equal(fab_bitswap_session_wants(w->session), 0);
}

/* ---- whole exchanges ---- */

static struct fab_bitswap_client_stats exchange(struct world *w)
{
    struct fab_bitswap_client_stats stats;
    w->walk = true;
    assert_ok(fab_bitswap_session_want(w->session, &block_cid[0]));
    run(w, w->now + 300 * SECOND);
    assert_all(w);
    fab_bitswap_client_stats(w->client, &stats);
    assert_int_equal(stats.blocks, BLOCKS);
    assert_int_equal(stats.bytes, (uint64_t)BLOCKS * BLOCK_BYTES);
    assert_int_equal(stats.wants, 0);
    return stats;
}

static void test_one_server(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (const enum manner[]){HONEST}, 1);
    uint64_t began = w.now;
    struct fab_bitswap_client_stats stats = exchange(&w);
    assert_int_equal(stats.unwanted + stats.duplicates + stats.timeouts, 0);
    assert_int_equal(w.servers[0].wants, BLOCKS); /* nothing is asked twice */
    /* Five levels and 12 MB at 100 MB/s take 0.32 s at least; ten wants at a time took 16 s. */
    assert_in_range(w.now - began, 0, 1 * SECOND);
    world_fini(&w);
}

static void test_two_servers(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_server_stats a, b;
    world_init(&w, (const enum manner[]){HONEST, HONEST}, 2);
    struct fab_bitswap_client_stats stats = exchange(&w);
    assert_int_equal(stats.unwanted + stats.timeouts, 0);
    assert_in_range(stats.duplicates, 0, 8);
    fab_bitswap_server_stats(w.servers[0].core, &a);
    fab_bitswap_server_stats(w.servers[1].core, &b);
    assert_in_range(a.blocks, BLOCKS / 4, 3 * BLOCKS / 4); /* the work is shared */
    assert_in_range(a.blocks + b.blocks, BLOCKS, BLOCKS + 8);
    world_fini(&w);
}

static void test_bad_servers(void **state)
{
    (void)state;
    struct world w;
    static const enum manner manners[] = {LIES, STALLS, LACKS, HONEST, LIES, STALLS, LACKS};
    uint64_t unwanted = 0, timeouts = 0;
    for (unsigned first = 0; first < 4; first++) { /* each of them is once asked first */
        world_init(&w, manners + first, 4);
        struct fab_bitswap_client_stats stats = exchange(&w);
        unwanted += stats.unwanted;
        timeouts += stats.timeouts;
        for (unsigned i = 0; i < 4; i++)
            if (manners[first + i] != LIES)
                assert_false(fab_bitswap_client_peer_bad(w.servers[i].peer));
        assert_true(w.now < 1000 * SECOND + 15 * SECOND);
        world_fini(&w);
    }
    assert_true(unwanted > 0);
    assert_true(timeouts > 0);
}

/* Nobody has it all, and one of them sleeps for 25 s: what it alone has comes after that. */
static void test_three_servers(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (const enum manner[]){LACKS, STALLS, LIES}, 3);
    w.servers[1].stalls_until = w.now + 25 * SECOND;
    struct fab_bitswap_client_stats stats = exchange(&w);
    assert_true(stats.timeouts > 0);
    assert_true(w.now > 1025 * SECOND);
    assert_true(w.now < 1100 * SECOND);
    world_fini(&w);
}

/* A slow line is no stall: bytes come all the time. */
static void test_slow_line(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_client_stats stats;
    world_init(&w, (const enum manner[]){HONEST}, 1);
    w.rate = 20000; /* a message of 64 blocks takes 10 s */
    for (unsigned i = 0; i < 200; i++)
        assert_ok(fab_bitswap_session_want(w.session, &block_cid[i]));
    while (fab_bitswap_session_wants(w.session)) {
        run(&w, w.now + 1 * SECOND);
        fab_bitswap_client_progress(w.client, w.servers[0].peer, w.now);
        assert_true(w.now < 1100 * SECOND);
    }
    fab_bitswap_client_stats(w.client, &stats);
    assert_int_equal(stats.timeouts + stats.duplicates, 0);
    assert_int_equal(w.got_count, 200);
    world_fini(&w);
}

static void count_missing(void *arg, const struct fab_cid *cid)
{
    assert_true(fab_cid_eq(cid, &block_cid[4]));
    ++*(unsigned *)arg;
}

/* Nobody has it: it is missing. Then a server gets it, and sends it unasked. */
static void test_missing(void **state)
{
    (void)state;
    struct world w;
    unsigned count = 0;
    world_init(&w, (const enum manner[]){LACKS, LACKS}, 2);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[4]));
    run(&w, w.now + SECOND);
    assert_int_equal(fab_bitswap_session_missing(w.session), 1);
    fab_bitswap_session_list_missing(w.session, count_missing, &count);
    assert_int_equal(count, 1);
    w.servers[1].lacks = 0;
    fab_bitswap_server_added(w.servers[1].core, &block_cid[4]);
    serve(&w, &w.servers[1]);
    run(&w, w.now + SECOND);
    assert_int_equal(w.got[4], 1);
    assert_int_equal(fab_bitswap_session_missing(w.session), 0);

    /* Without being told, it is found at the next attempt. */
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[5]));
    w.servers[1].lacks = 2;
    run(&w, w.now + SECOND);
    assert_int_equal(fab_bitswap_session_missing(w.session), 1);
    w.servers[0].lacks = 0;
    run(&w, w.now + 10 * SECOND);
    assert_int_equal(w.got[5], 0);
    run(&w, w.now + 10 * SECOND);
    assert_int_equal(w.got[5], 1);

    /* And at once from a peer that comes. */
    w.servers[0].lacks = 2;
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[8]));
    run(&w, w.now + SECOND);
    assert_int_equal(fab_bitswap_session_missing(w.session), 1);
    struct server *s = &w.servers[w.server_count++];
    s->world = &w;
    assert_ok(fab_bitswap_server_new(NULL, key, &s->core));
    assert_ok(fab_bitswap_server_peer_add(s->core, s, &s->client));
    assert_ok(fab_bitswap_client_peer_add(w.client, s, w.now, &s->peer));
    run(&w, w.now + SECOND);
    assert_int_equal(w.got[8], 1);
    world_fini(&w);
}

static void test_peer_leaves(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (const enum manner[]){STALLS, HONEST}, 2);
    w.walk = true;
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    run(&w, w.now + SECOND / 10);
    fab_bitswap_client_peer_remove(w.client, w.servers[0].peer);
    w.servers[0].peer = NULL;
    run(&w, w.now + SECOND / 20);
    /* The want stream to the other one is lost, with what was in it. */
    assert_true(fab_bitswap_session_wants(w.session) > 0);
    fab_bitswap_client_peer_lost(w.client, w.servers[1].peer);
    run(&w, w.now + 5 * SECOND);
    assert_all(&w);
    /* Without any peer everything is missing. */
    fab_bitswap_client_peer_remove(w.client, w.servers[1].peer);
    w.servers[1].peer = NULL;
    w.walk = false;
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    run(&w, w.now + 100 * SECOND);
    assert_int_equal(fab_bitswap_session_missing(w.session), 1);
    world_fini(&w);
}

/* ---- rule by rule ---- */

static void test_not_asked_for(void **state)
{
    (void)state;
    struct world w;
    struct fab_cid cid, cut;
    world_init(&w, (const enum manner[]){HONEST}, 1);
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(NULL, 0), &cid));
    assert_true(fab_bitswap_is_empty_block(&cid));
    assert_int_equal(fab_bitswap_session_want(w.session, &cid), FAB_EINVAL);
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, fab_slice(NULL, 0), &cid));
    assert_true(fab_bitswap_is_empty_block(&cid));
    assert_int_equal(fab_bitswap_session_want(w.session, &cid), FAB_EINVAL);
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, fab_slice("x", 1), &cid));
    assert_false(fab_bitswap_is_empty_block(&cid));
    assert_int_equal(fab_bitswap_session_want(w.session, &cid), FAB_EINVAL);
    assert_false(fab_bitswap_is_empty_block(&block_cid[0]));
    static const uint8_t sha3[] = {1, 0x55, 0x16, 2, 9, 9};
    assert_ok(fab_cid_parse(fab_slice(sha3, sizeof sha3), &cid));
    assert_int_equal(fab_bitswap_session_want(w.session, &cid), FAB_EUNSUPPORTED);
    cut = block_cid[0];
    cut.mh[1] = 20;
    cut.mh_len = 22;
    assert_int_equal(fab_bitswap_session_want(w.session, &cut), FAB_EUNSUPPORTED);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    assert_int_equal(fab_bitswap_session_want(w.session, &block_cid[0]), FAB_EEXIST);
    cid = block_cid[0];
    cid.codec = FAB_CODEC_DAG_PB;
    assert_int_equal(fab_bitswap_session_want(w.session, &cid), FAB_EEXIST);
    assert_int_equal(fab_bitswap_session_wants(w.session), 1);
    world_fini(&w);
}

static void test_sessions(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_session *other;
    world_init(&w, (const enum manner[]){HONEST}, 1);
    assert_ok(fab_bitswap_session_new(w.client, &w, &other));
    /* Both want block 1, under two codecs; it comes once, and both are told. */
    struct fab_cid pb = block_cid[1];
    pb.codec = FAB_CODEC_DAG_PB;
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[1]));
    assert_ok(fab_bitswap_session_want(other, &pb));
    /* The first to want block 2 goes away; block 3 is cancelled by all. */
    assert_ok(fab_bitswap_session_want(other, &block_cid[2]));
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[2]));
    fab_bitswap_session_cancel(other, &block_cid[2]);
    fab_bitswap_session_cancel(other, &block_cid[2]);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[3]));
    flush(&w);
    assert_int_equal(w.servers[0].wants, 3);
    fab_bitswap_session_cancel(w.session, &block_cid[3]);
    run(&w, w.now + SECOND);
    assert_int_equal(w.got[1], 2);
    assert_int_equal(w.got[2], 1);
    assert_int_equal(w.got[3], 0);
    assert_int_equal(fab_bitswap_session_wants(other), 0);
    /* A session ends with wants at the peer; another one has its share of a busy peer. */
    for (unsigned i = 100; i < 3000; i++)
        assert_ok(fab_bitswap_session_want(other, &block_cid[i]));
    flush(&w);
    for (unsigned i = 3000; i < 3100; i++)
        assert_ok(fab_bitswap_session_want(w.session, &block_cid[i]));
    run(&w, w.now + 30 * SECOND);
    assert_int_equal(fab_bitswap_session_wants(w.session), 0);
    assert_true(fab_bitswap_session_wants(other) > 1000);
    fab_bitswap_session_free(other);
    struct fab_bitswap_client_stats stats;
    fab_bitswap_client_stats(w.client, &stats);
    assert_int_equal(stats.wants, 0);
    assert_int_equal(stats.unwanted, 0);
    world_fini(&w);
}

/* A peer has room for one block at a time: the sessions take turns. */
static void test_turns(void **state)
{
    (void)state;
    const struct fab_bitswap_client_config config = {.peer_wants_max = 1};
    struct world w;
    struct fab_bitswap_session *other;
    world_init(&w, (const enum manner[]){HONEST}, 1);
    fab_bitswap_client_free(w.client);
    const struct fab_bitswap_client_events events = {&w, candidate, got};
    assert_ok(fab_bitswap_client_new(&config, &events, key, &w.client));
    assert_ok(fab_bitswap_client_peer_add(w.client, &w.servers[0], w.now, &w.servers[0].peer));
    assert_ok(fab_bitswap_session_new(w.client, &w, &w.session));
    assert_ok(fab_bitswap_session_new(w.client, &w, &other));
    for (unsigned i = 0; i < 200; i++)
        assert_ok(fab_bitswap_session_want(other, &block_cid[i]));
    for (unsigned i = 200; i < 220; i++)
        assert_ok(fab_bitswap_session_want(w.session, &block_cid[i]));
    run(&w, w.now + 30 * SECOND);
    assert_int_equal(fab_bitswap_session_wants(w.session), 0);
    assert_in_range(fab_bitswap_session_wants(other), 100, 190);
    world_fini(&w);
}

static void respond(struct world *w, unsigned server, unsigned block, unsigned count)
{
    struct fab_bitswap_writer writer;
    struct fab_slice message;
    struct fab_buf out;
    fab_buf_init(&out, 1 << 20);
    assert_ok(fab_bitswap_writer_begin(&writer, &out));
    for (unsigned i = 0; i < count; i++)
        assert_ok(fab_bitswap_writer_block(&writer, &block_cid[block + i],
                                           fab_slice(block_data[block + i], BLOCK_BYTES)));
    fab_bitswap_writer_end(&writer, &message);
    assert_ok(fab_bitswap_client_message(w->client, w->servers[server].peer, undelimited(message),
                                         w->now));
    verify(w);
    fab_buf_fini(&out);
}

static void test_unwanted(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_client_stats stats;
    world_init(&w, (const enum manner[]){STALLS, STALLS}, 2);
    /* From a peer that was asked for nothing: not even hashed. */
    respond(&w, 0, 0, 3);
    assert_int_equal(w.candidate_count, 0);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[10]));
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[11]));
    flush(&w);
    /* The same block from both: one duplicate, nobody's fault. */
    respond(&w, 0, 10, 1);
    respond(&w, 1, 10, 1);
    assert_int_equal(w.got[10], 1);
    fab_bitswap_client_stats(w.client, &stats);
    assert_int_equal(stats.duplicates, 1);
    assert_int_equal(stats.dup_bytes, BLOCK_BYTES);
    assert_int_equal(stats.unwanted, 3);
    /* Three wrong ones are borne, a right one makes good, four in a row are not. */
    respond(&w, 1, 20, 3);
    assert_false(fab_bitswap_client_peer_bad(w.servers[1].peer));
    respond(&w, 1, 11, 1);
    for (unsigned i = 100; i < 200; i++)
        assert_ok(fab_bitswap_session_want(w.session, &block_cid[i]));
    flush(&w);
    respond(&w, 1, 20, 3);
    assert_false(fab_bitswap_client_peer_bad(w.servers[1].peer));
    respond(&w, 1, 20, 1);
    assert_true(fab_bitswap_client_peer_bad(w.servers[1].peer));
    fab_bitswap_client_stats(w.client, &stats);
    assert_int_equal(stats.unwanted, 10);
    assert_int_equal(w.got_count, 2);
    world_fini(&w);
}

/* A peer that answers nothing holds a bounded number of entries; one that takes no bytes too. */
static void test_bounds(void **state)
{
    (void)state;
    struct world w;
    struct fab_cid cid = block_cid[0];
    struct fab_bitswap_client_stats stats;
    world_init(&w, (const enum manner[]){STALLS, LACKS}, 2);
    w.servers[1].lacks = 4;
    enum fab_rc rc = FAB_OK;
    uint32_t n = 0;
    for (; rc == FAB_OK; n++) {
        memcpy(cid.mh + 10, &n, 4);
        rc = fab_bitswap_session_want(w.session, &cid);
    }
    assert_int_equal(rc, FAB_ELIMIT);
    assert_int_equal(n - 1, 128 << 10);
    flush(&w);
    assert_in_range(w.servers[0].wants, 64, 1000);
    run(&w, w.now + 9 * SECOND);
    assert_in_range(w.servers[0].wants, 64, 1000);
    run(&w, w.now + 3 * SECOND); /* the silent one is passed over now */
    assert_true(w.servers[1].wants > 1000);
    run(&w, w.now + 300 * SECOND);
    fab_bitswap_client_stats(w.client, &stats);
    assert_true(stats.missing > 10000);
    assert_int_equal(w.got_count, 0);
    /* A peer is not offered again before its output is taken. */
    world_fini(&w);
    world_init(&w, (const enum manner[]){HONEST}, 1);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    assert_ptr_equal(fab_bitswap_client_next_output(w.client, w.now), w.servers[0].peer);
    assert_null(fab_bitswap_client_next_output(w.client, w.now));
    struct fab_buf small;
    fab_buf_init(&small, 10);
    assert_int_equal(fab_bitswap_client_output(w.client, w.servers[0].peer, &small), FAB_ELIMIT);
    fab_buf_fini(&small);
    fab_buf_init(&small, 1000);
    assert_ok(fab_bitswap_client_output(w.client, w.servers[0].peer, &small));
    assert_true(small.len > 0);
    fab_buf_fini(&small);
    for (unsigned i = 1; i < FAB_BITSWAP_CLIENT_PEERS_MAX; i++) {
        struct fab_bitswap_client_peer *peer;
        assert_ok(fab_bitswap_client_peer_add(w.client, NULL, w.now, &peer));
    }
    struct fab_bitswap_client_peer *peer;
    assert_int_equal(fab_bitswap_client_peer_add(w.client, NULL, w.now, &peer), FAB_ELIMIT);
    world_fini(&w);
}

/* An entry that the peer lost: it answers what was asked much later, so this one is asked elsewhere
 * or again. */
static void test_lost_entry(void **state)
{
    (void)state;
    struct world w;
    struct fab_bitswap_client_stats stats;
    world_init(&w, (const enum manner[]){STALLS}, 1);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    flush(&w);
    for (unsigned i = 1; i < 8; i++) {
        assert_ok(fab_bitswap_session_want(w.session, &block_cid[i]));
        flush(&w);
        w.now += 5 * SECOND;
        respond(&w, 0, i, 1);
        fab_bitswap_client_tick(w.client, w.now);
    }
    fab_bitswap_client_stats(w.client, &stats);
    assert_int_equal(stats.timeouts, 1);
    assert_int_equal(w.got_count, 7);
    flush(&w);
    assert_int_equal(fab_bitswap_session_missing(w.session), 1);
    world_fini(&w);
}

/* A peer that sends a byte now and then, and never a block, does not hold a want for ever. */
static void test_trickle(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, (const enum manner[]){STALLS, HONEST}, 2);
    fab_bitswap_client_peer_remove(w.client, w.servers[1].peer);
    assert_ok(fab_bitswap_session_want(w.session, &block_cid[0]));
    flush(&w);
    assert_ok(fab_bitswap_client_peer_add(w.client, &w.servers[1], w.now, &w.servers[1].peer));
    for (unsigned i = 0; i < 130 && !w.got[0]; i++) {
        fab_bitswap_client_progress(w.client, w.servers[0].peer, w.now);
        run(&w, w.now + SECOND);
    }
    assert_int_equal(w.got[0], 1);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_server),  cmocka_unit_test(test_two_servers),
        cmocka_unit_test(test_bad_servers), cmocka_unit_test(test_three_servers),
        cmocka_unit_test(test_slow_line),   cmocka_unit_test(test_missing),
        cmocka_unit_test(test_peer_leaves), cmocka_unit_test(test_not_asked_for),
        cmocka_unit_test(test_sessions),    cmocka_unit_test(test_unwanted),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_lost_entry),
        cmocka_unit_test(test_trickle),     cmocka_unit_test(test_turns),
    };
    make_blocks();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
