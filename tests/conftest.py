"""What every test may use. A person's own Prefect or MLflow settings never reach a test."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import clones
import exports
import projects
import pytest

from longshort import environment

for name in list(os.environ):
    if name.startswith(("PREFECT_", "MLFLOW_", "DVC_", "GX_")):
        del os.environ[name]
os.environ.update(environment.QUIET)
# two workers share the cores: threads of theirs that wait for one another in spin loops take ten times as long
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: a gzip file holds the second in which it was packed, and workers have to find the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch, and engines that ask it, on one thread, whatever a test makes of it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project after `longshort run`. Shared by all tests and workers: read it, or `clones.copy` it."""
    return _made_once(tmp_path_factory, "retrained", lambda folder: clones.longshort(clones.clone(folder), "run", cold=True))


@pytest.fixture(scope="session")
def own_prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a person's data set `aapl` after `longshort run`, committed. Shared likewise; see `exports.take_in_own_prices`."""
    return _made_once(tmp_path_factory, "own-prices", exports.take_in_own_prices)


@pytest.fixture(scope="session")
def tickers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a network a ticker, trained and scored. Shared likewise; see `projects.with_a_network_a_ticker`."""
    return _made_once(tmp_path_factory, "tickers", projects.with_a_network_a_ticker)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name / "project"
    with (shared / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder.parent / "made").exists():
            make(folder)
            (folder.parent / "made").touch()
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test that is marked `few`, so many of its cases, evenly spread, are what they are, and the others are long."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for found in cases.values():
        (count,) = found[0].get_closest_marker("few").args  # type: ignore[union-attr]
        kept = {round((number + 0.5) * len(found) / count - 0.5) for number in range(count)}
        for number, item in enumerate(found):
            if number not in kept:
                item.add_marker("long")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What is left out is said, since nobody sees it otherwise."""
    if config.option.markexpr == "not long":
        terminalreporter.write_line(
            "left out: tests that take long, such as retrainings that are killed; `make long` runs them, and so does .ci/run"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Under `make prove` nothing is skipped: what a test lacks is a failure."""
    report = yield
    if report.skipped and "LONGSHORT_PROVE" in os.environ:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which `make prove` does not allow: {call.excinfo.value}"
    return report
