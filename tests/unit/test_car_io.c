/* CAR archives out of one workspace and into another, whole, damaged and incomplete. */
#include "tests/support/car_fixtures.h"
#include "tests/support/files_fixture.h"

#include "storage/files/car_io.h"
#include "storage/files/get.h"
#include "storage/files/pin_tree.h"

#include <pthread.h>

struct roots {
    unsigned n;
    struct fab_cid last;
};

static void on_root(void *arg, const struct fab_cid *cid)
{
    struct roots *roots = arg;
    roots->n++;
    roots->last = *cid;
}

static uint32_t workspace(struct fixture *f, const char *name)
{
    struct fab_workspace_info info;
    assert_ok(f, fab_workspace_find(f->store, name, true, &info, &f->err));
    return info.id;
}

static uint64_t workspace_blocks(struct fixture *f, const char *name)
{
    struct fab_workspace_info info;
    assert_ok(f, fab_workspace_find(f->store, name, false, &info, &f->err));
    return info.blocks;
}

static void export_to(struct fixture *f, const struct fab_cid *roots, size_t n, const char *path)
{
    struct fab_car_stats stats;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_ok(f, fab_car_export(f->store, f->ws, roots, n, fd, NULL, &stats, &f->err));
    assert_int_equal(stats.roots, n);
    close(fd);
}

static enum fab_rc import_from(struct fixture *f, uint32_t ws, const char *path,
                               const struct fab_car_import_options *options, struct roots *roots,
                               struct fab_car_stats *stats)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    enum fab_rc rc = fab_car_import(f->store, ws, fd, options, on_root, roots, stats, &f->err);
    close(fd);
    return rc;
}

static void round_trip(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 7;
    mkdir("t", 0755);
    make_tree("t/tree", &seed, 4);
    write_random("t/large", 1, 6000000);
    struct fab_cid cid = put_path_of(f, "t", &(struct fab_put_options){.hidden = true});
    export_to(f, &cid, 1, "a.car");

    uint32_t other = workspace(f, "other");
    struct roots roots = {0};
    struct fab_car_stats stats;
    struct fab_car_import_options options = {.name = "imported"};
    assert_ok(f, import_from(f, other, "a.car", &options, &roots, &stats));
    assert_int_equal(roots.n, 1);
    assert_cid_same(&roots.last, &cid);
    assert_int_equal(stats.blocks, stats.new_blocks);
    assert_int_equal(workspace_blocks(f, "other"), workspace_blocks(f, "local"));
    struct fab_pin pin;
    assert_ok(f, fab_pin_get(f->store, other, &cid, &pin));
    assert_string_equal(pin.name, "imported");
    struct fab_get_options get = {.dest = "out", .verify = true};
    assert_ok(f, fab_get(f->store, other, &cid, &get, NULL, &f->err));
    assert_trees_same("t", "out", false);

    /* Again: nothing is new. */
    assert_ok(f, import_from(f, other, "a.car", &options, &roots, &stats));
    assert_int_equal(stats.new_blocks, 0);
}

static void several_roots(void **state)
{
    struct fixture *f = *state;
    struct fab_cid roots[3];
    write_random("a", 1, 100);
    write_random("b", 2, 3000000);
    roots[0] = put_path_of(f, "a", NULL);
    roots[1] = put_path_of(f, "b", NULL);
    roots[2] = roots[0];
    export_to(f, roots, 3, "a.car");
    struct stat st;
    assert_int_equal(stat("a.car", &st), 0);
    assert_true(st.st_size < 3000000 + 100 + 1000); /* each block once */
    uint32_t other = workspace(f, "other");
    struct roots seen = {0};
    assert_ok(f, import_from(f, other, "a.car", NULL, &seen, NULL));
    assert_int_equal(seen.n, 3);
    struct fab_pin pin;
    assert_ok(f, fab_pin_get(f->store, other, &roots[1], &pin));
}

static void export_refusals(void **state)
{
    struct fixture *f = *state;
    struct fab_cid absent;
    assert_ok(f, fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice("gone", 4), &absent));
    int fd = open("/dev/null", O_WRONLY);
    assert_rc(f, fab_car_export(f->store, f->ws, &absent, 1, fd, NULL, NULL, &f->err), FAB_ENOENT);
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(&absent, text);
    assert_non_null(strstr(f->err.msg, text));
    close(fd);
    write_random("a", 1, 3000000);
    struct fab_cid a = put_path_of(f, "a", NULL);
    fd = open("/dev/full", O_WRONLY);
    assert_rc(f, fab_car_export(f->store, f->ws, &a, 1, fd, NULL, NULL, &f->err), FAB_ENOSPC);
    close(fd);
    atomic_bool cancel = true;
    fd = open("/dev/null", O_WRONLY);
    assert_rc(f,
              fab_car_export(f->store, f->ws, &a, 1, fd, &(struct fab_watch){.cancel = &cancel},
                             NULL, &f->err),
              FAB_EINTERRUPTED);
    close(fd);
}

static void damage(void **state)
{
    struct fixture *f = *state;
    write_random("a", 1, 50000000); /* several transactions of the writer */
    struct fab_cid a = put_path_of(f, "a", NULL);
    export_to(f, &a, 1, "a.car");
    size_t n;
    uint8_t *p = read_file("a.car", &n);
    uint32_t other = workspace(f, "other");
    struct roots roots = {0};

    p[n - 5] ^= 1;
    write_file("b.car", p, n);
    p[n - 5] ^= 1;
    assert_rc(f, import_from(f, other, "b.car", NULL, &roots, NULL), FAB_EHASH);
    assert_int_equal(workspace_blocks(f, "other"), 0);

    write_file("b.car", p, n - 100);
    assert_rc(f, import_from(f, other, "b.car", NULL, &roots, NULL), FAB_EFORMAT);
    assert_int_equal(workspace_blocks(f, "other"), 0);

    write_file("b.car", "not a car", 9);
    assert_rc(f, import_from(f, other, "b.car", NULL, &roots, NULL), FAB_EFORMAT);
    write_file("b.car", "", 0);
    assert_rc(f, import_from(f, other, "b.car", NULL, &roots, NULL), FAB_EFORMAT);

    atomic_bool cancel = true;
    struct fab_car_import_options options = {.watch.cancel = &cancel};
    assert_rc(f, import_from(f, other, "a.car", &options, &roots, NULL), FAB_EINTERRUPTED);

    assert_ok(f, fab_workspace_set_quota(f->store, other, 20000000, &f->err));
    assert_rc(f, import_from(f, other, "a.car", NULL, &roots, NULL), FAB_EQUOTA);
    assert_int_equal(workspace_blocks(f, "other"), 0);
    assert_int_equal(roots.n, 0);
    struct fab_pin pin;
    assert_rc(f, fab_pin_get(f->store, other, &a, &pin), FAB_ENOENT);
    free(p);
}

/* The archive's last block left out. */
static void incomplete(void **state)
{
    struct fixture *f = *state;
    write_random("a", 1, 2 * 1048576 + 1000);
    struct fab_cid a = put_path_of(f, "a", NULL);
    export_to(f, &a, 1, "a.car");
    size_t n;
    uint8_t *p = read_file("a.car", &n);
    write_file("b.car", p, n - 1000 - 38); /* varint of 1036 takes 2 bytes, the CID 36 */
    free(p);
    uint32_t other = workspace(f, "other");
    struct roots roots = {0};
    struct fab_pin pin;
    assert_rc(f, import_from(f, other, "b.car", NULL, &roots, NULL), FAB_ENOENT);
    assert_non_null(strstr(f->err.msg, "1 of its blocks"));
    assert_int_equal(roots.n, 0);
    assert_rc(f, fab_pin_get(f->store, other, &a, &pin), FAB_ENOENT);
    assert_int_equal(workspace_blocks(f, "other"), 0);

    /* Without a pin it is taken. */
    struct fab_car_import_options options = {.no_pin = true};
    assert_ok(f, import_from(f, other, "b.car", &options, &roots, NULL));
    assert_int_equal(roots.n, 1);
    struct fab_tree_stats stats;
    assert_rc(f, fab_tree_check(f->store, other, &a, NULL, &stats, &f->err), FAB_ENOENT);
    assert_int_equal(stats.missing, 1);
    assert_int_equal(stats.blocks, 3);
    assert_rc(f, fab_pin_tree(f->store, other, &a, FAB_PIN_RECURSIVE, NULL, NULL, NULL, &f->err),
              FAB_ENOENT);
    assert_rc(f, fab_pin_get(f->store, other, &a, &pin), FAB_ENOENT);
    assert_ok(f, fab_pin_tree(f->store, other, &a, FAB_PIN_DIRECT, "direct", NULL, NULL, &f->err));
    assert_rc(f,
              fab_pin_tree(f->store, other, &stats.first_missing[0], FAB_PIN_DIRECT, NULL, NULL,
                           NULL, &f->err),
              FAB_ENOENT);

    /* The whole one makes it whole. */
    assert_ok(f, import_from(f, other, "a.car", NULL, &roots, NULL));
    assert_ok(f, fab_tree_check(f->store, other, &a, NULL, &stats, &f->err));
    assert_int_equal(stats.blocks, 4);
    assert_ok(f, fab_pin_get(f->store, other, &a, &pin));
    assert_int_equal(pin.mode, FAB_PIN_RECURSIVE);
}

struct pump {
    int fd;
    const char *path;
};

static void *pump(void *arg)
{
    struct pump *pump = arg;
    size_t n;
    uint8_t *p = read_file(pump->path, &n);
    for (size_t at = 0; at < n;) {
        ssize_t w = write(pump->fd, p + at, n - at < 4321 ? n - at : 4321);
        if (w <= 0)
            break;
        at += (size_t)w;
    }
    close(pump->fd);
    free(p);
    return NULL;
}

static void through_a_pipe(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    pthread_t thread;
    struct roots roots = {0};
    write_random("a", 1, 5000000);
    struct fab_cid a = put_path_of(f, "a", NULL);
    export_to(f, &a, 1, "a.car");
    assert_int_equal(pipe(ends), 0);
    struct pump p = {.fd = ends[1], .path = "a.car"};
    assert_int_equal(pthread_create(&thread, NULL, pump, &p), 0);
    assert_ok(f, fab_car_import(f->store, workspace(f, "other"), ends[0], NULL, on_root, &roots,
                                NULL, &f->err));
    pthread_join(thread, NULL);
    close(ends[0]);
    assert_int_equal(roots.n, 1);
}

static void the_specifications_archives(void **state)
{
    struct fixture *f = *state;
    struct roots roots = {0};
    struct fab_car_stats one, two;
    struct fab_car_import_options options = {.no_pin = true};
    write_file("one.car", carv1_basic, sizeof carv1_basic);
    write_file("two.car", carv2_basic, sizeof carv2_basic);
    assert_ok(f, import_from(f, workspace(f, "one"), "one.car", &options, &roots, &one));
    assert_int_equal(roots.n, 2);
    assert_int_equal(one.blocks, workspace_blocks(f, "one"));
    assert_ok(f, import_from(f, workspace(f, "two"), "two.car", &options, &roots, &two));
    assert_int_equal(two.blocks, workspace_blocks(f, "two"));
    /* What the second holds is whole, so its roots can be pinned; and comes out as it went in. */
    assert_ok(f, import_from(f, workspace(f, "two"), "two.car", NULL, &roots, &two));
    assert_int_equal(two.new_blocks, 0);
    f->ws = workspace(f, "two");
    export_to(f, &roots.last, 1, "out.car");
    assert_ok(f, import_from(f, workspace(f, "three"), "out.car", NULL, &roots, NULL));
    assert_int_equal(workspace_blocks(f, "three"), workspace_blocks(f, "two"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trip),
        TEST(several_roots),
        TEST(export_refusals),
        TEST(damage),
        TEST(incomplete),
        TEST(through_a_pipe),
        TEST(the_specifications_archives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
