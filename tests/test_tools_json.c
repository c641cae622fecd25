/*
 * test_tools_json.c - `quire load --format json`: documents as a stream of
 * records, and JSON pointers as keys.
 */
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512]; /* of the test that runs */
static char db[600];  /* dir/t.quire */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

#define META(names) "{\"meta\":{\"view\":{\"columns\":[" names "]}},"

static void test_documents(void **state)
{
    static const struct {
        const char *name;
        const char *args[4];
        const char *in;
        int status;
        const char *out;  /* of scan */
        const char *says; /* NULL: nothing in particular */
    } cases[] = {
        { "root array",
          { "--key", "id" },
          " [ {\"id\" : 2.50, \"t\":\"a b\\n\"} ,\n{\"id\":1}\n] ",
          0,
          "{\"id\":1}\n{\"id\" : 2.50, \"t\":\"a b\\n\"}\n",
          NULL },
        { "empty array", { "--key", "id" }, "[]", 0, "", NULL },
        { "data",
          { "--key", "id" },
          "{\"x\":[[1],{\"data\":2}],\"data\":[{\"id\":1}],\"y\":[{\"id\":9}]}",
          0,
          "{\"id\":1}\n",
          NULL },
        { "pointer",
          { "--key", "id", "--records", "/a/1/b~1c" },
          "{\"a\":[{\"b/c\":[{\"id\":0}]},{\"b/c\":[{\"id\":1}]}]}",
          0,
          "{\"id\":1}\n",
          NULL },
        { "pointers as keys",
          { "--key", "/a/b,/c/1:int" },
          "[{\"a\":{\"b\":\"x\"},\"c\":[0,10]},{\"a\":{\"b\":\"x\"},\"c\":"
          "[0,9]}]",
          0,
          "{\"a\":{\"b\":\"x\"},\"c\":[0,9]}\n"
          "{\"a\":{\"b\":\"x\"},\"c\":[0,10]}\n",
          NULL },
        { "pointer to nothing",
          { "--key", "/a/b" },
          "[{\"a\":{}},{\"a\":{\"b\":null}},{\"a\":{\"b\":[]}},"
          "{\"a\":{\"b\":1,\"b\":2}},{\"a\":{\"b\":1}}]",
          3,
          "{\"a\":{\"b\":1}}\n",
          "records rejected: 4" },
        { "portal form",
          { "--key", ":sid" },
          META(
              "{\"name\":\"s\",\"fieldName\":\":sid\"},{\"fieldName\":\"v\"}") "\"data\":[[\"b\",[1, 2]],[\"a\",null]]}",
          0,
          "{\":sid\":\"a\",\"v\":null}\n{\":sid\":\"b\",\"v\":[1,2]}\n",
          NULL },
        { "portal form, wrong numbers of values",
          { "--key", "a" },
          META(
              "{\"fieldName\":\"a\"},{\"fieldName\":\"b\"}") "\"data\":[[1],[2,3,4],[5,6]]}",
          3,
          "{\"a\":5,\"b\":6}\n",
          "rejected, wrong column count: 2" },
        { "meta after data",
          { "--key", "a" },
          "{\"data\":[[1]],\"meta\":{\"view\":{\"columns\":[]}}}",
          1,
          NULL,
          "meta must come before data" },
        { "meta after data, all read at once",
          { "--key", "a" },
          "{\"data\":[[1]],\"meta\":{\"view\":{\"columns\":[{\"fieldName\":"
          "\"a\"}]}}}",
          1,
          NULL,
          "meta must come before data" },
        { "records that are no objects",
          { "--key", "a" },
          "[1, \"x\", null, [2], {\"a\":1}]",
          3,
          "{\"a\":1}\n",
          "rejected, broken JSON: 4" },
        { "no array there",
          { "--key", "a" },
          "{\"data\":{}}",
          1,
          NULL,
          "the records are not in an array there" },
        { "nothing there",
          { "--key", "a" },
          "{\"a\":[]}",
          1,
          NULL,
          "name its place with --records" },
        { "twice there",
          { "--key", "a" },
          "{\"data\":[],\"data\":[]}",
          1,
          NULL,
          "at byte 19: there is a second array of records" },
        { "broken",
          { "--key", "a" },
          "[{\"a\":1},{\"a\":}]",
          1,
          NULL,
          "broken JSON" },
        { "ends too early", { "--key", "a" }, "[{\"a\":1}", 1, NULL, NULL },
        { "more behind it", { "--key", "a" }, "[] []", 1, NULL, "broken JSON" },
        { "nothing at all", { "--key", "a" }, "", 1, NULL, NULL },
        { "bad pointer",
          { "--key", "a", "--records", "a" },
          "[]",
          2,
          NULL,
          "a JSON pointer begins with a slash" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[16] = { "load", "--db", db, "--format", "json" };
        size_t n = 5;
        struct run r = { 0 };

        CHECK_CASE(cases[i].name);
        for (size_t k = 0; k < 4 && cases[i].args[k] != NULL; k++)
            args[n++] = cases[i].args[k];
        args[n++] = "-";
        run_argv(&r, cases[i].in, strlen(cases[i].in), args);
        CHECK_RUN(&r, cases[i].status);
        if (cases[i].says != NULL)
            CHECK_SAYS(&r, cases[i].says);
        if (cases[i].out != NULL) {
            run(&r, "scan", "--db", db, NULL);
            CHECK_RUN(&r, 0);
            CHECK_STR_EQ(r.out, cases[i].out);
        }
        run_free(&r);
        unlink(db);
    }
}

/* A document of many pieces, with records that they cut and one too long;
 * lines are counted; what was committed before a fault stays. */
static void test_many_pieces(void **state)
{
    char *in = malloc(4 << 20);
    size_t len = (size_t)sprintf(in, "[\n");
    struct run r = { 0 };

    (void)state;
    CHECK(in != NULL);
    for (int i = 0; i < 9000; i++) {
        len += (size_t)sprintf(in + len, "%s{\"id\":%d,\n\"t\":\"%*d\"}",
                               i > 0 ? "," : "", i, i % 300, i);
        if (i == 5000) {
            len += (size_t)sprintf(in + len, ",{\"id\":\"long\",\"t\":\"");
            memset(in + len, 'x', 500000);
            len += 500000;
            len += (size_t)sprintf(in + len, "\"}\n,{}");
        }
    }
    len += (size_t)sprintf(in + len, "]");
    run_with(&r, in, len, "load", "--db", db, "--format", "json", "--key",
             "id:int", "--max-record", "400000", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "no token ends within --max-record 400000 bytes");
    unlink(db);
    run_with(&r, in, len, "load", "--db", db, "--format", "json", "--key",
             "id:int", "--max-record", "490000", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_EQ(run_figure(&r, "records loaded"), 9000);
    CHECK_SAYS(&r, "standard input:5003: rejected: the record is over");
    CHECK_SAYS(&r, "standard input:5004: rejected: there is no member");
    run(&r, "scan", "--db", db, "--from", "8999", NULL);
    CHECK_SAYS(&r, "{\"id\":8999,\"t\":\"");
    unlink(db);
    in[len - 2] = ']';
    run_with(&r, in, len, "load", "--db", db, "--format", "json", "--key",
             "id:int", "--commit-every", "1000", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK(run_figure(&r, "records committed") >= 8000);
    free(in);
    run_free(&r);
}

/* A document that ends anywhere fails, and nothing worse. */
static void test_cut_anywhere(void **state)
{
    static const char in[] = META(
        "{\"fieldName\":\"a\"}") "\"data\":[[\"\\u00e9\"],[1e5]]}";
    struct run r = { 0 };

    (void)state;
    for (size_t len = 0; len < sizeof(in) - 1; len++) {
        run_with(&r, in, len, "load", "--db", db, "--format", "json", "--key",
                 "a", "-", NULL);
        CHECK_RUN(&r, 1);
        CHECK_EQ(run_figure(&r, "records committed"), 0);
    }
    run_with(&r, in, sizeof(in) - 1, "load", "--db", db, "--format", "json",
             "--key", "a", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), 2);
    run_free(&r);
}

/* Records before the broken place are loaded, however the document comes. */
static void test_broken_behind_records(void **state)
{
    static const char in[] = "[{\"a\":1},{\"a\":2},\n{\"a\":3]";
    struct run r = { 0 };

    (void)state;
    run_with(&r, in, sizeof(in) - 1, "load", "--db", db, "--format", "json",
             "--key", "a", "--commit-every", "1", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "standard input: at byte 24: broken JSON: ");
    CHECK_SAYS(&r, ": the load has failed: 2 records in 2 revisions are "
                   "committed, 0 after them are not\n");
    run(&r, "dump", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "{\"a\":1}\n{\"a\":2}\n");
    run_free(&r);
}

/* A string of many pieces, from a file and from a pipe, and behind it a record
 * that is committed though the pipe stays open. */
static void test_long_string(void **state)
{
    size_t len = (size_t)5 << 20;
    char *in = malloc(len + 100);
    size_t n = (size_t)sprintf(in, "[{\"id\":1,\"v\":\"");
    struct running p;
    struct run r = { 0 };
    char line[64];

    (void)state;
    CHECK(in != NULL);
    memset(in + n, '\\', len); /* an even number: each escapes the next */
    n += len;
    n += (size_t)sprintf(in + n, "\"},\n{\"id\":2}\n");
    run_start(&p, "load", "--db", db, "--format", "json", "--key", "id",
              "--commit-every", "1", "--ack", "-", NULL);
    run_feed(&p, in, n);
    CHECK(run_line(&p, line, sizeof(line)));
    CHECK(run_line(&p, line, sizeof(line)));
    CHECK_STR_EQ(line, "committed 2 2");
    run_feed(&p, "]", 1);
    run_finish(&p, &r);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.out_len, n - 2);
    CHECK_MEM_EQ(r.out, in + 1, n - 13);
    in[n++] = ']';
    run_with(&r, in, n, "load", "--db", db, "--format", "json", "--key", "id",
             "--mirror", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records unchanged"), 2);
    free(in);
    run_free(&r);
}

static void test_deep(void **state)
{
    struct run r = { 0 };
    char in[4000];

    (void)state;
    for (int depth = 1000; depth <= 1001; depth++) {
        memset(in, '[', (size_t)depth);
        memset(in + depth, ']', (size_t)depth);
        run_with(&r, in, (size_t)(2 * depth), "load", "--db", db, "--format",
                 "json", "--key", "a", "-", NULL);
        CHECK_RUN(&r, depth == 1000 ? 3 : 1);
        if (depth > 1000)
            CHECK_SAYS(&r, "at byte 1001: it is nested deeper than 1000");
    }
    run_free(&r);
}

static void test_portal_files(void **state)
{
    static const struct {
        const char *file;
        uint64_t records;
    } files[] = {
        { "data/sf-film-locations-socrata.json.zst", 1067 },
        { "data/chicago-crimes-2017-01-to-05-socrata-form.json.zst", 106622 },
    };
    struct run r = { 0 };
    char path[600];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        const char *args[] = { "load",  "--db", db,   "--memory", "32M",
                               "--key", ":sid", path, NULL };

        test_shared_path(path, sizeof(path), files[i].file);
        run_measured(&r, args);
        CHECK_RUN(&r, 0);
        CHECK_EQ(run_figure(&r, "records loaded"), files[i].records);
        CHECK_EQ(run_figure(&r, "records replaced"), 0);
        if (getenv("TEST_DIVISOR") == NULL ||
            strcmp(getenv("TEST_DIVISOR"), "1") == 0)
            CHECK(r.peak_kib <= (32 + 24) * 1024);
        unlink(db);
    }
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_documents),
        TEST(test_many_pieces),
        TEST(test_cut_anywhere),
        TEST(test_deep),
        TEST(test_broken_behind_records),
        TEST(test_portal_files),
        TEST(test_deep),
        TEST(test_long_string),
        TEST(test_portal_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
