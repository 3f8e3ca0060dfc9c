/* Socket addresses as values and as text. */
#ifndef FAB_LOOP_ADDRESS_H
#define FAB_LOOP_ADDRESS_H

#include "storage/base/rc.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

struct fab_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* From "192.0.2.1:4001", "[2001:db8::1]:4001" or "[fe80::1%eth0]:4001"; numeric only.
 * FAB_EFORMAT. */
FAB_MUST enum fab_rc fab_address_parse(const char *text, struct fab_address *out);

/* From 4 or 16 bytes in network order and a port in host order. FAB_EINVAL for other lengths. */
FAB_MUST enum fab_rc fab_address_ip(const uint8_t *ip, size_t n, uint16_t port,
                                    struct fab_address *out);

/* Bytes that the kernel wants to see; 0 when the family is neither. */
socklen_t fab_address_len(const struct fab_address *address);
uint16_t fab_address_port(const struct fab_address *address);
/* The 4 or 16 bytes inside `address`, network order; *n is their count, 0 when it is neither. An
 * IPv4 address mapped into IPv6 is given as the former. */
const uint8_t *fab_address_bytes(const struct fab_address *address, size_t *n);

#define FAB_ADDRESS_TEXT 72 /* bytes for any address as text, with the final NUL */
/* As fab_address_parse reads it; returns `out`. */
const char *fab_address_text(const struct fab_address *address, char out[FAB_ADDRESS_TEXT]);

#endif
