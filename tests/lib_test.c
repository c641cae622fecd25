/*
 * lib_test.c - the functions behind test.h; linked into every test program.
 *
 * Failures are printed in full before cmocka is told, since its own message
 * knows neither the row of the table nor the library's error detail. The
 * message goes to standard error in one piece, then _fail() ends the test.
 */
#include "tests/test.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST_SEED_DEFAULT 20260101u

/* The row named last; owner thread. */
static _Thread_local struct {
    const char *name; /* NULL: none yet */
    const char *func;
    int line;
} test_row;

void test_case(const char *name, const char *func, int line)
{
    test_row.name = name;
    test_row.func = func;
    test_row.line = line;
}

static void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

static void test_fail(const char *file, int line, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (test_row.name != NULL)
        print_error("%s:%d: %s\n  last case: \"%s\" (%s(), line %d)\n", file,
                    line, text, test_row.name, test_row.func, test_row.line);
    else
        print_error("%s:%d: %s\n", file, line, text);
    _fail(file, line);
    abort(); /* not reached: _fail() jumps or exits */
}

void test_check(bool ok, const char *what, const char *file, int line)
{
    if (!ok)
        test_fail(file, line, "not true: %s", what);
}

void test_check_eq(uintmax_t a, uintmax_t b, bool want_equal,
                   const char *a_text, const char *b_text, const char *file,
                   int line)
{
    if ((a == b) != want_equal)
        test_fail(file, line,
                  "%s %s %s: %" PRIdMAX " (%#" PRIxMAX ") and %" PRIdMAX
                  " (%#" PRIxMAX ")",
                  a_text, want_equal ? "is not" : "is", b_text, (intmax_t)a, a,
                  (intmax_t)b, b);
}

void test_check_status(quire_status rc, quire_status want, const char *what,
                       const char *file, int line)
{
    const char *detail;

    if (rc == want)
        return;
    detail = quire_error_detail();
    test_fail(file, line, "%s gave %d (%s), not %d (%s); detail: %s", what,
              (int)rc, quire_strerror(rc), (int)want, quire_strerror(want),
              detail == NULL || detail[0] == '\0' ? "none" : detail);
}

void test_check_str(const char *a, const char *b, const char *a_text,
                    const char *b_text, const char *file, int line)
{
    if (a == NULL || b == NULL || strcmp(a, b) != 0)
        test_fail(file, line, "%s is not %s: \"%s\" and \"%s\"", a_text, b_text,
                  a == NULL ? "(null)" : a, b == NULL ? "(null)" : b);
}

/* Up to 16 bytes from `p` in hexadecimal; `text` holds 49 characters. */
static void test_hex(const unsigned char *p, size_t nbytes, char *text)
{
    size_t n = nbytes < 16 ? nbytes : 16;

    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        sprintf(text + 3 * i, "%02x ", p[i]);
}

void test_check_mem(const void *a, const void *b, size_t nbytes,
                    const char *a_text, const char *b_text, const char *file,
                    int line)
{
    const unsigned char *pa = a;
    const unsigned char *pb = b;
    char hex_a[49];
    char hex_b[49];
    size_t at = 0;
    size_t from;

    if (nbytes == 0)
        return;
    if (a == NULL || b == NULL)
        test_fail(file, line, "%s or %s is NULL, with %zu bytes to compare",
                  a_text, b_text, nbytes);
    while (at < nbytes && pa[at] == pb[at])
        at++;
    if (at == nbytes)
        return;
    from = at < 4 ? 0 : at - 4;
    test_hex(pa + from, nbytes - from, hex_a);
    test_hex(pb + from, nbytes - from, hex_b);
    test_fail(file, line,
              "%s is not %s: first at byte %zu of %zu; from byte %zu on\n"
              "  %s\n  %s",
              a_text, b_text, at, nbytes, from, hex_a, hex_b);
}

/* The number in the environment variable `name`, or `otherwise`. */
static uint64_t test_env_u64(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    char *end;
    uint64_t n;

    if (text == NULL || text[0] == '\0')
        return otherwise;
    errno = 0;
    n = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0') {
        print_error("%s=%s is not a number\n", name, text);
        exit(2);
    }
    return n;
}

uint64_t test_seed(void)
{
    uint64_t seed = test_env_u64("SEED", TEST_SEED_DEFAULT);

    print_message("random: rerun with SEED=%" PRIu64 "\n", seed);
    return seed;
}

uint64_t test_rand(uint64_t *state)
{
    uint64_t x;

    /* The multipliers and shifts are splitmix64's (Steele, Lea, Flood 2014,
     * with Stafford's variant 13 of the finalizer). */
    *state += UINT64_C(0x9e3779b97f4a7c15);
    x = *state;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t test_rand_below(uint64_t *state, uint64_t n)
{
    return test_rand(state) % n;
}

uint64_t test_rounds(uint64_t n)
{
    uint64_t divisor = test_env_u64("TEST_DIVISOR", 1);

    if (divisor > 1)
        n /= divisor;
    return n > 0 ? n : 1;
}

void test_path(char *path, size_t cap, const char *dir, const char *name)
{
    int n = snprintf(path, cap, "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= cap)
        test_fail(__FILE__, __LINE__, "no room for the path %s/%s", dir, name);
}

void test_tmpdir(char *path, size_t cap)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL || base[0] == '\0')
        base = "/tmp";
    test_path(path, cap, base, "quire-test-XXXXXX");
    if (mkdtemp(path) == NULL)
        test_fail(__FILE__, __LINE__, "cannot create %s: %s", path,
                  strerror(errno));
}

static int test_remove_entry(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_rmtree(const char *path)
{
    /* Depth first, so that a directory is empty when its turn comes; symbolic
     * links are removed, not followed. 16: directories held open at once. */
    if (nftw(path, test_remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT)
        test_fail(__FILE__, __LINE__, "cannot remove %s: %s", path,
                  strerror(errno));
}

void test_shared_path(char *path, size_t cap, const char *name)
{
    const char *dir = getenv("QUIRE_SHARED");

    if (dir == NULL || dir[0] == '\0') {
        print_message("SKIPPED: no sample data (QUIRE_SHARED is not set), "
                      "wanted %s\n",
                      name);
        skip();
    }
    test_path(path, cap, dir, name);
    if (access(path, R_OK) != 0) {
        print_message("SKIPPED: no sample data at %s\n", path);
        skip();
    }
}

const char *test_program(void)
{
    const char *path = getenv("QUIRE_BIN");

    if (path == NULL || access(path, X_OK) != 0) {
        print_message("SKIPPED: QUIRE_BIN names no program\n");
        skip();
    }
    return path;
}
