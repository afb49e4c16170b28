#include "client/admin.h"
#include "client/internal.h"

void admin_advance(quire_client *client, struct job *job) {
    enum quire_status status = conn_need(client, clock_ns());
    if (status == QUIRE_PENDING) {
        job_stall(job, &client->stalled_conn);
    } else if (status != QUIRE_OK) {
        job_finish(client, job, QUIRE_DISCONNECTED, "%s", client->conn.why);
    } else {
        request_send(client, job, QUIRE_MSG_ADMIN, &job->u.admin.request->base);
    }
}

void admin_on_reply(quire_client *client, struct job *job, const uint8_t *body, size_t size) {
    Quire__Wire__AdminReply *reply = quire__wire__admin_reply__unpack(NULL, size, body);
    if (reply == NULL) {
        job_finish(client, job, QUIRE_CORRUPT, "quired sent a malformed answer");
        conn_down(client, QUIRE_CORRUPT, "quired sent a malformed answer");
        return;
    }
    *job->u.admin.reply = reply;
    job_finish(client, job, QUIRE_OK, NULL);
}

enum quire_status quire_admin_call(quire_client *client, const Quire__Wire__AdminRequest *request, Quire__Wire__AdminReply **reply,
                                   uint32_t deadline_ms) {
    *reply = NULL;
    struct job job;
    client_enter(client);
    job_init(&job, JOB_ADMIN, deadline_after(client, deadline_ms));
    job.u.admin.request = request;
    job.u.admin.reply = reply;
    enum quire_status status = job_run(client, &job);
    client_leave(client);
    return status;
}
