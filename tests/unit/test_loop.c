/* The event loop on real descriptors of this host: timers, posts, work, datagrams, signals. */
#include "fabric/loop/address.h"
#include "fabric/loop/poll.h"
#include "fabric/loop/signal.h"
#include "fabric/loop/timer.h"
#include "fabric/loop/udp.h"
#include "fabric/loop/work.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/loop_fixture.h"

/* --- timers --- */

#define TIMERS 500

struct timers {
    struct fab_loop *loop;
    struct fab_timer timer[TIMERS];
    uint64_t at[TIMERS], last_us;
    bool stopped[TIMERS];
    unsigned fired;
};

struct one {
    struct timers *all;
    unsigned i;
};

static void on_timer(void *arg)
{
    struct one *one = arg;
    struct timers *t = one->all;
    assert_false(t->stopped[one->i]);
    assert_true(fab_loop_now_us() >= t->at[one->i]);
    assert_true(t->at[one->i] >= t->last_us);
    assert_false(fab_timer_armed(&t->timer[one->i]));
    t->last_us = t->at[one->i];
    t->fired++;
}

static void timers_fire_in_order_and_not_early(void **state)
{
    static struct timers t;
    static struct one one[TIMERS];
    t = (struct timers){.loop = *state};
    uint64_t now = fab_loop_now_us();
    uint32_t seed = 7;
    unsigned expected = TIMERS;
    for (unsigned i = 0; i < TIMERS; i++) {
        one[i] = (struct one){&t, i};
        fab_timer_init(&t.timer[i], t.loop, on_timer, &one[i]);
        seed = seed * 1664525u + 1013904223u;
        t.at[i] = now + 1000 + seed % 100000;
        fab_timer_start(&t.timer[i], now + 50000 - i); /* moved below */
    }
    for (unsigned i = 0; i < TIMERS; i++)
        fab_timer_start(&t.timer[i], t.at[i]);
    for (unsigned i = 0; i < TIMERS; i += 3) {
        if (i % 2)
            fab_timer_stop(&t.timer[i]);
        else
            fab_timer_start(&t.timer[i], UINT64_MAX);
        fab_timer_stop(&t.timer[i]);
        t.stopped[i] = true;
        expected--;
    }
    struct fab_timer end;
    fab_timer_init(&end, t.loop, stop, t.loop);
    fab_timer_start(&end, now + 101001);
    run(t.loop);
    assert_int_equal(t.fired, expected);
    assert_true(fab_loop_now_us() - now < 1100000);
}

struct again {
    struct fab_loop *loop;
    struct fab_timer timer;
    unsigned fired, deferred;
    struct fab_defer defer;
};

static void fire_again(void *arg)
{
    struct again *a = arg;
    if (++a->fired < 100)
        fab_timer_start(&a->timer, 0);
}

static void defer_again(struct fab_defer *defer)
{
    struct again *a = (void *)((char *)defer - offsetof(struct again, defer));
    a->deferred++;
    if (a->fired == 100)
        fab_loop_stop(a->loop);
    else
        fab_loop_defer(a->loop, defer);
}

/* A timer that is always due, and a function that defers itself for ever, starve nobody. */
static void what_starts_itself_again_lets_others_run(void **state)
{
    struct again a = {.loop = *state, .defer = {.run = defer_again}};
    fab_timer_init(&a.timer, a.loop, fire_again, &a);
    fab_timer_start(&a.timer, 0);
    fab_loop_defer(a.loop, &a.defer);
    run(a.loop);
    assert_int_equal(a.fired, 100);
    assert_true(a.deferred >= 100);
}

struct deferred {
    struct fab_defer defer;
    struct fab_defer *victim;
    char name;
};

static char order[8];

static void note(struct fab_defer *defer)
{
    struct deferred *d = (void *)defer;
    order[strlen(order)] = d->name;
    if (d->victim)
        fab_loop_cancel(d->victim);
}

static void deferred_functions_run_once_in_order_or_not_at_all(void **state)
{
    struct deferred a = {{.run = note}, NULL, 'a'}, b = a, c = a, d = a;
    memset(order, 0, sizeof order);
    b.name = 'b';
    c.name = 'c';
    d.name = 'd';
    a.victim = &c.defer; /* in the same turn */
    fab_loop_defer(*state, &b.defer);
    fab_loop_defer(*state, &d.defer);
    fab_loop_defer(*state, &a.defer);
    fab_loop_defer(*state, &b.defer);
    fab_loop_defer(*state, &c.defer);
    fab_loop_cancel(&d.defer);
    fab_loop_cancel(&d.defer);
    assert_string_equal(order, "");
    assert_int_equal(fab_loop_drain(*state, SECOND), FAB_OK);
    assert_string_equal(order, "ba");
}

/* --- posts and work --- */

#define POSTS   20000u
#define POSTERS 3u

struct poster {
    struct fab_loop *loop;
    pthread_t thread;
    unsigned *total;
    unsigned next;
};

struct numbered {
    struct fab_post post;
    struct poster *from;
    unsigned n;
};

static void on_post(struct fab_post *post)
{
    struct numbered *p = (void *)post;
    assert_int_equal(p->n, p->from->next);
    p->from->next++;
    if (++*p->from->total == POSTS * POSTERS)
        fab_loop_stop(p->from->loop);
    free(p);
}

static void *post_many(void *arg)
{
    struct poster *poster = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        struct numbered *p = calloc(1, sizeof *p);
        if (!p)
            abort();
        p->post.run = on_post;
        p->from = poster;
        p->n = i;
        fab_loop_post(poster->loop, &p->post);
    }
    return NULL;
}

static void posts_from_threads_arrive_in_order(void **state)
{
    unsigned total = 0;
    struct poster poster[POSTERS];
    for (unsigned i = 0; i < POSTERS; i++) {
        poster[i] = (struct poster){.loop = *state, .total = &total};
        assert_int_equal(pthread_create(&poster[i].thread, NULL, post_many, &poster[i]), 0);
    }
    run(*state);
    for (unsigned i = 0; i < POSTERS; i++) {
        pthread_join(poster[i].thread, NULL);
        assert_int_equal(poster[i].next, POSTS);
    }
}

struct square {
    struct fab_work work;
    pthread_t loop_thread;
    unsigned n, result;
    bool done;
};

static void square_run(struct fab_work *work)
{
    struct square *s = (void *)work;
    if (pthread_equal(pthread_self(), s->loop_thread))
        abort();
    s->result = s->n * s->n;
}

static void square_done(struct fab_work *work)
{
    struct square *s = (void *)work;
    assert_true(pthread_equal(pthread_self(), s->loop_thread));
    assert_false(s->done);
    s->done = true;
}

static void work_completes_on_the_loop_thread(void **state)
{
    enum { N = 1000 };
    static struct square s[N];
    struct fab_pool *pool = NULL;
    assert_int_equal(fab_pool_new(2, FAB_WORK_CAPACITY, 0, &pool), FAB_OK);
    for (unsigned i = 0; i < N; i++) {
        s[i] = (struct square){.work = {.run = square_run, .done = square_done},
                               .loop_thread = pthread_self(),
                               .n = i};
        fab_work_start(&s[i].work, *state, pool);
        assert_false(s[i].done);
    }
    assert_int_equal(fab_loop_drain(*state, 10 * SECOND), FAB_OK);
    fab_pool_free(pool);
    for (unsigned i = 0; i < N; i++) {
        assert_true(s[i].done);
        assert_int_equal(s[i].result, i * i);
    }
}

struct niceness {
    struct fab_task task;
    int value;
};

static void niceness_run(struct fab_task *task)
{
    ((struct niceness *)(void *)task)->value = getpriority(PRIO_PROCESS, 0);
}

/* The workers give way, and who made the pool does not. */
static void workers_are_nicer(void **state)
{
    (void)state;
    int before = getpriority(PRIO_PROCESS, 0);
    struct fab_pool *pool = NULL;
    struct niceness niceness = {.task = {.run = niceness_run}};
    assert_int_equal(fab_pool_new(1, 0, 2, &pool), FAB_OK);
    fab_pool_submit(pool, &niceness.task);
    fab_pool_free(pool);
    assert_int_equal(niceness.value, before + 2 > 19 ? 19 : before + 2);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
}

/* --- addresses --- */

static void addresses_as_text(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:0", "192.0.2.1:65535", "[::1]:4001",
                                       "[2001:db8::1]:1", "[fe80::1%1]:5"};
    static const char *const bad[] = {"",
                                      "1.2.3.4",
                                      "1.2.3.4:",
                                      "1.2.3.4:65536",
                                      "1.2.3:1",
                                      "host:1",
                                      "::1:4001",
                                      "[::1]",
                                      "[::1]4001",
                                      "[::1:4001",
                                      "1.2.3.4:-1",
                                      "1.2.3.4: 1",
                                      "[1.2.3.4]:1",
                                      "1.2.3.4:1x",
                                      "[fe80::1%no-such-interface]:5",
                                      "1.2.3.4:00000000001"};
    char text[FAB_ADDRESS_TEXT];
    struct fab_address address;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(fab_address_parse(good[i], &address), FAB_OK);
        assert_string_equal(fab_address_text(&address, text), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fab_address_parse(bad[i], &address), FAB_EFORMAT);
    uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 1, 2, 3};
    size_t n;
    assert_int_equal(fab_address_ip(mapped, 16, 7, &address), FAB_OK);
    assert_memory_equal(fab_address_bytes(&address, &n), mapped + 12, 4);
    assert_int_equal(n, 4);
    assert_int_equal(fab_address_ip(mapped + 12, 4, 7, &address), FAB_OK);
    assert_string_equal(fab_address_text(&address, text), "10.1.2.3:7");
    assert_int_equal(fab_address_port(&address), 7);
    assert_int_equal(fab_address_ip(mapped, 5, 7, &address), FAB_EINVAL);
}

/* --- descriptors, datagrams, signals --- */

struct watched {
    struct fab_loop *loop;
    int fd;
    unsigned calls;
};

static void on_ready(void *arg, unsigned events)
{
    struct watched *w = arg;
    char c;
    assert_true(events & FAB_POLL_READ);
    assert_int_equal(read(w->fd, &c, 1), 1);
    if (++w->calls == 3)
        fab_loop_stop(w->loop);
}

static void a_poll_is_level_triggered(void **state)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    struct watched w = {.loop = *state, .fd = fd[0]};
    struct fab_poll *poll = NULL;
    assert_int_equal(fab_poll_new(*state, fd[0], on_ready, &w, &poll), FAB_OK);
    fab_poll_set(poll, FAB_POLL_READ);
    assert_int_equal(write(fd[1], "abcd", 4), 4);
    run(*state);
    assert_int_equal(w.calls, 3);
    fab_poll_set(poll, 0);
    struct fab_timer rest;
    fab_timer_init(&rest, *state, stop, *state);
    fab_timer_start(&rest, fab_loop_now_us() + 5000);
    run(*state);
    assert_int_equal(w.calls, 3);
    fab_poll_close(poll);
    close(fd[0]);
    close(fd[1]);
}

static void on_hangup(void *arg, unsigned events)
{
    struct watched *w = arg;
    assert_true(events & FAB_POLL_HANGUP);
    w->calls++;
    fab_loop_stop(w->loop);
}

static void a_hangup_is_seen_behind_unread_bytes(void **state)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    struct watched w = {.loop = *state, .fd = fd[0]};
    struct fab_poll *poll = NULL;
    assert_int_equal(fab_poll_new(*state, fd[0], on_hangup, &w, &poll), FAB_OK);
    fab_poll_set(poll, FAB_POLL_HANGUP);
    assert_int_equal(write(fd[1], "abcd", 4), 4);
    struct fab_timer rest;
    fab_timer_init(&rest, *state, stop, *state);
    fab_timer_start(&rest, fab_loop_now_us() + 5000);
    run(*state);
    assert_int_equal(w.calls, 0);
    close(fd[1]);
    run(*state);
    assert_int_equal(w.calls, 1);
    fab_poll_close(poll);
    close(fd[0]);
}

struct datagrams {
    struct fab_loop *loop;
    unsigned got, interface;
    struct fab_address from;
};

static void on_datagram(void *arg, uint8_t *p, size_t n, const struct fab_address *from,
                        unsigned interface)
{
    struct datagrams *d = arg;
    assert_int_equal(n, 5);
    assert_memory_equal(p, "hello", 5);
    d->from = *from;
    d->interface = interface;
    d->got++;
    fab_loop_stop(d->loop);
}

static void datagrams_tell_where_they_came_in(void **state)
{
    struct datagrams a = {.loop = *state}, b = a;
    struct fab_udp *one = NULL, *two = NULL;
    struct fab_address at;
    assert_int_equal(fab_address_parse("127.0.0.1:0", &at), FAB_OK);
    assert_int_equal(fab_udp_new(*state, &at, on_datagram, &a, &one), FAB_OK);
    assert_int_equal(fab_udp_new(*state, &at, on_datagram, &b, &two), FAB_OK);
    assert_int_equal(fab_udp_send(one, "hello", 5, fab_udp_address(two), 0), FAB_OK);
    run(*state);
    assert_int_equal(b.got, 1);
    assert_true(b.interface > 0);
    assert_int_equal(fab_address_port(&b.from), fab_address_port(fab_udp_address(one)));
    assert_int_equal(fab_udp_send(one, "hello", 5, fab_udp_address(two), b.interface), FAB_OK);
    run(*state);
    assert_int_equal(b.got, 2);
    fab_udp_close(one);
    fab_udp_close(two);
}

struct caught {
    struct fab_loop *loop;
    int signo;
};

static void on_signal(void *arg, int signo)
{
    struct caught *caught = arg;
    caught->signo = signo;
    fab_loop_stop(caught->loop);
}

static void signals_arrive_on_the_loop(void **state)
{
    struct caught caught = {.loop = *state};
    assert_int_equal(fab_loop_signals(*state, on_signal, &caught), FAB_OK);
    kill(getpid(), SIGTERM);
    run(*state);
    assert_int_equal(caught.signo, SIGTERM);
    kill(getpid(), SIGINT);
    run(*state);
    assert_int_equal(caught.signo, SIGINT);
}

static void the_service_manager_is_told(void **state)
{
    (void)state;
    char path[64], got[32] = "";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(fab_notify("READY=1"), FAB_ENOENT);
    for (int abstract = 0; abstract < 2; abstract++) {
        snprintf(path, sizeof path, "%s/tmp/fabric-notify-%d", abstract ? "@" : "", getpid());
        memset(at.sun_path, 0, sizeof at.sun_path);
        memcpy(at.sun_path, path, strlen(path));
        if (abstract)
            at.sun_path[0] = '\0';
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
        setenv("NOTIFY_SOCKET", path, 1);
        assert_int_equal(fab_notify("READY=1"), FAB_OK);
        assert_int_equal(recv(fd, got, sizeof got - 1, 0), 7);
        assert_string_equal(got, "READY=1");
        close(fd);
        if (!abstract)
            unlink(path);
    }
    unsetenv("NOTIFY_SOCKET");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_in_order_and_not_early, setup, teardown),
        cmocka_unit_test_setup_teardown(what_starts_itself_again_lets_others_run, setup, teardown),
        cmocka_unit_test_setup_teardown(deferred_functions_run_once_in_order_or_not_at_all, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(posts_from_threads_arrive_in_order, setup, teardown),
        cmocka_unit_test(workers_are_nicer),
        cmocka_unit_test_setup_teardown(work_completes_on_the_loop_thread, setup, teardown),
        cmocka_unit_test(addresses_as_text),
        cmocka_unit_test_setup_teardown(a_poll_is_level_triggered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hangup_is_seen_behind_unread_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(datagrams_tell_where_they_came_in, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_arrive_on_the_loop, setup, teardown),
        cmocka_unit_test(the_service_manager_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
