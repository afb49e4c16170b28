/* evict. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdlib.h>
#include <string.h>

enum cli_exit cmd_evict(struct cli *cli, int argc, char **argv) {
    Quire__Wire__AdminRequest request = QUIRE__WIRE__ADMIN_REQUEST__INIT;
    Quire__Wire__AdminReply *reply = NULL;
    struct args_list words;
    const char *ns = NULL, *domain = NULL;
    char size[QUIRE_UNITS_BYTES];
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
        quire_human_size(freed, size, sizeof size);
        fprintf(cli->out, "%s free'd%s\n", size, freed < asked ? "; nothing more can give way: the rest is leased or pinned" : "");
    }
    return CLI_OK;
}
