/* The home: a folder of mode 0700 that holds the store and fabric.conf. Two homes are two fabrics.
 */
#ifndef FAB_CLI_HOME_H
#define FAB_CLI_HOME_H

#include "storage/base/rc.h"

/* What a new fabric.conf begins with. */
extern const char fab_home_sample_conf[];

/* The home's absolute path: `given` (from --home), else $FABRIC_HOME, else $XDG_DATA_HOME/fabric,
 * else
 * ~/.local/share/fabric. Owned by the caller. FAB_EINVAL when none of them is set, or is empty. */
FAB_MUST enum fab_rc fab_home_path(const char *given, char **out, struct fab_err *err);

/* Make the folder, with its parents, and fabric.conf, where they are not there yet. Two processes
 * may do it at once. */
FAB_MUST enum fab_rc fab_home_make(const char *home, struct fab_err *err);

/* HOME/NAME, owned by the caller. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_home_file(const char *home, const char *name, char **out,
                                   struct fab_err *err);

#endif
