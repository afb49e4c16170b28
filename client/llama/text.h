/* Small helpers for text from outside: whole files, and bytes that must become valid UTF-8. Thread-safe. */
#ifndef QUIRE_LLAMA_TEXT_H
#define QUIRE_LLAMA_TEXT_H

#include "proto/quire_types.h"

#define TEXT_FILE_MAX_BYTES (256u << 20)

/* A copy in which every byte that is not part of valid UTF-8, and every NUL, is U+FFFD; free it. NULL when out of memory. */
char *text_clean(const char *bytes, size_t size);
/* How many bytes of bytes[0..size) are whole characters, so that a stream never ends within one. Invalid bytes count as whole. */
size_t text_whole(const char *bytes, size_t size);
/* The whole file ("-": standard input), terminated; free it. TOO_LARGE past TEXT_FILE_MAX_BYTES, SYSTEM with why. */
enum quire_status text_read_file(const char *path, char **text, size_t *size, char *why, size_t why_bytes);

#endif
