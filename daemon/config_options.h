/*
 * The table of options: one line an option, from which the file, the flags, --print-config, range checks and reload are made.
 * Inside daemon/config*.c only; everybody else reads struct config.
 */
#ifndef DAEMON_CONFIG_OPTIONS_H
#define DAEMON_CONFIG_OPTIONS_H

#include "daemon/config.h"

#define CONFIG_OPTIONS_MAX 96

enum config_kind {
    CONFIG_COUNT,
    CONFIG_SIZE,
    CONFIG_TIME,
    CONFIG_PERCENT,
    CONFIG_FACTOR, /* a double, in thousandths */
    CONFIG_BOOL,
    CONFIG_MODE,
    CONFIG_TEXT,
    CONFIG_LEVEL,
    CONFIG_BACKEND,
    CONFIG_RAIL_WORD
};
/* Where an option stands in the file. */
enum config_section { CONFIG_TOP, CONFIG_PAGER, CONFIG_DISK, CONFIG_LISTEN, CONFIG_SECTIONS };

struct config_option {
    const char *name;
    enum config_kind kind;
    uint16_t offset, bytes; /* the field in struct config */
    enum config_section section;
    bool live;         /* can change while running */
    uint64_t min, max; /* inclusive; zero is allowed beside the range when zero_ok */
    bool zero_ok;      /* zero has a meaning of its own, told in help */
    const char *help;
};

unsigned config_option_count(void);
const struct config_option *config_option_at(unsigned index);
/* NULL: the section has none of this name. */
const struct config_option *config_option_find(const char *name, enum config_section section);
/* In whichever section. */
const struct config_option *config_option_anywhere(const char *name);
const char *config_section_name(enum config_section section); /* "", "pager", "disk", "listen" */

/* Reads text into the field; INVALID with a sentence about what is accepted. */
enum quire_status config_option_set(struct config *config, const struct config_option *option, const char *text, char *why,
                                    size_t why_bytes);
/* A YAML scalar that reads back to the same. */
#define CONFIG_SCALAR_BYTES 2600
void config_option_get(const struct config *config, const struct config_option *option, char text[CONFIG_SCALAR_BYTES]);
/* Double-quoted YAML: any text comes back as it was. */
void config_quote(const char *value, char text[CONFIG_SCALAR_BYTES]);
/* "16 to 65536; 0: unlimited" as people read it; empty for text and switches. */
void config_option_range(const struct config_option *option, char *text, size_t text_bytes);

/* Sizes of pools, also inside `domains:`. */
#define CONFIG_POOL_MIN_BYTES (1ull << 20)
#define CONFIG_POOL_MAX_BYTES (1ull << 44)

#endif
