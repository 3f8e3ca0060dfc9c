/* dag-pb: a block that decodes is written again with the same bytes (Data after the links). */
#include "storage/dag/dag_pb.h"
#include "storage/dag/ipld_codec.h"
#include "storage/dag/links.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static enum fab_rc count(void *arg, const struct fab_cid *link)
{
    (void)link;
    ++*(size_t *)arg;
    return FAB_OK;
}

/* Through the tree, which refuses to write links that are not sorted. */
static void check_tree(struct fab_slice block, struct fab_slice written)
{
    struct fab_ipld tree;
    struct fab_ipld_node *root;
    struct fab_buf b;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    fab_buf_init(&b, written.n + 16);
    if (fab_ipld_decode(&tree, FAB_CODEC_DAG_PB, block, &root) == FAB_OK &&
        fab_ipld_encode(&b, FAB_CODEC_DAG_PB, root) == FAB_OK)
        check(fab_slice_eq(fab_buf_slice(&b), written));
    fab_buf_fini(&b);
    fab_ipld_fini(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_slice block = fab_slice(data, size);
    struct fab_pb_node node, again;
    struct fab_pb_link link;
    size_t links = 0, walked = 0;
    if (fab_pb_decode(block, &node) != FAB_OK) {
        check(fab_dag_links(FAB_CODEC_DAG_PB, block, count, &walked) != FAB_OK && walked == 0);
        return 0;
    }
    check(fab_dag_links(FAB_CODEC_DAG_PB, block, count, &walked) == FAB_OK);
    struct fab_buf b;
    fab_buf_init(&b, size + 16);
    struct fab_pb_links it = fab_pb_links(&node);
    for (; fab_pb_links_next(&it, &link); links++) {
        struct fab_cid cid;
        size_t before = b.len;
        check(fab_pb_link_cid(&link, &cid) == FAB_OK);
        check(fab_pb_append_link(&b, &link) == FAB_OK);
        check(b.len - before == fab_pb_link_size(&link));
    }
    if (node.has_data)
        check(fab_pb_append_data(&b, node.data) == FAB_OK);
    check(links == node.links && links == walked && b.len == size);
    check(fab_slice_eq(fab_buf_slice(&b), block) != node.data_first);
    check(fab_pb_decode(fab_buf_slice(&b), &again) == FAB_OK);
    check(again.links == links && fab_slice_eq(again.data, node.data));
    check_tree(block, fab_buf_slice(&b));
    fab_buf_fini(&b);
    return 0;
}
