#include "client/quirectl/progress.h"

#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS 2000u
#define TERMINAL_MS 200u
#define LINES_MS 10000u

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void progress_begin(struct progress *progress, FILE *to) {
    *progress = (struct progress){.to = to, .began_ms = now_ms()};
    progress->terminal = to != NULL && fileno(to) >= 0 && isatty(fileno(to));
}

bool progress_due(struct progress *progress) {
    uint64_t now = now_ms(), step = progress->terminal ? TERMINAL_MS : LINES_MS;
    if (progress->to == NULL || now - progress->began_ms < QUIET_MS || (progress->told && now - progress->told_ms < step)) {
        return false;
    }
    progress->told_ms = now;
    return true;
}

void progress_tell(struct progress *progress, const char *format, ...) {
    va_list args;
    fputs(progress->terminal ? "\r\033[K" : "", progress->to);
    va_start(args, format);
    vfprintf(progress->to, format, args);
    va_end(args);
    fputs(progress->terminal ? "" : "\n", progress->to);
    fflush(progress->to);
    progress->told = true;
}

void progress_end(struct progress *progress) {
    if (progress->told && progress->terminal) {
        fputs("\r\033[K", progress->to);
        fflush(progress->to);
    }
    progress->told = false;
}
