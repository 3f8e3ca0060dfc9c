/* UTF-8 (RFC 3629): what text in dag-cbor and dag-json has to be. */
#ifndef FAB_DAG_UTF8_H
#define FAB_DAG_UTF8_H

#include "storage/base/bytes.h"

/* True when `s` is well-formed: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool fab_utf8_valid(struct fab_slice s);

/* Write a code point that is not a surrogate and at most 0x10ffff; gives the number of bytes, 1
 * to 4. */
size_t fab_utf8_put(uint32_t code, uint8_t out[4]);

#endif
