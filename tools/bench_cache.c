/*
 * bench_cache.c - `quire bench cache`: look-ups in the page cache.
 *
 * A case is quire's way to look up and the hits that are expected: hint-100,
 * hash-100, hint-80, hash-80; what peers do is lookup-100 and lookup-80. With
 * "-zipf" keys are chosen by Zipf's law (0.99) instead of uniformly. Entries
 * are charged 4 to 64 KiB, in five sizes, but have no payload, so that the
 * cache's own work is what is measured. (quire is told to save bytes: if it
 * were to save misses, it would keep the small ones, and hit more often than
 * the case says.) Of a cache for 80 % of the look-ups the
 * note says how many it really had, since that is a matter of its policy.
 *
 * Keys are drawn beforehand. quire looks up in a read section of its own for
 * every key, and pins what it does not find; it runs no background thread here,
 * so that one thread is one thread. Rounds are interleaved: every engine
 * measures a case once, then every one again; figures are medians. All engines
 * live in one process, each opened for a case and closed after it. With 100 %
 * hits the time is cut into slices far shorter than a turn of the scheduler, of
 * which the median counts, so that what other programs take falls on few of
 * them; with misses the whole time counts, since room is made in batches.
 */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quire.h"
#include "tools/bench.h"
#include "tools/bench_cache.h"
#include "tools/tool.h"

#define DRAWN (1u << 20) /* keys of a thread, used in turn */
#define CHUNK 256u       /* look-ups between two looks at the clock */
#define SLICE_NS 200000  /* much less than a turn of the scheduler */
#define SLICES_MAX 65536
#define THREADS_MAX 64
#define ROUNDS_MAX 99
#define ZIPF_THETA 0.99
#define ENGINES_MAX 5
#define MISSES_MAX 64 /* times the entries, keys of a zipf case */

static const char help[] =
    "usage: quire bench cache [option ...]\n"
    "\n"
    "Nanoseconds for a look-up in a page cache and its release.\n"
    "\n"
    "  --cases A,B      hint-100, hash-100, hint-80, hash-80, and of peers\n"
    "                   lookup-100, lookup-80; each also as -zipf (all)\n"
    "  --threads N      1 to 64 (default: 1, then 2)\n"
    "  --entries N      that fit the cache, 1000 to 4000000 (100000)\n"
    "  --entry-bytes N  what each is charged, 4096 to 65536 (default: 4, 8,\n"
    "                   16, 32 and 64 KiB, mixed)\n"
    "  --seconds N      time of a measurement, 0.001 to 10 (0.2)\n"
    "  --rounds N       measurements of which the median counts (7)\n"
    "  --peers          beside RocksDB's HyperClockCache and LRUCache and\n"
    "                   Berkeley DB's memory pool, where installed\n"
    "  --json           one object a line\n";

struct plan {
    const char *cases;
    uint64_t threads; /* 0: 1 and 2 */
    uint64_t entries;
    uint64_t entry_bytes; /* 0: mixed */
    uint64_t ms;
    uint64_t rounds;
    bool peers;
    bool json;
};

static uint64_t fixed_bytes; /* what charge() says; 0: mixed */

static uint64_t charge(uint32_t key)
{
    if (fixed_bytes != 0)
        return fixed_bytes;
    return QUIRE_SEG_MIN << bench_mix(key) % 5;
}

static uint64_t mean_bytes(void)
{
    return fixed_bytes != 0 ? fixed_bytes : QUIRE_SEG_MIN * 31 / 5;
}

/* ---- quire ---- */

struct own {
    struct quire_pool *pool;
    struct quire_cache *cache;
    uint32_t *hints; /* one a key */
};

static quire_status own_load(void *ctx, uint64_t key, void *arg,
                             struct quire_page *page)
{
    (void)arg;
    page->payload = ctx;
    page->weight_bytes = charge((uint32_t)key);
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

static void own_removed(void *ctx, uint64_t key, const struct quire_page *page,
                        quire_cause cause)
{
    (void)ctx;
    (void)key;
    (void)page;
    (void)cause;
}

static void own_close(void *cache)
{
    struct own *o = cache;

    if (quire_cache_destroy(o->cache) != QUIRE_OK ||
        quire_pool_destroy(o->pool) != QUIRE_OK)
        say("the cache could not be closed: %s", quire_error_detail());
    free(o->hints);
    free(o);
}

static void *own_open(const struct bench_cache_setup *s)
{
    struct quire_pool_options popt = { .size = sizeof(popt) };
    struct quire_cache_options opt = { .size = sizeof(opt),
                                       .capacity_bytes = s->capacity_bytes,
                                       .load = own_load,
                                       .removed = own_removed,
                                       .objective = QUIRE_OBJECTIVE_BYTES };
    struct own *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    /* What a pool would have that held the payloads as well; a frame costs
     * some 200 bytes. */
    popt.budget_bytes = QUIRE_BUDGET_MIN + s->capacity_bytes +
                        s->entries * 1024;
    opt.max_pages = (uint32_t)(s->entries + s->entries / 4);
    opt.ctx = o;
    o->hints = malloc(s->keys * sizeof(o->hints[0]));
    if (o->hints != NULL)
        memset(o->hints, 0xff, s->keys * sizeof(o->hints[0])); /* HINT_NONE */
    if (o->hints == NULL || quire_pool_create(&popt, &o->pool) != QUIRE_OK ||
        quire_cache_create(o->pool, &opt, &o->cache) != QUIRE_OK) {
        say("no cache: %s", quire_error_detail());
        own_close(o);
        return NULL;
    }
    return o;
}

/* Inlined twice, so that the way by the table has no hint to test. */
static inline uint64_t own_run(void *cache, const uint32_t *keys, size_t n,
                               bool by_hint)
{
    struct own *o = cache;
    uint64_t misses = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t key = keys[i];
        uint32_t *hint = by_hint ? &o->hints[key] : NULL;
        struct quire_pin pin;
        const void *page;

        quire_cache_enter(o->cache);
        page = quire_cache_get(o->cache, key, hint);
        quire_cache_exit(o->cache);
        if (page != NULL)
            continue;
        misses++;
        if (quire_cache_pin(o->cache, key, hint, NULL, &pin) != QUIRE_OK) {
            say("a page was refused: %s", quire_error_detail());
            return BENCH_MISSES_FAILED;
        }
        quire_cache_unpin(o->cache, &pin);
    }
    return misses;
}

static uint64_t own_run_hint(void *cache, const uint32_t *keys, size_t n)
{
    return own_run(cache, keys, n, true);
}

static uint64_t own_run_hash(void *cache, const uint32_t *keys, size_t n)
{
    return own_run(cache, keys, n, false);
}

static const struct bench_cache_engine own_hint = { "quire", own_open,
                                                    own_close, own_run_hint,
                                                    0 };
static const struct bench_cache_engine own_hash = { "quire", own_open,
                                                    own_close, own_run_hash,
                                                    0 };

/* RocksDB's caches are in a library beside this program. */
static const struct bench_cache_peers *rocksdb_peers(void)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;
    void *lib;

    if (len <= 0)
        return NULL;
    path[len] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL)
        return NULL;
    strcpy(slash, "/quire-cache-rocksdb.so");
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return lib == NULL ? NULL : dlsym(lib, "bench_cache_peers");
}

/* ---- keys ---- */

/* The sum of i^-theta for i of 1 .. n. */
static double zeta(uint64_t n)
{
    double sum = 0;

    for (uint64_t i = 1; i <= n; i++)
        sum += pow((double)i, -ZIPF_THETA);
    return sum;
}

/* Zipf's law over `n` keys, by the closed form of Gray et al., 1994. */
struct zipf {
    uint64_t n;
    double zetan;
    double eta;
};

static void zipf_init(struct zipf *z, uint64_t n)
{
    z->n = n;
    z->zetan = zeta(n);
    z->eta = (1 - pow(2.0 / (double)n, 1 - ZIPF_THETA)) /
             (1 - zeta(2) / z->zetan);
}

static uint32_t zipf_draw(const struct zipf *z, uint64_t *rand)
{
    double u = (double)(bench_rand(rand) >> 11) / 9007199254740992.0;
    double uz = u * z->zetan;
    double at;

    if (uz < 1)
        return 0;
    if (uz < 1 + pow(0.5, ZIPF_THETA))
        return 1;
    at = (double)z->n * pow(z->eta * u - z->eta + 1, 1 / (1 - ZIPF_THETA));
    return at < (double)z->n ? (uint32_t)at : (uint32_t)(z->n - 1);
}

/* How many keys there must be for the likeliest `entries` to be 80 % of all
 * look-ups. */
static uint64_t zipf_keys(uint64_t entries)
{
    double want = zeta(entries) / 0.8;
    double sum = 0;
    uint64_t n = 0;

    while (sum < want && n < entries * MISSES_MAX)
        sum += pow((double)++n, -ZIPF_THETA);
    return n;
}

/* ---- measuring ---- */

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct bench_cache_engine *engine;
    void *cache;
    uint32_t *keys; /* DRAWN of them */
    uint64_t ms;
    bool slices; /* the median of them counts */
    size_t at;
    double ns;       /* out: a look-up */
    uint64_t n;      /* out */
    uint64_t misses; /* out */
    bool failed;     /* out */
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    static _Thread_local double slice[SLICES_MAX];
    size_t nslices = 0;
    uint64_t slice_n = 0;
    uint64_t slice_begin;
    uint64_t begin;
    uint64_t now;

    w->n = w->misses = 0;
    pthread_barrier_wait(w->start);
    begin = slice_begin = bench_now_ns();
    do {
        uint64_t misses = w->engine->run(w->cache, &w->keys[w->at], CHUNK);

        if (misses == BENCH_MISSES_FAILED) {
            w->failed = true;
            return NULL;
        }
        w->misses += misses;
        w->n += CHUNK;
        w->at = (w->at + CHUNK) % DRAWN;
        slice_n += CHUNK;
        now = bench_now_ns();
        if (now - slice_begin >= SLICE_NS && nslices < SLICES_MAX) {
            slice[nslices++] = (double)(now - slice_begin) / (double)slice_n;
            slice_begin = now;
            slice_n = 0;
        }
    } while (now - begin < w->ms * 1000000);
    w->ns = w->slices && nslices > 0 ? bench_median(slice, nslices)
                                     : (double)(now - begin) / (double)w->n;
    return NULL;
}

/* What a case runs with. */
struct field {
    const char *name;
    unsigned percent; /* hits */
    bool zipf;
    unsigned threads;
    uint64_t keys;
    uint32_t *drawn[THREADS_MAX];
};

/* One measurement: ns a look-up, hits in percent. -1: said why. */
static int measure(const struct plan *p, struct field *f,
                   const struct bench_cache_engine *engine, void *cache,
                   size_t *at, double *ns, double *hits)
{
    static struct worker w[THREADS_MAX];
    pthread_barrier_t start;
    uint64_t n = 0;
    uint64_t misses = 0;
    double sum = 0;

    pthread_barrier_init(&start, NULL, f->threads);
    for (unsigned i = 0; i < f->threads; i++) {
        w[i] = (struct worker){ .start = &start,
                                .engine = engine,
                                .cache = cache,
                                .keys = f->drawn[i],
                                .ms = p->ms,
                                .slices = f->percent == 100,
                                .at = at[i] };
        if (pthread_create(&w[i].thread, NULL, worker_main, &w[i]) != 0) {
            say("a thread could not be started");
            exit(EXIT_FAILED); /* the others wait at the barrier */
        }
    }
    for (unsigned i = 0; i < f->threads; i++) {
        pthread_join(w[i].thread, NULL);
        if (w[i].failed) {
            say("%s: %s failed", f->name, engine->name);
            return -1;
        }
        sum += w[i].ns;
        n += w[i].n;
        misses += w[i].misses;
        at[i] = w[i].at;
    }
    pthread_barrier_destroy(&start);
    *ns = sum / f->threads;
    *hits = 100 * (1 - (double)misses / (double)n);
    return 0;
}

/* Fill: every key once, then what was drawn. */
static int warm_up(const struct field *f,
                   const struct bench_cache_engine *engine, void *cache)
{
    uint32_t key[CHUNK];

    for (uint64_t k = 0; k < f->keys; k += CHUNK) {
        size_t n = 0;

        for (; n < CHUNK && k + n < f->keys; n++)
            key[n] = (uint32_t)(k + n);
        if (engine->run(cache, key, n) == BENCH_MISSES_FAILED)
            return -1;
    }
    for (size_t at = 0; at < DRAWN; at += CHUNK)
        if (engine->run(cache, &f->drawn[0][at], CHUNK) == BENCH_MISSES_FAILED)
            return -1;
    return 0;
}

/* The engines of `engines` side by side; quire's name is `own`'s case. */
static int run_field(const struct plan *p, struct field *f,
                     const struct bench_cache_engine *const *engines,
                     const char *const *names, size_t nengines)
{
    static double ns[ENGINES_MAX][ROUNDS_MAX];
    static double hits[ENGINES_MAX][ROUNDS_MAX];
    size_t at[ENGINES_MAX][THREADS_MAX] = { { 0 } };
    void *cache[ENGINES_MAX] = { NULL };
    struct bench_cache_setup s = {
        .entries = p->entries,
        .keys = f->keys,
        .mean_bytes = mean_bytes(),
        .charge = charge,
    };
    int rc = -1;

    s.capacity_bytes = p->entries * mean_bytes();
    if (f->percent == 100) { /* nothing is to be evicted */
        s.capacity_bytes += s.capacity_bytes / 2;
        s.entries += s.entries / 2;
    }
    for (size_t e = 0; e < nengines; e++) {
        cache[e] = engines[e]->open(&s);
        if (cache[e] == NULL || warm_up(f, engines[e], cache[e]) != 0) {
            say("%s could not be opened", engines[e]->name);
            goto out;
        }
    }
    for (uint64_t r = 0; r < p->rounds; r++) {
        for (size_t e = 0; e < nengines; e++) {
            if (measure(p, f, engines[e], cache[e], at[e], &ns[e][r],
                        &hits[e][r]) != 0)
                goto out;
        }
    }
    for (size_t e = 0; e < nengines; e++) {
        char note[64];

        snprintf(note, sizeof(note), "%.1f %% hits",
                 bench_median(hits[e], p->rounds));
        if (engines[e]->uncounted)
            note[0] = '\0';
        bench_print(p->json, 0,
                    &(struct bench_line){ .bench = "cache",
                                          .name = names[e],
                                          .engine = engines[e]->name,
                                          .threads = f->threads,
                                          .ns = bench_median(ns[e], p->rounds),
                                          .note = note });
    }
    rc = 0;

out:
    for (size_t e = 0; e < nengines; e++) {
        if (cache[e] != NULL)
            engines[e]->close(cache[e]);
    }
    return rc;
}

static int draw_keys(const struct plan *p, struct field *f)
{
    struct zipf z = { 0 };

    f->keys = p->entries;
    if (f->percent != 100)
        f->keys = f->zipf ? zipf_keys(p->entries) : p->entries * 5 / 4;
    if (f->zipf)
        zipf_init(&z, f->keys);
    for (unsigned i = 0; i < f->threads; i++) {
        uint64_t rand = i + 1;

        f->drawn[i] = malloc(DRAWN * sizeof(f->drawn[i][0]));
        if (f->drawn[i] == NULL) {
            say("no memory for the keys");
            return -1;
        }
        for (size_t k = 0; k < DRAWN; k++) {
            uint32_t key = f->zipf ? zipf_draw(&z, &rand)
                                   : (uint32_t)(bench_rand(&rand) % f->keys);

            /* So that what is near in rank is not near in number. */
            f->drawn[i][k] = f->zipf ? (uint32_t)((uint64_t)key * 2654435761u %
                                                  f->keys)
                                     : key;
        }
    }
    return 0;
}

/* One set of keys, for all who are asked for it. */
static int bench_field(const struct plan *p, unsigned percent, bool zipf,
                       unsigned threads,
                       const struct bench_cache_engine *const *peers,
                       size_t npeers)
{
    const struct bench_cache_engine *engines[ENGINES_MAX];
    char hint[32];
    char hash[32];
    char lookup[32];
    const char *names[ENGINES_MAX];
    struct field f = { .percent = percent, .zipf = zipf, .threads = threads };
    const char *tail = zipf ? "-zipf" : "";
    size_t n = 0;
    int rc;

    snprintf(hint, sizeof(hint), "hint-%u%s", percent, tail);
    snprintf(hash, sizeof(hash), "hash-%u%s", percent, tail);
    snprintf(lookup, sizeof(lookup), "lookup-%u%s", percent, tail);
    f.name = lookup;
    if (bench_chosen(p->cases, hint)) {
        names[n] = hint;
        engines[n++] = &own_hint;
    }
    if (bench_chosen(p->cases, hash)) {
        names[n] = hash;
        engines[n++] = &own_hash;
    }
    for (size_t i = 0; i < npeers && bench_chosen(p->cases, lookup); i++) {
        names[n] = lookup;
        engines[n++] = peers[i];
    }
    if (n == 0)
        return 0;
    rc = draw_keys(p, &f);
    if (rc == 0)
        rc = run_field(p, &f, engines, names, n);
    for (unsigned i = 0; i < threads; i++)
        free(f.drawn[i]);
    return rc;
}

/* Those peers that can be opened. */
static size_t find_peers(const struct bench_cache_engine **peers)
{
    const struct bench_cache_peers *rocksdb = rocksdb_peers();
    const struct bench_cache_engine *all[] = {
        rocksdb != NULL ? rocksdb->hyperclock : NULL,
        rocksdb != NULL ? rocksdb->lru : NULL,
        &cache_engine_mpool,
    };
    static const char *const names[] = { "hyperclock", "lru", "mpool" };
    const struct bench_cache_setup small = { .capacity_bytes = 16 << 20,
                                             .mean_bytes = 4096,
                                             .entries = 1000,
                                             .keys = 1,
                                             .charge = charge };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        void *cache = all[i] != NULL && all[i]->open != NULL
                          ? all[i]->open(&small)
                          : NULL;

        if (cache == NULL) {
            say("%s is not installed", names[i]);
            continue;
        }
        all[i]->close(cache);
        peers[n++] = all[i];
    }
    return n;
}

int bench_cache(int argc, char **argv)
{
    struct plan p = { .ms = 200, .rounds = 7, .entries = 100000 };
    const struct option options[] = {
        { "--cases", OPTION_TEXT, &p.cases, NULL },
        { "--threads", OPTION_COUNT, &p.threads, NULL },
        { "--entries", OPTION_COUNT, &p.entries, NULL },
        { "--entry-bytes", OPTION_SIZE, &p.entry_bytes, NULL },
        { "--seconds", OPTION_TIME, &p.ms, NULL },
        { "--rounds", OPTION_COUNT, &p.rounds, NULL },
        { "--peers", OPTION_FLAG, &p.peers, NULL },
        { "--json", OPTION_FLAG, &p.json, NULL },
    };
    const struct bench_cache_engine *peers[ENGINES_MAX - 2];
    size_t npeers = 0;
    int nargs;
    int rc = options_read("bench cache", help, options, ARRAY_LEN(options),
                          argc, argv, &nargs);

    if (rc >= 0)
        return rc;
    if (nargs > 0)
        return say_usage("bench cache", "%s: nothing is expected here",
                         argv[0]);
    if (p.threads > THREADS_MAX || p.ms == 0 || p.ms > 10000 || p.rounds == 0 ||
        p.rounds > ROUNDS_MAX || p.entries < 1000 || p.entries > 4000000 ||
        (p.entry_bytes != 0 &&
         (p.entry_bytes < QUIRE_SEG_MIN || p.entry_bytes > 65536)))
        return say_usage("bench cache", "an option is out of its range");
    fixed_bytes = p.entry_bytes;
    if (p.peers)
        npeers = find_peers(peers);
    bench_print_head(p.json, 0);
    for (unsigned n = p.threads != 0 ? (unsigned)p.threads : 1;
         n <= (p.threads != 0 ? p.threads : 2); n++) {
        for (unsigned i = 0; i < 4; i++) {
            if (bench_field(&p, i % 2 == 0 ? 100 : 80, i >= 2, n, peers,
                            npeers) != 0)
                return EXIT_FAILED;
        }
    }
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
