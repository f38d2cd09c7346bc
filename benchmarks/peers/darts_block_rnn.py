"""The stock network as darts has it: a BlockRNNModel of LSTMs, trained by its `fit`, and so by Lightning.

Not identical: its dropout is that of torch's LSTM, behind all layers but the last, so there are three masks for four. Windows are cut
from the series one by one, by the data set and the loader that darts gives every training. Like the script in torch it has one thread;
logger, progress bar and checkpoints are off.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import darts
import numpy as np
from darts.models import BlockRNNModel
from peer import BATCH, DROPOUT, HIDDEN, LAYERS, STEPS, WINDOWS, asked
from pytorch_lightning import Callback

NO_END = 1_000_000  # epochs


class Beginnings(Callback):
    """Says where an epoch begins, and waits there until it is asked for."""

    between = asked(f"darts {darts.__version__}")

    def on_train_epoch_start(self, trainer, module):
        """Called by Lightning."""
        next(self.between)


off = dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False)
model = BlockRNNModel(
    model="LSTM",
    input_chunk_length=STEPS,
    output_chunk_length=1,
    hidden_dim=HIDDEN,
    n_rnn_layers=LAYERS,
    dropout=DROPOUT,
    batch_size=BATCH,
    n_epochs=NO_END,
    pl_trainer_kwargs={"accelerator": "cpu", "callbacks": [Beginnings()], **off},
)  # by default Adam at 0.001, and the mean squared error
model.fit(darts.TimeSeries.from_values(np.random.default_rng(0).standard_normal((WINDOWS + STEPS, 1), np.float32)))
