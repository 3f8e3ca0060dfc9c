#include "cli/output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool json_failed;
static int write_errno; /* of the first write to stdout that failed */

static void note_write(bool ok)
{
    if (!ok && write_errno == 0)
        write_errno = errno ? errno : EIO;
}

void fab_out(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    note_write(vprintf(fmt, ap) >= 0);
    va_end(ap);
}

bool fab_out_closed(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return write_errno == EPIPE || (poll(&p, 1, 0) == 1 && (p.revents & POLLERR));
}

bool fab_out_failed(void)
{
    return write_errno != 0;
}

enum fab_rc fab_out_flush(struct fab_err *err)
{
    note_write(fflush(stdout) == 0);
    if (write_errno)
        return fab_err_set(err, FAB_EIO, "standard output: %s", strerror(write_errno));
    if (json_failed)
        return fab_err_set(err, FAB_ENOMEM, "out of memory while making JSON");
    return FAB_OK;
}

/* ---- bytes that may not be text ---- */

/* The length of the well-formed UTF-8 sequence (RFC 3629) at p, 0 if there is none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
    size_t want = p[0] < 0x80                    ? 1
                  : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
                  : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                  : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                 : 0;
    if (want == 0 || want > n)
        return 0;
    for (size_t i = 1; i < want; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return want;
}

/* C0, DEL, C1, and the marks that turn or hide text on a terminal. */
static bool is_control(const uint8_t *p, size_t n)
{
    if (n == 1)
        return p[0] < 0x20 || p[0] == 0x7f;
    if (n == 2)
        return p[0] == 0xc2 && p[1] < 0xa0;
    return n == 3 && p[0] == 0xe2 &&
           ((p[1] == 0x80 && (p[2] >= 0xa8 || (p[2] >= 0x8b && p[2] <= 0x8f)) && p[2] <= 0xae) ||
            (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

static void write_escaped(FILE *file, const char *text, size_t n, bool backslash)
{
    const uint8_t *p = (const uint8_t *)text;
    bool ok = true;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_length(p + i, n - i);
        if (len == 1 && p[i] == '\n')
            ok = fputs("\\n", file) >= 0 && ok;
        else if (len == 1 && p[i] == '\t')
            ok = fputs("\\t", file) >= 0 && ok;
        else if (len == 1 && p[i] == '\\' && backslash)
            ok = fputs("\\\\", file) >= 0 && ok;
        else if (len > 0 && !is_control(p + i, len))
            ok = fwrite(p + i, 1, len, file) == len && ok;
        else {
            len = len ? len : 1;
            for (size_t k = 0; k < len; k++)
                ok = fprintf(file, "\\x%02x", p[i + k]) >= 0 && ok;
        }
    }
    if (file == stdout)
        note_write(ok);
}

void fab_out_name(FILE *file, const char *name, size_t n)
{
    write_escaped(file, name, n, true);
}

void fab_out_message(FILE *file, const char *text)
{
    write_escaped(file, text, strlen(text), false);
}

/* ---- JSON ---- */

static void dump(json_t *value)
{
    if (!value) {
        json_failed = true;
        return;
    }
    errno = 0;
    note_write(json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY) == 0);
    json_decref(value);
}

void fab_out_json(json_t *value)
{
    dump(value);
    fab_out("\n");
}

void fab_out_json_line(json_t *value)
{
    fab_out_json(value);
    note_write(fflush(stdout) == 0);
}

void fab_out_array_item(struct fab_out_array *array, json_t *value)
{
    fab_out("%s", array->open ? ",\n" : "[\n");
    array->open = true;
    dump(value);
}

void fab_out_array_end(struct fab_out_array *array)
{
    fab_out("%s", array->open ? "\n]\n" : "[]\n");
    array->open = false;
}

static void set_member(json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object, key, value))
        json_failed = true;
}

static json_t *base64(const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((n + 2) / 3 * 4 + 1), *to = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? p[i + 2] : 0;
        *to++ = digits[v >> 18];
        *to++ = digits[v >> 12 & 63];
        *to++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *to++ = i + 2 < n ? digits[v & 63] : '=';
    }
    json_t *value = json_stringn_nocheck(text, (size_t)(to - text));
    free(text);
    return value;
}

/* The text with U+FFFD for each byte that is not UTF-8. */
static json_t *repaired(const uint8_t *p, size_t n)
{
    char *text = malloc(n * 3 + 1), *to = text;
    if (!text)
        return NULL;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_length(p + i, n - i);
        memcpy(to, len ? (const char *)p + i : "\xef\xbf\xbd", len ? len : 3);
        to += len ? len : 3;
        len = len ? len : 1;
    }
    json_t *value = json_stringn_nocheck(text, (size_t)(to - text));
    free(text);
    return value;
}

void fab_json_set_name(json_t *object, const char *key, const char *name, size_t n)
{
    const uint8_t *p = (const uint8_t *)name;
    size_t good = 0;
    for (size_t len; good < n && (len = utf8_length(p + good, n - good)) > 0;)
        good += len;
    if (good == n) {
        set_member(object, key, json_stringn_nocheck(name, n));
        return;
    }
    char second[64];
    snprintf(second, sizeof second, "%s_base64", key);
    set_member(object, key, repaired(p, n));
    set_member(object, second, base64(p, n));
}

void fab_json_set_text(json_t *object, const char *key, const char *text)
{
    fab_json_set_name(object, key, text, strlen(text));
}

void fab_json_set_uint(json_t *object, const char *key, uint64_t v)
{
    char text[24];
    if (v <= INT64_MAX) {
        set_member(object, key, json_integer((json_int_t)v));
        return;
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    set_member(object, key, json_string(text));
}

void fab_json_set_bool(json_t *object, const char *key, bool v)
{
    set_member(object, key, json_boolean(v));
}

void fab_json_set_cid(json_t *object, const char *key, const struct fab_cid *cid)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    set_member(object, key, json_string(text));
}

void fab_json_set_json(json_t *object, const char *key, json_t *value)
{
    set_member(object, key, value);
}

void fab_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        json_failed = true;
}

/* ---- for people ---- */

const char *fab_human_size(uint64_t bytes, char out[FAB_HUMAN_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        unit++;
    }
    snprintf(out, FAB_HUMAN_MAX, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
    return out;
}

const char *fab_human_time(double seconds, char out[FAB_HUMAN_MAX])
{
    uint64_t s = seconds < 0 ? 0 : seconds > 3e8 ? 300000000 : (uint64_t)(seconds + 0.5);
    if (s < 60)
        snprintf(out, FAB_HUMAN_MAX, "%llu s", (unsigned long long)s);
    else if (s < 3600)
        snprintf(out, FAB_HUMAN_MAX, "%llu m %llu s", (unsigned long long)(s / 60),
                 (unsigned long long)(s % 60));
    else if (s < 86400)
        snprintf(out, FAB_HUMAN_MAX, "%llu h %llu m", (unsigned long long)(s / 3600),
                 (unsigned long long)(s % 3600 / 60));
    else
        snprintf(out, FAB_HUMAN_MAX, "%llu d %llu h", (unsigned long long)(s / 86400),
                 (unsigned long long)(s % 86400 / 3600));
    return out;
}
