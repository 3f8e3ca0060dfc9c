/* Noise: hostile messages to either side, hostile payloads inside correct messages, and the payload
 * codec by itself. The first byte says which. */
#include "fabric/swarm/noise.h"
#include "fabric/swarm/noise_payload.h"
#include "fabric/swarm/noise_xx.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAW_TO_INITIATOR, RAW_TO_RESPONDER, TO_INITIATOR, TO_RESPONDER, PAYLOAD, MODES };

static void check(bool ok)
{
    if (!ok)
        abort();
}

static struct fab_noise *noise_of(enum fab_noise_role role)
{
    static const uint8_t secrets[2][32] = {{1}, {2}};
    static const char *const muxers[] = {"/yamux/1.0.0", "/mplex/6.7.0"};
    static struct fab_key *key;
    struct fab_noise *noise;
    if (!key)
        check(fab_key_from_seed(secrets[0], &key) == FAB_OK);
    struct fab_noise_config config = {.role = role,
                                      .key = key,
                                      .static_secret = secrets[0],
                                      .ephemeral_secret = secrets[1],
                                      .muxers = muxers,
                                      .n_muxers = 2};
    check(fab_noise_new(&config, &noise) == FAB_OK);
    return noise;
}

static void ready_check(const struct fab_noise *noise)
{
    check(fab_noise_ready(noise));
    check(fab_noise_remote(noise) != NULL);
    check(fab_noise_muxer(noise) >= -1 && fab_noise_muxer(noise) < 2);
}

/* Nobody becomes ready by bytes that were made without the keys. */
static void raw(enum fab_noise_role role, struct fab_slice bytes)
{
    struct fab_noise *noise = noise_of(role);
    struct fab_buf out;
    fab_buf_init(&out, 1 << 16);
    if (role == FAB_NOISE_INITIATOR)
        check(fab_noise_start(noise, &out) == FAB_OK);
    size_t cut = role == FAB_NOISE_RESPONDER && bytes.n > 32 ? 32 : bytes.n;
    enum fab_rc rc = fab_noise_handshake(noise, fab_slice(bytes.p, cut), &out);
    if (rc == FAB_OK)
        rc = fab_noise_handshake(noise, fab_slice(bytes.p + cut, bytes.n - cut), &out);
    check(rc != FAB_OK && !fab_noise_ready(noise));
    fab_buf_fini(&out);
    fab_noise_free(noise);
}

/* A peer that does Noise correctly and sends that payload. */
static void inside(enum fab_noise_role role, struct fab_slice payload)
{
    static const uint8_t secrets[2][32] = {{3}, {4}};
    struct fab_noise *noise = noise_of(role);
    struct fab_noise_xx xx;
    struct fab_buf wire, out, ignored;
    fab_buf_init(&wire, 1 << 16);
    fab_buf_init(&out, 1 << 16);
    fab_buf_init(&ignored, 1 << 16);
    fab_noise_xx_init(&xx, role == FAB_NOISE_RESPONDER, secrets[0], secrets[1], fab_slice(NULL, 0));
    if (role == FAB_NOISE_INITIATOR) {
        check(fab_noise_start(noise, &out) == FAB_OK);
    } else {
        check(fab_noise_xx_write(&xx, fab_slice(NULL, 0), &wire) == FAB_OK);
        check(fab_noise_handshake(noise, fab_buf_slice(&wire), &out) == FAB_OK);
        fab_buf_reset(&wire);
    }
    check(fab_noise_xx_read(&xx, fab_slice(out.data + 2, out.len - 2), &ignored) == FAB_OK);
    check(fab_noise_xx_write(&xx, payload, &wire) == FAB_OK);
    if (fab_noise_handshake(noise, fab_buf_slice(&wire), &out) == FAB_OK)
        ready_check(noise);
    else
        check(!fab_noise_ready(noise));
    fab_buf_fini(&wire);
    fab_buf_fini(&out);
    fab_buf_fini(&ignored);
    fab_noise_free(noise);
}

/* What is decoded is encoded and decoded to the same. */
static void codec(struct fab_slice bytes)
{
    struct fab_noise_payload a, b;
    struct fab_buf out;
    if (fab_noise_payload_decode(bytes, &a) != FAB_OK)
        return;
    fab_buf_init(&out, bytes.n + 64);
    check(fab_noise_payload_encode(&a, &out) == FAB_OK);
    check(fab_noise_payload_decode(fab_buf_slice(&out), &b) == FAB_OK);
    check(fab_slice_eq(a.identity_key, b.identity_key));
    check(fab_slice_eq(a.identity_sig, b.identity_sig));
    check(a.n_muxers == b.n_muxers);
    for (size_t i = 0; i < a.n_muxers; i++)
        check(fab_slice_eq(a.muxers[i], b.muxers[i]));
    fab_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 8192)
        return 0;
    struct fab_slice bytes = fab_slice(data + 1, size - 1);
    switch (data[0] % MODES) {
    case RAW_TO_INITIATOR:
        raw(FAB_NOISE_INITIATOR, bytes);
        break;
    case RAW_TO_RESPONDER:
        raw(FAB_NOISE_RESPONDER, bytes);
        break;
    case TO_INITIATOR:
        inside(FAB_NOISE_INITIATOR, bytes);
        break;
    case TO_RESPONDER:
        inside(FAB_NOISE_RESPONDER, bytes);
        break;
    default:
        codec(bytes);
        break;
    }
    return 0;
}
