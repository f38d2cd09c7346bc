// Every function of the library at odd shapes, for a compiler's sanitizers: a layer there and back, whole passes, scores, forecasts,
// language models.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "api.h"

extern "C" {
const char* longshort_width(int32_t);
int32_t longshort_cell(const char*);
int32_t longshort_train(int32_t, const Network*, const Pass*, Optimiser*, Outcome*);
int32_t longshort_score(int32_t, const Network*, const Pass*, const float*, Outcome*);
int64_t longshort_kept(int32_t, const Network*, int64_t);
int32_t longshort_read(int32_t, const Network*, const float*, const float*, int64_t, int32_t, float*, float*, float*, int32_t);
int32_t longshort_learn(int32_t, const Network*, const float*, const float*, int64_t, int32_t, float*, int32_t, float*, float*);
int64_t longshort_forecaster_size(int32_t, const Network*, int32_t);
void longshort_pack_forecaster(int32_t, const Network*, const float*, float*);
void longshort_forecast(const Forecaster*, const float*, float*);
void longshort_ahead(const Forecaster*, const float*);
void longshort_tick(const Forecaster*, const float*, float*);
}

namespace {

struct Cell { const char* name; int gates, vectors; bool makes; };

std::vector<float> some(size_t count) {
    std::vector<float> made(count);
    for (float& x : made) x = static_cast<float>(std::rand()) / static_cast<float>(RAND_MAX) - 0.5f;
    return made;
}

std::vector<int32_t> counted(int32_t first, size_t count) {
    std::vector<int32_t> made(count);
    for (size_t k = 0; k < count; ++k) made[k] = first + static_cast<int32_t>(k);
    return made;
}

const float LEVELS[] = {0.05f, 0.95f};

// A network of so many layers and directions, each weight of which has a place of its own.
struct Made {
    std::vector<std::vector<int32_t>> places;
    std::vector<Layer> layers;
    Network net{};

    // words: of a language model, 0 where it forecasts; tied: its table is the head; quantiles: two at most, of each step of the horizon
    Made(const Cell& cell, int depth, int directions, int inputs, int hidden, int steps, int horizon, int words = 0, bool tied = false,
         int quantiles = 0) {
        int32_t next = words * inputs;
        places.reserve(4 * static_cast<size_t>(depth * directions) + 1);
        const auto place = [&](size_t count) {
            places.push_back(counted(next, count));
            next += static_cast<int32_t>(count);
            return places.back().data();
        };
        for (int n = 0; n < depth * directions; ++n) {
            const int read = n < directions ? inputs : hidden * directions, rows = read + 1 + hidden * (cell.makes ? 2 : 1);
            const int32_t* matrix = place(static_cast<size_t>(rows) * cell.gates * hidden);
            const int32_t* vectors = place(static_cast<size_t>(cell.vectors) * hidden);
            const int32_t *h = place(hidden), *c = place(hidden);
            layers.push_back({matrix, vectors, n % 2 ? h : nullptr, n % 2 ? c : nullptr, longshort_cell(cell.name), read, hidden, n % directions});
        }
        const int32_t* head = place(static_cast<size_t>(hidden * directions + 1) * (words ? words : horizon * (1 + quantiles)));
        for (int p = 0; tied && p < hidden; ++p)
            for (int w = 0; w < words; ++w) places.back()[p * words + w] = w * inputs + p;
        net = {layers.data(), head, next, depth, directions, inputs, steps, words ? 0 : horizon, depth > 1, 13107, 1.25f};
        net.words = words, net.quantiles = quantiles, net.levels = LEVELS + 2 - quantiles;
        if (words) net.edge_threshold = 13107, net.edge_scale = 1.25f;
    }
};

// Windows, and a stream of them where the network goes one way; arrays are just as large as they are said to be.
void forecast(int32_t width, const Network& net, const std::vector<float>& row) {
    std::vector<float> packed(longshort_forecaster_size(width, &net, 0)), room(longshort_forecaster_size(width, &net, 1)), other(room.size());
    longshort_pack_forecaster(width, &net, row.data(), packed.data());
    const Forecaster own{&net, packed.data(), room.data(), width}, stream{&net, packed.data(), other.data(), width};
    const size_t window = static_cast<size_t>(net.steps) * net.inputs;
    for (int n = 0; n < 3; ++n) {
        const std::vector<float> read = some(window), past(read.begin(), read.end() - net.inputs), newest(read.end() - net.inputs, read.end());
        std::vector<float> answers(net.horizon), same(net.horizon);
        longshort_forecast(&own, read.data(), answers.data());
        if (net.directions == 2) continue;
        longshort_ahead(&stream, past.data());
        longshort_tick(&stream, newest.data(), same.data());
        if (same != answers) std::exit(1);
    }
}

// Passes of a language model whose windows are charged for more and fewer of their tokens, some for none.
void words(int32_t width, const Cell& cell, int depth, int inputs, int hidden, int steps, int count, int batch, int threads) {
    Made made(cell, depth, 1, inputs, hidden, steps, count);
    Network& net = made.net;
    net.words = count, net.horizon = 0, net.table = net.parameters, net.parameters += static_cast<int64_t>(count) * inputs;
    net.edge_threshold = 13107, net.edge_scale = 1.25f;
    std::vector<float> row = some(net.parameters), first(net.parameters), second(net.parameters);
    std::vector<int32_t> ids(steps + 41);
    for (int32_t& id : ids) id = std::rand() % count;
    std::vector<int64_t> firsts(41), charged(41);
    for (size_t n = 0; n < firsts.size(); ++n) firsts[n] = static_cast<int64_t>(n), charged[n] = std::rand() % (steps + 1);
    const Pass pass{nullptr, firsts.data(), 41, 0, 7, 1, batch, 0, threads, ids.data(), charged.data()};
    Optimiser way{row.data(), first.data(), second.data(), 0, 1, 1e-3, 1.0, 0.9, 0.99, 1e-8, 1, 1};
    Outcome outcome{};
    if (!longshort_train(width, &net, &pass, &way, &outcome) || !longshort_score(width, &net, &pass, row.data(), &outcome)) std::exit(1);
}

void one(int32_t width, const Cell& cell, int depth, int directions, int inputs, int hidden, int steps, int batch, int threads) {
    Made made(cell, depth, directions, inputs, hidden, steps, 3, 0, false, depth - 1);
    const Network& net = made.net;
    std::vector<float> row = some(net.parameters), first(net.parameters), second(net.parameters);
    const std::vector<float> values = some(static_cast<size_t>(steps + 3 + 90) * inputs);
    std::vector<int64_t> firsts(90);
    for (size_t n = 0; n < firsts.size(); ++n) firsts[n] = static_cast<int64_t>(n);
    const Pass pass{values.data(), firsts.data(), 90, 0, 7, 1, batch, 0, threads};
    Optimiser way{row.data(), first.data(), second.data(), 0, threads % 2, 1e-3, 1.0, 0.9, 0.99, 1e-8, 1, 1};
    Outcome outcome{};
    if (!longshort_train(width, &net, &pass, &way, &outcome) || !longshort_score(width, &net, &pass, row.data(), &outcome)) std::exit(1);
    if (directions == 1) {
        std::vector<float> left(static_cast<size_t>(depth) * 2 * batch * hidden);
        Pass on = pass;
        on.states = left.data(), on.windows = 90 / batch * batch;
        if (!longshort_train(width, &net, &on, &way, &outcome) || !longshort_score(width, &net, &on, row.data(), &outcome)) std::exit(1);
    }

    Network point = net;  // one window is answered with the point forecast alone
    point.quantiles = 0;
    if (width < TILES) forecast(width, point, row);

    Network alone = net;
    alone.depth = 1, alone.directions = 1, alone.head = nullptr, alone.horizon = 0, alone.residual = 0;
    alone.parameters = static_cast<int64_t>(net.parameters);
    std::vector<float> kept(longshort_kept(width, &alone, batch)), states(static_cast<size_t>(steps) * batch * hidden), gradient(net.parameters);
    const std::vector<float> read = some(static_cast<size_t>(steps) * batch * inputs), back = some(states.size());
    std::vector<float> below(read.size());
    std::vector<float> left(static_cast<size_t>(2) * batch * hidden);
    if (!longshort_read(width, &alone, row.data(), read.data(), batch, threads, nullptr, states.data(), nullptr, 0)) std::exit(1);
    for (int32_t goes_on : {0, 1}) {
        if (!longshort_read(width, &alone, row.data(), read.data(), batch, threads, kept.data(), states.data(), left.data(), goes_on)) std::exit(1);
        if (!longshort_learn(width, &alone, row.data(), back.data(), batch, threads, kept.data(), goes_on, gradient.data(), below.data())) std::exit(1);
    }
}

// One window at a time, of a series or a text; every array is just as large as it is said to be.
void singly(int32_t width, const Made& made, int threads) {
    const Network& net = made.net;
    std::vector<float> row = some(net.parameters), first(net.parameters), second(threads % 2 ? net.parameters : 0);
    const size_t windows = 5;
    const std::vector<float> values = some((net.steps + net.horizon + windows) * static_cast<size_t>(net.inputs));
    std::vector<int64_t> firsts(windows), counts(windows, net.steps);
    std::vector<int32_t> ids(windows + net.steps);
    for (size_t n = 0; n < windows; ++n) firsts[n] = static_cast<int64_t>(n), counts[n] -= n % 2 ? net.steps / 2 : 0;
    for (int32_t& id : ids) id = net.words ? std::rand() % net.words : 0;
    Pass pass{values.data(), firsts.data(), windows, 0, 7, 1, 1, 0, threads};
    pass.ids = ids.data(), pass.counts = net.words ? counts.data() : nullptr;
    Optimiser way{row.data(), first.data(), threads % 2 ? second.data() : nullptr, 0, threads % 2, 1e-3, 1.0, 0.9, 0.99, 1e-8, 1, 1};
    Outcome outcome{};
    if (!longshort_train(width, &net, &pass, &way, &outcome) || outcome.failed || way.steps != static_cast<int64_t>(windows)) std::exit(1);
}

}  // namespace

// A cell in both kinds of network, at shapes that fill lanes, blocks and tiles and that do not.
void all(int32_t width, const Cell& cell) {
    one(width, cell, 1, 1, 1, 1, 1, 1, 1);
    one(width, cell, 2, 2, 3, 5, 4, 17, 2);
    one(width, cell, 3, 1, 17, 13, 3, 33, 3);
    one(width, cell, 2, 1, 3, 19, 9, 7, 2);
    words(width, cell, 1, 1, 1, 1, 2, 1, 1);
    words(width, cell, 2, 3, 5, 4, 37, 8, 2);
    words(width, cell, 1, 17, 13, 19, 16, 24, 2);
}

int main() {
    const Cell cells[] = {{"lstm_peephole", 4, 3, false}, {"gru", 4, 0, false}, {"mgu", 2, 0, true}, {"indrnn", 1, 1, false}, {"sru", 4, 2, false}};
    for (int32_t width = 0; longshort_width(width); ++width)
        for (const Cell& cell : cells) {
            all(width, cell);
            for (const int steps : {1, 3, 9}) {
                singly(width, {cell, 2, 2, 3, 5, steps, 3}, 1);
                singly(width, {cell, 2, 2, 3, 5, steps, 6, 0, false, 2}, 1);
                singly(width, {cell, 2, 1, 5, 21, steps, 0, 83}, 2);
                singly(width, {cell, 1, 1, 37, 37, steps, 0, 17, true}, 1);
            }
        }
    for (int32_t width = TILES; longshort_width(width); ++width)
        for (const Cell& cell : cells) all(width, cell);
    for (const int steps : {3, 9})  // large enough for threads
        for (const int threads : {2, 3}) {
            singly(0, {cells[0], 2, 1, 5, 111, steps, 0, 150}, threads);
            singly(0, {cells[2], 1, 2, 30, 181, steps, 70}, threads);
            singly(0, {cells[1], 2, 1, 133, 133, steps, 0, 150, true}, threads);
        }
    std::puts("done");
}
