/* What an operator does to the disk tier: has everything verified now, and lets it fail by rule. */
#include "daemon/admin.h"

#include "daemon/disk/disk.h"
#include "daemon/disk/rehearse.h"
#include "proto/status.h"

static enum quire_status admin_has_disk(const struct admin_call *call) {
    if (call->core->disk_tier == NULL) {
        call->reply->text = admin_text(call, "there is no disk tier: `tiers: file:` of the configuration names no file");
        return QUIRE_UNSUPPORTED;
    }
    return QUIRE_OK;
}

/* ---- verify --------------------------------------------------------------------------------------------------------------- */

/* number 1: begins, unless one is under way already, which then serves both. */
enum quire_status admin_verify(const struct admin_call *call) {
    QUIRE_FORWARD(admin_has_disk(call));
    struct scrub *scrub = disk_scrub(call->core->disk_tier);
    const struct scrub_progress *p = scrub_progress(scrub);
    if (call->request->number > 1) {
        call->reply->text = admin_text(call, "number is 1 to begin, or 0 to ask how far it is");
        return QUIRE_INVALID;
    }
    if (call->request->number == 1 && !p->requested) {
        scrub_verify_now(scrub, 0);
        log_info("verify", "everything on disk is to be verified now, on request");
    }
    Quire__Wire__VerifyInfo *info = arena_alloc(call->arena, sizeof *info);
    if (info == NULL) {
        return QUIRE_NO_MEMORY;
    }
    quire__wire__verify_info__init(info);
    info->running = p->requested;
    info->done = p->requests_done;
    info->segment = p->segment;
    info->segments = p->segments;
    info->pass_segments = p->pass_segments;
    info->records = p->pass_records;
    info->bytes = p->pass_bytes;
    info->damaged = p->pass_damaged;
    info->unreadable = p->pass_unreadable;
    info->damaged_segments = p->pass_damaged_segments;
    info->unfound = p->pass_unfound;
    info->unread_segments = p->pass_unread_segments;
    info->out_segments = p->pass_out_segments;
    info->open_segments = p->pass_open_segments;
    info->open_records = p->pass_open_records;
    call->reply->verify = info;
    return QUIRE_OK;
}

/* ---- faults --------------------------------------------------------------------------------------------------------------- */

static struct disk_io *admin_backend(const struct admin_call *call) {
    const char *why;
    bool registered;
    return disk_backend(call->core->disk_tier, &why, &registered);
}

/* The layer over the backend that fails by rule. */
static enum quire_status admin_faults(const struct admin_call *call, struct disk_io **io) {
    QUIRE_FORWARD(admin_has_disk(call));
    if (!call->core->config.allow_faults) {
        call->reply->text =
            admin_text(call, "this quired does not let its disk be made to fail: start one with --allow-faults to rehearse");
        return QUIRE_DENIED;
    }
    *io = admin_backend(call);
    return QUIRE_OK;
}

static enum quire_status admin_faults_tell(const struct admin_call *call, const struct disk_io *io) {
    struct disk_fault list[DISK_FAULTS_MAX];
    uint32_t n = rehearse_list(io, list, DISK_FAULTS_MAX);
    Quire__Wire__FaultInfo *infos = arena_zalloc(call->arena, n + 1, sizeof *infos);
    call->reply->faults = arena_zalloc(call->arena, n + 1, sizeof *call->reply->faults);
    if (infos == NULL || call->reply->faults == NULL) {
        return QUIRE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        char text[DISK_FAULT_TEXT_BYTES];
        disk_fault_print(&list[i].rule, text);
        quire__wire__fault_info__init(&infos[i]);
        infos[i].id = list[i].id;
        infos[i].rule = admin_text(call, text);
        infos[i].hits = list[i].hits;
        call->reply->faults[call->reply->n_faults++] = &infos[i];
    }
    return QUIRE_OK;
}

/* Also of the configuration's rules, for which nobody needs leave. */
enum quire_status admin_fault_list(const struct admin_call *call) {
    QUIRE_FORWARD(admin_has_disk(call));
    return admin_faults_tell(call, admin_backend(call));
}

enum quire_status admin_fault_add(const struct admin_call *call) {
    struct disk_io *io;
    struct disk_fault_rule rule;
    char why[256] = "", text[DISK_FAULT_TEXT_BYTES];
    uint32_t id;
    QUIRE_FORWARD(admin_faults(call, &io));
    enum quire_status status = rehearse_parse(call->request->text, disk_files(call->core->disk_tier)->n_files, &rule, why, sizeof why);
    if (status != QUIRE_OK) {
        call->reply->text = admin_text(call, why);
        return status;
    }
    status = faults_add(io, &rule, &id);
    if (status == QUIRE_TOO_LARGE) {
        call->reply->text = arena_printf(call->arena, "there are %u rules already: `quirectl fault clear` ends them", DISK_FAULTS_MAX);
    }
    QUIRE_FORWARD(status);
    disk_fault_print(&rule, text);
    log_warn("fault_rule", "the disk fails by rule from now on, on request: %s", text);
    return admin_faults_tell(call, io);
}

/* number: a rule's id; 0: all, also those of the configuration, until it is read again. */
enum quire_status admin_fault_clear(const struct admin_call *call) {
    struct disk_io *io;
    QUIRE_FORWARD(admin_faults(call, &io));
    if (call->request->number == 0) {
        faults_clear(io);
    } else if (call->request->number > UINT32_MAX || faults_remove(io, (uint32_t)call->request->number) != QUIRE_OK) {
        call->reply->text =
            arena_printf(call->arena, "no rule %llu; `quirectl fault list` shows all", (unsigned long long)call->request->number);
        return QUIRE_NOT_FOUND;
    }
    log_info("fault_rule_ended", "rules of faults were ended on request");
    return admin_faults_tell(call, io);
}
