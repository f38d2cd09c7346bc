"""Errors: what a person is told when something is refused, and the exit code that goes with it.

Every message says what happened with its numbers, where that is decided, and how to mend it.

    LongshortError                 1
    ├── UsageError                 2
    │   └── ConfigError            2
    │       └── UnknownVariant     2
    ├── DataRefused                3
    │   ├── SeriesTooShort         3
    │   ├── SuiteFailed            3
    │   ├── CorruptArtefact        3
    │   └── TrainingDiverged       3
    ├── PromotionRefused           4
    │   └── ChampionMoved          4
    ├── ReproductionDiffers        5
    ├── PartlyDone                 6
    ├── AuditFailed                1
    └── StorageFull               74
"""


class LongshortError(Exception):
    """The root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(LongshortError):
    """A command was called in a way that cannot be carried out."""

    exit_code = 2


class ConfigError(UsageError):
    """params.yaml, or a ``--set``, says something that longshort cannot use."""


class UnknownVariant(ConfigError):
    """A variant is named that the catalogue does not hold."""


class DataRefused(LongshortError):
    """An input was refused; nothing of it was taken in."""

    exit_code = 3


class SeriesTooShort(DataRefused):
    """Not even one window fits."""


class SuiteFailed(DataRefused):
    """An expectation of a validation suite was not met."""


class CorruptArtefact(DataRefused):
    """Bytes on disk are not the bytes that were written."""


class TrainingDiverged(DataRefused):
    """A loss or a gradient was not finite."""


class PromotionRefused(LongshortError):
    """The challenger did not earn the champion's alias."""

    exit_code = 4


class ChampionMoved(PromotionRefused):
    """Another champion serves by now than the one that the challenger was judged against."""


class ReproductionDiffers(LongshortError):
    """A run that was made again came to something else."""

    exit_code = 5


class PartlyDone(LongshortError):
    """Some of the work was done; the message names the rest."""

    exit_code = 6


class AuditFailed(LongshortError):
    """Something of the future reaches a model, or the audit cannot see it."""


class StorageFull(LongshortError):
    """The disk is full or cannot be written."""

    exit_code = 74
