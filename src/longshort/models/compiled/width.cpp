// All arithmetic for one vector width: this file is compiled twice a width, with WIDTH as its namespace: once with sixteen
// LANES, and once with eight, for what is done to groups of at most eight windows; WITHOUT_EIGHT it has sixteen lanes alone. IN_TILES
// products are made in bfloat16, and there is neither one window of training nor one of a forecast.
#if LANES == 16 && !defined(IN_TILES)
#include "forecast.h"
#include "single.h"
#else
#include "epoch.h"
#endif

namespace WIDTH {

extern const Groups GROUPS;
const Groups GROUPS = {scratch_size, group, ahead_of_head, behind_head, add_group_to_table, kept_size, learn_size, read, learn};

#if LANES == 16

#ifdef WITHOUT_EIGHT
constexpr auto& EIGHT = GROUPS;
#else
constexpr auto& EIGHT = eight::GROUPS;
#endif

#define NAME_OF(width) #width
#define QUOTED(width) NAME_OF(width)

static int cell(const char* name) {
    for (int n = 0; n < CELL_COUNT; ++n)
        if (!__builtin_strcmp(CELLS[n].name, name)) return n;
    return -1;
}

static void function(int which, const float* x, float* y, int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
        float made[LANES];
        store(made, which ? tanh(all(x[k])) : sigmoid(all(x[k])));
        y[k] = made[0];
    }
}

static void masks(uint64_t seed, uint64_t epoch, uint64_t stream, uint64_t kind, uint64_t place, uint64_t step, uint64_t steps, uint64_t units,
                  uint32_t threshold, uint16_t* dropped) {
    draw({seed, epoch, stream, kind, steps, units, threshold}, place, step, dropped);
}

#ifdef IN_TILES

const Kernels KERNELS = {
    QUOTED(WIDTH), &GROUPS, &EIGHT, packed_size, sums_size, ends_size, nullptr, pack_part, fill_up, charge, add_head, clear_table, tie,
    places, add_up, move, settle_all, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
    cell, function, masks};

#else

const Kernels KERNELS = {
    QUOTED(WIDTH), &GROUPS, &EIGHT, packed_size, sums_size, ends_size, floats::over_steps<8>, pack_part, fill_up, charge, add_head, clear_table, tie,
    places, add_up, move, settle_all, lone_packed_size, lone_room_size, pack_lone, forecast, ahead, tick, single_size, single_begin, learn_single,
    move_single, cell, function, masks};

#endif

#endif

}  // namespace WIDTH
