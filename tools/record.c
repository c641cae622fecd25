/*
 * record.c - names: of formats, and of the reasons to reject a record.
 */
#include <string.h>

#include "tools/record.h"

static const char *const format_names[FORMAT_COUNT] = {
    [FORMAT_RAW] = "raw",     [FORMAT_CSV] = "csv",
    [FORMAT_TSV] = "tsv",     [FORMAT_NDJSON] = "ndjson",
    [FORMAT_LINES] = "lines", [FORMAT_JSON] = "json",
    [FORMAT_DUMP] = "raw",
};

static const char *const reason_names[REASON_COUNT] = {
    [REASON_NONE] = "none",
    [REASON_KEY_MISSING] = "key field missing",
    [REASON_KEY_EMPTY] = "key field empty",
    [REASON_KEY_TYPE] = "key field of no use",
    [REASON_NOT_A_NUMBER] = "not a number",
    [REASON_KEY_TOO_LONG] = "key too long",
    [REASON_COLUMNS] = "wrong column count",
    [REASON_QUOTING] = "broken quoting",
    [REASON_UNTERMINATED] = "unterminated quote",
    [REASON_JSON] = "broken JSON",
    [REASON_TOO_LONG] = "record too long",
    [REASON_RAW] = "broken raw line",
};

const char *format_name(enum format f)
{
    return format_names[f];
}

enum format format_find(const char *name, size_t len)
{
    for (int f = FORMAT_CSV; f < FORMAT_COUNT; f++) {
        if (strlen(format_names[f]) == len &&
            memcmp(format_names[f], name, len) == 0)
            return (enum format)f;
    }
    return FORMAT_COUNT;
}

enum format format_of_input(const char *name)
{
    static const struct {
        const char *tail;
        enum format format;
    } tails[] = {
        { ".csv", FORMAT_CSV },      { ".tsv", FORMAT_TSV },
        { ".tab", FORMAT_TSV },      { ".ndjson", FORMAT_NDJSON },
        { ".jsonl", FORMAT_NDJSON }, { ".txt", FORMAT_LINES },
        { ".lines", FORMAT_LINES },  { ".json", FORMAT_JSON },
    };
    size_t len = input_stem(name);

    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        size_t tail_len = strlen(tails[i].tail);

        if (len > tail_len &&
            memcmp(name + len - tail_len, tails[i].tail, tail_len) == 0)
            return tails[i].format;
    }
    return FORMAT_COUNT;
}

const char *reason_name(enum reason r)
{
    return reason_names[r];
}

int(reject)(struct reject *why, enum reason r, const char *fmt, ...)
{
    va_list args;

    why->reason = r;
    va_start(args, fmt);
    fail_note(fmt, args);
    vsnprintf(why->text, sizeof(why->text), fmt, args);
    va_end(args);
    return -1;
}
