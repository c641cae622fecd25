/*
 * class.c - size classes: taking segments from regions and putting them back.
 *
 * Each class has one mutex, and its regions in lists by fullness. A region
 * with something on offer is on one list:
 *
 *     list    0     1..8        9    10..17       none
 *             warm  warm        cold cold         nothing on offer
 *     handed  none  eighths     none eighths      all
 *     out
 *
 * "Warm" regions have free resident segments, "cold" ones only decommitted
 * ones. A 32-bit mask says which lists are not empty, so the fullest region is
 * found by one count of leading zeros: allocation packs the full regions and
 * lets the thin ones drain (they can then be given back whole). Within a
 * region the lowest free segment is taken, for the same reason.
 *
 * Each home has such lists of its own: threads that take from the same regions
 * take cache lines from each other, those of states above all. What is full is
 * compared within a home; other homes come next, or growing, as RA-13 says.
 *
 * The order of ra_class_take(): a warm segment, which costs a few
 * instructions under the lock; a cold one, for which memory is first reserved
 * in the budget and then obtained from the system outside the lock; an empty
 * region; a new one. Whatever fails gives back what it took, in reverse.
 */
#include <errno.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

static bool ra_class_is_whole_list(uint32_t list)
{
    return list == RA_LIST_WARM || list == RA_LIST_COLD;
}

static uint32_t ra_class_list_of(const struct ra_class *c,
                                 const struct ra_region *r)
{
    uint32_t out = ra_class_out(c, r);
    uint32_t level = out == 0 ? 0 : 1 + (((out - 1) << 3) >> c->nsegs_shift);

    if (r->nwarm > 0)
        return RA_LIST_WARM + level;
    return r->ncold > 0 ? RA_LIST_COLD + level : RA_LIST_NONE;
}

static void ra_class_unlink(struct ra_class *c, struct ra_region *r)
{
    if (r->list == RA_LIST_NONE)
        return;
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        c->home[r->home].list[r->list] = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    if (c->home[r->home].list[r->list] == NULL)
        c->home[r->home].mask &= ~(UINT32_C(1) << r->list);
    /* relaxed: a hint, see struct ra_pool */
    if (ra_class_is_whole_list(r->list))
        atomic_fetch_sub_explicit(&c->pool->regions_whole, 1,
                                  memory_order_relaxed);
    r->prev = r->next = NULL;
    r->list = RA_LIST_NONE;
}

void ra_class_place(struct ra_class *c, struct ra_region *r)
{
    uint32_t list = ra_class_list_of(c, r);

    if (list == r->list)
        return;
    ra_class_unlink(c, r);
    if (list != RA_LIST_NONE) {
        r->list = list;
        r->prev = NULL;
        r->next = c->home[r->home].list[list];
        if (r->next != NULL)
            r->next->prev = r;
        c->home[r->home].list[list] = r;
        c->home[r->home].mask |= UINT32_C(1) << list;
        if (ra_class_is_whole_list(list))
            ra_count(&c->pool->regions_whole, 1);
    }
    QUIRE_ASSERT_SLOW(ra_class_check(c, r));
}

void ra_class_make_cold(const struct ra_class *c, struct ra_region *r)
{
    QUIRE_ASSERT(r->nwarm == 0 && r->list == RA_LIST_NONE);
    memset(r->cold.sum, 0, sizeof(r->cold.sum));
    memset(r->cold.word, 0, c->pool->region_bytes / QUIRE_SEG_MIN / 8);
    for (uint32_t i = 0; i < c->nsegs; i++)
        ra_bits_set(&r->cold, i);
    r->ncold = c->nsegs;
}

void ra_class_join(struct ra_class *c, struct ra_region *r)
{
    /* relaxed: a release looks at the segment's state next, which names the
     * class too and decides (RA-4) */
    atomic_store_explicit(&r->cls, c->id, memory_order_relaxed);
    c->nregions++;
    c->nwarm += r->nwarm;
    c->home[r->home].noffer += r->nwarm + r->ncold;
    ra_class_place(c, r);
}

void ra_class_leave(struct ra_class *c, struct ra_region *r)
{
    QUIRE_ASSERT(ra_class_out(c, r) == 0);
    ra_class_unlink(c, r);
    c->nregions--;
    c->nwarm -= r->nwarm;
    c->home[r->home].noffer -= r->nwarm + r->ncold;
    /* relaxed: as in ra_class_join() */
    atomic_store_explicit(&r->cls, RA_CLASS_NONE, memory_order_relaxed);
}

/* The fullest region of the lists `first` .. `first` + RA_LEVELS - 1 of a
 * home. */
static struct ra_region *ra_class_fullest(const struct ra_class *c,
                                          uint32_t home, uint32_t first)
{
    uint32_t mask = (c->home[home].mask >> first) &
                    ((UINT32_C(1) << RA_LEVELS) - 1);

    if (mask == 0)
        return NULL;
    return c->home[home].list[first + 31 - (uint32_t)__builtin_clz(mask)];
}

/* The same of the homes behind `home`, in turn. */
static struct ra_region *ra_class_fullest_abroad(const struct ra_class *c,
                                                 uint32_t home, uint32_t first)
{
    struct ra_region *r = NULL;

    for (uint32_t k = 1; r == NULL && k < c->pool->nhomes; k++)
        r = ra_class_fullest(c, (home + k) % c->pool->nhomes, first);
    return r;
}

/* RA-13: do the other homes offer so much that `home`, which has none, takes
 * of theirs rather than grow? */
static bool ra_class_is_plenty(const struct ra_class *c, uint32_t home)
{
    uint64_t n = 0;

    for (uint32_t k = 1; k < c->pool->nhomes; k++)
        n += c->home[(home + k) % c->pool->nhomes].noffer;
    return n >= c->nsegs;
}

struct ra_region *ra_class_on_list(const struct ra_class *c, uint32_t list)
{
    struct ra_region *r = NULL;

    for (uint32_t home = 0; r == NULL && home < c->pool->nhomes; home++)
        r = c->home[home].list[list];
    return r;
}

static void ra_class_add_out(struct ra_class *c, int64_t n)
{
    /* relaxed, and no read-modify-write: under the lock; read alone */
    uint64_t was = atomic_load_explicit(&c->out, memory_order_relaxed);

    atomic_store_explicit(&c->out, was + (uint64_t)n, memory_order_relaxed);
    if (was + (uint64_t)n > c->out_peak)
        c->out_peak = was + (uint64_t)n;
}

static struct ra_spare ra_class_spare(const struct ra_class *c,
                                      const struct ra_region *r, uint32_t i)
{
    return (struct ra_spare){
        .seg = r->base + ((size_t)i << c->seg_shift),
        .state = ra_region_state(r, c->seg_shift, i),
    };
}

/* A region for `home` of `c`, which has nothing on offer: an empty one, or a
 * new one. Joined and placed. NULL and *why. */
static struct ra_region *ra_class_grow(struct ra_class *c, uint32_t home,
                                       bool may_map, struct ra_why *why)
{
    struct ra_pool *pool = c->pool;
    struct ra_region *r = ra_region_pop(pool);

    if (r != NULL && !ra_region_protect(pool, r, true)) {
        ra_region_push(pool, r);
        why->kind = RA_WHY_SYSTEM;
        why->err = -ENOMEM;
        return NULL;
    }
    if (r != NULL) {
        ra_count(&pool->regions_reused, 1);
        ra_count(&c->reused, 1);
        RA_PROBE(region_reuse, r->base, c->id);
        ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                    "region at %p reused for segments of %zu bytes",
                    (void *)r->base, ra_class_bytes(c));
    } else if (!may_map) {
        why->kind = RA_WHY_REGION;
        return NULL;
    } else {
        r = ra_region_map(pool, why);
        if (r == NULL)
            return NULL;
        ra_count(&c->mapped, 1);
    }
    ra_class_make_cold(c, r);
    r->home = home;
    ra_class_join(c, r);
    return r;
}

/*
 * What is committed for the cold segment *first: itself, or all of its 2 MiB,
 * with the rest of them reserved, if it lies where a huge page may be (RA-12).
 * Where the budget has no room for 2 MiB the huge page is given up. false: the
 * system refused that, and *why.
 */
static bool ra_class_unit(struct ra_class *c, struct ra_region *r,
                          uint32_t *first, uint32_t *n, struct ra_why *why)
{
    struct ra_pool *pool = c->pool;
    uint64_t off = (uint64_t)*first << c->seg_shift;
    uint64_t rest = RA_HUGE_BYTES - ra_class_bytes(c);

    if (((r->plain >> (off >> RA_HUGE_SHIFT)) & 1) != 0)
        return true;
    if (ra_pool_budget(pool) >= RA_HUGE_BUDGET_MIN &&
        QUIRE_POINT(RA_SEGMENT_HUGE, false, ra_pool_reserve(pool, rest))) {
        *n = (uint32_t)(RA_HUGE_BYTES >> c->seg_shift);
        *first &= ~(*n - 1);
        return true;
    }
    if (ra_region_make_plain(pool, r, off, ra_class_bytes(c)))
        return true;
    why->kind = RA_WHY_SYSTEM;
    why->err = -ENOMEM;
    return false;
}

/* Of `n` segments that were committed together, all but `taken` go on offer
 * as warm ones. Takes the lock itself. */
static void ra_class_offer_rest(struct ra_class *c, struct ra_region *r,
                                uint32_t first, uint32_t n, uint32_t taken)
{
    for (uint32_t k = first; k < first + n; k++) {
        char *seg = r->base + ((size_t)k << c->seg_shift);

        if (k == taken)
            continue;
#if QUIRE_DEBUG >= 1
        memset(seg, RA_FILL, ra_class_bytes(c));
#endif
        ra_guard(seg, ra_class_bytes(c));
        /* relaxed: see enum ra_state */
        atomic_store_explicit(ra_region_state(r, c->seg_shift, k), RA_FREE,
                              memory_order_relaxed);
    }
    ra_mutex_lock(&c->lock);
    for (uint32_t k = first; k < first + n; k++) {
        if (k == taken)
            continue;
        ra_bits_set(&r->warm, k);
        r->idle[k / 64] &= ~(UINT64_C(1) << (k % 64));
    }
    ra_class_count(c, r, (int32_t)n - 1, 0);
    ra_class_place(c, r);
    ra_room_news(c->pool);
    ra_mutex_unlock(&c->lock);
}

/* A segment of `r`, which has warm ones. The lock is held at first, no more
 * then. */
static void *ra_class_take_warm(struct ra_class *c, struct ra_region *r)
{
    uint32_t i = ra_bits_first(&r->warm);

    ra_bits_clear(&r->warm, i);
    ra_class_count(c, r, -1, 0);
    ra_class_add_out(c, 1);
    ra_class_place(c, r);
    ra_mutex_unlock(&c->lock);
    return ra_class_hand_out(c->id, ra_class_spare(c, r, i), true);
}

/* A region with cold segments for `home`, perhaps a new one; NULL and *why. */
static struct ra_region *ra_class_find_cold(struct ra_class *c, uint32_t home,
                                            bool may_map, struct ra_why *why)
{
    struct ra_region *r = ra_class_fullest(c, home, RA_LIST_COLD);

    if (r == NULL && ra_class_is_plenty(c, home))
        r = ra_class_fullest_abroad(c, home, RA_LIST_COLD);
    if (r == NULL)
        r = ra_class_grow(c, home, may_map, why);
    /* RA-13: rather than fail. Warm ones are looked for by the caller. */
    if (r == NULL && why->kind != RA_WHY_REGION &&
        ra_class_fullest_abroad(c, home, RA_LIST_WARM) == NULL)
        r = ra_class_fullest_abroad(c, home, RA_LIST_COLD);
    return r;
}

void *ra_class_take(struct ra_class *c, uint32_t home, bool may_map,
                    struct ra_why *why)
{
    struct ra_pool *pool = c->pool;
    size_t seg_bytes = ra_class_bytes(c);
    struct ra_region *r;
    uint32_t first;
    uint32_t n = 1;
    uint32_t i;
    int err;

    ra_mutex_lock(&c->lock);
    r = ra_class_fullest(c, home, RA_LIST_WARM);
    if (r == NULL && ra_class_is_plenty(c, home))
        r = ra_class_fullest_abroad(c, home, RA_LIST_WARM);
    if (QUIRE_LIKELY(r != NULL))
        return ra_class_take_warm(c, r);

    /* RA-2: before it is taken */
    if (!QUIRE_POINT(RA_SEGMENT_BUDGET, false,
                     ra_pool_reserve(pool, seg_bytes))) {
        why->kind = RA_WHY_BUDGET;
        goto abroad;
    }
    r = ra_class_find_cold(c, home, may_map, why);
    if (r == NULL)
        goto unreserve;
    i = ra_bits_first(&r->cold);
    first = i;
    if (!ra_class_unit(c, r, &first, &n, why))
        goto unreserve;
    for (uint32_t k = first; k < first + n; k++)
        ra_bits_clear(&r->cold, k);
    ra_class_count(c, r, 0, -(int32_t)n);
    ra_class_add_out(c, 1);
    ra_class_place(c, r);
    ra_mutex_unlock(&c->lock);

    /* The segment is on offer no more, so it is ours while the system finds
     * its pages. */
    ra_unguard(r->base + ((size_t)first << c->seg_shift), n * seg_bytes);
    err = QUIRE_POINT(
        RA_SEGMENT_COMMIT, -ENOMEM,
        pool->sys.commit(pool->sys.ctx,
                         r->base + ((size_t)first << c->seg_shift),
                         n * seg_bytes));
    if (err == 0 && n > 1)
        ra_class_offer_rest(c, r, first, n, i);
    if (err == 0)
        return ra_class_hand_out(c->id, ra_class_spare(c, r, i), false);

    ra_guard(r->base + ((size_t)first << c->seg_shift), n * seg_bytes);
    why->kind = RA_WHY_SYSTEM;
    why->err = err;
    ra_mutex_lock(&c->lock);
    for (uint32_t k = first; k < first + n; k++)
        ra_bits_set(&r->cold, k);
    ra_class_count(c, r, 0, (int32_t)n);
    ra_class_add_out(c, -1);
    ra_class_place(c, r);
unreserve:
    ra_pool_unreserve(pool, n * seg_bytes);
abroad:
    /* RA-13: what other homes offer, before it fails */
    r = why->kind == RA_WHY_REGION
            ? NULL
            : ra_class_fullest_abroad(c, home, RA_LIST_WARM);
    if (r != NULL)
        return ra_class_take_warm(c, r);
    ra_mutex_unlock(&c->lock);
    return NULL;
}

uint32_t ra_class_refill(struct ra_class *c, uint32_t home,
                         struct ra_spare *spare, uint32_t n)
{
    struct ra_region *r;
    uint32_t got = 0;

    __builtin_prefetch(&c->out, 1); /* while the lock's line comes */
    ra_mutex_lock(&c->lock);
    r = ra_class_fullest(c, home, RA_LIST_WARM);
    if (r == NULL && ra_class_is_plenty(c, home))
        r = ra_class_fullest_abroad(c, home, RA_LIST_WARM);
    if (r != NULL) {
        uint32_t first = ra_bits_first(&r->warm) / 64;

        /* Of one word of the bitmap: neighbours share their cache lines in
         * the array of states, and had better share their thread. */
        while (got < n && r->warm.word[first] != 0) {
            uint32_t i = first * 64 +
                         (uint32_t)__builtin_ctzll(r->warm.word[first]);

            ra_bits_clear(&r->warm, i);
            spare[got++] = ra_class_spare(c, r, i);
        }
        ra_class_count(c, r, -(int32_t)got, 0);
        ra_class_add_out(c, got);
        ra_class_place(c, r);
    }
    ra_mutex_unlock(&c->lock);
    /* Another thread may have written them last: all are fetched at once, not
     * each by the store that hands the segment out. */
    for (uint32_t k = 0; k < got; k++)
        __builtin_prefetch((const void *)spare[k].state, 1);
    return got;
}

void ra_class_put(struct ra_class *c, const struct ra_spare *spare, uint32_t n)
{
    bool wake;

    /* Other threads may have written them last: all are fetched at once, and
     * with no lock held. */
    __builtin_prefetch(&c->out, 1);
    for (uint32_t k = 0; n > 1 && k < n; k++) {
        const struct ra_region *r = ra_region_near(c->pool, spare[k].seg);
        uint32_t i = (uint32_t)((size_t)(spare[k].seg - r->base) >>
                                c->seg_shift);

        __builtin_prefetch(&r->list, 1);
        __builtin_prefetch(&r->idle, 1); /* the line behind, with `warm` */
        __builtin_prefetch(&r->warm.word[i / 64], 1);
        __builtin_prefetch(&r->idle[i / 64], 1);
    }
    ra_mutex_lock(&c->lock);
    for (uint32_t k = 0; k < n; k++) {
        struct ra_region *r = ra_region_near(c->pool, spare[k].seg);
        uint32_t i = (uint32_t)((size_t)(spare[k].seg - r->base) >>
                                c->seg_shift);

        QUIRE_ASSERT(!ra_bits_test(&r->warm, i));
        QUIRE_ASSERT(!ra_bits_test(&r->cold, i));
        ra_bits_set(&r->warm, i);
        r->idle[i / 64] &= ~(UINT64_C(1) << (i % 64));
        ra_class_count(c, r, 1, 0);
        ra_class_place(c, r);
    }
    ra_class_add_out(c, -(int64_t)n);
    wake = c->nwarm > c->wake_at;
    ra_room_news(c->pool);
    ra_mutex_unlock(&c->lock);
    if (QUIRE_UNLIKELY(wake))
        ra_sweeper_wake(c->pool);
}

bool ra_class_check(const struct ra_class *c, const struct ra_region *r)
{
    uint32_t nwarm = 0;
    uint32_t ncold = 0;

    /* RA-1 */
    if (atomic_load_explicit(&r->cls, memory_order_relaxed) != c->id)
        return false;
    /* RA-6 */
    if (r->list != ra_class_list_of(c, r))
        return false;
    for (uint32_t i = 0; i < c->nsegs; i++) {
        /* relaxed: while a bit is set the lock guards its state */
        uint8_t state = atomic_load_explicit(
            ra_region_state(r, c->seg_shift, i), memory_order_relaxed);
        bool warm = ra_bits_test(&r->warm, i);
        bool cold = ra_bits_test(&r->cold, i);

        nwarm += warm;
        ncold += cold;
        /* RA-5; and a segment in use is of this class */
        if ((warm && (cold || state != RA_FREE)) ||
            (cold && state != RA_DECOMMITTED) ||
            (state >= RA_IN_USE && state != RA_IN_USE + c->id))
            return false;
    }
    return nwarm == r->nwarm && ncold == r->ncold;
}
