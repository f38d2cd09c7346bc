// A language model's two ends: ids become embeddings, and the state at each charged token scores every word.
//
// The head is one product over all tokens that a batch charges, whosever window they are of: they are listed group by group,
// and in a group step by step, and go through it in blocks of sixteen. Threads share its blocks on the way there, and its
// words on the way to the weights, so each gradient is one chain over the list. `Charged` (api.h) holds what they share:
//
//     tops    [blocks][width + 1][16]    what the head reads of each token, a row of ones last; then times 1 / (sum of e · tokens)
//     scores  [some blocks][words][16]   logits, then e^(logit - largest), then the gradient to the logits, short of that factor
//     backs   [blocks][width][16]        gradients of tops
#pragma once

#include "layer.h"
#include "philox.h"

namespace WIDTH {

constexpr uint64_t FRONT_MASKS = 1, HEAD_MASKS = 3;  // kinds of models/masks.py
constexpr long TOKENS = 16;                           // tokens that go through the head together
constexpr long WORDS_AT_ONCE = 128;                  // of the way back through the head: their scores stay in the second cache

INLINE long width_of(const Network& net) { return net.layers[0].hidden * net.directions; }
INLINE bool is_tied(const Network& net) { return net.words && net.head[0] == net.table; }
INLINE long whole(long count) { return (count + 15) / 16 * 16; }  // filled up to whole sixteens
INLINE long table_of(const Network& net) { return (width_of(net) + 1) * whole(net.words); }  // its place in `ends`, behind the head

// Where the head's packed weights begin, behind those of all layers.
INLINE long head_of(const Network& net) {
    long place = 0;
    for (long part = 0; part < net.depth * net.directions; ++part) place += Plan(net.layers[part]).packed;
    return place;
}

INLINE int64_t tokens_of(const Network& net, const Pass& pass, int64_t window) { return pass.counts ? pass.counts[window] : net.steps; }

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

// List the tokens that a group charges from number `place` on, with what the head reads of each. states: [steps][width][lanes]
inline void list_tokens(const Network& net, const Pass& pass, int64_t first, int count, long width, const float* states, const Charged& list, int64_t place) {
    for (int32_t t = 0; t < net.steps; ++t)
        for (int32_t l = 0; l < count; ++l) {
            if (t < net.steps - tokens_of(net, pass, first + l)) continue;
            list.targets[place] = pass.ids[pass.firsts[first + l] + t + 1];
            float* to = list.tops + place / TOKENS * (width + 1) * TOKENS + place % TOKENS;
            for (long u = 0; u < width; ++u) to[u * TOKENS] = states[(t * width + u) * LANES + l];
            to[width * TOKENS] = 1.0f;
            ++place;
        }
}

// The gradients of a group's states, back from the list.
inline void hand_back(const Network& net, const Pass& pass, int64_t first, int count, long width, const Charged& list, int64_t place, float* behind) {
    std::memset(behind, 0, sizeof(float) * net.steps * width * LANES);
    for (int32_t t = 0; t < net.steps; ++t)
        for (int32_t l = 0; l < count; ++l) {
            if (t < net.steps - tokens_of(net, pass, first + l)) continue;
            const float* from = list.backs + place / TOKENS * width * TOKENS + place % TOKENS;
            for (long u = 0; u < width; ++u) behind[(t * width + u) * LANES + l] = from[u * TOKENS];
            ++place;
        }
}

// The gradient of the embeddings, (words, inputs), is shared by threads too: each sees to the words of its slice, whose number
// leaves the slice's when divided by how many slices there are. What a batch did not read stays zero and is not touched.

// The gradient dx, [steps][inputs][lanes], of what a group read, window by window at each step.
inline void add_to_table(const Network& net, const Pass& pass, int64_t first, int count, const float* dx, int slice, int slices, float* ends) {
    float* table = ends + table_of(net);
    for (long t = 0; t < net.steps; ++t)
        for (int l = 0; l < count; ++l) {
            const int32_t word = pass.ids[pass.firsts[first + l] + t];
            if (word % slices != slice) continue;
            float* to = table + word * static_cast<int64_t>(net.inputs);
            for (long i = 0; i < net.inputs; ++i) to[i] += dx[(t * net.inputs + i) * LANES + l];
        }
}

#if LANES == 16  // what is done once for all groups

// The cross-entropy of a block of tokens in nats, summed. scores become e^(score - largest), less their sum at the target;
// factor, share / sum for each lane with a token and 0 for others, is what turns that into the gradient. rights: tokens whose target was scored highest
inline double soften(float* scores, long words, const int32_t* targets, long count, float share, float* factor, int64_t* rights) {
    Lanes largest = load(scores);
    for (long w = 1; w < words; ++w) largest = larger(largest, load(scores + w * LANES));
    float top[LANES], right[LANES], total[LANES];
    store(top, largest);
    *rights = 0;
    for (long l = 0; l < count; ++l) right[l] = scores[targets[l] * LANES + l], *rights += right[l] >= top[l];
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
        scores[targets[l] * LANES + l] -= total[l];
    }
    return loss;
}

// Tokens of a last block that there are not: the head reads zeros of them.
inline void fill_up(const Network& net, const Charged& list) {
    const long width = width_of(net);
    for (int64_t place = list.count; place % TOKENS; ++place)
        for (long u = 0; u <= width; ++u) list.tops[(place / TOKENS * (width + 1) + u) * TOKENS + place % TOKENS] = 0.0f;
}

// Blocks of tokens from `first` up to `end` through the head and, where it learns, back to what they read. Scores are kept from block `base` on.
inline void charge(const Network& net, const Charged& list, int64_t base, int64_t first, int64_t end, float share, bool learns, const float* packed) {
    const by::Ready ready;
    const float* head = packed + head_of(net);
    const long words = net.words, width = width_of(net), top = (width + 1) * TOKENS, some = end - first, room = whole(words) * TOKENS;
    float *tops = list.tops + first * top, *backs = list.backs + first * width * TOKENS, *scores = list.scores + (first - base) * room;
    by::multiply_each(head, words, width + 1, 0, width + 1, tops, top, some, scores, room);
    float factors[HAND * TOKENS];
    for (long b = 0; b < some; ++b) {
        const long left = list.count - (first + b) * TOKENS;
        list.losses[first + b] = soften(scores + b * room, words, list.targets + (first + b) * TOKENS, left < TOKENS ? left : TOKENS, share, factors + b * TOKENS,
                                        list.rights + first + b);
    }
    if (!learns) return;
    for (long w = 0; w < words; w += WORDS_AT_ONCE)
        by::multiply_each(head + by::weights_of(words, width + 1), width, words, w, w + WORDS_AT_ONCE < words ? w + WORDS_AT_ONCE : words, scores, room, some, backs,
                      width * TOKENS);
    for (long b = 0; b < some; ++b) {
        const Lanes times = load(factors + b * TOKENS);
        for (long u = 0; u < width; ++u) store(backs + (b * width + u) * TOKENS, load(backs + (b * width + u) * TOKENS) * times);
        for (long u = 0; u <= width; ++u) store(tops + b * top + u * TOKENS, load(tops + b * top + u * TOKENS) * times);
    }
}

// What blocks from `base` up to `end` add to the gradient of the head, (width + 1, padded words), of words from `word` up to `last`,
// both whole blocks of sixteen words or the end. begins: whether it was nothing before.
inline void add_head(const Network& net, const Charged& list, int64_t base, int64_t end, int64_t word, int64_t last, bool begins, float* ends) {
    const long width = width_of(net), top = (width + 1) * TOKENS, room = whole(net.words), some = end - base;
    float turned[MOST_AT_ONCE * TOKENS * 16];
    for (long p = 0; begins && p <= width; ++p) std::memset(ends + p * room + word, 0, sizeof(float) * whole(last - word));
    for (; word < last; word += 16) {
        for (long b = 0; b < some; ++b) transpose(list.scores + (b * room + word) * TOKENS, net.words - word, turned + b * TOKENS * 16);
        floats::multiply_over_steps(list.tops + base * top, top, width + 1, turned, some, ends + word, room);
    }
}

// Zeros for the rows that windows read; all rows, where the head is the table.
inline void clear_table(const Network& net, const Pass& pass, int64_t first, int64_t count, int slice, int slices, float* ends) {
    float* table = ends + table_of(net);
    const auto clear = [&](int64_t word) { std::memset(table + word * net.inputs, 0, sizeof(float) * net.inputs); };
    if (is_tied(net))
        for (int64_t word = slice; word < net.words; word += slices) clear(word);
    else
        for (int64_t n = first; n < first + count; ++n)
            for (long t = 0; t < net.steps; ++t)
                if (const int32_t word = pass.ids[pass.firsts[n] + t]; word % slices == slice) clear(word);
}

// Where the head is the table of embeddings (Press and Wolf, 2017), its gradient goes to the table's; elsewhere there is nothing to do.
inline void tie(const Network& net, int slice, int slices, float* ends) {
    float* table = ends + table_of(net);
    for (long word = slice; is_tied(net) && word < net.words; word += slices)
        for (long i = 0; i < net.inputs; ++i) table[word * net.inputs + i] += ends[i * whole(net.words) + word];
}

#endif

}  // namespace WIDTH
