// The one micro-kernel, C[rows][LANES] += Σ_p A(row, p) · B[p][LANES], and what feeds it.
//
// Each of C's elements is one chain of fused multiply-adds over p, so its bytes do not depend on how rows are cut into
// blocks. All three products of a layer are this one, as are those of a head:
//
//     forward           rows: gate units      p: what they read       columns: lanes
//     backward          rows: what was read   p: gate units           columns: lanes
//     weight gradient   rows: what was read   p: steps and lanes      columns: gate units, transposed
//
// `floats` has them in float32; tiles.h the same names in bfloat16.
#pragma once

#include "api.h"
#include "lanes.h"

namespace WIDTH {

// Rows of packed weights lie in blocks of ROWS_OF_EIGHT, and a block in parts of ROWS_OF_SIXTEEN: so many of a block of `rows`
// are in the first.
constexpr int first_part(int rows) { return rows > ROWS_OF_SIXTEEN ? (rows + 1) / 2 : rows; }

template <int ROWS>
INLINE void fetch(Lanes (&sums)[ROWS], const float* c, long stride) {
    for (int r = 0; r < ROWS; ++r) sums[r] = load(c + r * stride);
}

template <int ROWS>
INLINE void put(const Lanes (&sums)[ROWS], float* c, long stride) {
    for (int r = 0; r < ROWS; ++r) store(c + r * stride, sums[r]);
}

// A(row, p) = a[p · ROWS + row] of a packed part, or of both parts of a block: then the second is `rest`.
template <int ROWS>
INLINE void accumulate_packed(Lanes (&sums)[ROWS], const float* a, const float* rest, const float* b, long count) {
    constexpr int FIRST = first_part(ROWS), REST = ROWS - FIRST;
    for (long p = 0; p < count; ++p) {
        const Lanes x = load(b + p * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(all(r < FIRST ? a[p * FIRST + r] : rest[p * REST + r - FIRST]), x, sums[r]);
    }
}

// A(row, p) = a[row · OWN + p], p over a group's OWN lanes
template <int OWN, int ROWS>
INLINE void accumulate_lanes(Lanes (&sums)[ROWS], const float* a, const float* b) {
    for (long p = 0; p < OWN; ++p) {
        const Lanes x = load(b + p * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(all(a[r * OWN + p]), x, sums[r]);
    }
}

// body<ROWS>(first row) for a number of rows that is known when it runs.
template <int ROWS, class Body>
INLINE void run_block(int rows, long first, const Body& body) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS)
            body.template operator()<ROWS>(first);
        else
            run_block<ROWS - 1>(rows, first, body);
    }
}

// Rows in as few blocks of at most `most` as there can be, all of nearly the same size: cut(first row, number of rows) for each.
template <class Cut>
INLINE void for_blocks(long rows, long most, const Cut& cut) {
    const long blocks = (rows + most - 1) / most;
    for (long block = 0, first = 0; block < blocks; ++block) {
        const long own = rows / blocks + (block < rows % blocks);
        cut(first, static_cast<int>(own));
        first += own;
    }
}

// As many rows at once as the registers hold: body<ROWS>(first row) for each block.
template <class Body>
INLINE void in_blocks(long rows, const Body& body) {
    for_blocks(rows, MOST_ROWS, [&](long first, int own) { run_block<MOST_ROWS>(own, first, body); });
}

// Likewise for a block of packed rows: the whole of it, or its parts.
template <class Body>
INLINE void in_parts(int rows, const Body& body) {
    const int first = rows > MOST_ROWS ? first_part(rows) : rows;
    for (int from = 0; from < rows; from += first) run_block<MOST_ROWS>(from ? rows - first : first, from, body);
}

// What p runs over: up to two stretches of rows of lanes, one after the other.
struct Read {
    const float* first;
    long first_count;
    const float* second;
    long second_count;
};

// 16 rows of lanes, transposed; rows beyond `rows` count as 0.
SHARED void transpose(const float* from, long rows, float* to) {
#if defined(LANES_AVX512) || defined(LANES_AVX2)
    const __m256 zero = _mm256_setzero_ps();
    for (int half = 0; half < 2; ++half)
        for (int side = 0; side < LANES / 8; ++side) {
            __m256 x[8], y[8];
            for (int r = 0; r < 8; ++r) x[r] = half * 8 + r < rows ? _mm256_loadu_ps(from + (half * 8 + r) * LANES + side * 8) : zero;
            for (int r = 0; r < 8; r += 2) y[r] = _mm256_unpacklo_ps(x[r], x[r + 1]), y[r + 1] = _mm256_unpackhi_ps(x[r], x[r + 1]);
            for (int r = 0; r < 8; r += 4) {
                x[r] = _mm256_shuffle_ps(y[r], y[r + 2], 0x44), x[r + 1] = _mm256_shuffle_ps(y[r], y[r + 2], 0xee);
                x[r + 2] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0x44), x[r + 3] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0xee);
            }
            for (int r = 0; r < 4; ++r) {
                _mm256_storeu_ps(to + (side * 8 + r) * SIXTEEN + half * 8, _mm256_permute2f128_ps(x[r], x[r + 4], 0x20));
                _mm256_storeu_ps(to + (side * 8 + r + 4) * SIXTEEN + half * 8, _mm256_permute2f128_ps(x[r], x[r + 4], 0x31));
            }
        }
#else
    for (int l = 0; l < LANES; ++l)
        for (int r = 0; r < SIXTEEN; ++r) to[l * SIXTEEN + r] = r < rows ? from[r * LANES + l] : 0.0f;
#endif
}

namespace floats {

struct Ready {
    Ready() {}  // nothing has to be before a product
};

// Floats that `pack` makes of weights.
constexpr long weights_of(long rows, long count) { return rows * count; }

// Weights for `multiply`, the same for sixteen lanes and for eight: block by block of rows, part by part, and p by p in a part,
// so that they are read from front to back. element(row, p) gives each.
template <class Element>
INLINE void pack(float* packed, long rows, long count, const Element& element) {
    for_blocks(rows, ROWS_OF_EIGHT, [&](long block, int block_rows) {
        for_blocks(block_rows, ROWS_OF_SIXTEEN, [&](long first, int own) {
            float* to = packed + (block + first) * count;
            for (long p = 0; p < count; ++p)
                for (int r = 0; r < own; ++r) *to++ = element(block + first + r, p);
        });
    });
}

// C = A · B with packed A, or C += where `adds`.
SHARED void multiply(const float* packed, long rows, const Read& read, float* c, bool adds) {
    const long count = read.first_count + read.second_count;
    for_blocks(rows, ROWS_OF_EIGHT, [&](long block, int block_rows) {
        in_parts(block_rows, [&]<int ROWS>(long first) __attribute__((always_inline)) {
            Lanes sums[ROWS];
            float* to = c + (block + first) * LANES;
            if (adds)
                fetch(sums, to, LANES);
            else
                for (int r = 0; r < ROWS; ++r) sums[r] = all(0.0f);
            constexpr int FIRST = first_part(ROWS);
            const float *a = packed + (block + first) * count, *rest = a + FIRST * count;
            accumulate_packed(sums, a, rest, read.first, read.first_count);
            accumulate_packed(sums, a + FIRST * read.first_count, rest + (ROWS - FIRST) * read.first_count, read.second, read.second_count);
            put(sums, to, LANES);
        });
    });
}

#if LANES == 16

// C_k = A · B_k with packed A for so many k, over p from `begin` up to `end` of `count` alone, or C_k += where `begin` > 0. A block of A
// is read once for all of them, and the stretch of every B_k stays in the second cache where it is short enough.
SHARED void multiply_each(const float* packed, long rows, long count, long begin, long end, const float* b, long b_stride, long number, float* c,
                          long c_stride) {
    for_blocks(rows, ROWS_OF_EIGHT, [&](long block, int block_rows) {
        in_parts(block_rows, [&]<int ROWS>(long first) __attribute__((always_inline)) {
            const float* a = packed + (block + first) * count + begin * ROWS;
            for (long k = 0; k < number; ++k) {
                Lanes sums[ROWS];
                float* own = c + k * c_stride + (block + first) * LANES;
                if (begin)
                    fetch(sums, own, LANES);
                else
                    for (int r = 0; r < ROWS; ++r) sums[r] = all(0.0f);
                accumulate_packed(sums, a, a, b + k * b_stride + begin * LANES, end - begin);
                put(sums, own, LANES);
            }
        });
    });
}

// C[rows][16] += Σ over steps and lanes of x[step][row][lane] · turned[step][lane][16], of a group of OWN lanes.
// x_stride: floats from one step of x to the next, which may be negative; c_stride: from one row of C to the next
template <int OWN>
SHARED void over_steps(const float* x, long x_stride, long rows, const float* turned, long steps, float* c, long c_stride) {
    in_blocks(rows, [&]<int ROWS>(long first) __attribute__((always_inline)) {
        Lanes sums[ROWS];
        fetch(sums, c + first * c_stride, c_stride);
        for (long s = 0; s < steps; ++s) accumulate_lanes<OWN>(sums, x + s * x_stride + first * OWN, turned + s * OWN * LANES);
        put(sums, c + first * c_stride, c_stride);
    });
}

constexpr auto& multiply_over_steps = over_steps<16>;

#else

constexpr auto& multiply_over_steps = KERNELS.over_steps_of_eight;  // its columns are units, so sixteen are at hand

#endif

// Floats that `turn` makes of a tile over so many steps.
constexpr long turned_of(long steps) { return steps * LANES * SIXTEEN; }

// Sixteen rows of lanes of so many steps, or the `rows` that there are, transposed for `add_over_steps`.
inline void turn(const float* from, long stride, long rows, long steps, float* turned) {
    for (long s = 0; s < steps; ++s) transpose(from + s * stride, rows, turned + s * LANES * SIXTEEN);
}

// C[rows][16] += Σ over steps and lanes of x[step][row][lane] · turned[step][lane][16], for so many tiles of sixteen columns side by side.
// x_stride: floats from one step of x to the next, which may be negative; turned_stride: from one tile to the next; c_stride: from one row of C to the next
inline void add_over_steps(const float* x, long x_stride, long rows, const float* turned, long turned_stride, long tiles, long steps, float* c,
                           long c_stride) {
    for (long tile = 0; tile < tiles; ++tile)
        multiply_over_steps(x, x_stride, rows, turned + tile * turned_stride, steps, c + tile * SIXTEEN, c_stride);
}

}  // namespace floats

}  // namespace WIDTH
