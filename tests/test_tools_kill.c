/*
 * test_tools_kill.c - a load killed by SIGKILL at any moment leaves a store
 * that opens, verifies, and holds every acknowledged commit and at most one
 * more, whole.
 *
 * Each round goes on with the store of the round before, so that recovered
 * stores are written to as well; every few rounds begin anew. The load is fed
 * through a pipe and killed after a random number of acknowledgements and a
 * random number of further bytes: that is what makes the moment random, no
 * clock. QUIRE_CRASH=long makes 200 rounds of 10.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tests/lib_run.h"

enum {
    BATCH = 200,  /* records a commit */
    BATCHES = 40, /* commits in a whole load */
    ROUNDS = 10,
    ROUNDS_LONG = 200,
    ROUNDS_A_STORE = 5, /* then a new one */
};

/* The input: records i = 0, 1, ... with key i * 7919 mod 2^20, so that they
 * land all over the tree, and a value that tells the key. */
static size_t put_record(char *to, uint64_t i)
{
    uint64_t key = i * 7919 % (1 << 20);
    int n = sprintf(to, "%llu,", (unsigned long long)key);

    for (uint64_t k = 0; k < 3 + key % 30; k++)
        n += sprintf(to + n, "%llx", (unsigned long long)(key * 31 + k));
    to[n++] = '\n';
    return (size_t)n;
}

static char *make_input(uint64_t first, size_t n, size_t *len)
{
    char *in = malloc(n * 400 + 64);
    size_t at;

    CHECK(in != NULL);
    at = (size_t)sprintf(in, "k,v\n");
    for (size_t i = 0; i < n; i++)
        at += put_record(in + at, first + i);
    *len = at;
    return in;
}

/* The line after the one at `p`; the output's end after the last. */
static const char *next_line(const struct run *r, const char *p)
{
    const char *end = r->out + r->out_len;
    const char *eol = memchr(p, '\n', (size_t)(end - p));

    return eol != NULL ? eol + 1 : end;
}

/* The store holds `nrecords`, each of them whole. */
static void check_contents(const char *db, uint64_t nrecords)
{
    struct run r = { 0 };
    char *seen = calloc(1 << 20, 1);
    char want[512];
    uint64_t n = 0;
    const char *p;

    CHECK(seen != NULL);
    run(&r, "scan", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK(strncmp(r.out, "k,v\n", 4) == 0 || nrecords == 0);
    for (p = r.out; p < r.out + r.out_len; p = next_line(&r, p)) {
        if (*p != 'k')
            seen[run_number(p) % (1 << 20)] = 1;
    }
    /* 7919 is odd, so that the first 2^20 keys are all different. */
    for (uint64_t i = 0; i < nrecords; i++) {
        n += (uint64_t)seen[i * 7919 % (1 << 20)];
    }
    CHECK_EQ(n, nrecords);
    n = 0;
    for (p = r.out; p < r.out + r.out_len; p = next_line(&r, p)) {
        uint64_t key;
        size_t len;

        if (*p == 'k')
            continue;
        key = run_number(p);
        /* 7919 * 315407 = 1 mod 2^20 */
        len = put_record(want, key * 315407 % (1 << 20));
        CHECK_MEM_EQ(p, want, len);
        n++;
    }
    CHECK_EQ(n, nrecords);
    free(seen);
    run_free(&r);
}

/* One round: load on from record *done, kill, check; *done is then how many
 * records the store holds. */
static void kill_round(const char *db, uint64_t *rnd, uint64_t *done,
                       uint64_t *revisions)
{
    size_t len;
    char *in = make_input(*done, BATCH * BATCHES, &len);
    uint64_t wait_for = test_rand_below(rnd, BATCHES);
    size_t feed = test_rand_below(rnd, len);
    uint64_t acked = 0;
    uint64_t acked_rev = *revisions;
    struct running p;
    struct run r = { 0 };
    char line[128];
    char *input;
    char every[16];
    uint64_t n;
    uint64_t revs;

    /* The input is a file, so that the load runs at full speed; how far it
     * gets is told by its acknowledgements. */
    input = malloc(strlen(db) + 8);
    CHECK(input != NULL);
    sprintf(input, "%s.csv", db);
    write_file(input, in, len);
    snprintf(every, sizeof(every), "%d", BATCH);
    run_start(&p, "load", "--db", db, "--memory", "8M", "--key", "k:int",
              "--commit-every", every, "--ack", input, "-", NULL);
    while (acked / BATCH < wait_for && run_line(&p, line, sizeof(line))) {
        unsigned long long rev;
        unsigned long long records;

        CHECK_EQ(sscanf(line, "committed %llu %llu", &rev, &records), 2);
        CHECK_EQ(rev, acked_rev + 1);
        CHECK_EQ(records, acked + BATCH);
        acked_rev = rev;
        acked = records;
    }
    /* Let it go on for as long as it takes to spin `feed` times: a delay
     * that no test depends on, only the place of the kill. */
    for (volatile size_t i = 0; i < feed; i++) {
    }
    CHECK_EQ(kill(p.pid, SIGKILL), 0);
    while (run_line(&p, line, sizeof(line))) {
        unsigned long long rev;
        unsigned long long records;

        CHECK_EQ(sscanf(line, "committed %llu %llu", &rev, &records), 2);
        acked_rev = rev;
        acked = records;
    }
    run_finish(&p, &r);
    CHECK_RUN(&r, 128 + SIGKILL);

    /* Killed before the store was made, it may not be there. */
    if (acked == 0 && *done == 0 && access(db, F_OK) != 0)
        goto out;
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "faults"), 0);
    n = run_figure(&r, "records");
    revs = run_figure(&r, "revisions");
    CHECK(revs == acked_rev || revs == acked_rev + 1);
    CHECK_EQ(n, *done + (revs - *revisions) * BATCH);
    check_contents(db, n);
    *done = n;
    *revisions = revs;

out:
    unlink(input);
    free(input);
    free(in);
    run_free(&r);
}

static void test_kill(void **state)
{
    const char *crash = getenv("QUIRE_CRASH");
    uint64_t rounds = crash != NULL && strcmp(crash, "long") == 0
                          ? ROUNDS_LONG
                          : test_rounds(ROUNDS);
    uint64_t rnd = test_seed();
    uint64_t done = 0;
    uint64_t revisions = 0;
    char dir[512];
    char db[600];

    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    for (uint64_t i = 0; i < rounds; i++) {
        if (i % ROUNDS_A_STORE == 0) {
            test_rmtree(dir);
            test_tmpdir(dir, sizeof(dir));
            test_path(db, sizeof(db), dir, "t.quire");
            done = 0;
            revisions = 0;
        }
        kill_round(db, &rnd, &done, &revisions);
    }
    test_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
