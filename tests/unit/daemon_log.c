/* The log: one line an event whatever it holds, valid JSON when asked, and bounded repeats. */
#include "daemon/log.h"
#include "daemon/log_limit.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int captured = -1, before = -1;

static void set_up(void) {
    char name[] = "/tmp/quire-log-XXXXXX";
    unsetenv("JOURNAL_STREAM");
    captured = mkstemp(name);
    unlink(name);
    before = dup(STDERR_FILENO);
    dup2(captured, STDERR_FILENO);
}

static void tear_down(void) {
    dup2(before, STDERR_FILENO);
    close(captured);
}
TestSuite(daemon_log, .init = set_up, .fini = tear_down);

/* What was written since set-up. */
static char *written(void) {
    static char text[1 << 20];
    ssize_t n = pread(captured, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static unsigned lines(const char *text) {
    unsigned n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

/* A line has time, level, event and sentence. */
Test(daemon_log, a_line_for_people) {
    log_setup(LOG_LEVEL_INFO, false);
    log_info("session_opened", "session %d of %s", 7, "worker");
    char *text = written();
    cr_expect_not_null(strstr(text, "info  session_opened: session 7 of worker\n"), "%s", text);
    cr_expect_eq(text[4], '-');
    cr_expect_eq(lines(text), 1);
}

/* What an operator did is written at every level, and however often. */
Test(daemon_log, an_audit_is_whole) {
    log_setup(LOG_LEVEL_ERROR, true);
    for (int i = 0; i < 3 * LOG_LIMIT_BURST; i++) {
        log_audit("admin_action", "number %d", i);
    }
    cr_expect_eq(lines(written()), 3 * LOG_LIMIT_BURST);
}

/* What is less important than the level is not written; the level changes while running. */
Test(daemon_log, levels) {
    log_setup(LOG_LEVEL_WARN, false);
    log_info("a", "x");
    log_debug("b", "x");
    cr_expect_eq(lines(written()), 0);
    log_warn("c", "x");
    log_setup(LOG_LEVEL_DEBUG, false);
    log_debug("d", "x");
    cr_expect_eq(lines(written()), 2);
}

/* A client's name with line breaks, colours and broken UTF-8 stays inside its one line. */
Test(daemon_log, hostile_text_stays_in_its_line) {
    log_setup(LOG_LEVEL_INFO, false);
    log_info("e", "%s",
             "a\nb\x1b[31mc\xff\xc3"
             "d\xc2\x85"
             "ä");
    char *text = written();
    cr_expect_eq(lines(text), 1);
    cr_expect_not_null(strstr(text, "a\\nb\\x1b[31mc\\xff\\xc3d\\xc2\\x85ä\n"), "%s", text);
}

/* The same as JSON: every line parses, and comes back as it was. */
Test(daemon_log, json) {
    char long_text[3000];
    memset(long_text, 1, sizeof long_text); /* each byte is escaped: the longest line there can be */
    long_text[sizeof long_text - 1] = '\0';
    log_setup(LOG_LEVEL_INFO, true);
    log_error("bad_frame", "from \"%s\" \\ \n", "x");
    log_error("long", "%s", long_text);
    char *text = written(), *rest = NULL;
    cr_assert_eq(lines(text), 2);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        cJSON *object = cJSON_Parse(line);
        cr_assert_not_null(object, "%s", line);
        cr_expect_str_eq(cJSON_GetObjectItem(object, "level")->valuestring, "error");
        cr_expect_not_null(cJSON_GetObjectItem(object, "time"));
        if (strcmp(cJSON_GetObjectItem(object, "event")->valuestring, "bad_frame") == 0) {
            cr_expect_str_eq(cJSON_GetObjectItem(object, "text")->valuestring, "from \"x\" \\ \n");
        }
        cJSON_Delete(object);
    }
}

/* Under systemd's journal a line starts with its priority, and the journal knows the time. */
Test(daemon_log, journal) {
    setenv("JOURNAL_STREAM", "8:1", 1);
    log_setup(LOG_LEVEL_INFO, false);
    log_warn("full", "no room");
    cr_expect_str_eq(written(), "<4>warn  full: no room\n");
    unsetenv("JOURNAL_STREAM");
}

/* A client that makes one event happen a hundred thousand times does not fill the disk. */
Test(daemon_log, a_flood_is_held_back) {
    log_setup(LOG_LEVEL_INFO, false);
    for (unsigned i = 0; i < 100000; i++) {
        log_warn("frame_bad", "again");
    }
    log_warn("other", "is not held back");
    cr_expect_lt(lines(written()), 1000);
    cr_expect_not_null(strstr(written(), "other: is not held back"));
}

/* A burst passes, then a trickle; the first line after a silence tells how many were held back. */
Test(daemon_log, the_limit_counts) {
    static struct log_limit limit;
    uint64_t held_back, now_ms = 1000;
    for (unsigned i = 0; i < LOG_LIMIT_BURST; i++) {
        cr_expect(log_limit_pass(&limit, "e", now_ms, &held_back));
    }
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_not(log_limit_pass(&limit, "e", now_ms, &held_back));
    }
    cr_expect(log_limit_pass(&limit, "f", now_ms, &held_back), "another event has a limit of its own");
    cr_expect(log_limit_pass(&limit, "e", now_ms + LOG_LIMIT_EVERY_MS, &held_back));
    cr_expect_eq(held_back, 5);
    cr_expect_not(log_limit_pass(&limit, "e", now_ms + LOG_LIMIT_EVERY_MS, &held_back));
}

/* More events than the table holds: the one silent longest makes way, nothing breaks. */
Test(daemon_log, more_events_than_places) {
    static struct log_limit limit;
    uint64_t held_back;
    char event[32];
    for (unsigned i = 0; i < 10 * LOG_LIMIT_EVENTS; i++) {
        snprintf(event, sizeof event, "event_%u", i);
        cr_expect(log_limit_pass(&limit, event, 1000 + i, &held_back));
    }
}
