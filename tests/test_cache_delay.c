/*
 * test_cache_delay.c - the transitions of the state word between threads: one
 * thread is held between two steps (enum pc_place) while another does what
 * must not come in between; then all at once, with delays at random places.
 *
 * The thread sanitizer makes the most of it. Builds without assertions have no
 * such places, and nothing to test here.
 */
#include "tests/test_cache_env.h"

#if QUIRE_DEBUG >= 1

/* ---- a thread held at a place ---- */

static _Thread_local bool held_thread; /* only this one is held */
static enum pc_place hold_at;
static struct gate *hold_gate;

static void hold(enum pc_place place, uint32_t frame)
{
    (void)frame;
    if (!held_thread || place != hold_at)
        return;
    held_thread = false; /* the first time */
    gate_pass(hold_gate);
}

enum what {
    DO_NOTHING,
    DO_GET,     /* by a hint that is right at first */
    DO_PIN,     /* the same */
    DO_PIN_NEW, /* of a key that isn't there */
    DO_REMOVE,
    DO_REPLACE,
    DO_EVICT,
    DO_RECLAIM,
};

struct actor {
    struct env *env;
    enum what what;
    enum pc_place place;
    struct gate *gate; /* NULL: not held */
    pc_hint hint;
    quire_status rc;      /* out: of a pin, a removal */
    uint64_t evicted;     /* out */
    const void *found;    /* out: by a get */
    const uint64_t *page; /* out: pinned */
    uint32_t frame;
    _Atomic bool done;
};

static void *actor_main(void *arg)
{
    struct actor *a = arg;
    struct env *e = a->env;
    const void *payload = NULL;

    held_thread = a->gate != NULL;
    switch (a->what) {
    case DO_GET:
        pc_read_enter();
        a->found = pc_get(e->cache, 1, &a->hint, NULL);
        if (a->found != NULL)
            page_check(a->found, 1);
        pc_read_exit();
        break;
    case DO_PIN:
    case DO_PIN_NEW:
        a->rc = pc_pin(e->cache, 1, &a->hint, NULL, &payload, &a->frame);
        if (a->rc == QUIRE_OK)
            page_check(payload, 1);
        a->page = payload;
        break;
    case DO_REMOVE:
        a->rc = pc_remove(e->cache, 1);
        break;
    case DO_REPLACE:
        a->rc = env_insert(e, 1, 100);
        break;
    case DO_EVICT:
        a->evicted = pc_evict(e->cache, 1);
        break;
    case DO_RECLAIM:
        pc_reclaim(e->cache);
        break;
    case DO_NOTHING:
        break;
    }
    atomic_store(&a->done, true);
    return NULL;
}

/*
 * `who` is held at `place`; `other` does its work, or as much of it as it can
 * (`waits`: until the first goes on); the first goes on. What then?
 */
struct row {
    const char *name;
    enum what who;
    enum pc_place place;
    enum what other;
    bool waits;     /* `other` can't end before `who` goes on */
    uint64_t loads; /* all in all; one made the page at first */
    bool found;     /* who reads or pins got a page */
    bool resident;  /* key 1 at the end */
    uint64_t gone;  /* pages called back for at the end, pins given back */
};

static const struct row rows[] = {
    { "a hint, and its page is removed", DO_GET, PC_AT_HINT, DO_REMOVE, false,
      1, false, false, 1 },
    { "a hint, and its page is replaced", DO_GET, PC_AT_HINT, DO_REPLACE, false,
      1, true, true, 1 },
    { "the key seen, and removed", DO_GET, PC_AT_KEY, DO_REMOVE, false, 1,
      false, false, 1 },
    { "the key seen, and replaced", DO_GET, PC_AT_KEY, DO_REPLACE, false, 1,
      true, true, 1 },
    { "the key seen, and pinned", DO_GET, PC_AT_KEY, DO_PIN, false, 1, true,
      true, 0 },
    { "a section holds off an eviction's end", DO_GET, PC_AT_KEY, DO_EVICT,
      true, 1, false, false, 1 },
    { "a pin by hint, and its page is removed", DO_PIN, PC_AT_HINT, DO_REMOVE,
      false, 2, true, true, 1 },
    { "a pin, the key seen, and removed", DO_PIN, PC_AT_KEY, DO_REMOVE, false,
      2, true, true, 1 },
    { "a pin, the key seen, and replaced", DO_PIN, PC_AT_KEY, DO_REPLACE, false,
      1, true, true, 1 },
    { "pinned, and removed before the second look", DO_PIN, PC_AT_PINNED,
      DO_REMOVE, false, 2, true, true, 1 },
    { "pinned, and replaced before the second look", DO_PIN, PC_AT_PINNED,
      DO_REPLACE, false, 1, true, true, 1 },
    { "pinned: no victim", DO_PIN, PC_AT_PINNED, DO_EVICT, false, 1, true, true,
      0 },
    { "an orphan with its key: not found", DO_REMOVE, PC_AT_ORPHAN, DO_GET,
      false, 1, false, false, 1 },
    { "an orphan with its key: pinned anew", DO_REMOVE, PC_AT_ORPHAN, DO_PIN,
      true, 2, true, true, 1 },
    { "an orphan in the table: not found", DO_REMOVE, PC_AT_CLEARED, DO_GET,
      false, 1, false, false, 1 },
    { "an orphan in the table: replaced", DO_REMOVE, PC_AT_CLEARED, DO_REPLACE,
      true, 1, false, true, 1 },
    { "a victim, chosen: not found", DO_EVICT, PC_AT_ORPHAN, DO_GET, false, 1,
      false, false, 1 },
    { "a victim out of its key: pinned anew", DO_EVICT, PC_AT_CLEARED, DO_PIN,
      false, 2, true, true, 1 },
    { "a victim, and removed", DO_EVICT, PC_AT_CLEARED, DO_REMOVE, false, 1,
      false, false, 1 },
    { "a page that has gone, its frame not yet free", DO_EVICT, PC_AT_REUSE,
      DO_PIN, false, 2, true, true, 1 },
    { "entered, not yet under its key: not found", DO_PIN_NEW, PC_AT_ENTERED,
      DO_GET, false, 1, true, true, 0 },
    { "entered, and asked for by another", DO_PIN_NEW, PC_AT_ENTERED, DO_PIN,
      true, 1, true, true, 0 },
    { "loaded, still LOADING: not found", DO_PIN_NEW, PC_AT_FILLED, DO_GET,
      false, 1, true, true, 0 },
    { "loaded, still LOADING: waited for", DO_PIN_NEW, PC_AT_FILLED, DO_PIN,
      true, 1, true, true, 0 },
    { "loaded, and removed before it is resident", DO_PIN_NEW, PC_AT_FILLED,
      DO_REMOVE, false, 1, true, false, 1 },
    { "loaded: no victim", DO_PIN_NEW, PC_AT_FILLED, DO_EVICT, false, 1, true,
      true, 0 },
    { "it has lost its last pin, and is not in limbo yet", DO_REMOVE,
      PC_AT_LIMBO, DO_RECLAIM, false, 1, false, false, 1 },
};

static void run_row(const struct row *r)
{
    struct gate gate = GATE_INIT;
    struct actor who = { .what = r->who, .place = r->place, .gate = &gate };
    struct actor other = { .what = r->other };
    pthread_t threads[2];
    struct env e;

    CHECK_CASE(r->name);
    env_init(&e, 16, 0);
    who.env = other.env = &e;
    who.hint = other.hint = PC_HINT_NONE;
    if (r->who != DO_PIN_NEW)
        who.hint = other.hint = env_touch(&e, 1);
    hold_at = r->place;
    hold_gate = &gate;
    atomic_store(&pc_delay_fn, hold);
    CHECK_EQ(pthread_create(&threads[0], NULL, actor_main, &who), 0);
    gate_await(&gate, 1);
    CHECK_EQ(pthread_create(&threads[1], NULL, actor_main, &other), 0);
    if (r->waits) {
        for (unsigned i = 0; i < 200; i++) {
            CHECK(!atomic_load(&other.done));
            sched_yield();
        }
        /* the getter is to go on when the page has gone */
        while (r->other == DO_EVICT && env_resident(&e, 1))
            sched_yield();
    } else {
        pthread_join(threads[1], NULL);
    }
    if (r->who == DO_PIN_NEW && r->other == DO_GET)
        CHECK(other.found == NULL);
    gate_open(&gate);
    pthread_join(threads[0], NULL);
    if (r->waits)
        pthread_join(threads[1], NULL);
    atomic_store(&pc_delay_fn, NULL);

    CHECK_STATUS(who.rc, QUIRE_OK);
    if (r->other == DO_REMOVE && r->who == DO_EVICT)
        CHECK_STATUS(other.rc, QUIRE_NOTFOUND);
    else
        CHECK_STATUS(other.rc, QUIRE_OK);
    CHECK_EQ(who.found != NULL || who.page != NULL || other.page != NULL ||
                 (r->who != DO_GET && other.found != NULL),
             r->found);
    CHECK_EQ(e.loads, r->loads);
    CHECK_EQ(env_resident(&e, 1), r->resident);
    if (who.page != NULL) {
        page_check(who.page, 1); /* whatever became of it */
        pc_unpin(e.cache, who.frame);
    }
    if (other.page != NULL) {
        page_check(other.page, 1);
        pc_unpin(e.cache, other.frame);
    }
    pc_reclaim(e.cache);
    CHECK_EQ(env_removals(&e), r->gone);
    CHECK_EQ(env_stat(&e).pinned_pages, 0);
    CHECK_EQ(env_stat(&e).misuses, 0);
    env_fini(&e);
}

static void test_held_between_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_row(&rows[i]);
}

/* ---- all at once, with delays ---- */

enum {
    NTHREADS = 8,
    NKEYS = 12,
    NFRAMES = 10 /* fewer than keys: frames are used for others all the time */
};

static _Atomic uint64_t visits[PC_PLACES];
static _Thread_local uint64_t delay_rand;

static void delay(enum pc_place place, uint32_t frame)
{
    uint64_t dice = test_rand_below(&delay_rand, 64);

    (void)frame;
    atomic_fetch_add_explicit(&visits[place], 1, memory_order_relaxed);
    if (dice < 4) {
        sched_yield();
    } else if (dice < 8) {
        for (unsigned i = 0; i < 50u << dice % 4; i++)
            __asm__ volatile("" ::: "memory");
    }
}

struct mixer {
    struct env *env;
    uint64_t seed;
    uint64_t nops;
    pc_hint *hints;
};

static quire_status mixed_load(struct env *e, uint64_t key)
{
    (void)e;
    return test_rand_below(&delay_rand, 10) == 0
               ? ra_fail(QUIRE_IO, "no luck with %llu", (unsigned long long)key)
               : QUIRE_OK;
}

static void *mixer_main(void *arg)
{
    struct mixer *m = arg;
    struct env *e = m->env;
    struct plan plan = { .hook = mixed_load };
    const void *payload;
    uint32_t frame;

    delay_rand = m->seed;
    for (uint64_t i = 0; i < m->nops; i++) {
        uint64_t key = test_rand_below(&m->seed, NKEYS);
        uint64_t dice = test_rand_below(&m->seed, 100);
        quire_status rc = QUIRE_OK;

        if (dice < 45) {
            rc = pc_pin(e->cache, key, &m->hints[key], &plan, &payload, &frame);
            if (rc == QUIRE_OK) {
                page_check(payload, key);
                if (dice < 10)
                    sched_yield();
                page_check(payload, key);
                pc_unpin(e->cache, frame);
            }
        } else if (dice < 75) {
            bool pinned;

            pc_read_enter();
            payload = pc_get(e->cache, key, &m->hints[key], &frame);
            if (payload != NULL)
                page_check(payload, key);
            pinned = payload != NULL && pc_pin_frame(e->cache, frame, key);
            if (payload != NULL)
                page_check(payload, key);
            pc_read_exit();
            if (pinned) {
                page_check(payload, key);
                pc_unpin(e->cache, frame);
            }
        } else if (dice < 85) {
            (void)pc_remove(e->cache, key);
        } else if (dice < 93) {
            rc = env_insert(e, key, 1 + test_rand_below(&m->seed, 5000));
        } else if (dice < 97) {
            (void)pc_evict(e->cache, 1);
        } else {
            pc_reclaim(e->cache);
        }
        if (rc != QUIRE_OK && rc != QUIRE_IO && rc != QUIRE_BUSY)
            CHECK_STATUS(rc, QUIRE_NOMEM);
    }
    return NULL;
}

static void test_delays_at_every_place(void **state)
{
    static pc_hint hints[NKEYS];
    struct mixer m[NTHREADS];
    pthread_t threads[NTHREADS];
    struct quire_cache_stat st;
    uint64_t seed = test_seed();
    uint64_t nops = 2000; /* grace periods take their time */
    struct env e;

    (void)state;
    env_init(&e, NFRAMES, 0);
    for (unsigned i = 0; i < NKEYS; i++)
        atomic_store(&hints[i], PC_HINT_NONE);
    for (unsigned i = 0; i < PC_PLACES; i++)
        atomic_store(&visits[i], 0);
    atomic_store(&pc_delay_fn, delay);
    for (unsigned i = 0; i < NTHREADS; i++) {
        m[i] = (struct mixer){
            .env = &e, .seed = test_rand(&seed), .nops = nops, .hints = hints
        };
        CHECK_EQ(pthread_create(&threads[i], NULL, mixer_main, &m[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&pc_delay_fn, NULL);
    for (unsigned i = 0; i < PC_PLACES; i++)
        CHECK(atomic_load(&visits[i]) > 0);
    st = env_stat(&e);
    CHECK(st.load_failures > 0);
    for (unsigned i = QUIRE_CAUSE_EVICTED; i <= QUIRE_CAUSE_REPLACED; i++)
        CHECK(st.removals[i] > 0);
    CHECK_EQ(st.pinned_pages, 0);
    CHECK_EQ(st.misuses, 0);
    for (uint64_t key = 0; key < NKEYS; key++)
        (void)pc_remove(e.cache, key);
    pc_reclaim(e.cache);
    st = env_stat(&e);
    CHECK_EQ(st.bytes + st.limbo_bytes, 0);
    CHECK_EQ(e.cache->charged_bytes, 0);
    env_fini(&e);
}

#endif

int main(void)
{
#if QUIRE_DEBUG >= 1
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_between_steps),
        cmocka_unit_test(test_delays_at_every_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
#else
    return 0;
#endif
}
