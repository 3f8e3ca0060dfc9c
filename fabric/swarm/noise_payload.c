#include "fabric/swarm/noise_payload.h"

#include "storage/multiformats/protobuf.h"
#include "storage/multiformats/varint.h"

enum { IDENTITY_KEY = 1, IDENTITY_SIG = 2, EXTENSIONS = 4 };
enum { STREAM_MUXERS = 2 };

static enum fab_rc extensions_append(const struct fab_noise_payload *payload, struct fab_buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < payload->n_muxers; i++)
        n += fab_proto_bytes_size(STREAM_MUXERS, payload->muxers[i].n);
    FAB_TRY(fab_varint_append_pb(out, EXTENSIONS << 3 | FAB_PROTO_BYTES));
    FAB_TRY(fab_varint_append_pb(out, n));
    for (size_t i = 0; i < payload->n_muxers; i++)
        FAB_TRY(fab_proto_append_bytes(out, STREAM_MUXERS, payload->muxers[i]));
    return FAB_OK;
}

enum fab_rc fab_noise_payload_encode(const struct fab_noise_payload *payload, struct fab_buf *out)
{
    size_t before = out->len;
    enum fab_rc rc = fab_proto_append_bytes(out, IDENTITY_KEY, payload->identity_key);
    if (rc == FAB_OK)
        rc = fab_proto_append_bytes(out, IDENTITY_SIG, payload->identity_sig);
    if (rc == FAB_OK && payload->n_muxers > 0)
        rc = extensions_append(payload, out);
    if (rc != FAB_OK)
        out->len = before;
    return rc;
}

/* The bytes of a known field, which is bytes or a message. */
static enum fab_rc bytes_take(const struct fab_proto_field *field, struct fab_slice *out)
{
    if (field->wire != FAB_PROTO_BYTES)
        return FAB_EFORMAT;
    *out = field->bytes;
    return FAB_OK;
}

static enum fab_rc extensions_decode(struct fab_slice bytes, struct fab_noise_payload *out)
{
    struct fab_reader r = fab_reader(bytes);
    struct fab_proto_field field;
    enum fab_rc rc;
    while ((rc = fab_proto_next(&r, &field)) == FAB_OK) {
        if (field.number != STREAM_MUXERS)
            continue;
        if (out->n_muxers == FAB_NOISE_PAYLOAD_MUXERS_MAX)
            return FAB_ELIMIT;
        FAB_TRY(bytes_take(&field, &out->muxers[out->n_muxers]));
        out->n_muxers++;
    }
    return rc == FAB_ENOENT ? FAB_OK : rc;
}

enum fab_rc fab_noise_payload_decode(struct fab_slice bytes, struct fab_noise_payload *out)
{
    struct fab_noise_payload payload = {0};
    struct fab_reader r = fab_reader(bytes);
    struct fab_proto_field field;
    struct fab_slice extensions;
    enum fab_rc rc;
    while ((rc = fab_proto_next(&r, &field)) == FAB_OK) {
        switch (field.number) {
        case IDENTITY_KEY:
            FAB_TRY(bytes_take(&field, &payload.identity_key));
            break;
        case IDENTITY_SIG:
            FAB_TRY(bytes_take(&field, &payload.identity_sig));
            break;
        case EXTENSIONS:
            FAB_TRY(bytes_take(&field, &extensions));
            FAB_TRY(extensions_decode(extensions, &payload));
            break;
        default:
            break;
        }
    }
    if (rc != FAB_ENOENT)
        return rc;
    if (payload.identity_key.n == 0 || payload.identity_sig.n == 0)
        return FAB_EFORMAT;
    *out = payload;
    return FAB_OK;
}
