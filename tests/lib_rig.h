/*
 * lib_rig.h - a page file with a stand-in for the layers above it.
 *
 * A *rig* is a disk in memory, a fault layer over it, a pool and one page file.
 * Each commit writes pages whose contents follow from a number, the seed, and
 * one root page that names the seed and refers to the others; so any revision
 * can be verified from its record alone, and compared with what was meant.
 */
#ifndef QUIRE_TESTS_LIB_RIG_H
#define QUIRE_TESTS_LIB_RIG_H

#include "pages/file/pf_impl.h"
#include "tests/lib_fault.h"
#include "tests/lib_mem.h"

#define RIG_PATH "rig.quire"
#define RIG_REVS 512u  /* most revisions of a rig */
#define RIG_PAGES 256u /* most pages of a revision */

struct rig {
    struct mem_disk *disk;
    struct fault fault;
    struct ra_pool *pool;
    struct pf_env env;      /* `io` may be changed before opening */
    struct pf_geometry geo; /* of what rig_create() makes */
    struct pf_file *file;   /* NULL: not open */
    struct pf_record last;  /* what the recovery said, then of each commit */
    quire_rev first;        /* the first record that the recovery met */
    /* what was committed: seeds by revision, where the records are */
    uint64_t seed[RIG_REVS];
    pg_id rec_id[RIG_REVS];
    uint32_t rec_len[RIG_REVS];
    quire_rev durable; /* synced */
};

/* What a commit consists of. */
struct rig_plan {
    uint64_t seed;
    unsigned npages;  /* in the batch, without the root */
    unsigned nahead;  /* pages written ahead of it */
    size_t val_bytes; /* of each of a page's eight values, random bytes */
    bool nosync;      /* leave it to a later one */
    bool shared; /* other writers wait, so the batch may wait for its sync */
};

void rig_init(struct rig *rig, bool background);
/* Closes; fails the test when anything is still held. */
void rig_fini(struct rig *rig);

quire_status rig_create(struct rig *rig) QUIRE_MUST_CHECK;
/* Open and recover. On success `last` is set. */
quire_status rig_open(struct rig *rig, bool rdonly) QUIRE_MUST_CHECK;
void rig_close(struct rig *rig);
/* rig_create() and rig_open(), which must succeed. */
void rig_start(struct rig *rig);
/* rig_close() and rig_open(), which must succeed at revision `rev`. */
void rig_reopen(struct rig *rig, quire_rev rev);

/* Write a page of `seed`, number `no`, with `add` (pf_batch_add or
 * pf_ahead_add). */
quire_status rig_page(struct rig *rig,
                      quire_status (*add)(struct pf_file *file,
                                          struct pg_frag_in *in,
                                          struct pg_ref *ref),
                      uint64_t seed, unsigned no, size_t val_bytes,
                      struct pg_ref *ref) QUIRE_MUST_CHECK;

/* The pages ahead of a commit; references to them in `refs`. */
quire_status rig_ahead(struct rig *rig, const struct rig_plan *plan,
                       struct pg_ref *refs) QUIRE_MUST_CHECK;

/* A whole commit, with its sync unless the plan says otherwise. When it fails
 * before its record is written, it is aborted. */
quire_status rig_commit(struct rig *rig,
                        const struct rig_plan *plan) QUIRE_MUST_CHECK;
/* The same, with this seed, one page and small values; it must succeed. */
void rig_commit_ok(struct rig *rig, uint64_t seed);

/* Verify the revision of `rec`, all of its pages; *seed is the one it was made
 * with. */
quire_status rig_verify(struct rig *rig, const struct pf_record *rec,
                        uint64_t *seed) QUIRE_MUST_CHECK;

/* Verify every revision from 1 to `last` against what was committed. */
void rig_check(struct rig *rig);

#endif /* QUIRE_TESTS_LIB_RIG_H */
