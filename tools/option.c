/*
 * option.c - command-line options.
 *
 * getopt_long() would do most of this, but it knows neither sizes nor which
 * options are required, permutes behind our back, and prints messages that do
 * not say what to do.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

/* A whole number, with a K, M or G behind it if `size`; false: it is none. */
static bool parse_number(const char *text, bool size, uint64_t *number)
{
    uint64_t n = 0;
    uint64_t unit = 1;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
            return false;
    }
    if (size && *text != '\0') {
        switch (*text++) {
        case 'k':
        case 'K':
            unit = (uint64_t)1 << 10;
            break;
        case 'm':
        case 'M':
            unit = (uint64_t)1 << 20;
            break;
        case 'g':
        case 'G':
            unit = (uint64_t)1 << 30;
            break;
        default:
            return false;
        }
    }
    if (*text != '\0' || __builtin_mul_overflow(n, unit, &n))
        return false;
    *number = n;
    return true;
}

/* Seconds with at most three decimals, as milliseconds; false: they are none. */
static bool parse_time(const char *text, uint64_t *ms)
{
    char whole[24];
    size_t len = strcspn(text, ".");
    uint64_t n;
    uint64_t unit = 1000;

    if (len >= sizeof(whole))
        return false;
    memcpy(whole, text, len);
    whole[len] = '\0';
    if (!parse_number(whole, false, &n) || n > UINT64_MAX / 1000 - 1)
        return false;
    n *= unit;
    text += len;
    if (*text == '.' && *++text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        unit /= 10;
        if (*text < '0' || *text > '9' || unit == 0)
            return false;
        n += (uint64_t)(*text - '0') * unit;
    }
    *ms = n;
    return true;
}

static const struct option *find(const struct option *options, size_t noptions,
                                 const char *name, size_t len)
{
    for (size_t i = 0; i < noptions; i++) {
        if (strlen(options[i].name) == len &&
            memcmp(options[i].name, name, len) == 0)
            return &options[i];
    }
    return NULL;
}

/* Take one option; *i is at it and is moved to its value if that follows.
 * Returns -1, or EXIT_USAGE. */
static int take(const char *command, const struct option *options,
                size_t noptions, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    const char *value = strchr(arg, '=');
    size_t len = value != NULL ? (size_t)(value - arg) : strlen(arg);
    const struct option *o = find(options, noptions, arg, len);

    if (o == NULL)
        return say_usage(command, "%.*s: there is no such option", (int)len,
                         arg);
    if (o->given != NULL)
        *o->given = true;
    if (o->kind == OPTION_FLAG) {
        if (value != NULL)
            return say_usage(command, "%s takes no value", o->name);
        *(bool *)o->dest = true;
        return -1;
    }
    if (value != NULL) {
        value++;
    } else {
        if (*i + 1 >= argc)
            return say_usage(command, "%s needs a value", o->name);
        value = argv[++*i];
    }
    switch (o->kind) {
    case OPTION_COUNT:
        if (!parse_number(value, false, o->dest))
            return say_usage(command, "%s %s: give a whole number", o->name,
                             value);
        break;
    case OPTION_SIZE:
        if (!parse_number(value, true, o->dest))
            return say_usage(command,
                             "%s %s: give bytes, or a number with K, M or G",
                             o->name, value);
        break;
    case OPTION_TIME:
        if (!parse_time(value, o->dest))
            return say_usage(command, "%s %s: give seconds, such as 0.25 or 2",
                             o->name, value);
        break;
    default:
        *(const char **)o->dest = value;
        break;
    }
    return -1;
}

int options_read(const char *command, const char *help,
                 const struct option *options, size_t noptions, int argc,
                 char **argv, int *nargs)
{
    bool options_end = false;
    int n = 0;

    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        /* `-` is standard input, and -5 may be a key. */
        if (options_end || arg[0] != '-' || arg[1] == '\0' ||
            (arg[1] >= '0' && arg[1] <= '9')) {
            argv[n++] = argv[i];
        } else if (strcmp(arg, "--") == 0) {
            options_end = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            fputs(help, stdout);
            return stdout_finish() == 0 ? EXIT_OK : EXIT_FAILED;
        } else {
            int status = take(command, options, noptions, argc, argv, &i);

            if (status >= 0)
                return status;
        }
    }
    *nargs = n;
    return -1;
}
