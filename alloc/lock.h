/*
 * lock.h - mutexes with ranks.
 *
 * A thread takes ranks in increasing order only; the enum below is the order
 * for the whole library. Debug builds check it at run time. A mutex is never
 * held during I/O, an allocation that may wait, or a callback, unless its line
 * here says so.
 */
#ifndef QUIRE_ALLOC_LOCK_H
#define QUIRE_ALLOC_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum ra_lock_rank {
    RA_RANK_NONE = 0,
    RA_RANK_TX_WRITER,   /* txlog: the writers' queue (held for moments) */
    RA_RANK_TX_COMMIT,   /* txlog: publishing and the durable mark */
    RA_RANK_TX_HANDLES,  /* txlog: lists of open handles */
    RA_RANK_PF_SPACE,    /* pages/file: spans and the zero-ahead mark */
    RA_RANK_PC_RECLAIM,  /* cache: one reclaimer at a time; held during grace
                            periods and removal callbacks */
    RA_RANK_PC_STRIPE,   /* cache: a stripe of the table */
    RA_RANK_PC_POLICY,   /* cache: the eviction policy's queues */
    RA_RANK_PC_WAIT,     /* cache: waiting for a load */
    RA_RANK_PC_FREE,     /* cache: free frames, limbo */
    RA_RANK_PC_WAKE,     /* cache: waking the evictor */
    RA_RANK_PC_ROWS,     /* cache: how many sets of rows there are */
    RA_RANK_PC_ROW,      /* cache: a set of rows */
    RA_RANK_RA_MAG,      /* alloc: which threads have magazines; held while
                            they are emptied */
    RA_RANK_RA_SWEEP,    /* alloc: one sweep at a time */
    RA_RANK_RA_CLASS,    /* alloc: a size class; maps regions while held */
    RA_RANK_RA_TABLE,    /* alloc: inserting a region into the table */
    RA_RANK_RA_PRESSURE, /* alloc: which pressure callback is set */
    RA_RANK_RA_WAKE,     /* alloc: waking the sweeper */
    RA_RANK_RA_ROOM,     /* alloc: waking starved callers */
    RA_RANK_PC_CENSUS,   /* cache: who holds pins, in debug builds; last, since
                            pins are given back under any lock */
    RA_RANK_COUNT
};

struct ra_mutex {
    pthread_mutex_t os;
    enum ra_lock_rank rank; /* immutable */
};

/* Two mutexes of one rank are never held together. Initialisation of a plain
 * mutex allocates nothing and cannot fail on Linux. */
void ra_mutex_init(struct ra_mutex *m, enum ra_lock_rank rank);
void ra_mutex_fini(struct ra_mutex *m);
void ra_mutex_lock(struct ra_mutex *m);
void ra_mutex_unlock(struct ra_mutex *m);

/* Wait on `cond` with `m` held; as pthread_cond_wait(). */
void ra_cond_wait(pthread_cond_t *cond, struct ra_mutex *m);

/* As ra_cond_wait(), but at most `timeout_ms`; false when that has passed. The
 * condition variable must use CLOCK_MONOTONIC (ra_cond_init()). */
bool ra_cond_wait_ms(pthread_cond_t *cond, struct ra_mutex *m,
                     unsigned timeout_ms);
/* The same until ra_clock_ns() says `until_ns`. */
bool ra_cond_wait_until(pthread_cond_t *cond, struct ra_mutex *m,
                        uint64_t until_ns);
/* Nanoseconds of the clock that never goes back (CLOCK_MONOTONIC). */
uint64_t ra_clock_ns(void);
void ra_cond_init(pthread_cond_t *cond);

#endif /* QUIRE_ALLOC_LOCK_H */
