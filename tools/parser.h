/*
 * parser.h - yajl's parser of JSON, for which the memory may run out.
 */
#ifndef QUIRE_TOOLS_PARSER_H
#define QUIRE_TOOLS_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <yajl/yajl_parse.h>

struct parser;

enum parsed {
    PARSED_OK,
    PARSED_BROKEN, /* the syntax is, or a callback has returned 0 */
    PARSED_NOMEM,  /* not said; the parser is of no further use */
};

/*
 * A parser that tells `events`, which live on, with `ctx` what it meets; of any
 * number of values one behind the other if `many`.
 *
 * Returns: NULL without memory, not said.
 * Owner:   the caller, until parser_destroy().
 */
struct parser *parser_create(const yajl_callbacks *events, void *ctx,
                             bool many);
void parser_destroy(struct parser *p); /* NULL is accepted */

enum parsed parser_feed(struct parser *p, const void *text, size_t len);
/* The text has ended. */
enum parsed parser_end(struct parser *p);

/* Bytes of the last piece that have been parsed; 0 after PARSED_NOMEM. */
size_t parser_consumed(const struct parser *p);

/* Behind PARSED_BROKEN: what is broken in the piece `text`, without a line end,
 * into `why` of `cap` bytes. */
void parser_error(struct parser *p, const void *text, size_t len, char *why,
                  size_t cap);

#endif /* QUIRE_TOOLS_PARSER_H */
