/*
 * test_store_files.c - stores in real files, and everything that is no store in
 * a store's place: each is refused with its own status, and left as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib_crash.h"
#include "tests/lib_mem.h"
#include "tests/lib_model.h"
#include "tests/test.h"

struct rig {
    char dir[256];
    char path[512];
    struct quire_options opt;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    CHECK(r != NULL);
    test_tmpdir(r->dir, sizeof(r->dir));
    test_path(r->path, sizeof(r->path), r->dir, "files.quire");
    r->opt = (struct quire_options){
        .size = sizeof(r->opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
    };
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    test_rmtree(r->dir);
    free(r);
    return 0;
}

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    CHECK(f != NULL);
    CHECK_EQ(fwrite(bytes, 1, n, f), n);
    CHECK_EQ(fclose(f), 0);
}

static uint8_t *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;
    long len;

    CHECK(f != NULL);
    CHECK_EQ(fseek(f, 0, SEEK_END), 0);
    len = ftell(f);
    rewind(f);
    bytes = malloc((size_t)len + 1);
    CHECK(bytes != NULL);
    *n = fread(bytes, 1, (size_t)len, f);
    CHECK_EQ(*n, (size_t)len);
    fclose(f);
    return bytes;
}

static unsigned count_files(const char *dir)
{
    char cmd[600];
    unsigned n = 0;
    FILE *p;

    snprintf(cmd, sizeof(cmd), "ls -A '%s' | wc -l", dir);
    p = popen(cmd, "r");
    CHECK(p != NULL);
    CHECK_EQ(fscanf(p, "%u", &n), 1);
    CHECK_EQ(pclose(p), 0);
    return n;
}

/* Put n records in one transaction; the same for the same `salt`. */
static void load(struct quire *db, unsigned n, unsigned salt)
{
    struct quire_txn *txn = NULL;

    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    for (unsigned i = 0; i < n; i++) {
        char key[32];
        char val[64];
        struct quire_val k = { key, 0 };
        struct quire_val v = { val, 0 };

        k.size = (size_t)snprintf(key, sizeof(key), "key %06u", i);
        v.size = (size_t)snprintf(val, sizeof(val), "value %u of %u", i, salt);
        CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
    }
    CHECK_OK(quire_commit(txn, 0, NULL));
}

static uint64_t count(struct quire *db)
{
    struct quire_txn *txn = NULL;
    uint64_t n = 0;

    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_OK(quire_tree_count(txn, NULL, &n));
    quire_abort(txn);
    return n;
}

/* The defaults work, and what was stored is there again. */
static void test_the_smallest_program(void **state)
{
    struct rig *r = *state;
    struct quire_val key = { "greeting", 8 };
    struct quire_val val = { "hello", 5 };
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    struct stat st;

    CHECK_OK(quire_open(r->path, NULL, &db));
    CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
    CHECK_OK(quire_put(txn, NULL, &key, &val, 0));
    CHECK_OK(quire_commit(txn, 0, NULL));
    CHECK_OK(quire_close(db));
    CHECK_EQ(count_files(r->dir), 1);
    CHECK_EQ(stat(r->path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0644 & ~umask(022));
    CHECK(st.st_size <= 256 * 1024); /* a small store is a small file */

    CHECK_OK(quire_open(r->path, NULL, &db));
    CHECK_OK(quire_begin(db, QUIRE_READ, &txn));
    CHECK_OK(quire_get(txn, NULL, &key, &val));
    CHECK_EQ(val.size, 5);
    CHECK_MEM_EQ(val.data, "hello", 5);
    quire_abort(txn);
    CHECK_OK(quire_verify(db, NULL, NULL, NULL));
    CHECK_OK(quire_close(db));
}

/* What is no store is refused and left alone, in every way of opening. */
static void test_files_that_are_no_stores(void **state)
{
    struct rig *r = *state;
    static uint8_t zeros[100000];
    static uint8_t noise[100000];
    static char text[30000];
    uint64_t rand = 1;
    const struct {
        const char *name;
        const void *bytes;
        size_t n;
    } cases[] = {
        { "empty", "", 0 },
        { "one byte", "Q", 1 },
        { "few zeros", zeros, 100 },
        { "zeros", zeros, sizeof(zeros) },
        { "noise", noise, sizeof(noise) },
        { "text", text, sizeof(text) },
        { "short text", "hello\n", 6 },
    };

    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)test_rand(&rand);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 61 == 60 ? '\n' : (char)('a' + i % 26);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned flags = 0; flags <= QUIRE_NOCREATE; flags++) {
            struct quire *db = NULL;
            uint8_t *after;
            size_t n = 0;

            CHECK_CASE(cases[i].name);
            write_file(r->path, cases[i].bytes, cases[i].n);
            r->opt.flags = flags;
            CHECK_STATUS(quire_open(r->path, &r->opt, &db), QUIRE_FORMAT);
            CHECK(db == NULL);
            CHECK(strstr(quire_error_detail(), r->path) != NULL);
            after = read_file(r->path, &n);
            CHECK_EQ(n, cases[i].n);
            CHECK_MEM_EQ(after, cases[i].bytes, n);
            free(after);
            CHECK_EQ(count_files(r->dir), 1);
        }
    }
}

static void test_paths_that_lead_nowhere(void **state)
{
    struct rig *r = *state;
    char path[600];
    struct quire *db = NULL;
    quire_status rc;

    rc = quire_open(r->dir, &r->opt, &db);
    CHECK(rc != QUIRE_OK && db == NULL);
    CHECK(rc == QUIRE_FORMAT || rc == QUIRE_PERM);
    CHECK(strstr(quire_error_detail(), r->dir) != NULL);
    test_path(path, sizeof(path), r->dir, "no/such/directory");
    CHECK_STATUS(quire_open(path, &r->opt, &db), QUIRE_NOTFOUND);
    test_path(path, sizeof(path), r->dir, "fifo");
    CHECK_EQ(mkfifo(path, 0600), 0);
    rc = quire_open(path, &r->opt, &db);
    CHECK(rc == QUIRE_FORMAT || rc == QUIRE_IO);
    r->opt.flags = QUIRE_RDONLY;
    rc = quire_open(path, &r->opt, &db);
    CHECK(rc == QUIRE_FORMAT || rc == QUIRE_IO);
    CHECK(db == NULL);
}

static void test_files_without_permission(void **state)
{
    struct rig *r = *state;
    struct quire *db = NULL;
    int fd;

    CHECK_OK(quire_open(r->path, &r->opt, &db));
    load(db, 10, 1);
    CHECK_OK(quire_close(db));
    CHECK_EQ(chmod(r->path, 0), 0);
    fd = open(r->path, O_RDONLY);
    if (fd >= 0) { /* root may do all */
        close(fd);
        print_message("SKIPPED: this user may read any file\n");
        skip();
    }
    CHECK_STATUS(quire_open(r->path, &r->opt, &db), QUIRE_PERM);
    CHECK_EQ(chmod(r->path, 0444), 0);
    CHECK_STATUS(quire_open(r->path, &r->opt, &db), QUIRE_PERM);
    r->opt.flags = QUIRE_RDONLY;
    CHECK_OK(quire_open(r->path, &r->opt, &db));
    CHECK_EQ(count(db), 10);
    CHECK_OK(quire_close(db));
}

/* One handle writes; readers share; in this process as between processes. */
static void test_locks(void **state)
{
    struct rig *r = *state;
    struct quire_options rdonly = r->opt;
    struct quire *a = NULL;
    struct quire *b = NULL;
    struct quire *c = NULL;
    int status = -1;
    pid_t pid;

    rdonly.flags = QUIRE_RDONLY;
    CHECK_OK(quire_open(r->path, &r->opt, &a));
    load(a, 100, 1);
    CHECK_STATUS(quire_open(r->path, &r->opt, &b), QUIRE_LOCKED);
    CHECK_STATUS(quire_open(r->path, &rdonly, &b), QUIRE_LOCKED);
    CHECK(b == NULL);
    fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        /* The thread sanitizer knows no threads in a forked child. */
        r->opt.flags = QUIRE_NOBACKGROUND;
        _exit(quire_open(r->path, &r->opt, &b) == QUIRE_LOCKED ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(quire_close(a));

    CHECK_OK(quire_open(r->path, &rdonly, &a));
    CHECK_OK(quire_open(r->path, &rdonly, &b));
    CHECK_STATUS(quire_open(r->path, &r->opt, &c), QUIRE_LOCKED);
    CHECK_EQ(count(a), 100);
    CHECK_EQ(count(b), 100);
    CHECK_OK(quire_close(a));
    CHECK_STATUS(quire_open(r->path, &r->opt, &c), QUIRE_LOCKED);
    CHECK_OK(quire_close(b));
    CHECK_OK(quire_open(r->path, &r->opt, &c));
    CHECK_OK(quire_close(c));
}

/* A read-only opener writes nothing, even where there is much to recover. */
static void test_read_only_opening(void **state)
{
    struct rig *r = *state;
    struct mem_disk *disk = mem_disk_create();
    struct mem_disk *copy;
    struct crash_rec *rec;
    struct quire_options opt = r->opt;
    struct quire_txn *txn = NULL;
    struct quire *db = NULL;
    struct quire *ro = NULL;

    opt.io = mem_disk_io(disk);
    CHECK_OK(quire_open("db", &opt, &db));
    for (unsigned i = 1; i <= 5; i++)
        load(db, 100 * i, i);
    copy = mem_disk_copy(disk); /* as if the process had died */
    CHECK_OK(quire_close(db));

    rec = crash_rec_create(mem_disk_io(copy));
    opt.io = crash_rec_io(rec);
    opt.flags = QUIRE_RDONLY;
    CHECK_OK(quire_open("db", &opt, &ro));
    CHECK_EQ(count(ro), 500);
    CHECK_STATUS(quire_begin(ro, QUIRE_WRITE, &txn), QUIRE_READONLY);
    CHECK(txn == NULL);
    for (quire_rev rev = 0; rev <= 5; rev++) {
        uint64_t n = 0;

        CHECK_OK(quire_begin_at(ro, rev, &txn));
        CHECK_OK(quire_tree_count(txn, NULL, &n));
        CHECK_EQ(n, 100 * rev);
        quire_abort(txn);
    }
    CHECK_OK(quire_sync(ro));
    CHECK_OK(quire_verify(ro, NULL, NULL, NULL));
    CHECK_OK(quire_close(ro));
    CHECK_EQ(crash_rec_figures(rec).events, 0);
    crash_rec_destroy(rec);
    mem_disk_destroy(copy);
    mem_disk_destroy(disk);
}

/*
 * A store cut at any length opens at a revision that is whole there, or is
 * refused; it never shows a record that is wrong. Superblocks of a closed
 * store name durable revisions, so that the loss of these is told.
 */
static void test_truncated_stores(void **state)
{
    struct rig *r = *state;
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = r->opt;
    struct quire *db = NULL;
    unsigned refused = 0;
    unsigned opened = 0;
    uint8_t *bytes;
    size_t len = 0;

    opt.io = mem_disk_io(disk);
    opt.flags = QUIRE_NOBACKGROUND;
    opt.page_bytes = QUIRE_PAGE_MIN;
    CHECK_OK(quire_open("db", &opt, &db));
    for (unsigned i = 1; i <= 8; i++)
        load(db, 60 * i, i);
    CHECK_OK(quire_close(db));
    bytes = mem_disk_bytes(disk, "db", &len);
    for (size_t cut = 0; cut < len; cut += 1 + len / test_rounds(400)) {
        struct mem_disk *d = mem_disk_create();
        quire_status rc;

        mem_disk_put(d, "db", bytes, cut);
        opt.io = mem_disk_io(d);
        rc = quire_open("db", &opt, &db);
        if (rc == QUIRE_OK) {
            quire_rev rev = 0;

            CHECK_OK(quire_rev_newest(db, &rev));
            CHECK(rev <= 8);
            CHECK_EQ(count(db), 60 * rev);
            rc = quire_verify(db, NULL, NULL, NULL);
            CHECK_OK(rc);
            CHECK_OK(quire_close(db));
            opened++;
        } else {
            size_t n = 0;

            CHECK(rc == QUIRE_CORRUPT || rc == QUIRE_FORMAT);
            CHECK(db == NULL);
            CHECK_MEM_EQ(mem_disk_bytes(d, "db", &n), bytes, cut);
            CHECK_EQ(n, cut);
            refused++;
        }
        mem_disk_destroy(d);
    }
    print_message("files: cut at %u lengths, %u opened, %u refused\n",
                  opened + refused, opened, refused);
    CHECK(refused > 0);
    mem_disk_destroy(disk);
}

/* A full disk fails commits, and they work again when there is room. */
static void test_full_disk(void **state)
{
    struct rig *r = *state;
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = r->opt;
    struct twin twin;
    uint64_t rand = 3;
    unsigned failed = 0;
    unsigned done = 0;

    twin_init(&twin);
    opt.io = mem_disk_io(disk);
    opt.page_bytes = QUIRE_PAGE_MIN;
    mem_disk_limit(disk, 4096);
    CHECK_STATUS(quire_open("db", &opt, &twin.db), QUIRE_NOSPACE);
    CHECK(twin.db == NULL);
    CHECK_EQ(mem_disk_files(disk), 0);
    mem_disk_limit(disk, 400 * 1000);
    CHECK_OK(twin_open(&twin, "db", &opt));
    for (unsigned i = 0; i < 200; i++) {
        char why[MODEL_WHY_CAP];
        quire_status rc;

        CHECK_OK(twin_begin(&twin));
        for (unsigned k = 0; k < 20; k++) {
            uint8_t key[GEN_KEY_MAX];
            size_t len = gen_key(&rand, GEN_PREFIX, 500, 512, key);

            CHECK_OK(twin_put_gen(&twin, NULL, key, len, 300, &rand));
        }
        rc = twin_commit(&twin, i % 3 == 0 ? QUIRE_NOSYNC : 0);
        if (rc != QUIRE_OK)
            CHECK_STATUS(rc, QUIRE_NOSPACE);
        *(rc == QUIRE_OK ? &done : &failed) += 1;
        if (rc != QUIRE_OK && failed % 5 == 0)
            mem_disk_limit(disk, 400 * 1000 + failed * 40 * 1000);
        if (!model_same_at(twin.model, twin.db, twin.published, MODEL_FORWARD,
                           why)) {
            print_error("%s\n", why);
            CHECK(false);
        }
        if (i % 40 == 39) {
            CHECK_OK(twin_close(&twin));
            mem_disk_limit(disk, 0); /* recovery may write */
            CHECK_OK(twin_open(&twin, "db", &opt));
            mem_disk_limit(disk, 400 * 1000 + failed * 40 * 1000);
        }
    }
    print_message("files: full disk, %u commits, %u failed\n", done, failed);
    CHECK(failed > 0 && done > 20);
    CHECK_OK(quire_verify(twin.db, NULL, NULL, NULL));
    CHECK_OK(twin_close(&twin));
    twin_fini(&twin);
    mem_disk_destroy(disk);
}

/* The same history through the system's own files. */
static void test_history_in_a_real_file(void **state)
{
    struct rig *r = *state;
    struct twin twin;
    uint64_t rand = test_seed();
    unsigned n = (unsigned)test_rounds(30);

    twin_init(&twin);
    r->opt.page_bytes = QUIRE_PAGE_MIN;
    CHECK_OK(twin_open(&twin, r->path, &r->opt));
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(twin_begin(&twin));
        for (unsigned k = 0; k < 60; k++) {
            enum gen_shape shape = (enum gen_shape)(k % GEN_SHAPES);
            uint8_t key[GEN_KEY_MAX];
            size_t len = gen_key(&rand, shape, 600, 512, key);
            size_t size = test_rand_below(&rand, k % 9 == 0 ? 9000 : 200);

            CHECK_OK(twin_put_gen(&twin, NULL, key, len, size, &rand));
        }
        if (i == 3)
            CHECK_OK(twin_put_gen(&twin, NULL, "huge", 4, 3000000, &rand));
        CHECK_OK(twin_commit(&twin, i % 4 > 0 ? QUIRE_NOSYNC : 0));
        if (i % 7 == 6) {
            CHECK_OK(twin_close(&twin));
            CHECK_OK(twin_open(&twin, r->path, &r->opt));
        }
    }
    for (quire_rev rev = 0; rev <= twin.published; rev++) {
        char why[MODEL_WHY_CAP];

        if (!model_same_at(twin.model, twin.db, rev, MODEL_DEEP, why)) {
            print_error("%s\n", why);
            CHECK(false);
        }
    }
    CHECK_OK(quire_verify(twin.db, NULL, NULL, NULL));
    CHECK_OK(twin_close(&twin));
    twin_fini(&twin);
    CHECK_EQ(count_files(r->dir), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_smallest_program),
        TEST(test_files_that_are_no_stores),
        TEST(test_paths_that_lead_nowhere),
        TEST(test_files_without_permission),
        TEST(test_locks),
        TEST(test_read_only_opening),
        TEST(test_truncated_stores),
        TEST(test_full_disk),
        TEST(test_history_in_a_real_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
