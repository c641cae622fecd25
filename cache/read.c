/*
 * read.c - read sections and grace periods.
 *
 * A read section is one of urcu-bp, which needs no registration: a thread's
 * first section enters it in liburcu's list. The depth is counted too, in every
 * build, so that a call that may wait can refuse to be made inside a section
 * (PC-4): waiting there for anything that waits for a grace period would never
 * end. The count is the allocator's (ra_sections), whose calls refuse as well.
 *
 * The thread sanitizer does not see the order that liburcu makes, since that
 * is not instrumented. What it has to know is that everything done in a
 * section comes before what follows a grace period that waited for it; one
 * variable to which sections release and from which grace periods acquire says
 * so.
 */
#if defined(__SANITIZE_THREAD__)
#define PC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PC_TSAN 1
#endif
#endif

#include "cache/pc_impl.h"

/* Sections inline (functions of less than ten lines) where speed matters; in
 * debug builds, which the sanitizers use, through the library's functions:
 * liburcu places a reader's record at less than the alignment that its type
 * asks for, which is harmless, but undefined to the letter. */
#if QUIRE_DEBUG == 0 && !defined(PC_TSAN)
#define _LGPL_SOURCE
#endif
#include <urcu-bp.h>

#ifdef PC_TSAN
#include <sanitizer/tsan_interface.h>

static char pc_tsan_sections; /* only its address is used */
#define PC_TSAN_SECTION_ENDS() __tsan_release(&pc_tsan_sections)
#define PC_TSAN_GRACE_ENDS() __tsan_acquire(&pc_tsan_sections)
#else
#define PC_TSAN_SECTION_ENDS() ((void)0)
#define PC_TSAN_GRACE_ENDS() ((void)0)
#endif

_Thread_local struct pc_thread pc_self;

void pc_read_enter(void)
{
    if (ra_sections++ == 0)
        urcu_bp_read_lock();
}

void pc_read_exit(void)
{
    QUIRE_ASSERT(ra_sections > 0);
    if (ra_sections == 0)
        return; /* misuse: there is no section to end */
    if (--ra_sections == 0) {
        PC_TSAN_SECTION_ENDS();
        urcu_bp_read_unlock();
    }
}

bool pc_read_inside(void)
{
    return ra_sections > 0;
}

void pc_grace(void)
{
    QUIRE_ASSERT(!pc_read_inside()); /* PC-4: it would wait for itself */
    urcu_bp_synchronize_rcu();
    PC_TSAN_GRACE_ENDS();
}

quire_status pc_may_wait(const char *what)
{
    if (pc_read_inside())
        return ra_fail(QUIRE_MISUSE, "%s inside a read section", what);
    if (pc_self.reclaiming)
        return ra_fail(QUIRE_MISUSE, "%s inside a removal callback", what);
    return QUIRE_OK;
}
