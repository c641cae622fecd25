/*
 * region.c - regions: mapping, finding, and the list of empty ones.
 *
 * A region is `region_bytes` of address space aligned to itself, cut into
 * segments of one class at a time:
 *
 *     base                                         base + region_bytes
 *     | seg 0 | seg 1 | seg 2 |  ...  | seg nsegs-1 |
 *
 * so that the segment's number is arithmetic, once the region is known. The
 * region of an address is found in a hash table over addr / region_bytes. Its
 * capacity is fixed at creation at twice what the virtual limit allows, and
 * regions are never unmapped before the pool ends: entries are only added, and
 * a look-up needs no lock.
 *
 * The descriptor lies outside the region, since a region's first page must be
 * decommitted like all others. It has room for the smallest class: a region
 * changes its class without an allocation.
 *
 * Empty regions (decommitted, in no class) form one Treiber stack for all
 * classes; a list for each class would strand addresses when the load moves to
 * another size. The top is a slot number beside a counter of pops: a thread
 * that slept between reading `next_empty` and the exchange finds the counter
 * changed, even if the same region is on top again. Descriptors live until the
 * pool ends, so reading `next_empty` of a region that was popped meanwhile is
 * harmless.
 *
 * RA-1: a region belongs to one owner: a class, the sweeper, or this list.
 */
#include <errno.h>
#include <inttypes.h>

#include "alloc/ra_impl.h"

static uint32_t ra_region_probe(const struct ra_pool *pool, uint32_t slot)
{
    return (slot + 1) & ((UINT32_C(1) << pool->nslots_shift) - 1);
}

struct ra_region *ra_region_find(struct ra_pool *pool, const void *addr)
{
    uintptr_t base = (uintptr_t)addr & ~((uintptr_t)pool->region_bytes - 1);
    uint32_t slot = ra_region_hash(pool, base);
    struct ra_region *r;

    for (;; slot = ra_region_probe(pool, slot)) {
        /* acquire: pairs with the release in ra_region_insert(), which
         * publishes a complete descriptor */
        r = atomic_load_explicit(&pool->slot[slot], memory_order_acquire);
        if (r == NULL || (uintptr_t)r->base == base)
            return r;
    }
}

static void ra_region_insert(struct ra_pool *pool, struct ra_region *r)
{
    uint32_t slot = ra_region_hash(pool, (uintptr_t)r->base);

    ra_mutex_lock(&pool->table_lock);
    /* relaxed: slots are written under table_lock only. A free one exists,
     * since the virtual limit ends at half the capacity (RA-7). */
    while (atomic_load_explicit(&pool->slot[slot], memory_order_relaxed) !=
           NULL)
        slot = ra_region_probe(pool, slot);
    r->slot = slot;
    /* release: pairs with the acquire in ra_region_find() */
    atomic_store_explicit(&pool->slot[slot], r, memory_order_release);
    ra_mutex_unlock(&pool->table_lock);
}

void ra_region_push(struct ra_pool *pool, struct ra_region *r)
{
    /* relaxed: a first guess, revalidated by the exchange below */
    uint64_t top = atomic_load_explicit(&pool->empty, memory_order_relaxed);
    uint64_t next;

    QUIRE_ASSERT(atomic_load_explicit(&r->cls, memory_order_relaxed) ==
                 RA_CLASS_NONE);
    ra_count(&pool->regions_empty, 1); /* before: never below the truth */
    do {
        /* relaxed: published by the exchange */
        atomic_store_explicit(&r->next_empty, (uint32_t)top,
                              memory_order_relaxed);
        next = (top & ~(uint64_t)UINT32_MAX) | r->slot;
        /* release: pairs with the acquire in ra_region_pop(); the region's
         * fields and its next go with it. relaxed on failure: tried again. */
    } while (!atomic_compare_exchange_weak_explicit(
        &pool->empty, &top, next, memory_order_release, memory_order_relaxed));
}

struct ra_region *ra_region_pop(struct ra_pool *pool)
{
    /* acquire, here and on failure: pairs with the release in
     * ra_region_push(), so that next_empty of the top is the pushed one */
    uint64_t top = atomic_load_explicit(&pool->empty, memory_order_acquire);
    struct ra_region *r;
    uint64_t next;

    do {
        if ((uint32_t)top == RA_SLOT_NONE)
            return NULL;
        /* relaxed: the slot was read by the thread that pushed, before its
         * release */
        r = atomic_load_explicit(&pool->slot[(uint32_t)top],
                                 memory_order_relaxed);
        next = (((top >> 32) + 1) << 32) |
               atomic_load_explicit(&r->next_empty, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(
        &pool->empty, &top, next, memory_order_acquire, memory_order_acquire));
    atomic_fetch_sub_explicit(&pool->regions_empty, 1, memory_order_relaxed);
    return r;
}

bool ra_region_protect(struct ra_pool *pool, struct ra_region *r, bool access)
{
#if QUIRE_DEBUG >= 1
    return pool->sys.protect == NULL ||
           pool->sys.protect(pool->sys.ctx, r->base, pool->region_bytes,
                             access) == 0;
#else
    (void)pool;
    (void)r;
    (void)access;
    return true;
#endif
}

void ra_region_make_huge(struct ra_pool *pool, struct ra_region *r)
{
    if (pool->huge &&
        QUIRE_POINT(RA_REGION_HUGE, -ENOMEM,
                    pool->sys.huge(pool->sys.ctx, r->base, pool->region_bytes,
                                   true)) == 0)
        r->plain = 0;
    else
        r->plain = UINT32_MAX;
}

bool ra_region_make_plain(struct ra_pool *pool, struct ra_region *r,
                          uint64_t off, uint64_t nbytes)
{
    uint64_t last = (off + nbytes - 1) >> RA_HUGE_SHIFT;

    if (r->plain == UINT32_MAX)
        return true;
    for (uint64_t g = off >> RA_HUGE_SHIFT; g <= last; g++) {
        uint64_t begin = g << RA_HUGE_SHIFT;

        if (((r->plain >> g) & 1) != 0 ||
            (off <= begin && begin + RA_HUGE_BYTES <= off + nbytes))
            continue;
        if (QUIRE_POINT(RA_REGION_PLAIN, -ENOMEM,
                        pool->sys.huge(pool->sys.ctx, r->base + begin,
                                       RA_HUGE_BYTES, false)) != 0)
            return false;
        r->plain |= UINT32_C(1) << g;
    }
    return true;
}

struct ra_region *ra_region_map(struct ra_pool *pool, struct ra_why *why)
{
    uint32_t nsegs = pool->region_bytes / (uint32_t)QUIRE_SEG_MIN;
    struct ra_region *r = NULL;
    void *base = NULL;
    bool charged = false;
    bool charged_virtual = false;

    why->kind = RA_WHY_BUDGET;
    charged = QUIRE_POINT(RA_REGION_BUDGET, false,
                          ra_pool_reserve(pool, pool->meta_bytes));
    if (!charged)
        goto out;
    why->kind = RA_WHY_VIRTUAL;
    charged_virtual = QUIRE_POINT(
        RA_REGION_ADDRESSES, false,
        ra_pool_reserve_virtual(pool, pool->region_bytes));
    if (!charged_virtual)
        goto out;
    why->kind = RA_WHY_SYSTEM;
    why->err = -ENOMEM;
    r = QUIRE_POINT(RA_REGION_DESCRIPTOR, NULL,
                    ra_line_alloc(&pool->sys, pool->meta_bytes - RA_LINE));
    if (r == NULL)
        goto out;
    why->err = QUIRE_POINT(RA_REGION_MAP, -ENOMEM,
                           pool->sys.map(pool->sys.ctx, pool->region_bytes,
                                         pool->region_bytes, &base));
    if (why->err != 0) {
        base = NULL;
        goto out;
    }
    /* A replaced table that maps off alignment would break every look-up. */
    why->err = -EINVAL;
    if (((uintptr_t)base & (pool->region_bytes - 1)) != 0)
        goto out;

    ra_guard(base, pool->region_bytes);
    r->base = base;
    r->warm.word = (uint64_t *)(r + 1);
    r->cold.word = r->warm.word + nsegs / 64;
    r->idle = r->cold.word + nsegs / 64;
    r->state = (_Atomic uint8_t *)(r->idle + nsegs / 64);
    r->list = RA_LIST_NONE;
    /* relaxed: published with the region */
    atomic_store_explicit(&r->cls, RA_CLASS_NONE, memory_order_relaxed);
    ra_region_make_huge(pool, r);
    ra_region_insert(pool, r);
    ra_count(&pool->regions, 1);
    RA_PROBE(region_map, r->base, pool->region_bytes);
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "region mapped at %p, %" PRIu32 " bytes", base,
                pool->region_bytes);
    return r;

out:
    if (base != NULL)
        pool->sys.unmap(pool->sys.ctx, base, pool->region_bytes);
    ra_line_free(&pool->sys, r);
    if (charged_virtual)
        ra_pool_unreserve_virtual(pool, pool->region_bytes);
    if (charged)
        ra_pool_unreserve(pool, pool->meta_bytes);
    return NULL;
}

/* Only as the pool ends: the table still names the region. The figures end
 * with the pool. */
void ra_region_unmap(struct ra_pool *pool, struct ra_region *r)
{
    /* The addresses will be somebody else's. */
    ra_unguard(r->base, pool->region_bytes);
    pool->sys.unmap(pool->sys.ctx, r->base, pool->region_bytes);
    ra_line_free(&pool->sys, r);
}
