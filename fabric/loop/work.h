/* Blocking or heavy work on a pool's thread, with its completion on the loop thread. */
#ifndef FAB_LOOP_WORK_H
#define FAB_LOOP_WORK_H

#include "fabric/loop/loop.h"
#include "storage/base/pool.h"

/* Memory is the caller's (embed it in the request), alive until `done` is called, which may free
 * it. */
struct fab_work {
    void (*run)(struct fab_work *work);  /* on a thread of the pool: no loop function but post */
    void (*done)(struct fab_work *work); /* on the loop thread, exactly once */
    struct fab_loop *loop;               /* below: the loop's */
    struct fab_task task;
    struct fab_post post;
};

/* Submit: `run`, then `done`. Set both before. The pool must have been made with
 * FAB_WORK_CAPACITY, so that submitting never blocks the loop; the caller bounds how much it has
 * under way. Work cannot be cancelled: at the end, drain the loop, then free the pool. */
void fab_work_start(struct fab_work *work, struct fab_loop *loop, struct fab_pool *pool);

#define FAB_WORK_CAPACITY SIZE_MAX /* for fab_pool_new */

#endif
