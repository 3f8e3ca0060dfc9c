/* The reader waits for one thing at a time:
 *
 *   PRAGMA_LENGTH -> PRAGMA -+- version 1: roots ------------------------------> SECTION_LENGTH <->
 * SECTION
 *                            `- version 2: V2_HEADER -> V2_SKIP -> HEADER_LENGTH -> HEADER -^  |
 *                                                                    length 0 (padding): ZEROS <-+
 *                                                        CARv2, end of the inner archive: INDEX <-'
 *
 * A thing of known length is taken straight from the input when it lies there whole, else gathered
 * in a buffer that has that thing's limit. */
#include "storage/dag/car.h"

#include "storage/dag/dag_cbor.h"

#include <inttypes.h>
#include <stdlib.h>

#define V2_PRAGMA_BYTES 11u
#define V2_HEADER_BYTES 40u
#define SECTION_MAX     (FAB_BLOCK_MAX + FAB_CID_MAX)
#define LENGTH_BYTES    9u

enum state {
    PRAGMA_LENGTH,
    PRAGMA,
    V2_HEADER,
    V2_SKIP,
    HEADER_LENGTH,
    HEADER,
    SECTION_LENGTH,
    SECTION,
    ZEROS,
    INDEX,
};

struct fab_car_reader {
    enum state state;
    enum fab_rc failed;
    uint64_t pos;  /* bytes taken so far */
    uint64_t need; /* bytes of what PRAGMA, HEADER, SECTION or V2_SKIP waits for */
    uint64_t length;
    unsigned length_bytes; /* taken of a length */
    bool v2;
    uint64_t inner_end; /* CARv2: where the inner archive ends */
    bool acc_given;     /* an event borrows acc */
    struct fab_buf acc;
    struct fab_cid *roots;
    size_t root_count;
};

enum fab_rc fab_car_reader_new(struct fab_car_reader **out)
{
    struct fab_car_reader *r = calloc(1, sizeof *r);
    if (!r)
        return FAB_ENOMEM;
    fab_buf_init(&r->acc, SECTION_MAX);
    *out = r;
    return FAB_OK;
}

void fab_car_reader_free(struct fab_car_reader *reader)
{
    if (!reader)
        return;
    fab_buf_fini(&reader->acc);
    free(reader->roots);
    free(reader);
}

static enum fab_rc fail(struct fab_car_reader *r, enum fab_rc rc, const char *what,
                        struct fab_err *err)
{
    r->failed = rc;
    return fab_err_set(err, rc, "CAR archive, byte %" PRIu64 ": %s", r->pos, what);
}

static void take(struct fab_car_reader *r, struct fab_slice *in, size_t n)
{
    *in = fab_slice(in->p + n, in->n - n);
    r->pos += n;
}

/* One varint, byte by byte. *done says whether it is whole, in r->length. */
static enum fab_rc length_take(struct fab_car_reader *r, struct fab_slice *in, bool *done)
{
    *done = false;
    while (in->n > 0) {
        uint8_t byte = in->p[0];
        if (r->length_bytes == LENGTH_BYTES || (byte == 0 && r->length_bytes > 0))
            return FAB_EFORMAT;
        if (r->length_bytes == 0)
            r->length = 0;
        r->length |= (uint64_t)(byte & 0x7f) << (7 * r->length_bytes++);
        take(r, in, 1);
        if (byte & 0x80)
            continue;
        r->length_bytes = 0;
        *done = true;
        return FAB_OK;
    }
    return FAB_OK;
}

/* r->need bytes as one slice, valid until the next call. *done says whether they are whole. */
static enum fab_rc bytes_take(struct fab_car_reader *r, struct fab_slice *in, struct fab_slice *out,
                              bool *done)
{
    size_t left = (size_t)r->need - r->acc.len;
    *done = in->n >= left;
    if (*done && r->acc.len == 0) {
        *out = fab_slice(in->p, left);
        take(r, in, left);
        return FAB_OK;
    }
    size_t n = *done ? left : in->n;
    FAB_TRY(fab_buf_append(&r->acc, in->p, n));
    take(r, in, n);
    if (*done) {
        *out = fab_buf_slice(&r->acc);
        r->acc_given = true;
    }
    return FAB_OK;
}

static void expect(struct fab_car_reader *r, enum state state, uint64_t need)
{
    r->state = state;
    r->need = need;
}

/* ---- headers ---- */

static enum fab_rc roots_read(struct fab_car_reader *r, struct fab_reader *in)
{
    size_t count;
    FAB_TRY(fab_cbor_read_array(in, &count));
    if (count > FAB_CAR_ROOTS_MAX)
        return FAB_ELIMIT;
    r->roots = calloc(count ? count : 1, sizeof *r->roots);
    if (!r->roots)
        return FAB_ENOMEM;
    for (r->root_count = 0; r->root_count < count; r->root_count++)
        FAB_TRY(fab_cbor_read_cid(in, &r->roots[r->root_count]));
    return FAB_OK;
}

/* {"roots": [...], "version": N}. The roots are kept, if there are any. */
static enum fab_rc header_read(struct fab_car_reader *r, struct fab_slice s, uint64_t *version)
{
    struct fab_reader in = fab_reader(s);
    struct fab_cbor_map map;
    bool has_version = false;
    FAB_TRY(fab_cbor_read_map(&in, &map));
    while (map.left) {
        struct fab_slice key;
        FAB_TRY(fab_cbor_read_key(&in, &map, &key));
        if (fab_slice_eq(key, fab_slice("roots", 5))) {
            FAB_TRY(roots_read(r, &in));
        } else if (fab_slice_eq(key, fab_slice("version", 7))) {
            FAB_TRY(fab_cbor_read_uint(&in, version));
            has_version = true;
        } else {
            return FAB_EFORMAT;
        }
    }
    FAB_TRY(fab_cbor_read_end(&in));
    return has_version ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc header_done(struct fab_car_reader *r, struct fab_slice s, bool inner,
                               struct fab_car_event *event, struct fab_err *err)
{
    uint64_t version;
    enum fab_rc rc = header_read(r, s, &version);
    if (rc == FAB_EFORMAT)
        return fail(r, rc, "the header is malformed; this is not a CAR archive", err);
    if (rc != FAB_OK)
        return fail(r, rc, rc == FAB_ELIMIT ? "too many roots" : fab_rc_text(rc), err);
    if (version == 2 && !inner && !r->roots && s.n + 1 == V2_PRAGMA_BYTES) {
        r->v2 = true;
        expect(r, V2_HEADER, V2_HEADER_BYTES);
        return FAB_OK;
    }
    if (version != 1)
        return fail(r, FAB_EUNSUPPORTED, "only versions 1 and 2 can be read", err);
    if (!r->roots)
        return fail(r, FAB_EFORMAT, "the header names no roots", err);
    r->state = SECTION_LENGTH;
    event->kind = FAB_CAR_HEADER;
    event->roots = r->roots;
    event->root_count = r->root_count;
    return FAB_OK;
}

static enum fab_rc header_length_done(struct fab_car_reader *r, struct fab_err *err)
{
    if (r->length == 0)
        return fail(r, FAB_EFORMAT, "the header is empty; this is not a CAR archive", err);
    if (r->length > FAB_CAR_HEADER_MAX)
        return fail(r, FAB_ELIMIT, "the header is too long, or this is not a CAR archive", err);
    if (r->v2 && (r->pos > r->inner_end || r->length > r->inner_end - r->pos))
        return fail(r, FAB_EFORMAT, "the header passes the end of the inner archive", err);
    expect(r, r->v2 ? HEADER : PRAGMA, r->length);
    return FAB_OK;
}

/* Characteristics (16 bytes), then offset and size of the inner archive and offset of the index. */
static enum fab_rc v2_header_done(struct fab_car_reader *r, struct fab_slice s, struct fab_err *err)
{
    struct fab_reader in = fab_reader(fab_slice(s.p + 16, s.n - 16));
    uint64_t offset, size, index;
    FAB_TRY(fab_read_le(&in, 8, &offset));
    FAB_TRY(fab_read_le(&in, 8, &size));
    FAB_TRY(fab_read_le(&in, 8, &index));
    if (size == 0)
        return fail(r, FAB_EFORMAT, "the inner archive is empty: its writer did not finish", err);
    if (offset < r->pos || size > UINT64_MAX - offset || (index != 0 && index < offset + size))
        return fail(r, FAB_EFORMAT, "the version 2 header contradicts itself", err);
    r->inner_end = offset + size;
    expect(r, V2_SKIP, offset - r->pos);
    return FAB_OK;
}

/* ---- sections ---- */

static enum fab_rc section_length_done(struct fab_car_reader *r, struct fab_err *err)
{
    if (r->length == 0) {
        r->state = ZEROS;
        return FAB_OK;
    }
    if (r->length > SECTION_MAX)
        return fail(r, FAB_ELIMIT, "the block is larger than 2 MiB", err);
    if (r->v2 && (r->pos > r->inner_end || r->length > r->inner_end - r->pos))
        return fail(r, FAB_EFORMAT, "the block passes the end of the inner archive", err);
    expect(r, SECTION, r->length);
    return FAB_OK;
}

static enum fab_rc section_done(struct fab_car_reader *r, struct fab_slice s,
                                struct fab_car_event *event, struct fab_err *err)
{
    struct fab_reader in = fab_reader(s);
    if (fab_cid_read(&in, &event->cid) != FAB_OK)
        return fail(r, FAB_EFORMAT, "the block before this byte does not begin with a CID", err);
    if (fab_reader_left(&in) > FAB_BLOCK_MAX)
        return fail(r, FAB_ELIMIT, "the block before this byte is larger than 2 MiB", err);
    event->kind = FAB_CAR_BLOCK;
    event->data = fab_slice(in.p, fab_reader_left(&in));
    r->state = SECTION_LENGTH;
    return FAB_OK;
}

static bool at_inner_end(const struct fab_car_reader *r)
{
    return r->v2 && r->pos == r->inner_end && r->length_bytes == 0;
}

static enum fab_rc zeros_take(struct fab_car_reader *r, struct fab_slice *in, struct fab_err *err)
{
    while (in->n > 0 && !at_inner_end(r)) {
        if (in->p[0] != 0)
            return fail(r, FAB_EFORMAT, "data after the padding that ended the blocks", err);
        take(r, in, 1);
    }
    return FAB_OK;
}

/* Take one step; FAB_CAR_MORE in `event` when there is nothing to give yet. */
static enum fab_rc step(struct fab_car_reader *r, struct fab_slice *in, struct fab_car_event *event,
                        struct fab_err *err)
{
    struct fab_slice s = {0};
    bool done = false;
    enum fab_rc rc = FAB_OK;
    size_t n;
    if ((r->state == SECTION_LENGTH || r->state == ZEROS) && at_inner_end(r))
        r->state = INDEX;
    switch (r->state) {
    case PRAGMA_LENGTH:
    case HEADER_LENGTH:
    case SECTION_LENGTH:
        rc = length_take(r, in, &done);
        if (rc != FAB_OK)
            return fail(r, rc, "malformed length", err);
        if (!done)
            return FAB_OK;
        return r->state == SECTION_LENGTH ? section_length_done(r, err)
                                          : header_length_done(r, err);
    case PRAGMA:
    case HEADER:
    case V2_HEADER:
    case SECTION:
        rc = bytes_take(r, in, &s, &done);
        if (rc != FAB_OK)
            return fail(r, rc, fab_rc_text(rc), err);
        if (!done)
            return FAB_OK;
        if (r->state == SECTION)
            return section_done(r, s, event, err);
        if (r->state == V2_HEADER)
            return v2_header_done(r, s, err);
        return header_done(r, s, r->state == HEADER, event, err);
    case V2_SKIP:
        n = r->need < in->n ? (size_t)r->need : in->n;
        r->need -= n;
        take(r, in, n);
        if (r->need == 0)
            r->state = HEADER_LENGTH;
        return FAB_OK;
    case ZEROS:
        return zeros_take(r, in, err);
    case INDEX:
        take(r, in, in->n);
        return FAB_OK;
    }
    return FAB_OK;
}

enum fab_rc fab_car_reader_next(struct fab_car_reader *reader, struct fab_slice *input,
                                struct fab_car_event *out, struct fab_err *err)
{
    struct fab_car_event event = {.kind = FAB_CAR_MORE};
    if (reader->failed != FAB_OK)
        return fail(reader, reader->failed, "reading has failed before", err);
    while (input->n > 0 && event.kind == FAB_CAR_MORE) {
        if (reader->acc_given) {
            fab_buf_reset(&reader->acc);
            reader->acc_given = false;
        }
        FAB_TRY(step(reader, input, &event, err));
    }
    *out = event;
    return FAB_OK;
}

enum fab_rc fab_car_reader_finish(struct fab_car_reader *reader, struct fab_err *err)
{
    if (reader->failed != FAB_OK)
        return fail(reader, reader->failed, "reading has failed before", err);
    switch (reader->state) {
    case SECTION_LENGTH:
        if (reader->length_bytes == 0 && (!reader->v2 || reader->pos == reader->inner_end))
            return FAB_OK;
        break;
    case ZEROS:
        if (!reader->v2 || reader->pos == reader->inner_end)
            return FAB_OK;
        break;
    case INDEX:
        return FAB_OK;
    default:
        break;
    }
    return fail(reader, FAB_EFORMAT, "the archive ends early", err);
}
