/*
 * api.c - quire_pool_*: the allocator's functions with checked arguments.
 *
 * A struct quire_pool is a struct ra_pool under its public name: the former is
 * never completed, and the two functions below are the only casts. What is
 * checked here is what a caller can get wrong without touching freed memory:
 * null pointers, sizes, a call in a forked child. The functions of ra.h assume
 * it, and assert it in debug builds.
 */
#include <inttypes.h>

#include "alloc/ra_impl.h"

/* The least `size` fields that make sense: those of the first version. */
#define RA_OPTIONS_SIZE_1 sizeof(struct quire_pool_options)
#define RA_STAT_SIZE_1 sizeof(struct quire_pool_stat)

static struct ra_pool *ra_api_in(struct quire_pool *pool)
{
    return (struct ra_pool *)pool;
}

static struct quire_pool *ra_api_out(struct ra_pool *pool)
{
    return (struct quire_pool *)pool;
}

static quire_status ra_api_null(const char *what)
{
    return ra_fail(QUIRE_MISUSE, "%s is NULL", what);
}

/* A pool that this process may use. */
static quire_status ra_api_check(struct quire_pool *pool)
{
    if (QUIRE_UNLIKELY(pool == NULL))
        return ra_api_null("pool");
    if (QUIRE_UNLIKELY(*ra_api_in(pool)->alive == 0)) /* ra_pool_forked() */
        return ra_fail(QUIRE_MISUSE, "the pool belongs to the parent process");
    return QUIRE_OK;
}

/* Does ra_api_check() pass? Inline, so that what is called often goes on
 * without saving registers for a message. */
static inline bool ra_api_usable(struct quire_pool *pool)
{
    return QUIRE_LIKELY(pool != NULL) &&
           QUIRE_LIKELY(*ra_api_in(pool)->alive != 0);
}

quire_status quire_pool_create(const struct quire_pool_options *opt,
                               struct quire_pool **pool)
{
    struct quire_pool_options o;
    struct ra_pool *made;
    quire_status rc;

    if (pool == NULL)
        return ra_api_null("pool");
    *pool = NULL;
    memset(&o, 0, sizeof(o));
    if (opt != NULL) {
        if (opt->size < RA_OPTIONS_SIZE_1)
            return ra_fail(QUIRE_INVAL,
                           "size is %zu, but must be sizeof(struct "
                           "quire_pool_options)",
                           opt->size);
        /* A later caller's struct may be longer: its first fields are ours. */
        memcpy(&o, opt, opt->size < sizeof(o) ? opt->size : sizeof(o));
    }
    o.size = sizeof(o);
    rc = ra_pool_create(&o, &made);
    if (rc != QUIRE_OK)
        return rc;
    *pool = ra_api_out(made);
    return QUIRE_OK;
}

quire_status quire_pool_destroy(struct quire_pool *pool)
{
    uint64_t in_use;
    quire_status rc;

    if (pool == NULL)
        return QUIRE_OK;
    rc = ra_api_check(pool);
    if (rc != QUIRE_OK)
        return rc;
    in_use = ra_pool_in_use(ra_api_in(pool));
    if (in_use > 0)
        return ra_fail(QUIRE_BUSY, "%" PRIu64 " bytes of the pool are in use",
                       in_use);
    (void)ra_pool_destroy(ra_api_in(pool), false);
    return QUIRE_OK;
}

quire_status quire_pool_alloc(struct quire_pool *pool, size_t nbytes,
                              void **seg)
{
    if (QUIRE_UNLIKELY(seg == NULL))
        return ra_api_null("seg");
    *seg = NULL;
    if (!ra_api_usable(pool))
        return ra_api_check(pool);
    if (nbytes == 0 || nbytes > QUIRE_SEG_MAX)
        return ra_fail(QUIRE_INVAL, "nbytes is %zu, but must be 1 to %zu",
                       nbytes, QUIRE_SEG_MAX);
    return QUIRE_POINT_RC(RA_API_SEGMENT, QUIRE_NOMEM,
                          ra_seg_alloc(ra_api_in(pool), nbytes, seg));
}

quire_status quire_pool_free(struct quire_pool *pool, void *seg)
{
    if (!ra_api_usable(pool))
        return ra_api_check(pool);
    return ra_seg_free(ra_api_in(pool), seg) ? QUIRE_OK : QUIRE_MISUSE;
}

quire_status quire_pool_set_pressure(struct quire_pool *pool,
                                     quire_pressure_fn fn, void *arg)
{
    quire_status rc = ra_api_check(pool);

    if (rc != QUIRE_OK)
        return rc;
    if (ra_room_in_pressure())
        return ra_fail(QUIRE_MISUSE,
                       "the pressure callback can't be set inside itself");
    ra_pool_set_pressure(ra_api_in(pool), fn, arg);
    return QUIRE_OK;
}

quire_status quire_pool_set_budget(struct quire_pool *pool,
                                   uint64_t budget_bytes)
{
    quire_status rc = ra_api_check(pool);

    if (rc != QUIRE_OK)
        return rc;
    if (ra_room_in_pressure())
        return ra_fail(QUIRE_MISUSE,
                       "the budget can't be changed inside the pressure "
                       "callback");
    return ra_pool_set_budget(ra_api_in(pool), budget_bytes);
}

uint64_t quire_pool_sweep(struct quire_pool *pool)
{
    return ra_api_check(pool) == QUIRE_OK ? ra_pool_sweep(ra_api_in(pool)) : 0;
}

quire_status quire_pool_stat_get(struct quire_pool *pool,
                                 struct quire_pool_stat *st)
{
    struct quire_pool_stat now;
    size_t size;
    quire_status rc = ra_api_check(pool);

    if (rc != QUIRE_OK)
        return rc;
    if (st == NULL)
        return ra_api_null("st");
    size = st->size;
    if (size < RA_STAT_SIZE_1)
        return ra_fail(QUIRE_INVAL,
                       "size is %zu, but must be sizeof(struct "
                       "quire_pool_stat)",
                       size);
    ra_pool_stat(ra_api_in(pool), &now);
    /* Fields of a later version read as zero. */
    memset(st, 0, size);
    memcpy(st, &now, size < sizeof(now) ? size : sizeof(now));
    st->size = size;
    return QUIRE_OK;
}
