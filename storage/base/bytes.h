/* Bytes: slices, a bounds-checked reader, and a buffer that is born with its maximum.
 *
 * Input from outside is read only through struct fab_reader. Everything that grows is a struct
 * fab_buf, which fails with FAB_ELIMIT at its maximum. */
#ifndef FAB_BASE_BYTES_H
#define FAB_BASE_BYTES_H

#include "storage/base/rc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes; whoever hands one out says for how long. p may be NULL when n is 0. */
struct fab_slice {
    const uint8_t *p;
    size_t n;
};

static inline struct fab_slice fab_slice(const void *p, size_t n)
{
    return (struct fab_slice){(const uint8_t *)p, n};
}

bool fab_slice_eq(struct fab_slice a, struct fab_slice b);
/* memcmp order, the shorter first when one is a prefix of the other. */
int fab_slice_cmp(struct fab_slice a, struct fab_slice b);

struct fab_reader {
    const uint8_t *p, *end;
};

static inline struct fab_reader fab_reader(struct fab_slice s)
{
    return (struct fab_reader){s.p, s.p ? s.p + s.n : s.p};
}

static inline size_t fab_reader_left(const struct fab_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* FAB_EFORMAT when fewer bytes are left; the reader then stays where it was. */
FAB_MUST enum fab_rc fab_read_u8(struct fab_reader *r, uint8_t *out);
FAB_MUST enum fab_rc fab_read_be(struct fab_reader *r, unsigned bytes, uint64_t *out);
FAB_MUST enum fab_rc fab_read_le(struct fab_reader *r, unsigned bytes, uint64_t *out);
FAB_MUST enum fab_rc fab_read_bytes(struct fab_reader *r, size_t n, struct fab_slice *out);

struct fab_buf {
    uint8_t *data; /* owned; NULL until something is appended */
    size_t len, cap, max;
};

/* An empty buffer that never holds more than `max` bytes. No allocation. */
void fab_buf_init(struct fab_buf *b, size_t max);
void fab_buf_fini(struct fab_buf *b);
/* Forget the content, keep the memory. */
void fab_buf_reset(struct fab_buf *b);
/* Room for `n` more bytes at data + len; the caller then adds to len. FAB_ELIMIT, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_buf_reserve(struct fab_buf *b, size_t n);
FAB_MUST enum fab_rc fab_buf_append(struct fab_buf *b, const void *p, size_t n);
FAB_MUST enum fab_rc fab_buf_byte(struct fab_buf *b, uint8_t v);
FAB_MUST enum fab_rc fab_buf_be(struct fab_buf *b, unsigned bytes, uint64_t v);
FAB_MUST enum fab_rc fab_buf_printf(struct fab_buf *b, const char *fmt, ...) FAB_PRINTF(2, 3);

static inline struct fab_slice fab_buf_slice(const struct fab_buf *b)
{
    return fab_slice(b->data, b->len);
}

#endif
