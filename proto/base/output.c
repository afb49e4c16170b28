#include "proto/base/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool quire_output_written(const char *program) {
    errno = 0;
    const bool good = fflush(stdout) == 0 && ferror(stdout) == 0;
    if (!good) {
        fprintf(stderr, "%s: the output could not be written: %s\n", program,
                errno != 0 ? strerror(errno) : "an earlier part of it was lost");
    }
    return good;
}
