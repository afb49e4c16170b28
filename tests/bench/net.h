/* Over a wire: what the cases of `quire-bench net` share. */
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include "tests/bench/fixture.h"

enum net_wire { NET_TLS, NET_UCX };

/* A quired that other hosts reach over loopback, a client beside it, and one that comes over the wire. */
struct net {
    enum net_wire wire;
    struct fixture fixture;
    char folder[64], certificate[96], tokens[96], token[96];
    uint16_t port;
    quire_client *client;
    quire_ns *ns;
};
/* `more`: further YAML of the daemon. */
int net_start(const struct bench_options *options, const struct bench_case *c, enum net_wire wire, const char *pool, const char *more,
              struct net *net);
/* The same without the client over the wire. */
int net_serve(const struct bench_options *options, const struct bench_case *c, enum net_wire wire, const char *pool, const char *more,
              struct net *net);
/* Of one that was started, or tried, or is all zero. */
void net_stop(struct net *net);
/* Another client over the wire. */
int net_open(const struct bench_case *c, const struct net *net, quire_client **client);
/* A further line of a case, "CASE_SUFFIX". `reach` as a case's. */
void net_report(const struct bench_options *options, const struct bench_case *c, const char *suffix, const char *reach, double value,
                const char *unit, double ceiling, double ratio);

/* Of all threads of a process, 0: this one; since it began. */
double net_processor_seconds(pid_t pid);

/* The ceiling: SSL_write and SSL_read in a loop between two processes over loopback, with the suite that both would choose. */
struct tls_loop {
    pid_t writer;
    int fd;
    void *ctx, *ssl;
};
int tls_loop_start(const struct bench_case *c, const char *certificate, struct tls_loop *loop);
/* So many pieces of `bytes` into memory that has room for one; how long that took. */
int tls_loop_read(const struct bench_case *c, struct tls_loop *loop, uint8_t *memory, uint32_t bytes, uint32_t n, double *seconds);
void tls_loop_stop(struct tls_loop *loop);

int net_fetch_tcp(const struct bench_options *options, const struct bench_case *self);
int net_store_tcp(const struct bench_options *options, const struct bench_case *self);
int net_small_tcp(const struct bench_options *options, const struct bench_case *self);
int net_lookup_tcp(const struct bench_options *options, const struct bench_case *self);
int net_sessions_tcp(const struct bench_options *options, const struct bench_case *self);
int net_sessions_tls(const struct bench_options *options, const struct bench_case *self);
int net_fetch_tls(const struct bench_options *options, const struct bench_case *self);
int net_store_tls(const struct bench_options *options, const struct bench_case *self);
int net_idle(const struct bench_options *options, const struct bench_case *self);
int net_idle_ucx(const struct bench_options *options, const struct bench_case *self);

#endif
