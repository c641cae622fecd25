/*
 * quire_cache_*: what quire.h promises of arguments and statuses.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test_cache_env.h"

struct api {
    struct quire_pool *pool;
    struct quire_cache *cache;
    struct quire_cache_options opt;
    struct env env; /* what the loader and the callback count */
};

static void api_init(struct api *a)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };

    memset(a, 0, sizeof(*a));
    a->env.weight = 4096;
    a->opt = (struct quire_cache_options){ .size = sizeof(a->opt),
                                           .capacity_bytes = 1 << 20,
                                           .load = env_load,
                                           .removed = env_removed,
                                           .ctx = &a->env };
    CHECK_OK(quire_pool_create(&popt, &a->pool));
    CHECK_OK(quire_cache_create(a->pool, &a->opt, &a->cache));
}

static void api_fini(struct api *a)
{
    CHECK_OK(quire_cache_destroy(a->cache));
    CHECK_EQ(env_removals(&a->env), a->env.made);
    CHECK_OK(quire_pool_destroy(a->pool));
}

static void test_round_trip(void **state)
{
    struct quire_cache_stat st = { .size = sizeof(st) };
    struct quire_page page = { .weight_bytes = 100, .kind = QUIRE_KIND_INNER };
    uint32_t hint = QUIRE_HINT_NONE;
    struct quire_pin pin;
    struct api a;

    (void)state;
    api_init(&a);
    CHECK_OK(quire_cache_pin(a.cache, 1, &hint, NULL, &pin));
    page_check(pin.payload, 1);
    CHECK_EQ(hint, pin.frame);
    CHECK_STATUS(quire_cache_destroy(a.cache), QUIRE_BUSY);
    quire_cache_unpin(a.cache, &pin);
    page.payload = page_make(&a.env, 2, page.weight_bytes);
    CHECK_OK(quire_cache_insert(a.cache, 2, &page));
    quire_cache_enter(a.cache);
    page_check(quire_cache_get(a.cache, 1, &hint), 1);
    page_check(quire_cache_get(a.cache, 2, NULL), 2);
    CHECK(quire_cache_get(a.cache, 3, NULL) == NULL);
    quire_cache_exit(a.cache);
    CHECK_OK(quire_cache_stat_get(a.cache, &st));
    CHECK_EQ(st.pages, 2);
    CHECK_EQ(st.bytes, 4196);
    CHECK_EQ(st.size, sizeof(st));
    CHECK_OK(quire_cache_remove(a.cache, 2));
    CHECK_STATUS(quire_cache_remove(a.cache, 2), QUIRE_NOTFOUND);
    api_fini(&a);
}

static void test_null_arguments(void **state)
{
    struct quire_cache_stat st = { .size = sizeof(st) };
    struct quire_page page = { .payload = &st, .weight_bytes = 1 };
    struct quire_cache *cache = NULL;
    struct quire_pin pin = { 0 };
    struct api a;

    (void)state;
    api_init(&a);
    CHECK_STATUS(quire_cache_create(NULL, &a.opt, &cache), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_create(a.pool, NULL, &cache), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_create(a.pool, &a.opt, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_pin(NULL, 1, NULL, NULL, &pin), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_pin(a.cache, 1, NULL, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_insert(NULL, 1, &page), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_insert(a.cache, 1, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_remove(NULL, 1), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_stat_get(NULL, &st), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_stat_get(a.cache, NULL), QUIRE_MISUSE);
    quire_cache_unpin(NULL, &pin);
    quire_cache_unpin(a.cache, NULL);
    quire_cache_enter(NULL);
    CHECK(quire_cache_get(NULL, 1, NULL) == NULL);
    quire_cache_exit(NULL);
    CHECK_OK(quire_cache_destroy(NULL));
    api_fini(&a);
}

/* Each wrong option is named in the detail. */
static void test_wrong_options(void **state)
{
    static const struct {
        const char *name; /* of the option */
        size_t size;
        uint32_t max_pages;
        bool load;
        bool removed;
    } rows[] = {
        { "size", sizeof(struct quire_cache_options) - 1, 1, true, true },
        { "size", 0, 1, true, true },
        { "max_pages", sizeof(struct quire_cache_options), UINT32_MAX, true,
          true },
        { "load", sizeof(struct quire_cache_options), 1, false, true },
        { "removed", sizeof(struct quire_cache_options), 1, true, false },
    };
    struct api a;

    (void)state;
    api_init(&a);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quire_cache_options opt = a.opt;
        struct quire_cache *cache = a.cache;

        CHECK_CASE(rows[i].name);
        opt.size = rows[i].size;
        opt.max_pages = rows[i].max_pages;
        opt.load = rows[i].load ? env_load : NULL;
        opt.removed = rows[i].removed ? env_removed : NULL;
        CHECK_STATUS(quire_cache_create(a.pool, &opt, &cache), QUIRE_INVAL);
        CHECK(cache == NULL);
        CHECK(strstr(quire_error_detail(), rows[i].name) != NULL);
    }
    {
        struct quire_cache_stat st = { .size = 8 };

        CHECK_STATUS(quire_cache_stat_get(a.cache, &st), QUIRE_INVAL);
    }
    api_fini(&a);
}

/* max_pages follows from the capacity, or from the pool's budget. */
static void test_default_max_pages(void **state)
{
    struct api a;

    (void)state;
    api_init(&a);
    CHECK_EQ(((struct pc_cache *)a.cache)->nframes, (1 << 20) / 4096);
    CHECK_OK(quire_cache_destroy(a.cache));
    a.opt.capacity_bytes = 0;
    CHECK_OK(quire_cache_create(a.pool, &a.opt, &a.cache));
    CHECK_EQ(((struct pc_cache *)a.cache)->nframes, QUIRE_BUDGET_MIN / 4096);
    CHECK_OK(quire_cache_destroy(a.cache));
    a.opt.capacity_bytes = 1;
    CHECK_OK(quire_cache_create(a.pool, &a.opt, &a.cache));
    CHECK_EQ(((struct pc_cache *)a.cache)->nframes, 1);
    api_fini(&a);
}

static void test_misuse_of_sections(void **state)
{
    struct quire_page page = { .payload = &page, .weight_bytes = 1 };
    struct quire_cache *cache;
    struct quire_pin pin;
    struct api a;
    void *held;
    void *seg = &a;

    (void)state;
    api_init(&a);
    CHECK_OK(quire_pool_alloc(a.pool, 1, &held));
    quire_cache_exit(a.cache); /* of no section: ignored */
    CHECK(quire_cache_get(a.cache, 1, NULL) == NULL);
    CHECK(strstr(quire_error_detail(), "outside") != NULL);
    quire_cache_enter(a.cache);
    CHECK_STATUS(quire_cache_pin(a.cache, 1, NULL, NULL, &pin), QUIRE_MISUSE);
    CHECK(pin.payload == NULL);
    quire_cache_unpin(a.cache, &pin); /* the pin that was refused: counted */
    CHECK_STATUS(quire_cache_insert(a.cache, 1, &page), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_remove(a.cache, 1), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_destroy(a.cache), QUIRE_MISUSE);
    CHECK_STATUS(quire_cache_create(a.pool, &a.opt, &cache), QUIRE_MISUSE);
    /* of any pool, whatever caches there are */
    CHECK_STATUS(quire_pool_alloc(a.pool, 1, &seg), QUIRE_MISUSE);
    CHECK(seg == NULL);
    CHECK_STATUS(quire_pool_set_budget(a.pool, QUIRE_BUDGET_MIN), QUIRE_MISUSE);
    CHECK_OK(quire_pool_free(a.pool, held)); /* waits for nothing */
    quire_cache_exit(a.cache);
    CHECK_OK(quire_pool_alloc(a.pool, 1, &seg));
    CHECK_OK(quire_pool_free(a.pool, seg));
    CHECK_EQ(a.env.loads, 0);
    api_fini(&a);
}

static void test_kind_is_checked(void **state)
{
    struct quire_page page = { .weight_bytes = 1,
                               .kind = (enum quire_kind)QUIRE_KIND_COUNT };
    struct api a;

    (void)state;
    api_init(&a);
    page.payload = &page;
    CHECK_STATUS(quire_cache_insert(a.cache, 1, &page), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "kind") != NULL);
    api_fini(&a);
}

/* A forked child has no cache: each call says so. */
static void test_forked_child(void **state)
{
    struct api a;
    pid_t child;
    int status;

    (void)state;
    api_init(&a);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct quire_cache_stat st = { .size = sizeof(st) };
        struct quire_pin pin;
        bool ok = quire_cache_pin(a.cache, 1, NULL, NULL, &pin) ==
                      QUIRE_MISUSE &&
                  quire_cache_remove(a.cache, 1) == QUIRE_MISUSE &&
                  quire_cache_stat_get(a.cache, &st) == QUIRE_MISUSE &&
                  quire_cache_destroy(a.cache) == QUIRE_MISUSE;

        /* Not by exiting: a leak checker would look for what only the parent
         * still has. */
        if (ok)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    api_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_null_arguments),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_default_max_pages),
        cmocka_unit_test(test_misuse_of_sections),
        cmocka_unit_test(test_kind_is_checked),
        cmocka_unit_test(test_forked_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
