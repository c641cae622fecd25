/*
 * seg.c - segments: the allocator's front.
 *
 * Taking is this thread's magazine, then ra_class_take(), and ra_room_make()
 * while that fails. Releasing cannot fail, takes one mutex at most, and trusts
 * nothing: the region is looked up, the offset must be a multiple of the
 * class's size, and the segment's state must go from in use, in this class, to
 * free by one compare-and-swap. Of two releases of one segment, one wins,
 * whatever the threads (RA-4). That exchange is most of the cost of a pair
 * that finds what it needs in the magazine.
 *
 * What can't be seen: a pointer kept after its release, and released again
 * once the same address has been handed out anew. In debug builds a segment
 * that was released is filled with 0xDB and closed to memory checkers, so that
 * its use, which comes before, is found.
 */
#include <assert.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

static struct ra_class *ra_seg_class(struct ra_pool *pool, size_t nbytes)
{
    unsigned id = 0;

    QUIRE_ASSERT(nbytes >= 1 && nbytes <= QUIRE_SEG_MAX);
    if (nbytes > QUIRE_SEG_MIN)
        id = 64 - (unsigned)__builtin_clzll(nbytes - 1) - 12;
    return &pool->cls[id];
}

static_assert(QUIRE_SEG_MIN == (size_t)1 << 12, "ra_seg_class() takes 12");
static_assert(QUIRE_SEG_MIN << (QUIRE_SEG_CLASSES - 1) == QUIRE_SEG_MAX,
              "the classes are the powers of two from least to greatest");

/* From this thread's magazine, or NULL. */
static inline void *ra_seg_take_near(struct ra_class *c)
{
    struct ra_spare spare;

    if (QUIRE_UNLIKELY(!ra_mag_take(c, true, &spare)))
        return NULL;
    return ra_class_hand_out(c, spare, true);
}

/* With `may_sweep`, regions that another class, or its magazines, hold without
 * need are taken before the address space grows. */
static void *ra_seg_take(struct ra_class *c, bool may_sweep, struct ra_why *why)
{
    struct ra_pool *pool = c->pool;
    uint32_t home = ra_mag_home(pool);
    bool may_map = !may_sweep || (ra_figure(&pool->regions_whole) == 0 &&
                                  ra_figure(&pool->nmags) == 0);
    void *seg = ra_class_take(c, home, may_map, why);

    if (seg == NULL && why->kind == RA_WHY_REGION) {
        (void)ra_mag_drain(pool);
        if (ra_figure(&pool->regions_whole) > 0)
            (void)ra_sweep_run(pool, pool->region_bytes, true);
        seg = ra_class_take(c, home, true, why);
    }
    return seg;
}

/* When the magazine has none. */
static __attribute__((noinline)) quire_status ra_seg_alloc_far(
    struct ra_class *c, void **seg)
{
    struct ra_pool *pool = c->pool;
    struct ra_room room = { 0 };
    struct ra_why why = { 0 };

    do {
        *seg = ra_seg_take(c, !ra_nowait(), &why);
    } while (*seg == NULL &&
             ra_room_make(pool, &room, &why, ra_class_bytes(c)));
    ra_room_leave(pool, &room);
    if (*seg != NULL)
        return QUIRE_OK;
    return ra_room_fail(pool, &why, "a segment", ra_class_bytes(c));
}

quire_status ra_seg_alloc(struct ra_pool *pool, size_t nbytes, void **seg)
{
    struct ra_class *c = ra_seg_class(pool, nbytes);

    if (QUIRE_UNLIKELY(ra_sections > 0)) { /* RA-8 */
        *seg = NULL;
        return ra_room_in_section();
    }
    *seg = ra_seg_take_near(c);
    if (QUIRE_LIKELY(*seg != NULL))
        return QUIRE_OK;
    return ra_seg_alloc_far(c, seg);
}

quire_status ra_seg_alloc_many(struct ra_pool *pool, const size_t *nbytes,
                               unsigned n, void **segs)
{
    quire_status rc = QUIRE_OK;
    unsigned ntaken = 0;

    for (unsigned i = 0; i < n; i++)
        segs[i] = NULL;
    while (ntaken < n) {
        rc = QUIRE_POINT_RC(RA_SEGMENT_MANY, QUIRE_NOMEM,
                            ra_seg_alloc(pool, nbytes[ntaken], &segs[ntaken]));
        if (rc != QUIRE_OK)
            goto out;
        ntaken++;
    }
    return QUIRE_OK;

out:
    while (ntaken > 0) {
        ra_seg_free(pool, segs[--ntaken]);
        segs[ntaken] = NULL;
    }
    return rc;
}

void *ra_seg_try(struct ra_pool *pool, size_t nbytes)
{
    struct ra_class *c = ra_seg_class(pool, nbytes);
    struct ra_why why;
    void *seg;

    if (QUIRE_UNLIKELY(ra_sections > 0)) /* RA-8 */
        return NULL;
    seg = ra_seg_take_near(c);
    return seg != NULL ? seg : ra_seg_take(c, false, &why);
}

static __attribute__((cold)) bool ra_seg_misuse(struct ra_pool *pool,
                                                const void *seg,
                                                const char *what)
{
    ra_count(&pool->misuses, 1);
    RA_PROBE(misuse, seg, 0);
    ra_log_line(&pool->log, QUIRE_LOG_WARN, "release of %p refused: %s", seg,
                what);
    (void)ra_fail(QUIRE_MISUSE, "release of %p refused: %s", seg, what);
    return false;
}

bool ra_seg_free(struct ra_pool *pool, void *seg)
{
    struct ra_region *r;
    struct ra_class *c;
    struct ra_mag *m;
    uint32_t cls;
    struct ra_spare spare;
    size_t off;
    uint8_t state;

    if (seg == NULL)
        return true;
    r = ra_region_near(pool, seg);
    if (r == NULL)
        return ra_seg_misuse(pool, seg, "not in a region of this pool");
    /* relaxed: for a segment in use the class stands still, and the caller
     * has the segment from the thread that took it; for anything else the
     * state below decides */
    cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
    if (cls == RA_CLASS_NONE)
        return ra_seg_misuse(pool, seg, "its region is empty");
    c = &pool->cls[cls];
    off = (size_t)((char *)seg - r->base);
    if ((off & (ra_class_bytes(c) - 1)) != 0)
        return ra_seg_misuse(pool, seg, "not the beginning of a segment");
    spare.seg = seg;
    spare.state = &r->state[off >> 12]; /* ra_region_state() */
    state = (uint8_t)(RA_IN_USE + cls);
    /* Before the exchange, which holds up the loads behind it. */
    m = ra_mag_enter_room(c);
    /* relaxed: see enum ra_state */
    if (!atomic_compare_exchange_strong_explicit(spare.state, &state, RA_FREE,
                                                 memory_order_relaxed,
                                                 memory_order_relaxed)) {
        if (m != NULL)
            ra_mag_exit(m);
        return ra_seg_misuse(pool, seg, "not in use");
    }
#if QUIRE_DEBUG >= 1
    memset(seg, RA_FILL, ra_class_bytes(c));
#endif
    ra_guard(seg, ra_class_bytes(c));
    if (QUIRE_LIKELY(m != NULL))
        ra_mag_put(m, c, spare);
    else
        ra_class_put(c, &spare, 1);
    return true;
}

size_t ra_seg_bytes(struct ra_pool *pool, const void *seg)
{
    struct ra_region *r = ra_region_find(pool, seg);
    uint32_t cls;

    QUIRE_ASSERT(r != NULL);
    /* relaxed: as in ra_seg_free() */
    cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
    QUIRE_ASSERT(cls != RA_CLASS_NONE);
    return ra_class_bytes(&pool->cls[cls]);
}
