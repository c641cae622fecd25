/*
 * test_tools_read.c - the commands that read, write single records and look
 * after a store, through their command lines.
 */
#include <sys/stat.h>
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

/* Load `in` with up to four more options. */
static void load(const char *in, const char *a, const char *b, const char *c,
                 const char *d)
{
    const char *args[16] = { "load", "--db", db, "-" };
    struct run r = { 0 };

    args[4] = a;
    args[5] = a != NULL ? b : NULL;
    args[6] = a != NULL && b != NULL ? c : NULL;
    args[7] = args[6] != NULL ? d : NULL;
    run_argv(&r, in, strlen(in), args);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* ---- get ---- */

static void test_get(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("a,b,v\nx,1,\"p,q\"\nx,2,r\n\"y,z\",1,s\n", "--key", "a,b:int", NULL,
         NULL);
    run(&r, "get", "--db", db, "x,2", "\"y,z\",1", "x,1", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "x,2,r\n\"y,z\",1,s\nx,1,\"p,q\"\n");

    run(&r, "get", "--db", db, "x,3", "x,2", NULL);
    CHECK_RUN(&r, 1);
    CHECK_STR_EQ(r.out, "x,2,r\n");
    CHECK_SAYS(&r, "revision 1 has no key x,3");

    run(&r, "get", "--db", db, "x", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "key x: it has 1 field; the tree's key has 2");
    run(&r, "get", "--db", db, "x,y", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "not a whole number");
    run(&r, "get", "--db", db, "x,\"2", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it is not one CSV row");
    run(&r, "get", "--db", db, "--tree", "none", "x,1", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "revision 1 has no tree \"none\"");
    run(&r, "get", "--db", db, "--rev", "7", "x,1", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "there is no revision 7");
    run(&r, "get", "--db", db, "--rev", "0", "x,1", NULL);
    CHECK_RUN(&r, 1);
    run_free(&r);
}

/* A negative number is a key, not an option. */
static void test_get_negative(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("n\n-5\n5\n", "--key", "n:int", NULL, NULL);
    run(&r, "get", "--db", db, "-5", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "-5\n");
    run(&r, "scan", "--db", db, "--to=-4", "--keys", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "-5\n");
    run_free(&r);
}

/* ---- scan ---- */

static void test_scan_options(void **state)
{
    static const struct {
        const char *name;
        const char *args[8];
        const char *out;
    } cases[] = {
        { "all", { NULL }, "k,n,v\na,1,p\na,2,q\nab,1,r\nb,-1,s\nb,3,t\n" },
        { "no header", { "--no-header", "--limit=1" }, "a,1,p\n" },
        { "keys", { "--keys" }, "a,1\na,2\nab,1\nb,-1\nb,3\n" },
        { "reverse", { "--keys", "--reverse" }, "b,3\nb,-1\nab,1\na,2\na,1\n" },
        { "limit", { "--keys", "--limit", "2" }, "a,1\na,2\n" },
        { "limit 0", { "--keys", "--limit", "0" }, "" },
        { "from is included",
          { "--keys", "--from", "a,2" },
          "a,2\nab,1\nb,-1\nb,3\n" },
        { "from between", { "--keys", "--from", "a,3" }, "ab,1\nb,-1\nb,3\n" },
        { "to is not", { "--keys", "--to", "ab,1" }, "a,1\na,2\n" },
        { "from and to",
          { "--keys", "--from", "a,2", "--to", "b,3" },
          "a,2\nab,1\nb,-1\n" },
        { "reversed",
          { "--keys", "--from", "a,2", "--to", "b,3", "--reverse" },
          "b,-1\nab,1\na,2\n" },
        { "reversed, limit",
          { "--keys", "--to", "b,3", "--reverse", "--limit=1" },
          "b,-1\n" },
        { "first field alone",
          { "--keys", "--from", "ab" },
          "ab,1\nb,-1\nb,3\n" },
        { "first field alone, to", { "--keys", "--to", "ab" }, "a,1\na,2\n" },
        { "prefix", { "--keys", "--prefix", "a" }, "a,1\na,2\nab,1\n" },
        { "prefix, reversed",
          { "--keys", "--prefix", "a", "--reverse" },
          "ab,1\na,2\na,1\n" },
        { "prefix, longer", { "--keys", "--prefix", "ab" }, "ab,1\n" },
        { "prefix of nothing", { "--keys", "--prefix", "c" }, "" },
        { "prefix and from",
          { "--keys", "--prefix", "a", "--from", "a,2" },
          "a,2\nab,1\n" },
        { "prefix and to",
          { "--keys", "--prefix", "a", "--to", "ab" },
          "a,1\na,2\n" },
        { "empty range", { "--keys", "--from", "b", "--to", "a" }, "" },
        { "empty range, reversed",
          { "--keys", "--from", "b", "--to", "a", "--reverse" },
          "" },
        { "revision 0", { "--rev", "0" }, "" },
    };
    struct run r = { 0 };

    (void)state;
    load("k,n,v\nb,3,t\na,1,p\na,2,q\nab,1,r\nb,-1,s\n", "--key", "k,n:int",
         NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *args[16] = { "scan", "--db", db };

        CHECK_CASE(cases[i].name);
        for (size_t k = 0; k < 8 && cases[i].args[k] != NULL; k++)
            args[3 + k] = cases[i].args[k];
        run_argv(&r, "", 0, args);
        CHECK_RUN(&r, 0);
        CHECK_STR_EQ(r.out, cases[i].out);
    }
    run_free(&r);
}

/* A prefix that ends in 0xff, and one on numbers. */
static void test_scan_prefix_limits(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("a\n\xff\n\xff\xff\n\xff\xffz\n", "--format", "lines", NULL, NULL);
    run(&r, "scan", "--db", db, "--prefix", "\xff\xff", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "\xff\xff\n\xff\xffz\n");
    load("n\n1\n", "--key", "n:int", "--tree", "numbers");
    run(&r, "scan", "--db", db, "--tree", "numbers", "--prefix", "1", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "this tree's keys begin with a number");
    run_free(&r);
}

struct model_key {
    unsigned char text[8];
    size_t len;
    long number;
};

static int compare_model(const void *a, const void *b)
{
    const struct model_key *x = a;
    const struct model_key *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->text, y->text, n);

    if (c == 0)
        c = (x->len > y->len) - (x->len < y->len);
    return c != 0 ? c : (x->number > y->number) - (x->number < y->number);
}

static size_t put_quoted(char *to, const struct model_key *k)
{
    size_t n = 0;

    to[n++] = '"';
    for (size_t i = 0; i < k->len; i++) {
        if (k->text[i] == '"')
            to[n++] = '"';
        to[n++] = (char)k->text[i];
    }
    to[n++] = '"';
    n += (size_t)sprintf(to + n, ",%ld\n", k->number);
    return n;
}

/* Composite keys of any bytes come out in the order of their fields, and are
 * the ones that went in. */
static void test_key_order(void **state)
{
    enum {
        KEYS = 2000
    };
    static const unsigned char alphabet[] = { 0,   0,    1,    'a',  '"',
                                              ',', '\n', 0xfe, 0xff, 0xff };
    struct model_key *keys = calloc(KEYS, sizeof(*keys));
    char *in = malloc(KEYS * 64);
    char *want = malloc(KEYS * 64);
    uint64_t rnd = test_seed();
    struct run r = { 0 };
    size_t n = 0;
    size_t len = 0;

    (void)state;
    CHECK(keys != NULL && in != NULL && want != NULL);
    for (size_t i = 0; i < KEYS; i++) {
        keys[i].len = 1 + test_rand_below(&rnd, 6);
        for (size_t k = 0; k < keys[i].len; k++)
            keys[i].text[k] = alphabet[test_rand_below(&rnd, sizeof(alphabet))];
        keys[i].number = (long)test_rand_below(&rnd, 600) - 300;
        len += put_quoted(in + len, &keys[i]);
    }
    run_with(&r, in, len, "load", "--db", db, "--no-header", "--key",
             "#1,#2:int", "-", NULL);
    CHECK_RUN(&r, 0);
    /* The same, sorted, each once; printed by the rules of scan. */
    qsort(keys, KEYS, sizeof(*keys), compare_model);
    len = 0;
    for (size_t i = 0; i < KEYS; i++) {
        char quoted[64];
        bool quote = false;
        size_t q;

        if (i > 0 && compare_model(&keys[i - 1], &keys[i]) == 0)
            continue;
        n++;
        q = put_quoted(quoted, &keys[i]);
        for (size_t k = 0; k < keys[i].len; k++)
            quote = quote || keys[i].text[k] == '"' || keys[i].text[k] == ',' ||
                    keys[i].text[k] == '\n';
        if (quote) {
            memcpy(want + len, quoted, q);
            len += q;
        } else {
            memcpy(want + len, keys[i].text, keys[i].len);
            len += keys[i].len;
            len += (size_t)sprintf(want + len, ",%ld\n", keys[i].number);
        }
    }
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.out_len, len);
    CHECK_MEM_EQ(r.out, want, len);
    run(&r, "scan", "--db", db, "--keys", NULL);
    CHECK_EQ(r.out_len, len);
    CHECK_MEM_EQ(r.out, want, len);
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records"), n);
    free(keys);
    free(in);
    free(want);
    run_free(&r);
}

/* ---- put and del ---- */

static void test_put(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("k,v\n1,a\n", "--key", "k", NULL, NULL);
    run(&r, "put", "--db", db, "2", "2,\"x,y\"", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "1", "1,b", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "--on-duplicate", "keep", "1", "1,c", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "--on-duplicate=error", "1", "1,c", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the key 1 is there already");
    run(&r, "put", "--db", db, "3", "4,d", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "its key is not KEY");
    run(&r, "put", "--db", db, "3", "3", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "it has 1 columns, the tree has 2");
    run(&r, "put", "--db", db, "3", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "RECORD is missing");
    run_with(&r, "3,\"p\nq\"\n", 8, "put", "--db", db, "3", "-", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", db, NULL);
    CHECK_STR_EQ(r.out, "k,v\n1,b\n2,\"x,y\"\n3,\"p\nq\"\n");
    run(&r, "revisions", "--db", db, NULL);
    CHECK(strstr(r.out, "\n4\t") != NULL);
    CHECK(strstr(r.out, "\n5\t") == NULL);

    load("a\n", "--tree", "l", "--format", "lines");
    run(&r, "put", "--db", db, "--tree", "l", "b,\"", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "--tree", "l", "b", "c", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "leave it out");
    run(&r, "scan", "--db", db, "--tree", "l", NULL);
    CHECK_STR_EQ(r.out, "a\nb,\"\n");
    run_free(&r);
}

static void test_put_json(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("{\"k\":1}\n", "--key", "k", "--format", "ndjson");
    run(&r, "put", "--db", db, "2", "{\"k\":2,\"v\":[]}", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "3", "{\"k\":3", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "RECORD: broken JSON");
    run(&r, "put", "--db", db, "3", "{\n\"k\":3}", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "give it on one line");
    run(&r, "scan", "--db", db, NULL);
    CHECK_STR_EQ(r.out, "{\"k\":1}\n{\"k\":2,\"v\":[]}\n");
    run_free(&r);
}

/* Without a schema keys and values are bytes. */
static void test_put_raw(void **state)
{
    struct run r = { 0 };

    (void)state;
    run(&r, "put", "--db", db, "a,b", "x\ty", NULL);
    CHECK_RUN(&r, 0);
    run_with(&r, "\0\x7f\\\n", 4, "put", "--db", db, "--", "-c", "-", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "put", "--db", db, "", "", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "\t\n-c\t\\x00\\x7f\\\\\\n\na,b\tx\\ty\n");
    run(&r, "get", "--db", db, "a,b", NULL);
    CHECK_STR_EQ(r.out, "a,b\tx\\ty\n");
    run(&r, "trees", "--db", db, NULL);
    CHECK_SAYS(&r, "\t3\traw\tbytes\t-\n");
    run_free(&r);
}

/* A value of several pages, by standard input. */
static void test_put_large(void **state)
{
    size_t len = 5 << 20;
    char *value = malloc(len + 1);
    uint64_t rnd = test_seed();
    struct run r = { 0 };

    (void)state;
    CHECK(value != NULL);
    for (size_t i = 0; i < len; i++)
        value[i] = (char)('a' + test_rand(&rnd) % 26);
    run_with(&r, value, len, "put", "--db", db, "k", "-", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "get", "--db", db, "k", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.out_len, len + 3);
    CHECK_MEM_EQ(r.out + 2, value, len);
    run(&r, "scan", "--db", db, "--reverse", NULL);
    CHECK_EQ(r.out_len, len + 3);
    CHECK_MEM_EQ(r.out + 2, value, len);
    run(&r, "scan", "--db", db, "--keys", NULL);
    CHECK_STR_EQ(r.out, "k\n");
    run_free(&r);
    free(value);
}

static void test_del(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("k,v\n1,a\n2,b\n3,c\n", "--key", "k:int", NULL, NULL);
    run(&r, "del", "--db", db, "1", "7", "3", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "there is no key 7");
    run(&r, "scan", "--db", db, "--no-header", NULL);
    CHECK_STR_EQ(r.out, "2,b\n");
    run(&r, "scan", "--db", db, "--no-header", "--rev", "1", NULL);
    CHECK_STR_EQ(r.out, "1,a\n2,b\n3,c\n");
    run(&r, "del", "--db", db, "7", NULL);
    CHECK_RUN(&r, 1);
    run(&r, "del", "--db", db, "2", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", db, NULL);
    CHECK_STR_EQ(r.out, "k,v\n");
    run(&r, "revisions", "--db", db, NULL);
    CHECK(strstr(r.out, "\n3\t") != NULL);
    CHECK(strstr(r.out, "\n4\t") == NULL);
    run(&r, "del", "--db", db, "--tree", "none", "2", NULL);
    CHECK_RUN(&r, 1);
    test_path(db, sizeof(db), dir, "absent");
    run(&r, "del", "--db", db, "2", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "there is no such store");
    CHECK(access(db, F_OK) != 0);
    run_free(&r);
}

/* ---- what a store is ---- */

static void test_revisions(void **state)
{
    struct run r = { 0 };
    char *line;
    char last[64] = "";
    uint64_t last_off = 0;
    unsigned n = 0;

    (void)state;
    load("k\n1\n2\n3\n4\n5\n", "--key", "k", "--commit-every", "2");
    run(&r, "revisions", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    line = strtok(r.out, "\n");
    CHECK_STR_EQ(line, "revision\ttime\trecords\toffset");
    while ((line = strtok(NULL, "\n")) != NULL) {
        unsigned rev;
        char time[64];
        unsigned records;
        unsigned long long off;

        CHECK_EQ(sscanf(line, "%u\t%63s\t%u\t%llu", &rev, time, &records, &off),
                 4);
        CHECK_EQ(rev, ++n);
        CHECK_EQ(records, n < 3 ? 2 * n : 5);
        CHECK_EQ(strlen(time), strlen("2026-01-02T03:04:05.678901Z"));
        CHECK(strcmp(last, time) <= 0);
        CHECK(off > last_off);
        strcpy(last, time);
        last_off = off;
    }
    CHECK_EQ(n, 3);
    /* A tree that came later. */
    load("a\n", "--tree", "l", "--format", "lines");
    run(&r, "revisions", "--db", db, "--tree", "l", NULL);
    CHECK_RUN(&r, 0);
    CHECK(strstr(r.out, "Z\t-\t") != NULL);
    CHECK(strstr(r.out, "Z\t1\t") != NULL);
    run_free(&r);
}

static void test_trees(void **state)
{
    struct run r = { 0 };

    (void)state;
    load("x\n", "--tree", "l", "--format", "lines");
    run_with(&r, "a,\"b,c\"\n1,2\n", 12, "load", "--db", db, "--tree", "two\tb",
             "--key", "\"b,c:int\",a", "-", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "trees", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "tree\trecords\tformat\tkey\tcolumns\n"
                        "l\t1\tlines\tline\t-\n"
                        "two\\tb\t1\tcsv\t\"b,c\":int,a\t2\n");
    load("x\ny\n", "--key-auto", NULL, NULL, NULL);
    run(&r, "trees", "--db", db, NULL);
    CHECK_SAYS(&r, "columns\n\t1\tcsv\tauto\t1\nl\t");
    run(&r, "trees", "--db", db, "--rev", "1", NULL);
    CHECK_STR_EQ(r.out, "tree\trecords\tformat\tkey\tcolumns\n"
                        "l\t1\tlines\tline\t-\n");
    run_free(&r);
}

static void test_stat(void **state)
{
    struct run r = { 0 };
    struct stat st;

    (void)state;
    load("k\n1\n2\n", "--key", "k", "--commit-every", "1");
    run(&r, "stat", "--db", db, "--memory", "16M", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(stat(db, &st), 0);
    CHECK_EQ(run_figure(&r, "revision"), 2);
    CHECK_EQ(run_figure(&r, "revision_durable"), 2);
    CHECK_EQ(run_figure(&r, "file_bytes"), (uint64_t)st.st_size);
    CHECK_EQ(run_figure(&r, "page_bytes"), QUIRE_PAGE_DEFAULT);
    CHECK_EQ(run_figure(&r, "memory_budget_bytes"), 16 << 20);
    CHECK_EQ(run_figure(&r, "cache_pinned_pages"), 0);
    run(&r, "stat", "--db", db, "--json", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.out[0], '{');
    CHECK_STR_EQ(r.out + r.out_len - 2, "}\n");
    CHECK_SAYS(&r, ",\"revision\":2,");
    CHECK(memchr(r.out, '\n', r.out_len - 1) == NULL);
    run_free(&r);
}

/* `quire set` changes what is written from then on, and `stat` tells of how
 * many fragments the pages of each tree are. */
static void test_set(void **state)
{
    struct run r = { 0 };
    char csv[2000];
    size_t len = (size_t)snprintf(csv, sizeof(csv), "k,v\n");

    (void)state;
    for (unsigned i = 1; i <= 60; i++)
        len += (size_t)snprintf(csv + len, sizeof(csv) - len,
                                "%u,value number %u\n", i, i);
    load(csv, "--key", "k", NULL, NULL);
    load("k,v\n1,a\n", "--key", "k", "--tree", "a\tb");
    run(&r, "set", "--db", db, "--versioning", "incremental", "--window", "5",
        NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(r.out_len + r.err_len, 0);
    run(&r, "stat", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "window"), 5);
    CHECK_EQ(run_figure(&r, "revision"), 3);
    CHECK_SAYS(&r, "\nversioning: incremental\n");
    CHECK_SAYS(&r, "\ntree \"\": records 60, height 1, leaves 1 ");
    CHECK_SAYS(&r, "\ntree \"a\\u0009b\": records 1, ");
    CHECK_SAYS(&r, ", chains 1:1\n");
    for (unsigned i = 0; i < 3; i++) {
        run(&r, "put", "--db", db, "2", i % 2 == 0 ? "2,x" : "2,y", NULL);
        CHECK_RUN(&r, 0);
    }
    run(&r, "stat", "--db", db, "--json", NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "\"versioning\":\"incremental\"");
    CHECK_SAYS(&r, ",\"trees\":[{\"name\":\"\",\"records\":60,");
    CHECK_SAYS(&r, "\"chains\":{\"4\":1}},{\"name\":\"a\\u0009b\",");
    CHECK_SAYS(&r, "\"chains\":{\"1\":1}}]}\n");
    /* one of the two alone; and nothing to change is no revision */
    run(&r, "set", "--db", db, "--window=5", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "set", "--db", db, "--versioning=sliding", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "stat", "--db", db, NULL);
    CHECK_EQ(run_figure(&r, "window"), 5);
    CHECK_EQ(run_figure(&r, "revision"), 7);
    CHECK_SAYS(&r, "\nversioning: sliding\n");
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* A byte changed anywhere in what was committed is found or does not matter;
 * nothing crashes. A page's byte is found, with its place. */
static void test_verify(void **state)
{
    struct run r = { 0 };
    char *whole;
    size_t len;
    uint64_t rnd = test_seed();
    unsigned nfound = 0;
    uint64_t rounds = test_rounds(60);
    uint64_t log_off;

    (void)state;
    run(&r, "gen", "--shape", "crimes", "--records", "2000", NULL);
    CHECK_RUN(&r, 0);
    load(r.out, "--key", "ID:int", "--commit-every", "500");
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "revisions"), 4);
    CHECK_EQ(run_figure(&r, "records"), 2000);
    CHECK_EQ(run_figure(&r, "faults"), 0);
    CHECK(run_figure(&r, "pages") > 4);
    run(&r, "stat", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    log_off = run_figure(&r, "log_offset");
    whole = read_file(db, &len);
    for (uint64_t i = 0; i < rounds; i++) {
        /* Every second one in the log, the others also in the zeros ahead. */
        size_t at = test_rand_below(&rnd, i % 2 == 0 ? log_off : len);

        whole[at] ^= 0x10;
        write_file(db, whole, len);
        whole[at] ^= 0x10;
        run(&r, "verify", "--db", db, NULL);
        CHECK(r.status == 0 || r.status == 1);
        if (r.status == 1) {
            nfound++;
            CHECK(r.err_len > 0);
        }
    }
    CHECK(nfound > 0);
    free(whole);
    run_free(&r);
}

/* ---- gen ---- */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void test_gen(void **state)
{
    enum {
        N = 20000
    };
    uint64_t *ids = malloc(N * sizeof(*ids));
    struct run one = { 0 };
    struct run two = { 0 };
    size_t n = 0;

    (void)state;
    CHECK(ids != NULL);
    run(&one, "gen", "--shape", "crimes", "--records", "20000", "--seed", "7",
        NULL);
    CHECK_RUN(&one, 0);
    run(&two, "gen", "--shape", "crimes", "--records", "20000", "--seed", "7",
        NULL);
    CHECK_EQ(one.out_len, two.out_len);
    CHECK_MEM_EQ(one.out, two.out, one.out_len);
    run(&two, "gen", "--shape", "crimes", "--records", "20000", "--seed", "8",
        NULL);
    CHECK(strcmp(one.out, two.out) != 0);
    CHECK(one.out_len > N * 170 && one.out_len < N * 230);
    for (char *p = one.out; *p != '\0'; p++) {
        if (*p == '\n' && p[1] != '\0') {
            CHECK(n < N);
            ids[n++] = run_number(p + 1);
        }
    }
    CHECK_EQ(n, N);
    qsort(ids, N, sizeof(*ids), compare_u64);
    for (size_t i = 1; i < N; i++)
        CHECK(ids[i - 1] < ids[i]);
    CHECK(strstr(one.out, "\"SCHOOL, PUBLIC, BUILDING\"") != NULL);
    CHECK(strstr(one.out, "\"CTA \"\"L\"\" TRAIN\"") != NULL);
    load(one.out, "--key", "ID:int", NULL, NULL);
    run(&two, "gen", "--shape", "crimes", "--records", "0", NULL);
    CHECK_RUN(&two, 0);
    CHECK(strncmp(two.out, "ID,Case Number,Date,", 20) == 0);
    run_free(&one);
    run_free(&two);
    free(ids);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_get),          TEST(test_get_negative),
        TEST(test_scan_options), TEST(test_scan_prefix_limits),
        TEST(test_key_order),    TEST(test_put),
        TEST(test_put_json),     TEST(test_put_raw),
        TEST(test_put_large),    TEST(test_del),
        TEST(test_revisions),    TEST(test_trees),
        TEST(test_stat),         TEST(test_set),
        TEST(test_verify),       TEST(test_gen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
