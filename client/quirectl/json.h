/* JSON for machines. Messages are turned into objects by their own descriptions, so a field that is added is shown. */
#ifndef QUIRECTL_JSON_H
#define QUIRECTL_JSON_H

#include <cjson/cJSON.h>
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>
#include <stdio.h>

/* Bytes become hexadecimal text; 64-bit numbers are written in full. */
cJSON *json_message(const ProtobufCMessage *message);
/* {name: [message, …]} added to `object`. */
void json_add_messages(cJSON *object, const char *name, void *const *messages, size_t n);
/* All digits, which a double would lose. */
void json_add_u64(cJSON *object, const char *name, uint64_t value);
void json_add_hex(cJSON *object, const char *name, const void *bytes, size_t size);
/* Prints one line a value, indented, and deletes it. */
void json_print(cJSON *value, FILE *to);

#endif
