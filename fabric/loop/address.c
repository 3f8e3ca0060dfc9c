#include "fabric/loop/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Decimal without sign or blanks. */
static enum fab_rc parse_number(const char *text, uint32_t max, uint32_t *out)
{
    uint32_t value = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && n < 10; n++) {
        value = value * 10 + (uint32_t)(text[n] - '0');
        if (value > max)
            return FAB_EFORMAT;
    }
    if (n == 0 || text[n] != '\0')
        return FAB_EFORMAT;
    *out = value;
    return FAB_OK;
}

static enum fab_rc parse_host(const char *host, bool v6, struct fab_address *out)
{
    if (!v6) {
        out->v4.sin_family = AF_INET;
        return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1 ? FAB_OK : FAB_EFORMAT;
    }
    char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (snprintf(copy, sizeof copy, "%s", host) >= (int)sizeof copy)
        return FAB_EFORMAT;
    char *zone = strchr(copy, '%');
    if (zone) {
        *zone++ = '\0';
        out->v6.sin6_scope_id = if_nametoindex(zone);
        if (out->v6.sin6_scope_id == 0)
            FAB_TRY(parse_number(zone, UINT32_MAX / 16, &out->v6.sin6_scope_id));
    }
    out->v6.sin6_family = AF_INET6;
    return inet_pton(AF_INET6, copy, &out->v6.sin6_addr) == 1 ? FAB_OK : FAB_EFORMAT;
}

enum fab_rc fab_address_parse(const char *text, struct fab_address *out)
{
    struct fab_address address;
    memset(&address, 0, sizeof address);
    bool v6 = text[0] == '[';
    const char *end = v6 ? strchr(text, ']') : strchr(text, ':');
    const char *host = text + v6;
    char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (!end || (v6 && end[1] != ':') || (size_t)(end - host) >= sizeof copy)
        return FAB_EFORMAT;
    memcpy(copy, host, (size_t)(end - host));
    copy[end - host] = '\0';
    uint32_t port;
    FAB_TRY(parse_number(end + 1 + v6, 65535, &port));
    FAB_TRY(parse_host(copy, v6, &address));
    if (v6)
        address.v6.sin6_port = htons((uint16_t)port);
    else
        address.v4.sin_port = htons((uint16_t)port);
    *out = address;
    return FAB_OK;
}

enum fab_rc fab_address_ip(const uint8_t *ip, size_t n, uint16_t port, struct fab_address *out)
{
    struct fab_address address;
    memset(&address, 0, sizeof address);
    if (n == 4) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        memcpy(&address.v4.sin_addr, ip, n);
    } else if (n == 16) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        memcpy(&address.v6.sin6_addr, ip, n);
    } else {
        return FAB_EINVAL;
    }
    *out = address;
    return FAB_OK;
}

socklen_t fab_address_len(const struct fab_address *address)
{
    switch (address->any.sa_family) {
    case AF_INET:
        return sizeof address->v4;
    case AF_INET6:
        return sizeof address->v6;
    default:
        return 0;
    }
}

uint16_t fab_address_port(const struct fab_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

const uint8_t *fab_address_bytes(const struct fab_address *address, size_t *n)
{
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    switch (address->any.sa_family) {
    case AF_INET:
        *n = 4;
        return (const uint8_t *)&address->v4.sin_addr;
    case AF_INET6:
        *n = IN6_IS_ADDR_V4MAPPED(v6) ? 4 : 16;
        return v6->s6_addr + (16 - *n);
    default:
        *n = 0;
        return NULL;
    }
}

const char *fab_address_text(const struct fab_address *address, char out[FAB_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "";
    unsigned port = fab_address_port(address);
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        snprintf(out, FAB_ADDRESS_TEXT, "%s:%u", host, port);
    } else if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        if (address->v6.sin6_scope_id)
            snprintf(out, FAB_ADDRESS_TEXT, "[%s%%%u]:%u", host,
                     (unsigned)address->v6.sin6_scope_id, port);
        else
            snprintf(out, FAB_ADDRESS_TEXT, "[%s]:%u", host, port);
    } else {
        snprintf(out, FAB_ADDRESS_TEXT, "unknown");
    }
    return out;
}
