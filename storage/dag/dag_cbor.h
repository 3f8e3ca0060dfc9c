/* dag-cbor (ipld specs/codecs/dag-cbor): the canonical subset of CBOR (RFC 8949) with links.
 *
 * One value has one encoding: shortest heads, definite lengths, map keys that are text in order of
 * length and then bytes, without duplicates, 64-bit floats that are finite, tag 42 for links and no
 * other, no simple values but false, true and null. Everything else is FAB_EFORMAT; nesting beyond
 * FAB_CBOR_DEPTH_MAX is FAB_ELIMIT. Text is UTF-8.
 *
 * The decoder pulls items from a reader and copies nothing:
 *
 *     size_t n;
 *     struct fab_cbor_map map;
 *     FAB_TRY(fab_cbor_read_map(&r, &map));
 *     while (map.left) {
 *         struct fab_slice key;
 *         FAB_TRY(fab_cbor_read_key(&r, &map, &key));
 *         ... read or skip one value ...
 *     }
 *     FAB_TRY(fab_cbor_read_end(&r));
 */
#ifndef FAB_DAG_DAG_CBOR_H
#define FAB_DAG_DAG_CBOR_H

#include "storage/dag/links.h"

#define FAB_CBOR_DEPTH_MAX 128

enum fab_cbor_kind {
    FAB_CBOR_UINT,   /* u */
    FAB_CBOR_NEGINT, /* -1 - u, down to -2^64 */
    FAB_CBOR_BYTES,  /* s */
    FAB_CBOR_TEXT,   /* s */
    FAB_CBOR_ARRAY,  /* u items follow */
    FAB_CBOR_MAP,    /* u pairs of key and value follow */
    FAB_CBOR_LINK,   /* s: a binary CID, already checked */
    FAB_CBOR_FLOAT,  /* f */
    FAB_CBOR_BOOL,   /* b */
    FAB_CBOR_NULL,
};

struct fab_cbor_item {
    enum fab_cbor_kind kind;
    uint64_t u;
    struct fab_slice s; /* borrowed from the reader's bytes */
    double f;
    bool b;
};

/* Read one head with its string, link or number; of an array or map only the head. A count never
 * promises more items than bytes are left. Map keys are then read by fab_cbor_read_key. */
FAB_MUST enum fab_rc fab_cbor_read(struct fab_reader *r, struct fab_cbor_item *out);

/* What kind comes next, without moving; FAB_EFORMAT at the end or before something that is not
 * dag-cbor. */
FAB_MUST enum fab_rc fab_cbor_peek(const struct fab_reader *r, enum fab_cbor_kind *out);

/* One item that must be of the kind; FAB_EFORMAT otherwise, or when a number does not fit the type.
 */
FAB_MUST enum fab_rc fab_cbor_read_uint(struct fab_reader *r, uint64_t *out);
FAB_MUST enum fab_rc fab_cbor_read_int(struct fab_reader *r, int64_t *out);
FAB_MUST enum fab_rc fab_cbor_read_bytes(struct fab_reader *r, struct fab_slice *out);
FAB_MUST enum fab_rc fab_cbor_read_text(struct fab_reader *r, struct fab_slice *out);
FAB_MUST enum fab_rc fab_cbor_read_cid(struct fab_reader *r, struct fab_cid *out);
FAB_MUST enum fab_rc fab_cbor_read_float(struct fab_reader *r, double *out);
FAB_MUST enum fab_rc fab_cbor_read_bool(struct fab_reader *r, bool *out);
FAB_MUST enum fab_rc fab_cbor_read_null(struct fab_reader *r);
FAB_MUST enum fab_rc fab_cbor_read_array(struct fab_reader *r, size_t *items);

struct fab_cbor_map {
    size_t left;           /* pairs that are not read yet */
    struct fab_slice last; /* the key before, to hold the order */
};
FAB_MUST enum fab_rc fab_cbor_read_map(struct fab_reader *r, struct fab_cbor_map *out);
/* The next key, checked to be in order; counts `left` down. FAB_EINVAL when none is left. */
FAB_MUST enum fab_rc fab_cbor_read_key(struct fab_reader *r, struct fab_cbor_map *map,
                                       struct fab_slice *key);
/* FAB_EFORMAT when bytes are left. */
FAB_MUST enum fab_rc fab_cbor_read_end(const struct fab_reader *r);

/* Read one whole item with all that is in it, checked, calling `fn` (may be NULL) for each link in
 * order. */
FAB_MUST enum fab_rc fab_cbor_walk(struct fab_reader *r, fab_link_fn fn, void *arg);
FAB_MUST enum fab_rc fab_cbor_skip(struct fab_reader *r);
/* The bytes are exactly one dag-cbor block. */
FAB_MUST enum fab_rc fab_cbor_validate(struct fab_slice block);

/* Encoding appends to a buffer. The caller writes as many items as a head promised and map keys in
 * order (fab_cbor_key_cmp); that is not checked here. FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_cbor_put_uint(struct fab_buf *b, uint64_t v);
/* Write -1 - u. */
FAB_MUST enum fab_rc fab_cbor_put_negint(struct fab_buf *b, uint64_t u);
FAB_MUST enum fab_rc fab_cbor_put_int(struct fab_buf *b, int64_t v);
FAB_MUST enum fab_rc fab_cbor_put_bytes(struct fab_buf *b, struct fab_slice s);
/* FAB_EINVAL when it is not UTF-8. */
FAB_MUST enum fab_rc fab_cbor_put_text(struct fab_buf *b, struct fab_slice s);
FAB_MUST enum fab_rc fab_cbor_put_str(struct fab_buf *b, const char *text);
FAB_MUST enum fab_rc fab_cbor_put_array(struct fab_buf *b, uint64_t items);
FAB_MUST enum fab_rc fab_cbor_put_map(struct fab_buf *b, uint64_t pairs);
FAB_MUST enum fab_rc fab_cbor_put_cid(struct fab_buf *b, const struct fab_cid *cid);
/* FAB_EINVAL for NaN and the infinities. */
FAB_MUST enum fab_rc fab_cbor_put_float(struct fab_buf *b, double v);
FAB_MUST enum fab_rc fab_cbor_put_bool(struct fab_buf *b, bool v);
FAB_MUST enum fab_rc fab_cbor_put_null(struct fab_buf *b);

/* The canonical order of map keys: the shorter first, then bytes. */
int fab_cbor_key_cmp(struct fab_slice a, struct fab_slice b);

#endif
