/*
 * test_alloc_lock.c - ranks of mutexes, and waiting with a time limit.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/base.h"
#include "alloc/lock.h"
#include "tests/test.h"

static void take_upward(struct ra_mutex *low, struct ra_mutex *high)
{
    ra_mutex_lock(low);
    ra_mutex_lock(high);
    ra_mutex_unlock(low); /* any order back */
    ra_mutex_unlock(high);
    ra_mutex_lock(high);
    ra_mutex_unlock(high);
    ra_mutex_lock(low);
    ra_mutex_unlock(low);
}

static void test_increasing_ranks_are_free(void **state)
{
    struct ra_mutex low;
    struct ra_mutex high;

    (void)state;
    for (int a = RA_RANK_NONE + 1; a < RA_RANK_COUNT; a++) {
        for (int b = a + 1; b < RA_RANK_COUNT; b++) {
            ra_mutex_init(&low, (enum ra_lock_rank)a);
            ra_mutex_init(&high, (enum ra_lock_rank)b);
            take_upward(&low, &high);
            ra_mutex_fini(&high);
            ra_mutex_fini(&low);
        }
    }
}

#if QUIRE_DEBUG >= 1

/* Run `fn` in a child: does it end by an assertion? */
static bool aborts(void (*fn)(void))
{
    struct rlimit none = { 0, 0 };
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        fn();
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void downward(void)
{
    struct ra_mutex low;
    struct ra_mutex high;

    ra_mutex_init(&low, RA_RANK_RA_SWEEP);
    ra_mutex_init(&high, RA_RANK_RA_CLASS);
    ra_mutex_lock(&high);
    ra_mutex_lock(&low);
}

static void same_rank(void)
{
    struct ra_mutex one;
    struct ra_mutex other;

    ra_mutex_init(&one, RA_RANK_RA_CLASS);
    ra_mutex_init(&other, RA_RANK_RA_CLASS);
    ra_mutex_lock(&one);
    ra_mutex_lock(&other);
}

static void not_held(void)
{
    struct ra_mutex m;

    ra_mutex_init(&m, RA_RANK_RA_CLASS);
    ra_mutex_unlock(&m);
}

static void in_order(void)
{
    struct ra_mutex low;
    struct ra_mutex high;

    ra_mutex_init(&low, RA_RANK_RA_SWEEP);
    ra_mutex_init(&high, RA_RANK_RA_CLASS);
    take_upward(&low, &high);
}

static void test_wrong_order_is_caught(void **state)
{
    (void)state;
    CHECK(!aborts(in_order));
    CHECK(aborts(downward));
    CHECK(aborts(same_rank));
    CHECK(aborts(not_held));
}

#endif

struct cell {
    struct ra_mutex lock;
    pthread_cond_t cond;
    bool done; /* under lock */
};

static void *set_done(void *arg)
{
    struct cell *c = arg;

    ra_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->cond);
    ra_mutex_unlock(&c->lock);
    return NULL;
}

static void test_waiting(void **state)
{
    struct cell c = { .done = false };
    pthread_t t;

    (void)state;
    ra_mutex_init(&c.lock, RA_RANK_PC_WAIT);
    ra_cond_init(&c.cond);
    ra_mutex_lock(&c.lock);
    /* Nobody signals: only the clock ends it (or nothing, spuriously). */
    while (ra_cond_wait_ms(&c.cond, &c.lock, 1))
        continue;
    CHECK(!c.done);
    CHECK_EQ(pthread_create(&t, NULL, set_done, &c), 0);
    while (!c.done)
        ra_cond_wait(&c.cond, &c.lock);
    ra_mutex_unlock(&c.lock);
    CHECK_EQ(pthread_join(t, NULL), 0);

    ra_mutex_lock(&c.lock);
    c.done = false;
    CHECK_EQ(pthread_create(&t, NULL, set_done, &c), 0);
    while (!c.done)
        (void)ra_cond_wait_ms(&c.cond, &c.lock, 60000);
    ra_mutex_unlock(&c.lock);
    CHECK_EQ(pthread_join(t, NULL), 0);
    pthread_cond_destroy(&c.cond);
    ra_mutex_fini(&c.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_increasing_ranks_are_free),
#if QUIRE_DEBUG >= 1
        cmocka_unit_test(test_wrong_order_is_caught),
#endif
        cmocka_unit_test(test_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
