/*
 * test_cache_leak.c - the causes of an old leak, each as a scenario that this
 * cache passes and that a cache with the fault does not.
 *
 * The cache that leaked weighed pinned pages as nothing, so that it thought
 * itself empty and evicted nothing; it freed pages in a listener that heard of
 * evictions alone; and the listener passed over pages that were pinned, which
 * nobody freed afterwards. The faults are those of alloc/broken.h, which a
 * build with assertions can turn on.
 *
 * Pages are numbers: nothing is freed, the callbacks are counted.
 */
#include "alloc/broken.h"
#include "tests/test_cache_env.h"

#define NPAGES 1000
#define WEIGHT 4096
#define CAPACITY (100 * WEIGHT)

struct shelf {
    struct ra_pool *pool;
    struct pc_cache *cache;
    unsigned made; /* pages; their numbers are 1 .. made */
    unsigned char called[2 * NPAGES + 1];
    uint64_t out; /* bytes made and not called back for */
    uint64_t out_peak;
};

static void *make_page(struct shelf *s)
{
    CHECK(s->made < 2 * NPAGES);
    s->out += WEIGHT;
    if (s->out > s->out_peak)
        s->out_peak = s->out;
    return (void *)(uintptr_t)++s->made;
}

static quire_status leak_load(void *ctx, uint64_t key, void *arg,
                              struct quire_page *page)
{
    (void)key;
    (void)arg;
    page->payload = make_page(ctx);
    page->weight_bytes = WEIGHT;
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

static void leak_removed(void *ctx, uint64_t key, const struct quire_page *page,
                         enum quire_cause cause)
{
    struct shelf *s = ctx;

    (void)key;
    (void)cause;
    CHECK_EQ(page->weight_bytes, WEIGHT);
    s->called[(uintptr_t)page->payload]++;
    s->out -= WEIGHT;
}

static void shelf_init(struct shelf *s)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = { .capacity_bytes = CAPACITY,
                              .max_pages = 2 * NPAGES,
                              .load = leak_load,
                              .removed = leak_removed,
                              .ctx = s };

    memset(s, 0, sizeof(*s));
    CHECK_OK(ra_pool_create(&popt, &s->pool));
    CHECK_OK(pc_cache_create(s->pool, &opt, &s->cache));
}

/* Close; did each page come back once? */
static bool shelf_fini(struct shelf *s)
{
    bool ok = pc_cache_destroy(s->cache, true) == 0 && s->out == 0;

    for (unsigned i = 1; i <= s->made; i++)
        ok = ok && s->called[i] == 1;
    CHECK_EQ(ra_pool_destroy(s->pool, false), 0);
    return ok;
}

static uint32_t shelf_pin(struct shelf *s, uint64_t key)
{
    const void *payload;
    uint32_t frame;

    CHECK_OK(pc_pin(s->cache, key, NULL, NULL, &payload, &frame));
    return frame;
}

/* Ten times what fits, each page pinned while it is used: at no time is more
 * held than the capacity and what is pinned. */
static bool fill_beyond_capacity(void)
{
    struct shelf s;
    bool ok;

    shelf_init(&s);
    for (uint64_t key = 0; key < NPAGES; key++)
        pc_unpin(s.cache, shelf_pin(&s, key));
    ok = s.out_peak <= CAPACITY + 2 * WEIGHT;
    return shelf_fini(&s) && ok;
}

/* Pages that leave by removal, by replacement and by closing come back as
 * those do that are evicted. */
static bool leave_by_every_cause(void)
{
    struct shelf s;
    bool ok = true;

    shelf_init(&s);
    for (uint64_t key = 0; key < 50; key++)
        pc_unpin(s.cache, shelf_pin(&s, key));
    for (uint64_t key = 0; key < 20; key++)
        CHECK_OK(pc_remove(s.cache, key));
    for (uint64_t key = 20; key < 40; key++) {
        struct quire_page page = { .payload = make_page(&s),
                                   .weight_bytes = WEIGHT,
                                   .kind = QUIRE_KIND_LEAF };

        CHECK_OK(pc_insert(s.cache, key, &page));
    }
    pc_reclaim(s.cache);
    for (unsigned i = 1; i <= 40; i++)
        ok = ok && s.called[i] == 1;
    return shelf_fini(&s) && ok;
}

/* Pages that are removed while pinned come back with their last unpin. */
static bool remove_while_pinned(void)
{
    uint32_t frames[50];
    struct shelf s;
    bool ok = true;

    shelf_init(&s);
    for (uint64_t key = 0; key < ARRAY_LEN(frames); key++)
        frames[key] = shelf_pin(&s, key);
    for (uint64_t key = 0; key < ARRAY_LEN(frames); key++)
        CHECK_OK(pc_remove(s.cache, key));
    pc_reclaim(s.cache);
    ok = s.out == ARRAY_LEN(frames) * WEIGHT; /* passed over, as it must be */
    for (unsigned i = 0; i < ARRAY_LEN(frames); i++)
        pc_unpin(s.cache, frames[i]);
    pc_reclaim(s.cache);
    ok = ok && s.out == 0 && pc_pinned_pages(s.cache) == 0;
    return shelf_fini(&s) && ok;
}

/* The scenario passes, fails with `fault`, and passes with it turned off. */
static void passes_but_with(bool (*scenario)(void), enum ra_broken fault)
{
    CHECK(scenario());
#if QUIRE_DEBUG >= 1
    atomic_store(&ra_broken_now, fault);
    CHECK(!scenario());
    atomic_store(&ra_broken_now, RA_BROKEN_NONE);
    CHECK(scenario());
#else
    (void)fault;
#endif
}

static void test_weightless_pages_fill_memory(void **state)
{
    (void)state;
    passes_but_with(fill_beyond_capacity, RA_BROKEN_WEIGHTLESS);
}

static void test_listener_of_evictions_alone_leaks(void **state)
{
    (void)state;
    passes_but_with(leave_by_every_cause, RA_BROKEN_EVICTED_ONLY);
}

static void test_pinned_page_passed_over_is_never_freed(void **state)
{
    (void)state;
    passes_but_with(remove_while_pinned, RA_BROKEN_PINNED_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weightless_pages_fill_memory),
        cmocka_unit_test(test_listener_of_evictions_alone_leaks),
        cmocka_unit_test(test_pinned_page_passed_over_is_never_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
