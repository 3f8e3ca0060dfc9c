#include "cli/args.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Decimal digits from the front of *p. */
static enum fab_rc read_digits(const char **p, uint64_t *out)
{
    uint64_t v = 0;
    const char *s = *p;
    if (!is_digit(*s))
        return FAB_EINVAL;
    for (; is_digit(*s); s++) {
        unsigned digit = (unsigned)(*s - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return FAB_ELIMIT;
        v = v * 10 + digit;
    }
    *p = s;
    *out = v;
    return FAB_OK;
}

enum fab_rc fab_parse_uint(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    FAB_TRY(read_digits(&text, &v));
    if (*text)
        return FAB_EINVAL;
    *out = v;
    return FAB_OK;
}

/* K, Ki, KB, KiB and so on to P, any case: the power of two, or 0 for an unknown suffix. */
static uint64_t size_unit(const char *s)
{
    static const char letters[] = "kmgtp";
    if (!*s || !strcmp(s, "b") || !strcmp(s, "B"))
        return 1;
    const char *at = strchr(letters, *s | 0x20);
    if (!at || !*at)
        return 0;
    s++;
    if (*s == 'i' || *s == 'I')
        s++;
    if (*s == 'b' || *s == 'B')
        s++;
    return *s ? 0 : (uint64_t)1 << (10 * (at - letters + 1));
}

enum fab_rc fab_parse_size(const char *text, uint64_t *out)
{
    uint64_t whole = 0, part = 0, scale = 1;
    FAB_TRY(read_digits(&text, &whole));
    if (*text == '.') {
        text++;
        if (!is_digit(*text))
            return FAB_EINVAL;
        for (; is_digit(*text); text++) {
            if (scale < 1000000) {
                part = part * 10 + (uint64_t)(*text - '0');
                scale *= 10;
            }
        }
    }
    uint64_t unit = size_unit(text);
    if (unit == 0 || (scale > 1 && unit == 1))
        return FAB_EINVAL;
    if (whole > UINT64_MAX / unit)
        return FAB_ELIMIT;
    uint64_t tail = unit / scale * part + unit % scale * part / scale;
    if (whole * unit > UINT64_MAX - tail)
        return FAB_ELIMIT;
    *out = whole * unit + tail;
    return FAB_OK;
}

static uint64_t read_time_unit(const char **p)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } units[] = {{"ms", 1},      {"min", 60000},  {"m", 60000},     {"s", 1000},
                 {"h", 3600000}, {"d", 86400000}, {"w", 604800000}, {"y", 31536000000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t n = strlen(units[i].text);
        if (!strncmp(*p, units[i].text, n)) {
            *p += n;
            return units[i].ms;
        }
    }
    return 0;
}

enum fab_rc fab_parse_duration(const char *text, uint64_t *out)
{
    uint64_t sum = 0;
    do {
        uint64_t v = 0;
        FAB_TRY(read_digits(&text, &v));
        uint64_t unit = *text ? read_time_unit(&text) : 1000;
        if (unit == 0)
            return FAB_EINVAL;
        if (v > (UINT64_MAX - sum) / unit)
            return FAB_ELIMIT;
        sum += v * unit;
    } while (*text);
    *out = sum;
    return FAB_OK;
}
