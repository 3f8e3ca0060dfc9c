/* Chunkers: specs, limits, and cuts that Kubo makes too (the CIDs are Kubo 0.42's). */
#include "tests/support/dag_fixture.h"

#define DATA_BYTES (8u << 20)

static void test_specs(void **state)
{
    static const struct {
        const char *spec;
        enum fab_chunker_kind kind;
        size_t min, avg, max;
    } good[] = {
        {"size-1", FAB_CHUNKER_SIZE, 1, 1, 1},
        {"size-2096896", FAB_CHUNKER_SIZE, 2096896, 2096896, 2096896},
        {"rabin", FAB_CHUNKER_RABIN, 87381, 262144, 393216},
        {"rabin-48", FAB_CHUNKER_RABIN, 16, 48, 72},
        {"rabin-1397931", FAB_CHUNKER_RABIN, 465977, 1397931, 2096896},
        {"rabin-16-17-18", FAB_CHUNKER_RABIN, 16, 17, 18},
        {"buzhash", FAB_CHUNKER_BUZHASH, 131072, 262144, 524288},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct fab_chunker c;
        assert_ok(fab_chunker_parse(good[i].spec, &c, NULL));
        assert_int_equal(c.kind, good[i].kind);
        assert_int_equal(c.min, good[i].min);
        assert_int_equal(c.avg, good[i].avg);
        assert_int_equal(c.max, good[i].max);
    }
}

static void test_bad_specs(void **state)
{
    static const char *bad[] = {
        "",           "size",           "size-",         "size-0",           "size-2096897",
        "size-1x",    "size--1",        "size-1-2",      "size-99999999999", "rabin-",
        "rabin-47",   "rabin-1397932",  "rabin-20-30",   "rabin-15-20-30",   "rabin-20-20-30",
        "rabin-a",    "rabin-16-30-30", "rabin-1-2-3-4", "rabin-16-17-18-",  "rabin-16-17-2096897",
        "buzhash-12", "Size-12",        "fastcdc",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fab_chunker c;
        struct fab_err err = {0};
        assert_int_equal(fab_chunker_parse(bad[i], &c, &err), FAB_EINVAL);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void check(const char *profile, const char *spec, const char *cid)
{
    struct fab_chunker c;
    assert_ok(fab_chunker_parse(spec, &c, NULL));
    struct fab_dag_entry e =
        import_seeded(fab_profile_find(profile), &c, "chunker-seed", DATA_BYTES);
    assert_cid(&e.cid, cid);
}

static void test_kubo_cuts(void **state)
{
    static const struct {
        const char *spec, *cid;
    } vectors[] = {
        {"rabin", "bafybeib2arx2h66o7okkm4kpv26iloik3ojsmwcp3v7wilxhxg6dvlftdu"},
        {"rabin-65536", "bafybeidudpzzj6ffnyouvtscmgkjce5hrwlk4aecwvd7c7tql46cop5mlm"},
        {"rabin-48", "bafybeib6xvil3nrd4iuklh6mjxbmffv2xx3ks2dqbhifmsqpwtbcsljr3e"},
        {"rabin-16-1000-5000", "bafybeidvwpbllk47vzs47cyx2ixz44ktsfppz2nzabgpnammxbu6fb3tby"},
        {"rabin-1024-2048-8192", "bafybeidlgy2tjybu6qio2qmdsrf7gnp2l2je7xfqpoopj5a2afkj4frznq"},
        {"rabin-262144-524288-1048576",
         "bafybeibqx5syd23jhmgdwkhynbyejljq6i7yzsnxswtkfhzkp2ycoookpi"},
        {"rabin-1397930", "bafybeiffxfxifzadw5chnkympynfzjqsxhoa7pyaljvwdonn2rqvvzomxu"},
        {"buzhash", "bafybeiejjq3n4nrchonl5qun2bimrobegfhhsihrojo27tkjbzzzhxck2q"},
        {"size-1000", "bafybeibdmb363j5mbgzazz4vf4hgm65upmgdrvoi6ck7qtawrycsqrpeyq"},
        {"size-262144", "bafybeiguurww63pcc2csvcp46d7tdzgma5z7tupkbow2qudg77wk47dbfm"},
        {"size-2096896", "bafybeibwzkpul6cceikrajhcrblm253izswid22gttc5bvc3gsuwtvq2t4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        check("unixfs-v1-2025", vectors[i].spec, vectors[i].cid);
    check("unixfs-v0-2015", "rabin", "QmPYGBPdmpV4SrXcRXKYXx9LVFhN4acJQko1TGc6iy9R2e");
    check("unixfs-v0-2015", "buzhash", "Qmd4nzedkP4AMykwVRnDx72zf2MEHYZqvbX8rUgNDAgkF5");
}

static size_t zeros_fill(void *arg, uint8_t *out, size_t n)
{
    uint64_t *left = arg;
    if (n > *left)
        n = (size_t)*left;
    memset(out, 0, n);
    *left -= n;
    return n;
}

/* Zeros are where the two differ most: rabin cuts at its minimum, buzhash at its maximum. */
static void test_zeros(void **state)
{
    static const char *vectors[][2] = {
        {"rabin", "bafybeibwexsqxrcsjgixadphjyc4il2alrzdplkzlknowctkgcm7vilxge"},
        {"buzhash", "bafybeie7itt4zgnpxkba7qb4h2vmbsqeihkfcfsmtq3cbas37x4k33yzpy"},
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t left = 4000000;
        struct fab_chunker c;
        assert_ok(fab_chunker_parse(vectors[i][0], &c, NULL));
        struct fab_dag_entry e = import_bytes(fab_profile_default(), &c, NULL, NULL,
                                              (struct source_bytes){zeros_fill, &left});
        assert_cid(&e.cid, vectors[i][1]);
    }
}

/* Whatever a view shows, the cut is the same or "need more"; at the end of the bytes it is never
 * the latter. */
static void test_partial_views(void **state)
{
    static const char *specs[] = {"size-5000", "rabin-1000-4096-9000", "buzhash"};
    struct seeded seeded;
    uint8_t *data = malloc(1 << 20);
    (void)state;
    assert_non_null(data);
    seeded_init(&seeded, "views");
    seeded_bytes(&seeded, data, 1 << 20);
    for (size_t i = 0; i < 3; i++) {
        struct fab_chunker c;
        assert_ok(fab_chunker_parse(specs[i], &c, NULL));
        size_t cut = fab_chunker_next(&c, fab_slice(data, 1 << 20), false);
        assert_in_range(cut, c.min, c.max);
        for (size_t n = 0; n < cut + 3000; n += 997) {
            size_t got = fab_chunker_next(&c, fab_slice(data, n), false);
            assert_true(got == cut || (got == 0 && n < c.max));
            assert_true(n >= cut || got == 0);
            got = fab_chunker_next(&c, fab_slice(data, n), true);
            assert_int_equal(got, n < cut ? n : cut);
        }
        assert_int_equal(fab_chunker_next(&c, fab_slice(data, c.max), false), cut);
        assert_int_equal(fab_chunker_next(&c, fab_slice(NULL, 0), true), 0);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_specs),         cmocka_unit_test(test_bad_specs),
        cmocka_unit_test(test_kubo_cuts),     cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_partial_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
