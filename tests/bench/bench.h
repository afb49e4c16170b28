/*
 * quire-bench: a subject and its ceiling, measured in the same run, interleaved, told as a ratio.
 *
 * A case runs some rounds; each round times the ceiling and then ours, so that a machine whose speed drifts drifts for both. What is reported is
 * the median over rounds of each, and the median of the rounds' ratios. A case is one function in its subject's table.
 */
#ifndef BENCH_H
#define BENCH_H

#include "client/quire.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct bench_options {
    bool json;
    bool verbose;
    bool tiny;         /* the cases over a wire: one round of each, whose figures say nothing */
    const char *only;  /* NULL: all cases */
    const char *model; /* for ttft */
    const char *bin;   /* folder of the programs */
    const char *dir;   /* for disk: where its files are made */
    const char *trace; /* for disk */
};

struct bench_case {
    const char *name;
    const char *what;  /* for people */
    const char *reach; /* the figure aimed at, in words */
    int (*run)(const struct bench_options *options, const struct bench_case *self);
};

struct bench_subject {
    const char *name;
    const char *what;
    const struct bench_case *cases;
    uint32_t n_cases;
    bool apart; /* each case in a process of its own */
};

extern const struct bench_subject bench_disk;
extern const struct bench_subject bench_local;
extern const struct bench_subject bench_net;
extern const struct bench_subject bench_ttft;

/* One line: as JSON {"subject","case","value","unit","ceiling","ratio"}, or for people. */
void bench_report(const struct bench_options *options, const char *subject, const struct bench_case *c, double value, const char *unit,
                  double ceiling, double ratio);
/* A remark below a line for people; nothing with --json. */
void bench_note(const struct bench_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A round's figures, with --verbose. */
void bench_trace(const struct bench_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
int bench_fail(const struct bench_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t bench_now_ns(void);
double bench_median(double *values, uint32_t n); /* sorts values */
uint64_t bench_random(uint64_t *state);          /* splitmix64 */
/* Reads enough memory to push everything else out of the caches. */
void bench_cold_caches(void);

#endif
