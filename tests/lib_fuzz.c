/*
 * lib_fuzz.c - what the targets of lib_fuzz.h share.
 */
#include "tests/lib_fuzz.h"

#include <xxhash.h>

#include "pages/pg.h"
#include "tests/test.h"

#define FRAG_SUM_OFF 56u /* as in pages/README.md */

const struct fuzz_target *const fuzz_targets[] = {
    &fuzz_page, &fuzz_fragment, &fuzz_record, &fuzz_super, &fuzz_file, NULL,
};

uint64_t fuzz_accepted;
const char *fuzz_input;

void fuzz_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s%s%s\n", file, line, what,
            fuzz_input != NULL ? ", of input " : "",
            fuzz_input != NULL ? fuzz_input : "");
    abort();
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->next++;
}

uint16_t fuzz_u16(struct fuzz_in *in)
{
    unsigned low = fuzz_u8(in);

    return (uint16_t)(low | (unsigned)fuzz_u8(in) << 8);
}

uint32_t fuzz_u32(struct fuzz_in *in)
{
    uint32_t low = fuzz_u16(in);

    return low | (uint32_t)fuzz_u16(in) << 16;
}

const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t want, size_t *len)
{
    const uint8_t *at = in->next;

    *len = want < in->left ? want : in->left;
    in->next += *len;
    in->left -= *len;
    return at;
}

void *fuzz_alloc(size_t nbytes)
{
    void *p = malloc(nbytes);

    FUZZ_MUST(p != NULL || nbytes == 0);
    return p;
}

void fuzz_seal(uint8_t *frag, size_t len)
{
    FUZZ_MUST(len >= PG_FRAG_HEADER);
    /* The sum's own bytes count as zeros. */
    ra_put_le64(frag + FRAG_SUM_OFF, 0);
    ra_put_le64(frag + FRAG_SUM_OFF, XXH3_64bits(frag, len));
}
