// A recurrent layer in one direction over one group of windows, as many as there are lanes.
//
// In memory all is [units][LANES], with time in front:
//
//     x        [steps][inputs][LANES]       what the layer reads, in time's own order
//     past     [steps + 1][1 + hidden][LANES]   a row of ones, then h before the step; slot s + 1 holds h after step s
//     records  [steps][gates + saved][hidden][LANES]   gates, and what else `backward` needs; gradients take the gates' place
//
// Packed weights and sums of gradients are laid out for sixteen lanes and for eight alike, so groups of both may add to one
// sum. An empty lane's gradients are 0, and a sum is the same bytes with them or without, but for the sign of 0.
//
// Own steps s run with the layer's direction: step s is at time s, or steps - 1 - s for a backward one. Since x, the ones
// and h stand for the rows of one matrix, with W, b and R one below the other as in the row of parameters, the bias is a
// weight like others:
//
//                        gates · hidden
//                  ┌───────┬─────────┬────────┐
//        x inputs  │   W   │    W    │        │      gates that x alone feeds, both, and the past alone:
//           one 1  │   b   │    b    │   b    │      most cells have all in the middle; a GRU's n comes
//      h   hidden  │       │    R    │   R    │      twice, as it must be known in two parts
//                  └───────┴─────────┴────────┘
//   made   hidden    R of the first gate, where it reads a state that the cell makes from the others
#pragma once

#include "api.h"
#include "cells.h"
#include "products.h"
#ifdef IN_TILES
#include "tiles.h"
#endif

namespace WIDTH {

#ifdef IN_TILES
namespace by = tiles;  // in which way products are made
#else
namespace by = floats;
#endif

// Steps that a block of the weight gradient runs over: their transposed gradients stay in the first cache. The last block comes first,
// so the bytes of a gradient depend on it.
constexpr long STRETCH = 8;

INLINE const Kind& kind_of(const Layer& layer) { return CELLS[layer.cell]; }

// Sizes and places within a layer's packed weights, records and sums.
struct Plan {
    long inputs, hidden, units;        // units: gates · hidden
    long first_recurrent, fed;         // in units
    long blocks, record;               // floats of a step's record
    long rows, padded;                 // of the gradient's matrix
    long past;                         // floats of a slot
    long by_x, by_both, by_past, to_x, to_h, by_made, to_made, vectors, packed;  // places of packed weights, and their size
    long sum_vectors, sum_starts, found, sums;  // places of gradients; found: those of vectors and starts, added up over lanes

    explicit Plan(const Layer& layer) {
        const Kind& kind = kind_of(layer);
        inputs = layer.inputs, hidden = layer.hidden, units = kind.gates * hidden;
        first_recurrent = kind.recurrent * hidden, fed = kind.fed * hidden;
        blocks = kind.gates + kind.saved, record = blocks * hidden * LANES;
        rows = inputs + 1 + hidden * (1 + kind.makes), padded = (units + 15) / 16 * 16;
        past = (1 + hidden) * LANES;
        const long made = kind.makes ? by::weights_of(hidden, hidden) : 0;
        by_x = 0;
        by_both = by_x + by::weights_of(first_recurrent, inputs + 1);
        by_past = by_both + by::weights_of(fed - first_recurrent, inputs + 1 + hidden);
        to_x = by_past + by::weights_of(units - fed, 1 + hidden);
        to_h = to_x + by::weights_of(inputs, fed);
        by_made = to_h + by::weights_of(hidden, units - first_recurrent);
        to_made = by_made + made;
        vectors = to_made + made;
        packed = (vectors + kind.vectors * hidden + 15) / 16 * 16;
        sum_vectors = rows * padded;
        sum_starts = sum_vectors + kind.vectors * hidden * SIXTEEN;
        found = sum_starts + 2 * hidden * SIXTEEN;
        sums = (found + (kind.vectors + 2) * hidden + 15) / 16 * 16;
    }
    const float* time(const float* sequence, long floats, long steps, const Layer& layer, long s) const {
        return sequence + (layer.backwards ? steps - 1 - s : s) * floats;
    }
};

inline void pack_layer(const Layer& layer, const float* row, float* packed) {
    const Plan plan(layer);
    const auto weight = [&](long read, long unit) {
        const int32_t at = layer.matrix[read * plan.units + unit];
        return at < 0 ? 0.0f : row[at];
    };
    const long one = plan.inputs, h = one + 1, made = h + plan.hidden;
    by::pack(packed + plan.by_x, plan.first_recurrent, one + 1, [&](long unit, long p) { return weight(p, unit); });
    by::pack(packed + plan.by_both, plan.fed - plan.first_recurrent, one + 1 + plan.hidden,
         [&](long unit, long p) { return weight(p, plan.first_recurrent + unit); });
    by::pack(packed + plan.by_past, plan.units - plan.fed, 1 + plan.hidden, [&](long unit, long p) { return weight(one + p, plan.fed + unit); });
    by::pack(packed + plan.to_x, plan.inputs, plan.fed, [&](long x, long p) { return weight(x, p); });
    by::pack(packed + plan.to_h, plan.hidden, plan.units - plan.first_recurrent,
         [&](long u, long p) { return weight(h + u, plan.first_recurrent + p); });
    if (kind_of(layer).makes) {
        by::pack(packed + plan.by_made, plan.hidden, plan.hidden, [&](long unit, long p) { return weight(made + p, unit); });
        by::pack(packed + plan.to_made, plan.hidden, plan.hidden, [&](long u, long p) { return weight(made + u, p); });
    }
    for (long v = 0; v < kind_of(layer).vectors * plan.hidden; ++v) packed[plan.vectors + v] = row[layer.vectors[v]];
}

// A state before the first step: learned, the same for every lane, or 0.
inline void begin(float* state, const int32_t* learned, const float* row, long hidden) {
    for (long u = 0; u < hidden; ++u) store(state + u * LANES, all(learned ? row[learned[u]] : 0.0f));
}

// `count` rows of (rows, features), from number `first` on, into lanes, or out of them.
inline void into_lanes(const float* from, long first, int count, long features, float* to) {
    for (int l = 0; l < LANES; ++l)
        for (long f = 0; f < features; ++f) to[f * LANES + l] = l < count ? from[(first + l) * features + f] : 0.0f;
}

inline void out_of_lanes(const float* from, long first, int count, long features, float* to) {
    for (int l = 0; l < count; ++l)
        for (long f = 0; f < features; ++f) to[(first + l) * features + f] = from[f * LANES + l];
}

// The states of a layer, (2, batch, hidden), h and then c: a group's rows go on from them, or begin anew, and leave theirs there.
struct Carried {
    float* states;  // null: none are left
    int64_t batch, first;  // first: the row of the group's first lane
    int count;
    bool goes_on;
    float* c(const Plan& plan) const { return states + batch * plan.hidden; }
};

// The whole sequence forward. Behind the records stays c before the first step.
inline void read_sequence(const Layer& layer, const float* packed, const float* row, const float* x, long steps, float* past, float* records,
                          const Carried& carried) {
    const Plan plan(layer);
    const Kind& kind = kind_of(layer);
    float* start_c = records + steps * plan.record;
    for (long s = 0; s <= steps; ++s) store(past + s * plan.past, all(1.0f));
    if (carried.goes_on) {
        into_lanes(carried.states, carried.first, carried.count, plan.hidden, past + LANES);
        into_lanes(carried.c(plan), carried.first, carried.count, plan.hidden, start_c);
    } else {
        begin(past + LANES, layer.start_h, row, plan.hidden);
        begin(start_c, layer.start_c, row, plan.hidden);
    }
    Step step{};
    step.hidden = plan.hidden, step.weights = packed + plan.vectors, step.c_before = start_c;
    for (long s = 0; s < steps; ++s) {
        const float *now = plan.time(x, plan.inputs * LANES, steps, layer, s), *before = past + s * plan.past;
        float* record = records + s * plan.record;
        by::multiply(packed + plan.by_x, plan.first_recurrent, {now, plan.inputs, before, 1}, record, false);
        by::multiply(packed + plan.by_both, plan.fed - plan.first_recurrent, {now, plan.inputs, before, 1 + plan.hidden},
                 record + plan.first_recurrent * LANES, false);
        by::multiply(packed + plan.by_past, plan.units - plan.fed, {before, 1 + plan.hidden, before, 0}, record + plan.fed * LANES, false);
        step.record = record, step.h_before = before + LANES, step.h_after = past + (s + 1) * plan.past + LANES;
        if (kind.makes) {
            kind.middle(step);
            const float* made = record + (plan.blocks - 1) * plan.hidden * LANES;
            by::multiply(packed + plan.by_made, plan.hidden, {made, plan.hidden, made, 0}, record, true);
        }
        kind.forward(step);
        step.c_before = record + plan.units * LANES;
    }
    if (!carried.states) return;
    out_of_lanes(past + steps * plan.past + LANES, carried.first, carried.count, plan.hidden, carried.states);
    if (kind.carries) out_of_lanes(step.c_before, carried.first, carried.count, plan.hidden, carried.c(plan));
}

// Room for one layer's way back.
struct Back {
    float *dh, *dc, *made;  // [hidden][LANES]
    float* turned;          // a tile of every sixteen units
    static long size(const Plan& plan) { return 3 * plan.hidden * LANES + plan.padded / SIXTEEN * by::turned_of(STRETCH); }
    Back(const Plan& plan, float* room) {
        dh = room, dc = dh + plan.hidden * LANES, made = dc + plan.hidden * LANES, turned = made + plan.hidden * LANES;
    }
};

// Add the weight gradient of own steps from `begin` up to `end`, whose gates hold their gradients.
inline void add_weight_gradient(const Layer& layer, const float* x, long steps, const float* past, const float* records, long begin, long end,
                                float* turned, float* sums) {
    const Plan plan(layer);
    const long width = plan.inputs * LANES, tiles = plan.padded / SIXTEEN, size = by::turned_of(STRETCH), own = end - begin;
    for (long tile = 0; tile < tiles; ++tile)
        by::turn(records + begin * plan.record + tile * SIXTEEN * LANES, plan.record, plan.units - tile * SIXTEEN, own, turned + tile * size);
    const auto add = [&](const float* read, long stride, long rows, long row, long from, long to) {
        if (from < to) by::add_over_steps(read, stride, rows, turned + from * size, size, to - from, own, sums + row * plan.padded + from * SIXTEEN, plan.padded);
    };
    const auto tiles_of = [](long units) { return (units + SIXTEEN - 1) / SIXTEEN; };
    add(plan.time(x, width, steps, layer, begin), layer.backwards ? -width : width, plan.inputs, 0, 0, tiles_of(plan.fed));
    // gates that h does not feed read the ones alone
    const long alone = plan.first_recurrent / SIXTEEN;
    add(past + begin * plan.past, plan.past, 1, plan.inputs, 0, alone);
    add(past + begin * plan.past, plan.past, 1 + plan.hidden, plan.inputs, alone, tiles);
    if (kind_of(layer).makes)
        add(records + begin * plan.record + (plan.blocks - 1) * plan.hidden * LANES, plan.record, plan.hidden, plan.inputs + 1 + plan.hidden, 0,
            tiles_of(plan.hidden));
}

// The whole sequence backward: gradients of weights are added to sums, those of x to dx where `adds`, or put there; none where dx is null.
// into(s, dh) adds to dh what reaches h after own step s from above. goes_on: whether the states before the first step were carried,
// beyond which no gradient goes
template <class Into>
inline void learn_sequence(const Layer& layer, const float* packed, const float* x, long steps, const float* past, float* records,
                           bool goes_on, const Into& into, float* dx, bool adds, float* room, float* sums) {
    const Plan plan(layer);
    const Kind& kind = kind_of(layer);
    const Back back(plan, room);
    for (long u = 0; u < plan.hidden; ++u) store(back.dh + u * LANES, all(0.0f)), store(back.dc + u * LANES, all(0.0f));
    const float* start_c = records + steps * plan.record;
    Step step{};
    step.hidden = plan.hidden, step.weights = packed + plan.vectors, step.sums = sums + plan.sum_vectors;
    step.dh = back.dh, step.dc = back.dc, step.made = back.made;
    for (long s = steps - 1, end = steps; s >= 0; --s) {
        float* record = records + s * plan.record;
        into(s, back.dh);
        step.record = record, step.h_before = past + s * plan.past + LANES;
        step.c_before = s ? record - plan.record + plan.units * LANES : start_c;
        kind.backward(step);
        if (kind.makes) {
            by::multiply(packed + plan.to_made, plan.hidden, {record, plan.hidden, record, 0}, back.made, false);
            kind.backward_middle(step);
        }
        const float* recurrent = record + plan.first_recurrent * LANES;
        by::multiply(packed + plan.to_h, plan.hidden, {recurrent, plan.units - plan.first_recurrent, recurrent, 0}, back.dh, true);
        if (dx)
            by::multiply(packed + plan.to_x, plan.inputs, {record, plan.fed, record, 0},
                     dx + (layer.backwards ? steps - 1 - s : s) * plan.inputs * LANES, adds);
        if (end - s == STRETCH || s == 0) {
            add_weight_gradient(layer, x, steps, past, records, s, end, back.turned, sums);
            end = s;
        }
    }
    for (long u = 0; !goes_on && u < plan.hidden; ++u) {
        float *h = sums + plan.sum_starts + u * SIXTEEN, *c = h + plan.hidden * SIXTEEN;
        store(h, load(h) + load(back.dh + u * LANES)), store(c, load(c) + load(back.dc + u * LANES));
    }
}

// Gradients of vectors and initial states, added up over lanes when all groups are in.
inline void settle(const Layer& layer, float* sums) {
    const Plan plan(layer);
    for (long v = 0; v < (kind_of(layer).vectors + 2) * plan.hidden; ++v) sums[plan.found + v] = sum_of(sums + plan.sum_vectors + v * SIXTEEN);
}

// Where the gradient of each parameter stands among a layer's sums, which begin at `base`.
inline void places_of_layer(const Layer& layer, long base, int32_t* places) {
    const Plan plan(layer);
    const auto note = [&](int32_t at, long place) {
        if (at >= 0) places[at] = static_cast<int32_t>(base + place);
    };
    for (long r = 0; r < plan.rows; ++r)
        for (long unit = 0; unit < plan.units; ++unit) note(layer.matrix[r * plan.units + unit], r * plan.padded + unit);
    const long vectors = kind_of(layer).vectors * plan.hidden;
    for (long v = 0; v < vectors; ++v) note(layer.vectors[v], plan.found + v);
    for (long u = 0; u < plan.hidden; ++u) {
        if (layer.start_h) note(layer.start_h[u], plan.found + vectors + u);
        if (layer.start_c) note(layer.start_c[u], plan.found + vectors + plan.hidden + u);
    }
}

}  // namespace WIDTH
