#include "storage/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct fab_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work, room;
    struct fab_task *head, *tail;
    size_t queued, capacity;
    bool closing;
    int nice;
    unsigned threads;
    pthread_t thread[];
};

static void *worker(void *arg)
{
    struct fab_pool *pool = arg;
    if (pool->nice != 0)
        (void)!nice(pool->nice); /* Linux: of this thread; a wish, so its failure is none */
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->head && !pool->closing)
            pthread_cond_wait(&pool->work, &pool->mutex);
        struct fab_task *task = pool->head;
        if (!task)
            break;
        pool->head = task->next;
        if (!pool->head)
            pool->tail = NULL;
        if (pool->queued-- == pool->capacity)
            pthread_cond_signal(&pool->room);
        pthread_mutex_unlock(&pool->mutex);
        task->run(task);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static unsigned processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 32 ? 32 : (unsigned)n;
}

enum fab_rc fab_pool_new(unsigned threads, size_t capacity, int nice, struct fab_pool **out)
{
    if (threads == 0)
        threads = processors();
    struct fab_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->thread[0]);
    if (!pool)
        return FAB_ENOMEM;
    pool->nice = nice;
    pool->capacity = capacity ? capacity : (size_t)threads * 4;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->room, NULL);
    for (; pool->threads < threads; pool->threads++)
        if (pthread_create(&pool->thread[pool->threads], NULL, worker, pool) != 0)
            break;
    if (pool->threads == 0) {
        fab_pool_free(pool);
        return FAB_ENOMEM;
    }
    *out = pool;
    return FAB_OK;
}

void fab_pool_submit(struct fab_pool *pool, struct fab_task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&pool->mutex);
    while (pool->queued >= pool->capacity)
        pthread_cond_wait(&pool->room, &pool->mutex);
    if (pool->tail)
        pool->tail->next = task;
    else
        pool->head = task;
    pool->tail = task;
    pool->queued++;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

unsigned fab_pool_threads(const struct fab_pool *pool)
{
    return pool->threads;
}

void fab_pool_free(struct fab_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->room);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
