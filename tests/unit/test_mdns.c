/* Discovery on the local network: packets, byte by byte; entries that only holders of the key read;
 * and what comes from strangers. */
#include "fabric/identity/key.h"
#include "fabric/swarm/mdns.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICE "\x07_fabric\x04_tcp\x05local" /* and the final 0 */

static const uint8_t key_a[32] = {1}, key_b[32] = {2}, seed[32] = {3};
static struct fab_peer_id self;

static int start(void **state)
{
    uint8_t secret[FAB_KEY_SEED_SIZE] = {9};
    struct fab_key *key;
    (void)state;
    if (sodium_init() < 0 || fab_key_from_seed(secret, &key) != FAB_OK)
        return -1;
    self = *fab_key_peer_id(key);
    fab_key_free(key);
    return 0;
}

static struct fab_mdns_announcement sample(void)
{
    struct fab_mdns_announcement a = {
        .nonce = {0xab, 1, 2, 3, 4, 5, 6, 0xff}, .slot = 2970000, .port = 4001};
    assert_int_equal(fab_mdns_seal(&a, key_a, &self), FAB_OK);
    return a;
}

static enum fab_rc parse(const struct fab_buf *b, struct fab_mdns_packet *out)
{
    uint8_t *exact = malloc(b->len ? b->len : 1); /* so that reading beyond is seen */
    assert_non_null(exact);
    if (b->len)
        memcpy(exact, b->data, b->len);
    enum fab_rc rc = fab_mdns_parse(fab_slice(exact, b->len), out);
    free(exact);
    return rc;
}

static void test_query(void **state)
{
    static const char want[] = "\0\0\0\0\0\1\0\0\0\0\0\0" SERVICE "\0\0\x0c\0\1";
    struct fab_mdns_packet packet;
    struct fab_buf b;
    (void)state;
    fab_buf_init(&b, FAB_MDNS_PACKET_MAX);
    assert_int_equal(fab_mdns_query(&b), FAB_OK);
    assert_int_equal(b.len, sizeof want - 1);
    assert_memory_equal(b.data, want, b.len);
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_true(packet.query);
    assert_int_equal(packet.n, 0);

    b.data[b.len - 2] = 0x80; /* asks for unicast */
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_true(packet.query);
    b.data[14] = 'F'; /* capitals mean the same */
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_true(packet.query);
    b.data[15] = 'b'; /* another service */
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_false(packet.query);
    b.data[15] = 'a';
    b.data[b.len - 3] = 16; /* another type */
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_false(packet.query);
    b.data[b.len - 3] = 12;
    b.data[2] = 0x84; /* a question in an answer is none */
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_false(packet.query);
    b.data[2] = 0x08; /* opcode 1 */
    assert_int_equal(parse(&b, &packet), FAB_EUNSUPPORTED);
    b.data[2] = 0;
    b.data[3] = 3; /* an error */
    assert_int_equal(parse(&b, &packet), FAB_EUNSUPPORTED);
    b.data[3] = 0;
    for (b.len--; b.len > 0; b.len--)
        assert_int_equal(parse(&b, &packet), FAB_EFORMAT);
    fab_buf_fini(&b);
}

/* The whole packet, as docs/protocols/peers.md describes it. */
static void test_known_bytes(void **state)
{
    static const char before[] = "\0\0\x84\0\0\0\0\1\0\0\0\1" SERVICE "\0\0\x0c\0\1\0\0\0\x78\0\x13"
                                 "\x10"
                                 "ab010203040506ff\xc0\x0c"
                                 "\xc0\x2a\0\x10\x80\1\0\0\0\x78\0\x49"
                                 "\3v=1\6p=4001\x09s=2970000\x33k0=";
    struct fab_mdns_announcement a = sample();
    struct fab_mdns_packet packet;
    struct fab_buf b;
    (void)state;
    fab_buf_init(&b, FAB_MDNS_PACKET_MAX);
    assert_int_equal(fab_mdns_announce(&a, &b), FAB_OK);
    assert_int_equal(b.len, sizeof before - 1 + FAB_MDNS_ENTRY);
    assert_memory_equal(b.data, before, sizeof before - 1);
    assert_memory_equal(b.data + sizeof before - 1, a.entries[0], FAB_MDNS_ENTRY);
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_false(packet.query);
    assert_int_equal(packet.n, 1);
    assert_int_equal(packet.seen[0].port, 4001);
    assert_int_equal(packet.seen[0].slot, 2970000);
    assert_int_equal(packet.seen[0].n, 1);
    assert_memory_equal(packet.seen[0].nonce, a.nonce, sizeof a.nonce);
    assert_memory_equal(packet.seen[0].entries, a.entries, FAB_MDNS_ENTRY);
    for (b.len--; b.len > 0; b.len--)
        assert_int_equal(parse(&b, &packet), FAB_EFORMAT);
    fab_buf_fini(&b);
}

/* The entry, computed another way. */
static void test_entry(void **state)
{
    static const char message[] = "fabric mdns 1\xab\1\2\3\4\5\6\xff\0\x2d\x51\x90\x0f\xa1";
    struct fab_mdns_announcement a = sample();
    struct fab_slice public;
    uint8_t want[64];
    (void)state;
    crypto_generichash(want, sizeof want, (const uint8_t *)message, sizeof message - 1, key_a, 32);
    assert_int_equal(fab_peer_id_public(&self, &public), FAB_OK);
    for (size_t i = 0; i < 32; i++)
        want[16 + i] ^= public.p[4 + i];
    assert_memory_equal(a.entries[0], want, FAB_MDNS_ENTRY);
}

static void test_seal_open(void **state)
{
    struct fab_mdns_announcement a = sample(), b;
    struct fab_peer_id id;
    (void)state;
    assert_int_equal(fab_mdns_open(&a, key_a, &id), FAB_OK);
    assert_true(fab_peer_id_eq(&id, &self));
    assert_int_equal(fab_mdns_open(&a, key_b, &id), FAB_ENOENT);
    assert_int_equal(fab_mdns_seal(&a, key_b, &self), FAB_OK);
    fab_mdns_cover(&a, seed);
    assert_int_equal(a.n, 8);
    assert_int_equal(fab_mdns_open(&a, key_b, &id), FAB_OK);
    assert_true(fab_peer_id_eq(&id, &self));
    assert_int_equal(fab_mdns_open(&a, key_a, &id), FAB_OK);
    /* Nothing of it holds for another nonce, slot or port. */
    b = a;
    b.nonce[0] ^= 1;
    assert_int_equal(fab_mdns_open(&b, key_a, &id), FAB_ENOENT);
    b = a;
    b.slot++;
    assert_int_equal(fab_mdns_open(&b, key_a, &id), FAB_ENOENT);
    b = a;
    b.port++;
    assert_int_equal(fab_mdns_open(&b, key_a, &id), FAB_ENOENT);
}

static void test_cover(void **state)
{
    static const uint8_t other[32] = {4};
    struct fab_mdns_announcement a = sample(), b = sample(), c = sample();
    (void)state;
    fab_mdns_cover(&a, seed);
    fab_mdns_cover(&b, seed);
    fab_mdns_cover(&c, other);
    assert_memory_equal(a.entries, b.entries, sizeof a.entries);
    assert_memory_not_equal(a.entries, c.entries, sizeof a.entries);
    for (size_t i = 1; i < a.n; i++)
        assert_true(memcmp(a.entries[i - 1], a.entries[i], FAB_MDNS_ENTRY) < 0);
    /* Of two slots, or two ports, no entry is the same. */
    struct fab_mdns_announcement others[] = {{.nonce = {7}, .slot = 2970001, .port = 4001},
                                             {.slot = 2970000, .port = 4002}};
    memcpy(others[1].nonce, a.nonce, sizeof a.nonce);
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(fab_mdns_seal(&others[k], key_a, &self), FAB_OK);
        fab_mdns_cover(&others[k], seed);
        for (size_t i = 0; i < a.n; i++)
            for (size_t j = 0; j < others[k].n; j++)
                assert_memory_not_equal(a.entries[i], others[k].entries[j], 16);
    }
}

static void test_limits(void **state)
{
    struct fab_mdns_announcement a = sample();
    struct fab_mdns_packet packet;
    struct fab_peer_id id, hash = {.len = 34, .mh = {0x12, 0x20}};
    struct fab_buf b, small;
    (void)state;
    for (uint8_t i = 1; i < FAB_MDNS_ENTRIES_MAX; i++) {
        uint8_t key[32] = {i, 1};
        assert_int_equal(fab_mdns_seal(&a, key, &self), FAB_OK);
    }
    assert_int_equal(fab_mdns_seal(&a, key_b, &self), FAB_ELIMIT);
    a.port = 65535;
    a.slot = UINT32_MAX;
    fab_buf_init(&b, FAB_MDNS_PACKET_MAX);
    assert_int_equal(fab_mdns_announce(&a, &b), FAB_OK);
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_int_equal(packet.n, 1);
    assert_int_equal(packet.seen[0].n, FAB_MDNS_ENTRIES_MAX);
    assert_memory_equal(packet.seen[0].entries, a.entries, sizeof a.entries);
    assert_int_equal(packet.seen[0].port, 65535);
    fab_buf_init(&small, b.len - 1);
    assert_int_equal(fab_mdns_announce(&a, &small), FAB_ELIMIT);
    assert_int_equal(small.len, 0);
    fab_buf_fini(&small);
    a.port = 0;
    assert_int_equal(fab_mdns_announce(&a, &b), FAB_EINVAL);
    a.n = 0;
    assert_int_equal(fab_mdns_seal(&a, key_a, &hash), FAB_EUNSUPPORTED);
    assert_int_equal(fab_mdns_open(&a, key_a, &id), FAB_ENOENT);
    fab_buf_fini(&b);
}

/* A TXT record of ours with these strings; gives what was seen. */
static size_t seen_in(const char *strings, size_t n, const char *owner, size_t owner_n)
{
    struct fab_mdns_packet packet;
    struct fab_buf b;
    fab_buf_init(&b, 1 << 14);
    assert_int_equal(fab_buf_append(&b, "\0\0\x84\0\0\0\0\1\0\0\0\0", 12), FAB_OK);
    assert_int_equal(fab_buf_append(&b, owner, owner_n), FAB_OK);
    assert_int_equal(fab_buf_append(&b, "\0\x10\0\1\0\0\0\1", 8), FAB_OK);
    assert_int_equal(fab_buf_be(&b, 2, n), FAB_OK);
    assert_int_equal(fab_buf_append(&b, strings, n), FAB_OK);
    assert_int_equal(parse(&b, &packet), FAB_OK);
    fab_buf_fini(&b);
    return packet.n;
}

#define OWNER                                                                                      \
    "\x10"                                                                                         \
    "0011223344556677" SERVICE "\0"
#define ENTRY         "0123456789abcdef0123456789abcdef0123456789abcdef"
#define SEEN(strings) seen_in(strings, sizeof strings - 1, OWNER, sizeof OWNER - 1)
#define FROM(owner)   seen_in("\3v=1\3p=1\3s=0\x33k0=" ENTRY, 13 + 51, owner, sizeof owner - 1)

static void test_strings(void **state)
{
    (void)state;
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x33k0=" ENTRY), 1);
    assert_int_equal(SEEN("\x33k0=" ENTRY "\3s=0\3p=1\3v=1"), 1);         /* any order */
    assert_int_equal(SEEN("\0\3v=1\3x=9\3p=1\2zz\3s=0\x33k0=" ENTRY), 1); /* unknown */
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x33k0=" ENTRY "\3k1="), 1);    /* none in k1 */
    assert_int_equal(SEEN(""), 0);
    assert_int_equal(SEEN("\3p=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=2\3p=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\4v=11\3p=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3v=1\3p=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=0\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\2p=\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\4p=01\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\4p=+1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\7p=65535\3s=0\x33k0=" ENTRY), 1);
    assert_int_equal(SEEN("\3v=1\7p=65536\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3p=1\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\x0cs=4294967295\x33k0=" ENTRY), 1);
    assert_int_equal(SEEN("\3v=1\3p=1\x0cs=4294967296\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\x0ds=18446744073709551617\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\3s=0\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0"), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\3k0="), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x32k0=" ENTRY), 0); /* the string is cut */
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x34k0=" ENTRY), 0); /* or goes beyond */
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x33k1=" ENTRY), 0); /* k0 lacks */
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x33k0=" ENTRY "\x33k0=" ENTRY), 0);
    assert_int_equal(SEEN("\3v=1\3p=1\3s=0\x33k0=" ENTRY "\x33k1=" ENTRY), 1);
}

static void test_too_many_entries(void **state)
{
    char strings[13 + 30 * 52] = "\3v=1\3p=1\3s=0";
    size_t n = 12;
    (void)state;
    for (char i = 0; i < 10; i++) { /* with one entry each, k0 to k9 */
        const char head[] = {0x33, 'k', (char)('0' + i), '='};
        memcpy(strings + n, head, 4);
        memcpy(strings + n + 4, ENTRY, 48);
        n += 52;
    }
    assert_int_equal(seen_in(strings, n, OWNER, sizeof OWNER - 1), 1);
    char five[12 + 5 * 244];
    memcpy(five, "\3v=1\3p=1\3s=0", n = 12);
    for (char i = 0; i < 5; i++) { /* 25 */
        const char head[] = {(char)0xf3, 'k', (char)('0' + i), '='};
        memcpy(five + n, head, 4);
        memset(five + n + 4, 'x', 240);
        n += 244;
    }
    assert_int_equal(seen_in(five, n, OWNER, sizeof OWNER - 1), 0);
    five[12 + 4 * 244] = (char)(3 + 4 * 48);
    assert_int_equal(seen_in(five, n - 48, OWNER, sizeof OWNER - 1), 1);
}

static void test_owners(void **state)
{
    (void)state;
    assert_int_equal(FROM(OWNER), 1);
    assert_int_equal(FROM("\x10"
                          "00112233445566AA\x07_FABRIC\x04_tcp\x05local\0"),
                     1);
    assert_int_equal(FROM("\x0f"
                          "001122334455667" SERVICE "\0"),
                     0);
    assert_int_equal(FROM("\x10"
                          "001122334455667g" SERVICE "\0"),
                     0);
    assert_int_equal(FROM("\x10"
                          "0011223344556677\x04_p2p\x04_tcp\x05local\0"),
                     0);
    assert_int_equal(FROM(SERVICE "\0"), 0);
    assert_int_equal(FROM("\0"), 0);
}

static enum fab_rc raw(const char *p, size_t n)
{
    struct fab_mdns_packet packet;
    uint8_t *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, p, n);
    enum fab_rc rc = fab_mdns_parse(fab_slice(exact, n), &packet);
    free(exact);
    return rc;
}

#define ASK(name) raw("\0\0\0\0\0\1\0\0\0\0\0\0" name "\0\x0c\0\1", 12 + sizeof name - 1 + 4)

static void test_compression(void **state)
{
    char big[9001] = "\0\0\0\0\0\0\0\0\0\0\0\0";
    (void)state;
    assert_int_equal(ASK("\0"), FAB_OK);
    assert_int_equal(ASK("\xc0\x0c"), FAB_EFORMAT);    /* itself */
    assert_int_equal(ASK("\xc0\x0e"), FAB_EFORMAT);    /* forward */
    assert_int_equal(ASK("\1a\xc0\x0c"), FAB_EFORMAT); /* its own beginning */
    assert_int_equal(ASK("\xff\xff"), FAB_EFORMAT);    /* beyond */
    assert_int_equal(ASK("\xc0"), FAB_EFORMAT);
    assert_int_equal(ASK("\x40"), FAB_EFORMAT); /* no label, no pointer */
    assert_int_equal(ASK("\x80"), FAB_EFORMAT);
    /* Two that lead to each other. */
    assert_int_equal(raw("\0\0\0\0\0\2\0\0\0\0\0\0\xc0\x12\0\1\0\1\xc0\x0c\0\1\0\1", 24),
                     FAB_EFORMAT);
    /* Into the header: a name of nothing. */
    assert_int_equal(ASK("\xc0\x00"), FAB_OK);
    /* A name that is too long by pointers: 4 times 63, then 4 times again. */
    struct fab_buf b;
    fab_buf_init(&b, 4096);
    assert_int_equal(fab_buf_append(&b, "\0\0\0\0\0\2\0\0\0\0\0\0", 12), FAB_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fab_buf_byte(&b, 63), FAB_OK);
        assert_int_equal(fab_buf_append(&b, big, 63), FAB_OK);
    }
    assert_int_equal(fab_buf_append(&b, "\0\0\1\0\1", 5), FAB_OK);
    size_t second = b.len;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fab_buf_byte(&b, (uint8_t)(62 - 31 * i)), FAB_OK);
        assert_int_equal(fab_buf_append(&b, big, (size_t)(62 - 31 * i)), FAB_OK);
    }
    assert_int_equal(fab_buf_append(&b, "\xc0\x0c\0\1\0\1", 6), FAB_OK);
    struct fab_mdns_packet packet;
    assert_int_equal(parse(&b, &packet), FAB_EFORMAT);
    /* Without its second label it is short enough. */
    memmove(b.data + second + 63, b.data + second + 95, b.len - second - 95);
    b.len -= 32;
    b.data[second] = 61;
    memmove(b.data + second + 62, b.data + second + 63, b.len - second - 63);
    b.len--;
    assert_int_equal(parse(&b, &packet), FAB_OK);
    fab_buf_fini(&b);

    assert_int_equal(raw(big, 9000), FAB_OK);
    assert_int_equal(raw(big, 9001), FAB_EFORMAT);
}

static void test_records_passed_over(void **state)
{
    struct fab_mdns_announcement a = sample();
    struct fab_mdns_packet packet;
    struct fab_buf b, one;
    (void)state;
    fab_buf_init(&b, 1 << 14);
    fab_buf_init(&one, FAB_MDNS_PACKET_MAX);
    assert_int_equal(fab_mdns_announce(&a, &one), FAB_OK);
    /* One and more of them: six TXT records behind each other, of which four are read. */
    size_t txt = 12 + 20 + 10 + 19;
    assert_int_equal(fab_buf_append(&b, one.data, txt), FAB_OK);
    for (int i = 0; i < 6; i++)
        assert_int_equal(fab_buf_append(&b, one.data + txt, one.len - txt), FAB_OK);
    b.data[11] = 6;
    assert_int_equal(parse(&b, &packet), FAB_OK);
    assert_int_equal(packet.n, FAB_MDNS_SEEN_MAX);
    /* Ended, of another class, of another type, or in a question. */
    struct {
        size_t at;
        uint8_t value;
    } changes[] = {{txt + 9, 0}, {txt + 5, 3}, {txt + 3, 17}, {2, 0x04}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        uint8_t before = one.data[changes[i].at];
        assert_int_equal(parse(&one, &packet), FAB_OK);
        assert_int_equal(packet.n, 1);
        one.data[changes[i].at] = changes[i].value;
        assert_int_equal(parse(&one, &packet), FAB_OK);
        assert_int_equal(packet.n, 0);
        one.data[changes[i].at] = before;
    }
    one.data[7] = 2; /* more answers than there are */
    assert_int_equal(parse(&one, &packet), FAB_EFORMAT);
    fab_buf_fini(&b);
    fab_buf_fini(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_seal_open),
        cmocka_unit_test(test_cover),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_too_many_entries),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_compression),
        cmocka_unit_test(test_records_passed_over),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
