/* The workspaces of the store, as the swarm sees them: those with a key take part. Read again every
 * second, since other processes add and remove them. */
#include "fabric/node/internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct node_workspace *workspace_by_name(struct fab_node *node, const char *name)
{
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        if (strcmp(ws->name, name) == 0)
            return ws;
    return NULL;
}

enum fab_rc workspace_admits(struct node_workspace *ws, const struct fab_peer_id *peer)
{
    bool admitted = true;
    if (ws->admission == FAB_ADMIT_LIST)
        FAB_TRY(fab_admitted(ws->node->store, ws->id, peer, &admitted));
    return admitted ? FAB_OK : FAB_EACCES;
}

static enum fab_rc add_address(void *arg, const struct fab_book_entry *entry)
{
    struct node_workspace *ws = arg;
    if (fab_peer_id_eq(&entry->peer, fab_key_peer_id(ws->node->identity)))
        return FAB_OK;
    struct node_peer *peer = peer_get(ws, &entry->peer);
    for (size_t i = entry->n; peer && i-- > 0;)
        peer_add_address(peer, entry->addresses[i]);
    return FAB_OK;
}

static struct node_workspace *workspace_add(struct fab_node *node,
                                            const struct fab_workspace_info *info)
{
    struct node_workspace *ws = calloc(1, sizeof *ws);
    if (!ws)
        return NULL;
    ws->node = node;
    ws->id = info->id;
    memcpy(ws->name, info->name, sizeof ws->name);
    if (bitswap_new(ws) != FAB_OK) {
        free(ws);
        return NULL;
    }
    ws->next = node->workspaces;
    node->workspaces = ws;
    if (fab_book_each(node->store, ws->id, add_address, ws) != FAB_OK)
        fab_log("peer_book_failed", "workspace=%s", ws->name);
    return ws;
}

/* Its links end; what is left of it goes when they are gone. */
static void workspace_end(struct node_workspace *ws)
{
    for (struct node_link *link = ws->node->links; link; link = link->next)
        if (link->ws == ws)
            link_close(link, "workspace_removed");
}

static bool same_epochs(const struct fab_epoch *a, const struct fab_epoch *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].number != b[i].number || a[i].replaced != b[i].replaced ||
            memcmp(a[i].key, b[i].key, sizeof a[i].key) != 0)
            return false;
    return true;
}

static enum fab_rc read_keys(struct node_workspace *ws)
{
    struct fab_epoch epochs[FAB_KEY_EPOCHS_MAX] = {0};
    struct fab_err err = {0};
    size_t n = 0;
    enum fab_rc rc = fab_keyring_epochs(ws->node->keyring, ws->id, time(NULL), epochs, &n, &err);
    if (rc != FAB_OK)
        fab_log("key_unreadable", "workspace=%s why=\"%s\"", ws->name, err.msg);
    if (rc == FAB_OK && (n != ws->n_epochs || !same_epochs(epochs, ws->epochs, n))) {
        ws->n_epochs = n;
        memcpy(ws->epochs, epochs, sizeof epochs);
        ws->node->keys_version++;
        fab_log("workspace_keys", "workspace=%s epochs=%zu newest=%u", ws->name, n,
                n ? epochs[0].number : 0);
    }
    sodium_memzero(epochs, sizeof epochs);
    return rc;
}

/* Peers that are no longer on the list lose their connections at once. */
static void expel_strangers(struct node_workspace *ws)
{
    for (struct node_link *link = ws->node->links; link; link = link->next)
        if (link->ws == ws && link->peer && workspace_admits(ws, &link->peer->id) == FAB_EACCES)
            link_close(link, "not_admitted");
}

/* A key that is no longer taken does not keep a connection either. */
static void end_retired(struct node_workspace *ws)
{
    for (struct node_link *link = ws->node->links; link; link = link->next) {
        bool taken = link->ws != ws;
        for (size_t i = 0; i < ws->n_epochs; i++)
            taken |= ws->epochs[i].number == link->epoch;
        if (!taken)
            link_close(link, "key_retired");
    }
}

static enum fab_rc see(void *arg, const struct fab_workspace_info *info)
{
    struct fab_node *node = arg;
    struct node_workspace *ws = node->workspaces;
    while (ws && ws->id != info->id)
        ws = ws->next;
    if (!ws && !(ws = workspace_add(node, info)))
        return FAB_ENOMEM;
    ws->here = true;
    return FAB_OK;
}

static void collect_keys(struct fab_node *node)
{
    node->n_keys = 0;
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next) {
        for (size_t i = 0; i < ws->n_epochs && node->n_keys < FAB_PNET_KEYS_MAX; i++) {
            node->keys[node->n_keys] = ws->epochs[i].key;
            node->key_owners[node->n_keys++] =
                (struct node_key){.ws = ws, .epoch = ws->epochs[i].number};
        }
    }
}

void workspaces_reload(struct fab_node *node)
{
    uint64_t version = node->keys_version;
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next)
        ws->here = false;
    enum fab_rc rc = fab_workspace_list(node->store, see, node);
    if (rc != FAB_OK) {
        fab_log("workspaces_unreadable", "why=\"%s\"", fab_rc_text(rc));
        return;
    }
    for (struct node_workspace *ws = node->workspaces; ws; ws = ws->next) {
        enum fab_admission admission;
        if (!ws->here) {
            if (ws->n_epochs > 0)
                node->keys_version++;
            ws->n_epochs = 0;
            workspace_end(ws);
            continue;
        }
        if (read_keys(ws) != FAB_OK)
            continue;
        end_retired(ws);
        /* Unreadable counts as the stricter of the two. */
        ws->admission = fab_admission_get(node->store, ws->id, &admission) == FAB_OK
                            ? admission
                            : FAB_ADMIT_LIST;
        if (ws->admission == FAB_ADMIT_LIST)
            expel_strangers(ws);
    }
    if (version != node->keys_version) {
        collect_keys(node);
        mdns_keys_changed(node);
    }
}

void workspaces_free(struct fab_node *node)
{
    while (node->workspaces) {
        struct node_workspace *ws = node->workspaces;
        node->workspaces = ws->next;
        bitswap_free(ws);
        peers_free(ws);
        exchange_workspace_free(ws);
        sodium_memzero(ws, sizeof *ws);
        free(ws);
    }
    node->n_keys = 0;
}
