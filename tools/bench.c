/*
 * bench.c - `quire bench WHAT`: speed and memory, measured and printed.
 *
 * What all benchmarks share: the choice of cases, a table for people or, with
 * --json, one object a line for programs, and the clock. Each prints a line as
 * soon as it has it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench.h"
#include "tools/tool.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} benches[] = {
    { "alloc", bench_alloc, "the region allocator, beside malloc()" },
    { "cache", bench_cache, "the page cache, beside other caches" },
    { "page", bench_page, "one page, by variant, keys and size" },
    { "store", bench_store, "commits, fills and reads, beside other stores" },
    { "versioning", bench_versioning, "bytes written and read, by versioning" },
};

uint64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *v, size_t n)
{
    qsort(v, n, sizeof(v[0]), by_value);
    return v[n / 2];
}

double bench_rss_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    unsigned long long kib;
    double sum = 0;
    char line[128];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "RssAnon: %llu", &kib) == 1 ||
            sscanf(line, "RssFile: %llu", &kib) == 1)
            sum += (double)kib * 1024;
    }
    if (f != NULL)
        fclose(f);
    return sum;
}

bool bench_chosen(const char *list, const char *name)
{
    size_t len = strlen(name);

    if (list == NULL)
        return true;
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += len) {
        if ((at == list || at[-1] == ',') &&
            (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* ---- printing ---- */

void bench_print_head(bool json, unsigned columns)
{
    if (json)
        return;
    printf("%-18s %-14s %7s %12s %12s", "case", "engine", "threads", "ns",
           "ops/s");
    if (columns & BENCH_LATENCY)
        printf(" %9s %9s %9s", "p50 us", "p99 us", "p99.9 us");
    if (columns & BENCH_RSS)
        printf(" %9s", "rss MiB");
    if (columns & BENCH_LIVE)
        printf(" %9s", "live MiB");
    if (columns & BENCH_DISK)
        printf(" %9s", "disk MiB");
    if (columns & BENCH_READ)
        printf(" %9s %9s", "fragments", "read B");
    if (columns & BENCH_WRITTEN)
        printf(" %9s", "written B");
    printf("  note\n");
    fflush(stdout);
}

static void json_field(const char *name, double value)
{
    if (value > 0)
        printf(",\"%s\":%.10g", name, value);
}

static void table_field(unsigned columns, unsigned column, int width,
                        double value)
{
    if ((columns & column) == 0)
        return;
    if (value > 0)
        printf(" %*.*f", width,
               column == BENCH_WRITTEN ? 0
               : column == BENCH_READ  ? 2
                                       : 1,
               value);
    else
        printf(" %*s", width, "-");
}

void bench_print(bool json, unsigned columns, const struct bench_line *l)
{
    double ops_per_s = l->ns > 0 ? 1e9 * l->threads / l->ns : 0;

    if (json) {
        printf("{\"bench\":\"%s\",\"case\":\"%s\",\"engine\":\"%s\","
               "\"threads\":%u",
               l->bench, l->name, l->engine, l->threads);
        json_field("ns", l->ns);
        json_field("ops_per_s", ops_per_s);
        json_field("p50_us", l->p50_us);
        json_field("p99_us", l->p99_us);
        json_field("p999_us", l->p999_us);
        json_field("rss_bytes", l->rss_bytes);
        json_field("live_bytes", l->live_bytes);
        json_field("disk_bytes", l->disk_bytes);
        json_field("fragments", l->fragments);
        json_field("read_bytes", l->read_bytes);
        json_field("written_bytes", l->written_bytes);
        json_field("records", l->records);
        if (l->note[0] != '\0')
            printf(",\"note\":\"%s\"", l->note);
        printf("}\n");
    } else {
        printf("%-18s %-14s %7u", l->name, l->engine, l->threads);
        if (l->ns > 0)
            printf(" %12.1f %12.0f", l->ns, ops_per_s);
        else
            printf(" %12s %12s", "-", "-");
        table_field(columns, BENCH_LATENCY, 9, l->p50_us);
        table_field(columns, BENCH_LATENCY, 9, l->p99_us);
        table_field(columns, BENCH_LATENCY, 9, l->p999_us);
        table_field(columns, BENCH_RSS, 9, l->rss_bytes / 1048576);
        table_field(columns, BENCH_LIVE, 9, l->live_bytes / 1048576);
        table_field(columns, BENCH_DISK, 9, l->disk_bytes / 1048576);
        table_field(columns, BENCH_READ, 9, l->fragments);
        if (columns & BENCH_READ)
            printf(" %9.0f", l->read_bytes);
        table_field(columns, BENCH_WRITTEN, 9, l->written_bytes);
        printf("  %s\n", l->note);
    }
    fflush(stdout);
}

int cmd_bench(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (name != NULL && strcmp(name, "--help") != 0) {
        for (size_t i = 0; i < ARRAY_LEN(benches); i++) {
            if (strcmp(benches[i].name, name) == 0)
                return benches[i].run(argc - 1, argv + 1);
        }
        return say_usage("bench", "%s: there is no such benchmark", name);
    }
    if (name == NULL)
        return say_usage("bench", "name a benchmark");
    printf("usage: quire bench WHAT [option ...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(benches); i++)
        printf("  %-10s %s\n", benches[i].name, benches[i].summary);
    printf("\n`quire bench WHAT --help` describes one.\n");
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}
