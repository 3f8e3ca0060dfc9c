/* The IPLD data model as a tree (ipld specs/data-model): what dag-cbor, dag-json and dag-pb blocks
 * mean, so that one can be shown or written as another. Hot paths do not use it: they pull from
 * dag_cbor.h and dag_pb.h.
 *
 * A tree is an arena with a budget in bytes. Text, bytes, links and keys borrow from what the
 * caller hands in (the decoded block must outlive the tree) or are copied by fab_ipld_copy. Nodes
 * live until fab_ipld_fini. One thread at a time. */
#ifndef FAB_DAG_IPLD_H
#define FAB_DAG_IPLD_H

#include "storage/multiformats/cid.h"

#define FAB_IPLD_DEPTH_MAX 128 /* lists and maps in each other */
#define FAB_IPLD_TREE_MAX                                                                          \
    (64u << 20) /* bytes: a budget that holds any block a person would write */

enum fab_ipld_kind {
    FAB_IPLD_NULL,
    FAB_IPLD_BOOL,
    FAB_IPLD_INT,
    FAB_IPLD_FLOAT,
    FAB_IPLD_TEXT, /* UTF-8 */
    FAB_IPLD_BYTES,
    FAB_IPLD_LINK, /* s is a binary CID */
    FAB_IPLD_LIST,
    FAB_IPLD_MAP,
};

struct fab_ipld_node {
    enum fab_ipld_kind kind;
    bool flag;      /* the value of a bool; of an int: negative, the value being -1 - u */
    uint32_t count; /* entries of a list or map */
    union {
        uint64_t u;
        double f;
        struct fab_slice s;
        struct {
            struct fab_ipld_node *first, *last;
        };
    };
    struct fab_ipld_node *next; /* the next entry of the list or map that holds this one */
    struct fab_slice key;       /* in a map */
};

struct fab_ipld_chunk;

struct fab_ipld {
    struct fab_ipld_chunk *chunks;
    size_t left; /* bytes of budget */
};

void fab_ipld_init(struct fab_ipld *tree, size_t max_bytes);
void fab_ipld_fini(struct fab_ipld *tree);

/* Make nodes. FAB_ELIMIT when the budget is used up, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_ipld_new(struct fab_ipld *tree, enum fab_ipld_kind kind,
                                  struct fab_ipld_node **out);
FAB_MUST enum fab_rc fab_ipld_int(struct fab_ipld *tree, int64_t v, struct fab_ipld_node **out);
FAB_MUST enum fab_rc fab_ipld_text(struct fab_ipld *tree, struct fab_slice s,
                                   struct fab_ipld_node **out);
FAB_MUST enum fab_rc fab_ipld_bytes(struct fab_ipld *tree, struct fab_slice s,
                                    struct fab_ipld_node **out);
FAB_MUST enum fab_rc fab_ipld_link(struct fab_ipld *tree, const struct fab_cid *cid,
                                   struct fab_ipld_node **out);
/* Room for n bytes inside the tree, and a copy of `s` there. */
FAB_MUST enum fab_rc fab_ipld_alloc(struct fab_ipld *tree, size_t n, uint8_t **out);
FAB_MUST enum fab_rc fab_ipld_copy(struct fab_ipld *tree, struct fab_slice s,
                                   struct fab_slice *out);

/* Put a node at the end of a list, or of a map under a key (borrowed). A node has one holder. */
FAB_MUST enum fab_rc fab_ipld_add(struct fab_ipld_node *list, struct fab_ipld_node *entry);
FAB_MUST enum fab_rc fab_ipld_put(struct fab_ipld_node *map, struct fab_slice key,
                                  struct fab_ipld_node *entry);

/* Sort the entries of a map by key. FAB_EFORMAT when a key comes twice. */
FAB_MUST enum fab_rc fab_ipld_sort(struct fab_ipld_node *map,
                                   int (*cmp)(struct fab_slice a, struct fab_slice b));

/* The entry of a map, NULL when there is none or `map` is not a map. */
struct fab_ipld_node *fab_ipld_get(const struct fab_ipld_node *map, const char *key);

#endif
