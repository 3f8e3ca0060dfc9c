#include "storage/files/archive_lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define SONAME "libarchive.so.13" /* of every libarchive 3 */

static struct fab_archive_lib table;
static bool loaded;

/* POSIX lets an object pointer from dlsym be read as a function's; ISO C has no cast for it. */
static bool find(void *library, const char *name, void *function, size_t n)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, n);
    return symbol != NULL;
}

static void load(void)
{
    void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    loaded = true;
#define FAB_ARCHIVE_FIND(name)                                                                     \
    loaded = find(library, #name, &table.name, sizeof table.name) && loaded;
    FAB_ARCHIVE_FUNCTIONS(FAB_ARCHIVE_FIND)
#undef FAB_ARCHIVE_FIND
}

enum fab_rc fab_archive_lib(const struct fab_archive_lib **out, struct fab_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!loaded)
        return fab_err_set(err, FAB_ENOENT,
                           "%s, which reads and writes archives, is not installed: apt install "
                           "libarchive13 (Debian package libarchive13 or libarchive13t64)",
                           SONAME);
    *out = &table;
    return FAB_OK;
}
