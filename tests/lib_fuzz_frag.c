/*
 * lib_fuzz_frag.c - the targets fragment, record and super: what stands by
 * itself in a file.
 *
 * What is accepted is encoded again and must come back the same. The first byte
 * of an input says what is made right before the library sees the rest.
 */
#include <xxhash.h>

#include "pages/file/pf_impl.h"
#include "tests/lib_fuzz.h"
#include "tests/lib_mem.h"
#include "tests/lib_page.h"
#include "tests/test.h"

/* ---- fragments ---- */

#define FRAG_SEAL 1u  /* the checksum */
#define FRAG_LEN 2u   /* stored_len, and for a raw body raw_len */
#define FRAG_MAGIC 4u /* magic and version */
#define FRAG_HEAD_OK (FRAG_SEAL | FRAG_LEN | FRAG_MAGIC)

static void same_frag(const struct pg_frag *a, const struct pg_frag *b)
{
    FUZZ_MUST(a->kind == b->kind && a->level == b->level);
    FUZZ_MUST(a->self_contained == b->self_contained);
    FUZZ_MUST(a->fenced == b->fenced && a->step == b->step);
    FUZZ_MUST(a->id == b->id && a->birth == b->birth && a->count == b->count);
    FUZZ_MUST(a->nentries == b->nentries && a->image_len == b->image_len);
    FUZZ_MUST(a->raw_len == b->raw_len && a->nchain == b->nchain);
    for (unsigned i = 0; i < a->nchain; i++) {
        FUZZ_MUST(a->chain[i].id == b->chain[i].id);
        FUZZ_MUST(a->chain[i].stored_len == b->chain[i].stored_len);
        FUZZ_MUST(a->chain[i].raw_len == b->chain[i].raw_len);
        FUZZ_MUST(a->sums[i] == b->sums[i]);
    }
}

/* A fragment that says the same as `frag`, decoded again. */
static void frag_again(const struct pg_frag *frag, const struct quire_val *body)
{
    size_t cap = pg_frag_bound(body->size, frag->nchain);
    struct quire_val body2 = { NULL, 0 };
    struct pg_frag_in in;
    struct pg_frag frag2;
    struct pg_ref ref;
    uint8_t *buf = fuzz_alloc(cap);
    uint8_t *raw = fuzz_alloc(body->size);
    size_t len;

    memset(&in, 0, sizeof(in));
    in.kind = frag->kind;
    in.level = frag->level;
    in.self_contained = frag->self_contained;
    in.id = frag->id;
    in.birth = frag->birth;
    in.count = frag->count;
    in.nentries = frag->nentries;
    in.image_len = frag->image_len;
    in.nchain = frag->nchain;
    in.fenced = frag->fenced;
    in.step = frag->step;
    memcpy(in.chain, frag->chain, sizeof(in.chain));
    memcpy(in.sums, frag->sums, sizeof(in.sums));
    in.body = body->data;
    in.body_len = body->size;
    len = pg_frag_encode(&in, buf, cap, &ref);
    FUZZ_MUST(len >= PG_FRAG_HEADER && len <= cap && ref.stored_len == len);
    FUZZ_MUST(pg_frag_check(buf, len, frag->id, &ref.sum, &frag2) == QUIRE_OK);
    same_frag(frag, &frag2);
    FUZZ_MUST(pg_frag_body(&frag2, buf, raw, body->size, &body2) == QUIRE_OK);
    FUZZ_MUST(body2.size == body->size &&
              memcmp(body2.data, body->data, body->size) == 0);
    free(raw);
    free(buf);
}

/* Pages without slots are an image at once. */
static void frag_plain(const struct pg_frag *frag, const struct quire_val *body)
{
    size_t cap = pg_image_plain_bytes(body->size);
    struct pg_image *img = fuzz_alloc(cap);
    struct quire_val bytes;
    struct pg_ref ref = {
        .id = frag->id,
        .birth = frag->birth,
        .raw_len = frag->raw_len,
        .kind = (uint8_t)frag->kind,
    };

    FUZZ_MUST(pg_image_plain(&ref, body, img, cap - 1) == QUIRE_CORRUPT);
    FUZZ_MUST(pg_image_plain(&ref, body, img, cap) == QUIRE_OK);
    FUZZ_MUST(pg_check_image(img));
    pg_image_bytes(img, &bytes);
    FUZZ_MUST(bytes.size == body->size &&
              memcmp(bytes.data, body->data, body->size) == 0);
    free(img);
}

/* The same bytes as a number, as a reference and as a large value. */
static void small_things(const uint8_t *data, size_t len)
{
    uint8_t buf[PG_REF_BYTES_MAX];
    struct quire_val val = { data,
                             len < PG_LARGE_BYTES ? len : PG_LARGE_BYTES };
    struct pg_large large;
    struct pg_ref ref;
    uint64_t v;
    size_t n;

    n = pg_varint_decode(data, len, &v);
    FUZZ_MUST(n <= PG_VARINT_MAX && n <= len);
    if (n != 0)
        FUZZ_MUST(pg_varint_encode(buf, v) == n && memcmp(buf, data, n) == 0);
    if (pg_ref_decode(data, len, &ref) == QUIRE_OK) {
        n = pg_ref_encode(&ref, buf);
        FUZZ_MUST(n <= PG_REF_BYTES(ref.nchain) && n <= len);
        FUZZ_MUST(memcmp(buf, data, n) == 0); /* one encoding only */
        FUZZ_MUST(pg_ref_peek_id(data) == ref.id);
        FUZZ_MUST(pg_ref_peek_intent(data) == ref.intent);
    }
    if (pg_large_decode(&val, &large) == QUIRE_OK) {
        FUZZ_MUST(pg_large_encode(&large, buf) == PG_LARGE_BYTES);
        FUZZ_MUST(memcmp(buf, data, PG_LARGE_BYTES) == 0);
    }
}

/* The body, which is the same whatever was in `raw` before. */
static bool body_read(const struct pg_frag *frag, const uint8_t *buf,
                      uint8_t *raw, struct quire_val *body)
{
    uint8_t *other = fuzz_alloc(frag->raw_len);
    struct quire_val again = { NULL, 0 };
    quire_status rc;

    memset(raw, 0x55, frag->raw_len);
    memset(other, 0xaa, frag->raw_len);
    rc = pg_frag_body(frag, buf, raw, frag->raw_len, body);
    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_CORRUPT);
    FUZZ_MUST(pg_frag_body(frag, buf, other, frag->raw_len, &again) == rc);
    if (rc == QUIRE_OK)
        FUZZ_MUST(body->size == frag->raw_len && again.size == body->size &&
                  memcmp(again.data, body->data, body->size) == 0);
    free(other);
    return rc == QUIRE_OK;
}

static void fragment_run(const uint8_t *data, size_t len)
{
    struct fuzz_in in = { data, len };
    unsigned how = fuzz_u8(&in);
    struct pg_frag frag;
    struct quire_val body;
    uint8_t *buf = fuzz_alloc(in.left);
    uint8_t *raw = NULL;
    pg_id id = 0;

    len = in.left;
    memcpy(buf, in.next, len);
    if (len >= PG_FRAG_HEADER) {
        if (how & FRAG_MAGIC) {
            memcpy(buf, "QRFG", 4);
            ra_put_le32(buf + 52, 1);
        }
        if (how & FRAG_LEN) {
            uint32_t chain_len = ra_le32(buf + 48);

            ra_put_le32(buf + 32, (uint32_t)len);
            if ((buf[6] & 2) == 0 && chain_len <= len - PG_FRAG_HEADER)
                ra_put_le32(buf + 36,
                            (uint32_t)(len - PG_FRAG_HEADER - chain_len));
        }
        if (how & FRAG_SEAL)
            fuzz_seal(buf, len);
        id = ra_le64(buf + 8);
    }
    small_things(buf, len);
    if (pg_frag_peek(buf, len, &frag) != QUIRE_OK ||
        pg_frag_check(buf, len, id, NULL, &frag) != QUIRE_OK)
        goto out;
    FUZZ_MUST(frag.id == id && frag.stored_len == len);
    FUZZ_MUST(frag.body_off <= len && frag.raw_len <= PG_RAW_MAX);
    raw = fuzz_alloc(frag.raw_len);
    if (!body_read(&frag, buf, raw, &body))
        goto out;
    fuzz_accepted++;
    frag_again(&frag, &body);
    if (frag.kind > PG_INNER)
        frag_plain(&frag, &body);

out:
    free(raw);
    free(buf);
}

/* Bytes that compress, or do not. */
static size_t some_bytes(uint8_t *buf, size_t len, bool text, uint64_t *rand)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = text ? (uint8_t)("ab"[i % 7 == 0])
                      : (uint8_t)(test_rand(rand) >> 32);
    return len;
}

static size_t fragment_seed(unsigned i, uint8_t *buf, size_t cap)
{
    static const struct {
        enum pg_kind kind;
        uint8_t level;
        uint8_t nchain;
        uint16_t body_len;
        bool text;
    } seeds[] = {
        { PG_LEAF, 0, 0, 100, false },   { PG_LEAF, 0, 3, 40, false },
        { PG_INNER, 2, 15, 600, true },  { PG_OVERFLOW, 0, 0, 500, true },
        { PG_OVINDEX, 0, 0, 72, false }, { PG_DEAD, 0, 0, 0, false },
    };
    uint64_t rand = i;
    uint8_t body[600];
    struct pg_frag_in in;
    struct pg_ref ref;

    if (i == ARRAY_LEN(seeds)) { /* a reference */
        page_ref_make(&ref, 1, 4, &rand);
        buf[0] = 0;
        return 1 + pg_ref_encode(&ref, buf + 1);
    }
    if (i == ARRAY_LEN(seeds) + 1) { /* a large value */
        struct pg_large large = { .size = 5000, .piece_bytes = 5000 };

        page_ref_make(&large.ref, 0, 0, &rand);
        large.ref.kind = PG_OVERFLOW;
        large.ref.raw_len = 5000;
        buf[0] = 0;
        return 1 + pg_large_encode(&large, buf + 1);
    }
    if (i > ARRAY_LEN(seeds))
        return 0;
    memset(&in, 0, sizeof(in));
    in.kind = seeds[i].kind;
    in.level = seeds[i].level;
    in.nchain = seeds[i].nchain;
    in.self_contained = in.nchain == 0;
    in.id = pg_id_make(65536, 3);
    in.birth = 7;
    in.count = 5;
    in.nentries = 5;
    in.image_len = 4096;
    for (unsigned k = 0; k < in.nchain; k++) {
        in.chain[k].id = pg_id_make(8192 + 4096 * k, 0);
        in.chain[k].stored_len = 100 + 50 * k;
        in.chain[k].raw_len = 200;
        in.sums[k] = test_rand(&rand);
    }
    in.body = body;
    in.body_len = some_bytes(body, seeds[i].body_len, seeds[i].text, &rand);
    buf[0] = FRAG_HEAD_OK;
    return 1 + pg_frag_encode(&in, buf + 1, cap - 1, &ref);
}

const struct fuzz_target fuzz_fragment = { "fragment", fragment_run,
                                           fragment_seed };

/* ---- commit records ---- */

#define RECORD_BODY 1u  /* a body to be made a fragment; else a fragment */
#define RECORD_PLACE 2u /* read from where it says that it is */
#define RECORD_UUID 4u  /* it is of this store */
#define RECORD_BLOCK 8u /* blocks of 64 KiB, else 4 */

/* Offsets in a record's body, as in pages/file/README.md. */
enum {
    REC_REV = 24,
    REC_BATCH_OFF = 56,
    REC_BATCH_LEN = 64,
    REC_EPOCH = 96,
    REC_FIXED = 144,
};

/* The fragment of a record's body; its length. */
static size_t record_frag(const uint8_t *body, size_t len, pg_id id,
                          quire_rev rev, uint8_t *out, size_t cap)
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

static void same_ref(const struct pg_ref *a, const struct pg_ref *b)
{
    uint8_t x[PG_REF_BYTES_MAX];
    uint8_t y[PG_REF_BYTES_MAX];
    size_t n = pg_ref_encode(a, x);

    FUZZ_MUST(pg_ref_encode(b, y) == n && memcmp(x, y, n) == 0);
}

/* A record that was accepted, encoded and decoded again. */
static void record_again(const struct pf_geometry *geo,
                         const struct pf_record *rec,
                         const struct pf_record_tail *tail)
{
    size_t len = pf_record_bound(rec, 0);
    uint8_t *body = fuzz_alloc(len);
    uint8_t *frag = fuzz_alloc(PF_RECORD_FRAG_MAX);
    uint8_t *raw = fuzz_alloc(PF_RECORD_BODY_MAX);
    struct pf_record got;
    struct pf_record_tail got_tail;
    size_t n = pf_record_encode(rec, geo->uuid, tail, NULL, 0, body);

    FUZZ_MUST(n <= len);
    n = record_frag(body, n, rec->id, rec->rev, frag, PF_RECORD_FRAG_MAX);
    FUZZ_MUST(n != 0);
    /* Without the sections it may be shorter, never longer. */
    FUZZ_MUST(pf_record_parse(geo, frag, n, rec->id, NULL, raw, &got,
                              &got_tail) == QUIRE_OK);
    FUZZ_MUST(got.rev == rec->rev && got.time_us == rec->time_us);
    FUZZ_MUST(got.durable_through == rec->durable_through);
    FUZZ_MUST(got.prev_sum == rec->prev_sum);
    FUZZ_MUST(got.incarnation == rec->incarnation);
    FUZZ_MUST(got.batch_off == rec->batch_off);
    FUZZ_MUST(got.frontier == rec->frontier);
    FUZZ_MUST(got.window == rec->window && got.versioning == rec->versioning);
    FUZZ_MUST(memcmp(&got_tail, tail, sizeof(got_tail)) == 0);
    FUZZ_MUST(got.span.off == rec->span.off && got.span.len == rec->span.len);
    FUZZ_MUST(got.next_span.off == rec->next_span.off &&
              got.next_span.len == rec->next_span.len &&
              got.next_span.epoch == rec->next_span.epoch);
    same_ref(&got.catalogue, &rec->catalogue);
    same_ref(&got.system, &rec->system);
    same_ref(&got.dead, &rec->dead);
    free(raw);
    free(frag);
    free(body);
}

/* What pf_record_parse() promises of a record. */
static void record_check(const struct pf_geometry *geo,
                         const struct pf_record *rec, size_t stored_len)
{
    uint64_t off = pg_id_off(rec->id);

    FUZZ_MUST(rec->stored_len == stored_len);
    FUZZ_MUST(rec->rev == 0 ? rec->durable_through == 0
                            : rec->durable_through < rec->rev);
    FUZZ_MUST(rec->frontier <= PF_FILE_MAX);
    FUZZ_MUST(rec->batch_off <= off && off + stored_len <= rec->batch_end);
    FUZZ_MUST(rec->span.off <= rec->batch_off &&
              rec->batch_end <= pf_span_end(&rec->span));
    FUZZ_MUST(pf_span_end(&rec->span) <= rec->frontier);
    FUZZ_MUST(rec->next_span.len != 0 &&
              pf_span_end(&rec->next_span) <= rec->frontier);
    FUZZ_MUST(rec->span.off >= 2 * (uint64_t)geo->block_bytes);
    FUZZ_MUST(!rec->catalogue.intent && !rec->system.intent &&
              !rec->dead.intent);
}

static void record_run(const uint8_t *data, size_t len)
{
    struct fuzz_in in = { data, len };
    unsigned how = fuzz_u8(&in);
    struct pf_geometry geo = {
        .page_bytes = 4096,
        .block_bytes = how & RECORD_BLOCK ? PF_BLOCK_MAX : PF_BLOCK_MIN,
        .window = 4,
        .versioning = QUIRE_VERSIONING_FULL,
    };
    struct pf_record rec;
    struct pf_record_tail tail;
    uint8_t *frag = NULL;
    uint8_t *raw = fuzz_alloc(PF_RECORD_BODY_MAX);
    pg_id id = pg_id_make(1 << 20, 0);
    quire_status rc;

    len = in.left < PF_RECORD_BODY_MAX ? in.left : PF_RECORD_BODY_MAX;
    memset(&rec, 0, sizeof(rec));
    if (how & RECORD_BODY) {
        const uint8_t *body = in.next;
        size_t cap = pg_frag_bound(len, 0);
        quire_rev rev = 0;
        uint8_t *exact;

        if (len >= REC_FIXED) {
            rev = ra_le64(body + REC_REV);
            if (how & RECORD_PLACE)
                id = pg_id_make(ra_le64(body + REC_BATCH_OFF) +
                                    ra_le64(body + REC_BATCH_LEN),
                                ra_le16(body + REC_EPOCH));
            if (how & RECORD_UUID)
                memcpy(geo.uuid, body, sizeof(geo.uuid));
        }
        exact = fuzz_alloc(cap);
        len = record_frag(body, len, id, rev, exact, cap);
        FUZZ_MUST(len != 0);
        frag = fuzz_alloc(len);
        memcpy(frag, exact, len);
        free(exact);
    } else {
        frag = fuzz_alloc(len);
        memcpy(frag, in.next, len);
        if (len >= PG_FRAG_HEADER) {
            struct pg_frag f;
            struct quire_val body;

            id = ra_le64(frag + 8);
            fuzz_seal(frag, len);
            if (how & RECORD_UUID &&
                pg_frag_check(frag, len, id, NULL, &f) == QUIRE_OK &&
                pg_frag_body(&f, frag, raw, PF_RECORD_BODY_MAX, &body) ==
                    QUIRE_OK &&
                body.size >= sizeof(geo.uuid))
                memcpy(geo.uuid, body.data, sizeof(geo.uuid));
        }
    }
    rc = pf_record_parse(&geo, frag, len, id, NULL, raw, &rec, &tail);
    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_CORRUPT);
    if (rc == QUIRE_OK) {
        fuzz_accepted++;
        record_check(&geo, &rec, len);
        record_again(&geo, &rec, &tail);
    }
    free(frag);
    free(raw);
}

static size_t record_seed(unsigned i, uint8_t *buf, size_t cap)
{
    static const uint8_t uuid[16] = "a store like any";
    struct pf_record rec;
    struct pf_record_tail tail = { 4096, 77 };
    struct pf_span spans[2];
    uint8_t body[1024];
    uint64_t rand = i;
    size_t len;

    if (i > 3)
        return 0;
    memset(&rec, 0, sizeof(rec));
    memset(spans, 0, sizeof(spans));
    rec.rev = 5;
    rec.durable_through = 4;
    rec.time_us = 1000000;
    rec.incarnation = 2;
    rec.prev_sum = 99;
    rec.span = (struct pf_span){ 1 << 20, 1 << 20, 7 };
    rec.next_span = (struct pf_span){ 2 << 20, 1 << 20, 8 };
    rec.frontier = 3 << 20;
    rec.batch_off = (1 << 20) + (i == 3 ? 65536 : 8192);
    rec.id = pg_id_make(rec.batch_off + tail.batch_len, 7);
    if (i > 0) {
        page_ref_make(&rec.catalogue, 0, 3, &rand);
        page_ref_make(&rec.dead, 0, 0, &rand);
        rec.dead.kind = PG_DEAD;
        for (unsigned k = 0; k < 3; k++)
            rec.catalogue.chain[k].id = pg_id_make(8192 + 4096 * k, 0);
        rec.catalogue.id = pg_id_make(65536, 0);
        rec.dead.id = pg_id_make(131072, 0);
    }
    spans[0] = rec.span;
    spans[1] = rec.next_span;
    len = pf_record_encode(&rec, uuid, &tail, spans, i < 2 ? i : 2, body);
    if (i == 2) {
        buf[0] = RECORD_UUID;
        return 1 + record_frag(body, len, rec.id, rec.rev, buf + 1, cap - 1);
    }
    buf[0] = RECORD_BODY | RECORD_PLACE | RECORD_UUID |
             (i == 3 ? RECORD_BLOCK : 0);
    memcpy(buf + 1, body, len);
    return 1 + len;
}

const struct fuzz_target fuzz_record = { "record", record_run, record_seed };

/* ---- superblocks ---- */

/* The first byte: bits 0 and 1 seal slots A and B, bits 2 to 4 say where B is
 * put, bit 5 gives both the magic, bit 6 cuts the file. */
#define SUPER_MAGIC 32u
#define SUPER_CUT 64u
#define SUPER_XXH 504u

static void super_check(const uint8_t *sector)
{
    struct pf_super super;
    struct pf_super again;
    uint8_t buf[PF_SUPER_BYTES];

    memset(&super, 0, sizeof(super));
    memset(&again, 0, sizeof(again));
    if (pf_super_decode(sector, &super) != PF_SUPER_VALID)
        return;
    FUZZ_MUST(pf_geometry_check(&super.geo) == QUIRE_OK);
    pf_super_encode(&super, buf);
    FUZZ_MUST(memcmp(buf, sector, 88) == 0); /* before the reserved word */
    FUZZ_MUST(pf_super_decode(buf, &again) == PF_SUPER_VALID);
    FUZZ_MUST(memcmp(&super, &again, sizeof(super)) == 0);
}

static struct ra_pool *super_pool(void)
{
    static struct ra_pool *pool; /* for all runs: making one takes longer than
                                    one run */
    struct quire_pool_options opt = { .size = sizeof(opt),
                                      .budget_bytes = QUIRE_BUDGET_MIN };

    if (pool == NULL)
        FUZZ_MUST(ra_pool_create(&opt, &pool) == QUIRE_OK);
    return pool;
}

static void super_run(const uint8_t *data, size_t len)
{
    struct fuzz_in in = { data, len };
    unsigned how = fuzz_u8(&in);
    size_t at = (size_t)PF_BLOCK_MIN << (how >> 2 & 7) % 6;
    size_t nbytes = at + PF_SUPER_BYTES;
    struct mem_disk *disk = mem_disk_create();
    uint8_t *bytes = fuzz_alloc(nbytes);
    struct pf_env env = { .io = mem_disk_io(disk), .pool = super_pool() };
    struct quire_pool_stat st;
    struct pf_file *file = NULL;
    quire_status rc;

    memset(bytes, 0, nbytes);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *slot = bytes + i * at;
        size_t n;
        const uint8_t *from = fuzz_bytes(&in, PF_SUPER_BYTES, &n);

        if (n != 0)
            memcpy(slot, from, n);
        if (how & SUPER_MAGIC)
            memcpy(slot, "QUIRE\0\r\n", 8);
        if (how & 1u << i)
            ra_put_le64(slot + SUPER_XXH, XXH3_64bits(slot, SUPER_XXH));
        super_check(slot);
    }
    if (how & SUPER_CUT)
        nbytes = fuzz_u16(&in) % nbytes;
    mem_disk_put(disk, "store", bytes, nbytes);
    rc = pf_file_open(&env, "store", (how & 128u) != 0, &file);
    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_FORMAT || rc == QUIRE_CORRUPT);
    if (rc == QUIRE_OK) {
        struct pf_record last;

        fuzz_accepted++;
        FUZZ_MUST(pf_geometry_check(pf_file_geometry(file)) == QUIRE_OK);
        /* There is no record, so nothing is recovered. */
        FUZZ_MUST(pf_file_recover(file, NULL, NULL, &last) == QUIRE_CORRUPT);
    } else {
        FUZZ_MUST(file == NULL && quire_error_detail()[0] != '\0');
    }
    pf_file_close(file);
    ra_pool_stat(env.pool, &st);
    FUZZ_MUST(st.segments_in_use == 0 && st.misuses == 0);
    FUZZ_MUST(mem_disk_opens(disk) == 0);
    free(bytes);
    mem_disk_destroy(disk);
}

static size_t super_seed(unsigned i, uint8_t *buf, size_t cap)
{
    struct pf_super super = {
        .geo = { .page_bytes = 16384,
                 .block_bytes = i == 1 ? 65536 : 4096,
                 .window = 4,
                 .versioning = QUIRE_VERSIONING_ADAPTIVE },
        .seq = 8,
        .incarnation = 3,
        .rev = 20,
        .id = pg_id_make(1 << 20, 2),
        .sum = 12345,
        .stored_len = 300,
        .time_us = 1000000,
    };

    (void)cap;
    if (i == 4) {
        memcpy(buf, "\0this is a text", 15);
        return 15;
    }
    if (i > 4)
        return 0;
    buf[0] = (uint8_t)(3 | (i == 1 ? 4 << 2 : 0));
    if (i == 2) /* the second slot alone, found by probing */
        buf[0] = 2 | 3 << 2;
    super.geo.block_bytes = i == 2 ? 32768 : super.geo.block_bytes;
    pf_super_encode(&super, buf + 1);
    super.seq++;
    super.rev++;
    pf_super_encode(&super, buf + 1 + PF_SUPER_BYTES);
    if (i == 2)
        memset(buf + 1, 0, PF_SUPER_BYTES);
    if (i == 3) /* of two stores */
        buf[1 + PF_SUPER_BYTES + 20] = 1;
    return 1 + 2 * PF_SUPER_BYTES;
}

const struct fuzz_target fuzz_super = { "super", super_run, super_seed };
