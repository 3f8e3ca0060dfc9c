/* multistream-select: both roles, every split, every rule. The recorded conversation is Kubo
 * 0.42.0's. */
#include "fabric/swarm/multistream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER  FAB_MULTISTREAM_HEADER
#define LONGEST "/a-name-of-sixty-two-characters-which-is-the-longest-allowed/1"
/* a string constant without its NUL, as pointer and length */
#define TEXT(s) (s), sizeof(s) - 1

static const char *const ours[] = {"/noise", "/yamux/1.0.0", LONGEST, NULL};

static int match_ours(void *ctx, struct fab_slice name)
{
    if (ctx)
        ++*(int *)ctx;
    for (int i = 0; ours[i]; i++)
        if (fab_slice_eq(name, fab_slice(ours[i], strlen(ours[i]))))
            return i;
    return -1;
}

/* Give the bytes in pieces, each in memory of its own; the first failure, and what was taken. */
static enum fab_rc feed(struct fab_multistream *ms, const char *bytes, size_t n, size_t piece,
                        struct fab_buf *out, size_t *taken)
{
    *taken = 0;
    while (!ms->done && *taken < n) {
        size_t give = n - *taken < piece ? n - *taken : piece;
        uint8_t *copy = malloc(give);
        assert_non_null(copy);
        memcpy(copy, bytes + *taken, give);
        struct fab_reader in = fab_reader(fab_slice(copy, give));
        enum fab_rc rc = fab_multistream_input(ms, &in, out);
        *taken += give - fab_reader_left(&in);
        if (rc == FAB_OK && !ms->done)
            assert_int_equal(fab_reader_left(&in), 0);
        free(copy);
        if (rc != FAB_OK)
            return rc;
    }
    return FAB_OK;
}

static void assert_text(const struct fab_buf *out, const char *want, size_t n)
{
    assert_int_equal(out->len, n);
    assert_memory_equal(out->data, want, n);
}

/* What Kubo answered, word for word, to these proposals; the rest of the segment is untouched. */
static void test_listen_like_kubo(void **state)
{
    (void)state;
    static const char said[] = HEADER "\x03ls\n\x0d/tls/0.0.0xx\n\x07/noise\n\x01\x02\x03";
    static const char kubo[] = HEADER "\x03na\n\x03na\n\x07/noise\n";
    for (size_t piece = 1; piece < sizeof said; piece++) {
        struct fab_multistream ms;
        struct fab_buf out;
        size_t taken;
        fab_buf_init(&out, 256);
        fab_multistream_listen(&ms, match_ours, NULL);
        assert_int_equal(ms.chosen, -1);
        assert_int_equal(fab_multistream_start(&ms, &out), FAB_OK);
        assert_text(&out, TEXT(HEADER));
        assert_int_equal(feed(&ms, TEXT(said), piece, &out, &taken), FAB_OK);
        assert_true(ms.done);
        assert_int_equal(ms.chosen, 0);
        assert_int_equal(taken, sizeof said - 1 - 3);
        assert_text(&out, TEXT(kubo));
        fab_buf_fini(&out);
    }
}

/* The same at every position of one cut, from both sides. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char dialed[] = HEADER "\x06/none\n\x0d/yamux/1.0.0\nrest";
    static const char heard[] = HEADER "\x03na\n\x0d/yamux/1.0.0\nrest";
    static const char *const names[] = {"/none", "/yamux/1.0.0"};
    for (size_t cut = 0; cut < sizeof dialed; cut++) {
        struct fab_multistream ms;
        struct fab_buf out;
        size_t a, b = 0;
        fab_buf_init(&out, 256);
        fab_multistream_listen(&ms, match_ours, NULL);
        assert_int_equal(feed(&ms, dialed, cut, cut ? cut : 1, &out, &a), FAB_OK);
        assert_int_equal(feed(&ms, dialed + a, sizeof dialed - 1 - a, sizeof dialed, &out, &b),
                         FAB_OK);
        assert_true(ms.done);
        assert_int_equal(ms.chosen, 1);
        assert_int_equal(a + b, sizeof dialed - 1 - 4);
        assert_text(&out, TEXT("\x03na\n\x0d/yamux/1.0.0\n"));
        fab_buf_fini(&out);
    }
    for (size_t cut = 0; cut < sizeof heard; cut++) {
        struct fab_multistream ms;
        struct fab_buf out;
        size_t a, b = 0;
        fab_buf_init(&out, 256);
        assert_int_equal(fab_multistream_dial(&ms, names, 2), FAB_OK);
        assert_int_equal(fab_multistream_start(&ms, &out), FAB_OK);
        assert_int_equal(feed(&ms, heard, cut, cut ? cut : 1, &out, &a), FAB_OK);
        assert_int_equal(feed(&ms, heard + a, sizeof heard - 1 - a, sizeof heard, &out, &b),
                         FAB_OK);
        assert_true(ms.done);
        assert_int_equal(ms.chosen, 1);
        assert_int_equal(a + b, sizeof heard - 1 - 4);
        assert_text(&out, TEXT(HEADER "\x06/none\n\x0d/yamux/1.0.0\n"));
        fab_buf_fini(&out);
    }
}

static void test_done_takes_nothing(void **state)
{
    (void)state;
    struct fab_multistream ms;
    struct fab_reader in = fab_reader(fab_slice(TEXT(HEADER "\x07/noise\n\x03na\n")));
    struct fab_buf out;
    fab_buf_init(&out, 256);
    fab_multistream_listen(&ms, match_ours, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fab_multistream_input(&ms, &in, &out), FAB_OK);
        assert_true(ms.done);
        assert_int_equal(fab_reader_left(&in), 4);
    }
    fab_buf_fini(&out);
}

/* Our two roles against each other, over all lists of names. */
static void test_both_roles(void **state)
{
    (void)state;
    static const char *const pool[] = {"/a", "/noise", "/b", LONGEST};
    for (unsigned set = 1; set < 16; set++) {
        const char *names[4];
        size_t n = 0;
        int want = -1;
        for (unsigned i = 0; i < 4; i++)
            if (set & 1u << i) {
                if (want < 0 && i % 2)
                    want = (int)n;
                names[n++] = pool[i];
            }
        struct fab_multistream dialer, listener;
        struct fab_buf to_listener, to_dialer;
        fab_buf_init(&to_listener, 1024);
        fab_buf_init(&to_dialer, 1024);
        assert_int_equal(fab_multistream_dial(&dialer, names, n), FAB_OK);
        fab_multistream_listen(&listener, match_ours, NULL);
        assert_int_equal(fab_multistream_start(&dialer, &to_listener), FAB_OK);
        assert_int_equal(fab_multistream_start(&listener, &to_dialer), FAB_OK);
        enum fab_rc rc = FAB_OK;
        size_t a = 0, b = 0; /* bytes that were read of each */
        for (int i = 0; i < 12 && rc == FAB_OK; i++) {
            struct fab_reader in = fab_reader(fab_slice(to_listener.data + a, to_listener.len - a));
            assert_int_equal(fab_multistream_input(&listener, &in, &to_dialer), FAB_OK);
            a = to_listener.len - fab_reader_left(&in);
            in = fab_reader(fab_slice(to_dialer.data + b, to_dialer.len - b));
            rc = fab_multistream_input(&dialer, &in, &to_listener);
            b = to_dialer.len - fab_reader_left(&in);
        }
        assert_int_equal(rc, want < 0 ? FAB_ENOENT : FAB_OK);
        assert_int_equal(dialer.done, want >= 0);
        assert_int_equal(listener.done, want >= 0);
        assert_int_equal(dialer.chosen, want);
        if (want >= 0)
            assert_string_equal(names[dialer.chosen], ours[listener.chosen]);
        fab_buf_fini(&to_listener);
        fab_buf_fini(&to_dialer);
    }
}

/* A name that no line of ours holds: refused without being asked about, up to the limit. */
static void test_listen_long_names(void **state)
{
    (void)state;
    static const size_t sizes[] = {62, 63, 64, 65, 127, 128, 129, 1023, 1024};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t piece = 1; piece < 1100; piece = piece * 3 + 1) {
            char bytes[20 + 2 + 1024 + 8];
            size_t n = FAB_MULTISTREAM_HEADER_SIZE, taken;
            int asked = 0;
            memcpy(bytes, HEADER, n);
            if (sizes[i] < 128) {
                bytes[n++] = (char)sizes[i];
            } else {
                bytes[n++] = (char)(0x80 | (sizes[i] & 0x7f));
                bytes[n++] = (char)(sizes[i] >> 7);
            }
            memset(bytes + n, '/', sizes[i]);
            n += sizes[i];
            bytes[n - 1] = '\n';
            memcpy(bytes + n, TEXT("\x07/noise\n"));
            n += 8;
            struct fab_multistream ms;
            struct fab_buf out;
            fab_buf_init(&out, 64);
            fab_multistream_listen(&ms, match_ours, &asked);
            assert_int_equal(feed(&ms, bytes, n, piece, &out, &taken), FAB_OK);
            assert_true(ms.done);
            assert_int_equal(taken, n);
            assert_text(&out, TEXT("\x03na\n\x07/noise\n"));
            assert_int_equal(asked, sizes[i] <= FAB_MULTISTREAM_NAME_MAX + 1 ? 2 : 1);
            fab_buf_fini(&out);
        }
}

static void test_violations(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, taken; /* what is taken when it comes byte by byte */
        enum fab_rc rc;
    } bad[] = {
        {TEXT("\x14/multistream/1.0.0\n"), 0, FAB_EFORMAT},
        {TEXT("\x13/multistream/2.0.0\n"), 14, FAB_EFORMAT},
        {TEXT("\x13/multistream/1.0.0\r"), 19, FAB_EFORMAT},
        {TEXT("GET / HTTP/1.1\r\n"), 0, FAB_EFORMAT},
        {TEXT(HEADER "\x00"), 21, FAB_EFORMAT},
        {TEXT(HEADER "\x87\x00/noise\n"), 22, FAB_EFORMAT},    /* not minimal */
        {TEXT(HEADER "\x80\x80\x01"), 22, FAB_ELIMIT},         /* 16384 */
        {TEXT(HEADER "\x81\x08"), 22, FAB_ELIMIT},             /* 1025 */
        {TEXT(HEADER "\xff\xff\xff\xff\x0f"), 22, FAB_ELIMIT}, /* 4 GiB */
        {TEXT(HEADER "\x07/noise "), 28, FAB_EFORMAT},         /* no newline */
        {TEXT(HEADER "\x02na\n"), 23, FAB_EFORMAT},            /* a length too short */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int role = 0; role < 2; role++)
            for (size_t piece = 1; piece <= bad[i].n; piece += 7) {
                struct fab_multistream ms;
                struct fab_buf out;
                size_t taken;
                fab_buf_init(&out, 256);
                if (role)
                    assert_int_equal(fab_multistream_dial(&ms, ours, 1), FAB_OK);
                else
                    fab_multistream_listen(&ms, match_ours, NULL);
                assert_int_equal(fab_multistream_start(&ms, &out), FAB_OK);
                enum fab_rc rc = feed(&ms, bad[i].bytes, bad[i].n, piece, &out, &taken);
                if (rc != bad[i].rc)
                    fail_msg("case %zu role %d: %d", i, role, rc);
                if (piece == 1)
                    assert_int_equal(taken, bad[i].taken);
                assert_false(ms.done);
                fab_buf_fini(&out);
            }
}

static void test_dial_answers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum fab_rc rc;
    } cases[] = {
        {TEXT(HEADER "\x03na\n\x03na\n"), FAB_ENOENT},
        {TEXT(HEADER "\x0d/yamux/1.0.0\n"), FAB_EFORMAT}, /* not what was proposed */
        {TEXT(HEADER HEADER), FAB_EFORMAT},
        {TEXT(HEADER "\x03ls\n"), FAB_EFORMAT},
        {TEXT(HEADER "\x01\n"), FAB_EFORMAT},
        {TEXT(HEADER "\x06/nois\n"), FAB_EFORMAT},
        {TEXT(HEADER "\x08/noise2\n"), FAB_EFORMAT},
        {TEXT(HEADER "\x41"
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"),
         FAB_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= cases[i].n; piece++) {
            struct fab_multistream ms;
            struct fab_buf out;
            size_t taken;
            fab_buf_init(&out, 256);
            assert_int_equal(fab_multistream_dial(&ms, ours, 2), FAB_OK);
            assert_int_equal(fab_multistream_start(&ms, &out), FAB_OK);
            assert_int_equal(feed(&ms, cases[i].bytes, cases[i].n, piece, &out, &taken),
                             cases[i].rc);
            assert_false(ms.done);
            assert_int_equal(ms.chosen, -1);
            fab_buf_fini(&out);
        }
    /* an answer before anything was proposed */
    struct fab_multistream ms;
    struct fab_buf out;
    size_t taken;
    fab_buf_init(&out, 256);
    assert_int_equal(fab_multistream_dial(&ms, ours, 1), FAB_OK);
    assert_int_equal(feed(&ms, TEXT(HEADER "\x03na\n"), 99, &out, &taken), FAB_EFORMAT);
    fab_buf_fini(&out);
}

static void test_dial_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "na", "/a\n", "/a-name-of-sixty-three-characters-which-is-one-more-than-allowed"};
    struct fab_multistream ms;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fab_multistream_dial(&ms, &bad[i], 1), FAB_EINVAL);
    assert_int_equal(fab_multistream_dial(&ms, ours, 0), FAB_EINVAL);
    const char *many[FAB_MULTISTREAM_PROPOSALS_MAX + 1];
    for (size_t i = 0; i < FAB_MULTISTREAM_PROPOSALS_MAX + 1; i++)
        many[i] = "/x";
    assert_int_equal(fab_multistream_dial(&ms, many, FAB_MULTISTREAM_PROPOSALS_MAX + 1),
                     FAB_EINVAL);
    assert_int_equal(fab_multistream_dial(&ms, many, FAB_MULTISTREAM_PROPOSALS_MAX), FAB_OK);
    assert_int_equal(fab_multistream_dial(&ms, &ours[2], 1), FAB_OK);
}

static void test_listen_limit(void **state)
{
    (void)state;
    struct fab_multistream ms;
    struct fab_buf out;
    size_t taken;
    fab_buf_init(&out, 4 * FAB_MULTISTREAM_PROPOSALS_MAX + 8);
    fab_multistream_listen(&ms, match_ours, NULL);
    assert_int_equal(feed(&ms, TEXT(HEADER), 99, &out, &taken), FAB_OK);
    for (int i = 0; i < FAB_MULTISTREAM_PROPOSALS_MAX; i++)
        assert_int_equal(feed(&ms, TEXT("\x03/x\n"), 99, &out, &taken), FAB_OK);
    assert_int_equal(out.len, 4 * FAB_MULTISTREAM_PROPOSALS_MAX);
    assert_int_equal(feed(&ms, TEXT("\x07/noise\n"), 99, &out, &taken), FAB_ELIMIT);
    assert_false(ms.done);
    fab_buf_fini(&out);
}

static void test_full_output(void **state)
{
    (void)state;
    struct fab_multistream ms;
    struct fab_buf out;
    size_t taken;
    fab_buf_init(&out, 19);
    fab_multistream_listen(&ms, match_ours, NULL);
    assert_int_equal(fab_multistream_start(&ms, &out), FAB_ELIMIT);
    fab_buf_fini(&out);
    fab_buf_init(&out, 7); /* one byte less than the answer */
    assert_int_equal(feed(&ms, TEXT(HEADER "\x07/noise\n"), 99, &out, &taken), FAB_ELIMIT);
    assert_false(ms.done);
    fab_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listen_like_kubo),   cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_done_takes_nothing), cmocka_unit_test(test_both_roles),
        cmocka_unit_test(test_listen_long_names),  cmocka_unit_test(test_violations),
        cmocka_unit_test(test_dial_answers),       cmocka_unit_test(test_dial_names),
        cmocka_unit_test(test_listen_limit),       cmocka_unit_test(test_full_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
