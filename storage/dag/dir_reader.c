/* Basic directories are one block. A HAMT is walked with a stack of copied shards; a shard is
 * believed only if its links are exactly the set bits of its bitfield, in order, and every name in
 * it hashes to where it stands. So a shard cannot serve in two places, and a walk costs no more
 * than the blocks that somebody made. */
#include "storage/dag/dir_reader.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/hamt.h"
#include "storage/dag/murmur3.h"

#include <stdlib.h>

#define LEVELS_MAX 22

struct shard {
    struct fab_buf block;
    struct fab_pb_links links;
    uint64_t path; /* the hash bits of the levels above, as a number */
};

struct walk {
    const struct fab_block_source *source;
    fab_dir_fn fn;
    void *arg;
    struct fab_hamt_shape shape;
    unsigned level; /* of the shard on top */
    struct shard shards[LEVELS_MAX];
};

static enum fab_rc decode(struct fab_slice block, struct fab_pb_node *pb, struct fab_unixfs *fs)
{
    FAB_TRY(fab_pb_decode(block, pb));
    if (!pb->has_data)
        return FAB_EINVAL;
    FAB_TRY(fab_unixfs_decode(pb->data, fs));
    if (fs->type != FAB_UNIXFS_DIRECTORY && fs->type != FAB_UNIXFS_HAMT)
        return FAB_EINVAL;
    return FAB_OK;
}

static enum fab_rc dir_get(const struct fab_block_source *source, const struct fab_cid *cid,
                           struct fab_slice *block, struct fab_pb_node *pb, struct fab_unixfs *fs)
{
    if (cid->codec != FAB_CODEC_DAG_PB)
        return FAB_EINVAL;
    FAB_TRY(fab_block_get(source, cid, block));
    return decode(*block, pb, fs);
}

/* The links of a shard against its bitfield; `shape` was made from the root's fanout. */
static enum fab_rc shard_check(const struct fab_hamt_shape *shape, const struct fab_pb_node *pb,
                               const struct fab_unixfs *fs)
{
    if (fs->type != FAB_UNIXFS_HAMT || fs->hash_type != FAB_UNIXFS_HASH_MURMUR3 ||
        fs->fanout != shape->fanout || fs->data.n > shape->fanout / 8)
        return FAB_EFORMAT;
    struct fab_pb_links it = fab_pb_links(pb);
    for (unsigned i = 0; i < shape->fanout; i++) {
        struct fab_pb_link link;
        unsigned bucket;
        if (!fab_hamt_bit(fs->data, i))
            continue;
        if (!fab_pb_links_next(&it, &link))
            return FAB_EFORMAT;
        FAB_TRY(fab_hamt_prefix_read(shape, link.name, &bucket));
        if (bucket != i)
            return FAB_EFORMAT;
    }
    struct fab_pb_link extra;
    return fab_pb_links_next(&it, &extra) ? FAB_EFORMAT : FAB_OK;
}

static struct fab_slice name_behind(const struct fab_hamt_shape *shape, struct fab_slice name)
{
    return fab_slice(name.p + shape->prefix, name.n - shape->prefix);
}

/* Copy a shard to the level `level` of the stack. */
static enum fab_rc shard_push(struct walk *w, unsigned level, struct fab_slice block, uint64_t path)
{
    struct shard *s = &w->shards[level];
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    fab_buf_reset(&s->block);
    FAB_TRY(fab_buf_append(&s->block, block.p, block.n));
    FAB_TRY(decode(fab_buf_slice(&s->block), &pb, &fs));
    FAB_TRY(shard_check(&w->shape, &pb, &fs));
    /* Only the root may be empty: empty shards would cost time and bring nothing. */
    if (level > 0 && pb.links == 0)
        return FAB_EFORMAT;
    s->links = fab_pb_links(&pb);
    s->path = path;
    w->level = level;
    return FAB_OK;
}

static enum fab_rc child_push(struct walk *w, const struct fab_cid *cid, uint64_t path)
{
    struct fab_slice block;
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    if (w->level + 1 >= w->shape.levels)
        return FAB_EFORMAT;
    enum fab_rc rc = dir_get(w->source, cid, &block, &pb, &fs);
    if (rc != FAB_OK)
        return rc == FAB_EINVAL ? FAB_EFORMAT : rc;
    return shard_push(w, w->level + 1, block, path);
}

static enum fab_rc hamt_link(struct walk *w, const struct fab_pb_link *link)
{
    struct fab_cid cid;
    unsigned bucket;
    FAB_TRY(fab_hamt_prefix_read(&w->shape, link->name, &bucket));
    FAB_TRY(fab_pb_link_cid(link, &cid));
    uint64_t path = w->shards[w->level].path << w->shape.bits | bucket;
    struct fab_slice name = name_behind(&w->shape, link->name);
    if (name.n == 0)
        return child_push(w, &cid, path);
    if (fab_murmur3_64(name) >> (64 - w->shape.bits * (w->level + 1)) != path)
        return FAB_EFORMAT;
    return w->fn(w->arg, name, &cid, link->tsize);
}

static enum fab_rc hamt_walk(struct walk *w, struct fab_slice block, uint64_t fanout)
{
    FAB_TRY(fab_hamt_shape(fanout, &w->shape));
    FAB_TRY(shard_push(w, 0, block, 0));
    for (;;) {
        struct fab_pb_link link;
        if (fab_pb_links_next(&w->shards[w->level].links, &link))
            FAB_TRY(hamt_link(w, &link));
        else if (w->level == 0)
            return FAB_OK;
        else
            w->level--;
    }
}

static enum fab_rc basic_walk(struct walk *w, struct fab_slice block)
{
    struct fab_buf *copy = &w->shards[0].block;
    struct fab_pb_node pb;
    struct fab_pb_link link;
    FAB_TRY(fab_buf_append(copy, block.p, block.n));
    FAB_TRY(fab_pb_decode(fab_buf_slice(copy), &pb));
    struct fab_pb_links it = fab_pb_links(&pb);
    while (fab_pb_links_next(&it, &link)) {
        struct fab_cid cid;
        FAB_TRY(fab_pb_link_cid(&link, &cid));
        FAB_TRY(w->fn(w->arg, link.name, &cid, link.tsize));
    }
    return FAB_OK;
}

enum fab_rc fab_dir_each(const struct fab_block_source *source, const struct fab_cid *dir,
                         fab_dir_fn fn, void *arg)
{
    struct fab_slice block;
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    FAB_TRY(dir_get(source, dir, &block, &pb, &fs));
    struct walk w = {.source = source, .fn = fn, .arg = arg};
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        fab_buf_init(&w.shards[i].block, 2 * FAB_BLOCK_MAX);
    enum fab_rc rc =
        fs.type == FAB_UNIXFS_HAMT ? hamt_walk(&w, block, fs.fanout) : basic_walk(&w, block);
    for (unsigned i = 0; i < LEVELS_MAX; i++)
        fab_buf_fini(&w.shards[i].block);
    return rc;
}

/* ---- one name ---- */

static enum fab_rc found(const struct fab_pb_link *link, struct fab_cid *out, uint64_t *tsize)
{
    FAB_TRY(fab_pb_link_cid(link, out));
    if (tsize)
        *tsize = link->tsize;
    return FAB_OK;
}

static enum fab_rc basic_find(const struct fab_pb_node *pb, struct fab_slice name,
                              struct fab_cid *out, uint64_t *tsize)
{
    struct fab_pb_links it = fab_pb_links(pb);
    struct fab_pb_link link;
    while (fab_pb_links_next(&it, &link))
        if (fab_slice_eq(link.name, name))
            return found(&link, out, tsize);
    return FAB_ENOENT;
}

static bool bucket_link(const struct fab_hamt_shape *shape, const struct fab_pb_node *pb,
                        unsigned bucket, struct fab_pb_link *out)
{
    struct fab_pb_links it = fab_pb_links(pb);
    unsigned b;
    while (fab_pb_links_next(&it, out))
        if (fab_hamt_prefix_read(shape, out->name, &b) == FAB_OK && b == bucket)
            return true;
    return false;
}

static enum fab_rc hamt_find(const struct fab_block_source *source, struct fab_pb_node *pb,
                             struct fab_unixfs *fs, struct fab_slice name, bool *missing,
                             struct fab_cid *out, uint64_t *tsize)
{
    struct fab_hamt_shape shape;
    uint64_t hash = fab_murmur3_64(name);
    FAB_TRY(fab_hamt_shape(fs->fanout, &shape));
    for (unsigned level = 0; level < shape.levels; level++) {
        struct fab_pb_link link;
        struct fab_slice block;
        struct fab_cid cid;
        FAB_TRY(shard_check(&shape, pb, fs));
        if (!bucket_link(&shape, pb, fab_hamt_bucket(&shape, hash, level), &link))
            return FAB_ENOENT;
        struct fab_slice rest = name_behind(&shape, link.name);
        if (rest.n > 0)
            return fab_slice_eq(rest, name) ? found(&link, out, tsize) : FAB_ENOENT;
        FAB_TRY(fab_pb_link_cid(&link, &cid));
        enum fab_rc rc = dir_get(source, &cid, &block, pb, fs);
        *missing = rc == FAB_ENOENT;
        if (rc != FAB_OK)
            return rc == FAB_EINVAL ? FAB_EFORMAT : rc;
    }
    return FAB_EFORMAT;
}

enum fab_rc fab_dir_find(const struct fab_block_source *source, const struct fab_cid *dir,
                         struct fab_slice name, bool *missing, struct fab_cid *out, uint64_t *tsize)
{
    struct fab_slice block;
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    bool block_missing = false;
    enum fab_rc rc = dir_get(source, dir, &block, &pb, &fs);
    if (rc == FAB_ENOENT)
        block_missing = true;
    else if (rc == FAB_OK && fs.type == FAB_UNIXFS_HAMT)
        rc = hamt_find(source, &pb, &fs, name, &block_missing, out, tsize);
    else if (rc == FAB_OK)
        rc = basic_find(&pb, name, out, tsize);
    if (rc == FAB_ENOENT && missing)
        *missing = block_missing;
    return rc;
}
