/*
 * check.c - verifying the pool: its invariants, and the kernel's view of it.
 *
 * ra_check_pool() walks every region through the table and every list through
 * the classes, and compares the sums with the figures. The kernel's view comes
 * from /proc/self/pagemap, which has eight bytes for each page, bit 63 set
 * when the page is present. It names exactly the pool's addresses; in
 * /proc/self/smaps, mappings of two pools that touch are one line.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "alloc/ra_impl.h"

static bool ra_check_failed(struct ra_pool *pool, const char *rule,
                            const void *what)
{
    ra_log_line(&pool->log, QUIRE_LOG_ERROR, "%s does not hold (at %p)", rule,
                what);
    (void)ra_fail(QUIRE_MISUSE, "%s does not hold (at %p)", rule, what);
    return false;
}

/* What the regions add up to. */
struct ra_check_sum {
    uint64_t regions;
    uint64_t empty;
    uint64_t whole;
    uint64_t resident; /* bytes */
    uint64_t nregions[QUIRE_SEG_CLASSES];
    uint64_t nwarm[QUIRE_SEG_CLASSES];
    uint64_t noffer[QUIRE_SEG_CLASSES][RA_HOMES];
    uint64_t in_use[QUIRE_SEG_CLASSES];
    uint64_t spare[QUIRE_SEG_CLASSES]; /* free, and not on offer */
};

static bool ra_check_empty_region(struct ra_pool *pool, struct ra_region *r,
                                  struct ra_check_sum *sum)
{
    sum->empty++;
    if (r->nwarm != 0 || r->list != RA_LIST_NONE)
        return ra_check_failed(pool, "RA-1: an empty region in a class",
                               r->base);
    for (uint32_t i = 0; i < pool->region_bytes / QUIRE_SEG_MIN; i++) {
        /* relaxed: nothing changes meanwhile */
        if (atomic_load_explicit(&r->state[i], memory_order_relaxed) !=
            RA_DECOMMITTED)
            return ra_check_failed(
                pool, "RA-5: an empty region has resident segments", r->base);
    }
    return true;
}

static bool ra_check_region(struct ra_pool *pool, struct ra_region *r,
                            struct ra_check_sum *sum)
{
    uint32_t cls = atomic_load_explicit(&r->cls, memory_order_relaxed);
    struct ra_class *c;
    bool ok;

    sum->regions++;
    sum->resident += pool->meta_bytes;
    if (ra_region_find(pool, r->base) != r)
        return ra_check_failed(pool, "RA-7: a region that isn't found",
                               r->base);
    if (cls == RA_CLASS_NONE)
        return ra_check_empty_region(pool, r, sum);

    c = &pool->cls[cls];
    ra_mutex_lock(&c->lock);
    ok = ra_class_check(c, r);
    sum->nregions[cls]++;
    sum->nwarm[cls] += r->nwarm;
    sum->noffer[cls][r->home] += r->nwarm + r->ncold;
    sum->whole += ra_class_out(c, r) == 0;
    for (uint32_t i = 0; i < c->nsegs; i++) {
        uint8_t state = atomic_load_explicit(
            ra_region_state(r, c->seg_shift, i), memory_order_relaxed);

        if (state != RA_DECOMMITTED)
            sum->resident += ra_class_bytes(c);
        sum->in_use[cls] += state >= RA_IN_USE;
        sum->spare[cls] += state == RA_FREE && !ra_bits_test(&r->warm, i);
    }
    ra_mutex_unlock(&c->lock);
    if (!ok)
        return ra_check_failed(pool, "RA-1, RA-5 or RA-6: a region", r->base);
    return true;
}

/* The lists of `c` hold regions that know so, each once. */
static bool ra_check_lists(struct ra_class *c)
{
    bool ok = true;

    ra_mutex_lock(&c->lock);
    for (unsigned k = 0; k < RA_HOMES * RA_LISTS; k++) {
        unsigned home = k / RA_LISTS;
        unsigned l = k % RA_LISTS;
        struct ra_region *r = c->home[home].list[l];
        const struct ra_region *prev = NULL;
        uint64_t n = 0;

        ok = ok && (((c->home[home].mask >> l) & 1) != 0) == (r != NULL) &&
             (r == NULL || home < c->pool->nhomes);
        for (; ok && r != NULL; r = r->next) {
            ok = r->list == l && r->home == home && r->prev == prev &&
                 ++n <= c->nregions;
            prev = r;
        }
    }
    ra_mutex_unlock(&c->lock);
    return ok;
}

/* The list of empty regions holds `n`, each in no class. */
static bool ra_check_empty_list(struct ra_pool *pool, uint64_t n)
{
    uint32_t slot = (uint32_t)ra_figure(&pool->empty);

    while (slot != RA_SLOT_NONE && n > 0) {
        struct ra_region *r = atomic_load_explicit(&pool->slot[slot],
                                                   memory_order_relaxed);

        if (r == NULL || r->slot != slot ||
            atomic_load_explicit(&r->cls, memory_order_relaxed) !=
                RA_CLASS_NONE)
            return false;
        slot = atomic_load_explicit(&r->next_empty, memory_order_relaxed);
        n--;
    }
    return slot == RA_SLOT_NONE && n == 0;
}

bool ra_check_pool(struct ra_pool *pool)
{
    struct ra_check_sum sum;
    uint64_t own = pool->slot_bytes +
                   (pool->alive_page != NULL ? RA_OS_PAGE : 0);
    uint64_t tables = 0;
    uint64_t mags = ra_figure(&pool->nmags) * ra_mag_charge();
    uint64_t spare[QUIRE_SEG_CLASSES];

    ra_mag_sum(pool, spare);
    memset(&sum, 0, sizeof(sum));
    for (uint64_t i = 0; i < UINT64_C(1) << pool->nslots_shift; i++) {
        /* acquire: as in ra_region_find() */
        struct ra_region *r = atomic_load_explicit(&pool->slot[i],
                                                   memory_order_acquire);

        if (r != NULL && !ra_check_region(pool, r, &sum))
            return false;
    }
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        struct ra_class *c = &pool->cls[i];

        if (!ra_check_lists(c))
            return ra_check_failed(pool, "RA-6: the lists of a class", c);
        if (sum.nregions[i] != c->nregions || sum.nwarm[i] != c->nwarm ||
            sum.in_use[i] + sum.spare[i] != ra_figure(&c->out) ||
            sum.spare[i] != spare[i])
            return ra_check_failed(pool, "RA-9: the sums of a class", c);
        for (unsigned home = 0; home < RA_HOMES; home++) {
            if (sum.noffer[i][home] != c->home[home].noffer)
                return ra_check_failed(pool, "RA-9: the sums of a home", c);
        }
    }
    ra_mutex_lock(&pool->table_lock);
    for (struct ra_table *t = pool->tables; t != NULL; t = t->next)
        tables += t->nbytes;
    ra_mutex_unlock(&pool->table_lock);

    if (sum.regions != ra_figure(&pool->regions) ||
        sum.empty != ra_figure(&pool->regions_empty) ||
        sum.whole != ra_figure(&pool->regions_whole) ||
        tables != ra_figure(&pool->table_bytes))
        return ra_check_failed(pool, "RA-9: the counts of the pool", pool);
    if (sum.resident + tables + own + mags != ra_figure(&pool->resident))
        return ra_check_failed(pool, "RA-9: the resident figure", pool);
    if (sum.regions * pool->region_bytes + tables + own !=
        ra_figure(&pool->mapped))
        return ra_check_failed(pool, "RA-9: the virtual figure", pool);
    if (ra_figure(&pool->resident) > ra_pool_budget(pool) ||
        ra_figure(&pool->mapped) > pool->virtual_limit ||
        ra_figure(&pool->resident_peak) > pool->budget_peak)
        return ra_check_failed(pool, "RA-2: a limit", pool);
    if (!ra_check_empty_list(pool, sum.empty))
        return ra_check_failed(pool, "RA-1: the list of empty regions", pool);
    return true;
}

/* ---- the kernel's view ---- */

/* Add the bytes present in a range; false: the kernel doesn't say. */
static bool ra_check_present(int fd, const void *addr, size_t nbytes,
                             uint64_t *present)
{
    uint64_t page[512];
    size_t first = (uintptr_t)addr / RA_OS_PAGE;
    size_t npages = nbytes / RA_OS_PAGE;

    while (npages > 0) {
        size_t n = npages < ARRAY_LEN(page) ? npages : ARRAY_LEN(page);
        ssize_t got = pread(fd, page, n * sizeof(page[0]),
                            (off_t)(first * sizeof(page[0])));

        if (got != (ssize_t)(n * sizeof(page[0])))
            return false;
        for (size_t i = 0; i < n; i++)
            *present += page[i] >> 63 != 0 ? RA_OS_PAGE : 0;
        first += n;
        npages -= n;
    }
    return true;
}

uint64_t ra_pool_kernel_resident(struct ra_pool *pool)
{
    uint64_t present = 0;
    bool ok;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ok = ra_check_present(fd, (void *)pool->slot, pool->slot_bytes, &present);
    if (pool->alive_page != NULL)
        ok = ok && ra_check_present(fd, pool->alive_page, RA_OS_PAGE, &present);
    for (uint64_t i = 0; ok && i < UINT64_C(1) << pool->nslots_shift; i++) {
        /* acquire: as in ra_region_find() */
        struct ra_region *r = atomic_load_explicit(&pool->slot[i],
                                                   memory_order_acquire);

        if (r != NULL)
            ok = ra_check_present(fd, r->base, pool->region_bytes, &present);
    }
    ra_mutex_lock(&pool->table_lock);
    for (struct ra_table *t = pool->tables; ok && t != NULL; t = t->next)
        ok = ra_check_present(fd, t->mem, t->nbytes, &present);
    ra_mutex_unlock(&pool->table_lock);
    close(fd);
    return ok ? present : 0;
}
