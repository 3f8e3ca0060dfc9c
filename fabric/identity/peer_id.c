/* Peer IDs are kept as the bytes of their multihash; texts are made and read at the edges. */
#include "fabric/identity/peer_id.h"

#include "fabric/identity/public_key.h"
#include "storage/multiformats/multibase.h"
#include "storage/multiformats/multihash.h"

#include <string.h>

#define INLINE_MAX 42 /* bytes of a public key that stands in the ID itself */

static void set(struct fab_peer_id *id, const uint8_t *mh, size_t n)
{
    memset(id, 0, sizeof *id);
    memcpy(id->mh, mh, n);
    id->len = (uint8_t)n;
}

enum fab_rc fab_peer_id_of_public(struct fab_slice public_proto, struct fab_peer_id *out)
{
    struct fab_public key;
    uint8_t digest[32], mh[FAB_MH_MAX];

    FAB_TRY(fab_public_parse(public_proto, &key));
    if (public_proto.n <= INLINE_MAX) {
        set(out, mh, fab_mh_put(FAB_MH_IDENTITY, public_proto, mh));
        return FAB_OK;
    }
    FAB_TRY(fab_sha256(public_proto, digest));
    set(out, mh, fab_mh_put(FAB_MH_SHA2_256, fab_slice(digest, sizeof digest), mh));
    return FAB_OK;
}

enum fab_rc fab_peer_id_from_bytes(struct fab_slice mh, struct fab_peer_id *out)
{
    struct fab_reader r = fab_reader(mh);
    struct fab_slice digest;
    struct fab_public key;
    uint64_t code;

    if (fab_mh_read(&r, &code, &digest, NULL) != FAB_OK || fab_reader_left(&r) != 0)
        return FAB_EFORMAT;
    if (code == FAB_MH_IDENTITY) {
        if (digest.n > INLINE_MAX || fab_public_parse(digest, &key) != FAB_OK)
            return FAB_EFORMAT;
    } else if (code != FAB_MH_SHA2_256 || digest.n != 32) {
        return FAB_EFORMAT;
    }
    set(out, mh.p, mh.n);
    return FAB_OK;
}

struct fab_slice fab_peer_id_bytes(const struct fab_peer_id *id)
{
    return fab_slice(id->mh, id->len);
}

enum fab_rc fab_peer_id_public(const struct fab_peer_id *id, struct fab_slice *out)
{
    struct fab_reader r = fab_reader(fab_peer_id_bytes(id));
    struct fab_slice digest;
    uint64_t code;

    if (fab_mh_read(&r, &code, &digest, NULL) != FAB_OK || code != FAB_MH_IDENTITY)
        return FAB_ENOENT;
    *out = digest;
    return FAB_OK;
}

enum fab_rc fab_peer_id_from_text(const char *text, size_t n, struct fab_peer_id *out)
{
    uint8_t mh[FAB_PEER_ID_MAX];
    struct fab_cid cid;
    size_t len;

    if (n == 0)
        return FAB_EFORMAT;
    if (text[0] == '1' || (n >= 2 && text[0] == 'Q' && text[1] == 'm')) {
        if (fab_base_decode('z', text, n, mh, sizeof mh, &len) != FAB_OK)
            return FAB_EFORMAT;
        return fab_peer_id_from_bytes(fab_slice(mh, len), out);
    }
    if (fab_cid_from_text(text, n, &cid) != FAB_OK || cid.version != 1 ||
        cid.codec != FAB_CODEC_LIBP2P_KEY)
        return FAB_EFORMAT;
    return fab_peer_id_from_bytes(fab_cid_mh(&cid), out);
}

size_t fab_peer_id_text(const struct fab_peer_id *id, char out[FAB_PEER_ID_TEXT_MAX])
{
    size_t len = 0;

    if (fab_base_encode('z', fab_peer_id_bytes(id), out, FAB_PEER_ID_TEXT_MAX - 1, &len) != FAB_OK)
        len = 0;
    out[len] = '\0';
    return len;
}

bool fab_peer_id_eq(const struct fab_peer_id *a, const struct fab_peer_id *b)
{
    return fab_slice_eq(fab_peer_id_bytes(a), fab_peer_id_bytes(b));
}

int fab_peer_id_cmp(const struct fab_peer_id *a, const struct fab_peer_id *b)
{
    return fab_slice_cmp(fab_peer_id_bytes(a), fab_peer_id_bytes(b));
}
