/*
 * simd.c - the two inner loops of a search, for each instruction set.
 *
 * seek: how many of `n` ascending heads are below one. Halving steps without a
 * branch on data narrow it down to PG_SIMD_WINDOW heads, and these are all
 * compared: a dozen independent vector compares cost less than the last seven
 * halvings, each of which waits for the load before it.
 *
 * match: which of `n` fingerprints equal one, as a bit each.
 *
 * All variants give the same answer for the same bytes and read nothing beyond
 * the `n` values. Which one runs is found out once, from what the processor
 * says that it can; tests and measurements may choose another. That choice is
 * the one variable in pages/: it changes how long an answer takes, not the
 * answer.
 */
#include <stdatomic.h>

#include "pages/pg_impl.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Heads compared at once. 64: of 32 to 256 the fastest in pages of 16 KiB
 * with every variant, or as fast. */
#define PG_SIMD_WINDOW 64u

/* Narrow down to where at most PG_SIMD_WINDOW heads are undecided: those
 * before `*base` are below `head`, those behind `*base + n` are not. */
static inline unsigned narrow(const uint32_t **base, unsigned n, uint32_t head)
{
    const uint32_t *b = *base;

    while (n > PG_SIMD_WINDOW) {
        unsigned half = n / 2;

        /* an AND with all ones or zeros: no branch to mispredict */
        b += half & (0u - (unsigned)(b[half - 1] < head));
        n -= half;
    }
    *base = b;
    return n;
}

/* ---- plain C ---- */

static unsigned plain_seek(const uint32_t *heads, unsigned n, uint32_t head)
{
    const uint32_t *base = heads;

    if (n == 0)
        return 0;
    while (n > 1) {
        unsigned half = n / 2;

        base += half & (0u - (unsigned)(base[half - 1] < head));
        n -= half;
    }
    return (unsigned)(base - heads) + (*base < head);
}

/* One bit for each of up to 64 bytes that equals `fp`. */
static inline uint64_t plain_match_some(const uint8_t *fps, unsigned n,
                                        uint8_t fp)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < n; i++)
        bits |= (uint64_t)(fps[i] == fp) << i;
    return bits;
}

static uint64_t plain_match(const uint8_t *fps, unsigned n, uint8_t fp)
{
    static const uint64_t ones = UINT64_C(0x0101010101010101);
    static const uint64_t low7 = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t bits = 0;
    unsigned i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t x = ra_le64(fps + i) ^ ones * fp;

        /* the top bit of each byte that is zero, exactly: no carry leaves a
         * byte */
        x = ~(((x & low7) + low7) | x | low7) >> 7;
        /* the eight bits side by side, in the top byte */
        bits |= (x * UINT64_C(0x0102040810204080) >> 56) << i;
    }
    return i == n ? bits : bits | plain_match_some(fps + i, n - i, fp) << i;
}

static const struct pg_simd plain = { "plain", plain_seek, plain_match };

/* ---- x86 ---- */

#if defined(__x86_64__)

/* Signed compares on numbers with the top bit turned over are unsigned ones. */
#define TOP_BIT INT32_MIN

static unsigned sse2_seek(const uint32_t *heads, unsigned n, uint32_t head)
{
    const uint32_t *b = heads;
    const __m128i top = _mm_set1_epi32(TOP_BIT);
    const __m128i h = _mm_xor_si128(_mm_set1_epi32((int)head), top);
    __m128i sum = _mm_setzero_si128();
    unsigned below = 0;
    unsigned i = 0;

    n = narrow(&b, n, head);
    for (; i + 4 <= n; i += 4) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(b + i));

        sum = _mm_sub_epi32(sum, _mm_cmplt_epi32(_mm_xor_si128(x, top), h));
    }
    for (; i < n; i++)
        below += b[i] < head;
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return (unsigned)(b - heads) + below + (unsigned)_mm_cvtsi128_si32(sum);
}

static uint64_t sse2_match(const uint8_t *fps, unsigned n, uint8_t fp)
{
    const __m128i f = _mm_set1_epi8((char)fp);
    uint64_t bits = 0;
    unsigned i = 0;

    for (; i + 16 <= n; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(fps + i));

        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, f))
                << i;
    }
    return i == n ? bits : bits | plain_match_some(fps + i, n - i, fp) << i;
}

static const struct pg_simd sse2 = { "sse2", sse2_seek, sse2_match };

__attribute__((target("avx2,popcnt"))) static unsigned avx2_seek(
    const uint32_t *heads, unsigned n, uint32_t head)
{
    static const int32_t tails[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    const uint32_t *b = heads;
    const __m256i top = _mm256_set1_epi32(TOP_BIT);
    const __m256i h = _mm256_xor_si256(_mm256_set1_epi32((int)head), top);
    unsigned below = 0;
    unsigned i = 0;
    __m256i x, lt;

    n = narrow(&b, n, head);
    for (; i + 8 <= n; i += 8) {
        x = _mm256_loadu_si256((const __m256i *)(const void *)(b + i));
        lt = _mm256_cmpgt_epi32(h, _mm256_xor_si256(x, top));
        below += (unsigned)__builtin_popcount(
            (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lt)));
    }
    if (i < n) { /* what is not loaded is not counted either */
        __m256i mask = _mm256_loadu_si256(
            (const __m256i *)(const void *)(tails + 8 - (n - i)));

        x = _mm256_maskload_epi32((const int *)(const void *)(b + i), mask);
        lt = _mm256_and_si256(mask,
                              _mm256_cmpgt_epi32(h, _mm256_xor_si256(x, top)));
        below += (unsigned)__builtin_popcount(
            (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lt)));
    }
    return (unsigned)(b - heads) + below;
}

__attribute__((target("avx2"))) static uint64_t avx2_match(const uint8_t *fps,
                                                           unsigned n,
                                                           uint8_t fp)
{
    const __m256i f = _mm256_set1_epi8((char)fp);
    uint64_t bits = 0;
    unsigned i = 0;

    for (; i + 32 <= n; i += 32) {
        __m256i x = _mm256_loadu_si256(
            (const __m256i *)(const void *)(fps + i));

        bits |=
            (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, f))
            << i;
    }
    if (i < n) {
        _mm256_zeroupper(); /* the compiler leaves it out before a tail call,
                                and SSE then waits for the upper halves */
        bits |= sse2_match(fps + i, n - i, fp) << i;
    }
    return bits;
}

static const struct pg_simd avx2 = { "avx2", avx2_seek, avx2_match };

__attribute__((target("avx512f,avx512bw,popcnt"))) static unsigned avx512_seek(
    const uint32_t *heads, unsigned n, uint32_t head)
{
    const uint32_t *b = heads;
    const __m512i h = _mm512_set1_epi32((int)head);
    unsigned below = 0;
    unsigned i = 0;

    n = narrow(&b, n, head);
    for (; i + 16 <= n; i += 16)
        below += (unsigned)__builtin_popcount(
            _mm512_cmplt_epu32_mask(_mm512_loadu_si512(b + i), h));
    if (i < n) {
        __mmask16 m = (__mmask16)((1u << (n - i)) - 1);

        below += (unsigned)__builtin_popcount(_mm512_mask_cmplt_epu32_mask(
            m, _mm512_maskz_loadu_epi32(m, b + i), h));
    }
    return (unsigned)(b - heads) + below;
}

__attribute__((target("avx512f,avx512bw"))) static uint64_t avx512_match(
    const uint8_t *fps, unsigned n, uint8_t fp)
{
    __mmask64 m = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;

    return _mm512_mask_cmpeq_epi8_mask(m, _mm512_maskz_loadu_epi8(m, fps),
                                       _mm512_set1_epi8((char)fp));
}

static const struct pg_simd avx512 = { "avx512", avx512_seek, avx512_match };

static bool can(const struct pg_simd *v)
{
    if (v == &avx512)
        return __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("popcnt");
    if (v == &avx2)
        return __builtin_cpu_supports("avx2") &&
               __builtin_cpu_supports("popcnt");
    return true;
}

static const struct pg_simd *const variants[] = { &avx512, &avx2, &sse2,
                                                  &plain };

#elif defined(__aarch64__)

static unsigned neon_seek(const uint32_t *heads, unsigned n, uint32_t head)
{
    const uint32_t *b = heads;
    const uint32x4_t h = vdupq_n_u32(head);
    uint32x4_t sum = vdupq_n_u32(0);
    unsigned below = 0;
    unsigned i = 0;

    n = narrow(&b, n, head);
    for (; i + 4 <= n; i += 4)
        sum = vsubq_u32(sum, vcltq_u32(vld1q_u32(b + i), h));
    for (; i < n; i++)
        below += b[i] < head;
    return (unsigned)(b - heads) + below + vaddvq_u32(sum);
}

static uint64_t neon_match(const uint8_t *fps, unsigned n, uint8_t fp)
{
    static const uint8_t weights[16] = { 1, 2, 4, 8, 16, 32, 64, 128,
                                         1, 2, 4, 8, 16, 32, 64, 128 };
    const uint8x16_t w = vld1q_u8(weights);
    const uint8x16_t f = vdupq_n_u8(fp);
    uint64_t bits = 0;
    unsigned i = 0;

    for (; i + 16 <= n; i += 16) {
        uint8x16_t x = vandq_u8(vceqq_u8(vld1q_u8(fps + i), f), w);
        uint64_t lo = vaddv_u8(vget_low_u8(x));
        uint64_t hi = vaddv_u8(vget_high_u8(x));

        bits |= (lo | hi << 8) << i;
    }
    return i == n ? bits : bits | plain_match_some(fps + i, n - i, fp) << i;
}

static const struct pg_simd neon = { "neon", neon_seek, neon_match };

static bool can(const struct pg_simd *v)
{
    (void)v;
    return true; /* every such processor has it */
}

static const struct pg_simd *const variants[] = { &neon, &plain };

#else

static bool can(const struct pg_simd *v)
{
    (void)v;
    return true;
}

static const struct pg_simd *const variants[] = { &plain };

#endif

const struct pg_simd *_Atomic pg_simd_chosen;

const struct pg_simd *pg_simd_choose(void)
{
    size_t i = 0;

    while (!can(variants[i])) /* the last one always can */
        i++;
    /* relaxed: it points to constants, and every thread that gets here finds
     * the same */
    atomic_store_explicit(&pg_simd_chosen, variants[i], memory_order_relaxed);
    return variants[i];
}

const char *quire_simd(void)
{
    return pg_simd_now()->name;
}

const char *quire_simd_variant(unsigned i)
{
    for (size_t k = 0; k < sizeof(variants) / sizeof(variants[0]); k++) {
        if (can(variants[k]) && i-- == 0)
            return variants[k]->name;
    }
    return NULL;
}

quire_status quire_simd_use(const char *name)
{
    if (name == NULL) {
        pg_simd_choose();
        return QUIRE_OK;
    }
    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        if (strcmp(name, variants[i]->name) != 0 || !can(variants[i]))
            continue;
        /* relaxed: as above; all variants answer alike */
        atomic_store_explicit(&pg_simd_chosen, variants[i],
                              memory_order_relaxed);
        return QUIRE_OK;
    }
    return ra_fail(QUIRE_NOTFOUND, "no instruction set %.40s here", name);
}
