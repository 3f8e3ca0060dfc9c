#include "storage/multiformats/varint.h"

static enum fab_rc read_max(struct fab_reader *r, size_t max, uint64_t *out)
{
    uint64_t v = 0;
    size_t left = fab_reader_left(r);
    for (size_t i = 0; i < max && i < left; i++) {
        uint8_t byte = r->p[i];
        /* The tenth byte carries bit 63 only. */
        if (i == 9 && byte > 1)
            return FAB_EFORMAT;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        if (byte == 0 && i > 0)
            return FAB_EFORMAT;
        r->p += i + 1;
        *out = v;
        return FAB_OK;
    }
    return FAB_EFORMAT;
}

enum fab_rc fab_varint_read(struct fab_reader *r, uint64_t *out)
{
    return read_max(r, FAB_VARINT_MAX, out);
}

enum fab_rc fab_varint_read_pb(struct fab_reader *r, uint64_t *out)
{
    return read_max(r, FAB_VARINT_PB_MAX, out);
}

size_t fab_varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

size_t fab_varint_put(uint64_t v, uint8_t out[FAB_VARINT_PB_MAX])
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

enum fab_rc fab_varint_append_pb(struct fab_buf *b, uint64_t v)
{
    uint8_t tmp[FAB_VARINT_PB_MAX];
    return fab_buf_append(b, tmp, fab_varint_put(v, tmp));
}

enum fab_rc fab_varint_append(struct fab_buf *b, uint64_t v)
{
    if (v >= FAB_VARINT_LIMIT)
        return FAB_EINVAL;
    return fab_varint_append_pb(b, v);
}
