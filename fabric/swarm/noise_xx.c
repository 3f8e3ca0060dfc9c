/* The symmetric state of Noise (chaining key ck, transcript hash h, message key k) and the three
 * messages of XX over it. Each token changes the state in the order in which both sides do; any
 * difference between the two transcripts makes the next tag wrong, which ends the handshake. The
 * primitives are libsodium's, which neither allocate nor fail; only transport is hot. */
#include "fabric/swarm/noise_xx.h"

#include <sodium.h>
#include <string.h>

#define TAG 16

static void mix_hash(struct fab_noise_xx *xx, struct fab_slice data)
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, xx->h, sizeof xx->h);
    if (data.n > 0)
        crypto_hash_sha256_update(&state, data.p, data.n);
    crypto_hash_sha256_final(&state, xx->h);
}

/* HKDF with two outputs, as Noise defines it. */
static void hkdf(const uint8_t ck[FAB_NOISE_DH], struct fab_slice secret,
                 uint8_t first[FAB_NOISE_DH], uint8_t second[FAB_NOISE_DH])
{
    static const uint8_t nothing[1];
    uint8_t key[FAB_NOISE_DH], input[FAB_NOISE_DH + 1];
    crypto_auth_hmacsha256(key, secret.n > 0 ? secret.p : nothing, secret.n, ck);
    input[0] = 1;
    crypto_auth_hmacsha256(first, input, 1, key);
    memcpy(input, first, FAB_NOISE_DH);
    input[FAB_NOISE_DH] = 2;
    crypto_auth_hmacsha256(second, input, sizeof input, key);
    sodium_memzero(key, sizeof key);
    sodium_memzero(input, sizeof input);
}

/* Diffie-Hellman of our secret and their public key into the keys. */
static enum fab_rc mix_dh(struct fab_noise_xx *xx, const uint8_t secret[FAB_NOISE_DH],
                          const uint8_t public[FAB_NOISE_DH])
{
    uint8_t shared[FAB_NOISE_DH], ck[FAB_NOISE_DH];
    if (crypto_scalarmult_curve25519(shared, secret, public) != 0)
        return FAB_EFORMAT; /* all zero */
    hkdf(xx->ck, fab_slice(shared, sizeof shared), ck, xx->k);
    memcpy(xx->ck, ck, sizeof ck);
    xx->keyed = true;
    xx->nonce = 0;
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(ck, sizeof ck);
    return FAB_OK;
}

static void nonce_put(uint64_t value, uint8_t out[12])
{
    memset(out, 0, 12);
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(value >> (8 * i));
}

/* Append `plain`, encrypted once there is a key. */
static enum fab_rc seal(struct fab_noise_xx *xx, struct fab_slice plain, struct fab_buf *out)
{
    uint8_t nonce[12];
    size_t n = plain.n + (xx->keyed ? TAG : 0);
    FAB_TRY(fab_buf_reserve(out, n));
    uint8_t *at = out->data + out->len;
    if (xx->keyed) {
        nonce_put(xx->nonce++, nonce);
        crypto_aead_chacha20poly1305_ietf_encrypt(at, NULL, plain.p, plain.n, xx->h, sizeof xx->h,
                                                  NULL, nonce, xx->k);
    } else if (n > 0) {
        memcpy(at, plain.p, n);
    }
    out->len += n;
    mix_hash(xx, fab_slice(at, n));
    return FAB_OK;
}

/* The reverse; `out` has room for the plaintext (sealed.n bytes less the tag), or is NULL where
 * that is empty. */
static enum fab_rc unseal(struct fab_noise_xx *xx, struct fab_slice sealed, uint8_t *out)
{
    uint8_t nonce[12];
    if (xx->keyed) {
        nonce_put(xx->nonce++, nonce);
        if (sealed.n < TAG ||
            crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed.p, sealed.n, xx->h,
                                                      sizeof xx->h, nonce, xx->k) != 0)
            return FAB_EFORMAT;
    } else if (sealed.n > 0) {
        memcpy(out, sealed.p, sealed.n);
    }
    mix_hash(xx, sealed);
    return FAB_OK;
}

void fab_noise_xx_init(struct fab_noise_xx *xx, bool initiator, const uint8_t s[FAB_NOISE_DH],
                       const uint8_t e[FAB_NOISE_DH], struct fab_slice prologue)
{
    /* Exactly the size of a hash, so it is used unhashed. */
    static const char name[] = "Noise_XX_25519_ChaChaPoly_SHA256";
    _Static_assert(sizeof name - 1 == FAB_NOISE_DH, "the protocol's name is not hashed");

    *xx = (struct fab_noise_xx){.initiator = initiator};
    memcpy(xx->h, name, sizeof xx->h);
    memcpy(xx->ck, name, sizeof xx->ck);
    memcpy(xx->s, s, sizeof xx->s);
    memcpy(xx->e, e, sizeof xx->e);
    crypto_scalarmult_curve25519_base(xx->s_public, xx->s);
    crypto_scalarmult_curve25519_base(xx->e_public, xx->e);
    mix_hash(xx, prologue);
}

void fab_noise_xx_wipe(struct fab_noise_xx *xx)
{
    sodium_memzero(xx, sizeof *xx);
}

static enum fab_rc e_write(struct fab_noise_xx *xx, struct fab_buf *out)
{
    FAB_TRY(fab_buf_append(out, xx->e_public, sizeof xx->e_public));
    mix_hash(xx, fab_slice(xx->e_public, sizeof xx->e_public));
    return FAB_OK;
}

static enum fab_rc e_read(struct fab_noise_xx *xx, struct fab_reader *r)
{
    struct fab_slice key;
    FAB_TRY(fab_read_bytes(r, sizeof xx->re, &key));
    memcpy(xx->re, key.p, sizeof xx->re);
    mix_hash(xx, key);
    return FAB_OK;
}

static enum fab_rc s_read(struct fab_noise_xx *xx, struct fab_reader *r)
{
    struct fab_slice sealed;
    FAB_TRY(fab_read_bytes(r, sizeof xx->rs + TAG, &sealed));
    return unseal(xx, sealed, xx->rs);
}

/* Ephemeral of the initiator, static of the responder. */
static enum fab_rc es_mix(struct fab_noise_xx *xx)
{
    return xx->initiator ? mix_dh(xx, xx->e, xx->rs) : mix_dh(xx, xx->s, xx->re);
}

static enum fab_rc se_mix(struct fab_noise_xx *xx)
{
    return xx->initiator ? mix_dh(xx, xx->s, xx->re) : mix_dh(xx, xx->e, xx->rs);
}

/* The initiator writes the even messages. */
static bool our_turn(const struct fab_noise_xx *xx)
{
    return (xx->step % 2 == 0) == xx->initiator;
}

enum fab_rc fab_noise_xx_write(struct fab_noise_xx *xx, struct fab_slice payload,
                               struct fab_buf *out)
{
    struct fab_slice s_public = fab_slice(xx->s_public, sizeof xx->s_public);
    if (xx->step >= FAB_NOISE_STEPS || !our_turn(xx))
        return FAB_EINVAL;
    if (xx->step < 2)
        FAB_TRY(e_write(xx, out));
    if (xx->step == 1)
        FAB_TRY(mix_dh(xx, xx->e, xx->re));
    if (xx->step > 0) {
        FAB_TRY(seal(xx, s_public, out));
        FAB_TRY(xx->step == 1 ? es_mix(xx) : se_mix(xx));
    }
    FAB_TRY(seal(xx, payload, out));
    xx->step++;
    return FAB_OK;
}

enum fab_rc fab_noise_xx_read(struct fab_noise_xx *xx, struct fab_slice message,
                              struct fab_buf *payload)
{
    struct fab_reader r = fab_reader(message);
    if (xx->step >= FAB_NOISE_STEPS || our_turn(xx))
        return FAB_EINVAL;
    if (xx->step < 2)
        FAB_TRY(e_read(xx, &r));
    if (xx->step == 1)
        FAB_TRY(mix_dh(xx, xx->e, xx->re));
    if (xx->step > 0) {
        FAB_TRY(s_read(xx, &r));
        FAB_TRY(xx->step == 1 ? es_mix(xx) : se_mix(xx));
    }

    size_t left = fab_reader_left(&r), tag = xx->keyed ? TAG : 0;
    if (left < tag)
        return FAB_EFORMAT;
    FAB_TRY(fab_buf_reserve(payload, left - tag));
    FAB_TRY(unseal(xx, fab_slice(r.p, left), payload->data ? payload->data + payload->len : NULL));
    payload->len += left - tag;
    xx->step++;
    return FAB_OK;
}

void fab_noise_xx_split(const struct fab_noise_xx *xx, uint8_t send[FAB_NOISE_DH],
                        uint8_t receive[FAB_NOISE_DH])
{
    struct fab_slice nothing = {0};
    if (xx->initiator)
        hkdf(xx->ck, nothing, send, receive);
    else
        hkdf(xx->ck, nothing, receive, send);
}
