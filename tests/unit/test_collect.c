/* What a collection must never take, at the moments that are hard to meet. */
#include "storage/dag/dag_cbor.h"
#include "storage/files/pin_tree.h"
#include "storage/store/store.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LEAF   300   /* bytes */
#define FILLER 10000 /* blocks: several steps of a sweep */

struct fixture {
    char dir[64];
    struct fab_store *store;
    uint32_t ws;
};

struct block {
    struct fab_cid cid;
    uint8_t bytes[LEAF];
    size_t n;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct fab_workspace_info info;
    snprintf(f->dir, sizeof f->dir, "/tmp/fabric-collect-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(fab_store_open(f->dir, NULL, &f->store, NULL), FAB_OK);
    assert_int_equal(fab_workspace_find(f->store, "local", false, &info, NULL), FAB_OK);
    f->ws = info.id;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", f->dir, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    free(f);
    return status;
}

static struct block leaf(uint64_t n)
{
    struct block b = {.n = LEAF};
    memset(b.bytes, (int)(n & 0xff), LEAF);
    memcpy(b.bytes, &n, sizeof n);
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(b.bytes, b.n), &b.cid),
                     FAB_OK);
    return b;
}

/* A dag-cbor node with two links. */
static struct block node(const struct block *left, const struct block *right)
{
    struct block b;
    struct fab_buf buf;
    fab_buf_init(&buf, LEAF);
    assert_int_equal(fab_cbor_put_array(&buf, 2), FAB_OK);
    assert_int_equal(fab_cbor_put_cid(&buf, &left->cid), FAB_OK);
    assert_int_equal(fab_cbor_put_cid(&buf, &right->cid), FAB_OK);
    b.n = buf.len;
    memcpy(b.bytes, buf.data, buf.len);
    fab_buf_fini(&buf);
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_DAG_CBOR, FAB_MH_SHA2_256, fab_slice(b.bytes, b.n), &b.cid),
        FAB_OK);
    return b;
}

static struct fab_ingest *begin(struct fixture *f)
{
    struct fab_ingest *in;
    assert_int_equal(fab_ingest_open(f->store, f->ws, &in, NULL), FAB_OK);
    return in;
}

static void give(struct fab_ingest *in, const struct block *b)
{
    assert_int_equal(fab_ingest_put(in, &b->cid, fab_slice(b->bytes, b->n)), FAB_OK);
}

/* Put blocks, unpinned and no roots. */
static void put(struct fixture *f, const struct block *a, const struct block *b)
{
    struct fab_ingest *in = begin(f);
    give(in, a);
    if (b)
        give(in, b);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
}

static bool is_there(struct fixture *f, const struct block *b)
{
    struct fab_view *view;
    struct fab_slice got;
    assert_int_equal(fab_view_open(f->store, f->ws, &view, NULL), FAB_OK);
    enum fab_rc rc = fab_view_get(view, &b->cid, &got);
    fab_view_close(view);
    assert_true(rc == FAB_OK || rc == FAB_ENOENT);
    return rc == FAB_OK;
}

static void wait_until_there(struct fixture *f, const struct block *b)
{
    for (int i = 0; i < 5000 && !is_there(f, b); i++)
        usleep(1000);
    assert_true(is_there(f, b));
}

static void pin(struct fixture *f, const struct block *b, enum fab_pin_mode mode)
{
    assert_int_equal(fab_pin_add(f->store, f->ws, &b->cid, mode, NULL, NULL), FAB_OK);
}

static struct fab_gc_stats collect(struct fixture *f, struct fab_gc_options options)
{
    struct fab_gc_stats stats = {0};
    struct fab_err err = {0};
    if (fab_gc(f->store, f->ws, &options, &stats, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    return stats;
}

/* FILLER unpinned blocks, all before the greatest multihash, which is *last, in the sweep. */
static void fill(struct fixture *f, struct block *last)
{
    struct fab_ingest *in = begin(f);
    *last = leaf(1000000);
    for (uint64_t i = 0; i < FILLER; i++) {
        struct block b = leaf(1000000 + i);
        struct fab_slice mh = fab_cid_mh(&b.cid);
        if (memcmp(mh.p, fab_cid_mh(&last->cid).p, mh.n) > 0)
            *last = b;
        give(in, &b);
    }
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
}

/* ---- marking ---- */

static void bytes_of_a_node_as_a_leaf_hide_nothing(void **state)
{
    struct fixture *f = *state;
    struct block a = leaf(1), b = leaf(2), root = node(&a, &b), same = root;
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(root.bytes, root.n), &same.cid),
        FAB_OK);
    put(f, &a, &b);
    put(f, &root, NULL);
    pin(f, &same, FAB_PIN_RECURSIVE); /* comes first: raw sorts before dag-cbor */
    pin(f, &root, FAB_PIN_RECURSIVE);
    assert_int_equal(collect(f, (struct fab_gc_options){0}).removed_blocks, 0);
    assert_true(is_there(f, &a) && is_there(f, &b));
}

static void an_eviction_keeps_a_direct_pin_of_what_it_drops(void **state)
{
    struct fixture *f = *state;
    struct block a = leaf(1), b = leaf(2), kept = node(&a, &b), c = leaf(3), root = node(&kept, &c);
    put(f, &a, &b);
    put(f, &kept, &c);
    struct fab_ingest *in = begin(f);
    struct fab_ingest_root unpinned = {.cid = root.cid};
    give(in, &root);
    assert_int_equal(fab_ingest_commit(in, &unpinned, 1, NULL, NULL), FAB_OK);
    pin(f, &kept, FAB_PIN_DIRECT);
    collect(f, (struct fab_gc_options){.keep_bytes = 1});
    assert_true(is_there(f, &kept));
    assert_false(is_there(f, &root));
}

/* ---- beside a collection ---- */

struct beside {
    struct fixture *f;
    struct block root, last;
    bool pinned, done;
};

/* In the middle of the sweep: a root comes that links to what is swept last. */
static void root_comes(void *arg, const char *phase, uint64_t done, uint64_t total)
{
    struct beside *b = arg;
    (void)total;
    if (b->done || strcmp(phase, "sweeping") != 0 || done == 0)
        return;
    b->done = true;
    assert_true(is_there(b->f, &b->last));
    struct fab_ingest *in = begin(b->f);
    struct fab_ingest_root root = {.cid = b->root.cid, .pin = b->pinned};
    give(in, &b->root);
    if (b->pinned)
        assert_int_equal(
            fab_pin_commit(b->f->store, b->f->ws, in, &root, 1, false, NULL, NULL, NULL), FAB_OK);
    else
        assert_int_equal(fab_ingest_commit(in, &root, 1, NULL, NULL), FAB_OK);
}

static void a_pin_of_what_was_missing_at_the_mark(void **state)
{
    struct fixture *f = *state;
    struct beside b = {.f = f, .pinned = true};
    struct fab_lease *lease;
    fill(f, &b.last);
    b.root = node(&b.last, &b.last);
    assert_int_equal(fab_lease_root(f->store, f->ws, &b.root.cid, &lease, NULL), FAB_OK);
    struct fab_gc_stats stats =
        collect(f, (struct fab_gc_options){.progress = root_comes, .arg = &b});
    fab_lease_release(lease);
    assert_true(b.done);
    assert_int_equal(stats.removed_blocks, FILLER - 1);
    assert_true(is_there(f, &b.root) && is_there(f, &b.last));
}

static void an_unpinned_root_that_comes_beside_it(void **state)
{
    struct fixture *f = *state;
    struct beside b = {.f = f};
    struct fab_gc_options keep = {.keep_bytes = UINT64_MAX, .progress = root_comes, .arg = &b};
    fill(f, &b.last);
    b.root = leaf(1);
    collect(f, keep);
    assert_true(b.done && is_there(f, &b.root));
    keep.progress = NULL;
    collect(f, keep);
    assert_true(is_there(f, &b.root));
}

static void removals_end_after_a_pin_was_logged(void **state)
{
    struct fixture *f = *state;
    struct beside b = {.f = f, .pinned = true};
    struct block loose = leaf(1), taken = leaf(2);
    fill(f, &b.last);
    b.root = node(&b.last, &b.last);
    collect(f, (struct fab_gc_options){.progress = root_comes, .arg = &b});
    put(f, &loose, NULL);
    assert_int_equal(fab_block_remove(f->store, f->ws, &loose.cid, NULL), FAB_OK);
    struct fab_ingest *in = begin(f);
    give(in, &taken);
    wait_until_there(f, &taken);
    pin(f, &b.last, FAB_PIN_DIRECT); /* what is taken back is looked at closely */
    fab_ingest_abort(in);
    assert_false(is_there(f, &taken));
    assert_true(is_there(f, &b.last));
}

/* ---- beside puts ---- */

static void one_put_takes_back_nothing_of_another(void **state)
{
    struct fixture *f = *state;
    struct block x = leaf(1);
    struct fab_ingest *a = begin(f), *b = begin(f);
    struct fab_ingest_root root = {.cid = x.cid, .pin = true};
    give(a, &x);
    wait_until_there(f, &x);
    give(b, &x);
    assert_int_equal(fab_ingest_finish(b, NULL), FAB_OK);
    give(a, &x);
    fab_ingest_abort(a);
    assert_int_equal(fab_ingest_commit(b, &root, 1, NULL, NULL), FAB_OK);
    assert_true(is_there(f, &x));
}

static void a_block_of_a_put_is_not_removed(void **state)
{
    struct fixture *f = *state;
    struct block x = leaf(1);
    struct fab_ingest *in = begin(f);
    give(in, &x);
    wait_until_there(f, &x);
    assert_int_equal(fab_block_remove(f->store, f->ws, &x.cid, NULL), FAB_EBUSY);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(fab_block_remove(f->store, f->ws, &x.cid, NULL), FAB_OK);
}

/* Cut short the lease of the one that is at work. */
static void spoil_lease(struct fixture *f)
{
    char path[512];
    snprintf(path, sizeof path, "%s/leases", f->dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/leases/%.64s", f->dir, e->d_name);
        assert_int_equal(truncate(path, 0), 0);
    }
    closedir(dir);
}

static void a_lease_that_cannot_be_read_stops_it(void **state)
{
    struct fixture *f = *state;
    struct block x = leaf(1);
    struct fab_ingest *in = begin(f);
    struct fab_gc_options options = {0};
    give(in, &x);
    wait_until_there(f, &x);
    spoil_lease(f);
    assert_int_equal(fab_gc(f->store, f->ws, &options, NULL, NULL), FAB_EFORMAT);
    assert_true(is_there(f, &x));
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(collect(f, options).removed_blocks, 1);
}

/* ---- pinning what is whole ---- */

static void what_is_not_whole_is_taken_back_or_kept_unpinned(void **state)
{
    struct fixture *f = *state;
    struct block a = leaf(1), b = leaf(2), root = node(&a, &b);
    struct fab_ingest_root pinned = {.cid = root.cid, .pin = true};
    struct fab_pin found;
    for (int keep = 0; keep < 2; keep++) {
        struct fab_ingest *in = begin(f);
        give(in, &root);
        give(in, &a);
        assert_int_equal(
            fab_pin_commit(f->store, f->ws, in, &pinned, 1, keep == 1, NULL, NULL, NULL),
            FAB_ENOENT);
        assert_int_equal(is_there(f, &root) + is_there(f, &a), keep ? 2 : 0);
        assert_int_equal(fab_pin_get(f->store, f->ws, &root.cid, &found), FAB_ENOENT);
    }
    put(f, &b, NULL);
    assert_int_equal(fab_pin_commit(f->store, f->ws, begin(f), &pinned, 1, false, NULL, NULL, NULL),
                     FAB_OK);
    assert_int_equal(collect(f, (struct fab_gc_options){0}).removed_blocks, 0);
}

static void a_rotten_block_goes_from_all_workspaces(void **state)
{
    struct fixture *f = *state;
    struct fab_workspace_info other;
    struct block x = leaf(1);
    struct fab_ingest *in;
    assert_int_equal(fab_workspace_find(f->store, "other", true, &other, NULL), FAB_OK);
    put(f, &x, NULL);
    assert_int_equal(fab_ingest_open(f->store, other.id, &in, NULL), FAB_OK);
    give(in, &x);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(fab_block_drop_rotten(f->store, fab_cid_mh(&x.cid), NULL), FAB_OK);
    assert_false(is_there(f, &x));
    struct fab_store_info info;
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.blocks, 0);
    assert_int_equal(info.bytes, 0);
    assert_int_equal(fab_block_drop_rotten(f->store, fab_cid_mh(&x.cid), NULL), FAB_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_of_a_node_as_a_leaf_hide_nothing),
        TEST(an_eviction_keeps_a_direct_pin_of_what_it_drops),
        TEST(a_pin_of_what_was_missing_at_the_mark),
        TEST(an_unpinned_root_that_comes_beside_it),
        TEST(removals_end_after_a_pin_was_logged),
        TEST(one_put_takes_back_nothing_of_another),
        TEST(a_block_of_a_put_is_not_removed),
        TEST(a_lease_that_cannot_be_read_stops_it),
        TEST(what_is_not_whole_is_taken_back_or_kept_unpinned),
        TEST(a_rotten_block_goes_from_all_workspaces),
    };
    alarm(120); /* one of them was once an endless loop */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
