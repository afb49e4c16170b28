/* block show, pin, unpin. */
#include "client/quirectl/blocks.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/keys.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

/* How many keys the daemon describes in one answer. */
#define KEYS_A_CALL 256

enum cli_exit blocks_ask(struct cli *cli, const char *ns, const quire_key *keys, unsigned n_keys, Quire__Wire__AdminReply **reply) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    request.verb = QUIRE_ADMIN_BLOCK_SHOW;
    request.ns = (char *)(uintptr_t)ns;
    request.keys = (ProtobufCBinaryData){.len = (size_t)n_keys * QUIRE_KEY_BYTES, .data = (uint8_t *)(uintptr_t)keys->b};
    enum cli_exit result = cli_admin(cli, &request, reply);
    if (result == CLI_OK && ((*reply)->n_blocks != n_keys)) {
        cli_free_reply(reply);
        return cli_fail(cli, QUIRE_CORRUPT, "the daemon described %s blocks than asked for", n_keys > 0 ? "fewer or more" : "other");
    }
    return result;
}

cJSON *block_json(const Quire__Wire__BlockInfo *block) {
    cJSON *object = json_message(&block->base);
    cJSON_ReplaceItemInObject(object, "miss", cJSON_CreateString(quire_miss_name((enum quire_miss)block->miss)));
    return object;
}

/* ---- show ---------------------------------------------------------------------------------------------------------------------- */
static void show_records(const Quire__Wire__BlockInfo *block, FILE *to) {
    static const char *const titles[] = {"GROUP", "TIER",  "STATE",    "SIZE",       "OFFSET", "READERS",
                                         "RUNG",  "ERROR", "SEQUENCE", "GENERATION", "ON DISK"};
    struct table table;
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "rllrrrlrrrl");
    for (size_t i = 0; i < block->n_records; i++) {
        const Quire__Wire__RecordInfo *record = block->records[i];
        table_cell(&table, "%u", record->group);
        table_cell(&table, "%s", record->tier);
        table_cell(&table, "%s", record->state);
        table_size(&table, record->bytes);
        table_cell(&table, "%llu", (unsigned long long)record->offset);
        table_cell(&table, "%u", record->refs);
        table_cell(&table, "%s", record->rung);
        table_cell(&table, "%g", (double)record->error);
        table_cell(&table, "%llu", (unsigned long long)record->sequence);
        table_cell(&table, "%u", record->generation);
        table_cell(&table, record->on_disk ? "segment %u" : "–", record->segment);
    }
    table_end(&table, 2, 0, to);
}

static void show_people(const Quire__Wire__BlockInfo *block, FILE *to) {
    char key[65] = "", parent[65] = "", ago[FORMAT_BYTES];
    quire_key value;
    if (block->key.len == QUIRE_KEY_BYTES) {
        memcpy(value.b, block->key.data, QUIRE_KEY_BYTES);
        quire_key_to_text(&value, key);
    }
    if (block->parent.len == QUIRE_KEY_BYTES) {
        memcpy(value.b, block->parent.data, QUIRE_KEY_BYTES);
        quire_key_to_text(&value, parent);
        if (quire_key_is_zero(&value)) {
            snprintf(parent, sizeof parent, "unknown");
        }
    }
    fprintf(to, "block    %s\n", key);
    if (block->miss != QUIRE_MISS_NONE) {
        fprintf(to, "  misses   %s\n", quire_miss_text((enum quire_miss)block->miss));
    }
    if (block->n_records > 0 || block->miss == QUIRE_MISS_NONE || block->miss == QUIRE_MISS_ORPHAN) {
        format_ago(block->idle_ms, ago);
        fprintf(to, "  parent   %s\n", parent);
        fprintf(to, "  holds    %u token%s, %u %s, %u pin%s, last used %s\n", block->n_tokens, quire_s(block->n_tokens), block->children,
                block->children == 1 ? "child" : "children", block->pins, quire_s(block->pins), ago);
    }
    if (block->advice[0] != '\0') {
        fprintf(to, "  note     %s\n", block->advice);
    }
    show_records(block, to);
}

enum cli_exit cmd_block_show(struct cli *cli, int argc, char **argv) {
    const char *ns = NULL;
    struct args_list words;
    struct keys keys = {0};
    Quire__Wire__AdminReply *reply = NULL;
    const struct args_option options[] = {{"--ns", ARGS_TEXT, &ns}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "a KEY", 1, KEYS_A_CALL, &words);
    if (result == CLI_OK && ns == NULL) {
        result = cli_usage(cli, "--ns NAME is missing");
    }
    if (result == CLI_OK) {
        result = keys_from_words(cli, &words, &keys);
    }
    if (result == CLI_OK) {
        result = blocks_ask(cli, ns, keys.key, keys.n, &reply);
    }
    keys_free(&keys);
    if (result != CLI_OK) {
        return result;
    }
    cJSON *root = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(root, "blocks");
    for (size_t i = 0; i < reply->n_blocks; i++) {
        const Quire__Wire__BlockInfo *block = reply->blocks[i];
        if (cli->json) {
            cJSON_AddItemToArray(array, block_json(block));
        } else {
            show_people(block, cli->out);
        }
        if (block->n_records == 0 && block->miss != QUIRE_MISS_NONE) {
            result = CLI_NOT_FOUND;
        }
    }
    if (cli->json) {
        json_print(root, cli->out);
    } else {
        cJSON_Delete(root);
    }
    cli_free_reply(&reply);
    return result;
}

/* ---- pin, unpin ---------------------------------------------------------------------------------------------------------------- */
/* A key that is not there misses; one that is not found is there, and has no pin to take away. */
static const char *pin_text(enum quire_status status, const char *verb) {
    return status == QUIRE_OK ? verb : status == QUIRE_NOT_FOUND ? "not pinned" : quire_status_text(status);
}

static enum cli_exit tell_pins(struct cli *cli, const struct keys *keys, const uint8_t *statuses, const char *verb) {
    enum cli_exit result = CLI_OK;
    cJSON *root = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(root, verb);
    for (unsigned i = 0; i < keys->n; i++) {
        char text[65];
        quire_key_to_text(&keys->key[i], text);
        if (cli->json) {
            cJSON *entry = cJSON_CreateObject();
            cJSON_AddStringToObject(entry, "key", text);
            cJSON_AddStringToObject(entry, "status", quire_status_name((enum quire_status)statuses[i]));
            cJSON_AddItemToArray(array, entry);
        } else {
            fprintf(cli->out, "%s  %s\n", text, pin_text((enum quire_status)statuses[i], verb));
        }
        if (statuses[i] != QUIRE_OK) {
            result = statuses[i] == QUIRE_MISS || statuses[i] == QUIRE_NOT_FOUND ? CLI_NOT_FOUND : CLI_FAILED;
        }
    }
    if (cli->json) {
        json_print(root, cli->out);
    } else {
        cJSON_Delete(root);
    }
    return result;
}

typedef enum quire_status keys_call(quire_ns *ns, const quire_key *keys, uint32_t n_keys, uint8_t *statuses, uint32_t deadline_ms);

static enum cli_exit run_keys(struct cli *cli, int argc, char **argv, keys_call *call, const char *verb) {
    const char *name = NULL;
    struct args_list words;
    struct keys keys = {0};
    uint8_t statuses[ARGS_LIST_MAX];
    quire_ns *ns = NULL;
    const struct args_option options[] = {{"--ns", ARGS_TEXT, &name}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "a KEY", 1, ARGS_LIST_MAX, &words);
    if (result == CLI_OK && name == NULL) {
        result = cli_usage(cli, "--ns NAME is missing");
    }
    if (result == CLI_OK) {
        result = keys_from_words(cli, &words, &keys);
    }
    if (result == CLI_OK) {
        result = cli_open_ns(cli, name, &ns);
    }
    if (result == CLI_OK) {
        memset(statuses, QUIRE_INTERNAL, sizeof statuses);
        enum quire_status status = call(ns, keys.key, keys.n, statuses, cli->deadline_ms);
        bool answered = statuses[0] != QUIRE_INTERNAL; /* a failure of single keys is told key by key */
        result = status == QUIRE_OK || answered ? tell_pins(cli, &keys, statuses, verb) : cli_fail(cli, status, "%s", quire_last_error());
    }
    quire_ns_close(&ns);
    keys_free(&keys);
    return result;
}

enum cli_exit cmd_pin(struct cli *cli, int argc, char **argv) { return run_keys(cli, argc, argv, quire_pin, "pinned"); }
enum cli_exit cmd_unpin(struct cli *cli, int argc, char **argv) { return run_keys(cli, argc, argv, quire_unpin, "unpinned"); }
