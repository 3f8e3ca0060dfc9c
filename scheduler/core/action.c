#include "scheduler/core/action.h"

#include "storage/dag/dag_cbor.h"
#include "storage/dag/utf8.h"

#include <stdlib.h>
#include <string.h>

void fab_action_fini(struct fab_action *a)
{
    for (size_t i = 0; i < a->n_args; i++)
        free(a->args[i]);
    for (size_t i = 0; i < a->n_env; i++) {
        free(a->env[i].name);
        free(a->env[i].value);
    }
    for (size_t i = 0; i < a->n_inputs; i++)
        free(a->inputs[i].name);
    free(a->args);
    free(a->env);
    free(a->inputs);
    *a = (struct fab_action){0};
}

static struct fab_slice text_slice(const char *text)
{
    return fab_slice(text, strlen(text));
}

static bool is_text(const char *text)
{
    return fab_utf8_valid(text_slice(text));
}

/* Where `name` is or belongs among n sorted entries of `size` bytes that begin with a char *. */
static size_t place(const void *base, size_t n, size_t size, const char *name, bool *there)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const char *at = *(char *const *)((const char *)base + middle * size);
        int order = fab_cbor_key_cmp(text_slice(at), text_slice(name));
        if (order == 0) {
            *there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *there = false;
    return low;
}

enum fab_rc fab_action_add_arg(struct fab_action *a, const char *text)
{
    if (!is_text(text))
        return FAB_EINVAL;
    if (a->n_args == FAB_ACTION_ARGS_MAX)
        return FAB_ELIMIT;
    char **args = realloc(a->args, (a->n_args + 2) * sizeof *args);
    if (!args)
        return FAB_ENOMEM;
    a->args = args;
    args[a->n_args] = strdup(text);
    if (!args[a->n_args])
        return FAB_ENOMEM;
    args[++a->n_args] = NULL;
    return FAB_OK;
}

enum fab_rc fab_action_set_env(struct fab_action *a, const char *name, const char *value)
{
    if (!*name || strchr(name, '=') || !is_text(name) || !is_text(value))
        return FAB_EINVAL;
    bool there;
    size_t i = place(a->env, a->n_env, sizeof *a->env, name, &there);
    char *copy = strdup(value);
    if (!copy)
        return FAB_ENOMEM;
    if (there) {
        free(a->env[i].value);
        a->env[i].value = copy;
        return FAB_OK;
    }
    char *key = strdup(name);
    struct fab_action_env *env = NULL;
    enum fab_rc rc = a->n_env == FAB_ACTION_ENV_MAX ? FAB_ELIMIT : FAB_ENOMEM;
    if (rc != FAB_ELIMIT)
        env = realloc(a->env, (a->n_env + 1) * sizeof *env);
    if (env)
        a->env = env;
    if (!env || !key) {
        free(copy);
        free(key);
        return rc;
    }
    memmove(env + i + 1, env + i, (a->n_env - i) * sizeof *env);
    env[i] = (struct fab_action_env){key, copy};
    a->n_env++;
    return FAB_OK;
}

enum fab_rc fab_action_add_input(struct fab_action *a, const char *name, const struct fab_cid *cid)
{
    if (!*name || strchr(name, '/') || !is_text(name))
        return FAB_EINVAL;
    bool there;
    size_t i = place(a->inputs, a->n_inputs, sizeof *a->inputs, name, &there);
    if (there)
        return FAB_EEXIST;
    if (a->n_inputs == FAB_ACTION_INPUTS_MAX)
        return FAB_ELIMIT;
    struct fab_action_input *inputs = realloc(a->inputs, (a->n_inputs + 1) * sizeof *inputs);
    if (!inputs)
        return FAB_ENOMEM;
    a->inputs = inputs;
    char *key = strdup(name);
    if (!key)
        return FAB_ENOMEM;
    memmove(inputs + i + 1, inputs + i, (a->n_inputs - i) * sizeof *inputs);
    inputs[i] = (struct fab_action_input){key, *cid};
    a->n_inputs++;
    return FAB_OK;
}

/* ---- the block ---- */

static enum fab_rc put_base(const struct fab_action *a, struct fab_buf *b)
{
    FAB_TRY(fab_cbor_put_map(b, 8));
    FAB_TRY(fab_cbor_put_str(b, "v"));
    FAB_TRY(fab_cbor_put_uint(b, FAB_ACTION_VERSION));
    FAB_TRY(fab_cbor_put_str(b, "env"));
    FAB_TRY(fab_cbor_put_map(b, a->n_env));
    for (size_t i = 0; i < a->n_env; i++) {
        FAB_TRY(fab_cbor_put_str(b, a->env[i].name));
        FAB_TRY(fab_cbor_put_str(b, a->env[i].value));
    }
    FAB_TRY(fab_cbor_put_str(b, "out"));
    FAB_TRY(fab_cbor_put_array(b, 1));
    FAB_TRY(fab_cbor_put_str(b, "out"));
    FAB_TRY(fab_cbor_put_str(b, "arch"));
    return fab_cbor_put_str(b, a->arch);
}

static enum fab_rc put_inputs(const struct fab_action *a, struct fab_buf *b)
{
    FAB_TRY(fab_cbor_put_str(b, "inputs"));
    FAB_TRY(fab_cbor_put_map(b, a->n_inputs));
    for (size_t i = 0; i < a->n_inputs; i++) {
        FAB_TRY(fab_cbor_put_str(b, a->inputs[i].name));
        FAB_TRY(fab_cbor_put_cid(b, &a->inputs[i].cid));
    }
    return FAB_OK;
}

enum fab_rc fab_action_encode(const struct fab_action *a, struct fab_buf *b, struct fab_cid *cid)
{
    if (a->n_args == 0)
        return FAB_EINVAL;
    size_t start = b->len;
    FAB_TRY(put_base(a, b));
    if (a->has_image) {
        FAB_TRY(fab_cbor_put_str(b, "image"));
        FAB_TRY(fab_cbor_put_cid(b, &a->image));
    }
    FAB_TRY(put_inputs(a, b));
    if (!a->has_image) {
        FAB_TRY(fab_cbor_put_str(b, "system"));
        FAB_TRY(fab_cbor_put_bytes(b, fab_slice(a->system, sizeof a->system)));
    }
    FAB_TRY(fab_cbor_put_str(b, "command"));
    FAB_TRY(fab_cbor_put_array(b, a->n_args));
    for (size_t i = 0; i < a->n_args; i++)
        FAB_TRY(fab_cbor_put_str(b, a->args[i]));
    FAB_TRY(fab_cbor_put_str(b, "network"));
    FAB_TRY(fab_cbor_put_str(b, a->network_host ? "host" : "none"));
    if (b->len - start > FAB_ACTION_BYTES_MAX)
        return FAB_ELIMIT;
    return fab_cid_of(1, FAB_CODEC_DAG_CBOR, FAB_MH_SHA2_256,
                      fab_slice(b->data + start, b->len - start), cid);
}

static bool is(struct fab_slice s, const char *text)
{
    return fab_slice_eq(s, text_slice(text));
}

/* Read text as a new C string; a NUL inside is malformed. */
static enum fab_rc read_string(struct fab_reader *r, char **out)
{
    struct fab_slice s;
    FAB_TRY(fab_cbor_read_text(r, &s));
    if (s.n && memchr(s.p, 0, s.n))
        return FAB_EFORMAT;
    char *copy = malloc(s.n + 1);
    if (!copy)
        return FAB_ENOMEM;
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    *out = copy;
    return FAB_OK;
}

static enum fab_rc read_key_string(struct fab_reader *r, struct fab_cbor_map *map, char **out)
{
    struct fab_slice key;
    FAB_TRY(fab_cbor_read_key(r, map, &key));
    if (key.n && memchr(key.p, 0, key.n))
        return FAB_EFORMAT;
    *out = strndup(key.n ? (const char *)key.p : "", key.n);
    return *out ? FAB_OK : FAB_ENOMEM;
}

static enum fab_rc read_env(struct fab_reader *r, struct fab_action *a)
{
    struct fab_cbor_map map;
    FAB_TRY(fab_cbor_read_map(r, &map));
    while (map.left) {
        char *name = NULL, *value = NULL;
        enum fab_rc rc = read_key_string(r, &map, &name);
        if (rc == FAB_OK)
            rc = read_string(r, &value);
        if (rc == FAB_OK)
            rc = fab_action_set_env(a, name, value);
        free(name);
        free(value);
        FAB_TRY(rc);
    }
    return FAB_OK;
}

static enum fab_rc read_inputs(struct fab_reader *r, struct fab_action *a)
{
    struct fab_cbor_map map;
    FAB_TRY(fab_cbor_read_map(r, &map));
    while (map.left) {
        char *name = NULL;
        struct fab_cid cid;
        enum fab_rc rc = read_key_string(r, &map, &name);
        if (rc == FAB_OK)
            rc = fab_cbor_read_cid(r, &cid);
        if (rc == FAB_OK)
            rc = fab_action_add_input(a, name, &cid);
        free(name);
        FAB_TRY(rc);
    }
    return FAB_OK;
}

static enum fab_rc read_command(struct fab_reader *r, struct fab_action *a)
{
    size_t n;
    FAB_TRY(fab_cbor_read_array(r, &n));
    if (n == 0)
        return FAB_EFORMAT;
    while (n--) {
        char *text = NULL;
        enum fab_rc rc = read_string(r, &text);
        if (rc == FAB_OK)
            rc = fab_action_add_arg(a, text);
        free(text);
        FAB_TRY(rc);
    }
    return FAB_OK;
}

static enum fab_rc read_field(struct fab_reader *r, struct fab_slice key, struct fab_action *a)
{
    struct fab_slice s;
    if (is(key, "v")) {
        uint64_t v;
        FAB_TRY(fab_cbor_read_uint(r, &v));
        return v == FAB_ACTION_VERSION ? FAB_OK : FAB_EUNSUPPORTED;
    }
    if (is(key, "env"))
        return read_env(r, a);
    if (is(key, "inputs"))
        return read_inputs(r, a);
    if (is(key, "command"))
        return read_command(r, a);
    if (is(key, "image")) {
        a->has_image = true;
        return fab_cbor_read_cid(r, &a->image);
    }
    if (is(key, "system")) {
        FAB_TRY(fab_cbor_read_bytes(r, &s));
        if (s.n != sizeof a->system)
            return FAB_EFORMAT;
        memcpy(a->system, s.p, s.n);
        return FAB_OK;
    }
    if (is(key, "arch") || is(key, "network")) {
        FAB_TRY(fab_cbor_read_text(r, &s));
        if (is(key, "network")) {
            a->network_host = is(s, "host");
            return FAB_OK;
        }
        if (s.n >= sizeof a->arch || (s.n && memchr(s.p, 0, s.n)))
            return FAB_EFORMAT;
        memcpy(a->arch, s.p, s.n);
        a->arch[s.n] = '\0';
        return FAB_OK;
    }
    return fab_cbor_skip(r);
}

/* Whatever is missing, unknown, doubled or of another value shows in the bytes that come out again.
 */
static enum fab_rc check_same(struct fab_slice block, const struct fab_action *a)
{
    struct fab_buf again;
    struct fab_cid cid;
    fab_buf_init(&again, block.n + 1024);
    enum fab_rc rc = fab_action_encode(a, &again, &cid);
    if (rc == FAB_ELIMIT || rc == FAB_EINVAL)
        rc = FAB_EFORMAT;
    if (rc == FAB_OK && !fab_slice_eq(fab_buf_slice(&again), block))
        rc = FAB_EFORMAT;
    fab_buf_fini(&again);
    return rc;
}

enum fab_rc fab_action_decode(struct fab_slice block, struct fab_action *out)
{
    struct fab_action a = {0};
    struct fab_reader r = fab_reader(block);
    struct fab_cbor_map map;
    if (block.n > FAB_ACTION_BYTES_MAX)
        return FAB_ELIMIT;
    enum fab_rc rc = fab_cbor_read_map(&r, &map);
    while (rc == FAB_OK && map.left) {
        struct fab_slice key;
        rc = fab_cbor_read_key(&r, &map, &key);
        if (rc == FAB_OK)
            rc = read_field(&r, key, &a);
    }
    if (rc == FAB_EINVAL || rc == FAB_EEXIST)
        rc = FAB_EFORMAT;
    if (rc == FAB_OK)
        rc = fab_cbor_read_end(&r);
    if (rc == FAB_OK)
        rc = check_same(block, &a);
    if (rc != FAB_OK) {
        fab_action_fini(&a);
        return rc;
    }
    *out = a;
    return FAB_OK;
}
