#include "storage/dag/links.h"

#include "storage/dag/dag_cbor.h"
#include "storage/dag/dag_json.h"
#include "storage/dag/dag_pb.h"

static enum fab_rc pb_links(struct fab_slice data, fab_link_fn fn, void *arg)
{
    struct fab_pb_node node;
    struct fab_pb_link link;
    struct fab_cid cid;
    FAB_TRY(fab_pb_decode(data, &node));
    struct fab_pb_links it = fab_pb_links(&node);
    while (fab_pb_links_next(&it, &link)) {
        FAB_TRY(fab_pb_link_cid(&link, &cid));
        FAB_TRY(fn(arg, &cid));
    }
    return FAB_OK;
}

static enum fab_rc cbor_links(struct fab_slice data, fab_link_fn fn, void *arg)
{
    struct fab_reader r = fab_reader(data);
    FAB_TRY(fab_cbor_walk(&r, fn, arg));
    return fab_cbor_read_end(&r);
}

static enum fab_rc tree_links(const struct fab_ipld_node *node, fab_link_fn fn, void *arg)
{
    struct fab_cid cid;
    if (node->kind == FAB_IPLD_LINK) {
        FAB_TRY(fab_cid_parse(node->s, &cid));
        return fn(arg, &cid);
    }
    if (node->kind != FAB_IPLD_LIST && node->kind != FAB_IPLD_MAP)
        return FAB_OK;
    for (const struct fab_ipld_node *e = node->first; e; e = e->next)
        FAB_TRY(tree_links(e, fn, arg));
    return FAB_OK;
}

/* dag-json is rare and small, so it may cost a tree. What is valid but not canonical is walked too:
 * its links are as real, and a block is what its CID says. */
static enum fab_rc json_links(struct fab_slice data, fab_link_fn fn, void *arg)
{
    struct fab_ipld tree;
    struct fab_ipld_node *root;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    enum fab_rc rc = fab_json_decode(&tree, data, FAB_JSON_ANY, &root);
    if (rc == FAB_OK)
        rc = tree_links(root, fn, arg);
    fab_ipld_fini(&tree);
    return rc;
}

enum fab_rc fab_dag_links(uint64_t codec, struct fab_slice data, fab_link_fn fn, void *arg)
{
    switch (codec) {
    case FAB_CODEC_RAW:
    case FAB_CODEC_LIBP2P_KEY:
        return FAB_OK;
    case FAB_CODEC_DAG_PB:
        return pb_links(data, fn, arg);
    case FAB_CODEC_DAG_CBOR:
        return cbor_links(data, fn, arg);
    case FAB_CODEC_DAG_JSON:
        return json_links(data, fn, arg);
    default:
        return FAB_EUNSUPPORTED;
    }
}
