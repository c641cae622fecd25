/*
 * room.c - what happens when memory runs out.
 *
 * A starved allocation goes through steps, and tries again after each: a
 * sweep, which gives back what is free already; the pressure callback, which
 * makes the cache evict; a sweep of what that freed; and so on. It ends when
 * two steps in a row gave nothing back, or after a bound: other threads may
 * take what was freed as fast as it comes. Then the caller gets QUIRE_NOMEM
 * with the figures. Nothing here waits for time to pass.
 *
 * What is asked for depends on what was missing. Against the resident budget
 * any free segment helps; against the limit on addresses only whole regions
 * do; a refusal by the system is met with one round, in case the machine is
 * short of memory.
 *
 * The callback is called with no lock held, by any number of threads at once.
 * Inside it, and wherever ra_nowait_enter() was called, an allocation fails at
 * once: the reclaimer must not wait for itself (RA-8).
 */
#include <inttypes.h>
#include <stdio.h>

#include "alloc/ra_impl.h"

/* Steps, not rounds: a round is a sweep and a call. */
#define RA_STEPS_BUDGET 128 /* far more than threads that could interfere */
#define RA_STEPS_VIRTUAL 16 /* evicting more rarely empties a whole region */
#define RA_STEPS_SYSTEM 2

static _Thread_local unsigned ra_nowait_depth;
static _Thread_local unsigned ra_pressure_depth; /* callbacks on this stack */

void ra_nowait_enter(void)
{
    ra_nowait_depth++;
}

void ra_nowait_exit(void)
{
    QUIRE_ASSERT(ra_nowait_depth > 0);
    ra_nowait_depth--;
}

bool ra_nowait(void)
{
    return ra_nowait_depth > 0;
}

bool ra_room_in_pressure(void)
{
    return ra_pressure_depth > 0;
}

void ra_pool_set_pressure(struct ra_pool *pool, quire_pressure_fn fn, void *arg)
{
    QUIRE_ASSERT(!ra_room_in_pressure()); /* it would wait for itself */
    ra_mutex_lock(&pool->pressure_lock);
    pool->pressure_fn = fn;
    pool->pressure_arg = arg;
    while (pool->pressure_running > 0)
        ra_cond_wait(&pool->pressure_idle, &pool->pressure_lock);
    ra_mutex_unlock(&pool->pressure_lock);
}

static uint64_t ra_room_pressure(struct ra_pool *pool, uint64_t nbytes)
{
    quire_pressure_fn fn;
    void *arg;
    uint64_t given = 0;

    ra_mutex_lock(&pool->pressure_lock);
    fn = pool->pressure_fn;
    arg = pool->pressure_arg;
    if (fn != NULL)
        pool->pressure_running++;
    ra_mutex_unlock(&pool->pressure_lock);
    if (fn == NULL)
        return 0;

    ra_count(&pool->pressure_calls, 1);
    ra_nowait_enter();
    ra_pressure_depth++;
    given = fn(arg, nbytes);
    ra_pressure_depth--;
    ra_nowait_exit();
    RA_PROBE(pressure, nbytes, given);

    ra_mutex_lock(&pool->pressure_lock);
    pool->pressure_running--;
    if (pool->pressure_running == 0)
        pthread_cond_broadcast(&pool->pressure_idle);
    ra_mutex_unlock(&pool->pressure_lock);
    return given;
}

bool ra_room_make(struct ra_pool *pool, struct ra_room *room,
                  const struct ra_why *why, size_t nbytes)
{
    uint64_t want = nbytes + ra_pool_slack(pool);
    unsigned limit = RA_STEPS_BUDGET;
    uint64_t given;

    if (why->kind == RA_WHY_VIRTUAL) {
        want = ra_max_u64(nbytes, pool->region_bytes);
        limit = RA_STEPS_VIRTUAL;
    } else if (why->kind == RA_WHY_SYSTEM) {
        limit = RA_STEPS_SYSTEM;
    }
    if (ra_nowait() || room->nidle == 2 || room->nsteps >= limit)
        return false;
    if (room->nsteps++ % 2 == 0) {
        given = ra_mag_drain(pool); /* progress: it may be of our class */
        given += ra_sweep_run(pool, want, why->kind == RA_WHY_VIRTUAL);
    } else {
        given = ra_room_pressure(pool, want);
    }
    room->nidle = given > 0 ? 0 : room->nidle + 1;
    return true;
}

quire_status ra_room_fail(struct ra_pool *pool, const struct ra_why *why,
                          const char *what, size_t nbytes)
{
    quire_status rc;
    const char *text = "the budget is used up";
    char refused[64];

    if (why->kind == RA_WHY_VIRTUAL) {
        text = "the limit on mapped memory is reached";
    } else if (why->kind == RA_WHY_SYSTEM) {
        snprintf(refused, sizeof(refused), "the system refused (error %d)",
                 -why->err);
        text = refused;
    }
    ra_count(&pool->failed_allocs, 1);
    RA_PROBE(nomem, nbytes, (int)why->kind);
    rc = ra_fail(
        QUIRE_NOMEM,
        "no memory for %s of %zu bytes: %s%s (budget %" PRIu64
        ", resident %" PRIu64 ", in use %" PRIu64 ", mapped %" PRIu64
        " of %" PRIu64 " bytes)",
        what, nbytes, text, ra_nowait() ? ", in a call that may not evict" : "",
        ra_pool_budget(pool), ra_figure(&pool->resident), ra_pool_in_use(pool),
        ra_figure(&pool->mapped), pool->virtual_limit);
    ra_log_line(&pool->log, QUIRE_LOG_WARN, "%s", quire_error_detail());
    return rc;
}
