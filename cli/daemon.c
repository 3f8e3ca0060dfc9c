#include "cli/daemon.h"

#include "cli/home.h"
#include "storage/base/bytes.h"
#include "storage/ipfs_http_client/ipfs_http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX  (64u << 20)
#define LINE_MAX    (1u << 20)
#define SOCKET_NAME "fabricd.sock"
#define GREETING_MS 10000
#define API         "/api/v1"

struct fab_daemon {
    struct ipfs_http *http;
    struct fab_cli *cli;
};

/* One answer on its way in. */
struct answer {
    struct fab_buf buf; /* the whole body, or the line that has begun */
    int status;
    void (*line)(void *arg, json_t *object); /* NULL: the body is collected */
    void *arg;
    enum fab_rc rc;
    struct fab_err *err;
};

/* ---- errors ---- */

static const struct {
    const char *code;
    enum fab_rc rc;
} codes[] = {
    {"invalid", FAB_EINVAL},   {"forbidden", FAB_EACCES},    {"not_found", FAB_ENOENT},
    {"exists", FAB_EEXIST},    {"busy", FAB_EBUSY},          {"changed", FAB_ECHANGED},
    {"too_large", FAB_ELIMIT}, {"bad_data", FAB_EFORMAT},    {"unsupported", FAB_EUNSUPPORTED},
    {"no_memory", FAB_ENOMEM}, {"timeout", FAB_ETIMEOUT},    {"quota", FAB_EQUOTA},
    {"no_space", FAB_ENOSPC},  {"no_key", FAB_EUNSUPPORTED},
};

static enum fab_rc error_of(const json_t *error, struct fab_err *err)
{
    const char *code = fab_json_text(error, "code"), *message = fab_json_text(error, "message");
    enum fab_rc rc = FAB_EIO;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(codes[i].code, code))
            rc = codes[i].rc;
    return fab_err_set(err, rc, "%s", message[0] ? message : "the daemon gave an error");
}

static enum fab_rc no_daemon(const struct fab_cli *cli, struct fab_err *err)
{
    return fab_err_set(err, FAB_ENOENT,
                       "no daemon runs on the home %s; start one with `fabric up --detach`",
                       cli->home);
}

static enum fab_rc transport_error(const struct fab_daemon *daemon, enum ipfs_rc rc,
                                   const struct ipfs_http_response *response, struct fab_err *err)
{
    switch (rc) {
    case IPFS_ECONNECT:
        return no_daemon(daemon->cli, err);
    case IPFS_EINTERRUPTED:
        return fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
    case IPFS_ENOMEM:
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    case IPFS_ETIMEOUT:
        return fab_err_set(err, FAB_ETIMEOUT,
                           "the daemon does not answer; see %s/fabricd.log, and `fabric doctor`",
                           daemon->cli->home);
    default:
        return fab_err_set(err, FAB_EIO,
                           "the daemon ended its answer early (%s); see %s/fabricd.log",
                           response->error, daemon->cli->home);
    }
}

/* ---- answers ---- */

static void take_line(struct answer *answer, const uint8_t *p, size_t n)
{
    json_t *object = json_loadb((const char *)p, n, 0, NULL);
    json_t *error = json_object_get(object, "error");
    if (!json_is_object(object))
        answer->rc = fab_err_set(answer->err, FAB_EFORMAT, "the daemon's answer is not JSON");
    else if (error)
        answer->rc = error_of(error, answer->err);
    else
        answer->line(answer->arg, object);
    json_decref(object);
}

static int on_chunk(void *arg, int status, const void *p, size_t n)
{
    struct answer *answer = arg;
    const uint8_t *bytes = p;
    answer->status = status;
    if (!answer->line || status != 200)
        return fab_buf_append(&answer->buf, bytes, n) == FAB_OK ? 0 : -1;
    while (n > 0 && answer->rc == FAB_OK) {
        const uint8_t *end = memchr(bytes, '\n', n);
        size_t take = end ? (size_t)(end - bytes) : n;
        if (answer->buf.len + take > LINE_MAX ||
            fab_buf_append(&answer->buf, bytes, take) != FAB_OK)
            return -1;
        bytes += take;
        n -= take;
        if (!end)
            break;
        bytes++;
        n--;
        if (answer->buf.len > 0)
            take_line(answer, answer->buf.data, answer->buf.len);
        answer->buf.len = 0;
    }
    return 0;
}

static enum fab_rc perform(struct fab_daemon *daemon, const char *method, const char *path,
                           long total_ms, struct answer *answer)
{
    struct ipfs_http_response response = {0};
    struct ipfs_http_request request = {.method = method,
                                        .path = path,
                                        .on_chunk = on_chunk,
                                        .arg = answer,
                                        .interrupted = daemon->cli->interrupted,
                                        .total_ms = total_ms};
    fab_buf_init(&answer->buf, ANSWER_MAX);
    enum ipfs_rc rc = ipfs_http_perform(daemon->http, &request, &response);
    if (answer->rc != FAB_OK)
        return answer->rc;
    if (rc != IPFS_OK)
        return transport_error(daemon, rc, &response, answer->err);
    if (response.status >= 200 && response.status < 300)
        return FAB_OK;
    json_t *object = json_loadb((const char *)answer->buf.data, answer->buf.len, 0, NULL);
    enum fab_rc code = error_of(json_object_get(object, "error"), answer->err);
    json_decref(object);
    return code;
}

static enum fab_rc ask(struct fab_daemon *daemon, const char *method, const char *path,
                       long total_ms, json_t **out, struct fab_err *err)
{
    struct answer answer = {.err = err};
    json_t *value = NULL;
    enum fab_rc rc = perform(daemon, method, path, total_ms, &answer);
    if (rc == FAB_OK && answer.buf.len > 0) {
        value = json_loadb((const char *)answer.buf.data, answer.buf.len, 0, NULL);
        if (!value)
            rc = fab_err_set(err, FAB_EFORMAT, "the daemon's answer is not JSON");
    }
    fab_buf_fini(&answer.buf);
    if (rc == FAB_OK && out)
        *out = value;
    else
        json_decref(value);
    return rc;
}

enum fab_rc fab_daemon_ask(struct fab_daemon *daemon, const char *method, const char *path,
                           json_t **out, struct fab_err *err)
{
    return ask(daemon, method, path, 0, out, err);
}

enum fab_rc fab_daemon_stream(struct fab_daemon *daemon, const char *method, const char *path,
                              void (*line)(void *arg, json_t *object), void *arg,
                              struct fab_err *err)
{
    struct answer answer = {.line = line, .arg = arg, .err = err};
    enum fab_rc rc = perform(daemon, method, path, 0, &answer);
    fab_buf_fini(&answer.buf);
    return rc;
}

/* ---- finding it ---- */

static enum fab_rc open_daemon(struct fab_cli *cli, struct fab_daemon **out, struct fab_err *err)
{
    char *base = NULL;
    struct fab_daemon *daemon = calloc(1, sizeof *daemon);
    enum fab_rc rc = FAB_OK;
    if (!daemon || asprintf(&base, "unix:%s/%s", cli->home, SOCKET_NAME) < 0) {
        free(daemon);
        return fab_err_set(err, FAB_ENOMEM, "out of memory");
    }
    daemon->cli = cli;
    if (access(base + strlen("unix:"), F_OK) != 0) { /* the usual case, without libcurl */
        free(base);
        free(daemon);
        return no_daemon(cli, err);
    }
    switch (ipfs_http_new(base, &daemon->http)) {
    case IPFS_OK:
        rc = ask(daemon, "GET", API "/id", GREETING_MS, NULL, err);
        break;
    case IPFS_ENOMEM:
        rc = fab_err_set(err, FAB_ENOMEM, "out of memory");
        break;
    case IPFS_ENOLIB:
        rc = fab_err_set(err, FAB_EIO,
                         "libcurl, through which commands reach the daemon, is not installed: apt "
                         "install libcurl4 (Debian package libcurl4 or libcurl4t64)");
        break;
    default:
        rc = fab_err_set(err, FAB_EINVAL, "the socket of the home %s cannot be used", cli->home);
        break;
    }
    free(base);
    if (rc != FAB_OK) {
        fab_daemon_free(daemon);
        return rc;
    }
    *out = daemon;
    return FAB_OK;
}

enum fab_rc fab_daemon_find(struct fab_cli *cli, struct fab_daemon **out, struct fab_err *err)
{
    if (!cli->daemon)
        FAB_TRY(open_daemon(cli, &cli->daemon, err));
    *out = cli->daemon;
    return FAB_OK;
}

void fab_daemon_free(struct fab_daemon *daemon)
{
    if (!daemon)
        return;
    ipfs_http_free(daemon->http);
    free(daemon);
}

void fab_daemon_forget(struct fab_cli *cli)
{
    fab_daemon_free(cli->daemon);
    cli->daemon = NULL;
}

void fab_daemon_reload(struct fab_cli *cli)
{
    struct fab_daemon *daemon;
    if (fab_daemon_find(cli, &daemon, NULL) != FAB_OK ||
        fab_daemon_ask(daemon, "POST", API "/reload", NULL, NULL) != FAB_OK)
        return; /* none runs, or it comes to it by itself */
}

/* ---- texts ---- */

char *fab_daemon_escape(const char *text)
{
    size_t n = ipfs_http_escape(text, NULL, 0);
    char *out = malloc(n + 1);
    if (out)
        ipfs_http_escape(text, out, n + 1);
    return out;
}

char *fab_daemon_path(const struct fab_cli *cli, const char *fmt, ...)
{
    char *name = fab_daemon_escape(cli->workspace), *rest = NULL, *path = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&rest, fmt, args) < 0)
        rest = NULL;
    va_end(args);
    if (!name || !rest || asprintf(&path, API "/workspaces/%s%s", name, rest) < 0)
        path = NULL;
    free(name);
    free(rest);
    return path;
}

const char *fab_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

uint64_t fab_json_uint(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_boolean(value))
        return json_is_true(value);
    json_int_t v = json_integer_value(value);
    return v > 0 ? (uint64_t)v : 0;
}
