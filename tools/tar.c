/*
 * tar.c - the files in a tar archive as inputs, one after the other.
 *
 *     file --input.c: plain or decompressed--> libarchive --> one input a file
 *
 * The archive is read from front to back, once, and nothing of it is unpacked
 * to disk. libarchive knows the dialects (ustar, pax, GNU); it is asked for tar
 * alone, without its own decompression, since input.c has limits of its own.
 *
 * An archive ends with blocks of zeros, but libarchive takes an end of input
 * between two files for as good. So when the input ends while it looks for the
 * next file it is given the header of one more, empty file: if that comes out, no
 * end came before it, and the archive has been cut.
 *
 * Traps. A failure inside our reading function has been said already when
 * libarchive reports it, so it is remembered and not said twice. Directories
 * are passed over; anything else that isn't a plain file is passed over with a
 * message, since records might be expected in it.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/input.h"
#include "tools/tool.h"

struct tar {
    struct input *in; /* the archive itself */
    struct archive *a;
    uint64_t window_bytes; /* as input_open()'s */
    int trouble;           /* INPUT_FAILED or INPUT_STOPPED, said; 0 */
    bool seeking;          /* libarchive is looking for the next file */
    bool ended;            /* the input has, and the file behind it is given */
    struct bytes name;     /* of the file in work: "ARCHIVE:FILE", NUL */
    uint64_t nread;        /* bytes of the archive */
    unsigned char chunk[INPUT_CHUNK];
};

bool input_is_tar(const char *name)
{
    size_t len = input_stem(name);

    return len > 4 && memcmp(name + len - 4, ".tar", 4) == 0;
}

#define BLOCK 512u /* bytes, of every tar */

/* The header of an empty file, where the fields of ustar are. */
static void make_header(unsigned char block[BLOCK])
{
    unsigned sum = 0;

    memset(block, 0, BLOCK);
    memcpy(block, "end", 4);                /* name */
    memcpy(block + 100, "0000644", 8);      /* mode */
    memcpy(block + 108, "0000000", 8);      /* owner */
    memcpy(block + 116, "0000000", 8);      /* group */
    memcpy(block + 124, "00000000000", 12); /* size */
    memcpy(block + 136, "00000000000", 12); /* time */
    memcpy(block + 148, "        ", 8);     /* sum, taken as blanks */
    block[156] = '0';                       /* a plain file */
    memcpy(block + 257, "ustar\00000", 8);  /* magic, version */
    for (unsigned i = 0; i < BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static la_ssize_t on_read(struct archive *a, void *arg, const void **data)
{
    struct tar *t = arg;
    ssize_t n = input_read(t->in, t->chunk, sizeof(t->chunk));

    *data = t->chunk;
    if (n > 0)
        t->nread += (uint64_t)n;
    if (n == 0 && t->seeking && !t->ended && t->nread > 0 &&
        t->nread % BLOCK == 0) {
        t->ended = true;
        make_header(t->chunk);
        return BLOCK;
    }
    if (n >= 0)
        return n;
    t->trouble = (int)n;
    archive_set_error(a, EIO, "reading has failed");
    return -1;
}

/* Say what libarchive has met, unless that has been said. */
static int say_tar_failed(struct tar *t)
{
    const char *error = archive_error_string(t->a);

    if (t->trouble == 0) {
        (say)("%s: near byte %llu: %s; the archive is damaged or not what its "
              "name says",
              input_name(t->in), (unsigned long long)input_taken(t->in),
              error != NULL ? error : strerror(archive_errno(t->a)));
        t->trouble = INPUT_FAILED;
    }
    return t->trouble;
}

#define tar_failed(t) SAID(say_tar_failed(t))

int tar_open(const char *name, uint64_t window_bytes, struct tar **out)
{
    struct tar *t = mem_zero(1, sizeof(*t));

    if (t == NULL)
        goto nomem;
    t->window_bytes = window_bytes;
    if (input_open(name, window_bytes, &t->in) != 0)
        goto failed;
    t->a = FAIL_POINT(MEMORY_POINT, NULL, archive_read_new());
    if (t->a == NULL)
        goto nomem;
    if (archive_read_support_format_tar(t->a) != ARCHIVE_OK ||
        archive_read_open(t->a, t, NULL, on_read, NULL) != ARCHIVE_OK) {
        tar_failed(t);
        goto failed;
    }
    *out = t;
    return 0;

nomem:
    say("%s: the system has no memory for an archive", name);
failed:
    tar_close(t);
    return -1;
}

void tar_close(struct tar *t)
{
    if (t == NULL)
        return;
    if (t->a != NULL)
        archive_read_free(t->a);
    input_close(t->in);
    bytes_free(&t->name);
    free(t);
}

static int set_name(struct tar *t, const char *file)
{
    t->name.len = 0;
    if (bytes_append_text(&t->name, input_name(t->in)) != 0 ||
        bytes_append_text(&t->name, ":") != 0 ||
        bytes_append(&t->name, file, strlen(file) + 1) != 0)
        return -1;
    return 0;
}

int tar_next(struct tar *t, struct input **in)
{
    for (;;) {
        struct archive_entry *entry;
        const char *file;
        int rc;

        t->seeking = true;
        rc = archive_read_next_header(t->a, &entry);
        t->seeking = false;
        if (rc == ARCHIVE_EOF)
            return INPUT_END;
        if (t->ended && (rc == ARCHIVE_OK || rc == ARCHIVE_WARN)) {
            say("%s: at byte %llu: the archive has no end: it has been cut "
                "behind a file",
                input_name(t->in), (unsigned long long)t->nread);
            return INPUT_FAILED;
        }
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return tar_failed(t);
        if (archive_entry_filetype(entry) == AE_IFDIR)
            continue;
        file = archive_entry_pathname(entry);
        if (set_name(t, file != NULL ? file : "?") != 0)
            return INPUT_FAILED;
        if (archive_entry_filetype(entry) != AE_IFREG ||
            archive_entry_hardlink(entry) != NULL) {
            say("%s: it is no plain file: passed over",
                (const char *)t->name.data);
            continue;
        }
        if (input_open_member((const char *)t->name.data, t->window_bytes, t,
                              in) != 0)
            return INPUT_FAILED;
        return 1;
    }
}

ssize_t tar_read(struct tar *t, void *buf, size_t cap)
{
    la_ssize_t n = archive_read_data(t->a, buf, cap);

    return n >= 0 ? (ssize_t)n : tar_failed(t);
}

uint64_t tar_taken(const struct tar *t)
{
    return input_taken(t->in);
}

bool tar_ready(const struct tar *t)
{
    return input_ready(t->in);
}

void tar_set_waiter(struct tar *t, struct input_waiter *w)
{
    input_set_waiter(t->in, w);
}
