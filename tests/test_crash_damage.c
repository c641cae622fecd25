/*
 * test_crash_damage.c - damaged files: QUIRE_CORRUPT with an address, or the
 * right data.
 *
 * Small stores of several revisions are made, one for each way of writing. Then
 * each byte of such a file is flipped, each 512-byte range zeroed, written over
 * by its neighbour, exchanged with another, and the file is cut at each length;
 * and each time the store is opened, every revision read and compared with the
 * model, and verified. What must hold:
 *
 *   - a call says QUIRE_CORRUPT, and where, or its answer is right;
 *   - the newest revision is the one it was. Not so where the last batch is hit,
 *     which cannot be told from a torn one (pages/file/README.md): then it is the
 *     one before; or where the file is cut, or the last batch and another are
 *     hit at once: then it is an earlier one. Its contents are right;
 *   - if any revision cannot be read, quire_verify() finds a fault;
 *   - the memory stays within the budget, and everything comes back.
 *
 * The same damage is done once more with all checksums out of force
 * (alloc/broken.h), as if it had been meant: then any answer will do, but no
 * crash, no leak and no excess. QUIRE_CRASH=long does all of this (of the flips
 * of the second kind each seventh), otherwise it is sampled.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdatomic.h>

#include "alloc/broken.h"
#include "pages/file/pf_impl.h"
#include "tests/frozen.h"
#include "tests/lib_crash.h"
#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"
#include "txlog/tx_impl.h"

#define DAMAGE_PATH "damaged"

struct layout {
    const char *name;
    uint32_t page_bytes;
    quire_versioning versioning;
    uint32_t window;
    unsigned commits;
    unsigned puts;   /* of a commit */
    size_t large;    /* bytes of a value that compresses well; 0: none */
    unsigned ahead;  /* records of a transaction larger than its share */
    unsigned reopen; /* after each so many commits; 0: never */
    unsigned super;  /* a superblock after each so many; 0: when it is due */
    unsigned weight; /* its share of the sample */
};

static const struct layout layouts[] = {
    { "adaptive", 4096, QUIRE_VERSIONING_ADAPTIVE, 4, 9, 12, 6000, 0, 4, 0, 8 },
    { "full pages", 4096, QUIRE_VERSIONING_FULL, 2, 6, 20, 0, 0, 3, 0, 6 },
    { "increments", 4096, QUIRE_VERSIONING_INCREMENTAL, 16, 14, 6, 1200, 0, 0,
      0, 8 },
    { "large values", 4096, QUIRE_VERSIONING_ADAPTIVE, 4, 4, 3, 700000, 0, 0, 0,
      8 },
    { "written ahead", 16384, QUIRE_VERSIONING_ADAPTIVE, 4, 3, 3, 0, 250, 0, 0,
      8 },
    { "superblocks", 4096, QUIRE_VERSIONING_ADAPTIVE, 4, 20, 3, 900, 0, 7, 4,
      8 },
    { "differential", 4096, QUIRE_VERSIONING_DIFFERENTIAL, 6, 14, 6, 900, 0, 5,
      0, 6 },
    { "sliding", 4096, QUIRE_VERSIONING_SLIDING, 4, 14, 6, 900, 0, 5, 0, 6 },
};

/* A store that was made, and what is known of it. */
struct made {
    const struct layout *lay;
    uint8_t *bytes; /* `len` of them */
    size_t len;
    struct twin twin;
    quire_rev newest;
    uint64_t last_off; /* bytes: where the last batch begins */
    struct quire_options opt;
};

enum damage_kind {
    DAMAGE_FLIP,   /* a byte, by a mask */
    DAMAGE_ZERO,   /* a range */
    DAMAGE_DOUBLE, /* a range is a copy of the one before */
    DAMAGE_SWAP,   /* two ranges */
    DAMAGE_CUT,    /* at a length */
    DAMAGES
};

static const char *const damage_names[DAMAGES] = { "flip", "zero", "double",
                                                   "swap", "cut" };

struct damage {
    enum damage_kind kind;
    uint64_t at;    /* bytes */
    uint64_t other; /* SWAP: the other range; FLIP: the mask */
};

struct tally {
    uint64_t states[DAMAGES];
    uint64_t refused; /* did not open */
    uint64_t cut;     /* opened at an earlier revision */
    uint64_t unread;  /* a revision could not be read */
    uint64_t found;   /* by verify */
    uint64_t right;   /* everything as it was */
    uint64_t wrong;   /* what must not be */
    char first[1024]; /* of those */
};

/* ---- making ---- */

/* One transaction: puts, a delete, now and then a large value. */
static void make_commit(struct made *m, unsigned i, uint64_t *rand)
{
    const struct layout *lay = m->lay;
    const struct quire_val meta = { &i, sizeof(i) };
    struct quire_stat st = { .size = sizeof(st) };

    if (lay->ahead > 0) /* a share that little data is more than */
        m->twin.db->log_limit = (uint64_t)256 << 10;
    CHECK_OK(twin_begin(&m->twin));
    CHECK_OK(twin_tree_create(&m->twin, "side"));
    for (unsigned k = 0; k < lay->puts; k++) {
        const char *tree = k % 4 == 3 ? "side" : NULL;
        uint8_t key[GEN_KEY_MAX];
        struct quire_val val = { key, 0 };

        val.size = gen_key(rand, (enum gen_shape)(k % 4), 60, 64, key);
        CHECK_OK(twin_put_gen(&m->twin, tree, key, val.size,
                              test_rand_below(rand, 300), rand));
        if (k % 5 == 4)
            (void)!twin_del(&m->twin, tree, &val);
    }
    if (lay->large > 0 && i % 2 == 0) {
        char *text = malloc(lay->large);
        struct quire_val key = { "large", 5 };
        struct quire_val val = { text, lay->large - i };

        CHECK(text != NULL);
        memset(text, 'a' + (int)i, lay->large);
        CHECK_OK(twin_put(&m->twin, NULL, &key, &val, 0));
        free(text);
    }
    if (i == 2)
        CHECK_OK(twin_set_meta(&m->twin, "side", &meta));
    for (unsigned k = 0; i == 2 && k < lay->ahead; k++) {
        char text[3000];
        struct quire_val key = { text, 12 };
        struct quire_val val = { text, sizeof(text) };

        memset(text, 'x', sizeof(text));
        snprintf(text, sizeof(text), "ahead%07u", k);
        CHECK_OK(twin_put(&m->twin, NULL, &key, &val, 0));
    }
    /* As if the log were long: this one brings the index up to date, and when
     * it is durable a superblock names it. */
    if (lay->super > 0 && i % lay->super == 0)
        pf_note(&m->twin.db->file->log_bytes, TX_LOG_DUE);
    CHECK_OK(quire_stat_get(m->twin.db, &st));
    if (i == 2)
        CHECK_EQ(st.pages_ahead > 0, lay->ahead > 0 || lay->large > 100000);
    CHECK_OK(twin_commit(&m->twin, QUIRE_EMPTY));
}

static void make(struct made *m, const struct layout *lay, uint64_t seed)
{
    struct mem_disk *disk = mem_disk_create();
    const uint8_t *bytes;

    memset(m, 0, sizeof(*m));
    m->lay = lay;
    m->opt = (struct quire_options){
        .size = sizeof(m->opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = lay->page_bytes,
        .versioning = lay->versioning,
        .window = lay->window,
        .io = mem_disk_io(disk),
        .sys = mem_sys_kept(),
    };
    twin_init(&m->twin);
    CHECK_OK(twin_open(&m->twin, DAMAGE_PATH, &m->opt));
    for (unsigned i = 1; i <= lay->commits; i++) {
        make_commit(m, i, &seed);
        if (lay->reopen > 0 && i % lay->reopen == 0) {
            CHECK_OK(twin_close(&m->twin));
            CHECK_OK(twin_open(&m->twin, DAMAGE_PATH, &m->opt));
        }
    }
    m->newest = m->twin.published;
    m->last_off = m->twin.db->last.batch_off;
    CHECK_OK(twin_close(&m->twin));
    bytes = mem_disk_bytes(disk, DAMAGE_PATH, &m->len);
    m->bytes = malloc(m->len);
    CHECK(m->bytes != NULL);
    memcpy(m->bytes, bytes, m->len);
    mem_disk_destroy(disk);
    m->opt.flags |= QUIRE_NOCREATE;
}

static void made_free(struct made *m)
{
    twin_fini(&m->twin);
    free(m->bytes);
}

/* ---- damaging ---- */

/* Do it to `bytes`, a copy of the store of *len bytes. false: nothing has
 * changed. *end: beyond the last byte that has. */
static bool damage_do(const struct made *m, const struct damage *d,
                      uint8_t *bytes, size_t *len, uint64_t *end)
{
    uint8_t range[CRASH_SECTOR];

    *end = d->at + CRASH_SECTOR;
    switch (d->kind) {
    case DAMAGE_FLIP:
        bytes[d->at] ^= (uint8_t)d->other;
        *end = d->at + 1;
        return true;
    case DAMAGE_ZERO:
        memset(bytes + d->at, 0, CRASH_SECTOR);
        break;
    case DAMAGE_DOUBLE:
        memcpy(bytes + d->at, bytes + d->at - CRASH_SECTOR, CRASH_SECTOR);
        break;
    case DAMAGE_SWAP:
        memcpy(range, bytes + d->at, CRASH_SECTOR);
        memcpy(bytes + d->at, bytes + d->other, CRASH_SECTOR);
        memcpy(bytes + d->other, range, CRASH_SECTOR);
        if (d->other > d->at)
            *end = d->other + CRASH_SECTOR;
        break;
    default:
        *len = (size_t)d->at;
        *end = m->len;
        return d->at < m->len;
    }
    return memcmp(bytes, m->bytes, m->len) != 0;
}

/* ---- judging ---- */

struct tell {
    uint64_t faults;
    uint64_t homeless; /* faults without an address */
    char text[256];    /* of the first of those */
};

static void tell_fault(void *arg, const struct quire_fault *f)
{
    struct tell *t = arg;

    t->faults++;
    if (f->file_off == 0 && t->homeless++ == 0)
        snprintf(t->text, sizeof(t->text), "revision %" PRIu64 ": %s", f->rev,
                 f->text);
}

/* The error detail names a place: a number stands in it. */
static bool has_address(const char *detail)
{
    while (*detail != '\0' && !isdigit((unsigned char)*detail))
        detail++;
    return *detail != '\0';
}

static void wrong(const struct made *m, const struct damage *d,
                  struct tally *tally, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void wrong(const struct made *m, const struct damage *d,
                  struct tally *tally, const char *fmt, ...)
{
    char text[MODEL_WHY_CAP];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (tally->wrong++ == 0)
        snprintf(tally->first, sizeof(tally->first),
                 "store \"%s\", %s at %" PRIu64 " (%" PRIu64 "): %s",
                 m->lay->name, damage_names[d->kind], d->at, d->other, text);
}

/* Read every revision. Returns whether one could not be read. */
static bool judge_reading(const struct made *m, const struct damage *d,
                          struct quire *db, quire_rev newest,
                          struct tally *tally)
{
    bool unread = false;

    for (quire_rev rev = 0; rev <= newest; rev++) {
        char why[MODEL_WHY_CAP];
        quire_status failed;

        if (model_same_or(m->twin.model, db, rev, MODEL_FORWARD, &failed, why))
            continue;
        if (failed != QUIRE_CORRUPT)
            wrong(m, d, tally, "%s", why);
        else if (!has_address(quire_error_detail()))
            wrong(m, d, tally, "no address: %s", why);
        unread = true;
    }
    return unread;
}

static void judge_open(const struct made *m, const struct damage *d,
                       struct quire *db, uint64_t end, struct tally *tally)
{
    struct tell tell = { 0 };
    quire_rev newest = 0;
    quire_rev least;
    quire_status rc;
    bool unread;
    bool cut;

    CHECK_OK(quire_rev_newest(db, &newest));
    /* Two places that are hit, one of them in the last batch, are also what no
     * record can tell. */
    cut = d->kind == DAMAGE_CUT ||
          (d->kind == DAMAGE_SWAP && end > m->last_off);
    least = cut ? 0 : end > m->last_off ? m->newest - 1 : m->newest;
    if (newest > m->newest || newest < least)
        wrong(m, d, tally, "opens at revision %" PRIu64 " of %" PRIu64, newest,
              m->newest);
    if (newest > m->newest)
        return;
    unread = judge_reading(m, d, db, newest, tally);
    rc = quire_verify(db, tell_fault, &tell, NULL);
    if (rc != (tell.faults > 0 ? QUIRE_CORRUPT : QUIRE_OK))
        wrong(m, d, tally, "verify: %d with %" PRIu64 " faults", (int)rc,
              tell.faults);
    if (unread && tell.faults == 0)
        wrong(m, d, tally, "verify does not see what cannot be read");
    if (tell.homeless > 0)
        wrong(m, d, tally, "a fault without an address: %s", tell.text);
    tally->unread += unread;
    tally->found += tell.faults > 0;
    tally->cut += newest < m->newest;
    tally->right += newest == m->newest && !unread;
}

static void judge_close(const struct made *m, const struct damage *d,
                        struct quire *db, struct tally *tally)
{
    struct quire_close_report report = { .size = sizeof(report) };
    quire_status rc = quire_close_report(db, &report);

    if (rc != QUIRE_OK)
        wrong(m, d, tally, "close: %d", (int)rc);
    if (report.pinned_pages + report.segments_in_use + report.intents != 0)
        wrong(m, d, tally, "something is held at closing");
    if (report.resident_peak_bytes > m->opt.budget_bytes)
        wrong(m, d, tally, "over budget: %" PRIu64, report.resident_peak_bytes);
}

/* Damage the store, open it, look at all of it. */
static void judge_damage(const struct made *m, const struct damage *d,
                         bool rdonly, struct tally *tally)
{
    struct quire_options opt = m->opt;
    struct mem_disk *disk = mem_disk_create();
    struct quire *db = NULL;
    size_t len = m->len;
    uint64_t end;
    uint8_t *bytes;
    quire_status rc;

    mem_disk_put(disk, DAMAGE_PATH, m->bytes, m->len);
    bytes = mem_disk_bytes(disk, DAMAGE_PATH, &len);
    if (!damage_do(m, d, bytes, &len, &end))
        goto out;
    if (len < m->len) { /* the bytes are the disk's own: cut a copy of them */
        mem_disk_destroy(disk);
        disk = mem_disk_create();
        mem_disk_put(disk, DAMAGE_PATH, m->bytes, len);
    }
    tally->states[d->kind]++;
    opt.io = mem_disk_io(disk);
    if (rdonly)
        opt.flags |= QUIRE_RDONLY;
    rc = quire_open(DAMAGE_PATH, &opt, &db);
    if (rc == QUIRE_OK) {
        judge_open(m, d, db, end, tally);
        judge_close(m, d, db, tally);
        goto out;
    }
    tally->refused++;
    /* Of less than a sector nothing can be known. */
    if (rc != QUIRE_CORRUPT && !(rc == QUIRE_FORMAT && len < CRASH_SECTOR))
        wrong(m, d, tally, "open: %d, %s", (int)rc, quire_error_detail());
    else if (rc == QUIRE_CORRUPT && !has_address(quire_error_detail()))
        wrong(m, d, tally, "open: no address: %s", quire_error_detail());

out:
    mem_disk_destroy(disk);
}

/* ---- choosing ---- */

static bool damage_long(void)
{
    const char *s = getenv("QUIRE_CRASH");

    return s != NULL && strcmp(s, "long") == 0;
}

/* One of the damages that there are. */
static struct damage damage_any(const struct made *m, enum damage_kind kind,
                                uint64_t *rand)
{
    uint64_t nranges = m->len / CRASH_SECTOR;
    struct damage d = { .kind = kind };

    switch (kind) {
    case DAMAGE_FLIP:
        d.at = test_rand_below(rand, m->len);
        d.other = test_rand_below(rand, 2) == 0
                      ? UINT64_C(1) << test_rand_below(rand, 8)
                      : 1 + test_rand_below(rand, 255);
        break;
    case DAMAGE_CUT:
        d.at = test_rand_below(rand, m->len);
        break;
    default:
        d.at = (1 + test_rand_below(rand, nranges - 1)) * CRASH_SECTOR;
        d.other = test_rand_below(rand, nranges) * CRASH_SECTOR;
        break;
    }
    return d;
}

#define DAMAGE_LINE 64u /* bytes */

/* The line of byte `at` is zeros: behind a record, or never written. */
static bool damage_blank(const struct made *m, uint64_t at)
{
    static const uint8_t zeros[DAMAGE_LINE];
    uint64_t from = at / DAMAGE_LINE * DAMAGE_LINE;

    return m->len - from >= DAMAGE_LINE &&
           memcmp(m->bytes + from, zeros, DAMAGE_LINE) == 0;
}

/* Much of a file is blank: of a sample, let most hit something else. */
static bool damage_dull(const struct made *m, const struct damage *d,
                        uint64_t *rand)
{
    return d->kind != DAMAGE_CUT && damage_blank(m, d->at) &&
           test_rand_below(rand, 16) != 0;
}

static void damage_sample(const struct made *m, uint64_t n, uint64_t *rand,
                          void (*judge)(const struct made *m,
                                        const struct damage *d, bool rdonly,
                                        struct tally *tally),
                          struct tally *tally)
{
    /* one in five is of each other kind */
    static const enum damage_kind kinds[] = { DAMAGE_FLIP, DAMAGE_FLIP,
                                              DAMAGE_FLIP, DAMAGE_FLIP,
                                              DAMAGE_ZERO, DAMAGE_DOUBLE,
                                              DAMAGE_SWAP, DAMAGE_CUT };

    for (uint64_t i = 0; i < n; i++) {
        struct damage d;

        do
            d = damage_any(m, kinds[i % ARRAY_LEN(kinds)], rand);
        while (damage_dull(m, &d, rand));
        judge(m, &d, test_rand_below(rand, 2) == 0, tally);
    }
}

/* Each byte (or each so many), each range, each length. Of what was never
 * written in files above 100 KB, where one byte is as good as another, each
 * 211th. */
static void damage_all(const struct made *m, unsigned each, uint64_t *rand,
                       void (*judge)(const struct made *m,
                                     const struct damage *d, bool rdonly,
                                     struct tally *tally),
                       struct tally *tally)
{
    unsigned step;

    for (uint64_t at = 0; at < m->len; at += step) {
        struct damage d = { .kind = DAMAGE_FLIP, .at = at };

        step = m->len > 100000 && damage_blank(m, at) ? 211 : each;
        d.other = UINT64_C(1) << test_rand_below(rand, 8);
        judge(m, &d, at % 2 == 0, tally);
        d.kind = DAMAGE_CUT;
        judge(m, &d, at % 4 < 2, tally);
    }
    for (uint64_t at = 0; at + CRASH_SECTOR <= m->len; at += CRASH_SECTOR) {
        struct damage d = { .kind = DAMAGE_ZERO, .at = at };
        uint64_t n = m->len / CRASH_SECTOR;

        judge(m, &d, at % 1024 == 0, tally);
        d.kind = DAMAGE_DOUBLE;
        if (at > 0)
            judge(m, &d, at % 1024 == 0, tally);
        d.kind = DAMAGE_SWAP;
        d.other = test_rand_below(rand, n) * CRASH_SECTOR;
        judge(m, &d, at % 1024 == 0, tally);
        d.other = (at + CRASH_SECTOR) % (n * CRASH_SECTOR);
        judge(m, &d, at % 1024 == 0, tally);
    }
}

/* ---- the tests ---- */

static void test_damage_is_seen(void **state)
{
    uint64_t seed = test_seed();
    uint64_t refused = 0;
    uint64_t unread = 0;
    uint64_t right = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct tally t = { 0 };
        uint64_t rand = seed + i;
        struct made m;

        CHECK_CASE(layouts[i].name);
        make(&m, &layouts[i], seed + i);
        if (damage_long())
            damage_all(&m, 1, &rand, judge_damage, &t);
        else
            damage_sample(&m, test_rounds(40) * layouts[i].weight, &rand,
                          judge_damage, &t);
        print_message("damage: %-20s %7zu bytes: %" PRIu64 " flips, %" PRIu64
                      " zeroed, %" PRIu64 " doubled, %" PRIu64
                      " swapped, %" PRIu64 " cut; %" PRIu64 " refused, %" PRIu64
                      " at an earlier revision, %" PRIu64
                      " not all readable, %" PRIu64 " found by verify, %" PRIu64
                      " right, %" PRIu64 " wrong\n",
                      layouts[i].name, m.len, t.states[DAMAGE_FLIP],
                      t.states[DAMAGE_ZERO], t.states[DAMAGE_DOUBLE],
                      t.states[DAMAGE_SWAP], t.states[DAMAGE_CUT], t.refused,
                      t.cut, t.unread, t.found, t.right, t.wrong);
        if (t.wrong > 0)
            print_error("%s\n", t.first);
        CHECK_EQ(t.wrong, 0);
        refused += t.refused;
        unread += t.unread;
        right += t.right;
        made_free(&m);
    }
    CHECK(refused > 0 && unread > 0 && right > 0);
}

#if QUIRE_DEBUG >= 1

static void break_now(enum ra_broken what)
{
    /* relaxed: no store is open */
    atomic_store_explicit(&ra_broken_now, what, memory_order_relaxed);
}

/* Where a fragment's checksum is not looked at, the judge sees wrong data. */
static void test_unchecked_damage_is_noticed(void **state)
{
    struct tally t = { 0 };
    uint64_t rand = test_seed();
    struct made m;

    (void)state;
    make(&m, &layouts[4], rand);
    break_now(RA_BROKEN_FRAG_SUM);
    for (unsigned i = 0; i < 40 && t.wrong == 0; i++)
        damage_sample(&m, 50, &rand, judge_damage, &t);
    break_now(RA_BROKEN_NONE);
    print_message("broken: checksum of a fragment not looked at: %" PRIu64
                  " wrong of %" PRIu64 " flips; the first:\n    %s\n",
                  t.wrong, t.states[DAMAGE_FLIP], t.first);
    CHECK(t.wrong > 0);
    made_free(&m);
}

/* An answer that a file may give that was made by somebody else. */
static bool answer_fits(quire_status rc)
{
    return rc == QUIRE_OK || rc == QUIRE_CORRUPT || rc == QUIRE_FORMAT ||
           rc == QUIRE_NOTFOUND || rc == QUIRE_NOMEM;
}

/* Read, verify and write a store that was damaged and looks as if it had been
 * meant. */
static void judge_forged(const struct made *m, const struct damage *d,
                         bool rdonly, struct tally *tally)
{
    struct quire_options opt = m->opt;
    struct mem_disk *disk = mem_disk_create();
    struct quire_val key = { "written", 7 };
    struct quire_txn *txn = NULL;
    struct quire *db = NULL;
    size_t len = m->len;
    quire_rev newest = 0;
    char why[MODEL_WHY_CAP];
    quire_status rc;
    uint64_t end;

    mem_disk_put(disk, DAMAGE_PATH, m->bytes, m->len);
    if (!damage_do(m, d, mem_disk_bytes(disk, DAMAGE_PATH, &len), &len, &end) ||
        d->kind == DAMAGE_CUT)
        goto out;
    tally->states[d->kind]++;
    opt.io = mem_disk_io(disk);
    if (rdonly)
        opt.flags |= QUIRE_RDONLY;
    rc = quire_open(DAMAGE_PATH, &opt, &db);
    if (!answer_fits(rc))
        wrong(m, d, tally, "open: %d, %s", (int)rc, quire_error_detail());
    if (rc != QUIRE_OK) {
        tally->refused++;
        goto out;
    }
    CHECK_OK(quire_rev_newest(db, &newest));
    tally->cut += newest < m->newest;
    for (quire_rev rev = 0; rev <= newest && rev <= m->newest; rev++) {
        quire_status failed;

        if (!model_same_or(m->twin.model, db, rev, MODEL_FORWARD, &failed, why))
            tally->unread++;
        if (!answer_fits(failed))
            wrong(m, d, tally, "%s", why);
    }
    rc = quire_verify(db, NULL, NULL, NULL);
    if (!answer_fits(rc))
        wrong(m, d, tally, "verify: %d, %s", (int)rc, quire_error_detail());
    tally->found += rc == QUIRE_CORRUPT;
    if (!rdonly) {
        rc = quire_begin(db, QUIRE_WRITE, &txn);
        if (rc == QUIRE_OK)
            rc = quire_put(txn, NULL, &key, &key, 0);
        if (rc == QUIRE_OK) {
            rc = quire_commit(txn, 0, NULL);
            txn = NULL;
        }
        quire_abort(txn);
        if (!answer_fits(rc))
            wrong(m, d, tally, "write: %d, %s", (int)rc, quire_error_detail());
    }
    judge_close(m, d, db, tally);

out:
    mem_disk_destroy(disk);
}

/* Damage that all checksums agree with: any answer, but an answer. */
static void test_forged_damage_is_survived(void **state)
{
    uint64_t seed = test_seed();
    uint64_t unread = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct tally t = { 0 };
        uint64_t rand = ~seed + i;
        struct made m;

        CHECK_CASE(layouts[i].name);
        make(&m, &layouts[i], seed + i);
        break_now(RA_BROKEN_ALL_SUMS);
        if (damage_long())
            damage_all(&m, 7, &rand, judge_forged, &t);
        else
            damage_sample(&m, test_rounds(25) * layouts[i].weight, &rand,
                          judge_forged, &t);
        break_now(RA_BROKEN_NONE);
        print_message(
            "forged: %-20s %" PRIu64 " flips, %" PRIu64 " zeroed, %" PRIu64
            " doubled, %" PRIu64 " swapped; %" PRIu64 " refused, %" PRIu64
            " at an earlier revision, %" PRIu64 " revisions other, %" PRIu64
            " found by verify, %" PRIu64 " wrong\n",
            layouts[i].name, t.states[DAMAGE_FLIP], t.states[DAMAGE_ZERO],
            t.states[DAMAGE_DOUBLE], t.states[DAMAGE_SWAP], t.refused, t.cut,
            t.unread, t.found, t.wrong);
        if (t.wrong > 0)
            print_error("%s\n", t.first);
        CHECK_EQ(t.wrong, 0);
        unread += t.unread;
        made_free(&m);
    }
    CHECK(unread > 0);
}

#else /* a release build always looks at checksums */

static void test_unchecked_damage_is_noticed(void **state)
{
    (void)state;
    skip();
}

static void test_forged_damage_is_survived(void **state)
{
    (void)state;
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_unchecked_damage_is_noticed),
        cmocka_unit_test(test_forged_damage_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
