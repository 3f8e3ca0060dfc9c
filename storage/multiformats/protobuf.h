/* The protobuf wire format (protobuf.dev, "Encoding"), field by field, for the messages of the
 * IPFS and libp2p specifications. Varints are read strictly (varint.h); groups are refused. */
#ifndef FAB_MULTIFORMATS_PROTOBUF_H
#define FAB_MULTIFORMATS_PROTOBUF_H

#include "storage/base/bytes.h"

enum fab_proto_wire {
    FAB_PROTO_VARINT = 0,
    FAB_PROTO_64 = 1,
    FAB_PROTO_BYTES = 2,
    FAB_PROTO_32 = 5
};

struct fab_proto_field {
    uint64_t number;
    unsigned wire;
    uint64_t value;         /* FAB_PROTO_VARINT, FAB_PROTO_64, FAB_PROTO_32 */
    struct fab_slice bytes; /* FAB_PROTO_BYTES; borrowed from what the reader reads */
};

/* The next field. FAB_ENOENT at the end, FAB_EFORMAT for anything malformed; the reader moves only
 * on success. Fields that the caller does not know are for the caller to skip. */
FAB_MUST enum fab_rc fab_proto_next(struct fab_reader *r, struct fab_proto_field *out);

/* Whether the field has that number and wire type. */
static inline bool fab_proto_is(const struct fab_proto_field *f, uint64_t number,
                                enum fab_proto_wire wire)
{
    return f->number == number && f->wire == (unsigned)wire;
}

/* Append a varint field; written also when `v` is 0. FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_proto_append_uint(struct fab_buf *b, uint64_t number, uint64_t v);
/* Append a bytes, string or message field. */
FAB_MUST enum fab_rc fab_proto_append_bytes(struct fab_buf *b, uint64_t number, struct fab_slice s);

/* The encoded sizes of such fields. */
size_t fab_proto_uint_size(uint64_t number, uint64_t v);
size_t fab_proto_bytes_size(uint64_t number, size_t n);

#endif
