/* Building files: CIDs against Kubo 0.42's, sizes, levels, attributes, and what goes to the sink.
 */
#include "tests/support/dag_fixture.h"

#include "storage/dag/links.h"

static void seeded_data(const char *seed, uint8_t *out, size_t n)
{
    struct seeded s;
    seeded_init(&s, seed);
    seeded_bytes(&s, out, n);
}

static void test_empty(void **state)
{
    static const char *vectors[][2] = {
        {"unixfs-v1-2025", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
        {"cid-v1-plain", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
        {"unixfs-v0-2015", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct mem_blocks blocks = {0};
        struct fab_dag_entry e =
            import_slice(fab_profile_find(vectors[i][0]), NULL, &blocks, fab_slice(NULL, 0));
        assert_cid(&e.cid, vectors[i][1]);
        assert_int_equal(e.size, 0);
        assert_int_equal(e.tsize, i < 2 ? 0 : 6);
        assert_int_equal(blocks.count, 1);
        mem_fini(&blocks);
    }
}

struct attr_vector {
    const char *profile, *cid;
    struct fab_unixfs_attr attr;
    size_t size; /* 5: "hello"; else bytes of the seed */
};

#define MODE(m)     .has_mode = true, .mode = (m)
#define MTIME(s, n) .has_mtime = true, .mtime = (s), .mtime_nsec = (n)

/* ipfs add --raw-leaves=false --mode=... --mtime=... */
static const struct attr_vector attr_vectors[] = {
    {"unixfs-v1-2025",
     "bafybeiahqpygmyokcaboaiixp3jdmgyuozbyxgikvkzg6kmprzdhuhcqty",
     {MODE(0644)},
     5},
    {"unixfs-v1-2025",
     "bafybeieeaqxhlbbu4rgb6rlbjpdiqfni2viocbypnq6f3deubcajtauizm",
     {MTIME(1700000000, 500000000)},
     5},
    {"unixfs-v1-2025",
     "bafybeig6g6ykoengfs3xt4rkfbsa262oms67osykxhs5e77isboc5i72dm",
     {MTIME(-100, 0)},
     5},
    {"unixfs-v1-2025",
     "bafybeideik4j426aghkk3ponx7cebrus5im36cibj4yqeto3jece7r4o3u",
     {MODE(0755), MTIME(1700000000, 0)},
     3000000},
    {"unixfs-v1-2025",
     "bafybeidl5v4cggqe2xoesik63cdazahpqvkhl3sc75kyegu6eezdycsp2q",
     {MODE(0644)},
     0},
    {"unixfs-v1-2025",
     "bafybeid7xqfbscrtlxectsxzul5xortd3k7jq6gkyrhekwc5t5m2fm4idq",
     {.has_mode = false},
     3000000},
    {"cid-v1-plain",
     "bafybeieqxzkir6uwdeiqklznwuxubss4wy2j3pozafxzvdow6y3pi2elfy",
     {MODE(0755), MTIME(1700000000, 0)},
     3000000},
    {"cid-v1-plain",
     "bafybeiawlb2642ht5h7qefqg52m2d2vlmmutgarpqyf4rxdbofk6rp3ixu",
     {.has_mode = false},
     3000000},
    {"unixfs-v0-2015", "QmNqzFWcJHcaAQk5tiD4QVNuPxfurgDHHQrX9CDQze6165", {MODE(0644)}, 5},
    {"unixfs-v0-2015",
     "QmXDzDvztJSDYwRfKDuJfHBvyAFgocTwFxuGFyS78BLdfg",
     {MTIME(1700000000, 500000000)},
     5},
    {"unixfs-v0-2015", "QmdJ6UGhvqpuRZSwxcTLTifjhAWWpoMStYKYqEDCF1MN3L", {MTIME(-100, 0)}, 5},
    {"unixfs-v0-2015",
     "QmTntfVEv2pfLyZAUdYXbc1yNUvASANhF4GpGHLXmbrCXE",
     {MODE(0755), MTIME(1700000000, 0)},
     3000000},
    {"unixfs-v0-2015", "QmVbxMPBZnYu7HqqMp9sHQqbY3tBvp5LhaXXmyiYxB2k2f", {MODE(0644)}, 0},
    {"unixfs-v0-2015",
     "QmYhHcSaYvU7xo2S2qjDjfN4TREU9sfDX8FhVSi5TezWc6",
     {.has_mode = false},
     3000000},
};

static void test_attributes(void **state)
{
    uint8_t *data = malloc(3000000);
    (void)state;
    assert_non_null(data);
    seeded_data("chunker-seed", data, 3000000);
    for (size_t i = 0; i < sizeof attr_vectors / sizeof attr_vectors[0]; i++) {
        const struct attr_vector *v = &attr_vectors[i];
        struct mem_blocks blocks = {0};
        struct fab_slice s = v->size == 5 ? fab_slice("hello", 5) : fab_slice(data, v->size);
        struct fab_dag_entry e = import_slice(fab_profile_find(v->profile), &v->attr, &blocks, s);
        assert_cid(&e.cid, v->cid);
        assert_non_null(mem_find(&blocks, &e.cid));
        mem_fini(&blocks);
    }
    free(data);
}

/* Leaves of 10 bytes, 3 links per node: every shape from one leaf to several levels. */
static const struct fab_profile tiny = {.name = "tiny",
                                        .cid_version = 1,
                                        .chunk_size = 10,
                                        .file_links = 3,
                                        .raw_leaves = true,
                                        .hamt_fanout = 256,
                                        .hamt_threshold = 262144};

struct shape {
    struct mem_blocks *blocks;
    uint64_t bytes;
    unsigned leaves;
    unsigned leaf_depth, depth; /* leaf_depth: of the first leaf, all others must have it too */
};

static enum fab_rc shape_visit(void *arg, const struct fab_cid *cid)
{
    struct shape *s = arg;
    struct mem_block *b = mem_find(s->blocks, cid);
    assert_non_null(b);
    s->bytes += b->n;
    if (cid->codec == FAB_CODEC_RAW) {
        if (s->leaves++ == 0)
            s->leaf_depth = s->depth;
        assert_int_equal(s->depth, s->leaf_depth);
        return FAB_OK;
    }
    s->depth++;
    assert_ok(fab_dag_links(cid->codec, fab_slice(b->data, b->n), shape_visit, s));
    s->depth--;
    return FAB_OK;
}

static void test_levels(void **state)
{
    uint8_t data[900];
    (void)state;
    seeded_data("levels", data, sizeof data);
    for (size_t n = 1; n <= sizeof data; n += n < 100 ? 1 : 37) {
        struct mem_blocks blocks = {0};
        struct shape shape = {.blocks = &blocks};
        unsigned leaves = (unsigned)(n + 9) / 10, depth = 0;
        struct fab_dag_entry e = import_slice(&tiny, NULL, &blocks, fab_slice(data, n));
        for (unsigned full = 1; full < leaves; full *= 3)
            depth++;
        assert_ok(shape_visit(&shape, &e.cid));
        assert_int_equal(shape.leaves, leaves);
        assert_int_equal(shape.leaf_depth, depth);
        assert_int_equal(e.size, n);
        assert_int_equal(e.tsize, shape.bytes);
        mem_fini(&blocks);
    }
}

/* One leaf that needs attributes makes one new root; the sink gets that and nothing else. */
static void test_sink_of_one_leaf(void **state)
{
    struct fab_unixfs_attr attr = {MODE(0600)};
    struct fab_buf scratch;
    (void)state;
    fab_buf_init(&scratch, FAB_BLOCK_MAX);
    for (unsigned with = 0; with < 2; with++) {
        struct mem_blocks blocks = {0};
        struct fab_block_sink sink = mem_sink(&blocks);
        struct fab_file_builder *b;
        struct fab_leaf leaf;
        struct fab_dag_entry e;
        const struct fab_unixfs_attr *a = with ? &attr : NULL;
        bool raw = fab_file_raw_leaves(&tiny, a);
        assert_int_equal(raw, !with);
        assert_ok(fab_file_leaf(&tiny, raw, fab_slice("abc", 3), &scratch, &leaf));
        assert_ok(fab_file_builder_new(&tiny, a, &sink, &b));
        assert_ok(fab_file_builder_add(b, &leaf));
        assert_ok(fab_file_builder_finish(b, &e));
        assert_int_equal(blocks.count, with);
        assert_int_equal(fab_cid_eq(&e.cid, &leaf.cid), !with);
        assert_int_equal(e.size, 3);
        fab_file_builder_free(b);
        mem_fini(&blocks);
    }
    fab_buf_fini(&scratch);
}

static enum fab_rc full_put(void *ctx, const struct fab_cid *cid, struct fab_slice data)
{
    (void)ctx;
    (void)cid;
    (void)data;
    return FAB_ENOSPC;
}

static void test_errors(void **state)
{
    struct fab_profile narrow = tiny;
    struct fab_block_sink sink = {NULL, full_put};
    struct fab_file_builder *b;
    struct fab_dag_entry e;
    struct fab_leaf leaf;
    struct fab_buf scratch;
    (void)state;
    narrow.file_links = 1;
    assert_int_equal(fab_file_builder_new(&narrow, NULL, &sink, &b), FAB_EINVAL);

    fab_buf_init(&scratch, FAB_BLOCK_MAX);
    uint8_t *large = calloc(1, FAB_CHUNK_MAX + 1);
    assert_non_null(large);
    for (unsigned raw = 0; raw < 2; raw++) {
        assert_ok(fab_file_leaf(&tiny, raw, fab_slice(large, FAB_CHUNK_MAX), &scratch, &leaf));
        assert_true(leaf.block.n <= FAB_BLOCK_MAX);
        assert_int_equal(
            fab_file_leaf(&tiny, raw, fab_slice(large, FAB_CHUNK_MAX + 1), &scratch, &leaf),
            FAB_ELIMIT);
    }
    free(large);

    assert_ok(fab_file_builder_new(&tiny, NULL, &sink, &b));
    assert_ok(fab_file_leaf(&tiny, true, fab_slice("abc", 3), &scratch, &leaf));
    for (unsigned i = 0; i < 3; i++)
        assert_ok(fab_file_builder_add(b, &leaf));
    assert_int_equal(fab_file_builder_add(b, &leaf), FAB_ENOSPC);
    fab_file_builder_free(b);
    assert_ok(fab_file_builder_new(&tiny, NULL, &sink, &b));
    assert_int_equal(fab_file_builder_finish(b, &e), FAB_ENOSPC);
    fab_file_builder_free(b);
    fab_file_builder_free(NULL);
    fab_buf_fini(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),  cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_levels), cmocka_unit_test(test_sink_of_one_leaf),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
