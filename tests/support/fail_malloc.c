/* Loaded with LD_PRELOAD: of the allocations that `fabric` itself makes, not its libraries and not
 * the programs that it starts, the one with the number FAIL_AT fails (from 1; 0 or not set: none).
 * FAIL_COUNT names a file that gets their number when it ends. */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);

static atomic_ulong made;
static unsigned long fail_at;
static uintptr_t program, program_end;

/* The program comes first. */
static int see_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    program = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        if (part->p_type == PT_LOAD && end > program_end)
            program_end = end;
    }
    return 1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("FAIL_AT");
    if (strcmp(program_invocation_short_name, "fabric") != 0)
        return;
    fail_at = text ? strtoul(text, NULL, 10) : 0;
    dl_iterate_phdr(see_object, NULL);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAIL_COUNT");
    FILE *f = path && program_end ? fopen(path, "we") : NULL;
    if (!f)
        return;
    fprintf(f, "%lu\n", atomic_load(&made));
    fclose(f);
}

static bool fails(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    if (at < program || at >= program_end || atomic_fetch_add(&made, 1) + 1 != fail_at)
        return false;
    errno = ENOMEM;
    return true;
}

#define FAILS() fails(__builtin_return_address(0))

void *malloc(size_t n)
{
    return FAILS() ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    return FAILS() ? NULL : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    return FAILS() ? NULL : __libc_realloc(p, n);
}

static char *copy(const char *text, size_t n)
{
    char *out = __libc_malloc(n + 1);
    if (!out)
        return NULL;
    memcpy(out, text, n);
    out[n] = '\0';
    return out;
}

char *strdup(const char *text)
{
    return FAILS() ? NULL : copy(text, strlen(text));
}

char *strndup(const char *text, size_t max)
{
    return FAILS() ? NULL : copy(text, strnlen(text, max));
}
