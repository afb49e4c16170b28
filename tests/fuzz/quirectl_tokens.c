/* Any bytes as a file of tokens: refused in a sentence that names the file, or numbers that read as the same when they are written out. */
#include "client/quirectl/keys.h"

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

/* A file in memory that is opened by its path, as quirectl opens it. */
static const char *file_of(const void *bytes, size_t size) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("tokens", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    require(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    return path;
}

static char *written(const uint32_t *tokens, size_t n, size_t *size) {
    char *text;
    FILE *to = open_memstream(&text, size);
    require(to != NULL);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "%u%s", tokens[i], i % 2 == 0 ? ", " : "\n");
    }
    require(fclose(to) == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint32_t *tokens, *again;
    size_t n, n_again, text_bytes, said_bytes = 0;
    char *said = NULL;
    struct cli cli = {.out = stdout, .err = open_memstream(&said, &said_bytes)};
    const char *path = file_of(data, size);
    require(cli.err != NULL);
    enum cli_exit result = keys_read_tokens(&cli, path, &tokens, &n);
    fclose(cli.err);
    if (result == CLI_OK) {
        require(n > 0 && n <= size);
        char *text = written(tokens, n, &text_bytes);
        require(keys_read_tokens(&cli, file_of(text, text_bytes), &again, &n_again) == CLI_OK);
        require(n == n_again && memcmp(tokens, again, n * sizeof *tokens) == 0);
        free(text);
        free(again);
    } else {
        require(tokens == NULL && strstr(said, path) != NULL);
    }
    free(tokens);
    free(said);
    return 0;
}
