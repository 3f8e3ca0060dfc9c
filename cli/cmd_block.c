#include "cli/command.h"
#include "cli/output.h"
#include "cli/target.h"
#include "storage/base/fd.h"
#include "storage/dag/links.h"
#include "storage/files/pin_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    uint64_t code;
} codecs[] = {
    {"raw", FAB_CODEC_RAW},
    {"dag-pb", FAB_CODEC_DAG_PB},
    {"dag-cbor", FAB_CODEC_DAG_CBOR},
    {"dag-json", FAB_CODEC_DAG_JSON},
    {"libp2p-key", FAB_CODEC_LIBP2P_KEY},
};
#define N_CODECS (sizeof codecs / sizeof *codecs)

static const char *codec_name(uint64_t code)
{
    for (size_t i = 0; i < N_CODECS; i++)
        if (codecs[i].code == code)
            return codecs[i].name;
    return "unknown";
}

static const char *hash_name(uint64_t code)
{
    switch (code) {
    case FAB_MH_IDENTITY:
        return "identity";
    case FAB_MH_SHA2_256:
        return "sha2-256";
    case FAB_MH_SHA2_512:
        return "sha2-512";
    case FAB_MH_BLAKE2B_256:
        return "blake2b-256";
    default:
        return "unknown";
    }
}

/* A CID, or what a path leads to; its bytes are valid until the target is closed or refreshed. */
static enum fab_rc find_block(struct fab_cli *cli, const char *text, struct fab_target *target,
                              struct fab_slice *data, struct fab_err *err)
{
    char cid[FAB_CID_TEXT_MAX];
    FAB_TRY(fab_target_open(cli, text, target, err));
    enum fab_rc rc = fab_block_get(&target->source, &target->cid, data);
    if (rc == FAB_OK)
        return FAB_OK;
    fab_cid_text(&target->cid, cid);
    fab_target_close(target);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "block %s is not in workspace %s", cid, cli->ws.name);
    return fab_err_set(err, rc, "block %s cannot be read: %s", cid, fab_rc_text(rc));
}

/* ---- block get ---- */

static int run_get(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_target target;
    struct fab_slice data;
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (find_block(cli, fab_args_at(args, 0), &target, &data, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    enum fab_rc rc = fab_fd_write(STDOUT_FILENO, data);
    if (rc != FAB_OK) {
        fab_err_errno(&err, errno, "standard output");
        err.rc = rc;
    }
    fab_target_close(&target);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const get_description[] = {
    "Writes the bytes to standard output, as they are; --json changes nothing.",
    NULL,
};

const struct fab_command fab_cmd_block_get = {
    .name = "block get",
    .summary = "Print the bytes of one block",
    .synopsis = "CID[/PATH]",
    .description = get_description,
    .min_args = 1,
    .max_args = 1,
    .run = run_get,
};

/* ---- block put ---- */

static enum fab_rc read_piece(int fd, const char *label, struct fab_buf *out, bool *end,
                              struct fab_err *err)
{
    uint8_t piece[65536];
    ssize_t n = read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR)
        return fab_err_set(err, FAB_EINTERRUPTED, "interrupted");
    if (n < 0)
        return fab_err_errno(err, errno, "%s cannot be read", label);
    *end = n == 0;
    enum fab_rc rc = fab_buf_append(out, piece, (size_t)n);
    if (rc == FAB_ELIMIT)
        return fab_err_set(err, rc,
                           "%s is larger than 2 MiB, the most that one block holds; `fabric put` "
                           "stores it as several",
                           label);
    return rc == FAB_OK ? rc : fab_err_set(err, rc, "%s: %s", label, fab_rc_text(rc));
}

static enum fab_rc read_block(const char *path, struct fab_buf *out, struct fab_err *err)
{
    bool is_stdin = !strcmp(path, "-"), end = false;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum fab_rc rc = FAB_OK;
    if (fd < 0)
        return fab_err_errno(err, errno, "%s cannot be read", path);
    while (rc == FAB_OK && !end)
        rc = read_piece(fd, is_stdin ? "standard input" : path, out, &end, err);
    if (!is_stdin)
        close(fd);
    return rc;
}

static enum fab_rc no_link(void *arg, const struct fab_cid *link)
{
    (void)arg;
    (void)link;
    return FAB_OK;
}

static enum fab_rc store_block(struct fab_cli *cli, const struct fab_cid *cid,
                               struct fab_slice data, bool pin, struct fab_err *err)
{
    struct fab_ingest *ingest = NULL;
    struct fab_watch watch = {.cancel = cli->cancel};
    const struct fab_ingest_root root = {.cid = *cid, .pin = pin};
    FAB_TRY(fab_ingest_open(cli->store, cli->ws.id, &ingest, err));
    enum fab_rc rc = fab_ingest_put(ingest, cid, data);
    if (rc != FAB_OK)
        fab_err_set(err, rc, "the block cannot be stored: %s", fab_rc_text(rc));
    if (rc == FAB_OK && pin)
        return fab_pin_commit(cli->store, cli->ws.id, ingest, &root, 1, false, &watch, NULL, err);
    if (rc == FAB_OK)
        return fab_ingest_commit(ingest, &root, 1, NULL, err);
    fab_ingest_abort(ingest);
    return rc;
}

static void print_put(struct fab_cli *cli, const struct fab_cid *cid, uint64_t size, bool pin)
{
    char text[FAB_CID_TEXT_MAX];
    fab_cid_text(cid, text);
    if (!cli->json) {
        fab_out("%s\n", text);
        return;
    }
    json_t *object = json_object();
    fab_json_set_text(object, "cid", text);
    fab_json_set_uint(object, "size", size);
    fab_json_set_text(object, "codec", codec_name(cid->codec));
    fab_json_set_bool(object, "pinned", pin);
    fab_out_json_line(object);
}

static enum fab_rc put_one(struct fab_cli *cli, const char *path, uint64_t codec, bool pin,
                           struct fab_buf *buf, struct fab_err *err)
{
    struct fab_cid cid;
    fab_buf_reset(buf);
    FAB_TRY(read_block(path, buf, err));
    struct fab_slice data = fab_buf_slice(buf);
    enum fab_rc rc = fab_dag_links(codec, data, no_link, NULL);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "%s is not a block of codec %s: %s", path, codec_name(codec),
                           fab_rc_text(rc));
    rc = fab_cid_of(1, codec, FAB_MH_SHA2_256, data, &cid);
    if (rc != FAB_OK)
        return fab_err_set(err, rc, "%s cannot be hashed: %s", path, fab_rc_text(rc));
    FAB_TRY(store_block(cli, &cid, data, pin, err));
    print_put(cli, &cid, data.n, pin);
    return FAB_OK;
}

static int run_put(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_buf buf;
    const char *name = fab_args_string(args, "codec");
    bool pin = fab_args_given(args, "pin");
    size_t codec = 0, n = fab_args_count(args);
    while (name && codec < N_CODECS && strcmp(codecs[codec].name, name))
        codec++;
    if (codec == N_CODECS)
        return fab_cli_usage(cli,
                             "block put: unknown codec '%s'; there are raw, dag-pb, dag-cbor, "
                             "dag-json and libp2p-key",
                             name);
    if (fab_cli_open(cli, FAB_CLI_MAKE, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    fab_buf_init(&buf, FAB_BLOCK_MAX);
    enum fab_rc rc = FAB_OK;
    for (size_t i = 0; i < (n ? n : 1) && rc == FAB_OK; i++)
        rc = put_one(cli, n ? fab_args_at(args, i) : "-", codecs[codec].code, pin, &buf, &err);
    fab_buf_fini(&buf);
    return rc == FAB_OK ? FAB_EXIT_OK : fab_cli_fail(cli, &err);
}

static const char *const put_description[] = {
    "Stores each file, or standard input, as one block of at most 2 MiB and prints its CID "
    "(version 1, sha2-256). A block with a codec other than raw must be well-formed. Without --pin "
    "the block may be evicted when room is needed.",
    "With --json one line per block: cid, size, codec, pinned.",
    NULL,
};

static const struct fab_option put_options[] = {
    {.name = "codec",
     .type = FAB_OPTION_STRING,
     .metavar = "NAME",
     .help = "raw (the default), dag-pb, dag-cbor, dag-json or libp2p-key."},
    {.name = "pin", .help = "Pin the block and everything under it, which must be there."},
    {.name = NULL},
};

const struct fab_command fab_cmd_block_put = {
    .name = "block put",
    .summary = "Store single blocks",
    .synopsis = "[FILE|-]...",
    .description = put_description,
    .options = put_options,
    .max_args = FAB_ARGS_ANY,
    .run = run_put,
};

/* ---- block stat ---- */

static int run_stat(struct fab_cli *cli, const struct fab_args *args)
{
    struct fab_err err = {0};
    struct fab_target target;
    struct fab_slice data;
    char text[FAB_CID_TEXT_MAX];
    if (fab_cli_open(cli, FAB_CLI_READ, &err) != FAB_OK)
        return fab_cli_fail(cli, &err);
    if (find_block(cli, fab_args_at(args, 0), &target, &data, &err) != FAB_OK)
        return fab_target_fail(cli, &err);
    const char *codec = codec_name(target.cid.codec);
    const char *hash = hash_name(fab_cid_mh_code(&target.cid));
    fab_cid_text(&target.cid, text);
    if (cli->json) {
        json_t *object = json_object();
        fab_json_set_text(object, "cid", text);
        fab_json_set_uint(object, "size", data.n);
        fab_json_set_text(object, "codec", codec);
        fab_json_set_text(object, "hash", hash);
        fab_json_set_uint(object, "version", target.cid.version);
        fab_out_json(object);
    } else if (cli->quiet) {
        fab_out("%zu\n", data.n);
    } else {
        fab_out("cid     %s\nsize    %zu\ncodec   %s\nhash    %s\nversion %u\n", text, data.n,
                codec, hash, target.cid.version);
    }
    fab_target_close(&target);
    return FAB_EXIT_OK;
}

static const char *const stat_description[] = {
    "With --quiet only the size in bytes. With --json: cid, size, codec, hash, version.",
    NULL,
};

const struct fab_command fab_cmd_block_stat = {
    .name = "block stat",
    .summary = "Describe one block",
    .synopsis = "CID[/PATH]",
    .description = stat_description,
    .min_args = 1,
    .max_args = 1,
    .run = run_stat,
};

/* ---- block rm ---- */

static enum fab_rc remove_one(struct fab_cli *cli, const char *text, struct fab_err *err)
{
    struct fab_cid cid;
    struct fab_slice path;
    char name[FAB_CID_TEXT_MAX];
    if (fab_path_parse(text, &cid, &path, err) != FAB_OK)
        return err->rc = FAB_EINVAL;
    if (path.n > 0)
        return fab_err_set(err, FAB_EINVAL, "'%s': a CID alone is needed here, without a path",
                           text);
    fab_cid_text(&cid, name);
    enum fab_rc rc = fab_block_remove(cli->store, cli->ws.id, &cid, err);
    if (rc == FAB_ENOENT)
        return fab_err_set(err, rc, "block %s is not in workspace %s", name, cli->ws.name);
    FAB_TRY(rc);
    fab_target_done(cli, "removed", name);
    return FAB_OK;
}

static int run_rm(struct fab_cli *cli, const struct fab_args *args)
{
    return fab_target_each(cli, args, remove_one);
}

static const char *const rm_description[] = {
    "A block that a pin or running work reaches is not removed; `fabric pin rm` lets go of it.",
    "With --quiet only the CIDs. With --json one line per block: cid.",
    NULL,
};

const struct fab_command fab_cmd_block_rm = {
    .name = "block rm",
    .summary = "Remove single blocks",
    .synopsis = "CID...",
    .description = rm_description,
    .min_args = 1,
    .max_args = FAB_ARGS_ANY,
    .run = run_rm,
};
