/*
 * lib_trace.h - traces: some work on a store, recorded; and the judge of the
 * crash states that lib_crash.h builds from it.
 *
 * A *trace* is a row of a table: commits of many sizes and kinds of change,
 * one by one and of several threads, aborts, un-synced commits, writing ahead,
 * reopenings, failures. trace_run() does it through a
 * recorder, with a model beside the store. trace_judge() is given each state,
 * and holds it against what must be so whatever the crash: it opens, verifies,
 * holds exactly a revision that was acknowledged or a later one that had been
 * begun, with exactly its contents, and so do the revisions before it; it takes
 * the next transaction, and has it when it is opened again. Of some states the
 * recovery is recorded in its turn and crashes again.
 *
 * Equal seeds give equal recordings, byte for byte, in a program that includes
 * tests/frozen.h.
 */
#ifndef QUIRE_TESTS_LIB_TRACE_H
#define QUIRE_TESTS_LIB_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib_change.h"
#include "tests/lib_crash.h"
#include "tests/lib_fault.h"
#include "tests/lib_model.h"

struct trace {
    const char *name;
    uint32_t page_bytes;
    quire_versioning versioning;
    uint32_t window;
    unsigned commits;
    unsigned puts;      /* most puts of a commit */
    size_t val_max;     /* bytes */
    unsigned nosync;    /* only each so many commits is synced; 0: each */
    unsigned reopen;    /* after each so many commits; 0: never */
    unsigned records;   /* that the first commit puts; 0: none */
    unsigned changes;   /* CHANGE_...: what is done beside puts and deletes */
    unsigned ahead;     /* records of a great transaction; 0: none */
    unsigned weight;    /* its share of the states */
    unsigned before;    /* small commits that are not recorded */
    unsigned full_disk; /* each so many commits fails for want of space, though
                           all is written; 0: none */
    unsigned focus;     /* crash in the last so many commits; 0: anywhere */
    unsigned set;       /* before each so many commits versioning and window are
                           changed, which is a revision too; 0: never */
    unsigned bad_sync;  /* the sync of each so many commits fails, and the
                           store is opened again; 0: none */
    bool background;    /* zeros are written ahead, by a thread that is let
                           go on at seeded places */
    unsigned threads;   /* up to so many commits are under way together, each
                           in a thread of its own; 0: one by one */
    bool again;         /* a revision's changes follow from its number, and who
                           opens a state does the next one's once more */
    quire_rev super_least; /* recovery begins at no older revision than this:
                              superblocks of it and a later one are durable */
};

/* The traces that there are; a new one is a new row. */
extern const struct trace trace_table[];
extern const size_t trace_ntable;
const struct trace *trace_named(const char *name);

/* A commit that failed: until its caller was told, its revision may have been
 * there; from then on it may not. */
struct trace_ghost {
    uint64_t from; /* number of an event */
    uint64_t to;
    quire_rev rev;
    struct model *model; /* its newest snapshot is what was to be */
};

#define TRACE_GHOSTS 16 /* most failed commits of a trace */
#define TRACE_THREADS 8 /* most commits under way together */

/* A trace that was run: what was recorded, and what each revision holds. */
struct trace_run {
    const struct trace *trace;
    uint64_t seed;
    struct mem_disk *disk;
    struct crash_rec *rec;
    struct fault sync_fault; /* below the recorder, which sees its failures */
    struct fault fault;      /* over the recorder */
    struct trace_gate *gate; /* holds the thread of zeros; NULL: no thread */
    struct trace_crew *crew; /* threads that commit; NULL: none */
    struct twin twin;
    struct quire_options opt; /* for opening a state: no io */
    struct trace_ghost ghost[TRACE_GHOSTS];
    unsigned nghosts;
    uint64_t first; /* number of the first event to crash after */
    uint64_t rand;
};

/* Run `tr`; the caller ends it. At its end every revision has been compared. */
void trace_run(struct trace_run *r, const struct trace *tr, uint64_t seed);
void trace_end(struct trace_run *r);

/* What was found in the states of a run; the caller sets `run` and `rand`. */
struct trace_verdict {
    struct trace_run *run;
    uint64_t rand;
    uint64_t states;
    uint64_t lost;    /* states that lack what was acknowledged */
    uint64_t broken;  /* that don't open or verify, or differ */
    uint64_t none;    /* that rightly hold no store */
    uint64_t olds;    /* older revisions compared */
    uint64_t again;   /* states of a second crash */
    uint64_t ghosts;  /* states that hold a commit about to fail */
    bool once;        /* no second crashes */
    bool second;      /* these are states of a second crash */
    char first[1024]; /* the first fault */
};

/* For crash_states(): `arg` is a struct trace_verdict. */
void trace_judge(void *arg, struct crash_state *st);

#endif /* QUIRE_TESTS_LIB_TRACE_H */
