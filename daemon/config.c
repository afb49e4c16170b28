#include "daemon/config.h"

#include "daemon/config_yaml.h"
#include "daemon/disk/faults.h"
#include "proto/base/base.h"
#include "proto/base/nearest.h"
#include "proto/base/units.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>

void config_default(struct config *config) {
    *config = (struct config){
        .socket_mode = 0600,
        .log_level = LOG_LEVEL_INFO,
        .metrics_enabled = true,
        .metrics_address = "127.0.0.1",
        .metrics_port = 9470,
        .max_sessions = 1024,
        .max_session_memory_bytes = 16u << 20,
        .max_remote_read_bytes = 64u << 20,
        .ingest_bytes = 64u << 20,
        .ingest_window_bytes = 16u << 20,
        .ingest_idle_ms = 2000,
        .drain_ms = 5000,
        .huge_pages = true,
        .domains = {{.name = "default"}},
        .n_domains = 1,
        .listen = {.pin = "auto", .ucx_loops = 1},
    };
#define X(name, type, value, help) config->pager.name = (value);
    PAGER_OPTIONS(X)
#undef X
    config->disk = (struct config_disk){.segment_bytes = 64u << 20,
                                        .io_depth = 64,
                                        .scrub_bytes_per_s = 8u << 20,
                                        .stall_warn_ms = 5000,
                                        .stall_limit_ms = 30000,
                                        .new_set = true};
#define X(name, type, value, help) config->disk.pager.name = (value);
    PAGER_DISK_OPTIONS(X)
#undef X
}

/* ---- loading ------------------------------------------------------------------------------------------------------------------ */
/* Puts "path:line: " in front of what was refused. */
static enum quire_status refuse(const char *path, const char *option, unsigned nth, const char *what, char *why, size_t why_bytes) {
    unsigned line = config_yaml_line(path, option, nth);
    if (line > 0) {
        snprintf(why, why_bytes, "%s:%u: %s", path, line, what);
    } else {
        snprintf(why, why_bytes, "%s: %s", path, what);
    }
    return QUIRE_INVALID;
}

static bool is_name(const char *name) {
    size_t n = strlen(name);
    return n >= 1 && n <= QUIRE_MAX_NAME && strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* A number, or the name of a user that exists. */
static enum quire_status parse_uid(const char *text, uid_t *uid) {
    uint64_t number;
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (quire_parse_count(text, false, &number) == QUIRE_OK) {
        *uid = (uid_t)number;
        return number < UINT32_MAX ? QUIRE_OK : QUIRE_INVALID;
    }
    if (text[0] == '\0' || getpwnam_r(text, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL) {
        return QUIRE_INVALID;
    }
    *uid = found->pw_uid;
    return QUIRE_OK;
}

static enum quire_status take_ids(char *const *texts, uint32_t n, uid_t *ids, uint32_t *n_ids, char *what, size_t what_bytes) {
    for (uint32_t i = 0; i < n; i++) {
        if (parse_uid(texts[i], &ids[i]) != QUIRE_OK) {
            snprintf(what, what_bytes, "'%.60s' is neither a user id nor a user of this machine", texts[i]);
            return QUIRE_INVALID;
        }
    }
    *n_ids = n;
    return QUIRE_OK;
}

static enum quire_status take_pool(const char *text, uint64_t *pool_bytes, char *what, size_t what_bytes) {
    if (quire_parse_size(text, pool_bytes) != QUIRE_OK) {
        snprintf(what, what_bytes, "pool_bytes: '%.60s' is not a size such as 512MiB or 2GiB", text);
        return QUIRE_INVALID;
    }
    if (*pool_bytes != 0 && (*pool_bytes < CONFIG_POOL_MIN_BYTES || *pool_bytes > CONFIG_POOL_MAX_BYTES)) {
        snprintf(what, what_bytes, "pool_bytes: '%.60s' is out of range, allowed is 0, or 1MiB to 16TiB", text);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

static enum quire_status take_domain(const struct config_yaml_domain *from, struct config_domain *to, const char **option, char *what,
                                     size_t what_bytes) {
    *option = "name";
    if (!is_name(from->name)) {
        snprintf(what, what_bytes, "name: '%.80s' is not 1 to %d of letters, digits, '.', '_' and '-'", from->name, QUIRE_MAX_NAME);
        return QUIRE_INVALID;
    }
    memcpy(to->name, from->name, strlen(from->name));
    if (from->pool_bytes != NULL) {
        *option = "pool_bytes";
        QUIRE_FORWARD(take_pool(from->pool_bytes, &to->pool_bytes, what, what_bytes));
    }
    if (from->rma != NULL && strcmp(from->rma, "true") != 0 && strcmp(from->rma, "false") != 0) {
        *option = "rma";
        snprintf(what, what_bytes, "rma: '%.16s' is neither true nor false", from->rma);
        return QUIRE_INVALID;
    }
    to->rma = from->rma != NULL && strcmp(from->rma, "true") == 0;
    *option = "members";
    QUIRE_FORWARD(take_ids(from->members, from->members_count, to->members, &to->n_members, what, what_bytes));
    *option = "guests";
    return take_ids(from->guests, from->guests_count, to->guests, &to->n_guests, what, what_bytes);
}

static enum quire_status take_domains(struct config *config, const struct config_yaml *yaml, const char *path, char *why,
                                      size_t why_bytes) {
    char what[300];
    const char *option = "name";
    if (yaml->domains == NULL) {
        return QUIRE_OK;
    }
    memset(config->domains, 0, sizeof config->domains);
    config->n_domains = yaml->domains_count;
    for (uint32_t i = 0; i < yaml->domains_count; i++) {
        if (take_domain(&yaml->domains[i], &config->domains[i], &option, what, sizeof what) != QUIRE_OK) {
            return refuse(path, option, strcmp(option, "name") == 0 ? i : 0, what, why, why_bytes);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(config->domains[j].name, config->domains[i].name) == 0) {
                snprintf(what, sizeof what, "two trust domains are called '%s'", config->domains[i].name);
                return refuse(path, "name", i, what, why, why_bytes);
            }
        }
    }
    return QUIRE_OK;
}

static enum quire_status take_salts(struct config *config, const struct config_yaml *yaml, const char *path, char *why, size_t why_bytes) {
    char what[300];
    if (yaml->salts == NULL) {
        return QUIRE_OK;
    }
    memset(config->salts, 0, sizeof config->salts);
    config->n_salts = yaml->salts_count;
    for (uint32_t i = 0; i < yaml->salts_count; i++) {
        struct config_salt *to = &config->salts[i];
        const struct config_yaml_salt *from = &yaml->salts[i];
        if (!is_name(from->ns)) {
            snprintf(what, sizeof what, "namespace: '%.80s' is not 1 to %d of letters, digits, '.', '_' and '-'", from->ns, QUIRE_MAX_NAME);
            return refuse(path, "namespace", i, what, why, why_bytes);
        }
        if (strlen(from->salt) >= sizeof to->salt) {
            snprintf(what, sizeof what, "salt: longer than %zu bytes", sizeof to->salt - 1);
            return refuse(path, "salt", i, what, why, why_bytes);
        }
        memcpy(to->ns, from->ns, strlen(from->ns));
        memcpy(to->salt, from->salt, strlen(from->salt));
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(config->salts[j].ns, to->ns) == 0) {
                snprintf(what, sizeof what, "namespace '%s' has two salts", to->ns);
                return refuse(path, "namespace", i, what, why, why_bytes);
            }
        }
    }
    return QUIRE_OK;
}

/* What sizes mean together is for config_resolve: segments may be given later. */
static enum quire_status take_file(struct config *config, const char *path, const char *size, char *what, size_t what_bytes) {
    if (config->n_files == QUIRE_LOG_MAX_FILES) {
        snprintf(what, what_bytes, "more than %u files", QUIRE_LOG_MAX_FILES);
        return QUIRE_INVALID;
    }
    struct config_file *to = &config->files[config->n_files];
    *to = (struct config_file){.size_bytes = 0};
    if (path[0] == '\0' || path[strlen(path) - 1] == '/' || strlen(path) >= sizeof to->path) {
        snprintf(what, what_bytes, "path: '%.80s' is not the path of a file of at most %zu bytes", path, sizeof to->path - 1);
        return QUIRE_INVALID;
    }
    if (quire_parse_size(size, &to->size_bytes) != QUIRE_OK || to->size_bytes == 0) {
        snprintf(what, what_bytes, "size: '%.60s' is not a size such as 100GiB", size);
        return QUIRE_INVALID;
    }
    for (uint32_t i = 0; i < config->n_files; i++) {
        if (strcmp(config->files[i].path, path) == 0) {
            snprintf(what, what_bytes, "path: '%.300s' is there twice", path);
            return QUIRE_INVALID;
        }
    }
    memcpy(to->path, path, strlen(path));
    config->n_files++;
    return QUIRE_OK;
}

static enum quire_status take_files(struct config *config, const struct config_yaml *yaml, const char *path, char *why, size_t why_bytes) {
    char what[400];
    if (yaml->tiers == NULL || yaml->tiers->file == NULL) {
        return QUIRE_OK;
    }
    memset(config->files, 0, sizeof config->files);
    config->n_files = 0;
    for (uint32_t i = 0; i < yaml->tiers->file_count; i++) {
        if (take_file(config, yaml->tiers->file[i].path, yaml->tiers->file[i].size, what, sizeof what) != QUIRE_OK) {
            return refuse(path, what[0] == 's' ? "size" : "path", i, what, why, why_bytes);
        }
    }
    return QUIRE_OK;
}

static enum quire_status take_faults(struct config *config, const struct config_yaml *yaml, const char *path, char *why, size_t why_bytes) {
    char what[500], reason[200];
    struct disk_fault_rule rule;
    if (yaml->faults == NULL) {
        return QUIRE_OK;
    }
    memset(config->faults, 0, sizeof config->faults);
    config->n_faults = yaml->faults_count;
    for (uint32_t i = 0; i < yaml->faults_count; i++) {
        if (strlen(yaml->faults[i]) >= sizeof config->faults[i]) {
            snprintf(what, sizeof what, "faults: rule %u is longer than %u bytes", i + 1, CONFIG_FAULT_BYTES - 1);
            return refuse(path, "faults", 0, what, why, why_bytes);
        }
        if (disk_fault_parse(yaml->faults[i], &rule, reason, sizeof reason) != QUIRE_OK) {
            snprintf(what, sizeof what, "faults: rule %u, '%.200s': %s", i + 1, yaml->faults[i], reason);
            return refuse(path, "faults", 0, what, why, why_bytes);
        }
        memcpy(config->faults[i], yaml->faults[i], strlen(yaml->faults[i]));
    }
    return QUIRE_OK;
}

static enum quire_status take_options(struct config *config, const struct config_yaml *yaml, const char *path, char *why,
                                      size_t why_bytes) {
    char what[300];
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        const struct config_yaml_section *section = option->section == CONFIG_PAGER    ? yaml->pager
                                                    : option->section == CONFIG_LISTEN ? yaml->listen
                                                                                       : yaml->disk;
        const char *text = option->section == CONFIG_TOP ? yaml->option[i] : section != NULL ? section->option[i] : NULL;
        if (text != NULL && config_option_set(config, option, text, what, sizeof what) != QUIRE_OK) {
            return refuse(path, option->name, 0, what, why, why_bytes);
        }
    }
    return QUIRE_OK;
}

enum quire_status config_load(struct config *config, const char *path, char *why, size_t why_bytes) {
    struct config_yaml *yaml;
    QUIRE_FORWARD(config_yaml_load(path, &yaml, why, why_bytes));
    if (yaml == NULL) {
        return QUIRE_OK;
    }
    enum quire_status status = take_options(config, yaml, path, why, why_bytes);
    if (status == QUIRE_OK) {
        status = take_domains(config, yaml, path, why, why_bytes);
    }
    if (status == QUIRE_OK) {
        status = take_salts(config, yaml, path, why, why_bytes);
    }
    if (status == QUIRE_OK) {
        status = take_files(config, yaml, path, why, why_bytes);
    }
    if (status == QUIRE_OK) {
        status = take_faults(config, yaml, path, why, why_bytes);
    }
    config_yaml_free(&yaml);
    return status;
}

/* ---- flags -------------------------------------------------------------------------------------------------------------------- */
static enum quire_status set_pool(struct config *config, const char *value, char *why, size_t why_bytes) {
    if (config->n_domains != 1) {
        snprintf(why, why_bytes, "a pool size by flag is for one trust domain, the file has %u: set pool_bytes in each of them",
                 config->n_domains);
        return QUIRE_INVALID;
    }
    return take_pool(value, &config->domains[0].pool_bytes, why, why_bytes);
}

/* PATH:SIZE */
static enum quire_status add_file(struct config *config, const char *value, char *why, size_t why_bytes) {
    char path[CONFIG_FILE_PATH_MAX + 1];
    const char *colon = strrchr(value, ':');
    if (colon == NULL) {
        snprintf(why, why_bytes, "'%.100s' is not PATH:SIZE, such as /var/lib/quire/log0:100GiB", value);
        return QUIRE_INVALID;
    }
    snprintf(path, sizeof path, "%.*s", (int)quire_min_u64((uint64_t)(colon - value), CONFIG_FILE_PATH_MAX), value);
    return take_file(config, path, colon + 1, why, why_bytes);
}

/* "pager.lease_ms" is "lease_ms" of the pager's. */
static enum config_section section_of(const char *name, const char **rest) {
    for (int section = CONFIG_TOP + 1; section < CONFIG_SECTIONS; section++) {
        const char *prefix = config_section_name((enum config_section)section);
        size_t n = strlen(prefix);
        if (strncmp(name, prefix, n) == 0 && name[n] == '.') {
            *rest = name + n + 1;
            return (enum config_section)section;
        }
    }
    *rest = name;
    return CONFIG_TOP;
}

enum quire_status config_set(struct config *config, const char *name, const char *value, char *why, size_t why_bytes) {
    const char *names[CONFIG_YAML_OPTIONS], *rest;
    enum config_section section = section_of(name, &rest);
    const struct config_option *option = config_option_find(rest, section);
    if (strcmp(name, "pool_bytes") == 0) {
        return set_pool(config, value, why, why_bytes);
    }
    if (strcmp(name, CONFIG_FILE_OPTION) == 0) {
        return add_file(config, value, why, why_bytes);
    }
    if (option != NULL) {
        return config_option_set(config, option, value, why, why_bytes);
    }
    for (unsigned i = 0; i < config_option_count(); i++) {
        names[i] = config_option_at(i)->name;
    }
    const char *near = quire_nearest(rest, names, config_option_count());
    if (near != NULL) {
        section = config_option_anywhere(near)->section;
        snprintf(why, why_bytes, "no option '%.60s', did you mean '%s%s%s'?", name, config_section_name(section),
                 section != CONFIG_TOP ? "." : "", near);
    } else {
        snprintf(why, why_bytes, "no option '%.60s'; `quired --print-config` shows all of them", name);
    }
    return QUIRE_INVALID;
}

/* ---- printing ----------------------------------------------------------------------------------------------------------------- */
static void print_option(const struct config *config, const struct config *defaults, const struct config_option *option, const char *indent,
                         FILE *to) {
    char value[CONFIG_SCALAR_BYTES], standard[CONFIG_SCALAR_BYTES], range[96];
    fprintf(to, "\n%s# ", indent);
    for (const char *at = option->help; *at != '\0'; at++) {
        if (*at == '\n') {
            fprintf(to, "\n%s# ", indent);
        } else {
            fputc(at == option->help ? toupper((unsigned char)*at) : *at, to);
        }
    }
    config_option_get(config, option, value);
    config_option_get(defaults, option, standard);
    config_option_range(option, range, sizeof range);
    fprintf(to, ".\n%s# Default %s", indent, standard);
    if (range[0] != '\0') {
        fprintf(to, "; %s", range);
    }
    fprintf(to, "; %s.\n%s%s: %s\n", option->live ? "a reload changes it" : "needs a restart", indent, option->name, value);
}

static void print_ids(const char *name, const uid_t *ids, uint32_t n, FILE *to) {
    fprintf(to, "    %s: [", name);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(to, "%s%u", i > 0 ? ", " : "", (unsigned)ids[i]);
    }
    fprintf(to, "]\n");
}

static void print_domains(const struct config *config, FILE *to) {
    char size[QUIRE_UNITS_BYTES];
    fprintf(to,
            "\n# Trust domains: each has a pool of its own. Members see each other's memory and read without a copy, guests get copies,\n"
            "# everybody else is refused. Users by number or name; no members and no guests: the user that runs quired.\n"
            "# rma: whoever comes over UCX with a token that has the right rma reads the pool's memory from afar, where the network's "
            "cards can, and is\n"
            "# trusted with all of it: UCX may let them write there, too. Default false.\n"
            "# pool_bytes: default 0, a quarter of what the cgroup or the host allows, shared evenly by the domains that say 0;\n"
            "# 0, or 1MiB to 16TiB. Needs a restart.\n"
            "domains:\n");
    for (uint32_t i = 0; i < config->n_domains; i++) {
        const struct config_domain *domain = &config->domains[i];
        quire_exact_size(domain->pool_bytes, size, sizeof size);
        fprintf(to, "  - name: \"%s\"\n    pool_bytes: %s\n    rma: %s\n", domain->name, size, domain->rma ? "true" : "false");
        print_ids("members", domain->members, domain->n_members, to);
        print_ids("guests", domain->guests, domain->n_guests, to);
    }
}

static void print_salts(const struct config *config, FILE *to) {
    char text[CONFIG_SCALAR_BYTES];
    fprintf(to, "\n# Salts: who does not know a namespace's salt cannot guess the keys of what it holds. Needs a restart. For example\n"
                "#   - namespace: \"tenant-a\"\n"
                "#     salt: \"a long random text\"\n");
    fprintf(to, config->n_salts > 0 ? "salts:\n" : "salts: []\n");
    for (uint32_t i = 0; i < config->n_salts; i++) {
        config_quote(config->salts[i].salt, text);
        fprintf(to, "  - namespace: \"%s\"\n    salt: %s\n", config->salts[i].ns, text);
    }
}

static void print_files(const struct config *config, FILE *to) {
    char text[CONFIG_SCALAR_BYTES], size[QUIRE_UNITS_BYTES];
    fprintf(to,
            "\n# The disk tier: up to %u files, each on a drive of its own, as large as told and 1MiB more; none: no disk tier. A size is "
            "a multiple\n"
            "# of disk.segment_bytes, %u of them at least. A folder that is missing is made. All files make one set: neither their number\n"
            "# nor their sizes can change later. What namespaces there are is kept beside each, in PATH.meta. Needs a restart. For "
            "example\n"
            "#   file:\n"
            "#     - path: \"/var/lib/quire/log0\"\n"
            "#       size: 100GiB\n"
            "tiers:\n",
            QUIRE_LOG_MAX_FILES, CONFIG_LEAST_SEGMENTS);
    fprintf(to, config->n_files > 0 ? "  file:\n" : "  file: []\n");
    for (uint32_t i = 0; i < config->n_files; i++) {
        config_quote(config->files[i].path, text);
        quire_exact_size(config->files[i].size_bytes, size, sizeof size);
        fprintf(to, "    - path: %s\n      size: %s\n", text, size);
    }
}

static void print_faults(const struct config *config, FILE *to) {
    char text[CONFIG_SCALAR_BYTES];
    fprintf(
        to,
        "\n# Faults of the disk, to rehearse what a bad one does: up to %u rules OPERATION:ACTION[,WHERE|WHEN]... A reload changes them.\n"
        "# OPERATION: read, write, sync. ACTION: delay=20ms, error=EIO, tear=failure, tear=success, corrupt=BITS, fill=SIZE.\n"
        "# WHERE: file=0 (as `quirectl status` lists them), offset=1MiB-2MiB (not for sync). WHEN: probability=0.01, seed=7, count=3.\n"
        "# For example\n"
        "#   - \"read:error=EIO,probability=0.01,file=0\"\n",
        CONFIG_MAX_FAULTS);
    fprintf(to, config->n_faults > 0 ? "faults:\n" : "faults: []\n");
    for (uint32_t i = 0; i < config->n_faults; i++) {
        config_quote(config->faults[i], text);
        fprintf(to, "  - %s\n", text);
    }
}

static void print_section(const struct config *config, const struct config *defaults, enum config_section section, const char *title,
                          FILE *to) {
    if (section != CONFIG_TOP) {
        fprintf(to, "\n# %s\n%s:\n", title, config_section_name(section));
    }
    for (unsigned i = 0; i < config_option_count(); i++) {
        if (config_option_at(i)->section == section) {
            print_option(config, defaults, config_option_at(i), section != CONFIG_TOP ? "  " : "", to);
        }
    }
}

void config_print(const struct config *config, FILE *to) {
    struct config defaults;
    config_default(&defaults);
    fprintf(to, "# Configuration of quired: every option with its default. Sizes: 512MiB, 2GiB; times: 250ms, 30s, 5min.\n"
                "# Flags override this file. SIGHUP or `quirectl config reload` reads it again.\n");
    print_section(config, &defaults, CONFIG_TOP, "", to);
    print_domains(config, to);
    print_salts(config, to);
    print_files(config, to);
    print_faults(config, to);
    print_section(config, &defaults, CONFIG_PAGER, "The pager: which block is kept, and who may read it until when.", to);
    print_section(config, &defaults, CONFIG_DISK, "How the disk tier is used; nothing of it matters without `tiers: file:`.", to);
    print_section(config, &defaults, CONFIG_LISTEN, "Other hosts, as guests of one trust domain; without an address nobody else gets in.",
                  to);
}

/* ---- reloading ---------------------------------------------------------------------------------------------------------------- */
static void add_name(const char *section, const char *name, char *names, size_t names_bytes) {
    size_t used = strlen(names);
    snprintf(names + used, names_bytes - used, "%s%s%s%s", used > 0 ? ", " : "", section, section[0] != '\0' ? "." : "", name);
}

static bool differs(const struct config *a, const struct config *b, const struct config_option *option) {
    return memcmp((const char *)a + option->offset, (const char *)b + option->offset, option->bytes) != 0;
}

static void diff_options(const struct config *running, const struct config *wanted, bool live, char *names, size_t names_bytes) {
    names[0] = '\0';
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        if (option->live == live && differs(running, wanted, option)) {
            add_name(config_section_name(option->section), option->name, names, names_bytes);
        }
    }
}

bool config_fixed_diff(const struct config *running, const struct config *wanted, char *names, size_t names_bytes) {
    diff_options(running, wanted, false, names, names_bytes);
    if (running->n_domains != wanted->n_domains || memcmp(running->domains, wanted->domains, sizeof running->domains) != 0) {
        add_name("", "domains", names, names_bytes);
    }
    if (running->n_salts != wanted->n_salts || memcmp(running->salts, wanted->salts, sizeof running->salts) != 0) {
        add_name("", "salts", names, names_bytes);
    }
    if (running->n_files != wanted->n_files || memcmp(running->files, wanted->files, sizeof running->files) != 0) {
        add_name("", "tiers", names, names_bytes);
    }
    return names[0] != '\0';
}

static bool faults_differ(const struct config *a, const struct config *b) {
    return a->n_faults != b->n_faults || memcmp(a->faults, b->faults, sizeof a->faults) != 0;
}

bool config_live_diff(const struct config *running, const struct config *wanted, char *names, size_t names_bytes) {
    diff_options(running, wanted, true, names, names_bytes);
    if (faults_differ(running, wanted)) {
        add_name("", "faults", names, names_bytes);
    }
    return names[0] != '\0';
}

void config_take_live(struct config *running, const struct config *wanted) {
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        if (option->live) {
            memcpy((char *)running + option->offset, (const char *)wanted + option->offset, option->bytes);
        }
    }
    memcpy(running->faults, wanted->faults, sizeof running->faults);
    running->n_faults = wanted->n_faults;
}
