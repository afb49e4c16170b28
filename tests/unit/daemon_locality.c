/* Where rails run: machines made up as folders like /sys and lists of interfaces, from which addresses get their threads and processors. */
#include "daemon/net/places.h"

#include "proto/base/base.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a machine ------------------------------------------------------------------------------------------------------------------ */
static char sys[64];
static char why[512];

__attribute__((format(printf, 2, 3))) static void put(const char *text, const char *format, ...) {
    char path[256];
    va_list args;
    size_t used = (size_t)snprintf(path, sizeof path, "%s/", sys);
    va_start(args, format);
    vsnprintf(path + used, sizeof path - used, format, args);
    va_end(args);
    for (char *slash = strchr(path + strlen(sys) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void node(int number, const char *processors) { put(processors, "devices/system/node/node%d/cpulist", number); }
static void card(const char *interface, const char *number) { put(number, "class/net/%s/device/numa_node", interface); }
static void on_top(const char *interface, const char *lower) { put("", "class/net/%s/lower_%s/x", interface, lower); }

/* Two nodes with a card each. */
static void two_nodes(void) {
    snprintf(sys, sizeof sys, "/tmp/quire-sys-XXXXXX");
    cr_assert_not_null(mkdtemp(sys));
    put("0-1\n", "devices/system/node/online"); /* no node */
    node(0, "0-1,4-5\n");
    node(1, "2-3,6-7\n");
    node(2, "\n"); /* memory alone */
    card("eth0", "0\n");
    card("eth1", "1\n");
    card("odd0", "-1\n");
}

static int remove_one(const char *path, const struct stat *facts, int type, struct FTW *at) {
    (void)facts, (void)type, (void)at;
    return remove(path);
}
static void gone(void) { nftw(sys, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

#define INTERFACES_MAX 8
static struct {
    struct ifaddrs entries[INTERFACES_MAX];
    struct sockaddr_in6 addresses[INTERFACES_MAX];
} list;

static const struct ifaddrs *interfaces(void) {
    static const char *const known[][2] = {{"lo", "127.0.0.1"},  {"eth0", "10.0.0.1"}, {"eth0:1", "10.0.9.1"},
                                           {"eth1", "10.1.0.1"}, {"odd0", "10.2.0.1"}, {"eth1", "fd00::1"}};
    memset(&list, 0, sizeof list);
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(known); i++) {
        struct sockaddr_in *v4 = (void *)&list.addresses[i];
        list.entries[i] = (struct ifaddrs){.ifa_next = &list.entries[i + 1], .ifa_name = (char *)known[i][0], .ifa_addr = (void *)v4};
        v4->sin_family = AF_INET;
        if (inet_pton(AF_INET, known[i][1], &v4->sin_addr) != 1) {
            list.addresses[i].sin6_family = AF_INET6;
            cr_assert_eq(inet_pton(AF_INET6, known[i][1], &list.addresses[i].sin6_addr), 1);
        }
    }
    /* The last has no address, as a tunnel that is down. */
    list.entries[QUIRE_ARRAY_LEN(known)] = (struct ifaddrs){.ifa_name = (char *)"tun0"};
    return list.entries;
}

static struct place places[PLACES_MAX];
static uint32_t n_places;

static enum quire_status share(const char *addresses, enum config_rails rails, const char *pin, const char *usable) {
    struct config_listen listen = {.rails = rails};
    struct places_machine machine = {.sys = sys, .interfaces = interfaces()};
    snprintf(listen.pin, sizeof listen.pin, "%s", pin);
    cr_assert(quire_locality_parse(usable, &machine.usable));
    why[0] = '\0';
    return places_share("listen.tls", addresses, &listen, &machine, places, &n_places, why, sizeof why);
}

static void expect(uint32_t i, const char *addresses, const char *interface, const char *processors) {
    char text[128];
    cr_assert_lt(i, n_places);
    cr_expect_str_eq(places[i].addresses, addresses);
    cr_expect_str_eq(places[i].interface, interface);
    cr_expect_eq(places[i].pinned, processors[0] != '\0');
    quire_locality_text(&places[i].processors, text, sizeof text);
    if (places[i].pinned) {
        cr_expect_str_eq(text, processors);
    }
}

/* ---- stories -------------------------------------------------------------------------------------------------------------------- */
/* An interface is carried by one thread, beside its card: two addresses of eth0 share one, also that of its second name; the port is none's business. */
Test(locality, a_rail_an_interface, .init = two_nodes, .fini = gone) {
    cr_assert_eq(share("10.0.0.1:7070, 10.1.0.1:7070,10.0.9.1:7071 [fd00::1]:7070", CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_OK, "%s", why);
    cr_assert_eq(n_places, 2);
    expect(0, "10.0.0.1:7070,10.0.9.1:7071", "eth0", "0-1,4-5");
    expect(1, "10.1.0.1:7070,[fd00::1]:7070", "eth1", "2-3,6-7");
}

/* What has no card, or one of which the system does not know where it is, runs anywhere; so does what listens on every interface. */
Test(locality, what_is_not_known_is_not_pinned, .init = two_nodes, .fini = gone) {
    cr_assert_eq(share("127.0.0.1:1,10.2.0.1:1,0.0.0.0:2,[::]:2,10.77.0.1:1", CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_OK, "%s", why);
    cr_assert_eq(n_places, 3);
    expect(0, "127.0.0.1:1", "lo", "");
    expect(1, "10.2.0.1:1", "odd0", "");
    expect(2, "0.0.0.0:2,[::]:2,10.77.0.1:1", "", "");
}

/* On a machine of one node there is nothing to choose. */
Test(locality, one_node_pins_nothing, .init = two_nodes, .fini = gone) {
    node(1, "\n");
    cr_assert_eq(share("10.0.0.1:1,10.1.0.1:1", CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_OK, "%s", why);
    cr_assert_eq(n_places, 2);
    expect(0, "10.0.0.1:1", "eth0", "");
    expect(1, "10.1.0.1:1", "eth1", "");
}

/* The daemon may run on a part of the machine only: never beyond it, and where nothing is left of a node, anywhere in that part. */
Test(locality, pinned_within_what_is_allowed, .init = two_nodes, .fini = gone) {
    cr_assert_eq(share("10.0.0.1:1,10.1.0.1:1", CONFIG_RAILS_AUTO, "auto", "4-5"), QUIRE_OK, "%s", why);
    expect(0, "10.0.0.1:1", "eth0", "4-5");
    expect(1, "10.1.0.1:1", "eth1", "");
}

/* As the operator says: one thread for all, one an address, processors by hand. One for all is of no interface, unless all are of one. */
Test(locality, as_the_operator_says, .init = two_nodes, .fini = gone) {
    cr_assert_eq(share("10.0.0.1:1,10.1.0.1:1", CONFIG_RAILS_ONE, "auto", "0-7"), QUIRE_OK, "%s", why);
    cr_assert_eq(n_places, 1);
    expect(0, "10.0.0.1:1,10.1.0.1:1", "", "");
    cr_assert_eq(share("10.0.0.1:1,10.0.9.1:1", CONFIG_RAILS_ONE, "auto", "0-7"), QUIRE_OK, "%s", why);
    expect(0, "10.0.0.1:1,10.0.9.1:1", "eth0", "0-1,4-5");
    cr_assert_eq(share("10.0.0.1:1,10.0.0.1:2", CONFIG_RAILS_EACH, "none", "0-7"), QUIRE_OK, "%s", why);
    cr_assert_eq(n_places, 2);
    expect(0, "10.0.0.1:1", "eth0", "");
    expect(1, "10.0.0.1:2", "eth0", "");
    cr_assert_eq(share("10.1.0.1:1", CONFIG_RAILS_AUTO, "1,6-9", "0-7"), QUIRE_OK, "%s", why);
    expect(0, "10.1.0.1:1", "eth1", "1,6-7");
}

/* What cannot be is refused with what to do. */
Test(locality, refused, .init = two_nodes, .fini = gone) {
    char many[PLACE_LIST_BYTES] = "";
    static const char *const pins[] = {"8-9", "x", "3-1", "1-", "-1", "0,", ",0", "1 2", "0-99999", "18446744073709551617", "0-1x"};
    for (size_t i = 0; i < QUIRE_ARRAY_LEN(pins); i++) {
        cr_expect_eq(share("10.0.0.1:1", CONFIG_RAILS_AUTO, pins[i], "0-7"), QUIRE_INVALID, "%s", pins[i]);
        cr_expect(strstr(why, pins[i]) != NULL && strstr(why, "0-7") != NULL, "%s", why);
    }
    for (unsigned i = 0; i <= PLACES_MAX; i++) {
        snprintf(many + strlen(many), sizeof many - strlen(many), "10.0.0.1:%u,", i + 1);
    }
    cr_expect_eq(share(many, CONFIG_RAILS_EACH, "auto", "0-7"), QUIRE_INVALID);
    cr_expect_not_null(strstr(why, "listen.rails"), "%s", why);
    cr_expect_eq(share(many, CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_OK, "%s", why);
    cr_expect_eq(share(" , ", CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_INVALID);
    cr_expect_eq(share("10.0.0.1", CONFIG_RAILS_AUTO, "auto", "0-7"), QUIRE_INVALID);
}

/* A bond's cards, under a VLAN: their node when it is one. Folders that name each other end, too. */
Test(locality, layers_of_interfaces, .init = two_nodes, .fini = gone) {
    card("eth2", "1\n");
    on_top("bond0", "eth1");
    on_top("bond0", "eth2");
    on_top("bond0.7", "bond0");
    on_top("bond1", "eth0");
    on_top("bond1", "eth1");
    on_top("loop0", "loop1");
    on_top("loop1", "loop0");
    cr_expect_eq(quire_locality_node(sys, "bond0.7"), 1);
    cr_expect_eq(quire_locality_node(sys, "bond1"), QUIRE_NODE_UNKNOWN, "beside two nodes is beside none");
    cr_expect_eq(quire_locality_node(sys, "loop0"), QUIRE_NODE_UNKNOWN);
    cr_expect_eq(quire_locality_node(sys, "nothing"), QUIRE_NODE_UNKNOWN);
    cr_expect_eq(quire_locality_node(sys, ""), QUIRE_NODE_UNKNOWN);
    cr_expect_eq(quire_locality_nodes(sys), 2);
    cr_expect_eq(quire_locality_nodes("/nowhere"), 0);
}

/* What UCX may use of an interface: its own name, and cards that do RDMA, its own and those below a bond. */
Test(locality, devices_of_an_interface, .init = two_nodes, .fini = gone) {
    char text[64];
    put("", "class/net/eth1/device/infiniband/mlx5_1/x");
    put("1\n", "class/net/eth1/dev_port");
    on_top("bond0", "eth1");
    cr_assert(quire_locality_devices(sys, "eth0", text, sizeof text));
    cr_assert_str_eq(text, "eth0");
    cr_assert(quire_locality_devices(sys, "eth1", text, sizeof text));
    cr_assert_str_eq(text, "eth1,mlx5_1:2");
    cr_assert(quire_locality_devices(sys, "bond0", text, sizeof text));
    cr_assert_str_eq(text, "bond0,mlx5_1:2");
    cr_assert_not(quire_locality_devices(sys, "eth1", text, 10), "cut short they would be others");
}
