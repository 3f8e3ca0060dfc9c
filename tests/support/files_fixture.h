/* What the tests of storage/files share: a store and a scratch directory, and trees to put. */
#ifndef FAB_TESTS_FILES_FIXTURE_H
#define FAB_TESTS_FILES_FIXTURE_H

#include "storage/files/put.h"
#include "storage/files/tree.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[256];    /* scratch, the working directory of the test */
    char before[256]; /* the working directory that was */
    struct fab_store *store;
    uint32_t ws;
    struct fab_err err;
    struct fab_put_result result; /* the last one */
    unsigned results;
};

#define assert_rc(f, expr, expected)                                                               \
    do {                                                                                           \
        enum fab_rc rc_ = (expr);                                                                  \
        if (rc_ != (expected))                                                                     \
            fail_msg("%s gives %s, not %s: %s", #expr, fab_rc_text(rc_), fab_rc_text(expected),    \
                     (f)->err.msg);                                                                \
    } while (0)
#define assert_ok(f, expr) assert_rc(f, expr, FAB_OK)

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct fab_workspace_info info;
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/fabric-files-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(getcwd(f->before, sizeof f->before));
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(chdir(f->dir), 0);
    assert_ok(f, fab_store_open("store", NULL, &f->store, &f->err));
    assert_ok(f, fab_workspace_find(f->store, "local", false, &info, &f->err));
    f->ws = info.id;
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    fab_store_close(f->store);
    assert_int_equal(chdir(f->before), 0);
    assert_int_equal(tree_remove(AT_FDCWD, f->dir), FAB_OK);
    free(f);
    return 0;
}

static inline void write_file(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    for (size_t at = 0; at < n;) {
        ssize_t w = write(fd, (const char *)bytes + at, n - at);
        assert_true(w > 0);
        at += (size_t)w;
    }
    assert_int_equal(close(fd), 0);
}

/* Bytes that look random and are the same in every run (xorshift). */
static inline uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline uint8_t *random_bytes(uint64_t seed, size_t n)
{
    uint8_t *p = malloc(n + 8);
    assert_non_null(p);
    seed = seed * 2654435761u + 88172645463325252u;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = random_next(&seed);
        memcpy(p + i, &v, 8);
    }
    return p;
}

static inline void write_random(const char *path, uint64_t seed, size_t n)
{
    uint8_t *p = random_bytes(seed, n);
    write_file(path, p, n);
    free(p);
}

static inline void keep_result(void *arg, const struct fab_put_result *result)
{
    struct fixture *f = arg;
    f->result = *result;
    f->results++;
}

static inline struct fab_cid put_path_of(struct fixture *f, const char *path,
                                         const struct fab_put_options *options)
{
    f->results = 0;
    assert_ok(f, fab_put(f->store, f->ws, &path, 1, options, keep_result, f, &f->err));
    return f->result.cid;
}

static inline void assert_cid_text(const struct fab_cid *cid, const char *expected)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    assert_string_equal(text, expected);
}

static inline void assert_cid_same(const struct fab_cid *a, const struct fab_cid *b)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(b, text);
    assert_cid_text(a, text);
}

/* Nothing is seen by the workspace. */
static inline void assert_store_empty(struct fixture *f)
{
    struct fab_workspace_info info;
    assert_ok(f, fab_workspace_find(f->store, "local", false, &info, &f->err));
    assert_int_equal(info.blocks, 0);
    assert_int_equal(info.bytes, 0);
}

/* A tree of files, directories and symlinks with odd names, made from a seed. */
static inline void make_tree(const char *path, uint64_t *seed, unsigned depth)
{
    static const size_t sizes[] = {0,       1,       100,     4096,   70000,  1048575,
                                   1048576, 1048577, 2500000, 262144, 262145, 3};
    char child[700];
    assert_int_equal(mkdir(path, 0755), 0);
    unsigned n = (unsigned)(random_next(seed) % 7);
    for (unsigned i = 0; i < n; i++) {
        unsigned char odd = (unsigned char)(random_next(seed) % 254 + 1);
        if (odd == '/' || odd == '.')
            odd = '\n';
        snprintf(child, sizeof child, "%s/%c%u\xff \"$x", path, odd, i);
        unsigned kind = (unsigned)(random_next(seed) % 8);
        if (kind < 2 && depth)
            make_tree(child, seed, depth - 1);
        else if (kind == 2)
            assert_int_equal(symlink("../no\x01where", child), 0);
        else
            write_random(child, random_next(seed), sizes[random_next(seed) % 12]);
    }
}

static inline uint8_t *read_file(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *p = malloc((size_t)st.st_size + 1);
    assert_non_null(p);
    *n = 0;
    for (ssize_t r; (r = read(fd, p + *n, (size_t)st.st_size + 1 - *n)) > 0;)
        *n += (size_t)r;
    assert_int_equal(*n, st.st_size);
    close(fd);
    return p;
}

static inline unsigned count_entries(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

/* The same names, kinds, bytes and targets; with `metadata` the same modes and times. */
static inline void assert_trees_same(const char *a, const char *b, bool metadata)
{
    struct stat sa, sb;
    assert_int_equal(lstat(a, &sa), 0);
    assert_int_equal(lstat(b, &sb), 0);
    assert_int_equal(sa.st_mode & S_IFMT, sb.st_mode & S_IFMT);
    if (metadata) {
        assert_int_equal(sa.st_mode, sb.st_mode);
        assert_int_equal(sa.st_mtim.tv_sec, sb.st_mtim.tv_sec);
        assert_int_equal(sa.st_mtim.tv_nsec, sb.st_mtim.tv_nsec);
    }
    if (S_ISLNK(sa.st_mode)) {
        char ta[4096] = {0}, tb[4096] = {0};
        assert_true(readlink(a, ta, sizeof ta - 1) > 0);
        assert_true(readlink(b, tb, sizeof tb - 1) > 0);
        assert_string_equal(ta, tb);
    } else if (S_ISREG(sa.st_mode)) {
        size_t na, nb;
        uint8_t *pa = read_file(a, &na), *pb = read_file(b, &nb);
        assert_int_equal(na, nb);
        assert_int_equal(memcmp(pa, pb, na), 0);
        free(pa);
        free(pb);
    } else {
        assert_int_equal(count_entries(a), count_entries(b));
        DIR *dir = opendir(a);
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            char ca[1024], cb[1024];
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            snprintf(ca, sizeof ca, "%s/%s", a, e->d_name);
            snprintf(cb, sizeof cb, "%s/%s", b, e->d_name);
            assert_trees_same(ca, cb, metadata);
        }
        closedir(dir);
    }
}

#endif
