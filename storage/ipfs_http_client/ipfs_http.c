/* One easy handle per client, driven by a multi handle: that is what lets a signal or the caller's
 * flag end a request that waits. The easy handle stays in its multi handle's connection cache, so a
 * second request needs no second connect.
 *
 * A Unix socket's path that is longer than a socket address holds is reached through
 * /proc/self/fd of its directory. */
#include "ipfs_http.h"

#include "curl_lib.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_MS    200
#define CONNECT_MS 2000

struct ipfs_http {
    const struct ipfs_curl_lib *curl;
    CURL *easy;
    CURLM *multi;
    char *base;   /* what the path is appended to */
    char *socket; /* NULL: TCP */
    int dir_fd;   /* of a long socket path; -1 */
};

struct transfer {
    const struct ipfs_http *client;
    const struct ipfs_http_request *request;
    bool aborted;
};

/* What curl is told as the socket's path. */
static enum ipfs_rc set_socket(struct ipfs_http *client, const char *path)
{
    char near[64];
    const char *name = strrchr(path, '/');
    if (path[0] == '\0')
        return IPFS_EINVAL;
    if (strlen(path) < sizeof((struct sockaddr_un *)NULL)->sun_path || !name) {
        client->socket = strdup(path);
        return client->socket ? IPFS_OK : IPFS_ENOMEM;
    }
    char *dir = strndup(path, (size_t)(name - path) + 1);
    if (!dir)
        return IPFS_ENOMEM;
    client->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    if (client->dir_fd < 0)
        return IPFS_ECONNECT;
    if (snprintf(near, sizeof near, "/proc/self/fd/%d%s", client->dir_fd, name) >= (int)sizeof near)
        return IPFS_EINVAL;
    client->socket = strdup(near);
    return client->socket ? IPFS_OK : IPFS_ENOMEM;
}

enum ipfs_rc ipfs_http_new(const char *base, struct ipfs_http **out)
{
    enum ipfs_rc rc = IPFS_ENOMEM;
    if (!base)
        return IPFS_EINVAL;
    const struct ipfs_curl_lib *curl = ipfs_curl_lib();
    if (!curl)
        return IPFS_ENOLIB;
    struct ipfs_http *client = calloc(1, sizeof *client);
    if (!client)
        return IPFS_ENOMEM;
    client->curl = curl;
    client->dir_fd = -1;
    client->easy = curl->curl_easy_init();
    client->multi = curl->curl_multi_init();
    if (!client->easy || !client->multi)
        goto out;
    rc = IPFS_EINVAL;
    if (strncmp(base, "unix:", 5) == 0) {
        rc = set_socket(client, base + 5);
        client->base = strdup("http://localhost");
    } else if (strncmp(base, "http://", 7) == 0 || strncmp(base, "https://", 8) == 0) {
        rc = IPFS_OK;
        client->base = strdup(base);
        for (size_t n = client->base ? strlen(client->base) : 0; n && client->base[n - 1] == '/';)
            client->base[--n] = '\0';
    }
    if (rc == IPFS_OK && !client->base)
        rc = IPFS_ENOMEM;
    if (rc != IPFS_OK)
        goto out;
    *out = client;
    return IPFS_OK;
out:
    ipfs_http_free(client);
    return rc;
}

void ipfs_http_free(struct ipfs_http *client)
{
    if (!client)
        return;
    client->curl->curl_easy_cleanup(client->easy);
    client->curl->curl_multi_cleanup(client->multi);
    if (client->dir_fd >= 0)
        close(client->dir_fd);
    free(client->base);
    free(client->socket);
    free(client);
}

static bool interrupted(const struct ipfs_http_request *request)
{
    return request->interrupted && *request->interrupted;
}

static size_t on_write(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    (void)size; /* always 1 */
    if (interrupted(t->request))
        return n ? 0 : 1;
    if (!t->request->on_chunk || n == 0)
        return n;
    t->client->curl->curl_easy_getinfo(t->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->request->on_chunk(t->request->arg, (int)status, p, n) == 0)
        return n;
    t->aborted = true;
    return 0;
}

/* Adds a line; false when memory is short. */
static bool add_header(const struct ipfs_curl_lib *curl, struct curl_slist **list,
                       const char *begin, const char *value)
{
    size_t n = strlen(begin) + strlen(value) + 1;
    char *line = malloc(n);
    if (!line)
        return false;
    snprintf(line, n, "%s%s", begin, value);
    struct curl_slist *longer = curl->curl_slist_append(*list, line);
    explicit_bzero(line, n); /* it may hold the token */
    free(line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool printable(const char *text)
{
    for (; text && *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    return true;
}

static enum ipfs_rc prepare(struct ipfs_http *client, const struct ipfs_http_request *request,
                            struct transfer *t, char *error, struct curl_slist **headers)
{
    const char *method = request->method ? request->method : request->body ? "POST" : "GET";
    const char *type = request->content_type ? request->content_type : "application/json";
    if (!request->path || request->path[0] != '/' || !printable(request->path) ||
        !printable(method) || !printable(request->token) || strpbrk(type, "\r\n"))
        return IPFS_EINVAL;
    size_t n = strlen(client->base) + strlen(request->path) + 1;
    char *url = malloc(n);
    if (!url)
        return IPFS_ENOMEM;
    snprintf(url, n, "%s%s", client->base, request->path);

    const struct ipfs_curl_lib *curl = client->curl;
    CURL *easy = client->easy;
    curl->curl_easy_reset(easy);
    CURLcode code = curl->curl_easy_setopt(easy, CURLOPT_URL, url);
    free(url);
    if (request->token && !add_header(curl, headers, "Authorization: Bearer ", request->token))
        return IPFS_ENOMEM;
    if (request->body && !add_header(curl, headers, "Content-Type: ", type))
        return IPFS_ENOMEM;
    if (!add_header(curl, headers, "Expect:", "")) /* no 100-continue: it costs a round trip */
        return IPFS_ENOMEM;
    if (client->socket && code == CURLE_OK)
        code = curl->curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    if (client->socket)
        curl->curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (request->body) {
        curl->curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        curl->curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
    }
    if (strcmp(method, "HEAD") == 0)
        curl->curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    else if (code == CURLE_OK)
        code = curl->curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    curl->curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl->curl_easy_setopt(easy, CURLOPT_HTTPHEADER, *headers);
    curl->curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl->curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
    curl->curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl->curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    curl->curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                           request->connect_ms ? request->connect_ms : CONNECT_MS);
    curl->curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, request->total_ms);
    return code == CURLE_OK ? IPFS_OK : code == CURLE_OUT_OF_MEMORY ? IPFS_ENOMEM : IPFS_EINVAL;
}

static enum ipfs_rc rc_of(CURLcode code, const struct transfer *t)
{
    if (t->aborted)
        return IPFS_EABORTED;
    switch (code) {
    case CURLE_OK:
        return IPFS_OK;
    case CURLE_OUT_OF_MEMORY:
        return IPFS_ENOMEM;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return IPFS_EINVAL;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return IPFS_ECONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return IPFS_ETIMEOUT;
    default:
        return interrupted(t->request) ? IPFS_EINTERRUPTED : IPFS_EIO;
    }
}

/* Run the prepared transfer to its end. */
static enum ipfs_rc drive(struct ipfs_http *client, const struct transfer *t)
{
    const struct ipfs_curl_lib *curl = client->curl;
    int running = 1;
    while (running) {
        if (interrupted(t->request))
            return IPFS_EINTERRUPTED;
        if (curl->curl_multi_perform(client->multi, &running) != CURLM_OK)
            return IPFS_EIO;
        if (running && curl->curl_multi_poll(client->multi, NULL, 0, WAIT_MS, NULL) != CURLM_OK)
            return IPFS_EIO;
    }
    int left;
    CURLMsg *msg = curl->curl_multi_info_read(client->multi, &left);
    return msg && msg->msg == CURLMSG_DONE ? rc_of(msg->data.result, t) : IPFS_EIO;
}

static const char *text_of(enum ipfs_rc rc)
{
    switch (rc) {
    case IPFS_OK:
        return "";
    case IPFS_ENOMEM:
        return "out of memory";
    case IPFS_EINVAL:
        return "the address or the request is malformed";
    case IPFS_ECONNECT:
        return "cannot connect";
    case IPFS_ETIMEOUT:
        return "no answer in time";
    case IPFS_EINTERRUPTED:
        return "interrupted";
    case IPFS_EABORTED:
        return "stopped by the receiver";
    case IPFS_ENOLIB:
        return "libcurl is not installed";
    case IPFS_EIO:
        return "the connection broke";
    }
    return "unknown error";
}

enum ipfs_rc ipfs_http_perform(struct ipfs_http *client, const struct ipfs_http_request *request,
                               struct ipfs_http_response *response)
{
    char error[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    const struct ipfs_curl_lib *curl = client->curl;
    struct transfer t = {.client = client, .request = request};
    long status = 0;
    *response = (struct ipfs_http_response){0};
    enum ipfs_rc rc = prepare(client, request, &t, error, &headers);
    if (rc == IPFS_OK) {
        rc = curl->curl_multi_add_handle(client->multi, client->easy) == CURLM_OK
                 ? drive(client, &t)
                 : IPFS_ENOMEM;
        curl->curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &status);
        curl->curl_multi_remove_handle(client->multi, client->easy);
        response->status = (int)status;
    }
    if (rc != IPFS_OK) {
        bool curls = error[0] && (rc == IPFS_ECONNECT || rc == IPFS_EIO || rc == IPFS_EINVAL);
        snprintf(response->error, sizeof response->error, "%s", curls ? error : text_of(rc));
    }
    curl->curl_easy_reset(client->easy); /* nothing of the caller's is kept */
    curl->curl_slist_free_all(headers);
    return rc;
}

size_t ipfs_http_escape(const char *text, char *out, size_t cap)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || strchr("-._~", *c);
        if (plain && n + 1 < cap)
            out[n] = (char)*c;
        if (!plain && n + 3 < cap) {
            out[n] = '%';
            out[n + 1] = hex[*c >> 4];
            out[n + 2] = hex[*c & 15];
        }
        n += plain ? 1 : 3;
    }
    if (cap > 0)
        out[n < cap ? n : 0] = '\0';
    return n;
}
