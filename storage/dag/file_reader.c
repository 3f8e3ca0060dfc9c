/* One walk serves sizes, leaves and bytes: depth first through the inner nodes that overlap the
 * range, with a copy of each node on the way down, so that the source may be refreshed under it.
 * Every claim is checked when its node is entered: blocksizes against links, their sum against
 * filesize and against what the parent said. A child of size 0 is passed over, so that each node
 * entered brings at least one byte. */
#include "storage/dag/file_reader.h"

#include "storage/dag/dag_pb.h"
#include "storage/dag/unixfs.h"

#include <stdlib.h>

struct node {
    struct fab_pb_node pb;
    struct fab_unixfs fs;
    uint64_t size; /* own bytes and those of the children */
};

struct frame {
    struct fab_buf block;
    struct fab_pb_links links;
    struct fab_unixfs_sizes sizes;
    uint64_t next; /* file offset where the next child begins */
};

struct walk {
    const struct fab_block_source *source;
    uint64_t begin, end; /* the range, exclusive end */
    unsigned depth;
    struct frame *frames; /* [FAB_DEPTH_MAX], made when the root has links */
    /* `data` is NULL for a raw leaf that was not fetched. */
    enum fab_rc (*emit)(struct walk *w, uint64_t offset, const struct fab_cid *leaf,
                        uint64_t payload, const struct fab_slice *data);
    fab_file_leaf_fn leaf_fn;
    fab_file_data_fn data_fn;
    void *arg;
};

static enum fab_rc node_decode(struct fab_slice block, struct node *out)
{
    FAB_TRY(fab_pb_decode(block, &out->pb));
    if (!out->pb.has_data)
        return FAB_EINVAL;
    FAB_TRY(fab_unixfs_decode(out->pb.data, &out->fs));
    if (out->fs.type != FAB_UNIXFS_FILE && out->fs.type != FAB_UNIXFS_RAW)
        return FAB_EINVAL;
    if (out->fs.sizes_count != out->pb.links || out->fs.data.n > UINT64_MAX - out->fs.sizes_sum)
        return FAB_EFORMAT;
    out->size = out->fs.sizes_sum + out->fs.data.n;
    if (out->fs.has_filesize && out->fs.filesize != out->size)
        return FAB_EFORMAT;
    return FAB_OK;
}

static bool overlaps(const struct walk *w, uint64_t offset, uint64_t size)
{
    return size > 0 && w->begin < w->end && offset < w->end && offset + size > w->begin;
}

static enum fab_rc frame_push(struct walk *w, struct fab_slice block, uint64_t offset,
                              struct node *node)
{
    if (w->depth == FAB_DEPTH_MAX)
        return FAB_ELIMIT;
    if (!w->frames) {
        w->frames = calloc(FAB_DEPTH_MAX, sizeof *w->frames);
        if (!w->frames)
            return FAB_ENOMEM;
        for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
            fab_buf_init(&w->frames[i].block, 2 * FAB_BLOCK_MAX);
    }
    struct frame *f = &w->frames[w->depth];
    fab_buf_reset(&f->block);
    FAB_TRY(fab_buf_append(&f->block, block.p, block.n));
    FAB_TRY(node_decode(fab_buf_slice(&f->block), node));
    f->links = fab_pb_links(&node->pb);
    fab_unixfs_sizes_init(&f->sizes, &node->fs);
    f->next = offset + node->fs.data.n;
    w->depth++;
    return FAB_OK;
}

/* Enter a dag-pb node whose block was fetched. */
static enum fab_rc node_enter(struct walk *w, const struct fab_cid *cid, uint64_t offset,
                              struct fab_slice block, struct node *node)
{
    if (node->pb.links > 0)
        FAB_TRY(frame_push(w, block, offset, node));
    if (overlaps(w, offset, node->fs.data.n))
        return w->emit(w, offset, cid, node->fs.data.n, &node->fs.data);
    return FAB_OK;
}

static enum fab_rc child_visit(struct walk *w, const struct fab_cid *cid, uint64_t offset,
                               uint64_t size)
{
    struct fab_slice block;
    struct node node;
    if (cid->codec == FAB_CODEC_RAW)
        return w->emit(w, offset, cid, size, NULL);
    if (cid->codec != FAB_CODEC_DAG_PB)
        return FAB_EFORMAT;
    FAB_TRY(fab_block_get(w->source, cid, &block));
    enum fab_rc rc = node_decode(block, &node);
    if (rc == FAB_EINVAL || (rc == FAB_OK && node.size != size))
        return FAB_EFORMAT;
    FAB_TRY(rc);
    return node_enter(w, cid, offset, block, &node);
}

static enum fab_rc walk_frames(struct walk *w)
{
    while (w->depth > 0) {
        struct frame *f = &w->frames[w->depth - 1];
        struct fab_pb_link link;
        struct fab_cid cid;
        uint64_t size, offset = f->next;
        if (offset >= w->end || !fab_pb_links_next(&f->links, &link) ||
            !fab_unixfs_sizes_next(&f->sizes, &size)) {
            w->depth--;
            continue;
        }
        f->next = offset + size;
        if (!overlaps(w, offset, size))
            continue;
        FAB_TRY(fab_pb_link_cid(&link, &cid));
        FAB_TRY(child_visit(w, &cid, offset, size));
    }
    return FAB_OK;
}

static enum fab_rc walk_root(struct walk *w, const struct fab_cid *root)
{
    struct fab_slice block;
    struct node node;
    if (root->codec != FAB_CODEC_RAW && root->codec != FAB_CODEC_DAG_PB)
        return FAB_EINVAL;
    FAB_TRY(fab_block_get(w->source, root, &block));
    if (root->codec == FAB_CODEC_RAW)
        return overlaps(w, 0, block.n) ? w->emit(w, 0, root, block.n, &block) : FAB_OK;
    FAB_TRY(node_decode(block, &node));
    FAB_TRY(node_enter(w, root, 0, block, &node));
    return walk_frames(w);
}

static enum fab_rc walk_run(struct walk *w, const struct fab_cid *root, uint64_t offset,
                            uint64_t length)
{
    w->begin = offset;
    w->end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
    enum fab_rc rc = walk_root(w, root);
    if (w->frames) {
        for (unsigned i = 0; i < FAB_DEPTH_MAX; i++)
            fab_buf_fini(&w->frames[i].block);
        free(w->frames);
    }
    return rc;
}

enum fab_rc fab_file_size(const struct fab_block_source *source, const struct fab_cid *root,
                          uint64_t *out)
{
    struct fab_slice block;
    struct node node;
    if (root->codec != FAB_CODEC_RAW && root->codec != FAB_CODEC_DAG_PB)
        return FAB_EINVAL;
    FAB_TRY(fab_block_get(source, root, &block));
    if (root->codec == FAB_CODEC_RAW) {
        *out = block.n;
        return FAB_OK;
    }
    FAB_TRY(node_decode(block, &node));
    *out = node.size;
    return FAB_OK;
}

static enum fab_rc emit_leaf(struct walk *w, uint64_t offset, const struct fab_cid *leaf,
                             uint64_t payload, const struct fab_slice *data)
{
    (void)data;
    return w->leaf_fn(w->arg, offset, leaf, payload);
}

enum fab_rc fab_file_leaves(const struct fab_block_source *source, const struct fab_cid *root,
                            uint64_t offset, uint64_t length, fab_file_leaf_fn fn, void *arg)
{
    struct walk w = {.source = source, .emit = emit_leaf, .leaf_fn = fn, .arg = arg};
    return walk_run(&w, root, offset, length);
}

enum fab_rc fab_file_payload(const struct fab_cid *leaf, struct fab_slice block, uint64_t expected,
                             struct fab_slice *out)
{
    struct fab_slice payload = block;
    if (leaf->codec == FAB_CODEC_DAG_PB) {
        struct node node;
        enum fab_rc rc = node_decode(block, &node);
        if (rc != FAB_OK)
            return rc == FAB_EINVAL ? FAB_EFORMAT : rc;
        payload = node.fs.data;
    } else if (leaf->codec != FAB_CODEC_RAW) {
        return FAB_EFORMAT;
    }
    if (payload.n != expected)
        return FAB_EFORMAT;
    *out = payload;
    return FAB_OK;
}

static enum fab_rc emit_data(struct walk *w, uint64_t offset, const struct fab_cid *leaf,
                             uint64_t payload, const struct fab_slice *data)
{
    struct fab_slice s;
    if (data) {
        s = *data;
    } else {
        FAB_TRY(fab_block_get(w->source, leaf, &s));
        if (s.n != payload)
            return FAB_EFORMAT;
    }
    if (offset < w->begin) {
        size_t skip = (size_t)(w->begin - offset);
        s = fab_slice(s.p + skip, s.n - skip);
        offset = w->begin;
    }
    if (s.n > w->end - offset)
        s.n = (size_t)(w->end - offset);
    return w->data_fn(w->arg, offset, s);
}

enum fab_rc fab_file_read(const struct fab_block_source *source, const struct fab_cid *root,
                          uint64_t offset, uint64_t length, fab_file_data_fn fn, void *arg)
{
    struct walk w = {.source = source, .emit = emit_data, .data_fn = fn, .arg = arg};
    return walk_run(&w, root, offset, length);
}
