#include "cli/setup.h"

#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>

/* A closed descriptor 0, 1 or 2 would be given to the store's file, which output would then
 * overwrite. */
static bool fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* Input from a descriptor that can only be written fails, as it should, and output to one
         * that can only be read. */
        int made = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
        if (made != fd)
            return false;
    }
    return true;
}

bool fab_setup(void)
{
    if (!fill_standard_descriptors())
        return false;
    /* A write beyond `ulimit -f` fails with a reason instead. */
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    /* The store moves large buffers between threads: keep freed memory instead of giving it back
     * and faulting it in again. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 64 << 20);
    /* Tidying up libcrypto would only delay the end of the process. */
    (void)!OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    return true;
}
