/* dag-json (ipld specs/codecs/dag-json): the data model as JSON.
 *
 * Links are {"/": "CID"}, bytes are {"/": {"bytes": "base64 without padding"}}; no other map has
 * the key "/". A number with a fraction or an exponent is a float, any other an integer from -2^64
 * to 2^64 - 1. The canonical form has no white space, keys sorted bytewise, CIDs in base32 (version
 * 0: base58btc), escapes only where JSON needs them, and the shortest digits that read back as the
 * same float (with ".0" when it would look like an integer). The C library converts numbers, so
 * LC_NUMERIC has to stay "C", as a program finds it. */
#ifndef FAB_DAG_DAG_JSON_H
#define FAB_DAG_DAG_JSON_H

#include "storage/dag/ipld.h"

enum fab_json_mode {
    FAB_JSON_ANY,       /* any white space, key order, escapes and number forms that JSON allows */
    FAB_JSON_CANONICAL, /* the bytes are exactly what fab_json_encode writes */
};

/* Decode one JSON text. Duplicate keys, malformed UTF-8, lone surrogates, wrong uses of "/" and
 * trailing bytes are FAB_EFORMAT in both modes; FAB_ELIMIT for nesting beyond FAB_IPLD_DEPTH_MAX, a
 * number out of range, or the tree's budget. The tree borrows from `text`. */
FAB_MUST enum fab_rc fab_json_decode(struct fab_ipld *tree, struct fab_slice text,
                                     enum fab_json_mode mode, struct fab_ipld_node **out);

/* Append the canonical form. Sorts the maps of the tree. FAB_EINVAL for a tree that has no dag-json
 * form: the key "/", a key twice, text that is not UTF-8, a float that is not finite, a bad link.
 */
FAB_MUST enum fab_rc fab_json_encode(struct fab_buf *b, struct fab_ipld_node *node);

#endif
