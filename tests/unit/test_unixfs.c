/* The UnixFS protobuf: what is written, what is read, and what is refused. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/unixfs.h"

static void check_encode(const struct fab_unixfs *node, const uint64_t *sizes, const void *bytes,
                         size_t n)
{
    struct fab_buf buf;
    fab_buf_init(&buf, 4096);
    assert_ok(fab_unixfs_encode(node, sizes, &buf));
    assert_int_equal(buf.len, n);
    assert_memory_equal(buf.data, bytes, n);
    fab_buf_reset(&buf);
    assert_ok(fab_unixfs_encode_field(node, sizes, &buf));
    assert_int_equal(buf.len, fab_unixfs_field_size(node, sizes));
    assert_int_equal(buf.data[0], 0x0a);
    assert_memory_equal(buf.data + buf.len - n, bytes, n);
    fab_buf_fini(&buf);
}

static void check_attr_equal(const struct fab_unixfs_attr *a, const struct fab_unixfs_attr *b)
{
    assert_int_equal(a->has_mode, b->has_mode);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->has_mtime, b->has_mtime);
    assert_true(a->mtime == b->mtime);
    assert_int_equal(a->mtime_nsec, b->mtime_nsec);
}

static void test_round_trip(void **state)
{
    static const uint64_t sizes[] = {1, 300, 0, UINT64_MAX / 2};
    static const struct fab_unixfs_attr attrs[] = {
        {0},
        {.has_mode = true, .mode = 07777},
        {.has_mtime = true, .mtime = -1, .mtime_nsec = 999999999},
        {.has_mtime = true, .mtime = 0},
        {.has_mode = true, .mode = 0644, .has_mtime = true, .mtime = INT64_MIN, .mtime_nsec = 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof attrs / sizeof attrs[0]; i++) {
        struct fab_unixfs in = {.type = FAB_UNIXFS_FILE,
                                .has_data = true,
                                .data = fab_slice("data", 4),
                                .has_filesize = true,
                                .filesize = UINT64_MAX,
                                .sizes_count = 4,
                                .has_hash_type = true,
                                .hash_type = 0x22,
                                .has_fanout = true,
                                .fanout = 256,
                                .attr = attrs[i]};
        struct fab_unixfs out;
        struct fab_unixfs_sizes it;
        struct fab_buf buf;
        uint64_t size;
        fab_buf_init(&buf, 4096);
        assert_ok(fab_unixfs_encode(&in, sizes, &buf));
        assert_ok(fab_unixfs_decode(fab_buf_slice(&buf), &out));
        assert_int_equal(out.type, FAB_UNIXFS_FILE);
        assert_true(out.has_data && fab_slice_eq(out.data, in.data));
        assert_true(out.has_filesize && out.filesize == UINT64_MAX);
        assert_true(out.has_hash_type && out.hash_type == 0x22);
        assert_true(out.has_fanout && out.fanout == 256);
        assert_int_equal(out.sizes_count, 4);
        assert_true(out.sizes_sum == 301 + UINT64_MAX / 2);
        check_attr_equal(&out.attr, &attrs[i]);
        fab_unixfs_sizes_init(&it, &out);
        for (size_t k = 0; k < 4; k++) {
            assert_true(fab_unixfs_sizes_next(&it, &size));
            assert_true(size == sizes[k]);
        }
        assert_false(fab_unixfs_sizes_next(&it, &size));
        fab_buf_fini(&buf);
    }
}

static void test_bytes(void **state)
{
    static const uint64_t sizes[] = {5, 200};
    struct fab_unixfs node = {.type = FAB_UNIXFS_DIRECTORY};
    (void)state;
    check_encode(&node, NULL, "\x08\x01", 2);
    node = (struct fab_unixfs){
        .type = FAB_UNIXFS_FILE, .has_filesize = true, .filesize = 205, .sizes_count = 2};
    check_encode(&node, sizes, "\x08\x02\x18\xcd\x01\x20\x05\x20\xc8\x01", 10);
    node = (struct fab_unixfs){
        .type = FAB_UNIXFS_DIRECTORY,
        .attr = {
            .has_mode = true, .mode = 0755, .has_mtime = true, .mtime = -1, .mtime_nsec = 258}};
    check_encode(&node, NULL,
                 "\x08\x01\x38\xed\x03\x42\x10\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                 "\x15\x02\x01\x00\x00",
                 23);
    /* Kubo writes no mode of 0. */
    node.attr = (struct fab_unixfs_attr){.has_mode = true, .mode = 0};
    check_encode(&node, NULL, "\x08\x01", 2);
}

static enum fab_rc decode(const char *bytes, size_t n, struct fab_unixfs *out)
{
    return fab_unixfs_decode(fab_slice(bytes, n), out);
}

#define DECODE(text, out) decode(text, sizeof(text) - 1, out)

static void test_tolerated(void **state)
{
    struct fab_unixfs u;
    struct fab_unixfs_sizes it;
    uint64_t size;
    (void)state;
    /* Packed blocksizes, before and after unpacked ones. */
    assert_ok(DECODE("\x08\x02\x22\x03\x01\xac\x02\x20\x07\x22\x00\x22\x01\x09", &u));
    assert_int_equal(u.sizes_count, 4);
    assert_int_equal(u.sizes_sum, 1 + 300 + 7 + 9);
    fab_unixfs_sizes_init(&it, &u);
    static const uint64_t expect[] = {1, 300, 7, 9};
    for (size_t i = 0; i < 4; i++) {
        assert_true(fab_unixfs_sizes_next(&it, &size));
        assert_int_equal(size, expect[i]);
    }
    assert_false(fab_unixfs_sizes_next(&it, &size));
    /* Unknown fields of each wire type, any order, the last of two wins. */
    assert_ok(DECODE("\x18\x05\x50\x01\x59"
                     "12345678"
                     "\x5d"
                     "1234"
                     "\x62\x02zz\x08\x01\x08\x02\x18\x06",
                     &u));
    assert_int_equal(u.type, FAB_UNIXFS_FILE);
    assert_int_equal(u.filesize, 6);
    /* Bits above the permissions are dropped; an impossible mtime counts as absent. */
    assert_ok(DECODE("\x08\x01\x38\xed\x83\x02", &u));
    assert_int_equal(u.attr.mode, 0755);
    assert_ok(DECODE("\x08\x01\x42\x00", &u));
    assert_false(u.attr.has_mtime);
    assert_ok(DECODE("\x08\x01\x42\x07\x08\x01\x15\x00\xca\x9a\x3b", &u));
    assert_false(u.attr.has_mtime);
    assert_ok(DECODE("\x08\x01\x42\x07\x08\x01\x15\xff\xc9\x9a\x3b", &u));
    assert_true(u.attr.has_mtime);
    assert_int_equal(u.attr.mtime_nsec, 999999999);
}

static void test_refused(void **state)
{
    struct fab_unixfs u;
    (void)state;
    assert_int_equal(DECODE("", &u), FAB_EFORMAT);                 /* no Type */
    assert_int_equal(DECODE("\x18\x05", &u), FAB_EFORMAT);         /* no Type */
    assert_int_equal(DECODE("\x08\x06", &u), FAB_EFORMAT);         /* unknown Type */
    assert_int_equal(DECODE("\x0a\x01\x02", &u), FAB_EFORMAT);     /* Type as bytes */
    assert_int_equal(DECODE("\x08\x02\x10\x02", &u), FAB_EFORMAT); /* Data as number */
    assert_int_equal(DECODE("\x08\x02\x12\x05"
                            "abcd",
                            &u),
                     FAB_EFORMAT); /* Data too long */
    assert_int_equal(DECODE("\x08\x02\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &u),
                     FAB_EFORMAT);
    assert_int_equal(DECODE("\x08\x02\x18", &u), FAB_EFORMAT);                 /* ends early */
    assert_int_equal(DECODE("\x08\x02\x1b", &u), FAB_EFORMAT);                 /* group */
    assert_int_equal(DECODE("\x08\x02\x00\x01", &u), FAB_EFORMAT);             /* field 0 */
    assert_int_equal(DECODE("\x08\x02\x22\x02\x01\xff", &u), FAB_EFORMAT);     /* packed, cut */
    assert_int_equal(DECODE("\x08\x02\x25\x01\x02\x03\x04", &u), FAB_EFORMAT); /* fixed32 size */
    assert_int_equal(DECODE("\x08\x02\x40\x01", &u), FAB_EFORMAT);             /* mtime a number */
    assert_int_equal(DECODE("\x08\x02\x42\x02\x08", &u), FAB_EFORMAT);
    assert_int_equal(DECODE("\x08\x02\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01", &u),
                     FAB_EFORMAT); /* the sum wraps */
}

static void test_symlink(void **state)
{
    static const struct fab_unixfs_attr attr = {
        .has_mode = true, .mode = 0777, .has_mtime = true, .mtime = 1};
    struct fab_buf buf;
    uint8_t *target = malloc(FAB_UNIXFS_SYMLINK_MAX + 1);
    (void)state;
    assert_non_null(target);
    memset(target, 'a', FAB_UNIXFS_SYMLINK_MAX + 1);
    fab_buf_init(&buf, 8192);
    assert_ok(fab_unixfs_symlink(fab_slice("x/y", 3), NULL, &buf));
    assert_int_equal(buf.len, 9);
    assert_memory_equal(buf.data, "\x0a\x07\x08\x04\x12\x03x/y", 9);
    fab_buf_reset(&buf);
    assert_ok(fab_unixfs_symlink(fab_slice("x/y", 3), &attr, &buf)); /* without mode, as Kubo */
    assert_int_equal(buf.len, 13);
    assert_memory_equal(buf.data, "\x0a\x0b\x08\x04\x12\x03x/y\x42\x02\x08\x01", 13);
    fab_buf_reset(&buf);
    assert_ok(fab_unixfs_symlink(fab_slice(target, FAB_UNIXFS_SYMLINK_MAX), NULL, &buf));
    fab_buf_reset(&buf);
    assert_int_equal(fab_unixfs_symlink(fab_slice(target, FAB_UNIXFS_SYMLINK_MAX + 1), NULL, &buf),
                     FAB_EINVAL);
    assert_int_equal(fab_unixfs_symlink(fab_slice("", 0), NULL, &buf), FAB_EINVAL);
    assert_int_equal(fab_unixfs_symlink(fab_slice("a\0b", 3), NULL, &buf), FAB_EINVAL);
    assert_int_equal(buf.len, 0);
    fab_buf_fini(&buf);
    free(target);
}

static void test_profiles(void **state)
{
    (void)state;
    assert_string_equal(fab_profile_default()->name, "unixfs-v1-2025");
    assert_ptr_equal(fab_profile_at(0), fab_profile_default());
    assert_ptr_equal(fab_profile_find("legacy-cid-v0"), fab_profile_find("unixfs-v0-2015"));
    for (size_t i = 0; fab_profile_at(i); i++)
        assert_ptr_equal(fab_profile_find(fab_profile_at(i)->name), fab_profile_at(i));
    assert_non_null(fab_profile_at(2));
    assert_null(fab_profile_at(3));
    assert_null(fab_profile_find("test-cid-v1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_tolerated),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_symlink),    cmocka_unit_test(test_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
