/* Signals that ask the process to end, on the loop thread; and what a service manager wants to
 * hear. */
#ifndef FAB_LOOP_SIGNAL_H
#define FAB_LOOP_SIGNAL_H

#include "fabric/loop/loop.h"

/* Catch SIGINT, SIGTERM and SIGHUP: `fn` is called with the signal's number for each, until the
 * loop is freed. SIGPIPE is ignored from here on. Once per loop. FAB_EIO. */
FAB_MUST enum fab_rc fab_loop_signals(struct fab_loop *loop, void (*fn)(void *arg, int signo),
                                      void *arg);

/* Tell the service manager (the datagram socket in $NOTIFY_SOCKET) e.g. "READY=1" or
 * "STOPPING=1". FAB_ENOENT when there is none: not an error for most callers. */
enum fab_rc fab_notify(const char *state);

#endif
