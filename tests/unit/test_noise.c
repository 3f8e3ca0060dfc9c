#include "fabric/swarm/noise.h"

#include "fabric/swarm/noise_payload.h"
#include "fabric/swarm/noise_xx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define YAMUX  "/yamux/1.0.0"
#define PREFIX "noise-libp2p-static-key:"

static const char *const yamux[] = {YAMUX};
static struct fab_key *keys[3]; /* the initiator's, the responder's, somebody else's */

/* Two noises and what is on its way between them. */
struct pair {
    struct fab_noise *side[2]; /* by enum fab_noise_role */
    struct fab_buf wire;
};

static struct fab_noise *noise_of(enum fab_noise_role role, const char *const *muxers, size_t n,
                                  const struct fab_peer_id *expected)
{
    uint8_t static_secret[32], ephemeral_secret[32];
    struct fab_noise *noise;
    memset(static_secret, 0x10 + role, 32);
    memset(ephemeral_secret, 0x20 + role, 32);
    struct fab_noise_config config = {.role = role,
                                      .key = keys[role],
                                      .static_secret = static_secret,
                                      .ephemeral_secret = ephemeral_secret,
                                      .muxers = muxers,
                                      .n_muxers = n,
                                      .expected = expected};
    assert_int_equal(fab_noise_new(&config, &noise), FAB_OK);
    return noise;
}

static void pair_init(struct pair *p)
{
    p->side[FAB_NOISE_INITIATOR] = noise_of(FAB_NOISE_INITIATOR, yamux, 1, NULL);
    p->side[FAB_NOISE_RESPONDER] = noise_of(FAB_NOISE_RESPONDER, yamux, 1, NULL);
    fab_buf_init(&p->wire, 1 << 16);
}

static void pair_fini(struct pair *p)
{
    fab_noise_free(p->side[0]);
    fab_noise_free(p->side[1]);
    fab_buf_fini(&p->wire);
}

/* The one framed message in a buffer, without its length. */
static struct fab_slice unframed(const struct fab_buf *b)
{
    assert_true(b->len > FAB_NOISE_HEAD);
    assert_int_equal(b->data[0] << 8 | b->data[1], b->len - FAB_NOISE_HEAD);
    return fab_slice(b->data + FAB_NOISE_HEAD, b->len - FAB_NOISE_HEAD);
}

/* Give the message on the wire to a side; its reply then is on the wire. */
static enum fab_rc pass(struct pair *p, enum fab_noise_role to)
{
    struct fab_buf in = p->wire;
    fab_buf_init(&p->wire, 1 << 16);
    enum fab_rc rc = fab_noise_handshake(p->side[to], unframed(&in), &p->wire);
    fab_buf_fini(&in);
    return rc;
}

/* Until `message` (1 to 3) is on the wire. */
static void pair_run(struct pair *p, unsigned message)
{
    assert_int_equal(fab_noise_start(p->side[0], &p->wire), FAB_OK);
    for (unsigned i = 1; i < message; i++)
        assert_int_equal(pass(p, i % 2 ? FAB_NOISE_RESPONDER : FAB_NOISE_INITIATOR), FAB_OK);
}

static void pair_ready(struct pair *p)
{
    pair_init(p);
    pair_run(p, 3);
    assert_true(fab_noise_ready(p->side[0]));
    assert_false(fab_noise_ready(p->side[1]));
    assert_int_equal(pass(p, FAB_NOISE_RESPONDER), FAB_OK);
    assert_true(fab_noise_ready(p->side[1]));
    assert_int_equal(p->wire.len, 0);
}

/* A side that failed says nothing more and takes nothing more. */
static void check_dead(struct fab_noise *noise)
{
    uint8_t frame[64] = {0};
    struct fab_slice plain;
    struct fab_buf out;
    fab_buf_init(&out, 1024);
    assert_false(fab_noise_ready(noise));
    assert_int_equal(fab_noise_start(noise, &out), FAB_EINVAL);
    assert_int_equal(fab_noise_handshake(noise, fab_slice(frame, 32), &out), FAB_EINVAL);
    assert_int_equal(fab_noise_seal(noise, frame, 8), FAB_EINVAL);
    assert_int_equal(fab_noise_open(noise, frame, 32, &plain), FAB_EINVAL);
    assert_int_equal(out.len, 0);
    fab_buf_fini(&out);
}

static void test_handshake(void **state)
{
    (void)state;
    struct pair p;
    pair_ready(&p);
    for (int side = 0; side < 2; side++) {
        const struct fab_key *other = keys[1 - side];
        assert_true(fab_peer_id_eq(fab_noise_remote(p.side[side]), fab_key_peer_id(other)));
        assert_true(fab_slice_eq(fab_noise_remote_key(p.side[side]), fab_key_public_proto(other)));
        assert_int_equal(fab_noise_muxer(p.side[side]), 0);
    }
    pair_fini(&p);
}

static void test_messages(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    assert_null(fab_noise_remote(p.side[0]));
    assert_int_equal(fab_noise_remote_key(p.side[0]).n, 0);
    assert_int_equal(fab_noise_muxer(p.side[0]), -1);
    assert_int_equal(fab_noise_start(p.side[0], &p.wire), FAB_OK);
    assert_int_equal(p.wire.len, 2 + 32);
    assert_int_equal(pass(&p, FAB_NOISE_RESPONDER), FAB_OK);
    /* identity_key 2 + 36, identity_sig 2 + 64, extensions 2 + 2 + 12 */
    assert_int_equal(p.wire.len, 2 + 32 + 48 + 120 + 16);
    assert_null(fab_noise_remote(p.side[1]));
    assert_int_equal(pass(&p, FAB_NOISE_INITIATOR), FAB_OK);
    assert_int_equal(p.wire.len, 2 + 48 + 120 + 16);
    pair_fini(&p);
}

static void test_moments(void **state)
{
    (void)state;
    static const char *const many[FAB_NOISE_MUXERS_MAX + 1] = {0};
    static const uint8_t secret[32] = {1};
    struct fab_noise_config config = {
        .key = keys[0], .static_secret = secret, .ephemeral_secret = secret, .muxers = many};
    struct fab_noise *noise = NULL;
    config.n_muxers = FAB_NOISE_MUXERS_MAX + 1;
    assert_int_equal(fab_noise_new(&config, &noise), FAB_EINVAL);
    config.n_muxers = 0;
    config.key = NULL;
    assert_int_equal(fab_noise_new(&config, &noise), FAB_EINVAL);
    config.key = keys[0];
    config.ephemeral_secret = NULL;
    assert_int_equal(fab_noise_new(&config, &noise), FAB_EINVAL);
    assert_null(noise);
    fab_noise_free(NULL);

    struct pair p;
    uint8_t frame[64] = {0};
    struct fab_slice plain;
    pair_init(&p);
    assert_int_equal(fab_noise_start(p.side[1], &p.wire), FAB_EINVAL);
    assert_int_equal(fab_noise_handshake(p.side[0], fab_slice(frame, 32), &p.wire), FAB_EINVAL);
    assert_int_equal(fab_noise_seal(p.side[0], frame, 8), FAB_EINVAL);
    assert_int_equal(fab_noise_open(p.side[0], frame, 32, &plain), FAB_EINVAL);
    assert_int_equal(p.wire.len, 0);
    pair_run(&p, 3); /* none of these did harm */
    assert_int_equal(fab_noise_start(p.side[0], &p.wire), FAB_EINVAL);
    assert_int_equal(fab_noise_handshake(p.side[0], fab_slice(frame, 32), &p.wire), FAB_EINVAL);
    assert_int_equal(pass(&p, FAB_NOISE_RESPONDER), FAB_OK);
    pair_fini(&p);
}

/* One changed bit anywhere in a message ends the handshake for whoever reads the next proof. */
static void test_tamper(void **state)
{
    (void)state;
    for (unsigned message = 1; message <= 3; message++) {
        size_t n = 1;
        for (size_t i = 0; i < n; i++) {
            struct pair p;
            pair_init(&p);
            pair_run(&p, message);
            n = p.wire.len - FAB_NOISE_HEAD;
            p.wire.data[FAB_NOISE_HEAD + i] ^= (uint8_t)(1u << (i % 8));
            enum fab_noise_role to = message == 2 ? FAB_NOISE_INITIATOR : FAB_NOISE_RESPONDER;
            if (message == 1) {
                assert_int_equal(pass(&p, to), FAB_OK);
                to = FAB_NOISE_INITIATOR;
            }
            assert_int_equal(pass(&p, to), FAB_EFORMAT);
            assert_int_equal(p.wire.len, 0);
            assert_null(fab_noise_remote(p.side[to]));
            check_dead(p.side[to]);
            pair_fini(&p);
        }
    }
}

static void test_truncated(void **state)
{
    (void)state;
    for (unsigned message = 1; message <= 3; message++) {
        size_t n = 1;
        for (size_t i = 0; i < n; i++) {
            struct pair p;
            struct fab_buf out;
            fab_buf_init(&out, 1024);
            pair_init(&p);
            pair_run(&p, message);
            n = p.wire.len - FAB_NOISE_HEAD;
            struct fab_noise *to = p.side[message == 2 ? 0 : 1];
            assert_int_equal(fab_noise_handshake(to, fab_slice(p.wire.data + 2, i), &out),
                             FAB_EFORMAT);
            assert_int_equal(out.len, 0);
            check_dead(to);
            fab_buf_fini(&out);
            pair_fini(&p);
        }
    }
}

static void test_too_long(void **state)
{
    (void)state;
    static uint8_t message[FAB_NOISE_HANDSHAKE_MAX + 1];
    struct fab_buf out;
    fab_buf_init(&out, 1024);
    message[0] = 9; /* the base point */
    struct fab_noise *noise = noise_of(FAB_NOISE_RESPONDER, NULL, 0, NULL);
    assert_int_equal(fab_noise_handshake(noise, fab_slice(message, sizeof message), &out),
                     FAB_ELIMIT);
    check_dead(noise);
    fab_noise_free(noise);
    noise = noise_of(FAB_NOISE_RESPONDER, NULL, 0, NULL);
    assert_int_equal(fab_noise_handshake(noise, fab_slice(message, sizeof message - 1), &out),
                     FAB_OK);
    fab_noise_free(noise);
    fab_buf_fini(&out);
}

/* A buffer without room is left as it was. */
static void test_no_room(void **state)
{
    (void)state;
    for (unsigned message = 1; message <= 3; message++) {
        size_t need = 1;
        for (size_t max = 0; max < need; max += 7) {
            struct pair p, all;
            struct fab_buf out;
            pair_init(&all);
            pair_run(&all, message);
            need = all.wire.len;
            pair_fini(&all);

            pair_init(&p);
            fab_buf_init(&out, 3 + max);
            assert_int_equal(fab_buf_append(&out, "abc", 3), FAB_OK);
            struct fab_noise *to = p.side[message == 2 ? 1 : 0];
            if (message == 1) {
                assert_int_equal(fab_noise_start(to, &out), FAB_ELIMIT);
            } else {
                pair_run(&p, message - 1);
                assert_int_equal(fab_noise_handshake(to, unframed(&p.wire), &out), FAB_ELIMIT);
            }
            assert_int_equal(out.len, 3);
            assert_memory_equal(out.data, "abc", 3);
            check_dead(to);
            fab_buf_fini(&out);
            pair_fini(&p);
        }
    }
}

static void test_expected(void **state)
{
    (void)state;
    for (int right = 0; right < 2; right++) {
        struct pair p;
        pair_init(&p);
        fab_noise_free(p.side[0]);
        p.side[0] = noise_of(FAB_NOISE_INITIATOR, yamux, 1, fab_key_peer_id(keys[right ? 1 : 2]));
        pair_run(&p, 2);
        assert_int_equal(pass(&p, FAB_NOISE_INITIATOR), right ? FAB_OK : FAB_EACCES);
        assert_true(fab_peer_id_eq(fab_noise_remote(p.side[0]), fab_key_peer_id(keys[1])));
        if (!right) {
            assert_int_equal(p.wire.len, 0);
            check_dead(p.side[0]);
        }
        pair_fini(&p);
    }
}

static void check_muxers(const char *const *ours, size_t n, const char *const *theirs, size_t m,
                         int init_index, int resp_index)
{
    struct pair p = {.side = {noise_of(FAB_NOISE_INITIATOR, ours, n, NULL),
                              noise_of(FAB_NOISE_RESPONDER, theirs, m, NULL)}};
    fab_buf_init(&p.wire, 4096);
    pair_run(&p, 3);
    assert_int_equal(pass(&p, FAB_NOISE_RESPONDER), FAB_OK);
    assert_int_equal(fab_noise_muxer(p.side[0]), init_index);
    assert_int_equal(fab_noise_muxer(p.side[1]), resp_index);
    pair_fini(&p);
}

static void test_muxers(void **state)
{
    (void)state;
    static const char *const ab[] = {"/a", "/b"}, *const ba[] = {"/b", "/a"};
    static const char *const cb[] = {"/c", "/b"}, *const other[] = {"/yamux/1.0.00"};
    check_muxers(yamux, 1, yamux, 1, 0, 0);
    check_muxers(yamux, 1, NULL, 0, -1, -1);
    check_muxers(NULL, 0, yamux, 1, -1, -1);
    check_muxers(NULL, 0, NULL, 0, -1, -1);
    check_muxers(yamux, 1, other, 1, -1, -1);
    check_muxers(ab, 2, ba, 2, 0, 1); /* the initiator's order decides */
    check_muxers(ba, 2, ab, 2, 0, 1);
    check_muxers(ab, 2, cb, 2, 1, 1);
    check_muxers(ab, 2, ba, 1, 1, 0);
}

/* A peer whose Noise is right and whose payload is ours to write. */
static enum fab_rc forged(enum fab_noise_role victim, struct fab_slice payload)
{
    uint8_t s[32], e[32];
    struct fab_noise_xx xx;
    struct fab_buf wire, out, ignored;
    struct fab_noise *noise = noise_of(victim, yamux, 1, NULL);
    enum fab_rc rc;
    memset(s, 0x77, 32);
    memset(e, 0x78, 32);
    fab_buf_init(&wire, 8192);
    fab_buf_init(&out, 8192);
    fab_buf_init(&ignored, 8192);
    fab_noise_xx_init(&xx, victim == FAB_NOISE_RESPONDER, s, e, fab_slice(NULL, 0));
    if (victim == FAB_NOISE_INITIATOR) {
        assert_int_equal(fab_noise_start(noise, &out), FAB_OK);
    } else { /* a payload in message 1 is no identity */
        assert_int_equal(fab_noise_xx_write(&xx, payload, &wire), FAB_OK);
        assert_int_equal(fab_noise_handshake(noise, fab_buf_slice(&wire), &out), FAB_OK);
        assert_null(fab_noise_remote(noise));
        fab_buf_reset(&wire);
    }
    assert_int_equal(fab_noise_xx_read(&xx, unframed(&out), &ignored), FAB_OK);
    fab_buf_reset(&out);
    assert_int_equal(fab_noise_xx_write(&xx, payload, &wire), FAB_OK);
    rc = fab_noise_handshake(noise, fab_buf_slice(&wire), &out);
    assert_int_equal(fab_noise_ready(noise), rc == FAB_OK);
    if (rc != FAB_OK) {
        assert_null(fab_noise_remote(noise));
        assert_int_equal(out.len, 0);
        check_dead(noise);
    }
    fab_buf_fini(&wire);
    fab_buf_fini(&out);
    fab_buf_fini(&ignored);
    fab_noise_free(noise);
    return rc;
}

static enum fab_rc forged_fields(struct fab_slice key, struct fab_slice sig)
{
    struct fab_noise_payload payload = {.identity_key = key, .identity_sig = sig};
    struct fab_buf bytes;
    fab_buf_init(&bytes, 4096);
    assert_int_equal(fab_noise_payload_encode(&payload, &bytes), FAB_OK);
    enum fab_rc rc = forged(FAB_NOISE_INITIATOR, fab_buf_slice(&bytes));
    assert_int_equal(forged(FAB_NOISE_RESPONDER, fab_buf_slice(&bytes)), rc);
    fab_buf_fini(&bytes);
    return rc;
}

static void forger_sign(const struct fab_key *key, const char *prefix, uint8_t seed,
                        uint8_t sig[FAB_KEY_SIG_SIZE])
{
    uint8_t text[64], s[32];
    struct fab_noise_xx xx;
    size_t n = strlen(prefix);
    memset(s, seed, 32);
    fab_noise_xx_init(&xx, true, s, s, fab_slice(NULL, 0));
    memcpy(text, prefix, n);
    memcpy(text + n, xx.s_public, 32);
    fab_key_sign(key, fab_slice(text, n + 32), sig);
}

static void test_identity(void **state)
{
    (void)state;
    static const uint8_t unknown_type[] = {8, 4, 18, 1, 0};
    static const uint8_t ed25519_short[] = {8, 1, 18, 1, 0};
    struct fab_slice key = fab_key_public_proto(keys[2]);
    uint8_t sig[FAB_KEY_SIG_SIZE];
    struct fab_slice signature = fab_slice(sig, sizeof sig);

    forger_sign(keys[2], PREFIX, 0x77, sig);
    assert_int_equal(forged_fields(key, signature), FAB_OK);
    assert_int_equal(forged_fields(fab_key_public_proto(keys[0]), signature), FAB_EFORMAT);
    assert_int_equal(forged_fields(fab_slice(unknown_type, 5), signature), FAB_EUNSUPPORTED);
    assert_int_equal(forged_fields(fab_slice(ed25519_short, 5), signature), FAB_EFORMAT);
    assert_int_equal(forged_fields(key, fab_slice(sig, 63)), FAB_EFORMAT);
    assert_int_equal(forged_fields(key, fab_slice(NULL, 0)), FAB_EFORMAT);
    assert_int_equal(forged_fields(fab_slice(NULL, 0), signature), FAB_EFORMAT);
    assert_int_equal(forged(FAB_NOISE_INITIATOR, fab_slice(NULL, 0)), FAB_EFORMAT);
    assert_int_equal(forged(FAB_NOISE_RESPONDER, fab_slice(NULL, 0)), FAB_EFORMAT);
    sig[10] ^= 1;
    assert_int_equal(forged_fields(key, signature), FAB_EFORMAT);

    forger_sign(keys[2], PREFIX, 0x76, sig); /* of another static key */
    assert_int_equal(forged_fields(key, signature), FAB_EFORMAT);
    forger_sign(keys[2], "", 0x77, sig);
    assert_int_equal(forged_fields(key, signature), FAB_EFORMAT);
}

static void test_payload(void **state)
{
    (void)state;
    /* key "k", an unknown varint, signature "s", extensions {certhash, "/a", unknown 64 bits},
     * key "K" again, extensions {"/b"} */
    static const uint8_t good[] = {10,  1,  'k', 24,  7,   18, 1, 's', 34, 16,  10, 1,
                                   'h', 18, 2,   '/', 'a', 25, 1, 2,   3,  4,   5,  6,
                                   7,   8,  10,  1,   'K', 34, 4, 18,  2,  '/', 'b'};
    static const struct {
        uint8_t bytes[12];
        size_t n;
    } bad[] = {
        {{0}, 0},                                     /* nothing */
        {{10, 1, 'k'}, 3},                            /* no signature */
        {{18, 1, 's'}, 3},                            /* no key */
        {{10, 0, 18, 1, 's'}, 5},                     /* an empty key */
        {{10, 1, 'k', 18, 2, 's'}, 6},                /* cut short */
        {{8, 1, 18, 1, 's'}, 5},                      /* the key a varint */
        {{10, 1, 'k', 16, 1}, 5},                     /* the signature a varint */
        {{10, 1, 'k', 18, 1, 's', 32, 1}, 8},         /* the extensions a varint */
        {{10, 1, 'k', 18, 1, 's', 34, 2, 16, 1}, 10}, /* a muxer a varint */
        {{10, 1, 'k', 18, 1, 's', 34, 2, 18, 1}, 10}, /* extensions cut short */
        {{10, 1, 'k', 18, 1, 's', 43, 44}, 8},        /* a group */
        {{10, 1, 'k', 18, 1, 's', 10, 0}, 8},         /* the last key counts: empty */
        {{10, 1, 'k', 18, 1, 's', 0x80, 0}, 8},       /* field 0, not minimal */
    };
    struct fab_noise_payload payload = {0}, many = {.n_muxers = FAB_NOISE_PAYLOAD_MUXERS_MAX};
    struct fab_buf bytes;
    assert_int_equal(fab_noise_payload_decode(fab_slice(good, sizeof good), &payload), FAB_OK);
    assert_true(fab_slice_eq(payload.identity_key, fab_slice("K", 1)));
    assert_true(fab_slice_eq(payload.identity_sig, fab_slice("s", 1)));
    assert_int_equal(payload.n_muxers, 2);
    assert_true(fab_slice_eq(payload.muxers[0], fab_slice("/a", 2)));
    assert_true(fab_slice_eq(payload.muxers[1], fab_slice("/b", 2)));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (fab_noise_payload_decode(fab_slice(bad[i].bytes, bad[i].n), &payload) != FAB_EFORMAT)
            fail_msg("malformed payload %zu is taken", i);

    fab_buf_init(&bytes, 4096);
    many.identity_key = many.identity_sig = fab_slice("x", 1);
    for (size_t i = 0; i < many.n_muxers; i++)
        many.muxers[i] = fab_slice("/m", 2);
    assert_int_equal(fab_noise_payload_encode(&many, &bytes), FAB_OK);
    assert_int_equal(fab_noise_payload_decode(fab_buf_slice(&bytes), &payload), FAB_OK);
    assert_int_equal(payload.n_muxers, FAB_NOISE_PAYLOAD_MUXERS_MAX);
    assert_int_equal(fab_buf_append(&bytes, "\x22\x04\x12\x02/m", 6), FAB_OK);
    assert_int_equal(fab_noise_payload_decode(fab_buf_slice(&bytes), &payload), FAB_ELIMIT);
    fab_buf_fini(&bytes);
}

static void test_transport(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 0, 16384, FAB_NOISE_PLAIN_MAX};
    struct pair p;
    struct fab_slice plain;
    size_t room = FAB_NOISE_HEAD + FAB_NOISE_PLAIN_MAX + FAB_NOISE_TAG;
    uint8_t *frame = malloc(room);
    assert_non_null(frame);
    pair_ready(&p);
    assert_int_equal(fab_noise_seal(p.side[0], frame, FAB_NOISE_PLAIN_MAX + 1), FAB_EINVAL);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i / 2];
        struct fab_noise *from = p.side[i % 2], *to = p.side[1 - i % 2];
        memset(frame, (int)i + 1, room);
        assert_int_equal(fab_noise_seal(from, frame, n), FAB_OK);
        assert_int_equal(frame[0] << 8 | frame[1], n + FAB_NOISE_TAG);
        assert_int_equal(fab_noise_open(to, frame + FAB_NOISE_HEAD, n + FAB_NOISE_TAG, &plain),
                         FAB_OK);
        assert_int_equal(plain.n, n);
        assert_ptr_equal(plain.p, frame + FAB_NOISE_HEAD);
        for (size_t k = 0; k < n; k++)
            if (plain.p[k] != i + 1)
                fail_msg("byte %zu of %zu differs", k, n);
    }
    free(frame);
    pair_fini(&p);
}

/* What becomes of the second of two frames. */
static enum fab_rc second(size_t change, bool replay, bool skip, bool echo, size_t n)
{
    struct pair p;
    struct fab_slice plain;
    uint8_t a[FAB_NOISE_HEAD + 4 + FAB_NOISE_TAG] = "..aaaa", copy[sizeof a];
    uint8_t b[FAB_NOISE_HEAD + 4 + FAB_NOISE_TAG] = "..bbbb";
    pair_ready(&p);
    assert_int_equal(fab_noise_seal(p.side[0], a, 4), FAB_OK);
    assert_int_equal(fab_noise_seal(p.side[0], b, 4), FAB_OK);
    memcpy(copy, a, sizeof a);
    if (!skip)
        assert_int_equal(fab_noise_open(p.side[1], a + 2, 20, &plain), FAB_OK);
    if (change < sizeof b)
        b[change] ^= 1;
    struct fab_noise *to = p.side[echo ? 0 : 1];
    enum fab_rc rc = fab_noise_open(to, (replay ? copy : b) + 2, n, &plain);
    if (rc != FAB_OK)
        check_dead(to);
    pair_fini(&p);
    return rc;
}

static void test_bad_frames(void **state)
{
    (void)state;
    assert_int_equal(second(99, false, false, false, 20), FAB_OK);
    for (size_t i = FAB_NOISE_HEAD; i < FAB_NOISE_HEAD + 20; i++)
        assert_int_equal(second(i, false, false, false, 20), FAB_EFORMAT);
    for (size_t n = 0; n < 20; n++)
        assert_int_equal(second(99, false, false, false, n), FAB_EFORMAT);
    assert_int_equal(second(99, true, false, false, 20), FAB_EFORMAT);
    assert_int_equal(second(99, false, true, false, 20), FAB_EFORMAT);
    assert_int_equal(second(99, false, false, true, 20), FAB_EFORMAT);
}

static int keys_make(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 3; i++) {
        uint8_t seed[32] = {i};
        if (fab_key_from_seed(seed, &keys[i]) != FAB_OK)
            return -1;
    }
    return 0;
}

static int keys_free(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        fab_key_free(keys[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),  cmocka_unit_test(test_messages),
        cmocka_unit_test(test_moments),    cmocka_unit_test(test_tamper),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_no_room),    cmocka_unit_test(test_expected),
        cmocka_unit_test(test_muxers),     cmocka_unit_test(test_identity),
        cmocka_unit_test(test_payload),    cmocka_unit_test(test_transport),
        cmocka_unit_test(test_bad_frames),
    };
    return cmocka_run_group_tests(tests, keys_make, keys_free);
}
