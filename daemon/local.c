#include "daemon/local.h"

#include "daemon/core_internal.h"
#include "daemon/local_link.h"
#include "proto/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENER_ACCEPTS_A_TURN 16
#define LISTENER_RESERVE 4 /* places beyond max_sessions for the daemon's user and root to operate from */
#define LISTENER_REST_NS (100 * QUIRE_NS_PER_MS)

struct listener {
    struct core *core;
    struct loop_source source;
    bool listening, bound;
    int lock_fd;
    int spare_fd; /* given up to take a connection when descriptors run out */
    uint64_t resting_until_ns;
    struct sockaddr_un address;
};

/* The last folder of the path is made when it is missing; more would be guessing. */
static void listener_make_folder(const char *path) {
    char folder[CONFIG_PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        mkdir(folder, 0700);
    }
}

static long listener_lock_pid(int fd) {
    char text[32] = "";
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    return got > 0 ? strtol(text, NULL, 10) : 0;
}

static enum quire_status listener_say_held(const char *path, long pid, char *why, size_t why_bytes) {
    char who[48] = "a process that does not say its number";
    if (pid > 0) {
        snprintf(who, sizeof who, "process %ld", pid);
    }
    snprintf(why, why_bytes, "%s is served by %s already: stop that one, or give this one another socket path", path, who);
    return QUIRE_IN_USE;
}

/* The lock lives as long as the process, however it ends; the number inside is for people. */
static enum quire_status listener_lock(struct listener *listener, const char *path, char *why, size_t why_bytes) {
    char lock_path[CONFIG_PATH_MAX + 8], text[32];
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    listener->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (listener->lock_fd < 0) {
        snprintf(why, why_bytes, "%s: %s; the folder must exist and be writable for this user", lock_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    if (flock(listener->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return listener_say_held(path, listener_lock_pid(listener->lock_fd), why, why_bytes);
    }
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(listener->lock_fd, 0) != 0 || pwrite(listener->lock_fd, text, (size_t)length, 0) != length) {
        snprintf(why, why_bytes, "%s: %s", lock_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

/* Somebody may listen there without our lock: ask by connecting, and read who it is from the credentials. */
static enum quire_status listener_probe(const struct sockaddr_un *address, char *why, size_t why_bytes) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        snprintf(why, why_bytes, "no socket: %s", strerror(errno));
        return QUIRE_SYSTEM;
    }
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    enum quire_status status = QUIRE_OK;
    if (rc == 0 || errno == EAGAIN) {
        struct ucred peer = {0};
        socklen_t size = sizeof peer;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
        status = listener_say_held(address->sun_path, peer.pid, why, why_bytes);
    }
    close(fd);
    return status;
}

static enum quire_status listener_clear_stale(const struct sockaddr_un *address, char *why, size_t why_bytes) {
    struct stat there;
    if (lstat(address->sun_path, &there) != 0) {
        return QUIRE_OK;
    }
    if (!S_ISSOCK(there.st_mode)) {
        snprintf(why, why_bytes, "%s exists and is not a socket: move it away or give another socket path", address->sun_path);
        return QUIRE_IN_USE;
    }
    QUIRE_FORWARD(listener_probe(address, why, why_bytes));
    if (unlink(address->sun_path) != 0 && errno != ENOENT) {
        snprintf(why, why_bytes, "%s: the socket of a dead daemon cannot be removed: %s", address->sun_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

/* Until listen() nobody can connect, so the mode is right before the first one does. */
static enum quire_status listener_bind(struct listener *listener, uint32_t mode, char *why, size_t why_bytes) {
    listener->source.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->source.fd < 0 || fchmod(listener->source.fd, 0600) != 0 ||
        bind(listener->source.fd, (const struct sockaddr *)&listener->address, sizeof listener->address) != 0) {
        snprintf(why, why_bytes, "%s: %s", listener->address.sun_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    listener->bound = true;
    if (chmod(listener->address.sun_path, mode) != 0) {
        snprintf(why, why_bytes, "%s: its mode cannot be set: %s", listener->address.sun_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    return QUIRE_OK;
}

static enum quire_status listener_take_path(struct listener *listener, const char *path, uint32_t mode, char *why, size_t why_bytes) {
    if (path[0] == '\0' || strlen(path) >= sizeof listener->address.sun_path) {
        snprintf(why, why_bytes, "the socket path must have 1 to %zu characters: %s", sizeof listener->address.sun_path - 1, path);
        return QUIRE_INVALID;
    }
    listener->address.sun_family = AF_UNIX;
    memcpy(listener->address.sun_path, path, strlen(path) + 1);
    listener_make_folder(path);
    QUIRE_FORWARD(listener_lock(listener, path, why, why_bytes));
    QUIRE_FORWARD(listener_clear_stale(&listener->address, why, why_bytes));
    return listener_bind(listener, mode, why, why_bytes);
}

enum quire_status listener_create(struct core *core, const char *path, uint32_t mode, struct listener **out, char *why, size_t why_bytes) {
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return QUIRE_NO_MEMORY;
    }
    listener->core = core;
    listener->source.fd = listener->lock_fd = -1;
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    enum quire_status status = listener_take_path(listener, path, mode, why, why_bytes);
    if (status != QUIRE_OK) {
        listener_destroy(&listener);
        return status;
    }
    *out = listener;
    return QUIRE_OK;
}

void listener_destroy(struct listener **out) {
    struct listener *listener = *out;
    if (listener == NULL) {
        return;
    }
    if (listener->listening) {
        loop_remove(listener->core->loop, &listener->source);
    }
    if (listener->bound) {
        unlink(listener->address.sun_path);
    }
    const int fds[] = {listener->source.fd, listener->spare_fd, listener->lock_fd}; /* the lock goes last */
    for (uint32_t i = 0; i < QUIRE_ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    free(listener);
    *out = NULL;
}

/* Says ERROR to somebody who gets no session, and hangs up. The frame fits any fresh socket's buffer. */
static void listener_refuse(struct core *core, int fd, enum quire_status status, uint32_t retry_after_ms, const char *text) {
    Quire__Wire__Error error = QUIRE__WIRE__ERROR__INIT;
    uint8_t bytes[QUIRE_FRAME_BYTES + 512];
    error.status = status;
    error.text = (char *)text;
    error.retry_after_ms = retry_after_ms;
    size_t body_bytes = quire__wire__error__get_packed_size(&error);
    if (body_bytes <= sizeof bytes - QUIRE_FRAME_BYTES) {
        quire__wire__error__pack(&error, bytes + QUIRE_FRAME_BYTES);
        struct quire_frame frame = {.type = QUIRE_MSG_ERROR, .body_bytes = (uint32_t)body_bytes};
        quire_frame_encode(&frame, bytes + QUIRE_FRAME_BYTES, bytes);
        ssize_t sent = send(fd, bytes, QUIRE_FRAME_BYTES + body_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        core->counters.frames_out += sent > 0;
    }
    core->counters.sessions_refused++;
    close(fd);
}

static bool listener_is_operator(const struct ucred *peer) { return peer->uid == geteuid() || peer->uid == 0; }

/* False when there is no place, and the caller has been told. *reserve: it is one that is kept for operating; HELLO will show. */
static bool listener_has_place(struct core *core, int fd, const struct ucred *peer, bool *reserve) {
    uint32_t most = core->config.max_sessions, n_sessions = core->n_sessions - core->net.strangers.n;
    char text[256];
    *reserve = n_sessions >= most || core->quarantine.count >= most;
    if (*reserve && (!listener_is_operator(peer) || n_sessions >= most + LISTENER_RESERVE)) {
        log_warn("sessions_full", "pid %d refused: %u session%s open, %u in quarantine", (int)peer->pid, n_sessions, quire_s(n_sessions),
                 core->quarantine.count);
        snprintf(text, sizeof text, "%u sessions are open, which is max_sessions", most);
        listener_refuse(core, fd, QUIRE_RETRY, 1000, text);
        return false;
    }
    if (!quarantine_admits(core, peer->pid)) {
        log_warn("peer_in_quarantine", "pid %d refused: %d of its sessions were kicked", (int)peer->pid, QUARANTINE_PER_PROCESS);
        snprintf(text, sizeof text, "%d sessions of process %d were ended while it held leases: it has to end first",
                 QUARANTINE_PER_PROCESS, (int)peer->pid);
        listener_refuse(core, fd, QUIRE_RETRY, 60000, text);
        return false;
    }
    return true;
}

static enum quire_status listener_session(struct core *core, int fd, struct session **session) {
    struct link *link;
    QUIRE_FORWARD(local_link_create(core, fd, &link));
    enum quire_status status = session_create(core, link, session);
    if (status != QUIRE_OK) {
        link->ops->free(link);
    }
    return status;
}

static void listener_open_session(struct core *core, int fd, const struct ucred *peer, uint32_t domain, bool member, bool reserve) {
    struct session *session;
    int pidfd = member ? quarantine_pidfd(peer->pid, fd) : -1;
    bool starved = member && pidfd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM);
    enum quire_status status = starved ? QUIRE_SYSTEM : listener_session(core, fd, &session);
    if (status != QUIRE_OK) {
        core->counters.accept_failures++;
        listener_refuse(core, fd, QUIRE_RETRY, 1000,
                        status == QUIRE_NO_MEMORY ? "no memory for another session"
                                                  : "quired has no file descriptor left: raise its limit (LimitNOFILE)");
        if (pidfd >= 0) {
            close(pidfd);
        }
        return;
    }
    session->pid = peer->pid;
    session->pidfd = pidfd;
    session->uid = peer->uid;
    session->domain = domain;
    session->member = member;
    session->admin = member && listener_is_operator(peer);
    session->reserve = reserve;
}

static void listener_admit(struct core *core, int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    uint32_t domain;
    bool member, reserve;
    char text[256];
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || core_classify(core, peer.uid, &domain, &member) != QUIRE_OK) {
        log_warn("peer_refused", "pid %d, uid %u belongs to no trust domain", (int)peer.pid, (unsigned)peer.uid);
        snprintf(text, sizeof text,
                 "uid %u is neither member nor guest of a trust domain: add it under `domains:` in quired's configuration",
                 (unsigned)peer.uid);
        listener_refuse(core, fd, QUIRE_DENIED, 0, text);
        return;
    }
    if (listener_has_place(core, fd, &peer, &reserve)) {
        listener_open_session(core, fd, &peer, domain, member, reserve);
    }
}

static void listener_rest(struct listener *listener) {
    listener->resting_until_ns = loop_now_ns() + LISTENER_REST_NS;
    loop_want(listener->core->loop, &listener->source, 0);
}

/* Out of descriptors: with the spare one the caller can at least be told. True when one was served so. */
static bool listener_turn_away(struct listener *listener) {
    if (listener->spare_fd < 0) {
        return false;
    }
    close(listener->spare_fd);
    int fd = accept4(listener->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        listener_refuse(listener->core, fd, QUIRE_RETRY, 1000, "quired has no file descriptor left: raise its limit (LimitNOFILE)");
    }
    listener->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void listener_failed(struct listener *listener, int error) {
    listener->core->counters.accept_failures++;
    log_warn("accept_failed", "a connection could not be taken: %s", strerror(error));
    if ((error != EMFILE && error != ENFILE) || !listener_turn_away(listener)) {
        listener_rest(listener);
    }
}

static void listener_ready(struct loop_source *source, uint32_t events) {
    struct listener *listener = LOOP_CONTAINER(source, struct listener, source);
    (void)events;
    listener->core->now_ns = loop_now_ns();
    for (uint32_t i = 0; i < LISTENER_ACCEPTS_A_TURN; i++) {
        int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            listener_admit(listener->core, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            listener_failed(listener, errno);
            return;
        }
    }
}

enum quire_status listener_start(struct listener *listener, char *why, size_t why_bytes) {
    listener->source.ready = listener_ready;
    listener->source.events = EPOLLIN;
    if (listen(listener->source.fd, SOMAXCONN) != 0 || loop_add(listener->core->loop, &listener->source) != QUIRE_OK) {
        snprintf(why, why_bytes, "%s: cannot listen: %s", listener->address.sun_path, strerror(errno));
        return QUIRE_SYSTEM;
    }
    listener->listening = true;
    return QUIRE_OK;
}

void listener_check(struct listener *listener, uint64_t now_ns) {
    if (listener->resting_until_ns != 0 && now_ns >= listener->resting_until_ns) {
        listener->resting_until_ns = 0;
        loop_want(listener->core->loop, &listener->source, EPOLLIN);
    }
}
