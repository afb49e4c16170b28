#include "daemon/notify.h"

#include "proto/base/base.h"
#include "proto/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int manager = -1;
static struct sockaddr_un manager_address;
static socklen_t manager_address_bytes;
static uint64_t watchdog_ms;

static void read_watchdog(void) {
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t value, whose;
    if (usec == NULL || quire_parse_count(usec, false, &value) != QUIRE_OK) {
        return;
    }
    if (pid != NULL && (quire_parse_count(pid, false, &whose) != QUIRE_OK || whose != (uint64_t)getpid())) {
        return; /* meant for another process */
    }
    watchdog_ms = value / 1000;
}

void notify_setup(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    read_watchdog();
    if (path != NULL && (path[0] == '/' || path[0] == '@') && strlen(path) < sizeof manager_address.sun_path) {
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        manager_address.sun_family = AF_UNIX;
        memcpy(manager_address.sun_path, path, strlen(path));
        manager_address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
        if (path[0] == '@') {
            manager_address.sun_path[0] = '\0'; /* an abstract name */
        }
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(void) {
    if (manager >= 0) {
        close(manager);
        manager = -1;
    }
}

uint64_t notify_watchdog_ms(void) { return watchdog_ms; }

static void tell(const char *text) {
    if (manager >= 0) {
        ssize_t sent = sendto(manager, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&manager_address, manager_address_bytes);
        (void)sent;
    }
}

void notify_ready(const char *status_line) {
    char text[512];
    snprintf(text, sizeof text, "READY=1\nMAINPID=%ld\nSTATUS=%.400s", (long)getpid(), status_line);
    tell(text);
}

void notify_status(const char *status_line) {
    char text[512];
    snprintf(text, sizeof text, "STATUS=%.400s", status_line);
    tell(text);
}

void notify_reloading(void) {
    char text[96];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    tell(text);
}

void notify_stopping(void) { tell("STOPPING=1\nSTATUS=answering what is under way"); }
void notify_alive(void) { tell("WATCHDOG=1"); }
