/* Signed peer records. Encoding writes the record, signs it, wraps it. Decoding goes the other way,
 * and trusts nothing before the signature is checked: the envelope's few fields are found, the
 * signature is checked over the payload as it came, and only then is the payload read. A field that
 * comes twice is refused, so that all readers see the same record. */
#include "fabric/identity/signed_record.h"

#include "storage/multiformats/multiaddr.h"
#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

static const char domain[] = "libp2p-peer-record";
static const uint8_t payload_type[] = {0x03, 0x01};

struct envelope {
    struct fab_slice public_key, payload_type, payload, signature;
};

static struct fab_slice type_slice(void)
{
    return fab_slice(payload_type, sizeof payload_type);
}

static enum fab_rc append_sized(struct fab_buf *out, struct fab_slice s)
{
    FAB_TRY(fab_varint_append(out, s.n));
    return fab_buf_append(out, s.p, s.n);
}

/* What the signature is over. */
static enum fab_rc append_signed(struct fab_buf *out, struct fab_slice payload)
{
    FAB_TRY(append_sized(out, fab_slice(domain, sizeof domain - 1)));
    FAB_TRY(append_sized(out, type_slice()));
    return append_sized(out, payload);
}

static enum fab_rc append_record(struct fab_buf *out, const struct fab_peer_id *peer, uint64_t seq,
                                 const struct fab_slice *addrs, size_t n)
{
    struct fab_buf info;
    enum fab_rc rc = FAB_OK;

    FAB_TRY(fab_proto_append_bytes(out, 1, fab_peer_id_bytes(peer)));
    FAB_TRY(fab_proto_append_uint(out, 2, seq));
    fab_buf_init(&info, FAB_MULTIADDR_MAX + 8);
    for (size_t i = 0; rc == FAB_OK && i < n; i++) {
        fab_buf_reset(&info);
        if (fab_multiaddr_check(addrs[i]) != FAB_OK)
            rc = FAB_EINVAL;
        if (rc == FAB_OK)
            rc = fab_proto_append_bytes(&info, 1, addrs[i]);
        if (rc == FAB_OK)
            rc = fab_proto_append_bytes(out, 3, fab_buf_slice(&info));
    }
    fab_buf_fini(&info);
    return rc;
}

static enum fab_rc append_envelope(struct fab_buf *out, const struct envelope *e)
{
    FAB_TRY(fab_proto_append_bytes(out, 1, e->public_key));
    FAB_TRY(fab_proto_append_bytes(out, 2, e->payload_type));
    FAB_TRY(fab_proto_append_bytes(out, 3, e->payload));
    return fab_proto_append_bytes(out, 5, e->signature);
}

enum fab_rc fab_signed_record_encode(const struct fab_key *key, uint64_t seq,
                                     const struct fab_slice *addrs, size_t n, struct fab_buf *out)
{
    uint8_t sig[FAB_KEY_SIG_SIZE];
    struct fab_buf record, message;
    size_t before = out->len;
    enum fab_rc rc;

    if (n > FAB_SIGNED_RECORD_ADDRS_MAX)
        return FAB_ELIMIT;
    fab_buf_init(&record, FAB_SIGNED_RECORD_MAX);
    fab_buf_init(&message, FAB_SIGNED_RECORD_MAX + 64);
    rc = append_record(&record, fab_key_peer_id(key), seq, addrs, n);
    if (rc == FAB_OK)
        rc = append_signed(&message, fab_buf_slice(&record));
    if (rc != FAB_OK)
        goto out;
    fab_key_sign(key, fab_buf_slice(&message), sig);
    rc = append_envelope(out,
                         &(struct envelope){fab_key_public_proto(key), type_slice(),
                                            fab_buf_slice(&record), fab_slice(sig, sizeof sig)});
    if (rc == FAB_OK && out->len - before > FAB_SIGNED_RECORD_MAX)
        rc = FAB_ELIMIT;
    if (rc != FAB_OK)
        out->len = before;
out:
    fab_buf_fini(&record);
    fab_buf_fini(&message);
    return rc;
}

static enum fab_rc set_once(struct fab_slice *field, struct fab_slice v)
{
    if (field->p)
        return FAB_EFORMAT;
    *field = v;
    return FAB_OK;
}

static enum fab_rc parse_envelope(struct fab_slice bytes, struct envelope *out)
{
    struct fab_reader r = fab_reader(bytes);
    struct envelope e = {0};
    struct fab_proto_field f;
    enum fab_rc rc;

    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        if (fab_proto_is(&f, 1, FAB_PROTO_BYTES))
            rc = set_once(&e.public_key, f.bytes);
        else if (fab_proto_is(&f, 2, FAB_PROTO_BYTES))
            rc = set_once(&e.payload_type, f.bytes);
        else if (fab_proto_is(&f, 3, FAB_PROTO_BYTES))
            rc = set_once(&e.payload, f.bytes);
        else if (fab_proto_is(&f, 5, FAB_PROTO_BYTES))
            rc = set_once(&e.signature, f.bytes);
        FAB_TRY(rc);
    }
    if (rc != FAB_ENOENT)
        return rc;
    if (!e.public_key.p || !e.payload.p || !e.signature.p ||
        !fab_slice_eq(e.payload_type, type_slice()))
        return FAB_EFORMAT;
    *out = e;
    return FAB_OK;
}

static enum fab_rc parse_addr(struct fab_slice info, struct fab_signed_record *out)
{
    struct fab_reader r = fab_reader(info);
    struct fab_slice addr = {0};
    struct fab_proto_field f;
    enum fab_rc rc;

    while ((rc = fab_proto_next(&r, &f)) == FAB_OK)
        if (fab_proto_is(&f, 1, FAB_PROTO_BYTES))
            FAB_TRY(set_once(&addr, f.bytes));
    if (rc != FAB_ENOENT)
        return rc;
    rc = fab_multiaddr_check(addr);
    if (rc == FAB_EUNSUPPORTED)
        return FAB_OK;
    FAB_TRY(rc);
    if (out->addr_count == FAB_SIGNED_RECORD_ADDRS_MAX)
        return FAB_ELIMIT;
    out->addrs[out->addr_count++] = addr;
    return FAB_OK;
}

static enum fab_rc parse_record(struct fab_slice payload, const struct fab_peer_id *signer,
                                struct fab_signed_record *out)
{
    struct fab_reader r = fab_reader(payload);
    struct fab_slice peer = {0};
    struct fab_proto_field f;
    bool has_seq = false;
    enum fab_rc rc;

    out->peer = *signer;
    out->seq = 0;
    out->addr_count = 0;
    while ((rc = fab_proto_next(&r, &f)) == FAB_OK) {
        if (fab_proto_is(&f, 1, FAB_PROTO_BYTES)) {
            FAB_TRY(set_once(&peer, f.bytes));
        } else if (fab_proto_is(&f, 2, FAB_PROTO_VARINT)) {
            if (has_seq)
                return FAB_EFORMAT;
            has_seq = true;
            out->seq = f.value;
        } else if (fab_proto_is(&f, 3, FAB_PROTO_BYTES)) {
            FAB_TRY(parse_addr(f.bytes, out));
        }
    }
    if (rc != FAB_ENOENT)
        return rc;
    return fab_slice_eq(peer, fab_peer_id_bytes(signer)) ? FAB_OK : FAB_EFORMAT;
}

enum fab_rc fab_signed_record_decode(struct fab_slice envelope, struct fab_signed_record *out)
{
    struct fab_signed_record record;
    struct fab_peer_id signer;
    struct fab_buf message;
    struct envelope e;
    enum fab_rc rc;

    if (envelope.n > FAB_SIGNED_RECORD_MAX)
        return FAB_ELIMIT;
    FAB_TRY(parse_envelope(envelope, &e));
    FAB_TRY(fab_peer_id_of_public(e.public_key, &signer));
    fab_buf_init(&message, FAB_SIGNED_RECORD_MAX + 64);
    rc = append_signed(&message, e.payload);
    if (rc == FAB_OK)
        rc = fab_public_verify(e.public_key, fab_buf_slice(&message), e.signature);
    fab_buf_fini(&message);
    FAB_TRY(rc);
    FAB_TRY(parse_record(e.payload, &signer, &record));
    *out = record;
    return FAB_OK;
}
