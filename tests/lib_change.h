/*
 * lib_change.h - random changes of all kinds to a store and its model.
 *
 * For traces and histories that need work as programs do it, and not puts
 * alone. Whoever adds a call that changes something adds a kind of change.
 */
#ifndef QUIRE_TESTS_LIB_CHANGE_H
#define QUIRE_TESTS_LIB_CHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "tests/lib_model.h"

/* What is done beside puts and deletes; bits. */
#define CHANGE_SAVEPOINTS 1u /* nested, released and rolled back to */
#define CHANGE_RANGES 2u     /* quire_del_range() */
#define CHANGE_TREES 4u      /* created, renamed, dropped, their metadata */
#define CHANGE_LOOKING 8u    /* quire_put_if(), quire_swap(), quire_update() */
#define CHANGE_CURSORS 16u   /* puts and deletes through one */
#define CHANGE_STREAMS 32u   /* quire_put_from(), which may fail halfway */
#define CHANGE_ALL 63u

struct change_how {
    unsigned kinds; /* bits; 0: puts and deletes alone */
    uint64_t range; /* of keys, of each shape */
    size_t key_max; /* bytes, at least 64 */
    size_t val_max; /* bytes, of a few values; the others are small */
};

/*
 * Make `n` changes in the write transaction of `t`, as `*rand` has it, to the
 * default tree and to the tree "side", which must exist. Every call must
 * succeed, or refuse what the model would; each answer is compared.
 */
void change_some(struct twin *t, const struct change_how *how, uint64_t *rand,
                 unsigned n);

#endif /* QUIRE_TESTS_LIB_CHANGE_H */
