/*
 * test_tools_feed.c - `quire load` with a thread that reads ahead: it does, says
 * and stores exactly what it does when reading and inserting take turns
 * (--threads 1), it never waits for input with records in hand, and it ends
 * when it should.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib_run.h"

static char dir[512];     /* of the test that runs */
static char db[600];      /* dir/t.quire */
static char file[600];    /* dir/in */
static char rejects[600]; /* dir/rejects */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(file, sizeof(file), dir, "in");
    test_path(rejects, sizeof(rejects), dir, "rejects");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

/* ---- random inputs ---- */

struct text {
    char *data;
    size_t len;
    size_t cap;
};

static void add(struct text *t, const void *data, size_t len)
{
    if (t->len + len + 1 > t->cap) {
        t->cap = 2 * (t->len + len + 1);
        t->data = realloc(t->data, t->cap);
        CHECK(t->data != NULL);
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

static void add_text(struct text *t, const char *text)
{
    add(t, text, strlen(text));
}

static void add_run(struct text *t, char c, size_t n)
{
    char piece[1024];

    memset(piece, c, sizeof(piece));
    for (; n > 0; n -= n < sizeof(piece) ? n : sizeof(piece))
        add(t, piece, n < sizeof(piece) ? n : sizeof(piece));
}

/* Mostly short; now and then about as long as a batch, or half of it. */
static size_t random_len(uint64_t *seed)
{
    static const size_t edges[] = { 65536, 131072, 65536 - 24, 131072 - 16 };

    if (test_rand_below(seed, 200) != 0)
        return (size_t)test_rand_below(seed, 300);
    return edges[test_rand_below(seed, ARRAY_LEN(edges))] - 20 +
           (size_t)test_rand_below(seed, 40);
}

/* What a random input is made of. */
struct kind {
    const char *format;
    const char *head;   /* of the input */
    const char *before; /* a record: before the key, behind it, at its end */
    const char *behind;
    const char *end;
    const char *tail;
    const char *broken[4]; /* records that are no good */
};

static const struct kind kinds[] = {
    { "csv",
      "k,v\n",
      "",
      ",",
      "\n",
      "",
      { "1,2,3\n", "\"a\"b,\n", ",x\n", "\n" } },
    { "csv", "k,v\r\n", "\"", "\",\"\n", "\"\r\n", "", { "only\r\n", "\r\n" } },
    { "tsv", "k\tv\n", "", "\t", "\n", "", { "1\n", "\tx\n", "a\tb\tc\n" } },
    { "ndjson",
      "",
      "{\"k\":",
      ",\"v\":\"",
      "\"}\n",
      "",
      { "{\n", "[]\n", "{\"v\":1}\n", "{\"k\":null}\n" } },
    { "json",
      "[\n",
      " {\"k\": ",
      ",\"v\":\"",
      "\"},\n",
      "{\"k\":0}]",
      { "7,\n", "{\"v\":[]},\n", "{\"k\":{}},\n" } },
    { "lines", "", "", " ", "\n", "", { "\n" } },
};

static void make_input(const struct kind *k, uint64_t *seed, struct text *t)
{
    uint64_t n = test_rand_below(seed, 6000);
    uint64_t range = 1 + test_rand_below(seed, 2 * n + 1);
    uint64_t odds = 2 + test_rand_below(seed, 2000);

    t->len = 0;
    add_text(t, k->head);
    for (uint64_t i = 0; i < n; i++) {
        char key[32];

        if (test_rand_below(seed, odds) == 0) {
            const char *broken = k->broken[test_rand_below(seed, 4)];

            if (broken != NULL)
                add_text(t, broken);
        }
        snprintf(key, sizeof(key), "%llu",
                 (unsigned long long)test_rand_below(seed, range));
        add_text(t, k->before);
        add_text(t, key);
        add_text(t, k->behind);
        add_run(t, (char)('a' + test_rand_below(seed, 26)), random_len(seed));
        add_text(t, k->end);
    }
    add_text(t, k->tail);
    /* Sometimes the input is cut, or has something foreign in it. */
    if (test_rand_below(seed, 6) == 0)
        t->len = (size_t)test_rand_below(seed, t->len + 1);
    if (test_rand_below(seed, 8) == 0 && t->len > 0)
        t->data[test_rand_below(seed, t->len)] = '"';
}

/* ---- the same either way ---- */

/* What a load has left behind. */
struct outcome {
    struct run load;
    struct run scan;
    struct run revisions; /* how many, and with which numbers */
    char *rejected;
    size_t rejected_len;
};

static void cut_from(char *text, const char *word)
{
    char *at = strstr(text, word);

    if (at != NULL)
        *at = '\0';
}

/* A slow load tells its progress, which is another one each time. */
static void cut_progress(char *text)
{
    char *at;

    while ((at = strstr(text, " MiB resident\n")) != NULL) {
        char *begin = at;
        char *end = strchr(at, '\n') + 1;

        while (begin > text && begin[-1] != '\n')
            begin--;
        memmove(begin, end, strlen(end) + 1);
    }
}

static void load_with(const char *threads, const char *const *args,
                      struct outcome *o)
{
    const char *all[32] = { "load",  "--db",      db,     "--threads",
                            threads, "--rejects", rejects };
    size_t n = 7;

    memset(o, 0, sizeof(*o));
    unlink(db);
    unlink(rejects);
    while (*args != NULL)
        all[n++] = *args++;
    all[n] = NULL;
    run_argv(&o->load, "", 0, all);
    /* Times and memory differ. */
    cut_from(o->load.out, "seconds: ");
    cut_from(o->load.err, "seconds: ");
    cut_progress(o->load.err);
    o->rejected = read_file(rejects, &o->rejected_len);
    if (access(db, F_OK) != 0)
        return;
    run(&o->scan, "scan", "--db", db, NULL);
    run(&o->revisions, "verify", "--db", db, NULL);
    CHECK_RUN(&o->revisions, 0);
}

static void outcome_free(struct outcome *o)
{
    run_free(&o->load);
    run_free(&o->scan);
    run_free(&o->revisions);
    free(o->rejected);
}

static void check_same_outcome(const struct outcome *a, const struct outcome *b)
{
    CHECK_EQ(a->load.status, b->load.status);
    CHECK_STR_EQ(a->load.err, b->load.err);
    CHECK_STR_EQ(a->load.out, b->load.out);
    CHECK_EQ(a->scan.status, b->scan.status);
    CHECK_EQ(a->scan.out_len, b->scan.out_len);
    if (a->scan.out_len > 0)
        CHECK_MEM_EQ(a->scan.out, b->scan.out, a->scan.out_len);
    CHECK_EQ(a->rejected_len, b->rejected_len);
    CHECK_MEM_EQ(a->rejected, b->rejected, a->rejected_len);
}

static void test_same_as_by_turns(void **state)
{
    static const char *const duplicates[] = { "replace", "keep", "error" };
    static const char *const every[] = { "170", "1000", "3000", "100000" };
    uint64_t seed = test_seed();
    uint64_t rounds = test_rounds(24);
    struct text t = { 0 };
    unsigned statuses[256] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < rounds; i++) {
        const struct kind *k = &kinds[i % ARRAY_LEN(kinds)];
        bool lines = strcmp(k->format, "lines") == 0;
        const char *args[16] = { "--format", k->format };
        struct outcome turns;
        struct outcome ahead;
        size_t n = 2;

        CHECK_CASE(k->format);
        make_input(k, &seed, &t);
        write_file(file, t.data, t.len);
        if (test_rand_below(&seed, 4) == 0 && !lines) {
            args[n++] = "--key-auto";
        } else if (!lines) {
            args[n++] = "--key";
            args[n++] = test_rand_below(&seed, 2) == 0 ? "k" : "k:int";
        }
        if (test_rand_below(&seed, 4) == 0 &&
            (lines || strcmp(args[2], "--key-auto") != 0)) {
            args[n++] = "--mirror";
        } else {
            args[n++] = "--commit-every";
            args[n++] = every[test_rand_below(&seed, ARRAY_LEN(every))];
            args[n++] = "--ack";
        }
        args[n++] = "--on-duplicate";
        args[n++] = duplicates[test_rand_below(&seed, 3)];
        if (test_rand_below(&seed, 4) == 0) {
            args[n++] = "--max-record";
            args[n++] = "70000";
        }
        args[n++] = file;
        if (test_rand_below(&seed, 4) == 0)
            args[n++] = file; /* several inputs, one thread each */
        args[n] = NULL;
        load_with("1", args, &turns);
        load_with("2", args, &ahead);
        check_same_outcome(&turns, &ahead);
        statuses[turns.load.status & 255]++;
        outcome_free(&turns);
        outcome_free(&ahead);
    }
    /* The inputs were of every sort. */
    if (rounds >= 24)
        CHECK(statuses[0] > 0 && statuses[1] > 0 && statuses[3] > 0);
    free(t.data);
}

/* The default begins by turns and goes on with a thread: nothing is lost or
 * done twice where they change over. */
static void test_change_over(void **state)
{
    struct text t = { 0 };
    struct outcome turns;
    struct outcome both;
    const char *args[] = { "--format", "csv", "--key", "k:int", file, NULL };

    (void)state;
    add_text(&t, "k,v\n");
    for (int i = 0; i < 60000; i++) {
        char line[32];

        snprintf(line, sizeof(line), "%d,%d\n", i, i * 7);
        add_text(&t, line);
        if (i % 1000 == 999)
            add_text(&t, "x,not a number\n");
    }
    write_file(file, t.data, t.len);
    load_with("1", args, &turns);
    CHECK_EQ(run_figure(&turns.load, "records loaded"), 60000);
    CHECK_EQ(run_figure(&turns.load, "records rejected"), 60);
    memset(&both, 0, sizeof(both));
    unlink(db);
    run(&both.load, "load", "--db", db, "--rejects", rejects, "--format", "csv",
        "--key", "k:int", file, NULL);
    cut_from(both.load.out, "seconds: ");
    both.rejected = read_file(rejects, &both.rejected_len);
    run(&both.scan, "scan", "--db", db, NULL);
    check_same_outcome(&turns, &both);
    outcome_free(&turns);
    outcome_free(&both);
    free(t.data);
}

/* ---- waiting for input ---- */

/* Each record is committed as it comes, though the input stays open. */
static void test_no_record_waits(void **state)
{
    struct running p;
    struct run r = { 0 };
    char line[64];

    (void)state;
    run_start(&p, "load", "--db", db, "--key", "k", "--commit-every", "1",
              "--ack", "--threads", "2", "-", NULL);
    run_feed(&p, "k,v\n", 4);
    for (int i = 1; i <= 50; i++) {
        char record[64];
        char want[64];

        snprintf(record, sizeof(record), "%d,v\n", i);
        snprintf(want, sizeof(want), "committed %d %d", i, i);
        run_feed(&p, record, strlen(record));
        CHECK(run_line(&p, line, sizeof(line)));
        CHECK_STR_EQ(line, want);
    }
    run_finish(&p, &r);
    CHECK_RUN(&r, 0);
    run_free(&r);
}

/* A load that fails while its input stays open and silent ends all the same. */
static void test_failure_ends_waiting(void **state)
{
    struct running p;
    struct run r = { 0 };
    char line[64];

    (void)state;
    run_start(&p, "load", "--db", db, "--key", "k", "--on-duplicate", "error",
              "--commit-every", "2", "--ack", "--threads", "2", "-", NULL);
    run_feed(&p, "k\n1\n2\n3\n2\n", 10);
    CHECK(run_line(&p, line, sizeof(line)));
    CHECK_STR_EQ(line, "committed 1 2");
    CHECK(!run_line(&p, line, sizeof(line))); /* it has ended */
    run_finish(&p, &r);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "standard input:5: the key 2 is there already");
    CHECK_SAYS(&r, "2 records in 1 revisions are committed, 1 after them");
    run_free(&r);
}

/* A signal ends a load that waits for its input, and one that never has to. */
static void test_signals(void **state)
{
    static const int signals[] = { SIGINT, SIGTERM };
    struct text t = { 0 };

    (void)state;
    for (int i = 0; i < 10000; i++) {
        char line[32];

        snprintf(line, sizeof(line), "%d,%d\n", i, i);
        add_text(&t, line);
    }
    for (size_t i = 0; i < 2 * ARRAY_LEN(signals); i++) {
        int number = signals[i / 2];
        bool silent = i % 2 == 0;
        struct running p;
        struct run r = { 0 };
        struct run verify = { 0 };
        char line[64];

        run_start(&p, "load", "--db", db, "--key-auto", "--ack",
                  "--commit-every", "100", "--threads", "2", "-", NULL);
        run_feed(&p, "a,b\n", 4);
        run_feed(&p, t.data, t.len);
        CHECK(run_line(&p, line, sizeof(line)));
        CHECK_STR_EQ(line, "committed 1 100");
        CHECK_EQ(kill(p.pid, number), 0);
        while (!silent && fcntl(p.in, F_GETFD) >= 0) {
            struct pollfd out = { .fd = p.in, .events = POLLOUT };
            int status;

            if (waitpid(p.pid, &status, WNOHANG | WNOWAIT) != 0)
                break;
            if (poll(&out, 1, 1) > 0 && (out.revents & POLLOUT) != 0 &&
                write(p.in, "1,2\n", 4) < 0)
                break;
        }
        while (run_line(&p, line, sizeof(line)))
            ;
        run_finish(&p, &r);
        CHECK_RUN(&r, 128 + number);
        CHECK_SAYS(&r, "stopped by signal");
        run(&verify, "verify", "--db", db, NULL);
        CHECK_RUN(&verify, 0);
        CHECK_EQ(run_figure(&verify, "records"),
                 run_figure(&r, "records committed"));
        CHECK_EQ(run_figure(&r, "records loaded"),
                 run_figure(&r, "records committed"));
        run_free(&verify);
        run_free(&r);
        unlink(db);
    }
    free(t.data);
}

/* ---- no thread ---- */

/* Run a load as a user who may have `nproc` threads. The exit status. */
static int load_limited(rlim_t nproc, const char *said)
{
    struct rlimit limit = { nproc, nproc };
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        int fd = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        int null = open("/dev/null", O_WRONLY);

        if (fd < 0 || null < 0 || dup2(fd, 2) < 0 || dup2(null, 1) < 0 ||
            setrlimit(RLIMIT_NPROC, &limit) != 0 || setgid(54321) != 0 ||
            setuid(54321) != 0)
            _exit(126);
        execl(test_program(), "quire", "load", "--db", db, "--key", "k",
              "--format", "csv", "--threads", "2", file, (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* However few threads there may be: a load fails and says why, or loads all;
 * and the reading one is not missed. */
static void test_no_thread(void **state)
{
    char said[600];
    bool by_turns = false;
    bool ahead = false;

    (void)state;
    if (geteuid() != 0) {
        print_message("SKIPPED: only root can become a user without threads\n");
        skip();
    }
    /* Every directory above it must be open to that user. */
    test_rmtree(dir);
    strcpy(dir, P_tmpdir "/quire-test-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    CHECK_EQ(chmod(dir, 0777), 0);
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(file, sizeof(file), dir, "in");
    test_path(said, sizeof(said), dir, "said");
    write_file(file, "k,v\n1,a\n2,b\n", 12);
    for (rlim_t n = 1; n < 32 && !ahead; n++) {
        struct run r = { 0 };
        int status = load_limited(n, said);
        size_t len;
        char *text;

        if (status == 126 || status == 127) {
            print_message("SKIPPED: another user can't run the program\n");
            skip();
        }
        text = read_file(said, &len);
        CHECK(status == 0 || (status == 1 && len > 0));
        if (status == 0) {
            by_turns |= strstr(text, "no thread could be started") != NULL;
            ahead = len == 0;
            run(&r, "scan", "--db", db, NULL);
            CHECK_RUN(&r, 0);
            CHECK_STR_EQ(r.out, "k,v\n1,a\n2,b\n");
        }
        free(text);
        run_free(&r);
        unlink(db);
    }
    CHECK(by_turns);
    CHECK(ahead);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_as_by_turns), TEST(test_change_over),
        TEST(test_no_record_waits),  TEST(test_failure_ends_waiting),
        TEST(test_signals),          TEST(test_no_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
