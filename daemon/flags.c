#include "daemon/flags.h"

#include "proto/base/base.h"
#include "proto/base/nearest.h"

#include <stdlib.h>
#include <unistd.h>

/* flag, short form or 0, word for its value in --help or NULL, option that it sets or NULL, value that it sets or NULL (its own), help */
#define FLAG_TABLE(X)                                                                                                                      \
    X("config", 'c', "FILE", NULL, NULL, "read this configuration file")                                                                   \
    X("defaults", 0, NULL, NULL, NULL, "read no configuration file")                                                                       \
    X("socket", 's', "PATH", "socket_path", NULL, "where clients connect")                                                                 \
    X("pool-size", 'p', "SIZE", "pool_bytes", NULL, "memory for blocks, such as 8GiB; 0: a quarter of what the machine or cgroup allows")  \
    X("disk", 'd', "PATH:SIZE", CONFIG_FILE_OPTION, NULL,                                                                                  \
      "keep blocks in this file, too, such as /var/lib/quire/log0:100GiB; up to 16 times")                                                 \
    X("log-level", 'l', "LEVEL", "log_level", NULL, "error, warn, info or debug")                                                          \
    X("log-json", 0, NULL, "log_json", "true", "log lines as JSON objects")                                                                \
    X("metrics-address", 0, "ADDRESS", "metrics_address", NULL, "address of /metrics and /healthz")                                        \
    X("metrics-port", 0, "PORT", "metrics_port", NULL, "their port; 0: any free one, told in the log and by quirectl status")              \
    X("no-metrics", 0, NULL, "metrics_enabled", "false", "no HTTP server")                                                                 \
    X("allow-faults", 0, NULL, "allow_faults", "true", "let `quirectl fault` make the disk fail, to rehearse")                             \
    X("set", 0, "NAME=VALUE", NULL, NULL, "set any option of the configuration, such as pager.lease_ms=10s")                               \
    X("print-config", 0, NULL, NULL, NULL, "print the configuration with comments, as a file that can be loaded, and exit")                \
    X("check-config", 0, NULL, NULL, NULL,                                                                                                 \
      "say whether the configuration is good and what it comes to here, but for what lies at the paths of --disk, and exit")               \
    X("version", 'V', NULL, NULL, NULL, "print the version and exit")                                                                      \
    X("help", 'h', NULL, NULL, NULL, "print this and exit")

static const struct flag {
    const char *name;
    char letter;
    const char *value_name, *option, *value, *help;
} table[] = {
#define X(...) {__VA_ARGS__},
    FLAG_TABLE(X)
#undef X
};

void flags_help(FILE *to) {
    fprintf(to, "quired [FLAG]...\n\n"
                "Keeps the key/value cache of language models for the workers of this host. Runs in the foreground; logs to stderr.\n\n");
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(table); i++) {
        char left[48];
        int n = table[i].letter != 0 ? snprintf(left, sizeof left, "-%c, --%s", table[i].letter, table[i].name)
                                     : snprintf(left, sizeof left, "    --%s", table[i].name);
        if (table[i].value_name != NULL) {
            snprintf(left + n, sizeof left - (size_t)n, " %s", table[i].value_name);
        }
        fprintf(to, "  %-30s %s\n", left, table[i].help);
    }
    fprintf(to, "\nThe configuration comes from --config, else from the first that is there of $CONFIGURATION_DIRECTORY/quired.yaml,\n"
                "$XDG_CONFIG_HOME/quire/quired.yaml (~/.config) and /etc/quire/quired.yaml; flags override it. Without any of them the\n"
                "defaults serve the user who runs quired.\n\n"
                "Signals: SIGTERM and SIGINT stop in good order, a second one at once; SIGHUP reads the configuration again.\n"
                "Exit status: 0 stopped in good order, 1 failed, 2 flags or configuration are wrong,\n"
                "3 another quired has the socket, or a file of the disk tier.\n\n"
                "Examples:\n"
                "  quired                                     serve this user\n"
                "  quired --pool-size 8GiB --log-level debug  with 8 GiB for blocks, and tell more\n"
                "  quired --disk /var/lib/quire/log0:100GiB   and a file that survives a restart\n"
                "  quired --print-config > quired.yaml        write a configuration to start from\n"
                "  quired --config quired.yaml --check-config\n");
}

static const struct flag *find_flag(const char *argument, const char **value) {
    *value = NULL;
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(table); i++) {
        size_t n = strlen(table[i].name);
        if (strncmp(argument, "--", 2) == 0 && strncmp(argument + 2, table[i].name, n) == 0 &&
            (argument[2 + n] == '\0' || argument[2 + n] == '=')) {
            *value = argument[2 + n] == '=' ? argument + 3 + n : NULL;
            return &table[i];
        }
        if (argument[0] == '-' && table[i].letter != 0 && argument[1] == table[i].letter) {
            *value = argument[2] != '\0' ? argument + 2 : NULL;
            return &table[i];
        }
    }
    return NULL;
}

static enum quire_status refuse_unknown(const char *argument, char *why, size_t why_bytes) {
    const char *names[QUIRE_ARRAY_LEN(table)];
    char word[64];
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(table); i++) {
        names[i] = table[i].name;
    }
    snprintf(word, sizeof word, "%.60s", argument + strspn(argument, "-"));
    word[strcspn(word, "=")] = '\0';
    const char *near = argument[0] == '-' ? quire_nearest(word, names, QUIRE_ARRAY_LEN(names)) : NULL;
    if (near != NULL) {
        snprintf(why, why_bytes, "no flag '%.60s', did you mean '--%s'?", argument, near);
    } else {
        snprintf(why, why_bytes, "no flag '%.60s'; `quired --help` shows all of them", argument);
    }
    return QUIRE_INVALID;
}

static enum quire_status add_setting(struct flags *flags, const char *name, const char *value, char *why, size_t why_bytes) {
    if (flags->n_settings == FLAGS_MAX_SETTINGS) {
        snprintf(why, why_bytes, "more than %d flags that set options: use a configuration file", FLAGS_MAX_SETTINGS);
        return QUIRE_TOO_LARGE;
    }
    flags->settings[flags->n_settings++] = (struct flags_setting){name, value};
    return QUIRE_OK;
}

/* --set NAME=VALUE */
static enum quire_status add_assignment(struct flags *flags, const char *text, char *why, size_t why_bytes) {
    size_t n = strcspn(text, "=");
    if (text[n] == '\0' || n == 0 || n >= sizeof flags->text[0]) {
        snprintf(why, why_bytes, "--set: '%.60s' is not NAME=VALUE", text);
        return QUIRE_INVALID;
    }
    if (flags->n_settings < FLAGS_MAX_SETTINGS) {
        memcpy(flags->text[flags->n_settings], text, n);
    }
    return add_setting(flags, flags->text[flags->n_settings % FLAGS_MAX_SETTINGS], text + n + 1, why, why_bytes);
}

static enum quire_status take_flag(struct flags *flags, const struct flag *flag, const char *value, char *why, size_t why_bytes) {
    if (flag->option != NULL) {
        return add_setting(flags, flag->option, flag->value != NULL ? flag->value : value, why, why_bytes);
    }
    if (strcmp(flag->name, "set") == 0) {
        return add_assignment(flags, value, why, why_bytes);
    }
    if (strcmp(flag->name, "config") == 0) {
        flags->config_path = value;
    } else if (strcmp(flag->name, "defaults") == 0) {
        flags->defaults = true;
    } else if (strcmp(flag->name, "print-config") == 0) {
        flags->action = FLAGS_PRINT_CONFIG;
    } else if (strcmp(flag->name, "check-config") == 0) {
        flags->action = FLAGS_CHECK_CONFIG;
    } else if (strcmp(flag->name, "version") == 0) {
        flags->action = FLAGS_VERSION;
    } else {
        flags->action = FLAGS_HELP;
    }
    return QUIRE_OK;
}

enum quire_status flags_parse(int argc, char **argv, struct flags *flags, char *why, size_t why_bytes) {
    *flags = (struct flags){.action = FLAGS_SERVE};
    for (int i = 1; i < argc; i++) {
        const char *value;
        const struct flag *flag = find_flag(argv[i], &value);
        if (flag == NULL) {
            return refuse_unknown(argv[i], why, why_bytes);
        }
        if (flag->value_name == NULL && value != NULL) {
            snprintf(why, why_bytes, "--%s takes no value", flag->name);
            return QUIRE_INVALID;
        }
        if (flag->value_name != NULL && value == NULL) {
            if (i + 1 == argc) {
                snprintf(why, why_bytes, "--%s needs a value: --%s %s", flag->name, flag->name, flag->value_name);
                return QUIRE_INVALID;
            }
            value = argv[++i];
        }
        QUIRE_FORWARD(take_flag(flags, flag, value, why, why_bytes));
    }
    return QUIRE_OK;
}

/* ---- the configuration --------------------------------------------------------------------------------------------------------- */
static bool there(const char *folder, const char *below, char *path) {
    if (folder == NULL || folder[0] != '/') {
        return false;
    }
    snprintf(path, CONFIG_SOURCE_BYTES, "%.3000s%s/quired.yaml", folder, below);
    return access(path, F_OK) == 0;
}

static bool find_file(char *path) {
    const char *config_home = getenv("XDG_CONFIG_HOME");
    bool found = there(getenv("CONFIGURATION_DIRECTORY"), "", path) ||
                 (config_home != NULL && config_home[0] == '/' ? there(config_home, "/quire", path)
                                                               : there(getenv("HOME"), "/.config/quire", path)) ||
                 there("/etc/quire", "", path);
    if (!found) {
        path[0] = '\0';
    }
    return found;
}

enum quire_status flags_configure(const struct flags *flags, struct config *config, char *source, char *why, size_t why_bytes) {
    config_default(config);
    source[0] = '\0';
    if (flags->config_path != NULL) {
        snprintf(source, CONFIG_SOURCE_BYTES, "%s", flags->config_path);
    }
    if (!flags->defaults && (source[0] != '\0' || find_file(source))) {
        QUIRE_FORWARD(config_load(config, source, why, why_bytes));
    }
    for (unsigned i = 0; i < flags->n_settings; i++) {
        if (strcmp(flags->settings[i].name, CONFIG_FILE_OPTION) == 0) {
            memset(config->files, 0, sizeof config->files); /* flags override the file: all of its list */
            config->n_files = 0;
            break;
        }
    }
    for (unsigned i = 0; i < flags->n_settings; i++) {
        QUIRE_FORWARD(config_set(config, flags->settings[i].name, flags->settings[i].value, why, why_bytes));
    }
    return QUIRE_OK;
}
