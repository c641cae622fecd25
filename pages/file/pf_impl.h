/*
 * pf_impl.h - what the files of pages/file/ share.
 *
 * Four groups of fields in struct pf_file, by who touches them: what is
 * immutable after opening; what belongs to the writer, one thread at a time;
 * the zero-ahead mark and the sync in progress, under `lock`; counters.
 */
#ifndef QUIRE_PAGES_FILE_PF_IMPL_H
#define QUIRE_PAGES_FILE_PF_IMPL_H

#include <assert.h>
#include <errno.h>

/* The hash state is embedded, so its size must be known. */
#ifndef XXH_STATIC_LINKING_ONLY
#define XXH_STATIC_LINKING_ONLY
#endif
#include <xxhash.h>

#include "alloc/broken.h"
#include "pages/file/pf.h"

/* ---- limits ---- */

#define PF_VERSION 1u
#define PF_SUPER_BYTES 512u               /* one sector */
#define PF_BLOCK_MIN 4096u                /* bytes */
#define PF_BLOCK_MAX 65536u               /* bytes */
#define PF_FILE_MAX ((uint64_t)1 << 52)   /* bytes: 48 bits * 16 */
#define PF_COUNT_MAX ((uint64_t)1 << 62)  /* revisions, incarnations */
#define PF_PATH_MAX 4096u                 /* bytes, with the NUL */
#define PF_STREAM_MIN ((uint64_t)1 << 20) /* bytes of a stream span */
#define PF_STREAM_MAX ((uint64_t)16 << 20)
#define PF_AHEAD_MIN ((uint64_t)1 << 20) /* bytes of a span ahead */
#define PF_AHEAD_MAX ((uint64_t)256 << 20)
#define PF_OUT_BYTES \
    ((size_t)256 << 10) /* output buffer, and windows
                                                    of recovery */
/* Spans that one transaction may take, and aborted ones kept in memory. With
 * spans of PF_AHEAD_MAX a transaction may write 256 GiB. */
#define PF_SPANS_MAX 1024u
#define PF_RECORD_BODY_MAX ((size_t)32 << 10) /* bytes */
#define PF_RECORD_ROOM \
    ((uint64_t)64 << 10) /* bytes; what pf_batch_room()
                                                    keeps for the record */
#define PF_RECORD_FRAG_MAX (PG_FRAG_HEADER + PF_RECORD_BODY_MAX)
/* The longest fragment there may be: pg_frag_bound() as a constant. */
#define PF_FRAG_MAX (PG_FRAG_HEADER + PG_CHAIN_MAX * 32u + PG_RAW_MAX)

static_assert(PF_FRAG_MAX + PG_ALIGN <= PF_OUT_BYTES,
              "a fragment fits the output buffer beside an open block");
static_assert(PF_RECORD_FRAG_MAX + 2 * PG_ALIGN <= PF_RECORD_ROOM,
              "a record fits the room kept for it");
static_assert(2 * PF_BLOCK_MAX + PF_RECORD_ROOM < PF_STREAM_MIN,
              "the first span has room for a batch");

/* ---- an open file and its name: all that input and output need ---- */

struct pf_os {
    const struct quire_io *io;
    void *handle;     /* NULL: not open */
    const char *path; /* for error details */
};

/* ---- the superblock, decoded ---- */

struct pf_super {
    struct pf_geometry geo;
    uint64_t seq;         /* the valid slot with the greater one counts */
    uint64_t incarnation; /* batches after the record with a lower one do not
                             count (PF-8) */
    quire_rev rev;        /* of the record that it names */
    pg_id id;
    uint64_t sum;
    uint32_t stored_len; /* bytes */
    int64_t time_us;     /* of the record */
};

/* What pf_super_decode() found in a sector. */
enum pf_super_state {
    PF_SUPER_VALID,
    PF_SUPER_FOREIGN, /* not our magic */
    PF_SUPER_DAMAGED, /* our magic, wrong checksum */
    PF_SUPER_VERSION, /* intact, but of a version or with values that this
                         library does not know */
};

/* A thread that waits in pf_sync_to(), on its stack. */
struct pf_ask {
    quire_rev rev;       /* immutable: what is to be durable */
    struct pf_ask *next; /* under lock */
};

/* What a commit record's body holds beyond struct pf_record. */
struct pf_record_tail {
    uint64_t batch_len; /* bytes from batch_off to the record */
    uint64_t batch_sum; /* XXH3-64 over them */
};

struct pf_file {
    /* immutable after opening */
    struct pf_env env;
    struct pf_os os;
    struct pf_os direct; /* for loads, past the system's cache; handle NULL:
                            they go through it */
    struct pf_os past;   /* for writes past it; handle NULL: likewise */
    struct pf_geometry geo;
    bool rdonly;
    struct pc_cache *cache;    /* set once, before the first pin */
    _Atomic bool past_refused; /* the file system has no such writes */

    /* writer; immutable for a read-only file */
    bool past_off;         /* not wanted: what is written is read again */
    uint64_t past_read;    /* read_bytes and ... */
    uint64_t past_written; /* ... written_bytes when that was settled */
    struct pf_super super; /* the newest one */
    unsigned super_slot;   /* 0 or 1: where it is */
    quire_rev super_other; /* revision named by the other slot, or 0 */
    uint64_t super_sync;   /* `super` is on disk when the sync of this number
                              has succeeded (PF-4); PF_SYNC_NEVER: an earlier
                              process wrote it, perhaps in vain */
    struct pf_record last; /* the newest record of the log */
    uint64_t incarnation;  /* of what is written from now on */
    uint64_t frontier;     /* bytes: no span reaches beyond this */
    struct pf_span spare;  /* reserved to be a next_span; len 0: none */
    bool burned;           /* the blocks at last.batch_end must not be used
                                 before the next record (PF-7) */

    /* writer: the output buffer, shared by what is written ahead and by the
     * batch, never at once */
    void *table; /* NULL until recovered for writing */
    size_t table_bytes;
    XXH3_state_t *hash; /* of the open batch; in the table */
    uint8_t *out_buf;   /* in the table */
    uint8_t *out;     /* of out_buf, behind batches that wait for their sync */
    size_t out_cap;   /* bytes from `out` on */
    size_t out_len;   /* bytes used, 0 .. out_cap */
    uint64_t out_off; /* bytes: file offset of out[0], of a block */

    /* writer: what the transaction writes ahead */
    struct pf_span ahead;      /* being filled; len 0: none */
    uint64_t ahead_pos;        /* bytes: where its next fragment goes */
    bool ahead_owned;          /* `ahead` is in txn_spans */
    bool ahead_failed;         /* a write failed: only abort is left */
    bool ahead_unsynced;       /* something was written and not synced (PF-3) */
    uint64_t ahead_bytes;      /* written ahead by this transaction */
    struct pf_span *txn_spans; /* taken by it; in the table */
    unsigned ntxn_spans;       /* 0 .. PF_SPANS_MAX */
    struct pf_span *free_spans; /* aborted ones, on offer; in the table */
    unsigned nfree_spans;       /* 0 .. PF_SPANS_MAX */

    /* writer: the open batch */
    bool batch_open;
    bool batch_written; /* a part of it was handed to the system */
    bool batch_now;     /* it will be synced as soon as it is written */
    struct pf_span batch_span;
    struct pf_span batch_next; /* what its record will name as next_span */
    uint64_t batch_off;        /* bytes: where it begins */
    uint64_t batch_limit;      /* bytes: its fragments end before this */

    /* under lock: zero-ahead and the sync in progress */
    struct ra_mutex lock;     /* rank PF_SPACE; never held during I/O */
    pthread_cond_t changed;   /* of anything below, for all that the next one is
                                 not for */
    pthread_cond_t zero_news; /* zero_wanted or zero_stop, for it */
    struct pf_span zero_span; /* the span that the log is in */
    uint64_t zero_from;       /* bytes: the thread may write from here on, to
                                 the span's end */
    uint64_t zero_done;       /* bytes: zeros are on disk up to here */
    uint64_t zero_busy_from;  /* bytes: the step in progress ... */
    uint64_t zero_busy_to;    /* ... which is none when these are equal */
    uint64_t zero_step;       /* bytes of the next step */
    bool zero_writing;        /* the step in progress may still write */
    bool zero_low;            /* few are left for the next commits */
    bool zero_wanted;         /* the thread has something to do */
    bool zero_stop;           /* it shall end */
    /* under lock: syncs (sync.c) */
    bool syncing;         /* one runs: one at a time (PF-5) */
    bool sync_gathering;  /* somebody would lead one, and waits for more to ask
                             first */
    uint64_t sync_begun;  /* number of the newest one, from 1 on */
    uint64_t sync_done;   /* number of the newest one that succeeded */
    struct pf_ask *asks;  /* threads in pf_sync_to() that are not answered */
    unsigned nasks;       /* of them */
    unsigned sync_expect; /* how many had asked when the last one ended */
    uint64_t sync_ns;     /* what one takes, a moving average */
    quire_rev written;    /* newest revision whose batch is written, or waits
                             for a sync to be */
    /* under lock: batches that wait (pend.c) */
    const uint8_t *pend_at; /* where they begin in out_buf; what is written of
                               it is the writer's again */
    uint64_t pend_from;     /* bytes: their place in the file ... */
    uint64_t pend_to;       /* ... none: when these are equal */
    unsigned pend_waits;    /* threads that wait for pend_writing to end */
    bool pend_writing;      /* somebody writes them */
    bool pend_past;         /* past the system's cache */
    void *zero_thread;      /* writer; NULL: not started */

    _Atomic quire_rev durable; /* atomic; written under lock: newest revision
                                  that a sync has made durable */
    _Atomic bool poisoned;     /* atomic (PF-5) */
    _Atomic uint64_t pend_low; /* atomic; written under lock: pend_from, or
                                  UINT64_MAX when none wait */

    /* atomic: counters since opening; log_end and log_bytes are set */
    _Atomic uint64_t syncs;
    _Atomic uint64_t written_bytes;
    _Atomic uint64_t zeroed_bytes;
    _Atomic uint64_t read_bytes;
    _Atomic uint64_t ahead_frags;
    _Atomic uint64_t frags_read;
    _Atomic uint64_t loads;     /* of pages: every other one is read once */
    _Atomic uint64_t log_end;   /* bytes: end of the last batch */
    _Atomic uint64_t log_bytes; /* in batches since the last superblock */
    _Atomic uint64_t incarnation_seen; /* `incarnation`, for pf_file_stat() */

    char path[]; /* immutable; NUL-terminated */
};

/* relaxed throughout: counters are statistics and order nothing. */
static inline void pf_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void pf_note(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

/* Offsets and lengths in error details. */
#define PF_ULL(x) ((unsigned long long)(x))

static inline uint64_t pf_span_end(const struct pf_span *span)
{
    return span->off + span->len;
}

/* ---- xfer.c: transfers, errors ---- */

/* Call a function of the I/O table until it is not interrupted. */
#define PF_RETRY(r, call) \
    do { \
        (r) = (call); \
    } while ((r) == -EINTR)

/* The status of a system error (a positive errno). */
quire_status pf_os_status(int err);

/* Set the detail "cannot `what`" for `err`; returns its status. */
quire_status pf_os_fail(const struct pf_os *os, int err, const char *what);

/* Read up to `nbytes`, short only at the end of the file. Returns QUIRE_OK and
 * *got; PERM, IO. */
quire_status pf_os_read(const struct pf_os *os, void *buf, size_t nbytes,
                        uint64_t off, size_t *got) QUIRE_MUST_CHECK;

/* Write all of `buf`; or `nbytes` zeros. With `past`, past the system's cache by
 * that file's handle, as far as that can be had. Returns QUIRE_OK; NOSPACE,
 * PERM, IO: any part may have been written. */
quire_status pf_os_write(const struct pf_os *os, struct pf_file *past,
                         const void *buf, size_t nbytes,
                         uint64_t off) QUIRE_MUST_CHECK;
quire_status pf_os_zero(const struct pf_os *os, struct pf_file *past,
                        size_t nbytes, uint64_t off) QUIRE_MUST_CHECK;

/* `alone`: while it runs no other thread uses the store, as far as is known. */
quire_status pf_os_sync(const struct pf_os *os, bool alone) QUIRE_MUST_CHECK;

/* Read exactly `nbytes` of the store: a file that ends before is CORRUPT.
 * `once`: the system need not keep them. Counts. Any thread. */
quire_status pf_read_all(struct pf_file *file, void *buf, size_t nbytes,
                         uint64_t off, bool once) QUIRE_MUST_CHECK;

/* The unit of what is read past the system's cache. */
#define PF_DIRECT_ALIGN 4096u

/* The same past the system's cache, into an aligned `buf`: whole units, among
 * them the `nbytes` at `off`. */
quire_status pf_read_direct(struct pf_file *file, void *buf, size_t nbytes,
                            uint64_t off) QUIRE_MUST_CHECK;

/* Have a range read ahead, if the I/O table can. Any thread. */
void pf_read_soon(const struct pf_file *file, uint64_t off, uint64_t nbytes);

/* ---- io.c, aio.c: the system's own sync, for a caller who is alone ---- */

/* If the table is the system's and it can be had: *result is 0 or a negative
 * errno. false: nothing was done. */
bool pf_io_sync_alone(const struct pf_os *os, int *result);

/* fdatasync() by a thread of the kernel, and wait for it; *result is 0 or a
 * negative errno. false: not to be had, and nothing was done. Any thread. */
bool pf_aio_sync(int fd, int *result);

/* ---- writing past the system's cache (past.c) ---- */

/* Open `past`, if it can be had. true: a handle was closed again, and with it
 * the file's lock may be lost, where locks belong to processes. */
bool pf_past_open(struct pf_file *file);
void pf_past_close(struct pf_file *file);

/* One call of pwritev() past the system's cache; false: not to be had for this,
 * and nothing was done. */
bool pf_past_pwritev(struct pf_file *file, const struct iovec *iov, int niov,
                     uint64_t off, ssize_t *n);

/* Is it the better way for batches that will be synced at once? The writer
 * asks. */
bool pf_past_wanted(struct pf_file *file);

/* Write to the store, past the system's cache if `past`. Counts. Returns QUIRE_OK; NOSPACE; IO: the store is
 * poisoned from now on (PF-5); POISONED: it was. */
quire_status pf_write_all(struct pf_file *file, const void *buf, size_t nbytes,
                          uint64_t off, bool past) QUIRE_MUST_CHECK;

/* From now on nothing is written; `why` is logged the first time. */
void pf_poison(struct pf_file *file, const char *why);

/* QUIRE_POISONED, with a detail. */
quire_status pf_refuse_poisoned(const struct pf_file *file);

/* ---- pend.c: batches that wait for the sync that they share ---- */

/* Write those that wait. Under the lock, which it gives up meanwhile; who leads
 * a sync calls it. Returns QUIRE_OK; IO: the file is poisoned now; POISONED. */
quire_status pf_pend_write(struct pf_file *file) QUIRE_MUST_CHECK;

/* The writer's whole batch waits from now on, if it may: all of it in the
 * buffer, and zeros in its place on the disk. */
bool pf_pend_add(struct pf_file *file);

/* Make room in the buffer: as far as can be had, when something is begun; all
 * of it. The latter fails as pf_pend_write(). */
void pf_pend_begin(struct pf_file *file);
quire_status pf_pend_rewind(struct pf_file *file) QUIRE_MUST_CHECK;

/* Bytes will be read: write them before, if they wait. Any thread. */
quire_status pf_pend_read(struct pf_file *file, uint64_t off,
                          uint64_t nbytes) QUIRE_MUST_CHECK;

/* ---- sync.c ---- */

/* Does nobody wait for a sync, nor is likely to soon? */
bool pf_sync_alone(struct pf_file *file);

#define PF_SYNC_NEVER UINT64_MAX

/* Number of the next sync, which covers what has been written by now. */
uint64_t pf_sync_next(struct pf_file *file);

/* Has the sync of this number, or a later one, succeeded? */
bool pf_sync_passed(struct pf_file *file, uint64_t number);

/* The batch of `rev` is written: the next sync makes it durable. */
void pf_sync_note(struct pf_file *file, quire_rev rev);

/* ---- super.c ---- */

/* Check what a store can be made with. Returns QUIRE_OK; INVAL. */
quire_status pf_geometry_check(const struct pf_geometry *geo) QUIRE_MUST_CHECK;

void pf_super_encode(const struct pf_super *super, uint8_t buf[PF_SUPER_BYTES]);
enum pf_super_state pf_super_decode(const uint8_t buf[PF_SUPER_BYTES],
                                    struct pf_super *super);

/* Read both slots into file->super, super_slot, super_other and file->geo.
 * Returns QUIRE_OK; FORMAT, CORRUPT, IO, PERM. */
quire_status pf_super_find(struct pf_file *file) QUIRE_MUST_CHECK;

/* ---- record.c ---- */

/* Most bytes of the body of a record that lists `nspans` spans. */
size_t pf_record_bound(const struct pf_record *rec, unsigned nspans);

/* Encode the body; returns its length, at most the above. */
size_t pf_record_encode(const struct pf_record *rec, const uint8_t uuid[16],
                        const struct pf_record_tail *tail,
                        const struct pf_span *spans, unsigned nspans,
                        uint8_t *buf);

/*
 * Decode the record in the fragment `frag_buf` of `stored_len` bytes, which
 * was read at `id`; `sum` NULL: any checksum that fits. `raw` has room for
 * PF_RECORD_BODY_MAX bytes. All that can be known from the record alone is
 * checked: its place, its spans, its lengths. Returns QUIRE_OK; CORRUPT.
 */
quire_status pf_record_parse(const struct pf_geometry *geo,
                             const void *frag_buf, size_t stored_len, pg_id id,
                             const uint64_t *sum, void *raw,
                             struct pf_record *rec,
                             struct pf_record_tail *tail) QUIRE_MUST_CHECK;

/* ---- span.c ---- */

/* Reserve a span at the frontier. Returns QUIRE_OK; NOSPACE: the format's
 * greatest offset is reached. */
quire_status pf_span_reserve(struct pf_file *file, uint64_t len,
                             struct pf_span *span) QUIRE_MUST_CHECK;

/* Bytes of the next stream span. */
uint64_t pf_span_stream_len(const struct pf_file *file);

/* Take a span for what is written ahead: an aborted one that is long enough,
 * else at the frontier; it joins txn_spans. Returns QUIRE_OK; NOSPACE. */
quire_status pf_span_take(struct pf_file *file, uint64_t len,
                          struct pf_span *span) QUIRE_MUST_CHECK;

/* Offer the transaction's spans from number `from` on again, or forget them all
 * after its commit. */
void pf_span_give_back(struct pf_file *file, unsigned from);
void pf_span_keep(struct pf_file *file);

/* ---- check.c ---- */

/* Verify what README.md says of the writer's state, PF-6 to PF-8 and PF-12;
 * false for the first that does not hold. For assertions of the writer and for
 * tests; O(n) in the spans held in memory. */
bool pf_check_file(const struct pf_file *file);

/* ---- out.c: the output buffer ---- */

/* Allocate the table: buffer, hash state, lists of spans. */
quire_status pf_out_alloc(struct pf_file *file) QUIRE_MUST_CHECK;
void pf_out_free(struct pf_file *file);

/* Start at file offset `off`, of a block. Nothing may be buffered. */
void pf_out_begin(struct pf_file *file, uint64_t off);

/* File offset of the next byte. */
static inline uint64_t pf_out_pos(const struct pf_file *file)
{
    return file->out_off + file->out_len;
}

/* Make room for `bound` (<= PF_OUT_BYTES) bytes, writing whole blocks when
 * there is too little. Fails as pf_write_all(). */
quire_status pf_out_room(struct pf_file *file, size_t bound) QUIRE_MUST_CHECK;

/* Zeros to the next multiple of `align`, for which there is room. */
void pf_out_pad(struct pf_file *file, size_t align);

/* Pad the open block with zeros and write all that is buffered. */
quire_status pf_out_flush(struct pf_file *file) QUIRE_MUST_CHECK;
void pf_out_drop(struct pf_file *file);

/* ---- zero.c ---- */

/* The log is in `span` now and goes on at `from`, after a batch that was
 * `small` enough for zeros to be worth it. */
void pf_zero_move(struct pf_file *file, const struct pf_span *span,
                  uint64_t from, bool small);

/* A commit is to be synced: have the thread write zeros if there are few left.
 * Under the lock. */
void pf_zero_ask(struct pf_file *file);

/* The writer is about to write [from, to): wait until no step writes there, and
 * let none begin that does (PF-9). */
void pf_zero_claim(struct pf_file *file, uint64_t from, uint64_t to);

/* Start and stop the thread. Stopping one that does not run does nothing. */
quire_status pf_zero_start(struct pf_file *file) QUIRE_MUST_CHECK;
void pf_zero_stop(struct pf_file *file);

#endif /* QUIRE_PAGES_FILE_PF_IMPL_H */
