/* Programs whose output is all that they are for. */
#ifndef QUIRE_OUTPUT_H
#define QUIRE_OUTPUT_H

#include <stdbool.h>

/*
 * To be asked at the end. What was asked for is only there when all of it was written: a full disk or a closed pipe must not look like success. False: it was
 * not, and stderr says so in the program's name.
 */
bool quire_output_written(const char *program);

#endif
