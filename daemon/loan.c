#include "daemon/loan.h"

void loan_setup(struct loan *loan) {
    pthread_mutex_init(&loan->lock, NULL);
    pthread_cond_init(&loan->returned, NULL);
    loan->offered = loan->taken = false;
}

void loan_teardown(struct loan *loan) {
    pthread_cond_destroy(&loan->returned);
    pthread_mutex_destroy(&loan->lock);
}

void loan_offer(struct loan *loan) {
    pthread_mutex_lock(&loan->lock);
    loan->offered = true;
    pthread_mutex_unlock(&loan->lock);
}

void loan_recall(struct loan *loan) {
    pthread_mutex_lock(&loan->lock);
    loan->offered = false;
    while (loan->taken) {
        pthread_cond_wait(&loan->returned, &loan->lock);
    }
    pthread_mutex_unlock(&loan->lock);
}

bool loan_borrow(struct loan *loan) {
    pthread_mutex_lock(&loan->lock);
    bool borrowed = loan->offered && !loan->taken;
    loan->taken = loan->taken || borrowed;
    pthread_mutex_unlock(&loan->lock);
    return borrowed;
}

void loan_return(struct loan *loan) {
    pthread_mutex_lock(&loan->lock);
    loan->taken = false;
    pthread_cond_signal(&loan->returned);
    pthread_mutex_unlock(&loan->lock);
}
