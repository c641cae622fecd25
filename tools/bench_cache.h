/*
 * bench_cache.h - a cache as `quire bench cache` drives it.
 *
 * Entries are numbers of pages, their payloads empty: what is measured is the
 * cache's own work. A peer's library is loaded at run time; one that is not
 * there, or whose header was missing at build time, can't be opened.
 */
#ifndef QUIRE_TOOLS_BENCH_CACHE_H
#define QUIRE_TOOLS_BENCH_CACHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_MISSES_FAILED UINT64_MAX

/* What a cache is made for. */
struct bench_cache_setup {
    uint64_t capacity_bytes;
    uint64_t mean_bytes; /* of an entry */
    uint64_t entries;    /* most that fit */
    uint64_t keys;       /* 0 .. keys - 1 */
    /* Bytes that an entry is charged with. */
    uint64_t (*charge)(uint32_t key);
};

struct bench_cache_engine {
    const char *name;
    /* A cache, or NULL: it isn't to be had. */
    void *(*open)(const struct bench_cache_setup *s);
    void (*close)(void *cache);
    /* Look up and release `n` keys one by one; one that isn't there is entered.
     * Returns how many were not, or BENCH_MISSES_FAILED. Any threads. */
    uint64_t (*run)(void *cache, const uint32_t *keys, size_t n);
    int uncounted; /* it doesn't say what was missing: run() returns 0 */
};

/* What the library of cache_rocksdb.cc has to show. */
struct bench_cache_peers {
    const struct bench_cache_engine *hyperclock;
    const struct bench_cache_engine *lru;
};

#ifdef __cplusplus
}
#else
extern const struct bench_cache_engine cache_engine_mpool;
#endif

#endif /* QUIRE_TOOLS_BENCH_CACHE_H */
