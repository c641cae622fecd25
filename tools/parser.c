/*
 * parser.c - yajl's parser of JSON, for which the memory may run out.
 *
 * yajl takes each allocation for granted and writes through what it got. It can
 * be given the functions that allocate, though, and ours do not come back when
 * there is no memory: they jump out of yajl to whoever called it. What yajl then
 * held is in a state that it knows nothing of, so its blocks are chained, and
 * freed by the chain:
 *
 *     blocks -> | prev next | yajl's bytes ... |  <->  | prev next | ... |
 *
 * yajl allocates in no callback, so that only its own calls are left by a jump.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/parser.h"
#include "tools/tool.h"

/* What is before the bytes of a block of yajl's. */
struct block {
    _Alignas(max_align_t) struct block *prev; /* NULL: the first */
    struct block *next;                       /* NULL: the last */
};

struct parser {
    yajl_handle yajl; /* NULL: the memory has run out */
    yajl_alloc_funcs funcs;
    struct block *blocks; /* all that yajl holds */
    jmp_buf nomem;        /* where to go without memory */
};

/* Chain `b` in, of which the neighbours are known; they may have known it by
 * another address. */
static void *chain(struct parser *p, struct block *b)
{
    if (b->next != NULL)
        b->next->prev = b;
    if (b->prev != NULL)
        b->prev->next = b;
    else
        p->blocks = b;
    return b + 1;
}

static void *on_realloc(void *ctx, void *ptr, size_t len)
{
    struct parser *p = ctx;
    struct block *old = ptr != NULL ? (struct block *)ptr - 1 : NULL;
    struct block *b = NULL;

    if (len <= SIZE_MAX - sizeof(*b))
        b = mem_resize(old, sizeof(*b) + len);
    if (b == NULL)
        longjmp(p->nomem, 1);
    if (old == NULL) {
        b->prev = NULL;
        b->next = p->blocks;
    }
    return chain(p, b);
}

static void *on_malloc(void *ctx, size_t len)
{
    return on_realloc(ctx, NULL, len);
}

static void on_free(void *ctx, void *ptr)
{
    struct parser *p = ctx;
    struct block *b = ptr;

    if (b == NULL)
        return;
    b--;
    if (b->next != NULL)
        b->next->prev = b->prev;
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        p->blocks = b->next;
    free(b);
}

/* Free whatever yajl holds. */
static void drop(struct parser *p)
{
    p->yajl = NULL;
    while (p->blocks != NULL)
        on_free(p, p->blocks + 1);
}

/* Let yajl begin. False: without memory. */
static bool start(struct parser *p, const yajl_callbacks *events, void *ctx)
{
    if (setjmp(p->nomem) != 0) {
        drop(p);
        return false;
    }
    p->yajl = yajl_alloc(events, &p->funcs, ctx);
    return true;
}

struct parser *parser_create(const yajl_callbacks *events, void *ctx, bool many)
{
    struct parser *p = mem_zero(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->funcs.malloc = on_malloc;
    p->funcs.realloc = on_realloc;
    p->funcs.free = on_free;
    p->funcs.ctx = p;
    if (!start(p, events, ctx)) {
        free(p);
        return NULL;
    }
    if (many)
        yajl_config(p->yajl, yajl_allow_multiple_values, 1);
    return p;
}

void parser_destroy(struct parser *p)
{
    if (p == NULL)
        return;
    drop(p);
    free(p);
}

enum parsed parser_feed(struct parser *p, const void *text, size_t len)
{
    if (setjmp(p->nomem) != 0) {
        drop(p);
        return PARSED_NOMEM;
    }
    return yajl_parse(p->yajl, text, len) == yajl_status_ok ? PARSED_OK
                                                            : PARSED_BROKEN;
}

enum parsed parser_end(struct parser *p)
{
    if (setjmp(p->nomem) != 0) {
        drop(p);
        return PARSED_NOMEM;
    }
    return yajl_complete_parse(p->yajl) == yajl_status_ok ? PARSED_OK
                                                          : PARSED_BROKEN;
}

size_t parser_consumed(const struct parser *p)
{
    return p->yajl != NULL ? yajl_get_bytes_consumed(p->yajl) : 0;
}

void parser_error(struct parser *p, const void *text, size_t len, char *why,
                  size_t cap)
{
    unsigned char *error;

    if (setjmp(p->nomem) != 0) {
        drop(p);
        snprintf(why, cap, "no memory to say what");
        return;
    }
    error = yajl_get_error(p->yajl, 0, text, len);
    snprintf(why, cap, "%.*s", (int)strcspn((const char *)error, "\n"),
             (const char *)error);
    yajl_free_error(p->yajl, error);
}
