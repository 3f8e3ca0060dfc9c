/* A message is looked at twice: once from end to end, so that one malformed CID spoils all of it
 * (as it does in boxo), and once to act on it. Both passes are the same iterator, which keeps no
 * state but two readers: one over the message, one over the wantlist that it is inside of.
 *
 * A response is composed behind room for the longest length prefix. At the end the prefix, which
 * must be minimal, is written right before the message; so nothing is moved. */
#include "fabric/exchange/bitswap_message.h"

#include "storage/multiformats/multihash.h"
#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <string.h>

/* Message */
#define MESSAGE_WANTLIST  1
#define MESSAGE_BLOCKS    2
#define MESSAGE_PAYLOAD   3
#define MESSAGE_PRESENCES 4
/* Wantlist */
#define WANTLIST_ENTRIES 1
#define WANTLIST_FULL    2
/* Entry */
#define ENTRY_CID            1
#define ENTRY_PRIORITY       2
#define ENTRY_CANCEL         3
#define ENTRY_TYPE           4
#define ENTRY_SEND_DONT_HAVE 5
#define TYPE_BLOCK           0
#define TYPE_HAVE            1
/* Block */
#define BLOCK_PREFIX 1
#define BLOCK_DATA   2
/* BlockPresence */
#define PRESENCE_CID       1
#define PRESENCE_TYPE      2
#define PRESENCE_HAVE      0
#define PRESENCE_DONT_HAVE 1

#define KEEP_BYTES ((size_t)256 << 10) /* a buffer that grew larger is freed after its message */

/* ---- the stream ---- */

void fab_bitswap_stream_init(struct fab_bitswap_stream *s)
{
    *s = (struct fab_bitswap_stream){.length = 0};
    fab_buf_init(&s->collected, FAB_BITSWAP_MESSAGE_MAX);
}

void fab_bitswap_stream_fini(struct fab_bitswap_stream *s)
{
    fab_buf_fini(&s->collected);
}

bool fab_bitswap_stream_idle(const struct fab_bitswap_stream *s)
{
    return !s->have_length && s->length_bytes == 0;
}

static enum fab_rc read_length(struct fab_bitswap_stream *s, struct fab_slice *in)
{
    while (in->n && !s->have_length) {
        uint8_t byte = *in->p++;
        in->n--;
        s->length |= (uint64_t)(byte & 0x7f) << (7 * s->length_bytes);
        s->length_bytes++;
        s->have_length = !(byte & 0x80);
        if (byte == 0 && s->length_bytes > 1)
            return FAB_EFORMAT;
        if (s->length > FAB_BITSWAP_MESSAGE_MAX ||
            (!s->have_length && s->length_bytes == FAB_BITSWAP_LENGTH_MAX))
            return FAB_ELIMIT;
    }
    return FAB_OK;
}

enum fab_rc fab_bitswap_stream_read(struct fab_bitswap_stream *s, struct fab_slice *in, bool *whole,
                                    struct fab_slice *message)
{
    if (s->given) {
        if (s->collected.cap > KEEP_BYTES)
            fab_buf_fini(&s->collected);
        fab_buf_reset(&s->collected);
        s->given = false;
    }
    FAB_TRY(read_length(s, in));
    *whole = false;
    if (!s->have_length)
        return FAB_OK;
    size_t missing = (size_t)s->length - s->collected.len;
    size_t n = missing;
    if (in->n < missing) {
        FAB_TRY(fab_buf_append(&s->collected, in->p, in->n));
        *in = fab_slice(NULL, 0);
        return FAB_OK;
    }
    if (s->collected.len == 0) {
        *message = fab_slice(in->p, n); /* all of it lies in the input */
    } else {
        FAB_TRY(fab_buf_append(&s->collected, in->p, n));
        *message = fab_buf_slice(&s->collected);
        s->given = true;
    }
    if (n) {
        in->p += n;
        in->n -= n;
    }
    s->length = 0;
    s->length_bytes = 0;
    s->have_length = false;
    *whole = true;
    return FAB_OK;
}

/* ---- reading ---- */

/* A CID in a want or presence. FAB_ELIMIT: well-formed, but to be skipped. */
static enum fab_rc read_cid(struct fab_slice s, struct fab_cid *out)
{
    struct fab_reader r = fab_reader(s);
    uint64_t v, digest_bytes;
    if (s.n <= FAB_BITSWAP_CID_MAX) {
        enum fab_rc rc = fab_cid_parse(s, out);
        if (rc == FAB_OK)
            return fab_cid_mh_code(out) == FAB_MH_IDENTITY ? FAB_ELIMIT : FAB_OK;
        if (rc != FAB_ELIMIT)
            return FAB_EFORMAT;
    }
    /* Too long for us; it still has to be one CID. */
    if (fab_varint_read(&r, &v) != FAB_OK || v != 1 || fab_varint_read(&r, &v) != FAB_OK ||
        fab_varint_read(&r, &v) != FAB_OK || fab_varint_read(&r, &digest_bytes) != FAB_OK ||
        digest_bytes != fab_reader_left(&r))
        return FAB_EFORMAT;
    return FAB_ELIMIT;
}

static enum fab_rc read_entry(struct fab_slice bytes, struct fab_bitswap_item *out)
{
    struct fab_reader r = fab_reader(bytes);
    struct fab_proto_field f;
    struct fab_slice cid = {NULL, 0};
    enum fab_rc rc;
    bool cancel = false, have = false;
    out->priority = 0;
    out->send_dont_have = false;
    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        if (fab_proto_is(&f, ENTRY_CID, FAB_PROTO_BYTES))
            cid = f.bytes;
        else if (fab_proto_is(&f, ENTRY_PRIORITY, FAB_PROTO_VARINT))
            out->priority = (int32_t)(uint32_t)f.value;
        else if (fab_proto_is(&f, ENTRY_CANCEL, FAB_PROTO_VARINT))
            cancel = f.value != 0;
        else if (fab_proto_is(&f, ENTRY_TYPE, FAB_PROTO_VARINT))
            have = f.value == TYPE_HAVE;
        else if (fab_proto_is(&f, ENTRY_SEND_DONT_HAVE, FAB_PROTO_VARINT))
            out->send_dont_have = f.value != 0;
    }
    if (rc != FAB_ENOENT)
        return rc;
    out->kind = cancel ? FAB_BITSWAP_CANCEL : have ? FAB_BITSWAP_WANT_HAVE : FAB_BITSWAP_WANT_BLOCK;
    return read_cid(cid, &out->cid);
}

static enum fab_rc read_presence(struct fab_slice bytes, struct fab_bitswap_item *out)
{
    struct fab_reader r = fab_reader(bytes);
    struct fab_proto_field f;
    struct fab_slice cid = {NULL, 0};
    enum fab_rc rc;
    uint64_t type = PRESENCE_HAVE;
    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        if (fab_proto_is(&f, PRESENCE_CID, FAB_PROTO_BYTES))
            cid = f.bytes;
        else if (fab_proto_is(&f, PRESENCE_TYPE, FAB_PROTO_VARINT))
            type = f.value;
    }
    if (rc != FAB_ENOENT)
        return rc;
    out->kind = type == PRESENCE_HAVE ? FAB_BITSWAP_HAVE : FAB_BITSWAP_DONT_HAVE;
    FAB_TRY(read_cid(cid, &out->cid));
    return type <= PRESENCE_DONT_HAVE ? FAB_OK : FAB_ELIMIT; /* a type of a later version */
}

/* The bytes of the digest that we compute for a hash function; 0: none. */
static size_t digest_bytes_of(uint64_t mh_code)
{
    switch (mh_code) {
    case FAB_MH_SHA2_256:
    case FAB_MH_BLAKE2B_256:
        return 32;
    case FAB_MH_SHA2_512:
        return 64;
    default:
        return 0;
    }
}

static enum fab_rc read_prefix(struct fab_slice bytes, size_t data_bytes,
                               struct fab_bitswap_prefix *out)
{
    struct fab_reader r = fab_reader(bytes);
    uint64_t version, codec, code, digest_bytes;
    FAB_TRY(fab_varint_read(&r, &version));
    FAB_TRY(fab_varint_read(&r, &codec));
    FAB_TRY(fab_varint_read(&r, &code));
    FAB_TRY(fab_varint_read(&r, &digest_bytes));
    if (fab_reader_left(&r) || version > 1)
        return FAB_EFORMAT;
    if (version == 0 && (codec != FAB_CODEC_DAG_PB || code != FAB_MH_SHA2_256))
        return FAB_EFORMAT;
    if (code == FAB_MH_IDENTITY ? digest_bytes != data_bytes || data_bytes > FAB_DIGEST_MAX
                                : digest_bytes == 0 || digest_bytes != digest_bytes_of(code))
        return FAB_EFORMAT;
    *out = (struct fab_bitswap_prefix){codec, code, (unsigned)version};
    return FAB_OK;
}

static enum fab_rc read_block(struct fab_slice bytes, struct fab_bitswap_item *out)
{
    struct fab_reader r = fab_reader(bytes);
    struct fab_proto_field f;
    struct fab_slice prefix = {NULL, 0};
    enum fab_rc rc;
    out->kind = FAB_BITSWAP_BLOCK;
    out->data = fab_slice(NULL, 0);
    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        if (fab_proto_is(&f, BLOCK_PREFIX, FAB_PROTO_BYTES))
            prefix = f.bytes;
        else if (fab_proto_is(&f, BLOCK_DATA, FAB_PROTO_BYTES))
            out->data = f.bytes;
    }
    if (rc != FAB_ENOENT)
        return rc;
    return read_prefix(prefix, out->data.n, &out->prefix);
}

void fab_bitswap_iter_init(struct fab_bitswap_iter *it, struct fab_slice message)
{
    *it = (struct fab_bitswap_iter){.message = fab_reader(message)};
}

/* The next item inside the wantlist that was entered; FAB_ENOENT at its end, FAB_ELIMIT for one to
 * be skipped. */
static enum fab_rc next_in_wantlist(struct fab_bitswap_iter *it, struct fab_bitswap_item *out)
{
    struct fab_proto_field f;
    for (;;) {
        FAB_TRY(fab_proto_next(&it->wantlist, &f));
        if (fab_proto_is(&f, WANTLIST_ENTRIES, FAB_PROTO_BYTES))
            return read_entry(f.bytes, out);
        if (fab_proto_is(&f, WANTLIST_FULL, FAB_PROTO_VARINT))
            it->full = f.value != 0;
    }
}

static enum fab_rc next_in_message(struct fab_bitswap_iter *it, struct fab_bitswap_item *out)
{
    struct fab_proto_field f;
    for (;;) {
        enum fab_rc rc = next_in_wantlist(it, out);
        if (rc != FAB_ENOENT)
            return rc;
        FAB_TRY(fab_proto_next(&it->message, &f));
        if (f.wire != FAB_PROTO_BYTES)
            continue;
        switch (f.number) {
        case MESSAGE_WANTLIST:
            it->wantlist = fab_reader(f.bytes);
            break;
        case MESSAGE_BLOCKS:
            out->kind = FAB_BITSWAP_BLOCK;
            out->prefix = (struct fab_bitswap_prefix){FAB_CODEC_DAG_PB, FAB_MH_SHA2_256, 0};
            out->data = f.bytes;
            return FAB_OK;
        case MESSAGE_PAYLOAD:
            return read_block(f.bytes, out);
        case MESSAGE_PRESENCES:
            return read_presence(f.bytes, out);
        default:
            break;
        }
    }
}

enum fab_rc fab_bitswap_iter_next(struct fab_bitswap_iter *it, struct fab_bitswap_item *out)
{
    enum fab_rc rc;
    while ((rc = next_in_message(it, out)) == FAB_ELIMIT)
        it->skipped++;
    return rc;
}

enum fab_rc fab_bitswap_message_check(struct fab_slice message, struct fab_bitswap_summary *out)
{
    struct fab_bitswap_summary sum = {.full = false};
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    enum fab_rc rc;
    fab_bitswap_iter_init(&it, message);
    while ((rc = fab_bitswap_iter_next(&it, &item)) == FAB_OK) {
        switch (item.kind) {
        case FAB_BITSWAP_WANT_BLOCK:
        case FAB_BITSWAP_WANT_HAVE:
            sum.wants++;
            break;
        case FAB_BITSWAP_CANCEL:
            sum.cancels++;
            break;
        case FAB_BITSWAP_BLOCK:
            sum.blocks++;
            break;
        case FAB_BITSWAP_HAVE:
        case FAB_BITSWAP_DONT_HAVE:
            sum.presences++;
            break;
        }
    }
    if (rc != FAB_ENOENT)
        return rc;
    sum.skipped = it.skipped;
    sum.full = it.full;
    *out = sum;
    return FAB_OK;
}

enum fab_rc fab_bitswap_prefix_cid(const struct fab_bitswap_prefix *prefix, struct fab_slice data,
                                   struct fab_cid *out)
{
    return fab_cid_of(prefix->version, prefix->codec, prefix->mh_code, data, out);
}

/* ---- writing ---- */

/* Append to `b` by value, in memory that cannot fail: entries and presences are small. */
#define SMALL_MAX (FAB_CID_MAX + 32)

struct small {
    size_t n;
    uint8_t bytes[SMALL_MAX];
};

static void small_uint(struct small *s, unsigned number, uint64_t v)
{
    s->bytes[s->n++] = (uint8_t)(number << 3 | FAB_PROTO_VARINT);
    s->n += fab_varint_put(v, s->bytes + s->n);
}

static void small_cid(struct small *s, unsigned number, const struct fab_cid *cid)
{
    uint8_t bytes[FAB_CID_MAX];
    size_t n = fab_cid_bytes(cid, bytes);
    s->bytes[s->n++] = (uint8_t)(number << 3 | FAB_PROTO_BYTES);
    s->n += fab_varint_put(n, s->bytes + s->n);
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
}

enum fab_rc fab_bitswap_entry_append(struct fab_buf *entries, enum fab_bitswap_kind kind,
                                     const struct fab_cid *cid, int32_t priority,
                                     bool send_dont_have)
{
    struct small s = {.n = 0};
    if (kind > FAB_BITSWAP_CANCEL)
        return FAB_EINVAL;
    small_cid(&s, ENTRY_CID, cid);
    if (priority) /* a negative int32 is ten bytes, sign-extended */
        small_uint(&s, ENTRY_PRIORITY, (uint64_t)(int64_t)priority);
    if (kind == FAB_BITSWAP_CANCEL)
        small_uint(&s, ENTRY_CANCEL, 1);
    if (kind == FAB_BITSWAP_WANT_HAVE)
        small_uint(&s, ENTRY_TYPE, TYPE_HAVE);
    if (send_dont_have)
        small_uint(&s, ENTRY_SEND_DONT_HAVE, 1);
    FAB_TRY(fab_buf_reserve(entries, fab_proto_bytes_size(WANTLIST_ENTRIES, s.n)));
    return fab_proto_append_bytes(entries, WANTLIST_ENTRIES, fab_slice(s.bytes, s.n));
}

/* How many of the first bytes of `entries` are whole entries within the limit. */
static enum fab_rc cut_entries(struct fab_slice entries, size_t *out)
{
    struct fab_reader r = fab_reader(entries);
    struct fab_proto_field f;
    enum fab_rc rc;
    size_t n = 0;
    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        size_t to = (size_t)(r.p - entries.p);
        if (!fab_proto_is(&f, WANTLIST_ENTRIES, FAB_PROTO_BYTES) ||
            (n == 0 && to > FAB_BITSWAP_WANTS_MAX))
            return FAB_EINVAL;
        if (to > FAB_BITSWAP_WANTS_MAX)
            break;
        n = to;
    }
    if (rc != FAB_OK && rc != FAB_ENOENT)
        return FAB_EINVAL;
    *out = n;
    return FAB_OK;
}

static enum fab_rc write_one(struct fab_buf *out, struct fab_slice entries, bool full)
{
    size_t inner = entries.n + (full ? fab_proto_uint_size(WANTLIST_FULL, 1) : 0);
    FAB_TRY(fab_varint_append(out, fab_proto_bytes_size(MESSAGE_WANTLIST, inner)));
    FAB_TRY(fab_varint_append_pb(out, MESSAGE_WANTLIST << 3 | FAB_PROTO_BYTES));
    FAB_TRY(fab_varint_append_pb(out, inner));
    FAB_TRY(fab_buf_append(out, entries.p, entries.n));
    return full ? fab_proto_append_uint(out, WANTLIST_FULL, 1) : FAB_OK;
}

enum fab_rc fab_bitswap_write_wants(struct fab_buf *out, struct fab_slice entries, bool full)
{
    size_t before = out->len;
    enum fab_rc rc;
    do {
        size_t n = 0;
        rc = cut_entries(entries, &n);
        if (rc == FAB_OK)
            rc = write_one(out, fab_slice(entries.p, n), full);
        if (rc != FAB_OK)
            break;
        full = false;
        entries = fab_slice(n ? entries.p + n : entries.p, entries.n - n);
    } while (entries.n);
    if (rc != FAB_OK)
        out->len = before;
    return rc;
}

enum fab_rc fab_bitswap_writer_begin(struct fab_bitswap_writer *w, struct fab_buf *out)
{
    static const uint8_t empty_wantlist[] = {MESSAGE_WANTLIST << 3 | FAB_PROTO_BYTES, 0};
    FAB_TRY(fab_buf_reserve(out, FAB_BITSWAP_LENGTH_MAX + sizeof empty_wantlist));
    w->out = out;
    w->start = out->len;
    memset(out->data + out->len, 0, FAB_BITSWAP_LENGTH_MAX);
    out->len += FAB_BITSWAP_LENGTH_MAX;
    return fab_buf_append(out, empty_wantlist, sizeof empty_wantlist);
}

size_t fab_bitswap_writer_size(const struct fab_bitswap_writer *w)
{
    return w->out->len - w->start - FAB_BITSWAP_LENGTH_MAX;
}

/* Room for a field of `inner` bytes, and its header written. */
static enum fab_rc open_field(struct fab_bitswap_writer *w, unsigned number, size_t inner)
{
    if (inner > FAB_BITSWAP_MESSAGE_MAX)
        return FAB_ELIMIT;
    size_t n = fab_proto_bytes_size(number, inner);
    if (n > FAB_BITSWAP_MESSAGE_MAX - fab_bitswap_writer_size(w))
        return FAB_ELIMIT;
    FAB_TRY(fab_buf_reserve(w->out, n));
    FAB_TRY(fab_varint_append_pb(w->out, (uint64_t)number << 3 | FAB_PROTO_BYTES));
    return fab_varint_append_pb(w->out, inner);
}

enum fab_rc fab_bitswap_writer_block(struct fab_bitswap_writer *w, const struct fab_cid *cid,
                                     struct fab_slice data)
{
    uint8_t prefix[4 * FAB_VARINT_PB_MAX];
    size_t n = fab_varint_put(cid->version, prefix);
    n += fab_varint_put(cid->codec, prefix + n);
    n += fab_varint_put(fab_cid_mh_code(cid), prefix + n);
    n += fab_varint_put(fab_cid_digest(cid).n, prefix + n);
    if (data.n > FAB_BITSWAP_MESSAGE_MAX)
        return FAB_ELIMIT;
    FAB_TRY(open_field(w, MESSAGE_PAYLOAD,
                       fab_proto_bytes_size(BLOCK_PREFIX, n) +
                           fab_proto_bytes_size(BLOCK_DATA, data.n)));
    FAB_TRY(fab_proto_append_bytes(w->out, BLOCK_PREFIX, fab_slice(prefix, n)));
    return fab_proto_append_bytes(w->out, BLOCK_DATA, data);
}

enum fab_rc fab_bitswap_writer_presence(struct fab_bitswap_writer *w, const struct fab_cid *cid,
                                        bool have)
{
    struct small s = {.n = 0};
    small_cid(&s, PRESENCE_CID, cid);
    if (!have)
        small_uint(&s, PRESENCE_TYPE, PRESENCE_DONT_HAVE);
    FAB_TRY(open_field(w, MESSAGE_PRESENCES, s.n));
    return fab_buf_append(w->out, s.bytes, s.n);
}

void fab_bitswap_writer_end(struct fab_bitswap_writer *w, struct fab_slice *message)
{
    uint8_t prefix[FAB_VARINT_PB_MAX];
    size_t size = fab_bitswap_writer_size(w);
    size_t n = fab_varint_put(size, prefix);
    uint8_t *at = w->out->data + w->start + FAB_BITSWAP_LENGTH_MAX - n;
    memcpy(at, prefix, n);
    *message = fab_slice(at, n + size);
}
