// All arithmetic for one vector width: this file is compiled once a width, with WIDTH as its namespace.
#include "forecast.h"
#include "single.h"

namespace WIDTH {

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

extern const Kernels KERNELS;
const Kernels KERNELS = {
    QUOTED(WIDTH), packed_size, scratch_size, sums_size, ends_size, pack_part, group, ahead_of_head, fill_up, charge, add_head, behind_head,
    clear_table, add_group_to_table, tie, places, add_up, move, kept_size, learn_size, settle_all, read, learn, lone_packed_size, lone_room_size,
    pack_lone, forecast, ahead, tick, single_size, single_begin, learn_single, move_single, cell, function, masks};

}  // namespace WIDTH
