/* Between the files of this folder: descriptors that become something. */
#ifndef FAB_LOOP_SOCKET_H
#define FAB_LOOP_SOCKET_H

#include "fabric/loop/tcp.h"

/* A non-blocking descriptor from accept, which is taken (closed on failure). */
FAB_MUST enum fab_rc fab_tcp_accepted(struct fab_loop *loop, int fd, const struct fab_address *peer,
                                      struct fab_tcp **out);

#endif
