/* lookup, why-miss. */
#include "client/quirectl/blocks.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/keys.h"
#include "client/quirectl/table.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/status.h"

#include <stdlib.h>

/* What is asked, and what the lookup said. */
struct question {
    const char *ns_name, *tokens_path;
    quire_ns *ns;
    struct keys keys;
    uint8_t *misses;    /* a byte a key, each for itself */
    uint32_t *fetch_us; /* until each will have been read from disk, with those before it; 0: in memory */
    uint32_t prefix;    /* blocks of the longest stored prefix; with single keys the keys that hit */
    uint32_t prefix_us; /* until all of them will have been read */
};

static void question_free(struct question *question) {
    if (question->ns != NULL) {
        quire_ns_close(&question->ns);
    }
    keys_free(&question->keys);
    free(question->misses);
    free(question->fetch_us);
    *question = (struct question){0};
}

/* No lease is taken, and nothing counts as use. */
static enum cli_exit probe(struct cli *cli, struct question *question, uint32_t flags, uint32_t *hits, uint32_t *fetch_us) {
    const quire_lookup_args args = {
        .keys = question->keys.key,
        .n_keys = question->keys.n,
        .flags = flags | QUIRE_LOOKUP_PROBE,
        .deadline_ms = cli->deadline_ms,
        .estimates_us = question->fetch_us,
    };
    quire_lookup_result result;
    enum quire_status status = quire_lookup(question->ns, &args, question->misses, &result);
    *hits = result.hits;
    *fetch_us = status == QUIRE_OK ? result.fetch_us : 0;
    return status == QUIRE_OK ? CLI_OK : cli_fail(cli, status, "lookup: %s", quire_last_error());
}

static enum cli_exit ask(struct cli *cli, struct question *question, const struct args_list *words) {
    uint32_t each, each_us;
    enum cli_exit result = cli_open_ns(cli, question->ns_name, &question->ns);
    if (result == CLI_OK) {
        result = question->tokens_path != NULL ? keys_from_tokens(cli, question->ns, question->tokens_path, &question->keys)
                                               : keys_from_words(cli, words, &question->keys);
    }
    if (result != CLI_OK) {
        return result;
    }
    question->misses = calloc(question->keys.n + 1, 1);
    question->fetch_us = calloc(question->keys.n + 1, sizeof *question->fetch_us);
    if (question->misses == NULL || question->fetch_us == NULL) {
        return cli_fail(cli, QUIRE_NO_MEMORY, "out of memory");
    }
    if (question->tokens_path != NULL) {
        result = probe(cli, question, 0, &question->prefix, &question->prefix_us);
    }
    if (result == CLI_OK) {
        result = probe(cli, question, QUIRE_LOOKUP_EACH, &each, &each_us);
        question->prefix = question->tokens_path != NULL ? question->prefix : each;
        question->prefix_us = question->tokens_path != NULL ? question->prefix_us : each_us;
    }
    return result;
}

/* ---- lookup -------------------------------------------------------------------------------------------------------------------- */
static void lookup_json(const struct question *question, FILE *to) {
    cJSON *root = cJSON_CreateObject();
    json_add_u64(root, "hits", question->prefix);
    json_add_u64(root, "fetch_us", question->prefix_us);
    cJSON *array = cJSON_AddArrayToObject(root, "keys");
    for (unsigned i = 0; i < question->keys.n; i++) {
        char text[65];
        cJSON *entry = cJSON_CreateObject();
        quire_key_to_text(&question->keys.key[i], text);
        cJSON_AddStringToObject(entry, "key", text);
        cJSON_AddBoolToObject(entry, "hit", question->misses[i] == QUIRE_MISS_NONE);
        if (question->misses[i] != QUIRE_MISS_NONE) {
            cJSON_AddStringToObject(entry, "miss", quire_miss_name((enum quire_miss)question->misses[i]));
        } else {
            json_add_u64(entry, "fetch_us", question->fetch_us[i]);
        }
        cJSON_AddItemToArray(array, entry);
    }
    json_print(root, to);
}

/* Nothing where nothing waits for a disk. */
static void lookup_time(const struct question *question, FILE *to) {
    char time[FORMAT_BYTES];
    if (question->prefix_us > 0) {
        format_us(question->prefix_us, time);
        fprintf(to, "part of it is on disk: all will be in memory about %s after it was asked for\n", time);
    }
}

static void lookup_people(const struct question *question, FILE *to) {
    static const char *const titles[] = {"BLOCK", "KEY", "FROM DISK IN", "ANSWER"};
    struct table table;
    char tokens[QUIRE_UNITS_BYTES], time[FORMAT_BYTES];
    table_begin(&table, titles, QUIRE_ARRAY_LEN(titles), "rlrl");
    for (unsigned i = 0; i < question->keys.n; i++) {
        char text[65];
        quire_key_to_text(&question->keys.key[i], text);
        table_cell(&table, "%u", i);
        table_cell(&table, "%s", text);
        format_us(question->fetch_us[i], time);
        table_cell(&table, "%s", question->misses[i] == QUIRE_MISS_NONE && question->fetch_us[i] > 0 ? time : "–");
        table_cell(&table, "%s", quire_miss_text((enum quire_miss)question->misses[i]));
    }
    table_end(&table, 0, 0, to);
    if (question->tokens_path == NULL) {
        fprintf(to, "%u of %u key%s hit\n", question->prefix, question->keys.n, quire_s(question->keys.n));
        lookup_time(question, to);
        return;
    }
    quire_human_count((uint64_t)question->prefix * question->keys.block_tokens, tokens, sizeof tokens);
    fprintf(to, "longest stored prefix: %u of %u block%s, %s of %zu token%s\n", question->prefix, question->keys.n,
            quire_s(question->keys.n), tokens, question->keys.n_tokens, quire_s(question->keys.n_tokens));
    lookup_time(question, to);
}

enum cli_exit cmd_lookup(struct cli *cli, int argc, char **argv) {
    struct question question = {0};
    struct args_list words, keys = {.n = 0};
    const struct args_option options[] = {
        {"--ns", ARGS_TEXT, &question.ns_name}, {"--key", ARGS_LIST, &keys}, {"--tokens", ARGS_TEXT, &question.tokens_path}};
    enum cli_exit result = args_parse(cli, argc, argv, options, QUIRE_ARRAY_LEN(options), "word (use --key)", 0, 0, &words);
    if (result == CLI_OK && (question.ns_name == NULL || (keys.n > 0) == (question.tokens_path != NULL))) {
        result = cli_usage(cli, "--ns NAME and either --key KEY or --tokens FILE are expected");
    }
    if (result == CLI_OK) {
        result = ask(cli, &question, &keys);
    }
    if (result == CLI_OK) {
        (cli->json ? lookup_json : lookup_people)(&question, cli->out);
        result = question.prefix == question.keys.n ? CLI_OK : CLI_NOT_FOUND;
    }
    question_free(&question);
    return result;
}

/* ---- why-miss ------------------------------------------------------------------------------------------------------------------ */
/* The answer: which block of the chain is the first that misses (`found`), and what is known of it. */
struct answer {
    bool found;
    unsigned position; /* blocks before it hit; with a KEY, how many steps it lies before KEY */
    unsigned behind;   /* blocks of the chain behind it, and how many of them are stored */
    unsigned behind_stored;
    Quire__Wire__AdminReply *reply; /* one block */
};

static void answer_json(const struct answer *answer, bool tokens, FILE *to) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddBoolToObject(root, "misses", answer->found);
    json_add_u64(root, tokens ? "hits_before" : "steps_before_key", answer->position);
    if (tokens) {
        json_add_u64(root, "blocks_behind", answer->behind);
        json_add_u64(root, "stored_behind", answer->behind_stored);
    }
    if (answer->found) {
        cJSON_AddItemToObject(root, "block", block_json(answer->reply->blocks[0]));
    }
    json_print(root, to);
}

static void tell_block(const Quire__Wire__BlockInfo *block, FILE *to) {
    char text[65] = "";
    quire_key key;
    if (block->key.len == QUIRE_KEY_BYTES) {
        memcpy(key.b, block->key.data, QUIRE_KEY_BYTES);
        quire_key_to_text(&key, text);
    }
    fprintf(to, "  key     %s\n", text);
    fprintf(to, "  why     %s\n", quire_miss_text((enum quire_miss)block->miss));
    fprintf(to, "  advice  %s\n", block->advice);
}

static enum cli_exit why_tokens(struct cli *cli, struct question *question) {
    struct answer answer = {0};
    enum cli_exit result = ask(cli, question, NULL);
    if (result != CLI_OK) {
        return result;
    }
    answer.position = question->prefix;
    answer.found = question->prefix < question->keys.n;
    if (answer.found) {
        for (unsigned i = question->prefix + 1; i < question->keys.n; i++) {
            answer.behind++;
            answer.behind_stored += question->misses[i] == QUIRE_MISS_NONE || question->misses[i] == QUIRE_MISS_ORPHAN;
        }
        result = blocks_ask(cli, question->ns_name, &question->keys.key[question->prefix], 1, &answer.reply);
    }
    if (result != CLI_OK) {
        return result;
    }
    if (cli->json) {
        answer_json(&answer, true, cli->out);
    } else if (!answer.found) {
        fprintf(cli->out, "nothing misses: %u block%s, all stored\n", question->keys.n, quire_s(question->keys.n));
    } else {
        const uint64_t tokens = (uint64_t)answer.position * question->keys.block_tokens;
        fprintf(cli->out, "%u of %u block%s hit (%llu token%s), block %u misses\n", answer.position, question->keys.n,
                quire_s(question->keys.n), (unsigned long long)tokens, quire_s(tokens), answer.position);
        tell_block(answer.reply->blocks[0], cli->out);
        if (answer.behind_stored > 0) {
            fprintf(cli->out, "  behind  %u of the %u block%s behind it stored, of no use without it\n", answer.behind_stored,
                    answer.behind, quire_s(answer.behind));
        }
    }
    cli_free_reply(&answer.reply);
    return CLI_OK;
}

/* From KEY towards the root, as far as parents are known; `answer` keeps the block nearest the root that misses. */
static enum cli_exit walk_back(struct cli *cli, const struct question *question, quire_key key, struct answer *answer) {
    const quire_key root = quire_ns_root(question->ns);
    static const quire_key zero;
    for (unsigned step = 0; step < QUIRE_MAX_BATCH; step++) {
        Quire__Wire__AdminReply *reply;
        enum cli_exit result = blocks_ask(cli, question->ns_name, &key, 1, &reply);
        if (result != CLI_OK) {
            return result;
        }
        const Quire__Wire__BlockInfo *block = reply->blocks[0];
        bool has_parent = block->parent.len == QUIRE_KEY_BYTES;
        if (has_parent) {
            memcpy(key.b, block->parent.data, QUIRE_KEY_BYTES);
        }
        if (block->miss != QUIRE_MISS_NONE) {
            cli_free_reply(&answer->reply);
            answer->found = true;
            answer->position = step;
            answer->reply = reply;
        } else {
            cli_free_reply(&reply);
        }
        if (!has_parent || quire_key_equal(&key, &root) || quire_key_equal(&key, &zero)) {
            return CLI_OK;
        }
    }
    return CLI_OK;
}

static enum cli_exit why_key(struct cli *cli, struct question *question, const struct args_list *words) {
    struct answer answer = {0};
    enum cli_exit result = keys_from_words(cli, words, &question->keys);
    if (result == CLI_OK) {
        result = cli_open_ns(cli, question->ns_name, &question->ns);
    }
    if (result == CLI_OK) {
        result = walk_back(cli, question, question->keys.key[0], &answer);
    }
    if (result == CLI_OK && cli->json) {
        answer_json(&answer, false, cli->out);
    } else if (result == CLI_OK && !answer.found) {
        fprintf(cli->out, "nothing misses: the block and those before it are stored\n");
    } else if (result == CLI_OK) {
        if (answer.position == 0) {
            fprintf(cli->out, "the block itself misses\n");
        } else {
            fprintf(cli->out, "a block %u before it in the chain misses\n", answer.position);
        }
        tell_block(answer.reply->blocks[0], cli->out);
    }
    cli_free_reply(&answer.reply);
    return result;
}

enum cli_exit cmd_why_miss(struct cli *cli, int argc, char **argv) {
    struct question question = {0};
    struct args_list words;
    const struct args_option options[] = {{"--ns", ARGS_TEXT, &question.ns_name}, {"--tokens", ARGS_TEXT, &question.tokens_path}};
    enum cli_exit result = args_parse(cli, argc, argv, options, QUIRE_ARRAY_LEN(options), "KEY", 0, 1, &words);
    if (result == CLI_OK && (question.ns_name == NULL || (words.n > 0) == (question.tokens_path != NULL))) {
        result = cli_usage(cli, "--ns NAME and either a KEY or --tokens FILE are expected");
    }
    if (result == CLI_OK) {
        result = question.tokens_path != NULL ? why_tokens(cli, &question) : why_key(cli, &question, &words);
    }
    question_free(&question);
    return result;
}
