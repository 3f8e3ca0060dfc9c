/* Sixteen blocks at a time: lane i of every vector belongs to block i, so a round is the same
 * instructions as for one block. At the end the 16 x 16 words are transposed, and each block is
 * XORed into its 64 bytes. Nothing depends on a secret: no branch and no address. */
#include "fabric/swarm/salsa20.h"

#include <sodium.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES   16
#define AVX512F __attribute__((target("avx512f")))

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The input of block `counter`: constants on the diagonal, the key's halves, nonce, counter. */
static void input_words(uint32_t in[16], const uint8_t nonce[8], uint64_t counter,
                        const uint8_t key[32])
{
    static const uint8_t sigma[16] = "expand 32-byte k";
    for (unsigned i = 0; i < 4; i++) {
        in[5 * i] = word(sigma + (size_t)4 * i);
        in[1 + i] = word(key + (size_t)4 * i);
        in[11 + i] = word(key + 16 + (size_t)4 * i);
    }
    in[6] = word(nonce);
    in[7] = word(nonce + 4);
    in[8] = (uint32_t)counter;
    in[9] = (uint32_t)(counter >> 32);
}

#define STEP(to, a, b, n) x[to] = x[to] ^ _mm512_rol_epi32(_mm512_add_epi32(x[a], x[b]), n)
#define QUARTER(a, b, c, d)                                                                        \
    do {                                                                                           \
        STEP(b, a, d, 7);                                                                          \
        STEP(c, b, a, 9);                                                                          \
        STEP(d, c, b, 13);                                                                         \
        STEP(a, d, c, 18);                                                                         \
    } while (0)

AVX512F static inline void rounds(__m512i x[16])
{
    for (unsigned i = 0; i < 10; i++) {
        QUARTER(0, 4, 8, 12);
        QUARTER(5, 9, 13, 1);
        QUARTER(10, 14, 2, 6);
        QUARTER(15, 3, 7, 11);
        QUARTER(0, 1, 2, 3);
        QUARTER(5, 6, 7, 4);
        QUARTER(10, 11, 8, 9);
        QUARTER(15, 12, 13, 14);
    }
}

/* Words by lanes into lanes by words. */
AVX512F static inline void transpose(__m512i x[16])
{
    __m512i t[16];
    for (unsigned i = 0; i < 16; i += 4) { /* 4 x 4 words in each quarter of a vector */
        __m512i ab = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        __m512i cd = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);
        __m512i ef = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        __m512i gh = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
        t[i] = _mm512_unpacklo_epi64(ab, cd);
        t[i + 1] = _mm512_unpackhi_epi64(ab, cd);
        t[i + 2] = _mm512_unpacklo_epi64(ef, gh);
        t[i + 3] = _mm512_unpackhi_epi64(ef, gh);
    }
    for (unsigned i = 0; i < 4; i++) { /* then the quarters */
        __m512i a = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x44);
        __m512i b = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x44);
        __m512i c = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xee);
        __m512i d = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xee);
        x[i] = _mm512_shuffle_i32x4(a, b, 0x88);
        x[4 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
        x[8 + i] = _mm512_shuffle_i32x4(c, d, 0x88);
        x[12 + i] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
}

AVX512F static void xor_lanes(uint8_t *buf, size_t groups, uint32_t in[16], uint64_t counter)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (size_t g = 0; g < groups; g++, counter += LANES, buf += LANES * FAB_SALSA20_BLOCK) {
        __m512i x[16], low = _mm512_add_epi32(_mm512_set1_epi32((int)(uint32_t)counter), lane);
        /* a lane whose low word went round carries into the high one */
        __mmask16 carry = _mm512_cmplt_epu32_mask(low, lane);
        __m512i high = _mm512_set1_epi32((int)(uint32_t)(counter >> 32));
        high = _mm512_mask_add_epi32(high, carry, high, _mm512_set1_epi32(1));
        for (unsigned i = 0; i < 16; i++)
            x[i] = _mm512_set1_epi32((int)in[i]);
        x[8] = low;
        x[9] = high;
        rounds(x);
        for (unsigned i = 0; i < 16; i++)
            if (i != 8 && i != 9)
                x[i] = _mm512_add_epi32(x[i], _mm512_set1_epi32((int)in[i]));
        x[8] = _mm512_add_epi32(x[8], low);
        x[9] = _mm512_add_epi32(x[9], high);
        transpose(x);
        for (unsigned i = 0; i < LANES; i++) {
            uint8_t *p = buf + (size_t)i * FAB_SALSA20_BLOCK;
            _mm512_storeu_si512(p, _mm512_xor_si512(_mm512_loadu_si512(p), x[i]));
        }
    }
}

static size_t xor_wide(uint8_t *buf, size_t blocks, const uint8_t nonce[8], uint64_t counter,
                       const uint8_t key[32])
{
    if (blocks < LANES || !__builtin_cpu_supports("avx512f"))
        return 0;
    uint32_t in[16];
    input_words(in, nonce, counter, key);
    xor_lanes(buf, blocks / LANES, in, counter);
    sodium_memzero(in, sizeof in);
    return blocks / LANES * LANES;
}
#else
static size_t xor_wide(uint8_t *buf, size_t blocks, const uint8_t nonce[8], uint64_t counter,
                       const uint8_t key[32])
{
    (void)buf, (void)blocks, (void)nonce, (void)counter, (void)key;
    return 0;
}
#endif

void fab_salsa20_xor(uint8_t *buf, size_t blocks, const uint8_t nonce[8], uint64_t counter,
                     const uint8_t key[32])
{
    size_t done = xor_wide(buf, blocks, nonce, counter, key);
    uint8_t *rest = buf + done * FAB_SALSA20_BLOCK;
    if (done < blocks)
        crypto_stream_salsa20_xor_ic(rest, rest, (blocks - done) * FAB_SALSA20_BLOCK, nonce,
                                     counter + done, key);
}
