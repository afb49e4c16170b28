/*
 * The steward: one small thread beside the loop that takes the process's signals and keeps the watchdog fed.
 *
 * SIGTERM and SIGINT ask the core to stop; a second one, or a stop that outlasts its bound, ends the process at once. SIGHUP
 * reloads on the loop thread. The service manager gets its sign of life only while the loop's heart beats, so a loop that hangs
 * is noticed and restarted.
 */
#ifndef DAEMON_STEWARD_H
#define DAEMON_STEWARD_H

#include "daemon/core.h"

struct steward;

/* Blocks the signals in this thread and all threads made after it: call first. */
void steward_block_signals(void);
/* Has somebody asked for a stop since then? For a start that takes long: nobody else takes the signals before steward_start. */
bool steward_stop_waits(void);
/* `reload` is what core_set_reload was given. `drain_ms` may change: steward_set_drain. */
enum quire_status steward_start(struct core *core, core_reload *reload, void *ctx, uint32_t drain_ms, struct steward **steward);
void steward_set_drain(struct steward *steward, uint32_t drain_ms);
/* The core is being taken apart: its signals and its heart are of no interest any more, but the stop's bound holds on: a drive may hang. */
void steward_let_go(struct steward *steward);
void steward_stop(struct steward **steward);

#endif
