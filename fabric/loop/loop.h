/* The event loop: one thread that owns all mutable state of the daemon, without locks.
 *
 * Every function of this folder is called on the thread that runs the loop (before fab_loop_run:
 * on the thread that made it), except fab_loop_post and fab_loop_now_us. A callback runs on that
 * thread, never before the call that asked for it has returned.
 *
 * Life: new, run (until stop), close whatever was opened, drain, free. */
#ifndef FAB_LOOP_LOOP_H
#define FAB_LOOP_LOOP_H

#include "storage/base/rc.h"

#include <stdbool.h>
#include <stdint.h>

struct fab_loop;

FAB_MUST enum fab_rc fab_loop_new(struct fab_loop **out);

/* Run until fab_loop_stop. May be called again after it has returned. */
void fab_loop_run(struct fab_loop *loop);

/* fab_loop_run returns after the current turn. A stop before fab_loop_run makes that return at
 * once. From another thread: post a function that calls it. */
void fab_loop_stop(struct fab_loop *loop);

/* Run until nothing is open (connections, listeners, polls, sockets), no work is under way, and
 * no deferred or posted function waits. Timers do not count, but fire when due. The caller has
 * closed its things before. FAB_ETIMEOUT after `limit_us` microseconds: something is still open.
 */
FAB_MUST enum fab_rc fab_loop_drain(struct fab_loop *loop, uint64_t limit_us);

/* Nothing may be open and no work under way: an assertion in debug builds. Armed timers and
 * deferred functions are forgotten. NULL is allowed. */
void fab_loop_free(struct fab_loop *loop);

/* Monotonic microseconds, the time that cores take as now_us. Any thread. */
uint64_t fab_loop_now_us(void);

/* A function to run on the loop thread after the current callback, and after what else is ready
 * in this turn. Memory is the caller's: zeroed at first, and alive until it has run or been
 * cancelled. */
struct fab_defer {
    void (*run)(struct fab_defer *defer);
    struct fab_defer *prev, *next; /* the loop's; next is not NULL while queued */
};

/* Queue; nothing happens when it is queued already. In order. `run` may queue it again: then it
 * runs in the next turn, after the loop has looked at its descriptors. */
void fab_loop_defer(struct fab_loop *loop, struct fab_defer *defer);

/* Not run any more, if it was queued. */
void fab_loop_cancel(struct fab_defer *defer);

/* A function to run on the loop thread, posted from any thread. Memory is the caller's, alive
 * until `run` is called; it may be freed in `run`. */
struct fab_post {
    void (*run)(struct fab_post *post);
    struct fab_post *next; /* the loop's */
};

/* Any thread; must not be posted while it is posted. Posts run in order. The loop must live. */
void fab_loop_post(struct fab_loop *loop, struct fab_post *post);

#endif
