/* The addresses of this host's network interfaces. */
#include "fabric/node/internal.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

static unsigned prefix_bits(const struct sockaddr *mask)
{
    struct fab_address address;
    size_t n;
    unsigned bits = 0;
    memset(&address, 0, sizeof address);
    memcpy(&address, mask, mask->sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6);
    const uint8_t *p = mask->sa_family == AF_INET ? (const uint8_t *)&address.v4.sin_addr
                                                  : address.v6.sin6_addr.s6_addr;
    n = mask->sa_family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < n; i++)
        for (uint8_t byte = p[i]; byte & 0x80; byte = (uint8_t)(byte << 1))
            bits++;
    return bits;
}

size_t interfaces_read(struct node_interface *out, size_t max)
{
    struct ifaddrs *list;
    size_t n = 0;
    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *i = list; i && n < max; i = i->ifa_next) {
        sa_family_t family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if ((family != AF_INET && family != AF_INET6) || !i->ifa_netmask ||
            !(i->ifa_flags & IFF_UP))
            continue;
        struct node_interface *entry = &out[n];
        memset(entry, 0, sizeof *entry);
        memcpy(&entry->address, i->ifa_addr,
               family == AF_INET ? sizeof entry->address.v4 : sizeof entry->address.v6);
        if ((entry->index = if_nametoindex(i->ifa_name)) == 0)
            continue;
        entry->prefix = prefix_bits(i->ifa_netmask);
        entry->loopback = i->ifa_flags & IFF_LOOPBACK;
        entry->multicast = (i->ifa_flags & IFF_MULTICAST) && !entry->loopback;
        n++;
    }
    freeifaddrs(list);
    return n;
}

bool address_is_any(const struct fab_address *address)
{
    static const uint8_t zero[16];
    size_t n;
    const uint8_t *ip = fab_address_bytes(address, &n);
    return n > 0 && memcmp(ip, zero, n) == 0;
}

bool address_is_loopback(const struct fab_address *address)
{
    size_t n;
    const uint8_t *ip = fab_address_bytes(address, &n);
    return n == 4 ? ip[0] == 127 : n == 16 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

bool address_is_link_local6(const struct fab_address *address)
{
    size_t n;
    fab_address_bytes(address, &n);
    return n == 16 && IN6_IS_ADDR_LINKLOCAL(&address->v6.sin6_addr);
}

bool address_same_host(const struct fab_address *a, const struct fab_address *b)
{
    size_t n, m;
    const uint8_t *x = fab_address_bytes(a, &n), *y = fab_address_bytes(b, &m);
    return n == m && n > 0 && memcmp(x, y, n) == 0;
}

bool interface_reaches(const struct node_interface *interface, const struct fab_address *address)
{
    size_t n, m;
    const uint8_t *x = fab_address_bytes(&interface->address, &n);
    const uint8_t *y = fab_address_bytes(address, &m);
    if (n == 0 || n != m)
        return false;
    for (unsigned bit = 0; bit < interface->prefix && bit < 8 * n; bit++) {
        unsigned mask = 0x80u >> bit % 8;
        if ((x[bit / 8] & mask) != (y[bit / 8] & mask))
            return false;
    }
    return true;
}
