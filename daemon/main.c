/*
 * quired: reads flags and configuration, sets the parts up, runs the loop, and takes everything down in exact mirror order.
 */
#include "daemon/core.h"
#include "daemon/disk/rehearse.h"
#include "daemon/flags.h"
#include "daemon/http.h"
#include "daemon/net/examine.h"
#include "daemon/notify.h"
#include "daemon/steward.h"
#include "proto/base/base.h"
#include "proto/base/output.h"
#include "proto/base/units.h"
#include "proto/frame.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_TAKEN = 3 };

/* jemalloc reads this at its first allocation: few arenas and short memory, no threads of its own. */
extern const char *malloc_conf;
__attribute__((visibility("default"))) const char *malloc_conf = "narenas:4,background_thread:false,dirty_decay_ms:1000,muzzy_decay_ms:0";

struct quired {
    struct flags flags;
    struct config asked;   /* as configured: a reload is compared with this */
    struct config running; /* resolved for this machine */
    struct core *core;
    struct http *http;
    struct steward *steward;
};
static struct quired quired;

/* ---- actions that end at once ------------------------------------------------------------------------------------------------- */
static int written(void) { return quire_output_written("quired") ? EXIT_SUCCESS : EXIT_FAILURE; }

/* Of a start: nobody would notice that a rehearsal does nothing. A reload puts the other rules to work and tells whoever asked for it of this one. */
static enum quire_status check_faults(const struct config *config, char *why, size_t why_bytes) {
    struct disk_fault_rule rule;
    char reason[256];
    for (uint32_t i = 0; config->n_files > 0 && i < config->n_faults; i++) {
        if (rehearse_parse(config->faults[i], config->n_files, &rule, reason, sizeof reason) != QUIRE_OK) {
            snprintf(why, why_bytes, "faults: rule %u, '%.200s': %s", i + 1, config->faults[i], reason);
            return QUIRE_INVALID;
        }
    }
    return QUIRE_OK;
}

static enum quire_status resolve_for_start(char *why, size_t why_bytes) {
    QUIRE_FORWARD(config_resolve(&quired.running, why, why_bytes));
    return check_faults(&quired.running, why, why_bytes);
}

static int check_config(const char *source) {
    char why[1024], pool[QUIRE_UNITS_BYTES];
    struct examined wire;
    if (resolve_for_start(why, sizeof why) != QUIRE_OK || examine_listen(&quired.running, &wire, why, sizeof why) != QUIRE_OK) {
        fprintf(stderr, "quired: %s\n", why);
        return EXIT_USAGE;
    }
    printf("configuration is good: %s\n", source[0] != '\0' ? source : "defaults, no file");
    printf("  socket        %s\n", quired.running.socket_path);
    for (uint32_t i = 0; i < quired.running.n_domains; i++) {
        const struct config_domain *domain = &quired.running.domains[i];
        quire_human_size(domain->pool_bytes, pool, sizeof pool);
        printf("  trust domain  %s: %s, %u member%s, %u guest%s\n", domain->name, pool, domain->n_members, quire_s(domain->n_members),
               domain->n_guests, quire_s(domain->n_guests));
    }
    if (quired.running.metrics_enabled) {
        printf("  metrics       %s port %u\n", quired.running.metrics_address, (unsigned)quired.running.metrics_port);
    } else {
        printf("  metrics       off\n");
    }
    for (uint32_t i = 0; i < quired.running.n_files; i++) {
        quire_human_size(quired.running.files[i].size_bytes, pool, sizeof pool);
        printf("  disk          %s: %s (what is there was not looked at)\n", quired.running.files[i].path, pool);
    }
    if (quired.running.n_files == 0) {
        printf("  disk          none\n");
    }
    if (wire.n_tokens > 0) {
        printf("  other hosts   %s%s%s%s, %u token%s (whether the addresses are free was not looked at)\n",
               quired.running.listen.tls[0] != '\0' ? "tls " : "", quired.running.listen.tls,
               quired.running.listen.ucx[0] != '\0' ? " ucx " : "", quired.running.listen.ucx, wire.n_tokens, quire_s(wire.n_tokens));
    } else {
        printf("  other hosts   none\n");
    }
    printf("  work threads  %u\n", quired.running.work_threads);
    return written();
}

/* ---- reload ------------------------------------------------------------------------------------------------------------------- */
/* On the loop thread, for SIGHUP and for quirectl config reload. */
static enum quire_status reload(void *ctx, struct core_reloaded *done) {
    static char source[CONFIG_SOURCE_BYTES];
    static struct config wanted, resolved;
    char why[800];
    (void)ctx;
    *done = (struct core_reloaded){0};
    enum quire_status status = flags_configure(&quired.flags, &wanted, source, why, sizeof why);
    resolved = wanted;
    if (status != QUIRE_OK || (status = config_resolve(&resolved, why, sizeof why)) != QUIRE_OK) {
        snprintf(done->text, sizeof done->text, "nothing was changed: %s", why);
        log_warn("reload_refused", "%s", done->text);
        return status;
    }
    config_live_diff(&quired.asked, &wanted, done->changed, sizeof done->changed);
    bool fixed = config_fixed_diff(&quired.asked, &wanted, done->needs_restart, sizeof done->needs_restart);
    config_take_live(&quired.asked, &wanted);
    config_take_live(&quired.running, &wanted);
    log_setup(quired.running.log_level, quired.running.log_json);
    steward_set_drain(quired.steward, quired.running.drain_ms);
    const char *refused = "";
    status = core_apply_config(quired.core, &quired.running, &refused);
    int n =
        snprintf(done->text, sizeof done->text, "%.400s: changed: %.380s; needs a restart: %.380s", source[0] != '\0' ? source : "no file",
                 done->changed[0] != '\0' ? done->changed : "nothing", fixed ? done->needs_restart : "nothing");
    if (status != QUIRE_OK) {
        snprintf(done->text + n, sizeof done->text - (size_t)n, "; refused: %s", refused);
    }
    (fixed ? log_warn("reloaded", "%s", done->text) : log_info("reloaded", "%s", done->text));
    return status;
}

/* ---- set-up and its mirror ---------------------------------------------------------------------------------------------------- */
static void raise_descriptor_limit(const struct config *config) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)config->max_sessions * 8 + 256; /* a socket, a pidfd, four ingest windows, two descriptors on their way */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max < 1u << 20 ? limit.rlim_max : 1u << 20;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < wanted) {
        log_warn("few_descriptors",
                 "%llu file descriptors are allowed, %u sessions may need %llu; raise `ulimit -n` (LimitNOFILE=) or lower max_sessions",
                 (unsigned long long)limit.rlim_cur, config->max_sessions, (unsigned long long)wanted);
    }
}

static enum quire_status start_http(void) {
    char address[HTTP_ADDRESS_BYTES], why[512] = "";
    if (!quired.running.metrics_enabled) {
        return QUIRE_OK;
    }
    enum quire_status status = http_start(quired.core, &quired.running, &quired.http, address, why, sizeof why);
    if (status != QUIRE_OK) {
        log_error("metrics_failed", "%s", why);
        return status;
    }
    core_set_metrics_address(quired.core, address);
    log_info("metrics", "http://%s/metrics", address);
    return QUIRE_OK;
}

/* Members and guests of other users cannot come in through a socket that only this user may open. */
static void warn_unreachable(const struct config *config) {
    bool others = false;
    for (uint32_t i = 0; i < config->n_domains; i++) {
        const struct config_domain *domain = &config->domains[i];
        for (uint32_t j = 0; j < domain->n_members + domain->n_guests; j++) {
            others = others || (j < domain->n_members ? domain->members[j] : domain->guests[j - domain->n_members]) != geteuid();
        }
    }
    if (others && (config->socket_mode & 0066) == 0) {
        log_warn("socket_closed_to_others",
                 "users other than %u are members or guests, but socket_mode %04o keeps them out: set 0666 (who is neither is refused)",
                 (unsigned)geteuid(), config->socket_mode);
    }
}

static void tell_start(const char *source) {
    char pool[QUIRE_UNITS_BYTES], line[400];
    for (uint32_t i = 0; i < quired.running.n_domains; i++) {
        const struct config_domain *domain = &quired.running.domains[i];
        quire_human_size(domain->pool_bytes, pool, sizeof pool);
        log_info("domain", "trust domain %s: %s for blocks, %u member%s, %u guest%s", domain->name, pool, domain->n_members,
                 quire_s(domain->n_members), domain->n_guests, quire_s(domain->n_guests));
    }
    warn_unreachable(&quired.running);
    log_info("serving", "quired " QUIRE_PACKAGE_VERSION " at %s, configuration: %s", quired.running.socket_path,
             source[0] != '\0' ? source : "defaults");
    snprintf(line, sizeof line, "serving at %s", quired.running.socket_path);
    notify_ready(line);
}

static int serve(const char *source) {
    char why[1024] = "";
    int result = EXIT_FAILURE;
    steward_block_signals();
    log_setup(quired.running.log_level, quired.running.log_json);
    notify_setup();
    if (resolve_for_start(why, sizeof why) != QUIRE_OK) {
        log_error("configuration", "%s", why);
        notify_close();
        return EXIT_USAGE;
    }
    raise_descriptor_limit(&quired.running);
    enum quire_status status = config_prepare_socket_folder(&quired.running, why, sizeof why);
    if (status == QUIRE_OK) {
        status = core_create(&quired.running, &quired.core, why, sizeof why);
    }
    if (status == QUIRE_CANCELLED) {
        log_info("stopped", "before it served: %s", why);
        notify_close();
        return EXIT_SUCCESS;
    }
    if (status != QUIRE_OK) {
        log_error("start_failed", "%s", why);
        notify_close();
        return status == QUIRE_IN_USE ? EXIT_TAKEN : EXIT_FAILURE;
    }
    core_set_reload(quired.core, reload, NULL);
    if (start_http() == QUIRE_OK && steward_start(quired.core, reload, NULL, quired.running.drain_ms, &quired.steward) == QUIRE_OK) {
        tell_start(source);
        result = core_run(quired.core) == QUIRE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    steward_let_go(quired.steward);
    http_stop(&quired.http);
    core_destroy(&quired.core);
    steward_stop(&quired.steward);
    log_info("stopped", "%s", result == EXIT_SUCCESS ? "in good order" : "after a failure");
    notify_close();
    return result;
}

int main(int argc, char **argv) {
    static char source[CONFIG_SOURCE_BYTES];
    char why[1024] = "";
    if (flags_parse(argc, argv, &quired.flags, why, sizeof why) != QUIRE_OK) {
        fprintf(stderr, "quired: %s\n", why);
        return EXIT_USAGE;
    }
    if (quired.flags.action == FLAGS_HELP) {
        flags_help(stdout);
        return written();
    }
    if (quired.flags.action == FLAGS_VERSION) {
        printf("quired %s (protocol %d.%d)\n", QUIRE_PACKAGE_VERSION, QUIRE_PROTO_MAJOR, QUIRE_PROTO_MINOR);
        return written();
    }
    if (flags_configure(&quired.flags, &quired.asked, source, why, sizeof why) != QUIRE_OK) {
        fprintf(stderr, "quired: %s\n", why);
        return EXIT_USAGE;
    }
    quired.running = quired.asked;
    if (quired.flags.action == FLAGS_PRINT_CONFIG) {
        config_print(&quired.asked, stdout);
        return written();
    }
    return quired.flags.action == FLAGS_CHECK_CONFIG ? check_config(source) : serve(source);
}
