/* What happened: the last events in words, and a sum over all of them, by which two runs are told apart. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include "proto/base/base.h"

#define SIM_TRACE_LINES 400u
#define SIM_TRACE_BYTES 160u

struct sim;
struct sim_trace {
    char lines[SIM_TRACE_LINES][SIM_TRACE_BYTES];
    uint64_t n, hash;
    bool verbose;
};

__attribute__((format(printf, 2, 3))) void sim_say(struct sim *sim, const char *format, ...);
/* Prints the seed and the last events, and ends the process. */
__attribute__((noreturn)) void sim_fail(struct sim *sim, const char *file, int line, const char *what);
/* An assertion of the product ends in the same words; NULL: nobody is simulated now. */
void sim_trace_watch(struct sim *sim);

#endif
