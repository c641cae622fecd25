/*
 * sweeper.c - the background thread that gives idle memory back.
 *
 * It sleeps until it is woken: by a release that leaves more free segments in
 * its class than the threshold, or by a reservation that comes near the
 * budget. Then it makes passes, with a rest between two. A pass empties the
 * magazines, looks at every region and gives back what is idle: free at this
 * pass and since the one before. What a busy program takes and releases again
 * within a rest is left alone, since memory that is obtained anew is slow;
 * what nobody wants is gone two passes later, scattered or not. Passes go on,
 * at growing distances if they find nothing, while more is free than is kept.
 *
 * The threshold of a class is what it kept at the last pass and a step more,
 * so that a stable state wakes nobody.
 *
 * A flag for each class, taken by compare-and-swap, keeps two passes off one
 * class. The sweep of a starved allocation is not held up by it.
 */
#include <errno.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

#define RA_SWEEPER_REST_MS 250              /* between two passes */
#define RA_SWEEPER_REST_MAX_MS 8000         /* when passes find nothing */
#define RA_SWEEPER_SEGS 5000                /* free segments of a class */
#define RA_SWEEPER_SEGS_STEP 1000           /* and so many more each time */
#define RA_SWEEPER_KEEP ((uint64_t)1 << 20) /* bytes that are never too many */

/* Free bytes that are left alone: a share of those in use. */
static uint64_t ra_sweeper_keep(uint64_t in_use_bytes)
{
    return ra_max_u64(in_use_bytes / 16, RA_SWEEPER_KEEP);
}

void ra_sweeper_set_threshold(struct ra_class *c, uint64_t in_use_bytes)
{
    uint64_t base = ra_sweeper_keep(in_use_bytes) >> c->seg_shift;
    uint64_t step;

    base = ra_min_u64(base, RA_SWEEPER_SEGS);
    step = ra_min_u64(base, RA_SWEEPER_SEGS_STEP);
    c->wake_at = c->nwarm > base ? c->nwarm + step : base;
}

void ra_sweeper_wake(struct ra_pool *pool)
{
    bool wanted = false;

    if (!pool->background ||
        /* relaxed: a first guess; a request is one whoever made it */
        atomic_load_explicit(&pool->wanted, memory_order_relaxed) ||
        !atomic_compare_exchange_strong_explicit(&pool->wanted, &wanted, true,
                                                 memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    ra_mutex_lock(&pool->wake_lock);
    pthread_cond_signal(&pool->wake);
    ra_mutex_unlock(&pool->wake_lock);
}

uint64_t ra_sweeper_pass(struct ra_pool *pool)
{
    bool mine[QUIRE_SEG_CLASSES];
    uint64_t given = 0;

    (void)ra_mag_drain(pool);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        bool sweeping = false;

        /* relaxed: keeps others from useless work, guards no data */
        mine[i] = atomic_compare_exchange_strong_explicit(
            &pool->cls[i].sweeping, &sweeping, true, memory_order_relaxed,
            memory_order_relaxed);
    }
    for (uint64_t s = 0; s < UINT64_C(1) << pool->nslots_shift; s++) {
        /* acquire: as in ra_region_find() */
        struct ra_region *r = atomic_load_explicit(&pool->slot[s],
                                                   memory_order_acquire);
        uint32_t cls;

        if (r == NULL)
            continue;
        /* relaxed: a guess, looked at again under the class lock */
        cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
        if (cls == RA_CLASS_NONE || !mine[cls])
            continue;
        /* A starved sweep waits for one region at most. */
        ra_mutex_lock(&pool->sweep_lock);
        given += ra_sweep_idle(&pool->cls[cls], r);
        ra_mutex_unlock(&pool->sweep_lock);
    }
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        if (mine[i])
            atomic_store_explicit(&pool->cls[i].sweeping, false,
                                  memory_order_relaxed);
    }
    ra_count(&pool->passes, 1);
    RA_PROBE(pass, given, 0);
    if (given > 0)
        ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                    "the sweeper gave back %" PRIu64 " idle bytes", given);
    return given;
}

/* Set all thresholds; is more free than is kept? */
static bool ra_sweeper_look(struct ra_pool *pool)
{
    uint64_t in_use = ra_pool_in_use(pool);
    uint64_t nfree = 0;

    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        struct ra_class *c = &pool->cls[i];

        ra_mutex_lock(&c->lock);
        ra_sweeper_set_threshold(c, in_use);
        nfree += c->nwarm << c->seg_shift;
        ra_mutex_unlock(&c->lock);
    }
    return nfree > ra_sweeper_keep(in_use);
}

static void ra_sweeper_main(void *arg)
{
    struct ra_pool *pool = arg;
    unsigned rest_ms = RA_SWEEPER_REST_MS;
    bool again = false;

    ra_mutex_lock(&pool->wake_lock);
    for (;;) {
        /* relaxed: set before the signal, which is under the lock */
        while (!pool->stop && !again &&
               !atomic_load_explicit(&pool->wanted, memory_order_relaxed))
            ra_cond_wait(&pool->wake, &pool->wake_lock);
        if (pool->stop)
            break;
        atomic_store_explicit(&pool->wanted, false, memory_order_relaxed);
        ra_mutex_unlock(&pool->wake_lock);

        if (ra_sweeper_pass(pool) > 0 || !again)
            rest_ms = RA_SWEEPER_REST_MS;
        else if (rest_ms < RA_SWEEPER_REST_MAX_MS)
            rest_ms *= 2;
        again = ra_sweeper_look(pool);

        ra_mutex_lock(&pool->wake_lock);
        /* A rest after each pass. A request, one at most, begins it anew. */
        while (!pool->stop &&
               ra_cond_wait_ms(&pool->wake, &pool->wake_lock, rest_ms))
            rest_ms = RA_SWEEPER_REST_MS;
    }
    ra_mutex_unlock(&pool->wake_lock);
}

quire_status ra_sweeper_start(struct ra_pool *pool)
{
    int err;

    pool->background = true; /* before the thread: it looks */
    err = QUIRE_POINT(RA_SWEEPER_THREAD, -EAGAIN,
                      pool->sys.thread_create(pool->sys.ctx, ra_sweeper_main,
                                              pool, &pool->thread));
    if (err == 0)
        return QUIRE_OK;
    pool->background = false;
    return ra_fail(QUIRE_NOMEM,
                   "the sweeper's thread could not be started (error %d)",
                   -err);
}

void ra_sweeper_stop(struct ra_pool *pool)
{
    if (!pool->background)
        return;
    ra_mutex_lock(&pool->wake_lock);
    pool->stop = true;
    pthread_cond_signal(&pool->wake);
    ra_mutex_unlock(&pool->wake_lock);
    pool->sys.thread_join(pool->sys.ctx, pool->thread);
    pool->background = false;
}
