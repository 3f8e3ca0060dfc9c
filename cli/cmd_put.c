#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "storage/dag/chunker.h"
#include "storage/dag/profile.h"
#include "storage/files/put.h"

#include <string.h>

struct put {
    struct fab_cli *cli;
    bool wrap;
    uint64_t hidden_skipped;
    struct fab_bar bar;
};

/* The last component, as ipfs prints it; the path itself where that says nothing. */
static struct fab_slice base_name(const char *path)
{
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && path[begin - 1] != '/';)
        begin--;
    struct fab_slice name = fab_slice(path + begin, end - begin);
    if (name.n == 0 || !strcmp(path, ".") || (name.n == 2 && !memcmp(name.p, "..", 2)))
        return fab_slice(path, strlen(path));
    return name;
}

static void print_json(const struct fab_put_result *result, struct fab_slice name)
{
    json_t *object = json_object();
    fab_json_set_cid(object, "cid", &result->cid);
    fab_json_set_name(object, "name", (const char *)name.p, name.n);
    fab_json_set_text(object, "path", result->path);
    fab_json_set_uint(object, "bytes", result->bytes);
    fab_json_set_uint(object, "dag_bytes", result->dag_bytes);
    fab_json_set_uint(object, "files", result->files);
    fab_json_set_uint(object, "directories", result->directories);
    fab_json_set_uint(object, "symlinks", result->symlinks);
    fab_json_set_uint(object, "hidden_skipped", result->hidden_skipped);
    fab_json_set_bool(object, "wrapper", result->wrapper);
    fab_out_json_line(object);
}

static void print_result(void *arg, const struct fab_put_result *result)
{
    struct put *put = arg;
    char text[FAB_CID_TEXT_MAX];
    size_t n = fab_cid_text(&result->cid, text);
    struct fab_slice name =
        !strcmp(result->path, "-") ? fab_slice(text, n) : base_name(result->path);
    fab_bar_erase(&put->bar);
    if (!result->wrapper)
        put->hidden_skipped += result->hidden_skipped;
    if (put->cli->json) {
        print_json(result, name);
    } else if (put->cli->quiet) {
        if (!put->wrap || result->wrapper)
            fab_out("%s\n", text);
    } else {
        fab_out("added %s%s", text, name.n ? " " : "");
        fab_out_name(stdout, (const char *)name.p, name.n);
        fab_out("\n");
    }
}

static int check_options(struct fab_cli *cli, const struct fab_put_options *options, size_t dashes)
{
    struct fab_err err = {0};
    struct fab_chunker chunker;
    if (options->profile && !fab_profile_find(options->profile)) {
        char names[256] = "";
        const struct fab_profile *p;
        for (size_t i = 0; (p = fab_profile_at(i)); i++) {
            size_t n = strlen(names);
            snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", p->name);
        }
        return fab_cli_usage(cli, "put: unknown profile '%s'; there are %s", options->profile,
                             names);
    }
    if (options->chunker && fab_chunker_parse(options->chunker, &chunker, &err) != FAB_OK)
        return fab_cli_usage(cli, "put: %s", err.msg);
    if (options->name && strlen(options->name) > FAB_PIN_NAME_MAX)
        return fab_cli_usage(cli, "put: --name has more than %d bytes", FAB_PIN_NAME_MAX);
    if (options->name && (options->no_pin || options->only_hash))
        return fab_cli_usage(cli, "put: --name names a pin, and %s makes none",
                             options->no_pin ? "--no-pin" : "--only-hash");
    if (dashes > 1)
        return fab_cli_usage(cli, "put: standard input can be read once only");
    return FAB_EXIT_OK;
}

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    size_t n = fab_args_count(args), dashes = 0;
    struct put put = {.cli = cli, .wrap = fab_args_given(args, "wrap")};
    struct fab_put_options options = {
        .profile = fab_args_string(args, "profile"),
        .chunker = fab_args_string(args, "chunker"),
        .name = fab_args_string(args, "name"),
        .only_hash = fab_args_given(args, "only-hash"),
        .wrap = put.wrap,
        .no_pin = fab_args_given(args, "no-pin"),
        .hidden = fab_args_given(args, "hidden"),
        .preserve = fab_args_given(args, "preserve"),
    };
    for (size_t i = 0; i < n; i++)
        dashes += !strcmp(fab_args_at(args, i), "-");
    int code = check_options(cli, &options, dashes);
    if (code != FAB_EXIT_OK)
        return code;
    if (!options.only_hash && fab_cli_open(cli, FAB_CLI_MAKE, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    fab_bar_start(&put.bar, cli, options.only_hash ? "hashing" : "adding", "files");
    options.watch = fab_bar_watch(&put.bar, cli);
    enum fab_rc rc = fab_put(cli->store, cli->ws.id, (const char *const *)fab_args_all(args), n,
                             &options, print_result, &put, &err);
    fab_bar_erase(&put.bar);
    if (rc != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (put.hidden_skipped > 0)
        fab_cli_note(cli, "%llu hidden %s skipped; --hidden takes them",
                     (unsigned long long)put.hidden_skipped,
                     put.hidden_skipped == 1 ? "entry was" : "entries were");
    return FAB_EXIT_OK;
}

static const char *const description[] = {
    "Stores files, directories and symlinks and prints the CID of each argument's root. The CID is "
    "printed when everything is durable. `-` is standard input.",
    "Entries of directories whose names begin with a dot are skipped, as ipfs does; how many is "
    "said on standard error. An argument that is hidden itself is taken.",
    "Profiles: unixfs-v1-2025 (the default), unixfs-v0-2015, and cid-v1-plain, which gives what "
    "`ipfs add --cid-version=1` gives. Chunkers: size-N, rabin, rabin-AVG, rabin-MIN-AVG-MAX and "
    "buzhash.",
    "With --quiet only the root's CID is printed, one line per argument, or with --wrap that of "
    "the "
    "directory alone. With --json each root is one line: cid, name, path, bytes, dag_bytes, files, "
    "directories, symlinks, hidden_skipped, wrapper.",
    NULL,
};

static const struct fab_option options_table[] = {
    {.name = "profile",
     .type = FAB_OPTION_STRING,
     .metavar = "P",
     .help = "The set of parameters that decides the CID."},
    {.name = "chunker",
     .type = FAB_OPTION_STRING,
     .metavar = "C",
     .help = "How files are cut into blocks, instead of the profile's way."},
    {.name = "only-hash", .letter = 'n', .help = "Print the CIDs and store nothing."},
    {.name = "wrap",
     .letter = 'w',
     .help = "Put the arguments into one more directory, which keeps their names."},
    {.name = "name",
     .type = FAB_OPTION_STRING,
     .metavar = "N",
     .help = "The pin's name, shown by `fabric pin ls`."},
    {.name = "no-pin", .help = "Do not pin: the roots may be evicted when room is needed."},
    {.name = "hidden", .letter = 'H', .help = "Take hidden entries too."},
    {.name = "preserve",
     .help = "Record permissions and modification times (other CIDs result). UnixFS takes "
             "permissions of 000 for none: they come back as the usual ones."},
    {.name = NULL},
};

static const struct fab_example examples[] = {
    {"fabric put photos", "Store a directory."},
    {"tar c src | fabric put -q -", "Store a pipe and print only its CID."},
    {"fabric put --only-hash --profile unixfs-v0-2015 file", "The CID that `ipfs add` gives."},
    {NULL, NULL},
};

const struct fab_command fab_cmd_put = {
    .name = "put",
    .summary = "Store files and directories",
    .synopsis = "PATH...|-",
    .description = description,
    .options = options_table,
    .examples = examples,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run,
};
