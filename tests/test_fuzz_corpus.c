/*
 * The targets of lib_fuzz.h with the seeds they make, with seeds that are
 * changed at random, and with the inputs kept in tests/corpus/. A target ends
 * the program when an answer is not one that is allowed.
 */
#include <dirent.h>

#include "tests/lib_fuzz.h"
#include "tests/test.h"

#define FROZEN_WHILE fuzz_making
#include "tests/frozen.h"

static uint8_t buf[FUZZ_LEN_MAX];

static void seeds_run(const struct fuzz_target *t)
{
    size_t len;
    unsigned i;

    fuzz_input = "a seed";
    for (i = 0; (len = t->seed(i, buf, sizeof(buf))) != 0; i++) {
        CHECK(len <= sizeof(buf));
        t->run(buf, len);
    }
    CHECK(i > 0);
    t->run(buf, 0);
}

/* Each seed takes a target to where something is accepted. */
static void seeds_good(const struct fuzz_target *t, uint64_t least)
{
    fuzz_accepted = 0;
    seeds_run(t);
    CHECK(fuzz_accepted >= least);
}

static void changed_run(const struct fuzz_target *t, uint64_t nrounds)
{
    uint64_t rand = test_seed();
    unsigned nseeds = 0;

    fuzz_input = "a changed seed";
    while (t->seed(nseeds, buf, sizeof(buf)) != 0)
        nseeds++;
    for (uint64_t i = 0; i < nrounds; i++) {
        size_t len = t->seed((unsigned)test_rand_below(&rand, nseeds), buf,
                             sizeof(buf));
        uint64_t nchanges = 1 + test_rand_below(&rand, 4);

        for (uint64_t k = 0; k < nchanges; k++)
            buf[test_rand_below(&rand, len)] = (uint8_t)test_rand(&rand);
        if (test_rand_below(&rand, 4) == 0)
            len -= test_rand_below(&rand, len);
        t->run(buf, len);
    }
}

static void kept_run(const struct fuzz_target *t)
{
    char dir[200];
    char path[600];
    DIR *d;

    snprintf(dir, sizeof(dir), "tests/corpus/%s", t->name);
    d = opendir(dir);
    CHECK(d != NULL); /* tests are run from the top folder */
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        FILE *f;
        size_t len;

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        f = fopen(path, "rb");
        CHECK(f != NULL);
        len = fread(buf, 1, sizeof(buf), f);
        fclose(f);
        fuzz_input = path;
        t->run(buf, len);
    }
    fuzz_input = NULL;
    closedir(d);
}

static void target_run(const struct fuzz_target *t, uint64_t least,
                       uint64_t nrounds)
{
    seeds_good(t, least);
    kept_run(t);
    changed_run(t, nrounds);
}

static void test_page(void **state)
{
    (void)state;
    target_run(&fuzz_page, 24, test_rounds(1000));
}

static void test_fragment(void **state)
{
    (void)state;
    target_run(&fuzz_fragment, 6, test_rounds(10000));
}

static void test_record(void **state)
{
    (void)state;
    target_run(&fuzz_record, 4, test_rounds(5000));
}

static void test_super(void **state)
{
    (void)state;
    target_run(&fuzz_super, 3, test_rounds(5000));
}

static void test_file(void **state)
{
    (void)state;
    /* each store as it is, opened twice, three revisions at a time */
    target_run(&fuzz_file, 36, test_rounds(300));
}

/* Every target is in the table, under its own name, and has a corpus. */
static void test_table(void **state)
{
    unsigned n = 0;

    (void)state;
    for (; fuzz_targets[n] != NULL; n++)
        CHECK(fuzz_targets[n]->name[0] != '\0');
    CHECK_EQ(n, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),   cmocka_unit_test(test_fragment),
        cmocka_unit_test(test_record), cmocka_unit_test(test_super),
        cmocka_unit_test(test_file),   cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
