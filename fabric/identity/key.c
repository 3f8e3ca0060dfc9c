/* The Ed25519 key pair. libsodium's secret key is the seed and the public key, which is just what
 * libp2p stores. The whole struct lies in guarded memory, made read-only once it is filled. */
#include "fabric/identity/key.h"

#include "storage/multiformats/protobuf.h"

#include <sodium.h>
#include <string.h>

struct fab_key {
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t public_proto[FAB_KEY_PUBLIC_SIZE];
    struct fab_peer_id id;
};

static const uint8_t public_prefix[] = {0x08, FAB_KEY_ED25519, 0x12, crypto_sign_PUBLICKEYBYTES};

static enum fab_rc key_alloc(struct fab_key **out)
{
    if (sodium_init() < 0)
        return FAB_EIO;
    *out = sodium_malloc(sizeof **out);
    return *out ? FAB_OK : FAB_ENOMEM;
}

/* Fill the rest of a key whose secret starts with the seed. */
static enum fab_rc key_complete(struct fab_key *key)
{
    uint8_t *public_half = key->public_proto + sizeof public_prefix;
    uint8_t seed[FAB_KEY_SEED_SIZE];

    memcpy(seed, key->secret, sizeof seed);
    memcpy(key->public_proto, public_prefix, sizeof public_prefix);
    crypto_sign_seed_keypair(public_half, key->secret, seed);
    sodium_memzero(seed, sizeof seed);
    FAB_TRY(
        fab_peer_id_of_public(fab_slice(key->public_proto, sizeof key->public_proto), &key->id));
    (void)sodium_mprotect_readonly(key); /* a second lock: it may be refused */
    return FAB_OK;
}

enum fab_rc fab_key_from_seed(const uint8_t seed[FAB_KEY_SEED_SIZE], struct fab_key **out)
{
    struct fab_key *key;

    FAB_TRY(key_alloc(&key));
    memcpy(key->secret, seed, FAB_KEY_SEED_SIZE);
    enum fab_rc rc = key_complete(key);
    if (rc == FAB_OK)
        *out = key;
    else
        fab_key_free(key);
    return rc;
}

enum fab_rc fab_key_generate(struct fab_key **out)
{
    uint8_t seed[FAB_KEY_SEED_SIZE];

    if (sodium_init() < 0)
        return FAB_EIO;
    randombytes_buf(seed, sizeof seed);
    enum fab_rc rc = fab_key_from_seed(seed, out);
    sodium_memzero(seed, sizeof seed);
    return rc;
}

enum fab_rc fab_key_from_proto(struct fab_slice proto, struct fab_key **out)
{
    struct fab_reader r = fab_reader(proto);
    struct fab_proto_field type, data, more;
    struct fab_key *key;

    if (fab_proto_next(&r, &type) != FAB_OK || !fab_proto_is(&type, 1, FAB_PROTO_VARINT) ||
        fab_proto_next(&r, &data) != FAB_OK || !fab_proto_is(&data, 2, FAB_PROTO_BYTES) ||
        fab_proto_next(&r, &more) != FAB_ENOENT)
        return FAB_EFORMAT;
    if (type.value != FAB_KEY_ED25519)
        return FAB_EUNSUPPORTED;
    const uint8_t *secret = data.bytes.p;
    if (data.bytes.n == 96) {
        if (memcmp(secret + 32, secret + 64, 32) != 0)
            return FAB_EFORMAT;
    } else if (data.bytes.n != 64) {
        return FAB_EFORMAT;
    }
    FAB_TRY(fab_key_from_seed(secret, &key));
    if (memcmp(key->secret + 32, secret + 32, 32) != 0) {
        fab_key_free(key);
        return FAB_EFORMAT;
    }
    *out = key;
    return FAB_OK;
}

enum fab_rc fab_key_proto(const struct fab_key *key, struct fab_buf *out)
{
    FAB_TRY(fab_buf_reserve(out, FAB_KEY_PROTO_SIZE));
    FAB_TRY(fab_proto_append_uint(out, 1, FAB_KEY_ED25519));
    return fab_proto_append_bytes(out, 2, fab_slice(key->secret, sizeof key->secret));
}

struct fab_slice fab_key_public_proto(const struct fab_key *key)
{
    return fab_slice(key->public_proto, sizeof key->public_proto);
}

const struct fab_peer_id *fab_key_peer_id(const struct fab_key *key)
{
    return &key->id;
}

void fab_key_sign(const struct fab_key *key, struct fab_slice message,
                  uint8_t out[FAB_KEY_SIG_SIZE])
{
    crypto_sign_detached(out, NULL, message.p, message.n, key->secret);
}

void fab_key_free(struct fab_key *key)
{
    if (key)
        sodium_free(key);
}
