#include "tests/integration/rogue/ask.h"

#include "fabric/exchange/bitswap_message.h"
#include "fabric/exchange/dagsync_message.h"
#include "storage/multiformats/varint.h"

#include <stdio.h>
#include <string.h>

#define QUIET_MS 600 /* after which nothing more is expected */

static char last[32];

static void say(const char *word)
{
    if (strcmp(last, word) == 0)
        return;
    printf("%s%s", *last ? " " : "", word);
    snprintf(last, sizeof last, "%s", word);
}

static void dagsync_words(struct fab_slice body)
{
    struct fab_dagsync_message m;
    if (fab_dagsync_decode(body, true, &m) != FAB_OK)
        broken("the node's dagsync message does not decode");
    switch (m.type) {
    case FAB_DAGSYNC_BLOCK:
        say(fab_cid_check(&m.cid, m.bytes) == FAB_OK ? "block" : "wrong_block");
        break;
    case FAB_DAGSYNC_MISSING:
        say("missing");
        break;
    case FAB_DAGSYNC_ITEM_DONE:
        say("item_done");
        break;
    case FAB_DAGSYNC_ERROR:
        say("error");
        break;
    default:
        say("done");
    }
}

static void bitswap_words(struct fab_slice message)
{
    static const char *const words[] = {
        [FAB_BITSWAP_WANT_BLOCK] = "want", [FAB_BITSWAP_WANT_HAVE] = "want",
        [FAB_BITSWAP_CANCEL] = "cancel",   [FAB_BITSWAP_BLOCK] = "block",
        [FAB_BITSWAP_HAVE] = "have",       [FAB_BITSWAP_DONT_HAVE] = "dont_have"};
    struct fab_bitswap_iter it;
    struct fab_bitswap_item item;
    fab_bitswap_iter_init(&it, message);
    while (fab_bitswap_iter_next(&it, &item) == FAB_OK)
        say(words[item.kind]);
}

static void words_of(const struct stream *s, void (*each)(struct fab_slice message))
{
    struct fab_reader r = fab_reader(fab_buf_slice(&s->in));
    struct fab_slice message;
    uint64_t n;
    while (fab_varint_read(&r, &n) == FAB_OK && fab_read_bytes(&r, n, &message) == FAB_OK)
        each(message);
}

static void put_dagsync(struct fab_buf *out, const char *how, const struct fab_cid *cid)
{
    struct fab_dagsync_item item = {.cid = *cid, .scope = FAB_DAGSYNC_ALL};
    const char *path = strchr(how, '=');
    struct fab_buf items;
    fab_buf_init(&items, 1u << 16);
    if (path)
        item.path = fab_slice(path + 1, strlen(path + 1));
    else if (strcmp(how, "root") == 0)
        item.scope = FAB_DAGSYNC_ROOT;
    else if (strcmp(how, "range") == 0)
        item = (struct fab_dagsync_item){
            .cid = *cid, .scope = FAB_DAGSYNC_RANGE, .from = 1, .to = 1000000};
    must(fab_dagsync_item_append(&items, &item));
    must(fab_dagsync_append(
        out, &(struct fab_dagsync_message){.type = FAB_DAGSYNC_CREDIT, .number = 64u << 20}));
    must(fab_dagsync_append(out, &(struct fab_dagsync_message){.type = FAB_DAGSYNC_REQUEST,
                                                               .bytes = fab_buf_slice(&items)}));
    fab_buf_fini(&items);
}

static void put_bitswap(struct fab_buf *out, const char *how, const struct fab_cid *cid)
{
    struct fab_buf entries;
    enum fab_bitswap_kind kind =
        strncmp(how, "have", 4) == 0 ? FAB_BITSWAP_WANT_HAVE : FAB_BITSWAP_WANT_BLOCK;
    fab_buf_init(&entries, 4096);
    must(fab_bitswap_entry_append(&entries, kind, cid, 1, strstr(how, "-silent") == NULL));
    must(fab_bitswap_write_wants(out, fab_buf_slice(&entries), false));
    fab_buf_fini(&entries);
}

bool ask_in_words(struct peer *p, const char *how, const struct fab_cid *cid)
{
    bool dagsync = strncmp(how, "dagsync-", 8) == 0;
    struct fab_buf out;
    if (!dagsync && strncmp(how, "bitswap-", 8) != 0)
        return false;
    fab_buf_init(&out, 1u << 17);
    dagsync ? put_dagsync(&out, how + 8, cid) : put_bitswap(&out, how + 8, cid);
    struct stream *s = peer_open(p, dagsync ? FAB_DAGSYNC_PROTOCOL : FAB_BITSWAP_PROTOCOL, out.data,
                                 out.len, dagsync);
    fab_buf_fini(&out);
    int rc = peer_pump(p, QUIET_MS, NULL, NULL);
    if (rc < 0)
        say("closed");
    else if (s->reset)
        say("reset");
    if (dagsync)
        words_of(s, dagsync_words);
    for (size_t i = 0; !dagsync && i < STREAMS_MAX; i++)
        if (p->streams[i].id && !p->streams[i].ours &&
            strcmp(p->streams[i].name, FAB_BITSWAP_PROTOCOL) == 0)
            words_of(&p->streams[i], bitswap_words);
    puts(*last ? "" : "nothing");
    return true;
}
