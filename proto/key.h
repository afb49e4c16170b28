/*
 * Keys: SHA-256 chains over tokens, rooted in layout and salt, so that a key names a whole prefix and never depends on
 * the process, the rank or a seed.
 *
 *   root  = SHA-256("quire-root-1\0" ‖ layout digest ‖ u32 salt_bytes ‖ salt)
 *   key_i = SHA-256("quire-key-1\0" ‖ key_{i−1} ‖ u32 n_tokens ‖ u32 token … ‖ u32 extra_bytes ‖ extra)
 *
 * `extra` is what else the KV depends on (adapter name, image digest …); integers little-endian. Thread-safe, no allocation.
 */
#ifndef QUIRE_KEY_H
#define QUIRE_KEY_H

#include "proto/quire_types.h"

quire_key quire_key_root(const uint8_t layout_digest[32], const void *salt, size_t salt_bytes);
quire_key quire_key_child(const quire_key *parent, const uint32_t *tokens, uint32_t n_tokens, const void *extra, size_t extra_bytes);
/* Keys of all full blocks of tokens[0..n_tokens), and of the partial tail if `tail`; returns how many were written (≤ capacity). */
size_t quire_key_chain(const quire_key *root, const uint32_t *tokens, size_t n_tokens, uint32_t block_tokens, bool tail, quire_key *keys,
                       size_t capacity);
/* 64 hexadecimal digits and a NUL. */
void quire_key_format(const quire_key *key, char text[65]);
/* Exactly 64 hexadecimal digits; anything else is INVALID. */
enum quire_status quire_key_parse(const char *text, quire_key *key);

#endif
