/*
 * Recovery: from any cut and any damage, the last whole commit or the proof
 * that one is missing.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>

/* A copy of the rig's file. */
struct shot {
    uint8_t *bytes;
    size_t nbytes;
};

static struct shot shot_take(struct rig *rig)
{
    struct shot shot;
    uint8_t *bytes = mem_disk_bytes(rig->disk, RIG_PATH, &shot.nbytes);

    CHECK(bytes != NULL);
    shot.bytes = malloc(shot.nbytes);
    memcpy(shot.bytes, bytes, shot.nbytes);
    return shot;
}

static void shot_put(struct rig *rig, const struct shot *shot, size_t nbytes)
{
    mem_disk_put(rig->disk, RIG_PATH, shot->bytes, nbytes);
}

/* Where the batches of a log are. */
struct layout {
    unsigned n; /* revisions, 0 .. n-1 */
    struct pf_record rec[32];
};

/*
 * A log of `n` commits; the superblock names revision `super`. With `nosync`
 * nothing after the superblock's is known durable.
 */
static void make_log(struct rig *rig, struct layout *lay, unsigned n,
                     unsigned super, bool nosync)
{
    rig_start(rig);
    lay->rec[0] = rig->last;
    for (unsigned i = 1; i <= n; i++) {
        const struct rig_plan plan = {
            .seed = i,
            .npages = 1 + i % 3,
            .val_bytes = 40 * (1 + i % 5),
            .nosync = nosync && i > super,
        };

        CHECK_OK(rig_commit(rig, &plan));
        lay->rec[i] = rig->last;
        if (i == super) /* both slots */
            for (int k = 0; k < 2; k++)
                CHECK_OK(pf_super_write(rig->file, &rig->last));
    }
    lay->n = n + 1;
    rig_close(rig);
}

/* ---- cuts ---- */

/* The revision whose record ends at or before `len`, or -1. */
static int last_within(const struct layout *lay, uint64_t len)
{
    int last = -1;

    for (unsigned i = 0; i < lay->n; i++)
        if (pg_id_off(lay->rec[i].id) + lay->rec[i].stored_len <= len)
            last = (int)i;
    return last;
}

static void test_file_cut_anywhere(void **state)
{
    struct layout lay;
    struct shot shot;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    make_log(&rig, &lay, 8, 2, false);
    shot = shot_take(&rig);
    for (size_t len = 0; len < shot.nbytes; len += 256) {
        int want = last_within(&lay, len);
        quire_status rc;

        shot_put(&rig, &shot, len);
        rc = rig_open(&rig, false);
        if (want >= 2) {
            CHECK_OK(rc);
            CHECK_EQ(rig.last.rev, want);
            rig_check(&rig);
            /* and the store goes on */
            rig_commit_ok(&rig, 100);
            rig_reopen(&rig, (quire_rev)want + 1);
            rig_check(&rig);
            /* back to what was committed at first */
            rig.seed[want + 1] = (uint64_t)want + 1;
            rig.rec_id[want + 1] = lay.rec[want + 1 < 9 ? want + 1 : 0].id;
            rig.rec_len[want + 1] =
                lay.rec[want + 1 < 9 ? want + 1 : 0].stored_len;
        } else {
            CHECK_STATUS(rc, len < 512 ? QUIRE_FORMAT : QUIRE_CORRUPT);
        }
        rig_close(&rig);
    }
    free(shot.bytes);
    rig_fini(&rig);
}

/* ---- damage to single sectors ---- */

enum {
    FLIP,
    ZEROS,
    NOISE,
    DAMAGES
};

static void damage(uint8_t *sector, int how, uint64_t *rand)
{
    if (how == FLIP)
        sector[test_rand_below(rand, 512)] ^= (uint8_t)(1u << test_rand_below(
                                                            rand, 8));
    else if (how == ZEROS)
        memset(sector, 0, 512);
    else
        for (unsigned i = 0; i < 512; i++)
            sector[i] = (uint8_t)test_rand(rand);
}

/* What opening must say when revision `rev`'s batch is not whole, in a log of
 * which the superblocks name `super`. */
static quire_status want_status(const struct layout *lay, unsigned super,
                                unsigned rev, bool nosync)
{
    (void)super;
    /* The last one cannot be told from a torn write. */
    return nosync || rev + 1 == lay->n ? QUIRE_OK : QUIRE_CORRUPT;
}

static void every_sector(bool nosync)
{
    const unsigned super = 3;
    uint64_t rand = test_seed();
    struct layout lay;
    struct shot shot;
    struct rig rig;
    unsigned ncorrupt = 0;
    unsigned ncut = 0;

    rig_init(&rig, false);
    make_log(&rig, &lay, 9, super, nosync);
    shot = shot_take(&rig);
    for (size_t at = 0; at + 512 <= shot.nbytes; at += 512) {
        for (int how = 0; how < DAMAGES; how++) {
            uint8_t saved[512];
            unsigned rev = 0; /* whose batch it is in */
            bool hurts;
            quire_status rc;

            memcpy(saved, shot.bytes + at, 512);
            damage(shot.bytes + at, how, &rand);
            while (rev < lay.n && at >= lay.rec[rev].batch_end)
                rev++;
            CHECK(rev < lay.n);
            /* Padding behind the record is not looked at. */
            hurts = memcmp(saved, shot.bytes + at, 512) != 0 &&
                    at < pg_id_off(lay.rec[rev].id) + lay.rec[rev].stored_len &&
                    !(how == FLIP &&
                      memcmp(saved, shot.bytes + at,
                             ra_min_u64(512, pg_id_off(lay.rec[rev].id) +
                                                 lay.rec[rev].stored_len -
                                                 at)) == 0);
            shot_put(&rig, &shot, shot.nbytes);
            rc = rig_open(&rig, at % 1024 == 0);
            if (at < 2 * 4096 || rev < super || !hurts) {
                /* the other slot, or nothing that recovery looks at */
                CHECK_OK(rc);
                CHECK_EQ(rig.last.rev, lay.n - 1);
            } else if (rev == super) {
                /* the record itself, or only the pages beside it */
                if (at + 512 > pg_id_off(lay.rec[rev].id) && rc != QUIRE_OK)
                    CHECK_STATUS(rc, QUIRE_CORRUPT);
                else
                    CHECK_OK(rc);
            } else {
                CHECK_STATUS(rc, want_status(&lay, super, rev, nosync));
                if (rc == QUIRE_OK) {
                    CHECK_EQ(rig.last.rev, rev - 1);
                    ncut++;
                } else {
                    char text[64];

                    snprintf(text, sizeof(text), "revision %u is missing", rev);
                    CHECK(strstr(quire_error_detail(), text) != NULL);
                    ncorrupt++;
                }
            }
            if (rc == QUIRE_OK && rev > super)
                rig_check(&rig);
            rig_close(&rig);
            memcpy(shot.bytes + at, saved, 512);
        }
    }
    CHECK(ncut > 0);
    CHECK_EQ(ncorrupt > 0, !nosync);
    free(shot.bytes);
    rig_fini(&rig);
}

static void test_damage_to_each_sector(void **state)
{
    (void)state;
    every_sector(false);
}

static void test_damage_to_each_unsynced_sector(void **state)
{
    (void)state;
    every_sector(true);
}

/* ---- proof of loss ---- */

/* The gap is at the end of one span, the proof in the next; and the other way
 * round: the lost batch is in the next span, the proof behind it. */
static void test_loss_is_proved_across_spans(void **state)
{
    const struct rig_plan plan = { .seed = 1, .npages = 60, .val_bytes = 900 };
    struct layout lay;
    struct shot shot;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (lay.n = 0; lay.n < 12; lay.n++) {
        lay.rec[lay.n] = rig.last;
        CHECK_OK(rig_commit(&rig, &plan));
    }
    rig_close(&rig);
    shot = shot_take(&rig);
    for (unsigned rev = 1; rev < lay.n; rev++) {
        uint8_t *p = shot.bytes + pg_id_off(lay.rec[rev].id);
        quire_status rc;

        p[30] ^= 1;
        shot_put(&rig, &shot, shot.nbytes);
        rc = rig_open(&rig, false);
        CHECK_STATUS(rc, QUIRE_CORRUPT);
        p[30] ^= 1;
    }
    free(shot.bytes);
    rig_fini(&rig);
}

/* Each batch is in a span of its own, so that the proof is two spans on; the
 * record of the damaged one leads there. */
static void test_loss_is_proved_by_way_of_its_record(void **state)
{
    const struct rig_plan plan = { .seed = 1, .npages = 100, .val_bytes = 900 };
    struct pf_record rec[6];
    struct shot shot;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 1; i < ARRAY_LEN(rec); i++) {
        CHECK_OK(rig_commit(&rig, &plan));
        rec[i] = rig.last;
        CHECK(i < 2 || rec[i].span.off == rec[i - 1].next_span.off);
    }
    rig_close(&rig);
    shot = shot_take(&rig);
    for (unsigned i = 1; i < ARRAY_LEN(rec); i++) {
        uint8_t *p = shot.bytes + rec[i].batch_off + 50000;

        *p ^= 1;
        shot_put(&rig, &shot, shot.nbytes);
        CHECK_STATUS(rig_open(&rig, false),
                     i + 1 < ARRAY_LEN(rec) ? QUIRE_CORRUPT : QUIRE_OK);
        rig_close(&rig);
        *p ^= 1;
    }
    free(shot.bytes);
    rig_fini(&rig);
}

/* A superblock that names a revision beyond the end proves it too: here the
 * newest slot is damaged, and so is the log before its revision. */
static void test_older_superblock_finds_its_way(void **state)
{
    struct rig rig;
    struct shot shot;
    struct pf_record rec[7];

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 1; i <= 6; i++) {
        rig_commit_ok(&rig, i);
        rec[i] = rig.last;
        if (i == 2 || i == 5)
            CHECK_OK(pf_super_write(rig.file, &rig.last));
    }
    rig_close(&rig);
    shot = shot_take(&rig);

    /* slot A has revision 2 (sequence 3), slot B revision 5 (sequence 4) */
    shot.bytes[4096 + 20] ^= 1;
    shot_put(&rig, &shot, shot.nbytes);
    CHECK_OK(rig_open(&rig, false));
    CHECK_EQ(rig.first, 2);
    CHECK_EQ(rig.last.rev, 6);
    rig_check(&rig);
    rig_close(&rig);
    shot.bytes[4096 + 20] ^= 1;

    /* The slots' order is turned round: B is the older one, and names what A's
     * log does not reach. */
    {
        struct pf_super super;

        CHECK_EQ(pf_super_decode(shot.bytes, &super), PF_SUPER_VALID);
        CHECK_EQ(super.rev, 2);
        super.seq = 9;
        pf_super_encode(&super, shot.bytes);
    }
    shot_put(&rig, &shot, shot.nbytes);
    CHECK_OK(rig_open(&rig, false));
    CHECK_EQ(rig.last.rev, 6);
    rig_close(&rig);
    memset(shot.bytes + rec[4].batch_off, 0, shot.nbytes - rec[4].batch_off);
    shot_put(&rig, &shot, shot.nbytes);
    CHECK_STATUS(rig_open(&rig, false), QUIRE_CORRUPT);
    CHECK(strstr(quire_error_detail(), "revision 4 is missing") != NULL);
    CHECK(strstr(quire_error_detail(), "names revision 5") != NULL);
    free(shot.bytes);
    rig_fini(&rig);
}

/*
 * What lies behind the end from earlier writers is no proof, and is not taken
 * for a continuation: tails are cut and written over, again and again, with the
 * incarnation raised each time.
 */
static void test_stale_tails(void **state)
{
    uint64_t rand = test_seed();
    uint64_t incarnation = 0;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    for (unsigned round = 0; round < 60; round++) {
        struct pf_record rec[8];
        unsigned n = 2 + (unsigned)test_rand_below(&rand, 5);
        unsigned keep;
        quire_rev base = rig.last.rev;
        size_t nbytes;
        uint8_t *bytes;

        CHECK(rig.file->incarnation > incarnation);
        incarnation = rig.file->incarnation;
        for (unsigned i = 0; i < n; i++) {
            const struct rig_plan plan = {
                .seed = 100 * round + i,
                .npages = (unsigned)test_rand_below(&rand, 4),
                .val_bytes = test_rand_below(&rand, 500),
                .nosync = true,
            };

            CHECK_OK(rig_commit(&rig, &plan));
            rec[i] = rig.last;
        }
        rig_close(&rig);
        /* A crash leaves all but one of them. */
        keep = (unsigned)test_rand_below(&rand, n);
        bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        bytes[pg_id_off(rec[keep].id) + 100] ^= 4;
        CHECK_OK(rig_open(&rig, false));
        CHECK_EQ(rig.last.rev, base + keep);
        rig_check(&rig);
        if (test_rand_below(&rand, 2) == 0)
            CHECK_OK(pf_super_write(rig.file, &rig.last));
    }
    rig_fini(&rig);
}

/* A whole batch with the right revision that names another predecessor is not
 * taken for a continuation. */
static void test_another_predecessor(void **state)
{
    struct rig rigs[2];
    struct pf_record rec;
    uint8_t *bytes[2];
    size_t nbytes;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        rig_init(&rigs[i], false);
        rig_start(&rigs[i]);
        rig_commit_ok(&rigs[i], 1);
        rig_commit_ok(&rigs[i], 2 + i);
        rec = rigs[i].last;
        rig_commit_ok(&rigs[i], 4);
        rig_close(&rigs[i]);
        bytes[i] = mem_disk_bytes(rigs[i].disk, RIG_PATH, &nbytes);
    }
    CHECK(memcmp(bytes[0] + rec.batch_off, bytes[1] + rec.batch_off, 4096) !=
          0);
    memcpy(bytes[0] + rec.batch_off, bytes[1] + rec.batch_off,
           rec.batch_end - rec.batch_off);
    CHECK_OK(rig_open(&rigs[0], false));
    CHECK_EQ(rigs[0].last.rev, 2);
    for (unsigned i = 0; i < 2; i++)
        rig_fini(&rigs[i]);
}

/* ---- the tail is made durable ---- */

/* Every batch that is not known durable is written again, byte for byte, and
 * synced, before recovery is done; what is known durable is not. */
static void test_tail_is_written_anew(void **state)
{
    static const struct {
        const char *name;
        unsigned nsync;     /* commits with a sync, first */
        unsigned nnosync;   /* then without */
        bool super;         /* of the last durable one */
        unsigned rewritten; /* batches */
    } cases[] = {
        { "nothing but the superblock's record", 0, 0, false, 0 },
        { "the last commit, acknowledged or not", 5, 0, false, 1 },
        { "named by a superblock", 5, 0, true, 0 },
        { "and three without a sync", 5, 3, false, 3 },
        { "three behind a superblock", 5, 3, true, 3 },
        { "none synced", 0, 4, false, 4 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig rig;
        struct shot shot;
        uint64_t writes;
        uint64_t syncs;
        size_t nbytes;

        CHECK_CASE(cases[i].name);
        rig_init(&rig, false);
        rig_start(&rig);
        for (unsigned k = 0; k < cases[i].nsync; k++)
            rig_commit_ok(&rig, k + 1);
        if (cases[i].super)
            CHECK_OK(pf_super_write(rig.file, &rig.last));
        for (unsigned k = 0; k < cases[i].nnosync; k++) {
            const struct rig_plan plan = {
                .seed = 50 + k, .npages = 1, .val_bytes = 9, .nosync = true
            };

            CHECK_OK(rig_commit(&rig, &plan));
        }
        rig_close(&rig);
        shot = shot_take(&rig);
        writes = rig.fault.calls[FAULT_PWRITEV];
        syncs = rig.fault.calls[FAULT_SYNC];
        CHECK_OK(rig_open(&rig, false));
        CHECK_EQ(rig.fault.calls[FAULT_PWRITEV] - writes, cases[i].rewritten);
        CHECK_EQ(rig.fault.calls[FAULT_SYNC] - syncs, cases[i].rewritten != 0);
        rig_check(&rig);
        CHECK_MEM_EQ(mem_disk_bytes(rig.disk, RIG_PATH, &nbytes), shot.bytes,
                     shot.nbytes);
        CHECK_EQ(nbytes, shot.nbytes);
        free(shot.bytes);
        rig_fini(&rig);
    }
}

/* Batches longer than the window, in several spans. */
static void test_long_batches(void **state)
{
    const struct rig_plan plan = {
        .seed = 3, .npages = 90, .val_bytes = 1000, .nosync = true
    };
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 0; i < 8; i++)
        CHECK_OK(rig_commit(&rig, &plan));
    rig_reopen(&rig, 8);
    rig_check(&rig);
    rig_reopen(&rig, 8);
    rig_fini(&rig);
}

/* A failing callback ends the recovery. */
static quire_status refuse(void *arg, const struct pf_record *rec)
{
    return rec->rev == *(quire_rev *)arg ? QUIRE_TOOBIG : QUIRE_OK;
}

static void test_callback_ends_recovery(void **state)
{
    struct pf_record last;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 1; i <= 3; i++)
        rig_commit_ok(&rig, i);
    rig_close(&rig);
    for (quire_rev rev = 0; rev <= 4; rev++) {
        CHECK_OK(pf_file_open(&rig.env, RIG_PATH, false, &rig.file));
        CHECK_STATUS(pf_file_recover(rig.file, refuse, &rev, &last),
                     rev <= 3 ? QUIRE_TOOBIG : QUIRE_OK);
        rig_close(&rig);
    }
    rig_fini(&rig);
}

/* Unreadable sectors are an error, not the end of the log. */
static void test_unreadable_is_not_the_end(void **state)
{
    unsigned nrefused = 0;
    struct rig rig;
    quire_status rc;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 1; i <= 4; i++)
        rig_commit_ok(&rig, i);
    rig_close(&rig);
    for (uint64_t nth = 1;; nth++) {
        fault_arm(&rig.fault, FAULT_BIT(FAULT_PREAD), nth, EIO, FAULT_ONCE);
        rc = rig_open(&rig, false);
        if (rig.fault.fired == 0)
            break;
        if (rc == QUIRE_OK) { /* it only costs the second handle */
            CHECK_EQ(rig.file->past.handle, NULL);
            CHECK_EQ(rig.last.rev, 4);
            rig_close(&rig);
            continue;
        }
        CHECK_STATUS(rc, QUIRE_IO);
        nrefused++;
    }
    CHECK_OK(rc);
    CHECK_EQ(rig.last.rev, 4);
    CHECK(nrefused >= 4);
    fault_heal(&rig.fault);
    rig_fini(&rig);
}

/* Random damage of many sectors: an answer, never a crash; and whatever opens
 * says only what was committed. */
static void test_random_damage(void **state)
{
    uint64_t rand = test_seed();
    uint64_t nrounds = test_rounds(2000);
    struct layout lay;
    struct shot shot;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    make_log(&rig, &lay, 9, 2, true);
    shot = shot_take(&rig);
    for (uint64_t i = 0; i < nrounds; i++) {
        size_t nbytes;
        uint8_t *bytes;
        unsigned n = 1 + (unsigned)test_rand_below(&rand, 6);
        quire_status rc;

        shot_put(&rig, &shot, shot.nbytes);
        bytes = mem_disk_bytes(rig.disk, RIG_PATH, &nbytes);
        for (unsigned k = 0; k < n; k++) {
            size_t to = test_rand_below(&rand, nbytes / 512) * 512;
            size_t from = test_rand_below(&rand, nbytes / 512) * 512;

            if (test_rand_below(&rand, 2) == 0)
                memmove(bytes + to, bytes + from, 512);
            else
                damage(bytes + to, (int)test_rand_below(&rand, DAMAGES), &rand);
        }
        rc = rig_open(&rig, test_rand_below(&rand, 2) == 0);
        if (rc == QUIRE_OK) {
            CHECK(rig.last.rev < lay.n);
            CHECK_EQ(rig.last.sum, lay.rec[rig.last.rev].sum);
        } else {
            CHECK(rc == QUIRE_CORRUPT || rc == QUIRE_FORMAT);
        }
        rig_close(&rig);
    }
    free(shot.bytes);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_cut_anywhere),
        cmocka_unit_test(test_damage_to_each_sector),
        cmocka_unit_test(test_damage_to_each_unsynced_sector),
        cmocka_unit_test(test_loss_is_proved_across_spans),
        cmocka_unit_test(test_loss_is_proved_by_way_of_its_record),
        cmocka_unit_test(test_older_superblock_finds_its_way),
        cmocka_unit_test(test_stale_tails),
        cmocka_unit_test(test_another_predecessor),
        cmocka_unit_test(test_tail_is_written_anew),
        cmocka_unit_test(test_long_batches),
        cmocka_unit_test(test_callback_ends_recovery),
        cmocka_unit_test(test_unreadable_is_not_the_end),
        cmocka_unit_test(test_random_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
