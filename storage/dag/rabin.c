/* The Rabin fingerprint of the last 16 bytes, as a polynomial over GF(2) modulo an irreducible one
 * of degree
 * 53. A chunk ends where the fingerprint's low bits are zero: one bit fewer than the average has,
 * so that chunks of the average size are expected. */
#include "storage/dag/rabin.h"

#include <pthread.h>

#define POLYNOMIAL UINT64_C(0x3df305dfb2a805) /* Kubo's choice, 17437180132763653 */
#define DEGREE     53

static struct {
    uint64_t mod[256]; /* clears the eight bits above the degree and adds their remainder */
    uint64_t
        out[256]; /* takes away the byte that leaves the window, after the next byte was added */
} tables;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static uint64_t reduce(uint64_t v)
{
    for (int bit = 63; bit >= DEGREE; bit--)
        if (v >> bit & 1)
            v ^= POLYNOMIAL << (bit - DEGREE);
    return v;
}

static void tables_fill(void)
{
    for (unsigned b = 0; b < 256; b++) {
        uint64_t high = (uint64_t)b << DEGREE;
        tables.mod[b] = reduce(high) | high;
        uint64_t h = b;
        for (unsigned i = 0; i < FAB_RABIN_WINDOW; i++)
            h = reduce(h << 8);
        tables.out[b] = h;
    }
}

static inline uint64_t append(uint64_t h, uint64_t byte)
{
    return (h << 8 ^ tables.mod[h >> (DEGREE - 8)]) ^ byte;
}

size_t fab_rabin_cut(const struct fab_chunker *chunker, struct fab_slice view)
{
    pthread_once(&tables_once, tables_fill);
    const uint8_t *p = view.p;
    size_t limit = view.n < chunker->max ? view.n : chunker->max;
    uint64_t mask = 1;
    while (mask <= chunker->avg / 2)
        mask <<= 1;
    mask--;

    uint64_t h = 0;
    size_t n = chunker->min;
    for (size_t i = n - FAB_RABIN_WINDOW; i < n; i++)
        h = append(h, p[i]);
    while ((h & mask) != 0 && n < limit) {
        h = append(h, p[n] ^ tables.out[p[n - FAB_RABIN_WINDOW]]);
        n++;
    }
    if ((h & mask) == 0 || n == chunker->max)
        return n;
    return 0;
}
