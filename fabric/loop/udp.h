/* Datagrams, as multicast discovery on the local network needs them. */
#ifndef FAB_LOOP_UDP_H
#define FAB_LOOP_UDP_H

#include "fabric/loop/address.h"
#include "fabric/loop/loop.h"

#include <stddef.h>

struct fab_udp;

/* `p` is shared: valid during the call, and may be changed. `interface` is the index of the
 * interface that it came in on, 0 when unknown. */
typedef void fab_udp_fn(void *arg, uint8_t *p, size_t n, const struct fab_address *from,
                        unsigned interface);

/* Bind to `at`. Other processes may bind the same (SO_REUSEADDR and SO_REUSEPORT). FAB_EACCES,
 * FAB_EBUSY, FAB_EIO, FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_udp_new(struct fab_loop *loop, const struct fab_address *at,
                                 fab_udp_fn *receive, void *arg, struct fab_udp **out);
/* Join a multicast group on one interface (index). Joining twice is not an error. */
FAB_MUST enum fab_rc fab_udp_join(struct fab_udp *udp, const struct fab_address *group,
                                  unsigned interface);
/* Send now or not at all: FAB_EIO when the kernel does not take it. `interface` 0: by route. A
 * multicast datagram has a TTL of 255 and comes back to this host's other sockets. */
FAB_MUST enum fab_rc fab_udp_send(struct fab_udp *udp, const void *p, size_t n,
                                  const struct fab_address *to, unsigned interface);
const struct fab_address *fab_udp_address(const struct fab_udp *udp);
/* No callback after this. NULL is allowed. */
void fab_udp_close(struct fab_udp *udp);

#endif
