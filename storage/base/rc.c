#include "storage/base/rc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *fab_rc_text(enum fab_rc rc)
{
    switch (rc) {
    case FAB_OK:
        return "ok";
    case FAB_ENOMEM:
        return "out of memory";
    case FAB_EINVAL:
        return "invalid argument";
    case FAB_EFORMAT:
        return "malformed data";
    case FAB_ELIMIT:
        return "a limit was passed";
    case FAB_ENOENT:
        return "not found";
    case FAB_EEXIST:
        return "already exists";
    case FAB_EHASH:
        return "data does not match its hash";
    case FAB_EQUOTA:
        return "quota exceeded";
    case FAB_ENOSPC:
        return "no space left on the disk";
    case FAB_EIO:
        return "input/output error";
    case FAB_EACCES:
        return "permission denied";
    case FAB_EUNSUPPORTED:
        return "not supported";
    case FAB_EINTERRUPTED:
        return "interrupted";
    case FAB_ECHANGED:
        return "changed while it was read";
    case FAB_EBUSY:
        return "in use";
    case FAB_ETIMEOUT:
        return "timed out";
    }
    return "unknown error";
}

enum fab_rc fab_rc_errno(int err)
{
    switch (err) {
    case 0:
        return FAB_OK;
    case ENOMEM:
        return FAB_ENOMEM;
    case ENOENT:
    case ENOTDIR:
        return FAB_ENOENT;
    case EEXIST:
    case ENOTEMPTY:
        return FAB_EEXIST;
    case ENOSPC:
    case EDQUOT:
        return FAB_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return FAB_EACCES;
    case EINVAL:
    case ENAMETOOLONG:
        return FAB_EINVAL;
    default:
        return FAB_EIO;
    }
}

static void clean(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

enum fab_rc fab_err_set(struct fab_err *err, enum fab_rc rc, const char *fmt, ...)
{
    if (!err)
        return rc;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    clean(err->msg);
    err->rc = rc;
    return rc;
}

enum fab_rc fab_err_errno(struct fab_err *err, int errno_value, const char *fmt, ...)
{
    enum fab_rc rc = fab_rc_errno(errno_value);
    if (!err)
        return rc;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg) {
        char text[128];
        const char *s = strerror_r(errno_value, text, sizeof text);
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", s);
    }
    clean(err->msg);
    err->rc = rc;
    return rc;
}
