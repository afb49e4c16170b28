/*
 * The ceiling of the cases over UCX: active messages of the same UCX between two processes on the same lane, with nothing of ours in between. Messages up to
 * NET_AM_EAGER_BYTES go eagerly, which takes one way through the network instead of three; longer ones by rendezvous, straight into the
 * receiver's memory: UCX at its best with either.
 */
#ifndef BENCH_NET_AM_H
#define BENCH_NET_AM_H

#include "tests/bench/bench.h"

#define NET_AM_EAGER_BYTES (256u << 10)
#define NET_AM_PIECE_BYTES (2u << 20)
enum { NET_AM_PIECES = 16, NET_AM_WINDOW = 4 };

struct net_am_order {
    uint32_t ask_bytes, bytes; /* of the message that asks, and of each that answers; NET_AM_PIECE_BYTES at most */
    uint32_t n;                /* answers, NET_AM_WINDOW under way at once */
    bool hash;                 /* the receiver checksums each as libquire does */
    bool poll; /* both ends look without sleeping, the other until it rests; else they sleep on UCX's descriptor when there is nothing */
};

struct net_am;
/* Has this process, and all that it starts, use TCP over loopback with UCX, if the environment does not say otherwise. */
void net_am_environment(void);
/* Forks the other process, so before anything in this one has used UCX. 0, or 1 after saying why. */
int net_am_start(const struct bench_case *c, struct net_am **am);
/* Answers lie in `memory`, NET_AM_PIECES pieces, in turn. */
int net_am_run(const struct bench_case *c, struct net_am *am, const struct net_am_order *order, uint8_t *memory, double *seconds);
pid_t net_am_peer(const struct net_am *am);
/* After orders that polled: the other end sleeps again until it is asked. */
int net_am_rest(const struct bench_case *c, struct net_am *am);
/* NULL-safe. */
void net_am_stop(struct net_am **am);

#endif
