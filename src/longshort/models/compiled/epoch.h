// A whole network over one group of windows, as many as there are lanes: windows cut out, layers, head, squared error, and all the way back.
//
//     sequences  [depth + 1][steps][width][LANES]   what each layer reads, the last what the head's final state is taken from
//     behind     [2][steps][width][LANES]           gradients of the sequence above a layer and of the one below it
//     per layer and direction: past and records, as layer.h draws them
//     dropped    [depth][steps][units]              16 bits each, one a lane
//
// Lanes beyond the windows read zeros, are charged nothing, and so add nothing to any gradient.
#pragma once

#include "layer.h"
#include "philox.h"
#include "text.h"

namespace WIDTH {

constexpr uint64_t OUTPUT_MASKS = 2;  // the kind of models/masks.py

INLINE const Layer& layer_of(const Network& net, long l, long d = 0) { return net.layers[l * net.directions + d]; }
INLINE long width_of(const Network& net) { return net.layers[0].hidden * net.directions; }
INLINE long answers_of(const Network& net) { return net.words ? net.words : net.horizon; }

struct Places {
    long width, parts, head_packed, packed;
    long sequence, layer_size, dropped, masks, head, scratch;
    long head_padded, head_sums, table_sums, sums;

    explicit Places(const Network& net) {
        width = width_of(net), parts = net.depth * net.directions;
        head_packed = 0, head_sums = 0, layer_size = 0;
        long back = 0;
        for (long part = 0; part < parts; ++part) {
            const Plan plan(net.layers[part]);
            head_packed += plan.packed, head_sums += plan.sums;
            const long size = (net.steps + 1) * plan.past + net.steps * plan.record;
            layer_size = size > layer_size ? size : layer_size;
            back = Back::size(plan) > back ? Back::size(plan) : back;
        }
        packed = head_packed + 2 * answers_of(net) * (width + 1);
        const long widest = width > net.inputs ? width : net.inputs;
        sequence = net.steps * widest * LANES;
        head_padded = (answers_of(net) + 15) / 16 * 16;
        table_sums = head_sums + (width + 1) * head_padded;
        sums = table_sums + static_cast<long>(net.words) * net.inputs;
        masks = net.depth * net.steps * static_cast<long>(blocks_of(width)) * 16 / 2;  // two a float
        masks = (masks + 15) / 16 * 16;
        dropped = (net.depth + 3) * sequence + parts * layer_size;
        head = (net.words ? KERNELS.head_size(net, width) : (width + 1 + 2 * head_padded) * LANES + LANES * SIXTEEN) + widest * LANES;
        scratch = dropped + masks + width * LANES + head + back;
    }
};

struct Scratch {
    float *sequences, *behind, *layers, *start_c, *head, *final, *answer, *turned, *room;
    uint16_t *dropped, *edge;
    Scratch(const Network& net, const Places& at, float* all) {
        sequences = all, behind = sequences + (net.depth + 1) * at.sequence, layers = behind + 2 * at.sequence;
        dropped = reinterpret_cast<uint16_t*>(all + at.dropped);
        start_c = all + at.dropped + at.masks;
        edge = reinterpret_cast<uint16_t*>(start_c + at.width * LANES);
        room = start_c + at.width * LANES + at.head;
        head = start_c + at.width * LANES + (net.inputs > at.width ? net.inputs : at.width) * LANES;
        final = head, answer = final + (at.width + 1) * LANES, turned = answer + 2 * at.head_padded * LANES;
    }
};

inline int64_t packed_size(const Network& net) { return Places(net).packed; }
inline int64_t scratch_size(const Network& net) { return Places(net).scratch; }
inline int64_t sums_size(const Network& net) { return Places(net).sums; }

inline void pack_part(const Network& net, int part, const float* row, float* packed) {
    const Places at(net);
    for (int earlier = 0; earlier < part; ++earlier) packed += Plan(net.layers[earlier]).packed;
    if (part < at.parts) return pack_layer(net.layers[part], row, packed);
    const long answers = answers_of(net);
    pack(packed, answers, at.width + 1, [&](long h, long p) { return row[net.head[p * answers + h]]; });
    pack(packed + answers * (at.width + 1), at.width, answers, [&](long p, long h) { return row[net.head[p * answers + h]]; });
}

inline void cut_out(const Network& net, const Pass& pass, int64_t first, int count, float* x) {
    for (long t = 0; t < net.steps; ++t)
        for (int l = 0; l < LANES; ++l) {
            const float* from = l < count ? pass.values + (pass.firsts[first + l] + t) * net.inputs : nullptr;
            for (long i = 0; i < net.inputs; ++i) x[(t * net.inputs + i) * LANES + l] = from ? from[i] : 0.0f;
        }
}

// Whether anything reads what the layers gave at a time: above a forecaster's last layer, only the final state's two ends.
INLINE bool is_read(const Network& net, long l, long t) {
    return net.words || l + 1 < net.depth || t == net.steps - 1 || (net.directions == 2 && t == 0);
}

// From the states of a layer's directions to what is read above: dropout, and what was read below where it is added.
inline void hand_up(const Network& net, const Places& at, const Scratch& own, long l, bool drops) {
    const float* below = own.sequences + l * at.sequence;
    float* above = own.sequences + (l + 1) * at.sequence;
    const long units = static_cast<long>(blocks_of(at.width)) * 16;
    for (long t = 0; t < net.steps; ++t) {
        if (!is_read(net, l, t)) continue;
        const uint16_t* dropped = own.dropped + (l * net.steps + t) * units;
        for (long d = 0; d < net.directions; ++d) {
            const Plan plan(layer_of(net, l, d));
            const float* past = own.layers + (l * net.directions + d) * at.layer_size;
            const float* h = past + ((d ? net.steps - 1 - t : t) + 1) * plan.past + LANES;
            for (long u = 0; u < plan.hidden; ++u) {
                const long unit = d * plan.hidden + u, place = (t * at.width + unit) * LANES;
                Lanes state = load(h + u * LANES);
                if (drops) state = zero_where(state * all(net.scale), dropped[unit]);
                if (net.residual && l) state = load(below + place) + state;
                store(above + place, state);
            }
        }
    }
}

inline void draw_masks(const Network& net, const Places& at, const Pass& pass, int64_t first, const Scratch& own) {
    const long units = static_cast<long>(blocks_of(at.width)) * 16;
    for (long l = 0; l < net.depth; ++l) {
        const Masks masks{pass.seed, pass.epoch, static_cast<uint64_t>(l) << 8, OUTPUT_MASKS, static_cast<uint64_t>(net.steps),
                          static_cast<uint64_t>(at.width), net.threshold};
        for (long t = 0; t < net.steps; ++t)
            if (is_read(net, l, t)) draw(masks, pass.place + first, t, own.dropped + (l * net.steps + t) * units);
    }
}

// The place of unit u of the final state within a sequence: each direction's state when it had read everything.
INLINE long final_place(const Network& net, const Places& at, long u) {
    return ((u < net.layers[0].hidden ? net.steps - 1 : 0) * at.width + u) * LANES;
}

// The squared errors of the windows, and in gradient what each answer should move by, times share. Targets that are NaN are not charged.
inline double charge(const Network& net, const Pass& pass, int64_t first, int count, float share, const float* answer, float* gradient) {
    double loss = 0;
    for (long h = 0; h < net.horizon; ++h)
        for (int l = 0; l < LANES; ++l) {
            float error = 0.0f;
            if (l < count) {
                const float target = pass.values[(pass.firsts[first + l] + net.steps + h) * net.inputs];
                error = target == target ? answer[h * LANES + l] - target : 0.0f;
            }
            loss += static_cast<double>(error * error);
            gradient[h * LANES + l] = 2.0f * error * share;
        }
    return loss;
}

// The way back through the head: its weight gradient, and that of the final state into the highest sequence.
inline void learn_head(const Network& net, const Places& at, const Scratch& own, const float* packed, const float* gradient, float* behind,
                       float* sums) {
    for (long tile = 0; tile * SIXTEEN < net.horizon; ++tile) {
        transpose(gradient + tile * SIXTEEN * LANES, net.horizon - tile * SIXTEEN, own.turned);
        multiply_over_steps(own.final, 0, at.width + 1, own.turned, 1, sums + tile * SIXTEEN, at.head_padded);
    }
    multiply(packed + net.horizon * (at.width + 1), at.width, {gradient, net.horizon, gradient, 0}, own.final, false);
    std::memset(behind, 0, sizeof(float) * net.steps * at.width * LANES);
    for (long u = 0; u < at.width; ++u) store(behind + final_place(net, at, u), load(own.final + u * LANES));
}

inline void learn_layer(const Network& net, const Places& at, const Scratch& own, long l, const float* packed, const float* row,
                        const float* above, float* below, float* sums) {
    const long units = static_cast<long>(blocks_of(at.width)) * 16;
    for (long d = 0; d < net.directions; ++d) {
        const Layer& layer = layer_of(net, l, d);
        const Plan plan(layer);
        float *past = own.layers + (l * net.directions + d) * at.layer_size, *records = past + (net.steps + 1) * plan.past;
        const auto into = [&](long s, float* dh) {
            const long t = d ? net.steps - 1 - s : s;
            if (!is_read(net, l, t)) return;
            const float* from = above + (t * at.width + d * plan.hidden) * LANES;
            const uint16_t* dropped = own.dropped + (l * net.steps + t) * units + d * plan.hidden;
            for (long u = 0; u < plan.hidden; ++u) {
                Lanes more = load(from + u * LANES);
                if (net.threshold) more = zero_where(more * all(net.scale), dropped[u]);
                store(dh + u * LANES, load(dh + u * LANES) + more);
            }
        };
        learn_sequence(layer, packed, row, own.sequences + l * at.sequence, net.steps, past, records, own.start_c, into, l || net.words ? below : nullptr,
                       d > 0, own.room, sums);
        packed += plan.packed, sums += plan.sums;
    }
    if (net.residual && l)
        for (long place = 0; place < net.steps * at.width * LANES; place += LANES) store(below + place, load(below + place) + load(above + place));
}

// The head of a forecaster, there and back: the loss, and the gradient of the highest sequence.
inline double charge_forecast(const Network& net, const Places& at, const Pass& pass, int64_t first, int count, float share, bool learns,
                              const Scratch& own, const float* packed, float* behind, float* sums) {
    const float* highest = own.sequences + net.depth * at.sequence;
    for (long u = 0; u < at.width; ++u) store(own.final + u * LANES, load(highest + final_place(net, at, u)));
    store(own.final + at.width * LANES, all(1.0f));
    multiply(packed, net.horizon, {own.final, at.width + 1, own.final, 0}, own.answer, false);
    float* gradient = own.answer + at.head_padded * LANES;
    const double loss = charge(net, pass, first, count, share, own.answer, gradient);
    if (learns) learn_head(net, at, own, packed, gradient, behind, sums);
    return loss;
}

// One group: its summed loss, and where it learns, its gradients added to sums. share: what an error's gradient is multiplied by.
inline double group(const Network& net, const Pass& pass, int64_t first, int count, float share, bool learns, const float* packed,
                    const float* row, float* scratch, float* sums) {
    const Places at(net);
    const Scratch own(net, at, scratch);
    const bool drops = learns && net.threshold, drops_edges = learns && net.edge_threshold;
    if (drops) draw_masks(net, at, pass, first, own);
    if (net.words)
        look_up(net, pass, first, count, row, own.sequences);
    else
        cut_out(net, pass, first, count, own.sequences);
    if (drops_edges) drop(net, pass, first, FRONT_MASKS, net.inputs, own.edge, own.sequences);
    const float* weights = packed;
    for (long l = 0; l < net.depth; ++l) {
        for (long d = 0; d < net.directions; ++d) {
            const Layer& layer = layer_of(net, l, d);
            float* past = own.layers + (l * net.directions + d) * at.layer_size;
            read_sequence(layer, weights, row, own.sequences + l * at.sequence, net.steps, past, past + (net.steps + 1) * Plan(layer).past,
                          own.start_c);
            weights += Plan(layer).packed;
        }
        hand_up(net, at, own, l, drops);
    }
    float *highest = own.sequences + net.depth * at.sequence, *above = own.behind, *below = above + at.sequence;
    if (drops_edges) drop(net, pass, first, HEAD_MASKS, at.width, own.edge, highest);
    const float* head = packed + at.head_packed;
    float* found = sums ? sums + at.head_sums : nullptr;
    const double loss = net.words ? KERNELS.charge_words(net, pass, first, count, share, learns, at.width, LANES, head, highest, above, own.head,
                                                         found)
                                  : charge_forecast(net, at, pass, first, count, share, learns, own, head, above, found);
    if (!learns) return loss;

    if (drops_edges) drop(net, pass, first, HEAD_MASKS, at.width, own.edge, above);
    for (long l = net.depth - 1; l >= 0; --l) {
        for (long d = 0; d < net.directions; ++d) weights -= Plan(layer_of(net, l, d)).packed, found -= Plan(layer_of(net, l, d)).sums;
        learn_layer(net, at, own, l, weights, row, above, below, found);
        float* other = above;
        above = below, below = other;
    }
    if (net.words) {
        if (drops_edges) drop(net, pass, first, FRONT_MASKS, net.inputs, own.edge, above);
        add_to_table(net, pass, first, count, above, sums + at.table_sums);
    }
    return loss;
}

// --- from groups to weights -------------------------------------------------------------------

// Where the head is the table of embeddings (Press and Wolf, 2017), its gradient goes to the table's.
inline void tie(const Network& net, float* sums) {
    const Places at(net);
    for (long w = 0; w < net.words; ++w)
        for (long i = 0; i < net.inputs; ++i) sums[at.table_sums + w * net.inputs + i] += sums[at.head_sums + i * at.head_padded + w];
}

// What a group's sums still hold lane by lane, added up; once, after the last group.
inline void settle_all(const Network& net, float* sums) {
    if (net.words && net.head && net.head[0] == net.table) tie(net, sums);
    for (int part = 0; part < net.depth * net.directions; ++part) {
        settle(net.layers[part], sums);
        sums += Plan(net.layers[part]).sums;
    }
}

// Where the gradient of each parameter stands among sums.
inline void places(const Network& net, int32_t* found) {
    const Places at(net);
    long base = 0;
    for (long part = 0; part < at.parts; ++part) {
        places_of_layer(net.layers[part], base, found);
        base += Plan(net.layers[part]).sums;
    }
    const long answers = answers_of(net);
    for (long p = 0; net.head && p <= at.width; ++p)
        for (long h = 0; h < answers; ++h) found[net.head[p * answers + h]] = static_cast<int32_t>(base + p * at.head_padded + h);
    // after the head: where that is the table, `tie` has put both together
    for (long k = 0; k < static_cast<long>(net.words) * net.inputs; ++k) found[net.table + k] = static_cast<int32_t>(at.table_sums + k);
}

// The gradients of a stretch of parameters from the sums of all groups, always in their order, and the sum of their squares.
// A sum of -0 becomes 0: its sign would tell how many empty lanes there were.
inline double add_up(const float* const* sums, int count, const int32_t* places, float* gradient, int64_t from, int64_t to) {
    double squares = 0;
    for (int64_t k = from; k < to; ++k) {
        float sum = 0.0f;
        for (int n = 0; n < count; ++n) sum += sums[n][places[k]];
        gradient[k] = sum;
        squares += static_cast<double>(sum) * sum;
    }
    return squares;
}

// A step of Adam (Kingma and Ba, 2015) or RMSProp (Tieleman and Hinton, 2012), as in training/optimisers.py.
// scale: of the gradient, so that its norm is no larger than it may be
inline void move(const Optimiser& way, float* gradient, float scale, int64_t from, int64_t to) {
    const float rate = static_cast<float>(-way.rate / way.unbias), root = static_cast<float>(way.unbias_root);
    const auto stepped = [&](float* g, float* w, float* first, float* second) {
        const Lanes slope = load(g) * all(scale), epsilon = all(static_cast<float>(way.epsilon));
        float* average = way.adam ? second : first;
        const Lanes square = fma(all(static_cast<float>(1 - way.beta_square)) * slope, slope, load(average) * all(static_cast<float>(way.beta_square)));
        store(average, square);
        Lanes mean = slope;
        if (way.adam) {
            mean = fma(all(static_cast<float>(1 - way.beta)), slope - load(first), load(first));
            store(first, mean);
        }
        const Lanes size = way.adam ? square_root(square) / all(root) + epsilon : square_root(square) + epsilon;
        store(w, fma(all(rate), mean / size, load(w)));
    };
    int64_t k = from;
    for (; k + LANES <= to; k += LANES) stepped(gradient + k, way.weights + k, way.first + k, way.adam ? way.second + k : nullptr);
    if (k == to) return;
    float rest[4][LANES] = {};
    float* rows[4] = {gradient, way.weights, way.first, way.adam ? way.second : way.first};
    for (int r = 0; r < 4; ++r) std::memcpy(rest[r], rows[r] + k, sizeof(float) * (to - k));
    stepped(rest[0], rest[1], rest[2], rest[3]);
    for (int r = 1; r < (way.adam ? 4 : 3); ++r) std::memcpy(rows[r] + k, rest[r], sizeof(float) * (to - k));
}

// --- one layer alone, for the autograd function --------------------------------------------------

// What is kept of a group for the way back: x, past, records, and room for c.
inline int64_t kept_size(const Network& net) {
    const Plan plan(net.layers[0]);
    return net.steps * plan.inputs * LANES + (net.steps + 1) * plan.past + net.steps * plan.record + plan.hidden * LANES;
}

// `count` rows of one step, (batch, features), from number `first` on into lanes, or out of them.
inline void into_lanes(const float* from, long first, int count, long features, float* to) {
    for (int l = 0; l < LANES; ++l)
        for (long f = 0; f < features; ++f) to[f * LANES + l] = l < count ? from[(first + l) * features + f] : 0.0f;
}

inline void out_of_lanes(const float* from, long first, int count, long features, float* to) {
    for (int l = 0; l < count; ++l)
        for (long f = 0; f < features; ++f) to[(first + l) * features + f] = from[f * LANES + l];
}

inline void read(const Network& net, const float* packed, const float* row, const float* steps, int64_t batch, int64_t first, int count,
                 float* kept, float* states) {
    const Layer& layer = net.layers[0];
    const Plan plan(layer);
    float *past = kept + net.steps * plan.inputs * LANES, *records = past + (net.steps + 1) * plan.past;
    for (long t = 0; t < net.steps; ++t)
        into_lanes(steps + t * batch * plan.inputs, first, count, plan.inputs, kept + t * plan.inputs * LANES);
    read_sequence(layer, packed, row, kept, net.steps, past, records, records + net.steps * plan.record);
    for (long t = 0; t < net.steps; ++t)
        out_of_lanes(past + (t + 1) * plan.past + LANES, first, count, plan.hidden, states + t * batch * plan.hidden);
}

inline void learn(const Network& net, const float* packed, const float* row, const float* gradient, int64_t batch, int64_t first, int count,
                  float* kept, float* scratch, float* sums, float* input_gradient) {
    const Layer& layer = net.layers[0];
    const Plan plan(layer);
    float *past = kept + net.steps * plan.inputs * LANES, *records = past + (net.steps + 1) * plan.past;
    float *dx = scratch, *room = dx + net.steps * plan.inputs * LANES, *more = room + Back::size(plan);
    const auto into = [&](long s, float* dh) {
        into_lanes(gradient + s * batch * plan.hidden, first, count, plan.hidden, more);
        for (long u = 0; u < plan.hidden; ++u) store(dh + u * LANES, load(dh + u * LANES) + load(more + u * LANES));
    };
    learn_sequence(layer, packed, row, kept, net.steps, past, records, records + net.steps * plan.record, into, input_gradient ? dx : nullptr, false,
                   room, sums);
    for (long t = 0; input_gradient && t < net.steps; ++t)
        out_of_lanes(dx + t * plan.inputs * LANES, first, count, plan.inputs, input_gradient + t * batch * plan.inputs);
}

inline int64_t learn_size(const Network& net) {
    const Plan plan(net.layers[0]);
    return net.steps * plan.inputs * LANES + Back::size(plan) + plan.hidden * LANES;
}

}  // namespace WIDTH
