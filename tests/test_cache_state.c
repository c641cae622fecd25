/*
 * The state word of a frame: which transition is allowed from where, and what
 * it gives. All words that can occur are rows of the tables.
 */
#include "cache/pc_impl.h"
#include "tests/test.h"

#define NOT UINT64_MAX /* the transition is refused */
#define CAUSE(c) ((pc_state)(c) << PC_ST_CAUSE_SHIFT)
#define EVICTED CAUSE(QUIRE_CAUSE_EVICTED)
#define REMOVED CAUSE(QUIRE_CAUSE_REMOVED)
#define CLOSED CAUSE(QUIRE_CAUSE_CLOSED)

static const struct row {
    const char *name;
    pc_state word;
    bool resident;
    pc_state pin;      /* by one who will not wait */
    pc_state pin_wait; /* by one who will */
    pc_state unpin;
    pc_state detach;      /* REMOVED */
    pc_state detach_idle; /* CLOSED, only if unpinned */
} rows[] = {
    { "unpinned", 0, true, 1, 1, NOT, PC_ST_ORPHAN | REMOVED | 1,
      PC_ST_ORPHAN | CLOSED | 1 },
    { "pinned once", 1, true, 2, 2, 0, PC_ST_ORPHAN | REMOVED | 2, NOT },
    { "pinned more often than 32 bits count", UINT64_C(1) << 32, true,
      (UINT64_C(1) << 32) + 1, (UINT64_C(1) << 32) + 1, UINT32_MAX,
      PC_ST_ORPHAN | REMOVED | ((UINT64_C(1) << 32) + 1), NOT },
    { "loading", PC_ST_LOADING | 1, false, NOT, PC_ST_LOADING | 2,
      PC_ST_LOADING, PC_ST_LOADING | PC_ST_ORPHAN | REMOVED | 2, NOT },
    { "loading, removed", PC_ST_LOADING | PC_ST_ORPHAN | REMOVED | 2, false,
      NOT, NOT, PC_ST_LOADING | PC_ST_ORPHAN | REMOVED | 1, NOT, NOT },
    { "orphan with two pins", PC_ST_ORPHAN | CLOSED | 2, false, NOT, NOT,
      PC_ST_ORPHAN | CLOSED | 1, NOT, NOT },
    { "orphan with its last pin", PC_ST_ORPHAN | REMOVED | 1, false, NOT, NOT,
      PC_ST_LIMBO | REMOVED, NOT, NOT },
    { "failed load with its last pin", PC_ST_ORPHAN | PC_ST_FAILED | 1, false,
      NOT, NOT, PC_ST_LIMBO | PC_ST_FAILED, NOT, NOT },
    { "limbo", PC_ST_LIMBO | EVICTED, false, NOT, NOT, NOT, NOT, NOT },
    { "free", PC_ST_FREE, false, NOT, NOT, NOT, NOT, NOT },
};

static void check_step(bool done, pc_state next, pc_state want)
{
    CHECK_EQ(done, want != NOT);
    CHECK_EQ(next, want); /* untouched when refused */
}

static void test_transitions(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        pc_state next = NOT;
        bool done;

        CHECK_CASE(r->name);
        CHECK_EQ(pc_state_resident(r->word), r->resident);
        done = pc_state_pin(r->word, false, &next);
        check_step(done, next, r->pin);
        next = NOT;
        done = pc_state_pin(r->word, true, &next);
        check_step(done, next, r->pin_wait);
        next = NOT;
        done = pc_state_unpin(r->word, &next);
        check_step(done, next, r->unpin);
        next = NOT;
        done = pc_state_detach(r->word, QUIRE_CAUSE_REMOVED, false, &next);
        check_step(done, next, r->detach);
        next = NOT;
        done = pc_state_detach(r->word, QUIRE_CAUSE_CLOSED, true, &next);
        check_step(done, next, r->detach_idle);
    }
}

/* The cause survives whatever pins do until the page has left. */
static void test_cause_is_kept(void **state)
{
    (void)state;
    for (unsigned cause = 0; cause < PC_NCAUSES; cause++) {
        pc_state s = 3;

        CHECK(pc_state_detach(s, (enum quire_cause)cause, false, &s));
        for (unsigned pins = 4; pins > 0; pins--) {
            CHECK_EQ(pc_state_pins(s), pins);
            CHECK_EQ(pc_state_cause(s), cause);
            CHECK(pc_state_unpin(s, &s));
        }
        CHECK_EQ(pc_state_cause(s), cause);
        CHECK((s & PC_ST_LIMBO) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_cause_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
