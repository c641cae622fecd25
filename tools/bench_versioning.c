/*
 * bench_versioning.c - `quire bench versioning`: what each versioning writes
 * for a commit, and what it then takes to read a page.
 *
 * A store of records is filled, and commits of N changes each follow, of random
 * records: changes-1 ... changes-3000. Before anything counts, every leaf has
 * been written twice as often as the window is long; then as often again, in
 * eight parts. Within a part the bytes written to the file are counted, block
 * by block as they are written; after it the store is opened anew, and all of
 * its pages are read once by a scan: reads, bytes and time, divided by the
 * pages, are what one page takes that is not in memory. (The system has the
 * file in its own.)
 *
 * These are counts and not times, but for the last: they repeat exactly, and a
 * single run says all.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench.h"
#include "tools/tool.h"

#define KEY_BYTES 16
#define VALUE_MAX 2048
#define PARTS 8u
#define LINES_MAX 256
#define PLOT_WIDTH 60
#define PLOT_HEIGHT 18

static const char help[] =
    "usage: quire bench versioning [option ...]\n"
    "\n"
    "Bytes written for a commit, and reads and bytes read for a page that is\n"
    "not in memory, for each versioning, window and number of changes in a\n"
    "commit; the note is of the commit that wrote most. ns is what loading a\n"
    "page takes when the system has the file in memory. An engine is a\n"
    "versioning and its window: sliding/4.\n"
    "\n"
    "  --cases A,B        changes-1, changes-10, changes-100, changes-1000,\n"
    "                     changes-3000\n"
    "  --versionings A,B  full, incremental, differential, sliding, adaptive\n"
    "  --windows A,B      of 2 to 16 (2,4,8,16)\n"
    "  --records N        1000 to 1000000 (10000)\n"
    "  --value-bytes N    8 to 2048 (100); half of them compress\n"
    "  --page SIZE        4K to 64K (16K)\n"
    "  --dir DIR          where the store is made (default: TMPDIR, or /tmp)\n"
    "  --plot             after the table: bytes written against reads\n"
    "  --json             one object a line\n";

static const unsigned changes_of[] = { 1, 10, 100, 1000, 3000 };
static const quire_versioning versionings[] = {
    QUIRE_VERSIONING_FULL,         QUIRE_VERSIONING_INCREMENTAL,
    QUIRE_VERSIONING_DIFFERENTIAL, QUIRE_VERSIONING_SLIDING,
    QUIRE_VERSIONING_ADAPTIVE,
};

struct plan {
    const char *cases;
    const char *versionings;
    const char *windows;
    const char *dir;
    uint64_t records;
    uint64_t value_bytes;
    uint64_t page_bytes;
    bool plot;
    bool json;
};

/* One measurement. */
struct result {
    char engine[32];
    unsigned changes;
    double written; /* bytes for a commit */
    double most;    /* of them all */
    double reads;   /* for a page */
    double read;    /* bytes for a page */
    double ns;      /* for a page */
};

/* ---- the store ---- */

/* What the store reads; there is one at a time and one thread. */
static uint64_t nreads;
static uint64_t read_bytes;

static ssize_t counting_pread(void *ctx, void *file, void *buf, size_t nbytes,
                              uint64_t off)
{
    ssize_t got = quire_io_default()->pread(ctx, file, buf, nbytes, off);

    nreads++;
    if (got > 0)
        read_bytes += (uint64_t)got;
    return got;
}

struct run {
    const struct plan *plan;
    char path[PATH_MAX];
    struct quire_io io;
    struct quire_options opt;
    struct quire *db;
    uint64_t rand;
    unsigned version; /* of the values */
    struct result *result;
};

static int failed(const struct run *r, const char *what, quire_status rc)
{
    say_store(r->path, what, rc);
    return -1;
}

static int run_open(struct run *r, unsigned flags)
{
    quire_status rc;

    r->opt.flags = flags | QUIRE_NOBACKGROUND;
    rc = quire_open(r->path, &r->opt, &r->db);
    if (rc != QUIRE_OK)
        r->db = NULL;
    return rc == QUIRE_OK ? 0 : failed(r, "open", rc);
}

static int run_close(struct run *r)
{
    struct quire *db = r->db;

    r->db = NULL;
    return db == NULL ? 0 : store_close(r->path, db, NULL);
}

static quire_status put(struct run *r, struct quire_txn *txn, uint64_t i)
{
    char key[KEY_BYTES + 1];
    unsigned char value[VALUE_MAX];
    struct quire_val k = { key, KEY_BYTES };
    struct quire_val v = { value, r->plan->value_bytes };
    uint64_t rand = i << 20 | r->version;

    snprintf(key, sizeof(key), "%016llx", (unsigned long long)bench_mix(i));
    for (size_t b = 0; b < v.size; b++)
        value[b] = b % 2 == 0 ? 'v' : (unsigned char)(bench_rand(&rand) >> 32);
    return quire_put(txn, NULL, &k, &v, 0);
}

/* All records, in one commit. */
static int fill(struct run *r)
{
    struct quire_txn *txn;
    quire_status rc = quire_begin(r->db, QUIRE_WRITE, &txn);

    if (rc != QUIRE_OK)
        return failed(r, "begin writing", rc);
    for (uint64_t i = 0; i < r->plan->records && rc == QUIRE_OK; i++)
        rc = put(r, txn, i);
    if (rc != QUIRE_OK) {
        quire_abort(txn);
        return failed(r, "put", rc);
    }
    rc = quire_commit(txn, 0, NULL);
    return rc == QUIRE_OK ? 0 : failed(r, "commit", rc);
}

static int commits(struct run *r, uint64_t n, uint64_t *sum)
{
    for (uint64_t c = 0; c < n; c++) {
        struct quire_stat before = { .size = sizeof(before) };
        struct quire_stat after = { .size = sizeof(after) };
        struct quire_txn *txn;
        uint64_t nbytes;
        quire_status rc = quire_stat_get(r->db, &before);

        if (rc == QUIRE_OK)
            rc = quire_begin(r->db, QUIRE_WRITE, &txn);

        if (rc != QUIRE_OK)
            return failed(r, "begin writing", rc);
        r->version++;
        for (unsigned i = 0; i < r->result->changes && rc == QUIRE_OK; i++)
            rc = put(r, txn, bench_rand(&r->rand) % r->plan->records);
        if (rc != QUIRE_OK) {
            quire_abort(txn);
            return failed(r, "put", rc);
        }
        rc = quire_commit(txn, QUIRE_NOSYNC, NULL);
        if (rc == QUIRE_OK)
            rc = quire_stat_get(r->db, &after);
        if (rc != QUIRE_OK)
            return failed(r, "commit", rc);
        nbytes = after.written_bytes - before.written_bytes;
        *sum += nbytes;
        if ((double)nbytes > r->result->most)
            r->result->most = (double)nbytes;
    }
    return 0;
}

/* ---- measuring ---- */

static quire_status tree_stat(struct quire *db, struct quire_tree_stat *st)
{
    struct quire_txn *txn;
    quire_status rc = quire_begin(db, QUIRE_READ, &txn);

    if (rc != QUIRE_OK)
        return rc;
    memset(st, 0, sizeof(*st));
    st->size = sizeof(*st);
    rc = quire_tree_stat_get(txn, NULL, st);
    quire_abort(txn);
    return rc;
}

/* Read every page once; adds to the result what one takes. */
static quire_status cold_scan(struct run *r)
{
    struct quire_cursor *cur = NULL;
    struct quire_tree_stat st;
    struct quire_txn *txn;
    struct quire_val key, val;
    uint64_t n, begin;
    double pages;
    quire_status rc = quire_begin(r->db, QUIRE_READ, &txn);

    if (rc != QUIRE_OK)
        return rc;
    rc = quire_tree_count(txn, NULL, &n); /* the catalogue is read by now */
    nreads = 0;
    read_bytes = 0;
    begin = bench_now_ns();
    if (rc == QUIRE_OK)
        rc = quire_cursor_open(txn, NULL, &cur);
    while (rc == QUIRE_OK) {
        rc = quire_cursor_next(cur);
        if (rc == QUIRE_OK)
            rc = quire_cursor_get(cur, &key, &val);
    }
    begin = bench_now_ns() - begin;
    quire_abort(txn);
    if (rc == QUIRE_NOTFOUND)
        rc = tree_stat(r->db, &st);
    if (rc != QUIRE_OK)
        return rc;
    pages = (double)(st.leaf_pages + st.inner_pages);
    r->result->reads += (double)nreads / pages / PARTS;
    r->result->read += (double)read_bytes / pages / PARTS;
    r->result->ns += (double)begin / pages / PARTS;
    return QUIRE_OK;
}

static int measure(struct run *r)
{
    struct quire_tree_stat st;
    uint64_t total, nwritten = 0, ncommits = 0;
    quire_status rc;

    if (run_open(r, QUIRE_EXCL) != 0 || fill(r) != 0)
        return -1;
    rc = tree_stat(r->db, &st);
    if (rc != QUIRE_OK)
        return failed(r, "the pages", rc);
    total = 2 * r->opt.window * st.leaf_pages /
                (r->result->changes < st.leaf_pages ? r->result->changes
                                                    : st.leaf_pages) +
            1;
    if (commits(r, total, &nwritten) != 0)
        return -1;
    nwritten = 0;
    r->result->most = 0;
    for (unsigned part = 0; part < PARTS; part++) {
        uint64_t n = total / PARTS + 1;

        if (commits(r, n, &nwritten) != 0)
            return -1;
        ncommits += n;
        if (run_close(r) != 0 || run_open(r, QUIRE_RDONLY) != 0)
            return -1;
        rc = cold_scan(r);
        if (rc != QUIRE_OK)
            return failed(r, "scan", rc);
        if (run_close(r) != 0 || run_open(r, QUIRE_NOCREATE) != 0)
            return -1;
    }
    r->result->written = (double)nwritten / (double)ncommits;
    return run_close(r);
}

static int measure_one(const struct plan *p, quire_versioning versioning,
                       unsigned window, struct result *result)
{
    struct run r = { .plan = p, .rand = 1, .result = result };
    int rc;

    if (snprintf(r.path, sizeof(r.path), "%s/quire-versioning-%ld.tmp", p->dir,
                 (long)getpid()) >= (int)sizeof(r.path)) {
        say("--dir %s: too long", p->dir);
        return -1;
    }
    r.io = *quire_io_default();
    r.io.pread = counting_pread;
    r.io.pread_once = NULL;
    r.opt = (struct quire_options){
        .size = sizeof(r.opt),
        .page_bytes = (uint32_t)p->page_bytes,
        .versioning = versioning,
        .window = window,
        .io = &r.io,
    };
    rc = measure(&r);
    if (r.db != NULL)
        (void)run_close(&r);
    (void)unlink(r.path);
    return rc;
}

/* ---- printing ---- */

static void print_line(const struct plan *p, const struct result *r,
                       const char *name)
{
    char note[48];

    snprintf(note, sizeof(note), "at most %.0f", r->most);
    bench_print(p->json, BENCH_READ | BENCH_WRITTEN,
                &(struct bench_line){ .bench = "versioning",
                                      .name = name,
                                      .engine = r->engine,
                                      .threads = 1,
                                      .ns = r->ns,
                                      .fragments = r->reads,
                                      .read_bytes = r->read,
                                      .written_bytes = r->written,
                                      .records = (double)p->records,
                                      .note = note });
}

/* Put `text` into the plot where there is room for it. */
static void plot_mark(char grid[PLOT_HEIGHT][PLOT_WIDTH + 1], unsigned x,
                      unsigned y, const char *text)
{
    for (unsigned i = 0; text[i] != '\0' && x + i < PLOT_WIDTH; i++) {
        if (grid[y][x + i] != ' ')
            return;
        grid[y][x + i] = text[i];
    }
}

/* Bytes written for a commit, upwards, against reads for a page. */
static void plot(const struct result *r, size_t n)
{
    char grid[PLOT_HEIGHT][PLOT_WIDTH + 1];
    double most_reads = 1, most_written = 0;

    for (size_t i = 0; i < n; i++) {
        most_reads = r[i].reads > most_reads ? r[i].reads : most_reads;
        most_written = r[i].written > most_written ? r[i].written
                                                   : most_written;
    }
    for (unsigned y = 0; y < PLOT_HEIGHT; y++) {
        memset(grid[y], ' ', PLOT_WIDTH);
        grid[y][PLOT_WIDTH] = '\0';
    }
    for (size_t i = 0; i < n; i++) {
        const char *window = strchr(r[i].engine, '/');
        char text[8];

        /* three columns are left for the mark itself */
        snprintf(text, sizeof(text), "%c%.2s", r[i].engine[0],
                 window != NULL ? window + 1 : "");
        plot_mark(
            grid, (unsigned)(r[i].reads / most_reads * (PLOT_WIDTH - 4)),
            PLOT_HEIGHT - 1 -
                (unsigned)(r[i].written / most_written * (PLOT_HEIGHT - 1)),
            text);
    }
    printf("\n  changes-%u: KiB written for a commit, against reads for a "
           "page\n\n",
           r[0].changes);
    for (unsigned y = 0; y < PLOT_HEIGHT; y++) {
        if (y % 4 == 1)
            printf("%8.1f |%s\n",
                   most_written / 1024 * (PLOT_HEIGHT - 1 - y) /
                       (PLOT_HEIGHT - 1),
                   grid[y]);
        else
            printf("%8s |%s\n", "", grid[y]);
    }
    printf("%8s +", "");
    for (unsigned x = 0; x < PLOT_WIDTH; x++)
        putchar('-');
    printf("\n%8s 0%*.1f\n", "", PLOT_WIDTH - 4, most_reads);
    printf("%9s f full, i incremental, d differential, s sliding, a adaptive, "
           "and the window\n",
           "");
}

/* ---- the command ---- */

static int bench_case(const struct plan *p, unsigned changes)
{
    static struct result results[LINES_MAX];
    char name[32];
    size_t n = 0;

    snprintf(name, sizeof(name), "changes-%u", changes);
    if (!bench_chosen(p->cases, name))
        return 0;
    for (size_t v = 0; v < ARRAY_LEN(versionings); v++) {
        const char *what = versioning_name(versionings[v]);
        bool adaptive = versionings[v] == QUIRE_VERSIONING_ADAPTIVE;
        bool once = adaptive || versionings[v] == QUIRE_VERSIONING_FULL;

        if (!bench_chosen(p->versionings, what))
            continue;
        for (unsigned window = 2; window <= QUIRE_WINDOW_MAX; window++) {
            struct result *r = &results[n];
            char digits[8];

            snprintf(digits, sizeof(digits), "%u", window);
            if (!bench_chosen(p->windows, digits))
                continue;
            memset(r, 0, sizeof(*r));
            r->changes = changes;
            if (once)
                snprintf(r->engine, sizeof(r->engine), "%s", what);
            else
                snprintf(r->engine, sizeof(r->engine), "%s/%u", what, window);
            /* as long as with the longest window, until it is steady */
            if (measure_one(p, versionings[v],
                            adaptive ? QUIRE_WINDOW_MAX : window, r) != 0)
                return -1;
            print_line(p, r, name);
            n++;
            if (once)
                break; /* it has no window */
        }
    }
    if (p->plot && n > 0)
        plot(results, n);
    return 0;
}

/* Is each name of `list` one of those that there are? */
static bool known(const char *list, char names[][16], size_t n)
{
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        bool found = false;

        for (size_t i = 0; i < n; i++)
            found |= strlen(names[i]) == len &&
                     memcmp(names[i], list, len) == 0;
        if (!found)
            return false;
        list += len;
        list += *list == ',';
    }
    return true;
}

int bench_versioning(int argc, char **argv)
{
    struct plan p = { .records = 10000,
                      .value_bytes = 100,
                      .page_bytes = QUIRE_PAGE_DEFAULT,
                      .windows = "2,4,8,16" };
    const struct option options[] = {
        { "--cases", OPTION_TEXT, &p.cases, NULL },
        { "--versionings", OPTION_TEXT, &p.versionings, NULL },
        { "--windows", OPTION_TEXT, &p.windows, NULL },
        { "--records", OPTION_COUNT, &p.records, NULL },
        { "--value-bytes", OPTION_COUNT, &p.value_bytes, NULL },
        { "--page", OPTION_SIZE, &p.page_bytes, NULL },
        { "--dir", OPTION_TEXT, &p.dir, NULL },
        { "--plot", OPTION_FLAG, &p.plot, NULL },
        { "--json", OPTION_FLAG, &p.json, NULL },
    };
    char cases[ARRAY_LEN(changes_of)][16];
    char names[ARRAY_LEN(versionings)][16];
    char windows[QUIRE_WINDOW_MAX - 1][16];
    int nargs;
    int rc = options_read("bench versioning", help, options, ARRAY_LEN(options),
                          argc, argv, &nargs);

    if (rc >= 0)
        return rc;
    if (nargs > 0)
        return say_usage("bench versioning", "%s: nothing is expected here",
                         argv[0]);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        snprintf(cases[i], 16, "changes-%u", changes_of[i]);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        snprintf(names[i], 16, "%s", versioning_name(versionings[i]));
    for (size_t i = 0; i < ARRAY_LEN(windows); i++)
        snprintf(windows[i], 16, "%u", (unsigned)i + 2);
    if (!known(p.cases, cases, ARRAY_LEN(cases)))
        return say_usage("bench versioning", "--cases %s: not one of them",
                         p.cases);
    if (!known(p.versionings, names, ARRAY_LEN(names)))
        return say_usage("bench versioning",
                         "--versionings %s: not one of them", p.versionings);
    if (!known(p.windows, windows, ARRAY_LEN(windows)))
        return say_usage("bench versioning", "--windows %s: they are 2 to %u",
                         p.windows, QUIRE_WINDOW_MAX);
    if (p.records < 1000 || p.records > 1000000 || p.value_bytes < 8 ||
        p.value_bytes > VALUE_MAX || p.page_bytes < QUIRE_PAGE_MIN ||
        p.page_bytes > QUIRE_PAGE_MAX ||
        (p.page_bytes & (p.page_bytes - 1)) != 0)
        return say_usage("bench versioning", "an option is out of its range");
    if (p.plot && p.json)
        return say_usage("bench versioning", "--plot or --json, not both");
    if (p.dir == NULL)
        p.dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    bench_print_head(p.json, BENCH_READ | BENCH_WRITTEN);
    for (size_t i = 0; i < ARRAY_LEN(changes_of); i++) {
        if (bench_case(&p, changes_of[i]) != 0)
            return EXIT_FAILED;
    }
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
