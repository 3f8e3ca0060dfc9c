/* Keys (codec and multihash) lie in chunks; a table of pointers to them, open addressing by a keyed
 * hash, since whoever wrote the DAG chose its identity CIDs. */
#include "storage/dag/walk.h"

#include "storage/multiformats/varint.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 << 10)
#define SLOTS_FIRST 64
#define KEY_MAX     (FAB_VARINT_PB_MAX + FAB_MH_MAX)

struct chunk {
    struct chunk *next;
    size_t len;
    uint8_t bytes[];
};

struct fab_visited_set {
    size_t max, count;
    const uint8_t **slots; /* a length byte and the key; NULL: empty. At most half are in use */
    size_t slot_count;
    struct chunk *chunks;
    unsigned char key[crypto_shorthash_KEYBYTES];
};

enum fab_rc fab_visited_set_new(size_t max, struct fab_visited_set **out)
{
    struct fab_visited_set *set = calloc(1, sizeof *set);
    if (!set)
        return FAB_ENOMEM;
    if (sodium_init() < 0) {
        free(set);
        return FAB_EIO;
    }
    crypto_shorthash_keygen(set->key);
    set->max = max;
    *out = set;
    return FAB_OK;
}

void fab_visited_set_free(struct fab_visited_set *set)
{
    if (!set)
        return;
    while (set->chunks) {
        struct chunk *next = set->chunks->next;
        free(set->chunks);
        set->chunks = next;
    }
    free(set->slots);
    free(set);
}

size_t fab_visited_set_count(const struct fab_visited_set *set)
{
    return set->count;
}

/* The slot of `key`, or the empty one where it belongs. */
static size_t slot_find(const struct fab_visited_set *set, const uint8_t *key, size_t n)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t v;
    crypto_shorthash(hash, key, n, set->key);
    memcpy(&v, hash, sizeof v);
    size_t mask = set->slot_count - 1;
    size_t slot = (size_t)v & mask;
    for (; set->slots[slot]; slot = (slot + 1) & mask)
        if (set->slots[slot][0] == n && memcmp(set->slots[slot] + 1, key, n) == 0)
            break;
    return slot;
}

static enum fab_rc grow(struct fab_visited_set *set)
{
    size_t old_count = set->slot_count;
    size_t count = old_count ? 2 * old_count : SLOTS_FIRST;
    const uint8_t **old = set->slots;
    const uint8_t **slots = calloc(count, sizeof *slots);
    if (!slots)
        return FAB_ENOMEM;
    set->slots = slots;
    set->slot_count = count;
    for (size_t i = 0; i < old_count; i++)
        if (old[i])
            slots[slot_find(set, old[i] + 1, old[i][0])] = old[i];
    free(old);
    return FAB_OK;
}

static enum fab_rc key_keep(struct fab_visited_set *set, const uint8_t *key, size_t n,
                            const uint8_t **out)
{
    if (!set->chunks || n + 1 > CHUNK_BYTES - set->chunks->len) {
        struct chunk *c = malloc(sizeof *c + CHUNK_BYTES);
        if (!c)
            return FAB_ENOMEM;
        c->next = set->chunks;
        c->len = 0;
        set->chunks = c;
    }
    uint8_t *p = set->chunks->bytes + set->chunks->len;
    p[0] = (uint8_t)n;
    memcpy(p + 1, key, n);
    set->chunks->len += n + 1;
    *out = p;
    return FAB_OK;
}

static enum fab_rc set_add(void *ctx, const struct fab_cid *cid, bool *fresh)
{
    struct fab_visited_set *set = ctx;
    uint8_t key[KEY_MAX];
    struct fab_slice mh = fab_cid_mh(cid);
    size_t n = fab_varint_put(cid->codec, key);
    memcpy(key + n, mh.p, mh.n);
    n += mh.n;
    if (2 * (set->count + 1) > set->slot_count)
        FAB_TRY(grow(set));
    size_t slot = slot_find(set, key, n);
    if (set->slots[slot]) {
        *fresh = false;
        return FAB_OK;
    }
    if (set->count == set->max)
        return FAB_ELIMIT;
    FAB_TRY(key_keep(set, key, n, &set->slots[slot]));
    set->count++;
    *fresh = true;
    return FAB_OK;
}

struct fab_visited fab_visited_set_table(struct fab_visited_set *set)
{
    return (struct fab_visited){.ctx = set, .add = set_add};
}
