/*
 * room.c - what happens when memory runs out.
 *
 * A starved allocation goes through steps, and tries again after each: a
 * sweep, which gives back what is free already; the pressure callback, which
 * makes the cache evict; a sweep of what that freed; and so on, until two steps
 * in a row gave nothing back, or up to a bound: other threads may take what was
 * freed as fast as it comes.
 *
 * Then it waits for others to give something back, RA_WAIT_MS in all. While
 * anybody waits, magazines are closed: what is released goes on offer, and
 * each release wakes. Whoever is woken begins the steps anew. No wait is longer
 * than an eighth of all, since some help comes without a release: a page that
 * was pinned, and that the callback may evict now. When the time is over there
 * is one last round, and the caller gets QUIRE_NOMEM with the figures.
 *
 * That no news is lost: who waits first counts itself in nwaiting, then looks
 * (ra_room_enter(), a round of steps), then sleeps unless there were news since
 * it counted itself; who gives back first does so, then looks at nwaiting.
 *
 * What is asked for depends on what was missing. Against the resident budget
 * any free segment helps; against the limit on addresses only whole regions
 * do; a refusal by the system is met with one round, in case the machine is
 * short of memory, and no wait. Neither does one wait for more than there can
 * ever be.
 *
 * The callback is called with no lock held, by any number of threads at once.
 * Inside it, and wherever ra_nowait_enter() was called, an allocation fails at
 * once: the reclaimer must not wait for itself (RA-8).
 * Whoever waits holds no lock of this folder.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "alloc/ra_impl.h"

/* Steps, not rounds: a round is a sweep and a call. */
#define RA_STEPS_BUDGET 128 /* far more than threads that could interfere */
#define RA_STEPS_VIRTUAL 16 /* evicting more rarely empties a whole region */
#define RA_STEPS_SYSTEM 2

#define RA_WAIT_PARTS 8 /* of the time that one waits at most */

_Thread_local uint32_t ra_sections;
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

quire_status ra_room_in_section(void)
{
    return ra_fail(QUIRE_MISUSE, "an allocation inside a read section");
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
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "the pressure callback gave back %" PRIu64 " of %" PRIu64
                " bytes",
                given, nbytes);

    ra_mutex_lock(&pool->pressure_lock);
    pool->pressure_running--;
    if (pool->pressure_running == 0)
        pthread_cond_broadcast(&pool->pressure_idle);
    ra_mutex_unlock(&pool->pressure_lock);
    return given;
}

/* ---- waiting ---- */

static uint64_t ra_room_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void ra_room_set_caps(struct ra_pool *pool)
{
    ra_mutex_lock(&pool->room_lock);
    /* relaxed: changes under this lock. The last who waits opens them. */
    if (atomic_load_explicit(&pool->nwaiting, memory_order_relaxed) == 0)
        ra_mag_set_caps(pool, ra_pool_budget(pool));
    ra_mutex_unlock(&pool->room_lock);
}

void ra_room_tell(struct ra_pool *pool)
{
    ra_mutex_lock(&pool->room_lock);
    pool->news++;
    pthread_cond_broadcast(&pool->room_news);
    ra_mutex_unlock(&pool->room_lock);
}

static void ra_room_enter(struct ra_pool *pool, struct ra_room *room,
                          size_t nbytes)
{
    ra_mutex_lock(&pool->room_lock);
    /* seq_cst: pairs with ra_room_news() */
    if (atomic_fetch_add_explicit(&pool->nwaiting, 1, memory_order_seq_cst) ==
        0)
        ra_mag_close(pool);
    room->waiting = true;
    room->seen = pool->news;
    ra_mutex_unlock(&pool->room_lock);
    room->until_ns = ra_room_clock_ns() + pool->wait_ms * UINT64_C(1000000);
    ra_count(&pool->waits, 1);
    RA_PROBE(wait, nbytes, pool->wait_ms);
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "starved for %zu bytes, waiting for what others give back",
                nbytes);
}

void ra_room_leave(struct ra_pool *pool, struct ra_room *room)
{
    if (!room->waiting)
        return;
    ra_mutex_lock(&pool->room_lock);
    /* relaxed: whoever gives back and misses it wakes nobody who cares */
    if (atomic_fetch_sub_explicit(&pool->nwaiting, 1, memory_order_relaxed) ==
        1)
        ra_mag_set_caps(pool, ra_pool_budget(pool));
    ra_mutex_unlock(&pool->room_lock);
    room->waiting = false;
}

/* Sleep until there are news, or for a part of the time left. */
static void ra_room_sleep(struct ra_pool *pool, struct ra_room *room)
{
    unsigned part_ms = pool->wait_ms / RA_WAIT_PARTS + 1;

    ra_mutex_lock(&pool->room_lock);
    while (pool->news == room->seen &&
           ra_cond_wait_ms(&pool->room_news, &pool->room_lock, part_ms))
        continue;
    room->seen = pool->news;
    ra_mutex_unlock(&pool->room_lock);
    room->over = ra_room_clock_ns() >= room->until_ns;
}

/* May it wait, and could `nbytes` ever be there? */
static bool ra_room_may_wait(struct ra_pool *pool, const struct ra_why *why,
                             size_t nbytes)
{
    return pool->wait_ms > 0 &&
           (why->kind == RA_WHY_VIRTUAL ||
            (why->kind == RA_WHY_BUDGET && nbytes <= ra_pool_budget(pool)));
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
    if (ra_nowait())
        return false;
    if (room->nidle == 2 || room->nsteps >= limit) {
        if (room->over || !ra_room_may_wait(pool, why, nbytes))
            return false;
        if (room->waiting)
            ra_room_sleep(pool, room);
        else
            ra_room_enter(pool, room, nbytes);
        room->nsteps = 0;
        room->nidle = 0;
    }
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
