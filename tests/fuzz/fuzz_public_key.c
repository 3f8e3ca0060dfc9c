/* Identities from outside: public keys, peer IDs in bytes and text, private keys, signed records.
 * The first byte says how the rest is read. */
#include "fabric/identity/signed_record.h"

#include "storage/multiformats/multiaddr.h"
#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_id(const struct fab_peer_id *id)
{
    struct fab_peer_id again;
    char text[FAB_PEER_ID_TEXT_MAX];

    check(id->len > 0 && id->len <= FAB_PEER_ID_MAX);
    size_t n = fab_peer_id_text(id, text);
    check(n > 0 && n == strlen(text));
    check(fab_peer_id_from_text(text, n, &again) == FAB_OK);
    check(memcmp(&again, id, sizeof again) == 0);
    check(fab_peer_id_from_bytes(fab_peer_id_bytes(id), &again) == FAB_OK);
    check(fab_peer_id_eq(&again, id));
}

static void fuzz_public(struct fab_slice s)
{
    static const uint8_t sig[64];
    struct fab_peer_id id;
    struct fab_public key;
    enum fab_rc rc = fab_public_parse(s, &key);

    check(fab_peer_id_of_public(s, &id) == rc);
    if (rc != FAB_OK)
        return;
    check_id(&id);
    check(fab_public_verify(s, s, fab_slice(sig, sizeof sig)) != FAB_OK);
}

/* Behind the key's length: the key, then the signature. */
static void fuzz_verify(struct fab_slice s)
{
    size_t n = s.n ? s.p[0] : 0;
    if (s.n > 0 && n < s.n)
        check(fab_public_verify(fab_slice(s.p + 1, n), fab_slice("m", 1),
                                fab_slice(s.p + 1 + n, s.n - 1 - n)) != FAB_ENOMEM);
}

static void fuzz_private(struct fab_slice s)
{
    struct fab_key *key;
    struct fab_buf out;

    if (fab_key_from_proto(s, &key) != FAB_OK)
        return;
    check_id(fab_key_peer_id(key));
    fab_buf_init(&out, FAB_KEY_PROTO_SIZE);
    check(fab_key_proto(key, &out) == FAB_OK);
    check(out.len == s.n ? memcmp(out.data, s.p, s.n) == 0 : s.n == FAB_KEY_PROTO_SIZE + 32);
    fab_buf_fini(&out);
    fab_key_free(key);
}

static void fuzz_record(struct fab_slice s)
{
    struct fab_signed_record record;
    if (fab_signed_record_decode(s, &record) != FAB_OK)
        return;
    check_id(&record.peer);
    for (size_t i = 0; i < record.addr_count; i++)
        check(fab_multiaddr_check(record.addrs[i]) == FAB_OK);
}

/* The same for any payload, well signed by a key of ours. */
static void fuzz_payload(struct fab_slice payload)
{
    static const uint8_t seed[FAB_KEY_SEED_SIZE] = {7};
    static struct fab_key *key;
    uint8_t sig[FAB_KEY_SIG_SIZE];
    struct fab_buf b;

    if (payload.n > FAB_SIGNED_RECORD_MAX)
        return;
    if (!key)
        check(fab_key_from_seed(seed, &key) == FAB_OK);
    fab_buf_init(&b, 2 * FAB_SIGNED_RECORD_MAX);
    check(fab_buf_append(&b, "\x12libp2p-peer-record\x02\x03\x01", 22) == FAB_OK);
    check(fab_varint_append(&b, payload.n) == FAB_OK);
    check(fab_buf_append(&b, payload.p, payload.n) == FAB_OK);
    fab_key_sign(key, fab_buf_slice(&b), sig);
    fab_buf_reset(&b);
    check(fab_proto_append_bytes(&b, 1, fab_key_public_proto(key)) == FAB_OK);
    check(fab_proto_append_bytes(&b, 2, fab_slice("\x03\x01", 2)) == FAB_OK);
    check(fab_proto_append_bytes(&b, 3, payload) == FAB_OK);
    check(fab_proto_append_bytes(&b, 5, fab_slice(sig, sizeof sig)) == FAB_OK);
    fuzz_record(fab_buf_slice(&b));
    fab_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_peer_id id;

    if (size == 0)
        return 0;
    struct fab_slice s = fab_slice(data + 1, size - 1);
    switch (data[0] % 7) {
    case 0:
        fuzz_public(s);
        break;
    case 1:
        if (fab_peer_id_from_bytes(s, &id) == FAB_OK)
            check_id(&id);
        break;
    case 2:
        if (fab_peer_id_from_text((const char *)s.p, s.n, &id) == FAB_OK)
            check_id(&id);
        break;
    case 3:
        fuzz_private(s);
        break;
    case 4:
        fuzz_record(s);
        break;
    case 5:
        fuzz_verify(s);
        break;
    default:
        fuzz_payload(s);
    }
    return 0;
}
