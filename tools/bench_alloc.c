/*
 * bench_alloc.c - `quire bench alloc`: the region allocator beside malloc().
 *
 * pair-4K ... pair-256K hold 64 segments of a class and replace a random one
 * each time; pair-mix holds 2,000 of random classes. "-touch" writes to the
 * first bytes of each new segment. churn fills memory with random classes,
 * every page written, releases a random nine tenths, and compares what is
 * resident with what is held: at once, after two seconds, and after asking for
 * a clean-up.
 *
 * Each measurement runs in a process of its own, this program again with
 * --engine, so that no allocator inherits another's memory, and so that a
 * peer's library can be preloaded in the place of malloc(). Rounds are
 * interleaved: every engine measures once, then every one again; the figures
 * are medians. Within a measurement the time is cut into slices far shorter
 * than a turn of the scheduler, and the median slice counts: on a machine that
 * has other work, the waiting falls on few of them.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench.h"
#include "tools/tool.h"

#define HELD_PAIR 64    /* segments held; a power of two */
#define HELD_MIX 2048   /* ditto */
#define STEPS 8192      /* random choices made beforehand; a power of two */
#define SLICE_NS 200000 /* much less than a turn of the scheduler */
#define SLICES_MAX 65536
#define ROUNDS_MAX 99
#define THREADS_MAX 64
#define MIX QUIRE_SEG_CLASSES /* the class of pair-mix */

static const char help[] =
    "usage: quire bench alloc [option ...]\n"
    "\n"
    "Nanoseconds for each pair of allocation and release, and memory kept\n"
    "after releases.\n"
    "\n"
    "  --cases A,B     pair-4K ... pair-256K, pair-mix, each also as -touch;\n"
    "                  churn (default: all)\n"
    "  --threads N     1 to 64 (default: 1, then 2)\n"
    "  --seconds N     time of a measurement, 0.001 to 10 (0.3)\n"
    "  --rounds N      measurements of which the median counts (7)\n"
    "  --bytes SIZE    what churn fills (2G)\n"
    "  --watch N       seconds that churn watches what it kept (0)\n"
    "  --peers         glibc, jemalloc and mimalloc too, where installed\n"
    "  --json          one object a line\n";

/* What a measuring process is told, and the parent's choices. */
struct plan {
    const char *cases;
    const char *engine; /* in a measuring process: which */
    uint64_t threads;   /* 0: 1 and 2 */
    uint64_t ms;        /* for each measurement */
    uint64_t rounds;
    uint64_t bytes;
    uint64_t watch; /* seconds */
    bool peers;
    bool json;
    unsigned engines; /* in the parent: engines_present() */
};

/* ---- engines, in a measuring process ---- */

static struct quire_pool *pool; /* NULL: malloc() is measured */

static int engine_open(const struct plan *p)
{
    struct quire_pool_options opt = { .size = sizeof(opt), .background = true };

    /* A library that can't be preloaded is none, not glibc. */
    if (strcmp(p->engine, "jemalloc") == 0)
        return dlsym(RTLD_DEFAULT, "mallctl") != NULL ? 0 : -1;
    if (strcmp(p->engine, "mimalloc") == 0)
        return dlsym(RTLD_DEFAULT, "mi_collect") != NULL ? 0 : -1;
    if (strcmp(p->engine, "quire") != 0)
        return 0;
    opt.budget_bytes = p->bytes / 4 * 5;
    if (opt.budget_bytes < (uint64_t)1 << 30)
        opt.budget_bytes = (uint64_t)1 << 30;
    if (quire_pool_create(&opt, &pool) == QUIRE_OK)
        return 0;
    say("no pool: %s", quire_error_detail());
    return -1;
}

static void *engine_alloc(size_t nbytes)
{
    void *seg;

    if (pool == NULL)
        return malloc(nbytes);
    return quire_pool_alloc(pool, nbytes, &seg) == QUIRE_OK ? seg : NULL;
}

static void engine_free(void *seg)
{
    if (pool == NULL)
        free(seg);
    else
        (void)quire_pool_free(pool, seg);
}

/* Whatever the engine has to give memory back at once. */
static void engine_clean_up(void)
{
    int (*mallctl)(const char *, void *, size_t *, void *, size_t);
    void (*collect)(bool);
    void *sym;

    if (pool != NULL) {
        (void)quire_pool_sweep(pool);
    } else if ((sym = dlsym(RTLD_DEFAULT, "mallctl")) != NULL) {
        memcpy(&mallctl, &sym, sizeof(sym));
        (void)mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* all */
    } else if ((sym = dlsym(RTLD_DEFAULT, "mi_collect")) != NULL) {
        memcpy(&collect, &sym, sizeof(sym));
        collect(true);
    } else {
        (void)malloc_trim(0);
    }
}

/* ---- pairs ---- */

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    unsigned cls; /* of all segments, or MIX */
    bool touch;
    size_t nslices;
    uint64_t seed;
    double ns;   /* out: of the median slice */
    bool failed; /* out */
};

static size_t pick_bytes(unsigned cls, uint64_t *rand)
{
    if (cls == MIX)
        cls = (unsigned)(bench_rand(rand) % QUIRE_SEG_CLASSES);
    return QUIRE_SEG_MIN << cls;
}

static void *pair_worker(void *arg)
{
    struct worker *w = arg;
    size_t nheld = w->cls == MIX ? HELD_MIX : HELD_PAIR;
    static _Thread_local void *held[HELD_MIX];
    static _Thread_local uint16_t which[STEPS];
    static _Thread_local uint32_t nbytes[STEPS];
    static _Thread_local double slice[SLICES_MAX];
    size_t step = 0;

    for (size_t i = 0; i < STEPS; i++) {
        which[i] = (uint16_t)(bench_rand(&w->seed) % nheld);
        nbytes[i] = (uint32_t)pick_bytes(w->cls, &w->seed);
    }
    for (size_t i = 0; i < nheld; i++) {
        held[i] = engine_alloc(pick_bytes(w->cls, &w->seed));
        w->failed |= held[i] == NULL;
    }
    pthread_barrier_wait(w->start);
    for (size_t s = 0; s < w->nslices && !w->failed; s++) {
        uint64_t begin = bench_now_ns();
        uint64_t end;
        uint64_t n = 0;

        do {
            for (unsigned i = 0; i < 256; i++, step++) {
                void **at = &held[which[step % STEPS]];

                engine_free(*at);
                *at = engine_alloc(nbytes[step % STEPS]);
                if (*at == NULL) {
                    w->failed = true;
                    break;
                }
                if (w->touch)
                    *(volatile uint64_t *)*at = step;
            }
            n += 256;
            end = bench_now_ns();
        } while (end - begin < SLICE_NS && !w->failed);
        slice[s] = (double)(end - begin) / (double)n;
    }
    w->ns = w->failed ? 0 : bench_median(slice, w->nslices);
    for (size_t i = 0; i < nheld; i++)
        engine_free(held[i]);
    return NULL;
}

static int measure_pair(const struct plan *p, unsigned cls, bool touch)
{
    static struct worker w[THREADS_MAX];
    pthread_barrier_t start;
    unsigned n = (unsigned)p->threads;
    double sum = 0;

    pthread_barrier_init(&start, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        w[i] = (struct worker){ .start = &start,
                                .cls = cls,
                                .touch = touch,
                                .nslices = p->ms * 1000000u / SLICE_NS,
                                .seed = i + 1 };
        if (pthread_create(&w[i].thread, NULL, pair_worker, &w[i]) != 0) {
            say("a thread could not be started");
            exit(EXIT_FAILED); /* the others wait at the barrier */
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        if (w[i].failed) {
            say("an allocation failed: %s", quire_error_detail());
            return -1;
        }
        sum += w[i].ns;
    }
    printf("%.6g\n", sum / n);
    return 0;
}

/* ---- churn ---- */

static int measure_churn(const struct plan *p)
{
    struct {
        void *seg;
        size_t nbytes;
    } * held;
    size_t cap = p->bytes / QUIRE_SEG_MIN;
    size_t n = 0;
    uint64_t rand = 1;
    double live = 0;
    double before;
    double now;
    double later;
    double most;

    held = calloc(cap, sizeof(*held));
    if (held == NULL) {
        say("no memory for the list of segments");
        return -1;
    }
    memset(held, 0, cap * sizeof(*held));
    before = bench_rss_bytes();
    for (uint64_t sum = 0; sum < p->bytes && n < cap; n++) {
        held[n].nbytes = pick_bytes(MIX, &rand);
        held[n].seg = engine_alloc(held[n].nbytes);
        if (held[n].seg == NULL) {
            say("an allocation failed: %s", quire_error_detail());
            return -1; /* the process ends */
        }
        for (size_t at = 0; at < held[n].nbytes; at += 4096)
            ((volatile char *)held[n].seg)[at] = 1;
        sum += held[n].nbytes;
    }
    for (size_t i = 0; i < n; i++) {
        if (bench_rand(&rand) % 10 != 0) {
            engine_free(held[i].seg);
            held[i].seg = NULL;
        } else {
            live += (double)held[i].nbytes;
        }
    }
    now = bench_rss_bytes() - before;
    usleep(2000000);
    later = bench_rss_bytes() - before;
    most = later;
    for (uint64_t i = 0; i < p->watch * 10; i++) {
        usleep(100000);
        if (bench_rss_bytes() - before > most)
            most = bench_rss_bytes() - before;
    }
    engine_clean_up();
    printf("%.10g %.10g %.10g %.10g %.10g\n", live, now, later,
           bench_rss_bytes() - before, most);
    for (size_t i = 0; i < n; i++)
        engine_free(held[i].seg);
    free(held);
    return 0;
}

static const struct bench_case {
    const char *name;
    unsigned cls;
    bool touch;
} pair_cases[] = {
    { "pair-4K", 0, false },        { "pair-8K", 1, false },
    { "pair-16K", 2, false },       { "pair-32K", 3, false },
    { "pair-64K", 4, false },       { "pair-128K", 5, false },
    { "pair-256K", 6, false },      { "pair-mix", MIX, false },
    { "pair-4K-touch", 0, true },   { "pair-8K-touch", 1, true },
    { "pair-16K-touch", 2, true },  { "pair-32K-touch", 3, true },
    { "pair-64K-touch", 4, true },  { "pair-128K-touch", 5, true },
    { "pair-256K-touch", 6, true }, { "pair-mix-touch", MIX, true },
};

/* What a measuring process does. */
static int measure(const struct plan *p)
{
    int rc = p->cases == NULL ? 0 : -1; /* 0: only whether it is there */

    if (engine_open(p) != 0)
        return EXIT_FAILED;
    if (p->cases != NULL && strcmp(p->cases, "churn") == 0)
        rc = measure_churn(p);
    for (size_t i = 0; p->cases != NULL && i < ARRAY_LEN(pair_cases); i++) {
        if (strcmp(p->cases, pair_cases[i].name) == 0)
            rc = measure_pair(p, pair_cases[i].cls, pair_cases[i].touch);
    }
    if (rc == 0 && quire_pool_destroy(pool) != QUIRE_OK) {
        say("the pool could not be destroyed: %s", quire_error_detail());
        rc = -1;
    }
    return rc == 0 && stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}

/* ---- the parent ---- */

static const struct engine {
    const char *name;    /* and --engine */
    const char *preload; /* a library, or NULL */
} engines[] = {
    { "quire", NULL },
    { "glibc", NULL },
    { "jemalloc", "libjemalloc.so.2" },
    { "mimalloc", "libmimalloc.so.2" },
};

/* Run this program again for one measurement; how many figures it printed, or
 * -1. Without `name`: is the engine there? */
static int run_child(const struct plan *p, const struct engine *e,
                     const char *name, unsigned threads, double v[5])
{
    char opt[6][48];
    char *argv[] = { "quire", "bench", "alloc", opt[0], opt[1],
                     opt[2],  opt[3],  opt[4],  NULL,   NULL };
    char line[256] = "";
    size_t len = 0;
    int fd[2];
    int status;
    pid_t pid;

    snprintf(opt[0], sizeof(opt[0]), "--engine=%s", e->name);
    snprintf(opt[1], sizeof(opt[1]), "--threads=%u", threads);
    snprintf(opt[2], sizeof(opt[2]), "--seconds=%u.%03u",
             (unsigned)(p->ms / 1000), (unsigned)(p->ms % 1000));
    snprintf(opt[3], sizeof(opt[3]), "--bytes=%llu",
             (unsigned long long)p->bytes);
    snprintf(opt[4], sizeof(opt[4]), "--watch=%u", (unsigned)p->watch);
    if (name != NULL) {
        snprintf(opt[5], sizeof(opt[5]), "--cases=%s", name);
        argv[8] = opt[5];
    }
    if (pipe(fd) != 0)
        return -1;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        if (e->preload != NULL)
            setenv("LD_PRELOAD", e->preload, 1);
        dup2(fd[1], STDOUT_FILENO);
        close(fd[0]);
        close(fd[1]);
        /* the loader complains of a library that isn't there */
        if (name == NULL && freopen("/dev/null", "w", stderr) == NULL)
            _exit(EXIT_FAILED);
        execv("/proc/self/exe", argv);
        _exit(EXIT_FAILED);
    }
    close(fd[1]);
    while (pid > 0 && len < sizeof(line) - 1) {
        ssize_t got = read(fd[0], line + len, sizeof(line) - 1 - len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    close(fd[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != EXIT_OK)
        return -1;
    if (name == NULL)
        return 0;
    return sscanf(line, "%lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3],
                  &v[4]);
}

/* Which engines there are, by their places in engines[]. */
static unsigned engines_present(const struct plan *p)
{
    unsigned mask = 1; /* quire */

    for (size_t e = 1; p->peers && e < ARRAY_LEN(engines); e++) {
        if (run_child(p, &engines[e], NULL, 1, NULL) == 0)
            mask |= 1u << e;
        else
            say("%s is not installed", engines[e].name);
    }
    return mask;
}

/* One case on every engine, in interleaved rounds. */
static int run_case(const struct plan *p, const char *name, unsigned threads,
                    int nfigures, double out[ARRAY_LEN(engines)][5])
{
    static double v[ARRAY_LEN(engines)][5][ROUNDS_MAX];

    for (uint64_t r = 0; r < p->rounds; r++) {
        for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
            double figure[5] = { 0 };

            if ((p->engines & (1u << e)) == 0)
                continue;
            if (run_child(p, &engines[e], name, threads, figure) < nfigures) {
                say("%s of %s could not be measured", name, engines[e].name);
                return -1;
            }
            for (int i = 0; i < nfigures; i++)
                v[e][i][r] = figure[i];
        }
    }
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        for (int i = 0; i < nfigures; i++)
            out[e][i] = (p->engines & (1u << e)) != 0
                            ? bench_median(v[e][i], p->rounds)
                            : 0;
    }
    return 0;
}

static int bench_pairs(const struct plan *p, unsigned threads)
{
    double v[ARRAY_LEN(engines)][5] = { { 0 } };

    for (size_t i = 0; i < ARRAY_LEN(pair_cases); i++) {
        if (!bench_chosen(p->cases, pair_cases[i].name))
            continue;
        if (run_case(p, pair_cases[i].name, threads, 1, v) != 0)
            return -1;
        for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
            if (v[e][0] > 0)
                bench_print(p->json, BENCH_RSS | BENCH_LIVE,
                            &(struct bench_line){ .bench = "alloc",
                                                  .name = pair_cases[i].name,
                                                  .engine = engines[e].name,
                                                  .threads = threads,
                                                  .ns = v[e][0],
                                                  .note = "" });
        }
    }
    return 0;
}

static int bench_churn(const struct plan *p)
{
    static const char *const when[] = { "at once", "after 2 s",
                                        "after clean-up", "most seen later" };
    double v[ARRAY_LEN(engines)][5] = { { 0 } };
    struct plan once = *p;

    if (!bench_chosen(p->cases, "churn"))
        return 0;
    once.rounds = 1; /* bytes, not time */
    if (run_case(&once, "churn", 1, 5, v) != 0)
        return -1;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        for (size_t i = 0; i < (p->watch > 0 ? 4u : 3u) && v[e][0] > 0; i++)
            bench_print(p->json, BENCH_RSS | BENCH_LIVE,
                        &(struct bench_line){ .bench = "alloc",
                                              .name = "churn",
                                              .engine = engines[e].name,
                                              .threads = 1,
                                              .rss_bytes = v[e][i + 1],
                                              .live_bytes = v[e][0],
                                              .note = when[i] });
    }
    return 0;
}

int bench_alloc(int argc, char **argv)
{
    struct plan p = { .ms = 300, .rounds = 7, .bytes = (uint64_t)2 << 30 };
    const struct option options[] = {
        { "--cases", OPTION_TEXT, &p.cases, NULL },
        { "--threads", OPTION_COUNT, &p.threads, NULL },
        { "--seconds", OPTION_TIME, &p.ms, NULL },
        { "--rounds", OPTION_COUNT, &p.rounds, NULL },
        { "--bytes", OPTION_SIZE, &p.bytes, NULL },
        { "--watch", OPTION_COUNT, &p.watch, NULL },
        { "--peers", OPTION_FLAG, &p.peers, NULL },
        { "--json", OPTION_FLAG, &p.json, NULL },
        { "--engine", OPTION_TEXT, &p.engine, NULL }, /* our own children */
    };
    int nargs;
    int rc = options_read("bench alloc", help, options, ARRAY_LEN(options),
                          argc, argv, &nargs);

    if (rc >= 0)
        return rc;
    if (nargs > 0)
        return say_usage("bench alloc", "%s: nothing is expected here",
                         argv[0]);
    if (p.threads > THREADS_MAX || p.ms == 0 || p.ms > 10000 || p.rounds == 0 ||
        p.rounds > ROUNDS_MAX || p.bytes < QUIRE_SEG_MAX)
        return say_usage("bench alloc", "an option is out of its range");
    if (p.engine != NULL)
        return measure(&p);
    p.engines = engines_present(&p);
    bench_print_head(p.json, BENCH_RSS | BENCH_LIVE);
    for (unsigned n = 1; n <= 2; n++) {
        if (p.threads == 0 && bench_pairs(&p, n) != 0)
            return EXIT_FAILED;
    }
    if (p.threads != 0 && bench_pairs(&p, (unsigned)p.threads) != 0)
        return EXIT_FAILED;
    if (bench_churn(&p) != 0)
        return EXIT_FAILED;
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
