/* Whole reads and writes of a blocking descriptor, over interruptions and short ones. */
#ifndef FAB_BASE_FD_H
#define FAB_BASE_FD_H

#include "storage/base/bytes.h"

/* Read until the end or until `cap` bytes; *n tells how many. FAB_EIO: errno says why. */
FAB_MUST enum fab_rc fab_fd_read(int fd, uint8_t *out, size_t cap, size_t *n);
/* Write all of it. FAB_EIO: errno says why, and a part may have been written. */
FAB_MUST enum fab_rc fab_fd_write(int fd, struct fab_slice data);

#endif
