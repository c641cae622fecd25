/*
 * file.c - creating, opening and closing a store's file; its figures.
 *
 * Creating is all or nothing. The file is written whole under a temporary name
 * beside its place, synced, renamed without replacing what may be there, and
 * the directory is synced. It is locked throughout, so that nobody else can
 * have opened it when the last of these steps fails and it is removed again.
 *
 *     a new file, of three blocks:
 *     | slot A: rev 0, seq 1 | slot B: rev 0, seq 2 | record of rev 0 |
 */
#include <stdio.h>
#include <unistd.h>

#include "pages/file/pf_impl.h"

/* Temporary names tried; each is left over from a creator that was killed. */
#define PF_CREATE_TRIES 100u

static_assert(3 * PF_BLOCK_MAX <= QUIRE_SEG_MAX, "a new file fits a segment");

/* The block size for a file: at least what the file system allocates. */
static quire_status pf_create_block(const struct pf_os *os, uint32_t *block)
{
    uint32_t n = 0;
    int r;

    if (*block != 0)
        return QUIRE_OK;
    PF_RETRY(r, os->io->block_size(os->io->ctx, os->handle, &n));
    if (r < 0)
        return pf_os_fail(os, -r, "ask for the block size");
    if (!ra_is_pow2(n) || n < PF_BLOCK_MIN)
        n = PF_BLOCK_MIN;
    *block = n > PF_BLOCK_MAX ? PF_BLOCK_MAX : n;
    return QUIRE_OK;
}

/* The bytes of a new store into `buf` of three blocks. */
static void pf_create_image(const struct pf_geometry *geo, int64_t time_us,
                            uint8_t *buf)
{
    uint64_t block = geo->block_bytes;
    uint8_t body[1024];
    struct pf_record rec;
    struct pf_record_tail tail;
    struct pf_super super;
    struct pg_frag_in in;
    struct pg_ref ref;

    memset(buf, 0, 3 * block);
    memset(&rec, 0, sizeof(rec));
    rec.time_us = time_us;
    rec.incarnation = 1;
    rec.batch_off = 2 * block;
    rec.span.off = 2 * block;
    rec.span.len = PF_STREAM_MIN - 2 * block;
    rec.next_span.off = PF_STREAM_MIN;
    rec.next_span.len = PF_STREAM_MIN;
    rec.frontier = 2 * PF_STREAM_MIN;
    tail.batch_len = 0;
    tail.batch_sum = XXH3_64bits("", 0);

    memset(&in, 0, sizeof(in));
    in.kind = PG_RECORD;
    in.self_contained = true;
    in.id = pg_id_make(rec.batch_off, rec.span.epoch);
    in.body = body;
    QUIRE_ASSERT(pf_record_bound(&rec, 0) <= sizeof(body));
    in.body_len = pf_record_encode(&rec, geo->uuid, &tail, NULL, 0, body);
    (void)pg_frag_encode(&in, buf + rec.batch_off, block, &ref);

    memset(&super, 0, sizeof(super));
    super.geo = *geo;
    super.incarnation = rec.incarnation;
    super.id = ref.id;
    super.sum = ref.sum;
    super.stored_len = ref.stored_len;
    super.time_us = time_us;
    super.seq = 1;
    pf_super_encode(&super, buf);
    super.seq = 2;
    pf_super_encode(&super, buf + block);
}

/* Fill the file that was just created and make it durable. */
static quire_status pf_create_fill(const struct pf_env *env,
                                   const struct pf_os *os,
                                   const struct pf_geometry *geo,
                                   int64_t time_us)
{
    struct pf_geometry full = *geo;
    void *seg = NULL;
    size_t nbytes;
    quire_status rc;

    rc = pf_create_block(os, &full.block_bytes);
    if (rc == QUIRE_OK)
        rc = pf_geometry_check(&full);
    if (rc != QUIRE_OK)
        return rc;
    nbytes = 3 * (size_t)full.block_bytes;
    rc = QUIRE_POINT_RC(PF_CREATE_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(env->pool, nbytes, &seg));
    if (rc != QUIRE_OK)
        return rc;
    pf_create_image(&full, time_us, seg);
    rc = pf_os_write(os, NULL, seg, nbytes, 0);
    ra_seg_free(env->pool, seg);
    if (rc == QUIRE_OK)
        rc = pf_os_sync(os, false);
    return rc;
}

/* Create a file under a temporary name of its own, beside `path`. */
static quire_status pf_create_temp(struct pf_os *os, const char *path,
                                   unsigned mode, char tmp[PF_PATH_MAX])
{
    int r = -EEXIST;

    for (unsigned i = 0; i < PF_CREATE_TRIES && r == -EEXIST; i++) {
        int n = snprintf(tmp, PF_PATH_MAX, "%s.tmp-%ld-%u", path,
                         (long)getpid(), i);

        if (n < 0 || (size_t)n >= PF_PATH_MAX)
            return ra_fail(QUIRE_INVAL, "the path is longer than %u bytes",
                           PF_PATH_MAX - 32);
        PF_RETRY(r, QUIRE_POINT(PF_CREATE_OPEN, -EMFILE,
                                os->io->open(os->io->ctx, tmp, QUIRE_IO_CREATE,
                                             mode, &os->handle)));
    }
    if (r < 0) {
        os->handle = NULL;
        /* What exists is a heap of temporary files, not the store. */
        return pf_os_fail(os, r == -EEXIST ? EIO : -r, "create the file");
    }
    return QUIRE_OK;
}

quire_status pf_file_create(const struct pf_env *env, const char *path,
                            unsigned mode, const struct pf_geometry *geo,
                            int64_t time_us)
{
    struct pf_os os = { .io = env->io, .path = path };
    char tmp[PF_PATH_MAX];
    const char *made = tmp; /* the name to remove on failure */
    quire_status rc;
    int r;

    rc = pf_create_temp(&os, path, mode, tmp);
    if (rc != QUIRE_OK)
        return rc;
    PF_RETRY(r, QUIRE_POINT(PF_CREATE_LOCK, -ENOLCK,
                            os.io->lock(os.io->ctx, os.handle, true)));
    if (r < 0) {
        rc = pf_os_fail(&os, -r, "lock the new file");
        goto out;
    }
    rc = pf_create_fill(env, &os, geo, time_us);
    if (rc != QUIRE_OK)
        goto out;
    PF_RETRY(r, os.io->rename(os.io->ctx, tmp, path));
    if (r < 0) {
        rc = pf_os_fail(&os, -r, "create the file");
        goto out;
    }
    made = path;
    PF_RETRY(r, os.io->sync_dir(os.io->ctx, path));
    if (r < 0)
        rc = pf_os_fail(&os, -r, "sync the directory");
    else
        made = NULL;

out:
    if (made != NULL)
        PF_RETRY(r, os.io->remove(os.io->ctx, made));
    os.io->close(os.io->ctx, os.handle);
    return rc;
}

/* Open the file through the table, with words for what a file may be. */
static quire_status pf_open_os(struct pf_file *file)
{
    const struct quire_io *io = file->os.io;
    int r;

    PF_RETRY(r, QUIRE_POINT(PF_FILE_OPEN, -EMFILE,
                            io->open(io->ctx, file->path,
                                     file->rdonly ? QUIRE_IO_RDONLY : 0, 0,
                                     &file->os.handle)));
    if (r >= 0)
        return QUIRE_OK;
    file->os.handle = NULL;
    if (r == -EISDIR)
        return ra_fail(QUIRE_FORMAT, "%s: this is a directory, not a store",
                       file->path);
    if (r == -ESPIPE || r == -ENXIO)
        return ra_fail(QUIRE_FORMAT, "%s: this is not a regular file",
                       file->path);
    return pf_os_fail(&file->os, -r, "open the file");
}

static quire_status pf_open_lock(struct pf_file *file)
{
    const struct quire_io *io = file->os.io;
    int r;

    PF_RETRY(r, QUIRE_POINT(PF_FILE_LOCK, -EAGAIN,
                            io->lock(io->ctx, file->os.handle, !file->rdonly)));
    if (r == -EAGAIN || r == -EACCES)
        return ra_fail(QUIRE_LOCKED,
                       "%s: another process (or handle) has the store open",
                       file->path);
    if (r < 0)
        return pf_os_fail(&file->os, -r, "lock the file");
    return QUIRE_OK;
}

static quire_status pf_direct_refuse(struct pf_file *file, int err)
{
    char buf[128];

    if (err == EINVAL || err == EOPNOTSUPP)
        return ra_fail(QUIRE_INVAL,
                       "%s: QUIRE_DIRECT: the file system does not read past "
                       "the system's cache: %s",
                       file->path, strerror_r(err, buf, sizeof(buf)));
    return pf_os_fail(&file->direct, err, "read past the system's cache");
}

/*
 * The second handle, through which pages are loaded past the system's cache.
 * It is not locked: the first one is. Some file systems refuse only the first
 * read; and what this name leads to might be another file by now, so the first
 * block is read through both.
 */
static quire_status pf_open_direct(struct pf_file *file)
{
    const struct quire_io *io = file->os.io;
    _Alignas(PF_DIRECT_ALIGN) uint8_t one[PF_DIRECT_ALIGN];
    _Alignas(PF_DIRECT_ALIGN) uint8_t two[PF_DIRECT_ALIGN];
    quire_status rc;
    int r;

    file->direct.io = io;
    file->direct.path = file->path;
    PF_RETRY(r, QUIRE_POINT(PF_FILE_DIRECT, -EMFILE,
                            io->open(io->ctx, file->path,
                                     QUIRE_IO_RDONLY | QUIRE_IO_DIRECT, 0,
                                     &file->direct.handle)));
    if (r < 0) {
        file->direct.handle = NULL;
        return pf_direct_refuse(file, -r);
    }
    PF_RETRY(r,
             (int)io->pread(io->ctx, file->direct.handle, one, sizeof(one), 0));
    if (r < 0)
        return pf_direct_refuse(file, -r);
    rc = pf_read_direct(file, one, sizeof(one), 0);
    if (rc == QUIRE_OK)
        rc = pf_read_all(file, two, sizeof(two), 0, false);
    if (rc == QUIRE_OK && memcmp(one, two, sizeof(one)) != 0)
        rc = ra_fail(QUIRE_IO, "%s: another file has taken this name",
                     file->path);
    return rc;
}

quire_status pf_file_open(const struct pf_env *env, const char *path,
                          bool rdonly, struct pf_file **file)
{
    const struct quire_sys *sys = ra_pool_sys(env->pool);
    size_t path_len = strlen(path);
    struct pf_file *f;
    quire_status rc;

    if (path_len >= PF_PATH_MAX)
        return ra_fail(QUIRE_INVAL, "the path is longer than %u bytes",
                       PF_PATH_MAX - 1);
    f = QUIRE_POINT(PF_FILE_HANDLE, NULL,
                    ra_obj_alloc(sys, sizeof(*f) + path_len + 1));
    if (f == NULL)
        return ra_fail(QUIRE_NOMEM, "%s: no memory for a handle", path);
    f->env = *env;
    f->rdonly = rdonly;
    memcpy(f->path, path, path_len + 1);
    f->os.io = env->io;
    f->os.path = f->path;
    ra_mutex_init(&f->lock, RA_RANK_PF_SPACE);
    ra_cond_init(&f->changed);
    ra_cond_init(&f->zero_news);
    atomic_init(&f->pend_low, UINT64_MAX);
    rc = pf_open_os(f);
    if (rc == QUIRE_OK)
        rc = pf_open_lock(f);
    if (rc == QUIRE_OK)
        rc = pf_super_find(f);
    if (rc == QUIRE_OK && env->direct)
        rc = pf_open_direct(f);
    if (rc == QUIRE_OK && !rdonly && pf_past_open(f))
        rc = pf_open_lock(f);
    if (rc != QUIRE_OK) {
        pf_file_close(f);
        return rc;
    }
    *file = f;
    return QUIRE_OK;
}

const struct pf_geometry *pf_file_geometry(const struct pf_file *file)
{
    return &file->geo;
}

void pf_file_set_cache(struct pf_file *file, struct pc_cache *cache)
{
    file->cache = cache;
}

void pf_file_close(struct pf_file *file)
{
    const struct quire_sys *sys;

    if (file == NULL)
        return;
    sys = ra_pool_sys(file->env.pool);
    pf_zero_stop(file);
    pf_out_free(file);
    pf_past_close(file);
    if (file->direct.handle != NULL)
        file->os.io->close(file->os.io->ctx, file->direct.handle);
    if (file->os.handle != NULL)
        file->os.io->close(file->os.io->ctx, file->os.handle);
    pthread_cond_destroy(&file->zero_news);
    pthread_cond_destroy(&file->changed);
    ra_mutex_fini(&file->lock);
    ra_obj_free(sys, file);
}

/* relaxed: as pf_count() */
static uint64_t pf_figure(const _Atomic uint64_t *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

uint64_t pf_file_log_bytes(const struct pf_file *file)
{
    return pf_figure(&file->log_bytes);
}

void pf_file_stat(struct pf_file *file, struct pf_stat *st)
{
    memset(st, 0, sizeof(*st));
    (void)file->os.io->get_size(file->os.io->ctx, file->os.handle,
                                &st->file_bytes);
    st->log_off = pf_figure(&file->log_end);
    st->incarnation = pf_figure(&file->incarnation_seen);
    st->log_bytes = pf_figure(&file->log_bytes);
    st->syncs = pf_figure(&file->syncs);
    st->written_bytes = pf_figure(&file->written_bytes);
    st->zeroed_bytes = pf_figure(&file->zeroed_bytes);
    st->read_bytes = pf_figure(&file->read_bytes);
    st->ahead_frags = pf_figure(&file->ahead_frags);
    st->frags_read = pf_figure(&file->frags_read);
}
