/* A network in virtual time: one clock, one queue of events, and links that behave as TCP does:
 * bytes arrive in order, late when a segment is lost, not at all while a partition lasts, and a
 * link may be cut. Everything follows from the seed. */
#ifndef FAB_SIM_NET_H
#define FAB_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_MS     ((uint64_t)1000)
#define SIM_SECOND ((uint64_t)1000000)

#define SIM_LINK_ROOM (128u << 10) /* bytes on their way in one direction */

struct sim_net;
struct sim_link;

struct sim_net *sim_net_new(uint64_t seed, size_t nodes);
void sim_net_free(struct sim_net *net);

uint64_t sim_now(const struct sim_net *net); /* microseconds */
uint64_t sim_random(struct sim_net *net, uint64_t below);
uint64_t sim_seed(const struct sim_net *net);
/* Say what went wrong, with the seed and the time, and end the program. */
_Noreturn void sim_fail(const struct sim_net *net, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#define SIM_CHECK(net, x)                                                                          \
    do {                                                                                           \
        if (!(x))                                                                                  \
            sim_fail(net, "%s:%d: %s", __FILE__, __LINE__, #x);                                    \
    } while (0)

/* `fn` runs at `when_us`; events of one moment in the order of asking. */
void sim_at(struct sim_net *net, uint64_t when_us, void (*fn)(void *arg), void *arg);
/* The next event; false when there is none. */
bool sim_step(struct sim_net *net);
uint64_t sim_events(const struct sim_net *net); /* so far */

/* Nodes of different groups do not reach each other. All are in group 0 at first. */
void sim_partition(struct sim_net *net, size_t node, unsigned group);
bool sim_reaches(const struct sim_net *net, size_t a, size_t b);

/* One side of a link. No event comes from inside a call. */
struct sim_side {
    void *arg; /* NULL: nobody listens any more, nothing is delivered */
    void (*input)(void *arg, uint8_t *p, size_t n);
    void (*writable)(void *arg); /* there is room again */
    void (*cut)(void *arg);      /* the link is gone, and with it what was on its way */
};

/* A link between nodes a (side 0) and b (side 1); latency, bandwidth and loss are drawn. It is
 * freed when both sides have left it. */
struct sim_link *sim_link_new(struct sim_net *net, size_t a, size_t b, const struct sim_side *at_a,
                              const struct sim_side *at_b);
size_t sim_link_room(const struct sim_link *link, unsigned side);
void sim_link_send(struct sim_link *link, unsigned side, const uint8_t *p, size_t n);
/* The side leaves. What it sent still arrives; then, unless it died `silently`, the other one is
 * told by `cut`. */
void sim_link_leave(struct sim_link *link, unsigned side, bool silently);

#endif
