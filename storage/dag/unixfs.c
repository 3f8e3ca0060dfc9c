#include "storage/dag/unixfs.h"

#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <string.h>

enum {
    FIELD_TYPE = 1,
    FIELD_DATA = 2,
    FIELD_FILESIZE = 3,
    FIELD_BLOCKSIZES = 4,
    FIELD_HASH_TYPE = 5,
    FIELD_FANOUT = 6,
    FIELD_MODE = 7,
    FIELD_MTIME = 8,
};

#define NSEC_LIMIT 1000000000u

static enum fab_rc need(const struct fab_proto_field *f, unsigned wire)
{
    return f->wire == wire ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc mtime_decode(struct fab_slice s, struct fab_unixfs_attr *attr)
{
    struct fab_reader r = fab_reader(s);
    bool has_seconds = false;
    uint64_t seconds = 0, nsec = 0;
    while (fab_reader_left(&r) > 0) {
        struct fab_proto_field f;
        FAB_TRY(fab_proto_next(&r, &f));
        if (f.number == 1) {
            FAB_TRY(need(&f, FAB_PROTO_VARINT));
            has_seconds = true;
            seconds = f.value;
        } else if (f.number == 2) {
            FAB_TRY(need(&f, FAB_PROTO_32));
            nsec = f.value;
        }
    }
    if (!has_seconds || nsec >= NSEC_LIMIT)
        return FAB_OK;
    attr->has_mtime = true;
    memcpy(&attr->mtime, &seconds, sizeof attr->mtime);
    attr->mtime_nsec = (uint32_t)nsec;
    return FAB_OK;
}

static enum fab_rc size_add(struct fab_unixfs *node, uint64_t size)
{
    if (size > UINT64_MAX - node->sizes_sum)
        return FAB_EFORMAT;
    node->sizes_sum += size;
    node->sizes_count++;
    return FAB_OK;
}

static enum fab_rc sizes_decode(const struct fab_proto_field *f, struct fab_unixfs *node)
{
    if (f->wire == FAB_PROTO_VARINT)
        return size_add(node, f->value);
    FAB_TRY(need(f, FAB_PROTO_BYTES));
    struct fab_reader r = fab_reader(f->bytes);
    while (fab_reader_left(&r) > 0) {
        uint64_t size;
        FAB_TRY(fab_varint_read_pb(&r, &size));
        FAB_TRY(size_add(node, size));
    }
    return FAB_OK;
}

static enum fab_rc field_apply(const struct fab_proto_field *f, struct fab_unixfs *node,
                               bool *has_type)
{
    switch (f->number) {
    case FIELD_TYPE:
        FAB_TRY(need(f, FAB_PROTO_VARINT));
        if (f->value > FAB_UNIXFS_HAMT)
            return FAB_EFORMAT;
        node->type = (enum fab_unixfs_type)f->value;
        *has_type = true;
        return FAB_OK;
    case FIELD_DATA:
        FAB_TRY(need(f, FAB_PROTO_BYTES));
        node->data = f->bytes;
        node->has_data = true;
        return FAB_OK;
    case FIELD_FILESIZE:
        FAB_TRY(need(f, FAB_PROTO_VARINT));
        node->filesize = f->value;
        node->has_filesize = true;
        return FAB_OK;
    case FIELD_BLOCKSIZES:
        return sizes_decode(f, node);
    case FIELD_HASH_TYPE:
        FAB_TRY(need(f, FAB_PROTO_VARINT));
        node->hash_type = f->value;
        node->has_hash_type = true;
        return FAB_OK;
    case FIELD_FANOUT:
        FAB_TRY(need(f, FAB_PROTO_VARINT));
        node->fanout = f->value;
        node->has_fanout = true;
        return FAB_OK;
    case FIELD_MODE:
        FAB_TRY(need(f, FAB_PROTO_VARINT));
        node->attr.mode = (uint32_t)f->value & FAB_UNIXFS_MODE_MASK;
        node->attr.has_mode = true;
        return FAB_OK;
    case FIELD_MTIME:
        FAB_TRY(need(f, FAB_PROTO_BYTES));
        return mtime_decode(f->bytes, &node->attr);
    default:
        return FAB_OK;
    }
}

enum fab_rc fab_unixfs_decode(struct fab_slice s, struct fab_unixfs *out)
{
    struct fab_unixfs node = {.whole = s};
    struct fab_reader r = fab_reader(s);
    bool has_type = false;
    while (fab_reader_left(&r) > 0) {
        struct fab_proto_field f;
        FAB_TRY(fab_proto_next(&r, &f));
        FAB_TRY(field_apply(&f, &node, &has_type));
    }
    if (!has_type)
        return FAB_EFORMAT;
    *out = node;
    return FAB_OK;
}

void fab_unixfs_sizes_init(struct fab_unixfs_sizes *it, const struct fab_unixfs *node)
{
    it->fields = fab_reader(node->whole);
    it->packed = fab_reader(fab_slice(NULL, 0));
}

bool fab_unixfs_sizes_next(struct fab_unixfs_sizes *it, uint64_t *out)
{
    for (;;) {
        if (fab_reader_left(&it->packed) > 0)
            return fab_varint_read_pb(&it->packed, out) == FAB_OK;
        struct fab_proto_field f;
        if (fab_proto_next(&it->fields, &f) != FAB_OK)
            return false;
        if (f.number != FIELD_BLOCKSIZES)
            continue;
        if (f.wire == FAB_PROTO_VARINT) {
            *out = f.value;
            return true;
        }
        it->packed = fab_reader(f.bytes);
    }
}

/* ---- encoding ---- */

static bool writes_mode(const struct fab_unixfs_attr *attr)
{
    return attr->has_mode && (attr->mode & FAB_UNIXFS_MODE_MASK) != 0;
}

static size_t mtime_size(const struct fab_unixfs_attr *attr)
{
    return 1 + fab_varint_size((uint64_t)attr->mtime) + (attr->mtime_nsec > 0 ? 5 : 0);
}

static size_t encoded_size(const struct fab_unixfs *node, const uint64_t *sizes)
{
    size_t n = 2;
    if (node->has_data)
        n += 1 + fab_varint_size(node->data.n) + node->data.n;
    if (node->has_filesize)
        n += 1 + fab_varint_size(node->filesize);
    for (uint64_t i = 0; i < node->sizes_count; i++)
        n += 1 + fab_varint_size(sizes[i]);
    if (node->has_hash_type)
        n += 1 + fab_varint_size(node->hash_type);
    if (node->has_fanout)
        n += 1 + fab_varint_size(node->fanout);
    if (writes_mode(&node->attr))
        n += 1 + fab_varint_size(node->attr.mode & FAB_UNIXFS_MODE_MASK);
    if (node->attr.has_mtime)
        n += 2 + mtime_size(&node->attr); /* a message of at most 16 bytes: one length byte */
    return n;
}

static enum fab_rc put_varint(struct fab_buf *out, unsigned number, uint64_t v)
{
    FAB_TRY(fab_buf_byte(out, (uint8_t)(number << 3 | FAB_PROTO_VARINT)));
    return fab_varint_append_pb(out, v);
}

static enum fab_rc put_tag_length(struct fab_buf *out, unsigned number, uint64_t n)
{
    FAB_TRY(fab_buf_byte(out, (uint8_t)(number << 3 | FAB_PROTO_BYTES)));
    return fab_varint_append_pb(out, n);
}

static enum fab_rc put_mtime(struct fab_buf *out, const struct fab_unixfs_attr *attr)
{
    FAB_TRY(put_tag_length(out, FIELD_MTIME, mtime_size(attr)));
    FAB_TRY(put_varint(out, 1, (uint64_t)attr->mtime));
    if (attr->mtime_nsec == 0)
        return FAB_OK;
    uint32_t v = attr->mtime_nsec;
    const uint8_t nsec[5] = {2 << 3 | FAB_PROTO_32, (uint8_t)v, (uint8_t)(v >> 8),
                             (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    return fab_buf_append(out, nsec, sizeof nsec);
}

enum fab_rc fab_unixfs_encode(const struct fab_unixfs *node, const uint64_t *sizes,
                              struct fab_buf *out)
{
    FAB_TRY(fab_buf_reserve(out, encoded_size(node, sizes)));
    FAB_TRY(put_varint(out, FIELD_TYPE, node->type));
    if (node->has_data) {
        FAB_TRY(put_tag_length(out, FIELD_DATA, node->data.n));
        FAB_TRY(fab_buf_append(out, node->data.p, node->data.n));
    }
    if (node->has_filesize)
        FAB_TRY(put_varint(out, FIELD_FILESIZE, node->filesize));
    for (uint64_t i = 0; i < node->sizes_count; i++)
        FAB_TRY(put_varint(out, FIELD_BLOCKSIZES, sizes[i]));
    if (node->has_hash_type)
        FAB_TRY(put_varint(out, FIELD_HASH_TYPE, node->hash_type));
    if (node->has_fanout)
        FAB_TRY(put_varint(out, FIELD_FANOUT, node->fanout));
    if (writes_mode(&node->attr))
        FAB_TRY(put_varint(out, FIELD_MODE, node->attr.mode & FAB_UNIXFS_MODE_MASK));
    if (node->attr.has_mtime)
        FAB_TRY(put_mtime(out, &node->attr));
    return FAB_OK;
}

size_t fab_unixfs_field_size(const struct fab_unixfs *node, const uint64_t *sizes)
{
    size_t n = encoded_size(node, sizes);
    return 1 + fab_varint_size(n) + n;
}

enum fab_rc fab_unixfs_encode_field(const struct fab_unixfs *node, const uint64_t *sizes,
                                    struct fab_buf *out)
{
    /* dag-pb's Data is field 1. Written here, not by fab_pb_append_data, to spare a copy of the
     * leaf. */
    FAB_TRY(fab_buf_reserve(out, fab_unixfs_field_size(node, sizes)));
    FAB_TRY(put_tag_length(out, 1, encoded_size(node, sizes)));
    return fab_unixfs_encode(node, sizes, out);
}

enum fab_rc fab_unixfs_symlink(struct fab_slice target, const struct fab_unixfs_attr *attr,
                               struct fab_buf *out)
{
    if (target.n == 0 || target.n > FAB_UNIXFS_SYMLINK_MAX || memchr(target.p, 0, target.n))
        return FAB_EINVAL;
    struct fab_unixfs node = {.type = FAB_UNIXFS_SYMLINK, .has_data = true, .data = target};
    if (attr && attr->has_mtime) {
        node.attr = *attr;
        node.attr.has_mode = false;
    }
    return fab_unixfs_encode_field(&node, NULL, out);
}
