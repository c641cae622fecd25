/*
 * large.c - what stands in a leaf for a value that lies in overflow pages.
 *
 *     0   u64 size          bytes of the value
 *     8   u32 piece_bytes   of every piece but the last
 *     12  page reference    at most 54 bytes, then zeros up to 80
 *
 * A value of one piece refers to it directly; more are listed in an index page,
 * 24 bytes each:
 *
 *     0   u64 image id
 *     8   u64 checksum
 *     16  u32 stored_len
 *     20  u32 raw_len
 */
#include "pages/pg_impl.h"

#define LARGE_REF 12u /* bytes before the reference */

static_assert(LARGE_REF + PG_REF_BYTES(0) <= PG_LARGE_BYTES,
              "the longest reference fits");
static_assert((QUIRE_VALUE_MAX + PG_OVERFLOW_MAX - 1) / PG_OVERFLOW_MAX *
                      PG_OVSLOT_BYTES <=
                  PG_RAW_MAX,
              "the largest value's index is one page");

size_t pg_large_encode(const struct pg_large *large, uint8_t *buf)
{
    QUIRE_ASSERT(large->ref.nchain == 0);
    memset(buf, 0, PG_LARGE_BYTES);
    ra_put_le64(buf, large->size);
    ra_put_le32(buf + 8, large->piece_bytes);
    pg_ref_encode(&large->ref, buf + LARGE_REF);
    return PG_LARGE_BYTES;
}

/* Do size, pieces and the page referred to agree? */
static bool large_ok(const struct pg_large *large)
{
    const struct pg_ref *ref = &large->ref;
    uint64_t npieces;

    if (large->size == 0 || large->size > QUIRE_VALUE_MAX)
        return false;
    if (large->piece_bytes == 0 || large->piece_bytes > PG_OVERFLOW_MAX)
        return false;
    npieces = (large->size - 1) / large->piece_bytes + 1;
    /* "no page" has no kind, plain kinds have no chain: decoding saw to it */
    if (ref->kind == PG_OVERFLOW)
        return npieces == 1 && (ref->intent || ref->raw_len == large->size);
    return ref->kind == PG_OVINDEX && npieces > 1 &&
           (ref->intent || ref->raw_len == npieces * PG_OVSLOT_BYTES);
}

quire_status pg_large_decode(const struct quire_val *val,
                             struct pg_large *large)
{
    const uint8_t *buf = val->data;
    quire_status rc;
    size_t used;

    if (val->size != PG_LARGE_BYTES)
        return ra_fail(QUIRE_CORRUPT, "large value: %zu bytes", val->size);
    large->size = ra_le64(buf);
    large->piece_bytes = ra_le32(buf + 8);
    rc = pg_ref_parse(buf + LARGE_REF, PG_LARGE_BYTES - LARGE_REF, &large->ref,
                      &used);
    if (rc != QUIRE_OK)
        return rc;
    used += LARGE_REF;
    if (!large_ok(large) || !pg_zero(buf + used, PG_LARGE_BYTES - used))
        return ra_fail(QUIRE_CORRUPT, "large value of %llu bytes: malformed",
                       (unsigned long long)large->size);
    return QUIRE_OK;
}

void pg_ovslot_encode(const struct pg_ovslot *slot, uint8_t *buf)
{
    ra_put_le64(buf, slot->id);
    ra_put_le64(buf + 8, slot->sum);
    ra_put_le32(buf + 16, slot->stored_len);
    ra_put_le32(buf + 20, slot->raw_len);
}

void pg_ovslot_decode(const uint8_t *buf, struct pg_ovslot *slot)
{
    slot->id = ra_le64(buf);
    slot->sum = ra_le64(buf + 8);
    slot->stored_len = ra_le32(buf + 16);
    slot->raw_len = ra_le32(buf + 20);
}
