/*
 * Everything at once: threads that pin, look, insert, remove, demote and evict
 * at random, with loads that fail now and then. What must hold: a page that is
 * in hand has its key; each page made is called back for exactly once (a page
 * freed twice, or used after, is seen by its own words, the sanitizers and
 * Valgrind); at the end the weights add up to nothing.
 */
#include "tests/test_cache_env.h"

enum {
    NTHREADS = 8,
    NKEYS = 300,
    NHELD = 3,
    NHINTS = 64
};

struct race {
    struct env *env;
    uint64_t seed;
    uint64_t nops;
    pc_hint *hints; /* shared by all threads; NHINTS of them */
};

struct held {
    const void *payload;
    uint64_t key;
    uint32_t frame;
};

static quire_status race_load(void *ctx, uint64_t key, void *arg,
                              struct quire_page *page)
{
    struct env *e = ctx;
    uint64_t *seed = arg;

    if (test_rand_below(seed, 16) == 0)
        return ra_fail(QUIRE_IO, "no luck with %llu", (unsigned long long)key);
    page->weight_bytes = 1 + test_rand_below(seed, 9999);
    page->payload = page_make(e, key, page->weight_bytes);
    page->kind = (enum quire_kind)test_rand_below(seed, QUIRE_KIND_COUNT);
    return QUIRE_OK;
}

static void race_pin(struct race *r, uint64_t key, struct held *h)
{
    pc_hint *hint = key < NHINTS ? &r->hints[key] : NULL;
    quire_status rc = pc_pin(r->env->cache, key, hint, &r->seed, &h->payload,
                             &h->frame);

    if (rc == QUIRE_OK) {
        h->key = key;
        page_check(h->payload, key);
        return;
    }
    h->payload = NULL;
    if (rc == QUIRE_IO) {
        char want[64];

        /* the text of this key's load, not of another's */
        snprintf(want, sizeof(want), "no luck with %llu",
                 (unsigned long long)key);
        CHECK_STR_EQ(quire_error_detail(), want);
    } else {
        CHECK_STATUS(rc, QUIRE_NOMEM);
    }
}

static void race_unpin(struct race *r, struct held *h)
{
    if (h->payload == NULL)
        return;
    page_check(h->payload, h->key);
    pc_unpin(r->env->cache, h->frame);
    h->payload = NULL;
}

/* Look at some pages in one section; pin the last one found, perhaps. */
static void race_read(struct race *r, struct held *h)
{
    const void *found[8];
    uint64_t keys[8];
    uint32_t frame = PC_FRAME_NONE;
    unsigned n = 0;

    pc_read_enter();
    for (unsigned i = 0; i < 8; i++) {
        uint64_t key = test_rand_below(&r->seed, NKEYS);
        pc_hint *hint = key < NHINTS ? &r->hints[key] : NULL;

        found[n] = pc_get(r->env->cache, key, hint, &frame);
        if (found[n] != NULL)
            keys[n++] = key;
    }
    if (test_rand_below(&r->seed, 256) == 0)
        sched_yield(); /* let others remove what we look at */
    for (unsigned i = 0; i < n; i++)
        page_check(found[i], keys[i]);
    if (h->payload == NULL && n > 0 &&
        pc_pin_frame(r->env->cache, frame, keys[n - 1])) {
        h->payload = found[n - 1];
        h->key = keys[n - 1];
        h->frame = frame;
    }
    pc_read_exit();
}

static void *race_main(void *arg)
{
    struct race *r = arg;
    struct env *e = r->env;
    struct held held[NHELD] = { { 0 } };

    for (uint64_t i = 0; i < r->nops; i++) {
        uint64_t key = test_rand_below(&r->seed, NKEYS);
        struct held *h = &held[test_rand_below(&r->seed, NHELD)];
        uint64_t what = test_rand_below(&r->seed, 100);

        if (what < 35) {
            race_unpin(r, h);
            race_pin(r, key, h);
        } else if (what < 50) {
            race_unpin(r, h);
        } else if (what < 75) {
            race_read(r, h);
        } else if (what < 83) {
            quire_status rc = env_insert(e, key,
                                         1 + test_rand_below(&r->seed, 9999));

            if (rc != QUIRE_OK && rc != QUIRE_BUSY)
                CHECK_STATUS(rc, QUIRE_NOMEM);
        } else if (what < 93) {
            (void)pc_remove(e->cache, key);
        } else if (what < 95) {
            pc_demote(e->cache, key);
        } else if (what < 96) {
            (void)pc_evict(e->cache, test_rand_below(&r->seed, 20000));
        } else if (what < 97) {
            pc_reclaim(e->cache);
        } else if (h->payload != NULL) {
            pc_repin(e->cache, h->frame);
            pc_unpin(e->cache, h->frame);
        }
    }
    for (unsigned i = 0; i < NHELD; i++)
        race_unpin(r, &held[i]);
    return NULL;
}

static void race_run(uint32_t max_pages, uint64_t capacity, bool background,
                     uint64_t nops)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct env e = { 0 };
    struct pc_options opt = { .capacity_bytes = capacity,
                              .max_pages = max_pages,
                              .load = race_load,
                              .removed = env_removed,
                              .ctx = &e,
                              .background = background,
                              .log = { env_log, &e } };
    static pc_hint hints[NHINTS];
    pthread_t threads[NTHREADS];
    struct race races[NTHREADS];
    uint64_t seed = test_seed();
    struct quire_cache_stat st;

    CHECK_OK(ra_pool_create(&popt, &e.pool));
    CHECK_OK(pc_cache_create(e.pool, &opt, &e.cache));
    for (unsigned i = 0; i < NHINTS; i++)
        atomic_store(&hints[i], PC_HINT_NONE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        races[i] = (struct race){
            .env = &e, .seed = test_rand(&seed), .nops = nops, .hints = hints
        };
        CHECK_EQ(pthread_create(&threads[i], NULL, race_main, &races[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    if (background)
        CHECK(env_stat(&e).background_evicted > 0 || nops <= 1000);
    pc_evictor_stop(e.cache); /* the check is for caches at rest */
    CHECK(pc_check_cache(e.cache));
    st = env_stat(&e);
    CHECK_EQ(st.pinned_pages, 0);
    CHECK_EQ(st.misuses, 0);
    CHECK_EQ(st.bytes + st.limbo_bytes, e.weight_in - e.weight_out);
    for (unsigned i = 0; i < NKEYS; i++)
        (void)pc_remove(e.cache, i);
    pc_reclaim(e.cache);
    st = env_stat(&e);
    CHECK_EQ(st.pages, 0);
    CHECK_EQ(st.bytes, 0);
    CHECK_EQ(st.limbo_bytes, 0);
    CHECK_EQ(e.weight_in, e.weight_out);
    if (nops > 1000) { /* each way was gone */
        CHECK(e.removed[QUIRE_CAUSE_EVICTED] > 0);
        CHECK(e.removed[QUIRE_CAUSE_REMOVED] > 0);
        CHECK(e.removed[QUIRE_CAUSE_REPLACED] > 0);
        CHECK(st.load_failures > 0);
    }
    env_fini(&e);
}

static void test_race_for_frames(void **state)
{
    (void)state;
    race_run(100, 0, false, test_rounds(20000));
}

static void test_race_for_bytes(void **state)
{
    (void)state;
    race_run(1000, 400000, false, test_rounds(20000));
}

/* Fewer frames than threads hold: refusals are part of it. */
static void test_race_for_too_few_frames(void **state)
{
    (void)state;
    race_run(12, 0, false, test_rounds(20000));
}

/* Against the evictor, for frames and for bytes. */
static void test_race_with_the_evictor(void **state)
{
    (void)state;
    race_run(100, 0, true, test_rounds(20000));
    race_run(1000, 400000, true, test_rounds(20000));
}

/* ---- each page is called back for exactly once, counted ---- */

/*
 * Pages are tickets, not memory: a count of callbacks for each, so that a
 * second one, or none, is seen as such, and so that ten million operations are
 * a matter of seconds.
 */
struct tickets {
    struct pc_cache *cache;
    uint64_t cap;
    _Atomic uint64_t next;   /* the first was 1 */
    _Atomic uint8_t *called; /* by ticket; callbacks */
    _Atomic uint32_t *key;   /* by ticket */
    _Atomic uint64_t by_cause[4];
    _Atomic uint64_t kept; /* handed back by a refused insertion */
};

struct counter {
    struct tickets *t;
    uint64_t seed;
    uint64_t nops;
    pc_hint *hints;
};

static void *ticket_make(struct tickets *t, uint64_t key)
{
    uint64_t no = 1 +
                  atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);

    CHECK(no < t->cap);
    atomic_store_explicit(&t->key[no], (uint32_t)key, memory_order_relaxed);
    return (void *)(uintptr_t)no;
}

/* `page`, found under `key` and held, was made for it and has not left. */
static void ticket_check(struct tickets *t, const void *page, uint64_t key)
{
    uint64_t no = (uintptr_t)page;

    CHECK(no > 0 && no < t->cap);
    CHECK_EQ(atomic_load_explicit(&t->key[no], memory_order_relaxed), key);
    CHECK_EQ(atomic_load_explicit(&t->called[no], memory_order_relaxed), 0);
}

static quire_status ticket_load(void *ctx, uint64_t key, void *arg,
                                struct quire_page *page)
{
    struct counter *c = arg;

    if (test_rand_below(&c->seed, 64) == 0)
        return ra_fail(QUIRE_IO, "no luck");
    page->payload = ticket_make(ctx, key);
    page->weight_bytes = 1 + test_rand_below(&c->seed, 9999);
    page->kind = (enum quire_kind)(key % QUIRE_KIND_COUNT);
    return QUIRE_OK;
}

static void ticket_removed(void *ctx, uint64_t key,
                           const struct quire_page *page,
                           enum quire_cause cause)
{
    struct tickets *t = ctx;
    uint64_t no = (uintptr_t)page->payload;

    ticket_check(t, page->payload, key);
    CHECK_EQ(atomic_fetch_add_explicit(&t->called[no], 1, memory_order_relaxed),
             0);
    atomic_fetch_add_explicit(&t->by_cause[cause], 1, memory_order_relaxed);
}

static void *counter_main(void *arg)
{
    struct counter *c = arg;
    struct tickets *t = c->t;
    const void *held = NULL;
    uint64_t held_key = 0;
    uint32_t held_frame = 0;

    for (uint64_t i = 0; i < c->nops; i++) {
        uint64_t key = test_rand_below(&c->seed, NKEYS);
        uint64_t dice = test_rand_below(&c->seed, 1000);
        const void *page;
        uint32_t frame;
        quire_status rc;

        if (dice < 400) {
            pc_read_enter();
            for (unsigned k = 0; k < 3; k++) {
                page = pc_get(t->cache, key, &c->hints[key], &frame);
                if (page != NULL)
                    ticket_check(t, page, key);
            }
            pc_read_exit();
        } else if (dice < 800) {
            if (held != NULL) {
                ticket_check(t, held, held_key);
                pc_unpin(t->cache, held_frame);
            }
            rc = pc_pin(t->cache, key, &c->hints[key], c, &held, &held_frame);
            held_key = key;
            if (rc != QUIRE_OK) {
                CHECK_STATUS(rc, QUIRE_IO);
                held = NULL;
            }
        } else if (dice < 900) {
            struct quire_page p = {
                .payload = ticket_make(t, key),
                .weight_bytes = 1 + test_rand_below(&c->seed, 9999),
            };

            rc = pc_insert(t->cache, key, &p);
            if (rc != QUIRE_OK) { /* ours again */
                CHECK_STATUS(rc, QUIRE_BUSY);
                atomic_store(&t->called[(uintptr_t)p.payload], 1);
                atomic_fetch_add(&t->kept, 1);
            }
        } else if (dice < 998) {
            (void)pc_remove(t->cache, key);
        } else {
            (void)pc_evict(t->cache, 1 + test_rand_below(&c->seed, 9999));
        }
    }
    if (held != NULL)
        pc_unpin(t->cache, held_frame);
    return NULL;
}

static void test_callback_exactly_once(void **state)
{
    uint64_t nops = test_rounds(10000000);
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct tickets t = { .cap = nops + NTHREADS + 2 };
    struct pc_options opt = { .capacity_bytes = 1000000,
                              .max_pages = 1000,
                              .load = ticket_load,
                              .removed = ticket_removed,
                              .ctx = &t,
                              .background = true };
    static pc_hint hints[NKEYS];
    pthread_t threads[NTHREADS];
    struct counter c[NTHREADS];
    uint64_t seed = test_seed();
    struct quire_cache_stat st = { .size = sizeof(st) };
    struct ra_pool *pool;
    uint64_t sum = 0;

    (void)state;
    t.called = calloc(t.cap, sizeof(t.called[0]));
    t.key = calloc(t.cap, sizeof(t.key[0]));
    CHECK(t.called != NULL && t.key != NULL);
    CHECK_OK(ra_pool_create(&popt, &pool));
    CHECK_OK(pc_cache_create(pool, &opt, &t.cache));
    for (unsigned i = 0; i < NKEYS; i++)
        atomic_store(&hints[i], PC_HINT_NONE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        c[i] = (struct counter){ .t = &t,
                                 .seed = test_rand(&seed),
                                 .nops = nops / NTHREADS,
                                 .hints = hints };
        CHECK_EQ(pthread_create(&threads[i], NULL, counter_main, &c[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    pc_stat(t.cache, &st);
    CHECK_EQ(st.pinned_pages, 0);
    CHECK_EQ(st.misuses, 0);
    CHECK(st.pages > 0); /* left for the closing */
    CHECK_EQ(pc_cache_destroy(t.cache, false), 0);

    CHECK(t.next > 0);
    for (uint64_t no = 1; no <= t.next; no++)
        CHECK_EQ(t.called[no], 1);
    for (unsigned i = 0; i < ARRAY_LEN(t.by_cause); i++) {
        CHECK(t.by_cause[i] > 0);
        sum += t.by_cause[i];
    }
    CHECK_EQ(sum + t.kept, t.next);
    CHECK_EQ(ra_pool_destroy(pool, false), 0);
    free((void *)t.called);
    free((void *)t.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_race_for_frames),
        cmocka_unit_test(test_race_for_bytes),
        cmocka_unit_test(test_race_for_too_few_frames),
        cmocka_unit_test(test_race_with_the_evictor),
        cmocka_unit_test(test_callback_exactly_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
