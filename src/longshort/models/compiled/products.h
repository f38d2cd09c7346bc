// The one micro-kernel, C[rows][16] += Σ_p A(row, p) · B[p][16], and what feeds it.
//
// Each of C's elements is one chain of fused multiply-adds over p, so its bytes do not depend on how rows are cut into
// blocks. All three products of a layer are this one:
//
//     forward           rows: gate units      p: what they read       16 columns: lanes
//     backward          rows: what was read   p: gate units           16 columns: lanes
//     weight gradient   rows: what was read   p: steps and lanes      16 columns: gate units, transposed
#pragma once

#include "lanes.h"

namespace WIDTH {

template <int ROWS>
INLINE void fetch(Lanes (&sums)[ROWS], const float* c, long stride) {
    for (int r = 0; r < ROWS; ++r) sums[r] = load(c + r * stride);
}

template <int ROWS>
INLINE void put(const Lanes (&sums)[ROWS], float* c, long stride) {
    for (int r = 0; r < ROWS; ++r) store(c + r * stride, sums[r]);
}

// A(row, p) = a[row · ROW + p · P]
template <int ROWS, int ROW, int P>
INLINE void accumulate(Lanes (&sums)[ROWS], const float* a, const float* b, long count) {
    for (long p = 0; p < count; ++p) {
        const Lanes x = load(b + p * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(all(a[p * P + r * ROW]), x, sums[r]);
    }
}

// Rows in as few blocks as there can be, all of nearly the same size: body<ROWS>(first row) for each.
template <int ROWS, class Body>
INLINE void run_block(int rows, long first, const Body& body) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS)
            body.template operator()<ROWS>(first);
        else
            run_block<ROWS - 1>(rows, first, body);
    }
}

// cut(first row, number of rows) for each block.
template <class Cut>
INLINE void for_blocks(long rows, const Cut& cut) {
    const long blocks = (rows + MOST_ROWS - 1) / MOST_ROWS;
    for (long block = 0, first = 0; block < blocks; ++block) {
        const long own = rows / blocks + (block < rows % blocks);
        cut(first, static_cast<int>(own));
        first += own;
    }
}

template <class Body>
INLINE void in_blocks(long rows, const Body& body) {
    for_blocks(rows, [&](long first, int own) { run_block<MOST_ROWS>(own, first, body); });
}

// Weights for `multiply`: block by block of rows, in a block p by p, so that they are read from front to back.
// element(row, p) gives each.
template <class Element>
INLINE void pack(float* packed, long rows, long count, const Element& element) {
    for_blocks(rows, [&](long first, int own) {
        float* to = packed + first * count;
        for (long p = 0; p < count; ++p)
            for (int r = 0; r < own; ++r) *to++ = element(first + r, p);
    });
}

// What p runs over: up to two stretches of rows of 16 lanes, one after the other.
struct Read {
    const float* first;
    long first_count;
    const float* second;
    long second_count;
};

// C = A · B with packed A, or C += where `adds`.
SHARED void multiply(const float* packed, long rows, const Read& read, float* c, bool adds) {
    in_blocks(rows, [&]<int ROWS>(long first) __attribute__((always_inline)) {
        Lanes sums[ROWS];
        if (adds)
            fetch(sums, c + first * LANES, LANES);
        else
            for (int r = 0; r < ROWS; ++r) sums[r] = all(0.0f);
        const float* a = packed + first * (read.first_count + read.second_count);
        accumulate<ROWS, 1, ROWS>(sums, a, read.first, read.first_count);
        accumulate<ROWS, 1, ROWS>(sums, a + ROWS * read.first_count, read.second, read.second_count);
        put(sums, c + first * LANES, LANES);
    });
}

// C_k = A · B_k with packed A for so many k, over p from `first` up to `end` of `count` alone, or C_k += where `first` > 0. A block of A
// is read once for all of them, and the stretch of every B_k stays in the second cache where it is short enough.
SHARED void multiply_each(const float* packed, long rows, long count, long first, long end, const float* b, long b_stride, long number, float* c,
                          long c_stride) {
    in_blocks(rows, [&]<int ROWS>(long row) __attribute__((always_inline)) {
        const float* a = packed + row * count + first * ROWS;
        for (long k = 0; k < number; ++k) {
            Lanes sums[ROWS];
            float* own = c + k * c_stride + row * LANES;
            if (first)
                fetch(sums, own, LANES);
            else
                for (int r = 0; r < ROWS; ++r) sums[r] = all(0.0f);
            accumulate<ROWS, 1, ROWS>(sums, a, b + k * b_stride + first * LANES, end - first);
            put(sums, own, LANES);
        }
    });
}

// C[rows][16] += Σ over steps and lanes of x[step][row][lane] · turned[step][lane][16].
// x_stride: floats from one step of x to the next, which may be negative; c_stride: from one row of C to the next
SHARED void multiply_over_steps(const float* x, long x_stride, long rows, const float* turned, long steps, float* c, long c_stride) {
    in_blocks(rows, [&]<int ROWS>(long first) __attribute__((always_inline)) {
        Lanes sums[ROWS];
        fetch(sums, c + first * c_stride, c_stride);
        for (long s = 0; s < steps; ++s)
            accumulate<ROWS, LANES, 1>(sums, x + s * x_stride + first * LANES, turned + s * LANES * LANES, LANES);
        put(sums, c + first * c_stride, c_stride);
    });
}

// 16 rows of 16, transposed; rows beyond `rows` count as 0.
SHARED void transpose(const float* from, long rows, float* to) {
#if defined(LANES_AVX512) || defined(LANES_AVX2)
    const __m256 zero = _mm256_setzero_ps();
    for (int half = 0; half < 2; ++half)
        for (int side = 0; side < 2; ++side) {
            __m256 x[8], y[8];
            for (int r = 0; r < 8; ++r) x[r] = half * 8 + r < rows ? _mm256_loadu_ps(from + (half * 8 + r) * LANES + side * 8) : zero;
            for (int r = 0; r < 8; r += 2) y[r] = _mm256_unpacklo_ps(x[r], x[r + 1]), y[r + 1] = _mm256_unpackhi_ps(x[r], x[r + 1]);
            for (int r = 0; r < 8; r += 4) {
                x[r] = _mm256_shuffle_ps(y[r], y[r + 2], 0x44), x[r + 1] = _mm256_shuffle_ps(y[r], y[r + 2], 0xee);
                x[r + 2] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0x44), x[r + 3] = _mm256_shuffle_ps(y[r + 1], y[r + 3], 0xee);
            }
            for (int r = 0; r < 4; ++r) {
                _mm256_storeu_ps(to + (side * 8 + r) * LANES + half * 8, _mm256_permute2f128_ps(x[r], x[r + 4], 0x20));
                _mm256_storeu_ps(to + (side * 8 + r + 4) * LANES + half * 8, _mm256_permute2f128_ps(x[r], x[r + 4], 0x31));
            }
        }
#else
    for (int l = 0; l < LANES; ++l)
        for (int r = 0; r < LANES; ++r) to[l * LANES + r] = r < rows ? from[r * LANES + l] : 0.0f;
#endif
}

}  // namespace WIDTH
