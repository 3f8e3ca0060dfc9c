#include "storage/dag/dag_cbor.h"

#include "storage/dag/utf8.h"

#include <math.h>
#include <string.h>

enum {
    MAJOR_UINT,
    MAJOR_NEGINT,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_ARRAY,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE
};

#define INFO_1BYTE   24 /* the argument follows in 1, 2, 4 or 8 bytes for 24 to 27 */
#define INFO_8BYTES  27
#define TAG_LINK     42
#define SIMPLE_FALSE 0xf4
#define SIMPLE_TRUE  0xf5
#define SIMPLE_NULL  0xf6
#define FLOAT64      0xfb

/* The argument of a head, in the shortest form only. */
static enum fab_rc read_argument(struct fab_reader *r, unsigned info, uint64_t *out)
{
    if (info < INFO_1BYTE) {
        *out = info;
        return FAB_OK;
    }
    if (info > INFO_8BYTES)
        return FAB_EFORMAT;
    unsigned bytes = 1u << (info - INFO_1BYTE);
    uint64_t v;
    FAB_TRY(fab_read_be(r, bytes, &v));
    if (bytes == 1 ? v < INFO_1BYTE : v >> (4 * bytes) == 0)
        return FAB_EFORMAT;
    *out = v;
    return FAB_OK;
}

static enum fab_rc read_string(struct fab_reader *r, uint64_t n, struct fab_slice *out)
{
    if (n > fab_reader_left(r))
        return FAB_EFORMAT;
    return fab_read_bytes(r, (size_t)n, out);
}

/* After tag 42: a byte string that begins with the identity multibase and then is one binary CID.
 */
static enum fab_rc read_link(struct fab_reader *r, uint64_t tag, struct fab_slice *out)
{
    uint8_t head;
    uint64_t n;
    struct fab_slice s;
    struct fab_cid cid;
    if (tag != TAG_LINK)
        return FAB_EFORMAT;
    FAB_TRY(fab_read_u8(r, &head));
    if (head >> 5 != MAJOR_BYTES)
        return FAB_EFORMAT;
    FAB_TRY(read_argument(r, head & 31, &n));
    FAB_TRY(read_string(r, n, &s));
    if (s.n == 0 || s.p[0] != 0)
        return FAB_EFORMAT;
    *out = fab_slice(s.p + 1, s.n - 1);
    return fab_cid_parse(*out, &cid);
}

static enum fab_rc read_simple(struct fab_reader *r, uint8_t head, struct fab_cbor_item *item)
{
    uint64_t bits;
    switch (head) {
    case SIMPLE_FALSE:
    case SIMPLE_TRUE:
        item->kind = FAB_CBOR_BOOL;
        item->b = head == SIMPLE_TRUE;
        return FAB_OK;
    case SIMPLE_NULL:
        item->kind = FAB_CBOR_NULL;
        return FAB_OK;
    case FLOAT64:
        FAB_TRY(fab_read_be(r, 8, &bits));
        item->kind = FAB_CBOR_FLOAT;
        memcpy(&item->f, &bits, sizeof(bits));
        return isfinite(item->f) ? FAB_OK : FAB_EFORMAT;
    default:
        return FAB_EFORMAT;
    }
}

enum fab_rc fab_cbor_read(struct fab_reader *r, struct fab_cbor_item *out)
{
    static const enum fab_cbor_kind kinds[] = {FAB_CBOR_UINT, FAB_CBOR_NEGINT, FAB_CBOR_BYTES,
                                               FAB_CBOR_TEXT, FAB_CBOR_ARRAY,  FAB_CBOR_MAP,
                                               FAB_CBOR_LINK};
    struct fab_cbor_item item = {0};
    struct fab_reader in = *r;
    uint8_t head;
    FAB_TRY(fab_read_u8(&in, &head));
    unsigned major = head >> 5;
    if (major == MAJOR_SIMPLE) {
        FAB_TRY(read_simple(&in, head, &item));
        *r = in;
        *out = item;
        return FAB_OK;
    }
    FAB_TRY(read_argument(&in, head & 31, &item.u));
    item.kind = kinds[major];
    switch (major) {
    case MAJOR_BYTES:
        FAB_TRY(read_string(&in, item.u, &item.s));
        break;
    case MAJOR_TEXT:
        FAB_TRY(read_string(&in, item.u, &item.s));
        if (!fab_utf8_valid(item.s))
            return FAB_EFORMAT;
        break;
    case MAJOR_ARRAY:
        if (item.u > fab_reader_left(&in))
            return FAB_EFORMAT;
        break;
    case MAJOR_MAP:
        if (item.u > fab_reader_left(&in) / 2)
            return FAB_EFORMAT;
        break;
    case MAJOR_TAG:
        FAB_TRY(read_link(&in, item.u, &item.s));
        break;
    default:
        break;
    }
    *r = in;
    *out = item;
    return FAB_OK;
}

enum fab_rc fab_cbor_peek(const struct fab_reader *r, enum fab_cbor_kind *out)
{
    struct fab_reader copy = *r;
    struct fab_cbor_item item;
    FAB_TRY(fab_cbor_read(&copy, &item));
    *out = item.kind;
    return FAB_OK;
}

static enum fab_rc expect(struct fab_reader *r, enum fab_cbor_kind kind, struct fab_cbor_item *item)
{
    struct fab_reader in = *r;
    FAB_TRY(fab_cbor_read(&in, item));
    if (item->kind != kind)
        return FAB_EFORMAT;
    *r = in;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_uint(struct fab_reader *r, uint64_t *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_UINT, &item));
    *out = item.u;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_int(struct fab_reader *r, int64_t *out)
{
    struct fab_cbor_item item;
    struct fab_reader in = *r;
    FAB_TRY(fab_cbor_read(&in, &item));
    if ((item.kind != FAB_CBOR_UINT && item.kind != FAB_CBOR_NEGINT) || item.u > INT64_MAX)
        return FAB_EFORMAT;
    *out = item.kind == FAB_CBOR_UINT ? (int64_t)item.u : -1 - (int64_t)item.u;
    *r = in;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_bytes(struct fab_reader *r, struct fab_slice *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_BYTES, &item));
    *out = item.s;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_text(struct fab_reader *r, struct fab_slice *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_TEXT, &item));
    *out = item.s;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_cid(struct fab_reader *r, struct fab_cid *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_LINK, &item));
    return fab_cid_parse(item.s, out);
}

enum fab_rc fab_cbor_read_float(struct fab_reader *r, double *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_FLOAT, &item));
    *out = item.f;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_bool(struct fab_reader *r, bool *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_BOOL, &item));
    *out = item.b;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_null(struct fab_reader *r)
{
    struct fab_cbor_item item;
    return expect(r, FAB_CBOR_NULL, &item);
}

enum fab_rc fab_cbor_read_array(struct fab_reader *r, size_t *items)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_ARRAY, &item));
    *items = (size_t)item.u;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_map(struct fab_reader *r, struct fab_cbor_map *out)
{
    struct fab_cbor_item item;
    FAB_TRY(expect(r, FAB_CBOR_MAP, &item));
    *out = (struct fab_cbor_map){.left = (size_t)item.u};
    return FAB_OK;
}

enum fab_rc fab_cbor_read_key(struct fab_reader *r, struct fab_cbor_map *map, struct fab_slice *key)
{
    struct fab_slice k;
    if (map->left == 0)
        return FAB_EINVAL;
    FAB_TRY(fab_cbor_read_text(r, &k));
    if (map->last.p && fab_cbor_key_cmp(map->last, k) >= 0)
        return FAB_EFORMAT;
    map->last = k;
    map->left--;
    *key = k;
    return FAB_OK;
}

enum fab_rc fab_cbor_read_end(const struct fab_reader *r)
{
    return fab_reader_left(r) ? FAB_EFORMAT : FAB_OK;
}

static enum fab_rc walk(struct fab_reader *r, unsigned depth, fab_link_fn fn, void *arg)
{
    struct fab_cbor_item item;
    struct fab_cid cid;
    FAB_TRY(fab_cbor_read(r, &item));
    if (item.kind == FAB_CBOR_LINK && fn) {
        FAB_TRY(fab_cid_parse(item.s, &cid));
        return fn(arg, &cid);
    }
    if (item.kind != FAB_CBOR_ARRAY && item.kind != FAB_CBOR_MAP)
        return FAB_OK;
    if (depth == FAB_CBOR_DEPTH_MAX)
        return FAB_ELIMIT;
    struct fab_cbor_map map = {.left = (size_t)item.u};
    for (uint64_t i = 0; i < item.u; i++) {
        struct fab_slice key;
        if (item.kind == FAB_CBOR_MAP)
            FAB_TRY(fab_cbor_read_key(r, &map, &key));
        FAB_TRY(walk(r, depth + 1, fn, arg));
    }
    return FAB_OK;
}

enum fab_rc fab_cbor_walk(struct fab_reader *r, fab_link_fn fn, void *arg)
{
    return walk(r, 0, fn, arg);
}

enum fab_rc fab_cbor_skip(struct fab_reader *r)
{
    return walk(r, 0, NULL, NULL);
}

enum fab_rc fab_cbor_validate(struct fab_slice block)
{
    struct fab_reader r = fab_reader(block);
    FAB_TRY(fab_cbor_skip(&r));
    return fab_cbor_read_end(&r);
}

static enum fab_rc put_head(struct fab_buf *b, unsigned major, uint64_t v)
{
    uint8_t top = (uint8_t)(major << 5);
    if (v < INFO_1BYTE)
        return fab_buf_byte(b, (uint8_t)(top | v));
    unsigned log = v <= UINT8_MAX ? 0 : v <= UINT16_MAX ? 1 : v <= UINT32_MAX ? 2 : 3;
    FAB_TRY(fab_buf_byte(b, (uint8_t)(top | (INFO_1BYTE + log))));
    return fab_buf_be(b, 1u << log, v);
}

enum fab_rc fab_cbor_put_uint(struct fab_buf *b, uint64_t v)
{
    return put_head(b, MAJOR_UINT, v);
}

enum fab_rc fab_cbor_put_negint(struct fab_buf *b, uint64_t u)
{
    return put_head(b, MAJOR_NEGINT, u);
}

enum fab_rc fab_cbor_put_int(struct fab_buf *b, int64_t v)
{
    return v < 0 ? put_head(b, MAJOR_NEGINT, (uint64_t)(-1 - v))
                 : put_head(b, MAJOR_UINT, (uint64_t)v);
}

enum fab_rc fab_cbor_put_bytes(struct fab_buf *b, struct fab_slice s)
{
    FAB_TRY(put_head(b, MAJOR_BYTES, s.n));
    return fab_buf_append(b, s.p, s.n);
}

enum fab_rc fab_cbor_put_text(struct fab_buf *b, struct fab_slice s)
{
    if (!fab_utf8_valid(s))
        return FAB_EINVAL;
    FAB_TRY(put_head(b, MAJOR_TEXT, s.n));
    return fab_buf_append(b, s.p, s.n);
}

enum fab_rc fab_cbor_put_str(struct fab_buf *b, const char *text)
{
    return fab_cbor_put_text(b, fab_slice(text, strlen(text)));
}

enum fab_rc fab_cbor_put_array(struct fab_buf *b, uint64_t items)
{
    return put_head(b, MAJOR_ARRAY, items);
}

enum fab_rc fab_cbor_put_map(struct fab_buf *b, uint64_t pairs)
{
    return put_head(b, MAJOR_MAP, pairs);
}

enum fab_rc fab_cbor_put_cid(struct fab_buf *b, const struct fab_cid *cid)
{
    uint8_t bytes[1 + FAB_CID_MAX] = {0};
    size_t n = fab_cid_bytes(cid, bytes + 1);
    FAB_TRY(put_head(b, MAJOR_TAG, TAG_LINK));
    return fab_cbor_put_bytes(b, fab_slice(bytes, n + 1));
}

enum fab_rc fab_cbor_put_float(struct fab_buf *b, double v)
{
    uint64_t bits;
    if (!isfinite(v))
        return FAB_EINVAL;
    memcpy(&bits, &v, sizeof(bits));
    FAB_TRY(fab_buf_byte(b, FLOAT64));
    return fab_buf_be(b, 8, bits);
}

enum fab_rc fab_cbor_put_bool(struct fab_buf *b, bool v)
{
    return fab_buf_byte(b, v ? SIMPLE_TRUE : SIMPLE_FALSE);
}

enum fab_rc fab_cbor_put_null(struct fab_buf *b)
{
    return fab_buf_byte(b, SIMPLE_NULL);
}

int fab_cbor_key_cmp(struct fab_slice a, struct fab_slice b)
{
    if (a.n != b.n)
        return a.n < b.n ? -1 : 1;
    return a.n ? memcmp(a.p, b.p, a.n) : 0;
}
