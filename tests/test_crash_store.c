/*
 * test_crash_store.c - crash states of the traces of lib_trace.c.
 *
 * 2,500 states; 20,000 with QUIRE_CRASH=long, and then, for each trace, also
 * all subsets of few sectors, or samples of many, at each sync. The last tests
 * doubt the tests: when syncs are lies, the same checks must fail.
 */
#include <inttypes.h>

#include "tests/frozen.h"
#include "tests/lib_trace.h"
#include "tests/test.h"

static bool crash_long(void)
{
    const char *s = getenv("QUIRE_CRASH");

    return s != NULL && strcmp(s, "long") == 0;
}

static void test_crash_states(void **state)
{
    uint64_t seed = test_seed();
    /* Where tests are slow the traces alone take long enough. */
    bool slow = test_rounds(64) < 64;
    uint64_t want = slow ? 250 : crash_long() ? 20000 : 2500;
    uint64_t states = 0;
    uint64_t again = 0;
    uint64_t olds = 0;
    unsigned weights = 0;

    (void)state;
    for (size_t i = 0; i < trace_ntable; i++)
        weights += trace_table[i].weight;
    for (size_t i = 0; i < trace_ntable; i++) {
        struct crash_plan plan = { .seed = seed + i,
                                   .exhaustive = crash_long() || i == 0 };
        struct trace_verdict judge = { .rand = seed + i };
        struct crash_figures fig;
        struct trace_run run;

        CHECK_CASE(trace_table[i].name);
        plan.nstates = want * trace_table[i].weight / weights + 1;
        trace_run(&run, &trace_table[i], seed + i);
        judge.run = &run;
        plan.first = run.first;
        fig = crash_rec_figures(run.rec);
        crash_states(run.rec, &plan, trace_judge, &judge);
        print_message("crash: %-31s %3" PRIu64 " revisions, %4" PRIu64
                      " writes, %3" PRIu64 " syncs, %8" PRIu64
                      " bytes: %5" PRIu64 " states, %4" PRIu64
                      " of a second crash, %" PRIu64 " lost, %" PRIu64
                      " broken\n",
                      trace_table[i].name, run.twin.published, fig.writes,
                      fig.syncs, fig.written_bytes, judge.states, judge.again,
                      judge.lost, judge.broken);
        if (judge.lost + judge.broken > 0)
            print_error("%s\n", judge.first);
        CHECK_EQ(judge.lost + judge.broken, 0);
        /* These are there for their superblocks: the first of a session
         * rewrites the older one before. */
        if (trace_table[i].before > 0)
            CHECK(fig.head_writes >= 2);
        if (trace_table[i].focus > 0)
            CHECK(fig.head_writes >= 4);
        CHECK_EQ(run.nghosts > 0, trace_table[i].full_disk > 0);
        states += judge.states;
        again += judge.again;
        olds += judge.olds;
        trace_end(&run);
    }
    print_message("crash: %" PRIu64 " states, %" PRIu64
                  " of a second crash, %" PRIu64 " older revisions compared\n",
                  states, again, olds);
    CHECK(states >= want);
    CHECK(again > 0 || want < 500);
}

/* Judge `trace` under a plan that takes syncs for lies. */
static struct trace_verdict judge_lies(const struct trace *trace,
                                       enum crash_lie lie, uint64_t nstates)
{
    uint64_t seed = test_seed();
    struct crash_plan plan = { .seed = seed,
                               .nstates = nstates,
                               .exhaustive = lie == CRASH_LIE_EARLY,
                               .lie = lie };
    struct trace_verdict judge = { .rand = seed, .once = true };
    struct trace_run run;

    trace_run(&run, trace, seed);
    judge.run = &run;
    crash_states(run.rec, &plan, trace_judge, &judge);
    print_message("crash: lies, %-20s %4" PRIu64 " states, %" PRIu64
                  " lost, %" PRIu64 " broken; the first:\n    %s\n",
                  trace->name, judge.states, judge.lost, judge.broken,
                  judge.first);
    trace_end(&run);
    return judge;
}

/* A disk that drops what was synced is noticed. */
static void test_dropped_syncs_are_noticed(void **state)
{
    struct trace_verdict j = judge_lies(trace_named("one record each"),
                                        CRASH_LIE_ALL, 60);

    (void)state;
    CHECK(j.lost > 0);
    CHECK(j.lost + j.broken > j.states / 4);
}

/* So is one on which the record comes before what was written ahead of it:
 * nothing acknowledged is lost, but the newest revision is not whole. */
static void test_record_before_data_is_noticed(void **state)
{
    static const struct trace trace = {
        .name = "record before data",
        .page_bytes = 4096,
        .window = 4,
        .commits = 3,
        .puts = 2,
        .val_max = 300,
        .ahead = 2600,
    };
    struct trace_verdict j = judge_lies(&trace, CRASH_LIE_EARLY, 200);

    (void)state;
    CHECK(j.broken > 0);
}

/* Equal seeds give equal recordings, whatever the threads do. */
static void test_recordings_repeat(void **state)
{
    uint64_t seed = test_seed();

    (void)state;
    for (size_t i = 0; i < trace_ntable; i++) {
        uint64_t digest[2];

        if (!trace_table[i].background && trace_table[i].threads == 0 && i > 2)
            continue;
        if (test_rounds(64) < 64 && i % 4 != 0)
            continue;
        CHECK_CASE(trace_table[i].name);
        for (unsigned k = 0; k < 2; k++) {
            struct trace_run run;

            trace_run(&run, &trace_table[i], seed);
            digest[k] = crash_rec_digest(run.rec);
            trace_end(&run);
        }
        CHECK_EQ(digest[0], digest[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_states),
        cmocka_unit_test(test_recordings_repeat),
        cmocka_unit_test(test_dropped_syncs_are_noticed),
        cmocka_unit_test(test_record_before_data_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
