// A whole network over one group of windows, as many as there are lanes: windows cut out, layers, head, loss, and all the way back.
//
//     sequences  [depth + 1][steps][width][LANES]   what each layer reads, the last what the head's final state is taken from
//     behind     [2][steps][width][LANES]           gradients of the sequence above a layer and of the one below it
//     per layer and direction: past and records, as layer.h draws them, and c before the first step
//     dropped    [depth][steps][units]              16 bits each, one a lane
//
// Lanes beyond the windows read zeros, are charged nothing, and so add nothing to any gradient.
#pragma once

#include <utility>

#include "layer.h"
#include "optimiser.h"
#include "philox.h"
#include "text.h"

namespace WIDTH {

constexpr uint64_t OUTPUT_MASKS = 2;  // the kind of models/masks.py

INLINE const Layer& layer_of(const Network& net, long l, long d = 0) { return net.layers[l * net.directions + d]; }
INLINE long answers_of(const Network& net) { return net.words ? net.words : net.horizon * (1 + net.quantiles); }

struct Places {
    long width, parts, head_packed, packed;
    long sequence, layer_size, dropped, masks, head, scratch;
    long head_padded, head_sums, sums, ends;

    explicit Places(const Network& net) {
        width = width_of(net), parts = net.depth * net.directions;
        head_packed = head_of(net), head_sums = 0, layer_size = 0;
        long back = 0;
        for (long part = 0; part < parts; ++part) {
            const Plan plan(net.layers[part]);
            head_sums += plan.sums;
            const long size = (net.steps + 1) * plan.past + net.steps * plan.record + plan.hidden * LANES;
            layer_size = size > layer_size ? size : layer_size;
            back = Back::size(plan) > back ? Back::size(plan) : back;
        }
        packed = head_packed + by::weights_of(answers_of(net), width + 1) + by::weights_of(width, answers_of(net));
        const long widest = width > net.inputs ? width : net.inputs;
        sequence = net.steps * widest * LANES;
        head_padded = whole(answers_of(net));
        sums = net.words ? head_sums : head_sums + (width + 1) * head_padded;
        ends = net.words ? table_of(net) + static_cast<long>(net.words) * net.inputs : 0;
        masks = net.depth * net.steps * static_cast<long>(blocks_of(width)) * 16 / 2;  // two a float
        masks = (masks + 15) / 16 * 16;
        dropped = (net.depth + 3) * sequence + parts * layer_size;
        head = (net.words ? 0 : (width + 1 + 2 * head_padded) * LANES + by::turned_of(1)) + widest * LANES;
        scratch = dropped + masks + head + back;
    }
};

struct Scratch {
    float *sequences, *behind, *layers, *final, *answer, *turned, *room;
    uint16_t *dropped, *edge;
    Scratch(const Network& net, const Places& at, float* all) {
        sequences = all, behind = sequences + (net.depth + 1) * at.sequence, layers = behind + 2 * at.sequence;
        dropped = reinterpret_cast<uint16_t*>(all + at.dropped);
        float* edges = all + at.dropped + at.masks;
        edge = reinterpret_cast<uint16_t*>(edges);
        room = edges + at.head;
        final = edges + (net.inputs > at.width ? net.inputs : at.width) * LANES;
        answer = final + (at.width + 1) * LANES, turned = answer + 2 * at.head_padded * LANES;
    }
};

inline int64_t packed_size(const Network& net) { return Places(net).packed; }
inline int64_t scratch_size(const Network& net) { return Places(net).scratch; }
inline int64_t sums_size(const Network& net) { return Places(net).sums; }
inline int64_t ends_size(const Network& net) { return Places(net).ends; }

inline void pack_part(const Network& net, int part, const float* row, float* packed) {
    const Places at(net);
    for (int earlier = 0; earlier < part; ++earlier) packed += Plan(net.layers[earlier]).packed;
    if (part < at.parts) return pack_layer(net.layers[part], row, packed);
    const long answers = answers_of(net);
    by::pack(packed, answers, at.width + 1, [&](long h, long p) { return row[net.head[p * answers + h]]; });
    by::pack(packed + by::weights_of(answers, at.width + 1), at.width, answers, [&](long p, long h) { return row[net.head[p * answers + h]]; });
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

// What an answer costs, and how fast that grows with it. Of so many answers the first are the point forecasts of the horizon, which cost
// their squared error; then come those of each quantile, and cost the pinball loss. A target that is NaN is not charged.
struct Cost {
    float cost, slope;

    Cost(const Network& net, const Pass& pass, int64_t window, long number, float answer) : cost(0.0f), slope(0.0f) {
        const float target = pass.values[(pass.firsts[window] + net.steps + number % net.horizon) * net.inputs], error = answer - target;
        if (target != target) return;
        if (number < net.horizon) {
            cost = error * error, slope = 2.0f * error;
        } else {
            const float level = net.levels[number / net.horizon - 1];
            slope = error > 0.0f ? 1.0f - level : -level, cost = slope * error;
        }
    }
};

// The costs of the windows' answers, and in gradient what each answer should move by, times share.
inline double charge(const Network& net, const Pass& pass, int64_t first, int count, float share, const float* answer, float* gradient) {
    double loss = 0;
    for (long number = 0; number < answers_of(net); ++number)
        for (int l = 0; l < LANES; ++l) {
            float slope = 0.0f;
            if (l < count) {
                const Cost own(net, pass, first + l, number, answer[number * LANES + l]);
                loss += static_cast<double>(own.cost), slope = own.slope;
            }
            gradient[number * LANES + l] = slope * share;
        }
    return loss;
}

// The way back through the head: its weight gradient, and that of the final state into the highest sequence.
inline void learn_head(const Network& net, const Places& at, const Scratch& own, const float* packed, const float* gradient, float* behind,
                       float* sums) {
    const long answers = answers_of(net);
    for (long tile = 0; tile * SIXTEEN < answers; ++tile) {
        by::turn(gradient + tile * SIXTEEN * LANES, 0, answers - tile * SIXTEEN, 1, own.turned);
        by::add_over_steps(own.final, 0, at.width + 1, own.turned, 0, 1, 1, sums + tile * SIXTEEN, at.head_padded);
    }
    by::multiply(packed + by::weights_of(answers, at.width + 1), at.width, {gradient, answers, gradient, 0}, own.final, false);
    std::memset(behind, 0, sizeof(float) * net.steps * at.width * LANES);
    for (long u = 0; u < at.width; ++u) store(behind + final_place(net, at, u), load(own.final + u * LANES));
}

inline void learn_layer(const Network& net, const Places& at, const Scratch& own, long l, const float* packed, bool goes_on,
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
        learn_sequence(layer, packed, own.sequences + l * at.sequence, net.steps, past, records, goes_on, into, l || net.words ? below : nullptr,
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
    by::multiply(packed, answers_of(net), {own.final, at.width + 1, own.final, 0}, own.answer, false);
    float* gradient = own.answer + at.head_padded * LANES;
    const double loss = charge(net, pass, first, count, share, own.answer, gradient);
    if (learns) learn_head(net, at, own, packed, gradient, behind, sums);
    return loss;
}

// The states of the lowest layer that a group's windows go on from, or leave; those of the next layer stand behind them.
INLINE Carried carried_by(const Pass& pass, int64_t first, int count) {
    return {pass.states, pass.batch, first % pass.batch, count, pass.states && pass.step + first / pass.batch > 0};
}

// A group's windows through all layers, to the highest sequence.
inline void go_ahead(const Network& net, const Places& at, const Scratch& own, const Pass& pass, int64_t first, int count, bool learns,
                     const float* packed, const float* row) {
    const bool drops = learns && net.threshold, drops_edges = learns && net.edge_threshold;
    if (drops) draw_masks(net, at, pass, first, own);
    if (net.words)
        look_up(net, pass, first, count, row, own.sequences);
    else
        cut_out(net, pass, first, count, own.sequences);
    if (drops_edges) drop(net, pass, first, FRONT_MASKS, net.inputs, own.edge, own.sequences);
    Carried carried = carried_by(pass, first, count);
    for (long l = 0; l < net.depth; ++l) {
        for (long d = 0; d < net.directions; ++d) {
            const Layer& layer = layer_of(net, l, d);
            float* past = own.layers + (l * net.directions + d) * at.layer_size;
            read_sequence(layer, packed, row, own.sequences + l * at.sequence, net.steps, past, past + (net.steps + 1) * Plan(layer).past, carried);
            packed += Plan(layer).packed;
            if (carried.states) carried.states += 2 * pass.batch * layer.hidden;
        }
        hand_up(net, at, own, l, drops);
    }
    if (drops_edges) drop(net, pass, first, HEAD_MASKS, at.width, own.edge, own.sequences + net.depth * at.sequence);
}

// Where `go_back` leaves the gradient of what the lowest layer read.
INLINE float* lowest(const Network& net, const Places& at, const Scratch& own) { return own.behind + net.depth % 2 * at.sequence; }

// The way back through all layers from the gradient of the highest sequence.
inline void go_back(const Network& net, const Places& at, const Scratch& own, const Pass& pass, int64_t first, const float* packed, const float* row,
                    float* sums) {
    if (net.edge_threshold) drop(net, pass, first, HEAD_MASKS, at.width, own.edge, own.behind);
    float *above = own.behind, *below = above + at.sequence;
    packed += at.head_packed, sums += at.head_sums;
    for (long l = net.depth - 1; l >= 0; --l) {
        for (long d = 0; d < net.directions; ++d) packed -= Plan(layer_of(net, l, d)).packed, sums -= Plan(layer_of(net, l, d)).sums;
        learn_layer(net, at, own, l, packed, carried_by(pass, first, 0).goes_on, above, below, sums);
        std::swap(above, below);
    }
}

// One group of a forecaster: its summed loss, and where it learns, its gradients added to sums. share: what an error's gradient is multiplied by.
inline double group(const Network& net, const Pass& pass, int64_t first, int count, float share, bool learns, const float* packed,
                    const float* row, float* scratch, float* sums) {
    const by::Ready ready;
    const Places at(net);
    const Scratch own(net, at, scratch);
    go_ahead(net, at, own, pass, first, count, learns, packed, row);
    const double loss = charge_forecast(net, at, pass, first, count, share, learns, own, packed + at.head_packed, own.behind, sums ? sums + at.head_sums : nullptr);
    if (learns) go_back(net, at, own, pass, first, packed, row, sums);
    return loss;
}

// One group of a language model up to the head, its tokens listed from number `place` on.
inline void ahead_of_head(const Network& net, const Pass& pass, int64_t first, int count, bool learns, const float* packed, const float* row,
                          float* scratch, const Charged& list, int64_t place) {
    const by::Ready ready;
    const Places at(net);
    const Scratch own(net, at, scratch);
    go_ahead(net, at, own, pass, first, count, learns, packed, row);
    list_tokens(net, pass, first, count, at.width, own.sequences + net.depth * at.sequence, list, place);
}

// And back from it to what the layers read, in the same scratch.
inline void behind_head(const Network& net, const Pass& pass, int64_t first, int count, const float* packed, const float* row, float* scratch,
                        const Charged& list, int64_t place, float* sums) {
    const by::Ready ready;
    const Places at(net);
    const Scratch own(net, at, scratch);
    hand_back(net, pass, first, count, at.width, list, place, own.behind);
    go_back(net, at, own, pass, first, packed, row, sums);
    if (net.edge_threshold) drop(net, pass, first, FRONT_MASKS, net.inputs, own.edge, lowest(net, at, own));
}

// --- from groups to weights -------------------------------------------------------------------

// The group's part in the gradient of the embeddings, of one slice of them.
inline void add_group_to_table(const Network& net, const Pass& pass, int64_t first, int count, float* scratch, int slice, int slices, float* ends) {
    const Places at(net);
    add_to_table(net, pass, first, count, lowest(net, at, Scratch(net, at, scratch)), slice, slices, ends);
}

// What a group's sums still hold lane by lane, added up; once, after the last group.
inline void settle_all(const Network& net, float* sums) {
    for (int part = 0; part < net.depth * net.directions; ++part) {
        settle(net.layers[part], sums);
        sums += Plan(net.layers[part]).sums;
    }
}

// Where the gradient of each parameter stands among sums, or behind their end among what all groups share.
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
    const long table = at.head_sums + table_of(net);
    for (long k = 0; k < static_cast<long>(net.words) * net.inputs; ++k) found[net.table + k] = static_cast<int32_t>(table + k);
}

// The gradients of a stretch of parameters from the sums of all groups, always in their order, and the sum of their squares.
// size: of sums; what stands behind their end is in ends, once. A sum of -0 becomes 0: its sign would tell how many empty lanes there were.
inline double add_up(const float* const* sums, int count, int64_t size, const float* ends, const int32_t* places, float* gradient, int64_t from,
                     int64_t to) {
    double squares = 0;
    for (int64_t k = from; k < to; ++k) {
        const bool own = places[k] < size;
        float sum = own ? 0.0f : ends[places[k] - size];
        for (int n = 0; own && n < count; ++n) sum += sums[n][places[k]];
        gradient[k] = sum;
        squares += static_cast<double>(sum) * sum;
    }
    return squares;
}

// A step of the optimiser for a stretch of parameters.
template <bool ADAM>
inline void move_by(const Optimiser& way, const float* gradient, float scale, int64_t from, int64_t to) {
    const Rule<ADAM> rule(way, scale);
    for (int64_t k = from; k < to; k += LANES) {
        const int own = static_cast<int>(to - k < LANES ? to - k : LANES);
        const auto read = [&](const float* x) { return own == LANES ? load(x + k) : load_some(x + k, own); };
        const auto write = [&](float* x, Lanes y) { own == LANES ? store(x + k, y) : store_some(x + k, y, own); };
        Lanes weight = read(way.weights), first = read(way.first), second = ADAM ? read(way.second) : all(0.0f);
        rule.move(read(gradient), weight, first, second);
        write(way.weights, weight), write(way.first, first);
        if (ADAM) write(way.second, second);
    }
}

inline void move(const Optimiser& way, float* gradient, float scale, int64_t from, int64_t to) {
    way.adam ? move_by<true>(way, gradient, scale, from, to) : move_by<false>(way, gradient, scale, from, to);
}

// --- one layer alone, for the autograd function --------------------------------------------------

// What is kept of a group for the way back: x, past, records, and room for c.
inline int64_t kept_size(const Network& net) {
    const Plan plan(net.layers[0]);
    return net.steps * plan.inputs * LANES + (net.steps + 1) * plan.past + net.steps * plan.record + plan.hidden * LANES;
}

inline void read(const Network& net, const float* packed, const float* row, const float* steps, int64_t batch, int64_t first, int count,
                 float* kept, float* states, float* carried, bool goes_on) {
    const by::Ready ready;
    const Layer& layer = net.layers[0];
    const Plan plan(layer);
    float *past = kept + net.steps * plan.inputs * LANES, *records = past + (net.steps + 1) * plan.past;
    for (long t = 0; t < net.steps; ++t)
        into_lanes(steps + t * batch * plan.inputs, first, count, plan.inputs, kept + t * plan.inputs * LANES);
    read_sequence(layer, packed, row, kept, net.steps, past, records, {carried, batch, first, count, goes_on});
    for (long t = 0; t < net.steps; ++t)
        out_of_lanes(past + (t + 1) * plan.past + LANES, first, count, plan.hidden, states + t * batch * plan.hidden);
}

inline void learn(const Network& net, const float* packed, const float* gradient, int64_t batch, int64_t first, int count, float* kept,
                  bool goes_on, float* scratch, float* sums, float* input_gradient) {
    const by::Ready ready;
    const Layer& layer = net.layers[0];
    const Plan plan(layer);
    float *past = kept + net.steps * plan.inputs * LANES, *records = past + (net.steps + 1) * plan.past;
    float *dx = scratch, *room = dx + net.steps * plan.inputs * LANES, *more = room + Back::size(plan);
    const auto into = [&](long s, float* dh) {
        into_lanes(gradient + s * batch * plan.hidden, first, count, plan.hidden, more);
        for (long u = 0; u < plan.hidden; ++u) store(dh + u * LANES, load(dh + u * LANES) + load(more + u * LANES));
    };
    learn_sequence(layer, packed, kept, net.steps, past, records, goes_on, into, input_gradient ? dx : nullptr, false, room, sums);
    for (long t = 0; input_gradient && t < net.steps; ++t)
        out_of_lanes(dx + t * plan.inputs * LANES, first, count, plan.inputs, input_gradient + t * batch * plan.inputs);
}

inline int64_t learn_size(const Network& net) {
    const Plan plan(net.layers[0]);
    return net.steps * plan.inputs * LANES + Back::size(plan) + plan.hidden * LANES;
}

}  // namespace WIDTH
