/* One get, as its files share it.
 *
 * The calling thread walks the DAG (get_walk.c), makes directories and symlinks, opens files of
 * many leaves, and queues what carries bytes: whole small files and single leaves, in batches.
 * Workers (get_write.c) write them straight from the store's map. A directory or file is finished
 * (mode, time, close) by whoever lets go of it last, so children always come before their parent's
 * time is set. */
#ifndef FAB_FILES_GET_JOB_H
#define FAB_FILES_GET_JOB_H

#include "storage/base/pool.h"
#include "storage/dag/resolve.h"
#include "storage/files/get.h"
#include "storage/files/source.h"
#include "storage/files/tree.h"
#include "storage/files/watch.h"

#include <pthread.h>

#define GET_ITEMS       64
#define GET_BATCH_BYTES (2u << 20) /* payload of one batch, as far as it is known */
#define GET_BATCHES     16
#define GET_NAMES       8192        /* bytes of the names of one batch */
#define GET_FDS_MAX     256         /* directories and files that are open at once */
#define GET_HOLE_MIN    4096        /* bytes of zeros that are worth a hole */
#define GET_SHARE_MIN   (64u << 10) /* bytes whose copying costs more than to share them */

struct get_node {
    struct get_node *parent; /* held by this one; NULL: the directory of the destination */
    int fd;
    bool directory;
    struct fab_unixfs_attr attr;
    atomic_uint holds;
    char name[]; /* in the parent */
};

struct get_item {
    struct get_node *node; /* held: the file of a leaf, or the directory of a whole file */
    const char *name;      /* whole file: in the batch's names; NULL: a leaf */
    struct fab_cid cid;
    bool known;       /* the payload's size */
    uint64_t payload; /* bytes */
    uint64_t offset;
    struct fab_unixfs_attr attr;
};

struct get_job;

struct get_batch {
    struct fab_task task;
    struct get_job *job;
    struct get_batch *next_free;
    unsigned n;
    uint64_t bytes;
    size_t names_used;
    struct get_item item[GET_ITEMS];
    char names[GET_NAMES];
};

struct get_job {
    struct fab_store *store;
    uint32_t ws;
    const struct fab_get_options *options;
    struct source source; /* the calling thread's */
    struct watch watch;
    struct fab_pool *pool;
    struct get_batch *batch, *filling;
    struct fab_node_info info; /* of the node that is looked at, until its children are */
    unsigned depth;
    struct fab_get_stats stats;
    atomic_ullong bytes, files; /* as the workers get on */
    atomic_uint fds;
    atomic_bool stop;
    atomic_bool no_share; /* the file system of the result cannot share pages with the store's */

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct get_batch *free_list;
    unsigned busy;  /* batches with the workers */
    enum fab_rc rc; /* the first failure */
    struct fab_err *err;
    bool zero_known; /* the leaf of zeros that came last */
    struct fab_cid zero;
    uint64_t zero_n; /* its bytes */
    size_t zeros_n;  /* bytes of zeros whose CID is known; 0: none */
    struct fab_cid zeros;
};

/* get_write.c */
enum fab_rc get_workers_start(struct get_job *job);
/* Wait for what was queued, end the workers. */
void get_workers_stop(struct get_job *job);
/* Queue; holds item->node for the worker. `name` may be NULL. */
enum fab_rc get_queue(struct get_job *job, const struct get_item *item, const char *name);
/* Wait until fewer descriptors than the limit are open, if that can be reached by waiting. */
enum fab_rc get_fds_wait(struct get_job *job);
/* With one hold, the caller's. Takes `fd`. */
enum fab_rc get_node_new(struct get_job *job, struct get_node *parent, const char *name, int fd,
                         bool directory, const struct fab_unixfs_attr *attr, struct get_node **out);
void get_node_drop(struct get_job *job, struct get_node *node);
/* Count payload bytes; FAB_ELIMIT over the options' limit. */
enum fab_rc get_count(struct get_job *job, uint64_t bytes);
/* The first failure is kept, with its message. Any thread. Gives `rc`. */
enum fab_rc get_fail(struct get_job *job, enum fab_rc rc, int error, const struct get_node *dir,
                     const char *name, const char *what);
enum fab_rc get_fail_source(struct get_job *job, enum fab_rc rc, const struct source *source,
                            const struct get_node *dir, const char *name);
bool get_known_zero(struct get_job *job, const struct fab_cid *cid, uint64_t n);
enum fab_rc get_set_attr(int fd, const struct fab_unixfs_attr *attr);

/* get_walk.c */
enum fab_rc get_entry(struct get_job *job, struct get_node *dir, const char *name,
                      const struct fab_cid *cid);

#endif
