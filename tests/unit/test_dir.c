/* Directories: built (CIDs against Kubo 0.42's), listed, searched, and shards made to mislead. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/dir_builder.h"
#include "storage/dag/dir_reader.h"
#include "storage/dag/hamt.h"
#include "storage/dag/murmur3.h"

static void add_text(struct fab_dir_builder *b, const char *name, const struct fab_cid *cid,
                     uint64_t tsize)
{
    assert_ok(fab_dir_builder_add(b, fab_slice(name, strlen(name)), cid, tsize));
}

/* A folder of a file `h` ("hello") and a symlink `l` to ../target; `ipfs add -r --raw-leaves=false`
 * for those with attributes, which Kubo gives to every entry. */
static void test_kubo(void **state)
{
#define ATTR_MODE  .has_mode = true, .mode = 0755
#define ATTR_MTIME .has_mtime = true, .mtime = 1700000000
    static const struct {
        const char *profile, *cid;
        struct fab_unixfs_attr attr;
    } vectors[] = {
        {"unixfs-v1-2025",
         "bafybeical6xo3btlyohdt4pgvdjxrifufynifbso7thepk2yezabt6omtq",
         {.has_mode = false}},
        {"cid-v1-plain",
         "bafybeical6xo3btlyohdt4pgvdjxrifufynifbso7thepk2yezabt6omtq",
         {.has_mode = false}},
        {"unixfs-v0-2015", "QmPWkA4xSP1bsS6XT7BCYFy4gN66QDzZosLcAAFgiYGetZ", {.has_mode = false}},
        {"unixfs-v1-2025",
         "bafybeidvtlwr2d5gk3iup3gsctdasyfvyg7ni5iatmgaytupqbq3gi565i",
         {ATTR_MODE, ATTR_MTIME}},
        {"unixfs-v1-2025",
         "bafybeic7jm46q2brgk76bt4daojznkehsq34rj32sg64a2viyevokssg7e",
         {ATTR_MODE}},
        {"unixfs-v1-2025",
         "bafybeid55s4o7foqt74pkq6c2axbtlc5jlq72mfkui6g6cjpwvhad7hajm",
         {ATTR_MTIME}},
        {"unixfs-v0-2015",
         "QmWg81m8y5m87mm9Z3i2GRcxKhZk6t43Qx6i5KoaJHkVLm",
         {ATTR_MODE, ATTR_MTIME}},
        {"unixfs-v0-2015", "QmcMdRiDZCGUu9979mDLQtDV8TBrgGoLUoQb1jDt3tu1EJ", {ATTR_MODE}},
        {"unixfs-v0-2015", "QmfKEDXUFQV7K6eHizdyFeouc8UKejGM79BujmLmsGh1Hy", {ATTR_MTIME}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct fab_profile *profile = fab_profile_find(vectors[i].profile);
        struct mem_blocks blocks = {0};
        struct fab_block_sink sink = mem_sink(&blocks);
        struct fab_dir_builder *b;
        struct fab_dag_entry file, dir;
        struct fab_cid link;
        struct fab_buf buf;
        file = import_slice(profile, &vectors[i].attr, &blocks, fab_slice("hello", 5));
        fab_buf_init(&buf, 8192);
        assert_ok(fab_unixfs_symlink(fab_slice("../target", 9), &vectors[i].attr, &buf));
        assert_ok(fab_cid_of(profile->cid_version, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256,
                             fab_buf_slice(&buf), &link));
        assert_ok(fab_dir_builder_new(profile, 0, &b));
        add_text(b, "l", &link, buf.len);
        add_text(b, "h", &file.cid, file.tsize);
        assert_ok(fab_dir_builder_finish(b, &vectors[i].attr, &sink, &dir));
        assert_cid(&dir.cid, vectors[i].cid);
        fab_dir_builder_free(b);
        fab_buf_fini(&buf);
        mem_fini(&blocks);
    }
}

static void test_names(void **state)
{
    struct fab_cid cid;
    struct fab_dir_builder *b;
    char *longest = malloc(FAB_NAME_MAX + 1);
    (void)state;
    assert_non_null(longest);
    memset(longest, 'n', FAB_NAME_MAX + 1);
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &cid));
    assert_ok(fab_dir_builder_new(fab_profile_default(), 0, &b));
    assert_int_equal(fab_dir_builder_add(b, fab_slice("", 0), &cid, 1), FAB_EINVAL);
    assert_int_equal(fab_dir_builder_add(b, fab_slice("a/b", 3), &cid, 1), FAB_EINVAL);
    assert_int_equal(fab_dir_builder_add(b, fab_slice("a\0b", 3), &cid, 1), FAB_EINVAL);
    assert_int_equal(fab_dir_builder_add(b, fab_slice(longest, FAB_NAME_MAX + 1), &cid, 1),
                     FAB_EINVAL);
    assert_int_equal(fab_dir_builder_count(b), 0);
    assert_ok(fab_dir_builder_add(b, fab_slice(longest, FAB_NAME_MAX), &cid, 1));
    assert_ok(fab_dir_builder_add(b, fab_slice("\xff\x01\n", 3), &cid, 1));
    assert_ok(fab_dir_builder_add(b, fab_slice("a", 1), &cid, 1));
    assert_ok(fab_dir_builder_add(b, fab_slice("A", 1), &cid, 1));
    assert_int_equal(fab_dir_builder_add(b, fab_slice("a", 1), &cid, 1), FAB_EEXIST);
    assert_int_equal(fab_dir_builder_count(b), 4);
    fab_dir_builder_free(b);
    fab_dir_builder_free(NULL);

    assert_ok(fab_dir_builder_new(fab_profile_default(), 100000, &b));
    enum fab_rc rc = FAB_OK;
    for (unsigned i = 0; rc == FAB_OK && i < 100000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        rc = fab_dir_builder_add(b, fab_slice(name, strlen(name)), &cid, 1);
    }
    assert_int_equal(rc, FAB_ELIMIT);
    fab_dir_builder_free(b);
    free(longest);
}

/* ---- many entries, both forms ---- */

struct seen {
    struct mem_blocks *blocks;
    struct fab_block_source *source;
    unsigned count, total;
    uint8_t *flags;
};

static enum fab_rc see(void *arg, struct fab_slice name, const struct fab_cid *cid, uint64_t tsize)
{
    struct seen *s = arg;
    char text[16];
    struct fab_slice ignored;
    assert_in_range(name.n, 1, sizeof text - 1);
    /* A refresh: what the source gave before is gone. */
    assert_ok(fab_block_get(s->source, &s->blocks->blocks[0].cid, &ignored));
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    unsigned i = (unsigned)strtoul(text, NULL, 10);
    assert_true(i < s->total && !s->flags[i]);
    s->flags[i] = 1;
    s->count++;
    assert_int_equal(tsize, i);
    assert_int_equal(cid->codec, FAB_CODEC_RAW);
    return FAB_OK;
}

static void check_many(unsigned total, unsigned fanout, size_t threshold, bool sharded)
{
    struct fab_profile profile = *fab_profile_default();
    struct mem_blocks blocks = {.volatile_slices = true};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_block_sink sink = mem_sink(&blocks);
    struct fab_dir_builder *b;
    struct fab_dag_entry dir;
    struct fab_cid file, got;
    struct fab_unixfs_attr attr = {.has_mode = true, .mode = 0711};
    profile.hamt_fanout = fanout;
    profile.hamt_threshold = threshold;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &file));
    assert_ok(fab_dir_builder_new(&profile, 0, &b));
    for (unsigned i = total; i-- > 0;) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        add_text(b, name, &file, i);
    }
    assert_ok(fab_dir_builder_finish(b, &attr, &sink, &dir));
    fab_dir_builder_free(b);
    assert_int_equal(dir.size, total);
    assert_int_equal(blocks.count > 1, sharded);
    uint64_t bytes = 0;
    for (size_t i = 0; i < blocks.count; i++)
        bytes += blocks.blocks[i].n;
    assert_int_equal(dir.tsize, bytes + (uint64_t)total * (total - 1) / 2);

    struct seen s = {.blocks = &blocks, .source = &source, .total = total};
    s.flags = calloc(total, 1);
    assert_non_null(s.flags);
    assert_ok(fab_dir_each(&source, &dir.cid, see, &s));
    assert_int_equal(s.count, total);
    free(s.flags);
    for (unsigned i = 0; i < total + 50; i += 7) {
        char name[16];
        uint64_t tsize = 0;
        bool missing = true;
        snprintf(name, sizeof name, "%u", i);
        blocks.gets = 0;
        enum fab_rc rc =
            fab_dir_find(&source, &dir.cid, fab_slice(name, strlen(name)), &missing, &got, &tsize);
        assert_int_equal(rc, i < total ? FAB_OK : FAB_ENOENT);
        assert_true(blocks.gets <= 8);
        if (rc == FAB_OK)
            assert_int_equal(tsize, i);
        else
            assert_false(missing);
    }
    mem_fini(&blocks);
}

static void test_many(void **state)
{
    (void)state;
    check_many(1000, 256, 262144, false);
    check_many(1000, 256, 100, true);
    check_many(1000, 8, 100, true);
    check_many(1000, 1024, 100, true);
    check_many(300, 16, 100, true);
}

/* ---- shards made by hand ---- */

struct made_link {
    const char *name;
    struct fab_cid cid;
};

static struct fab_cid shard(struct mem_blocks *blocks, const struct made_link *links, size_t count,
                            struct fab_slice bitfield, uint64_t fanout, uint64_t hash_type)
{
    struct fab_unixfs node = {.type = FAB_UNIXFS_HAMT,
                              .has_data = true,
                              .data = bitfield,
                              .has_hash_type = true,
                              .hash_type = hash_type,
                              .has_fanout = true,
                              .fanout = fanout};
    struct fab_buf block;
    struct fab_cid cid;
    fab_buf_init(&block, FAB_BLOCK_MAX);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[FAB_CID_MAX];
        struct fab_pb_link link = {.cid = fab_slice(bytes, fab_cid_bytes(&links[i].cid, bytes)),
                                   .name = fab_slice(links[i].name, strlen(links[i].name)),
                                   .has_name = true,
                                   .has_tsize = true};
        assert_ok(fab_pb_append_link(&block, &link));
    }
    assert_ok(fab_unixfs_encode_field(&node, NULL, &block));
    assert_ok(fab_cid_of(1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_buf_slice(&block), &cid));
    assert_ok(mem_put(blocks, &cid, fab_buf_slice(&block)));
    fab_buf_fini(&block);
    return cid;
}

static enum fab_rc count_entry(void *arg, struct fab_slice name, const struct fab_cid *cid,
                               uint64_t tsize)
{
    (void)name;
    (void)cid;
    (void)tsize;
    if (arg)
        ++*(size_t *)arg;
    return FAB_OK;
}

static void check_shard(struct mem_blocks *blocks, const struct fab_cid *cid, enum fab_rc rc)
{
    struct fab_block_source source = mem_source(blocks);
    size_t count = 0;
    assert_int_equal(fab_dir_each(&source, cid, count_entry, &count), rc);
}

static void test_bad_shards(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_cid x, cid;
    (void)state;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &x));
    /* 470.txt and 742.txt both hash to bucket 00; with fanout 8 to bucket 0. */
    struct made_link good[] = {{"00470.txt", x}};
    cid = shard(&blocks, good, 1, fab_slice("\x01", 1), 256, 0x22);
    check_shard(&blocks, &cid, FAB_OK);
    cid =
        shard(&blocks, good, 1, fab_slice("\x00\x01", 2), 256, 0x22); /* zeros not left out: read */
    check_shard(&blocks, &cid, FAB_OK);
    cid = shard(&blocks, good, 1, fab_slice("\x01", 1), 256, 0x23); /* another hash function */
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("\x01", 1), 257, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("\x01", 1), 4, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("\x01", 1), 2048, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("\x03", 1), 256, 0x22); /* a bit without a link */
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("", 0), 256, 0x22); /* a link without a bit */
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, good, 1, fab_slice("\x02", 1), 256, 0x22); /* another bit */
    check_shard(&blocks, &cid, FAB_EFORMAT);
    struct made_link small[] = {{"0470.txt", x}};
    cid = shard(&blocks, small, 1, fab_slice("\x01", 1), 8, 0x22);
    check_shard(&blocks, &cid, FAB_OK);
    cid = shard(&blocks, small, 1, fab_slice("\x00\x01", 2), 8, 0x22); /* longer than the fanout */
    check_shard(&blocks, &cid, FAB_EFORMAT);
    struct made_link twice[] = {{"00470.txt", x}, {"00742.txt", x}};
    cid = shard(&blocks, twice, 2, fab_slice("\x01", 1), 256, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    struct made_link elsewhere[] = {{"01470.txt", x}};
    cid = shard(&blocks, elsewhere, 1, fab_slice("\x02", 1), 256, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    struct made_link low[] = {{"0a470.txt", x}};
    cid = shard(&blocks, low, 1, fab_slice("\x04\x00", 2), 256, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    cid = shard(&blocks, NULL, 0, fab_slice("", 0), 256, 0x22); /* an empty root is a directory */
    check_shard(&blocks, &cid, FAB_OK);
    struct made_link empty[] = {{"00", cid}}; /* an empty child is not */
    cid = shard(&blocks, empty, 1, fab_slice("\x01", 1), 256, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    struct made_link leaf[] = {{"00", x}}; /* a child that is no shard */
    cid = shard(&blocks, leaf, 1, fab_slice("\x01", 1), 256, 0x22);
    check_shard(&blocks, &cid, FAB_EFORMAT);
    mem_fini(&blocks);
}

/* Chains deeper than the hash has bits, and shards that serve in many places. */
static void test_shard_bombs(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_cid x, cid, got;
    struct made_link all[256];
    char names[256][3];
    uint8_t full[32];
    (void)state;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("x", 1), &x));
    memset(full, 0xff, sizeof full);
    struct made_link last[] = {{"00zz", x}};
    cid = shard(&blocks, last, 1, fab_slice("\x01", 1), 256, 0x22);
    for (unsigned i = 0; i < 9; i++) {
        struct made_link down[] = {{"00", cid}};
        cid = shard(&blocks, down, 1, fab_slice("\x01", 1), 256, 0x22);
    }
    check_shard(&blocks, &cid, FAB_EFORMAT);
    assert_int_equal(fab_dir_find(&source, &cid, fab_slice("", 0), NULL, &got, NULL), FAB_EFORMAT);

    cid = shard(&blocks, last, 1, fab_slice("\x01", 1), 256, 0x22);
    for (unsigned level = 0; level < 7; level++) {
        for (unsigned i = 0; i < 256; i++) {
            snprintf(names[i], sizeof names[i], "%02X", i);
            all[i] = (struct made_link){names[i], cid};
        }
        cid = shard(&blocks, all, 256, fab_slice(full, 32), 256, 0x22);
    }
    blocks.gets = 0;
    check_shard(&blocks, &cid, FAB_EFORMAT);
    assert_true(blocks.gets < 20);
    mem_fini(&blocks);
}

static void test_not_a_directory(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_cid got;
    bool missing = false;
    (void)state;
    struct fab_dag_entry raw =
        import_slice(fab_profile_default(), NULL, &blocks, fab_slice("x", 1));
    struct fab_dag_entry file =
        import_slice(fab_profile_find("unixfs-v0-2015"), NULL, &blocks, fab_slice("x", 1));
    struct fab_slice name = fab_slice("a", 1);
    assert_int_equal(fab_dir_each(&source, &raw.cid, count_entry, NULL), FAB_EINVAL);
    assert_int_equal(fab_dir_each(&source, &file.cid, count_entry, NULL), FAB_EINVAL);
    assert_int_equal(fab_dir_find(&source, &raw.cid, name, &missing, &got, NULL), FAB_EINVAL);
    assert_int_equal(fab_dir_find(&source, &file.cid, name, &missing, &got, NULL), FAB_EINVAL);
    mem_drop(&blocks, &file.cid);
    assert_int_equal(fab_dir_each(&source, &file.cid, count_entry, NULL), FAB_ENOENT);
    assert_int_equal(fab_dir_find(&source, &file.cid, name, &missing, &got, NULL), FAB_ENOENT);
    assert_true(missing);
    mem_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kubo),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_many),        cmocka_unit_test(test_bad_shards),
        cmocka_unit_test(test_shard_bombs), cmocka_unit_test(test_not_a_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
