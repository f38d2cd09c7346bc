"""The tutorial's stock network as its text has it, in Keras on TensorFlow."""

import os

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import keras
import numpy as np
import tensorflow
from peer import BATCH, DROPOUT, HIDDEN, LAYERS, STEPS, WINDOWS, answer

random = np.random.default_rng(0)
past, future = (random.standard_normal(shape, np.float32) for shape in ((WINDOWS, STEPS, 1), (WINDOWS, 1)))
layers = []
for number in range(LAYERS):
    layers += [keras.layers.LSTM(HIDDEN, return_sequences=number < LAYERS - 1), keras.layers.Dropout(DROPOUT)]
model = keras.Sequential([keras.Input((STEPS, 1)), *layers, keras.layers.Dense(1)])
model.compile(optimizer="adam", loss="mean_squared_error")
answer(
    lambda: model.fit(past, future, batch_size=BATCH, epochs=1, verbose=0),
    f"keras {keras.__version__}, tensorflow {tensorflow.__version__}",
)
