/*
 * The digest of a model's weights: SHA-256 over its file, or over all files of a model in parts. Reading gigabytes at each start
 * would cost more than it is worth, so the result is kept in $XDG_CACHE_HOME/quire/weights (else ~/.cache/quire/weights), one small
 * file a model, and believed while every part is the same file (device and inode) of the same size and its times of modification and of change
 * are the same. Weights that changed within the last second are not noted yet. Not being able to keep it is no error.
 */
#ifndef QUIRE_LLAMA_DIGEST_H
#define QUIRE_LLAMA_DIGEST_H

#include "proto/quire_types.h"

/* SYSTEM with why when a file cannot be read. */
enum quire_status digest_weights(const char *model_path, uint8_t digest[32], char *why, size_t why_bytes);

#endif
