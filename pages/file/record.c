/*
 * record.c - the commit record: its body, encoded and decoded.
 *
 * A record is a fragment of kind PG_RECORD, the last of its batch. The body
 * begins with fixed fields, then the three root references, each with its
 * length in the fixed part, then typed sections, of which unknown ones are
 * skipped. The README has the picture.
 *
 * Decoding believes nothing: where the record lies must agree with the span it
 * names, the span with the frontier, and every length with what is there.
 * Whether it continues the log is recover.c's question.
 */
#include <stdio.h>

#include "pages/file/pf_impl.h"

/* Offsets in the body. */
enum {
    REC_UUID = 0,
    REC_INCARNATION = 16,
    REC_REV = 24,
    REC_TIME = 32,
    REC_DURABLE = 40,
    REC_PREV_SUM = 48,
    REC_BATCH_OFF = 56,
    REC_BATCH_LEN = 64,
    REC_BATCH_SUM = 72,
    REC_SPAN = 80,
    REC_NEXT_SPAN = 104,
    REC_FRONTIER = 128,
    REC_REF_LEN = 136, /* u16[3], then two zero bytes */
    REC_FIXED = 144,
};

enum {
    SPAN_OFF = 0,
    SPAN_LEN = 8,
    SPAN_EPOCH = 16, /* then six zero bytes */
    SPAN_BYTES = 24,
};

#define PF_RECORD_REFS 3u
#define PF_SECTION_HEADER 8u /* u16 type, u16 zero, u32 length */
#define PF_SECTION_SPANS 1u  /* spans that this commit took into use */
#define PF_SECTION_PAGES 2u  /* u32 window, u32 versioning */
#define PAGES_BYTES 8u

static_assert(REC_SPAN + SPAN_BYTES == REC_NEXT_SPAN, "spans follow");
static_assert(REC_NEXT_SPAN + SPAN_BYTES == REC_FRONTIER, "spans follow");
static_assert(REC_FIXED + PF_RECORD_REFS * PG_REF_BYTES_MAX +
                      PF_SECTION_HEADER + PAGES_BYTES + PF_SECTION_HEADER +
                      (PF_SPANS_MAX + 1) * SPAN_BYTES <=
                  PF_RECORD_BODY_MAX,
              "the longest record fits");

size_t pf_record_bound(const struct pf_record *rec, unsigned nspans)
{
    /* No page still counts as a reference, so that the bound is simple. */
    return REC_FIXED + PG_REF_BYTES(rec->catalogue.nchain) +
           PG_REF_BYTES(rec->system.nchain) + PG_REF_BYTES(rec->dead.nchain) +
           PF_SECTION_HEADER + PAGES_BYTES + PF_SECTION_HEADER +
           (size_t)nspans * SPAN_BYTES;
}

static void pf_span_encode(const struct pf_span *span, uint8_t *buf)
{
    memset(buf, 0, SPAN_BYTES);
    ra_put_le64(buf + SPAN_OFF, span->off);
    ra_put_le64(buf + SPAN_LEN, span->len);
    ra_put_le16(buf + SPAN_EPOCH, span->epoch);
}

static void pf_span_decode(const uint8_t *buf, struct pf_span *span)
{
    span->off = ra_le64(buf + SPAN_OFF);
    span->len = ra_le64(buf + SPAN_LEN);
    span->epoch = ra_le16(buf + SPAN_EPOCH);
}

size_t pf_record_encode(const struct pf_record *rec, const uint8_t uuid[16],
                        const struct pf_record_tail *tail,
                        const struct pf_span *spans, unsigned nspans,
                        uint8_t *buf)
{
    const struct pg_ref *refs[PF_RECORD_REFS] = { &rec->catalogue, &rec->system,
                                                  &rec->dead };
    size_t len = REC_FIXED;

    memset(buf, 0, REC_FIXED);
    memcpy(buf + REC_UUID, uuid, 16);
    ra_put_le64(buf + REC_INCARNATION, rec->incarnation);
    ra_put_le64(buf + REC_REV, rec->rev);
    ra_put_le64(buf + REC_TIME, (uint64_t)rec->time_us);
    ra_put_le64(buf + REC_DURABLE, rec->durable_through);
    ra_put_le64(buf + REC_PREV_SUM, rec->prev_sum);
    ra_put_le64(buf + REC_BATCH_OFF, rec->batch_off);
    ra_put_le64(buf + REC_BATCH_LEN, tail->batch_len);
    ra_put_le64(buf + REC_BATCH_SUM, tail->batch_sum);
    pf_span_encode(&rec->span, buf + REC_SPAN);
    pf_span_encode(&rec->next_span, buf + REC_NEXT_SPAN);
    ra_put_le64(buf + REC_FRONTIER, rec->frontier);
    for (unsigned i = 0; i < PF_RECORD_REFS; i++) {
        size_t n = 0;

        if (refs[i]->id != PG_ID_NONE)
            n = pg_ref_encode(refs[i], buf + len);
        ra_put_le16(buf + REC_REF_LEN + 2 * i, (uint16_t)n);
        len += n;
    }
    if (nspans != 0) {
        ra_put_le16(buf + len, PF_SECTION_SPANS);
        ra_put_le16(buf + len + 2, 0);
        ra_put_le32(buf + len + 4, nspans * SPAN_BYTES);
        len += PF_SECTION_HEADER;
        for (unsigned i = 0; i < nspans; i++, len += SPAN_BYTES)
            pf_span_encode(&spans[i], buf + len);
    }
    if (rec->window != 0) {
        ra_put_le16(buf + len, PF_SECTION_PAGES);
        ra_put_le16(buf + len + 2, 0);
        ra_put_le32(buf + len + 4, PAGES_BYTES);
        len += PF_SECTION_HEADER;
        ra_put_le32(buf + len, rec->window);
        ra_put_le32(buf + len + 4, (uint32_t)rec->versioning);
        len += PAGES_BYTES;
    }
    return len;
}

/* A span that a record may name: whole blocks behind the superblocks, not
 * beyond the frontier. */
static bool pf_span_ok(const struct pf_geometry *geo,
                       const struct pf_span *span, uint64_t frontier)
{
    return span->len != 0 && span->off % geo->block_bytes == 0 &&
           span->len % geo->block_bytes == 0 &&
           span->off >= 2 * (uint64_t)geo->block_bytes &&
           span->off < frontier && span->len <= frontier - span->off;
}

/* References point at what can exist: whole fragments below the frontier. */
static bool pf_ref_ok(const struct pg_ref *ref, uint64_t frontier)
{
    if (ref->intent || pg_id_off(ref->id) >= frontier ||
        ref->stored_len > frontier - pg_id_off(ref->id))
        return false;
    for (unsigned i = 0; i < ref->nchain; i++)
        if (pg_id_off(ref->chain[i].id) >= frontier ||
            ref->chain[i].stored_len > frontier - pg_id_off(ref->chain[i].id))
            return false;
    return true;
}

/* How pages are written from this record on. */
static bool pf_pages_decode(const uint8_t *buf, size_t len,
                            struct pf_record *rec)
{
    if (len != PAGES_BYTES)
        return false;
    rec->window = ra_le32(buf);
    rec->versioning = (quire_versioning)ra_le32(buf + 4);
    return rec->window >= 2 && rec->window <= QUIRE_WINDOW_MAX &&
           pf_versioning_known(rec->versioning);
}

/* Decode the references and walk the sections. */
static bool pf_record_decode_rest(const uint8_t *body, size_t len,
                                  struct pf_record *rec)
{
    struct pg_ref *refs[PF_RECORD_REFS] = { &rec->catalogue, &rec->system,
                                            &rec->dead };
    size_t at = REC_FIXED;

    for (unsigned i = 0; i < PF_RECORD_REFS; i++) {
        size_t n = ra_le16(body + REC_REF_LEN + 2 * i);

        memset(refs[i], 0, sizeof(*refs[i]));
        if (n > len - at)
            return false;
        if (n != 0 && (pg_ref_decode(body + at, n, refs[i]) != QUIRE_OK ||
                       !pf_ref_ok(refs[i], rec->frontier)))
            return false;
        at += n;
    }
    rec->window = 0;
    rec->versioning = QUIRE_VERSIONING_DEFAULT;
    while (at < len) {
        size_t n = 0;

        if (len - at >= PF_SECTION_HEADER)
            n = ra_le32(body + at + 4);
        if (len - at < PF_SECTION_HEADER || n > len - at - PF_SECTION_HEADER)
            return false;
        at += PF_SECTION_HEADER;
        if (ra_le16(body + at - PF_SECTION_HEADER) == PF_SECTION_PAGES &&
            !pf_pages_decode(body + at, n, rec))
            return false;
        at += n;
    }
    return true;
}

/* Does what the record says of its own place agree with where it is? */
static bool pf_record_place_ok(const struct pf_geometry *geo,
                               const struct pf_record *rec,
                               const struct pf_record_tail *tail)
{
    uint64_t off = pg_id_off(rec->id);

    return rec->frontier <= PF_FILE_MAX &&
           rec->frontier % geo->block_bytes == 0 &&
           pf_span_ok(geo, &rec->span, rec->frontier) &&
           pf_span_ok(geo, &rec->next_span, rec->frontier) &&
           (pf_span_end(&rec->span) <= rec->next_span.off ||
            pf_span_end(&rec->next_span) <= rec->span.off) &&
           (uint16_t)rec->id == rec->span.epoch &&
           rec->batch_off % geo->block_bytes == 0 &&
           rec->batch_off >= rec->span.off && rec->batch_off <= off &&
           tail->batch_len == off - rec->batch_off &&
           rec->batch_end <= pf_span_end(&rec->span);
}

quire_status pf_record_parse(const struct pf_geometry *geo,
                             const void *frag_buf, size_t stored_len, pg_id id,
                             const uint64_t *sum, void *raw,
                             struct pf_record *rec, struct pf_record_tail *tail)
{
    struct pg_frag frag;
    struct quire_val val;
    const uint8_t *body;
    quire_status rc;

    rc = pg_frag_check(frag_buf, stored_len, id, sum, &frag);
    if (rc != QUIRE_OK)
        return rc;
    if (frag.kind != PG_RECORD || frag.raw_len < REC_FIXED ||
        frag.raw_len > PF_RECORD_BODY_MAX)
        return ra_fail(QUIRE_CORRUPT, "no commit record at %llu",
                       PF_ULL(pg_id_off(id)));
    rc = pg_frag_body(&frag, frag_buf, raw, PF_RECORD_BODY_MAX, &val);
    if (rc != QUIRE_OK)
        return rc;
    body = val.data;
    rec->incarnation = ra_le64(body + REC_INCARNATION);
    rec->rev = ra_le64(body + REC_REV);
    rec->time_us = (int64_t)ra_le64(body + REC_TIME);
    rec->durable_through = ra_le64(body + REC_DURABLE);
    rec->prev_sum = ra_le64(body + REC_PREV_SUM);
    rec->batch_off = ra_le64(body + REC_BATCH_OFF);
    tail->batch_len = ra_le64(body + REC_BATCH_LEN);
    tail->batch_sum = ra_le64(body + REC_BATCH_SUM);
    pf_span_decode(body + REC_SPAN, &rec->span);
    pf_span_decode(body + REC_NEXT_SPAN, &rec->next_span);
    rec->frontier = ra_le64(body + REC_FRONTIER);
    rec->id = id;
    rec->sum = frag.sum;
    rec->stored_len = (uint32_t)stored_len;
    rec->batch_end = ra_round_up(pg_id_off(id) + stored_len, geo->block_bytes);
    if (memcmp(body + REC_UUID, geo->uuid, sizeof(geo->uuid)) != 0 ||
        frag.birth != rec->rev ||
        (rec->rev != 0 && rec->durable_through >= rec->rev) ||
        (rec->rev == 0 && rec->durable_through != 0) ||
        !pf_record_place_ok(geo, rec, tail) ||
        !pf_record_decode_rest(body, val.size, rec))
        return ra_fail(QUIRE_CORRUPT,
                       "the commit record at %llu contradicts itself",
                       PF_ULL(pg_id_off(id)));
    return QUIRE_OK;
}

quire_status pf_record_read(struct pf_file *file, pg_id id, uint32_t stored_len,
                            struct pf_record *rec)
{
    struct pf_record_tail tail;
    void *seg = NULL;
    size_t raw_at = ra_round_up(stored_len, PG_ALIGN);
    quire_status rc;

    if (stored_len < PG_FRAG_HEADER || stored_len > PF_RECORD_FRAG_MAX)
        return ra_fail(QUIRE_CORRUPT,
                       "%s: a commit record of %u bytes at %llu is referred to",
                       file->path, stored_len, PF_ULL(pg_id_off(id)));
    rc = QUIRE_POINT_RC(
        PF_RECORD_SEGMENT, QUIRE_NOMEM,
        ra_seg_alloc(file->env.pool, raw_at + PF_RECORD_BODY_MAX, &seg));
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_read_all(file, seg, stored_len, pg_id_off(id), false);
    if (rc == QUIRE_OK)
        rc = pf_record_parse(&file->geo, seg, stored_len, id, NULL,
                             (uint8_t *)seg + raw_at, rec, &tail);
    ra_seg_free(file->env.pool, seg);
    return rc;
}
