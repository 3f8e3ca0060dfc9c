/* The API server on a real Unix socket, asked by the client library from a second thread. */
#include "fabric/api/api.h"
#include "fabric/loop/timer.h"
#include "storage/ipfs_http_client/ipfs_http.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND 1000000u
#define LINES  1000u

struct fixture {
    char dir[64], path[512];
    struct fab_loop *loop;
    struct fab_api *api;
    /* the server's side */
    struct fab_timer timer;
    struct fab_api_request *held;
    struct fab_api_stream *stream;
    unsigned written, refused, drained;
    atomic_uint gone;
    bool endless;
    /* the client's */
    pthread_t thread;
    void (*client)(struct fixture *f, struct ipfs_http *http);
    struct fab_post done;
    int failed_line;
};

/* In the client's thread, where cmocka cannot fail. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            f->failed_line = __LINE__;                                                             \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* --- routes --- */

static void get_status(void *arg, struct fab_api_request *r)
{
    (void)arg;
    assert_null(fab_api_param(r, "name"));
    fab_api_json(r, 200, json_pack("{s:s,s:i}", "state", "running", "peers", 3));
}

static void get_workspace(void *arg, struct fab_api_request *r)
{
    (void)arg;
    fab_api_json(r, 200,
                 json_pack("{s:s,s:s?,s:s?,s:s,s:s,s:s?}", "name", fab_api_param(r, "name"), "q",
                           fab_api_query(r, "q"), "flag", fab_api_query(r, "flag"), "path",
                           fab_api_path(r), "method", fab_api_method(r), "auth",
                           fab_api_header(r, "Authorization")));
}

static void put_workspace(void *arg, struct fab_api_request *r)
{
    (void)arg;
    struct fab_err err;
    json_t *body = NULL;
    enum fab_rc rc = fab_api_body_json(r, &body, &err);
    if (rc != FAB_OK)
        fab_api_error(r, rc, err.msg);
    else
        fab_api_json(r, 201, body);
}

static void post_size(void *arg, struct fab_api_request *r)
{
    (void)arg;
    struct fab_slice body = fab_api_body(r);
    uint64_t sum = 0;
    for (size_t i = 0; i < body.n; i++)
        sum += body.p[i];
    fab_api_json(r, 200, json_pack("{s:I,s:I}", "n", (json_int_t)body.n, "sum", (json_int_t)sum));
}

static void delete_thing(void *arg, struct fab_api_request *r)
{
    (void)arg;
    fab_api_empty(r);
}

static void get_error(void *arg, struct fab_api_request *r)
{
    (void)arg;
    fab_api_error(r, FAB_EBUSY, "two\nlines \xff");
}

static void get_forgotten(void *arg, struct fab_api_request *r)
{
    (void)arg;
    (void)r;
}

static void answer_held(void *arg)
{
    struct fixture *f = arg;
    struct fab_api_request *r = f->held;
    f->held = NULL;
    fab_api_bytes(r, 200, "text/plain", fab_slice("late", 4));
}

static void held_gone(void *arg)
{
    struct fixture *f = arg;
    fab_timer_stop(&f->timer);
    f->held = NULL;
    f->gone++;
}

static void get_later(void *arg, struct fab_api_request *r)
{
    struct fixture *f = arg;
    f->held = r;
    fab_api_later(r, held_gone, f);
    fab_timer_init(&f->timer, f->loop, answer_held, f);
    fab_timer_start(&f->timer,
                    fab_loop_now_us() + (fab_api_query(r, "slow") ? 600 * SECOND : 20000));
}

static void stream_gone(void *arg)
{
    struct fixture *f = arg;
    fab_timer_stop(&f->timer);
    f->stream = NULL;
    f->gone++;
}

static void write_lines(void *arg)
{
    struct fixture *f = arg;
    char line[64];
    for (unsigned i = 0; i < 100 && f->written < LINES; i++) {
        json_t *value = json_pack("{s:i}", "line", (int)f->written);
        int n = snprintf(line, sizeof line, "{\"line\":%u}", f->written);
        if (f->written % 2)
            assert_int_equal(fab_api_stream_json(f->stream, json_incref(value)), FAB_OK);
        else
            assert_int_equal(fab_api_stream_write(f->stream, fab_slice(line, (size_t)n)), FAB_OK);
        json_decref(value);
        f->written++;
    }
    if (f->written < LINES) {
        fab_timer_start(&f->timer, fab_loop_now_us() + 1000);
    } else if (!f->endless) {
        fab_api_stream_end(f->stream, NULL);
        f->stream = NULL;
    }
}

static void lines_drained(void *arg)
{
    struct fixture *f = arg;
    f->drained++;
}

static const struct fab_api_stream_ops line_ops = {stream_gone, lines_drained};

static void get_lines(void *arg, struct fab_api_request *r)
{
    struct fixture *f = arg;
    f->endless = fab_api_query(r, "endless") != NULL;
    f->written = 0;
    fab_timer_init(&f->timer, f->loop, write_lines, f);
    assert_int_equal(fab_api_stream_start(r, &line_ops, f, &f->stream), FAB_OK);
    fab_timer_start(&f->timer, 0);
}

/* Fills the backlog whenever there is room; ends after 8 MiB, with an error. */
static void flood(void *arg)
{
    struct fixture *f = arg;
    static char line[1023];
    memset(line, 'x', sizeof line);
    f->drained++;
    while (f->written < 8192) {
        enum fab_rc rc = fab_api_stream_write(f->stream, fab_slice(line, sizeof line));
        if (rc == FAB_ELIMIT) {
            f->refused++;
            return;
        }
        assert_int_equal(rc, FAB_OK);
        f->written++;
    }
    struct fab_err err;
    fab_err_set(&err, FAB_EIO, "the tap is dry");
    fab_api_stream_end(f->stream, &err);
}

static const struct fab_api_stream_ops flood_ops = {stream_gone, flood};

static void get_flood(void *arg, struct fab_api_request *r)
{
    struct fixture *f = arg;
    f->written = 0;
    assert_int_equal(fab_api_stream_start(r, &flood_ops, f, &f->stream), FAB_OK);
    flood(f);
}

static const struct fab_api_route routes[] = {
    {"GET", "/api/v1/status", get_status},
    {"GET", "/api/v1/workspaces/{name}", get_workspace},
    {"PUT", "/api/v1/workspaces/{name}", put_workspace},
    {"DELETE", "/api/v1/workspaces/{name}/peers/{peer}", delete_thing},
    {"POST", "/api/v1/size", post_size},
    {"GET", "/api/v1/error", get_error},
    {"GET", "/api/v1/forgotten", get_forgotten},
    {"GET", "/api/v1/later", get_later},
    {"GET", "/api/v1/lines", get_lines},
    {"GET", "/api/v1/flood", get_flood},
};

/* --- fixture --- */

static enum fab_rc serve(struct fixture *f, struct fab_api **out, struct fab_err *err)
{
    return fab_api_new(f->loop, f->path, routes, sizeof routes / sizeof *routes, f, out, err);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct fab_err err = {0};
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/fabric-api-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/socket", f->dir);
    assert_int_equal(fab_loop_new(&f->loop), FAB_OK);
    if (serve(f, &f->api, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fab_api_free(f->api);
    assert_int_equal(fab_loop_drain(f->loop, SECOND), FAB_OK);
    fab_loop_free(f->loop);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0); /* the socket and its temporary name are gone */
    free(f);
    return 0;
}

static void on_done(struct fab_post *post)
{
    struct fixture *f = (void *)((char *)post - offsetof(struct fixture, done));
    fab_loop_stop(f->loop);
}

static void *client_thread(void *arg)
{
    struct fixture *f = arg;
    struct ipfs_http *http = NULL;
    char base[600];
    snprintf(base, sizeof base, "unix:%s", f->path);
    if (ipfs_http_new(base, &http) != IPFS_OK)
        f->failed_line = __LINE__;
    else
        f->client(f, http);
    ipfs_http_free(http);
    f->done.run = on_done;
    fab_loop_post(f->loop, &f->done);
    return NULL;
}

static void give_up(void *arg)
{
    (void)arg;
    fail_msg("the client did not end in time");
}

static void run_client(struct fixture *f, void (*client)(struct fixture *, struct ipfs_http *))
{
    struct fab_timer guard;
    fab_timer_init(&guard, f->loop, give_up, NULL);
    fab_timer_start(&guard, fab_loop_now_us() + 60 * SECOND);
    f->client = client;
    assert_int_equal(pthread_create(&f->thread, NULL, client_thread, f), 0);
    fab_loop_run(f->loop);
    pthread_join(f->thread, NULL);
    fab_timer_stop(&guard);
    if (f->failed_line)
        fail_msg("the client's check in line %d failed", f->failed_line);
}

/* --- the client's side --- */

struct answer {
    char *text;
    size_t n, cap, abort_at;
    int status;
};

static int collect(void *arg, int status, const void *p, size_t n)
{
    struct answer *a = arg;
    if (a->n + n + 1 > a->cap)
        return 1;
    memcpy(a->text + a->n, p, n);
    a->n += n;
    a->text[a->n] = '\0';
    a->status = status;
    return a->abort_at && a->n >= a->abort_at;
}

static struct ipfs_http_response ask(struct ipfs_http *http, struct ipfs_http_request request,
                                     char *text, size_t cap, enum ipfs_rc *rc)
{
    struct answer answer = {.text = text, .cap = cap};
    struct ipfs_http_response response;
    text[0] = '\0';
    request.on_chunk = collect;
    request.arg = &answer;
    *rc = ipfs_http_perform(http, &request, &response);
    return response;
}

#define ASK(...)                                                                                   \
    response = ask(http, (struct ipfs_http_request){__VA_ARGS__}, text, sizeof text, &rc)

static void client_basics(struct fixture *f, struct ipfs_http *http)
{
    char text[4096], escaped[64];
    struct ipfs_http_response response;
    enum ipfs_rc rc;
    ASK(.path = "/api/v1/status");
    CHECK(rc == IPFS_OK && response.status == 200);
    CHECK(strcmp(text, "{\"state\":\"running\",\"peers\":3}") == 0);
    ASK(.path = "/api/v1/status", .method = "HEAD");
    CHECK(rc == IPFS_OK && response.status == 200 && text[0] == '\0');

    CHECK(ipfs_http_escape("a b/c%", escaped, sizeof escaped) == 12);
    CHECK(strcmp(escaped, "a%20b%2Fc%25") == 0);
    CHECK(ipfs_http_escape("abc", escaped, 3) == 3 && escaped[0] == '\0');
    ASK(.path = "/api/v1/workspaces/a%20b%2Fc%25?x&q=1%262+3&q=no&flag", .token = "secret");
    CHECK(rc == IPFS_OK && response.status == 200);
    CHECK(strcmp(text, "{\"name\":\"a b/c%\",\"q\":\"1&2 3\",\"flag\":\"\",\"path\":"
                       "\"/api/v1/workspaces/a b/c%\",\"method\":\"GET\","
                       "\"auth\":\"Bearer secret\"}") == 0);
    ASK(.path = "/api/v1/workspaces/x", .method = "PUT", .body = "{\"a\":[1]}", .body_len = 9);
    CHECK(rc == IPFS_OK && response.status == 201 && strcmp(text, "{\"a\":[1]}") == 0);
    ASK(.path = "/api/v1/workspaces/x/peers/y", .method = "DELETE");
    CHECK(rc == IPFS_OK && response.status == 204 && text[0] == '\0');
}

static void client_errors(struct fixture *f, struct ipfs_http *http)
{
    static const char *const missing[] = {
        "/",           "/api/v1/status/",   "/api/v1//status", "/api/v1/workspaces/",
        "/api/v1/sta", "/api/v1/status%2f", "/api/v1/statuss", "/api/v1/workspaces/a/peers/b/c",
        "//",          "/api/v1/../v1/x"};
    static const char *const bad[] = {"/api/v1/status%",     "/api/v1/status%0",
                                      "/api/v1/status%zz",   "/api/v1/status%00",
                                      "/api/v1/status?a=%q", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7"};
    char text[4096];
    struct ipfs_http_response response;
    enum ipfs_rc rc;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        ASK(.path = missing[i]);
        CHECK(rc == IPFS_OK && response.status == 404);
        CHECK(strstr(text, "{\"error\":{\"code\":\"not_found\"") == text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ASK(.path = bad[i]);
        CHECK(rc == IPFS_OK && response.status == 400);
        CHECK(strstr(text, "{\"error\":{\"code\":\"invalid\"") == text);
    }
    ASK(.path = "/api/v1/workspaces/x", .method = "POST", .body = "x", .body_len = 1);
    CHECK(rc == IPFS_OK && response.status == 405 && strstr(text, "method_not_allowed"));
    ASK(.path = "/api/v1/workspaces/x", .method = "PUT", .body = "{\"a\":1,", .body_len = 7);
    CHECK(rc == IPFS_OK && response.status == 422 && strstr(text, "not JSON"));
    ASK(.path = "/api/v1/workspaces/x", .method = "PUT");
    CHECK(rc == IPFS_OK && response.status == 422);
    ASK(.path = "/api/v1/error");
    CHECK(rc == IPFS_OK && response.status == 409 && strstr(text, "\"busy\""));
    CHECK(!strchr(text, '\n'));
    ASK(.path = "/api/v1/forgotten");
    CHECK(rc == IPFS_OK && response.status == 500 && strstr(text, "\"internal\""));
    ASK(.path = "no-slash");
    CHECK(rc == IPFS_EINVAL && response.status == 0 && response.error[0]);
    ASK(.path = "/a b");
    CHECK(rc == IPFS_EINVAL);
    ASK(.path = "/api/v1/status", .token = "a\r\nX: y");
    CHECK(rc == IPFS_EINVAL);
}

static void client_bodies(struct fixture *f, struct ipfs_http *http)
{
    static char body[3u << 20];
    char text[4096], expected[64];
    struct ipfs_http_response response;
    enum ipfs_rc rc;
    memset(body, 1, sizeof body);
    static const size_t good[] = {0, 1, 70000, FAB_API_BODY_MAX};
    for (size_t i = 0; i < 4; i++) {
        ASK(.path = "/api/v1/size", .body = body, .body_len = good[i]);
        snprintf(expected, sizeof expected, "{\"n\":%zu,\"sum\":%zu}", good[i], good[i]);
        CHECK(rc == IPFS_OK && response.status == 200 && strcmp(text, expected) == 0);
    }
    static const size_t large[] = {FAB_API_BODY_MAX + 1, 3u << 20};
    for (size_t i = 0; i < 2; i++) {
        ASK(.path = "/api/v1/size", .body = body, .body_len = large[i]);
        CHECK(rc == IPFS_OK && response.status == 413 && strstr(text, "too_large"));
    }
    ASK(.path = "/api/v1/status");
    CHECK(rc == IPFS_OK && response.status == 200);
}

static void client_later(struct fixture *f, struct ipfs_http *http)
{
    char text[64];
    struct ipfs_http_response response;
    enum ipfs_rc rc;
    for (int i = 0; i < 3; i++) {
        ASK(.path = "/api/v1/later");
        CHECK(rc == IPFS_OK && response.status == 200 && strcmp(text, "late") == 0);
    }
    ASK(.path = "/api/v1/later?slow", .total_ms = 50);
    CHECK(rc == IPFS_ETIMEOUT && response.status == 0);
    for (int i = 0; i < 500 && f->gone == 0; i++)
        usleep(10000);
    CHECK(f->gone == 1);
    static volatile sig_atomic_t flag = 1;
    ASK(.path = "/api/v1/later?slow", .interrupted = &flag);
    CHECK(rc == IPFS_EINTERRUPTED);
}

static void client_stream(struct fixture *f, struct ipfs_http *http)
{
    static char text[1u << 20];
    struct ipfs_http_response response;
    enum ipfs_rc rc;
    for (int round = 0; round < 2; round++) {
        ASK(.path = "/api/v1/lines");
        CHECK(rc == IPFS_OK && response.status == 200);
        const char *p = text;
        for (unsigned i = 0; i < LINES; i++) {
            char line[32];
            int n = snprintf(line, sizeof line, "{\"line\":%u}\n", i);
            CHECK(strncmp(p, line, (size_t)n) == 0);
            p += n;
        }
        CHECK(*p == '\0');
    }
}

static void client_abort(struct fixture *f, struct ipfs_http *http)
{
    static char text[1u << 20];
    struct answer answer = {.text = text, .cap = sizeof text, .abort_at = 3000};
    struct ipfs_http_request request = {
        .path = "/api/v1/lines?endless", .on_chunk = collect, .arg = &answer};
    struct ipfs_http_response response;
    CHECK(ipfs_http_perform(http, &request, &response) == IPFS_EABORTED);
    CHECK(answer.n >= 3000 && response.status == 200);
    for (int i = 0; i < 500 && f->gone == 0; i++)
        usleep(10000);
    CHECK(f->gone == 1);
    /* The client leaves while the stream has nothing to say. */
    answer = (struct answer){.text = text, .cap = sizeof text};
    request.total_ms = 300;
    CHECK(ipfs_http_perform(http, &request, &response) == IPFS_ETIMEOUT);
    CHECK(strstr(text, "{\"line\":999}\n"));
    for (int i = 0; i < 500 && f->gone == 1; i++)
        usleep(10000);
    CHECK(f->gone == 2);
}

static int slowly(void *arg, int status, const void *p, size_t n)
{
    struct answer *a = arg;
    (void)status;
    usleep(200);
    size_t tail = n < 64 ? n : 64;
    a->n += n;
    memcpy(a->text, (const char *)p + n - tail, tail);
    a->text[tail] = '\0';
    return 0;
}

static void client_flood(struct fixture *f, struct ipfs_http *http)
{
    char text[65];
    struct answer answer = {.text = text};
    struct ipfs_http_request request = {
        .path = "/api/v1/flood", .on_chunk = slowly, .arg = &answer};
    struct ipfs_http_response response;
    static const char last[] =
        "{\"error\":{\"code\":\"internal\",\"message\":\"the tap is dry\"}}\n";
    CHECK(ipfs_http_perform(http, &request, &response) == IPFS_OK);
    CHECK(answer.n == (8u << 20) + strlen(last));
    size_t k = strlen(text) < strlen(last) ? strlen(text) : strlen(last);
    CHECK(k > 0 && strcmp(text + strlen(text) - k, last + strlen(last) - k) == 0);
}

/* --- tests --- */

static void requests_and_answers(void **state)
{
    run_client(*state, client_basics);
}

static void errors_have_a_status_and_a_code(void **state)
{
    run_client(*state, client_errors);
}

static void bodies_up_to_the_limit(void **state)
{
    run_client(*state, client_bodies);
}

static void an_answer_may_come_later(void **state)
{
    run_client(*state, client_later);
}

static void a_stream_of_a_thousand_lines(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_stream);
    assert_true(f->drained > 0);
    assert_int_equal(f->gone, 0);
}

static void a_client_that_leaves_is_noticed(void **state)
{
    run_client(*state, client_abort);
}

static void a_slow_reader_is_waited_for(void **state)
{
    struct fixture *f = *state;
    run_client(f, client_flood);
    assert_true(f->refused > 0);
    assert_int_equal(f->gone, 0);
}

static int raw_connect(struct fixture *f)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static void stop(void *arg)
{
    fab_loop_stop(arg);
}

static void run_for(struct fixture *f, uint64_t us)
{
    struct fab_timer timer;
    fab_timer_init(&timer, f->loop, stop, f->loop);
    fab_timer_start(&timer, fab_loop_now_us() + us);
    fab_loop_run(f->loop);
}

static uint64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec / 1000;
}

/* A held request and a silent stream, whose client has even sent its next request, are not asked
 * again and again; a client that only ends its sending side counts as gone. */
static void waiting_costs_no_time(void **state)
{
    struct fixture *f = *state;
    static const char later[] = "GET /api/v1/later?slow HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char lines[] = "GET /api/v1/lines?endless HTTP/1.1\r\nHost: x\r\n\r\n"
                                "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    static char got[1u << 16];
    int a = raw_connect(f), b = raw_connect(f);
    assert_int_equal(write(a, later, strlen(later)), strlen(later));
    run_for(f, 20000);
    assert_non_null(f->held);
    fab_timer_stop(&f->timer); /* the stream has the timer from here on */
    assert_int_equal(write(b, lines, strlen(lines)), strlen(lines));
    run_for(f, 100000);
    assert_non_null(f->stream);
    assert_true(recv(b, got, sizeof got, MSG_DONTWAIT) > 1000);
    assert_int_equal(write(a, later, 5), 5);
    run_for(f, 20000);
    uint64_t before = cpu_us();
    run_for(f, 400000);
    uint64_t used = cpu_us() - before;
    if (used > 100000)
        fail_msg("waiting for 400 ms took %u us of the processor", (unsigned)used);
    assert_int_equal(f->gone, 0);
    close(a);
    close(b);
    int c = raw_connect(f);
    assert_int_equal(write(c, later, strlen(later)), strlen(later));
    run_for(f, 20000);
    assert_int_equal(f->gone, 2); /* although their next requests wait unread */
    shutdown(c, SHUT_WR);
    run_for(f, 20000);
    assert_int_equal(f->gone, 3);
    close(c);
}

/* Free with a held request, a stream, a half-sent request, and an idle connection. */
static void stopping_tells_everybody(void **state)
{
    struct fixture *f = *state;
    static const char *const sent[] = {"GET /api/v1/later?slow HTTP/1.1\r\nHost: x\r\n\r\n",
                                       "GET /api/v1/lines?endless HTTP/1.1\r\nHost: x\r\n\r\n",
                                       "PUT /api/v1/workspaces/x HTTP/1.1\r\nHost", ""};
    int fd[4];
    for (size_t i = 0; i < 4; i++) {
        fd[i] = raw_connect(f);
        assert_int_equal(write(fd[i], sent[i], strlen(sent[i])), strlen(sent[i]));
        run_for(f, 20000);
    }
    assert_non_null(f->held);
    assert_non_null(f->stream);
    fab_api_free(f->api);
    f->api = NULL;
    assert_int_equal(f->gone, 2);
    for (size_t i = 0; i < 4; i++)
        close(fd[i]);
}

/* What is not HTTP, and a chunked body without end, cost the connection only. */
static void nonsense_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const sent[] = {"\r\n\r\n\r\n",
                                       "\x16\x03\x01\x02",
                                       "GET\r\n\r\n",
                                       "GET  HTTP/1.1\r\n\r\n",
                                       "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
                                       "POST /api/v1/size HTTP/1.1\r\nHost: x\r\n"
                                       "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                                       "POST /api/v1/size HTTP/1.1\r\nHost: x\r\n"
                                       "Content-Length: 99999999999\r\n\r\n",
                                       "POST /api/v1/size HTTP/1.1\r\nHost: x\r\n"
                                       "Content-Length: -1\r\n\r\n"};
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        char got[4096];
        int fd = raw_connect(f);
        assert_int_equal(write(fd, sent[i], strlen(sent[i])), strlen(sent[i]));
        shutdown(fd, SHUT_WR);
        run_for(f, 20000);
        ssize_t n = recv(fd, got, sizeof got - 1, MSG_DONTWAIT);
        if (n > 0) {
            got[n] = '\0';
            assert_int_equal(strncmp(got, "HTTP/1.1 4", 10), 0);
        }
        close(fd);
    }
    run_client(f, client_basics);
}

static void a_stale_socket_is_replaced_a_live_one_is_not(void **state)
{
    struct fixture *f = *state;
    struct fab_api *second = NULL;
    struct fab_err err = {0};
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(serve(f, &second, &err), FAB_EBUSY);
    assert_non_null(strstr(err.msg, "another fabricd runs"));
    fab_api_free(f->api);
    f->api = NULL;
    assert_int_equal(stat(f->path, &st), -1);

    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%.100s", f->path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(dead, 1), 0);
    close(dead);
    assert_int_equal(serve(f, &f->api, &err), FAB_OK);
    run_client(f, client_basics);
    fab_api_free(f->api);
    f->api = NULL;

    int file = open(f->path, O_CREAT | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(serve(f, &f->api, &err), FAB_EEXIST);
    assert_int_equal(stat(f->path, &st), 0);
    unlink(f->path);
    snprintf(f->path, sizeof f->path, "%s/no/socket", f->dir);
    assert_int_equal(serve(f, &f->api, &err), FAB_ENOENT);
}

static void a_path_longer_than_a_socket_address(void **state)
{
    struct fixture *f = *state;
    struct fab_err err = {0};
    char dir[300];
    int n = snprintf(dir, sizeof dir, "%s/", f->dir);
    memset(dir + n, 'd', 200);
    dir[n + 200] = '\0';
    assert_int_equal(mkdir(dir, 0700), 0);
    fab_api_free(f->api);
    f->api = NULL;
    snprintf(f->path, sizeof f->path, "%s/socket", dir);
    if (serve(f, &f->api, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    run_client(f, client_basics);
    fab_api_free(f->api);
    f->api = NULL;
    assert_int_equal(rmdir(dir), 0);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct ipfs_http *http = NULL;
    struct ipfs_http_response response;
    struct ipfs_http_request request = {.path = "/"};
    assert_int_equal(ipfs_http_new("ftp://x", &http), IPFS_EINVAL);
    assert_int_equal(ipfs_http_new("unix:", &http), IPFS_EINVAL);
    assert_int_equal(ipfs_http_new("", &http), IPFS_EINVAL);
    assert_int_equal(ipfs_http_new("unix:/tmp/there-is-no-such-socket", &http), IPFS_OK);
    assert_int_equal(ipfs_http_perform(http, &request, &response), IPFS_ECONNECT);
    assert_true(response.error[0] != '\0');
    assert_int_equal(response.status, 0);
    ipfs_http_free(http);
    assert_int_equal(ipfs_http_new("http://127.0.0.1:1/", &http), IPFS_OK);
    assert_int_equal(ipfs_http_perform(http, &request, &response), IPFS_ECONNECT);
    ipfs_http_free(http);
    ipfs_http_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_and_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_have_a_status_and_a_code, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_up_to_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_may_come_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_of_a_thousand_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_leaves_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_reader_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_costs_no_time, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_tells_everybody, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stale_socket_is_replaced_a_live_one_is_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_path_longer_than_a_socket_address, setup, teardown),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
