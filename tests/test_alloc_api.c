/*
 * test_alloc_api.c - quire_pool_* as an embedder meets it: checked arguments,
 * options, statuses in words, a forked child; and the system's own table.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/ra.h"
#include "tests/test.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static struct quire_pool *make_pool(void)
{
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
    };
    struct quire_pool *pool;

    CHECK_OK(quire_pool_create(&opt, &pool));
    return pool;
}

static void test_defaults(void **state)
{
    struct quire_pool *pool;
    struct quire_pool_stat st = { .size = sizeof(st) };

    (void)state;
    CHECK_OK(quire_pool_create(NULL, &pool));
    CHECK_OK(quire_pool_stat_get(pool, &st));
    CHECK_EQ(st.size, sizeof(st));
    CHECK_EQ(st.budget_bytes, QUIRE_BUDGET_DEFAULT);
    CHECK_EQ(st.in_use_bytes, 0);
    CHECK_EQ(st.regions, 0);
    CHECK_OK(quire_pool_destroy(pool));
}

static void test_options_are_checked(void **state)
{
    static const struct {
        const char *name;
        uint64_t budget;
        uint64_t virt;
        uint64_t region;
        quire_status want;
        const char *detail; /* what it names */
    } cases[] = {
        { "least budget", 8 * MIB, 0, 0, QUIRE_OK, NULL },
        { "below it", 8 * MIB - 1, 0, 0, QUIRE_INVAL, "budget_bytes" },
        { "one byte", 1, 0, 0, QUIRE_INVAL, "budget_bytes" },
        { "most", UINT64_MAX, 0, 0, QUIRE_INVAL, "budget_bytes" },
        { "odd budget", 9 * MIB + 1, 0, 0, QUIRE_OK, NULL },
        { "virtual as budget", 8 * MIB, 8 * MIB, 0, QUIRE_OK, NULL },
        { "virtual below", 8 * MIB, 8 * MIB - 1, 0, QUIRE_INVAL,
          "virtual_bytes" },
        { "virtual beyond tables", 8 * MIB, 1024 * GIB, 0, QUIRE_INVAL,
          "virtual_bytes" },
        { "most virtual", 8 * MIB, UINT64_MAX, 0, QUIRE_INVAL,
          "virtual_bytes" },
        { "least region", 8 * MIB, 0, 512 * KIB, QUIRE_OK, NULL },
        { "region too small", 8 * MIB, 0, 256 * KIB, QUIRE_INVAL,
          "region_bytes" },
        { "region no power of two", 8 * MIB, 0, MIB + 4096, QUIRE_INVAL,
          "region_bytes" },
        { "greatest region", 8 * MIB, 0, 64 * MIB, QUIRE_OK, NULL },
        { "region too large", 8 * MIB, 0, 128 * MIB, QUIRE_INVAL,
          "region_bytes" },
        { "region beyond virtual", 8 * MIB, 32 * MIB, 64 * MIB, QUIRE_INVAL,
          "virtual_bytes" },
        { "large", 64 * GIB, 0, 0, QUIRE_OK, NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quire_pool_options opt = {
            .size = sizeof(opt),
            .budget_bytes = cases[i].budget,
            .virtual_bytes = cases[i].virt,
            .region_bytes = (uint32_t)cases[i].region,
            .background = true,
        };
        struct quire_pool *pool = (struct quire_pool *)&opt;
        void *seg;

        CHECK_CASE(cases[i].name);
        CHECK_STATUS(quire_pool_create(&opt, &pool), cases[i].want);
        if (cases[i].want == QUIRE_OK) {
            CHECK_OK(quire_pool_alloc(pool, QUIRE_SEG_MAX, &seg));
            CHECK_OK(quire_pool_free(pool, seg));
            CHECK_OK(quire_pool_destroy(pool));
        } else {
            CHECK_EQ(pool, NULL);
            CHECK(strstr(quire_error_detail(), cases[i].detail) != NULL);
        }
    }
}

static void test_size_fields(void **state)
{
    struct quire_pool_options opt = { .size = sizeof(opt) - 1 };
    struct quire_sys sys = *quire_sys_default();
    struct {
        struct quire_pool_options opt;
        char later[40];
    } longer = { .opt = { .size = sizeof(longer) } };
    struct {
        struct quire_pool_stat st;
        char later[40];
    } st;
    struct quire_pool *pool;

    (void)state;
    CHECK_STATUS(quire_pool_create(&opt, &pool), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "size") != NULL);
    opt.size = 0;
    CHECK_STATUS(quire_pool_create(&opt, &pool), QUIRE_INVAL);
    opt.size = sizeof(opt);
    opt.sys = &sys;
    sys.size = 8;
    CHECK_STATUS(quire_pool_create(&opt, &pool), QUIRE_INVAL);
    CHECK(strstr(quire_error_detail(), "sys.size") != NULL);
    sys.size = sizeof(sys);
    sys.commit = NULL;
    CHECK_STATUS(quire_pool_create(&opt, &pool), QUIRE_INVAL);

    /* a program compiled against a later header */
    memset(longer.later, 0xff, sizeof(longer.later));
    CHECK_OK(quire_pool_create(&longer.opt, &pool));
    memset(&st, 0xff, sizeof(st));
    st.st.size = sizeof(st.st) - 1;
    CHECK_STATUS(quire_pool_stat_get(pool, &st.st), QUIRE_INVAL);
    st.st.size = sizeof(st);
    CHECK_OK(quire_pool_stat_get(pool, &st.st));
    CHECK_EQ(st.st.size, sizeof(st));
    CHECK_EQ(st.st.misuses, 0);
    for (size_t i = 0; i < sizeof(st.later); i++)
        CHECK(st.later[i] == 0);
    CHECK_OK(quire_pool_destroy(pool));
}

static void test_arguments_are_checked(void **state)
{
    struct quire_pool *pool = make_pool();
    struct quire_pool_stat st = { .size = sizeof(st) };
    void *seg = pool;

    (void)state;
    CHECK_STATUS(quire_pool_create(NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_pool_alloc(NULL, 1, &seg), QUIRE_MISUSE);
    CHECK_EQ(seg, NULL);
    CHECK_STATUS(quire_pool_alloc(pool, 1, NULL), QUIRE_MISUSE);
    seg = pool;
    CHECK_STATUS(quire_pool_alloc(pool, 0, &seg), QUIRE_INVAL);
    CHECK_EQ(seg, NULL);
    CHECK(strstr(quire_error_detail(), "nbytes is 0") != NULL);
    CHECK_STATUS(quire_pool_alloc(pool, QUIRE_SEG_MAX + 1, &seg), QUIRE_INVAL);
    CHECK_STATUS(quire_pool_alloc(pool, SIZE_MAX, &seg), QUIRE_INVAL);
    CHECK_STATUS(quire_pool_free(NULL, &st), QUIRE_MISUSE);
    CHECK_STATUS(quire_pool_free(pool, &st), QUIRE_MISUSE);
    CHECK_OK(quire_pool_free(pool, NULL));
    CHECK_STATUS(quire_pool_set_pressure(NULL, NULL, NULL), QUIRE_MISUSE);
    CHECK_OK(quire_pool_set_pressure(pool, NULL, NULL));
    CHECK_STATUS(quire_pool_stat_get(NULL, &st), QUIRE_MISUSE);
    CHECK_STATUS(quire_pool_stat_get(pool, NULL), QUIRE_MISUSE);
    CHECK_EQ(quire_pool_sweep(NULL), 0);
    CHECK_OK(quire_pool_destroy(NULL));
    CHECK_OK(quire_pool_stat_get(pool, &st));
    CHECK_EQ(st.misuses, 1);
    CHECK_OK(quire_pool_destroy(pool));
}

static void test_destroy_refuses_a_pool_in_use(void **state)
{
    struct quire_pool *pool = make_pool();
    void *seg;
    void *table;

    (void)state;
    CHECK_OK(quire_pool_alloc(pool, 100, &seg));
    CHECK_STATUS(quire_pool_destroy(pool), QUIRE_BUSY);
    memset(seg, 1, 100);
    CHECK_OK(quire_pool_free(pool, seg));
    CHECK_OK(ra_table_alloc((struct ra_pool *)pool, 1, &table));
    CHECK_STATUS(quire_pool_destroy(pool), QUIRE_BUSY);
    ra_table_free((struct ra_pool *)pool, table, 1);
    CHECK(quire_pool_sweep(pool) > 0);
    CHECK_EQ(quire_pool_sweep(pool), 0);
    CHECK_OK(quire_pool_destroy(pool));
}

static uint64_t set_inside(void *arg, uint64_t nbytes)
{
    struct quire_pool *pool = arg;
    void *seg;

    (void)nbytes;
    CHECK_STATUS(quire_pool_set_pressure(pool, NULL, NULL), QUIRE_MISUSE);
    CHECK_STATUS(quire_pool_alloc(pool, QUIRE_SEG_MAX, &seg), QUIRE_NOMEM);
    return 0;
}

static void test_callback_may_not_replace_itself(void **state)
{
    struct quire_pool *pool = make_pool();
    void *segs[64];
    unsigned n = 0;
    struct quire_pool_stat st = { .size = sizeof(st) };

    (void)state;
    CHECK_OK(quire_pool_set_pressure(pool, set_inside, pool));
    while (quire_pool_alloc(pool, QUIRE_SEG_MAX, &segs[n]) == QUIRE_OK)
        CHECK(++n < 64);
    CHECK_OK(quire_pool_stat_get(pool, &st));
    CHECK(st.pressure_calls >= 1); /* and again while it waited */
    CHECK_EQ(st.waits, 1);
    while (n > 0)
        CHECK_OK(quire_pool_free(pool, segs[--n]));
    CHECK_OK(quire_pool_destroy(pool));
}

/* In a forked child the pool is not there, and says so. */
static void test_forked_child_is_refused(void **state)
{
    struct quire_pool *pool = make_pool();
    struct quire_pool_stat st = { .size = sizeof(st) };
    void *seg;
    void *more;
    pid_t child;
    int status;
    int fd[2];

    (void)state;
    CHECK_OK(quire_pool_alloc(pool, 100, &seg));
    memset(seg, 1, 100);
    CHECK_EQ(pipe(fd), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bool ok = quire_pool_alloc(pool, 1, &more) == QUIRE_MISUSE &&
                  quire_pool_free(pool, seg) == QUIRE_MISUSE &&
                  quire_pool_stat_get(pool, &st) == QUIRE_MISUSE &&
                  quire_pool_set_pressure(pool, NULL, NULL) == QUIRE_MISUSE &&
                  quire_pool_sweep(pool) == 0 &&
                  quire_pool_destroy(pool) == QUIRE_MISUSE &&
                  ra_pool_forked((struct ra_pool *)pool) &&
                  /* the segment isn't there: the kernel can't read it */
                  write(fd[1], seg, 100) < 0 && errno == EFAULT;

        /* Not by exiting: a leak checker would look for what only the
         * parent still has. */
        if (ok)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(!ra_pool_forked((struct ra_pool *)pool));
    CHECK_EQ(write(fd[1], seg, 100), 100);
    close(fd[0]);
    close(fd[1]);
    CHECK_OK(quire_pool_free(pool, seg));
    CHECK_OK(quire_pool_destroy(pool));
}

/* ---- words ---- */

static void test_every_status_has_its_words(void **state)
{
    (void)state;
    CHECK_STR_EQ(quire_strerror(QUIRE_OK), "success");
    for (int rc = QUIRE_MISMATCH; rc <= 0; rc++) {
        CHECK(strcmp(quire_strerror((quire_status)rc), "unknown status") != 0);
        for (int other = QUIRE_MISMATCH; other < rc; other++)
            CHECK(strcmp(quire_strerror((quire_status)rc),
                         quire_strerror((quire_status)other)) != 0);
    }
    CHECK_STR_EQ(quire_strerror((quire_status)1), "unknown status");
    CHECK_STR_EQ(quire_strerror((quire_status)(QUIRE_MISMATCH - 1)),
                 "unknown status");
    CHECK_STR_EQ(quire_version(), "0.1.0");
}

static void *fresh_thread(void *arg)
{
    (void)arg;
    CHECK_STR_EQ(quire_error_detail(), "");
    (void)ra_fail(QUIRE_IO, "in the other thread");
    return NULL;
}

static void test_details_belong_to_threads(void **state)
{
    char longest[2000];
    pthread_t t;

    (void)state;
    CHECK_EQ(ra_fail(QUIRE_CORRUPT, "page %d", 7), QUIRE_CORRUPT);
    CHECK_EQ(pthread_create(&t, NULL, fresh_thread, NULL), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_STR_EQ(quire_error_detail(), "page 7");
    /* the old detail may be part of the new one */
    (void)ra_fail(QUIRE_IO, "while loading: %s", quire_error_detail());
    CHECK_STR_EQ(quire_error_detail(), "while loading: page 7");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    (void)ra_fail(QUIRE_IO, "%s", longest);
    CHECK_EQ(strlen(quire_error_detail()), 511);
}

/* ---- the system's own table ---- */

static void set_flag(void *arg)
{
    *(int *)arg = 42;
}

static void test_system_table(void **state)
{
    const struct quire_sys *sys = quire_sys_default();
    int flag = 0;
    void *thread;
    void *addr;
    unsigned char *p;

    (void)state;
    CHECK_EQ(sys->size, sizeof(*sys));
    for (size_t align = 4096; align <= 64 * MIB; align *= 4) {
        size_t nbytes = align < MIB ? MIB : align;

        CHECK_EQ(sys->map(sys->ctx, nbytes, align, &addr), 0);
        CHECK_EQ((uintptr_t)addr % align, 0);
        p = addr;
        CHECK_EQ(sys->commit(sys->ctx, p + 4096, 8192), 0);
        CHECK(p[4096] == 0 && p[4096 + 8191] == 0);
        memset(p + 4096, 9, 8192);
        CHECK_EQ(sys->decommit(sys->ctx, p + 4096, 4096), 0);
        CHECK_EQ(sys->commit(sys->ctx, p + 4096, 4096), 0);
        CHECK(p[4096] == 0);
        CHECK(p[8192] == 9);
        sys->unmap(sys->ctx, addr, nbytes);
    }
    CHECK(sys->map(sys->ctx, (size_t)1 << 60, 4096, &addr) < 0);
    CHECK(sys->map(sys->ctx, SIZE_MAX - 4095, MIB, &addr) < 0);
    CHECK_EQ(sys->thread_create(sys->ctx, set_flag, &flag, &thread), 0);
    sys->thread_join(sys->ctx, thread);
    CHECK_EQ(flag, 42);
    p = ra_obj_alloc(sys, 100);
    CHECK(p != NULL);
    for (unsigned i = 0; i < 100; i++)
        CHECK(p[i] == 0);
    ra_obj_free(sys, p);
    ra_obj_free(sys, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_size_fields),
        cmocka_unit_test(test_arguments_are_checked),
        cmocka_unit_test(test_destroy_refuses_a_pool_in_use),
        cmocka_unit_test(test_callback_may_not_replace_itself),
        cmocka_unit_test(test_forked_child_is_refused),
        cmocka_unit_test(test_every_status_has_its_words),
        cmocka_unit_test(test_details_belong_to_threads),
        cmocka_unit_test(test_system_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
