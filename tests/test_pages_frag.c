/*
 * Fragments: bytes on disk, round trips, and that no damage goes unseen.
 */
#include "pages/pg.h"
#include "tests/lib_page.h"
#include "tests/test.h"

#include <xxhash.h>

/* The checksum computed in another way: over a copy with a zeroed sum. */
static uint64_t sum_of(const uint8_t *buf, size_t len)
{
    uint8_t *copy = malloc(len);
    uint64_t sum;

    CHECK(copy != NULL);
    memcpy(copy, buf, len);
    memset(copy + 56, 0, 8);
    sum = XXH3_64bits(copy, len);
    free(copy);
    return sum;
}

static void sum_fix(uint8_t *buf, size_t len)
{
    ra_put_le64(buf + 56, sum_of(buf, len));
}

/* What a fragment is made of, with a body of `body_len` bytes that can be
 * compressed or not. */
static void in_make(struct pg_frag_in *in, uint8_t *body, size_t body_len,
                    bool dense, unsigned nchain, uint64_t *rng)
{
    struct pg_ref ref;

    for (size_t i = 0; i < body_len; i++)
        body[i] = dense ? (uint8_t)(test_rand(rng) >> 32)
                        : (uint8_t)("abcdefgh"[i % 8]);
    page_ref_make(&ref, 1, nchain, rng);
    memset(in, 0, sizeof(*in));
    in->kind = PG_INNER;
    in->level = 1;
    in->self_contained = nchain == 0;
    in->id = ref.id;
    in->birth = ref.birth;
    in->count = ref.count;
    in->nentries = (uint32_t)test_rand(rng);
    in->image_len = ref.image_len;
    in->nchain = (uint8_t)nchain;
    memcpy(in->chain, ref.chain, sizeof(in->chain));
    for (unsigned i = 0; i < nchain; i++)
        in->sums[i] = test_rand(rng);
    in->body = body;
    in->body_len = body_len;
}

/* The fragment in memory of exactly its length. */
static uint8_t *encode(const struct pg_frag_in *in, struct pg_ref *ref,
                       size_t *len)
{
    size_t cap = pg_frag_bound(in->body_len, in->nchain);
    uint8_t *buf = malloc(cap);
    uint8_t *exact;

    CHECK(buf != NULL);
    CHECK_EQ(pg_frag_encode(in, buf, cap - 1, ref), 0);
    *len = pg_frag_encode(in, buf, cap, ref);
    CHECK(*len >= PG_FRAG_HEADER && *len <= cap);
    exact = malloc(*len);
    CHECK(exact != NULL);
    memcpy(exact, buf, *len);
    free(buf);
    return exact;
}

static void test_frag_round_trip(void **state)
{
    static const size_t lens[] = { 0,   1,    15,    255,       256,
                                   257, 1000, 20000, PG_RAW_MAX };
    uint64_t rng = test_seed();
    uint8_t *body = malloc(PG_RAW_MAX);

    (void)state;
    CHECK(body != NULL);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        for (unsigned k = 0; k < 2 * (PG_CHAIN_MAX + 1); k++) {
            struct pg_frag_in in;
            struct pg_frag frag;
            struct pg_ref ref;
            struct quire_val back;
            uint8_t *buf, *raw = malloc(lens[i] + 1);
            size_t len;

            CHECK(raw != NULL);
            in_make(&in, body, lens[i], k % 2 == 0, k / 2, &rng);
            buf = encode(&in, &ref, &len);
            CHECK_EQ(ref.id, in.id);
            CHECK_EQ(ref.stored_len, len);
            CHECK_EQ(ref.raw_len, lens[i]);
            CHECK_EQ(ref.sum, sum_of(buf, len));
            CHECK_OK(pg_frag_check(buf, len, in.id, NULL, &frag));
            CHECK_OK(pg_frag_check(buf, len, in.id, &ref.sum, &frag));
            CHECK_EQ(frag.kind, in.kind);
            CHECK_EQ(frag.level, in.level);
            CHECK_EQ(frag.self_contained, in.self_contained);
            CHECK_EQ(frag.id, in.id);
            CHECK_EQ(frag.birth, in.birth);
            CHECK_EQ(frag.count, in.count);
            CHECK_EQ(frag.nentries, in.nentries);
            CHECK_EQ(frag.image_len, in.image_len);
            CHECK_EQ(frag.nchain, in.nchain);
            CHECK_EQ(frag.stored_len, len);
            for (unsigned c = 0; c < in.nchain; c++) {
                CHECK_EQ(frag.chain[c].id, in.chain[c].id);
                CHECK_EQ(frag.chain[c].stored_len, in.chain[c].stored_len);
                CHECK_EQ(frag.chain[c].raw_len, in.chain[c].raw_len);
                CHECK_EQ(frag.sums[c], in.sums[c]);
            }
            /* compressed exactly when it saves an eighth */
            CHECK_EQ(frag.lz4, k % 2 == 1 && lens[i] >= 256);
            CHECK_OK(pg_frag_body(&frag, buf, raw, lens[i], &back));
            CHECK_EQ(back.size, lens[i]);
            CHECK_MEM_EQ(back.data, body, lens[i]);
            if (frag.lz4)
                CHECK_STATUS(pg_frag_body(&frag, buf, raw, lens[i] - 1, &back),
                             QUIRE_CORRUPT);
            free(raw);
            free(buf);
        }
    }
    free(body);
}

/* The bytes of a small fragment, one by one. */
static void test_frag_bytes(void **state)
{
    static const uint8_t want[] = {
        'Q',         'R',  'F',  'G', /* magic */
        1,           0,    0,    2,   /* kind ... nchain */
        0x08,        0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* id */
        0x2a,        0,    0,    0,    0,    0,    0,    0,    /* birth */
        0x07,        0,    0,    0,    0,    0,    0,    0,    /* count */
        64 + 37 + 5, 0,    0,    0,                            /* stored_len */
        5,           0,    0,    0,                            /* raw_len */
        3,           0,    0,    0,                            /* nentries */
        0,           0x10, 0,    0,                            /* image_len */
        37,          0,    0,    0,                            /* chain_len */
        1,           0,    0,    0,                            /* version */
        0,           0,    0,    0,    0,    0,    0,    0,    /* sum, below */
        0x11,        0,    0,    0,    0,    0,    0,    0,    /* link 0: id */
        0x22,        0,    0,    0,    0,    0,    0,    0,    /* its sum */
        100,         50,                                       /* its lengths */
        0x33,        0,    0,    0,    0,    0,    0,    0,    /* link 1 */
        0x44,        0,    0,    0,    0,    0,    0,    0,
        0x80,        0x01, 0,    'h',  'e',  'l',  'l',  'o',
    };
    struct pg_frag_in in = {
        .kind = PG_LEAF,
        .id = UINT64_C(0x0102030405060708),
        .birth = 42,
        .count = 7,
        .nentries = 3,
        .image_len = 4096,
        .nchain = 2,
        .chain = { { 0x11, 100, 50 }, { 0x33, 128, 0 } },
        .sums = { 0x22, 0x44 },
        .body = "hello",
        .body_len = 5,
    };
    struct pg_ref ref;
    struct pg_frag frag;
    size_t len;
    uint8_t *buf;

    (void)state;
    buf = encode(&in, &ref, &len);
    CHECK_EQ(len, sizeof(want));
    CHECK_MEM_EQ(buf, want, 56);
    CHECK_EQ(ra_le64(buf + 56), sum_of(buf, len));
    CHECK_MEM_EQ(buf + 64, want + 64, len - 64);
    /* peeking needs the header only, and believes the sum */
    CHECK_OK(pg_frag_peek(buf, PG_FRAG_HEADER, &frag));
    CHECK_EQ(frag.stored_len, len);
    CHECK_EQ(frag.body_off, len - 5);
    CHECK_STATUS(pg_frag_peek(buf, PG_FRAG_HEADER - 1, &frag), QUIRE_CORRUPT);
    free(buf);
}

/* Kinds without slots are always self-contained, whatever was asked. */
static void test_frag_plain_kinds(void **state)
{
    static const enum pg_kind kinds[] = { PG_OVERFLOW, PG_OVINDEX, PG_DEAD,
                                          PG_RECORD };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct pg_frag_in in = { .kind = kinds[i], .id = 16 };
        struct pg_frag frag;
        struct pg_ref ref;
        size_t len;
        uint8_t *buf;

        in.body = "plain bytes";
        in.body_len = 11;
        buf = encode(&in, &ref, &len);
        CHECK_OK(pg_frag_check(buf, len, 16, &ref.sum, &frag));
        CHECK(frag.self_contained);
        CHECK_EQ(frag.kind, kinds[i]);
        free(buf);
    }
}

/* Every bit of every byte, and every length. */
static void test_frag_damage_is_seen(void **state)
{
    uint64_t rng = test_seed();

    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        uint8_t body[300];
        struct pg_frag_in in;
        struct pg_frag frag;
        struct pg_ref ref;
        uint8_t *buf;
        size_t len;

        in_make(&in, body, sizeof(body), k % 2 == 0, k < 2 ? 0 : 3, &rng);
        buf = encode(&in, &ref, &len);
        for (size_t i = 0; i < 8 * len; i++) {
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
            CHECK_STATUS(pg_frag_check(buf, len, in.id, NULL, &frag),
                         QUIRE_CORRUPT);
            buf[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *exact = malloc(cut + 1);

            CHECK(exact != NULL);
            memcpy(exact, buf, cut);
            CHECK_STATUS(pg_frag_check(exact, cut, in.id, NULL, &frag),
                         QUIRE_CORRUPT);
            free(exact);
        }
        {
            uint8_t *longer = malloc(len + 1);

            CHECK(longer != NULL);
            memcpy(longer, buf, len);
            longer[len] = 0;
            CHECK_STATUS(pg_frag_check(longer, len + 1, in.id, NULL, &frag),
                         QUIRE_CORRUPT);
            sum_fix(longer, len + 1);
            CHECK_STATUS(pg_frag_check(longer, len + 1, in.id, NULL, &frag),
                         QUIRE_CORRUPT);
            free(longer);
        }
        CHECK_STATUS(pg_frag_check(buf, len, in.id + 1, NULL, &frag),
                     QUIRE_CORRUPT);
        ref.sum++;
        CHECK_STATUS(pg_frag_check(buf, len, in.id, &ref.sum, &frag),
                     QUIRE_CORRUPT);
        free(buf);
    }
}

/* Headers whose checksum is right but whose fields are not. */
static void test_frag_lying_headers(void **state)
{
    static const struct {
        const char *name;
        size_t off;
        unsigned size;
        uint64_t value;
    } cases[] = {
        { "magic", 0, 4, 0x47465252 },
        { "kind 0", 4, 1, 0 },
        { "kind 7", 4, 1, 7 },
        { "a leaf at level 1", 4, 1, PG_LEAF },
        { "an inner page at level 0", 5, 1, 0 },
        { "too high", 5, 1, PG_LEVEL_MAX + 1 },
        { "an overflow page with a chain", 4, 1, PG_OVERFLOW },
        { "unknown flag", 6, 1, 8 },
        { "fenced, with the whole page", 6, 1, 5 },
        { "a step without fences", 6, 1, 0x10 },
        { "a step over a chain of four", 6, 1, 0x14 },
        { "self-contained with a chain", 6, 1, 1 },
        { "no chain and not self-contained", 7, 1, 0 },
        { "too many links", 7, 1, PG_CHAIN_MAX + 1 },
        { "one link more", 7, 1, 4 },
        { "one link less", 7, 1, 2 },
        { "no id", 8, 8, 0 },
        { "shorter", 32, 4, 64 },
        { "longest", 32, 4, UINT32_MAX },
        { "raw length one more", 36, 4, 301 },
        { "raw length beyond the limit", 36, 4, PG_RAW_MAX + 1 },
        { "image beyond the limit", 44, 4, PG_IMAGE_MAX + 1 },
        { "chain longer than all", 48, 4, UINT32_MAX },
        { "chain shorter", 48, 4, 53 },
        { "another version", 52, 4, 2 },
        { "a link to no page", 64, 8, 0 },
        { "a link's overlong length", 80, 3, 0x8080ff },
    };
    uint64_t rng = test_seed();
    uint8_t body[300];
    struct pg_frag_in in;
    struct pg_frag frag;
    struct pg_ref ref;
    uint8_t *buf, *copy;
    size_t len;

    (void)state;
    in_make(&in, body, sizeof(body), true, 3, &rng);
    buf = encode(&in, &ref, &len);
    copy = malloc(len);
    CHECK(copy != NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t le[8];

        CHECK_CASE(cases[i].name);
        memcpy(copy, buf, len);
        ra_put_le64(le, cases[i].value);
        memcpy(copy + cases[i].off, le, cases[i].size);
        sum_fix(copy, len);
        CHECK_STATUS(pg_frag_check(copy, len, ra_le64(copy + 8), NULL, &frag),
                     QUIRE_CORRUPT);
    }
    free(copy);
    free(buf);
}

/* A chain as short as two links can be, of which the first takes more. */
static void test_frag_cut_link(void **state)
{
    struct pg_frag_in in = {
        .kind = PG_LEAF,
        .id = 16,
        .nchain = 2,
        .chain = { { 1, 20000, 20000 }, { 2, 20000, 20000 } },
    };
    struct pg_frag frag;
    struct pg_ref ref;
    uint8_t *buf;
    size_t len;

    (void)state;
    buf = encode(&in, &ref, &len);
    CHECK_EQ(len, 64 + 2 * 22);
    for (size_t cut = 64 + 2 * 18; cut < len; cut++) {
        uint8_t *exact = malloc(cut);

        CHECK(exact != NULL);
        memcpy(exact, buf, cut);
        ra_put_le32(exact + 32, (uint32_t)cut);
        ra_put_le32(exact + 48, (uint32_t)cut - 64);
        sum_fix(exact, cut);
        CHECK_STATUS(pg_frag_check(exact, cut, 16, NULL, &frag), QUIRE_CORRUPT);
        free(exact);
    }
    free(buf);
}

/* Bodies that are not what LZ4 writes, or not of the length promised. */
static void test_frag_bad_compression(void **state)
{
    uint64_t rng = test_seed();
    uint8_t body[300], raw[301];
    struct pg_frag_in in;
    struct pg_frag frag;
    struct pg_ref ref;
    struct quire_val val;
    uint8_t *buf;
    size_t len;

    (void)state;
    in_make(&in, body, sizeof(body), false, 2, &rng);
    buf = encode(&in, &ref, &len);
    for (unsigned raw_len = 0; raw_len <= 301; raw_len++) {
        ra_put_le32(buf + 36, raw_len);
        sum_fix(buf, len);
        if (pg_frag_check(buf, len, in.id, NULL, &frag) != QUIRE_OK)
            continue; /* not shorter than what is stored */
        CHECK_STATUS(pg_frag_body(&frag, buf, raw, raw_len, &val),
                     raw_len == 300 ? QUIRE_OK : QUIRE_CORRUPT);
    }
    ra_put_le32(buf + 36, 300);
    memset(buf + frag.body_off, 0xff, len - frag.body_off);
    sum_fix(buf, len);
    CHECK_OK(pg_frag_check(buf, len, in.id, NULL, &frag));
    CHECK_STATUS(pg_frag_body(&frag, buf, raw, 300, &val), QUIRE_CORRUPT);
    free(buf);
}

/* Random bytes with a right checksum: never more than a status. */
static void test_frag_random_with_right_sum(void **state)
{
    uint64_t rng = test_seed();
    uint64_t naccepted = 0;

    (void)state;
    for (uint64_t i = 0; i < test_rounds(20000); i++) {
        uint8_t body[200];
        struct pg_frag_in in;
        struct pg_frag frag;
        struct pg_ref ref;
        struct quire_val val;
        uint8_t *buf;
        size_t len;
        uint64_t n = 1 + test_rand_below(&rng, 4);

        in_make(&in, body, test_rand_below(&rng, sizeof(body)),
                test_rand_below(&rng, 2) == 0,
                (unsigned)test_rand_below(&rng, 4), &rng);
        buf = encode(&in, &ref, &len);
        while (n-- > 0) {
            size_t at = test_rand_below(&rng, len);

            if (test_rand_below(&rng, 2) == 0)
                at = test_rand_below(&rng, PG_FRAG_HEADER);
            buf[at] = (uint8_t)(test_rand(&rng) >> 32);
        }
        sum_fix(buf, len);
        if (pg_frag_check(buf, len, ra_le64(buf + 8), NULL, &frag) ==
            QUIRE_OK) {
            uint8_t *raw = malloc(frag.raw_len + 1);

            CHECK(raw != NULL);
            naccepted++;
            if (pg_frag_body(&frag, buf, raw, frag.raw_len, &val) == QUIRE_OK)
                CHECK_EQ(val.size, frag.raw_len);
            free(raw);
        }
        free(buf);
    }
    CHECK_NE(naccepted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frag_round_trip),
        cmocka_unit_test(test_frag_bytes),
        cmocka_unit_test(test_frag_plain_kinds),
        cmocka_unit_test(test_frag_damage_is_seen),
        cmocka_unit_test(test_frag_lying_headers),
        cmocka_unit_test(test_frag_cut_link),
        cmocka_unit_test(test_frag_bad_compression),
        cmocka_unit_test(test_frag_random_with_right_sum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
