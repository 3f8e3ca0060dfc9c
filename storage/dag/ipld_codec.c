#include "storage/dag/ipld_codec.h"

#include "storage/dag/dag_cbor.h"
#include "storage/dag/dag_json.h"
#include "storage/dag/dag_pb.h"

#include <string.h>

static struct fab_slice str(const char *text)
{
    return fab_slice(text, strlen(text));
}

/* ---- dag-cbor ---- */

static enum fab_rc cbor_decode(struct fab_ipld *tree, struct fab_reader *r, unsigned depth,
                               struct fab_ipld_node **out)
{
    static const enum fab_ipld_kind kinds[] = {
        [FAB_CBOR_UINT] = FAB_IPLD_INT,    [FAB_CBOR_NEGINT] = FAB_IPLD_INT,
        [FAB_CBOR_BYTES] = FAB_IPLD_BYTES, [FAB_CBOR_TEXT] = FAB_IPLD_TEXT,
        [FAB_CBOR_ARRAY] = FAB_IPLD_LIST,  [FAB_CBOR_MAP] = FAB_IPLD_MAP,
        [FAB_CBOR_LINK] = FAB_IPLD_LINK,   [FAB_CBOR_FLOAT] = FAB_IPLD_FLOAT,
        [FAB_CBOR_BOOL] = FAB_IPLD_BOOL,   [FAB_CBOR_NULL] = FAB_IPLD_NULL,
    };
    struct fab_cbor_item item;
    struct fab_ipld_node *node;
    FAB_TRY(fab_cbor_read(r, &item));
    FAB_TRY(fab_ipld_new(tree, kinds[item.kind], &node));
    *out = node;
    switch (node->kind) {
    case FAB_IPLD_INT:
        node->u = item.u;
        node->flag = item.kind == FAB_CBOR_NEGINT;
        return FAB_OK;
    case FAB_IPLD_FLOAT:
        node->f = item.f;
        return FAB_OK;
    case FAB_IPLD_BOOL:
        node->flag = item.b;
        return FAB_OK;
    case FAB_IPLD_TEXT:
    case FAB_IPLD_BYTES:
    case FAB_IPLD_LINK:
        node->s = item.s;
        return FAB_OK;
    case FAB_IPLD_NULL:
        return FAB_OK;
    case FAB_IPLD_LIST:
    case FAB_IPLD_MAP:
        break;
    }
    if (depth == FAB_IPLD_DEPTH_MAX)
        return FAB_ELIMIT;
    struct fab_cbor_map map = {.left = (size_t)item.u};
    for (uint64_t i = 0; i < item.u; i++) {
        struct fab_slice key;
        struct fab_ipld_node *value;
        if (node->kind == FAB_IPLD_MAP)
            FAB_TRY(fab_cbor_read_key(r, &map, &key));
        FAB_TRY(cbor_decode(tree, r, depth + 1, &value));
        FAB_TRY(node->kind == FAB_IPLD_MAP ? fab_ipld_put(node, key, value)
                                           : fab_ipld_add(node, value));
    }
    return FAB_OK;
}

static enum fab_rc cbor_encode(struct fab_buf *b, struct fab_ipld_node *node, unsigned depth)
{
    struct fab_cid cid;
    switch (node->kind) {
    case FAB_IPLD_NULL:
        return fab_cbor_put_null(b);
    case FAB_IPLD_BOOL:
        return fab_cbor_put_bool(b, node->flag);
    case FAB_IPLD_INT:
        return node->flag ? fab_cbor_put_negint(b, node->u) : fab_cbor_put_uint(b, node->u);
    case FAB_IPLD_FLOAT:
        return fab_cbor_put_float(b, node->f);
    case FAB_IPLD_TEXT:
        return fab_cbor_put_text(b, node->s);
    case FAB_IPLD_BYTES:
        return fab_cbor_put_bytes(b, node->s);
    case FAB_IPLD_LINK:
        if (fab_cid_parse(node->s, &cid) != FAB_OK)
            return FAB_EINVAL;
        return fab_cbor_put_cid(b, &cid);
    case FAB_IPLD_LIST:
        FAB_TRY(fab_cbor_put_array(b, node->count));
        break;
    case FAB_IPLD_MAP:
        if (fab_ipld_sort(node, fab_cbor_key_cmp) != FAB_OK)
            return FAB_EINVAL;
        FAB_TRY(fab_cbor_put_map(b, node->count));
        break;
    }
    if (depth == FAB_IPLD_DEPTH_MAX)
        return FAB_ELIMIT;
    for (struct fab_ipld_node *e = node->first; e; e = e->next) {
        if (node->kind == FAB_IPLD_MAP)
            FAB_TRY(fab_cbor_put_text(b, e->key));
        FAB_TRY(cbor_encode(b, e, depth + 1));
    }
    return FAB_OK;
}

/* ---- dag-pb ---- */

static enum fab_rc pb_decode_link(struct fab_ipld *tree, const struct fab_pb_link *link,
                                  struct fab_ipld_node *links)
{
    struct fab_ipld_node *map, *value;
    FAB_TRY(fab_ipld_new(tree, FAB_IPLD_MAP, &map));
    FAB_TRY(fab_ipld_new(tree, FAB_IPLD_LINK, &value));
    value->s = link->cid;
    FAB_TRY(fab_ipld_put(map, str("Hash"), value));
    if (link->has_name) {
        FAB_TRY(fab_ipld_text(tree, link->name, &value));
        FAB_TRY(fab_ipld_put(map, str("Name"), value));
    }
    if (link->has_tsize) {
        FAB_TRY(fab_ipld_new(tree, FAB_IPLD_INT, &value));
        value->u = link->tsize;
        FAB_TRY(fab_ipld_put(map, str("Tsize"), value));
    }
    return fab_ipld_add(links, map);
}

static enum fab_rc pb_decode(struct fab_ipld *tree, struct fab_slice block,
                             struct fab_ipld_node **out)
{
    struct fab_pb_node node;
    struct fab_pb_link link;
    struct fab_ipld_node *map, *data, *links;
    FAB_TRY(fab_pb_decode(block, &node));
    FAB_TRY(fab_ipld_new(tree, FAB_IPLD_MAP, &map));
    if (node.has_data) {
        FAB_TRY(fab_ipld_bytes(tree, node.data, &data));
        FAB_TRY(fab_ipld_put(map, str("Data"), data));
    }
    FAB_TRY(fab_ipld_new(tree, FAB_IPLD_LIST, &links));
    FAB_TRY(fab_ipld_put(map, str("Links"), links));
    struct fab_pb_links it = fab_pb_links(&node);
    while (fab_pb_links_next(&it, &link))
        FAB_TRY(pb_decode_link(tree, &link, links));
    *out = map;
    return FAB_OK;
}

static enum fab_rc pb_encode_link(struct fab_buf *b, const struct fab_ipld_node *map)
{
    const struct fab_ipld_node *hash = fab_ipld_get(map, "Hash");
    const struct fab_ipld_node *name = fab_ipld_get(map, "Name");
    const struct fab_ipld_node *tsize = fab_ipld_get(map, "Tsize");
    struct fab_pb_link link = {.has_name = name, .has_tsize = tsize};
    if (!hash || hash->kind != FAB_IPLD_LINK || (name && name->kind != FAB_IPLD_TEXT) ||
        (tsize && (tsize->kind != FAB_IPLD_INT || tsize->flag)))
        return FAB_EINVAL;
    if (map->count != 1u + (name != NULL) + (tsize != NULL))
        return FAB_EINVAL;
    link.cid = hash->s;
    if (name)
        link.name = name->s;
    if (tsize)
        link.tsize = tsize->u;
    return fab_pb_append_link(b, &link);
}

static enum fab_rc pb_encode(struct fab_buf *b, const struct fab_ipld_node *map)
{
    const struct fab_ipld_node *data = fab_ipld_get(map, "Data");
    const struct fab_ipld_node *links = fab_ipld_get(map, "Links");
    if (!links || links->kind != FAB_IPLD_LIST || (data && data->kind != FAB_IPLD_BYTES) ||
        map->count != 1u + (data != NULL))
        return FAB_EINVAL;
    struct fab_slice last = {NULL, 0};
    for (const struct fab_ipld_node *e = links->first; e; e = e->next) {
        const struct fab_ipld_node *name = fab_ipld_get(e, "Name");
        FAB_TRY(pb_encode_link(b, e));
        struct fab_slice next = name ? name->s : fab_slice(NULL, 0);
        if (fab_slice_cmp(last, next) > 0)
            return FAB_EINVAL;
        last = next;
    }
    return data ? fab_pb_append_data(b, data->s) : FAB_OK;
}

/* ---- every codec ---- */

enum fab_rc fab_ipld_decode(struct fab_ipld *tree, uint64_t codec, struct fab_slice block,
                            struct fab_ipld_node **out)
{
    struct fab_reader r = fab_reader(block);
    struct fab_ipld_node *node;
    switch (codec) {
    case FAB_CODEC_RAW:
        return fab_ipld_bytes(tree, block, out);
    case FAB_CODEC_DAG_PB:
        return pb_decode(tree, block, out);
    case FAB_CODEC_DAG_CBOR:
        FAB_TRY(cbor_decode(tree, &r, 0, &node));
        FAB_TRY(fab_cbor_read_end(&r));
        *out = node;
        return FAB_OK;
    case FAB_CODEC_DAG_JSON:
        return fab_json_decode(tree, block, FAB_JSON_ANY, out);
    default:
        return FAB_EUNSUPPORTED;
    }
}

enum fab_rc fab_ipld_encode(struct fab_buf *b, uint64_t codec, struct fab_ipld_node *node)
{
    switch (codec) {
    case FAB_CODEC_RAW:
        return node->kind == FAB_IPLD_BYTES ? fab_buf_append(b, node->s.p, node->s.n) : FAB_EINVAL;
    case FAB_CODEC_DAG_PB:
        return pb_encode(b, node);
    case FAB_CODEC_DAG_CBOR:
        return cbor_encode(b, node, 0);
    case FAB_CODEC_DAG_JSON:
        return fab_json_encode(b, node);
    default:
        return FAB_EUNSUPPORTED;
    }
}
