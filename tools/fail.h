/*
 * fail.h - failures that tests ask for, and a record of what was said.
 *
 * Only where failure points are compiled in (FIU_ENABLE, as in the library's
 * alloc/point.h); elsewhere nothing of this is left. The environment of the
 * program then says
 *
 *     QUIRE_FAIL="NAME NTH TIMES ERRNO FILE"    the point NAME fails from its
 *                   NTH passage on, TIMES times, with ERRNO; then FILE is made
 *     QUIRE_FAIL=list    print the places of all messages, FILE:LINE, and end
 *     QUIRE_SAYS=DIR     each message goes into a file in DIR as well, behind
 *                        its place and a tab
 *
 * NAME is one of the library's points, or one of the program's own:
 * tools/memory (every allocation), tools/io/... (what the library does with the
 * store's file, fail.c), and what FAIL_POINT() names elsewhere.
 */
#ifndef QUIRE_TOOLS_FAIL_H
#define QUIRE_TOOLS_FAIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include "quire.h"

#ifdef FIU_ENABLE

/* `call`, or `failed` in its place, with errno set. */
#define FAIL_POINT(name, failed, call) (fail_here(name) ? (failed) : (call))
bool fail_here(const char *name);

/* `call`, whose message is known by this place. */
#define SAID(call) (fail_place = FAIL_PLACE(__FILE__, __LINE__), call)
#define FAIL_PLACE(file, line) FAIL_PLACE_(file, line)
#define FAIL_PLACE_(file, line) \
    (__extension__({ \
        static const char *place_ \
            __attribute__((section("tool_says"), used)) = file ":" #line; \
        &place_; \
    }))
extern _Thread_local const char **fail_place;

/* Note a message of the place named last. */
void fail_note(const char *fmt, va_list args);
/* Do as the environment says; first of all. */
void fail_setup(void);
/* The store's files, with points. */
const struct quire_io *fail_io(void);

#else

#define FAIL_POINT(name, failed, call) (call)
#define SAID(call) (call)

static inline void fail_note(const char *fmt, va_list args)
{
    (void)fmt;
    (void)args;
}

static inline void fail_setup(void)
{
}

static inline const struct quire_io *fail_io(void)
{
    return NULL; /* the library's own */
}

#endif

/* ---- allocating; free() gives back ---- */

#define MEMORY_POINT "tools/memory"

static inline void *mem_alloc(size_t nbytes)
{
    return FAIL_POINT(MEMORY_POINT, NULL, malloc(nbytes));
}

static inline void *mem_zero(size_t n, size_t nbytes)
{
    return FAIL_POINT(MEMORY_POINT, NULL, calloc(n, nbytes));
}

static inline void *mem_resize(void *ptr, size_t nbytes)
{
    return FAIL_POINT(MEMORY_POINT, NULL, realloc(ptr, nbytes));
}

#endif /* QUIRE_TOOLS_FAIL_H */
