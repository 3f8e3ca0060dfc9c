/* libcurl, loaded when the first client is made.
 *
 * It brings thirty libraries with it, whose loading would take longer than all else of a command
 * that sends no request. */
#ifndef IPFS_CURL_LIB_H
#define IPFS_CURL_LIB_H

#include <stdbool.h>

#define CURL_DISABLE_TYPECHECK /* its macros would stand in the way of the table's names */
#include <curl/curl.h>

#define IPFS_CURL_FUNCTIONS(X)                                                                     \
    X(curl_easy_cleanup)                                                                           \
    X(curl_easy_getinfo)                                                                           \
    X(curl_easy_init)                                                                              \
    X(curl_easy_reset)                                                                             \
    X(curl_easy_setopt)                                                                            \
    X(curl_global_init)                                                                            \
    X(curl_multi_add_handle)                                                                       \
    X(curl_multi_cleanup)                                                                          \
    X(curl_multi_info_read)                                                                        \
    X(curl_multi_init)                                                                             \
    X(curl_multi_perform)                                                                          \
    X(curl_multi_poll)                                                                             \
    X(curl_multi_remove_handle)                                                                    \
    X(curl_slist_append)                                                                           \
    X(curl_slist_free_all)

/* The functions under their own names. */
struct ipfs_curl_lib {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define IPFS_CURL_FIELD(name) __typeof__(name) *name;
    IPFS_CURL_FUNCTIONS(IPFS_CURL_FIELD)
#undef IPFS_CURL_FIELD
};

/* Load and initialize the library, once per process; any thread. NULL: it is not installed. The
 * table is static and stays loaded. */
const struct ipfs_curl_lib *ipfs_curl_lib(void);

#endif
