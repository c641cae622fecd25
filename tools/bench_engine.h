/*
 * bench_engine.h - a store as `quire bench store` drives it.
 *
 * One table of functions an engine, in engine_NAME.c, used only in a measuring
 * process. A peer's library is loaded there at run time: the program does not
 * depend on it, and an engine whose header was missing when the program was
 * built is one without functions.
 *
 * A function returns 0, or -1 once it has said why; put and commit also
 * BENCH_AGAIN, when another writer was in the way and the transaction is gone.
 */
#ifndef QUIRE_TOOLS_BENCH_ENGINE_H
#define QUIRE_TOOLS_BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quire.h"
#include "tools/bench_data.h"

#define BENCH_AGAIN 1
#define BENCH_THREADS_MAX 64
#define BENCH_SLICE 512    /* records of a scan that are clocked together */
#define BENCH_MANY_MAX 256 /* keys of get_many */

/* What a store is opened for. */
struct bench_setup {
    const char *dir;     /* the engine's own, which exists */
    uint64_t memory;     /* bytes for its cache, or its budget */
    uint64_t limit;      /* bytes that the process may use; 0: no limit */
    uint64_t raw_bytes;  /* of the records */
    size_t value_bytes;  /* of each value */
    bool durable;        /* commits wait for the disk */
    uint32_t page_bytes; /* quire: of a new store; 0: the default */
    bool direct;         /* quire: QUIRE_DIRECT */
};

/* Checks the records that an engine hands over one by one. */
struct bench_check {
    const struct bench_data *d;
    uint64_t next;  /* number of the record that must come */
    uint64_t count; /* how many have come */
    uint64_t bad;   /* of these, how many were not what was expected */
    bool reverse;
    bool whole; /* compare every byte */
    /* Called behind every BENCH_SLICE records; NULL: never. */
    void (*slice)(void *arg, uint64_t records);
    void *arg;
};

/* Are two keys equal? Most have 16 bytes; a call of memcmp() for each would be
 * a good part of what a scan takes. */
static inline bool bench_key_equals(const void *a, const void *b, size_t len)
{
    const unsigned char *x = a;
    const unsigned char *y = b;
    uint64_t v[4];

    if (len != 16)
        return memcmp(x, y, len) == 0;
    memcpy(&v[0], x, 8);
    memcpy(&v[1], x + 8, 8);
    memcpy(&v[2], y, 8);
    memcpy(&v[3], y + 8, 8);
    return v[0] == v[2] && v[1] == v[3];
}

static inline __attribute__((always_inline)) void bench_check_record(
    struct bench_check *c, const void *key, size_t key_len, const void *value,
    size_t len)
{
    size_t want_len;
    const unsigned char *want;
    bool good = false;

    if (c->next < c->d->n) {
        want = bench_key(c->d, c->next, &want_len);
        good = key_len == want_len && bench_key_equals(key, want, key_len) &&
               (c->whole ? bench_value_equals(c->d, c->next, value, len)
                         : bench_value_fits(c->d, c->next, value, len));
    }
    c->bad += !good;
    if (++c->count % BENCH_SLICE == 0 && c->slice != NULL)
        c->slice(c->arg, BENCH_SLICE);
    c->next += c->reverse ? (uint64_t)-1 : 1;
}

/* What an engine itself says it has written since it was opened, bytes. */
struct bench_counts {
    uint64_t written;
    uint64_t zeroed; /* ahead of what is written */
};

struct bench_engine {
    const char *name;
    const char *library; /* loaded at run time; NULL: none needed */
    const char *preload; /* a library that its users put in the place of
                            malloc(); NULL: none */
    unsigned cannot;     /* BENCH_NO_* */

    /* Find the functions in `library`, a handle of dlopen(). */
    int (*bind)(void *library);

    int (*open)(const struct bench_setup *s, void **db);
    void (*close)(void *db);
    /* Make everything durable; with `tidy` also do all that is put off:
     * merging, checkpoints. */
    int (*settle)(void *db, bool tidy);
    void (*counts)(void *db, struct bench_counts *c); /* may be NULL */

    /* What a thread needs of its own. */
    int (*thread_open)(void *db, void **thread);
    void (*thread_close)(void *thread);

    /* Between begin and end, one snapshot; values last until the next call. */
    int (*read_begin)(void *thread);
    void (*read_end)(void *thread);
    int (*get)(void *thread, const struct quire_val *key,
               struct quire_val *val);
    /* Look up `n` <= BENCH_MANY_MAX keys together; NULL: the engine has
     * nothing of the kind. */
    int (*get_many)(void *thread, size_t n, const struct quire_val *keys,
                    struct quire_val *vals);
    /* Note the newest revision, and begin at the one that was noted; NULL: the
     * engine has nothing of the kind. */
    int (*mark)(void *db);
    int (*read_begin_old)(void *thread);
    /* Hand at most `n` records from `from` (NULL: an end) on to `check`. */
    int (*scan)(void *thread, const struct quire_val *from, bool reverse,
                uint64_t n, struct bench_check *check);

    /* `append`: no greater key is in the store. */
    int (*write_begin)(void *thread);
    int (*put)(void *thread, const struct quire_val *key,
               const struct quire_val *val, bool append);
    int (*commit)(void *thread);
};

#define BENCH_NO_READ 1u    /* no cases that read */
#define BENCH_NO_FILL 2u    /* no cases but durable-1 */
#define BENCH_NO_SYNC 4u    /* no durable cases */
#define BENCH_NO_THREADS 8u /* one thread only */

extern const struct bench_engine engine_quire;
extern const struct bench_engine engine_raw;
extern const struct bench_engine engine_lmdb;
extern const struct bench_engine engine_lmdb_wm;
extern const struct bench_engine engine_rocksdb;
extern const struct bench_engine engine_wiredtiger;
extern const struct bench_engine engine_sqlite;

/* Find the function `name` of the library for the pointer *to; -1, said. */
int engine_symbol(void *library, const char *name, void *to);
#define ENGINE_SYMBOL(library, table, name) \
    engine_symbol(library, #name, &(table).name)

#endif /* QUIRE_TOOLS_BENCH_ENGINE_H */
