/*
 * lib_model.h - a naive store to compare quire with: sorted arrays, one
 * snapshot for each revision.
 *
 * A *model* holds snapshots 0 (empty), 1, 2, ... and a working state. A *twin*
 * is a store and a model that are driven together through quire.h: what the
 * store accepts the model does too, and each answer of the store is compared
 * with the model's. The generators make keys and values of shapes that matter.
 *
 * Snapshots are immutable and may be compared from any thread while another
 * thread goes on writing; everything else belongs to one thread.
 */
#ifndef QUIRE_TESTS_LIB_MODEL_H
#define QUIRE_TESTS_LIB_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quire.h"

/* ---- the model ---- */

/* A record; immutable, shared by the snapshots that hold it. */
struct model_rec {
    unsigned refs;    /* owner thread */
    uint32_t key_len; /* bytes */
    size_t val_len;   /* bytes */
    size_t label_len; /* bytes; 0: no label */
    uint8_t bytes[];  /* key, then value, then label */
};

/* A tree; immutable once it belongs to a snapshot. */
struct model_tree {
    unsigned refs;           /* owner thread */
    char *name;              /* NULL: the default tree */
    struct model_rec **recs; /* `n`, in key order */
    size_t n;
    size_t cap;      /* of `recs` */
    uint8_t *meta;   /* NULL: none was ever set */
    size_t meta_len; /* bytes */
};

/* One revision: the default tree, then the named ones in byte order. */
struct model_snap {
    struct model_tree **trees;
    size_t n;
};

struct model; /* opaque */

struct model *model_create(void);
/* The same snapshots, and a working state equal to the newest. */
struct model *model_fork(const struct model *m);
/* As model_fork(), and the working state of `m` is its newest snapshot. */
struct model *model_fork_work(const struct model *m);
void model_destroy(struct model *m);

/* The working state. `tree` NULL is the default tree; a named one must
 * exist. Puts and deletes return whether the key existed. */
bool model_put(struct model *m, const char *tree, const struct quire_val *key,
               const struct quire_val *val);
bool model_put_labeled(struct model *m, const char *tree,
                       const struct quire_val *key, const struct quire_val *val,
                       const struct quire_val *label);
/* Returns whether there is the record. */
bool model_set_label(struct model *m, const char *tree,
                     const struct quire_val *key,
                     const struct quire_val *label);
bool model_del(struct model *m, const char *tree, const struct quire_val *key);
bool model_tree_exists(const struct model *m, const char *tree);
void model_tree_create(struct model *m, const char *tree);
void model_tree_drop(struct model *m, const char *tree);
/* `tree` exists, `to` does not. */
void model_tree_rename(struct model *m, const char *tree, const char *to);
void model_set_meta(struct model *m, const char *tree,
                    const struct quire_val *meta);
const struct model_tree *model_work_tree(const struct model *m,
                                         const char *tree);

/* The working state, until it changes; a copy of it, which is the caller's; and
 * back to one. Owner thread. */
const struct model_snap *model_work(const struct model *m);
struct model_snap *model_mark(const struct model *m);
void model_mark_free(struct model_snap *mark);
void model_back(struct model *m, const struct model_snap *mark);

/* Make the working state the next snapshot and return its number. */
quire_rev model_commit(struct model *m);
/* Make the working state the newest snapshot again. */
void model_abort(struct model *m);
/* The newest snapshot's number. Any thread. */
quire_rev model_newest(const struct model *m);
/* Forget the snapshots after `rev`. */
void model_forget(struct model *m, quire_rev rev);
/* Snapshot `rev`, which must exist; stays valid until it is forgotten or the
 * model is destroyed. Any thread. */
const struct model_snap *model_at(const struct model *m, quire_rev rev);

/* The record of `key`, or NULL. */
const struct model_rec *model_find(const struct model_tree *t, const void *key,
                                   size_t len);
/* The first index whose key is >= `key`; *found: it is equal. */
size_t model_seek(const struct model_tree *t, const void *key, size_t len,
                  bool *found);
/* As memcmp() over whole byte strings, a prefix first. */
int model_cmp(const void *a, size_t alen, const void *b, size_t blen);

static inline const uint8_t *model_val(const struct model_rec *r)
{
    return r->bytes + r->key_len;
}

static inline const uint8_t *model_label(const struct model_rec *r)
{
    return r->bytes + r->key_len + r->val_len;
}

/* ---- comparing ---- */

#define MODEL_WHY_CAP 512 /* bytes of a text that says what differs */

/* How much to compare. */
enum model_depth {
    MODEL_FORWARD, /* names, metadata, counts, and all records forward */
    MODEL_DEEP,    /* also backward, each record by get, seeks in all modes */
};

/*
 * Compare everything that `txn` sees with `snap`. false: it differs, or a call
 * failed, and `why` says where.
 */
bool model_same(const struct model_snap *snap, struct quire_txn *txn,
                enum model_depth depth, char why[MODEL_WHY_CAP]);

/* As model_same(), in a read transaction of its own at revision `rev`. */
bool model_same_at(const struct model *m, struct quire *db, quire_rev rev,
                   enum model_depth depth, char why[MODEL_WHY_CAP]);

/* As model_same_at(). When false, *failed is the status of the call that
 * failed, QUIRE_OK where an answer differs. */
bool model_same_or(const struct model *m, struct quire *db, quire_rev rev,
                   enum model_depth depth, quire_status *failed,
                   char why[MODEL_WHY_CAP]);

/* ---- generators ---- */

enum gen_shape {
    GEN_INT,    /* 8 bytes, big-endian */
    GEN_PREFIX, /* a long prefix that all share, then digits */
    GEN_TEXT,   /* a few letters, some of them prefixes of others */
    GEN_BINARY, /* 0 to 40 bytes, mostly 00 and ff */
    GEN_LONG,   /* up to the greatest key, differing at the end */
    GEN_SHAPES
};

#define GEN_KEY_MAX 8192 /* bytes: QUIRE_KEY_MAX(QUIRE_PAGE_MAX) */

/* A key of `shape`, one of about `range`, into `buf`, not longer than
 * `key_max` (at least 64). Returns its length. */
size_t gen_key(uint64_t *rand, enum gen_shape shape, uint64_t range,
               size_t key_max, uint8_t buf[GEN_KEY_MAX]);

/* A label into `buf`: mostly none, else mostly short, now and then the longest.
 * Returns its length. */
size_t gen_label(uint64_t *rand, uint8_t buf[QUIRE_LABEL_MAX]);

/* Fill `buf` with `len` bytes that compress well or not at all, as `*rand`
 * has it. */
void gen_bytes(uint64_t *rand, void *buf, size_t len);

/* ---- twins ---- */

#define TWIN_TREES 8 /* most named trees that a twin has open */

struct twin {
    struct quire *db;      /* NULL: not open */
    struct quire_txn *txn; /* the write transaction, or NULL */
    struct model *model;
    struct {
        char name[16];
        struct quire_tree *tree; /* of `txn` */
    } open[TWIN_TREES];
    unsigned nopen;
    uint8_t *buf; /* for values; `buf_cap` bytes */
    size_t buf_cap;
    quire_rev acked;     /* newest revision known durable */
    quire_rev published; /* newest revision whose commit returned OK */
    quire_rev tried;     /* newest revision whose commit was begun; an
                               undecided one is in the model as well */
    bool poisoned;       /* a call has said UNDECIDED or POISONED */
};

/*
 * Calls on the store and, when it says OK, on the model. What the model would
 * have answered differently (EXISTS, NOTFOUND, a wrong value) fails the test;
 * failures of operation are returned and leave the model as it was. `tree` is
 * NULL or a name, which is opened when first used; it must exist, but for
 * twin_tree_create().
 */
void twin_init(struct twin *t);
void twin_fini(struct twin *t); /* the model; the store must be closed */
quire_status twin_open(struct twin *t, const char *path,
                       const struct quire_options *opt);
quire_status twin_begin(struct twin *t);
/* The handle of tree `name` in the transaction, NULL for the default tree. */
quire_status twin_tree(struct twin *t, const char *name, unsigned flags,
                       struct quire_tree **tree);
quire_status twin_put(struct twin *t, const char *tree,
                      const struct quire_val *key, const struct quire_val *val,
                      unsigned flags);
quire_status twin_put_labeled(struct twin *t, const char *tree,
                              const struct quire_val *key,
                              const struct quire_val *val,
                              const struct quire_val *label, unsigned flags);
quire_status twin_set_label(struct twin *t, const char *tree,
                            const struct quire_val *key,
                            const struct quire_val *label);
quire_status twin_del(struct twin *t, const char *tree,
                      const struct quire_val *key);
quire_status twin_get(struct twin *t, const char *tree,
                      const struct quire_val *key);
quire_status twin_tree_create(struct twin *t, const char *tree);
quire_status twin_tree_drop(struct twin *t, const char *tree);
quire_status twin_tree_rename(struct twin *t, const char *tree, const char *to);
quire_status twin_set_meta(struct twin *t, const char *tree,
                           const struct quire_val *meta);
quire_status twin_commit(struct twin *t, unsigned flags);
quire_status twin_sync(struct twin *t);
quire_status twin_set_versioning(struct twin *t, quire_versioning versioning,
                                 uint32_t window);
void twin_abort(struct twin *t);

/*
 * A commit that another thread makes: twin_give() hands the transaction over,
 * and what it has changed becomes revision t->tried; the next transaction can
 * be begun as soon as the store gives it its turn. When the commit has
 * returned, twin_given() is told so: in the order of the revisions.
 */
struct quire_txn *twin_give(struct twin *t);
void twin_given(struct twin *t, unsigned flags, quire_rev rev, quire_status rc);

/* Close; fails the test when anything was held. */
quire_status twin_close(struct twin *t);

/* A generated value of `len` bytes, valid until the next one. */
struct quire_val twin_gen_val(struct twin *t, size_t len, uint64_t *rand);
/* A put of such a value. */
quire_status twin_put_gen(struct twin *t, const char *tree, const void *key,
                          size_t key_len, size_t len, uint64_t *rand);

#endif /* QUIRE_TESTS_LIB_MODEL_H */
