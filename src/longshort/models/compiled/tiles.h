// Products in bfloat16, sums in float32: the same names as in products.h, by tiles of AMX where the CPU has it.
//
// A tile is sixteen rows of sixteen words, and a word a pair of bfloat16: numbers 2k and 2k + 1 of what p runs over, the first in
// the lower half. One instruction, TDPBF16PS, does C[16][16] += A · B over 32 values of p:
//
//     A  [row][pair]      16 gate units, or rows of what was read
//     B  [pair][column]   16 lanes, or 16 gate units
//     C  [row][column]    float32
//
// Since rows of lanes stand side by side in memory, two of them make a row of B by rounding, shifting and one `or`; the weight
// gradient pairs two steps in one lane. Elsewhere the instruction is emulated, as Intel's manual defines it: two chains of
// fused multiply-adds over the tile, of the even p and of the odd, then their sum, then C's; numbers below 1.2e-38 count as 0
// throughout. So the bytes are the same with AMX and without, and a model that was trained here can be trained again there.
#pragma once

#include "products.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace WIDTH::tiles {

constexpr long PAIRS = 16, TILE = 16 * PAIRS;  // words of a tile
constexpr long AT_ONCE = 16;                   // tiles of B that are paired before a product begins: they stay in the first cache

constexpr long blocks_of(long rows) { return (rows + 15) / 16; }
constexpr long tiles_over(long count) { return (count + 2 * PAIRS - 1) / (2 * PAIRS); }
constexpr long weights_of(long rows, long count) { return blocks_of(rows) * tiles_over(count) * TILE; }

// --- words ------------------------------------------------------------------------------------

// Each lane rounded to bfloat16, half to even: x in the lower half of a word, y in the upper. (Infinity stays, as does a NaN of arithmetic.)
#if defined(LANES_AVX512)
INLINE __m512i rounded(Lanes x) {
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits(x), 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(bits(x), _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
}
INLINE Lanes pair(Lanes x, Lanes y) {
    const __m512i upper = _mm512_and_si512(rounded(y), _mm512_set1_epi32(static_cast<int>(0xffff0000)));
    return lanes(_mm512_or_si512(_mm512_srli_epi32(rounded(x), 16), upper));
}
#elif defined(LANES_AVX2)
INLINE __m256i rounded(__m256 x) {
    const __m256i own = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(own, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(own, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}
INLINE Lanes pair(Lanes x, Lanes y) {
    return each([&](int r) {
        const __m256i upper = _mm256_and_si256(rounded(y.v[r]), _mm256_set1_epi32(static_cast<int>(0xffff0000)));
        return _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32(rounded(x.v[r]), 16), upper));
    });
}
#else
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
INLINE Words rounded(Lanes x) {
    const Words own = reinterpret_cast<Words>(x.v);
    return own + ((own >> 16) & 1u) + 0x7fffu;
}
INLINE Lanes pair(Lanes x, Lanes y) { return {reinterpret_cast<Floats>((rounded(x) >> 16) | (rounded(y) & 0xffff0000u))}; }
#endif

// --- tiles ------------------------------------------------------------------------------------

// The first tile of each of some blocks, and how many floats further that of the next stands.
struct Tiles {
    const float* first;
    long step;
    const float* of(long block, long tile) const { return first + block * step + tile * TILE; }
};

// C_n += Σ over `count` tiles of A_n · B_n for each of BLOCKS blocks. c_step: floats from one C to the next; c_stride: from row to row
#if defined(LANES_AVX512)

struct alignas(64) Shape {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr Shape WHOLE;  // in memory from the start: gcc says to its optimiser that eight bytes of it are read

// The registers while it lives: all are whole tiles. Others who use them, as torch may, find them free before and after.
struct Ready {
    Ready() { _tile_loadconfig(&WHOLE); }
    ~Ready() { _tile_release(); }
};

// Four chains at once, since each product waits for the one before it longer than it takes. 0 to 3 hold C, 4 and 5 A, 6 and 7 B.
template <int BLOCKS>
INLINE void add_tiles(const Tiles& a, const Tiles& b, long count, float* c, long c_step, long c_stride) {
    const long bytes = c_stride * 4;
    __asm__ volatile("" ::: "memory");  // what is about to be read has to be in memory: gcc's loads of tiles do not say so
    _tile_loadd(0, c, bytes);
    if constexpr (BLOCKS > 1) { _tile_loadd(1, c + c_step, bytes); }
    if constexpr (BLOCKS > 2) { _tile_loadd(2, c + 2 * c_step, bytes); }
    if constexpr (BLOCKS > 3) { _tile_loadd(3, c + 3 * c_step, bytes); }
    for (long t = 0; t < count; ++t) {
        _tile_loadd(4, a.of(0, t), 64); _tile_loadd(6, b.of(0, t), 64); _tile_dpbf16ps(0, 4, 6);
        if constexpr (BLOCKS > 1) { _tile_loadd(5, a.of(1, t), 64); _tile_loadd(7, b.of(1, t), 64); _tile_dpbf16ps(1, 5, 7); }
        if constexpr (BLOCKS > 2) { _tile_loadd(4, a.of(2, t), 64); _tile_loadd(6, b.of(2, t), 64); _tile_dpbf16ps(2, 4, 6); }
        if constexpr (BLOCKS > 3) { _tile_loadd(5, a.of(3, t), 64); _tile_loadd(7, b.of(3, t), 64); _tile_dpbf16ps(3, 5, 7); }
    }
    _tile_stored(0, c, bytes);
    if constexpr (BLOCKS > 1) { _tile_stored(1, c + c_step, bytes); }
    if constexpr (BLOCKS > 2) { _tile_stored(2, c + 2 * c_step, bytes); }
    if constexpr (BLOCKS > 3) { _tile_stored(3, c + 3 * c_step, bytes); }
}

#else

struct Ready {
    Ready() {}  // nothing has to be
};

// While it lives, numbers below 1.2e-38 count as 0, where the CPU can be told so.
struct Flushing {
#if defined(__x86_64__)
    const unsigned before = _mm_getcsr();
    Flushing() { _mm_setcsr(before | 0x8040); }
    ~Flushing() { _mm_setcsr(before); }
#endif
};

// The halves of each word as float32.
#if defined(LANES_AVX2)
INLINE Lanes lower(Lanes words) {
    return each([&](int r) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(words.v[r]), 16)); });
}
INLINE Lanes upper(Lanes words) {
    return each([&](int r) { return _mm256_and_ps(words.v[r], _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000)))); });
}
#else
INLINE Lanes lower(Lanes words) { return {reinterpret_cast<Floats>(reinterpret_cast<Words>(words.v) << 16)}; }
INLINE Lanes upper(Lanes words) { return {reinterpret_cast<Floats>(reinterpret_cast<Words>(words.v) & 0xffff0000u)}; }
#endif

// A tile's rows as float32: of each the lower halves, then the upper.
INLINE void halve(const float* tile, float* halves) {
    for (long r = 0; r < 16; ++r) {
        const Lanes words = load(tile + r * PAIRS);
        store(halves + 2 * r * PAIRS, lower(words)), store(halves + (2 * r + 1) * PAIRS, upper(words));
    }
}

// Some rows of a product of two halved tiles.
template <int ROWS>
INLINE void add_rows(const float* a, const float* b, float* c, long c_stride) {
    Lanes even[ROWS], odd[ROWS];
    for (int r = 0; r < ROWS; ++r) even[r] = odd[r] = all(0.0f);
    for (long k = 0; k < PAIRS; ++k) {
        const Lanes first = load(b + 2 * k * PAIRS), second = load(b + (2 * k + 1) * PAIRS);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            even[r] = fma(all(a[2 * r * PAIRS + k]), first, even[r]);
            odd[r] = fma(all(a[(2 * r + 1) * PAIRS + k]), second, odd[r]);
        }
    }
    for (int r = 0; r < ROWS; ++r) store(c + r * c_stride, load(c + r * c_stride) + (even[r] + odd[r]));
}

constexpr int ROWS_AT_ONCE = MOST_ROWS / 2;  // of two sums each

template <int BLOCKS>
SHARED void add_tiles(const Tiles& a, const Tiles& b, long count, float* c, long c_step, long c_stride) {
    const Flushing flushing;
    float of_a[2 * TILE], of_b[2 * TILE];
    for (long t = 0; t < count; ++t)
        for (int n = 0; n < BLOCKS; ++n) {
            if (!n || a.step) halve(a.of(n, t), of_a);
            if (!n || b.step) halve(b.of(n, t), of_b);
            for_blocks(16, ROWS_AT_ONCE, [&](long first, int rows) {
                run_block<ROWS_AT_ONCE>(rows, first, [&]<int ROWS>(long row) __attribute__((always_inline)) {
                    add_rows<ROWS>(of_a + 2 * row * PAIRS, of_b, c + n * c_step + row * c_stride, c_stride);
                });
            });
        }
}

#endif

// The same for any number of blocks, of `rows` rows each, at most sixteen: C has no others.
inline void add_blocks(const Tiles& a, const Tiles& b, long blocks, long count, float* c, long c_step, long c_stride, long rows) {
    if (rows < 16) {
        float whole[16 * 16] = {};
        for (long n = 0; n < blocks; ++n) {
            float* own = c + n * c_step;
            for (long r = 0; r < rows; ++r) store(whole + r * 16, load(own + r * c_stride));
            add_tiles<1>({a.of(n, 0), 0}, {b.of(n, 0), 0}, count, whole, 0, 16);
            for (long r = 0; r < rows; ++r) store(own + r * c_stride, load(whole + r * 16));
        }
        return;
    }
    for (long first = 0; first < blocks; first += 4)
        run_block<4>(static_cast<int>(blocks - first < 4 ? blocks - first : 4), first, [&]<int BLOCKS>(long n) __attribute__((always_inline)) {
            add_tiles<BLOCKS>({a.of(n, 0), a.step}, {b.of(n, 0), b.step}, count, c + n * c_step, c_step, c_stride);
        });
}

// --- products, as in products.h -----------------------------------------------------------------

// Weights are [blocks of sixteen rows][tiles][row][pair].
template <class Element>
INLINE void pack(float* packed, long rows, long count, const Element& element) {
    const auto number = [&](long row, long p) { return row < rows && p < count ? element(row, p) : 0.0f; };
    for (long place = 0; place < weights_of(rows, count); place += PAIRS) {
        const long row = place / (tiles_over(count) * TILE) * 16 + place / PAIRS % 16, p = place / TILE % tiles_over(count) * 2 * PAIRS;
        float even[PAIRS], odd[PAIRS];
        for (long k = 0; k < PAIRS; ++k) even[k] = number(row, p + 2 * k), odd[k] = number(row, p + 2 * k + 1);
        store(packed + place, pair(load(even), load(odd)));
    }
}

// Tiles of B from rows of lanes: row(p) gives each, or null where there is none.
template <class Row>
INLINE void pair_rows(long from, long tiles, const Row& row, float* b) {
    const auto lanes_of = [&](long p) {
        const float* own = row(p);
        return own ? load(own) : all(0.0f);
    };
    for (long k = 0; k < tiles * PAIRS; ++k) {
        const long p = from * 2 * PAIRS + 2 * k;
        store(b + k * PAIRS, pair(lanes_of(p), lanes_of(p + 1)));
    }
}

// C += A · B over tiles from `begin` up to `end` of those that the packed rows of A have.
template <class Row>
INLINE void add_product(const float* packed, long rows, long tiles, long begin, long end, const Row& row, float* c) {
    alignas(64) float b[AT_ONCE * TILE];
    for (long from = begin; from < end; from += AT_ONCE) {
        const long own = end - from < AT_ONCE ? end - from : AT_ONCE, whole = rows / 16;
        pair_rows(from, own, row, b);
        const Tiles a{packed + from * TILE, tiles * TILE};
        add_blocks(a, {b, 0}, whole, own, c, 16 * LANES, LANES, 16);
        if (rows % 16) add_blocks({a.of(whole, 0), 0}, {b, 0}, 1, own, c + whole * 16 * LANES, 0, LANES, rows % 16);
    }
}

inline void multiply(const float* packed, long rows, const Read& read, float* c, bool adds) {
    const long count = read.first_count + read.second_count, tiles = tiles_over(count);
    if (!adds) std::memset(c, 0, sizeof(float) * rows * LANES);
    const auto row = [&](long p) {
        if (p < read.first_count) return read.first + p * LANES;
        return p < count ? read.second + (p - read.first_count) * LANES : nullptr;
    };
    add_product(packed, rows, tiles, 0, tiles, row, c);
}

// `begin` stands at a whole tile.
inline void multiply_each(const float* packed, long rows, long count, long begin, long end, const float* b, long b_stride, long number, float* c,
                          long c_stride) {
    for (long k = 0; k < number; ++k) {
        if (!begin) std::memset(c + k * c_stride, 0, sizeof(float) * rows * LANES);
        const auto row = [&](long p) { return p < end ? b + k * b_stride + p * LANES : nullptr; };
        add_product(packed, rows, tiles_over(count), begin / (2 * PAIRS), tiles_over(end), row, c + k * c_stride);
    }
}

constexpr long turned_of(long steps) { return (steps + 1) / 2 * TILE; }

// Two steps of a lane are a pair, so what is turned has half the size.
inline void turn(const float* from, long stride, long rows, long steps, float* turned) {
    for (long s = 0; s < steps; s += 2) {
        float words[TILE] = {};
        const float *now = from + s * stride, *next = s + 1 < steps ? now + stride : nullptr;
        for (long r = 0; r < (rows < 16 ? rows : 16); ++r)
            store(words + r * PAIRS, pair(load(now + r * LANES), next ? load(next + r * LANES) : all(0.0f)));
        transpose(words, 16, turned + s / 2 * TILE);
    }
}

inline void add_over_steps(const float* x, long x_stride, long rows, const float* turned, long turned_stride, long tiles, long steps, float* c,
                           long c_stride) {
    alignas(64) float a[AT_ONCE * TILE];
    for (long from = 0; from < steps; from += 2 * AT_ONCE) {
        const long last = from + 2 * AT_ONCE < steps ? from + 2 * AT_ONCE : steps, own = (last - from + 1) / 2;
        for (long first = 0; first < rows; first += 16) {
            const long some = rows - first < 16 ? rows - first : 16;
            for (long s = from; s < last; s += 2)
                for (long r = 0; r < 16; ++r) {
                    const float *now = x + s * x_stride + (first + r) * LANES, *next = s + 1 < last ? now + x_stride : nullptr;
                    const Lanes words = r < some ? pair(load(now), next ? load(next) : all(0.0f)) : all(0.0f);
                    store(a + (s - from) / 2 * TILE + r * PAIRS, words);
                }
            add_blocks({a, 0}, {turned + from / 2 * TILE, turned_stride}, tiles, own, c + first * c_stride, SIXTEEN, c_stride, some);
        }
    }
}

}  // namespace WIDTH::tiles
