/*
 * Page references and large values: round trips, lengths, and what is refused.
 */
#include "pages/pg.h"
#include "tests/lib_page.h"
#include "tests/test.h"

static void ref_check_eq(const struct pg_ref *a, const struct pg_ref *b)
{
    CHECK_EQ(a->id, b->id);
    CHECK_EQ(a->sum, b->sum);
    CHECK_EQ(a->birth, b->birth);
    CHECK_EQ(a->count, b->count);
    CHECK_EQ(a->stored_len, b->stored_len);
    CHECK_EQ(a->raw_len, b->raw_len);
    CHECK_EQ(a->image_len, b->image_len);
    CHECK_EQ(a->kind, b->kind);
    CHECK_EQ(a->level, b->level);
    CHECK_EQ(a->nchain, b->nchain);
    CHECK_EQ(a->intent, b->intent);
    for (unsigned i = 0; i < a->nchain; i++) {
        CHECK_EQ(a->chain[i].id, b->chain[i].id);
        CHECK_EQ(a->chain[i].stored_len, b->chain[i].stored_len);
        CHECK_EQ(a->chain[i].raw_len, b->chain[i].raw_len);
    }
}

static void test_ref_round_trip(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (uint64_t i = 0; i < test_rounds(20000); i++) {
        unsigned nchain = (unsigned)test_rand_below(&rng, PG_CHAIN_MAX + 1);
        unsigned level = (unsigned)test_rand_below(&rng, PG_LEVEL_MAX + 1);
        uint8_t buf[PG_REF_BYTES_MAX];
        struct pg_ref ref, back;
        size_t n;

        page_ref_make(&ref, level, nchain, &rng);
        ref.intent = test_rand_below(&rng, 8) == 0;
        n = pg_ref_encode(&ref, buf);
        CHECK(n <= PG_REF_BYTES(nchain));
        CHECK_EQ(pg_ref_peek_id(buf), ref.id);
        CHECK_OK(pg_ref_decode(buf, n, &back));
        ref_check_eq(&ref, &back);
        for (size_t len = 0; len < n && i < 500; len++) {
            uint8_t *exact = malloc(len + 1);

            CHECK(exact != NULL);
            memmove(exact + 1, buf, len); /* ends where memory ends */
            CHECK_STATUS(pg_ref_decode(exact + 1, len, &back), QUIRE_CORRUPT);
            free(exact);
        }
    }
}

/* Trailing bytes are somebody else's. */
static void test_ref_ignores_trailing_bytes(void **state)
{
    uint8_t buf[PG_REF_BYTES_MAX + 8];
    uint64_t rng = 1;
    struct pg_ref ref, back;

    (void)state;
    memset(buf, 0xff, sizeof(buf));
    page_ref_make(&ref, 0, 2, &rng);
    pg_ref_encode(&ref, buf);
    CHECK_OK(pg_ref_decode(buf, sizeof(buf), &back));
    ref_check_eq(&ref, &back);
}

/* The longest reference has exactly the bytes that PG_REF_BYTES() promises. */
static void test_ref_longest(void **state)
{
    struct pg_ref ref = { .id = UINT64_MAX,
                          .sum = UINT64_MAX,
                          .birth = UINT64_MAX,
                          .count = UINT64_MAX,
                          .stored_len = UINT32_MAX,
                          .raw_len = UINT32_MAX,
                          .image_len = UINT32_MAX,
                          .kind = PG_INNER,
                          .level = PG_LEVEL_MAX,
                          .nchain = PG_CHAIN_MAX };
    uint8_t buf[PG_REF_BYTES_MAX];

    (void)state;
    for (unsigned i = 0; i < PG_CHAIN_MAX; i++)
        ref.chain[i] = (struct pg_link){ UINT64_MAX, UINT32_MAX, UINT32_MAX };
    CHECK_EQ(pg_ref_encode(&ref, buf), PG_REF_BYTES_MAX);
    ref.nchain = 0;
    CHECK_EQ(pg_ref_encode(&ref, buf), PG_REF_BYTES(0));
}

static void test_ref_no_page(void **state)
{
    struct pg_ref ref = { .id = PG_ID_NONE, .kind = PG_LEAF, .count = 7 };
    struct pg_ref back;
    uint8_t buf[PG_REF_BYTES(0)];
    size_t n;

    (void)state;
    n = pg_ref_encode(&ref, buf);
    CHECK_OK(pg_ref_decode(buf, n, &back));
    CHECK_EQ(back.id, PG_ID_NONE);
    CHECK_EQ(back.count, 0);
    CHECK_EQ(back.kind, 0);
    for (size_t i = 8; i < n; i++) {
        buf[i] ^= 1;
        CHECK_STATUS(pg_ref_decode(buf, n, &back), QUIRE_CORRUPT);
        buf[i] ^= 1;
    }
}

static void test_ref_refused(void **state)
{
    static const struct {
        const char *name;
        struct pg_ref ref;
        quire_status want;
    } cases[] = {
        { "a leaf", { .kind = PG_LEAF, .stored_len = 64 }, QUIRE_OK },
        { "an inner page",
          { .kind = PG_INNER, .level = 1, .stored_len = 64 },
          QUIRE_OK },
        { "kind 0", { .kind = 0, .stored_len = 64 }, QUIRE_CORRUPT },
        { "kind 7", { .kind = 7, .stored_len = 64 }, QUIRE_CORRUPT },
        { "a leaf above level 0",
          { .kind = PG_LEAF, .level = 1, .stored_len = 64 },
          QUIRE_CORRUPT },
        { "an inner page at level 0",
          { .kind = PG_INNER, .level = 0, .stored_len = 64 },
          QUIRE_CORRUPT },
        { "too high a tree",
          { .kind = PG_INNER, .level = PG_LEVEL_MAX + 1, .stored_len = 64 },
          QUIRE_CORRUPT },
        { "an overflow page above level 0",
          { .kind = PG_OVERFLOW, .level = 1, .stored_len = 64 },
          QUIRE_CORRUPT },
        { "shorter than a header",
          { .kind = PG_LEAF, .stored_len = 63 },
          QUIRE_CORRUPT },
        { "longer than any fragment",
          { .kind = PG_LEAF, .stored_len = 300000 },
          QUIRE_CORRUPT },
        { "the longest body",
          { .kind = PG_LEAF, .stored_len = 64, .raw_len = PG_RAW_MAX },
          QUIRE_OK },
        { "longer than any body",
          { .kind = PG_LEAF, .stored_len = 64, .raw_len = PG_RAW_MAX + 1 },
          QUIRE_CORRUPT },
        { "longer than any image",
          { .kind = PG_LEAF, .stored_len = 64, .image_len = PG_IMAGE_MAX + 1 },
          QUIRE_CORRUPT },
        { "a chain below an overflow page",
          { .kind = PG_OVERFLOW,
            .stored_len = 64,
            .nchain = 1,
            .chain = { { 1, 64, 0 } } },
          QUIRE_CORRUPT },
        { "a link to no page",
          { .kind = PG_LEAF,
            .stored_len = 64,
            .nchain = 1,
            .chain = { { PG_ID_NONE, 64, 0 } } },
          QUIRE_CORRUPT },
        { "a link shorter than a header",
          { .kind = PG_LEAF,
            .stored_len = 64,
            .nchain = 1,
            .chain = { { 1, 63, 0 } } },
          QUIRE_CORRUPT },
        { "a link to too long a body",
          { .kind = PG_LEAF,
            .stored_len = 64,
            .nchain = 1,
            .chain = { { 1, 64, PG_RAW_MAX + 1 } } },
          QUIRE_CORRUPT },
        { "an intent has no lengths",
          { .kind = PG_LEAF, .intent = true },
          QUIRE_OK },
        { "an intent has a kind",
          { .kind = 0, .intent = true },
          QUIRE_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pg_ref ref = cases[i].ref;
        struct pg_ref back;
        uint8_t buf[PG_REF_BYTES_MAX];
        size_t n;

        CHECK_CASE(cases[i].name);
        ref.id = 77;
        n = pg_ref_encode(&ref, buf);
        CHECK_STATUS(pg_ref_decode(buf, n, &back), cases[i].want);
    }
}

/* Good links, but one too many for anybody's arrays. */
static void test_ref_long_chain_refused(void **state)
{
    struct pg_ref ref = { .id = 5, .kind = PG_LEAF, .stored_len = 64 };
    uint8_t buf[PG_REF_BYTES_MAX * 2] = { 0 };
    size_t n;

    (void)state;
    n = pg_ref_encode(&ref, buf);
    for (unsigned i = 1; i <= PG_CHAIN_MAX + 1; i++) {
        buf[18] = (uint8_t)i;
        buf[n] = 1;
        buf[n + 8] = 64;
        n += 10;
        CHECK_STATUS(pg_ref_decode(buf, sizeof(buf), &ref),
                     i <= PG_CHAIN_MAX ? QUIRE_OK : QUIRE_CORRUPT);
    }
}

/* Lengths of more than 32 bits, which would be good ones when cut. */
static void test_ref_long_lengths_refused(void **state)
{
    (void)state;
    for (unsigned bad = 0; bad < 7; bad++) {
        uint8_t buf[100] = { 5 };
        size_t n = 18;
        struct pg_ref ref;

        buf[16] = PG_LEAF;
        buf[n++] = 1;
        for (unsigned i = 0; i < 7; i++) { /* birth, count, lengths */
            uint64_t value = i == bad ? (UINT64_C(1) << 32) + 64 : 64;

            if (i == 5) { /* the link's */
                buf[n] = 1;
                n += 8;
            }
            n += pg_varint_encode(buf + n, value);
        }
        CHECK_STATUS(pg_ref_decode(buf, n, &ref),
                     bad < 2 ? QUIRE_OK : QUIRE_CORRUPT);
    }
}

static void test_large(void **state)
{
    static const struct {
        const char *name;
        struct pg_large large;
        quire_status want;
    } cases[] = {
        { "one piece",
          { 5000, 5000, { .kind = PG_OVERFLOW, .raw_len = 5000 } },
          QUIRE_OK },
        { "one piece, not full",
          { 5000, 9999, { .kind = PG_OVERFLOW, .raw_len = 5000 } },
          QUIRE_OK },
        { "two pieces",
          { 5000, 4999, { .kind = PG_OVINDEX, .raw_len = 48 } },
          QUIRE_OK },
        { "the largest",
          { QUIRE_VALUE_MAX,
            PG_OVERFLOW_MAX,
            { .kind = PG_OVINDEX, .raw_len = 4229 * 24 } },
          QUIRE_OK },
        { "an intent",
          { 5000, 4999, { .kind = PG_OVINDEX, .intent = true } },
          QUIRE_OK },
        { "empty", { 0, 5000, { .kind = PG_OVERFLOW } }, QUIRE_CORRUPT },
        { "too large",
          { QUIRE_VALUE_MAX + 1,
            PG_OVERFLOW_MAX,
            { .kind = PG_OVINDEX, .raw_len = 4229 * 24 } },
          QUIRE_CORRUPT },
        { "pieces of nothing",
          { 5000, 0, { .kind = PG_OVERFLOW, .raw_len = 5000 } },
          QUIRE_CORRUPT },
        { "pieces that are no pages",
          { 5000,
            PG_OVERFLOW_MAX + 1,
            { .kind = PG_OVERFLOW, .raw_len = 5000 } },
          QUIRE_CORRUPT },
        { "a piece of another length",
          { 5000, 5000, { .kind = PG_OVERFLOW, .raw_len = 4999 } },
          QUIRE_CORRUPT },
        { "two pieces without an index",
          { 5000, 4999, { .kind = PG_OVERFLOW, .raw_len = 5000 } },
          QUIRE_CORRUPT },
        { "one piece with an index",
          { 5000, 5000, { .kind = PG_OVINDEX, .raw_len = 24 } },
          QUIRE_CORRUPT },
        { "an index too short",
          { 5000, 4999, { .kind = PG_OVINDEX, .raw_len = 24 } },
          QUIRE_CORRUPT },
        { "a leaf",
          { 5000, 5000, { .kind = PG_LEAF, .raw_len = 5000 } },
          QUIRE_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pg_large large = cases[i].large;
        struct pg_large back;
        uint8_t buf[PG_LARGE_BYTES + 1];
        struct quire_val val = { buf, PG_LARGE_BYTES };

        CHECK_CASE(cases[i].name);
        large.ref.id = 1234567;
        large.ref.stored_len = 64;
        large.ref.sum = UINT64_MAX;
        large.ref.birth = UINT64_MAX;
        large.ref.count = UINT64_MAX;
        CHECK_EQ(pg_large_encode(&large, buf), PG_LARGE_BYTES);
        CHECK_STATUS(pg_large_decode(&val, &back), cases[i].want);
        if (cases[i].want != QUIRE_OK)
            continue;
        CHECK_EQ(back.size, large.size);
        CHECK_EQ(back.piece_bytes, large.piece_bytes);
        ref_check_eq(&back.ref, &large.ref);
        for (val.size = 0; val.size <= PG_LARGE_BYTES + 1; val.size++) {
            if (val.size != PG_LARGE_BYTES)
                CHECK_STATUS(pg_large_decode(&val, &back), QUIRE_CORRUPT);
        }
        val.size = PG_LARGE_BYTES;
        buf[PG_LARGE_BYTES - 1] = 1; /* behind the reference: zeros only */
        CHECK_STATUS(pg_large_decode(&val, &back), QUIRE_CORRUPT);
    }
}

/* "No page" is no place for a value, and a value's pages have no chains. */
static void test_large_reference(void **state)
{
    struct pg_large large = {
        5000,
        5000,
        { .id = 9, .stored_len = 64, .kind = PG_OVERFLOW, .raw_len = 5000 }
    };
    uint8_t buf[PG_LARGE_BYTES];
    struct quire_val val = { buf, sizeof(buf) };
    size_t n;

    (void)state;
    pg_large_encode(&large, buf);
    CHECK_OK(pg_large_decode(&val, &large));
    memset(buf + 12, 0, sizeof(buf) - 12);
    CHECK_STATUS(pg_large_decode(&val, &large), QUIRE_CORRUPT);
    n = 12 + pg_ref_encode(&large.ref, buf + 12);
    buf[12 + 18] = 1;
    buf[n] = 1;
    buf[n + 8] = 64;
    CHECK_STATUS(pg_large_decode(&val, &large), QUIRE_CORRUPT);
}

static void test_ovslot_round_trip(void **state)
{
    struct pg_ovslot slot = { UINT64_C(0x0102030405060708),
                              UINT64_C(0x1112131415161718), 0x21222324,
                              0x31323334 };
    static const uint8_t want[PG_OVSLOT_BYTES] = {
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* id */
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* sum */
        0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, /* lengths */
    };
    uint8_t buf[PG_OVSLOT_BYTES];
    struct pg_ovslot back;

    (void)state;
    pg_ovslot_encode(&slot, buf);
    CHECK_MEM_EQ(buf, want, sizeof(want));
    pg_ovslot_decode(buf, &back);
    CHECK_EQ(back.id, slot.id);
    CHECK_EQ(back.sum, slot.sum);
    CHECK_EQ(back.stored_len, slot.stored_len);
    CHECK_EQ(back.raw_len, slot.raw_len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_round_trip),
        cmocka_unit_test(test_ref_ignores_trailing_bytes),
        cmocka_unit_test(test_ref_longest),
        cmocka_unit_test(test_ref_no_page),
        cmocka_unit_test(test_ref_refused),
        cmocka_unit_test(test_ref_long_chain_refused),
        cmocka_unit_test(test_ref_long_lengths_refused),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_large_reference),
        cmocka_unit_test(test_ovslot_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
