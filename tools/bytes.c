/*
 * bytes.c - growing byte buffers.
 *
 * Buffers double, so that records of any size cost little copying (the C
 * library moves large blocks by remapping them), and are given back when one
 * huge record has made them huge, since the process has a budget to keep.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

int bytes_reserve(struct bytes *b, size_t more)
{
    size_t cap = b->cap < 256 ? 256 : b->cap;

    if (b->cap - b->len >= more)
        return 0;
    if (more > SIZE_MAX / 4 - b->len)
        goto failed;
    while (cap - b->len < more)
        cap *= 2;
    unsigned char *data = mem_resize(b->data, cap);

    if (data == NULL)
        goto failed;
    b->data = data;
    b->cap = cap;
    return 0;

failed:
    say("the system has no memory for a buffer of %zu bytes", b->len + more);
    return -1;
}

int bytes_append(struct bytes *b, const void *data, size_t len)
{
    if (b->cap - b->len < len && bytes_reserve(b, len) != 0)
        return -1;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

int bytes_append_text(struct bytes *b, const char *text)
{
    return bytes_append(b, text, strlen(text));
}

void bytes_reset(struct bytes *b, size_t keep)
{
    if (b->cap > keep)
        bytes_free(b);
    b->len = 0;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}
