/* Chains in a table that doubles when it holds as many nodes as slots. */
#include "fabric/exchange/bitswap_index.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 64

_Static_assert(crypto_shorthash_KEYBYTES == 16, "the key fits");

enum fab_rc fab_bitswap_index_init(struct fab_bitswap_index *index, const uint8_t key[16])
{
    *index = (struct fab_bitswap_index){.slot_count = SLOTS_FIRST};
    memcpy(index->key, key, sizeof index->key);
    index->slots = calloc(SLOTS_FIRST, sizeof(struct fab_bitswap_node *));
    return index->slots ? FAB_OK : FAB_ENOMEM;
}

void fab_bitswap_index_fini(struct fab_bitswap_index *index)
{
    free(index->slots);
    index->slots = NULL;
}

uint64_t fab_bitswap_index_hash(const struct fab_bitswap_index *index, struct fab_slice mh)
{
    unsigned char out[crypto_shorthash_BYTES];
    uint64_t hash;
    crypto_shorthash(out, mh.p, mh.n, index->key);
    memcpy(&hash, out, sizeof hash);
    return hash;
}

static struct fab_bitswap_node *match(struct fab_bitswap_node *node, uint64_t hash)
{
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct fab_bitswap_node *fab_bitswap_index_find(const struct fab_bitswap_index *index,
                                                uint64_t hash)
{
    return match(index->slots[hash & (index->slot_count - 1)], hash);
}

struct fab_bitswap_node *fab_bitswap_index_again(const struct fab_bitswap_node *node)
{
    return match(node->next, node->hash);
}

static void grow(struct fab_bitswap_index *index)
{
    size_t count = 2 * index->slot_count;
    struct fab_bitswap_node **slots = calloc(count, sizeof(struct fab_bitswap_node *));
    if (!slots)
        return;
    for (size_t i = 0; i < index->slot_count; i++)
        for (struct fab_bitswap_node *node = index->slots[i], *next; node; node = next) {
            struct fab_bitswap_node **slot = &slots[node->hash & (count - 1)];
            next = node->next;
            node->next = *slot;
            *slot = node;
        }
    free(index->slots);
    index->slots = slots;
    index->slot_count = count;
}

void fab_bitswap_index_add(struct fab_bitswap_index *index, struct fab_bitswap_node *node)
{
    if (index->count >= index->slot_count)
        grow(index);
    struct fab_bitswap_node **slot = &index->slots[node->hash & (index->slot_count - 1)];
    node->next = *slot;
    *slot = node;
    index->count++;
}

void fab_bitswap_index_remove(struct fab_bitswap_index *index, struct fab_bitswap_node *node)
{
    struct fab_bitswap_node **at = &index->slots[node->hash & (index->slot_count - 1)];
    while (*at && *at != node)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = node->next;
    node->next = NULL;
    index->count--;
}
