/* Entries lie in one growing array; their names and CIDs in chunks that never move, so that sorting
 * moves 32 bytes per entry. A table of entry numbers, open addressing by the hash that a HAMT needs
 * anyway, finds names that come twice. */
#include "storage/dag/dir_builder.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/hamt.h"
#include "storage/dag/murmur3.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES_DEFAULT ((size_t)1 << 30)
#define CHUNK_BYTES       ((size_t)64 << 10)
#define ENTRIES_FIRST     16
#define SLOT_EMPTY        0

struct chunk {
    struct chunk *next;
    size_t len;
    uint8_t bytes[];
};

struct fab_dir_builder {
    const struct fab_profile *profile;
    size_t bytes, max_bytes; /* memory that entries, chunks and table take */
    struct fab_hamt_entry *entries;
    size_t count, cap;
    unsigned char key[crypto_shorthash_KEYBYTES];
    uint32_t *slots; /* entry number + 1; twice as many slots as entries have room */
    struct chunk *chunks;
    size_t links_estimate; /* bytes of names and CIDs */
    size_t links_size;     /* bytes of the links in a basic directory's block */
};

enum fab_rc fab_dir_builder_new(const struct fab_profile *profile, size_t max_bytes,
                                struct fab_dir_builder **out)
{
    struct fab_dir_builder *b = calloc(1, sizeof *b);
    if (!b)
        return FAB_ENOMEM;
    if (sodium_init() < 0) {
        free(b);
        return FAB_EIO;
    }
    crypto_shorthash_keygen(b->key);
    b->profile = profile;
    b->max_bytes = max_bytes ? max_bytes : MAX_BYTES_DEFAULT;
    *out = b;
    return FAB_OK;
}

void fab_dir_builder_free(struct fab_dir_builder *builder)
{
    if (!builder)
        return;
    while (builder->chunks) {
        struct chunk *next = builder->chunks->next;
        free(builder->chunks);
        builder->chunks = next;
    }
    free(builder->entries);
    free(builder->slots);
    free(builder);
}

size_t fab_dir_builder_count(const struct fab_dir_builder *builder)
{
    return builder->count;
}

static struct fab_slice entry_name(const struct fab_hamt_entry *e)
{
    return fab_slice(e->bytes, e->name_len);
}

static uint64_t name_hash(const struct fab_dir_builder *b, struct fab_slice name)
{
    unsigned char out[crypto_shorthash_BYTES];
    uint64_t hash;
    crypto_shorthash(out, name.p, name.n, b->key);
    memcpy(&hash, out, sizeof hash);
    return hash;
}

/* The empty slot where `name` belongs, or FAB_EEXIST. */
static enum fab_rc slot_find(const struct fab_dir_builder *b, uint64_t hash, struct fab_slice name,
                             size_t *out)
{
    size_t mask = 2 * b->cap - 1;
    size_t slot = (size_t)hash & mask;
    for (; b->slots[slot] != SLOT_EMPTY; slot = (slot + 1) & mask) {
        const struct fab_hamt_entry *e = &b->entries[b->slots[slot] - 1];
        if (e->hash == hash && fab_slice_eq(entry_name(e), name))
            return FAB_EEXIST;
    }
    *out = slot;
    return FAB_OK;
}

static enum fab_rc grow(struct fab_dir_builder *b)
{
    size_t cap = b->cap ? 2 * b->cap : ENTRIES_FIRST;
    size_t more = (cap - b->cap) * (sizeof *b->entries + 2 * sizeof *b->slots);
    if (cap > UINT32_MAX / 2 || more > b->max_bytes - b->bytes)
        return FAB_ELIMIT;
    uint32_t *slots = calloc(2 * cap, sizeof *slots);
    if (!slots)
        return FAB_ENOMEM;
    struct fab_hamt_entry *entries = realloc(b->entries, cap * sizeof *entries);
    if (!entries) {
        free(slots);
        return FAB_ENOMEM;
    }
    free(b->slots);
    b->entries = entries;
    b->slots = slots;
    b->cap = cap;
    b->bytes += more;
    for (size_t i = 0; i < b->count; i++) {
        size_t slot;
        FAB_TRY(slot_find(b, entries[i].hash, entry_name(&entries[i]), &slot));
        slots[slot] = (uint32_t)i + 1;
    }
    return FAB_OK;
}

/* Room for n bytes (far fewer than CHUNK_BYTES) that stay where they are. */
static enum fab_rc bytes_take(struct fab_dir_builder *b, size_t n, uint8_t **out)
{
    if (!b->chunks || n > CHUNK_BYTES - b->chunks->len) {
        if (CHUNK_BYTES > b->max_bytes - b->bytes)
            return FAB_ELIMIT;
        struct chunk *c = malloc(sizeof *c + CHUNK_BYTES);
        if (!c)
            return FAB_ENOMEM;
        c->next = b->chunks;
        c->len = 0;
        b->chunks = c;
        b->bytes += CHUNK_BYTES;
    }
    *out = b->chunks->bytes + b->chunks->len;
    b->chunks->len += n;
    return FAB_OK;
}

static struct fab_pb_link entry_link(const struct fab_hamt_entry *e)
{
    return (struct fab_pb_link){.cid = fab_slice(e->bytes + e->name_len, e->cid_len),
                                .name = entry_name(e),
                                .tsize = e->tsize,
                                .has_name = true,
                                .has_tsize = true};
}

enum fab_rc fab_dir_builder_add(struct fab_dir_builder *builder, struct fab_slice name,
                                const struct fab_cid *cid, uint64_t tsize)
{
    struct fab_dir_builder *b = builder;
    uint8_t cid_bytes[FAB_CID_MAX];
    size_t cid_len = fab_cid_bytes(cid, cid_bytes);
    if (name.n == 0 || name.n > FAB_NAME_MAX || memchr(name.p, '/', name.n) ||
        memchr(name.p, 0, name.n))
        return FAB_EINVAL;
    if (b->count == b->cap)
        FAB_TRY(grow(b));

    uint64_t hash = name_hash(b, name);
    size_t slot;
    uint8_t *bytes;
    FAB_TRY(slot_find(b, hash, name, &slot));
    FAB_TRY(bytes_take(b, name.n + cid_len, &bytes));
    memcpy(bytes, name.p, name.n);
    memcpy(bytes + name.n, cid_bytes, cid_len);

    struct fab_hamt_entry *e = &b->entries[b->count];
    *e = (struct fab_hamt_entry){.hash = hash,
                                 .tsize = tsize,
                                 .bytes = bytes,
                                 .name_len = (uint16_t)name.n,
                                 .cid_len = (uint8_t)cid_len};
    struct fab_pb_link link = entry_link(e);
    b->links_estimate += name.n + cid_len;
    b->links_size += fab_pb_link_size(&link);
    b->slots[slot] = (uint32_t)++b->count;
    return FAB_OK;
}

static int by_name(const void *a, const void *b)
{
    return fab_slice_cmp(entry_name(a), entry_name(b));
}

static int by_hash(const void *a, const void *b)
{
    const struct fab_hamt_entry *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static enum fab_rc basic_encode(const struct fab_dir_builder *b, const struct fab_unixfs *node,
                                struct fab_buf *block, struct fab_dag_entry *entry)
{
    FAB_TRY(fab_buf_reserve(block, b->links_size + fab_unixfs_field_size(node, NULL)));
    for (size_t i = 0; i < b->count; i++) {
        struct fab_pb_link link = entry_link(&b->entries[i]);
        FAB_TRY(fab_pb_append_link(block, &link));
        entry->tsize += link.tsize;
    }
    FAB_TRY(fab_unixfs_encode_field(node, NULL, block));
    entry->tsize += block->len;
    return fab_cid_of(b->profile->cid_version, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256,
                      fab_buf_slice(block), &entry->cid);
}

enum fab_rc fab_dir_builder_finish(struct fab_dir_builder *builder,
                                   const struct fab_unixfs_attr *attr,
                                   const struct fab_block_sink *sink, struct fab_dag_entry *out)
{
    struct fab_unixfs node = {.type = FAB_UNIXFS_DIRECTORY};
    struct fab_dag_entry entry = {.size = builder->count};
    struct fab_buf block;
    if (attr)
        node.attr = *attr;
    size_t estimate = builder->profile->dir_estimate == FAB_DIR_ESTIMATE_LINKS
                          ? builder->links_estimate
                          : builder->links_size + fab_unixfs_field_size(&node, NULL);
    if (estimate > builder->profile->hamt_threshold && builder->count > 0) {
        for (size_t i = 0; i < builder->count; i++)
            builder->entries[i].hash = fab_murmur3_64(entry_name(&builder->entries[i]));
        qsort(builder->entries, builder->count, sizeof *builder->entries, by_hash);
        return fab_hamt_build(builder->profile, builder->entries, builder->count, attr, sink, out);
    }
    if (builder->count > 0)
        qsort(builder->entries, builder->count, sizeof *builder->entries, by_name);
    fab_buf_init(&block, FAB_BLOCK_MAX);
    enum fab_rc rc = basic_encode(builder, &node, &block, &entry);
    if (rc == FAB_OK && sink->put)
        rc = sink->put(sink->ctx, &entry.cid, fab_buf_slice(&block));
    fab_buf_fini(&block);
    if (rc == FAB_OK)
        *out = entry;
    return rc;
}
