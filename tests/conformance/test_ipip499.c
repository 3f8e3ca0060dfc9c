/* The vectors of IPIP-0499's profiles, as Kubo's own tests hold them. The two of 1 GiB are in
 * test_ipip499_large.c. */
#include "tests/support/dag_fixture.h"

#include "storage/dag/dir_builder.h"

struct file_vector {
    const char *profile, *seed;
    uint64_t size;
    const char *cid;
};

static const struct file_vector files[] = {
    {"unixfs-v1-2025", "chunk-v1-seed", 1048576,
     "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"},
    {"unixfs-v1-2025", "chunk-v1-seed", 1048577,
     "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"},
    {"unixfs-v0-2015", "chunk-v0-seed", 262144, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"},
    {"unixfs-v0-2015", "chunk-v0-seed", 262145, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"},
    {"legacy-cid-v0", "v0-seed", 174 * 262144, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"},
    {"legacy-cid-v0", "v0-seed", 174 * 262144 + 1,
     "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW"},
};

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const struct fab_profile *profile = fab_profile_find(files[i].profile);
        assert_non_null(profile);
        struct fab_chunker chunker = fab_chunker_size(profile->chunk_size);
        struct fab_dag_entry e = import_seeded(profile, &chunker, files[i].seed, files[i].size);
        assert_cid(&e.cid, files[i].cid);
        assert_int_equal(e.size, files[i].size);
    }
}

static void test_hello(void **state)
{
    (void)state;
    struct fab_slice hello = fab_slice("hello world", 11);
    struct fab_dag_entry e = import_slice(fab_profile_default(), NULL, NULL, hello);
    assert_cid(&e.cid, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
    e = import_slice(fab_profile_find("unixfs-v0-2015"), NULL, NULL, hello);
    assert_cid(&e.cid, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD");
}

struct dir_vector {
    const char *profile, *seed;
    unsigned files, name_len, last_len;
    const char *cid;
};

static const struct dir_vector dirs[] = {
    {"unixfs-v1-2025", "hamt-unixfs-v1-2025", 4766, 11, 21,
     "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"},
    {"unixfs-v1-2025", "hamt-unixfs-v1-2025", 4766, 11, 22,
     "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"},
    {"unixfs-v0-2015", "hamt-unixfs-v0-2015", 4096, 30, 30,
     "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"},
    {"unixfs-v0-2015", "hamt-unixfs-v0-2015", 4033, 31, 31,
     "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"},
};

/* Names are the seed's bytes, each as a letter of Kubo's test alphabet; every file holds "x". */
static void test_directories(void **state)
{
    (void)state;
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz01234567890-_";
    uint8_t *random = malloc(1 << 20);
    assert_non_null(random);
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        const struct dir_vector *v = &dirs[i];
        const struct fab_profile *profile = fab_profile_find(v->profile);
        struct fab_block_sink none = {0};
        struct fab_dir_builder *builder;
        struct fab_dag_entry file, dir;
        struct seeded seeded;
        size_t used = 0;
        seeded_init(&seeded, v->seed);
        seeded_bytes(&seeded, random, 1 << 20);
        file = import_slice(profile, NULL, NULL, fab_slice("x", 1));
        assert_ok(fab_dir_builder_new(profile, 0, &builder));
        for (unsigned f = 0; f < v->files; f++) {
            unsigned len = f + 1 == v->files ? v->last_len : v->name_len;
            uint8_t *name = random + used;
            used += len;
            for (unsigned k = 0; k < len; k++)
                name[k] = (uint8_t)alphabet[name[k] % (sizeof alphabet - 1)];
            assert_ok(fab_dir_builder_add(builder, fab_slice(name, len), &file.cid, file.tsize));
        }
        assert_ok(fab_dir_builder_finish(builder, NULL, &none, &dir));
        assert_cid(&dir.cid, v->cid);
        assert_int_equal(dir.size, v->files);
        fab_dir_builder_free(builder);
    }
    free(random);
}

static void test_empty_directory(void **state)
{
    (void)state;
    struct fab_block_sink none = {0};
    struct fab_dir_builder *builder;
    struct fab_dag_entry dir;
    assert_ok(fab_dir_builder_new(fab_profile_default(), 0, &builder));
    assert_ok(fab_dir_builder_finish(builder, NULL, &none, &dir));
    assert_cid(&dir.cid, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
    assert_int_equal(dir.tsize, 4);
    fab_dir_builder_free(builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_empty_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
