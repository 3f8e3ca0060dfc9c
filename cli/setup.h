/* What both programs do first. */
#ifndef FAB_CLI_SETUP_H
#define FAB_CLI_SETUP_H

#include <stdbool.h>

/* Standard descriptors, the allocator, libcrypto. False: the process cannot go on. */
bool fab_setup(void);

#endif
