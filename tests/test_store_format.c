/*
 * The format as the READMEs tell it: a decoder written from pages/README.md and
 * pages/file/README.md alone, which shares no code with the library. It reads
 * the golden files from the superblock down to the last label of each revision,
 * and quire.h must say the same.
 *
 * It believes what it reads but for its own memory: golden files are whole.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include <lz4.h>
#include <xxhash.h>

#include "tests/lib_mem.h"
#include "tests/test.h"

#define GOLDEN_DIR "tests/golden"
#define PATH "format.quire"
#define CHAIN_MAX 16u
#define ENTRIES_MAX 4096u

/* ---- numbers ---- */

struct bytes {
    const uint8_t *p;
    size_t len;
};

static uint64_t le(const uint8_t *p, unsigned nbytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < nbytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* LEB128, the shortest form. */
static uint64_t varint(const uint8_t **p)
{
    uint64_t v = 0;
    unsigned n = 0;

    do {
        CHECK(n < 10);
        v |= (uint64_t)(**p & 0x7f) << (7 * n++);
    } while (*(*p)++ >= 0x80);
    CHECK(n == 1 || (*p)[-1] != 0);
    return v;
}

static bool zeros(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

/* ---- the file ---- */

struct file {
    uint8_t *bytes;
    size_t len;
    uint32_t page, block;
};

/* A page reference. */
struct ref {
    uint64_t id, sum, birth, count;
    uint32_t stored_len, raw_len, image_len, label_len;
    unsigned kind, level, nchain, step;
    bool fenced;
    struct {
        uint64_t id;
        uint32_t stored_len, raw_len;
    } link[CHAIN_MAX];
};

/* A fragment, its body decompressed. */
struct frag {
    unsigned kind, level, flags, nchain;
    uint64_t id, birth, count, sum;
    uint32_t stored_len, raw_len, nentries, image_len;
    uint64_t sums[CHAIN_MAX], ids[CHAIN_MAX];
    uint8_t *body; /* raw_len bytes; the caller's */
};

/* "A page reference, 24 to 324 bytes"; returns where it ends. */
static const uint8_t *ref_read(const uint8_t *p, struct ref *ref)
{
    unsigned kind = p[16];

    memset(ref, 0, sizeof(*ref));
    ref->id = le(p, 8);
    ref->sum = le(p + 8, 8);
    ref->kind = kind & 0x1f;
    ref->fenced = (kind & 0x40) != 0;
    CHECK_EQ(kind & 0x80, 0); /* no intents in files */
    ref->level = p[17];
    ref->nchain = p[18] & 15;
    ref->step = p[18] >> 4;
    p += 19;
    ref->birth = varint(&p);
    ref->count = varint(&p);
    ref->stored_len = (uint32_t)varint(&p);
    ref->raw_len = (uint32_t)varint(&p);
    ref->image_len = (uint32_t)varint(&p);
    if ((kind & 0x20) != 0) {
        ref->label_len = (uint32_t)varint(&p);
        CHECK_NE(ref->label_len, 0);
    }
    for (unsigned i = 0; i < ref->nchain; i++) {
        ref->link[i].id = le(p, 8);
        p += 8;
        ref->link[i].stored_len = (uint32_t)varint(&p);
        ref->link[i].raw_len = (uint32_t)varint(&p);
    }
    return p;
}

/* The fragment with this image id. */
static void frag_read(const struct file *f, uint64_t id, struct frag *frag)
{
    uint64_t off = (id >> 16) * 16;
    const uint8_t *p = f->bytes + off;
    const uint8_t *chain, *body;
    uint8_t *copy;
    size_t chain_len, stored;

    CHECK(off + 64 <= f->len);
    CHECK_MEM_EQ(p, "QRFG", 4);
    memset(frag, 0, sizeof(*frag));
    frag->kind = p[4];
    frag->level = p[5];
    frag->flags = p[6];
    CHECK_EQ(frag->flags & 8, 0);
    frag->nchain = p[7];
    CHECK_EQ(le(p + 8, 8), id);
    frag->id = id;
    frag->birth = le(p + 16, 8);
    frag->count = le(p + 24, 8);
    frag->stored_len = (uint32_t)le(p + 32, 4);
    frag->raw_len = (uint32_t)le(p + 36, 4);
    frag->nentries = (uint32_t)le(p + 40, 4);
    frag->image_len = (uint32_t)le(p + 44, 4);
    chain_len = le(p + 48, 4);
    CHECK_EQ(le(p + 52, 4), 1); /* version */
    frag->sum = le(p + 56, 8);
    CHECK(off + frag->stored_len <= f->len);

    copy = malloc(frag->stored_len);
    CHECK(copy != NULL);
    memcpy(copy, p, frag->stored_len);
    memset(copy + 56, 0, 8);
    CHECK_EQ(XXH3_64bits(copy, frag->stored_len), frag->sum);
    free(copy);

    chain = p + 64;
    for (unsigned i = 0; i < frag->nchain; i++) {
        frag->ids[i] = le(chain, 8);
        frag->sums[i] = le(chain + 8, 8);
        chain += 16;
        (void)varint(&chain); /* stored_len */
        (void)varint(&chain); /* raw_len */
    }
    CHECK_EQ((size_t)(chain - p), 64 + chain_len);
    CHECK_EQ((frag->flags & 1) != 0, frag->nchain == 0);
    body = chain;
    stored = frag->stored_len - 64 - chain_len;
    frag->body = malloc(frag->raw_len + 1);
    CHECK(frag->body != NULL);
    if ((frag->flags & 2) != 0) {
        CHECK_EQ(LZ4_decompress_safe((const char *)body, (char *)frag->body,
                                     (int)stored, (int)frag->raw_len),
                 frag->raw_len);
    } else {
        CHECK_EQ(stored, frag->raw_len);
        memcpy(frag->body, body, stored);
    }
}

/* ---- pages ---- */

struct entry {
    struct bytes suffix, val, label;
    unsigned control; /* bits 0 and 1 */
};

struct page {
    struct ref ref;
    unsigned nfrags;
    struct frag frag[CHAIN_MAX]; /* newest first */
    struct bytes lower, upper;
    bool has_upper;
    size_t prefix_len;
    struct entry *entries; /* `n`, live, in key order */
    size_t n;
};

static int bytes_cmp(const struct bytes *a, const struct bytes *b)
{
    size_t m = a->len < b->len ? a->len : b->len;
    int c = m == 0 ? 0 : memcmp(a->p, b->p, m);

    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* Take the entries of a body in that no newer fragment names. The list holds
 * tombstones until the end. */
static void body_read(struct page *page, const struct frag *frag, bool last)
{
    const uint8_t *p = frag->body;
    uint32_t nentries = (uint32_t)le(p, 4);
    size_t lower_len = le(p + 6, 2), upper_len = le(p + 8, 2);
    size_t recs_len = le(p + 12, 4);
    bool has_upper = upper_len != 0xffff;
    const uint8_t *q, *end;
    size_t nnewer = page->n;

    if (!has_upper)
        upper_len = 0;
    CHECK_EQ(nentries, frag->nentries);
    CHECK_EQ(p[10], frag->level);
    CHECK_EQ(p[11], 0);
    q = p + 16 + lower_len + upper_len;
    while ((q - p) % 4 != 0)
        CHECK_EQ(*q++, 0);
    CHECK_EQ((size_t)(q - p) + recs_len, frag->raw_len);
    if (last) { /* whole, or fenced */
        page->lower = (struct bytes){ p + 16, lower_len };
        page->upper = (struct bytes){ p + 16 + lower_len, upper_len };
        page->has_upper = has_upper;
    }
    page->prefix_len = le(p + 4, 2);
    end = q + recs_len;
    for (uint32_t i = 0; i < nentries; i++) {
        const uint8_t *start = q;
        unsigned control = *q++;
        struct entry e = { .control = control & 3 };
        size_t k = 0;

        CHECK_EQ(control & ~7u, 0);
        e.suffix.len = varint(&q);
        e.val.len = varint(&q);
        e.suffix.p = q;
        e.val.p = q += e.suffix.len;
        q += e.val.len;
        if ((control & 4) != 0) {
            e.label.len = *q++;
            e.label.p = q;
            q += e.label.len;
            CHECK(e.label.len != 0 && frag->kind == 1);
        }
        while ((q - start) % 4 != 0)
            CHECK_EQ(*q++, 0);
        CHECK(q <= end);
        while (k < nnewer && bytes_cmp(&page->entries[k].suffix, &e.suffix))
            k++;
        if (k == nnewer) {
            CHECK(page->n < ENTRIES_MAX);
            page->entries[page->n++] = e;
        }
    }
    CHECK(q == end);
}

static int entry_order(const void *a, const void *b)
{
    return bytes_cmp(&((const struct entry *)a)->suffix,
                     &((const struct entry *)b)->suffix);
}

static void page_read(const struct file *f, const struct ref *ref,
                      struct page *page)
{
    size_t nlive = 0, nlabels = 0, label_bytes = 0;

    memset(page, 0, sizeof(*page));
    page->ref = *ref;
    page->entries = malloc(ENTRIES_MAX * sizeof(*page->entries));
    CHECK(page->entries != NULL);
    page->nfrags = ref->nchain + 1;
    for (unsigned i = 0; i < page->nfrags; i++) {
        struct frag *frag = &page->frag[i];

        frag_read(f, i == 0 ? ref->id : ref->link[i - 1].id, frag);
        CHECK_EQ(frag->sum, i == 0 ? ref->sum : page->frag[0].sums[i - 1]);
        CHECK_EQ(frag->stored_len,
                 i == 0 ? ref->stored_len : ref->link[i - 1].stored_len);
        CHECK_EQ(frag->raw_len,
                 i == 0 ? ref->raw_len : ref->link[i - 1].raw_len);
        CHECK(frag->kind == ref->kind && frag->level == ref->level);
        body_read(page, frag, i + 1 == page->nfrags);
    }
    CHECK_EQ(page->frag[0].birth, ref->birth);
    CHECK_EQ(page->frag[0].count, ref->count);
    CHECK_EQ(page->frag[0].image_len, ref->image_len);
    CHECK_EQ((page->frag[0].flags & 4) != 0, ref->fenced);
    CHECK_EQ(page->frag[0].flags >> 4, ref->step);
    for (size_t i = 0; i < page->n; i++) {
        if (page->entries[i].control == 1) {
            CHECK_EQ(page->entries[i].val.len, 0);
            continue;
        }
        page->entries[nlive++] = page->entries[i];
    }
    page->n = nlive;
    qsort(page->entries, nlive, sizeof(page->entries[0]), entry_order);
    for (size_t i = 0; i < nlive; i++) {
        nlabels += page->entries[i].label.len != 0;
        label_bytes += page->entries[i].label.len;
    }
    CHECK_EQ(ref->label_len,
             nlabels == 0 ? 0 : 16 + 4 * nlive + nlabels + label_bytes);
    if (ref->kind == 1)
        CHECK_EQ(ref->count, nlive);
}

static void page_free(struct page *page)
{
    for (unsigned i = 0; i < page->nfrags; i++)
        free(page->frag[i].body);
    free(page->entries);
}

/* A value of any length; the caller's. */
static uint8_t *value_read(const struct file *f, const struct entry *e,
                           uint64_t *size)
{
    struct ref ref;
    struct frag frag;
    uint32_t piece;
    uint8_t *val;
    uint64_t at = 0;

    if (e->control == 0) {
        *size = e->val.len;
        val = malloc(e->val.len + 1);
        CHECK(val != NULL);
        memcpy(val, e->val.p, e->val.len);
        return val;
    }
    CHECK(e->control == 2 && e->val.len == 80);
    *size = le(e->val.p, 8);
    piece = (uint32_t)le(e->val.p + 8, 4);
    CHECK(zeros(ref_read(e->val.p + 12, &ref),
                (size_t)(e->val.p + 80 - ref_read(e->val.p + 12, &ref))));
    frag_read(f, ref.id, &frag);
    CHECK_EQ(frag.sum, ref.sum);
    if (ref.kind == 3) {
        CHECK_EQ(frag.raw_len, *size);
        return frag.body;
    }
    CHECK(ref.kind == 4 && frag.raw_len % 24 == 0);
    val = malloc(*size);
    CHECK(val != NULL);
    for (uint32_t i = 0; i < frag.raw_len; i += 24) {
        struct frag part;

        frag_read(f, le(frag.body + i, 8), &part);
        CHECK_EQ(part.kind, 3);
        CHECK_EQ(part.sum, le(frag.body + i + 8, 8));
        CHECK_EQ(part.stored_len, le(frag.body + i + 16, 4));
        CHECK_EQ(part.raw_len, le(frag.body + i + 20, 4));
        CHECK(part.raw_len == piece || i + 24 == frag.raw_len);
        CHECK(at + part.raw_len <= *size);
        memcpy(val + at, part.body, part.raw_len);
        at += part.raw_len;
        free(part.body);
    }
    CHECK_EQ(at, *size);
    free(frag.body);
    return val;
}

/* ---- trees ---- */

typedef void (*each_fn)(const struct file *f, const struct bytes *key,
                        const struct entry *e, void *arg);

/* Every record of the tree at `ref`, in key order. Returns their number. */
static uint64_t tree_walk(const struct file *f, const struct ref *ref,
                          each_fn each, void *arg)
{
    struct page page;
    uint64_t n = 0;

    page_read(f, ref, &page);
    for (size_t i = 0; i < page.n; i++) {
        const struct entry *e = &page.entries[i];
        uint8_t key[8192];
        struct bytes k = { key, page.prefix_len + e->suffix.len };
        struct ref child;

        CHECK(k.len <= f->page / 8);
        memcpy(key, page.lower.p, page.prefix_len);
        memcpy(key + page.prefix_len, e->suffix.p, e->suffix.len);
        CHECK(bytes_cmp(&k, &page.lower) >= 0);
        CHECK(!page.has_upper || bytes_cmp(&k, &page.upper) < 0);
        if (page.ref.level == 0) {
            each(f, &k, e, arg);
            n++;
            continue;
        }
        CHECK(page.ref.kind == 2 && e->control == 0);
        CHECK(ref_read(e->val.p, &child) == e->val.p + e->val.len);
        CHECK_EQ(child.level + 1, page.ref.level);
        n += tree_walk(f, &child, each, arg);
    }
    page_free(&page);
    CHECK_EQ(n, ref->count);
    return n;
}

/* ---- against the library ---- */

struct same {
    struct quire_txn *txn;
    struct quire_tree *tree;
    struct quire_cursor *cur;
    unsigned ntrees;
    uint64_t nlabels, nlarge;
};

static void same_record(const struct file *f, const struct bytes *key,
                        const struct entry *e, void *arg)
{
    struct same *s = arg;
    struct quire_val k, label;
    uint64_t size, want;
    uint8_t *val = value_read(f, e, &want);
    uint8_t *got = malloc(want + 1);

    CHECK(got != NULL);
    CHECK_OK(quire_cursor_next(s->cur));
    CHECK_OK(quire_cursor_get(s->cur, &k, NULL));
    CHECK_EQ(k.size, key->len);
    CHECK_MEM_EQ(k.data, key->p, key->len);
    CHECK_OK(quire_cursor_read(s->cur, 0, got, want, &size));
    CHECK_EQ(size, want);
    CHECK_MEM_EQ(got, val, want);
    CHECK_OK(quire_cursor_get_label(s->cur, &label));
    CHECK_EQ(label.size, e->label.len);
    if (label.size != 0)
        CHECK_MEM_EQ(label.data, e->label.p, label.size);
    s->nlabels += label.size != 0;
    s->nlarge += e->control == 2;
    free(got);
    free(val);
}

/* An entry of the catalogue: 'r' and a name, or 'm' and a name. */
static void same_tree(const struct file *f, const struct bytes *key,
                      const struct entry *e, void *arg)
{
    struct same *s = arg;
    char name[QUIRE_NAME_MAX + 1];
    const uint8_t *end;
    uint8_t meta[1000];
    size_t size;
    struct ref ref;

    CHECK(key->len >= 1 && (key->p[0] == 'r' || key->p[0] == 'm'));
    memcpy(name, key->p + 1, key->len - 1);
    name[key->len - 1] = '\0';
    s->tree = NULL;
    if (key->len > 1)
        CHECK_OK(quire_tree_open(s->txn, name, 0, &s->tree));
    if (key->p[0] == 'm') {
        CHECK_OK(
            quire_tree_get_meta(s->txn, s->tree, meta, sizeof(meta), &size));
        CHECK_EQ(size, e->val.len);
        CHECK_MEM_EQ(meta, e->val.p, size);
        return;
    }
    CHECK_OK(quire_cursor_open(s->txn, s->tree, &s->cur));
    if (e->val.len != 0) {
        end = ref_read(e->val.p, &ref); /* zeros may follow */
        CHECK(zeros(end, (size_t)(e->val.p + e->val.len - end)));
        tree_walk(f, &ref, same_record, s);
    }
    CHECK_STATUS(quire_cursor_next(s->cur), QUIRE_NOTFOUND);
    quire_cursor_close(s->cur);
    s->ntrees++;
}

/* The commit record's body; returns where the next batch begins: behind this
 * one, or at the start of the next span. */
static void same_revision(const struct file *f, struct quire *db,
                          const struct frag *rec, uint64_t rev,
                          uint64_t prev_sum, struct same *s)
{
    const uint8_t *b = rec->body, *p = b + 144;
    struct quire_rev_info info = { .size = sizeof(info) };
    size_t lens[3];
    uint64_t batch_off = le(b + 56, 8), batch_len = le(b + 64, 8);

    CHECK_EQ(rec->kind, 6);
    CHECK_EQ(rec->birth, rev);
    CHECK_MEM_EQ(b, f->bytes + 16, 16); /* UUID */
    CHECK_EQ(le(b + 24, 8), rev);
    CHECK(le(b + 40, 8) <= rev); /* durable_through */
    CHECK_EQ(le(b + 48, 8), prev_sum);
    CHECK_EQ(batch_off % f->block, 0);
    CHECK_EQ(batch_off + batch_len, (rec->id >> 16) * 16);
    CHECK_EQ(XXH3_64bits(f->bytes + batch_off, batch_len), le(b + 72, 8));
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *span = b + 80 + 24 * i;

        CHECK(le(span, 8) % f->block == 0 && le(span + 8, 8) % f->block == 0);
        CHECK(le(span, 8) + le(span + 8, 8) <= le(b + 128, 8)); /* frontier */
        CHECK(zeros(span + 18, 6));
    }
    CHECK(batch_off >= le(b + 80, 8) &&
          batch_off + batch_len < le(b + 80, 8) + le(b + 88, 8));
    CHECK_EQ(le(b + 142, 2), 0);
    CHECK_OK(quire_rev_info(db, rev, &info));
    CHECK_EQ((uint64_t)info.time_us, le(b + 32, 8));
    CHECK_EQ(info.file_off, batch_off + batch_len);

    CHECK_OK(quire_begin_at(db, rev, &s->txn));
    s->ntrees = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct ref ref;

        lens[i] = le(b + 136 + 2 * i, 2);
        if (lens[i] != 0)
            CHECK(ref_read(p, &ref) == p + lens[i]);
        if (lens[i] != 0 && i == 0)
            tree_walk(f, &ref, same_tree, s);
        p += lens[i];
    }
    quire_abort(s->txn);
    while (p < b + rec->raw_len) { /* sections */
        CHECK_EQ(le(p + 2, 2), 0);
        CHECK(le(p, 2) == 1 || le(p, 2) == 2);
        p += 8 + le(p + 4, 4);
    }
    CHECK(p == b + rec->raw_len);
}

/* The record that ends the batch at `off`; 0: there is no batch. */
static uint64_t record_find(const struct file *f, uint64_t off)
{
    while (off + 64 <= f->len && memcmp(f->bytes + off, "QRFG", 4) == 0 &&
           le(f->bytes + off + 8, 8) >> 16 == off / 16) {
        if (f->bytes[off + 4] == 6)
            return le(f->bytes + off + 8, 8);
        off = (off + le(f->bytes + off + 32, 4) + 15) / 16 * 16;
    }
    return 0;
}

static void file_check(struct file *f, struct same *s)
{
    struct mem_disk *disk = mem_disk_create();
    struct quire_options opt = {
        .size = sizeof(opt),
        .budget_bytes = QUIRE_BUDGET_MIN,
        .flags = QUIRE_NOBACKGROUND | QUIRE_RDONLY,
        .io = mem_disk_io(disk),
    };
    const uint8_t *a = f->bytes, *b;
    uint64_t off, id, sum = 0, rev = 0;
    struct quire *db;
    quire_rev newest;

    CHECK_MEM_EQ(a, "QUIRE\0\r\n", 8);
    f->page = (uint32_t)le(a + 32, 4);
    f->block = (uint32_t)le(a + 36, 4);
    b = f->bytes + f->block;
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *slot = i == 0 ? a : b;

        CHECK_MEM_EQ(slot, a, 8);
        CHECK_EQ(le(slot + 8, 4), 1);
        CHECK_EQ(le(slot + 12, 4), 0);
        CHECK_MEM_EQ(slot + 16, a + 16, 16);
        CHECK_EQ(le(slot + 92, 4), 0);
        CHECK(zeros(slot + 104, 400));
        CHECK_EQ(XXH3_64bits(slot, 504), le(slot + 504, 8));
    }
    mem_disk_put(disk, PATH, f->bytes, f->len);
    CHECK_OK(quire_open(PATH, &opt, &db));
    CHECK_OK(quire_rev_newest(db, &newest));

    off = 2 * (uint64_t)f->block;
    for (rev = 0; (id = record_find(f, off)) != 0; rev++) {
        struct frag rec;
        uint64_t end;

        frag_read(f, id, &rec);
        same_revision(f, db, &rec, rev, sum, s);
        for (unsigned i = 0; i < 2; i++) { /* what names this revision */
            const uint8_t *slot = i == 0 ? a : b;

            if (le(slot + 64, 8) != rev)
                continue;
            CHECK_EQ(le(slot + 72, 8), id);
            CHECK_EQ(le(slot + 80, 8), rec.sum);
            CHECK_EQ(le(slot + 88, 4), rec.stored_len);
            CHECK_EQ(le(slot + 96, 8), le(rec.body + 32, 8));
        }
        sum = rec.sum;
        end = (id >> 16) * 16 + rec.stored_len;
        off = (end + f->block - 1) / f->block * f->block;
        if (record_find(f, off) == 0)
            off = le(rec.body + 104, 8); /* the next span */
        free(rec.body);
    }
    CHECK_EQ(rev, newest + 1);
    CHECK_OK(quire_close(db));
    mem_disk_destroy(disk);
}

/* Of a .blocks file: the number of blocks, then those that are not zeros, each
 * behind its number. */
static void blocks_back(struct file *f)
{
    size_t len = le(f->bytes, 4) * 4096;
    uint8_t *bytes = calloc(1, len);

    CHECK(bytes != NULL);
    for (size_t at = 4; at < f->len; at += 4 + 4096)
        memcpy(bytes + le(f->bytes + at, 4) * 4096, f->bytes + at + 4, 4096);
    free(f->bytes);
    f->bytes = bytes;
    f->len = len;
}

static void test_golden_files_by_the_readme(void **state)
{
    DIR *d = opendir(GOLDEN_DIR);
    struct same s = { 0 };
    unsigned n = 0;

    (void)state;
    CHECK(d != NULL); /* tests are run from the top folder */
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[600];
        struct file f = { 0 };
        FILE *in;

        if (strstr(e->d_name, ".quire") == NULL &&
            strstr(e->d_name, ".blocks") == NULL)
            continue;
        CHECK_CASE(e->d_name);
        snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, e->d_name);
        in = fopen(path, "rb");
        CHECK(in != NULL);
        f.bytes = malloc(4 << 20);
        CHECK(f.bytes != NULL);
        f.len = fread(f.bytes, 1, 4 << 20, in);
        fclose(in);
        if (strstr(e->d_name, ".blocks") != NULL)
            blocks_back(&f);
        file_check(&f, &s);
        free(f.bytes);
        n++;
    }
    closedir(d);
    CHECK(n >= 6 && s.nlabels > 100 && s.nlarge > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files_by_the_readme),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
