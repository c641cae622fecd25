/*
 * cmd_read.c - `quire get`, `quire scan`, `quire dump`: records out of a tree.
 *
 * Records are printed in the form in which they were loaded, so that what is
 * printed can be loaded again, unless another form is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/record.h"

/* How records are printed. */
#define FORM_HELP \
    "  --fields A,B       only these: column or member names, #N, or JSON\n" \
    "                     pointers (/a/b); one CSV row\n" \
    "  --format F         csv, tsv, ndjson, json (an array) or table\n" \
    "                     (aligned); default as the tree is\n"

/* ---- get ---- */

static const char get_help[] =
    "usage: quire get --db FILE [option ...] KEY...\n"
    "\n"
    "Print the records of the KEYs, without a header line.\n"
    "\n"
    "  --tree NAME        in this tree instead of the default one\n"
    "  --rev N            as of revision N instead of the newest\n" FORM_HELP
        STORE_HELP "\n"
    "KEY is one CSV row of the key's fields, as `quire scan --keys` prints it;\n"
    "in a tree of lines the line itself; in a tree that was not made by quire\n"
    "load the key's bytes.\n"
    "\n"
    "Status: 0, 1 a key was not found or the store could not be read, 2 usage.\n";

int cmd_get(int argc, char **argv)
{
    struct store_args a = { 0 };
    uint64_t rev = UINT64_MAX;
    const char *format = NULL;
    const char *fields = NULL;
    const struct option options[] = {
        { "--tree", OPTION_TEXT, &a.tree, NULL },
        { "--rev", OPTION_COUNT, &rev, NULL },
        { "--format", OPTION_TEXT, &format, NULL },
        { "--fields", OPTION_TEXT, &fields, NULL },
        STORE_OPTIONS(&a),
    };
    enum output form = OUTPUT_OWN;
    struct printer *printer = NULL;
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    struct quire_tree *tree;
    struct schema schema;
    struct bytes key = { 0 };
    struct bytes value = { 0 };
    int nkeys;
    int status = options_read("get", get_help, options, ARRAY_LEN(options),
                              argc, argv, &nkeys);

    if (status >= 0)
        return status;
    if (nkeys == 0)
        return say_usage("get", "name a KEY");
    status = output_find("get", format, &form);
    if (status >= 0)
        return status;
    status = store_open("get", &a, QUIRE_RDONLY | QUIRE_NOCREATE, &db);
    if (status >= 0)
        return status;
    schema_init(&schema, FORMAT_RAW);
    status = EXIT_FAILED;
    if (store_begin_read(&a, db, rev, &txn, &tree) != 0 ||
        schema_load(a.db, txn, tree, &schema) != 0 ||
        printer_create(&schema, form, fields, form == OUTPUT_TABLE, &printer) !=
            0 ||
        printer_begin(printer) != 0)
        goto out;
    status = EXIT_OK;
    for (int i = 0; i < nkeys; i++) {
        struct quire_val k;
        struct quire_val v;
        quire_status rc;

        if (key_from_text(&schema, argv[i], false, &key) != 0) {
            status = EXIT_FAILED;
            break;
        }
        k.data = key.data;
        k.size = key.len;
        rc = store_value(txn, tree, NULL, &k, &value, &v);
        if (rc == QUIRE_NOTFOUND) {
            say("%s: revision %llu has no key %s", a.db,
                (unsigned long long)quire_txn_rev(txn), argv[i]);
            status = EXIT_FAILED;
        } else if (rc != QUIRE_OK) {
            say_store(a.db, argv[i], rc);
            status = EXIT_FAILED;
            break;
        } else if (printer_record(printer, &k, &v) != 0) {
            status = EXIT_FAILED;
            break;
        }
    }
    if (printer_end(printer) != 0)
        status = EXIT_FAILED;

out:
    printer_destroy(printer);
    quire_abort(txn);
    if (store_close(a.db, db, NULL) != 0 || stdout_finish() != 0)
        status = EXIT_FAILED;
    schema_free(&schema);
    bytes_free(&key);
    bytes_free(&value);
    return status;
}

/* ---- scan ---- */

static const char scan_help[] =
    "usage: quire scan --db FILE [option ...]\n"
    "\n"
    "Print records in the order of their keys, the header line first if the\n"
    "tree has one.\n"
    "\n"
    "  --from KEY         from this key on, it included\n"
    "  --to KEY           up to this key, it not included\n"
    "  --prefix P         only keys whose first field begins with P\n"
    "  --reverse          from the greatest key down\n"
    "  --limit N          at most N records\n"
    "  --keys             the keys only, no header line\n"
    "  --no-header        no header line\n"
    "  --rev N            as of revision N instead of the newest\n"
    "  --tree NAME        in this tree instead of the default one\n" FORM_HELP
        STORE_HELP "\n"
    "KEY is one CSV row of the key's fields, or of the first ones of them.\n"
    "Records come out in the tree's format: csv (LF line ends, quoted where\n"
    "needed), tsv, ndjson, lines. A tree that was not made by quire load is\n"
    "printed as KEY TAB VALUE, with \\t \\n \\r \\\\ and \\xHH for bytes that would\n"
    "disturb.\n"
    "\n"
    "Status: 0, 1 the store could not be read, 2 usage.\n";

static const char dump_help[] =
    "usage: quire dump --db FILE [option ...]\n"
    "\n"
    "Print a whole tree, the header line first if it has one. Loading what is\n"
    "printed, with the same key and format, gives the same tree.\n"
    "\n"
    "  --rev N            as of revision N instead of the newest\n"
    "  --format F         csv, tsv, ndjson or json (an array); raw: keys and\n"
    "                     values as they are, with the tree's description, which\n"
    "                     quire load --format raw takes into any tree; default\n"
    "                     as the tree is, raw if quire load has not made it\n"
    "  --fields A,B       only these fields, as for quire scan\n"
    "  --tree NAME        this tree instead of the default one\n" STORE_HELP
    "\n"
    "tsv can't hold tabs and line ends inside fields, and JSON is UTF-8: a\n"
    "record that doesn't fit ends the dump with status 1. So do automatic keys\n"
    "that are not 1, 2, 3 ..., since only raw carries keys. A tree that has\n"
    "neither records nor a header is all there in raw alone.\n"
    "\n"
    "Status: 0, 1 the store could not be read or printed, 2 usage.\n";

struct scan {
    struct store_args store;
    const char *format;
    const char *fields;
    enum output form;
    const char *from;
    const char *to;
    const char *prefix;
    bool reverse;
    bool keys;
    bool no_header;
    bool dump;        /* what is printed must load as what it is */
    uint64_t limit;   /* records */
    uint64_t rev;     /* UINT64_MAX: the newest */
    struct bytes low; /* the range is low <= key < high */
    struct bytes high;
    bool open_high; /* there is no upper bound */
};

static int bytes_compare(const void *a, size_t na, const void *b, size_t nb)
{
    size_t n = na < nb ? na : nb;
    int c = n > 0 ? memcmp(a, b, n) : 0;

    return c != 0 ? c : (na > nb) - (na < nb);
}

/* Work out the range of keys from the options. */
static int scan_range(struct scan *s, const struct schema *schema)
{
    struct bytes low = { 0 };
    struct bytes high = { 0 };
    bool open = true;
    int rc = -1;

    s->open_high = true;
    if (s->from != NULL && key_from_text(schema, s->from, true, &s->low) != 0)
        goto out;
    if (s->to != NULL) {
        if (key_from_text(schema, s->to, true, &s->high) != 0)
            goto out;
        s->open_high = false;
    }
    if (s->prefix != NULL) {
        if (key_prefix(schema, s->prefix, &low, &high, &open) != 0)
            goto out;
        if (bytes_compare(low.data, low.len, s->low.data, s->low.len) > 0) {
            s->low.len = 0;
            if (bytes_append(&s->low, low.data, low.len) != 0)
                goto out;
        }
        if (!open &&
            (s->open_high || bytes_compare(high.data, high.len, s->high.data,
                                           s->high.len) < 0)) {
            s->high.len = 0;
            s->open_high = false;
            if (bytes_append(&s->high, high.data, high.len) != 0)
                goto out;
        }
    }
    rc = 0;

out:
    bytes_free(&low);
    bytes_free(&high);
    return rc;
}

static quire_status scan_first(const struct scan *s, struct quire_cursor *cur)
{
    struct quire_val low = { s->low.data, s->low.len };
    struct quire_val high = { s->high.data, s->high.len };

    if (!s->reverse)
        return quire_cursor_seek(cur, QUIRE_SEEK_GE, &low);
    if (s->open_high)
        return quire_cursor_seek(cur, QUIRE_SEEK_LAST, NULL);
    return quire_cursor_seek(cur, QUIRE_SEEK_LT, &high);
}

/* Whether `key`, at which the cursor is, still belongs to the range. */
static bool scan_inside(const struct scan *s, const struct quire_val *key)
{
    if (s->reverse)
        return bytes_compare(key->data, key->size, s->low.data, s->low.len) >=
               0;
    return s->open_high ||
           bytes_compare(key->data, key->size, s->high.data, s->high.len) < 0;
}

/* Print a record whose value the library does not give in one piece. */
static quire_status scan_large(struct quire_cursor *cur,
                               struct printer *printer,
                               const struct quire_val *key, bool *lost)
{
    struct bytes copy = { 0 };
    struct bytes value = { 0 };
    struct quire_val own;
    struct quire_val val;
    quire_status rc = STATUS_SAID;

    /* Reading the value is a call on the cursor: `key` ends with it. */
    if (bytes_append(&copy, key->data, key->size) != 0)
        goto out;
    rc = store_value(NULL, NULL, cur, NULL, &value, &val);
    if (rc != QUIRE_OK)
        goto out;
    own.data = copy.data;
    own.size = copy.len;
    *lost = printer_record(printer, &own, &val) != 0;

out:
    bytes_free(&copy);
    bytes_free(&value);
    return rc;
}

/* Print the records of the range from the cursor on. *lost: a record could not
 * be printed, which has been said. */
static quire_status scan_print(const struct scan *s, struct quire_cursor *cur,
                               const struct schema *schema,
                               struct printer *printer, struct bytes *line,
                               bool *lost)
{
    quire_status rc = scan_first(s, cur);

    for (uint64_t n = 0; rc == QUIRE_OK && n < s->limit; n++) {
        struct quire_val key;
        struct quire_val val = { NULL, 0 };

        rc = quire_cursor_get(cur, &key, s->keys ? NULL : &val);
        if ((rc == QUIRE_OK || rc == QUIRE_TOOBIG) && !scan_inside(s, &key))
            return QUIRE_OK;
        if (rc == QUIRE_TOOBIG)
            rc = scan_large(cur, printer, &key, lost);
        else if (rc == QUIRE_OK)
            *lost = (s->keys ? print_key(schema, &key, line)
                             : printer_record(printer, &key, &val)) != 0;
        if (rc != QUIRE_OK || *lost)
            return rc;
        rc = s->reverse ? quire_cursor_prev(cur) : quire_cursor_next(cur);
    }
    return rc == QUIRE_NOTFOUND ? QUIRE_OK : rc;
}

/* Get the metadata of a tree; 1: it has none. */
static int tree_meta(const char *path, struct quire_txn *txn,
                     struct quire_tree *tree, struct bytes *meta)
{
    size_t size = 0;
    quire_status rc = FAIL_POINT(
        "tools/store/meta", QUIRE_IO,
        quire_tree_get_meta(txn, tree, NULL, 0, &size));

    if (rc == QUIRE_OK) {
        if (bytes_reserve(meta, size + 1) != 0)
            return -1;
        rc = quire_tree_get_meta(txn, tree, meta->data, size, &size);
        meta->len = size;
    }
    if (rc == QUIRE_NOTFOUND)
        return 1;
    if (rc != QUIRE_OK)
        say_store(path, "the tree's metadata", rc);
    return rc == QUIRE_OK ? 0 : -1;
}

/* Whether the automatic keys are those that a load would make: from 1 on,
 * without gaps. 1: they are not; -1, said. */
static int check_auto_keys(const char *path, struct quire_txn *txn,
                           struct quire_tree *tree)
{
    struct quire_cursor *cur = NULL;
    struct quire_val key;
    uint64_t n = 0;
    int64_t first = 1;
    int64_t last = 0;
    quire_status rc = quire_tree_count(txn, tree, &n);

    if (rc == QUIRE_OK)
        rc = quire_cursor_open(txn, tree, &cur);
    if (rc == QUIRE_OK && n > 0) {
        rc = quire_cursor_seek(cur, QUIRE_SEEK_FIRST, NULL);
        if (rc == QUIRE_OK)
            rc = quire_cursor_get(cur, &key, NULL);
        if (rc == QUIRE_OK && key.size == 8)
            first = key_get_int(key.data);
        if (rc == QUIRE_OK)
            rc = quire_cursor_seek(cur, QUIRE_SEEK_LAST, NULL);
        if (rc == QUIRE_OK)
            rc = quire_cursor_get(cur, &key, NULL);
        if (rc == QUIRE_OK && key.size == 8)
            last = key_get_int(key.data);
    }
    quire_cursor_close(cur);
    if (rc != QUIRE_OK) {
        say_store(path, "the automatic keys", rc);
        return -1;
    }
    return first == 1 && last >= 0 && (uint64_t)last == n ? 0 : 1;
}

/* See to it that what dump prints gives the same tree again. */
static int dump_prepare(struct scan *s, struct quire_txn *txn,
                        struct quire_tree *tree, const struct schema *schema)
{
    int rc;

    if (s->form == OUTPUT_OWN && schema->format == FORMAT_RAW &&
        s->fields == NULL)
        s->form = OUTPUT_RAW;
    if (s->form == OUTPUT_RAW && s->fields != NULL) {
        say("--format raw has no fields: leave --fields out");
        return -1;
    }
    if (!schema->key_auto || s->form == OUTPUT_RAW || s->fields != NULL)
        return 0;
    rc = check_auto_keys(s->store.db, txn, tree);
    if (rc > 0)
        say("%s: the automatic keys have gaps, which no load would make "
            "again: use --format raw, or quire scan if keys don't matter",
            s->store.db);
    return rc == 0 ? 0 : -1;
}

static int scan_run(struct scan *s, struct quire_txn *txn,
                    struct quire_tree *tree, const struct schema *schema)
{
    struct quire_cursor *cur = NULL;
    struct printer *printer = NULL;
    struct bytes line = { 0 };
    struct bytes meta = { 0 };
    bool lost = false;
    quire_status rc;
    int result = -1;

    if (scan_range(s, schema) != 0 ||
        (s->dump && dump_prepare(s, txn, tree, schema) != 0))
        goto out;
    if (!s->keys && printer_create(schema, s->form, s->fields, !s->no_header,
                                   &printer) != 0)
        goto out;
    if (s->form == OUTPUT_RAW) {
        int none = tree_meta(s->store.db, txn, tree, &meta);

        if (none < 0)
            goto out;
        if (none == 0)
            printer_meta(printer, &meta);
    }
    if (!s->keys && printer_begin(printer) != 0)
        goto out;
    rc = quire_cursor_open(txn, tree, &cur);
    if (rc == QUIRE_OK)
        rc = scan_print(s, cur, schema, printer, &line, &lost);
    if (rc != QUIRE_OK)
        say_store(s->store.db, "scan", rc);
    else if (!lost && (s->keys || printer_end(printer) == 0))
        result = 0;

out:
    quire_cursor_close(cur);
    printer_destroy(printer);
    bytes_free(&line);
    bytes_free(&meta);
    return result;
}

/* Open, print, close; the options have been read into `s`. The exit status. */
static int scan_store(const char *command, struct scan *s)
{
    struct quire *db = NULL;
    struct quire_txn *txn = NULL;
    struct quire_tree *tree;
    struct schema schema;
    int status = output_find(command, s->format, &s->form);

    if (status >= 0)
        return status;
    status = store_open(command, &s->store, QUIRE_RDONLY | QUIRE_NOCREATE, &db);
    if (status >= 0)
        return status;
    schema_init(&schema, FORMAT_RAW);
    status = EXIT_FAILED;
    if (store_begin_read(&s->store, db, s->rev, &txn, &tree) == 0 &&
        schema_load(s->store.db, txn, tree, &schema) == 0 &&
        scan_run(s, txn, tree, &schema) == 0)
        status = EXIT_OK;
    quire_abort(txn);
    if (store_close(s->store.db, db, NULL) != 0 || stdout_finish() != 0)
        status = EXIT_FAILED;
    schema_free(&schema);
    bytes_free(&s->low);
    bytes_free(&s->high);
    return status;
}

int cmd_scan(int argc, char **argv)
{
    struct scan s = { .limit = UINT64_MAX, .rev = UINT64_MAX };
    const struct option options[] = {
        { "--from", OPTION_TEXT, &s.from, NULL },
        { "--to", OPTION_TEXT, &s.to, NULL },
        { "--prefix", OPTION_TEXT, &s.prefix, NULL },
        { "--reverse", OPTION_FLAG, &s.reverse, NULL },
        { "--limit", OPTION_COUNT, &s.limit, NULL },
        { "--keys", OPTION_FLAG, &s.keys, NULL },
        { "--no-header", OPTION_FLAG, &s.no_header, NULL },
        { "--rev", OPTION_COUNT, &s.rev, NULL },
        { "--format", OPTION_TEXT, &s.format, NULL },
        { "--fields", OPTION_TEXT, &s.fields, NULL },
        { "--tree", OPTION_TEXT, &s.store.tree, NULL },
        STORE_OPTIONS(&s.store),
    };
    int nargs;
    int status = options_read("scan", scan_help, options, ARRAY_LEN(options),
                              argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs > 0)
        return say_usage("scan", "%s: it takes no arguments", argv[0]);
    if (s.keys && (s.format != NULL || s.fields != NULL))
        return say_usage("scan", "--keys goes with neither --format nor "
                                 "--fields");
    return scan_store("scan", &s);
}

/* ---- dump ---- */

int cmd_dump(int argc, char **argv)
{
    struct scan s = { .limit = UINT64_MAX, .rev = UINT64_MAX, .dump = true };
    const struct option options[] = {
        { "--rev", OPTION_COUNT, &s.rev, NULL },
        { "--format", OPTION_TEXT, &s.format, NULL },
        { "--fields", OPTION_TEXT, &s.fields, NULL },
        { "--tree", OPTION_TEXT, &s.store.tree, NULL },
        STORE_OPTIONS(&s.store),
    };
    int nargs;
    int status = options_read("dump", dump_help, options, ARRAY_LEN(options),
                              argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs > 0)
        return say_usage("dump", "%s: it takes no arguments", argv[0]);
    return scan_store("dump", &s);
}
