/*
 * bench_page.c - `quire bench page`: what is done in one page, for each way to
 * search (quire_simd_variant()), shape of keys and size of pages.
 *
 * A store in memory holds a tree whose pages are full. Of the records in its
 * middle as many are chosen as one page holds: the *stretch*. All of them lie
 * in one page or in two neighbours, which have fences on both sides as most
 * pages do, and stay in the processor's cache. What is measured goes through
 * quire.h, as everything here: the way down from the root, one page or two that
 * are as warm, is in every figure, and the same for every variant.
 *
 *   get      quire_get() of the stretch's keys in random order
 *   seek     quire_cursor_seek() to them, SEEK_GE
 *   scan     the stretch from its first record on, by quire_cursor_next_many()
 *   insert   a third of the stretch is missing: put in random order, in a
 *            transaction that has changed these pages before, and is aborted
 *   any      quire_get() of any key of the tree: what its height and the
 *            processor's cache make of it
 *   commit   a value of the stretch is replaced and committed, not synced: the
 *            copying of pages, and the bytes that are written
 *
 * The last two say what the size of a page costs and gains elsewhere, which is
 * what a default is chosen by. commit is measured with the best variant only.
 *
 * Time is cut into slices of 256 gets or one transaction, and the median
 * counts; so does the median of the rounds, in which the variants take turns.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench.h"
#include "tools/tool.h"

#define KEY_CAP 96u /* bytes of the longest key */
#define VALUE_BYTES 100u
#define SLICE 256u /* gets or seeks */
#define SLICES_MAX 8192u
#define ROUNDS_MAX 99u
#define RECORDS_LEAST 10000u /* four pages of the greatest size and more */
#define RECORDS_MOST 10000000u
#define VARIANTS_MAX 8u
#define COLUMNS BENCH_WRITTEN

static const char help[] =
    "usage: quire bench page [option ...]\n"
    "\n"
    "Nanoseconds for what is done in one page, by each way to search.\n"
    "\n"
    "  --cases A,B     get, seek, scan, insert, any, commit (default: all)\n"
    "  --keys A,B      dense, random, urls (default: all)\n"
    "  --pages A,B     4K, 8K, 16K, 32K, 64K (default: all)\n"
    "  --variants A,B  of those that this processor has (default: all)\n"
    "  --records N     in the tree, at least 10000 (50000)\n"
    "  --seconds N     time of a measurement, 0.001 to 10 (0.02)\n"
    "  --rounds N      measurements of which the median counts (7)\n"
    "  --dir DIR       where the store is (default: TMPDIR, or /tmp)\n"
    "  --json          one object a line\n";

struct plan {
    const char *cases;
    const char *keys;
    const char *pages;
    const char *variants;
    const char *dir;
    uint64_t records;
    uint64_t ms;
    uint64_t rounds;
    bool json;
};

/* A tree under measurement. */
struct bed {
    const struct plan *plan;
    struct quire *db;
    char (*keys)[KEY_CAP]; /* `n` of them, in order */
    uint8_t *key_len;      /* bytes of each */
    uint64_t n;
    uint64_t first; /* the stretch: `len` records from here on */
    uint64_t len;
    uint32_t *order; /* numbers 0 .. len - 1, in random order */
    uint64_t rand;
    double slice_ns[SLICES_MAX];
};

/* What a case is: an operation's nanoseconds in *ns, bytes in *written. */
typedef int (*measure_fn)(struct bed *b, double *ns, double *written);

static int failed(const char *what, quire_status rc)
{
    say("bench page: %s: %s (%s)", what, quire_strerror(rc),
        quire_error_detail());
    return -1;
}

static struct quire_val key_of(const struct bed *b, uint64_t i)
{
    return (struct quire_val){ b->keys[i], b->key_len[i] };
}

/* The value of record `i`, as long for every one. */
static struct quire_val value_of(unsigned char buf[VALUE_BYTES], uint64_t i,
                                 uint64_t version)
{
    uint64_t seed = i + (version << 40);

    for (size_t at = 0; at + 8 <= VALUE_BYTES; at += 8) {
        uint64_t r = bench_rand(&seed);

        memcpy(buf + at, &r, 8);
    }
    memset(buf + VALUE_BYTES / 8 * 8, 0, VALUE_BYTES % 8);
    return (struct quire_val){ buf, VALUE_BYTES };
}

/* ---- keys ---- */

static size_t key_dense(uint64_t i, char *key)
{
    return (size_t)snprintf(key, KEY_CAP, "%016llu", (unsigned long long)i);
}

static size_t key_random(uint64_t i, char *key)
{
    uint64_t r[2] = { bench_mix(2 * i + 1), bench_mix(2 * i + 2) };

    memcpy(key, r, sizeof(r));
    return sizeof(r);
}

/* Words in a few places: what keys next to each other have in common is long,
 * and heads are often equal. */
static size_t key_url(uint64_t i, char *key)
{
    static const char *const hosts[] = { "https://www.example.org",
                                         "https://docs.example.org",
                                         "https://static.example.net" };
    static const char *const dirs[] = { "articles", "archive", "images",
                                        "news",     "people",  "projects",
                                        "reports",  "travel" };
    uint64_t r = bench_mix(i / 64 + 1);

    return (size_t)snprintf(key, KEY_CAP, "%s/%s/%s/%05llu/page-%llu.html",
                            hosts[r % 3], dirs[r >> 8 & 7], dirs[r >> 16 & 7],
                            (unsigned long long)(i / 64),
                            (unsigned long long)(i % 64));
}

static const struct shape {
    const char *name;
    size_t (*make)(uint64_t i, char *key);
} shapes[] = {
    { "dense", key_dense },
    { "random", key_random },
    { "urls", key_url },
};

static int by_key(const void *a, const void *b)
{
    return memcmp(a, b, KEY_CAP); /* no key is another's beginning and zeros */
}

static int keys_make(struct bed *b, const struct shape *shape)
{
    b->n = b->plan->records;
    b->keys = calloc(b->n, KEY_CAP);
    b->key_len = malloc(b->n);
    if (b->keys == NULL || b->key_len == NULL) {
        say("bench page: no memory for the keys");
        return -1;
    }
    for (uint64_t i = 0; i < b->n; i++)
        (void)shape->make(i, b->keys[i]);
    qsort(b->keys, b->n, KEY_CAP, by_key);
    for (uint64_t i = 0; i < b->n; i++)
        b->key_len[i] = shape->make == key_random ? 16
                                                  : (uint8_t)strlen(b->keys[i]);
    return 0;
}

/* ---- the store ---- */

/* In a directory of its own, from which it is removed at once: it is gone when
 * this process is. */
static int tree_open(struct bed *b, uint32_t page_bytes)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .flags = QUIRE_NOBACKGROUND,
                                 .budget_bytes = (uint64_t)64 << 20,
                                 .page_bytes = page_bytes };
    const char *parent = b->plan->dir;
    char dir[4000];
    char path[4096];
    quire_status rc;

    opt.budget_bytes += b->n * 512;
    if (parent == NULL)
        parent = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    if (snprintf(dir, sizeof(dir), "%s/quire-bench-XXXXXX", parent) >=
            (int)sizeof(dir) ||
        mkdtemp(dir) == NULL) {
        say("%s: %m", parent);
        return -1;
    }
    snprintf(path, sizeof(path), "%s/store", dir);
    rc = quire_open(path, &opt, &b->db);
    (void)unlink(path);
    (void)rmdir(dir);
    return rc == QUIRE_OK ? 0 : failed("open", rc);
}

static int fill(struct bed *b)
{
    struct quire_txn *txn = NULL;
    unsigned char buf[VALUE_BYTES];
    quire_rev rev;
    quire_status rc = quire_begin(b->db, QUIRE_WRITE, &txn);

    for (uint64_t i = 0; i < b->n && rc == QUIRE_OK; i++) {
        struct quire_val key = key_of(b, i);
        struct quire_val val = value_of(buf, i, 0);

        rc = quire_put(txn, NULL, &key, &val, 0);
    }
    if (rc == QUIRE_OK)
        return (rc = quire_commit(txn, QUIRE_NOSYNC, &rev)) == QUIRE_OK
                   ? 0
                   : failed("fill", rc);
    quire_abort(txn);
    return failed("fill", rc);
}

/* A page's worth of records in the middle, and an order to ask for them. */
static int stretch_choose(struct bed *b, uint32_t page_bytes)
{
    uint64_t mid = b->n / 2;
    /* key, value, and what a page has beside each */
    uint64_t bytes = b->key_len[mid] + VALUE_BYTES + 10;

    b->len = page_bytes / bytes;
    b->first = mid - b->len / 2;
    b->order = malloc(b->len * sizeof(b->order[0]));
    if (b->order == NULL) {
        say("bench page: no memory");
        return -1;
    }
    for (uint32_t i = 0; i < b->len; i++) {
        uint64_t k = bench_rand(&b->rand) % (i + 1);

        b->order[i] = b->order[k];
        b->order[k] = i;
    }
    return 0;
}

/* ---- the cases ---- */

/* Is there time for another slice? */
static bool go_on(const struct bed *b, uint64_t began, size_t nslices)
{
    return nslices < SLICES_MAX &&
           (nslices == 0 || bench_now_ns() - began < b->plan->ms * 1000000);
}

static int read_begin(struct bed *b, struct quire_txn **txn,
                      struct quire_cursor **cur)
{
    quire_status rc = quire_begin(b->db, QUIRE_READ, txn);

    if (rc != QUIRE_OK)
        return failed("begin", rc);
    if (cur != NULL && (rc = quire_cursor_open(*txn, NULL, cur)) != QUIRE_OK) {
        quire_abort(*txn);
        return failed("a cursor", rc);
    }
    return 0;
}

/* Gets of the numbers in pick[], which is filled anew before each slice. */
static int gets(struct bed *b, bool any, double *ns)
{
    uint64_t began = bench_now_ns();
    uint64_t pick[SLICE];
    struct quire_txn *txn;
    quire_status rc = QUIRE_OK;
    size_t n = 0;

    if (read_begin(b, &txn, NULL) != 0)
        return -1;
    for (; rc == QUIRE_OK && go_on(b, began, n); n++) {
        uint64_t from;

        for (size_t i = 0; i < SLICE; i++)
            pick[i] = any ? bench_rand(&b->rand) % b->n
                          : b->first + b->order[(n * SLICE + i) % b->len];
        from = bench_now_ns();
        for (size_t i = 0; i < SLICE && rc == QUIRE_OK; i++) {
            struct quire_val key = key_of(b, pick[i]);
            struct quire_val val;

            rc = quire_get(txn, NULL, &key, &val);
        }
        b->slice_ns[n] = (double)(bench_now_ns() - from) / SLICE;
    }
    quire_abort(txn);
    if (rc != QUIRE_OK)
        return failed("get", rc);
    *ns = bench_median(b->slice_ns, n);
    return 0;
}

static int measure_get(struct bed *b, double *ns, double *written)
{
    (void)written;
    return gets(b, false, ns);
}

static int measure_any(struct bed *b, double *ns, double *written)
{
    (void)written;
    return gets(b, true, ns);
}

static int measure_seek(struct bed *b, double *ns, double *written)
{
    uint64_t began = bench_now_ns();
    struct quire_txn *txn;
    struct quire_cursor *cur;
    quire_status rc = QUIRE_OK;
    size_t n = 0;

    (void)written;
    if (read_begin(b, &txn, &cur) != 0)
        return -1;
    for (; rc == QUIRE_OK && go_on(b, began, n); n++) {
        uint64_t from = bench_now_ns();

        for (size_t i = 0; i < SLICE && rc == QUIRE_OK; i++) {
            struct quire_val key = key_of(
                b, b->first + b->order[(n * SLICE + i) % b->len]);

            rc = quire_cursor_seek(cur, QUIRE_SEEK_GE, &key);
        }
        b->slice_ns[n] = (double)(bench_now_ns() - from) / SLICE;
    }
    quire_cursor_close(cur);
    quire_abort(txn);
    if (rc != QUIRE_OK)
        return failed("seek", rc);
    *ns = bench_median(b->slice_ns, n);
    return 0;
}

static int measure_scan(struct bed *b, double *ns, double *written)
{
    uint64_t began = bench_now_ns();
    struct quire_val key = key_of(b, b->first);
    struct quire_record rec[64];
    unsigned char buf[QUIRE_KEY_MAX(QUIRE_PAGE_MAX)]; /* the least */
    struct quire_txn *txn;
    struct quire_cursor *cur;
    quire_status rc = QUIRE_OK;
    size_t n = 0;

    (void)written;
    if (read_begin(b, &txn, &cur) != 0)
        return -1;
    for (; rc == QUIRE_OK && go_on(b, began, n); n++) {
        uint64_t seen = 1; /* the record that was sought */
        uint64_t from;
        size_t got = 0;

        rc = quire_cursor_seek(cur, QUIRE_SEEK_EQ, &key);
        from = bench_now_ns();
        while (rc == QUIRE_OK && seen < b->len) {
            rc = quire_cursor_next_many(cur, rec, ARRAY_LEN(rec), buf,
                                        sizeof(buf), &got);
            seen += got;
        }
        b->slice_ns[n] = (double)(bench_now_ns() - from) / (double)(seen - 1);
    }
    quire_cursor_close(cur);
    quire_abort(txn);
    if (rc != QUIRE_OK)
        return failed("scan", rc);
    *ns = bench_median(b->slice_ns, n);
    return 0;
}

/* Put every third record of the stretch, in random order, or delete it. */
static quire_status third(struct bed *b, struct quire_txn *txn, bool put,
                          uint64_t *count)
{
    unsigned char buf[VALUE_BYTES];
    quire_status rc = QUIRE_OK;

    *count = 0;
    for (uint64_t i = 0; i < b->len && rc == QUIRE_OK; i++) {
        uint64_t no = b->first + b->order[i];
        struct quire_val key = key_of(b, no);
        struct quire_val val = value_of(buf, no, 0);

        if (b->order[i] % 3 != 1)
            continue;
        rc = put ? quire_put(txn, NULL, &key, &val, QUIRE_NOREPLACE)
                 : quire_del(txn, NULL, &key);
        ++*count;
    }
    return rc;
}

/* The same in a transaction of its own. */
static int third_commit(struct bed *b, bool put)
{
    struct quire_txn *txn = NULL;
    uint64_t count;
    quire_rev rev;
    quire_status rc = quire_begin(b->db, QUIRE_WRITE, &txn);

    if (rc == QUIRE_OK && (rc = third(b, txn, put, &count)) != QUIRE_OK)
        quire_abort(txn);
    else if (rc == QUIRE_OK)
        rc = quire_commit(txn, QUIRE_NOSYNC, &rev);
    return rc == QUIRE_OK ? 0 : failed("a third of the stretch", rc);
}

/* Change the stretch's pages, so that `txn` has copies of them. */
static quire_status touch(struct bed *b, struct quire_txn *txn)
{
    quire_status rc = QUIRE_OK;

    for (uint64_t i = 0; i < b->len && rc == QUIRE_OK; i += 3) {
        unsigned char buf[VALUE_BYTES];
        struct quire_val key = key_of(b, b->first + i);
        struct quire_val val = value_of(buf, b->first + i, 1);

        rc = quire_put(txn, NULL, &key, &val, QUIRE_REPLACE);
    }
    return rc;
}

static int measure_insert(struct bed *b, double *ns, double *written)
{
    uint64_t began = bench_now_ns();
    quire_status rc = QUIRE_OK;
    size_t n = 0;

    (void)written;
    if (third_commit(b, false) != 0)
        return -1;
    for (; rc == QUIRE_OK && go_on(b, began, n); n++) {
        struct quire_txn *txn = NULL;
        uint64_t from = 0;
        uint64_t count = 1;

        rc = quire_begin(b->db, QUIRE_WRITE, &txn);
        if (rc == QUIRE_OK)
            rc = touch(b, txn);
        if (rc == QUIRE_OK) {
            from = bench_now_ns();
            rc = third(b, txn, true, &count);
        }
        b->slice_ns[n] = (double)(bench_now_ns() - from) / (double)count;
        quire_abort(txn);
    }
    if (rc != QUIRE_OK)
        return failed("insert", rc);
    *ns = bench_median(b->slice_ns, n);
    return third_commit(b, true);
}

static int measure_commit(struct bed *b, double *ns, double *written)
{
    struct quire_stat st = { .size = sizeof(st) };
    uint64_t began = bench_now_ns();
    uint64_t before;
    quire_status rc;
    size_t n = 0;

    rc = quire_stat_get(b->db, &st);
    before = st.written_bytes;
    for (; rc == QUIRE_OK && (n < 32 || go_on(b, began, n)); n++) {
        struct quire_txn *txn = NULL;
        unsigned char buf[VALUE_BYTES];
        uint64_t i = b->first + b->order[n % b->len];
        struct quire_val key = key_of(b, i);
        struct quire_val val = value_of(buf, i, n + 1);
        uint64_t from = bench_now_ns();
        quire_rev rev;

        rc = quire_begin(b->db, QUIRE_WRITE, &txn);
        if (rc == QUIRE_OK &&
            (rc = quire_put(txn, NULL, &key, &val, 0)) != QUIRE_OK)
            quire_abort(txn);
        else if (rc == QUIRE_OK)
            rc = quire_commit(txn, QUIRE_NOSYNC, &rev);
        b->slice_ns[n] = (double)(bench_now_ns() - from);
    }
    if (rc == QUIRE_OK)
        rc = quire_stat_get(b->db, &st);
    if (rc != QUIRE_OK)
        return failed("commit", rc);
    *ns = bench_median(b->slice_ns, n);
    *written = (double)(st.written_bytes - before) / (double)n;
    return 0;
}

static const struct {
    const char *name;
    measure_fn measure;
    bool writes; /* the store: last, and by the best variant only */
} cases[] = {
    { "get", measure_get, false },   { "seek", measure_seek, false },
    { "scan", measure_scan, false }, { "insert", measure_insert, false },
    { "any", measure_any, false },   { "commit", measure_commit, true },
};

/* ---- rounds ---- */

static const struct {
    const char *name;
    uint32_t bytes;
} pages[] = {
    { "4K", 4096 },   { "8K", 8192 },   { "16K", 16384 },
    { "32K", 32768 }, { "64K", 65536 },
};

/* One case with every variant that is chosen, in turns. */
static int run_case(struct bed *b, size_t c, const char *shape,
                    const char *page)
{
    static double ns[VARIANTS_MAX][ROUNDS_MAX];
    static double written[VARIANTS_MAX][ROUNDS_MAX];
    char name[64];
    int rc = 0;

    for (uint64_t r = 0; r < b->plan->rounds && rc == 0; r++) {
        const char *v;

        for (unsigned i = 0; (v = quire_simd_variant(i)) != NULL && rc == 0;
             i++) {
            if (i >= VARIANTS_MAX || !bench_chosen(b->plan->variants, v) ||
                (cases[c].writes && i > 0))
                continue;
            rc = quire_simd_use(v) == QUIRE_OK
                     ? cases[c].measure(b, &ns[i][r], &written[i][r])
                     : -1;
        }
    }
    (void)!quire_simd_use(NULL);
    snprintf(name, sizeof(name), "%s-%s-%s", cases[c].name, shape, page);
    for (unsigned i = 0; rc == 0 && quire_simd_variant(i) != NULL; i++) {
        if (i >= VARIANTS_MAX ||
            !bench_chosen(b->plan->variants, quire_simd_variant(i)) ||
            (cases[c].writes && i > 0))
            continue;
        bench_print(
            b->plan->json, COLUMNS,
            &(struct bench_line){
                .bench = "page",
                .name = name,
                .engine = quire_simd_variant(i),
                .threads = 1,
                .ns = bench_median(ns[i], b->plan->rounds),
                .written_bytes = cases[c].writes
                                     ? bench_median(written[i], b->plan->rounds)
                                     : 0,
                .records = (double)b->n,
                .note = "" });
    }
    return rc;
}

static int run_bed(const struct plan *p, const struct shape *shape, size_t page)
{
    struct bed *b = calloc(1, sizeof(*b));
    int rc = -1;

    if (b == NULL) {
        say("bench page: no memory");
        return -1;
    }
    b->plan = p;
    if (keys_make(b, shape) == 0 && tree_open(b, pages[page].bytes) == 0 &&
        fill(b) == 0 && stretch_choose(b, pages[page].bytes) == 0)
        rc = 0;
    for (size_t c = 0; c < ARRAY_LEN(cases) && rc == 0; c++) {
        if (bench_chosen(p->cases, cases[c].name))
            rc = run_case(b, c, shape->name, pages[page].name);
    }
    if (b->db != NULL && quire_close(b->db) != QUIRE_OK)
        rc = -1;
    free(b->order);
    free(b->key_len);
    free(b->keys);
    free(b);
    return rc;
}

/* ---- options ---- */

static const char *name_case(size_t i)
{
    return i < ARRAY_LEN(cases) ? cases[i].name : NULL;
}

static const char *name_shape(size_t i)
{
    return i < ARRAY_LEN(shapes) ? shapes[i].name : NULL;
}

static const char *name_page(size_t i)
{
    return i < ARRAY_LEN(pages) ? pages[i].name : NULL;
}

static const char *name_variant(size_t i)
{
    return quire_simd_variant((unsigned)i);
}

/* Is every name in `list` one that name() knows? -1, or an exit status. */
static int check_list(const char *option, const char *list,
                      const char *(*name)(size_t i))
{
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        bool known = false;

        for (size_t i = 0; name(i) != NULL; i++)
            known |= strlen(name(i)) == len && strncmp(name(i), list, len) == 0;
        if (!known)
            return say_usage("bench page", "%s %.*s: there is no such one here",
                             option, (int)len, list);
        list += len + (list[len] == ',');
    }
    return -1;
}

int bench_page(int argc, char **argv)
{
    struct plan p = { .records = 50000, .ms = 20, .rounds = 7 };
    const struct option options[] = {
        { "--cases", OPTION_TEXT, &p.cases, NULL },
        { "--keys", OPTION_TEXT, &p.keys, NULL },
        { "--pages", OPTION_TEXT, &p.pages, NULL },
        { "--variants", OPTION_TEXT, &p.variants, NULL },
        { "--records", OPTION_COUNT, &p.records, NULL },
        { "--seconds", OPTION_TIME, &p.ms, NULL },
        { "--rounds", OPTION_COUNT, &p.rounds, NULL },
        { "--dir", OPTION_TEXT, &p.dir, NULL },
        { "--json", OPTION_FLAG, &p.json, NULL },
    };
    int nargs;
    int rc = options_read("bench page", help, options, ARRAY_LEN(options), argc,
                          argv, &nargs);

    if (rc >= 0)
        return rc;
    if (nargs > 0)
        return say_usage("bench page", "%s: nothing is expected here", argv[0]);
    if ((rc = check_list("--cases", p.cases, name_case)) >= 0 ||
        (rc = check_list("--keys", p.keys, name_shape)) >= 0 ||
        (rc = check_list("--pages", p.pages, name_page)) >= 0 ||
        (rc = check_list("--variants", p.variants, name_variant)) >= 0)
        return rc;
    if (p.records < RECORDS_LEAST || p.records > RECORDS_MOST || p.ms == 0 ||
        p.ms > 10000 || p.rounds == 0 || p.rounds > ROUNDS_MAX)
        return say_usage("bench page", "an option is out of its range");
    bench_print_head(p.json, COLUMNS);
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
        for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
            if (bench_chosen(p.keys, shapes[s].name) &&
                bench_chosen(p.pages, pages[i].name) &&
                run_bed(&p, &shapes[s], i) != 0)
                return EXIT_FAILED;
        }
    }
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
