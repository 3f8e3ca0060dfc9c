/* The links of a block, whatever its codec: what collection, pins, export and transfer walk by. */
#ifndef FAB_DAG_LINKS_H
#define FAB_DAG_LINKS_H

#include "storage/dag/block_io.h"

/* Called once per link in block order; another code than FAB_OK stops and is given back. */
typedef enum fab_rc (*fab_link_fn)(void *arg, const struct fab_cid *link);

/* raw and libp2p-key have none; dag-pb, dag-cbor and dag-json are decoded strictly (FAB_EFORMAT;
 * FAB_ELIMIT for a CID or a nesting beyond our limits).
 * FAB_EUNSUPPORTED for any other codec. */
FAB_MUST enum fab_rc fab_dag_links(uint64_t codec, struct fab_slice data, fab_link_fn fn,
                                   void *arg);

#endif
