/* The balanced layout, from the bottom up: leaves gather in level 0; when a level holds a full
 * node's worth of links and another arrives, they become a node whose link goes to the level above.
 * Waiting for that other one is what keeps a file of exactly one full node from getting a second
 * root. At the end the levels are closed in turn; the node of the top one is the root. All leaves
 * have the same depth by construction. */
#include "storage/dag/file_builder.h"

#include "storage/dag/chunker.h"
#include "storage/dag/dag_pb.h"

#include <stdlib.h>

#define LEVELS_MAX                                                                                 \
    16 /* 174^16 leaves; a profile with fewer links per node reaches FAB_ELIMIT instead */

struct level {
    struct fab_buf block; /* the links so far, as the node will begin with them */
    uint64_t *sizes;      /* [profile->file_links], payload bytes below each link */
    unsigned count;
    uint64_t size, tsize; /* sums over the links */
};

struct fab_file_builder {
    const struct fab_profile *profile;
    struct fab_unixfs_attr attr;
    struct fab_block_sink sink;
    struct level levels[LEVELS_MAX];
    unsigned used;          /* levels that have links */
    struct fab_cid first;   /* the first leaf */
    struct fab_buf payload; /* its content, with attributes only */
};

bool fab_file_raw_leaves(const struct fab_profile *profile, const struct fab_unixfs_attr *attr)
{
    return profile->raw_leaves && !fab_unixfs_attr_any(attr);
}

static enum fab_rc pb_cid(const struct fab_profile *profile, struct fab_slice block,
                          struct fab_cid *out)
{
    return fab_cid_of(profile->cid_version, FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, block, out);
}

static struct fab_unixfs leaf_node(struct fab_slice payload)
{
    return (struct fab_unixfs){.type = FAB_UNIXFS_FILE,
                               .has_data = payload.n > 0,
                               .data = payload,
                               .has_filesize = true,
                               .filesize = payload.n};
}

enum fab_rc fab_file_leaf(const struct fab_profile *profile, bool raw, struct fab_slice payload,
                          struct fab_buf *scratch, struct fab_leaf *out)
{
    struct fab_leaf leaf = {.payload = payload.n, .block = payload};
    if (payload.n > FAB_CHUNK_MAX)
        return FAB_ELIMIT;
    if (raw) {
        FAB_TRY(fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, payload, &leaf.cid));
    } else {
        struct fab_unixfs node = leaf_node(payload);
        fab_buf_reset(scratch);
        FAB_TRY(fab_unixfs_encode_field(&node, NULL, scratch));
        leaf.block = fab_buf_slice(scratch);
        FAB_TRY(pb_cid(profile, leaf.block, &leaf.cid));
    }
    leaf.tsize = leaf.block.n;
    *out = leaf;
    return FAB_OK;
}

enum fab_rc fab_file_builder_new(const struct fab_profile *profile,
                                 const struct fab_unixfs_attr *attr,
                                 const struct fab_block_sink *sink, struct fab_file_builder **out)
{
    if (profile->file_links < 2)
        return FAB_EINVAL;
    struct fab_file_builder *b = calloc(1, sizeof *b);
    if (!b)
        return FAB_ENOMEM;
    b->profile = profile;
    b->sink = *sink;
    if (attr)
        b->attr = *attr;
    fab_buf_init(&b->payload, FAB_CHUNK_MAX);
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        fab_buf_init(&b->levels[i].block, FAB_BLOCK_MAX);
    *out = b;
    return FAB_OK;
}

void fab_file_builder_free(struct fab_file_builder *builder)
{
    if (!builder)
        return;
    for (unsigned i = 0; i < LEVELS_MAX; i++) {
        fab_buf_fini(&builder->levels[i].block);
        free(builder->levels[i].sizes);
    }
    fab_buf_fini(&builder->payload);
    free(builder);
}

static enum fab_rc sink_put(const struct fab_block_sink *sink, const struct fab_cid *cid,
                            struct fab_slice block)
{
    return sink->put ? sink->put(sink->ctx, cid, block) : FAB_OK;
}

/* Make the node of a level, give it to the sink and empty the level. */
static enum fab_rc level_close(struct fab_file_builder *b, struct level *level,
                               const struct fab_unixfs_attr *attr, struct fab_dag_entry *out)
{
    struct fab_unixfs node = {.type = FAB_UNIXFS_FILE,
                              .has_filesize = true,
                              .filesize = level->size,
                              .sizes_count = level->count};
    struct fab_dag_entry entry = {.size = level->size};
    if (attr)
        node.attr = *attr;
    FAB_TRY(fab_unixfs_encode_field(&node, level->sizes, &level->block));
    struct fab_slice block = fab_buf_slice(&level->block);
    FAB_TRY(pb_cid(b->profile, block, &entry.cid));
    FAB_TRY(sink_put(&b->sink, &entry.cid, block));
    entry.tsize = level->tsize + block.n;
    fab_buf_reset(&level->block);
    level->count = 0;
    level->size = level->tsize = 0;
    *out = entry;
    return FAB_OK;
}

static enum fab_rc level_add(struct fab_file_builder *b, unsigned i,
                             const struct fab_dag_entry *child)
{
    if (i == LEVELS_MAX)
        return FAB_ELIMIT;
    struct level *level = &b->levels[i];
    if (level->count == b->profile->file_links) {
        struct fab_dag_entry node;
        FAB_TRY(level_close(b, level, NULL, &node));
        FAB_TRY(level_add(b, i + 1, &node));
    }
    if (!level->sizes) {
        level->sizes = calloc(b->profile->file_links, sizeof *level->sizes);
        if (!level->sizes)
            return FAB_ENOMEM;
    }
    uint8_t cid[FAB_CID_MAX];
    struct fab_pb_link link = {.cid = fab_slice(cid, fab_cid_bytes(&child->cid, cid)),
                               .has_name = true,
                               .has_tsize = true,
                               .tsize = child->tsize};
    FAB_TRY(fab_pb_append_link(&level->block, &link));
    level->sizes[level->count++] = child->size;
    level->size += child->size;
    level->tsize += child->tsize;
    if (b->used < i + 1)
        b->used = i + 1;
    return FAB_OK;
}

/* With attributes: the first leaf's content, until it turns out that it is not the only one. */
static enum fab_rc payload_keep(struct fab_file_builder *b, const struct fab_leaf *leaf)
{
    struct fab_slice payload = leaf->block;
    if (leaf->cid.codec == FAB_CODEC_DAG_PB) {
        struct fab_pb_node pb;
        struct fab_unixfs node;
        FAB_TRY(fab_pb_decode(leaf->block, &pb));
        FAB_TRY(fab_unixfs_decode(pb.data, &node));
        payload = node.data;
    }
    if (payload.n != leaf->payload)
        return FAB_EINVAL;
    return fab_buf_append(&b->payload, payload.p, payload.n);
}

enum fab_rc fab_file_builder_add(struct fab_file_builder *builder, const struct fab_leaf *leaf)
{
    struct fab_dag_entry child = {.cid = leaf->cid, .tsize = leaf->tsize, .size = leaf->payload};
    if (builder->used == 0) {
        builder->first = leaf->cid;
        if (fab_unixfs_attr_any(&builder->attr))
            FAB_TRY(payload_keep(builder, leaf));
    } else {
        fab_buf_fini(&builder->payload);
    }
    return level_add(builder, 0, &child);
}

/* The file of no leaf, or of one whose root must carry attributes. */
static enum fab_rc finish_alone(struct fab_file_builder *b, struct fab_dag_entry *out)
{
    struct fab_slice payload = fab_buf_slice(&b->payload);
    struct fab_dag_entry entry = {.size = payload.n};
    struct fab_buf buf;
    enum fab_rc rc;
    fab_buf_init(&buf, FAB_BLOCK_MAX);
    if (fab_file_raw_leaves(b->profile, &b->attr)) {
        rc = fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, payload, &entry.cid);
    } else {
        struct fab_unixfs node = leaf_node(payload);
        node.attr = b->attr;
        rc = fab_unixfs_encode_field(&node, NULL, &buf);
        if (rc == FAB_OK)
            rc = pb_cid(b->profile, fab_buf_slice(&buf), &entry.cid);
    }
    if (rc == FAB_OK)
        rc = sink_put(&b->sink, &entry.cid, fab_buf_slice(&buf));
    entry.tsize = buf.len;
    fab_buf_fini(&buf);
    if (rc == FAB_OK)
        *out = entry;
    return rc;
}

enum fab_rc fab_file_builder_finish(struct fab_file_builder *builder, struct fab_dag_entry *out)
{
    struct level *leaves = &builder->levels[0];
    bool one_leaf = builder->used == 1 && leaves->count == 1;
    if (builder->used == 0 || (one_leaf && fab_unixfs_attr_any(&builder->attr)))
        return finish_alone(builder, out);
    if (one_leaf) {
        *out = (struct fab_dag_entry){
            .cid = builder->first, .tsize = leaves->tsize, .size = leaves->size};
        return FAB_OK;
    }
    for (unsigned i = 0; i + 1 < builder->used; i++) {
        struct fab_dag_entry node;
        FAB_TRY(level_close(builder, &builder->levels[i], NULL, &node));
        FAB_TRY(level_add(builder, i + 1, &node));
    }
    return level_close(builder, &builder->levels[builder->used - 1], &builder->attr, out);
}
