/* A bounded set of blocks in 8 bytes each: 63 bits of a keyed hash of codec and multihash (not of
 * the version), and one bit for the user. The key is random and secret, so nobody can choose blocks
 * that are taken for one another; by chance it happens once in some millions of full sets. */
#ifndef FAB_EXCHANGE_DAGSYNC_MARKS_H
#define FAB_EXCHANGE_DAGSYNC_MARKS_H

#include "storage/multiformats/cid.h"

struct fab_dagsync_marks {
    uint64_t *slots; /* open addressing, 0 is empty, at most three quarters in use */
    size_t slot_count, used;
    size_t slot_max; /* a power of two, 1024 or more */
};

enum fab_dagsync_mark { FAB_DAGSYNC_NO_MARK, FAB_DAGSYNC_MARK, FAB_DAGSYNC_MARK_BIT };

/* The hash under which `cid` is kept; its lowest bit is not used. `key` has 16 bytes. */
uint64_t fab_dagsync_print(const uint8_t *key, const struct fab_cid *cid);

/* No allocation until something is set. */
void fab_dagsync_marks_init(struct fab_dagsync_marks *marks, size_t slot_max);
void fab_dagsync_marks_fini(struct fab_dagsync_marks *marks);
enum fab_dagsync_mark fab_dagsync_marks_get(const struct fab_dagsync_marks *marks, uint64_t print);
/* Add `print`, or change its bit. A set that is full, or cannot grow, forgets it at once. */
void fab_dagsync_marks_set(struct fab_dagsync_marks *marks, uint64_t print, bool bit);

#endif
