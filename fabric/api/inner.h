/* What the files of this folder share. Nobody else includes it. */
#ifndef FAB_API_INNER_H
#define FAB_API_INNER_H

#include "fabric/api/api.h"
#include "fabric/loop/poll.h"
#include "fabric/loop/timer.h"

#include <microhttpd.h>
#include <sys/stat.h>

#define FAB_API_SEGMENTS 16
#define FAB_API_QUERIES  32

/* --- target.c: what a request asks for --- */

struct fab_api_pair {
    const char *name;
    size_t name_len;
    const char *value;
};

struct fab_api_target {
    char *path; /* owned: decoded, for reading */
    char *text; /* owned: what the others point into */
    const char *segment[FAB_API_SEGMENTS];
    size_t segments;
    struct fab_api_pair query[FAB_API_QUERIES];
    size_t queries;
    struct fab_api_pair param[FAB_API_SEGMENTS]; /* names borrowed from the route */
    size_t params;
};

/* Split and decode "/a/b%20c?x=y". FAB_EFORMAT: no absolute path, a bad or a zero %XX; FAB_ELIMIT:
 * too many parts; FAB_ENOMEM. To be released by fini in every case. */
FAB_MUST enum fab_rc fab_api_target_parse(const char *raw, struct fab_api_target *target);
void fab_api_target_fini(struct fab_api_target *target);
/* Does the path fit? Sets the params when it does. */
bool fab_api_target_match(struct fab_api_target *target, const char *pattern);

/* --- unix_socket.c --- */

struct fab_api_socket {
    int fd; /* listening, non-blocking */
    int dir_fd;
    char *name; /* owned: within dir_fd */
    dev_t dev;
    ino_t ino;
};

FAB_MUST enum fab_rc fab_api_socket_open(const char *path, struct fab_api_socket *out,
                                         struct fab_err *err);
/* Remove the file, if it is still the one that was made. fd is not closed: it is the server's. */
void fab_api_socket_remove(struct fab_api_socket *socket);

/* --- the rest --- */

struct fab_api {
    struct fab_loop *loop;
    struct MHD_Daemon *mhd;
    struct fab_poll *poll;
    struct fab_timer timer;
    struct fab_defer kick; /* the server has something to do */
    const struct fab_api_route *routes;
    size_t n_routes;
    void *arg;
    struct fab_api_request *requests; /* all, newest first */
    struct fab_api_socket socket;
};

enum fab_api_state {
    FAB_API_READING,  /* the body arrives */
    FAB_API_HANDLING, /* inside the handler */
    FAB_API_LATER,    /* the handler has asked for time; the connection is suspended */
    FAB_API_ANSWERED, /* `response` waits to be queued, or has been */
    FAB_API_STREAM,
    FAB_API_OVER, /* the owner knows nothing of it any more */
};

struct fab_api_stream {
    struct fab_api_request *request;
    const struct fab_api_stream_ops *ops;
    void *arg;
    struct fab_buf backlog;
    size_t off; /* sent already */
    bool ended;
    struct fab_defer drained;
};

struct fab_api_request {
    struct fab_api *api;
    struct fab_api_request *prev, *next;
    struct MHD_Connection *mhd; /* NULL until the headers have arrived */
    enum fab_api_state state;
    const char *method;
    struct fab_api_target target;
    enum fab_rc target_rc;
    struct fab_buf body;
    uint64_t body_seen;
    bool suspended, aborted;
    struct fab_poll *watch; /* while suspended: does the client leave? */
    void (*gone)(void *arg);
    void *gone_arg;
    struct MHD_Response *response;
    unsigned status;
    struct fab_api_stream stream;
};

/* Let the server go on with a connection that fab_api_suspend stopped. */
void fab_api_resume(struct fab_api_request *request);
void fab_api_suspend(struct fab_api_request *request);

/* Answer with `response`, which is taken; NULL: memory was short. */
void fab_api_answer(struct fab_api_request *request, unsigned status,
                    struct MHD_Response *response);

/* The body of a streamed response; `arg` is the request. */
ssize_t fab_api_stream_read(void *arg, uint64_t pos, char *p, size_t max);

#endif
