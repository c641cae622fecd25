/*
 * store.c - a worked example of the store: open, write, read, look back.
 *
 *     cc store.c -lquire && ./a.out /tmp/words.quire
 *
 * Counts the words of standard input in a store, a revision each 1,000 words,
 * so that running it again adds to the counts; then prints the first words of
 * the newest revision and of the first. Here is what most programs need of the
 * store: transactions, a named tree, get, put, a cursor, a past revision,
 * errors.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quire.h"

/* Say what failed, in the library's words. */
static int fail(const char *what, quire_status rc)
{
    fprintf(stderr, "%s: %s (%s)\n", what, quire_strerror(rc),
            quire_error_detail());
    return 1;
}

/* Add 1 to the count of `word`. The value is the count as 8 bytes. */
static quire_status count_word(struct quire_txn *txn, struct quire_tree *tree,
                               const char *word)
{
    struct quire_val key = { word, strlen(word) };
    struct quire_val val;
    uint64_t n = 0;
    quire_status rc = quire_get(txn, tree, &key, &val);

    /* What quire_get() gives lies in a cached page: it is copied before the
     * next call on the transaction. */
    if (rc == QUIRE_OK && val.size == sizeof(n))
        memcpy(&n, val.data, sizeof(n));
    else if (rc != QUIRE_NOTFOUND)
        return rc;
    n++;
    val.data = &n;
    val.size = sizeof(n);
    return quire_put(txn, tree, &key, &val, 0);
}

/* Count up to 1,000 words in one transaction; *more: there are more. */
static quire_status count_some(struct quire *db, bool *more)
{
    struct quire_txn *txn = NULL;
    struct quire_tree *tree;
    quire_rev rev;
    quire_status rc = quire_begin(db, QUIRE_WRITE, &txn);
    char word[64];
    int nwords = 0;

    if (rc == QUIRE_OK)
        rc = quire_tree_open(txn, "counts", QUIRE_TREE_CREATE, &tree);
    while (rc == QUIRE_OK && nwords < 1000 && scanf("%63s", word) == 1) {
        rc = count_word(txn, tree, word);
        nwords++;
    }
    if (rc != QUIRE_OK || nwords == 0) {
        quire_abort(txn); /* as if the transaction had never begun */
        *more = false;
        return rc;
    }
    rc = quire_commit(txn, 0, &rev); /* durable from here on */
    if (rc == QUIRE_OK)
        printf("revision %" PRIu64 ": %d words more\n", rev, nwords);
    *more = nwords == 1000;
    return rc;
}

/* Print the words from `from` on, as revision `rev` has them. */
static quire_status print_from(struct quire *db, quire_rev rev,
                               const char *from, int limit)
{
    struct quire_txn *txn = NULL;
    struct quire_tree *tree;
    struct quire_cursor *cur = NULL;
    struct quire_val key = { from, strlen(from) };
    struct quire_val val;
    quire_status rc = quire_begin_at(db, rev, &txn);

    if (rc == QUIRE_OK)
        rc = quire_tree_open(txn, "counts", 0, &tree);
    if (rc == QUIRE_OK)
        rc = quire_cursor_open(txn, tree, &cur);
    if (rc == QUIRE_OK)
        rc = quire_cursor_seek(cur, QUIRE_SEEK_GE, &key);
    while (rc == QUIRE_OK && limit-- > 0) {
        uint64_t n;

        rc = quire_cursor_get(cur, &key, &val);
        if (rc != QUIRE_OK)
            break;
        memcpy(&n, val.data, sizeof(n));
        printf("  %.*s %" PRIu64 "\n", (int)key.size, (const char *)key.data,
               n);
        rc = quire_cursor_next(cur);
    }
    quire_cursor_close(cur); /* NULL would be fine */
    quire_abort(txn);        /* how a read transaction ends, too */
    return rc == QUIRE_NOTFOUND ? QUIRE_OK : rc;
}

int main(int argc, char **argv)
{
    struct quire_options opt = { .size = sizeof(opt),
                                 .budget_bytes = 16 << 20 };
    struct quire_close_report report = { .size = sizeof(report) };
    struct quire *db;
    quire_rev newest;
    bool more = true;
    quire_status rc;
    int status = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s STORE <TEXT\n", argv[0]);
        return 2;
    }
    rc = quire_open(argv[1], &opt, &db);
    if (rc != QUIRE_OK)
        return fail(argv[1], rc);
    while (rc == QUIRE_OK && more)
        rc = count_some(db, &more);
    if (rc == QUIRE_OK)
        rc = quire_rev_newest(db, &newest);
    if (rc == QUIRE_OK && newest > 0) {
        printf("the first words now:\n");
        rc = print_from(db, newest, "", 5);
        if (rc == QUIRE_OK) {
            printf("and at revision 1:\n");
            rc = print_from(db, 1, "", 5);
        }
    }
    if (rc != QUIRE_OK)
        status = fail(argv[1], rc);
    rc = quire_close_report(db, &report);
    if (rc != QUIRE_OK)
        status = fail("close", rc);
    printf("at most %" PRIu64 " bytes were resident, %" PRIu64
           " pages are still pinned\n",
           report.resident_peak_bytes, report.pinned_pages);
    return status;
}
