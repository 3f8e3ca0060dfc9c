#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "storage/files/verify.h"

#include <string.h>

struct verify {
    struct fab_cli *cli;
    struct fab_bar bar;
    json_t *rotten; /* array */
};

/* A multihash has no codec, so it is shown as the CID of a raw block. */
static void print_bad(void *arg, struct fab_slice mh, uint64_t size)
{
    struct verify *verify = arg;
    struct fab_cid cid = {.codec = FAB_CODEC_RAW, .version = 1};
    char text[FAB_CID_TEXT_MAX];
    if (mh.n > sizeof cid.mh)
        return;
    cid.mh_len = (uint8_t)mh.n;
    memcpy(cid.mh, mh.p, mh.n);
    fab_bar_erase(&verify->bar);
    fab_cid_text(&cid, text);
    if (verify->cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", text);
        fab_json_set_uint(object, "size", size);
        fab_json_append(verify->rotten, object);
    } else if (verify->cli->quiet) {
        fab_out("%s\n", text);
    } else {
        fab_out("rotten %s %llu\n", text, (unsigned long long)size);
    }
}

static void print_stats(struct verify *verify, const struct fab_verify_stats *stats)
{
    char text[FAB_HUMAN_MAX];
    if (verify->cli->json) {
        json_t *object = json_object();
        fab_json_set_uint(object, "blocks", stats->blocks);
        fab_json_set_uint(object, "bytes", stats->bytes);
        fab_json_set_uint(object, "unknown", stats->unknown);
        fab_json_set_uint(object, "dropped", stats->dropped);
        fab_json_set_json(object, "rotten", verify->rotten);
        verify->rotten = NULL;
        fab_out_json(object);
    } else if (!verify->cli->quiet) {
        fab_out("checked %llu blocks, %s, %llu rotten\n", (unsigned long long)stats->blocks,
                fab_human_size(stats->bytes, text), (unsigned long long)stats->rotten);
    }
    if (stats->unknown > 0)
        fab_cli_note(verify->cli, "%llu blocks have a hash function that is not known here",
                     (unsigned long long)stats->unknown);
}

static int verdict(struct fab_cli *cli, const struct fab_verify_stats *stats)
{
    if (stats->rotten > stats->dropped)
        return fab_cli_failf(cli,
                             "%llu of %llu blocks are rotten; `fabric verify --repair` drops them, "
                             "then put or import the content again",
                             (unsigned long long)(stats->rotten - stats->dropped),
                             (unsigned long long)stats->blocks);
    if (stats->dropped > 0)
        fab_cli_note(cli, "dropped %llu rotten blocks; put or import the content again",
                     (unsigned long long)stats->dropped);
    return FAB_EXIT_OK;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_verify_stats stats = {0};
    struct verify verify = {.cli = cli};
    struct fab_verify_options options = {.repair = fab_args_given(args, "repair")};
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    verify.rotten = json_array();
    fab_bar_start(&verify.bar, cli, "checking", "blocks");
    options.watch = fab_bar_watch(&verify.bar, cli);
    enum fab_rc rc = fab_verify(cli->store, cli->ws.id, &options, print_bad, &verify, &stats, &err);
    fab_bar_erase(&verify.bar);
    if (rc == FAB_OK)
        print_stats(&verify, &stats);
    json_decref(verify.rotten);
    return rc == FAB_OK ? verdict(cli, &stats) : fab_cli_fail(cli, &err);
}

static const char *const description[] = {
    "Hashes every block of the workspace again and names those that do not have their hash any "
    "more, each as the CID of a raw block. It ends with 1 while rotten blocks are left.",
    "With --quiet only the CIDs of rotten blocks. With --json: blocks, bytes, unknown, dropped, "
    "and rotten, an array of cid and size.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "repair", .help = "Drop rotten blocks, from every workspace, whatever pins them."},
    {.name = NULL},
};

const struct fab_command fab_cmd_verify = {
    .name = "verify",
    .summary = "Check every block against its hash",
    .description = description,
    .options = options_table,
    .run = run,
};
