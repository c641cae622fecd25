/*
 * Commits: what is written is found again, where it should be, with as few
 * writes as promised.
 */
#include "tests/lib_rig.h"
#include "tests/test.h"

#include <errno.h>

/* Commits of many shapes, read back at once and after reopening. */
static void test_commits_are_found_again(void **state)
{
    static const struct rig_plan plans[] = {
        { .seed = 1, .npages = 0, .val_bytes = 0 },
        { .seed = 2, .npages = 1, .val_bytes = 1 },
        { .seed = 3, .npages = 5, .val_bytes = 100 },
        { .seed = 4, .npages = 200, .val_bytes = 400 }, /* several buffers */
        { .seed = 5, .npages = 3, .nahead = 1, .val_bytes = 50 },
        { .seed = 6, .npages = 0, .nahead = 250, .val_bytes = 1000 },
        { .seed = 7, .npages = 1, .nahead = 2, .val_bytes = 8000 },
        { .seed = 8, .npages = 1, .val_bytes = 10, .nosync = true },
        { .seed = 9, .npages = 1, .val_bytes = 10, .nosync = true },
        { .seed = 10, .npages = 1, .val_bytes = 10 },
    };
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        CHECK_OK(rig_commit(&rig, &plans[i]));
        rig_check(&rig);
    }
    rig_reopen(&rig, ARRAY_LEN(plans));
    CHECK_EQ(rig.first, 0);
    rig_check(&rig);
    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        CHECK_OK(rig_commit(&rig, &plans[i]));
    rig_check(&rig);
    rig_reopen(&rig, 2 * ARRAY_LEN(plans));
    rig_check(&rig);
    rig_fini(&rig);
}

/* One write and one sync for a small commit, of whole blocks. */
static void test_small_commit_is_one_write(void **state)
{
    const struct rig_plan plan = { .seed = 1, .npages = 5, .val_bytes = 100 };
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (int i = 0; i < 5; i++) {
        uint64_t writes = rig.fault.calls[FAULT_PWRITEV];
        uint64_t syncs = rig.fault.calls[FAULT_SYNC];

        CHECK_OK(rig_commit(&rig, &plan));
        CHECK_EQ(rig.fault.calls[FAULT_PWRITEV], writes + 1);
        CHECK_EQ(rig.fault.calls[FAULT_SYNC], syncs + 1);
        CHECK_EQ(rig.last.batch_off % 4096, 0);
        CHECK_EQ(rig.last.batch_end % 4096, 0);
    }
    rig_fini(&rig);
}

/* Two flushes when something was written ahead, one of them before the batch's
 * first write (PF-3). */
static void test_ahead_costs_one_more_sync(void **state)
{
    const struct rig_plan plan = {
        .seed = 1, .npages = 1, .nahead = 3, .val_bytes = 100
    };
    struct rig rig;
    uint64_t syncs;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    syncs = rig.fault.calls[FAULT_SYNC];
    CHECK_OK(rig_commit(&rig, &plan));
    CHECK_EQ(rig.fault.calls[FAULT_SYNC], syncs + 2);
    rig_fini(&rig);
}

/* Every block size, with fragments as long as they can be. */
static void test_block_sizes(void **state)
{
    static const struct {
        const char *name;
        uint32_t bytes;
    } cases[] = {
        { "4 KiB", 4096 },   { "8 KiB", 8192 },   { "16 KiB", 16384 },
        { "32 KiB", 32768 }, { "64 KiB", 65536 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct rig_plan plan = {
            .seed = 4, .npages = 5, .nahead = 5, .val_bytes = 10000
        };
        struct pg_ref ref;
        struct pf_record rec;
        struct pg_frag_in in;
        uint8_t *body = calloc(1, PG_OVERFLOW_MAX);
        uint64_t rand = i;
        struct rig rig;

        CHECK_CASE(cases[i].name);
        rig_init(&rig, false);
        rig.geo.block_bytes = cases[i].bytes;
        rig_start(&rig);
        rig_commit_ok(&rig, 1);
        CHECK_OK(rig_commit(&rig, &plan));
        CHECK_EQ(rig.last.batch_off % cases[i].bytes, 0);
        CHECK_EQ(rig.last.batch_end % cases[i].bytes, 0);

        /* Bytes that cannot be compressed, in the longest fragment, behind an
         * almost full buffer. */
        for (size_t at = 0; at < PG_OVERFLOW_MAX; at++)
            body[at] = (uint8_t)test_rand(&rand);
        memset(&in, 0, sizeof(in));
        in.kind = PG_OVERFLOW;
        in.self_contained = true;
        in.birth = 3;
        in.body = body;
        in.image_len = (uint32_t)pg_image_plain_bytes(PG_OVERFLOW_MAX);
        CHECK_OK(pf_batch_begin(rig.file, 600000));
        in.body_len = 3000;
        CHECK_OK(pf_batch_add(rig.file, &in, &ref));
        in.body_len = PG_OVERFLOW_MAX;
        CHECK_OK(pf_batch_add(rig.file, &in, &ref));
        CHECK_OK(pf_batch_add(rig.file, &in, &ref));
        memset(&rec, 0, sizeof(rec));
        rec.rev = 3;
        rec.durable_through = 2;
        rec.dead = ref;
        CHECK_OK(pf_batch_commit(rig.file, &rec, false));
        free(body);
        rig_reopen(&rig, 3);
        CHECK_EQ(rig.last.dead.id, ref.id);
        rig_fini(&rig);
    }
}

/* The stream moves to the next span when a batch does not fit, and recovery
 * follows it. */
static void test_stream_moves_through_spans(void **state)
{
    const struct rig_plan plan = { .seed = 9, .npages = 40, .val_bytes = 1500 };
    unsigned nmoves = 0;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 0; i < 30; i++) {
        const struct pf_record before = rig.last;

        CHECK(before.span.len >= PF_STREAM_MIN - 2 * 4096);
        CHECK(before.next_span.len >= PF_STREAM_MIN);
        CHECK_OK(rig_commit(&rig, &plan));
        if (rig.last.span.off == before.span.off) {
            CHECK_EQ(rig.last.batch_off, before.batch_end);
            CHECK_EQ(rig.last.next_span.off, before.next_span.off);
        } else {
            nmoves++;
            CHECK_EQ(rig.last.batch_off, before.next_span.off);
            CHECK_EQ(rig.last.span.off, before.next_span.off);
            CHECK_EQ(rig.last.next_span.off, before.frontier);
        }
    }
    CHECK(nmoves >= 10);
    rig_reopen(&rig, 30);
    rig_check(&rig);
    rig_fini(&rig);
}

/* As long as pf_batch_room() says, and no longer. */
static void test_room_is_what_it_says(void **state)
{
    struct rig rig;
    uint64_t room;
    struct pg_ref ref;
    unsigned n = 0;
    quire_status rc;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    room = pf_batch_room(rig.file);
    CHECK(room >= PF_STREAM_MIN - PF_RECORD_ROOM);
    CHECK_OK(pf_batch_begin(rig.file, room));
    pf_batch_abort(rig.file);
    CHECK_STATUS(pf_batch_begin(rig.file, room + PF_RECORD_ROOM), QUIRE_INVAL);
    rig_commit_ok(&rig, 1);

    /* A batch that grows beyond its span is refused, and can be given up. */
    CHECK_OK(pf_batch_begin(rig.file, 1000));
    do {
        rc = rig_page(&rig, pf_batch_add, 2, n++, 2000, &ref);
    } while (rc == QUIRE_OK);
    CHECK_STATUS(rc, QUIRE_INVAL);
    CHECK(n > 50);
    pf_batch_abort(rig.file);
    rig_commit_ok(&rig, 2);
    rig_reopen(&rig, 2);
    rig_check(&rig);
    rig_fini(&rig);
}

/* A batch of which nothing was written leaves its place to the next; one that
 * was partly written leaves it alone (PF-7). */
static void test_abort_burns_only_what_was_written(void **state)
{
    struct rig rig;
    struct pg_ref ref;
    struct pf_record before;
    uint64_t incarnation;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    rig_commit_ok(&rig, 1);
    before = rig.last;
    CHECK_OK(pf_batch_begin(rig.file, 10000));
    CHECK_OK(rig_page(&rig, pf_batch_add, 2, 0, 100, &ref));
    pf_batch_abort(rig.file);
    rig_commit_ok(&rig, 2);
    CHECK_EQ(rig.last.batch_off, before.batch_end);
    CHECK_EQ(rig.last.incarnation, before.incarnation);

    before = rig.last;
    incarnation = rig.last.incarnation;
    CHECK_OK(pf_batch_begin(rig.file, 900000));
    for (unsigned i = 0; i < 40; i++)
        CHECK_OK(rig_page(&rig, pf_batch_add, 3, i, 1000, &ref));
    pf_batch_abort(rig.file);
    pf_batch_abort(rig.file); /* of nothing: nothing */
    rig_commit_ok(&rig, 3);
    CHECK_EQ(rig.last.batch_off, before.next_span.off);
    CHECK_EQ(rig.last.incarnation, incarnation + 1);
    rig_reopen(&rig, 3);
    rig_check(&rig);
    rig_fini(&rig);
}

/* Aborted spans are used again under a raised epoch, and retired before it
 * wraps; what was reserved is not lost in between (PF-6). */
static void test_aborted_spans_come_again(void **state)
{
    const struct rig_plan plan = { .seed = 1, .nahead = 30, .val_bytes = 9000 };
    struct pg_ref *refs = calloc(RIG_PAGES, sizeof(*refs));
    struct pg_ref ref;
    uint64_t frontier;
    pg_id first;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    CHECK_OK(rig_ahead(&rig, &plan, refs));
    CHECK_OK(pf_ahead_flush(rig.file));
    first = refs[0].id;
    CHECK(rig.file->ntxn_spans >= 2);
    frontier = rig.file->frontier;
    pf_ahead_abort(rig.file);

    CHECK_OK(rig_ahead(&rig, &plan, refs));
    CHECK_EQ(rig.file->frontier, frontier);
    for (unsigned i = 0; i < plan.nahead; i++)
        CHECK_EQ(refs[i].id & 0xffff, 1);
    CHECK_NE(refs[0].id, first);
    pf_ahead_abort(rig.file);

    /* The last epoch there is. */
    CHECK(rig.file->nfree_spans >= 2);
    for (unsigned i = 0; i < rig.file->nfree_spans; i++)
        rig.file->free_spans[i].epoch = UINT16_MAX;
    CHECK_OK(rig_page(&rig, pf_ahead_add, 1, 0, 10, &ref));
    CHECK_EQ(ref.id & 0xffff, UINT16_MAX);
    frontier = rig.file->nfree_spans;
    pf_ahead_abort(rig.file);
    CHECK_EQ(rig.file->nfree_spans, frontier);
    CHECK_OK(rig_commit(&rig, &plan));
    rig_check(&rig);
    rig_reopen(&rig, 1);
    rig_check(&rig);
    free(refs);
    rig_fini(&rig);
}

/* The rest of a span serves the next transaction from the next block on. */
static void test_rest_of_a_span_is_used(void **state)
{
    const struct rig_plan plan = { .seed = 1, .nahead = 1, .val_bytes = 100 };
    struct pg_ref first;
    struct pg_ref second;
    struct pg_ref third;
    uint64_t frontier;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    CHECK_OK(rig_commit(&rig, &plan));
    frontier = rig.file->frontier;
    CHECK_OK(rig_page(&rig, pf_ahead_add, 2, 0, 100, &first));
    CHECK_OK(pf_ahead_flush(rig.file));
    CHECK_OK(rig_page(&rig, pf_ahead_add, 2, 0, 100, &second));
    CHECK(pg_id_off(second.id) >= pg_id_off(first.id) + 4096 - 16);
    CHECK_EQ(pg_id_off(second.id) % 4096, 0);
    pf_ahead_abort(rig.file);
    CHECK_OK(rig_page(&rig, pf_ahead_add, 2, 0, 100, &third));
    CHECK(pg_id_off(third.id) > pg_id_off(second.id));
    CHECK_EQ(pg_id_off(third.id) % 4096, 0);
    CHECK_EQ(rig.file->frontier, frontier);
    pf_ahead_abort(rig.file);
    rig_check(&rig);
    rig_fini(&rig);
}

/* A great transaction takes few spans, and gives the unused end back. */
static void test_spans_grow_and_are_trimmed(void **state)
{
    struct rig rig;
    struct pg_ref ref;
    uint64_t used;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 0; i < 600; i++)
        CHECK_OK(rig_page(&rig, pf_ahead_add, 1, i, 12000, &ref));
    /* 57 MiB */
    CHECK(rig.file->ahead_bytes > (uint64_t)50 << 20);
    CHECK(rig.file->ntxn_spans < 24);
    CHECK(rig.file->ahead.len >= (uint64_t)8 << 20);
    CHECK_OK(pf_batch_begin(rig.file, 1000));
    used = ra_round_up(rig.file->ahead_pos, 4096);
    CHECK(rig.file->frontier <= used + PF_AHEAD_MIN);
    CHECK(pf_span_end(&rig.file->ahead) <= rig.file->frontier);
    pf_batch_abort(rig.file);
    pf_ahead_abort(rig.file);
    rig_commit_ok(&rig, 1);
    rig_reopen(&rig, 1);
    rig_fini(&rig);
}

/* Only fresh space is given back to the frontier: what an aborted transaction
 * used had ids (PF-6). */
static void test_used_spans_are_not_trimmed(void **state)
{
    uint64_t frontier;
    struct pg_ref ref;
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    for (unsigned i = 0; i < 150; i++)
        CHECK_OK(rig_page(&rig, pf_ahead_add, 1, i, 12000, &ref));
    frontier = rig.file->frontier;
    pf_ahead_abort(rig.file);
    do { /* until the last of the spans is used again */
        CHECK_OK(rig_page(&rig, pf_ahead_add, 1, 0, 12000, &ref));
        CHECK_EQ(ref.id & 0xffff, 1);
    } while (pf_span_end(&rig.file->ahead) != frontier);
    CHECK(frontier - rig.file->ahead_pos > 3 * PF_AHEAD_MIN / 2);
    CHECK_OK(pf_batch_begin(rig.file, 1000));
    CHECK_EQ(rig.file->frontier, frontier);
    pf_batch_abort(rig.file);
    pf_ahead_abort(rig.file);
    rig_fini(&rig);
}

/* A span list that is full refuses more, and the abort after it works. */
static void test_too_many_spans(void **state)
{
    struct rig rig;
    struct pg_ref ref;
    quire_status rc;
    unsigned n = 0;

    (void)state;
    rig_init(&rig, false);
    rig_start(&rig);
    do {
        rc = rig_page(&rig, pf_ahead_add, 1, 0, 10, &ref);
        rig.file->ahead_pos = pf_span_end(&rig.file->ahead);
        pf_out_drop(rig.file); /* as if the span were full */
        n++;
    } while (rc == QUIRE_OK);
    CHECK_STATUS(rc, QUIRE_NOSPACE);
    CHECK_EQ(n, PF_SPANS_MAX + 1);
    pf_ahead_abort(rig.file);
    CHECK_EQ(rig.file->nfree_spans, PF_SPANS_MAX);

    /* The longest record there is: all spans in it, and a next_span. */
    for (n = 0; n < PF_SPANS_MAX; n++) {
        CHECK_OK(rig_page(&rig, pf_ahead_add, 1, 0, 10, &ref));
        rig.file->ahead_pos = pf_span_end(&rig.file->ahead);
        pf_out_drop(rig.file);
    }
    rig.file->burned = true;
    {
        struct pf_record rec;

        memset(&rec, 0, sizeof(rec));
        rec.rev = 1;
        CHECK_OK(pf_batch_begin(rig.file, 0));
        CHECK_OK(pf_batch_commit(rig.file, &rec, false));
        CHECK_EQ(rec.span.off, PF_STREAM_MIN);
    }
    rig_reopen(&rig, 1);
    rig_fini(&rig);
}

/* ---- random work, watched ---- */

#define GUARD_BLOCKS 65536u /* of 4 KiB */

/* An I/O table that watches PF-1 and PF-4: it knows for each block whether it
 * was written, and whether a sync has begun since. */
struct guard {
    struct quire_io io;
    const struct quire_io *inner;
    struct mem_disk *disk;
    uint8_t state[GUARD_BLOCKS]; /* 0 new, 1 written, 2 closed */
    bool super_open;             /* a superblock was written and not synced */
    uint64_t super_off;
};

static bool guard_zeros(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Is the write of `now` over `old`, closed, one of the exceptions? */
static bool guard_excepted(const uint8_t *old, const uint8_t *now, size_t n)
{
    return memcmp(old, now, n) == 0 || /* recovery */
           guard_zeros(old, n) ||      /* zeros ahead */
           guard_zeros(now, n);        /* burning */
}

static ssize_t guard_pwritev(void *ctx, void *file, const struct iovec *iov,
                             int iovcnt, uint64_t off)
{
    struct guard *g = ctx;
    const uint8_t *now = iov[0].iov_base;
    size_t len = iov[0].iov_len;
    size_t have = 0;
    uint8_t *old = mem_disk_bytes(g->disk, RIG_PATH, &have);

    CHECK_EQ(iovcnt, 1); /* no zeros ahead in these tests */
    if (old != NULL && off < 2 * 4096) {
        CHECK(!g->super_open || g->super_off == off); /* PF-4 */
        g->super_open = true;
        g->super_off = off;
    } else if (old != NULL) {
        CHECK_EQ(off % 4096, 0);
        CHECK_EQ(len % 4096, 0);
        for (size_t at = 0; at < len; at += 4096) {
            uint8_t *st = &g->state[(off + at) / 4096];

            if (*st == 2 && off + at + 4096 <= have)
                CHECK(
                    guard_excepted(old + off + at, now + at, 4096)); /* PF-1 */
            *st = 1;
        }
    }
    return g->inner->pwritev(g->inner->ctx, file, iov, iovcnt, off);
}

/* Nothing is committed in the next span, nor in one that was given back: they
 * may be written again. */
static void guard_forget(struct guard *g, const struct pf_span *span)
{
    memset(g->state + span->off / 4096, 0, span->len / 4096);
}

static int guard_sync(void *ctx, void *file)
{
    struct guard *g = ctx;

    for (unsigned i = 0; i < GUARD_BLOCKS; i++)
        if (g->state[i] == 1)
            g->state[i] = 2;
    g->super_open = false;
    return g->inner->sync(g->inner->ctx, file);
}

/* The rest goes straight down: the context is the inner one's. */
static ssize_t guard_pread(void *ctx, void *file, void *buf, size_t n,
                           uint64_t off)
{
    struct guard *g = ctx;

    return g->inner->pread(g->inner->ctx, file, buf, n, off);
}

static int guard_open(void *ctx, const char *path, unsigned flags,
                      unsigned mode, void **file)
{
    struct guard *g = ctx;

    return g->inner->open(g->inner->ctx, path, flags, mode, file);
}

static int guard_get_size(void *ctx, void *file, uint64_t *n)
{
    struct guard *g = ctx;

    return g->inner->get_size(g->inner->ctx, file, n);
}

static int guard_lock(void *ctx, void *file, bool exclusive)
{
    struct guard *g = ctx;

    return g->inner->lock(g->inner->ctx, file, exclusive);
}

static void guard_close(void *ctx, void *file)
{
    struct guard *g = ctx;

    g->inner->close(g->inner->ctx, file);
}

/* The ids that a handle gave out: none twice (PF-6). */
struct idset {
    pg_id ids[65536];
    size_t n;
};

static void idset_add(struct idset *set, pg_id id)
{
    size_t at = (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 48);

    CHECK(set->n++ < ARRAY_LEN(set->ids) / 2);
    while (set->ids[at] != 0) {
        CHECK_NE(set->ids[at], id);
        at = (at + 1) % ARRAY_LEN(set->ids);
    }
    set->ids[at] = id;
}

/* Commits, aborts at every stage, superblocks, full disks, reopenings. */
static void test_random_work(void **state)
{
    uint64_t rand = test_seed();
    struct guard *g = calloc(1, sizeof(*g));
    struct idset *set = calloc(1, sizeof(*set));
    struct pg_ref *refs = calloc(RIG_PAGES, sizeof(*refs));
    uint64_t nsteps = test_rounds(600);
    struct rig rig;

    (void)state;
    rig_init(&rig, false);
    g->inner = &rig.fault.io;
    g->io = rig.fault.io;
    g->io.ctx = g;
    g->io.pread_once = NULL; /* they would get our ctx */
    g->io.read_ahead = NULL;
    g->io.open = guard_open;
    g->io.pread = guard_pread;
    g->io.pwritev = guard_pwritev;
    g->io.sync = guard_sync;
    g->io.get_size = guard_get_size;
    g->io.lock = guard_lock;
    g->io.close = guard_close;
    g->disk = rig.disk;
    CHECK_OK(rig_create(&rig));
    rig.env.io = &g->io;
    CHECK_OK(rig_open(&rig, false));
    for (uint64_t i = 0; i < nsteps && rig.last.rev + 2 < RIG_REVS; i++) {
        const struct rig_plan plan = {
            .seed = i + 1,
            .npages = (unsigned)test_rand_below(&rand, 8),
            .nahead = (unsigned)(test_rand_below(&rand, 3) == 0
                                     ? test_rand_below(&rand, 12)
                                     : 0),
            .val_bytes = test_rand_below(&rand, 4) == 0
                             ? test_rand_below(&rand, 8000)
                             : test_rand_below(&rand, 300),
            .nosync = test_rand_below(&rand, 4) == 0,
        };
        quire_status rc;

        switch (test_rand_below(&rand, 10)) {
        default:
            CHECK_OK(rig_commit(&rig, &plan));
            break;
        case 0: /* abort what was written ahead */
            CHECK_OK(rig_ahead(&rig, &plan, refs));
            for (unsigned k = 0; k < plan.nahead; k++)
                idset_add(set, refs[k].id);
            if (plan.nosync)
                CHECK_OK(pf_ahead_flush(rig.file));
            pf_ahead_abort(rig.file);
            break;
        case 1: /* abort a batch, sometimes a written one */
            CHECK_OK(pf_batch_begin(rig.file, 500000));
            for (unsigned k = 0; k < 4 * plan.npages; k++)
                CHECK_OK(rig_page(&rig, pf_batch_add, i, k,
                                  plan.val_bytes % 1500, &refs[k]));
            pf_batch_abort(rig.file);
            pf_ahead_abort(rig.file);
            break;
        case 2:
            if (rig.durable == rig.last.rev)
                CHECK_OK(pf_super_write(rig.file, &rig.last));
            break;
        case 3: /* a full disk, with or without what was written */
            fault_arm(&rig.fault, FAULT_BIT(FAULT_PWRITEV),
                      1 + test_rand_below(&rand, 3), ENOSPC,
                      test_rand_below(&rand, 2) != 0 ? FAULT_WHOLE
                                                     : FAULT_TORN);
            rc = rig_commit(&rig, &plan);
            fault_heal(&rig.fault);
            CHECK(rc == QUIRE_OK || rc == QUIRE_NOSPACE);
            break;
        case 4:
            rig_reopen(&rig, rig.last.rev);
            /* What no commit refers to may be written over from now on. */
            memset(g->state, 0, sizeof(g->state));
            set->n = 0;
            memset(set->ids, 0, sizeof(set->ids));
            break;
        }
        guard_forget(g, &rig.last.next_span);
        for (unsigned k = 0; k < rig.file->nfree_spans; k++)
            guard_forget(g, &rig.file->free_spans[k]);
        if (i % 16 == 0)
            rig_check(&rig);
    }
    rig_reopen(&rig, rig.last.rev);
    rig_check(&rig);
    rig_fini(&rig);
    free(refs);
    free(set);
    free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commits_are_found_again),
        cmocka_unit_test(test_small_commit_is_one_write),
        cmocka_unit_test(test_ahead_costs_one_more_sync),
        cmocka_unit_test(test_block_sizes),
        cmocka_unit_test(test_stream_moves_through_spans),
        cmocka_unit_test(test_room_is_what_it_says),
        cmocka_unit_test(test_abort_burns_only_what_was_written),
        cmocka_unit_test(test_aborted_spans_come_again),
        cmocka_unit_test(test_rest_of_a_span_is_used),
        cmocka_unit_test(test_spans_grow_and_are_trimmed),
        cmocka_unit_test(test_used_spans_are_not_trimmed),
        cmocka_unit_test(test_too_many_spans),
        cmocka_unit_test(test_random_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
