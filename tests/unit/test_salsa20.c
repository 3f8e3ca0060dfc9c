/* Salsa20 against libsodium's: every count of blocks around the sixteen that go at a time, and
 * counters whose low word, or whole, goes round within one call. */
#include "fabric/swarm/salsa20.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#define BLOCKS_MAX 70

/* From a buffer of exactly that size, at an odd address. */
static void compare(size_t blocks, uint64_t counter, const uint8_t nonce[8], const uint8_t key[32])
{
    size_t n = blocks * FAB_SALSA20_BLOCK;
    uint8_t *ours = malloc(n + 1), *theirs = malloc(n + 1);
    assert_non_null(ours);
    assert_non_null(theirs);
    randombytes_buf_deterministic(ours, n + 1, key);
    memcpy(theirs, ours, n + 1);
    fab_salsa20_xor(ours + 1, blocks, nonce, counter, key);
    /* libsodium refuses nothing here, and counts in 64 bits as the cipher does */
    assert_int_equal(crypto_stream_salsa20_xor_ic(theirs + 1, theirs + 1, n, nonce, counter, key),
                     0);
    if (memcmp(ours, theirs, n + 1) != 0)
        fail_msg("%zu blocks from block %llu differ", blocks, (unsigned long long)counter);
    free(ours);
    free(theirs);
}

static void test_against_libsodium(void **state)
{
    (void)state;
    static const uint64_t counters[] = {0,
                                        1,
                                        0xffffffefu,
                                        0xfffffff0u,
                                        0xfffffff1u,
                                        0xffffffffu,
                                        0x1fffffff8u,
                                        0x123456789abcdef0u,
                                        UINT64_MAX - BLOCKS_MAX};
    uint8_t key[32], nonce[8];
    for (size_t blocks = 0; blocks <= BLOCKS_MAX; blocks++)
        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
            memset(key, (int)(blocks + 1), sizeof key);
            for (uint8_t k = 0; k < sizeof key; k++)
                key[k] = (uint8_t)(key[k] * (k + 3u));
            memset(nonce, (int)(3 * blocks + i), sizeof nonce);
            nonce[i % sizeof nonce] ^= 0x80;
            compare(blocks, counters[i], nonce, key);
        }
}

/* The first bytes of the eSTREAM vectors, set 1, vector 0, of the 256-bit key. */
static void test_vector(void **state)
{
    (void)state;
    static const uint8_t want[16] = {0xe3, 0xbe, 0x8f, 0xdd, 0x8b, 0xec, 0xa2, 0xe3,
                                     0xea, 0x8e, 0xf9, 0x47, 0x5b, 0x29, 0xa6, 0xe7};
    uint8_t key[32] = {0x80}, nonce[8] = {0}, buf[16 * FAB_SALSA20_BLOCK] = {0};
    fab_salsa20_xor(buf, sizeof buf / FAB_SALSA20_BLOCK, nonce, 0, key);
    assert_memory_equal(buf, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_libsodium),
        cmocka_unit_test(test_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
