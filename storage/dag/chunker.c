#include "storage/dag/chunker.h"

#include "storage/dag/rabin.h"

#include <string.h>

#define RABIN_AVG_DEFAULT (256u << 10)
#define RABIN_AVG_MIN     (3 * FAB_RABIN_WINDOW) /* the minimum is a third of it */

#define FORMS "use size-N, rabin, rabin-AVG, rabin-MIN-AVG-MAX or buzhash"

/* The decimal number at *text, which moves behind it; false for none or one that is far too large.
 */
static bool number(const char **text, uint64_t *out)
{
    const char *s = *text;
    uint64_t v = 0;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > UINT32_MAX)
            return false;
    }
    *text = s;
    *out = v;
    return true;
}

static enum fab_rc too_large(struct fab_err *err, const char *spec)
{
    return fab_err_set(err, FAB_EINVAL, "chunker %s: chunks may have at most %u bytes", spec,
                       FAB_CHUNK_MAX);
}

static enum fab_rc malformed(struct fab_err *err, const char *spec)
{
    return fab_err_set(err, FAB_EINVAL, "chunker %s: not understood; " FORMS, spec);
}

static enum fab_rc parse_size(const char *spec, const char *s, struct fab_chunker *out,
                              struct fab_err *err)
{
    uint64_t n;
    if (!number(&s, &n) || *s != '\0')
        return malformed(err, spec);
    if (n == 0)
        return fab_err_set(err, FAB_EINVAL, "chunker %s: the size must be at least 1", spec);
    if (n > FAB_CHUNK_MAX)
        return too_large(err, spec);
    *out = fab_chunker_size((size_t)n);
    return FAB_OK;
}

static struct fab_chunker rabin(uint64_t min, uint64_t avg, uint64_t max)
{
    return (struct fab_chunker){FAB_CHUNKER_RABIN, (size_t)min, (size_t)avg, (size_t)max};
}

static enum fab_rc parse_rabin(const char *spec, const char *s, struct fab_chunker *out,
                               struct fab_err *err)
{
    uint64_t v[3];
    unsigned count = 0;
    for (;;) {
        if (!number(&s, &v[count++]))
            return malformed(err, spec);
        if (*s == '\0')
            break;
        if (*s != '-' || count == 3)
            return malformed(err, spec);
        s++;
    }
    if (count == 1) {
        if (v[0] < RABIN_AVG_MIN)
            return fab_err_set(err, FAB_EINVAL, "chunker %s: the average must be at least %u", spec,
                               RABIN_AVG_MIN);
        if (v[0] + v[0] / 2 > FAB_CHUNK_MAX)
            return too_large(err, spec);
        *out = rabin(v[0] / 3, v[0], v[0] + v[0] / 2);
        return FAB_OK;
    }
    if (count != 3)
        return malformed(err, spec);
    if (v[0] < FAB_RABIN_WINDOW)
        return fab_err_set(err, FAB_EINVAL, "chunker %s: the minimum must be at least %u", spec,
                           FAB_RABIN_WINDOW);
    if (v[0] >= v[1] || v[1] >= v[2])
        return fab_err_set(err, FAB_EINVAL, "chunker %s: it must be minimum < average < maximum",
                           spec);
    if (v[2] > FAB_CHUNK_MAX)
        return too_large(err, spec);
    *out = rabin(v[0], v[1], v[2]);
    return FAB_OK;
}

enum fab_rc fab_chunker_parse(const char *spec, struct fab_chunker *out, struct fab_err *err)
{
    if (strncmp(spec, "size-", 5) == 0)
        return parse_size(spec, spec + 5, out, err);
    if (strncmp(spec, "rabin-", 6) == 0)
        return parse_rabin(spec, spec + 6, out, err);
    if (strcmp(spec, "rabin") == 0) {
        *out = rabin(RABIN_AVG_DEFAULT / 3, RABIN_AVG_DEFAULT,
                     RABIN_AVG_DEFAULT + RABIN_AVG_DEFAULT / 2);
        return FAB_OK;
    }
    if (strcmp(spec, "buzhash") == 0) {
        /* 2^17 bytes are expected after the minimum, where the search begins. */
        *out = (struct fab_chunker){FAB_CHUNKER_BUZHASH, FAB_BUZHASH_MIN,
                                    FAB_BUZHASH_MIN + (128u << 10), FAB_BUZHASH_MAX};
        return FAB_OK;
    }
    return malformed(err, spec);
}

struct fab_chunker fab_chunker_size(size_t bytes)
{
    return (struct fab_chunker){FAB_CHUNKER_SIZE, bytes, bytes, bytes};
}

size_t fab_chunker_next(const struct fab_chunker *chunker, struct fab_slice view, bool eof)
{
    size_t n = 0;
    if (view.n >= chunker->min) {
        switch (chunker->kind) {
        case FAB_CHUNKER_SIZE:
            n = chunker->max;
            break;
        case FAB_CHUNKER_RABIN:
            n = fab_rabin_cut(chunker, view);
            break;
        case FAB_CHUNKER_BUZHASH:
            n = fab_buzhash_cut(chunker, view);
            break;
        }
    }
    return n == 0 && eof ? view.n : n;
}
