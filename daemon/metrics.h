/*
 * What /metrics answers: the daemon's state as Prometheus text, from the same administrative answers that quirectl shows.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/core.h"

#include <stdio.h>

/* On the loop thread. */
void metrics_write(struct core *core, FILE *to);

/* Its parts, for tests. */
void metrics_write_counters(const Quire__Wire__AdminReply *reply, FILE *to);
void metrics_write_daemon(const Quire__Wire__AdminReply *reply, FILE *to);
/* Nothing when there is no disk tier. */
void metrics_write_disk(const Quire__Wire__AdminReply *reply, FILE *to);
void metrics_write_namespaces(const Quire__Wire__AdminReply *reply, FILE *to);
void metrics_write_sessions(const Quire__Wire__AdminReply *reply, FILE *to);
void metrics_write_histogram(const char *name, const char *help, const struct core_histogram *histogram, FILE *to);
/* The heap's own figures; nothing when the heap is not jemalloc. */
void metrics_write_heap(FILE *to);

#endif
