/* pnet. XSalsa20 is Salsa20 under a subkey that HSalsa20 makes of the key and 16 bytes of the
 * nonce: the subkey is made once per direction, then whole blocks are XORed where they lie, and
 * what is left of a block that a call ends in is kept for the next.
 *
 * The choice among keys keeps only what the dialer sent, so it costs no memory per key; the
 * keystream is made again for the keys that still fit, of which there is one after a byte or two.
 */
#include "fabric/swarm/pnet.h"

#include "fabric/swarm/multistream.h"
#include "fabric/swarm/salsa20.h"

#include <sodium.h>
#include <string.h>

#define BLOCK FAB_SALSA20_BLOCK

_Static_assert(sizeof(((struct fab_pnet_select *)0)->seen) ==
                   FAB_PNET_NONCE_SIZE + FAB_MULTISTREAM_HEADER_SIZE,
               "what a selection reads");

void fab_pnet_cipher_init(struct fab_pnet_cipher *c, const uint8_t key[FAB_SWARM_KEY_SIZE],
                          const uint8_t nonce[FAB_PNET_NONCE_SIZE])
{
    memset(c, 0, sizeof *c);
    crypto_core_hsalsa20(c->subkey, nonce, key, NULL);
    memcpy(c->nonce, nonce + crypto_core_hsalsa20_INPUTBYTES, sizeof c->nonce);
}

static void xor_rest(struct fab_pnet_cipher *c, uint8_t *buf, size_t n)
{
    const uint8_t *stream = c->rest + BLOCK - c->left;
    for (size_t i = 0; i < n; i++)
        buf[i] ^= stream[i];
    c->left = (uint8_t)(c->left - n);
}

void fab_pnet_cipher_xor(struct fab_pnet_cipher *c, uint8_t *buf, size_t n)
{
    size_t head = n < c->left ? n : c->left;
    size_t whole = (n - head) / BLOCK * BLOCK;
    size_t tail = n - head - whole;

    xor_rest(c, buf, head);
    if (whole) {
        fab_salsa20_xor(buf + head, whole / BLOCK, c->nonce, c->block, c->subkey);
        c->block += whole / BLOCK;
    }
    if (tail) {
        memset(c->rest, 0, BLOCK);
        fab_salsa20_xor(c->rest, 1, c->nonce, c->block, c->subkey);
        c->block++;
        c->left = BLOCK;
        xor_rest(c, buf + head + whole, tail);
    }
}

void fab_pnet_cipher_fini(struct fab_pnet_cipher *c)
{
    sodium_memzero(c, sizeof *c);
}

void fab_pnet_select_init(struct fab_pnet_select *s)
{
    memset(s, 0, sizeof *s);
}

void fab_pnet_select_restart(struct fab_pnet_select *s)
{
    s->tried = 0;
}

static bool fits(const struct fab_pnet_select *s, size_t i)
{
    return s->fits[i / 64] >> (i % 64) & 1;
}

/* Whether the bytes from `tried` to `have` behind the nonce are the header's under that key. */
static bool key_fits(const struct fab_pnet_select *s, const uint8_t *key, size_t have)
{
    uint8_t stream[FAB_MULTISTREAM_HEADER_SIZE];
    uint8_t diff = 0;

    crypto_stream_xsalsa20(stream, sizeof stream, s->seen, key);
    for (size_t i = s->tried; i < have; i++)
        diff |= (uint8_t)(stream[i] ^ s->seen[FAB_PNET_NONCE_SIZE + i] ^
                          (uint8_t)FAB_MULTISTREAM_HEADER[i]);
    sodium_memzero(stream, sizeof stream);
    return diff == 0;
}

enum fab_rc fab_pnet_select_input(struct fab_pnet_select *s, const uint8_t *const *keys, size_t n,
                                  struct fab_reader *in, size_t *out)
{
    size_t take = fab_reader_left(in), first = n;

    if (n == 0 || n > FAB_PNET_KEYS_MAX)
        return FAB_EINVAL;
    if (take > sizeof s->seen - s->count)
        take = sizeof s->seen - s->count;
    if (take) {
        memcpy(s->seen + s->count, in->p, take);
        s->count = (uint8_t)(s->count + take);
        in->p += take;
    }
    if (s->count <= FAB_PNET_NONCE_SIZE)
        return FAB_EBUSY;
    size_t have = s->count - (size_t)FAB_PNET_NONCE_SIZE;
    if (s->tried == 0)
        memset(s->fits, 0xff, sizeof s->fits);
    for (size_t i = n; i-- > 0;) {
        if (!fits(s, i))
            continue;
        if (have > s->tried && !key_fits(s, keys[i], have))
            s->fits[i / 64] &= ~((uint64_t)1 << (i % 64));
        else
            first = i;
    }
    s->tried = (uint8_t)have;
    if (first == n)
        return FAB_ENOENT;
    if (have < FAB_MULTISTREAM_HEADER_SIZE)
        return FAB_EBUSY;
    *out = first;
    return FAB_OK;
}

void fab_pnet_select_cipher(const struct fab_pnet_select *s, const uint8_t key[FAB_SWARM_KEY_SIZE],
                            struct fab_pnet_cipher *out)
{
    uint8_t header[FAB_MULTISTREAM_HEADER_SIZE] = {0};

    fab_pnet_cipher_init(out, key, s->seen);
    fab_pnet_cipher_xor(out, header, sizeof header);
    sodium_memzero(header, sizeof header);
}
