#include "fabric/swarm/noise_cipher.h"
#include "fabric/swarm/noise_xx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define MESSAGES 6

/* The cacophony vector for Noise_XX_25519_ChaChaPoly_SHA256; the last three are transport. */
static const char prologue_hex[] = "4a6f686e2047616c74";
static const char init_static[] =
    "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
static const char init_ephemeral[] =
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
static const char resp_static[] =
    "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
static const char resp_ephemeral[] =
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
static const char handshake_hash[] =
    "c8e5f64e846193be2a834104c2a009868d6c9f3bd3c186299888b488b2f1f58e";
static const struct {
    const char *payload, *ciphertext;
} messages[MESSAGES] = {
    {"4c756477696720766f6e204d69736573",
     "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d"
     "69736573"},
    {"4d757272617920526f746862617264",
     "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884381cbad1f276e038c48378ffc"
     "e2b65285e08d6b68aaa3629a5a8639392490e5b9bd5269c2f1e4f488ed8831161f19b7815528f8982ffe09be"
     "9b5c412f8a0db50f8814c7194e83f23dbd8d162c9326ad"},
    {"462e20412e20486179656b",
     "c7195ffacac1307ff99046f219750fc47693e23c3cb08b89c2af808b444850a80ae475b9df0f169ae80a89be"
     "0865b57f58c9fea0d4ec82a286427402f113e4b6ae769a1d95941d49b25030"},
    {"4361726c204d656e676572", "96763ed773f8e47bb3712f0e29b3060ffc956ffc146cee53d5e1df"},
    {"4a65616e2d426170746973746520536179",
     "3e40f15f6f3a46ae446b253bf8b1d9ffb6ed9b174d272328ff91a7e2e5c79c07f5"},
    {"457567656e2042f6686d20766f6e2042617765726b",
     "eb3f3515110702e047a6c9da4478b6ead94873c11c0f2d710ddb3f09fce024b3a58502ae3f"},
};

static size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
    size_t n = 0;
    assert_int_equal(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &n, NULL), 0);
    return n;
}

static void start(struct fab_noise_xx *xx, bool initiator)
{
    uint8_t s[32], e[32], prologue[16];
    unhex(initiator ? init_static : resp_static, s, sizeof s);
    unhex(initiator ? init_ephemeral : resp_ephemeral, e, sizeof e);
    size_t n = unhex(prologue_hex, prologue, sizeof prologue);
    fab_noise_xx_init(xx, initiator, s, e, fab_slice(prologue, n));
}

/* Both sides through the three messages of the handshake, against the vector. */
static void handshake(struct fab_noise_xx *init, struct fab_noise_xx *resp)
{
    struct fab_buf wire, payload;
    uint8_t want[256], sent[64];
    fab_buf_init(&wire, 1024);
    fab_buf_init(&payload, 1024);
    start(init, true);
    start(resp, false);
    for (size_t i = 0; i < FAB_NOISE_STEPS; i++) {
        struct fab_noise_xx *from = i % 2 ? resp : init, *to = i % 2 ? init : resp;
        size_t n = unhex(messages[i].payload, sent, sizeof sent);
        fab_buf_reset(&wire);
        fab_buf_reset(&payload);
        assert_int_equal(fab_noise_xx_write(from, fab_slice(sent, n), &wire), FAB_OK);
        assert_int_equal(wire.len, unhex(messages[i].ciphertext, want, sizeof want));
        assert_memory_equal(wire.data, want, wire.len);
        assert_int_equal(fab_noise_xx_read(to, fab_buf_slice(&wire), &payload), FAB_OK);
        assert_true(fab_slice_eq(fab_buf_slice(&payload), fab_slice(sent, n)));
    }
    assert_memory_equal(init->rs, resp->s_public, sizeof init->rs);
    assert_memory_equal(resp->rs, init->s_public, sizeof resp->rs);
    fab_buf_fini(&wire);
    fab_buf_fini(&payload);
}

static void test_vector(void **state)
{
    (void)state;
    struct fab_noise_xx xx[2];
    struct fab_noise_cipher send[2], receive[2];
    uint8_t key[2][32], want[64], frame[64];
    handshake(&xx[0], &xx[1]);
    unhex(handshake_hash, want, sizeof want);
    assert_memory_equal(xx[0].h, want, 32);
    assert_memory_equal(xx[1].h, want, 32);

    for (size_t side = 0; side < 2; side++) {
        fab_noise_xx_split(&xx[side], key[0], key[1]);
        assert_int_equal(fab_noise_cipher_init(&send[side], key[0], true), FAB_OK);
        assert_int_equal(fab_noise_cipher_init(&receive[side], key[1], false), FAB_OK);
    }
    for (size_t i = FAB_NOISE_STEPS; i < MESSAGES; i++) {
        size_t n = unhex(messages[i].payload, frame, sizeof frame);
        assert_int_equal(fab_noise_cipher_seal(&send[i % 2], frame, n), FAB_OK);
        assert_int_equal(n + 16, unhex(messages[i].ciphertext, want, sizeof want));
        assert_memory_equal(frame, want, n + 16);
        assert_int_equal(fab_noise_cipher_open(&receive[1 - i % 2], frame, n), FAB_OK);
        unhex(messages[i].payload, want, sizeof want);
        assert_memory_equal(frame, want, n);
    }
    for (size_t side = 0; side < 2; side++) {
        fab_noise_cipher_fini(&send[side]);
        fab_noise_cipher_fini(&receive[side]);
    }
}

static void test_turns(void **state)
{
    (void)state;
    struct fab_noise_xx init, resp;
    struct fab_slice nothing = fab_slice(NULL, 0);
    struct fab_buf out;
    fab_buf_init(&out, 1024);
    start(&init, true);
    start(&resp, false);
    assert_int_equal(fab_noise_xx_write(&resp, nothing, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_xx_read(&init, nothing, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_xx_write(&init, nothing, &out), FAB_OK);
    assert_int_equal(out.len, 32); /* no tag before the first key */
    assert_int_equal(fab_noise_xx_write(&init, nothing, &out), FAB_EINVAL);

    handshake(&init, &resp);
    assert_int_equal(fab_noise_xx_write(&init, nothing, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_xx_write(&resp, nothing, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_xx_read(&init, nothing, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_xx_read(&resp, nothing, &out), FAB_EINVAL);
    fab_buf_fini(&out);
    fab_noise_xx_wipe(&init);
    for (size_t i = 0; i < sizeof init; i++)
        assert_int_equal(((uint8_t *)&init)[i], 0);
}

static void test_empty_payloads(void **state)
{
    (void)state;
    static const size_t sizes[FAB_NOISE_STEPS] = {32, 32 + 48 + 16, 48 + 16};
    struct fab_noise_xx xx[2];
    struct fab_buf wire, payload;
    fab_buf_init(&wire, 1024);
    fab_buf_init(&payload, 1024);
    start(&xx[0], true);
    start(&xx[1], false);
    for (size_t i = 0; i < FAB_NOISE_STEPS; i++) {
        fab_buf_reset(&wire);
        assert_int_equal(fab_noise_xx_write(&xx[i % 2], fab_slice(NULL, 0), &wire), FAB_OK);
        assert_int_equal(wire.len, sizes[i]);
        assert_int_equal(fab_noise_xx_read(&xx[1 - i % 2], fab_buf_slice(&wire), &payload), FAB_OK);
    }
    assert_int_equal(payload.len, 0);
    assert_memory_equal(xx[0].h, xx[1].h, 32);
    fab_buf_fini(&wire);
    fab_buf_fini(&payload);
}

/* Points of low order make every shared secret zero. */
static void test_low_order(void **state)
{
    (void)state;
    uint8_t message[32] = {0};
    struct fab_noise_xx xx;
    struct fab_buf out;
    fab_buf_init(&out, 1024);
    for (uint8_t point = 0; point < 2; point++) {
        message[0] = point;
        start(&xx, false);
        assert_int_equal(fab_noise_xx_read(&xx, fab_slice(message, 32), &out), FAB_OK);
        assert_int_equal(fab_noise_xx_write(&xx, fab_slice(NULL, 0), &out), FAB_EFORMAT);

        uint8_t reply[32 + 48 + 16] = {point};
        start(&xx, true);
        assert_int_equal(fab_noise_xx_write(&xx, fab_slice(NULL, 0), &out), FAB_OK);
        assert_int_equal(fab_noise_xx_read(&xx, fab_slice(reply, sizeof reply), &out), FAB_EFORMAT);
    }
    fab_buf_fini(&out);
}

/* A frame is RFC 8439's AEAD under a nonce of four zero bytes and the counter, little-endian. */
static void test_nonce(void **state)
{
    (void)state;
    static const uint8_t nonce[12] = {0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1};
    static const uint8_t key[32] = {1, 2, 3};
    struct fab_noise_cipher seal, open;
    uint8_t frame[7 + 16] = "payload", want[7 + 16];
    crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, frame, 7, NULL, 0, NULL, nonce, key);
    assert_int_equal(fab_noise_cipher_init(&seal, key, true), FAB_OK);
    assert_int_equal(fab_noise_cipher_init(&open, key, false), FAB_OK);
    seal.nonce = open.nonce = 0x0102030405060708;
    assert_int_equal(fab_noise_cipher_seal(&seal, frame, 7), FAB_OK);
    assert_memory_equal(frame, want, sizeof want);
    assert_int_equal(seal.nonce, 0x0102030405060709);
    assert_int_equal(fab_noise_cipher_open(&open, frame, 7), FAB_OK);
    assert_memory_equal(frame, "payload", 7);

    seal.nonce = open.nonce = UINT64_MAX - 1; /* the last that may be used */
    assert_int_equal(fab_noise_cipher_seal(&seal, frame, 7), FAB_OK);
    assert_int_equal(fab_noise_cipher_open(&open, frame, 7), FAB_OK);
    assert_int_equal(fab_noise_cipher_seal(&seal, frame, 7), FAB_ELIMIT);
    assert_int_equal(fab_noise_cipher_open(&open, frame, 7), FAB_ELIMIT);
    assert_int_equal(seal.nonce, UINT64_MAX);
    fab_noise_cipher_fini(&seal);
    fab_noise_cipher_fini(&open);
}

/* Frames around the sizes in which the cipher works through them. */
static void test_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 64, 8191, 8192, 8193, 16384, 20000, 65519};
    static const uint8_t key[32] = {4, 5, 6};
    struct fab_noise_cipher seal, open;
    uint8_t *plain = malloc(65535), *frame = malloc(65535), *want = malloc(65535);
    assert_true(plain && frame && want);
    assert_int_equal(fab_noise_cipher_init(&seal, key, true), FAB_OK);
    assert_int_equal(fab_noise_cipher_init(&open, key, false), FAB_OK);
    for (size_t i = 0; i < 65535; i++)
        plain[i] = (uint8_t)(i * 7 + i / 256);
    for (uint8_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint8_t nonce[12] = {0, 0, 0, 0, i};
        size_t n = sizes[i];
        crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, plain, n, NULL, 0, NULL, nonce, key);
        memcpy(frame, plain, n);
        assert_int_equal(fab_noise_cipher_seal(&seal, frame, n), FAB_OK);
        assert_memory_equal(frame, want, n + 16);
        assert_int_equal(fab_noise_cipher_open(&open, frame, n), FAB_OK);
        if (n > 0)
            assert_memory_equal(frame, plain, n);
    }
    fab_noise_cipher_fini(&seal);
    fab_noise_cipher_fini(&open);
    free(plain);
    free(frame);
    free(want);
}

static void test_cipher_tamper(void **state)
{
    (void)state;
    static const uint8_t key[32] = {9}, zero[100];
    struct fab_noise_cipher seal, open;
    uint8_t frame[100 + 16], bad[100 + 16];
    memset(frame, 'x', 100);
    assert_int_equal(fab_noise_cipher_init(&seal, key, true), FAB_OK);
    assert_int_equal(fab_noise_cipher_init(&open, key, false), FAB_OK);
    assert_int_equal(fab_noise_cipher_seal(&seal, frame, 100), FAB_OK);
    for (size_t i = 0; i < sizeof frame; i++) {
        memcpy(bad, frame, sizeof bad);
        bad[i] ^= 0x80;
        open.nonce = 0;
        assert_int_equal(fab_noise_cipher_open(&open, bad, 100), FAB_EFORMAT);
        assert_memory_equal(bad, zero, sizeof zero);
    }
    open.nonce = 1;
    memcpy(bad, frame, sizeof bad);
    assert_int_equal(fab_noise_cipher_open(&open, bad, 100), FAB_EFORMAT);
    open.nonce = 0;
    assert_int_equal(fab_noise_cipher_open(&open, frame, 100), FAB_OK);
    fab_noise_cipher_fini(&seal);
    fab_noise_cipher_fini(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector),         cmocka_unit_test(test_turns),
        cmocka_unit_test(test_empty_payloads), cmocka_unit_test(test_low_order),
        cmocka_unit_test(test_nonce),          cmocka_unit_test(test_cipher_tamper),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
