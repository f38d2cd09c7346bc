// Virtual lanes: the one type that all arithmetic of a network is written in.
//
// A lane is a window of the batch, so lanes never meet: no sum goes across them but where it says so. There are sixteen, which
// are one register of AVX-512, two of AVX2, or an array that the compiler does with as it can; or eight, half of that, for
// groups of at most eight windows. Every operation is one that IEEE 754
// rounds in one way only, with fused multiply-adds where `fma` stands and nowhere else (-ffp-contract=off), so all three
// kinds give the same bytes. Numbers below 1.2e-38 keep their meaning (no flushing to zero), for the same reason.
//
// This header is compiled twice a kind, with LANES of 16 and of 8, each time into a namespace of its own, WIDTH.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(LANES_AVX512) || defined(LANES_AVX2)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))
#define SHARED inline __attribute__((noinline))  // large, and called from many places

namespace WIDTH {

constexpr int SIXTEEN = 16;  // of what is the same with sixteen lanes and with eight: sums, tiles of gate units, tokens of a head

// `load_some` and `store_some` touch the first `count` floats alone, and read 0 for the others.
//
// How many rows of a product are run at once: 12 sums in AVX-512's 32 registers and AVX2's 16, 4 arrays of sixteen or 8 of eight.
#if defined(LANES_AVX512)
constexpr int ROWS_OF_SIXTEEN = 12, ROWS_OF_EIGHT = 12;
#elif defined(LANES_AVX2)
constexpr int ROWS_OF_SIXTEEN = 6, ROWS_OF_EIGHT = 12;
#else
constexpr int ROWS_OF_SIXTEEN = 4, ROWS_OF_EIGHT = 8;
#endif
constexpr int MOST_ROWS = LANES == 16 ? ROWS_OF_SIXTEEN : ROWS_OF_EIGHT;

#if defined(LANES_AVX512) && LANES == 16

struct Lanes { __m512 v; };

INLINE Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
INLINE void store(float* to, Lanes x) { _mm512_storeu_ps(to, x.v); }
INLINE Lanes load_some(const float* from, int count) { return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from)}; }
INLINE void store_some(float* to, Lanes x, int count) { _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), x.v); }
INLINE Lanes all(float x) { return {_mm512_set1_ps(x)}; }
INLINE Lanes operator+(Lanes x, Lanes y) { return {_mm512_add_ps(x.v, y.v)}; }
INLINE Lanes operator-(Lanes x, Lanes y) { return {_mm512_sub_ps(x.v, y.v)}; }
INLINE Lanes operator*(Lanes x, Lanes y) { return {_mm512_mul_ps(x.v, y.v)}; }
INLINE Lanes operator/(Lanes x, Lanes y) { return {_mm512_div_ps(x.v, y.v)}; }
INLINE Lanes fma(Lanes x, Lanes y, Lanes z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
INLINE Lanes square_root(Lanes x) { return {_mm512_sqrt_ps(x.v)}; }
INLINE Lanes larger(Lanes x, Lanes y) { return {_mm512_max_ps(x.v, y.v)}; }
INLINE Lanes smaller(Lanes x, Lanes y) { return {_mm512_min_ps(x.v, y.v)}; }
INLINE __m512i bits(Lanes x) { return _mm512_castps_si512(x.v); }
INLINE Lanes lanes(__m512i x) { return {_mm512_castsi512_ps(x)}; }
INLINE Lanes magnitude(Lanes x) { return lanes(_mm512_and_si512(bits(x), _mm512_set1_epi32(0x7fffffff))); }
INLINE Lanes with_sign(Lanes x, Lanes sign) {
    return lanes(_mm512_or_si512(bits(x), _mm512_and_si512(bits(sign), _mm512_set1_epi32(INT32_MIN))));
}
INLINE Lanes power_of_two(Lanes shifted) {
    return lanes(_mm512_add_epi32(_mm512_slli_epi32(bits(shifted), 23), _mm512_set1_epi32(127 << 23)));
}
INLINE Lanes zero_where(Lanes x, uint16_t dropped) { return {_mm512_maskz_mov_ps(static_cast<__mmask16>(~dropped), x.v)}; }
INLINE Lanes zero_unless_positive(Lanes x, Lanes sign) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(sign.v, _mm512_setzero_ps(), _CMP_GT_OQ), x.v)};
}

#elif defined(LANES_AVX512) || defined(LANES_AVX2)

constexpr int REGISTERS = LANES / 8;
struct Lanes { __m256 v[REGISTERS]; };

// rule(r) for each register.
template <class Rule>
INLINE Lanes each(const Rule& rule) {
    if constexpr (REGISTERS == 1)
        return {{rule(0)}};
    else
        return {{rule(0), rule(1)}};
}

INLINE Lanes load(const float* from) { return each([=](int r) { return _mm256_loadu_ps(from + 8 * r); }); }
INLINE void store(float* to, Lanes x) {
    for (int r = 0; r < REGISTERS; ++r) _mm256_storeu_ps(to + 8 * r, x.v[r]);
}
INLINE __m256i first_of(int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INLINE Lanes load_some(const float* from, int count) {
    return each([=](int r) { return _mm256_maskload_ps(from + 8 * r, first_of(count - 8 * r)); });
}
INLINE void store_some(float* to, Lanes x, int count) {
    for (int r = 0; r < REGISTERS; ++r) _mm256_maskstore_ps(to + 8 * r, first_of(count - 8 * r), x.v[r]);
}
INLINE Lanes all(float x) { return each([v = _mm256_set1_ps(x)](int) { return v; }); }
INLINE Lanes operator+(Lanes x, Lanes y) { return each([&](int r) { return _mm256_add_ps(x.v[r], y.v[r]); }); }
INLINE Lanes operator-(Lanes x, Lanes y) { return each([&](int r) { return _mm256_sub_ps(x.v[r], y.v[r]); }); }
INLINE Lanes operator*(Lanes x, Lanes y) { return each([&](int r) { return _mm256_mul_ps(x.v[r], y.v[r]); }); }
INLINE Lanes operator/(Lanes x, Lanes y) { return each([&](int r) { return _mm256_div_ps(x.v[r], y.v[r]); }); }
INLINE Lanes fma(Lanes x, Lanes y, Lanes z) { return each([&](int r) { return _mm256_fmadd_ps(x.v[r], y.v[r], z.v[r]); }); }
INLINE Lanes square_root(Lanes x) { return each([&](int r) { return _mm256_sqrt_ps(x.v[r]); }); }
INLINE Lanes larger(Lanes x, Lanes y) { return each([&](int r) { return _mm256_max_ps(x.v[r], y.v[r]); }); }
INLINE Lanes smaller(Lanes x, Lanes y) { return each([&](int r) { return _mm256_min_ps(x.v[r], y.v[r]); }); }
INLINE Lanes magnitude(Lanes x) { return each([&](int r) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v[r]); }); }
INLINE Lanes with_sign(Lanes x, Lanes sign) {
    return each([&](int r) { return _mm256_or_ps(x.v[r], _mm256_and_ps(sign.v[r], _mm256_set1_ps(-0.0f))); });
}
INLINE Lanes power_of_two(Lanes shifted) {
    return each([&](int r) {
        const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted.v[r]), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)));
    });
}
INLINE Lanes zero_where(Lanes x, uint16_t dropped) {
    const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return each([&](int r) {
        const __m256i found = _mm256_and_si256(_mm256_set1_epi32(dropped >> 8 * r), own);
        return _mm256_and_ps(x.v[r], _mm256_castsi256_ps(_mm256_cmpeq_epi32(found, _mm256_setzero_si256())));
    });
}
INLINE Lanes zero_unless_positive(Lanes x, Lanes sign) {
    return each([&](int r) { return _mm256_and_ps(x.v[r], _mm256_cmp_ps(sign.v[r], _mm256_setzero_ps(), _CMP_GT_OQ)); });
}

#else

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Bits __attribute__((vector_size(4 * LANES)));
struct Lanes { Floats v; };

// In one place where the CPU's own instruction is not known to be there: the library's exact one is slow however it is called.
#if defined(__FMA__) || defined(__aarch64__) || defined(__powerpc64__) || defined(__riscv)
#define FUSED INLINE
#else
#define FUSED SHARED
#endif

INLINE Lanes load(const float* from) { Lanes made; std::memcpy(&made.v, from, sizeof made.v); return made; }
INLINE void store(float* to, Lanes x) { std::memcpy(to, &x.v, sizeof x.v); }
INLINE Lanes load_some(const float* from, int count) { Lanes made{}; std::memcpy(&made.v, from, sizeof(float) * count); return made; }
INLINE void store_some(float* to, Lanes x, int count) { std::memcpy(to, &x.v, sizeof(float) * count); }
INLINE Lanes all(float x) { return {x - Floats{}}; }
INLINE Lanes operator+(Lanes x, Lanes y) { return {x.v + y.v}; }
INLINE Lanes operator-(Lanes x, Lanes y) { return {x.v - y.v}; }
INLINE Lanes operator*(Lanes x, Lanes y) { return {x.v * y.v}; }
INLINE Lanes operator/(Lanes x, Lanes y) { return {x.v / y.v}; }
FUSED Lanes fma(Lanes x, Lanes y, Lanes z) {
    for (int l = 0; l < LANES; ++l) z.v[l] = __builtin_fmaf(x.v[l], y.v[l], z.v[l]);
    return z;
}
INLINE Lanes square_root(Lanes x) {
    for (int l = 0; l < LANES; ++l) x.v[l] = __builtin_sqrtf(x.v[l]);
    return x;
}
INLINE Lanes larger(Lanes x, Lanes y) { return {x.v > y.v ? x.v : y.v}; }
INLINE Lanes smaller(Lanes x, Lanes y) { return {x.v < y.v ? x.v : y.v}; }
INLINE Bits bits(Lanes x) { return reinterpret_cast<Bits>(x.v); }
INLINE Lanes lanes(Bits x) { return {reinterpret_cast<Floats>(x)}; }
INLINE Lanes magnitude(Lanes x) { return lanes(bits(x) & INT32_MAX); }
INLINE Lanes with_sign(Lanes x, Lanes sign) { return lanes(bits(x) | (bits(sign) & INT32_MIN)); }
INLINE Lanes power_of_two(Lanes shifted) { return lanes((bits(shifted) << 23) + (127 << 23)); }
INLINE Lanes zero_where(Lanes x, uint16_t dropped) {
    Bits own;
    for (int l = 0; l < LANES; ++l) own[l] = 1 << l;
    return lanes(bits(x) & ((own & static_cast<int32_t>(dropped)) == 0));
}
INLINE Lanes zero_unless_positive(Lanes x, Lanes sign) { return lanes(bits(x) & (sign.v > 0.0f)); }

#endif

// The sum over sixteen lanes, by halves: the one sum across lanes, and always in this order.
INLINE float sum_of(const float* sixteen) {
    float v[SIXTEEN];
    std::memcpy(v, sixteen, sizeof v);
    for (int half = SIXTEEN / 2; half; half /= 2)
        for (int l = 0; l < half; ++l) v[l] += v[l + half];
    return v[0];
}

#if LANES == 16
INLINE float sum_of(Lanes x) {
    float sixteen[SIXTEEN];
    store(sixteen, x);
    return sum_of(sixteen);
}
#endif

// e^x = scale · (1 + rest), for |x| <= 87: x = n ln 2 + r with n whole, rest = e^r - 1 as a polynomial in r. Its error is
// below 2e-8 of e^r - 1 (minimax, fitted in extended precision); what remains is rounding.
struct Exponential { Lanes scale, rest; };

INLINE Exponential exponential(Lanes x) {
    const Lanes magic = all(12582912.0f);  // 1.5 · 2^23: a sum with it is rounded to whole numbers, which its lowest bits hold
    const Lanes shifted = fma(x, all(0x1.715476p+0f), magic), n = shifted - magic;
    const Lanes r = fma(n, all(0x1.05c610p-29f), fma(n, all(-0x1.62e430p-1f), x));  // ln 2 in two parts
    Lanes q = fma(r, all(0x1.6bebfep-10f), all(0x1.1227b0p-7f));
    q = fma(r, q, all(0x1.555674p-5f));
    q = fma(r, q, all(0x1.5554b0p-3f));
    q = fma(r, q, all(0x1.fffffep-2f));
    return {power_of_two(shifted), fma(r * r, q, r)};
}

// 1 / (1 + e^-x). Relative error below 4e-7 for x >= -87, from where on it stays 1.6e-38; NaN stays NaN.
INLINE Lanes sigmoid(Lanes x) {
    const Exponential e = exponential(larger(all(-87.0f), smaller(all(87.0f), all(0.0f) - x)));
    return all(1.0f) / (all(1.0f) + fma(e.scale, e.rest, e.scale));
}

// -m / (2 + m) with m = e^(-2|x|) - 1, and the sign of x. Relative error below 4e-7 everywhere; NaN stays NaN.
INLINE Lanes tanh(Lanes x) {
    const Exponential e = exponential(larger(all(-40.0f), all(-2.0f) * magnitude(x)));
    const Lanes m = fma(e.scale, e.rest, e.scale - all(1.0f));
    return with_sign((all(0.0f) - m) / (all(2.0f) + m), x);
}

}  // namespace WIDTH
