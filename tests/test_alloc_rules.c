/*
 * test_alloc_rules.c - rules of alloc/README.md that need a witness between
 * the pool and the system: what is called when, by whom, and how the figures
 * stand at that moment.
 *
 * The witness is a system table that passes every call on. It keeps an account
 * of its own of what is committed and where huge pages are allowed, and knows
 * whether this thread is inside a release.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SEGS_MAX 20000
#define RANGES_MAX 1000

static void *segs[SEGS_MAX];

/* ---- the witness ---- */

struct range {
    char *base;
    size_t nbytes;
    unsigned char *committed; /* one byte for each 4 KiB */
    unsigned char *allowed;   /* one for each 2 MiB: huge pages are */
};

struct witness {
    struct ra_pool *pool; /* NULL while it is made */
    struct range range[RANGES_MAX];
    unsigned nranges;
    uint64_t committed; /* bytes, without what is mapped resident */
    uint64_t base;      /* resident bytes of the pool before any segment */
    bool ends;          /* the pool is being destroyed */
    unsigned decommits;
    /* a thread of the pool that was asked for, and is never run */
    void (*run)(void *arg);
    /* lines of the log, by their beginning */
    unsigned nlines;
    char line[400][160];
};

static _Thread_local bool releasing; /* inside ra_seg_free() */

static struct range *range_of(struct witness *w, const void *addr)
{
    for (unsigned i = 0; i < w->nranges; i++) {
        struct range *r = &w->range[i];

        if ((const char *)addr >= r->base &&
            (const char *)addr < r->base + r->nbytes)
            return r;
    }
    CHECK(!"an address that was never mapped");
    return NULL;
}

static int wit_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    struct witness *w = ctx;
    struct range *r = &w->range[w->nranges];
    int rc;

    CHECK(!releasing); /* RA-3, here and below */
    rc = quire_sys_default()->map(NULL, nbytes, align, addr);
    CHECK_EQ(rc, 0);
    CHECK(w->nranges < RANGES_MAX);
    if (w->pool != NULL) /* RA-2: counted before it is mapped */
        CHECK(ra_figure(&w->pool->mapped) >= nbytes * (w->nranges > 0));
    r->base = *addr;
    r->nbytes = nbytes;
    r->committed = calloc(1, nbytes / 4096 + 1);
    r->allowed = calloc(1, nbytes / RA_HUGE_BYTES + 1);
    CHECK(r->committed != NULL && r->allowed != NULL);
    w->nranges++;
    return 0;
}

static void wit_unmap(void *ctx, void *addr, size_t nbytes)
{
    struct witness *w = ctx;
    struct range *r = range_of(w, addr);

    CHECK(!releasing);
    CHECK(w->ends); /* RA-7: no region before the end */
    CHECK(r->base == addr && r->nbytes == nbytes);
    free(r->committed);
    free(r->allowed);
    *r = w->range[--w->nranges];
    quire_sys_default()->unmap(NULL, addr, nbytes);
}

/* Does [addr, addr + nbytes) cover whole the 2 MiB range `g` of `r`? */
static bool covers(const struct range *r, size_t g, const char *addr,
                   size_t nbytes)
{
    const char *from = r->base + g * RA_HUGE_BYTES;

    return addr <= from && from + RA_HUGE_BYTES <= addr + nbytes;
}

static int wit_commit(void *ctx, void *addr, size_t nbytes)
{
    struct witness *w = ctx;
    struct range *r = range_of(w, addr);
    size_t off = (size_t)((char *)addr - r->base);

    CHECK(!releasing);
    /* RA-12: where huge pages are allowed, whole ranges or nothing */
    for (size_t g = off / RA_HUGE_BYTES;
         g <= (off + nbytes - 1) / RA_HUGE_BYTES; g++)
        CHECK(!r->allowed[g] || covers(r, g, addr, nbytes));
    for (size_t p = off / 4096; p < (off + nbytes) / 4096; p++) {
        CHECK_EQ(r->committed[p], 0);
        r->committed[p] = 1;
    }
    w->committed += nbytes;
    /* RA-2: reserved before it is obtained */
    if (w->pool != NULL) {
        CHECK(ra_figure(&w->pool->resident) >= w->base + w->committed);
        CHECK(ra_figure(&w->pool->resident) <= ra_pool_budget(w->pool));
    }
    return quire_sys_default()->commit(NULL, addr, nbytes);
}

static int wit_decommit(void *ctx, void *addr, size_t nbytes)
{
    struct witness *w = ctx;
    struct range *r = range_of(w, addr);
    size_t off = (size_t)((char *)addr - r->base);
    int rc;

    CHECK(!releasing);
    /* RA-12: huge pages are forbidden before a part of one is given back */
    for (size_t g = off / RA_HUGE_BYTES;
         g <= (off + nbytes - 1) / RA_HUGE_BYTES; g++)
        CHECK(!r->allowed[g] || covers(r, g, addr, nbytes));
    rc = quire_sys_default()->decommit(NULL, addr, nbytes);
    /* RA-2: lowered only after it was given back */
    CHECK(ra_figure(&w->pool->resident) >= w->base + w->committed);
    for (size_t p = off / 4096; p < (off + nbytes) / 4096; p++) {
        w->committed -= r->committed[p] * 4096u;
        r->committed[p] = 0;
    }
    w->decommits++;
    return rc;
}

static int wit_huge(void *ctx, void *addr, size_t nbytes, bool allow)
{
    struct witness *w = ctx;
    struct range *r = range_of(w, addr);
    size_t off = (size_t)((char *)addr - r->base);

    CHECK(!releasing);
    CHECK_EQ(off % RA_HUGE_BYTES, 0);
    CHECK_EQ(nbytes % RA_HUGE_BYTES, 0);
    if (allow) { /* RA-12: only once all of the region is empty */
        CHECK_EQ(nbytes, r->nbytes - r->nbytes % RA_HUGE_BYTES);
        for (size_t p = 0; p < nbytes / 4096; p++)
            CHECK_EQ(r->committed[p], 0);
    }
    memset(r->allowed + off / RA_HUGE_BYTES, allow, nbytes / RA_HUGE_BYTES);
    return quire_sys_default()->huge(NULL, addr, nbytes, allow);
}

static int wit_protect(void *ctx, void *addr, size_t nbytes, bool access)
{
    (void)ctx;
    CHECK(!releasing);
    return quire_sys_default()->protect(NULL, addr, nbytes, access);
}

static void *wit_alloc(void *ctx, size_t nbytes)
{
    (void)ctx;
    CHECK(!releasing);
    return quire_sys_default()->alloc(NULL, nbytes);
}

static void wit_free(void *ctx, void *ptr)
{
    (void)ctx;
    CHECK(!releasing);
    quire_sys_default()->free(NULL, ptr);
}

static int wit_thread_create(void *ctx, void (*run)(void *arg), void *arg,
                             void **thread)
{
    struct witness *w = ctx;

    (void)arg;
    (void)thread;
    w->run = run;
    return 0;
}

static void wit_thread_join(void *ctx, void *thread)
{
    (void)ctx;
    (void)thread;
}

static void wit_log(void *arg, quire_log_level level, const char *line)
{
    struct witness *w = arg;

    (void)level;
    CHECK(w->nlines < ARRAY_LEN(w->line));
    snprintf(w->line[w->nlines++], sizeof(w->line[0]), "%s", line);
}

/* How many lines have `text` in them. */
static unsigned lines(const struct witness *w, const char *text)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->nlines; i++)
        n += strstr(w->line[i], text) != NULL;
    return n;
}

/* A pool whose background thread, if it has one, never runs. */
static struct ra_pool *begin(struct witness *w, uint64_t budget,
                             uint32_t region, bool background, bool log)
{
    struct quire_sys sys = *quire_sys_default();
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
        .region_bytes = region,
        .background = background,
        .sys = &sys,
        .log = log ? wit_log : NULL,
        .log_arg = w,
    };
    struct ra_pool *pool;

    memset(w, 0, sizeof(*w));
    sys.ctx = w;
    sys.map = wit_map;
    sys.unmap = wit_unmap;
    sys.commit = wit_commit;
    sys.decommit = wit_decommit;
    sys.huge = wit_huge;
    sys.protect = wit_protect;
    sys.alloc = wit_alloc;
    sys.free = wit_free;
    sys.thread_create = wit_thread_create;
    sys.thread_join = wit_thread_join;
    CHECK_OK(ra_pool_create(&opt, &pool));
    pool->wait_ms = 0;
    w->committed = 0; /* from here on; the pool's own tables are in `base` */
    w->base = ra_figure(&pool->resident);
    w->pool = pool;
    return pool;
}

static void end(struct witness *w)
{
    CHECK(ra_check_pool(w->pool));
    w->ends = true;
    CHECK_EQ(ra_pool_destroy(w->pool, false), 0);
    CHECK_EQ(w->nranges, 0);
}

static struct quire_pool_stat stat_of(struct ra_pool *pool)
{
    struct quire_pool_stat st;

    ra_pool_stat(pool, &st);
    return st;
}

static void take(struct ra_pool *pool, unsigned n, size_t nbytes)
{
    CHECK(n <= SEGS_MAX);
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(ra_seg_alloc(pool, nbytes, &segs[i]));
}

static void give(struct ra_pool *pool, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        releasing = true;
        CHECK(ra_seg_free(pool, segs[i]));
        releasing = false;
    }
}

/* ---- RA-2, RA-7, RA-12: a long random history under the witness ---- */

static void run_history(uint64_t budget, uint32_t region, size_t hold)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, budget, region, false, false);
    uint64_t rand = test_seed();
    uint64_t nsteps = test_rounds(6000);
    uint64_t held = 0;
    unsigned n = 0;

    for (uint64_t step = 0; step < nsteps; step++) {
        bool fills = step * 12 / nsteps % 2 == 0;
        uint64_t dice = test_rand_below(&rand, 100);

        if (dice < (fills ? 70u : 20u) && held < hold && n < SEGS_MAX) {
            size_t nbytes = QUIRE_SEG_MIN << test_rand_below(&rand, 7);

            if (ra_seg_alloc(pool, nbytes, &segs[n]) == QUIRE_OK) {
                held += nbytes;
                n++;
            }
        } else if (dice < 98 && n > 0) {
            unsigned i = (unsigned)test_rand_below(&rand, n);
            void *last = segs[n - 1];

            held -= ra_seg_bytes(pool, segs[i]);
            give(pool, i, i + 1);
            segs[i] = last;
            n--;
        } else if (dice == 98) {
            (void)ra_sweeper_pass(pool);
        } else if (test_rand_below(&rand, 10) == 0) {
            (void)ra_pool_sweep(pool);
        }
        CHECK(ra_figure(&pool->resident) >= w.base + w.committed);
    }
    give(pool, 0, n);
    (void)ra_pool_sweep(pool);
    CHECK(w.decommits > 0);
    CHECK_EQ(w.committed, 0);
    end(&w);
}

static void test_limits_are_reserved_first(void **state)
{
    (void)state;
    run_history(8 * MIB, 0, 16 * MIB);
}

static void test_huge_pages_whole_or_forbidden(void **state)
{
    (void)state;
    run_history(256 * MIB, 0, 100 * MIB);
    run_history(256 * MIB, 2 * MIB, 400 * MIB);
    run_history(256 * MIB, 16 * MIB, 100 * MIB);
}

/* Tables too, but for what is left over at their end. */
static void test_huge_pages_of_tables(void **state)
{
    static const struct {
        uint64_t budget;
        size_t nbytes;
        unsigned huge; /* ranges */
    } rows[] = {
        { 256 * MIB, 5 * MIB - 4 * KIB, 2 },
        { 256 * MIB, 2 * MIB, 1 },
        { 256 * MIB, 2 * MIB - 4 * KIB, 0 },
        { 64 * MIB, 5 * MIB, 0 },
    };
    static struct witness w;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ra_pool *pool = begin(&w, rows[i].budget, 0, false, false);
        struct range *r;
        unsigned n = 0;
        void *mem;

        CHECK_OK(ra_table_alloc(pool, rows[i].nbytes, &mem));
        r = range_of(&w, mem);
        for (size_t g = 0; g <= rows[i].nbytes / RA_HUGE_BYTES; g++) {
            CHECK(r->allowed[g] == (g < rows[i].huge));
            n += r->allowed[g];
        }
        CHECK_EQ(n, rows[i].huge);
        CHECK(n == 0 || (uintptr_t)mem % RA_HUGE_BYTES == 0);
        CHECK_EQ(w.committed, rows[i].nbytes);
        w.ends = true;
        ra_table_free(pool, mem, rows[i].nbytes);
        CHECK_EQ(ra_figure(&pool->resident), w.base);
        end(&w);
    }
}

/* ---- RA-3: a release asks nothing of the system, and sweeps nothing ---- */

/* With a thread that wants to be woken, magazines that overflow, and starved
 * callers' bounds passed. The lock below those of a release is held, so that
 * in builds with assertions a release that took it, or one before it, ends the
 * program. */
static void test_release_asks_nothing(void **state)
{
    static struct witness w;

    (void)state;
    for (int background = 0; background < 2; background++) {
        struct ra_pool *pool = begin(&w, 64 * MIB, 0, background, false);

        for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls++) {
            unsigned n = (unsigned)(40 * MIB >> cls) / (unsigned)QUIRE_SEG_MIN;
            uint64_t was;

            take(pool, n, QUIRE_SEG_MIN << cls);
            was = w.committed;
            ra_mutex_lock(&pool->sweep_lock);
            give(pool, 0, n);
            ra_mutex_unlock(&pool->sweep_lock);
            CHECK_EQ(w.committed, was);
            CHECK_EQ(atomic_load(&pool->wanted), background);
            atomic_store(&pool->wanted, false);
            (void)ra_pool_sweep(pool);
            ra_sweeper_set_threshold(&pool->cls[cls], 0);
        }
        end(&w);
    }
}

/* ---- the sweeper: what wakes it, what keeps two apart ---- */

/* A class's threshold: 5,000 free segments, or a 16th of the bytes in use but
 * 1 MiB at least; after a pass what is free then, and 1,000 more or as much
 * again as the first. */
static void test_thresholds(void **state)
{
    static const struct {
        const char *name;
        unsigned cls;
        uint64_t in_use; /* bytes */
        uint64_t free;   /* segments */
        uint64_t want;
    } cases[] = {
        { "nothing in use, 4K", 0, 0, 0, 256 },
        { "nothing in use, 256K", 6, 0, 0, 4 },
        { "16 MiB are the last that count as 1", 0, 16 * MIB, 0, 256 },
        { "a 16th of 64 MiB", 0, 64 * MIB, 0, 1024 },
        { "a 16th of 64 MiB, 64K", 4, 64 * MIB, 0, 64 },
        { "much in use", 0, 1024 * MIB, 0, 5000 },
        { "at the threshold", 0, 1024 * MIB, 5000, 5000 },
        { "above it: 1,000 more", 0, 1024 * MIB, 5001, 6001 },
        { "the next thousand", 0, 1024 * MIB, 6001, 7001 },
        { "few kept: as much again", 0, 0, 300, 556 },
        { "and again, 256K", 6, 0, 5, 9 },
    };
    static struct witness w;
    struct ra_pool *pool = begin(&w, 64 * MIB, 0, false, false);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ra_class *c = &pool->cls[cases[i].cls];

        CHECK_CASE(cases[i].name);
        c->nwarm = cases[i].free;
        ra_sweeper_set_threshold(c, cases[i].in_use);
        CHECK_EQ(c->wake_at, cases[i].want);
        c->nwarm = 0;
    }
    end(&w);
}

/* The release that passes the threshold wakes, no other. */
static void test_woken_by_free_segments(void **state)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, 512 * MIB, 0, true, false);
    struct ra_class *c = &pool->cls[0];

    (void)state;
    CHECK(w.run != NULL);
    take(pool, 8000, 4 * KIB);
    ra_mag_close(pool); /* each release is seen at once */
    (void)ra_mag_drain(pool);
    atomic_store(&pool->wanted, false);
    ra_sweeper_set_threshold(c, 1024 * MIB); /* a 16th is much */
    CHECK_EQ(c->wake_at, 5000);
    give(pool, 0, (unsigned)(5000 - c->nwarm));
    CHECK_EQ(c->nwarm, 5000);
    CHECK(!atomic_load(&pool->wanted));
    give(pool, 7999, 8000);
    CHECK(atomic_load(&pool->wanted));

    CHECK_CASE("and not again before the next thousand");
    atomic_store(&pool->wanted, false);
    ra_sweeper_set_threshold(c, 1024 * MIB);
    CHECK_EQ(c->wake_at, 6001);
    give(pool, 5500, 6500);
    CHECK_EQ(c->nwarm, 6001);
    CHECK(!atomic_load(&pool->wanted));
    give(pool, 6500, 6501);
    CHECK(atomic_load(&pool->wanted));
    for (unsigned i = 0; i < 8000; i++)
        (void)ra_seg_free(pool, segs[i]); /* those that are left */
    CHECK_EQ(stat_of(pool).in_use_bytes, 0);
    end(&w);
}

/* The reservation that comes within a 32nd of the budget wakes. */
static void test_woken_near_the_budget(void **state)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, 64 * MIB, 0, true, false);
    uint64_t mark = 64 * MIB - 2 * MIB;
    uint64_t more = mark - ra_figure(&pool->resident);

    (void)state;
    CHECK(ra_pool_reserve(pool, more));
    CHECK(!atomic_load(&pool->wanted));
    CHECK(ra_pool_reserve(pool, 4096));
    CHECK(atomic_load(&pool->wanted));
    ra_pool_unreserve(pool, more + 4096);
    end(&w);
}

/* One pass of a class at a time: a second one leaves it to the first. */
static void test_one_pass_of_a_class(void **state)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, 64 * MIB, 0, false, false);

    (void)state;
    take(pool, 500, 16 * KIB);
    for (unsigned i = 500; i < 600; i++)
        CHECK_OK(ra_seg_alloc(pool, 64 * KIB, &segs[i]));
    give(pool, 0, 600);
    (void)ra_sweeper_pass(pool); /* marks what is idle */
    atomic_store(&pool->cls[2].sweeping, true);
    CHECK_EQ(ra_sweeper_pass(pool), 100 * 64 * KIB);
    CHECK_EQ(ra_sweeper_pass(pool), 0);
    atomic_store(&pool->cls[2].sweeping, false);
    CHECK_EQ(ra_sweeper_pass(pool), 500 * 16 * KIB);
    CHECK(!atomic_load(&pool->cls[4].sweeping)); /* given back */
    end(&w);
}

/* ---- a region given back leaves nothing behind ---- */

static uint64_t kernel_bytes(struct ra_pool *pool)
{
    return ra_pool_kernel_resident(pool);
}

static void test_decommitted_regions_are_not_resident(void **state)
{
    static struct witness w;
    static const uint64_t budgets[] = { 64 * MIB, 256 * MIB };

    (void)state;
    for (size_t b = 0; b < ARRAY_LEN(budgets); b++) {
        struct ra_pool *pool = begin(&w, budgets[b], 0, false, false);
        uint64_t own = kernel_bytes(pool);

        for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls++) {
            unsigned n = (unsigned)(20 * MIB >> cls) / (unsigned)QUIRE_SEG_MIN;

            take(pool, n, QUIRE_SEG_MIN << cls);
            for (unsigned i = 0; i < n; i++)
                memset(segs[i], 1, QUIRE_SEG_MIN << cls);
            CHECK(kernel_bytes(pool) >= own + 20 * MIB);
            give(pool, 0, n);
            (void)ra_pool_sweep(pool);
            CHECK_EQ(stat_of(pool).regions_empty, stat_of(pool).regions);
            CHECK_EQ(kernel_bytes(pool), own);
            CHECK_EQ(w.committed, 0);
        }
        end(&w);
    }
}

/* ---- RA-7: the table stays half empty, so that a search is short ---- */

static void test_regions_are_found_fast(void **state)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, 256 * MIB, 512 * KIB, false, false);
    uint64_t nslots = UINT64_C(1) << pool->nslots_shift;
    unsigned n = (unsigned)(255 * MIB / (256 * KIB));
    uint64_t looks = 0;

    (void)state;
    take(pool, n, 256 * KIB);
    CHECK(pool->virtual_limit / pool->region_bytes * 2 <= nslots);
    for (unsigned i = 0; i < n; i++) {
        struct ra_region *r = ra_region_find(pool, segs[i]);
        uint32_t slot = (uint32_t)((((uint64_t)(uintptr_t)r->base >>
                                     pool->region_shift) *
                                    UINT64_C(0x9E3779B97F4A7C15)) >>
                                   (64 - pool->nslots_shift));

        CHECK(r != NULL && (char *)segs[i] >= r->base &&
              (char *)segs[i] < r->base + pool->region_bytes);
        looks += ((r->slot - slot) & (nslots - 1)) + 1;
    }
    CHECK(looks < 2 * (uint64_t)n);
    give(pool, 0, n);
    end(&w);
}

#if QUIRE_DEBUG >= 2 && !defined(RA_ASAN) && !defined(__SANITIZE_THREAD__)
/* ---- DEBUG=2: who wrote to a released segment is found by the next use ---- */

static void test_late_write_is_found(void **state)
{
    static struct witness w;

    (void)state;
    for (int magazine = 0; magazine < 2; magazine++) {
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
            struct ra_pool *pool = begin(&w, magazine ? 64 * MIB : 8 * MIB, 0,
                                         false, false);
            void *seg;

            take(pool, 1, 16 * KIB);
            give(pool, 0, 1);
#ifdef RA_VALGRIND
            VALGRIND_DISABLE_ERROR_REPORTING;
#endif
            ((volatile char *)segs[0])[10000] = 1;
            if (freopen("/dev/null", "w", stderr) == NULL)
                _exit(1);
            if (ra_seg_alloc(pool, 16 * KIB, &seg) != QUIRE_OK)
                _exit(2);
            _exit(1);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}
#endif

/* ---- figures and log lines of a course of events ---- */

static uint64_t press(void *arg, uint64_t nbytes)
{
    (void)nbytes;
    ++*(unsigned *)arg;
    return 0;
}

static void test_figures_of_a_course(void **state)
{
    static struct witness w;
    struct ra_pool *pool = begin(&w, 8 * MIB, 0, false, true);
    struct quire_pool_stat st = stat_of(pool);
    unsigned ncalls = 0;
    unsigned n = 0;
    void *seg;

    (void)state;
    CHECK_EQ(st.magazines, 0); /* a small budget has none */
    CHECK_EQ(lines(&w, "pool created"), 1);

    CHECK_CASE("taken: 3 of 16 KiB, 20 of 64 KiB");
    take(pool, 20, 64 * KIB);
    for (unsigned i = 20; i < 23; i++)
        CHECK_OK(ra_seg_alloc(pool, 16 * KIB, &segs[i]));
    st = stat_of(pool);
    CHECK_EQ(st.segments_in_use, 23);
    CHECK_EQ(st.in_use_bytes, 3 * 16 * KIB + 20 * 64 * KIB);
    CHECK_EQ(st.cls[4].in_use, 20);
    CHECK_EQ(st.cls[4].out_peak, 20);
    CHECK_EQ(st.cls[4].regions, 3); /* of 8 segments */
    CHECK_EQ(st.cls[2].in_use, 3);
    CHECK_EQ(st.cls[2].regions, 1);
    CHECK_EQ(st.cls[4].regions_mapped, 3);
    CHECK_EQ(st.cls[2].regions_mapped, 1);
    CHECK_EQ(st.regions, 4);
    CHECK_EQ(st.regions_mapped, 4);
    CHECK_EQ(st.regions_reused, 0);
    CHECK_EQ(st.free_bytes, 0);
    CHECK_EQ(lines(&w, "region mapped"), 4);

    CHECK_CASE("released: 12 of them");
    give(pool, 0, 12);
    st = stat_of(pool);
    CHECK_EQ(st.cls[4].in_use, 8);
    CHECK_EQ(st.cls[4].free, 12);
    CHECK_EQ(st.cls[4].out_peak, 20);
    CHECK_EQ(st.free_bytes, 12 * 64 * KIB);
    CHECK_EQ(st.regions_freed, 0);
    CHECK_EQ(st.sweeps, 0);
    CHECK_EQ(st.decommitted_bytes, 0);

    CHECK_CASE("swept: one region whole, and a half");
    CHECK_EQ(ra_pool_sweep(pool), 12 * 64 * KIB);
    st = stat_of(pool);
    CHECK_EQ(st.sweeps, 1);
    CHECK_EQ(st.decommitted_bytes, 12 * 64 * KIB);
    CHECK_EQ(st.regions_freed, 1);
    CHECK_EQ(st.regions_empty, 1);
    CHECK_EQ(st.cls[4].regions, 2);
    CHECK_EQ(st.cls[4].regions_freed, 1);
    CHECK_EQ(st.cls[4].decommitted_bytes, 12 * 64 * KIB);
    CHECK_EQ(st.cls[4].free, 0);
    CHECK_EQ(st.free_bytes, 0);
    CHECK_EQ(lines(&w, "region at"), 1);
    CHECK_EQ(lines(&w, "sweep gave back 786432 bytes"), 1);

    CHECK_CASE("the empty one serves another size");
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &segs[0]));
    st = stat_of(pool);
    CHECK_EQ(st.regions_reused, 1);
    CHECK_EQ(st.regions_empty, 0);
    CHECK_EQ(st.cls[0].regions, 1);
    CHECK_EQ(st.cls[0].regions_reused, 1);
    CHECK_EQ(st.cls[0].regions_mapped, 0);
    CHECK_EQ(st.cls[4].regions_reused, 0);
    CHECK_EQ(st.regions_mapped, 4);
    CHECK_EQ(lines(&w, "reused for segments of 4096 bytes"), 1);
    give(pool, 0, 1);
    give(pool, 12, 23);

    CHECK_CASE("passes of the sweeper");
    (void)ra_sweeper_pass(pool);
    (void)ra_sweeper_pass(pool);
    st = stat_of(pool);
    CHECK_EQ(st.background_sweeps, 2);
    CHECK_EQ(st.regions_empty, 4);
    CHECK_EQ(lines(&w, "the sweeper gave back"), 1);

    CHECK_CASE("starved");
    ra_pool_set_pressure(pool, press, &ncalls);
    while (ra_seg_alloc(pool, 256 * KIB, &segs[n]) == QUIRE_OK)
        n++;
    st = stat_of(pool);
    CHECK_EQ(st.failed_allocs, 1);
    CHECK_EQ(st.pressure_calls, ncalls);
    CHECK(ncalls > 0);
    CHECK_EQ(st.waits, 0);
    CHECK_EQ(st.cls[6].out_peak, n);
    CHECK(st.resident_peak_bytes >= st.resident_bytes);
    CHECK(st.resident_peak_bytes <= 8 * MIB);
    CHECK_EQ(lines(&w, "the pressure callback gave back 0 of"), ncalls);
    CHECK_EQ(lines(&w, "no memory for a segment of 262144 bytes"), 1);
    pool->wait_ms = 1;
    CHECK_EQ(ra_seg_alloc(pool, 256 * KIB, &seg), QUIRE_NOMEM);
    pool->wait_ms = 0;
    CHECK_EQ(stat_of(pool).waits, 1);
    CHECK_EQ(lines(&w, "waiting for what others give back"), 1);
    ra_pool_set_pressure(pool, NULL, NULL);

    CHECK_CASE("misuse, and budgets");
    CHECK(!ra_seg_free(pool, (char *)segs[0] + 1));
    CHECK_EQ(stat_of(pool).misuses, 1);
    CHECK_EQ(lines(&w, "refused: not the beginning of a segment"), 1);
    give(pool, 0, n);
    CHECK_OK(ra_pool_set_budget(pool, 16 * MIB));
    CHECK_EQ(lines(&w, "budget changed from 8388608 to 16777216 bytes"), 1);
    CHECK_EQ(stat_of(pool).budget_bytes, 16 * MIB);
    end(&w);
    CHECK_EQ(lines(&w, "pool destroyed"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_are_reserved_first),
        cmocka_unit_test(test_huge_pages_whole_or_forbidden),
        cmocka_unit_test(test_huge_pages_of_tables),
        cmocka_unit_test(test_release_asks_nothing),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_woken_by_free_segments),
        cmocka_unit_test(test_woken_near_the_budget),
        cmocka_unit_test(test_one_pass_of_a_class),
        cmocka_unit_test(test_decommitted_regions_are_not_resident),
        cmocka_unit_test(test_regions_are_found_fast),
#if QUIRE_DEBUG >= 2 && !defined(RA_ASAN) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_late_write_is_found),
#endif
        cmocka_unit_test(test_figures_of_a_course),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
