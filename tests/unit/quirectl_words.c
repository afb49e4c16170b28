/* quirectl's command line: commands, options and help, and that every refusal says what was meant. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/keys.h"
#include "proto/base/base.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

static struct cli cli;
static char *out_text, *err_text;
static size_t out_bytes, err_bytes;

static void set_up(void) {
    cli = (struct cli){.deadline_ms = 1000, .out = open_memstream(&out_text, &out_bytes), .err = open_memstream(&err_text, &err_bytes)};
}
static void tear_down(void) {
    fclose(cli.out);
    fclose(cli.err);
    free(out_text);
    free(err_text);
}
TestSuite(quirectl_words, .init = set_up, .fini = tear_down);

static const char *said(void) {
    fflush(cli.err);
    return err_text;
}

#define WORDS(...)                                                                                                                         \
    (char *[]) { __VA_ARGS__, NULL }
static int count(char **words) {
    int n = 0;
    while (words[n] != NULL) {
        n++;
    }
    return n;
}

static void finds(char **words, const char *name, int taken) {
    int n;
    const struct command *command = command_find(&cli, count(words), words, &n);
    cr_assert_not_null(command, "%s: %s", words[0], said());
    cr_expect_str_eq(command->name, name);
    cr_expect_eq(n, taken);
}

static void refuses(char **words, const char *expected) {
    int n;
    cr_expect_null(command_find(&cli, count(words), words, &n));
    cr_expect_not_null(strstr(said(), expected), "'%s' does not say '%s'", said(), expected);
}

/* Commands of one and of two words; the longer name wins. */
Test(quirectl_words, commands_are_found) {
    finds(WORDS((char *)"status"), "status", 1);
    finds(WORDS((char *)"ns", (char *)"list"), "ns list", 2);
    finds(WORDS((char *)"config"), "config", 1);
    finds(WORDS((char *)"config", (char *)"reload"), "config reload", 2);
    refuses(WORDS((char *)"statsu"), "did you mean 'status'?");
    refuses(WORDS((char *)"ns"), "after 'ns' comes one of: list, show, delete");
    refuses(WORDS((char *)"sesion", (char *)"list"), "did you mean 'session list'?");
    refuses(WORDS((char *)"frobnicate"), "`quirectl help` shows all");
}

/* Every command has a summary, and help with an example or a pointer; completion knows each. */
Test(quirectl_words, every_command_is_documented) {
    char *page = NULL, *names = NULL;
    size_t page_bytes, names_bytes;
    FILE *to = open_memstream(&page, &page_bytes);
    command_help_all(to);
    fclose(to);
    to = open_memstream(&names, &names_bytes);
    command_names(to);
    fclose(to);
    for (unsigned i = 0; i < n_commands; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s:", commands[i].name);
        cr_expect_not_null(strstr(names, line), "%s", commands[i].name);
        cr_expect_not_null(strstr(page, commands[i].summary), "%s", commands[i].name);
        cr_expect(strstr(commands[i].help, "Examples:") != NULL || strstr(commands[i].help, "See ") != NULL, "%s", commands[i].name);
    }
    free(page);
    free(names);
}

/* Whoever knows the first word only is told about all that begin with it. */
Test(quirectl_words, help_of_a_group) {
    char **argv = WORDS((char *)"fault"), **one = WORDS((char *)"config"), **none = WORDS((char *)"faults");
    cr_expect_eq(cmd_help(&cli, 1, argv), CLI_OK, "%s", said());
    fflush(cli.out);
    cr_expect(strstr(out_text, "quirectl fault list") != NULL && strstr(out_text, "quirectl fault add RULE") != NULL &&
              strstr(out_text, "quirectl fault clear") != NULL);
    size_t before = strlen(out_text);
    cr_expect_eq(cmd_help(&cli, 1, one), CLI_OK);
    fflush(cli.out);
    cr_expect(strstr(out_text + before, "quirectl config ") != NULL && strstr(out_text + before, "config reload \n") == NULL, "%s",
              out_text);
    before = strlen(out_text);
    cli.json = true;
    cr_expect_eq(cmd_help(&cli, 1, argv), CLI_OK);
    fflush(cli.out);
    cJSON *root = cJSON_Parse(out_text + before);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(root, "commands")), 3);
    cJSON_Delete(root);
    cr_expect_eq(cmd_help(&cli, 1, none), CLI_USAGE);
}

/* The manual page describes every command. */
Test(quirectl_words, the_manual_page_has_every_command) {
    char path[512], *page = calloc(1, 1 << 16);
    snprintf(path, sizeof path, "%s/client/quirectl/quirectl.1", getenv("QUIRE_SOURCE") != NULL ? getenv("QUIRE_SOURCE") : ".");
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    size_t n = fread(page, 1, (1 << 16) - 1, file), kept = 0;
    fclose(file);
    for (size_t i = 0; i < n; i++) { /* "why\-miss" is written so */
        if (page[i] != '\\' && page[i] != '"') {
            page[kept++] = page[i];
        }
    }
    page[kept] = '\0';
    for (unsigned i = 0; i < n_commands; i++) {
        cr_expect_not_null(strstr(page, commands[i].name), "%s is not described", commands[i].name);
    }
    free(page);
}

/* Options in any order, with "=" or a word of their own, and words between them. */
Test(quirectl_words, options) {
    const char *ns = NULL;
    bool yes = false;
    uint64_t bytes = 0, interval_ms = 0;
    struct args_list keys = {.n = 0}, words;
    const struct args_option options[] = {{"--ns", ARGS_TEXT, &ns},
                                          {"--yes", ARGS_FLAG, &yes},
                                          {"--bytes", ARGS_SIZE, &bytes},
                                          {"--interval", ARGS_TIME, &interval_ms},
                                          {"--key", ARGS_LIST, &keys}};
    char **argv = WORDS((char *)"one", (char *)"--ns", (char *)"a", (char *)"--key=k1", (char *)"two", (char *)"--yes", (char *)"--key",
                        (char *)"k2", (char *)"--bytes=1.5GiB", (char *)"--interval=250ms", (char *)"-", (char *)"--", (char *)"--yes");
    cr_assert_eq(args_parse(&cli, count(argv), argv, options, 5, "word", 0, 9, &words), CLI_OK, "%s", said());
    cr_expect_str_eq(ns, "a");
    cr_expect(yes);
    cr_expect_eq(bytes, 1610612736);
    cr_expect_eq(interval_ms, 250);
    cr_expect(keys.n == 2 && strcmp(keys.items[1], "k2") == 0);
    cr_assert_eq(words.n, 4);
    cr_expect_str_eq(words.items[2], "-");
    cr_expect_str_eq(words.items[3], "--yes");
}

static void refuses_words(char **argv, const char *expected) {
    const char *ns = NULL;
    bool yes = false;
    uint64_t bytes = 0;
    struct args_list words;
    const struct args_option options[] = {{"--ns", ARGS_TEXT, &ns}, {"--yes", ARGS_FLAG, &yes}, {"--bytes", ARGS_SIZE, &bytes}};
    cr_expect_eq(args_parse(&cli, count(argv), argv, options, 3, "the NAME", 1, 1, &words), CLI_USAGE);
    cr_expect_not_null(strstr(said(), expected), "'%s' does not say '%s'", said(), expected);
}

/* Each mistake is told in a sentence. */
Test(quirectl_words, wrong_options) {
    refuses_words(WORDS((char *)"x", (char *)"--sn", (char *)"a"), "did you mean '--ns'?");
    refuses_words(WORDS((char *)"x", (char *)"--ns"), "--ns needs a value");
    refuses_words(WORDS((char *)"x", (char *)"--yes=1"), "--yes takes no value");
    refuses_words(WORDS((char *)"x", (char *)"--bytes", (char *)"much"), "is not a size such as");
    refuses_words(WORDS((char *)"x", (char *)"y"), "one the NAME too many");
    refuses_words(WORDS((char *)"--yes"), "the NAME is missing");
}

/* A running daemon repairs nothing in its files: whoever asks it to is told what to do instead, before it is asked for anything. */
Test(quirectl_words, repair_is_for_files) {
    char **argv = WORDS((char *)"--repair");
    cli.socket = "/tmp/there-is-no-quired-here.sock";
    cr_expect_eq(cmd_verify(&cli, count(argv), argv), CLI_USAGE);
    cr_expect_not_null(strstr(said(), "stop quired, then give the paths of all its files"), "%s", said());
    quire_close(&cli.client);
}

static void write_tokens(char *path, const char *text) {
    snprintf(path, 64, "/tmp/quirectl-tokens-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void refuses_tokens(const char *text, const char *expected) {
    char path[64];
    uint32_t *tokens;
    size_t n;
    write_tokens(path, text);
    cr_expect_eq(keys_read_tokens(&cli, path, &tokens, &n), CLI_USAGE, "accepted: %s", text);
    cr_expect_not_null(strstr(said(), expected), "'%s' does not say '%s'", said(), expected);
    cr_expect_null(tokens);
    unlink(path);
}

/* Tokens as a tokenizer prints them: a JSON array, a line each, or all in one. */
Test(quirectl_words, token_files) {
    char path[64];
    uint32_t *tokens;
    size_t n;
    write_tokens(path, "[1, 2,3,\n 4294967295]\n7 8\t9\n");
    cr_assert_eq(keys_read_tokens(&cli, path, &tokens, &n), CLI_OK, "%s", said());
    unlink(path);
    cr_assert_eq(n, 7);
    cr_expect_eq(tokens[3], 4294967295u);
    cr_expect_eq(tokens[6], 9);
    free(tokens);
    refuses_tokens("1 2\n3 x\n", ":2: 'x' is no token");
    refuses_tokens("-1", "'-' is no token");
    refuses_tokens("4294967296", "does not fit 32 bits");
    refuses_tokens("999999999999999999999999999", "does not fit 32 bits");
    refuses_tokens(" [ ] \n", "no tokens");
}

/* Keys are 64 hexadecimal digits. */
Test(quirectl_words, keys) {
    struct args_list words = {.n = 1, .items = {"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"}};
    struct keys keys;
    cr_assert_eq(keys_from_words(&cli, &words, &keys), CLI_OK, "%s", said());
    cr_expect_eq(keys.key[0].b[31], 0xff);
    keys_free(&keys);
    words.items[0] = "0011";
    cr_expect_eq(keys_from_words(&cli, &words, &keys), CLI_USAGE);
    cr_expect_not_null(strstr(said(), "64 hexadecimal digits"));
}

/* Failures are a sentence for people, an object for machines, and an exit code for scripts. */
Test(quirectl_words, failures) {
    cr_expect_eq(cli_fail(&cli, QUIRE_NOT_FOUND, "no \"%s\"", "x"), CLI_NOT_FOUND);
    cr_expect_str_eq(said(), "quirectl: no \"x\"\n");
    cr_expect_eq(cli_fail(&cli, QUIRE_DISCONNECTED, "x"), CLI_NO_DAEMON);
    cr_expect_eq(cli_fail(&cli, QUIRE_DENIED, "x"), CLI_DENIED);
    cr_expect_eq(cli_fail(&cli, QUIRE_TIMEOUT, "x"), CLI_FAILED);
    size_t before = strlen(said());
    cli.json = true;
    cr_expect_eq(cli_fail(&cli, QUIRE_FULL, "no \"%s\"", "room"), CLI_FAILED);
    cJSON *root = cJSON_Parse(said() + before), *error = cJSON_GetObjectItem(root, "error");
    cr_assert_not_null(error);
    cr_expect_str_eq(cJSON_GetObjectItem(error, "status")->valuestring, "FULL");
    cr_expect_str_eq(cJSON_GetObjectItem(error, "text")->valuestring, "no \"room\"");
    cJSON_Delete(root);
}

/* No daemon: exit code 3 and what to do. */
Test(quirectl_words, no_daemon) {
    Quire__Wire__AdminReply *reply;
    cli.socket = "/tmp/there-is-no-quired-here.sock";
    cr_expect_eq(cli_ask(&cli, QUIRE_ADMIN_STATUS, &reply), CLI_NO_DAEMON);
    cr_expect_null(reply);
    cr_expect_not_null(strstr(said(), "there-is-no-quired-here"), "%s", said());
    quire_close(&cli.client);
}
