/*
 * pf.h - the page file: superblocks, spans, batches, append, read, sync,
 * recovery; and the loader that fills the cache.
 *
 * Durability has one owner, and this is it. A block is never written again
 * once a sync that covers it has begun (PF-1). A batch that is not whole by its
 * own checksum does not exist (PF-2). A commit record is written only after all
 * that it refers to outside its own batch has been synced (PF-3). A superblock
 * names only a durable revision, and its slot is synced before the other may be
 * written (PF-4). After a failed sync nothing is written any more (PF-5).
 */
#ifndef QUIRE_PAGES_FILE_PF_H
#define QUIRE_PAGES_FILE_PF_H

#include "alloc/ra.h"
#include "cache/pc.h"
#include "pages/pg.h"
#include "quire.h"

struct pf_file; /* opaque */

/* What the layers below gave us; copied. */
struct pf_env {
    const struct quire_io *io; /* outlives the file */
    struct ra_pool *pool;
    struct ra_log log;
    bool background; /* run the zero-ahead thread */
    bool direct;     /* load pages past the system's cache */
};

/* Fixed when a store is created; in both superblocks. Window and versioning
 * may be others by now: the newest record says so. */
struct pf_geometry {
    uint8_t uuid[16];
    uint32_t page_bytes;
    uint32_t block_bytes; /* the larger of 4096 and the file system's, at most
                             64 KiB */
    uint32_t window;
    quire_versioning versioning;
};

static inline bool pf_versioning_known(quire_versioning v)
{
    return v >= QUIRE_VERSIONING_FULL && v <= QUIRE_VERSIONING_ADAPTIVE;
}

struct pf_span {
    uint64_t off;   /* bytes, a multiple of the block size */
    uint64_t len;   /* bytes, likewise; 0: no span */
    uint16_t epoch; /* of image ids in it */
};

/* A commit record, decoded. Fields marked * are the caller's to fill before
 * pf_batch_commit(); that call fills the others. */
struct pf_record {
    quire_rev rev;             /* * */
    int64_t time_us;           /* * since 1970; never less than the previous */
    quire_rev durable_through; /* * newest revision known durable */
    struct pg_ref catalogue;   /* * root of the catalogue tree, or no page */
    struct pg_ref system;      /* * root of the system tree, or no page */
    struct pg_ref dead;        /* * newest DEAD page of this commit, or none */
    uint32_t window;           /* * of pages, from this commit on; 0: it is as
                                  the geometry says, and so is versioning */
    quire_versioning versioning; /* * likewise */
    pg_id id;                    /* of the record's own fragment */
    uint32_t stored_len;         /* bytes of it */
    uint64_t sum;                /* its checksum */
    uint64_t prev_sum; /* checksum of the previous revision's record */
    uint64_t incarnation;
    uint64_t batch_off;       /* bytes: where its batch begins */
    uint64_t batch_end;       /* bytes: where the next block begins */
    struct pf_span span;      /* the span it is in */
    struct pf_span next_span; /* where the log goes on after this one */
    uint64_t frontier;        /* bytes: no span reaches beyond this */
};

/*
 * Create a store in `path`: written whole under a temporary name beside it,
 * synced, renamed without replacing, its directory synced. It holds revision 0,
 * the empty store.
 *
 * Returns: QUIRE_OK; EXISTS, PERM, NOSPACE, NOTFOUND (no such directory), IO.
 *          On failure the temporary file is gone.
 */
quire_status pf_file_create(const struct pf_env *env, const char *path,
                            unsigned mode, const struct pf_geometry *geo,
                            int64_t time_us) QUIRE_MUST_CHECK;

/*
 * Open and lock `path`, read the superblocks.
 *
 * Returns: QUIRE_OK and *file; NOTFOUND, PERM, LOCKED, FORMAT (no store: what
 *          it looks like is said), CORRUPT (both superblocks damaged), IO,
 *          NOMEM, INVAL (`direct` can't be had). Nothing is written.
 */
quire_status pf_file_open(const struct pf_env *env, const char *path,
                          bool rdonly, struct pf_file **file) QUIRE_MUST_CHECK;

const struct pf_geometry *pf_file_geometry(const struct pf_file *file);

/* Tell which cache pf_page_pin() uses; it was created with pf_load, pf_removed
 * and `file` as its context. Once, before the first pin. */
void pf_file_set_cache(struct pf_file *file, struct pc_cache *cache);

/*
 * Find the last whole commit (DESIGN, recovery): from the newest valid
 * superblock's record forward through whole batches. `on_record`, if not NULL,
 * is called for the superblock's record and for each later one, in order; a
 * failure of it ends the recovery. What proves that a durable commit is missing
 * is CORRUPT with its address. Unless read-only: raises the incarnation, writes
 * the part of the log that is not known durable anew and syncs it, cuts the
 * tail, allocates the output buffer, starts the zero-ahead thread. *last is the
 * record to go on from.
 *
 * Returns: QUIRE_OK; CORRUPT, IO, NOMEM, NOSPACE; what on_record said.
 */
quire_status pf_file_recover(
    struct pf_file *file,
    quire_status (*on_record)(void *arg, const struct pf_record *rec),
    void *arg, struct pf_record *last) QUIRE_MUST_CHECK;

/* Stops the thread, gives everything back, unlocks and closes. NULL is
 * accepted. Syncs nothing. */
void pf_file_close(struct pf_file *file);

/* ---- reading ---- */

/*
 * The cache's loader: read all fragments of the page that `arg` (a const struct
 * pg_ref *) refers to, verify, combine. The worst case is reserved in one step
 * first: the image, its label memory, and for each fragment its stored and its
 * raw bytes; each acquisition is registered at once and one exit releases all,
 * in reverse. page->kind by ref->kind; page->weight_bytes is the class size of
 * the image's segment, and of its label memory's.
 *
 * Returns: QUIRE_OK and *page; CORRUPT with the offset, IO, NOMEM.
 * Context: any thread, no lock held, outside read sections.
 * Owner:   the payload (a struct pg_image *) is a segment of the pool, and may own
 *          another one: pf_image_free() gives back both.
 */
quire_status pf_load(void *ctx, uint64_t key, void *arg,
                     struct quire_page *page) QUIRE_MUST_CHECK;
void pf_removed(void *ctx, uint64_t key, const struct quire_page *page,
                quire_cause cause);
/* Give an image back, and the label memory that it may own. NULL is accepted. */
void pf_image_free(struct ra_pool *pool, struct pg_image *img);

/* Pin the page of `ref` in the cache, loading it on a miss. pc_pin()'s rules. */
quire_status pf_page_pin(struct pf_file *file, const struct pg_ref *ref,
                         pc_hint *hint, const struct pg_image **img,
                         uint32_t *frame) QUIRE_MUST_CHECK;

/* Pages that will be loaded soon: where their fragments are. */
#define PF_SOON_MAX 128u /* ranges: 2 KiB on a stack */
struct pf_soon {
    unsigned n; /* 0 at first */
    struct {
        uint64_t off; /* bytes */
        uint64_t len; /* bytes */
    } range[PF_SOON_MAX];
};

/* Add the page of `ref`; false: there is no room. Any thread, anywhere. */
bool pf_soon_add(struct pf_soon *soon, const struct pg_ref *ref);

/*
 * Have them read ahead, neighbours together, by the I/O table's read_ahead(),
 * if it has one; what that says is not looked at. Context: any thread, outside
 * read sections.
 */
void pf_soon_read(struct pf_file *file, struct pf_soon *soon);

/* Read and verify the commit record `id` of `stored_len` bytes. */
quire_status pf_record_read(struct pf_file *file, pg_id id, uint32_t stored_len,
                            struct pf_record *rec) QUIRE_MUST_CHECK;

/* ---- writing: one thread at a time, the writer ---- */

/*
 * Append a fragment to this transaction's spans ahead of its commit. `in->id`
 * is assigned here. *ref is complete. The bytes may still be in the output
 * buffer: pf_ahead_flush() before loading such a page.
 *
 * Returns: QUIRE_OK; NOSPACE, IO, POISONED: the fragment is not there.
 */
quire_status pf_ahead_add(struct pf_file *file, struct pg_frag_in *in,
                          struct pg_ref *ref) QUIRE_MUST_CHECK;
quire_status pf_ahead_flush(struct pf_file *file) QUIRE_MUST_CHECK;

/* The transaction is aborted: spans that are wholly its own are offered again
 * with their epoch raised (retired when it would wrap). Cannot fail. */
void pf_ahead_abort(struct pf_file *file);

/* A place in what a transaction writes ahead. */
struct pf_ahead_mark {
    unsigned nspans; /* that it had taken */
    uint64_t off;    /* bytes: where the one being filled begins */
    uint64_t nbytes; /* written ahead so far */
};

/* Mark the place; what is buffered is written first. Returns as pf_ahead_add().
 * Going back to it cannot fail: spans taken since are offered again with their
 * epoch raised; of the one that was being filled what was used stays used. */
quire_status pf_ahead_mark(struct pf_file *file,
                           struct pf_ahead_mark *mark) QUIRE_MUST_CHECK;
void pf_ahead_rewind(struct pf_file *file, const struct pf_ahead_mark *mark);

/* Bytes that the largest batch that can be begun now may have. */
uint64_t pf_batch_room(struct pf_file *file);

/* Begin the commit batch, of at most `max_bytes` <= pf_batch_room() without the
 * record. Flushes and syncs what was written ahead. Returns as pf_ahead_add(),
 * and UNDECIDED never: nothing has been written to the log. */
quire_status pf_batch_begin(struct pf_file *file,
                            uint64_t max_bytes) QUIRE_MUST_CHECK;

/* Append a fragment to the batch; `in->id` is assigned here. A full output
 * buffer is written out. Returns as pf_ahead_add(). */
quire_status pf_batch_add(struct pf_file *file, struct pg_frag_in *in,
                          struct pg_ref *ref) QUIRE_MUST_CHECK;

/* What follows a batch: no sync, or one at once by the caller; then either no
 * other writer waits, or some do and may share it. */
enum pf_batch_sync {
    PF_BATCH_UNSYNCED,
    PF_BATCH_ALONE,
    PF_BATCH_SHARED
};

/*
 * Complete `rec`, append it, write the batch. Does not sync. With `sync` other
 * than UNSYNCED the batch may be left to be written by the next sync: a failure
 * of that write is a failed sync.
 *
 * Returns: QUIRE_OK; NOSPACE: the range is burned, the log goes on in the next
 *          span under a raised incarnation; POISONED, IO: the record was never
 *          written, the transaction is gone; UNDECIDED: the write failed
 *          otherwise. After IO and UNDECIDED the file is poisoned.
 */
quire_status pf_batch_commit(struct pf_file *file, struct pf_record *rec,
                             enum pf_batch_sync sync) QUIRE_MUST_CHECK;

/* Give a begun batch up; what of it was written is burned as above. */
void pf_batch_abort(struct pf_file *file);

/* Make all that was written before this call durable. UNDECIDED: it failed, the
 * file is poisoned from now on; POISONED: it was. Any thread. */
quire_status pf_sync(struct pf_file *file) QUIRE_MUST_CHECK;

/*
 * Make revision `rev`, whose batch is written, durable, and with it all before
 * it. Threads that ask at the same time share a sync.
 *
 * Returns: QUIRE_OK, whatever has failed since it was durable; UNDECIDED.
 * Context: any thread, no lock held; waits for the disk.
 */
quire_status pf_sync_to(struct pf_file *file, quire_rev rev) QUIRE_MUST_CHECK;

/* The newest revision known durable. Any thread. */
quire_rev pf_file_durable(const struct pf_file *file);

/*
 * Write what may be written now of the next superblock, naming `rec`, which is
 * durable. Syncs nothing: the next commit's sync does, and until then the other
 * slot counts as the newest good one. *done: it is written; else call again
 * after a sync (the first one of a handle takes two steps, and none can be
 * taken while the slot that was written last is not on disk; PF-4).
 */
quire_status pf_super_step(struct pf_file *file, const struct pf_record *rec,
                           bool *done) QUIRE_MUST_CHECK;

/* Write and sync the next superblock. */
quire_status pf_super_write(struct pf_file *file,
                            const struct pf_record *rec) QUIRE_MUST_CHECK;

bool pf_file_poisoned(const struct pf_file *file);

struct pf_stat {
    uint64_t file_bytes;
    uint64_t log_off; /* bytes: end of the last batch */
    uint64_t incarnation;
    uint64_t log_bytes; /* in batches since the last superblock */
    uint64_t syncs;
    uint64_t written_bytes; /* zeros left out */
    uint64_t zeroed_bytes;
    uint64_t read_bytes;
    uint64_t ahead_frags;
    uint64_t frags_read;
};

void pf_file_stat(struct pf_file *file, struct pf_stat *st);

/* Of these, log_bytes alone, without a call of the system. Any thread. */
uint64_t pf_file_log_bytes(const struct pf_file *file);

#endif /* QUIRE_PAGES_FILE_PF_H */
