/*
 * cmd_write.c - `quire put` and `quire del`: single records by hand.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/record.h"

static const char put_help[] =
    "usage: quire put --db FILE [--tree NAME] KEY [RECORD]\n"
    "\n"
    "Store one record and commit. Makes the store and the tree if need be.\n"
    "\n"
    "  --tree NAME        in this tree instead of the default one\n"
    "  --on-duplicate D   if the key is there: replace (default), keep, error\n" STORE_HELP
    "\n"
    "In a tree made by quire load, KEY is one CSV row of the key's fields, and\n"
    "RECORD is one CSV row (csv), fields with tabs between them (tsv), a JSON\n"
    "object (ndjson) or left out (lines); the record's own key must be KEY. In\n"
    "any other tree KEY and RECORD are stored as they are. RECORD - is read\n"
    "from standard input.\n"
    "\n"
    "Status: 0, 1 failed, 2 usage.\n";

static const char del_help[] =
    "usage: quire del --db FILE [--tree NAME] KEY...\n"
    "\n"
    "Delete the records of the KEYs, in one commit; KEY as in quire get. Older\n"
    "revisions keep them.\n"
    "\n"
    "  --tree NAME        in this tree instead of the default one\n" STORE_HELP
    "\n"
    "Status: 0, 1 a key was not found (the others are deleted) or the delete\n"
    "failed, 2 usage.\n";

/* Read all of standard input. */
static int read_stdin(struct bytes *b)
{
    for (;;) {
        ssize_t n;

        if (bytes_reserve(b, INPUT_CHUNK) != 0)
            return -1;
        n = read(STDIN_FILENO, b->data + b->len, INPUT_CHUNK);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            say("standard input: %m");
            return -1;
        }
        b->len += (size_t)n;
        if (b->len > FAIL_POINT("tools/put/huge", 0, QUIRE_VALUE_MAX)) {
            say("standard input: a record has at most 1 GiB");
            return -1;
        }
    }
}

/* Turn the text of a row into the row. */
static int row_from_text(const struct schema *s, const struct bytes *text,
                         struct bytes *row)
{
    uint32_t n = 0;

    if (s->format == FORMAT_CSV) {
        int rc = csv_split((const char *)text->data, text->len, row, &n);

        if (rc > 0)
            say("RECORD: it is not one CSV row");
        if (rc != 0)
            return -1;
    } else {
        size_t from = 0;

        for (size_t i = 0; i <= text->len; i++) {
            if (i < text->len && text->data[i] != '\t')
                continue;
            if (row_add(row, text->data + from, i - from) != 0)
                return -1;
            from = i + 1;
            n++;
        }
    }
    if (n != s->ncolumns) {
        say("RECORD: it has %u columns, the tree has %u", n, s->ncolumns);
        return -1;
    }
    return 0;
}

/*
 * Make the value to store from RECORD, and check it as load would: its columns,
 * its JSON, and that its key is `key`.
 */
static int value_from_text(const struct schema *s, struct bytes *text,
                           const struct bytes *key, struct bytes *value)
{
    struct keyer *keyer = NULL;
    struct bytes own = { 0 };
    struct reject why;
    int rc;

    /* A line end that an editor or echo has left is not the record's. */
    if (s->format != FORMAT_RAW && text->len > 0 &&
        text->data[text->len - 1] == '\n')
        text->len--;
    if (s->format != FORMAT_RAW && text->len > 0 &&
        text->data[text->len - 1] == '\r')
        text->len--;
    if ((s->format == FORMAT_NDJSON || s->format == FORMAT_TSV) &&
        memchr(text->data, '\n', text->len) != NULL) {
        say("RECORD: give it on one line");
        return -1;
    }
    if (format_has_rows(s->format)) {
        rc = row_from_text(s, text, value);
        if (rc == 0)
            value->len = row_trim(value->data, value->len);
    } else if (s->format == FORMAT_NDJSON) {
        const unsigned char *json = text->data;
        size_t len = json_trim(&json, text->len);

        rc = bytes_append(value, json, len);
    } else {
        rc = bytes_append(value, text->data, text->len);
    }
    if (rc != 0 || s->format == FORMAT_RAW ||
        (s->key_auto && s->format != FORMAT_NDJSON))
        return rc;
    if (keyer_create(s, &keyer) != 0)
        return -1;
    rc = keyer_make(keyer, value->data, value->len, &own, &why);
    if (rc == -1)
        say("RECORD: %s", why.text);
    if (rc == 0 && !s->key_auto &&
        (own.len != key->len || memcmp(own.data, key->data, own.len) != 0)) {
        say("RECORD: its key is not KEY; change one of them");
        rc = -1;
    }
    keyer_destroy(keyer);
    bytes_free(&own);
    return rc;
}

/* The part of put that needs the transaction. */
static int put_run(const struct store_args *a, struct quire_txn *txn, int nargs,
                   char **args, unsigned flags, bool *exists)
{
    struct quire_tree *tree = NULL;
    struct schema schema;
    struct bytes key = { 0 };
    struct bytes text = { 0 };
    struct bytes value = { 0 };
    struct quire_val k;
    struct quire_val v;
    quire_status rc;
    int result = -1;

    schema_init(&schema, FORMAT_RAW);
    if (a->tree != NULL) {
        rc = quire_tree_open(txn, a->tree, QUIRE_TREE_CREATE, &tree);
        if (rc != QUIRE_OK) {
            say_store(a->db, a->tree, rc);
            goto out;
        }
    }
    if (schema_load(a->db, txn, tree, &schema) != 0 ||
        key_from_text(&schema, args[0], false, &key) != 0)
        goto out;
    if ((schema.format == FORMAT_LINES) != (nargs == 1)) {
        say(nargs == 1 ? "RECORD is missing: this tree's records are %s"
                       : "RECORD: leave it out: this tree's records are %s",
            format_name(schema.format));
        goto out;
    }
    if (schema.format == FORMAT_LINES &&
        (key.len == 0 || memchr(key.data, '\n', key.len) != NULL)) {
        say("KEY: a line is not empty and has no line end in it");
        goto out;
    }
    if (nargs == 2) {
        if (bytes_reserve(&text, 1) != 0)
            goto out;
        if ((strcmp(args[1], "-") == 0
                 ? read_stdin(&text)
                 : bytes_append_text(&text, args[1])) != 0 ||
            value_from_text(&schema, &text, &key, &value) != 0)
            goto out;
    }
    k.data = key.data;
    k.size = key.len;
    v.data = value.data;
    v.size = value.len;
    rc = quire_put(txn, tree, &k, &v, flags);
    *exists = rc == QUIRE_EXISTS;
    if (rc == QUIRE_OK || rc == QUIRE_EXISTS)
        result = 0;
    else
        say_store(a->db, "put", rc);

out:
    schema_free(&schema);
    bytes_free(&key);
    bytes_free(&text);
    bytes_free(&value);
    return result;
}

int cmd_put(int argc, char **argv)
{
    struct store_args a = { 0 };
    const char *duplicates = "replace";
    const struct option options[] = {
        { "--tree", OPTION_TEXT, &a.tree, NULL },
        { "--on-duplicate", OPTION_TEXT, &duplicates, NULL },
        STORE_OPTIONS(&a),
    };
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    quire_status rc;
    bool exists = false;
    int nargs;
    int status = options_read("put", put_help, options, ARRAY_LEN(options),
                              argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs < 1 || nargs > 2)
        return say_usage("put", "give KEY and RECORD");
    if (strcmp(duplicates, "replace") != 0 && strcmp(duplicates, "keep") != 0 &&
        strcmp(duplicates, "error") != 0)
        return say_usage("put",
                         "--on-duplicate %s: it is replace, keep or error",
                         duplicates);
    status = store_open("put", &a, 0, &db);
    if (status >= 0)
        return status;
    status = EXIT_FAILED;
    rc = quire_begin(db, QUIRE_WRITE, &txn);
    if (rc != QUIRE_OK) {
        say_store(a.db, "begin writing", rc);
        goto out;
    }
    if (put_run(&a, txn, nargs, argv,
                strcmp(duplicates, "replace") == 0 ? 0 : QUIRE_NOREPLACE,
                &exists) != 0)
        goto out;
    if (exists && strcmp(duplicates, "error") == 0) {
        say("%s: the key %s is there already; to replace it, leave out "
            "--on-duplicate error",
            a.db, argv[0]);
        goto out;
    }
    if (!exists) {
        rc = quire_commit(txn, 0, NULL);
        txn = NULL;
        if (rc != QUIRE_OK) {
            say_store(a.db, "commit", rc);
            goto out;
        }
    }
    status = EXIT_OK;

out:
    quire_abort(txn);
    if (store_close(a.db, db, NULL) != 0)
        status = EXIT_FAILED;
    return status;
}

/* Delete the keys in `txn`; *nmissing of them are not there. */
static int del_run(const struct store_args *a, struct quire_txn *txn, int nkeys,
                   char **keys, int *nmissing)
{
    struct quire_tree *tree = NULL;
    struct schema schema;
    struct bytes key = { 0 };
    quire_status rc;
    int result = -1;

    schema_init(&schema, FORMAT_RAW);
    if (a->tree != NULL) {
        rc = quire_tree_open(txn, a->tree, 0, &tree);
        if (rc == QUIRE_NOTFOUND)
            say("%s: there is no tree \"%s\"; see quire trees", a->db, a->tree);
        else if (rc != QUIRE_OK)
            say_store(a->db, a->tree, rc);
        if (rc != QUIRE_OK)
            goto out;
    }
    if (schema_load(a->db, txn, tree, &schema) != 0)
        goto out;
    for (int i = 0; i < nkeys; i++) {
        struct quire_val k;

        if (key_from_text(&schema, keys[i], false, &key) != 0)
            goto out;
        k.data = key.data;
        k.size = key.len;
        rc = quire_del(txn, tree, &k);
        if (rc == QUIRE_NOTFOUND) {
            say("%s: there is no key %s", a->db, keys[i]);
            ++*nmissing;
        } else if (rc != QUIRE_OK) {
            say_store(a->db, keys[i], rc);
            goto out;
        }
    }
    result = 0;

out:
    schema_free(&schema);
    bytes_free(&key);
    return result;
}

int cmd_del(int argc, char **argv)
{
    struct store_args a = { 0 };
    const struct option options[] = {
        { "--tree", OPTION_TEXT, &a.tree, NULL },
        STORE_OPTIONS(&a),
    };
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    quire_status rc;
    int nmissing = 0;
    int nkeys;
    int status = options_read("del", del_help, options, ARRAY_LEN(options),
                              argc, argv, &nkeys);

    if (status >= 0)
        return status;
    if (nkeys == 0)
        return say_usage("del", "name a KEY");
    status = store_open("del", &a, QUIRE_NOCREATE, &db);
    if (status >= 0)
        return status;
    status = EXIT_FAILED;
    rc = quire_begin(db, QUIRE_WRITE, &txn);
    if (rc != QUIRE_OK) {
        say_store(a.db, "begin writing", rc);
        goto out;
    }
    if (del_run(&a, txn, nkeys, argv, &nmissing) != 0)
        goto out;
    if (nmissing < nkeys) {
        rc = quire_commit(txn, 0, NULL);
        txn = NULL;
        if (rc != QUIRE_OK) {
            say_store(a.db, "commit", rc);
            goto out;
        }
    }
    status = nmissing == 0 ? EXIT_OK : EXIT_FAILED;

out:
    quire_abort(txn);
    if (store_close(a.db, db, NULL) != 0)
        status = EXIT_FAILED;
    return status;
}
