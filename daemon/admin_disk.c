/* The disk tier at a glance. */
#include "daemon/admin.h"

#include "daemon/disk/disk.h"
#include "daemon/disk/rehearse.h"

static Quire__Wire__DiskFileInfo **disk_list(const struct admin_call *call) {
    const struct disk_set *set = disk_files(call->core->disk_tier);
    Quire__Wire__DiskFileInfo *files = arena_alloc(call->arena, set->n_files * sizeof *files);
    Quire__Wire__DiskFileInfo **list = arena_alloc(call->arena, set->n_files * sizeof *list);
    for (uint32_t i = 0; files != NULL && list != NULL && i < set->n_files; i++) {
        const struct disk_set_file *file = &set->files[i];
        struct store_device told;
        store_device(disk_store(call->core->disk_tier), i, &told);
        quire__wire__disk_file_info__init(&files[i]);
        files[i].path = admin_text(call, file->path);
        files[i].size_bytes = (uint64_t)file->n_segments * set->geometry.segment_units * set->geometry.unit_bytes;
        files[i].in_use = file->in_use && !told.lost;
        files[i].direct = file->direct;
        files[i].why = admin_text(call, file->why);
        files[i].reads = told.reads;
        files[i].read_bytes = told.read_bytes;
        files[i].writes = told.writes;
        files[i].written_bytes = told.written_bytes;
        files[i].read_errors = told.read_errors;
        files[i].write_errors = told.write_errors;
        files[i].corrupt = told.corrupt;
        files[i].stalled = disk_stall(call->core->disk_tier, i)->now;
        files[i].stalls = disk_stall(call->core->disk_tier, i)->times;
        files[i].refuses = files[i].in_use && told.refuses != 0;
        files[i].refuses_why = admin_text(call, files[i].refuses ? strerror(told.refuses) : "");
        list[i] = &files[i];
    }
    return files != NULL ? list : NULL;
}

static void disk_pager(const struct pager_disk_stats *stats, Quire__Wire__DiskInfo *info) {
    info->segments = stats->log.segments;
    info->clean_segments = stats->log.clean;
    info->lost_segments = stats->log.lost;
    info->dirty_bytes = stats->dirty_bytes;
    info->dirty_records = stats->dirty_records;
    info->writing_bytes = stats->writing_bytes;
    info->reading_bytes = stats->reading_bytes;
    info->where_bytes = stats->where_bytes;
    info->books_bytes = stats->log.books_bytes;
    info->estimate_error = stats->estimate_error;
    info->emptying = stats->emptying;
    info->meta_fails = stats->meta_fails;
    info->meta_failures = stats->counters != NULL ? stats->counters->disk_meta_failures : 0;
    info->pins = stats->pins;
    info->kept_namespaces = stats->kept_namespaces;
    info->state = (char *)(stats->restoring ? "restoring" : "serving");
    if (stats->counters != NULL && stats->counters->disk_admitted_bytes > 0) {
        info->write_amplification = (double)stats->counters->disk_written_bytes / (double)stats->counters->disk_admitted_bytes;
    }
}

static void disk_progress(const struct admin_call *call, Quire__Wire__DiskInfo *info) {
    static const char *const origins[] = {"nowhere", "snapshot", "log"};
    const struct disk *disk = call->core->disk_tier;
    const struct restart_progress *restored = disk_restart(disk);
    const char *why;
    char waits[CONFIG_FILE_PATH_MAX + 80];
    enum disk_origin origin = disk_origin(disk, &why);
    const struct scrub_progress *scrubbed = scrub_progress(disk_scrub(disk));
    info->restore_segments = restored->to_read;
    info->restored_segments = restored->read;
    info->restored_records = restored->records;
    info->restored_from = (char *)origins[origin];
    info->restored_why = origin == DISK_FROM_LOG ? admin_text(call, why) : info->restored_why;
    info->restored_us = restored->ended ? restored->took_ns / QUIRE_NS_PER_US + 1 : 0;
    info->restored_deletions = restored->deletions;
    info->restored_bytes = restored->read_bytes;
    info->walked_segments = restored->walked;
    info->doubtful_records = restored->bad_records;
    info->failed_reads = restored->unreadable;
    info->put_off_reads = restored->put_off;
    if (disk_waits(disk, waits, sizeof waits)) {
        info->restore_waits = admin_text(call, waits);
    }
    info->scrub_passes = scrubbed->passes;
    info->scrub_bytes = scrubbed->bytes;
    info->scrub_damaged = scrubbed->damaged;
    info->scrub_segment = scrubbed->segment;
    info->scrub_damaged_segments = scrubbed->damaged_segments;
    info->scrub_unread_segments = scrubbed->unread_segments;
}

static void disk_io_facts(const struct admin_call *call, Quire__Wire__DiskInfo *info) {
    const char *why;
    bool registered;
    const struct disk_io *io = disk_backend(call->core->disk_tier, &why, &registered);
    info->faults = rehearse_rules(io);
    info->backend = admin_text(call, rehearse_backend(io)->ops->name);
    info->backend_why = admin_text(call, why);
    info->memory_registered = registered;
}

enum quire_status admin_disk(const struct admin_call *call, Quire__Wire__TierInfo *tier) {
    const struct disk *disk = call->core->disk_tier;
    const struct quire_log_geometry *geometry = &disk_files(disk)->geometry;
    struct pager_disk_stats stats;
    Quire__Wire__DiskInfo *info = arena_alloc(call->arena, sizeof *info);
    if (info == NULL) {
        return QUIRE_NO_MEMORY;
    }
    pager_disk_stats(call->core->pager, &stats);
    quire__wire__tier_info__init(tier);
    tier->name = (char *)"disk";
    tier->capacity_bytes = stats.log.capacity_bytes;
    tier->used_bytes = stats.log.used_bytes;
    tier->live_bytes = stats.log.live_bytes;
    tier->records = stats.log.live_records;
    quire__wire__disk_info__init(info);
    disk_pager(&stats, info);
    disk_progress(call, info);
    disk_io_facts(call, info);
    info->segment_bytes = (uint64_t)geometry->segment_units * geometry->unit_bytes;
    info->files = disk_list(call);
    info->n_files = info->files != NULL ? disk_files(disk)->n_files : 0;
    call->reply->disk = info;
    return info->files != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
}
