#include "daemon/config_yaml.h"

#include "proto/base/base.h"
#include "proto/base/nearest.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define FILE_MAX_BYTES (1u << 20)

/* ---- what the file may hold --------------------------------------------------------------------------------------------------- */
static const cyaml_schema_value_t text_entry = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, 4096)};

static const cyaml_schema_field_t domain_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct config_yaml_domain, name, 0, 4096),
    CYAML_FIELD_STRING_PTR("pool_bytes", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_domain, pool_bytes, 0, 4096),
    CYAML_FIELD_STRING_PTR("rma", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_domain, rma, 0, 16),
    CYAML_FIELD_SEQUENCE("members", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_domain, members, &text_entry, 0,
                         CONFIG_MAX_IDS),
    CYAML_FIELD_SEQUENCE("guests", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_domain, guests, &text_entry, 0,
                         CONFIG_MAX_IDS),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t domain_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_yaml_domain, domain_fields)};

static const cyaml_schema_field_t salt_fields[] = {
    CYAML_FIELD_STRING_PTR("namespace", CYAML_FLAG_POINTER, struct config_yaml_salt, ns, 0, 4096),
    CYAML_FIELD_STRING_PTR("salt", CYAML_FLAG_POINTER, struct config_yaml_salt, salt, 0, 4096),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t salt_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_yaml_salt, salt_fields)};

static const cyaml_schema_field_t file_fields[] = {
    CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER, struct config_yaml_file, path, 0, 4096),
    CYAML_FIELD_STRING_PTR("size", CYAML_FLAG_POINTER, struct config_yaml_file, size, 0, 4096),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_yaml_file, file_fields)};
static const cyaml_schema_field_t tier_fields[] = {
    CYAML_FIELD_SEQUENCE("file", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_tiers, file, &file_entry, 0,
                         QUIRE_LOG_MAX_FILES),
    CYAML_FIELD_END,
};

/* The schema is made from the table of options at each load: it is small, and needs no lock this way. */
struct schema {
    cyaml_schema_field_t fields[CONFIG_YAML_OPTIONS + 8];
    cyaml_schema_field_t pager_fields[CONFIG_YAML_OPTIONS + 1], disk_fields[CONFIG_YAML_OPTIONS + 1],
        listen_fields[CONFIG_YAML_OPTIONS + 1];
    cyaml_schema_value_t top;
};

static cyaml_schema_field_t text_field(const char *key, size_t offset) {
    return (cyaml_schema_field_t){
        .key = key,
        .data_offset = (uint32_t)offset,
        .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *, 0, 4096)},
    };
}

static cyaml_schema_field_t section_field(const char *key, size_t offset, const cyaml_schema_field_t *fields) {
    return (cyaml_schema_field_t){
        .key = key,
        .data_offset = (uint32_t)offset,
        .value = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml_section, fields)},
    };
}

static void schema_make(struct schema *schema) {
    static const cyaml_schema_field_t lists[] = {
        CYAML_FIELD_SEQUENCE("domains", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml, domains, &domain_entry, 1,
                             CONFIG_MAX_DOMAINS),
        CYAML_FIELD_SEQUENCE("salts", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml, salts, &salt_entry, 0,
                             CONFIG_MAX_SALTS),
        CYAML_FIELD_SEQUENCE("faults", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml, faults, &text_entry, 0,
                             CONFIG_MAX_FAULTS),
        CYAML_FIELD_MAPPING_PTR("tiers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_yaml, tiers, tier_fields),
    };
    unsigned n = 0, n_pager = 0, n_disk = 0, n_listen = 0;
    *schema = (struct schema){0};
    for (unsigned i = 0; i < config_option_count(); i++) {
        const struct config_option *option = config_option_at(i);
        size_t place = i * sizeof(char *); /* `option` is the first field of either structure */
        if (option->section == CONFIG_PAGER) {
            schema->pager_fields[n_pager++] = text_field(option->name, place);
        } else if (option->section == CONFIG_DISK) {
            schema->disk_fields[n_disk++] = text_field(option->name, place);
        } else if (option->section == CONFIG_LISTEN) {
            schema->listen_fields[n_listen++] = text_field(option->name, place);
        } else {
            schema->fields[n++] = text_field(option->name, place);
        }
    }
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(lists); i++) {
        schema->fields[n++] = lists[i];
    }
    schema->fields[n++] = section_field("pager", offsetof(struct config_yaml, pager), schema->pager_fields);
    schema->fields[n++] = section_field("disk", offsetof(struct config_yaml, disk), schema->disk_fields);
    schema->fields[n++] = section_field("listen", offsetof(struct config_yaml, listen), schema->listen_fields);
    schema->top = (cyaml_schema_value_t){CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_yaml, schema->fields)};
}

/* ---- what the library says ---------------------------------------------------------------------------------------------------- */
/* Its messages tell what an error is about; the first place of its backtrace is the innermost. */
struct told {
    char about[160];  /* the name or value that it stumbled on */
    char detail[160]; /* its own words, for errors that have no sentence here */
    unsigned long line;
};

__attribute__((format(printf, 3, 0))) static void hear(cyaml_log_t level, void *ctx, const char *format, va_list args) {
    static const char *const abouts[] = {
        "Load: Unexpected key: ", "Load: Mapping field already seen: ", "Load: Missing required mapping field: "};
    struct told *told = ctx;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(abouts); i++) {
        if (strncmp(text, abouts[i], strlen(abouts[i])) == 0) {
            snprintf(told->about, sizeof told->about, "%.150s", text + strlen(abouts[i]));
        }
    }
    const char *line = strstr(text, "(line: ");
    if (line != NULL && told->line == 0) {
        told->line = strtoul(line + 7, NULL, 10);
    }
    if (level >= CYAML_LOG_ERROR && told->detail[0] == '\0') {
        const char *colon = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        const char *where = strstr(colon, "libyaml: ");
        snprintf(told->detail, sizeof told->detail, "%.150s", where != NULL ? where + 9 : colon);
    }
}

static unsigned known_names(const char **names) {
    static const char *const others[] = {"domains", "salts",  "pager",     "disk", "tiers", "faults", "name", "pool_bytes",
                                         "members", "guests", "namespace", "salt", "file",  "path",   "size", "listen"};
    unsigned n = 0;
    for (; n < config_option_count(); n++) {
        names[n] = config_option_at(n)->name;
    }
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(others); i++) {
        names[n++] = others[i];
    }
    return n;
}

static void explain_unknown(const struct told *told, char *why, size_t why_bytes) {
    const char *names[CONFIG_YAML_OPTIONS + 16];
    char where[64] = "elsewhere: see `quired --print-config`";
    const char *near = quire_nearest(told->about, names, known_names(names));
    const struct config_option *option = near != NULL ? config_option_anywhere(near) : NULL;
    bool inside = option != NULL && option->section != CONFIG_TOP;
    if (inside) {
        snprintf(where, sizeof where, "under `%s:`", config_section_name(option->section));
    } else if (option != NULL) {
        snprintf(where, sizeof where, "at the left margin");
    }
    if (near == NULL) {
        snprintf(why, why_bytes, "no option '%s'; `quired --print-config` shows all of them", told->about);
    } else if (strcmp(near, told->about) == 0) {
        snprintf(why, why_bytes, "option '%s' does not belong here, it stands %s", near, where);
    } else {
        snprintf(why, why_bytes, "no option '%s', did you mean '%s'%s%s%s?", told->about, near, inside ? " (" : "", inside ? where : "",
                 inside ? ")" : "");
    }
}

/* "Expecting STRING, got event: SEQUENCE_START" in the words of whoever wrote the file. */
static void explain_shape(const char *detail, char *why, size_t why_bytes) {
    static const struct {
        const char *shape, *words;
    } shapes[] = {{"STRING", "one value"}, {"SCALAR", "one value"}, {"SEQUENCE", "a list"}, {"MAPPING", "`name: value` lines"}};
    const char *wanted = "something else", *got = "what stands here", *event = strstr(detail, "got event: ");
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(shapes); i++) {
        if (strncmp(detail + 10, shapes[i].shape, strlen(shapes[i].shape)) == 0) {
            wanted = shapes[i].words;
        }
        if (event != NULL && strncmp(event + 11, shapes[i].shape, strlen(shapes[i].shape)) == 0) {
            got = shapes[i].words;
        }
    }
    snprintf(why, why_bytes, "%s expected here, not %s", wanted, got);
}

static void explain(cyaml_err_t error, const char *path, const struct told *told, char *why, size_t why_bytes) {
    char what[400];
    if (error == CYAML_ERR_INVALID_KEY && told->about[0] != '\0') {
        explain_unknown(told, what, sizeof what);
    } else if (error == CYAML_ERR_FILE_OPEN) {
        snprintf(what, sizeof what, "cannot be opened (%s)", strerror(errno));
    } else if (told->about[0] != '\0' && error == CYAML_ERR_MAPPING_FIELD_MISSING) {
        snprintf(what, sizeof what, "'%s' is missing", told->about);
    } else if (told->about[0] != '\0' && error == CYAML_ERR_UNEXPECTED_EVENT) {
        snprintf(what, sizeof what, "'%s' is given twice", told->about);
    } else if (strncmp(told->detail, "Expecting ", 10) == 0) {
        explain_shape(told->detail, what, sizeof what);
    } else {
        snprintf(what, sizeof what, "%s (%s)", told->detail[0] != '\0' ? told->detail : "is not as expected", cyaml_strerror(error));
    }
    /* The library names the mapping's line; the name that it stumbled on is nearer. */
    unsigned long line = told->about[0] == '\0' ? 0 : config_yaml_line(path, told->about, error == CYAML_ERR_UNEXPECTED_EVENT);
    line = line > 0 ? line : told->line;
    if (line > 0) {
        snprintf(why, why_bytes, "%s:%lu: %s", path, line, what);
    } else {
        snprintf(why, why_bytes, "%s: %s", path, what);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------ */
static enum quire_status read_file(const char *path, char **bytes, size_t *size, char *why, size_t why_bytes) {
    FILE *file = fopen(path, "re");
    char *buffer = malloc(FILE_MAX_BYTES + 1);
    if (file == NULL || buffer == NULL) {
        snprintf(why, why_bytes, "%s: cannot be read (%s)", path, strerror(errno));
    } else {
        *size = fread(buffer, 1, FILE_MAX_BYTES + 1, file);
        if (ferror(file) != 0) {
            snprintf(why, why_bytes, "%s: cannot be read (%s)", path, strerror(errno));
        } else if (*size > FILE_MAX_BYTES) {
            snprintf(why, why_bytes, "%s: larger than 1 MiB, this is no configuration", path);
        } else {
            fclose(file);
            *bytes = buffer;
            return QUIRE_OK;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    free(buffer);
    return QUIRE_INVALID;
}

static const cyaml_config_t quiet = {.log_fn = NULL, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};

/* True when there is nothing but comments and blanks: all defaults. */
static bool is_blank(const char *bytes, size_t size) {
    bool comment = false;
    for (size_t i = 0; i < size; i++) {
        comment = bytes[i] != '\n' && (comment || bytes[i] == '#');
        if (!comment && strchr(" \t\r\n", bytes[i]) == NULL) {
            return size - i == 4 && memcmp(bytes + i, "---\n", 4) == 0;
        }
    }
    return true;
}

enum quire_status config_yaml_load(const char *path, struct config_yaml **yaml, char *why, size_t why_bytes) {
    struct schema schema;
    struct told told = {.line = 0};
    cyaml_config_t config = {
        .log_fn = hear, .log_ctx = &told, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_DEBUG, .flags = CYAML_CFG_NO_ALIAS};
    char *bytes = NULL;
    size_t size = 0;
    *yaml = NULL;
    QUIRE_FORWARD(read_file(path, &bytes, &size, why, why_bytes));
    cyaml_err_t error = CYAML_OK;
    schema_make(&schema);
    if (!is_blank(bytes, size)) {
        error = cyaml_load_data((const uint8_t *)bytes, size, &config, &schema.top, (cyaml_data_t **)yaml, NULL);
    }
    free(bytes);
    if (error != CYAML_OK) {
        explain(error, path, &told, why, why_bytes);
        return QUIRE_INVALID;
    }
    return QUIRE_OK;
}

void config_yaml_free(struct config_yaml **yaml) {
    struct schema schema;
    schema_make(&schema);
    cyaml_free(&quiet, &schema.top, *yaml, 0);
    *yaml = NULL;
}

unsigned config_yaml_line(const char *path, const char *option, unsigned nth) {
    char *line = NULL;
    size_t capacity = 0, n = strlen(option);
    unsigned number = 0, found = 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && found == 0 && getline(&line, &capacity, file) >= 0) {
        const char *at = line + strspn(line, " -");
        number++;
        if (strncmp(at, option, n) == 0 && at[n + strspn(at + n, " ")] == ':' && nth-- == 0) {
            found = number;
        }
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return found;
}
