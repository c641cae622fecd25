/*
 * test_alloc_threads.c - the allocator under several threads.
 *
 * Threads take and give back at random, exchange segments, starve each other
 * and sweep, while another one reads the figures all the time. Every byte of a
 * segment carries its owner's stamp; a segment offered twice would lose it. In
 * the middle and at the end the pool's account must be the shadow's.
 */
#include <pthread.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define BUDGET (8 * MIB)
#define NTHREADS 4
#define NHELD 200  /* most segments of one thread */
#define NSHARED 64 /* places through which segments change threads */

struct stamp {
    uint64_t owner; /* unique for each time a segment is taken */
    uint64_t nbytes;
};

struct shared {
    struct ra_pool *pool;
    pthread_barrier_t start;
    pthread_barrier_t middle;
    void *_Atomic place[NSHARED]; /* NULL or a stamped segment */
    void *_Atomic cache[NSHARED]; /* what the pressure callback may evict */
    _Atomic bool stop;            /* for the reader of figures */
    _Atomic uint64_t refused;
    _Atomic uint64_t taken;
    _Atomic int64_t held[QUIRE_SEG_CLASSES]; /* segments taken: the shadow */
    pthread_mutex_t still; /* held while the account is looked at, and by who
                              evicts without being one of the workers */
    uint64_t nlowered;     /* times that the budget was; of its thread */
    uint64_t budget;
    uint64_t virtual_limit;
    uint64_t seed;
    uint64_t nsteps;
};

struct worker {
    struct shared *sh;
    unsigned id;
    pthread_t thread;
};

static struct ra_pool *make_pool_with(uint64_t budget, bool background)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
        .background = background,
    };
    struct ra_pool *pool;

    CHECK_OK(ra_pool_create(&opt, &pool));
    pool->wait_ms = 0; /* all starve by turns; test_alloc_wait has waiting */
    return pool;
}

static struct ra_pool *make_pool(void)
{
    return make_pool_with(BUDGET, false);
}

/* Every byte of `seg` is its owner's: word i is owner + i, but for the first
 * two, which are the stamp. */
static void stamp_all(void *seg, size_t nbytes, uint64_t owner)
{
    struct stamp s = { owner, nbytes };
    uint64_t *word = seg;

    memcpy(seg, &s, sizeof(s));
    for (size_t i = 2; i < nbytes / sizeof(word[0]); i++)
        word[i] = owner + i;
}

static size_t check_all(struct ra_pool *pool, void *seg)
{
    const uint64_t *word = seg;
    uint64_t wrong = 0;
    struct stamp s;

    memcpy(&s, seg, sizeof(s));
    CHECK_EQ(s.nbytes, ra_seg_bytes(pool, seg));
    for (size_t i = 2; i < s.nbytes / sizeof(word[0]); i++)
        wrong |= word[i] ^ (s.owner + i);
    CHECK_EQ(wrong, 0);
    return s.nbytes;
}

static unsigned class_of(size_t nbytes)
{
    return (unsigned)__builtin_ctzll(nbytes / QUIRE_SEG_MIN);
}

/* Check and release; the shadow account. */
static size_t give(struct shared *sh, void *seg)
{
    size_t nbytes = check_all(sh->pool, seg);

    atomic_fetch_sub(&sh->held[class_of(nbytes)], 1);
    CHECK(ra_seg_free(sh->pool, seg));
    return nbytes;
}

static uint64_t evict(void *arg, uint64_t nbytes)
{
    struct shared *sh = arg;
    uint64_t given = 0;

    for (unsigned i = 0; i < NSHARED && given < nbytes; i++) {
        void *seg = atomic_exchange(&sh->cache[i], NULL);

        if (seg == NULL)
            continue;
        given += give(sh, seg);
    }
    return given;
}

/* RA-9, while all stand still but the sweeper: the figures are the shadow's. */
static void check_account(struct worker *w)
{
    struct shared *sh = w->sh;
    struct quire_pool_stat st;

    pthread_barrier_wait(&sh->middle);
    if (w->id == 0) {
        pthread_mutex_lock(&sh->still);
        (void)ra_mag_drain(sh->pool); /* or the sweeper may, between readings */
        ra_pool_stat(sh->pool, &st);
        for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
            CHECK_EQ(st.cls[i].in_use, atomic_load(&sh->held[i]));
        pthread_mutex_unlock(&sh->still);
    }
    pthread_barrier_wait(&sh->middle);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct shared *sh = w->sh;
    uint64_t rand = sh->seed + w->id;
    void *held[NHELD];
    unsigned n = 0;

    pthread_barrier_wait(&sh->start);
    for (uint64_t step = 0; step < sh->nsteps; step++) {
        uint64_t dice = test_rand_below(&rand, 1000);
        void *seg;

        if (step == sh->nsteps / 2)
            check_account(w);

        if (dice < 500 && n < NHELD) {
            unsigned cls = (unsigned)(test_rand_below(&rand, 2) == 0
                                          ? step / 2000
                                          : test_rand(&rand)) %
                           QUIRE_SEG_CLASSES;
            /* any size that the class serves */
            size_t nbytes = (QUIRE_SEG_MIN << cls) -
                            test_rand_below(&rand, cls == 0 ? QUIRE_SEG_MIN
                                                            : QUIRE_SEG_MIN
                                                                  << (cls - 1));
            quire_status rc = ra_seg_alloc(sh->pool, nbytes, &seg);

            if (rc == QUIRE_OK) {
                atomic_fetch_add(&sh->held[cls], 1);
                stamp_all(seg, QUIRE_SEG_MIN << cls,
                          ((uint64_t)w->id << 56) | step << 20);
                held[n++] = seg;
                atomic_fetch_add(&sh->taken, 1);
            } else {
                CHECK_EQ(rc, QUIRE_NOMEM);
                atomic_fetch_add(&sh->refused, 1);
            }
        } else if (dice < 900 && n > 0) {
            unsigned i = (unsigned)test_rand_below(&rand, n);

            (void)give(sh, held[i]);
            held[i] = held[--n];
        } else if (dice < 990 && n > 0) {
            /* to another thread, or to what may be evicted */
            unsigned p = (unsigned)test_rand_below(&rand, NSHARED);

            seg = atomic_exchange(dice % 2 == 0 ? &sh->place[p] : &sh->cache[p],
                                  held[--n]);
            if (seg != NULL)
                held[n++] = seg;
        } else if (dice == 999) {
            ra_pool_sweep(sh->pool);
        }
    }
    while (n > 0)
        (void)give(sh, held[--n]);
    return NULL;
}

/* RA-2, seen from outside at any moment. */
static void *watch_figures(void *arg)
{
    struct shared *sh = arg;
    struct quire_pool_stat st;

    pthread_barrier_wait(&sh->start);
    while (!atomic_load(&sh->stop)) {
        ra_pool_stat(sh->pool, &st);
        CHECK(st.resident_bytes <= sh->budget);
        CHECK(st.resident_peak_bytes <= sh->budget);
        CHECK(st.virtual_bytes <= sh->virtual_limit);
        /* regions may have come since the first was read */
        CHECK(st.regions_empty <= sh->virtual_limit / (512 * KIB));
    }
    return NULL;
}

/* Lower the budget and raise it again, all the time. From the moment that it
 * was lowered nobody passes the new one. */
static void *change_budget(void *arg)
{
    struct shared *sh = arg;
    uint64_t rand = sh->seed;
    struct quire_pool_stat st;

    while (!atomic_load(&sh->stop)) {
        uint64_t less = sh->budget / 4 +
                        test_rand_below(&rand, sh->budget / 4 * 3);
        quire_status rc;

        pthread_mutex_lock(&sh->still); /* the callback gives segments back */
        rc = ra_pool_set_budget(sh->pool, less);
        pthread_mutex_unlock(&sh->still);
        if (rc != QUIRE_OK) {
            CHECK_EQ(rc, QUIRE_NOMEM);
            atomic_fetch_add(&sh->refused, 1);
            continue;
        }
        sh->nlowered++;
        for (unsigned i = 0; i < 50; i++) {
            ra_pool_stat(sh->pool, &st);
            CHECK_EQ(st.budget_bytes, less);
            CHECK(st.resident_bytes <= less);
            sched_yield();
        }
        CHECK_OK(ra_pool_set_budget(sh->pool, sh->budget));
    }
    return NULL;
}

static void run_random_threads_in(struct ra_pool *pool, bool changes)
{
    static struct shared sh;
    struct worker w[NTHREADS];
    struct quire_pool_stat st;
    pthread_t watcher;
    pthread_t changer;

    memset(&sh, 0, sizeof(sh));
    CHECK_EQ(pthread_mutex_init(&sh.still, NULL), 0);
    sh.pool = pool;
    sh.budget = ra_pool_budget(pool);
    sh.virtual_limit = pool->virtual_limit;
    sh.seed = test_seed();
    sh.nsteps = test_rounds(10000);
    ra_pool_set_pressure(sh.pool, evict, &sh);
    CHECK_EQ(pthread_barrier_init(&sh.start, NULL, NTHREADS + 1), 0);
    CHECK_EQ(pthread_barrier_init(&sh.middle, NULL, NTHREADS), 0);
    CHECK_EQ(pthread_create(&watcher, NULL, watch_figures, &sh), 0);
    if (changes)
        CHECK_EQ(pthread_create(&changer, NULL, change_budget, &sh), 0);
    for (unsigned i = 0; i < NTHREADS; i++) {
        w[i] = (struct worker){ .sh = &sh, .id = i };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
    atomic_store(&sh.stop, true);
    CHECK_EQ(pthread_join(watcher, NULL), 0);
    if (changes) {
        CHECK_EQ(pthread_join(changer, NULL), 0);
        CHECK(sh.nlowered > 0);
    }
    pthread_mutex_destroy(&sh.still);
    pthread_barrier_destroy(&sh.start);
    pthread_barrier_destroy(&sh.middle);

    for (unsigned i = 0; i < NSHARED; i++) {
        void *seg = atomic_load(&sh.place[i]);

        if (seg != NULL)
            (void)give(&sh, seg);
        seg = atomic_load(&sh.cache[i]);
        if (seg != NULL)
            (void)give(&sh, seg);
    }
    for (unsigned i = 0; i < QUIRE_SEG_CLASSES; i++)
        CHECK_EQ(atomic_load(&sh.held[i]), 0);
    ra_pool_stat(sh.pool, &st);
    CHECK_EQ(st.in_use_bytes, 0);
    CHECK_EQ(st.segments_in_use, 0);
    CHECK_EQ(st.misuses, 0);
    CHECK_EQ(st.failed_allocs, atomic_load(&sh.refused));
    CHECK(atomic_load(&sh.taken) > 0);
    ra_sweeper_stop(sh.pool);
    CHECK(ra_check_pool(sh.pool));
    ra_pool_sweep(sh.pool);
    CHECK(ra_check_pool(sh.pool));
    CHECK_EQ(ra_pool_destroy(sh.pool, false), 0);
}

static void run_random_threads(uint64_t budget, bool background, bool changes)
{
    run_random_threads_in(make_pool_with(budget, background), changes);
}

/* Without magazines, starving; and with magazines and the sweeper. */
static void test_random_threads(void **state)
{
    (void)state;
    run_random_threads(BUDGET, false, false);
    run_random_threads(32 * MIB, true, false);
}

/* With homes, which a pool has by the budget it was made with, starving; with
 * huge pages, and without. */
static void test_random_threads_at_home(void **state)
{
    static const uint32_t region[] = { 512 * KIB, 2 * MIB };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(region); i++) {
        struct quire_pool_options opt = {
            .size = sizeof(opt),
            .budget_bytes = RA_HOMES_BUDGET_MIN,
            .virtual_bytes = RA_HOMES_BUDGET_MIN,
            .region_bytes = region[i],
            .background = true,
        };
        struct ra_pool *pool;

        CHECK_OK(ra_pool_create(&opt, &pool));
        CHECK_EQ(pool->nhomes, RA_HOMES);
        pool->wait_ms = 0;
        CHECK_OK(ra_pool_set_budget(pool, 32 * MIB));
        run_random_threads_in(pool, i == 1);
    }
}

/* The same while the budget changes, by which magazines come and go too. */
static void test_budget_changes_under_load(void **state)
{
    (void)state;
    run_random_threads(40 * MIB, true, true);
}

/* ---- many releases of one segment: one wins (RA-4) ---- */

struct race {
    struct ra_pool *pool;
    pthread_barrier_t barrier;
    void *seg;
    uint64_t nrounds;
    _Atomic unsigned wins;
};

static void *race_release(void *arg)
{
    struct race *r = arg;

    for (uint64_t i = 0; i < r->nrounds; i++) {
        pthread_barrier_wait(&r->barrier); /* the segment is there */
        if (ra_seg_free(r->pool, r->seg))
            atomic_fetch_add(&r->wins, 1);
        pthread_barrier_wait(&r->barrier); /* everybody has tried */
    }
    return NULL;
}

static void test_one_release_wins(void **state)
{
    struct race r = { .nrounds = test_rounds(2000) };
    pthread_t t[NTHREADS];
    struct quire_pool_stat st;

    (void)state;
    r.pool = make_pool();
    CHECK_EQ(pthread_barrier_init(&r.barrier, NULL, NTHREADS + 1), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, race_release, &r), 0);
    for (uint64_t i = 0; i < r.nrounds; i++) {
        CHECK_OK(ra_seg_alloc(r.pool, QUIRE_SEG_MIN << i % 7, &r.seg));
        pthread_barrier_wait(&r.barrier);
        pthread_barrier_wait(&r.barrier);
        CHECK_EQ(atomic_exchange(&r.wins, 0), 1);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    pthread_barrier_destroy(&r.barrier);
    ra_pool_stat(r.pool, &st);
    CHECK_EQ(st.misuses, r.nrounds * (NTHREADS - 1));
    CHECK_EQ(st.in_use_bytes, 0);
    CHECK(ra_check_pool(r.pool));
    CHECK_EQ(ra_pool_destroy(r.pool, false), 0);
}

/* ---- the list of empty regions: nobody gets one twice (RA-1) ---- */

#define NEMPTY 3

struct empties {
    struct ra_pool *pool;
    pthread_barrier_t start;
    _Atomic bool owned[NEMPTY];
    struct ra_region *region[NEMPTY];
    uint64_t nrounds;
};

static unsigned empty_number(struct empties *e, const struct ra_region *r)
{
    unsigned i = 0;

    while (e->region[i] != r)
        CHECK(++i < NEMPTY);
    return i;
}

/* Takes two and returns the first first: another thread that slept in its pop
 * then sees the same top with another one below. */
static void *pop_and_push(void *arg)
{
    struct empties *e = arg;

    pthread_barrier_wait(&e->start);
    for (uint64_t i = 0; i < e->nrounds; i++) {
        struct ra_region *r[2];

        for (unsigned k = 0; k < 2; k++) {
            r[k] = ra_region_pop(e->pool);
            if (r[k] != NULL)
                CHECK(!atomic_exchange(&e->owned[empty_number(e, r[k])], true));
        }
        for (unsigned k = 0; k < 2; k++) {
            if (r[k] == NULL)
                continue;
            atomic_store(&e->owned[empty_number(e, r[k])], false);
            ra_region_push(e->pool, r[k]);
        }
    }
    return NULL;
}

static void test_empty_regions_have_one_owner(void **state)
{
    struct empties e = { .nrounds = test_rounds(400000) };
    pthread_t t[NTHREADS];
    void *segs[NEMPTY];

    (void)state;
    e.pool = make_pool();
    for (unsigned i = 0; i < NEMPTY; i++) {
        CHECK_OK(ra_seg_alloc(e.pool, QUIRE_SEG_MIN << i, &segs[i]));
        e.region[i] = ra_region_find(e.pool, segs[i]);
    }
    for (unsigned i = 0; i < NEMPTY; i++)
        CHECK(ra_seg_free(e.pool, segs[i]));
    ra_pool_sweep(e.pool);
    CHECK_EQ(pthread_barrier_init(&e.start, NULL, NTHREADS), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, pop_and_push, &e), 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    pthread_barrier_destroy(&e.start);
    CHECK(ra_check_pool(e.pool)); /* all three are on the list, once */
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

/* ---- all threads starve at once ---- */

static void *starve(void *arg)
{
    struct worker *w = arg;
    struct shared *sh = w->sh;
    void *held[64];

    pthread_barrier_wait(&sh->start);
    for (uint64_t i = 0; i < sh->nsteps; i++) {
        unsigned n = 0;

        /* together all ask for far more than there is, by turns in other
         * sizes, so that sweeps run all the time */
        while (n < 64 &&
               ra_seg_alloc(sh->pool, QUIRE_SEG_MIN << (i + w->id) % 7,
                            &held[n]) == QUIRE_OK) {
            stamp_all(held[n], QUIRE_SEG_MIN << (i + w->id) % 7, w->id);
            n++;
        }
        while (n > 0) {
            (void)check_all(sh->pool, held[--n]);
            CHECK(ra_seg_free(sh->pool, held[n]));
        }
    }
    return NULL;
}

static void test_budget_under_contention(void **state)
{
    static struct shared sh;
    struct worker w[NTHREADS];
    pthread_t watcher;

    (void)state;
    memset(&sh, 0, sizeof(sh));
    sh.pool = make_pool();
    sh.budget = BUDGET;
    sh.virtual_limit = 4 * BUDGET;
    sh.nsteps = test_rounds(200);
    CHECK_EQ(pthread_barrier_init(&sh.start, NULL, NTHREADS + 1), 0);
    CHECK_EQ(pthread_create(&watcher, NULL, watch_figures, &sh), 0);
    for (unsigned i = 0; i < NTHREADS; i++) {
        w[i] = (struct worker){ .sh = &sh, .id = i };
        CHECK_EQ(pthread_create(&w[i].thread, NULL, starve, &w[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        CHECK_EQ(pthread_join(w[i].thread, NULL), 0);
    atomic_store(&sh.stop, true);
    CHECK_EQ(pthread_join(watcher, NULL), 0);
    pthread_barrier_destroy(&sh.start);
    CHECK(ra_check_pool(sh.pool));
    CHECK_EQ(ra_pool_destroy(sh.pool, false), 0);
}

/* ---- the callback is not taken away while it runs ---- */

struct slow {
    pthread_barrier_t inside;
    _Atomic bool may_end;
    _Atomic bool ended;
    struct ra_pool *pool;
};

static uint64_t slow_pressure(void *arg, uint64_t nbytes)
{
    struct slow *s = arg;

    (void)nbytes;
    pthread_barrier_wait(&s->inside);
    while (!atomic_load(&s->may_end))
        sched_yield();
    atomic_store(&s->ended, true);
    return 0;
}

static void *slow_alloc(void *arg)
{
    struct slow *s = arg;
    void *seg;

    CHECK_EQ(ra_table_alloc(s->pool, BUDGET - 16 * KIB, &seg), QUIRE_NOMEM);
    return NULL;
}

static void *slow_release(void *arg)
{
    struct slow *s = arg;

    atomic_store(&s->may_end, true);
    return NULL;
}

static void test_set_pressure_waits(void **state)
{
    struct slow s = { .pool = make_pool() };
    pthread_t in_callback;
    pthread_t releaser;
    void *table;

    (void)state;
    CHECK_OK(ra_table_alloc(s.pool, MIB, &table));
    ra_pool_set_pressure(s.pool, slow_pressure, &s);
    CHECK_EQ(pthread_barrier_init(&s.inside, NULL, 2), 0);
    CHECK_EQ(pthread_create(&in_callback, NULL, slow_alloc, &s), 0);
    pthread_barrier_wait(&s.inside);
    CHECK_EQ(pthread_create(&releaser, NULL, slow_release, &s), 0);
    ra_pool_set_pressure(s.pool, NULL, NULL);
    CHECK(atomic_load(&s.ended));
    CHECK_EQ(pthread_join(in_callback, NULL), 0);
    CHECK_EQ(pthread_join(releaser, NULL), 0);
    pthread_barrier_destroy(&s.inside);
    ra_table_free(s.pool, table, MIB);
    CHECK_EQ(ra_pool_destroy(s.pool, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_threads),
        cmocka_unit_test(test_random_threads_at_home),
        cmocka_unit_test(test_budget_changes_under_load),
        cmocka_unit_test(test_one_release_wins),
        cmocka_unit_test(test_empty_regions_have_one_owner),
        cmocka_unit_test(test_budget_under_contention),
        cmocka_unit_test(test_set_pressure_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
