/*
 * Pins and loads: hits, hints, one load for many waiters, failures, misuse.
 */
#include <sys/mman.h>

#include "tests/test_cache_env.h"

/* ---- look-up ---- */

static void test_pin_loads_once(void **state)
{
    struct quire_cache_stat st;
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    /* 0 and the greatest key but one are keys like any other */
    env_touch(&e, 0);
    env_touch(&e, 0);
    for (unsigned i = 0; i < 10 * PC_SAMPLE; i++)
        env_touch(&e, UINT64_MAX - 1);
    CHECK_EQ(e.loads, 2);
    st = env_stat(&e);
    CHECK_EQ(st.pages, 2);
    CHECK_EQ(st.bytes, 8192);
    CHECK_EQ(st.misses, 2);
    /* counted in samples: within one of what it was */
    CHECK(st.hits_table >= 9 * PC_SAMPLE);
    CHECK(st.hits_table <= 11 * PC_SAMPLE);
    CHECK_EQ(st.pinned_pages, 0);
    env_fini(&e);
}

static void test_reserved_key_is_refused(void **state)
{
    const void *payload = NULL;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    CHECK_STATUS(pc_pin(e.cache, UINT64_MAX, NULL, NULL, &payload, &frame),
                 QUIRE_INVAL);
    CHECK_STATUS(env_insert(&e, UINT64_MAX, 1), QUIRE_INVAL);
    CHECK_STATUS(pc_remove(e.cache, UINT64_MAX), QUIRE_NOTFOUND);
    pc_read_enter();
    CHECK(pc_get(e.cache, UINT64_MAX, NULL, NULL) == NULL);
    pc_read_exit();
    env_fini(&e);
}

/* A hint is set by the first look-up, believed by the next, and corrected when
 * its frame holds another page. */
static void test_hint(void **state)
{
    struct quire_cache_stat st;
    const void *payload;
    uint32_t frame;
    pc_hint hint = PC_HINT_NONE;
    struct env e;

    (void)state;
    env_init(&e, 2, 0);
    env_touch(&e, 1);
    pc_read_enter();
    page_check(pc_get(e.cache, 1, &hint, &frame), 1);
    CHECK_EQ(hint, frame);
    for (unsigned i = 0; i < 10 * PC_SAMPLE; i++)
        page_check(pc_get(e.cache, 1, &hint, NULL), 1);
    pc_read_exit();
    st = env_stat(&e);
    CHECK(st.hits_table <= PC_SAMPLE);
    /* counted in samples: within one of what it was */
    CHECK(st.hits_hint >= 9 * PC_SAMPLE);
    CHECK(st.hits_hint <= 11 * PC_SAMPLE);

    /* the frame is used for another page: the stale hint finds nothing, then,
     * when its page is back, it is corrected */
    CHECK_OK(pc_remove(e.cache, 1));
    pc_reclaim(e.cache);
    CHECK_EQ(env_touch(&e, 2), hint);
    pc_read_enter();
    CHECK(pc_get(e.cache, 1, &hint, NULL) == NULL);
    pc_read_exit();
    CHECK_OK(pc_pin(e.cache, 1, &hint, NULL, &payload, &frame));
    page_check(payload, 1);
    CHECK_EQ(hint, frame);
    pc_unpin(e.cache, frame);
    env_fini(&e);
}

/* Hints may be anything. */
static void test_wild_hints(void **state)
{
    static const uint32_t wild[] = { 0, 1, 3, 4, 1u << 31, UINT32_MAX };
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    env_touch(&e, 7);
    for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
        pc_hint hint = wild[i];

        pc_read_enter();
        page_check(pc_get(e.cache, 7, &hint, NULL), 7);
        CHECK(pc_get(e.cache, 0, &hint, NULL) == NULL);
        CHECK(!pc_pin_frame(e.cache, wild[i] + 1, 0));
        pc_read_exit();
    }
    CHECK_EQ(pc_pinned_pages(e.cache), 0);
    env_fini(&e);
}

/* A pin of a frame that meanwhile has another page, or none, is refused and
 * leaves no pin behind. */
static void test_pin_frame_checks_the_key(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    frame = env_touch(&e, 1);
    pc_read_enter();
    CHECK(pc_pin_frame(e.cache, frame, 1));
    CHECK(!pc_pin_frame(e.cache, frame, 2));
    pc_read_exit();
    CHECK_EQ(pc_pinned_pages(e.cache), 1);
    pc_unpin(e.cache, frame);
    CHECK_EQ(pc_pinned_pages(e.cache), 0);
    CHECK_OK(pc_remove(e.cache, 1));
    pc_read_enter();
    CHECK(!pc_pin_frame(e.cache, frame, 1));
    pc_read_exit();
    CHECK_EQ(env_stat(&e).misuses, 0);
    env_fini(&e);
}

/* The key is compared after the pin was taken, too: when it has gone by then,
 * the pin is taken back, and the page leaves with it. */
static void test_failed_pin_is_taken_back(void **state)
{
    struct pc_frame *f;
    uint32_t frame;
    pc_state s;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    frame = env_touch(&e, 1);
    f = &e.cache->frames[frame];
    CHECK(!pc_frame_pin(e.cache, frame, 2, false, &s));
    CHECK_EQ(f->state, 0);
    CHECK(pc_frame_pin(e.cache, frame, 1, false, &s));
    CHECK_EQ(f->state, 1);
    pc_unpin(e.cache, frame);
    env_fini(&e);
}

/* ---- loading ---- */

struct pinner {
    struct env *env;
    struct plan *plan;
    uint64_t key;
    quire_status rc;     /* result */
    const void *payload; /* result */
    uint32_t frame;      /* result */
    char detail[256];    /* result */
};

/* Overwrite the stack below the caller, where the loader's record was: whoever
 * still reads that record sees it. */
static __attribute__((noinline)) void scribble(void)
{
    volatile char dirt[8192];

    for (size_t i = 0; i < sizeof(dirt); i++)
        dirt[i] = 0x5a;
}

static void *pinner_main(void *arg)
{
    struct pinner *p = arg;

    p->rc = pc_pin(p->env->cache, p->key, NULL, p->plan, &p->payload,
                   &p->frame);
    scribble();
    if (p->rc != QUIRE_OK)
        snprintf(p->detail, sizeof(p->detail), "%s", quire_error_detail());
    return NULL;
}

enum {
    NPINNERS = 11 /* a loader and ten who wait */
};

/* Threads pin one key whose loader stands at a gate; return when all others
 * wait for it. */
static void pinners_start(struct env *e, struct plan *plan,
                          struct pinner *pinners, pthread_t *threads)
{
    for (unsigned i = 0; i < NPINNERS; i++) {
        pinners[i] = (struct pinner){ .env = e, .plan = plan, .key = 5 };
        CHECK_EQ(pthread_create(&threads[i], NULL, pinner_main, &pinners[i]),
                 0);
    }
    gate_await(plan->gate, 1);
    while (env_stat(e).waits < NPINNERS - 1)
        sched_yield();
}

static void pinners_join(pthread_t *threads)
{
    for (unsigned i = 0; i < NPINNERS; i++)
        pthread_join(threads[i], NULL);
}

static void test_one_load_for_many_waiters(void **state)
{
    struct gate gate = GATE_INIT;
    pc_hint hint = PC_HINT_NONE;
    struct plan plan = { .gate = &gate };
    struct pinner pinners[NPINNERS];
    pthread_t threads[NPINNERS];
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    pinners_start(&e, &plan, pinners, threads);
    CHECK_EQ(e.loads, 1);
    /* while it loads: not there for a reader, and not to be inserted */
    pc_read_enter();
    CHECK(pc_get(e.cache, 5, &hint, NULL) == NULL);
    CHECK_EQ(hint, PC_HINT_NONE);
    pc_read_exit();
    CHECK_STATUS(env_insert(&e, 5, 100), QUIRE_BUSY);
    gate_open(&gate);
    pinners_join(threads);
    CHECK_EQ(e.loads, 1);
    for (unsigned i = 0; i < NPINNERS; i++) {
        CHECK_OK(pinners[i].rc);
        page_check(pinners[i].payload, 5);
        CHECK(pinners[i].payload == pinners[0].payload);
    }
    CHECK_EQ(pc_state_pins(e.cache->frames[pinners[0].frame].state), NPINNERS);
    CHECK_EQ(pc_pinned_pages(e.cache), 1);
    for (unsigned i = 0; i < NPINNERS; i++)
        pc_unpin(e.cache, pinners[i].frame);
    CHECK_EQ(pc_pinned_pages(e.cache), 0);
    env_fini(&e);
}

/* Two threads that both found nothing before either could enter the key: one
 * of them loads. */
static void test_second_look_before_loading(void **state)
{
    struct pinner pinners[2];
    pthread_t threads[ARRAY_LEN(pinners)];
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    ra_mutex_lock(pc_stripe_of(e.cache, 5));
    for (unsigned i = 0; i < ARRAY_LEN(pinners); i++) {
        pinners[i] = (struct pinner){ .env = &e, .key = 5 };
        CHECK_EQ(pthread_create(&threads[i], NULL, pinner_main, &pinners[i]),
                 0);
    }
    while (env_stat(&e).misses < ARRAY_LEN(pinners))
        sched_yield();
    ra_mutex_unlock(pc_stripe_of(e.cache, 5));
    for (unsigned i = 0; i < ARRAY_LEN(pinners); i++) {
        pthread_join(threads[i], NULL);
        CHECK_OK(pinners[i].rc);
        page_check(pinners[i].payload, 5);
        pc_unpin(e.cache, pinners[i].frame);
    }
    CHECK_EQ(e.loads, 1);
    CHECK_EQ(env_stat(&e).pages, 1);
    env_fini(&e);
}

/* Every waiter gets the status and the detail; the next look-up tries again,
 * and nothing is left of the failure. */
static void test_failed_load_reaches_every_waiter(void **state)
{
    struct gate gate = GATE_INIT;
    struct plan plan = { .gate = &gate,
                         .rc = QUIRE_CORRUPT,
                         .text = "checksum of page 5 at offset 4096" };
    struct pinner pinners[NPINNERS];
    pthread_t threads[NPINNERS];
    struct quire_cache_stat st;
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    pinners_start(&e, &plan, pinners, threads);
    gate_open(&gate);
    pinners_join(threads);
    CHECK_EQ(e.loads, 1);
    for (unsigned i = 0; i < NPINNERS; i++) {
        CHECK_STATUS(pinners[i].rc, QUIRE_CORRUPT);
        CHECK_STR_EQ(pinners[i].detail, plan.text);
    }
    CHECK(!env_resident(&e, 5));
    env_touch(&e, 5);
    st = env_stat(&e);
    CHECK_EQ(st.loads, 2);
    CHECK_EQ(st.load_failures, 1);
    CHECK_EQ(st.pages, 1);
    CHECK_EQ(st.pinned_pages, 0);
    pc_reclaim(e.cache);
    CHECK_EQ(env_removals(&e), 0); /* a load that failed made no page */
    env_fini(&e);
}

/* The gate of one key's loader is closed: other keys load and hit. */
static void test_blocked_load_delays_no_other_key(void **state)
{
    struct gate gate = GATE_INIT;
    struct plan plan = { .gate = &gate };
    struct pinner pinner;
    pthread_t thread;
    struct env e;

    (void)state;
    env_init(&e, 8, 0);
    pinner = (struct pinner){ .env = &e, .plan = &plan, .key = 5 };
    CHECK_EQ(pthread_create(&thread, NULL, pinner_main, &pinner), 0);
    gate_await(&gate, 1);
    for (uint64_t key = 100; key < 400; key++) /* evicts all the while */
        env_touch(&e, key);
    CHECK_EQ(e.loads, 301);
    CHECK_OK(env_insert(&e, 6, 10));
    CHECK_OK(pc_remove(e.cache, 6));
    pc_reclaim(e.cache);
    gate_open(&gate);
    pthread_join(thread, NULL);
    CHECK_OK(pinner.rc);
    page_check(pinner.payload, 5);
    pc_unpin(e.cache, pinner.frame);
    env_fini(&e);
}

/* Removed while it loads: whoever waits gets the page, look-ups load it anew,
 * and it leaves once, with its last pin. */
static void test_removed_while_loading(void **state)
{
    struct gate gate = GATE_INIT;
    struct plan plan = { .gate = &gate };
    struct pinner pinners[NPINNERS];
    pthread_t threads[NPINNERS];
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    pinners_start(&e, &plan, pinners, threads);
    CHECK_OK(pc_remove(e.cache, 5));
    CHECK_STATUS(pc_remove(e.cache, 5), QUIRE_NOTFOUND);
    CHECK(!env_resident(&e, 5));
    env_touch(&e, 5); /* a load of its own */
    CHECK_EQ(e.loads, 2);
    gate_open(&gate);
    pinners_join(threads);
    for (unsigned i = 0; i < NPINNERS; i++) {
        CHECK_OK(pinners[i].rc);
        page_check(pinners[i].payload, 5);
    }
    CHECK_EQ(env_stat(&e).pages, 1);
    CHECK_EQ(env_stat(&e).limbo_bytes, 4096);
    for (unsigned i = 0; i < NPINNERS; i++) {
        pc_reclaim(e.cache);
        CHECK_EQ(env_removals(&e), 0);
        pc_unpin(e.cache, pinners[i].frame);
    }
    pc_reclaim(e.cache);
    CHECK_EQ(e.removed[QUIRE_CAUSE_REMOVED], 1);
    CHECK(env_resident(&e, 5));
    env_fini(&e);
}

/* Removed while it loads, and the load fails: waiters are told, no callback. */
static void test_removed_while_loading_that_fails(void **state)
{
    struct gate gate = GATE_INIT;
    struct plan plan = { .gate = &gate, .rc = QUIRE_IO, .text = "read" };
    struct pinner pinners[NPINNERS];
    pthread_t threads[NPINNERS];
    struct env e;

    (void)state;
    env_init(&e, 16, 0);
    pinners_start(&e, &plan, pinners, threads);
    CHECK_OK(pc_remove(e.cache, 5));
    gate_open(&gate);
    pinners_join(threads);
    for (unsigned i = 0; i < NPINNERS; i++)
        CHECK_STATUS(pinners[i].rc, QUIRE_IO);
    pc_reclaim(e.cache);
    CHECK_EQ(env_removals(&e), 0);
    env_fini(&e);
}

static quire_status hook_pins_others(struct env *e, uint64_t key)
{
    /* more pages than there are frames but ours: evicts while loading */
    for (uint64_t k = 1000; k < 1020; k++)
        env_touch(e, k + key);
    return QUIRE_OK;
}

/* A loader may use its own cache for other keys, evicting too. */
static void test_loader_pins_other_pages(void **state)
{
    struct plan plan = { .hook = hook_pins_others };
    const void *payload;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    CHECK_OK(pc_pin(e.cache, 5, NULL, &plan, &payload, &frame));
    page_check(payload, 5);
    pc_unpin(e.cache, frame);
    CHECK_EQ(e.loads, 21);
    env_fini(&e);
}

static quire_status hook_pins_itself(struct env *e, uint64_t key)
{
    const void *payload;
    uint32_t frame;

    return pc_pin(e->cache, key, NULL, NULL, &payload, &frame);
}

/* A loader that asks for its own key would wait for itself. */
static void test_loader_of_its_own_key_is_misuse(void **state)
{
    struct plan plan = { .hook = hook_pins_itself };
    const void *payload;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    CHECK_STATUS(pc_pin(e.cache, 5, NULL, &plan, &payload, &frame),
                 QUIRE_MISUSE);
    CHECK(strstr(quire_error_detail(), "key 5") != NULL);
    env_touch(&e, 5);
    env_fini(&e);
}

/* What a loader returns is checked; a payload that can't be kept goes back
 * through the callback. */
static void test_loader_with_a_bad_page(void **state)
{
    static const struct {
        const char *name;
        uint64_t weight;
        int kind;
        const char *detail;
    } rows[] = {
        { "no weight", 0, QUIRE_KIND_LEAF, "weight_bytes 0" },
        { "weight of 2^32", UINT64_C(1) << 32, QUIRE_KIND_LEAF,
          "weight_bytes 4294967296" },
        { "no such kind", 1, QUIRE_KIND_COUNT, "kind 4" },
    };
    const void *payload;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quire_page page = {
            .payload = page_make(&e, 5, rows[i].weight),
            .weight_bytes = rows[i].weight,
            .kind = (enum quire_kind)rows[i].kind,
        };
        struct plan plan = { .page = &page };

        CHECK_CASE(rows[i].name);
        CHECK_STATUS(pc_pin(e.cache, 5, NULL, &plan, &payload, &frame),
                     QUIRE_INVAL);
        CHECK(strstr(quire_error_detail(), rows[i].detail) != NULL);
        CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], i + 1);
        page.payload = page_make(&e, 5, rows[i].weight);
        CHECK_STATUS(pc_insert(e.cache, 5, &page), QUIRE_INVAL);
        CHECK(strstr(quire_error_detail(), rows[i].detail) != NULL);
        atomic_fetch_sub(&e.made, 1);
        page_free(&e, page.payload, rows[i].weight);
    }
    {
        struct quire_page page = { .weight_bytes = 1 };
        struct plan plan = { .page = &page };

        CHECK_CASE("no payload");
        CHECK_STATUS(pc_pin(e.cache, 5, NULL, &plan, &payload, &frame),
                     QUIRE_INVAL);
        CHECK_STATUS(pc_insert(e.cache, 5, &page), QUIRE_INVAL);
        CHECK_EQ(e.removed[QUIRE_CAUSE_EVICTED], ARRAY_LEN(rows));
    }
    env_touch(&e, 5);
    env_fini(&e);
}

/* ---- misuse ---- */

/* What may wait is refused inside a read section, however deep. */
static void test_misuse_inside_a_read_section(void **state)
{
    const void *payload;
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    env_touch(&e, 5);
    pc_read_enter();
    pc_read_enter();
    pc_read_exit();
    CHECK(pc_read_inside());
    CHECK_STATUS(pc_pin(e.cache, 5, NULL, NULL, &payload, &frame),
                 QUIRE_MISUSE);
    CHECK(strstr(quire_error_detail(), "read section") != NULL);
    CHECK_STATUS(env_insert(&e, 6, 1), QUIRE_MISUSE);
    CHECK_STATUS(pc_remove(e.cache, 5), QUIRE_MISUSE);
    CHECK_EQ(pc_evict(e.cache, 1), 0);
    pc_reclaim(e.cache);
    pc_demote(e.cache, 5); /* waits for nothing */
    CHECK(pc_pin_frame(e.cache,
                       pc_table_find(&e.cache->table, e.cache->frames, 5), 5));
    pc_unpin(e.cache, 0);
    {
        static const size_t two[] = { 1, QUIRE_SEG_MAX };
        void *segs[ARRAY_LEN(two)] = { &e, &e };
        void *mem = &e;

        CHECK_CASE("allocating");
        CHECK_STATUS(ra_seg_alloc(e.pool, 1, &mem), QUIRE_MISUSE);
        CHECK(mem == NULL);
        CHECK(strstr(quire_error_detail(), "read section") != NULL);
        CHECK_STATUS(ra_seg_alloc_many(e.pool, two, ARRAY_LEN(two), segs),
                     QUIRE_MISUSE);
        CHECK(segs[0] == NULL && segs[1] == NULL);
        mem = &e;
        CHECK_STATUS(ra_table_alloc(e.pool, 1, &mem), QUIRE_MISUSE);
        CHECK(mem == NULL);
        CHECK(ra_seg_try(e.pool, 1) == NULL);
        CHECK_STATUS(ra_pool_set_budget(e.pool, 2 * QUIRE_BUDGET_MIN),
                     QUIRE_MISUSE);
        CHECK_EQ(ra_pool_sweep(e.pool), 0);
    }
    pc_read_exit();
    CHECK(!pc_read_inside());
    CHECK(env_resident(&e, 5));
    env_fini(&e);
}

/* One unpin too many is counted, logged, and does nothing. */
static void test_unpin_underflow(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    frame = env_touch(&e, 5);
    pc_unpin(e.cache, frame);
    CHECK_EQ(env_stat(&e).misuses, 1);
    CHECK(strstr(e.log, "unpin of frame 0") != NULL);
    pc_unpin(e.cache, frame + 1); /* free */
    pc_unpin(e.cache, 4);         /* none */
    pc_unpin(e.cache, UINT32_MAX);
    pc_repin(e.cache, frame);
    pc_repin(e.cache, UINT32_MAX);
    CHECK_EQ(env_stat(&e).misuses, 6);
    CHECK_EQ(e.cache->frames[frame].state, 0);
    env_touch(&e, 5);
    CHECK_EQ(e.loads, 1);

    /* once more when the page has left: not on the limbo list twice */
    CHECK_OK(pc_remove(e.cache, 5));
    pc_unpin(e.cache, frame);
    CHECK_EQ(env_stat(&e).misuses, 7);
    pc_reclaim(e.cache);
    CHECK_EQ(env_removals(&e), 1);
    env_fini(&e);
}

static void test_repin(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    env_init(&e, 4, 0);
    frame = env_pin(&e, 5);
    pc_repin(e.cache, frame);
    CHECK_OK(pc_remove(e.cache, 5));
    pc_repin(e.cache, frame); /* of an orphan, too */
    for (unsigned i = 0; i < 3; i++) {
        pc_reclaim(e.cache);
        CHECK_EQ(env_removals(&e), 0);
        pc_unpin(e.cache, frame);
    }
    pc_reclaim(e.cache);
    CHECK_EQ(env_removals(&e), 1);
    CHECK_EQ(env_stat(&e).misuses, 0);
    env_fini(&e);
}

/* A hit by hint stores nothing in a frame whose counter of uses is at its
 * limit: the frames may be read-only. */
static void test_hits_store_nothing(void **state)
{
    size_t nbytes;
    pc_hint hints[8];
    struct env e;

    (void)state;
    env_init(&e, 1024, 0);
    nbytes = e.cache->frame_bytes;
    for (uint64_t key = 0; key < 8; key++) {
        atomic_init(&hints[key], PC_HINT_NONE);
        env_touch(&e, key);
    }
    for (unsigned n = 0; n < 20; n++) {
        if (n == 10)
            CHECK_EQ(mprotect(e.cache->frames, nbytes, PROT_READ), 0);
        pc_read_enter();
        for (uint64_t key = 0; key < 8; key++)
            page_check(pc_get(e.cache, key, &hints[key], NULL), key);
        pc_read_exit();
    }
    CHECK_EQ(mprotect(e.cache->frames, nbytes, PROT_READ | PROT_WRITE), 0);
    env_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits_store_nothing),
        cmocka_unit_test(test_pin_loads_once),
        cmocka_unit_test(test_reserved_key_is_refused),
        cmocka_unit_test(test_hint),
        cmocka_unit_test(test_wild_hints),
        cmocka_unit_test(test_pin_frame_checks_the_key),
        cmocka_unit_test(test_failed_pin_is_taken_back),
        cmocka_unit_test(test_one_load_for_many_waiters),
        cmocka_unit_test(test_second_look_before_loading),
        cmocka_unit_test(test_failed_load_reaches_every_waiter),
        cmocka_unit_test(test_blocked_load_delays_no_other_key),
        cmocka_unit_test(test_removed_while_loading),
        cmocka_unit_test(test_removed_while_loading_that_fails),
        cmocka_unit_test(test_loader_pins_other_pages),
        cmocka_unit_test(test_loader_of_its_own_key_is_misuse),
        cmocka_unit_test(test_loader_with_a_bad_page),
        cmocka_unit_test(test_misuse_inside_a_read_section),
        cmocka_unit_test(test_unpin_underflow),
        cmocka_unit_test(test_repin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
