/*
 * test_crash_broken.c - the judge of crash states is itself judged.
 *
 * Each row turns one fault of alloc/broken.h on: a promise of the commit's or
 * of recovery's order is broken on purpose. A trace is run and its crash states
 * are judged under it, until one is found guilty. A fault that is not noticed
 * fails. That the same traces are innocent without one is test_crash_store's.
 * A fragment's checksum is about damage, and test_corrupt's.
 */
#include <inttypes.h>

#include "alloc/broken.h"
#include "tests/frozen.h"
#include "tests/lib_trace.h"
#include "tests/test.h"

#define SLICE 10u /* states that are judged before one looks */

#if QUIRE_DEBUG >= 1

static const struct {
    enum ra_broken what;
    const char *name;
    const char *trace;
    unsigned most; /* states */
} faults[] = {
    { RA_BROKEN_NO_SYNC, "no sync", "one record each", 400 },
    { RA_BROKEN_RECORD_FIRST, "record before data",
      "full pages of 32 KiB, un-synced", 400 },
    { RA_BROKEN_AHEAD_LATE, "written ahead, not synced before the record",
      "ahead, increments, un-synced", 2000 },
    { RA_BROKEN_SUPER_EARLY, "superblock before its revision is durable",
      "second superblock", 2000 },
    { RA_BROKEN_SUPER_INPLACE, "superblock written in place",
      "second superblock", 2000 },
    { RA_BROKEN_SUPER_ONE, "superblocks in one slot", "second superblock",
      2000 },
    { RA_BROKEN_BATCH_SUM, "checksum of a batch not looked at",
      "pages of 8 KiB, window 3", 2000 },
    { RA_BROKEN_TAIL_KEPT, "tail not rewritten after recovery", "failing syncs",
      2000 },
    { RA_BROKEN_TAIL_UNSYNCED, "rewritten tail not synced", "failing syncs",
      2000 },
    { RA_BROKEN_INCARNATION, "incarnation not raised by recovery",
      "the same again", 2000 },
    { RA_BROKEN_NO_KILL, "failed batch left on disk", "full disk", 2000 },
    { RA_BROKEN_NO_POISON, "failed sync tried again", "failing syncs", 2000 },
    { RA_BROKEN_SYNC_LATE, "what is written during a sync counted as synced",
      "threads", 400 },
};

/* Judge slices of states of a run until one is guilty. */
static void judge_until(const struct trace *tr, uint64_t seed, unsigned most,
                        struct trace_verdict *v)
{
    struct crash_plan plan = { .nstates = SLICE };
    struct trace_run run;

    trace_run(&run, tr, seed);
    v->run = &run;
    v->rand = seed;
    plan.first = run.first;
    plan.seed = seed;
    while (v->states < most && v->lost + v->broken == 0) {
        crash_states(run.rec, &plan, trace_judge, v);
        plan.seed++;
    }
    trace_end(&run);
}

static void test_broken_orders_are_noticed(void **state)
{
    uint64_t seed = test_seed();
    unsigned missed = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        const struct trace *tr = trace_named(faults[i].trace);
        struct trace_verdict v = { 0 };

        CHECK_CASE(faults[i].name);
        /* relaxed: no store is open */
        atomic_store_explicit(&ra_broken_now, faults[i].what,
                              memory_order_relaxed);
        judge_until(tr, seed, faults[i].most, &v);
        atomic_store_explicit(&ra_broken_now, RA_BROKEN_NONE,
                              memory_order_relaxed);
        print_message("broken: %-47s %s %4" PRIu64 " states, %3" PRIu64
                      " lost, %3" PRIu64 " broken\n",
                      faults[i].name,
                      v.lost + v.broken > 0 ? "noticed in" : "MISSED in ",
                      v.states, v.lost, v.broken);
        print_message("    %.230s\n", v.first);
        missed += v.lost + v.broken == 0;
    }
    CHECK_EQ(missed, 0);
}

#else /* a release build has no faults to turn on */

static void test_broken_orders_are_noticed(void **state)
{
    (void)state;
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_orders_are_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
