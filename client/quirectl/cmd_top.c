/* top: the daemon, live. */
#include "client/quirectl/args.h"
#include "client/quirectl/commands.h"
#include "client/quirectl/json.h"
#include "client/quirectl/top_view.h"
#include "proto/base/base.h"

#include <ncurses.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / QUIRE_NS_PER_MS;
}

static void sample_free(struct top_sample *sample) {
    cli_free_reply(&sample->status);
    cli_free_reply(&sample->counters);
    cli_free_reply(&sample->sessions);
    cli_free_reply(&sample->namespaces);
    *sample = (struct top_sample){0};
}

static enum cli_exit sample_take(struct cli *cli, struct top_sample *sample) {
    *sample = (struct top_sample){.at_ms = now_ms()};
    enum cli_exit result = cli_ask(cli, QUIRE_ADMIN_STATUS, &sample->status);
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_COUNTERS, &sample->counters);
    }
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_SESSION_LIST, &sample->sessions);
    }
    if (result == CLI_OK) {
        result = cli_ask(cli, QUIRE_ADMIN_NS_LIST, &sample->namespaces);
    }
    if (result == CLI_OK && sample->status->daemon == NULL) {
        result = cli_fail(cli, QUIRE_CORRUPT, "the daemon's answer tells nothing about it: its version differs?");
    }
    if (result != CLI_OK) {
        sample_free(sample);
    }
    return result;
}

/* ---- once ---------------------------------------------------------------------------------------------------------------------- */
static void print_json(const struct top_sample *before, const struct top_sample *now, FILE *to) {
    cJSON *root = cJSON_CreateObject(), *rates = cJSON_CreateObject();
    cJSON_AddItemToObject(root, "daemon", json_message(&now->status->daemon->base));
    json_add_messages(root, "tiers", (void *const *)now->status->tiers, now->status->n_tiers);
    json_add_messages(root, "namespaces", (void *const *)now->namespaces->namespaces, now->namespaces->n_namespaces);
    json_add_messages(root, "sessions", (void *const *)now->sessions->sessions, now->sessions->n_sessions);
    json_add_u64(root, "interval_ms", now->at_ms - before->at_ms);
    cJSON_AddItemToObject(root, "per_second", rates);
    for (size_t i = 0; i < now->counters->n_counters; i++) {
        const char *name = now->counters->counters[i]->name;
        cJSON_AddNumberToObject(rates, name, top_rate(before, now, name));
    }
    json_print(root, to);
}

static void print_picture(const struct top_picture *picture, FILE *to) {
    for (unsigned i = 0; i < picture->n_lines; i++) {
        fprintf(to, "%s\n", picture->lines[i] + (picture->lines[i][0] == TOP_TITLE));
    }
}

static enum cli_exit once(struct cli *cli, uint64_t interval_ms) {
    struct top_sample before, now;
    struct top_picture picture;
    const struct timespec pause = {.tv_sec = (time_t)(interval_ms / 1000), .tv_nsec = (long)(interval_ms % 1000 * QUIRE_NS_PER_MS)};
    enum cli_exit result = sample_take(cli, &before);
    if (result != CLI_OK) {
        return result;
    }
    nanosleep(&pause, NULL);
    result = sample_take(cli, &now);
    if (result == CLI_OK) {
        if (cli->json) {
            print_json(&before, &now, cli->out);
        } else {
            top_draw(&before, &now, 200, TOP_LINES_MAX, &picture);
            print_picture(&picture, cli->out);
            top_picture_free(&picture);
        }
        sample_free(&now);
    }
    sample_free(&before);
    return result;
}

/* ---- live ---------------------------------------------------------------------------------------------------------------------- */
struct screen {
    struct top_sample before, now;
    bool paused;
    char trouble[256]; /* why there is no fresh sample */
};

static void show_line(int row, const char *line) {
    bool title = line[0] == TOP_TITLE;
    attrset(title ? A_BOLD : A_NORMAL);
    mvaddstr(row, 0, line + title);
    attrset(A_NORMAL);
}

/* The bars in colour: calm, filling, full. */
static void colour_bar(int row, const char *line) {
    const char *open = strchr(line, '['), *close = strchr(line, ']');
    if (!has_colors() || open == NULL || close == NULL) {
        return;
    }
    int full = 0, width = (int)(close - open) - 1;
    while (open[1 + full] == '|') {
        full++;
    }
    mvchgat(row, (int)(open - line) + 1, full, A_BOLD, full * 100 >= width * 97 ? 3 : full * 100 >= width * 80 ? 2 : 1, NULL);
}

static void show(const struct screen *screen) {
    struct top_picture picture = {.n_lines = 0};
    erase();
    if (screen->now.status != NULL) {
        top_draw(screen->before.status != NULL ? &screen->before : NULL, &screen->now, (unsigned)COLS, LINES > 1 ? (unsigned)LINES - 1 : 1,
                 &picture);
    }
    for (unsigned i = 0; i < picture.n_lines; i++) {
        show_line((int)i, picture.lines[i]);
        colour_bar((int)i, picture.lines[i]);
    }
    top_picture_free(&picture);
    attrset(A_REVERSE);
    mvprintw(LINES - 1, 0, " q quit  space %s%s%.160s ", screen->paused ? "go on" : "pause", screen->trouble[0] != '\0' ? "  " : "",
             screen->trouble);
    attrset(A_NORMAL);
    refresh();
}

/* A daemon that goes away is waited for: the library reconnects by itself. */
static void update(struct cli *cli, struct screen *screen) {
    struct top_sample fresh;
    char *text = NULL;
    size_t bytes = 0;
    FILE *real = cli->err, *told = open_memstream(&text, &bytes);
    cli->err = told != NULL ? told : real;
    enum cli_exit result = sample_take(cli, &fresh);
    cli->err = real;
    if (told != NULL) {
        fclose(told);
    }
    screen->trouble[0] = '\0';
    if (result == CLI_OK) {
        sample_free(&screen->before);
        screen->before = screen->now;
        screen->now = fresh;
    } else if (text != NULL) {
        text[strcspn(text, "\n")] = '\0';
        static const char prefix[] = "quirectl: ";
        snprintf(screen->trouble, sizeof screen->trouble, "%s",
                 text + (strncmp(text, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0));
    }
    free(text);
}

static void watch(struct cli *cli, struct screen *screen, uint64_t interval_ms) {
    uint64_t next_ms = now_ms() + interval_ms;
    /* The first rates come soon, not after a whole interval. */
    timeout((int)quire_min_u64(interval_ms, 300));
    for (;;) {
        int key = getch();
        if (key == 'q' || key == 'Q' || key == 27) {
            return;
        }
        if (key == ' ') {
            screen->paused = !screen->paused;
        }
        if (!screen->paused && (now_ms() >= next_ms || screen->before.status == NULL)) {
            update(cli, screen);
            next_ms = now_ms() + interval_ms;
        }
        show(screen);
        uint64_t left_ms = next_ms > now_ms() ? next_ms - now_ms() : 1;
        timeout((int)quire_min_u64(left_ms, 1000));
    }
}

static enum cli_exit live(struct cli *cli, uint64_t interval_ms) {
    struct screen screen = {.paused = false};
    enum cli_exit result = sample_take(cli, &screen.now);
    if (result != CLI_OK) {
        return result;
    }
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (terminal == NULL) {
        sample_free(&screen.now);
        return once(cli, interval_ms); /* a terminal that ncurses does not know */
    }
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
    if (has_colors()) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_GREEN, -1);
        init_pair(2, COLOR_YELLOW, -1);
        init_pair(3, COLOR_RED, -1);
    }
    show(&screen);
    watch(cli, &screen, interval_ms);
    endwin();
    delscreen(terminal);
    sample_free(&screen.before);
    sample_free(&screen.now);
    return CLI_OK;
}

enum cli_exit cmd_top(struct cli *cli, int argc, char **argv) {
    struct args_list words;
    bool only_once = false;
    uint64_t interval_ms = 1000;
    const struct args_option options[] = {{"--once", ARGS_FLAG, &only_once}, {"--interval", ARGS_TIME, &interval_ms}};
    enum cli_exit result = args_parse(cli, argc, argv, options, QUIRE_ARRAY_LEN(options), "word", 0, 0, &words);
    if (result == CLI_OK && (interval_ms < 50 || interval_ms > 3600000)) {
        result = cli_usage(cli, "--interval: 50ms to 1h");
    }
    if (result != CLI_OK) {
        return result;
    }
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    return only_once || cli->json || !terminal ? once(cli, interval_ms) : live(cli, interval_ms);
}
