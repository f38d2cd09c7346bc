// A language model's two ends: ids become embeddings, and the state at each charged token scores every word.
//
// Tokens of a group are charged sixteen at a time, step by step, whosever window they are of: where a batch has fewer
// windows than a group has lanes, or only half of a window is charged, no lane of the head stands empty. So there is no
// head of eight lanes: groups of eight leave their tokens to the one of sixteen.
//
//     tops    [blocks][width + 1][16]   what the head reads of each token, a row of ones last; then times 1 / (sum of e · tokens)
//     scores  [TOGETHER][words][16]     logits, then e^(logit - largest), then the gradient to the logits, short of that factor
//     backs   [blocks][width][16]       gradients of tops
#pragma once

#include "layer.h"
#include "philox.h"

namespace WIDTH {

constexpr uint64_t FRONT_MASKS = 1, HEAD_MASKS = 3;  // kinds of models/masks.py
constexpr long TOGETHER = 4;                         // blocks whose weight gradient is added at once

// A token: its step, its lane in the group, and the word that follows it.
struct Token { int32_t step, lane, target; };

INLINE int64_t tokens_of(const Network& net, const Pass& pass, int64_t window) { return pass.counts ? pass.counts[window] : net.steps; }

inline long list_tokens(const Network& net, const Pass& pass, int64_t first, int count, Token* tokens) {
    long found = 0;
    for (int32_t t = 0; t < net.steps; ++t)
        for (int32_t l = 0; l < count; ++l)
            if (t >= net.steps - tokens_of(net, pass, first + l)) tokens[found++] = {t, l, pass.ids[pass.firsts[first + l] + t + 1]};
    return found;
}

// Dropout on [steps][features][LANES] in place, or on the gradient of what it gave. dropped: room for one step's masks
inline void drop(const Network& net, const Pass& pass, int64_t first, uint64_t kind, long features, uint16_t* dropped, float* x) {
    const Masks masks{pass.seed, pass.epoch, 0, kind, static_cast<uint64_t>(net.steps), static_cast<uint64_t>(features), net.edge_threshold};
    for (long t = 0; t < net.steps; ++t) {
        draw(masks, pass.place + first, t, dropped);
        for (long f = 0; f < features; ++f) {
            float* at = x + (t * features + f) * LANES;
            store(at, zero_where(load(at) * all(net.edge_scale), dropped[f]));
        }
    }
}

inline void look_up(const Network& net, const Pass& pass, int64_t first, int count, const float* row, float* x) {
    for (long t = 0; t < net.steps; ++t)
        for (int l = 0; l < LANES; ++l) {
            const float* from = l < count ? row + net.table + pass.ids[pass.firsts[first + l] + t] * static_cast<int64_t>(net.inputs) : nullptr;
            for (long i = 0; i < net.inputs; ++i) x[(t * net.inputs + i) * LANES + l] = from ? from[i] : 0.0f;
        }
}

// The way back: the gradient of each embedding, window by window at each step.
inline void add_to_table(const Network& net, const Pass& pass, int64_t first, int count, const float* dx, float* sums) {
    for (long t = 0; t < net.steps; ++t)
        for (int l = 0; l < count; ++l) {
            float* to = sums + pass.ids[pass.firsts[first + l] + t] * static_cast<int64_t>(net.inputs);
            for (long i = 0; i < net.inputs; ++i) to[i] += dx[(t * net.inputs + i) * LANES + l];
        }
}

#if LANES == 16

// The cross-entropy of a block of tokens in nats, summed. scores become e^(score - largest), less their sum at the target;
// factor, share / sum for each lane with a token and 0 for others, is what turns that into the gradient.
inline double soften(float* scores, long words, const Token* tokens, long count, float share, float* factor) {
    Lanes largest = load(scores);
    for (long w = 1; w < words; ++w) largest = larger(largest, load(scores + w * LANES));
    float top[LANES], right[LANES], total[LANES];
    store(top, largest);
    for (long l = 0; l < count; ++l) right[l] = scores[tokens[l].target * LANES + l];
    Lanes sums[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};  // a chain of one would wait for each addition
    for (long w = 0; w < words; ++w) {
        const Exponential e = exponential(larger(all(-87.0f), load(scores + w * LANES) - largest));
        const Lanes power = fma(e.scale, e.rest, e.scale);
        store(scores + w * LANES, power);
        sums[w % 4] = sums[w % 4] + power;
    }
    store(total, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    double loss = 0;
    for (long l = 0; l < LANES; ++l) {
        factor[l] = l < count ? share / total[l] : 0.0f;
        if (l >= count) continue;
        loss += __builtin_log(static_cast<double>(total[l])) + static_cast<double>(top[l]) - static_cast<double>(right[l]);
        scores[tokens[l].target * LANES + l] -= total[l];
    }
    return loss;
}

// Rooms of the head; see above.
struct Head {
    float *tops, *backs, *scores, *turned;
    Token* tokens;
    static long size(const Network& net, long width) {
        const long padded = (net.words + 15) / 16 * 16;
        return net.steps * (2 * width + 1) * LANES + TOGETHER * (padded + LANES) * LANES + 4 * net.steps * LANES;
    }
    Head(const Network& net, long width, float* room) {
        tops = room, backs = tops + net.steps * (width + 1) * LANES, scores = backs + net.steps * width * LANES;
        turned = scores + TOGETHER * ((net.words + 15) / 16 * 16) * LANES;
        tokens = reinterpret_cast<Token*>(turned + TOGETHER * LANES * LANES);
    }
};

// states: what the head reads, [steps][width][lanes]; where it learns, their gradient is put into behind, and that of the head added to sums.
inline double charge_words(const Network& net, const Pass& pass, int64_t first, int count, float share, bool learns, long width, int lanes,
                           const float* packed, const float* states, float* behind, float* room, float* sums) {
    const Head own(net, width, room);
    const long words = net.words, padded = (words + 15) / 16 * 16, top = (width + 1) * LANES;
    const long found = list_tokens(net, pass, first, count, own.tokens), blocks = (found + LANES - 1) / LANES;
    for (long k = 0; k < blocks * LANES; ++k) {
        float* to = own.tops + k / LANES * top + k % LANES;
        const float* from = k < found ? states + own.tokens[k].step * width * lanes + own.tokens[k].lane : nullptr;
        for (long u = 0; u < width; ++u) to[u * LANES] = from ? from[u * lanes] : 0.0f;
        to[width * LANES] = 1.0f;
    }
    double loss = 0;
    for (long start = 0; start < blocks; start += TOGETHER) {
        const long end = start + TOGETHER < blocks ? start + TOGETHER : blocks;
        for (long b = start; b < end; ++b) {
            float *tops = own.tops + b * top, *scores = own.scores + (b - start) * padded * LANES, factor[LANES];
            multiply(packed, words, {tops, width + 1, tops, 0}, scores, false);
            const long left = found - b * LANES;
            loss += soften(scores, words, own.tokens + b * LANES, left < LANES ? left : LANES, share, factor);
            if (!learns) continue;
            float* backs = own.backs + b * width * LANES;
            multiply(packed + words * (width + 1), width, {scores, words, scores, 0}, backs, false);
            const Lanes times = load(factor);
            for (long u = 0; u < width; ++u) store(backs + u * LANES, load(backs + u * LANES) * times);
            for (long u = 0; u <= width; ++u) store(tops + u * LANES, load(tops + u * LANES) * times);
        }
        for (long tile = 0; learns && tile * LANES < words; ++tile) {
            for (long b = start; b < end; ++b)
                transpose(own.scores + ((b - start) * padded + tile * LANES) * LANES, words - tile * LANES, own.turned + (b - start) * LANES * LANES);
            multiply_over_steps(own.tops + start * top, top, width + 1, own.turned, end - start, sums + tile * LANES, padded);
        }
    }
    if (!learns) return loss;
    std::memset(behind, 0, sizeof(float) * net.steps * width * lanes);
    for (long k = 0; k < found; ++k) {
        float* to = behind + own.tokens[k].step * width * lanes + own.tokens[k].lane;
        const float* from = own.backs + k / LANES * width * LANES + k % LANES;
        for (long u = 0; u < width; ++u) to[u * lanes] = from[u * LANES];
    }
    return loss;
}

#endif

}  // namespace WIDTH
