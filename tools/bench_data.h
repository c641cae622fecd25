/*
 * bench_data.h - the records that `quire bench store` works with: keys in a
 * table that all processes map, values made from a record's number.
 */
#ifndef QUIRE_TOOLS_BENCH_DATA_H
#define QUIRE_TOOLS_BENCH_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tools/bench.h"

/* What values consist of behind their first bytes. */
enum bench_values {
    BENCH_HALF = 0, /* random bytes in the first half, repeated in the second */
    BENCH_TEXT = 1, /* words */
};

#define BENCH_VALUE_MIN 16u
#define BENCH_VALUE_MAX 2048u
#define BENCH_KEY_MAX 511u /* the least of the engines' limits: LMDB's */

/* A record is known by its number, 0 .. n-1, in the order of the keys. */
struct bench_data {
    uint64_t n;           /* records */
    uint64_t raw_bytes;   /* keys and values together */
    uint32_t value_bytes; /* of each value */
    enum bench_values values;
    const uint32_t *off;       /* n + 1: where keys begin */
    const uint32_t *order;     /* n: the numbers in random order */
    const unsigned char *keys; /* in order, without anything between */
    void *map;
    size_t map_bytes;
    int fd; /* for a child to map */
};

/*
 * Make the table: `keys` is "dense" (16 decimal digits, counted up), "sparse"
 * (16 random decimal digits) or a file, whose lines up to their first tab are
 * the keys; `n` records, or, of a file, 0 for all of it.
 *
 * Returns: 0; -1, said.
 * Owner:   the caller, until bench_data_close().
 */
int bench_data_make(const char *keys, uint64_t n, enum bench_values values,
                    uint32_t value_bytes, struct bench_data *d);
/* Map the table that another process has made. */
int bench_data_map(int fd, struct bench_data *d);
void bench_data_close(struct bench_data *d);

static inline const unsigned char *bench_key(const struct bench_data *d,
                                             uint64_t number, size_t *len)
{
    *len = d->off[number + 1] - d->off[number];
    return d->keys + d->off[number];
}

/*
 * Write the value of record `number` in its `version`-th form: eight bytes
 * that prove both, the version in four, the rest by kind; the last four repeat
 * the first, so that a look at both ends shows a value out of place or cut.
 */
void bench_value(const struct bench_data *d, uint64_t number, uint32_t version,
                 unsigned char *value);

static inline uint64_t bench_proof(uint64_t number, uint32_t version)
{
    return bench_mix(number + 1 + ((uint64_t)version << 40));
}

/* Is this the value of record `number`, in any version? Its ends only. */
static inline bool bench_value_fits(const struct bench_data *d, uint64_t number,
                                    const void *value, size_t len)
{
    const unsigned char *v = value;
    uint64_t proof;
    uint32_t version;
    uint32_t tail;

    if (len != d->value_bytes)
        return false;
    memcpy(&proof, v, 8);
    memcpy(&version, v + 8, 4);
    memcpy(&tail, v + len - 4, 4);
    return proof == bench_proof(number, version) && tail == (uint32_t)proof;
}

/* The same of every byte. */
bool bench_value_equals(const struct bench_data *d, uint64_t number,
                        const void *value, size_t len);

/* ---- numbers of records, at random ---- */

/* Numbers of which a few are asked for often: the k-th most often asked for
 * with a share of 1 / k^0.99, wherever it lies. */
struct bench_zipf {
    uint64_t n;
    double zetan;
    double eta;
    double alpha;
    double half; /* 1 + 0.5^theta */
};

void bench_zipf_init(struct bench_zipf *z, uint64_t n);
uint64_t bench_zipf_next(const struct bench_zipf *z, uint64_t *rand);

#endif /* QUIRE_TOOLS_BENCH_DATA_H */
