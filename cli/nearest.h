/* "Did you mean": how near one word is to another. */
#ifndef FAB_CLI_NEAREST_H
#define FAB_CLI_NEAREST_H

/* The edits (insert, delete, replace, swap of neighbours) that make `b` of `a`; longer words than
 * 63 bytes are far from everything. */
unsigned fab_word_distance(const char *a, const char *b);

/* Among candidates offered one by one, keep the nearest that is near enough to suggest. */
struct fab_nearest {
    const char *word, *best;
    unsigned distance;
};
void fab_nearest_init(struct fab_nearest *nearest, const char *word);
void fab_nearest_offer(struct fab_nearest *nearest, const char *candidate);

#endif
