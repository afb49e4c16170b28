/* The program: which seeds, for how long, and what came of it. tests/sim/README.md has how to use it. */
#include "proto/base/output.h"
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <time.h>

#define STEPS 3000u
/* Every so many seeds one is run twice. */
#define REPLAY_EVERY 32u

struct options {
    uint64_t from, to, steps;
    double seconds;
    bool verbose;
};

static bool parse(int argc, char **argv, struct options *options) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end = NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            options->verbose = true;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seeds") == 0) {
            options->from = strtoull(value, &end, 0);
            if (strncmp(end, "..", 2) != 0) {
                return false;
            }
            options->to = strtoull(end + 2, &end, 0);
        } else if (strcmp(argv[i - 1], "--seed") == 0) {
            options->from = options->to = strtoull(value, &end, 0);
        } else if (strcmp(argv[i - 1], "--steps") == 0) {
            options->steps = strtoull(value, &end, 0);
        } else if (strcmp(argv[i - 1], "--seconds") == 0) {
            options->seconds = strtod(value, &end);
        } else {
            return false;
        }
        if (*value == 0 || *end != 0) {
            return false;
        }
    }
    return options->from <= options->to;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A line a group. */
static void tell(const struct sim_counts *counts) {
    const char *before = "";
#define X(group, name)                                                                                                                     \
    printf(strcmp(before, #group) != 0 ? "%s%s: %s %" PRIu64 : "%.0s%.0s, %s %" PRIu64, *before ? "\n  " : "  ", #group, #name,            \
           counts->name);                                                                                                                  \
    before = #group;
    SIM_COUNTS(X)
#undef X
    printf("\n");
}

int main(int argc, char **argv) {
    struct options options = {.from = 1, .to = UINT64_MAX, .steps = STEPS};
    struct sim_counts counts = {0};
    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: sim [--seeds FROM..TO | --seed N] [--steps N] [--seconds S] [--verbose]\n");
        return 2;
    }
    double began = seconds_now();
    uint64_t seed = options.from, n = 0, replayed = 0;
    for (bool more = true; more; more = seed++ < options.to && (options.seconds <= 0 || seconds_now() - began < options.seconds)) {
        uint64_t hash = sim_run(seed, options.steps, options.verbose, &counts);
        if (seed % REPLAY_EVERY == 0) {
            struct sim_counts again = {0};
            if (sim_run(seed, options.steps, false, &again) != hash) {
                fprintf(stderr, "sim: failed: seed %" PRIu64 " went another way the second time\n", seed);
                return 1;
            }
            replayed++;
        }
        n++;
        if (options.from == options.to) {
            printf("sim: seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, hash);
        }
    }
    printf("sim: %" PRIu64 " seeds clean, %" PRIu64 " to %" PRIu64 ", %" PRIu64 " of them replayed, in %.1f s\n", n, options.from,
           options.from + n - 1, replayed, seconds_now() - began);
    tell(&counts);
    return quire_output_written("sim") ? 0 : 1;
}
