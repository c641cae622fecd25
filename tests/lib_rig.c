/*
 * lib_rig.c - the functions behind lib_rig.h.
 */
#include "tests/lib_rig.h"

#include "tests/test.h"

#define RIG_RECORDS 8u                /* in a page */
#define RIG_IMAGE ((size_t)128 << 10) /* bytes of working memory */

void rig_init(struct rig *rig, bool background)
{
    struct quire_pool_options opt;

    memset(rig, 0, sizeof(*rig));
    rig->disk = mem_disk_create();
    fault_init(&rig->fault, mem_disk_io(rig->disk), NULL);
    memset(&opt, 0, sizeof(opt));
    opt.size = sizeof(opt);
    opt.budget_bytes = (uint64_t)16 << 20;
    opt.sys = &rig->fault.sys;
    CHECK_OK(ra_pool_create(&opt, &rig->pool));
    rig->env.io = &rig->fault.io;
    rig->env.pool = rig->pool;
    rig->env.background = background;
    for (unsigned i = 0; i < sizeof(rig->geo.uuid); i++)
        rig->geo.uuid[i] = (uint8_t)(17 * i + 1);
    rig->geo.page_bytes = 4096;
    rig->geo.block_bytes = 4096;
    rig->geo.window = 4;
    rig->geo.versioning = QUIRE_VERSIONING_ADAPTIVE;
}

void rig_fini(struct rig *rig)
{
    struct quire_pool_stat st;

    rig_close(rig);
    ra_pool_stat(rig->pool, &st);
    CHECK_EQ(st.segments_in_use, 0);
    CHECK_EQ(st.misuses, 0);
    CHECK_EQ(ra_pool_destroy(rig->pool, false), 0);
    CHECK(fault_live_none(&rig->fault));
    CHECK_EQ(mem_disk_opens(rig->disk), 0);
    fault_fini(&rig->fault);
    mem_disk_destroy(rig->disk);
}

quire_status rig_create(struct rig *rig)
{
    return pf_file_create(&rig->env, RIG_PATH, 0644, &rig->geo, 1000);
}

/* Each record is the successor of the one before. */
static quire_status rig_on_record(void *arg, const struct pf_record *rec)
{
    struct rig *rig = arg;

    if (rig->first == UINT64_MAX) {
        rig->first = rec->rev;
    } else {
        CHECK_EQ(rec->rev, rig->last.rev + 1);
        CHECK_EQ(rec->prev_sum, rig->last.sum);
    }
    rig->last = *rec;
    return QUIRE_OK;
}

quire_status rig_open(struct rig *rig, bool rdonly)
{
    struct pf_record last;
    quire_status rc;

    CHECK(rig->file == NULL);
    rig->first = UINT64_MAX;
    rc = pf_file_open(&rig->env, RIG_PATH, rdonly, &rig->file);
    if (rc != QUIRE_OK)
        return rc;
    rc = pf_file_recover(rig->file, rig_on_record, rig, &last);
    if (rc != QUIRE_OK) {
        rig_close(rig);
        return rc;
    }
    CHECK_EQ(last.rev, rig->last.rev);
    CHECK_EQ(last.id, rig->last.id);
    if (!rdonly)
        rig->durable = last.rev;
    return QUIRE_OK;
}

void rig_close(struct rig *rig)
{
    pf_file_close(rig->file);
    rig->file = NULL;
}

void rig_start(struct rig *rig)
{
    CHECK_OK(rig_create(rig));
    CHECK_OK(rig_open(rig, false));
    CHECK_EQ(rig->last.rev, 0);
}

void rig_reopen(struct rig *rig, quire_rev rev)
{
    rig_close(rig);
    CHECK_OK(rig_open(rig, false));
    CHECK_EQ(rig->last.rev, rev);
}

static void *rig_malloc(size_t nbytes)
{
    void *p = malloc(nbytes);

    CHECK(p != NULL);
    return p;
}

static bool rig_put(struct pg_image *img, const char *key, const void *val,
                    size_t len)
{
    const struct quire_val k = { key, strlen(key) };
    const struct quire_val v = { val, len };

    return pg_work_put(img, &k, &v, PG_ENTRY_PLAIN, NULL);
}

/* Encode a working leaf and append it. */
static quire_status rig_add(struct rig *rig,
                            quire_status (*add)(struct pf_file *file,
                                                struct pg_frag_in *in,
                                                struct pg_ref *ref),
                            const struct pg_image *img, quire_rev birth,
                            struct pg_ref *ref)
{
    void *body = rig_malloc(RIG_IMAGE);
    struct pg_frag_in in;
    quire_status rc;

    memset(&in, 0, sizeof(in));
    in.kind = PG_LEAF;
    in.self_contained = true;
    in.birth = birth;
    in.count = img->n;
    in.image_len = (uint32_t)pg_image_compact_bytes(img, 0);
    in.body = body;
    in.body_len = pg_body_encode(img, false, body, RIG_IMAGE, &in.nentries);
    CHECK(in.body_len != 0);
    rc = add(rig->file, &in, ref);
    free(body);
    return rc;
}

/* The bytes of value `i` of page `no`. */
static void rig_value(uint64_t seed, unsigned no, unsigned i, uint8_t *buf,
                      size_t len)
{
    uint64_t state = seed * 1000003 + no * 101 + i;

    for (size_t at = 0; at < len; at++)
        buf[at] = (uint8_t)test_rand(&state);
}

quire_status rig_page(struct rig *rig,
                      quire_status (*add)(struct pf_file *file,
                                          struct pg_frag_in *in,
                                          struct pg_ref *ref),
                      uint64_t seed, unsigned no, size_t val_bytes,
                      struct pg_ref *ref)
{
    const struct quire_val lower = { "", 0 };
    struct pg_image *img = rig_malloc(RIG_IMAGE);
    uint8_t *val = rig_malloc(val_bytes + 1);
    char key[16];
    quire_status rc;

    CHECK(pg_work_init(img, RIG_IMAGE, PG_LEAF, 0, &lower, NULL));
    for (unsigned i = 0; i < RIG_RECORDS; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        rig_value(seed, no, i, val, val_bytes);
        CHECK(rig_put(img, key, val, val_bytes));
    }
    rc = rig_add(rig, add, img, rig->last.rev + 1, ref);
    free(val);
    free(img);
    return rc;
}

/* The root page: the plan, and a reference to each page. */
static quire_status rig_root(struct rig *rig, const struct rig_plan *plan,
                             const struct pg_ref *refs, struct pg_ref *root)
{
    const struct quire_val lower = { "", 0 };
    struct pg_image *img = rig_malloc(RIG_IMAGE);
    unsigned n = plan->npages + plan->nahead;
    uint64_t val_bytes = plan->val_bytes;
    quire_status rc;

    CHECK(pg_work_init(img, RIG_IMAGE, PG_LEAF, 0, &lower, NULL));
    CHECK(rig_put(img, "seed", &plan->seed, sizeof(plan->seed)));
    CHECK(rig_put(img, "size", &val_bytes, sizeof(val_bytes)));
    for (unsigned i = 0; i < n; i++) {
        uint8_t buf[PG_REF_BYTES_MAX];
        char key[16];

        snprintf(key, sizeof(key), "page%04u", i);
        CHECK(rig_put(img, key, buf, pg_ref_encode(&refs[i], buf)));
    }
    rc = rig_add(rig, pf_batch_add, img, rig->last.rev + 1, root);
    free(img);
    return rc;
}

quire_status rig_ahead(struct rig *rig, const struct rig_plan *plan,
                       struct pg_ref *refs)
{
    quire_status rc = QUIRE_OK;

    for (unsigned i = 0; i < plan->nahead && rc == QUIRE_OK; i++)
        rc = rig_page(rig, pf_ahead_add, plan->seed, i, plan->val_bytes,
                      &refs[i]);
    return rc;
}

/* Most bytes of the plan's batch, for pf_batch_begin(). */
static uint64_t rig_bound(const struct rig_plan *plan)
{
    uint64_t page = ra_round_up(
        pg_frag_bound(256 + RIG_RECORDS * (32 + plan->val_bytes), 0), PG_ALIGN);
    uint64_t root = ra_round_up(
        pg_frag_bound(256 + 128 * (2u + plan->npages + plan->nahead), 0),
        PG_ALIGN);

    return plan->npages * page + root;
}

quire_status rig_commit(struct rig *rig, const struct rig_plan *plan)
{
    struct pg_ref *refs = calloc(RIG_PAGES, sizeof(*refs));
    struct pf_record rec;
    quire_status rc;

    CHECK(refs != NULL && plan->npages + plan->nahead <= RIG_PAGES);
    CHECK(rig->last.rev + 1 < RIG_REVS);
    memset(&rec, 0, sizeof(rec));
    rec.rev = rig->last.rev + 1;
    rec.time_us = rig->last.time_us + 1;
    rec.durable_through = rig->durable;
    rc = rig_ahead(rig, plan, refs);
    if (rc == QUIRE_OK)
        rc = pf_batch_begin(rig->file, rig_bound(plan));
    for (unsigned i = 0; i < plan->npages && rc == QUIRE_OK; i++)
        rc = rig_page(rig, pf_batch_add, plan->seed, plan->nahead + i,
                      plan->val_bytes, &refs[plan->nahead + i]);
    if (rc == QUIRE_OK)
        rc = rig_root(rig, plan, refs, &rec.catalogue);
    free(refs);
    if (rc == QUIRE_OK)
        rc = pf_batch_commit(rig->file, &rec,
                             plan->shared ? PF_BATCH_SHARED
                                          : PF_BATCH_UNSYNCED);
    if (rc != QUIRE_OK) {
        pf_batch_abort(rig->file);
        pf_ahead_abort(rig->file);
        return rc;
    }
    rig->last = rec;
    rig->seed[rec.rev] = plan->seed;
    rig->rec_id[rec.rev] = rec.id;
    rig->rec_len[rec.rev] = rec.stored_len;
    if (!plan->nosync) {
        rc = pf_sync_to(rig->file, rec.rev);
        if (rc == QUIRE_OK)
            rig->durable = rec.rev;
    }
    return rc;
}

void rig_commit_ok(struct rig *rig, uint64_t seed)
{
    const struct rig_plan plan = { .seed = seed, .npages = 1, .val_bytes = 20 };

    CHECK_OK(rig_commit(rig, &plan));
}

static quire_status rig_load(struct rig *rig, const struct pg_ref *ref,
                             struct pg_image **img)
{
    struct quire_page page;
    quire_status rc;

    rc = pf_load(rig->file, ref->id, (void *)(uintptr_t)ref, &page);
    if (rc != QUIRE_OK)
        return rc;
    *img = page.payload;
    CHECK(pg_check_image(*img));
    CHECK_EQ((*img)->id, ref->id);
    return QUIRE_OK;
}

/* A value of the root page, of exactly `len` bytes. */
static void rig_root_get(const struct pg_image *root, const char *key,
                         void *buf, size_t len)
{
    struct quire_val val;
    bool found;
    unsigned i = pg_image_seek(root, key, strlen(key), &found);

    CHECK(found);
    CHECK_EQ(pg_image_value(root, i, &val), PG_ENTRY_PLAIN);
    CHECK_EQ(val.size, len);
    memcpy(buf, val.data, len);
}

/* Is this the page that rig_page() made? */
static void rig_page_check(const struct pg_image *img, uint64_t seed,
                           unsigned no, size_t val_bytes)
{
    uint8_t *want = rig_malloc(val_bytes + 1);

    CHECK_EQ(img->n, RIG_RECORDS);
    for (unsigned i = 0; i < RIG_RECORDS; i++) {
        struct quire_val val;

        CHECK_EQ(pg_image_value(img, i, &val), PG_ENTRY_PLAIN);
        CHECK_EQ(val.size, val_bytes);
        rig_value(seed, no, i, want, val_bytes);
        CHECK_MEM_EQ(val.data, want, val_bytes);
    }
    free(want);
}

quire_status rig_verify(struct rig *rig, const struct pf_record *rec,
                        uint64_t *seed)
{
    struct pg_image *root = NULL;
    uint64_t val_bytes;
    quire_status rc;

    rc = rig_load(rig, &rec->catalogue, &root);
    if (rc != QUIRE_OK)
        return rc;
    rig_root_get(root, "seed", seed, sizeof(*seed));
    rig_root_get(root, "size", &val_bytes, sizeof(val_bytes));
    for (unsigned i = 0; i < root->n && rc == QUIRE_OK; i++) {
        struct pg_image *img = NULL;
        struct quire_val val;
        struct pg_ref ref;

        if (pg_image_key_cmp(root, i, "page", 4) < 0)
            continue;
        if (pg_image_key_cmp(root, i, "pagf", 4) >= 0)
            break;
        (void)pg_image_value(root, i, &val);
        CHECK_OK(pg_ref_decode(val.data, val.size, &ref));
        rc = rig_load(rig, &ref, &img);
        if (rc == QUIRE_OK)
            rig_page_check(img, *seed, i, val_bytes);
        ra_seg_free(rig->pool, img);
    }
    ra_seg_free(rig->pool, root);
    return rc;
}

void rig_check(struct rig *rig)
{
    CHECK(pf_check_file(rig->file));
    for (quire_rev rev = 1; rev <= rig->last.rev; rev++) {
        struct pf_record rec;
        uint64_t seed = 0;

        CHECK_OK(pf_record_read(rig->file, rig->rec_id[rev], rig->rec_len[rev],
                                &rec));
        CHECK_EQ(rec.rev, rev);
        CHECK_OK(rig_verify(rig, &rec, &seed));
        CHECK_EQ(seed, rig->seed[rev]);
    }
}
