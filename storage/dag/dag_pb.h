/* dag-pb (ipld specs/codecs/dag-pb): the node of UnixFS, links and data in protobuf.
 *
 *   PBNode { repeated PBLink Links = 2; optional bytes Data = 1; }
 *   PBLink { bytes Hash = 1; optional string Name = 2; optional uint64 Tsize = 3; }
 *
 * Decoding is strict and copies nothing: fab_pb_decode checks the whole block once, then the
 * iterator hands out its links. Data may come before or after the links (encoders write it after);
 * anything else out of order, twice, unknown, not minimal or without Hash is FAB_EFORMAT. Names are
 * bytes, not checked as UTF-8, since Kubo does not either. */
#ifndef FAB_DAG_DAG_PB_H
#define FAB_DAG_DAG_PB_H

#include "storage/multiformats/cid.h"

struct fab_pb_node {
    struct fab_slice data; /* empty when has_data is false */
    bool has_data;
    bool data_first; /* Data stood before the links: valid, but not what the encoder writes */
    size_t links;
    struct fab_slice links_bytes; /* the run of Links fields, what the iterator reads */
};

struct fab_pb_link {
    struct fab_slice cid; /* binary; fab_pb_link_cid parses it */
    struct fab_slice name;
    uint64_t tsize; /* bytes of the whole DAG below the link, as its writer says */
    bool has_name, has_tsize;
};

struct fab_pb_links {
    struct fab_reader r;
};

/* Check the whole block. Slices in `out` borrow from `block`. Every Hash holds one valid CID. */
FAB_MUST enum fab_rc fab_pb_decode(struct fab_slice block, struct fab_pb_node *out);

/* Iterate over the links of a node that was decoded: false at the end. */
static inline struct fab_pb_links fab_pb_links(const struct fab_pb_node *node)
{
    return (struct fab_pb_links){fab_reader(node->links_bytes)};
}
bool fab_pb_links_next(struct fab_pb_links *it, struct fab_pb_link *out);

FAB_MUST enum fab_rc fab_pb_link_cid(const struct fab_pb_link *link, struct fab_cid *out);

/* Encoding appends fields: all links first, in the order that shall stand in the block, then Data
 * at most once. FAB_EINVAL for a link without CID; FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_pb_append_link(struct fab_buf *b, const struct fab_pb_link *link);
FAB_MUST enum fab_rc fab_pb_append_data(struct fab_buf *b, struct fab_slice data);

/* What those append, in bytes: directory builders compare it with their threshold. */
size_t fab_pb_link_size(const struct fab_pb_link *link);
size_t fab_pb_data_size(size_t data_bytes);

#endif
