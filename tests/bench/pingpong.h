/* A bare ping-pong over a Unix socket with another process: the floor of any request to a daemon on this host. */
#ifndef BENCH_PINGPONG_H
#define BENCH_PINGPONG_H

#include <stddef.h>
#include <sys/types.h>

struct pingpong {
    int fd;
    pid_t peer;
};

/* Forks a peer that answers each message of ask_bytes with answer_bytes. 0, or 1. Call before threads exist. */
int pingpong_start(struct pingpong *pingpong, size_t ask_bytes, size_t answer_bytes);
/* One round trip; seconds, negative on failure. Same sizes as at the start. */
double pingpong_round(struct pingpong *pingpong, size_t ask_bytes, size_t answer_bytes);
void pingpong_stop(struct pingpong *pingpong);

#endif
