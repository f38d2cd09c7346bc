"""The stock network as neuralforecast has it: its model LSTM, trained by its `fit`, and so by Lightning.

Not identical: its dropout is that of torch's LSTM, behind all layers but the last, so there are three masks for four. It knows steps and
no epochs: each draws its windows from all of them, so what counts as an epoch here is as many steps, of 32 windows each and some
of them twice. Of a lone series each step is an epoch of Lightning's. Like the script in torch it has one thread; logger, progress bar and
checkpoints are off.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import neuralforecast
import numpy as np
import pandas as pd
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import LSTM
from peer import BATCH, DROPOUT, HIDDEN, LAYERS, STEPS, WINDOWS, asked
from pytorch_lightning import Callback

NO_END = 100_000_000  # steps


class Beginnings(Callback):
    """Says where an epoch begins, and waits there until it is asked for."""

    between = asked(f"neuralforecast {neuralforecast.__version__}")

    def on_train_batch_start(self, trainer, module, batch, number):
        """Called by Lightning."""
        if trainer.global_step % -(-WINDOWS // BATCH) == 0:
            next(self.between)


model = LSTM(
    h=1,
    input_size=STEPS,
    encoder_n_layers=LAYERS,
    encoder_hidden_size=HIDDEN,
    encoder_dropout=DROPOUT,
    decoder_layers=1,  # one linear layer, as the others have
    loss=MSE(),
    scaler_type="identity",
    max_steps=NO_END,
    windows_batch_size=BATCH,
    accelerator="cpu",
    callbacks=[Beginnings()],
    **dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False),
)  # by default Adam at 0.001
days = pd.date_range("2000-01-03", periods=WINDOWS + STEPS, freq="B")
values = np.random.default_rng(0).standard_normal(WINDOWS + STEPS, np.float32)
neuralforecast.NeuralForecast([model], freq="B").fit(pd.DataFrame({"unique_id": "W1", "ds": days, "y": values}))
