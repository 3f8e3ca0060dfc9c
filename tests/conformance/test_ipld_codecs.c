/* Every case of ipld_codecs.txt: what has to decode, encode back, convert and be refused. */
#include "storage/dag/dag_cbor.h"
#include "storage/dag/dag_json.h"
#include "storage/dag/dag_pb.h"
#include "storage/dag/ipld_codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#define FIELDS_MAX 5
#define SAME_MAX   4 /* codecs of one value */

struct block {
    uint64_t codec;
    const char *cid;
    uint8_t *data;
    size_t n;
};

struct value {
    const char *name;
    struct block blocks[SAME_MAX];
    size_t n;
};

static char *text; /* the whole table, cut up in place */

static uint64_t codec_of(const char *name)
{
    if (strcmp(name, "dag-pb") == 0)
        return FAB_CODEC_DAG_PB;
    if (strcmp(name, "dag-cbor") == 0)
        return FAB_CODEC_DAG_CBOR;
    if (strcmp(name, "dag-json") == 0)
        return FAB_CODEC_DAG_JSON;
    fail_msg("unknown codec %s", name);
    return 0;
}

static uint8_t *unhex(const char *hex, size_t *n)
{
    size_t len = strcmp(hex, "-") ? strlen(hex) / 2 : 0;
    uint8_t *out = malloc(len ? len : 1);
    assert_non_null(out);
    for (size_t i = 0; i < len; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    *n = len;
    return out;
}

static int read_table(void **state)
{
    (void)state;
    FILE *f = fopen(TEST_SOURCE_DIR "/conformance/ipld_codecs.txt", "r");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    rewind(f);
    assert_true(n > 0);
    text = malloc((size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    text[n] = '\0';
    fclose(f);
    return 0;
}

static int free_table(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    return 0;
}

/* The next line whose first field is `what`, cut at its tabs; the end is NULL. */
static char *next_case(char **at, const char *what, char *fields[FIELDS_MAX])
{
    while (**at) {
        char *line = *at;
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *at = end + 1;
        if (strncmp(line, what, strlen(what)) || line[strlen(what)] != '\t')
            continue;
        *end = '\0';
        for (size_t i = 0; i < FIELDS_MAX; i++) {
            fields[i] = line;
            line = line ? strchr(line, '\t') : NULL;
            if (line)
                *line++ = '\0';
        }
        return fields[0];
    }
    return NULL;
}

static void check_same(const char *name, const char *what, const struct fab_buf *b,
                       const struct block *block)
{
    if (!fab_slice_eq(fab_buf_slice(b), fab_slice(block->data, block->n)))
        fail_msg("%s: %s differs", name, what);
}

/* The dag-pb reader and writer without a tree. */
static void check_pb(const char *name, const struct block *block)
{
    struct fab_pb_node node;
    struct fab_pb_link link;
    struct fab_buf b;
    size_t links = 0;
    assert_int_equal(fab_pb_decode(fab_slice(block->data, block->n), &node), FAB_OK);
    fab_buf_init(&b, FAB_BLOCK_MAX);
    struct fab_pb_links it = fab_pb_links(&node);
    for (; fab_pb_links_next(&it, &link); links++) {
        size_t before = b.len;
        assert_int_equal(fab_pb_append_link(&b, &link), FAB_OK);
        assert_int_equal(b.len - before, fab_pb_link_size(&link));
    }
    assert_int_equal(links, node.links);
    if (node.has_data) {
        size_t before = b.len;
        assert_int_equal(fab_pb_append_data(&b, node.data), FAB_OK);
        assert_int_equal(b.len - before, fab_pb_data_size(node.data.n));
    }
    check_same(name, "dag-pb written link by link", &b, block);
    fab_buf_fini(&b);
}

static void check_cid(const char *name, const struct block *block)
{
    struct fab_cid want, got;
    char cid_text[FAB_CID_TEXT_MAX];
    struct fab_slice data = fab_slice(block->data, block->n);
    assert_int_equal(fab_cid_from_text(block->cid, strlen(block->cid), &want), FAB_OK);
    assert_int_equal(want.codec, block->codec);
    assert_int_equal(fab_cid_of(want.version, want.codec, fab_cid_mh_code(&want), data, &got),
                     FAB_OK);
    if (!fab_cid_eq(&want, &got))
        fail_msg("%s: another CID than %s", name, block->cid);
    assert_int_equal(fab_cid_check(&want, data), FAB_OK);
    fab_cid_text(&got, cid_text);
    assert_string_equal(cid_text, block->cid);
}

/* Decode one block and encode the tree into every codec of the value. */
static void check_conversions(const struct value *value, const struct block *from)
{
    struct fab_ipld tree;
    struct fab_ipld_node *root;
    struct fab_slice data = fab_slice(from->data, from->n);
    fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
    enum fab_rc rc = fab_ipld_decode(&tree, from->codec, data, &root);
    if (rc == FAB_OK && from->codec == FAB_CODEC_DAG_JSON)
        rc = fab_json_decode(&tree, data, FAB_JSON_CANONICAL, &root);
    if (rc == FAB_OK && from->codec == FAB_CODEC_DAG_CBOR)
        rc = fab_cbor_validate(data);
    if (rc != FAB_OK)
        fail_msg("%s: %s is refused: %s", value->name, from->cid, fab_rc_text(rc));
    for (size_t i = 0; i < value->n; i++) {
        struct fab_buf b;
        fab_buf_init(&b, FAB_BLOCK_MAX);
        rc = fab_ipld_encode(&b, value->blocks[i].codec, root);
        if (rc != FAB_OK)
            fail_msg("%s: %s as %s: %s", value->name, from->cid, value->blocks[i].cid,
                     fab_rc_text(rc));
        check_same(value->name, value->blocks[i].cid, &b, &value->blocks[i]);
        fab_buf_fini(&b);
    }
    fab_ipld_fini(&tree);
}

static void check_value(struct value *value)
{
    for (size_t i = 0; i < value->n; i++) {
        check_cid(value->name, &value->blocks[i]);
        check_conversions(value, &value->blocks[i]);
        if (value->blocks[i].codec == FAB_CODEC_DAG_PB)
            check_pb(value->name, &value->blocks[i]);
    }
    for (size_t i = 0; i < value->n; i++)
        free(value->blocks[i].data);
    value->n = 0;
}

static void test_values(void **state)
{
    (void)state;
    char *at = text, *f[FIELDS_MAX];
    struct value value = {.name = ""};
    size_t blocks = 0;
    while (next_case(&at, "value", f)) {
        assert_non_null(f[4]);
        if (strcmp(value.name, f[1]))
            check_value(&value);
        assert_true(value.n < SAME_MAX);
        value.name = f[1];
        struct block *block = &value.blocks[value.n++];
        *block = (struct block){.codec = codec_of(f[2]), .cid = f[3]};
        block->data = unhex(f[4], &block->n);
        blocks++;
    }
    check_value(&value);
    assert_int_equal(blocks, 273);
}

static enum fab_rc count_link(void *arg, const struct fab_cid *link)
{
    (void)link;
    ++*(size_t *)arg;
    return FAB_OK;
}

static void test_refused_blocks(void **state)
{
    (void)state;
    char *at = text, *f[FIELDS_MAX];
    size_t cases = 0;
    for (; next_case(&at, "refuse", f); cases++) {
        struct fab_ipld tree;
        struct fab_ipld_node *root;
        size_t n, links = 0;
        assert_non_null(f[3]);
        uint8_t *data = unhex(f[2], &n);
        uint64_t codec = codec_of(f[1]);
        fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
        if (fab_ipld_decode(&tree, codec, fab_slice(data, n), &root) != FAB_EFORMAT)
            fail_msg("decoded: %s", f[3]);
        if (fab_dag_links(codec, fab_slice(data, n), count_link, &links) != FAB_EFORMAT)
            fail_msg("walked: %s", f[3]);
        fab_ipld_fini(&tree);
        free(data);
    }
    assert_int_equal(cases, 11);
}

static void test_refused_forms(void **state)
{
    (void)state;
    char *at = text, *f[FIELDS_MAX];
    size_t cases = 0;
    for (; next_case(&at, "unform", f); cases++) {
        struct fab_ipld tree;
        struct fab_ipld_node *root;
        struct fab_buf b;
        size_t n;
        assert_non_null(f[3]);
        uint8_t *data = unhex(f[2], &n);
        fab_ipld_init(&tree, FAB_IPLD_TREE_MAX);
        fab_buf_init(&b, FAB_BLOCK_MAX);
        if (fab_json_decode(&tree, fab_slice(data, n), FAB_JSON_ANY, &root) != FAB_OK)
            fail_msg("not dag-json: %s", f[3]);
        if (fab_ipld_encode(&b, codec_of(f[1]), root) != FAB_EINVAL)
            fail_msg("encoded: %s", f[3]);
        fab_buf_fini(&b);
        fab_ipld_fini(&tree);
        free(data);
    }
    assert_int_equal(cases, 78);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, read_table, free_table),
        cmocka_unit_test_setup_teardown(test_refused_blocks, read_table, free_table),
        cmocka_unit_test_setup_teardown(test_refused_forms, read_table, free_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
