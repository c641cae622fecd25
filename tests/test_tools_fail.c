/*
 * test_tools_fail.c - what the program does and says when an allocation, a call
 * on the store's file or something inside the library fails (tools/fail.h).
 *
 * A command is run with its first passage of a point failing, then its second,
 * and so on until none is left. Whatever fails, the program ends with a status
 * that it documents; a failure has a message, success has done all that was
 * asked for; the store verifies and is as before or as after.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/lib_run.h"

#define FOREVER 1000000000ul
#define MEMORY "tools/memory"

static char dir[512];   /* of the test that runs */
static char store[600]; /* dir/t */
static char made[600];  /* dir/new: not there before a command */
static char mark[600];  /* dir/mark: made by a failure */
static char *base;      /* the store before each command */
static size_t base_len;

/* A command. Names that begin with @ are of files in the directory. */
struct work {
    const char *in; /* standard input; NULL: nothing */
    const char *args[14];
    int status;  /* when nothing fails */
    bool varies; /* what it prints is not the same twice */
};

static const char in_csv[] = "id,a,b\n1,3,\n\"5\",\"4\n4\",6\n";
static const char bad_csv[] = "id,a\n7,x\n8\n\"9\"x,y\n10,\"z\n";
static const char portal[] =
    "{\"meta\":{\"view\":{\"columns\":[{\"fieldName\":\"id\"},"
    "{\"fieldName\":\"b\"}]}},\n\"data\":[[\"1\",\n2],[\"2\",{}],[\"3\"]]}";

static const struct work reading[] = {
    { NULL, { "get", "--db", "@t", "--fields", "a,id", "1", "2" }, 0, false },
    { NULL, { "get", "--db", "@t", "--tree", "raw", "big" }, 0, false },
    { NULL,
      { "get", "--db", "@t", "--tree", "json", "--format", "csv", "--fields",
        "id,/b/c", "1" },
      0,
      false },
    { NULL, { "scan", "--db", "@t", "--tree", "raw" }, 0, false },
    { NULL, { "scan", "--db", "@t", "--tree", "json" }, 0, false },
    { NULL,
      { "scan", "--db", "@t", "--tree", "two", "--keys", "--from", "a,1",
        "--to", "c" },
      0,
      false },
    { NULL,
      { "scan", "--db", "@t", "--tree", "two", "--prefix", "a", "--format",
        "table", "--reverse" },
      0,
      false },
    { NULL,
      { "scan", "--db", "@t", "--format", "json", "--fields", "a,#1" },
      0,
      false },
    { NULL, { "scan", "--db", "@t", "--fields", "nope" }, 1, false },
    { NULL, { "dump", "--db", "@t", "--tree", "auto" }, 0, false },
    { NULL,
      { "dump", "--db", "@t", "--tree", "two", "--format", "raw" },
      0,
      false },
    { NULL, { "revisions", "--db", "@t", "--tree", "json" }, 0, false },
    { NULL, { "trees", "--db", "@t" }, 0, false },
    { NULL, { "stat", "--db", "@t" }, 0, true },
    { NULL, { "verify", "--db", "@t" }, 0, false },
};

static const struct work writing[] = {
    { NULL, { "put", "--db", "@t", "9", "9,x" }, 0, false },
    { "{\"id\":\"9\"}\n",
      { "put", "--db", "@t", "--tree", "json", "9", "-" },
      0,
      false },
    { "9\t8\n", { "put", "--db", "@t", "--tree", "tsv", "9", "-" }, 0, false },
    { NULL, { "put", "--db", "@new", "--tree", "k", "k", "v" }, 0, false },
    { NULL, { "del", "--db", "@t", "1" }, 0, false },
    { NULL, { "load", "--db", "@t", "@in.csv" }, 0, true },
    { NULL, { "load", "--db", "@new", "@in.txt.gz" }, 0, true },
    { NULL,
      { "load", "--db", "@t", "--tree", "k", "--key", "id:int,a",
        "@in.csv.zst" },
      0,
      true },
    { "id\ta\n1\tx\n",
      { "load", "--db", "@t", "--tree", "tsv", "-" },
      0,
      true },
    { "{\"id\":1,\"b\":{\"c\":\"2\"}}\n[]\n{\"b\":{\"c\":3}}",
      { "load", "--db", "@t", "--tree", "k", "--format", "ndjson", "--key",
        "/b/c,id", "-" },
      3,
      true },
    { NULL,
      { "load", "--db", "@t", "--tree", "json", "--key", "id", "@in.json" },
      3,
      true },
    { "[{\"id\":\"4\"}]",
      { "load", "--db", "@t", "--tree", "json", "--records", "", "--format",
        "json", "-" },
      0,
      true },
    { "a\nb\n",
      { "load", "--db", "@t", "--format", "lines", "--tree", "k", "-" },
      0,
      true },
    { "quire raw 1\nmeta quire records 1\\nformat csv\\nkey text 1 2:id\\n"
      "columns 2\\ncolumn 2:id\\ncolumn 1:a\\n\n4\t\\x014\\x01x\nend 1\n",
      { "load", "--db", "@t", "--tree", "k", "--format", "raw", "-" },
      0,
      true },
    { NULL,
      { "load", "--db", "@t", "--mirror", "--key", "id", "@in.tar" },
      0,
      true },
    { NULL, { "load", "--db", "@t", "--mirror", "@in.csv" }, 0, true },
    { NULL,
      { "load", "--db", "@t", "--rejects", "@rejects", "@bad.csv" },
      3,
      true },
    { NULL,
      { "load", "--db", "@t", "--tree", "k", "--key-auto", "--threads", "2",
        "--on-duplicate", "error", "@bad.csv" },
      3,
      true },
    { NULL, { "load", "--db", "@t", "--key", "a", "@in.csv" }, 1, true },
    { NULL, { "load", "--db", "@t", "--key", "nope", "@in.csv" }, 1, true },
};

/* What the program says without memory. Each must come at least once. */
static struct {
    const char *says;
    bool said;
} nomem[] = {
    { ": the system has no memory for a decoder\n", false },
    { ": the system has no memory for an input\n", false },
    { ": the system has no memory for an archive\n", false },
    { ": the system has no memory for what follows\n", false },
    { "--rejects ", false },
    { "the system has no memory for a buffer of ", false },
    { "the system has no memory for a name\n", false },
    { " fields\n", false },
    { "the system has no memory for printing\n", false },
    { "the system has no memory for CSV records\n", false },
    { "the system has no memory for a CSV reader\n", false },
    { "the CSV parser has no memory for a field\n", false },
    { "the system has no memory for a row of CSV\n", false },
    { "the system has no memory for a JSON pointer\n", false },
    { "the system has no memory for JSON records\n", false },
    { "the system has no memory for a JSON reader\n", false },
    { "the system has no memory for a JSON record\n", false },
    { "the system has no memory for a reader\n", false },
    { "the system has no memory for the key's names\n", false },
    { "the system has no memory for the making of keys\n", false },
    { "the system has no memory to read ahead\n", false },
    { "no thread could be started to read ahead: ", false },
};

/* What it says besides: of the same runs without a failure, and of loads that
 * have failed. */
static const char *const besides[] = {
    ": the load has failed: ",
    ": rejected: ",
    "; its columns are: ",
    ": the tree holds csv records with the key ",
    "further rejected records",
    ": it is no plain file: passed over",
    ": it has 1 values, fewer than the document names columns",
};

static void compress_input(void)
{
    char path[600];
    char packed[1000];
    gzFile gz;
    size_t n;

    /* More than is decompressed at once. */
    test_path(path, sizeof(path), dir, "in.txt.gz");
    gz = gzopen(path, "wb");
    CHECK(gz != NULL);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(gzprintf(gz, "%1000d\n", i), 1001);
    CHECK_EQ(gzclose(gz), Z_OK);
    n = ZSTD_compress(packed, sizeof(packed), in_csv, sizeof(in_csv) - 1, 1);
    CHECK(!ZSTD_isError(n));
    test_path(path, sizeof(path), dir, "in.csv.zst");
    write_file(path, packed, n);
}

/* An archive of a directory, a link and a file. */
static void archive_input(void)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    char path[600];

    test_path(path, sizeof(path), dir, "in.tar");
    CHECK(a != NULL && e != NULL);
    CHECK_EQ(archive_write_set_format_ustar(a), ARCHIVE_OK);
    CHECK_EQ(archive_write_open_filename(a, path), ARCHIVE_OK);
    archive_entry_set_pathname(e, "d/");
    archive_entry_set_filetype(e, AE_IFDIR);
    CHECK_EQ(archive_write_header(a, e), ARCHIVE_OK);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "d/link.csv");
    archive_entry_set_filetype(e, AE_IFLNK);
    archive_entry_set_symlink(e, "in.csv");
    CHECK_EQ(archive_write_header(a, e), ARCHIVE_OK);
    archive_entry_clear(e);
    archive_entry_set_pathname(e, "d/in.csv");
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, sizeof(in_csv) - 1);
    CHECK_EQ(archive_write_header(a, e), ARCHIVE_OK);
    CHECK_EQ(archive_write_data(a, in_csv, sizeof(in_csv) - 1),
             sizeof(in_csv) - 1);
    archive_entry_free(e);
    CHECK_EQ(archive_write_free(a), ARCHIVE_OK);
}

/* A store with trees of all kinds. */
static void fill(void)
{
    static const struct {
        const char *in;
        const char *args[6];
    } trees[] = {
        { "id,a\n1,x\n2,y\n", { "--key", "id" } },
        { "id,a\na,1\na,2\nb,\n", { "--tree", "two", "--key", "id,a:text" } },
        { "a\nx\ny\n", { "--tree", "auto", "--key-auto" } },
        { "id\ta\n1\t2\n",
          { "--tree", "tsv", "--key", "id", "--format", "tsv" } },
        { "x\n", { "--tree", "lines", "--format", "lines" } },
        { "{\"id\":\"1\",\"b\":{\"c\":\"d\"}}\n",
          { "--tree", "json", "--format", "ndjson", "--key", "id" } },
    };
    struct run r = { 0 };
    char *big = malloc(300000);

    CHECK(big != NULL);
    memset(big, 'x', 300000);
    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        const char *args[12] = { "load", "--db", store, "-" };

        /* A two-field key leaves a record with an empty part out. */
        for (size_t k = 0; k < 6; k++)
            args[4 + k] = trees[i].args[k];
        run_argv(&r, trees[i].in, strlen(trees[i].in), args);
        CHECK(r.status == 0 || (i == 1 && r.status == 3));
    }
    run_with(&r, big, 300000, "put", "--db", store, "--tree", "raw", "big", "-",
             NULL);
    CHECK_RUN(&r, 0);
    free(big);
    free(base);
    base = read_file(store, &base_len);
    run_free(&r);
}

static int setup(void **state)
{
    static const struct {
        const char *name;
        const char *text;
    } files[] = {
        { "in.csv", in_csv },
        { "bad.csv", bad_csv },
        { "in.json", portal },
    };
    char path[600];

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(store, sizeof(store), dir, "t");
    test_path(made, sizeof(made), dir, "new");
    test_path(mark, sizeof(mark), dir, "mark");
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        test_path(path, sizeof(path), dir, files[i].name);
        write_file(path, files[i].text, strlen(files[i].text));
    }
    compress_input();
    archive_input();
    fill();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(base);
    base = NULL;
    test_rmtree(dir);
    return 0;
}

/* Whether the program has failure points at all. */
static bool has_points(void)
{
    static const char *const args[] = { "--version", NULL };
    struct run r = { 0 };
    bool has;

    CHECK_EQ(setenv("QUIRE_FAIL", "no good", 1), 0);
    run_argv(&r, "", 0, args);
    CHECK_EQ(unsetenv("QUIRE_FAIL"), 0);
    has = r.status == 2;
    if (!has)
        CHECK_RUN(&r, 0);
    run_free(&r);
    return has;
}

static void need_points(void)
{
    if (has_points())
        return;
    print_message("SKIPPED: the program has no failure points\n");
    skip();
}

/* Run a command, on the store as it was, with the `nth` passage of `point`
 * failing, and `times` - 1 after it; 0: none. False: it wasn't passed so often. */
static bool do_work(const struct work *w, const char *point, uint64_t nth,
                    unsigned long times, int error, struct run *r)
{
    const char *args[15] = { NULL };
    char paths[14][600];
    char spec[1000];

    write_file(store, base, base_len);
    unlink(made);
    unlink(mark);
    for (size_t i = 0; i < 14 && w->args[i] != NULL; i++) {
        args[i] = w->args[i];
        if (args[i][0] == '@') {
            test_path(paths[i], sizeof(paths[i]), dir, args[i] + 1);
            args[i] = paths[i];
        }
    }
    snprintf(spec, sizeof(spec), "%s %llu %lu %d %s", point,
             (unsigned long long)nth, times, error, mark);
    if (nth > 0)
        CHECK_EQ(setenv("QUIRE_FAIL", spec, 1), 0);
    run_argv(r, w->in != NULL ? w->in : "", w->in != NULL ? strlen(w->in) : 0,
             args);
    CHECK_EQ(unsetenv("QUIRE_FAIL"), 0);
    return access(mark, F_OK) == 0;
}

/* The tree that a command is about, as it is: its raw dump, or nothing. With
 * `verify` the store, if it is there, does. */
static char *tree_of(const struct work *w, bool verify)
{
    const char *args[8] = { "dump", "--format", "raw", "--db" };
    struct run r = { 0 };
    char *dump = NULL;

    for (size_t i = 0; w->args[i] != NULL; i++) {
        if (strcmp(w->args[i], "--db") == 0)
            args[4] = strcmp(w->args[i + 1], "@new") == 0 ? made : store;
        if (strcmp(w->args[i], "--tree") == 0) {
            args[5] = w->args[i];
            args[6] = w->args[i + 1];
        }
    }
    if (access(args[4], F_OK) == 0) {
        if (verify) {
            run(&r, "verify", "--db", args[4], NULL);
            CHECK_RUN(&r, 0);
        }
        run_argv(&r, "", 0, args);
        /* A store that holds nothing is as good as none. */
        if (r.status == 0 && strcmp(r.out, "quire raw 1\nend 0\n") != 0) {
            dump = r.out;
            r.out = NULL;
        }
    }
    run_free(&r);
    return dump != NULL ? dump : calloc(1, 1);
}

/* Every line that was said is one of the known ones. */
static void check_nomem_lines(const struct run *r)
{
    for (const char *line = r->err; *line != '\0';) {
        size_t len = strcspn(line, "\n") + 1;
        char *copy = strndup(line, len);
        bool known = false;

        CHECK(copy != NULL);
        for (size_t i = 0; i < ARRAY_LEN(nomem); i++) {
            if (strstr(copy, nomem[i].says) == NULL)
                continue;
            known = true;
            CHECK_SAYS(r, nomem[i].says);
            nomem[i].said = true;
        }
        for (size_t i = 0; i < ARRAY_LEN(besides); i++)
            known |= strstr(copy, besides[i]) != NULL;
        if (!known)
            fprintf(stderr, "not known: %s", copy);
        CHECK(known);
        free(copy);
        line += len;
    }
}

/* Let every `step`th passage of `point` fail, one a run; with `says`, up to the
 * run in which it is said, which must come. */
static void sweep(const struct work *w, bool writes, const char *point,
                  unsigned long times, int error, uint64_t step,
                  const char *says)
{
    struct run clean = { 0 };
    struct run r = { 0 };
    bool memory = strcmp(point, MEMORY) == 0;
    char *before = NULL;
    char *after = NULL;
    bool said = false;
    uint64_t nth;

    write_file(store, base, base_len);
    unlink(made);
    if (writes)
        before = tree_of(w, false);
    do_work(w, point, 0, 0, 0, &clean);
    if (writes)
        after = tree_of(w, false);
    for (nth = 1; !said && do_work(w, point, nth, times, error, &r);
         nth += step) {
        CHECK(r.status == clean.status || r.status == 1 ||
              (says != NULL && r.status == 3));
        if (r.status != clean.status)
            CHECK(r.err_len > 0);
        else if (!w->varies && clean.status == 0)
            CHECK_STR_EQ(r.out, clean.out);
        if (memory)
            check_nomem_lines(&r);
        if (writes) {
            char *now = tree_of(w, !memory || nth % 8 == 0);

            if (r.status == clean.status)
                CHECK_STR_EQ(now, after);
            else if (r.status != 3)
                CHECK(strcmp(now, before) == 0 || strcmp(now, after) == 0);
            free(now);
        }
        said = says != NULL && strstr(r.err, says) != NULL;
    }
    CHECK(nth > 1);
    if (says != NULL)
        CHECK_SAYS(&r, says);
    free(before);
    free(after);
    run_free(&clean);
    run_free(&r);
}

/* Slow builds take a sample. */
static uint64_t slow_step(void)
{
    return 16 / test_rounds(16);
}

/* Without a failure the commands do what they are here for. */
static void test_no_failure(void **state)
{
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reading) + ARRAY_LEN(writing); i++) {
        const struct work *w = i < ARRAY_LEN(reading)
                                   ? &reading[i]
                                   : &writing[i - ARRAY_LEN(reading)];

        CHECK_CASE(w->args[0]);
        do_work(w, "", 0, 0, 0, &r);
        CHECK_RUN(&r, w->status);
        if (w->args[6] != NULL && strcmp(w->args[6], "@in.tar") == 0)
            CHECK_SAYS(&r, "in.tar:d/link.csv: it is no plain file: passed "
                           "over\n");
    }
    run_free(&r);
}

/* A failing allocation anywhere, alone and with all behind it. */
static void test_every_allocation(void **state)
{
    (void)state;
    need_points();
    for (size_t i = 0; i < ARRAY_LEN(reading); i++) {
        CHECK_CASE(reading[i].args[0]);
        if (strcmp(reading[i].args[0], "stat") == 0 ||
            strcmp(reading[i].args[0], "verify") == 0 ||
            strcmp(reading[i].args[0], "revisions") == 0)
            continue; /* they allocate nothing themselves */
        sweep(&reading[i], false, MEMORY, 1, ENOMEM, slow_step(), NULL);
        sweep(&reading[i], false, MEMORY, FOREVER, ENOMEM, slow_step(), NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(writing); i++) {
        CHECK_CASE(writing[i].args[0]);
        sweep(&writing[i], true, MEMORY, 1, ENOMEM, slow_step(), NULL);
        sweep(&writing[i], true, MEMORY, FOREVER, ENOMEM, 5 * slow_step(),
              NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(nomem) && slow_step() == 1; i++) {
        CHECK_CASE(nomem[i].says);
        CHECK(nomem[i].said);
    }
}

/* A failing call on the store's file anywhere. */
static void test_every_call_on_the_file(void **state)
{
    static const struct {
        const char *point;
        int error;
        bool reads; /* a reading command comes by */
    } calls[] = {
        { "tools/io/open", EIO, true },   { "tools/io/open", EMFILE, true },
        { "tools/io/read", EIO, true },   { "tools/io/lock", EIO, true },
        { "tools/io/write", EIO, false }, { "tools/io/write", ENOSPC, false },
        { "tools/io/sync", EIO, false },
    };
    static const struct work scan = {
        NULL, { "scan", "--db", "@t", "--tree", "raw" }, 0, false
    };
    static const struct work put = {
        NULL, { "put", "--db", "@t", "9", "9,x" }, 0, false
    };
    static const struct work load = { NULL,
                                      { "load", "--db", "@new", "--key", "id",
                                        "--commit-every", "2", "@in.csv" },
                                      0,
                                      true };

    (void)state;
    need_points();
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        CHECK_CASE(calls[i].point);
        if (calls[i].reads)
            sweep(&scan, false, calls[i].point, 1, calls[i].error, slow_step(),
                  NULL);
        sweep(&put, true, calls[i].point, 1, calls[i].error, slow_step(), NULL);
        sweep(&put, true, calls[i].point, FOREVER, calls[i].error,
              2 * slow_step(), NULL);
        sweep(&load, true, calls[i].point, FOREVER, calls[i].error,
              2 * slow_step(), NULL);
    }
    sweep(&load, true, "tools/io/rename", 1, EIO, 1, ": open: ");
    sweep(&load, true, "tools/io/sync-dir", 1, EIO, 1, ": open: ");
}

/* What is said at each place where the store may fail. */
static void test_store_failures(void **state)
{
    static const struct work
        trees = { NULL, { "trees", "--db", "@t" }, 0, false },
        stat = { NULL, { "stat", "--db", "@t" }, 0, true },
        set = { NULL, { "set", "--db", "@t", "--window", "7" }, 0, false },
        verify = { NULL, { "verify", "--db", "@t" }, 0, false },
        get = { NULL, { "get", "--db", "@t", "1" }, 0, false },
        scan = { NULL, { "scan", "--db", "@t" }, 0, false },
        revisions = { NULL, { "revisions", "--db", "@t" }, 0, false },
        dump = { NULL, { "dump", "--db", "@t", "--tree", "auto" }, 0, false },
        raw = { NULL, { "dump", "--db", "@t", "--format", "raw" }, 0, false },
        put = { "9,x\n", { "put", "--db", "@t", "9", "-" }, 0, false },
        tree = { NULL,
                 { "put", "--db", "@t", "--tree", "raw", "k", "v" },
                 0,
                 false },
        del = { NULL,
                { "del", "--db", "@t", "--tree", "json", "1" },
                0,
                false },
        load = { NULL, { "load", "--db", "@t", "@in.csv" }, 0, true },
        rejects = { NULL,
                    { "load", "--db", "@t", "--rejects", "@rejects",
                      "@in.csv" },
                    0,
                    true },
        into = { "id,a\n1,2\n",
                 { "load", "--db", "@t", "--tree", "two", "-" },
                 0,
                 true },
        mirror = { NULL,
                   { "load", "--db", "@t", "--mirror", "--key", "id",
                     "@in.csv" },
                   0,
                   true },
        numbered = { "a\nz\n",
                     { "load", "--db", "@t", "--tree", "auto", "-" },
                     0,
                     true },
        dumped = { "quire raw 1\na\tb\nend 1\n",
                   { "load", "--db", "@t", "--tree", "raw", "--format", "raw",
                     "-" },
                   0,
                   true };
    static const struct {
        const struct work *w;
        bool writes;
        const char *point;
        int error;
        const char *says;
    } rows[] = {
        { &trees, false, "txlog/txn/handle", 0, ": begin reading: " },
        { &trees, false, "txlog/tree/handle", 0, ": the trees: " },
        { &trees, false, "tools/io/read", EIO, ": the number of records: " },
        { &stat, false, "txlog/tree/handle", 0, ": the trees: " },
        { &stat, false, "tools/io/read", EIO, ": the pages of a tree: " },
        { &set, true, "tools/io/write", EIO, ": set: " },
        { &revisions, false, "txlog/txn/handle", 0, ": revision 1: " },
        { &verify, false, "alloc/segment/many", 0, ": verify: " },
        { &verify, false, "pages/chain/check", 0,
          " faults; restore it from a copy, or read what can be read with "
          "quire scan\n" },
        { &get, false, "pages/chain/check", 0,
          "; run `quire verify` for the places; restore from a copy\n" },
        { &get, false, "alloc/segment/many", 0, ": 1: " },
        { &scan, false, "alloc/segment/many", 0, ": scan: " },
        { &scan, false, "tools/io/read", EIO, ": the tree's metadata: " },
        { &dump, false, "alloc/segment/many", 0, ": the automatic keys: " },
        { &raw, false, "tools/store/meta", 0, ": the tree's metadata: " },
        { &scan, false, "tools/store/close", 0, ": close: " },
        { &scan, false, "tools/store/held", 0,
          ": a fault of the library: at close 1 pages were pinned, 0 segments "
          "in use, 0 changed pages held; the file is not affected\n" },
        { &put, true, "txlog/txn/handle", 0, ": begin writing: " },
        { &put, true, "txlog/txn/handle", 0, "; give more with --memory\n" },
        { &put, true, "tools/io/read", EIO,
          "; check the device, then run it again: what was committed is "
          "there\n" },
        { &put, true, "tools/io/read", EIO, ": put: " },
        { &put, true, "tools/io/sync", EIO,
          "; run `quire revisions`: opening the store decides whether the last "
          "commit is there\n" },
        { &put, true, "tools/io/write", ENOSPC, ": commit: " },
        { &put, true, "tools/put/huge", 0,
          "standard input: a record has at most 1 GiB\n" },
        { &tree, true, "txlog/tree/handle", 0, ": raw: " },
        { &del, true, "txlog/txn/handle", 0, ": begin writing: " },
        { &del, true, "pages/chain/read", 0, ": 1: " },
        { &del, true, "tools/io/write", EIO, ": commit: " },
        { &load, true, "txlog/txn/handle", 0, ": begin writing: " },
        { &load, true, "tools/store/begin", 0,
          ": begin writing: an earlier write failed; close and open again (" },
        { &load, true, "tools/store/begin", 0,
          "; check the device, then run it again: what was committed is "
          "there\n" },
        { &load, true, "tools/store/describe", 0,
          ": the tree's description: " },
        { &load, true, "tools/store/count", 0, ": the number of records: " },
        { &load, true, "tools/store/too-big", 0,
          "in.csv:2: rejected: the store says: " },
        { &load, true, "pages/chain/read", 0, ": put: " },
        { &load, true, "pages/chain/read", 0,
          "in.csv:2: this record could not be stored\n" },
        { &load, true, "tools/io/sync", EIO, ": commit: " },
        { &load, true, "tools/io/sync", EIO,
          ": the load has failed: 0 records in 0 revisions are committed, 2 "
          "after them may be\n" },
        { &load, true, "tools/store/count", 0,
          ": the load has failed: 0 records in 0 revisions are committed, 0 "
          "after them are not\n" },
        { &load, true, "tools/read", EIO,
          "in.csv: at byte 0: Input/output error\n" },
        { &into, true, "txlog/tree/handle", 0, ": two: " },
        { &mirror, true, "tools/store/drop", 0,
          ": quire load --mirror: keys of the input: input or output failed" },
        { &mirror, true, "alloc/segment/many", 0,
          ": quire load --mirror: keys of the input: " },
        { &mirror, true, "alloc/segment/many", 0, ": compare: " },
        { &mirror, true, "txlog/cursor/handle", 0, ": delete: " },
        { &numbered, true, "txlog/cursor/handle", 0, ": the greatest key: " },
        { &dumped, true, "tools/store/meta", 0, ": the tree's metadata: " },
        { &rejects, true, "tools/rejects/truncate", EIO,
          "rejects: Input/output error\n" },
        { &rejects, true, "tools/rejects/close", EIO,
          "rejects: Input/output error\n" },
    };

    (void)state;
    need_points();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_CASE(rows[i].says);
        sweep(rows[i].w, rows[i].writes, rows[i].point, 1, rows[i].error, 1,
              rows[i].says);
    }
}

/* Waiting for a pipe fails. */
static void test_waiting(void **state)
{
    char spec[700];
    struct running p = { 0 };
    struct run r = { 0 };

    (void)state;
    need_points();
    snprintf(spec, sizeof(spec), "tools/poll 1 1 %d %s", ENOMEM, mark);
    CHECK_EQ(setenv("QUIRE_FAIL", spec, 1), 0);
    run_start(&p, "load", "--db", store, "-", NULL);
    CHECK_EQ(unsetenv("QUIRE_FAIL"), 0);
    run_finish(&p, &r);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "standard input: waiting for input: Cannot allocate "
                   "memory\n");
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_failure),
        TEST(test_every_allocation),
        TEST(test_every_call_on_the_file),
        TEST(test_store_failures),
        TEST(test_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
