/*
 * lib_fault.h - fail the Nth call, whatever it is, and look at what is left.
 *
 * Two parts. A *fault layer* stands between the library and its two tables
 * (struct quire_io, struct quire_sys): it counts calls by kind, fails the Nth
 * of chosen kinds with a chosen errno, once or from then on, shortens
 * transfers, interrupts them, and keeps account of what was taken and never
 * given back. It can be used under any program that opens a store.
 *
 * A *scenario* is a piece of work on a store. fault_run() runs it for N = 1, 2,
 * 3, ... until a run is untouched, and settles after each: nothing held, the
 * right status, the store opens, verifies, holds what was acknowledged, and
 * takes the next transaction. What is new joins by adding a scenario.
 */
#ifndef QUIRE_TESTS_LIB_FAULT_H
#define QUIRE_TESTS_LIB_FAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "quire.h"
#include "tests/lib_mem.h"
#include "tests/lib_model.h"

/* ---- the layer ---- */

enum fault_kind {
    FAULT_ALLOC, /* sys: alloc, map, commit, decommit, huge, thread_create */
    FAULT_MAP,
    FAULT_COMMIT,
    FAULT_DECOMMIT,
    FAULT_HUGE,
    FAULT_THREAD,
    FAULT_OPEN, /* io: open, pread, pwritev, sync, ... */
    FAULT_PREAD,
    FAULT_PWRITEV,
    FAULT_SYNC,
    FAULT_ALLOCATE,
    FAULT_TRUNCATE,
    FAULT_SIZE,
    FAULT_BLOCK,
    FAULT_LOCK,
    FAULT_RENAME,
    FAULT_REMOVE,
    FAULT_SYNC_DIR,
    FAULT_AHEAD, /* read_ahead, of whose failures nothing follows */
    FAULT_KINDS
};

#define FAULT_BIT(kind) (1u << (kind))
#define FAULT_MEMORY \
    (FAULT_BIT(FAULT_ALLOC) | FAULT_BIT(FAULT_MAP) | FAULT_BIT(FAULT_COMMIT))
#define FAULT_WRITES \
    (FAULT_BIT(FAULT_PWRITEV) | FAULT_BIT(FAULT_ALLOCATE) | \
     FAULT_BIT(FAULT_TRUNCATE))
#define FAULT_NAMES \
    (FAULT_BIT(FAULT_RENAME) | FAULT_BIT(FAULT_REMOVE) | \
     FAULT_BIT(FAULT_SYNC_DIR))
#define FAULT_IO \
    (FAULT_BIT(FAULT_OPEN) | FAULT_BIT(FAULT_PREAD) | FAULT_WRITES | \
     FAULT_BIT(FAULT_SYNC) | FAULT_BIT(FAULT_SIZE) | FAULT_BIT(FAULT_BLOCK) | \
     FAULT_BIT(FAULT_LOCK) | FAULT_NAMES)

/* How to fail. */
#define FAULT_ONCE 0u
#define FAULT_STICKY 1u /* from the Nth call on, until healed */
#define FAULT_TORN 2u   /* a failing write has written its first half */
#define FAULT_WHOLE 4u  /* a failing write or truncation has done it all */
#define FAULT_FLIP 8u   /* a failing read succeeds, but for one bit */

/* What was taken and not given back. */
struct fault_live {
    int64_t objs;      /* alloc */
    int64_t map_bytes; /* map; unmap may come in parts */
    int64_t threads;
    int64_t files;
};

struct fault {
    struct quire_io io;                /* for the options; immutable */
    struct quire_sys sys;              /* for the options; immutable */
    const struct quire_io *inner_io;   /* immutable */
    const struct quire_sys *inner_sys; /* immutable */
    pthread_mutex_t lock;
    uint64_t calls[FAULT_KINDS]; /* since fault_init(); under lock */
    struct fault_live live;      /* under lock */
    unsigned kinds;              /* armed ones, FAULT_BIT()s; under lock */
    unsigned how;                /* FAULT_STICKY, ...; under lock */
    int err;                     /* a positive errno; under lock */
    uint64_t nth;                /* from 1 on; under lock */
    uint64_t seen;          /* calls of armed kinds since arming; under lock */
    uint64_t fired;         /* failures since arming; under lock */
    unsigned fired_kinds;   /* FAULT_BIT()s of those; under lock */
    unsigned eintr_every;   /* 0: never; under lock */
    uint64_t interruptible; /* calls that may be interrupted; under lock */
    bool halves; /* transfers move half of what is asked; under lock */
};

/* A layer over `io` and `sys` (NULL: the system's), healthy at first. */
void fault_init(struct fault *f, const struct quire_io *io,
                const struct quire_sys *sys);
void fault_fini(struct fault *f);

/* Fail the `nth` call from now on, of those in `kinds`, with `err`. */
void fault_arm(struct fault *f, unsigned kinds, uint64_t nth, int err,
               unsigned how);
/* Fail nothing any more; the figures stay. */
void fault_heal(struct fault *f);

/* From now on move only half of each transfer of more than a byte; interrupt
 * each `eintr_every`-th call that may be (0: none). */
void fault_shorten(struct fault *f, bool halves, unsigned eintr_every);

/* A copy of the account, and whether nothing is left. */
struct fault_live fault_live_get(struct fault *f);
bool fault_live_none(struct fault *f);

const char *fault_kind_name(enum fault_kind kind);

/* ---- scenarios ---- */

#define FAULT_PATH "faulty.quire"

#define FAULT_CALLS (-1)  /* no point: calls of the tables fail */
#define FAULT_SURVEY (-2) /* nothing fails, passages of points are counted */

/* What a scenario works with. */
struct fault_env {
    struct mem_disk *disk;    /* the only disk there is */
    struct fault fault;       /* over `disk` */
    struct quire_options opt; /* small pages and budget, no threads; changed
                                 by `prepare` where a scenario wants others */
    struct twin twin;         /* not open when `run` begins */
    uint64_t rand;            /* the same in each run */
    struct quire_txn *reader; /* a read transaction to be aborted; or NULL */
    unsigned statuses;        /* 1 << -rc of what fault_saw() was told */
    const char *scene;        /* the scenario's name */
    /* what is injected; see fault_run() */
    unsigned kinds;
    unsigned how;
    uint64_t nth;
    int err;
    int point; /* a failure point in place of calls, or one of the following */
    bool armed;
};

struct fault_scenario {
    const char *name;
    /* Make what the work begins with; nothing fails. NULL: no file at all. It
     * may leave opt changed; it closes what it opens. */
    void (*prepare)(struct fault_env *e);
    /* The work, in e->twin; calls fault_env_arm() where failures may begin and
     * fault_saw() with each status; goes on or returns when something fails.
     * It may leave the store and transactions open. */
    void (*run)(struct fault_env *e);
};

/* The budget and page size that scenarios begin with from now on; at first
 * QUIRE_BUDGET_MIN and QUIRE_PAGE_MIN. */
void fault_sizes(uint64_t budget_bytes, uint32_t page_bytes);

/* From now on try each N up to `all`, and of greater ones, drawn with a seed
 * of its own, about `then` in each doubling. 0, 0: each N, as at first. */
void fault_sample(uint64_t all, unsigned then);

/* Failures may happen from now on. */
void fault_env_arm(struct fault_env *e);

/* Note a status; true when it is QUIRE_OK. One that no injected failure
 * explains fails the test. */
bool fault_saw(struct fault_env *e, quire_status rc);

/*
 * Run `s` with the Nth call of `kinds` failing with `err`, for N = 1, 2, ...
 * and tell how many points there were; none fails the test, unless `none_ok`.
 * Returns their number.
 */
uint64_t fault_run(const struct fault_scenario *s, unsigned kinds, int err,
                   unsigned how, bool none_ok);

/* Whether the tests run in their long form (QUIRE_CRASH=long). */
bool fault_long_form(void);

/* As fault_run(), with the failure point `point` in place of calls. */
uint64_t fault_run_point(const struct fault_scenario *s, unsigned point,
                         unsigned how, bool none_ok);

/* Passages of each failure point in an untouched run of `s`, by number. */
void fault_survey(const struct fault_scenario *s, uint64_t *passed);

/* Stop failing, as fault_run() does when `run` has returned; for scenarios
 * that look at something themselves. */
void fault_env_heal(struct fault_env *e);

/* Run `s` once with shortened and interrupted transfers; it must notice
 * nothing. */
void fault_run_short(const struct fault_scenario *s);

#endif /* QUIRE_TESTS_LIB_FAULT_H */
