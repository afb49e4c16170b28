#include "daemon/disk/rehearse.h"

#include "daemon/log.h"
#include "proto/status.h"

#include <stdarg.h>
#include <stdio.h>

bool rehearse_wanted(const struct config *config) { return config->n_faults > 0 || config->allow_faults; }

static bool is_layer(const struct disk_io *io) { return io->ops != &disk_io_uring && io->ops != &disk_io_threads; }

enum quire_status rehearse_parse(const char *text, uint32_t n_files, struct disk_fault_rule *rule, char *why, size_t why_bytes) {
    QUIRE_FORWARD(disk_fault_parse(text, rule, why, why_bytes));
    if (rule->file != DISK_FAULT_ANY_FILE && rule->file >= n_files) {
        snprintf(why, why_bytes, "file=%u: the set has %u, from 0 on", rule->file, n_files);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

__attribute__((format(printf, 3, 4))) static void refuse(struct rehearsal *rehearsal, enum quire_status status, const char *format, ...) {
    va_list words;
    va_start(words, format);
    vsnprintf(rehearsal->why, sizeof rehearsal->why, format, words);
    va_end(words);
    rehearsal->refused = status;
    log_warn("fault_refused", "%s", rehearsal->why);
}

static void add_rule(struct rehearsal *rehearsal, struct disk_io *io, const char *text, uint32_t n_files) {
    struct disk_fault_rule rule;
    char why[256] = "";
    enum quire_status status = rehearse_parse(text, n_files, &rule, why, sizeof why);
    if (status == QUIRE_OK) {
        status = faults_add(io, &rule, &rehearsal->ids[rehearsal->n]);
    }
    if (status == QUIRE_TOO_LARGE) {
        snprintf(why, sizeof why, "there are %u rules already: `quirectl fault clear` ends them", DISK_FAULTS_MAX);
    }
    if (status != QUIRE_OK) {
        refuse(rehearsal, status, "the rule %.100s is not at work: %s", text, why[0] != '\0' ? why : quire_status_text(status));
        return;
    }
    rehearsal->n++;
    log_warn("fault_rule", "the disk fails by rule from now on: %s", text);
}

void rehearse_apply(struct rehearsal *rehearsal, struct disk_io *io, const struct config *config) {
    rehearsal->refused = QUIRE_OK;
    rehearsal->why[0] = '\0';
    if (!is_layer(io)) {
        if (config->n_faults > 0) {
            refuse(rehearsal, QUIRE_UNSUPPORTED, "rules of faults need a restart, or --allow-faults from the start");
        }
        return;
    }
    while (rehearsal->n > 0) {
        faults_remove(io, rehearsal->ids[--rehearsal->n]); /* an operator may have been first */
    }
    for (uint32_t i = 0; i < config->n_faults; i++) {
        add_rule(rehearsal, io, config->faults[i], config->n_files);
    }
}

void rehearse_number_file(struct disk_io *io, uint32_t file, uint32_t number) {
    if (is_layer(io)) {
        faults_number_file(io, file, number);
    }
}

uint32_t rehearse_list(const struct disk_io *io, struct disk_fault *list, uint32_t max) {
    return is_layer(io) ? faults_list(io, list, max) : 0;
}

uint32_t rehearse_rules(const struct disk_io *io) {
    struct disk_fault list[DISK_FAULTS_MAX];
    return rehearse_list(io, list, DISK_FAULTS_MAX);
}

const struct disk_io *rehearse_backend(const struct disk_io *io) { return is_layer(io) ? faults_inner(io) : io; }
