/*
 * test_tools_mirror.c - `quire load --mirror`, and archives as inputs.
 *
 * The series of real days is compared with the files as libarchive gives them
 * to this test, as sorted lines: no code of the program's takes part.
 */
#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include "tests/lib_run.h"

#define DAYS 1781

static char dir[512];  /* of the test that runs */
static char db[600];   /* dir/t.quire */
static char file[600]; /* dir/a.csv */

static int setup(void **state)
{
    (void)state;
    test_tmpdir(dir, sizeof(dir));
    test_path(db, sizeof(db), dir, "t.quire");
    test_path(file, sizeof(file), dir, "a.csv");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_rmtree(dir);
    return 0;
}

static void mirror(const char *text, int status, struct run *r)
{
    write_file(file, text, strlen(text));
    run(r, "load", "--db", db, "--mirror", "--key", "id", file, NULL);
    CHECK_RUN(r, status);
}

static void check_dump(const char *rev, const char *want)
{
    struct run r = { 0 };

    run(&r, "dump", "--db", db, "--rev", rev, NULL);
    CHECK_RUN(&r, 0);
    CHECK_STR_EQ(r.out, want);
    run_free(&r);
}

/* Each input is one revision; what a revision holds is its input. */
static void test_tree_equals_input(void **state)
{
    struct run r = { 0 };

    (void)state;
    mirror("id,a\n2,x\n1,y\n3,z\n", 0, &r);
    mirror("id,a\n2,x\n4,n\n1,new\n", 0, &r);
    CHECK_EQ(run_figure(&r, "records unchanged"), 1);
    CHECK_EQ(run_figure(&r, "records replaced"), 1);
    CHECK_EQ(run_figure(&r, "records deleted"), 1);
    CHECK_EQ(run_figure(&r, "revisions"), 1);
    mirror("id,a\n2,x\n4,n\n1,new\n", 0, &r);
    CHECK_EQ(run_figure(&r, "records unchanged"), 3);
    CHECK_EQ(run_figure(&r, "newest revision"), 3);
    mirror("id,a,b\n1,new,\n", 0, &r);
    mirror("id\n9\n", 0, &r);
    mirror("id\n", 0, &r);
    CHECK_EQ(run_figure(&r, "newest revision"), 6);
    check_dump("1", "id,a\n1,y\n2,x\n3,z\n");
    check_dump("2", "id,a\n1,new\n2,x\n4,n\n");
    check_dump("3", "id,a\n1,new\n2,x\n4,n\n");
    check_dump("4", "id,a,b\n1,new,\n");
    check_dump("5", "id\n9\n");
    check_dump("6", "id\n");
    run(&r, "trees", "--db", db, NULL);
    CHECK(strstr(r.out, "mirror") == NULL);
    run_free(&r);
}

/* A bad line, an empty file: nothing is done; later inputs are. */
static void test_bad_inputs_change_nothing(void **state)
{
    struct run r = { 0 };
    char bad[600];
    char empty[600];

    (void)state;
    test_path(bad, sizeof(bad), dir, "bad.csv");
    test_path(empty, sizeof(empty), dir, "empty.csv");
    mirror("id,a\n1,x\n", 0, &r);
    write_file(bad, "id,b,c\n2,y,z\n,p,q\n3,w,v\n", 24);
    write_file(empty, "", 0);
    run(&r, "load", "--db", db, "--mirror", "--key", "id", bad, empty, NULL);
    CHECK_RUN(&r, 3);
    CHECK_SAYS(&r, "bad.csv: records were rejected: nothing of it is mirrored");
    CHECK_SAYS(&r, "empty.csv: it is empty: nothing of it is mirrored");
    CHECK_EQ(run_figure(&r, "records read"), 3);
    CHECK_EQ(run_figure(&r, "records loaded"), 0);
    CHECK_EQ(run_figure(&r, "records left out"), 2);
    CHECK_EQ(run_figure(&r, "inputs left out"), 2);
    CHECK_EQ(run_figure(&r, "revisions"), 0);
    check_dump("1", "id,a\n1,x\n");
    write_file(file, "id,a\n7,x\n", 9);
    run(&r, "load", "--db", db, "--mirror", "--key", "id", bad, file, NULL);
    CHECK_RUN(&r, 3);
    CHECK_EQ(run_figure(&r, "newest revision"), 2);
    check_dump("2", "id,a\n7,x\n");
    mirror("id,a\n7,x\n7,y\n", 0, &r); /* the last of a key holds */
    check_dump("3", "id,a\n7,y\n");
    run(&r, "load", "--db", db, "--mirror", "--key", "a", "--format", "ndjson",
        file, NULL);
    CHECK_RUN(&r, 1);
    run(&r, "load", "--db", db, "--mirror", "--key-auto", file, NULL);
    CHECK_RUN(&r, 2);
    run(&r, "load", "--db", db, "--mirror", "--key", "id", "--commit-every",
        "5", file, NULL);
    CHECK_RUN(&r, 2);
    CHECK_SAYS(&r, "--mirror goes with neither");
    run_free(&r);
}

/* Random sets of keys, many at a time, against what was given. */
static void test_random_sets(void **state)
{
    uint64_t seed = test_seed();
    uint64_t rounds = test_rounds(8);
    char *in = malloc(1 << 20);
    struct run r = { 0 };

    (void)state;
    CHECK(in != NULL);
    for (uint64_t i = 0; i < rounds; i++) {
        size_t len = (size_t)sprintf(in, "id,v\n");
        uint64_t odds = 1 + test_rand_below(&seed, 6);

        for (int k = 0; k < 20000; k++) {
            if (test_rand_below(&seed, odds) == 0)
                len += (size_t)sprintf(in + len, "%05d,%d\n", k,
                                       (int)test_rand_below(&seed, 3));
        }
        mirror(in, 0, &r);
        run(&r, "dump", "--db", db, NULL);
        CHECK_EQ(r.out_len, len);
        CHECK_MEM_EQ(r.out, in, len);
    }
    run(&r, "verify", "--db", db, NULL);
    CHECK_RUN(&r, 0);
    free(in);
    run_free(&r);
}

static void test_archives(void **state)
{
    struct archive *a = archive_write_new();
    static const struct {
        const char *name;
        unsigned type;
        const char *text;
    } files[] = {
        { "d", AE_IFDIR, "" },
        { "d/1.csv", AE_IFREG, "id,a\n1,x\n" },
        { "link", AE_IFLNK, "" },
        { "d/2.csv", AE_IFREG, "id,a\n2,y\n" },
    };
    struct run r = { 0 };
    char tar[600];
    char *all;
    size_t len;
    size_t at;
    unsigned ncut = 0;

    (void)state;
    test_path(tar, sizeof(tar), dir, "t.tar");
    archive_write_set_format_ustar(a);
    CHECK_EQ(archive_write_open_filename(a, tar), ARCHIVE_OK);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct archive_entry *e = archive_entry_new();

        archive_entry_set_pathname(e, files[i].name);
        archive_entry_set_filetype(e, files[i].type);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (la_int64_t)strlen(files[i].text));
        if (files[i].type == AE_IFLNK)
            archive_entry_set_symlink(e, "d/1.csv");
        CHECK_EQ(archive_write_header(a, e), ARCHIVE_OK);
        archive_write_data(a, files[i].text, strlen(files[i].text));
        archive_entry_free(e);
    }
    archive_write_free(a);
    run(&r, "load", "--db", db, "--key", "id", tar, NULL);
    CHECK_RUN(&r, 0);
    CHECK_SAYS(&r, "t.tar:link: it is no plain file: passed over");
    check_dump("1", "id,a\n1,x\n2,y\n");
    run(&r, "load", "--db", db, "--mirror", "--key", "id", tar, NULL);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "revisions"), 2);
    check_dump("2", "id,a\n1,x\n");
    check_dump("3", "id,a\n2,y\n");
    all = read_file(tar, &len);
    write_file(tar, all, 1027); /* inside the first file's bytes */
    run(&r, "load", "--db", db, "--mirror", "--key", "id", tar, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "the archive is damaged");
    CHECK_EQ(run_figure(&r, "revisions"), 0);
    /* Between two blocks: a cut between files is one as well. */
    for (size_t cut = 512; cut <= len; cut += 512) {
        bool whole = true;

        for (size_t i = cut < len ? cut - 512 : len - 512; i < cut; i++)
            whole &= all[i] == 0;
        unlink(db);
        write_file(tar, all, cut);
        run(&r, "load", "--db", db, "--key", "id", tar, NULL);
        CHECK_RUN(&r, whole ? 0 : 1);
        if (whole)
            continue;
        if (strstr(r.err, "the archive has no end") != NULL)
            CHECK_SAYS(&r, "the archive has no end: it has been cut behind a "
                           "file\n");
        else
            CHECK_SAYS(&r, "the archive is damaged or not what its name says");
        CHECK_EQ(run_figure(&r, "records committed"), 0);
        ncut++;
    }
    CHECK(ncut >= 5);
    for (at = 512; memcmp(all + at + 257, "ustar", 5) != 0; at += 512)
        CHECK(at + 1024 < len);
    all[at] ^= 1; /* the second header */
    write_file(tar, all, len);
    run(&r, "load", "--db", db, "--key", "id", tar, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "; the archive is damaged or not what its name says\n");
    write_file(tar, "no archive at all", 17);
    run(&r, "load", "--db", db, "--key", "id", tar, NULL);
    CHECK_RUN(&r, 1);
    CHECK_SAYS(&r, "; the archive is damaged or not what its name says\n");
    free(all);
    run_free(&r);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Cut `text` into lines, in place, and sort those behind the first. */
static size_t cut_sorted(char *text, char **lines, size_t cap)
{
    size_t n = 0;

    for (char *p = strtok(text, "\n"); p != NULL; p = strtok(NULL, "\n")) {
        CHECK(n < cap);
        lines[n++] = p;
    }
    qsort(lines + 1, n - 1, sizeof(*lines), by_text);
    return n;
}

static void test_real_days(void **state)
{
    uint64_t seed = test_seed();
    static bool chosen[DAYS + 1];
    struct archive *a;
    struct archive_entry *e;
    struct run r = { 0 };
    char path[600];
    char spec[] = "codice_regione,codice_provincia";
    const char *args[] = { "load",     "--db",  db,   "--memory", "32M",
                           "--mirror", "--key", spec, path,       NULL };
    int day = 0;

    (void)state;
    test_shared_path(path, sizeof(path),
                     "data/it-covid-province-daily.tar.zst");
    run_measured(&r, args);
    CHECK_RUN(&r, 0);
    CHECK_EQ(run_figure(&r, "revisions"), DAYS);
    CHECK_EQ(run_figure(&r, "records loaded"), 262807);
    CHECK_EQ(run_figure(&r, "inputs left out"), 0);
    if (getenv("TEST_DIVISOR") == NULL ||
        strcmp(getenv("TEST_DIVISOR"), "1") == 0)
        CHECK(r.peak_kib <= (32 + 24) * 1024);
    for (int i = 0; i < 20; i++)
        chosen[1 + test_rand_below(&seed, DAYS)] = true;
    a = archive_read_new();
    archive_read_support_format_tar(a);
    archive_read_support_filter_zstd(a);
    CHECK_EQ(archive_read_open_filename(a, path, 65536), ARCHIVE_OK);
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        static char *want[1000];
        static char *got[1000];
        static char text[1 << 20];
        char rev[16];
        la_ssize_t len;
        size_t n;

        if (archive_entry_filetype(e) != AE_IFREG || !chosen[++day])
            continue;
        len = archive_read_data(a, text, sizeof(text) - 1);
        CHECK(len > 0);
        text[len] = '\0';
        sprintf(rev, "%d", day);
        run(&r, "scan", "--db", db, "--rev", rev, NULL);
        CHECK_RUN(&r, 0);
        n = cut_sorted(text, want, ARRAY_LEN(want));
        CHECK_EQ(cut_sorted(r.out, got, ARRAY_LEN(got)), n);
        for (size_t i = 0; i < n; i++)
            CHECK_STR_EQ(got[i], want[i]);
    }
    CHECK_EQ(day, DAYS);
    archive_read_free(a);
    run_free(&r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tree_equals_input), TEST(test_bad_inputs_change_nothing),
        TEST(test_random_sets),       TEST(test_archives),
        TEST(test_real_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
