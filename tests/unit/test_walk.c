/* Walking DAGs: each block once, parents first, missing blocks, limits. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dag_cbor.h"
#include "storage/dag/walk.h"

struct log {
    struct mem_blocks *blocks;
    struct fab_cid order[64];
    size_t count, raws, missing;
    enum fab_rc answer;
};

static enum fab_rc on_block(void *arg, const struct fab_cid *cid, struct fab_slice data)
{
    struct log *l = arg;
    struct fab_slice other;
    struct fab_block_source source = mem_source(l->blocks);
    assert_ok(fab_cid_check(cid, data));
    if (l->count < 64)
        l->order[l->count] = *cid;
    l->count++;
    /* A refresh, as the last thing. */
    assert_ok(fab_block_get(&source, &l->blocks->blocks[0].cid, &other));
    return l->answer;
}

static enum fab_rc on_raw(void *arg, const struct fab_cid *cid)
{
    struct log *l = arg;
    assert_int_equal(cid->codec, FAB_CODEC_RAW);
    l->raws++;
    return FAB_OK;
}

static enum fab_rc on_missing(void *arg, const struct fab_cid *cid)
{
    struct log *l = arg;
    assert_null(mem_find(l->blocks, cid));
    l->missing++;
    return FAB_OK;
}

static struct fab_cid put(struct mem_blocks *blocks, uint64_t codec, struct fab_slice s)
{
    struct fab_cid cid;
    assert_ok(fab_cid_of(1, codec, FAB_MH_SHA2_256, s, &cid));
    assert_ok(mem_put(blocks, &cid, s));
    return cid;
}

/* A dag-cbor list of links. */
static struct fab_cid list(struct mem_blocks *blocks, const struct fab_cid *links, size_t count)
{
    struct fab_buf buf;
    fab_buf_init(&buf, 1 << 20);
    assert_ok(fab_cbor_put_array(&buf, count));
    for (size_t i = 0; i < count; i++)
        assert_ok(fab_cbor_put_cid(&buf, &links[i]));
    struct fab_cid cid = put(blocks, FAB_CODEC_DAG_CBOR, fab_buf_slice(&buf));
    fab_buf_fini(&buf);
    return cid;
}

static enum fab_rc run(struct mem_blocks *blocks, const struct fab_cid *root, struct log *l,
                       bool with_missing, bool with_raw, size_t limit)
{
    struct fab_block_source source = mem_source(blocks);
    struct fab_visited_set *set;
    l->blocks = blocks;
    assert_ok(fab_visited_set_new(limit, &set));
    struct fab_walk walk = {.source = &source,
                            .visited = fab_visited_set_table(set),
                            .arg = l,
                            .block = on_block,
                            .raw = with_raw ? on_raw : NULL,
                            .missing = with_missing ? on_missing : NULL};
    enum fab_rc rc = fab_walk_dag(&walk, root);
    if (rc == FAB_OK)
        assert_int_equal(fab_visited_set_count(set), l->count + l->raws + l->missing);
    fab_visited_set_free(set);
    return rc;
}

/* root -> [a -> [x, y], b -> [y, x, a]]: shared children and order. */
static void test_order(void **state)
{
    struct mem_blocks blocks = {.volatile_slices = true};
    (void)state;
    struct fab_cid x = put(&blocks, FAB_CODEC_RAW, fab_slice("x", 1));
    struct fab_cid y = put(&blocks, FAB_CODEC_RAW, fab_slice("y", 1));
    struct fab_cid a = list(&blocks, (struct fab_cid[]){x, y}, 2);
    struct fab_cid b = list(&blocks, (struct fab_cid[]){y, x, a}, 3);
    struct fab_cid root = list(&blocks, (struct fab_cid[]){a, b}, 2);
    struct log l = {0};
    assert_ok(run(&blocks, &root, &l, false, false, 100));
    const struct fab_cid expect[] = {root, a, x, y, b};
    assert_int_equal(l.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(fab_cid_eq(&l.order[i], &expect[i]));

    l = (struct log){0};
    assert_ok(run(&blocks, &root, &l, false, true, 100));
    assert_int_equal(l.count, 3);
    assert_int_equal(l.raws, 2);

    l = (struct log){.answer = FAB_EINTERRUPTED};
    assert_int_equal(run(&blocks, &root, &l, false, false, 100), FAB_EINTERRUPTED);
    assert_int_equal(l.count, 1);

    l = (struct log){0};
    assert_int_equal(run(&blocks, &root, &l, false, false, 4), FAB_ELIMIT);
    assert_ok(run(&blocks, &root, &(struct log){0}, false, false, 5));

    mem_drop(&blocks, &a);
    mem_drop(&blocks, &y);
    l = (struct log){0};
    assert_int_equal(run(&blocks, &root, &l, false, false, 100), FAB_ENOENT);
    l = (struct log){0};
    assert_ok(run(&blocks, &root, &l, true, false, 100));
    assert_int_equal(l.missing, 2);
    assert_int_equal(l.count, 3);
    mem_fini(&blocks);
}

/* The same bytes under two codecs are two nodes: as raw they have no links. */
static void test_codecs_apart(void **state)
{
    struct mem_blocks blocks = {0};
    struct log l = {0};
    (void)state;
    struct fab_cid x = put(&blocks, FAB_CODEC_RAW, fab_slice("x", 1));
    struct fab_cid node = list(&blocks, &x, 1);
    struct fab_cid as_raw = node;
    as_raw.codec = FAB_CODEC_RAW;
    struct fab_cid root = list(&blocks, (struct fab_cid[]){as_raw, node}, 2);
    assert_ok(run(&blocks, &root, &l, false, false, 100));
    assert_int_equal(l.count, 4);
    /* Versions are not two nodes. */
    struct fab_dag_entry e =
        import_slice(fab_profile_find("unixfs-v0-2015"), NULL, &blocks, fab_slice("x", 1));
    struct fab_cid v1 = e.cid;
    v1.version = 1;
    root = list(&blocks, (struct fab_cid[]){e.cid, v1}, 2);
    l = (struct log){0};
    assert_ok(run(&blocks, &root, &l, false, false, 100));
    assert_int_equal(l.count, 2);
    mem_fini(&blocks);
}

static void test_depth(void **state)
{
    struct mem_blocks blocks = {0};
    (void)state;
    struct fab_cid cid = put(&blocks, FAB_CODEC_RAW, fab_slice("x", 1));
    for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
        cid = list(&blocks, &cid, 1);
    struct log l = {0};
    assert_ok(run(&blocks, &cid, &l, false, false, 1000));
    assert_int_equal(l.count, FAB_DEPTH_MAX + 1);
    cid = list(&blocks, &cid, 1);
    l = (struct log){0};
    assert_int_equal(run(&blocks, &cid, &l, false, false, 1000), FAB_ELIMIT);
    mem_fini(&blocks);
}

static void test_malformed_and_unknown(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_visited_set *set;
    struct log l = {.blocks = &blocks};
    (void)state;
    struct fab_cid bad = put(&blocks, FAB_CODEC_DAG_CBOR, fab_slice("\xff", 1));
    assert_int_equal(run(&blocks, &bad, &l, true, false, 100), FAB_EFORMAT);
    assert_int_equal(l.count, 0);
    struct fab_cid other = put(&blocks, 0x78, fab_slice("git", 3));
    assert_int_equal(run(&blocks, &other, &l, true, false, 100), FAB_EUNSUPPORTED);
    assert_ok(fab_visited_set_new(10, &set));
    struct fab_walk walk = {.source = &source,
                            .visited = fab_visited_set_table(set),
                            .arg = &l,
                            .block = on_block,
                            .allow_unknown = true};
    assert_ok(fab_walk_dag(&walk, &other));
    assert_int_equal(l.count, 1);
    fab_visited_set_free(set);
    fab_visited_set_free(NULL);
    mem_fini(&blocks);
}

static void test_visited_set(void **state)
{
    enum { COUNT = 20000 };
    struct fab_visited_set *set;
    bool fresh;
    (void)state;
    assert_ok(fab_visited_set_new(COUNT, &set));
    struct fab_visited table = fab_visited_set_table(set);
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            struct fab_cid cid;
            /* Both kinds of keys: long digests and bytes that their writer chose. */
            assert_ok(fab_cid_of(1, FAB_CODEC_RAW, i % 2 ? FAB_MH_SHA2_256 : FAB_MH_IDENTITY,
                                 fab_slice(&i, sizeof i), &cid));
            assert_ok(table.add(table.ctx, &cid, &fresh));
            assert_int_equal(fresh, round == 0);
        }
    }
    assert_int_equal(fab_visited_set_count(set), COUNT);
    struct fab_cid one_more;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("more", 4), &one_more));
    assert_int_equal(table.add(table.ctx, &one_more, &fresh), FAB_ELIMIT);
    fab_visited_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),       cmocka_unit_test(test_codecs_apart),
        cmocka_unit_test(test_depth),       cmocka_unit_test(test_malformed_and_unknown),
        cmocka_unit_test(test_visited_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
