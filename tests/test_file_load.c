/*
 * The loader: chains, the cache in front of it, references that lie, failures
 * at every read and allocation.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>

#define IMAGE ((size_t)64 << 10)

/* A leaf of three fragments, older first in `ref`s: whole, delta, delta. */
struct chain {
    struct pg_ref ref[3];
    uint64_t sums[3];
};

static void put(struct pg_image *img, const char *key, const char *val,
                size_t len)
{
    const struct quire_val k = { key, strlen(key) };
    const struct quire_val v = { val, len };

    CHECK(pg_work_put(img, &k, &v, PG_ENTRY_PLAIN, NULL));
}

static void write_frag(struct rig *rig, struct chain *ch, unsigned i,
                       const struct pg_image *img)
{
    static uint8_t body[IMAGE];
    struct pg_frag_in in;

    memset(&in, 0, sizeof(in));
    in.kind = PG_LEAF;
    in.self_contained = i == 0;
    in.birth = i + 1;
    in.nchain = (uint8_t)i;
    for (unsigned k = 0; k < i; k++) {
        const struct pg_ref *older = &ch->ref[i - 1 - k];

        in.chain[k] = (struct pg_link){ older->id, older->stored_len,
                                        older->raw_len };
        in.sums[k] = older->sum;
    }
    in.count = img->n - img->ntomb;
    in.image_len = (uint32_t)pg_image_compact_bytes(img, i);
    in.body = body;
    in.body_len = pg_body_encode(img, i != 0, body, sizeof(body), &in.nentries);
    CHECK(in.body_len != 0);
    CHECK_OK(pf_batch_add(rig->file, &in, &ch->ref[i]));
}

/* Three commits, one fragment each; keys a, b, c. The value of a compresses, so
 * that buffers for both forms are needed. The deltas' values are `len` bytes of
 * which every `mix`-th is random. */
static void make_chain_of(struct rig *rig, struct chain *ch, size_t len,
                          unsigned mix)
{
    static _Alignas(64) uint8_t seg[IMAGE];
    static _Alignas(64) uint8_t work[IMAGE];
    const struct quire_val lower = { "", 0 };
    struct pg_image *img = (struct pg_image *)work;
    struct pg_image *base;
    struct quire_page page;
    struct pf_record rec;
    uint64_t rand = len + mix;
    char val[3000];

    memset(val, 'x', sizeof(val));
    CHECK_OK(pf_batch_begin(rig->file, 100000));
    CHECK(pg_work_init(img, sizeof(work), PG_LEAF, 0, &lower, NULL));
    put(img, "a", val, sizeof(val));
    for (size_t at = 0; mix != 0 && at < len; at += mix)
        val[at] = (char)test_rand(&rand);
    put(img, "b", "old", 3);
    put(img, "c", "old", 3);
    write_frag(rig, ch, 0, img);
    memset(&rec, 0, sizeof(rec));
    rec.rev = rig->last.rev + 1;
    rec.catalogue = ch->ref[0];
    CHECK_OK(pf_batch_commit(rig->file, &rec, false));

    for (unsigned i = 1; i < 3; i++) {
        CHECK_OK(pf_load(rig->file, ch->ref[i - 1].id, &ch->ref[i - 1], &page));
        base = page.payload;
        CHECK(pg_work_copy(base, seg, sizeof(seg)));
        img = (struct pg_image *)seg;
        ra_seg_free(rig->pool, page.payload);
        put(img, i == 1 ? "b" : "c", len == 0 ? "new" : val,
            len == 0 ? 3 : len);
        CHECK_OK(pf_batch_begin(rig->file, 100000));
        write_frag(rig, ch, i, img);
        memset(&rec, 0, sizeof(rec));
        rec.rev = rig->last.rev + 1 + i;
        rec.catalogue = ch->ref[i];
        CHECK_OK(pf_batch_commit(rig->file, &rec, false));
    }
    rig->last = rec;
}

static void make_chain(struct rig *rig, struct chain *ch)
{
    make_chain_of(rig, ch, 0, 0);
}

static void check_value(const struct pg_image *img, const char *key,
                        const char *want)
{
    struct quire_val val;
    bool found;
    unsigned i = pg_image_seek(img, key, strlen(key), &found);

    CHECK(found);
    CHECK_EQ(pg_image_value(img, i, &val), PG_ENTRY_PLAIN);
    CHECK_EQ(val.size, strlen(want));
    CHECK_MEM_EQ(val.data, want, val.size);
}

static void check_chain(const struct pg_image *img, unsigned i)
{
    CHECK(pg_check_image(img));
    CHECK_EQ(img->n, 3);
    CHECK_EQ(img->nchain, i);
    check_value(img, "b", i >= 1 ? "new" : "old");
    check_value(img, "c", i >= 2 ? "new" : "old");
}

static struct pc_cache *cache_for(struct rig *rig)
{
    const struct pc_options opt = {
        .max_pages = 1024,
        .load = pf_load,
        .removed = pf_removed,
        .ctx = rig->file,
    };
    struct pc_cache *cache = NULL;

    CHECK_OK(pc_cache_create(rig->pool, &opt, &cache));
    pf_file_set_cache(rig->file, cache);
    return cache;
}

static void test_chain_is_combined(void **state)
{
    struct rig rig;
    struct chain ch;
    struct pc_cache *cache;
    struct pf_stat st;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    rig_reopen(&rig, 3);
    cache = cache_for(&rig);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 3; i++) {
            const struct pg_image *img = NULL;
            pc_hint hint = PC_HINT_NONE;
            uint32_t frame;

            CHECK_OK(pf_page_pin(rig.file, &ch.ref[i], &hint, &img, &frame));
            check_chain(img, i);
            pc_unpin(cache, frame);
        }
    }
    pf_file_stat(rig.file, &st);
    CHECK_EQ(st.frags_read, 1 + 2 + 3); /* once, then from the cache */
    CHECK_EQ(pc_cache_destroy(cache, false), 0);
    rig_fini(&rig);
}

/* Deltas of all lengths, compressible by more or less: next to the links a
 * compressed body may be longer in the file than it is decompressed. */
static void test_deltas_of_all_lengths(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned mix = 0; mix < 6; mix++) {
        for (size_t len = 1; len < 700; len += 1 + len / 8) {
            struct quire_page page;
            struct quire_val val;
            struct chain ch;

            make_chain_of(&rig, &ch, len, mix);
            CHECK_OK(pf_load(rig.file, ch.ref[2].id, &ch.ref[2], &page));
            for (unsigned i = 1; i < 3; i++) {
                CHECK_EQ(pg_image_value(page.payload, i, &val), PG_ENTRY_PLAIN);
                CHECK_EQ(val.size, len);
            }
            ra_seg_free(rig.pool, page.payload);
        }
    }
    rig_fini(&rig);
}

/* Plain pages of any length, empty ones too. */
static void test_plain_pages(void **state)
{
    static const size_t lens[] = { 0, 1, 63, 4096, 100000, PG_OVERFLOW_MAX };
    static const enum pg_kind kinds[] = { PG_OVERFLOW, PG_OVINDEX, PG_DEAD };
    uint8_t *bytes = calloc(1, PG_OVERFLOW_MAX);
    uint64_t rand = 3;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (size_t at = 0; at < PG_OVERFLOW_MAX; at++)
        bytes[at] = (uint8_t)test_rand(&rand);
    for (size_t i = 0; i < ARRAY_LEN(lens) * 6; i++) {
        struct pg_frag_in in;
        struct pg_ref ref;
        struct quire_page page;
        struct quire_val val;

        memset(&in, 0, sizeof(in));
        in.kind = kinds[i % 3];
        in.self_contained = true;
        in.birth = 1;
        in.body = bytes;
        in.body_len = lens[i / 6];
        in.image_len = (uint32_t)pg_image_plain_bytes(in.body_len);
        if (i / 3 % 2 != 0) /* compressible */
            memset(bytes, 7, in.body_len / 2);
        CHECK_OK(pf_ahead_add(rig.file, &in, &ref));
        CHECK_OK(pf_ahead_flush(rig.file));
        CHECK_OK(pf_load(rig.file, ref.id, &ref, &page));
        CHECK_EQ(page.kind, QUIRE_KIND_OVERFLOW);
        CHECK_EQ(page.weight_bytes, ra_seg_bytes(rig.pool, page.payload));
        pg_image_bytes(page.payload, &val);
        CHECK_EQ(val.size, in.body_len);
        CHECK_MEM_EQ(val.data, bytes, val.size);
        pf_removed(rig.file, ref.id, &page, QUIRE_CAUSE_EVICTED);
    }
    free(bytes);
    rig_fini(&rig);
}

/* References that lie, in one field each. */
static void test_references_that_lie(void **state)
{
    enum field {
        ID,
        ID_FAR,
        SUM,
        KIND,
        KIND_NONE,
        LEVEL,
        STORED,
        STORED_SMALL,
        STORED_BIG,
        RAW,
        RAW_SMALL,
        RAW_BIG,
        IMAGE_NONE,
        IMAGE_SMALL,
        IMAGE_BIG,
        NCHAIN_LESS,
        NCHAIN_MORE,
        NCHAIN_BIG,
        LINK_ID,
        LINK_STORED,
        LINK_RAW,
        INTENT,
        FIELDS
    };
    struct rig rig;
    struct chain ch;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    for (int f = 0; f < FIELDS; f++) {
        struct pg_ref ref = ch.ref[2];
        struct quire_page page = { NULL, 0, QUIRE_KIND_LEAF };

        switch ((enum field)f) {
        case ID:
            ref.id = ch.ref[1].id;
            break;
        case ID_FAR:
            ref.id = pg_id_make((uint64_t)1 << 40, 0);
            break;
        case SUM:
            ref.sum ^= 1;
            break;
        case KIND:
            ref.kind = PG_OVERFLOW;
            break;
        case KIND_NONE:
            ref.kind = PG_RECORD;
            break;
        case LEVEL:
            ref.level = 1;
            break;
        case STORED:
            ref.stored_len++;
            break;
        case STORED_SMALL:
            ref.stored_len = 10;
            break;
        case STORED_BIG:
            ref.stored_len = 300000;
            break;
        case RAW:
            ref.raw_len++;
            break;
        case RAW_SMALL:
            ref.raw_len = 0;
            break;
        case RAW_BIG:
            ref.raw_len = 300000;
            break;
        case IMAGE_NONE:
            ref.image_len = 0;
            break;
        case IMAGE_SMALL:
            ref.image_len = 100;
            break;
        case IMAGE_BIG:
            ref.image_len = 300000;
            break;
        case NCHAIN_LESS:
            ref.nchain = 1;
            break;
        case NCHAIN_MORE:
            ref.nchain = 3;
            ref.chain[2] = ref.chain[1];
            break;
        case NCHAIN_BIG:
            ref.nchain = 200;
            break;
        case LINK_ID:
            ref.chain[1].id = ref.id;
            break;
        case LINK_STORED:
            ref.chain[0].stored_len = 70;
            break;
        case LINK_RAW:
            ref.chain[1].raw_len--;
            break;
        case INTENT:
            ref.intent = true;
            break;
        case FIELDS:
            break;
        }
        CHECK_STATUS(pf_load(rig.file, ref.id, &ref, &page), QUIRE_CORRUPT);
        CHECK(page.payload == NULL);
    }
    rig_fini(&rig);
}

/* Each bit of the chain's fragments is flipped: nothing is returned of a page
 * that does not verify, and nothing is kept. */
static void test_damaged_fragments(void **state)
{
    struct rig rig;
    struct chain ch;
    uint64_t step = test_rounds(40) > 20 ? 1 : 7;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    for (unsigned i = 0; i < 3; i++) {
        for (uint64_t bit = 0; bit < 8u * ch.ref[i].stored_len; bit += step) {
            struct quire_page page;
            size_t nbytes;
            uint8_t *bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
            uint8_t *p = bytes + pg_id_off(ch.ref[i].id) + bit / 8;

            *p ^= (uint8_t)(1u << bit % 8);
            CHECK_STATUS(pf_load(rig.file, ch.ref[2].id, &ch.ref[2], &page),
                         QUIRE_CORRUPT);
            *p ^= (uint8_t)(1u << bit % 8);
        }
    }
    rig_fini(&rig);
}

/* A file that ends too early says where. */
static void test_file_that_ends(void **state)
{
    struct rig rig;
    struct chain ch;
    struct quire_page page;
    char text[64];
    uint64_t end;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    end = pg_id_off(ch.ref[1].id) + 10;
    /* cut under the open file */
    CHECK_EQ(rig.env.io->truncate(rig.env.io->ctx, rig.file->os.handle, end),
             0);
    CHECK_STATUS(pf_load(rig.file, ch.ref[1].id, &ch.ref[1], &page),
                 QUIRE_CORRUPT);
    snprintf(text, sizeof(text), "ends at %llu", PF_ULL(end));
    CHECK(strstr(quire_error_detail(), text) != NULL);
    CHECK_OK(pf_load(rig.file, ch.ref[0].id, &ch.ref[0], &page));
    ra_seg_free(rig.pool, page.payload);
    rig_fini(&rig);
}

/* Each read and each allocation of a load fails in turn. Nothing is held
 * afterwards, and the next load works. */
static void test_load_fails_at_each_call(void **state)
{
    struct rig rig;
    struct chain ch;
    struct pc_cache *cache;
    unsigned nreads = 0;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    rig_reopen(&rig, 3);
    cache = cache_for(&rig);
    for (uint64_t nth = 1;; nth++) {
        const struct pg_image *img = NULL;
        struct quire_pool_stat before;
        struct quire_pool_stat after;
        uint32_t frame;
        quire_status rc;

        ra_pool_stat(rig.pool, &before);
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PREAD), nth, EIO, FAULT_ONCE);
        rc = pf_page_pin(rig.file, &ch.ref[2], NULL, &img, &frame);
        fault_heal(&rig.fault);
        if (rc == QUIRE_OK) {
            check_chain(img, 2);
            pc_unpin(cache, frame);
            break;
        }
        CHECK_STATUS(rc, QUIRE_IO);
        CHECK(img == NULL);
        ra_pool_stat(rig.pool, &after);
        CHECK_EQ(after.segments_in_use, before.segments_in_use);
        CHECK_EQ(pc_pinned_pages(cache), 0);
        nreads++;
    }
    CHECK_EQ(nreads, 3);
    CHECK_EQ(pc_cache_destroy(cache, false), 0);
    rig_fini(&rig);
}

/* A pool that is used up: NOMEM, nothing held, and loads again when there is
 * room. */
static void test_load_without_memory(void **state)
{
    struct rig rig;
    struct chain ch;
    void *segs[64];
    unsigned n = 0;
    struct quire_page page;
    struct quire_pool_stat before;
    struct quire_pool_stat after;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    make_chain(&rig, &ch);
    while (n < ARRAY_LEN(segs) &&
           ra_seg_alloc(rig.pool, QUIRE_SEG_MAX, &segs[n]) == QUIRE_OK)
        n++;
    CHECK(n < ARRAY_LEN(segs));
    fault_arm(&rig.fault, FAULT_MEMORY, 1, ENOMEM, FAULT_STICKY);
    ra_pool_stat(rig.pool, &before);
    {
        void *fill[4096];
        unsigned nfill = 0;

        while (nfill < ARRAY_LEN(fill) &&
               ra_seg_alloc(rig.pool, 4096, &fill[nfill]) == QUIRE_OK)
            nfill++;
        CHECK_STATUS(pf_load(rig.file, ch.ref[2].id, &ch.ref[2], &page),
                     QUIRE_NOMEM);
        while (nfill > 0)
            ra_seg_free(rig.pool, fill[--nfill]);
    }
    ra_pool_stat(rig.pool, &after);
    CHECK_EQ(after.segments_in_use, before.segments_in_use);
    fault_heal(&rig.fault);
    while (n > 0)
        ra_seg_free(rig.pool, segs[--n]);
    CHECK_OK(pf_load(rig.file, ch.ref[2].id, &ch.ref[2], &page));
    check_chain(page.payload, 2);
    ra_seg_free(rig.pool, page.payload);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_is_combined),
        cmocka_unit_test(test_deltas_of_all_lengths),
        cmocka_unit_test(test_plain_pages),
        cmocka_unit_test(test_references_that_lie),
        cmocka_unit_test(test_damaged_fragments),
        cmocka_unit_test(test_file_that_ends),
        cmocka_unit_test(test_load_fails_at_each_call),
        cmocka_unit_test(test_load_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
