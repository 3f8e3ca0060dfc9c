/* The identity in the home: made once whoever is first, and refused where it is not safe. */
#include "fabric/node/keyring.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char home[64], path[96]; /* path: the identity */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->home, sizeof f->home, "/tmp/fabric-identity-XXXXXX");
    assert_non_null(mkdtemp(f->home));
    snprintf(f->path, sizeof f->path, "%s/%s", f->home, FAB_IDENTITY_FILE);
    *state = f;
    return 0;
}

/* Nothing but the identity may be in the home. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    assert_int_equal(rmdir(f->home), 0);
    free(f);
    return 0;
}

static void write_file(const char *path, const void *bytes, size_t n, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void the_identity_is_made_once(void **state)
{
    struct fixture *f = *state;
    struct fab_key *a, *b;
    struct stat st;
    mode_t old = umask(0);
    assert_int_equal(fab_identity_open(f->home, &a, NULL), FAB_OK);
    umask(old);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, FAB_KEY_PROTO_SIZE);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(fab_identity_open(f->home, &b, NULL), FAB_OK);
    assert_true(fab_peer_id_eq(fab_key_peer_id(a), fab_key_peer_id(b)));
    fab_key_free(a);
    fab_key_free(b);
}

static enum fab_rc open_identity(struct fixture *f, struct fab_err *err)
{
    struct fab_key *key;
    enum fab_rc rc = fab_identity_open(f->home, &key, err);
    if (rc == FAB_OK)
        fab_key_free(key);
    return rc;
}

static void a_bad_identity_is_an_error_with_its_cure(void **state)
{
    struct fixture *f = *state;
    struct fab_err err = {0};
    struct fab_key *key;
    struct fab_buf proto;
    fab_buf_init(&proto, 256);
    assert_int_equal(fab_key_generate(&key), FAB_OK);
    assert_int_equal(fab_key_proto(key, &proto), FAB_OK);
    fab_key_free(key);
    const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0601, 0666};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        write_file(f->path, proto.data, proto.len, open_modes[i]);
        assert_int_equal(open_identity(f, &err), FAB_EACCES);
        assert_non_null(strstr(err.msg, "chmod 600"));
    }
    write_file(f->path, proto.data, proto.len, 0600);
    assert_int_equal(open_identity(f, &err), FAB_OK);
    write_file(f->path, proto.data, proto.len, 0400);
    assert_int_equal(open_identity(f, &err), FAB_OK);
    for (size_t n = 0; n < proto.len; n++) {
        write_file(f->path, proto.data, n, 0600);
        assert_int_equal(open_identity(f, &err), FAB_EFORMAT);
        assert_non_null(strstr(err.msg, "damaged"));
    }
    uint8_t longer[1000] = {0};
    memcpy(longer, proto.data, proto.len);
    write_file(f->path, longer, proto.len + 1, 0600);
    assert_int_equal(open_identity(f, &err), FAB_EFORMAT);
    write_file(f->path, longer, sizeof longer, 0600);
    assert_int_equal(open_identity(f, &err), FAB_EFORMAT);
    longer[1] = 0; /* RSA */
    write_file(f->path, longer, proto.len, 0600);
    assert_int_equal(open_identity(f, &err), FAB_EUNSUPPORTED);
    unlink(f->path);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(open_identity(f, &err), FAB_EINVAL);
    assert_int_equal(rmdir(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(open_identity(f, &err), FAB_EINVAL);
    unlink(f->path);
    fab_buf_fini(&proto);
}

static void no_home_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct fab_key *key;
    struct fab_err err = {0};
    char none[96];
    snprintf(none, sizeof none, "%s/none", f->home);
    assert_int_equal(fab_identity_open(none, &key, &err), FAB_ENOENT);
    assert_true(err.msg[0] != 0);
}

#define RACERS 8
#define ROUNDS 20

/* In a child: open the identity when the pipe is closed, and write the peer ID. */
static void race(const char *home, int begin, int out)
{
    struct fab_key *key;
    char c;
    if (read(begin, &c, 1) != 0 || fab_identity_open(home, &key, NULL) != FAB_OK)
        _exit(1);
    struct fab_slice id = fab_peer_id_bytes(fab_key_peer_id(key));
    uint8_t bytes[FAB_PEER_ID_MAX] = {0};
    memcpy(bytes, id.p, id.n);
    _exit(write(out, bytes, sizeof bytes) == (ssize_t)sizeof bytes ? 0 : 1);
}

static void racing_processes_agree_on_one_identity(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int begin[2], out[2];
        uint8_t first[FAB_PEER_ID_MAX], next[FAB_PEER_ID_MAX];
        unlink(f->path);
        assert_int_equal(pipe(begin), 0);
        assert_int_equal(pipe(out), 0);
        for (unsigned i = 0; i < RACERS; i++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                close(begin[1]);
                race(f->home, begin[0], out[1]);
            }
        }
        close(begin[0]);
        close(begin[1]); /* go */
        close(out[1]);
        for (unsigned i = 0; i < RACERS; i++) {
            int status;
            assert_true(wait(&status) > 0);
            assert_int_equal(status, 0);
        }
        assert_int_equal(read(out[0], first, sizeof first), sizeof first);
        for (unsigned i = 1; i < RACERS; i++) {
            assert_int_equal(read(out[0], next, sizeof next), sizeof next);
            assert_memory_equal(first, next, sizeof first);
        }
        close(out[0]);
    }
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(the_identity_is_made_once),
        RULE(a_bad_identity_is_an_error_with_its_cure),
        RULE(no_home_is_an_error),
        RULE(racing_processes_agree_on_one_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
