/* Signals and the service manager, with a core that the test plays itself. */
#include "daemon/notify.h"
#include "daemon/steward.h"
#include "proto/base/base.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_uint stops, reloads;
static atomic_ullong heart_ms;

void core_stop(struct core *core) {
    (void)core;
    atomic_fetch_add(&stops, 1);
}

enum quire_status core_call(struct core *core, void (*fn)(struct core *core, void *arg), void *arg, uint32_t timeout_ms) {
    cr_assert_gt(timeout_ms, 0);
    fn(core, arg);
    return QUIRE_OK;
}

uint64_t core_heartbeat_age_ms(const struct core *core) {
    (void)core;
    return atomic_load(&heart_ms);
}

static enum quire_status reload(void *ctx, struct core_reloaded *done) {
    cr_assert_eq(ctx, &reloads);
    snprintf(done->text, sizeof done->text, "nothing changed");
    atomic_fetch_add(&reloads, 1);
    return QUIRE_OK;
}

static int manager = -1;
static char folder[] = "/tmp/quire-steward-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void set_up(void) {
    cr_assert_not_null(mkdtemp(folder));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", folder);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(manager, (struct sockaddr *)&address, sizeof address), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    setenv("WATCHDOG_USEC", "200000", 1);
    unsetenv("WATCHDOG_PID");
    notify_setup();
    steward_block_signals();
}

static void tear_down(void) {
    notify_close();
    close(manager);
    unlink(address.sun_path);
    rmdir(folder);
}
TestSuite(daemon_steward, .init = set_up, .fini = tear_down);

/* Reads what the manager was told until a message holds `text`; the bound is one of liveness. */
static bool hears(const char *text) {
    char message[1024];
    struct pollfd ready = {.fd = manager, .events = POLLIN};
    while (poll(&ready, 1, 10000) == 1) {
        ssize_t n = recv(manager, message, sizeof message - 1, 0);
        message[n > 0 ? n : 0] = '\0';
        if (strstr(message, text) != NULL) {
            return true;
        }
    }
    return false;
}

static struct steward *start(void) {
    struct steward *steward = NULL;
    struct core *core = (struct core *)&reloads; /* only handed to the functions above; none would mean that it is being taken apart */
    cr_assert_eq(steward_start(core, reload, &reloads, 1000, &steward), QUIRE_OK);
    return steward;
}

/* The variables are taken away, so that no child believes they are its own. */
Test(daemon_steward, ready) {
    cr_expect_null(getenv("NOTIFY_SOCKET"));
    cr_expect_eq(notify_watchdog_ms(), 200);
    notify_status("starting");
    cr_expect(hears("STATUS=starting"));
    notify_ready("serving at /x");
    cr_expect(hears("READY=1"));
}

/* SIGHUP reloads; the manager hears when it starts and when it is over. */
Test(daemon_steward, hang_up_reloads) {
    struct steward *steward = start();
    kill(getpid(), SIGHUP);
    cr_expect(hears("RELOADING=1"));
    cr_expect(hears("READY=1"));
    cr_expect_eq(atomic_load(&reloads), 1);
    cr_expect_eq(atomic_load(&stops), 0);
    steward_stop(&steward);
    cr_expect_null(steward);
}

/* SIGTERM asks the core to stop, once, and tells the manager. */
Test(daemon_steward, terminate_stops) {
    struct steward *steward = start();
    kill(getpid(), SIGTERM);
    cr_expect(hears("STOPPING=1"));
    steward_stop(&steward);
    cr_expect_eq(atomic_load(&stops), 1);
}

/* A core that does not come to an end: the second signal ends the process at once. */
Test(daemon_steward, a_second_signal_ends_at_once) {
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        start();
        kill(getpid(), SIGINT);
        for (;;) {
            pause();
        }
    }
    int state = 0;
    cr_expect(hears("STOPPING=1"));
    cr_assert_eq(waitpid(child, &state, WNOHANG), 0, "the first signal must not end it");
    kill(child, SIGTERM);
    cr_assert_eq(waitpid(child, &state, 0), child);
    cr_expect(WIFEXITED(state) && WEXITSTATUS(state) == EXIT_FAILURE, "state %x", (unsigned)state);
}

/* The manager hears signs of life while the loop's heart beats, and none when it does not: it will then restart the daemon. */
Test(daemon_steward, the_watchdog_follows_the_heart) {
    struct steward *steward = start();
    cr_expect(hears("WATCHDOG=1"));
    atomic_store(&heart_ms, 60000);
    struct timespec pause_for = {.tv_nsec = 300000000};
    nanosleep(&pause_for, NULL); /* a sign that was under way has arrived */
    char message[256];
    while (recv(manager, message, sizeof message, MSG_DONTWAIT) > 0) {
    }
    nanosleep(&pause_for, NULL);
    nanosleep(&pause_for, NULL);
    cr_expect_eq(recv(manager, message, sizeof message, MSG_DONTWAIT), -1, "a silent loop got a sign of life");
    cr_expect_eq(errno, EAGAIN);
    atomic_store(&heart_ms, 0);
    cr_expect(hears("WATCHDOG=1"));
    steward_stop(&steward);
}
