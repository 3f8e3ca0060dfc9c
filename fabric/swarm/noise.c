/* Happy path: noise_xx.h carries the handshake; messages 2 and 3 each hold a payload in which the
 * sender's identity key signs its static X25519 key, which the handshake itself proves to be the
 * sender's. Whoever reads such a payload checks the signature before anything else of it is used,
 * then compares the peer ID and picks the muxer. After message 3 the handshake's secrets are wiped
 * and two ciphers remain.
 *
 * Failures: any error makes the state FAILED and wipes the handshake; nothing leaves it. */
#include "fabric/swarm/noise.h"

#include "fabric/swarm/noise_cipher.h"
#include "fabric/swarm/noise_payload.h"
#include "fabric/swarm/noise_xx.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SIGNED_PREFIX "noise-libp2p-static-key:"

enum state { START, HANDSHAKE, READY, FAILED };

struct fab_noise {
    enum fab_noise_role role;
    enum state state;
    const struct fab_key *key;
    const char *const *muxers;
    size_t n_muxers;
    int muxer;
    struct fab_peer_id expected, remote; /* len 0: anyone, nobody yet */
    struct fab_buf remote_key;
    struct fab_noise_xx xx;
    struct fab_noise_cipher send, receive;
};

enum fab_rc fab_noise_new(const struct fab_noise_config *config, struct fab_noise **out)
{
    if (config->n_muxers > FAB_NOISE_MUXERS_MAX || !config->key || !config->static_secret ||
        !config->ephemeral_secret)
        return FAB_EINVAL;
    struct fab_noise *noise = calloc(1, sizeof *noise);
    if (!noise)
        return FAB_ENOMEM;
    noise->role = config->role;
    noise->state = config->role == FAB_NOISE_INITIATOR ? START : HANDSHAKE;
    noise->key = config->key;
    noise->muxers = config->muxers;
    noise->n_muxers = config->n_muxers;
    noise->muxer = -1;
    if (config->expected)
        noise->expected = *config->expected;
    fab_buf_init(&noise->remote_key, FAB_PUBLIC_MAX);
    fab_noise_xx_init(&noise->xx, config->role == FAB_NOISE_INITIATOR, config->static_secret,
                      config->ephemeral_secret, fab_slice(NULL, 0));
    *out = noise;
    return FAB_OK;
}

void fab_noise_free(struct fab_noise *noise)
{
    if (!noise)
        return;
    fab_noise_cipher_fini(&noise->send);
    fab_noise_cipher_fini(&noise->receive);
    fab_buf_fini(&noise->remote_key);
    sodium_memzero(noise, sizeof *noise);
    free(noise);
}

static enum fab_rc fail(struct fab_noise *noise, enum fab_rc rc)
{
    noise->state = FAILED;
    fab_noise_xx_wipe(&noise->xx);
    return rc;
}

/* Append the next message of the handshake behind its length. */
static enum fab_rc message_append(struct fab_noise *noise, struct fab_slice payload,
                                  struct fab_buf *out)
{
    size_t start = out->len;
    FAB_TRY(fab_buf_be(out, FAB_NOISE_HEAD, 0));
    FAB_TRY(fab_noise_xx_write(&noise->xx, payload, out));
    size_t n = out->len - start - FAB_NOISE_HEAD;
    if (n > FAB_NOISE_HANDSHAKE_MAX)
        return FAB_ELIMIT;
    out->data[start] = (uint8_t)(n >> 8);
    out->data[start + 1] = (uint8_t)n;
    return FAB_OK;
}

static void signed_bytes(const uint8_t static_public[FAB_NOISE_DH],
                         uint8_t out[sizeof SIGNED_PREFIX - 1 + FAB_NOISE_DH])
{
    memcpy(out, SIGNED_PREFIX, sizeof SIGNED_PREFIX - 1);
    memcpy(out + sizeof SIGNED_PREFIX - 1, static_public, FAB_NOISE_DH);
}

/* Append the next message with our identity. */
static enum fab_rc identity_append(struct fab_noise *noise, struct fab_buf *out)
{
    uint8_t text[sizeof SIGNED_PREFIX - 1 + FAB_NOISE_DH], sig[FAB_KEY_SIG_SIZE];
    signed_bytes(noise->xx.s_public, text);
    fab_key_sign(noise->key, fab_slice(text, sizeof text), sig);

    struct fab_noise_payload payload = {
        .identity_key = fab_key_public_proto(noise->key),
        .identity_sig = fab_slice(sig, sizeof sig),
        .n_muxers = noise->n_muxers,
    };
    for (size_t i = 0; i < noise->n_muxers; i++)
        payload.muxers[i] = fab_slice(noise->muxers[i], strlen(noise->muxers[i]));

    struct fab_buf bytes;
    fab_buf_init(&bytes, FAB_NOISE_HANDSHAKE_MAX);
    enum fab_rc rc = fab_noise_payload_encode(&payload, &bytes);
    if (rc == FAB_OK)
        rc = message_append(noise, fab_buf_slice(&bytes), out);
    fab_buf_fini(&bytes);
    return rc;
}

/* Our index of a name, or -1. */
static int muxer_index(const struct fab_noise *noise, struct fab_slice name)
{
    for (size_t i = 0; i < noise->n_muxers; i++)
        if (fab_slice_eq(name, fab_slice(noise->muxers[i], strlen(noise->muxers[i]))))
            return (int)i;
    return -1;
}

/* The first of the initiator's muxers that both have. */
static int muxer_choose(const struct fab_noise *noise, const struct fab_noise_payload *theirs)
{
    int best = -1;
    for (size_t i = 0; i < theirs->n_muxers; i++) {
        int index = muxer_index(noise, theirs->muxers[i]);
        if (index >= 0 && noise->role == FAB_NOISE_RESPONDER)
            return index;
        if (index >= 0 && (best < 0 || index < best))
            best = index;
    }
    return best;
}

/* Check and keep what the remote's payload says. */
static enum fab_rc identity_take(struct fab_noise *noise, struct fab_slice bytes)
{
    uint8_t text[sizeof SIGNED_PREFIX - 1 + FAB_NOISE_DH];
    struct fab_noise_payload payload;
    FAB_TRY(fab_noise_payload_decode(bytes, &payload));
    signed_bytes(noise->xx.rs, text);
    enum fab_rc rc =
        fab_public_verify(payload.identity_key, fab_slice(text, sizeof text), payload.identity_sig);
    if (rc != FAB_OK)
        return rc == FAB_EACCES ? FAB_EFORMAT : rc;

    struct fab_peer_id remote;
    FAB_TRY(fab_peer_id_of_public(payload.identity_key, &remote));
    FAB_TRY(fab_buf_append(&noise->remote_key, payload.identity_key.p, payload.identity_key.n));
    noise->remote = remote;
    if (noise->expected.len > 0 && !fab_peer_id_eq(&noise->expected, &remote))
        return FAB_EACCES;
    noise->muxer = muxer_choose(noise, &payload);
    return FAB_OK;
}

static enum fab_rc finish(struct fab_noise *noise)
{
    uint8_t send[FAB_NOISE_KEY], receive[FAB_NOISE_KEY];
    fab_noise_xx_split(&noise->xx, send, receive);
    enum fab_rc rc = fab_noise_cipher_init(&noise->send, send, true);
    if (rc == FAB_OK)
        rc = fab_noise_cipher_init(&noise->receive, receive, false);
    sodium_memzero(send, sizeof send);
    sodium_memzero(receive, sizeof receive);
    if (rc != FAB_OK)
        return rc;
    fab_noise_xx_wipe(&noise->xx);
    noise->state = READY;
    return FAB_OK;
}

enum fab_rc fab_noise_start(struct fab_noise *noise, struct fab_buf *out)
{
    size_t before = out->len;
    if (noise->state != START)
        return FAB_EINVAL;
    enum fab_rc rc = message_append(noise, fab_slice(NULL, 0), out);
    if (rc != FAB_OK) {
        out->len = before;
        return fail(noise, rc);
    }
    noise->state = HANDSHAKE;
    return FAB_OK;
}

/* `payload` is scratch. */
static enum fab_rc handshake_step(struct fab_noise *noise, struct fab_slice message,
                                  struct fab_buf *payload, struct fab_buf *out)
{
    if (message.n > FAB_NOISE_HANDSHAKE_MAX)
        return FAB_ELIMIT;
    FAB_TRY(fab_noise_xx_read(&noise->xx, message, payload));
    if (noise->xx.step ==
        1) /* message 1: nothing in its payload would be proved, so none is read */
        return identity_append(noise, out);
    FAB_TRY(identity_take(noise, fab_buf_slice(payload)));
    if (noise->role == FAB_NOISE_INITIATOR)
        FAB_TRY(identity_append(noise, out));
    return finish(noise);
}

enum fab_rc fab_noise_handshake(struct fab_noise *noise, struct fab_slice message,
                                struct fab_buf *out)
{
    size_t before = out->len;
    struct fab_buf payload;
    if (noise->state != HANDSHAKE)
        return FAB_EINVAL;
    fab_buf_init(&payload, FAB_NOISE_HANDSHAKE_MAX);
    enum fab_rc rc = handshake_step(noise, message, &payload, out);
    fab_buf_fini(&payload);
    if (rc != FAB_OK) {
        out->len = before;
        return fail(noise, rc);
    }
    return FAB_OK;
}

bool fab_noise_ready(const struct fab_noise *noise)
{
    return noise->state == READY;
}

const struct fab_peer_id *fab_noise_remote(const struct fab_noise *noise)
{
    return noise->remote.len > 0 ? &noise->remote : NULL;
}

struct fab_slice fab_noise_remote_key(const struct fab_noise *noise)
{
    return fab_buf_slice(&noise->remote_key);
}

int fab_noise_muxer(const struct fab_noise *noise)
{
    return noise->muxer;
}

enum fab_rc fab_noise_seal(struct fab_noise *noise, uint8_t *frame, size_t n)
{
    if (noise->state != READY || n > FAB_NOISE_PLAIN_MAX)
        return FAB_EINVAL;
    enum fab_rc rc = fab_noise_cipher_seal(&noise->send, frame + FAB_NOISE_HEAD, n);
    if (rc != FAB_OK)
        return fail(noise, rc);
    frame[0] = (uint8_t)((n + FAB_NOISE_TAG) >> 8);
    frame[1] = (uint8_t)(n + FAB_NOISE_TAG);
    return FAB_OK;
}

enum fab_rc fab_noise_open(struct fab_noise *noise, uint8_t *body, size_t n,
                           struct fab_slice *plain)
{
    if (noise->state != READY || n > FAB_NOISE_MESSAGE_MAX)
        return FAB_EINVAL;
    if (n < FAB_NOISE_TAG)
        return fail(noise, FAB_EFORMAT);
    enum fab_rc rc = fab_noise_cipher_open(&noise->receive, body, n - FAB_NOISE_TAG);
    if (rc != FAB_OK)
        return fail(noise, rc);
    *plain = fab_slice(body, n - FAB_NOISE_TAG);
    return FAB_OK;
}
