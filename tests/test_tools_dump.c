/*
 * test_tools_dump.c - load of a dump equals the store: after random histories of
 * loads with growing headers, puts and deletes, of fields made of whatever
 * disturbs a reader, the tree that a dump makes has the same keys, values and
 * metadata, byte by byte. Both trees are read through the library.
 */
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512];   /* of the test that runs */
static char db[600];    /* dir/t.quire */
static char again[600]; /* dir/again.quire */
static char file[600];  /* dir/in */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(again, sizeof(again), dir, "again.quire");
    test_path(file, sizeof(file), dir, "in");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

/* ---- two trees compared ---- */

static uint64_t compare_meta(struct quire_txn *a, struct quire_txn *b)
{
    size_t na = 0;
    size_t nb = 0;
    quire_status rc = quire_tree_get_meta(a, NULL, NULL, 0, &na);
    char *ma;
    char *mb;

    CHECK_STATUS(quire_tree_get_meta(b, NULL, NULL, 0, &nb), rc);
    if (rc == QUIRE_NOTFOUND)
        return 0;
    CHECK_OK(rc);
    ma = calloc(1, na + 1);
    mb = calloc(1, nb + 1);
    CHECK(ma != NULL && mb != NULL);
    CHECK_OK(quire_tree_get_meta(a, NULL, ma, na, &na));
    CHECK_OK(quire_tree_get_meta(b, NULL, mb, nb, &nb));
    CHECK_STR_EQ(ma, mb);
    CHECK_EQ(na, nb);
    CHECK_MEM_EQ(ma, mb, na);
    free(ma);
    free(mb);
    return na;
}

/* The newest revision of `db`, or `rev`, and the newest of `again` are the same;
 * with `meta` their metadata too. */
static void check_same_tree(uint64_t rev, bool meta)
{
    struct quire_options opt = { .size = sizeof(opt), .flags = QUIRE_RDONLY };
    struct quire *s[2];
    struct quire_txn *t[2];
    struct quire_cursor *c[2];
    quire_status rc[2];

    CHECK_OK(quire_open(db, &opt, &s[0]));
    CHECK_OK(quire_open(again, &opt, &s[1]));
    CHECK_OK(rev != 0 ? quire_begin_at(s[0], rev, &t[0])
                      : quire_begin(s[0], QUIRE_READ, &t[0]));
    CHECK_OK(quire_begin(s[1], QUIRE_READ, &t[1]));
    if (meta)
        compare_meta(t[0], t[1]);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(quire_cursor_open(t[i], NULL, &c[i]));
        rc[i] = quire_cursor_seek(c[i], QUIRE_SEEK_FIRST, NULL);
    }
    while (rc[0] == QUIRE_OK && rc[1] == QUIRE_OK) {
        struct quire_val key[2];
        struct quire_val val[2];

        for (int i = 0; i < 2; i++)
            CHECK_OK(quire_cursor_get(c[i], &key[i], &val[i]));
        CHECK_EQ(key[0].size, key[1].size);
        if (key[0].size > 0)
            CHECK_MEM_EQ(key[0].data, key[1].data, key[0].size);
        CHECK_EQ(val[0].size, val[1].size);
        if (val[0].size > 0)
            CHECK_MEM_EQ(val[0].data, val[1].data, val[0].size);
        for (int i = 0; i < 2; i++)
            rc[i] = quire_cursor_next(c[i]);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(rc[i], QUIRE_NOTFOUND);
        quire_cursor_close(c[i]);
        quire_abort(t[i]);
        CHECK_OK(quire_close(s[i]));
    }
}

/* ---- random histories ---- */

struct text {
    char data[1 << 18];
    size_t len;
};

static void add(struct text *t, const void *data, size_t len)
{
    CHECK(t->len + len < sizeof(t->data));
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

static void add_text(struct text *t, const char *text)
{
    add(t, text, strlen(text));
}

/* A history's tree. */
struct plan {
    const char *format;
    bool header;
    bool is_auto;
    unsigned nkey;     /* columns or members */
    bool is_int;       /* the first of them */
    unsigned ncolumns; /* so far */
    char key[64];      /* --key's value */
};

/* Pieces of which fields are made; those of csv may hold anything. */
static const char *const pieces[] = {
    "",     "a",    "b",  " ", "\t",   "\"",   "\"\"",  ",",
    "\r\n", "\n",   "\r", "'", "\\",   "\\t",  "#1",    "\xef\xbb\xbf",
    "\xff", "\x01", "é",  "0", "long", "\x7f", "\\x00",
};

/* Append a field's bytes, without what the format can't hold. */
static size_t random_field(const struct plan *p, uint64_t *seed, char *to,
                           bool empty)
{
    size_t n = (size_t)test_rand_below(seed, 4) + (empty ? 0 : 1);
    size_t len = 0;

    if (empty && test_rand_below(seed, 3) == 0)
        return 0;
    while (n > 0 || (len == 0 && !empty)) {
        const char *piece = pieces[test_rand_below(seed, ARRAY_LEN(pieces))];

        if (n > 0)
            n--;
        if (test_rand_below(seed, 30) == 0) {
            to[len++] = '\0';
            continue;
        }
        if (strcmp(p->format, "csv") != 0 &&
            (strchr(piece, '\n') != NULL || strchr(piece, '\t') != NULL))
            continue;
        memcpy(to + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return len;
}

static void add_csv_field(struct text *t, const char *p, size_t len,
                          uint64_t *seed)
{
    bool quote = len == 0 ? test_rand_below(seed, 2) == 0
                          : test_rand_below(seed, 8) == 0;

    for (size_t i = 0; i < len; i++)
        quote |= strchr(",\"\r\n", p[i]) != NULL && p[i] != '\0';
    if (quote)
        add_text(t, "\"");
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"')
            add_text(t, "\"");
        add(t, p + i, 1);
    }
    if (quote)
        add_text(t, "\"");
}

/* A number as text in one of its spellings. */
static size_t random_int(uint64_t *seed, char *to)
{
    static const char *const forms[] = { "%d", "%03d", "-%d" };

    return (size_t)sprintf(to, forms[test_rand_below(seed, ARRAY_LEN(forms))],
                           (int)test_rand_below(seed, 40));
}

static void add_row(const struct plan *p, struct text *t, uint64_t *seed)
{
    char field[256];
    size_t begin = t->len;

    for (unsigned c = 0; c < p->ncolumns; c++) {
        size_t len = !p->is_auto && c == 0 && p->is_int
                         ? random_int(seed, field)
                         : random_field(p, seed, field, c >= p->nkey);

        if (c > 0)
            add_text(t, strcmp(p->format, "csv") == 0 ? "," : "\t");
        if (strcmp(p->format, "csv") == 0)
            add_csv_field(t, field, len, seed);
        else
            add(t, field, len);
    }
    if (t->len == begin && strcmp(p->format, "csv") == 0)
        add_text(t, "\"\"");
    add_text(t, test_rand_below(seed, 4) == 0 ||
                        (t->len > begin && t->data[t->len - 1] == '\r')
                    ? "\r\n"
                    : "\n");
}

static const char *blank(uint64_t *seed)
{
    static const char *const blanks[] = { "", "", "", " ", "\t", "  " };

    return blanks[test_rand_below(seed, ARRAY_LEN(blanks))];
}

static void add_object(const struct plan *p, struct text *t, uint64_t *seed,
                       bool lines)
{
    static const char *const values[] = {
        "1.50",        "-0",   "1e400", "null",    "[ 1,2 ,{\"a\": [] }]",
        "\"\\u0041\"", "true", "{}",    "\"\\n\"", "\"\xc3\xa9 \\\\\"",
    };
    char text[256];

    add_text(t, blank(seed));
    add_text(t, "{");
    for (unsigned i = 0; i < p->nkey; i++) {
        sprintf(text, "%s\"k%u\"%s:%s\"%u\"%s,", blank(seed), i, blank(seed),
                blank(seed), (unsigned)test_rand_below(seed, 60), blank(seed));
        add_text(t, text);
    }
    if (!lines && test_rand_below(seed, 3) == 0)
        add_text(t, "\n");
    sprintf(text, "%s\"v\":%s%s%s", blank(seed), blank(seed),
            values[test_rand_below(seed, ARRAY_LEN(values))], blank(seed));
    add_text(t, text);
    add_text(t, "}");
    add_text(t, blank(seed));
}

static void make_input(const struct plan *p, struct text *t, uint64_t *seed)
{
    uint64_t n = test_rand_below(seed, 60);
    bool rows = strcmp(p->format, "csv") == 0 || strcmp(p->format, "tsv") == 0;
    bool json = strcmp(p->format, "json") == 0;

    t->len = 0;
    if (rows && p->header) {
        for (unsigned c = 0; c < p->ncolumns; c++) {
            char name[32];

            sprintf(name, "%s%s%u", c > 0 ? "" : "k", "c ", c);
            if (c > 0)
                add_text(t, strcmp(p->format, "csv") == 0 ? "," : "\t");
            add_text(t, name);
        }
        add_text(t, "\n");
    } else if (rows && n == 0) {
        n = 1;
    }
    if (json)
        add_text(t, "[");
    for (uint64_t i = 0; i < n; i++) {
        char field[256];

        if (rows) {
            add_row(p, t, seed);
        } else if (strcmp(p->format, "lines") == 0) {
            size_t len = random_field(p, seed, field, false);

            add(t, field, len);
            add_text(t, field[len - 1] == '\r' ? "\r\n" : "\n");
        } else {
            add_object(p, t, seed, !json);
            if (!json || i + 1 < n)
                add_text(t, json ? ",\n" : "\n");
        }
    }
    if (json)
        add_text(t, "]");
}

/* The options of a load, without those that only say where. */
static size_t load_args(const struct plan *p, const char *format,
                        const char **args)
{
    size_t n = 0;

    args[n++] = "--format";
    args[n++] = format;
    if (p->is_auto) {
        args[n++] = "--key-auto";
    } else if (p->nkey > 0) {
        args[n++] = "--key";
        args[n++] = p->key;
    }
    if (!p->header)
        args[n++] = "--no-header";
    return n;
}

static void load(const struct plan *p, const char *path, const char *format,
                 const void *in, size_t len, const char *more)
{
    const char *args[20] = { "load", "--db", path };
    struct run r = { 0 };
    size_t n = 3;

    write_file(file, in, len);
    if (strcmp(format, "raw") == 0) {
        args[n++] = "--format";
        args[n++] = "raw";
    } else {
        n += load_args(p, format, args + n);
    }
    if (more != NULL)
        args[n++] = more;
    args[n++] = file;
    args[n] = NULL;
    run_argv(&r, "", 0, args);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

static struct plan random_plan(const char *format, uint64_t *seed)
{
    struct plan p = { .format = format };
    bool rows = strcmp(format, "csv") == 0 || strcmp(format, "tsv") == 0;

    p.header = rows && test_rand_below(seed, 3) > 0;
    p.is_auto = strcmp(format, "lines") != 0 && test_rand_below(seed, 3) == 0;
    p.nkey = p.is_auto || strcmp(format, "lines") == 0
                 ? 0
                 : 1 + (unsigned)test_rand_below(seed, 3);
    p.is_int = rows && !p.is_auto && test_rand_below(seed, 2) == 0;
    p.ncolumns = (p.nkey > 0 ? p.nkey : 1) + (unsigned)test_rand_below(seed, 3);
    for (unsigned i = 0; i < p.nkey; i++)
        sprintf(p.key + strlen(p.key), "%s%s%u%s", i > 0 ? "," : "",
                rows ? "#" : "k", rows ? i + 1 : i,
                i == 0 && p.is_int ? ":int" : "");
    return p;
}

/* Delete a few records, as scan --keys names them. */
static void delete_some(uint64_t *seed)
{
    struct run r = { 0 };
    struct run del = { 0 };
    char *end;

    run(&r, "scan", "--db", db, "--keys", NULL);
    CHECK_RUN(&r, 0);
    for (char *p = r.out; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        if (test_rand_below(seed, 12) != 0)
            continue;
        *end = '\0';
        if (strchr(p, '"') != NULL || strchr(p, '\r') != NULL)
            continue; /* a key may have line ends in quotes: leave it */
        run(&del, "del", "--db", db, "--", p, NULL);
        /* A key with NUL in it is cut on the way. */
        CHECK(del.status == 0 || del.status == 1);
    }
    run_free(&r);
    run_free(&del);
}

/* Dump in `form`, load that, compare. False: it can't be dumped so. */
static bool dump_and_load(const struct plan *p, const char *form, uint64_t rev,
                          const char *why_not)
{
    const char *args[10] = { "dump", "--db", db, "--format", form };
    struct run r = { 0 };
    char number[32];

    snprintf(number, sizeof(number), "%llu", (unsigned long long)rev);
    if (rev != 0) {
        args[5] = "--rev";
        args[6] = number;
    }
    run_argv(&r, "", 0, args);
    if (r.status == 1 && why_not != NULL) {
        CHECK_SAYS(&r, why_not);
        run_free(&r);
        return false;
    }
    CHECK_RUN(&r, 0);
    unlink(again);
    load(p, again, form, r.out, r.out_len, NULL);
    if (access(again, F_OK) != 0)
        CHECK_EQ(r.out_len, 0);
    else
        check_same_tree(rev, strcmp(form, "raw") == 0 || r.out_len > 0);
    run_free(&r);
    return true;
}

static void test_random_histories(void **state)
{
    static const char *const formats[] = { "csv", "tsv", "ndjson", "json",
                                           "lines" };
    uint64_t seed = test_seed();
    uint64_t rounds = test_rounds(15);
    struct text *t = malloc(sizeof(*t));
    unsigned gaps = 0;
    unsigned whole = 0;

    (void)state;
    CHECK(t != NULL);
    for (uint64_t i = 0; i < rounds; i++) {
        const char *format = formats[i % ARRAY_LEN(formats)];
        struct plan p = random_plan(format, &seed);
        uint64_t steps = 1 + test_rand_below(&seed, 4);
        bool json = strcmp(format, "json") == 0 ||
                    strcmp(format, "ndjson") == 0;
        bool tsv = strcmp(format, "tsv") == 0;
        uint64_t rev = 0;

        CHECK_CASE(format);
        unlink(db);
        for (uint64_t k = 0; k < steps; k++) {
            make_input(&p, t, &seed);
            load(&p, db, format, t->data, t->len, NULL);
            if (access(db, F_OK) == 0 && test_rand_below(&seed, 2) == 0)
                delete_some(&seed);
            if (p.header)
                p.ncolumns += (unsigned)test_rand_below(&seed, 2);
        }
        if (access(db, F_OK) != 0)
            continue; /* nothing came */
        if (test_rand_below(&seed, 4) == 0)
            rev = 1;
        /* Whatever it is, raw carries it. */
        CHECK(dump_and_load(&p, "raw", rev, NULL));
        for (int form = 0; form < (json ? 2 : 1); form++) {
            const char *name = !json ? format : form == 0 ? "ndjson" : "json";
            const char *why = p.is_auto ? (tsv ? "" : "use --format raw")
                                        : NULL;

            if (strcmp(format, "lines") == 0) {
                struct run r = { 0 };

                run(&r, "dump", "--db", db, NULL);
                CHECK_RUN(&r, 0);
                unlink(again);
                load(&p, again, "lines", r.out, r.out_len, NULL);
                if (rev == 0 && r.out_len > 0)
                    check_same_tree(0, true);
                run_free(&r);
                whole++;
            } else if (dump_and_load(&p, name, rev, why)) {
                whole++;
            } else {
                gaps++;
            }
        }
    }
    if (rounds >= 15)
        CHECK(whole > gaps);
    free(t);
}

/* A tree that quire load has not made: any keys and values, an empty key among
 * them, in the default form of dump. */
static void test_raw_trees(void **state)
{
    uint64_t seed = test_seed();
    struct quire_options opt = { .size = sizeof(opt) };
    struct quire *s;
    struct quire_txn *txn;
    struct quire_val meta = { "not of quire\n\t\0load", 18 };
    struct run r = { 0 };

    (void)state;
    CHECK_OK(quire_open(db, &opt, &s));
    CHECK_OK(quire_begin(s, QUIRE_WRITE, &txn));
    for (int i = 0; i < 300; i++) {
        unsigned char key[16];
        unsigned char val[64];
        struct quire_val k = { key, (size_t)test_rand_below(&seed, 16) };
        struct quire_val v = { val, (size_t)test_rand_below(&seed, 64) };

        for (size_t n = 0; n < sizeof(key); n++)
            key[n] = (unsigned char)test_rand(&seed);
        for (size_t n = 0; n < sizeof(val); n++)
            val[n] = (unsigned char)test_rand(&seed);
        CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
    }
    CHECK_OK(quire_tree_set_meta(txn, NULL, &meta));
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(s));
    run(&r, "dump", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    write_file(file, r.out, r.out_len);
    run(&r, "load", "--db", again, "--format", "raw", file, NULL);
    CHECK_RUN(&r, 0);
    check_same_tree(0, true);
    /* The first of them is an empty key, alone on its line. */
    run(&r, "put", "--db", again, "", "x", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "scan", "--db", again, "--keys", "--limit", "1", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "\n");
    run(&r, "del", "--db", again, "", NULL);
    CHECK_RUN(&r, 0);
    /* Again: the same records, and no new description. */
    run(&r, "load", "--db", again, "--format", "raw", file, NULL);
    CHECK_RUN(&r, 0);
    check_same_tree(0, true);
    /* Mirrored, it takes away what is not in it. */
    run(&r, "put", "--db", again, "an additional key", "x", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "load", "--db", again, "--format", "raw", "--mirror", file, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records deleted"), 1);
    check_same_tree(0, true);
    /* Records of another kind don't mix with these. */
    run_with(&r, "k\n1\n", 4, "load", "--db", again, "--key", "k", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "holds records that quire load did not make");
    run_with(&r, "quire raw 1\nend 0\n", 18, "load", "--db", again, "--format",
             "raw", "-", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "its records are not described as the tree's are");
    run_free(&r);
}

/* Each counterexample that there was. */
static void test_hard_cases(void **state)
{
    static const struct {
        const char *name;
        const char *format;
        const char *key; /* --key; NULL: --key-auto */
        bool header;
        const char *in[2]; /* loaded one after the other */
    } cases[] = {
        { "columns added later",
          "csv",
          "#1",
          true,
          { "a,b\n1,x\n2,\n3,y\n", "a,b,c\n3,,\n4,,z\n" } },
        { "columns added later without a header",
          "csv",
          "#1",
          false,
          { "1,x\n2,\n", "3,,\n4,,z\n" } },
        { "a row of nothing", "csv", NULL, true, { "a,b\n,\n1,\n", NULL } },
        { "one column of nothing", "csv", NULL, false, { "\"\"\n1\n", NULL } },
        { "a field that ends with NUL", "csv", "#1", true, { NULL, NULL } },
        { "a byte order mark as data",
          "csv",
          "#1",
          false,
          { "\xef\xbb\xbf\xef\xbb\xbfk,1\nz,2\n", NULL } },
        { "a byte order mark in a header",
          "tsv",
          "#1",
          true,
          { "\xef\xbb\xbf\xef\xbb\xbfk\tv\nz\t2\n", NULL } },
        { "a byte order mark before a line",
          "lines",
          "",
          false,
          { "\xef\xbb\xbf\xef\xbb\xbfk\nz\n", NULL } },
        { "carriage returns behind a line",
          "lines",
          "",
          false,
          { "k\r\r\nz\r\r\r\n", NULL } },
        { "a carriage return behind a row",
          "tsv",
          "#1",
          true,
          { "k\tv\r\r\n1\tx\r\r\n", NULL } },
        { "blanks inside JSON",
          "ndjson",
          "k",
          false,
          { " { \"k\" : 1 ,\t\"v\": [ ] } \t\n", NULL } },
        { "blanks inside a document",
          "json",
          "k",
          false,
          { "[ { \"k\" : 1 ,\t\"v\": [ ] } , {\n\"k\":2 } ]", NULL } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct plan p = { .format = cases[i].format,
                          .header = cases[i].header,
                          .is_auto = cases[i].key == NULL,
                          .nkey = cases[i].key != NULL &&
                                  cases[i].key[0] != '\0' };
        static const char nul[] = "k,v,w\na,x\0,\nb,\0,\n";

        CHECK_CASE(cases[i].name);
        unlink(db);
        if (p.nkey > 0)
            strcpy(p.key, cases[i].key);
        if (cases[i].in[0] == NULL)
            load(&p, db, p.format, nul, sizeof(nul) - 1, NULL);
        for (int k = 0; k < 2 && cases[i].in[k] != NULL; k++)
            load(&p, db, p.format, cases[i].in[k], strlen(cases[i].in[k]),
                 NULL);
        CHECK(dump_and_load(&p, "raw", 0, NULL));
        if (strcmp(p.format, "lines") == 0) {
            struct run r = { 0 };

            run(&r, "dump", "--db", db, NULL);
            CHECK_RUN(&r, 0);
            unlink(again);
            load(&p, again, "lines", r.out, r.out_len, NULL);
            check_same_tree(0, true);
            run_free(&r);
        } else {
            CHECK(dump_and_load(&p, p.format, 0, NULL));
        }
        if (strcmp(p.format, "json") == 0)
            CHECK(dump_and_load(&p, "ndjson", 0, NULL));
    }
}

/* Automatic keys with gaps: only raw has them, and dump says so. */
static void test_gaps(void **state)
{
    struct plan p = { .format = "csv", .header = true, .is_auto = true };
    struct run r = { 0 };

    (void)state;
    load(&p, db, "csv", "a,b\n1,\n2,x\n3,\n", 14, NULL);
    CHECK(dump_and_load(&p, "csv", 0, NULL));
    run(&r, "del", "--db", db, "2", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "dump", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the automatic keys have gaps");
    CHECK_SAYS(&r, "use --format raw");
    CHECK_EQ(r.out_len, 0);
    CHECK(dump_and_load(&p, "csv", 1, NULL)); /* then there were none */
    CHECK(dump_and_load(&p, "raw", 0, NULL));
    /* The copy goes on counting where the tree would. */
    load(&p, again, "csv", "a,b\nnew,\n", 9, NULL);
    run(&r, "get", "--db", again, "4", NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, "new,\n");
    /* Gaps at either end. */
    run(&r, "del", "--db", db, "1", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "dump", "--db", db, "--format", "ndjson", NULL);
    CHECK_RUN(&r, 1);
    run(&r, "put", "--db", db, "-7", "x,y", NULL);
    run(&r, "dump", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK(dump_and_load(&p, "raw", 0, NULL));
    run_free(&r);
}

/* A raw dump that was changed or cut is not taken for a whole one. */
static void test_broken_raw(void **state)
{
    static const struct {
        const char *name;
        const char *in;
        int status;
        const char *says;
    } cases[] = {
        { "nothing", "", 1, "in:1: it does not begin as a raw dump" },
        { "another version", "quire raw 2\nend 0\n", 1, "does not begin" },
        { "no end", "quire raw 1\na\tb\n", 1, "has been cut" },
        { "not even records", "quire raw 1\n", 1, "has been cut" },
        { "cut in the end", "quire raw 1\na\tb\nen", 1, "has been cut" },
        { "a record missing", "quire raw 1\na\tb\nend 2\n", 1,
          "in:3: records are missing" },
        { "a record too many", "quire raw 1\na\tb\nend 0\n", 1,
          "in:3: records are missing before this end, or have been added" },
        { "text behind the end", "quire raw 1\nend 0\nx\ty\n", 1,
          "in:3: there is text behind the end" },
        { "metadata broken", "quire raw 1\nmeta \\q\nend 0\n", 1,
          "in:2: the tree's metadata are damaged" },
        { "description broken", "quire raw 1\nmeta quire records 9\nend 0\n", 1,
          "damaged or of a newer quire" },
        { "no tab", "quire raw 1\nab\nend 1\n", 3,
          "in:2: rejected: the line is no escaped key and value" },
        { "escape at the end", "quire raw 1\na\tb\\\nend 1\n", 3, "rejected" },
        { "escape of no kind", "quire raw 1\na\\0\tb\nend 1\n", 3, "rejected" },
        { "half a number", "quire raw 1\na\tb\\x1\nend 1\n", 3, "rejected" },
        { "key too long", NULL, 3, "the key has 3000 bytes" },
        { "empty tree", "quire raw 1\nend 0\n", 0, "records read: 0" },
        { "line ends of two bytes", "quire raw 1\r\na\t\\x41\r\nend 1\r\n", 0,
          "records loaded: 1" },
    };
    struct run r = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char longer[4000] = "quire raw 1\n";

        CHECK_CASE(cases[i].name);
        memset(longer + 12, 'k', 3000);
        strcpy(longer + 3012, "\tv\nend 1\n");
        if (cases[i].in != NULL)
            write_file(file, cases[i].in, strlen(cases[i].in));
        else
            write_file(file, longer, strlen(longer));
        run(&r, "load", "--db", db, "--format", "raw", file, NULL);
        CHECK_RUN(&r, cases[i].status);
        CHECK_SAYS(&r, cases[i].says);
        unlink(db);
    }
    run(&r, "load", "--db", db, "--format", "raw", "--key", "a", file, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "where the keys are given: leave --key and --key-auto out");
    run(&r, "dump", "--db", db, "--format", "raw", "--fields", "a", NULL);
    CHECK_RUN(&r, 1);
    run(&r, "scan", "--db", db, "--format", "raw", NULL);
    CHECK_RUN(&r, 2);
    run_free(&r);
}

/* What `put` would store, and no load ever make, it refuses. */
static void test_put_keeps_to_it(void **state)
{
    struct plan lines = { .format = "lines" };
    struct run r = { 0 };

    (void)state;
    load(&lines, db, "lines", "a\n", 2, NULL);
    run(&r, "put", "--db", db, "b\nc", NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "a line is not empty and has no line end in it");
    run(&r, "put", "--db", db, "", NULL);
    CHECK_RUN(&r, 1);
    unlink(db);
    /* One column without a name in tsv, and nothing in its first record. */
    lines.format = "tsv";
    lines.is_auto = true;
    load(&lines, db, "tsv", "x\n\ny\n", 5, NULL);
    CHECK(dump_and_load(&lines, "tsv", 0, NULL));
    run(&r, "put", "--db", db, "1", "", NULL);
    CHECK_RUN(&r, 0);
    run(&r, "dump", "--db", db, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the first record is an empty line");
    CHECK(dump_and_load(&lines, "raw", 0, NULL));
    unlink(db);
    lines.format = "ndjson";
    load(&lines, db, "ndjson", "{}\n", 3, NULL);
    run(&r, "put", "--db", db, "1", " {\"a\": 1}\t", NULL);
    CHECK_RUN(&r, 0);
    CHECK(dump_and_load(&lines, "json", 0, NULL));
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_random_histories), TEST(test_raw_trees),
        TEST(test_hard_cases),       TEST(test_gaps),
        TEST(test_broken_raw),       TEST(test_put_keeps_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
