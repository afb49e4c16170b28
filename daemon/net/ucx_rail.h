/*
 * The rail for UCX (proto/ucx/ucx.h): one port, which listens at the rail's addresses; with listen.ucx_loops there are more, each a rail and a thread, to which
 * it hands those who connect. Bulk bytes go straight out of the pool, and are
 * received straight into the session's window.
 *
 * UCX has no security. Beyond this host it is for networks that are trusted, which the operator has to say (listen.trusted_fabric); a token is asked for
 * everywhere. What a client may not do ends its connection, counted and logged with its address, at most some lines a second.
 */
#ifndef DAEMON_NET_UCX_RAIL_H
#define DAEMON_NET_UCX_RAIL_H

#include "daemon/net/rail.h"

/* May these addresses be listened at? DENIED, with what to do: others can reach one, and the fabric is not `trusted`. INVALID. *loopback: only
   this host can reach them. */
enum quire_status ucx_rail_reach(const char *addresses, bool trusted, bool *loopback, char *why, size_t why_bytes);

/* Listens at every "host:port" of the place, and on no other interface than the place's, if that is one; nobody is let in before rail_start. `loopback`: UCX itself, too, listens on no other interface. *rail: a list,
   which is stopped in its order. On failure `why` tells which, and what to do. */
enum quire_status ucx_rail_create(struct core *core, const struct place *place, bool loopback, const struct rail_limits *limits,
                                  void (*taken)(struct loop_wakeup *wakeup), struct rail **rail, char *why, size_t why_bytes);

#endif
