/* Several addresses of one daemon: the nearest is taken, the next when it leads nowhere, and the nearest again later. */
#include "tests/unit/client_quired.h"

#include "client/internal.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- a host of two nodes, with a card at each ---------------------------------------------------------------------------------- */
static char sys[64];

static void card(const char *interface, const char *node) {
    char path[256];
    size_t used = (size_t)snprintf(path, sizeof path, "%s/class", sys);
    const char *const folders[] = {"/net/", interface, "/device"};
    mkdir(path, 0700);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(folders); i++) {
        used += (size_t)snprintf(path + used, sizeof path - used, "%s", folders[i]);
        mkdir(path, 0700);
    }
    snprintf(path + used, sizeof path - used, "/numa_node");
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fputs(node, file) >= 0 && fclose(file) == 0);
}

static void host_made(void) {
    snprintf(sys, sizeof sys, "/tmp/quire-sys-XXXXXX");
    cr_assert_not_null(mkdtemp(sys));
    card("eth0", "0\n");
    card("eth1", "1\n");
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}
static void host_gone(void) { nftw(sys, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

#define INTERFACES 8
static struct {
    struct ifaddrs entries[INTERFACES + 1];
    struct sockaddr_in6 addresses[INTERFACES], masks[INTERFACES];
} list;

static void fill(struct sockaddr_in6 *to, const char *text) {
    struct sockaddr_in *v4 = (void *)to;
    to->sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, text, &to->sin6_addr) != 1) {
        v4->sin_family = AF_INET;
        cr_assert_eq(inet_pton(AF_INET, text, &v4->sin_addr), 1, "%s", text);
    }
}

static const struct ifaddrs *interfaces(void) {
    static const struct {
        const char *name, *address, *mask;
        unsigned flags;
    } known[INTERFACES] = {{"lo", "127.0.0.1", "255.0.0.0", IFF_UP | IFF_LOOPBACK},
                           {"eth0", "10.0.0.9", "255.255.255.0", IFF_UP},
                           {"eth1", "10.1.0.9", "255.255.255.0", IFF_UP},
                           {"eth0", "10.1.0.8", "255.255.255.0", IFF_UP}, /* both cards are on one network */
                           {"virt0", "10.2.0.9", "255.255.0.0", IFF_UP},
                           {"eth1", "fd00::9", "ffff:ffff:ffff:ffff::", IFF_UP},
                           {"down0", "10.3.0.9", "255.255.255.0", 0},
                           {"tun0", "10.4.0.9", "0.0.0.0", IFF_UP}};
    memset(&list, 0, sizeof list);
    for (size_t i = 0; i < INTERFACES; i++) {
        fill(&list.addresses[i], known[i].address);
        fill(&list.masks[i], known[i].mask);
        list.entries[i] = (struct ifaddrs){.ifa_next = &list.entries[i + 1],
                                           .ifa_name = (char *)known[i].name,
                                           .ifa_flags = known[i].flags,
                                           .ifa_addr = (void *)&list.addresses[i],
                                           .ifa_netmask = (void *)&list.masks[i]};
    }
    list.entries[INTERFACES].ifa_name = (char *)"noaddr0";
    return list.entries;
}

static const struct transport_ops wire = {.scheme = "wire", .wire = true};

static enum route_distance distance(const char *full, int node) {
    struct route route = {.ops = &wire};
    const struct routes_host host = {.interfaces = interfaces(), .sys = sys, .node = node};
    snprintf(route.full, sizeof route.full, "%s", full);
    return route_distance(&route, &host);
}

/* A thread at node 1 is near what eth1's cable leads to, and far from what a router leads to; a name may stand for several numbers. */
Test(client_routes, distances, .init = host_made, .fini = host_gone) {
    cr_expect_eq(distance("h 7070 10.1.0.1", 1), ROUTE_NEAR);
    cr_expect_eq(distance("h 7070 fd00::77", 1), ROUTE_NEAR);
    cr_expect_eq(distance("h 7070 10.0.0.1", 1), ROUTE_OTHER_NODE);
    cr_expect_eq(distance("h 7070 10.1.0.1", 0), ROUTE_NEAR, "by the other card on its network");
    cr_expect_eq(distance("h 7070 10.0.0.1", 0), ROUTE_NEAR);
    cr_expect_eq(distance("h 7070 10.2.77.1", 1), ROUTE_NODE_UNKNOWN);
    cr_expect_eq(distance("h 7070 10.2.77.1", -1), ROUTE_NEAR, "a host of one node");
    cr_expect_eq(distance("h 7070 127.0.0.1", 1), ROUTE_NEAR);
    cr_expect_eq(distance("h 7070 10.0.1.1", 0), ROUTE_FAR, "behind a router");
    cr_expect_eq(distance("h 7070 fd00:0:0:1::1", 1), ROUTE_FAR);
    cr_expect_eq(distance("h 7070 10.3.0.1", 0), ROUTE_FAR, "its interface is down");
    cr_expect_eq(distance("h 7070 10.4.0.1", 0), ROUTE_FAR, "a mask that says nothing");
    cr_expect_eq(distance("h 7070 192.0.2.1 10.0.0.1 10.1.0.1", 1), ROUTE_NEAR, "the nearest of its numbers");
    cr_expect_eq(distance("h 7070", 1), ROUTE_FAR);
    cr_expect_eq(distance("h 7070 nonsense", 1), ROUTE_FAR);
}

/* ---- which is tried ------------------------------------------------------------------------------------------------------------- */
static quire_client *made_client(const char *const *fulls, uint32_t n) {
    quire_client *made = calloc(1, sizeof *made);
    cr_assert_not_null(made);
    for (uint32_t i = 0; i < n; i++) {
        made->routes[i].ops = fulls[i][0] == '/' ? &transport_unix : &wire;
        snprintf(made->routes[i].full, sizeof made->routes[i].full, "%s", fulls[i]);
    }
    made->n_routes = n;
    return made;
}

/*
 * Near before far, the local socket before all, and what is alike in the order given. What failed is passed over for half a minute, so that not every
 * attempt waits for a cable that is cut; then it is the nearest again.
 */
Test(client_routes, the_nearest_that_works, .init = host_made, .fini = host_gone) {
    static const char *const fulls[] = {"a 1 192.0.2.1", "b 1 10.0.0.1", "c 1 10.1.0.1", "d 1 10.1.0.2", "/run/quired.sock"};
    const struct routes_host host = {.interfaces = interfaces(), .sys = sys, .node = 1};
    quire_client *made = made_client(fulls, QUIRE_ARRAY_LEN(fulls));
    uint64_t now_ns = 5 * QUIRE_NS_PER_S;
    static const uint32_t order[] = {4, 2, 3, 1, 0};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(order); i++) {
        struct route *route = routes_choose(made, &host, now_ns);
        cr_assert_eq(route, &made->routes[order[i]], "attempt %zu took %s", i, route->full);
        cr_assert_eq(routes_failed(made, route, now_ns), i + 1 < QUIRE_ARRAY_LEN(order));
    }
    cr_assert_null(routes_choose(made, &host, now_ns));
    routes_begin(made);
    for (size_t i = 0; i < 3; i++) {
        routes_worked(&made->routes[order[i + 1]]);
    }
    cr_assert_eq(routes_choose(made, &host, now_ns + QUIRE_NS_PER_S), &made->routes[2], "the local socket failed a moment ago");
    cr_assert_eq(routes_choose(made, &host, now_ns + 31 * QUIRE_NS_PER_S), &made->routes[4], "and may work again");
    free(made);
}

/* ---- the list ------------------------------------------------------------------------------------------------------------------- */
/* Commas belong to paths, unless another address follows. */
Test(client_routes, paths_with_commas) {
    quire_client *made = calloc(1, sizeof *made);
    cr_assert_eq(routes_set(made, "unix:///run/a,b/quired.sock,unix:///run/c.sock"), QUIRE_OK, "%s", quire_last_error());
    cr_assert_eq(made->n_routes, 2);
    cr_assert_str_eq(made->routes[0].full, "/run/a,b/quired.sock");
    cr_assert_str_eq(made->routes[1].full, "/run/c.sock");
    cr_assert_not(routes_wire(made));
    memset(made, 0, sizeof *made);
    cr_assert_eq(routes_set(made, "/run/a,b.sock"), QUIRE_OK);
    cr_assert_eq(made->n_routes, 1);
    memset(made, 0, sizeof *made);
    cr_assert_eq(routes_set(made, "/run/a.sock,nonsense://x"), QUIRE_INVALID);
    cr_assert_not_null(strstr(quire_last_error(), "nonsense"));
    char many[1024] = "/a";
    for (unsigned i = 0; i < ROUTES_MAX; i++) {
        strcat(many, ",unix:///a");
    }
    memset(made, 0, sizeof *made);
    cr_assert_eq(routes_set(made, many), QUIRE_INVALID);
    char lengthy[2 * ROUTE_TEXT_BYTES];
    memset(lengthy, 'x', sizeof lengthy);
    lengthy[0] = '/', lengthy[sizeof lengthy - 1] = '\0';
    memset(made, 0, sizeof *made);
    cr_assert_eq(routes_set(made, lengthy), QUIRE_TOO_LARGE);
    free(made);
}

/* ---- with a daemon -------------------------------------------------------------------------------------------------------------- */
static quire_client *open_list(const char *format, const char *first) {
    char address[512];
    quire_client *opened = NULL;
    snprintf(address, sizeof address, format, first, quired.path);
    const quire_options options = {.address = address, .connect_timeout_ms = 20000};
    cr_assert_eq(quire_open(&options, &opened), QUIRE_OK, "%s", quire_last_error());
    return opened;
}

static bool connected(quire_client *opened) {
    quire_info info;
    cr_assert_eq(quire_get_info(opened, &info), QUIRE_OK);
    return info.connected;
}

/* Nobody is at the first address: the second is taken within the same call, and again after the daemon was away. */
Test(client_routes, the_first_is_dead, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    quire_key keys[1];
    quire_lookup_result found;
    quire_client *opened = open_list("unix://%s,unix://%s", "/nowhere/quired.sock");
    cr_assert(connected(opened));
    cr_assert_eq(opened->conn.route, &opened->routes[1]);
    quire_ns *ours = NULL;
    cr_assert_eq(quire_ns_open(opened, "toy", quire_ns_layout(ns), &ours), QUIRE_OK, "%s", quire_last_error());
    toy_keys(ours, 1, keys, 1);
    quired_kill(&quired);
    while (opened->routes[1].failures == 0) { /* all were tried in vain */
        cr_assert_eq(toy_lookup(ours, keys, 1, &found), QUIRE_DISCONNECTED);
        quired_sleep_ms(1);
    }
    cr_assert(quired_start(&quired));
    enum quire_status status = QUIRE_DISCONNECTED;
    for (int i = 0; i < 1000 && status != QUIRE_OK; i++) {
        status = toy_lookup(ours, keys, 1, &found);
        quired_sleep_ms(10);
    }
    cr_assert_eq(status, QUIRE_OK, "%s", quire_last_error());
    quire_ns_close(&ours);
    quire_close(&opened);
}

/* Somebody listens at the first address and never answers: its share of the time passes, then the second is taken. */
Test(client_routes, the_first_is_deaf, .init = worker_start, .fini = worker_stop, .timeout = 100) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "/tmp/quire-deaf-%d", (int)getpid());
    int deaf = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(deaf >= 0 && bind(deaf, (struct sockaddr *)&at, sizeof at) == 0 && listen(deaf, 4) == 0);
    char address[512];
    quire_client *opened = NULL;
    snprintf(address, sizeof address, "unix://%s,unix://%s", at.sun_path, quired.path);
    const quire_options options = {.address = address, .connect_timeout_ms = 1000};
    cr_assert_eq(quire_open(&options, &opened), QUIRE_OK, "%s", quire_last_error());
    cr_assert(connected(opened));
    cr_assert_eq(opened->conn.route, &opened->routes[1]);
    quire_close(&opened);
    close(deaf);
    unlink(at.sun_path);
}

/* Nobody anywhere: the call ends with a status. */
Test(client_routes, all_are_dead, .timeout = 60) {
    quire_client *opened = NULL;
    const quire_options options = {.address = "unix:///nowhere/a.sock,unix:///nowhere/b.sock", .connect_timeout_ms = 20000};
    cr_assert_eq(quire_open(&options, &opened), QUIRE_DISCONNECTED);
    cr_assert_null(opened);
    cr_assert_not_null(strstr(quire_last_error(), "/nowhere/b.sock"), "%s", quire_last_error());
}
