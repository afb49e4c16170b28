/* A configuration file as libcyaml reads it: every value still text, NULL where the file does not name it. Inside config*.c only. */
#ifndef DAEMON_CONFIG_YAML_H
#define DAEMON_CONFIG_YAML_H

#include "daemon/config_options.h"

#define CONFIG_YAML_OPTIONS CONFIG_OPTIONS_MAX

struct config_yaml_domain {
    char *name, *pool_bytes, *rma;
    char **members, **guests;
    uint32_t members_count, guests_count;
};
struct config_yaml_salt {
    char *ns, *salt;
};
struct config_yaml_file {
    char *path, *size;
};
struct config_yaml_tiers {
    struct config_yaml_file *file;
    uint32_t file_count;
};
struct config_yaml_section {
    char *option[CONFIG_YAML_OPTIONS]; /* by index in the table of options */
};
struct config_yaml {
    char *option[CONFIG_YAML_OPTIONS];
    struct config_yaml_section *pager, *disk, *listen;
    struct config_yaml_domain *domains;
    struct config_yaml_salt *salts;
    struct config_yaml_tiers *tiers;
    char **faults;
    uint32_t domains_count, salts_count, faults_count;
};

/* An empty file gives NULL. `why` starts with "path:line: ". Release with config_yaml_free. */
enum quire_status config_yaml_load(const char *path, struct config_yaml **yaml, char *why, size_t why_bytes);
void config_yaml_free(struct config_yaml **yaml);
/* Where the nth line (from 0) that gives `option` stands in the file, 0: not found. To point at a value that was refused. */
unsigned config_yaml_line(const char *path, const char *option, unsigned nth);

#endif
