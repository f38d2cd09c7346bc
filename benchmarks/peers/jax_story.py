"""The network of the short story in JAX: three words, two LSTMs of 512, one window a step, RMSProp; the whole step compiled, in place."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from peer import STORY_HIDDEN, STORY_LAYERS, STORY_LOOKBACK, STORY_STEPS, STORY_WORDS, answer

RATE, KEEPS, EPSILON = 0.001, 0.99, 1e-8  # RMSProp's


def begin(key, inputs):
    """W, R and b of an LSTM."""
    keys = jax.random.split(key, 3)
    bound = STORY_HIDDEN**-0.5
    shapes = ((inputs, 4 * STORY_HIDDEN), (STORY_HIDDEN, 4 * STORY_HIDDEN), (4 * STORY_HIDDEN,))
    return [jax.random.uniform(k, shape, minval=-bound, maxval=bound) for k, shape in zip(keys, shapes, strict=True)]


def lstm(weights, read):
    """(steps, inputs) to (steps, hidden); the three steps are written out."""
    w, r, b = weights
    h = c = jnp.zeros(STORY_HIDDEN)
    states = []
    for share in read @ w + b:
        i, f, g, o = jnp.split(share + h @ r, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        states.append(h)
    return jnp.stack(states)


def loss(weights, past, word):
    """Cross-entropy of the word that follows."""
    read = past
    for own in weights["layers"]:
        read = lstm(own, read)
    return -jax.nn.log_softmax(read[-1] @ weights["head"] + weights["bias"])[word]


@partial(jax.jit, donate_argnums=(0, 1))
def learn(weights, square, past, word):
    """A step of RMSProp."""
    gradient = jax.grad(loss)(weights, past, word)
    square = jax.tree.map(lambda s, g: KEEPS * s + (1 - KEEPS) * g * g, square, gradient)
    weights = jax.tree.map(lambda w, g, s: w - RATE * g / (jnp.sqrt(s) + EPSILON), weights, gradient, square)
    return weights, square


random = np.random.default_rng(0)
text = random.integers(0, STORY_WORDS, STORY_STEPS + STORY_LOOKBACK)
past = np.lib.stride_tricks.sliding_window_view(text[:-1], STORY_LOOKBACK)[:, :, None].astype(np.float32) / STORY_WORDS
keys = jax.random.split(jax.random.key(0), STORY_LAYERS + 1)
weights = {
    "layers": [begin(key, STORY_HIDDEN if number else 1) for number, key in enumerate(keys[1:])],
    "head": jax.random.normal(keys[0], (STORY_HIDDEN, STORY_WORDS)) * STORY_HIDDEN**-0.5,
    "bias": jnp.zeros(STORY_WORDS),
}
state = [weights, jax.tree.map(jnp.zeros_like, weights)]


def steps():
    """A window a step."""
    for read, word in zip(past, text[STORY_LOOKBACK:], strict=True):
        state[:] = learn(*state, read, word)
    jax.block_until_ready(state[0]["bias"])


answer(steps, f"jax {jax.__version__}")
