/*
 * varint.c - unsigned integers of 1 to 10 bytes, seven bits a byte, the low
 * ones first (LEB128).
 *
 * Only the shortest form is accepted, so that a number has one encoding and
 * equal pages have equal bytes. The tenth byte holds the 64th bit alone.
 */
#include "pages/pg.h"

size_t pg_varint_encode(uint8_t *buf, uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        buf[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    buf[n++] = (uint8_t)value;
    return n;
}

size_t pg_varint_decode(const uint8_t *buf, size_t len, uint64_t *value)
{
    uint64_t v = 0;

    for (size_t n = 0; n < len && n < PG_VARINT_MAX; n++) {
        uint8_t b = buf[n];

        if (n == PG_VARINT_MAX - 1 && b > 1)
            return 0; /* a 65th bit */
        v |= (uint64_t)(b & 0x7f) << (7 * n);
        if (b < 0x80) {
            if (b == 0 && n > 0)
                return 0; /* overlong */
            *value = v;
            return n + 1;
        }
    }
    return 0;
}
