/*
 * The local socket: where it lies, who may hold it, who may connect.
 *
 * The path is taken with a lock file beside it, so that two daemons can never serve one path; a socket that a dead daemon left is removed,
 * one that somebody still listens on, or a file that is no socket, is not. Peers are known by their credentials. When descriptors run
 * out a connection is taken with a spare one, told so and closed, and the listener rests a moment instead of spinning.
 */
#ifndef DAEMON_LOCAL_H
#define DAEMON_LOCAL_H

#include "daemon/loop.h"

#include <sys/types.h>

struct core;
struct listener;

/* Takes the path (lock, stale socket, bind); nobody can connect yet. `why` says who holds it. */
enum quire_status listener_create(struct core *core, const char *path, uint32_t mode, struct listener **listener, char *why,
                                  size_t why_bytes);
/* Lets clients connect. */
enum quire_status listener_start(struct listener *listener, char *why, size_t why_bytes);
/* Removes the socket and gives the path back. */
void listener_destroy(struct listener **listener);
/* Resumes accepting after a rest. */
void listener_check(struct listener *listener, uint64_t now_ns);

#endif
