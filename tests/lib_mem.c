/*
 * lib_mem.c - a disk in memory.
 *
 * A file has bytes and a lock state, and lives while a name or a handle refers
 * to it, as an inode does. Names are a short list, searched from its start. One
 * mutex guards a whole disk: these tests want determinism, not speed.
 */
#include "tests/lib_mem.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>

#include "tests/test.h"

struct mem_file {
    uint8_t *bytes;  /* `cap` bytes, zero from `len` on; under disk->lock */
    size_t len;      /* bytes: size of the file; under disk->lock */
    size_t cap;      /* bytes; under disk->lock */
    unsigned refs;   /* names and handles; under disk->lock */
    unsigned shared; /* handles that hold a shared lock; under disk->lock */
    bool exclusive;  /* a handle holds the exclusive one; under disk->lock */
};

struct mem_name {
    struct mem_name *next; /* under disk->lock */
    struct mem_file *file; /* under disk->lock */
    char *path;            /* immutable */
};

struct mem_handle {
    struct mem_file *file; /* immutable */
    bool rdonly;           /* immutable */
    bool direct;           /* immutable: opened with QUIRE_IO_DIRECT */
    bool shared;           /* holds a shared lock; under disk->lock */
    bool exclusive;        /* holds the exclusive lock; under disk->lock */
};

struct mem_disk {
    struct quire_io io; /* immutable */
    pthread_mutex_t lock;
    struct mem_name *names; /* under lock */
    size_t opens;           /* handles; under lock */
    uint64_t limit;         /* bytes of all files, 0: none; under lock */
    uint64_t used;          /* bytes of all files; under lock */
};

static void mem_lock(struct mem_disk *d)
{
    pthread_mutex_lock(&d->lock);
}

static void mem_unlock(struct mem_disk *d)
{
    pthread_mutex_unlock(&d->lock);
}

static struct mem_name **mem_find(struct mem_disk *d, const char *path)
{
    struct mem_name **at = &d->names;

    while (*at != NULL && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    return at;
}

static void mem_unref(struct mem_disk *d, struct mem_file *f)
{
    if (--f->refs > 0)
        return;
    d->used -= f->len;
    free(f->bytes);
    free(f);
}

/* A new file under a name that does not exist. */
static struct mem_file *mem_add(struct mem_disk *d, const char *path)
{
    struct mem_file *f = calloc(1, sizeof(*f));
    struct mem_name *n = calloc(1, sizeof(*n));

    CHECK(f != NULL && n != NULL);
    f->refs = 1;
    n->file = f;
    n->path = strdup(path);
    CHECK(n->path != NULL);
    n->next = d->names;
    d->names = n;
    return f;
}

static void mem_drop(struct mem_disk *d, struct mem_name **at)
{
    struct mem_name *n = *at;

    *at = n->next;
    mem_unref(d, n->file);
    free(n->path);
    free(n);
}

/* Set the size of `f`; bytes that are new are zeros. */
static void mem_resize(struct mem_disk *d, struct mem_file *f, size_t len)
{
    if (len > f->cap) {
        size_t cap = f->cap < 4096 ? 4096 : f->cap;

        while (cap < len)
            cap *= 2;
        f->bytes = realloc(f->bytes, cap);
        CHECK(f->bytes != NULL);
        memset(f->bytes + f->cap, 0, cap - f->cap);
        f->cap = cap;
    }
    if (len < f->len)
        memset(f->bytes + len, 0, f->len - len);
    d->used = d->used - f->len + len;
    f->len = len;
}

/* How far `f` may grow. */
static uint64_t mem_room(const struct mem_disk *d, const struct mem_file *f)
{
    if (d->limit == 0)
        return UINT64_MAX;
    return d->limit > d->used ? f->len + (d->limit - d->used) : f->len;
}

/* ---- the table ---- */

static int mem_io_open(void *ctx, const char *path, unsigned flags,
                       unsigned mode, void **file)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = NULL;
    struct mem_file *f;
    int rc = 0;

    (void)mode;
    mem_lock(d);
    f = *mem_find(d, path) != NULL ? (*mem_find(d, path))->file : NULL;
    if ((flags & QUIRE_IO_CREATE) != 0 && f != NULL)
        rc = -EEXIST;
    else if ((flags & QUIRE_IO_CREATE) == 0 && f == NULL)
        rc = -ENOENT;
    if (rc == 0) {
        if (f == NULL)
            f = mem_add(d, path);
        h = calloc(1, sizeof(*h));
        CHECK(h != NULL);
        h->file = f;
        h->rdonly = (flags & QUIRE_IO_RDONLY) != 0;
        h->direct = (flags & QUIRE_IO_DIRECT) != 0;
        f->refs++;
        d->opens++;
        *file = h;
    }
    mem_unlock(d);
    return rc;
}

static ssize_t mem_io_pread(void *ctx, void *file, void *buf, size_t nbytes,
                            uint64_t off)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;
    size_t n = 0;

    if (h->direct && (((uintptr_t)buf | nbytes | off) & 4095) != 0)
        return -EINVAL; /* as the system does */
    mem_lock(d);
    if (off < h->file->len) {
        n = h->file->len - (size_t)off;
        if (n > nbytes)
            n = nbytes;
        memcpy(buf, h->file->bytes + off, n);
    }
    mem_unlock(d);
    return (ssize_t)n;
}

static ssize_t mem_io_pwritev(void *ctx, void *file, const struct iovec *iov,
                              int iovcnt, uint64_t off)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;
    struct mem_file *f = h->file;
    size_t total = 0;
    size_t done = 0;
    ssize_t rc;

    if (h->rdonly)
        return -EBADF;
    for (int i = 0; i < iovcnt; i++)
        total += iov[i].iov_len;
    mem_lock(d);
    if (total > 0 && off + total > mem_room(d, f) && off + total > f->len) {
        uint64_t end = mem_room(d, f) > f->len ? mem_room(d, f) : f->len;

        total = off < end ? (size_t)(end - off) : 0;
        if (total == 0) {
            mem_unlock(d);
            return -ENOSPC;
        }
    }
    if (off + total > f->len)
        mem_resize(d, f, (size_t)off + total);
    for (int i = 0; done < total; i++) {
        size_t n = iov[i].iov_len;

        if (n > total - done)
            n = total - done;
        memcpy(f->bytes + off + done, iov[i].iov_base, n);
        done += n;
    }
    rc = (ssize_t)done;
    mem_unlock(d);
    return rc;
}

static int mem_io_sync(void *ctx, void *file)
{
    (void)ctx;
    (void)file;
    return 0;
}

static int mem_io_allocate(void *ctx, void *file, uint64_t off, uint64_t nbytes)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;
    int rc;

    mem_lock(d);
    rc = off + nbytes > mem_room(d, h->file) ? -ENOSPC : 0;
    mem_unlock(d);
    return rc;
}

static int mem_io_truncate(void *ctx, void *file, uint64_t nbytes)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;
    int rc = 0;

    mem_lock(d);
    if (h->rdonly)
        rc = -EBADF;
    else if (nbytes > h->file->len && nbytes > mem_room(d, h->file))
        rc = -ENOSPC;
    else
        mem_resize(d, h->file, (size_t)nbytes);
    mem_unlock(d);
    return rc;
}

static int mem_io_get_size(void *ctx, void *file, uint64_t *nbytes)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;

    mem_lock(d);
    *nbytes = h->file->len;
    mem_unlock(d);
    return 0;
}

static int mem_io_block_size(void *ctx, void *file, uint32_t *nbytes)
{
    (void)ctx;
    (void)file;
    *nbytes = 4096;
    return 0;
}

static int mem_io_lock(void *ctx, void *file, bool exclusive)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;
    struct mem_file *f = h->file;
    unsigned others;
    int rc = 0;

    mem_lock(d);
    others = f->shared - (h->shared ? 1 : 0);
    if ((f->exclusive && !h->exclusive) || (exclusive && others > 0)) {
        rc = -EAGAIN;
    } else {
        f->shared = others + (exclusive ? 0 : 1);
        f->exclusive = exclusive;
        h->shared = !exclusive;
        h->exclusive = exclusive;
    }
    mem_unlock(d);
    return rc;
}

static void mem_io_close(void *ctx, void *file)
{
    struct mem_disk *d = ctx;
    struct mem_handle *h = file;

    mem_lock(d);
    if (h->shared)
        h->file->shared--;
    if (h->exclusive)
        h->file->exclusive = false;
    mem_unref(d, h->file);
    d->opens--;
    mem_unlock(d);
    free(h);
}

/* Like the library's own: an existing file is not replaced. */
static int mem_io_rename(void *ctx, const char *from, const char *to)
{
    struct mem_disk *d = ctx;
    struct mem_name **at;
    int rc = 0;

    mem_lock(d);
    at = mem_find(d, from);
    if (*at == NULL) {
        rc = -ENOENT;
    } else if (*mem_find(d, to) != NULL) {
        rc = -EEXIST;
    } else {
        free((*at)->path);
        (*at)->path = strdup(to);
        CHECK((*at)->path != NULL);
    }
    mem_unlock(d);
    return rc;
}

static int mem_io_remove(void *ctx, const char *path)
{
    struct mem_disk *d = ctx;
    struct mem_name **at;
    int rc = 0;

    mem_lock(d);
    at = mem_find(d, path);
    if (*at == NULL)
        rc = -ENOENT;
    else
        mem_drop(d, at);
    mem_unlock(d);
    return rc;
}

static int mem_io_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 0;
}

/* ---- the disk ---- */

struct mem_disk *mem_disk_create(void)
{
    struct mem_disk *d = calloc(1, sizeof(*d));

    /* Disks come and go by the thousand: what the C library gives back to the
     * system each time costs more than all else. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);

    CHECK(d != NULL);
    pthread_mutex_init(&d->lock, NULL);
    d->io = (struct quire_io){
        .size = sizeof(d->io),
        .ctx = d,
        .open = mem_io_open,
        .pread = mem_io_pread,
        .pwritev = mem_io_pwritev,
        .sync = mem_io_sync,
        .allocate = mem_io_allocate,
        .truncate = mem_io_truncate,
        .get_size = mem_io_get_size,
        .block_size = mem_io_block_size,
        .lock = mem_io_lock,
        .close = mem_io_close,
        .rename = mem_io_rename,
        .remove = mem_io_remove,
        .sync_dir = mem_io_sync_dir,
    };
    return d;
}

struct mem_disk *mem_disk_copy(struct mem_disk *disk)
{
    struct mem_disk *d = mem_disk_create();

    mem_lock(disk);
    for (struct mem_name *n = disk->names; n != NULL; n = n->next)
        mem_disk_put(d, n->path, n->file->bytes, n->file->len);
    d->limit = disk->limit;
    mem_unlock(disk);
    return d;
}

void mem_disk_destroy(struct mem_disk *disk)
{
    if (disk == NULL)
        return;
    CHECK_EQ(disk->opens, 0);
    while (disk->names != NULL)
        mem_drop(disk, &disk->names);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}

const struct quire_io *mem_disk_io(struct mem_disk *disk)
{
    return &disk->io;
}

void mem_disk_put(struct mem_disk *disk, const char *path, const void *bytes,
                  size_t nbytes)
{
    struct mem_file *f;

    mem_lock(disk);
    f = *mem_find(disk, path) != NULL ? (*mem_find(disk, path))->file
                                      : mem_add(disk, path);
    mem_resize(disk, f, 0);
    mem_resize(disk, f, nbytes);
    if (nbytes > 0)
        memcpy(f->bytes, bytes, nbytes);
    mem_unlock(disk);
}

uint8_t *mem_disk_bytes(struct mem_disk *disk, const char *path, size_t *nbytes)
{
    struct mem_name *n;
    uint8_t *bytes = NULL;

    mem_lock(disk);
    n = *mem_find(disk, path);
    if (n != NULL) {
        if (n->file->bytes == NULL) { /* an empty file is not a missing one */
            mem_resize(disk, n->file, 1);
            mem_resize(disk, n->file, 0);
        }
        *nbytes = n->file->len;
        bytes = n->file->bytes;
    }
    mem_unlock(disk);
    return bytes;
}

size_t mem_disk_files(struct mem_disk *disk)
{
    size_t n = 0;

    mem_lock(disk);
    for (struct mem_name *at = disk->names; at != NULL; at = at->next)
        n++;
    mem_unlock(disk);
    return n;
}

size_t mem_disk_opens(struct mem_disk *disk)
{
    size_t n;

    mem_lock(disk);
    n = disk->opens;
    mem_unlock(disk);
    return n;
}

void mem_disk_limit(struct mem_disk *disk, uint64_t nbytes)
{
    mem_lock(disk);
    disk->limit = nbytes;
    mem_unlock(disk);
}

/* ---- memory that is used again ---- */

/* Mappings that are given back are kept: decommit does nothing, commit clears.
 * What was decommitted, or never committed, shows old bytes to who reads it all
 * the same. */
#define MEM_KEPT_MAX 128u

static struct {
    pthread_mutex_t lock;
    struct {
        void *addr;
        size_t nbytes;
    } map[MEM_KEPT_MAX];
    unsigned n;
} mem_kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int mem_kept_map(void *ctx, size_t nbytes, size_t align, void **addr)
{
    const struct quire_sys *sys = quire_sys_default();
    void *found = NULL;

    (void)ctx;
    pthread_mutex_lock(&mem_kept.lock);
    for (unsigned i = 0; i < mem_kept.n && found == NULL; i++) {
        if (mem_kept.map[i].nbytes != nbytes ||
            (uintptr_t)mem_kept.map[i].addr % align != 0)
            continue;
        found = mem_kept.map[i].addr;
        mem_kept.map[i] = mem_kept.map[--mem_kept.n];
    }
    pthread_mutex_unlock(&mem_kept.lock);
    if (found == NULL)
        return sys->map(sys->ctx, nbytes, align, addr);
    *addr = found;
    return 0;
}

static void mem_kept_unmap(void *ctx, void *addr, size_t nbytes)
{
    const struct quire_sys *sys = quire_sys_default();
    bool kept = false;

    (void)ctx;
    pthread_mutex_lock(&mem_kept.lock);
    if (mem_kept.n < MEM_KEPT_MAX) {
        mem_kept.map[mem_kept.n].addr = addr;
        mem_kept.map[mem_kept.n++].nbytes = nbytes;
        kept = true;
    }
    pthread_mutex_unlock(&mem_kept.lock);
    if (!kept)
        sys->unmap(sys->ctx, addr, nbytes);
}

static int mem_kept_commit(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    memset(addr, 0, nbytes);
    return 0;
}

static int mem_kept_decommit(void *ctx, void *addr, size_t nbytes)
{
    (void)ctx;
    (void)addr;
    (void)nbytes;
    return 0;
}

const struct quire_sys *mem_sys_kept(void)
{
    static struct quire_sys sys;

    sys = *quire_sys_default();
    sys.map = mem_kept_map;
    sys.unmap = mem_kept_unmap;
    sys.commit = mem_kept_commit;
    sys.decommit = mem_kept_decommit;
    sys.protect = NULL; /* who is given it next may not know */
    return &sys;
}
