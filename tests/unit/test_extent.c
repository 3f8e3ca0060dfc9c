/* Blocks in blocks.dat: what is written stays as it is for whoever may still read it (the store, a
 * snapshot, the state that a crash leads back to), and room is used again.
 *
 * Sizes and order come from a seed, which a failure prints; FABRIC_EXTENT_SEED sets it. */
#include "storage/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <lmdb.h>

#define BLOCKS  400
#define LARGEST FAB_BLOCK_MAX

static uint64_t rng;

static uint64_t rng_next(void)
{
    rng += 0x9e3779b97f4a7c15u;
    uint64_t z = (rng ^ rng >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static atomic_bool short_writes;

/* In place of the C library's, for the store too: it may write less than it was asked to. */
ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    struct iovec less[64];
    int kept = 0;
    if (!short_writes)
        return syscall(SYS_pwritev, fd, parts, n, offset, 0);
    size_t left = 0;
    for (int i = 0; i < n; i++)
        left += parts[i].iov_len;
    if (left >= 1024) /* one sector less, or half of it */
        left = rng_next() % 2 ? left - 512 : left / 1024 * 512;
    for (; kept < n && kept < 64 && left > 0; kept++) {
        less[kept] = parts[kept];
        if (less[kept].iov_len > left)
            less[kept].iov_len = left;
        left -= less[kept].iov_len;
    }
    return syscall(SYS_pwritev, fd, less, kept, offset, 0);
}

struct fixture {
    char dir[64];
    struct fab_store *store;
    uint32_t ws;
    struct {
        struct fab_cid cid;
        size_t size; /* 0: not there */
    } block[BLOCKS];
    uint64_t next; /* every block made is another one */
};

static struct fab_store *open_store(const char *dir, uint32_t *ws)
{
    struct fab_err err = {0};
    struct fab_workspace_info info;
    struct fab_store *store;
    if (fab_store_open(dir, &(struct fab_store_options){.cached = 300000}, &store, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(fab_workspace_find(store, "local", false, &info, &err), FAB_OK);
    *ws = info.id;
    return store;
}

static void run(const char *program, const char *a, const char *b, const char *c)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp(program, program, a, b, c, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *seed = getenv("FABRIC_EXTENT_SEED");
    assert_non_null(f);
    rng = seed ? strtoull(seed, NULL, 10) : 1;
    print_message("seed %llu\n", (unsigned long long)rng);
    snprintf(f->dir, sizeof f->dir, "/tmp/fabric-extent-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->store = open_store(f->dir, &f->ws);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    run("rm", "-rf", "--", f->dir);
    free(f);
    return 0;
}

/* Bytes that tell which block and which place in it they are. */
static void fill(uint8_t *bytes, uint64_t n, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((n * 0x9e3779b97f4a7c15u) >> (i % 57)) ^ (uint8_t)(i >> 12);
    memcpy(bytes, &n, size < sizeof n ? size : sizeof n);
}

/* Mostly large enough for blocks.dat, up to the largest, and some that just are or are not. */
static size_t some_size(void)
{
    switch (rng_next() % 8) {
    case 0:
        return 8191 + rng_next() % 3;
    case 1:
        return 100 + rng_next() % 8000;
    case 2:
        return LARGEST - rng_next() % 5000;
    case 3:
        return 4096 * (2 + rng_next() % 20);
    case 4: /* past the page cache */
        return 4096 * (32 + rng_next() % 90);
    default:
        return 8192 + rng_next() % 200000;
    }
}

/* A block of bytes that begin on a page, as those of a put do. */
struct paged {
    struct fab_ingest_block block; /* first */
    atomic_uint *given_back;
};

static void paged_done(struct fab_ingest_block *block)
{
    struct paged *paged = (struct paged *)block;
    atomic_uint *given_back = paged->given_back;
    memset((void *)(uintptr_t)block->data.p, 0xee, block->data.n); /* it was written, or never is */
    free((void *)(uintptr_t)block->data.p);
    free(paged);
    atomic_fetch_add(given_back, 1);
}

static struct fab_ingest_block *paged_new(struct fixture *f, unsigned i, size_t size,
                                          atomic_uint *given_back)
{
    struct paged *paged = malloc(sizeof *paged);
    uint8_t *bytes = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    assert_non_null(paged);
    assert_non_null(bytes);
    fill(bytes, ++f->next, size);
    paged->given_back = given_back;
    paged->block = (struct fab_ingest_block){.data = fab_slice(bytes, size), .done = paged_done};
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, paged->block.data, &paged->block.cid),
        FAB_OK);
    f->block[i].cid = paged->block.cid;
    f->block[i].size = size;
    return &paged->block;
}

static void put_at(struct fixture *f, unsigned i, size_t size)
{
    struct fab_ingest *in;
    struct fab_err err = {0};
    atomic_uint given_back = 0;
    assert_int_equal(fab_ingest_open(f->store, f->ws, &in, &err), FAB_OK);
    fab_ingest_submit(in, paged_new(f, i, size, &given_back));
    if (fab_ingest_commit(in, NULL, 0, NULL, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(given_back, 1);
}

static void remove_at(struct fixture *f, unsigned i)
{
    struct fab_err err = {0};
    if (fab_block_remove(f->store, f->ws, &f->block[i].cid, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    f->block[i].size = 0;
}

/* Put or remove one at random. */
static void churn(struct fixture *f)
{
    unsigned i = (unsigned)(rng_next() % BLOCKS);
    if (f->block[i].size)
        remove_at(f, i);
    else
        put_at(f, i, some_size());
}

static void check_all(const struct fixture *f, struct fab_store *store, uint32_t ws)
{
    struct fab_view *view;
    assert_int_equal(fab_view_open(store, ws, &view, NULL), FAB_OK);
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct fab_slice got;
        if (!f->block[i].size)
            continue;
        assert_int_equal(fab_view_get(view, &f->block[i].cid, &got), FAB_OK);
        assert_int_equal(got.n, f->block[i].size);
        assert_int_equal(fab_cid_check(&f->block[i].cid, got), FAB_OK);
    }
    fab_view_close(view);
}

static uint64_t live_bytes(const struct fixture *f)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < BLOCKS; i++)
        sum += f->block[i].size;
    return sum;
}

static uint64_t file_bytes(struct fixture *f)
{
    char path[96];
    struct stat st;
    snprintf(path, sizeof path, "%s/blocks.dat", f->dir);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* Thousands of changes: every block reads back, and the file stays about as large as what it holds.
 */
static void room_is_used_again(void **state)
{
    struct fixture *f = *state;
    uint64_t most = 0;
    for (unsigned i = 0; i < 1500; i++) {
        churn(f);
        if (i % 500 == 499)
            check_all(f, f->store, f->ws);
        if (live_bytes(f) > most)
            most = live_bytes(f);
    }
    if (file_bytes(f) > most + most / 4 + (8u << 20))
        fail_msg("blocks.dat has %llu bytes, and at most %llu were held",
                 (unsigned long long)file_bytes(f), (unsigned long long)most);
    fab_store_close(f->store);
    f->store = open_store(f->dir, &f->ws);
    check_all(f, f->store, f->ws);
}

/* Large and small ones in one put, into the holes of an older one and behind it: those that lie one
 * behind the other are written at once. Again, so that what is written over was read before, and
 * once more by a system that does not write all at once. */
static void blocks_come_together(void **state)
{
    struct fixture *f = *state;
    atomic_uint given_back = 0;
    for (unsigned round = 0; round < 4; round++) {
        short_writes = round == 3;
        struct fab_ingest *in;
        struct fab_ingest_block *block[BLOCKS];
        struct fab_err err = {0};
        unsigned n = 0;
        for (unsigned i = 0; i < BLOCKS; i++)
            if (f->block[i].size && rng_next() % 2)
                remove_at(f, i);
        for (unsigned i = 0; i < BLOCKS; i++)
            if (!f->block[i].size)
                block[n++] = paged_new(f, i, rng_next() % 3 ? 1u << 18 : some_size(), &given_back);
        assert_int_equal(fab_ingest_open(f->store, f->ws, &in, &err), FAB_OK);
        given_back = 0;
        for (unsigned i = 0; i < n; i++)
            fab_ingest_submit(in, block[i]);
        if (fab_ingest_commit(in, NULL, 0, NULL, &err) != FAB_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(given_back, n);
        check_all(f, f->store, f->ws);
    }
    short_writes = false;
    fab_store_close(f->store);
    f->store = open_store(f->dir, &f->ws);
    check_all(f, f->store, f->ws);
}

/* A snapshot's bytes stay where they are until it ends, whatever is written meanwhile. */
static void a_snapshot_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct fab_view *view;
    struct fab_slice got[20];
    struct fab_cid cid[20];
    for (unsigned i = 0; i < 20; i++)
        put_at(f, i, 20000 + i * 4096);
    assert_int_equal(fab_view_open(f->store, f->ws, &view, NULL), FAB_OK);
    for (unsigned i = 0; i < 20; i++) {
        cid[i] = f->block[i].cid;
        assert_int_equal(fab_view_get(view, &cid[i], &got[i]), FAB_OK);
    }
    for (unsigned i = 0; i < 20; i++)
        remove_at(f, i);
    for (unsigned i = 0; i < 200; i++)
        put_at(f, i, 20000 + i % 20 * 4096);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(fab_cid_check(&cid[i], got[i]), FAB_OK);
    fab_view_close(view);
    uint64_t before = file_bytes(f);
    for (unsigned i = 200; i < 215; i++) /* now their room is free */
        put_at(f, i, 20000 + i % 20 * 4096);
    assert_int_equal(file_bytes(f), before);
    check_all(f, f->store, f->ws);
}

/* No extent lies across the border of two of the maps through which blocks are read. */
static void no_block_crosses_a_border(void **state)
{
    struct fixture *f = *state;
    enum { N = 134 }; /* of almost 2 MiB: a little more than 256 MiB */
    for (unsigned i = 0; i < N; i++)
        put_at(f, i, LARGEST - 12288);
    assert_true(file_bytes(f) > (256u << 20));
    check_all(f, f->store, f->ws);
    for (unsigned i = 0; i + 1 < N; i++) /* the last one keeps the end where it is */
        remove_at(f, i);
    for (unsigned i = 0; i + 1 < N; i++)
        put_at(f, i, LARGEST - 8192);
    check_all(f, f->store, f->ws);
}

/* A crash of the machine may lead back two commits, since a commit syncs the data but not its own
 * meta page: with the bytes that were written since, that state must be whole. The put's first
 * transaction, which writes the bytes, is the second after the copy. */
static void the_state_before_is_whole(void **state)
{
    struct fixture *f = *state;
    char old[80], data[96], blocks[96], to[96];
    snprintf(old, sizeof old, "%s-old", f->dir);
    snprintf(data, sizeof data, "%s/data.mdb", f->dir);
    snprintf(blocks, sizeof blocks, "%s/blocks.dat", f->dir);
    snprintf(to, sizeof to, "%s/data.mdb", old);
    for (unsigned i = 0; i < 30; i++)
        put_at(f, i, 8192 + rng_next() % 60000);
    for (unsigned i = 0; i < 100; i++) {
        struct fixture before = *f;
        uint32_t ws;
        unsigned at = (unsigned)(rng_next() % 30);
        run("rm", "-rf", "--", old);
        assert_int_equal(mkdir(old, 0700), 0);
        run("cp", "--", data, to);
        size_t size = f->block[at].size;
        remove_at(f, at);
        put_at(f, at, size); /* it would fit */
        run("cp", "--", blocks, old);
        struct fab_store *store = open_store(old, &ws);
        check_all(&before, store, ws);
        fab_store_close(store);
    }
    run("rm", "-rf", "--", old);
}

/* data.mdb without the file beside it, or with an older one: an error, not a death. */
static void a_lost_file_is_an_error(void **state)
{
    struct fixture *f = *state;
    char path[96];
    put_at(f, 0, 100000);
    put_at(f, 1, 100000);
    put_at(f, 2, 300);
    fab_store_close(f->store);
    snprintf(path, sizeof path, "%s/blocks.dat", f->dir);
    for (unsigned kept = 2; kept-- > 0;) {
        struct fab_view *view;
        struct fab_slice got;
        assert_int_equal(truncate(path, (off_t)kept * 102400), 0);
        f->store = open_store(f->dir, &f->ws);
        assert_int_equal(fab_view_open(f->store, f->ws, &view, NULL), FAB_OK);
        assert_int_equal(fab_view_get(view, &f->block[0].cid, &got), kept ? FAB_OK : FAB_EFORMAT);
        assert_int_equal(fab_view_get(view, &f->block[1].cid, &got), FAB_EFORMAT);
        assert_int_equal(fab_view_get(view, &f->block[2].cid, &got), FAB_OK);
        fab_view_close(view);
        if (kept > 0)
            fab_store_close(f->store);
    }
}

/* What a killed put has written behind the end of the file goes with the next collection. */
static void a_collection_cuts_the_rest_off(void **state)
{
    struct fixture *f = *state;
    char path[96];
    struct fab_gc_options options = {.keep_bytes = UINT64_MAX};
    struct fab_err err = {0};
    put_at(f, 0, 100000);
    uint64_t size = file_bytes(f);
    snprintf(path, sizeof path, "%s/blocks.dat", f->dir);
    assert_int_equal(truncate(path, (off_t)size + 10000000), 0);
    options.dry_run = true;
    assert_int_equal(fab_gc(f->store, f->ws, &options, NULL, &err), FAB_OK);
    assert_int_equal(file_bytes(f), size + 10000000);
    options.dry_run = false;
    assert_int_equal(fab_gc(f->store, f->ws, &options, NULL, &err), FAB_OK);
    assert_int_equal(file_bytes(f), size);
}

static void compaction_gives_room_back(void **state)
{
    struct fixture *f = *state;
    struct fab_err err = {0};
    struct fab_store_info full, info;
    for (unsigned i = 0; i < 100; i++)
        put_at(f, i, 100000);
    assert_int_equal(fab_store_info(f->store, &full, &err), FAB_OK);
    for (unsigned i = 0; i < 100; i++)
        if (i % 10 != 5)
            remove_at(f, i);
    assert_int_equal(fab_store_info(f->store, &info, &err), FAB_OK);
    assert_true(info.free_bytes > 8000000);
    if (fab_store_compact(f->store, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    check_all(f, f->store, f->ws);
    assert_int_equal(fab_store_info(f->store, &info, &err), FAB_OK);
    assert_true(full.file_bytes > 10000000);
    assert_true(info.file_bytes < 3000000);
    for (unsigned i = 0; i < 200; i++)
        churn(f);
    check_all(f, f->store, f->ws);
}

/* LMDB below a store that is not open. */
static MDB_txn *raw_begin(const char *dir)
{
    MDB_env *env;
    MDB_txn *txn;
    assert_int_equal(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 20);
    mdb_env_set_mapsize(env, 64u << 20);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    return txn;
}

static void raw_end(MDB_txn *txn)
{
    MDB_env *env = mdb_txn_env(txn);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static MDB_dbi raw_table(MDB_txn *txn, const char *name)
{
    MDB_dbi table;
    assert_int_equal(mdb_dbi_open(txn, name, 0, &table), 0);
    return table;
}

static void raw_format(MDB_txn *txn, uint8_t format)
{
    uint8_t bytes[4] = {format};
    MDB_val key = {6, "format"}, value = {sizeof bytes, bytes};
    assert_int_equal(mdb_put(txn, raw_table(txn, "meta"), &key, &value, 0), 0);
}

/* A compaction begins the numbers of the transactions anew; what was freed before it is not lost.
 */
static void what_was_freed_before_a_compaction_is_used(void **state)
{
    struct fixture *f = *state;
    put_at(f, 0, 81920);
    put_at(f, 1, 8192);
    uint64_t size = file_bytes(f);
    remove_at(f, 0);
    fab_store_close(f->store);
    MDB_txn *txn = raw_begin(f->dir);
    MDB_dbi freed = raw_table(txn, "freed");
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t row[16] = {0}, pages[4];
    assert_int_equal(mdb_cursor_open(txn, freed, &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
    assert_int_equal(key.mv_size, sizeof row);
    memcpy(row + 8, (uint8_t *)key.mv_data + 8, 8);
    memcpy(pages, value.mv_data, sizeof pages);
    assert_int_equal(mdb_cursor_del(cursor, 0), 0);
    mdb_cursor_close(cursor);
    row[2] = 1; /* a number that is far away */
    key = (MDB_val){sizeof row, row};
    value = (MDB_val){sizeof pages, pages};
    assert_int_equal(mdb_put(txn, freed, &key, &value, 0), 0);
    raw_end(txn);
    f->store = open_store(f->dir, &f->ws);
    put_at(f, 2, 81920);
    assert_int_equal(file_bytes(f), size);
    check_all(f, f->store, f->ws);
}

/* Also one that lacks a table of ours: nothing is added to it. */
static void a_newer_format_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fab_store *store;
    fab_store_close(f->store);
    for (unsigned lacking = 0; lacking < 2; lacking++) {
        struct fab_err err = {0};
        MDB_txn *txn = raw_begin(f->dir);
        raw_format(txn, 3);
        if (lacking)
            assert_int_equal(mdb_drop(txn, raw_table(txn, "fits"), 1), 0);
        raw_end(txn);
        assert_int_equal(fab_store_open(f->dir, NULL, &store, &err), FAB_EUNSUPPORTED);
        assert_non_null(strstr(err.msg, "format 3 is newer"));
    }
    MDB_txn *txn = raw_begin(f->dir);
    MDB_dbi table;
    assert_int_equal(mdb_dbi_open(txn, "fits", 0, &table), MDB_NOTFOUND);
    raw_format(txn, 2);
    raw_end(txn);
    f->store = open_store(f->dir, &f->ws);
}

/* A store of format 1 has large blocks among the small ones: they are read, not stored twice, and
 * they go. */
static void format_1_is_taken_over(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = malloc(50000);
    struct fab_store_info info;
    struct fab_err err = {0};
    put_at(f, 0, 50000);
    put_at(f, 1, 300);
    fab_store_close(f->store);
    fill(bytes, 1, 50000);
    /* What format 1 would have written. */
    MDB_txn *txn = raw_begin(f->dir);
    struct fab_slice mh = fab_cid_mh(&f->block[0].cid);
    MDB_val key = {mh.n, (void *)(uintptr_t)mh.p}, value = {50000, bytes};
    assert_int_equal(mdb_put(txn, raw_table(txn, "blocks"), &key, &value, 0), 0);
    static const char *const tables[] = {"extents", "holes", "fits", "freed"};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(mdb_drop(txn, raw_table(txn, tables[i]), 1), 0);
    raw_format(txn, 1);
    key = (MDB_val){3, "end"};
    assert_int_equal(mdb_del(txn, raw_table(txn, "meta"), &key, NULL), 0);
    raw_end(txn);
    free(bytes);
    char path[96];
    snprintf(path, sizeof path, "%s/blocks.dat", f->dir);
    assert_int_equal(unlink(path), 0);

    for (unsigned i = 0; i < 2; i++) { /* taken over, and opened again */
        f->store = open_store(f->dir, &f->ws);
        check_all(f, f->store, f->ws);
        assert_int_equal(fab_store_info(f->store, &info, &err), FAB_OK);
        assert_int_equal(info.format, 2);
        if (i == 0)
            fab_store_close(f->store);
    }
    struct fab_workspace_info other;
    struct fab_cid old = f->block[0].cid;
    uint32_t ws = f->ws;
    assert_int_equal(fab_workspace_find(f->store, "other", true, &other, &err), FAB_OK);
    f->ws = other.id;
    f->next = 0;
    put_at(f, 0, 50000); /* the same block, for another workspace */
    assert_true(fab_cid_eq(&old, &f->block[0].cid));
    assert_int_equal(file_bytes(f), 0);
    remove_at(f, 0);
    f->ws = ws;
    f->block[0].size = 50000;
    check_all(f, f->store, f->ws);
    remove_at(f, 0);
    assert_int_equal(fab_store_info(f->store, &info, &err), FAB_OK);
    assert_int_equal(info.bytes, 300);
    put_at(f, 2, 50000);
    assert_true(file_bytes(f) >= 50000);
    check_all(f, f->store, f->ws);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(room_is_used_again),
        TEST(blocks_come_together),
        TEST(a_snapshot_is_left_alone),
        TEST(the_state_before_is_whole),
        TEST(no_block_crosses_a_border),
        TEST(a_lost_file_is_an_error),
        TEST(a_collection_cuts_the_rest_off),
        TEST(compaction_gives_room_back),
        TEST(what_was_freed_before_a_compaction_is_used),
        TEST(a_newer_format_is_refused),
        TEST(format_1_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
