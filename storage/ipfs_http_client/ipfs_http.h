/* libipfs-http-client: requests to an HTTP API over TCP or a Unix socket, on libcurl.
 *
 * This library stands alone: C17, libcurl, nothing else. A client may be used by one thread at a
 * time; it keeps its connection between requests. Calls block. */
#ifndef IPFS_HTTP_H
#define IPFS_HTTP_H

#include <signal.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ipfs_rc {
    IPFS_OK = 0,       /* an answer arrived in full, whatever its status */
    IPFS_ENOMEM,       /* an allocation failed */
    IPFS_EINVAL,       /* an argument is wrong */
    IPFS_ECONNECT,     /* nobody listens there, or the name is unknown */
    IPFS_ETIMEOUT,     /* a time limit passed */
    IPFS_EINTERRUPTED, /* the caller's flag was set */
    IPFS_EABORTED,     /* on_chunk asked to stop */
    IPFS_EIO,          /* the connection broke, or what came was not HTTP */
    IPFS_ENOLIB,       /* libcurl, which is loaded by the first client, is not installed */
};

struct ipfs_http;

/* `base` is "http://HOST[:PORT]", "https://HOST[:PORT]" or "unix:PATH"; a path of any length.
 * Nothing is sent yet. */
enum ipfs_rc ipfs_http_new(const char *base, struct ipfs_http **out);
void ipfs_http_free(struct ipfs_http *client);

struct ipfs_http_request {
    const char *method; /* NULL: "GET", or "POST" when there is a body */
    const char *path;   /* "/api/v1/status?x=y", encoded already (ipfs_http_escape) */
    const void *body;   /* NULL: none */
    size_t body_len;
    const char *content_type; /* of the body; NULL: "application/json" */
    const char *token;        /* sent as "Authorization: Bearer TOKEN"; NULL: none */
    /* Each piece of the answer's body as it arrives, in order; not 0 aborts. NULL: it is dropped.
     */
    int (*on_chunk)(void *arg, int status, const void *p, size_t n);
    void *arg;
    /* Looked at when a signal arrives and at least five times a second; not 0 interrupts. May be
     * NULL. */
    const volatile sig_atomic_t *interrupted;
    long connect_ms; /* 0: 2000 */
    long total_ms;   /* 0: no limit */
};

struct ipfs_http_response {
    int status;      /* 0 when none arrived */
    char error[256]; /* one line when the return value is not IPFS_OK; else empty */
};

/* Send a request and receive its answer. `response` is always set. Redirects are not followed,
 * proxies from the environment are not used for Unix sockets. */
enum ipfs_rc ipfs_http_perform(struct ipfs_http *client, const struct ipfs_http_request *request,
                               struct ipfs_http_response *response);

/* Percent-encode `text` for one path segment or query value into `out` of `cap` bytes, NUL
 * included. Returns the length that it needs without the NUL; if that is not less than `cap`, out
 * holds an empty string. */
size_t ipfs_http_escape(const char *text, char *out, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
