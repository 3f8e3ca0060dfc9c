/* HAMT arithmetic and encoding. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/dir_reader.h"
#include "storage/dag/hamt.h"
#include "storage/dag/murmur3.h"

static uint64_t hash_of(const char *name)
{
    return fab_murmur3_64(fab_slice(name, strlen(name)));
}

/* Smhasher's values for MurmurHash3_x64_128, seed 0, first half; and the two names of the
 * specification. */
static void test_murmur3(void **state)
{
    (void)state;
    assert_true(hash_of("") == 0);
    assert_true(hash_of("hello") == UINT64_C(0xcbd8a7b341bd9b02));
    assert_true(hash_of("hello, world") == UINT64_C(0x342fac623a5ebc8e));
    assert_true(hash_of("19 Jan 2038 at 3:14:07 AM") == UINT64_C(0xb89e5988b737affc));
    assert_true(hash_of("The quick brown fox jumps over the lazy dog.") ==
                UINT64_C(0xcd99481f9ee902c9));
    assert_int_equal(hash_of("470.txt") >> 48, 0x006e);
    assert_int_equal(hash_of("742.txt") >> 48, 0x00ff);
}

static void test_shape(void **state)
{
    struct fab_hamt_shape s;
    (void)state;
    for (uint64_t f = 0; f < 5000; f++) {
        bool good = f == 8 || f == 16 || f == 32 || f == 64 || f == 128 || f == 256 || f == 512 ||
                    f == 1024;
        assert_int_equal(fab_hamt_shape(f, &s), good ? FAB_OK : FAB_EFORMAT);
    }
    assert_int_equal(fab_hamt_shape(UINT64_MAX, &s), FAB_EFORMAT);
    assert_int_equal(fab_hamt_shape((UINT64_C(1) << 32) + 8, &s), FAB_EFORMAT);
    assert_ok(fab_hamt_shape(256, &s));
    assert_int_equal(s.prefix, 2);
    assert_int_equal(s.levels, 8);
    assert_int_equal(fab_hamt_bucket(&s, UINT64_C(0x0123456789abcdef), 0), 0x01);
    assert_int_equal(fab_hamt_bucket(&s, UINT64_C(0x0123456789abcdef), 7), 0xef);
    assert_ok(fab_hamt_shape(8, &s));
    assert_int_equal(s.prefix, 1);
    assert_int_equal(s.levels, 21);
    assert_int_equal(fab_hamt_bucket(&s, UINT64_C(0xe000000000000000), 0), 7);
    assert_int_equal(fab_hamt_bucket(&s, UINT64_C(0x1c00000000000000), 1), 7);
    assert_int_equal(fab_hamt_bucket(&s, 0xe, 20), 7);
    assert_ok(fab_hamt_shape(1024, &s));
    assert_int_equal(s.prefix, 3);
    assert_int_equal(s.levels, 6);
}

static void test_prefix(void **state)
{
    struct fab_hamt_shape s;
    unsigned bucket;
    (void)state;
    assert_ok(fab_hamt_shape(256, &s));
    assert_ok(fab_hamt_prefix_read(&s, fab_slice("0Aname", 6), &bucket));
    assert_int_equal(bucket, 10);
    assert_ok(fab_hamt_prefix_read(&s, fab_slice("FF", 2), &bucket));
    assert_int_equal(bucket, 255);
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("0aname", 6), &bucket), FAB_EFORMAT);
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("A", 1), &bucket), FAB_EFORMAT);
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("A\0", 2), &bucket), FAB_EFORMAT);
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("", 0), &bucket), FAB_EFORMAT);
    assert_ok(fab_hamt_shape(8, &s));
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("8", 1), &bucket), FAB_EFORMAT);
    assert_ok(fab_hamt_shape(512, &s));
    assert_int_equal(fab_hamt_prefix_read(&s, fab_slice("200", 3), &bucket), FAB_EFORMAT);
    assert_ok(fab_hamt_prefix_read(&s, fab_slice("1FF", 3), &bucket));
    assert_int_equal(bucket, 0x1ff);
}

static void test_bitfield(void **state)
{
    static const uint8_t bits[] = {0x80, 0x01};
    (void)state;
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(fab_hamt_bit(fab_slice(bits, 2), i), i == 0 || i == 15);
    assert_false(fab_hamt_bit(fab_slice(NULL, 0), 0));
}

/* ---- building with hashes of our choice ---- */

#define ENTRIES_MAX 8

static enum fab_rc build(struct mem_blocks *blocks, unsigned fanout, const uint64_t *hashes,
                         size_t count, struct fab_dag_entry *out)
{
    static const char names[ENTRIES_MAX] = "abcdefgh";
    struct fab_profile profile = *fab_profile_default();
    struct fab_hamt_entry entries[ENTRIES_MAX];
    uint8_t bytes[ENTRIES_MAX][1 + FAB_CID_MAX];
    struct fab_block_sink sink = mem_sink(blocks);
    struct fab_cid cid;
    profile.hamt_fanout = fanout;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &cid));
    for (size_t i = 0; i < count; i++) {
        bytes[i][0] = (uint8_t)names[i];
        size_t n = fab_cid_bytes(&cid, bytes[i] + 1);
        entries[i] = (struct fab_hamt_entry){
            .hash = hashes[i], .tsize = 1, .bytes = bytes[i], .name_len = 1, .cid_len = (uint8_t)n};
    }
    return fab_hamt_build(&profile, entries, count, NULL, &sink, out);
}

static void test_build_shape(void **state)
{
    static const uint64_t hashes[] = {UINT64_C(0x0100000000000000), UINT64_C(0x0a00000000000000),
                                      UINT64_C(0x0a01000000000000)};
    struct mem_blocks blocks = {0};
    struct fab_dag_entry e;
    struct fab_pb_node pb;
    struct fab_pb_link link;
    struct fab_unixfs fs;
    uint64_t bytes = 0;
    (void)state;
    assert_ok(build(&blocks, 256, hashes, 3, &e));
    assert_int_equal(blocks.count, 2);
    for (size_t i = 0; i < blocks.count; i++)
        bytes += blocks.blocks[i].n;
    assert_int_equal(e.tsize, bytes + 3);
    assert_int_equal(e.size, 3);
    struct mem_block *root = mem_find(&blocks, &e.cid);
    assert_non_null(root);
    assert_ok(fab_pb_decode(fab_slice(root->data, root->n), &pb));
    assert_ok(fab_unixfs_decode(pb.data, &fs));
    assert_int_equal(fs.type, FAB_UNIXFS_HAMT);
    assert_int_equal(fs.fanout, 256);
    assert_int_equal(fs.hash_type, 0x22);
    /* Buckets 1 and 10: two bytes, the 30 zero bytes before them are left out. */
    assert_int_equal(fs.data.n, 2);
    assert_memory_equal(fs.data.p, "\x04\x02", 2);
    struct fab_pb_links it = fab_pb_links(&pb);
    assert_true(fab_pb_links_next(&it, &link));
    assert_true(fab_slice_eq(link.name, fab_slice("01a", 3)));
    assert_true(fab_pb_links_next(&it, &link));
    assert_true(fab_slice_eq(link.name, fab_slice("0A", 2)));
    assert_false(fab_pb_links_next(&it, &link));
    mem_fini(&blocks);
}

/* Names that differ in the last usable bits only, and not at all. */
static void test_build_depth(void **state)
{
    static const struct {
        unsigned fanout;
        uint64_t a, b;
        enum fab_rc rc;
        size_t shards;
    } cases[] = {
        {256, 0, 1, FAB_OK, 8},   {256, 5, 5, FAB_ELIMIT, 0},   {8, 0, 2, FAB_OK, 21},
        {8, 0, 1, FAB_ELIMIT, 0}, /* bit 63 is beyond the 21 levels of three bits */
        {1024, 0, 16, FAB_OK, 6}, {1024, 0, 15, FAB_ELIMIT, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint64_t hashes[2] = {cases[i].a, cases[i].b};
        struct mem_blocks blocks = {0};
        struct fab_dag_entry e;
        assert_int_equal(build(&blocks, cases[i].fanout, hashes, 2, &e), cases[i].rc);
        if (cases[i].rc == FAB_OK)
            assert_int_equal(blocks.count, cases[i].shards);
        mem_fini(&blocks);
    }
}

static enum fab_rc count_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                               uint64_t tsize)
{
    (void)name;
    (void)cid;
    (void)tsize;
    ++*(size_t *)arg;
    return FAB_OK;
}

/* The reader refuses names that do not hash to where they stand; here no name does. */
static void test_reader_checks_places(void **state)
{
    static const uint64_t hashes[] = {UINT64_C(0x0100000000000000), UINT64_C(0x0200000000000000)};
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_dag_entry e;
    size_t count = 0;
    (void)state;
    assert_ok(build(&blocks, 256, hashes, 2, &e));
    assert_int_equal(fab_dir_each(&source, &e.cid, count_entry, &count), FAB_EFORMAT);
    mem_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_murmur3),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_bitfield),
        cmocka_unit_test(test_build_shape),
        cmocka_unit_test(test_build_depth),
        cmocka_unit_test(test_reader_checks_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
