/* The checks of doctor: each looks at one thing and finds it ok, worth a warning, or failed, with what to do. */
#ifndef QUIRECTL_DOCTOR_H
#define QUIRECTL_DOCTOR_H

#include "proto/quire.pb-c.h"

#include <stdint.h>

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor_finding {
    const char *name;
    enum doctor_level level;
    char text[400];   /* what was found */
    char advice[240]; /* what to do; empty when ok */
};

/* What a check may look at. Without a daemon status and counters are NULL. */
struct doctor_view {
    const char *root;          /* "/" but in tests: where /proc and /sys are read */
    const char *connect_error; /* why there is no daemon */
    const Quire__Wire__AdminReply *status, *counters;
    const char *config; /* as quired prints it; NULL: it does not, to this user */
};

typedef void doctor_check(const struct doctor_view *view, struct doctor_finding *finding);

/* The table, in the order in which they are told. */
struct doctor_entry {
    const char *name;
    doctor_check *check;
};
extern const struct doctor_entry doctor_entries[];
extern const unsigned doctor_n_entries;

/* doctor_ucx.c */
doctor_check doctor_check_ucx;

#endif
