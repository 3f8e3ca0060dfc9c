/* Multicast DNS, as much of it as one service needs: two packets are written, and from whatever
 * arrives our question and our TXT records are picked.
 *
 * A packet is read front to back. A name may end in a pointer to an earlier one; each pointer must
 * lead before the part that held it, so that reading ends. What is not ours is passed over by its
 * length. An announcement that is odd in itself is left out; a packet that is cut short is refused
 * as a whole. */
#include "fabric/swarm/mdns.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER       12
#define NAME_MAX     255  /* bytes of a name, with its lengths */
#define MESSAGE_MAX  9000 /* RFC 6762, 17 */
#define TYPE_PTR     12
#define TYPE_TXT     16
#define TYPE_ANY     255
#define CLASS_IN     1
#define CLASS_ANY    255
#define CLASS_MASK   0x7fff /* the top bit asks for unicast, or flushes caches */
#define CLASS_FLUSH  0x8000
#define FLAG_ANSWER  0x8000
#define FLAGS_ODD    0x780f /* opcode and response code */
#define TTL_S        120
#define STRING       5 /* entries in one TXT string: 240 bytes */
#define COVER        8
#define TAG          16
#define NONCE_DIGITS (2 * (size_t)FAB_MDNS_NONCE)

static const char service[] = "\x07_fabric\x04_tcp\x05local"; /* with the final 0 */
static const char domain[] = "fabric mdns 1";
/* The protobuf form of an Ed25519 public key in front of its 32 bytes. */
static const uint8_t ed25519[] = {0x08, 0x01, 0x12, 0x20};

_Static_assert(FAB_MDNS_ENTRY == TAG + crypto_sign_PUBLICKEYBYTES, "the entry");
_Static_assert(FAB_MDNS_ENTRIES_MAX % COVER == 0, "the cover fits");

/* ---- entries ---- */

/* 16 bytes of tag and 32 that hide the key; 16 are not used. */
static void derive(const struct fab_mdns_announcement *a, const uint8_t key[FAB_SWARM_KEY_SIZE],
                   uint8_t out[crypto_generichash_BYTES_MAX])
{
    crypto_generichash_state state;
    const uint8_t rest[] = {
        (uint8_t)(a->slot >> 24), (uint8_t)(a->slot >> 16), (uint8_t)(a->slot >> 8),
        (uint8_t)a->slot,         (uint8_t)(a->port >> 8),  (uint8_t)a->port,
    };
    crypto_generichash_init(&state, key, FAB_SWARM_KEY_SIZE, crypto_generichash_BYTES_MAX);
    crypto_generichash_update(&state, (const uint8_t *)domain, sizeof domain - 1);
    crypto_generichash_update(&state, a->nonce, sizeof a->nonce);
    crypto_generichash_update(&state, rest, sizeof rest);
    crypto_generichash_final(&state, out, crypto_generichash_BYTES_MAX);
    sodium_memzero(&state, sizeof state);
}

enum fab_rc fab_mdns_seal(struct fab_mdns_announcement *a, const uint8_t key[FAB_SWARM_KEY_SIZE],
                          const struct fab_peer_id *self)
{
    uint8_t derived[crypto_generichash_BYTES_MAX];
    struct fab_slice public;
    if (a->n >= FAB_MDNS_ENTRIES_MAX)
        return FAB_ELIMIT;
    if (fab_peer_id_public(self, &public) != FAB_OK ||
        public.n != sizeof ed25519 + crypto_sign_PUBLICKEYBYTES ||
        memcmp(public.p, ed25519, sizeof ed25519) != 0)
        return FAB_EUNSUPPORTED;
    derive(a, key, derived);
    uint8_t *entry = a->entries[a->n++];
    memcpy(entry, derived, TAG);
    for (size_t i = TAG; i < FAB_MDNS_ENTRY; i++)
        entry[i] = derived[i] ^ public.p[sizeof ed25519 + i - TAG];
    sodium_memzero(derived, sizeof derived);
    return FAB_OK;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, FAB_MDNS_ENTRY);
}

void fab_mdns_cover(struct fab_mdns_announcement *a, const uint8_t seed[32])
{
    while (a->n % COVER != 0) {
        /* The port, too: the true entries differ with it. */
        uint8_t message[FAB_MDNS_NONCE + 3];
        memcpy(message, a->nonce, FAB_MDNS_NONCE);
        message[FAB_MDNS_NONCE] = (uint8_t)a->n;
        message[FAB_MDNS_NONCE + 1] = (uint8_t)(a->port >> 8);
        message[FAB_MDNS_NONCE + 2] = (uint8_t)a->port;
        crypto_generichash(a->entries[a->n++], FAB_MDNS_ENTRY, message, sizeof message, seed, 32);
    }
    qsort(a->entries, a->n, FAB_MDNS_ENTRY, compare);
}

enum fab_rc fab_mdns_open(const struct fab_mdns_announcement *a,
                          const uint8_t key[FAB_SWARM_KEY_SIZE], struct fab_peer_id *out)
{
    uint8_t derived[crypto_generichash_BYTES_MAX];
    uint8_t proto[sizeof ed25519 + crypto_sign_PUBLICKEYBYTES];
    enum fab_rc rc = FAB_ENOENT;
    derive(a, key, derived);
    for (size_t i = 0; i < a->n && rc == FAB_ENOENT; i++) {
        if (sodium_memcmp(a->entries[i], derived, TAG) != 0)
            continue;
        memcpy(proto, ed25519, sizeof ed25519);
        for (size_t j = TAG; j < FAB_MDNS_ENTRY; j++)
            proto[sizeof ed25519 + j - TAG] = a->entries[i][j] ^ derived[j];
        rc = fab_peer_id_of_public(fab_slice(proto, sizeof proto), out);
        if (rc != FAB_OK && rc != FAB_ENOMEM)
            rc = FAB_EFORMAT;
    }
    sodium_memzero(derived, sizeof derived);
    return rc;
}

/* ---- writing ---- */

static enum fab_rc append_header(struct fab_buf *b, unsigned flags, unsigned questions,
                                 unsigned answers, unsigned additional)
{
    FAB_TRY(fab_buf_be(b, 2, 0)); /* the ID */
    FAB_TRY(fab_buf_be(b, 2, flags));
    FAB_TRY(fab_buf_be(b, 2, questions));
    FAB_TRY(fab_buf_be(b, 2, answers));
    FAB_TRY(fab_buf_be(b, 2, 0));
    return fab_buf_be(b, 2, additional);
}

enum fab_rc fab_mdns_query(struct fab_buf *out)
{
    struct fab_buf b;
    fab_buf_init(&b, FAB_MDNS_PACKET_MAX);
    enum fab_rc rc = append_header(&b, 0, 1, 0, 0);
    if (rc == FAB_OK)
        rc = fab_buf_append(&b, service, sizeof service);
    if (rc == FAB_OK)
        rc = fab_buf_be(&b, 4, TYPE_PTR << 16 | CLASS_IN);
    if (rc == FAB_OK)
        rc = fab_buf_append(out, b.data, b.len);
    fab_buf_fini(&b);
    return rc;
}

/* One string of a TXT record. */
static enum fab_rc append_string(struct fab_buf *b, const char *text, const void *p, size_t n)
{
    size_t head = strlen(text);
    FAB_TRY(fab_buf_byte(b, (uint8_t)(head + n)));
    FAB_TRY(fab_buf_append(b, text, head));
    return fab_buf_append(b, p, n);
}

static enum fab_rc append_strings(struct fab_buf *b, const struct fab_mdns_announcement *a)
{
    char text[24];
    FAB_TRY(append_string(b, "v=1", NULL, 0));
    snprintf(text, sizeof text, "p=%u", (unsigned)a->port);
    FAB_TRY(append_string(b, text, NULL, 0));
    snprintf(text, sizeof text, "s=%u", (unsigned)a->slot);
    FAB_TRY(append_string(b, text, NULL, 0));
    for (size_t i = 0; i < a->n; i += STRING) {
        size_t n = a->n - i < STRING ? a->n - i : STRING;
        snprintf(text, sizeof text, "k%zu=", i / STRING);
        FAB_TRY(append_string(b, text, a->entries[i], n * FAB_MDNS_ENTRY));
    }
    return FAB_OK;
}

static enum fab_rc append_records(struct fab_buf *b, const struct fab_mdns_announcement *a,
                                  struct fab_slice strings)
{
    char label[NONCE_DIGITS + 1];
    sodium_bin2hex(label, sizeof label, a->nonce, sizeof a->nonce);
    FAB_TRY(append_header(b, FLAG_ANSWER | 0x0400, 0, 1, 1)); /* authoritative */
    FAB_TRY(fab_buf_append(b, service, sizeof service));
    FAB_TRY(fab_buf_be(b, 4, TYPE_PTR << 16 | CLASS_IN));
    FAB_TRY(fab_buf_be(b, 4, TTL_S));
    FAB_TRY(fab_buf_be(b, 2, 1 + NONCE_DIGITS + 2));
    size_t instance = b->len;
    FAB_TRY(append_string(b, label, NULL, 0));
    FAB_TRY(fab_buf_be(b, 2, 0xc000 | HEADER));
    FAB_TRY(fab_buf_be(b, 2, 0xc000 | instance));
    FAB_TRY(fab_buf_be(b, 4, (uint64_t)TYPE_TXT << 16 | CLASS_FLUSH | CLASS_IN));
    FAB_TRY(fab_buf_be(b, 4, TTL_S));
    FAB_TRY(fab_buf_be(b, 2, strings.n));
    return fab_buf_append(b, strings.p, strings.n);
}

enum fab_rc fab_mdns_announce(const struct fab_mdns_announcement *a, struct fab_buf *out)
{
    struct fab_buf strings, packet;
    if (a->port == 0 || a->n > FAB_MDNS_ENTRIES_MAX)
        return FAB_EINVAL;
    fab_buf_init(&strings, FAB_MDNS_PACKET_MAX);
    fab_buf_init(&packet, FAB_MDNS_PACKET_MAX);
    enum fab_rc rc = append_strings(&strings, a);
    if (rc == FAB_OK)
        rc = append_records(&packet, a, fab_buf_slice(&strings));
    if (rc == FAB_OK)
        rc = fab_buf_append(out, packet.data, packet.len);
    fab_buf_fini(&strings);
    fab_buf_fini(&packet);
    return rc;
}

/* ---- reading names ---- */

struct name {
    uint8_t bytes[NAME_MAX]; /* lengths and labels in lower case, with the final 0 */
    size_t n;
};

static enum fab_rc append_label(struct name *name, struct fab_slice label)
{
    if (name->n + 1 + label.n > sizeof name->bytes)
        return FAB_EFORMAT;
    name->bytes[name->n++] = (uint8_t)label.n;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = label.p[i];
        name->bytes[name->n++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
    }
    return FAB_OK;
}

/* The name at the reader, which then stands behind it. */
static enum fab_rc read_name(struct fab_slice packet, struct fab_reader *r, struct name *out)
{
    struct fab_reader at = *r;
    size_t before = (size_t)(r->p - packet.p); /* where the next pointer must lead before */
    bool jumped = false;
    out->n = 0;
    for (;;) {
        uint8_t length, low;
        struct fab_slice label;
        FAB_TRY(fab_read_u8(&at, &length));
        if ((length & 0xc0) == 0xc0) {
            FAB_TRY(fab_read_u8(&at, &low));
            size_t to = (size_t)(length & 0x3f) << 8 | low;
            if (to >= before)
                return FAB_EFORMAT;
            if (!jumped)
                *r = at;
            jumped = true;
            before = to;
            at.p = packet.p + to;
            continue;
        }
        if (length & 0xc0)
            return FAB_EFORMAT;
        FAB_TRY(fab_read_bytes(&at, length, &label));
        FAB_TRY(append_label(out, label));
        if (length == 0)
            break;
    }
    if (!jumped)
        *r = at;
    return FAB_OK;
}

static bool is_service(const uint8_t *p, size_t n)
{
    return n == sizeof service && memcmp(p, service, n) == 0;
}

/* NONCE._fabric._tcp.local */
static bool is_instance(const struct name *name, uint8_t nonce[FAB_MDNS_NONCE])
{
    size_t n;
    return name->n == 1 + NONCE_DIGITS + sizeof service && name->bytes[0] == NONCE_DIGITS &&
           is_service(name->bytes + 1 + NONCE_DIGITS, sizeof service) &&
           sodium_hex2bin(nonce, FAB_MDNS_NONCE, (const char *)name->bytes + 1, NONCE_DIGITS, NULL,
                          &n, NULL) == 0 &&
           n == FAB_MDNS_NONCE;
}

/* ---- reading announcements ---- */

/* Decimal, in its shortest form. */
static enum fab_rc read_number(struct fab_slice text, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 10 || (text.n > 1 && text.p[0] == '0'))
        return FAB_EFORMAT;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return FAB_EFORMAT;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (v > max)
        return FAB_EFORMAT;
    *out = v;
    return FAB_OK;
}

static enum fab_rc take_entries(struct fab_mdns_announcement *a, struct fab_slice bytes)
{
    size_t n = bytes.n / FAB_MDNS_ENTRY;
    if (bytes.n % FAB_MDNS_ENTRY != 0 || n > FAB_MDNS_ENTRIES_MAX - a->n)
        return FAB_EFORMAT;
    if (n > 0)
        memcpy(a->entries[a->n], bytes.p, bytes.n);
    a->n += n;
    return FAB_OK;
}

/* What of v, p and s has come. */
struct seen {
    bool version, port, slot;
    unsigned strings; /* k strings */
};

static enum fab_rc take_string(struct fab_slice s, struct seen *seen,
                               struct fab_mdns_announcement *a)
{
    uint64_t v;
    if (s.n >= 2 && s.p[1] == '=') {
        struct fab_slice value = fab_slice(s.p + 2, s.n - 2);
        switch (s.p[0]) {
        case 'v':
            if (seen->version || value.n != 1 || value.p[0] != '1')
                return FAB_EFORMAT;
            seen->version = true;
            return FAB_OK;
        case 'p':
            if (seen->port || read_number(value, 65535, &v) != FAB_OK || v == 0)
                return FAB_EFORMAT;
            seen->port = true;
            a->port = (uint16_t)v;
            return FAB_OK;
        case 's':
            if (seen->slot || read_number(value, UINT32_MAX, &v) != FAB_OK)
                return FAB_EFORMAT;
            seen->slot = true;
            a->slot = (uint32_t)v;
            return FAB_OK;
        default:
            return FAB_OK;
        }
    }
    if (s.n >= 3 && s.p[0] == 'k' && s.p[2] == '=') {
        if (s.p[1] != '0' + seen->strings)
            return FAB_EFORMAT;
        seen->strings++;
        return take_entries(a, fab_slice(s.p + 3, s.n - 3));
    }
    return FAB_OK;
}

static enum fab_rc read_strings(struct fab_slice data, struct fab_mdns_announcement *a)
{
    struct fab_reader r = fab_reader(data);
    struct seen seen = {0};
    while (fab_reader_left(&r) > 0) {
        uint8_t n;
        struct fab_slice s;
        FAB_TRY(fab_read_u8(&r, &n));
        FAB_TRY(fab_read_bytes(&r, n, &s));
        FAB_TRY(take_string(s, &seen, a));
    }
    return seen.version && seen.port && seen.slot && a->n > 0 ? FAB_OK : FAB_EFORMAT;
}

/* ---- reading packets ---- */

static enum fab_rc read_question(struct fab_slice packet, struct fab_reader *r, bool *ours)
{
    struct name name;
    uint64_t type, class;
    FAB_TRY(read_name(packet, r, &name));
    FAB_TRY(fab_read_be(r, 2, &type));
    FAB_TRY(fab_read_be(r, 2, &class));
    class &= CLASS_MASK;
    *ours = is_service(name.bytes, name.n) && (type == TYPE_PTR || type == TYPE_ANY) &&
            (class == CLASS_IN || class == CLASS_ANY);
    return FAB_OK;
}

static enum fab_rc read_record(struct fab_slice packet, struct fab_reader *r,
                               struct fab_mdns_packet *out)
{
    struct name name;
    struct fab_slice data;
    uint64_t type, class, ttl, n;
    FAB_TRY(read_name(packet, r, &name));
    FAB_TRY(fab_read_be(r, 2, &type));
    FAB_TRY(fab_read_be(r, 2, &class));
    FAB_TRY(fab_read_be(r, 4, &ttl));
    FAB_TRY(fab_read_be(r, 2, &n));
    FAB_TRY(fab_read_bytes(r, n, &data));
    if (type != TYPE_TXT || (class & CLASS_MASK) != CLASS_IN || ttl == 0 ||
        out->n == FAB_MDNS_SEEN_MAX)
        return FAB_OK;
    struct fab_mdns_announcement *a = &out->seen[out->n];
    memset(a, 0, sizeof *a);
    if (is_instance(&name, a->nonce) && read_strings(data, a) == FAB_OK)
        out->n++;
    return FAB_OK;
}

enum fab_rc fab_mdns_parse(struct fab_slice packet, struct fab_mdns_packet *out)
{
    struct fab_reader r = fab_reader(packet);
    uint64_t id, flags, questions, records = 0, count;
    if (packet.n > MESSAGE_MAX)
        return FAB_EFORMAT;
    out->query = false;
    out->n = 0;
    FAB_TRY(fab_read_be(&r, 2, &id));
    FAB_TRY(fab_read_be(&r, 2, &flags));
    FAB_TRY(fab_read_be(&r, 2, &questions));
    for (int i = 0; i < 3; i++) {
        FAB_TRY(fab_read_be(&r, 2, &count));
        records += count;
    }
    if (flags & FLAGS_ODD)
        return FAB_EUNSUPPORTED;
    for (; questions > 0; questions--) {
        bool ours;
        FAB_TRY(read_question(packet, &r, &ours));
        if (ours && !(flags & FLAG_ANSWER))
            out->query = true;
    }
    for (; records > 0 && (flags & FLAG_ANSWER); records--) /* a query's are answers it knows */
        FAB_TRY(read_record(packet, &r, out));
    return FAB_OK;
}
