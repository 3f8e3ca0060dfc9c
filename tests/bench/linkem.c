/* A link between two network namespaces with a rate, a delay, a queue and losses, for kernels
 * without netem:
 *
 *   bench_linkem [--rate R] [--delay D] [--queue BYTES] [--loss P] [--seed N] [--mtu N] END END
 *
 * Each END is NAMESPACE:DEVICE:ADDRESS/PREFIX, such as fa:link0:10.9.0.1/24: a tun device of that
 * name is made in the namespace (one of `ip netns`, or - for the current one), given the IPv4
 * address and brought up. It goes when the program ends.
 *   --rate   bits per second: 1g, 200m, 64k (default 1g)
 *   --delay  one way, behind the queue: 20ms, 500us, 1s (default 0)
 *   --queue  bytes that may wait for the line; a packet beyond them is dropped (default 4m; k and m
 * are 1024-based)
 *   --loss   the probability that a packet which crossed the line is lost: 0.001 (default 0)
 *   --seed   of the losses (default 1): same seed and same packets, same losses
 *   --mtu    of both devices (default 1500, at most 65535)
 * A value A,B is for the direction from the first to the second end, and for the one back.
 *
 * It prints "ready" when packets flow, runs until SIGTERM or SIGINT, and then says on stderr what
 * each direction carried, dropped and lost. Needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and
 * /dev/net/tun.
 *
 * A packet's due time is set once, on arrival: the line is free at line_free, sends the packet for
 * size / rate, and the packet stays on its way for the delay. So each direction is one
 * first-in-first-out ring. While anything is on its way the loop sleeps for TICK, or to the next
 * due time, and then moves all there is: what a packet gets too late stays below TICK plus the
 * timer's own error, and 1 Gbit/s costs some 20,000 wake-ups a second at the most.
 */
#include "tests/bench/prng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MAX_PACKET  (65536 + (int)VNET)
#define VNET        sizeof(struct virtio_net_hdr) /* before every packet of the devices */
#define TICK_NS     50000
#define RUN_NS      200000
#define TXQUEUE     16384 /* packets that the kernel holds while this program does not run */
#define READ_BURST  256   /* packets taken from one device before the other one is looked at */
#define RING_SPARE  ((size_t)4 << 20)
#define NS_PER_S    1000000000u
#define MAX_RING    ((size_t)1 << 32)
#define ALIGN_UP(n) (((n) + 7) & ~(size_t)7)

struct packet { /* in the ring, followed by its bytes, padded to 8 */
    uint64_t due_ns;
    uint32_t size;
    uint16_t segments;
    uint16_t skip; /* 1: nothing here, go on at the start of the ring */
};

struct direction {
    double rate; /* bit/s */
    uint64_t delay_ns;
    uint64_t queue; /* bytes */
    double loss;
    struct prng prng;
    int from;
    int to;
    double line_free_ns; /* when the line has sent all that it took; a double, so that no rounding
                            adds up */
    uint8_t *ring;
    size_t size, head, used; /* bytes; head is the oldest packet */
    uint64_t sent, sent_bytes, dropped, lost;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static int fail(const char *what)
{
    fprintf(stderr, "bench_linkem: %s: %s\n", what, strerror(errno));
    return -1;
}

static int refuse(const char *what, const char *text)
{
    fprintf(stderr, "bench_linkem: %s: '%s'\n", what, text);
    return -1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the options */

struct suffix {
    const char *text;
    double factor;
};

static const struct suffix rate_suffixes[] = {
    {"", 1}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {NULL, 0}};
static const struct suffix time_suffixes[] = {{"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {NULL, 0}};
static const struct suffix size_suffixes[] = {
    {"", 1}, {"k", 1024}, {"m", 1024.0 * 1024}, {"g", 1024.0 * 1024 * 1024}, {NULL, 0}};
static const struct suffix plain[] = {{"", 1}, {NULL, 0}};

/* The number at *text, up to a comma or the end; *text is moved behind it. */
static int one_number(const char **text, const struct suffix *suffixes, double *out)
{
    char *end;
    double value = strtod(*text, &end);
    size_t n = strcspn(end, ",");
    if (end == *text || !(value >= 0))
        return -1;
    if (value == 0 && n == 0) { /* a bare 0 needs no unit */
        *out = 0;
        *text = end;
        return 0;
    }
    for (; suffixes->text; suffixes++) {
        if (strlen(suffixes->text) == n && strncmp(suffixes->text, end, n) == 0) {
            *out = value * suffixes->factor;
            *text = end + n;
            return 0;
        }
    }
    return -1;
}

/* A, or A,B */
static int two_numbers(const char *text, const struct suffix *suffixes, double max, double out[2])
{
    const char *at = text;
    if (one_number(&at, suffixes, &out[0]) != 0)
        return refuse("not a value", text);
    out[1] = out[0];
    if (*at == ',') {
        at++;
        if (one_number(&at, suffixes, &out[1]) != 0)
            return refuse("not a value", text);
    }
    if (*at != '\0' || out[0] > max || out[1] > max)
        return refuse("not a value", text);
    return 0;
}

/* ---- the devices */

static int set_up(int control, const char *device, struct in_addr address, unsigned prefix, int mtu)
{
    struct ifreq r = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = address};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", device);
    memcpy(&r.ifr_addr, &in, sizeof in);
    if (ioctl(control, SIOCSIFADDR, &r) != 0)
        return fail("set the address");
    in.sin_addr.s_addr = htonl(prefix == 0 ? 0 : UINT32_MAX << (32 - prefix));
    memcpy(&r.ifr_netmask, &in, sizeof in);
    if (ioctl(control, SIOCSIFNETMASK, &r) != 0)
        return fail("set the netmask");
    r.ifr_mtu = mtu;
    if (ioctl(control, SIOCSIFMTU, &r) != 0)
        return fail("set the MTU");
    r.ifr_qlen = TXQUEUE;
    if (ioctl(control, SIOCSIFTXQLEN, &r) != 0)
        return fail("set the queue length");
    if (ioctl(control, SIOCGIFFLAGS, &r) != 0)
        return fail("read the flags");
    r.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &r) != 0)
        return fail("bring the device up");
    return 0;
}

static int enter(const char *namespace)
{
    char path[PATH_MAX];
    if (strcmp(namespace, "-") == 0)
        return 0;
    snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0)
        return fail(path);
    int rc = setns(ns, CLONE_NEWNET) == 0 ? 0 : fail("enter the namespace");
    close(ns);
    return rc;
}

/* The tun device of one END, in its namespace; the caller is in the one at `home` before and after.
 */
static int open_end(const char *text, int mtu, int home, int *out)
{
    char namespace[256], device[IFNAMSIZ], address[INET_ADDRSTRLEN];
    unsigned prefix;
    struct in_addr in;
    int rc = -1, fd = -1, control = -1;
    if (sscanf(text, "%255[^:]:%15[^:]:%15[0-9.]/%u", namespace, device, address, &prefix) != 4 ||
        inet_pton(AF_INET, address, &in) != 1 || prefix > 32)
        return refuse("not NAMESPACE:DEVICE:ADDRESS/PREFIX", text);
    if (enter(namespace) != 0)
        return -1;
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        fail("/dev/net/tun");
        goto out;
    }
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", device);
    if (ioctl(fd, TUNSETIFF, &r) != 0 ||
        ioctl(fd, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4)) != 0) {
        fail("make the device");
        goto out;
    }
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) {
        fail("socket");
        goto out;
    }
    rc = set_up(control, device, in, prefix, mtu);
out:
    if (control >= 0)
        close(control);
    if (setns(home, CLONE_NEWNET) != 0)
        rc = fail("come back from the namespace");
    if (rc == 0)
        *out = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- a direction */

static int start_direction(struct direction *d)
{
    /* What the line and the delay can hold, and as much again for the headers of small packets. */
    double held = (double)d->queue + d->rate / 8 * ((double)d->delay_ns / NS_PER_S);
    if (!(held * 2 < (double)(MAX_RING - RING_SPARE))) {
        errno = EINVAL;
        return fail("rate times delay, and the queue, are too large");
    }
    d->size = ALIGN_UP((size_t)(held * 2) + RING_SPARE);
    d->ring = malloc(d->size);
    return d->ring ? 0 : fail("memory");
}

/* Room for n bytes behind the newest packet, in one piece; NULL when the ring is full. */
static uint8_t *room_for(struct direction *d, size_t n)
{
    size_t tail = (d->head + d->used) % d->size;
    size_t to_end = d->size - tail;
    bool wraps = d->used > 0 && tail <= d->head;
    size_t contiguous = wraps ? d->head - tail : to_end;
    if (n <= contiguous)
        return d->ring + tail;
    if (wraps || n > d->head)
        return NULL;
    struct packet skip = {.skip = 1};
    if (to_end >= sizeof skip)
        memcpy(d->ring + tail, &skip, sizeof skip);
    d->used += to_end;
    return d->ring;
}

/* A packet of that many bytes comes to the queue: whether it will stand at the other end. */
static bool cross(struct direction *d, size_t bytes, uint64_t now)
{
    double begin = d->line_free_ns > (double)now ? d->line_free_ns : (double)now;
    double waiting = (begin - (double)now) * d->rate / 8 / NS_PER_S;
    if (waiting + (double)bytes > (double)d->queue) {
        d->dropped++;
        return false;
    }
    d->line_free_ns = begin + (double)bytes * 8 * NS_PER_S / d->rate;
    if ((double)(prng_next(&d->prng) >> 11) * 0x1p-53 < d->loss) {
        d->lost++;
        return false;
    }
    return true;
}

/* A place for n bytes that are due when the line has sent what it took so far; NULL when there is
 * no room. */
static uint8_t *append(struct direction *d, size_t n, uint32_t segments)
{
    size_t whole = ALIGN_UP(sizeof(struct packet) + n);
    uint8_t *place = room_for(d, whole);
    if (!place) {
        d->dropped += segments;
        return NULL;
    }
    struct packet header = {.due_ns = (uint64_t)d->line_free_ns + d->delay_ns,
                            .size = (uint32_t)n,
                            .segments = (uint16_t)segments};
    memcpy(place, &header, sizeof header);
    d->used += whole;
    return place + sizeof header;
}

/* A large packet: VNET, the IPv4 and the TCP header, and what mss-sized segments carry. */
struct large {
    const uint8_t *bytes;
    size_t ip, head; /* bytes of the IPv4 header; of both headers */
    size_t payload, mss;
};

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* The one's complement sum of n bytes, n even (RFC 1071), not yet inverted. */
static uint32_t sum16(const uint8_t *at, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i += 2)
        sum += get16(at + i);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* Makes the packet of the payload from `begin` to `end`, which the ring then holds. */
static void append_run(struct direction *d, const struct large *l, size_t begin, size_t end)
{
    enum { FIN_PSH = 0x09, CWR = 0x80 };
    size_t size = l->head + end - begin;
    uint32_t segments = (uint32_t)((end - begin + l->mss - 1) / l->mss);
    uint8_t *out = append(d, VNET + size, segments);
    if (!out)
        return;
    memcpy(out, l->bytes, VNET + l->head);
    memcpy(out + VNET + l->head, l->bytes + VNET + l->head + begin, end - begin);

    struct virtio_net_hdr v;
    memcpy(&v, out, VNET);
    v.hdr_len = (uint16_t)l->head;
    if (segments == 1) {
        v.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        v.gso_size = 0;
    }
    memcpy(out, &v, VNET);

    uint8_t *ip = out + VNET, *tcp = ip + l->ip;
    put16(ip + 2, (uint32_t)size);
    put16(ip + 4, get16(ip + 4) + (uint32_t)(begin / l->mss));
    put16(ip + 10, 0);
    put16(ip + 10, ~sum16(ip, l->ip, 0));
    uint32_t seq = (get16(tcp + 4) << 16 | get16(tcp + 6)) + (uint32_t)begin;
    put16(tcp + 4, seq >> 16);
    put16(tcp + 6, seq);
    if (end < l->payload)
        tcp[13] &= (uint8_t)~FIN_PSH;
    if (begin > 0)
        tcp[13] &= (uint8_t)~CWR;
    /* What the receiver completes: the sum over the pseudo header. */
    put16(tcp + 16, sum16(ip + 12, 8, 6 + (uint32_t)(size - l->ip)));
}

static void take_large(struct direction *d, const struct large *l, uint64_t now)
{
    size_t begin = 0;    /* of the run that is being made */
    double begin_ns = 0; /* when the line began with it */
    bool in_run = false;
    for (size_t at = 0; at < l->payload; at += l->mss) {
        size_t n = l->payload - at < l->mss ? l->payload - at : l->mss;
        double line_ns = d->line_free_ns > (double)now ? d->line_free_ns : (double)now;
        /* Before the line takes the next one: a run is due when its own last segment has gone. */
        if (in_run && line_ns - begin_ns >= RUN_NS) {
            append_run(d, l, begin, at);
            in_run = false;
        }
        double free_ns = d->line_free_ns;
        if (cross(d, l->head + n, now)) {
            if (!in_run) {
                begin = at;
                begin_ns = line_ns;
                in_run = true;
            }
        } else if (in_run) {
            double after_ns = d->line_free_ns;
            d->line_free_ns = free_ns;
            append_run(d, l, begin, at);
            d->line_free_ns = after_ns;
            in_run = false;
        }
    }
    if (in_run)
        append_run(d, l, begin, l->payload);
}

static void take(struct direction *d, const uint8_t *bytes, size_t n, uint64_t now)
{
    struct virtio_net_hdr v;
    if (n <= VNET)
        return;
    memcpy(&v, bytes, VNET);
    if (v.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        const uint8_t *ip = bytes + VNET;
        struct large l = {.bytes = bytes, .ip = (size_t)(ip[0] & 15) * 4, .mss = v.gso_size};
        if (l.mss == 0 || l.ip < 20 || n < VNET + l.ip + 20)
            return;
        l.head = l.ip + (size_t)(ip[l.ip + 12] >> 4) * 4;
        if (n <= VNET + l.head)
            return;
        l.payload = n - VNET - l.head;
        take_large(d, &l, now);
    } else if (cross(d, n - VNET, now)) {
        uint8_t *place = append(d, n, 1);
        if (place)
            memcpy(place, bytes, n);
    }
}

static int receive(struct direction *d, uint64_t now)
{
    static uint8_t bytes[MAX_PACKET];
    for (int i = 0; i < READ_BURST; i++) {
        ssize_t n = read(d->from, bytes, sizeof bytes);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            return fail("read from the device");
        take(d, bytes, (size_t)n, now);
    }
    return 0;
}

/* The oldest packet, or NULL. */
static struct packet *oldest(struct direction *d)
{
    while (d->used > 0) {
        struct packet *p = (struct packet *)(void *)(d->ring + d->head);
        size_t to_end = d->size - d->head;
        if (to_end >= sizeof *p && !p->skip)
            return p;
        d->used -= to_end;
        d->head = 0;
    }
    return NULL;
}

static int deliver(struct direction *d, uint64_t now)
{
    for (struct packet *p = oldest(d); p && p->due_ns <= now; p = oldest(d)) {
        ssize_t n = write(d->to, p + 1, p->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && errno != EINVAL)
            return fail("write to the device");
        if (n < 0) {
            d->dropped += p->segments;
        } else {
            d->sent += p->segments;
            d->sent_bytes += p->size - VNET;
        }
        size_t whole = ALIGN_UP(sizeof *p + p->size);
        d->head = (d->head + whole) % d->size;
        d->used -= whole;
    }
    return 0;
}

static int carry(struct direction d[2])
{
    struct pollfd devices[2] = {{.fd = d[0].from, .events = POLLIN},
                                {.fd = d[1].from, .events = POLLIN}};
    while (!ended) {
        uint64_t now = now_ns(), next = UINT64_MAX;
        for (int i = 0; i < 2; i++) {
            if (receive(&d[i], now) != 0)
                return -1;
        }
        for (int i = 0; i < 2; i++) {
            if (deliver(&d[i], now) != 0)
                return -1;
            struct packet *p = oldest(&d[i]);
            if (p && p->due_ns < next)
                next = p->due_ns;
        }
        if (next == UINT64_MAX) {
            if (poll(devices, 2, -1) < 0 && errno != EINTR)
                return fail("poll");
            continue;
        }
        now = now_ns();
        if (next <= now)
            continue;
        struct timespec wait = {.tv_nsec = (long)(next - now < TICK_NS ? next - now : TICK_NS)};
        nanosleep(&wait, NULL);
    }
    return 0;
}

static void report(const struct direction *d, const char *from, const char *to)
{
    fprintf(stderr,
            "%s -> %s: %" PRIu64 " packets, %" PRIu64 " bytes; %" PRIu64 " dropped, %" PRIu64
            " lost\n",
            from, to, d->sent, d->sent_bytes, d->dropped, d->lost);
}

int main(int argc, char **argv)
{
    enum { RATE = 1, DELAY, QUEUE, LOSS, SEED, MTU };
    static const struct option options[] = {{"rate", required_argument, NULL, RATE},
                                            {"delay", required_argument, NULL, DELAY},
                                            {"queue", required_argument, NULL, QUEUE},
                                            {"loss", required_argument, NULL, LOSS},
                                            {"seed", required_argument, NULL, SEED},
                                            {"mtu", required_argument, NULL, MTU},
                                            {NULL, 0, NULL, 0}};
    double rate[2] = {1e9, 1e9}, delay[2] = {0, 0}, queue[2] = {4 << 20, 4 << 20}, loss[2] = {0, 0};
    double seed[2] = {1, 1}, mtu[2] = {1500, 1500};
    struct direction d[2] = {0};
    int home = -1, a = -1, b = -1, status = 1, rc = 0;
    for (int c; rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case RATE:
            rc = two_numbers(optarg, rate_suffixes, 1e12, rate);
            break;
        case DELAY:
            rc = two_numbers(optarg, time_suffixes, 60e9, delay);
            break;
        case QUEUE:
            rc = two_numbers(optarg, size_suffixes, 1e9, queue);
            break;
        case LOSS:
            rc = two_numbers(optarg, plain, 1, loss);
            break;
        case SEED:
            rc = two_numbers(optarg, plain, 1e15, seed);
            break;
        case MTU:
            rc = two_numbers(optarg, plain, 65535, mtu);
            break;
        default:
            rc = -1;
        }
    }
    if (rc != 0 || argc - optind != 2 || rate[0] < 1 || rate[1] < 1 || mtu[0] < 68 || mtu[1] < 68) {
        fprintf(stderr, "usage: bench_linkem [--rate R] [--delay D] [--queue BYTES] [--loss P] "
                        "[--seed N] [--mtu N] NAMESPACE:DEVICE:ADDRESS/PREFIX (twice)\n");
        return 2;
    }
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    prctl(PR_SET_TIMERSLACK, 1ul);
    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0) {
        fail("/proc/self/ns/net");
        goto out;
    }
    if (open_end(argv[optind], (int)mtu[0], home, &a) != 0 ||
        open_end(argv[optind + 1], (int)mtu[1], home, &b) != 0)
        goto out;
    for (int i = 0; i < 2; i++) {
        d[i] = (struct direction){.rate = rate[i],
                                  .delay_ns = (uint64_t)delay[i],
                                  .queue = (uint64_t)queue[i],
                                  .loss = loss[i],
                                  .prng = prng_seed((uint64_t)seed[i] * 2 + (uint64_t)i),
                                  .from = i == 0 ? a : b,
                                  .to = i == 0 ? b : a};
        if (start_direction(&d[i]) != 0)
            goto out;
    }
    printf("ready\n");
    fflush(stdout);
    status = carry(d) == 0 ? 0 : 1;
    report(&d[0], argv[optind], argv[optind + 1]);
    report(&d[1], argv[optind + 1], argv[optind]);
out:
    free(d[0].ring);
    free(d[1].ring);
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    if (home >= 0)
        close(home);
    return status;
}
