/*
 * Making room: the clock, the capacity, pressure from the pool, and what is
 * said when everything is pinned.
 */
#include <errno.h>

#define ENV_POLICY QUIRE_POLICY_CLOCK
#include "tests/test_cache_env.h"

/* A used page is spared once, an unused one is not; the hand goes on. */
static void test_clock_spares_used_pages(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (uint64_t key = 0; key < 4; key++)
        env_touch(&e, key); /* a load is not yet a use */
    env_touch(&e, 0);
    env_touch(&e, 2);
    env_touch(&e, 4);
    CHECK(env_resident(&e, 0));
    CHECK(!env_resident(&e, 1));
    env_touch(&e, 5);
    CHECK(env_resident(&e, 0));
    CHECK(env_resident(&e, 2));
    CHECK(!env_resident(&e, 3));
    env_touch(&e, 6);
    CHECK(!env_resident(&e, 0)); /* spared once */
    CHECK_EQ(env_stat(&e).pages, 4);
    env_fini(&e);
}

/* Where every page is in use all the time one is evicted nonetheless. */
static void test_clock_ends_among_used_pages(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (uint64_t key = 0; key < 100; key++) {
        env_touch(&e, key);
        env_touch(&e, key);
    }
    CHECK_EQ(e.loads, 100);
    CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], 96);
    env_fini(&e);
}

static void test_pinned_pages_are_no_victims(void **state)
{
    uint32_t frames[3];
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (uint64_t key = 0; key < 3; key++)
        frames[key] = env_pin(&e, key);
    for (uint64_t key = 10; key < 40; key++)
        env_touch(&e, key);
    for (uint64_t key = 0; key < 3; key++) {
        CHECK(env_resident(&e, key));
        page_check(atomic_load(&e.cache->frames[frames[key]].payload), key);
        pc_unpin(e.cache, frames[key]);
    }
    CHECK_EQ(e.loads, 33);
    env_fini(&e);
}

/* A demoted page goes first, unless it is used again. */
static void test_demote(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (unsigned n = 0; n < 2; n++) {
        for (uint64_t key = 0; key < 4; key++)
            env_touch(&e, key);
    }
    pc_demote(e.cache, 99); /* not there */
    pc_demote(e.cache, 2);
    pc_demote(e.cache, 3);
    env_touch(&e, 3);
    env_touch(&e, 4);
    CHECK(!env_resident(&e, 2));
    CHECK(env_resident(&e, 3));
    CHECK(env_resident(&e, 0));
    CHECK(env_resident(&e, 1));
    env_fini(&e);
}

/* It goes before others that are not in use either. */
static void test_demoted_goes_first(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (uint64_t key = 0; key < 4; key++)
        env_touch(&e, key);
    pc_demote(e.cache, 2);
    env_touch(&e, 4);
    CHECK(!env_resident(&e, 2));
    CHECK(env_resident(&e, 0));
    env_fini(&e);
}

/* More pages may be demoted than are remembered one by one. */
static void test_demote_many(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 256, 0);
    for (unsigned n = 0; n < 2; n++) {
        for (uint64_t key = 0; key < 256; key++)
            env_touch(&e, key);
    }
    for (uint64_t key = 0; key < 200; key++)
        pc_demote(e.cache, key);
    CHECK_EQ(pc_evict(e.cache, 200 * 4096), 200 * 4096);
    for (uint64_t key = 0; key < 256; key++)
        CHECK_EQ(env_resident(&e, key), key >= 200);
    env_fini(&e);
}

/* pc_evict() gives back what was asked for, or all there is. */
static void test_evict_gives_back(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 64, 0);
    CHECK_EQ(pc_evict(e.cache, 1), 0);
    for (uint64_t key = 0; key < 10; key++)
        env_touch(&e, key);
    CHECK_EQ(pc_evict(e.cache, 4097), 2 * 4096);
    frame = env_pin(&e, 9);
    CHECK_EQ(pc_evict(e.cache, UINT64_MAX), 7 * 4096);
    CHECK_EQ(pc_evict(e.cache, 1), 0);
    CHECK(env_resident(&e, 9));
    pc_unpin(e.cache, frame);
    env_fini(&e);
}

/* What has left already is given back before anything else is evicted. */
static void test_evict_takes_limbo_first(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 1024, 0);
    for (uint64_t key = 0; key < 8; key++)
        env_touch(&e, key);
    for (uint64_t key = 0; key < 4; key++)
        CHECK_OK(pc_remove(e.cache, key));
    CHECK_EQ(env_removals(&e), 0);
    CHECK_EQ(pc_evict(e.cache, 4 * 4096), 4 * 4096);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 4);
    CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], 0);
    env_fini(&e);
}

/* ---- everything pinned ---- */

/* The error says what is pinned, by kind; one unpin later there is room. */
static void test_all_frames_pinned(void **state)
{
    const void *payload;
    uint32_t frames[4];
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (uint64_t key = 0; key < 4; key++) {
        e.kind = key == 3 ? QUIRE_KIND_INNER : QUIRE_KIND_LEAF;
        e.weight = 1000 + key;
        frames[key] = env_pin(&e, key);
    }
    CHECK_STATUS(pc_pin(e.cache, 9, NULL, NULL, &payload, &frame), QUIRE_NOMEM);
    CHECK_STR_EQ(quire_error_detail(),
                 "cache: all frames are in use (4) and nothing can be "
                 "evicted: 4 pages pinned (leaf 3 of 3003 bytes, inner 1 of "
                 "1003, fragment 0 of 0, overflow 0 of 0), 0 loading");
    CHECK_STATUS(env_insert(&e, 9, 1), QUIRE_NOMEM);
    CHECK_EQ(e.loads, 4);
    CHECK(pc_check_cache(e.cache));
    pc_unpin(e.cache, frames[2]);
    env_touch(&e, 9);
    CHECK(!env_resident(&e, 2));
    pc_unpin(e.cache, frames[0]);
    pc_unpin(e.cache, frames[1]);
    pc_unpin(e.cache, frames[3]);
    env_fini(&e);
}

/* Orphans hold their frames as pins do. */
static void test_all_frames_orphaned(void **state)
{
    const void *payload;
    uint32_t frames[2];
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 2, 0);
    for (uint64_t key = 0; key < 2; key++) {
        frames[key] = env_pin(&e, key);
        CHECK_OK(pc_remove(e.cache, key));
    }
    CHECK_STATUS(pc_pin(e.cache, 9, NULL, NULL, &payload, &frame), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "2 pages pinned") != NULL);
    pc_unpin(e.cache, frames[1]);
    env_touch(&e, 9); /* takes the frame out of limbo by itself */
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 1);
    pc_unpin(e.cache, frames[0]);
    env_fini(&e);
}

/* ---- capacity ---- */

static void test_capacity_is_kept(void **state)
{
    uint64_t seed = test_seed();
    struct env e;

    (void)state;
    env_init(&e, 1024, 100000);
    for (uint64_t key = 0; key < 2000; key++) {
        e.weight = 1 + test_rand_below(&seed, 9999);
        if (key % 2 == 0)
            env_touch(&e, key);
        else
            CHECK_OK(env_insert(&e, key, e.weight));
        CHECK(e.cache->charged_bytes <= 100000);
    }
    CHECK(e.cache->charged_bytes > 50000); /* and made use of */
    env_fini(&e);
}

static void test_page_larger_than_the_capacity(void **state)
{
    const void *payload;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 16, 10000);
    env_touch(&e, 1);
    e.weight = 10001;
    CHECK_STATUS(pc_pin(e.cache, 2, NULL, NULL, &payload, &frame), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "10001 bytes is larger than the "
                                       "capacity of 10000") != NULL);
    /* the page that came is given back, and nobody else was evicted for it */
    CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], 1);
    CHECK_EQ(e.last_key, 2);
    CHECK(env_resident(&e, 1));
    CHECK_STATUS(env_insert(&e, 2, 10001), QUIRE_NOMEM);
    CHECK(env_resident(&e, 1));
    e.weight = 10000;
    env_touch(&e, 2);
    CHECK(!env_resident(&e, 1));
    env_fini(&e);
}

static void test_capacity_all_pinned(void **state)
{
    const void *payload;
    uint32_t frame;
    uint32_t other;
    struct env e;

    (void)state;
    env_init(&e, 16, 10000);
    e.weight = 9000;
    e.kind = QUIRE_KIND_FRAGMENT;
    frame = env_pin(&e, 1);
    e.weight = 1001;
    CHECK_STATUS(pc_pin(e.cache, 2, NULL, NULL, &payload, &other), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(),
                 "capacity in bytes is used up (10000)") != NULL);
    CHECK(strstr(quire_error_detail(), "fragment 1 of 9000") != NULL);
    CHECK_STATUS(env_insert(&e, 2, 1001), QUIRE_NOMEM);
    CHECK_EQ(e.cache->charged_bytes, 9000);
    CHECK_OK(env_insert(&e, 2, 1000));
    /* a replacement needs room for both while the old one is in use */
    CHECK_STATUS(env_insert(&e, 1, 5000), QUIRE_NOMEM);
    CHECK(env_resident(&e, 1));
    pc_unpin(e.cache, frame);
    CHECK_OK(env_insert(&e, 1, 5000));
    env_fini(&e);
}

/* ---- pressure ---- */

/* Pages of real segments, in a pool that can't hold them all: the pool asks,
 * on the thread that loads, and the cache gives back. */
static quire_status seg_load(void *ctx, uint64_t key, void *arg,
                             struct quire_page *page)
{
    struct env *e = ctx;
    void *seg;
    quire_status rc = ra_seg_alloc(e->pool, e->weight, &seg);

    (void)arg;
    if (rc != QUIRE_OK)
        return rc;
    memset(seg, 0x5a, e->weight);
    memcpy(seg, &key, sizeof(key));
    page->payload = seg;
    page->weight_bytes = e->weight;
    page->kind = QUIRE_KIND_LEAF;
    atomic_fetch_add(&e->made, 1);
    return QUIRE_OK;
}

static void seg_removed(void *ctx, uint64_t key, const struct quire_page *page,
                        enum quire_cause cause)
{
    struct env *e = ctx;

    CHECK_MEM_EQ(page->payload, &key, sizeof(key));
    atomic_fetch_add(&e->removed[cause], 1);
    CHECK(ra_seg_free(e->pool, page->payload));
}

static void seg_env_init(struct env *e)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = {
        .max_pages = 4096, .load = seg_load, .removed = seg_removed, .ctx = e
    };

    memset(e, 0, sizeof(*e));
    e->weight = 16384;
    CHECK_OK(ra_pool_create(&popt, &e->pool));
    CHECK_OK(pc_cache_create(e->pool, &opt, &e->cache));
}

static void seg_env_fini(struct env *e)
{
    CHECK(pc_check_cache(e->cache));
    CHECK_EQ(pc_cache_destroy(e->cache, false), 0);
    CHECK_EQ(env_removals(e), e->made);
    CHECK_EQ(ra_pool_destroy(e->pool, false), 0);
}

struct worker {
    struct env *env;
    uint64_t seed;
    uint64_t n;
    uint64_t keys;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    for (uint64_t i = 0; i < w->n; i++) {
        uint64_t key = test_rand_below(&w->seed, w->keys);
        const void *payload;
        uint32_t frame;

        CHECK_OK(pc_pin(w->env->cache, key, NULL, NULL, &payload, &frame));
        CHECK_MEM_EQ(payload, &key, sizeof(key));
        pc_unpin(w->env->cache, frame);
    }
    return NULL;
}

static void test_pressure_from_the_pool(void **state)
{
    struct worker workers[3];
    pthread_t threads[ARRAY_LEN(workers)];
    struct quire_pool_stat st = { .size = sizeof(st) };
    uint64_t seed = test_seed();
    struct env e;

    (void)state;
    seg_env_init(&e);
    for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
        workers[i] = (struct worker){ .env = &e,
                                      .seed = test_rand(&seed),
                                      .n = test_rounds(5000),
                                      .keys = 2000 };
        CHECK_EQ(pthread_create(&threads[i], NULL, worker_main, &workers[i]),
                 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(workers); i++)
        pthread_join(threads[i], NULL);
    if (test_rounds(5000) >= 1000) /* enough for the pool to fill */
        CHECK(e.removed[QUIRE_CAUSE_EVICTED] > 0);
    ra_pool_stat(e.pool, &st);
    CHECK(st.resident_peak_bytes <= QUIRE_BUDGET_MIN);
    seg_env_fini(&e);
}

/* When all is pinned the loader's allocation fails, its status arrives, and
 * after the unpins everything works again. */
static void test_pressure_with_all_pinned(void **state)
{
    static uint32_t frames[1024];
    const void *payload;
    uint32_t npinned = 0;
    quire_status rc;
    struct env e;

    (void)state;
    seg_env_init(&e);
    for (;;) {
        CHECK(npinned < ARRAY_LEN(frames));
        rc = pc_pin(e.cache, npinned, NULL, NULL, &payload, &frames[npinned]);
        if (rc != QUIRE_OK)
            break;
        npinned++;
    }
    CHECK_STATUS(rc, QUIRE_NOMEM);
    CHECK(npinned > 256); /* half of the budget, at least */
    CHECK_EQ(env_removals(&e), 0);
    CHECK_EQ(pc_pinned_pages(e.cache), npinned);
    for (uint32_t i = 0; i < npinned; i++)
        pc_unpin(e.cache, frames[i]);
    CHECK_OK(pc_pin(e.cache, npinned, NULL, NULL, &payload, &frames[0]));
    pc_unpin(e.cache, frames[0]);
    seg_env_fini(&e);
}

/* ---- few frames, many threads ---- */

/* As many threads as frames, a page each: nobody is ever refused, however the
 * frames pass from one to another. */
static void test_no_spurious_refusal(void **state)
{
    enum {
        N = 4
    };
    struct worker workers[N];
    pthread_t threads[N];
    uint64_t seed = test_seed();
    struct env e;

    (void)state;
    env_init(&e, N, 0);
    for (unsigned i = 0; i < N; i++) {
        workers[i] = (struct worker){ .env = &e,
                                      .seed = test_rand(&seed),
                                      .n = test_rounds(10000),
                                      .keys = 64 };
        CHECK_EQ(pthread_create(&threads[i], NULL, worker_main, &workers[i]),
                 0);
    }
    for (unsigned i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(pc_pinned_pages(e.cache), 0);
    env_fini(&e);
}

/* ---- creation ---- */

/* System memory that refuses a request: the one after `left` others, and, if
 * `for_good`, all that follow. */
struct miser {
    struct quire_sys sys;
    unsigned left;
    bool for_good;
};

static bool miser_refuses(struct miser *m)
{
    if (m->left > 0) {
        m->left--;
        return false;
    }
    if (!m->for_good)
        m->left = UINT32_MAX;
    return true;
}

static int miser_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    const struct quire_sys *s = quire_sys_default();

    return miser_refuses(ctx) ? -ENOMEM : s->map(s->ctx, nbytes, align, addr);
}

static int miser_commit(void *ctx, void *addr, size_t nbytes)
{
    const struct quire_sys *s = quire_sys_default();

    return miser_refuses(ctx) ? -ENOMEM : s->commit(s->ctx, addr, nbytes);
}

static void *miser_alloc(void *ctx, size_t nbytes)
{
    const struct quire_sys *s = quire_sys_default();

    return miser_refuses(ctx) ? NULL : s->alloc(s->ctx, nbytes);
}

/* Whatever is refused at creation, once or from then on: NOMEM and nothing is
 * kept, or a cache that works. */
static void test_creation_without_memory(void **state)
{
    struct miser m = { .sys = *quire_sys_default(), .left = UINT32_MAX };
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN,
                                       .sys = &m.sys };
    struct env e = { .weight = 1 };
    struct pc_options opt = {
        .max_pages = 1000, .load = env_load, .removed = env_removed, .ctx = &e
    };
    struct quire_pool_stat before = { .size = sizeof(before) };
    struct quire_pool_stat after = { .size = sizeof(after) };

    (void)state;
    m.sys.ctx = &m;
    m.sys.map = miser_map;
    m.sys.commit = miser_commit;
    m.sys.alloc = miser_alloc;
    CHECK_OK(ra_pool_create(&popt, &e.pool));
    for (unsigned mode = 0; mode < 2; mode++) {
        unsigned failures = 0;

        for (unsigned n = 0; n < 16; n++) {
            quire_status rc;

            ra_pool_stat(e.pool, &before);
            m.left = n;
            m.for_good = mode == 1;
            rc = pc_cache_create(e.pool, &opt, &e.cache);
            m.left = UINT32_MAX;
            if (rc == QUIRE_OK) {
                env_touch(&e, 1);
                CHECK(pc_check_cache(e.cache));
                CHECK_EQ(pc_cache_destroy(e.cache, false), 0);
            } else {
                CHECK_STATUS(rc, QUIRE_NOMEM);
                CHECK(e.cache == NULL);
                failures++;
            }
            ra_pool_stat(e.pool, &after);
            CHECK_EQ(after.in_use_bytes, before.in_use_bytes);
        }
        /* the object; for good, each of the three tables as well */
        CHECK(failures >= (mode == 0 ? 1 : 4));
        CHECK(failures < 16);
    }
    CHECK_EQ(env_removals(&e), e.made);
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

static void test_creation_with_wrong_options(void **state)
{
    struct pc_options opt = { .max_pages = 1,
                              .load = env_load,
                              .removed = env_removed };
    struct pc_cache *cache;
    struct env e;

    (void)state;
    env_init(&e, 1, 0); /* one page is enough for a cache */
    env_touch(&e, 1);
    env_touch(&e, 2);
    opt.max_pages = 0;
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &cache), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "max_pages 0") != NULL);
    opt.max_pages = PC_PAGES_MAX + 1;
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &cache), QUIRE_INVAL);
    opt.max_pages = PC_PAGES_MAX; /* 128 GiB of frames */
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &cache), QUIRE_NOMEM);
    opt.max_pages = 1;
    opt.load = NULL;
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &cache), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "load") != NULL);
    opt.load = env_load;
    opt.removed = NULL;
    CHECK_STATUS(pc_cache_create(e.pool, &opt, &cache), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "removed") != NULL);
    env_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_spares_used_pages),
        cmocka_unit_test(test_clock_ends_among_used_pages),
        cmocka_unit_test(test_pinned_pages_are_no_victims),
        cmocka_unit_test(test_demote),
        cmocka_unit_test(test_demoted_goes_first),
        cmocka_unit_test(test_demote_many),
        cmocka_unit_test(test_evict_gives_back),
        cmocka_unit_test(test_evict_takes_limbo_first),
        cmocka_unit_test(test_all_frames_pinned),
        cmocka_unit_test(test_all_frames_orphaned),
        cmocka_unit_test(test_capacity_is_kept),
        cmocka_unit_test(test_page_larger_than_the_capacity),
        cmocka_unit_test(test_capacity_all_pinned),
        cmocka_unit_test(test_pressure_from_the_pool),
        cmocka_unit_test(test_pressure_with_all_pinned),
        cmocka_unit_test(test_no_spurious_refusal),
        cmocka_unit_test(test_creation_without_memory),
        cmocka_unit_test(test_creation_with_wrong_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
