#include "fabric/loop/udp.h"
#include "fabric/loop/inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATAGRAMS 64 /* in a turn */

struct fab_udp {
    uv_poll_t poll;
    struct fab_loop *loop;
    fab_udp_fn *receive;
    void *arg;
    int fd;
    bool closed;
    struct fab_address address;
};

static void on_closed(uv_handle_t *handle)
{
    struct fab_udp *udp = handle->data;
    udp->loop->open--;
    free(udp);
}

static unsigned interface_of(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            return (unsigned)info.ipi_ifindex;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            return info.ipi6_ifindex;
        }
    }
    return 0;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct fab_udp *udp = poll->data;
    (void)events;
    for (int i = 0; i < DATAGRAMS && !udp->closed; i++) {
        struct fab_address from;
        union {
            struct cmsghdr align;
            uint8_t bytes[128];
        } control;
        struct iovec iov = {udp->loop->input, sizeof udp->loop->input};
        struct msghdr msg = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
        memset(&from, 0, sizeof from);
        ssize_t n = recvmsg(udp->fd, &msg, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n >= 0)
            udp->receive(udp->arg, udp->loop->input, (size_t)n, &from, interface_of(&msg));
    }
    if (status < 0 && !udp->closed) /* an error was pending, and libuv has stopped watching */
        uv_poll_start(&udp->poll, UV_READABLE, on_ready);
}

static void set_options(int fd, sa_family_t family)
{
    int on = 1, ttl = 255;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (family == AF_INET) {
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl);
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof on);
    } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
        setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &ttl, sizeof ttl);
        setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &on, sizeof on);
    }
}

enum fab_rc fab_udp_new(struct fab_loop *loop, const struct fab_address *at, fab_udp_fn *receive,
                        void *arg, struct fab_udp **out)
{
    enum fab_rc rc = FAB_ENOMEM;
    struct fab_udp *udp = calloc(1, sizeof *udp);
    int fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!udp)
        goto out;
    rc = FAB_EIO;
    if (fd < 0 || fab_address_len(at) == 0)
        goto out;
    set_options(fd, at->any.sa_family);
    if (bind(fd, &at->any, fab_address_len(at)) != 0) {
        rc = errno == EADDRINUSE ? FAB_EBUSY : fab_rc_errno(errno);
        goto out;
    }
    socklen_t len = sizeof udp->address;
    getsockname(fd, &udp->address.any, &len);
    if (uv_poll_init(&loop->uv, &udp->poll, fd) != 0)
        goto out;
    udp->poll.data = udp;
    udp->loop = loop;
    udp->receive = receive;
    udp->arg = arg;
    udp->fd = fd;
    loop->open++;
    uv_poll_start(&udp->poll, UV_READABLE, on_ready);
    *out = udp;
    return FAB_OK;
out:
    if (fd >= 0)
        close(fd);
    free(udp);
    return rc;
}

enum fab_rc fab_udp_join(struct fab_udp *udp, const struct fab_address *group, unsigned interface)
{
    int rc;
    if (group->any.sa_family == AF_INET) {
        struct ip_mreqn request = {.imr_multiaddr = group->v4.sin_addr,
                                   .imr_ifindex = (int)interface};
        rc = setsockopt(udp->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
    } else {
        struct ipv6_mreq request = {.ipv6mr_multiaddr = group->v6.sin6_addr,
                                    .ipv6mr_interface = interface};
        rc = setsockopt(udp->fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request);
    }
    return rc == 0 || errno == EADDRINUSE ? FAB_OK : fab_rc_errno(errno);
}

enum fab_rc fab_udp_send(struct fab_udp *udp, const void *p, size_t n, const struct fab_address *to,
                         unsigned interface)
{
    struct fab_address name = *to;
    struct iovec iov = {(void *)(uintptr_t)p, n};
    union {
        struct cmsghdr align;
        uint8_t bytes[128];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr msg = {
        .msg_name = &name, .msg_namelen = fab_address_len(to), .msg_iov = &iov, .msg_iovlen = 1};
    if (interface) {
        struct in_pktinfo v4 = {.ipi_ifindex = (int)interface};
        struct in6_pktinfo v6 = {.ipi6_ifindex = interface};
        bool is4 = to->any.sa_family == AF_INET;
        size_t size = is4 ? sizeof v4 : sizeof v6;
        control.align.cmsg_level = is4 ? IPPROTO_IP : IPPROTO_IPV6;
        control.align.cmsg_type = is4 ? IP_PKTINFO : IPV6_PKTINFO;
        control.align.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.align), is4 ? (void *)&v4 : (void *)&v6, size);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(size);
    }
    ssize_t sent = sendmsg(udp->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)n ? FAB_OK : FAB_EIO;
}

const struct fab_address *fab_udp_address(const struct fab_udp *udp)
{
    return &udp->address;
}

void fab_udp_close(struct fab_udp *udp)
{
    if (!udp || udp->closed)
        return;
    udp->closed = true;
    uv_close((uv_handle_t *)&udp->poll, on_closed);
    close(udp->fd);
}
