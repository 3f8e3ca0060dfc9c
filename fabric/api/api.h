/* The HTTP/1.1 server of the daemon, on a Unix socket.
 *
 * Everything runs on the loop thread. Routes are registered at birth; a handler gets a request
 * whose body has arrived in full, and does one of three things before it returns:
 *
 *   answer                fab_api_json, fab_api_bytes, fab_api_error ...
 *   fab_api_later         and answer, or start a stream, in a later callback
 *   fab_api_stream_start  and write lines over time, then end
 *
 * A handler that does none of them gives 500. An answer ends the request: its pointer is dead. A
 * failed allocation in an answer closes the connection; nothing is reported to the handler.
 *
 * Errors are {"error": {"code": "not_found", "message": "one line"}}. */
#ifndef FAB_API_API_H
#define FAB_API_API_H

#include "fabric/loop/loop.h"
#include "storage/base/bytes.h"

#include <jansson.h>

#define FAB_API_BODY_MAX   (1u << 20) /* bytes of a request's body; more is 413 */
#define FAB_API_STREAM_MAX (1u << 20) /* bytes that wait for a slow reader of a stream */
#define FAB_API_CLIENTS    128        /* connections at once; more are closed */

struct fab_api;
struct fab_api_request;
struct fab_api_stream;

struct fab_api_route {
    const char *method; /* "GET" also serves HEAD */
    const char *path;   /* "/api/v1/workspaces/{name}/peers": {x} takes one segment, not empty */
    void (*handle)(void *arg, struct fab_api_request *request);
};

/* Listen on `socket_path`, mode 0600. A socket that nobody listens on is replaced; FAB_EBUSY when
 * somebody does. `routes` (of `n`) and what they name must live as long as the server; `arg` goes
 * to every handler. A path longer than a socket address holds is allowed. */
FAB_MUST enum fab_rc fab_api_new(struct fab_loop *loop, const char *socket_path,
                                 const struct fab_api_route *routes, size_t n, void *arg,
                                 struct fab_api **out, struct fab_err *err);

/* Stop at once: `gone` is called for every request that is open, connections are closed, the
 * socket's file is removed. Not inside a handler. NULL is allowed. */
void fab_api_free(struct fab_api *api);

/* --- the request; everything is valid until it is answered or gone, unless it says more --- */

const char *fab_api_method(const struct fab_api_request *request);
/* As sent, without the query, percent-encoding undone. */
const char *fab_api_path(const struct fab_api_request *request);
/* The segment that {name} stands for; NULL when the route has none of this name. */
const char *fab_api_param(const struct fab_api_request *request, const char *name);
/* The decoded value of ?name=value: the first one; "" without a value; NULL when absent. */
const char *fab_api_query(const struct fab_api_request *request, const char *name);
const char *fab_api_header(const struct fab_api_request *request, const char *name);
struct fab_slice fab_api_body(const struct fab_api_request *request);
/* The body as a JSON object or array, to be released by the caller. FAB_EFORMAT with the place in
 * `err`: hand both to fab_api_error. */
FAB_MUST enum fab_rc fab_api_body_json(const struct fab_api_request *request, json_t **out,
                                       struct fab_err *err);

/* --- answers --- */

/* `value` is taken (released, also on failure). NULL counts as a failed allocation. */
void fab_api_json(struct fab_api_request *request, unsigned status, json_t *value);
/* The bytes are copied. */
void fab_api_bytes(struct fab_api_request *request, unsigned status, const char *type,
                   struct fab_slice bytes);
/* 204 without a body. */
void fab_api_empty(struct fab_api_request *request);
/* The status and the code that fit `rc`; `message` is cut at 1 KiB. */
void fab_api_error(struct fab_api_request *request, enum fab_rc rc, const char *message);
/* The same for an error of this layer's own: 401 "unauthorized", 409 "conflict" ... */
void fab_api_error_status(struct fab_api_request *request, unsigned status, const char *code,
                          const char *message);

/* 400 invalid, 403 forbidden, 404 not_found, 409 exists or busy, 413 too_large, 422 bad_data,
 * 500 internal, 501 unsupported, 503 no_memory, interrupted, 504 timeout, 507 no_space. */
unsigned fab_api_status(enum fab_rc rc);
const char *fab_api_code(enum fab_rc rc);

/* The answer comes later. `gone` (may be NULL) is called at most once, when the client leaves or
 * the server stops before the answer: the request is dead then, and must not be answered. */
void fab_api_later(struct fab_api_request *request, void (*gone)(void *arg), void *arg);

/* --- streams: 200, chunked, one JSON value per line (application/x-ndjson) --- */

struct fab_api_stream_ops {
    /* The client has left, or the server stops: the stream is dead. Not called after
     * fab_api_stream_end. */
    void (*gone)(void *arg);
    /* What waited has been handed to the kernel: there is room again. May be NULL. */
    void (*drained)(void *arg);
};

/* Begin the stream: the status line goes out. The request becomes the stream. FAB_ENOMEM: the
 * request is still to be answered. */
FAB_MUST enum fab_rc fab_api_stream_start(struct fab_api_request *request,
                                          const struct fab_api_stream_ops *ops, void *arg,
                                          struct fab_api_stream **out);
/* Queue one line; the newline is added. The text is copied. FAB_ELIMIT: FAB_API_STREAM_MAX bytes
 * wait already and nothing is queued: wait for drained. FAB_ENOMEM. */
FAB_MUST enum fab_rc fab_api_stream_write(struct fab_api_stream *stream, struct fab_slice line);
/* The same with a JSON value, which is taken (released, also on failure). */
FAB_MUST enum fab_rc fab_api_stream_json(struct fab_api_stream *stream, json_t *value);
/* Send what waits, end. The stream is dead. `error` may be NULL; else a last line with the error
 * object is sent, even past the limit. */
void fab_api_stream_end(struct fab_api_stream *stream, const struct fab_err *error);

#endif
