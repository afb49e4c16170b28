#include "daemon/core_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct quarantine_entry {
    struct quarantine_entry *next;
    struct core *core;
    uint64_t session;
    pid_t pid;
    int pidfd;         /* −1: not known */
    uint64_t until_ns; /* of one that read from afar; 0: until its process is gone */
    char token[QUIRE_MAX_NAME + 1];
    bool watched;
    struct loop_source source;
};

static void quarantine_remove(struct quarantine_entry *entry) {
    struct core *core = entry->core;
    struct quarantine_entry **link = &core->quarantine.entries;
    while (*link != entry) {
        link = &(*link)->next;
    }
    *link = entry->next;
    core->quarantine.count--;
    core->quarantine.n_afar -= entry->until_ns != 0;
    if (entry->watched) {
        loop_remove(core->loop, &entry->source);
    }
    if (entry->pidfd >= 0) {
        close(entry->pidfd);
    }
    free(entry);
}

static void quarantine_gone(struct quarantine_entry *entry) {
    struct core *core = entry->core;
    if (entry->until_ns != 0) {
        log_info("quarantine_ended", "session %llu: nothing reads its leased memory from afar any more",
                 (unsigned long long)entry->session);
    } else {
        log_info("quarantine_ended", "session %llu: process %d is gone, its leased memory is free", (unsigned long long)entry->session,
                 (int)entry->pid);
    }
    pager_session_gone(core->pager, entry->session);
    quarantine_remove(entry);
    events_pump(core);
}

static void quarantine_ready(struct loop_source *source, uint32_t events) {
    (void)events;
    quarantine_gone(LOOP_CONTAINER(source, struct quarantine_entry, source));
}

/* The socket names the process itself; where the kernel cannot tell, its number has to do. */
int quarantine_pidfd(pid_t pid, int socket_fd) {
    int fd = -1;
    socklen_t size = sizeof fd;
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0 && fd >= 0) {
        return fd;
    }
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* True when the entry stays. */
static bool quarantine_watch(struct quarantine_entry *entry) {
    if (entry->pidfd < 0) {
        entry->pidfd = (int)syscall(SYS_pidfd_open, entry->pid, 0);
    }
    if (entry->pidfd < 0) {
        return errno != ESRCH;
    }
    entry->source = (struct loop_source){.fd = entry->pidfd, .events = EPOLLIN, .ready = quarantine_ready};
    entry->watched = loop_add(entry->core->loop, &entry->source) == QUIRE_OK;
    return true;
}

void quarantine_add(struct core *core, uint64_t session, pid_t pid, int pidfd) {
    struct quarantine_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        /* Without an entry nobody would ever free the bytes: they stay for the daemon's life, which is safe. */
        log_error("quarantine_leak", "session %llu: no memory to watch process %d", (unsigned long long)session, (int)pid);
        if (pidfd >= 0) {
            close(pidfd);
        }
        return;
    }
    entry->core = core;
    entry->session = session;
    entry->pid = pid;
    entry->pidfd = pidfd;
    entry->next = core->quarantine.entries;
    core->quarantine.entries = entry;
    core->quarantine.count++;
    if (!quarantine_watch(entry)) {
        quarantine_gone(entry);
    }
}

/* An entry ends with its process, so an equal number means the same one. Processes that this one cannot see all have number 0. */
bool quarantine_admits(const struct core *core, pid_t pid) {
    uint32_t count = 0;
    for (const struct quarantine_entry *entry = core->quarantine.entries; entry != NULL && pid != 0; entry = entry->next) {
        count += entry->pid == pid;
    }
    return count < QUARANTINE_PER_PROCESS;
}

void quarantine_add_afar(struct core *core, uint64_t session, const char *token) {
    struct quarantine_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        log_error("quarantine_leak", "session %llu: no memory to tell when its leased memory is free", (unsigned long long)session);
        return;
    }
    *entry = (struct quarantine_entry){.core = core,
                                       .session = session,
                                       .pidfd = -1,
                                       .until_ns = core->now_ns + core->afar_quarantine_ns,
                                       .next = core->quarantine.entries};
    snprintf(entry->token, sizeof entry->token, "%s", token);
    core->quarantine.entries = entry;
    core->quarantine.count++;
    core->quarantine.n_afar++;
}

struct quarantine_afar quarantine_afar(const struct core *core, const char *token) {
    struct quarantine_afar sum = {0};
    const struct quarantine_entry *entry = core->quarantine.n_afar > 0 ? core->quarantine.entries : NULL;
    for (; entry != NULL; entry = entry->next) {
        struct pager_session_info info;
        if (entry->until_ns != 0 && strcmp(entry->token, token) == 0 &&
            pager_session_info(core->pager, entry->session, &info) == QUIRE_OK) {
            sum.sessions++;
            sum.leased_bytes += info.leased_bytes;
        }
    }
    return sum;
}

void quarantine_check(struct core *core) {
    for (struct quarantine_entry *entry = core->quarantine.entries, *next; entry != NULL; entry = next) {
        next = entry->next;
        bool over = entry->until_ns != 0 ? core->now_ns >= entry->until_ns : !entry->watched && !quarantine_watch(entry);
        if (over) {
            quarantine_gone(entry);
        }
    }
}

void quarantine_teardown(struct core *core) {
    while (core->quarantine.entries != NULL) {
        quarantine_remove(core->quarantine.entries);
    }
}
