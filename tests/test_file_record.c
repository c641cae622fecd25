/*
 * Superblocks and commit records: encoded, decoded, and made by somebody who
 * can compute checksums.
 */
#include "tests/lib_page.h"
#include "tests/lib_rig.h"
#include "tests/test.h"

static const struct pf_geometry geo = {
    .uuid = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
    .page_bytes = 4096,
    .block_bytes = 4096,
    .window = 4,
    .versioning = QUIRE_VERSIONING_FULL,
};

static void random_ref(struct pg_ref *ref, uint64_t *rand)
{
    memset(ref, 0, sizeof(*ref));
    if (test_rand_below(rand, 3) == 0)
        return; /* no page */
    page_ref_make(ref, (unsigned)test_rand_below(rand, 3),
                  (unsigned)test_rand_below(rand, PG_CHAIN_MAX + 1), rand);
    ref->id = pg_id_make(8192 + 16 * test_rand_below(rand, 1000), 0);
    for (unsigned i = 0; i < ref->nchain; i++)
        ref->chain[i].id = pg_id_make(8192 + 16 * test_rand_below(rand, 1000),
                                      0);
}

static void random_record(struct pf_record *rec, struct pf_record_tail *tail,
                          uint64_t *rand)
{
    memset(rec, 0, sizeof(*rec));
    rec->rev = 1 + test_rand_below(rand, 1000);
    rec->durable_through = test_rand_below(rand, rec->rev);
    rec->time_us = (int64_t)test_rand(rand);
    rec->incarnation = test_rand(rand);
    rec->prev_sum = test_rand(rand);
    rec->span.off = (uint64_t)1 << 20;
    rec->span.len = (uint64_t)1 << 20;
    rec->span.epoch = (uint16_t)test_rand(rand);
    rec->next_span.off = (uint64_t)2 << 20;
    rec->next_span.len = (uint64_t)1 << 20;
    rec->frontier = (uint64_t)3 << 20;
    rec->batch_off = rec->span.off + 4096 * test_rand_below(rand, 8);
    tail->batch_len = 16 * test_rand_below(rand, 1000);
    tail->batch_sum = test_rand(rand);
    rec->id = pg_id_make(rec->batch_off + tail->batch_len, rec->span.epoch);
    random_ref(&rec->catalogue, rand);
    random_ref(&rec->system, rand);
    random_ref(&rec->dead, rand);
    if (test_rand_below(rand, 2) == 0) {
        rec->window = 2 + (uint32_t)test_rand_below(rand, 15);
        rec->versioning = (quire_versioning)(1 + test_rand_below(rand, 5));
    }
}

/* The fragment of a body; its length. */
static size_t seal(const uint8_t *body, size_t len, quire_rev rev, pg_id id,
                   uint8_t *out, size_t cap)
{
    struct pg_frag_in in;
    struct pg_ref ref;

    memset(&in, 0, sizeof(in));
    in.kind = PG_RECORD;
    in.self_contained = true;
    in.id = id;
    in.birth = rev;
    in.body = body;
    in.body_len = len;
    return pg_frag_encode(&in, out, cap, &ref);
}

static uint8_t body[PF_RECORD_BODY_MAX];
static uint8_t raw[PF_RECORD_BODY_MAX];
static uint8_t frag[PF_RECORD_FRAG_MAX];

static void check_ref(const struct pg_ref *a, const struct pg_ref *b)
{
    uint8_t x[PG_REF_BYTES_MAX];
    uint8_t y[PG_REF_BYTES_MAX];
    size_t len;

    CHECK_EQ(a->id, b->id);
    if (a->id == PG_ID_NONE)
        return;
    len = pg_ref_encode(a, x);
    CHECK_EQ(pg_ref_encode(b, y), len);
    CHECK_MEM_EQ(x, y, len);
}

static void test_records_come_back(void **state)
{
    uint64_t rand = test_seed();
    uint64_t nrounds = test_rounds(2000);

    (void)state;
    for (uint64_t i = 0; i < nrounds; i++) {
        struct pf_span spans[8];
        unsigned nspans = (unsigned)test_rand_below(&rand, 9);
        struct pf_record rec;
        struct pf_record got;
        struct pf_record_tail tail;
        struct pf_record_tail got_tail;
        size_t len;
        size_t stored;

        random_record(&rec, &tail, &rand);
        memset(spans, 0, sizeof(spans));
        len = pf_record_encode(&rec, geo.uuid, &tail, spans, nspans, body);
        CHECK(len <= pf_record_bound(&rec, nspans));
        stored = seal(body, len, rec.rev, rec.id, frag, sizeof(frag));
        CHECK_OK(pf_record_parse(&geo, frag, stored, rec.id, NULL, raw, &got,
                                 &got_tail));
        CHECK_EQ(got.rev, rec.rev);
        CHECK_EQ(got.time_us, rec.time_us);
        CHECK_EQ(got.durable_through, rec.durable_through);
        CHECK_EQ(got.incarnation, rec.incarnation);
        CHECK_EQ(got.prev_sum, rec.prev_sum);
        CHECK_EQ(got.batch_off, rec.batch_off);
        CHECK_EQ(got.batch_end, ra_round_up(pg_id_off(rec.id) + stored, 4096));
        CHECK_EQ(got.span.off, rec.span.off);
        CHECK_EQ(got.span.epoch, rec.span.epoch);
        CHECK_EQ(got.next_span.off, rec.next_span.off);
        CHECK_EQ(got.frontier, rec.frontier);
        CHECK_EQ(got.stored_len, stored);
        CHECK_EQ(got.window, rec.window);
        CHECK_EQ(got.versioning, rec.versioning);
        CHECK_EQ(got_tail.batch_len, tail.batch_len);
        CHECK_EQ(got_tail.batch_sum, tail.batch_sum);
        check_ref(&got.catalogue, &rec.catalogue);
        check_ref(&got.system, &rec.system);
        check_ref(&got.dead, &rec.dead);
    }
}

/* What a record must not say, each field by itself. */
static void test_records_that_contradict_themselves(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint64_t value; /* 64 bits */
    } cases[] = {
        { "another store", 0, 99 },
        { "another revision than the fragment", 24, 6 },
        { "durable through itself", 40, 5 },
        { "a batch that begins in a block", 56, (1 << 20) + 16 },
        { "a batch before its span", 56, (1 << 20) - 4096 },
        { "a batch behind its record", 56, (1 << 20) + 65536 },
        { "a wrong length", 64, 48 },
        { "a span before the first", 80, 4096 },
        { "a span in a block", 80, (1 << 20) + 512 },
        { "a span beyond the frontier", 80, (uint64_t)5 << 20 },
        { "an empty span", 88, 0 },
        { "a span too long", 88, UINT64_MAX - 4095 },
        { "a span over the next", 88, (uint64_t)2 << 20 },
        { "another epoch", 96, 1 },
        { "no next span", 112, 0 },
        { "a next span over this", 104, 1 << 20 },
        { "a next span beyond the frontier", 104, (uint64_t)4 << 20 },
        { "a frontier before the spans", 128, 8192 },
        { "a frontier in a block", 128, ((uint64_t)3 << 20) + 1 },
        { "a frontier beyond the format", 128, (uint64_t)1 << 60 },
        { "a reference too long", 136, 60000 },
        { "a reference too short", 136, 10 },
    };
    struct pf_record rec;
    struct pf_record_tail tail;

    (void)state;
    memset(&rec, 0, sizeof(rec));
    rec.rev = 5;
    rec.durable_through = 4;
    rec.span.off = 1 << 20;
    rec.span.len = 1 << 20;
    rec.next_span.off = 2 << 20;
    rec.next_span.len = 1 << 20;
    rec.frontier = (uint64_t)3 << 20;
    rec.batch_off = (1 << 20) + 4096;
    tail.batch_len = 32;
    tail.batch_sum = 0;
    rec.id = pg_id_make(rec.batch_off + 32, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases) + 1; i++) {
        struct pf_record got;
        struct pf_record_tail got_tail;
        size_t len = pf_record_encode(&rec, geo.uuid, &tail, NULL, 0, body);
        size_t stored;

        CHECK_CASE(i == 0 ? "untouched" : cases[i - 1].name);
        if (i > 0)
            ra_put_le64(body + cases[i - 1].at, cases[i - 1].value);
        stored = seal(body, len, rec.rev, rec.id, frag, sizeof(frag));
        CHECK_STATUS(pf_record_parse(&geo, frag, stored, rec.id, NULL, raw,
                                     &got, &got_tail),
                     i == 0 ? QUIRE_OK : QUIRE_CORRUPT);
    }
}

/* How pages are written: within the limits, or it is no record. */
static void test_section_of_pages(void **state)
{
    static const struct {
        const char *name;
        uint32_t len, window, versioning;
        quire_status want;
    } cases[] = {
        { "as it should be", 8, 16, 5, QUIRE_OK },
        { "the least", 8, 2, 1, QUIRE_OK },
        { "window 1", 8, 1, 1, QUIRE_CORRUPT },
        { "window 17", 8, 17, 1, QUIRE_CORRUPT },
        { "versioning 0", 8, 4, 0, QUIRE_CORRUPT },
        { "versioning 6", 8, 4, 6, QUIRE_CORRUPT },
        { "too short", 7, 4, 1, QUIRE_CORRUPT },
        { "too long", 9, 4, 1, QUIRE_CORRUPT },
    };
    uint64_t rand = 5;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pf_record rec, got;
        struct pf_record_tail tail;
        size_t len, stored;

        CHECK_CASE(cases[i].name);
        random_record(&rec, &tail, &rand);
        rec.window = 0;
        len = pf_record_encode(&rec, geo.uuid, &tail, NULL, 0, body);
        ra_put_le16(body + len, 2);
        ra_put_le16(body + len + 2, 0);
        ra_put_le32(body + len + 4, cases[i].len);
        memset(body + len + 8, 0, 16);
        ra_put_le32(body + len + 8, cases[i].window);
        ra_put_le32(body + len + 12, cases[i].versioning);
        stored = seal(body, len + 8 + cases[i].len, rec.rev, rec.id, frag,
                      sizeof(frag));
        CHECK_STATUS(
            pf_record_parse(&geo, frag, stored, rec.id, NULL, raw, &got, &tail),
            cases[i].want);
    }
}

/* Unknown sections are skipped, cut ones refused. */
static void test_sections(void **state)
{
    static const struct {
        const char *name;
        uint32_t says; /* its length */
        uint32_t is;
        quire_status want;
    } cases[] = {
        { "empty", 0, 0, QUIRE_OK },
        { "seven bytes", 7, 7, QUIRE_OK },
        { "longer than it is", 8, 7, QUIRE_CORRUPT },
        { "very long", UINT32_MAX, 7, QUIRE_CORRUPT },
        { "a second header, cut", 0, 7, QUIRE_CORRUPT },
    };
    uint64_t rand = 5;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pf_record rec;
        struct pf_record got;
        struct pf_record_tail tail;
        size_t len;
        size_t stored;

        CHECK_CASE(cases[i].name);
        random_record(&rec, &tail, &rand);
        len = pf_record_encode(&rec, geo.uuid, &tail, NULL, 0, body);
        ra_put_le16(body + len, 4711);
        ra_put_le16(body + len + 2, 0);
        ra_put_le32(body + len + 4, cases[i].says);
        memset(body + len + 8, 0xee, cases[i].is);
        len += 8 + cases[i].is;
        stored = seal(body, len, rec.rev, rec.id, frag, sizeof(frag));
        CHECK_STATUS(
            pf_record_parse(&geo, frag, stored, rec.id, NULL, raw, &got, &tail),
            cases[i].want);
    }
}

/* Bytes changed at random, under a checksum that fits: an answer, and what is
 * accepted keeps the rules. */
static void test_forged_records(void **state)
{
    uint64_t rand = test_seed();
    uint64_t nrounds = test_rounds(40000);
    unsigned naccepted = 0;

    (void)state;
    for (uint64_t i = 0; i < nrounds; i++) {
        struct pf_span spans[3];
        struct pf_record rec;
        struct pf_record got;
        struct pf_record_tail tail;
        unsigned n = 1 + (unsigned)test_rand_below(&rand, 4);
        size_t len;
        size_t stored;

        random_record(&rec, &tail, &rand);
        memset(spans, 0, sizeof(spans));
        len = pf_record_encode(&rec, geo.uuid, &tail, spans, 3, body);
        for (unsigned k = 0; k < n; k++)
            body[16 + test_rand_below(&rand, len - 16)] = (uint8_t)test_rand(
                &rand);
        if (test_rand_below(&rand, 4) == 0)
            len = test_rand_below(&rand, len + 1);
        stored = seal(body, len, rec.rev, rec.id, frag, sizeof(frag));
        if (pf_record_parse(&geo, frag, stored, rec.id, NULL, raw, &got,
                            &tail) != QUIRE_OK)
            continue;
        naccepted++;
        CHECK(got.durable_through < got.rev);
        CHECK(got.batch_off >= got.span.off);
        CHECK(got.batch_off + tail.batch_len == pg_id_off(got.id));
        CHECK(got.batch_end <= pf_span_end(&got.span));
        CHECK(pf_span_end(&got.span) <= got.frontier);
        CHECK(pf_span_end(&got.next_span) <= got.frontier);
        CHECK(got.next_span.len > 0);
        CHECK(!got.catalogue.intent && !got.system.intent && !got.dead.intent);
    }
    CHECK(naccepted > 0);
}

/* A file whose superblock or first record was forged: an answer, always. */
static void test_forged_files(void **state)
{
    uint64_t rand = test_seed();
    uint64_t nrounds = test_rounds(2000);
    struct rig rig;
    uint8_t *saved;
    size_t nbytes;
    uint64_t rec_off;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    rec_off = pg_id_off(rig.last.id);
    CHECK_OK(pf_super_write(rig.file, &rig.last));
    CHECK_OK(pf_super_write(rig.file, &rig.last));
    rig_close(&rig);
    {
        const uint8_t *p = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);

        saved = malloc(nbytes);
        memcpy(saved, p, nbytes);
    }
    for (uint64_t i = 0; i < nrounds; i++) {
        struct pf_record rec;
        struct pg_frag fr;
        struct quire_val val;
        uint8_t *p;
        quire_status rc;

        mem_disk_put(rig.disk, RIG_PATH, saved, nbytes);
        p = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        if (i % 2 == 0) { /* both superblocks, the same way */
            size_t at = 8 + test_rand_below(&rand, 96);

            p[at] = (uint8_t)test_rand(&rand);
            ra_put_le64(p + 504, XXH3_64bits(p, 504));
            memcpy(p + 4096, p, 512);
        } else { /* the record that they name, and its checksum in them */
            CHECK_OK(pg_frag_check(p + rec_off, rig.last.stored_len,
                                   rig.last.id, NULL, &fr));
            CHECK_OK(pg_frag_body(&fr, p + rec_off, raw, sizeof(raw), &val));
            memmove(body, val.data, val.size);
            body[16 + test_rand_below(&rand, val.size - 16)] ^= (uint8_t)
                test_rand(&rand);
            ra_put_le32(p + 88, (uint32_t)seal(body, val.size, 1, rig.last.id,
                                               p + rec_off, 2048));
            memcpy(p + 80, p + rec_off + 56, 8);
            ra_put_le64(p + 504, XXH3_64bits(p, 504));
            memcpy(p + 4096, p, 512);
        }
        rec = rig.last;
        rc = rig_open(&rig, test_rand_below(&rand, 2) == 0);
        CHECK(rc == QUIRE_OK || rc == QUIRE_CORRUPT || rc == QUIRE_FORMAT);
        if (rc == QUIRE_OK) {
            struct quire_page page;

            rc = pf_load(rig.file, rig.last.catalogue.id, &rig.last.catalogue,
                         &page);
            if (rc == QUIRE_OK)
                ra_seg_free(rig.pool, page.payload);
        }
        rig_close(&rig);
        rig.last = rec;
    }
    free(saved);
    rig_fini(&rig);
}

static void test_superblocks_come_back(void **state)
{
    uint64_t rand = test_seed();

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        struct pf_super super;
        struct pf_super got;
        uint8_t buf[PF_SUPER_BYTES];
        unsigned bit = (unsigned)test_rand_below(&rand, 8 * PF_SUPER_BYTES);

        memset(&super, 0, sizeof(super));
        memset(&got, 0, sizeof(got));
        super.geo = geo;
        super.seq = test_rand(&rand);
        super.incarnation = test_rand(&rand);
        super.rev = test_rand(&rand);
        super.id = test_rand(&rand);
        super.sum = test_rand(&rand);
        super.stored_len = (uint32_t)test_rand(&rand);
        super.time_us = (int64_t)test_rand(&rand);
        pf_super_encode(&super, buf);
        CHECK_EQ(pf_super_decode(buf, &got), PF_SUPER_VALID);
        CHECK_MEM_EQ(&got, &super, sizeof(super));
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK_EQ(pf_super_decode(buf, &got),
                 bit < 64 ? PF_SUPER_FOREIGN : PF_SUPER_DAMAGED);
    }
}

/* The bytes on disk, as the README draws them. */
static void test_bytes_on_disk(void **state)
{
    struct rig rig;
    size_t nbytes;
    const uint8_t *p;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    p = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
    CHECK_EQ(nbytes, 3 * 4096);
    for (unsigned slot = 0; slot < 2; slot++) {
        const uint8_t *s = p + 4096 * slot;

        CHECK_MEM_EQ(s, "QUIRE\0\r\n", 8);
        CHECK_EQ(ra_le32(s + 8), 1);  /* version */
        CHECK_EQ(ra_le32(s + 12), 0); /* features */
        CHECK_MEM_EQ(s + 16, rig.geo.uuid, 16);
        CHECK_EQ(ra_le32(s + 32), 4096); /* page */
        CHECK_EQ(ra_le32(s + 36), 4096); /* block */
        CHECK_EQ(ra_le32(s + 40), 4);    /* window */
        CHECK_EQ(ra_le32(s + 44), QUIRE_VERSIONING_ADAPTIVE);
        CHECK_EQ(ra_le64(s + 48), slot + 1); /* sequence */
        CHECK_EQ(ra_le64(s + 56), 1);        /* incarnation */
        CHECK_EQ(ra_le64(s + 64), 0);        /* revision */
        CHECK_EQ(ra_le64(s + 72), (uint64_t)(8192 / 16) << 16);
        CHECK_EQ(ra_le64(s + 80), rig.last.sum);
        CHECK_EQ(ra_le32(s + 88), rig.last.stored_len);
        CHECK_EQ(ra_le64(s + 96), 1000); /* time */
        CHECK_EQ(ra_le64(s + 504), XXH3_64bits(s, 504));
    }
    CHECK_EQ(rig.last.batch_off, 8192);
    CHECK_EQ(rig.last.span.off, 8192);
    CHECK_EQ(pf_span_end(&rig.last.span), 1 << 20);
    CHECK_EQ(rig.last.next_span.off, 1 << 20);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_come_back),
        cmocka_unit_test(test_records_that_contradict_themselves),
        cmocka_unit_test(test_section_of_pages),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_forged_records),
        cmocka_unit_test(test_forged_files),
        cmocka_unit_test(test_superblocks_come_back),
        cmocka_unit_test(test_bytes_on_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
