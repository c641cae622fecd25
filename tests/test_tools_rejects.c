/*
 * test_tools_rejects.c - `quire load --rejects`: what is written down of
 * records that could not be loaded, and that reading finds its way back.
 */
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512];  /* of the test that runs */
static char db[600];   /* dir/t.quire */
static char file[600]; /* dir/rejects */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(file, sizeof(file), dir, "rejects");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

#define HEAD "input\tline\treason\trecord\n"

static void test_what_is_written(void **state)
{
    static const struct {
        const char *name;
        const char *format;
        const char *key;
        const char *in;
        const char *out; /* reasons are cut to their first eight bytes */
        const char *loaded;
    } cases[] = {
        { "none", "csv", "id", "id,a\n1,x\n", "", "id,a\n1,x\n" },
        { "columns and keys", "csv", "id", "id,a\n1\n,\"p,\nq\"\n2,x\n",
          "2\tit has 1\t1\n3\tkey fiel\t,\"p,\\nq\"\n", "id,a\n2,x\n" },
        { "quotes", "csv", "id",
          "id,a\n1,x\"y\n2,z\n3,\"a\"\"\nb\"q,\"r\r\n4,w\n",
          "2\ta quote \t1,x\"y\n4\ta quote \t3,\"a\"\"\\nb\"q,\"r\n",
          "id,a\n2,z\n4,w\n" },
        { "unterminated", "csv", "id", "id,a\n1,x\n2,\"y\n3,z\n",
          "3\ta quoted\t2,\"y\\n3,z\\n\n", "id,a\n1,x\n" },
        { "json", "ndjson", "id", "{\"id\":1}\n{\"id\":\t}\n{}\n",
          "2\tbroken J\t{\"id\":\\t}\n3\tthere is\t{}\n", "{\"id\":1}\n" },
        { "tsv", "tsv", "id", "id\ta\n1\tx\n2\t\\\ty\n",
          "3\tit has 3\t2\\t\\\\\\ty\n", "id\ta\n1\tx\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r = { 0 };
        char got[1000] = "";
        char *text;
        char *line;
        size_t len;

        CHECK_CASE(cases[i].name);
        run_with(&r, cases[i].in, strlen(cases[i].in), "load", "--db", db,
                 "--format", cases[i].format, "--key", cases[i].key,
                 "--rejects", file, "-", NULL);
        CHECK_RUN(&r, cases[i].out[0] == '\0' ? 0 : 3);
        text = read_file(file, &len);
        CHECK(strncmp(text, HEAD, strlen(HEAD)) == 0);
        for (line = strtok(text + strlen(HEAD), "\n"); line != NULL;
             line = strtok(NULL, "\n")) {
            char *number = strchr(line, '\t') + 1;
            char *reason = strchr(number, '\t') + 1;
            char *record = strchr(reason, '\t') + 1;

            CHECK(strncmp(line, "standard input\t", 15) == 0);
            sprintf(got + strlen(got), "%.*s%.8s\t%s\n", (int)(reason - number),
                    number, reason, record);
        }
        CHECK_STR_EQ(got, cases[i].out);
        run(&r, "scan", "--db", db, NULL);
        CHECK_STR_EQ(r.out, cases[i].loaded);
        free(text);
        run_free(&r);
        unlink(db);
    }
}

/* Broken records that pieces of input cut, one after the other. */
static void test_across_pieces(void **state)
{
    struct run r = { 0 };
    char *in = malloc(4000000);
    size_t len = (size_t)sprintf(in, "id,a\n");
    char *text;
    char *pos;

    (void)state;
    for (int i = 0; i < 400; i++) {
        len += (size_t)sprintf(in + len, "%d,good\n%d,\"", i, i);
        memset(in + len, 'x', 1000);
        len += 1000;
        len += (size_t)sprintf(in + len, "\"q\n");
    }
    run_with(&r, in, len, "load", "--db", db, "--key", "id", "--rejects", file,
             "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_EQ(run_figure(&r, "records loaded"), 400);
    CHECK_EQ(run_figure(&r, "records rejected"), 400);
    text = read_file(file, &len);
    pos = text + strlen(HEAD);
    for (int i = 0; i < 400; i++) {
        char want[64];
        char *eol = strchr(pos, '\n');

        sprintf(want, "standard input\t%d\ta quote ", 2 * i + 3);
        CHECK(strncmp(pos, want, strlen(want)) == 0);
        sprintf(want, "\t%d,\"xxx", i);
        CHECK(strstr(pos, want) != NULL && strstr(pos, want) < eol);
        CHECK(memcmp(eol - 4, "xx\"q", 4) != 0 || eol - pos > 1000);
        CHECK(memcmp(eol - 2, "\"q", 2) == 0);
        pos = eol + 1;
    }
    CHECK_EQ(*pos, 0);
    free(text);
    free(in);
    run_free(&r);
}

static void test_bad_places(void **state)
{
    struct run r = { 0 };
    char in[600];

    (void)state;
    test_path(in, sizeof(in), dir, "in.csv");
    write_file(in, "id\n1\n", 5);
    run(&r, "load", "--db", db, "--key", "id", "--rejects", in, in, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is an input");
    run(&r, "load", "--db", db, "--key", "id", "--rejects", dir, in, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "--rejects");
    CHECK_EQ(access(db, F_OK), -1);
    write_file(in, "id\n\"\"\n1\n", 8);
    run(&r, "load", "--db", db, "--key", "id", "--rejects", "/dev/full", in,
        NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "/dev/full: No space left");
    CHECK_EQ(run_figure(&r, "records committed"), 0);
    run_free(&r);
}

/* A load that fails before its first commit leaves no new file; an old one
 * stays. */
static void test_no_empty_store(void **state)
{
    struct run r = { 0 };

    (void)state;
    run_with(&r, "id\n1\n", 5, "load", "--db", db, "--key", "no", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_EQ(access(db, F_OK), -1);
    run_with(&r, "id\n1\n", 5, "load", "--db", db, "--key", "id", "-", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "id\n1\n", 5, "load", "--db", db, "--key", "no", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_EQ(access(db, F_OK), 0);
    run(&r, "load", "--db", db, "--key", "id", "/nonexistent", NULL);
    CHECK_RUN(&r, 1);
    CHECK_EQ(access(db, F_OK), 0);
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_written),
        TEST(test_across_pieces),
        TEST(test_bad_places),
        TEST(test_no_empty_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
