/*
 * The background thread that evicts between the marks, the figures by kind of
 * page, shares of kinds, and the callback for what is evicted alone.
 */
#include "tests/test_cache_env.h"

enum {
    NFRAMES = 256,
    NSHARED = 1000, /* pages of the caches with shares, at most */
};

struct rig {
    struct env e; /* first: what the loader and the callback know */
    struct quire_sys sys;
    unsigned threads;         /* started by the library, of those asked for */
    bool refuse;              /* threads */
    _Atomic uint64_t evicted; /* calls of the callback for these */
    struct pc_options opt;
};

static int rig_thread(void *ctx, void (*run)(void *arg), void *arg,
                      void **thread)
{
    struct rig *r = ctx;
    const struct quire_sys *sys = quire_sys_default();

    if (r->refuse)
        return -EAGAIN;
    r->threads++;
    return sys->thread_create(sys->ctx, run, arg, thread);
}

static void rig_evicted(void *ctx, uint64_t key, const struct quire_page *page)
{
    struct rig *r = ctx;

    page_check(page->payload, key); /* before removed() overwrites it */
    atomic_fetch_add(&r->evicted, 1);
}

/* A pool, and options to be changed before rig_cache(). */
static void rig_init(struct rig *r)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN,
                                       .sys = &r->sys };

    memset(r, 0, sizeof(*r));
    r->sys = *quire_sys_default();
    r->sys.ctx = r;
    r->sys.thread_create = rig_thread;
    r->e.weight = 4096;
    r->opt = (struct pc_options){ .max_pages = NFRAMES,
                                  .load = env_load,
                                  .removed = env_removed,
                                  .evicted = rig_evicted,
                                  .ctx = r,
                                  .background = true };
    CHECK_OK(ra_pool_create(&popt, &r->e.pool));
}

static void rig_cache(struct rig *r)
{
    CHECK_OK(pc_cache_create(r->e.pool, &r->opt, &r->e.cache));
}

/* Frames that a miss finds without waiting. */
static uint32_t rig_free(const struct rig *r)
{
    return NFRAMES - atomic_load(&r->e.cache->nused) +
           atomic_load(&r->e.cache->nfree);
}

/* Wait until the evictor sleeps again, which it does at the low marks. */
static void rig_settle(struct rig *r, uint64_t at_least)
{
    struct pc_cache *c = r->e.cache;

    while (env_stat(&r->e).background_evicted < at_least)
        sched_yield();
    do {
        ra_mutex_lock(&c->reclaim); /* the round that runs has ended */
        ra_mutex_unlock(&c->reclaim);
        sched_yield();
    } while (rig_free(r) < 2 * c->batch);
}

static void test_reserve_of_free_frames(void **state)
{
    struct rig r;
    uint32_t batch;

    (void)state;
    rig_init(&r);
    rig_cache(&r);
    batch = r.e.cache->batch;
    CHECK_EQ(r.threads, 1);
    CHECK_EQ(batch, NFRAMES / 32);
    /* To the mark, and nothing goes. */
    for (uint64_t key = 0; key < NFRAMES - batch; key++)
        env_touch(&r.e, key);
    CHECK_EQ(rig_free(&r), batch);
    CHECK(!atomic_load(&r.e.cache->wanted));
    CHECK_EQ(env_stat(&r.e).removals[QUIRE_CAUSE_EVICTED], 0);
    /* One more: two batches are free in the end, by the thread alone. */
    env_touch(&r.e, 1000000);
    rig_settle(&r, batch + 1);
    CHECK_EQ(rig_free(&r), 2 * batch);
    CHECK_EQ(env_stat(&r.e).background_evicted, batch + 1);
    CHECK_EQ(env_stat(&r.e).limbo_bytes, 0); /* past its grace period */
    CHECK_EQ(atomic_load(&r.evicted), batch + 1);
    env_fini(&r.e);
}

static void test_marks_of_the_capacity(void **state)
{
    struct quire_cache_stat st;
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.capacity_bytes = (uint64_t)64 * 4096;
    rig_cache(&r);
    for (uint64_t key = 0; key < 62; key++)
        env_touch(&r.e, key);
    CHECK(!atomic_load(&r.e.cache->wanted)); /* 62 of 64: not over the mark */
    env_touch(&r.e, 62);
    do {
        sched_yield();
        st = env_stat(&r.e);
    } while (st.bytes + st.limbo_bytes > (uint64_t)60 * 4096);
    CHECK_EQ(st.background_evicted, 3);
    CHECK_EQ(st.pages, 60);
    env_fini(&r.e);
}

/* Without a capacity it is the pool's budget that must not be reached. */
static quire_status seg_load(void *ctx, uint64_t key, void *arg,
                             struct quire_page *page)
{
    struct rig *r = ctx;
    void *seg;
    quire_status rc = ra_seg_alloc(r->e.pool, 16384, &seg);

    (void)arg;
    if (rc != QUIRE_OK)
        return rc;
    memcpy(seg, &key, sizeof(key));
    *page = (struct quire_page){ seg, 16384, QUIRE_KIND_LEAF };
    return QUIRE_OK;
}

static void seg_removed(void *ctx, uint64_t key, const struct quire_page *page,
                        enum quire_cause cause)
{
    struct rig *r = ctx;

    (void)cause;
    CHECK_MEM_EQ(page->payload, &key, sizeof(key));
    CHECK(ra_seg_free(r->e.pool, page->payload));
}

static void test_marks_of_the_budget(void **state)
{
    struct quire_pool_stat pool = { .size = sizeof(pool) };
    uint64_t full;
    const void *payload;
    uint32_t frame;
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.max_pages = 4096;
    r.opt.load = seg_load;
    r.opt.removed = seg_removed;
    r.opt.evicted = NULL;
    rig_cache(&r);
    for (uint64_t key = 0; env_stat(&r.e).background_evicted == 0; key++) {
        CHECK_OK(pc_pin(r.e.cache, key, NULL, NULL, &payload, &frame));
        pc_unpin(r.e.cache, frame);
    }
    do { /* and down to the low mark, but for the load that went on meanwhile */
        sched_yield();
        ra_pool_stat(r.e.pool, &pool);
        full = atomic_load(&r.e.cache->full_bytes);
        full = full == 0 ? pool.budget_bytes
                         : ra_min_u64(full, pool.budget_bytes);
    } while (pool.in_use_bytes > full - full / 32 * 2 + 16384);
    CHECK(pool.resident_peak_bytes <= pool.budget_bytes);
    CHECK_EQ(pc_cache_destroy(r.e.cache, false), 0);
    CHECK_EQ(ra_pool_destroy(r.e.pool, false), 0);
}

static void test_no_thread_without_background(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.background = false;
    rig_cache(&r);
    for (uint64_t key = 0; key < (uint64_t)4 * NFRAMES; key++)
        env_touch(&r.e, key);
    CHECK_EQ(r.threads, 0);
    CHECK_EQ(env_stat(&r.e).background_evicted, 0);
    env_fini(&r.e);
}

static void test_thread_is_refused(void **state)
{
    struct quire_pool_stat before = { .size = sizeof(before) };
    struct quire_pool_stat after = { .size = sizeof(after) };
    struct rig r;

    (void)state;
    rig_init(&r);
    ra_pool_stat(r.e.pool, &before);
    r.refuse = true;
    CHECK_STATUS(pc_cache_create(r.e.pool, &r.opt, &r.e.cache), QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "thread") != NULL);
    CHECK(r.e.cache == NULL);
    ra_pool_stat(r.e.pool, &after);
    CHECK_EQ(after.in_use_bytes, before.in_use_bytes);
    r.refuse = false;
    rig_cache(&r);
    env_touch(&r.e, 1);
    env_fini(&r.e);
}

struct pinner {
    struct env *env;
    struct plan plan;
    quire_status rc;
    uint32_t frame;
};

static void *pinner_main(void *arg)
{
    struct pinner *p = arg;
    const void *payload;

    p->rc = pc_pin(p->env->cache, UINT64_C(1) << 40, NULL, &p->plan, &payload,
                   &p->frame);
    return NULL;
}

/* The loader of one key stands at a gate: other keys are found and loaded, and
 * the evictor and its callbacks go on. */
static void test_blocked_load_stops_no_eviction(void **state)
{
    struct gate gate = GATE_INIT;
    struct pinner p = { .plan = { .gate = &gate } };
    pthread_t thread;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cache(&r);
    p.env = &r.e;
    CHECK_EQ(pthread_create(&thread, NULL, pinner_main, &p), 0);
    gate_await(&gate, 1);
    for (uint64_t round = 1; round <= 5; round++) {
        uint64_t before = env_stat(&r.e).background_evicted;

        for (uint64_t i = 0; env_stat(&r.e).background_evicted == before; i++) {
            env_touch(&r.e, round * 1000000 + i);
            env_touch(&r.e, round * 1000000 + i);
        }
    }
    CHECK(atomic_load(&r.evicted) > 0);
    gate_open(&gate);
    pthread_join(thread, NULL);
    CHECK_OK(p.rc);
    pc_unpin(r.e.cache, p.frame);
    env_fini(&r.e);
}

/* Everything is pinned: the evictor finds nothing, the caller is told, and
 * when pins are given back both go on. */
static void test_all_pinned(void **state)
{
    uint32_t frames[NFRAMES];
    const void *payload;
    uint32_t frame;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cache(&r);
    r.e.kind = QUIRE_KIND_INNER;
    for (uint64_t key = 0; key < NFRAMES; key++)
        frames[key] = env_pin(&r.e, key);
    CHECK_STATUS(pc_pin(r.e.cache, NFRAMES, NULL, NULL, &payload, &frame),
                 QUIRE_NOMEM);
    CHECK(strstr(quire_error_detail(), "256 pages pinned") != NULL);
    CHECK(strstr(quire_error_detail(), "inner 256 of 1048576") != NULL);
    for (unsigned i = 0; i < NFRAMES; i++)
        pc_unpin(r.e.cache, frames[i]);
    for (uint64_t key = NFRAMES; key < (uint64_t)8 * NFRAMES; key++)
        env_touch(&r.e, key);
    env_fini(&r.e);
}

/* While more is pinned than the marks allow, the pages that can be evicted are
 * left to those who need their room. */
static void test_evictor_rests_when_it_finds_nothing(void **state)
{
    uint32_t frames[NFRAMES];
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cache(&r);
    for (uint64_t key = 0; key < NFRAMES - r.e.cache->batch + 1; key++)
        frames[key] = env_pin(&r.e, key);
    while (!atomic_load(&r.e.cache->tired))
        sched_yield();
    env_touch(&r.e, 1000000);
    env_touch(&r.e, 1000001);
    CHECK(!atomic_load(&r.e.cache->wanted));
    CHECK(env_resident(&r.e, 1000000));
    CHECK_EQ(env_stat(&r.e).background_evicted, 0);
    for (uint64_t key = 0; key < NFRAMES - r.e.cache->batch + 1; key++)
        pc_unpin(r.e.cache, frames[key]);
    env_fini(&r.e);
}

static void test_evicted_sees_evictions_only(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.background = false;
    r.opt.max_pages = 4;
    rig_cache(&r);
    for (uint64_t key = 0; key < 4; key++)
        env_touch(&r.e, key);
    CHECK_OK(pc_remove(r.e.cache, 0));
    CHECK_OK(env_insert(&r.e, 1, 100));
    pc_reclaim(r.e.cache);
    CHECK_EQ(env_removals(&r.e), 2);
    CHECK_EQ(atomic_load(&r.evicted), 0);
    for (uint64_t key = 10; key < 14; key++)
        env_touch(&r.e, key);
    CHECK(atomic_load(&r.evicted) > 0);
    CHECK_EQ(atomic_load(&r.evicted), r.e.removed[QUIRE_CAUSE_EVICTED]);
    env_fini(&r.e);
}

/* As a cache ends it logs what it did, by kind. */
static char figures[2][400];
static unsigned nfigures;

static void log_figures(void *arg, quire_log_level level, const char *line)
{
    (void)arg;
    if (level != QUIRE_LOG_INFO)
        return;
    CHECK(nfigures < ARRAY_LEN(figures));
    snprintf(figures[nfigures++], sizeof(figures[0]), "%s", line);
}

static void test_figures_are_logged(void **state)
{
    struct rig r;

    (void)state;
    nfigures = 0;
    rig_init(&r);
    r.opt.background = false;
    r.opt.log = (struct ra_log){ log_figures, NULL };
    rig_cache(&r);
    r.e.kind = QUIRE_KIND_INNER;
    env_touch(&r.e, 1);
    env_touch(&r.e, 2);
    r.e.kind = QUIRE_KIND_OVERFLOW;
    env_touch(&r.e, 3);
    CHECK_OK(pc_remove(r.e.cache, 2));
    pc_reclaim(r.e.cache);
    env_fini(&r.e);
    CHECK_EQ(nfigures, 2);
    CHECK(strstr(figures[0],
                 "cache: inner: 2 look-ups, 0 hits by hint, 0 by table, 2 "
                 "misses, 2 loads, 0 waits, 0 evicted, 1 removed, 0 replaced; "
                 "now 1 pages of 4096 bytes, ") == figures[0]);
    CHECK(strstr(figures[1], "cache: overflow: 1 look-ups, ") == figures[1]);
}

static void test_figures_by_kind(void **state)
{
    const struct quire_cache_kind_stat *leaf;
    const struct quire_cache_kind_stat *frag;
    struct quire_cache_stat st;
    pc_hint hint = PC_HINT_NONE;
    uint32_t frame;
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.background = false;
    rig_cache(&r);
    r.e.kind = QUIRE_KIND_LEAF;
    env_touch(&r.e, 1);
    env_touch(&r.e, 2);
    frame = env_pin(&r.e, 3);
    r.e.kind = QUIRE_KIND_FRAGMENT;
    r.e.weight = 1000;
    env_touch(&r.e, 4);
    CHECK_OK(pc_remove(r.e.cache, 3));
    CHECK_OK(pc_remove(r.e.cache, 2));
    pc_reclaim(r.e.cache);
    pc_read_enter();
    for (unsigned i = 0; i < 10 * PC_SAMPLE; i++) {
        page_check(pc_get(r.e.cache, 4, NULL, NULL), 4);
        page_check(pc_get(r.e.cache, 1, &hint, NULL), 1);
    }
    pc_read_exit();
    st = env_stat(&r.e);
    leaf = &st.kind[QUIRE_KIND_LEAF];
    frag = &st.kind[QUIRE_KIND_FRAGMENT];
    CHECK_EQ(leaf->pages, 1);
    CHECK_EQ(leaf->bytes, 4096);
    CHECK_EQ(leaf->pinned_pages, 1);
    CHECK_EQ(leaf->pinned_bytes, 4096);
    CHECK_EQ(leaf->orphans, 1);
    CHECK_EQ(leaf->orphan_bytes, 4096);
    CHECK_EQ(leaf->misses, 3);
    CHECK_EQ(leaf->loads, 3);
    CHECK_EQ(leaf->removals[QUIRE_CAUSE_REMOVED], 1);
    CHECK(leaf->hits_hint >= 9 * PC_SAMPLE &&
          leaf->hits_hint <= 11 * PC_SAMPLE);
    CHECK(leaf->hits_table <= PC_SAMPLE);
    CHECK_EQ(leaf->lookups, leaf->hits_hint + leaf->hits_table + 3);
    CHECK_EQ(frag->pages, 1);
    CHECK_EQ(frag->bytes, 1000);
    CHECK_EQ(frag->orphans, 0);
    CHECK_EQ(frag->loads, 1);
    CHECK(frag->hits_table >= 9 * PC_SAMPLE);
    CHECK_EQ(frag->hits_hint, 0);
    CHECK_EQ(st.hits_table, leaf->hits_table + frag->hits_table);
    CHECK_EQ(st.removals[QUIRE_CAUSE_REMOVED], 1);
    pc_unpin(r.e.cache, frame);
    env_fini(&r.e);
}

static void test_mean_age(void **state)
{
    struct quire_cache_stat st;
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_cache(&r);
    for (uint64_t key = 0; key < 4; key++)
        /* as if they had come so many seconds ago */
        atomic_fetch_sub(&r.e.cache->frames[env_touch(&r.e, key)].born_ms,
                         (uint32_t)(key * 1000000));
    st = env_stat(&r.e);
    CHECK(st.kind[QUIRE_KIND_LEAF].age_ms >= 1500000);
    CHECK(st.kind[QUIRE_KIND_LEAF].age_ms < 1600000);
    CHECK_EQ(st.kind[QUIRE_KIND_INNER].age_ms, 0);
    env_fini(&r.e);
}

/* Of NSHARED inner pages that were used once, how many are still there after a
 * scan of leaves that is `scan` times as long as the cache? */
static uint64_t inner_after_scan(unsigned share, enum quire_policy policy)
{
    struct quire_cache_stat st;
    struct rig r;

    rig_init(&r);
    r.opt.background = false;
    r.opt.policy = policy;
    r.opt.max_pages = NSHARED;
    r.opt.min_share_percent[QUIRE_KIND_INNER] = (uint8_t)share;
    rig_cache(&r);
    r.e.kind = QUIRE_KIND_INNER;
    for (uint64_t key = 0; key < 500; key++)
        env_touch(&r.e, key);
    r.e.kind = QUIRE_KIND_LEAF;
    for (uint64_t key = 10000; key < 20000; key++) {
        env_touch(&r.e, key);
        env_touch(&r.e, key); /* used, as the inner pages are not */
    }
    st = env_stat(&r.e);
    env_fini(&r.e);
    return st.kind[QUIRE_KIND_INNER].pages;
}

static void test_share_outlasts_a_scan(void **state)
{
    static const enum quire_policy policies[] = { QUIRE_POLICY_ADAPTIVE,
                                                  QUIRE_POLICY_TINYLFU,
                                                  QUIRE_POLICY_CLOCK,
                                                  QUIRE_POLICY_GREEDY_DUAL };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
        CHECK(inner_after_scan(0, policies[i]) < 100);
        /* of a cache that is never quite full */
        CHECK(inner_after_scan(30, policies[i]) >= 280);
        CHECK(inner_after_scan(30, policies[i]) <= 320);
    }
}

/* What has a share goes all the same when all else is pinned. */
static void test_share_refuses_nobody(void **state)
{
    uint32_t frames[16];
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.background = false;
    r.opt.max_pages = 32;
    r.opt.min_share_percent[QUIRE_KIND_INNER] = 90;
    rig_cache(&r);
    for (uint64_t key = 0; key < ARRAY_LEN(frames); key++)
        frames[key] = env_pin(&r.e, key);
    r.e.kind = QUIRE_KIND_INNER;
    for (uint64_t key = 100; key < 200; key++)
        env_touch(&r.e, key);
    for (unsigned i = 0; i < ARRAY_LEN(frames); i++)
        pc_unpin(r.e.cache, frames[i]);
    env_fini(&r.e);
}

static void test_wrong_options(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.opt.min_share_percent[0] = 50;
    r.opt.min_share_percent[3] = 41;
    CHECK_STATUS(pc_cache_create(r.e.pool, &r.opt, &r.e.cache), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "91") != NULL);
    r.opt.min_share_percent[3] = 40;
    r.opt.synchronous = true;
    CHECK_STATUS(pc_cache_create(r.e.pool, &r.opt, &r.e.cache), QUIRE_INVAL);
    r.opt.background = false;
    rig_cache(&r);
    env_fini(&r.e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve_of_free_frames),
        cmocka_unit_test(test_marks_of_the_capacity),
        cmocka_unit_test(test_marks_of_the_budget),
        cmocka_unit_test(test_no_thread_without_background),
        cmocka_unit_test(test_thread_is_refused),
        cmocka_unit_test(test_blocked_load_stops_no_eviction),
        cmocka_unit_test(test_all_pinned),
        cmocka_unit_test(test_evictor_rests_when_it_finds_nothing),
        cmocka_unit_test(test_evicted_sees_evictions_only),
        cmocka_unit_test(test_figures_by_kind),
        cmocka_unit_test(test_figures_are_logged),
        cmocka_unit_test(test_mean_age),
        cmocka_unit_test(test_share_outlasts_a_scan),
        cmocka_unit_test(test_share_refuses_nobody),
        cmocka_unit_test(test_wrong_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
