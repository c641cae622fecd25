/*
 * Golden files: stores written by earlier versions of quire, kept in
 * tests/golden for ever, one for each versioning, and one with a value of several
 * pages, of which only the blocks are kept that are not zeros. Beside them lies a
 * listing of all that their revisions hold. This version must read every one of
 * them, to the byte, and must be able to go on writing a copy.
 *
 * A change of the format adds files, made by
 *
 *     QUIRE_GOLDEN=tests/golden build/debug/tests/test_store_golden
 *
 * under names that are not taken yet (GOLDEN_VERSION below), and takes none
 * away. Clock and random numbers stand still, so that a version makes the same
 * files each time; another one may well write others of the same history.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/base.h"
#include "tests/frozen.h" /* so that files made twice are equal */
#include "tests/lib_mem.h"
#include "tests/test.h"

#define GOLDEN_DIR "tests/golden"
#define GOLDEN_VERSION 1 /* of the files that are made */
#define PATH "golden.quire"
#define NREVS 8u
#define BLOCK 4096u /* bytes */

static const struct {
    const char *name;
    quire_versioning versioning;
} all[] = {
    { "full", QUIRE_VERSIONING_FULL },
    { "incremental", QUIRE_VERSIONING_INCREMENTAL },
    { "differential", QUIRE_VERSIONING_DIFFERENTIAL },
    { "sliding", QUIRE_VERSIONING_SLIDING },
    { "adaptive", QUIRE_VERSIONING_ADAPTIVE },
};

static struct quire_options options(struct mem_disk *disk, unsigned flags)
{
    return (struct quire_options){
        .size = sizeof(struct quire_options),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .flags = QUIRE_NOBACKGROUND | flags,
        .io = mem_disk_io(disk),
    };
}

/* ---- files ---- */

static uint8_t *file_read(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;
    long end;

    if (f == NULL)
        print_error("%s cannot be opened\n", path);
    CHECK(f != NULL);
    CHECK_EQ(fseek(f, 0, SEEK_END), 0);
    end = ftell(f);
    CHECK(end > 0);
    rewind(f);
    bytes = malloc((size_t)end + 1);
    CHECK(bytes != NULL);
    CHECK_EQ(fread(bytes, 1, (size_t)end, f), (size_t)end);
    bytes[end] = 0;
    fclose(f);
    *len = (size_t)end;
    return bytes;
}

static void file_write(const char *path, const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wbx"); /* none is ever replaced */

    if (f == NULL)
        print_error("%s is there, or cannot be made\n", path);
    CHECK(f != NULL);
    CHECK_EQ(fwrite(bytes, 1, len, f), len);
    CHECK_EQ(fclose(f), 0);
}

/* The blocks of `bytes` that are not zeros, each behind its number; before all of
 * them the number of blocks. */
static uint8_t *blocks_only(const uint8_t *bytes, size_t len, size_t *kept)
{
    static const uint8_t zeros[BLOCK];
    uint8_t *to = malloc(len + 4 * (len / BLOCK + 1));
    size_t n = 4;

    CHECK(to != NULL && len % BLOCK == 0);
    ra_put_le32(to, (uint32_t)(len / BLOCK));
    for (size_t at = 0; at < len; at += BLOCK) {
        if (memcmp(bytes + at, zeros, BLOCK) == 0)
            continue;
        ra_put_le32(to + n, (uint32_t)(at / BLOCK));
        memcpy(to + n + 4, bytes + at, BLOCK);
        n += 4 + BLOCK;
    }
    *kept = n;
    return to;
}

static uint8_t *blocks_back(const uint8_t *kept, size_t n, size_t *len)
{
    uint8_t *bytes;

    *len = (size_t)ra_le32(kept) * BLOCK;
    bytes = calloc(1, *len);
    CHECK(bytes != NULL && n % (4 + BLOCK) == 4);
    for (size_t at = 4; at < n; at += 4 + BLOCK)
        memcpy(bytes + (size_t)ra_le32(kept + at) * BLOCK, kept + at + 4,
               BLOCK);
    return bytes;
}

/* ---- listings ---- */

struct listing {
    char *text;
    size_t len, cap;
};

static void say(struct listing *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct listing *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (l->cap - l->len < 2048) {
        l->cap = 2 * l->cap + 4096;
        l->text = realloc(l->text, l->cap);
        CHECK(l->text != NULL);
    }
    va_start(ap, fmt);
    n = vsnprintf(l->text + l->len, l->cap - l->len, fmt, ap);
    va_end(ap);
    CHECK(n >= 0 && (size_t)n < l->cap - l->len);
    l->len += (size_t)n;
}

/* Bytes as text where they are plain letters, else in hex. */
static void say_bytes(struct listing *l, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        say(l, p[i] > ' ' && p[i] < 127 && p[i] != '\\' ? "%c" : "\\%02x",
            p[i]);
}

/* A value: its length, a hash of all of it (FNV-1a, 64 bits), and how it
 * begins. */
static void say_value(struct listing *l, const uint8_t *p, uint64_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    say(l, " %" PRIu64 " %016" PRIx64 " ", len, h);
    say_bytes(l, p, len < 8 ? len : 8);
}

static void say_tree(struct listing *l, struct quire_txn *txn, const char *name)
{
    static uint8_t buf[400000];
    struct quire_tree *tree = NULL;
    struct quire_cursor *cur;
    uint64_t n = 0, seen = 0, size = 0;
    size_t meta = 0;
    quire_status rc;

    if (name != NULL)
        CHECK_OK(quire_tree_open(txn, name, 0, &tree));
    CHECK_OK(quire_tree_count(txn, tree, &n));
    say(l, "  tree %s: %" PRIu64 " records", name == NULL ? "(default)" : name,
        n);
    rc = quire_tree_get_meta(txn, tree, buf, sizeof(buf), &meta);
    CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
    if (rc == QUIRE_OK) {
        say(l, ", metadata ");
        say_bytes(l, buf, meta);
    }
    say(l, "\n");
    CHECK_OK(quire_cursor_open(txn, tree, &cur));
    while ((rc = quire_cursor_next(cur)) == QUIRE_OK) {
        struct quire_val key, val, label;
        uint64_t again = 0;

        rc = quire_cursor_get(cur, &key, &val);
        CHECK(rc == QUIRE_OK || rc == QUIRE_TOOBIG);
        CHECK_OK(quire_cursor_read(cur, 0, buf, sizeof(buf), &size));
        CHECK_EQ(size, val.size);
        say(l, "    ");
        say_bytes(l, key.data, key.size);
        say_value(l, buf, size);
        CHECK_OK(quire_cursor_get_label(cur, &label));
        if (label.size != 0) {
            say(l, " label ");
            say_bytes(l, label.data, label.size);
        }
        say(l, "\n");
        CHECK_OK(quire_read(txn, tree, &key, 0, buf, sizeof(buf), &again));
        CHECK_EQ(again, size);
        seen++;
    }
    CHECK_STATUS(rc, QUIRE_NOTFOUND);
    CHECK_EQ(seen, n);
    quire_cursor_close(cur);
}

static void say_revision(struct listing *l, struct quire *db, quire_rev rev)
{
    char name[QUIRE_NAME_MAX + 1];
    struct quire_txn *txn;
    quire_status rc;

    CHECK_OK(quire_begin_at(db, rev, &txn));
    say(l, "revision %" PRIu64 "\n", rev);
    say_tree(l, txn, NULL);
    rc = quire_tree_next(txn, NULL, name);
    while (rc == QUIRE_OK) {
        say_tree(l, txn, name);
        rc = quire_tree_next(txn, name, name);
    }
    CHECK_STATUS(rc, QUIRE_NOTFOUND);
    quire_abort(txn);
}

/* The listing of all revisions up to `last`. */
static void say_store(struct listing *l, struct quire *db, quire_rev last)
{
    memset(l, 0, sizeof(*l));
    for (quire_rev rev = 0; rev <= last; rev++)
        say_revision(l, db, rev);
}

/* ---- making them ---- */

static void golden_put(struct quire_txn *txn, struct quire_tree *tree,
                       unsigned i, size_t len, uint64_t *rand)
{
    static uint8_t val[300000];
    struct quire_val v = { val, len }, l = { val, 0 }, k;
    char key[32];

    k = (struct quire_val){ key,
                            (size_t)snprintf(key, sizeof(key), "key/%03u", i) };
    /* the first bytes by chance, the rest all alike */
    memset(val, 'a' + (int)(i % 26), len);
    for (size_t b = 0; b < len && b < 40; b++)
        val[b] = (uint8_t)(33 + test_rand_below(rand, 90));
    if (test_rand_below(rand, 4) == 0)
        l.size = 1 + test_rand_below(rand, len < 12 ? len + 1 : 12);
    CHECK_OK(quire_put_labeled(txn, tree, &k, &v, &l, 0));
}

static void golden_del(struct quire_txn *txn, unsigned i)
{
    char key[32];
    struct quire_val k = { key,
                           (size_t)snprintf(key, sizeof(key), "key/%03u", i) };
    quire_status rc = quire_del(txn, NULL, &k);

    CHECK(rc == QUIRE_OK || rc == QUIRE_NOTFOUND);
}

/* Revision `rev` of a history that has everything. */
static void golden_revision(struct quire_txn *txn, unsigned rev, bool large,
                            uint64_t *rand)
{
    static const struct quire_val label = { "changed later", 13 };
    static const struct quire_val key = { "key/050", 7 };
    struct quire_val meta = { "columns=a,b", 11 };
    struct quire_tree *side;

    if (rev == 1) {
        for (unsigned i = 0; i < 60; i++)
            golden_put(txn, NULL, i, 30 + i % 50, rand);
        CHECK_OK(quire_tree_open(txn, "side", QUIRE_TREE_CREATE, &side));
        for (unsigned i = 0; i < 10; i++)
            golden_put(txn, side, i, i, rand);
        CHECK_OK(quire_tree_set_meta(txn, side, &meta));
        return;
    }
    for (unsigned i = 0; i < 3; i++)
        golden_put(txn, NULL, (unsigned)test_rand_below(rand, 70),
                   test_rand_below(rand, 200), rand);
    golden_del(txn, (unsigned)test_rand_below(rand, 70));
    if (rev == 2)
        golden_put(txn, NULL, 200, 6000, rand); /* one overflow page */
    if (rev == 3 && large)
        golden_put(txn, NULL, 201, 300000, rand); /* an index and two */
    if (rev == 4)
        golden_put(txn, NULL, 200, 10, rand); /* back into its leaf */
    if (rev == 5) {                           /* merges */
        for (unsigned i = 20; i < 40; i++)
            golden_del(txn, i);
    }
    if (rev == 6) {
        golden_put(txn, NULL, 50, 9, rand);
        CHECK_OK(quire_set_label(txn, NULL, &key, &label));
        CHECK_OK(quire_tree_rename(txn, "side", "renamed"));
    }
    if (rev == 7) {
        CHECK_OK(quire_tree_open(txn, "short-lived", QUIRE_TREE_CREATE, &side));
        golden_put(txn, side, 1, 1, rand);
    }
    if (rev == 8)
        CHECK_OK(quire_tree_drop(txn, "short-lived"));
}

/* `listing`: of the history without or with the large value. */
static void golden_make(const char *dir, const char *name, const char *listing,
                        quire_versioning versioning)
{
    bool large = strcmp(listing, "large") == 0;
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = options(disk, 0);
    struct listing l;
    struct quire *db;
    char path[300];
    uint8_t *bytes, *want, *blocks = NULL;
    size_t len;
    uint64_t rand = 7;
    FILE *f;

    opt.page_bytes = 4096;
    opt.versioning = versioning;
    opt.window = 4;
    CHECK_OK(quire_open(PATH, &opt, &db));
    for (unsigned rev = 1; rev <= NREVS; rev++) {
        struct quire_txn *txn;

        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        golden_revision(txn, rev, large, &rand);
        CHECK_OK(quire_commit(txn, 0, NULL));
    }
    say_store(&l, db, NREVS);
    CHECK_OK(quire_close(db));
    bytes = mem_disk_bytes(disk, PATH, &len);
    if (large)
        bytes = blocks = blocks_only(bytes, len, &len);
    snprintf(path, sizeof(path), "%s/v%d-%s.%s", dir, GOLDEN_VERSION, name,
             large ? "blocks" : "quire");
    file_write(path, bytes, len);
    free(blocks);
    snprintf(path, sizeof(path), "%s/v%d-%s.txt", dir, GOLDEN_VERSION, listing);
    f = fopen(path, "rb"); /* the first one says it for all */
    if (f == NULL) {
        file_write(path, l.text, l.len);
    } else {
        fclose(f);
        want = file_read(path, &len);
        CHECK_EQ(len, l.len);
        CHECK_MEM_EQ(want, l.text, len);
        free(want);
    }
    free(l.text);
    mem_disk_destroy(disk);
}

/* ---- reading them ---- */

/* All revisions are what the listing says. */
static void same_listing(struct quire *db, quire_rev last, const uint8_t *want,
                         size_t want_len)
{
    struct listing l;
    size_t line = 1;

    say_store(&l, db, last);
    for (size_t i = 0; i < l.len && i < want_len; i++) {
        if ((uint8_t)l.text[i] != want[i])
            print_error("the listings differ in line %zu\n", line);
        CHECK((uint8_t)l.text[i] == want[i]);
        line += want[i] == '\n';
    }
    CHECK_EQ(l.len, want_len);
    free(l.text);
}

/* A copy goes on: as it was written, and under each other versioning. */
static void go_on(struct mem_disk *disk, quire_rev last, const uint8_t *want,
                  size_t want_len, quire_versioning versioning)
{
    struct mem_disk *copy = mem_disk_copy(disk);
    struct quire_options opt = options(copy, 0);
    struct quire_val key = { "key/002", 7 }, val = { "new", 3 }, found;
    struct quire_val gone = { "key/003", 7 }, label = { "of it", 5 };
    struct quire_txn *txn;
    struct quire *db;
    quire_rev rev;

    CHECK_OK(quire_open(PATH, &opt, &db));
    if (versioning != QUIRE_VERSIONING_DEFAULT)
        CHECK_OK(quire_set_versioning(db, versioning, 3));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_put_labeled(txn, NULL, &key, &val, &label, 0));
    CHECK(quire_del(txn, NULL, &gone) <= 0);
    CHECK_OK(quire_commit(txn, 0, &rev));
    CHECK(rev > last);
    CHECK_OK(quire_close(db));
    CHECK_OK(quire_open(PATH, &opt, &db));
    same_listing(db, last, want, want_len);
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_EQ(quire_txn_rev(txn), rev);
    CHECK_OK(quire_get(txn, NULL, &key, &found));
    CHECK_EQ(found.size, 3);
    CHECK_STATUS(quire_get(txn, NULL, &gone, &found), QUIRE_NOTFOUND);
    quire_abort(txn);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
    mem_disk_destroy(copy);
}

/* The listing of v1-full.quire is v1-all.txt, that of v1-large.blocks
 * v1-large.txt. */
static void golden_check(const char *name)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = options(disk, QUIRE_RDONLY);
    bool large = strstr(name, ".blocks") != NULL;
    uint8_t *bytes, *want, *now;
    size_t len, want_len, now_len;
    struct quire *db;
    char path[600];
    quire_rev last;

    CHECK_CASE(name);
    snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
    bytes = file_read(path, &len);
    if (large) {
        now = bytes;
        bytes = blocks_back(now, len, &len);
        free(now);
    }
    snprintf(path, sizeof(path), "%s/%.*s-%s.txt", GOLDEN_DIR,
             (int)strcspn(name, "-"), name, large ? "large" : "all");
    want = file_read(path, &want_len);
    mem_disk_put(disk, PATH, bytes, len);
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_OK(quire_rev_newest(db, &last));
    same_listing(db, last, want, want_len);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
    now = mem_disk_bytes(disk, PATH, &now_len);
    CHECK_EQ(now_len, len);
    CHECK_MEM_EQ(now, bytes, len);
    go_on(disk, last, want, want_len, QUIRE_VERSIONING_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        go_on(disk, last, want, want_len, all[i].versioning);
    free(want);
    free(bytes);
    mem_disk_destroy(disk);
}

static void test_golden_files(void **state)
{
    DIR *d = opendir(GOLDEN_DIR);
    unsigned n = 0;

    (void)state;
    CHECK(d != NULL); /* tests are run from the top folder */
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strstr(e->d_name, ".quire") == NULL &&
            strstr(e->d_name, ".blocks") == NULL)
            continue;
        golden_check(e->d_name);
        n++;
    }
    closedir(d);
    CHECK(n >= ARRAY_LEN(all) + 1);
}

static void make_all(const char *dir)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        golden_make(dir, all[i].name, "all", all[i].versioning);
    golden_make(dir, "large", "large", QUIRE_VERSIONING_DEFAULT);
}

/* What is made today, of the same history, has the same listings. */
static void test_makes_the_same(void **state)
{
    static const char *const listings[] = { "all", "large" };
    char dir[] = "/tmp/golden-XXXXXX";
    char path[600];
    DIR *d;

    (void)state;
    CHECK(mkdtemp(dir) != NULL);
    make_all(dir);
    for (size_t i = 0; i < ARRAY_LEN(listings); i++) {
        uint8_t *a, *b;
        size_t a_len, b_len;

        CHECK_CASE(listings[i]);
        snprintf(path, sizeof(path), "%s/v%d-%s.txt", dir, GOLDEN_VERSION,
                 listings[i]);
        a = file_read(path, &a_len);
        snprintf(path, sizeof(path), "%s/v%d-%s.txt", GOLDEN_DIR,
                 GOLDEN_VERSION, listings[i]);
        b = file_read(path, &b_len);
        CHECK_EQ(a_len, b_len);
        CHECK_MEM_EQ(a, b, a_len);
        free(a);
        free(b);
    }
    d = opendir(dir);
    CHECK(d != NULL);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            CHECK_EQ(remove(path), 0);
    }
    closedir(d);
    CHECK_EQ(remove(dir), 0);
}

static void test_make(void **state)
{
    (void)state;
    make_all(getenv("QUIRE_GOLDEN"));
}

int main(void)
{
    const struct CMUnitTest make[] = { cmocka_unit_test(test_make) };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files),
        cmocka_unit_test(test_makes_the_same),
    };

    if (getenv("QUIRE_GOLDEN") != NULL)
        return cmocka_run_group_tests(make, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
