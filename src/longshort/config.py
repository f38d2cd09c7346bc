"""Config: params.yaml, read once and checked once.

The classes below are the file's sections, in its order; each room takes the section that bears its
name. Sections are frozen and refuse keys that they do not know, naming the nearest one that they do.
There are no defaults here: every number stands in params.yaml, where a person sees it.
"""

from __future__ import annotations

import codecs
import difflib
import itertools
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from longshort.errors import ConfigError, UnknownVariant, UsageError

Task = Literal["forecast", "language-model", "classify", "tag", "translate", "caption"]
LABELLED = ("classify", "tag", "translate", "caption")  # whose examples are rows, in no order of time
Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$")]


class Section(BaseModel):
    """A part of params.yaml: immutable, and strict about its keys."""

    # strict: true is no seed and '50' no size; infinity could not be written into a model's JSON
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Read(Section):
    """What a person says about a data set's files, each only needed where a file leaves it open.

    ticker         of files of one ticker that do not bear its name
    date_format    dmy, mdy, epoch_s, epoch_ms, excel, or a pattern such as %d.%m.%y
    price          the column that shall be close
    adjust         splits: auto repairs them, ratio only columns of two scales, none keeps prices as they are
    errors         bytes that are no character: replace puts U+FFFD, and counts it; strict: a warning about a text is a refusal
    calendar       an exchange of exchange_calendars; none takes every row as a step
    skip_rows      lines before the header
    on_duplicate   rows of one date that contradict one another: last keeps the last
    prefer         files that contradict one another: newer takes the one that reaches further
    most_bad       share of a ticker's rows that may be set aside; most_together: of them in a row
    """

    ticker: Annotated[str, Field(pattern=r"^[A-Z0-9^][A-Z0-9.^=_&-]{0,39}$")] | None = None
    date_format: str | None = None
    decimal: Literal[".", ","] | None = None
    price: str | None = None
    adjust: Literal["auto", "ratio", "none"] | None = None
    encoding: str | None = None
    errors: Literal["replace"] | None = None
    strict: bool = False
    calendar: str | None = None
    skip_rows: NonNegativeInt = 0
    on_duplicate: Literal["last"] | None = None
    prefer: Literal["newer"] | None = None
    most_bad: Annotated[float, Field(ge=0, lt=1)] = 0.01
    most_together: PositiveInt = 50

    @field_validator("date_format")
    @classmethod
    def _a_form_that_is_known(cls, form: str | None) -> str | None:
        if form is not None and "%" not in form and form not in DATE_FORMATS:
            raise ValueError(f"'{form}' is no form of dates. Known: {', '.join(DATE_FORMATS)}, or a pattern such as %d.%m.%Y")
        return form

    @field_validator("encoding")
    @classmethod
    def _an_encoding_that_is_known(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                codecs.lookup(encoding)
            except LookupError:
                raise ValueError(f"'{encoding}' is no encoding that Python knows, such as cp1252") from None
        return encoding


DATE_FORMATS = ("dmy", "mdy", "epoch_s", "epoch_ms", "excel")


def read_settings(said: dict[str, Any]) -> Read:
    """What a person said about files on the command line, checked.

    raises  UsageError
    """
    try:
        return Read(**said)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else ""
        option = {"on_duplicate": "on-dup"}.get(name, name.replace("_", "-"))
        raise UsageError(f"--{option} {said.get(name)}: {problem['msg'].removeprefix('Value error, ')}.") from None


class Dataset(Section):
    task: Task
    source: Literal["embedded", "raw"]
    read: Read = Read()


class Ingestion(Section):
    """Data sets and where they come from; ``stale_after`` sessions without a new row a scheduled run is skipped, None: never."""

    datasets: dict[Name, Dataset]
    sources: dict[Name, list[str]]
    stale_after: PositiveInt | None = None
    columns: dict[Literal["date", "time", "open", "high", "low", "close", "adj_close", "volume", "ticker"], list[str]] = {}


class PriceValidation(Section):
    calendar: str
    min_sessions: PositiveInt
    tolerance: Annotated[float, Field(ge=0, lt=1)]
    expectations: list[dict[str, Any]] = []


class TextValidation(Section):
    min_words: PositiveInt
    min_vocabulary: PositiveInt
    max_repeated_lines: Annotated[float, Field(ge=0, le=1)]
    expectations: list[dict[str, Any]] = []


class ClassifyValidation(Section):
    min_rows: PositiveInt
    min_labels: PositiveInt
    min_label_rows: PositiveInt
    expectations: list[dict[str, Any]] = []


class TagValidation(Section):
    min_rows: PositiveInt
    min_labels: PositiveInt
    min_label_rows: PositiveInt
    min_tags: PositiveInt
    expectations: list[dict[str, Any]] = []


class TranslateValidation(Section):
    min_rows: PositiveInt
    min_targets: PositiveInt
    expectations: list[dict[str, Any]] = []


class CaptionValidation(Section):
    min_rows: PositiveInt
    min_captions: PositiveInt
    expectations: list[dict[str, Any]] = []


class Validation(Section):
    forecast: PriceValidation
    language_model: TextValidation = Field(alias="language-model")
    classify: ClassifyValidation
    tag: TagValidation
    translate: TranslateValidation
    caption: CaptionValidation


Target = Literal["log_return", "open", "high", "low", "close"]
Feature = Literal["open", "high", "low", "close", "volume", "log_return", "log_range", "log_volume"]


class Folds(Section):
    """Walk-forward evaluation: the test part in pieces.

    folds   pieces, of about one length; each is forecast by networks that learned what lies before it
    origin  of what the folds learn from: expanding, from the first session or word on, or sliding, as many as the oldest fold
    """

    folds: PositiveInt = 1
    origin: Literal["expanding", "sliding"] = "expanding"


class PriceWindows(Folds):
    """How much past a forecaster sees and how much future it owes, in sessions."""

    lookback: PositiveInt
    horizon: PositiveInt
    target: Target
    features: Annotated[list[Feature], Field(min_length=1)]
    scaler: Literal["standard", "minmax"]
    gap: NonNegativeInt
    max_gap: PositiveInt
    validation: Share
    test: Share

    @model_validator(mode="after")
    def _the_future_stays_out_of_the_past(self) -> PriceWindows:
        if self.gap < self.horizon:
            raise ValueError(
                f"gap is {self.gap} but horizon is {self.horizon}: a training target would lie within "
                f"reach of the next part. Set gap to {self.horizon} or more"
            )
        _refuse_no_training(self.validation, self.test)
        return self

    @property
    def span(self) -> int:
        """Sessions that one window takes."""
        return self.lookback + self.horizon

    @property
    def columns(self) -> list[str]:
        """The columns of the series: the target first, then the other features in their order."""
        return [self.target, *(feature for feature in self.features if feature != self.target)]


def _refuse_no_training(validation: float, test: float) -> None:
    if validation + test >= 1:
        raise ValueError(f"validation {validation} + test {test} leave nothing to train on. Lower one of them")


class _WordWindows(Section):
    """Which words are known, and how large the parts are."""

    min_count: PositiveInt
    max_vocabulary: PositiveInt
    validation: Share
    test: Share

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Self:
        _refuse_no_training(self.validation, self.test)
        return self


class TextWindows(_WordWindows, Folds):
    """How many tokens a language model sees."""

    lookback: PositiveInt


class _RowWindows(_WordWindows):
    """The seed shares rows out, where the files do not say it themselves."""

    seed: NonNegativeInt


class ClassifyWindows(_RowWindows):
    """A text is read up to ``max_length`` words."""

    max_length: PositiveInt


class TagWindows(_RowWindows):
    """Texts are read whole: each word has a tag that a model owes."""


class TranslateWindows(_RowWindows):
    """A pair with more than ``max_length`` tokens on a side is not trained on.

    tokens  words, characters, or auto: characters where no source of the data set holds white space, as in sums
    """

    tokens: Literal["auto", "words", "characters"]
    max_length: PositiveInt


class CaptionWindows(_RowWindows):
    """A row whose caption has more than ``max_length`` tokens is not trained on.

    tokens  words, characters, or auto: characters where no caption that is trained on holds white space
    """

    tokens: Literal["auto", "words", "characters"]
    max_length: PositiveInt


class Windows(Section):
    forecast: PriceWindows
    language_model: TextWindows = Field(alias="language-model")
    classify: ClassifyWindows
    tag: TagWindows
    translate: TranslateWindows
    caption: CaptionWindows


class ForecastTask(Section):
    """What a forecaster's head names beside the point forecast of each step: these quantiles, lowest first; none by default."""

    quantiles: list[Share] = []

    @field_validator("quantiles")
    @classmethod
    def _from_the_lowest_to_the_highest(cls, quantiles: list[float]) -> list[float]:
        if any(later <= earlier for earlier, later in itertools.pairwise(quantiles)):
            raise ValueError("each quantile shall be higher than the one before it. Write them from the lowest to the highest, each once")
        return quantiles

    @model_serializer(mode="wrap")
    def _as_before_there_were_any(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a run's identity, and its model's bytes, hang on what is written here
        return usual(self) if self.quantiles else {}


class LanguageModelTask(Section):
    embedding_size: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    tied: bool
    carried: bool = False

    @property
    def state_size(self) -> int | None:
        """How wide the states have to be; None: as the variant has it."""
        return self.embedding_size if self.tied else None


Pooling = Literal["final", "mean", "max"]
Attention = Literal["none", "luong"]


class ClassifyTask(Section):
    """How a classifier reads texts, and what becomes of its states; of images only the pooling and the smoothing are asked.

    dropout          on the embeddings and before the head
    pooling          what scores the labels: the final state, or the mean or the maximum of each unit over the steps
    label_smoothing  the share of each training target that is spread over all labels
    """

    embedding_size: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    pooling: Pooling
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class TagTask(Section):
    """How a tagger reads texts; as `ClassifyTask`."""

    embedding_size: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class TranslateTask(Section):
    """How an encoder reads a source, and a decoder says it in the words of the target.

    embedding_size   of the words of both sides
    dropout          on the embeddings of both sides, on the states that are attended to, and on the decoder's
    attention        none: the decoder knows the source by the encoder's final state alone; luong: it looks back at every state
    reversed_source  whether the source is read from its last word to its first (Sutskever et al., 2014)
    label_smoothing  the share of each training target that is spread over all words
    """

    embedding_size: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    attention: Attention
    reversed_source: bool = True
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class CaptionTask(Section):
    """How a decoder says what a vector shows.

    embedding_size   of the caption's words
    dropout          on the vector and the embeddings, and on the decoder's states
    label_smoothing  the share of each training target that is spread over all words
    """

    embedding_size: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Tasks(Section):
    forecast: ForecastTask
    language_model: LanguageModelTask = Field(alias="language-model")
    classify: ClassifyTask
    tag: TagTask
    translate: TranslateTask
    caption: CaptionTask


Cell = Literal[
    "rnn",
    "rnn_relu",
    "indrnn",
    "lstm",
    "lstm_1997",
    "lstm_peephole",
    "lstm_nig",
    "lstm_nfg",
    "lstm_nog",
    "lstm_niaf",
    "lstm_noaf",
    "lstm_cifg",
    "lstm_np",
    "lstm_fgr",
    "lstmp",
    "lstm_layer_norm",
    "slstm",
    "lstm_mogrifier",
    "alstm",
    "gru",
    "gru_reset_before",
    "mgu",
    "mut1",
    "mut2",
    "mut3",
    "janet",
    "ugrnn",
    "minlstm",
    "mingru",
    "sru",
]
Rate = Annotated[float, Field(ge=0, lt=1)]
InitialState = Literal["zero", "learned"]
Initialisation = Literal["torch", "keras", "nguyen_widrow"]
Activation = Literal["tanh", "relu", "sigmoid", "softsign", "linear"]


class Variant(Section):
    """Settings of one recurrent network: a cell of the catalogue (`longshort variants`), its sizes and its options.

    dropout              after each layer, each step anew (Zaremba et al., 2014)
    projection_size      of h, where the cell projects it; 0: none
    residual             what a layer reads is added to what it gives, from the second layer on (Wu et al., 2016)
    variational_dropout  on what a layer reads and on the state that R reads, the same at every step (Gal, Ghahramani, 2016)
    recurrent_dropout    on the candidate, each step anew (Semeniuta et al., 2016)
    zoneout              the share of h, and of c, that keeps its old value (Krueger et al., 2017)
    weight_dropout       on R, anew each batch (Merity et al., 2018)
    initial_state        zero, or learned
    initialisation       torch: all uniform in ±1/√hidden_size; keras: Glorot's uniform W, orthogonal R, b 0 and 1 for forget gates;
                         nguyen_widrow: each unit begins with a threshold of its own among inputs from -1 to 1, orthogonal R
    forget_bias          what b of the gate that forgets begins with, so that a larger one keeps more
    chrono_steps         the longest memory that b of the gates is begun for, in steps (Tallec, Ollivier, 2018); 0: none
    activation           in place of the cell's tanh or relu
    """

    cell: Cell
    hidden_size: PositiveInt
    num_layers: PositiveInt
    bidirectional: bool
    dropout: Rate
    projection_size: NonNegativeInt = 0
    residual: bool = False
    variational_dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    zoneout: Rate = 0.0
    weight_dropout: Rate = 0.0
    initial_state: InitialState = "zero"
    initialisation: Initialisation = "torch"
    forget_bias: float | None = None
    chrono_steps: NonNegativeInt = 0
    activation: Activation | None = None

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> Variant:
        if self.projection_size >= self.hidden_size:
            raise ValueError(
                f"projection_size is {self.projection_size} but hidden_size is {self.hidden_size}: a projection makes the state "
                f"smaller. Set projection_size to {self.hidden_size - 1} or less"
            )
        if self.residual and self.num_layers == 1:
            raise ValueError("residual adds what a layer reads from the second layer on, and num_layers is 1. Set num_layers to 2 or more")
        if self.chrono_steps and self.forget_bias is not None:
            raise ValueError("chrono_steps and forget_bias both say what the forget gate's b begins with. Leave one of them out")
        if 0 < self.chrono_steps < 3:
            raise ValueError(f"chrono_steps is {self.chrono_steps}, and memories are drawn from 1 to chrono_steps - 1. Set 3 or more")
        return self


class Models(Section):
    variants: dict[Name, Variant]


EngineName = Literal["torch", "reference", "native", "cuda"]
Optimizer = Literal["adam", "rmsprop", "sgd"]
Precision = Literal["float32", "bfloat16"]


class Item(Section):
    """One line of the training matrix: a fleet of networks of one shape, one a seed.

    per      ticker: a network for each ticker of its own, times the seeds
    engine   in place of `training.engine`
    data_parallel   so many processes train one network together, each on its share of every batch; see docs/scale.md
    optimizer, learning_rate, batch_size, clip_norm, precision   in place of those of its task
    """

    dataset: Name
    task: Task
    variant: str
    per: Literal["ticker"] | None = None
    engine: EngineName | Literal["auto"] | None = None
    data_parallel: Annotated[int, Field(ge=2)] | None = None
    optimizer: Optimizer | None = None
    learning_rate: PositiveFloat | None = None
    batch_size: PositiveInt | None = None
    clip_norm: PositiveFloat | None = None
    precision: Precision | None = None

    @property
    def name(self) -> str:
        """What the item is called."""
        return f"{self.dataset}-{self.label}"

    @property
    def label(self) -> str:
        """What it is called among those of its data set."""
        return self.variant if self.per is None else f"{self.variant}-per-{self.per}"


class Optimisation(Section):
    """How a network is trained.

    precision       of what products are made of while it learns; sums, weights, gates and every score are float32 all the same
    smoothing       the share that RMSProp's mean of squares keeps: torch's default, where TensorFlow has 0.9; the others do not ask
    decay           what the rate is multiplied by after each epoch; 1: it stays
    averaged_after  the epoch behind which weights are averaged over steps; the mean is what is scored and kept (Polyak and Juditsky,
                    1992). Unset: none
    """

    optimizer: Optimizer
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    max_epochs: PositiveInt
    patience: PositiveInt
    clip_norm: PositiveFloat
    precision: Precision = "float32"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.99
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    averaged_after: Annotated[int, Field(ge=0)] | None = None

    @model_serializer(mode="wrap")
    def _as_before_it_was_asked(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # a run's identity hangs on what is written here
        written: dict[str, Any] = usual(self)
        unasked = {"smoothing": 0.99, "decay": 1.0, "averaged_after": None}
        return {name: value for name, value in written.items() if name not in unasked or value != unasked[name]}

    @property
    def by_batches(self) -> bool:
        """Whether it takes training batch by batch: no engine's whole passes know its steps."""
        return self.optimizer == "sgd" or self.averaged_after is not None

    def rate_in(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        return self.learning_rate * self.decay ** (epoch - 1)


class Training(Section):
    items: dict[str, Item]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]
    device: Literal["auto", "cpu", "cuda"]
    engine: EngineName | Literal["auto"]
    forecast: Optimisation
    language_model: Optimisation = Field(alias="language-model")
    classify: Optimisation
    tag: Optimisation
    translate: Optimisation
    caption: Optimisation

    @field_validator("seeds")
    @classmethod
    def _each_seed_comes_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed that comes twice would train the same bytes twice. Write each seed once")
        return seeds


class Evaluation(Section):
    """What intervals shall hold; what a backtest's trades cost, as a share of what they move; how far forecasts are fed back."""

    confidence: Share
    coverage: Share
    cost: Annotated[float, Field(ge=0, lt=1)]
    steps: PositiveInt


class Registry(Section):
    """What a challenger must show; ``significance`` None: that its lead may be chance is not asked."""

    min_gain: Annotated[float, Field(ge=0, lt=1)]
    min_windows: PositiveInt
    significance: Share | None


class Monitoring(Section):
    """What the newest sessions are compared with; see `monitoring.watch`."""

    reference: PositiveInt
    min_sessions: PositiveInt


class Tracking(Section):
    uri: str


Value = TypeVar("Value")
Several = Annotated[list[Value], Field(min_length=2)]


class Space(Section):
    """What a search may try of each setting: [lowest, highest] of a number, else the values themselves.

    `patience` and `max_epochs` are not here: more of either never makes the best epoch worse, so a search would only say "more".
    Nor is `precision`: it is chosen for its speed, which a search does not ask about.
    """

    cell: Several[Cell] | None = None
    hidden_size: Several[PositiveInt] | None = None
    num_layers: Several[PositiveInt] | None = None
    bidirectional: Several[bool] | None = None
    dropout: Several[Rate] | None = None
    projection_size: Several[NonNegativeInt] | None = None
    residual: Several[bool] | None = None
    variational_dropout: Several[Rate] | None = None
    recurrent_dropout: Several[Rate] | None = None
    zoneout: Several[Rate] | None = None
    weight_dropout: Several[Rate] | None = None
    initial_state: Several[InitialState] | None = None
    initialisation: Several[Initialisation] | None = None
    forget_bias: Several[float] | None = None
    chrono_steps: Several[NonNegativeInt] | None = None
    activation: Several[Activation] | None = None
    optimizer: Several[Optimizer] | None = None
    learning_rate: Several[PositiveFloat] | None = None
    batch_size: Several[PositiveInt] | None = None
    clip_norm: Several[PositiveFloat] | None = None

    @field_validator("*")
    @classmethod
    def _a_range_or_values_that_differ(cls, values: list[Any] | None) -> list[Any] | None:
        if values is not None and is_range(values) and values[0] >= values[1]:
            raise ValueError("two numbers are a range, from the lowest to the highest. Put the lower one first")
        if values is not None and len(set(values)) < len(values):
            raise ValueError("a value that comes twice is tried no oftener. Write each once")
        return values

    @model_validator(mode="after")
    def _something_to_search(self) -> Self:
        if not self.allowed:
            raise ValueError("it names no setting, so there is nothing to search. Write one into it, such as hidden_size: [16, 128]")
        return self

    @property
    def allowed(self) -> dict[str, list[Any]]:
        """The settings that it names, in the order of the class and not of the file, on which no result should hang."""
        return {name: values for name in type(self).model_fields if (values := getattr(self, name)) is not None}


def is_range(values: list[Any]) -> bool:
    """Whether the values of a setting are its lowest and its highest: two numbers are; any other list is what may be chosen from."""
    return len(values) == 2 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


class Tuning(Section):
    """How `longshort tune` searches; no stage reads it.

    trials  settings that are tried; the first is the item as it stands
    round   trials that are asked for and trained together; they know of the rounds before, and not of each other's results
    """

    trials: PositiveInt
    round: PositiveInt
    space: Space


class Resources(Section):
    """What computes; no result hangs on it."""

    workers: PositiveInt | Literal["auto"]
    engine: Literal["local", "ray"] = "local"


class Params(Section):
    """The whole file."""

    ingestion: Ingestion
    validation: Validation
    windows: Windows
    tasks: Tasks
    models: Models
    training: Training
    evaluation: Evaluation
    registry: Registry
    monitoring: Monitoring
    tracking: Tracking
    tuning: Tuning
    resources: Resources

    def of_task(self, section: Section, task: Task) -> Any:
        """The part of a section that belongs to a task."""
        return getattr(section, task.replace("-", "_"))

    def forecast_datasets(self) -> list[str]:
        """The price data sets that something is trained on, in their order."""
        trained = {entry.dataset for entry in self.training.items.values()}
        return [name for name, entry in self.ingestion.datasets.items() if entry.task == "forecast" and name in trained]

    def optimisation_of(self, item: str) -> Optimisation:
        """How an item is trained: as its task says, but for what the item says itself."""
        entry = self.training.items[item]
        usual: Optimisation = self.of_task(self.training, entry.task)
        own = {name: value for name in Optimisation.model_fields if (value := getattr(entry, name, None)) is not None}
        return usual.model_copy(update=own)

    def engine_of(self, item: str) -> EngineName:
        """The engine that trains an item.

        raises  ConfigError when that is left to a measurement that nobody has made yet
        """
        engine = self.training.items[item].engine or self.training.engine
        if engine == "auto":
            raise ConfigError(
                f"params.yaml: training.items.{item}: its engine is auto, which `longshort run` measures and writes down as a name. "
                "Run that, or name an engine."
            )
        return engine


def read(path: Path) -> Params:
    """Read and check params.yaml.

    raises  ConfigError with the file, the line, the key and the nearest valid name; UnknownVariant
            when an item names a variant that `models.variants` does not hold
    """
    return check(load(path), path)


def load(path: Path) -> Any:
    """The file's content with comments and line numbers kept (ruamel's round-trip form)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Restore it with `git checkout {path.name}`.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not UTF-8 text"
        raise ConfigError(f"{path.name}{where}: not valid YAML: {problem}. Mend the line, or `git checkout {path.name}`.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: holds {type(content).__name__}, expected sections such as `windows:`.")
    return content


def check(content: Any, path: Path) -> Params:
    """Turn the file's content into `Params`; see `read` for what it raises."""
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        problems = [_sentence(problem, content, path) for problem in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(problems))) from None
    _check_items(params, content, path)
    return params


def _check_items(params: Params, content: Any, path: Path) -> None:
    known = params.models.variants
    for name, item in params.training.items.items():
        where = f"{path.name}:{_line(content, ('training', 'items', name))}: training.items.{name}"
        if item.variant not in known:
            raise UnknownVariant(f"{where}: variant '{item.variant}' is not in `models.variants`{nearest(item.variant, known)}")
        if item.dataset not in params.ingestion.datasets:
            names = params.ingestion.datasets
            raise ConfigError(f"{where}: data set '{item.dataset}' is not in `ingestion.datasets`{nearest(item.dataset, names)}")
        task = params.ingestion.datasets[item.dataset].task
        if item.task != task:
            raise ConfigError(f"{where}: task is '{item.task}' but data set '{item.dataset}' is for '{task}'. Write `task: {task}`.")
        if name != item.name:
            raise ConfigError(f"{where}: an item is named after its data set and variant. Write `{item.name}:`.")
        if item.per == "ticker" and item.task != "forecast":
            raise ConfigError(f"{where}: per is ticker, and a {item.task} data set has no tickers. Leave `per` out.")
        if item.data_parallel and (reason := _not_to_be_shared(params, name, item.data_parallel)):
            raise ConfigError(f"{where}: data_parallel is {item.data_parallel}, {reason}")
        if reason := unfit(item.task, known[item.variant], params.tasks.language_model.state_size):
            raise ConfigError(f"{where}: '{item.variant}' {reason}, or drop the item.")


def _not_to_be_shared(params: Params, name: str, processes: int) -> str | None:
    """Why so many processes cannot train an item's network together, and what to write, as the rest of a sentence; None when they can."""
    item = params.training.items[name]
    engine, batch_size = item.engine or params.training.engine, params.optimisation_of(name).batch_size
    if item.task != "language-model":
        return f"and networks of a {item.task} item are small: they train side by side, each in a process. Leave data_parallel out."
    if len(params.training.seeds) > 1:
        return (
            f"and `training.seeds` has {len(params.training.seeds)}, whose networks train side by side, each in a process. Write one "
            "seed, or leave data_parallel out."
        )
    if engine not in ("torch", "reference"):  # auto may become native
        return f"and engine '{engine}' makes whole passes by itself. Write `engine: torch` into the item, or leave data_parallel out."
    if params.resources.engine == "ray":
        return "and processes of a cluster share no batch. Set `resources.engine` to 'local', or leave data_parallel out."
    if batch_size < processes:
        return f"and a batch has {batch_size} rows to share. Write a `batch_size` of {processes} or more."
    return None


def unfit(task: Task, variant: Variant, state_size: int | None) -> str | None:
    """Why a variant cannot do a task, and what can, as the rest of a sentence; None when it can.

    state_size  see `LanguageModelTask`
    """
    size = variant.projection_size or variant.hidden_size
    if task == "language-model" and state_size not in (None, size):
        return (
            f"gives states of {size}, and with `tasks.language-model.tied` its head is the embeddings, which are {state_size} wide. "
            "Take one size for both"
        )
    if task == "language-model" and variant.bidirectional:
        return (
            "is bidirectional, so at each step it has already read the next word, which is the answer. "
            "A language model reads forward only: take `bidirectional: false`"
        )
    at_each_step = {"language-model": "language model", "tag": "tagger", "translate": "decoder", "caption": "decoder"}
    if task in at_each_step and variant.cell == "alstm":
        return (
            f"has cell 'alstm', which attends to all states for one answer at the end, and a {at_each_step[task]} answers at every step. "
            "Take cell 'lstm', which is the same without it"
        )
    return None


def _line(content: Any, keys: tuple[Any, ...]) -> int:
    """The line of params.yaml on which the last key that stands there is, counted from 1."""
    line = 0
    for key in keys:
        if not (isinstance(content, dict) and key in content):
            break
        position = getattr(content, "lc", None)
        if position is None or key not in (position.data or {}):
            break
        line = position.data[key][0]
        content = content[key]
    return line + 1


def _sentence(problem: Any, content: Any, path: Path) -> str:
    keys = _keys(problem["loc"], content)
    where = f"{path.name}:{_line(content, keys)}: {'.'.join(map(str, keys))}"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(keys[-1]), _valid_keys(keys[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: missing. Write it under `{'.'.join(map(str, keys[:-1])) or path.name}`."
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    message = problem["msg"].removeprefix("Value error, ")
    choices = (problem.get("ctx") or {}).get("expected", "")
    hint = nearest(problem["input"], [c.strip("' ") for c in choices.replace(" or ", ",").split(",")]) if choices else "."
    return f"{where}: {message[:1].lower()}{message[1:]}{found}{hint}"


def _keys(place: tuple[Any, ...], content: Any) -> tuple[Any, ...]:
    """The keys of the file among pydantic's, which go on into the branches of a union."""
    keys = []
    for key in place:
        if not isinstance(content, dict | list) or key == "[key]":
            break
        keys.append(key)
        content = content[key] if isinstance(content, list) else content.get(key)
    return tuple(keys)


def _valid_keys(keys: tuple[Any, ...]) -> list[str]:
    """The keys that a section takes, found by walking the classes along ``keys``."""
    section: Any = Params
    for key in keys:
        if get_origin(section) is dict:  # its keys are names that a person chose
            section = get_args(section)[1]
        else:
            fields = {field.alias or name: field for name, field in section.model_fields.items()}
            section = fields[key].annotation
    return [field.alias or name for name, field in section.model_fields.items()]


def nearest(name: Any, known: Any) -> str:
    """The end of a sentence about an unknown name: the one that was meant, and all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    suggestion = f" Did you mean '{close[0]}'?" if close else ""
    return f".{suggestion} Known: {', '.join(known)}."
