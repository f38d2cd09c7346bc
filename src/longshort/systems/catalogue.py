"""The catalogue of systems: what each is, how the tutorial set it, what it published, and what ours shall reach."""

from __future__ import annotations

from dataclasses import dataclass

from longshort.config import nearest
from longshort.errors import UsageError


@dataclass(frozen=True)
class System:
    """One row.

    setting    the tutorial's
    published  its figure, on the data that it used; "" where it gives none
    aim        what ours shall show on the real data
    embedded   the data that come with the project
    real       the data that `--data` takes; "" where the embedded ones are all that is asked
    """

    name: str
    title: str
    setting: str
    published: str
    aim: str
    embedded: str
    real: str = ""

    @property
    def module(self) -> str:
        """The module that runs it."""
        return f"longshort.systems.{self.name.replace('-', '_')}"


SYSTEMS = {
    system.name: system
    for system in (
        System(
            "google-stock",
            "next-day stock price",
            "60 sessions of Open, scaled to 0..1; 4 × LSTM(50), dropout 0.2; Adam, MSE, batch 32, 100 epochs",
            "loss 0.0031, 0.0070, 0.0054, 0.0050, 0.0053, 0.0044, 0.0045, 0.0047 in epochs 1 to 8; no test error",
            "epoch 8 within 0.003 to 0.006, and naive beside it: MSE 0.000254, RMSE $8.42 on the 20 test days",
            "Google 2004 to 2008, matplotlib's sample data",
            "a folder with Google_Stock_Price_Train.csv and Google_Stock_Price_Test.csv",
        ),
        System(
            "story",
            "next word of a short story",
            "3 words in, each one integer; LSTM 2 × 512 or 1 × 512; RMSProp 0.001, one window a step, 50,000 steps",
            "95.20 % (2 layers), 90.60 % (1 layer): mean training accuracy of the last 1,000 steps",
            "both reached by the same protocol; a look-up of trigrams and a held-out figure beside them",
            "a story of our own, 112 symbols",
            "the story, one text file",
        ),
        System(
            "cell",
            "a recurrent cell by hand",
            "two steps, 3 inputs, 5 neurons, tanh, a batch of 4",
            "",
            "by hand, cell by cell and whole: the same numbers to 1e-6, for RNN, LSTM and GRU",
            "the tutorial's eight rows",
        ),
        System(
            "variable-length",
            "sequences of different lengths",
            "lengths 2, 1, 2, 2, padded with zeros",
            "",
            "outputs are 0 behind a sequence's end, the final state is that of its last step, for every cell and direction",
            "the tutorial's eight rows",
        ),
        System(
            "digits-rnn",
            "images read row by row",
            "28 steps of 28 pixels, RNN of 150 tanh units, Adam 0.001, batch 150, 100 epochs",
            "98.09 % test accuracy after 100 epochs (72.99 % after 1, 79.77 % after 2)",
            "98.1 % with the same network, 99 % with the best variant",
            "scikit-learn's digits, 8 × 8",
            "a folder with MNIST's four idx.gz files",
        ),
        System(
            "digits-deep",
            "deep RNN and deep LSTM",
            "3 layers of 100; dropout that keeps 0.5",
            "",
            "both, and whether dropout helped, over seeds",
            "scikit-learn's digits, 8 × 8",
            "a folder with MNIST's four idx.gz files",
        ),
        System(
            "series",
            "one step ahead at every step",
            "windows of 20, the target shifted by one, 100 ReLU units, Adam 0.001, MSE, batch 50, 10,000 steps",
            "MSE 379.6, 14.6, 7.14, 3.99, 2.00 at steps 0, 100, 200, 300, 400",
            "the curve, a window forecast at every step, several features in",
            "a made series; Google 2004 to 2008",
            "a file of a series, such as Sunspots.csv or a stock's",
        ),
        System(
            "gradients",
            "vanishing and exploding gradients",
            "remedies by name: initialisation, activation, normalisation, clipping, truncation, LSTM, GRU",
            "",
            "the norm of dL/dh at every step for RNN, GRU, LSTM and each remedy",
            "made sequences",
        ),
        System(
            "memory",
            "long-term dependencies",
            '"I have been staying in Spain … I can speak fluent ___"',
            "",
            "the distance at which RNN, GRU and LSTM fail to recall",
            "made sentences",
        ),
        System(
            "gates",
            "what a gate does, step by step",
            "forget, input, candidate, output; forget bias 1",
            "",
            "gates and cell state over a sentence and over a window of prices; cells as the printed equations have them",
            "documentation topics; Google 2004 to 2008",
        ),
        System(
            "intent",
            "a chatbot's intents",
            'an RNN encodes "what time is it ?", a feed-forward layer names the intent',
            "",
            "ATIS 97 %, the majority and TF-IDF + logistic regression beside it",
            "made sentences",
            "ATIS or Banking77: a folder of train, valid and test",
        ),
        System(
            "sentiment",
            "sentiment, ratings, spam",
            "words in, one label out",
            "",
            "rt-polarity 76 % by 10-fold cross-validation, no pretrained vectors, TF-IDF + logistic regression beside it",
            "made sentences",
            "rt-polarity's folder, or the SMS spam file",
        ),
        System(
            "tagging",
            "a label at every step",
            "many to many, in step",
            "",
            "ATIS slots F1 95",
            "made sentences",
            "ATIS: a folder of train, valid and test",
        ),
        System(
            "translation",
            "encoder and decoder",
            "the source reversed, <go> and <eos>, the decoder fed its own word",
            "",
            "BLEU with and without attention, 3 gained by it; 99 % of made dates exact",
            "made dates, spoken to ISO",
            "pairs a line, tab between, such as Tatoeba's",
        ),
        System(
            "caption",
            "one vector in, a sequence out",
            "an image's caption, a melody from a note",
            "",
            "97 % exact: a digit's image, its name spelled out",
            "scikit-learn's digits, 8 × 8",
            "a folder with MNIST's four idx.gz files",
        ),
        System(
            "language-model",
            "words with embeddings",
            "embeddings of 150, up to 50,000 words, [UNK], [NUM], [URL]",
            "test perplexity on PTB, of the field: 114.5 small, 82.7 medium, 78.4 large, 57.3 AWD-LSTM",
            "PTB 115 small, near 82.7 medium in two hours; nearest words; bits a character",
            "documentation topics",
            "a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt, or a text file",
        ),
        System(
            "autocomplete",
            "the next words while typing",
            "as a phone does",
            "",
            "five suggestions in under 10 ms",
            "documentation topics",
            "a text file, or a folder as language-model takes it",
        ),
        System(
            "bidirectional",
            "past and future",
            "two RNNs joined",
            "",
            "one setting on every variant; refused where it would read the answer",
            "Google 2004 to 2008",
        ),
        System(
            "anomaly",
            "anomalies in a series",
            "named as an application",
            "",
            "windows found and false alarms a 1,000 steps, a rolling z-score beside them; the rate of alarms is set",
            "a made series",
            "NAB: a folder of series and combined_windows.json",
        ),
        System(
            "ctc",
            "output without alignment",
            "named for speech",
            "",
            "95 % exact, greedy and by beam",
            "strips of scikit-learn's digits",
            "a folder with MNIST's four idx.gz files",
        ),
    )
}


def system(name: str) -> System:
    """A system by its name.

    raises  UsageError, with the nearest
    """
    if name not in SYSTEMS:
        raise UsageError(f"there is no system '{name}'{nearest(name, SYSTEMS)}")
    return SYSTEMS[name]
