/*
 * test_tools_forms.c - records printed in a form of choice: `quire dump`,
 * --format and --fields; and that the load of a dump equals the store.
 */
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512];   /* of the test that runs */
static char db[600];    /* dir/t.quire */
static char again[600]; /* dir/again.quire */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(again, sizeof(again), dir, "again.quire");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

static void load(const char *path, const char *in, size_t len,
                 const char *format, const char *key)
{
    struct run r = { 0 };

    run_with(&r, in, len, "load", "--db", path, "--format", format,
             key[0] == '-' ? key : "--key", key[0] == '-' ? "--" : key, "-",
             NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* What a tree of a format prints in a form. */
static void test_forms(void **state)
{
    static const char csv[] = "id,a b,c\n2,\"x,\"\"y\",\n1,\xc3\xa9,p\n";
    static const char json[] =
        "{\"id\":\"b\",\"n\":1.50,\"o\":{\"p\":[1,\"q\\n\"],\"a/b\":null}}\n"
        "{\"id\":\"a\",\"t\":true,\"s\":\"\\ud83d\\ude00\\\\\\u0041\"}\n";
    static const struct {
        const char *name;
        const char *format;
        const char *in;
        const char *args[4];
        int status;
        const char *out; /* or, on failure, what is said */
    } cases[] = {
        { "csv as it is",
          "csv",
          csv,
          { NULL },
          0,
          "id,a b,c\n1,\xc3\xa9,p\n2,\"x,\"\"y\",\n" },
        { "csv to tsv",
          "csv",
          csv,
          { "--format", "tsv" },
          0,
          "id\ta b\tc\n1\t\xc3\xa9\tp\n2\tx,\"y\t\n" },
        { "csv to ndjson",
          "csv",
          csv,
          { "--format", "ndjson" },
          0,
          "{\"id\":\"1\",\"a b\":\"\xc3\xa9\",\"c\":\"p\"}\n"
          "{\"id\":\"2\",\"a b\":\"x,\\\"y\",\"c\":\"\"}\n" },
        { "csv to json",
          "csv",
          csv,
          { "--format", "json", "--fields", "c,id" },
          0,
          "[\n{\"c\":\"p\",\"id\":\"1\"},\n{\"c\":\"\",\"id\":\"2\"}\n]\n" },
        { "fields by name and number",
          "csv",
          csv,
          { "--fields", "#3,a b,id" },
          0,
          "#3,a b,id\np,\xc3\xa9,1\n,\"x,\"\"y\",2\n" },
        { "one empty field",
          "csv",
          csv,
          { "--fields", "c" },
          0,
          "c\np\n\"\"\n" },
        { "no such field",
          "csv",
          csv,
          { "--fields", "d" },
          1,
          "no column is called \"d\"; its columns are: id,a b,c" },
        { "broken fields",
          "csv",
          csv,
          { "--fields", "\"d" },
          1,
          "it is not one CSV row of names" },
        { "the same field twice in JSON",
          "csv",
          csv,
          { "--fields", "id,id", "--format=ndjson" },
          1,
          "two columns are called \"id\"" },
        { "a tab in tsv",
          "csv",
          "id,a\n1,x\ty\n",
          { "--format", "tsv" },
          1,
          "field \"a\" of record 1 holds a tab or a line end" },
        { "no UTF-8 in JSON",
          "csv",
          "id,a\n1,\xff\n",
          { "--format", "json" },
          1,
          "record 1 is not UTF-8" },
        { "control bytes in JSON",
          "csv",
          "id,a\n1,\"\t\n\\\"\n",
          { "--format", "ndjson" },
          0,
          "{\"id\":\"1\",\"a\":\"\\u0009\\u000a\\\\\"}\n" },
        { "ndjson as it is",
          "ndjson",
          "{\"id\": 1 }\n",
          { NULL },
          0,
          "{\"id\": 1 }\n" },
        { "ndjson to json",
          "ndjson",
          "{\"id\": 2 }\n{\"id\":1}\n",
          { "--format", "json" },
          0,
          "[\n{\"id\":1},\n{\"id\": 2 }\n]\n" },
        { "members and pointers to csv",
          "ndjson",
          json,
          { "--fields", "id,n,/o/p/1,/o/p,t,s", "--format", "csv" },
          0,
          "id,n,/o/p/1,/o/p,t,s\na,,,,true,\xf0\x9f\x98\x80\\A\n"
          "b,1.50,\"q\n\",\"[1,\"\"q\\n\"\"]\",,\n" },
        { "members and pointers to ndjson",
          "ndjson",
          json,
          { "--fields", "id,n,/o/p/1,/o/a~1b" },
          0,
          "{\"id\":\"a\"}\n{\"id\":\"b\",\"n\":1.50,\"/o/p/1\":\"q\\n\","
          "\"/o/a~1b\":null}\n" },
        { "ndjson to csv without fields",
          "ndjson",
          json,
          { "--format", "csv" },
          1,
          "choose some with --fields" },
        { "tsv to csv",
          "tsv",
          "id\ta\n1\tx,\n",
          { "--format", "csv" },
          0,
          "id,a\n1,\"x,\"\n" },
        { "lines to ndjson",
          "lines",
          "b\na\"\n",
          { "--format", "ndjson" },
          0,
          "{\"line\":\"a\\\"\"}\n{\"line\":\"b\"}\n" },
        { "lines have no fields",
          "lines",
          "b\n",
          { "--fields", "a" },
          1,
          "have no fields" },
        { "no such form",
          "lines",
          "b\n",
          { "--format", "xml" },
          2,
          "--format xml: it is csv, tsv, ndjson, json" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const char *const commands[] = { "dump", "scan" };

        CHECK_CASE(cases[i].name);
        load(db, cases[i].in, strlen(cases[i].in), cases[i].format,
             strcmp(cases[i].format, "lines") == 0 ? "--no-header" : "id");
        for (size_t k = 0; k < ARRAY_LEN(commands); k++) {
            const char *args[10] = { commands[k], "--db", db };
            struct run r = { 0 };

            for (size_t n = 0; n < 4; n++)
                args[3 + n] = cases[i].args[n];
            run_argv(&r, "", 0, args);
            CHECK_RUN(&r, cases[i].status);
            if (cases[i].status == 0)
                CHECK_STR_EQ(r.out, cases[i].out);
            else
                CHECK_SAYS(&r, cases[i].out);
            run_free(&r);
        }
        unlink(db);
    }
}

static void test_table(void **state)
{
    struct run r = { 0 };

    (void)state;
    load(db, "id,name,n\n1,\xc3\xa9t\xc3\xa9,7\n22,a\tb,\n", 28, "csv", "id");
    run(&r, "scan", "--db", db, "--format", "table", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "id  name  n\n1   \xc3\xa9t\xc3\xa9   7\n"
                        "22  a\\tb  \n");
    run(&r, "get", "--db", db, "--format", "table", "--fields", "n,id", "1",
        NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "n  id\n7  1\n");
    run(&r, "get", "--db", db, "--fields", "n,id", "1", "22", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "7,1\n,22\n");
    run(&r, "get", "--db", db, "--format", "ndjson", "1", "22", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "{\"id\":\"22\",\"name\":\"a\\u0009b\",\"n\":\"\"}\n");
    run(&r, "scan", "--db", db, "--keys", "--format", "csv", NULL);
    CHECK_RUN(&r, 2);
    run_free(&r);
}

/* More rows than a table holds back keep the widths found so far. */
static void test_long_table(void **state)
{
    struct run r = { 0 };
    char *in = malloc(400000);
    size_t len = (size_t)sprintf(in, "id,v\n");

    (void)state;
    CHECK(in != NULL);
    for (int i = 0; i < 20000; i++)
        len += (size_t)sprintf(in + len, "%05d,%s\n", i,
                               i == 19999 ? "longer" : "x");
    load(db, in, len, "csv", "id");
    run(&r, "scan", "--db", db, "--format", "table", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "id     v\n00000  x\n");
    CHECK_SAYS(&r, "\n19999  longer\n");
    free(in);
    run_free(&r);
}

/* dump, load, dump: the same, at the newest revision and an old one. */
static void test_dump_loads_again(void **state)
{
    static const struct {
        const char *name;
        const char *format; /* loaded as */
        const char *form;   /* dumped as */
        const char *key;
        const char *in;
        size_t in_len; /* 0: strlen */
    } cases[] = {
        { "csv", "csv", "csv", "id",
          "id,\"a,\"\n1,\"p\nq\"\n2,\"\"\"\"\n3, x \n", 0 },
        { "csv with NUL", "csv", "csv", "id", "id,a\n\0,\0\n", 9 },
        { "one column", "csv", "csv", "--key-auto", "a\nx\n\"\"\ny\n", 0 },
        { "tsv", "tsv", "tsv", "id", "id\ta\n1\t\"x\n2\t\n", 0 },
        { "ndjson", "ndjson", "ndjson", "id", "{\"id\":1, \"x\":1.0e5}\n", 0 },
        { "lines", "lines", "lines", "--no-header", "b\n a\nc,\"\n", 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[8] = { "dump", "--db", db };
        struct run first = { 0 };
        struct run second = { 0 };

        CHECK_CASE(cases[i].name);
        load(db, cases[i].in,
             cases[i].in_len != 0 ? cases[i].in_len : strlen(cases[i].in),
             cases[i].format, cases[i].key);
        if (strcmp(cases[i].format, "lines") != 0) {
            args[3] = "--format";
            args[4] = cases[i].form;
        }
        run_argv(&first, "", 0, args);
        CHECK_RUN(&first, 0);
        load(again, first.out, first.out_len, cases[i].format, cases[i].key);
        args[2] = again;
        run_argv(&second, "", 0, args);
        CHECK_RUN(&second, 0);
        CHECK_EQ(second.out_len, first.out_len);
        CHECK_MEM_EQ(second.out, first.out, first.out_len);
        unlink(again);
        if (i == 0) {
            load(db, "id,\"a,\"\n9,new\n", 14, "csv", "id");
            run(&second, "dump", "--db", db, "--rev", "1", NULL);
            CHECK_RUN(&second, 0);
            CHECK_STR_EQ(second.out, first.out);
            run(&second, "dump", "--db", db, NULL);
            CHECK_SAYS(&second, "\n9,new\n");
        }
        unlink(db);
        run_free(&first);
        run_free(&second);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_forms),
        TEST(test_table),
        TEST(test_long_table),
        TEST(test_dump_loads_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
