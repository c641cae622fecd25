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
    double ns;         /* one operation of one thread */
    double rss_bytes;  /* resident */
    double live_bytes; /* held by the case */
    const char *note;  /* "" or words, plain ASCII without quotes */
};

void bench_print_head(bool json);
void bench_print(bool json, const struct bench_line *line);

/* Is `name` in the comma-separated `list`? NULL is every name. */
bool bench_chosen(const char *list, const char *name);

/* Monotonic, nanoseconds. */
uint64_t bench_now_ns(void);
uint64_t bench_rand(uint64_t *state);

/* The benchmarks: an exit status. */
int bench_alloc(int argc, char **argv);

#endif /* QUIRE_TOOLS_BENCH_H */
