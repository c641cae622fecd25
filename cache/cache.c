/*
 * cache.c - creating and destroying a cache, its figures, its invariants.
 *
 * All memory is taken at creation: the frames, the table and what the policy
 * needs from the pool, to whose budget they are charged, and one object for the rest. From then on the
 * cache allocates nothing, whatever happens; what can fail for lack of room is
 * only the claim of a frame or of bytes (evict.c).
 *
 * A hit by hint writes nothing that threads share, so it cannot count itself;
 * one in PC_SAMPLE does, for all (load.c). Pins are not counted either: what
 * is pinned is found by looking at every frame, when somebody asks.
 */
#include "cache/pc_impl.h"

/* Frames reclaimed together: a 32nd of them. Fewer, and the grace period, which
 * takes 10 ms when it meets a reader that has lost its processor, would be
 * shared by too few; more, and pages leave that would still be wanted. */
static uint32_t pc_batch_of(uint32_t max_pages)
{
    return (uint32_t)ra_max_u64(1, ra_min_u64(max_pages / 32, 512));
}

/* A tenth at least stays for what is used, whatever its kind. */
#define PC_SHARES_MAX 90u

static uint64_t pc_pressure(void *arg, uint64_t nbytes)
{
    struct pc_cache *c = arg;
    uint64_t given = 0;

    pc_evictor_full(c);
    if (!pc_read_inside() && !pc_self.reclaiming) /* PC-4 */
        given = pc_row_trim(c);
    if (given < nbytes)
        given += pc_evict(c, nbytes - given);
    if (given < nbytes && !pc_read_inside() && !pc_self.reclaiming)
        given += pc_row_give(c, nbytes - given); /* pages are pinned */
    return given;
}

static void pc_locks_fini(struct pc_cache *c)
{
    pc_census_fini(&c->census);
    pthread_cond_destroy(&c->wake);
    ra_mutex_fini(&c->wake_lock);
    ra_mutex_fini(&c->free_lock);
    ra_mutex_fini(&c->policy_lock);
    ra_mutex_fini(&c->reclaim);
    for (unsigned i = 0; i < PC_NWAITS; i++) {
        pthread_cond_destroy(&c->waits[i].cond);
        ra_mutex_fini(&c->waits[i].lock);
    }
    for (unsigned i = 0; i < PC_NSTRIPES; i++)
        ra_mutex_fini(&c->stripes[i]);
}

quire_status pc_cache_create(struct ra_pool *pool, const struct pc_options *opt,
                             struct pc_cache **cache)
{
    const struct quire_sys *sys = ra_pool_sys(pool);
    struct pc_cache *c = NULL;
    void *frames = NULL;
    void *table = NULL;
    void *policy = NULL;
    struct pc_policy_options popt = {
        .max_entries = opt->max_pages,
        .policy = opt->policy,
        .objective = opt->objective,
        .stride = sizeof(struct pc_frame),
        .evict = pc_evict_victim,
    };
    unsigned shares = 0;
    quire_status rc;

    *cache = NULL;
    if (opt->max_pages == 0 || opt->max_pages > PC_PAGES_MAX)
        return ra_fail(QUIRE_INVAL, "cache: max_pages %lu is not in 1 .. 2^31",
                       (unsigned long)opt->max_pages);
    if (opt->load == NULL || opt->removed == NULL)
        return ra_fail(QUIRE_INVAL, "cache: no %s callback",
                       opt->load == NULL ? "load" : "removed");
    for (unsigned i = 0; i < QUIRE_KIND_COUNT; i++)
        shares += opt->min_share_percent[i];
    if (shares > PC_SHARES_MAX)
        return ra_fail(QUIRE_INVAL,
                       "cache: the min_share_percent add up to %u, over %u",
                       shares, PC_SHARES_MAX);
    if (opt->background && opt->synchronous)
        return ra_fail(QUIRE_INVAL, "cache: both synchronous and background");
    c = QUIRE_POINT(PC_CACHE_HANDLE, NULL, ra_obj_alloc(sys, sizeof(*c)));
    if (c == NULL)
        return ra_fail(QUIRE_NOMEM, "cache: no memory for the handle");
    c->frame_bytes = opt->max_pages * sizeof(struct pc_frame);
    c->table_bytes = pc_table_bytes(opt->max_pages);
    c->policy_bytes = pc_policy_bytes(&popt);
    rc = QUIRE_POINT_RC(PC_CACHE_FRAMES, QUIRE_NOMEM,
                        ra_table_alloc(pool, c->frame_bytes, &frames));
    if (rc != QUIRE_OK)
        goto out;
    rc = QUIRE_POINT_RC(PC_CACHE_TABLE, QUIRE_NOMEM,
                        ra_table_alloc(pool, c->table_bytes, &table));
    if (rc != QUIRE_OK)
        goto out;
    rc = QUIRE_POINT_RC(PC_CACHE_POLICY, QUIRE_NOMEM,
                        ra_table_alloc(pool, c->policy_bytes, &policy));
    if (rc != QUIRE_OK)
        goto out;

    c->pool = pool;
    rc = pc_row_init(c, opt);
    if (rc != QUIRE_OK)
        goto out;
    c->alive = ra_pool_alive(pool);
    c->opt = *opt;
    c->shares = shares > 0;
    c->nframes = opt->max_pages;
    c->batch = opt->synchronous ? 1 : pc_batch_of(opt->max_pages);
    c->capacity = opt->capacity_bytes;
    c->frames = frames;
    popt.counts = (unsigned char *)frames + offsetof(struct pc_frame, uses);
    popt.ctx = c;
    c->policy_mem = policy;
    pc_policy_init(&c->policy, &popt, policy);
    for (uint32_t i = 0; i < c->nframes; i++) {
        /* relaxed: handed to other threads with the cache itself */
        atomic_store_explicit(&c->frames[i].key, PC_KEY_NONE,
                              memory_order_relaxed);
        atomic_store_explicit(&c->frames[i].state, PC_ST_FREE,
                              memory_order_relaxed);
    }
    pc_table_init(&c->table, table, c->nframes);
    for (unsigned i = 0; i < PC_NSTRIPES; i++)
        ra_mutex_init(&c->stripes[i], RA_RANK_PC_STRIPE);
    for (unsigned i = 0; i < PC_NWAITS; i++) {
        ra_mutex_init(&c->waits[i].lock, RA_RANK_PC_WAIT);
        ra_cond_init(&c->waits[i].cond);
    }
    ra_mutex_init(&c->reclaim, RA_RANK_PC_RECLAIM);
    ra_mutex_init(&c->policy_lock, RA_RANK_PC_POLICY);
    ra_mutex_init(&c->free_lock, RA_RANK_PC_FREE);
    ra_mutex_init(&c->wake_lock, RA_RANK_PC_WAKE);
    ra_cond_init(&c->wake);
    pc_census_init(&c->census);
    if (opt->background && !opt->synchronous) {
        rc = pc_evictor_start(c);
        if (rc != QUIRE_OK) {
            pc_locks_fini(c);
            goto out;
        }
    }
    ra_pool_set_pressure(pool, pc_pressure, c);
    *cache = c;
    c = NULL; /* handed over, with all that it holds */
    frames = NULL;
    table = NULL;
    policy = NULL;

out:
    if (c != NULL)
        pc_row_fini(c);
    if (policy != NULL)
        ra_table_free(pool, policy, pc_policy_bytes(&popt));
    if (table != NULL)
        ra_table_free(pool, table, pc_table_bytes(opt->max_pages));
    if (frames != NULL)
        ra_table_free(pool, frames, opt->max_pages * sizeof(struct pc_frame));
    ra_obj_free(sys, c);
    return rc;
}

static void pc_log_figures(struct pc_cache *c);

uint64_t pc_cache_destroy(struct pc_cache *cache, bool leaks_expected)
{
    struct pc_cache *c = cache;
    const struct quire_sys *sys;
    uint64_t npinned = 0;
    uint32_t n;

    if (c == NULL)
        return 0;
    sys = ra_pool_sys(c->pool);
    pc_evictor_stop(c);
    ra_pool_set_pressure(c->pool, NULL, NULL);
    pc_log_figures(c);
    n = atomic_load_explicit(&c->nused, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        if (pc_census_line(c, i, QUIRE_LOG_ERROR, "closed with ")) {
            npinned++;
            continue;
        }
        pc_frame_detach(c, i, QUIRE_CAUSE_CLOSED, true, false);
    }
    pc_grace(); /* for sections that still look at frames */
    pc_reclaim(c);
    QUIRE_ASSERT(npinned == 0 || leaks_expected);
    (void)leaks_expected;

    pc_row_fini(c);
    pc_locks_fini(c);
    ra_table_free(c->pool, c->policy_mem, c->policy_bytes);
    ra_table_free(c->pool, c->table.buckets, c->table_bytes);
    ra_table_free(c->pool, c->frames, c->frame_bytes);
    ra_obj_free(sys, c);
    return npinned;
}

uint64_t pc_pinned_pages(struct pc_cache *cache)
{
    struct pc_pinned p;

    pc_pinned_scan(cache, &p);
    return p.npages;
}

static uint64_t pc_figure(const _Atomic uint64_t *counter)
{
    /* relaxed: figures of different instants, as quire.h says */
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* What is resident now, by kind. */
static void pc_stat_frames(struct pc_cache *c, struct quire_cache_stat *st)
{
    uint32_t n = atomic_load_explicit(&c->nused, memory_order_relaxed);
    uint32_t now_ms = pc_now_ms();

    for (uint32_t i = 0; i < n; i++) {
        const struct pc_frame *f = &c->frames[i];
        /* relaxed, all: figures; frames change while we look */
        pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
        uint32_t age_ms = now_ms - atomic_load_explicit(&f->born_ms,
                                                        memory_order_relaxed);
        struct quire_cache_kind_stat *k;

        if (!pc_state_resident(s))
            continue;
        k = &st->kind[pc_kind_of(c, f) - c->kinds];
        k->pages++;
        k->bytes += atomic_load_explicit(&f->weight, memory_order_relaxed);
        if (age_ms <= UINT32_MAX / 2) /* else it came while we looked */
            k->age_ms += age_ms;
    }
    for (unsigned i = 0; i < QUIRE_KIND_COUNT; i++)
        if (st->kind[i].pages > 0)
            st->kind[i].age_ms /= st->kind[i].pages;
}

static void pc_stat_kind(const struct pc_kind *k,
                         struct quire_cache_kind_stat *out,
                         struct quire_cache_stat *st)
{
    out->hits_hint = pc_figure(&k->hits_hint);
    out->hits_table = pc_figure(&k->hits_table);
    out->misses = pc_figure(&k->misses);
    out->lookups = out->hits_hint + out->hits_table + out->misses;
    out->loads = pc_figure(&k->loads);
    out->waits = pc_figure(&k->waits);
    st->hits_hint += out->hits_hint;
    st->hits_table += out->hits_table;
    for (unsigned i = 0; i < PC_NCAUSES; i++) {
        out->removals[i] = pc_figure(&k->removals[i]);
        st->removals[i] += out->removals[i];
    }
}

void pc_stat(struct pc_cache *cache, struct quire_cache_stat *st)
{
    uint64_t charged = pc_figure(&cache->charged_bytes);
    size_t size = st->size;
    struct pc_pinned p;

    memset(st, 0, sizeof(*st));
    st->size = size;
    pc_pinned_scan(cache, &p);
    pc_stat_frames(cache, st);
    st->pages = pc_figure(&cache->npages);
    st->limbo_bytes = pc_figure(&cache->gone_bytes);
    st->bytes = charged > st->limbo_bytes ? charged - st->limbo_bytes : 0;
    st->pinned_pages = p.npages;
    memcpy(st->pinned_bytes, p.bytes, sizeof(st->pinned_bytes));
    for (unsigned i = 0; i < QUIRE_KIND_COUNT; i++) {
        pc_stat_kind(&cache->kinds[i], &st->kind[i], st);
        st->kind[i].pinned_pages = p.pages[i];
        st->kind[i].pinned_bytes = p.bytes[i];
        st->kind[i].orphans = p.orphans[i];
        st->kind[i].orphan_bytes = p.orphan_bytes[i];
    }
    st->misses = pc_figure(&cache->misses);
    st->loads = pc_figure(&cache->loads);
    st->load_failures = pc_figure(&cache->load_failures);
    st->waits = pc_figure(&cache->nwaits);
    st->misuses = pc_figure(&cache->misuses);
    st->background_evicted = pc_figure(&cache->background_evicted);
    pc_row_stat(cache, st);
}

/* What the cache has done, by kind, as it ends. */
static void pc_log_figures(struct pc_cache *c)
{
    struct quire_cache_stat st = { .size = sizeof(st) };

    if (c->opt.log.fn == NULL)
        return;
    pc_stat(c, &st);
    for (unsigned i = 0; i < QUIRE_KIND_COUNT; i++) {
        const struct quire_cache_kind_stat *k = &st.kind[i];

        if (k->lookups == 0 && k->pages == 0)
            continue;
        ra_log_line(
            &c->opt.log, QUIRE_LOG_INFO,
            "cache: %s: %llu look-ups, %llu hits by hint, %llu by table, %llu "
            "misses, %llu loads, %llu waits, %llu evicted, %llu removed, %llu "
            "replaced; now %llu pages of %llu bytes, %llu ms old on average",
            pc_kind_name(i), (unsigned long long)k->lookups,
            (unsigned long long)k->hits_hint, (unsigned long long)k->hits_table,
            (unsigned long long)k->misses, (unsigned long long)k->loads,
            (unsigned long long)k->waits,
            (unsigned long long)k->removals[QUIRE_CAUSE_EVICTED],
            (unsigned long long)k->removals[QUIRE_CAUSE_REMOVED],
            (unsigned long long)k->removals[QUIRE_CAUSE_REPLACED],
            (unsigned long long)k->pages, (unsigned long long)k->bytes,
            (unsigned long long)k->age_ms);
    }
}

/* ---- invariants ---- */

static bool pc_broken(const struct pc_cache *c, const char *what,
                      uint64_t figure)
{
    ra_log_line(&c->opt.log, QUIRE_LOG_ERROR, "cache: %s broken: %llu", what,
                (unsigned long long)figure);
    return false;
}

/* What the frames add up to. */
struct pc_sums {
    uint64_t pages;   /* resident */
    uint64_t listed;  /* in the table */
    uint64_t charged; /* bytes */
    uint64_t gone;    /* bytes */
    uint64_t free;    /* frames */
    uint64_t limbo;   /* frames */
    uint64_t depth;   /* sum of overflow counters that words are in */
    uint64_t kinds[QUIRE_KIND_COUNT]; /* bytes, resident */
};

static bool pc_check_frame(const struct pc_cache *c, uint32_t i,
                           struct pc_sums *sum)
{
    const struct pc_frame *f = &c->frames[i];
    pc_state s = atomic_load_explicit(&f->state, memory_order_relaxed);
    uint64_t key = atomic_load_explicit(&f->key, memory_order_relaxed);
    uint64_t weight = atomic_load_explicit(&f->weight, memory_order_relaxed);
    bool has_page = atomic_load_explicit(&f->payload, memory_order_relaxed) !=
                    NULL;
    int64_t depth;

    sum->charged += weight;
    if ((c->policy.engine.nodes[i].queue != PC_QUEUE_NONE) !=
        pc_state_resident(s))
        return pc_broken(c, "PC-10: queues of a frame", i);
    if ((s & PC_ST_GONE) != 0 && key != PC_KEY_NONE)
        return pc_broken(c, "PC-1: key of a frame that has left", i);
    if ((s & PC_ST_FREE) != 0) {
        if (s != PC_ST_FREE || has_page || weight != 0)
            return pc_broken(c, "PC-6: free frame", i);
        sum->free++;
        return true;
    }
    if ((s & PC_ST_LIMBO) != 0) {
        if (pc_state_pins(s) != 0)
            return pc_broken(c, "PC-3: pinned frame in limbo", i);
        sum->limbo++;
        sum->gone += weight;
        return true;
    }
    if ((s & PC_ST_ORPHAN) != 0) {
        if (pc_state_pins(s) == 0)
            return pc_broken(c, "PC-3: orphan without a pin", i);
        sum->gone += weight;
        return true;
    }
    if ((s & PC_ST_LOADING) == 0) {
        if (!has_page || weight == 0)
            return pc_broken(c, "PC-1: page of a resident frame", i);
        if (c->policy.engine.nodes[i].weight != weight)
            return pc_broken(c, "PC-10: weight of a frame", i);
        sum->pages++;
        sum->kinds[atomic_load_explicit(&f->kind, memory_order_relaxed)] +=
            weight;
    } else if (pc_state_pins(s) == 0 || weight != 0) {
        return pc_broken(c, "PC-6: loading frame", i);
    }
    if (key == PC_KEY_NONE)
        return true; /* claimed by a thread that is about to enter it */
    depth = pc_table_depth(&c->table, key, i);
    if (depth < 0 || pc_table_find(&c->table, c->frames, key) != i)
        return pc_broken(c, "PC-5: table entry of a frame", i);
    sum->listed++;
    sum->depth += (uint64_t)depth;
    return true;
}

bool pc_check_cache(struct pc_cache *cache)
{
    struct pc_cache *c = cache;
    struct pc_sums sum = { 0 };
    uint64_t n = 0;
    uint64_t overflows;
    uint32_t nused;
    uint32_t at;

    nused = atomic_load_explicit(&c->nused, memory_order_relaxed);
    for (uint32_t i = 0; i < c->nframes; i++) {
        if (!pc_check_frame(c, i, &sum))
            return false;
    }
    if (!pc_policy_check(&c->policy) || c->policy.engine.n != sum.pages)
        return pc_broken(c, "PC-10: the policy's queues", sum.pages);
    if (pc_table_count(&c->table, &overflows) != sum.listed)
        return pc_broken(c, "PC-5: words in the table", sum.listed);
    if (overflows != sum.depth)
        return pc_broken(c, "PC-5: overflow counters", overflows);
    if (sum.pages != pc_figure(&c->npages))
        return pc_broken(c, "PC-7: number of pages", sum.pages);
    for (unsigned i = 0; i < QUIRE_KIND_COUNT; i++)
        if (sum.kinds[i] != pc_figure(&c->kinds[i].bytes))
            return pc_broken(c, "PC-7: bytes of a kind", i);
    if (sum.charged != pc_figure(&c->charged_bytes))
        return pc_broken(c, "PC-7: bytes charged", sum.charged);
    if (sum.gone != pc_figure(&c->gone_bytes))
        return pc_broken(c, "PC-7: bytes of pages that left", sum.gone);
    if (c->capacity != 0 && sum.charged > c->capacity)
        return pc_broken(c, "PC-7: capacity", sum.charged);

    ra_mutex_lock(&c->free_lock);
    for (at = c->free_head; at != 0 && n <= nused; n++)
        at = c->frames[at - 1].next;
    ra_mutex_unlock(&c->free_lock);
    if (n + (c->nframes - nused) != sum.free)
        return pc_broken(c, "PC-6: length of the free list", n);
    n = 0;
    for (at = atomic_load_explicit(&c->limbo_head, memory_order_acquire);
         at != 0 && n <= nused; n++)
        at = c->frames[at - 1].next;
    if (n != sum.limbo ||
        n != atomic_load_explicit(&c->nlimbo, memory_order_relaxed))
        return pc_broken(c, "PC-3: length of limbo", n);
    if (!pc_row_check(c))
        return pc_broken(c, "PC-12: sets of rows", pc_figure(&c->rows.nrows));
    return true;
}
