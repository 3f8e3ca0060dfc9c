#include "fabric/exchange/dagsync_marks.h"

#include "storage/multiformats/varint.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 1024u

uint64_t fab_dagsync_print(const uint8_t *key, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_VARINT_PB_MAX + FAB_MH_MAX];
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t v;
    struct fab_slice mh = fab_cid_mh(cid);
    size_t n = fab_varint_put(cid->codec, bytes);
    memcpy(bytes + n, mh.p, mh.n);
    crypto_shorthash(hash, bytes, n + mh.n, key);
    memcpy(&v, hash, sizeof v);
    v &= ~(uint64_t)1;
    return v ? v : 2;
}

void fab_dagsync_marks_init(struct fab_dagsync_marks *marks, size_t slot_max)
{
    *marks = (struct fab_dagsync_marks){.slot_max = slot_max};
}

void fab_dagsync_marks_fini(struct fab_dagsync_marks *marks)
{
    free(marks->slots);
    fab_dagsync_marks_init(marks, marks->slot_max);
}

/* The slot of `print`, or the empty one where it belongs. */
static uint64_t *slot_find(const struct fab_dagsync_marks *marks, uint64_t print)
{
    size_t mask = marks->slot_count - 1, i = (size_t)(print >> 1) & mask;
    while (marks->slots[i] && (marks->slots[i] ^ print) > 1)
        i = (i + 1) & mask;
    return &marks->slots[i];
}

enum fab_dagsync_mark fab_dagsync_marks_get(const struct fab_dagsync_marks *marks, uint64_t print)
{
    if (!marks->slots)
        return FAB_DAGSYNC_NO_MARK;
    uint64_t v = *slot_find(marks, print);
    if (!v)
        return FAB_DAGSYNC_NO_MARK;
    return v & 1 ? FAB_DAGSYNC_MARK_BIT : FAB_DAGSYNC_MARK;
}

/* Whether there is room for one more, after growing if that helps. */
static bool room_make(struct fab_dagsync_marks *marks)
{
    struct fab_dagsync_marks old = *marks;
    if (4 * (marks->used + 1) <= 3 * marks->slot_count)
        return true;
    size_t count = old.slot_count ? 2 * old.slot_count : SLOTS_FIRST;
    if (count > marks->slot_max)
        return false;
    uint64_t *slots = calloc(count, sizeof *slots);
    if (!slots)
        return false;
    marks->slots = slots;
    marks->slot_count = count;
    for (size_t i = 0; i < old.slot_count; i++)
        if (old.slots[i])
            *slot_find(marks, old.slots[i] & ~(uint64_t)1) = old.slots[i];
    free(old.slots);
    return true;
}

void fab_dagsync_marks_set(struct fab_dagsync_marks *marks, uint64_t print, bool bit)
{
    uint64_t *slot = marks->slots ? slot_find(marks, print) : NULL;
    if (!slot || !*slot) {
        if (!room_make(marks))
            return;
        slot = slot_find(marks, print);
        marks->used++;
    }
    *slot = print | bit;
}
