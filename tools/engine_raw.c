/*
 * engine_raw.c - the disk alone: 4 KiB and fdatasync(), again and again, into
 * blocks that were written with zeros and synced before. What one write and
 * one flush cost is the least that a durable commit can take.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench_engine.h"
#include "tools/tool.h"

#define BLOCK 4096u
#define BLOCKS 16384u /* 64 MiB, then from the beginning again */

struct file {
    unsigned char block[BLOCK];
    uint64_t next; /* block */
    int fd;
};

static int open_file(const struct bench_setup *s, void **to)
{
    struct file *f = calloc(1, sizeof(*f));
    char path[4096];

    if (f == NULL) {
        say("raw-fdatasync: no memory");
        return -1;
    }
    snprintf(path, sizeof(path), "%s/blocks", s->dir);
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    for (uint64_t i = 0; f->fd >= 0 && i < BLOCKS; i++) {
        if (pwrite(f->fd, f->block, BLOCK, (off_t)(i * BLOCK)) != BLOCK)
            goto fail;
    }
    if (f->fd < 0 || fdatasync(f->fd) != 0)
        goto fail;
    *to = f;
    return 0;
fail:
    say("%s: %m", path);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    return -1;
}

static void close_file(void *arg)
{
    struct file *f = arg;

    close(f->fd);
    free(f);
}

static int settle(void *arg, bool tidy)
{
    (void)arg;
    (void)tidy;
    return 0;
}

static int thread_open(void *db, void **to)
{
    *to = db;
    return 0;
}

static void thread_close(void *arg)
{
    (void)arg;
}

static int begin(void *arg)
{
    (void)arg;
    return 0;
}

static int put(void *arg, const struct quire_val *key,
               const struct quire_val *val, bool append)
{
    struct file *f = arg;

    (void)key;
    (void)append;
    memcpy(f->block, val->data, val->size);
    return 0;
}

static int commit(void *arg)
{
    struct file *f = arg;
    off_t off = (off_t)(f->next++ % BLOCKS * BLOCK);

    if (pwrite(f->fd, f->block, BLOCK, off) == BLOCK && fdatasync(f->fd) == 0)
        return 0;
    say("raw-fdatasync: %m");
    return -1;
}

const struct bench_engine engine_raw = {
    .name = "raw-fdatasync",
    .cannot = BENCH_NO_READ | BENCH_NO_FILL | BENCH_NO_THREADS,
    .open = open_file,
    .close = close_file,
    .settle = settle,
    .thread_open = thread_open,
    .thread_close = thread_close,
    .write_begin = begin,
    .put = put,
    .commit = commit,
};
