// Training on one window at a time: its units in the lanes, where a batch has windows.
//
// One window would fill one lane of sixteen. What such a step costs is the reading of weights, so they are read where they stand,
// in the row of parameters, and moved there: no copy of them is packed, and where few steps are read no gradient is written down.
// A matrix is rows of what is read by gates of units; all that is done with it goes through it row by row:
//
//     spread     gates[step][unit] += Σ_row x[step][row] · w[row][unit]       forward: lanes are units, one chain over the rows
//     gather     dx[step][row] = Σ_unit w[row][unit] · d[step][unit]          backward: a sum for each row, across its lanes last
//     move       w[row][unit] by Σ_step x[step][row] · d[step][unit]          the gradient in registers, and the optimiser's step
//
// The gradient of a matrix is a sum of as many products of two vectors as there are steps, so the square of its norm, which clipping
// asks for before anything is moved, is Σ_s Σ_t (d_s · d_t) (x_s · x_t): the vectors' own products, in double precision. That is done
// for up to FOLDED steps; for longer windows the gradient is written down once, and read by the norm and by the optimiser.
//
//     sequences  [depth + 1][steps][row]    what each layer reads, and what the head does
//     behind     [2][steps][row]            gradients of the sequence above a layer and of the one below it
//     per layer and direction: past [steps + 1][state], h before each step; records [steps][gates + saved][state], gradients in the
//                gates' place; start_c, dh, dc, made [state]; gradients of vectors [vectors][state]
//     scores     [charged][answers]         logits, then their gradients
//
// Here a state is `hidden` filled up to whole vectors. Threads share the units of every matrix, whole vectors of each gate, and the rows
// in `gather`; they meet when what one of them needs is of others. A unit's sums are the same chains whoever makes them, and what is
// summed over units is cut into pieces that know nothing of threads: so any number of threads gives the same bytes.
#pragma once

#include "epoch.h"
#include "forecast.h"

namespace WIDTH {

constexpr long FOLDED = 8;   // steps up to which no gradient is written down
constexpr long PIECE = 64;   // answers whose softmax is one thread's
constexpr int MOST_GATES = 4;
#if defined(LANES_AVX512)
constexpr int GATHER_ROWS = 8, GATHER_ROWS_OF_STEPS = 4;
#else
constexpr int GATHER_ROWS = 4, GATHER_ROWS_OF_STEPS = 2;
#endif

// A stretch of whole vectors, or of rows, that is one thread's.
struct Share { long from, to; };

INLINE Share share_of(long count, long grain, const Team& team) {
    const long grains = (count + grain - 1) / grain;
    return {grains * team.thread / team.threads * grain, grains * (team.thread + 1) / team.threads * grain};
}

// Which of many small tasks are this thread's.
struct Turns {
    const Team& team;
    long number = 0;
    INLINE bool mine() { return number++ % team.threads == team.thread; }
};

// A matrix within the row of parameters: element (row, gate, unit) stands at `at[gate] + row · stride + unit`.
struct Block {
    long rows, gates, units, stride;
    long at[MOST_GATES];

    Block(long rows, long units, long stride, long first) : rows(rows), gates(1), units(units), stride(stride), at{first} {}
    // of a layer: rows from the first on, and gates
    Block(const Layer& layer, long first, long rows, long first_gate, long end_gate)
        : rows(rows), gates(rows ? end_gate - first_gate : 0), units(layer.hidden), stride(0), at{} {
        const long all_gates = kind_of(layer).gates;
        const auto place = [&](long row, long gate) { return layer.matrix[((first + row) * all_gates + gate) * layer.hidden]; };
        for (long g = 0; g < gates; ++g) at[g] = place(0, first_gate + g);
        if (gates && rows > 1) stride = place(1, first_gate) - at[0];
    }
};

// body<SIZE>(first) for stretches of the sizes given, the largest first, until all are done.
template <int... SIZES, class Body>
INLINE void cut(long from, long to, const Body& body) {
    const auto stretches = [&]<int SIZE>() __attribute__((always_inline)) {
        for (; to - from >= SIZE; from += SIZE) body.template operator()<SIZE>(from);
    };
    (stretches.template operator()<SIZES>(), ...);
}

// body<true>(unit, 16) for whole vectors of a gate's units from `from` up to `to`, body<false>(unit, count) for what is left.
template <class Body>
INLINE void over_units(long units, Share own, const Body& body) {
    const long last = units / LANES * LANES;
    for (long u = own.from; u < own.to && u < last; u += LANES) body.template operator()<true>(u, LANES);
    if (last < units && own.from <= last && last < own.to) body.template operator()<false>(last, static_cast<int>(units - last));
}

template <bool WHOLE>
INLINE Lanes read_some(const float* from, int count) { return WHOLE ? load(from) : load_some(from, count); }

template <bool WHOLE>
INLINE void write_some(float* to, Lanes x, int count) { WHOLE ? store(to, x) : store_some(to, x, count); }

// y[step][gate][unit] += Σ_row x[step][row] · w[row][gate][unit], of the thread's units. y_stride: from step to step
SHARED void spread(const Block& block, const float* row, const float* x, long x_stride, long steps, float* y, long y_stride, Share own) {
    const long state = whole(block.units);
    cut<8, 4, 1>(0, block.rows, [&]<int ROWS>(long p) __attribute__((always_inline)) {
        cut<3, 1>(0, steps, [&]<int STEPS>(long s) __attribute__((always_inline)) {
            Lanes read[STEPS][ROWS];
            for (int n = 0; n < STEPS; ++n)
                for (int r = 0; r < ROWS; ++r) read[n][r] = all(x[(s + n) * x_stride + p + r]);
            for (long g = 0; g < block.gates; ++g) {
                const float* w = row + block.at[g] + p * block.stride;
                float* to = y + s * y_stride + g * state;
                over_units(block.units, own, [&]<bool WHOLE>(long u, int count) __attribute__((always_inline)) {
                    Lanes weight[ROWS];
#pragma GCC unroll 16
                    for (int r = 0; r < ROWS; ++r) weight[r] = read_some<WHOLE>(w + r * block.stride + u, count);
#pragma GCC unroll 16
                    for (int n = 0; n < STEPS; ++n) {
                        Lanes sum = load(to + n * y_stride + u);
#pragma GCC unroll 16
                        for (int r = 0; r < ROWS; ++r) sum = fma(read[n][r], weight[r], sum);
                        store(to + n * y_stride + u, sum);
                    }
                });
            }
        });
    });
}

// y[step][row] = Σ_gate Σ_unit w[row][gate][unit] · d[step][gate][unit], or += where it `adds`, of the thread's rows. y_stride: from step to step
SHARED void gather(const Block& block, const float* row, const float* d, long d_stride, long steps, float* y, long y_stride, bool adds, Share own) {
    const long state = whole(block.units), end = own.to < block.rows ? own.to : block.rows;
    const auto tile = [&]<int STEPS, int ROWS>(long s, long p) __attribute__((always_inline)) {
        Lanes sums[STEPS][ROWS];
        for (int n = 0; n < STEPS; ++n)
            for (int r = 0; r < ROWS; ++r) sums[n][r] = all(0.0f);
        for (long g = 0; g < block.gates; ++g) {
            const float *w = row + block.at[g] + p * block.stride, *from = d + s * d_stride + g * state;
            over_units(block.units, {0, state}, [&]<bool WHOLE>(long u, int count) __attribute__((always_inline)) {
                Lanes slope[STEPS];
#pragma GCC unroll 16
                for (int n = 0; n < STEPS; ++n) slope[n] = load(from + n * d_stride + u);
#pragma GCC unroll 16
                for (int r = 0; r < ROWS; ++r) {
                    const Lanes weight = read_some<WHOLE>(w + r * block.stride + u, count);
#pragma GCC unroll 16
                    for (int n = 0; n < STEPS; ++n) sums[n][r] = fma(slope[n], weight, sums[n][r]);
                }
            });
        }
        for (int n = 0; n < STEPS; ++n)
            for (int r = 0; r < ROWS; ++r) {
                float* to = y + (s + n) * y_stride + p + r;
                *to = adds ? *to + sum_of(sums[n][r]) : sum_of(sums[n][r]);
            }
    };
    cut<GATHER_ROWS, 1>(own.from, end, [&]<int ROWS>(long p) __attribute__((always_inline)) {
        cut<3, 1>(0, steps, [&]<int STEPS>(long s) __attribute__((always_inline)) {
            constexpr int AT_ONCE = STEPS == 1 || ROWS == 1 ? ROWS : GATHER_ROWS_OF_STEPS;
            for (int r = 0; r < ROWS; r += AT_ONCE) tile.template operator()<STEPS, AT_ONCE>(s, p + r);
        });
    });
}

// What a matrix's gradient is a sum of: the products of x[term][row] and d[term][gate][unit].
struct Terms {
    const float* x;
    long x_stride;
    const float* d;
    long d_stride, count;
};

// What is known of it besides, where no term is given or where there is more: null where there is nothing.
struct Known {
    const float* written;    // the gradient, at the parameters' own places
    const int32_t* slot_of;  // of a row among those that follow, or -1
    const float* rows;
    long stride;
};

// The matrix's gradient into its own places of a row of gradients, of the thread's units.
SHARED void write_gradient(const Block& block, const Terms& terms, float* gradient, Share own) {
    const long state = whole(block.units);
    cut<4, 1>(0, block.rows, [&]<int ROWS>(long p) __attribute__((always_inline)) {
        for (long g = 0; g < block.gates; ++g) {
            float* to = gradient + block.at[g] + p * block.stride;
            over_units(block.units, own, [&]<bool WHOLE>(long u, int count) __attribute__((always_inline)) {
                Lanes sums[ROWS];
                for (int r = 0; r < ROWS; ++r) sums[r] = all(0.0f);
                for (long t = 0; t < terms.count; ++t) {
                    const Lanes slope = load(terms.d + t * terms.d_stride + g * state + u);
#pragma GCC unroll 16
                    for (int r = 0; r < ROWS; ++r) sums[r] = fma(all(terms.x[t * terms.x_stride + p + r]), slope, sums[r]);
                }
                for (int r = 0; r < ROWS; ++r) write_some<WHOLE>(to + r * block.stride + u, sums[r], count);
            });
        }
    });
}

// A step of the optimiser for some rows and units of a matrix. TERMS: how many there are, so that the compiler knows it; ANY: `terms.count`
constexpr int ANY = -1;

template <bool ADAM, int TERMS>
SHARED void move_rows(const Block& block, const Terms& terms, const Known& known, const Optimiser& way, float scale, Share rows, Share own) {
    const Rule<ADAM> rule(way, scale);
    const long state = whole(block.units), count = TERMS == ANY ? terms.count : TERMS;
    for (long p = rows.from; p < rows.to && p < block.rows; ++p) {
        const float* more = known.slot_of && known.slot_of[p] >= 0 ? known.rows + known.slot_of[p] * known.stride : nullptr;
        for (long g = 0; g < block.gates; ++g) {
            const long at = block.at[g] + p * block.stride;
            over_units(block.units, own, [&]<bool WHOLE>(long u, int some) __attribute__((always_inline)) {
                Lanes gradient = known.written ? read_some<WHOLE>(known.written + at + u, some) : all(0.0f);
                for (long t = 0; t < count; ++t)
                    gradient = fma(all(terms.x[t * terms.x_stride + p]), load(terms.d + t * terms.d_stride + g * state + u), gradient);
                if (more) gradient = gradient + load(more + u);
                Lanes weight = read_some<WHOLE>(way.weights + at + u, some), first = read_some<WHOLE>(way.first + at + u, some);
                Lanes second = ADAM ? read_some<WHOLE>(way.second + at + u, some) : all(0.0f);
                rule.move(gradient, weight, first, second);
                write_some<WHOLE>(way.weights + at + u, weight, some), write_some<WHOLE>(way.first + at + u, first, some);
                if (ADAM) write_some<WHOLE>(way.second + at + u, second, some);
            });
        }
    }
}

template <bool ADAM>
INLINE void move_block(const Block& block, const Terms& terms, const Known& known, const Optimiser& way, float scale, Share rows, Share own) {
    switch (terms.count) {
        case 0: return move_rows<ADAM, 0>(block, terms, known, way, scale, rows, own);
        case 1: return move_rows<ADAM, 1>(block, terms, known, way, scale, rows, own);
        case 2: return move_rows<ADAM, 2>(block, terms, known, way, scale, rows, own);
        case 3: return move_rows<ADAM, 3>(block, terms, known, way, scale, rows, own);
        default: return move_rows<ADAM, ANY>(block, terms, known, way, scale, rows, own);
    }
}

// Σ a · b in double precision, always in the same order.
SHARED double dot(const float* a, const float* b, long count) {
    double sums[LANES] = {};
    long k = 0;
    for (; k + LANES <= count; k += LANES)
        for (int l = 0; l < LANES; ++l) sums[l] += static_cast<double>(a[k + l]) * static_cast<double>(b[k + l]);
    for (int l = 0; k < count; ++k, ++l) sums[l] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; ++l) sums[l] += sums[l + half];
    return sums[0];
}

// All products of so many vectors with one another.
using Products = double[FOLDED][FOLDED];

inline void multiply_all(const float* x, long stride, long vectors, long count, Products& found) {
    for (long s = 0; s < vectors; ++s)
        for (long t = 0; t <= s; ++t) found[s][t] = found[t][s] = dot(x + s * stride, x + t * stride, count);
}

// --- the room -----------------------------------------------------------------------------------

constexpr long SLICE = 4096;  // parameters whose squares are added up at once

// Where all that a network works with stands in a room, which begins at a line of the cache; with no room, its size.
struct Single {
    long parts, width, answers, padded, pieces, row, state, record, mask_row, edge_row, slices;
    bool folds, tied;
    float *sequences, *behind, *layers, *final, *final_back, *scores, *merged, *gradient;
    uint16_t *masks, *front_masks, *head_masks;
    double *tops, *totals, *right, *losses, *squares;
    Products* products;
    int32_t *slot_of, *ids;  // slot_of: of a word among the rows of the table that a window reads, or -1; ids: the words of those rows
    long part, cleared, size;  // cleared: floats that must be 0 before the first window

    Single(const Network& net, float* room) : size(0) {
        const long steps = net.steps;
        parts = net.depth * net.directions, width = width_of(net), answers = answers_of(net), padded = whole(answers);
        pieces = (answers + PIECE - 1) / PIECE, state = whole(net.layers[0].hidden);
        row = whole(width > net.inputs ? width : net.inputs) + LANES;
        mask_row = static_cast<long>(blocks_of(width)) + 1, edge_row = static_cast<long>(blocks_of(net.inputs)) + 1;
        slices = (net.parameters + SLICE - 1) / SLICE;
        folds = steps <= FOLDED, tied = is_tied(net);
        long blocks = 0, vectors = 0;
        for (long n = 0; n < parts; ++n) {
            const Kind& kind = kind_of(net.layers[n]);
            blocks = kind.gates + kind.saved > blocks ? kind.gates + kind.saved : blocks, vectors = kind.vectors > vectors ? kind.vectors : vectors;
        }
        record = blocks * state, part = (steps + 1) * state + steps * record + (4 + vectors) * state;
        const auto take = [&](long bytes) {
            float* taken = room ? room + size : nullptr;
            size += whole((bytes + 3) / 4);
            return static_cast<void*>(taken);
        };
        const auto floats = [&](long count) { return static_cast<float*>(take(4 * count)); };
        const auto doubles = [&](long count) { return static_cast<double*>(take(8 * count)); };
        const auto shorts = [&](long count) { return static_cast<uint16_t*>(take(2 * count)); };
        const auto ints = [&](long count) { return static_cast<int32_t*>(take(4 * count)); };
        sequences = floats((net.depth + 1) * steps * row), behind = floats(2 * steps * row), layers = floats(parts * part);
        final = floats(row), final_back = floats(row), scores = floats(steps * padded), merged = floats(steps * row);
        masks = shorts(net.depth * steps * mask_row), front_masks = shorts(steps * edge_row), head_masks = shorts(steps * mask_row);
        tops = doubles(steps * pieces), totals = doubles(steps * pieces), right = doubles(steps), losses = doubles(pieces);
        squares = doubles(slices + parts * 16 + steps + 1);
        products = static_cast<Products*>(take(folds ? static_cast<long>(sizeof(Products)) * (parts * (MOST_GATES + 3) + 2) : 0));
        slot_of = ints(net.words), ids = ints(steps + 1), cleared = size;
        gradient = floats(net.parameters), size += LANES;
    }
};

inline int64_t single_size(const Network& net) { return Single(net, nullptr).size; }

inline void single_begin(const Network& net, float* room) {
    const Single at(net, room);
    std::memset(room, 0, sizeof(float) * (at.folds ? at.cleared : at.size));
    for (long w = 0; w < net.words; ++w) at.slot_of[w] = -1;
}

// One layer in one direction.
struct Part {
    const Layer& layer;
    const Kind& kind;
    Block by_x, by_past, by_made;
    long first, state, record;  // first: the first step before which h may be other than 0
    float *past, *records, *start_c, *dh, *dc, *made, *vectors;
    Products* products;  // of each gate, of x, of h and of made

    Part(const Network& net, const Single& at, long l, long d)
        : layer(layer_of(net, l, d)), kind(kind_of(layer)), by_x(layer, 0, layer.inputs, 0, kind.fed),
          by_past(layer, layer.inputs + 1, layer.hidden, kind.recurrent, kind.gates),
          by_made(layer, layer.inputs + 1 + layer.hidden, kind.makes ? layer.hidden : 0, 0, kind.makes), first(layer.start_h ? 0 : 1), state(at.state),
          record(at.record) {
        const long number = l * net.directions + d;
        past = at.layers + number * at.part, records = past + (net.steps + 1) * state, start_c = records + net.steps * record;
        dh = start_c + state, dc = dh + state, made = dc + state, vectors = made + state;
        products = at.products ? at.products + number * (MOST_GATES + 3) : nullptr;
    }
    float* h(long s) const { return past + s * state; }
    float* gates(long s) const { return records + s * record; }
    float* makes(long s) const { return gates(s) + (kind.gates + kind.saved - 1) * state; }
    const float* c_before(long s) const { return s ? gates(s - 1) + kind.gates * state : start_c; }
    long bias(long gate) const { return layer.matrix[(layer.inputs * kind.gates + gate) * layer.hidden]; }

    // what the gradients of its three matrices are sums of; x of the first step, and from step to step
    Terms of_x(const float* x, long x_stride, long steps) const { return {x, x_stride, records, record, steps}; }
    Terms of_past(long steps) const { return {h(first), state, gates(first) + kind.recurrent * state, record, steps - first}; }
    Terms of_made(long steps) const { return {makes(0), record, records, record, steps}; }
};

// --- one window ---------------------------------------------------------------------------------

// A thread at work on a window. Steps s are a layer's own, times t are the window's.
struct Window {
    const Network& net;
    const Pass& pass;
    const float* row;
    const Single at;
    const Team& team;
    const int64_t number;  // of the window in the pass
    const long charged;    // how many rows the head reads

    Window(const Network& net, const Pass& pass, const float* row, float* room, const Team& team, int64_t number)
        : net(net), pass(pass), row(row), at(net, room), team(team), number(number), charged(net.words ? tokens_of(net, pass, number) : 1) {}

    void meet() const { team.meet(team.where); }
    Share units() const { return share_of(net.layers[0].hidden, LANES, team); }
    Share columns(long count) const { return share_of(count, LANES, team); }
    float* sequence(long l, long t) const { return at.sequences + (l * net.steps + t) * at.row; }
    float* behind(long l, long t) const { return at.behind + (l % 2 * net.steps + t) * at.row; }  // the gradient of sequence l
    const float* text(long t) const { return row + net.table + pass.ids[pass.firsts[number] + t] * static_cast<int64_t>(net.inputs); }
    int32_t id(long t) const { return pass.ids[pass.firsts[number] + t]; }
    long time(const Layer& layer, long s) const { return layer.backwards ? net.steps - 1 - s : s; }
    // what a layer reads at its own first step, and from step to step
    const float* first_read(const Part& part, long l) const { return sequence(l, time(part.layer, 0)); }
    long read_stride(const Part& part) const { return part.layer.backwards ? -at.row : at.row; }
    const float* heads(long k) const { return net.words ? sequence(net.depth, net.steps - charged + k) : at.final; }
    Terms of_head() const { return {heads(0), at.row, at.scores, at.padded, charged}; }
    Block head() const { return at.tied ? table() : Block(at.width, at.answers, at.answers, net.head[0]); }
    Block table() const { return Block(net.words, net.inputs, net.inputs, net.table); }
    long head_bias() const { return net.head[at.width * at.answers]; }
    // where the head is the table, what scores the words is what its rows are multiplied by
    Terms of_tied_head() const { return {at.scores, at.padded, heads(0), at.row, charged}; }

    // The mask of sixteen units from `unit` on.
    static uint16_t mask(const uint16_t* masks, long unit) {
        const uint32_t both = masks[unit / LANES] | static_cast<uint32_t>(masks[unit / LANES + 1]) << 16;
        return static_cast<uint16_t>(both >> unit % LANES);
    }
    const uint16_t* masks(long l, long t) const { return at.masks + (l * net.steps + t) * at.mask_row; }

    void draw(Turns& turns, const Masks& masks, long step, uint16_t* drawn) const {
        if (!turns.mine()) return;
        for (long block = 0; block < static_cast<long>(blocks_of(masks.units)); ++block)
            drawn[block] = draw_one(masks, static_cast<uint64_t>(pass.place + number), step, block);
    }

    // The masks, what the first layer reads, and the rows of the table that it is.
    void begin() const {
        Turns turns{team};
        const auto steps = static_cast<uint64_t>(net.steps), width = static_cast<uint64_t>(at.width);
        for (long l = 0; net.threshold && l < net.depth; ++l)
            for (long t = 0; t < net.steps; ++t)
                if (is_read(net, l, t))
                    draw(turns, {pass.seed, pass.epoch, static_cast<uint64_t>(l) << 8, OUTPUT_MASKS, steps, width, net.threshold}, t,
                         at.masks + (l * net.steps + t) * at.mask_row);
        for (long t = 0; net.edge_threshold && t < net.steps; ++t) {
            draw(turns, {pass.seed, pass.epoch, 0, FRONT_MASKS, steps, static_cast<uint64_t>(net.inputs), net.edge_threshold}, t,
                 at.front_masks + t * at.edge_row);
            draw(turns, {pass.seed, pass.epoch, 0, HEAD_MASKS, steps, width, net.edge_threshold}, t, at.head_masks + t * at.mask_row);
        }
        if (turns.mine() && net.words) list_rows();
        meet();
        const Share own = columns(net.inputs);
        for (long t = 0; t < net.steps; ++t) {
            const float* from = net.words ? text(t) : pass.values + (pass.firsts[number] + t) * net.inputs;
            over_units(net.inputs, own, [&]<bool WHOLE>(long i, int count) __attribute__((always_inline)) {
                Lanes x = read_some<WHOLE>(from + i, count);
                if (net.edge_threshold) x = zero_where(x * all(net.edge_scale), mask(at.front_masks + t * at.edge_row, i));
                store(sequence(0, t) + i, x);
            });
        }
        meet();
    }

    // The words of the window, each once, in the order in which they come; their number stands behind them.
    void list_rows() const {
        int32_t& rows = at.ids[net.steps];
        for (int32_t k = 0; k < rows; ++k) at.slot_of[at.ids[k]] = -1;
        rows = 0;
        for (long t = 0; t < net.steps; ++t)
            if (at.slot_of[id(t)] < 0) at.slot_of[id(t)] = rows, at.ids[rows++] = id(t);
    }

    Stage stage(const Part& part, long s) const {
        const Share own = units();
        return {part.layer.hidden, at.state, own.from, own.to, part.gates(s), part.h(s), part.c_before(s), part.h(s + 1), row, part.layer.vectors,
                part.vectors, part.dh, part.dc, part.made};
    }

    // --- forward

    void forward(long l, long d) const {
        const Part part(net, at, l, d);
        const Share own = units();
        const long hidden = part.layer.hidden;
        const auto begin_state = [&](float* state, const int32_t* learned) {
            if (learned) over_units(hidden, own, [&]<bool WHOLE>(long u, int count) { store(state + u, read_some<WHOLE>(row + learned[0] + u, count)); });
        };
        begin_state(part.h(0), part.layer.start_h), begin_state(part.start_c, part.layer.start_c);
        for (long g = 0; g < part.kind.gates; ++g)
            over_units(hidden, own, [&]<bool WHOLE>(long u, int count) {
                const Lanes bias = part.bias(g) < 0 ? all(0.0f) : read_some<WHOLE>(row + part.bias(g) + u, count);
                for (long s = 0; s < net.steps; ++s) store(part.gates(s) + g * at.state + u, bias);
            });
        spread(part.by_x, row, first_read(part, l), read_stride(part), net.steps, part.records, part.record, own);
        if (part.first == 0) meet();
        for (long s = 0; s < net.steps; ++s) {
            if (s >= part.first) spread(part.by_past, row, part.h(s), 0, 1, part.gates(s) + part.kind.recurrent * at.state, 0, own);
            if (part.kind.makes) {
                part.kind.middle_abreast(stage(part, s));
                meet();
                spread(part.by_made, row, part.makes(s), 0, 1, part.gates(s), 0, own);
            }
            part.kind.forward_abreast(stage(part, s));
            hand_up(part, l, d, s);
            meet();
        }
    }

    // What is read above: dropout, and what was read below where it is added; above the last layer, the head's dropout too.
    void hand_up(const Part& part, long l, long d, long s) const {
        const long t = time(part.layer, s), offset = d * part.layer.hidden;
        if (!is_read(net, l, t)) return;
        over_units(part.layer.hidden, units(), [&]<bool WHOLE>(long u, int count) __attribute__((always_inline)) {
            Lanes x = load(part.h(s + 1) + u);
            if (net.threshold) x = zero_where(x * all(net.scale), mask(masks(l, t), offset + u));
            if (net.residual && l) x = read_some<WHOLE>(sequence(l, t) + offset + u, count) + x;
            if (net.edge_threshold && l + 1 == net.depth) x = zero_where(x * all(net.edge_scale), mask(at.head_masks + t * at.mask_row, offset + u));
            write_some<WHOLE>(sequence(l + 1, t) + offset + u, x, count);
        });
    }

    // --- head

    // The answers, their loss, and its gradient in their place.
    double charge(float share, int64_t* right) const {
        if (!net.words) {
            const long hidden = net.layers[0].hidden;
            over_units(at.width, columns(at.width), [&]<bool WHOLE>(long u, int count) {
                for (long k = u; k < u + count; ++k) at.final[k] = sequence(net.depth, k < hidden ? net.steps - 1 : 0)[k];
            });
            meet();
        }
        const Share own = share_of(at.answers, PIECE, team);
        for (long k = 0; k < charged; ++k)
            over_units(at.answers, own, [&]<bool WHOLE>(long a, int count) {
                store(at.scores + k * at.padded + a, at.tied ? all(0.0f) : read_some<WHOLE>(row + head_bias() + a, count));
            });
        if (at.tied) {
            gather(table(), row, heads(0), at.row, charged, at.scores, at.padded, false, own);
            for (long k = 0; k < charged; ++k)
                for (long a = own.from; a < own.to && a < at.answers; ++a) at.scores[k * at.padded + a] += row[head_bias() + a];
        } else {
            spread(head(), row, heads(0), at.row, charged, at.scores, at.padded, own);
        }
        return net.words ? charge_words(share, own, right) : charge_forecast(share, own);
    }

    double charge_forecast(float share, Share own) const {
        for (long piece = own.from / PIECE; piece < own.to / PIECE && piece < at.pieces; ++piece) {
            at.losses[piece] = 0;
            for (long answer = piece * PIECE; answer < (piece + 1) * PIECE && answer < at.answers; ++answer) {
                const Cost own(net, pass, number, answer, at.scores[answer]);
                at.losses[piece] += static_cast<double>(own.cost);
                at.scores[answer] = own.slope * share;
            }
        }
        meet();
        double loss = 0;
        for (long piece = 0; piece < at.pieces; ++piece) loss += at.losses[piece];
        return loss;
    }

    // Softmax and cross-entropy: each piece of the words by its own largest score, then all by the largest of those.
    double charge_words(float share, Share own, int64_t* right) const {
        const auto over_own = [&](long k, const auto& body) {
            for (long from = own.from; from < own.to && from < at.answers; from += PIECE) {
                const long to = from + PIECE < at.answers ? from + PIECE : at.answers;
                body(at.scores + k * at.padded, from, to, id(net.steps - charged + k + 1), from / PIECE);
            }
        };
        const auto soften = [&](long k, float* scores, long from, long to, long target, long piece) {
            if (target >= from && target < to) at.right[k] = scores[target];
            Lanes largest = all(scores[from]), total = all(0.0f);
            over_units(at.answers, {from, to}, [&]<bool WHOLE>(long a, int count) __attribute__((always_inline)) {
                if (!WHOLE) store(scores + a, lanes_from(scores + a, count, scores[from]));
                largest = larger(largest, load(scores + a));
            });
            float each[LANES], top;
            store(each, largest);
            top = each[0];
            for (int l = 1; l < LANES; ++l) top = each[l] > top || each[l] != each[l] ? each[l] : top;
            over_units(at.answers, {from, to}, [&]<bool WHOLE>(long a, int count) __attribute__((always_inline)) {
                const Exponential e = exponential(larger(all(-87.0f), load(scores + a) - all(top)));
                Lanes power = fma(e.scale, e.rest, e.scale);
                if (!WHOLE) power = zero_where(power, static_cast<uint16_t>(0xffffu << count));
                store(scores + a, power);
                total = total + power;
            });
            at.tops[k * at.pieces + piece] = static_cast<double>(top), at.totals[k * at.pieces + piece] = static_cast<double>(sum_of(total));
        };
        for (long k = 0; k < charged; ++k)
            over_own(k, [&](float* scores, long from, long to, long target, long piece) { soften(k, scores, from, to, target, piece); });
        meet();
        double loss = 0;
        for (long k = 0; k < charged; ++k) {
            const double *tops = at.tops + k * at.pieces, *totals = at.totals + k * at.pieces;
            double top = tops[0], total = 0;
            for (long n = 1; n < at.pieces; ++n) top = tops[n] > top ? tops[n] : top;
            for (long n = 0; n < at.pieces; ++n) total += totals[n] * __builtin_exp(tops[n] - top);
            loss += __builtin_log(total) + top - at.right[k];
            *right += at.right[k] >= top;
            over_own(k, [&](float* scores, long from, long to, long target, long piece) {
                const Lanes factor = all(static_cast<float>(static_cast<double>(share) * __builtin_exp(tops[piece] - top) / total));
                for (long a = from; a < to; a += LANES) store(scores + a, load(scores + a) * factor);
                if (target >= from && target < to) scores[target] -= share;
            });
        }
        meet();
        return loss;
    }

    // The first `count` of sixteen, and `other` in place of the rest.
    static Lanes lanes_from(const float* from, int count, float other) {
        float made[LANES];
        for (int l = 0; l < LANES; ++l) made[l] = l < count ? from[l] : other;
        return load(made);
    }

    // The gradient of what the head read.
    void head_back() const {
        const long first = net.steps - charged;
        const Share own = columns(at.width);
        const long end = own.to < at.width ? own.to : at.width;
        for (long t = 0; t < net.steps && own.from < end; ++t)
            if (is_read(net, net.depth - 1, t)) std::memset(behind(net.depth, t) + own.from, 0, sizeof(float) * (end - own.from));
        float* to = net.words ? behind(net.depth, first) : at.final_back;
        if (at.tied)
            spread(table(), row, at.scores, at.padded, charged, to, at.row, own);
        else
            gather(head(), row, at.scores, at.padded, charged, to, at.row, false, own);
        const long hidden = net.layers[0].hidden;
        for (long u = own.from; !net.words && u < end; ++u) behind(net.depth, u < hidden ? net.steps - 1 : 0)[u] = to[u];
        if (net.edge_threshold) drop(net.depth, at.width, net.steps, at.head_masks, at.mask_row, net.edge_scale);
        meet();
    }

    // Dropout on the gradient of sequence l.
    void drop(long l, long count, long steps, const uint16_t* masks, long mask_row, float scale) const {
        for (long t = 0; t < steps; ++t)
            over_units(count, columns(count), [&]<bool WHOLE>(long u, int some) __attribute__((always_inline)) {
                float* x = behind(l, t) + u;
                write_some<WHOLE>(x, zero_where(read_some<WHOLE>(x, some) * all(scale), mask(masks + t * mask_row, u)), some);
            });
    }

    // --- backward

    void backward(long l, long d) const {
        const Part part(net, at, l, d);
        const Share own = units();
        const long hidden = part.layer.hidden, offset = d * hidden;
        for (long u = own.from; u < own.to; u += LANES) {
            store(part.dh + u, all(0.0f)), store(part.dc + u, all(0.0f));
            for (long v = 0; v < part.kind.vectors; ++v) store(part.vectors + v * at.state + u, all(0.0f));
        }
        for (long s = net.steps - 1; s >= 0; --s) {
            const long t = time(part.layer, s);
            if (is_read(net, l, t))
                over_units(hidden, own, [&]<bool WHOLE>(long u, int count) __attribute__((always_inline)) {
                    Lanes more = read_some<WHOLE>(behind(l + 1, t) + offset + u, count);
                    if (net.threshold) more = zero_where(more * all(net.scale), mask(masks(l, t), offset + u));
                    store(part.dh + u, load(part.dh + u) + more);
                });
            part.kind.backward_abreast(stage(part, s));
            if (part.kind.makes) {
                meet();
                gather(part.by_made, row, part.gates(s), 0, 1, part.made, 0, false, own);
                part.kind.backward_middle_abreast(stage(part, s));
            }
            meet();
            if (s >= part.first) gather(part.by_past, row, part.gates(s) + part.kind.recurrent * at.state, 0, 1, part.dh, 0, true, own);
        }
        if (l || net.words)
            gather(part.by_x, row, part.records, part.record, net.steps, behind(l, time(part.layer, 0)), read_stride(part), d > 0, columns(part.layer.inputs));
        add_pieces(part);
    }

    // Gradients that no product makes: of biases, vectors, and states before the first step.
    void add_pieces(const Part& part) const {
        const auto write = [&](long place, const float* from) {
            if (place >= 0)
                over_units(part.layer.hidden, units(),
                           [&]<bool WHOLE>(long u, int count) { write_some<WHOLE>(at.gradient + place + u, load(from + u), count); });
        };
        for (long g = 0; g < part.kind.gates; ++g) {
            if (part.bias(g) < 0) continue;
            over_units(part.layer.hidden, units(), [&]<bool WHOLE>(long u, int count) {
                Lanes sum = all(0.0f);
                for (long s = 0; s < net.steps; ++s) sum = sum + load(part.gates(s) + g * at.state + u);
                write_some<WHOLE>(at.gradient + part.bias(g) + u, sum, count);
            });
        }
        for (long v = 0; v < part.kind.vectors; ++v) write(part.layer.vectors[v * part.layer.hidden], part.vectors + v * at.state);
        if (part.layer.start_h) write(part.layer.start_h[0], part.dh);
        if (part.layer.start_c) write(part.layer.start_c[0], part.dc);
    }

    // body(place, count) for each of those stretches of parameters.
    template <class Body>
    void over_pieces_of(const Part& part, const Body& body) const {
        for (long g = 0; g < part.kind.gates; ++g)
            if (part.bias(g) >= 0) body(part.bias(g), part.layer.hidden);
        for (long v = 0; v < part.kind.vectors; ++v) body(part.layer.vectors[v * part.layer.hidden], part.layer.hidden);
        if (part.layer.start_h) body(part.layer.start_h[0], part.layer.hidden);
        if (part.layer.start_c) body(part.layer.start_c[0], part.layer.hidden);
    }

    void go_back() const {
        head_back();
        const Share answers = share_of(at.answers, PIECE, team);
        over_units(at.answers, answers, [&]<bool WHOLE>(long a, int count) {
            Lanes sum = all(0.0f);
            for (long k = 0; k < charged; ++k) sum = sum + load(at.scores + k * at.padded + a);
            write_some<WHOLE>(at.gradient + head_bias() + a, sum, count);
        });
        for (long l = net.depth - 1; l >= 0; --l) {
            for (long d = 0; d < net.directions; ++d) backward(l, d);
            for (long t = 0; net.residual && l && t < net.steps; ++t)
                over_units(at.width, columns(at.width), [&]<bool WHOLE>(long u, int count) {
                    float* x = behind(l, t) + u;
                    const Lanes above = is_read(net, l, t) ? read_some<WHOLE>(behind(l + 1, t) + u, count) : all(0.0f);
                    write_some<WHOLE>(x, read_some<WHOLE>(x, count) + above, count);
                });
            meet();
        }
        if (net.words) merge_rows();
    }

    // The gradients of the table's rows: those of a word that comes twice added up.
    void merge_rows() const {
        const Share own = columns(net.inputs);
        if (net.edge_threshold) drop(0, net.inputs, net.steps, at.front_masks, at.edge_row, net.edge_scale);
        over_units(net.inputs, own, [&]<bool WHOLE>(long i, int count) {
            for (int32_t k = 0; k < at.ids[net.steps]; ++k) store(at.merged + k * at.row + i, all(0.0f));
            for (long t = 0; t < net.steps; ++t) {
                float* to = at.merged + at.slot_of[id(t)] * at.row + i;
                store(to, load(to) + read_some<WHOLE>(behind(0, t) + i, count));
            }
        });
    }

    // --- the norm

    double squares() const {
        if (!at.folds) write_all();
        meet();
        Turns turns{team};
        double* to = at.squares;
        const auto square = [&](const float* x, long count) {
            if (turns.mine()) *to = dot(x, x, count);
            ++to;
        };
        const bool apart = net.words && !at.tied;  // the table's gradient is its rows'
        if (at.folds)
            square_factors(turns, square);
        else
            for (long k = apart ? net.table + net.words * static_cast<long>(net.inputs) : 0; k < net.parameters; k += SLICE)
                square(at.gradient + k, k + SLICE < net.parameters ? SLICE : net.parameters - k);
        for (int32_t k = 0; (apart || (at.folds && at.tied)) && k < at.ids[net.steps]; ++k) square(at.merged + k * at.row, net.inputs);
        meet();
        double found = 0;
        for (const double* from = at.squares; from < to; ++from) found += *from;
        return at.folds ? found + squares_of_products() : found;
    }

    template <class Square>
    void square_factors(Turns& turns, const Square& square) const {
        const auto all_products = [&](const float* x, long stride, long vectors, long count, Products& found) {
            if (turns.mine()) multiply_all(x, stride, vectors, count, found);
        };
        for (long l = 0; l < net.depth; ++l)
            for (long d = 0; d < net.directions; ++d) {
                const Part part(net, at, l, d);
                const long hidden = part.layer.hidden;
                for (long g = 0; g < part.kind.gates; ++g) all_products(part.gates(0) + g * at.state, part.record, net.steps, hidden, part.products[g]);
                all_products(first_read(part, l), read_stride(part), net.steps, part.layer.inputs, part.products[MOST_GATES]);
                all_products(part.h(0), at.state, net.steps, hidden, part.products[MOST_GATES + 1]);
                if (part.kind.makes) all_products(part.makes(0), part.record, net.steps, hidden, part.products[MOST_GATES + 2]);
                over_pieces_of(part, [&](long place, long count) { square(at.gradient + place, count); });
            }
        Products* head = at.products + at.parts * (MOST_GATES + 3);
        all_products(heads(0), at.row, charged, at.width, head[0]);
        all_products(at.scores, at.padded, charged, at.answers, head[1]);
        square(at.gradient + head_bias(), at.answers);
    }

    double squares_of_products() const {
        double found = 0;
        const auto add = [&](const Products& x, const Products& d, long first, long count) {
            for (long s = first; s < count; ++s)
                for (long t = first; t < count; ++t) found += x[s][t] * d[s][t];
        };
        for (long l = 0; l < net.depth; ++l)
            for (long d = 0; d < net.directions; ++d) {
                const Part part(net, at, l, d);
                for (long g = 0; g < part.kind.fed; ++g) add(part.products[MOST_GATES], part.products[g], 0, net.steps);
                for (long g = part.kind.recurrent; g < part.kind.gates; ++g) add(part.products[MOST_GATES + 1], part.products[g], part.first, net.steps);
                if (part.kind.makes) add(part.products[MOST_GATES + 2], part.products[0], 0, net.steps);
            }
        const Products* head = at.products + at.parts * (MOST_GATES + 3);
        add(head[0], head[1], 0, charged);
        for (int32_t n = 0; at.tied && n < at.ids[net.steps]; ++n)  // where a row of the table is both read and scored
            for (long k = 0; k < charged; ++k)
                found += 2 * static_cast<double>(at.scores[k * at.padded + at.ids[n]]) * dot(at.merged + n * at.row, heads(k), net.inputs);
        return found < 0 ? 0 : found;  // NaN stays
    }

    // All gradients at their parameters' places.
    void write_all() const {
        const Share own = units();
        for (long l = 0; l < net.depth; ++l)
            for (long d = 0; d < net.directions; ++d) {
                const Part part(net, at, l, d);
                write_gradient(part.by_x, part.of_x(first_read(part, l), read_stride(part), net.steps), at.gradient, own);
                write_gradient(part.by_past, part.of_past(net.steps), at.gradient, own);
                write_gradient(part.by_made, part.of_made(net.steps), at.gradient, own);
            }
        if (!at.tied) return write_gradient(head(), of_head(), at.gradient, share_of(at.answers, PIECE, team));
        const Share inputs = columns(net.inputs);
        write_gradient(table(), of_tied_head(), at.gradient, inputs);
        for (int32_t n = 0; n < at.ids[net.steps]; ++n)
            over_units(net.inputs, inputs, [&]<bool WHOLE>(long i, int count) {
                float* to = at.gradient + net.table + at.ids[n] * static_cast<long>(net.inputs) + i;
                write_some<WHOLE>(to, read_some<WHOLE>(to, count) + load(at.merged + n * at.row + i), count);
            });
    }

    // --- the optimiser's step

    template <bool ADAM>
    void move(const Optimiser& way, float scale) const {
        const Known written{at.folds ? nullptr : at.gradient, nullptr, nullptr, 0}, read{written.written, at.slot_of, at.merged, at.row};
        const auto folded = [&](Terms terms) { return at.folds ? terms : Terms{}; };
        // by whole rows: a thread's own units would be a piece of each, and memory is read fastest from front to back
        const auto go = [&](const Block& block, const Terms& terms) {
            move_block<ADAM>(block, folded(terms), written, way, scale, share_of(block.rows, 1, team), {0, whole(block.units)});
        };
        const auto go_piece = [&](long place, long count, Share own) {
            move_block<ADAM>(Block(1, count, 0, place), {}, {at.gradient, nullptr, nullptr, 0}, way, scale, {0, 1}, own);
        };
        const Share own = units(), answers = share_of(at.answers, PIECE, team);
        for (long l = 0; l < net.depth; ++l)
            for (long d = 0; d < net.directions; ++d) {
                const Part part(net, at, l, d);
                go(part.by_x, part.of_x(first_read(part, l), read_stride(part), net.steps));
                go(part.by_past, part.of_past(net.steps));
                go(part.by_made, part.of_made(net.steps));
                over_pieces_of(part, [&](long place, long count) { go_piece(place, count, own); });
            }
        if (!at.tied) go(head(), of_head());
        go_piece(head_bias(), at.answers, answers);
        if (!net.words) return;
        const Share rows = share_of(net.words, 1, team), inputs{0, whole(net.inputs)};
        if (at.tied)
            move_block<ADAM>(table(), folded(of_tied_head()), at.folds ? read : written, way, scale, rows, inputs);
        else
            move_block<ADAM>(table(), {}, {nullptr, at.slot_of, at.merged, at.row}, way, scale, rows, inputs);
    }
};

// One window there and back: its loss, into squares that of its gradient's norm, and into right its words that were scored highest. Every
// thread of the team gets the same.
inline double learn_single(const Network& net, const Pass& pass, const float* row, float* room, int64_t number, float share, const Team& team,
                           double* squares, int64_t* right) {
    const Window window(net, pass, row, room, team, number);
    window.begin();
    for (long l = 0; l < net.depth; ++l)
        for (long d = 0; d < net.directions; ++d) window.forward(l, d);
    const double loss = window.charge(share, right);
    window.go_back();
    *squares = window.squares();
    return loss;
}

// What `learn_single` found moves the weights. scale: of the gradient
inline void move_single(const Network& net, const Pass& pass, const Optimiser& way, float* room, int64_t number, float scale, const Team& team) {
    const Window window(net, pass, way.weights, room, team, number);
    way.adam ? window.move<true>(way, scale) : window.move<false>(way, scale);
}

}  // namespace WIDTH
