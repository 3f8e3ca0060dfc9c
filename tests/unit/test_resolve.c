/* Paths and what a CID is. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dag_cbor.h"
#include "storage/dag/dir_builder.h"
#include "storage/dag/resolve.h"

struct tree {
    struct mem_blocks blocks;
    struct fab_block_source source;
    struct fab_cid file, dir, sub, hamt, link, cbor;
};

static struct fab_cid put_block(struct tree *t, uint64_t codec, struct fab_slice s)
{
    struct fab_cid cid;
    assert_ok(fab_cid_of(1, codec, FAB_MH_SHA2_256, s, &cid));
    assert_ok(mem_put(&t->blocks, &cid, s));
    return cid;
}

static struct fab_cid make_dir(struct tree *t, const struct fab_profile *profile,
                               const char *const *names, const struct fab_cid *cids, size_t count)
{
    struct fab_unixfs_attr attr = {.has_mode = true, .mode = 0750};
    struct fab_block_sink sink = mem_sink(&t->blocks);
    struct fab_dir_builder *b;
    struct fab_dag_entry e;
    assert_ok(fab_dir_builder_new(profile, 0, &b));
    for (size_t i = 0; i < count; i++)
        assert_ok(fab_dir_builder_add(b, fab_slice(names[i], strlen(names[i])), &cids[i], 7));
    assert_ok(fab_dir_builder_finish(b, &attr, &sink, &e));
    fab_dir_builder_free(b);
    return e.cid;
}

/* dir/ { file, "odd name", cbor, sub/ { link, hamt/ (sharded) { file } } } */
static int setup(void **state)
{
    struct tree *t = calloc(1, sizeof *t);
    struct fab_profile sharded = *fab_profile_default();
    struct fab_buf buf;
    assert_non_null(t);
    sharded.hamt_threshold = 1;
    t->source = mem_source(&t->blocks);
    t->file =
        import_slice(fab_profile_find("unixfs-v0-2015"), NULL, &t->blocks, fab_slice("hello", 5))
            .cid;
    fab_buf_init(&buf, 8192);
    assert_ok(fab_unixfs_symlink(fab_slice("../file", 7), NULL, &buf));
    t->link = put_block(t, FAB_CODEC_DAG_PB, fab_buf_slice(&buf));
    fab_buf_fini(&buf);
    t->cbor = put_block(t, FAB_CODEC_DAG_CBOR, fab_slice("\xa0", 1));
    t->hamt = make_dir(t, &sharded, (const char *const[]){"file"}, &t->file, 1);
    t->sub = make_dir(t, fab_profile_default(), (const char *const[]){"link", "hamt"},
                      (const struct fab_cid[]){t->link, t->hamt}, 2);
    t->dir =
        make_dir(t, fab_profile_default(), (const char *const[]){"file", "odd name", "cbor", "sub"},
                 (const struct fab_cid[]){t->file, t->file, t->cbor, t->sub}, 4);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct tree *t = *state;
    mem_fini(&t->blocks);
    free(t);
    return 0;
}

static void test_parse(void **state)
{
    static const char cid[] = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    static const struct {
        const char *before, *after, *path;
    } good[] = {
        {"", "", ""},      {"/ipfs/", "", ""},          {"ipfs://", "/a/b", "a/b"}, {"", "/", ""},
        {"", "/a/", "a/"}, {"/ipfs/", "/a//b", "a//b"}, {"", "//a", "/a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char text[256];
        struct fab_cid got;
        struct fab_slice path;
        snprintf(text, sizeof text, "%s%s%s", good[i].before, cid, good[i].after);
        assert_ok(fab_path_parse(text, &got, &path, NULL));
        assert_cid(&got, cid);
        assert_true(fab_slice_eq(path, fab_slice(good[i].path, strlen(good[i].path))));
    }
    static const char *bad[] = {
        "",       "/",           "/ipfs/",     "ipfs://",       "hello",
        "/ipns/", "ipfs:/x/y/z", "/ipfs//a/b", "Qm/a",          "b/a",
        "a b/c",  "http://x/y",  "QmWmRj3d",   "bafkreifzjut3", "/some/file"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fab_cid got;
        struct fab_slice path;
        struct fab_err err = {0};
        assert_int_equal(fab_path_parse(bad[i], &got, &path, &err), FAB_EFORMAT);
        assert_true(err.msg[0] != '\0');
    }
}

static void check(struct tree *t, const char *path, enum fab_rc rc, const struct fab_cid *expect,
                  const char *word)
{
    char root[FAB_CID_TEXT_MAX], text[1024];
    struct fab_err err = {0};
    struct fab_cid got;
    fab_cid_text(&t->dir, root);
    snprintf(text, sizeof text, "%s%s", root, path);
    assert_int_equal(fab_resolve(&t->source, text, &got, &err), rc);
    if (expect)
        assert_true(fab_cid_eq(&got, expect));
    if (word)
        assert_non_null(strstr(err.msg, word));
}

static void test_resolve(void **state)
{
    struct tree *t = *state;
    check(t, "", FAB_OK, &t->dir, NULL);
    check(t, "/", FAB_OK, &t->dir, NULL);
    check(t, "/file", FAB_OK, &t->file, NULL);
    check(t, "/odd name", FAB_OK, &t->file, NULL);
    check(t, "/sub//hamt/", FAB_OK, &t->hamt, NULL);
    check(t, "/sub/hamt/file", FAB_OK, &t->file, NULL);
    check(t, "/sub/link", FAB_OK, &t->link, NULL);
    check(t, "/cbor", FAB_OK, &t->cbor, NULL);
    check(t, "/nothing", FAB_ENOENT, NULL, "/nothing: no such name");
    check(t, "/sub/hamt/nothing/x", FAB_ENOENT, NULL, "/sub/hamt/nothing: no such name");
    check(t, "/file/x", FAB_EINVAL, NULL, "/file: not a directory");
    check(t, "/sub/link/x", FAB_EINVAL, NULL, "/sub/link: not a directory");
    check(t, "/cbor/x", FAB_EINVAL, NULL, "/cbor: not a directory");
    check(t, "/sub/../file", FAB_ENOENT, NULL, "/sub/..: no such name");
    mem_drop(&t->blocks, &t->sub);
    check(t, "/sub", FAB_OK, &t->sub, NULL);
    check(t, "/sub/link", FAB_ENOENT, NULL, "/sub: a block");
}

static void test_components_limit(void **state)
{
    struct tree *t = *state;
    struct fab_cid cid = t->file;
    char path[2 * FAB_PATH_COMPONENTS_MAX + 4];
    struct fab_err err = {0};
    for (unsigned i = 0; i < FAB_PATH_COMPONENTS_MAX + 1; i++) {
        cid = make_dir(t, fab_profile_default(), (const char *const[]){"d"}, &cid, 1);
        memcpy(path + (size_t)2 * i, "d/", 2);
    }
    struct fab_cid got;
    assert_ok(fab_resolve_from(&t->source, &cid,
                               fab_slice(path, (size_t)2 * FAB_PATH_COMPONENTS_MAX), &got, &err));
    assert_int_equal(fab_resolve_from(&t->source, &cid,
                                      fab_slice(path, (size_t)2 * FAB_PATH_COMPONENTS_MAX + 2),
                                      &got, &err),
                     FAB_ELIMIT);
    assert_non_null(strstr(err.msg, "too many"));
}

static void test_stat(void **state)
{
    struct tree *t = *state;
    struct fab_node_info info;
    assert_ok(fab_node_stat(&t->source, &t->file, &info));
    assert_int_equal(info.kind, FAB_NODE_FILE);
    assert_int_equal(info.size, 5);
    assert_int_equal(info.block_bytes, 13);
    assert_int_equal(info.tsize, 13);
    assert_int_equal(info.links, 0);
    assert_ok(fab_node_stat(&t->source, &t->dir, &info));
    assert_int_equal(info.kind, FAB_NODE_DIRECTORY);
    assert_int_equal(info.links, 4);
    assert_int_equal(info.tsize, info.block_bytes + 4 * 7);
    assert_true(info.attr.has_mode);
    assert_int_equal(info.attr.mode, 0750);
    assert_ok(fab_node_stat(&t->source, &t->hamt, &info));
    assert_int_equal(info.kind, FAB_NODE_HAMT);
    assert_ok(fab_node_stat(&t->source, &t->link, &info));
    assert_int_equal(info.kind, FAB_NODE_SYMLINK);
    assert_int_equal(info.size, 7);
    assert_string_equal(info.target, "../file");
    assert_ok(fab_node_stat(&t->source, &t->cbor, &info));
    assert_int_equal(info.kind, FAB_NODE_OTHER);
    assert_int_equal(info.size, 1);
    struct fab_cid raw = put_block(t, FAB_CODEC_RAW, fab_slice("raw bytes", 9));
    assert_ok(fab_node_stat(&t->source, &raw, &info));
    assert_int_equal(info.kind, FAB_NODE_RAW);
    assert_int_equal(info.size, 9);
    struct fab_cid plain = put_block(t, FAB_CODEC_DAG_PB, fab_slice("\x0a\x01x", 3));
    assert_ok(fab_node_stat(&t->source, &plain, &info));
    assert_int_equal(info.kind, FAB_NODE_OTHER);
    for (enum fab_node_kind k = FAB_NODE_RAW; k <= FAB_NODE_OTHER; k++)
        assert_true(strlen(fab_node_kind_text(k)) > 0);
}

static void test_stat_refuses(void **state)
{
    struct tree *t = *state;
    struct fab_node_info info;
    struct fab_cid cid = put_block(t, FAB_CODEC_DAG_PB, fab_slice("\x0a\x05x", 3));
    assert_int_equal(fab_node_stat(&t->source, &cid, &info), FAB_EFORMAT);
    cid = put_block(t, FAB_CODEC_DAG_PB, fab_slice("\x0a\x07\x08\x04\x12\x03x\0y", 9));
    assert_int_equal(fab_node_stat(&t->source, &cid, &info), FAB_EFORMAT);
    cid = put_block(t, FAB_CODEC_DAG_PB, fab_slice("\x0a\x02\x08\x04", 4)); /* no target */
    assert_int_equal(fab_node_stat(&t->source, &cid, &info), FAB_EFORMAT);
    cid = put_block(t, FAB_CODEC_DAG_CBOR, fab_slice("\xff", 1));
    assert_int_equal(fab_node_stat(&t->source, &cid, &info), FAB_EFORMAT);
    mem_drop(&t->blocks, &cid);
    assert_int_equal(fab_node_stat(&t->source, &cid, &info), FAB_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_components_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stat, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stat_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
