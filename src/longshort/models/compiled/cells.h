// The cells: each a rule unit by unit over all lanes, forward and backward.
//
// A product has filled the gates with what the unit's rows of W, b and R gave. `forward` returns h (and c, where the cell
// carries one) after the step, leaving in gates and saved blocks what `backward` needs. `backward` is given the gradients
// of h and c after the step; it puts into each gate the gradient of what the product gave, adds those of the cell's
// vectors, and returns what reaches h and c before the step by the rule itself, not through R.
//
// Each is one rule for three ways to lay it over lanes: a `Unit` is one unit of a group of windows, for training on batches;
// an `Abreast` is as many units of one window, for training on it; `Across` is that for a forecast, where there is no way back.
//
// To add one: a struct here, a line in CELLS below, and an entry in cells.py, which says where its weights are found.
#pragma once

#include "lanes.h"

namespace WIDTH {

struct State { Lanes h, c; };

// One unit of one step.
struct Unit {
    float* record;  // its lanes of the first block; others stand `stride` floats apart, saved blocks behind the gates
    long stride;
    const float* weights;  // its entry of the first vector; others stand `hidden` apart
    long hidden;
    float* sums;  // gradients of vectors, lane by lane, `hidden` sixteens apart
    Lanes h, c;   // before the step

    INLINE Lanes get(int block) const { return load(record + block * stride); }
    INLINE void set(int block, Lanes x) const { store(record + block * stride, x); }
    INLINE Lanes vector(int v) const { return all(weights[v * hidden]); }
    INLINE void add(int v, Lanes x) const {
        float* to = sums + v * hidden * SIXTEEN;
        store(to, load(to) + x);
    }
};

// Sixteen units of one step of one window, side by side, with all that the way back needs. Blocks are filled up to whole
// vectors; weights stand in the row of parameters itself, where others' follow, so no more are read than there are units.
struct Abreast {
    float* record;  // as in `Unit`
    long stride;
    const float* weights;    // the row of parameters
    const int32_t* vectors;  // where the first unit of these stands in it
    long hidden;
    int own;  // lanes that are units; in the others all is 0 or reaches nothing
    float* sums;
    Lanes h, c;

    INLINE Lanes get(int block) const { return load(record + block * stride); }
    INLINE void set(int block, Lanes x) const { store(record + block * stride, x); }
    INLINE Lanes vector(int v) const { return load_some(weights + vectors[v * hidden], own); }
    INLINE void add(int v, Lanes x) const { store(sums + v * stride, load(sums + v * stride) + x); }
};

// As many units as lanes of one step of one window, side by side. There is no way back, so nothing is kept for it: only what `middle`
// leaves in the gates for `forward`. Lanes beyond the last unit hold what stands behind it in memory, and reach nothing.
template <bool KEEPS>
struct Across {
    float* gates;  // of the first gate; others stand `stride` floats apart
    long stride;
    const float* weights;  // of the first vector; others stand `hidden` apart
    long hidden;
    Lanes h, c;  // before the step

    INLINE Lanes get(int gate) const { return load(gates + gate * stride); }
    INLINE void set(int gate, Lanes x) const {
        if constexpr (KEEPS) store(gates + gate * stride, x);
    }
    INLINE Lanes vector(int v) const { return load(weights + v * hidden); }
};

INLINE Lanes slope_of_sigmoid(Lanes y) { return y * (all(1.0f) - y); }
INLINE Lanes slope_of_tanh(Lanes y) { return fma(all(0.0f) - y, y, all(1.0f)); }
INLINE Lanes nothing() { return all(0.0f); }

// What a cell that says nothing has.
struct Plain {
    static constexpr int SAVED = 0;       // blocks kept for `backward` besides the gates; c is the first
    static constexpr int VECTORS = 0;
    static constexpr bool CARRIES = false;  // whether there is a c
    static constexpr bool MAKES = false;    // whether the first gate also reads a state that `middle` makes, the last saved block
};

// h = tanh or relu of the product; with u, of the product + u ⊙ h₋₁.
template <bool RELU, bool INDEPENDENT>
struct Elman : Plain {
    static constexpr int GATES = 1, VECTORS = INDEPENDENT;
    static INLINE State forward(const auto& x) {
        const Lanes a = INDEPENDENT ? fma(x.vector(0), x.h, x.get(0)) : x.get(0);
        const Lanes h = RELU ? zero_unless_positive(a, a) : tanh(a);
        x.set(0, h);
        return {h, nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes h = x.get(0), a = RELU ? zero_unless_positive(d.h, h) : d.h * slope_of_tanh(h);
        x.set(0, a);
        if (!INDEPENDENT) return {nothing(), nothing()};
        x.add(0, a * x.h);
        return {a * x.vector(0), nothing()};
    }
};

// The LSTM, and what Greff et al. took away from it. Gates, those that there are: i, f, o, z; saved: c and what o lets out.
enum Parts { INPUT = 1, FORGET = 2, OUTPUT = 4, PEEPHOLES = 8, COUPLED = 16, LINEAR_INPUT = 32, LINEAR_OUTPUT = 64 };

template <int HAS>
struct Lstm : Plain {
    static constexpr bool I = HAS & INPUT, F = HAS & FORGET, O = HAS & OUTPUT, P = HAS & PEEPHOLES;
    static constexpr int AT_F = I, AT_O = I + F, AT_Z = I + F + O, C = AT_Z + 1, OUT = C + 1;
    static constexpr int GATES = C, SAVED = 2, VECTORS = P ? AT_Z : 0;
    static constexpr bool CARRIES = true;

    static INLINE Lanes open(const auto& x, int gate, Lanes c) {
        const Lanes a = x.get(gate), y = sigmoid(P ? fma(x.vector(gate), c, a) : a);
        x.set(gate, y);
        return y;
    }
    static INLINE State forward(const auto& x) {
        const Lanes i = I ? open(x, 0, x.c) : all(1.0f), f = F ? open(x, AT_F, x.c) : HAS & COUPLED ? all(1.0f) - i : all(1.0f);
        const Lanes z = HAS & LINEAR_INPUT ? x.get(AT_Z) : tanh(x.get(AT_Z));
        const Lanes written = I ? i * z : z, c = F || HAS & COUPLED ? fma(f, x.c, written) : x.c + written;
        const Lanes out = HAS & LINEAR_OUTPUT ? c : tanh(c);
        x.set(AT_Z, z), x.set(C, c), x.set(OUT, out);
        return {O ? open(x, AT_O, c) * out : out, c};
    }
    static INLINE void shut(const auto& x, int gate, Lanes slope, Lanes read, Lanes* c) {
        x.set(gate, slope);
        if (!P) return;
        *c = fma(slope, x.vector(gate), *c);
        x.add(gate, slope * read);
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes out = x.get(OUT), z = x.get(AT_Z), o = O ? x.get(AT_O) : all(1.0f), through = O ? d.h * o : d.h;
        Lanes c = HAS & LINEAR_OUTPUT ? d.c + through : fma(through, slope_of_tanh(out), d.c);
        if (O) shut(x, AT_O, d.h * out * slope_of_sigmoid(o), x.get(C), &c);
        const Lanes i = I ? x.get(0) : all(1.0f), f = F ? x.get(AT_F) : HAS & COUPLED ? all(1.0f) - i : all(1.0f);
        const Lanes written = I ? c * i : c;
        x.set(AT_Z, HAS & LINEAR_INPUT ? written : written * slope_of_tanh(z));
        Lanes before = F || HAS & COUPLED ? c * f : c;
        if (I) shut(x, 0, c * (HAS & COUPLED ? z - x.c : z) * slope_of_sigmoid(i), x.c, &before);
        if (F) shut(x, AT_F, c * x.c * slope_of_sigmoid(f), x.c, &before);
        return {nothing(), before};
    }
};

// Hochreiter and Schmidhuber's own: gates i, o, g; saved: c and 2 σ(c) - 1.
struct Lstm1997 : Plain {
    static constexpr int GATES = 3, SAVED = 2;
    static constexpr bool CARRIES = true;
    static INLINE State forward(const auto& x) {
        const Lanes i = sigmoid(x.get(0)), o = sigmoid(x.get(1)), g = sigmoid(x.get(2));
        const Lanes c = fma(i, fma(all(4.0f), g, all(-2.0f)), x.c), out = sigmoid(c);
        x.set(0, i), x.set(1, o), x.set(2, g), x.set(3, c), x.set(4, out);
        return {o * fma(all(2.0f), out, all(-1.0f)), c};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes i = x.get(0), o = x.get(1), g = x.get(2), out = x.get(4);
        const Lanes c = fma(d.h * o * all(2.0f), slope_of_sigmoid(out), d.c);
        x.set(0, c * fma(all(4.0f), g, all(-2.0f)) * slope_of_sigmoid(i));
        x.set(1, d.h * fma(all(2.0f), out, all(-1.0f)) * slope_of_sigmoid(o));
        x.set(2, c * i * all(4.0f) * slope_of_sigmoid(g));
        return {nothing(), c};
    }
};

// The GRU that resets after the product: gates W_n x + b_n, r, z, R_n h₋₁ + b'_n.
struct Gru : Plain {
    static constexpr int GATES = 4;
    static INLINE State forward(const auto& x) {
        const Lanes r = sigmoid(x.get(1)), z = sigmoid(x.get(2)), n = tanh(fma(r, x.get(3), x.get(0)));
        x.set(0, n), x.set(1, r), x.set(2, z);
        return {fma(z, x.h - n, n), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes n = x.get(0), r = x.get(1), z = x.get(2), past = x.get(3);
        const Lanes a = d.h * (all(1.0f) - z) * slope_of_tanh(n);
        x.set(0, a);
        x.set(1, a * past * slope_of_sigmoid(r));
        x.set(2, d.h * (x.h - n) * slope_of_sigmoid(z));
        x.set(3, a * r);
        return {d.h * z, nothing()};
    }
};

// Cells whose candidate reads g ⊙ h₋₁ for a gate g of the same step. `middle` makes that state when g is known;
// `backward_middle` is given its gradient once the candidate's is known, and adds to h what reaches it so.
// KEEPS: whether z keeps the old state (GRU) or lets the new one in (MUT2).
template <bool KEEPS>
struct ResetBefore : Plain {  // gates n, r, z
    static constexpr int GATES = 3, SAVED = 1;
    static constexpr bool MAKES = true;
    static INLINE Lanes middle(const auto& x) {
        const Lanes r = sigmoid(x.get(1));
        x.set(1, r), x.set(2, sigmoid(x.get(2)));
        return r * x.h;
    }
    static INLINE State forward(const auto& x) {
        const Lanes n = tanh(x.get(0)), z = x.get(2);
        x.set(0, n);
        return {KEEPS ? fma(z, x.h - n, n) : fma(z, n - x.h, x.h), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes n = x.get(0), z = x.get(2), other = all(1.0f) - z;
        x.set(0, d.h * (KEEPS ? other : z) * slope_of_tanh(n));
        x.set(2, d.h * (KEEPS ? x.h - n : n - x.h) * slope_of_sigmoid(z));
        return {d.h * (KEEPS ? z : other), nothing()};
    }
    static INLINE Lanes backward_middle(const auto& x, Lanes made) {
        const Lanes r = x.get(1);
        x.set(1, made * x.h * slope_of_sigmoid(r));
        return made * r;
    }
};

struct Mgu : Plain {  // gates n, f; saved: the gradient of f that comes by the mixture, then f ⊙ h₋₁
    static constexpr int GATES = 2, SAVED = 2;
    static constexpr bool MAKES = true;
    static INLINE Lanes middle(const auto& x) {
        const Lanes f = sigmoid(x.get(1));
        x.set(1, f);
        return f * x.h;
    }
    static INLINE State forward(const auto& x) {
        const Lanes n = tanh(x.get(0));
        x.set(0, n);
        return {fma(x.get(1), n - x.h, x.h), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes n = x.get(0), f = x.get(1);
        x.set(0, d.h * f * slope_of_tanh(n)), x.set(2, d.h * (n - x.h));
        return {d.h * (all(1.0f) - f), nothing()};
    }
    static INLINE Lanes backward_middle(const auto& x, Lanes made) {
        const Lanes f = x.get(1);
        x.set(1, fma(made, x.h, x.get(2)) * slope_of_sigmoid(f));
        return made * f;
    }
};

struct Janet : Plain {  // gates f, g; saved: 1 - σ(s - 1)
    static constexpr int GATES = 2, SAVED = 1;
    static INLINE State forward(const auto& x) {
        const Lanes s = x.get(0), f = sigmoid(s), i = sigmoid(all(1.0f) - s), g = tanh(x.get(1));
        x.set(0, f), x.set(1, g), x.set(2, i);
        return {fma(f, x.h, i * g), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes f = x.get(0), g = x.get(1), i = x.get(2);
        x.set(0, d.h * (x.h * slope_of_sigmoid(f) - g * slope_of_sigmoid(i)));
        x.set(1, d.h * i * slope_of_tanh(g));
        return {d.h * f, nothing()};
    }
};

struct Ugrnn : Plain {  // gates g, c
    static constexpr int GATES = 2;
    static INLINE State forward(const auto& x) {
        const Lanes g = sigmoid(x.get(0)), c = tanh(x.get(1));
        x.set(0, g), x.set(1, c);
        return {fma(g, x.h - c, c), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes g = x.get(0), c = x.get(1);
        x.set(0, d.h * (x.h - c) * slope_of_sigmoid(g));
        x.set(1, d.h * (all(1.0f) - g) * slope_of_tanh(c));
        return {d.h * g, nothing()};
    }
};

struct MinLstm : Plain {  // gates i, f, n; saved: the share that is kept
    static constexpr int GATES = 3, SAVED = 1;
    static INLINE State forward(const auto& x) {
        const Lanes i = sigmoid(x.get(0)), f = sigmoid(x.get(1)), n = x.get(2), kept = f / (f + i);
        x.set(0, i), x.set(1, f), x.set(3, kept);
        return {fma(kept, x.h - n, n), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes i = x.get(0), f = x.get(1), n = x.get(2), kept = x.get(3), other = all(1.0f) - kept;
        const Lanes mixed = d.h * (x.h - n) * kept * other;  // kept = f / (f + i), so its slopes are ± kept · (1 - kept), logarithmic
        x.set(0, (all(0.0f) - mixed) * (all(1.0f) - i));
        x.set(1, mixed * (all(1.0f) - f));
        x.set(2, d.h * other);
        return {d.h * kept, nothing()};
    }
};

struct MinGru : Plain {  // gates z, n
    static constexpr int GATES = 2;
    static INLINE State forward(const auto& x) {
        const Lanes z = sigmoid(x.get(0)), n = x.get(1);
        x.set(0, z);
        return {fma(z, n - x.h, x.h), nothing()};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes z = x.get(0), n = x.get(1);
        x.set(0, d.h * (n - x.h) * slope_of_sigmoid(z));
        x.set(1, d.h * z);
        return {d.h * (all(1.0f) - z), nothing()};
    }
};

struct Sru : Plain {  // gates f, r, n, s; vectors v_f, v_r; saved: c
    static constexpr int GATES = 4, SAVED = 1, VECTORS = 2;
    static constexpr bool CARRIES = true;
    static INLINE State forward(const auto& x) {
        const Lanes f = sigmoid(fma(x.vector(0), x.c, x.get(0))), r = sigmoid(fma(x.vector(1), x.c, x.get(1)));
        const Lanes n = x.get(2), s = x.get(3), c = fma(f, x.c - n, n);
        x.set(0, f), x.set(1, r), x.set(4, c);
        return {fma(r, c - s, s), c};
    }
    static INLINE State backward(const auto& x, State d) {
        const Lanes f = x.get(0), r = x.get(1), n = x.get(2), s = x.get(3), dc = fma(d.h, r, d.c);
        const Lanes at_r = d.h * (x.get(4) - s) * slope_of_sigmoid(r), at_f = dc * (x.c - n) * slope_of_sigmoid(f);
        x.set(0, at_f), x.set(1, at_r), x.set(2, dc * (all(1.0f) - f)), x.set(3, d.h * (all(1.0f) - r));
        x.add(0, at_f * x.c), x.add(1, at_r * x.c);
        return {nothing(), fma(dc, f, fma(at_f, x.vector(0), at_r * x.vector(1)))};
    }
};

// One step of a layer, all units.
struct Step {
    long hidden;
    float* record;                // [blocks][hidden][LANES]
    const float *h_before, *c_before;
    float* h_after;
    const float* weights;         // vectors
    float* sums;                  // of their gradients, [vectors][hidden][16]
    float *dh, *dc;               // in: of h and c after the step; out: of those before it, by the rule itself
    const float* made;            // in `backward_middle`: the gradient of the state that `middle` makes
};

template <class Cell>
INLINE Unit unit(const Step& step, long u) {
    return {step.record + u * LANES, step.hidden * LANES, step.weights + u, step.hidden, step.sums + u * SIXTEEN,
            load(step.h_before + u * LANES), Cell::CARRIES ? load(step.c_before + u * LANES) : nothing()};
}

template <class Cell>
void forward(const Step& step) {
    for (long u = 0; u < step.hidden; ++u) store(step.h_after + u * LANES, Cell::forward(unit<Cell>(step, u)).h);
}

template <class Cell>
void middle(const Step& step) {
    if constexpr (Cell::MAKES)
        for (long u = 0; u < step.hidden; ++u) {
            const Unit x = unit<Cell>(step, u);
            x.set(Cell::GATES + Cell::SAVED - 1, Cell::middle(x));
        }
}

template <class Cell>
void backward(const Step& step) {
    for (long u = 0; u < step.hidden; ++u) {
        float *dh = step.dh + u * LANES, *dc = step.dc + u * LANES;
        const State before = Cell::backward(unit<Cell>(step, u), {load(dh), Cell::CARRIES ? load(dc) : nothing()});
        store(dh, before.h);
        if (Cell::CARRIES) store(dc, before.c);
    }
}

template <class Cell>
void backward_middle(const Step& step) {
    if constexpr (Cell::MAKES)
        for (long u = 0; u < step.hidden; ++u) {
            float* dh = step.dh + u * LANES;
            store(dh, load(dh) + Cell::backward_middle(unit<Cell>(step, u), load(step.made + u * LANES)));
        }
}

// One step of a layer over one window with a way back: units `from` to `to`, both at whole vectors.
struct Stage {
    long hidden, stride, from, to;
    float* record;                // [blocks][stride]
    const float *h_before, *c_before;
    float* h_after;
    const float* weights;         // the row of parameters
    const int32_t* vectors;
    float* sums;                  // [vectors][stride]
    float *dh, *dc;               // as in `Step`
    const float* made;
};

template <class Cell>
INLINE Abreast abreast(const Stage& stage, long u) {
    const long left = stage.hidden - u;
    return {stage.record + u, stage.stride, stage.weights, Cell::VECTORS ? stage.vectors + u : nullptr, stage.hidden, static_cast<int>(left < LANES ? left : LANES),
            stage.sums + u, load(stage.h_before + u), Cell::CARRIES ? load(stage.c_before + u) : nothing()};
}

template <class Cell>
void forward_abreast(const Stage& stage) {
    for (long u = stage.from; u < stage.to; u += LANES) store(stage.h_after + u, Cell::forward(abreast<Cell>(stage, u)).h);
}

template <class Cell>
void middle_abreast(const Stage& stage) {
    if constexpr (Cell::MAKES)
        for (long u = stage.from; u < stage.to; u += LANES) {
            const Abreast x = abreast<Cell>(stage, u);
            x.set(Cell::GATES + Cell::SAVED - 1, Cell::middle(x));
        }
}

template <class Cell>
void backward_abreast(const Stage& stage) {
    for (long u = stage.from; u < stage.to; u += LANES) {
        float *dh = stage.dh + u, *dc = stage.dc + u;
        const State before = Cell::backward(abreast<Cell>(stage, u), {load(dh), Cell::CARRIES ? load(dc) : nothing()});
        store(dh, before.h);
        if (Cell::CARRIES) store(dc, before.c);
    }
}

template <class Cell>
void backward_middle_abreast(const Stage& stage) {
    if constexpr (Cell::MAKES)
        for (long u = stage.from; u < stage.to; u += LANES) {
            float* dh = stage.dh + u;
            store(dh, load(dh) + Cell::backward_middle(abreast<Cell>(stage, u), load(stage.made + u)));
        }
}

// One step of a layer over one window, for a forecast.
struct Moment {
    long hidden, stride;   // stride: from gate to gate
    float* gates;
    const float* weights;  // vectors
    float *h, *c, *made;   // [hidden]: the states before the step, which those after it replace; what `middle` makes
};

template <class Cell>
INLINE Across<Cell::MAKES> across(const Moment& now, long u) {
    return {now.gates + u, now.stride, now.weights + u, now.hidden, load(now.h + u), Cell::CARRIES ? load(now.c + u) : nothing()};
}

template <class Cell>
void forward_across(const Moment& now) {
    for (long u = 0; u < now.hidden; u += LANES) {
        const State after = Cell::forward(across<Cell>(now, u));
        store(now.h + u, after.h);
        if (Cell::CARRIES) store(now.c + u, after.c);
    }
}

template <class Cell>
void middle_across(const Moment& now) {
    if constexpr (Cell::MAKES)
        for (long u = 0; u < now.hidden; u += LANES) store(now.made + u, Cell::middle(across<Cell>(now, u)));
}

// What the layer must know of a cell. x feeds the first `fed` gates, the past those from number `recurrent` on.
struct Kind {
    const char* name;
    int gates, saved, vectors, fed, recurrent;
    bool carries, makes;
    void (*forward)(const Step&);
    void (*middle)(const Step&);
    void (*backward)(const Step&);
    void (*backward_middle)(const Step&);
    void (*forward_abreast)(const Stage&);
    void (*middle_abreast)(const Stage&);
    void (*backward_abreast)(const Stage&);
    void (*backward_middle_abreast)(const Stage&);
    void (*forward_across)(const Moment&);
    void (*middle_across)(const Moment&);
};

template <class Cell>
constexpr Kind kind(const char* name, int fed = Cell::GATES, int recurrent = 0) {
    return {name, Cell::GATES, Cell::SAVED, Cell::VECTORS, fed, recurrent, Cell::CARRIES, Cell::MAKES,
            forward<Cell>, middle<Cell>, backward<Cell>, backward_middle<Cell>,
            forward_abreast<Cell>, middle_abreast<Cell>, backward_abreast<Cell>, backward_middle_abreast<Cell>, forward_across<Cell>, middle_across<Cell>};
}

constexpr int BLOCK = INPUT | FORGET | OUTPUT;

constexpr Kind CELLS[] = {
    kind<Elman<false, false>>("rnn"),
    kind<Elman<true, false>>("rnn_relu"),
    kind<Elman<true, true>>("indrnn", 1, 1),
    kind<Lstm<BLOCK>>("lstm"),
    kind<Lstm1997>("lstm_1997"),
    kind<Lstm<BLOCK | PEEPHOLES>>("lstm_peephole"),
    kind<Lstm<(BLOCK & ~INPUT) | PEEPHOLES>>("lstm_nig"),
    kind<Lstm<(BLOCK & ~FORGET) | PEEPHOLES>>("lstm_nfg"),
    kind<Lstm<(BLOCK & ~OUTPUT) | PEEPHOLES>>("lstm_nog"),
    kind<Lstm<BLOCK | PEEPHOLES | LINEAR_INPUT>>("lstm_niaf"),
    kind<Lstm<BLOCK | PEEPHOLES | LINEAR_OUTPUT>>("lstm_noaf"),
    kind<Lstm<(BLOCK & ~FORGET) | PEEPHOLES | COUPLED>>("lstm_cifg"),
    kind<Gru>("gru", 3, 1),
    kind<ResetBefore<true>>("gru_reset_before", 3, 1),
    kind<Mgu>("mgu", 2, 1),
    kind<ResetBefore<false>>("mut2", 3, 1),
    kind<Janet>("janet"),
    kind<Ugrnn>("ugrnn"),
    kind<MinLstm>("minlstm", 3, 3),
    kind<MinGru>("mingru", 2, 2),
    kind<Sru>("sru", 4, 4),
};
constexpr int CELL_COUNT = sizeof CELLS / sizeof CELLS[0];

}  // namespace WIDTH
