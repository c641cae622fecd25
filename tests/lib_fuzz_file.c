/*
 * lib_fuzz_file.c - the target file: a whole store, changed here and there,
 * through everything that a program can ask of it.
 *
 * The stores that are changed are made when the first input comes, always the
 * same ones (frozen.h). An input names one of them and a list of edits, each
 * aimed: at a fragment's header, its body, a commit record, a superblock, any
 * byte. Checksums are put out of force (alloc/broken.h) or left in force with
 * those of the edited fragments made right, as the input says.
 *
 * Whatever the bytes: each call says what quire.h lets it say of a bad file,
 * ends, stays within the budget, and leaves nothing behind at closing; what a
 * scan returns is in key order.
 */
#include <inttypes.h>
#include <xxhash.h>

#include "alloc/broken.h"
#include "pages/file/pf_impl.h"
#include "tests/lib_fuzz.h"
#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "store"
#define ROOM ((uint64_t)8 << 20) /* bytes that an edited store may grow by */
#define RECORDS_MAX 4000u        /* looked at in one scan */
#define FRAGS_MAX 2048u

/* The second byte of an input. */
#define FILE_SUMS 1u   /* checksums are in force */
#define FILE_RDONLY 2u /* look before it is opened for writing */
#define FILE_CUT 4u    /* the file ends early */
/* Bits from here on choose another versioning; this one is set: do so. */
#define FILE_VERSIONING 8u

bool fuzz_making;

struct base {
    uint8_t *bytes; /* NULL: not made yet */
    size_t len;
    uint32_t block_bytes;
    uint32_t off[FRAGS_MAX]; /* where its fragments begin */
    uint32_t frag_len[FRAGS_MAX];
    unsigned nfrags;
    unsigned records[FRAGS_MAX]; /* which of them are commit records */
    unsigned nrecords;
};

static const struct plan {
    quire_versioning versioning;
    uint32_t window;
    unsigned commits;
    unsigned puts;   /* of a commit */
    unsigned keys;   /* different ones */
    size_t large;    /* bytes of one value of the first commit */
    unsigned reopen; /* after each so many commits; 0: never */
} plans[] = {
    { QUIRE_VERSIONING_ADAPTIVE, 4, 8, 6, 60, 6000, 4 },
    { QUIRE_VERSIONING_FULL, 2, 3, 100, 250, 0, 0 },
    { QUIRE_VERSIONING_INCREMENTAL, 16, 18, 3, 30, 0, 0 },
    { QUIRE_VERSIONING_DIFFERENTIAL, 4, 10, 4, 40, 0, 0 },
    { QUIRE_VERSIONING_SLIDING, 4, 10, 4, 40, 0, 5 },
    { QUIRE_VERSIONING_ADAPTIVE, 3, 3, 2, 20, 300000, 0 },
};

#define NBASES ARRAY_LEN(plans)

static struct base bases[NBASES];

/* ---- making the stores ---- */

static void base_commit(struct quire *db, const struct plan *plan, unsigned no,
                        uint64_t *rand)
{
    struct quire_txn *txn;
    struct quire_tree *side;
    char key[40];
    char text[80];
    quire_rev rev;

    FUZZ_MUST(quire_begin(db, QUIRE_WRITE, &txn) == QUIRE_OK);
    FUZZ_MUST(quire_tree_open(txn, "side", QUIRE_TREE_CREATE, &side) ==
              QUIRE_OK);
    for (unsigned i = 0; i < plan->puts; i++) {
        unsigned n = (unsigned)test_rand_below(rand, plan->keys);
        struct quire_val k = { key, 0 };
        struct quire_val v = { text, 1 + test_rand_below(rand, 70) };
        struct quire_val l = { key, 0 };

        k.size = (size_t)snprintf(key, sizeof(key), "key/%05u", n);
        for (size_t b = 0; b < v.size; b++)
            text[b] = (char)(test_rand(rand) >> 32);
        l.size = i % 3 == 1 ? k.size : 0; /* some records have a label */
        FUZZ_MUST(quire_put_labeled(txn, i % 4 == 3 ? side : NULL, &k, &v, &l,
                                    0) == QUIRE_OK);
        if (i % 5 == 4)
            (void)!quire_del(txn, NULL, &k);
    }
    if (plan->large != 0 && no == 0) {
        struct quire_val k = { "large", 5 };
        struct quire_val v = { fuzz_alloc(plan->large), plan->large };

        memset((void *)(uintptr_t)v.data, 'l', v.size);
        FUZZ_MUST(quire_put(txn, NULL, &k, &v, 0) == QUIRE_OK);
        free((void *)(uintptr_t)v.data);
    }
    FUZZ_MUST(quire_commit(txn, 0, &rev) == QUIRE_OK);
}

static void frags_find(struct base *b)
{
    struct pg_frag frag;

    for (size_t off = 2 * (size_t)b->block_bytes;
         off + PG_FRAG_HEADER <= b->len; off += PG_ALIGN) {
        if (pg_frag_peek(b->bytes + off, b->len - off, &frag) != QUIRE_OK ||
            frag.stored_len > b->len - off ||
            pg_frag_check(b->bytes + off, frag.stored_len, frag.id, NULL,
                          &frag) != QUIRE_OK ||
            b->nfrags == FRAGS_MAX)
            continue;
        if (frag.kind == PG_RECORD)
            b->records[b->nrecords++] = b->nfrags;
        b->off[b->nfrags] = (uint32_t)off;
        b->frag_len[b->nfrags++] = frag.stored_len;
    }
    FUZZ_MUST(b->nfrags > 0 && b->nrecords > 0);
}

static void base_make(struct base *b, const struct plan *plan)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = {
        .size = sizeof(opt),
        .flags = QUIRE_NOBACKGROUND,
        .budget_bytes = QUIRE_BUDGET_MIN,
        .page_bytes = QUIRE_PAGE_MIN,
        .versioning = plan->versioning,
        .window = plan->window,
        .io = mem_disk_io(disk),
    };
    uint64_t rand = plan->commits;
    struct quire *db;
    const uint8_t *bytes;

    fuzz_making = true;
    FUZZ_MUST(quire_open(PATH, &opt, &db) == QUIRE_OK);
    for (unsigned i = 0; i < plan->commits; i++) {
        base_commit(db, plan, i, &rand);
        if (plan->reopen != 0 && i % plan->reopen == plan->reopen - 1) {
            FUZZ_MUST(quire_close(db) == QUIRE_OK);
            FUZZ_MUST(quire_open(PATH, &opt, &db) == QUIRE_OK);
        }
    }
    FUZZ_MUST(quire_close(db) == QUIRE_OK);
    fuzz_making = false;
    bytes = mem_disk_bytes(disk, PATH, &b->len);
    b->bytes = fuzz_alloc(b->len);
    memcpy(b->bytes, bytes, b->len);
    mem_disk_destroy(disk);
    b->block_bytes = PF_BLOCK_MIN;
    frags_find(b);
}

/* ---- edits ---- */

enum edit {
    EDIT_ANY,    /* bytes anywhere */
    EDIT_FRAG,   /* of a fragment */
    EDIT_HEADER, /* of a fragment's header */
    EDIT_RECORD, /* of a commit record's body */
    EDIT_SUPER,  /* of a superblock, which is sealed */
    EDIT_COPY,   /* a fragment over another */
    EDIT_ADD,    /* to a number of a fragment */
    EDIT_SWAP,   /* two sectors */
    EDITS
};

#define EDIT_SEAL 8u /* make the fragment's checksum right */

/* Up to 15 bytes of the input over `at`, which has `room`. */
static void overwrite(struct fuzz_in *in, uint8_t *at, size_t room)
{
    size_t want = fuzz_u8(in) % 16;
    size_t len;
    const uint8_t *from = fuzz_bytes(in, want < room ? want : room, &len);

    if (len != 0)
        memcpy(at, from, len);
}

static void edit_super(const struct base *b, struct fuzz_in *in, uint8_t *bytes)
{
    unsigned slot = fuzz_u8(in);
    size_t at = fuzz_u8(in) % 104;
    uint8_t *sector = bytes + (slot % 2) * b->block_bytes;

    if (slot & 2) { /* the other one must not outdo it */
        memcpy(bytes + (1 - slot % 2) * b->block_bytes, "QUIRE\0\r\nold", 11);
    }
    overwrite(in, sector + at, 104 - at);
    ra_put_le64(sector + 504, XXH3_64bits(sector, 504));
}

static void edit_swap(const struct base *b, struct fuzz_in *in, uint8_t *bytes)
{
    size_t n = b->len / 512;
    size_t x = fuzz_u16(in) % n;
    size_t y = fuzz_u16(in) % n;
    uint8_t sector[512];

    memcpy(sector, bytes + 512 * x, 512);
    memmove(bytes + 512 * x, bytes + 512 * y, 512);
    memcpy(bytes + 512 * y, sector, 512);
}

/* One edit of a fragment. */
static void edit_frag(const struct base *b, struct fuzz_in *in, unsigned op,
                      uint8_t *bytes)
{
    unsigned i = fuzz_u16(in) % b->nfrags;
    unsigned at = fuzz_u16(in);
    uint8_t *frag;
    uint32_t len;

    if (op % EDITS == EDIT_RECORD)
        i = b->records[i % b->nrecords];
    frag = bytes + b->off[i];
    len = b->frag_len[i];
    switch (op % EDITS) {
    case EDIT_FRAG:
        at %= len;
        overwrite(in, frag + at, len - at);
        break;
    case EDIT_HEADER:
        at %= PG_FRAG_HEADER;
        overwrite(in, frag + at, PG_FRAG_HEADER - at);
        break;
    case EDIT_RECORD:
        at = PG_FRAG_HEADER + at % (len - PG_FRAG_HEADER);
        overwrite(in, frag + at, len - at);
        break;
    case EDIT_ADD:
        at %= len - 7;
        ra_put_le64(frag + at, ra_le64(frag + at) +
                                   (uint64_t)(int64_t)(int8_t)fuzz_u8(in));
        break;
    default: /* EDIT_COPY: its place keeps its length in the file */
        at %= b->nfrags;
        memmove(frag, bytes + b->off[at],
                len < b->frag_len[at] ? len : b->frag_len[at]);
        break;
    }
    if (op & EDIT_SEAL)
        fuzz_seal(frag, len);
}

static void edit(const struct base *b, struct fuzz_in *in, uint8_t *bytes)
{
    unsigned op = fuzz_u8(in);
    size_t at;

    switch (op % EDITS) {
    case EDIT_ANY:
        at = fuzz_u32(in) % b->len;
        overwrite(in, bytes + at, b->len - at);
        break;
    case EDIT_SUPER:
        edit_super(b, in, bytes);
        break;
    case EDIT_SWAP:
        edit_swap(b, in, bytes);
        break;
    default:
        edit_frag(b, in, op, bytes);
        break;
    }
}

/* ---- what a program can ask ---- */

/* May a call that only reads say this of a bad file? */
static bool may_read(quire_status rc)
{
    return rc == QUIRE_OK || rc == QUIRE_CORRUPT || rc == QUIRE_NOTFOUND ||
           rc == QUIRE_NOMEM;
}

/* And one that writes? The disk ends somewhere. */
static bool may_write(quire_status rc)
{
    return may_read(rc) || rc == QUIRE_NOSPACE || rc == QUIRE_TOOBIG ||
           rc == QUIRE_POISONED;
}

/* The label under the cursor, all bytes of it; a look-up finds the same, or in a
 * damaged tree nothing. */
static void look_label(struct quire_txn *txn, struct quire_tree *tree,
                       struct quire_cursor *cur, const struct quire_val *key)
{
    uint8_t buf[QUIRE_LABEL_MAX];
    struct quire_val label;
    size_t size = 0;
    quire_status rc = quire_cursor_get_label(cur, &label);

    FUZZ_MUST(may_read(rc));
    if (rc != QUIRE_OK)
        return;
    FUZZ_MUST(label.size <= QUIRE_LABEL_MAX);
    rc = quire_get_label(txn, tree, key, buf, sizeof(buf), &size);
    FUZZ_MUST(may_read(rc));
    if (rc == QUIRE_OK && label.size != 0)
        FUZZ_MUST(size == label.size && memcmp(buf, label.data, size) == 0);
}

static void look_record(struct quire_cursor *cur)
{
    uint8_t buf[64];
    uint64_t size = 0;
    uint64_t again = 0;
    quire_status rc = quire_cursor_read(cur, 0, buf, sizeof(buf), &size);

    FUZZ_MUST(may_read(rc));
    if (rc != QUIRE_OK || size <= sizeof(buf))
        return;
    FUZZ_MUST(size <= QUIRE_VALUE_MAX);
    rc = quire_cursor_read(cur, size - 8, buf, sizeof(buf), &again);
    FUZZ_MUST(may_read(rc));
    FUZZ_MUST(rc != QUIRE_OK || again == size);
}

/* From one end to the other; keys in order. When it gets there there are as
 * many records as the tree says, unless that is UINT64_MAX. */
static void look_scan(struct quire_txn *txn, struct quire_tree *tree,
                      bool backward, uint64_t nrecords)
{
    uint8_t before[QUIRE_PAGE_MAX / 8];
    size_t before_len = 0;
    bool first = true; /* nothing is in `before` yet */
    struct quire_cursor *cur;
    struct quire_val key;
    struct quire_val val;
    quire_status rc;

    rc = quire_cursor_open(txn, tree, &cur);
    FUZZ_MUST(may_read(rc));
    if (rc != QUIRE_OK)
        return;
    for (unsigned i = 0; i < RECORDS_MAX; i++) {
        size_t m;
        int c;

        rc = backward ? quire_cursor_prev(cur) : quire_cursor_next(cur);
        FUZZ_MUST(may_read(rc));
        if (rc == QUIRE_NOTFOUND)
            FUZZ_MUST(nrecords == UINT64_MAX || nrecords == i);
        if (rc != QUIRE_OK)
            break;
        rc = quire_cursor_get(cur, &key, &val);
        FUZZ_MUST(may_read(rc) || rc == QUIRE_TOOBIG);
        if (rc == QUIRE_OK || rc == QUIRE_TOOBIG)
            look_label(txn, tree, cur, &key);
        look_record(cur);
        if (rc != QUIRE_OK && rc != QUIRE_TOOBIG)
            continue;
        FUZZ_MUST(key.size <= sizeof(before));
        m = key.size < before_len ? key.size : before_len;
        c = m == 0 ? 0 : memcmp(before, key.data, m);
        if (c == 0)
            c = before_len < key.size ? -1 : before_len > key.size;
        FUZZ_MUST(first || (backward ? c > 0 : c < 0));
        first = false;
        before_len = key.size;
        if (before_len != 0)
            memcpy(before, key.data, before_len);
    }
    quire_cursor_close(cur);
}

static void look_tree(struct quire_txn *txn, struct quire_tree *tree)
{
    struct quire_val from = { "key/00007", 9 };
    struct quire_val to = { "key/00020", 9 };
    struct quire_lookup many[3];
    uint8_t meta[64];
    struct quire_tree_stat st = { .size = sizeof(st) };
    uint64_t nrecords = UINT64_MAX;
    uint64_t n = 0;
    size_t size = 0;

    FUZZ_MUST(may_read(quire_tree_count(txn, tree, &nrecords)));
    FUZZ_MUST(may_read(quire_tree_stat_get(txn, tree, &st)));
    FUZZ_MUST(may_read(quire_count_range(txn, tree, &from, &to, &n)));
    FUZZ_MUST(
        may_read(quire_tree_get_meta(txn, tree, meta, sizeof(meta), &size)));
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct quire_lookup){ .key = i == 0 ? from : to };
    FUZZ_MUST(may_read(quire_get_many(txn, tree, many, ARRAY_LEN(many))));
    look_scan(txn, tree, false, nrecords);
    look_scan(txn, tree, true, nrecords);
}

static void look_txn(struct quire_txn *txn)
{
    char name[QUIRE_NAME_MAX + 1] = "";
    struct quire_tree *tree;
    quire_status rc;

    look_tree(txn, NULL);
    for (unsigned i = 0; i < 8; i++) {
        rc = quire_tree_next(txn, i == 0 ? NULL : name, name);
        FUZZ_MUST(may_read(rc));
        if (rc != QUIRE_OK)
            break;
        rc = quire_tree_open(txn, name, 0, &tree);
        FUZZ_MUST(may_read(rc));
        if (rc == QUIRE_OK)
            look_tree(txn, tree);
    }
}

static void look(struct quire *db)
{
    struct quire_verify_report report = { .size = sizeof(report) };
    struct quire_rev_info info = { .size = sizeof(info) };
    struct quire_txn *txn;
    quire_rev newest = 0;
    quire_status rc;

    FUZZ_MUST(quire_rev_newest(db, &newest) == QUIRE_OK);
    for (unsigned i = 0; i < 3; i++) { /* the newest, the one before, one of
                                          the middle */
        quire_rev rev = i < 2 ? newest - i : newest / 2;

        if (rev > newest)
            continue;
        FUZZ_MUST(may_read(quire_rev_info(db, rev, &info)));
        rc = quire_begin_at(db, rev, &txn);
        FUZZ_MUST(may_read(rc));
        if (rc != QUIRE_OK)
            continue;
        fuzz_accepted++;
        look_txn(txn);
        quire_abort(txn);
    }
    rc = quire_begin_at_time(db, 0, &txn);
    FUZZ_MUST(may_read(rc));
    if (rc == QUIRE_OK)
        quire_abort(txn);
    rc = quire_verify(db, NULL, NULL, &report);
    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_CORRUPT || rc == QUIRE_NOMEM);
    FUZZ_MUST(rc == QUIRE_NOMEM || (report.faults != 0) == (rc != QUIRE_OK));
}

/* Another versioning; put, delete, commit; a second transaction that is given
 * up. */
static void change(struct quire *db, unsigned how)
{
    struct quire_val key = { "key/00011x", 10 };
    struct quire_val old = { "key/00007", 9 };
    struct quire_val to = { "key/00008", 9 };
    struct quire_val val = { "new", 3 };
    struct quire_tree *side = NULL;
    struct quire_txn *txn;
    quire_status rc;
    quire_rev rev;

    if (how & FILE_VERSIONING) {
        rc = quire_set_versioning(db, 1 + how / FILE_VERSIONING % 5, 3);
        FUZZ_MUST(may_write(rc) || rc == QUIRE_UNDECIDED);
    }
    for (unsigned i = 0; i < 2; i++) {
        rc = quire_begin(db, QUIRE_WRITE, &txn);
        FUZZ_MUST(may_write(rc));
        if (rc != QUIRE_OK)
            return;
        rc = quire_tree_open(txn, "side", QUIRE_TREE_CREATE, &side);
        FUZZ_MUST(may_write(rc));
        if (rc != QUIRE_OK)
            side = NULL;
        FUZZ_MUST(may_write(quire_put(txn, NULL, &key, &val, 0)));
        FUZZ_MUST(may_write(quire_put_labeled(txn, side, &key, &val, &key, 0)));
        FUZZ_MUST(may_write(quire_set_label(txn, NULL, &to, &val)));
        FUZZ_MUST(may_write(quire_del(txn, NULL, &old)));
        look_txn(txn);
        if (i == 1) {
            quire_abort(txn);
            break;
        }
        rc = quire_commit(txn, 0, &rev);
        FUZZ_MUST(may_write(rc) || rc == QUIRE_UNDECIDED);
    }
}

/* Open, look, perhaps change, close. */
static void use(const struct quire_options *opt, bool write, unsigned how)
{
    struct quire_close_report report = { .size = sizeof(report) };
    struct quire *db = NULL;
    quire_status rc = quire_open(PATH, opt, &db);

    FUZZ_MUST(rc == QUIRE_OK || rc == QUIRE_CORRUPT || rc == QUIRE_FORMAT ||
              rc == QUIRE_NOMEM || (write && rc == QUIRE_NOSPACE));
    if (rc != QUIRE_OK) {
        FUZZ_MUST(db == NULL && quire_error_detail()[0] != '\0');
        return;
    }
    look(db);
    if (write) {
        change(db, how);
        look(db);
    }
    rc = quire_close_report(db, &report);
    FUZZ_MUST(may_write(rc) || rc == QUIRE_UNDECIDED);
    FUZZ_MUST(report.pinned_pages == 0 && report.segments_in_use == 0 &&
              report.intents == 0);
    FUZZ_MUST(report.resident_peak_bytes <= opt->budget_bytes);
}

static void sums_in_force(bool in_force)
{
#if QUIRE_DEBUG >= 1
    /* relaxed: no store is open */
    atomic_store_explicit(&ra_broken_now,
                          in_force ? RA_BROKEN_NONE : RA_BROKEN_ALL_SUMS,
                          memory_order_relaxed);
#else
    (void)in_force;
#endif
}

static void file_run(const uint8_t *data, size_t len)
{
    struct fuzz_in in = { data, len };
    unsigned which = fuzz_u8(&in) % NBASES;
    unsigned how = fuzz_u8(&in);
    struct base *b = &bases[which];
    struct mem_disk *disk;
    struct quire_options opt = {
        .size = sizeof(opt),
        .flags = QUIRE_NOBACKGROUND | QUIRE_NOCREATE,
        .budget_bytes = QUIRE_BUDGET_MIN,
    };
    uint8_t *bytes;
    size_t nbytes;

    if (b->bytes == NULL)
        base_make(b, &plans[which]);
    bytes = fuzz_alloc(b->len);
    memcpy(bytes, b->bytes, b->len);
    nbytes = how & FILE_CUT ? fuzz_u32(&in) % (b->len + 1) : b->len;
    while (in.left > 0)
        edit(b, &in, bytes);
    disk = mem_disk_create();
    mem_disk_put(disk, PATH, bytes, nbytes);
    mem_disk_limit(disk, nbytes + ROOM);
    free(bytes);
    opt.io = mem_disk_io(disk);
    sums_in_force((how & FILE_SUMS) != 0);
    if (how & FILE_RDONLY) {
        opt.flags |= QUIRE_RDONLY;
        use(&opt, false, how);
        opt.flags &= ~QUIRE_RDONLY;
    }
    use(&opt, true, how);
    opt.flags |= QUIRE_RDONLY;
    use(&opt, false, how);
    sums_in_force(true);
    FUZZ_MUST(mem_disk_opens(disk) == 0);
    mem_disk_destroy(disk);
}

/* Each store untouched, and each with one edit of a kind. */
static size_t file_seed(unsigned i, uint8_t *buf, size_t cap)
{
    static const uint8_t edits[EDITS][8] = {
        { EDIT_ANY, 0x10, 0x20, 0, 0, 2, 0xff, 0xff },
        { EDIT_FRAG, 1, 0, 80, 0, 2, 0xff, 0 },
        { EDIT_HEADER, 2, 0, 7, 0, 1, 3, 0 },
        { EDIT_RECORD, 0, 0, 24, 0, 1, 9, 0 },
        { EDIT_SUPER, 2, 64, 1, 2, 0, 0, 0 },
        { EDIT_COPY, 1, 0, 2, 0, EDIT_ADD, 0, 0 },
        { EDIT_ADD | EDIT_SEAL, 3, 0, 70, 0, 1, 0, 0 },
        { EDIT_SWAP, 20, 0, 24, 0, 0, 0, 0 },
    };

    (void)cap;
    if (i >= NBASES + EDITS)
        return 0;
    buf[0] = (uint8_t)(i % NBASES);
    buf[1] = (uint8_t)((i % 2 == 0 ? FILE_RDONLY : FILE_SUMS) |
                       (i % 3 == 0 ? FILE_VERSIONING * (1 + 2 * i) : 0));
    if (i < NBASES)
        return 2;
    memcpy(buf + 2, edits[i - NBASES], sizeof(edits[0]));
    return 2 + sizeof(edits[0]);
}

const struct fuzz_target fuzz_file = { "file", file_run, file_seed };
