/*
 * test_tools_says.c - messages that no other test of the program waits for: what
 * it says of stores made by others, of inputs that can't be read, of options
 * that don't go together.
 */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512];  /* of the test that runs */
static char db[600];   /* dir/t.quire */
static char file[600]; /* dir/in */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(file, sizeof(file), dir, "in");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

/* Trees whose description and records don't fit, as raw dumps. */
static void test_foreign_records(void **state)
{
    static const char csv[] =
        "quire raw 1\nmeta quire records 1\\nformat csv\\nkey text 1 1:k\\n"
        "columns 2\\n\na\t\\x05b\nend 1\n";
    static const char number[] =
        "quire raw 1\nmeta quire records 1\\nformat csv\\nkey int 1 1:k\\n"
        "columns 1\\n\nabc\t\\x01a\nend 1\n";
    static const struct {
        const char *name;
        const char *dump;
        const char *args[4];
        const char *says;
    } cases[] = {
        { "no row", csv, { "scan" }, "a record is no row of fields" },
        { "no row, in another form",
          csv,
          { "scan", "--format", "ndjson", "--fields=#1" },
          "a record is no row of fields" },
        { "no number",
          number,
          { "scan", "--keys" },
          "a key does not fit the tree's description" },
    };
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[8] = { cases[i].args[0], "--db", db };

        CHECK_CASE(cases[i].name);
        run_with(&r, cases[i].dump, strlen(cases[i].dump), "load", "--db", db,
                 "--format", "raw", "-", NULL);
        CHECK_RUN(&r, 0);
        for (size_t k = 1; k < 4; k++)
            args[2 + k] = cases[i].args[k];
        run_argv(&r, "", 0, args);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, cases[i].says);
        unlink(db);
    }
    run_free(&r);
}

static void test_inputs(void **state)
{
    struct run r = { 0 };
    char gz[600];

    (void)state;
    run(&r, "load", "--db", db, "--key", "k", "/proc/self/mem", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "/proc/self/mem: at byte 0: Input/output error");
    CHECK(access(db, F_OK) != 0);
    test_path(gz, sizeof(gz), dir, "in.csv.gz");
    write_file(gz, "no gzip", 7);
    run(&r, "load", "--db", db, "--key", "k", gz, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "in.csv.gz: near byte 7: ");
    CHECK_SAYS(&r, "the file is damaged or not what its name says");
    run_free(&r);
}

/* Records of the portals' form that don't fit their columns. */
static void test_portal_columns(void **state)
{
    static const char in[] =
        "{\"meta\":{\"view\":{\"columns\":[{\"fieldName\":\"a\"},"
        "{\"fieldName\":\"b\"}]}},\"data\":[[\"1\",2],[\"2\"],[\"3\",4,5]]}";
    struct run r = { 0 };

    (void)state;
    run_with(&r, in, sizeof(in) - 1, "load", "--db", db, "--format", "json",
             "--key", "a", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "it has 1 values, fewer than the document names columns");
    CHECK_SAYS(&r, "it has more values than the document names columns");
    run(&r, "scan", "--db", db, NULL);
    CHECK_STR_EQ(r.out, "{\"a\":\"1\",\"b\":2}\n");
    run(&r, "get", "--db", db, "7", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "revision 1 has no key 7");
    run(&r, "dump", "--db", db, "--format", "raw", "--fields", "a", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "--format raw has no fields: leave --fields out");
    run_free(&r);
}

static void test_mirror_needs_its_tree(void **state)
{
    struct run r = { 0 };

    (void)state;
    run(&r, "put", "--db", db, "--tree",
        "quire load --mirror: keys of the input", "k", "v", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "k\n1\n", 4, "load", "--db", db, "--key", "k", "--mirror", "-",
             NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "which --mirror needs for itself");
    run_free(&r);
}

/* A file that may not grow is a full disk to a load: it fails, says so, and
 * what was committed is there. */
static void test_file_limit(void **state)
{
    struct rlimit old;
    struct rlimit small;
    struct run r = { 0 };
    uint64_t committed;

    (void)state;
    run(&r, "gen", "--shape", "crimes", "--records", "40000", NULL);
    CHECK_RUN(&r, 0);
    write_file(file, r.out, r.out_len);
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 2 << 20;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    run(&r, "load", "--db", db, "--key", "ID:int", "--commit-every", "1000",
        file, NULL);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the load has failed");
    committed = run_figure(&r, "records committed");
    CHECK(committed > 0 && committed < 40000);
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records"), committed);
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_foreign_records), TEST(test_inputs),
        TEST(test_portal_columns),  TEST(test_mirror_needs_its_tree),
        TEST(test_file_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
