/*
 * frag.c - fragments: what a page version, a piece of a large value or a commit
 * record is in the file.
 *
 *     header of 64 bytes | chain | body, LZ4 or raw
 *
 * README.md has the byte diagram. A fragment describes itself, and it names the
 * fragments below it with their checksums; so a reader that has verified the
 * newest one has verified which others belong to it.
 *
 * The checksum is XXH3-64 over all stored bytes, with its own eight taken as
 * zeros. It guards against damage, not against somebody who can compute it:
 * every length is checked before it is believed all the same.
 *
 * Bodies are compressed only where that is worth a decompression at each load:
 * when it saves an eighth.
 */
#include "alloc/broken.h"
#include "pages/pg_impl.h"

#include <lz4.h>
#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#include <xxhash.h>

#define FRAG_MAGIC 0x47465251u /* "QRFG" in the file */
#define FRAG_VERSION 1u
#define FRAG_SELF_CONTAINED 1u
#define FRAG_LZ4 2u
#define FRAG_FENCED 4u
#define FRAG_STEP_SHIFT 4u /* bits 4 to 7: step */
#define FRAG_SUM_OFF 56u
#define LINK_MIN 18u /* bytes of an encoded link: two u64, two varints */
#define LINK_MAX 26u
/* Bytes: what shorter bodies would save is less than what the blocks they are
 * in are rounded up by. */
#define LZ4_BODY_MIN 256u

static_assert(FRAG_SUM_OFF + 8 == PG_FRAG_HEADER, "the sum ends the header");
static_assert(LINK_MAX <= 32, "pg_frag_bound() counts 32 a link");
static_assert(PG_RAW_MAX <= LZ4_MAX_INPUT_SIZE, "LZ4 takes any body");

static uint64_t frag_sum(const uint8_t *buf, size_t len)
{
    static const uint8_t zeros[8];
    XXH3_state_t st;

    XXH3_64bits_reset(&st);
    XXH3_64bits_update(&st, buf, FRAG_SUM_OFF);
    XXH3_64bits_update(&st, zeros, sizeof(zeros));
    XXH3_64bits_update(&st, buf + PG_FRAG_HEADER, len - PG_FRAG_HEADER);
    return XXH3_64bits_digest(&st);
}

static size_t chain_encode(const struct pg_frag_in *in, uint8_t *buf)
{
    size_t n = 0;

    for (unsigned i = 0; i < in->nchain; i++) {
        ra_put_le64(buf + n, in->chain[i].id);
        ra_put_le64(buf + n + 8, in->sums[i]);
        n += 16;
        n += pg_varint_encode(buf + n, in->chain[i].stored_len);
        n += pg_varint_encode(buf + n, in->chain[i].raw_len);
    }
    return n;
}

size_t pg_frag_encode(const struct pg_frag_in *in, void *out, size_t cap,
                      struct pg_ref *ref)
{
    uint8_t *buf = out;
    uint8_t flags = in->nchain == 0 ? FRAG_SELF_CONTAINED : 0;
    size_t chain_len, body_off, stored, body_len = in->body_len;

    QUIRE_ASSERT(pg_kind_level_ok(in->kind, in->level));
    QUIRE_ASSERT(in->nchain <= PG_CHAIN_MAX);
    QUIRE_ASSERT(in->nchain == 0 || pg_kind_slotted(in->kind));
    QUIRE_ASSERT(!pg_kind_slotted(in->kind) ||
                 in->self_contained == (in->nchain == 0)); /* PG-9 */
    QUIRE_ASSERT(pg_chain_ok(in->nchain, in->fenced, in->step));
    QUIRE_ASSERT(in->step <= PG_CHAIN_MAX);
    if (in->fenced)
        flags |= FRAG_FENCED;
    flags |= (uint8_t)(in->step << FRAG_STEP_SHIFT);
    QUIRE_ASSERT(body_len <= PG_RAW_MAX);
    if (cap < pg_frag_bound(body_len, in->nchain))
        return 0;
    chain_len = chain_encode(in, buf + PG_FRAG_HEADER);
    body_off = PG_FRAG_HEADER + chain_len;
    stored = 0;
    if (body_len >= LZ4_BODY_MIN) {
        int k = LZ4_compress_default(in->body, (char *)buf + body_off,
                                     (int)body_len,
                                     (int)(body_len - body_len / 8));

        if (k > 0) {
            flags |= FRAG_LZ4;
            stored = (size_t)k;
        }
    }
    if ((flags & FRAG_LZ4) == 0) {
        pg_copy(buf + body_off, in->body, body_len);
        stored = body_len;
    }
    stored += body_off;

    ra_put_le32(buf, FRAG_MAGIC);
    buf[4] = (uint8_t)in->kind;
    buf[5] = in->level;
    buf[6] = flags;
    buf[7] = in->nchain;
    ra_put_le64(buf + 8, in->id);
    ra_put_le64(buf + 16, in->birth);
    ra_put_le64(buf + 24, in->count);
    ra_put_le32(buf + 32, (uint32_t)stored);
    ra_put_le32(buf + 36, (uint32_t)body_len);
    ra_put_le32(buf + 40, in->nentries);
    ra_put_le32(buf + 44, in->image_len);
    ra_put_le32(buf + 48, (uint32_t)chain_len);
    ra_put_le32(buf + 52, FRAG_VERSION);
    ra_put_le64(buf + FRAG_SUM_OFF, frag_sum(buf, stored));

    *ref = (struct pg_ref){
        .id = in->id,
        .sum = ra_le64(buf + FRAG_SUM_OFF),
        .birth = in->birth,
        .count = in->count,
        .stored_len = (uint32_t)stored,
        .raw_len = (uint32_t)body_len,
        .image_len = in->image_len,
        .label_len = in->label_len,
        .kind = (uint8_t)in->kind,
        .level = in->level,
        .nchain = in->nchain,
        .fenced = in->fenced,
        .step = in->step,
    };
    memcpy(ref->chain, in->chain, in->nchain * sizeof(in->chain[0]));
    return stored;
}

static quire_status bad(pg_id id, const char *what)
{
    return ra_fail(QUIRE_CORRUPT, "page at offset %llu: %s",
                   (unsigned long long)pg_id_off(id), what);
}

/* Do the lengths of a header agree with each other and with the limits? */
static bool lens_ok(const struct pg_frag *frag, uint32_t chain_len)
{
    size_t body_len;

    if (chain_len < frag->nchain * LINK_MIN ||
        chain_len > frag->nchain * LINK_MAX ||
        frag->stored_len < PG_FRAG_HEADER + chain_len ||
        frag->raw_len > PG_RAW_MAX || frag->image_len > PG_IMAGE_MAX)
        return false;
    body_len = frag->stored_len - PG_FRAG_HEADER - chain_len;
    return frag->lz4 ? body_len < frag->raw_len : body_len == frag->raw_len;
}

quire_status pg_frag_peek(const void *buf, size_t len, struct pg_frag *frag)
{
    const uint8_t *p = buf;
    uint32_t chain_len;

    if (len < PG_FRAG_HEADER || ra_le32(p) != FRAG_MAGIC)
        return ra_fail(QUIRE_CORRUPT, "no page is here");
    frag->id = ra_le64(p + 8);
    if (ra_le32(p + 52) != FRAG_VERSION)
        return bad(frag->id, "unknown format version");
    if (!pg_kind_level_ok(p[4], p[5]) || p[7] > PG_CHAIN_MAX ||
        (p[6] & 1u << 3) != 0)
        return bad(frag->id, "malformed header");
    frag->kind = (enum pg_kind)p[4];
    frag->level = p[5];
    frag->self_contained = (p[6] & FRAG_SELF_CONTAINED) != 0;
    frag->lz4 = (p[6] & FRAG_LZ4) != 0;
    frag->fenced = (p[6] & FRAG_FENCED) != 0;
    frag->step = p[6] >> FRAG_STEP_SHIFT;
    frag->nchain = p[7];
    frag->birth = ra_le64(p + 16);
    frag->count = ra_le64(p + 24);
    frag->stored_len = ra_le32(p + 32);
    frag->raw_len = ra_le32(p + 36);
    frag->nentries = ra_le32(p + 40);
    frag->image_len = ra_le32(p + 44);
    chain_len = ra_le32(p + 48);
    frag->sum = ra_le64(p + FRAG_SUM_OFF);
    frag->body_off = PG_FRAG_HEADER + chain_len;
    if (frag->self_contained != (frag->nchain == 0) || /* PG-9 */
        !pg_chain_ok(frag->nchain, frag->fenced, frag->step) ||
        (frag->nchain != 0 && !pg_kind_slotted(frag->kind)) ||
        frag->id == PG_ID_NONE || !lens_ok(frag, chain_len))
        return bad(frag->id, "malformed header");
    return QUIRE_OK;
}

/* Decode the chain of a header that was found plausible; the whole fragment is
 * at `p`. */
static bool chain_decode(const uint8_t *p, struct pg_frag *frag)
{
    size_t n = PG_FRAG_HEADER;
    size_t end = frag->body_off;

    for (unsigned i = 0; i < frag->nchain; i++) {
        struct pg_link *link = &frag->chain[i];
        uint64_t stored_len, raw_len;
        size_t k;

        if (end - n < LINK_MIN)
            return false;
        link->id = ra_le64(p + n);
        frag->sums[i] = ra_le64(p + n + 8);
        n += 16;
        k = pg_varint_decode(p + n, end - n, &stored_len);
        if (k == 0)
            return false;
        n += k;
        k = pg_varint_decode(p + n, end - n, &raw_len);
        if (k == 0)
            return false;
        n += k;
        if (link->id == PG_ID_NONE || stored_len < PG_FRAG_HEADER ||
            stored_len > pg_frag_bound(PG_RAW_MAX, PG_CHAIN_MAX) ||
            raw_len > PG_RAW_MAX)
            return false;
        link->stored_len = (uint32_t)stored_len;
        link->raw_len = (uint32_t)raw_len;
    }
    return n == end;
}

quire_status pg_frag_check(const void *buf, size_t len, pg_id id,
                           const uint64_t *sum, struct pg_frag *frag)
{
    quire_status rc;

    rc = pg_frag_peek(buf, len, frag);
    if (rc != QUIRE_OK)
        return bad(id, "no page is here, or its header is malformed");
    if (frag->stored_len != len)
        return bad(id, "its length is not what its reference says");
    if (frag->id != id)
        return bad(id, "another page is here");
    if (frag_sum(buf, len) != frag->sum && !ra_broken(RA_BROKEN_FRAG_SUM) &&
        !ra_broken(RA_BROKEN_ALL_SUMS))
        return bad(id, "checksum mismatch");
    if (sum != NULL && *sum != frag->sum && !ra_broken(RA_BROKEN_ALL_SUMS))
        return bad(id, "its checksum is not the one its reference names");
    if (!chain_decode(buf, frag))
        return bad(id, "malformed chain");
    return QUIRE_OK;
}

quire_status pg_frag_body(const struct pg_frag *frag, const void *buf,
                          void *raw, size_t cap, struct quire_val *body)
{
    const char *stored = (const char *)buf + frag->body_off;
    int k;

    body->data = stored;
    body->size = frag->raw_len;
    if (!frag->lz4)
        return QUIRE_OK;
    if (frag->raw_len > cap)
        return bad(frag->id, "longer than its reference says");
    k = LZ4_decompress_safe(stored, raw,
                            (int)(frag->stored_len - frag->body_off),
                            (int)frag->raw_len);
    if (k < 0 || (uint32_t)k != frag->raw_len)
        return bad(frag->id, "its body does not decompress");
    body->data = raw;
    return QUIRE_OK;
}
