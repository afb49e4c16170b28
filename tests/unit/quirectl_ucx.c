/* What doctor says of the environment of a quired that listens by UCX: hosts made up as folders, each with one thing that bites. */
#include "client/quirectl/doctor.h"
#include "client/quirectl/ucx_names.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID 4711
#define LISTENING "log_level: info\nlisten:\n\n  # Where\n  # ucx: \"no\"\n  tls: \"\"\n  ucx: \"10.0.0.1:7070\"\n  trusted_fabric: true\n"
#define GOOD "UCX_TLS=tcp,self\0UCX_MEM_EVENTS=n\0UCX_TCP_PORT_RANGE=17100-17199\0"

static char root[64];

static void put(const char *below, const char *text, size_t bytes) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, below);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fwrite(text, 1, bytes, file) == bytes && fclose(file) == 0, "%s", path);
}
#define PUT(below, text) put(below, text, sizeof(text) - 1)

/* A host with one card, and quired there as a service. */
static void start(void) {
    snprintf(root, sizeof root, "/tmp/quire-host-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    PUT("proc/4711/comm", "quired\n");
    PUT("proc/4711/status", "Name:\tquired\nCapEff:\t0000000000000000\nSeccomp:\t2\n");
    PUT("sys/class/net/eth0/address", "x");
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}
static void stop(void) { nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

static struct doctor_finding look(const char *config) {
    Quire__Wire__AdminReply status = QUIRE__WIRE__ADMIN_REPLY__INIT;
    Quire__Wire__DaemonInfo daemon = QUIRE__WIRE__DAEMON_INFO__INIT;
    const struct doctor_view view = {.root = root, .connect_error = "", .status = &status, .config = config};
    struct doctor_finding finding = {.name = "ucx"};
    daemon.pid = PID;
    status.daemon = &daemon;
    doctor_check_ucx(&view, &finding);
    return finding;
}

static void expect(const char *environment, size_t bytes, const char *text, const char *advice) {
    put("proc/4711/environ", environment, bytes);
    struct doctor_finding finding = look(LISTENING);
    cr_expect_eq(finding.level, text[0] != '\0' ? DOCTOR_WARN : DOCTOR_OK, "%s", finding.text);
    cr_expect_not_null(strstr(finding.text, text), "'%s' does not say: %s", finding.text, text);
    cr_expect_not_null(strstr(finding.advice, advice), "'%s' does not say: %s", finding.advice, advice);
}
#define EXPECT(environment, text, advice) expect(environment, sizeof(environment) - 1, text, advice)

/* What bites, one by one; what is as ucx.env has it does not. */
Test(quirectl_ucx, what_bites, .init = start, .fini = stop) {
    EXPECT("PATH=/bin\0" GOOD, "", "");
    EXPECT(GOOD "UCX_TCP_PORTRANGE=1-2\0", "UCX_TCP_PORTRANGE is no variable of UCX's: UCX_TCP_PORT_RANGE?", "ucx.env");
    EXPECT(GOOD "UCX_TSL=tcp\0", "UCX_TSL is no variable of UCX's: UCX_TLS?", "ucx.env");
    EXPECT(GOOD "UCX_QUITE_SOMETHING_ELSE=1\0", "UCX_QUITE_SOMETHING_ELSE is no variable of UCX's", "ucx.env");
    EXPECT("UCX_TLS=tcp\0UCX_TCP_PORT_RANGE=1-2\0", "UCX_MEM_EVENTS is not n", "jemalloc");
    EXPECT("UCX_TLS=tcp\0UCX_TCP_PORT_RANGE=1-2\0UCX_MEM_EVENTS=y\0", "UCX_MEM_EVENTS is not n", "jemalloc");
    EXPECT("UCX_MEM_EVENTS=no\0UCX_TCP_PORT_RANGE=1-2\0", "", "");
    EXPECT("UCX_MEM_EVENTS=n\0", "UCX_TCP_PORT_RANGE is not set", "firewall");
    EXPECT("UCX_MEM_EVENTS=n\0UCX_TCP_PORT_RANGE=0\0", "UCX_TCP_PORT_RANGE is not set", "firewall");
    EXPECT(GOOD "UCX_NET_DEVICES=eth0\0", "", "");
    EXPECT(GOOD "UCX_NET_DEVICES=all\0", "", "");
    EXPECT(GOOD "UCX_NET_DEVICES=eth0,mlx5_0:1\0", "UCX_NET_DEVICES names mlx5_0, which is not here", "ucx_info -d");
    PUT("sys/class/infiniband/mlx5_0/node_type", "x");
    EXPECT(GOOD "UCX_NET_DEVICES=eth0,mlx5_0:1\0", "", "");
}

/* Shared memory is left out by UCX unless it is told to handle errors there; cma ends the program where it may not trace others. */
Test(quirectl_ucx, shared_memory, .init = start, .fini = stop) {
#define REST "UCX_MEM_EVENTS=n\0UCX_TCP_PORT_RANGE=1-2\0"
    EXPECT(REST "UCX_TLS=posix,self\0", "UCX_TLS=posix,self names shared memory", "UCX_MM_ERROR_HANDLING=y");
    EXPECT(REST "UCX_TLS=posix,self\0UCX_MM_ERROR_HANDLING=y\0", "", "");
    EXPECT(REST "UCX_TLS=posix,cma,self\0UCX_MM_ERROR_HANDLING=y\0", "may not trace", "CAP_SYS_PTRACE");
    EXPECT(REST "UCX_TLS=sm\0UCX_MM_ERROR_HANDLING=y\0", "may not trace", "CAP_SYS_PTRACE");
    EXPECT(REST "UCX_TLS=^posix,cma\0", "", "");
    PUT("proc/4711/status", "CapEff:\t0000000000080000\nSeccomp:\t2\n");
    EXPECT(REST "UCX_TLS=posix,cma,self\0UCX_MM_ERROR_HANDLING=y\0", "", "");
    PUT("proc/4711/status", "CapEff:\t0000000000000000\nSeccomp:\t0\n");
    EXPECT(REST "UCX_TLS=posix,cma,self\0UCX_MM_ERROR_HANDLING=y\0", "", "");
    PUT("proc/sys/kernel/yama/ptrace_scope", "1\n");
    EXPECT(REST "UCX_TLS=posix,cma,self\0UCX_MM_ERROR_HANDLING=y\0", "may not trace", "CAP_SYS_PTRACE");
}

/* Several at once are all told, as far as there is room, and the first one's advice is given. */
Test(quirectl_ucx, several_at_once, .init = start, .fini = stop) {
    EXPECT("UCX_TSL=tcp\0UCX_NET_DEVICES=a,b,c,d,e,f,g,h,i,j,k,l,m\0", "UCX_MEM_EVENTS is not n; UCX_TCP_PORT_RANGE is not set",
           "its name");
}

/* Only of a quired that listens by UCX, and only of quired. */
Test(quirectl_ucx, who_is_asked, .init = start, .fini = stop) {
    cr_expect_eq(look("listen:\n  tls: \"\"\n").level, DOCTOR_OK);
    struct doctor_finding finding = look("log_level: info\nlisten:\n  tls: \"\"\npager:\n  ucx: \"10.0.0.1:7070\"\n");
    cr_expect(finding.level == DOCTOR_OK && strstr(finding.text, "does not listen") != NULL, "%s", finding.text);
    finding = look(NULL);
    cr_expect(finding.level == DOCTOR_OK && strstr(finding.text, "operator") != NULL, "%s", finding.text);
    finding = look(LISTENING);
    cr_expect(finding.level == DOCTOR_WARN && strstr(finding.text, "cannot be read") != NULL, "%s", finding.text);
    PUT("proc/4711/environ", "UCX_TSL=1");
    PUT("proc/4711/comm", "bash\n");
    finding = look(LISTENING);
    cr_expect_not_null(strstr(finding.text, "cannot be read"), "another process of that number: %s", finding.text);
    PUT("proc/4711/comm", "quired\n");
    PUT("proc/4711/environ", "UCX_MEM_EVENTS=n\0UCX_TLS=tcp");
    finding = look("x: 1\nlisten:\n  ucx: \"127.0.0.1:7070\"\n  trusted_fabric: false\n");
    cr_expect_eq(finding.level, DOCTOR_OK, "on loopback there is no firewall: %s", finding.text);
}

/* The sample has nothing that doctor would complain about, also where a line is only suggested. */
Test(quirectl_ucx, the_sample_is_good, .init = start, .fini = stop) {
    char path[512], line[512], environment[4096];
    size_t used = 0;
    const char *source = getenv("QUIRE_SOURCE");
    if (source == NULL) {
        cr_skip_test("without QUIRE_SOURCE");
    }
    snprintf(path, sizeof path, "%s/deploy/ucx.env", source);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *set = strncmp(line, "#UCX_", 5) == 0 ? line + 1 : line;
        if (strncmp(set, "UCX_", 4) != 0) {
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(set, "="), set);
        cr_expect(ucx_is_variable(name + 4), "%s", name);
        if (set == line) {
            used += (size_t)snprintf(environment + used, sizeof environment - used, "%s", line) + 1;
        }
    }
    fclose(file);
    cr_assert_gt(used, 0);
    expect(environment, used, "", "");
}

/* What the installed UCX tells of itself is known; a release with other variables shows here first. */
Test(quirectl_ucx, names_of_the_installed_one) {
    char line[512];
    unsigned n = 0;
    FILE *told = popen("ucx_info -cf 2>/dev/null", "r");
    while (told != NULL && fgets(line, sizeof line, told) != NULL) {
        size_t length = strcspn(line, "=");
        if (strncmp(line, "UCX_", 4) == 0 && line[length] == '=') {
            line[length] = '\0';
            cr_expect(ucx_is_variable(line + 4), "%s", line);
            n++;
        }
    }
    if (told != NULL) {
        pclose(told);
    }
    if (n == 0) {
        cr_skip_test("ucx_info is not installed");
    }
    cr_expect_not(ucx_is_variable("TCP"));
    cr_expect_not(ucx_is_variable("TCP_"));
    cr_expect_not(ucx_is_variable(""));
    cr_expect_not(ucx_is_variable("TCP_TLS TM_THRESH"));
}
