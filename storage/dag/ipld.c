#include "storage/dag/ipld.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 4096

struct fab_ipld_chunk {
    struct fab_ipld_chunk *next;
    size_t used, size;
    alignas(max_align_t) uint8_t data[];
};

void fab_ipld_init(struct fab_ipld *tree, size_t max_bytes)
{
    *tree = (struct fab_ipld){.left = max_bytes};
}

void fab_ipld_fini(struct fab_ipld *tree)
{
    while (tree->chunks) {
        struct fab_ipld_chunk *chunk = tree->chunks;
        tree->chunks = chunk->next;
        free(chunk);
    }
    tree->left = 0;
}

enum fab_rc fab_ipld_alloc(struct fab_ipld *tree, size_t n, uint8_t **out)
{
    const size_t align = alignof(struct fab_ipld_node);
    if (n > tree->left)
        return FAB_ELIMIT;
    size_t need = (n + align - 1) & ~(align - 1);
    if (need > tree->left)
        return FAB_ELIMIT;
    struct fab_ipld_chunk *chunk = tree->chunks;
    if (!chunk || chunk->size - chunk->used < need) {
        size_t size = need > CHUNK_BYTES ? need : CHUNK_BYTES;
        chunk = malloc(sizeof(*chunk) + size);
        if (!chunk)
            return FAB_ENOMEM;
        *chunk = (struct fab_ipld_chunk){.next = tree->chunks, .size = size};
        tree->chunks = chunk;
    }
    *out = chunk->data + chunk->used;
    chunk->used += need;
    tree->left -= need;
    return FAB_OK;
}

enum fab_rc fab_ipld_copy(struct fab_ipld *tree, struct fab_slice s, struct fab_slice *out)
{
    uint8_t *p;
    FAB_TRY(fab_ipld_alloc(tree, s.n, &p));
    if (s.n)
        memcpy(p, s.p, s.n);
    *out = fab_slice(p, s.n);
    return FAB_OK;
}

enum fab_rc fab_ipld_new(struct fab_ipld *tree, enum fab_ipld_kind kind, struct fab_ipld_node **out)
{
    uint8_t *p;
    FAB_TRY(fab_ipld_alloc(tree, sizeof(struct fab_ipld_node), &p));
    struct fab_ipld_node *node = (struct fab_ipld_node *)(void *)p;
    *node = (struct fab_ipld_node){.kind = kind};
    *out = node;
    return FAB_OK;
}

enum fab_rc fab_ipld_int(struct fab_ipld *tree, int64_t v, struct fab_ipld_node **out)
{
    FAB_TRY(fab_ipld_new(tree, FAB_IPLD_INT, out));
    (*out)->flag = v < 0;
    (*out)->u = v < 0 ? (uint64_t)(-1 - v) : (uint64_t)v;
    return FAB_OK;
}

static enum fab_rc new_slice(struct fab_ipld *tree, enum fab_ipld_kind kind, struct fab_slice s,
                             struct fab_ipld_node **out)
{
    FAB_TRY(fab_ipld_new(tree, kind, out));
    (*out)->s = s;
    return FAB_OK;
}

enum fab_rc fab_ipld_text(struct fab_ipld *tree, struct fab_slice s, struct fab_ipld_node **out)
{
    return new_slice(tree, FAB_IPLD_TEXT, s, out);
}

enum fab_rc fab_ipld_bytes(struct fab_ipld *tree, struct fab_slice s, struct fab_ipld_node **out)
{
    return new_slice(tree, FAB_IPLD_BYTES, s, out);
}

enum fab_rc fab_ipld_link(struct fab_ipld *tree, const struct fab_cid *cid,
                          struct fab_ipld_node **out)
{
    uint8_t bytes[FAB_CID_MAX];
    struct fab_slice s;
    FAB_TRY(fab_ipld_copy(tree, fab_slice(bytes, fab_cid_bytes(cid, bytes)), &s));
    return new_slice(tree, FAB_IPLD_LINK, s, out);
}

static enum fab_rc append(struct fab_ipld_node *holder, struct fab_ipld_node *entry)
{
    if (holder->count == UINT32_MAX)
        return FAB_ELIMIT;
    if (holder->last)
        holder->last->next = entry;
    else
        holder->first = entry;
    holder->last = entry;
    holder->count++;
    entry->next = NULL;
    return FAB_OK;
}

enum fab_rc fab_ipld_add(struct fab_ipld_node *list, struct fab_ipld_node *entry)
{
    if (list->kind != FAB_IPLD_LIST)
        return FAB_EINVAL;
    return append(list, entry);
}

enum fab_rc fab_ipld_put(struct fab_ipld_node *map, struct fab_slice key,
                         struct fab_ipld_node *entry)
{
    if (map->kind != FAB_IPLD_MAP)
        return FAB_EINVAL;
    entry->key = key;
    return append(map, entry);
}

typedef int (*key_cmp)(struct fab_slice a, struct fab_slice b);

/* Sort the first `n` entries of a chain; gives the head, and in `rest` what follows them. */
static struct fab_ipld_node *merge_sort(struct fab_ipld_node *head, size_t n, key_cmp cmp,
                                        struct fab_ipld_node **rest)
{
    if (n == 1) {
        *rest = head->next;
        head->next = NULL;
        return head;
    }
    struct fab_ipld_node *middle, *merged = NULL, **tail = &merged;
    struct fab_ipld_node *a = merge_sort(head, n / 2, cmp, &middle);
    struct fab_ipld_node *b = merge_sort(middle, n - n / 2, cmp, rest);
    while (a && b) {
        struct fab_ipld_node **less = cmp(a->key, b->key) <= 0 ? &a : &b;
        *tail = *less;
        tail = &(*tail)->next;
        *less = *tail;
    }
    *tail = a ? a : b;
    return merged;
}

enum fab_rc fab_ipld_sort(struct fab_ipld_node *map, key_cmp cmp)
{
    if (map->kind != FAB_IPLD_MAP)
        return FAB_EINVAL;
    if (map->count < 2)
        return FAB_OK;
    bool sorted = true;
    for (struct fab_ipld_node *e = map->first; e->next && sorted; e = e->next)
        sorted = cmp(e->key, e->next->key) < 0;
    if (sorted)
        return FAB_OK;
    struct fab_ipld_node *rest;
    map->first = merge_sort(map->first, map->count, cmp, &rest);
    struct fab_ipld_node *e = map->first;
    bool twice = false;
    for (; e->next; e = e->next)
        twice |= cmp(e->key, e->next->key) == 0;
    map->last = e;
    return twice ? FAB_EFORMAT : FAB_OK;
}

struct fab_ipld_node *fab_ipld_get(const struct fab_ipld_node *map, const char *key)
{
    if (!map || map->kind != FAB_IPLD_MAP)
        return NULL;
    struct fab_slice k = fab_slice(key, strlen(key));
    for (struct fab_ipld_node *e = map->first; e; e = e->next) {
        if (fab_slice_eq(e->key, k))
            return e;
    }
    return NULL;
}
