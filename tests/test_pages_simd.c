/*
 * The searching instructions: every variant that runs here gives the answer of
 * a loop, and reads nothing beyond the values it is given.
 */
#include "pages/pg_impl.h"
#include "tests/test.h"

/* Values at the very end of an allocation, so that the address sanitizer sees a
 * read behind them. */
static void *at_end(size_t nbytes, void **mem)
{
    *mem = malloc(nbytes + 1);
    CHECK(*mem != NULL);
    return *mem;
}

static unsigned naive_seek(const uint32_t *heads, unsigned n, uint32_t head)
{
    unsigned below = 0;

    for (unsigned i = 0; i < n; i++)
        below += heads[i] < head;
    return below;
}

static int u32_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void seek_all(const uint32_t *heads, unsigned n, uint32_t head)
{
    unsigned want = naive_seek(heads, n, head);

    for (unsigned v = 0; quire_simd_variant(v) != NULL; v++) {
        CHECK_CASE(quire_simd_variant(v));
        CHECK_OK(quire_simd_use(quire_simd_variant(v)));
        CHECK_EQ(pg_simd_now()->seek(heads, n, head), want);
    }
}

static void test_simd_seek(void **state)
{
    static const uint32_t masks[] = { UINT32_MAX, 0xff, 0x80000001, 1 };
    uint64_t rng = test_seed();

    (void)state;
    for (unsigned n = 0; n < 300; n++) {
        void *mem;
        uint32_t *heads = at_end(n * sizeof(uint32_t), &mem);
        uint32_t mask = masks[n % ARRAY_LEN(masks)];

        for (unsigned i = 0; i < n; i++)
            heads[i] = (uint32_t)test_rand(&rng) & mask;
        qsort(heads, n, sizeof(heads[0]), u32_cmp);
        seek_all(heads, n, 0);
        seek_all(heads, n, UINT32_MAX);
        seek_all(heads, n, 0x80000000);
        for (unsigned i = 0; i < n; i += 1 + n / 20) {
            seek_all(heads, n, heads[i]);
            seek_all(heads, n, heads[i] + 1);
            seek_all(heads, n, heads[i] - 1);
        }
        free(mem);
    }
    CHECK_OK(quire_simd_use(NULL));
}

static void test_simd_match(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (unsigned n = 0; n <= PG_MATCH_MAX; n++) {
        for (unsigned round = 0; round < 20; round++) {
            void *mem;
            uint8_t *fps = at_end(n, &mem);
            uint8_t fp = (uint8_t)test_rand(&rng);
            uint64_t want = 0;

            for (unsigned i = 0; i < n; i++) {
                /* many equal ones, and some that differ by one bit */
                fps[i] = (uint8_t)(fp ^ (round == 0 ? 0
                                         : round < 10
                                             ? 1u << test_rand_below(&rng, 9)
                                             : test_rand(&rng)));
                want |= (uint64_t)(fps[i] == fp) << i;
            }
            for (unsigned v = 0; quire_simd_variant(v) != NULL; v++) {
                CHECK_CASE(quire_simd_variant(v));
                CHECK_OK(quire_simd_use(quire_simd_variant(v)));
                CHECK_EQ(pg_simd_now()->match(fps, n, fp), want);
            }
            free(mem);
        }
    }
    CHECK_OK(quire_simd_use(NULL));
}

static void test_simd_choice(void **state)
{
    const char *best = quire_simd_variant(0);
    bool plain = false;

    (void)state;
    CHECK_OK(quire_simd_use(NULL));
    CHECK_STR_EQ(quire_simd(), best);
    for (unsigned v = 0; quire_simd_variant(v) != NULL; v++) {
        const char *name = quire_simd_variant(v);

        CHECK_OK(quire_simd_use(name));
        CHECK_STR_EQ(quire_simd(), name);
        plain |= strcmp(name, "plain") == 0;
    }
    CHECK(plain); /* runs anywhere */
    CHECK_STATUS(quire_simd_use("mmx"), QUIRE_NOTFOUND);
    CHECK_STATUS(quire_simd_use(""), QUIRE_NOTFOUND);
    CHECK_STR_EQ(quire_simd(), "plain"); /* a refusal changes nothing */
    CHECK_OK(quire_simd_use(NULL));
    CHECK_STR_EQ(quire_simd(), best);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simd_seek),
        cmocka_unit_test(test_simd_match),
        cmocka_unit_test(test_simd_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
