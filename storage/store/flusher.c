/* A helper thread for a large ingest: while a commit writes its pages, the disk is told to begin.
 *
 * LMDB writes a transaction's pages in one thread and only then waits for the disk, so the two
 * would follow each other. Asking the kernel every millisecond to start writing back what is dirty
 * lets them overlap. It is a hint: nothing depends on it, and durability still comes from LMDB's
 * own sync. */
#include "storage/store/internal.h"

#include <fcntl.h>
#include <stdlib.h>

#define NUDGE_NS 1000000 /* between two nudges */

struct store_flusher {
    int fd; /* LMDB's, of data.mdb */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool closing, committing;
};

static void *run(void *arg)
{
    struct store_flusher *flusher = arg;
    pthread_mutex_lock(&flusher->mutex);
    while (!flusher->closing) {
        if (!flusher->committing) {
            pthread_cond_wait(&flusher->cond, &flusher->mutex);
            continue;
        }
        struct timespec pause = {.tv_nsec = NUDGE_NS};
        pthread_mutex_unlock(&flusher->mutex);
        nanosleep(&pause, NULL);
        (void)!sync_file_range(flusher->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        pthread_mutex_lock(&flusher->mutex);
    }
    pthread_mutex_unlock(&flusher->mutex);
    return NULL;
}

enum fab_rc store_flusher_new(struct fab_store *store, struct store_flusher **out)
{
    struct store_flusher *flusher = calloc(1, sizeof *flusher);
    if (!flusher)
        return FAB_ENOMEM;
    pthread_mutex_init(&flusher->mutex, NULL);
    pthread_cond_init(&flusher->cond, NULL);
    if (mdb_env_get_fd(store->env, &flusher->fd) != MDB_SUCCESS ||
        pthread_create(&flusher->thread, NULL, run, flusher) != 0) {
        pthread_cond_destroy(&flusher->cond);
        pthread_mutex_destroy(&flusher->mutex);
        free(flusher);
        return FAB_EIO;
    }
    *out = flusher;
    return FAB_OK;
}

void store_flusher_commit(struct store_flusher *flusher, bool committing)
{
    if (!flusher)
        return;
    pthread_mutex_lock(&flusher->mutex);
    flusher->committing = committing;
    pthread_cond_signal(&flusher->cond);
    pthread_mutex_unlock(&flusher->mutex);
}

void store_flusher_free(struct store_flusher *flusher)
{
    if (!flusher)
        return;
    pthread_mutex_lock(&flusher->mutex);
    flusher->closing = true;
    pthread_cond_signal(&flusher->cond);
    pthread_mutex_unlock(&flusher->mutex);
    pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->cond);
    pthread_mutex_destroy(&flusher->mutex);
    free(flusher);
}
