/* The swarm key's file: two fixed lines, then the key. Each line may end in CR LF, and line ends
 * (of an editor, of a copy and paste) may follow the key; anything else behind it is refused, so
 * that a damaged file is not half read. */
#include "fabric/swarm/swarm_key.h"

#include "storage/multiformats/multibase.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

#define LINE_1 "/key/swarm/psk/1.0.0/"

static bool is_text(struct fab_slice s, const char *text)
{
    return fab_slice_eq(s, fab_slice(text, strlen(text)));
}

static struct fab_slice trim_line_ends(struct fab_slice s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

/* Cut the first line off the front of `rest`, without its end; false when none ends. */
static bool cut_line(struct fab_slice *rest, struct fab_slice *line)
{
    const uint8_t *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    if (!end)
        return false;
    *line = trim_line_ends(fab_slice(rest->p, (size_t)(end - rest->p)));
    *rest = fab_slice(end + 1, rest->n - (size_t)(end + 1 - rest->p));
    return true;
}

static bool decode_base16(struct fab_slice text, uint8_t out[FAB_SWARM_KEY_SIZE])
{
    size_t n;
    return sodium_hex2bin(out, FAB_SWARM_KEY_SIZE, (const char *)text.p, text.n, NULL, &n, NULL) ==
               0 &&
           n == FAB_SWARM_KEY_SIZE;
}

static bool decode_base64(struct fab_slice text, uint8_t out[FAB_SWARM_KEY_SIZE])
{
    size_t n;
    return text.n > 0 &&
           sodium_base642bin(out, FAB_SWARM_KEY_SIZE, (const char *)text.p, text.n, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           n == FAB_SWARM_KEY_SIZE;
}

static bool decode_bin(struct fab_slice body, uint8_t out[FAB_SWARM_KEY_SIZE])
{
    if (body.n < FAB_SWARM_KEY_SIZE ||
        trim_line_ends(fab_slice(body.p + FAB_SWARM_KEY_SIZE, body.n - FAB_SWARM_KEY_SIZE)).n != 0)
        return false;
    memcpy(out, body.p, FAB_SWARM_KEY_SIZE);
    return true;
}

enum fab_rc fab_swarm_key_parse(struct fab_slice text, uint8_t out[FAB_SWARM_KEY_SIZE],
                                struct fab_err *err)
{
    struct fab_slice rest = text, line;
    uint8_t key[FAB_SWARM_KEY_SIZE];
    const char *wanted;
    bool ok;

    if (text.n > FAB_SWARM_KEY_FILE_MAX)
        return fab_err_set(err, FAB_EFORMAT, "swarm key: longer than %d bytes, so not a swarm key",
                           FAB_SWARM_KEY_FILE_MAX);
    if (!cut_line(&rest, &line) || !is_text(line, LINE_1))
        return fab_err_set(err, FAB_EFORMAT, "swarm key: the first line is not " LINE_1);
    if (!cut_line(&rest, &line))
        return fab_err_set(err, FAB_EFORMAT, "swarm key: the second line is missing");
    if (is_text(line, "/base16/")) {
        wanted = "64 hexadecimal digits";
        ok = decode_base16(trim_line_ends(rest), key);
    } else if (is_text(line, "/base64/")) {
        wanted = "32 bytes in base64 with padding";
        ok = decode_base64(trim_line_ends(rest), key);
    } else if (is_text(line, "/bin/")) {
        wanted = "32 bytes";
        ok = decode_bin(rest, key);
    } else {
        return fab_err_set(err, FAB_EFORMAT,
                           "swarm key: the second line is not /base16/, /base64/ or /bin/");
    }
    if (ok)
        memcpy(out, key, sizeof key);
    sodium_memzero(key, sizeof key);
    return ok ? FAB_OK : fab_err_set(err, FAB_EFORMAT, "swarm key: the key is not %s", wanted);
}

size_t fab_swarm_key_text(const uint8_t key[FAB_SWARM_KEY_SIZE], char out[FAB_SWARM_KEY_TEXT_MAX])
{
    static const char head[] = LINE_1 "\n/base16/\n";
    const size_t head_n = sizeof head - 1, digits = 2 * FAB_SWARM_KEY_SIZE;

    _Static_assert(sizeof head + 2 * FAB_SWARM_KEY_SIZE + 1 == FAB_SWARM_KEY_TEXT_MAX, "the text");
    memcpy(out, head, head_n);
    sodium_bin2hex(out + head_n, digits + 1, key, FAB_SWARM_KEY_SIZE);
    out[head_n + digits] = '\n';
    out[head_n + digits + 1] = '\0';
    return head_n + digits + 1;
}

enum fab_rc fab_swarm_key_fingerprint(const uint8_t key[FAB_SWARM_KEY_SIZE],
                                      char out[FAB_SWARM_KEY_FINGERPRINT_SIZE])
{
    static const uint8_t nonce[] = {'f', 'i', 'n', 'p', 'r', 'i', 'n', 't'};
    uint8_t stream[64], digest[16];
    enum fab_rc rc = FAB_OK;

    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    crypto_stream_salsa20(stream, sizeof stream, nonce, key);
    if (!ctx || EVP_DigestInit_ex(ctx, EVP_shake128(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, stream, sizeof stream) != 1 ||
        EVP_DigestFinalXOF(ctx, digest, sizeof digest) != 1)
        rc = FAB_ENOMEM;
    else
        sodium_bin2hex(out, FAB_SWARM_KEY_FINGERPRINT_SIZE, digest, sizeof digest);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    sodium_memzero(stream, sizeof stream);
    return rc;
}
