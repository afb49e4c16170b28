/* Strangers that speak UCX, and nothing of ours, to a daemon that listens there. */
#include "daemon_wire.h"

#include <sys/wait.h>
#include <ucp/api/ucp.h>

/* Connects as UCX does and says nothing; is gone without a word when it is told to, as a program that is killed. */
static void be_silent(int told) {
    ucp_config_t *config;
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_ep_h endpoint;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (read(told, &to.sin_port, sizeof to.sin_port) != sizeof to.sin_port || ucp_config_read(NULL, NULL, &config) != UCS_OK ||
        ucp_config_modify(config, "NET_DEVICES", "lo") != UCS_OK) {
        _exit(1);
    }
    const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_AM};
    const ucp_worker_params_t worker_params = {.field_mask = 0};
    const ucp_ep_params_t ep_params = {.field_mask =
                                           UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE,
                                       .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
                                       .sockaddr = {(struct sockaddr *)&to, sizeof to},
                                       .err_mode = UCP_ERR_HANDLING_MODE_PEER};
    if (ucp_init(&params, config, &context) != UCS_OK || ucp_worker_create(context, &worker_params, &worker) != UCS_OK ||
        ucp_ep_create(worker, &ep_params, &endpoint) != UCS_OK) {
        _exit(1);
    }
    char end;
    fcntl(told, F_SETFL, O_NONBLOCK);
    while (read(told, &end, 1) != 1) {
        ucp_worker_progress(worker);
        usleep(100);
    }
    _exit(0);
}

static void be_impatient(struct core *core, void *arg) {
    (void)arg;
    core->hello_ns = 50 * QUIRE_NS_PER_MS;
}

/*
 * It never said who it is, is told so and given a moment to take that. It takes nothing, and goes in that moment: whoever lingers is ended once, not
 * by everybody who notices.
 */
Test(daemon_ucx, a_silent_stranger_goes_while_it_is_told_why, .timeout = 60) {
    int pipes[2];
    cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
    pid_t stranger = fork(); /* before there are threads */
    if (stranger == 0) {
        be_silent(pipes[0]);
    }
    wire_config();
    uint16_t at = free_port();
    snprintf(daemon_.config.listen.ucx, sizeof daemon_.config.listen.ucx, "127.0.0.1:%u", at);
    frames_begin(&daemon_, &witness);
    cr_assert_eq(core_call(daemon_.core, be_impatient, NULL, FRAMES_WAIT_MS), QUIRE_OK);
    at = htons(at);
    cr_assert_eq(write(pipes[1], &at, sizeof at), sizeof at);
    cr_assert(frames_until(&daemon_, frames_n_sessions, 2), "the stranger did not come");
    cr_assert(frames_until(&daemon_, frames_n_sessions, 1), "the stranger may stay");
    cr_assert_eq(write(pipes[1], "", 1), 1);
    int status;
    cr_assert(waitpid(stranger, &status, 0) == stranger && status == 0, "the stranger: %d", status);
    usleep(500000); /* for the rail to see it */
    stop();
    close(pipes[0]);
    close(pipes[1]);
}
