/* Content-addressable archives (ipld.io/specs/transport/car): a CARv1 writer that only frames, and
 * a reader of CARv1 and CARv2 that takes bytes in pieces of any size and gives events. No I/O. */
#ifndef FAB_DAG_CAR_H
#define FAB_DAG_CAR_H

#include "storage/dag/block_io.h"

#define FAB_CAR_FRAME_MAX  (10 + FAB_CID_MAX)
#define FAB_CAR_HEADER_MAX (1u << 20) /* bytes of the largest header that is read */
#define FAB_CAR_ROOTS_MAX  8192u      /* roots of one archive */

/* Append the CARv1 header: `roots` may be empty. FAB_ELIMIT over FAB_CAR_ROOTS_MAX. */
FAB_MUST enum fab_rc fab_car_header(const struct fab_cid *roots, size_t count, struct fab_buf *out);

/* The bytes that stand before the data of a block of `data_bytes`; gives their number. The section
 * is these, then the data. */
size_t fab_car_frame(const struct fab_cid *cid, uint64_t data_bytes,
                     uint8_t out[FAB_CAR_FRAME_MAX]);

enum fab_car_kind {
    FAB_CAR_MORE,   /* all input is taken; give more, or call fab_car_reader_finish at the end */
    FAB_CAR_HEADER, /* once, first: roots */
    FAB_CAR_BLOCK,  /* one block; its hash is NOT checked here */
};

struct fab_car_event {
    enum fab_car_kind kind;
    const struct fab_cid *roots; /* FAB_CAR_HEADER: borrowed from the reader until it is freed */
    size_t root_count;
    struct fab_cid cid; /* FAB_CAR_BLOCK */
    struct fab_slice
        data; /* FAB_CAR_BLOCK: borrowed from the input or the reader until the next call */
};

struct fab_car_reader;

/* For one archive. */
FAB_MUST enum fab_rc fab_car_reader_new(struct fab_car_reader **out);
void fab_car_reader_free(struct fab_car_reader *reader); /* NULL is allowed */

/* Take bytes from the front of *input (which is advanced) until there is an event; call again with
 * the rest until FAB_CAR_MORE. After an error the reader gives the same code again. `err` (may be
 * NULL) gets a message that says at which byte. FAB_EFORMAT: not a CAR, or a malformed header or
 * section; FAB_ELIMIT: a header, its roots or a block (FAB_BLOCK_MAX bytes) over the limits;
 * FAB_EUNSUPPORTED: a version other than 1 and 2. A section of length 0 ends the blocks; only zero
 * bytes may follow it. In CARv2 what lies around the inner archive (padding, index) is passed over.
 */
FAB_MUST enum fab_rc fab_car_reader_next(struct fab_car_reader *reader, struct fab_slice *input,
                                         struct fab_car_event *out, struct fab_err *err);

/* The input has ended: FAB_EFORMAT when that is in the middle of something. */
FAB_MUST enum fab_rc fab_car_reader_finish(struct fab_car_reader *reader, struct fab_err *err);

#endif
