/*
 * test_cache_env.h - what the tests of cache/ share: a pool, a cache, a loader
 * whose pages know their key, gates for threads.
 *
 * Each page is one block of malloc(), so that the address sanitizer and
 * Valgrind see every use after its callback, and carries its key in its first
 * and last word. The callback checks both, overwrites the page, and frees it.
 */
#ifndef QUIRE_TESTS_TEST_CACHE_ENV_H
#define QUIRE_TESTS_TEST_CACHE_ENV_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "cache/pc_impl.h"
#include "tests/test.h"

/* Tests that expect certain victims ask for the plain clock. */
#ifndef ENV_POLICY
#define ENV_POLICY QUIRE_POLICY_ADAPTIVE
#endif

#define PAGE_WORDS 16u /* words of a test page */

/* A door at which threads wait until it is opened. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned arrived; /* under lock */
    bool open;        /* under lock */
};

#define GATE_INIT \
    { \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false \
    }

static inline void gate_pass(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->arrived++;
    pthread_cond_broadcast(&g->cond);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_await(struct gate *g, unsigned n)
{
    pthread_mutex_lock(&g->lock);
    while (g->arrived < n)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

struct env {
    struct ra_pool *pool;
    struct pc_cache *cache;
    uint64_t weight; /* bytes, of pages that the loader makes; default 4096 */
    enum quire_kind kind;
    _Atomic uint64_t loads;
    _Atomic uint64_t made;       /* pages */
    _Atomic uint64_t removed[4]; /* by cause */
    _Atomic uint64_t weight_in;  /* bytes made */
    _Atomic uint64_t weight_out; /* bytes called back for */
    _Atomic uint64_t last_key;   /* of the last callback */
    char log[1024];              /* last line of level WARN or above */
};

/* What the `arg` of a pin tells the loader; NULL: make the page. */
struct plan {
    quire_status rc;         /* to return */
    const char *text;        /* detail of a failure */
    struct gate *gate;       /* NULL, or to pass before anything is done */
    struct quire_page *page; /* NULL, or what to return */
    /* NULL, or called first; its status is the loader's if not OK */
    quire_status (*hook)(struct env *e, uint64_t key);
};

static inline void *page_make(struct env *e, uint64_t key, uint64_t weight)
{
    uint64_t *p = malloc(PAGE_WORDS * sizeof(*p));

    if (p == NULL)
        abort();
    for (unsigned i = 0; i < PAGE_WORDS; i++)
        p[i] = key;
    atomic_fetch_add(&e->made, 1);
    atomic_fetch_add(&e->weight_in, weight);
    return p;
}

static inline void page_check(const void *payload, uint64_t key)
{
    const uint64_t *p = payload;

    CHECK(p != NULL);
    CHECK_EQ(p[0], key);
    CHECK_EQ(p[PAGE_WORDS - 1], key);
}

static inline void page_free(struct env *e, void *payload, uint64_t weight)
{
    memset(payload, 0xdd, PAGE_WORDS * sizeof(uint64_t));
    atomic_fetch_add(&e->weight_out, weight);
    free(payload);
}

static inline quire_status env_load(void *ctx, uint64_t key, void *arg,
                                    struct quire_page *page)
{
    struct env *e = ctx;
    const struct plan *plan = arg;
    quire_status rc;

    atomic_fetch_add(&e->loads, 1);
    CHECK(!pc_read_inside());
    if (plan != NULL) {
        if (plan->gate != NULL)
            gate_pass(plan->gate);
        if (plan->hook != NULL) {
            rc = plan->hook(e, key);
            if (rc != QUIRE_OK)
                return rc;
        }
        if (plan->rc != QUIRE_OK)
            return ra_fail(plan->rc, "%s", plan->text);
        if (plan->page != NULL) {
            *page = *plan->page;
            return QUIRE_OK;
        }
    }
    page->payload = page_make(e, key, e->weight);
    page->weight_bytes = e->weight;
    page->kind = e->kind;
    return QUIRE_OK;
}

static inline void env_removed(void *ctx, uint64_t key,
                               const struct quire_page *page,
                               enum quire_cause cause)
{
    struct env *e = ctx;

    CHECK(!pc_read_inside());
    CHECK(ra_nowait());
    page_check(page->payload, key);
    atomic_fetch_add(&e->removed[cause], 1);
    atomic_store(&e->last_key, key);
    page_free(e, page->payload, page->weight_bytes);
}

static inline void env_log(void *arg, quire_log_level level, const char *line)
{
    struct env *e = arg;

    if (level <= QUIRE_LOG_WARN)
        snprintf(e->log, sizeof(e->log), "%s", line);
}

/* A cache of `max_pages` and `capacity` bytes (0: no limit) on a pool of its
 * own of 8 MiB. */
static inline void env_init(struct env *e, uint32_t max_pages,
                            uint64_t capacity)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = { .capacity_bytes = capacity,
                              .max_pages = max_pages,
                              .load = env_load,
                              .removed = env_removed,
                              .ctx = e,
                              .policy = ENV_POLICY,
                              .log = { env_log, e } };

    memset(e, 0, sizeof(*e));
    e->weight = 4096;
    CHECK_OK(ra_pool_create(&popt, &e->pool));
    CHECK_OK(pc_cache_create(e->pool, &opt, &e->cache));
}

static inline uint64_t env_removals(const struct env *e)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(e->removed); i++)
        n += atomic_load(&e->removed[i]);
    return n;
}

/* Destroy all; every page made must have been called back for once. */
static inline void env_fini(struct env *e)
{
    pc_evictor_stop(e->cache); /* the check is for caches at rest */
    CHECK(pc_check_cache(e->cache));
    CHECK_EQ(pc_cache_destroy(e->cache, false), 0);
    CHECK_EQ(env_removals(e), e->made);
    CHECK_EQ(e->weight_out, e->weight_in);
    CHECK_EQ(ra_pool_destroy(e->pool, false), 0);
}

/* Load (or find) `key` and leave it unpinned. */
static inline uint32_t env_touch(struct env *e, uint64_t key)
{
    const void *payload;
    uint32_t frame;

    CHECK_OK(pc_pin(e->cache, key, NULL, NULL, &payload, &frame));
    page_check(payload, key);
    pc_unpin(e->cache, frame);
    return frame;
}

/* Pin `key`, and keep it. */
static inline uint32_t env_pin(struct env *e, uint64_t key)
{
    const void *payload;
    uint32_t frame;

    CHECK_OK(pc_pin(e->cache, key, NULL, NULL, &payload, &frame));
    page_check(payload, key);
    return frame;
}

/* Is `key` there? Leaves no trace of having looked. */
static inline bool env_resident(struct env *e, uint64_t key)
{
    bool found;

    pc_read_enter();
    found = pc_table_find(&e->cache->table, e->cache->frames, key) !=
            PC_FRAME_NONE;
    pc_read_exit();
    return found;
}

static inline quire_status env_insert(struct env *e, uint64_t key,
                                      uint64_t weight)
{
    struct quire_page page = { .payload = page_make(e, key, weight),
                               .weight_bytes = weight,
                               .kind = e->kind };
    quire_status rc = pc_insert(e->cache, key, &page);

    if (rc != QUIRE_OK) { /* the caller's again */
        atomic_fetch_sub(&e->made, 1);
        page_free(e, page.payload, weight);
    }
    return rc;
}

static inline struct quire_cache_stat env_stat(struct env *e)
{
    struct quire_cache_stat st = { .size = sizeof(st) };

    pc_stat(e->cache, &st);
    return st;
}

#endif /* QUIRE_TESTS_TEST_CACHE_ENV_H */
