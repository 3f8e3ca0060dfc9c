/* Swarm keys, admission and the peer book, over a real store. */
#include "fabric/node/keyring.h"

#include "storage/multiformats/multiaddr.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1700000000

struct fixture {
    char home[64];
    struct fab_store *store;
    struct fab_key *identity;
    struct fab_keyring *ring;
    uint32_t ws, other;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct fab_workspace_info info;
    struct fab_err err = {0};
    char dir[80];
    assert_non_null(f);
    snprintf(f->home, sizeof f->home, "/tmp/fabric-keyring-XXXXXX");
    assert_non_null(mkdtemp(f->home));
    snprintf(dir, sizeof dir, "%s/store", f->home);
    if (fab_store_open(dir, NULL, &f->store, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(fab_workspace_find(f->store, "lab", true, &info, &err), FAB_OK);
    f->ws = info.id;
    assert_int_equal(fab_workspace_find(f->store, "other", true, &info, &err), FAB_OK);
    f->other = info.id;
    assert_int_equal(fab_key_generate(&f->identity), FAB_OK);
    assert_int_equal(fab_keyring_new(f->store, f->identity, &f->ring, &err), FAB_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fab_keyring_free(f->ring);
    fab_key_free(f->identity);
    fab_store_close(f->store);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", f->home, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    free(f);
    return 0;
}

/* ---- keys ---- */

static enum fab_rc add(struct fixture *f, uint32_t ws, uint8_t fill, int64_t now, uint32_t *number)
{
    uint8_t key[FAB_SWARM_KEY_SIZE];
    struct fab_err err = {0};
    memset(key, fill, sizeof key);
    enum fab_rc rc = fab_keyring_add(f->ring, ws, key, now, number, &err);
    assert_true((rc != FAB_OK) == (err.msg[0] != 0));
    return rc;
}

/* The epochs as text: "number:first byte of the key" or with "*" when it was replaced. */
static const char *epochs(struct fixture *f, uint32_t ws, int64_t now)
{
    static char text[256];
    struct fab_epoch list[FAB_KEY_EPOCHS_MAX];
    struct fab_err err = {0};
    size_t n = 99, at = 0;
    text[0] = 0;
    if (fab_keyring_epochs(f->ring, ws, now, list, &n, &err) != FAB_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < FAB_SWARM_KEY_SIZE; j++)
            assert_int_equal(list[i].key[j], list[i].key[0]);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%u:%u%s", i ? " " : "",
                               list[i].number, list[i].key[0], list[i].replaced ? "*" : "");
    }
    return text;
}

static void keys_have_epochs(void **state)
{
    struct fixture *f = *state;
    struct fab_epoch list[FAB_KEY_EPOCHS_MAX];
    uint32_t number = 0;
    size_t n;
    assert_string_equal(epochs(f, f->ws, NOW), "");
    assert_int_equal(add(f, f->ws, 10, NOW, &number), FAB_OK);
    assert_int_equal(number, 1);
    assert_string_equal(epochs(f, f->ws, NOW), "1:10");
    assert_int_equal(add(f, f->ws, 11, NOW + 5, &number), FAB_OK);
    assert_int_equal(number, 2);
    assert_string_equal(epochs(f, f->ws, NOW + 5), "2:11 1:10*");
    assert_int_equal(fab_keyring_epochs(f->ring, f->ws, NOW + 5, list, &n, NULL), FAB_OK);
    assert_int_equal(list[0].created, NOW + 5);
    assert_int_equal(list[0].replaced, 0);
    assert_int_equal(list[1].created, NOW);
    assert_int_equal(list[1].replaced, NOW + 5);
    assert_string_equal(epochs(f, f->other, NOW), ""); /* no workspace sees another's */
    assert_int_equal(add(f, f->other, 11, NOW, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->other, NOW), "1:11");
}

static void the_newest_key_again_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t number = 77;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 10, NOW + 1, &number), FAB_EEXIST);
    assert_int_equal(number, 77);
    assert_string_equal(epochs(f, f->ws, NOW + 1), "1:10");
}

static void an_older_key_becomes_the_newest_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 11, NOW + 1, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 10, NOW + 2, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, NOW + 2), "3:10 2:11*");
}

static void epochs_retire(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, NOW + 100 * (int64_t)FAB_KEY_GRACE_S), "1:10");
    assert_int_equal(add(f, f->ws, 11, NOW + 1000, NULL), FAB_OK);
    int64_t end = NOW + 1000 + FAB_KEY_GRACE_S;
    assert_string_equal(epochs(f, f->ws, end - 1), "2:11 1:10*");
    assert_string_equal(epochs(f, f->ws, end), "2:11");
    assert_string_equal(epochs(f, f->ws, NOW - 1000), "2:11 1:10*"); /* the clock was set back */
    assert_int_equal(add(f, f->ws, 12, end, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, end), "3:12 2:11*");
    assert_string_equal(epochs(f, f->ws, NOW), "3:12 2:11*"); /* the retired one is really gone */
}

static void epochs_have_a_limit(void **state)
{
    struct fixture *f = *state;
    for (uint8_t i = 1; i <= FAB_KEY_EPOCHS_MAX; i++)
        assert_int_equal(add(f, f->ws, i, NOW + i, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, NOW + 8), "8:8 7:7* 6:6* 5:5* 4:4* 3:3* 2:2* 1:1*");
    assert_int_equal(add(f, f->ws, 9, NOW + 9, NULL), FAB_ELIMIT);
    assert_string_equal(epochs(f, f->ws, NOW + 9), "8:8 7:7* 6:6* 5:5* 4:4* 3:3* 2:2* 1:1*");
    assert_int_equal(add(f, f->ws, 3, NOW + 9, NULL), FAB_OK); /* no more than before */
    assert_string_equal(epochs(f, f->ws, NOW + 9), "9:3 8:8* 7:7* 6:6* 5:5* 4:4* 2:2* 1:1*");
    assert_int_equal(add(f, f->ws, 9, NOW + 2 + FAB_KEY_GRACE_S, NULL), FAB_OK);
}

static void a_wrong_clock_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add(f, f->ws, 1, 0, NULL), FAB_EINVAL);
    assert_int_equal(add(f, f->ws, 1, -5, NULL), FAB_EINVAL);
    assert_int_equal(add(f, f->ws, 1, INT64_MAX, NULL), FAB_EINVAL);
    assert_string_equal(epochs(f, f->ws, NOW), "");
}

static void another_identity_opens_nothing(void **state)
{
    struct fixture *f = *state;
    struct fab_key *stranger;
    struct fab_keyring *ring;
    struct fab_epoch list[FAB_KEY_EPOCHS_MAX];
    struct fab_err err = {0};
    uint8_t key[FAB_SWARM_KEY_SIZE] = {7};
    size_t n = 99;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    assert_int_equal(fab_key_generate(&stranger), FAB_OK);
    assert_int_equal(fab_keyring_new(f->store, stranger, &ring, NULL), FAB_OK);
    assert_int_equal(fab_keyring_epochs(ring, f->ws, NOW, list, &n, &err), FAB_EACCES);
    assert_int_equal(n, 99);
    assert_non_null(strstr(err.msg, "identity"));
    assert_int_equal(fab_keyring_add(ring, f->ws, key, NOW, NULL, NULL), FAB_EACCES);
    assert_int_equal(fab_keyring_epochs(ring, f->other, NOW, list, &n, NULL), FAB_OK);
    assert_int_equal(n, 0);
    assert_int_equal(fab_keyring_forget(ring, f->ws, NULL), FAB_OK); /* needs no key */
    fab_keyring_free(ring);
    fab_key_free(stranger);
    assert_string_equal(epochs(f, f->ws, NOW), "");
}

/* ---- the table, as another process might leave it ---- */

struct row {
    uint8_t key[64], value[2048];
    size_t key_n, value_n;
};

static enum fab_rc take_row(void *arg, struct fab_slice key, struct fab_slice value)
{
    struct row *row = arg;
    assert_true(key.n <= sizeof row->key && value.n <= sizeof row->value);
    memcpy(row->key, key.p, row->key_n = key.n);
    memcpy(row->value, value.p, row->value_n = value.n);
    return FAB_OK;
}

static struct row last_row(struct fixture *f, const char *table, uint32_t ws)
{
    struct row row = {.key_n = 0};
    uint8_t prefix[4] = {0, 0, 0, (uint8_t)ws};
    assert_int_equal(fab_table_each(f->store, table, fab_slice(prefix, 4), false, take_row, &row),
                     FAB_OK);
    assert_true(row.key_n > 0);
    return row;
}

static void put_row(struct fixture *f, const char *table, const struct row *row)
{
    struct fab_store_batch *batch;
    assert_int_equal(fab_batch_begin(f->store, &batch, NULL), FAB_OK);
    assert_int_equal(fab_batch_put(batch, table, fab_slice(row->key, row->key_n),
                                   fab_slice(row->value, row->value_n)),
                     FAB_OK);
    assert_int_equal(fab_batch_commit(batch, NULL), FAB_OK);
}

static enum fab_rc epochs_rc(struct fixture *f, uint32_t ws)
{
    struct fab_epoch list[FAB_KEY_EPOCHS_MAX];
    size_t n;
    return fab_keyring_epochs(f->ring, ws, NOW, list, &n, NULL);
}

static void changed_rows_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t key[FAB_SWARM_KEY_SIZE] = {3};
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    const struct row good = last_row(f, "swarmkey", f->ws);
    assert_int_equal(good.value_n, 1 + 8 + 8 + 24 + 48);
    for (size_t i = 0; i < good.value_n; i++) { /* every byte is known or sealed */
        struct row row = good;
        row.value[i] ^= 1;
        put_row(f, "swarmkey", &row);
        assert_int_not_equal(epochs_rc(f, f->ws), FAB_OK);
        assert_int_not_equal(fab_keyring_add(f->ring, f->ws, key, NOW, NULL, NULL), FAB_OK);
    }
    for (size_t n = 0; n < good.value_n + 2; n++) { /* every other length */
        struct row row = good;
        row.value_n = n;
        put_row(f, "swarmkey", &row);
        assert_int_equal(epochs_rc(f, f->ws), n == good.value_n ? FAB_OK : FAB_EFORMAT);
    }
    put_row(f, "swarmkey", &good);
    assert_string_equal(epochs(f, f->ws, NOW), "1:10");

    struct row moved = good; /* into another workspace, and to another epoch */
    moved.key[3] = (uint8_t)f->other;
    put_row(f, "swarmkey", &moved);
    assert_int_equal(epochs_rc(f, f->other), FAB_EACCES);
    moved = good;
    moved.key[7]--;
    put_row(f, "swarmkey", &moved);
    assert_int_equal(epochs_rc(f, f->ws), FAB_EACCES);
}

static void rows_of_a_wrong_shape_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    const struct row good = last_row(f, "swarmkey", f->ws);
    struct row row = good;
    row.key_n = 9;
    put_row(f, "swarmkey", &row);
    assert_int_equal(epochs_rc(f, f->ws), FAB_EFORMAT);
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, NOW), "");
    row = good;
    memset(row.key + 4, 0xff, 4); /* epoch 0 */
    put_row(f, "swarmkey", &row);
    assert_int_equal(epochs_rc(f, f->ws), FAB_EFORMAT);
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 11, NOW, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 12, NOW, NULL), FAB_OK);
    row = last_row(f, "swarmkey", f->ws); /* an old one alone: none is the newest */
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
    put_row(f, "swarmkey", &row);
    assert_int_equal(epochs_rc(f, f->ws), FAB_EFORMAT);
}

static void the_store_holds_no_key_in_the_clear(void **state)
{
    struct fixture *f = *state;
    uint8_t key[FAB_SWARM_KEY_SIZE];
    randombytes_buf(key, sizeof key);
    assert_int_equal(fab_keyring_add(f->ring, f->ws, key, NOW, NULL, NULL), FAB_OK);
    struct row row = last_row(f, "swarmkey", f->ws);
    assert_null(memmem(row.value, row.value_n, key, 8));
    struct row first = row;
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
    assert_int_equal(fab_keyring_add(f->ring, f->ws, key, NOW, NULL, NULL), FAB_OK);
    row = last_row(f, "swarmkey", f->ws);
    assert_memory_not_equal(row.value + 17, first.value + 17, 24); /* never a nonce twice */
}

/* ---- admission ---- */

static struct fab_peer_id make_peer(uint32_t n)
{
    struct fab_peer_id peer;
    struct fab_key *key;
    uint8_t seed[FAB_KEY_SEED_SIZE] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16)};
    assert_int_equal(fab_key_from_seed(seed, &key), FAB_OK);
    peer = *fab_key_peer_id(key);
    fab_key_free(key);
    return peer;
}

static bool is_admitted(struct fixture *f, uint32_t ws, const struct fab_peer_id *peer)
{
    bool out;
    assert_int_equal(fab_admitted(f->store, ws, peer, &out), FAB_OK);
    return out;
}

static enum fab_rc count_peer(void *arg, const struct fab_peer_id *peer)
{
    size_t *n = arg;
    (*n)++;
    return peer->len > 0 ? FAB_OK : FAB_EFORMAT;
}

static enum fab_rc stop(void *arg, const struct fab_peer_id *peer)
{
    size_t *n = arg;
    (void)peer;
    (*n)++;
    return FAB_EINTERRUPTED;
}

static size_t count_admitted(struct fixture *f, uint32_t ws)
{
    size_t n = 0;
    assert_int_equal(fab_admitted_each(f->store, ws, count_peer, &n), FAB_OK);
    return n;
}

static void admission_has_a_mode(void **state)
{
    struct fixture *f = *state;
    enum fab_admission mode;
    assert_int_equal(fab_admission_get(f->store, f->ws, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_KEY);
    assert_int_equal(fab_admission_set(f->store, f->ws, FAB_ADMIT_LIST, NULL), FAB_OK);
    assert_int_equal(fab_admission_get(f->store, f->ws, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_LIST);
    assert_int_equal(fab_admission_get(f->store, f->other, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_KEY);
    assert_int_equal(fab_admission_set(f->store, f->ws, FAB_ADMIT_KEY, NULL), FAB_OK);
    assert_int_equal(fab_admission_get(f->store, f->ws, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_KEY);
    assert_int_equal(fab_admission_set(f->store, f->ws, (enum fab_admission)2, NULL), FAB_EINVAL);
    const uint8_t bad[][3] = {{1, 2}, {2, 0}, {1, 0, 0}, {1}};
    const size_t bad_n[] = {2, 2, 3, 1};
    for (size_t i = 0; i < 4; i++) {
        struct row row = last_row(f, "admitmode", f->ws);
        memcpy(row.value, bad[i], row.value_n = bad_n[i]);
        put_row(f, "admitmode", &row);
        assert_int_equal(fab_admission_get(f->store, f->ws, &mode), FAB_EFORMAT);
    }
}

static void peers_are_admitted_and_expelled(void **state)
{
    struct fixture *f = *state;
    struct fab_peer_id a = make_peer(1), b = make_peer(2), nobody = {0};
    struct fab_err err = {0};
    size_t n = 0;
    bool out;
    assert_false(is_admitted(f, f->ws, &a));
    assert_int_equal(fab_expel(f->store, f->ws, &a, &err), FAB_ENOENT);
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_OK);
    assert_int_equal(fab_admit(f->store, f->ws, &a, &err), FAB_EEXIST);
    assert_non_null(strstr(err.msg, "12D3KooW"));
    assert_int_equal(fab_admit(f->store, f->ws, &b, NULL), FAB_OK);
    assert_true(is_admitted(f, f->ws, &a) && is_admitted(f, f->ws, &b));
    assert_false(is_admitted(f, f->other, &a));
    assert_int_equal(count_admitted(f, f->ws), 2);
    assert_int_equal(fab_admitted_each(f->store, f->ws, stop, &n), FAB_EINTERRUPTED);
    assert_int_equal(n, 1);
    assert_int_equal(fab_expel(f->store, f->ws, &a, NULL), FAB_OK);
    assert_false(is_admitted(f, f->ws, &a));
    assert_int_equal(count_admitted(f, f->ws), 1);
    assert_int_equal(fab_admit(f->store, f->ws, &nobody, &err), FAB_EINVAL);
    assert_int_equal(fab_expel(f->store, f->ws, &nobody, &err), FAB_EINVAL);
    assert_int_equal(fab_admitted(f->store, f->ws, &nobody, &out), FAB_EINVAL);
}

static void the_list_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct fab_peer_id a = make_peer(1), b = make_peer(2);
    struct row count = {.key = {0, 0, 0, (uint8_t)f->ws}, .key_n = 4, .value = {1}, .value_n = 5};
    count.value[3] = (uint8_t)((FAB_ADMITTED_MAX - 1) >> 8);
    count.value[4] = (uint8_t)((FAB_ADMITTED_MAX - 1) & 0xff);
    put_row(f, "admitted", &count);
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_OK);
    assert_int_equal(fab_admit(f->store, f->ws, &b, NULL), FAB_ELIMIT);
    assert_false(is_admitted(f, f->ws, &b));
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_EEXIST);
    assert_int_equal(fab_expel(f->store, f->ws, &a, NULL), FAB_OK);
    assert_int_equal(fab_admit(f->store, f->ws, &b, NULL), FAB_OK);
    count.value_n = 4;
    put_row(f, "admitted", &count);
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_EFORMAT);
}

static void malformed_lists_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fab_peer_id a = make_peer(1);
    size_t n = 0;
    bool out;
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_OK);
    struct row good = last_row(f, "admitted", f->ws), row = good;
    row.value_n = 2;
    put_row(f, "admitted", &row);
    assert_int_equal(fab_admitted(f->store, f->ws, &a, &out), FAB_EFORMAT);
    assert_int_equal(fab_admitted_each(f->store, f->ws, count_peer, &n), FAB_EFORMAT);
    row.value_n = 1;
    row.value[0] = 9;
    put_row(f, "admitted", &row);
    assert_int_equal(fab_admitted(f->store, f->ws, &a, &out), FAB_EFORMAT);
    put_row(f, "admitted", &good);
    assert_true(is_admitted(f, f->ws, &a));
    row = good;
    row.key_n--; /* no multihash */
    put_row(f, "admitted", &row);
    assert_int_equal(fab_admitted_each(f->store, f->ws, count_peer, &n), FAB_EFORMAT);
}

/* ---- the peer book ---- */

struct seen {
    size_t entries;
    struct fab_peer_id peer;
    int64_t seen;
    char addresses[512]; /* last octets of the addresses, of the entry looked for */
    bool found;
};

static enum fab_rc see(void *arg, const struct fab_book_entry *entry)
{
    struct seen *seen = arg;
    seen->entries++;
    if (!fab_peer_id_eq(&entry->peer, &seen->peer))
        return FAB_OK;
    seen->found = true;
    seen->seen = entry->seen;
    seen->addresses[0] = 0;
    for (size_t i = 0; i < entry->n; i++) {
        size_t at = strlen(seen->addresses);
        assert_int_equal(entry->addresses[i].n, 8);
        snprintf(seen->addresses + at, sizeof seen->addresses - at, "%s%u", i ? " " : "",
                 entry->addresses[i].p[4]);
    }
    return FAB_OK;
}

static struct seen look(struct fixture *f, uint32_t ws, uint32_t peer)
{
    struct seen seen = {.peer = make_peer(peer)};
    assert_int_equal(fab_book_each(f->store, ws, see, &seen), FAB_OK);
    return seen;
}

/* Addresses 127.0.0.FROM ... of n. */
static enum fab_rc put(struct fixture *f, uint32_t peer, int64_t when, unsigned from, size_t n)
{
    uint8_t bytes[FAB_BOOK_ADDRESSES][8];
    struct fab_book_entry entry = {.peer = make_peer(peer), .seen = when, .n = n};
    for (size_t i = 0; i < n; i++) {
        const uint8_t address[8] = {FAB_MA_IP4,          127,        0,  0,
                                    (uint8_t)(from + i), FAB_MA_TCP, 15, 160};
        memcpy(bytes[i], address, 8);
        entry.addresses[i] = fab_slice(bytes[i], 8);
    }
    return fab_book_put(f->store, f->ws, &entry);
}

static void the_book_remembers_addresses(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, NOW, 1, 2), FAB_OK);
    struct seen seen = look(f, f->ws, 1);
    assert_true(seen.found);
    assert_int_equal(seen.entries, 1);
    assert_int_equal(seen.seen, NOW);
    assert_string_equal(seen.addresses, "1 2");
    assert_int_equal(look(f, f->other, 1).entries, 0);
    assert_int_equal(put(f, 1, NOW + 1, 2, 2), FAB_OK); /* the newest first, none twice */
    assert_string_equal(look(f, f->ws, 1).addresses, "2 3 1");
    assert_int_equal(put(f, 1, NOW + 2, 10, 7), FAB_OK); /* the oldest goes */
    assert_string_equal(look(f, f->ws, 1).addresses, "10 11 12 13 14 15 16 2");
}

static void the_book_is_not_written_for_little(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, NOW, 1, 2), FAB_OK);
    assert_int_equal(put(f, 1, NOW + 3599, 2, 1), FAB_OK);
    assert_int_equal(look(f, f->ws, 1).seen, NOW);
    assert_int_equal(put(f, 1, NOW + 3600, 2, 1), FAB_OK);
    assert_int_equal(look(f, f->ws, 1).seen, NOW + 3600);
    assert_string_equal(look(f, f->ws, 1).addresses, "2 1");
    assert_int_equal(put(f, 1, NOW + 3601, 3, 1), FAB_OK);
    assert_string_equal(look(f, f->ws, 1).addresses, "3 2 1");
    assert_int_equal(put(f, 1, NOW, 3, 1), FAB_OK); /* the clock was wrong before */
    assert_int_equal(look(f, f->ws, 1).seen, NOW);
}

static void the_book_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct row row;
    assert_int_equal(put(f, 1, NOW, 1, 1), FAB_OK);
    row = last_row(f, "book", f->ws);
    struct fab_store_batch *batch;
    assert_int_equal(fab_batch_begin(f->store, &batch, NULL), FAB_OK);
    for (uint32_t i = 2; i <= FAB_BOOK_PEERS; i++) { /* peer 500 is the longest unseen */
        struct fab_peer_id peer = make_peer(i);
        memcpy(row.key + 4, peer.mh, peer.len);
        row.value[8] = (uint8_t)(i == 500 ? 0 : 200);
        row.value[7] = (uint8_t)(i == 500 ? 0 : row.value[7] ? row.value[7] : 1);
        assert_int_equal(fab_batch_put(batch, "book", fab_slice(row.key, row.key_n),
                                       fab_slice(row.value, row.value_n)),
                         FAB_OK);
    }
    assert_int_equal(fab_batch_commit(batch, NULL), FAB_OK);
    assert_int_equal(look(f, f->ws, 500).entries, FAB_BOOK_PEERS);
    assert_true(look(f, f->ws, 500).found);
    assert_int_equal(put(f, 5000, NOW, 1, 1), FAB_OK);
    assert_int_equal(look(f, f->ws, 5000).entries, FAB_BOOK_PEERS);
    assert_true(look(f, f->ws, 5000).found);
    assert_false(look(f, f->ws, 500).found);
}

static void the_book_takes_only_what_it_can_read(void **state)
{
    struct fixture *f = *state;
    struct fab_book_entry entry = {.peer = make_peer(1), .seen = NOW, .n = 1};
    const uint8_t bad[] = {FAB_MA_IP4, 127, 0};
    entry.addresses[0] = fab_slice(bad, sizeof bad);
    assert_int_equal(fab_book_put(f->store, f->ws, &entry), FAB_EINVAL);
    entry.n = FAB_BOOK_ADDRESSES + 1;
    assert_int_equal(fab_book_put(f->store, f->ws, &entry), FAB_EINVAL);
    entry.n = 0;
    entry.seen = -1;
    assert_int_equal(fab_book_put(f->store, f->ws, &entry), FAB_EINVAL);
    entry.seen = NOW;
    entry.peer.len = 0;
    assert_int_equal(fab_book_put(f->store, f->ws, &entry), FAB_EINVAL);
    assert_int_equal(look(f, f->ws, 1).entries, 0);
}

static void malformed_entries_of_the_book_are_passed_over(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, 1, NOW, 1, 2), FAB_OK);
    const struct row good = last_row(f, "book", f->ws);
    assert_int_equal(put(f, 2, NOW, 1, 1), FAB_OK);
    for (size_t n = 0; n < good.value_n; n++) {
        struct row row = good;
        row.value_n = n;
        put_row(f, "book", &row);
        assert_int_equal(look(f, f->ws, 1).entries, 1);
        assert_true(look(f, f->ws, 2).found);
    }
    struct row row = good;
    row.value[9] = FAB_BOOK_ADDRESSES + 1; /* more addresses than there may be */
    put_row(f, "book", &row);
    assert_false(look(f, f->ws, 1).found);
    row = good;
    row.value[0] = 2;
    put_row(f, "book", &row);
    assert_false(look(f, f->ws, 1).found);
    row = good;
    row.value[row.value_n++] = 0;
    put_row(f, "book", &row);
    assert_false(look(f, f->ws, 1).found);
    assert_int_equal(put(f, 1, NOW, 5, 1), FAB_OK); /* written anew */
    assert_string_equal(look(f, f->ws, 1).addresses, "5");
}

static void forgetting_takes_one_workspace(void **state)
{
    struct fixture *f = *state;
    struct fab_peer_id a = make_peer(1);
    enum fab_admission mode;
    assert_int_equal(add(f, f->ws, 10, NOW, NULL), FAB_OK);
    assert_int_equal(add(f, f->ws, 11, NOW, NULL), FAB_OK);
    assert_int_equal(add(f, f->other, 12, NOW, NULL), FAB_OK);
    assert_int_equal(fab_admit(f->store, f->ws, &a, NULL), FAB_OK);
    assert_int_equal(fab_admit(f->store, f->other, &a, NULL), FAB_OK);
    assert_int_equal(fab_admission_set(f->store, f->ws, FAB_ADMIT_LIST, NULL), FAB_OK);
    assert_int_equal(fab_admission_set(f->store, f->other, FAB_ADMIT_LIST, NULL), FAB_OK);
    assert_int_equal(put(f, 1, NOW, 1, 1), FAB_OK);
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
    assert_string_equal(epochs(f, f->ws, NOW), "");
    assert_int_equal(count_admitted(f, f->ws), 0);
    assert_int_equal(look(f, f->ws, 1).entries, 0);
    assert_int_equal(fab_admission_get(f->store, f->ws, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_KEY);
    assert_string_equal(epochs(f, f->other, NOW), "1:12");
    assert_true(is_admitted(f, f->other, &a));
    assert_int_equal(fab_admission_get(f->store, f->other, &mode), FAB_OK);
    assert_int_equal(mode, FAB_ADMIT_LIST);
    assert_int_equal(fab_keyring_forget(f->ring, f->ws, NULL), FAB_OK);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(keys_have_epochs),
        RULE(the_newest_key_again_is_refused),
        RULE(an_older_key_becomes_the_newest_again),
        RULE(epochs_retire),
        RULE(epochs_have_a_limit),
        RULE(a_wrong_clock_is_refused),
        RULE(another_identity_opens_nothing),
        RULE(changed_rows_are_refused),
        RULE(rows_of_a_wrong_shape_are_refused),
        RULE(the_store_holds_no_key_in_the_clear),
        RULE(admission_has_a_mode),
        RULE(peers_are_admitted_and_expelled),
        RULE(the_list_has_a_limit),
        RULE(malformed_lists_are_refused),
        RULE(the_book_remembers_addresses),
        RULE(the_book_is_not_written_for_little),
        RULE(the_book_has_a_limit),
        RULE(the_book_takes_only_what_it_can_read),
        RULE(malformed_entries_of_the_book_are_passed_over),
        RULE(forgetting_takes_one_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
