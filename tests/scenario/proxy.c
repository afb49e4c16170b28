/*
 * A bad cable, for stories of other hosts: takes connections on a port of its own, joins each to a daemon's, and does to the bytes between them
 * what it is told: one command a line on standard input, one answer a line on standard output ("ok …" or "err text"). "up" is what goes to the
 * daemon, "down" what comes from it. `proxy --help` lists the commands; the first line that it says is "listening HOST:PORT".
 *
 * One thread, bounded buffers: what the receiver does not take the sender keeps, as on a cable.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNS = 256, PIECES = 64, PIECE_BYTES = 16384, SOCKET_BYTES = 64 << 10, MAX_WORDS = 8, NS_PER_MS = 1000000 };
enum { UP, DOWN, DIRECTIONS };

static const char help_text[] =
    "delay MS                     every byte arrives so much later; 0: at once\n"
    "pace up|down BYTES MS        at most so many bytes of each connection every MS milliseconds; 0 0: no limit\n"
    "stall up|down|both           nothing arrives any more; nobody is told\n"
    "go                           it does again; the pace is over, and what was to come after some bytes forgotten\n"
    "finish up|down               half-close: the receiver sees the end, what comes later is thrown away\n"
    "reset                        both ends of every connection are reset (RST)\n"
    "cut                          both ends of every connection are closed\n"
    "after up|down BYTES ACTION   one of these five, when so many more bytes have passed; forgets what was to come before\n"
    "flip up|down OFFSET COUNT [SEED]  spoils so many bytes, from the one that comes OFFSET bytes after those that came already; ok SEED\n"
    "record up|down PATH          keeps what passes from now on; \"-\": no more\n"
    "stat                         ok CONNECTIONS OPEN UP-BYTES DOWN-BYTES FIRED: how often `after` came true\n"
    "quit\n";

struct piece {
    uint64_t due_ns;
    uint32_t at, size;
    uint8_t bytes[PIECE_BYTES];
};

/* One direction of a connection: `from` is read, `to` is written. */
struct lane {
    int from, to;
    struct piece pieces[PIECES];
    uint32_t first, n;
    bool ended;    /* the sender has; told when all has arrived */
    bool finished; /* the receiver has been told */
    uint64_t pace_from_ns, pace_bytes;
};

struct conn {
    struct lane lanes[DIRECTIONS];
};

static struct {
    struct sockaddr_in target;
    int listener;
    struct conn *conns[MAX_CONNS];
    uint32_t n_conns;
    uint64_t taken, fired, now_ns, delay_ns;
    struct {
        bool stalled;
        uint64_t came, passed;          /* bytes of all connections, until now */
        uint64_t pace_bytes, pace_ns;   /* 0: no limit */
        uint64_t flip_from, flip_until; /* as `came` counts */
        FILE *record;
    } way[DIRECTIONS];
    uint64_t random;
    struct {
        bool set;
        int direction;
        uint64_t at; /* as `passed` counts */
        char action[32];
    } after;
} me;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* ---- connections ------------------------------------------------------------------------------------------------------------ */
static void conn_close(uint32_t index, bool reset) {
    struct conn *conn = me.conns[index];
    for (int i = 0; i < DIRECTIONS; i++) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        if (reset) {
            setsockopt(conn->lanes[i].from, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        }
        close(conn->lanes[i].from);
    }
    free(conn);
    me.conns[index] = me.conns[--me.n_conns];
}

/* Small buffers: what a receiver does not take stays with the sender. */
static void prepare(int fd) {
    int one = 1, room = SOCKET_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
}

static void conn_take(void) {
    int client = accept4(me.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int daemon = client < 0 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct conn *conn = daemon < 0 ? NULL : calloc(1, sizeof *conn);
    prepare(daemon);
    if (conn == NULL || me.n_conns == MAX_CONNS || connect(daemon, (struct sockaddr *)&me.target, sizeof me.target) != 0) {
        free(conn);
        if (client >= 0) {
            close(client);
        }
        if (daemon >= 0) {
            close(daemon);
        }
        return;
    }
    fcntl(daemon, F_SETFL, O_NONBLOCK);
    prepare(client);
    conn->lanes[UP].from = conn->lanes[DOWN].to = client;
    conn->lanes[UP].to = conn->lanes[DOWN].from = daemon;
    me.conns[me.n_conns++] = conn;
    me.taken++;
}

/* ---- actions ---------------------------------------------------------------------------------------------------------------- */
static int direction_of(const char *word) { return strcmp(word, "up") == 0 ? UP : strcmp(word, "down") == 0 ? DOWN : -1; }

static void finish(struct lane *lane) {
    shutdown(lane->to, SHUT_WR);
    lane->finished = true;
    lane->n = 0;
}

/* False: it is none of the five. */
static bool act(const char *what, const char *where) {
    int direction = direction_of(where);
    if (strcmp(what, "stall") == 0) {
        me.way[UP].stalled |= direction != DOWN;
        me.way[DOWN].stalled |= direction != UP;
    } else if (strcmp(what, "go") == 0) {
        me.way[UP].stalled = me.way[DOWN].stalled = false;
        me.way[UP].pace_bytes = me.way[DOWN].pace_bytes = 0;
        me.after.set = false;
    } else if (strcmp(what, "finish") == 0 && direction >= 0) {
        for (uint32_t i = 0; i < me.n_conns; i++) {
            finish(&me.conns[i]->lanes[direction]);
        }
    } else if (strcmp(what, "reset") == 0 || strcmp(what, "cut") == 0) {
        while (me.n_conns > 0) {
            conn_close(0, what[0] == 'r');
        }
    } else {
        return false;
    }
    return true;
}

static void fire(void) {
    char action[sizeof me.after.action], *rest = NULL;
    strcpy(action, me.after.action);
    me.after.set = false;
    me.fired++;
    const char *what = strtok_r(action, " ", &rest), *where = strtok_r(NULL, " ", &rest);
    act(what, where != NULL ? where : "");
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------ */
static void spoil(int direction, uint8_t *bytes, uint64_t size) {
    uint64_t from = me.way[direction].flip_from, until = me.way[direction].flip_until, came = me.way[direction].came;
    for (uint64_t i = 0; i < size; i++) {
        if (came + i >= from && came + i < until) {
            me.random = me.random * 6364136223846793005ull + 1442695040888963407ull;
            bytes[i] ^= (uint8_t)(1 + (me.random >> 33) % 255);
        }
    }
}

/* A cable that stalls does not notice who hangs up behind it, either. */
static bool takes(const struct lane *lane, int direction) {
    return !lane->ended && !me.way[direction].stalled && (lane->n < PIECES || lane->finished);
}

/* False: the connection is no more. */
static bool come(struct lane *lane, int direction) {
    struct piece *piece = &lane->pieces[(lane->first + lane->n) % PIECES], thrown;
    piece = lane->finished ? &thrown : piece;
    ssize_t got = recv(lane->from, piece->bytes, PIECE_BYTES, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    lane->ended = got == 0;
    if (got > 0 && !lane->finished) {
        piece->at = 0;
        piece->size = (uint32_t)got;
        piece->due_ns = me.now_ns + me.delay_ns;
        spoil(direction, piece->bytes, piece->size);
        lane->n++;
    }
    me.way[direction].came += (uint64_t)got;
    return true;
}

/* How many bytes may pass now. */
static uint64_t may_pass(struct lane *lane, int direction) {
    const struct piece *piece = &lane->pieces[lane->first];
    if (lane->n == 0 || me.way[direction].stalled || piece->due_ns > me.now_ns) {
        return 0;
    }
    uint64_t most = piece->size - piece->at;
    if (me.way[direction].pace_bytes > 0) {
        if (me.now_ns >= lane->pace_from_ns + me.way[direction].pace_ns) {
            lane->pace_from_ns = me.now_ns;
            lane->pace_bytes = me.way[direction].pace_bytes;
        }
        most = min_u64(most, lane->pace_bytes);
    }
    return me.after.set && me.after.direction == direction ? min_u64(most, me.after.at - me.way[direction].passed) : most;
}

/* False: the connection is no more, or all of them may be others. */
static bool pass(struct lane *lane, int direction) {
    for (uint64_t most; (most = may_pass(lane, direction)) > 0;) {
        struct piece *piece = &lane->pieces[lane->first];
        ssize_t sent = send(lane->to, piece->bytes + piece->at, most, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        if (me.way[direction].record != NULL) {
            fwrite(piece->bytes + piece->at, 1, (size_t)sent, me.way[direction].record);
        }
        piece->at += (uint32_t)sent;
        lane->pace_bytes -= min_u64(lane->pace_bytes, (uint64_t)sent);
        me.way[direction].passed += (uint64_t)sent;
        if (piece->at == piece->size) {
            lane->first = (lane->first + 1) % PIECES;
            lane->n--;
        }
        if (me.after.set && me.after.direction == direction && me.way[direction].passed >= me.after.at) {
            fire();
            return true;
        }
    }
    if (lane->ended && lane->n == 0 && !lane->finished && !me.way[direction].stalled) {
        finish(lane);
    }
    return true;
}

/* When something that waits may pass though nothing happens; UINT64_MAX: never. */
static uint64_t due_ns(const struct lane *lane, int direction) {
    if (lane->n == 0 || me.way[direction].stalled) {
        return UINT64_MAX;
    }
    uint64_t due = lane->pieces[lane->first].due_ns;
    bool paced = me.way[direction].pace_bytes > 0 && lane->pace_bytes == 0;
    uint64_t turn = paced ? lane->pace_from_ns + me.way[direction].pace_ns : 0;
    return due > turn ? due : turn;
}

/* ---- commands --------------------------------------------------------------------------------------------------------------- */
static const char *do_after(char **words, int n) {
    int direction = n >= 4 ? direction_of(words[1]) : -1;
    if (direction < 0) {
        return "after up|down BYTES ACTION";
    }
    me.after.set = true;
    me.after.direction = direction;
    me.after.at = me.way[direction].passed + strtoull(words[2], NULL, 10);
    snprintf(me.after.action, sizeof me.after.action, "%.15s %.15s", words[3], n > 4 ? words[4] : "");
    if (me.after.at == me.way[direction].passed) {
        fire();
    }
    return NULL;
}

static const char *do_way(char **words, int n) {
    int direction = n >= 3 ? direction_of(words[1]) : -1;
    if (direction < 0) {
        return "up or down?";
    }
    if (strcmp(words[0], "pace") == 0 && n >= 4) {
        me.way[direction].pace_bytes = strtoull(words[2], NULL, 10);
        me.way[direction].pace_ns = strtoull(words[3], NULL, 10) * NS_PER_MS;
    } else if (strcmp(words[0], "flip") == 0 && n >= 4) {
        me.random = n > 4 ? strtoull(words[4], NULL, 10) : now_ns();
        printf("ok %" PRIu64 "\n", me.random);
        me.way[direction].flip_from = me.way[direction].came + strtoull(words[2], NULL, 10);
        me.way[direction].flip_until = me.way[direction].flip_from + strtoull(words[3], NULL, 10);
        return "";
    } else if (strcmp(words[0], "record") == 0) {
        if (me.way[direction].record != NULL) {
            fclose(me.way[direction].record);
        }
        me.way[direction].record = strcmp(words[2], "-") != 0 ? fopen(words[2], "wb") : NULL;
    } else {
        return "what?";
    }
    return NULL;
}

/* NULL: ok; "": it has answered by itself. */
static const char *command(char **words, int n) {
    if (strcmp(words[0], "stat") == 0) {
        printf("ok %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", me.taken, me.n_conns, me.way[UP].passed,
               me.way[DOWN].passed, me.fired);
        return "";
    }
    if (strcmp(words[0], "delay") == 0 && n == 2) {
        me.delay_ns = strtoull(words[1], NULL, 10) * NS_PER_MS;
        return NULL;
    }
    if (strcmp(words[0], "after") == 0) {
        return do_after(words, n);
    }
    return act(words[0], n > 1 ? words[1] : "") ? NULL : do_way(words, n);
}

/* False: it is to end. */
static bool commands(void) {
    static char text[4096];
    static size_t have;
    ssize_t got = read(STDIN_FILENO, text + have, sizeof text - 1 - have);
    if (got <= 0) {
        return false;
    }
    have += (size_t)got;
    text[have] = '\0';
    for (char *end; (end = strchr(text, '\n')) != NULL;) {
        char *words[MAX_WORDS], *rest = NULL;
        int n = 0;
        *end = '\0';
        for (char *word = strtok_r(text, " ", &rest); word != NULL && n < MAX_WORDS; word = strtok_r(NULL, " ", &rest)) {
            words[n++] = word;
        }
        if (n > 0 && strcmp(words[0], "quit") == 0) {
            return false;
        }
        const char *wrong = n > 0 ? command(words, n) : "an empty line";
        if (wrong == NULL || wrong[0] != '\0') {
            printf("%s%s\n", wrong == NULL ? "ok" : "err ", wrong == NULL ? "" : wrong);
        }
        fflush(stdout);
        have -= (size_t)(end + 1 - text);
        memmove(text, end + 1, have + 1);
    }
    return have < sizeof text - 1;
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */
/* A descriptor of which nothing is wanted is not looked at. */
static struct pollfd wanted(const struct conn *conn, int direction) {
    const struct lane *in = &conn->lanes[direction], *out = &conn->lanes[1 - direction];
    bool read = takes(in, direction);
    bool write = out->n > 0 && !me.way[1 - direction].stalled && due_ns(out, 1 - direction) <= me.now_ns;
    return (struct pollfd){.fd = read || write ? in->from : -1, .events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0))};
}

static int wait_ms(void) {
    uint64_t due = UINT64_MAX;
    for (uint32_t i = 0; i < me.n_conns; i++) {
        for (int d = 0; d < DIRECTIONS; d++) {
            uint64_t at = due_ns(&me.conns[i]->lanes[d], d);
            due = at > me.now_ns ? min_u64(due, at) : due; /* what is due waits for the receiver */
        }
    }
    return due == UINT64_MAX ? -1 : (int)min_u64(60000, (due - me.now_ns) / NS_PER_MS + 1);
}

static void conn_turn(uint32_t index) {
    struct conn *conn = me.conns[index];
    bool good = true;
    for (int d = 0; d < DIRECTIONS && good; d++) {
        struct lane *lane = &conn->lanes[d];
        good = !takes(lane, d) || come(lane, d);
        good = good && (lane->finished || pass(lane, d));
        if (index >= me.n_conns || me.conns[index] != conn) {
            return; /* an action took it away */
        }
    }
    if (!good) {
        conn_close(index, true);
    } else if (conn->lanes[UP].ended && conn->lanes[DOWN].ended && conn->lanes[UP].finished && conn->lanes[DOWN].finished) {
        conn_close(index, false);
    }
}

static bool turn(void) {
    struct pollfd ready[2 + DIRECTIONS * MAX_CONNS] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = me.listener, .events = POLLIN}};
    me.now_ns = now_ns();
    for (uint32_t i = 0; i < me.n_conns; i++) {
        ready[2 + 2 * i] = wanted(me.conns[i], UP);
        ready[3 + 2 * i] = wanted(me.conns[i], DOWN);
    }
    poll(ready, 2 + DIRECTIONS * me.n_conns, wait_ms());
    me.now_ns = now_ns();
    if (ready[0].revents != 0 && !commands()) {
        return false;
    }
    for (uint32_t i = me.n_conns; i-- > 0;) {
        if (i < me.n_conns) {
            conn_turn(i);
        }
    }
    if (ready[1].revents != 0) {
        conn_take();
    }
    return true;
}

static bool target_of(const char *address) {
    char host[64];
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        return false;
    }
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    me.target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    return inet_pton(AF_INET, host, &me.target.sin_addr) == 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (argc != 2 || strcmp(argv[1], "--help") == 0 || !target_of(argv[1])) {
        printf("proxy HOST:PORT    joins 127.0.0.1, a free port, to it\n%s", help_text);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    me.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (me.listener < 0 || bind(me.listener, (struct sockaddr *)&at, size) != 0 || listen(me.listener, 128) != 0 ||
        getsockname(me.listener, (struct sockaddr *)&at, &size) != 0) {
        perror("proxy");
        return 1;
    }
    printf("listening 127.0.0.1:%u\n", ntohs(at.sin_port));
    fflush(stdout);
    while (turn()) {
    }
    while (me.n_conns > 0) {
        conn_close(0, false);
    }
    return 0;
}
