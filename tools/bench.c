/*
 * bench.c - `quire bench WHAT`: speed and memory, measured and printed.
 *
 * What all benchmarks share: the choice of cases, a table for people or, with
 * --json, one object a line for programs, and the clock. Each prints a line as
 * soon as it has it.
 */
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
};

uint64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_rand(uint64_t *state)
{
    uint64_t z;

    /* splitmix64: each state a different output, no state is bad */
    *state += UINT64_C(0x9E3779B97F4A7C15);
    z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
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

static void bench_field(bool json, bool has, const char *name, double value)
{
    if (json && has)
        printf(",\"%s\":%.10g", name, value);
}

void bench_print_head(bool json)
{
    if (!json)
        printf("%-12s %-10s %7s %10s %14s %14s %14s  %s\n", "case", "engine",
               "threads", "ns", "ops/s", "rss bytes", "live bytes", "");
}

void bench_print(bool json, const struct bench_line *l)
{
    if (json) {
        printf("{\"bench\":\"%s\",\"case\":\"%s\",\"engine\":\"%s\","
               "\"threads\":%u",
               l->bench, l->name, l->engine, l->threads);
        bench_field(true, l->ns > 0, "ns", l->ns);
        bench_field(true, l->ns > 0, "ops_per_s",
                    l->ns > 0 ? 1e9 * l->threads / l->ns : 0);
        bench_field(true, l->rss_bytes > 0, "rss_bytes", l->rss_bytes);
        bench_field(true, l->live_bytes > 0, "live_bytes", l->live_bytes);
        if (l->note[0] != '\0')
            printf(",\"note\":\"%s\"", l->note);
        printf("}\n");
    } else {
        printf("%-12s %-10s %7u ", l->name, l->engine, l->threads);
        if (l->ns > 0)
            printf("%10.1f %14.0f", l->ns, 1e9 * l->threads / l->ns);
        else
            printf("%10s %14s", "-", "-");
        if (l->rss_bytes > 0)
            printf(" %14.0f %14.0f", l->rss_bytes, l->live_bytes);
        else
            printf(" %14s %14s", "-", "-");
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
