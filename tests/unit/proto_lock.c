/* Locks of files: who has one is told, and one that a dead process has not given back yet is waited for. */
#include "proto/base/lock_holder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char path[128];

static void set_up(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.80s/quire-lock-XXXXXX", folder != NULL ? folder : "/tmp");
    close(mkstemp(path));
}
static void tear_down(void) { unlink(path); }
TestSuite(proto_lock, .init = set_up, .fini = tear_down);

static int file(void) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0);
    return fd;
}

/* Somebody who lives has it: refused at once, and named. Shared ones go together. */
Test(proto_lock, who_lives_is_named) {
    int mine = file(), other = file();
    cr_assert_eq(quire_lock_take(mine, LOCK_EX), 0);
    cr_expect_eq(quire_lock_holder(other), (long)getpid());
    cr_expect_eq(quire_lock_take(other, LOCK_EX), EWOULDBLOCK);
    cr_expect_eq(quire_lock_take(other, LOCK_SH), EWOULDBLOCK);
    cr_assert_eq(quire_lock_take(mine, LOCK_SH), 0);
    cr_expect_eq(quire_lock_take(other, LOCK_SH), 0);
    close(mine);
    close(other);
    other = file();
    cr_expect_eq(quire_lock_holder(other), 0);
    close(other);
}

/* A process is dead, and its file is still open somewhere for a moment, as the kernel has it that ends the I/O of a killed daemon: here in its parent. */
Test(proto_lock, who_died_is_waited_for) {
    int said[2];
    char byte;
    cr_assert_eq(pipe(said), 0);
    pid_t keeper = fork();
    if (keeper == 0) {
        int fd = open(path, O_RDWR);
        pid_t locker = fork();
        if (locker == 0) {
            _exit(flock(fd, LOCK_EX) != 0);
        }
        waitpid(locker, NULL, 0);
        if (write(said[1], "x", 1) == 1) {
            nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
        }
        _exit(0);
    }
    cr_assert_eq(read(said[0], &byte, 1), 1);
    int fd = file();
    cr_expect(quire_lock_holder(fd) > 0 && quire_lock_holder(fd) != (long)keeper);
    cr_expect_eq(quire_lock_take(fd, LOCK_EX), 0);
    waitpid(keeper, NULL, 0);
    close(fd);
    close(said[0]);
    close(said[1]);
}
