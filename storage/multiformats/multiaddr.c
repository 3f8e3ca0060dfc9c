#include "storage/multiformats/multiaddr.h"

#include "storage/multiformats/multibase.h"
#include "storage/multiformats/multihash.h"
#include "storage/multiformats/varint.h"

#include <arpa/inet.h>
#include <string.h>

enum value_kind {
    VALUE_NONE,
    VALUE_IP4,
    VALUE_IP6,
    VALUE_PORT,
    VALUE_NAME, /* host names and zones: visible ASCII without '/' */
    VALUE_PATH,
    VALUE_PEER,
    VALUE_CERT, /* a multihash written in a multibase */
};

struct protocol {
    const char *name;
    uint16_t code;
    uint8_t kind;
};

static const struct protocol protocols[] = {
    {"ip4", FAB_MA_IP4, VALUE_IP4},    {"tcp", FAB_MA_TCP, VALUE_PORT},
    {"ip6", FAB_MA_IP6, VALUE_IP6},    {"ip6zone", FAB_MA_IP6ZONE, VALUE_NAME},
    {"dns", FAB_MA_DNS, VALUE_NAME},   {"dns4", FAB_MA_DNS4, VALUE_NAME},
    {"dns6", FAB_MA_DNS6, VALUE_NAME}, {"dnsaddr", FAB_MA_DNSADDR, VALUE_NAME},
    {"udp", FAB_MA_UDP, VALUE_PORT},   {"p2p-circuit", FAB_MA_P2P_CIRCUIT, VALUE_NONE},
    {"unix", FAB_MA_UNIX, VALUE_PATH}, {"p2p", FAB_MA_P2P, VALUE_PEER},
    {"ipfs", FAB_MA_P2P, VALUE_PEER}, /* the old name, only read */
    {"https", 443, VALUE_NONE},        {"tls", FAB_MA_TLS, VALUE_NONE},
    {"sni", 449, VALUE_NAME},          {"noise", 454, VALUE_NONE},
    {"quic", 460, VALUE_NONE},         {"quic-v1", FAB_MA_QUIC_V1, VALUE_NONE},
    {"webtransport", 465, VALUE_NONE}, {"certhash", 466, VALUE_CERT},
    {"ws", FAB_MA_WS, VALUE_NONE},     {"wss", FAB_MA_WSS, VALUE_NONE},
    {"http", 480, VALUE_NONE},
};

static const struct protocol *by_code(uint64_t code)
{
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (protocols[i].code == code)
            return &protocols[i];
    }
    return NULL;
}

static const struct protocol *by_name(struct fab_slice name)
{
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        const char *p = protocols[i].name;
        if (fab_slice_eq(name, fab_slice(p, strlen(p))))
            return &protocols[i];
    }
    return NULL;
}

static bool is_multihash(struct fab_slice s)
{
    struct fab_reader r = fab_reader(s);
    return fab_mh_read(&r, NULL, NULL, NULL) == FAB_OK && fab_reader_left(&r) == 0;
}

/* Peer IDs are identity hashes of short keys or SHA-256 (libp2p specs/peer-ids): just those whose
 * base58 form begins so that it can be told from a CID. */
static bool is_peer(struct fab_slice s)
{
    return is_multihash(s) &&
           (s.p[0] == FAB_MH_IDENTITY || (s.p[0] == FAB_MH_SHA2_256 && s.p[1] == 32));
}

/* Whether the value of a kind without fixed size is allowed. */
static bool value_ok(enum value_kind kind, struct fab_slice v)
{
    if (kind == VALUE_PEER)
        return is_peer(v);
    if (kind == VALUE_CERT)
        return is_multihash(v);
    uint8_t first = kind == VALUE_NAME ? 0x21 : 0x20;
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (c < first || c == 0x7f || (kind == VALUE_NAME && (c == '/' || c > 0x7f)))
            return false;
    }
    return kind == VALUE_NAME ? v.n > 0 : v.n > 1 && v.p[0] == '/';
}

/* Bytes of a value of fixed size; -1 when a length stands before it. */
static int fixed_size(enum value_kind kind)
{
    switch (kind) {
    case VALUE_NONE:
        return 0;
    case VALUE_IP4:
        return 4;
    case VALUE_IP6:
        return 16;
    case VALUE_PORT:
        return 2;
    default:
        return -1;
    }
}

static enum fab_rc next_part(struct fab_reader *r, const struct protocol **protocol,
                             struct fab_slice *value)
{
    struct fab_reader in = *r;
    uint64_t code, n;
    if (!fab_reader_left(&in))
        return FAB_ENOENT;
    FAB_TRY(fab_varint_read(&in, &code));
    const struct protocol *p = by_code(code);
    if (!p)
        return FAB_EUNSUPPORTED;
    int fixed = fixed_size(p->kind);
    if (fixed >= 0) {
        FAB_TRY(fab_read_bytes(&in, (size_t)fixed, value));
    } else {
        FAB_TRY(fab_varint_read(&in, &n));
        if (n > fab_reader_left(&in))
            return FAB_EFORMAT;
        FAB_TRY(fab_read_bytes(&in, (size_t)n, value));
        if (!value_ok(p->kind, *value))
            return FAB_EFORMAT;
    }
    /* In text a path runs to the end, so nothing may follow it. */
    if (p->kind == VALUE_PATH && fab_reader_left(&in))
        return FAB_EFORMAT;
    *protocol = p;
    *r = in;
    return FAB_OK;
}

enum fab_rc fab_multiaddr_next(struct fab_reader *r, struct fab_multiaddr_part *out)
{
    const struct protocol *p;
    struct fab_slice value;
    FAB_TRY(next_part(r, &p, &value));
    *out = (struct fab_multiaddr_part){p->code, p->name, value};
    return FAB_OK;
}

enum fab_rc fab_multiaddr_check(struct fab_slice addr)
{
    struct fab_reader r = fab_reader(addr);
    struct fab_multiaddr_part part;
    if (addr.n == 0)
        return FAB_EFORMAT;
    if (addr.n > FAB_MULTIADDR_MAX)
        return FAB_ELIMIT;
    enum fab_rc rc;
    do
        rc = fab_multiaddr_next(&r, &part);
    while (rc == FAB_OK);
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

enum fab_rc fab_multiaddr_find(struct fab_slice addr, uint64_t code, struct fab_slice *out)
{
    struct fab_reader r = fab_reader(addr);
    struct fab_multiaddr_part part;
    do
        FAB_TRY(fab_multiaddr_next(&r, &part));
    while (part.code != code);
    *out = part.value;
    return FAB_OK;
}

/* ---- from text ---- */

static enum fab_rc append_sized(struct fab_buf *out, struct fab_slice value)
{
    FAB_TRY(fab_varint_append(out, value.n));
    return fab_buf_append(out, value.p, value.n);
}

static enum fab_rc append_ip(int family, struct fab_slice text, struct fab_buf *out)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t addr[16];
    if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, 0, text.n))
        return FAB_EFORMAT;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (inet_pton(family, copy, addr) != 1)
        return FAB_EFORMAT;
    return fab_buf_append(out, addr, family == AF_INET ? 4 : 16);
}

static enum fab_rc append_port(struct fab_slice text, struct fab_buf *out)
{
    unsigned v = 0;
    if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0'))
        return FAB_EFORMAT;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return FAB_EFORMAT;
        v = v * 10 + (unsigned)(text.p[i] - '0');
    }
    return v > UINT16_MAX ? FAB_EFORMAT : fab_buf_be(out, 2, v);
}

static enum fab_rc append_peer(struct fab_slice text, struct fab_buf *out)
{
    const char *t = (const char *)text.p;
    struct fab_cid cid;
    uint8_t bytes[FAB_MH_MAX];
    size_t n;
    /* The multihash codes 00 and 12 20 begin with "1" and "Qm" in base58. */
    if (text.n > 1 && (t[0] == '1' || (t[0] == 'Q' && t[1] == 'm'))) {
        if (fab_base_decode('z', t, text.n, bytes, sizeof(bytes), &n) != FAB_OK)
            return FAB_EFORMAT;
    } else {
        FAB_TRY(fab_cid_from_text(t, text.n, &cid));
        if (cid.codec != FAB_CODEC_LIBP2P_KEY)
            return FAB_EFORMAT;
        n = cid.mh_len;
        memcpy(bytes, cid.mh, n);
    }
    struct fab_slice mh = fab_slice(bytes, n);
    return is_peer(mh) ? append_sized(out, mh) : FAB_EFORMAT;
}

static enum fab_rc append_cert(struct fab_slice text, struct fab_buf *out)
{
    uint8_t bytes[FAB_MH_MAX];
    size_t n;
    if (fab_multibase_decode((const char *)text.p, text.n, bytes, sizeof(bytes), &n) != FAB_OK ||
        !is_multihash(fab_slice(bytes, n)))
        return FAB_EFORMAT;
    return append_sized(out, fab_slice(bytes, n));
}

static enum fab_rc append_value(enum value_kind kind, struct fab_slice text, struct fab_buf *out)
{
    switch (kind) {
    case VALUE_NONE:
        return FAB_OK;
    case VALUE_IP4:
        return append_ip(AF_INET, text, out);
    case VALUE_IP6:
        return append_ip(AF_INET6, text, out);
    case VALUE_PORT:
        return append_port(text, out);
    case VALUE_PEER:
        return append_peer(text, out);
    case VALUE_CERT:
        return append_cert(text, out);
    case VALUE_NAME:
    case VALUE_PATH:
        return value_ok(kind, text) ? append_sized(out, text) : FAB_EFORMAT;
    }
    return FAB_EINVAL;
}

/* What lies between the next '/' (which has to be there) and the one after it. */
static enum fab_rc read_segment(struct fab_reader *r, struct fab_slice *out)
{
    uint8_t slash;
    FAB_TRY(fab_read_u8(r, &slash));
    if (slash != '/')
        return FAB_EFORMAT;
    const uint8_t *end = memchr(r->p, '/', fab_reader_left(r));
    return fab_read_bytes(r, end ? (size_t)(end - r->p) : fab_reader_left(r), out);
}

static enum fab_rc parse_text(struct fab_reader *r, struct fab_buf *out)
{
    do {
        struct fab_slice name, value = {NULL, 0};
        FAB_TRY(read_segment(r, &name));
        const struct protocol *p = by_name(name);
        if (!p)
            return name.n ? FAB_EUNSUPPORTED : FAB_EFORMAT;
        if (p->kind == VALUE_PATH)
            FAB_TRY(fab_read_bytes(r, fab_reader_left(r), &value));
        else if (p->kind != VALUE_NONE)
            FAB_TRY(read_segment(r, &value));
        FAB_TRY(fab_varint_append(out, p->code));
        FAB_TRY(append_value(p->kind, value, out));
    } while (fab_reader_left(r));
    return FAB_OK;
}

enum fab_rc fab_multiaddr_from_text(const char *text, size_t n, struct fab_buf *out)
{
    struct fab_reader r = fab_reader(fab_slice(text, n));
    size_t before = out->len;
    if (n > FAB_MULTIADDR_TEXT_MAX)
        return FAB_ELIMIT;
    enum fab_rc rc = parse_text(&r, out);
    if (rc == FAB_OK && out->len - before > FAB_MULTIADDR_MAX)
        rc = FAB_ELIMIT;
    if (rc != FAB_OK)
        out->len = before;
    return rc;
}

/* ---- to text ---- */

static enum fab_rc write_value(enum value_kind kind, struct fab_slice v, struct fab_buf *out)
{
    char text[FAB_BASE_TEXT_MAX(FAB_MH_MAX) + 1];
    size_t n = 0;
    switch (kind) {
    case VALUE_NONE:
        return FAB_OK;
    case VALUE_IP4:
    case VALUE_IP6:
        if (!inet_ntop(kind == VALUE_IP4 ? AF_INET : AF_INET6, v.p, text, sizeof(text)))
            return FAB_EINVAL;
        n = strlen(text);
        break;
    case VALUE_PORT:
        return fab_buf_printf(out, "/%u", (unsigned)v.p[0] << 8 | v.p[1]);
    case VALUE_PEER:
        FAB_TRY(fab_base_encode('z', v, text, sizeof(text), &n));
        break;
    case VALUE_CERT:
        FAB_TRY(fab_multibase_encode('u', v, text, sizeof(text), &n));
        break;
    case VALUE_PATH: /* brings its own '/' */
        return fab_buf_append(out, v.p, v.n);
    case VALUE_NAME:
        FAB_TRY(fab_buf_byte(out, '/'));
        return fab_buf_append(out, v.p, v.n);
    }
    FAB_TRY(fab_buf_byte(out, '/'));
    return fab_buf_append(out, text, n);
}

enum fab_rc fab_multiaddr_to_text(struct fab_slice addr, struct fab_buf *out)
{
    struct fab_reader r = fab_reader(addr);
    size_t before = out->len;
    FAB_TRY(fab_multiaddr_check(addr));
    enum fab_rc rc = FAB_OK;
    while (rc == FAB_OK && fab_reader_left(&r)) {
        const struct protocol *p;
        struct fab_slice value;
        rc = next_part(&r, &p, &value);
        if (rc == FAB_OK)
            rc = fab_buf_printf(out, "/%s", p->name);
        if (rc == FAB_OK)
            rc = write_value(p->kind, value, out);
    }
    if (rc != FAB_OK)
        out->len = before;
    return rc;
}
