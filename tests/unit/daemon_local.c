/* The local socket's path: who may take it, what is cleared away, what is not. And the limits at the door. */
#include "daemon_frames.h"

#include <fcntl.h>
#include <sys/resource.h>

static struct frames_daemon daemon_;

static enum quire_status create(char why[512]) {
    struct core *core;
    enum quire_status status = core_create(&daemon_.config, &core, why, 512);
    if (status == QUIRE_OK) {
        core_destroy(&core);
    }
    return status;
}
static void clean(void) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", daemon_.folder);
    cr_assert_eq(system(command), 0);
}
static void mention_pid(const char *why) {
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    cr_assert_not_null(strstr(why, pid), "%s", why);
}

/* A second daemon on a path is told which process serves it; the first goes on, and afterwards the path is free again. */
Test(daemon_local, a_path_is_served_once) {
    struct frames_client client;
    char why[512];
    frames_config(&daemon_);
    frames_start(&daemon_);
    cr_assert_eq(create(why), QUIRE_IN_USE);
    mention_pid(why);
    frames_open(&client, &daemon_);
    quire__wire__hello_ack__free_unpacked(frames_hello(&client), NULL);
    frames_close(&client);
    core_stop(daemon_.core);
    pthread_join(daemon_.thread, NULL);
    core_destroy(&daemon_.core);
    cr_assert_eq(create(why), QUIRE_OK, "%s", why);
    clean();
}

static int foreign_socket(bool listening) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, daemon_.config.socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert(!listening || listen(fd, 1) == 0);
    return fd;
}

/* A program that takes no lock but listens on the path is respected, and named. */
Test(daemon_local, a_foreign_listener_is_respected) {
    char why[512];
    struct stat there;
    frames_config(&daemon_);
    int fd = foreign_socket(true);
    cr_assert_eq(create(why), QUIRE_IN_USE);
    mention_pid(why);
    cr_assert_eq(stat(daemon_.config.socket_path, &there), 0, "its socket was removed");
    close(fd);
    clean();
}

/* The socket of a daemon that died is cleared away. */
Test(daemon_local, a_dead_socket_is_cleared) {
    char why[512];
    frames_config(&daemon_);
    close(foreign_socket(false));
    cr_assert_eq(create(why), QUIRE_OK, "%s", why);
    clean();
}

/* A file that is no socket stays. */
Test(daemon_local, a_file_stays) {
    char why[512];
    struct stat there;
    frames_config(&daemon_);
    close(open(daemon_.config.socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    cr_assert_eq(create(why), QUIRE_IN_USE);
    cr_assert_not_null(strstr(why, "not a socket"), "%s", why);
    cr_assert_eq(stat(daemon_.config.socket_path, &there), 0);
    clean();
}

/* A missing folder is made, for the user alone; a missing tree is not, and the message says where. */
Test(daemon_local, one_folder_is_made) {
    char why[512];
    frames_config(&daemon_);
    snprintf(daemon_.config.socket_path, sizeof daemon_.config.socket_path, "%s/new/s", daemon_.folder);
    cr_assert_eq(create(why), QUIRE_OK, "%s", why);
    snprintf(daemon_.config.socket_path, sizeof daemon_.config.socket_path, "%s/no/such/s", daemon_.folder);
    cr_assert_eq(create(why), QUIRE_SYSTEM);
    cr_assert_not_null(strstr(why, "/no/such/s"), "%s", why);
    clean();
}

/* The socket has the mode that was asked for, whatever the umask. */
Test(daemon_local, the_mode_is_as_configured) {
    struct stat there;
    frames_config(&daemon_);
    daemon_.config.socket_mode = 0666;
    umask(0077);
    frames_start(&daemon_);
    cr_assert_eq(stat(daemon_.config.socket_path, &there), 0);
    cr_assert_eq(there.st_mode & 07777, 0666);
    frames_stop(&daemon_);
}

static bool hello_as(struct frames_client *client, const char *name) {
    struct frames_answer answer;
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)name;
    frames_send(client, QUIRE_MSG_HELLO, &hello.base);
    bool welcome = frames_recv(client, &answer) && answer.frame.type == QUIRE_MSG_HELLO_ACK;
    frames_answer_free(&answer);
    return welcome;
}

/* More sessions than max_sessions: the next is told to come back later; when one leaves there is room again. Four more places are for the
   operator's quirectl, and idling there ends. */
static void shorten_stall(struct core *core, void *arg) {
    (void)arg;
    core->stall_ns = 50 * QUIRE_NS_PER_MS;
}
Test(daemon_local, sessions_are_bounded) {
    struct frames_client clients[3], operators[4], more;
    frames_config(&daemon_);
    daemon_.config.max_sessions = 3;
    frames_start(&daemon_);
    for (int i = 0; i < 3; i++) {
        frames_open(&clients[i], &daemon_);
        quire__wire__hello_ack__free_unpacked(frames_hello(&clients[i]), NULL);
    }
    frames_open(&more, &daemon_);
    Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
    hello.major = QUIRE_PROTO_MAJOR;
    hello.client = (char *)"worker";
    frames_send(&more, QUIRE_MSG_HELLO, &hello.base);
    free(frames_expect_error(&more, QUIRE_RETRY));
    frames_expect_end(&more);
    frames_close(&more);
    for (int i = 0; i < 4; i++) {
        frames_open(&operators[i], &daemon_);
        cr_assert(hello_as(&operators[i], "quirectl"));
    }
    frames_open(&more, &daemon_);
    free(frames_expect_error(&more, QUIRE_RETRY));
    frames_expect_end(&more);
    frames_close(&more);
    cr_assert_eq(core_call(daemon_.core, shorten_stall, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    for (int i = 0; i < 4; i++) {
        free(frames_expect_error(&operators[i], QUIRE_TIMEOUT));
        frames_close(&operators[i]);
    }
    cr_assert(frames_until(&daemon_, frames_n_sessions, 3));
    frames_close(&clients[0]);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 2));
    frames_open(&more, &daemon_);
    quire__wire__hello_ack__free_unpacked(frames_hello(&more), NULL);
    frames_close(&more);
    frames_close(&clients[1]);
    frames_close(&clients[2]);
    frames_stop(&daemon_);
}

/* The child's side: a core with descriptors for four sessions (a socket and a pidfd each), until the parent closes its end of `go_on`. Its exit status tells. */
struct starved {
    int ready[2], go_on[2];
};
static void *starved_stop(void *arg) {
    const struct starved *starved = arg;
    char byte;
    ssize_t got = read(starved->go_on[0], &byte, 1);
    (void)got;
    core_stop(daemon_.core);
    return NULL;
}
static int starved_core(struct starved *starved) {
    pthread_t stopper;
    char why[512];
    close(starved->go_on[1]);
    if (core_create(&daemon_.config, &daemon_.core, why, sizeof why) != QUIRE_OK) {
        return 2;
    }
    rlim_t lowest = (rlim_t)dup(0); /* every descriptor below is in use */
    struct rlimit limit = {.rlim_cur = lowest + 9, .rlim_max = lowest + 9};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || pthread_create(&stopper, NULL, starved_stop, starved) != 0 ||
        write(starved->ready[1], "x", 1) != 1) {
        return 3;
    }
    enum quire_status status = core_run(daemon_.core);
    pthread_join(stopper, NULL);
    uint64_t failures = core_counters(daemon_.core)->accept_failures;
    core_destroy(&daemon_.core);
    return status != QUIRE_OK ? 4 : failures == 0 ? 5 : 0;
}

/* No descriptor left: who connects is told so and counted, those inside go on, and when one leaves the door opens again. The core runs in a
   child, whose limit can be lowered without hurting the clients. */
Test(daemon_local, running_out_of_descriptors) {
    struct frames_client clients[12];
    struct starved starved;
    int refused = 0, status;
    char byte;
    frames_config(&daemon_);
    cr_assert_eq(pipe(starved.ready) | pipe(starved.go_on), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(starved_core(&starved));
    }
    close(starved.go_on[0]);
    cr_assert_eq(read(starved.ready[0], &byte, 1), 1);
    for (int i = 0; i < 12; i++) {
        frames_open(&clients[i], &daemon_);
    }
    for (int i = 11; i >= 4; i--) { /* four have got in */
        free(frames_expect_error(&clients[i], QUIRE_RETRY));
        frames_expect_end(&clients[i]);
        refused++;
    }
    cr_assert_eq(refused, 8);
    quire__wire__hello_ack__free_unpacked(frames_hello(&clients[0]), NULL);
    frames_close(&clients[1]);
    frames_close(&clients[11]);
    frames_open(&clients[11], &daemon_);
    frames_close(&clients[2]); /* what comes before this one's end may still be refused */
    for (struct frames_answer answer = {0}; answer.frame.type != QUIRE_MSG_HELLO_ACK;) {
        Quire__Wire__Hello hello = QUIRE__WIRE__HELLO__INIT;
        hello.major = QUIRE_PROTO_MAJOR;
        frames_close(&clients[11]);
        frames_open(&clients[11], &daemon_);
        frames_send(&clients[11], QUIRE_MSG_HELLO, &hello.base);
        cr_assert(frames_recv(&clients[11], &answer));
        frames_answer_free(&answer);
    }
    close(starved.go_on[1]);
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the core's status is %d", WEXITSTATUS(status));
    for (int i = 0; i < 12; i++) {
        frames_close(&clients[i]);
    }
    clean();
}
