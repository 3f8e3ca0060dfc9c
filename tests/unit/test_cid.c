#include "storage/multiformats/cid.h"
#include "storage/multiformats/multihash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#define HELLO "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

static struct fab_slice str(const char *text)
{
    return fab_slice(text, strlen(text));
}

static void check_text(const struct fab_cid *cid, const char *want)
{
    char text[FAB_CID_TEXT_MAX];
    assert_int_equal(fab_cid_text(cid, text), strlen(want));
    assert_string_equal(text, want);
}

static void test_known_cids(void **state)
{
    (void)state;
    static const struct {
        unsigned version;
        uint64_t codec, mh;
        const char *data;
        const char *text;
    } known[] = {
        {1, FAB_CODEC_RAW, FAB_MH_SHA2_256, "hello world", HELLO},
        {1, FAB_CODEC_RAW, FAB_MH_SHA2_256, "",
         "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
        {0, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, "\x0a\x02\x08\x01",
         "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"},
        {1, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, "\x0a\x02\x08\x01",
         "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"},
        {1, FAB_CODEC_RAW, FAB_MH_IDENTITY, "", "bafkqaaa"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct fab_cid cid, again;
        uint8_t bytes[FAB_CID_MAX];
        struct fab_slice data = str(known[i].data);
        assert_int_equal(fab_cid_of(known[i].version, known[i].codec, known[i].mh, data, &cid),
                         FAB_OK);
        check_text(&cid, known[i].text);
        assert_int_equal(fab_cid_from_text(known[i].text, strlen(known[i].text), &again), FAB_OK);
        assert_true(fab_cid_eq(&cid, &again));
        assert_int_equal(fab_cid_parse(fab_slice(bytes, fab_cid_bytes(&cid, bytes)), &again),
                         FAB_OK);
        assert_true(fab_cid_eq(&cid, &again));
        assert_int_equal(fab_cid_check(&cid, data), FAB_OK);
        assert_int_equal(fab_cid_check(&cid, str("something else")), FAB_EHASH);
        assert_true(fab_cid_mh_code(&cid) == known[i].mh);
    }
}

/* Digests of "abc": FIPS 180-4, RFC 7693's function with 32 bytes of output. */
static void test_digests(void **state)
{
    (void)state;
    static const struct {
        uint64_t code;
        size_t n;
        const char *begin;
    } known[] = {
        {FAB_MH_SHA2_256, 32, "\xba\x78\x16\xbf\x8f\x01\xcf\xea"},
        {FAB_MH_SHA2_512, 64, "\xdd\xaf\x35\xa1\x93\x61\x7a\xba"},
        {FAB_MH_BLAKE2B_256, 32, "\xbd\xdd\x81\x3c\x63\x42\x39\x72"},
    };
    /* Twice: the context of the thread is used again. */
    for (size_t i = 0; i < 6; i++) {
        uint8_t out[FAB_DIGEST_MAX];
        size_t n;
        assert_int_equal(fab_mh_digest(known[i % 3].code, str("abc"), out, &n), FAB_OK);
        assert_int_equal(n, known[i % 3].n);
        assert_memory_equal(out, known[i % 3].begin, 8);
    }
}

/* Each thread has its own context; what one hashes does not reach another. */
static void *hash_many(void *arg)
{
    uint8_t data[512];
    memset(data, *(uint8_t *)arg, sizeof(data));
    struct fab_cid first, cid;
    bool same =
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(data, 512), &first) == FAB_OK;
    for (int i = 0; i < 500 && same; i++) {
        same = fab_cid_of(1, FAB_CODEC_RAW, i % 3 ? FAB_MH_SHA2_256 : FAB_MH_SHA2_512,
                          fab_slice(data, 512), &cid) == FAB_OK;
        same = same && (i % 3 == 0 || fab_cid_eq(&first, &cid));
    }
    return same ? arg : NULL;
}

static void test_hashing_in_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint8_t fill[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_many, &fill[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &fill[i]);
    }
}

static void test_making_is_checked(void **state)
{
    (void)state;
    static const uint8_t zeros[FAB_DIGEST_MAX + 1];
    struct fab_cid cid;
    assert_int_equal(fab_cid_of(2, FAB_CODEC_RAW, FAB_MH_SHA2_256, str(""), &cid), FAB_EINVAL);
    assert_int_equal(fab_cid_of(0, FAB_CODEC_RAW, FAB_MH_SHA2_256, str(""), &cid), FAB_EINVAL);
    assert_int_equal(fab_cid_of(0, FAB_CODEC_DAG_PB, FAB_MH_SHA2_512, str(""), &cid), FAB_EINVAL);
    assert_int_equal(fab_cid_of(1, FAB_CODEC_RAW, 0x11, str(""), &cid), FAB_EUNSUPPORTED);
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, fab_slice(zeros, sizeof(zeros)), &cid),
        FAB_ELIMIT);
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_IDENTITY, fab_slice(zeros, FAB_DIGEST_MAX), &cid),
        FAB_OK);
    assert_int_equal(fab_cid_check(&cid, fab_slice(zeros, sizeof(zeros))), FAB_EHASH);
    /* A hash function that is carried, but not computed here: SHA-1. */
    assert_int_equal(fab_cid_parse(fab_slice("\x01\x55\x11\x02\xab\xcd", 6), &cid), FAB_OK);
    assert_int_equal(fab_cid_check(&cid, str("")), FAB_EUNSUPPORTED);
    /* A digest that was cut short names nothing. */
    assert_int_equal(fab_cid_parse(fab_slice("\x01\x55\x12\x04\xe3\xb0\xc4\x42", 8), &cid), FAB_OK);
    assert_int_equal(fab_cid_check(&cid, str("")), FAB_EHASH);
}

static void test_every_multibase(void **state)
{
    (void)state;
    static const char *const forms[] = {
        HELLO,
        "BAFKREIFZJUT3TE2NHYEKKLSS27NH3K72YSCO7Y32KOAO5EEI66WOF36N5E",
        "f01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
    };
    struct fab_cid want, got;
    assert_int_equal(fab_cid_from_text(HELLO, strlen(HELLO), &want), FAB_OK);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        assert_int_equal(fab_cid_from_text(forms[i], strlen(forms[i]), &got), FAB_OK);
        assert_true(fab_cid_eq(&want, &got));
    }
    assert_int_equal(fab_cid_from_text("z8mWaJ1dZ9fH5EetPuRsj8jj26pXsgpsr", 33, &got), FAB_OK);
    check_text(&got, "baf4bcfgio3hovkftaer3yx6jsnm6navhg4yimwi");
}

static void test_longest_text_fits(void **state)
{
    (void)state;
    /* Codec and hash code of nine bytes, a digest of FAB_DIGEST_MAX. */
    uint8_t bytes[1 + 9 + 9 + 2 + FAB_DIGEST_MAX];
    memset(bytes, 0xff, sizeof(bytes));
    bytes[0] = 1;
    bytes[9] = bytes[18] = 0x7f;
    bytes[19] = (FAB_DIGEST_MAX & 0x7f) | 0x80;
    bytes[20] = 1;
    struct fab_cid cid, again;
    char text[FAB_CID_TEXT_MAX];
    assert_int_equal(fab_cid_parse(fab_slice(bytes, sizeof(bytes)), &cid), FAB_OK);
    size_t n = fab_cid_text(&cid, text);
    assert_in_range(n, 200, FAB_CID_TEXT_MAX - 1);
    assert_int_equal(strlen(text), n);
    assert_int_equal(fab_cid_from_text(text, n, &again), FAB_OK);
    assert_true(fab_cid_eq(&cid, &again));
    assert_int_equal(fab_cid_digest(&again).n, FAB_DIGEST_MAX);
}

static void test_refused_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum fab_rc rc;
    } bad[] = {
        {"", 0, FAB_EFORMAT},
        {"\x00\x55\x00\x00", 4, FAB_EFORMAT},         /* version 0 is bare */
        {"\x02\x55\x00\x00", 4, FAB_EFORMAT},         /* a later version */
        {"\x81\x00\x55\x00\x00", 5, FAB_EFORMAT},     /* the version is not minimal */
        {"\x01\xd5\x00\x00\x00", 5, FAB_EFORMAT},     /* nor is the codec */
        {"\x01\x55\x00", 3, FAB_EFORMAT},             /* no length */
        {"\x01\x55\x12\x03\x01\x02", 6, FAB_EFORMAT}, /* the digest is cut */
        {"\x01\x55\x00\x01\x61\x62", 6, FAB_EFORMAT}, /* a byte too many */
        {"\x12\x20\x01", 3, FAB_EFORMAT},             /* version 0, cut */
        {"\x01\x55\x00\x81\x01\x00", 6, FAB_ELIMIT},  /* a digest of 129 bytes */
        {"\x01\x55\x00\xff\xff\xff\xff\x7f", 8, FAB_ELIMIT},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fab_cid cid;
        assert_int_equal(fab_cid_parse(fab_slice(bad[i].bytes, bad[i].n), &cid), bad[i].rc);
    }
    /* Reading takes one CID and leaves the rest. */
    struct fab_reader r = fab_reader(fab_slice("\x01\x55\x00\x01\x61\x62", 6));
    struct fab_cid cid;
    assert_int_equal(fab_cid_read(&r, &cid), FAB_OK);
    assert_int_equal(fab_reader_left(&r), 1);
}

static void test_refused_text(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "b",
        "Qm",
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N",   /* 45 characters */
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA30n",  /* 0 is not in base58 */
        "zQmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", /* version 0 behind a multibase */
        "bciqflgnjfa7ivnxxngaohqbsm2cfclpbxczkfhpkpcuplbz5ko3yuoa", /* the same in base32 */
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5ea",
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e ",
        "BAFKREIFZJUT3TE2NHYEKKLSS27NH3K72YSCO7Y32KOAO5EEI66WOF36N5e",
        ("/ipfs/" HELLO),
    };
    struct fab_cid cid;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (fab_cid_from_text(bad[i], strlen(bad[i]), &cid) != FAB_EFORMAT)
            fail_msg("%s is accepted", bad[i]);
    }
    char longest[2048];
    memset(longest, 'a', sizeof(longest));
    longest[0] = 'b';
    assert_int_equal(fab_cid_from_text(longest, sizeof(longest), &cid), FAB_EFORMAT);
    assert_int_equal(fab_cid_from_text("\0\x01\x55\x00\x00", 5, &cid), FAB_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_cids),         cmocka_unit_test(test_digests),
        cmocka_unit_test(test_hashing_in_threads), cmocka_unit_test(test_making_is_checked),
        cmocka_unit_test(test_every_multibase),    cmocka_unit_test(test_longest_text_fits),
        cmocka_unit_test(test_refused_bytes),      cmocka_unit_test(test_refused_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
