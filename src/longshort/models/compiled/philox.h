// Masks of dropout as models/masks.py lays them out: Philox4x64-10, keyed by seed and epoch, counted by where a value stands.
#pragma once

#include "lanes.h"

namespace WIDTH {

// Where masks of one layer's outputs come from.
struct Masks {
    uint64_t seed, epoch;
    uint64_t stream;  // word 1 of the counter: which layer
    uint64_t kind;    // word 2: what is dropped
    uint64_t steps, units;
    uint32_t threshold;  // values below it are dropped; 0: no dropout
};

INLINE uint64_t blocks_of(uint64_t units) { return (units + 15) / 16; }

struct Words { uint64_t word[4]; };

INLINE Words philox(Words c, uint64_t key0, uint64_t key1) {
    for (int round = 0; round < 10; ++round) {
        const unsigned __int128 low = static_cast<unsigned __int128>(c.word[0]) * 0xD2E7470EE14C6C93u;
        const unsigned __int128 high = static_cast<unsigned __int128>(c.word[2]) * 0xCA5A826395121157u;
        c = {static_cast<uint64_t>(high >> 64) ^ c.word[1] ^ key0, static_cast<uint64_t>(high),
             static_cast<uint64_t>(low >> 64) ^ c.word[3] ^ key1, static_cast<uint64_t>(low)};
        key0 += 0x9E3779B97F4A7C15u;
        key1 += 0xBB67AE8584CAA73Bu;
    }
    return c;
}

// The highest bit of each of the four values of 16 bits that is below the threshold, which is repeated four times.
INLINE uint64_t below(uint64_t values, uint64_t threshold) {
    const uint64_t tops = 0x8000800080008000u;
    const uint64_t at_least = (values | tops) - (threshold & ~tops);  // of the lower 15 bits; nothing is borrowed across values
    return ((~values & threshold) | (~(values ^ threshold) & ~at_least)) & tops;
}

// The mask of sixteen units of one step of one window, of rank `place`: a bit a unit.
inline uint16_t draw_one(const Masks& masks, uint64_t place, uint64_t step, uint64_t block) {
    const uint64_t number = (place * masks.steps + step) * blocks_of(masks.units) + block;
    const Words made = philox({{number, masks.stream, masks.kind, 1}}, masks.seed, masks.epoch);
    uint32_t dropped = 0;
    for (int unit = 0; unit < 16; ++unit) dropped |= static_cast<uint32_t>((made.word[unit / 4] >> 16 * (unit % 4) & 0xffff) < masks.threshold) << unit;
    return static_cast<uint16_t>(dropped);
}

// The masks of one step of a group: for each unit the lanes that are dropped, lane l the window of rank place + l.
// dropped holds units rounded up to a multiple of 16.
inline void draw(const Masks& masks, uint64_t place, uint64_t step, uint16_t* dropped) {
    const uint64_t blocks = blocks_of(masks.units), threshold = masks.threshold * 0x0001000100010001u;
    for (uint64_t block = 0; block < blocks; ++block) {
        uint64_t found[4] = {0, 0, 0, 0};  // four units a word, a bit a lane
        for (int l = 0; l < LANES; ++l) {
            const uint64_t number = ((place + l) * masks.steps + step) * blocks + block;
            const Words made = philox({{number, masks.stream, masks.kind, 1}}, masks.seed, masks.epoch);
            for (int w = 0; w < 4; ++w) found[w] |= below(made.word[w], threshold) >> 15 << l;
        }
        for (int unit = 0; unit < 16; ++unit) dropped[block * 16 + unit] = static_cast<uint16_t>(found[unit / 4] >> 16 * (unit % 4));
    }
}

}  // namespace WIDTH
