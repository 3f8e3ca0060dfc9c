#include "cli/command.h"
#include "cli/output.h"

static int run(struct fab_cli *cli, const struct fab_args *args)
{
    (void)args;
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "version", FABRIC_VERSION);
        fab_out_json(object);
    } else {
        fab_out(cli->quiet ? "%s\n" : "fabric %s\n", FABRIC_VERSION);
    }
    return FAB_EXIT_OK;
}

const struct fab_command fab_cmd_version = {
    .name = "version",
    .summary = "Print the version",
    .run = run,
};
