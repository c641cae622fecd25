/*
 * test_crash_layers.c - the recorder and the builder of crash states are
 * themselves tested, with programs so small that the states which may be, and
 * those which may not, can be told by hand.
 */
#include "tests/lib_crash.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define SECTORS 16 /* most sectors of the toy's file */

/* The toy: a file of sectors that are filled with one letter each. */
struct toy {
    struct mem_disk *disk;
    struct crash_rec *rec;
    const struct quire_io *io;
    void *file;
};

static void toy_begin(struct toy *t)
{
    t->disk = mem_disk_create();
    t->rec = crash_rec_create(mem_disk_io(t->disk));
    t->io = crash_rec_io(t->rec);
    t->file = NULL;
}

static void toy_end(struct toy *t)
{
    if (t->file != NULL)
        t->io->close(t->io->ctx, t->file);
    crash_rec_destroy(t->rec);
    mem_disk_destroy(t->disk);
}

static void toy_open(struct toy *t, unsigned flags)
{
    CHECK_EQ(t->io->open(t->io->ctx, "f", flags, 0644, &t->file), 0);
}

static void toy_sync(struct toy *t)
{
    CHECK_EQ(t->io->sync(t->io->ctx, t->file), 0);
}

/* Write `letters` from sector `at` on, one sector each, in one write. */
static void toy_write(struct toy *t, unsigned at, const char *letters)
{
    static uint8_t buf[SECTORS * CRASH_SECTOR];
    struct iovec iov = { buf, strlen(letters) * CRASH_SECTOR };

    for (size_t i = 0; letters[i] != '\0'; i++)
        memset(buf + i * CRASH_SECTOR, letters[i], CRASH_SECTOR);
    CHECK_EQ(t->io->pwritev(t->io->ctx, t->file, &iov, 1,
                            (uint64_t)at * CRASH_SECTOR),
             (ssize_t)iov.iov_len);
}

/* What the states of a plan looked like: each file as a word of letters, '.'
 * for zeros, '?' for a mixture; a set of words. */
struct seen {
    char word[512][SECTORS + 1];
    unsigned n;
    unsigned states;
    unsigned none; /* states without the file */
    unsigned killed;
    int64_t marks[CRASH_MARKS];
};

static void spell(struct mem_disk *disk, char word[SECTORS + 1])
{
    size_t len = 0;
    const uint8_t *p = mem_disk_bytes(disk, "f", &len);
    size_t n = 0;

    for (size_t off = 0; off < len; off += CRASH_SECTOR) {
        char c = p[off] == 0 ? '.' : (char)p[off];

        for (size_t i = 1; i < CRASH_SECTOR && off + i < len; i++)
            if (p[off + i] != p[off])
                c = '?';
        word[n++] = c;
    }
    word[n] = '\0';
}

static void see(void *arg, struct crash_state *st)
{
    struct seen *s = arg;
    char word[SECTORS + 1];
    size_t len;

    s->states++;
    s->killed += st->killed;
    memcpy(s->marks, st->mark, sizeof(s->marks));
    if (mem_disk_bytes(st->disk, "f", &len) == NULL) {
        s->none++;
        return;
    }
    spell(st->disk, word);
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(s->word[i], word) == 0)
            return;
    CHECK(s->n < ARRAY_LEN(s->word));
    strcpy(s->word[s->n++], word);
}

static bool saw(const struct seen *s, const char *word)
{
    for (unsigned i = 0; i < s->n; i++)
        if (strcmp(s->word[i], word) == 0)
            return true;
    return false;
}

static void look(struct toy *t, struct seen *s, uint64_t nstates,
                 bool exhaustive, enum crash_lie lie)
{
    struct crash_plan plan = { .seed = test_seed(),
                               .nstates = nstates,
                               .exhaustive = exhaustive,
                               .lie = lie };
    uint64_t n;

    memset(s, 0, sizeof(*s));
    for (int i = 0; i < CRASH_MARKS; i++)
        s->marks[i] = -1;
    n = crash_states(t->rec, &plan, see, s);
    CHECK_EQ(n, s->states);
    CHECK(s->states >= nstates);
}

/* What a sync covers stays; what comes after may be there in any part. */
static void test_synced_sectors_stay(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "AAAA");
    toy_sync(&t);
    toy_write(&t, 1, "BB");
    toy_write(&t, 3, "CD");
    look(&t, &s, 2000, false, CRASH_HONEST);
    CHECK(saw(&s, "")); /* before the sync */
    CHECK(saw(&s, "AAAA"));
    CHECK(saw(&s, "ABBC"));
    CHECK(saw(&s, "ABBCD"));
    CHECK(saw(&s, "AABA"));  /* torn */
    CHECK(saw(&s, "AAACD")); /* the last write alone */
    CHECK(saw(&s, "AAA?D") || saw(&s, "A?BCD") || saw(&s, "AB?CD"));
    CHECK(saw(&s, "A.BCD") || saw(&s, "AB.CD") || saw(&s, "ABB.D"));
    for (unsigned i = 0; i < s.n; i++) {
        const char *w = s.word[i];

        if (strchr(w, 'C') != NULL || strchr(w, 'D') != NULL)
            CHECK(w[0] == 'A'); /* these were written after the sync */
        CHECK(strlen(w) <= 5);
    }
    toy_end(&t);
}

/* All subsets of few sectors, each once, and nothing else. */
static void test_all_subsets_of_few_sectors(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "AAAAAA");
    toy_sync(&t);
    toy_write(&t, 0, "B");
    toy_write(&t, 2, "BAB"); /* the middle one does not change */
    toy_sync(&t);
    look(&t, &s, 0, true, CRASH_HONEST);
    /* 2^6 sets of the first six, which end at length 0 or 6; 2^3 of these */
    CHECK_EQ(s.states, 64 + 8);
    CHECK(saw(&s, "AAAAAA"));
    CHECK(saw(&s, "BAAAAA"));
    CHECK(saw(&s, "AABABA"));
    CHECK(saw(&s, "BABABA"));
    CHECK(saw(&s, ".AA.AA"));
    toy_end(&t);
}

/* Of a sector that was written twice, any version may be there. */
static void test_versions_of_a_sector(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "AA");
    toy_sync(&t);
    toy_write(&t, 0, "BB");
    toy_write(&t, 0, "CC");
    look(&t, &s, 2000, false, CRASH_HONEST);
    CHECK(saw(&s, "AC") && saw(&s, "BC") && saw(&s, "CB") && saw(&s, "CA"));
    CHECK(saw(&s, "AB") && saw(&s, "BA"));
    toy_end(&t);
}

/* Bytes that a write does not change are never damaged by it. */
static void test_rewriting_is_harmless(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "AAAA");
    toy_sync(&t);
    crash_mark(t.rec, CRASH_ACKED, 1);
    toy_write(&t, 0, "AAAA");
    look(&t, &s, 500, false, CRASH_HONEST);
    CHECK(saw(&s, "AAAA"));
    look(&t, &s, 0, true, CRASH_HONEST);
    CHECK_EQ(s.states, 16); /* the rewriting brings nothing into question */
    toy_end(&t);
}

/* A file's length may be any that it has had. */
static void test_lengths(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "AAAA");
    toy_sync(&t);
    crash_mark(t.rec, CRASH_ACKED, 1);
    CHECK_EQ(t.io->truncate(t.io->ctx, t.file, 2 * CRASH_SECTOR), 0);
    CHECK_EQ(t.io->truncate(t.io->ctx, t.file, 6 * CRASH_SECTOR), 0);
    look(&t, &s, 2000, false, CRASH_HONEST);
    CHECK(saw(&s, "AAAA"));
    CHECK(saw(&s, "AA"));
    CHECK(saw(&s, "AA...."));
    CHECK(saw(&s, "AAAA.."));
    for (unsigned i = 0; i < s.n; i++)
        CHECK(strlen(s.word[i]) != 3 && strlen(s.word[i]) != 5);
    toy_end(&t);
}

/* A new file is there for certain only when its directory was synced. */
static void test_names(void **state)
{
    struct seen s;
    struct toy t;

    (void)state;
    toy_begin(&t);
    CHECK_EQ(t.io->open(t.io->ctx, "new", QUIRE_IO_CREATE, 0644, &t.file), 0);
    toy_write(&t, 0, "AB");
    toy_sync(&t);
    CHECK_EQ(t.io->rename(t.io->ctx, "new", "f"), 0);
    crash_mark(t.rec, CRASH_TRIED, 1);
    CHECK_EQ(t.io->sync_dir(t.io->ctx, "f"), 0);
    crash_mark(t.rec, CRASH_ACKED, 1);
    look(&t, &s, 500, false, CRASH_HONEST);
    CHECK(s.none > 0 && s.none < s.states);
    CHECK_EQ(s.n, 1); /* the name comes after the bytes */
    CHECK(saw(&s, "AB"));
    CHECK(s.killed > 0);
    toy_end(&t);

    /* the same without the sync of the file: it may be empty */
    toy_begin(&t);
    CHECK_EQ(t.io->open(t.io->ctx, "new", QUIRE_IO_CREATE, 0644, &t.file), 0);
    toy_write(&t, 0, "AB");
    CHECK_EQ(t.io->rename(t.io->ctx, "new", "f"), 0);
    CHECK_EQ(t.io->sync_dir(t.io->ctx, "f"), 0);
    look(&t, &s, 500, false, CRASH_HONEST);
    CHECK(saw(&s, "") && saw(&s, "AB"));
    toy_end(&t);
}

/* Under a lie the states are what the lie would make of them. */
static void test_lies(void **state)
{
    struct seen s;
    struct toy t;
    bool early = false;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "", 0);
    toy_open(&t, 0);
    toy_write(&t, 0, "D"); /* data */
    toy_sync(&t);
    toy_write(&t, 1, "R"); /* the record of it */
    toy_sync(&t);
    crash_mark(t.rec, CRASH_ACKED, 1);
    look(&t, &s, 500, false, CRASH_HONEST);
    for (unsigned i = 0; i < s.n; i++)
        CHECK(s.word[i][1] != 'R' || s.word[i][0] == 'D');
    look(&t, &s, 500, false, CRASH_LIE_EARLY);
    for (unsigned i = 0; i < s.n; i++)
        early = early || strcmp(s.word[i], ".R") == 0;
    CHECK(early);
    look(&t, &s, 500, false, CRASH_LIE_ALL);
    CHECK(saw(&s, "") && saw(&s, ".R") && saw(&s, "DR"));
    CHECK_EQ(crash_rec_figures(t.rec).syncs, 2);
    CHECK_EQ(crash_rec_figures(t.rec).writes, 2);
    toy_end(&t);
}

/* The marks are those set before the crash, and the same seed gives the same
 * states. */
static void test_marks_and_seeds(void **state)
{
    struct seen a;
    struct seen b;
    struct toy t;

    (void)state;
    toy_begin(&t);
    mem_disk_put(t.disk, "f", "zz", 2);
    toy_open(&t, 0);
    for (unsigned i = 0; i < 10; i++) {
        crash_mark(t.rec, CRASH_TRIED, i);
        toy_write(&t, i, "X");
        toy_sync(&t);
        crash_mark(t.rec, CRASH_ACKED, i);
    }
    look(&t, &a, 300, false, CRASH_HONEST);
    look(&t, &b, 300, false, CRASH_HONEST);
    CHECK_EQ(a.n, b.n);
    CHECK_MEM_EQ(a.word, b.word, sizeof(a.word));
    CHECK(a.marks[CRASH_TRIED] >= a.marks[CRASH_ACKED]);
    CHECK_EQ(a.marks[CRASH_RETURNED], -1);
    toy_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_synced_sectors_stay),
        cmocka_unit_test(test_all_subsets_of_few_sectors),
        cmocka_unit_test(test_versions_of_a_sector),
        cmocka_unit_test(test_rewriting_is_harmless),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_marks_and_seeds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
