/*
 * ref.c - page references as bytes.
 *
 *     0   u64 image id          so that a look-up can peek at it
 *     8   u64 checksum
 *     16  u8  kind              bit 7: a reference to an intent; bit 6: fenced;
 *                               bit 5: labels
 *     17  u8  level
 *     18  u8  nchain            bits 4 to 7: step
 *     19  varints birth, count, stored_len, raw_len, image_len, and label_len
 *         if there are labels
 *         for each link: u64 image id, varint stored_len, varint raw_len
 *
 * A reference that was read from a file decides how much memory a load
 * reserves and how much it reads, so every length is bounded here. References
 * to intents exist in working images only; their lengths mean nothing.
 */
#include "pages/pg_impl.h"

#define REF_FIXED 19u /* bytes before the varints */
#define REF_FENCED 0x40u
#define REF_LABELED 0x20u
#define REF_KIND 0x1fu
#define REF_NCHAIN 0x0fu
#define REF_STEP_SHIFT 4u

/* No length of a page in a file exceeds three bytes: 21 bits. */
static_assert(REF_FIXED + 10 + 10 + 3 + 3 + 3 + 3 <= PG_REF_BYTES(0),
              "PG_REF_BYTES: fixed part");
static_assert(PG_IMAGE_MAX < 1u << 21 && PG_RAW_MAX + 4096 < 1u << 21,
              "lengths have three bytes");
static_assert(8 + 5 + 5 == PG_REF_BYTES(1) - PG_REF_BYTES(0),
              "PG_REF_BYTES: link");
static_assert(PG_CHAIN_MAX <= REF_NCHAIN && PG_LEVEL_MAX < 256, "they fit");

/* A fragment's lengths, as a reference or a link claims them. */
static bool lens_ok(uint64_t stored_len, uint64_t raw_len)
{
    return stored_len >= PG_FRAG_HEADER &&
           stored_len <= pg_frag_bound(PG_RAW_MAX, PG_CHAIN_MAX) &&
           raw_len <= PG_RAW_MAX;
}

size_t pg_ref_encode(const struct pg_ref *ref, uint8_t *buf)
{
    size_t n = REF_FIXED;

    if (ref->id == PG_ID_NONE && !ref->intent) {
        memset(buf, 0, REF_FIXED + 5);
        return REF_FIXED + 5;
    }
    QUIRE_ASSERT(ref->nchain <= PG_CHAIN_MAX);
    ra_put_le64(buf, ref->id);
    ra_put_le64(buf + 8, ref->sum);
    QUIRE_ASSERT(ref->step <= PG_CHAIN_MAX);
    buf[16] = (uint8_t)(ref->kind | (ref->intent ? PG_REF_INTENT : 0) |
                        (ref->fenced ? REF_FENCED : 0) |
                        (ref->label_len != 0 ? REF_LABELED : 0));
    buf[17] = ref->level;
    buf[18] = (uint8_t)(ref->nchain | ref->step << REF_STEP_SHIFT);
    n += pg_varint_encode(buf + n, ref->birth);
    n += pg_varint_encode(buf + n, ref->count);
    n += pg_varint_encode(buf + n, ref->stored_len);
    n += pg_varint_encode(buf + n, ref->raw_len);
    n += pg_varint_encode(buf + n, ref->image_len);
    if (QUIRE_UNLIKELY(ref->label_len != 0))
        n += pg_varint_encode(buf + n, ref->label_len);
    for (unsigned i = 0; i < ref->nchain; i++) {
        ra_put_le64(buf + n, ref->chain[i].id);
        n += 8;
        n += pg_varint_encode(buf + n, ref->chain[i].stored_len);
        n += pg_varint_encode(buf + n, ref->chain[i].raw_len);
    }
    return n;
}

/* Read a varint that fits 32 bits; 0: it does not. */
static size_t u32_decode(const uint8_t *buf, size_t len, uint32_t *value)
{
    uint64_t v;
    size_t n = pg_varint_decode(buf, len, &v);

    if (n == 0 || v > UINT32_MAX)
        return 0;
    *value = (uint32_t)v;
    return n;
}

/* The varints and links of `ref`, whose fixed part is decoded. Returns the
 * bytes read, 0 when they are no good. */
static size_t tail_decode(const uint8_t *buf, size_t len, struct pg_ref *ref)
{
    size_t n = 0, k;

    k = pg_varint_decode(buf, len, &ref->birth);
    if (k == 0)
        return 0;
    n += k;
    k = pg_varint_decode(buf + n, len - n, &ref->count);
    if (k == 0)
        return 0;
    n += k;
    k = u32_decode(buf + n, len - n, &ref->stored_len);
    if (k == 0)
        return 0;
    n += k;
    k = u32_decode(buf + n, len - n, &ref->raw_len);
    if (k == 0)
        return 0;
    n += k;
    k = u32_decode(buf + n, len - n, &ref->image_len);
    if (k == 0)
        return 0;
    n += k;
    if (QUIRE_UNLIKELY(ref->label_len != 0)) { /* its bit is set */
        k = u32_decode(buf + n, len - n, &ref->label_len);
        if (k == 0 || ref->label_len == 0 || ref->label_len > PG_IMAGE_MAX)
            return 0;
        n += k;
    }
    for (unsigned i = 0; i < ref->nchain; i++) {
        struct pg_link *link = &ref->chain[i];

        if (len - n < 8)
            return 0;
        link->id = ra_le64(buf + n);
        n += 8;
        k = u32_decode(buf + n, len - n, &link->stored_len);
        if (k == 0)
            return 0;
        n += k;
        k = u32_decode(buf + n, len - n, &link->raw_len);
        if (k == 0)
            return 0;
        n += k;
        if (link->id == PG_ID_NONE || !lens_ok(link->stored_len, link->raw_len))
            return 0;
    }
    return n;
}

/* Is what was decoded something that the encoder writes? */
static bool ref_ok(const struct pg_ref *ref)
{
    if (ref->id == PG_ID_NONE && !ref->intent)
        return ref->sum == 0 && ref->kind == 0 && ref->level == 0 &&
               ref->nchain == 0 && !ref->fenced && ref->step == 0 &&
               ref->birth == 0 && ref->count == 0 && ref->stored_len == 0 &&
               ref->raw_len == 0 && ref->image_len == 0 && ref->label_len == 0;
    if (!pg_kind_level_ok(ref->kind, ref->level))
        return false;
    if (ref->nchain != 0 && !pg_kind_slotted(ref->kind))
        return false;
    if (!pg_chain_ok(ref->nchain, ref->fenced, ref->step))
        return false;
    if (ref->label_len != 0 && ref->kind != PG_LEAF)
        return false;
    if (ref->intent)
        return true;
    return lens_ok(ref->stored_len, ref->raw_len) &&
           ref->image_len <= PG_IMAGE_MAX;
}

quire_status pg_ref_parse(const uint8_t *buf, size_t len, struct pg_ref *ref,
                          size_t *used)
{
    size_t n;

    if (len < REF_FIXED)
        return ra_fail(QUIRE_CORRUPT, "page reference: %zu bytes", len);
    ref->id = ra_le64(buf);
    ref->sum = ra_le64(buf + 8);
    ref->kind = buf[16] & REF_KIND;
    ref->label_len = (buf[16] & REF_LABELED) != 0;
    ref->fenced = (buf[16] & REF_FENCED) != 0;
    ref->intent = (buf[16] & PG_REF_INTENT) != 0;
    ref->level = buf[17];
    ref->nchain = buf[18] & REF_NCHAIN;
    ref->step = buf[18] >> REF_STEP_SHIFT;
    n = tail_decode(buf + REF_FIXED, len - REF_FIXED, ref);
    if (n == 0 || !ref_ok(ref))
        return ra_fail(QUIRE_CORRUPT,
                       "page reference to offset %llu: malformed",
                       (unsigned long long)pg_id_off(ref->id));
    *used = REF_FIXED + n;
    return QUIRE_OK;
}

quire_status pg_ref_decode(const void *buf, size_t len, struct pg_ref *ref)
{
    size_t used;

    return pg_ref_parse(buf, len, ref, &used);
}

static const uint8_t *varint_skip(const uint8_t *p)
{
    while (*p >= 0x80)
        p++;
    return p + 1;
}

size_t pg_ref_bytes(const uint8_t *buf)
{
    const uint8_t *p = buf + REF_FIXED;

    for (unsigned i = (buf[16] & REF_LABELED) != 0 ? 6 : 5; i > 0; i--)
        p = varint_skip(p);
    for (unsigned i = 0; i < (buf[18] & REF_NCHAIN); i++)
        p = varint_skip(varint_skip(p + 8));
    return (size_t)(p - buf);
}
