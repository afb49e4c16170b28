/* What the last failing call of a thread had to say. */
#include "client/internal.h"
#include "proto/status.h"

#include <stdio.h>

static _Thread_local struct {
    enum quire_status status;
    char text[256];
} last;

enum quire_status error_set(enum quire_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(last.text, sizeof(last.text), format, args);
    va_end(args);
    last.status = status;
    return status;
}

enum quire_status error_from_job(const struct job *job) {
    if (job->status == QUIRE_OK) {
        return QUIRE_OK;
    }
    return error_set(job->status, "%s", job->text[0] != '\0' ? job->text : quire_status_text(job->status));
}

enum quire_status status_from_wire(uint32_t value) {
    switch (value) {
#define X(name, number, text) case number:
        QUIRE_STATUS_TABLE(X)
#undef X
        return (enum quire_status)value;
    default:
        return QUIRE_INTERNAL;
    }
}

const char *quire_last_error(void) { return last.text; }

enum quire_status quire_last_status(void) { return last.status; }

const char *quire_version(void) { return QUIRE_PACKAGE_VERSION; }
