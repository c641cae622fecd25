/*
 * input.h - where a load's bytes come from.
 *
 * A file, standard input ("-"), or either decompressed: a name that ends in
 * .zst or .gz says so. Whatever it is, input_read() gives plain bytes.
 */
#ifndef QUIRE_TOOLS_INPUT_H
#define QUIRE_TOOLS_INPUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct input;

#define INPUT_CHUNK ((size_t)64 * 1024) /* bytes: a good amount to read */

/* What input_read() returns besides a count. */
#define INPUT_END 0        /* no more bytes */
#define INPUT_FAILED (-1)  /* said on standard error */
#define INPUT_STOPPED (-2) /* a signal asked the program to stop */

/*
 * Open `name`. A zstd frame may ask for a window of up to `window_bytes` (a
 * power of two), and is refused beyond it.
 *
 * Returns: 0 and *in; -1, said.
 * Owner:   the caller, until input_close(); `name` must live as long.
 */
int input_open(const char *name, uint64_t window_bytes, struct input **in);
void input_close(struct input *in); /* NULL is accepted */

/* Read 1 to `cap` bytes into `buf`. The count, or INPUT_*. */
ssize_t input_read(struct input *in, void *buf, size_t cap);

/* What an input that is read by a thread of its own needs besides. */
struct input_waiter {
    void (*on_wait)(void *arg); /* called before it waits; immutable */
    void *arg;                  /* immutable */
    int wake_fd;                /* readable: wait no longer, as after a signal;
                                   immutable */
    _Atomic bool stop;          /* atomic: read no more, as after a signal */
};

/* From now on `in` heeds `w`, which lives on; NULL: none. Call it while nobody
 * reads. */
void input_set_waiter(struct input *in, struct input_waiter *w);

/* Whether input_read() would not wait, as far as that can be told cheaply. */
bool input_ready(const struct input *in);

/* As messages name it: the name given, or "standard input". */
const char *input_name(const struct input *in);

/* Bytes taken from the file so far, compressed ones if it is compressed, and
 * how many there are in all; 0 when that can't be known. */
uint64_t input_taken(const struct input *in);
uint64_t input_total(const char *name);

/* The part of `name` that says what is inside: the name without .zst or .gz.
 * Its length. */
size_t input_stem(const char *name);

/* ---- archives (tar.c) ---- */

struct tar;

/* Whether `name` is that of a tar archive, packed or not. */
bool input_is_tar(const char *name);

/* As input_open() and input_close(), for an archive; close the last file's
 * input first. */
int tar_open(const char *name, uint64_t window_bytes, struct tar **t);
void tar_close(struct tar *t); /* NULL is accepted */

/* Go to the next plain file: 1 and *in, which lasts until the next call, named
 * "ARCHIVE:FILE" and decompressed by that name; or INPUT_*. */
int tar_next(struct tar *t, struct input **in);

/* Bytes taken from the archive's own file, as input_taken(). */
uint64_t tar_taken(const struct tar *t);
bool tar_ready(const struct tar *t);
void tar_set_waiter(struct tar *t, struct input_waiter *w);

/* For input.c and tar.c: an input over the file in work, and its bytes. */
int input_open_member(const char *name, uint64_t window_bytes, struct tar *t,
                      struct input **in);
ssize_t tar_read(struct tar *t, void *buf, size_t cap);

#endif /* QUIRE_TOOLS_INPUT_H */
