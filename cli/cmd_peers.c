/* The peers of a workspace, through the daemon. */
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

/* Ask about the workspace; 1 or 0 as an exit code. */
static int ask_workspace(struct fab_cli *cli, const char *method, char *path, json_t **out)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    enum fab_rc rc =
        path ? fab_daemon_find(cli, &daemon, &err) : fab_err_set(&err, FAB_ENOMEM, "out of memory");
    if (rc == FAB_OK)
        rc = fab_daemon_ask(daemon, method, path, out, &err);
    free(path);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

/* ---- peers ---- */

static void print_peer(struct fab_cli *cli, const json_t *peer)
{
    char received[FAB_HUMAN_MAX], sent[FAB_HUMAN_MAX];
    const json_t *link = json_array_get(json_object_get(peer, "connections"), 0);
    const char *agent = fab_json_text(peer, "agent");
    fab_out("%s", fab_json_text(peer, "peer_id"));
    if (cli->quiet) {
        fab_out("\n");
        return;
    }
    if (link)
        fab_out(" %s %s %.1f ms", fab_json_text(link, "address"), fab_json_text(link, "direction"),
                json_number_value(json_object_get(peer, "rtt")) * 1e3);
    else
        fab_out(" not connected");
    fab_out(", %s in, %s out", fab_human_size(fab_json_uint(peer, "received"), received),
            fab_human_size(fab_json_uint(peer, "sent"), sent));
    if (agent[0]) {
        fab_out(", ");
        fab_out_name(stdout, agent, strlen(agent));
    }
    fab_out("\n");
}

static int run_peers(struct fab_cli *cli, const struct fab_args *args)
{
    json_t *list = NULL, *peer;
    size_t i;
    int code = ask_workspace(
        cli, "GET", fab_daemon_path(cli, "/peers%s", fab_args_given(args, "all") ? "?all=1" : ""),
        &list);
    if (code != FAB_EXIT_OK)
        return code;
    if (cli->json) {
        fab_out_json(list ? list : json_array());
        return FAB_EXIT_OK;
    }
    json_array_foreach(list, i, peer)
    {
        print_peer(cli, peer);
    }
    json_decref(list);
    return FAB_EXIT_OK;
}

static const char *const peers_description[] = {
    "Prints the workspace's peers that are connected: peer ID, address, who dialled, round trip, "
    "bytes of content received and sent, and what the peer says it is.",
    "With --quiet only the peer IDs. With --json an array: peer_id, connected, connections "
    "(address, direction), addresses, agent, dagsync, bitswap, received, sent, rtt (seconds).",
    NULL,
};

static const struct fab_option peers_options[] = {
    {.name = "all", .help = "Known ones too that are not connected."},
    {.name = NULL},
};

const struct fab_command fab_cmd_peers = {
    .name = "peers",
    .summary = "List the peers of the workspace",
    .description = peers_description,
    .options = peers_options,
    .run = run_peers,
};

/* ---- swarm connect ---- */

static int run_connect(struct fab_cli *cli, const struct fab_args *args)
{
    json_t *answer = NULL;
    char *address = fab_daemon_escape(fab_args_at(args, 0));
    char *path = address ? fab_daemon_path(cli, "/connect?address=%s", address) : NULL;
    free(address);
    int code = ask_workspace(cli, "POST", path, &answer);
    if (code != FAB_EXIT_OK)
        return code;
    if (cli->json) {
        fab_out_json(answer ? answer : json_object());
        return FAB_EXIT_OK;
    }
    fab_out("%s%s\n", cli->quiet ? "" : "connected ", fab_json_text(answer, "peer_id"));
    json_decref(answer);
    return FAB_EXIT_OK;
}

static const char *const connect_description[] = {
    "Dials a peer of the workspace and returns after the handshake: it holds the same swarm key. "
    "With /p2p/PEERID at the end no other peer will do. The daemon remembers the address and dials "
    "it again after a restart.",
    "With --quiet only the peer ID. With --json: peer_id.",
    NULL,
};

static const struct fab_example connect_examples[] = {
    {"fabric --workspace lab swarm connect /ip4/192.0.2.7/tcp/4001", "Reach a first peer."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_swarm_connect = {
    .name = "swarm connect",
    .summary = "Connect to a peer",
    .synopsis = "MULTIADDR",
    .description = connect_description,
    .examples = connect_examples,
    .min_args = 1,
    .max_args = 1,
    .run = run_connect,
};
