#include "storage/dag/dag_json.h"

#include "storage/dag/utf8.h"
#include "storage/multiformats/multibase.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 512 /* characters */

struct parser {
    struct fab_ipld *tree;
    struct fab_reader r;
};

static bool is_key(struct fab_slice key, const char *text)
{
    return fab_slice_eq(key, fab_slice(text, strlen(text)));
}

static void skip_space(struct fab_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(struct fab_reader *r, char c)
{
    if (r->p == r->end || *r->p != (uint8_t)c)
        return false;
    r->p++;
    return true;
}

/* ---- strings ---- */

static enum fab_rc read_hex4(struct fab_reader *r, uint32_t *out)
{
    struct fab_slice s;
    uint32_t v = 0;
    FAB_TRY(fab_read_bytes(r, 4, &s));
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = s.p[i];
        const char *hex = "0123456789abcdefABCDEF";
        const char *at = c ? strchr(hex, c) : NULL;
        if (!at)
            return FAB_EFORMAT;
        uint32_t digit = (uint32_t)(at - hex);
        v = v << 4 | (digit < 16 ? digit : digit - 6);
    }
    *out = v;
    return FAB_OK;
}

/* After "\u": one code point, of two escapes when the first is a high surrogate. */
static enum fab_rc read_unicode(struct fab_reader *r, uint32_t *out)
{
    uint32_t high, low;
    FAB_TRY(read_hex4(r, &high));
    if (high < 0xd800 || high > 0xdfff) {
        *out = high;
        return FAB_OK;
    }
    if (high > 0xdbff || !take(r, '\\') || !take(r, 'u'))
        return FAB_EFORMAT;
    FAB_TRY(read_hex4(r, &low));
    if (low < 0xdc00 || low > 0xdfff)
        return FAB_EFORMAT;
    *out = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return FAB_OK;
}

static enum fab_rc unescape(struct parser *p, struct fab_slice raw, struct fab_slice *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    struct fab_reader r = fab_reader(raw);
    uint8_t *text;
    size_t n = 0;
    FAB_TRY(fab_ipld_alloc(p->tree, raw.n, &text));
    while (r.p < r.end) {
        uint8_t c = *r.p++;
        if (c != '\\') {
            text[n++] = c;
            continue;
        }
        FAB_TRY(fab_read_u8(&r, &c));
        if (c == 'u') {
            uint32_t code;
            uint8_t utf8[4];
            FAB_TRY(read_unicode(&r, &code));
            size_t len = fab_utf8_put(code, utf8);
            memcpy(text + n, utf8, len);
            n += len;
            continue;
        }
        const char *name = c ? strchr(names, c) : NULL;
        if (!name)
            return FAB_EFORMAT;
        text[n++] = (uint8_t)values[name - names];
    }
    *out = fab_slice(text, n);
    return FAB_OK;
}

static enum fab_rc read_string(struct parser *p, struct fab_slice *out)
{
    if (!take(&p->r, '"'))
        return FAB_EFORMAT;
    const uint8_t *start = p->r.p;
    bool escapes = false;
    for (;;) {
        uint8_t c;
        FAB_TRY(fab_read_u8(&p->r, &c));
        if (c == '"')
            break;
        if (c < 0x20)
            return FAB_EFORMAT;
        if (c == '\\') {
            escapes = true;
            FAB_TRY(fab_read_u8(&p->r, &c));
        }
    }
    struct fab_slice raw = fab_slice(start, (size_t)(p->r.p - start) - 1);
    if (!fab_utf8_valid(raw))
        return FAB_EFORMAT;
    if (escapes)
        return unescape(p, raw, out);
    *out = raw;
    return FAB_OK;
}

/* ---- numbers ---- */

static size_t take_digits(struct fab_reader *r)
{
    const uint8_t *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return (size_t)(r->p - start);
}

static enum fab_rc set_int(struct fab_slice digits, bool negative, struct fab_ipld_node *node)
{
    unsigned __int128 v = 0;
    unsigned __int128 limit = ((unsigned __int128)1 << 64) - (negative ? 0 : 1);
    for (size_t i = 0; i < digits.n; i++) {
        v = v * 10 + (unsigned)(digits.p[i] - '0');
        if (v > limit)
            return FAB_ELIMIT;
    }
    node->kind = FAB_IPLD_INT;
    node->flag = negative && v;
    node->u = (uint64_t)(node->flag ? v - 1 : v);
    return FAB_OK;
}

static enum fab_rc set_float(struct fab_slice text, struct fab_ipld_node *node)
{
    char copy[NUMBER_MAX + 1];
    if (text.n > NUMBER_MAX)
        return FAB_ELIMIT;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    node->kind = FAB_IPLD_FLOAT;
    node->f = strtod(copy, NULL);
    return isfinite(node->f) ? FAB_OK : FAB_ELIMIT;
}

static enum fab_rc read_number(struct parser *p, struct fab_ipld_node *node)
{
    struct fab_reader *r = &p->r;
    const uint8_t *start = r->p;
    bool negative = take(r, '-'), is_float = false;
    const uint8_t *digits = r->p;
    bool zero = take(r, '0');
    if (!zero && !take_digits(r))
        return FAB_EFORMAT;
    struct fab_slice whole = fab_slice(digits, (size_t)(r->p - digits));
    if (take(r, '.')) {
        is_float = true;
        if (!take_digits(r))
            return FAB_EFORMAT;
    }
    if (take(r, 'e') || take(r, 'E')) {
        is_float = true;
        if (!take(r, '+'))
            (void)take(r, '-');
        if (!take_digits(r))
            return FAB_EFORMAT;
    }
    if (is_float)
        return set_float(fab_slice(start, (size_t)(r->p - start)), node);
    return set_int(whole, negative, node);
}

/* ---- values ---- */

/* A map with the key "/" is a link or bytes, or wrong. */
static enum fab_rc resolve_reserved(struct parser *p, struct fab_ipld_node *map)
{
    struct fab_ipld_node *entry = fab_ipld_get(map, "/");
    if (!entry)
        return FAB_OK;
    if (map->count != 1)
        return FAB_EFORMAT;
    if (entry->kind == FAB_IPLD_TEXT) {
        struct fab_cid cid;
        uint8_t bytes[FAB_CID_MAX];
        FAB_TRY(fab_cid_from_text((const char *)entry->s.p, entry->s.n, &cid));
        struct fab_slice s = fab_slice(bytes, fab_cid_bytes(&cid, bytes));
        map->kind = FAB_IPLD_LINK;
        map->count = 0;
        return fab_ipld_copy(p->tree, s, &map->s);
    }
    struct fab_ipld_node *text = fab_ipld_get(entry, "bytes");
    if (!text || entry->count != 1 || text->kind != FAB_IPLD_TEXT)
        return FAB_EFORMAT;
    uint8_t *bytes;
    size_t cap = text->s.n / 4 * 3 + 3, n;
    FAB_TRY(fab_ipld_alloc(p->tree, cap, &bytes));
    FAB_TRY(fab_base_decode('m', (const char *)text->s.p, text->s.n, bytes, cap, &n));
    map->kind = FAB_IPLD_BYTES;
    map->count = 0;
    map->s = fab_slice(bytes, n);
    return FAB_OK;
}

static enum fab_rc read_value(struct parser *p, unsigned depth, struct fab_ipld_node **out);

static enum fab_rc read_map(struct parser *p, unsigned depth, struct fab_ipld_node *map)
{
    map->kind = FAB_IPLD_MAP;
    skip_space(&p->r);
    if (take(&p->r, '}'))
        return FAB_OK;
    do {
        struct fab_slice key;
        struct fab_ipld_node *value;
        skip_space(&p->r);
        FAB_TRY(read_string(p, &key));
        skip_space(&p->r);
        if (!take(&p->r, ':'))
            return FAB_EFORMAT;
        FAB_TRY(read_value(p, depth, &value));
        FAB_TRY(fab_ipld_put(map, key, value));
        skip_space(&p->r);
    } while (take(&p->r, ','));
    if (!take(&p->r, '}'))
        return FAB_EFORMAT;
    FAB_TRY(fab_ipld_sort(map, fab_slice_cmp));
    return resolve_reserved(p, map);
}

static enum fab_rc read_list(struct parser *p, unsigned depth, struct fab_ipld_node *list)
{
    list->kind = FAB_IPLD_LIST;
    skip_space(&p->r);
    if (take(&p->r, ']'))
        return FAB_OK;
    do {
        struct fab_ipld_node *value;
        FAB_TRY(read_value(p, depth, &value));
        FAB_TRY(fab_ipld_add(list, value));
        skip_space(&p->r);
    } while (take(&p->r, ','));
    return take(&p->r, ']') ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc take_word(struct parser *p, const char *word)
{
    struct fab_slice s;
    FAB_TRY(fab_read_bytes(&p->r, strlen(word), &s));
    return is_key(s, word) ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc read_value(struct parser *p, unsigned depth, struct fab_ipld_node **out)
{
    struct fab_ipld_node *node;
    FAB_TRY(fab_ipld_new(p->tree, FAB_IPLD_NULL, &node));
    *out = node;
    skip_space(&p->r);
    if (!fab_reader_left(&p->r))
        return FAB_EFORMAT;
    switch (*p->r.p) {
    case '{':
    case '[':
        if (depth == FAB_IPLD_DEPTH_MAX)
            return FAB_ELIMIT;
        return *p->r.p++ == '{' ? read_map(p, depth + 1, node) : read_list(p, depth + 1, node);
    case '"':
        node->kind = FAB_IPLD_TEXT;
        return read_string(p, &node->s);
    case 't':
        node->kind = FAB_IPLD_BOOL;
        node->flag = true;
        return take_word(p, "true");
    case 'f':
        node->kind = FAB_IPLD_BOOL;
        return take_word(p, "false");
    case 'n':
        return take_word(p, "null");
    default:
        return read_number(p, node);
    }
}

static enum fab_rc check_canonical(struct fab_slice text, struct fab_ipld_node *node)
{
    struct fab_buf b;
    fab_buf_init(&b, text.n + NUMBER_MAX);
    enum fab_rc rc = fab_json_encode(&b, node);
    if (rc == FAB_OK && !fab_slice_eq(fab_buf_slice(&b), text))
        rc = FAB_EFORMAT;
    fab_buf_fini(&b);
    return rc == FAB_ENOMEM || rc == FAB_OK ? rc : FAB_EFORMAT;
}

enum fab_rc fab_json_decode(struct fab_ipld *tree, struct fab_slice text, enum fab_json_mode mode,
                            struct fab_ipld_node **out)
{
    struct parser p = {tree, fab_reader(text)};
    struct fab_ipld_node *node;
    FAB_TRY(read_value(&p, 0, &node));
    skip_space(&p.r);
    if (fab_reader_left(&p.r))
        return FAB_EFORMAT;
    if (mode == FAB_JSON_CANONICAL)
        FAB_TRY(check_canonical(text, node));
    *out = node;
    return FAB_OK;
}

/* ---- encoding ---- */

static enum fab_rc put_text(struct fab_buf *b, const char *text)
{
    return fab_buf_append(b, text, strlen(text));
}

static enum fab_rc put_string(struct fab_buf *b, struct fab_slice s)
{
    static const char special[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    if (!fab_utf8_valid(s))
        return FAB_EINVAL;
    FAB_TRY(fab_buf_byte(b, '"'));
    size_t done = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        FAB_TRY(fab_buf_append(b, s.p + done, i - done));
        done = i + 1;
        const char *name = c ? strchr(special, c) : NULL;
        if (name)
            FAB_TRY(fab_buf_printf(b, "\\%c", names[name - special]));
        else
            FAB_TRY(fab_buf_printf(b, "\\u%04x", c));
    }
    FAB_TRY(fab_buf_append(b, s.p + done, s.n - done));
    return fab_buf_byte(b, '"');
}

static enum fab_rc put_int(struct fab_buf *b, bool negative, uint64_t u)
{
    if (!negative)
        return fab_buf_printf(b, "%llu", (unsigned long long)u);
    if (u == UINT64_MAX)
        return put_text(b, "-18446744073709551616");
    return fab_buf_printf(b, "-%llu", (unsigned long long)u + 1);
}

/* The shortest digits that read back as v: `digits` gets 1 to 17 of them and a NUL; the value is
 * 0.DIGITS * 10^point. */
static void shortest(double v, char digits[20], int *point)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    size_t n = 0;
    const char *c = text;
    for (; *c && *c != 'e'; c++) {
        if (*c != '.')
            digits[n++] = *c;
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    *point = (int)strtol(*c ? c + 1 : "0", NULL, 10) + 1;
}

/* Plain digits from 1e-6 to below 1e21, else an exponent: as ECMAScript writes numbers. */
static enum fab_rc put_float(struct fab_buf *b, double v)
{
    char digits[20];
    int point;
    if (!isfinite(v))
        return FAB_EINVAL;
    if (signbit(v))
        FAB_TRY(fab_buf_byte(b, '-'));
    if (v == 0)
        return put_text(b, "0.0");
    shortest(fabs(v), digits, &point);
    int n = (int)strlen(digits);
    if (point > 21 || point < -5)
        return fab_buf_printf(b, "%c%s%se%+d", digits[0], n > 1 ? "." : "", digits + 1, point - 1);
    if (point <= 0)
        return fab_buf_printf(b, "0.%.*s%s", -point, "00000", digits);
    if (point >= n)
        return fab_buf_printf(b, "%s%.*s.0", digits, point - n, "00000000000000000000");
    return fab_buf_printf(b, "%.*s.%s", point, digits, digits + point);
}

static enum fab_rc put_bytes(struct fab_buf *b, struct fab_slice s)
{
    if (s.n > b->max)
        return FAB_ELIMIT;
    size_t room = FAB_BASE_TEXT_MAX(s.n), n;
    FAB_TRY(put_text(b, "{\"/\":{\"bytes\":\""));
    room = room > b->max - b->len ? b->max - b->len : room;
    FAB_TRY(fab_buf_reserve(b, room));
    FAB_TRY(fab_base_encode('m', s, (char *)b->data + b->len, room, &n));
    b->len += n;
    return put_text(b, "\"}}");
}

static enum fab_rc put_link(struct fab_buf *b, struct fab_slice s)
{
    struct fab_cid cid;
    char text[FAB_CID_TEXT_MAX];
    if (fab_cid_parse(s, &cid) != FAB_OK)
        return FAB_EINVAL;
    fab_cid_text(&cid, text);
    return fab_buf_printf(b, "{\"/\":\"%s\"}", text);
}

static enum fab_rc put_value(struct fab_buf *b, unsigned depth, struct fab_ipld_node *node);

static enum fab_rc put_map(struct fab_buf *b, unsigned depth, struct fab_ipld_node *map)
{
    if (fab_ipld_sort(map, fab_slice_cmp) != FAB_OK)
        return FAB_EINVAL;
    FAB_TRY(fab_buf_byte(b, '{'));
    for (struct fab_ipld_node *e = map->first; e; e = e->next) {
        if (is_key(e->key, "/"))
            return FAB_EINVAL;
        if (e != map->first)
            FAB_TRY(fab_buf_byte(b, ','));
        FAB_TRY(put_string(b, e->key));
        FAB_TRY(fab_buf_byte(b, ':'));
        FAB_TRY(put_value(b, depth, e));
    }
    return fab_buf_byte(b, '}');
}

static enum fab_rc put_list(struct fab_buf *b, unsigned depth, const struct fab_ipld_node *list)
{
    FAB_TRY(fab_buf_byte(b, '['));
    for (struct fab_ipld_node *e = list->first; e; e = e->next) {
        if (e != list->first)
            FAB_TRY(fab_buf_byte(b, ','));
        FAB_TRY(put_value(b, depth, e));
    }
    return fab_buf_byte(b, ']');
}

static enum fab_rc put_value(struct fab_buf *b, unsigned depth, struct fab_ipld_node *node)
{
    switch (node->kind) {
    case FAB_IPLD_NULL:
        return put_text(b, "null");
    case FAB_IPLD_BOOL:
        return put_text(b, node->flag ? "true" : "false");
    case FAB_IPLD_INT:
        return put_int(b, node->flag, node->u);
    case FAB_IPLD_FLOAT:
        return put_float(b, node->f);
    case FAB_IPLD_TEXT:
        return put_string(b, node->s);
    case FAB_IPLD_BYTES:
        return put_bytes(b, node->s);
    case FAB_IPLD_LINK:
        return put_link(b, node->s);
    case FAB_IPLD_LIST:
    case FAB_IPLD_MAP:
        if (depth == FAB_IPLD_DEPTH_MAX)
            return FAB_ELIMIT;
        return node->kind == FAB_IPLD_MAP ? put_map(b, depth + 1, node)
                                          : put_list(b, depth + 1, node);
    }
    return FAB_EINVAL;
}

enum fab_rc fab_json_encode(struct fab_buf *b, struct fab_ipld_node *node)
{
    return put_value(b, 0, node);
}
