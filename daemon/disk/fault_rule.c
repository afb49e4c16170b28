#include "daemon/disk/faults.h"
#include "proto/base/nearest.h"
#include "proto/base/units.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const operations[] = {"read", "write", "sync"};
static const char *const tears[] = {"failure", "success"};
static const struct {
    const char *name;
    int error;
} errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC},       {"EROFS", EROFS},   {"EDQUOT", EDQUOT},
              {"ENODEV", ENODEV}, {"ETIMEDOUT", ETIMEDOUT}, {"ENOMEM", ENOMEM}, {"ENOBUFS", ENOBUFS},
              {"EAGAIN", EAGAIN}, {"EINTR", EINTR}};

struct words { /* of the parser */
    struct disk_fault_rule *rule;
    uint32_t given; /* bit a key */
    char *why;
    size_t why_bytes;
};

__attribute__((format(printf, 2, 3))) static enum quire_status refuse(const struct words *words, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(words->why, words->why_bytes, format, args);
    va_end(args);
    return QUIRE_INVALID;
}

/* ---- values ------------------------------------------------------------------------------------------------------------------- */
static enum quire_status take_delay(struct words *words, const char *value) {
    uint64_t *amount = &words->rule->amount;
    if (quire_parse_duration(value, amount) != QUIRE_OK || *amount == 0 || *amount > DISK_FAULT_MAX_DELAY_MS) {
        return refuse(words, "delay=%s: a time of 1ms to 10min is wanted", value);
    }
    return QUIRE_OK;
}

static enum quire_status take_error(struct words *words, const char *value) {
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(errors); i++) {
        if (strcmp(value, errors[i].name) == 0) {
            words->rule->error = errors[i].error;
            return QUIRE_OK;
        }
    }
    return refuse(words, "error=%s: EIO, ENOSPC, EROFS, EDQUOT, ENODEV, ETIMEDOUT, ENOMEM, ENOBUFS, EAGAIN or EINTR is wanted", value);
}

static enum quire_status take_tear(struct words *words, const char *value) {
    words->rule->succeeds = strcmp(value, tears[true]) == 0;
    if (!words->rule->succeeds && strcmp(value, tears[false]) != 0) {
        return refuse(words, "tear=%s: `success` or `failure` is wanted, what the write reports", value);
    }
    return QUIRE_OK;
}

static enum quire_status take_corrupt(struct words *words, const char *value) {
    uint64_t *amount = &words->rule->amount;
    if (quire_parse_count(value, false, amount) != QUIRE_OK || *amount == 0 || *amount > DISK_FAULT_MAX_BITS) {
        return refuse(words, "corrupt=%s: a number of bits from 1 to %u is wanted", value, DISK_FAULT_MAX_BITS);
    }
    return QUIRE_OK;
}

static enum quire_status take_fill(struct words *words, const char *value) {
    if (quire_parse_size(value, &words->rule->amount) != QUIRE_OK) {
        return refuse(words, "fill=%s: a size is wanted, as in fill=1GiB", value);
    }
    return QUIRE_OK;
}

static enum quire_status take_file(struct words *words, const char *value) {
    uint64_t file;
    if (quire_parse_count(value, false, &file) != QUIRE_OK || file >= DISK_FAULT_ANY_FILE) {
        return refuse(words, "file=%s: the number of a file of the set is wanted, from 0", value);
    }
    words->rule->file = (uint32_t)file;
    return QUIRE_OK;
}

static enum quire_status take_offset(struct words *words, const char *value) {
    char from[DISK_FAULT_TEXT_BYTES];
    snprintf(from, sizeof from, "%s", value);
    char *to = strchr(from, '-');
    if (to != NULL) {
        *to++ = '\0';
    }
    if (to == NULL || quire_parse_size(from, &words->rule->begin) != QUIRE_OK ||
        (*to != '\0' && quire_parse_size(to, &words->rule->end) != QUIRE_OK)) {
        return refuse(words, "offset=%s: a range is wanted, as in offset=1MiB-2MiB or offset=1MiB-", value);
    }
    if (words->rule->begin >= words->rule->end) {
        return refuse(words, "offset=%s: there is nothing between", value);
    }
    return QUIRE_OK;
}

/* At most six decimals: exact in millionths. */
static enum quire_status take_probability(struct words *words, const char *value) {
    uint32_t ppm = 0, place = DISK_FAULT_ALWAYS_PPM;
    const char *at = value;
    bool good = *at == '0' || *at == '1';
    if (good) {
        ppm = (uint32_t)(*at++ - '0') * place;
        good = *at == '\0' || (*at++ == '.' && *at != '\0');
    }
    for (; good && *at != '\0'; at++) {
        place /= 10;
        good = *at >= '0' && *at <= '9' && place != 0;
        ppm += good ? (uint32_t)(*at - '0') * place : 0;
    }
    if (!good || ppm == 0 || ppm > DISK_FAULT_ALWAYS_PPM) {
        return refuse(words, "probability=%s: a number from 0.000001 to 1 is wanted, with six decimals at most", value);
    }
    words->rule->probability_ppm = ppm;
    return QUIRE_OK;
}

static enum quire_status take_seed(struct words *words, const char *value) {
    if (quire_parse_count(value, false, &words->rule->seed) != QUIRE_OK) {
        return refuse(words, "seed=%s: a number is wanted", value);
    }
    return QUIRE_OK;
}

static enum quire_status take_count(struct words *words, const char *value) {
    if (quire_parse_count(value, false, &words->rule->count) != QUIRE_OK || words->rule->count == 0) {
        return refuse(words, "count=%s: a number from 1 is wanted", value);
    }
    return QUIRE_OK;
}

/* ---- keys --------------------------------------------------------------------------------------------------------------------- */
#define OP(name) (1u << DISK_##name)
#define N_ACTIONS 5u

static const struct {
    const char *key;
    uint32_t ops; /* that it makes sense for */
    enum quire_status (*take)(struct words *words, const char *value);
} keys[] = {
    /* the actions, as in enum disk_fault_action */
    {"delay", OP(READ) | OP(WRITE) | OP(SYNC), take_delay},
    {"error", OP(READ) | OP(WRITE) | OP(SYNC), take_error},
    {"tear", OP(WRITE), take_tear},
    {"corrupt", OP(READ) | OP(WRITE), take_corrupt},
    {"fill", OP(WRITE), take_fill},
    /* where and when */
    {"file", OP(READ) | OP(WRITE) | OP(SYNC), take_file},
    {"offset", OP(READ) | OP(WRITE), take_offset},
    {"probability", OP(READ) | OP(WRITE) | OP(SYNC), take_probability},
    {"seed", OP(READ) | OP(WRITE) | OP(SYNC), take_seed},
    {"count", OP(READ) | OP(WRITE) | OP(SYNC), take_count},
};

static enum quire_status refuse_key(const struct words *words, const char *key) {
    const char *names[QUIRE_ARRAY_LEN(keys)];
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(keys); i++) {
        names[i] = keys[i].key;
    }
    const char *near = quire_nearest(key, names, QUIRE_ARRAY_LEN(keys));
    if (near != NULL) {
        return refuse(words, "no '%s' in a rule, did you mean '%s'?", key, near);
    }
    return refuse(words, "no '%s' in a rule: delay, error, tear, corrupt, fill; file, offset, probability, seed, count", key);
}

static enum quire_status take_key(struct words *words, unsigned key, const char *value) {
    const char *operation = operations[words->rule->op];
    if ((words->given & 1u << key) != 0) {
        return refuse(words, "'%s' stands there twice", keys[key].key);
    }
    if ((keys[key].ops & 1u << words->rule->op) == 0) {
        return refuse(words, "'%s' is not for %s", keys[key].key, operation);
    }
    if (key < N_ACTIONS) {
        if ((words->given & ((1u << N_ACTIONS) - 1)) != 0) {
            return refuse(words, "'%s' beside '%s': a rule has one action", keys[key].key, keys[words->rule->action].key);
        }
        words->rule->action = (enum disk_fault_action)key;
    }
    words->given |= 1u << key;
    return keys[key].take(words, value);
}

/* "key=value" */
static enum quire_status take_part(struct words *words, char *part) {
    char *value = strchr(part, '=');
    if (value == NULL) {
        return refuse(words, part[0] == '\0' ? "an empty part%s: `key=value` is wanted" : "'%s': `key=value` is wanted", part);
    }
    *value++ = '\0';
    for (unsigned key = 0; key < QUIRE_ARRAY_LEN(keys); key++) {
        if (strcmp(part, keys[key].key) == 0) {
            return take_key(words, key, value);
        }
    }
    return refuse_key(words, part);
}

static enum quire_status take_operation(struct words *words, const char *name) {
    for (unsigned op = 0; op < QUIRE_ARRAY_LEN(operations); op++) {
        if (strcmp(name, operations[op]) == 0) {
            words->rule->op = (enum disk_op_type)op;
            return QUIRE_OK;
        }
    }
    return refuse(words, "no operation '%s': read, write or sync is wanted", name);
}

enum quire_status disk_fault_parse(const char *text, struct disk_fault_rule *rule, char *why, size_t why_bytes) {
    struct words words = {.rule = rule, .why = why, .why_bytes = why_bytes};
    char copy[DISK_FAULT_TEXT_BYTES];
    *rule = (struct disk_fault_rule){.file = DISK_FAULT_ANY_FILE, .end = UINT64_MAX, .probability_ppm = DISK_FAULT_ALWAYS_PPM};
    if (strlen(text) >= sizeof copy) {
        return refuse(&words, "a rule has at most %u characters", DISK_FAULT_TEXT_BYTES - 1);
    }
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = strchr(copy, ':');
    if (rest == NULL) {
        return refuse(&words, "'%s' is no rule: OPERATION:ACTION is wanted, as in read:error=EIO", text);
    }
    *rest++ = '\0';
    QUIRE_FORWARD(take_operation(&words, copy));
    while (rest != NULL) {
        char *part = rest;
        rest = strchr(part, ',');
        if (rest != NULL) {
            *rest++ = '\0';
        }
        QUIRE_FORWARD(take_part(&words, part));
    }
    if ((words.given & ((1u << N_ACTIONS) - 1)) == 0) {
        return refuse(&words, "what shall happen? delay, error, tear, corrupt or fill");
    }
    return QUIRE_OK;
}

/* ---- as text ------------------------------------------------------------------------------------------------------------------ */
struct writer {
    char *text;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void say(struct writer *writer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(writer->text + writer->used, DISK_FAULT_TEXT_BYTES - writer->used, format, args);
    va_end(args);
    assert(n >= 0 && writer->used + (size_t)n < DISK_FAULT_TEXT_BYTES);
    writer->used += (size_t)n;
}

static const char *error_name(int error) {
    for (unsigned i = 0; i < QUIRE_ARRAY_LEN(errors); i++) {
        if (errors[i].error == error) {
            return errors[i].name;
        }
    }
    return errors[0].name;
}

static void say_action(struct writer *writer, const struct disk_fault_rule *rule) {
    char text[QUIRE_UNITS_BYTES];
    switch (rule->action) {
    case DISK_FAULT_DELAY:
        quire_exact_duration(rule->amount, text, sizeof text);
        say(writer, "delay=%s", text);
        break;
    case DISK_FAULT_ERROR:
        say(writer, "error=%s", error_name(rule->error));
        break;
    case DISK_FAULT_TEAR:
        say(writer, "tear=%s", tears[rule->succeeds]);
        break;
    case DISK_FAULT_CORRUPT:
        say(writer, "corrupt=%llu", (unsigned long long)rule->amount);
        break;
    case DISK_FAULT_FILL:
        quire_exact_size(rule->amount, text, sizeof text);
        say(writer, "fill=%s", text);
        break;
    }
}

static void say_offset(struct writer *writer, const struct disk_fault_rule *rule) {
    char begin[QUIRE_UNITS_BYTES], end[QUIRE_UNITS_BYTES] = "";
    quire_exact_size(rule->begin, begin, sizeof begin);
    if (rule->end != UINT64_MAX) {
        quire_exact_size(rule->end, end, sizeof end);
    }
    say(writer, ",offset=%s-%s", begin, end);
}

static void say_probability(struct writer *writer, uint32_t ppm) {
    char decimals[16];
    int n = snprintf(decimals, sizeof decimals, "%06u", ppm);
    while (n > 1 && decimals[n - 1] == '0') {
        decimals[--n] = '\0';
    }
    say(writer, ",probability=0.%s", decimals);
}

void disk_fault_print(const struct disk_fault_rule *rule, char text[DISK_FAULT_TEXT_BYTES]) {
    struct writer writer = {.text = text};
    say(&writer, "%s:", operations[rule->op]);
    say_action(&writer, rule);
    if (rule->file != DISK_FAULT_ANY_FILE) {
        say(&writer, ",file=%u", rule->file);
    }
    if (rule->begin != 0 || rule->end != UINT64_MAX) {
        say_offset(&writer, rule);
    }
    if (rule->probability_ppm < DISK_FAULT_ALWAYS_PPM) {
        say_probability(&writer, rule->probability_ppm);
    }
    if (rule->seed != 0) {
        say(&writer, ",seed=%llu", (unsigned long long)rule->seed);
    }
    if (rule->count != 0) {
        say(&writer, ",count=%llu", (unsigned long long)rule->count);
    }
}
