/* A bitswap stream in one piece and in pieces gives the same messages and the same end; what is in
 * them drives a server, whose responses are well-formed, and a client, whose books stay in order.
 */
#include "fabric/exchange/bitswap_client.h"
#include "fabric/exchange/bitswap_server.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

#define WANTS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t key[16];

/* Blocks of SHA-256 are there or not by the first byte of their digest. */
static enum fab_rc source_get(void *ctx, const struct fab_cid *cid, struct fab_slice *out)
{
    static const uint8_t zeros[3000];
    struct fab_slice digest = fab_cid_digest(cid);
    (void)ctx;
    if (fab_cid_mh_code(cid) != FAB_MH_SHA2_256 || digest.n != 32 || digest.p[0] & 1)
        return FAB_ENOENT;
    *out = fab_slice(zeros, digest.p[0] & 2 ? sizeof zeros : digest.p[0]);
    return FAB_OK;
}

struct world {
    struct fab_bitswap_server *server;
    struct fab_bitswap_server_peer *wanter, *other;
    struct fab_bitswap_client *client;
    struct fab_bitswap_client_peer *giver;
    struct fab_bitswap_session *session;
    struct fab_cid pending[64];
    size_t pending_count, got;
    uint64_t now, mix, messages;
};

static void candidate(void *arg, struct fab_bitswap_client_peer *peer,
                      const struct fab_bitswap_prefix *prefix, struct fab_slice data)
{
    struct world *w = arg;
    struct fab_cid cid;
    CHECK(peer == w->giver);
    CHECK(fab_bitswap_prefix_cid(prefix, data, &cid) == FAB_OK);
    if (w->pending_count < 64)
        w->pending[w->pending_count++] = cid;
}

static void got(void *arg, void *user, const struct fab_cid *cid)
{
    struct world *w = arg;
    CHECK(user == w && cid->mh_len);
    w->got++;
}

static void ask(struct world *w)
{
    struct fab_bitswap_client_peer *peer;
    struct fab_buf out;
    fab_buf_init(&out, 1 << 20);
    while ((peer = fab_bitswap_client_next_output(w->client, w->now)))
        CHECK(fab_bitswap_client_output(w->client, peer, &out) == FAB_OK && out.len);
    fab_buf_fini(&out);
}

static void serve(struct world *w)
{
    const struct fab_block_source source = {NULL, source_get};
    struct fab_bitswap_server_peer *peer;
    unsigned turns = 0;
    while ((peer = fab_bitswap_server_next_peer(w->server))) {
        struct fab_bitswap_job *job;
        struct fab_bitswap_summary sum;
        CHECK(++turns < 1000);
        CHECK(fab_bitswap_server_take(w->server, peer, &job) == FAB_OK);
        CHECK(fab_bitswap_job_run(job, &source) == FAB_OK);
        fab_bitswap_job_done(w->server, job);
        struct fab_slice in = fab_bitswap_job_bytes(job), message;
        size_t bytes = in.n;
        struct fab_bitswap_stream stream;
        bool whole = false;
        fab_bitswap_stream_init(&stream);
        if (in.n) {
            CHECK(fab_bitswap_stream_read(&stream, &in, &whole, &message) == FAB_OK);
            CHECK(whole && in.n == 0);
            CHECK(fab_bitswap_message_check(message, &sum) == FAB_OK);
            CHECK(sum.blocks + sum.presences > 0 && sum.skipped == 0);
        }
        fab_bitswap_stream_fini(&stream);
        fab_bitswap_server_sent(w->server, peer, bytes);
        fab_bitswap_job_free(job);
    }
}

static enum fab_rc take(struct world *w, struct fab_slice message)
{
    struct fab_bitswap_summary sum;
    struct fab_bitswap_server_stats stats;
    enum fab_rc rc = fab_bitswap_message_check(message, &sum);
    CHECK(rc == FAB_OK || rc == FAB_EFORMAT);
    CHECK(fab_bitswap_server_message(w->server, w->wanter, message) == rc);
    CHECK(fab_bitswap_client_message(w->client, w->giver, message, w->now) == rc);
    if (rc != FAB_OK)
        return rc;
    w->messages++;
    w->mix = w->mix * 31 + sum.wants * 7 + sum.cancels * 5 + sum.blocks * 3 + sum.presences;
    /* The next message finds some wants taken, some remembered, some not yet looked at. */
    if (w->messages % 3 == 0)
        CHECK(fab_bitswap_server_message(w->server, w->other, message) == FAB_OK);
    if (w->messages % 2 == 0)
        serve(w);
    while (w->pending_count) {
        struct fab_cid cid = w->pending[--w->pending_count];
        fab_bitswap_client_block(w->client, w->giver, &cid, 5, w->now);
        fab_bitswap_server_added(w->server, &cid);
    }
    /* What the peer talks about is wanted from now on. */
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    fab_bitswap_iter_init(&it, message);
    while (fab_bitswap_iter_next(&it, &item) == FAB_OK)
        if (item.kind != FAB_BITSWAP_BLOCK && fab_bitswap_session_wants(w->session) < WANTS_MAX &&
            fab_bitswap_session_want(w->session, &item.cid) == FAB_ENOMEM)
            abort();
    ask(w);
    w->now += 4000000;
    if (fab_bitswap_client_deadline(w->client) <= w->now)
        fab_bitswap_client_tick(w->client, w->now);
    CHECK(fab_bitswap_client_deadline(w->client) > w->now);
    fab_bitswap_server_stats(w->server, &stats);
    CHECK(stats.remembered <= 2 * 1024);
    CHECK(fab_bitswap_session_missing(w->session) <= fab_bitswap_session_wants(w->session));
    return FAB_OK;
}

struct sum {
    uint64_t mix, messages, got;
    enum fab_rc rc;
};

static struct sum read_all(const uint8_t *data, size_t n, size_t step)
{
    struct world w = {.now = 1000};
    const struct fab_bitswap_client_events events = {&w, candidate, got};
    struct fab_bitswap_stream stream;
    enum fab_rc rc = FAB_OK;
    CHECK(fab_bitswap_server_new(NULL, key, &w.server) == FAB_OK);
    CHECK(fab_bitswap_server_peer_add(w.server, NULL, &w.wanter) == FAB_OK);
    CHECK(fab_bitswap_server_peer_add(w.server, NULL, &w.other) == FAB_OK);
    CHECK(fab_bitswap_client_new(NULL, &events, key, &w.client) == FAB_OK);
    CHECK(fab_bitswap_client_peer_add(w.client, NULL, w.now, &w.giver) == FAB_OK);
    CHECK(fab_bitswap_session_new(w.client, &w, &w.session) == FAB_OK);
    struct fab_cid hello;
    CHECK(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("hello", 5), &hello) == FAB_OK);
    CHECK(fab_bitswap_session_want(w.session, &hello) == FAB_OK);
    ask(&w);
    fab_bitswap_stream_init(&stream);
    for (size_t at = 0; rc == FAB_OK && at < n; at += step) {
        struct fab_slice in = fab_slice(data + at, step < n - at ? step : n - at), message;
        while (rc == FAB_OK && in.n) {
            bool whole;
            rc = fab_bitswap_stream_read(&stream, &in, &whole, &message);
            CHECK(stream.collected.cap <= 2 * n + 64);
            if (rc == FAB_OK && whole)
                rc = take(&w, message);
        }
    }
    struct sum s = {w.mix, w.messages, w.got, rc};
    fab_bitswap_stream_fini(&stream);
    serve(&w);
    fab_bitswap_server_free(w.server);
    fab_bitswap_client_free(w.client);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sum whole = read_all(data, n, n ? n : 1);
    static const size_t steps[] = {1, 50};
    for (size_t i = 0; i < 2; i++) {
        struct sum s = read_all(data, n, steps[i]);
        CHECK(s.mix == whole.mix && s.messages == whole.messages && s.got == whole.got);
        CHECK(s.rc == whole.rc);
    }
    return 0;
}
