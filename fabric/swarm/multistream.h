/* multistream-select 1.0 (multiformats/multistream-select): the two ends of a connection or stream
 * agree on the protocol that it speaks.
 *
 * A message is its length as a varint, text, and a newline, which counts; 1024 bytes at most. Each
 * side sends the header once, without waiting; the dialer names a protocol; the listener answers
 * with the same name, or with `na`, after which the dialer names another. `ls` is answered with
 * `na`, as Kubo does.
 *
 * The state is small and allocates nothing: a listener does not store a name longer than
 * FAB_MULTISTREAM_NAME_MAX, it answers `na`. Exactly the negotiation's bytes are consumed, so what
 * follows in the reader is the protocol's. A dialer with one name only may send the protocol's
 * bytes right behind the proposal, before the answer came (lazy negotiation), and a listener reads
 * them from behind the accepted name. */
#ifndef FAB_SWARM_MULTISTREAM_H
#define FAB_SWARM_MULTISTREAM_H

#include "storage/base/bytes.h"

#define FAB_MULTISTREAM_HEADER        "\x13/multistream/1.0.0\n"
#define FAB_MULTISTREAM_HEADER_SIZE   20
#define FAB_MULTISTREAM_NAME_MAX      62   /* characters of a name that is dialled or accepted */
#define FAB_MULTISTREAM_MESSAGE_MAX   1024 /* bytes of a message, with the newline */
#define FAB_MULTISTREAM_PROPOSALS_MAX 64   /* that a listener answers, or a dialer makes */

/* The index of the protocol `name` (no newline; borrowed for the call), or -1 for none of ours. */
typedef int fab_multistream_match(void *ctx, struct fab_slice name);

struct fab_multistream {
    bool done;  /* agreed: no more input is taken */
    int chosen; /* then the index: of the dialer's names, or what match gave; -1 before */

    /* private */
    fab_multistream_match *match; /* the listener's; NULL for a dialer */
    void *ctx;
    const char *const *names; /* the dialer's */
    uint8_t name_count;
    uint8_t proposals; /* made or answered; while one waits for its answer, it is the last */
    uint8_t state;     /* what the next byte is */
    uint16_t length;   /* bytes of the message */
    uint16_t fill;     /* of these, bytes that came */
    uint8_t line[FAB_MULTISTREAM_NAME_MAX + 1];
};

/* Begin as listener. `ctx` must live as long as the negotiation. */
void fab_multistream_listen(struct fab_multistream *ms, fab_multistream_match *match, void *ctx);

/* Begin as dialer, with names in the order of preference. The array and the strings are borrowed
 * while the negotiation lasts. FAB_EINVAL for no name, more than FAB_MULTISTREAM_PROPOSALS_MAX, a
 * name that is empty, too long, has a newline, or is `na`. */
FAB_MUST enum fab_rc fab_multistream_dial(struct fab_multistream *ms, const char *const *names,
                                          size_t n);

/* Append what is said first, once: the header, and for a dialer the first proposal. FAB_ELIMIT,
 * FAB_ENOMEM from `out`. */
FAB_MUST enum fab_rc fab_multistream_start(struct fab_multistream *ms, struct fab_buf *out);

/* Take bytes from the other side and append the answers to `out`. FAB_OK: look at `done`; when it
 * is false all was consumed, when it is true nothing behind the negotiation was. Once done, nothing
 * is consumed.
 *
 * FAB_ENOENT: the listener refused all our names. FAB_EFORMAT: the other side does not speak
 * multistream; the header is judged byte by byte, so a wrong swarm key shows at once. FAB_ELIMIT: a
 * message over FAB_MULTISTREAM_MESSAGE_MAX, more than FAB_MULTISTREAM_PROPOSALS_MAX proposals, or
 * `out` is full. FAB_ENOMEM. After an error the negotiation is over: close or reset. */
FAB_MUST enum fab_rc fab_multistream_input(struct fab_multistream *ms, struct fab_reader *in,
                                           struct fab_buf *out);

#endif
