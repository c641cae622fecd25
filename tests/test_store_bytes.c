/*
 * test_store_bytes.c - what a commit of one record writes, counted where it
 * leaves the library: leaf, inner pages, catalogue, record and padding.
 *
 * Random puts of one record each, each a synced commit, into trees of three
 * levels. Nothing is written ahead here (no threads), so every byte is a
 * commit's or a superblock's.
 */
#include <inttypes.h>

#include "tests/lib_mem.h"
#include "tests/test.h"

#define PATH "bytes.quire"

static const struct quire_io *inner;
static uint64_t bytes;
static uint64_t calls;

static ssize_t counting_pwritev(void *ctx, void *file, const struct iovec *iov,
                                int iovcnt, uint64_t off)
{
    ssize_t n = inner->pwritev(ctx, file, iov, iovcnt, off);

    if (n > 0)
        bytes += (uint64_t)n;
    calls++;
    return n;
}

/* A record of 16 + 100 bytes, half of them compressible. */
static void put(struct quire_txn *txn, uint64_t i, uint64_t *rand)
{
    uint8_t val[100];
    char key[17];
    const struct quire_val k = { key, 16 };
    const struct quire_val v = { val, sizeof(val) };

    snprintf(key, sizeof(key), "%016" PRIx64, i * UINT64_C(0x9E3779B97F4A7C15));
    memset(val, 'x', sizeof(val));
    for (unsigned at = 0; at < 48; at += 8) {
        uint64_t x = test_rand(rand);

        memcpy(val + at, &x, sizeof(x));
    }
    CHECK_OK(quire_put(txn, NULL, &k, &v, 0));
}

static void test_one_record(void **state)
{
    static const struct {
        const char *name;
        uint32_t page_bytes;
        uint64_t nrecords;
        uint64_t average; /* bytes, at most */
        uint64_t worst;
    } cases[] = {
        { "pages of 4 KiB", 4096, 25000, 4608, 16384 },
        { "pages of 16 KiB", 16384, 60000, 4608, 32768 },
    };
    uint64_t rand = test_seed();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t n = test_rounds(3000);
        struct mem_disk *disk = mem_disk_create();
        struct quire_io io = *mem_disk_io(disk);
        struct quire_options opt = { .size = sizeof(opt),
                                     .flags = QUIRE_NOBACKGROUND,
                                     .page_bytes = cases[i].page_bytes,
                                     .io = &io };
        struct quire_txn *txn;
        struct quire *db;
        uint64_t worst = 0;
        uint64_t before;

        CHECK_CASE(cases[i].name);
        inner = mem_disk_io(disk);
        io.pwritev = counting_pwritev;
        CHECK_OK(quire_open(PATH, &opt, &db));
        CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
        for (uint64_t r = 0; r < cases[i].nrecords; r++)
            put(txn, r, &rand);
        CHECK_OK(quire_commit(txn, 0, NULL));
        bytes = 0;
        calls = 0;
        for (uint64_t c = 0; c < n; c++) {
            before = bytes;
            CHECK_OK(quire_begin(db, QUIRE_WRITE, &txn));
            put(txn, test_rand_below(&rand, cases[i].nrecords), &rand);
            CHECK_OK(quire_commit(txn, 0, NULL));
            worst = bytes - before > worst ? bytes - before : worst;
        }
        print_message("%s: %" PRIu64 " bytes a commit, at most %" PRIu64
                      ", %.3f writes\n",
                      cases[i].name, bytes / n, worst,
                      (double)calls / (double)n);
        CHECK(bytes / n <= cases[i].average);
        CHECK(worst <= cases[i].worst);
        CHECK_OK(quire_close(db));
        mem_disk_destroy(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
