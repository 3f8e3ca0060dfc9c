/* SHA goes through OpenSSL's EVP. Fetching an algorithm and making a context cost more than hashing
 * a small block, so the algorithms are fetched once per process and a context is kept per thread.
 */
#include "storage/multiformats/multihash.h"

#include "storage/multiformats/varint.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256_md, *sha512_md;
static pthread_key_t ctx_key;
static bool have_key;
static _Thread_local EVP_MD_CTX *thread_ctx;

static void free_ctx(void *ctx)
{
    EVP_MD_CTX_free(ctx);
    thread_ctx = NULL;
}

static void setup(void)
{
    sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha512_md = EVP_MD_fetch(NULL, "SHA512", NULL);
    have_key = pthread_key_create(&ctx_key, free_ctx) == 0;
}

static enum fab_rc get_ctx(EVP_MD_CTX **out)
{
    if (!thread_ctx) {
        pthread_once(&once, setup);
        if (!have_key || !sha256_md || !sha512_md)
            return FAB_ENOMEM;
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        if (!ctx)
            return FAB_ENOMEM;
        /* The key frees the context when the thread ends. */
        if (pthread_setspecific(ctx_key, ctx)) {
            EVP_MD_CTX_free(ctx);
            return FAB_ENOMEM;
        }
        thread_ctx = ctx;
    }
    *out = thread_ctx;
    return FAB_OK;
}

static enum fab_rc evp_digest(bool wide, struct fab_slice data, uint8_t *out)
{
    EVP_MD_CTX *ctx;
    FAB_TRY(get_ctx(&ctx));
    if (EVP_DigestInit_ex2(ctx, wide ? sha512_md : sha256_md, NULL) != 1 ||
        EVP_DigestUpdate(ctx, data.p, data.n) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        return FAB_ENOMEM;
    return FAB_OK;
}

enum fab_rc fab_sha256(struct fab_slice data, uint8_t out[32])
{
    return evp_digest(false, data, out);
}

enum fab_rc fab_mh_digest(uint64_t code, struct fab_slice data, uint8_t out[FAB_DIGEST_MAX],
                          size_t *n)
{
    switch (code) {
    case FAB_MH_SHA2_256:
        FAB_TRY(evp_digest(false, data, out));
        *n = 32;
        return FAB_OK;
    case FAB_MH_SHA2_512:
        FAB_TRY(evp_digest(true, data, out));
        *n = 64;
        return FAB_OK;
    case FAB_MH_BLAKE2B_256:
        if (crypto_generichash(out, 32, data.p, data.n, NULL, 0) != 0)
            return FAB_ENOMEM;
        *n = 32;
        return FAB_OK;
    case FAB_MH_IDENTITY:
        if (data.n > FAB_DIGEST_MAX)
            return FAB_ELIMIT;
        if (data.n)
            memcpy(out, data.p, data.n);
        *n = data.n;
        return FAB_OK;
    default:
        return FAB_EUNSUPPORTED;
    }
}

size_t fab_mh_put(uint64_t code, struct fab_slice digest, uint8_t out[FAB_MH_MAX])
{
    size_t n = fab_varint_put(code, out);
    n += fab_varint_put(digest.n, out + n);
    if (digest.n)
        memcpy(out + n, digest.p, digest.n);
    return n + digest.n;
}

enum fab_rc fab_mh_read(struct fab_reader *r, uint64_t *code, struct fab_slice *digest,
                        struct fab_slice *whole)
{
    struct fab_reader in = *r;
    uint64_t c, len;
    struct fab_slice d;
    FAB_TRY(fab_varint_read(&in, &c));
    FAB_TRY(fab_varint_read(&in, &len));
    if (len > FAB_DIGEST_MAX)
        return FAB_ELIMIT;
    FAB_TRY(fab_read_bytes(&in, (size_t)len, &d));
    if (code)
        *code = c;
    if (digest)
        *digest = d;
    if (whole)
        *whole = fab_slice(r->p, (size_t)(in.p - r->p));
    *r = in;
    return FAB_OK;
}
