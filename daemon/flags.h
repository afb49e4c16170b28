/*
 * quired's command line: what to do, and the options that override the configuration file (now and at every reload).
 */
#ifndef DAEMON_FLAGS_H
#define DAEMON_FLAGS_H

#include "daemon/config.h"

#define FLAGS_MAX_SETTINGS 64

enum flags_action { FLAGS_SERVE, FLAGS_PRINT_CONFIG, FLAGS_CHECK_CONFIG, FLAGS_VERSION, FLAGS_HELP };

struct flags {
    enum flags_action action;
    const char *config_path; /* NULL: the usual places are looked through */
    bool defaults;           /* read no file */
    struct flags_setting {
        const char *name, *value;
    } settings[FLAGS_MAX_SETTINGS];
    unsigned n_settings;
    char text[FLAGS_MAX_SETTINGS][64]; /* names cut out of --set NAME=VALUE */
};

/* INVALID with a sentence for a flag that is unknown or lacks its value. Keeps pointers into argv. */
enum quire_status flags_parse(int argc, char **argv, struct flags *flags, char *why, size_t why_bytes);
void flags_help(FILE *to);
/* Defaults, then the file, then the flags; not resolved. `source` (CONFIG_SOURCE_BYTES) tells the file, empty: none was there. */
#define CONFIG_SOURCE_BYTES 4096
enum quire_status flags_configure(const struct flags *flags, struct config *config, char *source, char *why, size_t why_bytes);

#endif
