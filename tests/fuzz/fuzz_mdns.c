/* Multicast DNS: a hostile packet leaves within the limits what was seen in it, and that can be
 * written, read again and tried with a key. */
#include "fabric/swarm/mdns.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void again(const struct fab_mdns_announcement *a)
{
    static const uint8_t key[FAB_SWARM_KEY_SIZE] = {1};
    struct fab_mdns_packet packet;
    struct fab_peer_id id;
    struct fab_buf b;
    check(a->port > 0 && a->n > 0 && a->n <= FAB_MDNS_ENTRIES_MAX);
    fab_buf_init(&b, FAB_MDNS_PACKET_MAX);
    check(fab_mdns_announce(a, &b) == FAB_OK);
    check(fab_mdns_parse(fab_buf_slice(&b), &packet) == FAB_OK);
    check(packet.n == 1 && !packet.query);
    check(memcmp(&packet.seen[0], a, sizeof *a) == 0);
    enum fab_rc rc = fab_mdns_open(a, key, &id);
    check(rc == FAB_OK || rc == FAB_ENOENT || rc == FAB_EFORMAT);
    fab_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fab_mdns_packet packet;
    enum fab_rc rc = fab_mdns_parse(fab_slice(data, size), &packet);
    check(rc == FAB_OK || rc == FAB_EFORMAT || rc == FAB_EUNSUPPORTED);
    if (rc != FAB_OK)
        return 0;
    check(packet.n <= FAB_MDNS_SEEN_MAX);
    for (size_t i = 0; i < packet.n; i++)
        again(&packet.seen[i]);
    return 0;
}
