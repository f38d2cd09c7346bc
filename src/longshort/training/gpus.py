"""Fleets on GPUs: members are split over those that are there, and a share is halved where its GPU's memory is short.

A thread a GPU: a process that has asked for a GPU cannot be forked, and the host has little to do. Which GPUs are there is what
CUDA_VISIBLE_DEVICES leaves: `graph.slots` gives each stage that runs beside others GPUs of its own.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import torch

from longshort.errors import LongshortError

Work = Callable[[Sequence[int], torch.device], None]


def there() -> list[torch.device]:
    """The GPUs that this process sees."""
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def spread(
    places: Sequence[int], devices: Sequence[torch.device], work: Work, say: Callable[[str], None], stopping: threading.Event
) -> None:
    """Do work for members side by side, their shares at the same time on each device; see `in_halves`.

    work      called with some of the places and a device, in a thread of that device's; asked again, it goes on where it was
    stopping  set when one raises, so that the others can end
    raises    what a work raised; LongshortError when one member alone is too large for a GPU
    """
    shares = [(places[number :: len(devices)], device) for number, device in enumerate(devices[: len(places)])]
    if len(shares) == 1:
        in_halves(*shares[0], work, say)
        return
    with ThreadPoolExecutor(len(shares)) as pool:
        futures: list[Future[None]] = [pool.submit(in_halves, *share, work, say) for share in shares]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future.done():
                    future.result()
        except BaseException:
            stopping.set()
            raise
        for future in futures:
            future.result()


def in_halves(places: Sequence[int], device: torch.device, work: Work, say: Callable[[str], None]) -> None:
    """Do work for members side by side; where the device's memory does not hold them, for one half after the other.

    raises  LongshortError when it does not hold one
    """
    try:
        work(places, device)
        return
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        if len(places) == 1:
            raise LongshortError(
                f"the memory of {device} does not hold one network with its batch: {str(error).splitlines()[0]} "
                "Lower `batch_size` or `windows.*.lookback` in params.yaml, or `hidden_size` of the variant; what else runs on the GPU "
                "takes memory too."
            ) from None
    # only here: the error holds the frames, and they the tensors
    gc.collect()
    torch.cuda.empty_cache()  # nothing, where no GPU was asked for
    middle = -(-len(places) // 2)
    say(
        f"the memory of {device} does not hold {len(places)} networks side by side: they go on in two halves, of {middle} and "
        f"{len(places) - middle}, each from its last whole epoch"
    )
    for half in (places[:middle], places[middle:]):
        in_halves(half, device, work, say)


def _out_of_memory(error: BaseException | None) -> bool:
    """Also where the end of a recording, which broke off, complains on top of it."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
