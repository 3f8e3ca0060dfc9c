/* Multibase (multiformats/multibase): bytes as text, with a first character that names the
 * alphabet.
 *
 *   \0 identity   f F base16   b B base32   c C base32pad   v V base32hex   t T base32hexpad
 *   k K base36    z base58btc  m base64     M base64pad     u base64url     U base64urlpad
 *
 * A capital letter means the upper-case alphabet for base16, base32 and base36. Decoding is strict:
 * letters of the other case, missing or extra padding and unused bits that are not zero are
 * FAB_EFORMAT, so each byte string has one text per base. base36 and base58 cost time with the
 * square of the length and are limited to FAB_MULTIBASE_BIG_MAX bytes. Nothing allocates. */
#ifndef FAB_MULTIFORMATS_MULTIBASE_H
#define FAB_MULTIFORMATS_MULTIBASE_H

#include "storage/base/bytes.h"

#define FAB_MULTIBASE_BIG_MAX 1024 /* bytes, for base36 and base58 */

/* Room that is always enough for the text of n bytes in any base, without prefix. */
#define FAB_BASE_TEXT_MAX(n) ((n)*2 + 8)

/* Without the prefix character. `base` is the character that would stand there. Encode writes
 * `*len` characters, no NUL, to `out`, which has room for `cap`; decode writes `*len` bytes.
 * FAB_ELIMIT when they do not fit or the length limit above is passed; FAB_EUNSUPPORTED for an
 * unknown base; FAB_EFORMAT. */
FAB_MUST enum fab_rc fab_base_encode(char base, struct fab_slice bytes, char *out, size_t cap,
                                     size_t *len);
FAB_MUST enum fab_rc fab_base_decode(char base, const char *text, size_t n, uint8_t *out,
                                     size_t cap, size_t *len);

/* With the prefix character; FAB_EFORMAT for an empty text. */
FAB_MUST enum fab_rc fab_multibase_encode(char base, struct fab_slice bytes, char *out, size_t cap,
                                          size_t *len);
FAB_MUST enum fab_rc fab_multibase_decode(const char *text, size_t n, uint8_t *out, size_t cap,
                                          size_t *len);

#endif
