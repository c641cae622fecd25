/*
 * Varints: the bytes, the shortest form only, and nothing read past the end.
 */
#include "pages/pg.h"
#include "tests/test.h"

static const struct {
    const char *name;
    uint8_t in[11];
    size_t in_len;
    size_t want; /* bytes read, 0: refused */
    uint64_t value;
} cases[] = {
    { "zero", { 0x00 }, 1, 1, 0 },
    { "greatest of one byte", { 0x7f }, 1, 1, 127 },
    { "smallest of two bytes", { 0x80, 0x01 }, 2, 2, 128 },
    { "bytes behind it", { 0x80, 0x01, 0xff }, 3, 2, 128 },
    { "greatest of two bytes", { 0xff, 0x7f }, 2, 2, 16383 },
    { "smallest of three bytes", { 0x80, 0x80, 0x01 }, 3, 3, 16384 },
    { "2^63",
      { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 },
      10,
      10,
      UINT64_C(1) << 63 },
    { "2^64 - 1",
      { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 },
      10,
      10,
      UINT64_MAX },
    { "empty input", { 0 }, 0, 0, 0 },
    { "cut in the middle", { 0x80 }, 1, 0, 0 },
    { "cut before the last", { 0xff, 0xff, 0xff }, 3, 0, 0 },
    { "overlong zero", { 0x80, 0x00 }, 2, 0, 0 },
    { "overlong 127", { 0xff, 0x00 }, 2, 0, 0 },
    { "65 bits",
      { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 },
      10,
      0,
      0 },
    { "eleven bytes",
      { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81, 0x01 },
      11,
      0,
      0 },
};

static void test_varint_shortest_form_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t out[PG_VARINT_MAX];
        uint64_t value = 0;
        /* exactly as long as the input, so that a byte too far is seen */
        uint8_t *in = malloc(cases[i].in_len + 1);

        CHECK_CASE(cases[i].name);
        CHECK(in != NULL);
        memmove(in + 1, cases[i].in, cases[i].in_len);
        CHECK_EQ(pg_varint_decode(in + 1, cases[i].in_len, &value),
                 cases[i].want);
        CHECK_EQ(value, cases[i].value);
        if (cases[i].want != 0) {
            CHECK_EQ(pg_varint_encode(out, cases[i].value), cases[i].want);
            CHECK_MEM_EQ(out, cases[i].in, cases[i].want);
        }
        free(in);
    }
}

static void test_varint_round_trip(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (uint64_t i = 0; i < test_rounds(100000); i++) {
        uint64_t value = test_rand(&rng) >> test_rand_below(&rng, 64);
        uint64_t back = ~value;
        uint8_t buf[PG_VARINT_MAX];
        size_t n = pg_varint_encode(buf, value);

        CHECK(n >= 1 && n <= PG_VARINT_MAX);
        CHECK_EQ(pg_varint_decode(buf, n, &back), n);
        CHECK_EQ(back, value);
        CHECK_EQ(pg_varint_decode(buf, n - 1, &back), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varint_shortest_form_only),
        cmocka_unit_test(test_varint_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
