#include "storage/multiformats/cid.h"

#include "storage/multiformats/multibase.h"
#include "storage/multiformats/multihash.h"
#include "storage/multiformats/varint.h"

#include <string.h>

#define V0_BYTES 34
#define V0_TEXT  46

/* Longest varints in a CID that can be read: version, codec, hash code, digest length; then base32
 * with its prefix and the NUL. base58 is shorter. */
#define CID_MAX_REAL (1 + FAB_VARINT_MAX + FAB_VARINT_MAX + 2 + FAB_DIGEST_MAX)
_Static_assert(CID_MAX_REAL <= FAB_CID_MAX, "a binary CID fits");
_Static_assert(FAB_VARINT_MAX + 2 + FAB_DIGEST_MAX <= FAB_MH_MAX, "a multihash fits");
_Static_assert(1 + (CID_MAX_REAL * 8 + 4) / 5 + 1 <= FAB_CID_TEXT_MAX, "the text of a CID fits");

enum fab_rc fab_cid_of(unsigned version, uint64_t codec, uint64_t mh_code, struct fab_slice data,
                       struct fab_cid *out)
{
    uint8_t digest[FAB_DIGEST_MAX];
    size_t n;
    if (version > 1 || codec >= FAB_VARINT_LIMIT)
        return FAB_EINVAL;
    if (version == 0 && (codec != FAB_CODEC_DAG_PB || mh_code != FAB_MH_SHA2_256))
        return FAB_EINVAL;
    FAB_TRY(fab_mh_digest(mh_code, data, digest, &n));
    out->version = (uint8_t)version;
    out->codec = codec;
    out->mh_len = (uint8_t)fab_mh_put(mh_code, fab_slice(digest, n), out->mh);
    return FAB_OK;
}

enum fab_rc fab_cid_check(const struct fab_cid *cid, struct fab_slice data)
{
    uint8_t digest[FAB_DIGEST_MAX];
    size_t n;
    uint64_t code = fab_cid_mh_code(cid);
    enum fab_rc rc = fab_mh_digest(code, data, digest, &n);
    if (rc == FAB_ELIMIT)
        return FAB_EHASH;
    FAB_TRY(rc);
    return fab_slice_eq(fab_cid_digest(cid), fab_slice(digest, n)) ? FAB_OK : FAB_EHASH;
}

enum fab_rc fab_cid_read(struct fab_reader *r, struct fab_cid *out)
{
    struct fab_reader in = *r;
    uint64_t version = 0, codec = FAB_CODEC_DAG_PB;
    struct fab_slice mh;
    bool v0 = fab_reader_left(r) >= 2 && r->p[0] == FAB_MH_SHA2_256 && r->p[1] == 32;
    if (!v0) {
        FAB_TRY(fab_varint_read(&in, &version));
        if (version != 1)
            return FAB_EFORMAT;
        FAB_TRY(fab_varint_read(&in, &codec));
    }
    FAB_TRY(fab_mh_read(&in, NULL, NULL, &mh));
    out->version = (uint8_t)version;
    out->codec = codec;
    out->mh_len = (uint8_t)mh.n;
    memcpy(out->mh, mh.p, mh.n);
    *r = in;
    return FAB_OK;
}

enum fab_rc fab_cid_parse(struct fab_slice s, struct fab_cid *out)
{
    struct fab_reader r = fab_reader(s);
    struct fab_cid cid;
    FAB_TRY(fab_cid_read(&r, &cid));
    if (fab_reader_left(&r))
        return FAB_EFORMAT;
    *out = cid;
    return FAB_OK;
}

size_t fab_cid_bytes(const struct fab_cid *cid, uint8_t out[FAB_CID_MAX])
{
    size_t n = 0;
    if (cid->version) {
        out[n++] = 1;
        n += fab_varint_put(cid->codec, out + n);
    }
    memcpy(out + n, cid->mh, cid->mh_len);
    return n + cid->mh_len;
}

enum fab_rc fab_cid_from_text(const char *text, size_t n, struct fab_cid *out)
{
    uint8_t bytes[FAB_CID_MAX];
    size_t len;
    bool v0 = n == V0_TEXT && text[0] == 'Q' && text[1] == 'm';
    enum fab_rc rc = v0 ? fab_base_decode('z', text, n, bytes, sizeof(bytes), &len)
                        : fab_multibase_decode(text, n, bytes, sizeof(bytes), &len);
    if (rc != FAB_OK)
        return FAB_EFORMAT;
    struct fab_cid cid;
    if (fab_cid_parse(fab_slice(bytes, len), &cid) != FAB_OK)
        return FAB_EFORMAT;
    /* The specification forbids a multibase prefix before version 0, and the identity base is no
     * text. */
    if ((cid.version == 0) != v0 || text[0] == '\0')
        return FAB_EFORMAT;
    *out = cid;
    return FAB_OK;
}

size_t fab_cid_text(const struct fab_cid *cid, char out[FAB_CID_TEXT_MAX])
{
    uint8_t bytes[FAB_CID_MAX];
    struct fab_slice s = fab_slice(bytes, fab_cid_bytes(cid, bytes));
    size_t len = 0;
    enum fab_rc rc = cid->version ? fab_multibase_encode('b', s, out, FAB_CID_TEXT_MAX - 1, &len)
                                  : fab_base_encode('z', s, out, FAB_CID_TEXT_MAX - 1, &len);
    /* Cannot fail: the assertions above bound the length. */
    if (rc != FAB_OK)
        len = 0;
    out[len] = '\0';
    return len;
}

bool fab_cid_eq(const struct fab_cid *a, const struct fab_cid *b)
{
    return a->version == b->version && a->codec == b->codec && a->mh_len == b->mh_len &&
           memcmp(a->mh, b->mh, a->mh_len) == 0;
}

struct fab_slice fab_cid_mh(const struct fab_cid *cid)
{
    return fab_slice(cid->mh, cid->mh_len);
}

uint64_t fab_cid_mh_code(const struct fab_cid *cid)
{
    struct fab_reader r = fab_reader(fab_cid_mh(cid));
    uint64_t code = 0;
    return fab_mh_read(&r, &code, NULL, NULL) == FAB_OK ? code : UINT64_MAX;
}

struct fab_slice fab_cid_digest(const struct fab_cid *cid)
{
    struct fab_reader r = fab_reader(fab_cid_mh(cid));
    struct fab_slice digest = {NULL, 0};
    return fab_mh_read(&r, NULL, &digest, NULL) == FAB_OK ? digest : fab_slice(NULL, 0);
}
