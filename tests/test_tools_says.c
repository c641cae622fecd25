/*
 * test_tools_says.c - messages that no other test of the program waits for: what
 * it says of stores made by others, of inputs that can't be read, of options
 * that don't go together, of files and limits that the system denies it; and that
 * every option named by a --help is one.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
    static const char automatic[] =
        "quire raw 1\nmeta quire records 1\\nformat csv\\nkey auto\\n"
        "columns 1\\n\nabc\t\\x01a\nend 1\n";
    static const char cut[] =
        "quire raw 1\nmeta quire records 1\\nformat csv\\nkey text 1 1:k\\n"
        "key text 2 1:l\\ncolumns 2\\n\na\\x00\t\\x01b\nend 1\n";
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
        { "no automatic key",
          automatic,
          { "scan", "--keys" },
          "a key does not fit the tree's description" },
        { "no end of a field",
          cut,
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

/* A description that only a newer program could read. */
static void test_newer_description(void **state)
{
    static const char newer[] = "quire records 2\n";
    const struct quire_val meta = { newer, sizeof(newer) - 1 };
    struct quire_txn *txn;
    struct quire *other;
    struct run r = { 0 };

    (void)state;
    CHECK_OK(quire_open(db, NULL, &other));
    CHECK_OK(quire_begin(other, QUIRE_WRITE, &txn));
    CHECK_OK(quire_tree_set_meta(txn, NULL, &meta));
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(other));
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "t.quire: the tree's description is damaged or of a newer "
                   "quire; use that one\n");
    run_free(&r);
}

/* Automatic keys end where the numbers do. */
static void test_greatest_key(void **state)
{
    static const char in[] =
        "quire raw 1\nmeta quire records 1\\nformat csv\\nkey auto\\n"
        "columns 1\\n\n\xff\xff\xff\xff\xff\xff\xff\xff\t\\x01a\nend 1\n";
    struct run r = { 0 };

    (void)state;
    run_with(&r, in, sizeof(in) - 1, "load", "--db", db, "--format", "raw", "-",
             NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "b\n", 2, "load", "--db", db, "--no-header", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "t.quire: there is no key after the greatest number\n");
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

/* ---- the table of messages ---- */

/* Names that stand for something else among the arguments of a case. */
#define DB "@db"        /* the store of fill() */
#define NONE "@no"      /* a file that is not there, beside it */
#define IN "@in"        /* a file of two records, "id,a" */
#define DIR "@dir"      /* the directory */
#define LONG "@long"    /* 3,000 bytes */
#define MANY "@many"    /* 100,002 empty fields */
#define DEEP "@deep"    /* a JSON pointer of 33 parts */
#define SEVENTEEN "@17" /* a key of 17 fields */

struct said {
    const char *in; /* standard input; NULL: nothing */
    int status;
    const char *says;
    const char *args[10];
};

static char *repeat(const char *text, size_t n)
{
    size_t len = strlen(text);
    char *all = malloc(n * len + 1);

    CHECK(all != NULL);
    for (size_t i = 0; i < n; i++)
        memcpy(all + i * len, text, len);
    all[n * len] = '\0';
    return all;
}

/* A store with a tree of every kind. */
static void fill(void)
{
    static const struct {
        const char *in;
        const char *args[6];
    } trees[] = {
        { "id,a\n1,x\n2,y\n", { "--key", "id" } },
        { "id,a\n1,x\n", { "--tree", "number", "--key", "id:int" } },
        { "a,id\nx,1\n", { "--tree", "last", "--key", "id" } },
        { "a\nx\n", { "--tree", "auto", "--key-auto" } },
        { "1,2,3\n", { "--tree", "bare", "--key", "#1", "--no-header" } },
        { "x\n", { "--tree", "lines", "--format", "lines" } },
        { "{\"id\":\"1\"}\n",
          { "--tree", "json", "--format", "ndjson", "--key", "id" } },
        { "id,a\n1,\xff\n", { "--tree", "bytes", "--key", "id" } },
    };
    static char *filled; /* the store, once it has been made */
    static size_t filled_len;
    struct run r = { 0 };

    write_file(file, "id,a\n1,x\n2,y\n", 13);
    if (filled != NULL) {
        write_file(db, filled, filled_len);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        const char *args[12] = { "load", "--db", db, "-" };

        for (size_t k = 0; k < 6; k++)
            args[4 + k] = trees[i].args[k];
        run_argv(&r, trees[i].in, strlen(trees[i].in), args);
        CHECK_RUN(&r, 0);
    }
    run(&r, "put", "--db", db, "--tree", "raw", "k", "v", NULL);
    CHECK_RUN(&r, 0);
    filled = read_file(db, &filled_len);
    run_free(&r);
}

static void check_said(const struct said *cases, size_t n)
{
    char none[600];
    char *big = repeat("x", 3000);
    char *many = repeat(",", 100001);
    char *deep = repeat("/a", 33);
    char *keys = repeat("a,", 17);
    const struct {
        const char *name;
        const char *is;
    } names[] = {
        { DB, db },    { NONE, none }, { IN, file },        { DIR, dir },
        { LONG, big }, { MANY, many }, { SEVENTEEN, keys }, { DEEP, deep },
    };
    struct run r = { 0 };

    keys[2 * 17 - 1] = '\0';
    test_path(none, sizeof(none), dir, "none");
    for (size_t i = 0; i < n; i++) {
        const char *args[11] = { NULL };
        const char *in = cases[i].in != NULL ? cases[i].in : "";

        CHECK_CASE(cases[i].says);
        for (size_t k = 0; k < 10 && cases[i].args[k] != NULL; k++) {
            args[k] = cases[i].args[k];
            for (size_t j = 0; j < ARRAY_LEN(names); j++) {
                if (strcmp(args[k], names[j].name) == 0)
                    args[k] = names[j].is;
            }
        }
        run_argv(&r, in, strlen(in), args);
        CHECK_RUN(&r, cases[i].status);
        CHECK_SAYS(&r, cases[i].says);
        CHECK(access(none, F_OK) != 0);
    }
    run_free(&r);
    free(big);
    free(many);
    free(deep);
    free(keys);
}

static void test_usage(void **state)
{
    static const struct said cases[] = {
        { NULL, 2, "quire: name a command; see quire --help\n", { NULL } },
        { NULL,
          2,
          "quire: frob: there is no such command; see quire --help\n",
          { "frob" } },
        { NULL,
          2,
          "quire load: give --key or --key-auto, not both; see quire load",
          { "load", "--db", NONE, "--key", "a", "--key-auto", IN } },
        { NULL,
          2,
          "quire load: --format x: it is csv, tsv, ndjson, json, lines or raw",
          { "load", "--db", NONE, "--format", "x", IN } },
        { NULL,
          2,
          "quire load: --records a: a JSON pointer begins with a slash",
          { "load", "--db", NONE, "--records", "a", IN } },
        { NULL,
          2,
          "quire load: --on-duplicate x: it is replace, keep or error",
          { "load", "--db", NONE, "--on-duplicate", "x", IN } },
        { NULL,
          2,
          "quire load: --mirror goes with neither --key-auto nor "
          "--commit-every",
          { "load", "--db", NONE, "--mirror", "--key-auto", IN } },
        { NULL,
          2,
          "quire load: --mirror goes with neither --key-auto nor "
          "--commit-every",
          { "load", "--db", NONE, "--mirror", "--commit-every", "5", IN } },
        { NULL,
          2,
          "quire load: --commit-every 0: at least 1 record",
          { "load", "--db", NONE, "--commit-every", "0", IN } },
        { NULL,
          2,
          "quire load: --max-record: it is 1 byte to 1G",
          { "load", "--db", NONE, "--max-record", "2G", IN } },
        { NULL,
          2,
          "quire load: --zstd-window: it is 1K to 2G",
          { "load", "--db", NONE, "--zstd-window", "1", IN } },
        { NULL,
          2,
          "quire load: --threads: it is 1 or 2",
          { "load", "--db", NONE, "--threads", "3", IN } },
        { NULL,
          2,
          "quire load: name an INPUT, or - for standard input",
          { "load", "--db", NONE } },
        { NULL, 2, "quire get: name a KEY", { "get", "--db", DB } },
        { NULL, 2, "quire del: name a KEY", { "del", "--db", DB } },
        { NULL, 2, "quire put: give KEY and RECORD", { "put", "--db", DB } },
        { NULL,
          2,
          "quire put: give KEY and RECORD",
          { "put", "--db", DB, "1", "2", "3" } },
        { NULL,
          2,
          "quire put: --on-duplicate x: it is replace, keep or error",
          { "put", "--db", DB, "--on-duplicate", "x", "1", "1,x" } },
        { NULL,
          2,
          "quire scan: --keys goes with neither --format nor --fields",
          { "scan", "--db", DB, "--keys", "--fields", "a" } },
        { NULL,
          2,
          "quire get: --format raw: it is csv, tsv, ndjson, json or table;",
          { "get", "--db", DB, "--format", "raw", "1" } },
        { NULL,
          2,
          "quire dump: --format x: it is csv, tsv, ndjson, json, table or raw",
          { "dump", "--db", DB, "--format", "x" } },
        { NULL,
          2,
          "quire gen: --shape crimes is required, the only one",
          { "gen", "--shape", "x", "--records", "1" } },
        { NULL,
          2,
          "quire gen: --records N is required",
          { "gen", "--shape", "crimes" } },
        { NULL,
          2,
          "quire get: --rev x: give a whole number",
          { "get", "--db", DB, "--rev", "x", "1" } },
        { NULL,
          2,
          "quire bench cache: --seconds x: give seconds, such as 0.25 or 2",
          { "bench", "cache", "--seconds", "x" } },
        { NULL,
          2,
          "quire stat: --memory 8X: give bytes, or a number with K, M or G",
          { "stat", "--db", DB, "--memory", "8X" } },
        { NULL,
          2,
          "quire stat: --memory 1048576: the least is 8M",
          { "stat", "--db", DB, "--memory", "1M" } },
        { NULL,
          2,
          "quire set: give --versioning, --window, or both",
          { "set", "--db", DB } },
        { NULL,
          2,
          "quire set: --versioning half: it is full, incremental, differential, "
          "sliding or adaptive",
          { "set", "--db", DB, "--versioning", "half" } },
        { NULL,
          2,
          "quire set: --window: give 2 to 16",
          { "set", "--db", DB, "--window", "17" } },
        { NULL,
          2,
          "quire set: --window: give 2 to 16",
          { "set", "--db", DB, "--window", "1" } },
    };

    (void)state;
    fill();
    check_said(cases, ARRAY_LEN(cases));
}

/* What is the same for all commands. */
static void test_all_commands(void **state)
{
    static const struct {
        const char *name;
        const char *args[2]; /* that it needs */
        bool reads;          /* needs a store that is there */
        bool plain;          /* takes no arguments */
    } commands[] = {
        { "load", { "-" }, false, false },
        { "get", { "k" }, true, false },
        { "put", { "k", "v" }, false, false },
        { "del", { "k" }, true, false },
        { "scan", { NULL }, true, true },
        { "dump", { NULL }, true, true },
        { "revisions", { NULL }, true, true },
        { "trees", { NULL }, true, true },
        { "stat", { NULL }, true, true },
        { "verify", { NULL }, true, true },
        { "set", { "--window", "3" }, true, true },
        { "gen", { NULL }, false, true },
    };
    struct run r = { 0 };
    char want[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const char *name = commands[i].name;
        const char *a = commands[i].args[0];
        const char *b = commands[i].args[1];

        CHECK_CASE(name);
        run(&r, name, "--nope", NULL);
        CHECK_RUN(&r, 2);
        snprintf(want, sizeof(want),
                 "quire %s: --nope: there is no such option; see quire %s "
                 "--help\n",
                 name, name);
        CHECK_STR_EQ(r.err, want);
        if (commands[i].plain) {
            run(&r, name, "x", NULL);
            CHECK_RUN(&r, 2);
            CHECK_SAYS(&r, ": x: it takes no arguments; see quire");
        }
        if (strcmp(name, "gen") == 0)
            continue;
        run(&r, name, a != NULL ? a : NULL, b, NULL);
        CHECK_RUN(&r, 2);
        CHECK_SAYS(&r, ": --db FILE is required; see quire");
        run(&r, name, "--db", dir, a, b, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "open: not a quire store");
        CHECK_SAYS(&r, "this is a directory");
        CHECK_SAYS(&r, "; check the path: nothing was changed\n");
        write_file(file, "hello\n", 6);
        run(&r, name, "--db", file, a, b, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "this is a text file, not a store");
        test_path(want, sizeof(want), dir, "no/such");
        run(&r, name, "--db", want, a, b, NULL);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, commands[i].reads
                           ? ": there is no such store; make one with quire"
                           : ": no store can be made there: there is no such "
                             "directory\n");
    }
    run_free(&r);
}

/* Each option that a command's --help names is one: with a value, if one is
 * named, and without, if none. */
static void test_options_of_help(void **state)
{
    static const struct {
        const char *name;
        size_t options;
    } commands[] = {
        { "load", 17 }, { "get", 7 },  { "put", 5 },    { "del", 4 },
        { "scan", 14 }, { "dump", 7 }, { "trees", 4 },  { "revisions", 4 },
        { "stat", 4 },  { "gen", 3 },  { "verify", 3 }, { "set", 5 },
    };
    struct run help = { 0 };
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        size_t n = 0;

        CHECK_CASE(commands[i].name);
        run(&help, commands[i].name, "--help", NULL);
        CHECK_RUN(&help, 0);
        CHECK_EQ(help.err_len, 0);
        for (const char *at = help.out; (at = strstr(at, "\n  --")) != NULL;) {
            char option[64];
            size_t len = strcspn(at + 3, " ");
            bool value = at[3 + len] == ' ' && at[4 + len] != ' ';

            CHECK(len < 50);
            snprintf(option, sizeof(option), "%.*s%s", (int)len, at + 3,
                     value ? "" : "=x");
            run(&r, commands[i].name, option, NULL);
            CHECK_RUN(&r, 2);
            CHECK_SAYS(&r, value ? " needs a value; see quire "
                                 : " takes no value; see quire ");
            at += 3 + len;
            n++;
        }
        CHECK_EQ(n, commands[i].options);
    }
    run_free(&help);
    run_free(&r);
}

static void test_reading(void **state)
{
    static const struct said cases[] = {
        { NULL,
          1,
          ": there is no revision 99; see quire revisions\n",
          { "get", "--db", DB, "--rev", "99", "1" } },
        { NULL,
          1,
          ": there is no revision 99; see quire revisions\n",
          { "scan", "--db", DB, "--rev", "99" } },
        { NULL,
          1,
          ": there is no revision 99; see quire revisions\n",
          { "dump", "--db", DB, "--rev", "99" } },
        { NULL,
          1,
          ": there is no revision 99; see quire revisions\n",
          { "trees", "--db", DB, "--rev", "99" } },
        { NULL,
          1,
          ": revision 1 has no tree \"raw\"; see quire trees\n",
          { "get", "--db", DB, "--rev", "1", "--tree", "raw", "k" } },
        { NULL,
          1,
          " has no tree \"x\"; see quire trees\n",
          { "scan", "--db", DB, "--tree", "x" } },
        { NULL,
          1,
          " has no tree \"x\"; see quire trees\n",
          { "dump", "--db", DB, "--tree", "x" } },
        { NULL,
          1,
          ": there is no tree \"x\"; see quire trees\n",
          { "del", "--db", DB, "--tree", "x", "k" } },
        { NULL,
          1,
          "(a tree's name has 1 to 255 bytes)",
          { "scan", "--db", DB, "--tree", LONG } },
        { NULL,
          1,
          ": revision 1: argument or option out of range (a tree's name",
          { "revisions", "--db", DB, "--tree", LONG } },
        { NULL,
          1,
          "(a tree's name has 1 to 255 bytes)",
          { "put", "--db", DB, "--tree", LONG, "k", "v" } },
        { NULL,
          1,
          "(a tree's name has 1 to 255 bytes)",
          { "load", "--db", DB, "--tree", LONG, IN } },
        { NULL,
          1,
          "(a tree's name has 1 to 255 bytes)",
          { "del", "--db", DB, "--tree", LONG, "k" } },
        { NULL, 1, " has no key 7\n", { "get", "--db", DB, "7" } },
        { NULL,
          1,
          "key a,b: it has 2 fields; the tree's key has 1\n",
          { "get", "--db", DB, "a,b" } },
        { NULL,
          1,
          "key \"a: it is not one CSV row of key fields\n",
          { "get", "--db", DB, "\"a" } },
        { NULL,
          1,
          "key : key field \"id\" is empty\n",
          { "get", "--db", DB, "" } },
        { NULL,
          1,
          "key x: key field \"id\" is \"x\", not a whole number of 64 bits\n",
          { "get", "--db", DB, "--tree", "number", "x" } },
        { NULL,
          1,
          "key x: this tree's keys are whole numbers\n",
          { "scan", "--db", DB, "--tree", "auto", "--from", "x" } },
        { NULL,
          1,
          "--prefix 1: this tree's keys begin with a number; use --from and "
          "--to\n",
          { "scan", "--db", DB, "--tree", "number", "--prefix", "1" } },
        { NULL,
          1,
          "--fields \"a: it is not one CSV row of names\n",
          { "scan", "--db", DB, "--fields", "\"a" } },
        { NULL,
          1,
          "--fields a: the records of this tree have no fields\n",
          { "scan", "--db", DB, "--tree", "raw", "--fields", "a" } },
        { NULL,
          1,
          "--fields: it is 1 to 100000 fields\n",
          { "scan", "--db", DB, "--fields", MANY } },
        { NULL,
          1,
          "--fields: no column is called \"x\"; its columns are: id,a\n",
          { "get", "--db", DB, "--fields", "x", "1" } },
        { NULL,
          1,
          "--fields: field #9: the columns are #1 to #2\n",
          { "get", "--db", DB, "--fields", "#9", "1" } },
        { NULL,
          1,
          "--fields: without a header line a column is given by number: '#1'\n",
          { "scan", "--db", DB, "--tree", "bare", "--fields", "x" } },
        { NULL,
          1,
          "record 1 is not UTF-8, which JSON must be; use csv\n",
          { "scan", "--db", DB, "--tree", "bytes", "--format", "json" } },
        { NULL,
          1,
          "records of JSON have no fixed columns: choose some with --fields, "
          "or print them as ndjson or json\n",
          { "scan", "--db", DB, "--tree", "json", "--format", "csv" } },
        { NULL,
          1,
          "two columns are called \"a\", which no JSON object can have; print "
          "csv, or choose with --fields\n",
          { "scan", "--db", DB, "--fields", "a,a", "--format", "json" } },
    };

    (void)state;
    fill();
    check_said(cases, ARRAY_LEN(cases));
}

static void test_writing(void **state)
{
    static const struct said cases[] = {
        { NULL,
          1,
          "RECORD is missing: this tree's records are csv\n",
          { "put", "--db", DB, "1" } },
        { NULL,
          1,
          "RECORD: leave it out: this tree's records are lines\n",
          { "put", "--db", DB, "--tree", "lines", "1", "2" } },
        { NULL,
          1,
          "KEY: a line is not empty and has no line end in it\n",
          { "put", "--db", DB, "--tree", "lines", "" } },
        { NULL,
          1,
          "RECORD: it is not one CSV row\n",
          { "put", "--db", DB, "1", "\"" } },
        { NULL,
          1,
          "RECORD: it has 3 columns, the tree has 2\n",
          { "put", "--db", DB, "1", "1,2,3" } },
        { NULL,
          1,
          "RECORD: its key is not KEY; change one of them\n",
          { "put", "--db", DB, "1", "2,x" } },
        { NULL,
          1,
          "RECORD: the row has no field for the key, \"id\"\n",
          { "put", "--db", DB, "--tree", "last", "1", "x," } },
        { NULL,
          1,
          "RECORD: give it on one line\n",
          { "put", "--db", DB, "--tree", "json", "1", "{\n}" } },
        { NULL,
          1,
          "RECORD: there is no member \"id\" for the key\n",
          { "put", "--db", DB, "--tree", "json", "1", "{}" } },
        { NULL,
          1,
          "RECORD: broken JSON near byte ",
          { "put", "--db", DB, "--tree", "json", "1", "{]" } },
        { NULL,
          1,
          ": the key 1 is there already; to replace it, leave out "
          "--on-duplicate error\n",
          { "put", "--db", DB, "--on-duplicate", "error", "1", "1,x" } },
        { NULL,
          1,
          ": put: too large (a key of 3000 bytes; the limit is 2048, ",
          { "put", "--db", DB, "--tree", "raw", LONG, "v" } },
        { NULL, 1, ": there is no key 7\n", { "del", "--db", DB, "7" } },
    };

    (void)state;
    fill();
    check_said(cases, ARRAY_LEN(cases));
}

static void test_loading(void **state)
{
    static const struct said cases[] = {
        { NULL,
          1,
          "none: No such file or directory\n",
          { "load", "--db", DB, NONE } },
        { NULL,
          1,
          ": it is a directory; name a file\n",
          { "load", "--db", DB, DIR } },
        { NULL,
          1,
          "standard input: say what the key is: --key FIELD[,FIELD...] or "
          "--key-auto\n",
          { "load", "--db", NONE, "-" } },
        { NULL,
          1,
          "--key \"id: its quoting is broken\n",
          { "load", "--db", NONE, "--key", "\"id", IN } },
        { NULL,
          1,
          ": a field has no name\n",
          { "load", "--db", NONE, "--key", "id,", IN } },
        { NULL,
          1,
          ": a key has at most 16 fields\n",
          { "load", "--db", NONE, "--key", SEVENTEEN, IN } },
        { NULL,
          1,
          "in: no column is called \"x\"; its columns are: id,a\n",
          { "load", "--db", NONE, "--key", "x", IN } },
        { "id,id\n1,2\n",
          1,
          "standard input: 2 columns are called \"id\"; give it by number: "
          "'#N'\n",
          { "load", "--db", NONE, "--key", "id", "-" } },
        { NULL,
          1,
          "in: field #3: the columns are #1 to #2\n",
          { "load", "--db", NONE, "--key", "#3", IN } },
        { "x\n",
          1,
          "of format lines, where the key is the line: leave --key and "
          "--key-auto out, or give another --format\n",
          { "load", "--db", NONE, "--format", "lines", "--key", "x", "-" } },
        { "[]",
          1,
          "a JSON pointer has at most 32 parts\n",
          { "load", "--db", NONE, "--format", "json", "--key", "id",
            "--records", DEEP, "-" } },
        { "id,b\n1,2\n",
          1,
          "standard input: its header differs from the columns that the tree "
          "has; columns may only be added behind the last; use another "
          "--tree\n",
          { "load", "--db", DB, "-" } },
        { "a,b\n1,2\n",
          1,
          "standard input: its header names 2 columns, the tree's records "
          "have 3; use another --tree\n",
          { "load", "--db", DB, "--tree", "bare", "--key", "#1", "-" } },
        { "id,a\n1,2\n",
          1,
          ": the tree holds csv records with the key id, this load has csv "
          "with a; use the same, or another --tree\n",
          { "load", "--db", DB, "--key", "a", "-" } },
        { "id,a\n1,2\n",
          1,
          ": the tree holds records that quire load did not make; load into "
          "another one with --tree\n",
          { "load", "--db", DB, "--tree", "raw", "--key", "a", "-" } },
        { "id,a\n9,2\n9,3\n",
          1,
          "standard input:3: the key 9 is there already; to go on, use "
          "--on-duplicate replace or keep\n",
          { "load", "--db", DB, "--on-duplicate", "error", "-" } },
        { "",
          0,
          "standard input: it is empty: no header line, nothing loaded\n",
          { "load", "--db", DB, "-" } },
        { "a line\n",
          3,
          "standard input:1: rejected: the line has 6 bytes, over "
          "--max-record 4\n",
          { "load", "--db", DB, "--tree", "lines", "--format", "lines",
            "--max-record", "4", "-" } },
        { "{]\n",
          3,
          "standard input:1: rejected: broken JSON near byte ",
          { "load", "--db", DB, "--tree", "json", "--format", "ndjson", "-" } },
        { NULL, 1, "--rejects ", { "load", "--db", DB, "--rejects", DIR, IN } },
        { "{\"id\":null}\n",
          3,
          "standard input:1: rejected: key member \"id\" is null\n",
          { "load", "--db", DB, "--tree", "json", "--format", "ndjson", "-" } },
        { "quire raw 1\nmeta of more bytes\nend 0\n",
          1,
          "standard input:2: the line has 18 bytes, over --max-record 12\n",
          { "load", "--db", DB, "--tree", "raw", "--format", "raw",
            "--max-record", "12", "-" } },
    };

    (void)state;
    fill();
    check_said(cases, ARRAY_LEN(cases));
}

/* A key that is no longer than some store takes, but longer than this one. */
static void test_key_of_another_store(void **state)
{
    char *big = repeat("x", 3000);
    struct run r = { 0 };

    (void)state;
    run_with(&r, big, 3000, "load", "--db", db, "--format", "lines", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "standard input:1: rejected: the key has 3000 bytes, this "
                   "store takes 2048\n");
    free(big);
    /* Longer than any store takes. */
    big = repeat("x", 70000);
    run_with(&r, big, 70000, "load", "--db", db, "--format", "lines", "-",
             NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "standard input:1: rejected: the line has 70000 bytes; a "
                   "key has at most an eighth of a page\n");
    run_with(&r, big, 70000, "load", "--db", db, "--tree", "rows",
             "--no-header", "--key=#1", "-", NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "standard input:1: rejected: key field \"#1\" has 70000 "
                   "bytes; a key has at most an eighth of a page\n");
    run_free(&r);
    free(big);
}

/* --rejects' file is made empty: it can be nothing that is needed, there or
 * about to be made. */
static void test_rejects_is_needed(void **state)
{
    char none[600];
    struct run r = { 0 };
    char *data;
    size_t len;

    (void)state;
    fill();
    test_path(none, sizeof(none), dir, "none");
    run(&r, "load", "--db", db, "--rejects", file, file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is an input, which would be lost; name another file\n");
    data = read_file(file, &len);
    CHECK_STR_EQ(data, "id,a\n1,x\n2,y\n");
    free(data);
    run(&r, "load", "--db", db, "--rejects", db, file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is the store, which would be lost; name another file\n");
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run(&r, "load", "--db", none, "--key", "id", "--rejects", none, file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is the store, which would be lost; name another file\n");
    CHECK(access(none, F_OK) != 0);
    run(&r, "load", "--db", db, "--rejects", none, none, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is an input, which would be lost; name another file\n");
    CHECK(access(none, F_OK) != 0);
    write_file(none, "what an earlier load has left there", 35);
    run(&r, "load", "--db", db, "--rejects", none, file, NULL);
    CHECK_RUN(&r, 0);
    data = read_file(none, &len);
    CHECK_STR_EQ(data, "input\tline\treason\trecord\n");
    free(data);
    run(&r, "load", "--db", db, "--rejects", "/dev/full", file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "/dev/full: No space left on device; rejected records could "
                   "not be written down\n");
    run_free(&r);
}

/* Standard output that takes nothing or isn't there. */
static void test_no_output(void **state)
{
    const char *const cases[][8] = {
        { "scan", "--db", db },
        { "scan", "--db", db, "--keys" },
        { "get", "--db", db, "1" },
        { "dump", "--db", db },
        { "dump", "--db", db, "--format", "raw" },
        { "revisions", "--db", db },
        { "trees", "--db", db },
        { "stat", "--db", db },
        { "verify", "--db", db },
        { "load", "--db", db, file },
        { "load", "--db", db, "--ack", file },
        { "gen", "--shape", "crimes", "--records", "100" },
        { "--help" },
        { "--version" },
        { "load", "--help" },
    };
    const char *const much[][8] = {
        { "scan", "--db", db, "--tree", "long" },
        { "scan", "--db", db, "--tree", "long", "--format", "json" },
    };
    struct run r = { 0 };

    (void)state;
    fill();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CHECK_CASE(cases[i][0]);
        run_shell(&r, "", ">/dev/full", cases[i]);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "quire: standard output: No space left on device");
        run_shell(&r, "", ">&-", cases[i]);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "quire: standard output: Bad file descriptor");
    }
    /* What is longer than the C library's buffer fails on its way. */
    run(&r, "gen", "--shape", "crimes", "--records", "100", NULL);
    write_file(file, r.out, r.out_len);
    run(&r, "load", "--db", db, "--tree", "long", "--key", "ID", file, NULL);
    CHECK_RUN(&r, 0);
    for (size_t i = 0; i < ARRAY_LEN(much); i++) {
        CHECK_CASE(much[i][0]);
        run_shell(&r, "", ">/dev/full", much[i]);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "quire: standard output: No space left on device\n");
    }
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* A program started without its files must not take the store for one. */
static void test_no_files(void **state)
{
    const char *const del[] = { "del", "--db", db, "nokey", NULL };
    const char *const load[] = { "load", "--db", db, "-", NULL };
    const char *const put[] = { "put", "--db", db, "1", "-", NULL };
    struct run r = { 0 };
    char *before;
    char *after;
    size_t len;

    (void)state;
    fill();
    before = read_file(db, &len);
    run_shell(&r, "", "2>&-", del);
    CHECK_RUN(&r, 1);
    CHECK_EQ(r.err_len, 0);
    run_shell(&r, "", "<&- >&- 2>&-", del);
    CHECK_RUN(&r, 1);
    after = read_file(db, &len);
    CHECK(len > 64 && memcmp(before, after, 64) == 0);
    run_shell(&r, "", "<&-", load);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "quire: standard input: at byte 0: Bad file descriptor\n");
    run_shell(&r, "", "<&-", put);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "quire: standard input: Bad file descriptor\n");
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
    free(before);
    free(after);
}

/* Files that the user may not read or write. The superuser may all, so that it
 * gives that right away first. */
static void test_permissions(void **state)
{
    const char *before = geteuid() == 0
                             ? "exec setpriv --bounding-set=-all \"$0\" \"$@\""
                             : "";
    const char *const version[] = { "--version", NULL };
    const char *const put[] = { "put", "--db", db, "1", "1,z", NULL };
    const char *const get[] = { "get", "--db", db, "1", NULL };
    char none[600];
    const char *const load[] = {
        "load", "--db", none, "--key", "id", file, NULL
    };
    const char *const rejects[] = { "load",      "--db", none, "--key", "id",
                                    "--rejects", file,   "-",  NULL };
    struct run r = { 0 };

    (void)state;
    fill();
    test_path(none, sizeof(none), dir, "none");
    CHECK_EQ(chmod(file, 0), 0);
    CHECK_EQ(chmod(db, 0444), 0);
    run_shell(&r, before, "", version);
    if (r.status != 0) {
        run_free(&r);
        print_message("SKIPPED: no setpriv that takes the superuser's rights "
                      "away\n");
        skip();
    }
    run_shell(&r, before, "", put);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "; check the permissions of the file and its directory\n");
    run_shell(&r, before, "", get);
    CHECK_RUN(&r, 0);
    run_shell(&r, before, "", load);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "in: Permission denied\n");
    CHECK(access(none, F_OK) != 0);
    run_shell(&r, before, "", rejects);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "--rejects ");
    CHECK_SAYS(&r, "in: Permission denied\n");
    CHECK(access(none, F_OK) != 0);
    run_free(&r);
}

/* Limits of the system. */
static void test_limits(void **state)
{
    const char *const load[] = { "load", "--db", db, file, NULL };
    const char *const del[] = { "del", "--db", db, "1", NULL };
    char *big = repeat("x", 100000);
    const char *const put[] = { "put", "--db", db,  "--tree",
                                "raw", "k",    big, NULL };
    struct run r = { 0 };

    (void)state;
    fill();
    run_shell(&r, "ulimit -n 4", "", load);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "quire: pipe: Too many open files\n");
    run_shell(&r, "trap '' XFSZ && ulimit -f 16", "", del);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "File too large); make room and run it again: what was "
                   "committed is there\n");
    run_shell(&r, "trap '' XFSZ && ulimit -f 200", "", put);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "; make room and run it again: what was committed is "
                   "there\n");
    free(big);
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* A record for which the system has no memory. */
static void test_no_memory(void **state)
{
    static const char *const formats[] = { "lines", "csv", "tsv", "ndjson",
                                           "json" };
    static const char head[] = "[{\"id\":\"";
    struct run r = { 0 };
    char *big;

    (void)state;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    print_message("SKIPPED: the sanitizers need all of the address space\n");
    skip();
#endif
    big = repeat("x", (size_t)40 << 20);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        const char *const args[] = { "load",
                                     "--db",
                                     db,
                                     "--memory",
                                     "8M",
                                     "--max-record",
                                     "512M",
                                     "--threads",
                                     "1",
                                     "--format",
                                     formats[i],
                                     file,
                                     i > 0 ? "--key" : NULL,
                                     "id",
                                     NULL };

        CHECK_CASE(formats[i]);
        if (i == 3)
            memcpy(big, head + 1, sizeof(head) - 2);
        if (i == 4)
            memcpy(big, head, sizeof(head) - 1);
        write_file(file, big, (size_t)40 << 20);
        run_shell(&r, "ulimit -v 100000", "", args);
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, " has no memory for ");
        CHECK_SAYS(&r, ": the load has failed: 0 records in 0 revisions");
        CHECK(access(db, F_OK) != 0);
    }
    run_free(&r);
    free(big);
}

/* Turn over the bits of 4 KiB of the store; a second time, turn them back. */
static void damage(size_t from)
{
    size_t len;
    char *data = read_file(db, &len);

    CHECK(from + 4096 < len);
    for (size_t i = 0; i < 4096; i++)
        data[from + i] = (char)~data[from + i];
    write_file(db, data, len);
    free(data);
}

/* A store that another process has open, or that is damaged. */
static void test_store_not_to_be_had(void **state)
{
    struct running other = { 0 };
    struct run r = { 0 };
    char line[64];
    size_t from;

    (void)state;
    fill();
    run_start(&other, "load", "--db", db, "--ack", "--commit-every", "1", "-",
              NULL);
    run_feed(&other, "id,a\n5,x\n", 9);
    CHECK(run_line(&other, line, sizeof(line)));
    run(&r, "put", "--db", db, "1", "1,z", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "; another process has it open: wait for its end\n");
    run_finish(&other, &r);
    CHECK_RUN(&r, 0);

    run(&r, "gen", "--shape", "crimes", "--records", "2000", NULL);
    CHECK_RUN(&r, 0);
    write_file(file, r.out, r.out_len);
    run(&r, "load", "--db", db, "--tree", "many", "--key", "ID:int", file,
        NULL);
    CHECK_RUN(&r, 0);
    run(&r, "stat", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    from = run_figure(&r, "log_offset") / 2;
    /* Damage in the last commit would be one that was cut off by a crash. */
    run(&r, "put", "--db", db, "1", "1,z", NULL);
    CHECK_RUN(&r, 0);
    damage(from);
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "t.quire: open: the file is damaged (");
    CHECK_SAYS(&r, "); restore it from a copy\n");
    damage(from); /* as it was */
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* Options whose work shows nowhere else. */
static void test_option_effects(void **state)
{
    struct run r = { 0 };

    (void)state;
    fill();
    run(&r, "stat", "--db", db, "--memory", "32M", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "memory_budget_bytes"), 32 << 20);
    run(&r, "dump", "--db", db, "--tree", "lines", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "x\n");
    run(&r, "stat", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.err_len, 0);
    run(&r, "stat", "--db", db, "--verbose", NULL);
    CHECK_RUN(&r, 0);
    CHECK(strncmp(r.err, "quire: info: ", 13) == 0 ||
          strncmp(r.err, "quire: debug: ", 14) == 0);
    /* what the cache did, by kind, is told at the end of any command */
    run(&r, "dump", "--db", db, "--tree", "lines", "--verbose", NULL);
    CHECK_RUN(&r, 0);
    CHECK(strstr(r.err, "quire: info: cache: leaf: ") != NULL);
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_foreign_records),
        TEST(test_newer_description),
        TEST(test_greatest_key),
        TEST(test_inputs),
        TEST(test_portal_columns),
        TEST(test_mirror_needs_its_tree),
        TEST(test_file_limit),
        TEST(test_usage),
        TEST(test_all_commands),
        TEST(test_options_of_help),
        TEST(test_reading),
        TEST(test_writing),
        TEST(test_loading),
        TEST(test_key_of_another_store),
        TEST(test_rejects_is_needed),
        TEST(test_no_output),
        TEST(test_no_files),
        TEST(test_permissions),
        TEST(test_limits),
        TEST(test_no_memory),
        TEST(test_store_not_to_be_had),
        TEST(test_option_effects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
