/*
 * bench_store.c - `quire bench store`: the process that plans and prints.
 *
 * Each engine has a measuring process of its own, this program again with
 * --engine (bench_work.c), which keeps its store open from case to case and
 * is told over a pipe what to measure. One measures at a time; the others are
 * stopped meanwhile, threads of their libraries included. Rounds are
 * interleaved: every engine measures a case once, then every one again;
 * figures are medians.
 *
 * A process that ends before it has answered is said to, and its engine is
 * left out of what follows; the exit status is then 1.
 *
 * Cases whose names begin with "ltm-" come last, in new processes whose memory
 * is limited. Before them the files are dropped from the page cache, since a
 * page stays charged to whoever has read it first.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench_limit.h"
#include "tools/bench_store.h"
#include "tools/tool.h"

#define ROUNDS_MAX 99
#define RECORDS_LEAST 256u /* as many as a chunk of gets */
#define RECORDS_DEFAULT 1000000u
#define BATCH_DEFAULT 20000u
#define LIMIT_MARGIN ((uint64_t)24 << 20) /* what is not charged to a budget */
#define COLUMNS (BENCH_LATENCY | BENCH_RSS | BENCH_DISK | BENCH_WRITTEN)

static const char help[] =
    "usage: quire bench store [option ...]\n"
    "\n"
    "Fills, reads and commits of records of a size, beside other stores.\n"
    "\n"
    "  --cases A,B     fill-seq, fill-random; get-random, get-zipf,\n"
    "                  get-many-8, get-many-64, scan, scan-reverse, seek-50;\n"
    "                  overwrite, nosync-1, read-while-write; durable-1,\n"
    "                  durable-100; get-new, get-old: gets behind 50 commits\n"
    "                  of a hundredth of the records, and before them (quire\n"
    "                  only); all but the fills also as ltm-..., with less\n"
    "                  memory than data (default: all but these)\n"
    "  --peers         beside LMDB, RocksDB, WiredTiger and SQLite, where\n"
    "                  installed, and, for durable-1, the disk alone\n"
    "  --engines A,B   of these only: quire, raw-fdatasync, lmdb, lmdb-wm,\n"
    "                  rocksdb, wiredtiger, sqlite\n"
    "  --records N     at least 256 (1000000; of a file: all)\n"
    "  --keys WHAT     dense: 16 digits, counted up; sparse: 16 random digits;\n"
    "                  or a file: what its lines have before a tab (dense)\n"
    "  --values WHAT   half: half compressible, 100 bytes; text: words, 400\n"
    "                  bytes (half)\n"
    "  --value-bytes N 16 to 2048\n"
    "  --order WHAT    how the store is loaded for what is not a fill: random\n"
    "                  or sequential (random)\n"
    "  --batch N       records of a transaction then (20000)\n"
    "  --threads N     1 to 64 (default: each case's own)\n"
    "  --seconds N     time of a measurement, 0.001 to 60 (0.3)\n"
    "  --rounds N      measurements of which the median counts (7)\n"
    "  --memory SIZE   the cache's (default: four times the data, at least\n"
    "                  1G; of ltm-: an eighth of the data, at least 8M)\n"
    "  --page SIZE     of quire's pages, 4K to 64K (16K)\n"
    "  --direct        quire loads pages past the system's cache\n"
    "  --dir DIR       where the stores are made, on the disk to be measured\n"
    "                  (default: TMPDIR, or /tmp)\n"
    "  --keep          leave them there, and take up those of the last time\n"
    "  --json          one object a line\n"
    "\n"
    "An operation is a record in fills and overwrites, a range in seek-50, a\n"
    "transaction in nosync-1 and durable-100. Of written bytes, an operation,\n"
    "the kernel tells: what the device was given until all was durable.\n";

static const struct bench_engine *const engines[] = {
    &engine_quire,   &engine_raw,        &engine_lmdb,   &engine_lmdb_wm,
    &engine_rocksdb, &engine_wiredtiger, &engine_sqlite,
};

#define NENGINES ARRAY_LEN(engines)

struct plan {
    const char *cases;
    const char *engines;
    const char *engine; /* in a measuring process: which */
    const char *keys;
    const char *values;
    const char *order;
    const char *dir;
    uint64_t records;
    uint64_t value_bytes;
    uint64_t batch;   /* records of a transaction when a store is loaded */
    uint64_t threads; /* 0: each case's own */
    uint64_t ms;
    uint64_t rounds;
    uint64_t memory;
    uint64_t limit;      /* a measuring process's */
    uint64_t data_fd;    /* ditto */
    uint64_t page_bytes; /* 0: the default */
    bool direct;
    bool peers;
    bool keep;
    bool json;
};

/* A measuring process. */
struct child {
    const struct bench_engine *e;
    pid_t pid;  /* 0: none runs */
    FILE *to;   /* its standard input */
    FILE *from; /* its standard output */
    char *dir;  /* malloc; of its stores */
    bool out;   /* it has failed, or isn't there: not asked again */
    bool loaded;
    struct bench_limit limit;
};

struct state {
    struct plan p;
    struct bench_data data;
    struct child child[NENGINES];
    char *root;     /* malloc; directory of all stores */
    bool failed;    /* some process ended before its time */
    bool unlimited; /* no limit could be set, and that was said */
};

/* ---- processes ---- */

static void child_forget(struct child *c)
{
    if (c->to != NULL)
        fclose(c->to);
    if (c->from != NULL)
        fclose(c->from);
    c->to = NULL;
    c->from = NULL;
    c->pid = 0;
    bench_limit_remove(&c->limit);
}

/* The process has ended, or is to: 0 if all was well. */
static int child_reap(struct child *c, const char *what)
{
    int status;
    pid_t got;

    do {
        got = waitpid(c->pid, &status, 0);
    } while (got < 0 && errno == EINTR);
    child_forget(c);
    if (got < 0)
        return -1;
    if (WIFSIGNALED(status)) {
        say("%s: the process died of signal %d (%s) in %s", c->e->name,
            WTERMSIG(status), strsignal(WTERMSIG(status)), what);
        return -1;
    }
    if (WEXITSTATUS(status) != EXIT_OK) {
        say("%s: the process failed in %s", c->e->name, what);
        return -1;
    }
    return 0;
}

/* An answer has not come: say why, and leave the engine out from now on. */
static void child_lost(struct state *s, struct child *c, const char *what)
{
    c->out = true;
    if (stop_signal() != 0) { /* it was this process that was woken */
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        child_forget(c);
        return;
    }
    s->failed = true;
    if (c->to != NULL)
        fclose(c->to); /* it may wait for an order */
    c->to = NULL;
    if (child_reap(c, what) == 0)
        say("%s: no answer in %s", c->e->name, what);
}

/* Read a line of the process's; false: there is none, or we are to stop. A
 * signal just before would not interrupt the reading, hence the waiting. */
static bool child_answer(struct child *c, char *line, int cap)
{
    struct pollfd fd[2] = { { .fd = fileno(c->from), .events = POLLIN },
                            { .fd = stop_fd(), .events = POLLIN } };
    int got;

    do {
        got = poll(fd, 2, -1);
    } while (got < 0 && errno == EINTR);
    return fd[1].revents == 0 && stop_signal() == 0 &&
           fgets(line, cap, c->from) != NULL;
}

/* Does the loader accept `library` in the place of malloc()? It complains, and
 * goes on, of one that isn't there. */
static bool preload_works(const char *library)
{
    char byte;
    ssize_t got = 0;
    int fd[2];
    pid_t pid;

    if (pipe2(fd, O_CLOEXEC) != 0)
        return false;
    pid = fork();
    if (pid == 0) {
        setenv("LD_PRELOAD", library, 1);
        dup2(fd[1], STDERR_FILENO);
        close(STDOUT_FILENO);
        execl("/proc/self/exe", "quire", "--version", (char *)NULL);
        _exit(EXIT_FAILED);
    }
    close(fd[1]);
    if (pid > 0) {
        do {
            got = read(fd[0], &byte, 1);
        } while (got < 0 && errno == EINTR);
        waitpid(pid, NULL, 0);
    }
    close(fd[0]);
    return pid > 0 && got == 0;
}

static void child_exec(const struct state *s, const struct child *c,
                       uint64_t memory, uint64_t limit, bool preload)
{
    char opt[6][64];
    const char *direct = s->p.direct ? "--direct" : NULL;
    char *dir;
    int fd;

    /* a copy that outlives exec(), and an end together with ours */
    fd = dup(s->data.fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (fd < 0 || asprintf(&dir, "--dir=%s", c->dir) < 0 ||
        bench_limit_enter(&c->limit) != 0)
        _exit(EXIT_FAILED);
    if (preload)
        setenv("LD_PRELOAD", c->e->preload, 1);
    snprintf(opt[0], sizeof(opt[0]), "--engine=%s", c->e->name);
    snprintf(opt[1], sizeof(opt[1]), "--data-fd=%d", fd);
    snprintf(opt[2], sizeof(opt[2]), "--memory=%llu",
             (unsigned long long)memory);
    snprintf(opt[3], sizeof(opt[3]), "--limit=%llu", (unsigned long long)limit);
    snprintf(opt[4], sizeof(opt[4]), "--page=%llu",
             (unsigned long long)s->p.page_bytes);
    execl("/proc/self/exe", "quire", "bench", "store", opt[0], opt[1], opt[2],
          opt[3], opt[4], dir, direct, (char *)NULL);
    _exit(EXIT_FAILED);
}

/* Start the process; out is set when its engine isn't there. */
static int child_start(struct state *s, struct child *c, uint64_t memory,
                       uint64_t limit)
{
    bool preload = c->e->preload != NULL && preload_works(c->e->preload);
    char answer[32] = "";
    char name[64];
    int in[2] = { -1, -1 };
    int out[2] = { -1, -1 };

    if (limit != 0) {
        snprintf(name, sizeof(name), "quire-bench-%d-%s", (int)getpid(),
                 c->e->name);
        if (bench_limit_make(&c->limit, name, limit) != 0 && !s->unlimited) {
            say("no control group can be made here: beyond their caches "
                "nothing limits the stores");
            s->unlimited = true;
        }
    }
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        goto fail;
    fflush(stdout);
    c->pid = fork();
    if (c->pid < 0) {
        c->pid = 0;
        goto fail;
    }
    if (c->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        child_exec(s, c, memory, limit, preload);
    }
    close(in[0]);
    close(out[1]);
    c->to = fdopen(in[1], "w");
    c->from = fdopen(out[0], "r");
    if (c->to == NULL || c->from == NULL ||
        !child_answer(c, answer, sizeof(answer))) {
        child_lost(s, c, "its beginning");
        return -1;
    }
    if (strcmp(answer, "absent\n") == 0) {
        say("%s is left out: %s", c->e->name,
            c->e->open == NULL ? "this program was built without its header"
                               : "its library isn't installed");
        c->out = true;
        return child_reap(c, "its beginning");
    }
    kill(c->pid, SIGSTOP);
    return 0;
fail:
    say("a process could not be started: %m");
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    bench_limit_remove(&c->limit);
    return -1;
}

/* Give an order and wait for its answer, behind which the process is stopped.
 * On failure the engine is out. */
static int child_ask(struct state *s, struct child *c, const char *what,
                     const char *order, double *v)
{
    char answer[1024];
    int at = 0;

    kill(c->pid, SIGCONT);
    fprintf(c->to, "%s\n", order);
    if (fflush(c->to) != 0 || !child_answer(c, answer, sizeof(answer)) ||
        strncmp(answer, "ok", 2) != 0) {
        child_lost(s, c, what);
        return -1;
    }
    kill(c->pid, SIGSTOP);
    at = 2;
    for (size_t i = 0; v != NULL && i < FIGURES; i++) {
        int len = 0;

        if (sscanf(answer + at, "%lf%n", &v[i], &len) != 1) {
            say("%s: an answer in %s can't be read", c->e->name, what);
            return -1;
        }
        at += len;
    }
    return 0;
}

static void child_quit(struct state *s, struct child *c)
{
    if (c->pid == 0)
        return;
    kill(c->pid, SIGCONT);
    fprintf(c->to, "quit\n");
    fclose(c->to);
    c->to = NULL;
    if (child_reap(c, "its end") != 0) {
        c->out = true;
        s->failed = true;
    }
}

/* ---- stores ---- */

/* What a store that is kept was made of. */
static int stamp(const struct state *s, char *text, size_t cap)
{
    return snprintf(text, cap,
                    "keys %s\nrecords %llu\nvalues %s %llu\n"
                    "order %s by %llu\npages %llu\n",
                    s->p.keys, (unsigned long long)s->data.n, s->p.values,
                    (unsigned long long)s->p.value_bytes, s->p.order,
                    (unsigned long long)s->p.batch,
                    (unsigned long long)s->p.page_bytes);
}

static bool stamp_fits(const struct state *s, const struct child *c)
{
    char want[1024];
    char text[1024] = "";
    char *path;
    FILE *f;

    if (asprintf(&path, "%s/made", c->dir) < 0)
        return false;
    f = fopen(path, "r");
    free(path);
    if (f == NULL)
        return false;
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    stamp(s, want, sizeof(want));
    return strcmp(want, text) == 0;
}

static void stamp_write(const struct state *s, const struct child *c)
{
    char text[1024];
    char *path;
    FILE *f;

    if (asprintf(&path, "%s/made", c->dir) < 0)
        return;
    f = fopen(path, "w");
    free(path);
    if (f == NULL)
        return;
    stamp(s, text, sizeof(text));
    fputs(text, f);
    fclose(f);
}

/* Drop the files in `path` from the page cache. */
static void drop_cached(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *de;

    while (dir != NULL && (de = readdir(dir)) != NULL) {
        struct stat st;
        char *sub;

        if (de->d_name[0] == '.')
            continue;
        if (asprintf(&sub, "%s/%s", path, de->d_name) < 0)
            break;
        if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode)) {
            drop_cached(sub);
        } else {
            int fd = open(sub, O_RDONLY | O_CLOEXEC);

            if (fd >= 0) {
                fdatasync(fd);
                posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
                close(fd);
            }
        }
        free(sub);
    }
    if (dir != NULL)
        closedir(dir);
}

static uint64_t memory_for(const struct state *s, bool ltm)
{
    uint64_t memory = s->p.memory;

    if (memory == 0 && ltm) {
        memory = s->data.raw_bytes / 8;
        memory = memory < QUIRE_BUDGET_MIN ? QUIRE_BUDGET_MIN : memory;
    } else if (memory == 0) {
        memory = s->data.raw_bytes * 4;
        memory = memory < (uint64_t)1 << 30 ? (uint64_t)1 << 30 : memory;
    }
    return memory;
}

/* Have the process run, and its store loaded if `c` needs one. */
static int child_ready(struct state *s, struct child *c,
                       const struct bench_case *bc, bool ltm)
{
    uint64_t memory = memory_for(s, ltm);
    char order[64];

    if (c->out)
        return -1;
    if (c->pid == 0 &&
        child_start(s, c, memory, ltm ? memory + LIMIT_MARGIN : 0) != 0) {
        c->out = true;
        s->failed |= stop_signal() == 0;
    }
    if (c->out)
        return -1;
    if (bc->kind == KIND_FILL || c->loaded)
        return 0;
    snprintf(order, sizeof(order), "load %s %llu", s->p.order,
             (unsigned long long)s->p.batch);
    if (child_ask(s, c, "loading", order, NULL) != 0)
        return -1;
    c->loaded = true;
    stamp_write(s, c);
    return 0;
}

/* ---- cases ---- */

static void print_figures(const struct state *s, const struct child *c,
                          const struct bench_case *bc, const char *name,
                          unsigned threads, const double *v)
{
    char note[160] = "";
    size_t at = 0;
    struct bench_line line = { .bench = "store",
                               .name = name,
                               .engine = c->e->name,
                               .threads = threads,
                               .ns = v[FIGURE_NS],
                               .p50_us = v[FIGURE_P50] / 1e3,
                               .p99_us = v[FIGURE_P99] / 1e3,
                               .p999_us = v[FIGURE_P999] / 1e3,
                               .rss_bytes = v[FIGURE_RSS],
                               .live_bytes = (double)s->data.raw_bytes,
                               .disk_bytes = v[FIGURE_DISK],
                               .written_bytes = v[FIGURE_WRITTEN],
                               .records = (double)s->data.n,
                               .note = note };
    char writes[40];

    if (v[FIGURE_OWN] > 0)
        at += (size_t)snprintf(note, sizeof(note),
                               "says %.0f B, and %.0f B of zeros ahead; ",
                               v[FIGURE_OWN], v[FIGURE_ZEROED]);
    if (v[FIGURE_SETTLE] > 0)
        snprintf(note + at, sizeof(note) - at, "%.3f s to sync",
                 v[FIGURE_SETTLE]);
    if (bc->kind == KIND_MIXED)
        line.written_bytes = 0; /* the writer's, below */
    bench_print(s->p.json, COLUMNS, &line);
    if (bc->kind != KIND_MIXED)
        return;
    snprintf(writes, sizeof(writes), "%srww-writes",
             strncmp(name, "ltm-", 4) == 0 ? "ltm-" : "");
    line.name = writes;
    line.threads = 1;
    line.ns = v[FIGURE_WRITE_NS];
    line.p50_us = line.p99_us = line.p999_us = 0;
    line.written_bytes = v[FIGURE_WRITTEN];
    bench_print(s->p.json, COLUMNS, &line);
}

/* One case on every engine, in interleaved rounds; printed. */
static void run_case(struct state *s, const struct bench_case *bc, bool ltm,
                     unsigned threads)
{
    static double v[NENGINES][FIGURES][ROUNDS_MAX];
    size_t done[NENGINES] = { 0 };
    char name[40];
    char order[96];

    snprintf(name, sizeof(name), "%s%s", ltm ? "ltm-" : "", bc->name);
    snprintf(order, sizeof(order), "run %s %u %llu", name, threads,
             (unsigned long long)s->p.ms);
    for (uint64_t r = 0; r < s->p.rounds; r++) {
        for (size_t e = 0; e < NENGINES; e++) {
            struct child *c = &s->child[e];
            double figure[FIGURES];

            if (stop_signal() != 0 || c->e == NULL ||
                !bench_case_suits(c->e, bc, threads) ||
                child_ready(s, c, bc, ltm) != 0 ||
                child_ask(s, c, name, order, figure) != 0)
                continue;
            for (size_t i = 0; i < FIGURES; i++)
                v[e][i][done[e]] = figure[i];
            done[e]++;
        }
    }
    for (size_t e = 0; e < NENGINES; e++) {
        double mid[FIGURES];

        if (done[e] != s->p.rounds)
            continue;
        for (size_t i = 0; i < FIGURES; i++)
            mid[i] = bench_median(v[e][i], done[e]);
        print_figures(s, &s->child[e], bc, name, threads, mid);
    }
}

static void run_cases(struct state *s, bool ltm)
{
    for (size_t i = 0; i < bench_ncases; i++) {
        const struct bench_case *bc = &bench_cases[i];
        char name[40];
        bool many = bc->threads[1] != 0 || bc->kind == KIND_MIXED;

        snprintf(name, sizeof(name), "%s%s", ltm ? "ltm-" : "", bc->name);
        if (!bench_chosen(s->p.cases, name))
            continue;
        if (s->p.threads != 0 && many) {
            run_case(s, bc, ltm, (unsigned)s->p.threads);
            continue;
        }
        for (size_t t = 0; t < ARRAY_LEN(bc->threads) && bc->threads[t] != 0;
             t++)
            run_case(s, bc, ltm, bc->threads[t]);
    }
}

/* ---- the whole ---- */

/* Is every name in the list one of ours? Says which is not. */
static int check_cases(const char *list, bool *plain, bool *ltm)
{
    char name[40];

    *plain = list == NULL;
    *ltm = false;
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        bool one_ltm;

        snprintf(name, sizeof(name), "%.*s", (int)len, list);
        if (bench_case_find(name, &one_ltm) == NULL)
            return say_usage("bench store", "--cases %s: there is no such case",
                             name);
        *plain |= !one_ltm;
        *ltm |= one_ltm;
        list += len + (list[len] == ',');
    }
    return -1;
}

static int check_engines(const char *list)
{
    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        bool known = false;

        for (size_t e = 0; e < NENGINES; e++)
            known |= strlen(engines[e]->name) == len &&
                     strncmp(engines[e]->name, list, len) == 0;
        if (!known)
            return say_usage("bench store",
                             "--engines %.*s: there is no such engine",
                             (int)len, list);
        list += len + (list[len] == ',');
    }
    return -1;
}

/* The directories, and whose turn it is. */
static int prepare(struct state *s)
{
    const char *dir = s->p.dir;
    char text[1024];

    if (dir == NULL)
        dir = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    if (s->p.keep
            ? asprintf(&s->root, "%s/quire-bench", dir) < 0
            : asprintf(&s->root, "%s/quire-bench-%d", dir, (int)getpid()) < 0) {
        s->root = NULL;
        return -1;
    }
    if (mkdir(s->root, 0755) != 0 && (errno != EEXIST || !s->p.keep)) {
        say("%s: %m", s->root);
        return -1;
    }
    if (stamp(s, text, sizeof(text)) >= (int)sizeof(text)) {
        say("--keys: the name is too long");
        return -1;
    }
    for (size_t e = 0; e < NENGINES; e++) {
        struct child *c = &s->child[e];

        if (!bench_chosen(s->p.engines, engines[e]->name) ||
            (s->p.engines == NULL && !s->p.peers && e > 0))
            continue;
        c->e = engines[e];
        if (asprintf(&c->dir, "%s/%s", s->root, c->e->name) < 0) {
            c->dir = NULL;
            return -1;
        }
        c->loaded = s->p.keep && stamp_fits(s, c);
        if ((!c->loaded && bench_remove_dir(c->dir) != 0) ||
            (mkdir(c->dir, 0755) != 0 && errno != EEXIST)) {
            say("%s: %m", c->dir);
            return -1;
        }
    }
    return 0;
}

static void finish(struct state *s)
{
    for (size_t e = 0; e < NENGINES; e++) {
        child_quit(s, &s->child[e]);
        free(s->child[e].dir);
    }
    if (s->root != NULL && !s->p.keep)
        (void)bench_remove_dir(s->root);
    free(s->root);
    bench_data_close(&s->data);
}

static int plan_and_print(struct state *s, bool plain, bool ltm)
{
    enum bench_values values = strcmp(s->p.values, "text") == 0 ? BENCH_TEXT
                                                                : BENCH_HALF;
    int status = EXIT_FAILED;

    if (stop_install() != 0 ||
        bench_data_make(s->p.keys, s->p.records, values,
                        (uint32_t)s->p.value_bytes, &s->data) != 0)
        return EXIT_FAILED;
    if (s->data.n < RECORDS_LEAST) {
        say("there are fewer than %u keys", RECORDS_LEAST);
        goto out;
    }
    if (prepare(s) != 0)
        goto out;
    bench_print_head(s->p.json, COLUMNS);
    if (plain)
        run_cases(s, false);
    for (size_t e = 0; ltm && e < NENGINES; e++) {
        struct child *c = &s->child[e];

        /* what the limited processes read is made by unlimited ones */
        if (c->e != NULL && !(c->e->cannot & BENCH_NO_READ)) {
            (void)child_ready(s, c, bench_case_find("get-random", &plain),
                              false);
            child_quit(s, c);
            drop_cached(c->dir);
        }
    }
    if (ltm)
        run_cases(s, true);
    status = s->failed ? EXIT_FAILED : EXIT_OK;
out:
    finish(s);
    if (s->failed)
        status = EXIT_FAILED;
    if (stop_signal() != 0)
        return EXIT_SIGNAL + stop_signal();
    return stdout_finish() == 0 ? status : EXIT_FAILED;
}

/* In a measuring process. */
static int work(const struct plan *p)
{
    struct bench_setup setup = { .dir = p->dir,
                                 .memory = p->memory,
                                 .limit = p->limit,
                                 .page_bytes = (uint32_t)p->page_bytes,
                                 .direct = p->direct };
    struct bench_data d = { 0 };
    int status = EXIT_FAILED;

    for (size_t e = 0; e < NENGINES; e++) {
        if (strcmp(engines[e]->name, p->engine) != 0 || p->dir == NULL ||
            bench_data_map((int)p->data_fd, &d) != 0)
            continue;
        setup.raw_bytes = d.raw_bytes;
        setup.value_bytes = d.value_bytes;
        status = bench_work(engines[e], &setup, &d);
        bench_data_close(&d);
    }
    return status;
}

int bench_store(int argc, char **argv)
{
    struct state s = { .p = { .keys = "dense",
                              .values = "half",
                              .order = "random",
                              .records = 0,
                              .batch = BATCH_DEFAULT,
                              .ms = 300,
                              .rounds = 7 } };
    struct plan *p = &s.p;
    const struct option options[] = {
        { "--cases", OPTION_TEXT, &p->cases, NULL },
        { "--engines", OPTION_TEXT, &p->engines, NULL },
        { "--peers", OPTION_FLAG, &p->peers, NULL },
        { "--records", OPTION_COUNT, &p->records, NULL },
        { "--keys", OPTION_TEXT, &p->keys, NULL },
        { "--values", OPTION_TEXT, &p->values, NULL },
        { "--value-bytes", OPTION_COUNT, &p->value_bytes, NULL },
        { "--order", OPTION_TEXT, &p->order, NULL },
        { "--batch", OPTION_COUNT, &p->batch, NULL },
        { "--threads", OPTION_COUNT, &p->threads, NULL },
        { "--seconds", OPTION_TIME, &p->ms, NULL },
        { "--rounds", OPTION_COUNT, &p->rounds, NULL },
        { "--memory", OPTION_SIZE, &p->memory, NULL },
        { "--page", OPTION_SIZE, &p->page_bytes, NULL },
        { "--direct", OPTION_FLAG, &p->direct, NULL },
        { "--dir", OPTION_TEXT, &p->dir, NULL },
        { "--keep", OPTION_FLAG, &p->keep, NULL },
        { "--json", OPTION_FLAG, &p->json, NULL },
        { "--engine", OPTION_TEXT, &p->engine, NULL }, /* our own children */
        { "--data-fd", OPTION_COUNT, &p->data_fd, NULL },
        { "--limit", OPTION_SIZE, &p->limit, NULL },
    };
    bool plain;
    bool ltm;
    int nargs;
    int rc = options_read("bench store", help, options, ARRAY_LEN(options),
                          argc, argv, &nargs);

    if (rc >= 0)
        return rc;
    if (p->engine != NULL)
        return work(p);
    if (nargs > 0)
        return say_usage("bench store", "%s: nothing is expected here",
                         argv[0]);
    rc = check_cases(p->cases, &plain, &ltm);
    if (rc < 0)
        rc = check_engines(p->engines);
    if (rc >= 0)
        return rc;
    if (strcmp(p->values, "half") != 0 && strcmp(p->values, "text") != 0)
        return say_usage("bench store", "--values %s: half or text", p->values);
    if (strcmp(p->order, "random") != 0 && strcmp(p->order, "sequential") != 0)
        return say_usage("bench store", "--order %s: random or sequential",
                         p->order);
    if (p->value_bytes == 0)
        p->value_bytes = strcmp(p->values, "text") == 0 ? 400 : 100;
    if (p->records == 0 &&
        (strcmp(p->keys, "dense") == 0 || strcmp(p->keys, "sparse") == 0))
        p->records = RECORDS_DEFAULT;
    if ((p->records != 0 && p->records < RECORDS_LEAST) ||
        p->value_bytes < BENCH_VALUE_MIN || p->value_bytes > BENCH_VALUE_MAX ||
        p->threads > BENCH_THREADS_MAX || p->ms == 0 || p->ms > 60000 ||
        p->rounds == 0 || p->rounds > ROUNDS_MAX || p->batch == 0 ||
        (p->page_bytes != 0 &&
         (p->page_bytes < QUIRE_PAGE_MIN || p->page_bytes > QUIRE_PAGE_MAX ||
          (p->page_bytes & (p->page_bytes - 1)) != 0)) ||
        (p->memory != 0 && p->memory < QUIRE_BUDGET_MIN))
        return say_usage("bench store", "an option is out of its range");
    return plan_and_print(&s, plain, ltm);
}
