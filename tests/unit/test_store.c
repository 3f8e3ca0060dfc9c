/* The store over a real LMDB environment in a temporary directory. */
#include "storage/store/store.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    struct fab_store *store;
    uint32_t ws;
};

static void open_store(struct fixture *f, const struct fab_store_options *options)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    if (fab_store_open(f->dir, options, &f->store, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(fab_workspace_find(f->store, "local", false, &info, &err), FAB_OK);
    f->ws = info.id;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/fabric-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    open_store(f, NULL);
    *state = f;
    return 0;
}

static int remove_tree(const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    assert_int_equal(remove_tree(f->dir), 0);
    free(f);
    return 0;
}

/* Block number n: `size` bytes that no other number has. */
static struct fab_cid make_block(uint64_t n, uint8_t *bytes, size_t size)
{
    struct fab_cid cid;
    memset(bytes, (int)(n & 0xff), size);
    memcpy(bytes, &n, size < sizeof n ? size : sizeof n);
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(bytes, size), &cid),
                     FAB_OK);
    return cid;
}

static struct fab_ingest *begin(struct fixture *f)
{
    struct fab_ingest *in;
    assert_int_equal(fab_ingest_open(f->store, f->ws, &in, NULL), FAB_OK);
    return in;
}

static enum fab_rc put_range(struct fab_ingest *in, uint64_t from, uint64_t to, size_t size)
{
    uint8_t *bytes = malloc(size);
    enum fab_rc rc = FAB_OK;
    for (uint64_t n = from; n < to && rc == FAB_OK; n++) {
        struct fab_cid cid = make_block(n, bytes, size);
        rc = fab_ingest_put(in, &cid, fab_slice(bytes, size));
    }
    free(bytes);
    return rc;
}

static uint64_t count_there(struct fixture *f, uint64_t from, uint64_t to, size_t size)
{
    struct fab_view *view;
    uint8_t *bytes = malloc(size);
    uint64_t there = 0;
    assert_int_equal(fab_view_open(f->store, f->ws, &view, NULL), FAB_OK);
    for (uint64_t n = from; n < to; n++) {
        struct fab_cid cid = make_block(n, bytes, size);
        struct fab_slice got;
        enum fab_rc rc = fab_view_get(view, &cid, &got);
        if (rc == FAB_OK) {
            assert_true(fab_slice_eq(got, fab_slice(bytes, size)));
            there++;
        } else {
            assert_int_equal(rc, FAB_ENOENT);
        }
    }
    fab_view_close(view);
    free(bytes);
    return there;
}

static struct fab_gc_stats collect(struct fixture *f)
{
    struct fab_gc_options options = {0};
    struct fab_gc_stats stats;
    struct fab_err err = {0};
    if (fab_gc(f->store, f->ws, &options, &stats, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    return stats;
}

static void put_and_read(void **state)
{
    struct fixture *f = *state;
    struct fab_ingest_stats stats;
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 1000, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, &stats, NULL), FAB_OK);
    assert_int_equal(stats.new_blocks, 1000);
    assert_int_equal(stats.new_bytes, 300000);
    assert_int_equal(count_there(f, 0, 1001, 300), 1000);

    in = begin(f); /* again: nothing is new */
    assert_int_equal(put_range(in, 0, 1000, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, &stats, NULL), FAB_OK);
    assert_int_equal(stats.new_blocks, 0);
    struct fab_store_info info;
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.blocks, 1000);
    assert_int_equal(info.bytes, 300000);
}

static void abort_takes_back_only_its_own(void **state)
{
    struct fixture *f = *state;
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 100, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    in = begin(f);
    assert_int_equal(put_range(in, 50, 5000, 300), FAB_OK);
    fab_ingest_abort(in);
    assert_int_equal(count_there(f, 0, 5000, 300), 100);
}

static void abort_beside_a_lease_keeps_what_it_reaches(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[300];
    struct fab_cid cid = make_block(7, bytes, sizeof bytes);
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 100, 300), FAB_OK);
    struct fab_lease *lease;
    assert_int_equal(fab_lease_root(f->store, f->ws, &cid, &lease, NULL), FAB_OK);
    fab_ingest_abort(in);
    assert_int_equal(count_there(f, 0, 100, 300), 1);
    fab_lease_release(lease);
    assert_int_equal(collect(f).removed_blocks, 1);
}

static void collection_keeps_pins_and_leases(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[300];
    struct fab_ingest_root root = {.cid = make_block(3, bytes, sizeof bytes), .pin = true};
    struct fab_cid leased = make_block(5, bytes, sizeof bytes);
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 100, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, &root, 1, NULL, NULL), FAB_OK);
    struct fab_lease *lease;
    assert_int_equal(fab_lease_root(f->store, f->ws, &leased, &lease, NULL), FAB_OK);

    struct fab_gc_options dry = {.dry_run = true};
    struct fab_gc_stats stats;
    assert_int_equal(fab_gc(f->store, f->ws, &dry, &stats, NULL), FAB_OK);
    assert_int_equal(stats.removed_blocks, 98);
    assert_int_equal(count_there(f, 0, 100, 300), 100);

    assert_int_equal(collect(f).removed_blocks, 98);
    assert_int_equal(count_there(f, 3, 4, 300), 1);
    assert_int_equal(count_there(f, 5, 6, 300), 1);
    fab_lease_release(lease);
    assert_int_equal(collect(f).removed_blocks, 1);
    assert_int_equal(fab_pin_remove(f->store, f->ws, &root.cid, NULL), FAB_OK);
    assert_int_equal(fab_pin_remove(f->store, f->ws, &root.cid, NULL), FAB_ENOENT);
    assert_int_equal(collect(f).removed_blocks, 1);
    struct fab_store_info info;
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.blocks, 0);
    assert_int_equal(info.bytes, 0);
}

static void collection_spares_a_running_put(void **state)
{
    struct fixture *f = *state;
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 100, 300), FAB_OK);
    usleep(50000); /* the writer commits when idle */
    assert_int_equal(collect(f).removed_blocks, 0);
    assert_int_equal(put_range(in, 100, 200, 300), FAB_OK);
    usleep(50000);
    assert_int_equal(collect(f).removed_blocks, 0);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(count_there(f, 0, 200, 300), 200);
    assert_int_equal(collect(f).removed_blocks, 200);
}

static void a_killed_put_leaves_garbage_only(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    pid_t pid = fork();
    if (pid == 0) {
        struct fixture child = *f;
        open_store(&child, NULL);
        struct fab_ingest *in = begin(&child);
        if (put_range(in, 0, 1000, 300) != FAB_OK)
            _exit(1);
        usleep(100000);
        kill(getpid(), 9);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    open_store(f, NULL);
    assert_true(count_there(f, 0, 1000, 300) > 0);
    collect(f);
    assert_int_equal(count_there(f, 0, 1000, 300), 0);
}

static void quota_refuses_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct fab_err err = {0};
    assert_int_equal(fab_workspace_set_quota(f->store, f->ws, 100000, NULL), FAB_OK);
    struct fab_ingest *in = begin(f);
    enum fab_rc rc = put_range(in, 0, 1000, 300);
    assert_true(rc == FAB_OK || rc == FAB_EQUOTA);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, &err), FAB_EQUOTA);
    assert_non_null(strstr(err.msg, "quota"));
    assert_int_equal(count_there(f, 0, 1000, 300), 0);
}

static void quota_takes_garbage_and_old_roots_first(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[300];
    assert_int_equal(fab_workspace_set_quota(f->store, f->ws, 100000, NULL), FAB_OK);
    struct fab_ingest_root old = {.cid = make_block(0, bytes, sizeof bytes)};
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 250, 300), FAB_OK); /* 75,000 bytes, one root of 300 */
    assert_int_equal(fab_ingest_commit(in, &old, 1, NULL, NULL), FAB_OK);
    in = begin(f);
    assert_int_equal(put_range(in, 1000, 1200, 300), FAB_OK); /* 60,000 more do not fit */
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(count_there(f, 1000, 1200, 300), 200);
    assert_int_equal(count_there(f, 1, 250, 300), 0);
    assert_int_equal(count_there(f, 0, 1, 300), 1); /* the unpinned root fits and stays */
}

static void workspaces_share_bytes_not_sight(void **state)
{
    struct fixture *f = *state;
    struct fab_workspace_info other;
    assert_int_equal(fab_workspace_find(f->store, "other", false, &other, NULL), FAB_ENOENT);
    assert_int_equal(fab_workspace_find(f->store, "other", true, &other, NULL), FAB_OK);
    assert_int_equal(fab_workspace_find(f->store, "Not/ok", true, &other, NULL), FAB_EINVAL);
    struct fixture g = *f;
    g.ws = other.id;
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 10, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(count_there(&g, 0, 10, 300), 0);
    in = begin(&g);
    assert_int_equal(put_range(in, 0, 5, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    struct fab_store_info info;
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.blocks, 10);
    assert_int_equal(collect(f).removed_blocks, 10);
    assert_int_equal(count_there(f, 0, 10, 300), 0);
    assert_int_equal(count_there(&g, 0, 10, 300), 5);
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.blocks, 5);
}

static void the_map_grows(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    open_store(f, &(struct fab_store_options){.map_bytes = 2u << 20});
    for (uint64_t round = 0; round < 3; round++) {
        struct fab_view *view;
        assert_int_equal(fab_view_open(f->store, f->ws, &view, NULL), FAB_OK);
        fab_view_close(view);
        struct fab_ingest *in = begin(f);
        assert_int_equal(put_range(in, round * 300, round * 300 + 300, 1u << 20), FAB_OK);
        assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    }
    assert_int_equal(count_there(f, 0, 900, 1u << 20), 900);
}

static void compaction_gives_space_back(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = malloc(1u << 20);
    struct fab_ingest_root root = {.cid = make_block(3, bytes, 1u << 20), .pin = true};
    free(bytes);
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 40, 1u << 20), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, &root, 1, NULL, NULL), FAB_OK);
    assert_int_equal(collect(f).removed_blocks, 39);
    struct fab_store_info before, after;
    assert_int_equal(fab_store_info(f->store, &before, NULL), FAB_OK);
    assert_int_equal(fab_store_compact(f->store, NULL), FAB_OK);
    assert_int_equal(fab_store_info(f->store, &after, NULL), FAB_OK);
    assert_true(before.file_bytes > (20u << 20));
    assert_true(after.file_bytes < (5u << 20));
    assert_int_equal(count_there(f, 3, 4, 1u << 20), 1);
    in = begin(f);
    assert_int_equal(put_range(in, 0, 3, 1u << 20), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_OK);
    assert_int_equal(count_there(f, 0, 4, 1u << 20), 4);
}

static void block_remove_respects_pins(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[300];
    struct fab_ingest_root root = {.cid = make_block(3, bytes, sizeof bytes), .pin = true};
    struct fab_cid loose = make_block(4, bytes, sizeof bytes);
    struct fab_ingest *in = begin(f);
    assert_int_equal(put_range(in, 0, 10, 300), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, &root, 1, NULL, NULL), FAB_OK);
    assert_int_equal(fab_block_remove(f->store, f->ws, &root.cid, NULL), FAB_EBUSY);
    assert_int_equal(fab_block_remove(f->store, f->ws, &loose, NULL), FAB_OK);
    assert_int_equal(fab_block_remove(f->store, f->ws, &loose, NULL), FAB_ENOENT);
    assert_int_equal(fab_block_drop_rotten(f->store, fab_cid_mh(&root.cid), NULL), FAB_OK);
    assert_int_equal(count_there(f, 0, 10, 300), 8);
}

static enum fab_rc add_up(void *arg, struct fab_slice key, struct fab_slice value)
{
    struct fab_buf *out = arg;
    assert_int_equal(value.n, 1);
    return fab_buf_append(out, key.p, key.n);
}

static void tables_keep_order_and_atomicity(void **state)
{
    struct fixture *f = *state;
    struct fab_store_batch *batch;
    const char *keys[] = {"b1", "a", "b3", "b2", "c"};
    assert_int_equal(fab_batch_begin(f->store, &batch, NULL), FAB_OK);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(
            fab_batch_put(batch, "jobs", fab_slice(keys[i], strlen(keys[i])), fab_slice("x", 1)),
            FAB_OK);
    assert_int_equal(fab_batch_put(batch, "job", fab_slice("b9", 2), fab_slice("x", 1)), FAB_OK);
    assert_int_equal(fab_batch_commit(batch, NULL), FAB_OK);
    struct fab_buf seen;
    fab_buf_init(&seen, 100);
    assert_int_equal(fab_table_each(f->store, "jobs", fab_slice("b", 1), false, add_up, &seen),
                     FAB_OK);
    assert_int_equal(fab_table_each(f->store, "jobs", fab_slice("b", 1), true, add_up, &seen),
                     FAB_OK);
    assert_int_equal(fab_table_each(f->store, "jobs", fab_slice(NULL, 0), true, add_up, &seen),
                     FAB_OK);
    assert_true(fab_slice_eq(fab_buf_slice(&seen), fab_slice("b1b2b3b3b2b1cb3b2b1a", 20)));
    fab_buf_fini(&seen);
    assert_int_equal(fab_batch_begin(f->store, &batch, NULL), FAB_OK);
    assert_int_equal(fab_batch_delete(batch, "jobs", fab_slice("a", 1)), FAB_OK);
    fab_batch_abort(batch);
    assert_int_equal(fab_table_get(f->store, "jobs", fab_slice("a", 1), &seen), FAB_OK);
    assert_int_equal(fab_table_get(f->store, "jobs", fab_slice("z", 1), &seen), FAB_ENOENT);
    fab_buf_fini(&seen);
}

/* ---- removing a workspace ---- */

static uint32_t make_workspace(struct fixture *f, const char *name)
{
    struct fab_workspace_info info;
    assert_int_equal(fab_workspace_find(f->store, name, true, &info, NULL), FAB_OK);
    return info.id;
}

/* Put blocks into another workspace than the fixture's, and pin the first. */
static void put_into(struct fixture *f, uint32_t ws, uint64_t from, uint64_t to)
{
    uint8_t bytes[300];
    uint32_t own = f->ws;
    f->ws = ws;
    struct fab_ingest *in = begin(f);
    struct fab_ingest_root root = {.cid = make_block(from, bytes, sizeof bytes), .pin = true};
    assert_int_equal(put_range(in, from, to, sizeof bytes), FAB_OK);
    assert_int_equal(fab_ingest_commit(in, &root, 1, NULL, NULL), FAB_OK);
    f->ws = own;
}

static void put_record(struct fixture *f, const char *table, uint32_t ws, uint8_t n)
{
    struct fab_store_batch *batch;
    const uint8_t key[] = {0, 0, 0, (uint8_t)ws, n};
    assert_int_equal(fab_batch_begin(f->store, &batch, NULL), FAB_OK);
    assert_int_equal(fab_batch_put(batch, table, fab_slice(key, 5), fab_slice("v", 1)), FAB_OK);
    assert_int_equal(fab_batch_commit(batch, NULL), FAB_OK);
}

static enum fab_rc count_row(void *arg, struct fab_slice key, struct fab_slice value)
{
    size_t *n = arg;
    (void)key;
    (void)value;
    (*n)++;
    return FAB_OK;
}

static size_t count_records(struct fixture *f, const char *table, uint32_t ws)
{
    size_t n = 0;
    const uint8_t prefix[] = {0, 0, 0, (uint8_t)ws};
    assert_int_equal(fab_table_each(f->store, table, fab_slice(prefix, 4), false, count_row, &n),
                     FAB_OK);
    return n;
}

static enum fab_rc count_pin(void *arg, const struct fab_pin *pin)
{
    size_t *n = arg;
    (void)pin;
    (*n)++;
    return FAB_OK;
}

static enum fab_rc count_workspace(void *arg, const struct fab_workspace_info *info)
{
    size_t *n = arg;
    assert_true(info->name[0] != 0);
    (*n)++;
    return FAB_OK;
}

static uint64_t blocks_of(struct fixture *f)
{
    struct fab_store_info info;
    assert_int_equal(fab_store_info(f->store, &info, NULL), FAB_OK);
    assert_int_equal(info.bytes, info.blocks * 300);
    return info.blocks;
}

static void a_removed_workspace_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t lab = make_workspace(f, "lab"), other = make_workspace(f, "other");
    struct fab_workspace_info info;
    struct fab_lease *lease;
    uint8_t bytes[300];
    size_t n = 0;
    put_into(f, f->ws, 0, 100);
    put_into(f, lab, 50, 200);
    put_into(f, other, 190, 210);
    for (uint8_t i = 0; i < 3; i++) {
        put_record(f, "jobs", lab, i);
        put_record(f, "zz", lab, i);
    }
    put_record(f, "jobs", f->ws, 7);
    put_record(f, "jobs", other, 7);
    put_record(f, "middle", other, 7);
    struct fab_cid unpinned = make_block(60, bytes, sizeof bytes), cid;
    assert_int_equal(fab_pin_add(f->store, lab, &unpinned, FAB_PIN_DIRECT, NULL, NULL), FAB_OK);
    assert_int_equal(fab_pin_remove(f->store, lab, &unpinned, NULL), FAB_OK); /* a root now */
    assert_int_equal(blocks_of(f), 210);

    assert_int_equal(fab_workspace_remove(f->store, lab, NULL), FAB_OK);
    assert_int_equal(fab_workspace_find(f->store, "lab", false, &info, NULL), FAB_ENOENT);
    assert_int_equal(fab_workspace_list(f->store, count_workspace, &n), FAB_OK);
    assert_int_equal(n, 2);
    cid = make_block(50, bytes, sizeof bytes); /* nothing gets into it any more */
    assert_int_equal(fab_pin_add(f->store, lab, &cid, FAB_PIN_DIRECT, NULL, NULL), FAB_ENOENT);
    struct fab_ingest *in = NULL;
    if (fab_ingest_open(f->store, lab, &in, NULL) == FAB_OK) {
        enum fab_rc rc FAB_UNUSED = put_range(in, 500, 510, sizeof bytes);
        assert_int_equal(fab_ingest_commit(in, NULL, 0, NULL, NULL), FAB_ENOENT);
    }
    assert_int_equal(blocks_of(f), 210);

    assert_int_equal(fab_workspace_sweep(f->store, NULL, NULL), FAB_OK);
    assert_int_equal(blocks_of(f), 120);
    assert_int_equal(count_there(f, 0, 210, 300), 100);
    assert_int_equal(count_records(f, "jobs", lab) + count_records(f, "zz", lab), 0);
    assert_int_equal(count_records(f, "jobs", f->ws), 1);
    assert_int_equal(count_records(f, "jobs", other), 1);
    assert_int_equal(count_records(f, "middle", other), 1);
    n = 0;
    assert_int_equal(fab_pin_list(f->store, lab, count_pin, &n), FAB_OK);
    assert_int_equal(n, 0);
    assert_int_equal(fab_workspace_sweep(f->store, NULL, NULL), FAB_OK);

    uint32_t again = make_workspace(f, "lab"); /* the number is not given again */
    assert_true(again != lab && again != other);
    f->ws = other;
    assert_int_equal(count_there(f, 190, 210, 300), 20);
    assert_int_equal(fab_lease_root(f->store, other, &cid, &lease, NULL), FAB_OK);
    fab_lease_release(lease);
}

static void a_workspace_at_work_is_not_removed(void **state)
{
    struct fixture *f = *state;
    uint32_t lab = make_workspace(f, "lab");
    struct fab_lease *lease;
    struct fab_err err = {0};
    uint8_t bytes[300];
    put_into(f, lab, 0, 10);
    struct fab_cid cid = make_block(0, bytes, sizeof bytes);
    assert_int_equal(fab_lease_root(f->store, lab, &cid, &lease, NULL), FAB_OK);
    assert_int_equal(fab_workspace_remove(f->store, lab, &err), FAB_EBUSY);
    assert_non_null(strstr(err.msg, "'lab'"));
    fab_lease_release(lease);
    struct fab_ingest *in;
    assert_int_equal(fab_ingest_open(f->store, lab, &in, NULL), FAB_OK);
    assert_int_equal(fab_workspace_remove(f->store, lab, &err), FAB_EBUSY);
    fab_ingest_abort(in);
    assert_int_equal(fab_workspace_remove(f->store, f->ws, &err), FAB_EINVAL); /* local */
    assert_int_equal(fab_workspace_remove(f->store, 999, &err), FAB_ENOENT);
    assert_int_equal(fab_workspace_remove(f->store, lab, &err), FAB_OK);
    assert_int_equal(fab_workspace_remove(f->store, lab, &err), FAB_ENOENT);
    atomic_bool cancel = true;
    assert_int_equal(fab_workspace_sweep(f->store, &cancel, &err), FAB_EINTERRUPTED);
    assert_int_equal(blocks_of(f), 10);
    (void)collect(f); /* of another workspace */
    assert_int_equal(blocks_of(f), 0);
}

/* Killed at some moment after the name is gone; the child has a store of its own. Gives how many
 * blocks the child left. */
static uint64_t kill_removal(struct fixture *f, uint32_t lab, unsigned after_us)
{
    int ready[2];
    char byte = 0;
    fab_store_close(f->store);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture own = *f;
        open_store(&own, NULL);
        if (fab_workspace_remove(own.store, lab, NULL) != FAB_OK || write(ready[1], &byte, 1) != 1)
            _exit(1);
        enum fab_rc rc FAB_UNUSED = fab_workspace_sweep(own.store, NULL, NULL);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    usleep(after_us);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    open_store(f, NULL);
    return blocks_of(f);
}

static void a_killed_removal_is_finished_later(void **state)
{
    struct fixture *f = *state;
    uint32_t keeper = make_workspace(f, "keeper");
    put_into(f, keeper, 0, 10);
    for (unsigned round = 0; round < 6; round++) {
        uint32_t lab = make_workspace(f, "lab");
        struct fab_workspace_info info;
        put_into(f, lab, 5, 10000);
        uint64_t left = kill_removal(f, lab, round * 12000);
        assert_in_range(left, 10, 10000);
        assert_int_equal(fab_workspace_find(f->store, "lab", false, &info, NULL), FAB_ENOENT);
        if (round & 1)
            (void)collect(f); /* of a workspace that has nothing to do with it */
        else
            assert_int_equal(fab_workspace_sweep(f->store, NULL, NULL), FAB_OK);
        assert_int_equal(blocks_of(f), 10);
    }
    f->ws = keeper;
    assert_int_equal(count_there(f, 0, 20, 300), 10);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(put_and_read),
        TEST(abort_takes_back_only_its_own),
        TEST(abort_beside_a_lease_keeps_what_it_reaches),
        TEST(collection_keeps_pins_and_leases),
        TEST(collection_spares_a_running_put),
        TEST(a_killed_put_leaves_garbage_only),
        TEST(quota_refuses_and_leaves_nothing),
        TEST(quota_takes_garbage_and_old_roots_first),
        TEST(workspaces_share_bytes_not_sight),
        TEST(the_map_grows),
        TEST(compaction_gives_space_back),
        TEST(block_remove_respects_pins),
        TEST(tables_keep_order_and_atomicity),
        TEST(a_removed_workspace_leaves_nothing),
        TEST(a_workspace_at_work_is_not_removed),
        TEST(a_killed_removal_is_finished_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
