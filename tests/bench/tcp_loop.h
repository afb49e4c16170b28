/* A raw TCP stream over loopback from another process: what the wire itself does, for comparison. */
#ifndef BENCH_TCP_LOOP_H
#define BENCH_TCP_LOOP_H

#include "tests/bench/bench.h"

struct tcp_loop {
    pid_t writer;
    int fd;
};
int tcp_loop_start(const struct bench_case *c, struct tcp_loop *loop);
/* So many pieces of `bytes`, 2 MiB at most, one behind the other in memory; how long that took. */
int tcp_loop_read(const struct bench_case *c, const struct tcp_loop *loop, uint8_t *memory, uint32_t bytes, uint32_t n, double *seconds);
/* Of one that was started, or tried. */
void tcp_loop_stop(struct tcp_loop *loop);

#endif
