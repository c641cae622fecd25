/*
 * bench_work.c - the measuring process of `quire bench store`.
 *
 * It keeps one store open, and does what it is told. What is timed is the
 * engine's work alone: numbers are drawn, keys copied and values made before
 * the clock starts, chunk by chunk, and what came is checked inside, since
 * that touches it: a value's length and both of its ends for gets, and the key
 * as well for scans. Once before, when the store is opened, every byte of every
 * record is compared, and at the end once more if a case has written.
 *
 * In memory, the time of a read is that of the median slice: 256 gets, or 512
 * records of a scan, far less than a turn of the scheduler, so that other work
 * on the machine falls on few of them. Whatever waits for the disk, or makes
 * others wait, is measured by all of its time.
 *
 * Latencies go to a histogram whose buckets are 1.6 % wide. In memory, every
 * sixteenth get is clocked by itself, since the clock costs a tenth of it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tools/bench_store.h"
#include "tools/tool.h"

#define CHUNK 256        /* gets between two looks at the time */
#define BATCH 1000       /* records of a transaction that fills */
#define RECORDS_MAX 1000 /* of a measured transaction */
#define SLICES_MAX 65536 /* that are remembered */
#define AGE_COMMITS 50   /* between the revisions of KIND_AGED, of one in */
#define AGE_SHARE 100    /* so many records each */

const struct bench_case bench_cases[] = {
    { "fill-seq", KIND_FILL, BATCH, false, false, { 1 } },
    { "fill-random", KIND_FILL, BATCH, true, false, { 1 } },
    { "get-random", KIND_GET, 1, false, false, { 1, 2 } },
    { "get-zipf", KIND_GET, 1, true, false, { 1, 2 } },
    { "get-many-8", KIND_MANY, 8, false, false, { 1, 2 } },
    { "get-many-64", KIND_MANY, 64, false, false, { 1, 2 } },
    { "scan", KIND_SCAN, 0, false, false, { 1, 2 } },
    { "scan-reverse", KIND_SCAN, 0, true, false, { 1, 2 } },
    { "seek-50", KIND_SEEK, 50, false, false, { 1, 2 } },
    { "overwrite", KIND_COMMIT, 1000, false, false, { 1 } },
    { "nosync-1", KIND_COMMIT, 1, false, false, { 1, 2, 4 } },
    { "read-while-write", KIND_MIXED, 100, false, false, { 1 } },
    { "durable-1", KIND_COMMIT, 1, false, true, { 1, 2, 4 } },
    { "durable-100", KIND_COMMIT, 100, false, true, { 1 } },
    /* last: of some engines only, and the store is another one then */
    { "get-new", KIND_AGED, 1, false, false, { 1, 2 } },
    { "get-old", KIND_AGED, 1, true, false, { 1, 2 } },
};
const size_t bench_ncases = ARRAY_LEN(bench_cases);

const struct bench_case *bench_case_find(const char *name, bool *ltm)
{
    *ltm = strncmp(name, "ltm-", 4) == 0;
    if (*ltm)
        name += 4;
    for (size_t i = 0; i < bench_ncases; i++) {
        const struct bench_case *c = &bench_cases[i];

        if (strcmp(c->name, name) == 0)
            return *ltm && c->kind == KIND_FILL ? NULL : c;
    }
    return NULL;
}

bool bench_case_suits(const struct bench_engine *e, const struct bench_case *c,
                      unsigned threads)
{
    if ((e->cannot & BENCH_NO_FILL) && strcmp(c->name, "durable-1") != 0)
        return false;
    if ((e->cannot & BENCH_NO_READ) &&
        (c->kind == KIND_GET || c->kind == KIND_MANY || c->kind == KIND_SCAN ||
         c->kind == KIND_SEEK))
        return false;
    if ((e->cannot & BENCH_NO_SYNC) && c->durable)
        return false;
    if ((e->cannot & BENCH_NO_THREADS) && threads > 1)
        return false;
    if (c->kind == KIND_AGED)
        return e->mark != NULL;
    return c->kind != KIND_MANY || e->get_many != NULL;
}

int engine_symbol(void *library, const char *name, void *to)
{
    void *sym = dlsym(library, name);

    if (sym == NULL) {
        say("%s", dlerror());
        return -1;
    }
    memcpy(to, &sym, sizeof(sym)); /* ISO C has no cast for this */
    return 0;
}

/* ---- latencies ---- */

#define SUB_BITS 6 /* buckets of an octave: 64 */

struct histogram {
    uint32_t count[(64 - SUB_BITS + 1) << SUB_BITS];
    uint64_t total;
};

static void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned shift = 0;

    if (ns >> SUB_BITS != 0)
        shift = 63 - (unsigned)__builtin_clzll(ns) - SUB_BITS + 1;
    /* the first octave stands for itself; behind it, its own leading one */
    h->count[shift == 0 ? ns
                        : (shift << SUB_BITS) +
                              ((ns >> (shift - 1)) - (1u << SUB_BITS))]++;
    h->total++;
}

static void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (size_t i = 0; i < ARRAY_LEN(to->count); i++)
        to->count[i] += from->count[i];
    to->total += from->total;
}

/* The middle of the bucket in which `share` of all lie below; 0: none. */
static double histogram_at(const struct histogram *h, double share)
{
    uint64_t below = (uint64_t)(share * (double)h->total);

    for (size_t i = 0; i < ARRAY_LEN(h->count); i++) {
        if (h->count[i] > below) {
            size_t shift = i >> SUB_BITS;
            uint64_t sub = i & ((1u << SUB_BITS) - 1);

            if (shift == 0)
                return (double)i;
            return ((double)(sub + (1u << SUB_BITS)) + 0.5) *
                   (double)((uint64_t)1 << (shift - 1));
        }
        below -= h->count[i];
    }
    return 0;
}

/* ---- the process and its threads ---- */

struct work {
    const struct bench_engine *e;
    struct bench_setup setup;
    const struct bench_data *d;
    struct bench_zipf zipf; /* n is 0 until it is needed */
    void *db;               /* NULL: closed */
    char *dir;              /* of the store that is open, or of none */
    uint64_t runs;          /* measurements so far: seeds */
    bool written;           /* the store, since it was compared */
    bool aged;              /* since it was opened: commits behind a mark */
    dev_t dev;              /* on which the stores are */
};

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct work *w;
    const struct bench_case *c;
    void *ctx; /* the engine's, of this thread */
    uint64_t seed;
    uint64_t limit_ns;  /* stop after so much time */
    _Atomic bool *stop; /* or when this is set; NULL: never */
    uint64_t ops;       /* out, from here on */
    uint64_t busy_ns;   /* in the engine */
    uint64_t bad;       /* values that were not what was expected */
    bool failed;        /* said */
    double *slices;     /* ns of an operation, in each slice; malloc */
    size_t nslices;
    uint64_t slice_begin; /* when the one in work began */
    struct histogram lat;
};

/* A slice of `ops` operations has ended, and another one begins. */
static void worker_slice(void *arg, uint64_t ops)
{
    struct worker *w = arg;
    uint64_t now = bench_now_ns();

    if (w->slices != NULL && w->nslices < SLICES_MAX)
        w->slices[w->nslices++] = (double)(now - w->slice_begin) / (double)ops;
    w->slice_begin = now;
}

static bool worker_goes_on(const struct worker *w, uint64_t begin)
{
    if (w->failed)
        return false;
    /* relaxed: only when to stop, nothing is read behind it */
    if (w->stop != NULL)
        return !atomic_load_explicit(w->stop, memory_order_relaxed);
    return bench_now_ns() - begin < w->limit_ns;
}

static uint64_t draw(const struct worker *w, uint64_t *rand)
{
    if (w->c->kind == KIND_GET && w->c->other)
        return bench_zipf_next(&w->w->zipf, rand);
    return bench_rand(rand) % w->w->d->n;
}

/* ---- reading ---- */

/* Keys that were copied, so that looking them up in the table costs no one
 * anything. */
struct keys {
    uint64_t number[CHUNK];
    struct quire_val key[CHUNK];
    unsigned char bytes[CHUNK * (BENCH_KEY_MAX + 1)];
};

/* Have the keys of a range at hand, with which what comes is compared. */
static void touch(const struct bench_data *d, uint64_t from, uint64_t n)
{
    uint64_t to = from + n < d->n ? from + n : d->n;
    size_t len;

    for (uint64_t i = from; i < to; i++)
        (void)*(const volatile unsigned char *)bench_key(d, i, &len);
}

static void draw_keys(const struct worker *w, struct keys *k, size_t n)
{
    uint64_t rand = w->seed + w->ops;
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        const unsigned char *key;
        size_t len;

        k->number[i] = draw(w, &rand);
        key = bench_key(w->w->d, k->number[i], &len);
        memcpy(k->bytes + at, key, len);
        if (w->c->kind == KIND_SEEK && i < CHUNK / 8)
            touch(w->w->d, k->number[i], w->c->count);
        k->key[i].data = k->bytes + at;
        k->key[i].size = len;
        at += len;
    }
}

static int get_chunk(struct worker *w, const struct keys *k)
{
    const struct bench_engine *e = w->w->e;
    const struct bench_data *d = w->w->d;
    unsigned every = w->w->setup.limit != 0 ? 1 : 16;

    for (size_t i = 0; i < CHUNK; i++) {
        bool clocked = i % every == 0;
        uint64_t begin = clocked ? bench_now_ns() : 0;
        struct quire_val val;

        if (e->get(w->ctx, &k->key[i], &val) != 0)
            return -1;
        w->bad += !bench_value_fits(d, k->number[i], val.data, val.size);
        if (clocked)
            histogram_add(&w->lat, bench_now_ns() - begin);
    }
    return 0;
}

static int many_chunk(struct worker *w, const struct keys *k)
{
    const struct bench_data *d = w->w->d;
    size_t n = w->c->count;

    for (size_t i = 0; i < CHUNK; i += n) {
        uint64_t begin = bench_now_ns();
        struct quire_val val[CHUNK];

        if (w->w->e->get_many(w->ctx, n, &k->key[i], val) != 0)
            return -1;
        for (size_t j = 0; j < n; j++)
            w->bad += !bench_value_fits(d, k->number[i + j], val[j].data,
                                        val[j].size);
        histogram_add(&w->lat, bench_now_ns() - begin);
    }
    return 0;
}

/* Scan `n` records from `from` on, or from an end. */
static int scan_checked(struct worker *w, const struct quire_val *from,
                        uint64_t number, uint64_t n, bool reverse, bool whole)
{
    const struct bench_data *d = w->w->d;
    uint64_t want = n;
    struct bench_check check = {
        .d = d, .next = number, .reverse = reverse, .whole = whole
    };

    if (w->w->e->scan(w->ctx, from, reverse, n, &check) != 0)
        return -1;
    if (!reverse && want > d->n - number)
        want = d->n - number;
    if (check.count != want) {
        say("%s: a scan found %llu records of %llu", w->w->e->name,
            (unsigned long long)check.count, (unsigned long long)want);
        return -1;
    }
    w->bad += check.bad;
    return 0;
}

static int seek_chunk(struct worker *w, const struct keys *k)
{
    for (size_t i = 0; i < CHUNK / 8; i++) {
        uint64_t begin = bench_now_ns();

        if (scan_checked(w, &k->key[i], k->number[i], w->c->count, false,
                         false) != 0)
            return -1;
        histogram_add(&w->lat, bench_now_ns() - begin);
    }
    return 0;
}

static int scan_all(struct worker *w, bool reverse, bool whole)
{
    uint64_t n = w->w->d->n;

    return scan_checked(w, NULL, reverse ? n - 1 : 0, n, reverse, whole);
}

static int read_chunk(struct worker *w, const struct keys *k)
{
    switch (w->c->kind) {
    case KIND_MANY:
        return many_chunk(w, k);
    case KIND_SEEK:
        return seek_chunk(w, k);
    case KIND_SCAN:
        return scan_all(w, w->c->other, false);
    default:
        return get_chunk(w, k);
    }
}

static int read_begin(const struct worker *w)
{
    bool old = w->c->kind == KIND_AGED && w->c->other;

    return old ? w->w->e->read_begin_old(w->ctx) : w->w->e->read_begin(w->ctx);
}

static void *reader(void *arg)
{
    struct worker *w = arg;
    struct keys *k = malloc(sizeof(*k));
    uint64_t ops = CHUNK;
    uint64_t begin;

    w->failed |= k == NULL;
    if (w->c->kind == KIND_SEEK)
        ops = CHUNK / 8;
    if (w->c->kind == KIND_SCAN)
        ops = w->w->d->n;
    pthread_barrier_wait(w->start);
    begin = bench_now_ns();
    do {
        uint64_t from;

        if (w->failed)
            break;
        if (w->c->kind != KIND_SCAN)
            draw_keys(w, k, CHUNK);
        from = bench_now_ns();
        w->slice_begin = from;
        w->failed = read_begin(w) != 0;
        if (!w->failed) {
            w->failed = read_chunk(w, k) != 0;
            w->w->e->read_end(w->ctx);
        }
        if (w->c->kind != KIND_SCAN)
            worker_slice(w, ops);
        w->busy_ns += bench_now_ns() - from;
        w->ops += ops;
    } while (worker_goes_on(w, begin));
    free(k);
    return NULL;
}

/* ---- writing ---- */

/* The records of a transaction. */
struct records {
    struct quire_val key[RECORDS_MAX];
    struct quire_val val[RECORDS_MAX];
    unsigned char values[RECORDS_MAX * BENCH_VALUE_MAX];
};

static void make_record(const struct work *w, struct records *r, size_t i,
                        uint64_t number, uint32_t version)
{
    unsigned char *value = r->values + i * w->d->value_bytes;

    r->key[i].data = bench_key(w->d, number, &r->key[i].size);
    bench_value(w->d, number, version, value);
    r->val[i].data = value;
    r->val[i].size = w->d->value_bytes;
}

/* One transaction, as often as it takes. */
static int write_records(const struct work *w, void *ctx,
                         const struct records *r, size_t n, bool append)
{
    int rc;

    do {
        rc = w->e->write_begin(ctx);
        for (size_t i = 0; i < n && rc == 0; i++)
            rc = w->e->put(ctx, &r->key[i], &r->val[i], append);
        if (rc == 0)
            rc = w->e->commit(ctx);
    } while (rc == BENCH_AGAIN);
    return rc;
}

static void *writer(void *arg)
{
    struct worker *w = arg;
    struct records *r = malloc(sizeof(*r));
    uint64_t rand = w->seed;
    size_t n = w->c->count;
    uint64_t begin;

    w->failed |= r == NULL;
    pthread_barrier_wait(w->start);
    begin = bench_now_ns();
    do {
        uint64_t from;
        uint64_t ns;

        if (w->failed)
            break;
        for (size_t i = 0; i < n; i++) {
            uint64_t number = bench_rand(&rand) % w->w->d->n;

            make_record(w->w, r, i, number, (uint32_t)bench_rand(&rand));
        }
        from = bench_now_ns();
        w->failed = write_records(w->w, w->ctx, r, n, false) != 0;
        ns = bench_now_ns() - from;
        histogram_add(&w->lat, ns);
        w->busy_ns += ns;
        w->ops++;
    } while (worker_goes_on(w, begin));
    free(r);
    return NULL;
}

/* All records into the store that is open, in batches of at most `batch`;
 * the time in the engine. */
static int fill(struct work *w, bool random, size_t batch, struct worker *out)
{
    struct records *r = malloc(sizeof(*r));
    void *ctx = NULL;
    uint64_t in_batch = 0;
    int rc = -1;

    if (r == NULL) {
        say("no memory for records");
        return -1;
    }
    if (w->e->thread_open(w->db, &ctx) != 0)
        goto out;
    /* a batch may be larger than what is made beforehand */
    for (uint64_t at = 0; at < w->d->n;) {
        size_t n = 0;
        uint64_t from;
        int more = 0;

        for (; n < RECORDS_MAX && n < batch && at + n < w->d->n; n++)
            make_record(w, r, n, random ? w->d->order[at + n] : at + n, 0);
        from = bench_now_ns();
        if (in_batch == 0)
            more = w->e->write_begin(ctx);
        for (size_t i = 0; i < n && more == 0; i++)
            more = w->e->put(ctx, &r->key[i], &r->val[i], !random);
        in_batch += n;
        at += n;
        if (more == 0 && (in_batch >= batch || at == w->d->n)) {
            more = w->e->commit(ctx);
            in_batch = 0;
        }
        if (more != 0) {
            if (more == BENCH_AGAIN)
                say("%s: a lonely writer was in the way", w->e->name);
            goto out;
        }
        out->busy_ns += bench_now_ns() - from;
        histogram_add(&out->lat, bench_now_ns() - from);
        out->ops += n;
    }
    rc = 0;
out:
    if (ctx != NULL)
        w->e->thread_close(ctx);
    free(r);
    return rc;
}

/* ---- the store ---- */

static void close_store(struct work *w)
{
    if (w->db != NULL)
        w->e->close(w->db);
    free(w->dir);
    w->db = NULL;
    w->dir = NULL;
    w->aged = false;
}

/* Compare every byte of every record, which also brings them into memory. */
static int check_all(struct work *w)
{
    struct worker one = { .w = w };
    int rc = -1;

    if (w->e->scan == NULL)
        return 0;
    if (w->e->thread_open(w->db, &one.ctx) != 0)
        return -1;
    if (w->e->read_begin(one.ctx) == 0) {
        rc = scan_all(&one, false, true);
        w->e->read_end(one.ctx);
    }
    w->e->thread_close(one.ctx);
    if (rc == 0 && one.bad > 0) {
        say("%s: %llu records are not what was stored", w->e->name,
            (unsigned long long)one.bad);
        rc = -1;
    }
    return rc;
}

/* One transaction of `n` records at random; the last of them stay in *r. */
static int age_once(const struct work *w, void *ctx, struct records *r,
                    uint64_t *number, size_t n, uint64_t *rand)
{
    int rc = w->e->write_begin(ctx);

    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t at = i % RECORDS_MAX;

        number[at] = bench_rand(rand) % w->d->n;
        make_record(w, r, at, number[at], (uint32_t)bench_rand(rand));
        rc = w->e->put(ctx, &r->key[at], &r->val[at], false);
    }
    return rc == 0 ? w->e->commit(ctx) : rc;
}

/* All records are in the old revision as well, these `n` as they were before:
 * which also brings them into memory. */
static int check_old(struct worker *one, const struct records *r,
                     const uint64_t *number, size_t n)
{
    const struct work *w = one->w;
    struct quire_val val;
    int rc;

    if (w->e->read_begin_old(one->ctx) != 0)
        return -1;
    rc = scan_all(one, false, true);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = w->e->get(one->ctx, &r->key[i], &val);
        one->bad += rc == 0 &&
                    (!bench_value_fits(w->d, number[i], val.data, val.size) ||
                     memcmp(val.data, r->val[i].data, val.size) == 0);
    }
    w->e->read_end(one->ctx);
    if (rc == 0 && one->bad > 0) {
        say("%s: %llu records are not what was stored in the old revision",
            w->e->name, (unsigned long long)one->bad);
        rc = -1;
    }
    return rc;
}

/* Note a revision, and put commits behind it. */
static int age_store(struct work *w)
{
    struct records *r = malloc(sizeof(*r));
    struct worker one = { .w = w };
    uint64_t number[RECORDS_MAX];
    uint64_t rand = bench_mix(++w->runs);
    size_t n = (size_t)(w->d->n / AGE_SHARE) + 1;
    int rc = -1;

    if (r == NULL) {
        say("no memory for records");
        return -1;
    }
    if (w->e->thread_open(w->db, &one.ctx) != 0)
        goto out;
    rc = w->e->mark(w->db);
    for (unsigned i = 0; i < AGE_COMMITS && rc == 0; i++)
        rc = age_once(w, one.ctx, r, number, n, &rand);
    w->written = true;
    if (rc == 0)
        rc = check_old(&one, r, number, n < RECORDS_MAX ? n : RECORDS_MAX);
    if (rc == 0)
        rc = check_all(w);
    w->aged = rc == 0;
out:
    if (one.ctx != NULL)
        w->e->thread_close(one.ctx);
    free(r);
    return rc;
}

/* Have the store in `name`, below our directory, open. */
static int open_store(struct work *w, const char *name, bool durable)
{
    char *dir;

    if (asprintf(&dir, "%s/%s", w->setup.dir, name) < 0)
        return -1;
    if (w->db != NULL && strcmp(w->dir, dir) == 0 &&
        w->setup.durable == durable) {
        free(dir);
        return 0;
    }
    close_store(w);
    w->dir = dir;
    w->setup.durable = durable;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        say("%s: %m", dir);
        return -1;
    }
    {
        struct bench_setup setup = w->setup;

        setup.dir = dir;
        return w->e->open(&setup, &w->db);
    }
}

int bench_remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *de;
    int rc = 0;

    if (dir == NULL)
        return errno == ENOENT ? 0 : -1;
    while ((de = readdir(dir)) != NULL) {
        struct stat st;
        char *sub;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (asprintf(&sub, "%s/%s", path, de->d_name) < 0) {
            rc = -1;
            break;
        }
        if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
            rc |= bench_remove_dir(sub);
        else
            rc |= unlink(sub);
        free(sub);
    }
    closedir(dir);
    if (rc != 0 || rmdir(path) != 0) {
        say("%s could not be removed", path);
        return -1;
    }
    return 0;
}

/* Blocks that the files in `path` take, bytes. */
static double disk_bytes(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *de;
    double sum = 0;

    while (dir != NULL && (de = readdir(dir)) != NULL) {
        struct stat st;
        char *sub;

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (asprintf(&sub, "%s/%s", path, de->d_name) < 0)
            break;
        if (lstat(sub, &st) == 0)
            sum += S_ISDIR(st.st_mode) ? disk_bytes(sub)
                                       : (double)st.st_blocks * 512;
        free(sub);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

/* What the device under the stores has written since the system's start: more
 * honest than /proc/self/io, which counts whole folios, leaves out the journal
 * of the file system and threads of the kernel. Below 0: it can't be known. */
static double device_written(const struct work *w)
{
    unsigned long long sectors;
    char path[64];
    FILE *f;
    int got;

    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(w->dev),
             minor(w->dev));
    f = fopen(path, "r");
    if (f == NULL)
        return -1;
    got = fscanf(f, "%*u %*u %*u %*u %*u %*u %llu", &sectors);
    fclose(f);
    return got == 1 ? (double)sectors * 512 : -1;
}

/* ---- measuring ---- */

struct before {
    double device;
    struct bench_counts counts;
};

static struct before look(const struct work *w)
{
    struct before b = { .device = device_written(w) };

    if (w->e->counts != NULL)
        w->e->counts(w->db, &b.counts);
    return b;
}

/* Behind a case that has written: until it is durable, and what it took. */
static int take_written(struct work *w, const struct before *b, double ops,
                        bool tidy, double *v)
{
    struct bench_counts now = { 0 };
    uint64_t begin = bench_now_ns();
    double device;

    if (w->e->settle(w->db, false) != 0)
        return -1;
    v[FIGURE_SETTLE] = (double)(bench_now_ns() - begin) / 1e9;
    if (tidy && w->e->settle(w->db, true) != 0)
        return -1;
    device = device_written(w);
    if (device >= 0 && b->device >= 0)
        v[FIGURE_WRITTEN] = (device - b->device) / ops;
    if (w->e->counts != NULL) {
        w->e->counts(w->db, &now);
        v[FIGURE_OWN] = (double)(now.written - b->counts.written) / ops;
        v[FIGURE_ZEROED] = (double)(now.zeroed - b->counts.zeroed) / ops;
    }
    return 0;
}

static void take_latency(const struct histogram *h, double *v)
{
    v[FIGURE_P50] = histogram_at(h, 0.5);
    v[FIGURE_P99] = histogram_at(h, 0.99);
    v[FIGURE_P999] = histogram_at(h, 0.999);
}

static int run_fill(struct work *w, const struct bench_case *c, double *v)
{
    struct worker *one = calloc(1, sizeof(*one));
    struct before b;
    char *dir = NULL;
    int rc = -1;

    if (one == NULL || asprintf(&dir, "%s/fill", w->setup.dir) < 0)
        goto out;
    close_store(w);
    if (bench_remove_dir(dir) != 0 || open_store(w, "fill", false) != 0)
        goto out;
    b = look(w);
    if (fill(w, c->other, BATCH, one) != 0)
        goto out;
    v[FIGURE_NS] = (double)one->busy_ns / (double)one->ops;
    v[FIGURE_RSS] = bench_rss_bytes();
    take_latency(&one->lat, v);
    if (take_written(w, &b, (double)one->ops, true, v) != 0 ||
        check_all(w) != 0)
        goto out;
    v[FIGURE_DISK] = disk_bytes(dir);
    close_store(w);
    rc = bench_remove_dir(dir);
out:
    free(dir);
    free(one);
    return rc;
}

/* Sum up what the workers have done. */
static int take_workers(const struct work *w, struct worker *wk, unsigned n,
                        struct histogram *all, double *ns)
{
    double per_s = 0;
    uint64_t bad = 0;

    for (unsigned i = 0; i < n; i++) {
        if (wk[i].failed || wk[i].busy_ns == 0)
            return -1;
        /* the median slice where there is one, or all of the time */
        if (w->setup.limit == 0 && wk[i].nslices > 0)
            per_s += 1 / bench_median(wk[i].slices, wk[i].nslices);
        else
            per_s += (double)wk[i].ops / (double)wk[i].busy_ns;
        bad += wk[i].bad;
        histogram_merge(all, &wk[i].lat);
    }
    if (bad > 0) {
        say("%s: %llu values were not what was stored", w->e->name,
            (unsigned long long)bad);
        return -1;
    }
    *ns = n / per_s;
    return 0;
}

/* `n` threads of a case, for a mixed one with a writer behind them. */
static int run_threads(struct work *w, const struct bench_case *c, unsigned n,
                       uint64_t ms, double *v)
{
    bool mixed = c->kind == KIND_MIXED;
    bool writes = mixed || c->kind == KIND_COMMIT;
    unsigned all = n + mixed;
    struct worker *wk = calloc(all, sizeof(*wk));
    struct histogram *lat = calloc(1, sizeof(*lat));
    struct histogram *lat_write = calloc(1, sizeof(*lat_write));
    _Atomic bool stop = false;
    pthread_barrier_t start;
    unsigned opened = 0;
    unsigned started = 0;
    struct before b;
    double write_ns = 0;
    int rc = -1;

    pthread_barrier_init(&start, NULL, all);
    if (wk == NULL || lat == NULL || lat_write == NULL)
        goto out;
    for (; opened < all; opened++) {
        wk[opened].w = w;
        wk[opened].c = c;
        wk[opened].start = &start;
        wk[opened].seed = bench_mix(++w->runs);
        wk[opened].limit_ns = ms * 1000000;
        if (w->setup.limit == 0 && (c->kind != KIND_COMMIT))
            wk[opened].slices = malloc(SLICES_MAX * sizeof(double));
        if (w->e->thread_open(w->db, &wk[opened].ctx) != 0)
            goto out;
    }
    if (mixed)
        wk[n].stop = &stop;
    b = look(w);
    for (; started < all; started++) {
        bool write = c->kind == KIND_COMMIT || started == n;

        if (pthread_create(&wk[started].thread, NULL, write ? writer : reader,
                           &wk[started]) != 0) {
            say("a thread could not be started");
            exit(EXIT_FAILED); /* the others wait at the barrier */
        }
        /* profilers show it */
        pthread_setname_np(wk[started].thread, write ? "writer" : "reader");
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(wk[i].thread, NULL);
    atomic_store_explicit(&stop, true, memory_order_relaxed); /* see there */
    if (mixed)
        pthread_join(wk[n].thread, NULL);
    v[FIGURE_RSS] = bench_rss_bytes();
    rc = take_workers(w, wk, n, lat, &v[FIGURE_NS]);
    take_latency(lat, v);
    if (rc == 0 && mixed) {
        rc = take_workers(w, wk + n, 1, lat_write, &write_ns);
        v[FIGURE_WRITE_NS] = write_ns / c->count;
    }
    if (rc == 0 && writes) {
        double ops = 0;

        for (unsigned i = mixed ? n : 0; i < all; i++)
            ops += (double)wk[i].ops;
        rc = take_written(w, &b, ops, false, v);
        /* a record an operation where the transaction is only a vessel */
        if (!c->durable && c->count > 1) {
            v[FIGURE_NS] /= mixed ? 1 : c->count;
            v[FIGURE_WRITTEN] /= c->count;
            v[FIGURE_OWN] /= c->count;
            v[FIGURE_ZEROED] /= c->count;
        }
    }
    v[FIGURE_DISK] = disk_bytes(w->dir);
out:
    for (unsigned i = 0; wk != NULL && i < all; i++)
        free(wk[i].slices);
    while (opened > 0)
        w->e->thread_close(wk[--opened].ctx);
    pthread_barrier_destroy(&start);
    free(lat_write);
    free(lat);
    free(wk);
    return rc;
}

static int run_case(struct work *w, const char *name, unsigned threads,
                    uint64_t ms, double *v)
{
    bool ltm;
    const struct bench_case *c = bench_case_find(name, &ltm);
    bool was_open = w->db != NULL;

    if (c == NULL || threads < 1 || threads > BENCH_THREADS_MAX)
        return -1;
    if (c->kind == KIND_FILL)
        return run_fill(w, c, v);
    if (c->kind == KIND_GET && c->other && w->zipf.n == 0)
        bench_zipf_init(&w->zipf, w->d->n);
    if (was_open && (w->setup.durable != c->durable))
        was_open = false;
    if (open_store(w, "store", c->durable) != 0)
        return -1;
    /* in memory, all of it is to be there; else, what is asked for often */
    if (!was_open && w->setup.limit == 0 && check_all(w) != 0)
        return -1;
    if (!was_open && w->setup.limit != 0 &&
        run_threads(w, c, threads, ms / 2 + 1, v) != 0)
        return -1;
    if (c->kind == KIND_AGED && !w->aged && age_store(w) != 0)
        return -1;
    w->written |= c->kind == KIND_COMMIT || c->kind == KIND_MIXED;
    return run_threads(w, c, threads, ms, v);
}

static int load(struct work *w, bool random, size_t batch)
{
    struct worker *one = calloc(1, sizeof(*one));
    int rc = -1;

    if (one != NULL && open_store(w, "store", false) == 0 &&
        ((w->e->cannot & BENCH_NO_FILL) ||
         (fill(w, random, batch, one) == 0 && w->e->settle(w->db, true) == 0 &&
          check_all(w) == 0)))
        rc = 0;
    free(one);
    return rc;
}

/* ---- talking to the planner ---- */

static int obey(struct work *w, const char *line)
{
    double v[FIGURES] = { 0 };
    char what[32];
    unsigned threads;
    unsigned long long ms;
    unsigned long long batch;

    if (sscanf(line, "load %31s %llu", what, &batch) == 2) {
        if (load(w, strcmp(what, "random") == 0, (size_t)batch) != 0)
            return -1;
        printf("ok\n");
    } else if (sscanf(line, "run %31s %u %llu", what, &threads, &ms) == 3) {
        if (run_case(w, what, threads, ms, v) != 0)
            return -1;
        printf("ok");
        for (size_t i = 0; i < FIGURES; i++)
            printf(" %.10g", v[i]);
        printf("\n");
    } else {
        say("bench: not understood: %s", line);
        return -1;
    }
    return fflush(stdout) == 0 ? 0 : -1;
}

int bench_work(const struct bench_engine *e, const struct bench_setup *setup,
               const struct bench_data *d)
{
    struct work w = { .e = e, .setup = *setup, .d = d };
    void *library = NULL;
    struct stat st;
    char line[128];
    int rc = 0;

    if (e->open != NULL && e->library != NULL) {
        library = dlopen(e->library, RTLD_NOW | RTLD_LOCAL);
        if (library != NULL && e->bind(library) != 0)
            return EXIT_FAILED;
    }
    if (e->open == NULL || (e->library != NULL && library == NULL)) {
        printf("absent\n");
        return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
    }
    if (stat(setup->dir, &st) != 0) {
        say("%s: %m", setup->dir);
        return EXIT_FAILED;
    }
    w.dev = st.st_dev;
    printf("ready\n");
    fflush(stdout);
    while (rc == 0 && fgets(line, sizeof(line), stdin) != NULL &&
           strcmp(line, "quit\n") != 0)
        rc = obey(&w, line);
    if (rc == 0 && w.written && w.db != NULL)
        rc = check_all(&w);
    close_store(&w);
    return rc == 0 && stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
