/*
 * tr.h - the copy-on-write B+-tree, the working images it is changed through,
 * and its cursor.
 *
 * A committed page is never modified (TR-1): a write transaction copies it into
 * its log of changed pages, and the parent's entry then names the changed page
 * instead. Every step that can fail comes before the first change of a
 * structural operation (TR-2), so that a failed put or delete leaves the tree
 * as it was.
 */
#ifndef QUIRE_TXLOG_TREE_TR_H
#define QUIRE_TXLOG_TREE_TR_H

#include "alloc/ra.h"
#include "cache/pc.h"
#include "pages/file/pf.h"
#include "pages/pg.h"
#include "quire.h"

/* What all trees of a store share; immutable after opening, but for window and
 * versioning, which are the writer's and change between transactions. */
struct tr_env {
    struct pf_file *file;
    struct pc_cache *cache;
    struct ra_pool *pool;
    uint32_t page_bytes;
    uint32_t window;
    quire_versioning versioning;
    bool mixed; /* the two have been others, so pages may be filled otherwise */
};

/* Most fragments that a page is made of: under ADAPTIVE a whole page and a
 * differential. */
static inline unsigned tr_window(const struct tr_env *env)
{
    return env->versioning == QUIRE_VERSIONING_ADAPTIVE ? 2 : env->window;
}

/* Bytes of the widest reference to a page that is written now. */
static inline size_t tr_ref_width(const struct tr_env *env)
{
    return PG_REF_BYTES(tr_window(env) - 1);
}

struct tr_tree;

/* ---- changed pages of one write transaction; owner: the writer ---- */

#define TR_NONE UINT64_MAX /* no changed page */

/* A changed page, or a new one. */
struct tr_intent {
    struct pg_image *img; /* NULL: the number is free, or the image is the
                              cache's by now and the number about to be freed */
    struct tr_tree *tree; /* whose page it is */
    uint64_t parent;      /* number of its parent, itself changed; TR_NONE for
                              a root or an overflow page; next free number while
                              free */
    uint64_t count;       /* inner pages: records below (TR-10) */
    uint32_t seg_bytes;   /* what its segment is charged */
    uint32_t level;       /* savepoints that were open when this version of it
                             was made (TR-11) */
    uint32_t dropped;     /* savepoints open when it was dropped; 0: live */
    uint64_t older;       /* number that holds the version before, which a
                             savepoint needs; TR_NONE: no savepoint does */
    uint32_t slot;        /* when written: of its entry in its parent; else
                             without meaning */
    uint8_t links_max;    /* most links of the next version: its reference
                             replaces the entry of its parent in place (TR-4) */
    bool holds;           /* it is such a version, and nothing else */
    bool used;            /* touched since the spilling hand came by */
    bool written;         /* `ref` is what the commit batch holds of it */
    struct pg_ref ref;    /* the version it was copied from (id PG_ID_NONE: a
                              new page), then the one written */
    uint64_t sums[PG_CHAIN_MAX]; /* checksums of ref's links */
    pg_id before;                /* when written: the version it supersedes; or
                               PG_ID_NONE */
    quire_rev before_birth;      /* its revision */
};

#define TR_SLAB_BYTES ((size_t)64 << 10)
#define TR_SLAB_INTENTS (TR_SLAB_BYTES / sizeof(struct tr_intent))
#define TR_SLABS_MAX 2048u
#define TR_SPARES_MAX 64u

/* The version of a page before the one that was written ahead: it leaves the
 * cache when the transaction commits, not before, since an abort would need it
 * again. */
struct tr_gone {
    pg_id id;
    quire_rev birth;
};

#define TR_GONE_BYTES QUIRE_SEG_MAX
#define TR_GONE_MAX (TR_GONE_BYTES / sizeof(struct tr_gone))

struct tr_log {
    const struct tr_env *env; /* immutable */
    struct tr_intent **slabs; /* [TR_SLABS_MAX], one segment each */
    unsigned nslabs;
    uint64_t free_head;          /* numbers that may be used again */
    uint64_t nused;              /* changed pages now */
    uint64_t top;                /* numbers ever handed out */
    uint64_t bytes;              /* segments of working images */
    uint32_t level;              /* savepoints that are open */
    uint64_t gen;                /* grows with every change: cursors compare */
    uint64_t hand;               /* where spilling goes on */
    quire_rev needed;            /* no open revision is newer: what was born
                                    after it, and is superseded, nobody reads */
    void *spares[TR_SPARES_MAX]; /* segments for structural changes */
    size_t spare_bytes[TR_SPARES_MAX];
    unsigned nspares;
    struct tr_gone *gone; /* versions that a commit supersedes, of pages that
                             were written ahead; NULL: none yet, or no memory */
    unsigned ngone;       /* 0 .. TR_GONE_MAX; more are forgotten */
    void *scratch;        /* PG_RAW_MAX bytes: bodies being encoded */
    uint8_t *key_buf;     /* two keys */
};

quire_status tr_log_init(struct tr_log *log,
                         const struct tr_env *env) QUIRE_MUST_CHECK;
/* Everything must have been dropped: tr_log_clear(). */
void tr_log_fini(struct tr_log *log);

struct tr_intent *tr_log_intent(struct tr_log *log, uint64_t no);

/* The working image of `no`, which is then taken as used. */
static inline struct pg_image *tr_log_image(struct tr_log *log, uint64_t no)
{
    struct tr_intent *in = tr_log_intent(log, no);

    in->used = true;
    return in->img;
}

/* Copy the committed image `img` of `ref` in. NOMEM: nothing has changed. */
quire_status tr_log_enter(struct tr_log *log, struct tr_tree *tree,
                          const struct pg_ref *ref, const struct pg_image *img,
                          uint64_t parent, uint64_t *no) QUIRE_MUST_CHECK;

/* Take `seg`, a working or plain image, in as a new page. Cannot fail after
 * tr_log_reserve() counted it. On NOMEM the caller keeps the segment. */
quire_status tr_log_adopt(struct tr_log *log, struct tr_tree *tree, void *seg,
                          uint64_t parent, uint64_t *no) QUIRE_MUST_CHECK;

/* Exchange the image of `no` for `seg`; the old one is given back. */
void tr_log_replace(struct tr_log *log, uint64_t no, void *seg);

/* Make `no` one that may be changed: where a savepoint needs it as it is, a
 * copy is kept. The image stays where it is. NOMEM: nothing has changed. */
quire_status tr_log_own(struct tr_log *log, uint64_t no) QUIRE_MUST_CHECK;

/* Forget `no` and give its image back, unless a savepoint needs it. */
void tr_log_drop(struct tr_log *log, uint64_t no);

/* Forget those of `tree`; clear: all of them, savepoints, and the spares. */
void tr_log_drop_tree(struct tr_log *log, const struct tr_tree *tree);
void tr_log_clear(struct tr_log *log);

/* Open a savepoint; its number is log->level. Back to savepoint `level`, which
 * stays open, without those after it: pages are as they were. Release it and
 * those after it: what was kept for them goes. None of these can fail; trees
 * forget their last leaf. */
void tr_log_mark(struct tr_log *log);
void tr_log_rollback(struct tr_log *log, uint32_t level);
void tr_log_release(struct tr_log *log, uint32_t level);

/* Make sure that `n` spares of `bytes` each, and numbers for `nnew` new pages,
 * can be had without failing. NOMEM: some may have been added, no harm. */
quire_status tr_log_reserve(struct tr_log *log, unsigned n, size_t bytes,
                            unsigned nnew) QUIRE_MUST_CHECK;

/* Take a reserved spare of at least `bytes`; never NULL if it was counted. */
void *tr_log_spare(struct tr_log *log, size_t bytes);
void tr_log_spare_return(struct tr_log *log, void *seg);
void tr_log_trim_spares(struct tr_log *log);

/* ---- trees ---- */

struct tr_tree {
    const struct tr_env *env;
    struct tr_log *log; /* NULL in read transactions */
    struct pg_ref root; /* id PG_ID_NONE: empty; `intent`: a changed page */
    uint64_t count;     /* records */
    uint64_t last_leaf; /* changed leaf of the last put, or TR_NONE */
    unsigned ascending; /* puts in a row that went to the end of a leaf */
    bool changed;       /* in this transaction */
    pc_hint root_hint;
    uint64_t nslow; /* descents that found something not resident */
};

void tr_tree_init(struct tr_tree *tree, const struct tr_env *env,
                  struct tr_log *log, const struct pg_ref *root);

/* A leaf held for reading: pinned, or a working image. */
struct tr_leaf {
    const struct pg_image *img; /* NULL: nothing held */
    uint32_t frame;
    bool pinned;
};

enum tr_where {
    TR_AT,    /* the leaf that may hold `key` */
    TR_BELOW, /* the leaf with the greatest keys below `key` */
    TR_LAST,  /* the rightmost leaf */
};

/* Pin a page, checking that it is of the kind and level that `ref` says. */
quire_status tr_page_pin(const struct tr_env *env, const struct pg_ref *ref,
                         pc_hint *hint, const struct pg_image **img,
                         uint32_t *frame) QUIRE_MUST_CHECK;

/* Find and hold a leaf. NOTFOUND: the tree is empty. *ahead: where the next
 * leaf was last seen (but for TR_AT: the one before), for a prefetch; NULL: not
 * known. */
quire_status tr_leaf_find(struct tr_tree *tree, enum tr_where where,
                          const void *key, size_t key_len, struct tr_leaf *leaf,
                          const struct pg_image **ahead) QUIRE_MUST_CHECK;
static inline void tr_leaf_release(const struct tr_env *env,
                                   struct tr_leaf *leaf)
{
    if (leaf->pinned)
        pc_unpin(env->cache, leaf->frame);
    leaf->img = NULL;
    leaf->pinned = false;
}

/* Look `key` up: the leaf is held and *val points into it. NOTFOUND. */
quire_status tr_get(struct tr_tree *tree, const struct quire_val *key,
                    struct tr_leaf *leaf, struct quire_val *val,
                    enum pg_entry *entry) QUIRE_MUST_CHECK;

/* Where a value goes whose leaf is not resident, but whose row the cache has. */
struct tr_row {
    uint64_t off; /* up to `cap` bytes of it from here on are copied to `buf` */
    void *buf;
    size_t cap;
    uint64_t size; /* of the value, if it was found in this way */
    bool hit;      /* it was */
};

/* The same, but the value may come into *row: then it is a plain one, no leaf
 * is held, and *val and *entry say nothing. A leaf that had to be loaded leaves
 * a row behind. */
quire_status tr_get_row(struct tr_tree *tree, const struct quire_val *key,
                        struct tr_row *row, struct tr_leaf *leaf,
                        struct quire_val *val,
                        enum pg_entry *entry) QUIRE_MUST_CHECK;

/* The same, and its label, which points into the leaf or its label memory; size
 * 0: it has none. */
quire_status tr_get_labeled(struct tr_tree *tree, const struct quire_val *key,
                            struct tr_leaf *leaf, struct quire_val *val,
                            struct quire_val *label,
                            enum pg_entry *entry) QUIRE_MUST_CHECK;

/*
 * Look `key` up without a pin, over resident committed pages: up to `cap`
 * bytes of the value from `off` on are copied into `buf`, and *size is its
 * length. *done false: something on the way is not resident, changed, or the
 * value large; then the status says nothing, and tr_get() is to be asked.
 *
 * Returns: QUIRE_OK; NOTFOUND.
 */
quire_status tr_get_copy(struct tr_tree *tree, const struct quire_val *key,
                         uint64_t off, void *buf, size_t cap, uint64_t *size,
                         bool *done) QUIRE_MUST_CHECK;

/* The same for `n` keys at once, whose cache misses overlap: `status` and
 * `size` are set where *done is. */
#define TR_MANY_MAX 8u
void tr_get_many(struct tr_tree *tree, struct quire_lookup *lookups, unsigned n,
                 bool *done);

/* Records of the changed page `no`, and of all below it. O(1). */
uint64_t tr_log_count(struct tr_log *log, uint64_t no);

/* How many records have keys below `key`. Reads one page of each level. */
quire_status tr_rank(struct tr_tree *tree, const struct quire_val *key,
                     uint64_t *rank) QUIRE_MUST_CHECK;

/* Are the fences of the committed page `img` what the committed page `parent`
 * says of its child in `slot`? A root (`parent` NULL) has none. So no page is
 * a child of one parent twice, and whoever follows all references asks. */
bool tr_fences_meet(const struct pg_image *img, const struct pg_image *parent,
                    unsigned slot);

/* What the tree's pages are like, into *st, which is zeros. Reads the pages
 * above the leaves. */
quire_status tr_stat(struct tr_tree *tree,
                     struct quire_tree_stat *st) QUIRE_MUST_CHECK;

/* Put `val`, an inline value or an encoded struct pg_large. A changed page of
 * an overflow value that is replaced is dropped. */
quire_status tr_put(struct tr_tree *tree, const struct quire_val *key,
                    const struct quire_val *val,
                    enum pg_entry entry) QUIRE_MUST_CHECK;

/* The same with a label of 0 to QUIRE_LABEL_MAX bytes, tr_put() having none;
 * and another label for the record of `key`, whose value stays. NOTFOUND. */
quire_status tr_put_labeled(struct tr_tree *tree, const struct quire_val *key,
                            const struct quire_val *val,
                            const struct quire_val *label,
                            enum pg_entry entry) QUIRE_MUST_CHECK;
quire_status tr_set_label(struct tr_tree *tree, const struct quire_val *key,
                          const struct quire_val *label) QUIRE_MUST_CHECK;

/* Overwrite the start of the value of `key`, whose leaf is changed already, in
 * place. CORRUPT if it is not there (never, after a put). */
quire_status tr_patch(struct tr_tree *tree, const struct quire_val *key,
                      const void *val, size_t len) QUIRE_MUST_CHECK;

quire_status tr_del(struct tr_tree *tree,
                    const struct quire_val *key) QUIRE_MUST_CHECK;
/* The same, but an overflow page of this transaction stays: another entry
 * names it by now. */
quire_status tr_del_moved(struct tr_tree *tree,
                          const struct quire_val *key) QUIRE_MUST_CHECK;

/*
 * Delete the records from `from` on and below `to` (NULL: all that follow);
 * *ndeleted is their number. Reads the pages above both ends of the range and
 * their neighbours, none within it. A failed call has deleted nothing.
 */
quire_status tr_del_range(struct tr_tree *tree, const struct quire_val *from,
                          const struct quire_val *to,
                          uint64_t *ndeleted) QUIRE_MUST_CHECK;

/* ---- writing changed pages out ---- */

/* pf_batch_add or pf_ahead_add. */
typedef quire_status (*tr_sink)(struct pf_file *file, struct pg_frag_in *in,
                                struct pg_ref *ref);

/* Most bytes that the changed page `no` takes in a batch. */
uint64_t tr_flush_bound(struct tr_log *log, uint64_t no);

/*
 * Write the changed page `no` and all changed pages below it, children first;
 * *ref is the new reference, or the old one if nothing had changed. With `ahead`
 * the pages leave the log (and go to the cache if there is room), else they
 * stay, marked as written.
 */
quire_status tr_flush(struct tr_log *log, uint64_t no, quire_rev birth,
                      bool ahead, struct pg_ref *ref) QUIRE_MUST_CHECK;

/* Write one leaf that was not used lately, or an inner page or root without
 * changed children, ahead; its parent then names the fragment. NOTFOUND: there
 * is none left but in `keep` (catalogue and system trees). */
quire_status tr_spill_one(struct tr_log *log, quire_rev birth,
                          const struct tr_tree *const *keep,
                          unsigned nkeep) QUIRE_MUST_CHECK;

/* After the batch is written: hand what it holds to the cache, as far as memory
 * allows, and clear the log. */
void tr_log_finish(struct tr_log *log);

/* ---- cursors ---- */

/* ---- reading ahead; ahead.c ---- */

#define TR_AHEAD_AFTER \
    2u /* turns to neighbours before anything is read ahead */
#define TR_AHEAD_FIRST 4u /* leaves that are asked for then */
#define TR_AHEAD_MAX 64u  /* leaves, at most */

/* How a cursor moves through leaves. */
struct tr_ahead {
    bool forward;
    uint8_t run;    /* turns in this direction, 0 .. TR_AHEAD_AFTER */
    uint8_t left;   /* leaves asked for, and not come to */
    uint8_t window; /* leaves that were to be ahead at the last asking */
    uint8_t limit;  /* of the window; 0: TR_AHEAD_MAX */
};

/* The cursor goes elsewhere: what was asked for and is not used makes the next
 * window smaller. */
void tr_ahead_stop(struct tr_ahead *ah);

/*
 * In a read transaction of `tree` a cursor has turned to a neighbouring leaf,
 * the one that `fence` leads to (as tr_leaf_find() with TR_AT, backwards with
 * TR_BELOW), and `loaded` it. Asks for those behind it when it is time to.
 * Cannot fail. Context: outside read sections.
 */
void tr_ahead_turn(struct tr_ahead *ah, struct tr_tree *tree,
                   const struct quire_val *fence, bool forward, bool loaded);

struct tr_cursor {
    struct tr_tree *tree;
    struct tr_leaf leaf;
    unsigned slot;
    bool on;       /* on a record (which may have been deleted since) */
    bool prefixed; /* key_buf begins with the prefix of `leaf` */
    /* Where the leaf behind `leaf`, in the direction in which it was come to,
     * was last seen: only to be prefetched. */
    const struct pg_image *beside;
    struct pg_fetch fetch; /* what was asked for */
    struct tr_ahead ahead;
    uint64_t gen;     /* log->gen when `leaf` was looked up */
    size_t key_len;   /* of key_buf; kept in write transactions */
    uint8_t *key_buf; /* the caller's, pg_key_max() + page's prefix bytes */
};

void tr_cursor_init(struct tr_cursor *cur, struct tr_tree *tree,
                    uint8_t *key_buf);
void tr_cursor_reset(struct tr_cursor *cur); /* on no record; nothing held */
quire_status tr_cursor_seek(struct tr_cursor *cur, quire_seek how,
                            const struct quire_val *key) QUIRE_MUST_CHECK;
/* Be on the record of `key`, which exists; nothing is looked up yet. */
void tr_cursor_place(struct tr_cursor *cur, const struct quire_val *key);
quire_status tr_cursor_step(struct tr_cursor *cur,
                            bool forward) QUIRE_MUST_CHECK;
quire_status tr_cursor_get(struct tr_cursor *cur, struct quire_val *key,
                           struct quire_val *val,
                           enum pg_entry *entry) QUIRE_MUST_CHECK;

/* The label of the record under the cursor, as tr_get_labeled() has it. */
quire_status tr_cursor_label(struct tr_cursor *cur,
                             struct quire_val *label) QUIRE_MUST_CHECK;

/* Remember where the cursor is, holding its page; `key` has room for a key.
 * Then either go back there, or let it be. Nothing may be changed between. */
void tr_cursor_save(const struct tr_cursor *cur, struct tr_cursor *saved,
                    void *key);
void tr_cursor_restore(struct tr_cursor *cur, const struct tr_cursor *saved,
                       const void *key);
void tr_cursor_forget(struct tr_cursor *saved);

/* In a read transaction: take the record under the cursor, or with `step` the
 * one that comes next in this direction, and those behind it in its leaf, as
 * pg_image_records(). 0: there is
 * none in this leaf, or it has to be got alone; the cursor has not moved. */
unsigned tr_cursor_records(struct tr_cursor *cur, bool step, bool forward,
                           struct quire_record *records, size_t cap, void *buf,
                           size_t buf_bytes);

#endif /* QUIRE_TXLOG_TREE_TR_H */
