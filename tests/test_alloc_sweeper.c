/*
 * test_alloc_sweeper.c - the background sweeper, budgets that change, and the
 * figures of classes.
 *
 * What a pass does is tested by calling passes; that the thread makes them, by
 * waiting for its figures, for as long as the test may run: nothing here
 * depends on how soon they come.
 */
#include <sched.h>
#include <unistd.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define SEGS_MAX 8192

static void *segs[SEGS_MAX];

static struct ra_pool *make_pool(uint64_t budget, bool background)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
        .background = background,
    };
    struct ra_pool *pool;

    CHECK_OK(ra_pool_create(&opt, &pool));
    return pool;
}

static struct quire_pool_stat stat_of(struct ra_pool *pool)
{
    struct quire_pool_stat st;

    ra_pool_stat(pool, &st);
    return st;
}

static void end(struct ra_pool *pool)
{
    CHECK(ra_check_pool(pool));
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
}

static void take(struct ra_pool *pool, unsigned n, size_t nbytes)
{
    CHECK(n <= SEGS_MAX);
    for (unsigned i = 0; i < n; i++)
        CHECK_OK(ra_seg_alloc(pool, nbytes, &segs[i]));
}

/* Release all but every `keep`th; 0: all. */
static void release(struct ra_pool *pool, unsigned n, unsigned keep)
{
    for (unsigned i = 0; i < n; i++) {
        if (keep == 0 || i % keep != 0) {
            CHECK(ra_seg_free(pool, segs[i]));
            segs[i] = NULL;
        }
    }
}

/* A first pass gives nothing back, a second all that stayed free. */
static void test_idle_memory_goes(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, false);
    uint64_t own = stat_of(pool).resident_bytes;
    struct quire_pool_stat st;

    (void)state;
    take(pool, 2000, 16 * KIB);
    release(pool, 2000, 0);
    CHECK_EQ(ra_sweeper_pass(pool), 0);
    CHECK_EQ(ra_sweeper_pass(pool), 2000 * 16 * KIB);
    st = stat_of(pool);
    CHECK_EQ(st.regions_empty, st.regions);
    CHECK_EQ(st.background_sweeps, 2);
    CHECK_EQ(st.resident_bytes, own + st.regions * pool->meta_bytes +
                                    st.magazines * ra_mag_charge());
    CHECK_EQ(st.decommitted_bytes, 2000 * 16 * KIB);
    CHECK_EQ(ra_sweeper_pass(pool), 0);
    end(pool);
}

/* Scattered survivors don't hold their neighbours' memory. */
static void test_thin_regions_are_thinned(void **state)
{
    (void)state;
    for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls++) {
        struct ra_pool *pool = make_pool(64 * MIB, false);
        size_t nbytes = QUIRE_SEG_MIN << cls;
        unsigned n = (unsigned)(32 * MIB / nbytes);
        struct quire_pool_stat st;

        take(pool, n, nbytes);
        release(pool, n, 10);
        (void)ra_sweeper_pass(pool);
        (void)ra_sweeper_pass(pool);
        st = stat_of(pool);
        CHECK_EQ(st.free_bytes, 0);
        CHECK_EQ(st.cls[cls].in_use, (n + 9) / 10);
        CHECK(st.resident_bytes < st.in_use_bytes + MIB / 2);
        CHECK(ra_check_pool(pool));
        for (unsigned i = 0; i < n; i++)
            CHECK(ra_seg_free(pool, segs[i]));
        end(pool);
    }
}

/* What was used between two passes stays. */
static void test_memory_in_turn_stays(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, false);

    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        take(pool, 1000, 16 * KIB);
        release(pool, 1000, 0);
        CHECK_EQ(ra_sweeper_pass(pool), 0);
    }
    CHECK_EQ(stat_of(pool).decommitted_bytes, 0);
    end(pool);
}

/* A system that takes no memory back leaves all figures true. */
static int refuse(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    (void)addr;
    (void)nbytes;
    return -12;
}

static void test_refused_decommit(void **state)
{
    struct quire_sys sys = *quire_sys_default();
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = 64 * MIB,
        .sys = &sys,
    };
    struct ra_pool *pool;
    uint64_t resident;

    (void)state;
    sys.decommit = refuse;
    CHECK_OK(ra_pool_create(&opt, &pool));
    take(pool, 1000, 16 * KIB);
    release(pool, 1000, 3);
    resident = stat_of(pool).resident_bytes;
    CHECK_EQ(ra_sweeper_pass(pool) + ra_sweeper_pass(pool), 0);
    CHECK_EQ(stat_of(pool).resident_bytes, resident);
    CHECK(ra_check_pool(pool));
    for (unsigned i = 0; i < 1000; i++)
        CHECK(ra_seg_free(pool, segs[i]));
    CHECK_EQ(ra_sweeper_pass(pool) + ra_sweeper_pass(pool), 0);
    CHECK_EQ(stat_of(pool).resident_bytes, resident);
    end(pool);
}

/* The thread is woken by a release and gives all back but what is kept. */
static void test_thread_gives_back(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, true);
    struct quire_pool_stat st;

    (void)state;
    take(pool, 2000, 16 * KIB);
    release(pool, 2000, 10);
    do {
        sched_yield(); /* until the thread has been there */
        st = stat_of(pool);
    } while (st.free_bytes + st.magazine_bytes > MIB);
    CHECK(st.background_sweeps >= 2);
    CHECK_EQ(st.sweeps, 0);
    for (unsigned i = 0; i < 2000; i++)
        CHECK(ra_seg_free(pool, segs[i]));
    ra_sweeper_stop(pool); /* which that has woken: nothing moves any more */
    end(pool);
}

static int no_thread(void *ctx, void (*run)(void *arg), void *arg,
                     void **thread)
{
    (void)ctx;
    (void)run;
    (void)arg;
    (void)thread;
    return -11;
}

/* Without background no thread is made; with it, its failure is one. */
static void test_thread_only_when_asked(void **state)
{
    struct quire_sys sys = *quire_sys_default();
    struct quire_pool_options opt = { .size = sizeof(opt), .sys = &sys };
    struct ra_pool *pool;

    (void)state;
    sys.thread_create = no_thread;
    CHECK_OK(ra_pool_create(&opt, &pool));
    end(pool);
    opt.background = true;
    CHECK_STATUS(ra_pool_create(&opt, &pool), QUIRE_NOMEM);
    CHECK_EQ(pool, NULL);
    CHECK(strstr(quire_error_detail(), "thread") != NULL);
}

/*
 * The old leak, replayed: 8,000 segments of 64 KiB held and returned, 200
 * times. With all of them held the figures are those of the second cycle to
 * the byte, returned they are no higher, and no region is mapped after it;
 * whether the thread sweeps or each cycle ends with a sweep of its own, in
 * which all regions become empty and all are used again.
 */
static void run_cycles(bool background)
{
    struct ra_pool *pool = make_pool(640 * MIB, background);
    uint64_t rounds = background ? test_rounds(200) : 2 + test_rounds(20);
    /* whole regions, so that none is left over in part */
    unsigned n = (unsigned)test_rounds(8000) / 64 * 64;
    struct quire_pool_stat second = { 0 };
    struct quire_pool_stat st;
    uint64_t kernel = 0;

    CHECK_EQ(pool->region_bytes, 64 * 64 * KIB);
    for (uint64_t round = 0; round < rounds; round++) {
        take(pool, n, 64 * KIB);
        st = stat_of(pool);
        CHECK_EQ(st.in_use_bytes, n * 64 * KIB);
        if (round == 1) {
            second = st;
            kernel = ra_pool_kernel_resident(pool);
        }
        if (round > 1) {
            CHECK_EQ(st.virtual_bytes, second.virtual_bytes);
            CHECK_EQ(st.regions_mapped, second.regions_mapped);
            CHECK_EQ(st.resident_bytes, second.resident_bytes);
        }
        if (round > 1 && round % 16 == 2)
            CHECK_EQ(ra_pool_kernel_resident(pool), kernel);
        release(pool, n, 0);
        if (!background)
            CHECK_EQ(ra_pool_sweep(pool), n * 64 * KIB);
        st = stat_of(pool);
        CHECK_EQ(st.in_use_bytes, 0);
        if (round > 0) {
            CHECK(st.resident_bytes <= second.resident_bytes);
            CHECK_EQ(st.virtual_bytes, second.virtual_bytes);
        }
        if (!background)
            CHECK_EQ(st.regions_reused, round * st.regions);
    }
    CHECK_EQ(stat_of(pool).failed_allocs, 0);
    end(pool);
}

static void test_cycles_stay_flat(void **state)
{
    (void)state;
    run_cycles(true);
    run_cycles(false);
}

/* The load moves from one class to another and back while the sweeper works:
 * regions that it holds at the moment are waited for, not replaced. */
static void test_class_shift_with_sweeper(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, true);
    uint64_t rounds = test_rounds(30);
    uint64_t virtual_bytes = 0;

    (void)state;
    for (uint64_t round = 0; round < rounds; round++) {
        size_t nbytes = round % 2 == 0 ? 64 * KIB : 4 * KIB;
        unsigned n = (unsigned)(32 * MIB / nbytes);

        take(pool, n, nbytes);
        if (round == 0)
            virtual_bytes = stat_of(pool).virtual_bytes;
        CHECK_EQ(stat_of(pool).virtual_bytes, virtual_bytes);
        release(pool, n, 0);
        ra_sweeper_wake(pool);
    }
    end(pool);
}

static uint64_t evict(void *arg, uint64_t nbytes)
{
    struct ra_pool *pool = arg;
    uint64_t given = 0;

    for (unsigned i = 0; i < SEGS_MAX && given < nbytes; i++) {
        if (segs[i] != NULL) {
            given += ra_seg_bytes(pool, segs[i]);
            CHECK(ra_seg_free(pool, segs[i]));
            segs[i] = NULL;
        }
    }
    return given;
}

static void test_budget_changes(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, false);
    void *seg;

    (void)state;
    memset(segs, 0, sizeof(segs));
    CHECK_STATUS(ra_pool_set_budget(pool, QUIRE_BUDGET_MIN - 1), QUIRE_INVAL);
    CHECK_STATUS(ra_pool_set_budget(pool, 256 * MIB + 4096), QUIRE_INVAL);

    CHECK_CASE("down: what is free goes");
    take(pool, 3000, 16 * KIB);
    release(pool, 3000, 0);
    CHECK_OK(ra_pool_set_budget(pool, 16 * MIB));
    CHECK_EQ(stat_of(pool).budget_bytes, 16 * MIB);
    CHECK(stat_of(pool).resident_bytes <= 16 * MIB);
    CHECK_EQ(atomic_load(&pool->mag_cap[0]), 0);
    CHECK(ra_check_pool(pool));

    CHECK_CASE("down: what is in use does not");
    take(pool, 800, 16 * KIB);
    CHECK_STATUS(ra_pool_set_budget(pool, 8 * MIB), QUIRE_NOMEM);
    CHECK_EQ(stat_of(pool).budget_bytes, 16 * MIB);
    CHECK_EQ(stat_of(pool).cls[2].in_use, 800);

    CHECK_CASE("down: the pressure callback evicts");
    ra_pool_set_pressure(pool, evict, pool);
    CHECK_OK(ra_pool_set_budget(pool, 8 * MIB));
    CHECK(stat_of(pool).in_use_bytes > 0);
    CHECK(stat_of(pool).resident_bytes <= 8 * MIB);
    ra_pool_set_pressure(pool, NULL, NULL);
    CHECK(ra_check_pool(pool));

    CHECK_CASE("up: there is room again");
    CHECK_OK(ra_pool_set_budget(pool, 128 * MIB));
    for (unsigned i = 0; i < SEGS_MAX; i++) {
        CHECK(ra_seg_free(pool, segs[i]));
        segs[i] = NULL;
    }
    take(pool, 6000, 16 * KIB);
    release(pool, 6000, 0);
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK(ra_seg_free(pool, seg));
    CHECK_EQ(atomic_load(&pool->nmags), 1);
    end(pool);
}

/* RA-12: 2 MiB at a time while whole, per segment once partly given back. */
static void test_huge_pages_are_charged_whole(void **state)
{
    struct ra_pool *pool = make_pool(256 * MIB, false);
    uint64_t kernel;
    unsigned n = 8 * 128;

    (void)state;
    take(pool, 1, 16 * KIB);
    CHECK_EQ(stat_of(pool).free_bytes + stat_of(pool).magazine_bytes,
             2 * MIB - 16 * KIB);
    CHECK(ra_check_pool(pool));
    release(pool, 1, 0);
    take(pool, n, 16 * KIB);
    for (unsigned i = 0; i < n; i++)
        memset(segs[i], 1, 16 * KIB);
    release(pool, n, 10);
    (void)ra_sweeper_pass(pool);
    (void)ra_sweeper_pass(pool);
    CHECK_EQ(stat_of(pool).free_bytes, 0);
    kernel = ra_pool_kernel_resident(pool);
    CHECK(kernel <= stat_of(pool).resident_bytes);
    CHECK(kernel * 20 >= (stat_of(pool).resident_bytes - MIB) * 19);
    CHECK(ra_check_pool(pool));

    CHECK_CASE("near the budget they are given up");
    for (unsigned i = 0; i < n; i++)
        CHECK(ra_seg_free(pool, segs[i]));
    (void)ra_pool_sweep(pool);
    n = 0;
    while (n < SEGS_MAX && ra_seg_alloc(pool, 256 * KIB, &segs[n]) == QUIRE_OK)
        n++;
    CHECK(stat_of(pool).in_use_bytes + MIB >= 256 * MIB);
    CHECK(ra_pool_kernel_resident(pool) <= 256 * MIB);
    CHECK(ra_check_pool(pool));
    release(pool, n, 0);
    (void)ra_pool_sweep(pool);
    CHECK_EQ(stat_of(pool).regions_empty, stat_of(pool).regions);
    end(pool);
}

/* A huge page of which little is idle stays one; half of it idle, and it goes,
 * at any pass and in any class. A sweep that is asked for takes all. */
static void test_huge_pages_in_use_stay(void **state)
{
    (void)state;
    for (unsigned cls = 0; cls < QUIRE_SEG_CLASSES; cls++) {
        struct ra_pool *pool = make_pool(512 * MIB, false);
        size_t nbytes = QUIRE_SEG_MIN << cls;
        unsigned n = (unsigned)(8 * MIB / nbytes);
        unsigned per = (unsigned)(2 * MIB / nbytes);
        uint64_t own = stat_of(pool).resident_bytes;
        struct quire_pool_stat st;

        take(pool, n, nbytes);
        for (unsigned i = 0; i < n; i++) {
            if ((uintptr_t)segs[i] / (2 * MIB) % 2 == 0
                    ? (uintptr_t)segs[i] / nbytes % per < per / 2 - 1
                    : (uintptr_t)segs[i] / nbytes % per < per / 2) {
                CHECK(ra_seg_free(pool, segs[i]));
                segs[i] = NULL;
            }
        }
        (void)ra_sweeper_pass(pool);
        CHECK(ra_sweeper_pass(pool) > 0);
        CHECK_EQ(ra_sweeper_pass(pool), 0);
        st = stat_of(pool);
        CHECK_EQ(st.free_bytes, 2 * (per / 2 - 1) * nbytes);
        CHECK(st.resident_bytes - own < 7 * MIB);
        CHECK(ra_check_pool(pool));
        CHECK_EQ(ra_pool_sweep(pool), st.free_bytes);
        CHECK_EQ(stat_of(pool).free_bytes, 0);
        for (unsigned i = 0; i < n; i++)
            if (segs[i] != NULL)
                CHECK(ra_seg_free(pool, segs[i]));
        end(pool);
    }
}

/* A system that won't forbid huge pages: nothing is given back by parts, and
 * one that won't allow them: there are none. */
static int refuse_huge(void *ctx, void *addr, size_t nbytes, bool allow)
{
    if (allow == *(bool *)ctx)
        return -12;
    return quire_sys_default()->huge(NULL, addr, nbytes, allow);
}

static void test_huge_pages_refused(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++) {
        struct quire_sys sys = *quire_sys_default();
        struct quire_pool_options opt = {
            .size = sizeof(opt),
            .budget_bytes = 256 * MIB,
            .sys = &sys,
        };
        bool refused = what == 1;
        struct ra_pool *pool;
        uint64_t resident;

        sys.ctx = &refused;
        sys.huge = refuse_huge;
        CHECK_OK(ra_pool_create(&opt, &pool));
        take(pool, 512, 16 * KIB);
        release(pool, 512, 10);
        resident = stat_of(pool).resident_bytes;
        (void)ra_sweeper_pass(pool);
        (void)ra_sweeper_pass(pool);
        CHECK_EQ(stat_of(pool).resident_bytes == resident, what == 0);
        CHECK(ra_check_pool(pool));
        for (unsigned i = 0; i < 512; i++)
            CHECK(ra_seg_free(pool, segs[i]));
        (void)ra_pool_sweep(pool);
        CHECK_EQ(stat_of(pool).regions_empty, stat_of(pool).regions);
        end(pool);
    }
}

#if QUIRE_DEBUG >= 1 && !defined(RA_ASAN) && !defined(__SANITIZE_THREAD__)
/* Nobody reads an empty region unseen; taken again, it is open. */
static void test_empty_regions_are_closed(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, false);
    int fd[2];

    (void)state;
    CHECK_EQ(pipe(fd), 0);
    take(pool, 1, 64 * KIB);
    memset(segs[0], 1, 64 * KIB);
    CHECK_EQ(write(fd[1], segs[0], 100), 100);
    CHECK(ra_seg_free(pool, segs[0]));
    (void)ra_pool_sweep(pool);
    CHECK_EQ(stat_of(pool).regions_empty, 1);
#ifdef RA_VALGRIND
    VALGRIND_DISABLE_ERROR_REPORTING; /* it knows too */
#endif
    CHECK(write(fd[1], segs[0], 100) < 0); /* the kernel can't read it */
#ifdef RA_VALGRIND
    VALGRIND_ENABLE_ERROR_REPORTING;
#endif
    take(pool, 1, 64 * KIB);
    CHECK_EQ(stat_of(pool).regions_reused, 1);
    memset(segs[0], 1, 64 * KIB);
    CHECK(ra_seg_free(pool, segs[0]));
    close(fd[0]);
    close(fd[1]);
    end(pool);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_memory_goes),
        cmocka_unit_test(test_thin_regions_are_thinned),
        cmocka_unit_test(test_memory_in_turn_stays),
        cmocka_unit_test(test_refused_decommit),
        cmocka_unit_test(test_thread_gives_back),
        cmocka_unit_test(test_thread_only_when_asked),
        cmocka_unit_test(test_cycles_stay_flat),
        cmocka_unit_test(test_class_shift_with_sweeper),
        cmocka_unit_test(test_budget_changes),
        cmocka_unit_test(test_huge_pages_are_charged_whole),
        cmocka_unit_test(test_huge_pages_in_use_stay),
        cmocka_unit_test(test_huge_pages_refused),
#if QUIRE_DEBUG >= 1 && !defined(RA_ASAN) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_empty_regions_are_closed),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
