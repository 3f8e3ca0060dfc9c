/* Addresses of interfaces: who is on the same network, and what kind of address it is. */
#include "fabric/node/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct fab_address at(const char *text)
{
    struct fab_address address;
    assert_int_equal(fab_address_parse(text, &address), FAB_OK);
    return address;
}

static bool reaches(const char *own, unsigned prefix, const char *other)
{
    struct node_interface interface = {.prefix = prefix, .address = at(own)};
    struct fab_address address = at(other);
    return interface_reaches(&interface, &address);
}

static void test_reaches(void **state)
{
    (void)state;
    assert_true(reaches("10.77.0.1:0", 24, "10.77.0.254:5353"));
    assert_false(reaches("10.77.0.1:0", 24, "10.77.1.1:5353"));
    assert_true(reaches("10.77.0.1:0", 23, "10.77.1.1:5353"));
    assert_false(reaches("10.77.0.1:0", 32, "10.77.0.2:5353"));
    assert_true(reaches("10.77.0.1:0", 32, "10.77.0.1:5353"));
    assert_true(reaches("10.77.0.1:0", 0, "192.0.2.1:5353"));
    assert_true(reaches("[fe80::1]:0", 64, "[fe80::ff:1]:5353"));
    assert_false(reaches("[2001:db8::1]:0", 64, "[2001:db8:0:1::1]:5353"));
    assert_false(reaches("[2001:db8::1]:0", 0, "10.77.0.1:5353")); /* another family */
    assert_true(reaches("10.77.0.1:0", 24, "[::ffff:10.77.0.2]:5353"));
}

static void test_kinds(void **state)
{
    static const struct {
        const char *text;
        bool any, loopback, link_local6;
    } rows[] = {
        {"0.0.0.0:1", true, false, false},      {"[::]:1", true, false, false},
        {"127.0.0.1:1", false, true, false},    {"127.255.0.9:1", false, true, false},
        {"[::1]:1", false, true, false},        {"[::ffff:127.0.0.1]:1", false, true, false},
        {"128.0.0.1:1", false, false, false},   {"[fe80::1]:1", false, false, true},
        {"[febf::1]:1", false, false, true},    {"[fec0::1]:1", false, false, false},
        {"169.254.0.1:1", false, false, false}, {"[2001:db8::1]:1", false, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fab_address address = at(rows[i].text);
        assert_int_equal(address_is_any(&address), rows[i].any);
        assert_int_equal(address_is_loopback(&address), rows[i].loopback);
        assert_int_equal(address_is_link_local6(&address), rows[i].link_local6);
    }
    struct fab_address a = at("10.0.0.1:1"), b = at("[::ffff:10.0.0.1]:2"), c = at("10.0.0.2:1");
    assert_true(address_same_host(&a, &b));
    assert_false(address_same_host(&a, &c));
    memset(&b, 0, sizeof b);
    assert_false(address_same_host(&b, &b)); /* no address at all */
    assert_false(address_is_any(&b));
}

/* Every machine has the loopback interface. */
static void test_read(void **state)
{
    struct node_interface list[64];
    size_t n = interfaces_read(list, 64), loopback = 0;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(list[i].index, 0);
        assert_true(interface_reaches(&list[i], &list[i].address));
        assert_false(list[i].loopback && list[i].multicast);
        if (list[i].loopback && list[i].address.any.sa_family == AF_INET && list[i].prefix == 8)
            loopback++;
    }
    if (n == 0)
        skip(); /* a namespace without any */
    assert_true(loopback > 0);
    assert_int_equal(interfaces_read(list, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reaches),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
