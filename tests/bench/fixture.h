/*
 * What the cases stand on: a real quired of their own with the configuration that the case needs, layouts of round sizes, and keys.
 */
#ifndef BENCH_FIXTURE_H
#define BENCH_FIXTURE_H

#include "tests/bench/bench.h"

struct fixture {
    pid_t daemon;
    char folder[64];
    char address[128];
    quire_client *client;
    quire_ns *ns;
};

/* Starts quired with this YAML (its socket, log and metrics lines are added) and opens a client. 0, or 1 after saying why. */
int fixture_start(const struct bench_options *options, const struct bench_case *c, const char *yaml, struct fixture *fixture);
void fixture_stop(struct fixture *fixture);
/* The daemon is killed, as a crash would, and the rest is tidied up. */
void fixture_kill(struct fixture *fixture);
int fixture_open_ns(const struct bench_case *c, struct fixture *fixture, const char *name, const quire_layout *layout);

/* Layers × heads of 128 f16 at 16 tokens, as Llama-3-8B has them: 32 × 8 is 2 MiB a block, 8 × 1 is 64 KiB. */
void fixture_layout(quire_layout *layout, uint16_t n_layers, uint16_t n_heads);
void fixture_opaque_layout(quire_layout *layout);
quire_key fixture_key(uint64_t number);

/* Strides of a block held contiguously as [layer][K, V][head][token][dim]. Pointers go to bases[2 · n_layers]. */
void fixture_dest(quire_dest *dest, const quire_layout *layout, uint8_t *memory, void **bases, uint32_t key_index);
void fixture_source(quire_source *source, const quire_layout *layout, const uint8_t *memory, const void **bases, const quire_key *key);

/* A value in KiB from /proc/PID/status, in bytes. */
uint64_t fixture_proc_bytes(pid_t pid, const char *field);

#endif
