/*
 * sweep.c - giving memory back to the system.
 *
 * Two passes. First whole regions, of which no segment is handed out: such a
 * region leaves its class under the class lock, which makes the sweeper its
 * only owner; it is decommitted by one call with no class lock held, and
 * pushed on the list of empty regions, where any class finds it. Then, in
 * regions partly in use, runs of adjacent free segments: a run is taken off
 * offer under the lock, decommitted without it, and offered again as cold. So
 * scattered survivors don't hold their neighbours' memory, and nobody waits
 * for the kernel under a class lock.
 *
 * A sweep for a starved allocation stops once it has given back what is needed
 * and a little more (`slack_bytes`): fresh memory is slow, and what is free
 * now may be wanted again soon. If the system refuses to take memory back, the
 * segments stay charged, resident and on offer in their class, and the sweep
 * of that class ends.
 *
 * No sweep runs on the release path. One runs at a time (rank RA_SWEEP): a
 * second caller waits, and then mostly finds that there is memory again.
 */
#include <errno.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

/* The background sweeper breaks a huge page when this part of it is idle. */
#define RA_SWEEP_HUGE_SHARE 2u

/* Decommit `r`, which the sweeper owns, and push it; false: refused. */
static bool ra_sweep_region(struct ra_class *c, struct ra_region *r)
{
    struct ra_pool *pool = c->pool;
    uint64_t nbytes = (uint64_t)r->nwarm << c->seg_shift;

    if (nbytes > 0 && QUIRE_POINT(RA_SWEEP_REGION, -ENOMEM,
                                  pool->sys.decommit(pool->sys.ctx, r->base,
                                                     pool->region_bytes)) != 0)
        return false;
    while (r->nwarm > 0) {
        uint32_t i = ra_bits_first(&r->warm);

        ra_bits_clear(&r->warm, i);
        r->nwarm--;
        /* relaxed: see enum ra_state */
        atomic_store_explicit(ra_region_state(r, c->seg_shift, i),
                              RA_DECOMMITTED, memory_order_relaxed);
    }
    if (r->plain != 0)
        ra_region_make_huge(pool, r);
    /* A refusal leaves it open: less is found, nothing breaks. */
    (void)ra_region_protect(pool, r, false);
    r->ncold = 0; /* its bits are set anew by ra_class_make_cold() */
    ra_count(&pool->regions_freed, 1);
    ra_count(&c->freed, 1);
    ra_count(&pool->decommitted, nbytes);
    ra_count(&c->decommitted, nbytes);
    RA_PROBE(region_free, r->base, nbytes);
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "region at %p given back, %" PRIu64 " bytes were resident",
                (void *)r->base, nbytes);
    ra_region_push(pool, r);
    ra_pool_unreserve(pool, nbytes);
    ra_room_news(pool);
    return true;
}

/*
 * Take `r`, of which nothing is handed out, out of its class and give it back.
 * The lock is held at first; true: it is released. false: the system refused,
 * and `r` is back in its class. Until it is on the list it counts as whole, so
 * that whoever lacks a region waits for this sweep rather than map one.
 */
static bool ra_sweep_detach(struct ra_class *c, struct ra_region *r)
{
    struct ra_pool *pool = c->pool;
    bool ok;

    ra_count(&pool->regions_whole, 1);
    ra_class_leave(c, r); /* owns all its segments now */
    ra_mutex_unlock(&c->lock);
    ok = ra_sweep_region(c, r);
    if (!ok) {
        ra_mutex_lock(&c->lock);
        ra_class_join(c, r);
    }
    /* relaxed: a hint, see struct ra_pool */
    atomic_fetch_sub_explicit(&pool->regions_whole, 1, memory_order_relaxed);
    return ok;
}

/* The first pass over class `c`. */
static uint64_t ra_sweep_whole(struct ra_class *c, uint64_t want,
                               bool whole_only)
{
    struct ra_pool *pool = c->pool;
    uint64_t given = 0;
    uint32_t left;

    ra_mutex_lock(&c->lock);
    left = c->nregions; /* others may bring regions as fast as we take them */
    while (given < want && left-- > 0) {
        struct ra_region *r = ra_class_on_list(c, RA_LIST_WARM);
        uint64_t nbytes;

        /* All cold: it gives no memory back, but its addresses. */
        if (r == NULL && (whole_only || want == UINT64_MAX))
            r = ra_class_on_list(c, RA_LIST_COLD);
        if (r == NULL)
            break;
        nbytes = (uint64_t)r->nwarm << c->seg_shift;
        if (!ra_sweep_detach(c, r))
            break;
        given += whole_only ? pool->region_bytes : nbytes;
        ra_mutex_lock(&c->lock);
    }
    ra_mutex_unlock(&c->lock);
    return given;
}

/* The thinnest region with warm segments that is partly in use, or NULL. */
static struct ra_region *ra_sweep_thinnest(const struct ra_class *c)
{
    struct ra_region *r = NULL;

    for (uint32_t level = 1; r == NULL && level < RA_LEVELS; level++)
        r = ra_class_on_list(c, RA_LIST_WARM + level);
    return r;
}

/* Take the run of adjacent warm segments that begins at `i` off offer; with
 * `idle`, only segments that are marked so. */
static uint32_t ra_sweep_take_run(struct ra_class *c, struct ra_region *r,
                                  bool idle, uint32_t i, uint32_t *first)
{
    *first = i;
    while (i < c->nsegs && ra_bits_test(&r->warm, i) &&
           (!idle || ((r->idle[i / 64] >> (i % 64)) & 1)))
        ra_bits_clear(&r->warm, i++);
    ra_class_count(c, r, -(int32_t)(i - *first), 0);
    ra_class_place(c, r);
    return i - *first;
}

/* Decommit a run that was taken off offer; the lock is held, but not while
 * the system works. Bytes given back: 0 when it refused. */
static uint64_t ra_sweep_run_cold(struct ra_class *c, struct ra_region *r,
                                  uint32_t first, uint32_t n)
{
    struct ra_pool *pool = c->pool;
    uint64_t nbytes = (uint64_t)n << c->seg_shift;
    /* Before a part of a huge page goes: nobody may fill it up again. */
    bool ok = ra_region_make_plain(pool, r, (uint64_t)first << c->seg_shift,
                                   nbytes);

    ra_mutex_unlock(&c->lock);
    ok = ok && QUIRE_POINT(
                   RA_SWEEP_SEGMENTS, -ENOMEM,
                   pool->sys.decommit(pool->sys.ctx,
                                      r->base + ((size_t)first << c->seg_shift),
                                      (size_t)nbytes)) == 0;
    for (uint32_t i = first; ok && i < first + n; i++) {
        /* relaxed: see enum ra_state */
        atomic_store_explicit(ra_region_state(r, c->seg_shift, i),
                              RA_DECOMMITTED, memory_order_relaxed);
    }

    ra_mutex_lock(&c->lock);
    for (uint32_t i = first; i < first + n; i++)
        ra_bits_set(ok ? &r->cold : &r->warm, i);
    if (ok) {
        ra_class_count(c, r, 0, (int32_t)n);
        ra_count(&pool->decommitted, nbytes);
        ra_count(&c->decommitted, nbytes);
        ra_pool_unreserve(pool, nbytes);
        ra_room_news(pool);
    } else {
        ra_class_count(c, r, (int32_t)n, 0);
    }
    ra_class_place(c, r);
    return ok ? nbytes : 0;
}

/* The second pass over class `c`. */
static uint64_t ra_sweep_partial(struct ra_class *c, uint64_t want)
{
    uint64_t given = 0;
    uint64_t left;

    ra_mutex_lock(&c->lock);
    left = c->nwarm; /* each run takes at least one; see ra_sweep_whole() */
    while (given < want && left > 0) {
        struct ra_region *r = ra_sweep_thinnest(c);
        uint32_t first;
        uint32_t n;
        uint64_t nbytes;

        if (r == NULL)
            break;
        n = ra_sweep_take_run(c, r, false, ra_bits_first(&r->warm), &first);
        nbytes = ra_sweep_run_cold(c, r, first, n);
        if (nbytes == 0)
            break;
        given += nbytes;
        left -= ra_min_u64(left, n);
    }
    ra_mutex_unlock(&c->lock);
    return given;
}

/* Is all of `r`, which is whole, free since the last pass? */
static bool ra_sweep_all_idle(const struct ra_class *c,
                              const struct ra_region *r)
{
    for (uint32_t w = 0; w < (c->nsegs + 63) / 64; w++) {
        if ((r->warm.word[w] & ~r->idle[w]) != 0)
            return false;
    }
    return true;
}

/* Of the words `w` .. `end` - 1 of a bit array, how many bits of `mask` are set
 * in it and in `warm`; with `clear`, they are cleared. */
static uint32_t ra_sweep_marked(struct ra_region *r, uint32_t w, uint32_t end,
                                uint64_t mask, bool clear)
{
    uint32_t n = 0;

    for (; w < end; w++) {
        n += (uint32_t)__builtin_popcountll(r->idle[w] & r->warm.word[w] &
                                            mask);
        if (clear)
            r->idle[w] &= ~mask;
    }
    return n;
}

/* What is idle in a huge page stays as long as it is little of it: the rest of
 * the page, which is in use, is read faster through it. */
static void ra_sweep_spare(const struct ra_class *c, struct ra_region *r)
{
    uint32_t per = (uint32_t)(RA_HUGE_BYTES >> c->seg_shift); /* segments */

    if (r->plain == UINT32_MAX)
        return;
    for (uint32_t i = 0; i < c->nsegs; i += per) {
        uint32_t w = i / 64;
        uint32_t end = w + (per + 63) / 64;
        uint64_t mask = per < 64 ? ((UINT64_C(1) << per) - 1) << i % 64
                                 : UINT64_MAX;

        if (((r->plain >> i / per) & 1) == 0 &&
            ra_sweep_marked(r, w, end, mask, false) < per / RA_SWEEP_HUGE_SHARE)
            (void)ra_sweep_marked(r, w, end, mask, true);
    }
}

uint64_t ra_sweep_idle(struct ra_class *c, struct ra_region *r)
{
    uint64_t given = 0;
    uint32_t w = 0;

    ra_mutex_lock(&c->lock);
    /* relaxed: changes under this lock, if it is still of this class */
    if (atomic_load_explicit(&r->cls, memory_order_relaxed) != c->id)
        goto unlock;
    if (ra_class_out(c, r) == 0 && r->nwarm > 0 && ra_sweep_all_idle(c, r)) {
        given = (uint64_t)r->nwarm << c->seg_shift;
        if (ra_sweep_detach(c, r))
            return given;
        given = 0;
        goto unlock;
    }
    ra_sweep_spare(c, r);
    while (ra_class_out(c, r) > 0 && w < (c->nsegs + 63) / 64) {
        uint64_t idle = r->warm.word[w] & r->idle[w];
        uint64_t nbytes;
        uint32_t first;
        uint32_t n;

        if (idle == 0) {
            w++;
            continue;
        }
        n = ra_sweep_take_run(c, r, true,
                              w * 64 + (uint32_t)__builtin_ctzll(idle), &first);
        nbytes = ra_sweep_run_cold(c, r, first, n);
        given += nbytes;
        /* It may have become whole, and somebody else's, without the lock. */
        if (nbytes == 0 ||
            atomic_load_explicit(&r->cls, memory_order_relaxed) != c->id)
            goto unlock;
    }
    for (w = 0; w < (c->nsegs + 63) / 64; w++)
        r->idle[w] = r->warm.word[w];
unlock:
    ra_mutex_unlock(&c->lock);
    return given;
}

uint64_t ra_sweep_run(struct ra_pool *pool, uint64_t want, bool whole_only)
{
    uint64_t given = 0;

    ra_mutex_lock(&pool->sweep_lock);
    ra_count(&pool->sweeps, 1);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES && given < want; i++)
        given += ra_sweep_whole(&pool->cls[i],
                                want == UINT64_MAX ? want : want - given,
                                whole_only);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES && given < want && !whole_only;
         i++)
        given += ra_sweep_partial(&pool->cls[i], want - given);
    ra_mutex_unlock(&pool->sweep_lock);
    RA_PROBE(sweep, given, want);
    if (given > 0)
        ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                    "sweep gave back %" PRIu64 " bytes", given);
    return given;
}

uint64_t ra_pool_sweep(struct ra_pool *pool)
{
    if (ra_sections > 0)
        return 0;             /* it may wait for another sweep (RA-8) */
    (void)ra_mag_drain(pool); /* what they hold is free */
    return ra_sweep_run(pool, UINT64_MAX, false);
}
