/* evict. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdlib.h>
#include <string.h>

/* Why there is less: what is only in memory stays until it is on disk. */
static void tell_freed(struct cli *cli, uint64_t freed, uint64_t asked) {
    char size[QUIRE_UNITS_BYTES], waits[QUIRE_UNITS_BYTES];
    Quire__Wire__AdminReply *status = NULL;
    quire_human_size(freed, size, sizeof size);
    fprintf(cli->out, "%s free'd", size);
    uint64_t unwritten = 0;
    if (freed < asked && cli_ask(cli, QUIRE_ADMIN_STATUS, &status) == CLI_OK && status->disk != NULL) {
        unwritten = status->disk->dirty_bytes + status->disk->writing_bytes;
    }
    if (unwritten > 0) {
        quire_human_size(unwritten, waits, sizeof waits);
        fprintf(cli->out, "; nothing more can give way now: %s wait to be written to disk, the rest is leased or pinned", waits);
    } else if (freed < asked) {
        fprintf(cli->out, "; nothing more can give way: the rest is leased or pinned");
    }
    fprintf(cli->out, "\n");
    cli_free_reply(&status);
}

enum cli_exit cmd_evict(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    const char *ns = NULL, *domain = NULL;
    const struct args_option options[] = {
        {"--bytes", ARGS_SIZE, &request.number}, {"--ns", ARGS_TEXT, &ns}, {"--domain", ARGS_TEXT, &domain}};
    enum cli_exit result = args_parse(cli, argc, argv, options, QUIRE_ARRAY_LEN(options), "word", 0, 0, &words);
    if (result == CLI_OK && request.number == 0) {
        result = cli_usage(cli, "--bytes SIZE is missing, such as --bytes 512MiB");
    }
    if (result != CLI_OK) {
        return result;
    }
    request.verb = QUIRE_ADMIN_EVICT;
    request.ns = ns != NULL ? (char *)(uintptr_t)ns : request.ns;
    request.text = domain != NULL ? (char *)(uintptr_t)domain : request.text;
    uint64_t asked = request.number, freed = 0;
    bool more = true;
    while (more) { /* a request takes no longer than the daemon can spare: it may answer "123 bytes freed so far …" */
        if ((result = cli_admin(cli, &request, &reply)) != CLI_OK) {
            return result;
        }
        uint64_t step = strtoull(reply->text, NULL, 10);
        freed += step;
        more = strstr(reply->text, " so far") != NULL && step < request.number;
        request.number -= quire_min_u64(step, request.number);
        cli_free_reply(&reply);
    }
    if (cli->json) {
        cJSON *root = cJSON_CreateObject();
        json_add_u64(root, "freed_bytes", freed);
        json_add_u64(root, "asked_bytes", asked);
        json_print(root, cli->out);
    } else {
        tell_freed(cli, freed, asked);
    }
    return CLI_OK;
}
