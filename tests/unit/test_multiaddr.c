#include "storage/multiformats/multiaddr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PEER     "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define OLD_PEER "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"

/* Parse, check, print: the text that comes out, which has to parse to the same bytes. */
static void check(const char *in, const char *want)
{
    struct fab_buf addr, text, again;
    fab_buf_init(&addr, FAB_MULTIADDR_MAX);
    fab_buf_init(&text, FAB_MULTIADDR_TEXT_MAX);
    fab_buf_init(&again, FAB_MULTIADDR_MAX);
    if (fab_multiaddr_from_text(in, strlen(in), &addr) != FAB_OK)
        fail_msg("%s is refused", in);
    assert_int_equal(fab_multiaddr_check(fab_buf_slice(&addr)), FAB_OK);
    assert_int_equal(fab_multiaddr_to_text(fab_buf_slice(&addr), &text), FAB_OK);
    assert_int_equal(text.len, strlen(want));
    assert_memory_equal(text.data, want, text.len);
    assert_int_equal(fab_multiaddr_from_text((char *)text.data, text.len, &again), FAB_OK);
    assert_true(fab_slice_eq(fab_buf_slice(&addr), fab_buf_slice(&again)));
    fab_buf_fini(&addr);
    fab_buf_fini(&text);
    fab_buf_fini(&again);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const same[] = {
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/1.2.3.4/tcp/0",
        "/ip6/::1/tcp/65535",
        "/ip6/2001:8a0:7ac5:4201:3ac9:86ff:fe31:7095/udp/5",
        "/ip6zone/eth0/ip6/fe80::1/tcp/4001",
        "/dns/example.com/tcp/443/wss",
        "/dns4/foo.com/tcp/80/ws",
        "/dns6/foo.com/tcp/443/tls/ws",
        "/dnsaddr/bootstrap.example",
        "/unix/run/fabric.sock",
        "/unix/a/b c/d/",
        "/p2p/" PEER,
        "/ip4/10.1.2.3/tcp/4001/p2p/" OLD_PEER,
        "/ip4/10.1.2.3/tcp/4001/p2p/" PEER "/p2p-circuit/p2p/" OLD_PEER,
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/ip4/1.2.3.4/udp/4001/quic-v1/webtransport/certhash/"
        "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g",
        "/ip4/1.2.3.4/tcp/443/tls/sni/example.com/http",
        "/p2p-circuit",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        check(same[i], same[i]);
    check("/ipfs/" OLD_PEER, "/p2p/" OLD_PEER);
    check("/ip6/0:0:0:0:0:0:0:1", "/ip6/::1");
    /* libp2p specs/peer-ids: the same key as base58btc multihash and as CID. */
    check("/p2p/bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
          "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
}

static void test_known_bytes(void **state)
{
    (void)state;
    static const char text[] = "/ip4/127.0.0.1/udp/1234/dns/a.b";
    static const uint8_t want[] = {4, 127, 0, 0, 1, 0x91, 0x02, 0x04, 0xd2, 53, 3, 'a', '.', 'b'};
    struct fab_buf addr;
    struct fab_slice port;
    fab_buf_init(&addr, FAB_MULTIADDR_MAX);
    assert_int_equal(fab_multiaddr_from_text(text, sizeof(text) - 1, &addr), FAB_OK);
    assert_int_equal(addr.len, sizeof(want));
    assert_memory_equal(addr.data, want, sizeof(want));
    assert_int_equal(fab_multiaddr_find(fab_buf_slice(&addr), FAB_MA_UDP, &port), FAB_OK);
    assert_int_equal(port.n, 2);
    assert_memory_equal(port.p, "\x04\xd2", 2);
    assert_int_equal(fab_multiaddr_find(fab_buf_slice(&addr), FAB_MA_TCP, &port), FAB_ENOENT);
    fab_buf_fini(&addr);
}

/* The Ed25519 public key of the specification's example, as the identity multihash that an address
 * holds. */
static void test_peer_bytes(void **state)
{
    (void)state;
    static const uint8_t begin[] = {0x00, 0x24, 0x08, 0x01, 0x12, 0x20, 0x1e, 0xd1, 0xe8, 0xfa};
    struct fab_buf addr;
    struct fab_slice mh;
    fab_buf_init(&addr, FAB_MULTIADDR_MAX);
    assert_int_equal(fab_multiaddr_from_text("/p2p/" PEER, strlen("/p2p/" PEER), &addr), FAB_OK);
    assert_int_equal(fab_multiaddr_find(fab_buf_slice(&addr), FAB_MA_P2P, &mh), FAB_OK);
    assert_int_equal(mh.n, 38);
    assert_memory_equal(mh.p, begin, sizeof(begin));
    assert_memory_equal(mh.p + 35, "\xfc\xe2\x7e", 3);
    fab_buf_fini(&addr);
}

static void test_refused_text(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "ip4/1.2.3.4",
        "//ip4/1.2.3.4",
        "/ip4",
        "/ip4/",
        "/ip4/1.2.3",
        "/ip4/1.2.3.256",
        "/ip4/::1",
        "/ip4/1.2.3.4/",
        "/ip4/1.2.3.4/tcp",
        "/ip4/1.2.3.4/tcp/",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/01",
        "/ip4/1.2.3.4/tcp/123456",
        "/ip4/1.2.3.4/tcp/http",
        "/ip6/1.2.3.4",
        "/ip6/:::1",
        "/ip6/2001:8a0:7ac5:4201:3ac9:86ff:fe31:7095:1:2:3:4:5:6",
        "/dns",
        "/dns/",
        "/dns/a b",
        "/dns/a\x7f",
        "/dns/\xc3\xa4",
        "/unix",
        "/unix/",
        "/unix/a\nb",
        "/p2p/",
        "/p2p/1",
        "/p2p/Qm",
        "/p2p/QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNK0",
        /* A CID of another codec, and a hash function that no peer ID has. */
        "/p2p/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
        "/p2p/bafzbcavlzu",
        "/certhash/uAAE",
        "/wss/x",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fab_buf addr;
        fab_buf_init(&addr, FAB_MULTIADDR_MAX);
        assert_int_equal(fab_buf_append(&addr, "x", 1), FAB_OK);
        enum fab_rc rc = fab_multiaddr_from_text(bad[i], strlen(bad[i]), &addr);
        if (rc != FAB_EFORMAT && rc != FAB_EUNSUPPORTED)
            fail_msg("%s is accepted", bad[i]);
        assert_int_equal(addr.len, 1);
        fab_buf_fini(&addr);
    }
    struct fab_buf addr;
    fab_buf_init(&addr, FAB_MULTIADDR_MAX);
    assert_int_equal(fab_multiaddr_from_text("/carrier-pigeon/1", 17, &addr), FAB_EUNSUPPORTED);
    fab_buf_fini(&addr);
}

static void test_refused_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        enum fab_rc rc;
    } bad[] = {
        {"", 0, FAB_EFORMAT},
        {"\x04\x7f\x00\x00", 4, FAB_EFORMAT},                 /* three bytes of four */
        {"\x84\x00\x7f\x00\x00\x01", 6, FAB_EFORMAT},         /* the code is not minimal */
        {"\x06\x0f", 2, FAB_EFORMAT},                         /* half a port */
        {"\x35\x00", 2, FAB_EFORMAT},                         /* an empty name */
        {"\x35\x04\x61\x62", 4, FAB_EFORMAT},                 /* the length is too long */
        {"\x35\x03\x61\x2f\x62", 5, FAB_EFORMAT},             /* a name with a slash */
        {"\x90\x03\x02\x61\x62", 5, FAB_EFORMAT},             /* a path that is not absolute */
        {"\x90\x03\x01\x2f", 4, FAB_EFORMAT},                 /* no path at all */
        {"\x90\x03\x02\x2f\x61\x35\x01\x61", 8, FAB_EFORMAT}, /* something after a path */
        {"\xa5\x03\x03\x12\x01\x61", 6, FAB_EFORMAT},         /* a peer ID with a cut digest */
        {"\xa5\x03\x04\x00\x01\x61\x62", 7, FAB_EFORMAT},     /* a byte after the multihash */
        {"\x07", 1, FAB_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fab_buf text;
        struct fab_slice s = fab_slice(bad[i].bytes, bad[i].n);
        fab_buf_init(&text, FAB_MULTIADDR_TEXT_MAX);
        assert_int_equal(fab_multiaddr_check(s), bad[i].rc);
        assert_int_equal(fab_multiaddr_to_text(s, &text), bad[i].rc);
        assert_int_equal(text.len, 0);
        fab_buf_fini(&text);
    }
}

static void test_length_is_bounded(void **state)
{
    (void)state;
    struct fab_buf text, addr;
    fab_buf_init(&text, 2 * FAB_MULTIADDR_TEXT_MAX);
    fab_buf_init(&addr, 2 * FAB_MULTIADDR_TEXT_MAX);
    for (int i = 0; i < 206; i++)
        assert_int_equal(fab_buf_printf(&text, "/ip4/1.2.3.4"), FAB_OK);
    assert_int_equal(fab_multiaddr_from_text((char *)text.data, text.len, &addr), FAB_ELIMIT);
    assert_int_equal(fab_multiaddr_from_text((char *)text.data, text.len - 24, &addr), FAB_OK);
    assert_int_equal(fab_buf_append(&addr, "\x04\x01\x02\x03\x04\x04\x01\x02\x03\x04", 10), FAB_OK);
    assert_int_equal(fab_multiaddr_check(fab_buf_slice(&addr)), FAB_ELIMIT);
    fab_buf_fini(&text);
    fab_buf_fini(&addr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_peer_bytes),    cmocka_unit_test(test_refused_text),
        cmocka_unit_test(test_refused_bytes), cmocka_unit_test(test_length_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
