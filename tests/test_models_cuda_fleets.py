"""Models, the engine cuda's kernels for fleets: by Triton's interpreter they are the reference; by its compiler they fit on a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from projects import ROOT

from longshort.models.cells import CELLS
from longshort.models.engines import ENGINES, Inside
from longshort.models.engines.kernels import Kernels

triton_is_there = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed: python -m pip install -e '.[triton]'",
)


def driven(what, **environment):
    """What the driver says: Triton decides when it is imported whether it interprets."""
    usual = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, ROOT / "tests/fleet_driver.py", what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=usual | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@triton_is_there
def test_states_and_gradients_are_the_references_at_odd_shapes():
    worst = driven("run", TRITON_INTERPRET="1")
    assert len(worst) > 300 and {name.split()[0] for name in worst} == {"lstm", "lstm_np", "gru", "rnn", "rnn_relu"}
    assert not {name: off for name, off in worst.items() if not off < 5e-6}


@triton_is_there
def test_every_kernel_compiles_for_a_gpu_and_fits_into_its_shared_memory(tmp_path):
    taken = driven("compile", TRITON_CACHE_DIR=str(tmp_path))
    assert len(taken) == 8
    assert max(taken.values()) <= 99 * 1024, "what a multiprocessor of the smaller kinds lends"


@triton_is_there
def test_they_have_rules_for_cells_of_their_width_and_no_other():
    from longshort.models.engines.cuda import fleets

    def has(name, activation=None, hidden=50):
        return fleets.fits(CELLS[name], activation or CELLS[name].activation, hidden)

    assert [name for name in CELLS if has(name)] == ["rnn", "rnn_relu", "lstm", "lstm_np", "alstm", "gru"]
    assert has("rnn", "relu") and not has("lstm", "softsign")
    assert has("lstm", hidden=fleets.WIDEST) and not has("lstm", hidden=fleets.WIDEST + 1)


@triton_is_there
def test_a_fleet_on_a_gpu_goes_to_them_and_all_else_to_torchs_kernels(monkeypatch):
    from longshort.models.engines.cuda import fleets

    monkeypatch.setattr(fleets, "forward", lambda *_: "together")
    monkeypatch.setattr(Kernels, "forward", lambda *_: "one by one")

    class Steps(SimpleNamespace):
        def __len__(self):
            return self.members

    def taken(name="lstm", members=2, device="cuda"):
        steps = Steps(members=members, device=torch.device(device))
        return ENGINES["cuda"].forward(CELLS[name], CELLS[name].activation, {"R": torch.zeros(members, 5, 20)}, steps, Inside())

    assert taken() == "together"
    assert {taken(members=1), taken(device="cpu"), taken("lstmp")} == {"one by one"}
