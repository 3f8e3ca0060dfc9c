#include "storage/multiformats/multibase.h"

#include <string.h>

#define DIGITS_LOWER "0123456789abcdefghijklmnopqrstuvwxyz"
#define DIGITS_UPPER "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LOWER        "abcdefghijklmnopqrstuvwxyz"
#define UPPER        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct base {
    char code;
    uint8_t bits; /* per character; 0: not a power of two, read as one big number */
    uint8_t pad;  /* characters per padded group; 0: no padding */
    const char *alphabet;
};

static const struct base bases[] = {
    {'b', 5, 0, LOWER "234567"},
    {'z', 0, 0, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"},
    {'u', 6, 0, UPPER LOWER "0123456789-_"},
    {'m', 6, 0, UPPER LOWER "0123456789+/"},
    {'k', 0, 0, DIGITS_LOWER},
    {'K', 0, 0, DIGITS_UPPER},
    {'f', 4, 0, "0123456789abcdef"},
    {'F', 4, 0, "0123456789ABCDEF"},
    {'B', 5, 0, UPPER "234567"},
    {'c', 5, 8, LOWER "234567"},
    {'C', 5, 8, UPPER "234567"},
    {'v', 5, 0, "0123456789abcdefghijklmnopqrstuv"},
    {'V', 5, 0, "0123456789ABCDEFGHIJKLMNOPQRSTUV"},
    {'t', 5, 8, "0123456789abcdefghijklmnopqrstuv"},
    {'T', 5, 8, "0123456789ABCDEFGHIJKLMNOPQRSTUV"},
    {'M', 6, 4, UPPER LOWER "0123456789+/"},
    {'U', 6, 4, UPPER LOWER "0123456789-_"},
};

static const struct base *find_base(char code)
{
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        if (bases[i].code == code)
            return &bases[i];
    }
    return NULL;
}

/* The value of every character, or -1. */
static void invert(const struct base *base, int8_t values[256])
{
    memset(values, -1, 256);
    for (int i = 0; base->alphabet[i]; i++)
        values[(uint8_t)base->alphabet[i]] = (int8_t)i;
}

static enum fab_rc encode_bits(const struct base *base, struct fab_slice in, char *out, size_t cap,
                               size_t *len)
{
    if (in.n > SIZE_MAX / 16)
        return FAB_ELIMIT;
    size_t n = (in.n * 8 + base->bits - 1) / base->bits;
    size_t total = base->pad ? (n + base->pad - 1) / base->pad * base->pad : n;
    if (total > cap)
        return FAB_ELIMIT;
    uint32_t mask = (1u << base->bits) - 1;
    uint32_t acc = 0;
    unsigned have = 0;
    size_t o = 0;
    for (size_t i = 0; i < in.n; i++) {
        acc = acc << 8 | in.p[i];
        for (have += 8; have >= base->bits; have -= base->bits)
            out[o++] = base->alphabet[acc >> (have - base->bits) & mask];
    }
    if (have)
        out[o++] = base->alphabet[acc << (base->bits - have) & mask];
    while (o < total)
        out[o++] = '=';
    *len = total;
    return FAB_OK;
}

static enum fab_rc decode_bits(const struct base *base, const char *text, size_t n, uint8_t *out,
                               size_t cap, size_t *len)
{
    if (base->pad) {
        if (n % base->pad)
            return FAB_EFORMAT;
        size_t padding = 0;
        while (padding < n && text[n - 1 - padding] == '=')
            padding++;
        n -= padding;
        /* A group that is all padding, or that could be one character shorter, is not minimal. */
        size_t bytes = n * base->bits / 8;
        size_t chars = (bytes * 8 + base->bits - 1) / base->bits;
        if (padding >= base->pad || chars != n)
            return FAB_EFORMAT;
    }
    int8_t values[256];
    invert(base, values);
    uint32_t acc = 0;
    unsigned have = 0;
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        int v = values[(uint8_t)text[i]];
        if (v < 0)
            return FAB_EFORMAT;
        acc = acc << base->bits | (uint32_t)v;
        have += base->bits;
        if (have < 8)
            continue;
        if (o == cap)
            return FAB_ELIMIT;
        have -= 8;
        out[o++] = (uint8_t)(acc >> have);
    }
    if (have >= base->bits || (acc & ((1u << have) - 1)))
        return FAB_EFORMAT;
    *len = o;
    return FAB_OK;
}

/* The bytes are one big-endian number; its digits come out last first, then the leading zeros. */
static enum fab_rc encode_big(const struct base *base, struct fab_slice in, char *out, size_t cap,
                              size_t *len)
{
    if (in.n > FAB_MULTIBASE_BIG_MAX)
        return FAB_ELIMIT;
    uint8_t digits[FAB_BASE_TEXT_MAX(FAB_MULTIBASE_BIG_MAX)];
    uint32_t radix = (uint32_t)strlen(base->alphabet);
    size_t zeros = 0, n = 0;
    while (zeros < in.n && in.p[zeros] == 0)
        zeros++;
    for (size_t i = zeros; i < in.n; i++) {
        uint32_t carry = in.p[i];
        for (size_t j = 0; j < n; j++) {
            carry += (uint32_t)digits[j] << 8;
            digits[j] = (uint8_t)(carry % radix);
            carry /= radix;
        }
        for (; carry; carry /= radix)
            digits[n++] = (uint8_t)(carry % radix);
    }
    if (zeros + n > cap)
        return FAB_ELIMIT;
    memset(out, base->alphabet[0], zeros);
    for (size_t i = 0; i < n; i++)
        out[zeros + i] = base->alphabet[digits[n - 1 - i]];
    *len = zeros + n;
    return FAB_OK;
}

static enum fab_rc decode_big(const struct base *base, const char *text, size_t n, uint8_t *out,
                              size_t cap, size_t *len)
{
    if (n > FAB_BASE_TEXT_MAX(FAB_MULTIBASE_BIG_MAX))
        return FAB_ELIMIT;
    int8_t values[256];
    invert(base, values);
    uint8_t bytes[FAB_MULTIBASE_BIG_MAX]; /* least significant first */
    uint32_t radix = (uint32_t)strlen(base->alphabet);
    size_t zeros = 0, m = 0;
    while (zeros < n && text[zeros] == base->alphabet[0])
        zeros++;
    for (size_t i = zeros; i < n; i++) {
        int v = values[(uint8_t)text[i]];
        if (v < 0)
            return FAB_EFORMAT;
        uint32_t carry = (uint32_t)v;
        for (size_t j = 0; j < m; j++) {
            carry += (uint32_t)bytes[j] * radix;
            bytes[j] = (uint8_t)carry;
            carry >>= 8;
        }
        if (!carry)
            continue;
        if (m == sizeof(bytes))
            return FAB_ELIMIT;
        bytes[m++] = (uint8_t)carry;
    }
    if (zeros > FAB_MULTIBASE_BIG_MAX - m || zeros + m > cap)
        return FAB_ELIMIT;
    memset(out, 0, zeros);
    for (size_t i = 0; i < m; i++)
        out[zeros + i] = bytes[m - 1 - i];
    *len = zeros + m;
    return FAB_OK;
}

static enum fab_rc copy(const void *in, size_t n, void *out, size_t cap, size_t *len)
{
    if (n > cap)
        return FAB_ELIMIT;
    if (n)
        memcpy(out, in, n);
    *len = n;
    return FAB_OK;
}

enum fab_rc fab_base_encode(char base, struct fab_slice bytes, char *out, size_t cap, size_t *len)
{
    if (base == '\0')
        return copy(bytes.p, bytes.n, out, cap, len);
    const struct base *b = find_base(base);
    if (!b)
        return FAB_EUNSUPPORTED;
    return b->bits ? encode_bits(b, bytes, out, cap, len) : encode_big(b, bytes, out, cap, len);
}

enum fab_rc fab_base_decode(char base, const char *text, size_t n, uint8_t *out, size_t cap,
                            size_t *len)
{
    if (base == '\0')
        return copy(text, n, out, cap, len);
    const struct base *b = find_base(base);
    if (!b)
        return FAB_EUNSUPPORTED;
    return b->bits ? decode_bits(b, text, n, out, cap, len) : decode_big(b, text, n, out, cap, len);
}

enum fab_rc fab_multibase_encode(char base, struct fab_slice bytes, char *out, size_t cap,
                                 size_t *len)
{
    size_t n;
    if (cap == 0)
        return FAB_ELIMIT;
    FAB_TRY(fab_base_encode(base, bytes, out + 1, cap - 1, &n));
    out[0] = base;
    *len = n + 1;
    return FAB_OK;
}

enum fab_rc fab_multibase_decode(const char *text, size_t n, uint8_t *out, size_t cap, size_t *len)
{
    if (n == 0)
        return FAB_EFORMAT;
    return fab_base_decode(text[0], text + 1, n - 1, out, cap, len);
}
