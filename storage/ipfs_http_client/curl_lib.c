#include "curl_lib.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static struct ipfs_curl_lib table;
static bool loaded;

/* Of every libcurl since 7.16, with either of the TLS libraries that Debian builds it with. */
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

/* POSIX lets an object pointer from dlsym be read as a function's; ISO C has no cast for it. */
static bool find(void *library, const char *name, void *function, size_t n)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, n);
    return symbol != NULL;
}

static void load(void)
{
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    loaded = true;
#define IPFS_CURL_FIND(name)                                                                       \
    loaded = find(library, #name, &table.name, sizeof table.name) && loaded;
    IPFS_CURL_FUNCTIONS(IPFS_CURL_FIND)
#undef IPFS_CURL_FIND
    loaded = loaded && table.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

const struct ipfs_curl_lib *ipfs_curl_lib(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return loaded ? &table : NULL;
}
