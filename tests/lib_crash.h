/*
 * lib_crash.h - record what is written and synced, then build from it what a
 * disk may hold after a crash.
 *
 * A *recorder* is a struct quire_io over another one: it keeps every write,
 * truncation, sync and change of a name, in order, and marks that the program
 * under test sets ("revision 7 is being committed", "has been acknowledged"). A
 * *state* is what a disk may hold when power fails after one of these events:
 *
 *   - what a completed sync covers is there; what a failed one was to cover is
 *     there in parts, for ever: only writing it again can help;
 *   - each 512-byte sector written since is there, or as it was before, or as
 *     an earlier write of the same time left it; while it was being written it
 *     may have become zeros, garbage, or a copy of another sector;
 *   - the file's length is any that it has had since;
 *   - of the names changed since the last sync of the directory, the first
 *     few changes have happened.
 *
 * A sector whose bytes a write does not change is never damaged by it.
 *
 * The harness can be made to doubt: a plan may tell it that syncs were lies,
 * and whoever checks the states must then find faults.
 */
#ifndef QUIRE_TESTS_LIB_CRASH_H
#define QUIRE_TESTS_LIB_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include "quire.h"
#include "tests/lib_mem.h"

#define CRASH_SECTOR 512u /* bytes that a disk writes whole or not at all */

struct crash_rec; /* opaque */

/* What a recorder is told by the program under test. */
enum crash_mark {
    CRASH_TRIED,    /* from now on this revision may come to be */
    CRASH_RETURNED, /* its commit has returned: it survives a kill */
    CRASH_ACKED,    /* it was said to be durable: it survives all */
    CRASH_MARKS
};

/* A recorder over `io`, which it does not own. Files that exist already are
 * taken as durable when first opened. */
struct crash_rec *crash_rec_create(const struct quire_io *io);
void crash_rec_destroy(struct crash_rec *rec);
const struct quire_io *crash_rec_io(struct crash_rec *rec);
void crash_mark(struct crash_rec *rec, enum crash_mark mark, quire_rev rev);

/* Where a recorder calls its hook. */
enum crash_call {
    CRASH_BEFORE_WRITE,
    CRASH_AFTER_WRITE,
    CRASH_BEFORE_SYNC,
    CRASH_DURING_SYNC, /* it covers nothing that is written from here on */
};

/* Call `fn` at each write and sync, after a write with the bytes that it has
 * written, in the thread that makes it and with no lock held: it may wait. Set
 * while nothing is recorded. */
void crash_rec_hook(struct crash_rec *rec,
                    void (*fn)(void *arg, enum crash_call call, size_t written),
                    void *arg);

/* A number that is the same for equal recordings. */
uint64_t crash_rec_digest(struct crash_rec *rec);

struct crash_figures {
    uint64_t events;
    uint64_t writes;
    uint64_t syncs;
    uint64_t written_bytes;
    uint64_t head_writes; /* of the writes, those into the first 16 KiB */
};

struct crash_figures crash_rec_figures(struct crash_rec *rec);

/* Which syncs a plan takes for lies. */
enum crash_lie {
    CRASH_HONEST,
    CRASH_LIE_ALL,   /* none made anything durable */
    CRASH_LIE_EARLY, /* only the last one before an acknowledgement did: what
                        is written after an earlier one may get there first */
};

struct crash_plan {
    uint64_t seed;
    uint64_t nstates; /* how many to build, at random points */
    uint64_t first;   /* number of the first event that may be the last */
    bool exhaustive;  /* also, at each sync, all subsets of up to 10 sectors,
                         and of more samples and the last few writes */
    enum crash_lie lie;
};

/* A state, and what is known of it. */
struct crash_state {
    struct mem_disk *disk; /* becomes the checker's: it may be changed */
    /* The newest revision of each mark, -1: not even the store itself. */
    int64_t mark[CRASH_MARKS];
    bool killed;    /* nothing was lost: only the process has died */
    uint64_t event; /* the last one before the crash */
    char how[128];  /* what was done, for messages */
};

/* Build the states of `plan` and call `check` for each; the disk is destroyed
 * afterwards. Returns their number. */
uint64_t crash_states(struct crash_rec *rec, const struct crash_plan *plan,
                      void (*check)(void *arg, struct crash_state *st),
                      void *arg);

#endif /* QUIRE_TESTS_LIB_CRASH_H */
