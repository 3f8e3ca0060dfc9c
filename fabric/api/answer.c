#include "fabric/api/inner.h"

#include <stdlib.h>
#include <string.h>

unsigned fab_api_status(enum fab_rc rc)
{
    switch (rc) {
    case FAB_OK:
        return 200;
    case FAB_EINVAL:
        return 400;
    case FAB_EACCES:
        return 403;
    case FAB_ENOENT:
        return 404;
    case FAB_EEXIST:
    case FAB_EBUSY:
    case FAB_ECHANGED:
        return 409;
    case FAB_ELIMIT:
        return 413;
    case FAB_EFORMAT:
    case FAB_EHASH:
        return 422;
    case FAB_EUNSUPPORTED:
        return 501;
    case FAB_ENOMEM:
    case FAB_EINTERRUPTED:
        return 503;
    case FAB_ETIMEOUT:
        return 504;
    case FAB_EQUOTA:
    case FAB_ENOSPC:
        return 507;
    case FAB_EIO:
        return 500;
    }
    return 500;
}

const char *fab_api_code(enum fab_rc rc)
{
    switch (rc) {
    case FAB_OK:
        return "ok";
    case FAB_EINVAL:
        return "invalid";
    case FAB_EACCES:
        return "forbidden";
    case FAB_ENOENT:
        return "not_found";
    case FAB_EEXIST:
        return "exists";
    case FAB_EBUSY:
        return "busy";
    case FAB_ECHANGED:
        return "changed";
    case FAB_ELIMIT:
        return "too_large";
    case FAB_EFORMAT:
    case FAB_EHASH:
        return "bad_data";
    case FAB_EUNSUPPORTED:
        return "unsupported";
    case FAB_ENOMEM:
        return "no_memory";
    case FAB_EINTERRUPTED:
        return "interrupted";
    case FAB_ETIMEOUT:
        return "timeout";
    case FAB_EQUOTA:
        return "quota";
    case FAB_ENOSPC:
        return "no_space";
    case FAB_EIO:
        return "internal";
    }
    return "internal";
}

void fab_api_answer(struct fab_api_request *request, unsigned status, struct MHD_Response *response)
{
    bool later = request->state == FAB_API_LATER;
    request->response = response;
    request->status = status;
    request->state = FAB_API_ANSWERED;
    if (later)
        fab_api_resume(request);
}

/* `text` is from malloc, and taken. */
static void answer_text(struct fab_api_request *request, unsigned status, const char *type,
                        char *text, size_t n)
{
    struct MHD_Response *response =
        text ? MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response)
        free(text);
    if (response && MHD_add_response_header(response, "Content-Type", type) != MHD_YES) {
        MHD_destroy_response(response);
        response = NULL;
    }
    fab_api_answer(request, status, response);
}

void fab_api_json(struct fab_api_request *request, unsigned status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    answer_text(request, status, "application/json", text, text ? strlen(text) : 0);
}

void fab_api_bytes(struct fab_api_request *request, unsigned status, const char *type,
                   struct fab_slice bytes)
{
    char *copy = malloc(bytes.n ? bytes.n : 1);
    if (copy && bytes.n)
        memcpy(copy, bytes.p, bytes.n);
    answer_text(request, status, type, copy, bytes.n);
}

void fab_api_empty(struct fab_api_request *request)
{
    fab_api_answer(request, MHD_HTTP_NO_CONTENT,
                   MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

void fab_api_error_status(struct fab_api_request *request, unsigned status, const char *code,
                          const char *message)
{
    struct fab_err line; /* one line, cut, without control characters */
    fab_err_set(&line, FAB_EIO, "%s", message);
    json_t *text = json_string(line.msg);
    if (!text) /* not UTF-8: a name from a disk, say */
        text = json_string("an error whose text cannot be shown");
    fab_api_json(request, status,
                 json_pack("{s:{s:s,s:o}}", "error", "code", code, "message", text));
}

void fab_api_error(struct fab_api_request *request, enum fab_rc rc, const char *message)
{
    fab_api_error_status(request, fab_api_status(rc == FAB_OK ? FAB_EIO : rc),
                         fab_api_code(rc == FAB_OK ? FAB_EIO : rc), message);
}

void fab_api_later(struct fab_api_request *request, void (*gone)(void *arg), void *arg)
{
    if (request->state != FAB_API_HANDLING)
        return;
    request->state = FAB_API_LATER;
    request->gone = gone;
    request->gone_arg = arg;
}
