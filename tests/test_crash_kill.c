/*
 * test_crash_kill.c - several threads commit, and are killed by SIGKILL at any
 * moment.
 *
 * The program starts itself again as a *committer*: threads that commit to one
 * store as fast as they can, synced and not, and tell each commit that has
 * returned through a pipe. It is killed after a random number of these and a
 * random number of turns of an empty loop, on which nothing depends but the
 * moment. What must then be in the store:
 *
 *   - it opens and verifies;
 *   - each commit that was told, under its revision, and of each thread at most
 *     one more: nothing that returned is lost to a kill, not even un-synced;
 *   - of each commit all records and of none a part: the n-th of a thread
 *     changes its counter to n, puts records that follow from both, and removes
 *     those of the one before.
 *
 * Each round goes on with the store of the round before; every few rounds begin
 * anew. QUIRE_CRASH=long makes 200 rounds of 20.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

extern char **environ;

enum {
    ROUNDS = 20,
    ROUNDS_LONG = 200,
    ROUNDS_A_STORE = 5,
    THREADS_MAX = 8,
    ACKS_MAX = 60, /* that are waited for before the kill */
    SPINS_MAX = 3000000,
    RECORDS = 5,     /* of a commit */
    MANY = 3000,     /* of a commit that is larger than its share of memory */
    MANY_EVERY = 16, /* commits */
};

/* What a committer tells; written at once, so never mixed. */
struct ack {
    uint64_t thread;
    uint64_t n;
    uint64_t rev;
};

/* ---- what a commit holds ---- */

static struct quire_val counter_key(unsigned thread, char buf[32])
{
    struct quire_val key = { buf, 0 };

    key.size = (size_t)sprintf(buf, "counter/%u", thread);
    return key;
}

static struct quire_val record_key(unsigned thread, uint64_t n, unsigned i,
                                   char buf[64])
{
    struct quire_val key = { buf, 0 };

    key.size = (size_t)sprintf(buf, "record/%u/%04u/%" PRIu64, thread, i, n);
    return key;
}

static unsigned record_count(bool many, uint64_t n)
{
    return many && n % MANY_EVERY == 0 ? MANY : RECORDS;
}

/* The value follows from the key alone. */
static struct quire_val record_value(unsigned thread, uint64_t n, unsigned i,
                                     char buf[2048])
{
    uint64_t seed = (uint64_t)thread << 48 ^ n << 16 ^ i;
    struct quire_val val = { buf, 0 };

    val.size = (size_t)test_rand_below(&seed, 1700);
    for (size_t k = 0; k < val.size; k += 8) {
        uint64_t x = test_rand(&seed);

        memcpy(buf + k, &x, 8);
    }
    return val;
}

/* ---- the committer ---- */

static struct {
    struct quire *db;
    int out;
    unsigned threads;
    bool many;
    bool nosync;
} committer;

static void committer_must(quire_status rc, const char *what)
{
    if (rc == QUIRE_OK)
        return;
    fprintf(stderr, "committer: %s: %d, %s\n", what, (int)rc,
            quire_error_detail());
    _exit(3);
}

/* The counter of `thread`; 0: it has not committed. */
static uint64_t counter_get(struct quire_txn *txn, unsigned thread,
                            quire_status *rc)
{
    char buf[32];
    struct quire_val key = counter_key(thread, buf);
    struct quire_val val;
    uint64_t n = 0;

    *rc = quire_get(txn, NULL, &key, &val);
    if (*rc == QUIRE_OK)
        memcpy(&n, val.data, sizeof(n));
    if (*rc == QUIRE_NOTFOUND)
        *rc = QUIRE_OK;
    return n;
}

static quire_rev committer_commit(unsigned thread, uint64_t *n)
{
    char kbuf[64];
    char vbuf[2048];
    struct quire_txn *txn = NULL;
    struct quire_val key;
    struct quire_val val;
    quire_rev rev = 0;
    quire_status rc;

    committer_must(quire_begin(committer.db, QUIRE_WRITE, &txn), "begin");
    *n = counter_get(txn, thread, &rc) + 1;
    committer_must(rc, "get");
    for (unsigned i = 0; i < record_count(committer.many, *n - 1); i++) {
        key = record_key(thread, *n - 1, i, kbuf);
        rc = quire_del(txn, NULL, &key);
        if (*n > 1)
            committer_must(rc, "del");
    }
    for (unsigned i = 0; i < record_count(committer.many, *n); i++) {
        key = record_key(thread, *n, i, kbuf);
        val = record_value(thread, *n, i, vbuf);
        committer_must(quire_put(txn, NULL, &key, &val, 0), "put");
    }
    key = counter_key(thread, kbuf);
    val = (struct quire_val){ n, sizeof(*n) };
    committer_must(quire_put(txn, NULL, &key, &val, 0), "count");
    rc = quire_commit(txn, committer.nosync && *n % 3 != 0 ? QUIRE_NOSYNC : 0,
                      &rev);
    committer_must(rc, "commit");
    return rev;
}

static void *committer_thread(void *arg)
{
    struct ack ack = { .thread = (uint64_t)(uintptr_t)arg };

    for (;;) {
        ack.rev = committer_commit((unsigned)ack.thread, &ack.n);
        if (write(committer.out, &ack, sizeof(ack)) != sizeof(ack))
            _exit(4);
    }
    return NULL;
}

/* Never returns but by a signal or a failure. */
static int committer_main(char **argv)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .budget_bytes = QUIRE_BUDGET_MIN };
    pthread_t thread[THREADS_MAX];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    committer.out = STDOUT_FILENO;
    committer.threads = (unsigned)atoi(argv[3]);
    committer.many = argv[4][0] == 'm';
    committer.nosync = argv[5][0] == 'n';
    committer_must(quire_open(argv[2], &opt, &committer.db), "open");
    for (unsigned i = 0; i < committer.threads; i++)
        if (pthread_create(&thread[i], NULL, committer_thread,
                           (void *)(uintptr_t)i) != 0)
            return 5;
    for (unsigned i = 0; i < committer.threads; i++)
        pthread_join(thread[i], NULL);
    return 6;
}

/* ---- the killer ---- */

static const char *program;

struct round {
    const char *db;
    unsigned threads;
    bool many; /* of the whole store: what a commit holds follows from it */
    bool nosync;
    uint64_t n[THREADS_MAX];   /* of each thread's last commit that was told */
    quire_rev rev;             /* the newest that was told */
    struct ack acks[ACKS_MAX]; /* the last ones, in a ring */
    uint64_t nacks;
};

static pid_t round_start(const struct round *r, int *out)
{
    char threads[16];
    char *const argv[] = { (char *)(uintptr_t)program,
                           (char *)(uintptr_t) "committer",
                           (char *)(uintptr_t)r->db,
                           threads,
                           (char *)(uintptr_t)(r->many ? "many" : "few"),
                           (char *)(uintptr_t)(r->nosync ? "nosync" : "sync"),
                           NULL };
    posix_spawn_file_actions_t actions;
    int fds[2];
    pid_t pid;

    snprintf(threads, sizeof(threads), "%u", r->threads);
    CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
    CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
    CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO),
             0);
    CHECK_EQ(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    *out = fds[0];
    return pid;
}

/* Take one more commit that was told; false at the end. */
static bool round_ack(struct round *r, int out)
{
    struct ack ack;
    size_t got = 0;

    while (got < sizeof(ack)) {
        ssize_t n = read(out, (char *)&ack + got, sizeof(ack) - got);

        if (n < 0 && errno == EINTR)
            continue;
        CHECK(n >= 0);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    CHECK(got == 0 || got == sizeof(ack));
    if (got == 0)
        return false;
    CHECK(ack.thread < r->threads);
    CHECK_EQ(ack.n, r->n[ack.thread] + 1);
    r->n[ack.thread] = ack.n;
    if (ack.rev > r->rev)
        r->rev = ack.rev;
    r->acks[r->nacks++ % ACKS_MAX] = ack;
    return true;
}

static void round_kill(struct round *r, uint64_t *rand)
{
    uint64_t acks = test_rand_below(rand, ACKS_MAX);
    uint64_t spins = test_rand_below(rand, SPINS_MAX);
    int status = 0;
    int out;
    pid_t pid = round_start(r, &out);

    while (r->nacks < acks && round_ack(r, out)) {
    }
    for (volatile uint64_t i = 0; i < spins; i++) {
    }
    CHECK_EQ(kill(pid, SIGKILL), 0);
    while (round_ack(r, out)) {
    }
    close(out);
    while (waitpid(pid, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The records of `thread` are those of its n-th commit; returns their number. */
static uint64_t round_records(const struct round *r, struct quire_txn *txn,
                              unsigned thread, uint64_t n)
{
    unsigned count = n > 0 ? record_count(r->many, n) : 0;

    for (unsigned i = 0; i < count; i++) {
        char kbuf[64];
        char vbuf[2048];
        struct quire_val key = record_key(thread, n, i, kbuf);
        struct quire_val want = record_value(thread, n, i, vbuf);
        struct quire_val val;

        CHECK_OK(quire_get(txn, NULL, &key, &val));
        CHECK_EQ(val.size, want.size);
        CHECK_MEM_EQ(val.data, want.data, want.size);
    }
    return count;
}

/* What was told is there, under its revision. */
static void round_check_acks(const struct round *r, struct quire *db)
{
    uint64_t n = r->nacks < ACKS_MAX ? r->nacks : ACKS_MAX;

    for (uint64_t i = 0; i < n; i++) {
        struct quire_txn *txn = NULL;
        quire_status rc;

        CHECK_OK(quire_begin_at(db, r->acks[i].rev, &txn));
        CHECK_EQ(counter_get(txn, (unsigned)r->acks[i].thread, &rc),
                 r->acks[i].n);
        CHECK_OK(rc);
        quire_abort(txn);
    }
}

/* Returns how many commits there are that were not told. */
static uint64_t round_check(struct round *r)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .budget_bytes = QUIRE_BUDGET_MIN };
    struct quire_txn *txn = NULL;
    struct quire *db = NULL;
    uint64_t before = 0;
    uint64_t total = 0;
    uint64_t records = 0;
    uint64_t count = 0;
    quire_rev newest = 0;

    for (unsigned t = 0; t < THREADS_MAX; t++)
        before += r->n[t];
    CHECK_OK(quire_open(r->db, &opt, &db));
    CHECK_OK(quire_rev_newest(db, &newest));
    CHECK(newest >= r->rev);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    for (unsigned t = 0; t < THREADS_MAX; t++) {
        quire_status rc;
        uint64_t n = counter_get(txn, t, &rc);

        CHECK_OK(rc);
        CHECK(n == r->n[t] || (n == r->n[t] + 1 && t < r->threads));
        records += round_records(r, txn, t, n) + (n > 0);
        total += n;
        r->n[t] = n;
    }
    CHECK_EQ(total, newest);
    CHECK_OK(quire_tree_count(txn, NULL, &count));
    CHECK_EQ(count, records);
    quire_abort(txn);
    round_check_acks(r, db);
    CHECK_OK(quire_close(db));
    r->rev = newest;
    r->nacks = 0;
    return total - before;
}

static void test_kill(void **state)
{
    const char *crash = getenv("QUIRE_CRASH");
    uint64_t rounds = crash != NULL && strcmp(crash, "long") == 0
                          ? ROUNDS_LONG
                          : test_rounds(ROUNDS);
    uint64_t rand = test_seed();
    uint64_t untold = 0;
    uint64_t told = 0;
    uint64_t kills = 0;
    struct round r = { 0 };
    char dir[512];
    char db[600];

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    for (uint64_t i = 0; i < rounds; i++) {
        static const unsigned threads[] = { 4, 1, 8, 2, 3 };

        if (i % ROUNDS_A_STORE == 0) {
            test_rmtree(dir);
            test_tmpdir(dir, sizeof(dir));
            test_path(db, sizeof(db), dir, "t.quire");
            memset(&r, 0, sizeof(r));
            r.db = db;
            r.many = i / ROUNDS_A_STORE % 2 == 1;
        }
        r.threads = threads[i % ARRAY_LEN(threads)];
        r.nosync = test_rand_below(&rand, 2) == 0;
        round_kill(&r, &rand);
        told += r.nacks;
        kills++;
        /* Killed before the store was made, it may not be there. */
        if (r.rev > 0 || access(db, F_OK) == 0)
            untold += round_check(&r);
    }
    test_rmtree(dir);
    print_message("kill: %" PRIu64 " kills, %" PRIu64 " commits told, %" PRIu64
                  " more found whole\n",
                  kills, told, untold);
    CHECK(told > 0 && kills == rounds);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
    };

    program = argv[0];
    if (argc == 6 && strcmp(argv[1], "committer") == 0)
        return committer_main(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
