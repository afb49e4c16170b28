/*
 * Any bytes as a configuration file: refused with a reason that names the file, or taken; and what was taken is printed as a file that says
 * the same when it is read again.
 */
#include "daemon/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

/* A file in memory that is opened by its path, as the daemon opens it. */
struct memory_file {
    int fd;
    char path[64];
};

static void write_file(struct memory_file *file, const void *bytes, size_t size) {
    if (file->path[0] == '\0') {
        file->fd = memfd_create("config", MFD_CLOEXEC);
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    }
    require(file->fd >= 0 && ftruncate(file->fd, 0) == 0 && pwrite(file->fd, bytes, size, 0) == (ssize_t)size);
}

static void print(const struct config *config, char **text, size_t *size) {
    FILE *to = open_memstream(text, size);
    require(to != NULL);
    config_print(config, to);
    require(fclose(to) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct memory_file given, printed;
    static struct config first, second;
    char why[512] = "", *text, *again;
    size_t text_bytes, again_bytes;
    write_file(&given, data, size);
    config_default(&first);
    if (config_load(&first, given.path, why, sizeof why) != QUIRE_OK) {
        require(strstr(why, given.path) != NULL && strlen(why) > strlen(given.path));
        return 0;
    }
    print(&first, &text, &text_bytes);
    write_file(&printed, text, text_bytes);
    config_default(&second);
    if (config_load(&second, printed.path, why, sizeof why) != QUIRE_OK) {
        fprintf(stderr, "%s\n%s", why, text);
        abort();
    }
    print(&second, &again, &again_bytes);
    require(text_bytes == again_bytes && memcmp(text, again, text_bytes) == 0);
    free(text);
    free(again);
    return 0;
}
