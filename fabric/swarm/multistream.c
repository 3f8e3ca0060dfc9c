/* multistream-select. Both roles first read the header, comparing byte by byte, then messages:
 *
 *   HEADER ──20 bytes──▶ LENGTH ──▶ (LENGTH_2) ──▶ BODY ──message──▶ LENGTH, or done
 *
 * A listener answers each proposal with itself and is done, or with `na`, at most
 * FAB_MULTISTREAM_PROPOSALS_MAX times. A dialer reads one answer per proposal and makes the next
 * after `na`. A length is at most 1024, so its varint has one or two bytes. A message that does not
 * fit in `line` is passed over: no name of ours is that long, and no answer to one. */
#include "fabric/swarm/multistream.h"

#include <string.h>

enum { HEADER, LENGTH, LENGTH_2, BODY };

static const char header[] = FAB_MULTISTREAM_HEADER;
static const char na[] = "\x03na\n";

_Static_assert(sizeof header - 1 == FAB_MULTISTREAM_HEADER_SIZE, "the header");

void fab_multistream_listen(struct fab_multistream *ms, fab_multistream_match *match, void *ctx)
{
    *ms = (struct fab_multistream){.chosen = -1, .match = match, .ctx = ctx, .state = HEADER};
}

static bool name_ok(const char *name)
{
    size_t n = strnlen(name, FAB_MULTISTREAM_NAME_MAX + 1);
    return n > 0 && n <= FAB_MULTISTREAM_NAME_MAX && !memchr(name, '\n', n) &&
           strcmp(name, "na") != 0;
}

enum fab_rc fab_multistream_dial(struct fab_multistream *ms, const char *const *names, size_t n)
{
    if (n == 0 || n > FAB_MULTISTREAM_PROPOSALS_MAX)
        return FAB_EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!name_ok(names[i]))
            return FAB_EINVAL;
    *ms = (struct fab_multistream){
        .chosen = -1, .names = names, .name_count = (uint8_t)n, .state = HEADER};
    return FAB_OK;
}

/* A name has at most 62 characters, so the varint of its message's length is one byte. */
static enum fab_rc append_name(struct fab_buf *out, struct fab_slice name)
{
    FAB_TRY(fab_buf_byte(out, (uint8_t)(name.n + 1)));
    FAB_TRY(fab_buf_append(out, name.p, name.n));
    return fab_buf_byte(out, '\n');
}

static enum fab_rc propose(struct fab_multistream *ms, struct fab_buf *out)
{
    const char *name = ms->names[ms->proposals];
    FAB_TRY(append_name(out, fab_slice(name, strlen(name))));
    ms->proposals++;
    return FAB_OK;
}

enum fab_rc fab_multistream_start(struct fab_multistream *ms, struct fab_buf *out)
{
    FAB_TRY(fab_buf_append(out, header, sizeof header - 1));
    return ms->match ? FAB_OK : propose(ms, out);
}

static enum fab_rc answer(struct fab_multistream *ms, const struct fab_slice *name,
                          struct fab_buf *out)
{
    int index = name ? ms->match(ms->ctx, *name) : -1;

    if (ms->proposals == FAB_MULTISTREAM_PROPOSALS_MAX)
        return FAB_ELIMIT;
    ms->proposals++;
    if (index < 0)
        return fab_buf_append(out, na, sizeof na - 1);
    FAB_TRY(append_name(out, *name));
    ms->done = true;
    ms->chosen = index;
    return FAB_OK;
}

static enum fab_rc take_answer(struct fab_multistream *ms, const struct fab_slice *text,
                               struct fab_buf *out)
{
    if (!text || ms->proposals == 0)
        return FAB_EFORMAT;
    const char *name = ms->names[ms->proposals - 1];
    if (fab_slice_eq(*text, fab_slice(name, strlen(name)))) {
        ms->done = true;
        ms->chosen = ms->proposals - 1;
        return FAB_OK;
    }
    if (!fab_slice_eq(*text, fab_slice("na", 2)))
        return FAB_EFORMAT;
    return ms->proposals == ms->name_count ? FAB_ENOENT : propose(ms, out);
}

static enum fab_rc read_header(struct fab_multistream *ms, struct fab_reader *in)
{
    for (; in->p < in->end && ms->fill < sizeof header - 1; in->p++, ms->fill++)
        if (*in->p != (uint8_t)header[ms->fill])
            return FAB_EFORMAT;
    if (ms->fill == sizeof header - 1) {
        ms->fill = 0;
        ms->state = LENGTH;
    }
    return FAB_OK;
}

static enum fab_rc read_length(struct fab_multistream *ms, struct fab_reader *in)
{
    uint8_t byte;

    FAB_TRY(fab_read_u8(in, &byte));
    if (ms->state == LENGTH) {
        ms->length = byte & 0x7f;
        if (byte & 0x80) {
            ms->state = LENGTH_2;
            return FAB_OK;
        }
    } else {
        if (byte == 0)
            return FAB_EFORMAT;
        ms->length = (uint16_t)(ms->length | byte << 7); /* over the maximum if more is to come */
    }
    if (ms->length == 0)
        return FAB_EFORMAT;
    if (ms->length > FAB_MULTISTREAM_MESSAGE_MAX)
        return FAB_ELIMIT;
    ms->fill = 0;
    ms->state = BODY;
    return FAB_OK;
}

static enum fab_rc read_body(struct fab_multistream *ms, struct fab_reader *in, struct fab_buf *out)
{
    size_t n = (size_t)(ms->length - ms->fill);
    bool fits = ms->length <= sizeof ms->line;

    if (n > fab_reader_left(in))
        n = fab_reader_left(in);
    if (fits)
        memcpy(ms->line + ms->fill, in->p, n);
    in->p += n;
    ms->fill = (uint16_t)(ms->fill + n);
    if (ms->fill < ms->length)
        return FAB_OK;
    if (in->p[-1] != '\n')
        return FAB_EFORMAT;
    ms->state = LENGTH;
    struct fab_slice text = fab_slice(ms->line, (size_t)(ms->length - 1));
    return ms->match ? answer(ms, fits ? &text : NULL, out)
                     : take_answer(ms, fits ? &text : NULL, out);
}

enum fab_rc fab_multistream_input(struct fab_multistream *ms, struct fab_reader *in,
                                  struct fab_buf *out)
{
    while (!ms->done && fab_reader_left(in) > 0) {
        if (ms->state == HEADER)
            FAB_TRY(read_header(ms, in));
        else if (ms->state == BODY)
            FAB_TRY(read_body(ms, in, out));
        else
            FAB_TRY(read_length(ms, in));
    }
    return FAB_OK;
}
