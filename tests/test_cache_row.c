/*
 * test_cache_row.c - rows: what is found is what was put, whatever was evicted
 * meanwhile; what is asked for often stays; memory comes and goes.
 *
 * A row's bytes follow from its page and name, so that any hit can be judged
 * alone, in any thread.
 */
#include "tests/lib_point.h"
#include "tests/test_cache_env.h"

#define SET ((size_t)16 << 10)
#define SETS 32u /* most of them, but where a test says otherwise */
#define ROW_BYTES ((size_t)16 << 10) /* of the longest value that is tried */

/* A cache with rows, from which pages have been evicted: 16 pages of 256 KiB
 * stand for 4 MiB of the pool. */
static void row_env(struct env *e, size_t set_bytes, uint64_t max_bytes,
                    bool evict)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = { .max_pages = 16,
                              .load = env_load,
                              .removed = env_removed,
                              .ctx = e,
                              .policy = QUIRE_POLICY_CLOCK,
                              .row_set_bytes = set_bytes,
                              .row_bytes_max = max_bytes,
                              .log = { env_log, e } };

    memset(e, 0, sizeof(*e));
    e->weight = 256 << 10;
    CHECK_OK(ra_pool_create(&popt, &e->pool));
    CHECK_OK(pc_cache_create(e->pool, &opt, &e->cache));
    for (uint64_t key = 0; key < (evict ? 40 : 16); key++)
        env_touch(e, key);
}

/* The name of row `i` of `page`: 0 to 40 bytes, zeros among them. */
static struct quire_val name_of(uint64_t page, uint64_t i, uint8_t buf[40])
{
    uint64_t x = page * 1000003 + i;
    size_t len = 8 + test_rand(&x) % 33;

    memset(buf, 0, 40);
    if (i == 0)
        len = 0;
    for (size_t at = 0; at < 8; at++) /* low bytes last: all but one are 0 */
        buf[at] = (uint8_t)(i >> (56 - 8 * at));
    return (struct quire_val){ buf, len };
}

/* What the page has under that name; false: nothing. */
static bool value_of(uint64_t page, uint64_t i, size_t max, uint8_t *buf,
                     struct quire_val *val)
{
    uint64_t x = page * 31 + i * 17 + 5;
    size_t len = test_rand(&x) % (max + 1);

    for (size_t at = 0; at < len; at++)
        buf[at] = (uint8_t)(test_rand(&x) >> 56);
    *val = (struct quire_val){ buf, len };
    return test_rand(&x) % 8 != 0;
}

static void row_put(struct env *e, uint64_t page, uint64_t i, size_t max)
{
    uint8_t name_buf[40];
    uint8_t buf[ROW_BYTES];
    struct quire_val name = name_of(page, i, name_buf);
    struct quire_val val;
    bool there = value_of(page, i, max, buf, &val);

    pc_row_put(e->cache, page, &name, there ? &val : NULL);
}

/* Is the row found? Then it is right. */
static bool row_get(struct env *e, uint64_t page, uint64_t i, size_t max)
{
    uint8_t name_buf[40];
    uint8_t want_buf[ROW_BYTES];
    uint8_t buf[ROW_BYTES];
    struct quire_val name = name_of(page, i, name_buf);
    struct quire_val want;
    bool there = value_of(page, i, max, want_buf, &want);
    bool nothing = false;
    uint64_t size = 0;

    if (!pc_row_get(e->cache, page, &name, 0, buf, sizeof(buf), &size,
                    &nothing))
        return false;
    CHECK_EQ(nothing, !there);
    if (there) {
        CHECK_EQ(size, want.size);
        CHECK_MEM_EQ(buf, want.data, want.size);
    }
    return true;
}

static void test_none_before_an_eviction(void **state)
{
    struct env e;

    (void)state;
    row_env(&e, SET, SETS * SET, false);
    for (uint64_t i = 0; i < 1000; i++)
        row_put(&e, 1, i, 100);
    CHECK_EQ(env_stat(&e).rows, 0);
    CHECK_EQ(env_stat(&e).row_bytes, 0);
    CHECK(!row_get(&e, 1, 1, 100));
    env_fini(&e);
}

/* Sets of all sizes, rows of all lengths, some of them too long, at random. */
static void test_found_as_put(void **state)
{
    uint64_t rand = test_seed();
    uint64_t n = test_rounds(60000);

    (void)state;
    for (size_t set = QUIRE_SEG_MIN; set <= PC_ROW_SET_MAX; set *= 2) {
        uint64_t found = 0;
        struct env e;

        row_env(&e, set, 8 * set, true);
        for (uint64_t i = 0; i < n; i++) {
            /* a few are asked for often */
            uint64_t page = test_rand_below(&rand, 16) + 7;
            uint64_t at = test_rand_below(&rand,
                                          test_rand_below(&rand, 4) ? 20 : 600);
            size_t max = page % 4 == 0 ? set / 8 : page % 4 == 1 ? set / 4 : 90;

            if (row_get(&e, page, at, max))
                found++;
            else
                row_put(&e, page, at, max);
            if (i % 1024 == 0)
                CHECK(pc_row_check(e.cache));
        }
        CHECK(found > n / 10);
        CHECK_EQ(env_stat(&e).row_hits, found);
        CHECK(env_stat(&e).row_lookups <= n);
        CHECK(env_stat(&e).row_bytes <= 8 * set);
        env_fini(&e);
    }
}

/* The longest row that is taken, one byte more, and parts of a value. */
static void test_lengths(void **state)
{
    uint8_t val[SET / 8 + 1];
    uint8_t buf[SET / 8 + 1];
    bool nothing = true;
    uint64_t size = 0;
    struct env e;

    (void)state;
    for (size_t i = 0; i < sizeof(val); i++)
        val[i] = (uint8_t)(i * 7);
    row_env(&e, SET, SETS * SET, true);
    CHECK_EQ(pc_row_max(e.cache), SET / 8);
    for (unsigned over = 0; over < 2; over++) {
        struct quire_val name = { over ? "b" : "a", 1 };
        struct quire_val v = { val, SET / 8 - 1 + over };

        pc_row_put(e.cache, 3, &name, &v);
        CHECK_EQ(
            pc_row_get(e.cache, 3, &name, 0, buf, sizeof(buf), &size, &nothing),
            over == 0);
    }
    CHECK_EQ(size, SET / 8 - 1);
    CHECK(!nothing);
    CHECK_MEM_EQ(buf, val, size);
    {
        static const struct {
            uint64_t off;
            size_t cap;
            size_t got;
        } parts[] = {
            { 0, 0, 0 },
            { 0, 10, 10 },
            { 2000, 10, 10 },
            { SET / 8 - 2, 10, 1 },
            { SET / 8 - 1, 10, 0 },
            { UINT64_MAX, 10, 0 },
        };
        struct quire_val name = { "a", 1 };

        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            memset(buf, 0xee, sizeof(buf));
            CHECK(pc_row_get(e.cache, 3, &name, parts[i].off,
                             parts[i].cap > 0 ? buf : NULL, parts[i].cap, &size,
                             &nothing));
            CHECK_EQ(size, SET / 8 - 1);
            if (parts[i].got > 0)
                CHECK_MEM_EQ(buf, val + parts[i].off, parts[i].got);
            CHECK_EQ(buf[parts[i].got], 0xee);
        }
    }
    /* a name of the whole length, and one that is too long, with nothing */
    for (unsigned over = 0; over < 2; over++) {
        struct quire_val name = { val, SET / 8 + over };

        pc_row_put(e.cache, 3, &name, NULL);
        CHECK_EQ(pc_row_get(e.cache, 3, &name, 0, NULL, 0, &size, &nothing),
                 over == 0);
        CHECK(nothing);
    }
    /* the same name in another page is another row */
    {
        struct quire_val name = { "a", 1 };

        CHECK(!pc_row_get(e.cache, 4, &name, 0, NULL, 0, &size, &nothing));
    }
    env_fini(&e);
}

/* What is asked for once does not displace what is asked for often; what comes
 * back soon gets in. */
static void test_once_is_not_enough(void **state)
{
    enum {
        HOT = 40
    };
    struct env e;
    unsigned kept = 0;

    (void)state;
    row_env(&e, SET, SET, true); /* one set of some 100 rows */
    for (uint64_t i = 1; i <= HOT; i++)
        row_put(&e, 1, i, 100);
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t i = 1; i <= HOT; i++)
            CHECK(row_get(&e, 1, i, 100));
    for (uint64_t i = 0; i < 5000; i++)
        row_put(&e, 2, 1000 + i, 100);
    for (uint64_t i = 1; i <= HOT; i++)
        kept += row_get(&e, 1, i, 100);
    CHECK(kept >= HOT - 4); /* two of 5,000 tags are those of other rows */
    /* evicted a while ago, and back: it stays for longer */
    CHECK(!row_get(&e, 2, 5850, 100));
    row_put(&e, 2, 5850, 100);
    for (uint64_t i = 0; i < 200; i++)
        row_put(&e, 2, 7000 + i, 100);
    CHECK(row_get(&e, 2, 5850, 100));
    CHECK(!row_get(&e, 2, 7020, 100));
    env_fini(&e);
}

static void rows_fill(struct env *e, uint64_t pages)
{
    for (uint64_t page = 100; page < 100 + pages; page++) {
        for (unsigned twice = 0; twice < 2; twice++) {
            for (uint64_t i = 1; i <= 100; i++)
                if (!row_get(e, page, i, 100))
                    row_put(e, page, i, 100);
        }
    }
}

/* As many sets as there may be; then the pages go, and the sets after them. */
static void test_sets_follow_the_pages(void **state)
{
    struct env e;
    uint64_t n;

    (void)state;
    row_env(&e, SET, SETS * SET, true);
    rows_fill(&e, 100);
    CHECK_EQ(env_stat(&e).row_bytes, SETS * SET);
    n = env_stat(&e).rows;
    CHECK(n > SETS * 90);
    CHECK_EQ(pc_row_trim(e.cache), 0); /* 4 MiB of pages, 512 KiB of rows */
    for (uint64_t key = 0; key < 40; key++)
        (void)pc_remove(e.cache, key);
    env_touch(&e, 50);
    pc_reclaim(e.cache);
    CHECK_EQ(env_stat(&e).bytes, e.weight); /* of one page: 256 KiB */
    CHECK_EQ(pc_row_trim(e.cache), SETS * SET - e.weight);
    CHECK_EQ(env_stat(&e).row_bytes, e.weight);
    CHECK(env_stat(&e).rows < n);
    CHECK(pc_row_check(e.cache));
    rows_fill(&e, 100); /* no more than the share */
    CHECK_EQ(env_stat(&e).row_bytes, e.weight);
    env_fini(&e);
}

/* Rows that are not looked for any more go, a part at a time, as pages come. */
static void test_unused_rows_go(void **state)
{
    struct env e;
    uint64_t before;

    (void)state;
    row_env(&e, SET, SETS * SET, true);
    rows_fill(&e, 100);
    CHECK_EQ(env_stat(&e).row_bytes, SETS * SET);
    for (uint64_t key = 500; key < 600; key++)
        env_touch(&e, key);
    CHECK_EQ(pc_row_trim(e.cache), 0); /* many were found until now */
    before = env_stat(&e).row_bytes;
    CHECK_EQ(pc_row_trim(e.cache), 0);
    for (uint64_t key = 1000; key < 1100; key++)
        env_touch(&e, key);
    CHECK(pc_row_trim(e.cache) > 0);
    CHECK(env_stat(&e).row_bytes < before);
    CHECK(env_stat(&e).row_bytes > before / 2);
    before = env_stat(&e).row_bytes;
    /* as many loads, but rows are found */
    for (uint64_t key = 2000; key < 2100; key++) {
        env_touch(&e, key);
        for (uint64_t i = 1; i <= 20; i++)
            if (!row_get(&e, 100, i, 100))
                row_put(&e, 100, i, 100);
    }
    CHECK_EQ(pc_row_trim(e.cache), 0);
    CHECK(env_stat(&e).row_bytes >= before);
    for (unsigned i = 0; i < 100; i++) {
        for (uint64_t key = 0; key < 100; key++)
            env_touch(&e, 10000 + i * 100 + key);
        (void)pc_row_trim(e.cache);
    }
    CHECK_EQ(env_stat(&e).rows, 0);
    CHECK_EQ(env_stat(&e).row_bytes, 0);
    env_fini(&e);
}

/* Whoever needs memory gets all that rows have, when pages are pinned. */
static void test_pressure_takes_rows(void **state)
{
    enum {
        NSEGS = QUIRE_BUDGET_MIN / SET
    };
    static void *segs[NSEGS];
    struct quire_pool_stat st = { .size = sizeof(st) };
    unsigned n = 0;
    struct env e;

    (void)state;
    row_env(&e, SET, SETS * SET, true);
    rows_fill(&e, 100);
    CHECK_EQ(env_stat(&e).row_bytes, SETS * SET);
    while (n < NSEGS && ra_seg_alloc(e.pool, SET, &segs[n]) == QUIRE_OK)
        n++;
    CHECK(n < NSEGS);
    CHECK_EQ(env_stat(&e).row_bytes, 0);
    CHECK_EQ(env_stat(&e).rows, 0);
    CHECK(!row_get(&e, 100, 1, 100));
    row_put(&e, 100, 1, 100); /* no memory: nothing is kept */
    CHECK_EQ(env_stat(&e).rows, 0);
    ra_pool_stat(e.pool, &st);
    CHECK(st.resident_peak_bytes <= QUIRE_BUDGET_MIN);
    while (n > 0)
        ra_seg_free(e.pool, segs[--n]);
    env_touch(&e, 1);
    row_put(&e, 100, 1, 100);
    CHECK(row_get(&e, 100, 1, 100));
    env_fini(&e);
}

/* A set that is not to be had is done without; a cache whose table of sets is
 * not to be had is none. */
static void test_refusals(void **state)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = { .max_pages = 16,
                              .load = env_load,
                              .removed = env_removed,
                              .row_set_bytes = SET,
                              .row_bytes_max = SETS * SET };
    struct env e;

    (void)state;
    if (point_count() == 0)
        skip();
    row_env(&e, SET, SETS * SET, true);
    point_arm("rows without a set", point_find("cache/row/segment"), 1, true);
    row_put(&e, 1, 1, 100);
    CHECK(point_fired() > 0);
    CHECK_EQ(env_stat(&e).rows, 0);
    CHECK(!row_get(&e, 1, 1, 100));
    point_disarm();
    row_put(&e, 1, 1, 100);
    CHECK(row_get(&e, 1, 1, 100));
    point_arm("rows without a second set", point_find("cache/row/segment"), 1,
              true);
    rows_fill(&e, 10);
    CHECK(point_fired() > 0);
    CHECK_EQ(env_stat(&e).row_bytes, SET);
    CHECK(env_stat(&e).rows > 50);
    point_disarm();
    env_fini(&e);

    memset(&e, 0, sizeof(e));
    CHECK_OK(ra_pool_create(&popt, &e.pool));
    opt.ctx = &e;
    point_arm("a cache without rows", point_find("cache/cache/rows"), 1, false);
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &e.cache), QUIRE_NOMEM);
    CHECK_EQ(point_fired(), 1);
    point_disarm();
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

/* ---- threads ---- */

struct row_thread {
    struct env *env;
    uint64_t seed;
    uint64_t nops;
    uint64_t found;
    pthread_t thread;
};

static void *row_main(void *arg)
{
    struct row_thread *t = arg;

    for (uint64_t i = 0; i < t->nops; i++) {
        uint64_t page = test_rand_below(&t->seed, 40);
        uint64_t at = test_rand_below(&t->seed, 2)
                          ? test_rand_below(&t->seed, 30)
                          : test_rand_below(&t->seed, 300);

        if (test_rand_below(&t->seed, 200) == 0)
            (void)pc_row_give(t->env->cache, 3 * QUIRE_SEG_MIN);
        if (test_rand_below(&t->seed, 100) == 0)
            env_touch(t->env, test_rand_below(&t->seed, 100));
        if (row_get(t->env, page, at, 60))
            t->found++;
        else
            row_put(t->env, page, at, 60);
    }
    return NULL;
}

/* Rows come and go, sets too. */
static void test_threads(void **state)
{
    struct row_thread threads[4];
    uint64_t seed = test_seed();
    struct env e;

    (void)state;
    row_env(&e, QUIRE_SEG_MIN, 16 * QUIRE_SEG_MIN, true);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        threads[i] = (struct row_thread){ .env = &e,
                                          .seed = seed + i,
                                          .nops = test_rounds(40000) };
        CHECK_EQ(
            pthread_create(&threads[i].thread, NULL, row_main, &threads[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        CHECK_EQ(pthread_join(threads[i].thread, NULL), 0);
        CHECK(threads[i].found > 0);
    }
    CHECK(pc_row_check(e.cache));
    env_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_before_an_eviction),
        cmocka_unit_test(test_found_as_put),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_once_is_not_enough),
        cmocka_unit_test(test_sets_follow_the_pages),
        cmocka_unit_test(test_unused_rows_go),
        cmocka_unit_test(test_pressure_takes_rows),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
