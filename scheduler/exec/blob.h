/* Files that are part of the program: the job's init and the seccomp profile. */
#ifndef FAB_EXEC_BLOB_H
#define FAB_EXEC_BLOB_H

#include "storage/base/bytes.h"

/* A static ELF executable, see scheduler/exec/init/init.c. Static. */
struct fab_slice fab_blob_init(void);
/* conf/seccomp.json, the value of `linux.seccomp` in an OCI configuration. Static. */
struct fab_slice fab_blob_seccomp(void);

#endif
