#include "proto/base/lock_holder.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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
