#include "cli/nearest.h"

#include <stddef.h>
#include <string.h>

#define WORD_MAX 63
#define FAR      1000

static unsigned min2(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned fab_word_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned rows[3][WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX)
        return FAR;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned d = min2(above[j] + 1, row[j - 1] + 1);
            d = min2(d, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = min2(d, above2[j - 2] + 1);
            row[j] = d;
        }
    }
    return rows[n % 3][m];
}

void fab_nearest_init(struct fab_nearest *nearest, const char *word)
{
    size_t n = strlen(word);
    *nearest = (struct fab_nearest){.word = word, .distance = n <= 3 ? 2 : n <= 6 ? 3 : 4};
}

void fab_nearest_offer(struct fab_nearest *nearest, const char *candidate)
{
    size_t n = strlen(nearest->word);
    unsigned d = fab_word_distance(nearest->word, candidate);
    if (n >= 3 && !strncmp(nearest->word, candidate, n))
        d = 1;
    if (d < nearest->distance) {
        nearest->distance = d;
        nearest->best = candidate;
    }
}
