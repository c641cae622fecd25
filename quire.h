/*
 * quire.h - the one public header of quire.
 *
 * Three parts, in order of use:
 *
 *   the store          quire_*         ordered byte-string keys in one file,
 *                                      every revision readable, inside a
 *                                      memory budget
 *   the page cache     quire_cache_*   pins, loading, eviction, callbacks;
 *                                      knows nothing of keys or files
 *   the region         quire_pool_*    memory in seven size classes under a
 *   allocator                          hard budget
 *
 * The smallest program:
 *
 *     struct quire *db;
 *     struct quire_txn *txn;
 *     struct quire_val key = { "greeting", 8 }, val = { "hello", 5 };
 *
 *     if (quire_open("demo.quire", NULL, &db) != QUIRE_OK)
 *         die(quire_error_detail());
 *     quire_begin(db, QUIRE_WRITE, &txn);
 *     quire_put(txn, NULL, &key, &val, 0);
 *     quire_commit(txn, 0, NULL);
 *     quire_close(db);
 *
 * Rules that hold throughout
 *
 *   - Every call that can fail returns a quire_status; QUIRE_OK is 0, failures
 *     are negative. A failed call has changed nothing visible, unless it says
 *     otherwise, and its out parameters are untouched or NULL.
 *   - The library keeps no global state (but for quire_simd_use()), installs no signal handler, prints
 *     nothing, and does not abort: misuse is a status in every build.
 *   - Threads need no registration. A struct quire may be used by any number
 *     of threads at once; a transaction, and the trees and cursors opened in
 *     it, by one thread at a time.
 *   - After fork() every call in the child returns QUIRE_MISUSE; the child
 *     must not touch the handles.
 *   - Structs that the caller fills begin with `size`, to be set to their
 *     sizeof; zero in any other field means its default.
 */
#ifndef QUIRE_H
#define QUIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUIRE_VERSION_MAJOR 0
#define QUIRE_VERSION_MINOR 1
#define QUIRE_VERSION_PATCH 0

#if defined(__GNUC__)
#define QUIRE_API __attribute__((visibility("default")))
#define QUIRE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define QUIRE_API
#define QUIRE_MUST_CHECK
#endif

/* ---------------------------------------------------------------------- */
/* Status codes                                                           */

typedef enum quire_status {
    QUIRE_OK = 0,
    /* The key, tree, revision or position does not exist. */
    QUIRE_NOTFOUND = -1,
    /* The key, tree or file exists, and the call asked that it must not. */
    QUIRE_EXISTS = -2,
    /* The memory budget is used up and nothing can be evicted, or the system
     * refused memory. The detail says how much is in use and pinned. */
    QUIRE_NOMEM = -3,
    /* The file system is full, or over its quota. The transaction is gone;
     * the store goes on and may be written again once there is room. */
    QUIRE_NOSPACE = -4,
    /* A read, write or sync failed; the detail has the system's words. */
    QUIRE_IO = -5,
    /* Bytes read from the file are not what was written; the detail says
     * where. Nothing is returned of a page that does not verify. */
    QUIRE_CORRUPT = -6,
    /* Another process (or handle) holds the store. */
    QUIRE_LOCKED = -7,
    /* Handles are still open: transactions at quire_close(), pins at
     * quire_cache_destroy(), segments at quire_pool_destroy(). */
    QUIRE_BUSY = -8,
    /* A write was asked of a read-only store, transaction or revision. */
    QUIRE_READONLY = -9,
    /* An argument or option is out of its range; the detail names it. */
    QUIRE_INVAL = -10,
    /* The API was misused: a null or ended handle, a handle of another
     * store, a call in a forked child, a blocking call inside a read
     * section. */
    QUIRE_MISUSE = -11,
    /* A key, value, name or record is larger than the limit, or a value is
     * too large to be returned without a copy: use quire_read(). */
    QUIRE_TOOBIG = -12,
    /* An earlier write or sync failed, so what the file holds is unknown.
     * The handle only reads until the store is closed and opened again. */
    QUIRE_POISONED = -13,
    /* The write or sync of this commit failed: whether it is durable is
     * undecided until the store is opened again; then it is there whole or
     * not at all. */
    QUIRE_UNDECIDED = -14,
    /* The system refused access to the file. */
    QUIRE_PERM = -15,
    /* The file is no quire store, or of a version this library can't read. */
    QUIRE_FORMAT = -16,
    /* An earlier call of this transaction failed halfway; it can only be
     * aborted. The store is unaffected. */
    QUIRE_ABORTED = -17,
    /* The time limit has passed before it was this thread's turn to write. */
    QUIRE_TIMEOUT = -18,
    /* The record is not what a conditional write expected; nothing has
     * changed. */
    QUIRE_MISMATCH = -19,
} quire_status;

/* One line in English for a status, "unknown status" for anything else. The
 * string is static. Any thread. */
QUIRE_API const char *quire_strerror(quire_status rc);

/*
 * What the last failed call on this thread had to say beyond its status: what
 * was wrong and where (a path, an offset, an option, figures). Empty when the
 * thread has seen no failure. Valid until this thread's next failing call.
 */
QUIRE_API const char *quire_error_detail(void);

/* The library's version as "major.minor.patch". Static. */
QUIRE_API const char *quire_version(void);

/*
 * Which instructions pages are searched with: "avx512", "avx2", "sse2", "neon"
 * or "plain". The best that the processor has is found out at the first search;
 * quire_simd_use() chooses another, for measurements and tests (NULL: the best
 * again). All give the same answers: this one setting is the process's, not a
 * store's. quire_simd_variant(i) names those that can run here, best first, and
 * is NULL behind the last.
 *
 * Returns: QUIRE_OK; NOTFOUND: no such variant, or the processor lacks it.
 * Context: any thread, at any time. Strings are static.
 */
QUIRE_API const char *quire_simd(void);
QUIRE_API const char *quire_simd_variant(unsigned i);
QUIRE_API quire_status quire_simd_use(const char *name) QUIRE_MUST_CHECK;

/* ---------------------------------------------------------------------- */
/* What an embedder may replace                                           */

/* Levels of the log callback. */
typedef enum quire_log_level {
    QUIRE_LOG_ERROR = 0, /* something was lost or refused */
    QUIRE_LOG_WARN = 1,  /* misuse seen, budget reached, tail cut */
    QUIRE_LOG_INFO = 2,  /* opened, recovered, closed */
    QUIRE_LOG_DEBUG = 3, /* regions mapped and freed, batches, sweeps */
} quire_log_level;

/* Called with one line without a newline, from any thread, possibly with a
 * lock held: it must not call the library. */
typedef void (*quire_log_fn)(void *arg, quire_log_level level,
                             const char *line);

/*
 * System memory and threads. The library obtains all memory and threads that
 * it needs through this table. Each function returns 0 or a negative errno,
 * and must be callable from any thread.
 */
struct quire_sys {
    size_t size; /* sizeof(struct quire_sys) */
    void *ctx;   /* handed to every function */
    /* Map `nbytes` (a multiple of the system page) of zeroed private memory
     * at a multiple of `align` (a power of two); reserves address space. */
    int (*map)(void *ctx, size_t nbytes, size_t align, void **addr);
    void (*unmap)(void *ctx, void *addr, size_t nbytes);
    /* Make a mapped range resident, so that touching it cannot fail. */
    int (*commit)(void *ctx, void *addr, size_t nbytes);
    /* Give a range's memory back to the system; the addresses stay mapped and
     * read as zeros once committed again. */
    int (*decommit)(void *ctx, void *addr, size_t nbytes);
    /* Small fixed-size objects; `alloc` returns zeroed memory or NULL. */
    void *(*alloc)(void *ctx, size_t nbytes);
    void (*free)(void *ctx, void *ptr);
    /* Start `run(arg)` in a new thread; `join` waits for its end. */
    int (*thread_create)(void *ctx, void (*run)(void *arg), void *arg,
                         void **thread);
    void (*thread_join)(void *ctx, void *thread);
    /* Allow, or forbid, huge pages in a mapped range; at first they are
     * forbidden. NULL, or a table that ends before: they are not used. */
    int (*huge)(void *ctx, void *addr, size_t nbytes, bool allow);
    /* Forbid every access to a mapped range, or allow it again; for debug
     * builds, so that a use after release is a fault. May be NULL. */
    int (*protect)(void *ctx, void *addr, size_t nbytes, bool access);
};

/* The system's own memory and threads (mmap, madvise, malloc, pthreads), to
 * be copied and changed. Static; never fails. */
QUIRE_API const struct quire_sys *quire_sys_default(void);

/* How a file is opened and locked through the I/O table. */
#define QUIRE_IO_RDONLY 1u /* for reading only */
#define QUIRE_IO_CREATE 2u /* create it; it must not exist */
/* What is read or written through this handle goes past the system's cache
 * (O_DIRECT). Addresses, lengths and offsets are multiples of 4096. -EINVAL, by
 * open() or a transfer, where that can't be had. Stores opened with QUIRE_DIRECT
 * ask for it to read; and every store that is opened for writing, beside its
 * first handle, which goes on being the one that is synced: its sync() must
 * cover what was written through this one. */
#define QUIRE_IO_DIRECT 4u

/*
 * File input and output. Functions return a count or 0, or a negative errno;
 * a transfer may be short and is then continued by the library, -EINTR is
 * tried again. Offsets and lengths are bytes. Any thread.
 */
struct quire_io {
    size_t size; /* sizeof(struct quire_io) */
    void *ctx;   /* handed to every function */
    int (*open)(void *ctx, const char *path, unsigned flags, unsigned mode,
                void **file);
    ssize_t (*pread)(void *ctx, void *file, void *buf, size_t nbytes,
                     uint64_t off);
    ssize_t (*pwritev)(void *ctx, void *file, const struct iovec *iov,
                       int iovcnt, uint64_t off);
    /* Make everything written so far durable (fdatasync). */
    int (*sync)(void *ctx, void *file);
    /* Reserve room for a range that is going to be written. -EOPNOTSUPP is
     * no error. */
    int (*allocate)(void *ctx, void *file, uint64_t off, uint64_t nbytes);
    int (*truncate)(void *ctx, void *file, uint64_t nbytes);
    int (*get_size)(void *ctx, void *file, uint64_t *nbytes);
    /* The file system's block size in bytes; 4096 when unknown. */
    int (*block_size)(void *ctx, void *file, uint32_t *nbytes);
    /* Take an exclusive or shared lock without waiting; -EAGAIN when another
     * opener's lock forbids it. Released by close. */
    int (*lock)(void *ctx, void *file, bool exclusive);
    void (*close)(void *ctx, void *file);
    /* Fails with -EEXIST, and replaces nothing, when `to` exists. */
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*remove)(void *ctx, const char *path);
    /* Make the directory entry of `path` durable (fsync of its directory). */
    int (*sync_dir)(void *ctx, const char *path);
    /* Optional, from here on: NULL, and the library does without. Who copies a
     * table and replaces its `ctx` or pread() replaces these, or clears them. */
    /* As pread(), of bytes that the library caches itself: what the system has
     * not cached yet, it need not. NULL: pread() is called. */
    ssize_t (*pread_once)(void *ctx, void *file, void *buf, size_t nbytes,
                          uint64_t off);
    /* This range will be read soon: begin to read it, and don't wait. What is
     * returned is not looked at. NULL: nothing is read ahead. */
    int (*read_ahead)(void *ctx, void *file, uint64_t off, uint64_t nbytes);
};

/* The system's own files, to be copied and changed. Static; never fails. */
QUIRE_API const struct quire_io *quire_io_default(void);

/* ---------------------------------------------------------------------- */
/* Part one: the store                                                    */

struct quire;        /* an open store */
struct quire_txn;    /* a transaction */
struct quire_tree;   /* a named tree, as one transaction sees it */
struct quire_cursor; /* a position in a tree */

/* The number of a revision: 1 for the first commit, then 2, 3, ...; revision
 * 0 is the empty store. */
typedef uint64_t quire_rev;

/* A byte string. `data` may be NULL when size is 0. */
struct quire_val {
    const void *data;
    size_t size; /* bytes */
};

/* What a commit writes for a changed page. The numbers are stored in files. */
typedef enum quire_versioning {
    QUIRE_VERSIONING_DEFAULT = 0,      /* ADAPTIVE */
    QUIRE_VERSIONING_FULL = 1,         /* the whole page */
    QUIRE_VERSIONING_INCREMENTAL = 2,  /* the changed entries; the whole page
                                         when its chain holds `window`
                                         fragments */
    QUIRE_VERSIONING_DIFFERENTIAL = 3, /* all entries changed since the page was
                                          last written whole, so that two reads
                                          load it; the whole page every
                                          `window`-th time */
    QUIRE_VERSIONING_SLIDING = 4,      /* the changed entries and a share of
                                          those that no other of the newest
                                          `window` fragments has; never the
                                          whole page again, unless all of it
                                          changes */
    QUIRE_VERSIONING_ADAPTIVE = 5,     /* DIFFERENTIAL, but the whole page
                                         whenever that is cheaper in the long
                                         run; `window` is not looked at */
} quire_versioning;

/* Flags of quire_open(). */
#define QUIRE_RDONLY 1u   /* never write; share the file with other readers */
#define QUIRE_NOCREATE 2u /* QUIRE_NOTFOUND when there is no such file */
#define QUIRE_EXCL 4u     /* QUIRE_EXISTS when the file exists */
#define QUIRE_NOBACKGROUND 8u /* start no thread; callers do all the work */
/* Load pages past the system's cache, so that what this store reads takes no
 * memory but its budget. Nothing is then read ahead of scans, and what does not
 * fit the budget is read from the disk each time. QUIRE_INVAL where the file
 * system refuses. Writing is as without it. */
#define QUIRE_DIRECT 16u

#define QUIRE_BUDGET_MIN ((uint64_t)8 << 20)      /* bytes */
#define QUIRE_BUDGET_DEFAULT ((uint64_t)64 << 20) /* bytes */
#define QUIRE_PAGE_MIN 4096u                      /* bytes */
#define QUIRE_PAGE_DEFAULT 16384u                 /* bytes */
#define QUIRE_PAGE_MAX 65536u                     /* bytes */
#define QUIRE_WINDOW_DEFAULT 4u                   /* fragments */
#define QUIRE_WINDOW_MAX 16u                      /* fragments */
#define QUIRE_NAME_MAX 255u                       /* bytes of a tree's name */
#define QUIRE_VALUE_MAX ((uint64_t)1 << 30)       /* bytes of a value */
#define QUIRE_LABEL_MAX 255u                      /* bytes of a label */

struct quire_options {
    size_t size;    /* sizeof(struct quire_options) */
    unsigned flags; /* QUIRE_RDONLY, ... */
    unsigned mode;  /* permission bits of a new file; default 0644 */
    /* Hard limit on resident memory, all of it together: cached pages, pinned
     * pages, a transaction's changes, tables. At least QUIRE_BUDGET_MIN. Code,
     * stacks and fixed buffers come on top, less than 24 MiB. */
    uint64_t budget_bytes;
    /* Limit on mapped address space; default four times the budget. */
    uint64_t virtual_bytes;
    /* Size of a region, a power of two of 512 KiB to 64 MiB; default the
     * budget / 64, between 512 KiB and 4 MiB. */
    uint32_t region_bytes;
    /* The following three are for a new store, and ignored when an existing
     * one is opened. The first is fixed then; the others can be changed with
     * quire_set_versioning(). */
    uint32_t page_bytes;         /* a power of two, 4 to 64 KiB */
    quire_versioning versioning; /* of new pages */
    uint32_t window;             /* most fragments a page is made of, 2..16 */
    quire_log_fn log;            /* NULL: no log */
    void *log_arg;
    const struct quire_io *io;   /* NULL: quire_io_default() */
    const struct quire_sys *sys; /* NULL: quire_sys_default() */
};

/*
 * Open the store in the file `path`, creating it unless flags say otherwise;
 * `opt` may be NULL for the defaults. A store that was not closed is recovered
 * to its last whole commit. One handle may write: others, in this process or
 * another, get QUIRE_LOCKED; read-only handles share with each other.
 *
 * Returns: QUIRE_OK and *db; INVAL (an option, named in the detail), NOTFOUND,
 *          EXISTS, PERM, LOCKED, FORMAT (no store), CORRUPT, NOMEM, NOSPACE,
 *          IO. The file is unchanged on failure.
 * Context: any thread; reads and, unless read-only, may write the file.
 * Owner:   the caller, until quire_close().
 */
QUIRE_API quire_status quire_open(const char *path,
                                  const struct quire_options *opt,
                                  struct quire **db) QUIRE_MUST_CHECK;

/*
 * Change how changed pages are written from now on; QUIRE_VERSIONING_DEFAULT
 * and 0 leave the one or the other as it is. Pages that are there go on in the
 * new way when they are next changed, and every revision stays what it is.
 * Waits for its turn to write and makes one revision, durable when the call
 * returns, with the contents of the one before; none when nothing changes.
 *
 * Returns: QUIRE_OK; INVAL (versioning or window); as quire_begin() for
 *          writing, and as quire_commit(): unless UNDECIDED all is as before.
 * Context: any thread.
 */
QUIRE_API quire_status quire_set_versioning(struct quire *db,
                                            quire_versioning versioning,
                                            uint32_t window) QUIRE_MUST_CHECK;

/* What was still held when a store was closed; all zero but the figures of
 * its life, or the library has a fault. */
struct quire_close_report {
    size_t size;                  /* sizeof(struct quire_close_report) */
    uint64_t pinned_pages;        /* pages still pinned: 0 */
    uint64_t segments_in_use;     /* segments not given back: 0 */
    uint64_t intents;             /* changed pages not given back: 0 */
    uint64_t resident_peak_bytes; /* most memory resident at once */
    uint64_t regions_mapped;      /* regions mapped in the store's life */
    uint64_t regions_reused;      /* empty regions taken again */
    uint64_t regions_freed;       /* regions given back to the system */
};

/*
 * Close `db`; durable commits stay, un-synced ones are made durable first.
 * `report` may be NULL.
 *
 * Returns: QUIRE_OK; BUSY when transactions are open, and nothing is closed;
 *          IO or UNDECIDED when the last sync failed: the handle is closed all
 *          the same.
 * Context: any thread, when no other call on `db` runs or will be made.
 */
QUIRE_API quire_status quire_close_report(struct quire *db,
                                          struct quire_close_report *report);

/* quire_close_report() without the report. NULL is accepted. */
QUIRE_API quire_status quire_close(struct quire *db);

/* ---- transactions ---- */

/* Kinds of transaction. */
#define QUIRE_READ 0u
#define QUIRE_WRITE 1u

/*
 * Begin a transaction. QUIRE_READ sees the newest published revision and keeps
 * seeing it; any number may run, and they block nobody. QUIRE_WRITE waits for
 * its turn: one writer runs at a time, first come, first served. It sees the
 * newest commit of all, even one that still waits for its sync in another
 * thread; when that sync fails it can't be committed. A write transaction may
 * move between threads.
 *
 * Returns: QUIRE_OK and *txn; NOMEM; READONLY (write to a read-only store);
 *          POISONED; MISUSE (a second write transaction on the thread that last
 *          used the open one: it would wait for itself).
 * Owner:   the caller, until quire_commit() or quire_abort().
 */
QUIRE_API quire_status quire_begin(struct quire *db, unsigned kind,
                                   struct quire_txn **txn) QUIRE_MUST_CHECK;

/*
 * quire_begin(), but wait at most `timeout_ms` for the turn to write; 0: not at
 * all. Returns also TIMEOUT: the queue stands as if the call had never been.
 */
QUIRE_API quire_status
quire_begin_timed(struct quire *db, unsigned kind, uint64_t timeout_ms,
                  struct quire_txn **txn) QUIRE_MUST_CHECK;

/* Begin a read transaction at revision `rev`, which must exist: 0 is the empty
 * store. Returns also NOTFOUND; IO, CORRUPT while finding the revision. */
QUIRE_API quire_status quire_begin_at(struct quire *db, quire_rev rev,
                                      struct quire_txn **txn) QUIRE_MUST_CHECK;

/*
 * Begin a read transaction at the revision that was the newest one at `time_us`
 * (microseconds since 1970): the last one whose commit time is not later. A
 * store's first moment is its creation. Takes O(log n) steps for n revisions.
 * Returns also NOTFOUND (before the store was created); IO, CORRUPT.
 */
QUIRE_API quire_status quire_begin_at_time(
    struct quire *db, int64_t time_us, struct quire_txn **txn) QUIRE_MUST_CHECK;

/* Flags of quire_commit(). */
/* Do not wait for the disk: survives the process's death, not the power's; the
 * next synced commit or quire_sync() makes it durable, in order. */
#define QUIRE_NOSYNC 1u
#define QUIRE_EMPTY 2u /* make a revision even when nothing has changed */

/*
 * End `txn`. For a write transaction, make its changes one new revision, which
 * is durable when the call returns (unless QUIRE_NOSYNC), and which readers see
 * from then on, not earlier. `*rev`, if not NULL, is the revision made, or the
 * one seen when nothing was changed. Commits of several threads share a sync:
 * the next one is written while the disk is busy with those before it. None is
 * published, and none returns QUIRE_OK, before all earlier ones have been
 * published; an un-synced one waits for the earlier synced ones. When a sync
 * fails, all commits that wait are UNDECIDED.
 *
 * Returns: QUIRE_OK. NOMEM, NOSPACE, IO and CORRUPT (a page that had to be
 *          read), ABORTED, POISONED (a sync failed meanwhile): nothing has
 *          been committed, as after quire_abort(). UNDECIDED: see there; the
 *          handle is then poisoned.
 * Owner:   `txn`, its trees and cursors are gone, whatever is returned (but
 *          for MISUSE).
 */
QUIRE_API quire_status quire_commit(struct quire_txn *txn, unsigned flags,
                                    quire_rev *rev) QUIRE_MUST_CHECK;

/* End `txn` without a trace. Cannot fail; NULL is accepted; an ended handle is
 * ignored. Trees and cursors of `txn` are gone. */
QUIRE_API void quire_abort(struct quire_txn *txn);

/* ---- savepoints ---- */

/* The number of a savepoint; later ones have greater numbers. */
typedef uint64_t quire_savepoint;

/*
 * Mark the present state of the write transaction `txn`. Savepoints nest, to
 * any depth. Pages that are changed for the first time after one are copied;
 * what is marked stays in memory, inside the budget.
 *
 * Returns: QUIRE_OK and *sp; READONLY; ABORTED; NOMEM; NOSPACE, IO: the
 *          transaction can then only be aborted.
 * Owner:   `txn`: it goes when released, when an outer one is released or
 *          rolled back to, and when the transaction ends.
 */
QUIRE_API quire_status quire_savepoint_set(
    struct quire_txn *txn, quire_savepoint *sp) QUIRE_MUST_CHECK;

/*
 * Bring everything in `txn` back to what it was when `sp` was set: records,
 * metadata, names of trees, trees dropped since (their handles are valid
 * again). `sp` stays set; those set after it are gone. Trees opened since, and
 * their cursors, are closed; other cursors stay at their keys. Memory and file
 * space taken since are given back. Allocates nothing.
 *
 * Returns: QUIRE_OK; NOTFOUND (no such savepoint); READONLY; ABORTED.
 */
QUIRE_API quire_status quire_savepoint_rollback(
    struct quire_txn *txn, quire_savepoint sp) QUIRE_MUST_CHECK;

/* Forget `sp` and those set after it; the changes stay. Committing does that
 * to all of them. Returns as quire_savepoint_rollback(). */
QUIRE_API quire_status quire_savepoint_release(
    struct quire_txn *txn, quire_savepoint sp) QUIRE_MUST_CHECK;

/* The revision that a read transaction sees, or that a write transaction is
 * based on; 0 for an ended handle. */
QUIRE_API quire_rev quire_txn_rev(const struct quire_txn *txn);

/* Make all un-synced commits durable. Returns QUIRE_OK, POISONED, UNDECIDED. */
QUIRE_API quire_status quire_sync(struct quire *db) QUIRE_MUST_CHECK;

/* ---- revisions ---- */

struct quire_rev_info {
    size_t size; /* sizeof(struct quire_rev_info) */
    quire_rev rev;
    int64_t time_us;   /* commit time, microseconds since 1970; never falls */
    uint64_t file_off; /* bytes: where its commit record is */
};

/* The newest published revision. */
QUIRE_API quire_status quire_rev_newest(struct quire *db,
                                        quire_rev *rev) QUIRE_MUST_CHECK;

/* About revision `rev`. Returns QUIRE_OK; NOTFOUND; IO; CORRUPT; NOMEM. */
QUIRE_API quire_status quire_rev_info(struct quire *db, quire_rev rev,
                                      struct quire_rev_info *info)
    QUIRE_MUST_CHECK;

/* ---- trees ---- */

/* Flags of quire_tree_open(). */
#define QUIRE_TREE_CREATE 1u /* create the tree when it does not exist */

/*
 * Open the tree called `name` (1 to QUIRE_NAME_MAX bytes, any but NUL) as
 * `txn` sees it. Calls that take a tree accept NULL for the unnamed default
 * tree, which always exists.
 *
 * Returns: QUIRE_OK and *tree; NOTFOUND; INVAL; READONLY (create in a read
 *          transaction); NOMEM; IO; CORRUPT.
 * Owner:   `txn`; it goes when `txn` ends.
 */
QUIRE_API quire_status quire_tree_open(struct quire_txn *txn, const char *name,
                                       unsigned flags, struct quire_tree **tree)
    QUIRE_MUST_CHECK;

/* Remove the tree `name` with all its records; older revisions keep it.
 * Handles of it opened in `txn` are gone. */
QUIRE_API quire_status quire_tree_drop(struct quire_txn *txn,
                                       const char *name) QUIRE_MUST_CHECK;

/*
 * Call the tree `name` by the name `to` from now on; records, metadata, open
 * handles and cursors stay. Older revisions keep the old name.
 *
 * Returns: QUIRE_OK; NOTFOUND; EXISTS (there is a tree `to`, or it is the
 *          same); INVAL; else as quire_put().
 */
QUIRE_API quire_status quire_tree_rename(struct quire_txn *txn,
                                         const char *name,
                                         const char *to) QUIRE_MUST_CHECK;

/*
 * The tree names of `txn` in byte order: the first one greater than `after`
 * (NULL: the first of all) is copied into `name`. NOTFOUND after the last.
 */
QUIRE_API quire_status quire_tree_next(struct quire_txn *txn, const char *after,
                                       char name[QUIRE_NAME_MAX + 1])
    QUIRE_MUST_CHECK;

/* Number of records in the tree. O(1). */
QUIRE_API quire_status quire_tree_count(struct quire_txn *txn,
                                        struct quire_tree *tree,
                                        uint64_t *nrecords) QUIRE_MUST_CHECK;

/* What the pages of a tree are like, of one revision; the pieces of large values
 * are not counted. */
struct quire_tree_stat {
    size_t size;         /* sizeof(struct quire_tree_stat) */
    uint64_t records;    /* as quire_tree_count() */
    uint32_t height;     /* levels; 0: no page */
    uint32_t page_bytes; /* what a leaf may take; an inner page: twice that */
    uint64_t leaf_pages;
    uint64_t leaf_bytes; /* they take in memory: over leaf_pages * page_bytes
                              it is the fill */
    uint64_t inner_pages;
    uint64_t inner_bytes;  /* likewise */
    uint64_t stored_bytes; /* of the fragments that all these are read from */
    /* chains[n]: pages that are read from n fragments; [0]: pages that the
     * transaction has changed and not written. */
    uint64_t chains[QUIRE_WINDOW_MAX + 1];
    uint64_t label_bytes; /* the labels of its leaves take in memory, beside
                             leaf_bytes */
};

/*
 * Fill `st`, whose `size` the caller has set. Reads the pages above the leaves.
 *
 * Returns: QUIRE_OK; INVAL (size), MISUSE, NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status
quire_tree_stat_get(struct quire_txn *txn, struct quire_tree *tree,
                    struct quire_tree_stat *st) QUIRE_MUST_CHECK;

/*
 * A tree's metadata: bytes of the application's own, versioned like records;
 * up to QUIRE_VALUE_MAX. Getting copies up to `cap` bytes into `buf` and
 * always sets *size to the whole length; NOTFOUND when none was ever set.
 */
QUIRE_API quire_status
quire_tree_set_meta(struct quire_txn *txn, struct quire_tree *tree,
                    const struct quire_val *meta) QUIRE_MUST_CHECK;
QUIRE_API quire_status quire_tree_get_meta(struct quire_txn *txn,
                                           struct quire_tree *tree, void *buf,
                                           size_t cap,
                                           size_t *size) QUIRE_MUST_CHECK;

/* ---- records ---- */

/* Flags of quire_put(). */
#define QUIRE_NOREPLACE 1u /* QUIRE_EXISTS when the key exists */
#define QUIRE_REPLACE 2u   /* QUIRE_NOTFOUND when the key does not exist */

/* The greatest key of a store with pages of `page_bytes`: an eighth of it. */
#define QUIRE_KEY_MAX(page_bytes) ((size_t)(page_bytes) / 8)

/*
 * Store `val` under `key`, replacing what was there, a label too. Both are copied; either
 * may be empty and hold any bytes, but neither may point to what quire_get() or
 * a cursor of the same transaction has returned: this is their next call. Keys are ordered bytewise, a prefix before
 * what it is a prefix of.
 *
 * Returns: QUIRE_OK; EXISTS (QUIRE_NOREPLACE); TOOBIG; READONLY; ABORTED;
 *          NOMEM, NOSPACE, IO, CORRUPT: the transaction then stands as before
 *          the call, or says QUIRE_ABORTED from then on.
 */
QUIRE_API quire_status quire_put(struct quire_txn *txn, struct quire_tree *tree,
                                 const struct quire_val *key,
                                 const struct quire_val *val,
                                 unsigned flags) QUIRE_MUST_CHECK;

/* Gives the next `nbytes` bytes of a value: fills all of `buf`, or fails. It
 * must not use the transaction. */
typedef quire_status (*quire_read_fn)(void *arg, void *buf, size_t nbytes);

/*
 * Store a value of `size` bytes under `key` that `read` gives piece by piece,
 * from its beginning to its end, while this call runs: the value is never in
 * memory as a whole. Returns as quire_put(), or what `read` said; then nothing
 * has been stored, and the transaction stands as before the call.
 */
QUIRE_API quire_status quire_put_from(struct quire_txn *txn,
                                      struct quire_tree *tree,
                                      const struct quire_val *key,
                                      uint64_t size, quire_read_fn read,
                                      void *arg) QUIRE_MUST_CHECK;

/* Delete `key`. Returns QUIRE_OK; NOTFOUND; else as quire_put(). */
QUIRE_API quire_status quire_del(struct quire_txn *txn, struct quire_tree *tree,
                                 const struct quire_val *key) QUIRE_MUST_CHECK;

/*
 * Delete the records with keys from `from` on (NULL: from the first) and below
 * `to` (NULL: to the last). *ndeleted, which may be NULL, is how many there
 * were: 0 for a range that is empty or ends before it begins. What lies wholly
 * within the range is cut off unread: the cost is that of a few single
 * deletes, whatever the range holds.
 *
 * Returns: QUIRE_OK; else as quire_put().
 */
QUIRE_API quire_status quire_del_range(struct quire_txn *txn,
                                       struct quire_tree *tree,
                                       const struct quire_val *from,
                                       const struct quire_val *to,
                                       uint64_t *ndeleted) QUIRE_MUST_CHECK;

/*
 * Look `key` up without a copy: *val points into the cached page, which stays
 * pinned until the next call on `txn` or its end.
 *
 * Returns: QUIRE_OK and *val; NOTFOUND; TOOBIG when the value spans several
 *          pages (val->data is NULL, val->size its length): use quire_read();
 *          NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_get(struct quire_txn *txn, struct quire_tree *tree,
                                 const struct quire_val *key,
                                 struct quire_val *val) QUIRE_MUST_CHECK;

/*
 * Copy up to `cap` bytes of the value of `key`, from byte `off` on, into
 * `buf`. *size is the value's whole length, so that cap 0 asks for it. Takes
 * no pin. Values of any length; a large one is read a page at a time.
 *
 * Returns: QUIRE_OK; NOTFOUND; NOMEM, IO, CORRUPT. `off` past the end copies
 *          nothing.
 */
QUIRE_API quire_status quire_read(struct quire_txn *txn,
                                  struct quire_tree *tree,
                                  const struct quire_val *key, uint64_t off,
                                  void *buf, size_t cap,
                                  uint64_t *size) QUIRE_MUST_CHECK;

/*
 * A record may carry a *label*: a short byte string of the application's own, of 1
 * to QUIRE_LABEL_MAX bytes, beside its value: a type, a time, who wrote it. It
 * is versioned with the record: each revision has the label that was committed
 * in it, and a savepoint, an abort or a delete treats both alike. Records
 * without a label pay nothing for it, in memory or in the file.
 *
 * A record is replaced as a whole: quire_put() and every other call that stores
 * a value leave it without a label, but for quire_put_labeled(); an empty label
 * is no label.
 */

/* As quire_put(), with a label. It is copied, and may not point to what the
 * transaction has returned. Returns also TOOBIG for a label that is too long. */
QUIRE_API quire_status quire_put_labeled(struct quire_txn *txn,
                                         struct quire_tree *tree,
                                         const struct quire_val *key,
                                         const struct quire_val *val,
                                         const struct quire_val *label,
                                         unsigned flags) QUIRE_MUST_CHECK;

/*
 * Give the record of `key` another label, or none if it is empty; its value,
 * of whatever length, stays and is not copied but for what stands in the leaf.
 * `label` is copied, and may not point to what the transaction has returned.
 *
 * Returns: QUIRE_OK; NOTFOUND: there is no such record; TOOBIG; else as
 *          quire_put().
 */
QUIRE_API quire_status quire_set_label(
    struct quire_txn *txn, struct quire_tree *tree, const struct quire_val *key,
    const struct quire_val *label) QUIRE_MUST_CHECK;

/*
 * Copy up to `cap` bytes of the label of `key` into `buf`; QUIRE_LABEL_MAX are
 * always enough. *size is its length, 0 when the record has none. Takes no pin.
 *
 * Returns: QUIRE_OK; NOTFOUND: there is no such record; NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_get_label(struct quire_txn *txn,
                                       struct quire_tree *tree,
                                       const struct quire_val *key, void *buf,
                                       size_t cap,
                                       size_t *size) QUIRE_MUST_CHECK;

/* One look-up of quire_get_many(). */
struct quire_lookup {
    struct quire_val key; /* in */
    void *buf;            /* in: where the value goes; NULL if cap is 0 */
    size_t cap;           /* in: bytes of it, at most */
    uint64_t size;        /* out: the value's whole length; 0 if not found */
    quire_status status;  /* out: QUIRE_OK; NOTFOUND */
};

/*
 * Look many keys up, each as quire_read() from byte 0 does. For keys of which
 * the pages are cached this takes a fraction of the time of as many single
 * look-ups, since they wait for memory together; sorted keys help, but need
 * not be. Takes no pin.
 *
 * Returns: QUIRE_OK: each look-up has its `status`. NOMEM, IO, CORRUPT: one
 *          of them failed and has this status, and those behind it may have
 *          none. MISUSE (a NULL pointer).
 */
QUIRE_API quire_status quire_get_many(struct quire_txn *txn,
                                      struct quire_tree *tree,
                                      struct quire_lookup *lookups,
                                      size_t nlookups) QUIRE_MUST_CHECK;

/* Which record quire_get_bound() and quire_cursor_seek() mean. */
typedef enum quire_seek {
    QUIRE_SEEK_FIRST = 0, /* the least key; `key` is not looked at */
    QUIRE_SEEK_LAST = 1,  /* the greatest key; `key` is not looked at */
    QUIRE_SEEK_EQ = 2,    /* the key itself */
    QUIRE_SEEK_GE = 3,    /* the least key >= `key` */
    QUIRE_SEEK_GT = 4,    /* the least key > `key` */
    QUIRE_SEEK_LE = 5,    /* the greatest key <= `key` */
    QUIRE_SEEK_LT = 6,    /* the greatest key < `key` */
} quire_seek;

/*
 * Look up by bound: the record that `how` and `key` name, as
 * quire_cursor_seek() would find it. QUIRE_SEEK_GE is the lower bound, the
 * least key not below `key`; QUIRE_SEEK_LE the greatest key not above it. With
 * FIRST and LAST `key` is not looked at and may be NULL. *found is the
 * record's key, *val its value; one of them may be NULL. Both are valid until
 * the next call on `txn` or its end.
 *
 * Returns: QUIRE_OK; NOTFOUND; INVAL (`how`); TOOBIG, when the value spans
 *          several pages: *found is set, val->data is NULL, val->size the
 *          length; NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_get_bound(struct quire_txn *txn,
                                       struct quire_tree *tree, quire_seek how,
                                       const struct quire_val *key,
                                       struct quire_val *found,
                                       struct quire_val *val) QUIRE_MUST_CHECK;

/*
 * How many records have keys from `from` on (NULL: from the first) and below
 * `to` (NULL: to the last). Exact, in a write transaction too; 0 for a range
 * that ends before it begins. Reads at most two pages of each level of the
 * tree, whatever the range holds.
 *
 * Returns: QUIRE_OK; NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_count_range(struct quire_txn *txn,
                                         struct quire_tree *tree,
                                         const struct quire_val *from,
                                         const struct quire_val *to,
                                         uint64_t *nrecords) QUIRE_MUST_CHECK;

/* ---- writes that look at the old value first ---- */

/*
 * Compare and put: if the value of `key` equals `expected` (NULL: if there is
 * no record), store `val` (NULL: delete the record). Values of any length are
 * compared, a page at a time. Arguments as for quire_put().
 *
 * Returns: QUIRE_OK; MISMATCH: the record is another, or there is none, or
 *          there is one; nothing has changed; else as quire_put().
 */
QUIRE_API quire_status
quire_put_if(struct quire_txn *txn, struct quire_tree *tree,
             const struct quire_val *key, const struct quire_val *expected,
             const struct quire_val *val) QUIRE_MUST_CHECK;

/* The length of a value that there isn't. */
#define QUIRE_NO_VALUE UINT64_MAX

/*
 * Get and put: copy the old value of `key` into `buf` of `cap` bytes and store
 * `val` (NULL: delete the record) in its place. *old_size is the old value's
 * length, QUIRE_NO_VALUE when there was no record. With `buf` NULL and `cap` 0
 * only the length is told. `buf` must not overlap `key` or `val`.
 *
 * Returns: QUIRE_OK; TOOBIG when the old value is longer than `cap`: *old_size
 *          is its length, and nothing has changed; else as quire_put(), with
 *          the bytes of `buf` undefined.
 */
QUIRE_API quire_status quire_swap(struct quire_txn *txn,
                                  struct quire_tree *tree,
                                  const struct quire_val *key,
                                  const struct quire_val *val, void *buf,
                                  size_t cap,
                                  uint64_t *old_size) QUIRE_MUST_CHECK;

struct quire_update; /* a record that is being updated */

/* What is to become of it. */
typedef enum quire_verdict {
    QUIRE_VERDICT_KEEP = 0,   /* it stays as it is */
    QUIRE_VERDICT_STORE = 1,  /* it gets the new value */
    QUIRE_VERDICT_DELETE = 2, /* it goes; none: no error */
} quire_verdict;

/*
 * Decides over a record. `old` is its value, NULL when there is no record;
 * old->data is NULL with old->size > 0 when it spans several pages: use
 * quire_update_read(). For STORE, *val is the new value, which is copied after
 * the return and may lie in `old`. Any negative status instead of a verdict
 * makes quire_update() return it with nothing changed.
 *
 * Context: the caller's thread. Every other call on the transaction, its trees
 *          and its cursors returns QUIRE_MISUSE from within.
 */
typedef int (*quire_update_fn)(void *arg, struct quire_update *up,
                               const struct quire_val *old,
                               struct quire_val *val);

/*
 * Read, modify, write: `fn` sees the value of `key` without a copy and says
 * what becomes of it.
 *
 * Returns: QUIRE_OK; what `fn` returned, if negative; INVAL for a verdict that
 *          is none; else as quire_put().
 */
QUIRE_API quire_status quire_update(struct quire_txn *txn,
                                    struct quire_tree *tree,
                                    const struct quire_val *key,
                                    quire_update_fn fn,
                                    void *arg) QUIRE_MUST_CHECK;

/* As quire_read(), for the old value, while `fn` runs. NOTFOUND: there is no
 * record. MISUSE: `fn` has returned. */
QUIRE_API quire_status quire_update_read(struct quire_update *up, uint64_t off,
                                         void *buf, size_t cap,
                                         uint64_t *size) QUIRE_MUST_CHECK;

/* ---- cursors ---- */

/*
 * Open a cursor on `tree`, at first on no record. Several may be open. In a
 * write transaction a cursor stays at its key through puts and deletes, and
 * moves on from there.
 *
 * Owner: the caller, until quire_cursor_close() or the end of `txn`.
 */
QUIRE_API quire_status
quire_cursor_open(struct quire_txn *txn, struct quire_tree *tree,
                  struct quire_cursor **cur) QUIRE_MUST_CHECK;

/* NULL is accepted; a closed cursor is ignored. */
QUIRE_API void quire_cursor_close(struct quire_cursor *cur);

/* Move to the record that `how` and `key` name; `key` may be what this cursor
 * has returned. NOTFOUND: there is none, and the cursor is on no record. NOMEM,
 * IO, CORRUPT: it is on no record either. */
QUIRE_API quire_status
quire_cursor_seek(struct quire_cursor *cur, quire_seek how,
                  const struct quire_val *key) QUIRE_MUST_CHECK;

/* Move to the next or previous record in key order; on no record: the first or
 * the last. NOTFOUND past the end; the cursor is then on no record. */
QUIRE_API quire_status quire_cursor_next(struct quire_cursor *cur)
    QUIRE_MUST_CHECK;
QUIRE_API quire_status quire_cursor_prev(struct quire_cursor *cur)
    QUIRE_MUST_CHECK;

/*
 * The record under the cursor, without a copy; `key` or `val` may be NULL.
 * Valid until the next call on this cursor, or the next call that changes
 * something in its transaction, sets a savepoint or creates a tree.
 *
 * Returns: QUIRE_OK; NOTFOUND (on no record, or its record was deleted);
 *          TOOBIG: *key is set, val->data is NULL, val->size the length: use
 *          quire_cursor_read(); NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_cursor_get(struct quire_cursor *cur,
                                        struct quire_val *key,
                                        struct quire_val *val) QUIRE_MUST_CHECK;

/* The label of the record under the cursor, without a copy; size 0: it has none.
 * Valid as with quire_cursor_get(). Returns QUIRE_OK; NOTFOUND, as there;
 * NOMEM, IO, CORRUPT. */
QUIRE_API quire_status quire_cursor_get_label(
    struct quire_cursor *cur, struct quire_val *label) QUIRE_MUST_CHECK;

/* A record of quire_cursor_next_many(). */
struct quire_record {
    struct quire_val key;
    struct quire_val val; /* data NULL: too large to be had without a copy; use
                             quire_cursor_read() while it is the last one */
};

/*
 * Move over the next records, at least one and up to `cap`, and have them
 * without a copy: the fastest way to scan. They are of one page, so that
 * fewer than asked for does not mean the end. Keys are put into `buf` where the
 * page keeps them in parts; `buf_bytes` is at least QUIRE_KEY_MAX(page_bytes),
 * and with 16 KiB there is room for most pages' keys. The cursor is then on the
 * last of them. Valid as with quire_cursor_get(), the keys as long as `buf`.
 *
 * Returns: QUIRE_OK and *n; NOTFOUND past the end (*n is 0); INVAL (`cap` is 0
 *          or `buf` too short); NOMEM, IO, CORRUPT.
 */
QUIRE_API quire_status quire_cursor_next_many(struct quire_cursor *cur,
                                              struct quire_record *records,
                                              size_t cap, void *buf,
                                              size_t buf_bytes,
                                              size_t *n) QUIRE_MUST_CHECK;

/*
 * Store `val` under `key`, as quire_put() does, and move to it. With `key`
 * NULL the record under the cursor gets the value: NOTFOUND when there is none
 * or it was deleted. After a failure the cursor is where it was. Every other
 * cursor stays at its key.
 */
QUIRE_API quire_status quire_cursor_put(struct quire_cursor *cur,
                                        const struct quire_val *key,
                                        const struct quire_val *val,
                                        unsigned flags) QUIRE_MUST_CHECK;

/*
 * Delete the record under the cursor. The cursor, like every other one there,
 * stays at the key: getting says NOTFOUND until something is put there,
 * quire_cursor_next() moves to the least greater key, quire_cursor_prev() to
 * the greatest lesser one. NOTFOUND: it is on no record, or it was deleted.
 */
QUIRE_API quire_status quire_cursor_del(struct quire_cursor *cur)
    QUIRE_MUST_CHECK;

/* As quire_read(), for the record under the cursor. */
QUIRE_API quire_status quire_cursor_read(struct quire_cursor *cur, uint64_t off,
                                         void *buf, size_t cap,
                                         uint64_t *size) QUIRE_MUST_CHECK;

/* ---- looking after a store ---- */

#define QUIRE_SEG_MIN ((size_t)4096)       /* bytes: smallest class */
#define QUIRE_SEG_MAX ((size_t)256 * 1024) /* bytes: greatest class */
#define QUIRE_SEG_CLASSES 7                /* 4, 8, ... 256 KiB */

/* Of one class of the region allocator: segments, but for the regions. */
struct quire_pool_class_stat {
    uint64_t in_use;         /* handed out */
    uint64_t free;           /* resident and on offer */
    uint64_t in_magazines;   /* resident, kept by threads */
    uint64_t out_peak;       /* most handed out and in magazines at once */
    uint64_t regions;        /* that serve this class now */
    uint64_t regions_mapped; /* events since creation, from here on */
    uint64_t regions_reused; /* empty ones, of whatever class before */
    uint64_t regions_freed;
    uint64_t decommitted_bytes;
};

/* Figures of the region allocator; see part three. All bytes. */
struct quire_pool_stat {
    size_t size; /* sizeof(struct quire_pool_stat) */
    uint64_t budget_bytes;
    uint64_t virtual_bytes;  /* address space mapped */
    uint64_t resident_bytes; /* memory the kernel charges */
    uint64_t in_use_bytes;   /* segments handed out, tables */
    uint64_t resident_peak_bytes;
    uint64_t segments_in_use;
    uint64_t regions;        /* mapped now */
    uint64_t regions_empty;  /* of these, decommitted and on offer */
    uint64_t regions_mapped; /* events since creation, from here on */
    uint64_t regions_reused;
    uint64_t regions_freed;
    uint64_t sweeps;
    uint64_t pressure_calls;
    uint64_t failed_allocs;
    uint64_t misuses;           /* foreign, interior or second releases */
    uint64_t background_sweeps; /* passes of the sweeper's thread */
    uint64_t decommitted_bytes; /* given back to the system, all together */
    uint64_t free_bytes;        /* now: resident, on offer */
    uint64_t magazine_bytes;    /* now: resident, kept by threads */
    uint64_t magazines;         /* now: threads that keep some */
    struct quire_pool_class_stat cls[QUIRE_SEG_CLASSES]; /* smallest first */
    uint64_t waits; /* allocations that waited for what others give back */
};

/* Kinds of page, for statistics. */
typedef enum quire_kind {
    QUIRE_KIND_LEAF = 0,
    QUIRE_KIND_INNER = 1,
    QUIRE_KIND_FRAGMENT = 2,
    QUIRE_KIND_OVERFLOW = 3,
    QUIRE_KIND_COUNT = 4,
} quire_kind;

/* Of one kind of page in a cache. Hits are counted by a sample: see
 * struct quire_cache_stat. A miss counts here once its page has come. */
struct quire_cache_kind_stat {
    uint64_t pages;        /* now: resident */
    uint64_t bytes;        /* now: their weight */
    uint64_t pinned_pages; /* now: of these, and of the orphans */
    uint64_t pinned_bytes;
    uint64_t orphans; /* now: removed, but still pinned */
    uint64_t orphan_bytes;
    uint64_t age_ms;  /* now: mean time since the resident ones came */
    uint64_t lookups; /* events since creation: hits and misses */
    uint64_t hits_hint;
    uint64_t hits_table;
    uint64_t misses;
    uint64_t loads;
    uint64_t waits;
    uint64_t removals[4]; /* by enum quire_cause */
};

/*
 * Figures of the page cache; see part two. All are exact but hits: a thread
 * counts one in 61 of those by hint, and one in 61 of those by table, as 61,
 * so that a hit writes nothing that threads share. Of n hits the error is
 * below 61 for each thread, and with several kinds or caches in use by it,
 * about 8 times the square root of n for one of them.
 */
struct quire_cache_stat {
    size_t size;           /* sizeof(struct quire_cache_stat) */
    uint64_t pages;        /* resident */
    uint64_t bytes;        /* their weight */
    uint64_t pinned_pages; /* of these, and of the orphans */
    uint64_t pinned_bytes[QUIRE_KIND_COUNT];
    uint64_t limbo_bytes; /* removed, not yet given back */
    uint64_t hits_hint;   /* events since creation, from here on */
    uint64_t hits_table;
    uint64_t misses;
    uint64_t loads;
    uint64_t load_failures;
    uint64_t waits;              /* look-ups that waited for another's load */
    uint64_t removals[4];        /* by enum quire_cause */
    uint64_t misuses;            /* unpins without a pin */
    uint64_t background_evicted; /* pages, by the background thread */
    struct quire_cache_kind_stat kind[QUIRE_KIND_COUNT];
    /* Of a store: records of pages that were not resident. */
    uint64_t rows;        /* now */
    uint64_t row_bytes;   /* now: what is charged for them */
    uint64_t row_lookups; /* events since creation */
    uint64_t row_hits;
};

struct quire_stat {
    size_t size;           /* sizeof(struct quire_stat) */
    quire_rev rev;         /* newest published revision */
    quire_rev rev_durable; /* newest revision known durable */
    uint64_t file_bytes;   /* size of the file */
    uint64_t log_off;      /* bytes: end of the last commit */
    uint32_t page_bytes;
    uint32_t window;
    quire_versioning versioning;
    uint32_t block_bytes;
    uint64_t incarnation; /* times the store was recovered or opened */
    uint64_t commits;     /* since opening, from here on */
    uint64_t syncs;
    uint64_t written_bytes; /* to the file, zeros ahead left out */
    uint64_t zeroed_bytes;  /* zeros written ahead of the log */
    uint64_t read_bytes;
    uint64_t pages_ahead;  /* pages written before their commit */
    uint64_t transactions; /* open now */
    struct quire_pool_stat pool;
    struct quire_cache_stat cache;
};

/* Fill `st`, whose `size` the caller has set. Figures are read one by one and
 * need not be of one instant. */
QUIRE_API quire_status quire_stat_get(struct quire *db,
                                      struct quire_stat *st) QUIRE_MUST_CHECK;

/* A fault that quire_verify() found. */
struct quire_fault {
    quire_rev rev;       /* the revision whose walk met it */
    uint64_t file_off;   /* bytes: where in the file */
    quire_status status; /* CORRUPT or IO */
    const char *tree;    /* name of the tree, "" for the default one, NULL for
                            the system's own */
    const char *text;    /* what is wrong */
};

struct quire_verify_report {
    size_t size; /* sizeof(struct quire_verify_report) */
    uint64_t revisions;
    uint64_t pages;     /* page versions checked */
    uint64_t fragments; /* read and checked */
    uint64_t records;   /* of the newest revision */
    uint64_t faults;
};

/*
 * Walk every page of every revision: checksums, order, bounds, references,
 * counts. `fault`, if not NULL, is called for each fault found; the walk goes
 * on. `report` may be NULL.
 *
 * Returns: QUIRE_OK, no fault; CORRUPT, faults were found; NOMEM, IO, MISUSE:
 *          the walk could not be finished.
 * Context: any thread; `fault` is called on it with no lock held.
 */
QUIRE_API quire_status quire_verify(
    struct quire *db, void (*fault)(void *arg, const struct quire_fault *f),
    void *arg, struct quire_verify_report *report) QUIRE_MUST_CHECK;

/* ---------------------------------------------------------------------- */
/* Part two: the page cache                                               */

struct quire_cache;
struct quire_pool; /* part three */

/* Why a page left the cache. */
typedef enum quire_cause {
    QUIRE_CAUSE_EVICTED = 0,  /* to make room */
    QUIRE_CAUSE_REMOVED = 1,  /* quire_cache_remove() */
    QUIRE_CAUSE_REPLACED = 2, /* quire_cache_insert() over it */
    QUIRE_CAUSE_CLOSED = 3,   /* quire_cache_destroy() */
} quire_cause;

/* A page's payload and what it weighs. */
struct quire_page {
    void *payload;
    uint64_t weight_bytes; /* 1 .. 2^32-1; charged until the page has left */
    quire_kind kind;
};

/* What a cache's eviction is to save. */
typedef enum quire_objective {
    QUIRE_OBJECTIVE_REQUESTS = 0, /* misses, whatever their size */
    QUIRE_OBJECTIVE_BYTES = 1,    /* bytes loaded */
} quire_objective;

/* How a cache chooses what to evict. */
typedef enum quire_policy {
    /* Tries eleven configurations (twelve where sizes vary) on a sample of the
     * keys, and follows the one that does best. */
    QUIRE_POLICY_ADAPTIVE = 0,
    QUIRE_POLICY_TINYLFU = 1,     /* its first configuration, fixed */
    QUIRE_POLICY_CLOCK = 2,       /* a second chance for what was used */
    QUIRE_POLICY_GREEDY_DUAL = 3, /* frequency by size; objective requests */
} quire_policy;

struct quire_cache_options {
    size_t size; /* sizeof(struct quire_cache_options) */
    /* Weights together stay below this; a larger page is refused. */
    uint64_t capacity_bytes;
    /* Most pages at once; default capacity_bytes / 4096. */
    uint32_t max_pages;
    /*
     * Fill *page for `key`; `arg` is what the caller gave to pin(). Called
     * with no lock held; waits for nothing but its own input. On failure the
     * status is handed to everyone waiting for this key and the next look-up
     * tries again.
     */
    quire_status (*load)(void *ctx, uint64_t key, void *arg,
                         struct quire_page *page);
    /*
     * `page` has left; give its payload back. Called exactly once for each
     * page that was in the cache, whatever the cause, after its last pin, a
     * grace period later, with no lock held. It may not call the cache.
     */
    void (*removed)(void *ctx, uint64_t key, const struct quire_page *page,
                    quire_cause cause);
    void *ctx;
    quire_log_fn log;
    void *log_arg;
    quire_objective objective;
    quire_policy policy;
    /* One thread at a time uses the cache, outside read sections: room is then
     * made to the byte and at once, without waiting for readers, so that the
     * same calls always do the same. For simulations; payloads may be any
     * pointer but NULL, weights anything. */
    bool synchronous;
    /*
     * Run a thread that evicts ahead of need: when less than a 32nd of the
     * frames (at most 512) is free, or more than 31/32 of capacity_bytes (of
     * the pool's budget, if there is no capacity) is in use, down to 30/32.
     * Without it, callers do it when they need room. Not with `synchronous`.
     */
    bool background;
    /* NULL, or called as removed(), and just before it, for what was evicted
     * only; the payload is still whole. */
    void (*evicted)(void *ctx, uint64_t key, const struct quire_page *page);
    /* Percent of the bytes in the cache that a kind of page keeps, however
     * little it is used, as long as others can be evicted; together at most
     * 90. 0: no such share. */
    uint8_t min_share_percent[QUIRE_KIND_COUNT];
};

/* A pinned page. */
struct quire_pin {
    const void *payload;
    uint32_t frame; /* for quire_cache_unpin() */
};

/* The hint of a page that was never looked up. */
#define QUIRE_HINT_NONE UINT32_MAX

/*
 * Create a cache whose tables are charged to `pool`, and which `pool` asks to
 * evict when its own budget is used up. Returns QUIRE_OK; INVAL; NOMEM.
 */
QUIRE_API quire_status quire_cache_create(
    struct quire_pool *pool, const struct quire_cache_options *opt,
    struct quire_cache **cache) QUIRE_MUST_CHECK;

/* Removes every page (CLOSED). BUSY, and nothing done but a census in the log,
 * while pages are pinned. NULL is accepted. */
QUIRE_API quire_status quire_cache_destroy(struct quire_cache *cache);

/*
 * Pin the page of `key`, loading it when it isn't resident; one load serves
 * all who wait. `hint`, if not NULL, is where the caller remembers the frame:
 * at first QUIRE_HINT_NONE, updated by the call; plain loads and stores of
 * aligned 32 bits suffice, a stale hint only costs a table look-up.
 *
 * Returns: QUIRE_OK and *pin; what the loader said; NOMEM (everything is
 *          pinned, with figures in the detail); MISUSE (inside a read
 *          section).
 */
QUIRE_API quire_status quire_cache_pin(struct quire_cache *cache, uint64_t key,
                                       uint32_t *hint, void *arg,
                                       struct quire_pin *pin) QUIRE_MUST_CHECK;

/* Give a pin back. An unpin without a pin is counted, logged and ignored. */
QUIRE_API void quire_cache_unpin(struct quire_cache *cache,
                                 const struct quire_pin *pin);

/*
 * A read section: between enter and exit, pages that quire_cache_get() returns
 * stay where they are without a pin. Nothing that waits, loads or allocates
 * may be called inside. Sections nest.
 */
QUIRE_API void quire_cache_enter(struct quire_cache *cache);
QUIRE_API void quire_cache_exit(struct quire_cache *cache);

/* The resident page of `key`, or NULL; inside a read section only. */
QUIRE_API const void *quire_cache_get(struct quire_cache *cache, uint64_t key,
                                      uint32_t *hint);

/* Hand a page over to the cache under `key`, replacing one that is there. On
 * failure the caller keeps it. Returns QUIRE_OK; NOMEM; BUSY (the key is being
 * loaded); INVAL; MISUSE. */
QUIRE_API quire_status
quire_cache_insert(struct quire_cache *cache, uint64_t key,
                   const struct quire_page *page) QUIRE_MUST_CHECK;

/* Remove the page of `key`. A pinned one becomes invisible at once and leaves
 * with its last pin. Returns QUIRE_OK; NOTFOUND. */
QUIRE_API quire_status quire_cache_remove(struct quire_cache *cache,
                                          uint64_t key);

/*
 * Who holds what: a log line for each pinned page, with its key, kind, weight
 * and number of pins, and in builds with assertions (DEBUG=1) with the tag and
 * the thread of each pin. *npages, if npages is not NULL: how many pages.
 * quire_cache_destroy() does the same when it meets pins. Returns QUIRE_OK;
 * MISUSE.
 */
QUIRE_API quire_status quire_cache_census(struct quire_cache *cache,
                                          uint64_t *npages) QUIRE_MUST_CHECK;

/* The tag of the pins that this thread takes from now on; returns the one
 * until now. NULL is none. The text is copied, up to 31 bytes of it, when a pin
 * is taken. Builds without assertions ignore it and return NULL. */
QUIRE_API const char *quire_cache_tag(const char *tag);

QUIRE_API quire_status quire_cache_stat_get(
    struct quire_cache *cache, struct quire_cache_stat *st) QUIRE_MUST_CHECK;

/* ---------------------------------------------------------------------- */
/* Part three: the region allocator                                       */

struct quire_pool_options {
    size_t size;            /* sizeof(struct quire_pool_options) */
    uint64_t budget_bytes;  /* at least QUIRE_BUDGET_MIN; default 64 MiB */
    uint64_t virtual_bytes; /* default four times the budget */
    uint32_t region_bytes;  /* see struct quire_options */
    bool background;        /* run the sweeper's thread */
    quire_log_fn log;
    void *log_arg;
    const struct quire_sys *sys;
};

/* Create a pool. Maps nothing before the first allocation but its tables.
 * Returns QUIRE_OK; INVAL; NOMEM. */
QUIRE_API quire_status quire_pool_create(const struct quire_pool_options *opt,
                                         struct quire_pool **pool)
    QUIRE_MUST_CHECK;

/* BUSY, and nothing done, while segments are in use. NULL is accepted. */
QUIRE_API quire_status quire_pool_destroy(struct quire_pool *pool);

/*
 * Take a segment of the smallest class that holds `nbytes`, 1 ..
 * QUIRE_SEG_MAX; its bytes are undefined, its address a multiple of its size.
 *
 * Returns: QUIRE_OK and *seg; INVAL (size); NOMEM: the budget, after sweeping,
 *          asking the pressure callback, and waiting at most 50 ms for what
 *          other threads give back; or the system. MISUSE inside a read
 *          section (quire_cache_enter()).
 * Context: any thread. Inside the pressure callback it fails at once.
 */
QUIRE_API quire_status quire_pool_alloc(struct quire_pool *pool, size_t nbytes,
                                        void **seg) QUIRE_MUST_CHECK;

/* Give `seg` back; NULL is accepted. A pointer that is not a segment in use is
 * refused, counted and logged. Returns QUIRE_OK; MISUSE. */
QUIRE_API quire_status quire_pool_free(struct quire_pool *pool, void *seg);

/*
 * Called when the budget is used up, to give back at least `nbytes` if it can;
 * returns the bytes given back. Allocating inside it fails at once. Set before
 * the pool is used by several threads; NULL for none.
 */
typedef uint64_t (*quire_pressure_fn)(void *arg, uint64_t nbytes);
QUIRE_API quire_status quire_pool_set_pressure(struct quire_pool *pool,
                                               quire_pressure_fn fn,
                                               void *arg) QUIRE_MUST_CHECK;

/*
 * Change the budget. A smaller one is reclaimed first, as an allocation of the
 * difference would be: by sweeping, by the pressure callback and by waiting.
 * Regions keep their size, and the limit on address space stays.
 *
 * Returns: QUIRE_OK; INVAL: below QUIRE_BUDGET_MIN or above the limit on
 *          address space; NOMEM: too much is in use, and the budget is as it
 *          was; MISUSE: inside the pressure callback.
 * Context: one thread at a time; others may go on using the pool.
 */
QUIRE_API quire_status quire_pool_set_budget(
    struct quire_pool *pool, uint64_t budget_bytes) QUIRE_MUST_CHECK;

/* Give every empty region and idle free segment back to the system; returns
 * the bytes given back. */
QUIRE_API uint64_t quire_pool_sweep(struct quire_pool *pool);

QUIRE_API quire_status quire_pool_stat_get(
    struct quire_pool *pool, struct quire_pool_stat *st) QUIRE_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* QUIRE_H */
