/* A hash table of wants by multihash, for server and client of bitswap. Nodes lie inside the
 * caller's structures; several may have the same multihash. Keyed, since peers choose the
 * multihashes. */
#ifndef FAB_EXCHANGE_BITSWAP_INDEX_H
#define FAB_EXCHANGE_BITSWAP_INDEX_H

#include "storage/base/bytes.h"

struct fab_bitswap_node {
    struct fab_bitswap_node *next;
    uint64_t hash;
};

struct fab_bitswap_index {
    struct fab_bitswap_node **slots;
    size_t slot_count, count;
    uint8_t key[16];
};

FAB_MUST enum fab_rc fab_bitswap_index_init(struct fab_bitswap_index *index, const uint8_t key[16]);
/* The nodes are the caller's. */
void fab_bitswap_index_fini(struct fab_bitswap_index *index);

uint64_t fab_bitswap_index_hash(const struct fab_bitswap_index *index, struct fab_slice mh);
/* The first node with that hash, or NULL; then the next one. Equal hashes may still mean different
 * multihashes: the caller compares. */
struct fab_bitswap_node *fab_bitswap_index_find(const struct fab_bitswap_index *index,
                                                uint64_t hash);
struct fab_bitswap_node *fab_bitswap_index_again(const struct fab_bitswap_node *node);
/* Add a node whose `hash` is set. It cannot fail: when the table cannot grow, it is slower. */
void fab_bitswap_index_add(struct fab_bitswap_index *index, struct fab_bitswap_node *node);
void fab_bitswap_index_remove(struct fab_bitswap_index *index, struct fab_bitswap_node *node);

#endif
