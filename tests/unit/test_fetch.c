/* The fetch core against simulated peers (tests/support/fetch_world.h). */
#include "fabric/exchange/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fetch_world.h"

static void test_mixtures(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *w = world_new(seed);
        uint32_t count = 1 + rng_below(&w->rng, 600);
        universe_random(&w->u, count, count > 1 ? rng_below(&w->rng, count) : 0, &w->rng);
        unsigned held = rng_below(&w->rng, 4) * 30; /* percent; the root too */
        for (uint32_t i = 0; i < count; i++)
            w->store[i] = rng_below(&w->rng, 100) < held;
        uint64_t lacking = 0;
        for (uint32_t i = 0; i < count; i++)
            lacking += !w->store[i];
        world_begin(w, NULL);
        w->lag = rng_below(&w->rng, 20);
        w->eager = rng_below(&w->rng, 2);
        w->assign_max = 1 + rng_below(&w->rng, 100);
        unsigned peers = 1 + rng_below(&w->rng, PEERS);
        for (unsigned i = 0; i < peers; i++) {
            struct peer *p = world_peer(w, i, rng_below(&w->rng, 2));
            for (uint32_t j = 0; j < count; j++)
                p->has[j] = rng_below(&w->rng, 100) < 40;
        }
        for (uint32_t j = 0; j < count; j++) /* somebody has it */
            w->peers[rng_below(&w->rng, peers)].has[j] = true;
        run(w);
        assert_whole(w);
        assert_int_equal(w->received, lacking);
        world_free(w);
    }
}

static void test_one_streaming_peer_sends_nothing_twice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct world *w = world_new(seed);
        universe_random(&w->u, 800, 400, &w->rng);
        world_begin(w, NULL);
        has_all(w, world_peer(w, 0, true));
        run(w);
        assert_whole(w);
        assert_int_equal(w->duplicates, 0);
        assert_int_equal(w->released, 0);
        assert_int_equal(w->peers[0].asked, 1); /* the root: no round trip per level */
        world_free(w);
    }
}

static void test_only_what_is_linked(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct fab_fetch_link links[LINKS];
    bool accepted;
    universe_tree(&w->u, 4, 100);
    world_begin(w, NULL);
    struct peer *p = world_peer(w, 0, true);
    look(w);
    assign(w, p);
    struct fab_cid child = cid_of(&w->u, 1), root = cid_of(&w->u, 0), grand = cid_of(&w->u, 5);
    assert_false(fab_fetch_wants(w->fetch, &child)); /* its parent has not come */
    assert_ok(fab_fetch_block(w->fetch, p->number, &child, links, links_of(w, 1, links), prune, w,
                              &accepted));
    assert_false(accepted);
    assert_false(fab_fetch_seen(w->fetch, &child));
    assert_ok(fab_fetch_block(w->fetch, p->number, &root, links, links_of(w, 0, links), prune, w,
                              &accepted));
    assert_true(accepted);
    assert_true(fab_fetch_wants(w->fetch, &child));
    assert_false(fab_fetch_wants(w->fetch, &grand));
    /* The same bytes under another codec are not what was linked; another version is. */
    struct fab_cid other = child;
    other.codec = FAB_CODEC_DAG_CBOR;
    assert_false(fab_fetch_wants(w->fetch, &other));
    other = child;
    other.version = 0;
    assert_true(fab_fetch_wants(w->fetch, &other));
    /* What came cannot come again. */
    assert_ok(fab_fetch_block(w->fetch, p->number, &root, links, links_of(w, 0, links), prune, w,
                              &accepted));
    assert_false(accepted);
    assert_true(fab_fetch_seen(w->fetch, &root));
    world_free(w);
}

static void test_three_holders_share(void **state)
{
    (void)state;
    for (size_t lag = 0; lag <= 64; lag += 16) {
        struct world *w = world_new(7);
        universe_tree(&w->u, 16, 4000);
        world_begin(w, NULL);
        w->lag = lag;
        w->eager = true;
        for (unsigned i = 0; i < 3; i++)
            has_all(w, world_peer(w, i, true));
        run(w);
        assert_whole(w);
        for (unsigned i = 0; i < 3; i++)
            assert_in_range(w->peers[i].blocks - w->peers[i].useless, 4000 / 6, 4000 / 2);
        assert_in_range(w->duplicates, 0, 4000 / 10);
        world_free(w);
    }
}

/* A peer that comes late takes over half of what is left. */
static void test_a_second_holder_comes(void **state)
{
    (void)state;
    struct world *w = world_new(8);
    universe_tree(&w->u, 16, 4000);
    world_begin(w, NULL);
    w->eager = true;
    w->lag = 10;
    has_all(w, world_peer(w, 0, true));
    while (w->received < 1000)
        step(w);
    has_all(w, world_peer(w, 1, true));
    run(w);
    assert_whole(w);
    assert_in_range(w->peers[1].blocks - w->peers[1].useless, 1000, 2000);
    world_free(w);
}

static void test_missing_here_not_there(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 4; mix++) {
        struct world *w = world_new(20 + mix);
        universe_random(&w->u, 500, 100, &w->rng);
        world_begin(w, NULL);
        for (unsigned i = 0; i < 2; i++) {
            struct peer *p = world_peer(w, i, mix >> i & 1);
            for (uint32_t j = 0; j < 500; j++)
                p->has[j] = j % 2 == i;
        }
        run(w);
        assert_whole(w);
        world_free(w);
    }
}

static void test_nobody_has_it(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 4; mix++) {
        struct world *w = world_new(30 + mix);
        struct fab_cid list[8];
        universe_tree(&w->u, 4, 300);
        world_begin(w, NULL);
        for (unsigned i = 0; i < 2; i++) {
            struct peer *p = world_peer(w, i, mix >> i & 1);
            has_all(w, p);
            p->has[17] = p->has[299] = false;
        }
        run(w);
        assert_false(fab_fetch_done(w->fetch));
        assert_true(fab_fetch_stuck(w->fetch));
        assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 8), 2);
        assert_int_equal(node_of(&list[0]) + node_of(&list[1]), 17 + 299);
        assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 1), 1);
        struct fab_fetch_state s;
        fab_fetch_state(w->fetch, &s);
        assert_int_equal(s.nobody, 2);
        /* A third one has both, and what is below the first. */
        has_all(w, world_peer(w, 2, mix & 1));
        assert_false(fab_fetch_stuck(w->fetch));
        run(w);
        assert_whole(w);
        world_free(w);
    }
}

static void test_without_any_peer(void **state)
{
    (void)state;
    struct world *w = world_new(40);
    struct fab_cid list[4];
    universe_tree(&w->u, 4, 50);
    for (uint32_t i = 0; i < 50; i++)
        w->store[i] = i != 3;
    world_begin(w, NULL);
    run(w);
    assert_true(fab_fetch_stuck(w->fetch));
    assert_int_equal(fab_fetch_list_nobody(w->fetch, list, 4), 1);
    assert_int_equal(node_of(&list[0]), 3);
    has_all(w, world_peer(w, 0, true));
    run(w);
    assert_whole(w);
    assert_int_equal(w->received, 1);
    assert_int_equal(w->peers[0].blocks, 1); /* what is held below it was pruned, or not asked */
    world_free(w);
}

static void test_all_is_here(void **state)
{
    (void)state;
    struct world *w = world_new(41);
    universe_random(&w->u, 1000, 2000, &w->rng);
    for (uint32_t i = 0; i < 1000; i++)
        w->store[i] = true;
    world_begin(w, NULL);
    run(w);
    assert_whole(w);
    assert_int_equal(w->received, 0);
    world_free(w);
}

/* Inner blocks that are held while blocks below them are not; nothing that is held is sent. */
static void test_holes_below_held_blocks(void **state)
{
    (void)state;
    for (unsigned streams = 0; streams < 2; streams++) {
        struct world *w = world_new(50);
        uint64_t lacking = 0;
        universe_tree(&w->u, 5, 1000);
        for (uint32_t i = 1; i < 1000; i++)
            w->store[i] = i % 3 != 0;
        for (uint32_t i = 0; i < 1000; i++)
            lacking += !w->store[i];
        world_begin(w, NULL);
        has_all(w, world_peer(w, 0, streams));
        run(w);
        assert_whole(w);
        assert_int_equal(w->received, lacking);
        if (!streams)
            assert_int_equal(w->peers[0].blocks, lacking);
        world_free(w);
    }
}

static void test_resume(void **state)
{
    (void)state;
    struct world *w = world_new(60);
    universe_random(&w->u, 900, 300, &w->rng);
    for (unsigned round = 0;; round++) {
        assert_true(round < 12);
        world_begin(w, NULL);
        w->received = w->again = 0;
        has_all(w, world_peer(w, 0, round % 2));
        for (unsigned i = 0; i < 400 && !fab_fetch_done(w->fetch); i++)
            step(w);
        if (fab_fetch_done(w->fetch))
            break;
        fab_fetch_free(w->fetch);
        w->peers[0].used = false;
    }
    assert_whole(w);
    world_free(w);
}

static void test_peer_removed_meanwhile(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *w = world_new(seed);
        universe_random(&w->u, 600, 200, &w->rng);
        world_begin(w, NULL);
        w->lag = rng_below(&w->rng, 10);
        for (unsigned i = 0; i < 3; i++)
            has_all(w, world_peer(w, i, rng_below(&w->rng, 2)));
        while (!fab_fetch_done(w->fetch)) {
            for (unsigned i = rng_below(&w->rng, 60); i > 0 && !fab_fetch_done(w->fetch); i--)
                step(w);
            unsigned i = rng_below(&w->rng, 3);
            if (w->peers[i].used)
                world_drop(w, &w->peers[i]);
            else
                has_all(w, world_peer(w, i, rng_below(&w->rng, 2)));
        }
        assert_whole(w);
        world_free(w);
    }
}

/* All wants stand again, whether others lack them or not. */
static void test_remove_with_many_wants(void **state)
{
    (void)state;
    struct world *w = world_new(70);
    struct fab_cid cids[8];
    struct fab_fetch_state s;
    universe_tree(&w->u, 30, 31);
    w->store[0] = true;
    world_begin(w, NULL);
    struct peer *p = world_peer(w, 0, false), *q = world_peer(w, 1, false);
    while (fab_fetch_state(w->fetch, &s), s.look > 0)
        look(w);
    assert_int_equal(s.wanted, 30);
    assert_int_equal(fab_fetch_assign(w->fetch, p->number, cids, 8, NULL, NULL), 8);
    for (unsigned i = 0; i < 4; i++)
        fab_fetch_missing(w->fetch, p->number, &cids[i]);
    assert_int_equal(fab_fetch_peer_asked(w->fetch, p->number), 4);
    world_drop(w, q); /* what p lacks, now nobody has */
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.nobody, 4);
    assert_int_equal(s.wanted, 22);
    assert_int_equal(fab_fetch_peer_release(w->fetch, p->number), 4);
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.wanted, 26);
    world_drop(w, p);
    fab_fetch_state(w->fetch, &s);
    assert_int_equal(s.wanted + s.nobody, 30);
    assert_true(fab_fetch_stuck(w->fetch));
    assert_int_equal(fab_fetch_assign(w->fetch, p->number, cids, 8, NULL, NULL), 0);
    assert_int_equal(fab_fetch_peer_release(w->fetch, p->number), 0);
    world_free(w);
}

static void test_root_only(void **state)
{
    (void)state;
    for (unsigned held = 0; held < 2; held++) {
        struct world *w = world_new(80);
        struct fab_fetch_config config = {.follow = FAB_FETCH_NONE};
        universe_tree(&w->u, 4, 50);
        w->store[0] = held;
        world_begin(w, &config);
        struct peer *p = world_peer(w, 0, false);
        has_all(w, p);
        run(w);
        assert_true(fab_fetch_done(w->fetch));
        assert_int_equal(w->received, !held);
        assert_int_equal(p->blocks, !held);
        world_free(w);
    }
}

/* One peer walks: what it sends along the links is taken, what it leaves out is not waited for. */
static void test_offered(void **state)
{
    (void)state;
    struct world *w = world_new(85);
    struct fab_fetch_config config = {.follow = FAB_FETCH_OFFERED};
    struct fab_fetch_link links[LINKS];
    struct fab_cid cids[8], stranger = cid_of(&w->u, 900);
    unsigned peer, other;
    bool accepted;
    universe_tree(&w->u, 4, 300);
    struct fab_cid root = cid_of(&w->u, 0);
    assert_ok(fab_fetch_new(&config, (const uint8_t[FAB_FETCH_KEY]){1}, &root, &w->fetch));
    assert_int_equal(fab_fetch_take_look(w->fetch, cids, 8), 0); /* the peer is to read it */
    assert_ok(fab_fetch_peer_add(w->fetch, true, &peer));
    assert_int_equal(fab_fetch_assign(w->fetch, peer, cids, 8, NULL, NULL), 1);
    static const uint32_t way[] = {0, 2, 10};
    for (unsigned i = 0; i < 3; i++) {
        struct fab_cid cid = cid_of(&w->u, way[i]);
        const struct node *node = &w->u.nodes[way[i]];
        for (unsigned k = 0; k < node->n; k++)
            links[k] = (struct fab_fetch_link){.cid = cid_of(&w->u, node->links[k])};
        assert_int_equal(fab_fetch_done(w->fetch), i > 0);
        assert_ok(fab_fetch_block(w->fetch, peer, &stranger, NULL, 0, NULL, NULL, &accepted));
        assert_false(accepted);
        assert_ok(fab_fetch_block(w->fetch, peer, &cid, links, node->n, NULL, NULL, &accepted));
        assert_true(accepted);
        assert_ok(fab_fetch_block(w->fetch, peer, &cid, links, node->n, NULL, NULL, &accepted));
        assert_false(accepted); /* once */
    }
    assert_true(fab_fetch_done(w->fetch));
    assert_false(fab_fetch_stuck(w->fetch));
    fab_fetch_missing(w->fetch, peer, &links[0].cid); /* no reason to ask somebody else */
    assert_ok(fab_fetch_peer_add(w->fetch, true, &other));
    assert_int_equal(fab_fetch_assign(w->fetch, other, cids, 8, NULL, NULL), 0);
    assert_int_equal(fab_fetch_peer_asked(w->fetch, peer), 0);
    fab_fetch_peer_remove(w->fetch, peer);
    assert_true(fab_fetch_done(w->fetch));
    world_free(w);
}

static unsigned pruned;
static void count_prune(void *arg, unsigned peer, const struct fab_cid *cid)
{
    (void)arg, (void)peer, (void)cid;
    pruned++;
}

/* What is held below an offered block: a leaf need not be sent, an inner block's leaves must be. */
static void test_offered_held(void **state)
{
    (void)state;
    struct world *w = world_new(86);
    struct fab_fetch_config config = {.follow = FAB_FETCH_OFFERED};
    struct fab_cid cids[8];
    unsigned peer;
    bool accepted;
    universe_tree(&w->u, 4, 20); /* 1 to 4 are inner, 5 and more are leaves */
    struct fab_cid root = cid_of(&w->u, 0), inner = cid_of(&w->u, 1), leaf = cid_of(&w->u, 5);
    struct fab_fetch_link links[] = {{.cid = inner, .held = true}, {.cid = leaf, .held = true}};
    assert_ok(fab_fetch_new(&config, (const uint8_t[FAB_FETCH_KEY]){1}, &root, &w->fetch));
    assert_ok(fab_fetch_peer_add(w->fetch, true, &peer));
    assert_int_equal(fab_fetch_assign(w->fetch, peer, cids, 8, NULL, NULL), 1);
    pruned = 0;
    assert_ok(fab_fetch_block(w->fetch, peer, &root, links, 2, count_prune, NULL, &accepted));
    assert_int_equal(pruned, 1);
    assert_ok(fab_fetch_block(w->fetch, peer, &leaf, NULL, 0, count_prune, NULL, &accepted));
    assert_false(accepted);
    assert_ok(fab_fetch_block(w->fetch, peer, &inner, NULL, 0, count_prune, NULL, &accepted));
    assert_true(accepted);
    world_free(w);
}

static void test_several_roots(void **state)
{
    (void)state;
    static const struct fab_fetch_config config = {.follow = FAB_FETCH_NONE};
    struct world *w = world_new(50);
    universe_tree(&w->u, 4, 300);
    w->store[7] = true;
    world_begin(w, &config);
    for (uint32_t i = 1; i < 10; i++) {
        struct fab_cid cid = cid_of(&w->u, i);
        assert_ok(fab_fetch_add(w->fetch, &cid));
        assert_ok(fab_fetch_add(w->fetch, &cid)); /* once more changes nothing */
    }
    has_all(w, world_peer(w, 0, false));
    run(w);
    assert_true(fab_fetch_done(w->fetch));
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(w->store[i], i < 10);
    assert_int_equal(w->received, 9); /* without the one that was here */
    world_free(w);
}

static void test_limits(void **state)
{
    (void)state;
    /* Peers. */
    struct world *w = world_new(90);
    unsigned number;
    universe_tree(&w->u, 30, 60);
    w->store[0] = true;
    struct fab_fetch_config config = {.wants_max = 20};
    world_begin(w, &config);
    for (unsigned i = 0; i < FAB_FETCH_PEERS_MAX; i++) {
        assert_ok(fab_fetch_peer_add(w->fetch, i % 2, &number));
        assert_int_equal(number, i);
    }
    assert_int_equal(fab_fetch_peer_add(w->fetch, true, &number), FAB_ELIMIT);
    fab_fetch_peer_remove(w->fetch, 5);
    assert_ok(fab_fetch_peer_add(w->fetch, true, &number));
    assert_int_equal(number, 5);
    /* Wants. */
    struct fab_cid root;
    struct fab_fetch_link links[LINKS];
    assert_int_equal(fab_fetch_take_look(w->fetch, &root, 1), 1);
    assert_int_equal(fab_fetch_found(w->fetch, &root, links, links_of(w, 0, links)), FAB_ELIMIT);
    world_free(w);
    /* What came is forgotten beyond seen_max: shared blocks may come twice, and all arrive. */
    w = world_new(91);
    config = (struct fab_fetch_config){.seen_max = 10};
    universe_random(&w->u, 300, 300, &w->rng);
    world_begin(w, &config);
    for (uint32_t i = 0; i < 300; i++)
        w->here[i] = true; /* twice is no fault here */
    has_all(w, world_peer(w, 0, false));
    for (unsigned steps = 0; !fab_fetch_done(w->fetch) && steps < 100000; steps++) {
        struct fab_cid cid;
        bool accepted;
        look(w);
        if (fab_fetch_assign(w->fetch, 0, &cid, 1, NULL, NULL) == 0)
            continue;
        assert_ok(fab_fetch_block(w->fetch, 0, &cid, links, links_of(w, node_of(&cid), links), NULL,
                                  NULL, &accepted));
        assert_true(accepted);
        w->store[node_of(&cid)] = true;
    }
    for (uint32_t i = 0; i < 300; i++)
        assert_true(w->store[i]);
    assert_true(fab_fetch_done(w->fetch));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_one_streaming_peer_sends_nothing_twice),
        cmocka_unit_test(test_only_what_is_linked),
        cmocka_unit_test(test_three_holders_share),
        cmocka_unit_test(test_a_second_holder_comes),
        cmocka_unit_test(test_missing_here_not_there),
        cmocka_unit_test(test_nobody_has_it),
        cmocka_unit_test(test_without_any_peer),
        cmocka_unit_test(test_all_is_here),
        cmocka_unit_test(test_holes_below_held_blocks),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_peer_removed_meanwhile),
        cmocka_unit_test(test_remove_with_many_wants),
        cmocka_unit_test(test_root_only),
        cmocka_unit_test(test_offered),
        cmocka_unit_test(test_offered_held),
        cmocka_unit_test(test_several_roots),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
