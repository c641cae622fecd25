/*
 * store.c - opening, reading and closing a store, with messages.
 */
#include <assert.h>
#include <string.h>

#include "tools/tool.h"

static void on_log(void *arg, quire_log_level level, const char *line)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };

    (void)arg;
    fprintf(stderr, "quire: %s: %s\n",
            (unsigned)level < ARRAY_LEN(names) ? names[level] : "log", line);
}

int store_open(const char *command, const struct store_args *a, unsigned flags,
               struct quire **db)
{
    struct quire_options opt;
    quire_status rc;

    if (a->db == NULL)
        return say_usage(command, "--db FILE is required");
    if (a->memory != 0 && a->memory < QUIRE_BUDGET_MIN)
        return say_usage(command, "--memory %llu: the least is 8M",
                         (unsigned long long)a->memory);
    memset(&opt, 0, sizeof(opt));
    opt.size = sizeof(opt);
    opt.flags = flags;
    opt.budget_bytes = a->memory;
    if (a->verbose)
        opt.log = on_log;
    opt.io = fail_io();
    rc = quire_open(a->db, &opt, db);
    if (rc == QUIRE_OK)
        return -1;
    if (rc == QUIRE_NOTFOUND && (flags & QUIRE_NOCREATE) == 0)
        say("%s: no store can be made there: there is no such directory",
            a->db);
    else if (rc == QUIRE_NOTFOUND)
        say("%s: there is no such store; make one with quire load or quire "
            "put",
            a->db);
    else if (rc == QUIRE_CORRUPT) /* verify could not open it either */
        say("%s: open: %s (%s); restore it from a copy", a->db,
            quire_strerror(rc), quire_error_detail());
    else
        say_store(a->db, "open", rc);
    return EXIT_FAILED;
}

int store_begin_read(const struct store_args *a, struct quire *db, uint64_t rev,
                     struct quire_txn **txn, struct quire_tree **tree)
{
    quire_status rc;

    *txn = NULL;
    *tree = NULL;
    rc = rev == UINT64_MAX ? quire_begin(db, QUIRE_READ, txn)
                           : quire_begin_at(db, rev, txn);
    if (rc == QUIRE_NOTFOUND) {
        say("%s: there is no revision %llu; see quire revisions", a->db,
            (unsigned long long)rev);
        return -1;
    }
    if (rc != QUIRE_OK) {
        say_store(a->db, "begin reading", rc);
        return -1;
    }
    if (a->tree == NULL)
        return 0;
    rc = quire_tree_open(*txn, a->tree, 0, tree);
    if (rc == QUIRE_OK)
        return 0;
    if (rc == QUIRE_NOTFOUND)
        say("%s: revision %llu has no tree \"%s\"; see quire trees", a->db,
            (unsigned long long)quire_txn_rev(*txn), a->tree);
    else
        say_store(a->db, a->tree, rc);
    quire_abort(*txn);
    *txn = NULL;
    return -1;
}

void store_figures(struct quire *db, struct quire_stat *st)
{
    quire_status rc;

    memset(st, 0, sizeof(*st));
    st->size = sizeof(*st);
    rc = quire_stat_get(db, st);
    assert(rc == QUIRE_OK); /* of an open store they can always be had */
    (void)rc;
}

int store_close(const char *path, struct quire *db,
                struct quire_close_report *report)
{
    struct quire_close_report own;
    quire_status rc;

    if (db == NULL)
        return 0;
    if (report == NULL)
        report = &own;
    memset(report, 0, sizeof(*report));
    report->size = sizeof(*report);
    rc = FAIL_POINT("tools/store/close", (quire_close(db), QUIRE_IO),
                    quire_close_report(db, report));
    if (rc != QUIRE_OK) {
        say_store(path, "close", rc);
        return -1;
    }
    if (FAIL_POINT("tools/store/held", true, false))
        report->pinned_pages++;
    if (report->pinned_pages == 0 && report->segments_in_use == 0 &&
        report->intents == 0)
        return 0;
    say("%s: a fault of the library: at close %llu pages were pinned, %llu "
        "segments in use, %llu changed pages held; the file is not affected",
        path, (unsigned long long)report->pinned_pages,
        (unsigned long long)report->segments_in_use,
        (unsigned long long)report->intents);
    return -1;
}

quire_status store_value(struct quire_txn *txn, struct quire_tree *tree,
                         struct quire_cursor *cur, const struct quire_val *key,
                         struct bytes *buf, struct quire_val *val)
{
    quire_status rc;
    uint64_t size;
    size_t want;

    rc = cur != NULL ? quire_cursor_get(cur, NULL, val)
                     : quire_get(txn, tree, key, val);
    if (rc != QUIRE_TOOBIG)
        return rc;
    want = val->size;
    bytes_reset(buf, want < (1u << 20) ? 1u << 20 : want);
    if (bytes_reserve(buf, want) != 0)
        return STATUS_SAID;
    rc = cur != NULL ? quire_cursor_read(cur, 0, buf->data, want, &size)
                     : quire_read(txn, tree, key, 0, buf->data, want, &size);
    if (rc != QUIRE_OK)
        return rc;
    buf->len = want;
    val->data = buf->data;
    val->size = want;
    return QUIRE_OK;
}
