/* The cases of `quire-bench local`, one function each; the table is in local.c. */
#ifndef BENCH_LOCAL_H
#define BENCH_LOCAL_H

#include "tests/bench/bench.h"

int local_fetch_2mib(const struct bench_options *options, const struct bench_case *self);
int local_fetch_2mib_verify(const struct bench_options *options, const struct bench_case *self);
int local_store_2mib(const struct bench_options *options, const struct bench_case *self);
int local_fetch_64kib(const struct bench_options *options, const struct bench_case *self);
int local_lookup(const struct bench_options *options, const struct bench_case *self);
int local_index_bytes(const struct bench_options *options, const struct bench_case *self);
int local_churn(const struct bench_options *options, const struct bench_case *self);
int local_sessions(const struct bench_options *options, const struct bench_case *self);

#endif
