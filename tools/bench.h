/*
 * bench.h - what the benchmarks of `quire bench` share (bench.c).
 */
#ifndef QUIRE_TOOLS_BENCH_H
#define QUIRE_TOOLS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One result; a figure of 0 does not apply and is not printed. */
struct bench_line {
    const char *bench;
    const char *name; /* the case */
    const char *engine;
    unsigned threads;
    double ns;     /* one operation of one thread */
    double p50_us; /* latency of an operation */
    double p99_us;
    double p999_us;
    double rss_bytes;     /* resident, without what processes share */
    double live_bytes;    /* held by the case: segments, or records */
    double disk_bytes;    /* blocks that the files take */
    double written_bytes; /* to the device, an operation */
    double fragments;     /* read for a page that is not in memory */
    double read_bytes;    /* likewise */
    double records;       /* in the store */
    const char *note;     /* "" or words, plain ASCII without quotes */
};

/* Columns that only some benchmarks have. */
#define BENCH_LATENCY 1u
#define BENCH_RSS 2u
#define BENCH_LIVE 4u
#define BENCH_DISK 8u
#define BENCH_WRITTEN 16u
#define BENCH_READ 32u

/* A table's head, and a line of it, with these columns; in JSON every figure
 * that applies. */
void bench_print_head(bool json, unsigned columns);
void bench_print(bool json, unsigned columns, const struct bench_line *line);

/* Is `name` in the comma-separated `list`? NULL is every name. */
bool bench_chosen(const char *list, const char *name);

/* Monotonic, nanoseconds. */
uint64_t bench_now_ns(void);

/* The median of `n` >= 1 figures, which are sorted by it. */
double bench_median(double *v, size_t n);

/* Memory of this process that is resident: its own and the files it maps, but
 * nothing that it shares with other processes without a file. */
double bench_rss_bytes(void);

/* A number out of another, each to a different one. */
static inline uint64_t bench_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* splitmix64: each state a different output, no state is bad. */
static inline uint64_t bench_rand(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    return bench_mix(*state);
}

/* The benchmarks: an exit status. */
int bench_alloc(int argc, char **argv);
int bench_cache(int argc, char **argv);
int bench_page(int argc, char **argv);
int bench_store(int argc, char **argv);
int bench_versioning(int argc, char **argv);

#endif /* QUIRE_TOOLS_BENCH_H */
