/* Watch a descriptor of somebody else's (an HTTP server's epoll, inotify). */
#ifndef FAB_LOOP_POLL_H
#define FAB_LOOP_POLL_H

#include "fabric/loop/loop.h"

struct fab_poll;

enum fab_poll_events {
    FAB_POLL_READ = 1,
    FAB_POLL_WRITE = 2,
    FAB_POLL_HANGUP = 4, /* a socket's peer has ended its side, even if unread bytes wait */
};

/* `ready` is called, level-triggered, with the events of fab_poll_set that hold; all when the
 * descriptor is in error. Nothing is watched before fab_poll_set. The descriptor stays the
 * caller's and must stay open until fab_poll_close. FAB_ENOMEM; FAB_EIO: not one that can be
 * watched, or one already watched. */
FAB_MUST enum fab_rc fab_poll_new(struct fab_loop *loop, int fd,
                                  void (*ready)(void *arg, unsigned events), void *arg,
                                  struct fab_poll **out);
/* Watch these events (0: none). */
void fab_poll_set(struct fab_poll *poll, unsigned events);
/* No callback after this; the descriptor may be closed. NULL is allowed. */
void fab_poll_close(struct fab_poll *poll);

#endif
