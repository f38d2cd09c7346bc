// What Python hands in, as library.py lays it out, and what each vector width offers. Plain data, no code.
#pragma once

#include <cstdint>

// One layer in one direction. Offsets are into a member's row of parameters; -1: no such weight, 0 in its place.
struct Layer {
    const int32_t* matrix;   // (inputs + 1 + hidden, or twice hidden where the cell makes a state; gates·hidden)
                             // units of a gate stand side by side, as do those of a vector and a state; rows of each part equally far apart
    const int32_t* vectors;  // (vectors·hidden)
    const int32_t* start_h;  // (hidden), learned initial states, or null
    const int32_t* start_c;
    int32_t cell, inputs, hidden, backwards;
};

// A network: layers, and a head. A forecaster's reads the final state and names the horizon, then some quantiles of it; a language
// model's reads every state and scores words, and before the layers stands a table of embeddings.
struct Network {
    const Layer* layers;  // layer by layer, its directions one after the other
    const int32_t* head;  // (width + 1, horizon·(1 + quantiles) or words), the bias last
    int64_t parameters;
    int32_t depth, directions, inputs, steps, horizon, residual;
    uint32_t threshold;  // of dropout after each layer; 0: none
    float scale;         // what is kept is multiplied by it
    int32_t words;       // 0: it forecasts
    int64_t table;       // where the embeddings begin in a row, (words, inputs)
    uint32_t edge_threshold;  // of dropout on the embeddings and before the head
    float edge_scale;
    int32_t quantiles;    // of each step of the horizon that the head names beside the point forecast
    const float* levels;  // (quantiles), theirs
};

// What windows are cut out of, and where a pass stands.
struct Pass {
    const float* values;   // (rows, inputs); the target is column 0
    const int64_t* firsts;  // (windows), the row at which each begins, in the order of the pass
    int64_t windows, place;  // place: the rank in the epoch of the first of them
    uint64_t seed, epoch;
    int64_t batch, step;  // step: batches of this epoch before these
    int32_t threads;
    const int32_t* ids;     // of a text, in place of values
    const int64_t* counts;  // (windows), how many of the last tokens of each are charged; null: all
    float* states;          // (depth, 2, batch, hidden): h and c that the rows of a batch leave for those of the next, of one direction,
                            // from the epoch's first batch on; null: every window begins from the initial states
};

struct Optimiser {
    float *weights, *first, *second;  // a member's row, and rows of averages; RMSProp has only the first
    int64_t steps;                    // taken before, and after
    int32_t adam;
    double rate, clip, beta, beta_square, epsilon;
    double unbias, unbias_root;  // of this step: what the averages are divided by; 1 in RMSProp
};

// What a pass came to. failed: the number of the step, from 1, whose loss or norm is not finite; nothing was moved in it.
// right: of a language model, the words that were scored highest.
struct Outcome {
    double loss, failed_loss, failed_norm;
    int64_t terms, failed_terms, failed, right;
};

// What the groups of a batch of a language model share; text.h draws it.
struct Charged {
    int32_t* targets;  // the word that follows each token
    float *tops, *backs, *scores;
    double* losses;  // of each block
    int64_t* rights;  // of each block, the tokens whose word was scored highest
    int64_t count;   // tokens
};
constexpr int64_t HAND = 4, MOST_AT_ONCE = 64;  // blocks that a thread takes at a time, and whose scores are kept together

// A forecaster at work on one window at a time; packed and room begin at a line of the cache, and room at zeros.
struct Forecaster {
    const Network* net;
    const float* packed;
    float* room;
    int32_t width;  // a number of `longshort_width`
};

// A thread among those that work on one window together. meet(where) comes back when all of them are there.
struct Team {
    int thread, threads;
    void (*meet)(void*);
    void* where;
};

// What is done to a group of windows, at most as many as there are lanes; sizes are in floats, and of eight lanes never more
// than of sixteen.
struct Groups {
    int64_t (*scratch_size)(const Network&);
    double (*group)(const Network&, const Pass&, int64_t first, int count, float share, bool learns, const float* packed, const float* row,
                    float* scratch, float* sums);
    void (*ahead_of_head)(const Network&, const Pass&, int64_t first, int count, bool learns, const float* packed, const float* row, float* scratch,
                          const Charged&, int64_t place);
    void (*behind_head)(const Network&, const Pass&, int64_t first, int count, const float* packed, const float* row, float* scratch, const Charged&,
                        int64_t place, float* sums);
    void (*add_to_table)(const Network&, const Pass&, int64_t first, int count, float* scratch, int slice, int slices, float* ends);
    int64_t (*kept_size)(const Network&);
    int64_t (*learn_size)(const Network&);
    void (*read)(const Network&, const float* packed, const float* row, const float* steps, int64_t batch, int64_t first, int count,
                 float* kept, float* states, float* carried, bool goes_on);
    void (*learn)(const Network&, const float* packed, const float* gradient, int64_t batch, int64_t first, int count, float* kept,
                  bool goes_on, float* scratch, float* sums, float* input_gradient);
};

constexpr int32_t TILES = 8;  // from this number on a width is one of tiles

// A vector width's own; sizes are in floats. Those of tiles have no functions of a lone window, from `lone_packed_size` to `move_single`.
struct Kernels {
    const char* name;
    const Groups *sixteen, *eight;  // with so many lanes
    int64_t (*packed_size)(const Network&);
    int64_t (*sums_size)(const Network&);
    int64_t (*ends_size)(const Network&);
    void (*over_steps_of_eight)(const float* x, long x_stride, long rows, const float* turned, long steps, float* c, long c_stride);
    void (*pack)(const Network&, int part, const float* row, float* packed);  // part: a layer and direction, or the head, the last
    void (*fill_up)(const Network&, const Charged&);
    void (*charge)(const Network&, const Charged&, int64_t base, int64_t first, int64_t end, float share, bool learns, const float* packed);
    void (*add_head)(const Network&, const Charged&, int64_t base, int64_t end, int64_t word, int64_t last, bool begins, float* ends);
    void (*clear_table)(const Network&, const Pass&, int64_t first, int64_t count, int slice, int slices, float* ends);
    void (*tie)(const Network&, int slice, int slices, float* ends);
    void (*places)(const Network&, int32_t* places);
    double (*add_up)(const float* const* sums, int count, int64_t size, const float* ends, const int32_t* places, float* gradient, int64_t from, int64_t to);
    void (*move)(const Optimiser&, float* gradient, float scale, int64_t from, int64_t to);
    void (*settle)(const Network&, float* sums);
    int64_t (*lone_packed_size)(const Network&);
    int64_t (*lone_room_size)(const Network&);
    void (*pack_lone)(const Network&, const float* row, float* packed);
    void (*forecast)(const Network&, const float* packed, float* room, const float* window, float* answers);
    void (*ahead)(const Network&, const float* packed, float* room, const float* window);
    void (*tick)(const Network&, const float* packed, float* room, const float* newest, float* answers);
    int64_t (*single_size)(const Network&);
    void (*single_begin)(const Network&, float* room);
    double (*learn_single)(const Network&, const Pass&, const float* row, float* room, int64_t number, float share, const Team&, double* squares,
                           int64_t* right);
    void (*move_single)(const Network&, const Pass&, const Optimiser&, float* room, int64_t number, float scale, const Team&);
    int (*cell)(const char* name);  // its number, or -1
    void (*function)(int which, const float* x, float* y, int64_t count);
    void (*masks)(uint64_t seed, uint64_t epoch, uint64_t stream, uint64_t kind, uint64_t place, uint64_t step, uint64_t steps,
                  uint64_t units, uint32_t threshold, uint16_t* dropped);
};

// The eight lanes of a width stand within its namespace, so KERNELS is the same table to them.
#if defined(__x86_64__)
namespace avx512 { extern const Kernels KERNELS; namespace eight { extern const Groups GROUPS; } }
namespace avx2 { extern const Kernels KERNELS; namespace eight { extern const Groups GROUPS; } }
namespace amx { extern const Kernels KERNELS; }
namespace avx2_tiles { extern const Kernels KERNELS; }
#endif
namespace plain { extern const Kernels KERNELS; namespace eight { extern const Groups GROUPS; } }
namespace plain_tiles { extern const Kernels KERNELS; }
