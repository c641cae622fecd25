/*
 * test_alloc_ra.c - the region allocator, one thread: classes, limits, sweeps,
 * pressure, misuse, tables, and a random history against a naive account.
 */
#include "alloc/ra_impl.h"
#include "tests/test.h"

#include <inttypes.h>

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define BUDGET (8 * MIB)
#define SEGS_MAX 4096 /* more than BUDGET holds of the smallest */

/* What the log callback has seen. */
struct log_seen {
    unsigned nwarn;
    char last[512];
};

static void on_log(void *arg, quire_log_level level, const char *line)
{
    struct log_seen *seen = arg;

    if (level > QUIRE_LOG_WARN)
        return;
    seen->nwarn++;
    snprintf(seen->last, sizeof(seen->last), "%s", line);
}

static struct ra_pool *make_pool(uint64_t budget, uint64_t virt,
                                 uint32_t region, struct log_seen *seen)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
        .virtual_bytes = virt,
        .region_bytes = region,
        .log = seen != NULL ? on_log : NULL,
        .log_arg = seen,
    };
    struct ra_pool *pool;

    CHECK_OK(ra_pool_create(&opt, &pool));
    pool->wait_ms = 0; /* nobody else is there */
    return pool;
}

static struct quire_pool_stat stat_of(struct ra_pool *pool)
{
    struct quire_pool_stat st;

    ra_pool_stat(pool, &st);
    return st;
}

static void check_and_destroy(struct ra_pool *pool)
{
    CHECK(ra_check_pool(pool));
    CHECK_EQ(stat_of(pool).in_use_bytes, 0);
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
}

/* Take segments of `nbytes` until there are no more; their number. */
static unsigned fill(struct ra_pool *pool, size_t nbytes, void **segs)
{
    unsigned n = 0;

    while (n < SEGS_MAX && ra_seg_alloc(pool, nbytes, &segs[n]) == QUIRE_OK) {
        memset(segs[n], 0x5a, nbytes);
        n++;
    }
    CHECK(n < SEGS_MAX);
    return n;
}

static void release(struct ra_pool *pool, void **segs, unsigned n)
{
    while (n > 0)
        CHECK(ra_seg_free(pool, segs[--n]));
}

/* ---- classes and regions ---- */

static void test_smallest_class_that_holds(void **state)
{
    static const struct {
        const char *name;
        size_t nbytes;
        size_t want;
    } cases[] = {
        { "one byte", 1, 4 * KIB },
        { "4 KiB", 4 * KIB, 4 * KIB },
        { "one more", 4 * KIB + 1, 8 * KIB },
        { "8 KiB", 8 * KIB, 8 * KIB },
        { "above 8 KiB", 8 * KIB + 1, 16 * KIB },
        { "16 KiB", 16 * KIB, 16 * KIB },
        { "32 KiB less one", 32 * KIB - 1, 32 * KIB },
        { "32 KiB", 32 * KIB, 32 * KIB },
        { "above 32 KiB", 32 * KIB + 1, 64 * KIB },
        { "64 KiB", 64 * KIB, 64 * KIB },
        { "128 KiB", 128 * KIB, 128 * KIB },
        { "above 128 KiB", 128 * KIB + 1, 256 * KIB },
        { "greatest", QUIRE_SEG_MAX, 256 * KIB },
    };
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        void *seg;

        CHECK_CASE(cases[i].name);
        CHECK_OK(ra_seg_alloc(pool, cases[i].nbytes, &seg));
        CHECK_EQ((uintptr_t)seg % cases[i].want, 0);
        CHECK_EQ(ra_seg_bytes(pool, seg), cases[i].want);
        CHECK_EQ(ra_seg_class_bytes(cases[i].nbytes), cases[i].want);
        CHECK_EQ(stat_of(pool).in_use_bytes, cases[i].want);
        CHECK_EQ(stat_of(pool).segments_in_use, 1);
        memset(seg, 0xff, cases[i].want);
        CHECK(ra_check_pool(pool));
        CHECK(ra_seg_free(pool, seg));
        CHECK_EQ(stat_of(pool).in_use_bytes, 0);
    }
    check_and_destroy(pool);
}

static void test_regions_are_mapped_on_demand(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    uint64_t own = stat_of(pool).virtual_bytes;
    void *seg;

    (void)state;
    CHECK_EQ(stat_of(pool).regions, 0);
    CHECK(own <= 8 * KIB);
    CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &seg));
    CHECK_EQ(stat_of(pool).regions, 1);
    CHECK_EQ(stat_of(pool).virtual_bytes, own + 512 * KIB);
    /* one segment is resident, not the region */
    CHECK_EQ(stat_of(pool).resident_bytes, own + pool->meta_bytes + 64 * KIB);
    ra_seg_free(pool, seg);
    check_and_destroy(pool);
}

/* RA-5: no two segments share a byte. */
static void test_segments_do_not_overlap(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    static void *segs[SEGS_MAX];
    size_t sizes[SEGS_MAX];
    unsigned n = 0;

    (void)state;
    while (n < SEGS_MAX) {
        sizes[n] = QUIRE_SEG_MIN << n % QUIRE_SEG_CLASSES;
        if (ra_seg_alloc(pool, sizes[n], &segs[n]) != QUIRE_OK)
            break;
        for (size_t off = 0; off < sizes[n]; off += sizeof(unsigned))
            memcpy((char *)segs[n] + off, &n, sizeof(n));
        n++;
    }
    CHECK(n > 50);
    for (unsigned i = 0; i < n; i++) {
        for (size_t off = 0; off < sizes[i]; off += sizeof(unsigned))
            CHECK(memcmp((char *)segs[i] + off, &i, sizeof(i)) == 0);
    }
    CHECK(ra_check_pool(pool));
    release(pool, segs, n);
    check_and_destroy(pool);
}

/* RA-1: address space serves whatever size is wanted next. */
static void test_class_shift_maps_nothing(void **state)
{
    static void *segs[SEGS_MAX];

    (void)state;
    for (unsigned a = 0; a < QUIRE_SEG_CLASSES; a++) {
        for (unsigned b = 0; b < QUIRE_SEG_CLASSES; b++) {
            struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
            uint64_t mapped;
            unsigned n;

            n = fill(pool, QUIRE_SEG_MIN << a, segs);
            mapped = stat_of(pool).virtual_bytes;
            release(pool, segs, n);
            n = fill(pool, QUIRE_SEG_MIN << b, segs);
            /* nearly all of the budget is in use again */
            CHECK(stat_of(pool).in_use_bytes >= BUDGET - 2 * QUIRE_SEG_MAX);
            CHECK_EQ(stat_of(pool).virtual_bytes, mapped);
            if (a != b)
                CHECK(stat_of(pool).regions_reused > 0);
            CHECK(ra_check_pool(pool));
            release(pool, segs, n);
            check_and_destroy(pool);
        }
    }
}

/* The same far below the budget: free regions of another class go first. */
static void test_class_shift_below_budget(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, 0, 0, NULL);
    static void *segs[SEGS_MAX];
    uint64_t mapped = 0;

    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        size_t nbytes = round % 2 == 0 ? 64 * KIB : 4 * KIB;
        unsigned n = (unsigned)(8 * MIB / nbytes);

        for (unsigned i = 0; i < n; i++)
            CHECK_OK(ra_seg_alloc(pool, nbytes, &segs[i]));
        if (round == 0)
            mapped = stat_of(pool).virtual_bytes;
        CHECK_EQ(stat_of(pool).virtual_bytes, mapped);
        release(pool, segs, n);
    }
    check_and_destroy(pool);
}

static void test_fullest_region_first(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    void *segs[16]; /* two regions of 64 KiB segments */
    void *again;

    (void)state;
    for (unsigned i = 0; i < 16; i++)
        CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &segs[i]));
    CHECK_EQ(stat_of(pool).regions, 2);
    /* the first region keeps one segment, the second all but one */
    release(pool, &segs[0], 7);
    ra_seg_free(pool, segs[12]);
    CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &again));
    CHECK_EQ(again, segs[12]);
    CHECK(ra_check_pool(pool));
    release(pool, &segs[7], 5);
    release(pool, &segs[13], 3);
    ra_seg_free(pool, again);
    check_and_destroy(pool);
}

/* ---- limits ---- */

/* RA-2 */
static void test_budget_is_hard(void **state)
{
    static void *segs[SEGS_MAX];

    (void)state;
    for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls++) {
        size_t nbytes = QUIRE_SEG_MIN << cls;
        struct log_seen seen = { 0 };
        struct ra_pool *pool = make_pool(BUDGET, 0, 0, &seen);
        unsigned n = fill(pool, nbytes, segs);
        struct quire_pool_stat st = stat_of(pool);
        uint64_t kernel = ra_pool_kernel_resident(pool);
        void *seg = segs;
        char figure[32];

        CHECK_EQ(ra_seg_alloc(pool, nbytes, &seg), QUIRE_NOMEM);
        CHECK_EQ(seg, NULL);
        CHECK(st.resident_bytes <= BUDGET);
        CHECK(st.resident_bytes + nbytes > BUDGET);
        CHECK(st.resident_peak_bytes <= BUDGET);
        CHECK(kernel <= BUDGET);
        CHECK_EQ(stat_of(pool).failed_allocs, 2);
        CHECK_EQ(seen.nwarn, 2);
        /* the detail has the figures */
        snprintf(figure, sizeof(figure), "budget %zu", BUDGET);
        CHECK(strstr(quire_error_detail(), figure) != NULL);
        snprintf(figure, sizeof(figure), "in use %" PRIu64, st.in_use_bytes);
        CHECK(strstr(quire_error_detail(), figure) != NULL);
        snprintf(figure, sizeof(figure), "resident %" PRIu64,
                 st.resident_bytes);
        CHECK(strstr(quire_error_detail(), figure) != NULL);
        snprintf(figure, sizeof(figure), "%zu bytes", nbytes);
        CHECK(strstr(quire_error_detail(), figure) != NULL);
        CHECK_STR_EQ(seen.last, quire_error_detail());
        release(pool, segs, n);
        check_and_destroy(pool);
    }
}

/* RA-2; and a region comes free when its last survivor does. */
static void test_virtual_limit_is_hard(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, BUDGET, 0, NULL);
    unsigned n = fill(pool, 4 * KIB, segs);
    unsigned nkept = 0;
    void *seg;

    (void)state;
    CHECK(strstr(quire_error_detail(), "mapped memory") != NULL);
    CHECK_EQ(stat_of(pool).regions, 15); /* 16 less what the pool itself has */
    CHECK(stat_of(pool).virtual_bytes <= BUDGET);
    for (unsigned i = 0; i < n; i++) {
        if (i % 128 == 0)
            segs[nkept++] = segs[i]; /* one in each region */
        else
            ra_seg_free(pool, segs[i]);
    }
    CHECK_EQ(nkept, 15);
    CHECK_EQ(ra_seg_alloc(pool, 256 * KIB, &seg), QUIRE_NOMEM);
    CHECK(ra_check_pool(pool));
    ra_seg_free(pool, segs[--nkept]);
    CHECK_OK(ra_seg_alloc(pool, 256 * KIB, &seg));
    CHECK_EQ(stat_of(pool).regions, 15);
    ra_seg_free(pool, seg);
    release(pool, segs, nkept);
    check_and_destroy(pool);
}

static void test_many_is_all_or_none(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    size_t sizes[80];
    void *segs[80];
    uint64_t fits = 0;

    (void)state;
    for (unsigned i = 0; i < 80; i++)
        sizes[i] = i % 2 == 0 ? 256 * KIB : 5000;
    for (unsigned n = 0; n <= 80; n++) {
        quire_status rc;

        memset(segs, 0x11, sizeof(segs));
        rc = ra_seg_alloc_many(pool, sizes, n, segs);
        if (rc == QUIRE_OK) {
            fits = n;
            for (unsigned i = 0; i < n; i++)
                CHECK_EQ(ra_seg_bytes(pool, segs[i]),
                         ra_seg_class_bytes(sizes[i]));
            release(pool, segs, n);
        } else {
            CHECK_EQ(rc, QUIRE_NOMEM);
            for (unsigned i = 0; i < n; i++)
                CHECK_EQ(segs[i], NULL);
        }
        CHECK_EQ(stat_of(pool).in_use_bytes, 0);
        CHECK(ra_check_pool(pool));
    }
    CHECK(fits >= 40 && fits < 80); /* some fit, and some do not */
    check_and_destroy(pool);
}

/* ---- sweeping ---- */

/* Scattered survivors do not hold their neighbours' memory. */
static void test_sweep_around_survivors(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    uint64_t own = stat_of(pool).resident_bytes;
    unsigned n = fill(pool, 4 * KIB, segs);
    unsigned nkept = 0;
    uint64_t before;
    uint64_t want;

    (void)state;
    for (unsigned i = 0; i < n; i++) {
        if (i % 16 == 5) {
            memset(segs[i], (int)nkept, 4 * KIB);
            segs[nkept++] = segs[i];
        } else {
            ra_seg_free(pool, segs[i]);
        }
    }
    before = stat_of(pool).resident_bytes;
    want = own + stat_of(pool).regions * pool->meta_bytes + nkept * 4 * KIB;
    CHECK_EQ(ra_pool_sweep(pool), before - want);
    CHECK_EQ(stat_of(pool).resident_bytes, want);
    CHECK(ra_check_pool(pool));
    for (unsigned i = 0; i < nkept; i++) {
        const unsigned char *p = segs[i];

        CHECK(p[0] == (unsigned char)i && p[4 * KIB - 1] == (unsigned char)i);
    }
    /* what was given back can be had again, without mapping */
    before = stat_of(pool).virtual_bytes;
    n = fill(pool, 4 * KIB, &segs[nkept]);
    CHECK_EQ(stat_of(pool).virtual_bytes, before);
    CHECK(stat_of(pool).in_use_bytes + 64 * KIB >= BUDGET);
    release(pool, segs, nkept + n);
    check_and_destroy(pool);
}

static void test_full_sweep_leaves_nothing(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    uint64_t own = stat_of(pool).resident_bytes;
    struct quire_pool_stat st;

    (void)state;
    release(pool, segs, fill(pool, 16 * KIB, segs));
    ra_pool_sweep(pool);
    st = stat_of(pool);
    CHECK_EQ(st.resident_bytes, own + st.regions * pool->meta_bytes);
    CHECK_EQ(st.regions_empty, st.regions);
    CHECK_EQ(st.regions_freed, st.regions);
    CHECK_EQ(ra_pool_sweep(pool), 0);
    check_and_destroy(pool);
}

/* A starved allocation gives back what it needs and a little more. */
static void test_starved_sweep_stops_early(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    uint64_t before;
    uint64_t sweeps;
    void *seg;

    (void)state;
    release(pool, segs, fill(pool, 64 * KIB, segs));
    before = stat_of(pool).resident_bytes;
    sweeps = stat_of(pool).sweeps;
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK(stat_of(pool).resident_bytes <= before);
    CHECK(stat_of(pool).resident_bytes + BUDGET / 64 + 512 * KIB + 64 * KIB >=
          before);
    CHECK_EQ(stat_of(pool).sweeps, sweeps + 1);
    ra_seg_free(pool, seg);
    check_and_destroy(pool);
}

/* RA-3: no sweep on the release path. */
static void test_release_never_sweeps(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    unsigned n = fill(pool, 8 * KIB, segs);
    struct quire_pool_stat before = stat_of(pool);

    (void)state;
    release(pool, segs, n);
    CHECK_EQ(stat_of(pool).sweeps, before.sweeps);
    CHECK_EQ(stat_of(pool).resident_bytes, before.resident_bytes);
    check_and_destroy(pool);
}

/* Many cycles of a large load leave the figures where the second left them. */
static void test_cycles_stay_flat(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(32 * MIB, 0, 0, NULL);
    uint64_t ncycles = test_rounds(200);
    uint64_t virt = 0;
    uint64_t resident = 0;

    (void)state;
    for (uint64_t i = 0; i < ncycles; i++) {
        unsigned n = 400; /* of 64 KiB: 25 MiB */

        for (unsigned k = 0; k < n; k++) {
            CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &segs[k]));
            *(unsigned *)segs[k] = k;
        }
        release(pool, segs, n);
        if (i % 3 == 2)
            ra_pool_sweep(pool);
        if (i == 1) {
            virt = stat_of(pool).virtual_bytes;
            resident = stat_of(pool).resident_bytes;
        }
        if (i > 1) {
            CHECK_EQ(stat_of(pool).virtual_bytes, virt);
            CHECK(stat_of(pool).resident_bytes <= resident);
        }
    }
    CHECK_EQ(stat_of(pool).failed_allocs, 0);
    check_and_destroy(pool);
}

/* ---- pressure ---- */

struct pressure {
    struct ra_pool *pool;
    void **segs; /* what can be evicted */
    unsigned nsegs;
    unsigned ncalls;
    unsigned nesting; /* calls running */
    unsigned nesting_max;
    uint64_t asked;      /* bytes, last call */
    bool lies;           /* claims without giving */
    quire_status inside; /* of an allocation inside */
};

static uint64_t on_pressure(void *arg, uint64_t nbytes)
{
    struct pressure *p = arg;
    uint64_t given = 0;
    void *seg;

    p->ncalls++;
    if (++p->nesting > p->nesting_max)
        p->nesting_max = p->nesting;
    p->asked = nbytes;
    CHECK(ra_nowait());
    p->inside = ra_seg_alloc(p->pool, 256 * KIB, &seg);
    while (!p->lies && p->nsegs > 0 && given < nbytes) {
        given += ra_seg_bytes(p->pool, p->segs[p->nsegs - 1]);
        CHECK(ra_seg_free(p->pool, p->segs[--p->nsegs]));
    }
    p->nesting--;
    return p->lies ? nbytes : given;
}

/* RA-8 */
static void test_pressure_makes_room(void **state)
{
    static void *segs[SEGS_MAX];

    (void)state;
    for (unsigned evict = 0; evict < QUIRE_SEG_CLASSES; evict++) {
        for (unsigned want = 0; want < QUIRE_SEG_CLASSES; want++) {
            struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
            struct pressure p = { .pool = pool, .segs = segs };
            uint64_t refused;
            void *seg;

            p.nsegs = fill(pool, QUIRE_SEG_MIN << evict, segs);
            refused = stat_of(pool).failed_allocs;
            ra_pool_set_pressure(pool, on_pressure, &p);
            CHECK_OK(ra_seg_alloc(pool, QUIRE_SEG_MIN << want, &seg));
            /* what filled the budget left less than one of its size: a
             * smaller one may fit without a call */
            if (want >= evict)
                CHECK(p.ncalls >= 1);
            if (p.ncalls > 0) {
                CHECK(p.asked >= QUIRE_SEG_MIN << want);
                CHECK_EQ(p.nesting_max, 1);
                CHECK_EQ(p.inside, QUIRE_NOMEM);
                CHECK(!ra_nowait());
            }
            CHECK_EQ(stat_of(pool).pressure_calls, p.ncalls);
            CHECK_EQ(stat_of(pool).failed_allocs, refused + p.ncalls);
            CHECK(stat_of(pool).resident_peak_bytes <= BUDGET);
            ra_seg_free(pool, seg);
            release(pool, segs, p.nsegs);
            check_and_destroy(pool);
        }
    }
}

static void test_pressure_that_cannot_help(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    struct pressure p = { .pool = pool, .segs = segs };
    unsigned n = fill(pool, 64 * KIB, segs);
    void *seg;

    (void)state;
    ra_pool_set_pressure(pool, on_pressure, &p);
    CHECK_EQ(ra_seg_alloc(pool, 64 * KIB, &seg), QUIRE_NOMEM);
    CHECK_EQ(p.ncalls, 1);
    /* one that claims to help is called a bounded number of times */
    p.lies = true;
    CHECK_EQ(ra_seg_alloc(pool, 64 * KIB, &seg), QUIRE_NOMEM);
    CHECK(p.ncalls > 2 && p.ncalls < 200);
    ra_pool_set_pressure(pool, NULL, NULL);
    p.ncalls = 0;
    CHECK_EQ(ra_seg_alloc(pool, 64 * KIB, &seg), QUIRE_NOMEM);
    CHECK_EQ(p.ncalls, 0);
    release(pool, segs, n);
    check_and_destroy(pool);
}

/* RA-8: and what needs neither sweep nor call is still given. */
static void test_nowait_fails_at_once(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    struct pressure p = { .pool = pool, .segs = segs };
    void *free_one;
    void *seg;

    (void)state;
    p.nsegs = fill(pool, 64 * KIB, segs);
    ra_pool_set_pressure(pool, on_pressure, &p);
    free_one = segs[--p.nsegs];
    ra_seg_free(pool, free_one);

    ra_nowait_enter();
    ra_nowait_enter();
    ra_nowait_exit();
    CHECK_EQ(ra_seg_alloc(pool, 128 * KIB, &seg), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "may not evict") != NULL);
    CHECK_EQ(ra_table_alloc(pool, 128 * KIB, &seg), QUIRE_NOMEM);
    CHECK_EQ(p.ncalls, 0);
    CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &seg));
    CHECK_EQ(seg, free_one);
    ra_seg_free(pool, seg);
    ra_nowait_exit();

    CHECK_OK(ra_seg_alloc(pool, 128 * KIB, &seg));
    ra_seg_free(pool, seg);
    release(pool, segs, p.nsegs);
    check_and_destroy(pool);
}

static void test_try_takes_only_what_is_free(void **state)
{
    static void *segs[SEGS_MAX];
    struct log_seen seen = { 0 };
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, &seen);
    struct pressure p = { .pool = pool, .segs = segs };
    struct quire_pool_stat before;
    void *seg = ra_seg_try(pool, 64 * KIB);

    (void)state;
    CHECK(seg != NULL);
    CHECK(ra_seg_free(pool, seg));
    p.nsegs = fill(pool, 64 * KIB, segs);
    ra_pool_set_pressure(pool, on_pressure, &p);
    ra_seg_free(pool, segs[--p.nsegs]);
    before = stat_of(pool);
    seen.nwarn = 0;
    (void)ra_fail(QUIRE_IO, "untouched");
    CHECK_EQ(ra_seg_try(pool, 128 * KIB), NULL);
    CHECK_STR_EQ(quire_error_detail(), "untouched");
    CHECK_EQ(p.ncalls, 0);
    CHECK_EQ(seen.nwarn, 0);
    CHECK_EQ(stat_of(pool).sweeps, before.sweeps);
    CHECK_EQ(stat_of(pool).failed_allocs, before.failed_allocs);
    release(pool, segs, p.nsegs);
    check_and_destroy(pool);
}

/* ---- misuse ---- */

/* RA-4: refused, counted, logged, and nothing else happens. */
static void test_misuse_is_refused(void **state)
{
    struct log_seen seen = { 0 };
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, &seen);
    struct ra_pool *other = make_pool(BUDGET, 0, 0, NULL);
    static char nothing;
    char local[64];
    void *small;
    void *large;
    void *twice;
    void *swept;
    void *moved;
    void *foreign;
    void *table;
    uint64_t misuses = 0;
    struct quire_pool_stat before;

    (void)state;
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &small));
    CHECK_OK(ra_seg_alloc(pool, 256 * KIB, &large));
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &twice));
    CHECK(ra_seg_free(pool, twice));
    CHECK_OK(ra_seg_alloc(pool, 8 * KIB, &swept));
    CHECK(ra_seg_free(pool, swept));
    CHECK_OK(ra_seg_alloc(other, 4 * KIB, &foreign));
    CHECK_OK(ra_table_alloc(pool, 4 * KIB, &table));
    ra_pool_sweep(pool);
    /* `moved` was 16 KiB at an odd place; its region now serves 32 KiB */
    {
        void *a;
        void *b;

        CHECK_OK(ra_seg_alloc(pool, 16 * KIB, &a));
        CHECK_OK(ra_seg_alloc(pool, 16 * KIB, &moved));
        CHECK(ra_seg_free(pool, a));
        CHECK(ra_seg_free(pool, moved));
        ra_pool_sweep(pool);
        CHECK_OK(ra_seg_alloc(pool, 32 * KIB, &b));
        CHECK_EQ(ra_region_find(pool, b), ra_region_find(pool, moved));
        CHECK(ra_seg_free(pool, b));
    }

    struct {
        const char *name;
        void *ptr;
    } cases[] = {
        { "the stack", local },
        { "static memory", &nothing },
        { "one", (void *)(uintptr_t)1 },
        { "the last address", (void *)UINTPTR_MAX },
        { "interior by one", (char *)small + 1 },
        { "interior by a page", (char *)large + 4 * KIB },
        { "interior by half", (char *)large + 128 * KIB },
        { "never handed out", (char *)large + 256 * KIB },
        { "second release", twice },
        { "second release after a sweep", swept },
        { "second release, other class now", moved },
        { "another pool's", foreign },
        { "a table", table },
    };

    before = stat_of(pool);
    misuses = before.misuses;
    CHECK_EQ(misuses, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        seen.nwarn = 0;
        CHECK(!ra_seg_free(pool, cases[i].ptr));
        CHECK_EQ(stat_of(pool).misuses, ++misuses);
        CHECK_EQ(seen.nwarn, 1);
        CHECK_EQ(stat_of(pool).in_use_bytes, before.in_use_bytes);
        CHECK(ra_check_pool(pool));
    }
    CHECK(ra_seg_free(pool, NULL));
    CHECK_EQ(stat_of(pool).misuses, misuses);

    CHECK(ra_seg_free(pool, small));
    CHECK(ra_seg_free(pool, large));
    CHECK(ra_seg_free(other, foreign));
    ra_table_free(pool, table, 4 * KIB);
    check_and_destroy(other);
    check_and_destroy(pool);
}

static void test_leaks_are_counted_and_logged(void **state)
{
    struct log_seen seen = { 0 };
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, &seen);
    void *seg;

    (void)state;
    CHECK_EQ(ra_pool_destroy(NULL, false), 0);
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &seg));
    CHECK_OK(ra_table_alloc(pool, 10000, &seg));
    CHECK_EQ(ra_pool_destroy(pool, true), 4);
    CHECK_EQ(seen.nwarn, 3); /* two classes and a table */
}

/* What debug builds do to a released segment. */
static void test_released_segments_are_closed(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    unsigned char *seg;
    void *again;

    (void)state;
    CHECK_OK(ra_seg_alloc(pool, 8 * KIB, &again));
    seg = again;
    memset(seg, 1, 8 * KIB);
#ifdef RA_ASAN
    CHECK(__asan_address_is_poisoned(seg + 8 * KIB));
    CHECK(__asan_region_is_poisoned(seg, 8 * KIB) == NULL);
    CHECK(ra_seg_free(pool, seg));
    CHECK(__asan_address_is_poisoned(seg));
    CHECK(__asan_address_is_poisoned(seg + 8 * KIB - 1));
#else
    CHECK(ra_seg_free(pool, seg));
#endif
    CHECK_OK(ra_seg_alloc(pool, 8 * KIB, &again));
    CHECK_EQ(again, seg);
#if QUIRE_DEBUG >= 1
#ifdef RA_VALGRIND
    VALGRIND_MAKE_MEM_DEFINED(seg, 8 * KIB);
#endif
    for (size_t i = 0; i < 8 * KIB; i++)
        CHECK(seg[i] == RA_FILL);
#endif
    CHECK(ra_seg_free(pool, seg));
    check_and_destroy(pool);
}

/* ---- tables ---- */

static void test_tables_are_charged(void **state)
{
    static const size_t sizes[] = { 1, 4095, 4096, 4097, 100000, 3 * MIB };
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t pages = (size_t)ra_round_up(sizes[i], 4096);
        struct quire_pool_stat before = stat_of(pool);
        struct quire_pool_stat st;
        unsigned char *mem;
        void *p;

        CHECK_OK(ra_table_alloc(pool, sizes[i], &p));
        mem = p;
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK(mem[k] == 0);
        memset(mem, 0xee, sizes[i]);
        st = stat_of(pool);
        CHECK_EQ(st.resident_bytes, before.resident_bytes + pages);
        CHECK_EQ(st.virtual_bytes, before.virtual_bytes + pages);
        CHECK_EQ(st.in_use_bytes, before.in_use_bytes + pages);
        CHECK_EQ(st.segments_in_use, 0);
        CHECK(ra_check_pool(pool));

        /* a wrong size or address is refused */
        ra_table_free(pool, p, pages + 1);
        ra_table_free(pool, mem + 1, sizes[i]);
        CHECK_EQ(stat_of(pool).misuses, 2 * (i + 1));
        CHECK_EQ(stat_of(pool).in_use_bytes, st.in_use_bytes);

        ra_table_free(pool, p, sizes[i]);
        st = stat_of(pool);
        CHECK_EQ(st.resident_bytes, before.resident_bytes);
        CHECK_EQ(st.virtual_bytes, before.virtual_bytes);
    }
    ra_table_free(pool, NULL, 5);
    check_and_destroy(pool);
}

static void test_tables_sweep_and_press(void **state)
{
    static void *segs[SEGS_MAX];
    struct ra_pool *pool = make_pool(BUDGET, 0, 0, NULL);
    struct pressure p = { .pool = pool, .segs = segs };
    uint64_t sweeps;
    void *mem = segs;

    (void)state;
    /* free segments make way */
    release(pool, segs, fill(pool, 16 * KIB, segs));
    CHECK_OK(ra_table_alloc(pool, 2 * MIB, &mem));
    CHECK(ra_check_pool(pool));
    ra_table_free(pool, mem, 2 * MIB);
    /* then what can be evicted */
    p.nsegs = fill(pool, 16 * KIB, segs);
    ra_pool_set_pressure(pool, on_pressure, &p);
    CHECK_OK(ra_table_alloc(pool, 2 * MIB, &mem));
    CHECK(p.ncalls > 0);
    ra_table_free(pool, mem, 2 * MIB);
    /* what can never fit disturbs nobody */
    p.ncalls = 0;
    sweeps = stat_of(pool).sweeps;
    CHECK_EQ(ra_table_alloc(pool, BUDGET + 1, &mem), QUIRE_NOMEM);
    CHECK_EQ(mem, NULL);
    CHECK_EQ(ra_table_alloc(pool, SIZE_MAX, &mem), QUIRE_NOMEM);
    CHECK_EQ(p.ncalls, 0);
    CHECK_EQ(stat_of(pool).sweeps, sweeps);
    release(pool, segs, p.nsegs);
    check_and_destroy(pool);
}

/* ---- a random history ---- */

#define HISTORY_SEGS 3000

struct held {
    unsigned char *ptr;
    size_t nbytes; /* of the class */
    unsigned char stamp;
};

/* Segments keep their bytes and the figures are what an account by hand says,
 * through a long history of sizes that drift, with sweeps in between. */
static void test_random_history(void **state)
{
    static struct held held[HISTORY_SEGS];
    uint64_t rand = test_seed();
    struct ra_pool *pool = make_pool(BUDGET, 3 * BUDGET, 1 * MIB, NULL);
    uint64_t nsteps = test_rounds(60000);
    uint64_t in_use = 0;
    unsigned n = 0;

    (void)state;
    for (uint64_t step = 0; step < nsteps; step++) {
        unsigned favourite = (unsigned)(step / 3000 % QUIRE_SEG_CLASSES);
        uint64_t dice = test_rand_below(&rand, 100);

        if (dice < 52 && n < HISTORY_SEGS) {
            unsigned cls = test_rand_below(&rand, 4) > 0
                               ? favourite
                               : (unsigned)test_rand_below(&rand,
                                                           QUIRE_SEG_CLASSES);
            size_t nbytes = (QUIRE_SEG_MIN << cls) -
                            test_rand_below(&rand, 2000);
            void *seg;

            if (ra_seg_alloc(pool, nbytes, &seg) != QUIRE_OK)
                continue;
            held[n].ptr = seg;
            held[n].nbytes = QUIRE_SEG_MIN << cls;
            held[n].stamp = (unsigned char)step;
            memset(seg, held[n].stamp, held[n].nbytes);
            in_use += held[n++].nbytes;
        } else if (dice < 99 && n > 0) {
            unsigned i = (unsigned)test_rand_below(&rand, n);
            struct held h = held[i];

            for (size_t off = 0; off < h.nbytes; off += 509)
                CHECK(h.ptr[off] == h.stamp);
            CHECK(h.ptr[h.nbytes - 1] == h.stamp);
            CHECK(ra_seg_free(pool, h.ptr));
            in_use -= h.nbytes;
            held[i] = held[--n];
        } else if (test_rand_below(&rand, 10) == 0) {
            ra_pool_sweep(pool);
        }
        CHECK_EQ(stat_of(pool).in_use_bytes, in_use);
        CHECK_EQ(stat_of(pool).segments_in_use, n);
        CHECK(stat_of(pool).resident_bytes <= BUDGET);
        CHECK(stat_of(pool).virtual_bytes <= 3 * BUDGET);
        if (step % 500 == 0)
            CHECK(ra_check_pool(pool));
    }
    while (n > 0)
        CHECK(ra_seg_free(pool, held[--n].ptr));
    check_and_destroy(pool);
}

/* All region sizes: the summary of the bitmaps grows with them. */
static void test_every_region_size(void **state)
{
    (void)state;
    for (uint32_t region = 512 * KIB; region <= 64 * MIB; region *= 2) {
        struct ra_pool *pool = make_pool(BUDGET, 0, region, NULL);
        static void *segs[SEGS_MAX];

        for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls += 3) {
            unsigned n = fill(pool, QUIRE_SEG_MIN << cls, segs);

            CHECK(stat_of(pool).in_use_bytes + MIB >= BUDGET);
            CHECK(ra_check_pool(pool));
            release(pool, segs, n);
        }
        check_and_destroy(pool);
    }
    /* a whole region of the greatest size in the smallest class */
    {
        struct ra_pool *pool = make_pool(80 * MIB, 0, 64 * MIB, NULL);
        uint64_t own = stat_of(pool).resident_bytes;
        void *first;
        void *seg;

        CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &first));
        for (unsigned i = 1; i < 16384; i++) {
            CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
            CHECK_EQ(seg, (char *)first + i * 4 * KIB);
        }
        CHECK_EQ(stat_of(pool).regions, 1);
        CHECK_EQ(stat_of(pool).resident_bytes,
                 own + 64 * MIB + pool->meta_bytes +
                     atomic_load(&pool->nmags) * ra_mag_charge());
        for (unsigned i = 0; i < 16384; i++)
            CHECK(ra_seg_free(pool, (char *)first + i * 4 * KIB));
        check_and_destroy(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smallest_class_that_holds),
        cmocka_unit_test(test_regions_are_mapped_on_demand),
        cmocka_unit_test(test_segments_do_not_overlap),
        cmocka_unit_test(test_class_shift_maps_nothing),
        cmocka_unit_test(test_class_shift_below_budget),
        cmocka_unit_test(test_fullest_region_first),
        cmocka_unit_test(test_budget_is_hard),
        cmocka_unit_test(test_virtual_limit_is_hard),
        cmocka_unit_test(test_many_is_all_or_none),
        cmocka_unit_test(test_sweep_around_survivors),
        cmocka_unit_test(test_full_sweep_leaves_nothing),
        cmocka_unit_test(test_starved_sweep_stops_early),
        cmocka_unit_test(test_release_never_sweeps),
        cmocka_unit_test(test_cycles_stay_flat),
        cmocka_unit_test(test_pressure_makes_room),
        cmocka_unit_test(test_pressure_that_cannot_help),
        cmocka_unit_test(test_nowait_fails_at_once),
        cmocka_unit_test(test_try_takes_only_what_is_free),
        cmocka_unit_test(test_misuse_is_refused),
        cmocka_unit_test(test_leaks_are_counted_and_logged),
        cmocka_unit_test(test_released_segments_are_closed),
        cmocka_unit_test(test_tables_are_charged),
        cmocka_unit_test(test_tables_sweep_and_press),
        cmocka_unit_test(test_random_history),
        cmocka_unit_test(test_every_region_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
