/* Re-hashing the store: rotten blocks are found, told, and dropped on request. */
#include "tests/support/files_fixture.h"

#include "storage/files/verify.h"

struct found {
    unsigned n;
    struct fab_cid last;
    uint64_t size;
};

static void on_bad(void *arg, struct fab_slice mh, uint64_t size)
{
    struct found *found = arg;
    found->n++;
    found->last.mh_len = (uint8_t)mh.n;
    memcpy(found->last.mh, mh.p, mh.n);
    found->size = size;
}

static struct fab_cid put_wrong(struct fixture *f, const char *right, const char *wrong)
{
    struct fab_ingest *ingest;
    struct fab_cid cid;
    assert_ok(f,
              fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(right, strlen(right)), &cid));
    assert_ok(f, fab_ingest_open(f->store, f->ws, &ingest, &f->err));
    assert_ok(f, fab_ingest_put(ingest, &cid, fab_slice(wrong, strlen(wrong))));
    struct fab_ingest_root root = {.cid = cid, .pin = true};
    assert_ok(f, fab_ingest_commit(ingest, &root, 1, NULL, &f->err));
    return cid;
}

static void put_good(struct fixture *f)
{
    char path[64];
    mkdir("d", 0755);
    for (unsigned i = 0; i < 400; i++) {
        snprintf(path, sizeof path, "d/f%u", i);
        write_random(path, i, i * 13);
    }
    write_random("d/large", 1, 20000000);
    put_path_of(f, "d", NULL);
}

static void an_empty_store(void **state)
{
    struct fixture *f = *state;
    struct fab_verify_stats stats;
    struct found found = {0};
    assert_ok(f, fab_verify(f->store, f->ws, NULL, on_bad, &found, &stats, &f->err));
    assert_int_equal(stats.blocks, 0);
}

static void a_good_store(void **state)
{
    struct fixture *f = *state;
    struct fab_verify_stats stats;
    struct found found = {0};
    struct fab_workspace_info info;
    put_good(f);
    assert_ok(f, fab_verify(f->store, f->ws, NULL, on_bad, &found, &stats, &f->err));
    assert_ok(f, fab_workspace_find(f->store, "local", false, &info, &f->err));
    assert_int_equal(found.n, 0);
    assert_int_equal(stats.rotten, 0);
    assert_int_equal(stats.blocks, info.blocks);
    assert_int_equal(stats.bytes, info.bytes);
}

static void rotten_blocks(void **state)
{
    struct fixture *f = *state;
    struct fab_verify_stats stats;
    struct found found = {0};
    put_good(f);
    struct fab_cid wrong = put_wrong(f, "right", "wrong");
    assert_ok(f, fab_verify(f->store, f->ws, NULL, on_bad, &found, &stats, &f->err));
    assert_int_equal(found.n, 1);
    assert_int_equal(found.size, 5);
    assert_true(fab_slice_eq(fab_cid_mh(&found.last), fab_cid_mh(&wrong)));
    assert_int_equal(stats.rotten, 1);
    assert_int_equal(stats.dropped, 0);

    struct fab_verify_options options = {.repair = true};
    assert_ok(f, fab_verify(f->store, f->ws, &options, on_bad, &found, &stats, &f->err));
    assert_int_equal(stats.dropped, 1);
    assert_ok(f, fab_verify(f->store, f->ws, NULL, on_bad, &found, &stats, &f->err));
    assert_int_equal(stats.rotten, 0);
    struct fab_view *view;
    uint64_t size;
    assert_ok(f, fab_view_open(f->store, f->ws, &view, &f->err));
    assert_rc(f, fab_view_size(view, &wrong, &size), FAB_ENOENT);
    fab_view_close(view);
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    struct fab_verify_stats stats;
    atomic_bool cancel = true;
    put_good(f);
    struct fab_verify_options options = {.watch.cancel = &cancel};
    assert_rc(f, fab_verify(f->store, f->ws, &options, NULL, NULL, &stats, &f->err),
              FAB_EINTERRUPTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_store),
        TEST(a_good_store),
        TEST(rotten_blocks),
        TEST(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
