#include "fabric/api/inner.h"

#include <stdlib.h>
#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undo percent-encoding in place. FAB_EFORMAT for what is not %XX, and for %00. */
static enum fab_rc decode(char *text, bool plus)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        char c = *from;
        if (c == '+' && plus)
            c = ' ';
        if (c == '%') {
            int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
            if (low < 0 || high + low == 0)
                return FAB_EFORMAT;
            c = (char)(high << 4 | low);
            from += 2;
        }
        *to++ = c;
    }
    *to = '\0';
    return FAB_OK;
}

static enum fab_rc parse_query(char *text, struct fab_api_target *target)
{
    while (text && *text) {
        char *next = strchr(text, '&');
        if (next)
            *next++ = '\0';
        char *value = strchr(text, '=');
        if (value)
            *value++ = '\0';
        else
            value = text + strlen(text);
        if (target->queries == FAB_API_QUERIES)
            return FAB_ELIMIT;
        FAB_TRY(decode(text, true));
        FAB_TRY(decode(value, true));
        target->query[target->queries++] = (struct fab_api_pair){text, strlen(text), value};
        text = next;
    }
    return FAB_OK;
}

/* Split before decoding: an encoded slash belongs to its segment. */
static enum fab_rc parse_path(char *text, struct fab_api_target *target)
{
    while (text) {
        char *next = strchr(text, '/');
        if (next)
            *next++ = '\0';
        if (target->segments == FAB_API_SEGMENTS)
            return FAB_ELIMIT;
        FAB_TRY(decode(text, false));
        target->segment[target->segments++] = text;
        text = next;
    }
    return FAB_OK;
}

enum fab_rc fab_api_target_parse(const char *raw, struct fab_api_target *target)
{
    *target = (struct fab_api_target){0};
    target->text = strdup(raw);
    target->path = strndup(raw, strcspn(raw, "?"));
    if (!target->text || !target->path)
        return FAB_ENOMEM;
    if (raw[0] != '/')
        return FAB_EFORMAT;
    FAB_TRY(decode(target->path, false));
    char *query = strchr(target->text, '?');
    if (query)
        *query++ = '\0';
    FAB_TRY(parse_path(target->text + 1, target));
    return parse_query(query, target);
}

void fab_api_target_fini(struct fab_api_target *target)
{
    free(target->path);
    free(target->text);
    *target = (struct fab_api_target){0};
}

bool fab_api_target_match(struct fab_api_target *target, const char *pattern)
{
    target->params = 0;
    for (size_t i = 0; i < target->segments; i++) {
        if (*pattern++ != '/')
            return false;
        size_t n = strcspn(pattern, "/");
        const char *segment = target->segment[i];
        if (n > 2 && pattern[0] == '{' && pattern[n - 1] == '}') {
            if (segment[0] == '\0')
                return false;
            target->param[target->params++] = (struct fab_api_pair){pattern + 1, n - 2, segment};
        } else if (strlen(segment) != n || memcmp(segment, pattern, n) != 0) {
            return false;
        }
        pattern += n;
    }
    return *pattern == '\0';
}

static const char *find(const struct fab_api_pair *pair, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (pair[i].name_len == len && memcmp(pair[i].name, name, len) == 0)
            return pair[i].value;
    return NULL;
}

const char *fab_api_param(const struct fab_api_request *request, const char *name)
{
    return find(request->target.param, request->target.params, name);
}

const char *fab_api_query(const struct fab_api_request *request, const char *name)
{
    return find(request->target.query, request->target.queries, name);
}
