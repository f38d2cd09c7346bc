// A step of Adam (Kingma and Ba, 2015) or RMSProp (Tieleman and Hinton, 2012), as in training/optimisers.py.
#pragma once

#include "api.h"
#include "lanes.h"

namespace WIDTH {

// Of sixteen parameters at once. scale: of the gradient, so that its norm is no larger than it may be
template <bool ADAM>
struct Rule {
    Lanes scale, square_keeps, square_takes, mean_takes, rate, root, epsilon;

    INLINE Rule(const Optimiser& way, float scale)
        : scale(all(scale)), square_keeps(all(static_cast<float>(way.beta_square))), square_takes(all(static_cast<float>(1 - way.beta_square))),
          mean_takes(all(static_cast<float>(1 - way.beta))), rate(all(static_cast<float>(-way.rate / way.unbias))),
          root(all(static_cast<float>(way.unbias_root))), epsilon(all(static_cast<float>(way.epsilon))) {}

    // first: the average of gradients, or RMSProp's of squares; second: Adam's average of squares
    INLINE void move(Lanes gradient, Lanes& weight, Lanes& first, Lanes& second) const {
        const Lanes slope = gradient * scale;
        Lanes& square = ADAM ? second : first;
        square = fma(square_takes * slope, slope, square * square_keeps);
        if (ADAM) first = fma(mean_takes, slope - first, first);
        const Lanes size = ADAM ? square_root(square) / root + epsilon : square_root(square) + epsilon;
        weight = fma(rate, (ADAM ? first : slope) / size, weight);
    }
};

}  // namespace WIDTH
