#include "storage/multiformats/protobuf.h"

#include "storage/multiformats/varint.h"

static enum fab_rc field_read(struct fab_reader *r, struct fab_proto_field *out)
{
    uint64_t tag, n;
    FAB_TRY(fab_varint_read_pb(r, &tag));
    *out = (struct fab_proto_field){.number = tag >> 3, .wire = tag & 7};
    if (out->number == 0)
        return FAB_EFORMAT;
    switch (out->wire) {
    case FAB_PROTO_VARINT:
        return fab_varint_read_pb(r, &out->value);
    case FAB_PROTO_64:
        return fab_read_le(r, 8, &out->value);
    case FAB_PROTO_32:
        return fab_read_le(r, 4, &out->value);
    case FAB_PROTO_BYTES:
        FAB_TRY(fab_varint_read_pb(r, &n));
        if (n > fab_reader_left(r))
            return FAB_EFORMAT;
        return fab_read_bytes(r, (size_t)n, &out->bytes);
    default:
        return FAB_EFORMAT;
    }
}

enum fab_rc fab_proto_next(struct fab_reader *r, struct fab_proto_field *out)
{
    if (fab_reader_left(r) == 0)
        return FAB_ENOENT;
    struct fab_reader at = *r;
    struct fab_proto_field field;
    FAB_TRY(field_read(&at, &field));
    *r = at;
    *out = field;
    return FAB_OK;
}

enum fab_rc fab_proto_append_uint(struct fab_buf *b, uint64_t number, uint64_t v)
{
    FAB_TRY(fab_varint_append_pb(b, number << 3 | FAB_PROTO_VARINT));
    return fab_varint_append_pb(b, v);
}

enum fab_rc fab_proto_append_bytes(struct fab_buf *b, uint64_t number, struct fab_slice s)
{
    FAB_TRY(fab_varint_append_pb(b, number << 3 | FAB_PROTO_BYTES));
    FAB_TRY(fab_varint_append_pb(b, s.n));
    return fab_buf_append(b, s.p, s.n);
}

size_t fab_proto_uint_size(uint64_t number, uint64_t v)
{
    return fab_varint_size(number << 3) + fab_varint_size(v);
}

size_t fab_proto_bytes_size(uint64_t number, size_t n)
{
    return fab_varint_size(number << 3) + fab_varint_size(n) + n;
}
