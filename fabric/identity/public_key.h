/* Public keys of peers, in the protobuf form of libp2p/specs peer-ids: PublicKey{Type=1, Data=2},
 * read only in the one form that the specification calls deterministic.
 *
 * Ed25519 is checked with libsodium; RSA (2048 to 8192 bits, PKCS #1 v1.5), secp256k1 and ECDSA (on
 * P-256, P-384, P-521, as uncompressed points), all over SHA-256, with OpenSSL. */
#ifndef FAB_IDENTITY_PUBLIC_KEY_H
#define FAB_IDENTITY_PUBLIC_KEY_H

#include "storage/base/bytes.h"

#define FAB_PUBLIC_MAX 2048 /* bytes of the longest protobuf form that is read */

enum fab_key_type {
    FAB_KEY_RSA = 0,
    FAB_KEY_ED25519 = 1,
    FAB_KEY_SECP256K1 = 2,
    FAB_KEY_ECDSA = 3
};

struct fab_public {
    enum fab_key_type type;
    struct fab_slice data; /* Ed25519: 32 bytes; secp256k1: 33, a compressed point; RSA and ECDSA:
                              SubjectPublicKeyInfo in DER, not looked into; borrowed */
};

/* Take the protobuf form apart. FAB_EFORMAT when it is not both fields once, in order, minimally
 * encoded, with nothing behind them, or when Data has a wrong length; FAB_EUNSUPPORTED for another
 * type; FAB_ELIMIT over FAB_PUBLIC_MAX. */
FAB_MUST enum fab_rc fab_public_parse(struct fab_slice public_proto, struct fab_public *out);

/* FAB_OK when `sig` is that key's signature of `message`; FAB_EACCES when it is not; the errors of
 * fab_public_parse; FAB_EFORMAT for Data that is no key; FAB_EUNSUPPORTED for an RSA size or a
 * curve that is not named above; FAB_ENOMEM. An RSA, secp256k1 or ECDSA check costs up to a
 * millisecond. Any thread. */
FAB_MUST enum fab_rc fab_public_verify(struct fab_slice public_proto, struct fab_slice message,
                                       struct fab_slice sig);

#endif
