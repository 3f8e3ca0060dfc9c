/* Result codes and the error object.
 *
 * Every function that can fail returns an enum fab_rc, and its callers must look at it. Outputs
 * come last and are set only on FAB_OK. Edges (command line, configuration, sandbox, opening a
 * store, files) also take a struct fab_err *, which may be NULL, and leave one line there: what
 * failed, on what, and what to do. The buffer is fixed, so reporting "out of memory" cannot fail.
 */
#ifndef FAB_BASE_RC_H
#define FAB_BASE_RC_H

#define FAB_MUST           __attribute__((warn_unused_result))
#define FAB_PRINTF(fmt, a) __attribute__((format(printf, fmt, a)))
#define FAB_UNUSED         __attribute__((unused))

enum fab_rc {
    FAB_OK = 0,
    FAB_ENOMEM,       /* an allocation failed */
    FAB_EINVAL,       /* the caller's argument is wrong */
    FAB_EFORMAT,      /* bytes from outside are malformed */
    FAB_ELIMIT,       /* a fixed limit (depth, width, size) would be passed */
    FAB_ENOENT,       /* not there */
    FAB_EEXIST,       /* already there */
    FAB_EHASH,        /* bytes do not have the hash that their CID names */
    FAB_EQUOTA,       /* a workspace's or the store's quota is used up */
    FAB_ENOSPC,       /* the disk is full */
    FAB_EIO,          /* the operating system refused; errno told why */
    FAB_EACCES,       /* not permitted */
    FAB_EUNSUPPORTED, /* well-formed, but not something this program does */
    FAB_EINTERRUPTED, /* the user asked to stop */
    FAB_ECHANGED,     /* the input changed while it was read */
    FAB_EBUSY,        /* somebody else holds it */
    FAB_ETIMEOUT,     /* the time limit passed */
};

/* A short English phrase for `rc`, static. */
const char *fab_rc_text(enum fab_rc rc);

/* FAB_ENOSPC, FAB_EACCES, FAB_ENOENT, FAB_EEXIST, FAB_ENOMEM or FAB_EIO for an errno value. */
enum fab_rc fab_rc_errno(int err);

struct fab_err {
    enum fab_rc rc;
    char msg[1024]; /* one line, no newline, UTF-8 */
};

/* Write the message (if `err` is not NULL) and return `rc`, for `return fab_err_set(...)`. Control
 * characters in the result are replaced by '?'. */
enum fab_rc fab_err_set(struct fab_err *err, enum fab_rc rc, const char *fmt, ...) FAB_PRINTF(3, 4);

/* As fab_err_set, with ": " and strerror(errno_value) appended; rc from fab_rc_errno. */
enum fab_rc fab_err_errno(struct fab_err *err, int errno_value, const char *fmt, ...)
    FAB_PRINTF(3, 4);

/* Evaluate once; return the code if it is not FAB_OK. */
#define FAB_TRY(expr)                                                                              \
    do {                                                                                           \
        enum fab_rc fab_try_rc_ = (expr);                                                          \
        if (fab_try_rc_ != FAB_OK)                                                                 \
            return fab_try_rc_;                                                                    \
    } while (0)

#endif
