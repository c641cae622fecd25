/*
 * test_tools_load.c - `quire load` through its command line: formats, options,
 * rejected records, messages, exit statuses, stopping.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/lib_run.h"

#define MIB ((size_t)1 << 20)

static char dir[512];  /* of the test that runs */
static char db[600];   /* dir/t.quire */
static char file[600]; /* dir/in, for an input */

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
    char small[600];

    (void)state;
    test_path(small, sizeof(small), dir, "small");
    umount2(small, MNT_DETACH); /* of test_full_disk(), if it has failed */
    test_rmtree(dir);
    return 0;
}

/* What `quire scan` prints of the default tree is `want`. */
static void check_scan(const char *want)
{
    struct run r = { 0 };

    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, want);
    run_free(&r);
}

static void check_whole(void)
{
    struct run r = { 0 };

    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "faults"), 0);
    run_free(&r);
}

/* What goes in by which options, and what comes out again. */
static void test_formats_round_trip(void **state)
{
    static const struct {
        const char *name;
        const char *args[6];
        const char *in;
        size_t in_len; /* 0: strlen */
        const char *out;
        uint64_t loaded;
    } cases[] = {
        { "csv, LF",
          { "--key", "id" },
          "id,a\n2,x\n1,y\n",
          0,
          "id,a\n1,y\n2,x\n",
          2 },
        { "csv, CRLF",
          { "--key", "id" },
          "id,a\r\n2,x\r\n1,y\r\n",
          0,
          "id,a\n1,y\n2,x\n",
          2 },
        { "csv, last line not ended",
          { "--key", "id" },
          "id,a\n2,x\n1,y",
          0,
          "id,a\n1,y\n2,x\n",
          2 },
        { "csv, quoted comma, quote, line ends",
          { "--key", "id" },
          "id,a\n1,\"x,y\"\n2,\"say \"\"no\"\"\"\n3,\"p\nq\"\n4,\"p\r\nq\"\n",
          0,
          "id,a\n1,\"x,y\"\n2,\"say \"\"no\"\"\"\n3,\"p\nq\"\n4,\"p\r\nq\"\n",
          4 },
        { "csv, needless quotes go",
          { "--key", "id" },
          "\"id\",a\n\"1\",\"x\"\n",
          0,
          "id,a\n1,x\n",
          1 },
        { "csv, blanks are data",
          { "--key", "id" },
          "id, a \n 1,  x \n1, \n",
          0,
          "id, a \n 1,  x \n1, \n",
          2 },
        { "csv, empty fields",
          { "--key", "id" },
          "id,a,b\n1,,\n2,\"\",x\n",
          0,
          "id,a,b\n1,,\n2,,x\n",
          2 },
        { "csv, byte order mark",
          { "--key", "id" },
          "\xef\xbb\xbfid,a\n1,x\n",
          0,
          "id,a\n1,x\n",
          1 },
        { "csv, empty lines between records",
          { "--key", "id" },
          "\nid,a\n\n1,x\n\r\n2,y\n\n",
          0,
          "id,a\n1,x\n2,y\n",
          2 },
        { "csv, no header",
          { "--key", "#2", "--no-header" },
          "x,2\ny,1\n",
          0,
          "y,1\nx,2\n",
          2 },
        { "csv, column by number",
          { "--key", "#2" },
          "a,b\nx,2\ny,1\n",
          0,
          "a,b\ny,1\nx,2\n",
          2 },
        { "csv, composite key",
          { "--key", "a,b" },
          "a,b\nab,c\na,bc\na,b\naa,\xc3\xa9\n",
          0,
          "a,b\na,b\na,bc\naa,\xc3\xa9\nab,c\n",
          4 },
        { "csv, key name with a comma",
          { "--key", "\"a,b\"" },
          "\"a,b\",c\n2,x\n1,y\n",
          0,
          "\"a,b\",c\n1,y\n2,x\n",
          2 },
        { "csv, key name like a type",
          { "--key", "n:int:text" },
          "n:int\n10\n9\n",
          0,
          "n:int\n10\n9\n",
          2 },
        { "csv, numbers sort as such",
          { "--key", "n:int" },
          "n\n10\n9\n-1\n-10\n9223372036854775807\n-9223372036854775808\n"
          "007\n",
          0,
          "n\n-9223372036854775808\n-10\n-1\n007\n9\n10\n"
          "9223372036854775807\n",
          7 },
        { "csv, the same as text",
          { "--key", "n" },
          "n\n10\n9\n-1\n",
          0,
          "n\n-1\n10\n9\n",
          3 },
        { "csv, key-auto keeps the order",
          { "--key-auto" },
          "a\nz\ny\nz\n",
          0,
          "a\nz\ny\nz\n",
          3 },
        { "csv, one column with an empty field",
          { "--key-auto" },
          "a\nx\n\ny\n",
          0,
          "a\nx\n\"\"\ny\n",
          3 },
        { "tsv",
          { "--key", "id", "--format", "tsv" },
          "id\ta\n2\t\"x\n1\ty, \r\n",
          0,
          "id\ta\n1\ty, \n2\t\"x\n",
          2 },
        { "tsv, no header",
          { "--key", "#1", "--no-header", "--format=tsv" },
          "b\t1\na\t2",
          0,
          "a\t2\nb\t1\n",
          2 },
        { "ndjson",
          { "--key", "id", "--format", "ndjson" },
          "{\"id\":\"b\",\"x\":[1,{\"id\":2}]}\n{\"id\":\"a\"}\r\n\n",
          0,
          "{\"id\":\"a\"}\n{\"id\":\"b\",\"x\":[1,{\"id\":2}]}\n",
          2 },
        { "ndjson, the text is kept",
          { "--key", "n", "--format", "ndjson" },
          " { \"n\" : 1.50e400, \"t\":\"\\u00e9\" } \n",
          0,
          "{ \"n\" : 1.50e400, \"t\":\"\\u00e9\" }\n",
          1 },
        { "ndjson, numbers as keys",
          { "--key", "n:int", "--format", "ndjson" },
          "{\"n\":10}\n{\"n\":\"9\"}\n{\"n\":-1}\n",
          0,
          "{\"n\":-1}\n{\"n\":\"9\"}\n{\"n\":10}\n",
          3 },
        { "ndjson, key-auto",
          { "--key-auto", "--format", "ndjson" },
          "{\"n\":2}\n{\"n\":1}\n",
          0,
          "{\"n\":2}\n{\"n\":1}\n",
          2 },
        { "lines",
          { "--format", "lines" },
          "b\na,\"\na\r\n c",
          0,
          " c\na\na,\"\nb\n",
          4 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[16] = { "load", "--db", db };
        size_t n = 3;
        struct run r = { 0 };

        CHECK_CASE(cases[i].name);
        for (size_t k = 0; k < 6 && cases[i].args[k] != NULL; k++)
            args[n++] = cases[i].args[k];
        args[n++] = "-";
        run_argv(&r, cases[i].in,
                 cases[i].in_len != 0 ? cases[i].in_len : strlen(cases[i].in),
                 args);
        CHECK_RUN(&r, 0);
        CHECK_EQ(run_figure(&r, "records read"), cases[i].loaded);
        CHECK_EQ(run_figure(&r, "records loaded"), cases[i].loaded);
        CHECK_EQ(run_figure(&r, "records rejected"), 0);
        CHECK_EQ(run_figure(&r, "revisions"), 1);
        CHECK_EQ(run_figure(&r, "pages still pinned"), 0);
        CHECK_EQ(run_figure(&r, "segments still in use"), 0);
        check_scan(cases[i].out);
        run_free(&r);
        unlink(db);
    }
}

/* NUL and other bytes pass through fields and keys. */
static void test_any_bytes(void **state)
{
    static const char in[] = "k,v\na\0b,\0\na,\xff\xfe\na\0,x\n";
    static const char out[] = "k,v\na,\xff\xfe\na\0,x\na\0b,\0\n";
    struct run r = { 0 };

    (void)state;
    for (int composite = 0; composite < 2; composite++) {
        run_with(&r, in, sizeof(in) - 1, "load", "--db", db, "--key",
                 composite ? "k,v" : "k", "-", NULL);
        CHECK_RUN(&r, 0);
        CHECK_EQ(run_figure(&r, "records loaded"), 3);
        run(&r, "scan", "--db", db, NULL);
        CHECK_RUN(&r, 0);
        CHECK_EQ(r.out_len, sizeof(out) - 1);
        CHECK_MEM_EQ(r.out, out, sizeof(out) - 1);
        unlink(db);
    }
    run_free(&r);
}

/* Bad records: counted, reported with line and reason, left out. */
static void test_rejected_records(void **state)
{
    static const struct {
        const char *name;
        const char *args[6];
        const char *in;
        const char *says[3];
        uint64_t read;
        uint64_t rejected;
        const char *out;
    } cases[] = {
        { "empty key",
          { "--key", "id" },
          "id,a\n,x\n1,y\n",
          { "standard input:2: rejected: key field \"id\" is empty",
            "rejected, key field empty: 1" },
          2,
          1,
          "id,a\n1,y\n" },
        { "column count",
          { "--key", "id" },
          "id,a\n1\n2,x,y\n3,z\n",
          { ":2: rejected: it has 1 columns instead of 2",
            ":3: rejected: it has 3 columns instead of 2",
            "rejected, wrong column count: 2" },
          3,
          2,
          "id,a\n3,z\n" },
        { "not a number",
          { "--key", "id:int" },
          "id\n1\n1.0\n 1\n1 \n+1\n-\n0x1\n9223372036854775808\n"
          "-9223372036854775809\n2\n",
          { ":3: rejected: key field \"id\" is \"1.0\", not a whole number",
            ":10: rejected:", "rejected, not a number: 8" },
          10,
          8,
          "id\n1\n2\n" },
        { "quote in the open",
          { "--key", "id" },
          "id,a\n1,x\"y\n2,z\n3,\"p\"q\n4,r\n",
          { ":2: rejected: a quote where none may be",
            ":4: rejected:", "rejected, broken quoting: 2" },
          4,
          2,
          "id,a\n2,z\n4,r\n" },
        { "a broken record of several lines",
          { "--key", "id" },
          "id,a\n1,\"p\nq\"x\n2,z\n3,\"u\nv\"\n,w\n",
          { ":2: rejected: a quote", ":7: rejected: key field",
            "rejected, broken quoting: 1" },
          4,
          2,
          "id,a\n2,z\n3,\"u\nv\"\n" },
        { "unterminated quote",
          { "--key", "id" },
          "id,a\n1,x\n2,\"y\n3,z\n",
          { ":3: rejected: a quoted field is not closed",
            "rejected, unterminated quote: 1" },
          2,
          1,
          "id,a\n1,x\n" },
        { "csv record too long",
          { "--key", "id", "--max-record", "20" },
          "id,a\n1,0123456789012345678901\n2,x\n",
          { ":2: rejected: the record has 25 bytes, over --max-record 20",
            "rejected, record too long: 1" },
          2,
          1,
          "id,a\n2,x\n" },
        { "line too long",
          { "--format", "lines", "--max-record=4" },
          "12345\n1234\n123\n123456",
          { ":1: rejected: the line has 5 bytes, over --max-record 4",
            ":4: rejected: the line has 6 bytes",
            "rejected, record too long: 2" },
          4,
          2,
          "123\n1234\n" },
        { "an empty line as a key",
          { "--format", "lines" },
          "a\n\nb\n",
          { ":2: rejected: the line is empty" },
          3,
          1,
          "a\nb\n" },
        { "tsv columns",
          { "--key", "#1", "--no-header", "--format", "tsv" },
          "a\tb\nc\n",
          { ":2: rejected: it has 1 columns instead of 2" },
          2,
          1,
          "a\tb\n" },
        { "ndjson, broken",
          { "--key", "id", "--format", "ndjson" },
          "{\"id\":1}\n{\"id\":2\n{\"id\":3}}\n{\"id\":tru}\n[1]\n5\n"
          "{\"id\":6} {}\n\"x\n{\"id\":\"\xff\"}\n{\"id\":4}\n",
          { ":2: rejected: broken JSON: the record ends too early",
            ":5: rejected: the line is not one JSON object",
            "rejected, broken JSON: 8" },
          10,
          8,
          "{\"id\":1}\n{\"id\":4}\n" },
        { "ndjson, keys of no use",
          { "--key", "id", "--format", "ndjson" },
          "{}\n{\"id\":null}\n{\"id\":{}}\n{\"id\":[]}\n{\"id\":\"\"}\n"
          "{\"id\":1,\"id\":1}\n{\"x\":{\"id\":1}}\n{\"id\":true}\n",
          { ":1: rejected: there is no member \"id\"",
            ":3: rejected: key member \"id\" is an object or an array",
            ":6: rejected: key member \"id\" is there more than once" },
          8,
          7,
          "{\"id\":true}\n" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[16] = { "load", "--db", db };
        size_t n = 3;
        struct run r = { 0 };

        CHECK_CASE(cases[i].name);
        for (size_t k = 0; k < 6 && cases[i].args[k] != NULL; k++)
            args[n++] = cases[i].args[k];
        args[n++] = "-";
        run_argv(&r, cases[i].in, strlen(cases[i].in), args);
        CHECK_RUN(&r, 3);
        for (size_t k = 0; k < 3 && cases[i].says[k] != NULL; k++)
            CHECK_SAYS(&r, cases[i].says[k]);
        CHECK_EQ(run_figure(&r, "records read"), cases[i].read);
        CHECK_EQ(run_figure(&r, "records rejected"), cases[i].rejected);
        CHECK_EQ(run_figure(&r, "records loaded"),
                 cases[i].read - cases[i].rejected);
        check_scan(cases[i].out);
        run_free(&r);
        unlink(db);
    }
}

/* Only the first ten are shown; the count holds all. */
static void test_rejects_shown(void **state)
{
    static const char in[] = "id,a\n,\n,\n,\n,\n,\n,\n,\n,\n,\n,\n,\n,\n";
    struct run r = { 0 };

    (void)state;
    run_with(&r, in, strlen(in), "load", "--db", db, "--key", "id", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "standard input:11: rejected");
    CHECK(strstr(r.err, "standard input:12:") == NULL);
    CHECK_SAYS(&r, "further rejected records are only counted");
    CHECK_EQ(run_figure(&r, "records rejected"), 12);
    CHECK_EQ(run_figure(&r, "revisions"), 0);
    run_free(&r);
}

/* Nested deeper than the limit: rejected, not followed. */
static void test_deep_json(void **state)
{
    size_t depth = 100000;
    char *in = malloc(depth + 64);
    struct run r = { 0 };

    (void)state;
    CHECK(in != NULL);
    memcpy(in, "{\"a\":", 5);
    memset(in + 5, '[', depth);
    strcpy(in + 5 + depth, "\n{\"a\":1}\n");
    run_with(&r, in, strlen(in), "load", "--db", db, "--key-auto", "--format",
             "ndjson", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "nested deeper than");
    CHECK_EQ(run_figure(&r, "records loaded"), 1);
    run_free(&r);
    free(in);
}

/* A key longer than an eighth of a page. */
static void test_long_keys(void **state)
{
    static char in[70000 + 3 * 3000];
    struct run r = { 0 };
    size_t n = 0;

    (void)state;
    n += (size_t)sprintf(in + n, "id,a\n");
    for (int i = 0; i < 4; i++) {
        static const size_t sizes[] = { 2048, 2049, 60000, 3 };

        memset(in + n, 'a' + i, sizes[i]);
        n += sizes[i];
        n += (size_t)sprintf(in + n, ",%d\n", i);
    }
    run_with(&r, in, n, "load", "--db", db, "--key", "id", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "rejected, key too long: 2");
    CHECK_EQ(run_figure(&r, "records loaded"), 2);
    check_whole();
    run_free(&r);
}

/* Statuses and texts of what the command line gets wrong. */
static void test_usage(void **state)
{
    static const struct {
        const char *name;
        const char *args[8];
        const char *says;
    } cases[] = {
        { "no command", { NULL }, "name a command" },
        { "unknown command", { "frob" }, "frob: there is no such command" },
        { "no store", { "load", "--key", "a", "-" }, "--db FILE is required" },
        { "no input", { "load", "--db", "x", "--key", "a" }, "name an INPUT" },
        { "unknown option", { "load", "--frob" }, "--frob: there is no such" },
        { "abbreviated option", { "load", "--ke", "a" }, "--ke: there is no" },
        { "value missing", { "load", "--db" }, "--db needs a value" },
        { "value to a flag", { "load", "--ack=1" }, "--ack takes no value" },
        { "both keys",
          { "load", "--db", "x", "--key=a", "--key-auto", "-" },
          "not both" },
        { "format",
          { "load", "--db", "x", "--format", "xml", "-" },
          "--format xml: it is csv, tsv, ndjson, json, lines or raw" },
        { "duplicates",
          { "load", "--db=x", "--on-duplicate", "no", "-" },
          "--on-duplicate no: it is replace, keep or error" },
        { "commit-every 0",
          { "load", "--db=x", "--commit-every=0", "-" },
          "--commit-every 0" },
        { "commit-every",
          { "load", "--db=x", "--commit-every=-1", "-" },
          "--commit-every -1: give a whole number" },
        { "max-record",
          { "load", "--db=x", "--max-record=2G", "-" },
          "--max-record: it is 1 byte to 1G" },
        { "size",
          { "load", "--db=x", "--memory=32MB", "-" },
          "--memory 32MB: give bytes, or a number with K, M or G" },
        { "small budget",
          { "load", "--db=x", "--memory=8191K", "--key=a", "-" },
          "the least is 8M" },
        { "window",
          { "load", "--db=x", "--zstd-window=3G", "-" },
          "--zstd-window" },
        { "threads",
          { "load", "--db=x", "--threads=3", "-" },
          "--threads: it is 1 or 2" },
        { "gen without shape", { "gen", "--records", "1" }, "--shape crimes" },
        { "gen without records", { "gen", "--shape=crimes" }, "--records N" },
        { "get without key", { "get", "--db=x" }, "name a KEY" },
        { "put without key", { "put", "--db=x" }, "give KEY and RECORD" },
        { "scan with an argument",
          { "scan", "--db=x", "y" },
          "y: it takes no arguments" },
        { "verify without store", { "verify" }, "--db FILE is required" },
    };
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        run_argv(&r, "", 0, cases[i].args);
        CHECK_RUN(&r, 2);
        CHECK_SAYS(&r, cases[i].says);
        CHECK_SAYS(&r, "--help");
        CHECK_EQ(r.out_len, 0);
    }
    run_free(&r);
}

static void test_help(void **state)
{
    static const char *const commands[] = {
        "load",      "get",   "put",  "del",    "scan", "dump",
        "revisions", "trees", "stat", "verify", "gen",  "set",
    };
    struct run r = { 0 };

    (void)state;
    run(&r, "--help", NULL);
    CHECK_RUN(&r, 0);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        char usage[64];

        CHECK_CASE(commands[i]);
        CHECK_SAYS(&r, commands[i]);
        snprintf(usage, sizeof(usage), "usage: quire %s", commands[i]);
        struct run one = { 0 };

        run(&one, commands[i], "--help", NULL);
        CHECK_RUN(&one, 0);
        CHECK_SAYS(&one, usage);
        CHECK_EQ(one.err_len, 0);
        run_free(&one);
    }
    run(&r, "--version", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, quire_version());
    run_free(&r);
}

/* Inputs that fail the load as a whole: status 1, a message with the name. */
static void test_bad_inputs(void **state)
{
    static const struct {
        const char *name;
        const char *args[6];
        const char *in;
        const char *says;
    } cases[] = {
        { "no such column",
          { "--key", "ID" },
          "id,a\n1,x\n",
          "no column is called \"ID\"; its columns are: id,a" },
        { "two such columns",
          { "--key", "id" },
          "id,id\n1,x\n",
          "2 columns are called \"id\"" },
        { "column number",
          { "--key", "#3" },
          "id,a\n1,x\n",
          "field #3: the columns are #1 to #2" },
        { "name without a header",
          { "--key", "id", "--no-header" },
          "1,x\n",
          "without a header line a column is given by number" },
        { "no key", { NULL }, "id\n1\n", "say what the key is" },
        { "empty key name",
          { "--key", "a,,b" },
          "a\n1\n",
          "--key a,,b: a field has no name" },
        { "broken key", { "--key", "\"a" }, "a\n1\n", "quoting is broken" },
        { "lines with a key",
          { "--key", "a", "--format", "lines" },
          "a\n",
          "the key is the line" },
        { "a file that is not there",
          { "--key", "a", "/nonexistent" },
          "",
          "/nonexistent: No such file or directory" },
        { "a directory",
          { "--key", "a", "/tmp" },
          "",
          "/tmp: it is a directory" },
    };
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[16] = { "load", "--db", db };
        size_t n = 3;

        CHECK_CASE(cases[i].name);
        for (size_t k = 0; k < 6 && cases[i].args[k] != NULL; k++)
            args[n++] = cases[i].args[k];
        args[n++] = "-";
        run_argv(&r, cases[i].in, strlen(cases[i].in), args);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, cases[i].says);
        CHECK_SAYS(&r, "the load has failed: 0 records in 0 revisions");
        unlink(db);
    }
    run_free(&r);
}

/* Nothing at all makes no revision; a header alone makes one, so that the
 * columns are known. */
static void test_empty_inputs(void **state)
{
    struct run r = { 0 };

    (void)state;
    run_with(&r, "", 0, "load", "--db", db, "--key", "id", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "it is empty");
    CHECK_EQ(run_figure(&r, "revisions"), 0);
    run_with(&r, "", 0, "load", "--db", db, "--format=lines", "-", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "id,a\n", 5, "load", "--db", db, "--key", "id", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records read"), 0);
    CHECK_EQ(run_figure(&r, "revisions"), 1);
    check_scan("id,a\n");
    /* Without records nothing binds the tree to it. */
    run_with(&r, "x\ny\n", 4, "load", "--db", db, "--key-auto", "-", NULL);
    CHECK_RUN(&r, 0);
    check_scan("x\ny\n");
    run_free(&r);
}

/* The format comes from the name, from the tree, or is csv. */
static void test_format_by_name(void **state)
{
    static const struct {
        const char *name;
        const char *in;
        const char *key;
        const char *format;
    } cases[] = {
        { "a.csv", "k,v\n1,2\n", "k", "csv" },
        { "a.tsv", "k\tv\n1\t2\n", "k", "tsv" },
        { "a.tab", "k\tv\n1\t2\n", "k", "tsv" },
        { "a.ndjson", "{\"k\":1}\n", "k", "ndjson" },
        { "a.jsonl", "{\"k\":1}\n", "k", "ndjson" },
        { "a.txt", "1\n", NULL, "lines" },
        { "a.lines", "1\n", NULL, "lines" },
        { "a.dat", "k,v\n1,2\n", "k", "csv" },
    };
    struct run r = { 0 };
    char path[600];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i].name);
        test_path(path, sizeof(path), dir, cases[i].name);
        write_file(path, cases[i].in, strlen(cases[i].in));
        if (cases[i].key != NULL)
            run(&r, "load", "--db", db, "--key", cases[i].key, path, NULL);
        else
            run(&r, "load", "--db", db, path, NULL);
        CHECK_RUN(&r, 0);
        run(&r, "trees", "--db", db, NULL);
        CHECK_SAYS(&r, cases[i].format);
        /* The tree knows format and key of what has no telling name. */
        run_with(&r, cases[i].in, strlen(cases[i].in), "load", "--db", db, "-",
                 NULL);
        CHECK_RUN(&r, 0);
        CHECK_EQ(run_figure(&r, "records replaced"), 1);
        unlink(db);
    }
    run_free(&r);
}

static void test_duplicates(void **state)
{
    static const char one[] = "k,v\n1,a\n2,b\n";
    static const char two[] = "k,v\n3,d\n2,c\n4,e\n";
    struct run r = { 0 };

    (void)state;
    run_with(&r, one, strlen(one), "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, two, strlen(two), "load", "--db", db, "--key", "k",
             "--on-duplicate", "keep", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), 2);
    CHECK_EQ(run_figure(&r, "records kept"), 1);
    check_scan("k,v\n1,a\n2,b\n3,d\n4,e\n");
    run_with(&r, two, strlen(two), "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), 3);
    CHECK_EQ(run_figure(&r, "records replaced"), 3);
    check_scan("k,v\n1,a\n2,c\n3,d\n4,e\n");

    /* error: what was committed before the duplicate stays. */
    unlink(db);
    run_with(&r, one, strlen(one), "load", "--db", db, "--key", "k", "-", NULL);
    run_with(&r, "k,v\n5,f\n6,g\n7,h\n2,c\n8,i\n", 25, "load", "--db", db,
             "--key", "k", "--on-duplicate", "error", "--commit-every", "2",
             "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "standard input:5: the key 2 is there already");
    CHECK_SAYS(&r, "2 records in 1 revisions are committed, 1 after them are "
                   "not");
    check_scan("k,v\n1,a\n2,b\n5,f\n6,g\n");

    /* keep, and all were there: no revision. */
    run_with(&r, one, strlen(one), "load", "--db", db, "--key", "k",
             "--on-duplicate=keep", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "revisions"), 0);
    run_free(&r);
}

/* Revisions come every N records and are told with --ack. */
static void test_commits(void **state)
{
    struct run r = { 0 };

    (void)state;
    run_with(&r, "k\n1\n2\n3\n4\n5\n", 12, "load", "--db", db, "--key", "k",
             "--commit-every", "2", "--ack", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "committed 1 2\ncommitted 2 4\ncommitted 3 5\n");
    CHECK(strstr(r.err, "records loaded: 5\n") != NULL);
    CHECK_EQ(run_figure(&r, "revisions"), 3);
    CHECK_EQ(run_figure(&r, "newest revision"), 3);
    run_with(&r, "k\n6\n7\n", 6, "load", "--db", db, "--key", "k",
             "--commit-every", "2", "--ack", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "committed 4 2\n");
    run_free(&r);
}

/* Numbering goes on from the greatest key. */
static void test_key_auto(void **state)
{
    struct run r = { 0 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        run_with(&r, "a\nx\ny\n", 6, "load", "--db", db, "--key-auto", "-",
                 NULL);
        CHECK_RUN(&r, 0);
    }
    run(&r, "scan", "--db", db, "--keys", NULL);
    CHECK_STR_EQ(r.out, "1\n2\n3\n4\n");
    run(&r, "get", "--db", db, "3", NULL);
    CHECK_STR_EQ(r.out, "x\n");
    run_free(&r);
}

/* Trees are apart, and a tree keeps to its schema. */
static void test_schemas(void **state)
{
    struct run r = { 0 };

    (void)state;
    run_with(&r, "k,v\n1,a\n", 8, "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "x\ny\n", 4, "load", "--db", db, "--tree", "other", "--format",
             "lines", "-", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", db, "--tree", "other", NULL);
    CHECK_STR_EQ(r.out, "x\ny\n");
    check_scan("k,v\n1,a\n");

    run_with(&r, "k,v\n1,a\n", 8, "load", "--db", db, "--key", "v", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the tree holds csv records with the key k, this load has "
                   "csv with v");
    run_with(&r, "k,v\n1,a\n", 8, "load", "--db", db, "--key", "k:int", "-",
             NULL);
    CHECK_RUN(&r, 1);
    run_with(&r, "k\tv\n1\ta\n", 8, "load", "--db", db, "--key", "k",
             "--format", "tsv", "-", NULL);
    CHECK_RUN(&r, 1);
    run_with(&r, "k,w\n1,a\n", 8, "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "its header differs from the columns that the tree has");
    /* The key's column may be named by number as well. */
    run_with(&r, "k,v\n2,b\n", 8, "load", "--db", db, "--key", "#1", "-", NULL);
    CHECK_RUN(&r, 0);
    /* Columns behind the last may come, and an input may have fewer. */
    run_with(&r, "k,v,w\n3,c,C\n", 12, "load", "--db", db, "--key", "k", "-",
             NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "k,v\n4,d\n", 8, "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 0);
    check_scan("k,v,w\n1,a,\n2,b,\n3,c,C\n4,d,\n");
    run(&r, "scan", "--db", db, "--rev", "1", NULL);
    CHECK_STR_EQ(r.out, "k,v\n1,a\n");
    /* Without a header the tree's holds. */
    run_with(&r, "5,e,E\n6,f\n", 10, "load", "--db", db, "--key", "k",
             "--no-header", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, ":2: rejected: it has 2 columns instead of 3");

    /* A tree of another program's is left alone. */
    run(&r, "put", "--db", db, "--tree", "raw", "key", "value", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "x\n", 2, "load", "--db", db, "--tree", "raw", "--format",
             "lines", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the tree holds records that quire load did not make");
    check_whole();
    run_free(&r);
}

/* Several inputs, each with its header; `--` and names with a dash. */
static void test_several_inputs(void **state)
{
    struct run r = { 0 };
    char a[600];
    char b[600];

    (void)state;
    test_path(a, sizeof(a), dir, "a.csv");
    test_path(b, sizeof(b), dir, "b.csv");
    write_file(a, "k,v\n1,a\n3,c\n", 12);
    write_file(b, "k,v\n2,b\n3,d\n", 12);
    run_with(&r, "k,v\n4,e\n", 8, "load", "--db", db, "--key=k", "--", a, b,
             "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), 5);
    CHECK_EQ(run_figure(&r, "records replaced"), 1);
    CHECK_EQ(run_figure(&r, "input bytes"), 32);
    check_scan("k,v\n1,a\n2,b\n3,d\n4,e\n");

    /* The second is broken: nothing of the first stays. */
    run(&r, "load", "--db", db, "--key=k", a, "/nonexistent", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "0 records in 0 revisions are committed, 2 after");
    run_free(&r);
}

/* ---- compressed inputs ---- */

static size_t make_gzip(void *to, size_t cap, const char *text)
{
    z_stream z;
    size_t len;

    memset(&z, 0, sizeof(z));
    CHECK_EQ(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY),
             Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)strlen(text);
    z.next_out = to;
    z.avail_out = (uInt)cap;
    CHECK_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    len = cap - z.avail_out;
    deflateEnd(&z);
    return len;
}

static size_t make_zstd(void *to, size_t cap, const void *data, size_t len,
                        int window_log)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer in = { data, len, 0 };
    ZSTD_outBuffer out = { to, cap, 0 };

    CHECK(c != NULL);
    if (window_log > 0)
        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue), 0);
    CHECK_EQ(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(c);
    return out.pos;
}

static void test_compressed(void **state)
{
    static const char one[] = "k,v\n1,a\n";
    static const char two[] = "2,b\n3,c\n";
    static const char want[] = "k,v\n1,a\n2,b\n3,c\n";
    char packed[4096];
    char path[600];
    struct run r = { 0 };
    size_t first;
    size_t len;

    (void)state;
    for (int gzip = 0; gzip < 2; gzip++) {
        CHECK_CASE(gzip ? "gzip" : "zstd");
        test_path(path, sizeof(path), dir, gzip ? "a.csv.gz" : "a.csv.zst");
        /* Two streams, one behind the other. */
        if (gzip) {
            first = make_gzip(packed, sizeof(packed), one);
            len = first +
                  make_gzip(packed + first, sizeof(packed) - first, two);
        } else {
            first = make_zstd(packed, sizeof(packed), one, strlen(one), 0);
            len = first + make_zstd(packed + first, sizeof(packed) - first, two,
                                    strlen(two), 0);
        }
        write_file(path, packed, len);
        run(&r, "load", "--db", db, "--key", "k", path, NULL);
        CHECK_RUN(&r, 0);
        check_scan(want);
        unlink(db);

        /* Cut anywhere but between the streams it is damaged. */
        for (size_t cut = 0; cut < len; cut += 3) {
            if (cut == first)
                continue;
            write_file(path, packed, cut);
            run(&r, "load", "--db", db, "--key", "k", path, NULL);
            CHECK_RUN(&r, 1);
            CHECK_SAYS(&r, "the compressed data end too early");
            unlink(db);
        }
        packed[first / 2] ^= 0x55;
        packed[first / 2 + 1] ^= 0x55;
        write_file(path, packed, len);
        run(&r, "load", "--db", db, "--key", "k", path, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "the file is damaged or not what its name says");
        write_file(path, one, strlen(one));
        run(&r, "load", "--db", db, "--key", "k", path, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "not what its name says");
    }
    run_free(&r);
}

/* A window over 8 MiB is refused unless it is allowed. */
static void test_zstd_window(void **state)
{
    size_t len = 17 * MIB;
    size_t cap = ZSTD_compressBound(len);
    char *plain = malloc(len);
    char *packed = malloc(cap);
    char path[600];
    struct run r = { 0 };

    (void)state;
    CHECK(plain != NULL && packed != NULL);
    memset(plain, 'x', len);
    for (size_t i = 999; i < len; i += 1000) {
        plain[i] = '\n';
        snprintf(plain + i - 10, 11, "%09zu\n", i);
    }
    test_path(path, sizeof(path), dir, "a.txt.zst");
    write_file(path, packed, make_zstd(packed, cap, plain, len, 24));
    run(&r, "load", "--db", db, path, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "its zstd window is over 8388608 bytes; allow more with "
                   "--zstd-window");
    run(&r, "load", "--db", db, "--zstd-window", "16M", path, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), len / 1000 + 1);
    unlink(db);
    write_file(path, packed, make_zstd(packed, cap, plain, len, 23));
    run(&r, "load", "--db", db, path, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
    free(plain);
    free(packed);
}

/* ---- large records ---- */

/* Records of 16 MiB go in and out in every format; a longer one is refused, and
 * the next record is read all the same. */
static void test_large_records(void **state)
{
    static const struct {
        const char *name;
        const char *format;
        const char *head; /* before the filling */
        const char *tail;
        const char *next; /* what follows */
    } cases[] = {
        { "csv", "csv", "1,", "\n", "2,y\n" },
        { "csv, quoted", "csv", "1,\"a,", "\"\n", "2,y\n" },
        { "tsv", "tsv", "1\t", "\n", "2\ty\n" },
        { "ndjson", "ndjson", "{\"k\":\"1\",\"v\":\"", "\"}\n",
          "{\"k\":\"2\"}\n" },
    };
    size_t cap = 18 * MIB;
    char *in = malloc(cap);
    struct run r = { 0 };

    (void)state;
    CHECK(in != NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int over = 0; over < 2; over++) {
            size_t head = strlen(cases[i].head);
            size_t fill = (over ? 17 * MIB : 16 * MIB - 64);
            size_t len;
            const char *header = "";

            CHECK_CASE(cases[i].name);
            if (i < 2)
                header = "k,v\n";
            else if (i == 2)
                header = "k\tv\n";
            len = strlen(header);
            memcpy(in, header, len);
            memcpy(in + len, cases[i].head, head);
            memset(in + len + head, 'x', fill);
            len += head + fill;
            strcpy(in + len, cases[i].tail);
            len += strlen(cases[i].tail);
            strcpy(in + len, cases[i].next);
            len += strlen(cases[i].next);
            run_with(&r, in, len, "load", "--db", db, "--key", "k", "--format",
                     cases[i].format, "--memory", "32M", "-", NULL);
            CHECK_RUN(&r, over ? 3 : 0);
            CHECK_EQ(run_figure(&r, "records loaded"), over ? 1 : 2);
            if (over) {
                CHECK_EQ(run_figure(&r, "rejected, record too long"), 1);
            } else {
                run(&r, "scan", "--db", db, NULL);
                CHECK_RUN(&r, 0);
                CHECK_EQ(r.out_len, len);
                CHECK_MEM_EQ(r.out, in, len);
                check_whole();
            }
            unlink(db);
        }
    }
    free(in);
    run_free(&r);
}

/* A lost quote must not take the rest of the file into memory. */
static void test_lost_quote_is_bounded(void **state)
{
    size_t len = 8 * MIB;
    char *in = malloc(len + 1);
    struct run r = { 0 };
    size_t n;

    (void)state;
    CHECK(in != NULL);
    n = (size_t)sprintf(in, "k,v\n1,\"x\n");
    for (int i = 2; n + 20 < len; i++)
        n += (size_t)sprintf(in + n, "%d,y\n", i);
    run_with(&r, in, n, "load", "--db", db, "--key", "k", "--max-record", "1M",
             "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "standard input:2: rejected: the record is over "
                   "--max-record 1048576 bytes; is a quote missing?");
    CHECK_EQ(run_figure(&r, "records rejected"), 1);
    CHECK(run_figure(&r, "records loaded") > 100000);
    run_free(&r);
    free(in);
}

/* Ten thousand columns, the last of them the key. */
static void test_many_columns(void **state)
{
    enum {
        COLUMNS = 10000
    };
    char *in = malloc(COLUMNS * 24);
    size_t n = 0;
    struct run r = { 0 };

    (void)state;
    CHECK(in != NULL);
    for (int i = 1; i <= COLUMNS; i++)
        n += (size_t)sprintf(in + n, "c%d%s", i, i < COLUMNS ? "," : "\n");
    for (int i = 1; i <= COLUMNS; i++)
        n += (size_t)sprintf(in + n, "%d%s", i, i < COLUMNS ? "," : "\n");
    run_with(&r, in, n, "load", "--db", db, "--key", "c10000", "-", NULL);
    CHECK_RUN(&r, 0);
    check_scan(in);
    run(&r, "scan", "--db", db, "--keys", NULL);
    CHECK_STR_EQ(r.out, "10000\n");
    run_free(&r);
    free(in);
}

/* ---- stopping ---- */

/* A signal ends the load after a commit, also while it waits for input. */
static void test_signals(void **state)
{
    static const int signals[] = { SIGINT, SIGTERM };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct running p;
        struct run r = { 0 };
        char line[64];
        bool third;

        run_start(&p, "load", "--db", db, "--key", "k", "--commit-every", "2",
                  "--ack", "-", NULL);
        run_feed(&p, "k\n1\n2\n3\n", 8);
        CHECK(run_line(&p, line, sizeof(line)));
        CHECK_STR_EQ(line, "committed 1 2");
        CHECK_EQ(kill(p.pid, signals[i]), 0);
        /* Its input stays open: it must not wait for it. The third record may
         * have been put by now, and is then committed, or not. */
        third = run_line(&p, line, sizeof(line));
        if (third)
            CHECK_STR_EQ(line, "committed 2 3");
        run_finish(&p, &r);
        CHECK_RUN(&r, 128 + signals[i]);
        CHECK_SAYS(&r, "stopped by signal");
        if (third)
            CHECK_SAYS(&r, "committing the 1 records since the last commit");
        check_scan(third ? "k\n1\n2\n3\n" : "k\n1\n2\n");
        check_whole();
        run_free(&r);
        unlink(db);
    }
}

/* On a terminal a progress line comes before the load has ended. */
static void test_progress(void **state)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct running p;
    struct run r = { 0 };
    char text[65536];
    size_t len = 0;
    unsigned key = 0;
    int slave;

    (void)state;
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
        print_message("SKIPPED: there are no pseudo-terminals here\n");
        skip();
    }
    slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0);
    CHECK_EQ(fcntl(terminal, F_SETFL, O_NONBLOCK), 0);
    run_start_err(&p, slave, "load", "--db", db, "--key", "k", "-", NULL);
    run_feed(&p, "k\n", 2);
    text[0] = '\0';
    while (strstr(text, "records/s") == NULL) {
        char batch[4096];
        size_t n = 0;
        ssize_t got;

        while (n < sizeof(batch) - 16)
            n += (size_t)sprintf(batch + n, "%u\n", key++);
        run_feed(&p, batch, n);
        got = read(terminal, text + len, sizeof(text) - len - 1);
        if (got > 0)
            len += (size_t)got;
        text[len] = '\0';
    }
    CHECK(strstr(text, "MiB resident") != NULL);
    run_finish(&p, &r);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records loaded"), key);
    close(slave);
    close(terminal);
    run_free(&r);
}

/* Nobody reads the acknowledgements: a failure, not a death. */
static void test_ack_to_nobody(void **state)
{
    struct running p;
    struct run r = { 0 };

    (void)state;
    run_start(&p, "load", "--db", db, "--key", "k", "--commit-every", "1",
              "--ack", "-", NULL);
    close(p.out);
    p.out = open("/dev/null", O_RDONLY);
    run_feed(&p, "k\n1\n2\n", 6);
    run_finish(&p, &r);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "standard output: Broken pipe");
    check_whole();
    run_free(&r);
}

/* ---- stores that are none, or that cannot be used ---- */

static void test_bad_stores(void **state)
{
    static const char text[] = "This is a letter, not a store.\n";
    static char zeros[65536];
    static const char *const reading[] = { "scan", "stat", "verify",
                                           "revisions", "trees" };
    struct run r = { 0 };
    char path[600];
    char *now;
    size_t len;

    (void)state;
    test_path(path, sizeof(path), dir, "text");
    write_file(path, text, strlen(text));
    write_file(file, zeros, sizeof(zeros));
    for (size_t i = 0; i < ARRAY_LEN(reading); i++) {
        CHECK_CASE(reading[i]);
        run(&r, reading[i], "--db", path, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, path);
        run(&r, reading[i], "--db", file, NULL);
        CHECK_RUN(&r, 1);
        run(&r, reading[i], "--db", dir, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, dir);
        run(&r, reading[i], "--db", db, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "there is no such store");
    }
    /* Writing to them is refused as well, and leaves them as they were. */
    run_with(&r, "x\n", 2, "load", "--db", path, "--format=lines", "-", NULL);
    CHECK_RUN(&r, 1);
    now = read_file(path, &len);
    CHECK_STR_EQ(now, text);
    free(now);
    run_with(&r, "x\n", 2, "load", "--db", file, "--format=lines", "-", NULL);
    CHECK_RUN(&r, 1);
    now = read_file(file, &len);
    CHECK_EQ(len, sizeof(zeros));
    CHECK_MEM_EQ(now, zeros, sizeof(zeros));
    free(now);
    run_with(&r, "x\n", 2, "load", "--db", dir, "--format=lines", "-", NULL);
    CHECK_RUN(&r, 1);
    run_with(&r, "x\n", 2, "load", "--db", "/nonexistent/t", "--format=lines",
             "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "/nonexistent/t");
    run_free(&r);
}

/* Cut to any length a store is opened at an earlier commit, or refused: never
 * worse, and never changed by reading it. */
static void test_truncated_stores(void **state)
{
    struct run r = { 0 };
    char *whole;
    char *now;
    size_t len;
    size_t now_len;

    (void)state;
    run_with(&r, "k\n1\n2\n3\n4\n", 10, "load", "--db", db, "--key", "k",
             "--commit-every", "1", "-", NULL);
    CHECK_RUN(&r, 0);
    whole = read_file(db, &len);
    for (size_t cut = 0; cut < len; cut += len / 40 + 1) {
        write_file(file, whole, cut);
        run(&r, "scan", "--db", file, NULL);
        CHECK(r.status == 0 || r.status == 1);
        CHECK(r.status == 0 || r.err_len > 0);
        now = read_file(file, &now_len);
        CHECK_EQ(now_len, cut);
        CHECK_MEM_EQ(now, whole, cut);
        free(now);
    }
    free(whole);
    run_free(&r);
}

/* Root may read everything, so programs started from here on lose that right
 * first. */
static void test_no_permission(void **state)
{
    struct run r = { 0 };

    (void)state;
    if (geteuid() == 0 &&
        (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0 ||
         prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) != 0)) {
        print_message("SKIPPED: root may read everything here\n");
        skip();
    }
    run_with(&r, "x\n", 2, "load", "--db", db, "--format=lines", "-", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(chmod(db, 0), 0);
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "check the permissions");
    run_free(&r);
}

/* While one process writes, no other gets in. */
static void test_second_opener(void **state)
{
    struct running p;
    struct run r = { 0 };
    char line[64];

    (void)state;
    run_start(&p, "load", "--db", db, "--key", "k", "--commit-every", "1",
              "--ack", "-", NULL);
    run_feed(&p, "k\n1\n", 4);
    CHECK(run_line(&p, line, sizeof(line)));
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "another process has it open");
    run_with(&r, "k\n1\n", 4, "load", "--db", db, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "another process has it open");
    run_finish(&p, &r);
    CHECK_RUN(&r, 0);
    check_scan("k\n1\n");
    run_free(&r);
}

/* A full disk fails the load, with what was committed in place, and the store
 * goes on when there is room. */
static void test_full_disk(void **state)
{
    struct run r = { 0 };
    char mount_dir[600];
    char full_db[700];
    uint64_t committed;

    (void)state;
    test_path(mount_dir, sizeof(mount_dir), dir, "small");
    CHECK_EQ(mkdir(mount_dir, 0755), 0);
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", mount_dir, "tmpfs", 0, "size=4m") != 0) {
        print_message("SKIPPED: a small file system cannot be mounted here\n");
        skip();
    }
    test_path(full_db, sizeof(full_db), mount_dir, "t.quire");
    run(&r, "gen", "--shape", "crimes", "--records", "100000", NULL);
    CHECK_RUN(&r, 0);
    write_file(file, r.out, r.out_len);
    run(&r, "load", "--db", full_db, "--key", "ID:int", "--commit-every",
        "1000", file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "make room and run it again");
    committed = run_figure(&r, "records committed");
    CHECK(committed > 0);
    run(&r, "verify", "--db", full_db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records"), committed);
    CHECK_EQ(mount("none", mount_dir, "tmpfs", MS_REMOUNT, "size=200m"), 0);
    run(&r, "load", "--db", full_db, "--key", "ID:int", file, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records replaced"), committed);
    run(&r, "verify", "--db", full_db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(umount(mount_dir), 0);
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_formats_round_trip),
        TEST(test_any_bytes),
        TEST(test_rejected_records),
        TEST(test_rejects_shown),
        TEST(test_deep_json),
        TEST(test_long_keys),
        TEST(test_usage),
        TEST(test_help),
        TEST(test_bad_inputs),
        TEST(test_empty_inputs),
        TEST(test_format_by_name),
        TEST(test_duplicates),
        TEST(test_commits),
        TEST(test_key_auto),
        TEST(test_schemas),
        TEST(test_several_inputs),
        TEST(test_compressed),
        TEST(test_zstd_window),
        TEST(test_large_records),
        TEST(test_lost_quote_is_bounded),
        TEST(test_many_columns),
        TEST(test_signals),
        TEST(test_progress),
        TEST(test_ack_to_nobody),
        TEST(test_bad_stores),
        TEST(test_truncated_stores),
        TEST(test_no_permission),
        TEST(test_second_opener),
        TEST(test_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
