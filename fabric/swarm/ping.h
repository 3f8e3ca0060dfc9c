/* Ping (libp2p specs ping/ping.md): the initiator sends FAB_PING_SIZE random bytes, the responder
 * sends the same bytes back, and so on until the initiator half-closes the stream, which the
 * responder answers by closing its half. The stream handler is a plain echo and needs no state but
 * the count of bytes on their way back. */
#ifndef FAB_SWARM_PING_H
#define FAB_SWARM_PING_H

#define FAB_PING_PROTOCOL    "/ipfs/ping/1.0.0"
#define FAB_PING_SIZE        32       /* bytes of a ping and of its answer */
#define FAB_PING_STREAMS_MAX 2        /* inbound ping streams of one peer at a time */
#define FAB_PING_IDLE_US     10000000 /* a silent inbound ping stream is closed after this time */

#endif
