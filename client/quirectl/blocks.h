/* What the daemon knows of single blocks: for block show and why-miss. */
#ifndef QUIRECTL_BLOCKS_H
#define QUIRECTL_BLOCKS_H

#include "client/quirectl/cli.h"

#include <cjson/cJSON.h>

/* One BlockInfo a key, in order; at most 256 keys. */
enum cli_exit blocks_ask(struct cli *cli, const char *ns, const quire_key *keys, unsigned n_keys, Quire__Wire__AdminReply **reply);
cJSON *block_json(const Quire__Wire__BlockInfo *block);

#endif
