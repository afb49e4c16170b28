#include "daemon/disk/rehearse.h"

#include "daemon/log.h"
#include "proto/status.h"

bool rehearse_wanted(const struct config *config) { return config->n_faults > 0 || config->allow_faults; }

static bool is_layer(const struct disk_io *io) { return io->ops != &disk_io_uring && io->ops != &disk_io_threads; }

static void add_rule(struct rehearsal *rehearsal, struct disk_io *io, const char *text) {
    struct disk_fault_rule rule;
    char why[256] = "";
    enum quire_status status = disk_fault_parse(text, &rule, why, sizeof why);
    if (status == QUIRE_OK) {
        status = faults_add(io, &rule, &rehearsal->ids[rehearsal->n]);
    }
    if (status != QUIRE_OK) {
        log_warn("fault_refused", "%s: %s", text, why[0] != '\0' ? why : quire_status_text(status));
        return;
    }
    rehearsal->n++;
    log_warn("fault_rule", "the disk fails by rule from now on: %s", text);
}

void rehearse_apply(struct rehearsal *rehearsal, struct disk_io *io, const struct config *config) {
    if (!is_layer(io)) {
        if (config->n_faults > 0) {
            log_warn("fault_refused", "rules of faults need a restart, or --allow-faults from the start");
        }
        return;
    }
    while (rehearsal->n > 0) {
        faults_remove(io, rehearsal->ids[--rehearsal->n]); /* an operator may have been first */
    }
    for (uint32_t i = 0; i < config->n_faults; i++) {
        add_rule(rehearsal, io, config->faults[i]);
    }
}

uint32_t rehearse_rules(const struct disk_io *io) {
    struct disk_fault list[DISK_FAULTS_MAX];
    return is_layer(io) ? faults_list(io, list, DISK_FAULTS_MAX) : 0;
}

const struct disk_io *rehearse_backend(const struct disk_io *io) { return is_layer(io) ? faults_inner(io) : io; }
