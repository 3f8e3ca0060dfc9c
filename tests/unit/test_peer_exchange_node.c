/* /fabric/peers/1 against a whole node in a process of its own: what a member of the workspace can
 * make it do by telling it records, true and forged ones. */
#include "fabric/node/internal.h"
#include "fabric/swarm/peer_exchange.h"
#include "storage/multiformats/multiaddr.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t swarm_key[FAB_SWARM_KEY_SIZE] = {7};

/* ---- the node ---- */

struct told {
    struct fab_address address;
    struct fab_peer_id id;
};

struct running {
    struct fab_node *node;
    int fd;
};

static void on_node_ready(void *arg)
{
    struct running *running = arg;
    struct told told;
    memset(&told, 0, sizeof told);
    told.address = *fab_listener_address(running->node->listeners[0]);
    told.id = *fab_key_peer_id(running->node->identity);
    if (write(running->fd, &told, sizeof told) != sizeof told)
        _exit(3);
}

static int node_main(const char *home, int fd)
{
    static const char *const listen[] = {"/ip4/127.0.0.1/tcp/0"};
    char path[128];
    struct fab_store *store;
    struct fab_workspace_info ws;
    struct fab_key *identity;
    struct fab_keyring *ring;
    struct fab_err err = {0};
    struct running running = {.fd = fd};
    snprintf(path, sizeof path, "%s/store", home);
    if (fab_store_open(path, NULL, &store, &err) != FAB_OK ||
        fab_workspace_find(store, "lab", true, &ws, &err) != FAB_OK ||
        fab_identity_open(home, &identity, &err) != FAB_OK ||
        fab_keyring_new(store, identity, &ring, &err) != FAB_OK ||
        fab_keyring_add(ring, ws.id, swarm_key, time(NULL), NULL, &err) != FAB_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    fab_keyring_free(ring);
    fab_key_free(identity);
    struct fab_node_config config = {
        .home = home, .store = store, .listen = listen, .n_listen = 1, .mdns = false};
    if (fab_node_new(&config, &running.node, &err) != FAB_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    fab_node_run(running.node, on_node_ready, &running);
    fab_node_free(running.node);
    fab_store_close(store);
    return 0;
}

static char home[] = "/tmp/test_peer_exchange_XXXXXX";
static pid_t node_pid;
static struct told node_told;

static int start(void **state)
{
    int fds[2];
    (void)state;
    if (!mkdtemp(home) || pipe(fds) != 0)
        return -1;
    node_pid = fork();
    if (node_pid < 0)
        return -1;
    if (node_pid == 0) {
        close(fds[0]);
        exit(node_main(home, fds[1]));
    }
    close(fds[1]);
    ssize_t n = read(fds[0], &node_told, sizeof node_told);
    close(fds[0]);
    return n == sizeof node_told ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int stop(void **state)
{
    int status = -1;
    (void)state;
    kill(node_pid, SIGTERM);
    waitpid(node_pid, &status, 0);
    nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1; /* also: nothing leaked */
}

/* ---- a member ---- */

struct member {
    struct fab_loop *loop;
    struct fab_key *identity;
    struct fab_tcp *tcp;
    struct fab_conn *conn;
    struct fab_timer limit;
    struct fab_buf in;
    struct outbuf out;
    bool ready, closed, gone;
    enum fab_rc why; /* of the stream */
};

static const struct fab_protocol *no_protocol(void *ctx, struct fab_slice name)
{
    (void)ctx;
    (void)name;
    return NULL;
}

static enum fab_rc any_peer(void *ctx, const struct fab_peer_id *peer, struct fab_slice key)
{
    (void)ctx;
    (void)key;
    return fab_peer_id_eq(peer, &node_told.id) ? FAB_OK : FAB_EACCES;
}

static void is_ready(void *ctx)
{
    struct member *member = ctx;
    member->ready = true;
    fab_loop_stop(member->loop);
}

static void on_wake(void *ctx)
{
    struct member *member = ctx;
    if (member->tcp)
        fab_tcp_wake(member->tcp);
}

static const struct fab_conn_events conn_events = {
    .secured = any_peer, .ready = is_ready, .protocol = no_protocol, .wake = on_wake};

static void tcp_opened(void *arg)
{
    fab_tcp_wake(((struct member *)arg)->tcp);
}

static void tcp_input(void *arg, uint8_t *p, size_t n)
{
    struct member *member = arg;
    assert_int_equal(fab_conn_input(member->conn, p, n, fab_loop_now_us()), FAB_OK);
}

static size_t tcp_output(void *arg, uint8_t *p, size_t cap)
{
    return fab_conn_output(((struct member *)arg)->conn, p, cap, fab_loop_now_us());
}

static void tcp_closed(void *arg, enum fab_tcp_reason reason)
{
    struct member *member = arg;
    (void)reason;
    member->gone = true;
    member->tcp = NULL;
    fab_loop_stop(member->loop);
}

static const struct fab_tcp_ops tcp_ops = {
    .opened = tcp_opened, .input = tcp_input, .output = tcp_output, .closed = tcp_closed};

static void on_limit(void *arg)
{
    fab_loop_stop(((struct member *)arg)->loop);
}

static void run(struct member *member, uint64_t us)
{
    fab_timer_start(&member->limit, fab_loop_now_us() + us);
    fab_loop_run(member->loop);
    fab_timer_stop(&member->limit);
}

static struct fab_key *key_of(uint8_t n)
{
    uint8_t seed[FAB_KEY_SEED_SIZE] = {n, 77};
    struct fab_key *key;
    assert_int_equal(fab_key_from_seed(seed, &key), FAB_OK);
    return key;
}

static void join(struct member *member, uint8_t n)
{
    memset(member, 0, sizeof *member);
    member->identity = key_of(n);
    assert_int_equal(fab_loop_new(&member->loop), FAB_OK);
    fab_timer_init(&member->limit, member->loop, on_limit, member);
    fab_buf_init(&member->in, FAB_PEERS_HALF_MAX);
    struct fab_conn_config config = {.dialer = true,
                                     .identity = member->identity,
                                     .key = swarm_key,
                                     .random = {n},
                                     .events = &conn_events,
                                     .ctx = member};
    assert_int_equal(fab_conn_new(&config, fab_loop_now_us(), &member->conn), FAB_OK);
    assert_int_equal(
        fab_tcp_connect(member->loop, &node_told.address, 3000000, &tcp_ops, member, &member->tcp),
        FAB_OK);
    run(member, 5000000);
    assert_true(member->ready);
}

static void leave(struct member *member)
{
    if (member->tcp)
        fab_tcp_close(member->tcp);
    assert_int_equal(fab_loop_drain(member->loop, 3000000), FAB_OK);
    fab_conn_free(member->conn);
    fab_loop_free(member->loop);
    fab_key_free(member->identity);
    fab_buf_fini(&member->in);
}

static void stream_input(void *user, struct fab_stream *stream, const uint8_t *p, size_t n)
{
    struct member *member = user;
    assert_int_equal(fab_buf_append(&member->in, p, n), FAB_OK);
    fab_stream_consumed(stream, n);
}

static size_t stream_output(void *user, struct fab_stream *stream, uint8_t *p, size_t cap,
                            bool *fin)
{
    (void)stream;
    return outbuf_pull(&((struct member *)user)->out, p, cap, fin);
}

static void stream_closed(void *user, struct fab_stream *stream, enum fab_rc why)
{
    struct member *member = user;
    (void)stream;
    member->closed = true;
    member->why = why;
    fab_loop_stop(member->loop);
}

static const struct fab_stream_events stream_events = {
    .input = stream_input, .output = stream_output, .closed = stream_closed};

/* One stream with these bytes as our half; gives how it ended. */
static enum fab_rc tell(struct member *member, const struct fab_buf *half)
{
    static const char *const names[] = {FAB_PEERS_PROTOCOL};
    struct fab_stream *stream;
    fab_buf_reset(&member->in);
    member->closed = false;
    member->out = (struct outbuf){.fin = true};
    fab_buf_init(&member->out.buf, 2 * FAB_PEERS_HALF_MAX);
    assert_int_equal(fab_buf_append(&member->out.buf, half->data, half->len), FAB_OK);
    assert_int_equal(fab_conn_open(member->conn, names, 1, &stream_events, member, &stream),
                     FAB_OK);
    run(member, 5000000);
    assert_true(member->closed);
    assert_false(member->gone);
    fab_buf_fini(&member->out.buf);
    return member->why;
}

static void record_of(uint8_t n, uint64_t seq, const char *address, struct fab_buf *half)
{
    struct fab_key *key = key_of(n);
    struct fab_buf b, a;
    fab_buf_init(&a, 64);
    fab_buf_init(&b, FAB_PEERS_RECORD_MAX);
    assert_int_equal(fab_multiaddr_from_text(address, strlen(address), &a), FAB_OK);
    struct fab_slice slice = fab_buf_slice(&a);
    assert_int_equal(fab_signed_record_encode(key, seq, &slice, 1, &b), FAB_OK);
    assert_int_equal(fab_peers_append(half, fab_buf_slice(&b)), FAB_OK);
    fab_buf_fini(&a);
    fab_buf_fini(&b);
    fab_key_free(key);
}

/* A port that shows whether it is dialled. */
static int lure(char out[64])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    snprintf(out, 64, "/ip4/127.0.0.1/tcp/%u", ntohs(at.sin_port));
    return fd;
}

static bool dialled(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void count(void *arg, struct fab_slice envelope)
{
    struct fab_signed_record record;
    assert_int_equal(fab_signed_record_decode(envelope, &record), FAB_OK);
    *(unsigned *)arg += fab_peer_id_eq(&record.peer, &node_told.id);
}

static void test_told(void **state)
{
    struct member member;
    struct fab_peers_reader r;
    struct fab_buf half;
    unsigned n = 0;
    char address[64];
    int fd = lure(address);
    (void)state;
    join(&member, 1);
    fab_buf_init(&half, FAB_PEERS_HALF_MAX);
    record_of(1, 1, "/ip4/192.0.2.1/tcp/9", &half);
    record_of(2, 1, address, &half);
    assert_int_equal(tell(&member, &half), FAB_OK);
    assert_true(dialled(fd, 3000));
    /* Its answer is its own record, and nobody else's. */
    fab_peers_reader_init(&r);
    assert_int_equal(fab_peers_reader_feed(&r, fab_buf_slice(&member.in), count, &n), FAB_OK);
    assert_int_equal(fab_peers_reader_finish(&r), FAB_OK);
    assert_int_equal(n, 1);
    assert_int_equal(r.records, 1);
    fab_peers_reader_fini(&r);
    /* Again, too early. */
    assert_int_equal(tell(&member, &half), FAB_EINTERRUPTED);
    /* It does not say the same twice. */
    pause_ms(1100);
    assert_int_equal(tell(&member, &half), FAB_OK);
    assert_int_equal(member.in.len, 0);
    fab_buf_fini(&half);
    leave(&member);
    close(fd);
}

static void test_forged(void **state)
{
    struct member member;
    struct fab_buf half;
    char address[64];
    int fd = lure(address);
    (void)state;
    join(&member, 3);
    fab_buf_init(&half, 2 * FAB_PEERS_HALF_MAX);
    record_of(4, 1, address, &half);
    half.data[half.len - 1] ^= 1; /* of the signature */
    assert_int_equal(tell(&member, &half), FAB_EINTERRUPTED);
    pause_ms(1100);
    half.len--; /* cut short: nothing of it is believed */
    assert_int_equal(tell(&member, &half), FAB_OK);
    pause_ms(1100);
    fab_buf_reset(&half);
    for (int i = 0; i <= FAB_PEERS_RECORDS_MAX; i++)
        record_of(3, 1, "/ip4/192.0.2.1/tcp/9", &half);
    assert_int_equal(tell(&member, &half), FAB_EINTERRUPTED);
    assert_false(dialled(fd, 1000));
    /* The connection has lived through it all. */
    fab_buf_reset(&half);
    record_of(4, 1, address, &half);
    assert_int_equal(tell(&member, &half), FAB_OK);
    assert_true(dialled(fd, 3000));
    fab_buf_fini(&half);
    leave(&member);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_forged),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
