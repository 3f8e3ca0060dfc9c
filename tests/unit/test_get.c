/* Getting, reading and archiving: round trips, hostile DAGs, and that a failure leaves nothing. */
#include "tests/support/files_fixture.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/dir_builder.h"
#include "storage/files/get.h"

#include <archive.h>
#include <archive_entry.h>
#include <pthread.h>

static enum fab_rc get(struct fixture *f, const struct fab_cid *cid, const char *dest, bool force)
{
    struct fab_get_options options = {.dest = dest, .force = force};
    return fab_get(f->store, f->ws, cid, &options, NULL, &f->err);
}

/* Only `n` entries are in the scratch directory: no temporary is left. */
static void assert_clean(unsigned n)
{
    assert_int_equal(count_entries("."), n);
}

/* Blocks by hand, straight into the store. */
static struct fab_cid put_block(struct fixture *f, uint64_t codec, struct fab_slice data)
{
    struct fab_ingest *ingest;
    struct fab_cid cid;
    assert_ok(f, fab_cid_of(1, codec, FAB_MH_SHA2_256, data, &cid));
    assert_ok(f, fab_ingest_open(f->store, f->ws, &ingest, &f->err));
    assert_ok(f, fab_ingest_put(ingest, &cid, data));
    struct fab_ingest_root root = {.cid = cid, .pin = true};
    assert_ok(f, fab_ingest_commit(ingest, &root, 1, NULL, &f->err));
    return cid;
}

static struct fab_cid put_text(struct fixture *f, const char *text)
{
    return put_block(f, FAB_CODEC_RAW, fab_slice(text, strlen(text)));
}

static struct fab_cid put_symlink(struct fixture *f, const char *target)
{
    struct fab_buf b;
    fab_buf_init(&b, FAB_BLOCK_MAX);
    assert_ok(f, fab_unixfs_symlink(fab_slice(target, strlen(target)), NULL, &b));
    struct fab_cid cid = put_block(f, FAB_CODEC_DAG_PB, fab_buf_slice(&b));
    fab_buf_fini(&b);
    return cid;
}

static void varint(struct fab_buf *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        assert_int_equal(fab_buf_byte(b, (uint8_t)(v | 128)), FAB_OK);
    assert_int_equal(fab_buf_byte(b, (uint8_t)v), FAB_OK);
}

static void field(struct fab_buf *b, unsigned number, struct fab_slice data)
{
    varint(b, number << 3 | 2);
    varint(b, data.n);
    assert_int_equal(fab_buf_append(b, data.p, data.n), FAB_OK);
}

struct link {
    const char *name;
    size_t n;
    struct fab_cid cid;
};

/* A dag-pb node with the links as they are given, whatever their names. */
static struct fab_cid put_node(struct fixture *f, const struct link *links, size_t n,
                               struct fab_slice data)
{
    struct fab_buf node, link;
    fab_buf_init(&node, FAB_BLOCK_MAX);
    fab_buf_init(&link, FAB_BLOCK_MAX);
    for (size_t i = 0; i < n; i++) {
        uint8_t cid[FAB_CID_MAX];
        fab_buf_reset(&link);
        field(&link, 1, fab_slice(cid, fab_cid_bytes(&links[i].cid, cid)));
        field(&link, 2, fab_slice(links[i].name, links[i].n));
        varint(&link, 3 << 3);
        varint(&link, 1);
        field(&node, 2, fab_buf_slice(&link));
    }
    field(&node, 1, data);
    struct fab_cid cid = put_block(f, FAB_CODEC_DAG_PB, fab_buf_slice(&node));
    fab_buf_fini(&node);
    fab_buf_fini(&link);
    return cid;
}

static struct fab_cid put_dir(struct fixture *f, const struct link *links, size_t n)
{
    return put_node(f, links, n, fab_slice("\x08\x01", 2));
}

static void round_trips(void **state)
{
    struct fixture *f = *state;
    static const struct fab_put_options options[] = {
        {.hidden = true},
        {.hidden = true, .profile = "unixfs-v0-2015"},
        {.hidden = true, .profile = "cid-v1-plain", .chunker = "rabin"},
        {.hidden = true, .preserve = true},
        {.hidden = true, .preserve = true, .profile = "unixfs-v0-2015", .chunker = "buzhash"},
    };
    for (unsigned i = 0; i < 5; i++)
        for (uint64_t seed = 1; seed < 5; seed++) {
            uint64_t s = seed * 7919;
            make_tree("tree", &s, 3);
            struct fab_cid cid = put_path_of(f, "tree", &options[i]);
            struct fab_get_stats stats;
            struct fab_get_options o = {.dest = "out", .verify = seed % 2};
            assert_ok(f, fab_get(f->store, f->ws, &cid, &o, &stats, &f->err));
            assert_int_equal(stats.bytes, f->result.bytes);
            assert_int_equal(stats.files, f->result.files);
            assert_int_equal(stats.directories, f->result.directories);
            assert_int_equal(stats.symlinks, f->result.symlinks);
            assert_trees_same("tree", "out", options[i].preserve);
            assert_clean(3);
            assert_ok(f, tree_remove(AT_FDCWD, "tree"));
            assert_ok(f, tree_remove(AT_FDCWD, "out"));
        }
}

static void sharded(void **state)
{
    struct fixture *f = *state;
    char name[300];
    mkdir("d", 0755);
    for (unsigned i = 0; i < 6000; i++) {
        snprintf(name, sizeof name, "d/entry-with-a-longer-name-%05u", i);
        write_file(name, name, strlen(name));
    }
    struct fab_cid cid = put_path_of(f, "d", NULL);
    assert_ok(f, get(f, &cid, "out", false));
    assert_trees_same("d", "out", false);
}

static void metadata(void **state)
{
    struct fixture *f = *state;
    struct timespec when[2] = {{.tv_sec = 1}, {.tv_sec = 1234567890, .tv_nsec = 123456789}};
    mkdir("d", 0755);
    write_random("d/small", 1, 100);
    write_random("d/large", 2, 3000000);
    assert_int_equal(symlink("small", "d/link"), 0);
    chmod("d/small", 0640);
    chmod("d/large", 04755);
    utimensat(AT_FDCWD, "d/small", when, 0);
    utimensat(AT_FDCWD, "d/large", when, 0);
    utimensat(AT_FDCWD, "d/link", when, AT_SYMLINK_NOFOLLOW);
    chmod("d", 0555);
    utimensat(AT_FDCWD, "d", when, 0);
    struct fab_cid cid = put_path_of(f, "d", &(struct fab_put_options){.preserve = true});
    assert_ok(f, get(f, &cid, "out", false));
    struct stat st;
    assert_int_equal(stat("out/large", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* no setuid from outside */
    assert_int_equal(lstat("out/link", &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    chmod("d/large", 0755);
    assert_trees_same("d", "out", true);
}

static void destination(void **state)
{
    struct fixture *f = *state;
    write_file("file", "new", 3);
    struct fab_cid file = put_path_of(f, "file", NULL);
    mkdir("dir", 0755);
    write_file("dir/x", "y", 1);
    struct fab_cid dir = put_path_of(f, "dir", NULL);

    assert_ok(f, get(f, &file, "out", false));
    assert_rc(f, get(f, &file, "out", false), FAB_EEXIST);
    assert_rc(f, get(f, &dir, "out", false), FAB_EEXIST);
    write_file("out", "old", 3);
    assert_ok(f, get(f, &file, "out", true));
    assert_trees_same("file", "out", false);
    assert_ok(f, get(f, &dir, "out", true));
    assert_trees_same("dir", "out", false);
    write_file("out/extra", "y", 1);
    mkdir("out/sub", 0755);
    assert_ok(f, get(f, &dir, "out/", true));
    assert_trees_same("dir", "out", false);
    assert_ok(f, get(f, &file, "out", true));
    assert_trees_same("file", "out", false);
    assert_clean(4);

    /* A symlink in the place is replaced, not followed. */
    assert_int_equal(unlink("out"), 0);
    assert_int_equal(symlink("file", "out"), 0);
    assert_rc(f, get(f, &dir, "out", false), FAB_EEXIST);
    assert_ok(f, get(f, &dir, "out", true));
    assert_trees_same("dir", "out", false);

    assert_rc(f, get(f, &file, "absent/out", false), FAB_ENOENT);
    assert_rc(f, get(f, &file, "", false), FAB_EINVAL);
    assert_rc(f, get(f, &file, ".", true), FAB_EINVAL);
    assert_rc(f, get(f, &file, "dir/..", true), FAB_EINVAL);
    assert_rc(f, get(f, &file, "/", true), FAB_EINVAL);
    assert_clean(4);
}

static void holes_stay(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    uint64_t size = 8ull << 30;
    int fd = open("sparse", O_RDWR | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(pwrite(fd, "x", 1, 5 << 20), 1);
    close(fd);
    struct fab_cid cid = put_path_of(f, "sparse", NULL);
    assert_ok(f, get(f, &cid, "out", false));
    assert_int_equal(stat("out", &st), 0);
    assert_int_equal(st.st_size, size);
    assert_true((uint64_t)st.st_blocks * 512 < 64u << 20);
    char byte = 0;
    fd = open("out", O_RDONLY);
    assert_int_equal(pread(fd, &byte, 1, 5 << 20), 1);
    assert_int_equal(byte, 'x');
    close(fd);
}

static void refuse(struct fixture *f, const struct fab_cid *cid, enum fab_rc expected,
                   const char *mention)
{
    unsigned before = count_entries(".");
    assert_rc(f, get(f, cid, "out", false), expected);
    if (!strstr(f->err.msg, mention))
        fail_msg("'%s' does not mention '%s'", f->err.msg, mention);
    assert_int_equal(count_entries("."), before);
    /* What stands there already survives a refused replacement. */
    write_file("out", "kept", 4);
    assert_rc(f, get(f, cid, "out", true), expected);
    size_t n;
    uint8_t *p = read_file("out", &n);
    assert_int_equal(n, 4);
    free(p);
    assert_int_equal(unlink("out"), 0);
    assert_int_equal(count_entries("."), before);

    /* The archive refuses the same. */
    int fd = open("/dev/null", O_WRONLY);
    assert_rc(f, fab_get_archive(f->store, f->ws, cid, "out", NULL, fd, NULL, &f->err), expected);
    close(fd);
}

static void hostile_names(void **state)
{
    struct fixture *f = *state;
    static const struct link bad[] = {
        {"", 0, {0}},          {".", 1, {0}},    {"..", 2, {0}},   {"a/b", 3, {0}},
        {"../escape", 9, {0}}, {"a\0b", 3, {0}}, {"/abs", 4, {0}},
    };
    struct fab_cid text = put_text(f, "payload");
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct link links[] = {{"fine", 4, text}, bad[i]};
        links[1].cid = text;
        struct fab_cid dir = put_dir(f, links, 2);
        refuse(f, &dir, FAB_EFORMAT, "");
        struct link outer = {"sub", 3, dir};
        struct fab_cid top = put_dir(f, &outer, 1);
        refuse(f, &top, FAB_EFORMAT, "sub");
    }
    assert_int_equal(access("escape", F_OK), -1);
}

static void names_twice(void **state)
{
    struct fixture *f = *state;
    struct fab_cid text = put_text(f, "payload"), other = put_text(f, "other");
    mkdir("target", 0755);
    struct fab_cid link = put_symlink(f, "../target"), here = put_symlink(f, ".");
    struct link inner = {"evil", 4, text};
    struct fab_cid sub = put_dir(f, &inner, 1);
    struct fab_cid kinds[] = {text, other, link, here, sub};
    for (unsigned a = 0; a < 5; a++)
        for (unsigned b = 0; b < 5; b++) {
            struct link links[] = {{"x", 1, kinds[a]}, {"x", 1, kinds[b]}};
            struct fab_cid dir = put_dir(f, links, 2);
            refuse(f, &dir, FAB_EFORMAT, "twice");
        }
    assert_int_equal(count_entries("target"), 0);
}

static void missing_blocks(void **state)
{
    struct fixture *f = *state;
    struct fab_cid text = put_text(f, "here"), absent, absent_pb;
    assert_ok(f, fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("gone", 4), &absent));
    assert_ok(f,
              fab_cid_of(1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, fab_slice("gone", 4), &absent_pb));
    char name[FAB_CID_TEXT_MAX];
    fab_cid_text(&absent, name);
    struct link links[] = {{"a", 1, text}, {"lost", 4, absent}};
    struct fab_cid dir = put_dir(f, links, 2);
    refuse(f, &dir, FAB_ENOENT, name);
    assert_rc(f, get(f, &dir, "out", false), FAB_ENOENT);
    assert_non_null(strstr(f->err.msg, "lost"));
    refuse(f, &absent, FAB_ENOENT, name);
    fab_cid_text(&absent_pb, name);
    links[1].cid = absent_pb;
    dir = put_dir(f, links, 2);
    refuse(f, &dir, FAB_ENOENT, name);
    refuse(f, &absent_pb, FAB_ENOENT, name);
    /* A file whose second leaf is gone. */
    struct link leaves[] = {{"", 0, text}, {"", 0, absent}};
    struct fab_cid file = put_node(f, leaves, 2, fab_slice("\x08\x02\x18\x08\x20\x04\x20\x04", 8));
    refuse(f, &file, FAB_ENOENT, "");
}

static void malformed(void **state)
{
    struct fixture *f = *state;
    struct fab_cid text = put_text(f, "here");
    struct fab_cid junk = put_block(f, FAB_CODEC_DAG_PB, fab_slice("\xff\xff\xff", 3));
    refuse(f, &junk, FAB_EFORMAT, "");
    struct fab_cid cbor = put_block(f, FAB_CODEC_DAG_CBOR, fab_slice("\xa0", 1));
    refuse(f, &cbor, FAB_EUNSUPPORTED, "");
    /* A file that claims more bytes than its leaf has. */
    struct link leaves[] = {{"", 0, text}, {"", 0, text}};
    struct fab_cid file = put_node(f, leaves, 2, fab_slice("\x08\x02\x18\x09\x20\x04\x20\x05", 8));
    refuse(f, &file, FAB_EFORMAT, "");
}

static void endless_file(void **state)
{
    struct fixture *f = *state;
    /* Each level doubles: 2^40 times 4 bytes by 41 blocks. */
    struct fab_cid node = put_text(f, "abcd");
    uint64_t size = 4;
    for (unsigned i = 0; i < 40; i++) {
        struct link links[] = {{"", 0, node}, {"", 0, node}};
        uint64_t sizes[] = {size, size};
        struct fab_unixfs file = {
            .type = FAB_UNIXFS_FILE, .has_filesize = true, .filesize = size * 2, .sizes_count = 2};
        struct fab_buf data;
        fab_buf_init(&data, 4096);
        assert_ok(f, fab_unixfs_encode(&file, sizes, &data));
        node = put_node(f, links, 2, fab_buf_slice(&data));
        fab_buf_fini(&data);
        size *= 2;
    }
    struct fab_get_options options = {.dest = "out", .max_bytes = 1 << 20};
    assert_rc(f, fab_get(f->store, f->ws, &node, &options, NULL, &f->err), FAB_ELIMIT);
    /* A directory of many such within the limit each. */
    struct fab_cid big = put_text(f, "0123456789012345678901234567890123456789");
    struct link entries[] = {{"a", 1, big}, {"b", 1, big}, {"c", 1, big}};
    struct fab_cid dir = put_dir(f, entries, 3);
    options.max_bytes = 100;
    assert_rc(f, fab_get(f->store, f->ws, &dir, &options, NULL, &f->err), FAB_ELIMIT);
    options.max_bytes = 120;
    assert_ok(f, fab_get(f->store, f->ws, &dir, &options, NULL, &f->err));
    assert_ok(f, tree_remove(AT_FDCWD, "out"));
    assert_clean(1);
}

static void deep_directories(void **state)
{
    struct fixture *f = *state;
    struct fab_cid node = put_text(f, "bottom");
    for (unsigned i = 0; i < FAB_DEPTH_MAX + 1; i++) {
        struct link link = {"d", 1, node};
        node = put_dir(f, &link, 1);
        if (i == FAB_DEPTH_MAX - 1)
            assert_ok(f, get(f, &node, "deep", false));
    }
    refuse(f, &node, FAB_ELIMIT, "");
}

static void rotten(void **state)
{
    struct fixture *f = *state;
    struct fab_ingest *ingest;
    struct fab_cid cid;
    assert_ok(f, fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("right", 5), &cid));
    assert_ok(f, fab_ingest_open(f->store, f->ws, &ingest, &f->err));
    assert_ok(f, fab_ingest_put(ingest, &cid, fab_slice("wrong", 5)));
    struct fab_ingest_root root = {.cid = cid, .pin = true};
    assert_ok(f, fab_ingest_commit(ingest, &root, 1, NULL, &f->err));
    struct fab_get_options options = {.dest = "out", .verify = true};
    assert_rc(f, fab_get(f->store, f->ws, &cid, &options, NULL, &f->err), FAB_EHASH);
    assert_clean(1);
    options.verify = false;
    assert_ok(f, fab_get(f->store, f->ws, &cid, &options, NULL, &f->err));
    int null = open("/dev/null", O_WRONLY);
    struct fab_cat_options cat = {.length = UINT64_MAX, .verify = true};
    assert_rc(f, fab_cat(f->store, f->ws, &cid, &cat, null, NULL, &f->err), FAB_EHASH);
    close(null);
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    write_random("file", 1, 20000000);
    struct fab_cid cid = put_path_of(f, "file", NULL);
    atomic_bool cancel = true;
    struct fab_get_options options = {.dest = "out", .watch.cancel = &cancel};
    assert_rc(f, fab_get(f->store, f->ws, &cid, &options, NULL, &f->err), FAB_EINTERRUPTED);
    assert_clean(2);
}

struct later {
    unsigned microseconds;
    atomic_bool cancel;
};

static void *cancel_later(void *arg)
{
    struct later *later = arg;
    usleep(later->microseconds);
    atomic_store(&later->cancel, true);
    return NULL;
}

static void cancelled_at_any_moment(void **state)
{
    struct fixture *f = *state;
    char path[64];
    mkdir("d", 0755);
    write_random("d/large", 1, 20000000);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "d/f%u", i);
        write_file(path, path, strlen(path));
    }
    struct fab_cid cid = put_path_of(f, "d", NULL);
    unsigned stopped = 0;
    for (unsigned i = 0; i < 25; i++) {
        struct later later = {.microseconds = i * 300, .cancel = i == 0};
        pthread_t thread;
        struct fab_get_options options = {.dest = "out", .watch.cancel = &later.cancel};
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &later), 0);
        enum fab_rc rc = fab_get(f->store, f->ws, &cid, &options, NULL, &f->err);
        pthread_join(thread, NULL);
        if (rc == FAB_OK) {
            assert_ok(f, tree_remove(AT_FDCWD, "out"));
            continue;
        }
        assert_rc(f, rc, FAB_EINTERRUPTED);
        assert_clean(2);
        stopped++;
    }
    assert_true(stopped > 0);
}

static void other_workspace(void **state)
{
    struct fixture *f = *state;
    struct fab_workspace_info other;
    write_random("file", 1, 2000000);
    struct fab_cid cid = put_path_of(f, "file", NULL);
    assert_ok(f, fab_workspace_find(f->store, "other", true, &other, &f->err));
    struct fab_get_options options = {.dest = "out"};
    assert_rc(f, fab_get(f->store, other.id, &cid, &options, NULL, &f->err), FAB_ENOENT);
}

static void cat_ranges(void **state)
{
    struct fixture *f = *state;
    static const uint64_t offsets[] = {0, 1, 1048575, 1048576, 2999999, 3000000, 9000000};
    static const uint64_t lengths[] = {0, 1, 1048577, 3000000, UINT64_MAX};
    write_random("file", 5, 3000000);
    size_t n;
    uint8_t *p = read_file("file", &n);
    struct fab_cid cid = put_path_of(f, "file", NULL);
    for (unsigned a = 0; a < 7; a++)
        for (unsigned b = 0; b < 5; b++) {
            uint64_t begin = offsets[a] < n ? offsets[a] : n, written;
            uint64_t expected = n - begin < lengths[b] ? n - begin : lengths[b];
            struct fab_cat_options options = {.offset = offsets[a], .length = lengths[b]};
            int fd = open("out", O_RDWR | O_CREAT | O_TRUNC, 0644);
            assert_ok(f, fab_cat(f->store, f->ws, &cid, &options, fd, &written, &f->err));
            close(fd);
            assert_int_equal(written, expected);
            size_t got;
            uint8_t *q = read_file("out", &got);
            assert_int_equal(got, expected);
            assert_int_equal(memcmp(q, p + begin, got), 0);
            free(q);
        }
    free(p);
    struct fab_cid dir = put_dir(f, NULL, 0);
    assert_rc(f, fab_cat(f->store, f->ws, &dir, NULL, 1, NULL, &f->err), FAB_EINVAL);
    int full = open("/dev/full", O_WRONLY);
    assert_rc(f, fab_cat(f->store, f->ws, &cid, NULL, full, NULL, &f->err), FAB_ENOSPC);
    close(full);
}

static void archives(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 99;
    char name[1100];
    mkdir("tree", 0755);
    make_tree("tree/sub", &seed, 3);
    /* Longer than the fields of ustar, and not UTF-8. */
    memset(name, 'n', 5 + 240);
    memcpy(name, "tree/", 5);
    memcpy(name + 5 + 240, "\xff\xfe", 3);
    write_random(name, 1, 12345);
    struct fab_cid cid = put_path_of(f, "tree", &(struct fab_put_options){.hidden = true});
    struct fab_get_stats stats;
    int fd = open("out.tar", O_RDWR | O_CREAT, 0644);
    assert_ok(f, fab_get_archive(f->store, f->ws, &cid, "top", NULL, fd, &stats, &f->err));
    close(fd);
    assert_int_equal(stats.files, f->result.files);
    assert_int_equal(stats.directories, f->result.directories);
    assert_int_equal(stats.symlinks, f->result.symlinks);

    struct archive *in = archive_read_new();
    struct archive *disk = archive_write_disk_new();
    struct archive_entry *entry;
    archive_read_support_format_tar(in);
    assert_int_equal(archive_read_open_filename(in, "out.tar", 65536), ARCHIVE_OK);
    while (archive_read_next_header(in, &entry) == ARCHIVE_OK)
        assert_int_equal(archive_read_extract2(in, entry, disk), ARCHIVE_OK);
    archive_read_free(in);
    archive_write_free(disk);
    assert_trees_same("tree", "top", false);

    int full = open("/dev/full", O_WRONLY);
    assert_rc(f, fab_get_archive(f->store, f->ws, &cid, "top", NULL, full, NULL, &f->err),
              FAB_ENOSPC);
    close(full);
    assert_rc(f, fab_get_archive(f->store, f->ws, &cid, "../top", NULL, 1, NULL, &f->err),
              FAB_EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trips),      TEST(sharded),
        TEST(metadata),         TEST(destination),
        TEST(holes_stay),       TEST(hostile_names),
        TEST(names_twice),      TEST(missing_blocks),
        TEST(malformed),        TEST(endless_file),
        TEST(deep_directories), TEST(rotten),
        TEST(cancelled),        TEST(cancelled_at_any_moment),
        TEST(other_workspace),  TEST(cat_ranges),
        TEST(archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
