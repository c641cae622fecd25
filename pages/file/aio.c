/*
 * aio.c - syncs by way of the kernel's asynchronous I/O.
 *
 * A sync handed to the kernel (io_submit()) and waited for (io_getevents()) is
 * the same fdatasync(), run by a thread of the kernel. Where this was measured,
 * on a virtual machine, it took a sixth less: what the disk wakes there is a
 * thread of the kernel, which runs within 2 us of the interrupt, and not a
 * process, which took 15 us from an idle processor more often than not.
 * README.md has the figures. That is so while the processor is idle otherwise;
 * where other threads write meanwhile the kernel's thread waits for them, so
 * only who is alone comes here.
 *
 * The kernel wants a queue for it. Queues are kept for the life of the process:
 * giving one back takes milliseconds, and a handle of this table has no memory to
 * keep one in. There are a few, each for one sync at a time:
 *
 *     NONE --- first use: io_setup() ---> BUSY --- done ---> IDLE --- use ---> BUSY
 *      ^------- refused -------------------+
 *
 * Whenever this can't be had, all are busy, or the kernel or a filter of system
 * calls refuses, or the process is a forked child, for which queues are not
 * valid, nothing was done and the caller makes the ordinary call.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc/point.h"
#include "pages/file/pf_impl.h"

#define PF_AIO_QUEUES 4

enum pf_aio_state {
    PF_AIO_NONE,
    PF_AIO_IDLE,
    PF_AIO_BUSY
};

static struct pf_aio_queue {
    _Atomic int state;
    aio_context_t id; /* of who has made `state` BUSY */
} pf_aio_queues[PF_AIO_QUEUES];

/* A queue for one sync; NULL: none is to be had. */
static struct pf_aio_queue *pf_aio_take(void)
{
    for (unsigned i = 0; i < PF_AIO_QUEUES; i++) {
        struct pf_aio_queue *q = &pf_aio_queues[i];
        int state = PF_AIO_IDLE;

        /* acquire: pairs with the release in pf_aio_give(), after which `id` is
         * this thread's; relaxed on failure: nothing is looked at */
        if (atomic_compare_exchange_strong_explicit(
                &q->state, &state, PF_AIO_BUSY, memory_order_acquire,
                memory_order_relaxed))
            return q;
        if (state != PF_AIO_NONE ||
            !atomic_compare_exchange_strong_explicit(
                &q->state, &state, PF_AIO_BUSY, memory_order_acquire,
                memory_order_relaxed))
            continue;
        q->id = 0;
        if (QUIRE_POINT(PF_AIO_QUEUE, -1, syscall(SYS_io_setup, 1, &q->id)) ==
            0)
            return q;
        /* release: as in pf_aio_give() */
        atomic_store_explicit(&q->state, PF_AIO_NONE, memory_order_release);
        break;
    }
    return NULL;
}

static void pf_aio_give(struct pf_aio_queue *q)
{
    /* release: pairs with the acquire in pf_aio_take() */
    atomic_store_explicit(&q->state, PF_AIO_IDLE, memory_order_release);
}

bool pf_aio_sync(int fd, int *result)
{
    struct pf_aio_queue *q = pf_aio_take();
    struct iocb cb;
    struct iocb *list = &cb;
    struct io_event event;
    long n;

    if (q == NULL)
        return false;
    memset(&cb, 0, sizeof(cb));
    cb.aio_lio_opcode = IOCB_CMD_FDSYNC;
    cb.aio_fildes = (uint32_t)fd;
    n = QUIRE_POINT(PF_AIO_SUBMIT, -1,
                    syscall(SYS_io_submit, q->id, 1L, &list));
    if (n != 1) {
        pf_aio_give(q);
        return false;
    }
    do {
        n = syscall(SYS_io_getevents, q->id, 1L, 1L, &event, NULL);
    } while (n == 0 || (n < 0 && errno == EINTR));
    if (n != 1) {
        /* It cannot happen; if it does, a sync is under way that nobody knows
         * the end of. The queue stays busy. */
        *result = -EIO;
        return true;
    }
    pf_aio_give(q);
    *result = (int)event.res;
    return true;
}
