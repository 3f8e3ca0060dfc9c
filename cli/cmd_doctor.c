/* Is all in order? Each check is one line: ok, warn or fail, and the cure. */
#include "cli/command.h"
#include "cli/daemon.h"
#include "cli/output.h"
#include "fabric/node/keyring.h"
#include "scheduler/exec/runtime.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LOW_DISK   (1ull << 30)
#define OLDEST_NOW 1767225600 /* 2026-01-01: a clock before it was never set */

enum verdict { OK, WARN, BAD };

struct doctor {
    struct fab_cli *cli;
    struct fab_out_array array;
    bool failed;
    json_t *status; /* of the daemon; NULL: none */
    struct fab_keyring *ring;
};

static void say(struct doctor *doctor, enum verdict verdict, const char *check, const char *fmt,
                ...) FAB_PRINTF(4, 5);

static void say(struct doctor *doctor, enum verdict verdict, const char *check, const char *fmt,
                ...)
{
    static const char *const words[] = {"ok", "warn", "fail"};
    char text[1280];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    doctor->failed |= verdict == BAD;
    if (doctor->cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "check", check);
        fab_json_set_text(object, "result", words[verdict]);
        fab_json_set_text(object, "message", text);
        fab_out_array_item(&doctor->array, object);
    } else if (!doctor->cli->quiet || verdict != OK) {
        fab_out("%-4s %-9s ", words[verdict], check);
        fab_out_message(stdout, text);
        fab_out("\n");
    }
}

static void check_store(struct doctor *doctor)
{
    struct fab_err err = {0};
    struct fab_store_info info;
    char free_text[FAB_HUMAN_MAX], used[FAB_HUMAN_MAX];
    if (fab_store_info(doctor->cli->store, &info, &err) != FAB_OK) {
        say(doctor, BAD, "store", "%s", err.msg);
        return;
    }
    say(doctor, OK, "store", "%llu blocks, %s", (unsigned long long)info.blocks,
        fab_human_size(info.bytes, used));
    fab_human_size(info.disk_free, free_text);
    if (info.disk_free < LOW_DISK)
        say(doctor, WARN, "disk", "only %s are free: make room, or see `fabric gc --compact`",
            free_text);
    else
        say(doctor, OK, "disk", "%s are free", free_text);
    if (info.quota > 0 && info.bytes >= info.quota)
        say(doctor, WARN, "quota",
            "the store's quota is used up: see `fabric gc`, or raise "
            "store.quota in fabric.conf");
}

static void check_clock(struct doctor *doctor)
{
    if (time(NULL) < OLDEST_NOW)
        say(doctor, BAD, "clock", "the clock is wrong: set it, since keys retire by it");
    else
        say(doctor, OK, "clock", "plausible");
}

static const json_t *daemon_workspace(const struct doctor *doctor, const char *name)
{
    size_t i;
    json_t *ws;
    json_array_foreach(json_object_get(doctor->status, "workspaces"), i, ws)
    {
        if (!strcmp(fab_json_text(ws, "name"), name))
            return ws;
    }
    return NULL;
}

static enum fab_rc check_workspace(void *arg, const struct fab_workspace_info *info)
{
    struct doctor *doctor = arg;
    struct fab_epoch epochs[FAB_KEY_EPOCHS_MAX];
    struct fab_err err = {0};
    size_t n = 0;
    enum fab_rc rc = fab_keyring_epochs(doctor->ring, info->id, time(NULL), epochs, &n, &err);
    sodium_memzero(epochs, sizeof epochs);
    if (rc != FAB_OK) {
        say(doctor, BAD, "workspace", "%s: %s", info->name, err.msg);
        return FAB_OK;
    }
    const json_t *ws = daemon_workspace(doctor, info->name);
    if (n == 0 && !strcmp(info->name, FAB_WORKSPACE_LOCAL))
        say(doctor, OK, "workspace", "%s: on this machine only", info->name);
    else if (n == 0)
        say(doctor, WARN, "workspace",
            "%s: no swarm key, so no peers; see `fabric workspace import-key`", info->name);
    else if (doctor->status && !ws)
        say(doctor, BAD, "workspace", "%s: the daemon does not serve it; see its log", info->name);
    else if (ws && fab_json_uint(ws, "peers") == 0)
        say(doctor, WARN, "workspace", "%s: no peer is connected; see `fabric swarm connect`",
            info->name);
    else if (ws)
        say(doctor, OK, "workspace", "%s: a swarm key, %llu peers", info->name,
            (unsigned long long)fab_json_uint(ws, "peers"));
    else
        say(doctor, OK, "workspace", "%s: has a swarm key", info->name);
    return FAB_OK;
}

static void check_workspaces(struct doctor *doctor)
{
    struct fab_err err = {0};
    struct fab_key *identity = NULL;
    enum fab_rc rc = fab_identity_open(doctor->cli->home, &identity, &err);
    if (rc == FAB_OK)
        rc = fab_keyring_new(doctor->cli->store, identity, &doctor->ring, &err);
    if (rc != FAB_OK)
        say(doctor, BAD, "identity", "%s", err.msg);
    else if (fab_workspace_list(doctor->cli->store, check_workspace, doctor) != FAB_OK)
        say(doctor, BAD, "workspace", "the workspaces cannot be listed; see `fabric verify`");
    fab_keyring_free(doctor->ring);
    fab_key_free(identity);
}

static void check_daemon(struct doctor *doctor)
{
    struct fab_err err = {0};
    struct fab_daemon *daemon;
    enum fab_rc rc = fab_daemon_find(doctor->cli, &daemon, &err);
    if (rc == FAB_OK)
        rc = fab_daemon_ask(daemon, "GET", "/api/v1/status", &doctor->status, &err);
    if (rc == FAB_ENOENT) {
        say(doctor, WARN, "daemon",
            "none runs, so nothing is fetched or served: `fabric up "
            "--detach`");
        return;
    }
    if (rc != FAB_OK) {
        say(doctor, BAD, "daemon", "%s", err.msg);
        return;
    }
    size_t n = json_array_size(json_object_get(doctor->status, "addresses"));
    say(doctor, OK, "daemon", "process %llu",
        (unsigned long long)fab_json_uint(doctor->status, "pid"));
    if (n == 0)
        say(doctor, BAD, "listening", "on no address: see `listen` in fabric.conf");
    else
        say(doctor, OK, "listening", "on %zu addresses", n);
}

static void check_jobs(struct doctor *doctor)
{
    struct fab_err err = {0};
    struct fab_host host;
    struct fab_runtime runtime;
    fab_host_probe(&host);
    if (fab_runtime_find(&host, &runtime, &err) != FAB_OK)
        say(doctor, WARN, "jobs", "cannot run here: %s", err.msg);
    else
        say(doctor, OK, "jobs", "run with %s", runtime.oci_name);
    if (host.cpu && host.memory && host.pids)
        say(doctor, OK, "limits", "CPU, memory and processes can be limited");
    else
        say(doctor, WARN, "limits", "not all limits of jobs can be enforced: %s",
            fab_host_why_not(&host));
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct doctor doctor = {.cli = cli};
    (void)args;
    if (fab_cli_open(cli, FAB_CLI_STORE, &err) == FAB_OK) {
        say(&doctor, OK, "home", "%s", cli->home);
        check_store(&doctor);
        check_daemon(&doctor);
        check_workspaces(&doctor);
    } else {
        say(&doctor, BAD, "home", "%s: %s", cli->home, err.msg);
    }
    check_clock(&doctor);
    check_jobs(&doctor);
    if (cli->json)
        fab_out_array_end(&doctor.array);
    json_decref(doctor.status);
    return doctor.failed ? FAB_EXIT_FAILURE : FAB_EXIT_OK;
}

static const char *const description[] = {
    "Looks at the home, the store, the disk, the daemon, each workspace, the clock, and what jobs "
    "need, and prints one line for each: ok, warn or fail, and what to do. It fails when one of "
    "them does.",
    "With --quiet only what is not ok. With --json an array: check, result, message.",
    NULL,
};

const struct fab_command fab_cmd_doctor = {
    .name = "doctor",
    .summary = "Check that all is in order",
    .description = description,
    .run = run,
};
