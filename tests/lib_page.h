/*
 * lib_page.h - a naive page to compare images with, and what makes them.
 *
 * A *page model* is a sorted array of entries. A *shape* says what keys look
 * like and between which fences they are. Everything belongs to one thread.
 */
#ifndef QUIRE_TESTS_LIB_PAGE_H
#define QUIRE_TESTS_LIB_PAGE_H

#include "pages/pg.h"

/* ---- shapes of keys ---- */

struct page_shape {
    const char *name;
    const char *stem;     /* bytes that every key begins with */
    const char *alphabet; /* what follows is made of these; NULL: any byte */
    size_t nalphabet;
    size_t min_len; /* bytes after the stem */
    size_t max_len;
    struct quire_val lower;
    struct quire_val upper; /* data NULL: none */
};

extern const struct page_shape page_shapes[];
extern const size_t page_nshapes;

#define PAGE_KEY_MAX 512u /* an eighth of 4096: what all shapes keep to */

/* The upper fence for functions that want NULL when there is none. */
const struct quire_val *page_shape_upper(const struct page_shape *sh);

/* A random key of this shape, between its fences; returns its length. */
size_t page_key(const struct page_shape *sh, uint64_t *rng, uint8_t *buf);

/* ---- the model ---- */

struct page_entry {
    uint8_t key[PAGE_KEY_MAX];
    uint8_t *val;
    size_t key_len;
    size_t val_len;
    enum pg_entry entry; /* PLAIN or OVERFLOW */
};

struct page_model {
    struct page_entry *recs; /* `n`, in key order */
    size_t n;
    size_t cap;
};

void page_model_fini(struct page_model *m); /* a zeroed one is empty */

/* The first entry whose key is >= `key`. */
size_t page_model_seek(const struct page_model *m, const void *key, size_t len,
                       bool *found);
/* Returns whether a key was there. */
bool page_model_put(struct page_model *m, const void *key, size_t key_len,
                    const void *val, size_t val_len, enum pg_entry entry);
void page_model_del(struct page_model *m, size_t i);

/* Fail the test unless `img` passes pg_check_image() and its live entries are
 * those of `m`. Trailing zeros behind a value are overlooked in working inner
 * images. */
void page_check(const struct pg_image *img, const struct page_model *m);

/* ---- working images ---- */

/*
 * A working image in memory of its own, of exactly the size that was asked
 * for, so that a byte too far is seen. It grows as the tree would do it.
 */
struct page_work {
    struct pg_image *img;
    size_t cap;
    uint64_t ncopies; /* times it was copied to make room */
};

void page_work_init(struct page_work *w, size_t cap, enum pg_kind kind,
                    unsigned level, const struct page_shape *sh);
void page_work_copy(struct page_work *w, const struct pg_image *src,
                    size_t cap);
void page_work_fini(struct page_work *w);

/* pg_work_put(), copying first when there is no room. Returns *existed. */
bool page_work_put(struct page_work *w, const void *key, size_t key_len,
                   const void *val, size_t val_len, enum pg_entry entry);

/* A random put or delete in both; `ndel` of 16 are deletes. Values are up to
 * `val_max` bytes in leaves, references in inner pages. The first child of an
 * inner page is never deleted; the model must have one. */
void page_step(struct page_work *w, struct page_model *m,
               const struct page_shape *sh, uint64_t *rng, unsigned ndel,
               size_t val_max);

/* Give an inner page and its model their first child. */
void page_first_child(struct page_work *w, struct page_model *m,
                      const struct page_shape *sh, uint64_t *rng);

/* A plausible reference to a page of `level`. */
void page_ref_make(struct pg_ref *ref, unsigned level, unsigned nchain,
                   uint64_t *rng);

/* Records in and below the page of `m`. */
uint64_t page_model_count(const struct page_model *m, enum pg_kind kind);

#endif /* QUIRE_TESTS_LIB_PAGE_H */
