/*
 * test_tools_data.c - real data through `quire load` and back out by `quire
 * scan`, record by record, inside the memory that was promised.
 *
 * What scan prints is compared with the file itself, decompressed, cut into
 * lines and sorted here: no code of the program's takes part. That works since
 * these files hold no line end inside a record and quote only where they must.
 */
#include <unistd.h>
#include <zstd.h>

#include "tests/lib_run.h"

#define MIB ((size_t)1 << 20)

struct line {
    const char *text;
    size_t len; /* bytes, without the line end */
};

struct lines {
    struct line *line;
    size_t n;
};

/* Decompress a whole file. */
static char *unpack(const char *path, size_t *len)
{
    ZSTD_DStream *d = ZSTD_createDStream();
    size_t packed_len;
    char *packed = read_file(path, &packed_len);
    ZSTD_inBuffer in = { packed, packed_len, 0 };
    size_t cap = 16 * MIB;
    char *data = malloc(cap);
    ZSTD_outBuffer out = { data, cap, 0 };
    size_t rc = 1;

    CHECK(d != NULL && data != NULL);
    while (rc != 0) {
        if (out.pos == out.size) {
            out.size *= 2;
            out.dst = data = realloc(data, out.size);
            CHECK(data != NULL);
        }
        rc = ZSTD_decompressStream(d, &out, &in);
        CHECK(!ZSTD_isError(rc));
        CHECK(rc == 0 || in.pos < in.size || out.pos == out.size);
    }
    *len = out.pos;
    ZSTD_freeDStream(d);
    free(packed);
    return data;
}

static void cut_lines(const char *data, size_t len, struct lines *l)
{
    size_t cap = 1 << 20;
    const char *end = data + len;

    l->n = 0;
    l->line = malloc(cap * sizeof(*l->line));
    CHECK(l->line != NULL);
    while (data < end) {
        const char *eol = memchr(data, '\n', (size_t)(end - data));
        struct line one = { data, 0 };

        CHECK(eol != NULL);
        one.len = (size_t)(eol - data);
        if (one.len > 0 && eol[-1] == '\r')
            one.len--;
        if (l->n == cap) {
            cap *= 2;
            l->line = realloc(l->line, cap * sizeof(*l->line));
            CHECK(l->line != NULL);
        }
        l->line[l->n++] = one;
        data = eol + 1;
    }
}

static int by_bytes(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->text, y->text, n);

    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = run_number(((const struct line *)a)->text);
    uint64_t y = run_number(((const struct line *)b)->text);

    return (x > y) - (x < y);
}

static int by_first_field(const void *a, const void *b)
{
    struct line x = *(const struct line *)a;
    struct line y = *(const struct line *)b;

    x.len = (size_t)((char *)memchr(x.text, '\t', x.len) - x.text);
    y.len = (size_t)((char *)memchr(y.text, '\t', y.len) - y.text);
    return by_bytes(&x, &y);
}

/* The process has kept to its budget of 32 MiB and the 24 that code, stacks and
 * decoding may take. A sanitizer's own memory is another matter. */
static void check_peak(const struct run *r, const char *name)
{
    const char *divisor = getenv("TEST_DIVISOR");

    if (divisor != NULL && strcmp(divisor, "1") != 0)
        return;
    if (r->peak_kib > (32 + 24) * 1024)
        print_error("%s: %ld KiB resident\n", name, r->peak_kib);
    CHECK(r->peak_kib <= (32 + 24) * 1024);
}

struct data_case {
    const char *name; /* of the file */
    const char *args[6];
    uint64_t records; /* loaded */
    uint64_t rejected;
    const char *says; /* of the load; may be NULL */
    size_t header;    /* lines that stay in front */
    /* The order in which scan has the file's lines; NULL: the file's own. */
    int (*order)(const void *a, const void *b);
    bool sort_scan; /* the lines don't begin with the key: compare both
                            sorted */
};

static void check_lines_equal(const struct lines *want, const struct lines *got)
{
    CHECK_EQ(want->n, got->n);
    for (size_t i = 0; i < want->n; i++) {
        /* Plain comparisons first: there are a million of them. */
        if (want->line[i].len != got->line[i].len ||
            memcmp(want->line[i].text, got->line[i].text, got->line[i].len) !=
                0) {
            print_error("line %zu: want %.*s\n got %.*s\n", i,
                        (int)want->line[i].len, want->line[i].text,
                        (int)got->line[i].len, got->line[i].text);
            CHECK(false);
        }
    }
}

static void check_data(const struct data_case *c)
{
    char dir[512];
    char db[600];
    char path[4096];
    const char *args[16] = { "load", "--db", db, "--memory", "32M" };
    size_t nargs = 5;
    struct run r = { 0 };
    struct lines want;
    struct lines got;
    char *data;
    size_t len;

    test_shared_path(path, sizeof(path), c->name);
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    for (size_t k = 0; k < 6 && c->args[k] != NULL; k++)
        args[nargs++] = c->args[k];
    args[nargs++] = path;
    run_measured(&r, args);
    CHECK_RUN(&r, c->rejected > 0 ? 3 : 0);
    if (c->says != NULL)
        CHECK_SAYS(&r, c->says);
    CHECK_EQ(run_figure(&r, "records read"), c->records + c->rejected);
    CHECK_EQ(run_figure(&r, "records loaded"), c->records);
    CHECK_EQ(run_figure(&r, "records rejected"), c->rejected);
    CHECK_EQ(run_figure(&r, "pages still pinned"), 0);
    CHECK_EQ(run_figure(&r, "segments still in use"), 0);
    CHECK_EQ(run_figure(&r, "memory budget bytes"), 32 * MIB);
    CHECK(run_figure(&r, "memory peak resident bytes") <= 32 * MIB);
    check_peak(&r, c->name);
    if (c->records == 0)
        goto out;

    run(&r, "verify", "--db", db, "--memory", "32M", NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "records"), c->records);

    data = unpack(path, &len);
    cut_lines(data, len, &want);
    CHECK_EQ(want.n, c->records + c->header);
    if (c->order != NULL)
        qsort(want.line + c->header, want.n - c->header, sizeof(*want.line),
              c->order);
    args[0] = "scan";
    args[5] = NULL;
    run_measured(&r, args);
    CHECK_RUN(&r, 0);
    check_peak(&r, c->name);
    cut_lines(r.out, r.out_len, &got);
    if (c->sort_scan)
        qsort(got.line + c->header, got.n - c->header, sizeof(*got.line),
              c->order);
    check_lines_equal(&want, &got);
    free(got.line);
    if (c->sort_scan) {
        run(&r, "scan", "--db", db, "--keys", NULL);
        CHECK_RUN(&r, 0);
        cut_lines(r.out, r.out_len, &got);
        CHECK_EQ(got.n, c->records);
        for (size_t i = 1; i < got.n; i++)
            CHECK(by_bytes(&got.line[i - 1], &got.line[i]) < 0);
        free(got.line);
    }
    free(want.line);
    free(data);

out:
    run_free(&r);
    test_rmtree(dir);
}

static void test_crimes(void **state)
{
    static const struct data_case c = {
        .name = "data/chicago-crimes-2016-2017.csv.zst",
        .args = { "--key", "ID:int" },
        .records = 536605,
        .header = 1,
        .order = by_number,
    };

    (void)state;
    check_data(&c);
}

static void test_attack(void **state)
{
    static const struct data_case c = {
        .name = "data/attack-stix-v18.1.ndjson.zst",
        .args = { "--key", "domain,id" },
        .records = 29131,
        .order = by_bytes,
        .sort_scan = true,
    };

    (void)state;
    check_data(&c);
}

static void test_words(void **state)
{
    static const struct data_case c = {
        .name = "data/wordfreq-20lang.tsv.zst",
        .args = { "--no-header", "--key", "#1" },
        .records = 1000000,
        .order = by_first_field,
    };

    (void)state;
    check_data(&c);
}

static void test_urls(void **state)
{
    static const struct data_case c = {
        .name = "data/file-urls-node.txt.zst",
        .args = { "--format", "lines" },
        .records = 43415,
        .order = by_bytes,
    };

    (void)state;
    check_data(&c);
}

static void test_crimes_without_id(void **state)
{
    static const struct data_case by_id = {
        .name = "data/chicago-crimes-2001-01-noid.csv.zst",
        .args = { "--key", "ID:int" },
        .rejected = 38097,
        .says = "key field \"ID\" is empty",
    };
    static const struct data_case counted = {
        .name = "data/chicago-crimes-2001-01-noid.csv.zst",
        .args = { "--key-auto" },
        .records = 38097,
        .header = 1,
    };

    (void)state;
    check_data(&by_id);
    check_data(&counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crimes),
        cmocka_unit_test(test_attack),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_crimes_without_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
