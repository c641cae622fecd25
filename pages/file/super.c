/*
 * super.c - the two superblock slots.
 *
 * A superblock names a durable commit record, so that recovery need not read
 * the log from its beginning. It is one sector; each slot has a block of its
 * own. The slots are written in turn, and the valid one with the greater
 * sequence number counts:
 *
 *     0                    block_bytes            2 * block_bytes
 *     | slot A | zeros ... | slot B | zeros ...   | first span ...
 *
 * An opener that finds slot A damaged does not know the block size, and looks
 * for slot B at every power of two that it may be.
 *
 * The trap is the slot that looks good and is not: after a failed sync the
 * system may show a superblock that the disk lacks. Writing the other slot next
 * could then destroy the only good one. So the first superblock of a handle is
 * preceded by writing the newest one again, byte for byte, and syncing it
 * (PF-4).
 *
 * A superblock needs no sync of its own: it is written before a commit's batch,
 * and that commit's sync covers both. Until a sync that began later than the
 * write has succeeded, the other slot is not touched.
 */
#include <ctype.h>
#include <stdio.h>

#include "pages/file/pf_impl.h"

/* Offsets in the sector; the README has the picture. */
enum {
    SB_MAGIC = 0,
    SB_VERSION = 8,
    SB_FEATURES = 12, /* unknown features: not readable; none exist */
    SB_UUID = 16,
    SB_PAGE = 32,
    SB_BLOCK = 36,
    SB_WINDOW = 40,
    SB_VERSIONING = 44,
    SB_SEQ = 48,
    SB_INCARNATION = 56,
    SB_REV = 64,
    SB_ID = 72,
    SB_SUM = 80,
    SB_LEN = 88,
    SB_TIME = 96,
    SB_USED = 104,
    SB_XXH = 504,
};

static_assert(SB_XXH + 8 == PF_SUPER_BYTES, "the checksum ends the sector");
static_assert(SB_USED <= SB_XXH, "the fields fit before the checksum");

/* CR LF shows a transfer that translated line ends; NUL ends text tools. */
static const uint8_t pf_super_magic[8] = "QUIRE\0\r\n";

quire_status pf_geometry_check(const struct pf_geometry *geo)
{
    if (!ra_is_pow2(geo->page_bytes) || geo->page_bytes < QUIRE_PAGE_MIN ||
        geo->page_bytes > QUIRE_PAGE_MAX)
        return ra_fail(QUIRE_INVAL,
                       "page size %u: must be a power of two, %u to %u",
                       geo->page_bytes, QUIRE_PAGE_MIN, QUIRE_PAGE_MAX);
    if (!ra_is_pow2(geo->block_bytes) || geo->block_bytes < PF_BLOCK_MIN ||
        geo->block_bytes > PF_BLOCK_MAX)
        return ra_fail(QUIRE_INVAL,
                       "block size %u: must be a power of two, %u to %u",
                       geo->block_bytes, PF_BLOCK_MIN, PF_BLOCK_MAX);
    if (geo->window < 2 || geo->window > QUIRE_WINDOW_MAX)
        return ra_fail(QUIRE_INVAL, "window %u: must be 2 to %u", geo->window,
                       QUIRE_WINDOW_MAX);
    if (!pf_versioning_known(geo->versioning))
        return ra_fail(QUIRE_INVAL, "versioning %u is not known",
                       (unsigned)geo->versioning);
    return QUIRE_OK;
}

void pf_super_encode(const struct pf_super *super, uint8_t buf[PF_SUPER_BYTES])
{
    memset(buf, 0, PF_SUPER_BYTES);
    memcpy(buf + SB_MAGIC, pf_super_magic, sizeof(pf_super_magic));
    ra_put_le32(buf + SB_VERSION, PF_VERSION);
    memcpy(buf + SB_UUID, super->geo.uuid, sizeof(super->geo.uuid));
    ra_put_le32(buf + SB_PAGE, super->geo.page_bytes);
    ra_put_le32(buf + SB_BLOCK, super->geo.block_bytes);
    ra_put_le32(buf + SB_WINDOW, super->geo.window);
    ra_put_le32(buf + SB_VERSIONING, (uint32_t)super->geo.versioning);
    ra_put_le64(buf + SB_SEQ, super->seq);
    ra_put_le64(buf + SB_INCARNATION, super->incarnation);
    ra_put_le64(buf + SB_REV, super->rev);
    ra_put_le64(buf + SB_ID, super->id);
    ra_put_le64(buf + SB_SUM, super->sum);
    ra_put_le32(buf + SB_LEN, super->stored_len);
    ra_put_le64(buf + SB_TIME, (uint64_t)super->time_us);
    ra_put_le64(buf + SB_XXH, XXH3_64bits(buf, SB_XXH));
}

enum pf_super_state pf_super_decode(const uint8_t buf[PF_SUPER_BYTES],
                                    struct pf_super *super)
{
    if (memcmp(buf + SB_MAGIC, pf_super_magic, sizeof(pf_super_magic)) != 0)
        return PF_SUPER_FOREIGN;
    if (ra_le64(buf + SB_XXH) != XXH3_64bits(buf, SB_XXH) &&
        !ra_broken(RA_BROKEN_ALL_SUMS))
        return PF_SUPER_DAMAGED;
    if (ra_le32(buf + SB_VERSION) != PF_VERSION ||
        ra_le32(buf + SB_FEATURES) != 0)
        return PF_SUPER_VERSION;
    memcpy(super->geo.uuid, buf + SB_UUID, sizeof(super->geo.uuid));
    super->geo.page_bytes = ra_le32(buf + SB_PAGE);
    super->geo.block_bytes = ra_le32(buf + SB_BLOCK);
    super->geo.window = ra_le32(buf + SB_WINDOW);
    super->geo.versioning = (quire_versioning)ra_le32(buf + SB_VERSIONING);
    super->seq = ra_le64(buf + SB_SEQ);
    super->incarnation = ra_le64(buf + SB_INCARNATION);
    super->rev = ra_le64(buf + SB_REV);
    super->id = ra_le64(buf + SB_ID);
    super->sum = ra_le64(buf + SB_SUM);
    super->stored_len = ra_le32(buf + SB_LEN);
    super->time_us = (int64_t)ra_le64(buf + SB_TIME);
    if (pf_geometry_check(&super->geo) != QUIRE_OK)
        return PF_SUPER_VERSION;
    return PF_SUPER_VALID;
}

/* Read the sector at `off` and judge it. A file that ends before it has no
 * slot there. */
static quire_status pf_super_read(const struct pf_os *os, uint64_t off,
                                  struct pf_super *super,
                                  enum pf_super_state *state)
{
    uint8_t buf[PF_SUPER_BYTES];
    size_t got = 0;
    quire_status rc;

    *state = PF_SUPER_FOREIGN;
    rc = pf_os_read(os, buf, sizeof(buf), off, &got);
    if (rc == QUIRE_OK && got == sizeof(buf))
        *state = pf_super_decode(buf, super);
    return rc;
}

/* Slot A is not valid, so that the block size is not known: look for slot B
 * wherever it may be. */
static quire_status pf_super_probe(const struct pf_os *os,
                                   struct pf_super *super,
                                   enum pf_super_state *state)
{
    enum pf_super_state best = PF_SUPER_FOREIGN;

    for (uint64_t off = PF_BLOCK_MIN; off <= PF_BLOCK_MAX; off *= 2) {
        enum pf_super_state found;
        quire_status rc = pf_super_read(os, off, super, &found);

        if (rc != QUIRE_OK)
            return rc;
        if (found == PF_SUPER_VALID && super->geo.block_bytes != off)
            found = PF_SUPER_DAMAGED; /* a stray copy */
        if (found == PF_SUPER_VALID) {
            *state = found;
            return QUIRE_OK;
        }
        if (found != PF_SUPER_FOREIGN)
            best = found;
    }
    *state = best;
    return QUIRE_OK;
}

/* This is no store; say what it looks like. */
static quire_status pf_super_foreign(const struct pf_os *os)
{
    uint8_t buf[PF_SUPER_BYTES];
    size_t got = 0;
    size_t nzero = 0;
    size_t ntext = 0;
    quire_status rc;

    rc = pf_os_read(os, buf, sizeof(buf), 0, &got);
    if (rc != QUIRE_OK)
        return rc;
    for (size_t i = 0; i < got; i++) {
        nzero += buf[i] == 0;
        ntext += isprint(buf[i]) || isspace(buf[i]) || buf[i] >= 0x80;
    }
    if (got == 0)
        return ra_fail(QUIRE_FORMAT, "%s: the file is empty, not a store",
                       os->path);
    if (nzero == got)
        return ra_fail(QUIRE_FORMAT,
                       "%s: the file begins with zeros, it is no store",
                       os->path);
    if (ntext == got)
        return ra_fail(QUIRE_FORMAT, "%s: this is a text file, not a store",
                       os->path);
    if (got < sizeof(buf))
        return ra_fail(QUIRE_FORMAT,
                       "%s: the file has %zu bytes, too few for a store",
                       os->path, got);
    return ra_fail(QUIRE_FORMAT, "%s: this is not a quire store", os->path);
}

/* Neither slot is valid. */
static quire_status pf_super_none(const struct pf_os *os, enum pf_super_state a,
                                  enum pf_super_state b)
{
    if (a == PF_SUPER_FOREIGN && b == PF_SUPER_FOREIGN)
        return pf_super_foreign(os);
    if (a == PF_SUPER_VERSION || b == PF_SUPER_VERSION)
        return ra_fail(QUIRE_FORMAT,
                       "%s: the store was written by another version; this "
                       "one reads format %u",
                       os->path, PF_VERSION);
    return ra_fail(QUIRE_CORRUPT, "%s: both superblocks are damaged", os->path);
}

quire_status pf_super_find(struct pf_file *file)
{
    enum pf_super_state state[2] = { PF_SUPER_FOREIGN, PF_SUPER_FOREIGN };
    struct pf_super super[2];
    unsigned slot;
    quire_status rc;

    memset(super, 0, sizeof(super));
    rc = pf_super_read(&file->os, 0, &super[0], &state[0]);
    if (rc != QUIRE_OK)
        return rc;
    if (state[0] == PF_SUPER_VALID)
        rc = pf_super_read(&file->os, super[0].geo.block_bytes, &super[1],
                           &state[1]);
    else
        rc = pf_super_probe(&file->os, &super[1], &state[1]);
    if (rc != QUIRE_OK)
        return rc;
    if (state[0] != PF_SUPER_VALID && state[1] != PF_SUPER_VALID)
        return pf_super_none(&file->os, state[0], state[1]);
    if (state[0] == PF_SUPER_VALID && state[1] == PF_SUPER_VALID) {
        if (memcmp(&super[0].geo, &super[1].geo, sizeof(super[0].geo)) != 0)
            return ra_fail(QUIRE_CORRUPT,
                           "%s: the superblocks belong to different stores",
                           file->path);
        slot = super[1].seq > super[0].seq;
        file->super_other = super[!slot].rev;
    } else {
        slot = state[1] == PF_SUPER_VALID;
        ra_log_line(&file->env.log, QUIRE_LOG_WARN,
                    "superblock %u is damaged; the other one is used", !slot);
    }
    file->super = super[slot];
    file->super_slot = slot;
    file->geo = super[slot].geo;
    return QUIRE_OK;
}

/* Write `super` into `slot`; the next sync makes it durable. */
static quire_status pf_super_put(struct pf_file *file,
                                 const struct pf_super *super, unsigned slot)
{
    uint8_t buf[PF_SUPER_BYTES];
    quire_status rc;

    pf_super_encode(super, buf);
    rc = pf_write_all(file, buf, sizeof(buf),
                      (uint64_t)slot * file->geo.block_bytes, false);
    if (rc == QUIRE_OK)
        file->super_sync = pf_sync_next(file);
    return rc;
}

quire_status pf_super_step(struct pf_file *file, const struct pf_record *rec,
                           bool *done)
{
    struct pf_super super = file->super;
    unsigned slot = !file->super_slot;
    quire_status rc;

    QUIRE_ASSERT(!file->rdonly);
    *done = false;
    if (pf_file_poisoned(file))
        return pf_refuse_poisoned(file);
    QUIRE_ASSERT(rec->rev <= pf_file_durable(file) ||
                 ra_broken(RA_BROKEN_SUPER_EARLY));
    if (file->super_sync == PF_SYNC_NEVER)
        return pf_super_put(file, &file->super, file->super_slot);
    if (!pf_sync_passed(file, file->super_sync))
        return QUIRE_OK;
    super.seq++;
    /* Nothing of an older incarnation can follow the newest record (PF-8).
     * After an older one there are records of its own incarnation. */
    super.incarnation = rec->rev == file->last.rev ? file->incarnation
                                                   : rec->incarnation;
    super.rev = rec->rev;
    super.id = rec->id;
    super.sum = rec->sum;
    super.stored_len = rec->stored_len;
    super.time_us = rec->time_us;
    if (ra_broken(RA_BROKEN_SUPER_INPLACE))
        slot = file->super_slot;
    else if (ra_broken(RA_BROKEN_SUPER_ONE))
        slot = 0;
    rc = pf_super_put(file, &super, slot);
    if (rc != QUIRE_OK)
        return rc;
    file->super_other = file->super.rev;
    file->super = super;
    file->super_slot = slot;
    pf_note(&file->log_bytes, 0);
    *done = true;
    return QUIRE_OK;
}

quire_status pf_super_write(struct pf_file *file, const struct pf_record *rec)
{
    bool done = false;
    quire_status rc = QUIRE_OK;

    /* Three steps at most: an old slot again, this one, nothing to wait for. */
    while (rc == QUIRE_OK && !done) {
        rc = pf_super_step(file, rec, &done);
        if (rc == QUIRE_OK)
            rc = pf_sync(file);
    }
    /* No commit depends on a superblock: its failure leaves none undecided. */
    return rc == QUIRE_UNDECIDED ? QUIRE_IO : rc;
}
