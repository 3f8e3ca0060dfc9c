/* Streams: lines wait in a bounded backlog until the server asks for bytes. With an empty backlog
 * the connection is suspended (the server would ask again and again), and watched, since a
 * suspended client's leaving is seen by nobody else. */
#include "fabric/api/inner.h"

#include <stdlib.h>
#include <string.h>

#define SLACK (8u << 10) /* for the last line, which an error may send past the limit */
#define SMALL (64u << 10)

static size_t waiting(const struct fab_api_stream *stream)
{
    return stream->backlog.len - stream->off;
}

static void on_drained(struct fab_defer *defer)
{
    struct fab_api_stream *stream =
        (void *)((char *)defer - offsetof(struct fab_api_stream, drained));
    if (stream->request->state == FAB_API_STREAM)
        stream->ops->drained(stream->arg);
}

/* Forget what has been sent. */
static void compact(struct fab_api_stream *stream)
{
    if (waiting(stream) == 0 && stream->backlog.cap > SMALL) {
        size_t max = stream->backlog.max;
        fab_buf_fini(&stream->backlog);
        fab_buf_init(&stream->backlog, max);
    } else if (stream->off > 0) {
        memmove(stream->backlog.data, stream->backlog.data + stream->off, waiting(stream));
        stream->backlog.len -= stream->off;
    }
    stream->off = 0;
}

ssize_t fab_api_stream_read(void *arg, uint64_t pos, char *p, size_t max)
{
    struct fab_api_request *request = arg;
    struct fab_api_stream *stream = &request->stream;
    (void)pos;
    if (request->aborted)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = waiting(stream) < max ? waiting(stream) : max;
    if (n > 0) {
        memcpy(p, stream->backlog.data + stream->off, n);
        stream->off += n;
        if (waiting(stream) == 0) {
            compact(stream);
            if (stream->ops && stream->ops->drained && !stream->ended)
                fab_loop_defer(request->api->loop, &stream->drained);
        }
        return (ssize_t)n;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    fab_api_suspend(request);
    return 0;
}

enum fab_rc fab_api_stream_start(struct fab_api_request *request,
                                 const struct fab_api_stream_ops *ops, void *arg,
                                 struct fab_api_stream **out)
{
    struct fab_api_stream *stream = &request->stream;
    struct MHD_Response *response = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, SMALL, fab_api_stream_read, request, NULL);
    if (!response)
        return FAB_ENOMEM;
    if (MHD_add_response_header(response, "Content-Type", "application/x-ndjson") != MHD_YES) {
        MHD_destroy_response(response);
        return FAB_ENOMEM;
    }
    *stream = (struct fab_api_stream){.request = request, .ops = ops, .arg = arg};
    stream->drained.run = on_drained;
    fab_buf_init(&stream->backlog, FAB_API_STREAM_MAX + SLACK);
    fab_api_answer(request, MHD_HTTP_OK, response);
    request->state = FAB_API_STREAM;
    *out = stream;
    return FAB_OK;
}

static enum fab_rc append(struct fab_api_stream *stream, const void *p, size_t n)
{
    if (stream->backlog.len + n + 1 > stream->backlog.max)
        compact(stream);
    FAB_TRY(fab_buf_reserve(&stream->backlog, n + 1));
    memcpy(stream->backlog.data + stream->backlog.len, p, n);
    stream->backlog.data[stream->backlog.len + n] = '\n';
    stream->backlog.len += n + 1;
    fab_api_resume(stream->request);
    return FAB_OK;
}

enum fab_rc fab_api_stream_write(struct fab_api_stream *stream, struct fab_slice line)
{
    if (waiting(stream) + line.n + 1 > FAB_API_STREAM_MAX)
        return FAB_ELIMIT;
    return append(stream, line.p, line.n);
}

enum fab_rc fab_api_stream_json(struct fab_api_stream *stream, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    enum fab_rc rc =
        text ? fab_api_stream_write(stream, fab_slice(text, strlen(text))) : FAB_ENOMEM;
    free(text);
    return rc;
}

void fab_api_stream_end(struct fab_api_stream *stream, const struct fab_err *error)
{
    struct fab_api_request *request = stream->request;
    if (error) {
        enum fab_rc rc = error->rc == FAB_OK ? FAB_EIO : error->rc;
        json_t *value =
            json_pack("{s:{s:s,s:s}}", "error", "code", fab_api_code(rc), "message", error->msg);
        char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
        json_decref(value);
        /* Without its last line the stream must not look whole. */
        if (!text || append(stream, text, strlen(text)) != FAB_OK)
            request->aborted = true;
        free(text);
    }
    stream->ended = true;
    request->state = FAB_API_OVER;
    fab_loop_cancel(&stream->drained);
    fab_api_resume(request);
}
