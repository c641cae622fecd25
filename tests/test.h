/*
 * test.h - what every test program uses: cmocka, the CHECK_* macros, seeds,
 * temporary directories. The functions are in lib_test.c.
 *
 * A test program is one file, tests/test_<folder>_<object>.c, with its own
 * main():
 *
 *     #include "alloc/ra.h"
 *     #include "tests/test.h"
 *
 *     static void test_something(void **state)
 *     {
 *         (void)state;
 *         CHECK_EQ(1 + 1, 2);
 *     }
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {
 *             cmocka_unit_test(test_something),
 *         };
 *
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * A CHECK_* that fails ends its test. In a thread that the test started it
 * ends the whole program instead, with a message and a status, since cmocka's
 * jump back into the test is only known to the thread that runs it.
 */
#ifndef QUIRE_TESTS_TEST_H
#define QUIRE_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quire.h"

#ifndef ARRAY_LEN
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#endif

/* ---- checks: each argument is evaluated once ---- */

/* Remember which row of a table is being tested: the last one is named by each
 * failure that follows in this thread. `name` must outlive the test. */
#define CHECK_CASE(name) test_case((name), __func__, __LINE__)

/* `cond` is true. */
#define CHECK(cond) test_check((cond) ? true : false, #cond, __FILE__, __LINE__)

/* Integers, enums, bools and pointers, compared as 64-bit numbers: a negative
 * number equals no unsigned 32-bit one. */
#define CHECK_EQ(a, b) \
    test_check_eq((uintmax_t)(a), (uintmax_t)(b), true, #a, #b, __FILE__, \
                  __LINE__)
#define CHECK_NE(a, b) \
    test_check_eq((uintmax_t)(a), (uintmax_t)(b), false, #a, #b, __FILE__, \
                  __LINE__)

/* `rc` is QUIRE_OK; otherwise its name and quire_error_detail() are told. */
#define CHECK_OK(rc) CHECK_STATUS(rc, QUIRE_OK)

/* `rc` is the status `want`. */
#define CHECK_STATUS(rc, want) \
    test_check_status((rc), (want), #rc, __FILE__, __LINE__)

/* Two NUL-terminated strings are equal. */
#define CHECK_STR_EQ(a, b) test_check_str((a), (b), #a, #b, __FILE__, __LINE__)

/* `n` bytes are equal; the first that differs is told with its neighbours. */
#define CHECK_MEM_EQ(a, b, n) \
    test_check_mem((a), (b), (n), #a, #b, __FILE__, __LINE__)

/* Called by the macros above. */
void test_case(const char *name, const char *func, int line);
void test_check(bool ok, const char *what, const char *file, int line);
void test_check_eq(uintmax_t a, uintmax_t b, bool want_equal,
                   const char *a_text, const char *b_text, const char *file,
                   int line);
void test_check_status(quire_status rc, quire_status want, const char *what,
                       const char *file, int line);
void test_check_str(const char *a, const char *b, const char *a_text,
                    const char *b_text, const char *file, int line);
void test_check_mem(const void *a, const void *b, size_t nbytes,
                    const char *a_text, const char *b_text, const char *file,
                    int line);

/* ---- randomness ---- */

/* The seed of this run: SEED= from the environment (any base that strtoull
 * knows), or always the same one. Printed at each call, so that a failure can
 * be run again. */
uint64_t test_seed(void);

/* The next of a sequence of evenly distributed 64-bit numbers; any `*state`
 * will do, equal ones give equal sequences (splitmix64). */
uint64_t test_rand(uint64_t *state);

/* As test_rand(), but 0 .. n-1; `n` is at least 1. The bias is below
 * n / 2^64. */
uint64_t test_rand_below(uint64_t *state, uint64_t n);

/* How many rounds a long test makes where `n` are wanted at full speed: fewer
 * under the sanitizers and Valgrind (TEST_DIVISOR in the environment), at
 * least 1. */
uint64_t test_rounds(uint64_t n);

/* ---- files ---- */

/* Create a new directory under TMPDIR or /tmp, and store its path. The test
 * removes it with test_rmtree(). */
void test_tmpdir(char *path, size_t cap);

/* Remove a directory with all that it holds. What is not there is no
 * failure. */
void test_rmtree(const char *path);

/* dir/name into `path`; fails the test when it does not fit. */
void test_path(char *path, size_t cap, const char *dir, const char *name);

/* The path of a file of the sample data (QUIRE_SHARED in the environment names
 * their directory). Where it is absent the test is skipped, with a message:
 * this does not return. */
void test_shared_path(char *path, size_t cap, const char *name);

/* The path of the program `quire` (QUIRE_BIN in the environment); skips the
 * test when it is not set. */
const char *test_program(void);

#endif /* QUIRE_TESTS_TEST_H */
