#include "tests/bench/bench.h"
#include "proto/base/base.h"
#include "proto/base/output.h"

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct bench_subject *const subjects[] = {&bench_local, &bench_disk, &bench_net, &bench_ttft};

uint64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * QUIRE_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, uint32_t n) {
    if (n == 0) {
        return 0;
    }
    qsort(values, n, sizeof values[0], compare_doubles);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

uint64_t bench_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void bench_cold_caches(void) {
    enum { FLUSH_BYTES = 192 << 20 };
    static volatile uint64_t *flush;
    static uint64_t sink;
    if (flush == NULL) {
        flush = calloc(1, FLUSH_BYTES);
        if (flush == NULL) {
            return;
        }
    }
    for (size_t i = 0; i < FLUSH_BYTES / sizeof *flush; i += 8) {
        flush[i] = ++sink;
    }
}

void bench_report(const struct bench_options *options, const char *subject, const struct bench_case *c, double value, const char *unit,
                  double ceiling, double ratio) {
    if (options->json) {
        printf("{\"subject\":\"%s\",\"case\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"ceiling\":%.6g,\"ratio\":%.4g}\n", subject, c->name,
               value, unit, ceiling, ratio);
    } else {
        printf("%-24s %10.4g %-8s ceiling %10.4g   ratio %7.4g   (reach %s)\n", c->name, value, unit, ceiling, ratio, c->reach);
    }
    fflush(stdout);
}

void bench_note(const struct bench_options *options, const char *format, ...) {
    if (options->json) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    printf("    ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(stdout);
}

void bench_trace(const struct bench_options *options, const char *format, ...) {
    if (!options->verbose) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "    ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

int bench_fail(const struct bench_case *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "quire-bench: %s: ", c->name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    return 1;
}

static void usage(FILE *to) {
    fprintf(to, "usage: quire-bench SUBJECT [--case NAME] [--json] [--model M.gguf] [--dir DIR] [--trace FILE]\n\n"
                "Measures a subject and its ceiling in the same run, interleaved, and prints the ratio.\n\n");
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(subjects); i++) {
        fprintf(to, "%s: %s\n", subjects[i]->name, subjects[i]->what);
        for (uint32_t k = 0; k < subjects[i]->n_cases; k++) {
            const struct bench_case *c = &subjects[i]->cases[k];
            fprintf(to, "  %-24s %s; reach %s\n", c->name, c->what, c->reach);
        }
    }
    fprintf(to,
            "\n  --case NAME   only this case        --json   one object a line\n"
            "  --verbose     each round of the disk's cases, to standard error\n"
            "  --tiny        one short round of net's cases, whose figures say nothing\n"
            "  --bin DIR     where the programs are; default: where quire-bench itself is\n"
            "  --dir DIR     where disk makes its files, a few GiB, removed afterwards; default: $TMPDIR, else /tmp;\n"
            "                but both restart cases keep a log of 5 GiB below $QUIRE_CACHE, else ~/.cache/quire, and measure that drive\n"
            "  --trace FILE  requests of a chat service; default: $QUIRE_TRACE, else ../shared/data/mooncake_conversation_trace.jsonl\n\n"
            "Examples:\n  quire-bench local\n  quire-bench local --case fetch_2MiB --json\n"
            "  quire-bench disk --dir /var/lib/quire\n  quire-bench ttft --model SmolLM2-135M.gguf\n\n"
            "Exit status: 0 measured, 1 a case could not run, 2 wrong usage.\n");
}

/* Some cases begin with a fork, and a process that used UCX has no children that can. */
static int run_apart(const struct bench_case *c, const struct bench_options *options) {
    int status = 1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        status = c->run(options, c);
        exit(quire_output_written("quire-bench") ? status : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return bench_fail(c, "no process for it: %s", strerror(errno));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : bench_fail(c, "it was ended by signal %d", WTERMSIG(status));
}

static int run_subject(const struct bench_subject *subject, const struct bench_options *options) {
    int status = 0;
    uint32_t ran = 0;
    for (uint32_t i = 0; i < subject->n_cases; i++) {
        if (options->only != NULL && strcmp(options->only, subject->cases[i].name) != 0) {
            continue;
        }
        ran++;
        if (!options->json && isatty(STDOUT_FILENO)) {
            printf("%s: %s ...\r", subject->cases[i].name, subject->cases[i].what);
            fflush(stdout);
        }
        status |= subject->apart ? run_apart(&subject->cases[i], options) : subject->cases[i].run(options, &subject->cases[i]);
    }
    if (ran == 0) {
        fprintf(stderr, "quire-bench: %s has no case named %s; `quire-bench --help` lists them\n", subject->name, options->only);
        return 2;
    }
    return status;
}

static const char *own_folder(void) {
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) {
        return ".";
    }
    path[n] = '\0';
    return dirname(path);
}

int main(int argc, char **argv) {
    static const struct option longs[] = {{"case", required_argument, NULL, 'c'},  {"json", no_argument, NULL, 'j'},
                                          {"model", required_argument, NULL, 'm'}, {"bin", required_argument, NULL, 'b'},
                                          {"dir", required_argument, NULL, 'd'},   {"trace", required_argument, NULL, 't'},
                                          {"verbose", no_argument, NULL, 'v'},     {"tiny", no_argument, NULL, 'y'},
                                          {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0}};
    struct bench_options options = {.model = getenv("QUIRE_MODEL"), .dir = getenv("TMPDIR"), .trace = getenv("QUIRE_TRACE")};
    for (int flag; (flag = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        switch (flag) {
        case 'c':
            options.only = optarg;
            break;
        case 'j':
            options.json = true;
            break;
        case 'm':
            options.model = optarg;
            break;
        case 'b':
            options.bin = optarg;
            break;
        case 'v':
            options.verbose = true;
            break;
        case 'y':
            options.tiny = true;
            break;
        case 'd':
            options.dir = optarg;
            break;
        case 't':
            options.trace = optarg;
            break;
        case 'h':
            usage(stdout);
            return quire_output_written("quire-bench") ? 0 : 1;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (options.bin == NULL) {
        options.bin = own_folder();
    }
    options.dir = options.dir != NULL ? options.dir : "/tmp";
    options.trace = options.trace != NULL ? options.trace : "../shared/data/mooncake_conversation_trace.jsonl";
    if (optind + 1 != argc) {
        usage(stderr);
        return 2;
    }
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(subjects); i++) {
        if (strcmp(subjects[i]->name, argv[optind]) == 0) {
            int status = run_subject(subjects[i], &options);
            return quire_output_written("quire-bench") ? status : status | 1;
        }
    }
    fprintf(stderr, "quire-bench: unknown subject %s; `quire-bench --help` lists them\n", argv[optind]);
    return 2;
}
