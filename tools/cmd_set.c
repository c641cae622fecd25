/*
 * cmd_set.c - `quire set`: how changed pages are written from now on. The names
 * of versionings are here, for the other commands too.
 */
#include <string.h>

#include "tools/tool.h"

static const struct {
    const char *name;
    quire_versioning versioning;
} names[] = {
    { "full", QUIRE_VERSIONING_FULL },
    { "incremental", QUIRE_VERSIONING_INCREMENTAL },
    { "differential", QUIRE_VERSIONING_DIFFERENTIAL },
    { "sliding", QUIRE_VERSIONING_SLIDING },
    { "adaptive", QUIRE_VERSIONING_ADAPTIVE },
};

const char *versioning_name(quire_versioning versioning)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].versioning == versioning)
            return names[i].name;
    }
    return "unknown";
}

int versioning_parse(const char *command, const char *text,
                     quire_versioning *versioning)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i].name, text) == 0) {
            *versioning = names[i].versioning;
            return -1;
        }
    }
    return say_usage(command,
                     "--versioning %s: it is full, incremental, differential, "
                     "sliding or adaptive",
                     text);
}

static const char set_help[] =
    "usage: quire set --db FILE [--versioning NAME] [--window R]\n"
    "\n"
    "Change what a commit writes of a changed page, from now on. What is there\n"
    "stays, and every revision can be read as before; a page goes on in the new\n"
    "way when it is next changed. Makes one revision, unless nothing changes.\n"
    "\n"
    "  --versioning NAME  full: the whole page\n"
    "                     incremental: what changed; the whole page every R-th\n"
    "                     time\n"
    "                     differential: what changed since the whole page, so\n"
    "                     that two reads load it; the whole page every R-th time\n"
    "                     sliding: what changed, and a share of the rest, so\n"
    "                     that the newest R writes hold the page\n"
    "                     adaptive: what changed, until that passes half of the\n"
    "                     page (the default of a new store)\n"
    "  --window R         most fragments a page is read from, 2 to "
    "16\n" STORE_HELP "\n"
    "Status: 0, 1 nothing was changed, 2 usage.\n";

int cmd_set(int argc, char **argv)
{
    struct store_args a = { 0 };
    const char *name = NULL;
    uint64_t window = 0;
    bool window_given = false;
    const struct option options[] = {
        { "--versioning", OPTION_TEXT, &name, NULL },
        { "--window", OPTION_COUNT, &window, &window_given },
        STORE_OPTIONS(&a),
    };
    quire_versioning versioning = QUIRE_VERSIONING_DEFAULT;
    struct quire *db = NULL;
    quire_status rc;
    int nargs;
    int status = options_read("set", set_help, options, ARRAY_LEN(options),
                              argc, argv, &nargs);

    if (status >= 0)
        return status;
    if (nargs > 0)
        return say_usage("set", "%s: it takes no arguments", argv[0]);
    if (name == NULL && !window_given)
        return say_usage("set", "give --versioning, --window, or both");
    if (name != NULL) {
        status = versioning_parse("set", name, &versioning);
        if (status >= 0)
            return status;
    }
    if (window_given && (window < 2 || window > QUIRE_WINDOW_MAX))
        return say_usage("set", "--window: give 2 to %u", QUIRE_WINDOW_MAX);
    status = store_open("set", &a, QUIRE_NOCREATE, &db);
    if (status >= 0)
        return status;
    rc = quire_set_versioning(db, versioning, (uint32_t)window);
    if (rc != QUIRE_OK)
        say_store(a.db, "set", rc);
    if (store_close(a.db, db, NULL) != 0)
        rc = QUIRE_IO;
    return rc == QUIRE_OK ? EXIT_OK : EXIT_FAILED;
}
