#include "tests/sim/sim_world.h"

#include "storage/dag/dag_cbor.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_MAX 250000u

static void random_bytes(struct sim_net *net, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t r = sim_random(net, UINT64_MAX);
        memcpy(p + i, &r, n - i < 8 ? n - i : 8);
    }
}

/* ---- the catalogue ---- */

static size_t slot_of(const struct sim_world *w, const struct fab_cid *cid)
{
    uint64_t hash;
    memcpy(&hash, fab_cid_digest(cid).p, sizeof hash);
    size_t i = hash & (w->table_cap - 1);
    while (w->table[i] &&
           !fab_slice_eq(fab_cid_mh(&w->blocks[w->table[i] - 1].cid), fab_cid_mh(cid)))
        i = (i + 1) & (w->table_cap - 1);
    return i;
}

uint32_t sim_block_find(const struct sim_world *w, const struct fab_cid *cid)
{
    uint32_t found = fab_cid_digest(cid).n == 32 ? w->table[slot_of(w, cid)] : 0;
    return found ? found - 1 : SIM_NONE;
}

static uint32_t block_add(struct sim_world *w, unsigned space, uint64_t codec, struct fab_slice s)
{
    SIM_CHECK(w->net, w->n_blocks < w->cap_blocks);
    struct sim_block *b = &w->blocks[w->n_blocks];
    SIM_CHECK(w->net, fab_cid_of(1, codec, FAB_MH_SHA2_256, s, &b->cid) == FAB_OK);
    b->space = space;
    b->n = s.n;
    b->data = malloc(s.n ? s.n : 1);
    SIM_CHECK(w->net, b->data);
    memcpy(b->data, s.p, s.n);
    size_t slot = slot_of(w, &b->cid);
    SIM_CHECK(w->net, w->table[slot] == 0);
    w->table[slot] = ++w->n_blocks;
    return w->n_blocks - 1;
}

static uint32_t leaf_add(struct sim_world *w, unsigned space)
{
    uint8_t bytes[LEAF_MAX];
    size_t n = 16 + sim_random(w->net, sim_random(w->net, 12) ? 12000 : LEAF_MAX - 16);
    random_bytes(w->net, bytes, n);
    return block_add(w, space, FAB_CODEC_RAW, fab_slice(bytes, n));
}

static uint32_t list_add(struct sim_world *w, unsigned space, const uint32_t *links, unsigned n)
{
    struct fab_buf buf;
    fab_buf_init(&buf, 4096);
    SIM_CHECK(w->net, fab_cbor_put_array(&buf, n) == FAB_OK);
    for (unsigned i = 0; i < n; i++)
        SIM_CHECK(w->net, fab_cbor_put_cid(&buf, &w->blocks[links[i]].cid) == FAB_OK);
    uint32_t block = block_add(w, space, FAB_CODEC_DAG_CBOR, fab_buf_slice(&buf));
    memcpy(w->blocks[block].links, links, n * sizeof *links);
    w->blocks[block].n_links = n;
    fab_buf_fini(&buf);
    return block;
}

/* Levels of lists over leaves; now and then two parents share a child. */
static uint32_t dag_add(struct sim_world *w, unsigned space, unsigned leaves)
{
    uint32_t row[128];
    unsigned n = leaves;
    for (unsigned i = 0; i < n; i++)
        row[i] = leaf_add(w, space);
    do {
        unsigned parents = 0;
        uint32_t shared = row[sim_random(w->net, n)];
        for (unsigned at = 0; at < n;) {
            uint32_t links[SIM_LINKS];
            unsigned count = 0, want = 2 + (unsigned)sim_random(w->net, SIM_LINKS - 2);
            while (count < want && at < n)
                links[count++] = row[at++];
            if (count < SIM_LINKS && sim_random(w->net, 4) == 0 && links[0] != shared)
                links[count++] = shared;
            row[parents++] = list_add(w, space, links, count);
        }
        n = parents;
    } while (n > 1);
    return row[0];
}

/* ---- members ---- */

static void hold(const struct sim_world *w, uint8_t *has, uint32_t block)
{
    has[block] = 1;
    for (unsigned i = 0; i < w->blocks[block].n_links; i++)
        hold(w, has, w->blocks[block].links[i]);
}

static bool whole(const struct sim_world *w, const uint8_t *has, uint32_t block)
{
    if (!has[block])
        return false;
    for (unsigned i = 0; i < w->blocks[block].n_links; i++)
        if (!whole(w, has, w->blocks[block].links[i]))
            return false;
    return true;
}

bool sim_member_whole(const struct sim_member *m)
{
    return whole(m->node->world, m->has, m->want);
}

void sim_world_progress(const struct sim_world *w, size_t *wanting, size_t *complete)
{
    *wanting = *complete = 0;
    for (size_t i = 0; i < w->n_nodes; i++) {
        const struct sim_node *node = &w->nodes[i];
        for (unsigned j = 0; j < node->n_members && !node->outsider; j++) {
            *wanting += node->members[j].want != SIM_NONE;
            *complete += node->members[j].complete;
        }
    }
}

/* The first members of a workspace hold roots: the whole one (even), or three quarters of its
 * blocks (odd). Of the others two thirds want one. */
static void member_init(struct sim_world *w, struct sim_node *node, unsigned space, unsigned number)
{
    struct sim_member *m = &node->members[node->n_members++];
    m->node = node;
    m->space = space;
    m->key = w->spaces[space].key;
    m->want = SIM_NONE;
    m->has = calloc(w->n_blocks, 1);
    SIM_CHECK(w->net, m->has);
    uint32_t root = w->spaces[space].roots[number % SIM_ROOTS];
    if (number < 4 * SIM_ROOTS) {
        hold(w, m->has, root);
        for (uint32_t i = 0; number / SIM_ROOTS % 2 && i < w->n_blocks; i++)
            if (sim_random(w->net, 4) == 0)
                m->has[i] = 0;
    } else if (sim_random(w->net, 3)) {
        m->want = root;
    }
}

struct sim_world *sim_world_new(uint64_t seed, size_t nodes)
{
    struct sim_net *net = sim_net_new(seed, nodes);
    struct sim_world *w = calloc(1, sizeof *w);
    SIM_CHECK(net, w);
    w->net = net;
    w->n_nodes = nodes;
    w->cap_blocks = SIM_SPACES * SIM_ROOTS * 160;
    w->table_cap = 8192;
    w->blocks = calloc(w->cap_blocks, sizeof *w->blocks);
    w->table = calloc(w->table_cap, sizeof *w->table);
    w->nodes = calloc(nodes, sizeof *w->nodes);
    SIM_CHECK(net, w->blocks && w->table && w->nodes);
    for (unsigned s = 0; s < SIM_SPACES; s++) {
        random_bytes(net, w->spaces[s].key, 32);
        w->spaces[s].admitted = calloc(nodes, 1);
        SIM_CHECK(net, w->spaces[s].admitted);
        for (unsigned r = 0; r < SIM_ROOTS; r++)
            w->spaces[s].roots[r] = dag_add(w, s, 20 + (unsigned)sim_random(net, 100));
    }
    static const uint8_t wrong_key[32] = {1};
    for (size_t i = 0; i < nodes; i++) {
        struct sim_node *node = &w->nodes[i];
        uint8_t seed_bytes[FAB_KEY_SEED_SIZE];
        unsigned space = i % SIM_SPACES, number = (unsigned)(i / SIM_SPACES);
        random_bytes(net, seed_bytes, sizeof seed_bytes);
        SIM_CHECK(net, fab_key_from_seed(seed_bytes, &node->identity) == FAB_OK);
        node->world = w;
        node->index = i;
        node->windows.max = SIM_WINDOWS;
        node->dagsync = number % 4 != 3;
        member_init(w, node, space, number);
        if (number >= 4 * SIM_ROOTS && sim_random(net, 5) == 0)
            member_init(w, node, (space + 1) % SIM_SPACES, number);
        node->outsider = number >= 4 * SIM_ROOTS && sim_random(net, 20) == 0;
        bool wrong = node->outsider && sim_random(net, 2);
        for (unsigned j = 0; j < node->n_members; j++) {
            struct sim_member *m = &node->members[j];
            if (wrong)
                m->key = wrong_key;
            w->spaces[m->space].admitted[i] = !node->outsider;
            node->keys[j] = m->key;
            /* Somebody who has what is wanted, somebody who has a part, and anybody. */
            unsigned root = number % SIM_ROOTS;
            m->targets[0] = m->space + SIM_SPACES * (root + 2 * SIM_ROOTS * sim_random(net, 2));
            m->targets[1] =
                m->space + SIM_SPACES * (root + SIM_ROOTS * (1 + 2 * sim_random(net, 2)));
            m->targets[2] = m->space + SIM_SPACES * sim_random(net, nodes / SIM_SPACES);
        }
    }
    return w;
}

void sim_world_free(struct sim_world *w)
{
    for (size_t i = 0; i < w->n_nodes; i++)
        sim_node_down(&w->nodes[i], false);
    sim_net_free(w->net);
    for (size_t i = 0; i < w->n_nodes; i++) {
        fab_key_free(w->nodes[i].identity);
        for (unsigned j = 0; j < w->nodes[i].n_members; j++)
            free(w->nodes[i].members[j].has);
    }
    for (uint32_t i = 0; i < w->n_blocks; i++)
        free(w->blocks[i].data);
    for (unsigned s = 0; s < SIM_SPACES; s++)
        free(w->spaces[s].admitted);
    free(w->blocks);
    free(w->table);
    free(w->nodes);
    free(w);
}
