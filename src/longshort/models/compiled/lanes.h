// Sixteen virtual lanes: the one type that all arithmetic of a network is written in.
//
// A lane is a window of the batch, so lanes never meet: no sum goes across them but where it says so. Sixteen floats are one
// register of AVX-512, two of AVX2, or an array that the compiler does with as it can. Every operation is one that IEEE 754
// rounds in one way only, with fused multiply-adds where `fma` stands and nowhere else (-ffp-contract=off), so all three
// kinds give the same bytes. Numbers below 1.2e-38 keep their meaning (no flushing to zero), for the same reason.
//
// This header is compiled once a kind, each time into a namespace of its own, WIDTH.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(LANES_AVX512) || defined(LANES_AVX2)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))
#define SHARED inline __attribute__((noinline))  // large, and called from many places

namespace WIDTH {

constexpr int LANES = 16;

// `load_some` and `store_some` touch the first `count` floats alone, and read 0 for the others.
#if defined(LANES_AVX512)

constexpr int MOST_ROWS = 12;  // accumulators of the micro-kernel, of 32 registers
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

#elif defined(LANES_AVX2)

constexpr int MOST_ROWS = 6;  // 12 accumulators of 16 registers
struct Lanes { __m256 a, b; };

INLINE Lanes load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
INLINE void store(float* to, Lanes x) { _mm256_storeu_ps(to, x.a), _mm256_storeu_ps(to + 8, x.b); }
INLINE __m256i first_of(int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INLINE Lanes load_some(const float* from, int count) {
    return {_mm256_maskload_ps(from, first_of(count)), _mm256_maskload_ps(from + 8, first_of(count - 8))};
}
INLINE void store_some(float* to, Lanes x, int count) {
    _mm256_maskstore_ps(to, first_of(count), x.a), _mm256_maskstore_ps(to + 8, first_of(count - 8), x.b);
}
INLINE Lanes all(float x) { const __m256 v = _mm256_set1_ps(x); return {v, v}; }
INLINE Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE Lanes operator*(Lanes x, Lanes y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE Lanes operator/(Lanes x, Lanes y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE Lanes fma(Lanes x, Lanes y, Lanes z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
INLINE Lanes square_root(Lanes x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
INLINE Lanes larger(Lanes x, Lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE Lanes smaller(Lanes x, Lanes y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE Lanes magnitude(Lanes x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE Lanes with_sign(Lanes x, Lanes sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(x.a, _mm256_and_ps(sign.a, bit)), _mm256_or_ps(x.b, _mm256_and_ps(sign.b, bit))};
}
INLINE __m256 power_of_two(__m256 shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23)));
}
INLINE Lanes power_of_two(Lanes shifted) { return {power_of_two(shifted.a), power_of_two(shifted.b)}; }
INLINE __m256 zero_where(__m256 x, int dropped) {
    const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(dropped), own), _mm256_setzero_si256());
    return _mm256_and_ps(x, _mm256_castsi256_ps(kept));
}
INLINE Lanes zero_where(Lanes x, uint16_t dropped) { return {zero_where(x.a, dropped & 255), zero_where(x.b, dropped >> 8)}; }
INLINE Lanes zero_unless_positive(Lanes x, Lanes sign) {
    const __m256 zero = _mm256_setzero_ps();
    return {_mm256_and_ps(x.a, _mm256_cmp_ps(sign.a, zero, _CMP_GT_OQ)), _mm256_and_ps(x.b, _mm256_cmp_ps(sign.b, zero, _CMP_GT_OQ))};
}

#else

constexpr int MOST_ROWS = 4;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Bits __attribute__((vector_size(64)));
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
    const Bits own = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    return lanes(bits(x) & ((own & static_cast<int32_t>(dropped)) == 0));
}
INLINE Lanes zero_unless_positive(Lanes x, Lanes sign) { return lanes(bits(x) & (sign.v > 0.0f)); }

#endif

// The sum over all lanes, by halves: the one sum across lanes, and always in this order.
INLINE float sum_of(Lanes x) {
    float v[LANES];
    store(v, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; ++l) v[l] += v[l + half];
    return v[0];
}

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
