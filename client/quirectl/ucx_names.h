/* The variables of UCX, without "UCX_" in front: UCX goes on without one that it does not know, so doctor looks. */
#ifndef QUIRECTL_UCX_NAMES_H
#define QUIRECTL_UCX_NAMES_H

#include <stdbool.h>

bool ucx_is_variable(const char *name);
/* What a mistyped one may have meant; NULL: it resembles none. */
const char *ucx_meant(const char *name);

#endif
