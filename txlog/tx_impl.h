/*
 * tx_impl.h - an open store, its handles, and what txlog/ shares within itself.
 *
 * Handles (transactions, trees, cursors) are type-stable: an ended one goes to
 * its store's free list and keeps its memory until the store is closed, so
 * that a call on an ended handle is seen by its magic number (TX-6).
 */
#ifndef QUIRE_TXLOG_TX_IMPL_H
#define QUIRE_TXLOG_TX_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "alloc/broken.h"
#include "alloc/lock.h"
#include "alloc/ra.h"
#include "cache/pc.h"
#include "pages/file/pf.h"
#include "pages/pg.h"
#include "quire.h"
#include "txlog/tree/tr.h"

#define TX_DB_MAGIC 0x7175697265646231u     /* "quiredb1" */
#define TX_TXN_MAGIC 0x717569726574786eu    /* "quiretxn" */
#define TX_TREE_MAGIC 0x7175697265747265u   /* "quiretre" */
#define TX_CURSOR_MAGIC 0x7175697265637572u /* "quirecur" */

/* A share of the budget that changed pages may take before they are written
 * ahead: half. The rest is the cache's, which a load also reads through. */
#define TX_LOG_SHARE 2u
/* Eighths of the budget that rows may take: records of leaves that are not
 * resident (cache/row.c). */
#define TX_ROW_SHARE 3u
/* Values above this are written ahead at once instead of waiting, in memory,
 * for the commit. */
#define TX_LARGE_AHEAD ((size_t)64 << 10)
/* Revisions that are only in memory and in the log before a commit brings the
 * system tree up to date; bounds what opening must read. The second figure
 * leaves room for commits that wait for their sync; a power of two. */
#define TX_PENDING_DUE 256u
#define TX_PENDING_MAX 1024u
#define TX_LOG_DUE ((uint64_t)16 << 20) /* bytes of log, likewise */

/* A revision. Readers copy the published one without a lock. */
struct tx_root {
    quire_rev rev;
    quire_rev index_rev; /* the newest revision up to this one whose system tree
                            holds all before it: see rev.c */
    int64_t time_us;
    pg_id record_id;
    uint64_t record_len;
    struct pg_ref catalogue;
    struct pg_ref system;
};

#define TX_ROOT_WORDS (sizeof(struct tx_root) / 8)

/* Sequence lock: odd while being written. All words are atomic; acquire loads
 * and release stores, each paired with the other, so that a reader that saw a
 * word of a newer root also sees that `seq` has moved on. */
struct tx_root_box {
    _Atomic uint64_t seq;
    _Atomic uint64_t words[TX_ROOT_WORDS];
};

/* Where a revision's commit record is. */
struct tx_pending {
    quire_rev rev;
    pg_id id;
    int64_t time_us;
    uint32_t stored_len;
};

struct tx_handle {          /* the start of every handle */
    uint64_t magic;         /* 0 when ended; owner thread of the transaction */
    struct tx_handle *next; /* free list, under db->handles_lock; or the
                               transaction's list, owner thread */
};

struct quire {
    uint64_t magic;           /* immutable while open */
    struct quire_io io;       /* immutable */
    struct quire_sys sys;     /* immutable */
    struct ra_log log;        /* immutable */
    bool rdonly;              /* immutable */
    uint64_t log_limit;       /* bytes; immutable: changed pages' share */
    volatile uint32_t *alive; /* 1; its page reads as 0 in a forked child */
    struct ra_pool *pool;     /* immutable */
    struct pc_cache *cache;   /* immutable */
    struct pf_file *file;     /* immutable */
    struct tr_env env;        /* immutable, but for how pages are written: the
                                 writer's */
    /* The same for others, versioning << 8 | window; atomic, relaxed. */
    _Atomic uint32_t pages;

    struct tx_root_box root; /* published; written under commit_lock */

    struct ra_mutex commit_lock;
    /* [TX_PENDING_MAX], by revision modulo that; under commit_lock: those from
     * the published root's index_rev to the writer's root */
    struct tx_pending *pending;

    struct ra_mutex handles_lock;
    struct tx_handle *free_txns;    /* under handles_lock */
    struct tx_handle *free_trees;   /* under handles_lock */
    struct tx_handle *free_cursors; /* under handles_lock */
    /* Read transactions, and the newest revision that one began with since
     * there was none; atomic, relaxed: they decide what stays cached only. */
    _Atomic uint64_t open_reads;
    _Atomic uint64_t newest_read;
    uint64_t open_txns; /* transactions, and calls that begin or sync; under
                           handles_lock */
    bool closing;       /* under handles_lock */

    struct ra_mutex writer_lock;
    struct tx_waiter *writer_first; /* the queue; under writer_lock */
    struct tx_waiter *writer_last;
    bool writer_active; /* it is somebody's turn; under writer_lock */
    bool may_spin;      /* there was more than one processor for the thread
                           that opened it; immutable */
    uint64_t turn_from; /* ns: when it began; the writer's */
    uint64_t turn_ns;   /* what a turn takes, a moving average; under
                           writer_lock */
    /* Which thread last used the write transaction; atomic */
    _Atomic uintptr_t writer_thread;

    /* The writer's: whoever's turn it is. */
    struct tr_log wlog;
    struct tx_root wroot;  /* newest commit, published or not */
    quire_rev wsynced;     /* newest revision that was to be synced */
    struct pf_record last; /* newest commit's record */
    /* Records that completed the index and that no superblock names yet: the
     * oldest, which waits until it is durable, and the newest. */
    struct pf_record super[2];
    unsigned nsuper;
    _Atomic uint64_t commits; /* atomic, statistics */
};

/* A thread that waits for its turn to write, on its stack. */
struct tx_waiter {
    struct tx_waiter *next; /* under writer_lock */
    pthread_cond_t cond;
    uintptr_t thread;     /* immutable */
    bool asleep;          /* it waits for `cond`; under writer_lock */
    _Atomic bool granted; /* it is its turn; written under writer_lock, when
                             nothing else here is needed any more */
};

struct quire_tree {
    struct tx_handle h;
    struct quire_txn *txn;
    struct tr_tree tree;
    bool keep;       /* while rolling back: it was open at the savepoint */
    size_t name_len; /* 0: the default tree */
    char name[QUIRE_NAME_MAX + 1];
};

/* What a callback of quire_update() is handed; cond.c. */
struct tx_old;
struct quire_update {
    struct quire_txn *txn; /* NULL: no callback runs */
    struct tr_tree *tree;
    const struct tx_old *old;
};

struct quire_txn {
    struct tx_handle h;
    struct quire *db;
    bool write;
    bool failed;     /* can only be aborted */
    uint32_t window; /* to be in force with the commit; 0: no change */
    quire_versioning versioning; /* likewise */
    struct tx_root root;         /* what it sees, or is based on */
    struct tr_tree catalogue;
    struct tr_tree system;
    struct tx_handle *trees;   /* opened in it */
    struct tx_handle *cursors; /* opened in it */
    struct tr_leaf held;       /* what quire_get() returned points into it */
    struct tx_save *saves;     /* savepoints, the newest first */
    uint64_t nsaves;           /* ever set; the newest one's number */
    struct tx_handle *dropped; /* trees that a rollback may bring back */
    bool busy;                 /* a callback of quire_update() runs */
    /* Here, in memory that stays a transaction's, since the callback may keep
     * its address. */
    struct quire_update update;
    uint8_t key_buf[]; /* pg_key_max() bytes: the key of a get */
};

struct quire_cursor {
    struct tx_handle h;
    struct quire_txn *txn;
    struct quire_tree *tree;
    struct tr_cursor cur;
    struct tr_leaf held; /* the overflow page that a value points into */
    uint8_t key_buf[];   /* pg_key_max() bytes */
};

/* store.c */
quire_status tx_store_open(const char *path, const struct quire_options *opt,
                           struct quire **db) QUIRE_MUST_CHECK;
quire_status tx_store_close(struct quire *db,
                            struct quire_close_report *report) QUIRE_MUST_CHECK;
int64_t tx_now_us(void); /* microseconds since 1970 */
/* May `db` be used? The question is asked by every call, hence inline; what
 * says no also says why. */
quire_status tx_store_why(struct quire *db) QUIRE_MUST_CHECK;
static inline bool tx_store_good(const struct quire *db)
{
    return db->magic == TX_DB_MAGIC && *db->alive == 1;
}
static inline QUIRE_MUST_CHECK quire_status tx_store_check(struct quire *db)
{
    if (QUIRE_LIKELY(db != NULL && tx_store_good(db)))
        return QUIRE_OK;
    return tx_store_why(db);
}
void *tx_handle_take(struct quire *db, struct tx_handle **list, size_t nbytes,
                     uint64_t magic);
void tx_handle_give(struct quire *db, struct tx_handle **list, void *handle);

/* txn.c */
void tx_root_load(struct quire *db, struct tx_root *root);
void tx_root_publish(struct quire *db, const struct tx_root *root);
void tx_root_of_record(const struct pf_record *rec, struct tx_root *root);
/* `timeout_ms`: how long to wait for the turn to write; TX_FOREVER. */
#define TX_FOREVER UINT64_MAX
quire_status tx_begin(struct quire *db, bool write, uint64_t timeout_ms,
                      const struct tx_root *at,
                      struct quire_txn **txn) QUIRE_MUST_CHECK;
/* A thread uses a write transaction: it will not be allowed to wait for another
 * one's turn. */
void tx_writer_touch(struct quire *db);

/* Does nobody wait for the turn, which the caller has? */
bool tx_writer_alone(struct quire *db);
/* Give back what the transaction holds, and the turn to write; then the handle.
 * Between the two its handle is an ended one, but the store can't be closed. */
void tx_release(struct quire_txn *txn);
void tx_end(struct quire_txn *txn);
/* A call that must not meet a closing store: MISUSE if it is one. */
quire_status tx_enter(struct quire *db) QUIRE_MUST_CHECK;
void tx_leave(struct quire *db);
/* Tell the log of changed pages which superseded ones may still be read. */
void tx_needed_note(struct quire *db);
static inline void tx_held_release(struct quire_txn *txn, struct tr_leaf *held)
{
    tr_leaf_release(&txn->db->env, held);
}

/* Write changed pages ahead until they take no more than `keep_bytes`; with
 * `trees_only` the catalogue and the system tree stay. A failure but NOMEM
 * fails the transaction. */
quire_status tx_spill(struct quire_txn *txn, uint64_t keep_bytes,
                      bool trees_only) QUIRE_MUST_CHECK;

/* commit.c */
quire_status tx_sync(struct quire *db) QUIRE_MUST_CHECK;
quire_status tx_commit(struct quire_txn *txn, unsigned flags,
                       quire_rev *rev) QUIRE_MUST_CHECK;
/* Change how pages are written, with a commit of its own. */
quire_status tx_pages_set(struct quire *db, quire_versioning versioning,
                          uint32_t window) QUIRE_MUST_CHECK;
/* Tell readers of figures how pages are written. */
void tx_pages_note(struct quire *db);

/* catalogue.c */
quire_status tx_tree_get(struct quire_txn *txn, const char *name,
                         size_t name_len, bool create,
                         struct quire_tree **tree) QUIRE_MUST_CHECK;
quire_status tx_tree_drop(struct quire_txn *txn,
                          struct quire_tree *tree) QUIRE_MUST_CHECK;
quire_status tx_tree_rename(struct quire_txn *txn, struct quire_tree *tree,
                            const char *name, size_t name_len) QUIRE_MUST_CHECK;
/* Close the cursors of `tree`. */
void tx_tree_close_cursors(struct quire_txn *txn,
                           const struct quire_tree *tree);
/* The catalogue's key for a tree: 'r' its root, 'm' its metadata. */
size_t tx_catalogue_key(char what, const char *name, size_t name_len,
                        uint8_t buf[QUIRE_NAME_MAX + 1]);

/* record.c: put and read values of any length in any tree. */
quire_status tx_write_room(struct quire_txn *txn) QUIRE_MUST_CHECK;
quire_status tx_put(struct quire_txn *txn, struct tr_tree *tree,
                    const struct quire_val *key, const struct quire_val *val,
                    unsigned flags) QUIRE_MUST_CHECK;
quire_status tx_put_from(struct quire_txn *txn, struct tr_tree *tree,
                         const struct quire_val *key, uint64_t size,
                         quire_read_fn read, void *arg) QUIRE_MUST_CHECK;
quire_status tx_put_labeled(struct quire_txn *txn, struct tr_tree *tree,
                            const struct quire_val *key,
                            const struct quire_val *val,
                            const struct quire_val *label,
                            unsigned flags) QUIRE_MUST_CHECK;
quire_status tx_set_label(struct quire_txn *txn, struct tr_tree *tree,
                          const struct quire_val *key,
                          const struct quire_val *label) QUIRE_MUST_CHECK;
quire_status tx_del(struct quire_txn *txn, struct tr_tree *tree,
                    const struct quire_val *key) QUIRE_MUST_CHECK;
quire_status tx_value_hold(struct quire_txn *txn, struct tr_tree *tree,
                           enum pg_entry entry, struct quire_val *val,
                           struct tr_leaf *held) QUIRE_MUST_CHECK;
/* The reference of piece `i` of a value, from its index page's bytes. CORRUPT:
 * the index has no such piece. */
quire_status tx_piece_ref(const struct pg_large *large,
                          const struct quire_val *index, uint64_t i,
                          struct pg_ref *ref) QUIRE_MUST_CHECK;
quire_status tx_value_read(struct quire_txn *txn, struct tr_tree *tree,
                           enum pg_entry entry, const struct quire_val *val,
                           uint64_t off, void *buf, size_t cap,
                           uint64_t *size) QUIRE_MUST_CHECK;

/* save.c: savepoints. */
quire_status tx_save_set(struct quire_txn *txn,
                         quire_savepoint *sp) QUIRE_MUST_CHECK;
struct tx_save *tx_save_find(struct quire_txn *txn, quire_savepoint sp);
void tx_save_rollback(struct quire_txn *txn, struct tx_save *save);
void tx_save_release(struct quire_txn *txn, struct tx_save *save);
/* All of them; with `abort` the log of changed pages is not looked at. */
void tx_save_end(struct quire_txn *txn, bool abort);

/* cond.c: writes that look at the old value first. */
quire_status tx_put_if(struct quire_txn *txn, struct tr_tree *tree,
                       const struct quire_val *key,
                       const struct quire_val *expected,
                       const struct quire_val *val) QUIRE_MUST_CHECK;
quire_status tx_del_range(struct quire_txn *txn, struct tr_tree *tree,
                          const struct quire_val *from,
                          const struct quire_val *to,
                          uint64_t *ndeleted) QUIRE_MUST_CHECK;
quire_status tx_swap(struct quire_txn *txn, struct tr_tree *tree,
                     const struct quire_val *key, const struct quire_val *val,
                     void *buf, size_t cap,
                     uint64_t *old_size) QUIRE_MUST_CHECK;
quire_status tx_update(struct quire_txn *txn, struct tr_tree *tree,
                       const struct quire_val *key, quire_update_fn fn,
                       void *arg) QUIRE_MUST_CHECK;

/* rev.c: revision numbers to commit records. */
void tx_rev_note(struct quire *db, const struct pf_record *rec);
quire_status tx_rev_find(struct quire *db, quire_rev rev,
                         struct tx_pending *where) QUIRE_MUST_CHECK;
/* The last revision whose time is not after `time_us`. NOTFOUND: none is. */
quire_status tx_rev_at_time(struct quire *db, int64_t time_us,
                            quire_rev *rev) QUIRE_MUST_CHECK;
quire_status tx_rev_root(struct quire *db, quire_rev rev,
                         struct tx_root *root) QUIRE_MUST_CHECK;
quire_status tx_rev_index(struct quire_txn *txn) QUIRE_MUST_CHECK;
quire_status tx_rev_recovered(void *arg, const struct pf_record *rec);

/* verify.c */
quire_status tx_verify(struct quire *db,
                       void (*fault)(void *arg, const struct quire_fault *f),
                       void *arg,
                       struct quire_verify_report *report) QUIRE_MUST_CHECK;

#endif /* QUIRE_TXLOG_TX_IMPL_H */
