/* Identity: peer IDs, public keys, our key, signed records.
 *
 * The keys are the test vectors of libp2p/specs peer-ids; the signatures were made by Kubo 0.42.0
 * (`ipfs key import`, `ipfs key sign`) with those keys, and the peer IDs are what it printed. */
#include "fabric/identity/signed_record.h"

#include "storage/multiformats/multiaddr.h"
#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define ED25519_PRIVATE                                                                            \
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fa"             \
    "e2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
#define ED25519_PUBLIC "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
#define MESSAGE        "libp2p-key signed message:hello, fabric"

struct vector {
    const char *public_hex, *id, *sig_hex;
};

static const struct vector vectors[] = {
    {ED25519_PUBLIC, "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
     "0c54ba51583dac35075825f13a661a7e5658fb0483d40e94f9d474c3749da277cc3ea61649e4817a"
     "60133b4559f1e77df630e5c20c3b27bc2ebd2c39199b4808"},
    {"08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99",
     "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY",
     "3045022100e1896e485b9da1497eaad9150594169a6e2becc429383ce371d3380c3b375ce702203f"
     "47695f907f5f13da815993a3146b6393ab225424b8e502f7ee8925c5474550"},
    {"0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5"
     "d530899d83abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47"
     "c646a597fb4dcec034e9f77c409e62",
     "QmVMT29id3TUASyfZZ6k9hmNyc2nYabCo4uMSpDw4zrgDk",
     "304402203316b98a0a34248edf9c1575f930ca0fbd71e28e72c85ddcacff142eb019f7a4022050e9"
     "8a5205157c8386c53e5f61a8ccdce278e9c7d0a91fc74f7d78b5bfaffec2"},
    {"080012a60430820222300d06092a864886f70d01010105000382020f003082020a0282020100e1be"
     "ab071d08200bde24eef00d049449b07770ff9910257b2d7d5dda242ce8f0e2f12e1af4b32d9efd2c"
     "090f66b0f29986dbb645dae9880089704a94e5066d594162ae6ee8892e6ec70701db0a6c445c0477"
     "8eb3de1293aa1a23c3825b85c6620a2bc3f82f9b0c309bc0ab3aeb1873282bebd3da03c33e76c21e"
     "9beb172fd44c9e43be32e2c99827033cf8d0f0c606f4579326c930eb4e854395ad941256542c7939"
     "02185153c474bed109d6ff5141ebf9cd256cf58893a37f83729f97e7cb435ec679d2e33901d27bb3"
     "5aa0d7e20561da08885ef0abbf8e2fb48d6a5487047a9ecb1ad41fa7ed84f6e3e8ecd5d98b3982d2"
     "a901b4454991766da295ab78822add5612a2df83bcee814cf50973e80d7ef38111b1bd87da2ae924"
     "38a2c8cbcc70b31ee319939a3b9c761dbc13b5c086d6b64bf7ae7dacc14622375d92a8ff9af7eb96"
     "2162bbddebf90acb32adb5e4e4029f1c96019949ecfbfeffd7ac1e3fbcc6b6168c34be3d5a2e5999"
     "fcbb39bba7adbca78eab09b9bc39f7fa4b93411f4cc175e70c0a083e96bfaefb04a9580b4753c173"
     "8a6a760ae1afd851a1a4bdad231cf56e9284d832483df215a46c1c21bdf0c6cfe951c18f1ee4078c"
     "79c13d63edb6e14feaeffabc90ad317e4875fe648101b0864097e998f0ca3025ef9638cd2b0caecd"
     "3770ab54a1d9c6ca959b0f5dcbc90caeefc4135baca6fd475224269bbe1b0203010001",
     "QmaeANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG",
     "c61a146e2a97721a41f6da36c8609755f2515101a5b30032affb90417a4388fbce1296196fd697c5"
     "a543bf35910ef510edf7f6852688c9ee243f978f9ed2a6916c407fa72b738df5c26e5171088f0972"
     "737e0aa6110826aa37e789cfed2579444767ca0fb1224fed89bf8b4a6b62021bf3063c26a2e32bb2"
     "0bccd8de37fa87b67b57ae9e53ae985fccbac540a9f41161dd2248cc42cc336d3ca5af9216bb99d9"
     "de9580dcb23a00a350cdca113e26a0b9749ab1c4e259dd4226abbf571828643acdcc7ad9a18eddb2"
     "42b9253a3dbf7e5d6097a50d65da0ace626ae3020497e717200c857b528862e063f7f0358fd88c1a"
     "8ea00b42b9f507a4808ac365771863001fe731d2e57b5d903cfc0f89fc7b143a735302e1b7c9d763"
     "3f86dbde8d7893f1712367ce9bec59102e95459770e383b7d8e34dfc5204bc8e40d768dbace28d6b"
     "baa672c00390b66e0f513fe8049364af076b2bfb91e6162a97c7a44d7d33f743532d3ff3df507581"
     "bbde3ecd9525ce72f8b359c590796325eeb26fc4bb398cc3f32cfddbb4f2ee7f35843900bffa90bd"
     "5364546c10b6e43d77d9bbaef070ecbd9d39e6c0bcef7f1434eea267a1c8056e0c2da300b3a8b71e"
     "510fb515f436756b6d0724f6db20f63b619274df5790ebb7cc83622bd8fbde44bf5611f97f611fae"
     "3a446f71b882935a5467094e081baae64d9dd5de1fc31a04f3ff6e5a1a426444"},
};
#define VECTORS (sizeof vectors / sizeof *vectors)

/* Bytes of hexadecimal digits, in memory of just that size, so that ASan sees a read behind it. */
struct bytes {
    uint8_t *p;
    size_t n;
};

static struct bytes unhex(const char *hex)
{
    struct bytes b = {malloc(strlen(hex) / 2 + 1), 0};
    assert_non_null(b.p);
    assert_int_equal(sodium_hex2bin(b.p, strlen(hex) / 2, hex, strlen(hex), NULL, &b.n, NULL), 0);
    b.p = realloc(b.p, b.n);
    assert_non_null(b.p);
    return b;
}

static struct fab_slice slice(struct bytes b)
{
    return fab_slice(b.p, b.n);
}

static struct fab_key *spec_key(void)
{
    struct bytes proto = unhex(ED25519_PRIVATE);
    struct fab_key *key;
    assert_int_equal(fab_key_from_proto(slice(proto), &key), FAB_OK);
    free(proto.p);
    return key;
}

static void test_peer_id_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < VECTORS; i++) {
        struct bytes proto = unhex(vectors[i].public_hex);
        struct fab_peer_id id, again;
        struct fab_slice inside;
        char text[FAB_PEER_ID_TEXT_MAX];
        assert_int_equal(fab_peer_id_of_public(slice(proto), &id), FAB_OK);
        assert_int_equal(fab_peer_id_text(&id, text), strlen(vectors[i].id));
        assert_string_equal(text, vectors[i].id);
        assert_int_equal(fab_peer_id_from_text(text, strlen(text), &again), FAB_OK);
        assert_true(fab_peer_id_eq(&id, &again));
        assert_int_equal(fab_peer_id_from_bytes(fab_peer_id_bytes(&id), &again), FAB_OK);
        assert_memory_equal(&id, &again, sizeof id);
        if (proto.n <= 42) {
            assert_int_equal(fab_peer_id_public(&id, &inside), FAB_OK);
            assert_true(fab_slice_eq(inside, slice(proto)));
        } else {
            assert_int_equal(fab_peer_id_public(&id, &inside), FAB_ENOENT);
        }
        free(proto.p);
    }
}

static void test_peer_id_texts(void **state)
{
    (void)state;
    /* the specification's pair, and what Kubo printed for one ID in two bases */
    static const char *const same[][2] = {
        {"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
         "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"},
        {"12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq",
         "k51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe"},
        {"16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY",
         "kzwfwjn5ji4put13uvtwtc7azzwk42cq2o8ctfnxa6q8n90e72o3pjqbrp3lpcp"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct fab_peer_id a, b;
        char text[FAB_PEER_ID_TEXT_MAX];
        assert_int_equal(fab_peer_id_from_text(same[i][0], strlen(same[i][0]), &a), FAB_OK);
        assert_int_equal(fab_peer_id_from_text(same[i][1], strlen(same[i][1]), &b), FAB_OK);
        assert_true(fab_peer_id_eq(&a, &b));
        fab_peer_id_text(&b, text);
        assert_string_equal(text, same[i][0]);
    }
    static const char *const bad[] = {
        "",
        "1",
        "Qm",
        "x",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pqQ",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p",
        "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3p0",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5",
        /* a dag-pb CID is no peer ID */
        "bafybeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
        "11111111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fab_peer_id id;
        if (fab_peer_id_from_text(bad[i], strlen(bad[i]), &id) != FAB_EFORMAT)
            fail_msg("\"%s\" is taken", bad[i]);
    }
    struct fab_peer_id none = {0};
    char text[FAB_PEER_ID_TEXT_MAX];
    assert_int_equal(fab_peer_id_text(&none, text), 0);
    assert_string_equal(text, "");
}

static void test_peer_id_bytes_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "0000",                                                                     /* no key */
        "0024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fc", /* short */
        "0024" ED25519_PUBLIC "00",                                                 /* long */
        "0025" ED25519_PUBLIC "00",
        /* sha2-256 cut to 31 bytes, sha2-512 */
        "121f00000000000000000000000000000000000000000000000000000000000000",
        "1320000000000000000000000000000000000000000000000000000000000000000000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes b = unhex(*bad[i] ? bad[i] : "00");
        struct fab_peer_id id;
        if (fab_peer_id_from_bytes(fab_slice(b.p, *bad[i] ? b.n : 0), &id) != FAB_EFORMAT)
            fail_msg("%s is taken", bad[i]);
        free(b.p);
    }
}

static void test_peer_id_order(void **state)
{
    (void)state;
    struct fab_peer_id a, b;
    assert_int_equal(fab_peer_id_from_text(vectors[0].id, strlen(vectors[0].id), &a), FAB_OK);
    assert_int_equal(fab_peer_id_from_text(vectors[3].id, strlen(vectors[3].id), &b), FAB_OK);
    assert_true(fab_peer_id_cmp(&a, &b) < 0);
    assert_true(fab_peer_id_cmp(&b, &a) > 0);
    assert_int_equal(fab_peer_id_cmp(&a, &a), 0);
    assert_false(fab_peer_id_eq(&a, &b));
}

/* A key that could be written in two ways would have two peer IDs. */
static void test_public_forms_refused(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        enum fab_rc rc;
    } bad[] = {
        {"0801", FAB_EFORMAT},                /* no data */
        {"12020102", FAB_EFORMAT},            /* no type */
        {"0801" ED25519_PUBLIC, FAB_EFORMAT}, /* type twice */
        {ED25519_PUBLIC "1800", FAB_EFORMAT}, /* a third field */
        {ED25519_PUBLIC "08", FAB_EFORMAT},
        {"12201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e0801", FAB_EFORMAT},
        {"0881001220"
         "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
         FAB_EFORMAT}, /* not minimal */
        {"0801121f1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce2", FAB_EFORMAT},
        {"080212201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e", FAB_EFORMAT},
        {"08001200", FAB_EFORMAT},
        {"08031200", FAB_EFORMAT},
        {"080412201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
         FAB_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes b = unhex(bad[i].hex);
        struct fab_public key;
        struct fab_peer_id id;
        assert_int_equal(fab_public_parse(slice(b), &key), bad[i].rc);
        assert_int_equal(fab_peer_id_of_public(slice(b), &id), bad[i].rc);
        assert_int_equal(fab_public_verify(slice(b), fab_slice(MESSAGE, 3), fab_slice("", 0)),
                         bad[i].rc);
        free(b.p);
    }
    uint8_t *huge = calloc(1, FAB_PUBLIC_MAX + 1);
    struct fab_public key;
    assert_non_null(huge);
    assert_int_equal(fab_public_parse(fab_slice(huge, FAB_PUBLIC_MAX + 1), &key), FAB_ELIMIT);
    free(huge);
}

static void test_verify_vectors(void **state)
{
    (void)state;
    const struct fab_slice message = fab_slice(MESSAGE, strlen(MESSAGE));
    for (size_t i = 0; i < VECTORS; i++) {
        struct bytes proto = unhex(vectors[i].public_hex), sig = unhex(vectors[i].sig_hex);
        assert_int_equal(fab_public_verify(slice(proto), message, slice(sig)), FAB_OK);
        /* another message, a cut signature, none, another bit, another's signature */
        assert_int_equal(
            fab_public_verify(slice(proto), fab_slice(message.p, message.n - 1), slice(sig)),
            FAB_EACCES);
        assert_int_equal(fab_public_verify(slice(proto), message, fab_slice(sig.p, sig.n - 1)),
                         FAB_EACCES);
        assert_int_equal(fab_public_verify(slice(proto), message, fab_slice("", 0)), FAB_EACCES);
        sig.p[sig.n / 2] ^= 1;
        assert_int_equal(fab_public_verify(slice(proto), message, slice(sig)), FAB_EACCES);
        struct bytes other = unhex(vectors[(i + 1) % VECTORS].sig_hex);
        assert_int_equal(fab_public_verify(slice(proto), message, slice(other)), FAB_EACCES);
        free(other.p);
        free(proto.p);
        free(sig.p);
    }
}

static void test_verify_refuses_keys(void **state)
{
    (void)state;
    const struct fab_slice message = fab_slice(MESSAGE, strlen(MESSAGE));
    struct bytes p256 = unhex(vectors[2].public_hex), sig = unhex(vectors[2].sig_hex);
    p256.p[p256.n - 1] ^= 1; /* not on the curve */
    assert_int_equal(fab_public_verify(slice(p256), message, slice(sig)), FAB_EFORMAT);
    p256.p[p256.n - 1] ^= 1;
    p256.p[26] ^= 1; /* another curve's name: byte 22 of the DER, behind 4 of protobuf */
    assert_int_equal(fab_public_verify(slice(p256), message, slice(sig)), FAB_EUNSUPPORTED);
    struct bytes k1 = unhex(vectors[1].public_hex);
    k1.p[4] = 5; /* no point starts so */
    assert_int_equal(fab_public_verify(slice(k1), message, slice(sig)), FAB_EFORMAT);
    struct bytes rsa = unhex(vectors[3].public_hex);
    rsa.p[6] ^= 1; /* the DER's first length */
    assert_int_equal(fab_public_verify(slice(rsa), message, slice(sig)), FAB_EFORMAT);
    rsa.p[6] ^= 1;
    struct bytes longer = {malloc(rsa.n + 1), rsa.n + 1}; /* a byte behind the DER */
    assert_non_null(longer.p);
    memcpy(longer.p, rsa.p, rsa.n);
    longer.p[rsa.n] = 0;
    longer.p[3]++; /* the low byte of Data's length */
    assert_int_equal(fab_public_verify(slice(longer), message, slice(sig)), FAB_EFORMAT);
    free(longer.p);
    /* a P-256 key that says it is RSA */
    p256.p[26] ^= 1;
    p256.p[1] = FAB_KEY_RSA;
    assert_int_equal(fab_public_verify(slice(p256), message, slice(sig)), FAB_EFORMAT);
    /* RSA of 512 bits */
    struct bytes tiny = unhex("0800125e"
                              "305c300d06092a864886f70d0101010500034b003048024100"
                              "c4d1b6dcbb8e5e6f2b0a3e4c99d7c1a6e0f3b5d2877a4c1e9f60b3d8a5271c4e"
                              "c4d1b6dcbb8e5e6f2b0a3e4c99d7c1a6e0f3b5d2877a4c1e9f60b3d8a5271c4f"
                              "0203010001");
    assert_int_equal(fab_public_verify(slice(tiny), message, slice(sig)), FAB_EUNSUPPORTED);
    free(tiny.p);
    free(p256.p);
    free(sig.p);
    free(k1.p);
    free(rsa.p);
}

static void test_key_vector(void **state)
{
    (void)state;
    struct fab_key *key = spec_key();
    struct bytes proto = unhex(ED25519_PRIVATE), public_proto = unhex(ED25519_PUBLIC);
    struct bytes want = unhex(vectors[0].sig_hex);
    uint8_t sig[FAB_KEY_SIG_SIZE];
    char text[FAB_PEER_ID_TEXT_MAX];
    struct fab_buf out;

    assert_true(fab_slice_eq(fab_key_public_proto(key), slice(public_proto)));
    fab_peer_id_text(fab_key_peer_id(key), text);
    assert_string_equal(text, vectors[0].id);
    fab_buf_init(&out, FAB_KEY_PROTO_SIZE);
    assert_int_equal(fab_key_proto(key, &out), FAB_OK);
    assert_true(fab_slice_eq(fab_buf_slice(&out), slice(proto)));
    fab_buf_fini(&out);
    fab_buf_init(&out, FAB_KEY_PROTO_SIZE - 1);
    assert_int_equal(fab_key_proto(key, &out), FAB_ELIMIT);
    assert_int_equal(out.len, 0);
    fab_buf_fini(&out);
    fab_key_sign(key, fab_slice(MESSAGE, strlen(MESSAGE)), sig);
    assert_memory_equal(sig, want.p, sizeof sig);
    fab_key_free(key);
    fab_key_free(NULL);
    free(proto.p);
    free(public_proto.p);
    free(want.p);
}

static void test_key_forms(void **state)
{
    (void)state;
    uint8_t proto[100] = {0x08, 0x01, 0x12, 0x60};
    struct bytes good = unhex(ED25519_PRIVATE);
    struct fab_key *key = NULL;

    memcpy(proto + 4, good.p + 4, 64);
    memcpy(proto + 68, good.p + 36, 32);
    assert_int_equal(fab_key_from_proto(fab_slice(proto, 100), &key), FAB_OK);
    char text[FAB_PEER_ID_TEXT_MAX];
    fab_peer_id_text(fab_key_peer_id(key), text);
    assert_string_equal(text, vectors[0].id);
    fab_key_free(key);

    key = NULL;
    proto[99] ^= 1; /* the two public keys differ */
    assert_int_equal(fab_key_from_proto(fab_slice(proto, 100), &key), FAB_EFORMAT);
    proto[67] ^= 1; /* they agree, and are not the seed's */
    assert_int_equal(fab_key_from_proto(fab_slice(proto, 100), &key), FAB_EFORMAT);
    good.p[67] ^= 1;
    assert_int_equal(fab_key_from_proto(slice(good), &key), FAB_EFORMAT);
    good.p[67] ^= 1;
    for (size_t n = 0; n < good.n; n++)
        assert_int_equal(fab_key_from_proto(fab_slice(good.p, n), &key), FAB_EFORMAT);
    good.p[1] = FAB_KEY_RSA;
    assert_int_equal(fab_key_from_proto(slice(good), &key), FAB_EUNSUPPORTED);
    static const uint8_t seed_only[36] = {0x08, 0x01, 0x12, 0x20};
    assert_int_equal(fab_key_from_proto(fab_slice(seed_only, sizeof seed_only), &key), FAB_EFORMAT);
    assert_null(key);
    free(good.p);
}

static void test_key_generate(void **state)
{
    (void)state;
    struct fab_key *a, *b, *c;
    struct fab_buf proto;
    uint8_t sig[FAB_KEY_SIG_SIZE];

    assert_int_equal(fab_key_generate(&a), FAB_OK);
    assert_int_equal(fab_key_generate(&b), FAB_OK);
    assert_false(fab_peer_id_eq(fab_key_peer_id(a), fab_key_peer_id(b)));
    fab_buf_init(&proto, FAB_KEY_PROTO_SIZE);
    assert_int_equal(fab_key_proto(a, &proto), FAB_OK);
    assert_int_equal(fab_key_from_proto(fab_buf_slice(&proto), &c), FAB_OK);
    assert_true(fab_peer_id_eq(fab_key_peer_id(a), fab_key_peer_id(c)));
    fab_key_sign(c, fab_slice("m", 1), sig);
    assert_int_equal(
        fab_public_verify(fab_key_public_proto(a), fab_slice("m", 1), fab_slice(sig, sizeof sig)),
        FAB_OK);
    assert_int_equal(
        fab_public_verify(fab_key_public_proto(b), fab_slice("m", 1), fab_slice(sig, sizeof sig)),
        FAB_EACCES);
    fab_buf_fini(&proto);
    fab_key_free(a);
    fab_key_free(b);
    fab_key_free(c);
}

/* Addresses for records: /ip4/10.0.0.1/tcp/4001 and /ip6/::1/tcp/4001. */
static const uint8_t addr_4[] = {4, 10, 0, 0, 1, 6, 0x0f, 0xa1};
static const uint8_t addr_6[] = {41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0x0f, 0xa1};

static void test_record_round_trip(void **state)
{
    (void)state;
    struct fab_key *key = spec_key();
    struct fab_slice addrs[FAB_SIGNED_RECORD_ADDRS_MAX + 1];
    struct fab_signed_record record;
    struct fab_buf out;

    for (size_t i = 0; i < FAB_SIGNED_RECORD_ADDRS_MAX + 1; i++)
        addrs[i] = i % 2 ? fab_slice(addr_6, sizeof addr_6) : fab_slice(addr_4, sizeof addr_4);
    for (size_t n = 0; n <= FAB_SIGNED_RECORD_ADDRS_MAX; n++) {
        fab_buf_init(&out, FAB_SIGNED_RECORD_MAX);
        assert_int_equal(fab_signed_record_encode(key, UINT64_MAX - n, addrs, n, &out), FAB_OK);
        assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &record), FAB_OK);
        assert_true(fab_peer_id_eq(&record.peer, fab_key_peer_id(key)));
        assert_true(record.seq == UINT64_MAX - n);
        assert_int_equal(record.addr_count, n);
        for (size_t i = 0; i < n; i++)
            assert_true(fab_slice_eq(record.addrs[i], addrs[i]));
        fab_buf_fini(&out);
    }
    fab_buf_init(&out, FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_buf_byte(&out, 7), FAB_OK);
    assert_int_equal(fab_signed_record_encode(key, 1, addrs, FAB_SIGNED_RECORD_ADDRS_MAX + 1, &out),
                     FAB_ELIMIT);
    assert_int_equal(fab_signed_record_encode(key, 1, &(struct fab_slice){addr_4, 7}, 1, &out),
                     FAB_EINVAL);
    assert_int_equal(out.len, 1);
    uint8_t unix_path[122] = {0x90, 0x03, sizeof unix_path - 3};
    memset(unix_path + 3, '/', sizeof unix_path - 3);
    memset(unix_path + 4, 'a', sizeof unix_path - 4);
    for (size_t i = 0; i < FAB_SIGNED_RECORD_ADDRS_MAX; i++)
        addrs[i] = fab_slice(unix_path, sizeof unix_path);
    out.max = 2 * FAB_SIGNED_RECORD_MAX;
    assert_int_equal(fab_signed_record_encode(key, 1, addrs, FAB_SIGNED_RECORD_ADDRS_MAX, &out),
                     FAB_ELIMIT);
    assert_int_equal(out.len, 1);
    assert_int_equal(fab_signed_record_encode(key, 1, addrs, 63, &out), FAB_OK);
    fab_buf_fini(&out);
    fab_buf_init(&out, FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_buf_byte(&out, 7), FAB_OK);
    addrs[0] = fab_slice(addr_4, sizeof addr_4);
    out.max = 150; /* the record fits, its envelope does not */
    assert_int_equal(fab_signed_record_encode(key, 1, addrs, 1, &out), FAB_ELIMIT);
    assert_int_equal(out.len, 1);
    fab_buf_fini(&out);
    fab_key_free(key);
}

/* The record in a Kubo 0.42.0's answer to identify, and the key of that Kubo: we read it, and make
 * the same bytes. */
static void test_record_kubo(void **state)
{
    (void)state;
    struct bytes proto =
        unhex("08011240a60eac8201886526bb747614314fe5b01d94bd99938f10455fa35d9a2f379f92d05e0054"
              "610b28a09e644f60a6cfdfff02f2edd99195a58a1397d394d24f8563");
    struct bytes envelope =
        unhex("0a2408011220d05e0054610b28a09e644f60a6cfdfff02f2edd99195a58a1397d394d24f85631202"
              "03011a3e0a26002408011220d05e0054610b28a09e644f60a6cfdfff02f2edd99195a58a1397d394"
              "d24f856310c0cd9a80a1e7faf4181a0a0a08047f0000010698bb2a406f3c9a1206c95df066793e0d"
              "20cf3d1ba3ce244d0ee3ebeb2500a28f17229c942a7ce495af52ecb5036b36faeb5a57d3f11bdc69"
              "dc9dcd086978fd5cf8cb2d06");
    static const uint8_t addr[] = {4, 127, 0, 0, 1, 6, 0x98, 0xbb};
    const uint64_t seq = 1795224561093355200U;
    struct fab_signed_record record;
    char text[FAB_PEER_ID_TEXT_MAX];
    struct fab_key *key;
    struct fab_buf out;

    assert_int_equal(fab_signed_record_decode(slice(envelope), &record), FAB_OK);
    fab_peer_id_text(&record.peer, text);
    assert_string_equal(text, "12D3KooWPqk741cgNuF4T69sAVWbU1eiEAkPtVuFsCb7W2CFCH9U");
    assert_true(record.seq == seq);
    assert_int_equal(record.addr_count, 1);
    assert_true(fab_slice_eq(record.addrs[0], fab_slice(addr, sizeof addr)));

    assert_int_equal(fab_key_from_proto(slice(proto), &key), FAB_OK);
    fab_buf_init(&out, FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_signed_record_encode(key, seq, record.addrs, 1, &out), FAB_OK);
    assert_true(fab_slice_eq(fab_buf_slice(&out), slice(envelope)));
    fab_buf_fini(&out);
    fab_key_free(key);
    free(proto.p);
    free(envelope.p);
}

/* Every bit of an envelope matters: the signature covers all but the fields that say who and how,
 * and those are checked. */
static void test_record_flips(void **state)
{
    (void)state;
    struct fab_key *key = spec_key();
    struct fab_slice addr = fab_slice(addr_4, sizeof addr_4);
    struct fab_signed_record record;
    struct fab_buf out;

    fab_buf_init(&out, FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_signed_record_encode(key, 5, &addr, 1, &out), FAB_OK);
    for (size_t i = 0; i < out.len * 8; i++) {
        out.data[i / 8] ^= (uint8_t)(1 << (i % 8));
        assert_int_not_equal(fab_signed_record_decode(fab_buf_slice(&out), &record), FAB_OK);
        out.data[i / 8] ^= (uint8_t)(1 << (i % 8));
    }
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(fab_signed_record_decode(fab_slice(out.data, n), &record), FAB_EFORMAT);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &record), FAB_OK);
    fab_buf_fini(&out);
    fab_key_free(key);
}

/* An envelope made by hand, after the specification: with any domain, type and payload. */
static void seal(const struct fab_key *key, const char *domain, struct fab_slice type,
                 struct fab_slice payload, struct fab_buf *out)
{
    uint8_t sig[FAB_KEY_SIG_SIZE];
    struct fab_buf m;
    fab_buf_init(&m, 2 * FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_varint_append(&m, strlen(domain)), FAB_OK);
    assert_int_equal(fab_buf_append(&m, domain, strlen(domain)), FAB_OK);
    assert_int_equal(fab_varint_append(&m, type.n), FAB_OK);
    assert_int_equal(fab_buf_append(&m, type.p, type.n), FAB_OK);
    assert_int_equal(fab_varint_append(&m, payload.n), FAB_OK);
    assert_int_equal(fab_buf_append(&m, payload.p, payload.n), FAB_OK);
    fab_key_sign(key, fab_buf_slice(&m), sig);
    fab_buf_fini(&m);
    fab_buf_reset(out);
    assert_int_equal(fab_proto_append_bytes(out, 1, fab_key_public_proto(key)), FAB_OK);
    assert_int_equal(fab_proto_append_bytes(out, 2, type), FAB_OK);
    assert_int_equal(fab_proto_append_bytes(out, 3, payload), FAB_OK);
    assert_int_equal(fab_proto_append_bytes(out, 5, fab_slice(sig, sizeof sig)), FAB_OK);
}

static void add_addr(struct fab_buf *record, struct fab_slice addr)
{
    struct fab_buf info;
    fab_buf_init(&info, FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_proto_append_bytes(&info, 1, addr), FAB_OK);
    assert_int_equal(fab_proto_append_bytes(record, 3, fab_buf_slice(&info)), FAB_OK);
    fab_buf_fini(&info);
}

static void test_record_rules(void **state)
{
    (void)state;
    static const char domain[] = "libp2p-peer-record";
    static const uint8_t unknown[] = {0xcb, 0x07, 1, 2, 3}; /* no protocol of ours */
    const struct fab_slice type = fab_slice("\x03\x01", 2);
    struct fab_key *key = spec_key(), *other;
    struct fab_signed_record got;
    struct fab_buf r, out;

    assert_int_equal(fab_key_generate(&other), FAB_OK);
    fab_buf_init(&r, 2 * FAB_SIGNED_RECORD_MAX);
    fab_buf_init(&out, 2 * FAB_SIGNED_RECORD_MAX);
    assert_int_equal(fab_proto_append_bytes(&r, 1, fab_peer_id_bytes(fab_key_peer_id(key))),
                     FAB_OK);
    size_t peer_only = r.len;

    /* without seq and addresses, with an unknown field and an unknown protocol: taken */
    add_addr(&r, fab_slice(unknown, sizeof unknown));
    add_addr(&r, fab_slice(addr_4, sizeof addr_4));
    assert_int_equal(fab_proto_append_uint(&r, 9, 1), FAB_OK);
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_OK);
    assert_true(got.seq == 0);
    assert_int_equal(got.addr_count, 1);
    /* the same, and the envelope's payload twice */
    assert_int_equal(fab_proto_append_bytes(&out, 3, fab_buf_slice(&r)), FAB_OK);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);

    seal(key, "libp2p-routing-state", type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EACCES);
    seal(key, domain, fab_slice("\x03\x02", 2), fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);
    seal(other, domain, type, fab_buf_slice(&r), &out); /* well signed, about somebody else */
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);

    r.len = peer_only;
    add_addr(&r, fab_slice(addr_4, sizeof addr_4 - 1));
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);

    r.len = peer_only;
    assert_int_equal(fab_proto_append_uint(&r, 2, 1), FAB_OK);
    assert_int_equal(fab_proto_append_uint(&r, 2, 2), FAB_OK);
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);

    seal(key, domain, type, fab_slice(r.data + peer_only, 2), &out); /* no peer */
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_EFORMAT);

    r.len = peer_only;
    for (size_t i = 0; i < FAB_SIGNED_RECORD_ADDRS_MAX + 1; i++)
        add_addr(&r, fab_slice(addr_4, sizeof addr_4));
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_ELIMIT);

    /* a payload below the limit in an envelope above it, and both below */
    r.len = peer_only;
    while (r.len < FAB_SIGNED_RECORD_MAX - 50)
        add_addr(&r, fab_slice(unknown, sizeof unknown));
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_ELIMIT);
    r.len -= 90;
    seal(key, domain, type, fab_buf_slice(&r), &out);
    assert_int_equal(fab_signed_record_decode(fab_buf_slice(&out), &got), FAB_OK);
    assert_int_equal(got.addr_count, 0);

    fab_buf_fini(&r);
    fab_buf_fini(&out);
    fab_key_free(key);
    fab_key_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_id_vectors),
        cmocka_unit_test(test_peer_id_texts),
        cmocka_unit_test(test_peer_id_bytes_refused),
        cmocka_unit_test(test_peer_id_order),
        cmocka_unit_test(test_public_forms_refused),
        cmocka_unit_test(test_verify_vectors),
        cmocka_unit_test(test_verify_refuses_keys),
        cmocka_unit_test(test_key_vector),
        cmocka_unit_test(test_key_forms),
        cmocka_unit_test(test_key_generate),
        cmocka_unit_test(test_record_round_trip),
        cmocka_unit_test(test_record_kubo),
        cmocka_unit_test(test_record_flips),
        cmocka_unit_test(test_record_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
