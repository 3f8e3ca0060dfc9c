/* One put, as its files share it.
 *
 * The calling thread runs ahead: it walks the tree (put_tree.c) and cuts files into lane items
 * (put_read.c), and notes in a ring of steps what is to be done with them, in order. When buffers,
 * steps or descriptors run short it catches up (put_step.c): waits for the oldest item and builds
 * nodes. */
#ifndef FAB_FILES_PUT_JOB_H
#define FAB_FILES_PUT_JOB_H

#include "storage/dag/chunker.h"
#include "storage/dag/dir_builder.h"
#include "storage/dag/file_builder.h"
#include "storage/files/lane.h"
#include "storage/files/put.h"
#include "storage/files/watch.h"

#define PUT_STEPS   4096 /* in the ring */
#define PUT_FDS_MAX 256  /* files and directories that are open at once */

/* A directory from its listing until its node is built. The top one holds the arguments. */
struct put_dir {
    struct put_dir *prev, *next; /* in job->dirs; the top is not */
    struct put_dir *parent;      /* NULL: the top */
    int fd;
    char *name; /* in the parent, owned; an argument's is its path */
    size_t arg; /* the argument that it belongs to */
    struct fab_dir_builder *builder;
    struct fab_unixfs_attr attr;
};

/* A file of more than one chunk, or of unknown length. */
struct put_file {
    struct put_file *prev, *next; /* in job->files */
    char *name;                   /* owned */
    int fd;
    bool close_fd;
    struct stat before;
    bool check; /* compare with `before` at the end */
    struct fab_file_builder *builder;
    bool raw;
};

enum put_step_kind {
    PUT_WHOLE, /* item: a file of one chunk */
    PUT_CHUNK, /* item: a part of file */
    PUT_ZERO,  /* a chunk of zeros of file, `len` bytes */
    PUT_END,   /* of file */
    PUT_LEAVE, /* dir is complete */
};

struct put_step {
    enum put_step_kind kind;
    struct put_dir *dir; /* that the file is in; PUT_LEAVE: itself */
    char *name;          /* PUT_WHOLE: in dir; owned */
    size_t arg;
    struct lane_item *item;
    struct put_file *file;
    uint64_t len;
};

/* The leaf of `len` zeros, made once. */
struct put_zero {
    size_t len;
    bool raw;
    uint8_t *bytes;
    struct fab_buf block;
    struct fab_leaf leaf;
};

struct put_job {
    const struct fab_put_options *options;
    const struct fab_profile *profile;
    struct fab_chunker chunker;
    struct fab_ingest *ingest; /* NULL: only hash */
    struct fab_block_sink sink;
    struct lane *lane;
    struct watch watch;
    struct fab_err *err;
    atomic_bool stop; /* workers skip what is left */

    struct put_step *steps; /* ring of PUT_STEPS */
    size_t head, count;
    size_t fds;
    struct put_file *files;
    struct put_dir *dirs;
    struct put_dir top;
    struct fab_put_result *results; /* per argument, and one for the wrapper */
    struct put_zero zero[2];
    unsigned zero_next;
    uint8_t *window; /* for chunkers that look at the content */
    char *entries;   /* buffer of directory listings */
};

/* put_step.c */
enum fab_rc put_step_add(struct put_job *job, const struct put_step *step);
/* Do the oldest steps whose work is done. */
enum fab_rc put_take_ready(struct put_job *job);
/* Do at least the oldest step, waiting for it, and whatever else is ready. The ring is not empty.
 */
enum fab_rc put_catch_up(struct put_job *job);
enum fab_rc put_drain(struct put_job *job);
/* After lane_stop: free the steps, files and directories that a failure left. */
void put_drop(struct put_job *job);
/* An item, catching up as needed. */
enum fab_rc put_take(struct put_job *job, size_t len, struct lane_item **out);
/* Count one more open descriptor, catching up while there are too many. */
enum fab_rc put_fd_add(struct put_job *job);
/* Give an entry its place in dir, or among the results. */
enum fab_rc put_deliver(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                        const struct fab_dag_entry *entry);
/* Zeroed, with fd -1, and in the job's list. */
enum fab_rc put_file_new(struct put_job *job, const char *name, struct put_file **out);
enum fab_rc put_dir_new(struct put_job *job, struct put_dir **out);
void put_file_free(struct put_job *job, struct put_file *file);
void put_dir_free(struct put_job *job, struct put_dir *dir);

/* put_read.c */
/* A regular file of dir that was seen as `st`. */
enum fab_rc put_regular(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                        const struct stat *st);
/* Whatever fd gives. */
enum fab_rc put_stream(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                       int fd);

/* put_tree.c */
enum fab_rc put_entry(struct put_job *job, struct put_dir *dir, const char *name, size_t arg,
                      unsigned depth);

/* "a/b/name" for messages, its end if it does not fit. */
const char *put_path(const struct put_dir *dir, const char *name, char *out, size_t size);
enum fab_rc put_fail(struct put_job *job, const struct put_dir *dir, const char *name,
                     enum fab_rc rc, int error, const char *what);
void put_attr(const struct put_job *job, const struct stat *st, struct fab_unixfs_attr *out);

#endif
