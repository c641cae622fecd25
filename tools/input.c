/*
 * input.c - plain bytes from files, pipes and compressed streams.
 *
 *      file or pipe --raw_fill()--> raw[64 KiB] --zstd or zlib--> caller
 *      file or pipe ----------------raw_read()------------------> caller
 *
 * Both compressed forms may be several streams one after the other (as `cat
 * a.gz b.gz` makes them); the end of a stream with bytes behind it begins the
 * next one, an end of file inside a stream is an error: half a file must not
 * pass for a whole one.
 *
 * Traps. A decoder may hold output back although its input is used up, so it is
 * asked again before more is read. A zstd window is memory that the file's
 * author chooses: hence the limit. Reading a pipe can wait for ever: input_read
 * waits for the stop signal's pipe as well, see signals.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "tools/input.h"
#include "tools/tool.h"

enum packing {
    PACKING_NONE,
    PACKING_ZSTD,
    PACKING_GZIP
};

struct input {
    const char *name; /* immutable; the caller's */
    int fd;           /* -1: none */
    struct tar *tar;  /* the archive it is in; NULL: none */
    bool waits;       /* a pipe, terminal or socket: reading may wait */
    struct input_waiter *waiter; /* the caller's; NULL: none */
    enum packing packing;        /* immutable */
    uint64_t taken;              /* bytes read from fd */
    uint64_t window_bytes;       /* most that a zstd frame may ask for */
    unsigned char *raw;          /* INPUT_CHUNK bytes, when packed */
    size_t raw_pos;              /* first byte not yet decoded, <= raw_len */
    size_t raw_len;              /* bytes in raw */
    bool inside;  /* a stream has begun, or must come, and has not
                              ended */
    bool gz_open; /* gz is initialized */
    ZSTD_DStream *zstd;
    z_stream gz;
};

static bool ends_in(const char *name, size_t len, const char *tail)
{
    size_t tail_len = strlen(tail);

    return len > tail_len && memcmp(name + len - tail_len, tail, tail_len) == 0;
}

static enum packing packing_of(const char *name)
{
    size_t len = strlen(name);

    if (ends_in(name, len, ".zst"))
        return PACKING_ZSTD;
    if (ends_in(name, len, ".gz"))
        return PACKING_GZIP;
    return PACKING_NONE;
}

size_t input_stem(const char *name)
{
    size_t len = strlen(name);

    switch (packing_of(name)) {
    case PACKING_ZSTD:
        return len - 4;
    case PACKING_GZIP:
        return len - 3;
    default:
        return len;
    }
}

const char *input_name(const struct input *in)
{
    return strcmp(in->name, "-") == 0 ? "standard input" : in->name;
}

uint64_t input_taken(const struct input *in)
{
    return in->tar != NULL ? tar_taken(in->tar) : in->taken;
}

bool input_ready(const struct input *in)
{
    struct pollfd fd = { .fd = in->fd, .events = POLLIN };

    if (in->tar != NULL)
        return tar_ready(in->tar);
    return !in->waits || poll(&fd, 1, 0) > 0;
}

void input_set_waiter(struct input *in, struct input_waiter *w)
{
    if (in->tar != NULL)
        tar_set_waiter(in->tar, w);
    in->waiter = w;
}

uint64_t input_total(const char *name)
{
    struct stat st;
    int rc = strcmp(name, "-") == 0 ? fstat(STDIN_FILENO, &st)
                                    : stat(name, &st);

    return rc == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static voidpf gz_alloc(voidpf arg, uInt n, uInt nbytes)
{
    (void)arg;
    return mem_zero(n, nbytes);
}

static void gz_free(voidpf arg, voidpf ptr)
{
    (void)arg;
    free(ptr);
}

static int say_no_decoder(const struct input *in)
{
    (say)("%s: the system has no memory for a decoder", input_name(in));
    return -1;
}

/* Prepare the decoder of a packed input. 0, or -1, said. */
static int open_decoder(struct input *in)
{
    in->raw = mem_alloc(INPUT_CHUNK);
    if (in->raw == NULL)
        goto nomem;
    if (in->packing == PACKING_ZSTD) {
        int window_log = 10;

        while (window_log < 31 &&
               (uint64_t)1 << (window_log + 1) <= in->window_bytes)
            window_log++;
        in->zstd = FAIL_POINT(MEMORY_POINT, NULL, ZSTD_createDStream());
        if (in->zstd == NULL)
            goto nomem;
        ZSTD_DCtx_setParameter(in->zstd, ZSTD_d_windowLogMax, window_log);
    } else {
        in->gz.zalloc = gz_alloc;
        in->gz.zfree = gz_free;
        if (inflateInit2(&in->gz, 15 + 16) != Z_OK) /* 16: gzip, not zlib */
            goto nomem;
        in->gz_open = true;
    }
    return 0;

nomem:
    return SAID(say_no_decoder(in));
}

int input_open(const char *name, uint64_t window_bytes, struct input **out)
{
    struct input *in = mem_zero(1, sizeof(*in));
    struct stat st;

    if (in == NULL) {
        say("%s: the system has no memory for an input", name);
        return -1;
    }
    in->name = name;
    in->window_bytes = window_bytes;
    in->packing = packing_of(name);
    in->fd = strcmp(name, "-") == 0 ? dup(STDIN_FILENO)
                                    : open(name, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &st) != 0) {
        say("%s: %m", input_name(in));
        goto failed;
    }
    if (S_ISDIR(st.st_mode)) {
        say("%s: it is a directory; name a file", input_name(in));
        goto failed;
    }
    in->waits = !S_ISREG(st.st_mode);
    in->inside = in->packing != PACKING_NONE; /* nothing at all is no stream */
    if (in->packing != PACKING_NONE && open_decoder(in) != 0)
        goto failed;
    *out = in;
    return 0;

failed:
    input_close(in);
    return -1;
}

void input_close(struct input *in)
{
    if (in == NULL)
        return;
    ZSTD_freeDStream(in->zstd);
    if (in->gz_open)
        inflateEnd(&in->gz);
    free(in->raw);
    if (in->fd >= 0)
        close(in->fd);
    free(in);
}

int input_open_member(const char *name, uint64_t window_bytes, struct tar *t,
                      struct input **out)
{
    struct input *in = mem_zero(1, sizeof(*in));

    if (in == NULL) {
        say("%s: the system has no memory for an input", name);
        return -1;
    }
    in->name = name;
    in->fd = -1;
    in->tar = t;
    in->window_bytes = window_bytes;
    in->packing = packing_of(name);
    in->inside = in->packing != PACKING_NONE;
    if (in->packing != PACKING_NONE && open_decoder(in) != 0) {
        input_close(in);
        return -1;
    }
    *out = in;
    return 0;
}

/* Wait until fd can be read. 0, or INPUT_STOPPED or INPUT_FAILED. */
static int wait_readable(struct input *in)
{
    struct input_waiter *w = in->waiter;
    struct pollfd fds[3] = {
        { .fd = in->fd, .events = POLLIN },
        { .fd = stop_fd(), .events = POLLIN }, /* -1 is passed over */
        { .fd = w != NULL ? w->wake_fd : -1, .events = POLLIN },
    };

    if (w != NULL && poll(fds, 3, 0) == 0)
        w->on_wait(w->arg);
    while (FAIL_POINT("tools/poll", -1, poll(fds, 3, -1)) < 0) {
        if (errno != EINTR) {
            say("%s: waiting for input: %m", input_name(in));
            return INPUT_FAILED;
        }
        if (stop_signal() != 0)
            return INPUT_STOPPED;
    }
    return fds[1].revents != 0 || fds[2].revents != 0 ? INPUT_STOPPED : 0;
}

/* Read from the file itself. */
static ssize_t raw_read(struct input *in, void *buf, size_t cap)
{
    /* relaxed: nothing is read by its leave */
    if (in->waiter != NULL &&
        atomic_load_explicit(&in->waiter->stop, memory_order_relaxed))
        return INPUT_STOPPED;
    if (in->tar != NULL)
        return tar_read(in->tar, buf, cap);
    for (;;) {
        if (in->waits) {
            int rc = wait_readable(in);

            if (rc != 0)
                return rc;
        }
        ssize_t n = FAIL_POINT("tools/read", -1, read(in->fd, buf, cap));

        if (n >= 0) {
            in->taken += (uint64_t)n;
            return n;
        }
        if (errno != EINTR && errno != EAGAIN) {
            say("%s: at byte %llu: %m", input_name(in),
                (unsigned long long)in->taken);
            return INPUT_FAILED;
        }
        if (stop_signal() != 0)
            return INPUT_STOPPED;
    }
}

/* The packed bytes in `raw` are used up: read more. As raw_read(). */
static ssize_t raw_fill(struct input *in)
{
    ssize_t n = raw_read(in, in->raw, INPUT_CHUNK);

    in->raw_pos = 0;
    in->raw_len = n > 0 ? (size_t)n : 0;
    return n;
}

static ssize_t say_damaged(const struct input *in, const char *why)
{
    (say)("%s: near byte %llu: %s; the file is damaged or not what its name "
          "says",
          input_name(in), (unsigned long long)in->taken, why);
    return INPUT_FAILED;
}

/* Decode up to `cap` bytes; *n is how many came. 0, or -1, said. */
static int zstd_step(struct input *in, void *buf, size_t cap, size_t *n)
{
    ZSTD_inBuffer src = { in->raw, in->raw_len, in->raw_pos };
    ZSTD_outBuffer dst = { buf, cap, 0 };
    size_t rc = FAIL_POINT(MEMORY_POINT, (size_t)-ZSTD_error_memory_allocation,
                           ZSTD_decompressStream(in->zstd, &dst, &src));

    if (ZSTD_isError(rc)) {
        if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
            say("%s: its zstd window is over %llu bytes; allow more with "
                "--zstd-window, which costs that much memory",
                input_name(in), (unsigned long long)in->window_bytes);
        else if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
            SAID(say_no_decoder(in));
        else
            SAID(say_damaged(in, ZSTD_getErrorName(rc)));
        return -1;
    }
    if (src.pos > in->raw_pos || dst.pos > 0)
        in->inside = rc != 0;
    in->raw_pos = src.pos;
    *n = dst.pos;
    return 0;
}

static int gzip_step(struct input *in, void *buf, size_t cap, size_t *n)
{
    int rc;

    *n = 0;
    if (!in->inside) {
        if (in->raw_pos == in->raw_len)
            return 0;
        inflateReset(&in->gz);
        in->inside = true;
    }
    in->gz.next_in = in->raw + in->raw_pos;
    in->gz.avail_in = (uInt)(in->raw_len - in->raw_pos);
    in->gz.next_out = buf;
    in->gz.avail_out = (uInt)(cap < UINT32_MAX ? cap : UINT32_MAX);
    rc = inflate(&in->gz, Z_NO_FLUSH);
    if (rc == Z_MEM_ERROR)
        return SAID(say_no_decoder(in));
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        SAID(say_damaged(in, in->gz.msg != NULL ? in->gz.msg : zError(rc)));
        return -1;
    }
    if (rc == Z_STREAM_END)
        in->inside = false;
    in->raw_pos = in->raw_len - in->gz.avail_in;
    *n = (size_t)((unsigned char *)in->gz.next_out - (unsigned char *)buf);
    return 0;
}

ssize_t input_read(struct input *in, void *buf, size_t cap)
{
    if (in->packing == PACKING_NONE)
        return raw_read(in, buf, cap);
    for (;;) {
        size_t n;

        if ((in->packing == PACKING_ZSTD ? zstd_step(in, buf, cap, &n)
                                         : gzip_step(in, buf, cap, &n)) != 0)
            return INPUT_FAILED;
        if (n > 0)
            return (ssize_t)n;
        if (in->raw_pos < in->raw_len)
            continue; /* a stream ended; the next one begins */
        ssize_t got = raw_fill(in);

        if (got == 0 && in->inside)
            return SAID(say_damaged(in, "the compressed data end too early"));
        if (got <= 0)
            return got;
    }
}
