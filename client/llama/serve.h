/*
 * A small completion endpoint in the manner of OpenAI's, so that ordinary clients can talk to several workers that share a cache:
 * /v1/completions, /v1/chat/completions (also streamed), /v1/models, /health. A request whose client hangs up is given up; on a signal the one that is computed is, too,
 * and answered 503. Loopback only, no rights, no keys: it exists to be
 * tried. The HTTP threads read requests into one bounded queue; one thread computes them, one after the other, each reusing
 * through Quire, and says in `usage` how many tokens came from there.
 */
#ifndef QUIRE_LLAMA_SERVE_H
#define QUIRE_LLAMA_SERVE_H

#include "client/llama/worker.h"

struct serve_options {
    const char *host;
    uint16_t port;  /* 0: any; the first line on standard error says which */
    uint32_t queue; /* requests that may wait; more are answered 503 */
};

/* Serves until SIGTERM or SIGINT. SYSTEM with why when it cannot listen. */
enum quire_status serve_run(struct worker *worker, const struct serve_options *options, char *why, size_t why_bytes);

#endif
