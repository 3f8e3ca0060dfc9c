/* A fast pseudo-random stream for benchmarks (xoshiro256**): same seed, same bytes. */
#ifndef BENCH_PRNG_H
#define BENCH_PRNG_H

#include <stdint.h>
#include <string.h>

struct prng {
    uint64_t s[4];
};

static inline struct prng prng_seed(uint64_t seed)
{
    struct prng p;
    for (int i = 0; i < 4; i++) { /* splitmix64 */
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        p.s[i] = z ^ (z >> 31);
    }
    return p;
}

static inline uint64_t prng_next(struct prng *p)
{
    uint64_t *s = p->s;
    uint64_t x = s[1] * 5;
    uint64_t result = ((x << 7) | (x >> 57)) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

static inline void prng_fill(struct prng *p, uint8_t *out, size_t n)
{
    while (n >= 8) {
        uint64_t v = prng_next(p);
        memcpy(out, &v, 8);
        out += 8;
        n -= 8;
    }
    if (n > 0) {
        uint64_t v = prng_next(p);
        memcpy(out, &v, n);
    }
}

/* Evenly from min to max, both included. */
static inline uint64_t prng_between(struct prng *p, uint64_t min, uint64_t max)
{
    return min + prng_next(p) % (max - min + 1);
}

#endif
