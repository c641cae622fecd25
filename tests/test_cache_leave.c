/*
 * How pages leave: the callback comes once, for every cause, after the last
 * pin and a grace period; weights go out as they came in.
 */
#include "tests/test_cache_env.h"

/* The listener hears of every cause, not of eviction alone: pages that leave
 * by removal, replacement or closing would otherwise never be freed. */
static void test_callback_for_every_cause(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    env_touch(&e, 1);
    CHECK_EQ(pc_evict(e.cache, 1), 4096);
    CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], 1);
    CHECK_EQ(e.last_key, 1);

    env_touch(&e, 2);
    CHECK_OK(pc_remove(e.cache, 2));
    pc_reclaim(e.cache);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 1);
    CHECK_EQ(e.last_key, 2);

    env_touch(&e, 3);
    CHECK_OK(env_insert(&e, 3, 100));
    pc_reclaim(e.cache);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REPLACED], 1);
    CHECK_EQ(e.last_key, 3);

    CHECK_EQ(env_stat(&e).pages, 1);
    CHECK(pc_check_cache(e.cache));
    CHECK_EQ(pc_cache_destroy(e.cache, false), 0);
    CHECK_EQ(e.removed[QUIRE_CAUSE_CLOSED], 1);
    CHECK_EQ(env_removals(&e), 4);
    CHECK_EQ(e.weight_out, e.weight_in);
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

static void test_remove_of_what_is_not_there(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    CHECK_STATUS(pc_remove(e.cache, 1), QUIRE_NOTFOUND);
    env_touch(&e, 1);
    CHECK_OK(pc_remove(e.cache, 1));
    CHECK_STATUS(pc_remove(e.cache, 1), QUIRE_NOTFOUND);
    env_fini(&e);
}

/* A page removed while it is pinned is freed by its last unpin, and only by
 * that: not at the removal, not by the first of two, not never. */
static void test_removed_while_pinned_leaves_with_last_unpin(void **state)
{
    struct quire_cache_stat st;
    const uint64_t *bytes;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    frame = env_pin(&e, 1);
    pc_repin(e.cache, frame);
    bytes = atomic_load(&e.cache->frames[frame].payload);
    CHECK_OK(pc_remove(e.cache, 1));
    CHECK(!env_resident(&e, 1)); /* at once */
    pc_reclaim(e.cache);
    CHECK_EQ(pc_evict(e.cache, 1 << 20), 0);
    page_check(bytes, 1);
    st = env_stat(&e);
    CHECK_EQ(st.pages, 0);
    CHECK_EQ(st.bytes, 0);
    CHECK_EQ(st.limbo_bytes, 4096); /* still charged */
    CHECK_EQ(st.pinned_pages, 1);
    CHECK_EQ(st.pinned_bytes[QUIRE_KIND_LEAF], 4096);

    /* the key may be there again meanwhile: another page */
    CHECK_OK(env_insert(&e, 1, 50));
    pc_unpin(e.cache, frame);
    pc_reclaim(e.cache);
    page_check(bytes, 1);
    CHECK_EQ(env_removals(&e), 0);
    pc_unpin(e.cache, frame);
    CHECK_EQ(env_removals(&e), 0); /* an unpin calls nothing */
    pc_reclaim(e.cache);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 1);
    CHECK(env_resident(&e, 1));
    CHECK_EQ(env_stat(&e).limbo_bytes, 0);
    env_fini(&e);
}

static void test_replaced_while_pinned(void **state)
{
    const void *old;
    const void *new;
    uint32_t frame;
    uint32_t new_frame;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    CHECK_OK(pc_pin(e.cache, 1, NULL, NULL, &old, &frame));
    CHECK_OK(env_insert(&e, 1, 200));
    CHECK_OK(pc_pin(e.cache, 1, NULL, NULL, &new, &new_frame));
    CHECK(old != new);
    page_check(old, 1);
    page_check(new, 1);
    CHECK_EQ(e.loads, 1);
    CHECK_EQ(env_stat(&e).pages, 1);
    CHECK_EQ(env_stat(&e).bytes, 200);
    CHECK_EQ(env_stat(&e).pinned_pages, 2);
    pc_unpin(e.cache, frame);
    pc_reclaim(e.cache);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REPLACED], 1);
    page_check(new, 1);
    pc_unpin(e.cache, new_frame);
    env_fini(&e);
}

/* Closing counts and logs what is pinned, by key, and leaves it alone; all
 * else is called back for. */
static void test_closed_while_pinned(void **state)
{
    const uint64_t *kept;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    env_touch(&e, 1);
    frame = env_pin(&e, 77);
    kept = atomic_load(&e.cache->frames[frame].payload);
    env_touch(&e, 3);
    CHECK_EQ(pc_cache_destroy(e.cache, true), 1);
    CHECK(strstr(e.log, "key 77 pinned 1 times") != NULL);
    CHECK_EQ(e.removed[QUIRE_CAUSE_CLOSED], 2);
    page_check(kept, 77);
    page_free(&e, (void *)(uintptr_t)kept, 4096);
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

static void test_closed_with_a_pinned_orphan(void **state)
{
    uint32_t frame;
    void *kept;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    frame = env_pin(&e, 77);
    kept = atomic_load(&e.cache->frames[frame].payload);
    CHECK_OK(pc_remove(e.cache, 77));
    CHECK_EQ(pc_cache_destroy(e.cache, true), 1);
    CHECK(strstr(e.log, "key 77 pinned 1 times, removed") != NULL);
    CHECK_EQ(env_removals(&e), 0);
    page_free(&e, kept, 4096);
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

/* ---- the grace period ---- */

struct reader {
    struct env *env;
    struct gate in;  /* passed inside the section, the page in hand */
    struct gate out; /* passed after it */
    const uint64_t *payload;
};

static void *reader_main(void *arg)
{
    struct reader *r = arg;

    pc_read_enter();
    r->payload = pc_get(r->env->cache, 1, NULL, NULL);
    gate_pass(&r->in);
    /* removed and reclaimed meanwhile, but for the grace period */
    for (unsigned i = 0; i < 1000; i++) {
        page_check(r->payload, 1);
        CHECK_EQ(env_removals(r->env), 0);
        sched_yield();
    }
    pc_read_exit();
    gate_pass(&r->out);
    return NULL;
}

static void *reclaimer_main(void *arg)
{
    struct env *e = arg;

    pc_reclaim(e->cache);
    return NULL;
}

/* A reader in its section holds off the callback, and the use of the frame for
 * another page, until it has left the section. */
static void test_reader_holds_off_the_callback(void **state)
{
    struct reader r = { .in = GATE_INIT, .out = GATE_INIT };
    pthread_t threads[2];
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    r.env = &e;
    env_touch(&e, 1);
    CHECK_EQ(pthread_create(&threads[0], NULL, reader_main, &r), 0);
    gate_await(&r.in, 1);
    CHECK_OK(pc_remove(e.cache, 1));
    CHECK_EQ(e.cache->nlimbo, 1);
    CHECK_EQ(pthread_create(&threads[1], NULL, reclaimer_main, &e), 0);
    while (atomic_load(&e.cache->nlimbo) != 0)
        sched_yield(); /* the reclaimer has it in hand */
    CHECK_EQ(env_removals(&e), 0);
    gate_open(&r.in);
    gate_await(&r.out, 1);
    pthread_join(threads[1], NULL);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 1);
    gate_open(&r.out);
    pthread_join(threads[0], NULL);
    env_fini(&e);
}

/* A section that begins when the page has left, but before its callback, does
 * not find it: not by a hint, nor by a pin. */
static void test_key_is_gone_before_the_grace_period(void **state)
{
    pc_hint hint;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    frame = env_touch(&e, 1);
    hint = frame;
    CHECK_OK(pc_remove(e.cache, 1));
    CHECK_EQ(e.cache->nlimbo, 1); /* and the frame is as it was */
    pc_read_enter();
    CHECK(pc_get(e.cache, 1, &hint, NULL) == NULL);
    CHECK(!pc_pin_frame(e.cache, frame, 1));
    pc_read_exit();
    env_fini(&e);
}

/* Limbo is given back by whoever comes by, a batch at a time: nobody has to
 * ask for it. */
static void test_limbo_does_not_grow(void **state)
{
    struct env e;

    (void)state;
    env_init(&e, 32, 0); /* a batch is one frame */
    for (uint64_t key = 0; key < 30; key++) {
        env_touch(&e, key);
        CHECK_OK(pc_remove(e.cache, key));
        CHECK(env_stat(&e).limbo_bytes <= 4096);
    }
    CHECK(env_removals(&e) >= 29);
    env_fini(&e);
}

/* ---- weights ---- */

/* The books are of what was charged, for pinned pages too: a page that weighs
 * nothing while it is pinned can't be accounted for when it leaves. */
static void test_pinned_page_keeps_its_weight(void **state)
{
    static const uint64_t weights[] = { 1, 4096, 262144, UINT32_MAX };
    uint32_t frames[ARRAY_LEN(weights)];
    uint64_t sum = 0;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    e.kind = QUIRE_KIND_OVERFLOW;
    for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
        e.weight = weights[i];
        frames[i] = env_pin(&e, i);
        sum += weights[i];
        CHECK_EQ(env_stat(&e).bytes, sum);
        CHECK_EQ(env_stat(&e).pinned_bytes[QUIRE_KIND_OVERFLOW], sum);
        CHECK_EQ(e.cache->charged_bytes, sum);
    }
    CHECK_EQ(env_stat(&e).pinned_bytes[QUIRE_KIND_LEAF], 0);
    e.weight = 12345; /* what the loader would say now is of no account */
    for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
        CHECK_OK(pc_remove(e.cache, i));
        pc_unpin(e.cache, frames[i]);
        pc_reclaim(e.cache);
        sum -= weights[i];
        CHECK_EQ(e.cache->charged_bytes, sum);
        CHECK_EQ(env_stat(&e).bytes, sum);
    }
    CHECK_EQ(e.cache->charged_bytes, 0);
    env_fini(&e);
}

/* ---- inside the callback ---- */

struct nosy {
    struct pc_cache *cache;
    struct ra_pool *pool;
    quire_status pin;
    quire_status alloc;
    uint64_t evicted;
    unsigned calls;
};

static quire_status nosy_load(void *ctx, uint64_t key, void *arg,
                              struct quire_page *page)
{
    (void)ctx;
    (void)key;
    (void)arg;
    page->payload = page;
    page->weight_bytes = 1;
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

static void nosy_removed(void *ctx, uint64_t key, const struct quire_page *page,
                         enum quire_cause cause)
{
    struct nosy *n = ctx;
    const void *payload;
    uint32_t frame;
    void *seg = NULL;

    (void)key;
    (void)page;
    (void)cause;
    n->calls++;
    n->pin = pc_pin(n->cache, 99, NULL, NULL, &payload, &frame);
    n->alloc = ra_seg_alloc(n->pool, QUIRE_SEG_MAX, &seg);
    ra_seg_free(n->pool, seg);
    n->evicted = pc_evict(n->cache, 1);
    pc_reclaim(n->cache);
}

/* A callback that calls the cache is refused, and does not wait for itself. */
static void test_callback_may_not_call_the_cache(void **state)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct nosy n = { .evicted = 1 };
    struct pc_options opt = {
        .max_pages = 4, .load = nosy_load, .removed = nosy_removed, .ctx = &n
    };
    const void *payload;
    uint32_t frame;

    (void)state;
    CHECK_OK(ra_pool_create(&popt, &n.pool));
    CHECK_OK(pc_cache_create(n.pool, &opt, &n.cache));
    CHECK_OK(pc_pin(n.cache, 1, NULL, NULL, &payload, &frame));
    pc_unpin(n.cache, frame);
    CHECK_EQ(pc_evict(n.cache, 1), 1);
    CHECK_EQ(n.calls, 1);
    CHECK_STATUS(n.pin, QUIRE_MISUSE);
    CHECK_EQ(n.evicted, 0);
    CHECK_EQ(pc_cache_destroy(n.cache, false), 0);
    CHECK_EQ(ra_pool_destroy(n.pool, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callback_for_every_cause),
        cmocka_unit_test(test_remove_of_what_is_not_there),
        cmocka_unit_test(test_removed_while_pinned_leaves_with_last_unpin),
        cmocka_unit_test(test_replaced_while_pinned),
        cmocka_unit_test(test_closed_while_pinned),
        cmocka_unit_test(test_closed_with_a_pinned_orphan),
        cmocka_unit_test(test_reader_holds_off_the_callback),
        cmocka_unit_test(test_key_is_gone_before_the_grace_period),
        cmocka_unit_test(test_limbo_does_not_grow),
        cmocka_unit_test(test_pinned_page_keeps_its_weight),
        cmocka_unit_test(test_callback_may_not_call_the_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
