/*
 * pool.c - the pool: options, its own tables, the figures.
 *
 * Three figures, never mixed: *mapped* (address space, "virtual" in quire.h),
 * *resident* (what the kernel charges), and *in use* (what callers hold). The
 * first two have limits, and both are raised before memory is obtained and
 * lowered after it is given back, so that the figure is never below the truth
 * and no race passes a limit (RA-2).
 *
 * What the pool needs for itself and grows with the limits is charged too: the
 * region table (16 bytes for each region that fits into the virtual limit) and
 * the regions' descriptors (0.03 to 0.07 % of a region). Neither is ever given
 * back before the pool ends, nor counted as in use.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/ra_impl.h"

static quire_status ra_pool_inval(const char *option, uint64_t value,
                                  const char *rule)
{
    return ra_fail(QUIRE_INVAL, "%s is %" PRIu64 ", but must be %s", option,
                   value, rule);
}

/* Raise the resident figure, if the budget allows; *now is what it is then. */
static bool ra_pool_charge(struct ra_pool *pool, uint64_t nbytes, uint64_t *now)
{
    /* relaxed, as all figures (see struct ra_pool), but where it fails:
     * seq_cst for the sake of ra_room_news() */
    uint64_t was = atomic_load_explicit(&pool->resident, memory_order_seq_cst);

    do {
        uint64_t budget = ra_pool_budget(pool);

        if (nbytes > budget || was > budget - nbytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(
        &pool->resident, &was, was + nbytes, memory_order_seq_cst,
        memory_order_seq_cst));
    /* The budget was lowered since, and the figure has come back to the same
     * number: then the new limit is seen here, since the exchange followed
     * its lowering. */
    if (QUIRE_UNLIKELY(was + nbytes > ra_pool_budget(pool))) {
        ra_pool_unreserve(pool, nbytes);
        return false;
    }
    *now = was + nbytes;
    return true;
}

bool ra_pool_reserve(struct ra_pool *pool, uint64_t nbytes)
{
    uint64_t budget = ra_pool_budget(pool);
    uint64_t peak;
    uint64_t now;

    if (!ra_pool_charge(pool, nbytes, &now))
        return false;
    peak = atomic_load_explicit(&pool->resident_peak, memory_order_relaxed);
    while (peak < now && !atomic_compare_exchange_weak_explicit(
                             &pool->resident_peak, &peak, now,
                             memory_order_relaxed, memory_order_relaxed))
        continue;
    if (QUIRE_UNLIKELY(now > budget - budget / 32))
        ra_sweeper_wake(pool);
    return true;
}

void ra_pool_unreserve(struct ra_pool *pool, uint64_t nbytes)
{
    /* seq_cst: for ra_room_news() */
    uint64_t was = atomic_fetch_sub_explicit(&pool->resident, nbytes,
                                             memory_order_seq_cst);

    QUIRE_ASSERT(was >= nbytes);
    (void)was;
}

bool ra_pool_reserve_virtual(struct ra_pool *pool, uint64_t nbytes)
{
    uint64_t was = atomic_load_explicit(&pool->mapped, memory_order_relaxed);

    do {
        if (nbytes > pool->virtual_limit || was > pool->virtual_limit - nbytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(
        &pool->mapped, &was, was + nbytes, memory_order_relaxed,
        memory_order_relaxed));
    return true;
}

void ra_pool_unreserve_virtual(struct ra_pool *pool, uint64_t nbytes)
{
    uint64_t was = atomic_fetch_sub_explicit(&pool->mapped, nbytes,
                                             memory_order_relaxed);

    QUIRE_ASSERT(was >= nbytes);
    (void)was;
}

/* Segments that callers hold, of each class: those handed out, but for the
 * magazines. The two are not read at one instant. */
static void ra_pool_segs_in_use(struct ra_pool *pool,
                                uint64_t n[QUIRE_SEG_CLASSES])
{
    ra_mag_sum(pool, n);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        uint64_t out = ra_figure(&pool->cls[i].out);

        n[i] = out - ra_min_u64(out, n[i]);
    }
}

uint64_t ra_pool_in_use(struct ra_pool *pool)
{
    uint64_t nbytes = ra_figure(&pool->table_bytes);
    uint64_t n[QUIRE_SEG_CLASSES];

    ra_pool_segs_in_use(pool, n);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        nbytes += n[i] << pool->cls[i].seg_shift;
    return nbytes;
}

/* ---- creation ---- */

static quire_status ra_pool_check_sys(const struct quire_sys *sys)
{
    long page = sysconf(_SC_PAGESIZE);

    if (sys->size < offsetof(struct quire_sys, huge))
        return ra_pool_inval("sys.size", sys->size, "sizeof(struct quire_sys)");
    if (sys->map == NULL || sys->unmap == NULL || sys->commit == NULL ||
        sys->decommit == NULL || sys->alloc == NULL || sys->free == NULL ||
        sys->thread_create == NULL || sys->thread_join == NULL)
        return ra_fail(QUIRE_INVAL, "a function of the table sys is NULL");
    if (page < 0 || (size_t)page > RA_OS_PAGE)
        return ra_fail(QUIRE_INVAL,
                       "the system's pages of %ld bytes are larger than the "
                       "smallest segment",
                       page);
    return QUIRE_OK;
}

/* The limits, from the options and their defaults. */
static quire_status ra_pool_limits(const struct quire_pool_options *opt,
                                   uint64_t *budget, uint64_t *virt,
                                   uint32_t *region)
{
    uint64_t auto_region = RA_REGION_MIN;

    *budget = opt->budget_bytes != 0 ? opt->budget_bytes : QUIRE_BUDGET_DEFAULT;
    if (*budget < QUIRE_BUDGET_MIN || *budget > RA_BUDGET_MAX)
        return ra_pool_inval("budget_bytes", *budget, "8 MiB to 64 TiB");
    while (auto_region < RA_REGION_AUTO_MAX && auto_region * 2 <= *budget / 64)
        auto_region *= 2;
    *region = opt->region_bytes != 0 ? opt->region_bytes
                                     : (uint32_t)auto_region;
    if (!ra_is_pow2(*region) || *region < RA_REGION_MIN ||
        *region > RA_REGION_MAX)
        return ra_pool_inval("region_bytes", *region,
                             "a power of two, 512 KiB to 64 MiB");
    /* Large regions under a small budget: one for each class, and as many
     * again for those half empty. */
    *virt = opt->virtual_bytes != 0
                ? opt->virtual_bytes
                : ra_max_u64(*budget * 4, (uint64_t)*region * 16);
    if (*virt < *budget || *virt < *region)
        return ra_pool_inval("virtual_bytes", *virt,
                             "at least the budget and one region");
    /* The region table has 16 bytes or more for each region. */
    if (*virt / *region > *budget / 1024)
        return ra_pool_inval("virtual_bytes", *virt,
                             "less, for this budget and region size");
    return QUIRE_OK;
}

static void ra_pool_init_classes(struct ra_pool *pool)
{
    for (uint32_t i = 0; i < QUIRE_SEG_CLASSES; i++) {
        struct ra_class *c = &pool->cls[i];

        ra_mutex_init(&c->lock, RA_RANK_RA_CLASS);
        c->pool = pool;
        c->id = i;
        c->seg_shift = 12 + i;
        c->nsegs_shift = pool->region_shift - c->seg_shift;
        c->nsegs = UINT32_C(1) << c->nsegs_shift;
        ra_sweeper_set_threshold(c, 0);
    }
}

/* Map and commit `nbytes` of the pool's own, charged to both limits. */
static quire_status ra_pool_map_own(struct ra_pool *pool, size_t nbytes,
                                    void **mem)
{
    int err;

    *mem = NULL;
    if (!ra_pool_reserve(pool, nbytes) ||
        !ra_pool_reserve_virtual(pool, nbytes))
        return ra_fail(QUIRE_INVAL,
                       "the limits leave no room for the pool's own %zu bytes",
                       nbytes);
    err = QUIRE_POINT(RA_POOL_MAP, -ENOMEM,
                      pool->sys.map(pool->sys.ctx, nbytes, RA_OS_PAGE, mem));
    if (err == 0) {
        err = QUIRE_POINT(RA_POOL_COMMIT, -ENOMEM,
                          pool->sys.commit(pool->sys.ctx, *mem, nbytes));
        if (err == 0)
            return QUIRE_OK;
        pool->sys.unmap(pool->sys.ctx, *mem, nbytes);
    }
    *mem = NULL;
    return ra_fail(QUIRE_NOMEM,
                   "no memory for the pool's tables: the system refused %zu "
                   "bytes (error %d)",
                   nbytes, -err);
}

/* The page by which a forked child is known. Without support by the kernel,
 * or by a replaced map(), there is none, and `alive` points to a constant. */
static quire_status ra_pool_mark_process(struct ra_pool *pool)
{
    static const volatile uint8_t always = 1;
    quire_status rc = ra_pool_map_own(pool, RA_OS_PAGE, &pool->alive_page);

    if (rc != QUIRE_OK)
        return rc;
    if (madvise(pool->alive_page, RA_OS_PAGE, MADV_WIPEONFORK) == 0 &&
        madvise(pool->alive_page, RA_OS_PAGE, MADV_DOFORK) == 0) {
        *(volatile uint8_t *)pool->alive_page = 1;
        pool->alive = pool->alive_page;
        return QUIRE_OK;
    }
    pool->sys.unmap(pool->sys.ctx, pool->alive_page, RA_OS_PAGE);
    pool->alive_page = NULL;
    ra_pool_unreserve_virtual(pool, RA_OS_PAGE);
    ra_pool_unreserve(pool, RA_OS_PAGE);
    pool->alive = &always;
    return QUIRE_OK;
}

quire_status ra_pool_create(const struct quire_pool_options *opt,
                            struct ra_pool **pool_out)
{
    const struct quire_sys *sys = opt->sys != NULL ? opt->sys
                                                   : quire_sys_default();
    struct ra_pool *pool = NULL;
    void *slots = NULL;
    uint64_t budget = 0;
    uint64_t virt = 0;
    uint32_t region = 0;
    quire_status rc;

    *pool_out = NULL;
    rc = ra_pool_check_sys(sys);
    if (rc != QUIRE_OK)
        return rc;
    rc = ra_pool_limits(opt, &budget, &virt, &region);
    if (rc != QUIRE_OK)
        return rc;

    pool = QUIRE_POINT(RA_POOL_HANDLE, NULL, ra_line_alloc(sys, sizeof(*pool)));
    if (pool == NULL)
        return ra_fail(QUIRE_NOMEM,
                       "no memory for a pool: the system refused %zu bytes",
                       sizeof(*pool));
    /* A table made for an earlier header ends sooner, a later one's first
     * fields are ours. */
    memcpy(&pool->sys, sys,
           sys->size < sizeof(*sys) ? sys->size : sizeof(*sys));
    pool->log.fn = opt->log;
    pool->log.arg = opt->log_arg;
    atomic_store_explicit(&pool->budget_bytes, budget, memory_order_relaxed);
    pool->budget_peak = budget;
    pool->virtual_limit = virt;
    pool->region_bytes = region;
    pool->region_shift = (uint32_t)__builtin_ctz(region);
    pool->huge = pool->sys.huge != NULL && budget >= RA_HUGE_BUDGET_MIN &&
                 region >= RA_HUGE_BYTES;
    pool->nhomes = budget >= RA_HOMES_BUDGET_MIN ? RA_HOMES : 1;
    /* descriptor, three bitmaps, one byte for each of the most segments */
    pool->meta_bytes = (uint32_t)(sizeof(struct ra_region) +
                                  region / QUIRE_SEG_MIN / 8 * 3 +
                                  region / QUIRE_SEG_MIN + RA_LINE);
    while ((UINT64_C(1) << pool->nslots_shift) < virt / region * 2)
        pool->nslots_shift++;
    pool->slot_bytes = (size_t)ra_round_up(
        sizeof(pool->slot[0]) << pool->nslots_shift, RA_OS_PAGE);
    /* relaxed: nobody else knows the pool yet */
    atomic_store_explicit(&pool->empty, RA_SLOT_NONE, memory_order_relaxed);

    rc = ra_pool_map_own(pool, pool->slot_bytes, &slots);
    if (rc != QUIRE_OK)
        goto out;
    pool->slot = slots;
    rc = ra_pool_mark_process(pool);
    if (rc != QUIRE_OK)
        goto out;

    ra_mutex_init(&pool->sweep_lock, RA_RANK_RA_SWEEP);
    ra_mutex_init(&pool->table_lock, RA_RANK_RA_TABLE);
    ra_mutex_init(&pool->pressure_lock, RA_RANK_RA_PRESSURE);
    ra_cond_init(&pool->pressure_idle);
    ra_mutex_init(&pool->room_lock, RA_RANK_RA_ROOM);
    ra_cond_init(&pool->room_news);
    pool->wait_ms = RA_WAIT_MS;
    ra_pool_init_classes(pool);
    ra_mag_init(pool);
    ra_mutex_init(&pool->wake_lock, RA_RANK_RA_WAKE);
    ra_cond_init(&pool->wake);
    if (opt->background) {
        rc = ra_sweeper_start(pool);
        if (rc != QUIRE_OK) {
            (void)ra_pool_destroy(pool, false);
            return rc;
        }
    }
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "pool created: budget %" PRIu64 ", mapped at most %" PRIu64
                ", regions of %" PRIu32 " bytes",
                budget, virt, region);
    *pool_out = pool;
    return QUIRE_OK;

out:
    if (slots != NULL)
        sys->unmap(sys->ctx, slots, pool->slot_bytes);
    ra_line_free(sys, pool);
    return rc;
}

/* ---- the end ---- */

/* Log what callers still hold; the number of it. */
static uint64_t ra_pool_log_leaks(struct ra_pool *pool)
{
    uint64_t in_use[QUIRE_SEG_CLASSES];
    uint64_t n = 0;

    ra_pool_segs_in_use(pool, in_use);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        n += in_use[i];
        if (in_use[i] > 0)
            ra_log_line(&pool->log, QUIRE_LOG_WARN,
                        "pool destroyed with %" PRIu64
                        " segments of %zu bytes in use",
                        in_use[i], ra_class_bytes(&pool->cls[i]));
    }
    for (struct ra_table *t = pool->tables; t != NULL; t = t->next) {
        n++;
        ra_log_line(&pool->log, QUIRE_LOG_WARN,
                    "pool destroyed with a table of %zu bytes in use at %p",
                    t->nbytes, t->mem);
    }
    return n;
}

uint64_t ra_pool_destroy(struct ra_pool *pool, bool leaks_expected)
{
    struct quire_sys sys;
    uint64_t nleaks;

    if (pool == NULL)
        return 0;
    ra_sweeper_stop(pool);
    nleaks = ra_pool_log_leaks(pool);
    ra_mag_fini(pool);
    QUIRE_ASSERT(nleaks == 0 || leaks_expected);
    (void)leaks_expected;
    ra_log_line(&pool->log, QUIRE_LOG_DEBUG,
                "pool destroyed: %" PRIu64 " regions of %" PRIu32
                " bytes unmapped, resident at most %" PRIu64 " bytes",
                ra_figure(&pool->regions), pool->region_bytes,
                ra_figure(&pool->resident_peak));
    sys = pool->sys;

    while (pool->tables != NULL) {
        struct ra_table *t = pool->tables;

        pool->tables = t->next;
        sys.unmap(sys.ctx, t->mem, t->nbytes);
        ra_obj_free(&sys, t);
    }
    for (uint64_t i = 0; i < UINT64_C(1) << pool->nslots_shift; i++) {
        /* relaxed: no other thread uses the pool any more */
        struct ra_region *r = atomic_load_explicit(&pool->slot[i],
                                                   memory_order_relaxed);

        if (r != NULL)
            ra_region_unmap(pool, r);
    }
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        ra_mutex_fini(&pool->cls[i].lock);
    pthread_cond_destroy(&pool->wake);
    ra_mutex_fini(&pool->wake_lock);
    pthread_cond_destroy(&pool->room_news);
    ra_mutex_fini(&pool->room_lock);
    pthread_cond_destroy(&pool->pressure_idle);
    ra_mutex_fini(&pool->pressure_lock);
    ra_mutex_fini(&pool->table_lock);
    ra_mutex_fini(&pool->sweep_lock);
    if (pool->alive_page != NULL)
        sys.unmap(sys.ctx, pool->alive_page, RA_OS_PAGE);
    sys.unmap(sys.ctx, (void *)pool->slot, pool->slot_bytes);
    ra_line_free(&sys, pool);
    return nleaks;
}

/* ---- looking in ---- */

const struct quire_sys *ra_pool_sys(const struct ra_pool *pool)
{
    return &pool->sys;
}

const struct ra_log *ra_pool_log(const struct ra_pool *pool)
{
    return &pool->log;
}

bool ra_pool_forked(const struct ra_pool *pool)
{
    return *pool->alive == 0;
}

const volatile uint8_t *ra_pool_alive(const struct ra_pool *pool)
{
    return pool->alive;
}

/*
 * A smaller budget: the difference is reserved, as an allocation would reserve
 * it, then limit and figure are lowered together. Limit first: in between, a
 * reservation may fail that needn't, and is tried again after a sweep; the
 * other way round it could pass the new limit.
 */
quire_status ra_pool_set_budget(struct ra_pool *pool, uint64_t budget_bytes)
{
    struct ra_why why = { .kind = RA_WHY_BUDGET };
    struct ra_room room = { 0 };
    uint64_t was = ra_pool_budget(pool);
    uint64_t now;
    bool ok;

    if (ra_sections > 0)
        return ra_room_in_section();
    if (budget_bytes < QUIRE_BUDGET_MIN || budget_bytes > pool->virtual_limit)
        return ra_pool_inval("budget_bytes", budget_bytes,
                             "8 MiB to the limit on mapped bytes");
    if (budget_bytes >= was) {
        pool->budget_peak = ra_max_u64(pool->budget_peak, budget_bytes);
        /* relaxed: see struct ra_pool */
        atomic_store_explicit(&pool->budget_bytes, budget_bytes,
                              memory_order_relaxed);
        ra_room_news(pool);
    } else {
        uint64_t less = was - budget_bytes;

        do {
            ok = ra_pool_charge(pool, less, &now);
        } while (!ok && ra_room_make(pool, &room, &why, (size_t)less));
        ra_room_leave(pool, &room);
        if (!ok)
            return ra_room_fail(pool, &why, "a smaller budget, by a range",
                                (size_t)less);
        atomic_store_explicit(&pool->budget_bytes, budget_bytes,
                              memory_order_relaxed);
        ra_pool_unreserve(pool, less);
    }
    ra_room_set_caps(pool);
    (void)ra_mag_drain(pool); /* what they hold may be above their bounds */
    ra_log_line(&pool->log, QUIRE_LOG_INFO,
                "budget changed from %" PRIu64 " to %" PRIu64 " bytes", was,
                budget_bytes);
    return QUIRE_OK;
}

void ra_pool_stat(struct ra_pool *pool, struct quire_pool_stat *st)
{
    uint64_t mag[QUIRE_SEG_CLASSES];

    ra_mag_sum(pool, mag);
    memset(st, 0, sizeof(*st));
    st->size = sizeof(*st);
    st->budget_bytes = ra_pool_budget(pool);
    st->virtual_bytes = ra_figure(&pool->mapped);
    st->resident_bytes = ra_figure(&pool->resident);
    st->in_use_bytes = ra_figure(&pool->table_bytes);
    st->resident_peak_bytes = ra_figure(&pool->resident_peak);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++) {
        struct quire_pool_class_stat *k = &st->cls[i];
        struct ra_class *c = &pool->cls[i];
        uint64_t out;

        ra_mutex_lock(&c->lock);
        out = ra_figure(&c->out);
        k->free = c->nwarm;
        k->out_peak = c->out_peak;
        k->regions = c->nregions;
        ra_mutex_unlock(&c->lock);
        k->regions_mapped = ra_figure(&c->mapped);
        k->regions_reused = ra_figure(&c->reused);
        k->regions_freed = ra_figure(&c->freed);
        k->decommitted_bytes = ra_figure(&c->decommitted);
        k->in_magazines = mag[i];
        k->in_use = out - ra_min_u64(out, mag[i]);
        st->segments_in_use += k->in_use;
        st->in_use_bytes += k->in_use << c->seg_shift;
        st->free_bytes += k->free << c->seg_shift;
        st->magazine_bytes += mag[i] << c->seg_shift;
    }
    st->magazines = ra_figure(&pool->nmags);
    st->background_sweeps = ra_figure(&pool->passes);
    st->decommitted_bytes = ra_figure(&pool->decommitted);
    st->regions = ra_figure(&pool->regions);
    st->regions_empty = ra_figure(&pool->regions_empty);
    /* regions are never unmapped before the pool ends */
    st->regions_mapped = st->regions;
    st->regions_reused = ra_figure(&pool->regions_reused);
    st->regions_freed = ra_figure(&pool->regions_freed);
    st->sweeps = ra_figure(&pool->sweeps);
    st->pressure_calls = ra_figure(&pool->pressure_calls);
    st->waits = ra_figure(&pool->waits);
    st->failed_allocs = ra_figure(&pool->failed_allocs);
    st->misuses = ra_figure(&pool->misuses);
}
