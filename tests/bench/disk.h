/* The cases of `quire-bench disk`, one function each; the table is in disk.c. */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

#include "tests/bench/bench.h"

int disk_store_stream(const struct bench_options *options, const struct bench_case *self);
int disk_store_small(const struct bench_options *options, const struct bench_case *self);
int disk_fetch_2mib(const struct bench_options *options, const struct bench_case *self);
int disk_fetch_64kib(const struct bench_options *options, const struct bench_case *self);
int disk_fetch_64kib_cold(const struct bench_options *options, const struct bench_case *self);
int disk_restart_first_hit(const struct bench_options *options, const struct bench_case *self);
int disk_restart_rate(const struct bench_options *options, const struct bench_case *self);
int disk_host_p99(const struct bench_options *options, const struct bench_case *self);
int disk_trace(const struct bench_options *options, const struct bench_case *self);
int disk_block_bytes(const struct bench_options *options, const struct bench_case *self);

#endif
