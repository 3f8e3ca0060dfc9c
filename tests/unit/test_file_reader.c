/* Reading files: ranges, leaves, a source that is refreshed under the walk, and DAGs made to
 * mislead. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/file_reader.h"

static const struct fab_profile tiny = {.name = "tiny",
                                        .cid_version = 1,
                                        .chunk_size = 10,
                                        .file_links = 3,
                                        .raw_leaves = true,
                                        .hamt_fanout = 256,
                                        .hamt_threshold = 262144};

struct sunk {
    uint64_t begin, next;
    uint8_t bytes[2048];
};

static enum fab_rc sink_data(void *arg, uint64_t offset, struct fab_slice data)
{
    struct sunk *s = arg;
    assert_true(data.n > 0);
    assert_int_equal(offset, s->next);
    assert_true(offset - s->begin + data.n <= sizeof s->bytes);
    memcpy(s->bytes + (offset - s->begin), data.p, data.n);
    s->next += data.n;
    return FAB_OK;
}

struct leaves {
    struct mem_blocks *blocks;
    uint64_t next, first;
    unsigned count;
};

static enum fab_rc sink_leaf(void *arg, uint64_t offset, const struct fab_cid *leaf,
                             uint64_t payload)
{
    struct leaves *l = arg;
    struct mem_block *b = mem_find(l->blocks, leaf);
    struct fab_slice s;
    assert_non_null(b);
    assert_ok(fab_file_payload(leaf, fab_slice(b->data, b->n), payload, &s));
    assert_int_equal(fab_file_payload(leaf, fab_slice(b->data, b->n), payload + 1, &s),
                     FAB_EFORMAT);
    if (l->count++ == 0)
        l->first = offset;
    else
        assert_int_equal(offset, l->next);
    l->next = offset + payload;
    return FAB_OK;
}

static void check_ranges(const struct fab_profile *profile, const struct fab_unixfs_attr *attr,
                         const uint8_t *data, size_t n)
{
    struct mem_blocks blocks = {.volatile_slices = true};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_dag_entry e = import_slice(profile, attr, &blocks, fab_slice(data, n));
    uint64_t size;
    assert_ok(fab_file_size(&source, &e.cid, &size));
    assert_int_equal(size, n);
    for (size_t offset = 0; offset <= n + 5; offset += 7) {
        for (size_t length = 0; length <= n + 5; length += 13) {
            size_t expect = offset >= n ? 0 : length < n - offset ? length : n - offset;
            struct sunk s = {.begin = offset, .next = offset};
            assert_ok(fab_file_read(&source, &e.cid, offset, length, sink_data, &s));
            assert_int_equal(s.next - offset, expect);
            assert_memory_equal(s.bytes, data + (expect ? offset : 0), expect);
            struct leaves l = {.blocks = &blocks};
            assert_ok(fab_file_leaves(&source, &e.cid, offset, length, sink_leaf, &l));
            assert_int_equal(l.count > 0, expect > 0);
            if (expect > 0) {
                assert_int_equal(l.first, offset / 10 * 10);
                assert_true(l.next >= offset + expect && l.next < offset + expect + 10);
            }
        }
    }
    struct sunk s = {0};
    assert_ok(fab_file_read(&source, &e.cid, 0, UINT64_MAX, sink_data, &s));
    assert_int_equal(s.next, n);
    s = (struct sunk){.begin = 3, .next = 3};
    assert_ok(fab_file_read(&source, &e.cid, 3, UINT64_MAX, sink_data, &s));
    assert_ok(fab_file_read(&source, &e.cid, UINT64_MAX, UINT64_MAX, sink_data, &s));
    mem_fini(&blocks);
}

static void test_ranges(void **state)
{
    static const size_t sizes[] = {0, 1, 9, 10, 11, 30, 31, 95, 280};
    struct fab_unixfs_attr attr = {.has_mode = true, .mode = 0644};
    struct fab_profile wrapped = tiny;
    struct seeded seeded;
    uint8_t data[280];
    (void)state;
    wrapped.raw_leaves = false;
    wrapped.cid_version = 0;
    seeded_init(&seeded, "ranges");
    seeded_bytes(&seeded, data, sizeof data);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_ranges(&tiny, NULL, data, sizes[i]);
        check_ranges(&wrapped, NULL, data, sizes[i]);
        check_ranges(&tiny, &attr, data, sizes[i]);
    }
}

/* A read of a few bytes of a large file touches its path, not the file. */
static void test_range_cost(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct sunk s = {.begin = 5000, .next = 5000};
    uint8_t *data = malloc(10000);
    struct seeded seeded;
    (void)state;
    assert_non_null(data);
    seeded_init(&seeded, "cost");
    seeded_bytes(&seeded, data, 10000);
    struct fab_dag_entry e = import_slice(&tiny, NULL, &blocks, fab_slice(data, 10000));
    blocks.gets = 0;
    assert_ok(fab_file_read(&source, &e.cid, 5000, 1, sink_data, &s));
    assert_in_range(blocks.gets, 1, 9);
    free(data);
    mem_fini(&blocks);
}

/* ---- made by hand ---- */

struct child {
    struct fab_cid cid;
    uint64_t size;
};

/* A file node whose claims are the caller's. */
static struct fab_cid file_node(struct mem_blocks *blocks, const struct child *children,
                                size_t count, size_t sizes, struct fab_slice data,
                                uint64_t filesize)
{
    struct fab_buf block;
    struct fab_cid cid;
    uint64_t list[300];
    struct fab_unixfs node = {.type = FAB_UNIXFS_FILE,
                              .has_data = data.n > 0,
                              .data = data,
                              .has_filesize = true,
                              .filesize = filesize,
                              .sizes_count = sizes};
    fab_buf_init(&block, FAB_BLOCK_MAX);
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[FAB_CID_MAX];
        struct fab_pb_link link = {.cid = fab_slice(bytes, fab_cid_bytes(&children[i].cid, bytes)),
                                   .has_name = true,
                                   .has_tsize = true};
        assert_ok(fab_pb_append_link(&block, &link));
    }
    for (size_t i = 0; i < sizes; i++)
        list[i] = i < count ? children[i].size : 1;
    assert_ok(fab_unixfs_encode_field(&node, list, &block));
    assert_ok(fab_cid_of(1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_buf_slice(&block), &cid));
    assert_ok(mem_put(blocks, &cid, fab_buf_slice(&block)));
    fab_buf_fini(&block);
    return cid;
}

static struct fab_cid raw_leaf(struct mem_blocks *blocks, const char *text)
{
    struct fab_slice s = fab_slice(text, strlen(text));
    struct fab_cid cid;
    assert_ok(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, s, &cid));
    assert_ok(mem_put(blocks, &cid, s));
    return cid;
}

static enum fab_rc count_leaf(void *arg, uint64_t offset, const struct fab_cid *leaf,
                              uint64_t payload)
{
    (void)offset;
    (void)leaf;
    (void)payload;
    ++*(size_t *)arg;
    return FAB_OK;
}

static enum fab_rc read_all(struct mem_blocks *blocks, const struct fab_cid *root)
{
    struct fab_block_source source = mem_source(blocks);
    struct sunk s = {0};
    return fab_file_read(&source, root, 0, UINT64_MAX, sink_data, &s);
}

static void test_lies(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_slice none = {0};
    (void)state;
    struct child leaf = {raw_leaf(&blocks, "abc"), 3};
    struct fab_cid cid = file_node(&blocks, &leaf, 1, 1, none, 3);
    assert_ok(read_all(&blocks, &cid));
    cid = file_node(&blocks, &leaf, 1, 1, none, 4); /* filesize */
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    cid = file_node(&blocks, &leaf, 1, 2, none, 4); /* more blocksizes than links */
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    cid = file_node(&blocks, &leaf, 1, 0, none, 0); /* fewer */
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    struct child longer = {leaf.cid, 4}, shorter = {leaf.cid, 2};
    cid = file_node(&blocks, &longer, 1, 1, none, 4);
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    cid = file_node(&blocks, &shorter, 1, 1, none, 2);
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    struct child inner = {file_node(&blocks, &leaf, 1, 1, none, 3), 5};
    cid = file_node(&blocks, &inner, 1, 1, none,
                    5); /* an inner node of 3 bytes that is said to have 5 */
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    struct child huge[2] = {{leaf.cid, UINT64_MAX}, {leaf.cid, 2}};
    cid = file_node(&blocks, huge, 2, 2, none, 1); /* the sum wraps */
    assert_int_equal(read_all(&blocks, &cid), FAB_EFORMAT);
    mem_fini(&blocks);
}

/* Bytes in an inner node come before its children: unusual, but the format allows it. */
static void test_inner_data(void **state)
{
    struct mem_blocks blocks = {.volatile_slices = true};
    struct fab_block_source source = mem_source(&blocks);
    struct sunk s = {0};
    struct leaves l = {.blocks = &blocks};
    (void)state;
    struct child leaf = {raw_leaf(&blocks, "world"), 5};
    struct fab_cid cid = file_node(&blocks, &leaf, 1, 1, fab_slice("hello ", 6), 11);
    assert_ok(fab_file_read(&source, &cid, 0, UINT64_MAX, sink_data, &s));
    assert_int_equal(s.next, 11);
    assert_memory_equal(s.bytes, "hello world", 11);
    assert_ok(fab_file_leaves(&source, &cid, 0, UINT64_MAX, sink_leaf, &l));
    assert_int_equal(l.count, 2);
    mem_fini(&blocks);
}

static void test_depth(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_slice none = {0};
    (void)state;
    struct child node = {raw_leaf(&blocks, "abc"), 3};
    for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
        node.cid = file_node(&blocks, &node, 1, 1, none, 3);
    assert_ok(read_all(&blocks, &node.cid));
    node.cid = file_node(&blocks, &node, 1, 1, none, 3);
    assert_int_equal(read_all(&blocks, &node.cid), FAB_ELIMIT);
    mem_fini(&blocks);
}

/* 2^60 bytes from sixty blocks: any place can be read at the cost of its path. */
static void test_repeated_subtrees(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_slice none = {0};
    struct sunk s = {.begin = UINT64_C(1) << 59, .next = UINT64_C(1) << 59};
    uint64_t size;
    (void)state;
    struct child two[2] = {{raw_leaf(&blocks, "a"), 1}, {raw_leaf(&blocks, "a"), 1}};
    for (unsigned i = 0; i < 60; i++) {
        uint64_t total = 2 * two[0].size;
        struct fab_cid cid = file_node(&blocks, two, 2, 2, none, total);
        two[0] = two[1] = (struct child){cid, total};
    }
    assert_ok(fab_file_size(&source, &two[0].cid, &size));
    assert_true(size == UINT64_C(1) << 60);
    blocks.gets = 0;
    assert_ok(fab_file_read(&source, &two[0].cid, s.begin, 4, sink_data, &s));
    assert_int_equal(s.next - s.begin, 4);
    assert_true(blocks.gets < 80);
    mem_fini(&blocks);
}

/* 256^20 children without a byte are not entered. */
static void test_empty_subtrees(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_slice none = {0};
    struct child many[256];
    size_t count = 0;
    (void)state;
    struct fab_cid cid = raw_leaf(&blocks, "");
    for (unsigned level = 0; level < 20; level++) {
        for (unsigned i = 0; i < 256; i++)
            many[i] = (struct child){cid, 0};
        cid = file_node(&blocks, many, 256, 256, none, 0);
    }
    blocks.gets = 0;
    assert_ok(fab_file_leaves(&source, &cid, 0, UINT64_MAX, count_leaf, &count));
    assert_int_equal(count, 0);
    assert_int_equal(blocks.gets, 1);
    mem_fini(&blocks);
}

static enum fab_rc stop_data(void *arg, uint64_t offset, struct fab_slice data)
{
    (void)arg;
    (void)offset;
    (void)data;
    return FAB_EINTERRUPTED;
}

static void test_not_a_file(void **state)
{
    struct mem_blocks blocks = {0};
    struct fab_block_source source = mem_source(&blocks);
    struct fab_slice none = {0};
    static const uint8_t dir[] = {0x0a, 0x02, 0x08, 0x01};
    struct fab_cid cid;
    uint64_t size;
    (void)state;
    assert_ok(fab_cid_of(1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_slice(dir, sizeof dir), &cid));
    assert_int_equal(fab_file_size(&source, &cid, &size), FAB_ENOENT);
    assert_ok(mem_put(&blocks, &cid, fab_slice(dir, sizeof dir)));
    assert_int_equal(fab_file_size(&source, &cid, &size), FAB_EINVAL);
    assert_int_equal(read_all(&blocks, &cid), FAB_EINVAL);
    struct child child = {cid, 4};
    struct fab_cid parent = file_node(&blocks, &child, 1, 1, none, 4);
    assert_int_equal(read_all(&blocks, &parent), FAB_EFORMAT); /* a directory inside a file */
    cid.codec = FAB_CODEC_DAG_CBOR;
    assert_int_equal(fab_file_size(&source, &cid, &size), FAB_EINVAL);
    child.cid = cid;
    parent = file_node(&blocks, &child, 1, 1, none, 4);
    assert_int_equal(read_all(&blocks, &parent), FAB_EFORMAT);

    child = (struct child){raw_leaf(&blocks, "abc"), 3};
    parent = file_node(&blocks, &child, 1, 1, none, 3);
    assert_int_equal(fab_file_read(&source, &parent, 0, 9, stop_data, NULL), FAB_EINTERRUPTED);
    mem_drop(&blocks, &child.cid);
    assert_int_equal(read_all(&blocks, &parent), FAB_ENOENT);
    mem_fini(&blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),         cmocka_unit_test(test_range_cost),
        cmocka_unit_test(test_lies),           cmocka_unit_test(test_inner_data),
        cmocka_unit_test(test_depth),          cmocka_unit_test(test_repeated_subtrees),
        cmocka_unit_test(test_empty_subtrees), cmocka_unit_test(test_not_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
