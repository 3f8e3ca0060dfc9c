/* The server over libmicrohttpd, whose epoll descriptor our loop polls.
 *
 * Happy path: the request line arrives (on_target makes the request); the headers and the body
 * arrive (on_request, several times); then the handler is called. If it has answered, the response
 * is queued; if it asked for time, the connection is suspended until the answer comes, and
 * on_request is called once more to queue it. on_completed frees the request.
 *
 * Failures: a client that leaves while it is served is reported by on_completed; one that leaves
 * while its connection is suspended is seen by our own watch on the descriptor. Either way the
 * owner's `gone` is called once, and the request is freed in on_completed only.
 *
 * The server runs when its descriptor is ready, when its timeout passes, and after each resume; it
 * says by a timeout of zero that it has more to do. */
#include "fabric/api/inner.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_S      60u         /* an idle or stuck connection is closed */
#define DISCARD_MAX (16u << 20) /* bytes of a too large body that are read before the answer */

static void run_server(struct fab_api *api)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(api->mhd);
    if (MHD_get_timeout(api->mhd, &ms) != MHD_YES)
        fab_timer_stop(&api->timer);
    else if (ms == 0)
        fab_loop_defer(api->loop, &api->kick);
    else
        fab_timer_start(&api->timer, fab_loop_now_us() + ms * 1000);
}

static void on_ready(void *arg, unsigned events)
{
    (void)events;
    run_server(arg);
}

static void on_timeout(void *arg)
{
    run_server(arg);
}

static void on_kick(struct fab_defer *kick)
{
    run_server((struct fab_api *)(void *)((char *)kick - offsetof(struct fab_api, kick)));
}

/* --- suspended connections --- */

void fab_api_resume(struct fab_api_request *request)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    fab_poll_close(request->watch);
    request->watch = NULL;
    MHD_resume_connection(request->mhd);
    fab_loop_defer(request->api->loop, &request->api->kick);
}

/* The owner learns that the request is dead, once; the connection ends. */
static void abandon(struct fab_api_request *request)
{
    enum fab_api_state state = request->state;
    request->aborted = true;
    request->state = FAB_API_OVER;
    fab_loop_cancel(&request->stream.drained);
    if (state == FAB_API_LATER && request->gone)
        request->gone(request->gone_arg);
    if (state == FAB_API_STREAM && request->stream.ops && request->stream.ops->gone)
        request->stream.ops->gone(request->stream.arg);
}

static void on_watched(void *arg, unsigned events)
{
    struct fab_api_request *request = arg;
    (void)events;
    abandon(request);
    fab_api_resume(request);
}

void fab_api_suspend(struct fab_api_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    MHD_suspend_connection(request->mhd);
    request->suspended = true;
    /* Without memory for the watch, the client's leaving is seen when something is sent. */
    if (info && fab_poll_new(request->api->loop, info->connect_fd, on_watched, request,
                             &request->watch) == FAB_OK)
        fab_poll_set(request->watch, FAB_POLL_HANGUP);
}

/* --- one request --- */

static void *on_target(void *arg, const char *raw, struct MHD_Connection *mhd)
{
    struct fab_api *api = arg;
    (void)mhd;
    struct fab_api_request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->api = api;
    request->target_rc = fab_api_target_parse(raw, &request->target);
    fab_buf_init(&request->body, FAB_API_BODY_MAX);
    request->next = api->requests;
    if (request->next)
        request->next->prev = request;
    api->requests = request;
    return request;
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **ctx,
                         enum MHD_RequestTerminationCode code)
{
    struct fab_api *api = arg;
    struct fab_api_request *request = *ctx;
    (void)mhd;
    (void)code;
    if (!request)
        return;
    *ctx = NULL;
    abandon(request);
    fab_poll_close(request->watch);
    if (request->response)
        MHD_destroy_response(request->response);
    if (request->prev)
        request->prev->next = request->next;
    else
        api->requests = request->next;
    if (request->next)
        request->next->prev = request->prev;
    fab_api_target_fini(&request->target);
    fab_buf_fini(&request->body);
    fab_buf_fini(&request->stream.backlog);
    free(request);
}

static bool method_fits(const struct fab_api_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* 405 with the methods that the path has. */
static void refuse_method(struct fab_api_request *request)
{
    struct fab_buf allow;
    enum fab_rc rc = FAB_OK;
    fab_buf_init(&allow, 256);
    for (size_t i = 0; i < request->api->n_routes && rc == FAB_OK; i++) {
        const struct fab_api_route *route = &request->api->routes[i];
        if (fab_api_target_match(&request->target, route->path))
            rc = fab_buf_printf(&allow, "%s%s", allow.len ? ", " : "", route->method);
    }
    if (rc == FAB_OK)
        rc = fab_buf_byte(&allow, 0);
    fab_api_error_status(request, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
                         "this path exists, but not with this method");
    if (rc == FAB_OK && request->response)
        (void)MHD_add_response_header(request->response, "Allow", (const char *)allow.data);
    fab_buf_fini(&allow);
}

static void dispatch(struct fab_api_request *request)
{
    struct fab_api *api = request->api;
    bool found = false;
    request->state = FAB_API_HANDLING;
    if (request->target_rc != FAB_OK) {
        fab_api_error_status(request, MHD_HTTP_BAD_REQUEST, "invalid",
                             "the path or the query is malformed or has too many parts");
        return;
    }
    if (request->body_seen > FAB_API_BODY_MAX) {
        fab_api_error_status(request, MHD_HTTP_CONTENT_TOO_LARGE, "too_large",
                             "the request's body is larger than 1 MiB");
        return;
    }
    for (size_t i = 0; i < api->n_routes; i++) {
        if (!fab_api_target_match(&request->target, api->routes[i].path))
            continue;
        found = true;
        if (!method_fits(&api->routes[i], request->method))
            continue;
        api->routes[i].handle(api->arg, request);
        if (request->state == FAB_API_HANDLING)
            fab_api_error(request, FAB_EIO, "the request was not answered");
        return;
    }
    if (found)
        refuse_method(request);
    else
        fab_api_error_status(request, MHD_HTTP_NOT_FOUND, "not_found", "there is no such path");
}

/* The body's length as announced; 0 when it is not. */
static uint64_t announced(struct MHD_Connection *mhd)
{
    const char *text = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");
    return text ? strtoull(text, NULL, 10) : 0;
}

static enum MHD_Result queue(struct fab_api_request *request)
{
    struct MHD_Response *response = request->response;
    if (!response)
        return MHD_NO; /* memory was short, or the client has left: close */
    request->response = NULL;
    enum MHD_Result queued = MHD_queue_response(request->mhd, request->status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result take_body(struct fab_api_request *request, const char *p, size_t n)
{
    request->body_seen += n;
    if (request->body_seen <= FAB_API_BODY_MAX)
        return fab_buf_append(&request->body, p, n) == FAB_OK ? MHD_YES : MHD_NO;
    fab_buf_fini(&request->body);
    return request->body_seen <= DISCARD_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_n, void **ctx)
{
    struct fab_api_request *request = *ctx;
    (void)arg;
    (void)url;
    (void)version;
    if (!request)
        return MHD_NO;
    if (!request->mhd) { /* the headers */
        request->mhd = mhd;
        request->method = method;
        uint64_t n = announced(mhd);
        if (n <= DISCARD_MAX)
            return MHD_YES;
        request->body_seen = n;
        dispatch(request);
        return queue(request);
    }
    if (*upload_n > 0) {
        size_t n = *upload_n;
        *upload_n = 0;
        return take_body(request, upload, n);
    }
    if (request->state == FAB_API_READING)
        dispatch(request);
    if (request->state != FAB_API_LATER)
        return queue(request);
    fab_api_suspend(request);
    return MHD_YES;
}

const char *fab_api_method(const struct fab_api_request *request)
{
    return request->method;
}

const char *fab_api_path(const struct fab_api_request *request)
{
    return request->target.path;
}

const char *fab_api_header(const struct fab_api_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

struct fab_slice fab_api_body(const struct fab_api_request *request)
{
    return fab_buf_slice(&request->body);
}

enum fab_rc fab_api_body_json(const struct fab_api_request *request, json_t **out,
                              struct fab_err *err)
{
    json_error_t where;
    json_t *value = json_loadb(request->body.data ? (const char *)request->body.data : "",
                               request->body.len, JSON_REJECT_DUPLICATES, &where);
    if (!value)
        return fab_err_set(err, FAB_EFORMAT, "the body is not JSON: line %d, column %d: %s",
                           where.line, where.column, where.text);
    *out = value;
    return FAB_OK;
}

/* --- the server --- */

/* Percent-encoding is undone by us, after the path has been split. */
static size_t keep_encoding(void *arg, struct MHD_Connection *mhd, char *text)
{
    (void)arg;
    (void)mhd;
    return strlen(text);
}

enum fab_rc fab_api_new(struct fab_loop *loop, const char *socket_path,
                        const struct fab_api_route *routes, size_t n, void *arg,
                        struct fab_api **out, struct fab_err *err)
{
    struct fab_api *api = calloc(1, sizeof *api);
    if (!api)
        return fab_err_set(err, FAB_ENOMEM, "cannot start the API server: out of memory");
    api->loop = loop;
    api->routes = routes;
    api->n_routes = n;
    api->arg = arg;
    api->kick.run = on_kick;
    fab_timer_init(&api->timer, loop, on_timeout, api);
    enum fab_rc rc = fab_api_socket_open(socket_path, &api->socket, err);
    if (rc != FAB_OK) {
        free(api);
        return rc;
    }
    api->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
                                api, MHD_OPTION_LISTEN_SOCKET, api->socket.fd,
                                MHD_OPTION_CONNECTION_LIMIT, (unsigned)FAB_API_CLIENTS,
                                MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_NOTIFY_COMPLETED,
                                on_completed, api, MHD_OPTION_URI_LOG_CALLBACK, on_target, api,
                                MHD_OPTION_UNESCAPE_CALLBACK, keep_encoding, api, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        api->mhd ? MHD_get_daemon_info(api->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!api->mhd)
        close(api->socket.fd);
    if (!info || fab_poll_new(loop, info->epoll_fd, on_ready, api, &api->poll) != FAB_OK) {
        fab_api_free(api);
        return fab_err_set(err, FAB_EIO, "cannot start the API server on %s", socket_path);
    }
    fab_poll_set(api->poll, FAB_POLL_READ);
    fab_loop_defer(loop, &api->kick);
    *out = api;
    return FAB_OK;
}

void fab_api_free(struct fab_api *api)
{
    if (!api)
        return;
    fab_api_socket_remove(&api->socket);
    for (struct fab_api_request *request = api->requests; request; request = request->next) {
        abandon(request);
        fab_api_resume(request);
    }
    fab_poll_close(api->poll);
    if (api->mhd)
        MHD_stop_daemon(api->mhd);
    fab_timer_stop(&api->timer);
    fab_loop_cancel(&api->kick);
    free(api);
}
