#include "tests/sim/sim.h"

#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

static struct sim *watched;

void sim_say(struct sim *sim, const char *format, ...) {
    struct sim_trace *trace = &sim->trace;
    char *line = trace->lines[trace->n++ % SIM_TRACE_LINES];
    int n = snprintf(line, SIM_TRACE_BYTES, "%12.6f ", (double)sim->now_ns / 1e9);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + n, SIM_TRACE_BYTES - (size_t)n, format, arguments);
    va_end(arguments);
    for (const char *c = line; *c; c++) { /* FNV-1a */
        trace->hash = (trace->hash ^ (uint8_t)*c) * 0x100000001b3ull;
    }
    if (trace->verbose) {
        puts(line);
    }
}

static void tell(struct sim *sim) {
    const struct sim_trace *trace = &sim->trace;
    fflush(stdout);
    for (uint64_t i = trace->n > SIM_TRACE_LINES ? trace->n - SIM_TRACE_LINES : 0; i < trace->n && !trace->verbose; i++) {
        fprintf(stderr, "  %s\n", trace->lines[i % SIM_TRACE_LINES]);
    }
    fprintf(stderr, "sim: failed: seed %" PRIu64 "\n", sim->seed);
}

void sim_fail(struct sim *sim, const char *file, int line, const char *what) {
    watched = NULL;
    tell(sim);
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    fflush(stderr);
    abort();
}

/* The world is as it was when the assertion failed, and nothing but telling follows. */
static void aborted(int number) {
    if (watched) {
        struct sim *sim = watched;
        watched = NULL;
        tell(sim);
    }
    signal(number, SIG_DFL);
    raise(number);
}

void sim_trace_watch(struct sim *sim) {
    watched = sim;
    signal(SIGABRT, aborted);
}
