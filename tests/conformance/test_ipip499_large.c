/* The vectors of IPIP-0499 that need 1 GiB: a full node of 1024 leaves, and one byte more. */
#include "tests/support/dag_fixture.h"

static void check(uint64_t size, const char *cid)
{
    const struct fab_profile *profile = fab_profile_find("unixfs-v1-2025");
    struct fab_chunker chunker = fab_chunker_size(profile->chunk_size);
    struct fab_dag_entry e = import_seeded(profile, &chunker, "v1-2025-seed", size);
    assert_cid(&e.cid, cid);
    assert_int_equal(e.size, size);
}

static void test_full_node(void **state)
{
    (void)state;
    check(UINT64_C(1) << 30, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm");
}

static void test_one_byte_more(void **state)
{
    (void)state;
    check((UINT64_C(1) << 30) + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_node),
        cmocka_unit_test(test_one_byte_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
