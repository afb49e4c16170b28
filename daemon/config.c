#include "daemon/config.h"

#include "daemon/config_yaml.h"
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
        .max_session_memory_bytes = 4u << 20,
        .ingest_bytes = 64u << 20,
        .ingest_window_bytes = 16u << 20,
        .ingest_idle_ms = 2000,
        .drain_ms = 5000,
        .huge_pages = true,
        .domains = {{.name = "default"}},
        .n_domains = 1,
    };
#define X(name, type, value, help) config->pager.name = (value);
    PAGER_OPTIONS(X)
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

static enum quire_status take_options(struct config *config, const struct config_yaml *yaml, const char *path, char *why,
                                      size_t why_bytes) {
    char what[300];
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        const char *text = !option->pager ? yaml->option[i] : yaml->pager != NULL ? yaml->pager->option[i] : NULL;
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

enum quire_status config_set(struct config *config, const char *name, const char *value, char *why, size_t why_bytes) {
    const char *names[CONFIG_YAML_OPTIONS];
    bool pager = strncmp(name, "pager.", 6) == 0;
    const struct config_option *option = config_option_find(pager ? name + 6 : name, pager);
    if (strcmp(name, "pool_bytes") == 0) {
        return set_pool(config, value, why, why_bytes);
    }
    if (option != NULL) {
        return config_option_set(config, option, value, why, why_bytes);
    }
    for (unsigned i = 0; i < config_option_count(); i++) {
        names[i] = config_option_at(i)->name;
    }
    const char *near = quire_nearest(pager ? name + 6 : name, names, config_option_count());
    if (near != NULL) {
        snprintf(why, why_bytes, "no option '%.60s', did you mean '%s%s'?", name, config_option_find(near, true) != NULL ? "pager." : "",
                 near);
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
            "# pool_bytes: default 0, a quarter of what the cgroup or the host allows, shared evenly by the domains that say 0;\n"
            "# 0, or 1MiB to 16TiB. Needs a restart.\n"
            "domains:\n");
    for (uint32_t i = 0; i < config->n_domains; i++) {
        const struct config_domain *domain = &config->domains[i];
        quire_exact_size(domain->pool_bytes, size, sizeof size);
        fprintf(to, "  - name: \"%s\"\n    pool_bytes: %s\n", domain->name, size);
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

void config_print(const struct config *config, FILE *to) {
    struct config defaults;
    config_default(&defaults);
    fprintf(to, "# Configuration of quired: every option with its default. Sizes: 512MiB, 2GiB; times: 250ms, 30s, 5min.\n"
                "# Flags override this file. SIGHUP or `quirectl config reload` reads it again.\n");
    for (unsigned i = 0; i < config_option_count(); i++) {
        if (!config_option_at(i)->pager) {
            print_option(config, &defaults, config_option_at(i), "", to);
        }
    }
    print_domains(config, to);
    print_salts(config, to);
    fprintf(to, "\n# The pager: which block is kept, and who may read it until when.\npager:\n");
    for (unsigned i = 0; i < config_option_count(); i++) {
        if (config_option_at(i)->pager) {
            print_option(config, &defaults, config_option_at(i), "  ", to);
        }
    }
}

/* ---- reloading ---------------------------------------------------------------------------------------------------------------- */
static void add_name(const char *section, const char *name, char *names, size_t names_bytes) {
    size_t used = strlen(names);
    snprintf(names + used, names_bytes - used, "%s%s%s", used > 0 ? ", " : "", section, name);
}

static bool differs(const struct config *a, const struct config *b, const struct config_option *option) {
    return memcmp((const char *)a + option->offset, (const char *)b + option->offset, option->bytes) != 0;
}

static void diff_options(const struct config *running, const struct config *wanted, bool live, char *names, size_t names_bytes) {
    names[0] = '\0';
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        if (option->live == live && differs(running, wanted, option)) {
            add_name(option->pager ? "pager." : "", option->name, names, names_bytes);
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
    return names[0] != '\0';
}

bool config_live_diff(const struct config *running, const struct config *wanted, char *names, size_t names_bytes) {
    diff_options(running, wanted, true, names, names_bytes);
    return names[0] != '\0';
}

void config_take_live(struct config *running, const struct config *wanted) {
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        if (option->live) {
            memcpy((char *)running + option->offset, (const char *)wanted + option->offset, option->bytes);
        }
    }
}
