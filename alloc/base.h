/*
 * base.h - what every layer uses: assertions, error details, small helpers.
 */
#ifndef QUIRE_ALLOC_BASE_H
#define QUIRE_ALLOC_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "alloc/point.h"
#include "quire.h"

#ifndef QUIRE_DEBUG
#define QUIRE_DEBUG 0 /* 1: assertions; 2: slow ones too */
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define QUIRE_LIKELY(x) __builtin_expect(!!(x), 1)
#define QUIRE_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define QUIRE_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Our own bugs only; never what a file or a user supplied. O(1). */
#if QUIRE_DEBUG >= 1
void quire_assert_failed(const char *what, const char *file, int line)
    __attribute__((noreturn));
#define QUIRE_ASSERT(x) \
    ((x) ? (void)0 : quire_assert_failed(#x, __FILE__, __LINE__))
#else
#define QUIRE_ASSERT(x) ((void)sizeof(x))
#endif

#if QUIRE_DEBUG >= 2
#define QUIRE_ASSERT_SLOW(x) QUIRE_ASSERT(x)
#else
#define QUIRE_ASSERT_SLOW(x) ((void)sizeof(x))
#endif

/*
 * Set this thread's error detail (quire_error_detail()) and return `rc`, so
 * that a failure reads `return ra_fail(QUIRE_INVAL, "budget %llu ...")`.
 */
quire_status ra_fail(quire_status rc, const char *fmt, ...) QUIRE_PRINTF(2, 3);

/* Where log lines go; copied from the embedder's options. */
struct ra_log {
    quire_log_fn fn; /* NULL: nowhere */
    void *arg;
};

void ra_log_line(const struct ra_log *log, quire_log_level level,
                 const char *fmt, ...) QUIRE_PRINTF(3, 4);

static inline uint64_t ra_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t ra_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool ra_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* `x` rounded up to a multiple of `to`, a power of two. */
static inline uint64_t ra_round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) & ~(to - 1);
}

/* Little-endian loads and stores at any alignment; files are little-endian. */
static inline uint16_t ra_le16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap16(v);
#endif
    return v;
}

static inline uint32_t ra_le32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t ra_le64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void ra_put_le16(void *p, uint16_t v)
{
    v = ra_le16(&v);
    memcpy(p, &v, sizeof(v));
}

static inline void ra_put_le32(void *p, uint32_t v)
{
    v = ra_le32(&v);
    memcpy(p, &v, sizeof(v));
}

static inline void ra_put_le64(void *p, uint64_t v)
{
    v = ra_le64(&v);
    memcpy(p, &v, sizeof(v));
}

#endif /* QUIRE_ALLOC_BASE_H */
