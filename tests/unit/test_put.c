/* Putting files, trees and pipes: CIDs, parity of the ways in, and that a failure leaves nothing.
 */
#include "tests/support/files_fixture.h"

#include <pthread.h>
#include <sodium.h>

/* The official vectors of the profiles: a ChaCha20 keystream, keyed by the hash of a seed. */
static void write_vector(const char *path, const char *seed, size_t n)
{
    uint8_t key[crypto_hash_sha256_BYTES], nonce[crypto_stream_chacha20_ietf_NONCEBYTES] = {0};
    uint8_t *p = malloc(n);
    assert_non_null(p);
    crypto_hash_sha256(key, (const uint8_t *)seed, strlen(seed));
    crypto_stream_chacha20_ietf(p, n, nonce, key);
    write_file(path, p, n);
    free(p);
}

static void vectors(void **state)
{
    struct fixture *f = *state;
    struct fab_cid cid;
    write_file("hello", "hello world", 11);
    cid = put_path_of(f, "hello", NULL);
    assert_cid_text(&cid, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    assert_int_equal(f->result.bytes, 11);
    assert_int_equal(f->result.files, 1);
    cid = put_path_of(f, "hello", &(struct fab_put_options){.profile = "unixfs-v0-2015"});
    assert_cid_text(&cid, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD");
    write_vector("v", "chunk-v1-seed", 1048576);
    cid = put_path_of(f, "v", NULL);
    assert_cid_text(&cid, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta");
    write_vector("v", "chunk-v1-seed", 1048577);
    cid = put_path_of(f, "v", NULL);
    assert_cid_text(&cid, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64");
    write_file("empty", "", 0);
    cid = put_path_of(f, "empty", &(struct fab_put_options){.profile = "unixfs-v0-2015"});
    assert_cid_text(&cid, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH");
    mkdir("d", 0755);
    cid = put_path_of(f, "d", NULL);
    assert_cid_text(&cid, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
}

struct feed {
    int fd;
    const char *path;
};

static void *feeder(void *arg)
{
    struct feed *feed = arg;
    size_t n;
    uint8_t *p = read_file(feed->path, &n);
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < 77777 ? n - at : 77777;
        ssize_t w = write(feed->fd, p + at, piece);
        if (w <= 0)
            break;
        at += (size_t)w;
    }
    close(feed->fd);
    free(p);
    return NULL;
}

static struct fab_cid put_by_pipe(struct fixture *f, const char *path,
                                  const struct fab_put_options *options)
{
    int ends[2];
    pthread_t thread;
    struct fab_put_result out;
    assert_int_equal(pipe(ends), 0);
    struct feed feed = {.fd = ends[1], .path = path};
    assert_int_equal(pthread_create(&thread, NULL, feeder, &feed), 0);
    assert_ok(f, fab_put_fd(f->store, f->ws, ends[0], "-", options, &out, &f->err));
    pthread_join(thread, NULL);
    close(ends[0]);
    return out.cid;
}

/* A file read by the workers, the same bytes through a pipe, and without a store: one CID. */
static void ways_agree(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 999, 262144, 262145, 1048575, 1048576, 1048577, 5000001};
    static const char *const profiles[] = {NULL, "unixfs-v0-2015", "cid-v1-plain"};
    static const char *const chunkers[] = {NULL, "size-300000", "size-2096896",
                                           "rabin-16384-32768-65536", "buzhash"};
    for (unsigned s = 0; s < 9; s++) {
        write_random("file", s, sizes[s]);
        for (unsigned p = 0; p < 3; p++)
            for (unsigned c = 0; c < 5; c++) {
                struct fab_put_options options = {.profile = profiles[p], .chunker = chunkers[c]};
                struct fab_cid whole = put_path_of(f, "file", &options);
                assert_int_equal(f->result.bytes, sizes[s]);
                struct fab_cid piped = put_by_pipe(f, "file", &options);
                assert_cid_same(&piped, &whole);
                options.only_hash = true;
                struct fab_cid hashed;
                const char *path = "file";
                assert_ok(f, fab_put(NULL, 0, &path, 1, &options, keep_result, f, &f->err));
                hashed = f->result.cid;
                assert_cid_same(&hashed, &whole);
            }
    }
}

static void only_hash_writes_nothing(void **state)
{
    struct fixture *f = *state;
    write_random("file", 3, 3000000);
    put_path_of(f, "file", &(struct fab_put_options){.only_hash = true});
    assert_store_empty(f);
}

static void small_chunks(void **state)
{
    struct fixture *f = *state;
    write_random("file", 4, 200000);
    struct fab_put_options options = {.chunker = "size-61"};
    struct fab_cid a = put_path_of(f, "file", &options), b = put_by_pipe(f, "file", &options);
    assert_cid_same(&a, &b);
}

static void sparse_is_dense(void **state)
{
    struct fixture *f = *state;
    size_t n = (40u << 20) + 12345;
    uint8_t *p = calloc(1, n);
    assert_non_null(p);
    memset(p + 7000000, 7, 100);
    p[n - 1] = 1;
    write_file("dense", p, n);
    int fd = open("sparse", O_RDWR | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    assert_int_equal(pwrite(fd, p + 7000000, 100, 7000000), 100);
    assert_int_equal(pwrite(fd, p + n - 1, 1, (off_t)n - 1), 1);
    close(fd);
    free(p);
    static const char *const profiles[] = {NULL, "unixfs-v0-2015"};
    for (unsigned i = 0; i < 2; i++)
        for (unsigned preserve = 0; preserve < 2; preserve++) {
            struct fab_put_options options = {.profile = profiles[i], .preserve = preserve};
            struct timespec when[2] = {{.tv_sec = 5}, {.tv_sec = 5, .tv_nsec = 17}};
            utimensat(AT_FDCWD, "dense", when, 0);
            utimensat(AT_FDCWD, "sparse", when, 0);
            struct fab_cid a = put_path_of(f, "dense", &options);
            struct fab_cid b = put_path_of(f, "sparse", &options);
            assert_cid_same(&a, &b);
        }
}

static void holes_are_not_read(void **state)
{
    struct fixture *f = *state;
    int fd = open("huge", O_RDWR | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, (off_t)(64ull << 30)), 0);
    close(fd);
    put_path_of(f, "huge", NULL);
    assert_int_equal(f->result.bytes, 64ull << 30);
    struct fab_workspace_info info;
    assert_ok(f, fab_workspace_find(f->store, "local", false, &info, &f->err));
    assert_true(info.bytes < 8u << 20);
}

static void directories(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 42;
    make_tree("tree", &seed, 4);
    struct fab_cid a = put_path_of(f, "tree", NULL);
    assert_true(f->result.directories >= 1);
    /* A trailing slash and the same tree through "." name the same DAG. */
    struct fab_cid b = put_path_of(f, "tree/", NULL);
    assert_cid_same(&a, &b);
    assert_int_equal(chdir("tree"), 0);
    struct fab_cid c = put_path_of(f, ".", NULL);
    assert_int_equal(chdir(".."), 0);
    assert_cid_same(&a, &c);
}

static void many_small_directories(void **state)
{
    struct fixture *f = *state;
    char path[64];
    mkdir("many", 0755);
    for (unsigned i = 0; i < 1500; i++) {
        snprintf(path, sizeof path, "many/d%u", i);
        mkdir(path, 0755);
        snprintf(path, sizeof path, "many/d%u/f", i);
        write_file(path, path, strlen(path));
    }
    put_path_of(f, "many", NULL);
    assert_int_equal(f->result.files, 1500);
    assert_int_equal(f->result.directories, 1501);
}

static void hidden_entries(void **state)
{
    struct fixture *f = *state;
    mkdir("d", 0755);
    write_file("d/seen", "1", 1);
    struct fab_cid plain = put_path_of(f, "d", NULL);
    assert_int_equal(f->result.hidden_skipped, 0);
    write_file("d/.hidden", "2", 1);
    mkdir("d/.dir", 0755);
    write_file("d/.dir/x", "2", 1);
    struct fab_cid skipped = put_path_of(f, "d", NULL);
    assert_cid_same(&plain, &skipped);
    assert_int_equal(f->result.hidden_skipped, 2);
    struct fab_cid taken = put_path_of(f, "d", &(struct fab_put_options){.hidden = true});
    assert_false(fab_cid_eq(&plain, &taken));
    assert_int_equal(f->result.files, 3);
    /* An argument itself is taken, whatever its name. */
    struct fab_cid named = put_path_of(f, "d/.hidden", NULL);
    assert_int_equal(f->result.files, 1);
    assert_false(fab_cid_eq(&plain, &named));
}

static void wrapping(void **state)
{
    struct fixture *f = *state;
    mkdir("d", 0755);
    write_file("d/a", "1", 1);
    write_file("d/b", "2", 1);
    struct fab_cid dir = put_path_of(f, "d", NULL);
    const char *paths[] = {"d/a", "d/b"};
    f->results = 0;
    assert_ok(f, fab_put(f->store, f->ws, paths, 2, &(struct fab_put_options){.wrap = true},
                         keep_result, f, &f->err));
    assert_int_equal(f->results, 3);
    assert_true(f->result.wrapper);
    assert_cid_same(&f->result.cid, &dir);
    mkdir("e", 0755);
    write_file("e/a", "3", 1);
    const char *same[] = {"d/a", "e/a"};
    assert_rc(f,
              fab_put(f->store, f->ws, same, 2, &(struct fab_put_options){.wrap = true},
                      keep_result, f, &f->err),
              FAB_EINVAL);
    struct fab_put_result out;
    int fd = open("d/a", O_RDONLY);
    assert_ok(f, fab_put_fd(f->store, f->ws, fd, "-",
                            &(struct fab_put_options){.wrap = true, .stdin_name = "a"}, &out,
                            &f->err));
    close(fd);
    const char *one = "d/a";
    assert_ok(f, fab_put(f->store, f->ws, &one, 1, &(struct fab_put_options){.wrap = true},
                         keep_result, f, &f->err));
    assert_cid_same(&out.cid, &f->result.cid);
}

static void pins(void **state)
{
    struct fixture *f = *state;
    struct fab_pin pin;
    write_file("a", "1", 1);
    write_file("b", "2", 1);
    struct fab_cid a = put_path_of(f, "a", &(struct fab_put_options){.name = "mine"});
    assert_ok(f, fab_pin_get(f->store, f->ws, &a, &pin));
    assert_string_equal(pin.name, "mine");
    struct fab_cid b = put_path_of(f, "b", &(struct fab_put_options){.no_pin = true});
    assert_rc(f, fab_pin_get(f->store, f->ws, &b, &pin), FAB_ENOENT);
}

static void refuse(struct fixture *f, const char *path, const struct fab_put_options *options,
                   enum fab_rc expected, const char *mention)
{
    f->results = 0;
    assert_rc(f, fab_put(f->store, f->ws, &path, 1, options, keep_result, f, &f->err), expected);
    assert_int_equal(f->results, 0);
    if (!strstr(f->err.msg, mention))
        fail_msg("'%s' does not mention '%s'", f->err.msg, mention);
    assert_store_empty(f);
}

static void refusals(void **state)
{
    struct fixture *f = *state;
    refuse(f, "absent", NULL, FAB_ENOENT, "absent");
    mkdir("d", 0755);
    write_random("d/file", 1, 3000000);
    assert_int_equal(mkfifo("d/pipe", 0644), 0);
    refuse(f, "d", NULL, FAB_EUNSUPPORTED, "d/pipe");
    refuse(f, "d/file", &(struct fab_put_options){.profile = "nonsense"}, FAB_EINVAL, "nonsense");
    refuse(f, "d/file", &(struct fab_put_options){.chunker = "size-0"}, FAB_EINVAL, "");
    atomic_bool cancel = true;
    refuse(f, "d/file", &(struct fab_put_options){.watch.cancel = &cancel}, FAB_EINTERRUPTED, "");
    if (geteuid() != 0) {
        unlink("d/pipe");
        chmod("d/file", 0);
        refuse(f, "d", NULL, FAB_EACCES, "d/file");
    }
}

static void too_deep(void **state)
{
    struct fixture *f = *state;
    int at = open(".", O_RDONLY | O_DIRECTORY);
    for (unsigned i = 0; i < FAB_PUT_DEPTH_MAX + 1; i++) {
        assert_int_equal(mkdirat(at, "deep", 0755), 0);
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    refuse(f, "deep", NULL, FAB_ELIMIT, "deep");
    assert_int_equal(tree_remove(AT_FDCWD, "deep/deep/deep"), FAB_OK);
    put_path_of(f, "deep", NULL);
}

/* What happens to the file when the put looks at its watch for the `turn`th time. */
struct meanwhile {
    void (*happen)(void);
    unsigned turn;
};

static void meanwhile_tick(void *arg, const struct fab_progress *now)
{
    struct meanwhile *m = arg;
    struct timespec pause = {.tv_nsec = 51000000}; /* so that it tells the next turn too */
    (void)now;
    if (m->turn > 0 && --m->turn == 0)
        m->happen();
    nanosleep(&pause, NULL);
}

static void grow(void)
{
    int fd = open("d/file", O_WRONLY | O_APPEND);
    if (fd < 0 || write(fd, "more", 4) != 4)
        abort();
    close(fd);
}

static void cut(void)
{
    if (truncate("d/file", 10) != 0)
        abort();
}

static void rewrite(void)
{
    int fd = open("d/file", O_WRONLY);
    if (fd < 0 || pwrite(fd, "other", 5, 3) != 5)
        abort();
    close(fd);
}

static void vanish(void)
{
    if (unlink("d/file") != 0)
        abort();
}

static void become_symlink(void)
{
    vanish();
    if (symlink("/etc/passwd", "d/file") != 0)
        abort();
}

/* Too early, and the new file is put; in a later turn the put has seen the file, but not all of it.
 */
static void change(struct fixture *f, size_t size, void (*happen)(void), enum fab_rc expected)
{
    struct fab_workspace_info before, after;
    enum fab_rc rc = FAB_OK;
    mkdir("d", 0755);
    for (unsigned turn = 1; rc == FAB_OK && turn < 10; turn++) {
        struct meanwhile m = {.happen = happen, .turn = turn};
        const struct fab_put_options options = {.watch = {.progress = meanwhile_tick, .arg = &m}};
        const char *paths[] = {"d"};
        unlink("d/file");
        write_random("d/file", size + turn, size);
        assert_ok(f, fab_workspace_find(f->store, "local", false, &before, &f->err));
        rc = fab_put(f->store, f->ws, paths, 1, &options, keep_result, f, &f->err);
    }
    assert_rc(f, rc, expected);
    if (!strstr(f->err.msg, "d/file"))
        fail_msg("'%s' does not name the file", f->err.msg);
    assert_ok(f, fab_workspace_find(f->store, "local", false, &after, &f->err));
    assert_int_equal(after.blocks, before.blocks);
    assert_int_equal(after.bytes, before.bytes);
}

static void changes(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {1000, 3000000};
    for (unsigned i = 0; i < 2; i++) {
        change(f, sizes[i], grow, FAB_ECHANGED);
        change(f, sizes[i], cut, FAB_ECHANGED);
        change(f, sizes[i], rewrite, FAB_ECHANGED);
    }
    change(f, 1000, vanish, FAB_ENOENT);
    change(f, 1000, become_symlink, FAB_EIO);
}

static void quota(void **state)
{
    struct fixture *f = *state;
    write_random("file", 9, 30000000);
    assert_ok(f, fab_workspace_set_quota(f->store, f->ws, 10000000, &f->err));
    refuse(f, "file", NULL, FAB_EQUOTA, "");
    assert_ok(f, fab_workspace_set_quota(f->store, f->ws, 0, &f->err));
    put_path_of(f, "file", NULL);
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

/* Whenever the user stops it, a put ends soon and leaves nothing. */
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
    unsigned stopped = 0;
    for (unsigned i = 0; i < 25; i++) {
        struct later later = {.microseconds = i * 1500, .cancel = i == 0};
        pthread_t thread;
        const char *d = "d";
        struct fab_put_options options = {.watch.cancel = &later.cancel, .no_pin = true};
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &later), 0);
        enum fab_rc rc = fab_put(f->store, f->ws, &d, 1, &options, NULL, NULL, &f->err);
        pthread_join(thread, NULL);
        if (rc == FAB_OK)
            break;
        assert_rc(f, rc, FAB_EINTERRUPTED);
        assert_store_empty(f);
        stopped++;
    }
    assert_true(stopped > 0);
}

static void watched_bytes(void *arg, const struct fab_progress *now)
{
    *(struct fab_progress *)arg = *now;
}

static void progress(void **state)
{
    struct fixture *f = *state;
    struct fab_progress last = {0};
    write_random("file", 9, 3000000);
    put_path_of(f, "file",
                &(struct fab_put_options){.watch = {.progress = watched_bytes, .arg = &last}});
    assert_int_equal(last.bytes, 3000000);
    assert_int_equal(last.items, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vectors),
        TEST(ways_agree),
        TEST(only_hash_writes_nothing),
        TEST(small_chunks),
        TEST(sparse_is_dense),
        TEST(holes_are_not_read),
        TEST(directories),
        TEST(many_small_directories),
        TEST(hidden_entries),
        TEST(wrapping),
        TEST(pins),
        TEST(refusals),
        TEST(too_deep),
        TEST(changes),
        TEST(quota),
        TEST(progress),
        TEST(cancelled_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
