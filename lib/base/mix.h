/* The finishing step of a 64-bit hash: each bit of the input changes half of the output. The same
 * everywhere and always, unlike the hash of map.c, which is seeded. */
#ifndef LIB_MIX_H
#define LIB_MIX_H

#include <stdint.h>

static inline uint64_t tsk_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

#endif
