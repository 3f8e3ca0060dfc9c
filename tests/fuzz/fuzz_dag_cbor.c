/* dag-cbor: the walker and the tree agree; a block that decodes is written again with the same
 * bytes, also after it was dag-json. */
#include "storage/dag/dag_cbor.h"
#include "storage/dag/dag_json.h"
#include "storage/dag/ipld_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_written(struct fab_ipld_node *root, struct fab_slice block)
{
    struct fab_buf b;
    fab_buf_init(&b, block.n + 16);
    check(fab_ipld_encode(&b, FAB_CODEC_DAG_CBOR, root) == FAB_OK);
    check(fab_slice_eq(fab_buf_slice(&b), block));
    fab_buf_fini(&b);
}

static void check_as_json(struct fab_ipld *tree, struct fab_ipld_node *root, struct fab_slice block)
{
    struct fab_ipld_node *again;
    struct fab_buf json;
    fab_buf_init(&json, block.n * 64 + 1024);
    /* A map with the key "/" has no dag-json form. */
    if (fab_json_encode(&json, root) == FAB_OK) {
        enum fab_rc rc = fab_json_decode(tree, fab_buf_slice(&json), FAB_JSON_CANONICAL, &again);
        /* Links and bytes are maps there, and so nest deeper. */
        check(rc == FAB_OK || rc == FAB_ELIMIT);
        if (rc == FAB_OK)
            check_written(again, block);
    }
    fab_buf_fini(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_slice block = fab_slice(data, size);
    struct fab_ipld tree;
    struct fab_ipld_node *root;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    enum fab_rc rc = fab_ipld_decode(&tree, FAB_CODEC_DAG_CBOR, block, &root);
    check(rc == fab_cbor_validate(block));
    if (rc == FAB_OK) {
        check_written(root, block);
        check_as_json(&tree, root, block);
    }
    fab_ipld_fini(&tree);
    return 0;
}
