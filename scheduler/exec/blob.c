#include "scheduler/exec/blob.h"

#define EMBED(name, file)                                                                          \
    __asm__(".section .rodata\n"                                                                   \
            ".balign 16\n"                                                                         \
            ".global " #name "\n"                                                                  \
            ".hidden " #name "\n" #name ":\n"                                                      \
            ".incbin \"" file "\"\n"                                                               \
            ".global " #name "_end\n"                                                              \
            ".hidden " #name "_end\n" #name "_end:\n"                                              \
            ".byte 0\n"                                                                            \
            ".previous\n");                                                                        \
    extern const uint8_t name[], name##_end[]

EMBED(fab_blob_init_bytes, FAB_INIT_FILE);
EMBED(fab_blob_seccomp_bytes, FAB_SECCOMP_FILE);

struct fab_slice fab_blob_init(void)
{
    return fab_slice(fab_blob_init_bytes, (size_t)(fab_blob_init_bytes_end - fab_blob_init_bytes));
}

struct fab_slice fab_blob_seccomp(void)
{
    return fab_slice(fab_blob_seccomp_bytes,
                     (size_t)(fab_blob_seccomp_bytes_end - fab_blob_seccomp_bytes));
}
