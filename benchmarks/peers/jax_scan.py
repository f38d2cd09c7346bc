"""The same network in JAX: a scan over time for each layer, the whole step compiled."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from peer import BATCH, DROPOUT, HIDDEN, LAYERS, STEPS, WINDOWS, answer

RATE, FAST, SLOW, EPSILON = 0.001, 0.9, 0.999, 1e-8  # Adam's


def begin(key, inputs):
    """W, R and b of an LSTM."""
    keys = jax.random.split(key, 3)
    bound = HIDDEN**-0.5
    shapes = ((inputs, 4 * HIDDEN), (HIDDEN, 4 * HIDDEN), (4 * HIDDEN,))
    return [jax.random.uniform(k, shape, minval=-bound, maxval=bound) for k, shape in zip(keys, shapes, strict=True)]


def lstm(weights, steps):
    """(time, batch, inputs) to (time, batch, hidden); the input's product is made before the loop."""
    w, r, b = weights
    shares = steps @ w + b

    def step(carried, share):
        h, c = carried
        i, f, g, o = jnp.split(share + h @ r, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((steps.shape[1], HIDDEN))
    return jax.lax.scan(step, (zero, zero), shares)[1]


def loss(weights, key, past, future):
    """Mean squared error, with dropout behind each layer."""
    read = past.transpose(1, 0, 2)
    for number, own in enumerate(weights["layers"]):
        read = lstm(own, read)
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - DROPOUT, read.shape)
        read = jnp.where(kept, read / (1 - DROPOUT), 0)
    return jnp.mean((read[-1] @ weights["head"] + weights["bias"] - future) ** 2)


@jax.jit
def learn(weights, mean, square, count, key, past, future):
    """A step of Adam."""
    gradient = jax.grad(loss)(weights, key, past, future)
    mean = jax.tree.map(lambda m, g: FAST * m + (1 - FAST) * g, mean, gradient)
    square = jax.tree.map(lambda s, g: SLOW * s + (1 - SLOW) * g * g, square, gradient)
    weights = jax.tree.map(
        lambda w, m, s: w - RATE * (m / (1 - FAST**count)) / (jnp.sqrt(s / (1 - SLOW**count)) + EPSILON), weights, mean, square
    )
    return weights, mean, square


random = np.random.default_rng(0)
past, future = (random.standard_normal(shape, np.float32) for shape in ((WINDOWS, STEPS, 1), (WINDOWS, 1)))
keys = jax.random.split(jax.random.key(0), LAYERS + 1)
weights = {
    "layers": [begin(key, HIDDEN if number else 1) for number, key in enumerate(keys[1:])],
    "head": jax.random.normal(keys[0], (HIDDEN, 1)) * HIDDEN**-0.5,
    "bias": jnp.zeros(1),
}
state = [weights, jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights)]
done = 0


def epoch():
    """All windows in a new order."""
    global done
    order = random.permutation(WINDOWS)
    for first in range(0, WINDOWS, BATCH):
        some = order[first : first + BATCH]
        done += 1
        state[:] = learn(*state, float(done), jax.random.key(done), past[some], future[some])
    jax.block_until_ready(state[0]["bias"])


answer(epoch, f"jax {jax.__version__}")
