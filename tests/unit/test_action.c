#include "scheduler/core/action.h"
#include "storage/dag/dag_cbor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct fab_cid cid_of(const char *text)
{
    struct fab_cid cid;
    assert_int_equal(
        fab_cid_of(1, FAB_CODEC_RAW, FAB_MH_SHA2_256, fab_slice(text, strlen(text)), &cid), FAB_OK);
    return cid;
}

static void fill(struct fab_action *a, bool reversed)
{
    struct fab_cid x = cid_of("x"), y = cid_of("y");
    *a = (struct fab_action){.arch = "x86_64"};
    memset(a->system, 7, sizeof a->system);
    assert_int_equal(fab_action_add_arg(a, "sh"), FAB_OK);
    assert_int_equal(fab_action_add_arg(a, ""), FAB_OK);
    if (reversed) {
        assert_int_equal(fab_action_set_env(a, "LONGER", "1"), FAB_OK);
        assert_int_equal(fab_action_set_env(a, "B", "old"), FAB_OK);
        assert_int_equal(fab_action_set_env(a, "B", "2"), FAB_OK);
        assert_int_equal(fab_action_add_input(a, "y", &y), FAB_OK);
        assert_int_equal(fab_action_add_input(a, "x", &x), FAB_OK);
    } else {
        assert_int_equal(fab_action_add_input(a, "x", &x), FAB_OK);
        assert_int_equal(fab_action_set_env(a, "B", "2"), FAB_OK);
        assert_int_equal(fab_action_add_input(a, "y", &y), FAB_OK);
        assert_int_equal(fab_action_set_env(a, "LONGER", "1"), FAB_OK);
    }
}

static struct fab_cid encode(const struct fab_action *a, struct fab_buf *b)
{
    struct fab_cid cid;
    fab_buf_init(b, FAB_ACTION_BYTES_MAX);
    assert_int_equal(fab_action_encode(a, b, &cid), FAB_OK);
    return cid;
}

static void order_does_not_matter(void **state)
{
    (void)state;
    struct fab_action a, b;
    struct fab_buf x, y;
    fill(&a, false);
    fill(&b, true);
    struct fab_cid p = encode(&a, &x), q = encode(&b, &y);
    assert_true(fab_cid_eq(&p, &q));
    assert_int_equal(fab_cbor_validate(fab_buf_slice(&x)), FAB_OK);
    fab_buf_fini(&x);
    fab_buf_fini(&y);
    fab_action_fini(&a);
    fab_action_fini(&b);
}

static void decodes_what_it_encodes(void **state)
{
    (void)state;
    struct fab_action a, b;
    struct fab_buf x, y;
    fill(&a, true);
    a.has_image = true;
    a.image = cid_of("image");
    a.network_host = true;
    struct fab_cid p = encode(&a, &x);
    assert_int_equal(fab_action_decode(fab_buf_slice(&x), &b), FAB_OK);
    assert_string_equal(b.args[1], "");
    assert_null(b.args[2]);
    assert_string_equal(b.env[0].value, "2");
    assert_true(b.network_host && b.has_image);
    struct fab_cid q = encode(&b, &y);
    assert_true(fab_cid_eq(&p, &q));
    /* Cut anywhere, or with a byte more, it is nothing. */
    struct fab_action c;
    for (size_t n = 0; n < x.len; n++)
        assert_int_not_equal(fab_action_decode(fab_slice(x.data, n), &c), FAB_OK);
    assert_int_equal(fab_buf_byte(&x, 0), FAB_OK);
    assert_int_equal(fab_action_decode(fab_buf_slice(&x), &c), FAB_EFORMAT);
    fab_buf_fini(&x);
    fab_buf_fini(&y);
    fab_action_fini(&a);
    fab_action_fini(&b);
}

/* Every part of the action makes another CID. */
static void everything_counts(void **state)
{
    (void)state;
    struct fab_cid seen[8];
    for (int change = 0; change < 8; change++) {
        struct fab_action a;
        struct fab_buf b;
        struct fab_cid z = cid_of("z");
        fill(&a, false);
        if (change == 1)
            assert_int_equal(fab_action_add_arg(&a, "more"), FAB_OK);
        if (change == 2)
            assert_int_equal(fab_action_set_env(&a, "B", "3"), FAB_OK);
        if (change == 3)
            assert_int_equal(fab_action_add_input(&a, "z", &z), FAB_OK);
        if (change == 4)
            a.network_host = true;
        if (change == 5)
            a.system[0]++;
        if (change == 6)
            a.arch[0] = 'X';
        if (change == 7)
            a.has_image = true, a.image = z;
        seen[change] = encode(&a, &b);
        for (int i = 0; i < change; i++)
            assert_false(fab_cid_eq(&seen[i], &seen[change]));
        fab_buf_fini(&b);
        fab_action_fini(&a);
    }
}

static void refuses_what_has_no_form(void **state)
{
    (void)state;
    struct fab_action a = {.arch = "x86_64"};
    struct fab_cid x = cid_of("x"), cid;
    struct fab_buf b;
    fab_buf_init(&b, 4096);
    assert_int_equal(fab_action_encode(&a, &b, &cid), FAB_EINVAL);
    assert_int_equal(fab_action_add_arg(&a, "\xff"), FAB_EINVAL);
    assert_int_equal(fab_action_set_env(&a, "", "v"), FAB_EINVAL);
    assert_int_equal(fab_action_set_env(&a, "a=b", "v"), FAB_EINVAL);
    assert_int_equal(fab_action_set_env(&a, "a", "\xc0\x80"), FAB_EINVAL);
    assert_int_equal(fab_action_add_input(&a, "a/b", &x), FAB_EINVAL);
    assert_int_equal(fab_action_add_input(&a, "a", &x), FAB_OK);
    assert_int_equal(fab_action_add_input(&a, "a", &x), FAB_EEXIST);
    for (int i = 0; i < FAB_ACTION_ARGS_MAX; i++)
        assert_int_equal(fab_action_add_arg(&a, "x"), FAB_OK);
    assert_int_equal(fab_action_add_arg(&a, "x"), FAB_ELIMIT);
    fab_buf_fini(&b);
    fab_action_fini(&a);
}

static void another_version_is_unsupported(void **state)
{
    (void)state;
    struct fab_action a, b;
    struct fab_buf x;
    fill(&a, false);
    encode(&a, &x);
    assert_int_equal(x.data[2], 'v'); /* map head, text head, "v", 1 */
    x.data[3] = 2;
    assert_int_equal(fab_action_decode(fab_buf_slice(&x), &b), FAB_EUNSUPPORTED);
    fab_buf_fini(&x);
    fab_action_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(decodes_what_it_encodes),
        cmocka_unit_test(everything_counts),
        cmocka_unit_test(refuses_what_has_no_form),
        cmocka_unit_test(another_version_is_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
