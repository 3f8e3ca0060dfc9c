/* The swarm key's file and fingerprint, the pnet stream, the choice among keys.
 *
 * The fingerprint and the recorded bytes came from Kubo 0.42.0 with the swarm key 00 01 .. 1f; the
 * reference for the stream is libsodium's XSalsa20 in one piece. */
#include "fabric/swarm/multistream.h"
#include "fabric/swarm/pnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define HEAD     "/key/swarm/psk/1.0.0/\n"
#define DIGITS   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEADER_N FAB_MULTISTREAM_HEADER_SIZE

static void make_key(uint8_t key[FAB_SWARM_KEY_SIZE], uint8_t first)
{
    for (unsigned i = 0; i < FAB_SWARM_KEY_SIZE; i++)
        key[i] = (uint8_t)(first + i);
}

static enum fab_rc parse(const void *text, size_t n, uint8_t out[FAB_SWARM_KEY_SIZE],
                         struct fab_err *err)
{
    uint8_t *copy = malloc(n ? n : 1); /* so that ASan sees a read behind the text */
    assert_non_null(copy);
    memcpy(copy, text, n);
    enum fab_rc rc = fab_swarm_key_parse(fab_slice(copy, n), out, err);
    free(copy);
    return rc;
}

static void test_key_file(void **state)
{
    (void)state;
    static const char *const good[] = {
        HEAD "/base16/\n" DIGITS,
        HEAD "/base16/\n" DIGITS "\n",
        HEAD "/base16/\n" DIGITS "\r\n\r\n",
        "/key/swarm/psk/1.0.0/\r\n/base16/\r\n" DIGITS "\r\n",
        HEAD "/base16/\n000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\n",
        HEAD "/base64/\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        HEAD "/base64/\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\r\n",
    };
    uint8_t want[FAB_SWARM_KEY_SIZE], key[FAB_SWARM_KEY_SIZE];
    make_key(want, 0);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        memset(key, 0xee, sizeof key);
        if (parse(good[i], strlen(good[i]), key, NULL) != FAB_OK)
            fail_msg("%s is refused", good[i]);
        assert_memory_equal(key, want, sizeof key);
    }
    /* binary, with and without a line end, and one that itself ends like a line */
    static const char head[] = HEAD "/bin/\n";
    uint8_t bin[sizeof head - 1 + FAB_SWARM_KEY_SIZE + 1];
    memcpy(bin, head, sizeof head - 1);
    memcpy(bin + sizeof head - 1, want, sizeof want);
    bin[sizeof bin - 1] = '\n';
    assert_int_equal(parse(bin, sizeof bin, key, NULL), FAB_OK);
    assert_memory_equal(key, want, sizeof key);
    assert_int_equal(parse(bin, sizeof bin - 1, key, NULL), FAB_OK);
    assert_memory_equal(key, want, sizeof key);
    bin[sizeof bin - 2] = '\n';
    assert_int_equal(parse(bin, sizeof bin - 1, key, NULL), FAB_OK);
    assert_int_equal(key[31], '\n');
    assert_int_equal(parse(bin, sizeof bin - 2, key, NULL), FAB_EFORMAT);
}

static void test_key_file_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "\n",
        DIGITS,
        "/key/swarm/psk/1.0.0/",
        HEAD,
        HEAD "/base16/",
        HEAD "/base16/\n",
        HEAD "/base32/\n" DIGITS "\n",
        "/key/swarm/psk/2.0.0/\n/base16/\n" DIGITS "\n",
        " " HEAD "/base16/\n" DIGITS "\n",
        HEAD "/base16/\n0" DIGITS "\n",
        HEAD "/base16/\n00" DIGITS "\n",
        HEAD "/base16/\n" DIGITS " \n",
        HEAD "/base16/\n" DIGITS "\n" DIGITS "\n",
        HEAD "/base16/\n0001:2030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        HEAD "/base16/\n0g0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
        HEAD "/base16/\n000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e\n",
        HEAD "/base64/\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        HEAD "/base64/\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\n",
        HEAD "/base64/\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==\n",
        HEAD "/bin/\n0123456789012345678901234567890",
        HEAD "/bin/\n01234567890123456789012345678901x",
    };
    uint8_t key[FAB_SWARM_KEY_SIZE], before[FAB_SWARM_KEY_SIZE];
    memset(key, 0xee, sizeof key);
    memcpy(before, key, sizeof key);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fab_err err = {0};
        if (parse(bad[i], strlen(bad[i]), key, &err) != FAB_EFORMAT)
            fail_msg("%s is taken", bad[i]);
        assert_int_equal(err.rc, FAB_EFORMAT);
        assert_true(strncmp(err.msg, "swarm key: ", 11) == 0);
        assert_null(strstr(err.msg, "0203")); /* nothing of a key */
        assert_memory_equal(key, before, sizeof key);
    }
    uint8_t huge[FAB_SWARM_KEY_FILE_MAX + 1];
    memset(huge, '\n', sizeof huge);
    memcpy(huge, HEAD "/base16/\n" DIGITS, sizeof(HEAD "/base16/\n" DIGITS) - 1);
    assert_int_equal(parse(huge, sizeof huge, key, NULL), FAB_EFORMAT);
    assert_int_equal(parse(huge, sizeof huge - 1, key, NULL), FAB_OK);
}

static void test_key_text(void **state)
{
    (void)state;
    uint8_t key[FAB_SWARM_KEY_SIZE];
    char text[FAB_SWARM_KEY_TEXT_MAX];
    make_key(key, 0);
    assert_int_equal(fab_swarm_key_text(key, text), FAB_SWARM_KEY_TEXT_MAX - 1);
    assert_string_equal(text, HEAD "/base16/\n" DIGITS "\n");
}

static void test_fingerprint(void **state)
{
    (void)state;
    uint8_t key[FAB_SWARM_KEY_SIZE];
    char text[FAB_SWARM_KEY_FINGERPRINT_SIZE];
    make_key(key, 0);
    assert_int_equal(fab_swarm_key_fingerprint(key, text), FAB_OK);
    assert_string_equal(text, "41dfbf48d882a8ee665983adfa7a48f7");
}

static void reference(uint8_t *buf, size_t n, const uint8_t *nonce, const uint8_t *key)
{
    crypto_stream_xsalsa20_xor(buf, buf, n, nonce, key);
}

#define STREAM_N 100000

static void test_cipher_splits(void **state)
{
    (void)state;
    uint8_t key[FAB_SWARM_KEY_SIZE], nonce[FAB_PNET_NONCE_SIZE];
    uint8_t *want = malloc(STREAM_N), *got = malloc(STREAM_N);
    struct fab_pnet_cipher c;
    uint32_t seed = 1;

    assert_non_null(want);
    assert_non_null(got);
    make_key(key, 77);
    memset(nonce, 3, sizeof nonce);
    for (size_t i = 0; i < STREAM_N; i++)
        want[i] = (uint8_t)(i * 31);
    reference(want, STREAM_N, nonce, key);
    for (unsigned round = 0; round < 60; round++) {
        for (size_t i = 0; i < STREAM_N; i++)
            got[i] = (uint8_t)(i * 31);
        fab_pnet_cipher_init(&c, key, nonce);
        for (size_t at = 0; at < STREAM_N;) {
            seed = seed * 1664525 + 1013904223;
            size_t n = round < 2 ? round + 1 : (seed >> 8) % (round * 20);
            if (n > STREAM_N - at)
                n = STREAM_N - at;
            fab_pnet_cipher_xor(&c, got + at, n);
            at += n;
        }
        assert_memory_equal(got, want, STREAM_N);
        fab_pnet_cipher_fini(&c);
    }
    fab_pnet_cipher_init(&c, key, nonce);
    for (size_t i = 0; i < STREAM_N; i++)
        got[i] = (uint8_t)(i * 31);
    fab_pnet_cipher_xor(&c, got, STREAM_N);
    assert_memory_equal(got, want, STREAM_N);
    fab_pnet_cipher_fini(&c);
    for (size_t i = 0; i < sizeof c; i++)
        assert_int_equal(((const uint8_t *)&c)[i], 0);
    free(want);
    free(got);
}

/* Every split of a short stream in two, and in three around a block's end. */
static void test_cipher_every_split(void **state)
{
    (void)state;
    enum { N = 200 };
    uint8_t key[FAB_SWARM_KEY_SIZE], nonce[FAB_PNET_NONCE_SIZE], want[N] = {0}, got[N];
    struct fab_pnet_cipher c;

    make_key(key, 9);
    memset(nonce, 1, sizeof nonce);
    reference(want, N, nonce, key);
    for (size_t a = 0; a <= N; a++)
        for (size_t b = a; b <= N; b++) {
            memset(got, 0, sizeof got);
            fab_pnet_cipher_init(&c, key, nonce);
            fab_pnet_cipher_xor(&c, got, a);
            fab_pnet_cipher_xor(&c, got + a, b - a);
            fab_pnet_cipher_xor(&c, got + b, N - b);
            assert_memory_equal(got, want, N);
        }
}

/* What Kubo sent to a dialer with this key: its nonce, the header, two refusals, `/noise`. */
static void test_cipher_kubo(void **state)
{
    (void)state;
    static const char hex[] =
        "dc0f3b8233c5299711e0e232710bf9500e2af4845f692e1952ad41e667b268d9a5e1865f0ee1067afcda5b2fde"
        "44711fbd89be4d20016fdb552de201";
    static const char plain[] = "\x13/multistream/1.0.0\n\x03na\n\x03na\n\x07/noise\n";
    uint8_t bytes[sizeof hex / 2], key[FAB_SWARM_KEY_SIZE];
    struct fab_pnet_cipher c;
    size_t n;

    make_key(key, 0);
    assert_int_equal(sodium_hex2bin(bytes, sizeof bytes, hex, strlen(hex), NULL, &n, NULL), 0);
    assert_int_equal(n, FAB_PNET_NONCE_SIZE + sizeof plain - 1);
    fab_pnet_cipher_init(&c, key, bytes);
    fab_pnet_cipher_xor(&c, bytes + FAB_PNET_NONCE_SIZE, n - FAB_PNET_NONCE_SIZE);
    assert_memory_equal(bytes + FAB_PNET_NONCE_SIZE, plain, sizeof plain - 1);
}

#define DIALED (FAB_PNET_NONCE_SIZE + HEADER_N + 10)

struct keys {
    uint8_t bytes[FAB_PNET_KEYS_MAX][FAB_SWARM_KEY_SIZE];
    const uint8_t *p[FAB_PNET_KEYS_MAX];
};

static void make_keys(struct keys *k)
{
    uint8_t seed[randombytes_SEEDBYTES] = {42};
    randombytes_buf_deterministic(k->bytes, sizeof k->bytes, seed);
    for (size_t i = 0; i < FAB_PNET_KEYS_MAX; i++)
        k->p[i] = k->bytes[i];
}

/* A dialer's first bytes under a key: nonce, header, ten bytes more. */
static void dial(uint8_t out[DIALED], const uint8_t *key, uint8_t nonce)
{
    memset(out, nonce, FAB_PNET_NONCE_SIZE);
    memcpy(out + FAB_PNET_NONCE_SIZE, FAB_MULTISTREAM_HEADER "\x07/noise\nX", HEADER_N + 10);
    reference(out + FAB_PNET_NONCE_SIZE, HEADER_N + 10, out, key);
}

/* Give `n` bytes in pieces of `piece`; the last answer, and how many bytes were taken. */
static enum fab_rc feed(struct fab_pnet_select *s, const struct keys *k, size_t keys,
                        const uint8_t *bytes, size_t n, size_t piece, size_t *taken, size_t *found)
{
    enum fab_rc rc = FAB_EBUSY;
    *taken = 0;
    while (rc == FAB_EBUSY && *taken < n) {
        size_t give = n - *taken < piece ? n - *taken : piece;
        uint8_t *copy = malloc(give);
        assert_non_null(copy);
        memcpy(copy, bytes + *taken, give);
        struct fab_reader in = fab_reader(fab_slice(copy, give));
        rc = fab_pnet_select_input(s, k->p, keys, &in, found);
        *taken += give - fab_reader_left(&in);
        if (rc == FAB_EBUSY)
            assert_int_equal(fab_reader_left(&in), 0);
        free(copy);
    }
    return rc;
}

static void test_select_finds(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 63, 64, 65, FAB_PNET_KEYS_MAX};
    struct keys *k = malloc(sizeof *k);
    uint8_t bytes[DIALED];

    assert_non_null(k);
    make_keys(k);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t i = 0; i < counts[c]; i += 1 + counts[c] / 9)
            for (size_t piece = 1; piece <= DIALED; piece++) {
                struct fab_pnet_select s;
                struct fab_pnet_cipher cipher;
                size_t taken, found = SIZE_MAX;
                dial(bytes, k->p[i], (uint8_t)i);
                fab_pnet_select_init(&s);
                assert_int_equal(feed(&s, k, counts[c], bytes, DIALED, piece, &taken, &found),
                                 FAB_OK);
                assert_int_equal(found, i);
                assert_int_equal(taken, FAB_PNET_NONCE_SIZE + HEADER_N);
                fab_pnet_select_cipher(&s, k->p[found], &cipher);
                fab_pnet_cipher_xor(&cipher, bytes + taken, DIALED - taken);
                assert_memory_equal(bytes + taken, "\x07/noise\nX", 10);
            }
    free(k);
}

static void test_select_refuses(void **state)
{
    (void)state;
    struct keys *k = malloc(sizeof *k);
    uint8_t bytes[DIALED], stranger[FAB_SWARM_KEY_SIZE];
    size_t taken, found = SIZE_MAX, late = 0;

    assert_non_null(k);
    make_keys(k);
    make_key(stranger, 200);
    /* a key that we do not have: with one key ours nearly always at the first byte */
    for (unsigned nonce = 0; nonce < 256; nonce++) {
        struct fab_pnet_select s;
        dial(bytes, stranger, (uint8_t)nonce);
        fab_pnet_select_init(&s);
        assert_int_equal(feed(&s, k, 1, bytes, DIALED, 1, &taken, &found), FAB_ENOENT);
        assert_true(taken > FAB_PNET_NONCE_SIZE);
        late += taken > FAB_PNET_NONCE_SIZE + 1;
        fab_pnet_select_init(&s);
        assert_int_equal(
            feed(&s, k, FAB_PNET_KEYS_MAX, bytes, DIALED, 1 + nonce % 50, &taken, &found),
            FAB_ENOENT);
    }
    assert_true(late < 10);
    /* one of our keys, and one wrong byte anywhere in the header: seen at that byte */
    for (size_t at = 0; at < HEADER_N; at++) {
        struct fab_pnet_select s;
        dial(bytes, k->p[3], 1);
        bytes[FAB_PNET_NONCE_SIZE + at] ^= 0x20;
        fab_pnet_select_init(&s);
        assert_int_equal(feed(&s, k, 4, bytes, DIALED, 1, &taken, &found), FAB_ENOENT);
        assert_true(taken <= FAB_PNET_NONCE_SIZE + at + 2);
        if (at > 2) /* by then the others are out */
            assert_int_equal(taken, FAB_PNET_NONCE_SIZE + at + 1);
    }
    assert_int_equal(found, SIZE_MAX);
    free(k);
}

static void test_select_waits(void **state)
{
    (void)state;
    struct keys *k = malloc(sizeof *k);
    struct fab_pnet_select s;
    uint8_t bytes[DIALED];
    size_t taken, found = SIZE_MAX;

    assert_non_null(k);
    make_keys(k);
    dial(bytes, k->p[5], 9);
    for (size_t n = 1; n < FAB_PNET_NONCE_SIZE + HEADER_N; n++) {
        fab_pnet_select_init(&s);
        assert_int_equal(feed(&s, k, 9, bytes, n, n, &taken, &found), FAB_EBUSY);
        assert_int_equal(taken, n);
    }
    struct fab_reader in = fab_reader(fab_slice(bytes, 1));
    fab_pnet_select_init(&s);
    assert_int_equal(fab_pnet_select_input(&s, k->p, 0, &in, &found), FAB_EINVAL);
    assert_int_equal(fab_pnet_select_input(&s, k->p, FAB_PNET_KEYS_MAX + 1, &in, &found),
                     FAB_EINVAL);
    assert_int_equal(fab_reader_left(&in), 1);
    assert_int_equal(found, SIZE_MAX);
    free(k);
}

/* The key arrives while the dialer waits: with a restart all that came counts. */
static void test_select_restart(void **state)
{
    (void)state;
    struct keys *k = malloc(sizeof *k);
    struct fab_pnet_select s;
    struct fab_reader none = fab_reader(fab_slice(NULL, 0));
    uint8_t bytes[DIALED];
    size_t taken, found = SIZE_MAX;

    assert_non_null(k);
    make_keys(k);
    dial(bytes, k->p[200], 9);
    fab_pnet_select_init(&s);
    assert_int_equal(feed(&s, k, 200, bytes, DIALED, DIALED, &taken, &found), FAB_ENOENT);
    fab_pnet_select_restart(&s);
    assert_int_equal(fab_pnet_select_input(&s, k->p, 201, &none, &found), FAB_OK);
    assert_int_equal(found, 200);
    /* equal keys: the first of them */
    k->p[7] = k->p[200];
    fab_pnet_select_restart(&s);
    assert_int_equal(fab_pnet_select_input(&s, k->p, 201, &none, &found), FAB_OK);
    assert_int_equal(found, 7);
    free(k);
}

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_file),       cmocka_unit_test(test_key_file_refused),
        cmocka_unit_test(test_key_text),       cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_cipher_splits),  cmocka_unit_test(test_cipher_every_split),
        cmocka_unit_test(test_cipher_kubo),    cmocka_unit_test(test_select_finds),
        cmocka_unit_test(test_select_refuses), cmocka_unit_test(test_select_waits),
        cmocka_unit_test(test_select_restart),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
