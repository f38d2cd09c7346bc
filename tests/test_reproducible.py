"""Reproducible: a stage writes the same bytes in any folder, at any hour, on a host of any name."""

import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path

import clones
import pytest

DATASETS, ITEMS = ("goog", "topics"), ("goog-rnn", "goog-lstm", "topics-gru")
AGAIN = """
import datetime, os, platform, socket, sys
from pathlib import Path
import time_machine

named = "a-host-of-another-name"
socket.gethostname = platform.node = lambda: named
import importlib
from longshort import config, environment, forkserver
from longshort.cli import stage

environment.prepare(Path.cwd())
for name in {name for room, names in forkserver.LIBRARIES.items() if room != "dvc" for name in names}:
    importlib.import_module(name)
before = set(sys.modules)
with time_machine.travel(datetime.datetime.now() + datetime.timedelta(hours=1)):
    for name in ("ingestion", "validation", "windows", "training", "evaluation"):
        for item in sys.argv[2:] if name in ("training", "evaluation") else sys.argv[1].split(","):
            stage(name, item)
print(len(set(sys.modules) - before), *({name.partition(".")[0] for name in sys.modules} - {name.partition(".")[0] for name in before}))
"""


@pytest.fixture(scope="module")
def again(retrained, tmp_path_factory):
    """The stages of the retrained project once more: another folder, home, host, time zone, hash seed, and an hour later."""
    root = tmp_path_factory.mktemp("again") / "somewhere else entirely"
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(retrained / name, root)
    env = clones.environment(root, TZ="Pacific/Auckland", PYTHONHASHSEED="7", LC_ALL="C", COLUMNS="40")
    command = [sys.executable, "-c", AGAIN, ",".join(DATASETS), *ITEMS]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (root.parent / "imported").write_text(done.stdout.splitlines()[-1])
    return root


@pytest.mark.long
def test_what_a_forkserver_imports_for_the_stages_is_what_takes_them_long(again):
    count, *libraries = (again.parent / "imported").read_text().split()
    assert int(count) < 300 and not set(libraries) & {"great_expectations", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "torch"}


def written(root, stage):
    """What one stage wrote."""
    return {name: data for name, data in clones.outputs(root).items() if name.startswith(f"data/{stage}/")}


@pytest.mark.long
@pytest.mark.parametrize("stage", clones.STAGES)
def test_a_stage_that_runs_again_elsewhere_an_hour_later_writes_the_same_bytes(retrained, again, stage):
    first, second = written(retrained, stage), written(again, stage)
    assert len({Path(name).parts[2] for name in first}) == {"training": 3, "evaluation": 3}.get(stage, 2)
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.long
def test_no_output_holds_a_path_or_a_time_of_this_machine(retrained, again):
    now = dt.datetime.now(dt.UTC)
    for root in (retrained, again):
        traces = [str(root), str(Path.home()), f"{now:%Y-%m}", "a-host-of-another-name"]
        for name, data in clones.outputs(root).items():
            assert [trace for trace in traces if len(trace) > 4 and trace.encode() in data] == [], name
