/*
 * sys.c - the system's own memory and threads, behind struct quire_sys.
 *
 * Mapping reserves addresses only. A range becomes resident in commit(), where
 * a refusal is an error code; were it left to the first touch, the refusal
 * would be a signal. MADV_POPULATE_WRITE does this since Linux 5.14; an older
 * kernel answers EINVAL and the pages are then touched one by one.
 *
 * Two things are settled for every mapping. MADV_DONTFORK: a forked child does
 * not inherit the cache, so that the child's copies on write can't double the
 * memory. MADV_NOHUGEPAGE: with huge pages for everybody, one touched segment
 * of 4 KiB would make 2 MiB resident, and the figures of the pool untrue. The
 * pool asks for huge pages where it counts in them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "alloc/ra_impl.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static int ra_sys_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    size_t slack = align > RA_OS_PAGE ? align - RA_OS_PAGE : 0;
    size_t head;
    size_t tail;
    char *p;

    (void)ctx;
    if (nbytes > SIZE_MAX - slack)
        return -ENOMEM;
    p = mmap(NULL, nbytes + slack, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    /* Mapped with room to spare; what lies outside the aligned part goes
     * back at once. */
    head = (size_t)(ra_round_up((uintptr_t)p, align) - (uintptr_t)p);
    tail = slack > head ? slack - head : 0;
    if (head > 0)
        munmap(p, head);
    p += head;
    if (tail > 0)
        munmap(p + nbytes, tail);
    if (madvise(p, nbytes, MADV_DONTFORK) != 0) {
        int err = errno;

        munmap(p, nbytes);
        return -err;
    }
    /* EINVAL: a kernel without huge pages, which is as good. */
    (void)madvise(p, nbytes, MADV_NOHUGEPAGE);
    *addr = p;
    return 0;
}

static void ra_sys_unmap(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    munmap(addr, nbytes);
}

static int ra_sys_commit(void *ctx, void *addr, size_t nbytes)
{
    volatile char *p = addr;

    (void)ctx;
    if (madvise(addr, nbytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    for (size_t off = 0; off < nbytes; off += RA_OS_PAGE)
        p[off] = 0; /* a range is committed when it reads as zeros */
    return 0;
}

static int ra_sys_decommit(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    return madvise(addr, nbytes, MADV_DONTNEED) == 0 ? 0 : -errno;
}

static int ra_sys_huge(void *ctx, void *addr, size_t nbytes, bool allow)
{
    (void)ctx;
    return madvise(addr, nbytes, allow ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0
               ? 0
               : -errno;
}

static int ra_sys_protect(void *ctx, void *addr, size_t nbytes, bool access)
{
    (void)ctx;
    return mprotect(addr, nbytes,
                    access ? PROT_READ | PROT_WRITE : PROT_NONE) == 0
               ? 0
               : -errno;
}

static void *ra_sys_alloc(void *ctx, size_t nbytes)
{
    (void)ctx;
    return calloc(1, nbytes);
}

static void ra_sys_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

struct ra_sys_thread {
    pthread_t os;           /* written by the creator, read by the joiner */
    void (*run)(void *arg); /* immutable */
    void *arg;              /* immutable */
};

static void *ra_sys_thread_main(void *arg)
{
    struct ra_sys_thread *t = arg;

    t->run(t->arg);
    return NULL;
}

static int ra_sys_thread_create(void *ctx, void (*run)(void *arg), void *arg,
                                void **thread)
{
    struct ra_sys_thread *t = malloc(sizeof(*t));
    int err;

    (void)ctx;
    if (t == NULL)
        return -ENOMEM;
    t->run = run;
    t->arg = arg;
    err = pthread_create(&t->os, NULL, ra_sys_thread_main, t);
    if (err != 0) {
        free(t);
        return -err;
    }
    *thread = t;
    return 0;
}

static void ra_sys_thread_join(void *ctx, void *thread)
{
    struct ra_sys_thread *t = thread;

    (void)ctx;
    pthread_join(t->os, NULL);
    free(t);
}

const struct quire_sys *quire_sys_default(void)
{
    static const struct quire_sys sys = {
        .size = sizeof(struct quire_sys),
        .map = ra_sys_map,
        .unmap = ra_sys_unmap,
        .commit = ra_sys_commit,
        .decommit = ra_sys_decommit,
        .alloc = ra_sys_alloc,
        .free = ra_sys_free,
        .thread_create = ra_sys_thread_create,
        .thread_join = ra_sys_thread_join,
        .huge = ra_sys_huge,
        .protect = ra_sys_protect,
    };

    return &sys;
}

void *ra_obj_alloc(const struct quire_sys *sys, size_t nbytes)
{
    return sys->alloc(sys->ctx, nbytes);
}

void ra_obj_free(const struct quire_sys *sys, void *obj)
{
    if (obj != NULL)
        sys->free(sys->ctx, obj);
}

/* The table promises no more alignment than malloc() does: the object begins
 * at the first line boundary behind the pointer to what was allocated. */
void *ra_line_alloc(const struct quire_sys *sys, size_t nbytes)
{
    char *mem = ra_obj_alloc(sys, nbytes + RA_LINE);
    char *obj;

    if (mem == NULL)
        return NULL;
    QUIRE_ASSERT((uintptr_t)mem % sizeof(mem) == 0);
    obj = mem + RA_LINE - (uintptr_t)mem % RA_LINE;
    memcpy(obj - sizeof(mem), &mem, sizeof(mem));
    return obj;
}

void ra_line_free(const struct quire_sys *sys, void *obj)
{
    char *mem;

    if (obj == NULL)
        return;
    memcpy(&mem, (char *)obj - sizeof(mem), sizeof(mem));
    ra_obj_free(sys, mem);
}
