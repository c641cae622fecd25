/*
 * test_cache_census.c - who holds what: keys and numbers of pins in every
 * build, tags and threads in builds that note them (PC_CENSUS).
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/test_cache_env.h"

#define LINES_MAX 64

struct lines {
    unsigned n;
    char text[LINES_MAX][600];
};

static struct lines lines;

static void on_line(void *arg, quire_log_level level, const char *line)
{
    (void)arg;
    if (level == QUIRE_LOG_DEBUG || strstr(line, " look-ups") != NULL)
        return; /* figures of a cache that ends */
    CHECK(lines.n < LINES_MAX);
    snprintf(lines.text[lines.n++], sizeof(lines.text[0]), "%s", line);
}

static void begin(struct env *e, uint32_t max_pages)
{
    struct quire_pool_options popt = { .size = sizeof(popt),
                                       .budget_bytes = QUIRE_BUDGET_MIN };
    struct pc_options opt = { .max_pages = max_pages,
                              .load = env_load,
                              .removed = env_removed,
                              .ctx = e,
                              .log = { on_line, NULL } };

    memset(e, 0, sizeof(*e));
    memset(&lines, 0, sizeof(lines));
    e->weight = 4096;
    CHECK_OK(ra_pool_create(&popt, &e->pool));
    CHECK_OK(pc_cache_create(e->pool, &opt, &e->cache));
}

/* The line of `key`, or NULL. */
static const char *line_of(uint64_t key)
{
    char want[40];

    snprintf(want, sizeof(want), "key %llu pinned", (unsigned long long)key);
    for (unsigned i = 0; i < lines.n; i++)
        if (strstr(lines.text[i], want) != NULL)
            return lines.text[i];
    return NULL;
}

static uint64_t census(struct env *e)
{
    lines.n = 0;
    return pc_census(e->cache, QUIRE_LOG_INFO);
}

/* Does the line of `key` say so, in builds that know it? */
static void check_by(uint64_t key, const char *text)
{
    const char *line = line_of(key);

    CHECK(line != NULL);
#if PC_CENSUS
    if (text != NULL)
        CHECK(strstr(line, text) != NULL);
    else
        CHECK(strstr(line, ": by") == NULL);
#else
    (void)text;
    CHECK(strstr(line, ": by") == NULL);
#endif
}

static void test_census_names_the_holders(void **state)
{
    char want[100];
    uint32_t frame[3];
    struct env e;

    (void)state;
    begin(&e, 16);
    CHECK_EQ(census(&e), 0);
    CHECK_STR_EQ(lines.text[0], "cache: 0 pages are pinned");

    (void)pc_tag("cursor");
    frame[0] = env_pin(&e, 10);
    CHECK_EQ(env_pin(&e, 10), frame[0]);
    e.kind = QUIRE_KIND_INNER;
    e.weight = 500;
    frame[1] = env_pin(&e, 11);
    CHECK_EQ(pc_tag("writer") != NULL, PC_CENSUS);
    pc_repin(e.cache, frame[1]);
    (void)pc_tag(NULL);
    frame[2] = env_pin(&e, 12);
    CHECK_OK(pc_remove(e.cache, 12));
    env_touch(&e, 13);

    CHECK_EQ(census(&e), 3);
    CHECK_EQ(lines.n, 4);
    CHECK(strstr(line_of(10), "pinned 2 times, leaf of 4096 bytes") != NULL);
    snprintf(want, sizeof(want), ": by \"cursor\" of thread %lu, 2 times",
             (unsigned long)syscall(SYS_gettid));
    check_by(10, want);
    CHECK(strstr(line_of(11), "pinned 2 times, inner of 500 bytes") != NULL);
    check_by(11, "\"cursor\"");
    check_by(11, "\"writer\"");
    check_by(11, ", 1 time");
    CHECK(strstr(line_of(12), "pinned 1 times, removed, inner") != NULL);
    check_by(12, "\"no tag\"");
    CHECK(line_of(13) == NULL);

    CHECK_CASE("pins that are given back are struck out");
    pc_unpin(e.cache, frame[1]);
    pc_unpin(e.cache, frame[2]);
    CHECK_EQ(census(&e), 2);
    check_by(11, "\"cursor\""); /* the newest has gone */
#if PC_CENSUS
    CHECK(strstr(line_of(11), "writer") == NULL);
#endif
    pc_unpin(e.cache, frame[1]);
    pc_unpin(e.cache, frame[0]);
    pc_unpin(e.cache, frame[0]);
    CHECK_EQ(census(&e), 0);
    env_fini(&e);
}

/* An unpin strikes out its own thread's pin before another's. */
static void *pin_elsewhere(void *arg)
{
    (void)pc_tag("elsewhere");
    (void)env_pin(arg, 10);
    return NULL;
}

static void test_threads_keep_their_own(void **state)
{
    pthread_t thread;
    uint32_t frame;
    struct env e;

    (void)state;
    begin(&e, 16);
    (void)pc_tag("here");
    frame = env_pin(&e, 10);
    CHECK_EQ(pthread_create(&thread, NULL, pin_elsewhere, &e), 0);
    pthread_join(thread, NULL);
    pc_unpin(e.cache, frame); /* ours, though the other is newer */
    CHECK_EQ(census(&e), 1);
    check_by(10, "\"elsewhere\"");
    pc_unpin(e.cache, frame); /* another's, for want of our own */
    CHECK_EQ(census(&e), 0);
    (void)pc_tag(NULL);
    env_fini(&e);
}

/* A pin taken in a read section is one like others. */
static void test_pins_of_sections(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    begin(&e, 16);
    env_touch(&e, 10);
    pc_read_enter();
    CHECK(pc_get(e.cache, 10, NULL, &frame) != NULL);
    (void)pc_tag("section");
    CHECK(pc_pin_frame(e.cache, frame, 10));
    pc_read_exit();
    (void)pc_tag(NULL);
    CHECK_EQ(census(&e), 1);
    check_by(10, "\"section\"");
    pc_unpin(e.cache, frame);
    env_fini(&e);
}

#if PC_CENSUS
/* More pins than notes: counted, and nothing goes wrong. */
static void test_more_pins_than_notes(void **state)
{
    uint32_t frame;
    struct env e;

    (void)state;
    begin(&e, 16);
    frame = env_pin(&e, 10);
    for (unsigned i = 1; i < PC_HOLDERS + 5; i++)
        pc_repin(e.cache, frame);
    CHECK_EQ(pc_census_lost(e.cache), 5);
    CHECK_EQ(census(&e), 1);
    CHECK_STR_EQ(lines.text[2],
                 "cache: of 5 pins it is not known who took them");
    for (unsigned i = 0; i < PC_HOLDERS + 5; i++)
        pc_unpin(e.cache, frame);
    CHECK_EQ(pc_census_lost(e.cache), 0);
    pc_unpin(e.cache, frame); /* one too many: no note is struck out */
    CHECK_EQ(e.cache->misuses, 1);
    CHECK_EQ(census(&e), 0);
    env_fini(&e);
}
#endif

/* Of the many who hold a page as many are named as a line has room for. */
static void *pin_named(void *arg)
{
    char tag[40];

    snprintf(tag, sizeof(tag), "a holder with a long name, no. %u",
             (unsigned)pthread_self() % 1000);
    (void)pc_tag(tag);
    (void)env_pin(arg, 10);
    return NULL;
}

static void test_long_lists_are_cut(void **state)
{
    pthread_t thread;
    uint32_t frame;
    struct env e;

    (void)state;
    begin(&e, 16);
    frame = env_touch(&e, 10);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQ(pthread_create(&thread, NULL, pin_named, &e), 0);
        pthread_join(thread, NULL);
    }
    CHECK_EQ(census(&e), 1);
    check_by(10, "a holder with a long name, no. ");
    CHECK(strlen(line_of(10)) < 500);
    for (unsigned i = 0; i < 20; i++)
        pc_unpin(e.cache, frame);
    env_fini(&e);
}

/* Closing with pins outstanding says whose they are. */
static void test_closing_tells(void **state)
{
    uint32_t frame;
    void *kept;
    struct env e;

    (void)state;
    begin(&e, 16);
    (void)pc_tag("forgetful");
    frame = env_pin(&e, 77);
    (void)pc_tag(NULL);
    kept = atomic_load(&e.cache->frames[frame].payload);
    CHECK_EQ(pc_cache_destroy(e.cache, true), 1);
    CHECK_EQ(lines.n, 1);
    CHECK(strstr(lines.text[0], "cache: closed with key 77 pinned 1 times") ==
          lines.text[0]);
    check_by(77, "\"forgetful\"");
    page_free(&e, kept, 4096);
    CHECK_EQ(ra_pool_destroy(e.pool, false), 0);
}

/* ---- in public ---- */

static quire_status load_one(void *ctx, uint64_t key, void *arg,
                             struct quire_page *page)
{
    (void)arg;
    (void)key;
    page->payload = ctx;
    page->weight_bytes = 1;
    page->kind = QUIRE_KIND_FRAGMENT;
    return QUIRE_OK;
}

static void removed_one(void *ctx, uint64_t key, const struct quire_page *page,
                        enum quire_cause cause)
{
    (void)ctx;
    (void)key;
    (void)page;
    (void)cause;
}

static void test_public_census(void **state)
{
    struct quire_cache_options opt = { .size = sizeof(opt),
                                       .capacity_bytes = 1 << 20,
                                       .load = load_one,
                                       .removed = removed_one,
                                       .ctx = &opt,
                                       .log = on_line };
    struct quire_pool *pool;
    struct quire_cache *cache;
    struct quire_pin pin;
    uint64_t n = 99;

    (void)state;
    memset(&lines, 0, sizeof(lines));
    CHECK_OK(quire_pool_create(NULL, &pool));
    CHECK_OK(quire_cache_create(pool, &opt, &cache));
    CHECK_STATUS(quire_cache_census(NULL, &n), QUIRE_MISUSE);
    CHECK_EQ(n, 99);
    CHECK_OK(quire_cache_census(cache, &n));
    CHECK_EQ(n, 0);
    CHECK(quire_cache_tag("mine") == NULL);
    CHECK_OK(quire_cache_pin(cache, 5, NULL, NULL, &pin));
    (void)quire_cache_tag(NULL);
    lines.n = 0;
    CHECK_OK(quire_cache_census(cache, NULL));
    CHECK(strstr(line_of(5), "fragment of 1 bytes") != NULL);
    check_by(5, "\"mine\"");

    CHECK_CASE("destroying says so too");
    lines.n = 0;
    CHECK_STATUS(quire_cache_destroy(cache), QUIRE_BUSY);
    check_by(5, "\"mine\"");
    quire_cache_unpin(cache, &pin);
    CHECK_OK(quire_cache_destroy(cache));
    CHECK_OK(quire_pool_destroy(pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_census_names_the_holders),
        cmocka_unit_test(test_threads_keep_their_own),
        cmocka_unit_test(test_pins_of_sections),
#if PC_CENSUS
        cmocka_unit_test(test_more_pins_than_notes),
#endif
        cmocka_unit_test(test_long_lists_are_cut),
        cmocka_unit_test(test_closing_tells),
        cmocka_unit_test(test_public_census),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
