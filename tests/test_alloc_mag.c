/*
 * test_alloc_mag.c - magazines: what threads keep of the free segments.
 *
 * RA-11 (what lies in a magazine is free, bounded, and comes back when it is
 * wanted), RA-13 (homes, which threads have by their magazines), and what RA-4
 * says of segments that lie there. Threads are brought
 * to a place by barriers, never by time.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define BUDGET (64 * MIB)
#define NTHREADS 3

static struct ra_pool *make_pool(uint64_t budget)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
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

static uint64_t in_magazines(struct ra_pool *pool)
{
    uint64_t n[QUIRE_SEG_CLASSES];
    uint64_t nbytes = 0;

    ra_mag_sum(pool, n);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        nbytes += n[i] * (QUIRE_SEG_MIN << i);
    return nbytes;
}

static void end(struct ra_pool *pool)
{
    CHECK(ra_check_pool(pool));
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
}

/* Leave free segments of each class in this thread's magazine. */
static void fill_magazine(struct ra_pool *pool)
{
    void *segs[100];

    /* The smallest last: a region that is mapped empties magazines, and they
     * keep nothing of the largest. */
    for (unsigned k = 0; k < QUIRE_SEG_CLASSES; k++) {
        unsigned cls = QUIRE_SEG_CLASSES - 1 - k;

        for (unsigned i = 0; i < ARRAY_LEN(segs) >> cls; i++)
            CHECK_OK(ra_seg_alloc(pool, QUIRE_SEG_MIN << cls, &segs[i]));
        for (unsigned i = 0; i < ARRAY_LEN(segs) >> cls; i++)
            CHECK(ra_seg_free(pool, segs[i]));
    }
}

static void test_magazines_are_bounded(void **state)
{
    static const struct {
        const char *name;
        uint64_t budget;
        uint32_t cap[QUIRE_SEG_CLASSES];
    } cases[] = {
        { "smallest budget", QUIRE_BUDGET_MIN, { 0 } },
        { "just too small", 32 * MIB - 4096, { 0 } },
        { "small", 32 * MIB, { 16, 8, 4, 2, 1, 0, 0 } },
        { "default", 64 * MIB, { 32, 16, 8, 4, 2, 1, 0 } },
        { "below huge pages", 256 * MIB - 4096, { 64, 63, 31, 15, 7, 3, 1 } },
        { "huge pages", 256 * MIB, { 64, 64, 64, 32, 16, 8, 4 } },
        { "large", 1024 * MIB, { 64, 64, 64, 64, 64, 32, 16 } },
        { "very large", 16384 * MIB, { 64, 64, 64, 64, 64, 64, 32 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ra_pool *pool = make_pool(cases[i].budget);
        uint64_t most = 0;

        CHECK_CASE(cases[i].name);
        for (unsigned c = 0; c < QUIRE_SEG_CLASSES; c++) {
            CHECK_EQ(atomic_load(&pool->mag_cap[c]), cases[i].cap[c]);
            most += cases[i].cap[c] * (QUIRE_SEG_MIN << c);
        }
        fill_magazine(pool);
        CHECK(in_magazines(pool) <= most);
        CHECK_EQ(in_magazines(pool) > 0, most > 0);
        CHECK_EQ(stat_of(pool).in_use_bytes, 0);
        CHECK_EQ(stat_of(pool).segments_in_use, 0);
        end(pool);
    }
}

static void test_a_released_segment_comes_again(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    void *seg;
    void *again;

    (void)state;
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK(ra_seg_free(pool, seg));
    CHECK(in_magazines(pool) > 0);
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &again));
    CHECK_EQ(again, seg);
    CHECK(ra_seg_free(pool, again));
    end(pool);
}

static void test_misuse_is_refused_in_magazines(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    struct ra_pool *other = make_pool(BUDGET);
    void *seg;

    (void)state;
    CHECK_OK(ra_seg_alloc(pool, 16 * KIB, &seg));
    CHECK(!ra_seg_free(pool, (char *)seg + 4 * KIB));
    CHECK(!ra_seg_free(pool, (char *)seg + 1));
    CHECK(!ra_seg_free(other, seg));
    CHECK(ra_seg_free(pool, seg));
    CHECK(in_magazines(pool) > 0);
    CHECK(!ra_seg_free(pool, seg)); /* in a magazine is not in use */
    CHECK(!ra_seg_free(other, seg));
    CHECK_EQ(stat_of(pool).misuses, 3);
    CHECK_EQ(stat_of(other).misuses, 2);
    CHECK(ra_check_pool(pool));
    ra_pool_sweep(pool);
    CHECK_EQ(in_magazines(pool), 0);
    CHECK(!ra_seg_free(pool, seg));
    end(pool);
    end(other);
}

/* A thread that fills its magazine and waits until told to go on. */
struct holder {
    struct ra_pool *pool;
    pthread_barrier_t filled;
    pthread_barrier_t go_on;
    bool again; /* use the pool once more before the end */
};

static void *holder_main(void *arg)
{
    struct holder *h = arg;

    fill_magazine(h->pool);
    pthread_barrier_wait(&h->filled);
    pthread_barrier_wait(&h->go_on);
    if (h->again)
        fill_magazine(h->pool);
    return NULL;
}

static void holders_start(struct holder *h, struct ra_pool *pool,
                          pthread_t thread[NTHREADS])
{
    h->pool = pool;
    pthread_barrier_init(&h->filled, NULL, NTHREADS + 1);
    pthread_barrier_init(&h->go_on, NULL, NTHREADS + 1);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, holder_main, h), 0);
    pthread_barrier_wait(&h->filled);
}

static void holders_end(struct holder *h, pthread_t thread[NTHREADS])
{
    pthread_barrier_wait(&h->go_on);
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&h->filled);
    pthread_barrier_destroy(&h->go_on);
}

static void test_threads_end_with_full_magazines(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    pthread_t thread[NTHREADS];
    struct holder h = { .again = true };

    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        holders_start(&h, pool, thread);
        CHECK_EQ(atomic_load(&pool->nmags), NTHREADS);
        CHECK(in_magazines(pool) > 0);
        CHECK(ra_check_pool(pool));
        holders_end(&h, thread);
        CHECK_EQ(atomic_load(&pool->nmags), 0);
        CHECK_EQ(in_magazines(pool), 0);
        CHECK_EQ(stat_of(pool).in_use_bytes, 0);
        CHECK(ra_check_pool(pool));
    }
    end(pool);
}

static void test_sweep_empties_every_magazine(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    pthread_t thread[NTHREADS];
    struct holder h = { .again = true };

    (void)state;
    holders_start(&h, pool, thread);
    CHECK(in_magazines(pool) > 0);
    CHECK(ra_pool_sweep(pool) > 0);
    CHECK_EQ(in_magazines(pool), 0);
    CHECK_EQ(stat_of(pool).regions_empty, stat_of(pool).regions);
    CHECK(ra_check_pool(pool));
    holders_end(&h, thread);
    end(pool);
}

/* What threads keep is not missing when another one needs it. */
static void test_starved_takes_from_magazines(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    pthread_t thread[NTHREADS];
    struct holder h = { .again = false };
    static void *segs[BUDGET / (256 * KIB)];
    unsigned n = 0;

    (void)state;
    holders_start(&h, pool, thread);
    CHECK(in_magazines(pool) > 0);
    while (ra_seg_alloc(pool, 256 * KIB, &segs[n]) == QUIRE_OK)
        n++;
    CHECK_EQ(in_magazines(pool), 0);
    CHECK(stat_of(pool).in_use_bytes + MIB / 2 + MIB / 4 >= BUDGET);
    while (n > 0)
        CHECK(ra_seg_free(pool, segs[--n]));
    holders_end(&h, thread);
    end(pool);
}

static void test_pool_ends_before_its_threads(void **state)
{
    pthread_t thread[NTHREADS];
    struct holder h = { .again = false };

    (void)state;
    for (unsigned round = 0; round < 5; round++) {
        struct ra_pool *pool = make_pool(BUDGET);

        holders_start(&h, pool, thread);
        end(pool);
        pool = make_pool(BUDGET); /* perhaps in the same place */
        fill_magazine(pool);
        holders_end(&h, thread);
        CHECK_EQ(atomic_load(&pool->nmags), 1);
        end(pool);
    }
}

/* The threads that come too late for the bound do without, and work. */
static void *do_without(void *arg)
{
    struct ra_pool *pool = arg;
    void *seg;

    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK(ra_seg_free(pool, seg));
    CHECK_EQ(pthread_getspecific(pool->mag_key), NULL);
    return NULL;
}

static void test_all_magazines_are_bounded(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);
    pthread_t thread;

    (void)state;
    /* 768 KiB each, as the row "default" above: 21 are within 16 MiB */
    atomic_fetch_add(&pool->nmags, 21);
    CHECK_EQ(pthread_create(&thread, NULL, do_without, pool), 0);
    pthread_join(thread, NULL);
    atomic_fetch_sub(&pool->nmags, 21);
    end(pool);
}

/* A thread that takes segments while the test holds its own magazine. */
struct lodger {
    struct ra_pool *pool;
    size_t nbytes;
    unsigned n;
    bool try_only;
    void *segs[1000];
};

static void *lodger_main(void *arg)
{
    struct lodger *l = arg;

    for (unsigned i = 0; i < l->n; i++) {
        if (l->try_only)
            l->segs[i] = ra_seg_try(l->pool, l->nbytes);
        else
            CHECK_OK(ra_seg_alloc(l->pool, l->nbytes, &l->segs[i]));
        CHECK(l->segs[i] != NULL);
    }
    return NULL;
}

/* Let a thread of its own take `n` segments, and end. */
static void lodge(struct lodger *l, struct ra_pool *pool, size_t nbytes,
                  unsigned n, bool try_only)
{
    pthread_t thread;

    l->pool = pool;
    l->nbytes = nbytes;
    l->n = n;
    l->try_only = try_only;
    CHECK_EQ(pthread_create(&thread, NULL, lodger_main, l), 0);
    pthread_join(thread, NULL);
}

static void unlodge(struct lodger *l)
{
    while (l->n > 0)
        CHECK(ra_seg_free(l->pool, l->segs[--l->n]));
}

/* RA-13: what is on offer is less than a region, so each home has its own. */
static void test_homes_have_their_regions(void **state)
{
    struct ra_pool *pool = make_pool(RA_HOMES_BUDGET_MIN);
    static struct lodger second;
    static struct lodger third;
    void *segs[100];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(segs); i++)
        CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &segs[i]));
    lodge(&second, pool, 4 * KIB, ARRAY_LEN(segs), false);
    /* a thread that comes when that one has ended gets the same home */
    lodge(&third, pool, 4 * KIB, ARRAY_LEN(segs), false);
    for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
        CHECK_EQ(ra_region_find(pool, segs[i])->home, 0);
        CHECK_EQ(ra_region_find(pool, second.segs[i])->home, 1);
        CHECK_EQ(ra_region_find(pool, third.segs[i]),
                 ra_region_find(pool, second.segs[i]));
    }
    CHECK_EQ(stat_of(pool).regions, 2);
    CHECK(ra_check_pool(pool));
    unlodge(&second);
    unlodge(&third);
    for (unsigned i = 0; i < ARRAY_LEN(segs); i++)
        CHECK(ra_seg_free(pool, segs[i]));
    end(pool);
}

/* RA-13: where a region's worth is on offer nothing is mapped. */
static void test_homes_share_what_is_plenty(void **state)
{
    struct ra_pool *pool = make_pool(RA_HOMES_BUDGET_MIN);
    uint32_t nsegs = pool->cls[6].nsegs;
    static struct lodger second;
    static void *segs[64];
    uint64_t nregions;

    (void)state;
    CHECK(2 * nsegs <= ARRAY_LEN(segs));
    for (unsigned i = 0; i < 2 * nsegs; i++)
        CHECK_OK(ra_seg_alloc(pool, 256 * KIB, &segs[i]));
    for (unsigned i = 0; i < 2 * nsegs; i++)
        CHECK(ra_seg_free(pool, segs[i]));
    CHECK(pool->cls[6].nwarm >= nsegs);
    nregions = stat_of(pool).regions;
    lodge(&second, pool, 256 * KIB, 1, false);
    CHECK_EQ(ra_region_find(pool, second.segs[0])->home, 0);
    CHECK_EQ(stat_of(pool).regions, nregions);
    unlodge(&second);
    end(pool);
}

/* RA-13: warm and cold segments of another home, where no region can be had. */
static void test_homes_share_before_they_fail(void **state)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = RA_HOMES_BUDGET_MIN,
        .virtual_bytes = RA_HOMES_BUDGET_MIN,
        .region_bytes = RA_REGION_MAX,
    };
    struct ra_pool *pool;
    static struct lodger l;
    void *segs[QUIRE_SEG_CLASSES];
    uint64_t nregions;

    (void)state;
    CHECK_OK(ra_pool_create(&opt, &pool));
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        CHECK_OK(ra_seg_alloc(pool, QUIRE_SEG_MIN << i, &segs[i]));
    nregions = stat_of(pool).regions;
    CHECK((nregions + 1) * RA_REGION_MAX > pool->virtual_limit - MIB);
    for (unsigned try_only = 0; try_only < 2; try_only++) {
        lodge(&l, pool, 4 * KIB, ARRAY_LEN(l.segs), try_only);
        CHECK_EQ(ra_region_find(pool, l.segs[0]),
                 ra_region_find(pool, segs[0]));
        CHECK_EQ(ra_region_find(pool, l.segs[0])->home, 0);
        CHECK(ra_check_pool(pool));
        unlodge(&l);
        ra_pool_sweep(pool); /* the next one finds cold ones only */
    }
    CHECK_EQ(stat_of(pool).regions, nregions);
    CHECK_EQ(stat_of(pool).failed_allocs, 0);
    CHECK_EQ(stat_of(pool).waits, 0);
    CHECK_EQ(stat_of(pool).pressure_calls, 0);
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        CHECK(ra_seg_free(pool, segs[i]));
    end(pool);
}

/* A thread's magazines of two pools, used in turn. */
static void test_two_pools(void **state)
{
    struct ra_pool *a = make_pool(BUDGET);
    struct ra_pool *b = make_pool(BUDGET);
    void *sa;
    void *sb;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(ra_seg_alloc(a, 4 * KIB, &sa));
        CHECK_OK(ra_seg_alloc(b, 4 * KIB, &sb));
        CHECK(ra_seg_free(a, sa));
        CHECK(ra_seg_free(b, sb));
    }
    CHECK_EQ(atomic_load(&a->nmags), 1);
    CHECK_EQ(atomic_load(&b->nmags), 1);
    end(a);
    CHECK_OK(ra_seg_alloc(b, 4 * KIB, &sb));
    CHECK(ra_seg_free(b, sb));
    end(b);
}

/* Threads that use their magazines while others empty them all the time. */
struct crowd {
    struct ra_pool *pool;
    _Atomic bool stop;
    uint64_t seed;
    uint64_t nsteps;
};

static void *crowd_main(void *arg)
{
    struct crowd *w = arg;
    uint64_t rand = w->seed + (uintptr_t)pthread_self();
    struct {
        uint64_t *seg;
        size_t nbytes;
    } held[60] = { { 0 } };

    for (uint64_t step = 0; step < w->nsteps; step++) {
        size_t i = test_rand(&rand) % ARRAY_LEN(held);
        size_t words = held[i].nbytes / sizeof(uint64_t);

        if (held[i].seg == NULL) {
            void *seg;

            held[i].nbytes = QUIRE_SEG_MIN << (test_rand(&rand) % 5);
            CHECK_OK(ra_seg_alloc(w->pool, held[i].nbytes, &seg));
            held[i].seg = seg;
            held[i].seg[0] = (uintptr_t)&held[i];
            held[i].seg[held[i].nbytes / 8 - 1] = (uintptr_t)&held[i];
        } else {
            CHECK_EQ(held[i].seg[0], (uintptr_t)&held[i]);
            CHECK_EQ(held[i].seg[words - 1], (uintptr_t)&held[i]);
            CHECK(ra_seg_free(w->pool, held[i].seg));
            held[i].seg = NULL;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        CHECK(ra_seg_free(w->pool, held[i].seg));
    return NULL;
}

static void *drainer_main(void *arg)
{
    struct crowd *w = arg;

    while (!atomic_load(&w->stop)) {
        (void)ra_mag_drain(w->pool);
        (void)stat_of(w->pool);
        sched_yield();
    }
    return NULL;
}

static void test_emptied_while_in_use(void **state)
{
    struct crowd w = {
        .pool = make_pool(BUDGET),
        .seed = test_seed(),
        .nsteps = test_rounds(40000),
    };
    pthread_t thread[NTHREADS];
    pthread_t drainer;

    (void)state;
    CHECK_EQ(pthread_create(&drainer, NULL, drainer_main, &w), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, crowd_main, &w), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(thread[i], NULL);
    atomic_store(&w.stop, true);
    pthread_join(drainer, NULL);
    CHECK_EQ(stat_of(w.pool).in_use_bytes, 0);
    CHECK_EQ(stat_of(w.pool).misuses, 0);
    end(w.pool);
}

/* The child of a process with full magazines can't use the pool, but may have
 * one of its own. */
static void *child_main(void *arg)
{
    struct quire_pool *pool;
    void *seg;
    bool ok = quire_pool_free(arg, NULL) == QUIRE_MISUSE;

    ok = ok && quire_pool_create(NULL, &pool) == QUIRE_OK;
    ok = ok && quire_pool_alloc(pool, 4096, &seg) == QUIRE_OK;
    ok = ok && quire_pool_free(pool, seg) == QUIRE_OK;
    ok = ok && quire_pool_destroy(pool) == QUIRE_OK;
    return ok ? arg : NULL;
}

static void fork_once(struct ra_pool *pool)
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        /* Not by exiting: a leak checker would look for what only the parent
         * still has. */
        if (child_main(pool) != NULL)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_fork_with_full_magazines(void **state)
{
    struct ra_pool *pool = make_pool(BUDGET);

    (void)state;
    fill_magazine(pool);
    fork_once(pool);
    CHECK(ra_check_pool(pool));
    fill_magazine(pool);
    end(pool);
}

/* The same while other threads are in the middle of everything, each lock of
 * the pool being held by one of them now and then. */
static void test_fork_while_in_use(void **state)
{
    struct crowd w = {
        .pool = make_pool(BUDGET),
        .seed = test_seed(),
        .nsteps = test_rounds(40000),
    };
    pthread_t thread[NTHREADS];
    pthread_t drainer;

    (void)state;
    CHECK_EQ(pthread_create(&drainer, NULL, drainer_main, &w), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, crowd_main, &w), 0);
    for (unsigned i = 0; i < 30; i++)
        fork_once(w.pool);
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(thread[i], NULL);
    atomic_store(&w.stop, true);
    pthread_join(drainer, NULL);
    CHECK_EQ(stat_of(w.pool).in_use_bytes, 0);
    end(w.pool);
}

/* Threads end with full magazines while others empty them. */
static void *passer_main(void *arg)
{
    fill_magazine(arg);
    return NULL;
}

static void test_threads_end_while_emptied(void **state)
{
    struct crowd w = { .pool = make_pool(BUDGET) };
    uint64_t rounds = test_rounds(100);
    pthread_t thread[NTHREADS];
    pthread_t drainer;

    (void)state;
    CHECK_EQ(pthread_create(&drainer, NULL, drainer_main, &w), 0);
    for (uint64_t round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < NTHREADS; i++)
            CHECK_EQ(pthread_create(&thread[i], NULL, passer_main, w.pool), 0);
        for (unsigned i = 0; i < NTHREADS; i++)
            pthread_join(thread[i], NULL);
    }
    atomic_store(&w.stop, true);
    pthread_join(drainer, NULL);
    CHECK_EQ(atomic_load(&w.pool->nmags), 0);
    CHECK_EQ(in_magazines(w.pool), 0);
    CHECK_EQ(stat_of(w.pool).in_use_bytes, 0);
    end(w.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_magazines_are_bounded),
        cmocka_unit_test(test_a_released_segment_comes_again),
        cmocka_unit_test(test_misuse_is_refused_in_magazines),
        cmocka_unit_test(test_threads_end_with_full_magazines),
        cmocka_unit_test(test_sweep_empties_every_magazine),
        cmocka_unit_test(test_starved_takes_from_magazines),
        cmocka_unit_test(test_pool_ends_before_its_threads),
        cmocka_unit_test(test_all_magazines_are_bounded),
        cmocka_unit_test(test_homes_have_their_regions),
        cmocka_unit_test(test_homes_share_what_is_plenty),
        cmocka_unit_test(test_homes_share_before_they_fail),
        cmocka_unit_test(test_two_pools),
        cmocka_unit_test(test_emptied_while_in_use),
        cmocka_unit_test(test_fork_with_full_magazines),
        cmocka_unit_test(test_fork_while_in_use),
        cmocka_unit_test(test_threads_end_while_emptied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
