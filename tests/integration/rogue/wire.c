#include "tests/integration/rogue/wire.h"

#include "fabric/swarm/multistream.h"
#include "fabric/swarm/yamux.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEPT_MAX (512u << 20)
#define CHUNK    (256u << 10)
#define PATIENCE 20000.0 /* ms that a write may wait */

double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void sleep_ms(double ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1e3),
                            .tv_nsec = (long)(ms * 1e6) % 1000000000L};
    nanosleep(&time, NULL);
}

void broken(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("rogue: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void must(enum fab_rc rc)
{
    if (rc != FAB_OK)
        broken("%s", fab_rc_text(rc));
}

/* ---- bytes ---- */

bool wire_open(struct wire *w, const struct target *t)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = t->from};
    int one = 1;
    memset(w, 0, sizeof *w);
    fab_buf_init(&w->raw, KEPT_MAX);
    fab_buf_init(&w->plain, KEPT_MAX);
    must(fab_key_generate(&w->identity));
    w->key = t->key;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0)
        broken("no socket: %s", strerror(errno));
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (t->from.s_addr && bind(w->fd, (struct sockaddr *)&from, sizeof from) != 0)
        broken("our address cannot be used: %s", strerror(errno));
    if (connect(w->fd, (const struct sockaddr *)&t->to, sizeof t->to) != 0)
        return false;
    fcntl(w->fd, F_SETFL, O_NONBLOCK);
    uint8_t nonce[FAB_PNET_NONCE_SIZE];
    randombytes_buf(nonce, sizeof nonce);
    fab_pnet_cipher_init(&w->writer, t->key, nonce);
    return wire_write(w, nonce, sizeof nonce);
}

void wire_close(struct wire *w)
{
    close(w->fd);
    fab_noise_free(w->noise);
    fab_key_free(w->identity);
    fab_buf_fini(&w->raw);
    fab_buf_fini(&w->plain);
}

static void take_in(struct wire *w, uint8_t *p, size_t n)
{
    w->received += n;
    while (n > 0 && w->nonce_got < FAB_PNET_NONCE_SIZE) {
        w->nonce[w->nonce_got++] = *p++;
        n--;
        if (w->nonce_got == FAB_PNET_NONCE_SIZE)
            fab_pnet_cipher_init(&w->reader, w->key, w->nonce);
    }
    if (n == 0)
        return;
    fab_pnet_cipher_xor(&w->reader, p, n);
    must(fab_buf_append(&w->raw, p, n));
}

static void read_now(struct wire *w)
{
    static uint8_t chunk[CHUNK];
    ssize_t n = recv(w->fd, chunk, sizeof chunk, 0);
    if (n > 0)
        take_in(w, chunk, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        w->ended = true;
}

bool wire_write(struct wire *w, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0 && !w->ended) {
        struct pollfd at = {.fd = w->fd, .events = POLLIN | POLLOUT};
        if (poll(&at, 1, (int)PATIENCE) <= 0)
            return false;
        if (at.revents & POLLIN)
            read_now(w);
        ssize_t sent = send(w->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            w->ended = true;
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        }
    }
    return n == 0;
}

bool wire_send(struct wire *w, const void *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        broken("out of memory");
    memcpy(copy, p, n);
    fab_pnet_cipher_xor(&w->writer, copy, n);
    bool good = wire_write(w, copy, n);
    free(copy);
    return good;
}

int wire_fill(struct wire *w, double timeout_ms)
{
    uint64_t before = w->received;
    double until = now_ms() + timeout_ms;
    while (!w->ended && w->received == before) {
        struct pollfd at = {.fd = w->fd, .events = POLLIN};
        double left = until - now_ms();
        if (poll(&at, 1, left > 0 ? (int)left + 1 : 0) == 0)
            return 0;
        read_now(w);
    }
    return w->received > before ? 1 : -1;
}

double wire_await_close(struct wire *w, double timeout_ms)
{
    double start = now_ms();
    while (!w->ended) {
        double left = start + timeout_ms - now_ms();
        if (left <= 0)
            return -1;
        wire_fill(w, left);
        w->raw_at = w->raw.len = 0;
    }
    return now_ms() - start;
}

/* ---- handshake ---- */

/* That many bytes in `raw`, not taken. */
static bool wire_need(struct wire *w, size_t n)
{
    double until = now_ms() + PATIENCE;
    while (w->raw.len - w->raw_at < n)
        if (wire_fill(w, until - now_ms()) != 1)
            return false;
    return true;
}

bool wire_greet(struct wire *w)
{
    static const char hello[] = FAB_MULTISTREAM_HEADER "\x07" FAB_NOISE_PROTOCOL "\n";
    if (!wire_send(w, hello, sizeof hello - 1) || !wire_need(w, sizeof hello - 1))
        return false;
    bool same = memcmp(w->raw.data + w->raw_at, hello, sizeof hello - 1) == 0;
    w->raw_at += sizeof hello - 1;
    return same;
}

bool wire_message(struct wire *w, struct fab_slice *out)
{
    if (!wire_need(w, FAB_NOISE_HEAD))
        return false;
    const uint8_t *p = w->raw.data + w->raw_at;
    size_t n = (size_t)p[0] << 8 | p[1];
    if (!wire_need(w, FAB_NOISE_HEAD + n))
        return false;
    *out = fab_slice(w->raw.data + w->raw_at + FAB_NOISE_HEAD, n);
    w->raw_at += FAB_NOISE_HEAD + n;
    return true;
}

bool wire_secure(struct wire *w)
{
    static const char *const muxers[] = {FAB_YAMUX_PROTOCOL};
    uint8_t secrets[2 * FAB_NOISE_SECRET];
    randombytes_buf(secrets, sizeof secrets);
    struct fab_noise_config config = {.role = FAB_NOISE_INITIATOR,
                                      .key = w->identity,
                                      .static_secret = secrets,
                                      .ephemeral_secret = secrets + FAB_NOISE_SECRET,
                                      .muxers = muxers,
                                      .n_muxers = 1};
    struct fab_buf out;
    struct fab_slice second;
    fab_buf_init(&out, 4096);
    must(fab_noise_new(&config, &w->noise));
    must(fab_noise_start(w->noise, &out));
    bool good = wire_send(w, out.data, out.len) && wire_message(w, &second);
    fab_buf_reset(&out);
    good = good && fab_noise_handshake(w->noise, second, &out) == FAB_OK &&
           wire_send(w, out.data, out.len);
    fab_buf_fini(&out);
    return good;
}

/* ---- frames ---- */

bool wire_plain(struct wire *w, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint8_t *sealed = malloc(n + (n / FAB_NOISE_PLAIN_MAX + 1) * (FAB_NOISE_HEAD + FAB_NOISE_TAG));
    size_t at = 0;
    if (!sealed)
        broken("out of memory");
    while (n > 0) {
        size_t part = n < FAB_NOISE_PLAIN_MAX ? n : FAB_NOISE_PLAIN_MAX;
        memcpy(sealed + at + FAB_NOISE_HEAD, p, part);
        must(fab_noise_seal(w->noise, sealed + at, part));
        at += FAB_NOISE_HEAD + part + FAB_NOISE_TAG;
        p += part;
        n -= part;
    }
    fab_pnet_cipher_xor(&w->writer, sealed, at);
    bool good = wire_write(w, sealed, at);
    free(sealed);
    return good;
}

void frame_put(struct fab_buf *b, unsigned type, unsigned flags, uint32_t id, uint32_t length,
               const void *p, size_t n)
{
    must(fab_buf_be(b, 1, 0));
    must(fab_buf_be(b, 1, type));
    must(fab_buf_be(b, 2, flags));
    must(fab_buf_be(b, 4, id));
    must(fab_buf_be(b, 4, length));
    if (n > 0)
        must(fab_buf_append(b, p, n));
}

bool wire_put_frame(struct wire *w, unsigned type, unsigned flags, uint32_t id, uint32_t length,
                    const void *p, size_t n)
{
    struct fab_buf b;
    fab_buf_init(&b, KEPT_MAX);
    frame_put(&b, type, flags, id, length, p, n);
    bool good = wire_plain(w, b.data, b.len);
    fab_buf_fini(&b);
    return good;
}

static void compact(struct fab_buf *b, size_t *at)
{
    if (b->len == 0 || (*at < CHUNK && *at < b->len))
        return;
    memmove(b->data, b->data + *at, b->len - *at);
    b->len -= *at;
    *at = 0;
}

/* Open what whole Noise frames there are. */
static void open_frames(struct wire *w)
{
    for (;;) {
        size_t left = w->raw.len - w->raw_at;
        uint8_t *p = w->raw.data + w->raw_at;
        size_t n = left < FAB_NOISE_HEAD ? 0 : (size_t)p[0] << 8 | p[1];
        struct fab_slice plain;
        if (left < FAB_NOISE_HEAD || left < FAB_NOISE_HEAD + n)
            return;
        if (fab_noise_open(w->noise, p + FAB_NOISE_HEAD, n, &plain) != FAB_OK)
            broken("the node's Noise frame does not open");
        must(fab_buf_append(&w->plain, plain.p, plain.n));
        w->raw_at += FAB_NOISE_HEAD + n;
        compact(&w->raw, &w->raw_at);
    }
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int wire_frame(struct wire *w, struct frame *out, double timeout_ms)
{
    double until = now_ms() + timeout_ms;
    compact(&w->plain, &w->plain_at);
    for (;;) {
        open_frames(w);
        const uint8_t *p = w->plain.data + w->plain_at;
        size_t left = w->plain.len - w->plain_at;
        if (left >= FAB_YAMUX_HEADER) {
            *out = (struct frame){.type = p[1],
                                  .flags = (uint16_t)(p[2] << 8 | p[3]),
                                  .id = be32(p + 4),
                                  .length = be32(p + 8),
                                  .data = p + FAB_YAMUX_HEADER};
            size_t whole = FAB_YAMUX_HEADER + (out->type == DATA ? out->length : 0);
            if (left >= whole) {
                w->plain_at += whole;
                return 1;
            }
        }
        double wait = until - now_ms();
        int rc = wire_fill(w, wait > 0 ? wait : 0);
        if (rc != 1)
            return rc;
    }
}
