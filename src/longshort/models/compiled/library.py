"""The compiled library: found, checked against its sources, and called by ctypes. Arrays go in as addresses."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from longshort.models.compiled import build

WIDEST = 0  # of the vector widths that this CPU runs
TILES = 8  # see api.h

c_floats, c_ints, c_longs = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p


class Layer(ctypes.Structure):
    """See api.h, as for all of these."""

    _fields_ = (
        *((name, c_ints) for name in ("matrix", "vectors", "start_h", "start_c")),
        *((name, ctypes.c_int32) for name in ("cell", "inputs", "hidden", "backwards")),
    )


class Network(ctypes.Structure):
    """Layers and a head."""

    _fields_ = (
        ("layers", ctypes.POINTER(Layer)),
        ("head", c_ints),
        ("parameters", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("depth", "directions", "inputs", "steps", "horizon", "residual")),
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
        ("words", ctypes.c_int32),
        ("table", ctypes.c_int64),
        ("edge_threshold", ctypes.c_uint32),
        ("edge_scale", ctypes.c_float),
        ("quantiles", ctypes.c_int32),
        ("levels", c_floats),
    )


class Pass(ctypes.Structure):
    """What windows are cut out of."""

    _fields_ = (
        ("values", c_floats),
        ("firsts", c_longs),
        *((name, ctypes.c_int64) for name in ("windows", "place")),
        *((name, ctypes.c_uint64) for name in ("seed", "epoch")),
        *((name, ctypes.c_int64) for name in ("batch", "step")),
        ("threads", ctypes.c_int32),
        ("ids", c_ints),
        ("counts", c_longs),
        ("states", c_floats),
    )


class Optimiser(ctypes.Structure):
    """A member's weights and averages, and how they are moved."""

    _fields_ = (
        *((name, c_floats) for name in ("weights", "first", "second")),
        ("steps", ctypes.c_int64),
        ("adam", ctypes.c_int32),
        *((name, ctypes.c_double) for name in ("rate", "clip", "beta", "beta_square", "epsilon", "unbias", "unbias_root")),
    )


class Outcome(ctypes.Structure):
    """What a pass came to."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("loss", "failed_loss", "failed_norm")),
        *((name, ctypes.c_int64) for name in ("terms", "failed_terms", "failed", "right")),
    )


class Forecaster(ctypes.Structure):
    """A forecaster at work on one window at a time."""

    _fields_ = (("network", ctypes.POINTER(Network)), ("packed", c_floats), ("room", c_floats), ("width", ctypes.c_int32))


SIGNATURES: dict[str, tuple[Any, ...]] = {  # what it returns, then what it takes
    "sources": (ctypes.c_char_p,),
    "width": (ctypes.c_char_p, ctypes.c_int32),
    "cell": (ctypes.c_int32, ctypes.c_char_p),
    "train": (ctypes.c_int32, ctypes.c_int32, *map(ctypes.POINTER, (Network, Pass, Optimiser, Outcome))),
    "score": (ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(Network), ctypes.POINTER(Pass), c_floats, ctypes.POINTER(Outcome)),
    "kept": (ctypes.c_int64, ctypes.c_int32, ctypes.POINTER(Network), ctypes.c_int64),
    "read": (
        ctypes.c_int32,
        *(ctypes.c_int32, ctypes.POINTER(Network), *(c_floats,) * 2, ctypes.c_int64, ctypes.c_int32),
        *(*(c_floats,) * 3, ctypes.c_int32),
    ),
    "learn": (
        ctypes.c_int32,
        *(ctypes.c_int32, ctypes.POINTER(Network), *(c_floats,) * 2, ctypes.c_int64, ctypes.c_int32),
        *(c_floats, ctypes.c_int32, *(c_floats,) * 2),
    ),
    "forecaster_size": (ctypes.c_int64, ctypes.c_int32, ctypes.POINTER(Network), ctypes.c_int32),
    "pack_forecaster": (None, ctypes.c_int32, ctypes.POINTER(Network), *(c_floats,) * 2),
    "forecast": (None, ctypes.c_void_p, *(c_floats,) * 2),
    "ahead": (None, ctypes.c_void_p, c_floats),
    "tick": (None, ctypes.c_void_p, *(c_floats,) * 2),
    "function": (None, ctypes.c_int32, ctypes.c_int32, *(c_floats,) * 2, ctypes.c_int64),
    "masks": (None, ctypes.c_int32, *(ctypes.c_uint64,) * 8, ctypes.c_uint32, ctypes.c_void_p),
}


def absent() -> str | None:
    """Why the library cannot be used here, as the rest of a sentence, and how to get it; None when it can."""
    how = f"It is built by `{build.COMMAND}`, which needs a C++ compiler (g++ 11, clang 14 or newer)"
    if not build.LIBRARY.exists():
        return f"its library has not been built: {build.LIBRARY} is not there. {how}"
    try:
        library = ctypes.CDLL(str(build.LIBRARY))
        library.longshort_sources.restype = ctypes.c_char_p
        built_from = library.longshort_sources().decode()
    except (OSError, AttributeError) as error:
        return f"its library cannot be opened: {error}. {how}"
    if built_from != build.digest():
        return f"its library was built from other sources than those beside it. {how}"
    return None


@functools.cache
def opened() -> ctypes.CDLL:
    """The library with its functions' signatures; ask `absent` first."""
    library = ctypes.CDLL(str(build.LIBRARY))
    for name, (returned, *taken) in SIGNATURES.items():
        function = library[f"longshort_{name}"]
        function.restype, function.argtypes = returned, taken
        setattr(library, name, function)
    return library


def without_leave(name: str) -> Any:
    """A function that keeps Python's lock: for calls of microseconds, which would wait milliseconds for another thread to give it back."""
    returned, *taken = SIGNATURES[name]
    return ctypes.PYFUNCTYPE(returned, *taken)((f"longshort_{name}", opened()))


def widths() -> list[str]:
    """The vector widths that this CPU runs, the widest first."""
    return _named_from(0)


def tiles() -> list[str]:
    """What makes products of bfloat16 on this CPU, the quickest first; all give the same bytes. Its number as a width is TILES more."""
    return _named_from(TILES)


def _named_from(number: int) -> list[str]:
    names = []
    while name := opened().width(number):
        names.append(name.decode())
        number += 1
    return names


def call(name: str, *arguments: Any) -> None:
    """Call a function that says whether there was memory for it.

    raises  MemoryError
    """
    if not getattr(opened(), name)(*arguments):
        raise MemoryError(
            f"the engine 'native' has not the memory for a batch of this size (`{name}`). Lower the batch size, or lend fewer threads."
        )


def address(array: Any) -> int | None:
    """Of an array's first element; None stands for null."""
    return None if array is None else array.ctypes.data
