/*
 * test_alloc_wait.c - starved callers that wait for what others give back.
 *
 * The bound of the wait is either so long that a lost wake-up would be seen by
 * whoever runs the tests, or so short that nothing can come. A thread knows
 * that another one waits by the pool's count of those who do.
 */
#include <pthread.h>
#include <sched.h>

#include "alloc/ra_impl.h"
#include "tests/test.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)
#define FOR_EVER_MS 3600000
#define SEGS_MAX 20000

static void *segs[SEGS_MAX];
static unsigned nsegs;

static struct ra_pool *make_pool(uint64_t budget, uint64_t virtual_bytes)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = budget,
        .virtual_bytes = virtual_bytes,
    };
    struct ra_pool *pool;

    CHECK_OK(ra_pool_create(&opt, &pool));
    pool->wait_ms = 1;
    return pool;
}

static struct quire_pool_stat stat_of(struct ra_pool *pool)
{
    struct quire_pool_stat st;

    ra_pool_stat(pool, &st);
    return st;
}

/* Take more segments until there are none. */
static void fill(struct ra_pool *pool, size_t nbytes)
{
    while (ra_seg_alloc(pool, nbytes, &segs[nsegs]) == QUIRE_OK)
        CHECK(++nsegs < SEGS_MAX);
    CHECK(nsegs > 0);
}

static void end(struct ra_pool *pool)
{
    while (nsegs > 0)
        CHECK(ra_seg_free(pool, segs[--nsegs]));
    CHECK_EQ(atomic_load(&pool->nwaiting), 0);
    CHECK(ra_check_pool(pool));
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
}

static void until_waiting(struct ra_pool *pool, unsigned n)
{
    while (atomic_load(&pool->nwaiting) < n)
        sched_yield();
}

/* ---- what ends a wait ---- */

struct giver {
    struct ra_pool *pool;
    pthread_barrier_t ready; /* the giver's thread has its magazine */
    pthread_barrier_t full;  /* the pool is used up */
    unsigned nwaiting;       /* how many are waited for */
    void *table;
    void (*give)(struct giver *g);
};

static void give_segment(struct giver *g)
{
    CHECK(ra_seg_free(g->pool, segs[--nsegs]));
}

static void give_first(struct giver *g)
{
    void *first = segs[0];

    segs[0] = segs[--nsegs];
    CHECK(ra_seg_free(g->pool, first));
}

/* All but one. */
static void give_many(struct giver *g)
{
    while (nsegs > 1)
        give_segment(g);
}

#define TABLE_BYTES (600 * KIB)

static void give_table(struct giver *g)
{
    ra_table_free(g->pool, g->table, TABLE_BYTES);
    g->table = NULL;
}

static void give_budget(struct giver *g)
{
    CHECK_OK(ra_pool_set_budget(g->pool, ra_pool_budget(g->pool) + 2 * MIB));
}

/* Its magazine has room for what it releases, and yet it is found. */
static void *giver_main(void *arg)
{
    struct giver *g = arg;
    void *seg;

    CHECK_OK(ra_seg_alloc(g->pool, 4 * KIB, &seg));
    CHECK(ra_seg_free(g->pool, seg));
    pthread_barrier_wait(&g->ready);
    pthread_barrier_wait(&g->full);
    until_waiting(g->pool, g->nwaiting);
    g->give(g);
    return NULL;
}

static void giver_start(struct giver *g, pthread_t *thread)
{
    CHECK_EQ(pthread_barrier_init(&g->ready, NULL, 2), 0);
    CHECK_EQ(pthread_barrier_init(&g->full, NULL, 2), 0);
    CHECK_EQ(pthread_create(thread, NULL, giver_main, g), 0);
    pthread_barrier_wait(&g->ready);
}

static void giver_end(struct giver *g, pthread_t thread)
{
    CHECK_EQ(pthread_join(thread, NULL), 0);
    pthread_barrier_destroy(&g->ready);
    pthread_barrier_destroy(&g->full);
}

static void test_wait_ends(void **state)
{
    static const struct {
        const char *name;
        uint64_t budget;
        uint64_t virtual_bytes;
        size_t held; /* bytes of the segments that fill the pool */
        size_t want;
        void (*give)(struct giver *g);
    } cases[] = {
        { "one of the class", 8 * MIB, 0, 256 * KIB, 256 * KIB, give_segment },
        { "a larger one", 8 * MIB, 0, 256 * KIB, 64 * KIB, give_first },
        { "smaller ones", 8 * MIB, 0, 4 * KIB, 256 * KIB, give_many },
        { "past a magazine", 64 * MIB, 0, 4 * KIB, 4 * KIB, give_segment },
        { "a table", 8 * MIB, 0, 256 * KIB, 256 * KIB, give_table },
        { "budget", 8 * MIB, 0, 256 * KIB, 256 * KIB, give_budget },
        { "addresses", 8 * MIB, 8 * MIB, 4 * KIB, 256 * KIB, give_many },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct giver g = { .give = cases[i].give, .nwaiting = 1 };
        pthread_t thread;
        uint64_t waits;
        void *seg;

        CHECK_CASE(cases[i].name);
        g.pool = make_pool(cases[i].budget, cases[i].virtual_bytes);
        CHECK_OK(ra_table_alloc(g.pool, TABLE_BYTES, &g.table));
        giver_start(&g, &thread);
        fill(g.pool, cases[i].held);
        fill(g.pool, cases[i].want); /* what is left over */
        waits = stat_of(g.pool).waits;
        g.pool->wait_ms = FOR_EVER_MS;
        pthread_barrier_wait(&g.full);
        CHECK_OK(ra_seg_alloc(g.pool, cases[i].want, &seg));
        CHECK_EQ(stat_of(g.pool).waits, waits + 1);
        giver_end(&g, thread);
        CHECK(ra_seg_free(g.pool, seg));
        ra_table_free(g.pool, g.table, TABLE_BYTES);
        end(g.pool);
    }
}

/* ---- several wait ---- */

#define NWAITERS 3

static void *waiter_main(void *arg)
{
    struct giver *g = arg;
    void *seg;

    CHECK_OK(ra_seg_alloc(g->pool, 256 * KIB, &seg));
    CHECK(ra_seg_free(g->pool, seg));
    return NULL;
}

/* Also those that a released segment doesn't reach: they go on waiting, until
 * who got it releases it again. */
static void test_several_wait(void **state)
{
    struct giver g = { .give = give_segment, .nwaiting = NWAITERS };
    pthread_t thread;
    pthread_t waiter[NWAITERS];

    (void)state;
    g.pool = make_pool(8 * MIB, 0);
    giver_start(&g, &thread);
    fill(g.pool, 256 * KIB);
    g.pool->wait_ms = FOR_EVER_MS;
    for (unsigned i = 0; i < NWAITERS; i++)
        CHECK_EQ(pthread_create(&waiter[i], NULL, waiter_main, &g), 0);
    pthread_barrier_wait(&g.full);
    for (unsigned i = 0; i < NWAITERS; i++)
        CHECK_EQ(pthread_join(waiter[i], NULL), 0);
    giver_end(&g, thread);
    end(g.pool);
}

/* Random threads in a pool too small for all: whoever waits is woken, and
 * magazines, which open and close all the time, lose nothing. */
struct crowd {
    struct ra_pool *pool;
    uint64_t seed;
    uint64_t nsteps;
};

static void *crowd_main(void *arg)
{
    struct crowd *w = arg;
    uint64_t rand = w->seed + (uintptr_t)pthread_self();
    uint64_t *held[8] = { NULL };

    for (uint64_t step = 0; step < w->nsteps; step++) {
        size_t nbytes = QUIRE_SEG_MIN << test_rand_below(&rand, 7);
        unsigned n = (unsigned)test_rand_below(&rand, ARRAY_LEN(held));
        unsigned i = 0;

        /* Nobody waits for another while holding something: no deadlock. */
        void *seg;

        CHECK_OK(ra_seg_alloc(w->pool, nbytes, &seg));
        held[i++] = seg;
        while (i < n && (seg = ra_seg_try(w->pool, nbytes)) != NULL)
            held[i++] = seg;
        for (unsigned k = 0; k < i; k++)
            held[k][0] = held[k][nbytes / 8 - 1] = (uintptr_t)&held[k];
        while (i > 0) {
            i--;
            CHECK_EQ(held[i][0], (uintptr_t)&held[i]);
            CHECK_EQ(held[i][nbytes / 8 - 1], (uintptr_t)&held[i]);
            CHECK(ra_seg_free(w->pool, held[i]));
        }
    }
    return NULL;
}

static void test_crowd(void **state)
{
    struct crowd w = { .seed = test_seed(), .nsteps = test_rounds(3000) };
    pthread_t thread[NWAITERS];
    struct quire_pool_stat st;
    void *table;

    (void)state;
    w.pool = make_pool(32 * MIB, 0);
    /* what remains: less than all ask for at once */
    CHECK_OK(ra_table_alloc(w.pool, 31 * MIB, &table));
    w.pool->wait_ms = FOR_EVER_MS;
    for (unsigned i = 0; i < NWAITERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, crowd_main, &w), 0);
    for (unsigned i = 0; i < NWAITERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    st = stat_of(w.pool);
    CHECK_EQ(st.failed_allocs, 0);
    CHECK_EQ(st.segments_in_use, 0);
    ra_table_free(w.pool, table, 31 * MIB);
    end(w.pool);
}

/* ---- what does not end it ---- */

/* The callback can evict only once the caller waits: it is asked again then. */
struct pinned {
    struct ra_pool *pool;
    unsigned calls;
    uint64_t waits_inside; /* of an allocation inside the callback */
};

static uint64_t evict_when_waiting(void *arg, uint64_t nbytes)
{
    struct pinned *p = arg;
    uint64_t waits = stat_of(p->pool).waits;
    void *seg;

    (void)nbytes;
    p->calls++;
    CHECK_STATUS(ra_seg_alloc(p->pool, 256 * KIB, &seg), QUIRE_NOMEM);
    p->waits_inside += stat_of(p->pool).waits - waits;
    if (atomic_load(&p->pool->nwaiting) == 0)
        return 0;
    CHECK(ra_seg_free(p->pool, segs[--nsegs]));
    return 256 * KIB;
}

static void test_callback_is_asked_again(void **state)
{
    struct pinned p = { .pool = make_pool(8 * MIB, 0) };
    void *seg;

    (void)state;
    fill(p.pool, 256 * KIB);
    ra_pool_set_pressure(p.pool, evict_when_waiting, &p);
    p.pool->wait_ms = FOR_EVER_MS;
    CHECK_OK(ra_seg_alloc(p.pool, 256 * KIB, &seg));
    CHECK(ra_seg_free(p.pool, seg));
    CHECK(p.calls >= 2);
    CHECK_EQ(p.waits_inside, 0);
    ra_pool_set_pressure(p.pool, NULL, NULL);
    end(p.pool);
}

/* Where nothing may be waited for, or nothing can come, nobody waits: with
 * this bound the test would not end. */
static int refuse_commit(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    (void)addr;
    (void)nbytes;
    return -12;
}

static void test_no_wait(void **state)
{
    struct ra_pool *pool = make_pool(8 * MIB, 0);
    void *seg;

    (void)state;
    fill(pool, 256 * KIB);
    CHECK_EQ(stat_of(pool).waits, 1);
    pool->wait_ms = FOR_EVER_MS;

    CHECK_CASE("inside the reclaimer");
    ra_nowait_enter();
    CHECK_STATUS(ra_seg_alloc(pool, 256 * KIB, &seg), QUIRE_NOMEM);
    ra_nowait_exit();

    CHECK_CASE("an attempt");
    CHECK_EQ(ra_seg_try(pool, 256 * KIB), NULL);

    CHECK_CASE("more than there is");
    CHECK_STATUS(ra_table_alloc(pool, 8 * MIB + 1, &seg), QUIRE_NOMEM);

    CHECK_CASE("the system refuses");
    CHECK(ra_seg_free(pool, segs[--nsegs]));
    pool->sys.commit = refuse_commit;
    CHECK_STATUS(ra_table_alloc(pool, 4 * KIB, &seg), QUIRE_NOMEM);

    CHECK_EQ(stat_of(pool).waits, 1);
    end(pool);
}

/* The time passes, and all is as it was: the figures are in the detail, the
 * magazines are open again, with the bounds of the budget as it is then. */
static void test_time_passes(void **state)
{
    struct ra_pool *pool = make_pool(64 * MIB, 0);
    struct quire_pool_stat st;
    void *seg;

    (void)state;
    fill(pool, 256 * KIB);
    CHECK_STATUS(ra_seg_alloc(pool, 256 * KIB, &seg), QUIRE_NOMEM);
    CHECK_EQ(seg, NULL);
    CHECK(strstr(quire_error_detail(), "budget 67108864, resident ") != NULL);
    CHECK_STATUS(ra_pool_set_budget(pool, 48 * MIB), QUIRE_NOMEM);
    st = stat_of(pool);
    CHECK_EQ(st.waits, 3);
    CHECK_EQ(st.failed_allocs, 3);
    CHECK_EQ(atomic_load(&pool->nwaiting), 0);
    CHECK_EQ(atomic_load(&pool->mag_cap[0]), 32);
    CHECK_OK(ra_pool_set_budget(pool, 128 * MIB));
    CHECK_EQ(atomic_load(&pool->mag_cap[0]), 64);
    while (nsegs > 0)
        CHECK(ra_seg_free(pool, segs[--nsegs]));
    CHECK_OK(ra_seg_alloc(pool, 4 * KIB, &seg));
    CHECK(ra_seg_free(pool, seg));
    CHECK(stat_of(pool).cls[0].in_magazines > 0);
    end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait_ends),
        cmocka_unit_test(test_several_wait),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_callback_is_asked_again),
        cmocka_unit_test(test_no_wait),
        cmocka_unit_test(test_time_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
