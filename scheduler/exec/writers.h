/* Ending the processes that write to a file, found in /proc (proc(5): PID/fd, PID/fdinfo). */
#ifndef FAB_EXEC_WRITERS_H
#define FAB_EXEC_WRITERS_H

#include <stddef.h>

/* Send SIGKILL to every other process that has the file behind `fd` open for writing, whatever its
 * name is by now. Gives how many; readers are left alone, and so is whoever this user may not look
 * at. A process that is forked meanwhile may be missed: call it until it gives 0. */
size_t fab_writers_kill(int fd);

#endif
