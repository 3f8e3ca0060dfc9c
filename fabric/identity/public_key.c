/* Public keys: the protobuf form is taken apart strictly, then the signature goes to the library
 * that knows the algorithm.
 *
 * EC keys never reach a DER parser: what precedes the point in a SubjectPublicKeyInfo is constant
 * for a curve, so it is compared, and the point is handed over by itself. Curves given by explicit
 * parameters and unusual curves thereby do not exist here. RSA keys are parsed by OpenSSL and
 * limited in size, since a peer chooses what we compute with. */
#include "fabric/identity/public_key.h"

#include "storage/multiformats/protobuf.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <string.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192

struct curve {
    const char *name; /* OpenSSL's */
    const char *prefix;
    size_t prefix_n; /* bytes of SubjectPublicKeyInfo before the point */
    size_t point_n;
};

static const struct curve curves[] = {
    {"P-256",
     "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
     "\x03\x42\x00",
     26, 65},
    {"P-384",
     "\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
     23, 97},
    {"P-521",
     "\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81"
     "\x86\x00",
     25, 133},
};

static const struct curve secp256k1 = {"secp256k1", "", 0, 33};

enum fab_rc fab_public_parse(struct fab_slice public_proto, struct fab_public *out)
{
    struct fab_reader r = fab_reader(public_proto);
    struct fab_proto_field type, data, more;

    if (public_proto.n > FAB_PUBLIC_MAX)
        return FAB_ELIMIT;
    if (fab_proto_next(&r, &type) != FAB_OK || !fab_proto_is(&type, 1, FAB_PROTO_VARINT) ||
        fab_proto_next(&r, &data) != FAB_OK || !fab_proto_is(&data, 2, FAB_PROTO_BYTES) ||
        fab_proto_next(&r, &more) != FAB_ENOENT)
        return FAB_EFORMAT;
    switch (type.value) {
    case FAB_KEY_ED25519:
        if (data.bytes.n != crypto_sign_PUBLICKEYBYTES)
            return FAB_EFORMAT;
        break;
    case FAB_KEY_SECP256K1:
        if (data.bytes.n != secp256k1.point_n)
            return FAB_EFORMAT;
        break;
    case FAB_KEY_RSA:
    case FAB_KEY_ECDSA:
        if (data.bytes.n == 0)
            return FAB_EFORMAT;
        break;
    default:
        return FAB_EUNSUPPORTED;
    }
    *out = (struct fab_public){(enum fab_key_type)type.value, data.bytes};
    return FAB_OK;
}

static enum fab_rc load_point(const struct curve *curve, struct fab_slice point, EVP_PKEY **out)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)curve->name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point.p, point.n),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1) {
        EVP_PKEY_CTX_free(ctx);
        return FAB_ENOMEM;
    }
    int ok = EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    return ok == 1 ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc load_ecdsa(struct fab_slice der, EVP_PKEY **out)
{
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        const struct curve *c = &curves[i];
        if (der.n == c->prefix_n + c->point_n && memcmp(der.p, c->prefix, c->prefix_n) == 0)
            return load_point(c, fab_slice(der.p + c->prefix_n, c->point_n), out);
    }
    return FAB_EUNSUPPORTED;
}

static enum fab_rc load_rsa(struct fab_slice der, EVP_PKEY **out)
{
    const unsigned char *p = der.p;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)der.n);
    enum fab_rc rc = FAB_OK;

    if (!key)
        return FAB_EFORMAT;
    if (p != der.p + der.n || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
        rc = FAB_EFORMAT;
    else if (EVP_PKEY_get_bits(key) < RSA_BITS_MIN || EVP_PKEY_get_bits(key) > RSA_BITS_MAX)
        rc = FAB_EUNSUPPORTED;
    if (rc == FAB_OK)
        *out = key;
    else
        EVP_PKEY_free(key);
    return rc;
}

static enum fab_rc verify_evp(const struct fab_public *key, struct fab_slice message,
                              struct fab_slice sig)
{
    EVP_PKEY *pkey = NULL;
    EVP_MD_CTX *ctx = NULL;
    enum fab_rc rc;

    if (key->type == FAB_KEY_RSA)
        rc = load_rsa(key->data, &pkey);
    else if (key->type == FAB_KEY_ECDSA)
        rc = load_ecdsa(key->data, &pkey);
    else
        rc = load_point(&secp256k1, key->data, &pkey);
    if (rc != FAB_OK)
        goto out;
    ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) != 1) {
        rc = FAB_ENOMEM;
        goto out;
    }
    if (EVP_DigestVerify(ctx, sig.p, sig.n, message.p, message.n) != 1)
        rc = FAB_EACCES;
out:
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return rc;
}

enum fab_rc fab_public_verify(struct fab_slice public_proto, struct fab_slice message,
                              struct fab_slice sig)
{
    struct fab_public key;

    FAB_TRY(fab_public_parse(public_proto, &key));
    if (key.type != FAB_KEY_ED25519)
        return verify_evp(&key, message, sig);
    if (sig.n != crypto_sign_BYTES ||
        crypto_sign_verify_detached(sig.p, message.p, message.n, key.data.p) != 0)
        return FAB_EACCES;
    return FAB_OK;
}
