/* A fixed set of worker threads (pthreads) behind one bounded queue.
 *
 * For CPU work and blocking reads: hashing, checking, file input and output. Tasks are owned by
 * whoever submits them and must live until they have run. Tasks start in the order of submission.
 */
#ifndef FAB_BASE_POOL_H
#define FAB_BASE_POOL_H

#include "storage/base/rc.h"

#include <stddef.h>

struct fab_pool;

struct fab_task {
    void (*run)(struct fab_task *task); /* on a worker thread */
    struct fab_task *next;              /* the pool's */
};

/* Start `threads` workers (0: one per processor that this process may use, at most 32) with room
 * for `capacity` waiting tasks (0: four per worker). `nice` is added to the workers' nice value,
 * and threads that a task starts inherit it: above 0, who submits the work goes before it where
 * both want a processor. */
FAB_MUST enum fab_rc fab_pool_new(unsigned threads, size_t capacity, int nice,
                                  struct fab_pool **out);

/* Queue a task; blocks while the queue is full. Never fails. */
void fab_pool_submit(struct fab_pool *pool, struct fab_task *task);

/* The number of workers. */
unsigned fab_pool_threads(const struct fab_pool *pool);

/* Wait until every task has run, end the workers, free. NULL is allowed. */
void fab_pool_free(struct fab_pool *pool);

#endif
