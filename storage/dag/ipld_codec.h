/* Blocks to data-model trees and back, for every codec that this program reads: raw, dag-pb,
 * dag-cbor, dag-json. A dag-pb node is the map {Data: bytes, Links: [{Hash: link, Name: text,
 * Tsize: int}]} (ipld specs/codecs/dag-pb, "logical format"). */
#ifndef FAB_DAG_IPLD_CODEC_H
#define FAB_DAG_IPLD_CODEC_H

#include "storage/dag/ipld.h"

/* The tree borrows from `block`. FAB_EFORMAT for a malformed block, FAB_EUNSUPPORTED for another
 * codec, FAB_ELIMIT for nesting or the tree's budget, FAB_ENOMEM. dag-json is read as FAB_JSON_ANY.
 */
FAB_MUST enum fab_rc fab_ipld_decode(struct fab_ipld *tree, uint64_t codec, struct fab_slice block,
                                     struct fab_ipld_node **out);

/* Append the block that the tree is in `codec`. May sort the maps of the tree. FAB_EINVAL when it
 * has no form there (dag-pb demands the map above, nothing else, and links sorted by name; raw
 * demands bytes), FAB_EUNSUPPORTED, FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_ipld_encode(struct fab_buf *b, uint64_t codec, struct fab_ipld_node *node);

#endif
