/*
 * broken.h - faults put in on purpose, to see that the tests notice them.
 *
 * Each is one condition at the place that gives a promise. Only builds with
 * assertions have them, and there all are off until a test turns one on
 * (tests/test_crash_broken.c, test_cache_leak.c); in a release build the condition is a constant.
 */
#ifndef QUIRE_ALLOC_BROKEN_H
#define QUIRE_ALLOC_BROKEN_H

#include <stdatomic.h>

#include "alloc/base.h"

enum ra_broken {
    RA_BROKEN_NONE,
    RA_BROKEN_NO_SYNC,       /* a sync is said to be done, and isn't */
    RA_BROKEN_RECORD_FIRST,  /* the record is synced, then its data written */
    RA_BROKEN_AHEAD_LATE,    /* written ahead, not synced before the record */
    RA_BROKEN_SUPER_EARLY,   /* a superblock names what is not durable yet */
    RA_BROKEN_SUPER_INPLACE, /* it is written over the newest one */
    RA_BROKEN_SUPER_ONE,     /* it is always written into slot A */
    RA_BROKEN_BATCH_SUM,     /* the checksum of a batch is not looked at */
    RA_BROKEN_FRAG_SUM,      /* nor a fragment's, records included */
    RA_BROKEN_ALL_SUMS,      /* nor any: what is damaged seems to be meant */
    RA_BROKEN_TAIL_KEPT,     /* recovery does not write the tail again */
    RA_BROKEN_TAIL_UNSYNCED, /* it does, but does not sync it */
    RA_BROKEN_INCARNATION,   /* recovery does not raise the incarnation */
    RA_BROKEN_NO_KILL,       /* a batch that failed stays on disk */
    RA_BROKEN_NO_POISON,     /* a failed sync is tried again */
    RA_BROKEN_SYNC_LATE,    /* what is written during a sync counts as synced */
    RA_BROKEN_WEIGHTLESS,   /* pages weigh nothing: a cache is never full */
    RA_BROKEN_EVICTED_ONLY, /* the callback comes for what is evicted only */
    RA_BROKEN_PINNED_LOST,  /* a page removed while pinned leaves with no pin */
    RA_BROKEN_KINDS
};

#if QUIRE_DEBUG >= 1
/* The fault that is on; atomic. */
extern _Atomic unsigned ra_broken_now;

static inline bool ra_broken(enum ra_broken what)
{
    /* relaxed: set while no store is open */
    return atomic_load_explicit(&ra_broken_now, memory_order_relaxed) == what;
}
#else
#define ra_broken(what) ((void)(what), false)
#endif

#endif /* QUIRE_ALLOC_BROKEN_H */
