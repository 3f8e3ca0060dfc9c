/* A file that appears under its name only when it is whole; or standard output. */
#ifndef FAB_CLI_OUTFILE_H
#define FAB_CLI_OUTFILE_H

#include "storage/base/rc.h"

#include <stdbool.h>

struct fab_outfile {
    int fd;
    char *path, *temp; /* owned; temp NULL when what is written goes straight to its place */
    bool force;
};

/* "-" is standard output, refused when it is a terminal. What is there already is FAB_EEXIST
 * without `force`; a pipe or device is written to in place. */
FAB_MUST enum fab_rc fab_outfile_open(const char *path, bool force, struct fab_outfile *out,
                                      struct fab_err *err);
/* Make it durable and give it its name. The outfile is closed in every case. */
FAB_MUST enum fab_rc fab_outfile_commit(struct fab_outfile *file, struct fab_err *err);
/* Close, and leave nothing behind. */
void fab_outfile_abort(struct fab_outfile *file);

#endif
