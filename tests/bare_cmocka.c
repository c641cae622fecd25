/*
 * bare_cmocka.c - the few functions of cmocka that simple tests call, for
 * machines that there is a compiler for, but no cmocka (`make check-neon`). Tests
 * run one after the other; the first failure ends the program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

int _cmocka_run_group_tests(const char *group_name,
                            const struct CMUnitTest *const tests,
                            const size_t num_tests,
                            CMFixtureFunction group_setup,
                            CMFixtureFunction group_teardown)
{
    void *state = NULL;

    (void)group_setup;
    (void)group_teardown;
    for (size_t i = 0; i < num_tests; i++)
        tests[i].test_func(&state);
    printf("%s: %zu passed\n", group_name, num_tests);
    return 0;
}

void _fail(const char *const file, const int line)
{
    fprintf(stderr, "%s:%d: failed\n", file, line);
    exit(1);
}

void _skip(const char *const file, const int line)
{
    fprintf(stderr, "%s:%d: a test that would be skipped\n", file, line);
    exit(1);
}

void print_error(const char *const format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

void print_message(const char *const format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}
