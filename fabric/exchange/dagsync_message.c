/* Every message is read by one function and written by its twin beside it. Decoding checks the
 * whole message once, so that whoever takes it apart later needs no second look at limits. */
#include "fabric/exchange/dagsync_message.h"

#include "storage/multiformats/varint.h"

static enum fab_rc item_check(const struct fab_dagsync_item *item)
{
    if (item->path.n > FAB_DAGSYNC_PATH_MAX || (unsigned)item->scope > FAB_DAGSYNC_RANGE)
        return FAB_EINVAL;
    if (item->scope == FAB_DAGSYNC_RANGE &&
        (item->from >= item->to || item->to > FAB_DAGSYNC_RANGE_END))
        return FAB_EINVAL;
    return FAB_OK;
}

enum fab_rc fab_dagsync_item_read(struct fab_reader *r, struct fab_dagsync_item *out)
{
    struct fab_reader at = *r;
    struct fab_dagsync_item item = {0};
    uint64_t n;
    uint8_t scope;
    if (fab_cid_read(&at, &item.cid) != FAB_OK)
        return FAB_EFORMAT;
    FAB_TRY(fab_varint_read(&at, &n));
    if (n > FAB_DAGSYNC_PATH_MAX)
        return FAB_EFORMAT;
    FAB_TRY(fab_read_bytes(&at, (size_t)n, &item.path));
    FAB_TRY(fab_read_u8(&at, &scope));
    if (scope > FAB_DAGSYNC_RANGE)
        return FAB_EFORMAT;
    item.scope = (enum fab_dagsync_scope)scope;
    if (item.scope == FAB_DAGSYNC_RANGE) {
        FAB_TRY(fab_varint_read(&at, &item.from));
        FAB_TRY(fab_varint_read(&at, &item.to));
    }
    if (item_check(&item) != FAB_OK)
        return FAB_EFORMAT;
    *out = item;
    *r = at;
    return FAB_OK;
}

size_t fab_dagsync_item_size(const struct fab_dagsync_item *item)
{
    uint8_t cid[FAB_CID_MAX];
    size_t n = fab_cid_bytes(&item->cid, cid) + fab_varint_size(item->path.n) + item->path.n + 1;
    if (item->scope == FAB_DAGSYNC_RANGE)
        n += fab_varint_size(item->from) + fab_varint_size(item->to);
    return n;
}

enum fab_rc fab_dagsync_item_append(struct fab_buf *b, const struct fab_dagsync_item *item)
{
    uint8_t cid[FAB_CID_MAX];
    FAB_TRY(item_check(item));
    FAB_TRY(fab_buf_reserve(b, fab_dagsync_item_size(item)));
    FAB_TRY(fab_buf_append(b, cid, fab_cid_bytes(&item->cid, cid)));
    FAB_TRY(fab_varint_append(b, item->path.n));
    FAB_TRY(fab_buf_append(b, item->path.p, item->path.n));
    FAB_TRY(fab_buf_byte(b, (uint8_t)item->scope));
    if (item->scope != FAB_DAGSYNC_RANGE)
        return FAB_OK;
    FAB_TRY(fab_varint_append(b, item->from));
    return fab_varint_append(b, item->to);
}

/* ---- bodies ---- */

static bool is_answer(enum fab_dagsync_type type)
{
    return type >= FAB_DAGSYNC_BLOCK;
}

static bool has_cid(enum fab_dagsync_type type)
{
    return type == FAB_DAGSYNC_PRUNE || type == FAB_DAGSYNC_BLOCK || type == FAB_DAGSYNC_MISSING;
}

static bool has_number(enum fab_dagsync_type type)
{
    return type == FAB_DAGSYNC_CREDIT || type == FAB_DAGSYNC_ITEM_DONE ||
           type == FAB_DAGSYNC_ERROR || type == FAB_DAGSYNC_DONE;
}

static bool has_bytes(enum fab_dagsync_type type)
{
    return type == FAB_DAGSYNC_REQUEST || type == FAB_DAGSYNC_BLOCK || type == FAB_DAGSYNC_ERROR;
}

static enum fab_rc items_check(struct fab_slice items)
{
    struct fab_reader r = fab_reader(items);
    struct fab_dagsync_item item;
    if (items.n == 0)
        return FAB_EFORMAT;
    while (fab_reader_left(&r) > 0)
        FAB_TRY(fab_dagsync_item_read(&r, &item));
    return FAB_OK;
}

/* The rules that hold for a message whichever way it goes. */
static enum fab_rc message_check(const struct fab_dagsync_message *m)
{
    bool identity = has_cid(m->type) && fab_cid_mh_code(&m->cid) == FAB_MH_IDENTITY;
    switch (m->type) {
    case FAB_DAGSYNC_REQUEST:
        return m->bytes.n < FAB_DAGSYNC_ASK_MAX ? items_check(m->bytes) : FAB_EFORMAT;
    case FAB_DAGSYNC_CREDIT:
        return m->number > 0 && m->number <= FAB_DAGSYNC_CREDIT_MAX ? FAB_OK : FAB_EFORMAT;
    case FAB_DAGSYNC_BLOCK:
        return identity || m->bytes.n > FAB_BLOCK_MAX ? FAB_EFORMAT : FAB_OK;
    case FAB_DAGSYNC_MISSING:
        return identity ? FAB_EFORMAT : FAB_OK;
    case FAB_DAGSYNC_ERROR:
        return m->bytes.n > FAB_DAGSYNC_TEXT_MAX ? FAB_EFORMAT : FAB_OK;
    case FAB_DAGSYNC_PRUNE:
    case FAB_DAGSYNC_ITEM_DONE:
    case FAB_DAGSYNC_DONE:
        return FAB_OK;
    }
    return FAB_EFORMAT;
}

enum fab_rc fab_dagsync_decode(struct fab_slice message, bool from_server,
                               struct fab_dagsync_message *out)
{
    struct fab_reader r = fab_reader(message);
    struct fab_dagsync_message m = {0};
    uint8_t type;
    FAB_TRY(fab_read_u8(&r, &type));
    m.type = (enum fab_dagsync_type)type;
    if (is_answer(m.type) != from_server)
        return FAB_EFORMAT;
    if (has_cid(m.type) && fab_cid_read(&r, &m.cid) != FAB_OK)
        return FAB_EFORMAT;
    if (has_number(m.type))
        FAB_TRY(fab_varint_read(&r, &m.number));
    if (m.type == FAB_DAGSYNC_ERROR)
        FAB_TRY(fab_read_u8(&r, &m.code));
    if (has_bytes(m.type))
        FAB_TRY(fab_read_bytes(&r, fab_reader_left(&r), &m.bytes));
    if (fab_reader_left(&r) > 0 || message_check(&m) != FAB_OK)
        return FAB_EFORMAT;
    *out = m;
    return FAB_OK;
}

/* Everything of the body but `bytes`, and the type in front of it. */
static size_t head_put(const struct fab_dagsync_message *m,
                       uint8_t out[2 + FAB_VARINT_PB_MAX + FAB_CID_MAX])
{
    size_t n = 0;
    out[n++] = (uint8_t)m->type;
    if (has_cid(m->type))
        n += fab_cid_bytes(&m->cid, out + n);
    if (has_number(m->type))
        n += fab_varint_put(m->number, out + n);
    if (m->type == FAB_DAGSYNC_ERROR)
        out[n++] = m->code;
    return n;
}

enum fab_rc fab_dagsync_append(struct fab_buf *b, const struct fab_dagsync_message *message)
{
    uint8_t head[2 + FAB_VARINT_PB_MAX + FAB_CID_MAX], length[FAB_VARINT_PB_MAX];
    if (message_check(message) != FAB_OK || message->number >= FAB_VARINT_LIMIT)
        return FAB_EINVAL;
    size_t n = head_put(message, head);
    size_t bytes = has_bytes(message->type) ? message->bytes.n : 0;
    size_t length_n = fab_varint_put(n + bytes, length);
    FAB_TRY(fab_buf_reserve(b, length_n + n + bytes));
    FAB_TRY(fab_buf_append(b, length, length_n));
    FAB_TRY(fab_buf_append(b, head, n));
    return fab_buf_append(b, message->bytes.p, bytes);
}

size_t fab_dagsync_frame_size(const struct fab_dagsync_message *message)
{
    uint8_t head[2 + FAB_VARINT_PB_MAX + FAB_CID_MAX];
    size_t n = head_put(message, head) + (has_bytes(message->type) ? message->bytes.n : 0);
    return fab_varint_size(n) + n;
}

enum fab_rc fab_dagsync_length_byte(struct fab_dagsync_length *l, uint8_t byte, size_t max,
                                    bool *whole)
{
    if (l->bytes == 4 || (byte == 0 && l->bytes > 0))
        return FAB_EFORMAT;
    l->value |= (uint32_t)(byte & 0x7f) << (7 * l->bytes++);
    *whole = !(byte & 0x80);
    if (l->value > max || (*whole && l->value == 0))
        return FAB_EFORMAT;
    return FAB_OK;
}
