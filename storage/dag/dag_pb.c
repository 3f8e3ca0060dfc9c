#include "storage/dag/dag_pb.h"

#include "storage/multiformats/varint.h"

/* Keys of protobuf fields: number << 3 | wire type. */
#define NODE_DATA  0x0a
#define NODE_LINK  0x12
#define LINK_HASH  0x0a
#define LINK_NAME  0x12
#define LINK_TSIZE 0x18

static enum fab_rc read_field_bytes(struct fab_reader *r, struct fab_slice *out)
{
    uint64_t n;
    FAB_TRY(fab_varint_read_pb(r, &n));
    if (n > fab_reader_left(r))
        return FAB_EFORMAT;
    return fab_read_bytes(r, (size_t)n, out);
}

static bool take_key(struct fab_reader *r, uint8_t key)
{
    if (r->p == r->end || *r->p != key)
        return false;
    r->p++;
    return true;
}

/* The body of a PBLink: Hash, Name, Tsize, each at most once and in this order. */
static enum fab_rc read_link(struct fab_slice body, struct fab_pb_link *out)
{
    struct fab_reader r = fab_reader(body);
    struct fab_pb_link link = {0};
    if (!take_key(&r, LINK_HASH))
        return FAB_EFORMAT;
    FAB_TRY(read_field_bytes(&r, &link.cid));
    if (take_key(&r, LINK_NAME)) {
        FAB_TRY(read_field_bytes(&r, &link.name));
        link.has_name = true;
    }
    if (take_key(&r, LINK_TSIZE)) {
        FAB_TRY(fab_varint_read_pb(&r, &link.tsize));
        link.has_tsize = true;
    }
    if (fab_reader_left(&r))
        return FAB_EFORMAT;
    *out = link;
    return FAB_OK;
}

enum fab_rc fab_pb_decode(struct fab_slice block, struct fab_pb_node *out)
{
    struct fab_reader r = fab_reader(block);
    struct fab_pb_node node = {0};
    if (take_key(&r, NODE_DATA)) {
        FAB_TRY(read_field_bytes(&r, &node.data));
        node.has_data = true;
    }
    const uint8_t *start = r.p;
    while (take_key(&r, NODE_LINK)) {
        struct fab_slice body;
        struct fab_pb_link link;
        struct fab_cid cid;
        FAB_TRY(read_field_bytes(&r, &body));
        FAB_TRY(read_link(body, &link));
        FAB_TRY(fab_cid_parse(link.cid, &cid));
        node.links++;
    }
    node.links_bytes = fab_slice(start, (size_t)(r.p - start));
    node.data_first = node.has_data && node.links;
    if (!node.has_data && take_key(&r, NODE_DATA)) {
        FAB_TRY(read_field_bytes(&r, &node.data));
        node.has_data = true;
    }
    if (fab_reader_left(&r))
        return FAB_EFORMAT;
    *out = node;
    return FAB_OK;
}

bool fab_pb_links_next(struct fab_pb_links *it, struct fab_pb_link *out)
{
    struct fab_slice body;
    return take_key(&it->r, NODE_LINK) && read_field_bytes(&it->r, &body) == FAB_OK &&
           read_link(body, out) == FAB_OK;
}

enum fab_rc fab_pb_link_cid(const struct fab_pb_link *link, struct fab_cid *out)
{
    return fab_cid_parse(link->cid, out);
}

static size_t field_size(size_t n)
{
    return 1 + fab_varint_size(n) + n;
}

static size_t link_body_size(const struct fab_pb_link *link)
{
    return field_size(link->cid.n) + (link->has_name ? field_size(link->name.n) : 0) +
           (link->has_tsize ? 1 + fab_varint_size(link->tsize) : 0);
}

size_t fab_pb_link_size(const struct fab_pb_link *link)
{
    return field_size(link_body_size(link));
}

size_t fab_pb_data_size(size_t data_bytes)
{
    return field_size(data_bytes);
}

static enum fab_rc append_field(struct fab_buf *b, uint8_t key, struct fab_slice s)
{
    FAB_TRY(fab_buf_byte(b, key));
    FAB_TRY(fab_varint_append_pb(b, s.n));
    return fab_buf_append(b, s.p, s.n);
}

enum fab_rc fab_pb_append_link(struct fab_buf *b, const struct fab_pb_link *link)
{
    if (link->cid.n == 0)
        return FAB_EINVAL;
    FAB_TRY(fab_buf_reserve(b, fab_pb_link_size(link)));
    FAB_TRY(fab_buf_byte(b, NODE_LINK));
    FAB_TRY(fab_varint_append_pb(b, link_body_size(link)));
    FAB_TRY(append_field(b, LINK_HASH, link->cid));
    if (link->has_name)
        FAB_TRY(append_field(b, LINK_NAME, link->name));
    if (link->has_tsize) {
        FAB_TRY(fab_buf_byte(b, LINK_TSIZE));
        FAB_TRY(fab_varint_append_pb(b, link->tsize));
    }
    return FAB_OK;
}

enum fab_rc fab_pb_append_data(struct fab_buf *b, struct fab_slice data)
{
    FAB_TRY(fab_buf_reserve(b, fab_pb_data_size(data.n)));
    return append_field(b, NODE_DATA, data);
}
