#include "daemon/log.h"

#include "daemon/log_limit.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX_BYTES 1024
#define LINE_MAX_BYTES (6 * TEXT_MAX_BYTES + 512) /* every byte escaped, and what stands around the text */

static const char *const level_names[] = {"error", "warn", "info", "debug"};
/* What the journal understands at the start of a line. */
static const char journal_priority[] = {'3', '4', '6', '7'};

static atomic_int log_level_now = LOG_LEVEL_INFO;
static atomic_bool log_as_json;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_limit log_limits;

void log_setup(enum log_level level, bool json) {
    atomic_store(&log_level_now, (int)level);
    atomic_store(&log_as_json, json);
}

struct line {
    char bytes[LINE_MAX_BYTES];
    size_t used;
};

static void put_char(struct line *line, char c) {
    if (line->used < sizeof line->bytes - 1) {
        line->bytes[line->used++] = c;
    }
}

static void put_text(struct line *line, const char *text) {
    for (; *text != '\0'; text++) {
        put_char(line, *text);
    }
}

/* Length of the well-formed UTF-8 sequence at `text`, 0 when there is none. */
static unsigned utf8_length(const unsigned char *text) {
    unsigned n = text[0] < 0x80 ? 1 : (text[0] & 0xe0) == 0xc0 ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : (text[0] & 0xf8) == 0xf0 ? 4 : 0;
    uint32_t code = n < 2 ? text[0] : text[0] & (0x7fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool overlong = (n == 2 && code < 0x80) || (n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10ffff));
    return overlong || (code >= 0xd800 && code < 0xe000) || (code >= 0x80 && code < 0xa0) ? 0 : n;
}

/* Text that others may have chosen: control characters and broken UTF-8 are written as escapes, so that a line stays one line. */
static void put_escaped(struct line *line, const char *text, bool json) {
    char escape[8];
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        unsigned n = utf8_length(at);
        if (n == 0 || *at < 0x20 || *at == 0x7f) {
            snprintf(escape, sizeof escape, json ? "\\u%04x" : "\\x%02x", *at);
            put_text(line, *at == '\n' ? "\\n" : escape);
            at++;
            continue;
        }
        if (json && (*at == '"' || *at == '\\')) {
            put_char(line, '\\');
        }
        for (; n > 0; n--) {
            put_char(line, (char)*at++);
        }
    }
}

static void put_time(struct line *line) {
    struct timespec now;
    struct tm utc;
    char text[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + n, sizeof text - n, ".%03ldZ", now.tv_nsec / 1000000);
    put_text(line, text);
}

static void format_json(struct line *line, enum log_level level, const char *event, const char *text, uint64_t held_back) {
    char number[48];
    put_text(line, "{\"time\":\"");
    put_time(line);
    put_text(line, "\",\"level\":\"");
    put_text(line, level_names[level]);
    put_text(line, "\",\"event\":\"");
    put_escaped(line, event, true);
    if (held_back > 0) {
        snprintf(number, sizeof number, "\",\"held_back\":%llu,\"text\":\"", (unsigned long long)held_back);
        put_text(line, number);
    } else {
        put_text(line, "\",\"text\":\"");
    }
    put_escaped(line, text, true);
    put_text(line, "\"}");
}

static void format_text(struct line *line, enum log_level level, const char *event, const char *text, uint64_t held_back) {
    char number[64];
    if (getenv("JOURNAL_STREAM") != NULL) {
        put_char(line, '<');
        put_char(line, journal_priority[level]);
        put_char(line, '>');
    } else {
        put_time(line);
        put_char(line, ' ');
    }
    snprintf(number, sizeof number, "%-5s ", level_names[level]);
    put_text(line, number);
    put_escaped(line, event, false);
    put_text(line, ": ");
    put_escaped(line, text, false);
    if (held_back > 0) {
        snprintf(number, sizeof number, " (%llu more of these were not written)", (unsigned long long)held_back);
        put_text(line, number);
    }
}

static void write_line(struct line *line) {
    line->bytes[line->used++] = '\n'; /* put_char leaves room for it */
    ssize_t written = write(STDERR_FILENO, line->bytes, line->used);
    (void)written; /* nowhere to report that the log itself cannot be written */
}

/* Holding log_lock. */
static void write_event(enum log_level level, const char *event, const char *text, uint64_t held_back) {
    struct line line = {.used = 0};
    (atomic_load(&log_as_json) ? format_json : format_text)(&line, level, event, text, held_back);
    write_line(&line);
}

__attribute__((format(printf, 2, 0))) static void make_text(char text[TEXT_MAX_BYTES], const char *format, va_list args) {
    if (vsnprintf(text, TEXT_MAX_BYTES, format, args) >= TEXT_MAX_BYTES) {
        memcpy(text + TEXT_MAX_BYTES - 4, "...", 4);
    }
}

void log_event(enum log_level level, const char *event, const char *format, ...) {
    char text[TEXT_MAX_BYTES];
    struct timespec now;
    uint64_t held_back = 0;
    va_list args;
    if ((int)level > atomic_load(&log_level_now)) {
        return;
    }
    va_start(args, format);
    make_text(text, format, args);
    va_end(args);
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&log_lock);
    /* Who asks for debug wants all of it. */
    if (level == LOG_LEVEL_DEBUG ||
        log_limit_pass(&log_limits, event, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1, &held_back)) {
        write_event(level, event, text, held_back);
    }
    pthread_mutex_unlock(&log_lock);
}

void log_audit(const char *event, const char *format, ...) {
    char text[TEXT_MAX_BYTES];
    va_list args;
    va_start(args, format);
    make_text(text, format, args);
    va_end(args);
    pthread_mutex_lock(&log_lock);
    write_event(LOG_LEVEL_INFO, event, text, 0);
    pthread_mutex_unlock(&log_lock);
}
