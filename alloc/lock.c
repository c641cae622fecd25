/*
 * lock.c - mutexes with ranks.
 *
 * A deadlock needs a cycle of waiting threads, and a cycle needs two threads
 * that take the same two locks in different orders. One order for the whole
 * library (enum ra_lock_rank) leaves none. Debug builds remember, for each
 * thread, which ranks it holds, and refuse a rank that is not above all of
 * them: an error in the order is then found by any single run through the
 * code, not by the rare interleaving that would have hung. Release builds are
 * the bare mutex.
 */
#include "alloc/lock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

#include "alloc/base.h"

#if QUIRE_DEBUG >= 1

/* Bit r: this thread holds a mutex of rank r. */
static _Thread_local uint32_t ra_ranks_held;

static_assert(RA_RANK_COUNT <= 32, "one bit of ra_ranks_held for each rank");

static void ra_rank_take(enum ra_lock_rank rank)
{
    QUIRE_ASSERT(rank > RA_RANK_NONE && rank < RA_RANK_COUNT);
    /* nothing held at this rank or above */
    QUIRE_ASSERT((ra_ranks_held >> rank) == 0);
    ra_ranks_held |= UINT32_C(1) << rank;
}

static void ra_rank_expect(enum ra_lock_rank rank)
{
    QUIRE_ASSERT((ra_ranks_held >> rank) & 1);
}

static void ra_rank_drop(enum ra_lock_rank rank)
{
    ra_rank_expect(rank);
    ra_ranks_held &= ~(UINT32_C(1) << rank);
}

#else

static inline void ra_rank_take(enum ra_lock_rank rank)
{
    (void)rank;
}

static inline void ra_rank_drop(enum ra_lock_rank rank)
{
    (void)rank;
}

static inline void ra_rank_expect(enum ra_lock_rank rank)
{
    (void)rank;
}

#endif

void ra_mutex_init(struct ra_mutex *m, enum ra_lock_rank rank)
{
    pthread_mutex_init(&m->os, NULL);
    m->rank = rank;
}

void ra_mutex_fini(struct ra_mutex *m)
{
    pthread_mutex_destroy(&m->os);
}

void ra_mutex_lock(struct ra_mutex *m)
{
    ra_rank_take(m->rank);
    pthread_mutex_lock(&m->os);
}

void ra_mutex_unlock(struct ra_mutex *m)
{
    pthread_mutex_unlock(&m->os);
    ra_rank_drop(m->rank);
}

void ra_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* The rank stays taken while a thread waits: it holds the mutex on both sides
 * of the wait, and takes nothing in between. */
void ra_cond_wait(pthread_cond_t *cond, struct ra_mutex *m)
{
    ra_rank_expect(m->rank);
    pthread_cond_wait(cond, &m->os);
}

uint64_t ra_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool ra_cond_wait_until(pthread_cond_t *cond, struct ra_mutex *m,
                        uint64_t until_ns)
{
    const struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000u),
        .tv_nsec = (long)(until_ns % 1000000000u),
    };

    ra_rank_expect(m->rank);
    return pthread_cond_timedwait(cond, &m->os, &until) != ETIMEDOUT;
}

bool ra_cond_wait_ms(pthread_cond_t *cond, struct ra_mutex *m,
                     unsigned timeout_ms)
{
    return ra_cond_wait_until(cond, m,
                              ra_clock_ns() + (uint64_t)timeout_ms * 1000000u);
}
