#include "storage/dag/murmur3.h"

#define C1 UINT64_C(0x87c37b91114253d5)
#define C2 UINT64_C(0x4cf5ad432745937f)

static uint64_t rotl(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static uint64_t load_le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t mix1(uint64_t k)
{
    return rotl(k * C1, 31) * C2;
}

static uint64_t mix2(uint64_t k)
{
    return rotl(k * C2, 33) * C1;
}

static uint64_t finish(uint64_t k)
{
    k ^= k >> 33;
    k *= UINT64_C(0xff51afd7ed558ccd);
    k ^= k >> 33;
    k *= UINT64_C(0xc4ceb9fe1a85ec53);
    return k ^ k >> 33;
}

uint64_t fab_murmur3_64(struct fab_slice s)
{
    uint64_t h1 = 0, h2 = 0;
    const uint8_t *p = s.p;
    size_t left = s.n;
    for (; left >= 16; p += 16, left -= 16) {
        h1 ^= mix1(load_le(p, 8));
        h1 = (rotl(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= mix2(load_le(p + 8, 8));
        h2 = (rotl(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    if (left > 8)
        h2 ^= mix2(load_le(p + 8, left - 8));
    if (left > 0)
        h1 ^= mix1(load_le(p, left < 8 ? left : 8));
    h1 ^= s.n;
    h2 ^= s.n;
    h1 += h2;
    h2 += h1;
    return finish(h1) + finish(h2);
}
