/* dag-json: what decodes has a canonical form, which decodes as canonical and to the same dag-cbor.
 */
#include "storage/dag/dag_json.h"
#include "storage/dag/ipld_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_slice text = fab_slice(data, size);
    struct fab_ipld tree;
    struct fab_ipld_node *root, *again;
    struct fab_buf json, cbor, cbor_again;
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    fab_buf_init(&json, size * 32 + 1024);
    fab_buf_init(&cbor, size * 32 + 1024);
    fab_buf_init(&cbor_again, size * 32 + 1024);
    if (fab_json_decode(&tree, text, FAB_JSON_ANY, &root) == FAB_OK) {
        check(fab_ipld_encode(&cbor, FAB_CODEC_DAG_CBOR, root) == FAB_OK);
        check(fab_json_encode(&json, root) == FAB_OK);
        check(fab_json_decode(&tree, fab_buf_slice(&json), FAB_JSON_CANONICAL, &again) == FAB_OK);
        check(fab_ipld_encode(&cbor_again, FAB_CODEC_DAG_CBOR, again) == FAB_OK);
        check(fab_slice_eq(fab_buf_slice(&cbor), fab_buf_slice(&cbor_again)));
        bool canonical = fab_json_decode(&tree, text, FAB_JSON_CANONICAL, &again) == FAB_OK;
        check(canonical == fab_slice_eq(text, fab_buf_slice(&json)));
    } else {
        check(fab_json_decode(&tree, text, FAB_JSON_CANONICAL, &again) != FAB_OK);
    }
    fab_buf_fini(&json);
    fab_buf_fini(&cbor);
    fab_buf_fini(&cbor_again);
    fab_ipld_fini(&tree);
    return 0;
}
