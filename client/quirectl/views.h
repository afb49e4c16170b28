/* Tables that more than one command shows. */
#ifndef QUIRECTL_VIEWS_H
#define QUIRECTL_VIEWS_H

#include "proto/quire.pb-c.h"

#include <stdio.h>

void view_tiers(const Quire__Wire__AdminReply *reply, FILE *to);
/* Nothing when there is no disk tier. */
void view_disk(const Quire__Wire__AdminReply *reply, FILE *to);
void view_namespaces(const Quire__Wire__AdminReply *reply, FILE *to);
void view_sessions(const Quire__Wire__AdminReply *reply, FILE *to);
/* Two cells of a row: process and user of a session; of one on another host its address, and what its token is called. */
struct table;
void view_session_origin(struct table *table, const Quire__Wire__SessionInfo *session);

#endif
