/*
 * pool.c - the region allocator on its own: a cache of blocks that lives
 * inside a budget.
 *
 * The program asks for far more than the budget. When the budget is used up
 * the pool calls evict(), which gives the oldest blocks back; so every request
 * is served and the memory never grows past the limit. Then the budget is
 * halved while blocks are held, and the pool's figures are printed.
 *
 *     cc pool.c $(pkg-config --cflags --libs quire)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quire.h"

#define NBLOCKS 4096

/* Blocks in the order they were made: a ring. */
struct ring {
    struct quire_pool *pool;
    void *block[NBLOCKS];
    size_t nbytes[NBLOCKS];
    unsigned first; /* the oldest */
    unsigned nheld;
    unsigned nevicted;
};

static void ring_drop_oldest(struct ring *r)
{
    if (quire_pool_free(r->pool, r->block[r->first]) != QUIRE_OK) {
        fprintf(stderr, "free: %s\n", quire_error_detail());
        exit(1);
    }
    r->first = (r->first + 1) % NBLOCKS;
    r->nheld--;
}

/* The pressure callback: called by the thread whose request found no room. It
 * may release, but not allocate. */
static uint64_t evict(void *arg, uint64_t nbytes)
{
    struct ring *r = arg;
    uint64_t given = 0;

    while (r->nheld > 0 && given < nbytes) {
        given += r->nbytes[r->first];
        ring_drop_oldest(r);
        r->nevicted++;
    }
    return given;
}

static void print_figures(const char *when, const struct ring *r)
{
    struct quire_pool_stat st = { .size = sizeof(st) };

    if (quire_pool_stat_get(r->pool, &st) != QUIRE_OK)
        return;
    printf("%s: %u blocks held, %u evicted\n", when, r->nheld, r->nevicted);
    printf("  budget %llu MiB, resident %llu, in use %llu, mapped %llu\n",
           (unsigned long long)st.budget_bytes >> 20,
           (unsigned long long)st.resident_bytes >> 20,
           (unsigned long long)st.in_use_bytes >> 20,
           (unsigned long long)st.virtual_bytes >> 20);
}

int main(void)
{
    static struct ring ring;
    struct quire_pool_options opt = {
        .size = sizeof(opt),
        .budget_bytes = (uint64_t)64 << 20,
        .background = true, /* idle memory goes back without our doing */
    };

    if (quire_pool_create(&opt, &ring.pool) != QUIRE_OK ||
        quire_pool_set_pressure(ring.pool, evict, &ring) != QUIRE_OK) {
        fprintf(stderr, "pool: %s\n", quire_error_detail());
        return 1;
    }

    /* A thousand MiB, in blocks of changing sizes, through a budget of 64. */
    for (unsigned i = 0; i < 16000; i++) {
        size_t nbytes = (size_t)4096 << (i / 2000 % QUIRE_SEG_CLASSES);
        unsigned at;
        void *block;

        if (ring.nheld == NBLOCKS)
            ring_drop_oldest(&ring);
        if (quire_pool_alloc(ring.pool, nbytes, &block) != QUIRE_OK) {
            fprintf(stderr, "alloc: %s\n", quire_error_detail());
            return 1;
        }
        memset(block, 1, nbytes); /* ours until quire_pool_free() */
        at = (ring.first + ring.nheld) % NBLOCKS;
        ring.block[at] = block;
        ring.nbytes[at] = nbytes;
        ring.nheld++;
    }
    print_figures("filled", &ring);

    if (quire_pool_set_budget(ring.pool, (uint64_t)32 << 20) != QUIRE_OK) {
        fprintf(stderr, "budget: %s\n", quire_error_detail());
        return 1;
    }
    print_figures("half the budget", &ring);

    while (ring.nheld > 0)
        ring_drop_oldest(&ring);
    (void)quire_pool_sweep(ring.pool);
    print_figures("all released and swept", &ring);
    if (quire_pool_destroy(ring.pool) != QUIRE_OK) { /* BUSY: blocks held */
        fprintf(stderr, "destroy: %s\n", quire_error_detail());
        return 1;
    }
    return 0;
}
