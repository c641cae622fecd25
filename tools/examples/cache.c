/*
 * cache.c - a worked example of the page cache alone, under an engine of one's
 * own.
 *
 *     cc cache.c -lquire && ./a.out FILE
 *
 * The engine here is a reader of a file in blocks of 16 KiB: the key is the
 * block's number, the payload a segment of the region allocator. It sums the
 * bytes of blocks chosen at random, and shows that far more blocks
 * were wanted than fit, while the memory stayed within its budget.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quire.h"

#define BLOCK_BYTES ((size_t)16 * 1024)

/* What loading and removing need. */
struct engine {
    int fd;
    struct quire_pool *pool;
    uint64_t nremoved; /* written by the callback only */
};

static int fail(const char *what, quire_status rc)
{
    fprintf(stderr, "%s: %s (%s)\n", what, quire_strerror(rc),
            quire_error_detail());
    return 1;
}

/* A block is wanted that isn't resident: get memory, read it. Called with no
 * lock held, for each key by one thread at a time. */
static quire_status load(void *ctx, uint64_t key, void *arg,
                         struct quire_page *page)
{
    struct engine *e = ctx;
    void *seg;
    ssize_t n;
    quire_status rc = quire_pool_alloc(e->pool, BLOCK_BYTES, &seg);

    (void)arg;
    if (rc != QUIRE_OK)
        return rc;
    n = pread(e->fd, seg, BLOCK_BYTES, (off_t)(key * BLOCK_BYTES));
    if (n < 0) {
        (void)quire_pool_free(e->pool, seg);
        return QUIRE_IO;
    }
    memset((char *)seg + n, 0, BLOCK_BYTES - (size_t)n);
    page->payload = seg;
    page->weight_bytes = BLOCK_BYTES;
    page->kind = QUIRE_KIND_LEAF;
    return QUIRE_OK;
}

/* A block has left for good: nobody looks at it any more. */
static void removed(void *ctx, uint64_t key, const struct quire_page *page,
                    quire_cause cause)
{
    struct engine *e = ctx;

    (void)key;
    (void)cause;
    (void)quire_pool_free(e->pool, page->payload);
    __atomic_fetch_add(&e->nremoved, 1, __ATOMIC_RELAXED);
}

static quire_status sum_block(struct quire_cache *cache, uint64_t block,
                              uint64_t *sum)
{
    uint32_t hint = QUIRE_HINT_NONE; /* an engine keeps it beside the pointer */
    struct quire_pin pin;
    quire_status rc = quire_cache_pin(cache, block, &hint, NULL, &pin);

    if (rc != QUIRE_OK)
        return rc;
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        *sum += ((const unsigned char *)pin.payload)[i];
    quire_cache_unpin(cache, &pin); /* from here on it may be evicted */
    return QUIRE_OK;
}

int main(int argc, char **argv)
{
    struct quire_pool_options pool_opt = { .size = sizeof(pool_opt),
                                           .budget_bytes = 16 << 20 };
    struct quire_cache_options opt = { .size = sizeof(opt),
                                       .capacity_bytes = 8 << 20,
                                       .load = load,
                                       .removed = removed };
    struct quire_cache_stat cache_st = { .size = sizeof(cache_st) };
    struct quire_pool_stat pool_st = { .size = sizeof(pool_st) };
    struct quire_cache *cache = NULL;
    struct engine e = { .fd = -1 };
    struct stat st;
    uint64_t nblocks;
    uint64_t sum = 0;
    uint64_t random = 1;
    quire_status rc;
    int status = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    e.fd = open(argv[1], O_RDONLY);
    if (e.fd < 0 || fstat(e.fd, &st) != 0 || st.st_size == 0) {
        fprintf(stderr, "%s: cannot be read, or is empty\n", argv[1]);
        goto out;
    }
    nblocks = ((uint64_t)st.st_size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    rc = quire_pool_create(&pool_opt, &e.pool);
    if (rc != QUIRE_OK) {
        fail("pool", rc);
        goto out;
    }
    opt.ctx = &e;
    rc = quire_cache_create(e.pool, &opt, &cache);
    if (rc != QUIRE_OK) {
        fail("cache", rc);
        goto out;
    }
    for (int i = 0; i < 10000 && rc == QUIRE_OK; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        rc = sum_block(cache, (random >> 33) % nblocks, &sum);
    }
    if (rc == QUIRE_OK)
        rc = quire_cache_stat_get(cache, &cache_st);
    if (rc == QUIRE_OK)
        rc = quire_pool_stat_get(e.pool, &pool_st);
    if (rc != QUIRE_OK) {
        fail("reading", rc);
        goto out;
    }
    printf("10000 looks at %" PRIu64 " blocks, sum %" PRIu64 "\n", nblocks,
           sum);
    printf("loads %" PRIu64 ", resident now %" PRIu64 " pages\n",
           cache_st.loads, cache_st.pages);
    printf("memory: at most %" PRIu64 " of %" PRIu64 " bytes\n",
           pool_st.resident_peak_bytes, pool_st.budget_bytes);
    status = 0;

out:
    /* What is still resident leaves through removed(); then the pool is
     * empty. */
    rc = quire_cache_destroy(cache);
    if (rc != QUIRE_OK)
        status = fail("closing the cache", rc);
    rc = quire_pool_destroy(e.pool);
    if (rc != QUIRE_OK)
        status = fail("closing the pool", rc);
    if (status == 0)
        printf("removed %" PRIu64 " pages in all\n", e.nremoved);
    if (e.fd >= 0)
        close(e.fd);
    return status;
}
