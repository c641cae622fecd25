/*
 * record.c - values of any length, in and out.
 *
 * A value up to a quarter of a page stands in its leaf. A longer one that fits
 * one overflow page becomes a changed page of its own, written with its leaf;
 * above TX_LARGE_AHEAD, or when it takes several pages, it is written ahead at
 * once, piece by piece from the caller's memory, and after the pieces an index
 * page with their references. Nothing larger than a page is ever held. Or the
 * pieces come from a function of the caller's, one after the other. A label
 * stands with what stands in the leaf.
 */
#include <assert.h>

#include "txlog/tx_impl.h"

/* Most pieces of a value: what one index page holds. */
#define LARGE_PIECES_MAX (PG_OVERFLOW_MAX / PG_OVSLOT_BYTES)

static_assert((uint64_t)LARGE_PIECES_MAX * PG_OVERFLOW_MAX >= QUIRE_VALUE_MAX,
              "the greatest value has one index page");

/* Make room among the changed pages before an operation. */
quire_status tx_write_room(struct quire_txn *txn)
{
    struct quire *db = txn->db;

    if (db->wlog.bytes <= db->log_limit)
        return QUIRE_OK;
    return tx_spill(txn, db->log_limit - db->log_limit / 8, false);
}

/* Append one plain page ahead. */
static quire_status ahead_plain(struct quire_txn *txn, enum pg_kind kind,
                                const void *body, size_t len,
                                struct pg_ref *ref)
{
    struct pg_frag_in in;
    quire_status rc;

    memset(&in, 0, sizeof(in));
    in.kind = kind;
    in.self_contained = true;
    in.birth = txn->root.rev + 1;
    in.count = len;
    in.nentries = 1;
    in.image_len = (uint32_t)pg_image_plain_bytes(len);
    in.body = body;
    in.body_len = len;
    rc = pf_ahead_add(txn->db->file, &in, ref);
    if (rc != QUIRE_OK)
        txn->failed = true;
    return rc;
}

/* Where a large value comes from: memory, or the caller's function. */
struct source {
    const uint8_t *data; /* NULL: from `read` */
    quire_read_fn read;
    void *arg;
    void *buf; /* PG_OVERFLOW_MAX bytes, for `read` */
};

/* The next `len` bytes, which are at `off`. */
static quire_status source_next(struct quire_txn *txn, const struct source *src,
                                uint64_t off, size_t len, const void **bytes)
{
    quire_status rc;

    if (src->data != NULL) {
        *bytes = src->data + off;
        return QUIRE_OK;
    }
    txn->busy = true;
    rc = src->read(src->arg, src->buf, len);
    txn->busy = false;
    *bytes = src->buf;
    return rc;
}

/* Write a value of `size` bytes ahead. What was written of one that fails is
 * referred to by nothing. */
static quire_status large_ahead(struct quire_txn *txn, const struct source *src,
                                uint64_t size, struct pg_large *large)
{
    struct quire *db = txn->db;
    size_t npieces = (size + PG_OVERFLOW_MAX - 1) / PG_OVERFLOW_MAX;
    const void *bytes = NULL;
    void *index = NULL;
    quire_status rc;

    if (npieces == 1) {
        rc = source_next(txn, src, 0, size, &bytes);
        if (rc == QUIRE_OK)
            rc = ahead_plain(txn, PG_OVERFLOW, bytes, size, &large->ref);
        goto out;
    }
    rc = QUIRE_POINT_RC(
        TX_VALUE_INDEX, QUIRE_NOMEM,
        ra_seg_alloc(db->pool, npieces * PG_OVSLOT_BYTES, &index));
    if (rc != QUIRE_OK)
        goto out;
    for (size_t i = 0; i < npieces; i++) {
        uint64_t off = (uint64_t)i * PG_OVERFLOW_MAX;
        size_t len = ra_min_u64(size - off, PG_OVERFLOW_MAX);
        struct pg_ovslot slot;
        struct pg_ref ref;

        rc = source_next(txn, src, off, len, &bytes);
        if (rc == QUIRE_OK)
            rc = ahead_plain(txn, PG_OVERFLOW, bytes, len, &ref);
        if (rc != QUIRE_OK)
            goto out;
        slot.id = ref.id;
        slot.sum = ref.sum;
        slot.stored_len = ref.stored_len;
        slot.raw_len = ref.raw_len;
        pg_ovslot_encode(&slot, (uint8_t *)index + i * PG_OVSLOT_BYTES);
    }
    rc = ahead_plain(txn, PG_OVINDEX, index, npieces * PG_OVSLOT_BYTES,
                     &large->ref);

out:
    ra_seg_free(db->pool, index);
    if (rc == QUIRE_OK) {
        rc = pf_ahead_flush(db->file);
        if (rc != QUIRE_OK)
            txn->failed = true;
    }
    return rc;
}

/* `val` as an overflow page of this transaction; *no for dropping it. */
static quire_status large_intent(struct quire_txn *txn, struct tr_tree *tree,
                                 const struct quire_val *val,
                                 struct pg_large *large, uint64_t *no)
{
    struct quire *db = txn->db;
    size_t nbytes = pg_image_plain_bytes(val->size);
    void *seg = NULL;
    quire_status rc;

    memset(&large->ref, 0, sizeof(large->ref));
    large->ref.kind = PG_OVERFLOW;
    large->ref.intent = true;
    large->ref.count = val->size;
    large->ref.raw_len = (uint32_t)val->size;
    large->ref.image_len = (uint32_t)nbytes;
    rc = QUIRE_POINT_RC(TX_VALUE_SEGMENT, QUIRE_NOMEM,
                        ra_seg_alloc(db->pool, nbytes, &seg));
    if (rc != QUIRE_OK)
        return rc;
    rc = pg_image_plain(&large->ref, val, seg, ra_seg_class_bytes(nbytes));
    if (rc != QUIRE_OK)
        goto out;
    rc = QUIRE_POINT_RC(TX_VALUE_INTENT, QUIRE_NOMEM,
                        tr_log_adopt(&db->wlog, tree, seg, TR_NONE, no));
    if (rc != QUIRE_OK)
        goto out;
    seg = NULL;
    large->ref.id = *no;

out:
    ra_seg_free(db->pool, seg);
    return rc;
}

static quire_status put_once(struct quire_txn *txn, struct tr_tree *tree,
                             const struct quire_val *key,
                             const struct quire_val *val,
                             const struct quire_val *label)
{
    struct quire *db = txn->db;
    uint8_t enc[PG_LARGE_BYTES];
    struct quire_val stored;
    struct pg_large large;
    uint64_t no = TR_NONE;
    quire_status rc;

    if (val->size <= pg_inline_max(db->env.page_bytes))
        return label == NULL
                   ? tr_put(tree, key, val, PG_ENTRY_PLAIN)
                   : tr_put_labeled(tree, key, val, label, PG_ENTRY_PLAIN);
    large.size = val->size;
    large.piece_bytes = PG_OVERFLOW_MAX;
    if (val->size <= TX_LARGE_AHEAD)
        rc = large_intent(txn, tree, val, &large, &no);
    else
        rc = large_ahead(txn, &(struct source){ .data = val->data }, val->size,
                         &large);
    if (rc != QUIRE_OK)
        return rc;
    stored.data = enc;
    stored.size = pg_large_encode(&large, enc);
    rc = label == NULL
             ? tr_put(tree, key, &stored, PG_ENTRY_OVERFLOW)
             : tr_put_labeled(tree, key, &stored, label, PG_ENTRY_OVERFLOW);
    if (rc != QUIRE_OK && no != TR_NONE)
        tr_log_drop(&db->wlog, no);
    return rc;
}

quire_status tx_put(struct quire_txn *txn, struct tr_tree *tree,
                    const struct quire_val *key, const struct quire_val *val,
                    unsigned flags)
{
    return tx_put_labeled(txn, tree, key, val, NULL, flags);
}

quire_status tx_put_labeled(struct quire_txn *txn, struct tr_tree *tree,
                            const struct quire_val *key,
                            const struct quire_val *val,
                            const struct quire_val *label, unsigned flags)
{
    struct tr_leaf leaf = { NULL, 0, false };
    struct quire_val old;
    enum pg_entry entry;
    quire_status rc;

    rc = tx_write_room(txn);
    if (rc != QUIRE_OK)
        return rc;
    if ((flags & (QUIRE_NOREPLACE | QUIRE_REPLACE)) != 0) {
        rc = tr_get(tree, key, &leaf, &old, &entry);
        tr_leaf_release(tree->env, &leaf);
        if (rc == QUIRE_OK && (flags & QUIRE_NOREPLACE) != 0)
            return QUIRE_EXISTS;
        if (rc != QUIRE_OK &&
            (rc != QUIRE_NOTFOUND || (flags & QUIRE_REPLACE) != 0))
            return rc;
    }
    rc = put_once(txn, tree, key, val, label);
    if (rc == QUIRE_NOMEM && !txn->failed) {
        /* Readers may have pinned the rest: give up all that can be. */
        rc = tx_spill(txn, 0, false);
        tr_log_trim_spares(&txn->db->wlog);
        if (rc == QUIRE_OK)
            rc = put_once(txn, tree, key, val, label);
    }
    return rc;
}

quire_status tx_put_from(struct quire_txn *txn, struct tr_tree *tree,
                         const struct quire_val *key, uint64_t size,
                         quire_read_fn read, void *arg)
{
    struct quire *db = txn->db;
    struct source src = { .read = read, .arg = arg };
    struct pg_large large = { .size = size, .piece_bytes = PG_OVERFLOW_MAX };
    uint8_t enc[PG_LARGE_BYTES];
    struct quire_val val;
    quire_status rc;

    rc = tx_write_room(txn);
    if (rc != QUIRE_OK)
        return rc;
    rc = QUIRE_POINT_RC(TX_VALUE_SOURCE, QUIRE_NOMEM,
                        ra_seg_alloc(db->pool, PG_OVERFLOW_MAX, &src.buf));
    if (rc != QUIRE_OK)
        return rc;
    if (size <= TX_LARGE_AHEAD) { /* nothing is written ahead of so little */
        val.size = size;
        rc = source_next(txn, &src, 0, size, &val.data);
        if (rc == QUIRE_OK)
            rc = tx_put(txn, tree, key, &val, 0);
        goto out;
    }
    rc = large_ahead(txn, &src, size, &large);
    if (rc != QUIRE_OK)
        goto out;
    val.data = enc;
    val.size = pg_large_encode(&large, enc);
    rc = tr_put(tree, key, &val, PG_ENTRY_OVERFLOW);
    if (rc == QUIRE_NOMEM && !txn->failed) { /* as in tx_put() */
        rc = tx_spill(txn, 0, false);
        tr_log_trim_spares(&db->wlog);
        if (rc == QUIRE_OK)
            rc = tr_put(tree, key, &val, PG_ENTRY_OVERFLOW);
    }

out:
    ra_seg_free(db->pool, src.buf);
    return rc;
}

quire_status tx_set_label(struct quire_txn *txn, struct tr_tree *tree,
                          const struct quire_val *key,
                          const struct quire_val *label)
{
    quire_status rc;

    rc = tx_write_room(txn);
    if (rc != QUIRE_OK)
        return rc;
    rc = tr_set_label(tree, key, label);
    if (rc == QUIRE_NOMEM && !txn->failed) { /* as in tx_put() */
        rc = tx_spill(txn, 0, false);
        tr_log_trim_spares(&txn->db->wlog);
        if (rc == QUIRE_OK)
            rc = tr_set_label(tree, key, label);
    }
    return rc;
}

quire_status tx_del(struct quire_txn *txn, struct tr_tree *tree,
                    const struct quire_val *key)
{
    quire_status rc;

    rc = tx_write_room(txn);
    if (rc != QUIRE_OK)
        return rc;
    rc = tr_del(tree, key);
    if (rc == QUIRE_NOMEM && !txn->failed) {
        rc = tx_spill(txn, 0, false);
        tr_log_trim_spares(&txn->db->wlog);
        if (rc == QUIRE_OK)
            rc = tr_del(tree, key);
    }
    return rc;
}

/* ---- out ---- */

/* Hold the page of `ref`: a changed one, or a pinned one. */
static quire_status plain_hold(struct quire_txn *txn, struct tr_tree *tree,
                               const struct pg_ref *ref, struct tr_leaf *held,
                               struct quire_val *bytes)
{
    const char *tag;
    quire_status rc;

    if (ref->intent) {
        if (tree->log == NULL)
            return ra_fail(QUIRE_CORRUPT, "a value that was never written");
        held->img = tr_log_image(tree->log, ref->id);
        held->pinned = false;
    } else {
        tag = pc_tag("large value");
        rc = tr_page_pin(&txn->db->env, ref, NULL, &held->img, &held->frame);
        (void)pc_tag(tag);
        if (rc != QUIRE_OK)
            return rc;
        held->pinned = true;
    }
    pg_image_bytes(held->img, bytes);
    return QUIRE_OK;
}

static quire_status large_corrupt(const struct pg_large *large)
{
    return ra_fail(QUIRE_CORRUPT,
                   "value at offset %llu: its pages do not add up to %llu "
                   "bytes",
                   (unsigned long long)pg_id_off(large->ref.id),
                   (unsigned long long)large->size);
}

/* Make *val, of kind `entry`, the value's bytes; *held keeps them in place, in
 * addition to what *val is in. */
quire_status tx_value_hold(struct quire_txn *txn, struct tr_tree *tree,
                           enum pg_entry entry, struct quire_val *val,
                           struct tr_leaf *held)
{
    struct pg_large large;
    struct quire_val bytes;
    quire_status rc;

    if (entry != PG_ENTRY_OVERFLOW)
        return QUIRE_OK;
    rc = pg_large_decode(val, &large);
    if (rc != QUIRE_OK)
        return rc;
    if (large.ref.kind != PG_OVERFLOW) {
        val->data = NULL;
        val->size = large.size;
        return ra_fail(QUIRE_TOOBIG,
                       "a value of %llu bytes spans several pages",
                       (unsigned long long)large.size);
    }
    rc = plain_hold(txn, tree, &large.ref, held, &bytes);
    if (rc != QUIRE_OK)
        return rc;
    if (bytes.size != large.size) {
        tr_leaf_release(&txn->db->env, held);
        return large_corrupt(&large);
    }
    *val = bytes;
    return QUIRE_OK;
}

quire_status tx_piece_ref(const struct pg_large *large,
                          const struct quire_val *index, uint64_t i,
                          struct pg_ref *ref)
{
    struct pg_ovslot slot;

    if ((i + 1) * PG_OVSLOT_BYTES > index->size)
        return large_corrupt(large);
    pg_ovslot_decode((const uint8_t *)index->data + i * PG_OVSLOT_BYTES, &slot);
    memset(ref, 0, sizeof(*ref));
    ref->id = slot.id;
    ref->sum = slot.sum;
    ref->birth = large->ref.birth;
    ref->count = slot.raw_len;
    ref->stored_len = slot.stored_len;
    ref->raw_len = slot.raw_len;
    ref->image_len = (uint32_t)pg_image_plain_bytes(slot.raw_len);
    ref->kind = PG_OVERFLOW;
    return QUIRE_OK;
}

quire_status tx_value_read(struct quire_txn *txn, struct tr_tree *tree,
                           enum pg_entry entry, const struct quire_val *val,
                           uint64_t off, void *buf, size_t cap, uint64_t *size)
{
    const struct tr_env *env = &txn->db->env;
    struct tr_leaf index = { NULL, 0, false };
    struct quire_val slots = { NULL, 0 };
    struct pg_large large;
    uint64_t end;
    quire_status rc;

    if (entry != PG_ENTRY_OVERFLOW) {
        if (off < val->size && cap > 0) /* `buf` may be NULL otherwise */
            memcpy(buf, (const uint8_t *)val->data + off,
                   ra_min_u64(cap, val->size - off));
        *size = val->size;
        return QUIRE_OK;
    }
    rc = pg_large_decode(val, &large);
    if (rc != QUIRE_OK)
        return rc;
    if (large.piece_bytes == 0)
        return large_corrupt(&large);
    end = off < large.size ? off + ra_min_u64(cap, large.size - off) : off;
    if (large.ref.kind == PG_OVINDEX && off < end) {
        rc = plain_hold(txn, tree, &large.ref, &index, &slots);
        if (rc != QUIRE_OK)
            return rc;
    }
    while (off < end) {
        struct tr_leaf piece = { NULL, 0, false };
        struct pg_ref ref = large.ref;
        struct quire_val bytes;
        uint64_t at = 0, n;

        if (large.ref.kind == PG_OVINDEX) {
            at = off / large.piece_bytes * large.piece_bytes;
            rc = tx_piece_ref(&large, &slots, off / large.piece_bytes, &ref);
            if (rc != QUIRE_OK)
                goto out;
        }
        rc = plain_hold(txn, tree, &ref, &piece, &bytes);
        if (rc != QUIRE_OK)
            goto out;
        if (bytes.size !=
            ra_min_u64(large.size - at, large.ref.kind == PG_OVINDEX
                                            ? large.piece_bytes
                                            : large.size)) {
            tr_leaf_release(env, &piece);
            rc = large_corrupt(&large);
            goto out;
        }
        n = ra_min_u64(end - off, at + bytes.size - off);
        memcpy(buf, (const uint8_t *)bytes.data + (off - at), n);
        buf = (uint8_t *)buf + n;
        off += n;
        tr_leaf_release(env, &piece);
    }
    *size = large.size;

out:
    tr_leaf_release(env, &index);
    return rc;
}
