/* Who this node is, and what its daemon does. */
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/home.h"
#include "cli/output.h"
#include "fabric/identity/peer_id.h"
#include "fabric/node/keyring.h"

/* ---- id ---- */

/* From the identity alone, when no daemon runs. NULL: `err` says why. */
static json_t *own_id(struct fab_cli *cli, struct fab_err *err)
{
    char text[FAB_PEER_ID_TEXT_MAX];
    struct fab_key *key = NULL;
    if (fab_home_make(cli->home, err) != FAB_OK ||
        fab_identity_open(cli->home, &key, err) != FAB_OK)
        return NULL;
    fab_peer_id_text(fab_key_peer_id(key), text);
    fab_key_free(key);
    json_t *id = json_pack("{s:s, s:s, s:[]}", "peer_id", text, "agent", "fabric/" FABRIC_VERSION,
                           "addresses");
    if (!id)
        fab_err_set(err, FAB_ENOMEM, "out of memory");
    return id;
}

static void print_addresses(const json_t *id)
{
    size_t i;
    json_t *address;
    json_array_foreach(json_object_get(id, "addresses"), i, address)
    {
        fab_out("address    %s\n", json_string_value(address));
    }
}

static int run_id(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    json_t *id = NULL;
    (void)args;
    enum fab_rc rc = fab_daemon_find(cli, &daemon, &err);
    if (rc == FAB_OK) {
        rc = fab_daemon_ask(daemon, "GET", "/api/v1/id", &id, &err);
    } else if (rc == FAB_ENOENT) {
        id = own_id(cli, &err);
        rc = id ? FAB_OK : err.rc;
    }
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->json) {
        fab_out_json(id);
        return FAB_EXIT_OK;
    }
    if (cli->quiet) {
        fab_out("%s\n", fab_json_text(id, "peer_id"));
    } else {
        fab_out("peer ID    %s\n", fab_json_text(id, "peer_id"));
        print_addresses(id);
    }
    json_decref(id);
    return FAB_EXIT_OK;
}

static const char *const id_description[] = {
    "Prints this node's peer ID, which is the same in all its workspaces, and the addresses that "
    "it "
    "listens on; none without a daemon. An identity is made if the home has none.",
    "With --quiet only the peer ID. With --json: peer_id, agent, addresses.",
    NULL,
};

const struct fab_command fab_cmd_id = {
    .name = "id",
    .summary = "Print this node's peer ID and addresses",
    .description = id_description,
    .run = run_id,
};

/* ---- status ---- */

static void print_workspaces(const json_t *list)
{
    size_t i;
    json_t *ws;
    json_array_foreach(list, i, ws)
    {
        fab_out("workspace  %s: ", fab_json_text(ws, "name"));
        if (fab_json_uint(ws, "epochs") == 0)
            fab_out("no swarm key\n");
        else
            fab_out("%llu of %llu peers, %llu fetches, admits by %s\n",
                    (unsigned long long)fab_json_uint(ws, "peers"),
                    (unsigned long long)fab_json_uint(ws, "known_peers"),
                    (unsigned long long)fab_json_uint(ws, "fetches"), fab_json_text(ws, "admit"));
    }
}

static int run_status(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    json_t *status = NULL;
    char text[FAB_HUMAN_MAX];
    (void)args;
    enum fab_rc rc = fab_daemon_find(cli, &daemon, &err);
    if (rc == FAB_OK)
        rc = fab_daemon_ask(daemon, "GET", "/api/v1/status", &status, &err);
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (cli->json) {
        fab_out_json(status);
        return FAB_EXIT_OK;
    }
    if (cli->quiet) {
        fab_out("%s\n", fab_json_text(status, "peer_id"));
    } else {
        fab_out("peer ID    %s\n", fab_json_text(status, "peer_id"));
        fab_out("home       %s\n", fab_json_text(status, "home"));
        fab_out("process    %llu, up for %s\n", (unsigned long long)fab_json_uint(status, "pid"),
                fab_human_time((double)fab_json_uint(status, "uptime"), text));
        print_addresses(status);
        print_workspaces(json_object_get(status, "workspaces"));
    }
    json_decref(status);
    return FAB_EXIT_OK;
}

static const char *const status_description[] = {
    "Prints what the daemon of this home does: its peer ID, process and addresses, and for each "
    "workspace how many peers are connected and known, and how many fetches run. Without a daemon "
    "it is a failure.",
    "With --quiet only the peer ID. With --json: peer_id, agent, addresses, home, pid, uptime "
    "(seconds), connections, workspaces (name, epochs, peers, known_peers, fetches, admit).",
    NULL,
};

const struct fab_command fab_cmd_status = {
    .name = "status",
    .summary = "Show what the daemon does",
    .description = status_description,
    .run = run_status,
};
