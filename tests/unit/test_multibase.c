#include "storage/multiformats/multibase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

struct vector {
    const char *bytes;
    size_t n;
    const char *text;
};

/* multiformats/multibase tests/, and RFC 4648 section 10 for padding. */
static const struct vector vectors[] = {
    {"yes mani !", 10, "f796573206d616e692021"},
    {"yes mani !", 10, "F796573206D616E692021"},
    {"yes mani !", 10, "bpfsxgidnmfxgsibb"},
    {"yes mani !", 10, "BPFSXGIDNMFXGSIBB"},
    {"yes mani !", 10, "cpfsxgidnmfxgsibb"},
    {"yes mani !", 10, "vf5in683dc5n6i811"},
    {"yes mani !", 10, "VF5IN683DC5N6I811"},
    {"yes mani !", 10, "tf5in683dc5n6i811"},
    {"yes mani !", 10, "TF5IN683DC5N6I811"},
    {"yes mani !", 10, "k2lcpzo5yikidynfl"},
    {"yes mani !", 10, "K2LCPZO5YIKIDYNFL"},
    {"yes mani !", 10, "z7paNL19xttacUY"},
    {"yes mani !", 10, "meWVzIG1hbmkgIQ"},
    {"yes mani !", 10, "MeWVzIG1hbmkgIQ=="},
    {"yes mani !", 10, "ueWVzIG1hbmkgIQ"},
    {"yes mani !", 10, "UeWVzIG1hbmkgIQ=="},
    {"\0yes mani !", 11, "k02lcpzo5yikidynfl"},
    {"\0yes mani !", 11, "z17paNL19xttacUY"},
    {"\0\0yes mani !", 12, "z117paNL19xttacUY"},
    {"\0yes mani !", 11, "bab4wk4zanvqw42jaee"},
    {"", 0, "b"},
    {"", 0, "z"},
    {"", 0, "M"},
    {"f", 1, "cmy======"},
    {"fo", 2, "Cmzxq===="},
    {"foo", 3, "cmzxw6==="},
    {"foob", 4, "cmzxw6yq="},
    {"fooba", 5, "cmzxw6ytb"},
    {"f", 1, "MZg=="},
    {"fo", 2, "MZm8="},
    {"foo", 3, "MZm9v"},
    {"\xfb\xff\xbf", 3, "m+/+/"},
    {"\xfb\xff\xbf", 3, "u-_-_"},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        char text[64], upper[64];
        uint8_t bytes[64];
        size_t n;
        assert_int_equal(
            fab_multibase_encode(v->text[0], fab_slice(v->bytes, v->n), text, sizeof(text), &n),
            FAB_OK);
        /* RFC vectors are given in one case here. */
        snprintf(upper, sizeof(upper), "%s", v->text);
        for (char *c = upper + 1; v->text[0] == 'C' && *c; c++)
            *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
        assert_int_equal(n, strlen(upper));
        assert_memory_equal(text, upper, n);
        assert_int_equal(fab_multibase_decode(upper, n, bytes, sizeof(bytes), &n), FAB_OK);
        assert_int_equal(n, v->n);
        assert_memory_equal(bytes, v->bytes, n);
    }
}

static void test_every_length(void **state)
{
    (void)state;
    static const char codes[] = "bBcCvVtTfFmMuUkKz";
    for (const char *code = codes; *code; code++) {
        for (size_t n = 0; n <= 70; n++) {
            uint8_t in[70], out[70];
            char text[FAB_BASE_TEXT_MAX(70)];
            size_t len, m;
            for (size_t i = 0; i < n; i++)
                in[i] = (uint8_t)(i * 89 + n * 31 + (i < n / 3 ? -i * 89 - n * 31 : 0));
            assert_int_equal(fab_base_encode(*code, fab_slice(in, n), text, sizeof(text), &len),
                             FAB_OK);
            assert_true(len <= FAB_BASE_TEXT_MAX(n));
            assert_int_equal(fab_base_decode(*code, text, len, out, n, &m), FAB_OK);
            assert_int_equal(m, n);
            assert_memory_equal(in, out, n);
            if (len)
                assert_int_equal(fab_base_encode(*code, fab_slice(in, n), text, len - 1, &m),
                                 FAB_ELIMIT);
            if (n)
                assert_int_equal(fab_base_decode(*code, text, len, out, n - 1, &m), FAB_ELIMIT);
        }
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           /* no prefix */
        "bPFSXGIDN",  /* the other case */
        "Fab",        /* the other case */
        "fabc",       /* half a byte */
        "f0g",        /* not a digit */
        "bpfsxgidn1", /* not in the alphabet */
        "bmz",        /* unused bits are set */
        "ba",         /* too short for a byte */
        "bmy======",  /* padding where there is none */
        "cmy",        /* padding is missing */
        "cmy=====",   /* too little padding */
        "cmya=====",  /* a length that does not occur */
        "c========",  /* only padding */
        "MZg=",       /* too little padding */
        "MZh==",      /* unused bits are set */
        "MZ===",      /* too much padding */
        "mZg==",      /* padding where there is none */
        "m-_-_",      /* the URL alphabet */
        "u+/+/",      /* the other alphabet */
        "z0",         /* not in base58 */
        "zIl",        /* not in base58 */
        "kA",         /* the other case */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t out[64];
        size_t n;
        if (fab_multibase_decode(bad[i], strlen(bad[i]), out, sizeof(out), &n) != FAB_EFORMAT)
            fail_msg("%s is accepted", bad[i]);
    }
    uint8_t out[8];
    size_t n;
    assert_int_equal(fab_multibase_decode("?abc", 4, out, sizeof(out), &n), FAB_EUNSUPPORTED);
}

static void test_big_bases_are_bounded(void **state)
{
    (void)state;
    static uint8_t in[FAB_MULTIBASE_BIG_MAX + 1];
    static char text[FAB_BASE_TEXT_MAX(sizeof(in)) + 1];
    size_t n, m;
    memset(in, 0xff, sizeof(in));
    assert_int_equal(fab_base_encode('z', fab_slice(in, sizeof(in)), text, sizeof(text), &n),
                     FAB_ELIMIT);
    assert_int_equal(
        fab_base_encode('k', fab_slice(in, FAB_MULTIBASE_BIG_MAX), text, sizeof(text), &n), FAB_OK);
    assert_int_equal(fab_base_decode('k', text, n, in, sizeof(in), &m), FAB_OK);
    assert_int_equal(m, FAB_MULTIBASE_BIG_MAX);
    memset(text, 'z', sizeof(text));
    assert_int_equal(
        fab_base_decode('k', text, FAB_BASE_TEXT_MAX(FAB_MULTIBASE_BIG_MAX), in, sizeof(in), &m),
        FAB_ELIMIT);
    memset(text, '0', sizeof(text));
    assert_int_equal(fab_base_decode('k', text, sizeof(in), in, sizeof(in), &m), FAB_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_big_bases_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
