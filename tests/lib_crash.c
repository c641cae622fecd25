/*
 * lib_crash.c - the recorder, and the builder of crash states.
 *
 * Recording. Every event gets the next number, under one mutex. A write is
 * recorded when it has returned; a sync when it begins and again when it has
 * succeeded, and covers what was recorded before its beginning. So a write that
 * another thread had not finished when the sync began is not counted as
 * covered, as it need not be. A sync that fails is recorded too: systems then
 * forget that the pages were dirty, so that what had not reached the disk never
 * will, though it can still be read until the power fails.
 *
 * Building. One pass over the events keeps, for each file, the *durable* bytes
 * and the list of *pending* events since. At a chosen event the pending ones
 * are applied one by one to a copy; each sector that one of them changes gets a
 * *version*:
 *
 *     sector   durable   pending write 1   pending write 2
 *        8       A             B                  C         versions B, C
 *        9       A             A                  D         version D
 *       10       A             -                  -         not in question
 *
 * and a state chooses one of A, B, C for sector 8, and so on. How it chooses is
 * its *mode*: everything (the process was killed), nothing, a random half, the
 * first writes and a part of the next (no reordering), the last few writes alone
 * (the worst reordering), everything but one sector. What is not chosen keeps
 * its durable bytes, or is filled with zeros, garbage or another sector's
 * bytes. A file may get any length that it has had since it was last synced;
 * what then lies beyond its end is lost.
 *
 * Passes are repeated, each choosing other events, until there are enough.
 */
#include "tests/lib_crash.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <xxhash.h>

#include "tests/test.h"

#define CRASH_SUBSET_MAX 10u /* sectors of which all subsets are tried */
#define CRASH_SAMPLES 8u     /* states of more, at each sync */

enum crash_kind {
    CRASH_EV_WRITE,      /* file, off, len, bytes */
    CRASH_EV_TRUNCATE,   /* file, off: the new length */
    CRASH_EV_SYNC_BEGIN, /* file */
    CRASH_EV_SYNC_END,   /* file, begin */
    CRASH_EV_SYNC_FAIL,  /* file, begin */
    CRASH_EV_CREATE,     /* file, path */
    CRASH_EV_RENAME,     /* path, path2 */
    CRASH_EV_REMOVE,     /* path */
    CRASH_EV_DIR_BEGIN,  /* - */
    CRASH_EV_DIR_END,    /* begin */
    CRASH_EV_MARK,       /* mark, off: the revision */
};

struct crash_event {
    enum crash_kind kind;
    unsigned file; /* index of a file */
    enum crash_mark mark;
    uint64_t off;   /* bytes, or a revision */
    size_t len;     /* bytes */
    uint8_t *bytes; /* `len` of them, or NULL */
    uint64_t begin; /* number of the event where the sync began */
    char *path;
    char *path2;
};

/* A file, while recording: what it held when first seen. */
struct crash_file {
    uint8_t *base; /* `base_len` bytes */
    size_t base_len;
    bool created; /* by the program under test: base is empty */
    char *path;   /* its name now, NULL when removed; under lock */
    char *path0;  /* its name when first seen; NULL when created */
};

struct crash_handle {
    void *inner;
    unsigned file; /* index */
};

struct crash_rec {
    struct quire_io io;           /* immutable */
    const struct quire_io *inner; /* immutable */
    void (*hook)(void *arg, enum crash_call call,
                 size_t written); /* likewise */
    void *hook_arg;               /* immutable */
    pthread_mutex_t lock;
    struct crash_event *events; /* under lock */
    uint64_t nevents;           /* under lock */
    uint64_t cap;               /* of `events`; under lock */
    struct crash_file *files;   /* under lock */
    unsigned nfiles;            /* under lock */
};

/* ---- recording ---- */

/* Append an event and return its number; with rec->lock held. */
static uint64_t crash_add(struct crash_rec *rec, struct crash_event ev)
{
    if (rec->nevents == rec->cap) {
        rec->cap = rec->cap == 0 ? 256 : 2 * rec->cap;
        rec->events = realloc(rec->events, rec->cap * sizeof(*rec->events));
        CHECK(rec->events != NULL);
    }
    rec->events[rec->nevents] = ev;
    return rec->nevents++;
}

static uint64_t crash_add_locked(struct crash_rec *rec, struct crash_event ev)
{
    uint64_t at;

    pthread_mutex_lock(&rec->lock);
    at = crash_add(rec, ev);
    pthread_mutex_unlock(&rec->lock);
    return at;
}

static void crash_call_hook(struct crash_rec *rec, enum crash_call call,
                            size_t written)
{
    if (rec->hook != NULL)
        rec->hook(rec->hook_arg, call, written);
}

static char *crash_strdup(const char *s)
{
    char *copy = strdup(s);

    CHECK(copy != NULL);
    return copy;
}

/* The file now called `path`, or rec->nfiles; with rec->lock held. */
static unsigned crash_find(const struct crash_rec *rec, const char *path)
{
    unsigned i = 0;

    while (i < rec->nfiles && (rec->files[i].path == NULL ||
                               strcmp(rec->files[i].path, path) != 0))
        i++;
    return i;
}

/* Read what the file holds that was there before the recorder. */
static void crash_read_base(struct crash_rec *rec, void *inner,
                            struct crash_file *f)
{
    const struct quire_io *io = rec->inner;
    uint64_t size = 0;

    CHECK_EQ(io->get_size(io->ctx, inner, &size), 0);
    f->base = malloc((size_t)size + 1);
    CHECK(f->base != NULL);
    while (f->base_len < size) {
        ssize_t n = io->pread(io->ctx, inner, f->base + f->base_len,
                              (size_t)size - f->base_len, f->base_len);

        CHECK(n > 0);
        f->base_len += (size_t)n;
    }
}

static int crash_io_open(void *ctx, const char *path, unsigned flags,
                         unsigned mode, void **file)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h;
    void *inner = NULL;
    unsigned at;
    int rc = rec->inner->open(rec->inner->ctx, path, flags, mode, &inner);

    if (rc != 0)
        return rc;
    h = calloc(1, sizeof(*h));
    CHECK(h != NULL);
    pthread_mutex_lock(&rec->lock);
    at = crash_find(rec, path);
    if (at == rec->nfiles) {
        struct crash_file f = { .path = crash_strdup(path),
                                .created = (flags & QUIRE_IO_CREATE) != 0 };

        if (!f.created) {
            f.path0 = crash_strdup(path);
            crash_read_base(rec, inner, &f);
        }
        rec->files = realloc(rec->files,
                             (rec->nfiles + 1) * sizeof(*rec->files));
        CHECK(rec->files != NULL);
        rec->files[rec->nfiles++] = f;
        if (f.created)
            crash_add(rec, (struct crash_event){ .kind = CRASH_EV_CREATE,
                                                 .file = at,
                                                 .path = crash_strdup(path) });
    }
    h->inner = inner;
    h->file = at;
    pthread_mutex_unlock(&rec->lock);
    *file = h;
    return 0;
}

static void crash_io_close(void *ctx, void *file)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;

    rec->inner->close(rec->inner->ctx, h->inner);
    free(h);
}

static ssize_t crash_io_pread(void *ctx, void *file, void *buf, size_t nbytes,
                              uint64_t off)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;

    return rec->inner->pread(rec->inner->ctx, h->inner, buf, nbytes, off);
}

static ssize_t crash_io_pwritev(void *ctx, void *file, const struct iovec *iov,
                                int iovcnt, uint64_t off)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;
    struct crash_event ev = { .kind = CRASH_EV_WRITE,
                              .file = h->file,
                              .off = off };
    ssize_t n;

    crash_call_hook(rec, CRASH_BEFORE_WRITE, 0);
    n = rec->inner->pwritev(rec->inner->ctx, h->inner, iov, iovcnt, off);
    if (n <= 0)
        return n;
    ev.bytes = malloc((size_t)n);
    CHECK(ev.bytes != NULL);
    for (int i = 0; ev.len < (size_t)n; i++) {
        size_t part = iov[i].iov_len;

        if (part > (size_t)n - ev.len)
            part = (size_t)n - ev.len;
        memcpy(ev.bytes + ev.len, iov[i].iov_base, part);
        ev.len += part;
    }
    crash_add_locked(rec, ev);
    crash_call_hook(rec, CRASH_AFTER_WRITE, (size_t)n);
    return n;
}

static int crash_io_sync(void *ctx, void *file)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;
    struct crash_event ev = { .kind = CRASH_EV_SYNC_BEGIN, .file = h->file };
    uint64_t begin;
    int rc;

    crash_call_hook(rec, CRASH_BEFORE_SYNC, 0);
    begin = crash_add_locked(rec, ev);
    crash_call_hook(rec, CRASH_DURING_SYNC, 0);
    rc = rec->inner->sync(rec->inner->ctx, h->inner);

    if (rc == -EINTR) /* it will be called again */
        return rc;
    ev.kind = rc == 0 ? CRASH_EV_SYNC_END : CRASH_EV_SYNC_FAIL;
    ev.begin = begin;
    crash_add_locked(rec, ev);
    return rc;
}

static int crash_io_allocate(void *ctx, void *file, uint64_t off,
                             uint64_t nbytes)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;
    uint64_t before = 0;
    uint64_t after = 0;
    int rc;

    CHECK_EQ(rec->inner->get_size(rec->inner->ctx, h->inner, &before), 0);
    rc = rec->inner->allocate(rec->inner->ctx, h->inner, off, nbytes);
    CHECK_EQ(rec->inner->get_size(rec->inner->ctx, h->inner, &after), 0);
    if (after != before) /* it may make the file longer */
        crash_add_locked(rec, (struct crash_event){ .kind = CRASH_EV_TRUNCATE,
                                                    .file = h->file,
                                                    .off = after });
    return rc;
}

static int crash_io_truncate(void *ctx, void *file, uint64_t nbytes)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;
    int rc = rec->inner->truncate(rec->inner->ctx, h->inner, nbytes);

    if (rc == 0)
        crash_add_locked(rec, (struct crash_event){ .kind = CRASH_EV_TRUNCATE,
                                                    .file = h->file,
                                                    .off = nbytes });
    return rc;
}

static int crash_io_get_size(void *ctx, void *file, uint64_t *nbytes)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;

    return rec->inner->get_size(rec->inner->ctx, h->inner, nbytes);
}

static int crash_io_block_size(void *ctx, void *file, uint32_t *nbytes)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;

    return rec->inner->block_size(rec->inner->ctx, h->inner, nbytes);
}

static int crash_io_lock(void *ctx, void *file, bool exclusive)
{
    struct crash_rec *rec = ctx;
    struct crash_handle *h = file;

    return rec->inner->lock(rec->inner->ctx, h->inner, exclusive);
}

static int crash_io_rename(void *ctx, const char *from, const char *to)
{
    struct crash_rec *rec = ctx;
    int rc = rec->inner->rename(rec->inner->ctx, from, to);
    unsigned at;

    if (rc != 0)
        return rc;
    pthread_mutex_lock(&rec->lock);
    at = crash_find(rec, to); /* replaced, where that is possible */
    if (at < rec->nfiles) {
        free(rec->files[at].path);
        rec->files[at].path = NULL;
    }
    at = crash_find(rec, from);
    CHECK(at < rec->nfiles);
    free(rec->files[at].path);
    rec->files[at].path = crash_strdup(to);
    crash_add(rec, (struct crash_event){ .kind = CRASH_EV_RENAME,
                                         .path = crash_strdup(from),
                                         .path2 = crash_strdup(to) });
    pthread_mutex_unlock(&rec->lock);
    return 0;
}

static int crash_io_remove(void *ctx, const char *path)
{
    struct crash_rec *rec = ctx;
    int rc = rec->inner->remove(rec->inner->ctx, path);
    unsigned at;

    if (rc != 0)
        return rc;
    pthread_mutex_lock(&rec->lock);
    at = crash_find(rec, path);
    if (at < rec->nfiles) {
        free(rec->files[at].path);
        rec->files[at].path = NULL;
        crash_add(rec, (struct crash_event){ .kind = CRASH_EV_REMOVE,
                                             .path = crash_strdup(path) });
    }
    pthread_mutex_unlock(&rec->lock);
    return 0;
}

static int crash_io_sync_dir(void *ctx, const char *path)
{
    struct crash_rec *rec = ctx;
    struct crash_event ev = { .kind = CRASH_EV_DIR_BEGIN };
    uint64_t begin = crash_add_locked(rec, ev);
    int rc = rec->inner->sync_dir(rec->inner->ctx, path);

    if (rc == 0) {
        ev.kind = CRASH_EV_DIR_END;
        ev.begin = begin;
        crash_add_locked(rec, ev);
    }
    return rc;
}

struct crash_rec *crash_rec_create(const struct quire_io *io)
{
    struct crash_rec *rec = calloc(1, sizeof(*rec));

    CHECK(rec != NULL);
    rec->inner = io;
    pthread_mutex_init(&rec->lock, NULL);
    rec->io = (struct quire_io){
        .size = sizeof(rec->io),
        .ctx = rec,
        .open = crash_io_open,
        .pread = crash_io_pread,
        .pwritev = crash_io_pwritev,
        .sync = crash_io_sync,
        .allocate = crash_io_allocate,
        .truncate = crash_io_truncate,
        .get_size = crash_io_get_size,
        .block_size = crash_io_block_size,
        .lock = crash_io_lock,
        .close = crash_io_close,
        .rename = crash_io_rename,
        .remove = crash_io_remove,
        .sync_dir = crash_io_sync_dir,
    };
    return rec;
}

void crash_rec_destroy(struct crash_rec *rec)
{
    if (rec == NULL)
        return;
    for (uint64_t i = 0; i < rec->nevents; i++) {
        free(rec->events[i].bytes);
        free(rec->events[i].path);
        free(rec->events[i].path2);
    }
    for (unsigned i = 0; i < rec->nfiles; i++) {
        free(rec->files[i].base);
        free(rec->files[i].path);
        free(rec->files[i].path0);
    }
    free(rec->events);
    free(rec->files);
    pthread_mutex_destroy(&rec->lock);
    free(rec);
}

const struct quire_io *crash_rec_io(struct crash_rec *rec)
{
    return &rec->io;
}

void crash_mark(struct crash_rec *rec, enum crash_mark mark, quire_rev rev)
{
    crash_add_locked(rec, (struct crash_event){ .kind = CRASH_EV_MARK,
                                                .mark = mark,
                                                .off = rev });
}

struct crash_figures crash_rec_figures(struct crash_rec *rec)
{
    struct crash_figures fig = { 0 };

    pthread_mutex_lock(&rec->lock);
    fig.events = rec->nevents;
    for (uint64_t i = 0; i < rec->nevents; i++) {
        fig.writes += rec->events[i].kind == CRASH_EV_WRITE;
        fig.syncs += rec->events[i].kind == CRASH_EV_SYNC_END;
        fig.written_bytes += rec->events[i].len;
        fig.head_writes += rec->events[i].kind == CRASH_EV_WRITE &&
                           rec->events[i].off < 16384;
    }
    pthread_mutex_unlock(&rec->lock);
    return fig;
}

void crash_rec_hook(struct crash_rec *rec,
                    void (*fn)(void *arg, enum crash_call call, size_t written),
                    void *arg)
{
    rec->hook = fn;
    rec->hook_arg = arg;
}

static uint64_t crash_digest(uint64_t sum, const void *p, size_t nbytes)
{
    return XXH3_64bits_withSeed(p, nbytes, sum);
}

uint64_t crash_rec_digest(struct crash_rec *rec)
{
    uint64_t sum = 0;

    pthread_mutex_lock(&rec->lock);
    for (uint64_t i = 0; i < rec->nevents; i++) {
        const struct crash_event *ev = &rec->events[i];
        const uint64_t fields[] = { ev->kind, ev->file,  ev->mark,
                                    ev->off,  ev->begin, ev->len };

        sum = crash_digest(sum, fields, sizeof(fields));
        if (ev->bytes != NULL)
            sum = crash_digest(sum, ev->bytes, ev->len);
    }
    pthread_mutex_unlock(&rec->lock);
    return sum;
}

/* ---- bytes that grow ---- */

struct crash_bytes {
    uint8_t *p; /* `cap` bytes, zero from `len` on */
    size_t len;
    size_t cap;
};

static void crash_bytes_resize(struct crash_bytes *b, size_t len)
{
    if (len > b->cap) {
        size_t cap = b->cap < 4096 ? 4096 : b->cap;

        while (cap < len)
            cap *= 2;
        b->p = realloc(b->p, cap);
        CHECK(b->p != NULL);
        memset(b->p + b->cap, 0, cap - b->cap);
        b->cap = cap;
    }
    if (len < b->len)
        memset(b->p + len, 0, b->len - len);
    b->len = len;
}

static void crash_bytes_copy(struct crash_bytes *to,
                             const struct crash_bytes *from)
{
    crash_bytes_resize(to, 0);
    crash_bytes_resize(to, from->len);
    if (from->len > 0)
        memcpy(to->p, from->p, from->len);
}

static void crash_bytes_apply(struct crash_bytes *b,
                              const struct crash_event *ev)
{
    if (ev->kind == CRASH_EV_TRUNCATE) {
        crash_bytes_resize(b, (size_t)ev->off);
        return;
    }
    if (ev->off + ev->len > b->len)
        crash_bytes_resize(b, (size_t)ev->off + ev->len);
    memcpy(b->p + ev->off, ev->bytes, ev->len);
}

/* Sector `no` of `b`, zeros beyond its end. */
static void crash_sector_get(const struct crash_bytes *b, uint64_t no,
                             uint8_t sector[CRASH_SECTOR])
{
    uint64_t off = no * CRASH_SECTOR;
    size_t n = 0;

    if (off < b->len)
        n = b->len - off < CRASH_SECTOR ? b->len - (size_t)off : CRASH_SECTOR;
    if (n > 0)
        memcpy(sector, b->p + off, n);
    memset(sector + n, 0, CRASH_SECTOR - n);
}

/* Set sector `no`, as far as it lies within `b`. */
static void crash_sector_put(struct crash_bytes *b, uint64_t no,
                             const uint8_t sector[CRASH_SECTOR])
{
    uint64_t off = no * CRASH_SECTOR;

    if (off < b->len)
        memcpy(b->p + off, sector,
               b->len - off < CRASH_SECTOR ? b->len - (size_t)off
                                           : CRASH_SECTOR);
}

/* ---- building ---- */

/* What a sector may hold after the crash, newest version last. */
struct crash_version {
    uint64_t order;              /* number of the event that made it */
    struct crash_version *older; /* NULL: the durable one is next */
    uint8_t bytes[CRASH_SECTOR];
};

struct crash_sector {
    uint64_t no;
    struct crash_version *newest;
    unsigned n; /* versions */
};

/* A file, while building. */
struct crash_image {
    struct crash_bytes durable;
    uint64_t *pending; /* numbers of events, ascending */
    size_t npending;
    size_t cap_pending;
    bool dirty; /* `pending` has changed since it was looked at */
    /* made by crash_image_look() */
    struct crash_bytes newest;    /* everything applied */
    struct crash_sector *sectors; /* `nsectors` that are in question */
    size_t nsectors;
    size_t cap_sectors;
    unsigned nver_max; /* most versions of a sector */
    size_t *lens;      /* lengths it has had, the durable first */
    size_t nlens;
    size_t cap_lens;
    int32_t *index; /* sector -> index in `sectors`, or -1 */
    size_t nindex;
};

struct crash_name {
    char path[256];
    unsigned file;
};

#define CRASH_NAMES 16 /* most names at once */

struct crash_names {
    struct crash_name name[CRASH_NAMES];
    unsigned n;
};

struct crash_build {
    struct crash_rec *rec;
    const struct crash_plan *plan;
    struct crash_image *images; /* one for each file */
    struct crash_names names;   /* durable ones */
    uint64_t *dir;              /* numbers of pending events of names */
    size_t ndir;
    size_t cap_dir;
    int64_t mark[CRASH_MARKS];
    bool sync_failed; /* in this pass */
    uint64_t rand;
    uint64_t made;
    void (*check)(void *arg, struct crash_state *st);
    void *arg;
};

static void crash_push(uint64_t **list, size_t *n, size_t *cap, uint64_t x)
{
    if (*n == *cap) {
        *cap = *cap == 0 ? 64 : 2 * *cap;
        *list = realloc(*list, *cap * sizeof(**list));
        CHECK(*list != NULL);
    }
    (*list)[(*n)++] = x;
}

static void crash_names_apply(struct crash_names *names,
                              const struct crash_event *ev)
{
    unsigned at = 0;
    unsigned to = 0;

    while (at < names->n && strcmp(names->name[at].path, ev->path) != 0)
        at++;
    switch (ev->kind) {
    case CRASH_EV_CREATE:
        CHECK(names->n < CRASH_NAMES &&
              strlen(ev->path) < sizeof(names->name[0].path));
        strcpy(names->name[names->n].path, ev->path);
        names->name[names->n++].file = ev->file;
        break;
    case CRASH_EV_RENAME:
        CHECK(at < names->n && strlen(ev->path2) < sizeof(names->name[0].path));
        while (to < names->n && strcmp(names->name[to].path, ev->path2) != 0)
            to++;
        strcpy(names->name[at].path, ev->path2);
        if (to < names->n)
            names->name[to] = names->name[--names->n];
        break;
    default: /* CRASH_EV_REMOVE */
        if (at < names->n)
            names->name[at] = names->name[--names->n];
        break;
    }
}

static void crash_image_clear(struct crash_image *im)
{
    for (size_t i = 0; i < im->nsectors; i++) {
        struct crash_version *v = im->sectors[i].newest;

        im->index[im->sectors[i].no] = -1;
        while (v != NULL) {
            struct crash_version *older = v->older;

            free(v);
            v = older;
        }
    }
    im->nsectors = 0;
    im->nver_max = 0;
    im->nlens = 0;
}

/* Note that event `order` has given sector `no` the bytes `now`. */
static void crash_image_version(struct crash_image *im, uint64_t no,
                                uint64_t order, const uint8_t now[CRASH_SECTOR])
{
    struct crash_version *v = malloc(sizeof(*v));
    struct crash_sector *s;

    CHECK(v != NULL);
    if (no >= im->nindex) {
        size_t n = (size_t)no + 4096;

        im->index = realloc(im->index, n * sizeof(*im->index));
        CHECK(im->index != NULL);
        while (im->nindex < n)
            im->index[im->nindex++] = -1;
    }
    if (im->index[no] < 0) {
        if (im->nsectors == im->cap_sectors) {
            im->cap_sectors = im->cap_sectors == 0 ? 64 : 2 * im->cap_sectors;
            im->sectors = realloc(im->sectors,
                                  im->cap_sectors * sizeof(*im->sectors));
            CHECK(im->sectors != NULL);
        }
        im->index[no] = (int32_t)im->nsectors;
        im->sectors[im->nsectors++] = (struct crash_sector){ .no = no };
    }
    s = &im->sectors[im->index[no]];
    v->order = order;
    v->older = s->newest;
    memcpy(v->bytes, now, CRASH_SECTOR);
    s->newest = v;
    if (++s->n > im->nver_max)
        im->nver_max = s->n;
}

/* Find out which sectors and lengths are in question. */
static void crash_image_look(struct crash_build *b, struct crash_image *im)
{
    uint64_t len;

    if (!im->dirty)
        return;
    im->dirty = false;
    crash_image_clear(im);
    crash_bytes_copy(&im->newest, &im->durable);
    if (im->cap_lens < im->npending + 1) {
        im->cap_lens = 2 * im->npending + 16;
        im->lens = realloc(im->lens, im->cap_lens * sizeof(*im->lens));
        CHECK(im->lens != NULL);
    }
    im->lens[im->nlens++] = im->durable.len;
    for (size_t i = 0; i < im->npending; i++) {
        const struct crash_event *ev = &b->rec->events[im->pending[i]];
        uint64_t from = ev->off / CRASH_SECTOR;
        uint64_t end = ev->off + ev->len;

        if (ev->kind == CRASH_EV_TRUNCATE)
            end = im->newest.len; /* cut: what was there becomes zeros */
        for (uint64_t no = from; no * CRASH_SECTOR < end; no++) {
            uint8_t before[CRASH_SECTOR];
            uint8_t after[CRASH_SECTOR];
            uint64_t at = no * CRASH_SECTOR;

            crash_sector_get(&im->newest, no, before);
            memcpy(after, before, CRASH_SECTOR);
            for (unsigned k = 0; k < CRASH_SECTOR; k++) {
                if (at + k < ev->off || at + k >= end)
                    continue;
                after[k] = ev->kind == CRASH_EV_TRUNCATE
                               ? 0
                               : ev->bytes[at + k - ev->off];
            }
            if (memcmp(before, after, CRASH_SECTOR) != 0)
                crash_image_version(im, no, im->pending[i], after);
        }
        crash_bytes_apply(&im->newest, ev);
        len = im->newest.len;
        if (len != im->lens[im->nlens - 1])
            im->lens[im->nlens++] = (size_t)len;
    }
}

/* How a state is chosen. */
enum crash_mode {
    CRASH_MODE_KILL, /* everything is there */
    CRASH_MODE_NOTHING,
    CRASH_MODE_SUBSET, /* the sectors of a bit mask, newest version */
    CRASH_MODE_RANDOM, /* each sector by itself, any version */
    CRASH_MODE_PREFIX, /* whole writes in order, the next one in part */
    CRASH_MODE_LAST,   /* the last few writes alone */
    CRASH_MODE_HOLE,   /* everything but one sector */
    CRASH_MODES
};

enum crash_fill {
    CRASH_FILL_OLD,
    CRASH_FILL_ZEROS,
    CRASH_FILL_GARBAGE,
    CRASH_FILL_STALE, /* the bytes of another sector */
    CRASH_FILLS
};

struct crash_choice {
    enum crash_mode mode;
    enum crash_fill fill;
    uint64_t subset;   /* CRASH_MODE_SUBSET: bit i for sector i */
    unsigned per_cent; /* CRASH_MODE_RANDOM: chance of a sector */
    size_t last;       /* CRASH_MODE_LAST: how many writes; 0: by chance */
};

static const char *const crash_mode_names[CRASH_MODES] = {
    "kill", "nothing", "subset", "random", "prefix", "last", "hole",
};
static const char *const crash_fill_names[CRASH_FILLS] = {
    "old",
    "zeros",
    "garbage",
    "stale",
};

static void crash_fill_sector(struct crash_build *b, struct crash_image *im,
                              enum crash_fill fill, struct crash_bytes *out,
                              uint64_t no)
{
    uint8_t sector[CRASH_SECTOR] = { 0 };
    uint64_t x;

    switch (fill) {
    case CRASH_FILL_OLD:
        return;
    case CRASH_FILL_ZEROS:
        break;
    case CRASH_FILL_GARBAGE:
        for (unsigned i = 0; i < CRASH_SECTOR; i += 8) {
            x = test_rand(&b->rand);
            memcpy(sector + i, &x, 8);
        }
        break;
    default:
        x = im->newest.len / CRASH_SECTOR;
        crash_sector_get(&im->newest, test_rand_below(&b->rand, x + 1), sector);
        break;
    }
    crash_sector_put(out, no, sector);
}

/* The bytes of a file after the crash. */
static void crash_image_build(struct crash_build *b, struct crash_image *im,
                              const struct crash_choice *c,
                              struct crash_bytes *out)
{
    /* PREFIX: events up to `cut` are whole, those after it lost; of `cut`
     * itself the sectors below `cut_no` are there. LAST: those from `cut` on. */
    uint64_t cut = 0;
    uint64_t cut_no = 0;
    uint64_t hole = 0;
    size_t len = im->lens[im->nlens - 1];

    if (c->mode == CRASH_MODE_NOTHING)
        len = im->lens[0];
    else if (c->mode != CRASH_MODE_KILL && c->last == 0 &&
             test_rand_below(&b->rand, 2) == 0)
        len = im->lens[test_rand_below(&b->rand, im->nlens)];
    crash_bytes_copy(out, &im->durable);
    crash_bytes_resize(out, len);
    if (im->npending > 0) {
        size_t back = (size_t)test_rand_below(&b->rand, im->npending) + 1;

        if (c->mode == CRASH_MODE_LAST && c->last > 0)
            back = c->last < im->npending ? c->last : im->npending;
        else if (c->mode == CRASH_MODE_LAST && back % 2 == 0)
            back = 1;
        cut = im->pending[im->npending - back];
        cut_no = b->rec->events[cut].off / CRASH_SECTOR +
                 test_rand_below(&b->rand,
                                 b->rec->events[cut].len / CRASH_SECTOR + 2);
    }
    if (im->nsectors > 0)
        hole = test_rand_below(&b->rand, im->nsectors);
    for (size_t i = 0; i < im->nsectors; i++) {
        const struct crash_sector *s = &im->sectors[i];
        const struct crash_version *v = s->newest;
        uint64_t back = 0;

        switch (c->mode) {
        case CRASH_MODE_KILL:
            break;
        case CRASH_MODE_SUBSET:
            if ((c->subset >> i & 1) == 0)
                v = NULL;
            break;
        case CRASH_MODE_RANDOM:
            if (test_rand_below(&b->rand, 100) >= c->per_cent)
                v = NULL;
            else if (s->n > 1 && test_rand_below(&b->rand, 2) == 0)
                back = test_rand_below(&b->rand, s->n);
            while (back-- > 0)
                v = v->older;
            break;
        case CRASH_MODE_PREFIX:
            while (v != NULL &&
                   (v->order > cut || (v->order == cut && s->no >= cut_no)))
                v = v->older;
            break;
        case CRASH_MODE_LAST:
            if (v->order < cut)
                v = NULL;
            break;
        case CRASH_MODE_HOLE:
            if (i == hole)
                v = NULL;
            break;
        default: /* CRASH_MODE_NOTHING */
            v = NULL;
            break;
        }
        if (v != NULL)
            crash_sector_put(out, s->no, v->bytes);
        else
            crash_fill_sector(b, im, c->fill, out, s->no);
    }
}

/* Build one state after event `at`, have it checked, and forget it. */
static void crash_state_make(struct crash_build *b, uint64_t at,
                             const struct crash_choice *c)
{
    struct crash_names names = b->names;
    struct crash_bytes bytes = { NULL, 0, 0 };
    /* After a failed sync the system may show what the disk lacks, and that is
     * not kept here: the state is not what a killed process leaves. */
    struct crash_state st = {
        .event = at, .killed = c->mode == CRASH_MODE_KILL && !b->sync_failed
    };
    size_t ndir = b->ndir;

    memcpy(st.mark, b->mark, sizeof(st.mark));
    if (c->mode == CRASH_MODE_NOTHING)
        ndir = 0;
    else if (c->mode != CRASH_MODE_KILL)
        ndir = (size_t)test_rand_below(&b->rand, b->ndir + 1);
    for (size_t i = 0; i < ndir; i++)
        crash_names_apply(&names, &b->rec->events[b->dir[i]]);
    st.disk = mem_disk_create();
    for (unsigned i = 0; i < names.n; i++) {
        struct crash_image *im = &b->images[names.name[i].file];

        crash_image_look(b, im);
        crash_image_build(b, im, c, &bytes);
        mem_disk_put(st.disk, names.name[i].path, bytes.p, bytes.len);
    }
    snprintf(st.how, sizeof(st.how),
             "state %" PRIu64 ", after event %" PRIu64 " of %" PRIu64
             ", %s, rest %s",
             b->made, at, b->rec->nevents, crash_mode_names[c->mode],
             crash_fill_names[c->fill]);
    b->made++;
    b->check(b->arg, &st);
    mem_disk_destroy(st.disk);
    free(bytes.p);
}

static struct crash_choice crash_choose(struct crash_build *b)
{
    static const unsigned per_cent[] = { 10, 50, 90 };
    struct crash_choice c = { .mode = CRASH_MODE_RANDOM };

    c.per_cent = per_cent[test_rand_below(&b->rand, ARRAY_LEN(per_cent))];
    switch (test_rand_below(&b->rand, 10)) {
    case 0:
        c.mode = CRASH_MODE_KILL;
        break;
    case 1:
        c.mode = CRASH_MODE_NOTHING;
        break;
    case 2:
    case 3:
        c.mode = CRASH_MODE_PREFIX;
        break;
    case 4:
        c.mode = CRASH_MODE_LAST;
        break;
    case 5:
        c.mode = CRASH_MODE_HOLE;
        break;
    default:
        break;
    }
    if (c.mode != CRASH_MODE_KILL && test_rand_below(&b->rand, 2) == 0)
        c.fill = (enum crash_fill)test_rand_below(&b->rand, CRASH_FILLS);
    return c;
}

/* The number of sectors in question, when they are in one file and have one
 * version each; else more than CRASH_SUBSET_MAX. */
static size_t crash_subset_sectors(struct crash_build *b)
{
    size_t n = 0;
    unsigned files = 0;

    for (unsigned i = 0; i < b->rec->nfiles; i++) {
        struct crash_image *im = &b->images[i];

        crash_image_look(b, im);
        if (im->nver_max > 1)
            return CRASH_SUBSET_MAX + 1;
        files += im->nsectors > 0;
        n += im->nsectors;
    }
    return files <= 1 ? n : CRASH_SUBSET_MAX + 1;
}

static void crash_subsets_make(struct crash_build *b, uint64_t at, size_t n)
{
    for (uint64_t bits = 0; bits < UINT64_C(1) << n; bits++) {
        struct crash_choice c = { .mode = CRASH_MODE_SUBSET, .subset = bits };

        crash_state_make(b, at, &c);
    }
}

/* Where a sync begins: all subsets of few sectors; of many, samples, and the
 * worst of their orders, the last few writes alone, which a random choice meets
 * too rarely. */
static void crash_sync_point(struct crash_build *b, uint64_t at)
{
    size_t n = crash_subset_sectors(b);

    if (n > 0 && n <= CRASH_SUBSET_MAX)
        crash_subsets_make(b, at, n);
    for (size_t i = 1; n > CRASH_SUBSET_MAX && i <= 8; i++) {
        struct crash_choice c = { .mode = CRASH_MODE_LAST, .last = i };

        crash_state_make(b, at, &c);
    }
    for (size_t i = 1; n > CRASH_SUBSET_MAX && i <= CRASH_SAMPLES; i++) {
        struct crash_choice c = crash_choose(b);

        crash_state_make(b, at, &c);
    }
}

/* Whether the plan takes the sync that ended at event `at` for a lie. */
static bool crash_lies(const struct crash_build *b, uint64_t at)
{
    const struct crash_event *ev = b->rec->events;

    if (b->plan->lie == CRASH_HONEST)
        return false;
    if (b->plan->lie == CRASH_LIE_ALL)
        return true;
    for (uint64_t i = at + 1; i < b->rec->nevents; i++) {
        if (ev[i].kind == CRASH_EV_MARK && ev[i].mark == CRASH_ACKED)
            return false;
        if (ev[i].kind == CRASH_EV_SYNC_END && ev[i].file == ev[at].file)
            return true;
    }
    return false;
}

/* A sync has failed that began at event `begin`: of what was written before it,
 * a part is on the disk by chance, and the rest will never be. */
static void crash_sync_fail(struct crash_build *b, struct crash_image *im,
                            uint64_t begin)
{
    struct crash_choice c = { .mode = CRASH_MODE_RANDOM };
    struct crash_bytes bytes = { NULL, 0, 0 };
    size_t all = im->npending;
    size_t n = 0;

    while (n < all && im->pending[n] < begin)
        n++;
    im->npending = n;
    im->dirty = true;
    crash_image_look(b, im);
    c.per_cent = test_rand_below(&b->rand, 2) == 0 ? 0 : 50;
    crash_image_build(b, im, &c, &bytes);
    crash_bytes_copy(&im->durable, &bytes);
    free(bytes.p);
    im->npending = all - n;
    memmove(im->pending, im->pending + n, im->npending * sizeof(*im->pending));
    im->dirty = true;
    b->sync_failed = true;
}

/* Let event `at` happen. */
static void crash_step(struct crash_build *b, uint64_t at)
{
    const struct crash_event *ev = &b->rec->events[at];
    struct crash_image *im = &b->images[ev->file];
    size_t n = 0;

    switch (ev->kind) {
    case CRASH_EV_WRITE:
    case CRASH_EV_TRUNCATE:
        crash_push(&im->pending, &im->npending, &im->cap_pending, at);
        im->dirty = true;
        break;
    case CRASH_EV_SYNC_END:
        if (crash_lies(b, at))
            break;
        while (n < im->npending && im->pending[n] < ev->begin)
            crash_bytes_apply(&im->durable, &b->rec->events[im->pending[n++]]);
        im->npending -= n;
        memmove(im->pending, im->pending + n,
                im->npending * sizeof(*im->pending));
        im->dirty = true;
        break;
    case CRASH_EV_SYNC_FAIL:
        crash_sync_fail(b, im, ev->begin);
        break;
    case CRASH_EV_CREATE:
    case CRASH_EV_RENAME:
    case CRASH_EV_REMOVE:
        crash_push(&b->dir, &b->ndir, &b->cap_dir, at);
        break;
    case CRASH_EV_DIR_END:
        while (n < b->ndir && b->dir[n] < ev->begin)
            crash_names_apply(&b->names, &b->rec->events[b->dir[n++]]);
        b->ndir -= n;
        memmove(b->dir, b->dir + n, b->ndir * sizeof(*b->dir));
        break;
    case CRASH_EV_MARK:
        b->mark[ev->mark] = (int64_t)ev->off;
        break;
    default:
        break;
    }
}

static void crash_build_begin(struct crash_build *b)
{
    struct crash_rec *rec = b->rec;

    memset(&b->names, 0, sizeof(b->names));
    b->ndir = 0;
    b->sync_failed = false;
    for (int i = 0; i < CRASH_MARKS; i++)
        b->mark[i] = -1;
    for (unsigned i = 0; i < rec->nfiles; i++) {
        struct crash_image *im = &b->images[i];
        const struct crash_file *f = &rec->files[i];

        im->npending = 0;
        im->dirty = true;
        crash_bytes_resize(&im->durable, 0);
        crash_bytes_resize(&im->durable, f->base_len);
        if (f->base_len > 0)
            memcpy(im->durable.p, f->base, f->base_len);
        if (f->path0 != NULL) {
            struct crash_event ev = { .kind = CRASH_EV_CREATE,
                                      .file = i,
                                      .path = f->path0 };

            crash_names_apply(&b->names, &ev);
        }
    }
}

/* One pass, in which an event is chosen with the chance `want` / events in
 * question. */
static void crash_pass(struct crash_build *b, uint64_t want, bool subsets)
{
    struct crash_rec *rec = b->rec;

    crash_build_begin(b);
    for (uint64_t at = 0; at < rec->nevents; at++) {
        enum crash_kind kind = rec->events[at].kind;
        size_t n;

        crash_step(b, at);
        if (at < b->plan->first)
            continue;
        if (subsets) {
            if (kind == CRASH_EV_SYNC_BEGIN)
                crash_sync_point(b, at);
            continue;
        }
        if (b->made >= b->plan->nstates)
            return;
        if (test_rand_below(&b->rand, rec->nevents - b->plan->first) >= want)
            continue;
        n = crash_subset_sectors(b);
        /* all subsets now and then, the more rarely the more there are */
        if (n > 0 && n <= CRASH_SUBSET_MAX &&
            test_rand_below(&b->rand, UINT64_C(4) << n) == 0) {
            crash_subsets_make(b, at, n);
        } else {
            struct crash_choice c = crash_choose(b);

            crash_state_make(b, at, &c);
        }
    }
}

uint64_t crash_states(struct crash_rec *rec, const struct crash_plan *plan,
                      void (*check)(void *arg, struct crash_state *st),
                      void *arg)
{
    struct crash_build b = {
        .rec = rec, .plan = plan, .rand = plan->seed, .check = check, .arg = arg
    };

    if (rec->nevents <= plan->first)
        return 0;
    b.images = calloc(rec->nfiles + 1u, sizeof(*b.images));
    CHECK(b.images != NULL);
    while (b.made < plan->nstates)
        crash_pass(&b, plan->nstates - b.made, false);
    if (plan->exhaustive)
        crash_pass(&b, 0, true);
    for (unsigned i = 0; i < rec->nfiles; i++) {
        struct crash_image *im = &b.images[i];

        crash_image_clear(im);
        free(im->durable.p);
        free(im->newest.p);
        free(im->pending);
        free(im->sectors);
        free(im->lens);
        free(im->index);
    }
    free(b.images);
    free(b.dir);
    return b.made;
}
