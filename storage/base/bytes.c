#include "storage/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool fab_slice_eq(struct fab_slice a, struct fab_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int fab_slice_cmp(struct fab_slice a, struct fab_slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

enum fab_rc fab_read_u8(struct fab_reader *r, uint8_t *out)
{
    if (r->p == r->end)
        return FAB_EFORMAT;
    *out = *r->p++;
    return FAB_OK;
}

enum fab_rc fab_read_be(struct fab_reader *r, unsigned bytes, uint64_t *out)
{
    if (fab_reader_left(r) < bytes)
        return FAB_EFORMAT;
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | r->p[i];
    r->p += bytes;
    *out = v;
    return FAB_OK;
}

enum fab_rc fab_read_le(struct fab_reader *r, unsigned bytes, uint64_t *out)
{
    if (fab_reader_left(r) < bytes)
        return FAB_EFORMAT;
    uint64_t v = 0;
    for (unsigned i = bytes; i-- > 0;)
        v = v << 8 | r->p[i];
    r->p += bytes;
    *out = v;
    return FAB_OK;
}

enum fab_rc fab_read_bytes(struct fab_reader *r, size_t n, struct fab_slice *out)
{
    if (fab_reader_left(r) < n)
        return FAB_EFORMAT;
    *out = fab_slice(r->p, n);
    r->p += n;
    return FAB_OK;
}

void fab_buf_init(struct fab_buf *b, size_t max)
{
    *b = (struct fab_buf){.max = max};
}

void fab_buf_fini(struct fab_buf *b)
{
    free(b->data);
    *b = (struct fab_buf){.max = b->max};
}

void fab_buf_reset(struct fab_buf *b)
{
    b->len = 0;
}

enum fab_rc fab_buf_reserve(struct fab_buf *b, size_t n)
{
    if (n <= b->cap - b->len)
        return FAB_OK;
    if (n > b->max - b->len)
        return FAB_ELIMIT;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    if (cap > b->max)
        cap = b->max;
    while (cap - b->len < n)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    uint8_t *p = realloc(b->data, cap);
    if (!p)
        return FAB_ENOMEM;
    b->data = p;
    b->cap = cap;
    return FAB_OK;
}

enum fab_rc fab_buf_append(struct fab_buf *b, const void *p, size_t n)
{
    if (n == 0)
        return FAB_OK;
    FAB_TRY(fab_buf_reserve(b, n));
    memcpy(b->data + b->len, p, n);
    b->len += n;
    return FAB_OK;
}

enum fab_rc fab_buf_byte(struct fab_buf *b, uint8_t v)
{
    return fab_buf_append(b, &v, 1);
}

enum fab_rc fab_buf_be(struct fab_buf *b, unsigned bytes, uint64_t v)
{
    uint8_t tmp[8];
    for (unsigned i = 0; i < bytes; i++)
        tmp[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return fab_buf_append(b, tmp, bytes);
}

enum fab_rc fab_buf_printf(struct fab_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return FAB_EINVAL;
    FAB_TRY(fab_buf_reserve(b, (size_t)n + 1));
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return FAB_OK;
}
