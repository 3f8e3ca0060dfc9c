/* Unsigned LEB128 integers, in the two dialects that the formats use.
 *
 * multiformats (multiformats/unsigned-varint): at most 9 bytes, so below 2^63. Protobuf (dag-pb,
 * UnixFS): at most 10 bytes, all of uint64. Both are read strictly: an encoding longer than needed
 * is FAB_EFORMAT, so that every value has one form and decoded bytes can be written again
 * unchanged. */
#ifndef FAB_MULTIFORMATS_VARINT_H
#define FAB_MULTIFORMATS_VARINT_H

#include "storage/base/bytes.h"

#define FAB_VARINT_MAX    9 /* bytes */
#define FAB_VARINT_LIMIT  ((uint64_t)1 << 63)
#define FAB_VARINT_PB_MAX 10 /* bytes */

/* FAB_EFORMAT when the bytes end early, are not minimal, or pass the dialect's length. The reader
 * moves only on success. */
FAB_MUST enum fab_rc fab_varint_read(struct fab_reader *r, uint64_t *out);
FAB_MUST enum fab_rc fab_varint_read_pb(struct fab_reader *r, uint64_t *out);

/* The number of bytes that `v` takes, 1 to 10. */
size_t fab_varint_size(uint64_t v);

/* Write `v` and give the number of bytes. Nothing is checked: a caller that writes multiformats
 * keeps `v` below FAB_VARINT_LIMIT. */
size_t fab_varint_put(uint64_t v, uint8_t out[FAB_VARINT_PB_MAX]);

/* Append; FAB_EINVAL for a value of 2^63 or more in the multiformats dialect. FAB_ELIMIT,
 * FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_varint_append(struct fab_buf *b, uint64_t v);
FAB_MUST enum fab_rc fab_varint_append_pb(struct fab_buf *b, uint64_t v);

#endif
