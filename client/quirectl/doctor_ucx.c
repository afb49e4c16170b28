/*
 * The environment of a quired that listens by UCX: UCX takes its settings from variables, goes on without those whose name is mistyped, and some values bite
 * long after the start. What deploy/ucx.env says of each is checked here.
 */
#include "client/quirectl/doctor.h"
#include "client/quirectl/ucx_names.h"
#include "proto/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ENVIRONMENT_MAX (1u << 20)
#define CAP_SYS_PTRACE_BIT 19
#define NAME_BYTES 64

/* What the checks look at. */
struct ucx_view {
    const struct doctor_view *view;
    uint32_t pid;
    char *environment; /* "NAME=value", each with its 0; "" at the end */
    bool beyond_loopback;
    struct doctor_finding *finding;
};

/* ---- telling -------------------------------------------------------------------------------------------------------------------- */
/* One more that is not as it should be; the first's advice is given. */
__attribute__((format(printf, 3, 4))) static void tell(struct ucx_view *ucx, const char *advice, const char *format, ...) {
    struct doctor_finding *finding = ucx->finding;
    size_t used = strlen(finding->text);
    va_list args;
    va_start(args, format);
    if (used > 0 && used + 2 < sizeof finding->text) {
        used += (size_t)snprintf(finding->text + used, sizeof finding->text - used, "; ");
    }
    vsnprintf(finding->text + used, sizeof finding->text - used, format, args);
    va_end(args);
    if (finding->level == DOCTOR_OK) {
        snprintf(finding->advice, sizeof finding->advice, "%s", advice);
        finding->level = DOCTOR_WARN;
    }
}

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */
static FILE *open_below(const struct doctor_view *view, const char *below) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", strcmp(view->root, "/") == 0 ? "" : view->root, below);
    return fopen(path, "re");
}

static bool exists_below(const struct doctor_view *view, const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s%s%s", strcmp(view->root, "/") == 0 ? "" : view->root, folder, name);
    return access(path, F_OK) == 0;
}

/* NULL: it is not ours to read, or there is none. */
static char *read_environment(const struct doctor_view *view, uint32_t pid) {
    char below[64];
    snprintf(below, sizeof below, "/proc/%u/environ", pid);
    FILE *file = open_below(view, below);
    char *text = file != NULL ? calloc(1, ENVIRONMENT_MAX + 2) : NULL;
    if (text != NULL && fread(text, 1, ENVIRONMENT_MAX, file) == 0 && ferror(file)) {
        free(text);
        text = NULL;
    }
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

/* In another namespace of processes the number is somebody else's. */
static bool is_quired(const struct doctor_view *view, uint32_t pid) {
    char below[64], name[32] = "";
    snprintf(below, sizeof below, "/proc/%u/comm", pid);
    FILE *file = open_below(view, below);
    bool read = file != NULL && fgets(name, sizeof name, file) != NULL;
    if (file != NULL) {
        fclose(file);
    }
    return read && strncmp(name, "quired", 6) == 0;
}

/* A line of /proc/PID/status as a number; 0: it is not there. */
static unsigned long long status_of(const struct ucx_view *ucx, const char *field, int base) {
    char below[64], line[256];
    unsigned long long value = 0;
    snprintf(below, sizeof below, "/proc/%u/status", ucx->pid);
    FILE *file = open_below(ucx->view, below);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        size_t length = strlen(field);
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            value = strtoull(line + length + 1, NULL, base);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

/* An option under `listen:` of the printed configuration, without its quotes; "" when it is not there. */
static void listen_option(const char *config, const char *name, char *value, size_t value_bytes) {
    const char *line = strstr(config, "\nlisten:");
    value[0] = '\0';
    for (line = line != NULL ? strchr(line + 1, '\n') : NULL; line != NULL; line = strchr(line, '\n')) {
        size_t length = strlen(name);
        line++;
        if (line[0] != ' ' && line[0] != '\n') {
            return;
        }
        if (strncmp(line, "  ", 2) == 0 && strncmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *at = line + 3 + length + strspn(line + 3 + length, " \"");
            snprintf(value, value_bytes, "%.*s", (int)strcspn(at, "\"\n"), at);
            return;
        }
    }
}

/* "": not set, or to nothing. */
static const char *value_of(const struct ucx_view *ucx, const char *name) {
    size_t length = strlen(name);
    for (const char *at = ucx->environment; *at != '\0'; at += strlen(at) + 1) {
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            return at + length + 1;
        }
    }
    return "";
}

/* As UCX reads switches. */
static bool is(const char *value, const char *const words[4]) {
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            return true;
        }
    }
    return false;
}
static bool is_yes(const char *value) { return is(value, (const char *const[]){"y", "yes", "on", "1"}); }
static bool is_no(const char *value) { return is(value, (const char *const[]){"n", "no", "off", "0"}); }

/* One of the words is in a list that is separated by commas. */
static bool names_any(const char *list, const char *const *words, size_t n) {
    while (*list != '\0') {
        size_t length = strcspn(list, ",");
        for (size_t i = 0; i < n; i++) {
            if (strlen(words[i]) == length && strncasecmp(list, words[i], length) == 0) {
                return true;
            }
        }
        list += length + (list[length] == ',');
    }
    return false;
}

/* ---- checks --------------------------------------------------------------------------------------------------------------------- */
static void check_names(struct ucx_view *ucx) {
    for (const char *at = ucx->environment; *at != '\0'; at += strlen(at) + 1) {
        char name[NAME_BYTES];
        size_t length = strcspn(at, "=");
        if (strncmp(at, "UCX_", 4) != 0 || length >= sizeof name) {
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        if (!ucx_is_variable(name + 4)) {
            const char *meant = ucx_meant(name + 4);
            tell(ucx, "UCX goes on without it: correct its name where quired's environment is set (ucx.env), and start quired again",
                 meant != NULL ? "%s is no variable of UCX's: UCX_%s?" : "%s is no variable of UCX's", name, meant);
        }
    }
}

static void check_memory_events(struct ucx_view *ucx) {
    if (!is_no(value_of(ucx, "UCX_MEM_EVENTS"))) {
        tell(ucx, "set UCX_MEM_EVENTS=n, as ucx.env does: UCX's hooks on the allocator cost every allocation and do not go with jemalloc",
             "UCX_MEM_EVENTS is not n");
    }
}

static void check_shared_memory(struct ucx_view *ucx) {
    static const char *const lanes[] = {"posix", "sysv", "xpmem", "knem", "mm", "shm", "sm"}, *const cma[] = {"cma", "shm", "sm"};
    const char *tls = value_of(ucx, "UCX_TLS");
    char scope[16] = "";
    if (tls[0] == '^') {
        return; /* what is left out */
    }
    if (names_any(tls, lanes, QUIRE_ARRAY_LEN(lanes)) && !is_yes(value_of(ucx, "UCX_MM_ERROR_HANDLING")) &&
        !is_yes(value_of(ucx, "UCX_POSIX_ERROR_HANDLING"))) {
        tell(ucx, "leave shared memory out of UCX_TLS (between hosts it is of no use), or set UCX_MM_ERROR_HANDLING=y",
             "UCX_TLS=%.60s names shared memory, which UCX does not use here without UCX_MM_ERROR_HANDLING=y", tls);
    }
    FILE *file = open_below(ucx->view, "/proc/sys/kernel/yama/ptrace_scope");
    bool scoped = file != NULL && fgets(scope, sizeof scope, file) != NULL && scope[0] != '0';
    if (file != NULL) {
        fclose(file);
    }
    bool may_trace = (status_of(ucx, "CapEff", 16) >> CAP_SYS_PTRACE_BIT & 1) != 0 || (!scoped && status_of(ucx, "Seccomp", 10) == 0);
    if (names_any(tls, cma, QUIRE_ARRAY_LEN(cma)) && !may_trace) {
        tell(ucx, "leave cma out of UCX_TLS, or give quired and the workers CAP_SYS_PTRACE: UCX ends the program when a copy is refused",
             "UCX_TLS=%.60s names cma, and quired may not trace other processes", tls);
    }
}

static void check_ports(struct ucx_view *ucx) {
    const char *range = value_of(ucx, "UCX_TCP_PORT_RANGE");
    if (ucx->beyond_loopback && (range[0] == '\0' || strcmp(range, "0") == 0)) {
        tell(ucx, "set UCX_TCP_PORT_RANGE, as ucx.env does, and let the firewall pass it, from workers' hosts alone",
             "UCX_TCP_PORT_RANGE is not set: beside listen.ucx's, UCX listens on another port at each start");
    }
}

static void check_devices(struct ucx_view *ucx) {
    const char *list = value_of(ucx, "UCX_NET_DEVICES");
    while (*list != '\0') {
        char name[NAME_BYTES];
        size_t length = strcspn(list, ",");
        snprintf(name, sizeof name, "%.*s", (int)quire_min_u64(strcspn(list, ":,"), sizeof name - 1), list);
        if (name[0] != '\0' && strcmp(name, "all") != 0 && strchr(name, '/') == NULL && !exists_below(ucx->view, "/sys/class/net/", name) &&
            !exists_below(ucx->view, "/sys/class/infiniband/", name)) {
            tell(ucx, "name cards of this host in UCX_NET_DEVICES: `ucx_info -d` shows them", "UCX_NET_DEVICES names %s, which is not here",
                 name);
        }
        list += length + (list[length] == ',');
    }
}

void doctor_check_ucx(const struct doctor_view *view, struct doctor_finding *finding) {
    char addresses[512], trusted[16];
    struct ucx_view ucx = {.view = view, .finding = finding};
    if (view->status == NULL || view->config == NULL) {
        snprintf(finding->text, sizeof finding->text, "%s",
                 view->status == NULL ? "not looked at without a daemon"
                                      : "not looked at: quired shows its configuration to its operator alone");
        return;
    }
    listen_option(view->config, "ucx", addresses, sizeof addresses);
    listen_option(view->config, "trusted_fabric", trusted, sizeof trusted);
    if (addresses[0] == '\0') {
        snprintf(finding->text, sizeof finding->text, "quired does not listen by it");
        return;
    }
    ucx.pid = view->status->daemon->pid;
    ucx.beyond_loopback = strcmp(trusted, "true") == 0;
    ucx.environment = is_quired(view, ucx.pid) ? read_environment(view, ucx.pid) : NULL;
    if (ucx.environment == NULL) {
        tell(&ucx, "run it on quired's host as its user, or as root", "the environment of quired (process %u) cannot be read", ucx.pid);
        return;
    }
    check_names(&ucx);
    check_memory_events(&ucx);
    check_shared_memory(&ucx);
    check_ports(&ucx);
    check_devices(&ucx);
    free(ucx.environment);
    if (finding->level == DOCTOR_OK) {
        snprintf(finding->text, sizeof finding->text, "listens at %.160s; its variables are as they should be", addresses);
    }
}
