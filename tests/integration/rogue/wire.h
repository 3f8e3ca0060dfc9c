/* A connection to a node, by hand: the swarm's own cores where a peer behaves, and raw bytes where
 * it does not. Blocking, with time limits; one thread.
 *
 *   wire_open ──▶ wire_greet ──▶ wire_secure ──▶ wire_plain / wire_frame
 *   (TCP, nonce)  (multistream)  (Noise XX)      (yamux) */
#ifndef ROGUE_WIRE_H
#define ROGUE_WIRE_H

#include "fabric/swarm/noise.h"
#include "fabric/swarm/pnet.h"

#include <netinet/in.h>

#define DATA   0 /* yamux frame types */
#define WINDOW 1
#define PING   2
#define AWAY   3
#define SYN    1u /* and flags */
#define ACK    2u
#define FIN    4u
#define RST    8u

struct target {
    struct sockaddr_in to;
    struct in_addr from; /* our own address; 0: any */
    uint8_t key[FAB_SWARM_KEY_SIZE];
};

struct wire {
    int fd;
    struct fab_key *identity;
    struct fab_pnet_cipher reader, writer;
    struct fab_noise *noise;
    const uint8_t *key;
    uint8_t nonce[FAB_PNET_NONCE_SIZE];
    size_t nonce_got;
    struct fab_buf raw, plain; /* received: behind pnet; behind Noise */
    size_t raw_at, plain_at;   /* of these, taken */
    uint64_t received;         /* bytes from the socket */
    bool ended;                /* the node closed, or reset */
};

struct frame {
    uint8_t type;
    uint16_t flags;
    uint32_t id, length;
    const uint8_t *data; /* of DATA; borrowed until the next call */
};

double now_ms(void);
void sleep_ms(double ms);
/* Ends the program with 2: the test itself does not work. */
_Noreturn void broken(const char *fmt, ...) FAB_PRINTF(1, 2);
/* For what cannot fail but by lack of memory. */
void must(enum fab_rc rc);

/* Connect, and send our nonce. A fresh identity. False when the node refuses. */
bool wire_open(struct wire *w, const struct target *t);
void wire_close(struct wire *w);
/* All bytes, as they are; what comes meanwhile is kept. False: the node closed, or took nothing
 * for 20 s. */
bool wire_write(struct wire *w, const void *p, size_t n);
/* The same behind pnet's cipher. */
bool wire_send(struct wire *w, const void *p, size_t n);
/* Wait for more to come. 1 more has come; 0 not in time; -1 the node has closed. */
int wire_fill(struct wire *w, double timeout_ms);
/* Read and drop until the node closes. How long that took; -1: it did not in time. */
double wire_await_close(struct wire *w, double timeout_ms);

/* Multistream, header and /noise both ways; then Noise, with yamux chosen early. False: refused. */
bool wire_greet(struct wire *w);
bool wire_secure(struct wire *w);
/* A Noise handshake message without its length; borrowed. False: it does not come. */
bool wire_message(struct wire *w, struct fab_slice *out);
/* Plaintext in Noise frames. */
bool wire_plain(struct wire *w, const void *p, size_t n);
void frame_put(struct fab_buf *b, unsigned type, unsigned flags, uint32_t id, uint32_t length,
               const void *p, size_t n);
bool wire_put_frame(struct wire *w, unsigned type, unsigned flags, uint32_t id, uint32_t length,
                    const void *p, size_t n);
/* The next frame, whole. 1, 0 not in time, -1 closed. */
int wire_frame(struct wire *w, struct frame *out, double timeout_ms);

#endif
