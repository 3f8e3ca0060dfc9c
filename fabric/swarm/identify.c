/* A reader keeps the stream's bytes as they are, checking only lengths and counts while they
 * arrive, so that what it holds is bounded by messages times size; they are decoded once, at the
 * stream's end, into slices of that memory. What a peer says about itself is advice: one odd
 * address or name costs that entry, not the message. */
#include "fabric/swarm/identify.h"

#include "storage/multiformats/multiaddr.h"
#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <string.h>

enum {
    PUBLIC_KEY = 1,
    LISTEN_ADDRS = 2,
    PROTOCOLS = 3,
    OBSERVED_ADDR = 4,
    PROTOCOL_VERSION = 5,
    AGENT_VERSION = 6,
    SIGNED_PEER_RECORD = 8
};

#define LENGTH_MAX 2 /* bytes of the varint of FAB_IDENTIFY_MESSAGE_MAX */

static enum fab_rc list_append(struct fab_buf *b, uint64_t number, const struct fab_slice *list,
                               size_t n)
{
    for (size_t i = 0; i < n; i++)
        FAB_TRY(fab_proto_append_bytes(b, number, list[i]));
    return FAB_OK;
}

static enum fab_rc message_append(const struct fab_identify *id, struct fab_buf *b)
{
    FAB_TRY(list_append(b, PUBLIC_KEY, &id->public_key, id->public_key.n > 0));
    FAB_TRY(list_append(b, LISTEN_ADDRS, id->listen, id->n_listen));
    FAB_TRY(list_append(b, PROTOCOLS, id->protocols, id->n_protocols));
    FAB_TRY(list_append(b, OBSERVED_ADDR, &id->observed, id->observed.n > 0));
    FAB_TRY(list_append(b, PROTOCOL_VERSION, &id->protocol_version, id->protocol_version.n > 0));
    FAB_TRY(list_append(b, AGENT_VERSION, &id->agent_version, id->agent_version.n > 0));
    return list_append(b, SIGNED_PEER_RECORD, &id->signed_peer_record,
                       id->signed_peer_record.n > 0);
}

enum fab_rc fab_identify_write(const struct fab_identify *id, struct fab_buf *out)
{
    struct fab_buf message;
    size_t before = out->len;
    if (id->n_listen > FAB_IDENTIFY_LISTEN_MAX || id->n_protocols > FAB_IDENTIFY_PROTOCOLS_MAX)
        return FAB_EINVAL;
    fab_buf_init(&message, FAB_IDENTIFY_WRITE_MAX - LENGTH_MAX);
    enum fab_rc rc = message_append(id, &message);
    if (rc == FAB_OK)
        rc = fab_varint_append(out, message.len);
    if (rc == FAB_OK)
        rc = fab_buf_append(out, message.data, message.len);
    if (rc != FAB_OK)
        out->len = before;
    fab_buf_fini(&message);
    return rc;
}

bool fab_identify_speaks(const struct fab_identify *id, const char *protocol)
{
    struct fab_slice name = fab_slice(protocol, strlen(protocol));
    for (size_t i = 0; i < id->n_protocols; i++)
        if (fab_slice_eq(id->protocols[i], name))
            return true;
    return false;
}

void fab_identify_reader_init(struct fab_identify_reader *r)
{
    *r = (struct fab_identify_reader){.failed = FAB_OK};
    fab_buf_init(&r->bytes,
                 (size_t)FAB_IDENTIFY_MESSAGES_MAX * (FAB_IDENTIFY_MESSAGE_MAX + LENGTH_MAX));
}

void fab_identify_reader_fini(struct fab_identify_reader *r)
{
    fab_buf_fini(&r->bytes);
}

/* One byte of a message's length. */
static enum fab_rc length_byte(struct fab_identify_reader *r, uint8_t byte)
{
    uint64_t n;
    if (r->at == r->bytes.len && r->messages++ == FAB_IDENTIFY_MESSAGES_MAX)
        return FAB_ELIMIT;
    if (r->bytes.len - r->at == LENGTH_MAX)
        return FAB_ELIMIT;
    FAB_TRY(fab_buf_byte(&r->bytes, byte));
    if (byte & 0x80)
        return FAB_OK;
    struct fab_reader at = fab_reader(fab_slice(r->bytes.data + r->at, r->bytes.len - r->at));
    FAB_TRY(fab_varint_read(&at, &n));
    if (n > FAB_IDENTIFY_MESSAGE_MAX)
        return FAB_ELIMIT;
    r->need = (size_t)n;
    if (n == 0)
        r->at = r->bytes.len;
    return FAB_OK;
}

static enum fab_rc feed(struct fab_identify_reader *r, struct fab_slice bytes)
{
    while (bytes.n > 0) {
        size_t n = 1;
        if (r->need > 0) {
            n = bytes.n < r->need ? bytes.n : r->need;
            FAB_TRY(fab_buf_append(&r->bytes, bytes.p, n));
            r->need -= n;
            if (r->need == 0)
                r->at = r->bytes.len;
        } else {
            FAB_TRY(length_byte(r, bytes.p[0]));
        }
        bytes = fab_slice(bytes.p + n, bytes.n - n);
    }
    return FAB_OK;
}

enum fab_rc fab_identify_reader_feed(struct fab_identify_reader *r, struct fab_slice bytes)
{
    if (r->failed == FAB_OK)
        r->failed = feed(r, bytes);
    return r->failed;
}

/* Names and versions end up in logs, in JSON and on terminals. */
static bool text_fits(struct fab_slice text)
{
    if (text.n > FAB_IDENTIFY_TEXT_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < 0x20 || text.p[i] > 0x7e)
            return false;
    return true;
}

static void field_keep(struct fab_identify *id, uint64_t number, struct fab_slice bytes)
{
    switch (number) {
    case PUBLIC_KEY:
        id->public_key = bytes;
        break;
    case LISTEN_ADDRS:
        if (id->n_listen < FAB_IDENTIFY_LISTEN_MAX && fab_multiaddr_check(bytes) == FAB_OK)
            id->listen[id->n_listen++] = bytes;
        break;
    case PROTOCOLS:
        if (id->n_protocols < FAB_IDENTIFY_PROTOCOLS_MAX && bytes.n > 0 && text_fits(bytes))
            id->protocols[id->n_protocols++] = bytes;
        break;
    case OBSERVED_ADDR:
        if (fab_multiaddr_check(bytes) == FAB_OK)
            id->observed = bytes;
        break;
    case PROTOCOL_VERSION:
        if (text_fits(bytes))
            id->protocol_version = bytes;
        break;
    case AGENT_VERSION:
        if (text_fits(bytes))
            id->agent_version = bytes;
        break;
    case SIGNED_PEER_RECORD:
        id->signed_peer_record = bytes;
        break;
    default:
        break;
    }
}

static bool field_known(uint64_t number)
{
    return (number >= PUBLIC_KEY && number <= AGENT_VERSION) || number == SIGNED_PEER_RECORD;
}

static enum fab_rc message_merge(struct fab_slice message, struct fab_identify *id)
{
    struct fab_reader r = fab_reader(message);
    struct fab_proto_field field;
    enum fab_rc rc;
    while ((rc = fab_proto_next(&r, &field)) == FAB_OK) {
        if (!field_known(field.number))
            continue;
        if (field.wire != FAB_PROTO_BYTES)
            return FAB_EFORMAT;
        field_keep(id, field.number, field.bytes);
    }
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

enum fab_rc fab_identify_reader_finish(struct fab_identify_reader *r, struct fab_identify *out)
{
    struct fab_identify id = {0};
    struct fab_reader at = fab_reader(fab_buf_slice(&r->bytes));
    struct fab_slice message;
    uint64_t n;
    FAB_TRY(r->failed);
    if (r->messages == 0 || r->at != r->bytes.len)
        return FAB_EFORMAT;
    while (fab_reader_left(&at) > 0) {
        FAB_TRY(fab_varint_read(&at, &n));
        FAB_TRY(fab_read_bytes(&at, (size_t)n, &message));
        FAB_TRY(message_merge(message, &id));
    }
    *out = id;
    return FAB_OK;
}
