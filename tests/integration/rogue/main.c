/* rogue: a peer of a private swarm that misbehaves in a chosen way, or asks honestly.
 *
 *   rogue modes [handshake|yamux|protocol|source]
 *   rogue MODE  IP:PORT KEYFILE CID [FROM_IP]      says what became of it; 0: as it must be
 *   rogue probe IP:PORT KEYFILE CID FROM_IP PID    asks until SIGTERM, then "COUNT FAILED WORST_MS
 *                                                  BEFORE_KIB PEAK_KIB"; each time a new connection
 *   rogue ask   IP:PORT KEYFILE CID HOW            all that is answered, in words: see ask.h */
#include "tests/integration/rogue/ask.h"
#include "tests/integration/rogue/modes.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct mode *const all[] = {handshake_modes, yamux_modes, protocol_modes,
                                         source_modes};
static const char *const groups[] = {"handshake", "yamux", "protocol", "source"};
static volatile sig_atomic_t told_to_end;

static void on_term(int signal)
{
    (void)signal;
    told_to_end = 1;
}

/* ---- shared by the modes ---- */

void connect_or_end(struct peer *p, const struct target *t)
{
    if (!peer_connect(p, t))
        broken("the node refuses an honest handshake");
}

bool closes(struct wire *w, double limit_ms, uint64_t bytes_max)
{
    double took = wire_await_close(w, limit_ms);
    if (took < 0) {
        printf("still open after %.0f ms; ", limit_ms);
        return false;
    }
    printf("closed after %.1f ms", took);
    if (bytes_max > 0)
        printf(", %llu bytes said", (unsigned long long)w->received);
    printf("; ");
    return bytes_max == 0 || w->received <= bytes_max;
}

bool lives(struct peer *p, const char *what)
{
    double ms = peer_alive(p);
    printf("%s%s%s; ", what, *what ? ", " : "", ms < 0 ? "connection gone" : "connection lives");
    return ms >= 0;
}

/* ---- the honest peer ---- */

/* Private memory of a process in KiB. */
static long memory_of(const char *pid)
{
    char path[64], line[256];
    long sum = 0, one;
    snprintf(path, sizeof path, "/proc/%s/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        broken("%s cannot be read", path);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Private_Clean: %ld", &one) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &one) == 1)
            sum += one;
    fclose(f);
    return sum;
}

static double ask_once(const struct target *t, const struct fab_cid *cid, bool dagsync)
{
    static struct peer p;
    double start = now_ms(), took = -1;
    memset(&p, 0, sizeof p);
    if (peer_connect(&p, t) &&
        (dagsync ? ask_dagsync(&p, cid, 5000) : ask_bitswap(&p, cid, 5000)) >= 0)
        took = now_ms() - start;
    peer_close(&p);
    return took;
}

static int probe(const struct target *t, const struct fab_cid *cid, const char *pid)
{
    unsigned count = 0, failed = 0;
    double worst = 0;
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    long before = memory_of(pid), peak = before;
    while (!told_to_end) {
        double took = ask_once(t, cid, count % 2 == 0);
        count++;
        failed += took < 0;
        worst = took > worst ? took : worst;
        long now = memory_of(pid);
        peak = now > peak ? now : peak;
        sleep_ms(50);
    }
    printf("%u %u %.1f %ld %ld\n", count, failed, worst, before, peak);
    return 0;
}

static int ask(const struct target *t, const struct fab_cid *cid, const char *how)
{
    static struct peer p;
    if (!peer_connect(&p, t))
        puts("refused");
    else if (!ask_in_words(&p, how, cid))
        broken("no such question: %s", how);
    return 0;
}

/* ---- the command line ---- */

static void read_target(struct target *t, const char *to, const char *keyfile, const char *from)
{
    char ip[64], text[FAB_SWARM_KEY_FILE_MAX];
    int port;
    struct fab_err err = {0};
    memset(t, 0, sizeof *t);
    if (sscanf(to, "%63[0-9.]:%d", ip, &port) != 2 || inet_pton(AF_INET, ip, &t->to.sin_addr) != 1)
        broken("not an address: %s", to);
    t->to.sin_family = AF_INET;
    t->to.sin_port = htons((uint16_t)port);
    if (from && inet_pton(AF_INET, from, &t->from) != 1)
        broken("not an address: %s", from);
    FILE *f = fopen(keyfile, "re");
    if (!f)
        broken("%s cannot be read", keyfile);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    if (fab_swarm_key_parse(fab_slice(text, n), t->key, &err) != FAB_OK)
        broken("%s", err.msg);
}

static int list(const char *group)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (const struct mode *m = all[i]; m->name && (!group || !strcmp(group, groups[i])); m++)
            puts(m->name);
    return 0;
}

int main(int argc, char **argv)
{
    struct target t;
    struct fab_cid cid;
    if (argc >= 2 && strcmp(argv[1], "modes") == 0)
        return list(argc > 2 ? argv[2] : NULL);
    if (argc < 5 || sodium_init() < 0)
        broken("usage: rogue MODE IP:PORT KEYFILE CID ...");
    if (fab_cid_from_text(argv[4], strlen(argv[4]), &cid) != FAB_OK)
        broken("not a CID: %s", argv[4]);
    bool asks = strcmp(argv[1], "ask") == 0;
    read_target(&t, argv[2], argv[3], !asks && argc > 5 ? argv[5] : NULL);
    if (strcmp(argv[1], "probe") == 0 && argc > 6)
        return probe(&t, &cid, argv[6]);
    if (asks && argc > 5)
        return ask(&t, &cid, argv[5]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (const struct mode *m = all[i]; m->name; m++) {
            if (strcmp(argv[1], m->name) != 0)
                continue;
            bool good = m->run(&t, &cid);
            printf("%s\n", good ? "good" : "BAD");
            return good ? 0 : 1;
        }
    }
    broken("no such mode: %s", argv[1]);
}
