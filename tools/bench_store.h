/*
 * bench_store.h - between the two halves of `quire bench store`: the process
 * that plans and prints (bench_store.c), and those that measure, one for each
 * engine (bench_work.c).
 *
 * They talk in lines. The planner writes
 *
 *     load random|sequential N       put all records into the engine's store,
 *                                    N in a transaction
 *     run CASE THREADS MILLISECONDS  measure
 *     quit                           close and end
 *
 * and is answered "ready" or "absent" at first, then "ok" after each, with the
 * figures of a measurement behind it in the order of enum bench_figure. A
 * process that can't go on says why on standard error and ends.
 */
#ifndef QUIRE_TOOLS_BENCH_STORE_H
#define QUIRE_TOOLS_BENCH_STORE_H

#include "tools/bench_engine.h"

enum bench_figure {
    FIGURE_NS,  /* an operation of one thread */
    FIGURE_P50, /* nanoseconds */
    FIGURE_P99,
    FIGURE_P999,
    FIGURE_RSS,      /* bytes */
    FIGURE_DISK,     /* bytes */
    FIGURE_WRITTEN,  /* bytes to the device, an operation */
    FIGURE_OWN,      /* bytes that the engine says it has written */
    FIGURE_ZEROED,   /* of these, zeros ahead */
    FIGURE_SETTLE,   /* seconds until all was durable */
    FIGURE_WRITE_NS, /* read-while-write: the writer's, a record */
    FIGURES,
};

enum bench_kind {
    KIND_FILL,   /* a new store, all records */
    KIND_GET,    /* single gets */
    KIND_MANY,   /* gets of `count` keys together */
    KIND_AGED,   /* single gets behind commits: newest, or before them */
    KIND_SCAN,   /* all records in order */
    KIND_SEEK,   /* a lower bound and `count` records from there */
    KIND_COMMIT, /* transactions of `count` records that are there */
    KIND_MIXED,  /* gets beside a writer's transactions of `count` records */
};

struct bench_case {
    const char *name;
    enum bench_kind kind;
    unsigned count;
    bool other; /* random fill, Zipf's law, before the commits, backwards */
    bool durable;
    unsigned threads[3]; /* by default; 0 behind the last */
};

/* In the order in which they are measured: what reads before what changes. */
extern const struct bench_case bench_cases[];
extern const size_t bench_ncases;

/* A case by its name, "ltm-" before it left out; NULL: there is none. */
const struct bench_case *bench_case_find(const char *name, bool *ltm);

/* Can `e` measure `c`? */
bool bench_case_suits(const struct bench_engine *e, const struct bench_case *c,
                      unsigned threads);

/* The measuring process: its exit status. */
int bench_work(const struct bench_engine *e, const struct bench_setup *setup,
               const struct bench_data *d);

/* Remove what is in the directory `path`, and itself; -1, said. */
int bench_remove_dir(const char *path);

#endif /* QUIRE_TOOLS_BENCH_STORE_H */
