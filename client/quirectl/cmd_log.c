/* log dump: what the files of the disk tier hold, without a daemon. */
#include "client/quirectl/commands.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/log_check.h"
#include "client/quirectl/progress.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define DEFAULT_LIMIT 200u

struct dump {
    struct cli *cli;
    struct log_files files;
    uint64_t segment, from, limit; /* UINT64_MAX: all segments */
    bool records;
    uint64_t tail_epoch, rows, shown; /* segments, or records */
    uint64_t n_clean;
    struct table table;
    cJSON *list; /* with --json */
    struct progress progress;
};

static bool takes_row(struct dump *d) { return d->rows++ >= d->from && d->shown < d->limit && ++d->shown; }
static bool is_full(const struct dump *d) { return d->shown >= d->limit && d->rows > d->from + d->limit; }

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

static void file_state(const struct log_file *file, char text[200]) {
    if (file->holder > 0) {
        snprintf(text, 200, "in use by process %ld: it changes meanwhile", file->holder);
    } else if (file->copy_status[0] != QUIRE_OK || file->copy_status[1] != QUIRE_OK) {
        snprintf(text, 200, "copy %d of its superblock is damaged", file->copy_status[1] != QUIRE_OK);
    } else if (!file->used) {
        snprintf(text, 200, "%s", file->why);
    } else {
        snprintf(text, 200, "%s", file->superblock.flags & QUIRE_LOG_CLEAN ? "closed in good order" : "");
    }
}

static void copy_text(const struct log_file *file, uint32_t copy, char text[24]) {
    if (file->copy_status[copy] == QUIRE_OK) {
        snprintf(text, 24, "%" PRIu64, file->copies[copy].generation);
    } else {
        snprintf(text, 24, "damaged");
    }
}

static void files_text(const struct dump *d) {
    static const char *const titles[] = {"FILE", "INDEX", "SIZE", "SEGMENTS", "FIRST", "GENERATIONS", "NOTE"};
    const struct quire_log_superblock *first = &d->files.file[0].superblock;
    char unit[QUIRE_UNITS_BYTES], size[QUIRE_UNITS_BYTES], made[32] = "?", id[FORMAT_BYTES], note[200], copies[2][24];
    struct table table;
    struct tm parts;
    time_t created = (time_t)first->created_s;
    if (gmtime_r(&created, &parts) != NULL) {
        strftime(made, sizeof made, "%Y-%m-%d %H:%M:%SZ", &parts);
    }
    quire_human_size(d->files.geometry.unit_bytes, unit, sizeof unit);
    quire_human_size(log_files_segment_bytes(&d->files), size, sizeof size);
    format_key(d->files.set_id, sizeof d->files.set_id, id);
    fprintf(d->cli->out, "set %s made %s, %u file%s, segments of %s, units of %s\n", id, made, d->files.n_set,
            d->files.n_set == 1 ? "" : "s", size, unit);
    if (d->files.meta != NULL) {
        const struct quire_meta_head *head = quire_meta_head_of(d->files.meta);
        fprintf(d->cli->out, "metadata of generation %" PRIu64 ": %u namespace%s, %u pin%s\n", head->generation, head->n_namespaces,
                quire_s(head->n_namespaces), head->n_pins, quire_s(head->n_pins));
    } else if (d->files.meta_status == QUIRE_NOT_FOUND && d->files.file[0].superblock.file_index != 0) {
        fprintf(d->cli->out, "metadata: lies beside files that were not given\n");
    } else {
        fprintf(d->cli->out, "metadata: %s %s\n", d->files.meta_path, log_files_meta_text(&d->files));
    }
    fputc('\n', d->cli->out);
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "lrrrrrl");
    for (uint32_t i = 0; i < d->files.n; i++) {
        const struct log_file *file = &d->files.file[i];
        file_state(file, note);
        table_cell(&table, "%s", file->path);
        table_cell(&table, "%u", file->superblock.file_index);
        table_size(&table, file->size_bytes);
        table_count(&table, file->superblock.n_segments);
        table_cell(&table, "%u", file->superblock.first_number);
        copy_text(file, 0, copies[0]);
        copy_text(file, 1, copies[1]);
        table_cell(&table, "%s, %s", copies[0], copies[1]);
        table_cell(&table, "%s", note);
    }
    table_end(&table, 0, 0, d->cli->out);
    fputc('\n', d->cli->out);
}

static cJSON *superblock_json(const struct log_file *file, uint32_t copy) {
    const struct quire_log_superblock *superblock = &file->copies[copy];
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "status", quire_status_name(file->copy_status[copy]));
    if (file->copy_status[copy] == QUIRE_OK) {
        json_add_hex(object, "file_id", superblock->file_id, sizeof superblock->file_id);
        json_add_u64(object, "generation", superblock->generation);
        json_add_u64(object, "created_s", superblock->created_s);
        cJSON_AddBoolToObject(object, "clean", superblock->flags & QUIRE_LOG_CLEAN);
    }
    return object;
}

static void files_json(const struct dump *d, cJSON *root) {
    json_add_hex(root, "set_id", d->files.set_id, sizeof d->files.set_id);
    json_add_u64(root, "unit_bytes", d->files.geometry.unit_bytes);
    json_add_u64(root, "segment_bytes", log_files_segment_bytes(&d->files));
    cJSON_AddStringToObject(root, "metadata", quire_status_name(d->files.meta_status));
    cJSON *array = cJSON_AddArrayToObject(root, "files");
    for (uint32_t i = 0; i < d->files.n; i++) {
        const struct log_file *file = &d->files.file[i];
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "path", file->path);
        json_add_u64(object, "index", file->superblock.file_index);
        json_add_u64(object, "size_bytes", file->size_bytes);
        json_add_u64(object, "segments", file->superblock.n_segments);
        json_add_u64(object, "first_segment", file->superblock.first_number);
        cJSON_AddBoolToObject(object, "in_use", file->used);
        cJSON_AddStringToObject(object, "why", file->why);
        json_add_u64(object, "locked_by", (uint64_t)file->holder);
        cJSON *copies = cJSON_AddArrayToObject(object, "superblocks");
        for (uint32_t j = 0; j < QUIRE_LOG_SUPERBLOCK_COPIES; j++) {
            cJSON_AddItemToArray(copies, superblock_json(file, j));
        }
        cJSON_AddItemToArray(array, object);
    }
}

/* ---- segments and records ------------------------------------------------------------------------------------------------- */

static const char *state_name(const struct dump *d, const struct log_segment *segment) {
    static const char *const names[] = {
        [LOG_CLEAN] = "clean", [LOG_OPEN] = "open", [LOG_SEALED] = "sealed", [LOG_HEADLESS] = "without header"};
    return segment->epoch > 0 && segment->epoch < d->tail_epoch ? "emptied" : names[segment->state];
}

static void show_segment(struct dump *d, const struct log_segment *segment) {
    const char *note = segment->n_damages > 0 ? segment->damages[0].text : "";
    const uint64_t used_bytes = (uint64_t)segment->used_units * d->files.geometry.unit_bytes;
    if (d->cli->json) {
        cJSON *object = cJSON_CreateObject();
        json_add_u64(object, "segment", segment->number);
        cJSON_AddStringToObject(object, "state", state_name(d, segment));
        json_add_u64(object, "epoch", segment->epoch);
        json_add_u64(object, "tail_epoch", segment->tail_epoch);
        json_add_u64(object, "used_bytes", used_bytes);
        json_add_u64(object, "records", segment->n_records);
        json_add_u64(object, "record_bytes", segment->record_bytes);
        json_add_u64(object, "deletions", segment->n_tombstones);
        cJSON_AddStringToObject(object, "note", note);
        cJSON_AddItemToArray(d->list, object);
        return;
    }
    table_cell(&d->table, "%u", segment->number);
    table_cell(&d->table, "%s", state_name(d, segment));
    table_cell(&d->table, "%" PRIu64, segment->epoch);
    table_size(&d->table, used_bytes);
    table_count(&d->table, segment->n_records);
    table_size(&d->table, segment->record_bytes);
    table_count(&d->table, segment->n_tombstones);
    table_cell(&d->table, "%s", note);
}

static void show_record(struct dump *d, uint32_t number, const struct quire_log_entry *entry) {
    const bool record = entry->kind == QUIRE_LOG_RECORD;
    char key[65], ns[QUIRE_MAX_NAME * 2 + 32], size[QUIRE_UNITS_BYTES];
    quire_human_size(entry->size_bytes, size, sizeof size);
    quire_key_to_text(&entry->key, key);
    log_files_ns(&d->files, entry->ns, ns, sizeof ns);
    if (d->cli->json) {
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "kind", record ? "record" : "deletion");
        cJSON_AddStringToObject(object, "key", key);
        json_add_hex(object, "parent", entry->parent.b, sizeof entry->parent.b);
        cJSON_AddStringToObject(object, "namespace", ns);
        json_add_u64(object, "namespace_serial", entry->ns);
        json_add_u64(object, "segment", number);
        json_add_u64(object, "unit", entry->at_units);
        json_add_u64(object, "size_bytes", entry->size_bytes);
        json_add_u64(object, "sequence", entry->sequence);
        json_add_u64(object, "tokens", entry->n_tokens);
        json_add_u64(object, "group", entry->group);
        cJSON_AddStringToObject(object, "rung", quire_rung_name((enum quire_rung)entry->rung));
        cJSON_AddNumberToObject(object, "error", (double)entry->error);
        cJSON_AddBoolToObject(object, "root", entry->flags & QUIRE_LOG_ROOT);
        cJSON_AddBoolToObject(object, "parent_unknown", entry->flags & QUIRE_LOG_PARENT_UNKNOWN);
        cJSON_AddItemToArray(d->list, object);
        return;
    }
    table_cell(&d->table, "%u", number);
    table_cell(&d->table, record ? "%u" : "–", entry->at_units);
    table_cell(&d->table, "%s", key);
    table_cell(&d->table, record ? "%u" : "–", entry->n_tokens);
    table_cell(&d->table, record ? "%u" : "–", entry->group);
    table_cell(&d->table, "%s", record ? size : "–");
    table_cell(&d->table, "%" PRIu64, entry->sequence);
    table_cell(&d->table, "%s", ns);
    table_cell(&d->table, "%s",
               !record                                   ? "deletion"
               : entry->flags & QUIRE_LOG_ROOT           ? "first"
               : entry->flags & QUIRE_LOG_PARENT_UNKNOWN ? "parent unknown"
                                                         : "");
}

static enum quire_status dump_segment(struct dump *d, uint32_t number, uint8_t *bytes) {
    struct log_segment segment;
    uint32_t unreadable;
    enum quire_status status = log_load(&d->files, number, false, bytes, &segment, &unreadable);
    bool clean = segment.state == LOG_CLEAN && segment.n_damages == 0;
    d->n_clean += clean;
    if (status == QUIRE_OK && d->records) {
        for (uint32_t i = 0; i < segment.n_entries; i++) {
            if (takes_row(d)) {
                show_record(d, number, &segment.entries[i]);
            }
        }
    } else if (status == QUIRE_OK && (!clean || d->segment == number) && takes_row(d)) {
        show_segment(d, &segment);
    }
    log_segment_free(&segment);
    return status;
}

static enum cli_exit dump_segments(struct dump *d) {
    uint8_t *bytes = malloc(log_files_segment_bytes(&d->files));
    enum quire_status status = bytes != NULL ? QUIRE_OK : QUIRE_NO_MEMORY;
    bool seen = false;
    progress_begin(&d->progress, d->cli->json ? NULL : d->cli->err);
    for (uint32_t i = 0; i < d->files.n; i++) {
        const struct quire_log_superblock *superblock = &d->files.file[i].superblock;
        for (uint32_t j = 0; status == QUIRE_OK && j < superblock->n_segments && !is_full(d); j++) {
            uint32_t number = superblock->first_number + j;
            if (d->segment == UINT64_MAX || d->segment == number) {
                seen = true;
                status = dump_segment(d, number, bytes);
            }
            if (progress_due(&d->progress)) {
                progress_tell(&d->progress, "read %u of %u segments of %s", j + 1, superblock->n_segments, d->files.file[i].path);
            }
        }
    }
    progress_end(&d->progress);
    free(bytes);
    if (status != QUIRE_OK) {
        return cli_fail(d->cli, status, "%s", quire_status_text(status));
    }
    if (!seen && d->segment != UINT64_MAX) {
        return cli_fail(d->cli, QUIRE_NOT_FOUND, "no segment %" PRIu64 " in the files given", d->segment);
    }
    return CLI_OK;
}

/* ---- the command ---------------------------------------------------------------------------------------------------------- */

static enum cli_exit dump_text(struct dump *d) {
    static const char *const segments[] = {"SEGMENT", "STATE", "EPOCH", "USED", "RECORDS", "BYTES", "DELETIONS", "NOTE"};
    static const char *const records[] = {"SEGMENT", "UNIT", "KEY", "TOKENS", "GROUP", "SIZE", "SEQUENCE", "NAMESPACE", "NOTE"};
    if (!d->records || d->from == 0) {
        files_text(d);
    }
    if (d->records) {
        table_begin(&d->table, records, QUIRE_ARRAY_LEN(records), "rrlrrrrll");
    } else {
        table_begin(&d->table, segments, QUIRE_ARRAY_LEN(segments), "rlrrrrrl");
    }
    enum cli_exit result = dump_segments(d);
    table_end(&d->table, 0, 0, d->cli->out);
    if (result == CLI_OK && is_full(d)) {
        fprintf(d->cli->out, "… there is more: --from %" PRIu64 " goes on there\n", d->from + d->shown);
    } else if (result == CLI_OK && d->n_clean > 0 && !d->records && d->segment == UINT64_MAX) {
        fprintf(d->cli->out, "%" PRIu64 " segments are clean\n", d->n_clean);
    }
    return result;
}

static enum cli_exit dump_json(struct dump *d) {
    cJSON *root = cJSON_CreateObject();
    files_json(d, root);
    d->list = cJSON_AddArrayToObject(root, d->records ? "records" : "segments");
    enum cli_exit result = dump_segments(d);
    if (result != CLI_OK) {
        cJSON_Delete(root);
        return result;
    }
    json_add_u64(root, "clean_segments", d->n_clean);
    if (is_full(d)) {
        json_add_u64(root, "next", d->from + d->shown);
    } else {
        cJSON_AddNullToObject(root, "next");
    }
    json_print(root, d->cli->out);
    return CLI_OK;
}

static enum cli_exit take_number(struct cli *cli, const char *name, const char *text, uint64_t *value) {
    if (text != NULL && quire_parse_count(text, false, value) != QUIRE_OK) {
        return cli_usage(cli, "%s: '%.60s' is not a number", name, text);
    }
    return CLI_OK;
}

enum cli_exit cmd_log_dump(struct cli *cli, int argc, char **argv) {
    static struct dump dump;
    struct dump *d = &dump;
    struct args_list paths;
    const char *segment = NULL, *from = NULL, *limit = NULL;
    dump = (struct dump){.cli = cli, .segment = UINT64_MAX, .limit = DEFAULT_LIMIT};
    const struct args_option options[] = {{"--segment", ARGS_TEXT, &segment},
                                          {"--records", ARGS_FLAG, &d->records},
                                          {"--from", ARGS_TEXT, &from},
                                          {"--limit", ARGS_TEXT, &limit}};
    enum cli_exit result = args_parse(cli, argc, argv, options, QUIRE_ARRAY_LEN(options), "PATH", 1, QUIRE_LOG_MAX_FILES, &paths);
    result = result == CLI_OK ? take_number(cli, "--segment", segment, &d->segment) : result;
    result = result == CLI_OK ? take_number(cli, "--from", from, &d->from) : result;
    result = result == CLI_OK ? take_number(cli, "--limit", limit, &d->limit) : result;
    if (result == CLI_OK && (d->limit == 0 || d->limit > 100000 || d->from > UINT32_MAX)) {
        result = cli_usage(cli, "--limit: 1 to 100000 rows at once; --from goes on");
    }
    if (result != CLI_OK) {
        return result;
    }
    result = log_files_open(cli, &paths, LOG_LOOK, &d->files);
    if (result == CLI_OK) {
        d->tail_epoch = log_tail_epoch(&d->files);
        result = cli->json ? dump_json(d) : dump_text(d);
    }
    log_files_close(&d->files);
    return result;
}
