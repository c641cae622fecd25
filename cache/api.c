/*
 * api.c - quire_cache_*: the cache's functions with checked arguments.
 *
 * A struct quire_cache is a struct pc_cache, and a struct quire_pool a struct
 * ra_pool, under their public names: those are never completed, and the casts
 * are here. Checked is what a caller can get wrong without touching freed
 * memory: null pointers, sizes, a call in a forked child, a call that may wait
 * inside a read section. What every user of the cache needs checked, the store
 * too, is checked in the functions of pc.h: pages, keys, pins.
 */
#include <inttypes.h>

#include "cache/pc_impl.h"

/* The hint of the public interface is a plain integer of the caller's. */
static_assert(sizeof(pc_hint) == sizeof(uint32_t), "pc_hint is 32 bits");

static struct pc_cache *pc_api_in(struct quire_cache *cache)
{
    return (struct pc_cache *)cache;
}

static quire_status pc_api_null(const char *what)
{
    return ra_fail(QUIRE_MISUSE, "%s is NULL", what);
}

/* A cache that this process may use. */
static quire_status pc_api_check(struct quire_cache *cache)
{
    if (QUIRE_UNLIKELY(cache == NULL))
        return pc_api_null("cache");
    if (QUIRE_UNLIKELY(*pc_api_in(cache)->alive == 0))
        return ra_fail(QUIRE_MISUSE, "the cache belongs to the parent process");
    return QUIRE_OK;
}

static quire_status pc_api_size(size_t size, size_t least, const char *what)
{
    if (size < least)
        return ra_fail(QUIRE_INVAL,
                       "size is %zu, but must be sizeof(struct "
                       "%s)",
                       size, what);
    return QUIRE_OK;
}

quire_status quire_cache_create(struct quire_pool *pool,
                                const struct quire_cache_options *opt,
                                struct quire_cache **cache)
{
    struct ra_pool *ra = (struct ra_pool *)pool;
    struct quire_pool_stat st;
    struct pc_options o = { 0 };
    struct pc_cache *made;
    uint64_t pages;
    quire_status rc;

    if (cache == NULL)
        return pc_api_null("cache");
    *cache = NULL;
    if (pool == NULL || opt == NULL)
        return pc_api_null(pool == NULL ? "pool" : "opt");
    if (ra_pool_forked(ra))
        return ra_fail(QUIRE_MISUSE, "the pool belongs to the parent process");
    rc = pc_may_wait("cache: create");
    if (rc != QUIRE_OK)
        return rc;
    rc = pc_api_size(opt->size, sizeof(*opt), "quire_cache_options");
    if (rc != QUIRE_OK)
        return rc;
    if (opt->load == NULL || opt->removed == NULL)
        return ra_fail(QUIRE_INVAL, "%s is NULL",
                       opt->load == NULL ? "load" : "removed");
    if (opt->max_pages > PC_PAGES_MAX)
        return ra_fail(QUIRE_INVAL, "max_pages %" PRIu32 " is over 2^31",
                       opt->max_pages);
    ra_pool_stat(ra, &st);
    pages = (opt->capacity_bytes != 0 ? opt->capacity_bytes : st.budget_bytes) /
            QUIRE_SEG_MIN;
    o.capacity_bytes = opt->capacity_bytes;
    o.max_pages = opt->max_pages;
    if (o.max_pages == 0)
        o.max_pages = (uint32_t)ra_max_u64(1, ra_min_u64(pages, PC_PAGES_MAX));
    o.load = opt->load;
    o.removed = opt->removed;
    o.ctx = opt->ctx;
    if ((unsigned)opt->objective > QUIRE_OBJECTIVE_BYTES)
        return ra_fail(QUIRE_INVAL, "objective %u is none of quire_objective",
                       (unsigned)opt->objective);
    if ((unsigned)opt->policy > QUIRE_POLICY_GREEDY_DUAL)
        return ra_fail(QUIRE_INVAL, "policy %u is none of quire_policy",
                       (unsigned)opt->policy);
    o.objective = opt->objective;
    o.policy = opt->policy;
    o.synchronous = opt->synchronous;
    o.background = opt->background;
    o.evicted = opt->evicted;
    memcpy(o.min_share_percent, opt->min_share_percent,
           sizeof(o.min_share_percent));
    o.log.fn = opt->log;
    o.log.arg = opt->log_arg;
    rc = pc_cache_create(ra, &o, &made);
    if (rc != QUIRE_OK)
        return rc;
    *cache = (struct quire_cache *)made;
    return QUIRE_OK;
}

quire_status quire_cache_destroy(struct quire_cache *cache)
{
    struct pc_pinned p;
    quire_status rc;

    if (cache == NULL)
        return QUIRE_OK;
    rc = pc_api_check(cache);
    if (rc != QUIRE_OK)
        return rc;
    rc = pc_may_wait("cache: destroy");
    if (rc != QUIRE_OK)
        return rc;
    pc_pinned_scan(pc_api_in(cache), &p);
    if (p.npages + p.loading > 0) {
        (void)pc_census(pc_api_in(cache), QUIRE_LOG_WARN);
        return ra_fail(QUIRE_BUSY,
                       "%" PRIu64 " pages of the cache are pinned, %" PRIu64
                       " loading",
                       p.npages, p.loading);
    }
    (void)pc_cache_destroy(pc_api_in(cache), false);
    return QUIRE_OK;
}

quire_status quire_cache_pin(struct quire_cache *cache, uint64_t key,
                             uint32_t *hint, void *arg, struct quire_pin *pin)
{
    const void *payload;
    uint32_t frame;
    quire_status rc;

    if (pin == NULL)
        return pc_api_null("pin");
    pin->payload = NULL;
    pin->frame = PC_FRAME_NONE;
    rc = pc_api_check(cache);
    if (rc != QUIRE_OK)
        return rc;
    rc = QUIRE_POINT_RC(
        PC_API_PIN, QUIRE_NOMEM,
        pc_pin(pc_api_in(cache), key, (pc_hint *)hint, arg, &payload, &frame));
    if (rc != QUIRE_OK)
        return rc;
    pin->payload = payload;
    pin->frame = frame;
    return QUIRE_OK;
}

void quire_cache_unpin(struct quire_cache *cache, const struct quire_pin *pin)
{
    if (pin == NULL || pc_api_check(cache) != QUIRE_OK)
        return;
    pc_unpin(pc_api_in(cache), pin->frame);
}

void quire_cache_enter(struct quire_cache *cache)
{
    (void)cache; /* sections are of a thread, whatever caches it reads */
    pc_read_enter();
}

void quire_cache_exit(struct quire_cache *cache)
{
    (void)cache;
    if (QUIRE_LIKELY(ra_sections > 0))
        pc_read_exit();
}

const void *quire_cache_get(struct quire_cache *cache, uint64_t key,
                            uint32_t *hint)
{
    if (pc_api_check(cache) != QUIRE_OK)
        return NULL;
    if (QUIRE_UNLIKELY(ra_sections == 0)) {
        ra_fail(QUIRE_MISUSE, "cache: get outside a read section");
        return NULL;
    }
    return pc_get_near(pc_api_in(cache), key, (pc_hint *)hint, NULL);
}

quire_status quire_cache_insert(struct quire_cache *cache, uint64_t key,
                                const struct quire_page *page)
{
    quire_status rc = pc_api_check(cache);

    if (rc != QUIRE_OK)
        return rc;
    if (page == NULL)
        return pc_api_null("page");
    return QUIRE_POINT_RC(PC_API_INSERT, QUIRE_NOMEM,
                          pc_insert(pc_api_in(cache), key, page));
}

quire_status quire_cache_remove(struct quire_cache *cache, uint64_t key)
{
    quire_status rc = pc_api_check(cache);

    if (rc != QUIRE_OK)
        return rc;
    return pc_remove(pc_api_in(cache), key);
}

const char *quire_cache_tag(const char *tag)
{
    return pc_tag(tag);
}

quire_status quire_cache_census(struct quire_cache *cache, uint64_t *npages)
{
    uint64_t n;
    quire_status rc = pc_api_check(cache);

    if (rc != QUIRE_OK)
        return rc;
    n = pc_census(pc_api_in(cache), QUIRE_LOG_INFO);
    if (npages != NULL)
        *npages = n;
    return QUIRE_OK;
}

quire_status quire_cache_stat_get(struct quire_cache *cache,
                                  struct quire_cache_stat *st)
{
    struct quire_cache_stat now;
    size_t size;
    quire_status rc = pc_api_check(cache);

    if (rc != QUIRE_OK)
        return rc;
    if (st == NULL)
        return pc_api_null("st");
    size = st->size;
    rc = pc_api_size(size, sizeof(now), "quire_cache_stat");
    if (rc != QUIRE_OK)
        return rc;
    memset(&now, 0, sizeof(now));
    pc_stat(pc_api_in(cache), &now);
    /* Fields of a later version read as zero. */
    memset(st, 0, size);
    memcpy(st, &now, sizeof(now));
    st->size = size;
    return QUIRE_OK;
}
