// A forecaster over one window: lanes are units, where elsewhere they are windows.
//
// One window would fill one lane of sixteen. So here a layer's gates lie side by side, and sixteen of them are one vector:
//
//                 gate 0            gate 1                    last gate
//     a step  ├── hidden ──┼── hidden ──┼ ... ┼── hidden ──┤ room for what whole vectors write and read beyond
//     in vectors of 16 ├────┼────┼────┼────┼ ... ┼────┤      they go over the edges between gates
//
// Only a cell that makes a state has each gate begin at a multiple of sixteen, since it writes into its gates before all are read.
//
//     sequences  [2][steps][width]     what a layer reads, and what it gives; layers take turns
//     gates      [steps][a step]       of one layer in one direction
//     states     per layer and direction: h, c and what the cell makes, [hidden] each
//     pulled     per layer and direction: R · h of the newest step
//     final      [width], answer [horizon]
//
// Two products fill the gates, each a chain of fused multiply-adds from 0, and then they are added: W · x + b is known for all
// steps before the first, so a few steps at once share each weight that is read, and R · h is known before x is. A batch has
// one chain of all (layer.h); so a forecast here is that of a batch to the rounding, not to the byte. But a step has the same
// bytes whether it is run with others or alone, and that is all that a stream needs: `ahead` runs the steps that are known,
// and R · h of the newest; `tick` is left with W · x.
//
//     packed weights of a product:   blocks of vectors of units, few enough for all sums to stay in registers;
//                                    in a block input by input; for each input the block's vectors, side by side
#pragma once

#include "epoch.h"

namespace WIDTH {

#if defined(LANES_AVX512)
constexpr int TILE_ROWS = 4, TILE_STEPS = 4;
#elif defined(LANES_AVX2)
constexpr int TILE_ROWS = 2, TILE_STEPS = 3;
#else
constexpr int TILE_ROWS = 2, TILE_STEPS = 2;
#endif

// Sizes and places of a layer, in floats.
struct Strip {
    long inputs, hidden, stride, units, first_recurrent, fed;  // stride: from gate to gate; the others of a row of gates
    long step, state, kept;                                    // a step's gates; a state; all states, and what is pulled
    long by_x, bias, by_past, by_made, vectors, starts, packed;

    explicit Strip(const Layer& layer) {
        const Kind& kind = kind_of(layer);
        inputs = layer.inputs, hidden = layer.hidden, stride = kind.makes ? whole(hidden) : hidden;
        units = kind.gates * stride, first_recurrent = kind.recurrent * stride, fed = kind.fed * stride;
        step = whole(units) + LANES, state = whole(hidden), kept = 3 * state + step;
        by_x = 0;
        bias = by_x + whole(fed) * inputs;
        by_past = bias + step;
        by_made = by_past + whole(units - first_recurrent) * hidden;
        vectors = by_made + (kind.makes ? stride * hidden : 0);
        starts = vectors + whole(kind.vectors * hidden) + LANES;
        packed = starts + 2 * state;
    }
};

// The network: its strips one after the other, then the head, likewise.
struct Lone {
    long parts, width, answers, row;           // row: of a sequence
    long head, head_bias, packed;              // of what is packed
    long gates, states, final, answer, room;   // of the room

    explicit Lone(const Network& net) {
        parts = net.depth * net.directions, width = width_of(net), answers = whole(net.horizon), row = whole(width) + LANES;
        head = 0, gates = 2 * net.steps * row;
        long states_size = 0, step = 0;
        for (long part = 0; part < parts; ++part) {
            const Strip strip(net.layers[part]);
            head += strip.packed, states_size += strip.kept, step = strip.step > step ? strip.step : step;
        }
        head_bias = head + answers * width, packed = head_bias + answers;
        states = gates + net.steps * step, final = states + states_size;
        answer = final + row, room = answer + answers;
    }
};

inline int64_t lone_packed_size(const Network& net) { return Lone(net).packed; }
inline int64_t lone_room_size(const Network& net) { return Lone(net).room; }

// --- weights ------------------------------------------------------------------------------------

template <class Element>
INLINE void pack_vectors(float* packed, long rows, long count, const Element& element) {
    for_blocks(whole(rows) / LANES, MOST_ROWS, [&](long first, int own) {
        float* to = packed + first * LANES * count;
        for (long p = 0; p < count; ++p)
            for (long row = first * LANES; row < (first + own) * LANES; ++row) *to++ = row < rows ? element(row, p) : 0.0f;
    });
}

inline void pack_strip(const Layer& layer, const float* row, float* packed) {
    const Strip strip(layer);
    const Kind& kind = kind_of(layer);
    const long one = strip.inputs, h = one + 1, made = h + strip.hidden;
    const auto weight = [&](long read, long place) {
        const long gate = place / strip.stride, u = place % strip.stride;
        const int32_t at = u < strip.hidden ? layer.matrix[(read * kind.gates + gate) * strip.hidden + u] : -1;
        return at < 0 ? 0.0f : row[at];
    };
    std::memset(packed, 0, sizeof(float) * strip.packed);
    pack_vectors(packed + strip.by_x, strip.fed, strip.inputs, [&](long place, long p) { return weight(p, place); });
    for (long place = 0; place < strip.units; ++place) packed[strip.bias + place] = weight(one, place);
    pack_vectors(packed + strip.by_past, strip.units - strip.first_recurrent, strip.hidden,
                 [&](long place, long p) { return weight(h + p, strip.first_recurrent + place); });
    if (kind.makes) pack_vectors(packed + strip.by_made, strip.stride, strip.hidden, [&](long place, long p) { return weight(made + p, place); });
    for (long v = 0; v < kind.vectors * strip.hidden; ++v) packed[strip.vectors + v] = row[layer.vectors[v]];
    for (long u = 0; u < strip.hidden; ++u) {
        if (layer.start_h) packed[strip.starts + u] = row[layer.start_h[u]];
        if (layer.start_c) packed[strip.starts + strip.state + u] = row[layer.start_c[u]];
    }
}

inline void pack_lone(const Network& net, const float* row, float* packed) {
    const Lone at(net);
    for (long part = 0; part < at.parts; packed += Strip(net.layers[part]).packed, ++part) pack_strip(net.layers[part], row, packed);
    pack_vectors(packed, net.horizon, at.width, [&](long answer, long p) { return row[net.head[p * net.horizon + answer]]; });
    packed += at.answers * at.width;
    for (long answer = 0; answer < at.answers; ++answer)
        packed[answer] = answer < net.horizon ? row[net.head[at.width * net.horizon + answer]] : 0.0f;
}

// --- products -----------------------------------------------------------------------------------

// sums[step][vector] += Σ_p x[step][p] · w[p][vector]
template <int STEPS, int ROWS>
INLINE void accumulate_tile(Lanes (&sums)[STEPS][ROWS], const float* w, long w_stride, const float* x, long x_stride, long count) {
    for (long p = 0; p < count; ++p) {
        Lanes read[STEPS];
#pragma GCC unroll 16
        for (int s = 0; s < STEPS; ++s) read[s] = all(x[s * x_stride + p]);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            const Lanes weight = load(w + p * w_stride + r * LANES);
#pragma GCC unroll 16
            for (int s = 0; s < STEPS; ++s) sums[s][r] = fma(read[s], weight, sums[s][r]);
        }
    }
}

// to = Σ_p x[p] · w[p], or to += where it ADDS. Of two steps one begins with the last block, which the first cache still holds.
template <bool ADDS>
INLINE void product(const float* packed, long rows, const float* x, long count, float* to, bool last_first) {
    const auto block = [&]<int ROWS>(long first) __attribute__((always_inline)) {
        Lanes sums[1][ROWS];
        float* own = to + first * LANES;
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) sums[0][r] = all(0.0f);
        accumulate_tile(sums, packed + first * LANES * count, ROWS * LANES, x, 0, count);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) store(own + r * LANES, ADDS ? load(own + r * LANES) + sums[0][r] : sums[0][r]);
    };
    const long vectors = whole(rows) / LANES, blocks = (vectors + MOST_ROWS - 1) / MOST_ROWS;
    for (long n = 0; n < blocks; ++n) {
        const long number = last_first ? blocks - 1 - n : n, least = vectors / blocks, more = vectors % blocks;
        run_block<MOST_ROWS>(static_cast<int>(least + (number < more)), number * least + (number < more ? number : more), block);
    }
}

SHARED void multiply_across(const float* packed, long rows, const float* x, long count, float* to) { product<false>(packed, rows, x, count, to, false); }

SHARED void add_across(const float* packed, long rows, const float* x, long count, float* to, bool last_first) {
    product<true>(packed, rows, x, count, to, last_first);
}

// gates[step] = W · x[step] + bias: a tile of vectors by steps.
template <int STEPS, int ROWS>
INLINE void fill_tile(const float* w, long w_stride, const float* bias, const float* x, long x_stride, long count, float* gates, long step) {
    Lanes sums[STEPS][ROWS];
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
        for (int s = 0; s < STEPS; ++s) sums[s][r] = all(0.0f);
    accumulate_tile(sums, w, w_stride, x, x_stride, count);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 16
        for (int s = 0; s < STEPS; ++s) store(gates + s * step + r * LANES, sums[s][r] + load(bias + r * LANES));
}

// What x and the bias give to the gates of some steps. Weights of a tile's vectors stay in the first cache for all steps.
SHARED void fill(const Strip& strip, const float* packed, const float* x, long x_stride, long steps, float* gates) {
    const long count = strip.inputs, whole_tiles = steps / TILE_STEPS * TILE_STEPS;
    for_blocks(whole(strip.fed) / LANES, MOST_ROWS, [&](long first, int own) {
        const float *block = packed + strip.by_x + first * LANES * count, *bias = packed + strip.bias + first * LANES;
        if (steps < TILE_STEPS) {
            run_block<MOST_ROWS>(own, first, [&]<int ROWS>(long) __attribute__((always_inline)) {
                for (long s = 0; s < steps; ++s)
                    fill_tile<1, ROWS>(block, own * LANES, bias, x + s * x_stride, x_stride, count, gates + s * strip.step + first * LANES, strip.step);
            });
            return;
        }
        for (int from = 0, parts = (own + TILE_ROWS - 1) / TILE_ROWS, n = 0; n < parts; ++n) {
            const int rows = own / parts + (n < own % parts);
            float* to = gates + (first + from) * LANES;
            run_block<TILE_ROWS>(rows, from, [&]<int ROWS>(long from) __attribute__((always_inline)) {
                const float *w = block + from * LANES, *b = bias + from * LANES;
                long s = 0;
                for (; s < whole_tiles; s += TILE_STEPS)
                    fill_tile<TILE_STEPS, ROWS>(w, own * LANES, b, x + s * x_stride, x_stride, count, to + s * strip.step, strip.step);
                for (; s < steps; ++s) fill_tile<1, ROWS>(w, own * LANES, b, x + s * x_stride, x_stride, count, to + s * strip.step, strip.step);
            });
            from += rows;
        }
    });
    for (long s = 0; s < steps; ++s)
        for (long place = strip.fed; place < strip.units; place += LANES)
            store(gates + s * strip.step + place, all(0.0f) + load(packed + strip.bias + place));
}

// --- steps --------------------------------------------------------------------------------------

// What one layer in one direction works with.
struct Worker {
    const Layer& layer;
    const Strip strip;
    const Kind& kind;
    const float* packed;
    float* pulled;
    Moment now;

    Worker(const Layer& layer, const float* packed, float* states) : layer(layer), strip(layer), kind(kind_of(layer)), packed(packed) {
        now = {strip.hidden, strip.stride, nullptr, packed + strip.vectors, states, states + strip.state, states + 2 * strip.state};
        pulled = states + 3 * strip.state;
    }
    long recurrent() const { return strip.units - strip.first_recurrent; }

    void begin() const { std::memcpy(now.h, packed + strip.starts, sizeof(float) * 2 * strip.state); }

    // R · h of the step that comes, before its x is known
    void pull() const { multiply_across(packed + strip.by_past, recurrent(), now.h, strip.hidden, pulled); }

    // Each of these where the gates hold W · x + b: R · h is added to them.
    void add_past(float* gates, bool last_first) const {
        add_across(packed + strip.by_past, recurrent(), now.h, strip.hidden, gates + strip.first_recurrent, last_first);
    }
    void add_pulled(float* gates) const {
        for (long place = 0; place < recurrent(); place += LANES) {
            float* to = gates + strip.first_recurrent + place;
            store(to, load(to) + load(pulled + place));
        }
    }

    // The states after a step, from its gates; above: what is read there, which is h, and where it is added, what was read below.
    void move(float* gates, bool last_first, const float* below, float* above) {
        now.gates = gates;
        if (kind.makes) {
            kind.middle_across(now);
            add_across(packed + strip.by_made, strip.stride, now.made, strip.hidden, gates, last_first);
        }
        kind.forward_across(now);
        for (long u = 0; u < strip.hidden; u += LANES) store(above + u, below ? load(below + u) + load(now.h + u) : load(now.h + u));
    }
};

// All layers, one after the other, over a stretch of steps: in(worker, x, floats from one x to the next, below, above) for each.
// below is null where nothing is added. Returns the highest sequence.
template <class Go>
INLINE const float* through_layers(const Network& net, const Lone& at, const float* packed, float* room, const float* x, const Go& go) {
    float *below = room, *above = room + net.steps * at.row, *states = room + at.states;
    for (long l = 0; l < net.depth; ++l) {
        for (long d = 0; d < net.directions; ++d) {
            const Layer& layer = layer_of(net, l, d);
            Worker worker(layer, packed, states);
            const long own = d * layer.hidden;
            go(worker, l ? below : x, l ? at.row : net.inputs, net.residual && l ? below + own : nullptr, above + own);
            packed += worker.strip.packed, states += worker.strip.kept;
        }
        float* other = below;
        below = above, above = other;
    }
    return below;
}

// So many steps from the first on.
inline const float* run(const Network& net, const Lone& at, const float* packed, float* room, const float* window, long steps) {
    return through_layers(net, at, packed, room, window, [&](Worker& worker, const float* x, long x_stride, const float* below, float* above) {
        float* gates = room + at.gates;
        worker.begin();
        fill(worker.strip, worker.packed, x, x_stride, steps, gates);
        for (long s = 0; s < steps; ++s) {
            const long t = worker.layer.backwards ? steps - 1 - s : s;
            worker.add_past(gates + t * worker.strip.step, s % 2);
            worker.move(gates + t * worker.strip.step, s % 2, below ? below + t * at.row : nullptr, above + t * at.row);
        }
    });
}

// The head, over the final state: that of the last step, and of a backward layer that of the first.
inline void answer_final(const Network& net, const Lone& at, const float* packed, float* room, const float* last, const float* first, float* answers) {
    float *final = room + at.final, *answer = room + at.answer;
    const long hidden = net.layers[0].hidden;
    std::memcpy(final, last, sizeof(float) * hidden);
    if (net.directions == 2) std::memcpy(final + hidden, first + hidden, sizeof(float) * hidden);
    for (long h = 0; h < at.answers; h += LANES) store(answer + h, load(packed + at.head_bias + h));
    add_across(packed + at.head, net.horizon, final, at.width, answer, false);
    std::memcpy(answers, answer, sizeof(float) * net.horizon);
}

// A window's forecast.
inline void forecast(const Network& net, const float* packed, float* room, const float* window, float* answers) {
    const Lone at(net);
    const float* highest = run(net, at, packed, room, window, net.steps);
    answer_final(net, at, packed, room, highest + (net.steps - 1) * at.row, highest, answers);
}

// All that can be done of a window before its newest step is known.
inline void ahead(const Network& net, const float* packed, float* room, const float* window) {
    const Lone at(net);
    run(net, at, packed, room, window, net.steps - 1);
    through_layers(net, at, packed, room, window, [](Worker& worker, const float*, long, const float*, float*) { worker.pull(); });
}

// The newest, after `ahead`; once, since it moves the states on.
inline void tick(const Network& net, const float* packed, float* room, const float* newest, float* answers) {
    const Lone at(net);
    const float* last = through_layers(net, at, packed, room, newest, [&](Worker& worker, const float* x, long x_stride, const float* below, float* above) {
        float* gates = room + at.gates;
        fill(worker.strip, worker.packed, x, x_stride, 1, gates);
        worker.add_pulled(gates);
        worker.move(gates, false, below, above);
    });
    answer_final(net, at, packed, room, last, last, answers);
}

}  // namespace WIDTH
