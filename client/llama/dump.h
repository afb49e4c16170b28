/*
 * A prompt's KV as lanes in a file, for tests that compare what two workers hold bit by bit: for each full block and group a head of
 * seven u32 (block, group, tokens, layers, heads, bytes of a K lane, bytes of a V lane) and the lanes in a record's order. Of groups
 * with a window only the blocks that a reader behind the last full block needs.
 */
#ifndef QUIRE_LLAMA_DUMP_H
#define QUIRE_LLAMA_DUMP_H

#include "client/llama/engine.h"

/* UNSUPPORTED when the engine's blocks are opaque, SYSTEM when the file cannot be written. */
enum quire_status dump_lanes(struct engine *engine, uint32_t n_tokens, const char *path, char *why, size_t why_bytes);

#endif
