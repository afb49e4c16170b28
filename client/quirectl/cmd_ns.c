/* ns list, ns show, ns delete. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/format.h"
#include "client/quirectl/json.h"
#include "client/quirectl/views.h"
#include "proto/base/base.h"
#include "proto/base/units.h"
#include "proto/layout.h"
#include "proto/status.h"

#include <stdlib.h>

enum cli_exit cmd_ns_list(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    bool names = false;
    const struct args_option options[] = {{"--names", ARGS_FLAG, &names}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "word", 0, 0, &words);
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_NS_LIST, &reply);
    }
    if (result != CLI_OK) {
        return result;
    }
    if (names) {
        for (size_t i = 0; i < reply->n_namespaces; i++) {
            fprintf(cli->out, "%s\n", reply->namespaces[i]->name);
        }
    } else if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        json_add_messages(root, "namespaces", (void *const *)reply->namespaces, reply->n_namespaces);
        json_print(root, cli->out);
    } else if (reply->n_namespaces == 0) {
        fprintf(cli->out, "no namespace yet: the first worker that opens one makes it\n");
    } else {
        view_namespaces(reply, cli->out);
    }
    cli_free_reply(&reply);
    return CLI_OK;
}

/* ---- show ---------------------------------------------------------------------------------------------------------------------- */
static void layout_json(const quire_layout *layout, cJSON *object) {
    json_add_hex(object, "weights_digest", layout->weights_digest, sizeof layout->weights_digest);
    json_add_u64(object, "block_tokens", layout->block_tokens);
    cJSON_AddBoolToObject(object, "opaque", layout->opaque);
    if (layout->opaque) {
        cJSON_AddStringToObject(object, "engine", layout->engine);
        cJSON_AddStringToObject(object, "engine_format", layout->engine_format);
        return;
    }
    json_add_u64(object, "n_layers", layout->n_layers);
    cJSON *groups = cJSON_AddArrayToObject(object, "groups");
    for (uint32_t i = 0; i < layout->n_groups; i++) {
        const quire_group *group = &layout->group[i];
        cJSON *entry = cJSON_CreateObject();
        json_add_u64(entry, "layers", quire_layout_group_layers(layout, i));
        json_add_u64(entry, "window_tokens", group->window_tokens);
        json_add_u64(entry, "n_kv_heads", group->n_kv_heads);
        json_add_u64(entry, "k_dim", group->k_dim);
        json_add_u64(entry, "v_dim", group->v_dim);
        cJSON_AddStringToObject(entry, "elem", quire_elem_name((enum quire_elem)group->elem));
        json_add_u64(entry, "rope_dims", group->rope.n_dims);
        cJSON_AddItemToArray(groups, entry);
    }
}

static uint64_t block_bytes(const quire_layout *layout) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < layout->n_groups; i++) {
        const quire_rect whole = quire_layout_whole(layout, i);
        bytes += quire_layout_rect_bytes(layout, i, &whole, layout->block_tokens);
    }
    return bytes;
}

static void layout_people(const quire_layout *layout, FILE *to) {
    char size[QUIRE_UNITS_BYTES];
    if (layout->opaque) {
        fprintf(to, "layout       opaque blocks of %u token%s, written by %s in format %s\n", layout->block_tokens,
                quire_s(layout->block_tokens), layout->engine, layout->engine_format);
        return;
    }
    quire_human_size(block_bytes(layout), size, sizeof size);
    fprintf(to, "layout       blocks of %u token%s, %s each; %u layer%s in %u group%s\n", layout->block_tokens,
            quire_s(layout->block_tokens), size, layout->n_layers, quire_s(layout->n_layers), layout->n_groups, quire_s(layout->n_groups));
    for (uint32_t i = 0; i < layout->n_groups; i++) {
        const quire_group *group = &layout->group[i];
        const uint32_t layers = quire_layout_group_layers(layout, i);
        fprintf(to, "  group %u    %u layer%s KV, %u head%s, K %u and V %u of %s", i, layers, layers == 1 ? " stores" : "s store",
                group->n_kv_heads, quire_s(group->n_kv_heads), group->k_dim, group->v_dim, quire_elem_name((enum quire_elem)group->elem));
        if (group->rope.pairing != QUIRE_ROPE_NONE) {
            fprintf(to, ", RoPE on %u dims %s", group->rope.n_dims, group->rope.applied ? "applied" : "not applied");
        }
        if (group->window_tokens > 0) {
            fprintf(to, ", window of %u token%s", group->window_tokens, quire_s(group->window_tokens));
        }
        fputc('\n', to);
    }
}

static void show_json(const Quire__Wire__NamespaceInfo *ns, const quire_layout *layout, FILE *to) {
    cJSON *root = cJSON_CreateObject(), *object = json_message(&ns->base);
    cJSON_AddItemToObject(root, "namespace", object);
    if (layout != NULL) {
        cJSON_ReplaceItemInObject(object, "layout", cJSON_CreateObject());
        layout_json(layout, cJSON_GetObjectItem(object, "layout"));
    }
    json_print(root, to);
}

/* "1.53 ms a token (655 tokens a second)" */
static void rate_text(double us_per_token, char *text, size_t text_bytes) {
    const char *unit = us_per_token >= 1e6 ? "s" : us_per_token >= 1e3 ? "ms" : "µs";
    const double factor = us_per_token >= 1e6 ? 1e6 : us_per_token >= 1e3 ? 1e3 : 1;
    const double per_s = 1e6 / us_per_token;
    char count[QUIRE_UNITS_BYTES];
    if (per_s >= 100) {
        quire_human_count((uint64_t)(per_s + 0.5), count, sizeof count);
    } else {
        snprintf(count, sizeof count, "%.3g", per_s);
    }
    snprintf(text, text_bytes, "%.*f %s a token (%s tokens a second)", us_per_token / factor >= 99.95 ? 0 : 2, us_per_token / factor, unit,
             count);
}

/* What is saved was leased: whether its holder fetched it too, the daemon cannot see. */
static void savings_people(const Quire__Wire__NamespaceInfo *ns, FILE *to) {
    char rate[FORMAT_BYTES * 2], whence[FORMAT_BYTES * 2] = "as configured", saved[QUIRE_UNITS_BYTES], count[QUIRE_UNITS_BYTES];
    quire_human_duration((uint64_t)(ns->prefill_seconds_saved * 1e3 + 0.5), saved, sizeof saved);
    if (ns->prefill_us_per_token > 0) {
        rate_text(ns->prefill_us_per_token, rate, sizeof rate);
        if (ns->prefill_reports > 0) {
            quire_human_count(ns->prefill_reports, count, sizeof count);
            snprintf(whence, sizeof whence, "as its workers measured (%s report%s)", count, quire_s(ns->prefill_reports));
        }
        fprintf(to, "prefill      %s, %s; what was leased would have taken %s\n", rate, whence, saved);
    } else {
        fprintf(to, "prefill      no worker told what a token takes, and prefill_tokens_per_s is 0; what was leased counts as %s\n", saved);
    }
}

static void show_people(const Quire__Wire__NamespaceInfo *ns, const quire_layout *layout, FILE *to) {
    char size[QUIRE_UNITS_BYTES], count[QUIRE_UNITS_BYTES], percent[FORMAT_BYTES], digest[FORMAT_BYTES];
    fprintf(to, "namespace    %s, trust domain %s, %s\n", ns->name, ns->domain, ns->policy);
    format_key(ns->digest.data, ns->digest.len, digest);
    fprintf(to, "digest       %s\n", digest);
    if (layout != NULL) {
        layout_people(layout, to);
    }
    quire_human_size(ns->bytes, size, sizeof size);
    quire_human_count(ns->blocks, count, sizeof count);
    fprintf(to, "holds        %s block%s in %llu record%s, %s; %llu pinned\n", count, quire_s(ns->blocks), (unsigned long long)ns->records,
            quire_s(ns->records), size, (unsigned long long)ns->pinned_blocks);
    if (ns->disk_records > 0) {
        quire_human_size(ns->disk_bytes, size, sizeof size);
        quire_human_count(ns->disk_records, count, sizeof count);
        fprintf(to, "on disk      %s record%s, %s\n", count, quire_s(ns->disk_records), size);
    }
    uint64_t asked = ns->hits + ns->misses;
    format_percent(ns->hits, asked, percent);
    quire_human_count(ns->tokens_reused, count, sizeof count);
    fprintf(to, "use          %s of %llu key%s hit, %s token%s leased\n", percent, (unsigned long long)asked, quire_s(asked), count,
            quire_s(ns->tokens_reused));
    savings_people(ns, to);
    fprintf(to, "stores       %llu stored, %llu evicted\n", (unsigned long long)ns->stores, (unsigned long long)ns->evictions);
}

static const Quire__Wire__NamespaceInfo *find(const Quire__Wire__AdminReply *reply, const char *name) {
    for (size_t i = 0; i < reply->n_namespaces; i++) {
        if (strcmp(reply->namespaces[i]->name, name) == 0) {
            return reply->namespaces[i];
        }
    }
    return NULL;
}

enum cli_exit cmd_ns_show(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    enum cli_exit result = args_parse(cli, argc, argv, NULL, 0, "the namespace's NAME", 1, 1, &words);
    if (result != CLI_OK) {
        return result;
    }
    request.verb = QUIRE_ADMIN_NS_LIST;
    request.ns = (char *)(uintptr_t)words.items[0];
    if ((result = cli_admin(cli, &request, &reply)) != CLI_OK) {
        return result;
    }
    const Quire__Wire__NamespaceInfo *ns = find(reply, words.items[0]);
    quire_layout *layout = malloc(sizeof *layout);
    if (ns == NULL) {
        result = cli_fail(cli, QUIRE_NOT_FOUND, "no namespace '%.63s'; `quirectl ns list` shows all", words.items[0]);
    } else {
        bool known = layout != NULL && quire_layout_decode(ns->layout.data, ns->layout.len, layout) == QUIRE_OK;
        (cli->json ? show_json : show_people)(ns, known ? layout : NULL, cli->out);
    }
    free(layout);
    cli_free_reply(&reply);
    return result;
}

/* ---- delete -------------------------------------------------------------------------------------------------------------------- */
enum cli_exit cmd_ns_delete(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    bool yes = false;
    char question[160];
    const struct args_option options[] = {{"--yes", ARGS_FLAG, &yes}};
    enum cli_exit result = args_parse(cli, argc, argv, options, 1, "the namespace's NAME", 1, 1, &words);
    if (result != CLI_OK) {
        return result;
    }
    snprintf(question, sizeof question, "Delete namespace %.63s and all its blocks?", words.items[0]);
    if ((result = cli_confirm(cli, yes, question)) != CLI_OK) {
        return result;
    }
    request.verb = QUIRE_ADMIN_NS_DELETE;
    request.ns = (char *)(uintptr_t)words.items[0];
    if ((result = cli_admin(cli, &request, &reply)) != CLI_OK) {
        return result;
    }
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        cJSON_AddStringToObject(root, "deleted", words.items[0]);
        cJSON_AddStringToObject(root, "text", reply->text);
        json_print(root, cli->out);
    } else {
        fprintf(cli->out, "namespace %s %s\n", words.items[0], reply->text[0] != '\0' ? reply->text : "deleted");
    }
    cli_free_reply(&reply);
    return CLI_OK;
}
