/*
 * evictor.c - the background thread that makes room before it is needed.
 *
 * It sleeps until a miss, having taken a frame or charged its bytes, finds a
 * high mark passed:
 *
 *     frames      fewer than a batch are free
 *     capacity    more than 31/32 of it is charged
 *     budget      of a cache without capacity: more than 31/32 is in use of
 *                 what was when the pool last asked for room, looked at by
 *                 every 32nd load
 *
 * and evicts in rounds of a batch each, with one grace period a round, until
 * the low mark is reached: two batches free, 30/32 in use. The frames above
 * the mark are the reserve: past their grace period, so that a miss takes one
 * and waits for nobody. Who finds none, or passes the limit itself, helps on
 * his own thread, as if there were no evictor (evict.c).
 *
 * How much of a budget can be in use depends on how well segments of several
 * sizes fill their regions. The pool's request tells; each pass then raises the
 * figure a little towards the budget, so that it is found out anew now and
 * then, and a bad moment is not remembered for ever.
 *
 * A round that frees nothing ends the pass, and no other is begun before the
 * low mark has been seen from below: where pinned pages hold more than the
 * marks allow, the evictor would else throw out each page that comes.
 */
#include <errno.h>

#include "cache/pc_impl.h"

#define PC_MARK_PARTS 32u /* the marks are one and two parts below the limit */
#define PC_FULL_STEP 256u /* a pass raises what is full by this part */
#define PC_LOOKS 32u      /* loads between two looks at the pool */

/* Bytes over the low mark, if `used` is over the high one (or the low one, if
 * `going`); else 0. */
static uint64_t pc_over(uint64_t used, uint64_t limit, bool going)
{
    uint64_t part = limit / PC_MARK_PARTS;
    uint64_t low = limit - 2 * part;

    return used > (going ? low : limit - part) ? used - low : 0;
}

/* What is to be evicted; all 0: nothing. `going`: a pass is under way, which
 * ends at the low marks. */
static struct pc_want pc_evictor_want(struct pc_cache *c, bool going)
{
    struct pc_want want = { 0 };
    /* relaxed, all: figures, looked at again by the next miss */
    uint64_t nfree = c->nframes -
                     atomic_load_explicit(&c->nused, memory_order_relaxed) +
                     (uint64_t)atomic_load_explicit(&c->nfree,
                                                    memory_order_relaxed);
    uint64_t least = going ? 2 * (uint64_t)c->batch : c->batch;
    struct quire_pool_stat pool;
    uint64_t full;

    if (nfree < least && c->nframes > 2 * c->batch)
        want.entries = 2 * (uint64_t)c->batch - nfree;
    if (c->capacity != 0) {
        want.bytes = pc_over(
            atomic_load_explicit(&c->charged_bytes, memory_order_relaxed),
            c->capacity, going);
    } else if (going ||
               atomic_fetch_add_explicit(&c->looks, 1, memory_order_relaxed) %
                       PC_LOOKS ==
                   0) {
        pool.size = sizeof(pool);
        ra_pool_stat(c->pool, &pool);
        full = atomic_load_explicit(&c->full_bytes, memory_order_relaxed);
        if (full > pool.budget_bytes)
            atomic_store_explicit(&c->full_bytes, 0, memory_order_relaxed);
        if (full == 0 || full > pool.budget_bytes)
            full = pool.budget_bytes;
        want.bytes = pc_over(pool.in_use_bytes, full, going);
    }
    return want;
}

static bool pc_wants(const struct pc_want *want)
{
    return want->bytes > 0 || want->entries > 0;
}

void pc_evictor_wake(struct pc_cache *c)
{
    bool wanted = false;

    /* relaxed: a request is one whoever made it; the thread looks under the
     * lock that is taken below */
    if (atomic_load_explicit(&c->wanted, memory_order_relaxed) ||
        !atomic_compare_exchange_strong_explicit(&c->wanted, &wanted, true,
                                                 memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    ra_mutex_lock(&c->wake_lock);
    pthread_cond_signal(&c->wake);
    ra_mutex_unlock(&c->wake_lock);
}

void pc_evictor_full(struct pc_cache *c)
{
    struct quire_pool_stat pool = { .size = sizeof(pool) };

    if (!c->background)
        return;
    ra_pool_stat(c->pool, &pool);
    atomic_store_explicit(&c->full_bytes, pool.in_use_bytes,
                          memory_order_relaxed);
}

void pc_evictor_look(struct pc_cache *c)
{
    struct pc_want want;

    if (!c->background)
        return;
    /* relaxed: a guess, as all of this */
    if (atomic_load_explicit(&c->tired, memory_order_relaxed)) {
        want = pc_evictor_want(c, true);
        if (!pc_wants(&want))
            atomic_store_explicit(&c->tired, false, memory_order_relaxed);
        return;
    }
    want = pc_evictor_want(c, false);
    if (pc_wants(&want))
        pc_evictor_wake(c);
}

/* Evict down to the low marks, a batch a round. */
static void pc_evictor_pass(struct pc_cache *c)
{
    uint64_t full = atomic_load_explicit(&c->full_bytes, memory_order_relaxed);
    uint64_t nfreed;

    /* relaxed, both: a guess; one that comes in between may be lost */
    atomic_store_explicit(&c->full_bytes, full + full / PC_FULL_STEP,
                          memory_order_relaxed);
    (void)pc_row_trim(c);
    for (;;) {
        struct pc_want want = pc_evictor_want(c, true);
        /* relaxed: pages that were removed, or a figure */
        bool limbo = atomic_load_explicit(&c->nlimbo, memory_order_relaxed) >=
                     c->batch;

        if (!pc_wants(&want) && !limbo)
            return;
        want.entries = ra_min_u64(want.entries, c->batch);
        if (!pc_evict_ahead(c, &want, &nfreed))
            break;
    }
    atomic_store_explicit(&c->tired, true, memory_order_relaxed);
}

static void pc_evictor_main(void *arg)
{
    struct pc_cache *c = arg;

    ra_mutex_lock(&c->wake_lock);
    for (;;) {
        /* relaxed: set before the signal, which is under the lock */
        while (!c->stop &&
               !atomic_load_explicit(&c->wanted, memory_order_relaxed))
            ra_cond_wait(&c->wake, &c->wake_lock);
        if (c->stop)
            break;
        ra_mutex_unlock(&c->wake_lock);
        /* Before the pass: what is asked for during it is looked at again. */
        atomic_store_explicit(&c->wanted, false, memory_order_relaxed);
        pc_evictor_pass(c);
        ra_mutex_lock(&c->wake_lock);
    }
    ra_mutex_unlock(&c->wake_lock);
}

quire_status pc_evictor_start(struct pc_cache *c)
{
    const struct quire_sys *sys = ra_pool_sys(c->pool);
    int err = QUIRE_POINT(
        PC_EVICTOR_THREAD, -EAGAIN,
        sys->thread_create(sys->ctx, pc_evictor_main, c, &c->thread));

    if (err != 0)
        return ra_fail(QUIRE_NOMEM,
                       "cache: the evictor's thread could not be started "
                       "(error %d)",
                       -err);
    c->background = true;
    return QUIRE_OK;
}

void pc_evictor_stop(struct pc_cache *c)
{
    const struct quire_sys *sys = ra_pool_sys(c->pool);

    if (!c->background)
        return;
    ra_mutex_lock(&c->wake_lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    ra_mutex_unlock(&c->wake_lock);
    sys->thread_join(sys->ctx, c->thread);
    c->background = false;
}
