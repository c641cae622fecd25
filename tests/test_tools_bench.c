/*
 * quire bench: options, what is printed, every case of the store's benchmark,
 * values that are wrong, and measuring processes that end before their time.
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

#include "tests/lib_run.h"

/* Sanitizers take more memory than the limit of a small store allows. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#define LITTLE "1G"
#else
#define SANITIZED 0
#define LITTLE "8M"
#endif

static char dir[256];

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

static size_t files_in(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;

    CHECK(d != NULL);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

/* The lines of `r`'s output, each of which must be one JSON object; at most
 * `cap`. */
static size_t parse_lines(const struct run *r, yajl_val *lines, size_t cap)
{
    size_t n = 0;
    char *copy = strdup(r->out);
    char *rest = copy;

    CHECK(copy != NULL);
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        char why[200];

        CHECK(n < cap);
        lines[n] = yajl_tree_parse(line, why, sizeof(why));
        CHECK(lines[n] != NULL && YAJL_IS_OBJECT(lines[n]));
        n++;
    }
    free(copy);
    return n;
}

static const char *text_of(yajl_val line, const char *name)
{
    const char *path[] = { name, NULL };
    yajl_val v = yajl_tree_get(line, path, yajl_t_string);

    CHECK(v != NULL);
    return YAJL_GET_STRING(v);
}

static bool has(yajl_val line, const char *name)
{
    const char *path[] = { name, NULL };

    return yajl_tree_get(line, path, yajl_t_any) != NULL;
}

static double number_of(yajl_val line, const char *name)
{
    const char *path[] = { name, NULL };
    yajl_val v = yajl_tree_get(line, path, yajl_t_number);

    CHECK(v != NULL);
    return YAJL_GET_DOUBLE(v);
}

/* How many of the lines are of `engine`, and of the case `name` if not NULL. */
static size_t count_lines(yajl_val *lines, size_t n, const char *engine,
                          const char *name)
{
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        found += strcmp(text_of(lines[i], "engine"), engine) == 0 &&
                 (name == NULL || strcmp(text_of(lines[i], "case"), name) == 0);
    return found;
}

static void free_lines(yajl_val *lines, size_t n)
{
    for (size_t i = 0; i < n; i++)
        yajl_tree_free(lines[i]);
}

/* What is asked for wrongly is refused, by name. */
static void test_refused(void **state)
{
    static const struct {
        const char *name;
        const char *args[6];
        int status;
        const char *says;
    } cases[] = {
        { "no benchmark", { NULL }, 2, "name a benchmark" },
        { "unknown one", { "speed" }, 2, "speed: there is no such benchmark" },
        { "case", { "store", "--cases", "scan,skim" }, 2, "--cases skim" },
        { "fill beyond memory",
          { "store", "--cases", "ltm-fill-seq" },
          2,
          "ltm-fill-seq" },
        { "engine", { "store", "--engines", "quire,oil" }, 2, "--engines oil" },
        { "argument", { "store", "here" }, 2, "here: nothing is expected" },
        { "too few", { "store", "--records", "255" }, 2, "out of its range" },
        { "no time", { "store", "--seconds", "0" }, 2, "out of its range" },
        { "time", { "store", "--seconds", "0.0001" }, 2, "give seconds" },
        { "half a time", { "store", "--seconds", "1." }, 2, "give seconds" },
        { "no number", { "store", "--seconds", "soon" }, 2, "give seconds" },
        { "no round", { "store", "--rounds", "0" }, 2, "out of its range" },
        { "rounds", { "store", "--rounds", "100" }, 2, "out of its range" },
        { "threads", { "store", "--threads", "65" }, 2, "out of its range" },
        { "values", { "store", "--values", "none" }, 2, "half or text" },
        { "short", { "store", "--value-bytes", "15" }, 2, "out of its range" },
        { "long", { "store", "--value-bytes", "2049" }, 2, "out of its range" },
        { "order", { "store", "--order", "any" }, 2, "random or sequential" },
        { "memory", { "store", "--memory", "1M" }, 2, "out of its range" },
        { "page", { "store", "--page", "12K" }, 2, "out of its range" },
        { "batch", { "store", "--batch", "0" }, 2, "out of its range" },
        { "no keys", { "store", "--keys", "/nowhere" }, 1, "/nowhere" },
        { "no directory", { "store", "--dir", "/nowhere" }, 1, "/nowhere" },
        { "page's case", { "page", "--cases", "get,grab" }, 2, "--cases grab" },
        { "shape", { "page", "--keys", "round" }, 2, "--keys round" },
        { "size", { "page", "--pages", "4K,5K" }, 2, "--pages 5K" },
        { "variant", { "page", "--variants", "mmx" }, 2, "--variants mmx" },
        { "few records", { "page", "--records", "9999" }, 2, "range" },
        { "page's rounds", { "page", "--rounds", "0" }, 2, "range" },
        { "page's argument", { "page", "4K" }, 2, "4K: nothing is expected" },
        { "page's directory", { "page", "--dir", "/nowhere" }, 1, "/nowhere" },
        { "a case of versioning",
          { "versioning", "--cases", "changes-2" },
          2,
          "--cases changes-2: not one" },
        { "a versioning",
          { "versioning", "--versionings", "full,half" },
          2,
          "half: not one" },
        { "a window",
          { "versioning", "--windows", "2,17" },
          2,
          "--windows 2,17: they are 2 to 16" },
        { "few records", { "versioning", "--records", "999" }, 2, "range" },
        { "a page", { "versioning", "--page", "5K" }, 2, "range" },
        { "a plot of objects",
          { "versioning", "--plot", "--json" },
          2,
          "both" },
        { "an argument of versioning",
          { "versioning", "here" },
          2,
          "here: nothing" },
        { "no directory of versioning",
          { "versioning", "--dir", "/nowhere" },
          1,
          "/nowhere" },
        { "seconds of alloc", { "alloc", "--seconds", "11" }, 2, "range" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[8] = { "bench" };
        struct run r = { 0 };

        CHECK_CASE(cases[i].name);
        memcpy(args + 1, cases[i].args, sizeof(cases[i].args));
        run_argv(&r, "", 0, args);
        CHECK_RUN(&r, cases[i].status);
        CHECK_SAYS(&r, cases[i].says);
        run_free(&r);
    }
}

/* Each case of the page cache, alone and with what peers there are. */
static void test_cache(void **state)
{
    static const char *const cases[] = { "hint-100",      "hash-100",
                                         "hint-80",       "hash-80",
                                         "hint-100-zipf", "hash-100-zipf",
                                         "hint-80-zipf",  "hash-80-zipf" };
    struct run r = { 0 };
    yajl_val line[64];
    size_t n;

    (void)state;
    run(&r, "bench", "cache", "--entries", "1000", "--seconds", "0.001",
        "--rounds", "1", "--threads", "2", "--json",
        /* not under sanitizers, which look into other libraries at length */
        test_rounds(4) == 4 ? "--peers" : NULL, NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        unsigned found = 0;

        CHECK_CASE(cases[c]);
        for (size_t i = 0; i < n; i++)
            found += strcmp(text_of(line[i], "case"), cases[c]) == 0 &&
                     strcmp(text_of(line[i], "engine"), "quire") == 0;
        CHECK_EQ(found, 1);
    }
    for (size_t i = 0; i < n; i++) {
        CHECK_STR_EQ(text_of(line[i], "bench"), "cache");
        CHECK_EQ(number_of(line[i], "threads"), 2);
        CHECK(number_of(line[i], "ns") > 0);
        if (strcmp(text_of(line[i], "case"), "hint-100") == 0)
            CHECK_STR_EQ(text_of(line[i], "note"), "100.0 % hits");
    }
    free_lines(line, n);
    run_free(&r);
}

/* The allocator's benchmark takes parts of a second and prints JSON. */
static void test_alloc(void **state)
{
    struct run r = { 0 };
    yajl_val line[4];

    (void)state;
    run(&r, "bench", "alloc", "--cases", "pair-4K", "--seconds", "0.002",
        "--rounds", "1", "--json", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(parse_lines(&r, line, 4), 2);
    for (size_t i = 0; i < 2; i++) {
        CHECK_STR_EQ(text_of(line[i], "bench"), "alloc");
        CHECK_STR_EQ(text_of(line[i], "case"), "pair-4K");
        CHECK_EQ(number_of(line[i], "threads"), i + 1);
        CHECK(number_of(line[i], "ns") > 0);
        CHECK(!has(line[i], "disk_bytes"));
    }
    free_lines(line, 2);
    run_free(&r);
}

/* Each case of a page by each variant that this processor has, but for commit,
 * which only the best does and which alone says what was written. */
static void test_page(void **state)
{
    static const char *const cases[] = { "get",    "seek", "scan",
                                         "insert", "any",  "commit" };
    static const char *const beds[] = { "dense-4K", "dense-64K", "urls-4K",
                                        "urls-64K" };
    struct run r = { 0 };
    yajl_val line[128];
    size_t nlines = 0;
    size_t n;

    (void)state;
    run(&r, "bench", "page", "--records", "10000", "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--keys", "dense,urls", "--pages", "4K,64K",
        "--json", NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        bool writes = strcmp(cases[c], "commit") == 0;
        const char *v;

        for (unsigned i = 0; (v = quire_simd_variant(i)) != NULL; i++) {
            for (size_t b = 0; b < ARRAY_LEN(beds); b++) {
                char name[40];
                size_t is = !writes || i == 0 ? 1 : 0;

                snprintf(name, sizeof(name), "%s-%s", cases[c], beds[b]);
                CHECK_CASE(cases[c]);
                CHECK_EQ(count_lines(line, n, v, name), is);
                nlines += is;
            }
        }
    }
    CHECK_EQ(n, nlines);
    for (size_t i = 0; i < n; i++) {
        bool writes = strncmp(text_of(line[i], "case"), "commit", 6) == 0;

        CHECK_STR_EQ(text_of(line[i], "bench"), "page");
        CHECK_EQ(number_of(line[i], "threads"), 1);
        CHECK_EQ(number_of(line[i], "records"), 10000);
        CHECK(number_of(line[i], "ns") > 0);
        CHECK_EQ(has(line[i], "written_bytes"), writes);
    }
    free_lines(line, n);
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

static double figure(yajl_val *lines, size_t n, const char *engine,
                     const char *name, const char *field)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text_of(lines[i], "engine"), engine) == 0 &&
            strcmp(text_of(lines[i], "case"), name) == 0)
            return number_of(lines[i], field);
    CHECK(false);
    return 0;
}

/* What each versioning promises is seen in the figures, which are counts. */
static void test_versioning(void **state)
{
    struct run r = { 0 };
    yajl_val line[16];
    double whole;
    size_t n;

    (void)state;
    run(&r, "bench", "versioning", "--records", "2000", "--cases",
        "changes-10,changes-1000", "--windows", "4", "--dir", dir, "--json",
        NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    CHECK_EQ(n, 10);
    for (size_t i = 0; i < n; i++) {
        CHECK_STR_EQ(text_of(line[i], "bench"), "versioning");
        CHECK(number_of(line[i], "written_bytes") >= 4096);
        CHECK(number_of(line[i], "fragments") >= 1);
        CHECK(number_of(line[i], "read_bytes") > 0);
        CHECK_EQ(number_of(line[i], "records"), 2000);
    }
    CHECK_EQ(figure(line, n, "full", "changes-10", "fragments"), 1);
    CHECK(figure(line, n, "differential/4", "changes-10", "fragments") <= 2);
    CHECK(figure(line, n, "incremental/4", "changes-10", "fragments") < 4);
    CHECK(figure(line, n, "sliding/4", "changes-10", "fragments") <= 4);
    whole = figure(line, n, "full", "changes-10", "written_bytes");
    for (size_t i = 0; i < n; i++)
        if (strcmp(text_of(line[i], "case"), "changes-10") == 0 &&
            strcmp(text_of(line[i], "engine"), "full") != 0)
            CHECK(number_of(line[i], "written_bytes") < whole / 2);
    free_lines(line, n);
    run(&r, "bench", "versioning", "--records", "1000", "--cases",
        "changes-100", "--windows", "2,3", "--versionings", "full,sliding",
        "--dir", dir, "--plot", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "\nchanges-100        sliding/3 ");
    CHECK_SAYS(&r, " s3");
    CHECK_SAYS(&r, "reads for a page\n");
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

/* How many lines each case has, for an engine that does them all. */
static const struct {
    const char *name;
    size_t lines;
    bool latency;
} wanted[] = {
    { "fill-seq", 1, true },    { "fill-random", 1, true },
    { "get-random", 2, true },  { "get-zipf", 2, true },
    { "get-many-8", 2, true },  { "get-many-64", 2, true },
    { "scan", 2, false },       { "scan-reverse", 2, false },
    { "seek-50", 2, true },     { "overwrite", 1, true },
    { "nosync-1", 3, true },    { "read-while-write", 1, true },
    { "rww-writes", 1, false }, { "durable-1", 3, true },
    { "durable-100", 1, true }, { "get-new", 2, true },
    { "get-old", 2, true },
};

static void check_line(yajl_val line, double records, double live_bytes)
{
    double ns = number_of(line, "ns");
    double product = ns * number_of(line, "ops_per_s");
    double expect = 1e9 * number_of(line, "threads");
    bool latency = false;

    CHECK_STR_EQ(text_of(line, "bench"), "store");
    CHECK(ns > 0);
    CHECK(product > expect * 0.999999 && product < expect * 1.000001);
    CHECK_EQ(number_of(line, "records"), records);
    CHECK_EQ(number_of(line, "live_bytes"), live_bytes);
    CHECK(number_of(line, "rss_bytes") > 0);
    CHECK(number_of(line, "disk_bytes") > 0);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        latency |= wanted[i].latency &&
                   strcmp(text_of(line, "case"), wanted[i].name) == 0;
    CHECK_EQ(has(line, "p50_us"), latency);
    if (latency) {
        CHECK(number_of(line, "p99_us") >= number_of(line, "p50_us"));
        CHECK(number_of(line, "p999_us") >= number_of(line, "p99_us"));
    }
}

/* Every case runs and gives one line for each number of threads. */
static void test_every_case(void **state)
{
    struct run r = { 0 };
    yajl_val line[64];
    size_t n;

    (void)state;
    run(&r, "bench", "store", "--records", "1000", "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--json", NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        CHECK_CASE(wanted[i].name);
        CHECK_EQ(count_lines(line, n, "quire", wanted[i].name),
                 wanted[i].lines);
    }
    CHECK_EQ(n, 30);
    for (size_t i = 0; i < n; i++)
        check_line(line[i], 1000, 1000 * (16 + 100));
    free_lines(line, n);
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

/* So does every case with less memory than data, limited or not. */
static void test_beyond_memory(void **state)
{
    struct run r = { 0 };
    yajl_val line[64];
    size_t n;

    (void)state;
    run(&r, "bench", "store", "--records", "1000", "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--json", "--values", "text", "--keys", "sparse",
        "--threads", "2", "--order", "sequential", "--memory", LITTLE,
        "--cases",
        "ltm-get-random,ltm-get-zipf,ltm-scan,ltm-scan-reverse,ltm-seek-50,"
        "ltm-overwrite,ltm-durable-1",
        NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    CHECK_EQ(n, 7);
    CHECK_STR_EQ(text_of(line[0], "case"), "ltm-get-random");
    CHECK_EQ(number_of(line[0], "threads"), 2);
    CHECK_EQ(number_of(line[0], "live_bytes"), 1000 * (16 + 400));
    CHECK_EQ(number_of(line[5], "threads"), 1); /* overwrite has no other */
    free_lines(line, n);
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

/* Loaded in fewer transactions the store has fewer revisions and fewer bytes;
 * with --direct it is read past the system's cache, where there is a way. */
static void test_batches_and_direct(void **state)
{
    static const char *const batch[] = { "500", "8000" };
    double disk[2];

    (void)state;
    if (SANITIZED) /* they take more memory than the group is given */
        skip();
    for (size_t i = 0; i < ARRAY_LEN(batch); i++) {
        struct run r = { 0 };
        yajl_val line[4];

        run(&r, "bench", "store", "--records", "8000", "--rounds", "1",
            "--seconds", "0.001", "--dir", dir, "--json", "--threads", "1",
            "--batch", batch[i], "--page", "8K", "--cases", "ltm-get-random",
            i == 0 ? NULL : "--direct", NULL);
        if (r.status == 1 && strstr(r.err, "QUIRE_DIRECT") != NULL) {
            run_free(&r); /* a file system without it */
            return;
        }
        CHECK_RUN(&r, 0);
        CHECK_EQ(parse_lines(&r, line, ARRAY_LEN(line)), 1);
        disk[i] = number_of(line[0], "disk_bytes");
        free_lines(line, 1);
        run_free(&r);
    }
    CHECK(disk[1] < disk[0] / 2);
    CHECK_EQ(files_in(dir), 0);
}

/* The keys of a file: what is before a tab, each once, sorted or not. */
static void test_keys_of_file(void **state)
{
    char path[300];
    FILE *f;
    struct run r = { 0 };
    yajl_val line[4];

    (void)state;
    snprintf(path, sizeof(path), "%s/keys", dir);
    f = fopen(path, "w");
    CHECK(f != NULL);
    for (int i = 299; i >= 0; i--)
        fprintf(f, "key%03d\tand more %d\n", i, i);
    fputs("key007\n\n\tno key", f);
    CHECK_EQ(fclose(f), 0);
    run(&r, "bench", "store", "--keys", path, "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--json", "--cases", "scan", "--threads", "1",
        NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(parse_lines(&r, line, 4), 1);
    check_line(line[0], 300, 300 * (6 + 100));
    free_lines(line, 1);
    run_free(&r);
    run(&r, "bench", "store", "--keys", path, "--records", "256", "--rounds",
        "1", "--seconds", "0.001", "--dir", dir, "--cases", "seek-50",
        "--threads", "1", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "case");
    CHECK_SAYS(&r, "p99.9 us");
    CHECK_SAYS(&r, "seek-50            quire                1 ");
    run_free(&r);
}

/* The peers that are here measure every case they can. */
static void test_peers(void **state)
{
    static const char *const names[] = { "lmdb", "rocksdb", "wiredtiger",
                                         "sqlite" };
    struct run r = { 0 };
    yajl_val line[256];
    size_t n;

    (void)state;
    if (SANITIZED)
        skip(); /* half of what they do would not be seen */
    run(&r, "bench", "store", "--records", "1000", "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--json", "--peers", "--cases",
        "fill-seq,fill-random,get-random,get-zipf,get-many-64,scan,"
        "scan-reverse,seek-50,overwrite,read-while-write,durable-1,durable-100,"
        "nosync-1,get-old,ltm-get-random",
        NULL);
    CHECK_RUN(&r, 0);
    n = parse_lines(&r, line, ARRAY_LEN(line));
    CHECK_EQ(count_lines(line, n, "raw-fdatasync", NULL), 1);
    CHECK_EQ(count_lines(line, n, "raw-fdatasync", "durable-1"), 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char absent[64];
        size_t found = count_lines(line, n, names[i], NULL);

        CHECK_CASE(names[i]);
        snprintf(absent, sizeof(absent), "%s is left out", names[i]);
        if (strstr(r.err, absent) != NULL) {
            CHECK_EQ(found, 0);
            continue;
        }
        found -= count_lines(line, n, names[i], "get-many-64");
        CHECK_EQ(found, 24);
        CHECK_EQ(count_lines(line, n, names[i], "get-old"), 0);
        CHECK_EQ(count_lines(line, n, names[i], "ltm-get-random"), 2);
    }
    free_lines(line, n);
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

static void run_kept(struct run *r, const char *name, const char *values)
{
    run(r, "bench", "store", "--records", "1000", "--rounds", "1", "--seconds",
        "0.001", "--dir", dir, "--keep", "--threads", "1", "--values", values,
        "--memory", LITTLE, "--value-bytes", "100", "--cases", name, NULL);
}

/* The store that is kept, a record behind all others put there or looked for. */
static bool mark_kept(bool put)
{
    const struct quire_val key = { "the last", 8 };
    const struct quire_val val = { "mark", 4 };
    struct quire_val got;
    struct quire_txn *txn;
    struct quire *db;
    char path[400];
    quire_status rc;

    snprintf(path, sizeof(path), "%s/quire-bench/quire/store/store.quire", dir);
    CHECK_OK(quire_open(path, NULL, &db));
    CHECK_OK(quire_begin(db, put ? QUIRE_WRITE : QUIRE_READ, &txn));
    if (put)
        CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    rc = quire_get(txn, NULL, &key, &got);
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(db));
    return rc == QUIRE_OK;
}

/* A store that is kept is taken up again, unless it was made otherwise. */
static void test_keep(void **state)
{
    struct run r = { 0 };

    (void)state;
    run_kept(&r, "get-random", "half");
    CHECK_RUN(&r, 0);
    CHECK(mark_kept(true));
    run_kept(&r, "scan", "half");
    CHECK_RUN(&r, 0);
    CHECK(mark_kept(false));
    run_kept(&r, "scan", "text");
    CHECK_RUN(&r, 0);
    CHECK(!mark_kept(false));
    run_free(&r);
}

/* Make a store of half compressible values pass for one of text. */
static void forge(void)
{
    char path[400];
    char *text;
    char *at;
    size_t len;
    struct run r = { 0 };

    run_kept(&r, "get-random", "half");
    CHECK_RUN(&r, 0);
    run_free(&r);
    snprintf(path, sizeof(path), "%s/quire-bench/quire/made", dir);
    text = read_file(path, &len);
    at = strstr(text, "half");
    CHECK(at != NULL);
    memcpy(at, "text", 4);
    write_file(path, text, len);
    free(text);
}

/* Values are compared whole before anything is measured. */
static void test_other_values(void **state)
{
    struct run r = { 0 };

    (void)state;
    forge();
    run_kept(&r, "get-random", "text");
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "1000 records are not what was stored");
    CHECK_SAYS(&r, "quire: the process failed in get-random");
    run_free(&r);
}

/* Gets, ranges and scans look at what they fetch: a store whose record 7 has
 * the value of record 8 is found out by each. */
static void test_values_out_of_place(void **state)
{
    static const char *const names[] = { "ltm-get-random",   "ltm-get-zipf",
                                         "ltm-get-many-8",   "ltm-scan",
                                         "ltm-scan-reverse", "ltm-seek-50" };
    char path[400];
    struct quire *db;
    struct quire_txn *txn;
    struct quire_val val;
    struct run r = { 0 };

    (void)state;
    run_kept(&r, "scan", "half");
    CHECK_RUN(&r, 0);
    snprintf(path, sizeof(path), "%s/quire-bench/quire/store/store.quire", dir);
    CHECK_OK(quire_open(path, NULL, &db));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    for (int i = 0; i < 1000; i++) {
        char digits[2][24];
        struct quire_val key = { digits[0], 16 };
        char copy[100];

        snprintf(digits[0], sizeof(digits[0]), "%016d", (i + 1) % 1000);
        CHECK_OK(quire_get(txn, NULL, &key, &val));
        CHECK_EQ(val.size, sizeof(copy));
        memcpy(copy, val.data, sizeof(copy));
        snprintf(digits[1], sizeof(digits[1]), "%016d", i);
        key.data = digits[1];
        val.data = copy;
        CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(db));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_CASE(names[i]);
        run_kept(&r, names[i], "half");
        CHECK_RUN(&r, 1);
        CHECK_SAYS(&r, "values were not what was stored");
        CHECK_SAYS(&r, names[i]);
    }
    run_free(&r);
}

/* The process that measures, as soon as there is one. */
static pid_t measuring(pid_t parent)
{
    char path[64];
    long pid = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent,
             (int)parent);
    while (pid == 0) {
        FILE *f = fopen(path, "r");

        CHECK(f != NULL);
        if (fscanf(f, "%ld", &pid) != 1) {
            pid = 0;
            sched_yield();
        }
        fclose(f);
    }
    return (pid_t)pid;
}

static void start_long(struct running *p)
{
    run_start(p, "bench", "store", "--records", "1000", "--rounds", "1",
              "--seconds", "60", "--dir", dir, "--cases", "get-random", NULL);
}

/* A measuring process that dies is told of, and nothing stays behind. */
static void test_process_dies(void **state)
{
    struct running p;
    struct run r = { 0 };

    (void)state;
    start_long(&p);
    CHECK_EQ(kill(measuring(p.pid), SIGKILL), 0);
    run_finish(&p, &r);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "quire: the process died of signal 9");
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

/* A signal ends the measurement, the processes, and removes the stores. */
static void test_stopped(void **state)
{
    struct running p;
    struct run r = { 0 };
    pid_t child;

    (void)state;
    start_long(&p);
    child = measuring(p.pid);
    CHECK_EQ(kill(p.pid, SIGTERM), 0);
    run_finish(&p, &r);
    CHECK_RUN(&r, 128 + SIGTERM);
    CHECK_NE(kill(child, 0), 0);
    run_free(&r);
    CHECK_EQ(files_in(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alloc, setup, teardown),
        cmocka_unit_test(test_cache),
        cmocka_unit_test_setup_teardown(test_page, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versioning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_case, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beyond_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches_and_direct, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_keys_of_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_out_of_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_process_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
