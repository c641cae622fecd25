/*
 * main.c - `quire COMMAND ...`.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    { "load", cmd_load, "load records from CSV, TSV, NDJSON or lines" },
    { "get", cmd_get, "print the records of keys" },
    { "put", cmd_put, "store one record" },
    { "del", cmd_del, "delete records" },
    { "scan", cmd_scan, "print records in the order of their keys" },
    { "dump", cmd_dump, "print a whole tree, to be loaded again" },
    { "revisions", cmd_revisions, "list the revisions" },
    { "trees", cmd_trees, "list the trees" },
    { "stat", cmd_stat, "print the store's figures" },
    { "set", cmd_set, "change how pages are written" },
    { "verify", cmd_verify, "check every page of every revision" },
    { "gen", cmd_gen, "make sample records" },
    { "replay", cmd_replay, "replay a trace of requests through the cache" },
    { "bench", cmd_bench, "measure speed and memory" },
};

static int help(void)
{
    printf("usage: quire COMMAND [option ...] [argument ...]\n"
           "\n"
           "Ordered records in one file, every revision readable, inside a "
           "memory budget.\n"
           "\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n"
           "`quire COMMAND --help` describes a command; `quire --version` "
           "prints the\n"
           "version. Status: 0 done, 1 failed, 2 usage, 3 some records were "
           "rejected.\n");
    return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
}

/* TL-9: if the program was started without one of its three files, the next file
 * opened would take the number: a store, and messages would be written into it.
 * Fill the gaps with a file on which reading, or writing, fails. */
static int fill_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (fill_files() != 0)
        return EXIT_FAILED;
    fail_setup();

    if (name == NULL) {
        say("name a command; see quire --help");
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        strcmp(name, "help") == 0)
        return help();
    if (strcmp(name, "--version") == 0) {
        printf("quire %s\n", quire_version());
        return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    say("%s: there is no such command; see quire --help", name);
    return EXIT_USAGE;
}
