/*
 * seg.c - segments: the allocator's front.
 *
 * Taking is this thread's magazine, then ra_class_take(), and ra_room_make()
 * while that fails. Releasing cannot fail, takes one mutex at most, and trusts
 * nothing: the region is looked up, the offset must be a multiple of the
 * class's size, and the segment's state must go from in use, in this class, to
 * free by one compare-and-swap. Of two releases of one segment, one wins,
 * whatever the threads (RA-4). That exchange is most of the cost of a pair
 * that finds what it needs in the magazine; it waits for all stores before it,
 * so the functions for that case call nothing and save no registers. Whatever
 * else there is, ra_seg_alloc_far() and ra_seg_free_far() do from the start.
 *
 * What can't be seen: a pointer kept after its release, and released again
 * once the same address has been handed out anew. In debug builds a segment
 * that was released is filled with 0xDB and closed to memory checkers, so that
 * its use, which comes before, is found.
 */
#include <assert.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

/* The class of segments of `nbytes`. */
static inline uint32_t ra_seg_class(size_t nbytes)
{
    QUIRE_ASSERT(nbytes >= 1 && nbytes <= QUIRE_SEG_MAX);
    if (nbytes <= QUIRE_SEG_MIN)
        return 0;
    return 64 - (uint32_t)__builtin_clzll(nbytes - 1) - 12;
}

static_assert(QUIRE_SEG_MIN == (size_t)1 << 12, "ra_seg_class() takes 12");
static_assert(QUIRE_SEG_MIN << (QUIRE_SEG_CLASSES - 1) == QUIRE_SEG_MAX,
              "the classes are the powers of two from least to greatest");

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
    struct ra_spare spare;

    *seg = NULL;
    if (ra_sections > 0) /* RA-8 */
        return ra_room_in_section();
    if (ra_mag_take(c, &spare)) {
        *seg = ra_class_hand_out(c->id, spare, true);
        return QUIRE_OK;
    }
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
    uint32_t cls = ra_seg_class(nbytes);
    struct ra_spare spare;

    if (QUIRE_UNLIKELY(ra_sections > 0) ||
        QUIRE_UNLIKELY(!ra_mag_pop(pool, cls, &spare)))
        return ra_seg_alloc_far(&pool->cls[cls], seg);
    *seg = ra_class_hand_out(cls, spare, true);
    return QUIRE_OK;
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
    struct ra_class *c = &pool->cls[ra_seg_class(nbytes)];
    struct ra_spare spare;
    struct ra_why why;

    if (ra_sections > 0) /* RA-8 */
        return NULL;
    if (ra_mag_take(c, &spare))
        return ra_class_hand_out(c->id, spare, true);
    return ra_seg_take(c, false, &why);
}

static __attribute__((cold, noinline)) bool ra_seg_misuse(struct ra_pool *pool,
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

/* `seg` was released: nobody may touch it. */
static inline void ra_seg_close(void *seg, size_t nbytes)
{
#if QUIRE_DEBUG >= 1
    memset(seg, RA_FILL, nbytes);
#endif
    ra_guard(seg, nbytes);
}

/* The exchange that decides whether a release is valid (RA-4). */
static inline bool ra_seg_settle(_Atomic uint8_t *state, uint32_t cls)
{
    uint8_t was = (uint8_t)(RA_IN_USE + cls);

    /* relaxed: see enum ra_state */
    return atomic_compare_exchange_strong_explicit(
        state, &was, RA_FREE, memory_order_relaxed, memory_order_relaxed);
}

/* A release that is refused, or has to do with more than the magazine. */
static __attribute__((noinline)) bool ra_seg_free_far(struct ra_pool *pool,
                                                      void *seg)
{
    struct ra_region *r;
    uint32_t cls;
    struct ra_spare spare;
    size_t off;

    if (seg == NULL)
        return true;
    r = ra_region_find(pool, seg);
    if (r == NULL)
        return ra_seg_misuse(pool, seg, "not in a region of this pool");
    /* relaxed: as in ra_seg_free() */
    cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
    if (cls == RA_CLASS_NONE)
        return ra_seg_misuse(pool, seg, "its region is empty");
    off = (size_t)((char *)seg - r->base);
    if ((off & ((QUIRE_SEG_MIN << cls) - 1)) != 0)
        return ra_seg_misuse(pool, seg, "not the beginning of a segment");
    spare.seg = seg;
    spare.state = &r->state[off >> 12]; /* ra_region_state() */
    if (!ra_seg_settle(spare.state, cls))
        return ra_seg_misuse(pool, seg, "not in use");
    ra_seg_close(seg, QUIRE_SEG_MIN << cls);
    if (!ra_mag_put(&pool->cls[cls], spare))
        ra_class_put(&pool->cls[cls], &spare, 1);
    return true;
}

bool ra_seg_free(struct ra_pool *pool, void *seg)
{
    /* acquire: as in ra_region_find(), which looks further */
    const struct ra_region *r = atomic_load_explicit(
        &pool->slot[ra_region_hash(pool, (uintptr_t)seg)],
        memory_order_acquire);
    struct ra_mag *m;
    struct ra_spare spare;
    uint32_t cls;
    uint32_t n;
    size_t off;

    if (QUIRE_UNLIKELY(r == NULL))
        return ra_seg_free_far(pool, seg);
    off = (uintptr_t)seg - (uintptr_t)r->base;
    /* relaxed: for a segment in use the class stands still, and the caller
     * has the segment from the thread that took it; for anything else the
     * state decides */
    cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
    if (QUIRE_UNLIKELY(off >= pool->region_bytes || cls == RA_CLASS_NONE ||
                       (off & ((QUIRE_SEG_MIN << cls) - 1)) != 0))
        return ra_seg_free_far(pool, seg);
    /* The magazine before the exchange, which holds up all loads behind it. */
    m = ra_mag_enter_room(pool, cls, &n);
    if (QUIRE_UNLIKELY(m == NULL))
        return ra_seg_free_far(pool, seg);
    spare.seg = seg;
    spare.state = &r->state[off >> 12]; /* ra_region_state() */
    if (QUIRE_UNLIKELY(!ra_seg_settle(spare.state, cls))) {
        ra_mag_exit(m);
        return ra_seg_misuse(pool, seg, "not in use");
    }
    ra_seg_close(seg, QUIRE_SEG_MIN << cls);
    ra_mag_push(m, cls, n, spare);
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
