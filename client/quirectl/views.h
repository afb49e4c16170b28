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

#endif
