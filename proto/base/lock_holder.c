#include "proto/base/lock_holder.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#define STEP_MS 10
#define STEPS_MAX 500
#define STEPS_UNKNOWN 100

long quire_lock_holder(int fd) {
    char line[256];
    struct stat facts;
    long holder = 0;
    FILE *file = fopen("/proc/locks", "re");
    if (file == NULL || fstat(fd, &facts) != 0) {
        facts.st_ino = 0;
    }
    while (file != NULL && holder == 0 && fgets(line, sizeof line, file) != NULL) {
        long pid;
        unsigned device_major, device_minor;
        unsigned long long inode;
        if (sscanf(line, "%*d: FLOCK %*s %*s %ld %x:%x:%llu", &pid, &device_major, &device_minor, &inode) == 4 && inode == facts.st_ino &&
            device_major == major(facts.st_dev) && device_minor == minor(facts.st_dev) && pid > 0) {
            holder = pid;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return holder;
}

/* Gone, or on its way: nothing of it runs any more. */
static bool is_dead(long pid) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    }
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
        state = '?';
    }
    fclose(file);
    return state == 'Z' || state == 'X';
}

/* Nobody is shown: it has just come free, or a dead one's is not shown in this container, or somebody in another container has it. */
static bool may_come_free(long holder, unsigned steps) {
    return holder == 0 ? steps < STEPS_UNKNOWN : is_dead(holder) && steps < STEPS_MAX;
}

int quire_lock_take(int fd, int operation) {
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    for (unsigned steps = 0; flock(fd, operation | LOCK_NB) != 0; steps++) {
        int error = errno;
        if (error != EINTR && (error != EWOULDBLOCK || !may_come_free(quire_lock_holder(fd), steps))) {
            return error;
        }
        nanosleep(&step, NULL);
    }
    return 0;
}
