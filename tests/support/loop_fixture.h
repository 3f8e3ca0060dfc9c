/* A loop for a test, and a run of it that ends. Each test includes this once. */
#ifndef FAB_TESTS_LOOP_FIXTURE_H
#define FAB_TESTS_LOOP_FIXTURE_H

#include "fabric/loop/timer.h"

#define SECOND 1000000u

static int setup(void **state)
{
    struct fab_loop *loop = NULL;
    assert_int_equal(fab_loop_new(&loop), FAB_OK);
    *state = loop;
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(fab_loop_drain(*state, 10 * SECOND), FAB_OK);
    fab_loop_free(*state);
    return 0;
}

static void stop(void *arg)
{
    fab_loop_stop(arg);
}

/* Run, but not for ever: a test that hangs fails. */
static void give_up(void *arg)
{
    (void)arg;
    fail_msg("the loop was not stopped in time");
}

static void run(struct fab_loop *loop)
{
    struct fab_timer guard;
    fab_timer_init(&guard, loop, give_up, NULL);
    fab_timer_start(&guard, fab_loop_now_us() + 60 * SECOND);
    fab_loop_run(loop);
    fab_timer_stop(&guard);
}

#endif
