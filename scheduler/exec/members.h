/* The processes of an attempt, found in /proc (proc(5): PID/fd, PID/cgroup). */
#ifndef FAB_EXEC_MEMBERS_H
#define FAB_EXEC_MEMBERS_H

#include <stddef.h>

/* Send SIGKILL to every process that belongs to an attempt: it is in the control group `group`
 * ("/fabric-ID", at the end of its path), or its standard output is the file behind `log`, opened
 * for writing, or it is the conmon whose bundle is `dir`. The first shows processes whose
 * descriptors this user may not see, the second those that have no group of their own yet, or
 * never. Gives how many; a process that is forked meanwhile may be missed, so call it until it
 * gives 0. */
size_t fab_members_kill(int log, const char *group, const char *dir);

#endif
